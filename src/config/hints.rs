//! What is allowed but surely not meant. A hint is told by `check` and at start; it stops nothing.

use std::net::SocketAddr;

use crate::engine::category::{CANARY_NAME, Categories, CategoryId, Layer, TEST_ZONE};
use crate::engine::compile::{ListSettings, ProfileSettings};
use crate::engine::list::Reach;
use crate::engine::name::Name;
use crate::engine::upstream::{Host, Server, UpstreamTransport};
use crate::engine::verdict::BlockResponse;

use super::default::{self, DEFAULT_PROFILE};
use super::errors::{Place, Sink, Spanned};
use super::lower::{is_ourselves, listeners};
use super::profile::ProfileMode;
use super::services;
use super::spec::{Admin, ListSpec, OwnEntries, Spec};

/// Looks for all of it. `listen` are the addresses in force, given or not.
pub(super) fn find(
    spec: &Spec,
    listen: &[SocketAddr],
    categories: &Categories,
    (lists, profiles): (&[ListSettings], &[ProfileSettings]),
    sink: &Sink,
) {
    overlapping_listeners(spec, sink);
    nobody_may_ask(spec, listen, sink);
    upstream_servers(spec, sink);
    for server in spec.bootstrap.iter().flatten().filter(|s| listen.iter().any(|&own| is_ourselves(s.value, own))) {
        sink.hint(
            server.at,
            format!("`bootstrap` holds {}, which is this resolver itself: it resolves nothing", server.value),
        );
    }
    if spec.rebind_protection != Some(true)
        && let Some(first) = spec.rebind_allow.iter().flatten().next()
    {
        sink.hint(first.at, "`rebind_allow` spares names from `rebind_protection`, which is off");
    }
    unused_page(spec, sink);
    files_named_twice(&spec.lists, sink);
    empty_categories(spec, categories, lists, profiles, sink);
    own_entries(&spec.operator_allow, &spec.operator_deny, "[operator]", sink);
    for profile in &spec.profiles {
        own_entries(&profile.allow, &profile.deny, &format!("[profile.{}]", profile.name.value), sink);
    }
    allowed_canary(spec, sink);
    for security in spec.profiles.iter().filter_map(|profile| profile.security.as_ref()).filter(|on| !on.value) {
        sink.hint(
            security.at,
            "`security = false`: malware, phishing and scams pass; it is for the operator's own use, not for a subscriber's \
             choice",
        );
    }
}

/// A wildcard holds every address of its family: the one beside it is in use when we come to it.
fn overlapping_listeners(spec: &Spec, sink: &Sink) {
    let overlap = |a: SocketAddr, b: SocketAddr| {
        let is_wildcard = a.ip().is_unspecified() != b.ip().is_unspecified();
        a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && is_wildcard
    };
    let given = listeners(spec);
    let mut told = Vec::new();
    for given in &given {
        for (i, (key, address)) in given.iter().enumerate() {
            for (other_key, other) in given[..i].iter().filter(|(_, other)| overlap(address.value, other.value)) {
                let (a, b, place) = (address.value, other.value, sink.show(other.at));
                if std::mem::replace(&mut told, vec![(address.at, other.at)]).contains(&(address.at, other.at)) {
                    continue;
                }
                let holds = if key == other_key {
                    format!("`{key}` in [listen] holds {a} and {b} ({place})")
                } else {
                    format!("[listen] holds {a} in `{key}` and {b} in `{other_key}` ({place})")
                };
                sink.hint(address.at, format!("{holds}: the second will find its address in use"));
            }
        }
    }
    if let Some(Spanned { at, value: Admin::At(admin) }) = spec.admin
        && let Some((key, other)) = given[0].iter().find(|(_, other)| overlap(admin, other.value))
    {
        let other = other.value;
        sink.hint(
            at,
            format!("`admin` in [listen] is {admin}, but `{key}` holds {other}: it will find its address in use"),
        );
    }
}

