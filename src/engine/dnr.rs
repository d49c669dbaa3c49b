//! What a network tells its clients of this resolver when they join: RFC 9463 (DNR), as octets of DHCP's options and of a
//! router's advertisement.
//!
//! One instance for each encrypted transport, the best liked first. How a server's configuration spells them is not here.

use std::net::IpAddr;

use crate::engine::discovery::{DOH_TEMPLATE, Protocol, Service};
use crate::engine::name::Name;

/// OPTION_V4_DNR. RFC 9463 §5.1.
pub const V4_OPTION: u8 = 162;
/// OPTION_V6_DNR. RFC 9463 §4.1.
pub const V6_OPTION: u16 = 144;
/// The option of a router's advertisement. RFC 9463 §6.1.
pub const RA_OPTION: u8 = 144;

/// Octets that one option of DHCPv4 has; a longer one is split, which few programs do. RFC 2132 §2.
const V4_OPTION_OCTETS_MAX: usize = 255;

/// One transport, under our name, at our addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Lower is better.
    pub priority: u16,
    pub service: Service,
    name: Name,
    addresses: Vec<IpAddr>,
    /// Behind the path of DNS over HTTPS, with its slash.
    identity: Option<String>,
}

impl Instance {
    /// One for each service.
    pub fn all(name: &Name, addresses: &[IpAddr], services: &[Service], identity: Option<&str>) -> Vec<Instance> {
        let instance = |(priority, service): (u16, &Service)| Instance {
            priority,
            service: *service,
            name: name.clone(),
            addresses: addresses.to_vec(),
            identity: identity.map(str::to_owned),
        };
        (1..).zip(services).map(instance).collect()
    }

    /// Path and template of DNS over HTTPS. RFC 9461 §5.
    pub fn doh_path(&self) -> String {
        let template = std::str::from_utf8(DOH_TEMPLATE).expect("it is written as text");
        match (&self.identity, template.split_once('{')) {
            (Some(identity), Some((path, variables))) => format!("{path}/{identity}{{{variables}"),
            _ => template.to_owned(),
        }
    }

    /// Service parameters: RFC 9460 §2.2, by their numbers. RFC 9463 §3.1.5: with `alpn`, and without hints of addresses.
    fn params(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |key: u16, value: &[u8]| {
            out.extend_from_slice(&key.to_be_bytes());
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
            out.extend_from_slice(value);
        };
        let Service { protocol, port } = self.service;
        put(1, protocol.alpn());
        if port != protocol.usual_port() {
            put(3, &port.to_be_bytes());
        }
        if protocol == Protocol::Doh {
            put(7, self.doh_path().as_bytes());
        }
        out
    }

    fn v4_addresses(&self) -> Vec<u8> {
        let v4 = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some(v4.octets()),
            IpAddr::V6(_) => None,
        });
        v4.flatten().collect()
    }

    fn v6_addresses(&self) -> Vec<u8> {
        let v6 = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V6(v6) => Some(v6.octets()),
            IpAddr::V4(_) => None,
        });
        v6.flatten().collect()
    }

    /// An instance of [`V4_OPTION`], with its length. `None`: it has no address of IPv4, or too many.
    fn v4(&self) -> Option<Vec<u8>> {
        let (name, addresses) = (self.name.as_wire(), self.v4_addresses());
        if addresses.is_empty() {
            return None;
        }
        let mut out = self.priority.to_be_bytes().to_vec();
        out.push(u8::try_from(name.len()).ok()?);
        out.extend_from_slice(name);
        out.push(u8::try_from(addresses.len()).ok()?);
        out.extend(addresses);
        out.extend(self.params());
        Some([&(out.len() as u16).to_be_bytes(), out.as_slice()].concat())
    }

    /// The value of one [`V6_OPTION`]. `None`: it has no address of IPv6.
    pub fn v6(&self) -> Option<Vec<u8>> {
        let (name, addresses) = (self.name.as_wire(), self.v6_addresses());
        if addresses.is_empty() {
            return None;
        }
        let mut out = self.priority.to_be_bytes().to_vec();
        out.extend((name.len() as u16).to_be_bytes());
        out.extend_from_slice(name);
        out.extend((addresses.len() as u16).to_be_bytes());
        out.extend(addresses);
        out.extend(self.params());
        Some(out)
    }

    /// One [`RA_OPTION`] whole, type and length too, good for so many seconds. `None`: it has no address of IPv6, or is longer
    /// than such an option can be.
    pub fn advertised(&self, lifetime_secs: u32) -> Option<Vec<u8>> {
        let (name, addresses, params) = (self.name.as_wire(), self.v6_addresses(), self.params());
        if addresses.is_empty() {
            return None;
        }
        let mut out = vec![RA_OPTION, 0];
        out.extend(self.priority.to_be_bytes());
        out.extend(lifetime_secs.to_be_bytes());
        for part in [name, &addresses, &params] {
            out.extend((part.len() as u16).to_be_bytes());
            out.extend_from_slice(part);
        }
        out.resize(out.len().next_multiple_of(8), 0);
        // In units of eight octets. RFC 4861 §4.6.
        out[1] = u8::try_from(out.len() / 8).ok()?;
        Some(out)
    }
}

