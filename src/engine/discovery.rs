//! How clients find our encrypted service: `_dns.resolver.arpa` (RFC 9462), its like below our own name (RFC 9461), and what
//! the resolver tells of itself (RFC 9606).
//!
//! What is on and under which name comes with the snapshot. Addresses are those that were configured. Without them a service
//! is told of where the client asked, if it listens there, else by the addresses that it does listen on: a resolver that
//! listens on every address does not know which of them clients can reach.

use std::net::IpAddr;

use crate::engine::name::Name;
use crate::engine::query::{Question, RecordType};

/// RFC 9606 §8.1.
pub const RESINFO: RecordType = RecordType(261);

/// TTL of what is told here, in seconds: what is switched off is followed soon.
pub const TTL_SECS: u32 = 300;

/// Where DNS over HTTPS is asked, as a template. RFC 8484 §4.1.1; RFC 9461 §5.
pub const DOH_TEMPLATE: &[u8] = b"/dns-query{?dns}";

/// A share of all clients, in hundredths of a percent.
pub const EVERYONE: u16 = 10_000;

/// A transport that clients may come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Dot,
    Doh,
    Doq,
}

impl Protocol {
    /// The port that need not be told. RFC 9461 §4.2.
    pub fn usual_port(self) -> u16 {
        match self {
            Protocol::Dot | Protocol::Doq => 853,
            Protocol::Doh => 443,
        }
    }

    /// RFC 9461 §4.1; HTTP/3 stands beside HTTP/2 on every listener of ours.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Dot => b"\x03dot",
            Protocol::Doh => b"\x02h2\x02h3",
            Protocol::Doq => b"\x03doq",
        }
    }
}

/// One transport at one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    pub protocol: Protocol,
    pub port: u16,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The resolver's own name: the one that its certificate is for.
    name: Name,
    /// `_dns` below it; `None`: it is too long for that.
    below: Option<Name>,
    /// The first is liked best.
    services: Vec<Service>,
    /// The addresses that each of them listens on.
    listening: Vec<Vec<IpAddr>>,
    addresses: Vec<IpAddr>,
    /// Of clients, by their network, in hundredths of a percent.
    share: u16,
    /// Strings of the RESINFO record.
    about: Vec<String>,
}

/// What a question about us is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Which transports there are.
    Services,
    /// Our addresses.
    Addresses,
    /// What this resolver is like.
    Resolver,
    Nothing,
}

impl Discovery {
    /// `services` are what is on, with the address that each listens on; ports are told once each. `info_url` is a page for
    /// people.
    pub fn new(
        name: Name,
        services: impl IntoIterator<Item = (Service, IpAddr)>,
        addresses: Vec<IpAddr>,
        share: u16,
        info_url: Option<&str>,
    ) -> Discovery {
        let (mut told, mut listening): (Vec<Service>, Vec<Vec<IpAddr>>) = Default::default();
        for (service, address) in services {
            let at = told.iter().position(|of| *of == service).unwrap_or_else(|| {
                told.push(service);
                listening.push(Vec::new());
                told.len() - 1
            });
            listening[at].push(address.to_canonical());
        }
        // RFC 9606 §5: no `qnamemin`, which is the upstream server's to claim; the errors are those that a block may carry.
        let about = [Some("exterr=15-18".to_owned()), info_url.map(|url| format!("infourl={url}"))];
        let about = about.into_iter().flatten().filter(|text| text.len() <= 255).collect();
        let below = Name::from_text(&format!("_dns.{name}")).ok();
        Discovery { name, below, services: told, listening, addresses, share, about }
    }

    pub fn name(&self) -> &Name {
        &self.name
    }

    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// What a question at our own name, or `_dns` below it, is about; `None`: it is for somebody else.
    pub fn about_our_name(&self, question: &Question) -> Option<About> {
        if question.qname == self.name {
            return match question.qtype {
                // RFC 6761 §6.3: whoever tries us out with such a certificate; the name stays loopback's.
                RecordType::A | RecordType::AAAA if self.name.as_wire() == b"\x09localhost\0" => None,
                RecordType::A | RecordType::AAAA => Some(About::Addresses),
                RESINFO => Some(About::Resolver),
                _ => None,
            };
        }
        (Some(&question.qname) == self.below.as_ref()).then_some(match question.qtype {
            RecordType::SVCB => About::Services,
            _ => About::Nothing,
        })
    }

    /// Whether the client is among those that are told: networks change sides together, and stay there.
    pub fn is_for(&self, source: IpAddr) -> bool {
        if self.share >= EVERYONE {
            return true;
        }
        let network = match source.to_canonical() {
            IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
            IpAddr::V6(v6) => (v6.to_bits() >> 72) as u64,
        };
        // A good mixer of 64 bits (the last step of MurmurHash3): neighbours are apart.
        let mut mixed = network.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (mixed ^ mixed >> 33) % u64::from(EVERYONE) < u64::from(self.share)
    }

