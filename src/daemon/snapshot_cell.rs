//! The one place that swaps the snapshot (I12). A reader loads once per query and holds what it loaded to the end (I2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::daemon::forwarder::Forwarder;
use crate::engine::limits::RELEVANCES_MAX;
use crate::engine::policy::Relevance;
use crate::engine::snapshot::Snapshot;

/// A snapshot with the upstream pool that belongs to it: they change together or not at all.
pub struct Generation {
    pub snapshot: Snapshot,
    pub forwarder: Arc<Forwarder>,
    pub relevances: Relevances,
}

impl Generation {
    pub fn new(snapshot: Snapshot, forwarder: Arc<Forwarder>) -> Generation {
        Generation { snapshot, forwarder, relevances: Relevances::default() }
    }
}

/// Numbers for what policy found in cached answers: of millions of answers there are few different ones. Zero is nobody's.
pub struct Relevances {
    by_number: Box<[OnceLock<Relevance>]>,
    numbers: Mutex<HashMap<Relevance, u16>>,
}

impl Default for Relevances {
    fn default() -> Relevances {
        let by_number: Box<[OnceLock<Relevance>]> = (0..RELEVANCES_MAX).map(|_| OnceLock::new()).collect();
        by_number[usize::from(JUDGED)].get_or_init(|| Relevance::JUDGED);
        Relevances { by_number, numbers: Mutex::default() }
    }
}

/// Number of what is judged each time.
const JUDGED: u16 = 1;

impl Relevances {
    /// Takes no lock.
    pub fn get(&self, number: u16) -> Option<&Relevance> {
        self.by_number.get(usize::from(number))?.get()
    }

    /// The number of a relevance; when there are too many different ones, that of those judged each time.
    pub fn number(&self, relevance: &Relevance) -> u16 {
        if relevance.is_judged() {
            return JUDGED;
        }
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = numbers.len() + usize::from(JUDGED) + 1;
        if let Some(number) = numbers.get(relevance) {
            return *number;
        }
        let Some(place) = self.by_number.get(next) else { return JUDGED };
        place.get_or_init(|| relevance.clone());
        numbers.insert(relevance.clone(), next as u16);
        next as u16
    }
}

/// Holds the generation in force.
pub struct SnapshotCell {
    current: ArcSwap<Generation>,
}

impl SnapshotCell {
    pub fn new(first: Generation) -> SnapshotCell {
        SnapshotCell { current: ArcSwap::from_pointee(first) }
    }

    /// For a query that is answered without waiting.
    pub fn load(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// For a query that waits.
    pub fn load_full(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    pub fn swap(&self, next: Generation) {
        self.current.store(Arc::new(next));
    }
}
