//! What a subscriber is found by: a realm with a prefix of addresses, or with a range of one IPv4 address's ports.
//!
//! Ports are sixteen further bits of an IPv4 address: a block of ports behind a shared address is then one more prefix, and a
//! range that is no power of two is a few of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::engine::client::Realm;
use crate::engine::limits::SUBSCRIBER_PREFIX_BITS_MIN;

/// Bits of an IPv4 address with a port behind it.
pub const V4_BITS: u8 = 48;
/// Bits of an IPv6 address.
pub const V6_BITS: u8 = 128;

/// A prefix in a realm. Bits beyond its length are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub(super) realm: Realm,
    pub(super) is_v6: bool,
    pub(super) length: u8,
    /// The highest bit first; of IPv4 the upper 48 of the first word.
    pub(super) high: u64,
    pub(super) low: u64,
}

/// What a key stands for, to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Net(IpNet),
    /// Ports of a shared address, first and last.
    Ports(Ipv4Addr, u16, u16),
}

impl Key {
    pub fn of_net(realm: Realm, net: IpNet) -> Key {
        match net {
            IpNet::V4(net) => Key::of_v4(realm, net.network(), 0, net.prefix_len()),
            IpNet::V6(net) => Key::of_v6(realm, net.network(), net.prefix_len()),
        }
    }

    /// The keys of a range of ports: at most thirty, one for a block that is aligned to its size.
    pub fn of_ports(realm: Realm, address: Ipv4Addr, ports: RangeInclusive<u16>) -> impl Iterator<Item = Key> {
        let (mut from, end) = (u32::from(*ports.start()), u32::from(*ports.end()) + 1);
        std::iter::from_fn(move || {
            if from >= end {
                return None;
            }
            // The largest aligned block that begins here and does not reach beyond the end.
            let aligned = if from == 0 { 16 } else { from.trailing_zeros().min(16) };
            let bits = aligned.min((end - from).ilog2());
            let key = Key::of_v4(realm, address, from as u16, V4_BITS - bits as u8);
            from += 1 << bits;
            Some(key)
        })
    }

    fn of_v4(realm: Realm, address: Ipv4Addr, port: u16, length: u8) -> Key {
        let high = u64::from(address.to_bits()) << 32 | u64::from(port) << 16;
        Key { realm, is_v6: false, length, high: high & mask(length), low: 0 }
    }

    fn of_v6(realm: Realm, address: Ipv6Addr, length: u8) -> Key {
        let bits = address.to_bits();
        let (high, low) = ((bits >> 64) as u64 & mask(length.min(64)), bits as u64 & mask(length.saturating_sub(64)));
        Key { realm, is_v6: true, length, high, low }
    }

    /// The prefix of `length` bits that an address, with the port it asks from, lies in.
    pub(super) fn around(realm: Realm, source: IpAddr, port: u16, length: u8) -> Key {
        match source {
            IpAddr::V4(v4) => Key::of_v4(realm, v4, port, length),
            IpAddr::V6(v6) => Key::of_v6(realm, v6, length),
        }
    }

    /// Wider than any line's network can be: an entry for it would be one for half of all clients.
    pub fn is_too_wide(&self) -> bool {
        self.length < SUBSCRIBER_PREFIX_BITS_MIN
    }

    pub fn realm(&self) -> Realm {
        self.realm
    }

    pub fn place(&self) -> Place {
        if self.is_v6 {
            let address = Ipv6Addr::from_bits(u128::from(self.high) << 64 | u128::from(self.low));
            return Place::Net(Ipv6Net::new_assert(address, self.length).into());
        }
        let address = Ipv4Addr::from_bits((self.high >> 32) as u32);
        if self.length <= 32 {
            return Place::Net(Ipv4Net::new_assert(address, self.length).into());
        }
        let first = (self.high >> 16) as u16;
        Place::Ports(address, first, first + ((1_u32 << (V4_BITS - self.length)) - 1) as u16)
    }

    /// Twenty octets: realm, family, length, address.
    pub fn to_octets(&self) -> [u8; 20] {
        let mut octets = [0; 20];
        octets[..2].copy_from_slice(&self.realm.0.to_be_bytes());
        octets[2] = u8::from(self.is_v6);
        octets[3] = self.length;
        octets[4..12].copy_from_slice(&self.high.to_be_bytes());
        octets[12..].copy_from_slice(&self.low.to_be_bytes());
        octets
    }

    /// `None`: no key is written so.
    pub fn from_octets(octets: &[u8; 20]) -> Option<Key> {
        let word = |at: usize| u64::from_be_bytes(octets[at..at + 8].try_into().expect("eight octets"));
        let (is_v6, length) = (octets[2] == 1, octets[3]);
        let key = Key {
            realm: Realm(u16::from_be_bytes([octets[0], octets[1]])),
            is_v6,
            length,
            high: word(4),
            low: word(12),
        };
        let fits = octets[2] <= 1 && length <= if is_v6 { V6_BITS } else { V4_BITS };
        let (high, low) =
            if is_v6 { (mask(length.min(64)), mask(length.saturating_sub(64))) } else { (mask(length), 0) };
        (fits && key.high & !high == 0 && key.low & !low == 0).then_some(key)
    }
}

/// The upper `length` bits of a word.
fn mask(length: u8) -> u64 {
    match length {
        0 => 0,
        1..64 => !0 << (64 - length),
        _ => !0,
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Net(net) => net.fmt(f),
            Place::Ports(address, first, last) => write!(f, "{address} ports {first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_a_few_prefixes_that_cover_it_and_no_more() {
        let address = Ipv4Addr::new(198, 51, 100, 7);
        for (range, count) in [
            (1024..=2047, 1),
            (0..=65535, 1),
            (0..=0, 1),
            (65535..=65535, 1),
            (1024..=2023, 6),
            (1..=65534, 30),
            (1000..=1999, 7),
            (64_512..=65_535, 1),
        ] {
            let keys: Vec<Key> = Key::of_ports(Realm(3), address, range.clone()).collect();
            assert_eq!(keys.len(), count, "{range:?}");
            let mut next = u32::from(*range.start());
            for key in &keys {
                let Place::Ports(shown, first, last) = key.place() else {
                    assert_eq!(key.place(), Place::Net("198.51.100.7/32".parse().unwrap()), "the whole address");
                    next = 65_536;
                    continue;
                };
                assert_eq!((shown, u32::from(first)), (address, next), "{range:?}");
                next = u32::from(last) + 1;
            }
            assert_eq!(next, u32::from(*range.end()) + 1, "{range:?}");
        }
    }

    #[test]
    fn a_key_is_written_and_read_back() {
        let nets = [
            "0.0.0.0/0",
            "100.64.1.2/32",
            "10.0.0.0/9",
            "::/0",
            "2001:db8:20::/56",
            "2001:db8::1/128",
            "2001:db8::/65",
        ];
        for net in nets {
            let net: IpNet = net.parse().unwrap();
            let key = Key::of_net(Realm(7), net);
            assert_eq!(key.place(), Place::Net(net));
            assert_eq!(Key::from_octets(&key.to_octets()), Some(key), "{net}");
            assert_eq!(Key::around(Realm(7), net.network(), 0, key.length), key, "{net}");
        }
        let good = Key::of_net(Realm(7), "2001:db8::/56".parse().unwrap()).to_octets();
        for (at, octet) in [(2, 2), (3, 129), (3, 16), (19, 1)] {
            let mut octets = good;
            octets[at] = octet;
            assert_eq!(Key::from_octets(&octets), None, "octet {at} is {octet}");
        }
    }
}
