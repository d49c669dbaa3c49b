//! The file's shape → the engine's types: defaults filled in, names looked up, keys checked against each other.
//!
//! Boring on purpose: one function for each table. Profiles and clients, which refer to each other, are in
//! [`people`]; what is allowed but surely not meant is [`hints`]'.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::engine::category::{Categories, Category, CategoryId, Layer};
use crate::engine::compile::{
    CacheSettings, CompileError, CompiledSettings, ListSettings, ListSource, Mode, Observe, Policy, Strangers,
    list_count,
};
use crate::engine::limits::{LISTS_MAX, PROFILES_MAX};
use crate::engine::list::{Format, ParseOptions, Reach};
use crate::engine::name::Name;
use crate::engine::upstream::{Fallback, UpstreamTable};

use super::errors::{Sink, Spanned, suggestion};
use super::files::is_pattern;
use super::gate::{self, GateSpec};
use super::hours::{self, Calendars};
use super::list_url::list_url;
use super::spec::{Admin, CategorySpec, ListSpec, OwnEntries, Spec, UpstreamSpec};
use super::{
    Engine, Learn, ListFile, PopularSettings, Settings, UdpSettings, contact, cookies, default, hints, orders, peers,
    people, rate_limit, services, subscribers, tls, values, zone_limit,
};

/// Zones of rung 1 that no configuration takes over (DESIGN §4).
const NEVER_FORWARDED: &[&str] = &["localhost", "invalid", "onion", "alt", "resolver.arpa"];

/// What a starter list's name stands behind.
const BUILT_IN: &str = "builtin:";

/// Turns a specification into what daemon and engine take. Whatever is wrong goes to `sink`; the result counts only if
/// nothing did.
pub(super) fn lower(spec: &Spec, calendars: &Calendars, sink: &Sink) -> (Settings, Policy) {
    let settings = settings(spec, sink);
    let mut categories = categories(&spec.categories, sink);
    let services = services::declare(spec, &mut categories);
    let lists = lists(spec, &categories, sink).into_iter().chain(services).collect::<Vec<_>>();
    let profiles = people::profiles(spec, &categories, calendars, sink);
    let peers = peers::lower(&spec.peers, &spec.realms, sink);
    let clients = people::clients(&spec.clients, &profiles, &peers.realms, sink);
    let compiled = compiled(&spec.lists, &categories, sink);
    hints::find(spec, &settings.dns, &categories, (&lists, &profiles), sink);
    // Who speaks for others may ask for itself, as proxies do to see whether we are there.
    let before_us = peers.trusted.iter().chain(&peers.proxies).copied();
    let of_clients = clients.iter().flat_map(|client| client.networks.iter().copied());
    let access = access(spec, of_clients.chain(before_us), sink);
    let policy = Policy {
        categories,
        lists,
        compiled,
        profiles,
        clients,
        access,
        peers,
        strangers: spec.strangers.map_or(Strangers::Refuse, |s| s.value),
        cookies: cookies::lower(&spec.cookies, sink),
        rate_limit: rate_limit::lower(&spec.rate_limit),
        zone_limit: zone_limit::lower(&spec.zone_limit),
        operator_allow: own_entries(&spec.operator_allow),
        operator_deny: own_entries(&spec.operator_deny),
        upstreams: upstreams(spec, &settings.dns, sink),
        contact: contact::lower(&spec.contact, sink),
        page_v4: spec.page_v4.map(|v4| v4.value),
        page_v6: spec.page_v6.map(|v6| v6.value),
        block_ttl_secs: spec.block_ttl.map_or(default::BLOCK_TTL_SECS, |ttl| ttl.value.as_secs() as u32),
        observe: Observe {
            mode: spec.mode.as_ref().map_or(Mode::Enforce, |mode| mode.value),
            percent: spec.observe_percent.map_or(0, |percent| percent as u8),
        },
        rebind_protection: spec.rebind_protection.unwrap_or(false),
        rebind_allow: spec.rebind_allow.iter().flatten().map(|name| name.value.clone()).collect(),
        cache: CacheSettings {
            size: spec.cache_size.map_or(default::CACHE.size, |size| size.value),
            serve_stale: spec.serve_stale.map_or(default::CACHE.serve_stale, |time| time.value),
            max_client_ttl: spec.max_client_ttl.map_or(default::CACHE.max_client_ttl, |time| time.value),
        },
        discovery: None,
        node_name: spec.node_name.as_ref().map_or(String::new(), |name| name.value.clone()),
        time_zone: hours::time_zone(&settings.time_zone),
    };
    check_index_size(spec, &policy, sink);
    (settings, policy)
}

