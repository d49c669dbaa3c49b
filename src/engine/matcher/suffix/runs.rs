//! Rules on their way into the index: the names of one list, sorted in runs that are written short, and the merge.
//!
//! A rule as it comes is some fifty octets; in a run it is a third of that, because each name is written as what it adds
//! to its neighbour. So ten million rules never lie about as they came.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use crate::engine::limits::NAME_OCTETS_MAX;
use crate::engine::list::{Effect, NameRule, RuleSet};
use crate::engine::matcher::room::{Lost, Put, Room};
use crate::engine::matcher::suffix::key::{KEY_OCTETS_MAX, Key, name_of_key};
use crate::engine::matcher::suffix::leaf::shared;
use crate::engine::matcher::suffix::octets::{Reader, put_varint};
use crate::engine::matcher::suffix::places::Placed;
use crate::engine::matcher::suffix::standing::{SAYS, said, says};
use crate::engine::name::Labels;

/// Rules that one run sorts at a time: some 12 MB.
const RUN_RULES: usize = 1 << 18;
/// A run that is shorter stays on the heap: a file would not be worth it.
const AWAY_OCTETS_MIN: usize = 1 << 16;
/// Octets of a run of rules that come sorted.
const SORTED_OCTETS: usize = 1 << 22;
/// Octets of a run that are fetched at a time. Chosen.
const FETCH_OCTETS: u64 = 1 << 16;
/// More than a rule takes in a run: a key, an octet and three numbers.
const RULE_READ_OCTETS: usize = KEY_OCTETS_MAX + 32;
/// Rules that are shown at a time.
const BATCH_RULES: usize = 1 << 12;
/// Octets of keys of one run: their places are 32 bits wide.
const RUN_OCTETS: usize = 1 << 28;
/// What a rule takes in an index at most beside its key: lengths, standing, place, and its share of nodes.
const RULE_OCTETS_MAX: u64 = 16;
/// How often an index writes a key at most: as twice as many octets of code, and in a separator.
const KEY_COPIES_MAX: u64 = 3;

/// The name rules of one list.
#[derive(Debug, Default, Clone)]
pub(in crate::engine::matcher) struct Runs {
    runs: Vec<Arc<Run>>,
    /// Where runs are put; `None`: they stay on the heap.
    room: Option<Arc<dyn Room>>,
    waiting: Vec<Waiting>,
    /// Keys of what waits; of rules that come sorted, the last one's.
    keys: Vec<u8>,
    /// A run of rules that come sorted.
    sorted: Vec<u8>,
    /// Bit `d` is set when some rule's name has `d` labels.
    pub(super) depths: u128,
    pub(super) rules: u64,
    /// Bit by [`says`]: kinds of rules that there are.
    pub(super) said: u16,
    /// What these rules take in an index at most.
    pub(super) octets_max: u64,
}

/// Rules in the order of their keys, each key as what it adds to the one before.
#[derive(Debug)]
enum Run {
    Here(Vec<u8>),
    Away(Box<dyn Put>, u64),
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
    pub(in crate::engine::matcher) fn in_room(room: Option<Arc<dyn Room>>) -> Runs {
        Runs { room, ..Runs::default() }
    }

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

    /// Makes a run of what waits.
    pub(in crate::engine::matcher) fn end_run(&mut self) {
        if !self.sorted.is_empty() {
            let run = std::mem::take(&mut self.sorted);
            self.put(run);
            self.keys.clear();
        }
        if self.waiting.is_empty() {
            return;
        }
        let Runs { keys, waiting, .. } = self;
        let key = |rule: &Waiting| &keys[rule.key_at as usize..][..usize::from(rule.key_len)];
        waiting.sort_unstable_by(|a, b| a.start.cmp(&b.start).then_with(|| key(a).cmp(key(b))));
        // Most rules take a few octets less than they come with.
        let mut run = Vec::with_capacity(keys.len());
        let mut last: &[u8] = &[];
        for rule in waiting.iter() {
            let key = key(rule);
            put_rule(&mut run, last, key, rule.says, rule.line);
            last = key;
        }
        waiting.clear();
        keys.clear();
        self.put(run);
    }

    /// Nothing more comes, so that the rules take as little as they can.
    pub(in crate::engine::matcher) fn end(&mut self) {
        self.end_run();
        (self.waiting, self.keys) = (Vec::new(), Vec::new());
    }

    /// Where there is no room elsewhere, a run stays here.
    fn put(&mut self, mut run: Vec<u8>) {
        let room = self.room.as_ref().filter(|_| run.len() >= AWAY_OCTETS_MIN);
        let away = room.and_then(|room| room.put(&run).ok());
        self.runs.push(Arc::new(match away {
            Some(away) => Run::Away(away, run.len() as u64),
            None => {
                run.shrink_to_fit();
                Run::Here(run)
            }
        }));
    }

    /// Adds a rule whose name comes at or behind all names so far, all of which were added so.
    pub(in crate::engine::matcher) fn push_sorted(&mut self, rule: NameRule<'_>) {
        let labels = Labels::of(rule.name);
        let key = Key::of(&labels);
        let says = self.count(&labels, key.whole(), rule);
        if self.room.is_some() && self.sorted.len() >= SORTED_OCTETS {
            self.end_run();
        }
        put_rule(&mut self.sorted, &self.keys, key.whole(), says, rule.line);
        self.keys.clear();
        self.keys.extend_from_slice(key.whole());
    }

    /// Takes over the runs of others; nothing of theirs waits.
    pub(in crate::engine::matcher) fn absorb(&mut self, mut other: Runs) {
        other.end();
        self.runs.extend(other.runs);
        self.depths |= other.depths;
        self.rules += other.rules;
        self.said |= other.said;
        self.octets_max += other.octets_max;
    }