    /// Our addresses, for a client that asked at `local`: those of the services it is told of, else the one it asked.
    pub fn addresses(&self, local: Option<IpAddr>) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for address in self.told(local).flat_map(|(_, reached)| reached) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            addresses.extend(local.map(|address| address.to_canonical()));
        }
        addresses
    }

    /// The services that a client which asked at `local` can reach, each with where.
    fn told(&self, local: Option<IpAddr>) -> impl Iterator<Item = (&Service, Vec<IpAddr>)> {
        let asked = local.map(|address| address.to_canonical());
        let listening = self.services.iter().zip(&self.listening);
        listening.filter_map(move |(service, at)| Some((service, self.reached(at, asked)?)))
    }

    /// Where a service that listens at these addresses is reached; `None`: nowhere that we know of.
    fn reached(&self, at: &[IpAddr], asked: Option<IpAddr>) -> Option<Vec<IpAddr>> {
        if !self.addresses.is_empty() {
            return Some(self.addresses.clone());
        }
        // A listener of IPv6 never takes IPv4 along.
        let listens =
            |asked: IpAddr| at.iter().any(|at| *at == asked || at.is_unspecified() && at.is_ipv4() == asked.is_ipv4());
        if let Some(asked) = asked.filter(|asked| listens(*asked)) {
            return Some(vec![asked]);
        }
        // Nobody but this machine itself reaches its loopback.
        let is_near = asked.is_some_and(|asked| asked.is_loopback());
        let known = at.iter().filter(|at| !at.is_unspecified() && (is_near || !at.is_loopback()));
        let known: Vec<IpAddr> = known.copied().collect();
        (asked.is_none() || !known.is_empty()).then_some(known)
    }

    /// RDATA of each service that a client which asked at `local` can reach. RFC 9460 §2.2: priority, target, and parameters
    /// by their numbers.
    pub fn records(&self, local: Option<IpAddr>) -> impl Iterator<Item = Vec<u8>> {
        (1_u16..).zip(self.told(local)).map(move |(priority, (service, reached))| {
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            for address in reached {
                match address {
                    IpAddr::V4(address) => v4.extend(address.octets()),
                    IpAddr::V6(address) => v6.extend(address.octets()),
                }
            }
            let mut rdata = [&priority.to_be_bytes(), self.name.as_wire()].concat();
            let mut put = |key: u16, value: &[u8]| {
                if !value.is_empty() {
                    rdata.extend_from_slice(&key.to_be_bytes());
                    rdata.extend_from_slice(&(value.len() as u16).to_be_bytes());
                    rdata.extend_from_slice(value);
                }
            };
            put(1, service.protocol.alpn());
            if service.port != service.protocol.usual_port() {
                put(3, &service.port.to_be_bytes());
            }
            put(4, &v4);
            put(6, &v6);
            if service.protocol == Protocol::Doh {
                put(7, DOH_TEMPLATE);
            }
            rdata
        })
    }

    /// RDATA of the RESINFO record: strings, as of TXT.
    pub fn about(&self) -> Vec<u8> {
        self.about.iter().flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::query::CLASS_IN;

    fn discovery(share: u16, addresses: &[&str]) -> Discovery {
        let services = [(Protocol::Dot, 853), (Protocol::Doh, 8443), (Protocol::Dot, 853)];
        let services = services.map(|(protocol, port)| (Service { protocol, port }, IpAddr::from([0; 4])));
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Discovery::new(Name::from_text("dns.example.vn").unwrap(), services, addresses, share, None)
    }

    fn octets(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn services_are_told_in_their_order_with_what_is_unusual() {
        let name = "03646e73 076578616d706c65 02766e 00";
        let records: Vec<_> = discovery(EVERYONE, &["192.0.2.1", "2001:db8::1", "192.0.2.2"]).records(None).collect();
        let hints = "0004 0008 c0000201c0000202 0006 0010 20010db8000000000000000000000001";
        assert_eq!(
            records,
            [
                octets(&format!("0001 {name} 0001 0004 03646f74 {hints}")),
                octets(&format!(
                    "0002 {name} 0001 0006 026832026833 0003 0002 20fb {hints} 0007 0010 2f646e732d71756572797b3f646e737d"
                )),
            ]
        );
    }

    #[test]
    fn without_configured_addresses_the_one_that_was_asked_is_told() {
        let asked: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let told = |given: &[&str]| {
            discovery(1, given).addresses(Some(asked)).iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&[]), ["192.0.2.7"]);
        assert_eq!(told(&["192.0.2.1"]), ["192.0.2.1"]);
    }

    #[test]
    fn a_service_is_told_where_it_listens_and_nowhere_else() {
        let services = [
            (Protocol::Dot, "192.0.2.1"),
            (Protocol::Dot, "2001:db8::1"),
            (Protocol::Doh, "192.0.2.2"),
            (Protocol::Doq, "::"),
            (Protocol::Doq, "127.0.0.1"),
        ];
        let services = services
            .map(|(protocol, at)| (Service { protocol, port: protocol.usual_port() }, at.parse::<IpAddr>().unwrap()));
        let discovery =
            |services| Discovery::new(Name::from_text("dns.example.vn").unwrap(), services, Vec::new(), EVERYONE, None);
        let all = discovery(services.to_vec());
        let told = |asked: &str| {
            let told = all.told(Some(asked.parse().unwrap()));
            told.map(|(service, at)| {
                format!("{:?} {}", service.protocol, at.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(" "))
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(told("192.0.2.1"), ["Dot 192.0.2.1", "Doh 192.0.2.2"], "nobody listens for QUIC on IPv4 but near");
        assert_eq!(told("2001:db8::1"), ["Dot 2001:db8::1", "Doh 192.0.2.2", "Doq 2001:db8::1"]);
        assert_eq!(told("192.0.2.9"), ["Dot 192.0.2.1 2001:db8::1", "Doh 192.0.2.2"]);
        assert_eq!(told("127.0.0.1"), ["Dot 192.0.2.1 2001:db8::1", "Doh 192.0.2.2", "Doq 127.0.0.1"]);
        let near = discovery(vec![services[4]]);
        let asked = Some([192, 0, 2, 9].into());
        assert_eq!((near.records(asked).count(), near.addresses(asked)), (0, vec![[192, 0, 2, 9].into()]));
    }

    #[test]
    fn a_share_of_the_networks_is_told_and_each_keeps_its_side() {
        let share = discovery(500, &[]);
        let networks = (0..40_000_u32).map(|i| IpAddr::from((0x0a00_0000 + (i << 8)).to_be_bytes()));
        let told = networks.clone().filter(|source| share.is_for(*source)).count();
        assert!((1_800..2_200).contains(&told), "{told} of 40,000 are 5 %");
        for source in networks.take(500) {
            let IpAddr::V4(v4) = source else { unreachable!() };
            let neighbour = IpAddr::from((v4.to_bits() | 0xff).to_be_bytes());
            assert_eq!(share.is_for(source), share.is_for(neighbour));
            let more = discovery(2_000, &[]);
            assert!(!share.is_for(source) || more.is_for(source), "a larger share holds the smaller");
        }
        let v6 = |host: &str| format!("2001:db8:1:{host}::1").parse::<IpAddr>().unwrap();
        assert_eq!(share.is_for(v6("1")), share.is_for(v6("ff")));
        assert!(discovery(EVERYONE, &[]).is_for([10, 0, 0, 1].into()));
        assert!(!discovery(0, &[]).is_for([10, 0, 0, 1].into()));
    }

    #[test]
    fn our_own_name_is_answered_for_what_we_know() {
        let ours = discovery(EVERYONE, &[]);
        let about = |qname: &str, qtype| {
            let qname = Name::from_text(qname).unwrap();
            ours.about_our_name(&Question { qname, qtype, qclass: CLASS_IN })
        };
        assert_eq!(about("dns.example.vn", RecordType::A), Some(About::Addresses));
        assert_eq!(about("dns.example.vn", RESINFO), Some(About::Resolver));
        assert_eq!(about("dns.example.vn", RecordType::MX), None);
        assert_eq!(about("_dns.dns.example.vn", RecordType::SVCB), Some(About::Services));
        assert_eq!(about("_dns.dns.example.vn", RecordType::A), Some(About::Nothing));
        assert_eq!(about("www.dns.example.vn", RecordType::A), None);

        let tried = Discovery::new(Name::from_text("localhost").unwrap(), [], Vec::new(), EVERYONE, None);
        let question = |qtype| Question { qname: tried.name().clone(), qtype, qclass: CLASS_IN };
        assert_eq!(tried.about_our_name(&question(RecordType::A)), None, "loopback's, as ever");
        assert_eq!(tried.about_our_name(&question(RESINFO)), Some(About::Resolver));
    }

    #[test]
    fn what_the_resolver_is_like_is_told_in_strings() {
        let name = Name::from_text("dns.example.vn").unwrap();
        let told = Discovery::new(name, [], Vec::new(), 1, Some("https://dns.example.vn/vi")).about();
        assert_eq!(told, b"\x0cexterr=15-18\x21infourl=https://dns.example.vn/vi");
    }
}
