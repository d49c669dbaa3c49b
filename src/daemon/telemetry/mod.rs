//! One event per query, and what is counted from it. No name, address or client is ever a label (I11).

pub mod log;
mod metrics;
pub mod tally;

use std::sync::Arc;
use std::time::Instant;

use crate::daemon::clock;
use crate::engine::query::{Origin, Question, Rcode, RecordType, Transport};
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::Rung;

pub use metrics::Metrics;

/// How a query ended (I5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Rung 1.
    Local,
    Blocked,
    Rewritten,
    /// From the cache.
    Hit,
    Stale,
    Forwarded,
    /// A code of ours: FORMERR, NOTIMP, BADVERS, REFUSED for a type or class.
    Refused,
    /// Not one of our clients.
    Stranger,
    /// TC=1: the client's prefix is over its limit.
    Limited,
    /// SERVFAIL of ours: nothing usable from upstream.
    Failed,
    /// No answer: `drop`, over a bound, or the stranger's limit.
    Dropped,
    /// The client, or the resolver, went away first.
    Abandoned,
}

impl Outcome {
    pub const ALL: [Outcome; 12] = [
        Outcome::Local,
        Outcome::Blocked,
        Outcome::Rewritten,
        Outcome::Hit,
        Outcome::Stale,
        Outcome::Forwarded,
        Outcome::Refused,
        Outcome::Stranger,
        Outcome::Limited,
        Outcome::Failed,
        Outcome::Dropped,
        Outcome::Abandoned,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Local => "local",
            Outcome::Blocked => "blocked",
            Outcome::Rewritten => "rewritten",
            Outcome::Hit => "hit",
            Outcome::Stale => "stale",
            Outcome::Forwarded => "forwarded",
            Outcome::Refused => "refused",
            Outcome::Stranger => "stranger",
            Outcome::Limited => "limited",
            Outcome::Failed => "failed",
            Outcome::Dropped => "dropped",
            Outcome::Abandoned => "abandoned",
        }
    }
}

/// Everything there is to say about one query, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct QueryEvent<'a> {
    pub origin: &'a Origin,
    /// `None` when the message could not be read.
    pub question: Option<&'a Question>,
    pub outcome: Outcome,
    /// `None` when nothing was sent.
    pub rcode: Option<Rcode>,
    pub block: Option<BlockedBy<'a>>,
    /// The search engine of a rewrite.
    pub engine: Option<&'a str>,
    pub generation: u64,
    /// How often the table of subscribers had changed when the query came; `None`: there is none.
    pub subscribers: Option<u64>,
    pub started: Instant,
}

/// The labels of a block.
#[derive(Debug, Clone, Copy)]
pub struct BlockedBy<'a> {
    pub rung: Rung,
    pub category: &'a str,
    pub profile: &'a str,
}

/// Guards one query: whatever happens, exactly one event is recorded, at the latest when this is dropped.
pub struct Recorder {
    metrics: Arc<Metrics>,
    origin: Origin,
    started: Instant,
    generation: u64,
    subscribers: Option<u64>,
    done: bool,
}

impl Recorder {
    pub fn new(metrics: &Arc<Metrics>, origin: Origin, snapshot: &Snapshot) -> Recorder {
        let subscribers = snapshot.subscribers.as_ref().map(|live| live.table.epoch());
        let (generation, started) = (snapshot.generation, clock::now());
        Recorder { metrics: Arc::clone(metrics), origin, started, generation, subscribers, done: false }
    }

    pub fn record(
        mut self,
        question: Option<&Question>,
        outcome: Outcome,
        rcode: Option<Rcode>,
        block: Option<BlockedBy<'_>>,
        engine: Option<&str>,
    ) {
        self.done = true;
        self.emit(question, outcome, rcode, block, engine);
    }

    fn emit(
        &self,
        question: Option<&Question>,
        outcome: Outcome,
        rcode: Option<Rcode>,
        block: Option<BlockedBy<'_>>,
        engine: Option<&str>,
    ) {
        let event = QueryEvent {
            origin: &self.origin,
            question,
            outcome,
            rcode,
            block,
            engine,
            generation: self.generation,
            subscribers: self.subscribers,
            started: self.started,
        };
        self.metrics.record(&event);
        log::query(&event);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.done {
            self.emit(None, Outcome::Abandoned, None, None, None);
        }
    }
}

/// Query types worth telling apart, so that the label is bounded; the last is all others.
pub const QTYPES: [&str; 16] = [
    "A", "AAAA", "HTTPS", "SVCB", "CNAME", "PTR", "MX", "TXT", "NS", "SOA", "SRV", "CAA", "DS", "DNSKEY", "ANY",
    "other",
];

/// Place of a query type in [`QTYPES`].
pub fn qtype_index(qtype: RecordType) -> usize {
    match qtype {
        RecordType::A => 0,
        RecordType::AAAA => 1,
        RecordType::HTTPS => 2,
        RecordType::SVCB => 3,
        RecordType::CNAME => 4,
        RecordType::PTR => 5,
        RecordType::MX => 6,
        RecordType::TXT => 7,
        RecordType::NS => 8,
        RecordType::SOA => 9,
        RecordType::SRV => 10,
        RecordType::CAA => 11,
        RecordType::DS => 12,
        RecordType::DNSKEY => 13,
        RecordType::ANY => 14,
        _ => QTYPES.len() - 1,
    }
}

/// The label of a query type.
pub fn qtype_label(qtype: RecordType) -> &'static str {
    QTYPES[qtype_index(qtype)]
}

/// `v4` or `v6`.
pub fn family_label(origin: &Origin) -> &'static str {
    if origin.source.is_ipv4() { "v4" } else { "v6" }
}

/// The label of a transport.
pub fn transport_label(transport: Transport) -> &'static str {
    transport.as_str()
}
