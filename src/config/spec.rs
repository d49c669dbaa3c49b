//! The shape of a configuration file: which tables and keys there are, and the type of each.
//!
//! Dumb and strict. Nothing here knows a default or how keys depend on each other; that is [`lower`](super::lower).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use minisign_verify::PublicKey;
use url::Url;

use crate::engine::category::Layer;
use crate::engine::client::Token;
use crate::engine::compile::{Mode, Strangers};
use crate::engine::identity;
use crate::engine::limits::{POSITIVE_TTL_SECS_MAX, RATE_LIMIT_LINES_MAX, UDP_WORKERS_MAX};
use crate::engine::list::{Format, Reach, keywords, own_entry};
use crate::engine::name::Name;
use crate::engine::upstream::{Fallback, Server};

use super::Engine;
use super::contact::{self, ContactSpec};
use super::cookies::{self, CookiesSpec};
use super::errors::{Place, Sink, Spanned};
use super::gate::{self, GateSpec, GateTable};
use super::list_url;
use super::orders::{self, OrdersSpec};
use super::peers::{self, PeersSpec, RealmSpec};
use super::profile::{self, MODES, ProfileSpec};
use super::rate_limit::{self, RateLimitSpec};
use super::reader::{Section, one_of};
use super::server::server;
use super::subscribers::{self, SubscribersSpec};
use super::tls::{self, TlsSpec};
use super::tree::Table;
use super::values;
use super::zone_limit::{self, ZoneLimitSpec};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Keys that stand above the first table.
const TOP_LEVEL: &[&str] = &[
    "time_zone",
    "mode",
    "observe_percent",
    "bootstrap",
    "upstream_ca_file",
    "block_ttl",
    "rebind_protection",
    "rebind_allow",
    "state_directory",
    "node_name",
    "drain_timeout",
];

pub(super) type OwnEntries = Option<Vec<Spanned<(Name, Reach)>>>;

/// Everything one configuration says, files merged. `None` is a key not given (or refused, which is reported).
pub(super) struct Spec {
    pub time_zone: Option<Spanned<String>>,
    pub mode: Option<Spanned<Mode>>,
    pub observe_percent: Option<i64>,
    pub listen_dns: Option<Vec<Spanned<SocketAddr>>>,
    pub listen_dot: Option<Vec<Spanned<SocketAddr>>>,
    pub listen_doh: Option<Vec<Spanned<SocketAddr>>>,
    pub listen_doq: Option<Vec<Spanned<SocketAddr>>>,
    pub tls: TlsSpec,
    pub admin: Option<Spanned<Admin>>,
    pub udp_engine: Option<Spanned<Engine>>,
    pub udp_workers: Option<i64>,
    pub udp_pinned: Option<bool>,
    /// Where `[access]` stands.
    pub access_at: Place,
    pub access_allow: Option<Vec<Spanned<IpNet>>>,
    pub strangers: Option<Spanned<Strangers>>,
    pub peers: PeersSpec,
    pub realms: Vec<RealmSpec>,
    /// `None`: there is no `[[upstream]]`.
    pub upstreams: Option<Vec<UpstreamSpec>>,
    pub bootstrap: Option<Vec<Spanned<SocketAddr>>>,
    pub upstream_ca_file: Option<Spanned<String>>,
    pub cache_size: Option<Spanned<u64>>,
    pub serve_stale: Option<Spanned<Duration>>,
    pub max_client_ttl: Option<Spanned<Duration>>,
    pub operator_allow: OwnEntries,
    pub operator_deny: OwnEntries,
    pub gate: GateTable,
    pub cookies: CookiesSpec,
    pub rate_limit: RateLimitSpec,
    pub zone_limit: ZoneLimitSpec,
    pub subscribers: SubscribersSpec,
    pub orders: OrdersSpec,
    pub lists: Vec<ListSpec>,
    pub categories: Vec<CategorySpec>,
    pub profiles: Vec<ProfileSpec>,
    pub clients: Vec<ClientSpec>,
    pub contact: ContactSpec,
    /// `[page]` has an address, whether it is a good one or not.
    pub page_given: bool,
    pub page_v4: Option<Spanned<Ipv4Addr>>,
    pub page_v6: Option<Spanned<Ipv6Addr>>,
    pub block_ttl: Option<Spanned<Duration>>,
    pub rebind_protection: Option<bool>,
    pub rebind_allow: Option<Vec<Spanned<Name>>>,
    pub state_directory: Option<Spanned<String>>,
    pub node_name: Option<Spanned<String>>,
    pub drain_timeout: Option<Spanned<Duration>>,
}

