//! A question as it arrived: header, question, EDNS as asked, and where it came from.
//!
//! [`read`] turns a datagram or a TCP message into a [`Query`] or into the answer code a bad one gets. It reads every
//! section to the end, so that a message that lies about its length is FORMERR and nothing of it is used.

use std::net::{IpAddr, SocketAddr};

use crate::engine::name::Name;

/// DNS record types that the engine names; any other passes as its number (RFC 3597).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordType(pub u16);

impl RecordType {
    pub const A: RecordType = RecordType(1);
    pub const NS: RecordType = RecordType(2);
    pub const CNAME: RecordType = RecordType(5);
    pub const SOA: RecordType = RecordType(6);
    pub const PTR: RecordType = RecordType(12);
    pub const HINFO: RecordType = RecordType(13);
    pub const MX: RecordType = RecordType(15);
    pub const TXT: RecordType = RecordType(16);
    pub const AAAA: RecordType = RecordType(28);
    pub const SRV: RecordType = RecordType(33);
    pub const DNAME: RecordType = RecordType(39);
    pub const OPT: RecordType = RecordType(41);
    pub const DS: RecordType = RecordType(43);
    pub const RRSIG: RecordType = RecordType(46);
    pub const NSEC: RecordType = RecordType(47);
    pub const DNSKEY: RecordType = RecordType(48);
    pub const SVCB: RecordType = RecordType(64);
    pub const HTTPS: RecordType = RecordType(65);
    pub const TKEY: RecordType = RecordType(249);
    pub const TSIG: RecordType = RecordType(250);
    pub const IXFR: RecordType = RecordType(251);
    pub const AXFR: RecordType = RecordType(252);
    pub const MAILB: RecordType = RecordType(253);
    pub const MAILA: RecordType = RecordType(254);
    pub const ANY: RecordType = RecordType(255);
    pub const CAA: RecordType = RecordType(257);
}

/// Class IN. RFC 1035 §3.2.4.
pub const CLASS_IN: u16 = 1;
/// Class CH, used for `version.bind` and its like.
pub const CLASS_CH: u16 = 3;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Canonical.
    pub qname: Name,
    pub qtype: RecordType,
    pub qclass: u16,
}

/// The transport a question came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// Where a question came from and where it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client; a v4-mapped address is already unmapped.
    pub source: SocketAddr,
    /// The address the client asked; `None` where the listener cannot know it.
    pub local: Option<IpAddr>,
    pub transport: Transport,
}
