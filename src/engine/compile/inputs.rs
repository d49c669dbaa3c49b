//! What a snapshot is made of: a policy as the configuration has it, and lists as they were read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use crate::engine::category::{Categories, CategoryId};
use crate::engine::client::{Realm, Token, UnixTime};
use crate::engine::cookie::CookieSettings;
use crate::engine::discovery::Discovery;
use crate::engine::gate::GateSettings;
use crate::engine::list::{ListReport, ParseOptions, Reach};
use crate::engine::matcher::room::Room;
use crate::engine::matcher::{HashSeed, Layer, Part, Spared};
use crate::engine::name::Name;
use crate::engine::peers::PeerSettings;
use crate::engine::rate_limit::RateLimit;
use crate::engine::safe_search::SafeSearch;
use crate::engine::schedule::Window;
use crate::engine::snapshot::Unlisted;
use crate::engine::structured::Contact;
use crate::engine::upstream::UpstreamTable;
use crate::engine::verdict::{BlockResponse, ListId};
use crate::engine::zone_limit::ZoneLimit;

/// Everything a configuration says about policy, in the engine's types. Lists' contents come beside it.
#[derive(Debug, Clone)]
pub struct Policy {
    pub categories: Categories,
    pub lists: Vec<ListSettings>,
    /// Files that bring lists compiled.
    pub compiled: Vec<CompiledSettings>,
    /// The first is `default`; always there.
    pub profiles: Vec<ProfileSettings>,
    pub clients: Vec<ClientSettings>,
    /// Networks that may ask; loopback, private ones and every client's are in it unless the configuration says otherwise.
    pub access: Vec<IpNet>,
    pub peers: PeerSettings,
    pub strangers: Strangers,
    /// [`CookieSettings::Random`] is the daemon's to fill in.
    pub cookies: CookieSettings,
    /// `None`: nobody is limited.
    pub rate_limit: Option<RateLimit>,
    /// `None`: no zone is limited.
    pub zone_limit: Option<ZoneLimit>,
    pub operator_allow: Vec<(Name, Reach)>,
    pub operator_deny: Vec<(Name, Reach)>,
    /// Empty: the daemon finds servers itself.
    pub upstreams: Vec<UpstreamTable>,
    pub contact: Contact,
    pub page_v4: Option<Ipv4Addr>,
    pub page_v6: Option<Ipv6Addr>,
    /// TTL of blocks, in seconds: 10 to 60.
    pub block_ttl_secs: u32,
    /// Whose questions are answered as upstream does, and what would have been done counted.
    pub observe: Observe,
    pub rebind_protection: bool,
    /// Names, with all below, whose answers may hold private addresses.
    pub rebind_allow: Vec<Name>,
    pub cache: CacheSettings,
    /// `None`: clients are told of no encrypted service. The daemon fills it in: the certificate has the name.
    pub discovery: Option<Discovery>,
    /// Answers `id.server` and NSID; empty: the daemon puts the machine's name.
    pub node_name: String,
    /// In which people are told times.
    pub time_zone: TimeZone,
}

/// `mode`: whether policy is done or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    Observe,
}

/// For whom policy is only counted, where neither client nor profile says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observe {
    pub mode: Mode,
    /// Of every hundred lines so many are observed, the same ones on every node.
    pub percent: u8,
}

impl Observe {
    pub const NOBODY: Observe = Observe { mode: Mode::Enforce, percent: 0 };
}

/// What a client that we do not serve gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// REFUSED with EDE 18, rate-limited.
    Refuse,
    /// Nothing.
    Drop,
}

/// `[cache]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// In octets.
    pub size: u64,
    /// How long past its TTL an answer may still serve; zero: never.
    pub serve_stale: Duration,
    /// Longest TTL told to clients.
    pub max_client_ttl: Duration,
}

impl CacheSettings {
    /// [`CacheSettings::max_client_ttl`] as TTLs are told.
    pub fn max_client_ttl_secs(&self) -> u32 {
        u32::try_from(self.max_client_ttl.as_secs()).unwrap_or(u32::MAX)
    }
}

/// `[list.NAME]` without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSettings {
    pub name: String,
    pub category: CategoryId,
    pub options: ParseOptions,
    /// Path as shown to people, or `builtin:NAME`.
    pub source: ListSource,
    /// Refuse to start without it.
    pub required: bool,
    /// `public_suffixes = "obey"`: a subtree rule may stand on a public suffix.
    pub obey_public_suffixes: bool,
    /// Keywords of the list that block; the others only count what they meet.
    pub block_keywords: Vec<String>,
    /// What a new version must keep to go into force by itself.
    pub gate: GateSettings,
}

/// `[list.NAME]` with `format = "compiled"`: a file that brings lists of its own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledSettings {
    pub name: String,
    /// For all of its lists, in place of their own.
    pub category: Option<CategoryId>,
    pub file: std::path::PathBuf,
    /// Refuse to start without it.
    pub required: bool,
}

/// Where a list's text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListSource {
    /// A starter list compiled in.
    BuiltIn(String),
    /// A file, a directory or a pattern of files, made absolute against the configuration file that names it.
    File(std::path::PathBuf),
    /// A URL that it is fetched from.
    Url(String),
}

