//! The cache: entries in shards, read without a lock, written under one. What an entry is and how long it serves is
//! [`engine::cache`](crate::engine::cache)'s.

mod segments;
mod shard;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::daemon::clock;
use crate::engine::answer::{Answer, AnswerBuilder, AsItCame};
use crate::engine::cache::{Entry, Freshness, Keeping, Key, KeyHasher, KeyRef, Note, Put, decide, remembered_secs};
use crate::engine::matcher::HashSeed;
use crate::engine::name::{Name, wire_is_at_or_below};
use crate::engine::query::Rcode;
use shard::Shard;

pub(in crate::daemon) use shard::Place;

/// A shard has at least so many octets, so that the part of it which is being written is small beside it.
const SHARD_OCTETS_MIN: u64 = 16 << 20;
/// Shards at most: a power of two well above the number of threads, so that two of them seldom meet at a lock.
const SHARDS_MAX: u64 = 64;

thread_local! {
    /// Room for one entry, for whoever has none of its own.
    static SCRATCH: RefCell<Entry> = RefCell::default();
}

/// The whole cache.
pub struct Cache {
    table: ArcSwap<Table>,
}

/// The shards of one size.
pub struct Table {
    shards: Box<[Shard]>,
    hasher: KeyHasher,
    /// Entries count their milliseconds from here.
    began: Instant,
    size: u64,
    /// When an answer that may still be remembered was last let go or not taken, other than to make room.
    lost_ms: AtomicU64,
}

/// What a look-up found.
#[derive(Debug, Clone)]
pub struct Hit {
    pub answer: Arc<Answer>,
    /// Whole seconds since upstream said it.
    pub age_secs: u32,
    pub freshness: Freshness,
    /// AD may be told to clients: the channel it came by was authentic.
    pub trust_ad: bool,
}

/// Figures for metrics and status.
#[derive(Debug, Default, Clone, Copy)]
pub struct CacheFigures {
    pub entries: usize,
    pub octets: usize,
    pub evictions: u64,
}

impl Cache {
    pub fn new(size: u64) -> Cache {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).expect("the system has a source of randomness");
        let seed = u128::from_ne_bytes(octets);
        let hasher = KeyHasher::new(HashSeed(seed as u64, (seed >> 64) as u64));
        Cache { table: ArcSwap::from_pointee(Table::new(size, hasher, clock::now())) }
    }

    /// The shards as they are now, for whoever looks up often. They change when the size does.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// `stale`: how long past its TTL an answer may serve.
    pub fn get(&self, key: &Key, stale: Duration) -> Option<Hit> {
        let table = self.table.load();
        let now_ms = table.ms(clock::now());
        SCRATCH.with_borrow_mut(|entry| {
            let (_, freshness) = table.look_up(key.borrow(), now_ms, stale, entry)?;
            let answer = Arc::new(entry.decode()?);
            Some(Hit { answer, age_secs: entry.head.age_secs(now_ms), freshness, trust_ad: entry.head.trust_ad() })
        })
    }

    pub fn put(&self, key: Key, answer: Arc<Answer>, trust_ad: bool, stale: Duration) {
        self.table.load().put(key.borrow(), &answer, trust_ad, clock::now(), stale);
    }

    /// As [`Table::pass_on`].
    pub fn pass_on(
        &self,
        key: &Key,
        came: (&Answer, AsItCame<'_>),
        trust_ad: bool,
        now: Instant,
        stale: Duration,
        entry: &mut Entry,
    ) -> bool {
        self.table.load().pass_on(key.borrow(), came, trust_ad, now, stale, entry)
    }

    pub fn flush(&self, zone: &Name) -> usize {
        let is_below = |entry: &Entry| wire_is_at_or_below(entry.qname(), zone.as_wire());
        let table = self.table.load();
        table.lost(table.ms(clock::now()));
        table.shards.iter().map(|shard| shard.remove_where(&is_below)).sum()
    }

    #[cfg(test)]
    pub fn size(&self) -> u64 {
        self.table.load().size
    }

    /// A reload may give the cache another size; what is in it moves, as far as there is room.
    pub fn set_size(&self, size: u64) {
        let old = self.table.load_full();
        if old.size == size {
            return;
        }
        let new = Table::new(size, old.hasher, old.began);
        new.lost(old.ms(clock::now()));
        for shard in &old.shards {
            shard.for_each(&mut |hash, words| {
                new.shard(hash).put(hash, words.len(), words.iter().copied(), |_| false);
            });
        }
        self.table.store(Arc::new(new));
    }

    /// Shows every answer that says something of a name, and how long whoever was told it may remember it, in seconds. Takes no
    /// lock: what is written meanwhile may be missing.
    pub fn remembered(
        &self,
        client_ttl_secs_max: u32,
        stale: Duration,
        now: Instant,
        mut shown: impl FnMut(&Entry, &Answer, u32),
    ) {
        let table = self.table.load_full();
        let now_ms = table.ms(now);
        let (mut entry, mut builder) = (Entry::default(), AnswerBuilder::new(Rcode::NOERROR));
        let mut show = |entry: &Entry| {
            if entry.decode_into(&mut builder).is_none() {
                return;
            }
            let answer = builder.answer();
            if let Some(secs) = remembered_secs(answer, &entry.head, now_ms, client_ttl_secs_max, stale) {
                shown(entry, answer, secs);
            }
        };
        table.shards.iter().for_each(|shard| shard.visit(&mut entry, &mut show));
    }

    /// Whether every answer of this span is still there; never when the process has not run as long.
    pub fn is_whole_for(&self, span: Duration, now: Instant) -> bool {
        let table = self.table.load();
        let since = Duration::from_millis(table.ms(now).saturating_sub(table.lost_ms.load(Ordering::Relaxed)));
        since >= span && table.shards.iter().all(|shard| shard.keeps() && shard.figures().evictions == 0)
    }

    pub fn figures(&self) -> CacheFigures {
        self.table.load().shards.iter().map(Shard::figures).fold(CacheFigures::default(), |sum, shard| CacheFigures {
            entries: sum.entries + shard.entries,
            octets: sum.octets + shard.octets,
            evictions: sum.evictions + shard.evictions,
        })
    }
}

