//! The hash table of prefixes: open addressing in shards, read without a lock while one writer changes it.
//!
//! A slot's key never changes while the slot is full, and its value is one word: whoever reads sees the old value or the new
//! one. A slot that was full and is used again has another number in its first word, which a reader looks at twice. A shard
//! that fills up is made anew, larger, beside the one that is read. So a writer that is stopped half way stops nobody.
//!
//! A [`PrefixReader`] keeps the shards that it saw last and asks by a plain read whether they are still those: to take them up
//! for each look-up would be a locked instruction, and the processor does not wait for memory of several look-ups at once
//! across one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use arc_swap::{ArcSwap, Cache};

use super::key::Key;

/// Shards: making one anew takes the time of some thousand entries. A power of two.
const SHARDS: usize = 256;
/// Slots of a new shard.
const SLOTS_MIN: usize = 16;

const EMPTY: u64 = 0;
/// An entry was here; the search goes on behind it.
const GONE: u64 = 2;
const FULL: u64 = 1;
/// Where the number of a slot's use begins in its first word.
const USE_SHIFT: u32 = 32;
const KEY_MASK: u64 = (1 << USE_SHIFT) - 1;

/// 32 octets, two to a line of cache.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Slot {
    /// [`EMPTY`], [`GONE`], or [`FULL`] with what of the key is not address, and the number of this use.
    head: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    value: AtomicU64,
}

type Slots = Arc<[Slot]>;
type Shards = [Slots; SHARDS];

/// The table that all share.
#[derive(Debug)]
pub(super) struct Prefixes {
    shards: Arc<ArcSwap<Shards>>,
    seed: (u64, u64),
}

/// The table as one reader sees it.
#[derive(Debug)]
pub(super) struct PrefixReader {
    shards: Cache<Arc<ArcSwap<Shards>>, Arc<Shards>>,
    seed: (u64, u64),
}

/// What the writer knows of a shard.
#[derive(Debug, Clone, Copy, Default)]
struct Fill {
    full: usize,
    gone: usize,
}

/// What the writer knows of the table.
#[derive(Debug)]
pub(super) struct PrefixWriter {
    fills: Vec<Fill>,
    next_use: u32,
}

/// Multiply-and-fold over the key; the seed is secret, and a collision costs time, never a wrong answer.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn head_of(key: &Key) -> u64 {
    FULL | u64::from(key.is_v6) << 2 | u64::from(key.length) << 8 | u64::from(key.realm.0) << 16
}

impl Prefixes {
    pub fn new(seed: (u64, u64)) -> (Prefixes, PrefixWriter) {
        let shards: Shards = std::array::from_fn(|_| empty(SLOTS_MIN));
        // Digits of pi: a zero seed must not fold everything to nothing.
        let seed = (seed.0 ^ 0x243f_6a88_85a3_08d3, seed.1 ^ 0x1319_8a2e_0370_7344);
        let shards = Arc::new(ArcSwap::from_pointee(shards));
        (Prefixes { shards, seed }, PrefixWriter { fills: vec![Fill::default(); SHARDS], next_use: 0 })
    }

    pub fn reader(&self) -> PrefixReader {
        PrefixReader { shards: Cache::new(Arc::clone(&self.shards)), seed: self.seed }
    }

    /// The value under a key, for those who ask seldom. Takes no lock and allocates nothing.
    pub fn get(&self, key: &Key) -> Option<u64> {
        let hash = hash_of(key, self.seed);
        get_in(&self.shards.load()[shard_of(hash)], hash, key)
    }

    fn shard(&self, hash: u64) -> Slots {
        Arc::clone(&self.shards.load()[shard_of(hash)])
    }

    /// Octets of all slots.
    pub fn octets(&self) -> usize {
        self.shards.load().iter().map(|shard| shard.len() * size_of::<Slot>()).sum()
    }

    /// Every entry, in no order. What is put in meanwhile may be among them or not.
    pub fn each(&self, mut with: impl FnMut(Key, u64)) {
        for shard in self.shards.load_full().iter() {
            shard.iter().filter_map(entry).for_each(|(key, value)| with(key, value));
        }
    }
}

impl PrefixReader {
    /// The value under a key. Takes no lock and allocates nothing.
    #[inline]
    pub fn get(&mut self, key: &Key) -> Option<u64> {
        let shards = self.shards();
        shards.get(shards.hash(key), key)
    }

    /// The shards that there are now.
    #[inline]
    pub fn shards(&mut self) -> ShardsNow<'_> {
        ShardsNow { shards: self.shards.load(), seed: self.seed }
    }
}