/// YouTube's restricted mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum YouTube {
    Off,
    Moderate,
    Strict,
}

/// `[profile.NAME]`, `inherit` already applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileSettings {
    pub name: String,
    /// Content categories; the security layer is `security`.
    pub block: Vec<CategoryId>,
    pub security: bool,
    /// Security lists are heard for A, AAAA, HTTPS, SVCB and ANY alone, so that mail finds its way.
    pub security_for_addresses: bool,
    pub safe_search: bool,
    /// Engines, by name, whose hosts are left alone.
    pub safe_search_except: Vec<String>,
    pub youtube: YouTube,
    pub block_response: BlockResponse,
    /// Categories that are answered otherwise.
    pub block_responses: Vec<(CategoryId, BlockResponse)>,
    /// In seconds; `None`: [`Policy::block_ttl_secs`].
    pub block_ttl_secs: Option<u32>,
    pub unlisted: Unlisted,
    /// `None`: as for everybody.
    pub mode: Option<Mode>,
    /// Content categories that are counted and not blocked.
    pub shadow: Vec<CategoryId>,
    pub windows: Vec<Window>,
    pub allow: Vec<(Name, Reach)>,
    pub deny: Vec<(Name, Reach)>,
}

/// `[client.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    pub name: String,
    pub networks: Vec<IpNet>,
    /// Of its networks; 0 for those that hold in every realm.
    pub realm: Realm,
    /// What it says that it is.
    pub ids: Vec<Token>,
    /// Addresses of ours at which it asks.
    pub listeners: Vec<IpAddr>,
    /// What rules with `$ctag` know the client by.
    pub tags: Vec<String>,
    /// Index into [`Policy::profiles`].
    pub profile: usize,
    /// Subscribers behind each of its addresses.
    pub lines: u32,
    /// `None`: as its profile has it.
    pub mode: Option<Mode>,
    /// File and line of its table.
    pub place: Option<(String, u32)>,
}

/// A list with what was read of it, ready to be compiled.
#[derive(Debug)]
pub struct LoadedList {
    pub settings: ListSettings,
    pub rules: ListRules,
}

/// Where a list's rules come from.
#[derive(Debug)]
pub enum ListRules {
    /// Its text was read now.
    Read(Part),
    /// They are as they were: out of the snapshot that this one follows.
    Kept,
    /// They lie compiled in a layer, under this number.
    Compiled(Home, ListAbout),
}

/// What a list's text told when it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListAbout {
    /// Rules read, the spared ones too.
    pub rules: usize,
    pub spared: Spared,
    pub report: ListReport,
}

/// Where a list's rules lie.
#[derive(Debug, Clone)]
pub struct Home {
    pub layer: Arc<Layer>,
    /// Its number there.
    pub list: ListId,
}

impl ListRules {
    /// Rules that were read now, or lie in a compiled file; none of a list that is kept.
    pub fn count(&self) -> usize {
        match self {
            ListRules::Read(part) => part.rules,
            ListRules::Kept => 0,
            ListRules::Compiled(_, about) => about.rules,
        }
    }
}

/// What is always built in, whatever the configuration says.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    pub safe_search: Arc<SafeSearch>,
    /// Holes that no list reaches.
    pub protected: Vec<(Name, Reach)>,
    /// Holes that no content list reaches.
    pub protected_content: Vec<(Name, Reach)>,
    /// What machines need to work at all, the time first: no content list reaches it, and it passes where only what is
    /// allowed does.
    pub infrastructure: Vec<(Name, Reach)>,
    /// Names by which machines see whether they are online: they pass likewise, but not in a walled garden.
    pub connectivity: Vec<(Name, Reach)>,
    /// Names by which browsers ask whether a network filters: NXDOMAIN in every profile that does.
    pub browser_canaries: Vec<(Name, Reach)>,
}

impl BuiltIn {
    /// Names that no list reaches: the built-in ones and every SafeSearch target.
    pub fn holes(&self) -> Vec<(Name, Reach)> {
        let targets = self.safe_search.targets().map(|name| (name.clone(), Reach::Exact));
        self.protected.iter().cloned().chain(targets).collect()
    }
}

/// Everything a snapshot is made of.
#[derive(Debug)]
pub struct Inputs {
    pub generation: u64,
    pub policy: Policy,
    pub lists: Vec<LoadedList>,
    pub built_in: BuiltIn,
    /// Upstream tables in force: the configuration's, else those that the daemon found.
    pub upstreams: Vec<UpstreamTable>,
    /// Keys the index's hash, so that no list can be written to collide.
    pub seed: HashSeed,
    /// The layer of all lists that are read as text, when it was kept from an earlier run; else the one before is the
    /// previous snapshot's.
    pub texts: Option<Arc<Layer>>,
    /// Where a new layer of texts is made; `None`: on the heap.
    pub room: Option<Arc<dyn Room>>,
    /// What windows open and close by; `None`: there is no clock to go by, and they stay closed.
    pub now: Option<UnixTime>,
}