fn nobody_may_ask(spec: &Spec, listen: &[SocketAddr], sink: &Sink) {
    let Some(allowed) = &spec.access_allow else { return };
    let clients = spec.clients.iter().flat_map(|client| &client.networks);
    let mut nets = allowed.iter().chain(clients).map(|net| net.value).peekable();
    if nets.peek().is_none() {
        sink.hint(spec.access_at, "`allow` in [access] is empty and there is no [client.*]: nobody may ask");
    } else if nets.all(|net| net.addr().is_loopback())
        && let Some(wide) = listen.iter().find(|address| !address.ip().is_loopback())
    {
        sink.hint(spec.access_at, format!("it listens on {wide}, but [access] lets nobody beyond this machine ask"));
    }
}

fn upstream_servers(spec: &Spec, sink: &Sink) {
    for table in spec.upstreams.iter().flatten() {
        for (i, server) in table.servers.iter().enumerate() {
            if let Some(earlier) = table.servers[..i].iter().find(|other| other.value == server.value) {
                let first = sink.show(earlier.at);
                sink.hint(server.at, format!("`servers` names {} twice: here and at {first}", server.value));
            }
            if let Some(meant) = port_of_another(&server.value) {
                let message = format!("{}: this port is usually that of {}", server.value, meant.as_str());
                sink.hint(server.at, message);
            }
        }
    }
}

/// The transport that a server's port is known for, when this one surely is another.
fn port_of_another(server: &Server) -> Option<UpstreamTransport> {
    let port = match &server.host {
        Host::Address(address) => address.port(),
        Host::Name(_, port) => *port,
    };
    match (port, server.transport.is_authenticated()) {
        (53, true) => Some(UpstreamTransport::Udp),
        (853, false) => Some(UpstreamTransport::Tls),
        (443, false) => Some(UpstreamTransport::Https),
        // Encrypted transports stand on one another's ports: 443 passes more firewalls.
        _ => None,
    }
}

fn unused_page(spec: &Spec, sink: &Sink) {
    let is_paged = |profile: &super::profile::ProfileSpec| {
        profile.block_response.as_ref().is_some_and(|response| response.value == BlockResponse::Page)
            || profile.block_responses.iter().any(|(_, response)| *response == BlockResponse::Page)
            || profile.mode.as_ref().is_some_and(|mode| mode.value == ProfileMode::WalledGarden)
    };
    let names = spec.clients.iter().filter_map(|client| client.profile.as_ref());
    let parents = spec.profiles.iter().filter_map(|profile| profile.inherit.as_ref());
    let is_used = spec.profiles.iter().any(is_paged) || names.chain(parents).any(|name| name.value == "walled-garden");
    let page = spec.page_v4.as_ref().map(|v4| v4.at).or(spec.page_v6.as_ref().map(|v6| v6.at));
    if let Some(at) = page.filter(|_| !is_used) {
        sink.hint(at, "[page] is sent to nobody: no profile has `block_response = \"page\"`");
    }
}

fn files_named_twice(lists: &[ListSpec], sink: &Sink) {
    let what = |list: &ListSpec| {
        let (file, category) = (list.file.as_ref()?, list.category.as_ref()?);
        Some((sink.base(file.at).join(&file.value), category.value.clone()))
    };
    for (i, list) in lists.iter().enumerate() {
        let earlier = lists[..i].iter().find(|other| what(list).is_some() && what(other) == what(list));
        if let Some(earlier) = earlier {
            let (name, other, place) = (&list.name.value, &earlier.name.value, sink.show(earlier.name.at));
            sink.hint(list.name.at, format!("[list.{name}] has file and category of [list.{other}] ({place})"));
        }
    }
}

/// Entries of a pair of own lists that do not do what they seem to.
fn own_entries(allow: &OwnEntries, deny: &OwnEntries, table: &str, sink: &Sink) {
    for entry in allow.iter().flatten() {
        let (name, reach) = &entry.value;
        if let Some(denied) = deny.iter().flatten().find(|denied| denied.value == entry.value) {
            let place = sink.show(denied.at);
            sink.hint(entry.at, format!("{table} allows {name} and denies it ({place}): at a tie, allow wins"));
        }
        if name.label_count() == 1 && *reach != Reach::Exact {
            sink.hint(entry.at, format!("`allow` in {table} takes in every name below `{name}`"));
        }
    }
}