/// The table as it is between two changes of a shard's size.
#[derive(Clone, Copy)]
pub(super) struct ShardsNow<'r> {
    shards: &'r Shards,
    seed: (u64, u64),
}

impl ShardsNow<'_> {
    #[inline]
    pub fn hash(&self, key: &Key) -> u64 {
        hash_of(key, self.seed)
    }

    /// Where the search for a key begins.
    #[inline]
    pub fn first_place(&self, hash: u64) -> *const u8 {
        let slots = &self.shards[shard_of(hash)];
        std::ptr::from_ref(&slots[place(hash, slots.len())]).cast()
    }

    #[inline]
    pub fn get(&self, hash: u64, key: &Key) -> Option<u64> {
        get_in(&self.shards[shard_of(hash)], hash, key)
    }
}

#[inline]
fn hash_of(key: &Key, seed: (u64, u64)) -> u64 {
    let head = fold(head_of(key) ^ seed.0, key.low ^ seed.1);
    fold(head ^ key.high, seed.1)
}

#[inline]
fn get_in(slots: &[Slot], hash: u64, key: &Key) -> Option<u64> {
    let head = head_of(key);
    let mut at = place(hash, slots.len());
    for _ in 0..slots.len() {
        let slot = &slots[at];
        loop {
            let seen = slot.head.load(Ordering::Acquire);
            if seen == EMPTY {
                return None;
            }
            if seen & KEY_MASK != head {
                break;
            }
            let (high, low) = (slot.high.load(Ordering::Relaxed), slot.low.load(Ordering::Relaxed));
            let value = slot.value.load(Ordering::Acquire);
            fence(Ordering::Acquire);
            // Used for another key meanwhile? Then the writer has done something, and it is looked at again.
            if slot.head.load(Ordering::Relaxed) != seen {
                continue;
            }
            if (high, low) == (key.high, key.low) {
                return Some(value);
            }
            break;
        }
        at = if at + 1 == slots.len() { 0 } else { at + 1 };
    }
    None
}

/// As the writer reads, beside whom nobody writes.
fn entry(slot: &Slot) -> Option<(Key, u64)> {
    let head = slot.head.load(Ordering::Acquire);
    (head & FULL != 0).then(|| {
        let key = Key {
            realm: crate::engine::client::Realm((head >> 16) as u16),
            is_v6: head & 4 != 0,
            length: (head >> 8) as u8,
            high: slot.high.load(Ordering::Relaxed),
            low: slot.low.load(Ordering::Relaxed),
        };
        (key, slot.value.load(Ordering::Relaxed))
    })
}

fn empty(slots: usize) -> Slots {
    (0..slots).map(|_| Slot::default()).collect()
}

fn shard_of(hash: u64) -> usize {
    hash as usize % SHARDS
}

/// Where the search begins: the upper bits, scaled, so that a shard need not double to grow.
fn place(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> 64) as usize
}

impl PrefixWriter {
    pub fn len(&self) -> usize {
        self.fills.iter().map(|fill| fill.full).sum()
    }

    /// Puts a value under a key; what was there before.
    pub fn put(&mut self, table: &Prefixes, key: &Key, value: u64) -> Option<u64> {
        let hash = hash_of(key, table.seed);
        let shard = shard_of(hash);
        let mut slots = table.shard(hash);
        let (found, mut free) = search(&slots, hash, key);
        if let Some(at) = found {
            return Some(slots[at].value.swap(value, Ordering::AcqRel));
        }
        let fill = self.fills[shard];
        // A quarter stays empty, so that a search for what is not there ends soon.
        if (fill.full + fill.gone + 1) * 4 > slots.len() * 3 {
            slots = self.grow(table, shard, &slots);
            free = search(&slots, hash, key).1;
        }
        let at = free.expect("a quarter of the slots is empty");
        let fill = &mut self.fills[shard];
        fill.full += 1;
        if slots[at].head.load(Ordering::Relaxed) == GONE {
            fill.gone -= 1;
        }
        self.next_use = self.next_use.wrapping_add(1);
        fill_slot(&slots[at], key, value, self.next_use);
        None
    }

    pub fn remove(&mut self, table: &Prefixes, key: &Key) -> Option<u64> {
        let hash = hash_of(key, table.seed);
        let slots = table.shard(hash);
        let at = search(&slots, hash, key).0?;
        let value = slots[at].value.load(Ordering::Relaxed);
        slots[at].head.store(GONE, Ordering::Release);
        let fill = &mut self.fills[shard_of(hash)];
        fill.full -= 1;
        fill.gone += 1;
        Some(value)
    }

