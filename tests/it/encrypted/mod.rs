//! TCP, DNS over TLS, HTTPS and QUIC: what a well-behaved client is told, and what becomes of the others.

mod certificates;
mod crowds;
mod doh;
mod doq;
mod drain;
mod hickory_defects;
mod programs;
mod streams;
mod suites;

use std::net::SocketAddr;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsOption;

use crate::harness::client::Ask;
use crate::harness::resolver::{Files, InProcess};
use crate::harness::secure::{Certificate, encrypted};
use crate::harness::upstream::Upstream;

/// `held.example` is answered when a test lets it go. `slow.example` takes a second, for servers that keep others waiting
/// meanwhile. `bad.example` is blocked, so nobody has to be asked for it.
pub const ZONE: &str = r#"
. 60 IN SOA ns.example. host.example. 1 3600 600 86400 40
held.example. 300 IN A 192.0.2.9
held-too.example. 300 IN A 192.0.2.10
slow.example. 300 IN A 192.0.2.9
fast.example. 300 IN A 192.0.2.1
two.example. 300 IN A 192.0.2.1
two.example. 300 IN TXT "a"
broken.example. 300 IN A 192.0.2.1
;! held.example. held
;! held-too.example. held
;! slow.example. delay=1000
;! broken.example. rcode=SERVFAIL
"#;
const LIST: &str = "[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n";
const BLOCKED: &str = "www.bad.example";

/// The resolver with every listener, over [`ZONE`].
pub struct Lab {
    pub upstream: Upstream,
    pub certificate: Certificate,
    pub resolver: InProcess,
}

impl Lab {
    pub fn start() -> Lab {
        Lab::with(LIST)
    }

    pub fn with(config: &str) -> Lab {
        let (upstream, certificate) = (Upstream::start(ZONE), Certificate::new());
        let [chain, key] = certificate.files();
        let files = [("mine.txt", "bad.example\n"), chain, key];
        let resolver = InProcess::start(&Files { config: encrypted(config, upstream.v4), files: &files });
        Lab { upstream, certificate, resolver }
    }

    pub fn tcp(&self) -> SocketAddr {
        self.resolver.addresses.dns[0]
    }

    pub fn dot(&self) -> SocketAddr {
        self.resolver.addresses.dot[0]
    }

    pub fn doh(&self) -> SocketAddr {
        self.resolver.addresses.doh[0]
    }

    pub fn doq(&self) -> SocketAddr {
        self.resolver.addresses.doq[0]
    }

    pub fn limit_hits(&self, limit: &str) -> u64 {
        self.counted(&format!("lachan_limit_hits_total{{limit=\"{limit}\"}} "))
    }

    /// Handshakes of TLS and QUIC that ended so.
    pub fn handshakes(&self, result: &str) -> u64 {
        self.counted(&format!("lachan_tls_handshakes_total{{result=\"{result}\"}} "))
    }

    fn counted(&self, series: &str) -> u64 {
        let page = self.resolver.resolver.metrics.encode();
        page.lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap_or(0)
    }
}

/// A question with this id.
fn question(name: &str, id: u16) -> Vec<u8> {
    let mut query = Ask::new(name, RecordType::A).encode();
    query[..2].copy_from_slice(&id.to_be_bytes());
    query
}

/// A question that offers padding, as stub resolvers do.
fn padded(name: &str) -> Ask {
    Ask { options: vec![EdnsOption::Unknown(12, vec![0; 40])], ..Ask::new(name, RecordType::A) }
}

/// Numbers of the EDNS options of an answer.
fn options(message: &Message) -> Vec<u16> {
    let options = message.edns.iter().flat_map(|edns| edns.options().as_ref());
    options.map(|(code, _)| u16::from(*code)).collect()
}