/// `[listen] admin`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Admin {
    Off,
    At(SocketAddr),
}

/// `[[upstream]]`.
pub(super) struct UpstreamSpec {
    pub at: Place,
    pub zones: Option<Vec<Spanned<Name>>>,
    pub servers: Vec<Spanned<Server>>,
    pub tier: Option<i64>,
    pub fallback: Option<Spanned<Fallback>>,
    pub trust_ad: Option<bool>,
}

/// `[list.NAME]`.
pub(super) struct ListSpec {
    pub name: Spanned<String>,
    pub category: Option<Spanned<String>>,
    pub format: Option<Spanned<Format>>,
    /// `format = "compiled"`: the rest is said in the file.
    pub compiled: bool,
    pub reach: Option<Spanned<Reach>>,
    pub file: Option<Spanned<String>>,
    pub url: Option<Spanned<Url>>,
    pub refresh: Option<Spanned<Duration>>,
    pub sha256: Option<Spanned<[u8; 32]>>,
    pub minisign_key: Option<Spanned<PublicKey>>,
    pub allow_private: Option<bool>,
    pub required: Option<bool>,
    pub obey_public_suffixes: Option<Spanned<bool>>,
    pub block_keywords: Option<Vec<Spanned<String>>>,
    pub gate: GateSpec,
}

/// `[category.NAME]`.
pub(super) struct CategorySpec {
    pub name: Spanned<String>,
    pub layer: Option<Spanned<Layer>>,
    pub title_en: Option<Spanned<String>>,
    pub title_vi: Option<Spanned<String>>,
}

/// `[client.NAME]`.
pub(super) struct ClientSpec {
    pub name: Spanned<String>,
    pub networks: Vec<Spanned<IpNet>>,
    /// The realm of its networks.
    pub realm: Option<Spanned<String>>,
    /// Each with its text.
    pub ids: Vec<Spanned<(Token, String)>>,
    pub listeners: Vec<Spanned<IpAddr>>,
    pub tags: Option<Vec<Spanned<String>>>,
    pub profile: Option<Spanned<String>>,
    pub lines: Option<i64>,
    pub mode: Option<Spanned<Mode>>,
}

