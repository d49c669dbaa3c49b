//! What one thread of the fast lane counts: plain numbers behind a lock of its own, summed when somebody asks.
//!
//! The thread takes its lock once a batch, and nobody else wants it but a scrape. Labels are those of
//! [`Metrics`], to which a tally is poured out at a scrape and when a generation ends, since what its numbers
//! stand for is that generation's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::local::LocalHistogram;

use crate::daemon::snapshot_cell::Generation;
use crate::daemon::telemetry::Metrics;
use crate::daemon::telemetry::{Outcome, QTYPES, qtype_index};
use crate::engine::category::CategoryId;
use crate::engine::query::{Rcode, RecordType, Transport};
use crate::engine::verdict::{EngineId, ProfileId, Rung};

/// A thread's tally, shared with whoever scrapes.
pub type Shared = Arc<Mutex<Tally>>;

/// Codes that are counted apart; see [`Rcode::as_str`].
const RCODES: [Rcode; 8] = [
    Rcode::NOERROR,
    Rcode::FORMERR,
    Rcode::SERVFAIL,
    Rcode::NXDOMAIN,
    Rcode::NOTIMP,
    Rcode::REFUSED,
    Rcode::BADVERS,
    Rcode(u16::MAX),
];

/// Places for codes: those that are counted apart, and "nothing was sent".
pub(super) const RCODE_PLACES: usize = RCODES.len() + 1;

/// Rungs that block.
const RUNGS: [Rung; 5] = [Rung::Order, Rung::Operator, Rung::Security, Rung::Profile, Rung::Category];

pub struct Tally {
    generation: Arc<Generation>,
    /// By transport, family (v4, v6) and type.
    queries: [[[u64; QTYPES.len()]; 2]; Transport::COUNT],
    /// By outcome and code; the last place is "nothing was sent".
    responses: [[u64; RCODE_PLACES]; Outcome::ALL.len()],
    /// By rung, category (the last place is none) and profile.
    blocked: Vec<u64>,
    /// Rewrites, by search engine and type.
    rewritten: Vec<[u64; QTYPES.len()]>,
    cache_hits: u64,
    ignored: [u64; Transport::COUNT],
    duration: LocalHistogram,
}

/// One answer, or silence.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub transport: Transport,
    pub is_v6: bool,
    /// `None`: it could not be read.
    pub qtype: Option<RecordType>,
    pub outcome: Outcome,
    pub rcode: Option<Rcode>,
    pub block: Option<(Rung, Option<CategoryId>, ProfileId)>,
    /// The search engine of a rewrite.
    pub engine: Option<EngineId>,
}

pub fn lock(tally: &Shared) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    pub(super) fn new(generation: Arc<Generation>, duration: LocalHistogram) -> Tally {
        let (blocked, rewritten) = (vec![0; cells(&generation)], vec![[0; _]; engines(&generation)]);
        let (queries, responses, ignored) = ([[[0; _]; _]; _], [[0; _]; _], [0; _]);
        Tally { generation, queries, responses, blocked, rewritten, cache_hits: 0, ignored, duration }
    }

    pub fn count(&mut self, counted: &Counted) {
        let Counted { transport, is_v6, qtype, outcome, rcode, block, engine } = *counted;
        let qtype = qtype.map_or(QTYPES.len() - 1, qtype_index);
        self.queries[transport as usize][usize::from(is_v6)][qtype] += 1;
        self.responses[outcome as usize][rcode.map_or(RCODES.len(), rcode_index)] += 1;
        self.cache_hits += u64::from(matches!(outcome, Outcome::Hit | Outcome::Stale));
        if let Some((rung, category, profile)) = block {
            let place = self.place(rung, category, profile);
            if let Some(cell) = self.blocked.get_mut(place) {
                *cell += 1;
            }
        }
        if let Some(types) = engine.and_then(|engine| self.rewritten.get_mut(usize::from(engine.0))) {
            types[qtype] += 1;
        }
    }

    /// A rewrite's target was in the cache.
    pub fn found_target(&mut self) {
        self.cache_hits += 1;
    }

    /// A message that is no query.
    pub fn ignore(&mut self, transport: Transport) {
        self.ignored[transport as usize] += 1;
    }

    /// `count` answers that took `seconds` each.
    pub fn took(&mut self, seconds: f64, count: usize) {
        (0..count).for_each(|_| self.duration.observe(seconds));
    }

    fn place(&self, rung: Rung, category: Option<CategoryId>, profile: ProfileId) -> usize {
        let categories = self.generation.snapshot.categories.len();
        let rung = RUNGS.iter().position(|r| *r == rung).unwrap_or(RUNGS.len() - 1);
        let category = category.map_or(categories, |category| usize::from(category.0));
        (rung * (categories + 1) + category) * self.generation.snapshot.profiles.len() + usize::from(profile.0)
    }

    /// Pours everything out, and counts for another generation from now on.
    pub fn turn_to(&mut self, generation: &Arc<Generation>, metrics: &Metrics) {
        self.pour(metrics);
        self.blocked = vec![0; cells(generation)];
        self.rewritten = vec![[0; _]; engines(generation)];
        self.generation = Arc::clone(generation);
    }

    /// Adds what was counted to the metrics, and begins again at zero.
    pub fn pour(&mut self, metrics: &Metrics) {
        for ((transport, families), ignored) in Transport::ALL.into_iter().zip(&mut self.queries).zip(&mut self.ignored)
        {
            let transport = transport.as_str();
            for (family, types) in ["v4", "v6"].into_iter().zip(families) {
                for (qtype, count) in QTYPES.into_iter().zip(types) {
                    metrics.add_queries(transport, family, qtype, std::mem::take(count));
                }
            }
            if *ignored > 0 {
                metrics.packets_ignored.with_label_values(&[transport]).inc_by(std::mem::take(ignored));
            }
        }
        for (outcome, codes) in Outcome::ALL.into_iter().zip(&mut self.responses) {
            let names = RCODES.into_iter().map(Rcode::as_str).chain(["none"]);
            for (rcode, count) in names.zip(codes) {
                metrics.add_responses(rcode, outcome, std::mem::take(count));
            }
        }
        let snapshot = &self.generation.snapshot;
        let categories = snapshot.categories.iter().map(|(_, category)| category.name.as_str()).chain(["none"]);
        let labels = RUNGS.into_iter().flat_map(|rung| {
            let of_rung = categories.clone().map(move |category| (rung, category));
            of_rung
                .flat_map(|(rung, category)| snapshot.profiles.iter().map(move |p| (rung, category, p.name.as_str())))
        });
        for ((rung, category, profile), count) in labels.zip(&mut self.blocked).filter(|(_, count)| **count > 0) {
            metrics.add_blocked(rung, category, profile, std::mem::take(count));
        }
        for ((_, engine), types) in snapshot.safe_search.engines().zip(&mut self.rewritten) {
            for (qtype, count) in QTYPES.into_iter().zip(types).filter(|(_, count)| **count > 0) {
                metrics.add_rewritten(engine, qtype, std::mem::take(count));
            }
        }
        metrics.cache_hits.inc_by(std::mem::take(&mut self.cache_hits));
        self.duration.flush();
    }
}

fn cells(generation: &Generation) -> usize {
    RUNGS.len() * (generation.snapshot.categories.len() + 1) * generation.snapshot.profiles.len()
}

fn engines(generation: &Generation) -> usize {
    generation.snapshot.safe_search.engines().count()
}

pub(super) fn rcode_index(rcode: Rcode) -> usize {
    RCODES.iter().position(|r| *r == rcode).unwrap_or(RCODES.len() - 1)
}
