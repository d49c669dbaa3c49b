//! What the cache keeps of an answer, for how long, and how it is told again: entries as words, with `now` as an argument.
//!
//! An entry is upstream's answer as a message, ready to be copied into a reply, with a head that says how it ages and what
//! policy found in it (a *note*, good for one generation). Where entries lie, what guards them and which one goes when room
//! is short is the daemon's. Nothing that policy decided is ever in one (I3), so a reload needs no flush.

mod entry;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::answer::{Answer, Section};
use crate::engine::limits::{FAILURE_TTL_SECS_MAX, FAILURE_TTL_SECS_MIN, STALE_TTL_SECS};
use crate::engine::matcher::HashSeed;
use crate::engine::matcher::suffix::NameHasher;
use crate::engine::query::{Question, RecordType};

pub use entry::{Entry, Head, Keeping, Note, Told, WORDS_MAX};

/// What an answer depends on. Class IN alone is cached. Copies share their name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    name: Arc<[u8]>,
    about: About,
}

/// A key that borrows its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRef<'a> {
    pub name: &'a [u8],
    pub about: About,
}

/// What else than the name an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct About {
    pub qtype: RecordType,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
    /// Upstream group: answers of one never serve another's clients.
    pub group: u64,
}

impl Key {
    pub fn new(question: &Question, dnssec_ok: bool, checking_disabled: bool, group: u64) -> Key {
        KeyRef::new(question, dnssec_ok, checking_disabled, group).to_owned()
    }

    pub fn borrow(&self) -> KeyRef<'_> {
        KeyRef { name: &self.name, about: self.about }
    }

    pub fn qname(&self) -> &[u8] {
        &self.name
    }
}

impl KeyRef<'_> {
    pub fn new(question: &Question, dnssec_ok: bool, checking_disabled: bool, group: u64) -> KeyRef<'_> {
        let about = About { qtype: question.qtype, dnssec_ok, checking_disabled, group };
        KeyRef { name: question.qname.as_wire(), about }
    }

    pub fn to_owned(self) -> Key {
        Key { name: self.name.into(), about: self.about }
    }

    /// A hash that clients cannot know, for whoever has a seed of its own.
    pub fn hash(self, hasher: KeyHasher) -> u64 {
        let About { qtype, dnssec_ok, checking_disabled, group } = self.about;
        let flags = u64::from(qtype.0) << 2 | u64::from(dnssec_ok) << 1 | u64::from(checking_disabled);
        hasher.0.below(hasher.0.root() ^ group ^ flags << 40, self.name)
    }
}

/// Hashes keys with a secret.
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher(NameHasher);

impl KeyHasher {
    pub fn new(seed: HashSeed) -> KeyHasher {
        KeyHasher(NameHasher::new(seed))
    }
}

/// How good a cached answer still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Fresh, asked for often and near its end: fetch it again in the background, unless upstream failed at that a moment ago.
    Prefetch,
    /// Past its TTL, inside the stale window: upstream is tried first. RFC 8767.
    Stale,
    /// Stale, and upstream failed to renew it a moment ago: used at once. RFC 8767 §5, "failure recheck".
    StaleHeld,
}

/// An entry is near its end in the last tenth of its TTL, and only TTLs of at least this many seconds are worth it.
const PREFETCH_TTL_SECS_MIN: u32 = 10;

/// A failure longer ago than this says nothing about the next one, in milliseconds.
const FAILURE_FORGOTTEN_MS: u64 = 60_000;

/// After upstream failed to renew a stale answer it is left alone this long, in milliseconds. RFC 8767 §5 suggests 30 s at
/// most.
const STALE_RECHECK_MS: u64 = 10_000;

impl Head {
    fn expires_ms(&self) -> u64 {
        self.stored_ms.saturating_add(u64::from(self.ttl_secs) * 1000)
    }

    /// Whether nobody can use it any more. `stale` is how long an answer may serve past its TTL as the configuration has
    /// it now.
    pub fn is_dead(&self, now_ms: u64, stale: Duration) -> bool {
        // A failure stays a while past its time, only so that the next one can know it was not the first.
        let stale_ms = if self.is_failure() { 0 } else { stale.as_millis() as u64 };
        now_ms >= self.expires_ms().saturating_add(stale_ms)
    }

