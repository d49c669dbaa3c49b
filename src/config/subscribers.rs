//! `[subscribers]`: who may tell of lines that come and go, and with which secrets.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::engine::client::{Realm, TokenKey};
use crate::engine::limits::{NAT_RULES_MAX, RADIUS_CLIENTS_MAX};
use crate::engine::radius::TokenFrom;
use crate::engine::subscribers::Nat;

use super::errors::{Sink, Spanned};
use super::files::read_steady;
use super::reader::Section;
use super::spec::not_empty;
use super::values;

const SECOND: Duration = Duration::from_secs(1);
/// Octets of a file with one secret.
const SECRET_FILE_OCTETS_MAX: u64 = 4 << 10;
/// RFC 2866 §4.1 advises ten minutes at least.
const INTERIM: Duration = Duration::from_secs(600);
/// Octets of an API token that are hard to guess: 96 bits as text.
const API_TOKEN_OCTETS_MIN: usize = 16;
/// RFC 2865 §3: "at least as large and unguessable as a well-chosen password", 16 octets preferred.
const RADIUS_SECRET_OCTETS_MIN: usize = 8;
const TOKEN_KEYS_MAX: usize = 2;

/// Octets that are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `[subscribers]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberSettings {
    /// `None`: the HTTP API changes nothing.
    pub api_token: Option<Secret>,
    /// `None`: nothing is kept on disk.
    pub state_key: Option<[u8; 32]>,
    /// The first makes tokens; the other is the one before it, or the one after it.
    pub token_keys: Vec<TokenKey>,
    /// How often the network confirms a session.
    pub interim: Duration,
    pub nats: Vec<Nat>,
    pub radius: Option<RadiusSettings>,
    /// Fleet: where the shared log is.
    pub leases: Vec<LeaseSettings>,
    pub store: Option<StoreSettings>,
}

/// `[subscribers.radius]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RadiusSettings {
    pub listen: Vec<SocketAddr>,
    pub clients: Vec<RadiusClient>,
    /// What identifies a line, the first that is present.
    pub token_from: Vec<TokenFrom>,
}

/// `[subscribers.radius.client.NAME]`: who sends a copy of the accounting stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RadiusClient {
    pub name: String,
    pub networks: Vec<IpNet>,
    pub secret: Secret,
    /// Where the addresses of its sessions are known.
    pub realm: Realm,
}

/// `[subscribers.leases.NAME]`: a file of DHCP leases as Kea keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettings {
    pub name: String,
    pub file: PathBuf,
    pub realm: Realm,
}

/// `[subscribers.store]`: where a fleet shares its map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// `redis://…`, with a password in it perhaps.
    pub url: Secret,
    /// What all keys begin with.
    pub prefix: String,
}

/// `[subscribers]` as it is written.
pub(super) struct SubscribersSpec {
    is_there: bool,
    api_token_file: Option<Spanned<String>>,
    state_key_file: Option<Spanned<String>>,
    token_key_files: Option<Vec<Spanned<String>>>,
    interim: Option<Spanned<Duration>>,
    nats: Vec<NatSpec>,
    radius: Option<RadiusSpec>,
    leases: Vec<LeaseSpec>,
    store: Option<StoreSpec>,
}

struct NatSpec {
    at: super::errors::Place,
    inside: Option<Spanned<Ipv4Net>>,
    outside: Option<Spanned<Ipv4Net>>,
    realm: Option<i64>,
    first_port: Option<i64>,
    ports: Option<i64>,
}

struct RadiusSpec {
    listen: Vec<Spanned<SocketAddr>>,
    token_from: Option<Vec<Spanned<TokenFrom>>>,
    clients: Vec<RadiusClientSpec>,
}

struct RadiusClientSpec {
    name: Spanned<String>,
    networks: Vec<Spanned<IpNet>>,
    secret_file: Option<Spanned<String>>,
    realm: Option<i64>,
}

struct LeaseSpec {
    name: Spanned<String>,
    file: Option<Spanned<String>>,
    realm: Option<i64>,
}

struct StoreSpec {
    url: Option<Spanned<String>>,
    url_file: Option<Spanned<String>>,
    prefix: Option<Spanned<String>>,
}

const REALMS: std::ops::RangeInclusive<i64> = 0..=65_535;

