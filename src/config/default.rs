//! What holds when nothing is configured: the embedded file, the starter lists' names, the built-in default profile.
//!
//! Each default is a constant with its reason; `lower` is their only user.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::engine::category::Categories;
use crate::engine::category::CategoryId;
use crate::engine::compile::{CacheSettings, ProfileSettings, YouTube};
use crate::engine::safe_search::SafeSearch;
use crate::engine::snapshot::Unlisted;
use crate::engine::verdict::BlockResponse;

/// The configuration of a resolver that was started without one.
pub const EMBEDDED: &str = include_str!("../../config/lachan.toml");

/// The starter lists that `file = "builtin:NAME"` takes.
pub const BUILT_IN_LISTS: &[&str] = &[
    "adult",
    "gambling",
    "violence",
    "drugs",
    "self-harm",
    "dating",
    "games",
    "social",
    "video",
    "chat",
    "piracy",
    "ads",
    "bypass",
    "malware",
    "phishing",
    "scam",
    "botnet",
    "cryptomining",
];

/// The profile of clients that nobody configured.
pub const DEFAULT_PROFILE: &str = "default";
/// What it blocks beside the security layer: what harms a child anywhere. Games, chat and video are a school's choice.
pub const DEFAULT_PROFILE_BLOCK: &[&str] = &["adult", "gambling", "violence", "drugs", "self-harm"];

/// Windows and orders are told in this zone.
pub const TIME_ZONE: &str = "Asia/Ho_Chi_Minh";
/// Loopback and a port above 1024: whoever starts it needs no privilege and disturbs nobody.
pub const LISTEN: [SocketAddr; 2] =
    [SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5354), SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 5354)];
/// Metrics and status.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9153);
/// A question lives 4.5 s at most, so after this long nothing in flight can still be answered.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Short, so that an allow rule is felt soon; long enough that a stub does not ask again at once.
pub const BLOCK_TTL_SECS: u32 = 10;
/// `[cache]`: 256 MiB hold the working set of some ten thousand people; RFC 8767 §5 suggests 1 to 3 days of stale.
pub const CACHE: CacheSettings = CacheSettings {
    size: 256 << 20,
    serve_stale: Duration::from_secs(86_400),
    max_client_ttl: Duration::from_secs(3_600),
};

/// Networks that may ask when `[access]` says nothing: those that no stranger's packet comes from.
const ACCESS: &[&str] = &[
    "127.0.0.0/8",
    "::1/128",
    // Link-local: RFC 3927, RFC 4291 §2.5.6.
    "169.254.0.0/16",
    "fe80::/10",
    // RFC 1918.
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    // RFC 6598: a carrier's own subscribers.
    "100.64.0.0/10",
    // RFC 4193.
    "fc00::/7",
];

pub fn access() -> Vec<IpNet> {
    ACCESS.iter().map(|text| text.parse().expect("the table above holds networks")).collect()
}

/// Names of the search engines that a profile may leave alone.
pub(super) fn search_engines() -> Vec<String> {
    let table = SafeSearch::from_csv(crate::built_in::safe_search_csv()).expect("a test reads the SafeSearch table");
    table.engines().map(|(_, name)| name.to_owned()).collect()
}

/// The categories of [`DEFAULT_PROFILE_BLOCK`].
pub fn default_profile_block(categories: &Categories) -> Vec<CategoryId> {
    DEFAULT_PROFILE_BLOCK.iter().filter_map(|name| categories.id(name)).collect()
}

/// The built-in default profile; also where a declared profile takes the keys that neither it nor its parents give.
pub fn default_profile(categories: &Categories) -> ProfileSettings {
    ProfileSettings {
        name: DEFAULT_PROFILE.to_owned(),
        block: default_profile_block(categories),
        security: true,
        security_for_addresses: false,
        safe_search: true,
        safe_search_except: Vec::new(),
        youtube: YouTube::Off,
        block_response: BlockResponse::Nxdomain,
        block_responses: Vec::new(),
        block_ttl_secs: None,
        unlisted: Unlisted::Judged,
        mode: None,
        shadow: Vec::new(),
        windows: Vec::new(),
        allow: Vec::new(),
        deny: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::category::Layer;

    #[test]
    fn every_starter_list_is_a_category_and_the_default_block_is_content() {
        let categories = Categories::built_in();
        for name in BUILT_IN_LISTS {
            assert!(categories.id(name).is_some(), "{name}");
        }
        let block = default_profile_block(&categories);
        assert_eq!(block.len(), DEFAULT_PROFILE_BLOCK.len());
        assert!(block.iter().all(|&id| categories.get(id).layer == Layer::Content));
    }

    #[test]
    fn the_default_access_is_private() {
        let access = access();
        let allowed = |ip: &str| access.iter().any(|net| net.contains(&ip.parse::<IpAddr>().unwrap()));
        for ip in ["127.0.0.1", "::1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "100.127.0.1", "fd00::1", "fe80::1"] {
            assert!(allowed(ip), "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1"] {
            assert!(!allowed(ip), "{ip}");
        }
    }
}
