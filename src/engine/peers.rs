//! Who stands between clients and us, and what of their word is believed: proxies that say in a header who asks, routers and
//! web servers that say it beside the question, and networks that use the same addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::engine::client::{Access, Realm, unmap};
use crate::engine::identity;
use crate::engine::proxy::{self, Problem};
use crate::engine::query::{Edns, Origin, Via};

/// What a configuration says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// Networks whose client identities in EDNS, and whose `X-Forwarded-For`, are believed.
    pub trusted: Vec<IpNet>,
    /// Networks whose every datagram and connection begins with a PROXY header.
    pub proxies: Vec<IpNet>,
    /// Types of the header's values that hold an identity, and a realm's name or number.
    pub identity_tlv: u8,
    pub realm_tlv: u8,
    pub realms: Vec<RealmSettings>,
}

/// `[realm.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealmSettings {
    pub name: String,
    pub realm: Realm,
    /// Addresses of ours that this realm asks at.
    pub listeners: Vec<IpAddr>,
}

/// The first types for local use. PROXY protocol §2.2.8: 0xE0 to 0xEF.
pub const IDENTITY_TLV: u8 = 0xe0;
pub const REALM_TLV: u8 = 0xe1;
/// The types that an application may take for itself.
pub const OWN_TLVS: std::ops::RangeInclusive<i64> = 0xe0..=0xef;

impl Default for PeerSettings {
    fn default() -> PeerSettings {
        PeerSettings {
            trusted: Vec::new(),
            proxies: Vec::new(),
            identity_tlv: IDENTITY_TLV,
            realm_tlv: REALM_TLV,
            realms: Vec::new(),
        }
    }
}

/// As one query asks.
#[derive(Debug, Default)]
pub struct Peers {
    trusted: Access,
    proxies: Access,
    settings: PeerSettings,
    /// Of addresses that are a realm's.
    listeners: Vec<(IpAddr, Realm)>,
}

impl Peers {
    pub fn new(settings: PeerSettings) -> Peers {
        let listeners = settings.realms.iter();
        let listeners =
            listeners.flat_map(|realm| realm.listeners.iter().map(|at| (unmap(*at), realm.realm))).collect();
        Peers {
            trusted: Access::new(settings.trusted.iter().copied()),
            proxies: Access::new(settings.proxies.iter().copied()),
            settings,
            listeners,
        }
    }

