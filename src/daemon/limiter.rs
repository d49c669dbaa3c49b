//! The buckets of those who ask, shared by all lanes: bounded memory, one short lock a query that costs something.
//!
//! What a bucket holds is [`engine::rate_limit`](crate::engine::rate_limit)'s. Addresses and the networks around them lie in
//! tables of their own, so that a flood of made-up addresses pushes out no network's. A full bucket is nothing that needs to
//! be remembered: it goes first when room is short. Nothing here is ever written to disk (I11).

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::daemon::clock;
use crate::daemon::telemetry::Metrics;
use crate::engine::client::Client;
use crate::engine::cookie::Standing;
use crate::engine::limits::{RATE_LIMIT_ADDRESSES_MAX, RATE_LIMIT_NETWORKS_MAX};
use crate::engine::query::{Origin, Query, Transport};
use crate::engine::rate_limit::{Bucket, Cost, Over, Prefix, RateLimit, amplified};
use crate::engine::snapshot::Snapshot;

/// Places that a prefix's bucket may have.
const WAYS: usize = 8;

/// All buckets of one `[rate_limit]`.
pub struct Limiter {
    limit: RateLimit,
    addresses: Table,
    networks: Table,
    /// Buckets count their milliseconds from here, and this is that moment in seconds since 1970.
    began: Instant,
    began_unix: u64,
}

/// Buckets that share a lock.
type Set = [Option<(Prefix, Bucket)>; WAYS];

struct Table {
    sets: Box<[Mutex<Set>]>,
    hasher: hashbrown::DefaultHashBuilder,
}

/// Who asks, as far as a limit goes.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    pub source: IpAddr,
    /// Subscribers behind the address.
    pub lines: u32,
    /// It sent a cookie that it can only have from us, at this address.
    pub is_proven: bool,
}

/// A prefix that was over a limit, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    pub prefix: String,
    /// Questions that upstream was not asked for, or would not have been.
    pub misses: u64,
    /// Answers that were cut short, or would have been, and their octets beyond 1.5 times the questions.
    pub answers: u64,
    pub octets: u64,
    /// Seconds since 1970.
    pub first: u64,
    pub last: u64,
}

impl Asker {
    /// `None`: it came by a connection, which has bounds of its own, and nothing is cut short there.
    pub fn of(snapshot: &Snapshot, client: Client, query: &Query, origin: Origin) -> Option<Asker> {
        let told = query.edns.and_then(|edns| edns.told);
        let is_proven = told.is_some_and(|told| told.standing == Standing::Proven);
        let asker = Asker { source: origin.source.ip(), lines: snapshot.lines(client), is_proven };
        (origin.transport == Transport::Udp).then_some(asker)
    }
}

impl Limiter {
    pub fn new(limit: RateLimit) -> Limiter {
        let (addresses, networks) = (Table::new(RATE_LIMIT_ADDRESSES_MAX), Table::new(RATE_LIMIT_NETWORKS_MAX));
        Limiter { limit, addresses, networks, began: clock::now(), began_unix: clock::unix_secs() }
    }

    pub fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// Whether upstream is not to be asked for this one.
    pub fn refuses_miss(&self, metrics: &Metrics, asker: Asker, now: Instant) -> bool {
        self.is_felt(metrics, "miss", self.charge(asker, Cost::Miss { is_proven: asker.is_proven }, now))
    }

    /// Whether an answer of `sent` octets to a question of `received` is not to be given.
    pub fn refuses_answer(&self, metrics: &Metrics, asker: Asker, received: usize, sent: usize, now: Instant) -> bool {
        let octets = amplified(received, sent);
        octets > 0 && self.is_felt(metrics, "amplified", self.charge(asker, Cost::Amplified(octets), now))
    }

    fn is_felt(&self, metrics: &Metrics, cost: &str, is_over: bool) -> bool {
        if is_over {
            metrics.rate_limited.with_label_values(&[cost, self.limit.mode()]).inc();
        }
        // Nobody comes again over TCP who is there already.
        is_over && self.limit.enforced
    }

    /// Pays for a query; whether its prefix is over the limit. The machine's own questions never are, nor what is amplified
    /// to a source that has proven its address.
    fn charge(&self, asker: Asker, cost: Cost, now: Instant) -> bool {
        if asker.source.is_loopback() || asker.is_proven && matches!(cost, Cost::Amplified(_)) {
            return false;
        }
        let now_ms = 1 + now.saturating_duration_since(self.began).as_millis() as u64;
        [(&self.addresses, Prefix::line(asker.source)), (&self.networks, Prefix::network(asker.source))]
            .into_iter()
            .any(|(table, prefix)| {
                table.charge(&self.limit, prefix, asker.lines.saturating_mul(prefix.lines()), cost, now_ms)
            })
    }

