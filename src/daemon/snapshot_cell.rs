//! The one place that swaps the snapshot (I12). A reader loads once per query and holds what it loaded to the end (I2).

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::daemon::forwarder::Forwarder;
use crate::engine::snapshot::Snapshot;

/// A snapshot with the upstream pool that belongs to it: they change together or not at all.
pub struct Generation {
    pub snapshot: Snapshot,
    pub forwarder: Arc<Forwarder>,
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
