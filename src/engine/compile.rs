//! Inputs → (Snapshot, Report): the one place where configuration and lists become what queries read.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::engine::category::{Categories, CategoryId};
use crate::engine::list::{ParseOptions, Reach, RuleSet};
use crate::engine::name::Name;
use crate::engine::upstream::UpstreamTable;
use crate::engine::verdict::BlockResponse;

/// Everything a configuration says about policy, in the engine's types. Lists' contents come beside it.
#[derive(Debug, Clone)]
pub struct Policy {
    pub categories: Categories,
    pub lists: Vec<ListSettings>,
    /// The first is `default`; always there.
    pub profiles: Vec<ProfileSettings>,
    pub clients: Vec<ClientSettings>,
    /// Networks that may ask; loopback, private ones and every client's are in it unless the configuration says otherwise.
    pub access: Vec<IpNet>,
    pub strangers: Strangers,
    pub operator_allow: Vec<(Name, Reach)>,
    pub operator_deny: Vec<(Name, Reach)>,
    /// Empty: the daemon finds servers itself.
    pub upstreams: Vec<UpstreamTable>,
    pub page_v4: Option<Ipv4Addr>,
    pub page_v6: Option<Ipv6Addr>,
    /// TTL of blocks, in seconds: 10 to 60.
    pub block_ttl_secs: u32,
    pub rebind_protection: bool,
    /// Names, with all below, whose answers may hold private addresses.
    pub rebind_allow: Vec<Name>,
    pub cache: CacheSettings,
    /// Answers `id.server` and NSID; empty: the host's name is not told.
    pub node_name: String,
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
}

/// Where a list's text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListSource {
    /// A starter list compiled in.
    BuiltIn(String),
    /// A file, made absolute against the configuration file that names it.
    File(std::path::PathBuf),
}

/// YouTube's restricted mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    pub safe_search: bool,
    pub youtube: YouTube,
    pub block_response: BlockResponse,
    pub allow: Vec<(Name, Reach)>,
    pub deny: Vec<(Name, Reach)>,
}

/// `[client.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    pub name: String,
    pub networks: Vec<IpNet>,
    /// Index into [`Policy::profiles`].
    pub profile: usize,
}

/// A list with what was read of it, ready to be compiled.
#[derive(Debug, Clone)]
pub struct LoadedList {
    pub settings: ListSettings,
    pub rules: Arc<RuleSet>,
}
