//! Rules on their way into the index: the names of one list, sorted in runs that are written short, and the merge.
//!
//! A rule as it comes is some fifty octets; in a run it is a third of that, because each name is written as what it adds
//! to its neighbour. So ten million rules never lie about as they came.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::engine::list::NameRule;
use crate::engine::matcher::suffix::key::Key;
use crate::engine::matcher::suffix::leaf::shared;
use crate::engine::matcher::suffix::octets::{Reader, put_varint};
use crate::engine::matcher::suffix::places::Placed;
use crate::engine::matcher::suffix::standing::{SAYS, says};
use crate::engine::name::Labels;

/// Rules that one run sorts at a time; what they take fits a large cache.
const RUN_RULES: usize = 1 << 20;
/// Octets of keys of one run: their places are 32 bits wide.
const RUN_OCTETS: usize = 1 << 28;
/// What a rule takes in an index at most beside its key: lengths, standing, place, and its share of nodes.
const RULE_OCTETS_MAX: u64 = 16;
/// How often an index writes a key at most: as twice as many octets of code, and in a separator.
const KEY_COPIES_MAX: u64 = 3;

/// The name rules of one list.
#[derive(Debug, Default)]
pub(in crate::engine::matcher) struct Runs {
    runs: Vec<Vec<u8>>,
    waiting: Vec<Waiting>,
    /// Keys of what waits.
    keys: Vec<u8>,
    /// Bit `d` is set when some rule's name has `d` labels.
    pub(super) depths: u128,
    pub(super) rules: u64,
    /// Bit by [`says`]: kinds of rules that there are.
    pub(super) said: u16,
    /// What these rules take in an index at most.
    pub(super) octets_max: u64,
}

/// A rule that is not in a run yet.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// The key's first eight octets, to be compared first.
    start: u64,
    key_at: u32,
    line: u32,
    key_len: u16,
    says: u8,
}

impl Runs {
    pub(in crate::engine::matcher) fn push(&mut self, rule: NameRule<'_>) {
        if self.waiting.len() == RUN_RULES || self.keys.len() >= RUN_OCTETS {
            self.end_run();
        }
        let labels = Labels::of(rule.name);
        let key = Key::of(&labels);
        let key = key.whole();
        let mut start = [0; 8];
        let len = key.len().min(8);
        start[..len].copy_from_slice(&key[..len]);
        let says = self.count(&labels, key, rule);
        self.waiting.push(Waiting {
            start: u64::from_be_bytes(start),
            key_at: self.keys.len() as u32,
            line: rule.line,
            key_len: key.len() as u16,
            says,
        });
        self.keys.extend_from_slice(key);
    }

    /// Makes a run of what waits, so that the rules take as little as they can.
    pub(in crate::engine::matcher) fn end_run(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (keys, mut waiting) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.waiting));
        let key = |rule: &Waiting| &keys[rule.key_at as usize..][..usize::from(rule.key_len)];
        waiting.sort_unstable_by(|a, b| a.start.cmp(&b.start).then_with(|| key(a).cmp(key(b))));
        let mut run = Vec::new();
        let mut last: &[u8] = &[];
        for rule in &waiting {
            let key = key(rule);
            put_rule(&mut run, last, key, rule.says, rule.line);
            last = key;
        }
        run.shrink_to_fit();
        self.runs.push(run);
    }

    /// Adds a rule whose name comes at or behind all names so far, all of which were added so.
    pub(in crate::engine::matcher) fn push_sorted(&mut self, rule: NameRule<'_>) {
        let labels = Labels::of(rule.name);
        let key = Key::of(&labels);
        let says = self.count(&labels, key.whole(), rule);
        if self.runs.is_empty() {
            self.runs.push(Vec::new());
        }
        // What waits for nothing needs one key only: the last.
        put_rule(&mut self.runs[0], &self.keys, key.whole(), says, rule.line);
        self.keys.clear();
        self.keys.extend_from_slice(key.whole());
    }

    fn count(&mut self, labels: &Labels<'_>, key: &[u8], rule: NameRule<'_>) -> u8 {
        let says = says(rule.reach, rule.effect);
        self.depths |= 1 << labels.count();
        self.rules += 1;
        self.said |= 1 << says;
        self.octets_max += KEY_COPIES_MAX * key.len() as u64 + RULE_OCTETS_MAX;
        says
    }

    /// What every `step`-th rule's key adds to the one before it in its run. All rules are in runs.
    pub(super) fn sample<'a>(&'a self, step: usize, sample: &mut Vec<&'a [u8]>) {
        for run in &self.runs {
            let mut reader = RunReader::new(run, &[0; SAYS]);
            let mut i = 0;
            while reader.next() {
                if i % step == 0 && !reader.added.is_empty() {
                    sample.push(reader.added);
                }
                i += 1;
            }
        }
    }
}

fn put_rule(run: &mut Vec<u8>, last: &[u8], key: &[u8], says: u8, line: u32) {
    let same = shared(last, key);
    put_varint(run, same as u64);
    put_varint(run, (key.len() - same) as u64);
    run.extend_from_slice(&key[same..]);
    run.push(says);
    put_varint(run, line.into());
}

/// Gives `each` every key of all lists in order, with all its rules. A list comes with the number of each kind of its
/// rules.
pub(super) fn merge(lists: &[(Runs, [u32; SAYS])], mut each: impl FnMut(&[u8], &mut Vec<Placed>)) {
    let mut heap: BinaryHeap<Reverse<RunReader<'_>>> = BinaryHeap::new();
    for (runs, kinds) in lists {
        for run in &runs.runs {
            let mut reader = RunReader::new(run, kinds);
            if reader.next() {
                heap.push(Reverse(reader));
            }
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

/// A run and the rule it has come to.
struct RunReader<'a> {
    reader: Reader<'a>,
    kinds: &'a [u32; SAYS],
    key: Vec<u8>,
    added: &'a [u8],
    rule: Placed,
}

impl<'a> RunReader<'a> {
    fn new(run: &'a [u8], kinds: &'a [u32; SAYS]) -> RunReader<'a> {
        RunReader { reader: Reader::new(run), kinds, key: Vec::new(), added: &[], rule: (0, 0) }
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
        let says = self.reader.u8()?;
        self.rule = (self.kinds[usize::from(says)], self.reader.varint()? as u32);
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
