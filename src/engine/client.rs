//! Who asks: what the client says that it is → its source prefix → the address it asked → client → profile.
//!
//! An identity that is known goes before any prefix; of prefixes the longest wins; the address that was asked is for those
//! whom neither tells.

mod spans;
mod token;

use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::engine::query::{Origin, Transport};
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
    /// Of the networks that use this address, the one that it came from.
    pub realm: Realm,
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

impl Realm {
    /// Of whom a proxy says a realm that nobody configured.
    pub const UNKNOWN: Realm = Realm(u16::MAX);
}

impl Client {
    /// Whether it is in a network of a realm. Of one that uses the same addresses elsewhere it is not.
    pub fn is_in(&self, realm: Realm, net: &IpNet) -> bool {
        self.realm == realm && net.contains(&unmap(self.source))
    }
}

/// Seconds since 1970, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixTime(pub i64);

/// What configured clients are known by.
#[derive(Debug, Default)]
pub struct ClientTable {
    /// Of realm 0, which hold everywhere.
    nets: Spans<Configured>,
    /// Those of every other realm that has some, together with the ones above.
    realms: Vec<(Realm, Spans<Configured>)>,
    tokens: HashMap<Token, Configured, BuildHasherDefault<TokenHasher>>,
    /// Few: this machine's own.
    listeners: Vec<(IpAddr, Configured)>,
}

/// What a table is made of.
#[derive(Debug, Default)]
pub struct Known {
    pub nets: Vec<(Realm, IpNet, Configured)>,
    pub tokens: Vec<(Token, Configured)>,
    /// Addresses of ours at which this client asks.
    pub listeners: Vec<(IpAddr, Configured)>,
}

/// A token is a hash already.
#[derive(Debug, Default)]
struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|octet| self.0 = self.0.rotate_left(8) ^ u64::from(*octet));
    }

    fn write_u128(&mut self, token: u128) {
        self.0 = token as u64;
    }
}

/// What a prefix says of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configured {
    pub profile: ProfileId,
    /// Index of the `[client.*]`.
    pub client: u32,
}

impl ClientTable {
    pub fn new(known: Known) -> ClientTable {
        let Known { nets, tokens, listeners } = known;
        let of = |realm: Realm| {
            let held = nets.iter().filter(move |(of, ..)| *of == Realm::default() || *of == realm);
            // Of two that are the same network the realm's own counts: it comes later.
            let mut held: Vec<_> = held.collect();
            held.sort_by_key(|(of, ..)| *of);
            Spans::new(held.into_iter().map(|(_, net, configured)| (*net, *configured)))
        };
        let mut realms: Vec<Realm> = nets.iter().map(|(realm, ..)| *realm).filter(|realm| realm.0 != 0).collect();
        realms.sort();
        realms.dedup();
        ClientTable {
            nets: of(Realm::default()),
            realms: realms.into_iter().map(|realm| (realm, of(realm))).collect(),
            tokens: tokens.into_iter().collect(),
            listeners: listeners.into_iter().map(|(address, configured)| (unmap(address), configured)).collect(),
        }
    }

    /// The client at `source`, by UDP, of whom nothing else is known.
    pub fn identify(&self, source: IpAddr) -> Client {
        self.of(&Origin::new((source, 0).into(), None, Transport::Udp))
    }

    /// The client of a question; an unconfigured one has the default profile, which is the first.
    pub fn of(&self, origin: &Origin) -> Client {
        let source = origin.source.ip();
        let by_token = origin.identity.and_then(|token| self.tokens.get(&token).copied());
        let found = by_token.or_else(|| self.nets_of(origin.realm).at(unmap(source))).or_else(|| self.at(origin.local));
        Client {
            profile: found.map_or(ProfileId(0), |c| c.profile),
            configured: found.map(|c| c.client),
            source,
            realm: origin.realm,
            by_udp: origin.transport == Transport::Udp,
            at: UnixTime::default(),
            standing: Standing::NoTable,
        }
    }

