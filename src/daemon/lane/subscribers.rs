//! What the lane reads the generation's table of subscribers with. What the table has is `engine::subscribers`'.

use crate::daemon::snapshot_cell::Generation;
use crate::engine::client::{Client, UnixTime};
use crate::engine::query::Origin;
use crate::engine::snapshot::Snapshot;
use crate::engine::subscribers::{Held, Reader, Sought};

/// What the lane reads the generation's table of subscribers with.
#[derive(Default)]
pub(super) struct Subscribers {
    pub(super) reader: Option<Reader>,
    /// Who sent the datagrams of a batch, by their numbers, and what the table has of them. Empty: nobody looked ahead.
    pub(super) asking: Vec<Sought>,
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
        // An identity in the question itself was not known when the batch was looked up.
        let number = number.filter(|number| self.asking.get(*number) == Some(&Sought::of(origin)));
        match number.and_then(|number| self.found.get(number)) {
            Some(held) => snapshot.identify_held(*held, origin, at),
            None => snapshot.identify_by(&mut self.reader, origin, at),
        }
    }
}