    /// `None`: it serves nobody any more. `was_asked`: somebody asked for it before, since it was last looked over.
    pub fn freshness(&self, now_ms: u64, stale: Duration, was_asked: bool) -> Option<Freshness> {
        if self.is_dead(now_ms, stale) {
            return None;
        }
        let Some(left) = self.expires_ms().checked_sub(now_ms).filter(|left| *left > 0) else {
            return Some(if now_ms < self.held_until_ms { Freshness::StaleHeld } else { Freshness::Stale });
        };
        let is_near_end = self.ttl_secs >= PREFETCH_TTL_SECS_MIN && left < u64::from(self.ttl_secs) * 100;
        let is_left_alone = now_ms < self.held_until_ms;
        Some(if was_asked && is_near_end && !is_left_alone { Freshness::Prefetch } else { Freshness::Fresh })
    }

    /// Whole seconds since upstream said it.
    pub fn age_secs(&self, now_ms: u64) -> u32 {
        u32::try_from(now_ms.saturating_sub(self.stored_ms) / 1000).unwrap_or(u32::MAX)
    }
}

/// The longest TTL that a client is told, in seconds, when the configuration allows so many.
pub fn told_secs_max(client_ttl_secs_max: u32, stale: Duration) -> u32 {
    if stale.is_zero() { client_ttl_secs_max } else { client_ttl_secs_max.max(STALE_TTL_SECS) }
}

/// How long somebody who was told an entry's answer until now may remember any record of it, in seconds. `None`: it is a
/// failure, which says nothing of the name.
pub fn remembered_secs(
    answer: &Answer,
    head: &Head,
    now_ms: u64,
    client_ttl_secs_max: u32,
    stale: Duration,
) -> Option<u32> {
    if head.is_failure() {
        return None;
    }
    // What does not exist is remembered as long as its SOA says. RFC 2308 §5.
    let soa = answer.section(Section::Authority).filter(|record| record.rtype == RecordType::SOA);
    // An alias may be remembered longer than what it leads to, and so longer than the entry serves.
    let longest = answer.section(Section::Answer).chain(soa).map(|record| record.ttl).max().unwrap_or(0);
    let left = longest.saturating_sub(head.age_secs(now_ms)).min(client_ttl_secs_max);
    let is_stale = matches!(head.freshness(now_ms, stale, false), Some(Freshness::Stale | Freshness::StaleHeld));
    Some(if is_stale { left.max(STALE_TTL_SECS) } else { left })
}

/// What becomes of an answer that is offered to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is kept for so many seconds.
    Keep(u32),
    /// The good answer that is there serves on, stale: until then, in milliseconds, upstream is left alone.
    HoldOld { until_ms: u64 },
    /// Neither it nor what was there is kept.
    Forget,
}

/// Whether and how long an answer is kept. Not kept: a TTL of zero, and a failure while an older good answer can still
/// serve stale. `old` is what is there for the same question.
pub fn decide(answer: &Answer, qtype: RecordType, old: Option<&Head>, now_ms: u64, stale: Duration) -> Put {
    let ttl = if answer.is_failure() {
        if old.is_some_and(|old| !old.is_failure() && !old.is_dead(now_ms, stale)) {
            return Put::HoldOld { until_ms: now_ms + STALE_RECHECK_MS };
        }
        // RFC 9520 §3.2: remembered at least 1 s; a second failure of the same question soon after doubles it.
        let recent =
            old.filter(|old| old.is_failure() && now_ms < old.expires_ms().saturating_add(FAILURE_FORGOTTEN_MS));
        let times = |old: &Head| if now_ms < old.expires_ms() { 1 } else { 2 };
        recent.map_or(FAILURE_TTL_SECS_MIN, |old| {
            (old.ttl_secs * times(old)).clamp(FAILURE_TTL_SECS_MIN, FAILURE_TTL_SECS_MAX)
        })
    } else {
        answer.ttl_secs(qtype)
    };
    if ttl == 0 { Put::Forget } else { Put::Keep(ttl) }
}

#[cfg(test)]
mod tests;