fn settings(spec: &Spec, sink: &Sink) -> Settings {
    let dns: Vec<SocketAddr> = match &spec.listen_dns {
        Some(given) => given.iter().map(|address| address.value).collect(),
        None => default::LISTEN.to_vec(),
    };
    let (admin, admin_is_default) = match spec.admin {
        Some(Spanned { value: Admin::At(address), .. }) => (Some(address), false),
        Some(Spanned { value: Admin::Off, .. }) => (None, false),
        None => (Some(default::ADMIN), true),
    };
    check_listeners(spec, sink);
    let addresses = |given: &Option<Vec<Spanned<SocketAddr>>>| given.iter().flatten().map(|at| at.value).collect();
    Settings {
        dns,
        dot: addresses(&spec.listen_dot),
        doh: addresses(&spec.listen_doh),
        doq: addresses(&spec.listen_doq),
        tls: tls::lower(spec, sink),
        udp: UdpSettings {
            engine: spec.udp_engine.map_or(Engine::Batched, |engine| engine.value),
            workers: spec.udp_workers.map(|workers| usize::try_from(workers).expect("read as 1 or more")),
            pinned: spec.udp_pinned.unwrap_or(false),
        },
        admin,
        admin_is_default,
        orders: orders::lower(&spec.orders, sink),
        state_directory: spec.state_directory.as_ref().map(|path| absolute(path, sink)),
        bootstrap: spec.bootstrap.iter().flatten().map(|address| address.value).collect(),
        tls_roots: spec.upstream_ca_file.as_ref().map(|path| absolute(path, sink)),
        drain_timeout: spec.drain_timeout.as_ref().map_or(default::DRAIN_TIMEOUT, |time| time.value),
        popular: PopularSettings {
            file: spec.gate.popular_file.as_ref().map(|path| absolute(path, sink)),
            top: spec
                .gate
                .popular_top
                .map_or(gate::POPULAR_TOP, |top| usize::try_from(top).expect("read as 1 or more")),
            learn: spec.gate.learn.as_ref().map_or(Learn::Memory, |learn| learn.value),
        },
        list_urls: spec.lists.iter().filter_map(|list| list_url(list, sink)).collect(),
        subscribers: subscribers::lower(&spec.subscribers, sink),
        time_zone: spec.time_zone.as_ref().map_or_else(|| default::TIME_ZONE.to_owned(), |zone| zone.value.clone()),
    }
}

