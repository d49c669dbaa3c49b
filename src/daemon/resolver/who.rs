//! Who asks: what an address may be before anything was read of it, and whose word is taken for an identity. Whose profile it has
//! is said by the snapshot.

use std::net::IpAddr;
use std::sync::Arc;

use super::Resolver;
use crate::daemon::clock;
use crate::engine::client::Token;
use crate::engine::compile::Strangers;
use crate::engine::peers::Peers;
use crate::engine::query::Origin;
use crate::engine::snapshot::Snapshot;

/// What a connection's source may be.
#[derive(Debug, Clone, Copy)]
pub struct Standings {
    pub is_client: bool,
    /// It begins with a PROXY header.
    pub is_proxy: bool,
    pub strangers: Strangers,
    /// There are clients that are known by what they say, from wherever.
    pub may_be_guest: bool,
}

impl Standings {
    /// Whether nobody who could ask is at the other end. `is_encrypted`: it may still say who it is.
    pub fn is_closed(&self, is_encrypted: bool) -> bool {
        !self.is_client && self.strangers == Strangers::Drop && !(is_encrypted && self.may_be_guest)
    }
}

impl Resolver {
    /// What a connection from an address may be.
    pub fn standing(&self, source: IpAddr) -> Standings {
        let generation = self.cell.load();
        let snapshot = &generation.snapshot;
        Standings {
            is_client: snapshot.access.allows(source),
            is_proxy: snapshot.peers.is_proxy(source),
            strangers: snapshot.strangers,
            may_be_guest: snapshot.may_have_guests(),
        }
    }

    /// A datagram without what a proxy put before it, and who asks by it. `None`: it is nobody's, and counted.
    pub fn open<'m>(&self, snapshot: &Snapshot, datagram: &'m [u8], origin: Origin) -> Option<(&'m [u8], Origin)> {
        if !snapshot.peers.is_proxy(origin.source.ip()) {
            return Some((datagram, origin));
        }
        match snapshot.peers.open(datagram, origin) {
            Ok((message, origin)) => Some((message, self.admit_guest(snapshot, origin))),
            Err(problem) => {
                self.metrics.proxy_headers.with_label_values(&[problem.as_str()]).inc();
                None
            }
        }
    }

    /// Who asks, by an identity of its own: one that asks too much from somewhere else is nobody.
    pub fn admit(&self, origin: Origin) -> Origin {
        if origin.identity.is_none() {
            return origin;
        }
        self.admit_guest(&self.cell.load().snapshot, origin)
    }

    fn admit_guest(&self, snapshot: &Snapshot, origin: Origin) -> Origin {
        let Some(token) = origin.identity.filter(|_| snapshot.is_guest(&origin)) else { return origin };
        match self.guests.admit(token, clock::now()) {
            Ok(()) => origin,
            Err(limit) => {
                self.metrics.limit_hit(limit);
                Origin { identity: None, ..origin }
            }
        }
    }

    /// Who asks on an encrypted connection for which a client named this server.
    pub fn named(&self, origin: Origin, server_name: Option<&str>) -> Origin {
        // What a proxy says of its client goes before what the client says.
        if origin.identity.is_some() {
            return origin;
        }
        let identity = server_name.and_then(|name| self.cell.load().snapshot.identity_in(name));
        Origin { identity, ..origin }
    }

    /// Who asks by a path of DNS over HTTPS that names a client. Nobody's name changes nothing, and what a proxy says goes
    /// before.
    pub fn told_by_path(&self, origin: Origin, identity: Option<Token>) -> Origin {
        let is_told = origin.via.is_some() && origin.identity.is_some();
        let is_known = |token: &Token| origin.identity.is_none() || self.cell.load().snapshot.knows(*token);
        let identity = identity.filter(|token| !is_told && is_known(token)).or(origin.identity);
        Origin { identity, ..origin }
    }

    /// Whether a connection's client may ask, as far as is known now.
    pub fn admits(&self, origin: &Origin) -> bool {
        self.cell.load().snapshot.admits(origin)
    }

    /// Whose word about others is believed.
    pub fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.cell.load().snapshot.peers)
    }
}
