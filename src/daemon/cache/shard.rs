//! One shard: a table of slots that lead to entries in segments.
//!
//! A new entry goes into the *young* log. When room is short the oldest segment of a log is cleared: entries that somebody
//! asked for go on to the *kept* log, the others are gone. The young log goes first while it has more than its tenth, so that
//! a flood of names asked once drains through it and pushes out nothing that is asked for often (as S3-FIFO does).
//!
//! Readers take no lock: slot, epoch, slot again, copy, epoch again. If the slot still led there after the epoch was read,
//! the entry was whole in that epoch; if the epoch is still the same after the copy, so is the copy.
//!
//! The table grows with what is in it. An outgrown one stays, since somebody may be reading it, and its slots say nothing any
//! more; all of them together are as large as the one in use.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::daemon::cache::CacheFigures;
use crate::daemon::cache::segments::{Epoch, Location, SEGMENT_WORDS, Segment, Segments, room_for};
use crate::engine::cache::{Entry, Head, KeyRef, Note};

/// Octets an entry has at least, for the size of the table: a short name with one address has 112, a negative answer 190.
const ENTRY_OCTETS_USUAL: usize = 96;
/// Buckets of the first table.
const BUCKETS_FIRST: usize = 16;
/// Tables that a shard may go through, each twice as large as the one before.
const TABLES: usize = 24;
/// A table is full enough to be doubled when so many of ten slots are taken: then few buckets overflow.
const FULL_TENTHS: usize = 6;
/// Slots of a bucket: with the marks they fill a cache line.
const SLOTS: usize = 15;
/// Share of the segments that is the young log's when room is short: one of so many.
const YOUNG_SHARE: usize = 10;
/// Segments cleared for one entry while what is asked for is kept; after that it is not, so that work is bounded.
const CLEARED_MAX: usize = 4;

/// Slots and a mark for each: somebody asked for its entry.
#[repr(align(64))]
struct Bucket {
    slots: [AtomicU32; SLOTS],
    asked: AtomicU32,
}

/// Where an entry was found, and when.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    table: usize,
    bucket: usize,
    slot: usize,
    value: u32,
    epoch: Epoch,
}

pub(super) struct Shard {
    tables: [OnceLock<Box<[Bucket]>>; TABLES],
    /// The number of the table in use; it is there.
    table: AtomicUsize,
    /// Buckets that a table may have.
    buckets_max: usize,
    segments: Segments,
    writer: Mutex<Writer>,
}

struct Writer {
    /// Segments that are there and hold nothing; one is always kept for what moves. Empty until the first is needed.
    free: Vec<u16>,
    /// Segments that were ever used.
    made: u16,
    young: Log,
    kept: Log,
    /// Words used in each segment.
    used: Vec<u16>,
    /// Whether each segment is one of the kept log.
    is_kept: Vec<bool>,
    entries: usize,
    evictions: u64,
    /// What moves, on its way.
    moving: Vec<u64>,
}

/// Segments in the order they were begun; the last is being filled.
#[derive(Default)]
struct Log {
    segments: VecDeque<u16>,
}

/// A slot's value: eight bits of the hash, never zero, and the location.
fn value_of(hash: u64, location: Location) -> u32 {
    tag_of(hash) << 24 | location.0
}

fn tag_of(hash: u64) -> u32 {
    u32::from((hash as u8).max(1))
}

fn location_of(value: u32) -> Location {
    Location(value & 0x00ff_ffff)
}

fn empty_table(buckets: usize) -> Box<[Bucket]> {
    let bucket = || Bucket { slots: [const { AtomicU32::new(0) }; SLOTS], asked: AtomicU32::new(0) };
    (0..buckets).map(|_| bucket()).collect()
}

fn bucket_of(buckets: &[Bucket], hash: u64) -> usize {
    (((hash >> 32) * buckets.len() as u64) >> 32) as usize
}

