//! Who asks: source prefix → client → profile. The longest prefix wins.

mod spans;
mod token;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::engine::subscribers::Standing;
use crate::engine::verdict::ProfileId;
use spans::Spans;
pub use token::{Token, TokenKey};

/// The client of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    pub profile: ProfileId,
    /// Index of the `[client.*]` that matched; `None` for one that nobody configured.
    pub configured: Option<u32>,
    /// Where the question came from.
    pub source: IpAddr,
    /// Whether it came by UDP, where a truncated answer makes the client come again.
    pub by_udp: bool,
    /// When it asked.
    pub at: UnixTime,
    /// What the table of subscribers says of it.
    pub standing: Standing,
}

/// Networks that use the same addresses, as 100.64.0.0/10 behind each gateway, are told apart by their realms; 0 is the one
/// that needs no name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(pub u16);

/// Seconds since 1970, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixTime(pub i64);

/// Prefixes of configured clients.
#[derive(Debug, Default)]
pub struct ClientTable {
    nets: Spans<Configured>,
}

/// What a prefix says of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configured {
    pub profile: ProfileId,
    /// Index of the `[client.*]`.
    pub client: u32,
}

impl ClientTable {
    pub fn new(nets: impl IntoIterator<Item = (IpNet, Configured)>) -> ClientTable {
        ClientTable { nets: Spans::new(nets) }
    }

    /// The client at `source`, by UDP; an unconfigured one has the default profile, which is the first.
    pub fn identify(&self, source: IpAddr) -> Client {
        let found = self.nets.at(unmap(source));
        Client {
            profile: found.map_or(ProfileId(0), |c| c.profile),
            configured: found.map(|c| c.client),
            source,
            by_udp: true,
            at: UnixTime::default(),
            standing: Standing::NoTable,
        }
    }
}

/// Networks that may ask.
#[derive(Debug, Default)]
pub struct Access {
    nets: Spans<()>,
}

impl Access {
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Access {
        Access { nets: Spans::new(nets.into_iter().map(|net| (net, ()))) }
    }

    pub fn allows(&self, source: IpAddr) -> bool {
        self.nets.at(unmap(source)).is_some()
    }
}

/// A v4-mapped address as the v4 address it is, so that no family is a way round a rule (I14).
pub fn unmap(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Addresses that an answer for a public name has no business with: rebinding protection.
///
/// RFC 1918, 169.254/16, fc00::/7, fe80::/10 and their v4-mapped forms. Loopback is not among them: mail block lists
/// answer with 127.0.0.x.
pub fn is_private(address: IpAddr) -> bool {
    match unmap(address) {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(profile: u16) -> Configured {
        Configured { profile: ProfileId(profile), client: u32::from(profile) }
    }

    #[test]
    fn the_longest_prefix_wins_in_both_families() {
        let nets = [("10.0.0.0/8", 1), ("10.20.0.0/16", 2), ("2001:db8::/32", 1), ("2001:db8:20::/48", 2)];
        let table = ClientTable::new(nets.map(|(net, profile)| (net.parse().unwrap(), client(profile))));
        for (source, profile) in [
            ("10.1.2.3", 1),
            ("10.20.2.3", 2),
            ("::ffff:10.20.2.3", 2),
            ("2001:db8:1::5", 1),
            ("2001:db8:20::5", 2),
            ("192.0.2.1", 0),
            ("2001:db9::1", 0),
        ] {
            assert_eq!(table.identify(source.parse().unwrap()).profile, ProfileId(profile), "{source}");
        }
    }

    #[test]
    fn access_unmaps_and_refuses_the_rest() {
        let access = Access::new(["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        for (source, allowed) in
            [("10.9.9.9", true), ("::ffff:10.9.9.9", true), ("::1", true), ("11.0.0.1", false), ("::2", false)]
        {
            assert_eq!(access.allows(source.parse().unwrap()), allowed, "{source}");
        }
    }

    #[test]
    fn private_addresses_are_known_in_every_spelling() {
        for (address, private) in [
            ("10.0.0.1", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("192.168.1.1", true),
            ("169.254.1.1", true),
            ("127.0.0.2", false),
            ("::ffff:192.168.1.1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::1", false),
            ("0.0.0.0", false),
            ("2001:db8::1", false),
            ("198.51.100.1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
