//! Upstream servers as configured: which zone goes where, in which order.
//!
//! Choosing among them and learning their health is here too; sending is the daemon's.

use std::net::SocketAddr;

use crate::engine::name::Name;

/// How a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamTransport {
    /// UDP, and TCP when an answer is truncated.
    Udp,
    Tcp,
    /// DNS over TLS, RFC 7858.
    Tls,
    /// DNS over HTTPS, RFC 8484.
    Https,
    /// DNS over QUIC, RFC 9250.
    Quic,
}

impl UpstreamTransport {
    /// The port when the configuration gives none.
    pub fn default_port(self) -> u16 {
        match self {
            UpstreamTransport::Udp | UpstreamTransport::Tcp => 53,
            UpstreamTransport::Tls | UpstreamTransport::Quic => 853,
            UpstreamTransport::Https => 443,
        }
    }

    /// Whether the channel proves who answers: AD of such a server may reach a client.
    pub fn is_authenticated(self) -> bool {
        match self {
            UpstreamTransport::Udp | UpstreamTransport::Tcp => false,
            UpstreamTransport::Tls | UpstreamTransport::Https | UpstreamTransport::Quic => true,
        }
    }
}

/// Where a server is: an address, or a host name to be resolved through `bootstrap`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    Address(SocketAddr),
    Name(Name, u16),
}

/// One server as configured: `tls://192.0.2.2#dns.example`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server {
    pub transport: UpstreamTransport,
    pub host: Host,
    /// The name its certificate must carry (after `#`, else the host's name); `None`: its address.
    pub tls_name: Option<String>,
    /// Path of a DoH server; `/dns-query` when none is given. Empty for the others.
    pub path: String,
}

/// What happens to a zone's questions when all its servers fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// SERVFAIL.
    None,
    /// The enclosing zone's servers are asked.
    Parent,
}

/// One `[[upstream]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTable {
    /// `.` is the root.
    pub zones: Vec<Name>,
    pub servers: Vec<Server>,
    /// A tier is used only while every lower one is down. From 1.
    pub tier: u8,
    pub fallback: Fallback,
    /// Let AD of these servers reach clients although the channel is not authenticated.
    pub trust_ad: bool,
}