/// The addresses of `[listen]` by protocol, each with its key: those taken for TCP, and those for UDP.
pub(super) fn listeners(spec: &Spec) -> [Vec<(&'static str, Spanned<SocketAddr>)>; 2] {
    let of = |keys: &[(&'static str, &Option<Vec<Spanned<SocketAddr>>>)]| {
        let keys = keys.iter();
        keys.flat_map(|(key, given)| given.iter().flatten().map(|address| (*key, *address))).collect()
    };
    let (dns, dot, doh, doq) =
        (("dns", &spec.listen_dns), ("dot", &spec.listen_dot), ("doh", &spec.listen_doh), ("doq", &spec.listen_doq));
    [of(&[dns, dot, doh]), of(&[dns, doh, doq])]
}

fn check_listeners(spec: &Spec, sink: &Sink) {
    let [tcp, udp] = listeners(spec);
    let mut told = Vec::new();
    for given in [&tcp, &udp] {
        for (i, (key, address)) in given.iter().enumerate() {
            let is_it = |other: &&(&str, Spanned<SocketAddr>)| other.1.value == address.value;
            let Some((other, earlier)) = given[..i].iter().find(is_it).filter(|_| address.value.port() != 0) else {
                continue;
            };
            if std::mem::replace(&mut told, vec![address.at]).contains(&address.at) {
                continue;
            }
            let (first, at) = (sink.show(earlier.at), address.value);
            let message = if key == other {
                format!("`{key}` in [listen] names {at} twice: here and at {first}")
            } else {
                format!("`{key}` in [listen] names {at}, which `{other}` takes already ({first})")
            };
            sink.error(address.at, message);
        }
    }
    let all = || tcp.iter().chain(&udp).map(|(_, address)| address);
    if let Some(wide) = all().find(|address| !address.value.ip().is_loopback())
        && spec.upstreams.is_none()
    {
        let message = format!(
            "it listens on {}, beyond loopback, so it needs an [[upstream]]: servers = [\"udp://192.0.2.1\"]",
            wide.value
        );
        sink.error(wide.at, message);
    }
    if let Some(Spanned { at, value: Admin::At(admin) }) = spec.admin {
        if let Some((key, _)) = tcp.iter().find(|(_, address)| admin.port() != 0 && address.value == admin) {
            sink.error(at, format!("`admin` in [listen] is {admin}, which `{key}` takes already"));
        }
        if !admin.ip().is_loopback() {
            sink.hint(
                at,
                format!("`admin` is {admin}: whoever reaches it reads metrics and status, and may have lists fetched"),
            );
        }
    }
}

fn absolute(path: &Spanned<String>, sink: &Sink) -> PathBuf {
    sink.base(path.at).join(&path.value)
}

fn access(spec: &Spec, clients: impl Iterator<Item = IpNet>, sink: &Sink) -> Vec<IpNet> {
    let mut access = match &spec.access_allow {
        Some(given) => given.iter().map(|net| net.value).collect(),
        None => default::access(),
    };
    for net in spec.access_allow.iter().flatten().filter(|net| net.value.prefix_len() == 0) {
        sink.hint(net.at, format!("`allow` in [access] holds {}: anyone on the internet may ask", net.value));
    }
    access.extend(clients);
    access.sort();
    access.dedup();
    access
}

fn upstreams(spec: &Spec, listen: &[SocketAddr], sink: &Sink) -> Vec<UpstreamTable> {
    let given = spec.upstreams.iter().flatten();
    given.map(|table| upstream(table, listen, sink)).collect()
}

fn upstream(spec: &UpstreamSpec, listen: &[SocketAddr], sink: &Sink) -> UpstreamTable {
    for zone in spec.zones.iter().flatten() {
        let taken = NEVER_FORWARDED.iter().find(|text| {
            let reserved = Name::from_text(text).expect("the table above holds names");
            zone.value.is_at_or_below(&reserved)
        });
        if let Some(reserved) = taken {
            sink.error(zone.at, format!("zone {} never goes upstream: `{reserved}` is answered here", zone.value));
        }
    }
    for server in &spec.servers {
        let addresses = server.value.host.known_addresses();
        if let Some(address) = addresses.iter().find(|address| listen.iter().any(|&own| is_ourselves(**address, own))) {
            sink.error(server.at, format!("upstream {address} is this resolver itself: `dns` in [listen] holds it"));
        }
    }
    let zones = match &spec.zones {
        Some(given) => given.iter().map(|zone| zone.value.clone()).collect(),
        None => vec![Name::ROOT],
    };
    let fallback = spec.fallback.as_ref().map_or(Fallback::None, |f| f.value);
    if fallback == Fallback::Parent && zones.iter().any(Name::is_root) {
        sink.hint(spec.at, "`fallback = \"parent\"`: the root has no parent, so nothing is asked in its place");
    }
    UpstreamTable {
        zones,
        servers: spec.servers.iter().map(|server| server.value.clone()).collect(),
        tier: spec.tier.map_or(1, |tier| u8::try_from(tier).expect("read as 1 to 255")),
        fallback,
        trust_ad: spec.trust_ad.unwrap_or(false),
    }
}

/// Whether a question sent to `server` would arrive at our own listener `own`. The machine's other addresses are unknown
/// here; a loop through those is found at run time.
pub(super) fn is_ourselves(server: SocketAddr, own: SocketAddr) -> bool {
    let (ip, own_ip) = (server.ip().to_canonical(), own.ip());
    let wildcard = match own_ip {
        IpAddr::V4(v4) => v4.is_unspecified() && ip.is_ipv4(),
        IpAddr::V6(v6) => v6.is_unspecified() && ip.is_ipv6(),
    };
    own.port() == server.port() && own.port() != 0 && (ip == own_ip || (wildcard && ip.is_loopback()))
}

fn categories(given: &[CategorySpec], sink: &Sink) -> Categories {
    let mut categories = Categories::built_in();
    for spec in given {
        let name = &spec.name.value;
        if let Err(why) = values::check_category_name(name) {
            sink.error(spec.name.at, format!("[category.{name}]: {why}"));
            continue;
        }
        let known = categories.id(name).map(|id| categories.get(id).clone());
        let (layer, en, vi) = match known {
            Some(known) => (known.layer, known.title_en, known.title_vi),
            None => (Layer::Content, name.clone(), name.clone()),
        };
        categories.declare(Category {
            name: name.clone(),
            layer: spec.layer.as_ref().map_or(layer, |layer| layer.value),
            title_en: spec.title_en.as_ref().map_or(en, |title| title.value.clone()),
            title_vi: spec.title_vi.as_ref().map_or(vi, |title| title.value.clone()),
        });
    }
    categories
}

/// Looks a category up, or reports that it is undeclared.
pub(super) fn category_id(name: &Spanned<String>, place: &str, all: &Categories, sink: &Sink) -> Option<CategoryId> {
    let id = all.id(&name.value);
    if id.is_none() {
        let more = match name.value.starts_with(services::PREFIX) {
            true => suggestion(&name.value, services::names().collect::<Vec<_>>().iter().map(String::as_str)),
            false => suggestion(&name.value, all.iter().map(|(_, category)| category.name.as_str())),
        };
        sink.error(name.at, format!("{place}: undeclared category `{}`{more}", name.value));
    }
    id
}

fn lists(spec: &Spec, categories: &Categories, sink: &Sink) -> Vec<ListSettings> {
    let texts = spec.lists.iter().filter(|list| !list.compiled);
    texts.filter_map(|list| self::list(list, &spec.gate.bounds, categories, sink)).collect()
}

fn compiled(given: &[ListSpec], categories: &Categories, sink: &Sink) -> Vec<CompiledSettings> {
    let made = given.iter().filter(|spec| spec.compiled).filter_map(|spec| {
        let name = &spec.name.value;
        if let Err(why) = values::check_thing_name(name) {
            sink.error(spec.name.at, format!("[list.{name}]: {why}"));
        }
        for (key, at) in [
            ("match", spec.reach.as_ref().map(|reach| reach.at)),
            ("public_suffixes", spec.obey_public_suffixes.as_ref().map(|obey| obey.at)),
        ] {
            if let Some(at) = at {
                sink.error(
                    at,
                    format!("`{key}` in [list.{name}]: a compiled file was made with its own; compile it again"),
                );
            }
        }
        let place = format!("`category` in [list.{name}]");
        let category = spec.category.as_ref().map(|c| category_id(c, &place, categories, sink));
        let file = spec.file.as_ref()?;
        if file.value.starts_with(BUILT_IN) {
            sink.error(file.at, format!("`file` in [list.{name}]: a starter list is not compiled; leave `format` out"));
            return None;
        }
        let category = match category {
            Some(id) => Some(id?),
            None => None,
        };
        Some(CompiledSettings { name: name.clone(), category, file: absolute(file, sink), required: is_required(spec) })
    });
    made.collect()
}

fn list(spec: &ListSpec, gates: &GateSpec, categories: &Categories, sink: &Sink) -> Option<ListSettings> {
    let name = &spec.name.value;
    if let Err(why) = values::check_thing_name(name) {
        sink.error(spec.name.at, format!("[list.{name}]: {why}"));
    }
    let category =
        spec.category.as_ref().and_then(|c| category_id(c, &format!("`category` in [list.{name}]"), categories, sink));
    let url = || spec.url.as_ref().map(|url| ListSource::Url(url.value.to_string()));
    let source = spec.file.as_ref().and_then(|file| source(file, name, sink)).or_else(url);
    Some(ListSettings {
        name: name.clone(),
        category: category?,
        options: parse_options(spec),
        source: source?,
        required: is_required(spec),
        obey_public_suffixes: spec.obey_public_suffixes.as_ref().is_some_and(|obey| obey.value),
        block_keywords: block_keywords(spec, sink),
        gate: gate::lower(&spec.gate, gates, categories.get(category?)),
    })
}

fn parse_options(spec: &ListSpec) -> ParseOptions {
    ParseOptions {
        format: spec.format.as_ref().map_or(Format::Auto, |format| format.value),
        bare_reach: spec.reach.as_ref().map(|reach| reach.value),
    }
}

fn is_required(spec: &ListSpec) -> bool {
    spec.required.unwrap_or(true)
}

/// The files that lists name, whether or not the rest of their tables is sound. Starter lists are none.
pub(super) fn list_files(spec: &Spec, sink: &Sink) -> Vec<ListFile> {
    let texts = spec.lists.iter().filter(|list| !list.compiled);
    let named = texts.filter_map(|list| Some((list, list.file.as_ref()?)));
    named
        .filter(|(_, file)| !file.value.starts_with(BUILT_IN))
        .map(|(list, file)| ListFile {
            list: list.name.value.clone(),
            source: ListSource::File(absolute(file, sink)),
            options: parse_options(list),
            required: is_required(list),
            file: sink.file(list.name.at).to_owned(),
            line: list.name.at.line,
        })
        .collect()
}

fn block_keywords(spec: &ListSpec, sink: &Sink) -> Vec<String> {
    let keywords = spec.block_keywords.as_deref().unwrap_or_default();
    let is_of_keywords = spec.format.as_ref().is_some_and(|format| format.value == Format::Keywords);
    if let (Some(first), false) = (keywords.first(), is_of_keywords) {
        let name = &spec.name.value;
        sink.error(first.at, format!("`block_keywords` in [list.{name}] is for lists with format = \"keywords\""));
    }
    keywords.iter().map(|keyword| keyword.value.clone()).collect()
}

fn source(file: &Spanned<String>, list: &str, sink: &Sink) -> Option<ListSource> {
    let Some(built_in) = file.value.strip_prefix(BUILT_IN) else {
        check_pattern(file, list, sink);
        return Some(ListSource::File(absolute(file, sink)));
    };
    if !default::BUILT_IN_LISTS.contains(&built_in) {
        let more = suggestion(built_in, default::BUILT_IN_LISTS.iter().copied());
        sink.error(file.at, format!("`file` in [list.{list}]: there is no starter list `{built_in}`{more}"));
        return None;
    }
    Some(ListSource::BuiltIn(built_in.to_owned()))
}

/// A pattern stands for names of files only, and can be read as one.
fn check_pattern(file: &Spanned<String>, list: &str, sink: &Sink) {
    let (directory, name) = file.value.rsplit_once('/').unwrap_or(("", &file.value));
    if directory.contains(['*', '?']) {
        let message =
            format!("`file` in [list.{list}]: a pattern may stand in the last part only, as in \"lists/*.txt\"");
        sink.error(file.at, message);
    }
    if is_pattern(name)
        && let Err(why) = glob::Pattern::new(name)
    {
        sink.error(file.at, format!("`file` in [list.{list}]: {name:?} is no pattern: {why}"));
    }
}

/// Lists of the file, and those that profiles, operator and test names make, share one index. Counted as
/// [`compile`](crate::engine::compile) counts, so that what is taken here fits there.
fn check_index_size(spec: &Spec, policy: &Policy, sink: &Sink) {
    let last_profile = spec.profiles.last().map(|p| p.name.at);
    let last_list = spec.lists.last().map(|l| l.name.at);
    let last_category = spec.categories.last().map(|c| c.name.at);
    let count = list_count(policy, policy.lists.len());
    if count > LISTS_MAX
        && let Some(last) = last_list.or(last_profile).or(last_category)
    {
        sink.error(last, CompileError::TooManyLists(count).to_string());
    }
    if policy.profiles.len() > PROFILES_MAX
        && let Some(last) = last_profile
    {
        sink.error(last, CompileError::TooManyProfiles(policy.profiles.len()).to_string());
    }
}

pub(super) fn own_entries(given: &OwnEntries) -> Vec<(Name, Reach)> {
    given.iter().flatten().map(|entry| entry.value.clone()).collect()
}
