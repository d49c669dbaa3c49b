//! Memory of a shard: segments of words, made when they are first needed and used again for ever.
//!
//! Who reads a segment takes its epoch before and after; whoever is about to use one again changes it first. All words are
//! atomic, so a reader that meets a writer reads a mixture, sees the epoch and throws it away.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words of a segment: 64 KiB.
pub(super) const SEGMENT_WORDS: usize = 8 << 10;
/// Words that a place counts in.
const UNIT: usize = 2;
/// Bits of a place within its segment.
const PLACE_BITS: u32 = 12;

/// Where an entry begins: a segment, and in units of two words a place in it. 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location(pub u32);

impl Location {
    /// Segments that a location can tell apart.
    pub(super) const SEGMENTS_MAX: usize = 1 << 12;

    pub(super) fn new(segment: u16, word: usize) -> Location {
        debug_assert!(word.is_multiple_of(UNIT), "entries begin at a whole unit");
        Location(u32::from(segment) << PLACE_BITS | (word / UNIT) as u32)
    }

    pub(super) fn segment(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }

    pub(super) fn word(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize * UNIT
    }
}

const _: () = assert!(SEGMENT_WORDS == UNIT << PLACE_BITS);

/// Words that an entry takes, so that the next one begins at a whole unit.
pub(super) fn room_for(words: usize) -> usize {
    words.next_multiple_of(UNIT)
}

pub(super) struct Segment {
    epoch: AtomicU64,
    words: Box<[AtomicU64]>,
}

/// A shard's segments; the first ones are there, the others not yet.
pub(super) struct Segments {
    all: Box<[OnceLock<Segment>]>,
}

/// What a segment was when reading it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(u64);

impl Segments {
    pub(super) fn new(count: usize) -> Segments {
        Segments { all: (0..count).map(|_| OnceLock::new()).collect() }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Segment> {
        self.all.get(number)?.get()
    }

    /// For whoever holds the shard's lock.
    pub(super) fn make(&self, number: usize) -> &Segment {
        self.all[number].get_or_init(|| Segment {
            epoch: AtomicU64::new(0),
            words: (0..SEGMENT_WORDS).map(|_| AtomicU64::new(0)).collect(),
        })
    }
}

impl Segment {
    pub(super) fn begin(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Whether what was read since [`Segment::begin`] is what was written before it.
    pub(super) fn is_as(&self, epoch: Epoch) -> bool {
        // Reads before the fence stay before the load behind it (a sequence lock's reader).
        fence(Ordering::Acquire);
        self.epoch.load(Ordering::Relaxed) == epoch.0
    }

    /// Tells readers that everything in it is about to change.
    pub(super) fn renew(&self) {
        // Whoever sees the new epoch sees that no slot leads here any more.
        self.epoch.fetch_add(1, Ordering::AcqRel);
        // No write after the fence is seen without the change before it.
        fence(Ordering::Release);
    }

    /// Zero outside the segment, which only a torn head can ask for.
    pub(super) fn word(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// `count` words from `at`, or as many as there are.
    pub(super) fn words(&self, at: usize, count: usize) -> impl Iterator<Item = u64> {
        let end = (at + count).min(self.words.len());
        self.words.get(at..end).unwrap_or(&[]).iter().map(|word| word.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, at: usize, word: u64) {
        self.words[at].store(word, Ordering::Relaxed);
    }

    pub(super) fn write(&self, at: usize, words: impl Iterator<Item = u64>) {
        self.words[at..].iter().zip(words).for_each(|(to, from)| to.store(from, Ordering::Relaxed));
    }
}