/// A category that is blocked but that no list has blocks nothing; somebody should know.
fn empty_categories(
    spec: &Spec,
    categories: &Categories,
    lists: &[ListSettings],
    profiles: &[ProfileSettings],
    sink: &Sink,
) {
    // What a compiled file brings is seen when it is opened.
    if spec.lists.iter().any(|list| list.compiled) {
        return;
    }
    let is_empty = |id: CategoryId| {
        let category = categories.get(id);
        // The rules of `unsafe-search` are the SafeSearch table's.
        category.layer == Layer::Content
            && category.name != "unsafe-search"
            && !lists.iter().any(|list| list.category == id)
    };
    for profile in &spec.profiles {
        let of_windows = profile.windows.iter().flat_map(|window| window.categories.iter().flatten());
        for name in profile.block.iter().chain(&profile.shadow).flatten().chain(of_windows) {
            if categories.id(&name.value).is_some_and(is_empty) {
                let (profile, how) = (&profile.name.value, how_to_add(&name.value));
                let message =
                    format!("[profile.{profile}] blocks `{}`, but no [list.*] has this category; {how}", name.value);
                sink.hint(name.at, message);
            }
        }
    }
    let top = Place { file: 0, line: 1, column: 1 };
    if lists.is_empty() && spec.lists.is_empty() {
        let how = how_to_add("adult");
        let message = format!("there is no [list.*]: profiles block no category, and no malware either; {how}");
        return sink.hint(top, message);
    }
    for profile in profiles {
        let name = profile.name.as_str();
        let declared = spec.profiles.iter().find(|given| given.name.value == name);
        let asked = spec.clients.iter().filter_map(|client| client.profile.as_ref()).find(|of| of.value == name);
        let at = declared.map(|given| given.name.at).or(asked.map(|of| of.at));
        let Some(at) = at.or((name == DEFAULT_PROFILE).then_some(top)) else { continue };
        if says_what_it_blocks(spec, name) {
            continue;
        }
        let empty: Vec<&str> =
            profile.block.iter().filter(|id| is_empty(**id)).map(|id| categories.get(*id).name.as_str()).collect();
        if let Some(first) = empty.first() {
            let (all, how) = (empty.join(", "), how_to_add(first));
            let message = format!(
                "profile `{name}` blocks {all} as it is shipped, but no [list.*] has these categories; {how}, or say \
                 `block` in [profile.{name}]"
            );
            sink.hint(at, message);
        }
    }
}

/// Whether a profile, or one of its declared parents, has `block`: then the hint is there.
fn says_what_it_blocks(spec: &Spec, name: &str) -> bool {
    let mut name = name.to_owned();
    // As many steps as there are profiles: a circle is an error elsewhere.
    for _ in 0..=spec.profiles.len() {
        let Some(given) = spec.profiles.iter().find(|given| given.name.value == name) else { return false };
        if given.block.is_some() {
            return true;
        }
        match &given.inherit {
            Some(parent) => name.clone_from(&parent.value),
            None => return false,
        }
    }
    false
}

/// A list for a category, as somebody would write it.
fn how_to_add(category: &str) -> String {
    if category.starts_with(services::PREFIX) {
        return "services are built in".to_owned();
    }
    let table = format!("add [list.{category}] with category = \"{category}\" and");
    match default::BUILT_IN_LISTS.contains(&category) {
        true => {
            format!("{table} file = \"builtin:{category}\" (a short starter list), or a `file` or `url` of your own")
        }
        false => format!("{table} a `file` or `url` of your own"),
    }
}

/// An allow that would reach the canary does not: whoever wrote it should not wait for it.
fn allowed_canary(spec: &Spec, sink: &Sink) {
    for entry in spec.operator_allow.iter().flatten() {
        let (allowed, reach) = &entry.value;
        let is_covered = |text: &str| {
            let name = Name::from_text(text).expect("the canary and its zone are written as names");
            match reach {
                Reach::Exact => name == *allowed,
                Reach::Subtree => name.is_at_or_below(allowed),
                Reach::Children => name != *allowed && name.is_at_or_below(allowed),
            }
        };
        if is_covered(CANARY_NAME) || is_covered(TEST_ZONE) {
            let message = format!(
                "`allow` in [operator] covers {CANARY_NAME} or its zone, but it stays blocked: /readyz and `healthcheck` see \
                 by it that filtering works"
            );
            sink.hint(entry.at, message);
        }
    }
}
