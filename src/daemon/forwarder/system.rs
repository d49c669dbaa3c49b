//! The system's resolvers, and the addresses that are ourselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use crate::engine::name::Name;
use crate::engine::upstream::{Fallback, Host, Server, UpstreamTable, UpstreamTransport};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// As many as the C library reads.
const RESOLVERS_MAX: usize = 3;

/// Asked when there is no configuration and no system resolver: Quad9 without its own filter, and Cloudflare. Both say
/// in public what they log; neither filters, so that what is blocked is blocked by our lists.
const PUBLIC: [&str; 4] = ["9.9.9.10:53", "1.1.1.1:53", "[2620:fe::10]:53", "[2606:4700:4700::1111]:53"];

/// Addresses we answer on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnAddresses(Arc<[SocketAddr]>);

impl OwnAddresses {
    pub fn new(addresses: Vec<SocketAddr>) -> OwnAddresses {
        OwnAddresses(addresses.into())
    }

    /// Whether a question sent there would come back to us. A wildcard listener is every address of this machine.
    pub fn contains(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.0.iter().any(|own| {
            own.port() == address.port()
                && (own.ip().to_canonical() == ip
                    || own.ip().is_unspecified() && own.is_ipv4() == ip.is_ipv4() && is_local(ip))
        })
    }

    /// Those of a server's addresses that are not ours; `None` when all are.
    pub fn others(&self, addresses: Arc<[SocketAddr]>) -> Option<Arc<[SocketAddr]>> {
        if !addresses.iter().any(|address| self.contains(*address)) {
            return Some(addresses);
        }
        let others: Arc<[SocketAddr]> = addresses.iter().copied().filter(|address| !self.contains(*address)).collect();
        (!others.is_empty()).then_some(others)
    }
}

/// An address is this machine's when the kernel would reach it from itself. Connecting a UDP socket sends nothing;
/// binding would prove less, since a machine without any interface up lets every address be bound.
fn is_local(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source_towards = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(ip, 53))?;
        Ok(socket.local_addr()?.ip())
    };
    ip.is_loopback() || ip.is_unspecified() || source_towards().is_ok_and(|source| source == ip)
}

/// The system's resolvers, less ourselves.
pub fn resolvers(own: &OwnAddresses) -> Vec<SocketAddr> {
    // Without the file the C library asks the local host; we would rather say that there is none.
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    parse(&text).filter(|address| !own.contains(*address)).collect()
}

/// One tier for the root zone, and where its servers come from.
pub fn upstreams(own: &OwnAddresses) -> (Vec<UpstreamTable>, String) {
    choose(resolvers(own))
}

fn choose(system: Vec<SocketAddr>) -> (Vec<UpstreamTable>, String) {
    let is_public = system.is_empty();
    let addresses = if is_public {
        PUBLIC.iter().map(|address| address.parse().expect("a constant that a test parses")).collect()
    } else {
        system
    };
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let from = if is_public {
        format!("no upstream configured and none in {RESOLV_CONF}: asking public resolvers {}", shown.join(", "))
    } else {
        format!("no upstream configured: asking the system's resolvers {} ({RESOLV_CONF})", shown.join(", "))
    };
    let table = UpstreamTable {
        zones: vec![Name::ROOT],
        servers: addresses.into_iter().map(plain).collect(),
        tier: 1,
        fallback: Fallback::None,
        trust_ad: false,
    };
    (vec![table], from)
}

fn plain(address: SocketAddr) -> Server {
    Server { transport: UpstreamTransport::Udp, host: Host::Address(address), tls_name: None, path: String::new() }
}

/// `nameserver` lines of resolv.conf(5). An address with a zone (`fe80::1%eth0`) is left out.
fn parse(text: &str) -> impl Iterator<Item = SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let ip: IpAddr = words.next().filter(|&word| word == "nameserver").and(words.next())?.parse().ok()?;
        Some(SocketAddr::new(ip, 53))
    };
    text.lines().filter_map(server).take(RESOLVERS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_gives_its_first_three_servers() {
        let text = "# made by hand\nsearch example.com\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # v6\n\
                    nameserver fe80::1%eth0\nnameserver\nnameserver x\noptions edns0\nnameserver 192.0.2.2\n\
                    nameserver 192.0.2.3";
        let shown: Vec<String> = parse(text).map(|address| address.to_string()).collect();
        assert_eq!(shown, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
    }

    #[test]
    fn our_own_addresses_are_known_by_port_and_through_a_wildcard() {
        let own =
            OwnAddresses::new(["127.0.0.1:5354", "0.0.0.0:53", "[::1]:5354"].map(|a| a.parse().unwrap()).to_vec());
        for (address, is_own) in [
            ("127.0.0.1:5354", true),
            ("127.0.0.2:5354", false),
            ("[::1]:5354", true),
            ("[::ffff:127.0.0.1]:5354", true),
            ("127.0.0.53:53", true),
            ("[::1]:53", false),
            ("192.0.2.1:53", false),
            ("192.0.2.1:5354", false),
        ] {
            assert_eq!(own.contains(address.parse().unwrap()), is_own, "{address}");
        }
    }

    #[test]
    fn of_a_name_with_one_address_of_ours_the_others_are_asked() {
        let own = OwnAddresses::new(vec!["127.0.0.1:5354".parse().unwrap()]);
        let of = |text: &[&str]| -> Arc<[SocketAddr]> { text.iter().map(|a| a.parse().unwrap()).collect() };
        assert_eq!(own.others(of(&["127.0.0.1:5354", "[::1]:5354"])), Some(of(&["[::1]:5354"])));
        assert_eq!(own.others(of(&["192.0.2.1:5354"])), Some(of(&["192.0.2.1:5354"])));
        assert_eq!(own.others(of(&["127.0.0.1:5354"])), None);
    }

    #[test]
    fn without_a_system_resolver_public_ones_are_asked_and_said() {
        let (tables, from) = choose(Vec::new());
        assert_eq!(tables[0].servers.len(), PUBLIC.len());
        assert!(from.contains("public resolvers 9.9.9.10, 1.1.1.1"), "{from}");
        let (tables, from) = choose(vec!["192.0.2.1:53".parse().unwrap()]);
        assert_eq!(tables[0].servers.len(), 1);
        assert!(from.contains("system's resolvers 192.0.2.1 "), "{from}");
    }
}
