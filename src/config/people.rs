//! Profiles and clients: who gets what.
//!
//! A profile takes what it does not say from its parent, the parent from its own, and the last from a shipped profile: the one it
//! names, else the default.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::engine::category::{Categories, CategoryId, Layer};
use crate::engine::client::Token;
use crate::engine::compile::{ClientSettings, Mode, ProfileSettings};
use crate::engine::peers::RealmSettings;
use crate::engine::snapshot::Unlisted;
use crate::engine::verdict::BlockResponse;

use super::default::{self, DEFAULT_PROFILE};
use super::errors::{Place, Sink, Spanned, suggestion};
use super::hours::{self, Calendars, Draft};
use super::lower::{category_id, own_entries};
use super::peers;
use super::profile::{ProfileMode, ProfileSpec};
use super::shipped;
use super::spec::{ClientSpec, Spec};
use super::values;

/// Every profile with `inherit` applied, the default one first, and the shipped ones that nobody declared last.
pub(super) fn profiles(
    spec: &Spec,
    categories: &Categories,
    calendars: &Calendars,
    sink: &Sink,
) -> Vec<ProfileSettings> {
    let given = &spec.profiles;
    let own: Vec<Own> = given.iter().map(|profile| Own::of(profile, spec, categories, sink)).collect();
    let mut profiles = Vec::with_capacity(given.len() + shipped::NAMES.len());
    for (i, profile) in given.iter().enumerate() {
        hours::check(profile, categories, sink);
        let Ancestry { line, root } = ancestry(i, given, sink);
        let mut made = shipped::profile(root, categories).expect("a line ends with a shipped profile");
        made.name = profile.name.value.clone();
        let mut draft = Draft::default();
        // From the oldest ancestor down, each says its own word over the last.
        for &at in line.iter().rev() {
            apply(&given[at], &own[at], &mut made);
            draft.apply(&given[at]);
        }
        draft.check_count(profile, sink);
        made.windows = draft.lower(spec, calendars, categories, sink);
        match made.name == DEFAULT_PROFILE {
            true => profiles.insert(0, made),
            false => profiles.push(made),
        }
    }
    let undeclared = shipped::NAMES.iter().filter(|name| given.iter().all(|profile| profile.name.value != **name));
    for made in undeclared.filter_map(|name| shipped::profile(name, categories)) {
        match made.name == DEFAULT_PROFILE {
            true => profiles.insert(0, made),
            false => profiles.push(made),
        }
    }
    // `ProfileId` has 16 bits.
    if profiles.len() > usize::from(u16::MAX)
        && let Some(last) = given.last()
    {
        sink.error(last.name.at, format!("{} profiles, at most {}", profiles.len(), u16::MAX));
    }
    profiles
}

/// What of a profile's own keys is looked up in tables.
struct Own {
    block: Option<Vec<CategoryId>>,
    shadow: Option<Vec<CategoryId>>,
    responses: Vec<(CategoryId, BlockResponse)>,
}

impl Own {
    fn of(profile: &ProfileSpec, spec: &Spec, categories: &Categories, sink: &Sink) -> Own {
        check(profile, spec, sink);
        let name = &profile.name.value;
        let ids = |key: &str, names: &Option<Vec<Spanned<String>>>| {
            let names = names.as_ref()?;
            Some(category_ids(names, &format!("`{key}` in [profile.{name}]"), categories, sink))
        };
        let place = format!("[profile.{name}.block_responses]");
        let responses = profile.block_responses.iter();
        let responses =
            responses.filter_map(|(of, response)| Some((category_id(of, &place, categories, sink)?, *response)));
        Own {
            block: ids("block", &profile.block),
            shadow: ids("shadow", &profile.shadow),
            responses: responses.collect(),
        }
    }
}

fn check(profile: &ProfileSpec, spec: &Spec, sink: &Sink) {
    let name = &profile.name.value;
    if let Err(why) = values::check_thing_name(name) {
        sink.error(profile.name.at, format!("[profile.{name}]: {why}"));
    }
    let garden = profile.mode.as_ref().filter(|mode| mode.value == ProfileMode::WalledGarden);
    let paged = profile.block_response.as_ref().filter(|response| response.value == BlockResponse::Page);
    let by_category = profile.block_responses.iter().find(|(_, response)| *response == BlockResponse::Page);
    let places = [garden.map(|mode| mode.at), paged.map(|response| response.at), by_category.map(|(of, _)| of.at)];
    if let Some(at) = places.into_iter().flatten().next()
        && !spec.page_given
    {
        sink.error(at, format!("[profile.{name}] answers with a page, so [page] needs `v4` or `v6`"));
    }
    for engine in profile.safe_search_except.iter().flatten() {
        let known = default::search_engines();
        if !known.contains(&engine.value) {
            let more = suggestion(&engine.value, known.iter().map(String::as_str));
            let place = format!("`safe_search_except` in [profile.{name}]");
            sink.error(engine.at, format!("{place}: there is no search engine `{}`{more}", engine.value));
        }
    }
}