impl Shard {
    pub(super) fn new(octets: u64) -> Shard {
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        let segments = (octets / (8 * SEGMENT_WORDS)).min(Location::SEGMENTS_MAX);
        // Three segments are the least that works: one for each log, and one for what moves.
        let segments = if segments < 3 { 0 } else { segments };
        let entries = segments * 8 * SEGMENT_WORDS / ENTRY_OCTETS_USUAL;
        let buckets_max = (entries * 4 / 3).div_ceil(SLOTS);
        let writer = Writer {
            free: Vec::new(),
            made: 0,
            young: Log::default(),
            kept: Log::default(),
            used: vec![0; segments],
            is_kept: vec![false; segments],
            entries: 0,
            evictions: 0,
            moving: Vec::new(),
        };
        let shard = Shard {
            tables: [const { OnceLock::new() }; TABLES],
            table: AtomicUsize::new(0),
            buckets_max,
            segments: Segments::new(segments),
            writer: Mutex::new(writer),
        };
        shard.tables[0].get_or_init(|| empty_table(BUCKETS_FIRST));
        shard
    }

    /// The table in use, and its number.
    fn table(&self) -> (usize, &[Bucket]) {
        let number = self.table.load(Ordering::Acquire);
        (number, self.tables[number].get().map_or(&[], |table| table))
    }

    /// The table in use, for whoever holds the lock.
    fn buckets(&self) -> &[Bucket] {
        self.table().1
    }

    fn bucket(&self, hash: u64) -> &Bucket {
        let buckets = self.buckets();
        &buckets[bucket_of(buckets, hash)]
    }

    /// Doubles the table, unless it is as large as it may be.
    fn grow(&self) {
        let (number, old) = self.table();
        let Some(next) = self.tables.get(number + 1).filter(|_| old.len() < self.buckets_max) else { return };
        let new = empty_table(old.len() * 2);
        for bucket in old {
            let asked = bucket.asked.load(Ordering::Relaxed);
            for (i, slot) in bucket.slots.iter().enumerate() {
                let value = slot.load(Ordering::Relaxed);
                let location = location_of(value);
                let Some(segment) = self.segments.get(location.segment()).filter(|_| value != 0) else { continue };
                let hash = Head::read(|word| segment.word(location.word() + word)).hash;
                // What was in one bucket goes to two, so there is always a free slot.
                let to = &new[bucket_of(&new, hash)];
                let Some(free) = to.slots.iter().position(|slot| slot.load(Ordering::Relaxed) == 0) else { continue };
                to.slots[free].store(value, Ordering::Relaxed);
                to.asked.fetch_or(((asked >> i) & 1) << free, Ordering::Relaxed);
            }
        }
        next.get_or_init(|| new);
        self.table.store(number + 1, Ordering::Release);
    }

    /// Copies the entry of a key, marks it, and says whether it was marked before.
    pub(super) fn read(&self, hash: u64, key: KeyRef<'_>, entry: &mut Entry) -> Option<(Place, bool)> {
        let place = self.read_quietly(hash, key, entry)?;
        let (asked, mark) = (&self.tables[place.table].get()?[place.bucket].asked, 1 << place.slot);
        let was_asked = asked.load(Ordering::Relaxed) & mark != 0;
        if !was_asked {
            // Should another entry have taken the slot meanwhile, it is marked for nothing: it stays a round longer.
            asked.fetch_or(mark, Ordering::Relaxed);
        }
        Some((place, was_asked))
    }

    pub(super) fn read_quietly(&self, hash: u64, key: KeyRef<'_>, entry: &mut Entry) -> Option<Place> {
        let (table, buckets) = self.table();
        let number = bucket_of(buckets, hash);
        let bucket = &buckets[number];
        let tag = tag_of(hash);
        for (i, slot) in bucket.slots.iter().enumerate() {
            let value = slot.load(Ordering::Acquire);
            if value >> 24 != tag {
                continue;
            }
            let location = location_of(value);
            let Some(segment) = self.segments.get(location.segment()) else { continue };
            let epoch = segment.begin();
            // A table that is outgrown is not kept up.
            if slot.load(Ordering::Acquire) != value || self.table.load(Ordering::Acquire) != table {
                continue;
            }
            let at = location.word();
            let head = Head::read(|word| segment.word(at + word));
            if head.hash != hash {
                continue;
            }
            entry.fill(head, segment.words(at + Head::WORDS, head.body_words()));
            if segment.is_as(epoch) && entry.is_of(key) {
                return Some(Place { table, bucket: number, slot: i, value, epoch });
            }
        }
        None
    }

