//! What the lane reads the generation's table of subscribers with. What the table has is `engine::subscribers`'.

use std::net::SocketAddr;

use crate::daemon::snapshot_cell::Generation;
use crate::engine::client::{Client, Realm, UnixTime};
use crate::engine::query::Origin;
use crate::engine::snapshot::Snapshot;
use crate::engine::subscribers::{Held, Reader};

/// What the lane reads the generation's table of subscribers with.
#[derive(Default)]
pub(super) struct Subscribers {
    pub(super) reader: Option<Reader>,
    /// Where the datagrams of a batch came from, by their numbers, and what the table has there. Empty: nobody looked ahead.
    pub(super) asking: Vec<(Realm, SocketAddr)>,
    pub(super) found: Vec<Option<Held>>,
}

impl Subscribers {
    pub(super) fn of(generation: &Generation) -> Subscribers {
        let reader = generation.snapshot.subscribers.as_ref().map(|live| live.table.reader());
        Subscribers { reader, ..Subscribers::default() }
    }

    /// Nothing of the batch before is left, nor what the table has replaced.
    pub(super) fn begin(&mut self) {
        self.asking.clear();
        self.found.clear();
        self.reader.iter_mut().for_each(Reader::let_go);
    }

    pub(super) fn identify(
        &mut self,
        snapshot: &Snapshot,
        number: Option<usize>,
        origin: &Origin,
        at: UnixTime,
    ) -> Client {
        let place = (origin.realm, origin.source);
        let number = number.filter(|number| origin.identity.is_none() && self.asking.get(*number) == Some(&place));
        match number.and_then(|number| self.found.get(number)) {
            Some(held) => snapshot.identify_held(*held, origin, at),
            None => snapshot.identify_by(&mut self.reader, origin, at),
        }
    }
}