/// Content categories by their names; what is none is reported.
pub(super) fn category_ids<'a>(
    names: impl IntoIterator<Item = &'a Spanned<String>>,
    place: &str,
    categories: &Categories,
    sink: &Sink,
) -> Vec<CategoryId> {
    let mut ids = Vec::new();
    for name in names {
        let Some(id) = category_id(name, place, categories, sink) else { continue };
        if categories.get(id).layer == Layer::Security {
            let message = format!(
                "{place}: `{}` is a security category; those are always on unless `security = false`",
                name.value
            );
            sink.error(name.at, message);
        } else if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// Who a profile takes after.
struct Ancestry<'a> {
    /// The profile and its declared ancestors, as indexes, the profile first.
    line: Vec<usize>,
    /// The shipped profile that the last of them takes after.
    root: &'a str,
}

/// A parent that is not there and a circle are reported. Undeclared, or named by the profile of its own name, a shipped profile
/// is a parent as it is shipped.
fn ancestry<'a>(start: usize, given: &'a [ProfileSpec], sink: &Sink) -> Ancestry<'a> {
    let mut line = vec![start];
    let mut at = start;
    while let Some(parent) = &given[at].inherit {
        let is_shipped = shipped::NAMES.contains(&parent.value.as_str());
        let declared = given.iter().position(|p| p.name.value == parent.value);
        let Some(next) = declared.filter(|next| *next != at || !is_shipped) else {
            if is_shipped {
                return Ancestry { line, root: &parent.value };
            }
            // Said once: by the profile that names it.
            if at == start {
                let more = suggestion(&parent.value, names(given));
                let name = &given[at].name.value;
                sink.error(parent.at, format!("[profile.{name}] inherits undeclared profile `{}`{more}", parent.value));
            }
            break;
        };
        if line.contains(&next) {
            // Each profile of a circle comes back to itself; the first of them speaks for all.
            if next == start && line.iter().all(|&other| start <= other) {
                let circle: Vec<&str> = line.iter().chain([&start]).map(|&i| given[i].name.value.as_str()).collect();
                let inherit = given[start].inherit.as_ref().map_or(given[start].name.at, |i| i.at);
                sink.error(inherit, format!("profiles inherit in a circle: {}", circle.join(" → ")));
            }
            break;
        }
        line.push(next);
        at = next;
    }
    Ancestry { line, root: DEFAULT_PROFILE }
}

fn names(given: &[ProfileSpec]) -> impl Iterator<Item = &str> {
    given.iter().map(|p| p.name.value.as_str()).chain(shipped::NAMES.iter().copied())
}

/// Puts the keys that `spec` gives over those of `made`.
fn apply(spec: &ProfileSpec, own: &Own, made: &mut ProfileSettings) {
    if let Some(block) = &own.block {
        made.block.clone_from(block);
    }
    if let Some(shadow) = &own.shadow {
        made.shadow.clone_from(shadow);
    }
    for response in &own.responses {
        made.block_responses.retain(|(of, _)| *of != response.0);
        made.block_responses.push(*response);
    }
    if let Some(mode) = &spec.mode {
        (made.mode, made.unlisted) = match mode.value {
            ProfileMode::Enforce => (Some(Mode::Enforce), Unlisted::Judged),
            ProfileMode::Observe => (Some(Mode::Observe), made.unlisted),
            ProfileMode::AllowOnly => (None, Unlisted::Blocked),
            ProfileMode::WalledGarden => (None, Unlisted::Portal),
        };
        if mode.value == ProfileMode::WalledGarden {
            made.block_response = BlockResponse::Page;
            made.block_ttl_secs = Some(shipped::WALLED_GARDEN_TTL_SECS);
        }
    }
    made.security = spec.security.as_ref().map_or(made.security, |security| security.value);
    made.security_for_addresses = spec.security_for.as_ref().map_or(made.security_for_addresses, |only| only.value);
    made.block_ttl_secs = spec.block_ttl.as_ref().map(|ttl| ttl.value.as_secs() as u32).or(made.block_ttl_secs);
    if let Some(except) = &spec.safe_search_except {
        made.safe_search_except = except.iter().map(|engine| engine.value.clone()).collect();
    }
    made.safe_search = spec.safe_search.unwrap_or(made.safe_search);
    made.youtube = spec.youtube.as_ref().map_or(made.youtube, |youtube| youtube.value);
    made.block_response = spec.block_response.as_ref().map_or(made.block_response, |response| response.value);
    if spec.allow.is_some() {
        made.allow = own_entries(&spec.allow);
    }
    if spec.deny.is_some() {
        made.deny = own_entries(&spec.deny);
    }
}

