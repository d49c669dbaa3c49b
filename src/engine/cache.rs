//! One shard of the cache: what upstream said, bounded in octets, with `now` as an argument.
//!
//! TTL decay, negative answers, failures, stale answers, prefetch and eviction are decided here; who owns a shard and
//! which lock guards it is the daemon's. Nothing that policy said is ever in it (I3), so a reload needs no flush.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::answer::Answer;
use crate::engine::limits::{FAILURE_TTL_SECS_MAX, FAILURE_TTL_SECS_MIN};
use crate::engine::name::Name;
use crate::engine::query::{Question, RecordType};

/// What an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: Box<[u8]>,
    qtype: RecordType,
    qclass: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
    /// Upstream group: answers of one never serve another's clients.
    group: u64,
}

impl Key {
    pub fn new(question: &Question, dnssec_ok: bool, checking_disabled: bool, group: u64) -> Key {
        Key {
            name: question.qname.as_wire().into(),
            qtype: question.qtype,
            qclass: question.qclass,
            dnssec_ok,
            checking_disabled,
            group,
        }
    }

    pub fn qname(&self) -> &[u8] {
        &self.name
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.name);
        state.write_u64(
            u64::from(self.qtype.0) << 32
                | u64::from(self.qclass) << 16
                | u64::from(self.dnssec_ok) << 1
                | u64::from(self.checking_disabled),
        );
        state.write_u64(self.group);
    }
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

/// How good a cached answer still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Fresh, asked for often and near its end: fetch it again in the background.
    Prefetch,
    /// Past its TTL, inside the stale window: upstream is tried first. RFC 8767.
    Stale,
    /// Stale, and upstream failed to renew it a moment ago: used at once. RFC 8767 §5, "failure recheck".
    StaleHeld,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<Answer>,
    stored: Instant,
    expires: Instant,
    /// Past this the entry is gone.
    dead: Instant,
    /// Until then a stale answer is used without asking upstream again.
    held_until: Instant,
    size: usize,
    trust_ad: bool,
    /// Set by a hit, cleared when the hand passes; an entry without it is evicted.
    visited: AtomicBool,
    /// Matches the queue's ticket for this entry; a replaced entry's old ticket is void.
    ticket: u64,
}

/// One shard. `S` hashes with a key that clients cannot know.
#[derive(Debug)]
pub struct Shard<S> {
    entries: HashMap<Key, Entry, S>,
    /// Entries in the order they came, each with its ticket.
    queue: VecDeque<(Key, u64)>,
    size: usize,
    size_max: usize,
    tickets: u64,
    evictions: u64,
}

/// What the map and the queue cost for an entry beside the answer, in octets. Measured roughly: two keys and their boxes.
const ENTRY_OVERHEAD: usize = 2 * (size_of::<Key>() + 32) + size_of::<Entry>() + 32;

/// An entry is near its end in the last tenth of its TTL, and only TTLs of at least this many seconds are worth it.
const PREFETCH_TTL_SECS_MIN: u64 = 10;

/// A failure longer ago than this says nothing about the next one.
const FAILURE_FORGOTTEN: Duration = Duration::from_secs(60);

/// After upstream failed to renew a stale answer it is left alone this long. RFC 8767 §5 suggests 30 s at most.
const STALE_RECHECK: Duration = Duration::from_secs(10);

impl<S: BuildHasher> Shard<S> {
    pub fn new(size_max: usize, hasher: S) -> Shard<S> {
        Shard {
            entries: HashMap::with_hasher(hasher),
            queue: VecDeque::new(),
            size: 0,
            size_max,
            tickets: 0,
            evictions: 0,
        }
    }

    /// `stale` is how long an answer may serve past its TTL as the configuration has it now; it may have been longer
    /// when the answer came.
    pub fn get(&self, key: &Key, now: Instant, stale: Duration) -> Option<Hit> {
        let entry = self.entries.get(key)?;
        if now >= entry.dead.min(entry.expires + stale) {
            return None;
        }
        let was_visited = entry.visited.swap(true, Ordering::Relaxed);
        let ttl = entry.expires.saturating_duration_since(entry.stored);
        let left = entry.expires.saturating_duration_since(now);
        let freshness = if now >= entry.expires {
            if now < entry.held_until { Freshness::StaleHeld } else { Freshness::Stale }
        } else if was_visited && ttl.as_secs() >= PREFETCH_TTL_SECS_MIN && left < ttl / 10 {
            Freshness::Prefetch
        } else {
            Freshness::Fresh
        };
        let age_secs = u32::try_from(now.saturating_duration_since(entry.stored).as_secs()).unwrap_or(u32::MAX);
        Some(Hit { answer: Arc::clone(&entry.answer), age_secs, freshness, trust_ad: entry.trust_ad })
    }