pub(super) fn table(mut section: Section<'_>, top_level: &[&str]) -> SubscribersSpec {
    let is_there = !section.is_empty();
    let nats = section.repeated_sections("nat").unwrap_or_default();
    let (has_radius, has_store) = (section.has("radius"), section.has("store"));
    let (radius, mut leases, store) = (section.section("radius"), section.section("leases"), section.section("store"));
    let lease_tables = leases.all_sections();
    let spec = SubscribersSpec {
        is_there,
        api_token_file: section.string("api_token_file", not_empty),
        state_key_file: section.string("state_key_file", not_empty),
        token_key_files: section.some_strings("token_key_files", not_empty),
        interim: section.quantity("interim_interval", |text| {
            values::duration_within(text, ("1 minute", 60 * SECOND), ("1 day", 86_400 * SECOND))
        }),
        nats: nats.into_iter().map(|section| nat(section, top_level)).collect(),
        radius: has_radius.then(|| radius_table(radius, top_level)),
        leases: lease_tables.into_iter().map(|(name, section)| lease(name, section, top_level)).collect(),
        store: has_store.then(|| store_table(store, top_level)),
    };
    section.finish(top_level);
    spec
}

fn nat(mut section: Section<'_>, top_level: &[&str]) -> NatSpec {
    for (key, example) in [("inside", "\"100.64.0.0/16\""), ("outside", "\"203.0.113.0/24\"")] {
        if !section.has(key) {
            section.missing(key, example);
        }
    }
    if !section.has("ports_per_subscriber") {
        section.missing("ports_per_subscriber", "1024");
    }
    let v4 = |text: &str| match values::network(text)? {
        IpNet::V4(net) => Ok(net),
        IpNet::V6(_) => Err(format!("{text:?} is IPv6; gateways share IPv4 addresses")),
    };
    let spec = NatSpec {
        at: section.at,
        inside: section.string("inside", v4),
        outside: section.string("outside", v4),
        realm: section.integer("realm", REALMS),
        first_port: section.integer("first_port", 0..=65_535),
        ports: section.integer("ports_per_subscriber", 1..=65_535),
    };
    section.finish(top_level);
    spec
}

fn radius_table(mut section: Section<'_>, top_level: &[&str]) -> RadiusSpec {
    if !section.has("listen") {
        section.missing("listen", "[\"10.0.0.53:1813\"]");
    }
    let clients = section.named_sections("client");
    if clients.is_empty() && !section.has("client") {
        section.missing("client.NAME", "{ networks = [\"10.0.0.1\"], secret_file = \"radius.secret\" }");
    }
    let spec = RadiusSpec {
        // RFC 2866 §3: the port is 1813.
        listen: section.some_strings("listen", |text| values::listen_address(text, 1813)).unwrap_or_default(),
        token_from: section.some_strings("token_from", TokenFrom::from_text),
        clients: clients.into_iter().map(|(name, section)| radius_client(name, section, top_level)).collect(),
    };
    section.finish(top_level);
    spec
}

fn radius_client(name: Spanned<String>, mut section: Section<'_>, top_level: &[&str]) -> RadiusClientSpec {
    if !section.has("networks") {
        section.missing("networks", "[\"10.0.0.1\"]");
    }
    if !section.has("secret_file") {
        section.missing("secret_file", "\"radius.secret\"");
    }
    let spec = RadiusClientSpec {
        name,
        networks: section.some_strings("networks", values::network).unwrap_or_default(),
        secret_file: section.string("secret_file", not_empty),
        realm: section.integer("realm", REALMS),
    };
    section.finish(top_level);
    spec
}

fn lease(name: Spanned<String>, mut section: Section<'_>, top_level: &[&str]) -> LeaseSpec {
    if !section.has("file") {
        section.missing("file", "\"/var/lib/kea/kea-leases4.csv\"");
    }
    let spec = LeaseSpec { name, file: section.string("file", not_empty), realm: section.integer("realm", REALMS) };
    section.finish(top_level);
    spec
}

fn store_table(mut section: Section<'_>, top_level: &[&str]) -> StoreSpec {
    if !section.has("url") && !section.has("url_file") {
        section.missing("url", "\"redis://10.0.0.9:6379\"");
    }
    section.not_with("url", "url_file");
    let spec = StoreSpec {
        url: section.string("url", store_url),
        url_file: section.string("url_file", not_empty),
        prefix: section.string("prefix", |text| {
            let fits = !text.is_empty()
                && text.len() <= 32
                && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_:".contains(&c));
            if fits {
                Ok(text.to_owned())
            } else {
                Err(format!("{text:?} must be 1 to 32 letters, digits, `-`, `_`, `:`"))
            }
        }),
    };
    section.finish(top_level);
    spec
}

