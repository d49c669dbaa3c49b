//! Rules on their way into the index: sorted in runs, each written short, and merged.
//!
//! A rule as it comes is some fifty octets; in a run it is a third of that, because each name is written as what it adds
//! to its neighbour. So ten million rules never lie about as they came.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::engine::matcher::suffix::leaf::shared;
use crate::engine::matcher::suffix::octets::{Reader, put_varint};
use crate::engine::matcher::suffix::places::Placed;

/// Rules that one run sorts at a time; what they take fits a large cache.
const RUN_RULES: usize = 1 << 20;
/// Octets of keys of one run: their places are 32 bits wide.
const RUN_OCTETS: usize = 1 << 28;

/// Rules, in the order they came, and the runs made so far.
#[derive(Debug, Default)]
pub(super) struct Runs {
    keys: Vec<u8>,
    waiting: Vec<Waiting>,
    runs: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// The key's first eight octets, to be compared first.
    start: u64,
    key_at: u32,
    key_len: u16,
    kind: u32,
    line: u32,
}

impl Runs {
    pub(super) fn push(&mut self, key: &[u8], (kind, line): Placed) {
        if self.waiting.len() == RUN_RULES || self.keys.len() >= RUN_OCTETS {
            self.end_run();
        }
        let mut start = [0; 8];
        let len = key.len().min(8);
        start[..len].copy_from_slice(&key[..len]);
        let (key_at, key_len) = (self.keys.len() as u32, key.len() as u16);
        self.keys.extend_from_slice(key);
        self.waiting.push(Waiting { start: u64::from_be_bytes(start), key_at, key_len, kind, line });
    }

    fn end_run(&mut self) {
        let keys = &self.keys;
        let key = |rule: &Waiting| &keys[rule.key_at as usize..][..usize::from(rule.key_len)];
        self.waiting.sort_unstable_by(|a, b| a.start.cmp(&b.start).then_with(|| key(a).cmp(key(b))));
        let mut run = Vec::new();
        let mut last: &[u8] = &[];
        for rule in &self.waiting {
            let key = key(rule);
            let same = shared(last, key);
            put_varint(&mut run, same as u64);
            put_varint(&mut run, (key.len() - same) as u64);
            run.extend_from_slice(&key[same..]);
            put_varint(&mut run, rule.kind.into());
            put_varint(&mut run, rule.line.into());
            last = key;
        }
        run.shrink_to_fit();
        self.runs.push(run);
        self.keys.clear();
        self.waiting.clear();
    }

    /// All rules by key, to be read as often as needed.
    pub(super) fn finish(mut self) -> SortedRules {
        self.end_run();
        SortedRules { runs: self.runs }
    }
}

/// Rules sorted by key.
#[derive(Debug)]
pub(super) struct SortedRules {
    runs: Vec<Vec<u8>>,
}

impl SortedRules {
    /// What every `step`-th rule's key adds to the one before it in its run.
    pub(super) fn sample(&self, step: usize) -> Vec<&[u8]> {
        let mut sample = Vec::new();
        for run in &self.runs {
            let mut reader = RunReader::new(run);
            let mut i = 0;
            while reader.next() {
                if i % step == 0 && !reader.added().is_empty() {
                    sample.push(reader.added());
                }
                i += 1;
            }
        }
        sample
    }

    /// Gives `each` every key in order, with all its rules.
    pub(super) fn for_each(self, mut each: impl FnMut(&[u8], &mut Vec<Placed>)) {
        let mut heap: BinaryHeap<Reverse<RunReader<'_>>> = BinaryHeap::new();
        for run in &self.runs {
            let mut reader = RunReader::new(run);
            if reader.next() {
                heap.push(Reverse(reader));
            }
        }
        let mut key: Vec<u8> = Vec::new();
        let mut rules: Vec<Placed> = Vec::new();
        while let Some(mut least) = heap.peek_mut() {
            let reader = &mut least.0;
            if rules.is_empty() || reader.key != key {
                if !rules.is_empty() {
                    each(&key, &mut rules);
                    rules.clear();
                }
                key.clear();
                key.extend_from_slice(&reader.key);
            }
            rules.push(reader.rule);
            if !reader.next() {
                PeekMut::pop(least);
            }
        }
        if !rules.is_empty() {
            each(&key, &mut rules);
        }
    }
}

/// A run and the rule it has come to.
struct RunReader<'a> {
    reader: Reader<'a>,
    key: Vec<u8>,
    added: &'a [u8],
    rule: Placed,
}

impl<'a> RunReader<'a> {
    fn new(run: &'a [u8]) -> RunReader<'a> {
        RunReader { reader: Reader::new(run), key: Vec::new(), added: &[], rule: (0, 0) }
    }

    fn added(&self) -> &'a [u8] {
        self.added
    }

    /// Goes on to the next rule. False at the end.
    fn next(&mut self) -> bool {
        self.read().is_some()
    }

    fn read(&mut self) -> Option<()> {
        let same = self.reader.varint()? as usize;
        let added = self.reader.varint()? as usize;
        self.added = self.reader.take(added)?;
        self.key.truncate(same);
        self.key.extend_from_slice(self.added);
        self.rule = (self.reader.varint()? as u32, self.reader.varint()? as u32);
        Some(())
    }
}

impl Ord for RunReader<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for RunReader<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for RunReader<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for RunReader<'_> {}
