//! Deterministic NAT (RFC 7422): which inside address stands behind a port of an outside one, by arithmetic.
//!
//! Inside addresses take blocks of ports in order: those of the first outside address, lowest first, then those of the next.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::engine::client::Realm;

/// One gateway's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat {
    /// Where outside addresses are seen; most often the one that needs no name.
    pub outside_realm: Realm,
    pub outside: Ipv4Net,
    /// Where the subscribers behind it are known.
    pub inside_realm: Realm,
    pub inside: Ipv4Net,
    /// Ports below are nobody's.
    pub first_port: u16,
    /// At least one.
    pub ports_per_subscriber: u16,
}

/// Why a rule makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatError {
    #[error("{inside} has {needed} addresses, and {outside} has blocks of {ports} ports for {room}")]
    TooFew { inside: Ipv4Net, outside: Ipv4Net, ports: u16, needed: u64, room: u64 },
}

impl Nat {
    /// Blocks of one outside address.
    fn blocks(&self) -> u64 {
        (u64::from(u16::MAX) + 1 - u64::from(self.first_port)) / u64::from(self.ports_per_subscriber.max(1))
    }

    /// # Errors
    /// There are more inside addresses than blocks.
    pub fn check(&self) -> Result<(), NatError> {
        let size = |net: &Ipv4Net| 1_u64 << (32 - net.prefix_len());
        let (needed, room) = (size(&self.inside), size(&self.outside) * self.blocks());
        if needed > room {
            let Nat { inside, outside, ports_per_subscriber: ports, .. } = *self;
            return Err(NatError::TooFew { inside, outside, ports, needed, room });
        }
        Ok(())
    }

    /// The inside address behind a port; `None`: it is nobody's.
    pub fn inside(&self, realm: Realm, outside: Ipv4Addr, port: u16) -> Option<(Realm, Ipv4Addr)> {
        if realm != self.outside_realm || !self.outside.contains(&outside) || port < self.first_port {
            return None;
        }
        let block = u64::from((port - self.first_port) / self.ports_per_subscriber.max(1));
        let number = u64::from(outside.to_bits() - self.outside.network().to_bits());
        let at = number * self.blocks() + block;
        // What is left over behind the last whole block of an address.
        if block >= self.blocks() || at >= 1 << (32 - self.inside.prefix_len()) {
            return None;
        }
        let inside = Ipv4Addr::from_bits(self.inside.network().to_bits() + at as u32);
        Some((self.inside_realm, inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lead_to_inside_addresses() {
        let nat = Nat {
            outside_realm: Realm(0),
            outside: "203.0.113.0/30".parse().unwrap(),
            inside_realm: Realm(9),
            inside: "100.64.0.0/25".parse().unwrap(),
            first_port: 1_024,
            ports_per_subscriber: 2_000,
        };
        assert_eq!(nat.check(), Ok(()));
        let wider = Nat { inside: "100.64.0.0/24".parse().unwrap(), ..nat };
        assert_eq!(
            wider.check().unwrap_err().to_string(),
            "100.64.0.0/24 has 256 addresses, and 203.0.113.0/30 has blocks of 2000 ports for 128"
        );
        for (outside, port, inside) in [
            ("203.0.113.0", 1_023, None),
            ("203.0.113.0", 1_024, Some("100.64.0.0")),
            ("203.0.113.0", 3_023, Some("100.64.0.0")),
            ("203.0.113.0", 3_024, Some("100.64.0.1")),
            // 32 blocks of 2,000 end at 65,023.
            ("203.0.113.0", 65_023, Some("100.64.0.31")),
            ("203.0.113.0", 65_024, None),
            ("203.0.113.1", 1_024, Some("100.64.0.32")),
            ("203.0.113.3", 65_023, Some("100.64.0.127")),
            ("203.0.113.4", 1_024, None),
        ] {
            let told = nat.inside(Realm(0), outside.parse().unwrap(), port);
            assert_eq!(told, inside.map(|inside| (Realm(9), inside.parse().unwrap())), "{outside}:{port}");
        }
        assert_eq!(nat.inside(Realm(1), "203.0.113.0".parse().unwrap(), 1_024), None);
    }
}