fn store_url(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if url.scheme() == "redis" && url.has_host() => Ok(text.to_owned()),
        // The text is not repeated: it may hold a password.
        Ok(_) | Err(_) => Err("is no address of a store; write it as \"redis://10.0.0.9:6379\"".to_owned()),
    }
}

/// `None`: nobody tells of subscribers.
pub(super) fn lower(spec: &SubscribersSpec, sink: &Sink) -> Option<SubscriberSettings> {
    if !spec.is_there {
        return None;
    }
    let secret = |file: &Spanned<String>, key: &str, read: &dyn Fn(&[u8]) -> Result<(), String>| {
        let path = absolute(file, sink);
        let octets = read_secret(&path).and_then(|octets| read(&octets).map(|()| octets));
        octets
            .inspect_err(|why| sink.error(file.at, format!("`{key}` in [subscribers]: {}: {why}", path.display())))
            .ok()
    };
    let api_token = spec
        .api_token_file
        .as_ref()
        .and_then(|file| secret(file, "api_token_file", &|octets| at_least(octets, API_TOKEN_OCTETS_MIN, "the token")));
    let state_key = spec.state_key_file.as_ref().and_then(|file| {
        let octets = secret(file, "state_key_file", &|octets| hex::<32>(octets).map(drop))?;
        hex::<32>(&octets).ok()
    });
    let mut token_keys = Vec::new();
    for file in spec.token_key_files.iter().flatten() {
        let octets = secret(file, "token_key_files", &|octets| hex::<16>(octets).map(drop));
        token_keys.extend(octets.and_then(|octets| hex::<16>(&octets).ok()).map(TokenKey::new));
    }
    if let Some(file) = spec.token_key_files.iter().flatten().nth(TOKEN_KEYS_MAX) {
        sink.error(
            file.at,
            format!("`token_key_files` in [subscribers] has more than {TOKEN_KEYS_MAX}: the present key and one other"),
        );
    }
    let radius = spec.radius.as_ref().map(|radius| lower_radius(radius, sink));
    let feeds = spec.radius.as_ref().and_then(|radius| radius.listen.first()).map(|listen| listen.at);
    if let Some(at) =
        feeds.or(spec.leases.first().map(|lease| lease.name.at)).filter(|_| spec.token_key_files.is_none())
    {
        sink.error(
            at,
            "[subscribers] needs `token_key_files`, for example `token_key_files = [\"token.key\"]`: a line's identifier is \
             kept as a keyed hash only (`openssl rand -hex 16` makes a key)",
        );
    }
    Some(SubscriberSettings {
        api_token: api_token.map(Secret),
        state_key,
        token_keys,
        interim: spec.interim.as_ref().map_or(INTERIM, |interim| interim.value),
        nats: nats(&spec.nats, sink),
        radius,
        leases: spec
            .leases
            .iter()
            .filter_map(|lease| {
                let (file, realm) = (absolute(lease.file.as_ref()?, sink), realm(lease.realm));
                Some(LeaseSettings { name: lease.name.value.clone(), file, realm })
            })
            .collect(),
        store: spec.store.as_ref().and_then(|store| lower_store(store, sink)),
    })
}

fn lower_store(spec: &StoreSpec, sink: &Sink) -> Option<StoreSettings> {
    let url = match (&spec.url, &spec.url_file) {
        (Some(url), _) => url.value.clone(),
        (None, Some(file)) => {
            let path = absolute(file, sink);
            let text = read_secret(&path)
                .and_then(|octets| String::from_utf8(octets).map_err(|_| "it is no text".to_owned()))
                .and_then(|text| store_url(&text));
            text.inspect_err(|why| {
                sink.error(file.at, format!("`url_file` in [subscribers.store]: {}: {why}", path.display()));
            })
            .ok()?
        }
        (None, None) => return None,
    };
    let prefix = spec.prefix.as_ref().map_or_else(|| "lachan".to_owned(), |prefix| prefix.value.clone());
    Some(StoreSettings { url: Secret(url.into_bytes()), prefix })
}