    /// Makes a shard anew with room, and without what is gone.
    fn grow(&mut self, table: &Prefixes, shard: usize, old: &Slots) -> Slots {
        let fill = &mut self.fills[shard];
        fill.gone = 0;
        let wanted = (fill.full + 1) * 16 / 9;
        let new = empty(wanted.max(SLOTS_MIN));
        for (key, value) in old.iter().filter_map(entry) {
            let at = search(&new, hash_of(&key, table.seed), &key).1.expect("there is more room than entries");
            fill_slot(&new[at], &key, value, 0);
        }
        let mut shards = table.shards.load().as_ref().clone();
        shards[shard] = Arc::clone(&new);
        table.shards.store(Arc::new(shards));
        new
    }
}

fn fill_slot(slot: &Slot, key: &Key, value: u64, number: u32) {
    // Whoever reads a word of the new key finds, after it, that the head is not the old one any more.
    fence(Ordering::Release);
    slot.high.store(key.high, Ordering::Relaxed);
    slot.low.store(key.low, Ordering::Relaxed);
    slot.value.store(value, Ordering::Relaxed);
    slot.head.store(head_of(key) | u64::from(number) << USE_SHIFT, Ordering::Release);
}

/// Where a key is, and else where it would go.
fn search(slots: &[Slot], hash: u64, key: &Key) -> (Option<usize>, Option<usize>) {
    let head = head_of(key);
    let mut at = place(hash, slots.len());
    let mut free = None;
    for _ in 0..slots.len() {
        let slot = &slots[at];
        match slot.head.load(Ordering::Relaxed) {
            EMPTY => return (None, free.or(Some(at))),
            GONE => free = free.or(Some(at)),
            seen if seen & KEY_MASK == head
                && slot.high.load(Ordering::Relaxed) == key.high
                && slot.low.load(Ordering::Relaxed) == key.low =>
            {
                return (Some(at), free);
            }
            _ => {}
        }
        at = if at + 1 == slots.len() { 0 } else { at + 1 };
    }
    (None, free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::Realm;
    use std::collections::HashMap;

    fn key(n: u32) -> Key {
        Key::of_net(Realm((n % 3) as u16), std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(n)).into())
    }

    #[test]
    fn it_holds_what_a_map_holds() {
        let (table, mut writer) = Prefixes::new((0, 0));
        let mut model = HashMap::new();
        let mut random = 1_u64;
        for _ in 0..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = key((random >> 40) as u32 % 8_192);
            if random >> 33 & 3 == 0 {
                assert_eq!(writer.remove(&table, &key), model.remove(&key));
            } else {
                assert_eq!(writer.put(&table, &key, random), model.insert(key, random));
            }
        }
        assert_eq!(writer.len(), model.len());
        for n in 0..8_192 {
            assert_eq!(table.get(&key(n)), model.get(&key(n)).copied());
        }
        let mut count = 0;
        table.each(|key, value| {
            assert_eq!(model.get(&key), Some(&value));
            count += 1;
        });
        assert_eq!(count, model.len());
    }

    /// Readers on other threads never find a value under another key, and always find what stays.
    #[test]
    fn readers_never_see_half_a_change() {
        let (table, mut writer) = Prefixes::new((3, 4));
        // What stays has its own key as its value; so has what comes and goes.
        for n in 0..1_000 {
            writer.put(&table, &key(n), u64::from(n));
        }
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for keeps_shards in [false, true] {
                let (table, done) = (&table, &done);
                scope.spawn(move || {
                    let (mut n, mut reader) = (0_u32, table.reader());
                    while !done.load(Ordering::Relaxed) {
                        n = (n + 7) % 4_000;
                        match if keeps_shards { reader.get(&key(n)) } else { table.get(&key(n)) } {
                            Some(value) => assert_eq!(value % 4_000, u64::from(n)),
                            None => assert!(n >= 1_000, "{n} stays"),
                        }
                    }
                });
            }
            for round in 0..300_u32 {
                for n in 1_000..1_000 + round * 10 {
                    writer.put(&table, &key(n), u64::from(n) + 4_000);
                }
                for n in 0..1_000 {
                    writer.put(&table, &key(n), u64::from(n) + u64::from(round) * 4_000);
                }
                for n in 1_000..4_000 {
                    writer.remove(&table, &key(n));
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