/// Reads the merged tables, reporting to `sink` whatever does not fit.
pub(super) fn read(table: &Table, at: Place, sink: &Sink) -> Spec {
    let mut top = Section::top(table, at, sink);
    let mut listen = top.section("listen");
    let udp_engine = listen.choice("udp_engine", &[("batched", Engine::Batched), ("portable", Engine::Portable)]);
    let udp_workers = listen.integer("udp_workers", 1..=UDP_WORKERS_MAX);
    let udp_pinned = listen.boolean("udp_pinned");
    let listen_dns = listen.some_strings("dns", |text| values::listen_address(text, 53));
    let listen_dot = listen.strings("dot", |text| values::listen_address(text, 853));
    let listen_doh = listen.strings("doh", |text| values::listen_address(text, 443));
    let listen_doq = listen.strings("doq", |text| values::listen_address(text, 853));
    let admin = listen.string("admin", |text| match text {
        "off" => Ok(Admin::Off),
        _ => values::listen_address(text, 9153).map(Admin::At).map_err(|why| format!("{why} (or \"off\")")),
    });
    listen.finish(TOP_LEVEL);

    let tls = tls::table(top.section("tls"), TOP_LEVEL);

    let mut access = top.section("access");
    let access_allow = access.strings("allow", values::network);
    let strangers = access.choice("strangers", &[("refuse", Strangers::Refuse), ("drop", Strangers::Drop)]);
    let peers = peers::keys(&mut access);
    let access_at = access.at;
    access.finish(TOP_LEVEL);

    let mut cache = top.section("cache");
    let cache_size = cache.quantity("size", |text| match values::size(text)? {
        octets if octets < 1 << 20 => Err(format!("{text:?} is {octets} octets, must be at least 1 MiB")),
        octets => Ok(octets),
    });
    let serve_stale = cache.quantity("serve_stale", |text| match text {
        "off" => Ok(Duration::ZERO),
        // Chosen: RFC 8767 §5 suggests 1 to 3 days; after a week an address is history.
        _ => values::duration_within(text, ("0", Duration::ZERO), ("7 days", 7 * DAY)),
    });
    let longest = Duration::from_secs(POSITIVE_TTL_SECS_MAX.into());
    let max_client_ttl =
        cache.quantity("max_client_ttl", |text| values::duration_within(text, ("1 s", SECOND), ("1 day", longest)));
    cache.finish(TOP_LEVEL);

    let mut operator = top.section("operator");
    let operator_allow = operator.strings("allow", own_entry);
    let operator_deny = operator.strings("deny", own_entry);
    operator.finish(TOP_LEVEL);

    let mut page = top.section("page");
    let page_given = page.has("v4") || page.has("v6");
    let page_v4 = page.string("v4", |text| values::page_address(text, "IPv4"));
    let page_v6 = page.string("v6", |text| values::page_address(text, "IPv6"));
    page.finish(TOP_LEVEL);

    let spec = Spec {
        time_zone: top.string("time_zone", values::time_zone),
        mode: top.choice("mode", MODES),
        observe_percent: top.integer("observe_percent", 0..=100),
        listen_dns,
        listen_dot,
        listen_doh,
        listen_doq,
        tls,
        admin,
        udp_engine,
        udp_workers,
        udp_pinned,
        access_at,
        access_allow,
        strangers,
        peers,
        realms: top
            .named_sections("realm")
            .into_iter()
            .map(|(name, section)| peers::realm(name, section, TOP_LEVEL))
            .collect(),
        upstreams: top.repeated_sections("upstream").map(|all| all.into_iter().map(upstream).collect()),
        bootstrap: top.strings("bootstrap", values::server_address),
        upstream_ca_file: top.string("upstream_ca_file", not_empty),
        cache_size,
        serve_stale,
        max_client_ttl,
        operator_allow,
        operator_deny,
        gate: gate::table(top.section("gate"), TOP_LEVEL),
        cookies: cookies::table(top.section("cookies"), TOP_LEVEL),
        rate_limit: rate_limit::table(top.section("rate_limit"), TOP_LEVEL),
        zone_limit: zone_limit::table(top.section("zone_limit"), TOP_LEVEL),
        subscribers: subscribers::table(top.section("subscribers"), TOP_LEVEL),
        orders: orders::table(top.section("orders"), TOP_LEVEL),
        lists: top.named_sections("list").into_iter().map(|(name, section)| list(name, section)).collect(),
        categories: top.named_sections("category").into_iter().map(|(name, section)| category(name, section)).collect(),
        profiles: top
            .named_sections("profile")
            .into_iter()
            .map(|(name, section)| profile::profile(name, section, TOP_LEVEL))
            .collect(),
        clients: top.named_sections("client").into_iter().map(|(name, section)| client(name, section)).collect(),
        contact: contact::table(top.section("contact"), TOP_LEVEL),
        page_given,
        page_v4,
        page_v6,
        block_ttl: top.quantity("block_ttl", |text| {
            values::duration_within(text, ("10 s", 10 * SECOND), ("60 s", 60 * SECOND)).and_then(whole_seconds)
        }),
        rebind_protection: top.boolean("rebind_protection"),
        rebind_allow: top.strings("rebind_allow", name),
        state_directory: top.string("state_directory", not_empty),
        node_name: top.string("node_name", node_name),
        drain_timeout: top.quantity("drain_timeout", |text| {
            values::duration_within(text, ("0", Duration::ZERO), ("5 minutes", 300 * SECOND))
        }),
    };
    top.finish(&[]);
    spec
}

fn upstream(mut section: Section<'_>) -> UpstreamSpec {
    if !section.has("servers") {
        section.missing("servers", "[\"udp://192.0.2.1\"]");
    }
    let spec = UpstreamSpec {
        at: section.at,
        zones: section.some_strings("zones", |text| {
            Name::zone_from_text(text).map_err(|why| format!("{text:?} is no zone: {why}"))
        }),
        servers: section.some_strings("servers", server).unwrap_or_default(),
        tier: section.integer("tier", 1..=255),
        fallback: section.choice("fallback", &[("none", Fallback::None), ("parent", Fallback::Parent)]),
        trust_ad: section.boolean("trust_ad"),
    };
    section.finish(TOP_LEVEL);
    spec
}