/// What belongs to which client already, and where that is said.
#[derive(Default)]
struct Owners<'a> {
    networks: HashMap<(Option<&'a str>, IpNet), (&'a str, Place)>,
    ids: HashMap<Token, (&'a str, Place)>,
    listeners: HashMap<IpAddr, (&'a str, Place)>,
}

/// Every client, its profile looked up. A network, an identity and an address that is asked belong to one client.
pub(super) fn clients(
    given: &[ClientSpec],
    profiles: &[ProfileSettings],
    realms: &[RealmSettings],
    sink: &Sink,
) -> Vec<ClientSettings> {
    let mut owners = Owners::default();
    let by_name: HashMap<&str, usize> = profiles.iter().enumerate().map(|(i, p)| (p.name.as_str(), i)).collect();
    let mut clients = Vec::with_capacity(given.len());
    for spec in given {
        let name = &spec.name.value;
        if let Err(why) = values::check_thing_name(name) {
            sink.error(spec.name.at, format!("[client.{name}]: {why}"));
        }
        let realm = spec.realm.as_ref();
        for net in &spec.networks {
            check_network(net, name, realm.map(|realm| realm.value.as_str()), &mut owners, sink);
        }
        for id in &spec.ids {
            let before = owners.ids.insert(id.value.0, (name, id.at));
            told_twice(&format!("`{}`", id.value.1), name, id.at, before, sink);
        }
        for address in &spec.listeners {
            let before = owners.listeners.insert(address.value, (name, address.at));
            told_twice(&format!("the listener {}", address.value), name, address.at, before, sink);
        }
        let Some(wanted) = &spec.profile else { continue };
        let Some(&profile) = by_name.get(wanted.value.as_str()) else {
            let more = suggestion(&wanted.value, profiles.iter().map(|p| p.name.as_str()));
            sink.error(wanted.at, format!("[client.{name}] has undeclared profile `{}`{more}", wanted.value));
            continue;
        };
        let networks = spec.networks.iter().map(|net| net.value).collect();
        let realm = peers::realm_of(name, realm, realms, sink);
        let ids = spec.ids.iter().map(|id| id.value.0).collect();
        let listeners = spec.listeners.iter().map(|address| address.value).collect();
        let tags = spec.tags.iter().flatten().map(|tag| tag.value.clone()).collect();
        let lines = spec.lines.map_or(1, |lines| lines as u32);
        let (name, mode) = (name.clone(), spec.mode.as_ref().map(|mode| mode.value));
        let place = Some((sink.file(spec.name.at).to_owned(), spec.name.at.line));
        clients.push(ClientSettings { name, networks, realm, ids, listeners, tags, profile, lines, mode, place });
    }
    clients
}

fn check_network<'a>(
    net: &Spanned<IpNet>,
    client: &'a str,
    realm: Option<&'a str>,
    owners: &mut Owners<'a>,
    sink: &Sink,
) {
    if net.value.prefix_len() == 0 {
        sink.hint(net.at, format!("[client.{client}] is {}: anyone on the internet may ask", net.value));
    }
    let before = owners.networks.insert((realm, net.value), (client, net.at));
    told_twice(&net.value.to_string(), client, net.at, before, sink);
}

/// Says that something had an owner before, if it had.
fn told_twice(what: &str, client: &str, here: Place, before: Option<(&str, Place)>, sink: &Sink) {
    let Some((owner, at)) = before else { return };
    let at = sink.show(at);
    if owner == client {
        sink.hint(here, format!("[client.{client}] names {what} twice: here and at {at}"));
    } else {
        sink.error(here, format!("{what} belongs to two clients: [client.{client}] here and [client.{owner}] at {at}"));
    }
}