impl Table {
    fn new(size: u64, hasher: KeyHasher, began: Instant) -> Table {
        let wanted = (size / SHARD_OCTETS_MIN).clamp(1, SHARDS_MAX);
        let count = 1 << wanted.ilog2();
        let shards = (0..count).map(|_| Shard::new(size / count)).collect();
        Table { shards, hasher, began, size, lost_ms: AtomicU64::new(0) }
    }

    fn lost(&self, ms: u64) {
        self.lost_ms.fetch_max(ms, Ordering::Relaxed);
    }

    fn shard(&self, hash: u64) -> &Shard {
        // Other bits than those that choose a place in a shard. The number of shards is a power of two.
        &self.shards[(hash >> 8) as usize & (self.shards.len() - 1)]
    }

    /// A moment in the cache's own time.
    pub fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    /// Copies the entry of a key that still serves. Takes no lock and allocates nothing.
    pub fn look_up(
        &self,
        key: KeyRef<'_>,
        now_ms: u64,
        stale: Duration,
        entry: &mut Entry,
    ) -> Option<(Place, Freshness)> {
        let hash = key.hash(self.hasher);
        let (place, was_asked) = self.shard(hash).read(hash, key, entry)?;
        let freshness = entry.head.freshness(now_ms, stale, was_asked)?;
        Some((place, freshness))
    }

    /// Leaves a note with an entry that was looked up, unless another took its place.
    pub fn note(&self, entry: &Entry, place: Place, note: Note) {
        self.shard(entry.head.hash).note(place, note);
    }

    fn put(&self, key: KeyRef<'_>, answer: &Answer, trust_ad: bool, now: Instant, stale: Duration) {
        SCRATCH.with_borrow_mut(|entry| {
            let (keeping, fate) = self.decide(key, answer, trust_ad, now, stale, entry);
            let fate = match fate {
                Fate::Keep if entry.compose(key, answer, keeping).is_none() => {
                    self.lost(keeping.stored_ms);
                    Fate::Forget
                }
                fate => fate,
            };
            self.carry_out(key, keeping.hash, fate, entry);
        });
    }

    /// Keeps what upstream sent, octet for octet; `entry` has it then, also if it is not to be kept. `false`: it must be
    /// written anew, and nothing was done.
    pub fn pass_on(
        &self,
        key: KeyRef<'_>,
        (answer, came): (&Answer, AsItCame<'_>),
        trust_ad: bool,
        now: Instant,
        stale: Duration,
        entry: &mut Entry,
    ) -> bool {
        let (keeping, fate) = self.decide(key, answer, trust_ad, now, stale, entry);
        if entry.pass_on(key, answer, came, keeping).is_none() {
            return false;
        }
        self.carry_out(key, keeping.hash, fate, entry);
        true
    }

    /// What becomes of an answer. `room` is for what is there already.
    fn decide(
        &self,
        key: KeyRef<'_>,
        answer: &Answer,
        trust_ad: bool,
        now: Instant,
        stale: Duration,
        room: &mut Entry,
    ) -> (Keeping, Fate) {
        let (hash, stored_ms) = (key.hash(self.hasher), self.ms(now));
        let found = self.shard(hash).read_quietly(hash, key, room).map(|place| (place, room.head));
        let put = decide(answer, key.about.qtype, found.as_ref().map(|(_, old)| old), stored_ms, stale);
        let (ttl_secs, fate) = match (put, found) {
            (Put::Keep(ttl_secs), _) => (ttl_secs, Fate::Keep),
            (Put::HoldOld { until_ms }, Some((place, _))) => (0, Fate::HoldOld { place, until_ms }),
            (Put::HoldOld { .. } | Put::Forget, found) => {
                if found.is_some() {
                    self.lost(stored_ms);
                }
                (0, Fate::Forget)
            }
        };
        (Keeping { hash, trust_ad, stored_ms, ttl_secs }, fate)
    }

    fn carry_out(&self, key: KeyRef<'_>, hash: u64, fate: Fate, entry: &Entry) {
        let shard = self.shard(hash);
        match fate {
            Fate::Keep => shard.put(hash, usize::from(entry.head.words), entry.words(), |old| old.is_of(key)),
            Fate::HoldOld { place, until_ms } => shard.hold(place, until_ms),
            Fate::Forget => shard.remove(hash, key),
        }
    }
}

/// What becomes of an answer, and where the older one is that it is about.
enum Fate {
    Keep,
    HoldOld { place: Place, until_ms: u64 },
    Forget,
}

#[cfg(test)]
mod tests;
