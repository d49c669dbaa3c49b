//! The cache's shards and their locks. What an entry is and when it goes is [`engine::cache`](crate::engine::cache)'s.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::daemon::clock;
use crate::engine::answer::Answer;
use crate::engine::cache::{Hit, Key, Shard};
use crate::engine::name::Name;

/// A power of two well above the number of threads, so that two of them seldom meet at a lock.
const SHARDS: usize = 64;

/// The whole cache.
pub struct Cache {
    shards: Box<[RwLock<Shard<RandomState>>]>,
    hasher: RandomState,
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
        let hasher = RandomState::new();
        let shards = (0..SHARDS).map(|_| RwLock::new(Shard::new(shard_size(size), hasher.clone()))).collect();
        Cache { shards, hasher }
    }

    /// `stale`: how long past its TTL an answer may serve.
    pub fn get(&self, key: &Key, stale: Duration) -> Option<Hit> {
        read(self.shard(key)).get(key, clock::now(), stale)
    }

    pub fn put(&self, key: Key, answer: Arc<Answer>, trust_ad: bool, stale: Duration) {
        write(self.shard(&key)).put(key, answer, trust_ad, clock::now(), stale);
    }

    pub fn flush(&self, zone: &Name) -> usize {
        self.shards.iter().map(|shard| write(shard).flush(zone)).sum()
    }

    pub fn set_size(&self, size: u64) {
        self.shards.iter().for_each(|shard| write(shard).set_size_max(shard_size(size), clock::now()));
    }

    pub fn figures(&self) -> CacheFigures {
        self.shards.iter().fold(CacheFigures::default(), |sum, shard| {
            let shard = read(shard);
            CacheFigures {
                entries: sum.entries + shard.len(),
                octets: sum.octets + shard.size(),
                evictions: sum.evictions + shard.evictions(),
            }
        })
    }

    fn shard(&self, key: &Key) -> &RwLock<Shard<RandomState>> {
        // The map inside uses the low bits of the same hash; these are the high ones.
        &self.shards[(self.hasher.hash_one(key) >> 40) as usize % SHARDS]
    }
}

fn shard_size(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX) / SHARDS
}

/// A shard is whole between its methods, so a panic elsewhere does not spoil it.
fn read(shard: &RwLock<Shard<RandomState>>) -> RwLockReadGuard<'_, Shard<RandomState>> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard<RandomState>>) -> RwLockWriteGuard<'_, Shard<RandomState>> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}