fn list(name: Spanned<String>, mut section: Section<'_>) -> ListSpec {
    let given = section.string("format", format);
    let compiled = given.as_ref().is_some_and(|format| format.value.is_none());
    if !section.has("category") && !compiled {
        section.missing("category", "\"adult\"");
    }
    if !section.has("file") && !section.has("url") {
        section.missing("file", "\"blocklists/adult.txt\"` or `url = \"https://lists.example/adult.txt\"");
    }
    section.only_with("url", &["refresh", "sha256", "minisign_key", "allow_private"]);
    section.not_with("file", "url");
    let spec = ListSpec {
        name,
        category: section.string("category", not_empty),
        format: given.and_then(|format| Some(Spanned { at: format.at, value: format.value? })),
        compiled,
        reach: section.choice("match", &[("exact", Reach::Exact), ("subtree", Reach::Subtree)]),
        file: section.string("file", not_empty),
        url: section.string("url", list_url::url),
        refresh: section.quantity("refresh", |text| {
            // Shorter troubles the publisher, longer leaves a list to age. Chosen.
            values::duration_within(text, ("5 minutes", 300 * SECOND), ("30 days", 30 * DAY))
        }),
        sha256: section.string("sha256", list_url::sha256),
        minisign_key: section.string("minisign_key", list_url::minisign_key),
        allow_private: section.boolean("allow_private"),
        required: section.boolean("required"),
        obey_public_suffixes: section.choice("public_suffixes", &[("obey", true), ("spare", false)]),
        block_keywords: section.strings("block_keywords", keyword),
        gate: gate::of_list(&mut section, TOP_LEVEL),
    };
    section.finish(TOP_LEVEL);
    spec
}

fn category(name: Spanned<String>, mut section: Section<'_>) -> CategorySpec {
    let spec = CategorySpec {
        name,
        layer: section.choice("layer", &[("security", Layer::Security), ("content", Layer::Content)]),
        title_en: section.string("title_en", not_empty),
        title_vi: section.string("title_vi", not_empty),
    };
    section.finish(TOP_LEVEL);
    spec
}

fn client(name: Spanned<String>, mut section: Section<'_>) -> ClientSpec {
    if !["networks", "ids", "listeners"].iter().any(|key| section.has(key)) {
        section.missing("networks", "[\"10.20.0.0/16\"]` or `ids = [\"lop-6a\"]");
    }
    section.only_with("networks", &["realm"]);
    if !section.has("profile") {
        section.missing("profile", "\"default\"");
    }
    let spec = ClientSpec {
        name,
        networks: section.some_strings("networks", values::network).unwrap_or_default(),
        realm: section.string("realm", not_empty),
        ids: section.some_strings("ids", client_id).unwrap_or_default(),
        listeners: section.some_strings("listeners", peers::listener).unwrap_or_default(),
        tags: section.strings("tags", client_tag),
        profile: section.string("profile", not_empty),
        lines: section.integer("lines", 1..=RATE_LIMIT_LINES_MAX),
        mode: section.choice("mode", MODES),
    };
    section.finish(TOP_LEVEL);
    spec
}

fn keyword(text: &str) -> Result<String, String> {
    keywords::normal(text).ok_or_else(|| format!("{text:?} is no keyword: one word of a name, as in \"casino\""))
}

/// What a client says that it is.
fn client_id(text: &str) -> Result<(Token, String), String> {
    let token = identity::configured(text).ok_or_else(|| {
        format!(
            "{text:?} is no identity: 1 to 63 letters, digits and hyphens, as in \"lop-6a\", or a hardware address, as in \
             \"a0:b1:c2:d3:e4:f5\""
        )
    })?;
    Ok((token, text.to_owned()))
}

/// What `$ctag` in a list calls a client by: AdGuard's are `device_phone`, `user_child` and their like.
fn client_tag(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        return Err(format!("{text:?} is no tag: letters, digits and _, as in \"device_phone\""));
    }
    Ok(text.to_owned())
}

/// `None`: compiled.
fn format(text: &str) -> Result<Option<Format>, String> {
    one_of(
        text,
        &[
            ("auto", Some(Format::Auto)),
            ("hosts", Some(Format::Hosts)),
            ("domains", Some(Format::Domains)),
            ("adblock", Some(Format::Adblock)),
            ("dnsmasq", Some(Format::Dnsmasq)),
            ("unbound", Some(Format::Unbound)),
            ("rpz", Some(Format::Rpz)),
            ("keywords", Some(Format::Keywords)),
            ("compiled", None),
        ],
    )
}

fn name(text: &str) -> Result<Name, String> {
    Name::from_text(text).map_err(|why| format!("{text:?} is no name: {why}"))
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// Answers as one TXT string and as NSID: at most 255 octets. RFC 1035 §3.3.
fn node_name(text: &str) -> Result<String, String> {
    if text.len() > 255 {
        return Err(format!("is {} octets, at most 255", text.len()));
    }
    Ok(text.to_owned())
}

pub(super) fn whole_seconds(value: Duration) -> Result<Duration, String> {
    if value.subsec_nanos() == 0 { Ok(value) } else { Err("must be whole seconds".to_owned()) }
}
