//! Host names of servers: who resolves them, and for how long the result holds.
//!
//! Never through ourselves: the `bootstrap` addresses do it, else the upstreams given by address, else the system's
//! resolvers. An old result is used while it is being renewed.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Ask;
use super::once::Once;
use super::system::{self, OwnAddresses};
use super::upstream::{Answered, Upstream};
use crate::engine::answer::{Section, address};
use crate::engine::exchange::{Answer, Channel, classify};
use crate::engine::name::Name;
use crate::engine::query::{CLASS_IN, Question, RecordType};
use crate::engine::upstream::{Host, Routes, Server, UpstreamTransport};

/// How long one server is waited for, and how many are asked: together less than a question's whole time.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// See [`PATIENCE`].
const SERVERS_MAX: usize = 3;
/// Addresses of one name that are kept; no provider needs more.
const ADDRESSES_MAX: usize = 8;
/// A result is renewed no sooner and no later than this, whatever its TTL.
const TTL_MIN: Duration = Duration::from_secs(30);
/// See [`TTL_MIN`].
const TTL_MAX: Duration = Duration::from_secs(3_600);

/// Who resolves names of servers.
pub struct Bootstrap {
    servers: Vec<Arc<Upstream>>,
}

impl Bootstrap {
    /// `by_address` are the upstreams of `routes`, where they need no resolving.
    pub fn new(
        routes: &Routes,
        by_address: &[Option<Arc<Upstream>>],
        configured: &[SocketAddr],
        own: &OwnAddresses,
    ) -> Bootstrap {
        let plain = |address: SocketAddr| {
            let server = Server {
                transport: UpstreamTransport::Udp,
                host: Host::Address(address),
                tls_name: None,
                path: String::new(),
            };
            Arc::new(Upstream::new(server, None, own.clone(), None))
        };
        let mut servers: Vec<_> = configured.iter().map(|address| plain(*address)).collect();
        if servers.is_empty() {
            // Only those that are asked for any name: a school's own zone knows nothing of others.
            let group = routes.group_for(&Name::ROOT);
            let members = group.into_iter().flat_map(|group| routes.group(group).tiers.iter().flatten());
            servers = members.filter_map(|member| by_address[member.server.0 as usize].clone()).collect();
        }
        if servers.is_empty() {
            servers = system::resolvers(own).into_iter().map(plain).collect();
        }
        servers.truncate(SERVERS_MAX);
        Bootstrap { servers }
    }

    async fn resolve(&self, name: Name, port: u16) -> Result<Resolved, String> {
        let (v4, v6) = tokio::join!(self.lookup(&name, RecordType::A), self.lookup(&name, RecordType::AAAA));
        let found: Vec<(IpAddr, u32)> = v4.iter().chain(&v6).flatten().copied().take(ADDRESSES_MAX).collect();
        let Some(ttl) = found.iter().map(|(_, ttl)| *ttl).min() else {
            let why = v4.err().or(v6.err()).unwrap_or_else(|| "it has none".to_owned());
            return Err(format!("no address of {name}: {why}"));
        };
        let fresh_until = Instant::now() + Duration::from_secs(u64::from(ttl)).clamp(TTL_MIN, TTL_MAX);
        let addresses = found.into_iter().map(|(ip, _)| SocketAddr::new(ip, port)).collect();
        Ok(Resolved { addresses, fresh_until })
    }

    async fn lookup(&self, name: &Name, qtype: RecordType) -> Result<Vec<(IpAddr, u32)>, String> {
        let question = Question { qname: name.clone(), qtype, qclass: CLASS_IN };
        let ask = Ask::plain(question);
        let mut last = "nobody to ask; set `bootstrap`".to_owned();
        for server in &self.servers {
            let deadline = Instant::now() + PATIENCE;
            let asking = server.ask(&ask, Channel::Configured, true, deadline);
            match tokio::time::timeout_at(deadline, asking).await {
                Ok(Ok(answered)) => match addresses_of(&answered, &ask.question) {
                    Some(addresses) => return Ok(addresses),
                    None => last = format!("{} gave no answer", server.server()),
                },
                Ok(Err(broken)) => last = format!("{}: {broken:?}", server.server()),
                Err(_) => last = format!("{}: no answer within {} ms", server.server(), PATIENCE.as_millis()),
            }
        }
        Err(last)
    }
}

