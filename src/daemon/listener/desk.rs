//! Fast lanes for connections: whoever has octets to read borrows a lane with its memory for as long as that takes.
//!
//! A connection that waits has nothing of this, so ten thousand of them cost little. There are as many desks as were ever
//! needed at once, which is one for each thread of the runtime.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::daemon::clock;
use crate::daemon::lane::Lane;
use crate::daemon::resolver::Resolver;
use crate::engine::framing::FRAME_OCTETS_MAX;

/// A lane, and room to read and write in.
pub(in crate::daemon) struct Desk {
    pub lane: Lane,
    /// What was read; as long as the largest message.
    pub inbox: Box<[u8]>,
    /// One answer.
    pub answer: Vec<u8>,
}

/// The desks that nobody sits at.
pub(in crate::daemon) struct Desks {
    resolver: Arc<Resolver>,
    free: Mutex<Vec<Desk>>,
}

impl Desks {
    pub fn new(resolver: Arc<Resolver>) -> Desks {
        Desks { resolver, free: Mutex::default() }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Desk>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something at a desk. It must not wait.
    pub fn with<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        let taken = self.free().pop();
        let mut desk = taken.unwrap_or_else(|| Desk {
            lane: Lane::new(Arc::clone(&self.resolver)),
            inbox: vec![0; FRAME_OCTETS_MAX].into(),
            answer: Vec::with_capacity(4096),
        });
        let done = work(&mut desk);
        self.free().push(desk);
        done
    }

    /// Lets go of old generations now and then, when nobody asks: one may hold lists of gigabytes.
    pub fn keep_current(&self) {
        let now = clock::now();
        self.free().iter_mut().for_each(|desk| desk.lane.begin(now).end(now));
    }
}
