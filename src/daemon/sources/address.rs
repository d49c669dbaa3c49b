//! Which addresses a list may be fetched from: those of the public internet, unless the operator allows others.
//!
//! A list's host, or whoever answers for its name, must not make us ask machines that only we can reach.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

/// Networks that no public server is in: the registries of RFC 6890, and multicast.
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    // Link-local; clouds answer with a machine's own credentials at 169.254.169.254.
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    // Unspecified, loopback and the obsolete IPv4-compatible addresses.
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:db8::/32",
    "3fff::/20",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

static NETWORKS: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| NOT_PUBLIC.iter().map(|text| text.parse().expect("the table above holds networks")).collect());

/// Whether an address is one of the public internet's. One that carries an IPv4 address is what that one is.
pub fn is_public(address: IpAddr) -> bool {
    let inner = match address.to_canonical() {
        IpAddr::V6(v6) => carried_v4(v6).unwrap_or(IpAddr::V6(v6)),
        v4 => v4,
    };
    !NETWORKS.iter().any(|network| network.contains(&inner))
}

/// The IPv4 address that a translator or a tunnel would send to.
fn carried_v4(address: Ipv6Addr) -> Option<IpAddr> {
    let o = address.octets();
    match o {
        // RFC 6052: NAT64.
        [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, ..] => Some(IpAddr::from([o[12], o[13], o[14], o[15]])),
        // RFC 3056: 6to4.
        [0x20, 0x02, a, b, c, d, ..] => Some(IpAddr::from([a, b, c, d])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_in_every_disguise() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.9.10",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "2002:0a00:0001::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:0808:0808::1",
            "2606:4700::1111",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