fn addresses_of(answered: &Answered, question: &Question) -> Option<Vec<(IpAddr, u32)>> {
    let (Answer::Good, Some(answer)) = classify(&answered.bytes, question, true) else { return None };
    let records = answer.section(Section::Answer);
    Some(records.filter_map(|record| Some((address(record.rtype, record.rdata)?, record.ttl))).collect())
}

/// What a name resolved to.
#[derive(Clone)]
struct Resolved {
    /// Never empty.
    addresses: Arc<[SocketAddr]>,
    fresh_until: Instant,
}

/// Where a server is.
pub enum Location {
    Fixed(Arc<[SocketAddr]>),
    Named(Box<Named>),
}

pub struct Named {
    name: Name,
    port: u16,
    bootstrap: Arc<Bootstrap>,
    state: Mutex<NameState>,
    /// Moves on when an address cannot be reached.
    chosen: AtomicUsize,
}

#[derive(Default)]
struct NameState {
    current: Option<Resolved>,
    pending: Option<Once<Resolved>>,
}

impl Location {
    pub fn new(host: &Host, bootstrap: Option<Arc<Bootstrap>>) -> Location {
        let known = host.known_addresses();
        match host {
            Host::Name(name, port) if known.is_empty() => Location::Named(Box::new(Named {
                name: name.clone(),
                port: *port,
                bootstrap: bootstrap.expect("a server with a host name is built with a bootstrap"),
                state: Mutex::default(),
                chosen: AtomicUsize::new(0),
            })),
            Host::Name(..) | Host::Address(_) => Location::Fixed(known.into()),
        }
    }

    pub fn is_resolved_like(&self, bootstrap: &Bootstrap) -> bool {
        let hosts = |b: &Bootstrap| -> Vec<Server> { b.servers.iter().map(|s| s.server().clone()).collect() };
        match self {
            Location::Fixed(_) => true,
            Location::Named(named) => hosts(&named.bootstrap) == hosts(bootstrap),
        }
    }

    /// The server's addresses; at least one.
    pub async fn addresses(&self) -> Result<Arc<[SocketAddr]>, String> {
        match self {
            Location::Fixed(addresses) => Ok(Arc::clone(addresses)),
            Location::Named(named) => named.addresses().await,
        }
    }

    /// The one to send a datagram to.
    pub fn choose(&self, addresses: &[SocketAddr]) -> SocketAddr {
        let chosen = match self {
            Location::Fixed(_) => 0,
            Location::Named(named) => named.chosen.load(Ordering::Relaxed),
        };
        addresses[chosen % addresses.len()]
    }

    /// The chosen one could not be reached.
    pub fn advance(&self) {
        if let Location::Named(named) = self {
            named.chosen.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Named {
    async fn addresses(&self) -> Result<Arc<[SocketAddr]>, String> {
        let pending = match self.known() {
            Ok(addresses) => return Ok(addresses),
            Err(pending) => pending,
        };
        let resolved = pending.get().await;
        let mut state = self.lock();
        state.pending = None;
        let resolved = resolved.map_err(|error| error.to_string())?;
        state.current = Some(resolved.clone());
        Ok(resolved.addresses)
    }

    /// What is known now, also when it is old; a renewal is begun when it is. Else what has to be waited for.
    fn known(&self) -> Result<Arc<[SocketAddr]>, Once<Resolved>> {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(Ok(renewed)) = state.pending.as_ref().and_then(Once::peek) {
            state.current = Some(renewed);
            state.pending = None;
        }
        if let Some(current) = state.current.as_ref().filter(|current| now < current.fresh_until) {
            return Ok(Arc::clone(&current.addresses));
        }
        let has_failed = state.pending.as_ref().is_some_and(|pending| matches!(pending.peek(), Some(Err(_))));
        if state.pending.is_none() || has_failed {
            let (bootstrap, name, port) = (Arc::clone(&self.bootstrap), self.name.clone(), self.port);
            state.pending = Some(Once::spawn(async move { bootstrap.resolve(name, port).await }));
        }
        match &mut state.current {
            Some(old) => {
                // The next try to renew comes after a while, not with every question.
                old.fresh_until = now + TTL_MIN;
                Ok(Arc::clone(&old.addresses))
            }
            None => Err(state.pending.clone().expect("set above")),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, NameState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
