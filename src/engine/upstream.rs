//! Upstream servers: which zone goes where, in which order, and how each server does.
//!
//! The types of the configuration stand here; [`routes`] finds the group of servers for a name, [`health`] learns from
//! outcomes and puts a group's servers in order. What is sent when is [`exchange`](crate::engine::exchange)'s; sending
//! is the daemon's.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::engine::name::Name;

pub mod health;
pub mod routes;

pub use health::{Candidate, EXPLORE_ONE_IN, Health, HedgeBudget, Standing, candidates, patience};
pub use routes::{Group, GroupId, Member, Routes, ServerIdx};

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

    /// The URL scheme of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            UpstreamTransport::Udp => "udp",
            UpstreamTransport::Tcp => "tcp",
            UpstreamTransport::Tls => "tls",
            UpstreamTransport::Https => "https",
            UpstreamTransport::Quic => "quic",
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

impl Host {
    /// The addresses that are known without asking anybody: the one given, and loopback for `localhost`; none for any other
    /// name.
    pub fn known_addresses(&self) -> Vec<SocketAddr> {
        match self {
            Host::Address(address) => vec![*address],
            // RFC 6761 §6.3: such names are loopback, and no DNS server is asked for them.
            Host::Name(name, port) if is_localhost(name) => {
                vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()]
            }
            Host::Name(..) => Vec::new(),
        }
    }
}

fn is_localhost(name: &Name) -> bool {
    name.is_at_or_below(&Name::from_text("localhost").expect("a constant that is a name"))
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

impl Server {
    /// Whether AD of this server may reach a client without being told so: nobody sits between us.
    pub fn is_trusted_path(&self) -> bool {
        let is_loopback = match &self.host {
            Host::Address(address) => address.ip().to_canonical().is_loopback(),
            Host::Name(..) => false,
        };
        is_loopback || self.transport.is_authenticated()
    }
}

/// As the configuration writes it, the default port left out: the label of metrics and the name in messages.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.transport.as_str())?;
        let default_port = self.transport.default_port();
        match &self.host {
            Host::Address(SocketAddr::V6(a)) if a.port() == default_port => write!(f, "[{}]", a.ip())?,
            Host::Address(SocketAddr::V4(a)) if a.port() == default_port => write!(f, "{}", a.ip())?,
            Host::Address(address) => write!(f, "{address}")?,
            Host::Name(name, port) if *port == default_port => write!(f, "{name}")?,
            Host::Name(name, port) => write!(f, "{name}:{port}")?,
        }
        f.write_str(&self.path)?;
        match (&self.tls_name, &self.host) {
            (Some(tls_name), Host::Name(name, _)) if *tls_name == name.to_string() => Ok(()),
            (Some(tls_name), _) => write!(f, "#{tls_name}"),
            (None, _) => Ok(()),
        }
    }
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