fn lower_radius(spec: &RadiusSpec, sink: &Sink) -> RadiusSettings {
    let mut clients = Vec::new();
    for client in &spec.clients {
        let name = &client.name.value;
        if let Err(why) = values::check_thing_name(name) {
            sink.error(client.name.at, format!("[subscribers.radius.client.{name}]: {why}"));
        }
        let Some(file) = &client.secret_file else { continue };
        let path = absolute(file, sink);
        let read = read_secret(&path)
            .and_then(|octets| at_least(&octets, RADIUS_SECRET_OCTETS_MIN, "the secret").map(|()| octets));
        match read {
            Ok(secret) => clients.push(RadiusClient {
                name: name.clone(),
                networks: client.networks.iter().map(|net| net.value).collect(),
                secret: Secret(secret),
                realm: realm(client.realm),
            }),
            Err(why) => {
                let title = format!("[subscribers.radius.client.{name}]");
                sink.error(file.at, format!("`secret_file` in {title}: {}: {why}", path.display()));
            }
        }
    }
    if let Some(client) = spec.clients.get(RADIUS_CLIENTS_MAX) {
        sink.error(client.name.at, format!("more than {RADIUS_CLIENTS_MAX} [subscribers.radius.client.*]"));
    }
    let given = spec.token_from.iter().flatten().map(|from| from.value).collect();
    RadiusSettings {
        listen: spec.listen.iter().map(|address| address.value).collect(),
        clients,
        token_from: if spec.token_from.is_some() { given } else { TokenFrom::DEFAULT.to_vec() },
    }
}

fn nats(specs: &[NatSpec], sink: &Sink) -> Vec<Nat> {
    let mut nats = Vec::new();
    for spec in specs {
        let (Some(inside), Some(outside), Some(ports)) = (&spec.inside, &spec.outside, spec.ports) else { continue };
        let nat = Nat {
            outside_realm: Realm::default(),
            outside: outside.value,
            inside_realm: realm(spec.realm),
            inside: inside.value,
            // RFC 6056 §3.2: those below 1024 are not for clients.
            first_port: spec.first_port.unwrap_or(1_024) as u16,
            ports_per_subscriber: ports as u16,
        };
        if let Err(why) = nat.check() {
            sink.error(spec.at, format!("[[subscribers.nat]]: {why}"));
        }
        nats.push(nat);
    }
    if let Some(spec) = specs.get(NAT_RULES_MAX) {
        sink.error(spec.at, format!("more than {NAT_RULES_MAX} [[subscribers.nat]]"));
    }
    nats
}

fn realm(given: Option<i64>) -> Realm {
    Realm(given.unwrap_or(0) as u16)
}

fn absolute(file: &Spanned<String>, sink: &Sink) -> PathBuf {
    sink.base(file.at).join(&file.value)
}

/// A secret is what the file holds, without the line's end that editors leave.
fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let octets = read_steady(path, SECRET_FILE_OCTETS_MAX).map_err(|why| why.to_string())?;
    Ok(octets.trim_ascii().to_vec())
}

// What a secret file holds is never repeated in a message.
fn at_least(octets: &[u8], least: usize, what: &str) -> Result<(), String> {
    match octets.len() {
        count if count < least => Err(format!("{what} has {count} characters, must be at least {least}")),
        _ => Ok(()),
    }
}

fn hex<const N: usize>(octets: &[u8]) -> Result<[u8; N], String> {
    let digit = |octet: u8| char::from(octet).to_digit(16).map(|digit| digit as u8);
    let bad = || {
        format!(
            "it has {} characters, must be {} hexadecimal digits (`openssl rand -hex {N}` makes them)",
            octets.len(),
            2 * N
        )
    };
    if octets.len() != 2 * N {
        return Err(bad());
    }
    let mut key = [0; N];
    for (i, pair) in octets.chunks(2).enumerate() {
        key[i] = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(bad)?;
    }
    Ok(key)
}

impl RadiusSettings {
    /// Who sends from an address: the longest prefix.
    pub fn client(&self, address: IpAddr) -> Option<usize> {
        let address = address.to_canonical();
        let nets =
            self.clients.iter().enumerate().flat_map(|(i, client)| client.networks.iter().map(move |net| (i, net)));
        nets.filter(|(_, net)| net.contains(&address)).max_by_key(|(_, net)| net.prefix_len()).map(|(i, _)| i)
    }
}