    /// Gives `each` all rules in batches, in no order. All rules are in runs.
    pub(in crate::engine::matcher) fn walk(&self, each: &mut dyn FnMut(&RuleSet)) -> Result<(), Lost> {
        let mut wire = [0; NAME_OCTETS_MAX];
        let mut batch = RuleSet::default();
        // The kinds of a run that knows no list: what each rule says.
        let kinds = std::array::from_fn(|says| says as u32);
        for run in &self.runs {
            let mut reader = RunReader::new(run, &kinds);
            while reader.next()? {
                let (reach, effect) = said(reader.rule.0 as usize);
                let Some(name) = name_of_key(&reader.key, &mut wire) else { continue };
                batch.push_wire(name, reach, effect, reader.rule.1);
                if batch.names().len() == BATCH_RULES {
                    each(&batch);
                    batch.clear_names();
                }
            }
        }
        each(&batch);
        Ok(())
    }

    /// Leaves out the listing rules on these names, in canonical wire form, and tells `each` of every one with its line. All
    /// rules are in runs.
    pub(in crate::engine::matcher) fn leave_out<'a>(
        &mut self,
        names: impl Iterator<Item = &'a [u8]>,
        mut each: impl FnMut(&[u8], u32),
    ) -> Result<(), Lost> {
        let names: BTreeMap<Vec<u8>, &[u8]> =
            names.map(|name| (Key::of(&Labels::of(name)).whole().to_vec(), name)).collect();
        let kinds = std::array::from_fn(|says| says as u32);
        for run in std::mem::take(&mut self.runs) {
            let mut reader = RunReader::new(&run, &kinds);
            let (mut rest, mut last) = (Vec::new(), Vec::new());
            let before = self.rules;
            while reader.next()? {
                let (says, line) = reader.rule;
                let is_listing = said(says as usize).1 == Effect::List;
                if let Some(name) = names.get(&reader.key).filter(|_| is_listing) {
                    each(name, line);
                    self.rules -= 1;
                    continue;
                }
                put_rule(&mut rest, &last, &reader.key, says as u8, line);
                last.clone_from(&reader.key);
            }
            if self.rules == before {
                self.runs.push(run);
            } else {
                self.put(rest);
            }
        }
        Ok(())
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
    pub(super) fn sample(&self, step: usize, sample: &mut Vec<Vec<u8>>) -> Result<(), Lost> {
        for run in &self.runs {
            let mut reader = RunReader::new(run, &[0; SAYS]);
            let mut i = 0;
            while reader.next()? {
                if i % step == 0 && reader.shared < reader.key.len() {
                    sample.push(reader.key[reader.shared..].to_vec());
                }
                i += 1;
            }
        }
        Ok(())
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
pub(super) fn merge<'a>(
    lists: impl Iterator<Item = (&'a Runs, &'a [u32; SAYS])>,
    mut each: impl FnMut(&[u8], &mut Vec<Placed>) -> Result<(), Lost>,
) -> Result<(), Lost> {
    let mut heap: BinaryHeap<Reverse<RunReader<'_>>> = BinaryHeap::new();
    for (runs, kinds) in lists {
        for run in &runs.runs {
            let mut reader = RunReader::new(run, kinds);
            if reader.next()? {
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
                each(&key, &mut rules)?;
                rules.clear();
            }
            key.clear();
            key.extend_from_slice(&reader.key);
        }
        rules.push(reader.rule);
        if !reader.next()? {
            PeekMut::pop(least);
        }
    }
    if rules.is_empty() { Ok(()) } else { each(&key, &mut rules) }
}

/// A run and the rule it has come to.
struct RunReader<'a> {
    /// What is here of the run.
    octets: Cow<'a, [u8]>,
    at: usize,
    /// What is not, and where that begins and ends.
    away: Option<(&'a dyn Put, u64, u64)>,
    kinds: &'a [u32; SAYS],
    key: Vec<u8>,
    /// Octets of the key that the one before has too.
    shared: usize,
    rule: Placed,
}

impl<'a> RunReader<'a> {
    fn new(run: &'a Run, kinds: &'a [u32; SAYS]) -> RunReader<'a> {
        let (octets, away) = match run {
            Run::Here(octets) => (&octets[..], None),
            Run::Away(put, len) => (&[][..], Some((&**put, 0, *len))),
        };
        RunReader { octets: Cow::Borrowed(octets), at: 0, away, kinds, key: Vec::new(), shared: 0, rule: (0, 0) }
    }

    /// Goes on to the next rule. False at the end.
    fn next(&mut self) -> Result<bool, Lost> {
        if self.octets.len() - self.at < RULE_READ_OCTETS && self.away.is_some() {
            self.fetch()?;
        }
        Ok(self.read().is_some())
    }

    fn read(&mut self) -> Option<()> {
        let mut reader = Reader { octets: &self.octets, at: self.at };
        let same = reader.varint()? as usize;
        let added = reader.varint()? as usize;
        self.key.truncate(same);
        self.key.extend_from_slice(reader.take(added)?);
        self.shared = same;
        let says = reader.u8()?;
        self.rule = (self.kinds[usize::from(says)], reader.varint()? as u32);
        self.at = reader.at;
        Some(())
    }

    #[cold]
    fn fetch(&mut self) -> Result<(), Lost> {
        let Some((put, from, end)) = self.away else { return Ok(()) };
        let octets = self.octets.to_mut();
        octets.drain(..self.at);
        self.at = 0;
        let count = (end - from).min(FETCH_OCTETS);
        let here = octets.len();
        octets.resize(here + count as usize, 0);
        put.read(from, &mut octets[here..])?;
        self.away = (from + count < end).then_some((put, from + count, end));
        Ok(())
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