    /// Whether a proxy is at this address: what comes from there begins with a header.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        !self.proxies.is_empty() && self.proxies.allows(peer)
    }

    /// Whether what somebody at this address says of its clients is believed.
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        !self.trusted.is_empty() && self.trusted.allows(peer)
    }

    /// A proxy's datagram without its header, and who asks by it.
    ///
    /// # Errors
    /// What is wrong with the header: then the datagram is nobody's.
    pub fn open<'m>(&self, datagram: &'m [u8], origin: Origin) -> Result<(&'m [u8], Origin), Problem> {
        let (header, message) = proxy::read(datagram)?;
        Ok((message, self.told_by(&header, origin)))
    }

    /// Who asks, when a proxy at `origin` says this.
    pub fn told_by(&self, header: &proxy::Header<'_>, origin: Origin) -> Origin {
        let Some(ends) = header.client else { return origin };
        Origin {
            source: ends.source,
            local: Some(ends.destination.ip()),
            transport: origin.transport,
            identity: header.tlv(self.settings.identity_tlv).and_then(identity::of_words),
            realm: header.tlv(self.settings.realm_tlv).map_or(Realm::default(), |value| self.realm(value)),
            via: Some(Via { proxy: origin.source, local: origin.local }),
        }
    }

    /// A realm by its name or number. One that nobody configured holds nobody of its own.
    fn realm(&self, text: &[u8]) -> Realm {
        let named = self.settings.realms.iter().find(|realm| realm.name.as_bytes() == text);
        let number = || std::str::from_utf8(text).ok()?.parse().ok().map(Realm);
        named.map(|realm| realm.realm).or_else(number).unwrap_or(Realm::UNKNOWN)
    }

    /// Who asks, with what the question itself and the address that was asked tell.
    pub fn recognise(&self, origin: Origin, edns: Option<&Edns>) -> Origin {
        let mut origin = origin;
        if let Some(token) = edns.and_then(|edns| edns.client_id)
            && self.is_trusted(origin.source.ip())
        {
            origin.identity = Some(token);
        }
        if origin.realm == Realm::default()
            && !self.listeners.is_empty()
            && let Some(local) = origin.local.map(unmap)
            && let Some((_, realm)) = self.listeners.iter().find(|(address, _)| *address == local)
        {
            origin.realm = *realm;
        }
        origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::query::Transport;

    fn peers() -> Peers {
        Peers::new(PeerSettings {
            trusted: vec!["10.9.0.0/16".parse().unwrap()],
            proxies: vec!["10.8.0.0/16".parse().unwrap()],
            realms: vec![RealmSettings {
                name: "bng-1".into(),
                realm: Realm(7),
                listeners: vec!["192.0.2.7".parse().unwrap()],
            }],
            ..PeerSettings::default()
        })
    }

    fn origin(source: &str, local: &str) -> Origin {
        Origin::new((source.parse::<IpAddr>().unwrap(), 4000).into(), Some(local.parse().unwrap()), Transport::Udp)
    }

    fn datagram(tlvs: &[u8]) -> Vec<u8> {
        let told = [&[192, 0, 2, 1, 198, 51, 100, 53, 0x0f, 0xa0, 0, 53], tlvs].concat();
        [&proxy::SIGNATURE[..], &[0x21, 0x12], &(told.len() as u16).to_be_bytes(), &told, b"message"].concat()
    }

    #[test]
    fn a_proxy_says_who_asks_and_gets_the_answer() {
        let (peers, proxy) = (peers(), origin("10.8.0.1", "192.0.2.53"));
        assert!(peers.is_proxy(proxy.source.ip()) && !peers.is_proxy([10, 9, 0, 1].into()));
        for (tlvs, identity, realm) in [
            (&b""[..], None, 0),
            (b"\xe0\0\x06lop-6a", identity::configured("lop-6a"), 0),
            (b"\xe0\0\x06LOP-6A\xe1\0\x05bng-1", identity::configured("lop-6a"), 7),
            (b"\xe1\0\x029\x31", None, 91),
            (b"\xe1\0\x05bng-2", None, Realm::UNKNOWN.0),
            (b"\xe2\0\x06lop-6a", None, 0),
            (b"\xe0\0\0", None, 0),
        ] {
            let datagram = datagram(tlvs);
            let (message, origin) = peers.open(&datagram, proxy).unwrap();
            assert_eq!(message, b"message");
            assert_eq!(
                (origin.source, origin.local),
                ("192.0.2.1:4000".parse().unwrap(), Some([198, 51, 100, 53].into()))
            );
            assert_eq!((origin.identity, origin.realm), (identity, Realm(realm)), "{tlvs:?}");
            assert_eq!(origin.reply_to(), (proxy.source, proxy.local));
        }
        assert_eq!(peers.open(b"message", proxy), Err(Problem::Missing));
        let local = [&proxy::SIGNATURE[..], &[0x20, 0, 0, 0], b"message"].concat();
        assert_eq!(peers.open(&local, proxy), Ok((&b"message"[..], proxy)), "the proxy's own question");
    }

    #[test]
    fn a_routers_word_is_believed_of_those_that_are_trusted_alone() {
        let peers = peers();
        let edns = Edns { client_id: identity::configured("lop-6a"), ..Edns::default() };
        for (source, is_believed) in [("10.9.0.1", true), ("10.8.0.1", false), ("192.0.2.1", false)] {
            let told = peers.recognise(origin(source, "192.0.2.53"), Some(&edns));
            assert_eq!(told.identity.is_some(), is_believed, "{source}");
        }
        let told = peers.recognise(origin("10.9.0.1", "192.0.2.53"), None);
        assert_eq!((told.identity, told.realm), (None, Realm::default()));
    }

    #[test]
    fn the_address_that_was_asked_may_say_the_realm() {
        let peers = peers();
        assert_eq!(peers.recognise(origin("100.64.0.1", "192.0.2.7"), None).realm, Realm(7));
        assert_eq!(peers.recognise(origin("100.64.0.1", "::ffff:192.0.2.7"), None).realm, Realm(7));
        assert_eq!(peers.recognise(origin("100.64.0.1", "192.0.2.8"), None).realm, Realm(0));
        let by_proxy = Origin { realm: Realm(3), ..origin("100.64.0.1", "192.0.2.7") };
        assert_eq!(peers.recognise(by_proxy, None).realm, Realm(3), "a proxy knows better");
    }
}