/// The value of [`V4_OPTION`], and how many of the instances are in it: those that fit, from the best liked on. `None`: there
/// is no address of IPv4.
pub fn v4_option(instances: &[Instance]) -> Option<(Vec<u8>, usize)> {
    let (mut out, mut count) = (Vec::new(), 0);
    for instance in instances.iter().filter_map(Instance::v4) {
        if out.len() + instance.len() > V4_OPTION_OCTETS_MAX {
            break;
        }
        out.extend(instance);
        count += 1;
    }
    (count > 0).then_some((out, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
    }

    fn instances(services: &[(Protocol, u16)], addresses: &[&str], identity: Option<&str>) -> Vec<Instance> {
        let services: Vec<Service> = services.iter().map(|&(protocol, port)| Service { protocol, port }).collect();
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Instance::all(&Name::from_text("dns.example.vn").unwrap(), &addresses, &services, identity)
    }

    const NAME: &str = "03646e73 076578616d706c65 02766e 00";

    #[test]
    fn the_option_of_dhcpv4_is_that_of_rfc_9463() {
        let all =
            instances(&[(Protocol::Dot, 853), (Protocol::Doh, 8443)], &["192.0.2.1", "2001:db8::1", "192.0.2.2"], None);
        // Length; priority; length and name; length and addresses; alpn=dot.
        let dot = format!("0024 0001 10 {NAME} 08 c0000201 c0000202 0001 0004 03646f74");
        let path = "2f646e732d71756572797b3f646e737d";
        let doh =
            format!("0040 0002 10 {NAME} 08 c0000201 c0000202 0001 0006 026832026833 0003 0002 20fb 0007 0010 {path}");
        let (made, count) = v4_option(&all).unwrap();
        assert_eq!((made, count), (octets(&(dot + &doh)), 2));
        assert_eq!(v4_option(&instances(&[(Protocol::Dot, 853)], &["2001:db8::1"], None)), None);
        let many: Vec<_> = (1..=9).map(|port| (Protocol::Dot, port)).collect();
        let (made, count) = v4_option(&instances(&many, &["192.0.2.1"], None)).unwrap();
        assert_eq!((made.len() <= 255, count), (true, 6), "what does not fit is left out");
    }

    #[test]
    fn the_option_of_dhcpv6_is_that_of_rfc_9463() {
        let all = instances(&[(Protocol::Doq, 853)], &["192.0.2.1", "2001:db8::1"], None);
        let address = "20010db8000000000000000000000001";
        assert_eq!(all[0].v6(), Some(octets(&format!("0001 0010 {NAME} 0010 {address} 0001 0004 03646f71"))));
        assert_eq!(instances(&[(Protocol::Doq, 853)], &["192.0.2.1"], None)[0].v6(), None);
    }

    #[test]
    fn the_option_of_an_advertisement_is_whole_units_of_eight() {
        let all = instances(&[(Protocol::Dot, 853)], &["2001:db8::1"], None);
        let address = "20010db8000000000000000000000001";
        let expected = format!("90 07 0001 00000708 0010 {NAME} 0010 {address} 0008 0001 0004 03646f74 0000");
        assert_eq!(all[0].advertised(1800), Some(octets(&expected)));
    }

    #[test]
    fn an_identity_is_in_the_path() {
        let all = instances(&[(Protocol::Doh, 443)], &["192.0.2.1"], Some("lop-6a"));
        assert_eq!(all[0].doh_path(), "/dns-query/lop-6a{?dns}");
        assert!(v4_option(&all).unwrap().0.ends_with(b"/dns-query/lop-6a{?dns}"));
    }
}
