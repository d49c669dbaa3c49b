//! Profiles and clients: who gets what.
//!
//! A profile takes what it does not say from its parent, the parent from its own, and the last from the built-in default.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::engine::category::{Categories, CategoryId, Layer};
use crate::engine::compile::{ClientSettings, ProfileSettings};
use crate::engine::verdict::BlockResponse;

use super::default::{DEFAULT_PROFILE, default_profile};
use super::errors::{Place, Sink, Spanned, suggestion};
use super::lower::{category_id, own_entries};
use super::spec::{ClientSpec, ProfileSpec, Spec};
use super::values;

/// Every profile with `inherit` applied, the default one first.
pub(super) fn profiles(spec: &Spec, categories: &Categories, sink: &Sink) -> Vec<ProfileSettings> {
    let given = &spec.profiles;
    let own_blocks: Vec<Option<Vec<CategoryId>>> = given.iter().map(|p| block(p, categories, sink)).collect();
    let mut profiles = Vec::with_capacity(given.len() + 1);
    if !given.iter().any(|p| p.name.value == DEFAULT_PROFILE) {
        profiles.push(default_profile(categories));
    }
    for (i, profile) in given.iter().enumerate() {
        check(profile, spec, sink);
        let line = ancestry(i, given, sink);
        let mut made = default_profile(categories);
        made.name = profile.name.value.clone();
        // From the oldest ancestor down, each says its own word over the last.
        for &at in line.iter().rev() {
            apply(&given[at], own_blocks[at].as_deref(), &mut made);
        }
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

fn check(profile: &ProfileSpec, spec: &Spec, sink: &Sink) {
    let name = &profile.name.value;
    if let Err(why) = values::check_thing_name(name) {
        sink.error(profile.name.at, format!("[profile.{name}]: {why}"));
    }
    if let Some(response) = &profile.block_response
        && response.value == BlockResponse::Page
        && spec.page_v4.is_none()
        && spec.page_v6.is_none()
    {
        sink.error(response.at, format!("[profile.{name}] answers with a page, so [page] needs `v4` or `v6`"));
    }
}

/// The categories of `block`, or `None` when the key is not given.
fn block(profile: &ProfileSpec, categories: &Categories, sink: &Sink) -> Option<Vec<CategoryId>> {
    let place = format!("`block` in [profile.{}]", profile.name.value);
    let mut ids = Vec::new();
    for name in profile.block.as_ref()? {
        let Some(id) = category_id(name, &place, categories, sink) else { continue };
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
    Some(ids)
}

/// The profile and its ancestors, as indexes, the profile first. A parent that is not there and a circle are reported.
fn ancestry(start: usize, given: &[ProfileSpec], sink: &Sink) -> Vec<usize> {
    let mut line = vec![start];
    let mut at = start;
    while let Some(parent) = &given[at].inherit {
        let Some(next) = given.iter().position(|p| p.name.value == parent.value) else {
            // Undeclared, `default` is the built-in one. Said once: by the profile that names it.
            if parent.value != DEFAULT_PROFILE && at == start {
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
    line
}

fn names(given: &[ProfileSpec]) -> impl Iterator<Item = &str> {
    given.iter().map(|p| p.name.value.as_str()).chain([DEFAULT_PROFILE])
}

/// Puts the keys that `spec` gives over those of `made`.
fn apply(spec: &ProfileSpec, block: Option<&[CategoryId]>, made: &mut ProfileSettings) {
    if let Some(block) = block {
        made.block = block.to_vec();
    }
    made.security = spec.security.unwrap_or(made.security);
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

/// Every client, its profile looked up. A network belongs to one client.
pub(super) fn clients(given: &[ClientSpec], profiles: &[ProfileSettings], sink: &Sink) -> Vec<ClientSettings> {
    let mut owners: HashMap<IpNet, (&str, Place)> = HashMap::new();
    let by_name: HashMap<&str, usize> = profiles.iter().enumerate().map(|(i, p)| (p.name.as_str(), i)).collect();
    let mut clients = Vec::with_capacity(given.len());
    for spec in given {
        let name = &spec.name.value;
        if let Err(why) = values::check_thing_name(name) {
            sink.error(spec.name.at, format!("[client.{name}]: {why}"));
        }
        for net in &spec.networks {
            check_network(net, name, &mut owners, sink);
        }
        let Some(wanted) = &spec.profile else { continue };
        let Some(&profile) = by_name.get(wanted.value.as_str()) else {
            let more = suggestion(&wanted.value, profiles.iter().map(|p| p.name.as_str()));
            sink.error(wanted.at, format!("[client.{name}] has undeclared profile `{}`{more}", wanted.value));
            continue;
        };
        let networks = spec.networks.iter().map(|net| net.value).collect();
        let tags = spec.tags.iter().flatten().map(|tag| tag.value.clone()).collect();
        let lines = spec.lines.map_or(1, |lines| lines as u32);
        clients.push(ClientSettings { name: name.clone(), networks, tags, profile, lines });
    }
    clients
}

fn check_network<'a>(
    net: &Spanned<IpNet>,
    client: &'a str,
    owners: &mut HashMap<IpNet, (&'a str, Place)>,
    sink: &Sink,
) {
    if net.value.prefix_len() == 0 {
        sink.hint(net.at, format!("[client.{client}] is {}: anyone on the internet may ask", net.value));
    }
    let Some((owner, at)) = owners.insert(net.value, (client, net.at)) else { return };
    let (net, at, here) = (net.value, sink.show(at), net.at);
    if owner == client {
        sink.hint(here, format!("[client.{client}] names {net} twice: here and at {at}"));
    } else {
        sink.error(here, format!("{net} belongs to two clients: [client.{client}] here and [client.{owner}] at {at}"));
    }
}