    /// Whether somebody is known by this token.
    pub fn knows(&self, token: Token) -> bool {
        self.tokens.contains_key(&token)
    }

    /// Whether anybody is known by a token at all.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    fn nets_of(&self, realm: Realm) -> &Spans<Configured> {
        if realm == Realm::default() {
            return &self.nets;
        }
        let place = self.realms.binary_search_by_key(&realm, |(of, _)| *of);
        place.map_or(&self.nets, |at| &self.realms[at].1)
    }

    fn at(&self, local: Option<IpAddr>) -> Option<Configured> {
        if self.listeners.is_empty() {
            return None;
        }
        let local = unmap(local?);
        self.listeners.iter().find(|(address, _)| *address == local).map(|(_, configured)| *configured)
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

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }
}

/// A v4-mapped address as the v4 address it is, so that no family is a way round a rule (I14).
pub fn unmap(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Who sent something, with a v4-mapped address as the v4 address it is. A link-local address keeps its interface, without which nothing
/// can be sent there.
pub fn unmap_peer(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => (v4, peer.port()).into(),
        IpAddr::V6(_) => peer,
    }
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
        let nets = nets.map(|(net, profile)| (Realm::default(), net.parse().unwrap(), client(profile)));
        let table = ClientTable::new(Known { nets: nets.into(), ..Known::default() });
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
    fn an_identity_goes_before_a_prefix_and_a_prefix_before_the_address_that_was_asked() {
        let token = Token(7);
        let table = ClientTable::new(Known {
            nets: vec![(Realm::default(), "10.0.0.0/8".parse().unwrap(), client(1))],
            tokens: vec![(token, client(2))],
            listeners: vec![("192.0.2.53".parse().unwrap(), client(3))],
        });
        let (inside, outside) = ("10.0.0.1", "203.0.113.9");
        let (asked, elsewhere) = (Some("192.0.2.53"), Some("192.0.2.54"));
        for (source, local, identity, profile) in [
            (inside, None, None, 1),
            (inside, asked, None, 1),
            (inside, asked, Some(token), 2),
            (outside, asked, Some(token), 2),
            (outside, asked, None, 3),
            (outside, Some("::ffff:192.0.2.53"), None, 3),
            (outside, elsewhere, None, 0),
            (outside, None, None, 0),
            (inside, None, Some(Token(8)), 1),
            (outside, asked, Some(Token(8)), 3),
        ] {
            let local = local.map(|address| address.parse().unwrap());
            let source = (source.parse::<IpAddr>().unwrap(), 4000).into();
            let origin = Origin { identity, ..Origin::new(source, local, Transport::Tls) };
            assert_eq!(table.of(&origin).profile, ProfileId(profile), "{origin:?}");
        }
        assert_eq!((table.knows(token), table.knows(Token(8)), table.has_tokens()), (true, false, true));
    }

    #[test]
    fn networks_that_use_the_same_addresses_are_told_apart() {
        let net = |realm, net: &str, profile| (Realm(realm), net.parse().unwrap(), client(profile));
        let nets = vec![
            net(2, "100.64.0.0/10", 2),
            net(0, "100.64.0.0/16", 3),
            net(1, "100.64.0.0/10", 1),
            net(1, "100.64.0.0/16", 4),
            net(0, "10.0.0.0/8", 5),
        ];
        let table = ClientTable::new(Known { nets, ..Known::default() });
        for (realm, source, profile) in [
            (0, "100.65.0.1", 0),
            (1, "100.65.0.1", 1),
            (2, "100.65.0.1", 2),
            (3, "100.65.0.1", 0),
            (0, "100.64.0.1", 3),
            (1, "100.64.0.1", 4),
            (2, "100.64.0.1", 3),
            (3, "100.64.0.1", 3),
            (2, "10.1.2.3", 5),
        ] {
            let source = (source.parse::<IpAddr>().unwrap(), 4000).into();
            let origin = Origin { realm: Realm(realm), ..Origin::new(source, None, Transport::Udp) };
            assert_eq!(table.of(&origin).profile, ProfileId(profile), "{origin:?}");
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
