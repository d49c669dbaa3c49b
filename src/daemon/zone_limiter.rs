//! The buckets of zones whose questions fail: bounded memory, known by a keyed hash and never by name.
//!
//! What a bucket holds is [`engine::zone_limit`](crate::engine::zone_limit)'s. While no zone is over its limit a question costs
//! one comparison.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::daemon::clock;
use crate::daemon::telemetry::Metrics;
use crate::engine::answer::Answer;
use crate::engine::limits::{RATE_LIMIT_BURST_SECS, ZONE_LIMIT_ZONES_MAX};
use crate::engine::name::Name;
use crate::engine::zone_limit::{ZoneBucket, ZoneLimit, zone_of, zones_of};

/// Places that a zone's bucket may have.
const WAYS: usize = 8;

/// Buckets that share a lock.
type Set = [Option<(u64, ZoneBucket)>; WAYS];

/// All buckets of one `[zone_limit]`.
pub struct ZoneLimiter {
    limit: ZoneLimit,
    sets: Box<[Mutex<Set>]>,
    hasher: hashbrown::DefaultHashBuilder,
    /// Buckets count their milliseconds from here.
    began: Instant,
    /// Until then a bucket may be dry.
    dry_until_ms: AtomicU64,
}

impl ZoneLimiter {
    pub fn new(limit: ZoneLimit) -> ZoneLimiter {
        let sets = (0..ZONE_LIMIT_ZONES_MAX / WAYS).map(|_| Mutex::new([None; WAYS])).collect();
        let hasher = hashbrown::DefaultHashBuilder::default();
        ZoneLimiter { limit, sets, hasher, began: clock::now(), dry_until_ms: AtomicU64::new(0) }
    }

    pub fn limit(&self) -> &ZoneLimit {
        &self.limit
    }

    /// Takes note of what upstream said in the end, if anything; only failures count.
    pub fn learn(&self, qname: &Name, answer: Option<&Answer>, now: Instant) {
        let Some(zone) = zone_of(qname, answer) else { return };
        if self.limit.spares(qname) {
            return;
        }
        let now_ms = self.ms(now);
        let is_over = self.with(zone, now_ms, true, |bucket| bucket.fail(&self.limit, now_ms));
        if is_over == Some(true) {
            let recovered = now_ms + 1000 * RATE_LIMIT_BURST_SECS;
            if self.dry_until_ms.fetch_max(recovered, Ordering::Relaxed) <= now_ms {
                tracing::debug!(zone = %Name::from_wire(zone).map_or_else(|_| String::new(), |zone| zone.to_string()), "a zone is over its limit");
            }
        }
    }

    /// Whether upstream is not to be asked about a name now.
    pub fn refuses(&self, metrics: &Metrics, qname: &Name, now: Instant) -> bool {
        let now_ms = self.ms(now);
        if self.dry_until_ms.load(Ordering::Relaxed) <= now_ms || self.limit.spares(qname) {
            return false;
        }
        let refuses = |zone| self.with(zone, now_ms, false, |bucket| bucket.refuses(&self.limit, now_ms));
        if !zones_of(qname).any(|zone| refuses(zone) == Some(true)) {
            return false;
        }
        metrics.zone_limited.with_label_values(&[self.limit.mode()]).inc();
        self.limit.enforced
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    /// Does something with a zone's bucket, which is made if it is missing and `is_made` says so.
    fn with<T>(&self, zone: &[u8], now_ms: u64, is_made: bool, work: impl FnOnce(&mut ZoneBucket) -> T) -> Option<T> {
        let hash = self.hasher.hash_one(zone);
        let mut set = self.sets[hash as usize % self.sets.len()].lock().unwrap_or_else(PoisonError::into_inner);
        let place = set.iter().position(|slot| slot.is_some_and(|(of, _)| of == hash));
        let place = match place {
            Some(place) => place,
            None if !is_made => return None,
            None => {
                let weight = |i: &usize| set[*i].map(|(_, bucket)| bucket.weight(&self.limit, now_ms));
                let place = (0..WAYS).min_by_key(weight).unwrap_or(0);
                set[place] = Some((hash, ZoneBucket::new(&self.limit, now_ms)));
                place
            }
        };
        set[place].as_mut().map(|(_, bucket)| work(bucket))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::answer::AnswerBuilder;
    use crate::engine::query::Rcode;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_below_one_zone_leaves_others_alone_and_is_forgiven() {
        let limit = ZoneLimit { enforced: true, failures_per_second: 5, spare: vec![name("list.example.net")] };
        let (limiter, metrics) = (ZoneLimiter::new(limit), Metrics::new());
        let now = clock::now();
        let servfail = AnswerBuilder::new(Rcode::SERVFAIL).finish();
        let refused = |qname: &str, at| (0..100).filter(|_| limiter.refuses(&metrics, &name(qname), at)).count();
        for i in 0..51 {
            assert_eq!(refused("www.victim.com", now), 0);
            let qname = name(&format!("x{i}.victim.com"));
            limiter.learn(&qname, if i % 2 == 0 { Some(&servfail) } else { None }, now);
            limiter.learn(&name("a.list.example.net"), None, now);
            limiter.learn(&name("fine.com"), Some(&AnswerBuilder::new(Rcode::NOERROR).finish()), now);
        }
        assert_eq!(refused("www.victim.com", now), 90);
        assert_eq!(refused("a.b.victim.com", now + Duration::from_secs(9)), 90);
        for other in ["victim.com.vn", "com", "www.fine.com", "a.list.example.net"] {
            assert_eq!(refused(other, now), 0, "{other}");
        }
        assert_eq!(refused("www.victim.com", now + Duration::from_secs(11)), 0);
        assert!(metrics.encode().contains("lachan_zone_limited_total{mode=\"enforce\"} 180"));
    }
}