    /// Keeps an answer for its TTL, and `stale` beyond it. Not kept: a TTL of zero, and a failure while an older good
    /// answer can still serve stale.
    pub fn put(&mut self, key: Key, answer: Arc<Answer>, trust_ad: bool, now: Instant, stale: Duration) {
        let ttl = if answer.is_failure() {
            if let Some(good) = self.entries.get_mut(&key).filter(|e| !e.answer.is_failure() && now < e.dead) {
                good.held_until = now + STALE_RECHECK;
                return;
            }
            // RFC 9520 §3.2: remembered at least 1 s; a second failure of the same question soon after doubles it.
            let recent = |e: &&Entry| e.answer.is_failure() && now < e.expires + FAILURE_FORGOTTEN;
            let last = self.entries.get(&key).filter(recent);
            let before = last.map(|e| e.expires.saturating_duration_since(e.stored).as_secs() as u32);
            before.map_or(FAILURE_TTL_SECS_MIN, |t| (t * 2).clamp(FAILURE_TTL_SECS_MIN, FAILURE_TTL_SECS_MAX))
        } else {
            answer.ttl_secs(key.qtype)
        };
        if ttl == 0 {
            self.remove(&key);
            return;
        }
        let expires = now + Duration::from_secs(ttl.into());
        // A failure stays a while past its time, only so that the next one can know it was not the first.
        let dead = if answer.is_failure() { expires } else { expires + stale };
        let size = answer.size() + 2 * key.name.len() + ENTRY_OVERHEAD;
        if size > self.size_max {
            self.remove(&key);
            return;
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let visited = self.entries.get(&key).is_some_and(|e| e.visited.load(Ordering::Relaxed));
        let entry = Entry {
            answer,
            stored: now,
            expires,
            dead,
            held_until: now,
            size,
            trust_ad,
            visited: AtomicBool::new(visited),
            ticket,
        };
        self.size += size;
        if let Some(old) = self.entries.insert(key.clone(), entry) {
            self.size -= old.size;
        }
        self.queue.push_back((key, ticket));
        self.evict(now);
    }

    /// Forgets one answer.
    pub fn remove(&mut self, key: &Key) -> bool {
        let Some(old) = self.entries.remove(key) else { return false };
        self.size -= old.size;
        true
    }

    /// Forgets every answer whose question is at or below `zone`. Returns how many.
    pub fn flush(&mut self, zone: &Name) -> usize {
        let before = self.entries.len();
        let mut freed = 0;
        self.entries.retain(|key, entry| {
            let keep = !crate::engine::name::wire_is_at_or_below(&key.name, zone.as_wire());
            freed += if keep { 0 } else { entry.size };
            keep
        });
        self.size -= freed;
        before - self.entries.len()
    }

    /// A reload may give the cache another size.
    pub fn set_size_max(&mut self, size_max: usize, now: Instant) {
        self.size_max = size_max;
        self.evict(now);
    }

    /// Second chance in order of arrival: an entry that was asked for since the hand last passed goes to the back, any
    /// other goes. A flood of names asked once drains through without pushing out what is asked for often.
    fn evict(&mut self, now: Instant) {
        while self.size > self.size_max || self.queue.len() > 2 * self.entries.len() + 64 {
            let Some((key, ticket)) = self.queue.pop_front() else { return };
            let Some(entry) = self.entries.get(&key).filter(|e| e.ticket == ticket) else { continue };
            let keep = now < entry.expires && entry.visited.swap(false, Ordering::Relaxed);
            if keep || self.size <= self.size_max {
                self.queue.push_back((key, ticket));
                continue;
            }
            self.remove(&key);
            self.evictions += 1;
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Octets in use.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn evictions(&self) -> u64 {
        self.evictions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::answer::{AnswerBuilder, Section};
    use crate::engine::query::{CLASS_IN, Rcode};
    use std::collections::hash_map::RandomState;

    fn key(name: &str) -> Key {
        let question = Question { qname: name.parse().unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
        Key::new(&question, false, false, 1)
    }

    fn answer(ttl: u32) -> Arc<Answer> {
        let mut b = AnswerBuilder::new(Rcode::NOERROR);
        b.push(Section::Answer, b"\x01a\0", RecordType::A, ttl, &[192, 0, 2, 1]);
        Arc::new(b.finish())
    }

    fn shard(size: usize) -> Shard<RandomState> {
        Shard::new(size, RandomState::new())
    }

    const STALE: Duration = Duration::from_secs(100);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_answer_ages_goes_stale_and_dies() {
        let (mut s, t) = (shard(1 << 20), Instant::now());
        s.put(key("a"), answer(60), true, t, STALE);
        for (after, age, freshness) in [
            (0, 0, Freshness::Fresh),
            (30, 30, Freshness::Fresh),
            (59, 59, Freshness::Prefetch),
            (60, 60, Freshness::Stale),
            (159, 159, Freshness::Stale),
        ] {
            let hit = s.get(&key("a"), t + secs(after), STALE).unwrap();
            assert_eq!((hit.age_secs, hit.freshness), (age, freshness), "after {after} s");
        }
        assert!(s.get(&key("a"), t + secs(160), STALE).is_none());
    }

    #[test]
    fn a_zero_ttl_is_not_kept_and_replaces_what_was() {
        let (mut s, t) = (shard(1 << 20), Instant::now());
        s.put(key("a"), answer(60), true, t, STALE);
        s.put(key("a"), answer(0), true, t, STALE);
        assert!(s.get(&key("a"), t, STALE).is_none());
        assert_eq!(s.size(), 0);
    }

    #[test]
    fn a_failure_does_not_push_out_a_stale_answer_and_backs_off() {
        let (mut s, t) = (shard(1 << 20), Instant::now());
        let failure = || Arc::new(AnswerBuilder::new(Rcode::SERVFAIL).finish());
        s.put(key("a"), answer(10), true, t, STALE);
        s.put(key("a"), failure(), true, t + secs(20), STALE);
        assert!(!s.get(&key("a"), t + secs(20), STALE).unwrap().answer.is_failure());
        assert_eq!(s.get(&key("a"), t + secs(29), STALE).unwrap().freshness, Freshness::StaleHeld);
        assert_eq!(s.get(&key("a"), t + secs(30), STALE).unwrap().freshness, Freshness::Stale);
        s.put(key("b"), failure(), true, t, STALE);
        assert!(s.get(&key("b"), t, STALE).unwrap().answer.is_failure());
        assert!(s.get(&key("b"), t + secs(1), STALE).is_none());
        s.put(key("b"), failure(), true, t + secs(2), STALE);
        assert!(s.get(&key("b"), t + secs(3), STALE).is_some());
        assert!(s.get(&key("b"), t + secs(4), STALE).is_none());
    }

    #[test]
    fn the_size_is_bounded_and_what_is_asked_for_stays() {
        let (mut s, t) = (shard(64 * 1024), Instant::now());
        s.put(key("hot"), answer(600), true, t, STALE);
        for i in 0..10_000 {
            assert!(s.get(&key("hot"), t, STALE).is_some(), "lost at {i}");
            s.put(key(&format!("n{i}")), answer(600), true, t, STALE);
            assert!(s.size() <= 64 * 1024);
        }
        assert!(s.evictions() > 9_000);
        assert!(s.queue.len() <= 2 * s.len() + 64);
    }

    #[test]
    fn replacing_one_entry_for_ever_does_not_grow_the_queue() {
        let (mut s, t) = (shard(1 << 20), Instant::now());
        for _ in 0..10_000 {
            s.put(key("a"), answer(60), true, t, STALE);
        }
        assert_eq!(s.len(), 1);
        assert!(s.queue.len() <= 66);
    }

    #[test]
    fn a_flush_takes_the_subtree_alone() {
        let (mut s, t) = (shard(1 << 20), Instant::now());
        for name in ["a.example", "b.a.example", "xa.example", "example"] {
            s.put(key(name), answer(60), true, t, STALE);
        }
        assert_eq!(s.flush(&"a.example".parse().unwrap()), 2);
        assert!(s.get(&key("xa.example"), t, STALE).is_some());
        assert!(s.get(&key("b.a.example"), t, STALE).is_none());
    }
}