    /// Whether anything can be kept.
    pub(super) fn keeps(&self) -> bool {
        self.segments.count() > 0
    }

    /// Shows a copy of every entry; some more than once. Takes no lock: what is written meanwhile may be missing.
    pub(super) fn visit(&self, entry: &mut Entry, shown: &mut dyn FnMut(&Entry)) {
        loop {
            let (table, buckets) = self.table();
            for slot in buckets.iter().flat_map(|bucket| &bucket.slots) {
                // Once more if it was just then moved.
                if self.copy(slot, entry) || self.copy(slot, entry) {
                    shown(entry);
                }
            }
            // What came after the table had grown is in the new one; there are few of them.
            if self.table.load(Ordering::Acquire) == table {
                return;
            }
        }
    }

    /// Copies the entry that a slot leads to; `false`: there is none, or it was being changed.
    fn copy(&self, slot: &AtomicU32, entry: &mut Entry) -> bool {
        let value = slot.load(Ordering::Acquire);
        let location = location_of(value);
        let Some(segment) = self.segments.get(location.segment()).filter(|_| value != 0) else { return false };
        let epoch = segment.begin();
        if slot.load(Ordering::Acquire) != value {
            return false;
        }
        let head = Head::read(|word| segment.word(location.word() + word));
        entry.fill(head, segment.words(location.word() + Head::WORDS, head.body_words()));
        segment.is_as(epoch)
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // The writer is whole between its methods' calls from outside, so a panic elsewhere does not spoil it.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment and first word of an entry that is still where it was found, for whoever holds the lock.
    fn still_at(&self, place: Place) -> Option<(&Segment, usize)> {
        let (table, buckets) = self.table();
        if table != place.table {
            return None;
        }
        let slot = &buckets[place.bucket].slots[place.slot];
        let location = location_of(place.value);
        let segment = self.segments.get(location.segment())?;
        let is_there = slot.load(Ordering::Relaxed) == place.value && segment.is_as(place.epoch);
        is_there.then_some((segment, location.word()))
    }

    pub(super) fn note(&self, place: Place, note: Note) {
        let _writer = self.lock();
        if let Some((segment, at)) = self.still_at(place) {
            segment.set(at + Head::NOTE, note.to_word());
        }
    }

    pub(super) fn hold(&self, place: Place, until_ms: u64) {
        let _writer = self.lock();
        if let Some((segment, at)) = self.still_at(place) {
            segment.set(at + Head::HELD, until_ms);
        }
    }

    /// Keeps an entry of `len` words; those of the same hash that `replaces` says yes to are gone.
    pub(super) fn put(
        &self,
        hash: u64,
        len: usize,
        words: impl Iterator<Item = u64>,
        replaces: impl Fn(&Entry) -> bool,
    ) {
        let mut writer = self.lock();
        if self.segments.count() == 0 || room_for(len) > SEGMENT_WORDS {
            return;
        }
        let was_asked = self.remove_matching(&mut writer, hash, &replaces);
        let Some((segment, at)) = self.allocate(&mut writer, len) else { return };
        self.segments.make(usize::from(segment)).write(at, words);
        // A bucket that is full before the table is full enough is mere chance, and an entry is worth more than a table.
        let is_full = |bucket: &Bucket| bucket.slots.iter().all(|slot| slot.load(Ordering::Relaxed) != 0);
        let limit = self.buckets().len() * SLOTS * FULL_TENTHS / 10;
        if writer.entries > limit || is_full(self.bucket(hash)) {
            self.grow();
        }
        self.publish(&mut writer, hash, Location::new(segment, at), was_asked);
        writer.entries += 1;
    }

    pub(super) fn remove(&self, hash: u64, key: KeyRef<'_>) {
        let mut writer = self.lock();
        self.remove_matching(&mut writer, hash, &|entry: &Entry| entry.is_of(key));
    }

    /// Whether one of those that went had been asked for.
    fn remove_matching(&self, writer: &mut Writer, hash: u64, is_it: &impl Fn(&Entry) -> bool) -> bool {
        let bucket = self.bucket(hash);
        let mut was_asked = false;
        let mut entry = None;
        for (i, slot) in bucket.slots.iter().enumerate() {
            let value = slot.load(Ordering::Relaxed);
            if value >> 24 != tag_of(hash) {
                continue;
            }
            let entry = entry.get_or_insert_with(Entry::default);
            if self.head_of(value, entry).is_some_and(|head| head.hash == hash) && is_it(entry) {
                slot.store(0, Ordering::Release);
                was_asked |= bucket.asked.fetch_and(!(1 << i), Ordering::Relaxed) & 1 << i != 0;
                writer.entries -= 1;
            }
        }
        was_asked
    }

    /// Copies an entry that a slot leads to, for whoever holds the lock.
    fn head_of(&self, value: u32, entry: &mut Entry) -> Option<Head> {
        let location = location_of(value);
        let segment = self.segments.get(location.segment())?;
        let at = location.word();
        let head = Head::read(|word| segment.word(at + word));
        entry.fill(head, segment.words(at + Head::WORDS, head.body_words()));
        Some(head)
    }

    /// Leads a slot of the hash's bucket to an entry that is written. A full bucket gives up the entry that is worth least.
    fn publish(&self, writer: &mut Writer, hash: u64, location: Location, was_asked: bool) {
        let bucket = self.bucket(hash);
        let asked = bucket.asked.load(Ordering::Relaxed);
        let is_free = |i: &usize| bucket.slots[*i].load(Ordering::Relaxed) == 0;
        let slot = (0..SLOTS).find(is_free).unwrap_or_else(|| {
            writer.entries -= 1;
            writer.evictions += 1;
            let worth = |i: &usize| {
                let value = bucket.slots[*i].load(Ordering::Relaxed);
                (asked & 1 << i != 0, writer.is_kept[location_of(value).segment()])
            };
            // Of those worth the same it is not always the first that goes.
            let turn = (hash >> 16) as usize;
            (0..SLOTS).map(|i| (i + turn) % SLOTS).min_by_key(worth).unwrap_or(0)
        });
        let mark = 1 << slot;
        let _ = if was_asked {
            bucket.asked.fetch_or(mark, Ordering::Relaxed)
        } else {
            bucket.asked.fetch_and(!mark, Ordering::Relaxed)
        };
        // Whoever sees the slot sees the entry.
        bucket.slots[slot].store(value_of(hash, location), Ordering::Release);
    }

    /// Room at the end of the young log.
    fn allocate(&self, writer: &mut Writer, words: usize) -> Option<(u16, usize)> {
        if let Some(found) = Writer::at_end(&writer.young, &mut writer.used, words) {
            return Some(found);
        }
        let mut cleared = 0;
        while self.spare(writer) < 2 {
            self.clear_oldest(writer, cleared < CLEARED_MAX)?;
            cleared += 1;
        }
        let segment = writer.take_segment();
        writer.young.segments.push_back(segment);
        Writer::at_end(&writer.young, &mut writer.used, words)
    }

    /// Segments that hold nothing, made or not.
    fn spare(&self, writer: &Writer) -> usize {
        writer.free.len() + self.segments.count() - usize::from(writer.made)
    }

    /// Empties the oldest segment of a log. What was asked for since it was last looked over goes on, if `keeping`.
    fn clear_oldest(&self, writer: &mut Writer, keeping: bool) -> Option<()> {
        let young_max = (self.segments.count() / YOUNG_SHARE).max(1);
        let is_young = writer.young.segments.len() > young_max || writer.kept.segments.is_empty();
        let number = if is_young { writer.young.segments.pop_front() } else { writer.kept.segments.pop_front() }?;
        let segment = self.segments.make(usize::from(number));
        let end = usize::from(std::mem::take(&mut writer.used[usize::from(number)]));
        let mut at = 0;
        while at < end {
            let head = Head::read(|word| segment.word(at + word));
            let (from, words) = (at, usize::from(head.words));
            at += room_for(words);
            let bucket = self.bucket(head.hash);
            let value = value_of(head.hash, Location::new(number, from));
            let Some(slot) = bucket.slots.iter().position(|slot| slot.load(Ordering::Relaxed) == value) else {
                continue;
            };
            let mark = 1 << slot;
            let was_asked = bucket.asked.fetch_and(!mark, Ordering::Relaxed) & mark != 0;
            match (was_asked && keeping).then(|| self.move_on(writer, segment, from, words)).flatten() {
                // Readers find it in one place or the other.
                Some(to) => bucket.slots[slot].store(value_of(head.hash, to), Ordering::Release),
                None => {
                    bucket.slots[slot].store(0, Ordering::Release);
                    writer.entries -= 1;
                    writer.evictions += 1;
                }
            }
        }
        segment.renew();
        writer.is_kept[usize::from(number)] = false;
        writer.free.push(number);
        Some(())
    }

    /// Copies an entry to the end of the kept log. The segment kept in reserve is the last it may take.
    fn move_on(&self, writer: &mut Writer, from: &Segment, at: usize, words: usize) -> Option<Location> {
        let mut moving = std::mem::take(&mut writer.moving);
        moving.clear();
        moving.extend(from.words(at, words));
        let place = Writer::at_end(&writer.kept, &mut writer.used, words).or_else(|| {
            if self.spare(writer) == 0 {
                return None;
            }
            let segment = writer.take_segment();
            writer.is_kept[usize::from(segment)] = true;
            writer.kept.segments.push_back(segment);
            Writer::at_end(&writer.kept, &mut writer.used, words)
        });
        if let Some((segment, to)) = place {
            self.segments.make(usize::from(segment)).write(to, moving.iter().copied());
        }
        writer.moving = moving;
        place.map(|(segment, to)| Location::new(segment, to))
    }

    /// Gives `found` every entry's hash and words.
    pub(super) fn for_each(&self, found: &mut dyn FnMut(u64, &[u64])) {
        let _writer = self.lock();
        let mut words = Vec::new();
        // Across the buckets, which are in the order of hashes: a table that grows elsewhere is filled evenly.
        let slots = (0..SLOTS).flat_map(|i| self.buckets().iter().map(move |bucket| &bucket.slots[i]));
        for value in slots.map(|slot| slot.load(Ordering::Relaxed)) {
            let location = location_of(value);
            let Some(segment) = self.segments.get(location.segment()).filter(|_| value != 0) else { continue };
            let head = Head::read(|word| segment.word(location.word() + word));
            words.clear();
            words.extend(segment.words(location.word(), usize::from(head.words)));
            found(head.hash, &words);
        }
    }

    /// Forgets entries; says how many.
    pub(super) fn remove_where(&self, is_it: &dyn Fn(&Entry) -> bool) -> usize {
        let mut writer = self.lock();
        let mut entry = Entry::default();
        let before = writer.entries;
        for slot in self.buckets().iter().flat_map(|bucket| &bucket.slots) {
            let value = slot.load(Ordering::Relaxed);
            if value != 0 && self.head_of(value, &mut entry).is_some() && is_it(&entry) {
                slot.store(0, Ordering::Release);
                writer.entries -= 1;
            }
        }
        before - writer.entries
    }

    pub(super) fn figures(&self) -> CacheFigures {
        let writer = self.lock();
        let words: usize = writer.used.iter().map(|used| usize::from(*used)).sum();
        CacheFigures { entries: writer.entries, octets: 8 * words, evictions: writer.evictions }
    }
}

impl Writer {
    /// Room in the segment that a log is filling.
    fn at_end(log: &Log, used: &mut [u16], words: usize) -> Option<(u16, usize)> {
        let segment = *log.segments.back()?;
        let used = &mut used[usize::from(segment)];
        let at = usize::from(*used);
        let end = at + room_for(words);
        (end <= SEGMENT_WORDS).then(|| {
            *used = end as u16;
            (segment, at)
        })
    }

    /// An empty segment; the caller has seen that there is one.
    fn take_segment(&mut self) -> u16 {
        self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            self.made - 1
        })
    }
}

const _: () = assert!(SEGMENT_WORDS <= u16::MAX as usize);