    /// The prefixes that were over a limit most, `count` of them.
    pub fn top(&self, count: usize) -> Vec<Limited> {
        let mut all: Vec<(Prefix, Over)> = [&self.addresses, &self.networks]
            .into_iter()
            .flat_map(|table| &table.sets)
            .flat_map(|set| *set.lock().unwrap_or_else(PoisonError::into_inner))
            .flatten()
            .map(|(prefix, bucket)| (prefix, bucket.over))
            .filter(|(_, over)| *over != Over::default())
            .collect();
        all.sort_by_key(|(_, over)| std::cmp::Reverse(over.misses + over.answers));
        all.truncate(count);
        let unix = |ms: u64| self.began_unix + ms / 1000;
        let told = |(prefix, over): (Prefix, Over)| Limited {
            prefix: prefix.to_string(),
            misses: over.misses,
            answers: over.answers,
            octets: over.octets,
            first: unix(over.first_ms),
            last: unix(over.last_ms),
        };
        all.into_iter().map(told).collect()
    }
}

impl Table {
    fn new(buckets: usize) -> Table {
        let sets = (0..buckets / WAYS).map(|_| Mutex::new([None; WAYS])).collect();
        Table { sets, hasher: hashbrown::DefaultHashBuilder::default() }
    }

    fn charge(&self, limit: &RateLimit, prefix: Prefix, lines: u32, cost: Cost, now_ms: u64) -> bool {
        let at = self.hasher.hash_one(prefix) as usize % self.sets.len();
        let mut set = self.sets[at].lock().unwrap_or_else(PoisonError::into_inner);
        let place = set.iter().position(|slot| slot.as_ref().is_some_and(|(of, _)| *of == prefix));
        let place = place.unwrap_or_else(|| {
            let weight = |i: &usize| set[*i].map(|(_, bucket)| bucket.weight(limit, now_ms));
            let place = (0..WAYS).min_by_key(weight).unwrap_or(0);
            set[place] = Some((prefix, Bucket::new(limit, lines, now_ms)));
            place
        });
        set[place].as_mut().is_some_and(|(_, bucket)| bucket.charge(limit, lines, cost, now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMIT: RateLimit = RateLimit { enforced: true, misses_per_second: 1, amplified_per_second: 1000 };
    const MISS: Cost = Cost::Miss { is_proven: false };

    fn asker(source: &str) -> Asker {
        Asker { source: source.parse().unwrap(), lines: 1, is_proven: false }
    }

    #[test]
    fn an_address_has_its_own_bucket_and_one_with_its_network() {
        let limiter = Limiter::new(LIMIT);
        let now = clock::now();
        let over = |source: &str| limiter.charge(asker(source), MISS, now);
        assert!((0..10).all(|_| !over("192.0.2.1")));
        assert!(over("192.0.2.1"));
        assert!(!over("192.0.2.2"), "the neighbour has a bucket of its own");
        let many = (0..=255).flat_map(|last| (0..2).map(move |_| format!("192.0.2.{last}")));
        let allowed = many.filter(|source| !over(source)).count();
        assert_eq!(allowed, 320 - 11, "and all of them have 32 lines' worth");
        assert!(!over("192.0.3.1"));
        assert!(!over("::1") && !over("127.0.0.1"));
        let top = limiter.top(2);
        assert_eq!(top[0].prefix, "192.0.2.0/24");
        assert_eq!((top.len(), top[0].misses > 100), (2, true));
    }

    #[test]
    fn who_has_proven_an_address_is_not_amplified_at() {
        let limiter = Limiter::new(LIMIT);
        let now = clock::now();
        let over = |is_proven| {
            let asker = Asker { is_proven, ..asker("192.0.2.1") };
            (0..20).filter(|_| limiter.charge(asker, Cost::Amplified(1000), now)).count()
        };
        assert_eq!((over(true), over(false)), (0, 10));
    }

    #[test]
    fn a_flood_of_made_up_addresses_grows_nothing_and_frees_nobody() {
        let limiter = Limiter::new(LIMIT);
        let now = clock::now();
        let culprit = asker("192.0.2.1");
        while !limiter.charge(culprit, MISS, now) {}
        for i in 0..200_000_u32 {
            let source = IpAddr::from((0x0a00_0000 + i * 77).to_be_bytes());
            limiter.charge(Asker { source, ..culprit }, MISS, now);
        }
        assert!(limiter.charge(culprit, MISS, now + Duration::from_secs(9)), "it is over its limit still");
        assert!(limiter.addresses.sets.len() * WAYS <= RATE_LIMIT_ADDRESSES_MAX);
    }
}
