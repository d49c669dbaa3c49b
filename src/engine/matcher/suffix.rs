//! Names → sets of lists, for a name and everything above it, in one walk from the root.
//!
//! One hash table holds every rule's name once, whichever lists have it. An entry is eight octets: where the name's
//! octets lie, and the number of its *standing* — the sets of lists that hold the name itself and all below it. A
//! million names have a few hundred standings. List and line of each rule lie apart, for `explain`.

use std::collections::HashMap;

use hashbrown::HashTable;

use crate::engine::limits::LABELS_MAX;
use crate::engine::list::{Effect, NameRule, Reach};
use crate::engine::matcher::set::{Interner, ListSet, SetId, Sets};
use crate::engine::matcher::{HashSeed, IndexFull};
use crate::engine::name::Labels;
use crate::engine::verdict::ListId;

/// The compiled name rules of all lists.
#[derive(Debug)]
pub struct SuffixTable {
    hasher: NameHasher,
    /// Bit `d` is set when some rule's name has `d` labels; a walk asks nothing at the other depths.
    depths: u128,
    table: HashTable<Entry>,
    /// Every rule's name once, in canonical wire form, end to end.
    octets: Vec<u8>,
    standings: Vec<Standing>,
    sets: Sets,
    /// Sorted by `start`, then list and line. Holds after `build`.
    rules: Vec<PlacedRule>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where the name begins in `octets`.
    start: u32,
    /// Index into `standings`.
    standing: u32,
}

/// What the lists say at one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Standing {
    /// About the name itself: exact and subtree rules.
    itself: Sides,
    /// About the names below: subtree and children rules.
    below: Sides,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Sides {
    listed: SetId,
    excepted: SetId,
}

#[derive(Debug, Clone, Copy)]
struct PlacedRule {
    start: u32,
    line: u32,
    list: ListId,
    reach: Reach,
    effect: Effect,
}

/// Where a rule about a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleAt {
    pub list: ListId,
    pub line: u32,
    pub reach: Reach,
    pub effect: Effect,
}

/// The lists that say something about the name asked, at one depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hit {
    /// Labels of the rules' name, a suffix of the one asked.
    pub depth: u8,
    pub listed: SetId,
    pub excepted: SetId,
}

/// What a look-up found, shallowest first. Made once and used again: it is as long as a name can be deep.
#[derive(Debug, Clone)]
pub struct Hits {
    hits: [Hit; LABELS_MAX + 1],
    len: u8,
}

impl Hits {
    pub fn new() -> Hits {
        Hits { hits: [Hit { depth: 0, listed: SetId::EMPTY, excepted: SetId::EMPTY }; LABELS_MAX + 1], len: 0 }
    }

    pub fn as_slice(&self) -> &[Hit] {
        &self.hits[..usize::from(self.len)]
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, hit: Hit) {
        self.hits[usize::from(self.len)] = hit;
        self.len += 1;
    }
}

impl Default for Hits {
    fn default() -> Hits {
        Hits::new()
    }
}

impl SuffixTable {
    /// Finds every depth at which some list says something about `name`, a canonical wire-form name. What `hits` held
    /// is forgotten. Allocates nothing.
    pub fn look_up(&self, name: &[u8], hits: &mut Hits) {
        hits.len = 0;
        let labels = Labels::of(name);
        let mut hash = self.hasher.root();
        for depth in 0..=labels.count() {
            let suffix = labels.suffix(depth);
            if depth > 0 {
                hash = self.hasher.below(hash, &suffix[..1 + usize::from(suffix[0])]);
            }
            if self.depths & (1 << depth) == 0 {
                continue;
            }
            let Some(entry) = self.find(hash, suffix) else { continue };
            let standing = self.standings[entry.standing as usize];
            let Sides { listed, excepted } = if depth == labels.count() { standing.itself } else { standing.below };
            if !(listed.is_empty() && excepted.is_empty()) {
                hits.push(Hit { depth: depth as u8, listed, excepted });
            }
        }
    }

    fn find(&self, hash: u64, name: &[u8]) -> Option<&Entry> {
        // Wire form ends itself, so octets that are equal for the whole of `name` are the same name.
        self.table.find(hash, |entry| self.octets[entry.start as usize..].starts_with(name))
    }

    /// The lists that hold the name that was looked up: an exception undoes its own list at every depth.
    pub fn listed(&self, hits: &Hits) -> ListSet {
        let mut listed = ListSet::new();
        let mut excepted = ListSet::new();
        for hit in hits.as_slice() {
            listed = listed.union(self.set(hit.listed));
            excepted = excepted.union(self.set(hit.excepted));
        }
        listed.difference(&excepted)
    }

    pub fn set(&self, id: SetId) -> &ListSet {
        self.sets.get(id)
    }

    /// Every rule whose name is exactly `owner`, by list and line. For `explain`, not for queries.
    pub fn rules_at(&self, owner: &[u8]) -> impl Iterator<Item = RuleAt> + '_ {
        let found = self.find(self.hasher.hash(owner), owner).map(|entry| entry.start);
        let from = found.map_or(self.rules.len(), |start| self.rules.partition_point(|rule| rule.start < start));
        self.rules[from..]
            .iter()
            .take_while(move |rule| Some(rule.start) == found)
            .map(|&PlacedRule { line, list, reach, effect, .. }| RuleAt { list, line, reach, effect })
    }

    /// Names that have a rule.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Rules of all lists.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Memory it holds, in octets.
    pub fn bytes(&self) -> usize {
        self.table.allocation_size()
            + self.octets.capacity()
            + self.standings.capacity() * size_of::<Standing>()
            + self.sets.bytes()
            + self.rules.capacity() * size_of::<PlacedRule>()
    }
}

/// What a listed name takes on average, in octets of wire form: 23.8 in ten million real ones.
const OCTETS_PER_NAME: usize = 24;

/// Collects name rules.
#[derive(Debug)]
pub(super) struct SuffixBuilder {
    hasher: NameHasher,
    depths: u128,
    table: HashTable<Entry>,
    octets: Vec<u8>,
    rules: Vec<PlacedRule>,
    /// Names so far. Until `build`, an entry's `standing` is its name's number.
    names: u32,
}

impl SuffixBuilder {
    pub(super) fn new(seed: HashSeed) -> SuffixBuilder {
        SuffixBuilder {
            hasher: NameHasher::new(seed),
            depths: 0,
            table: HashTable::new(),
            octets: Vec::new(),
            rules: Vec::new(),
            names: 0,
        }
    }

    /// Makes room for so many rules in all, so that the table grows once.
    pub(super) fn reserve(&mut self, rules: usize) {
        let SuffixBuilder { hasher, table, octets, .. } = self;
        self.rules.reserve(rules);
        table.reserve(rules, |entry| hasher.hash(name_at(octets, entry.start)));
        octets.reserve(rules.saturating_mul(OCTETS_PER_NAME));
    }

    pub(super) fn add(&mut self, list: ListId, rule: NameRule<'_>) -> Result<(), IndexFull> {
        let SuffixBuilder { hasher, table, octets, .. } = self;
        let end = u32::try_from(octets.len() + rule.name.len()).map_err(|_| IndexFull)?;
        let same = |entry: &Entry| octets[entry.start as usize..].starts_with(rule.name);
        let rehash = |entry: &Entry| hasher.hash(name_at(octets, entry.start));
        let start = match table.entry(hasher.hash(rule.name), same, rehash) {
            hashbrown::hash_table::Entry::Occupied(entry) => entry.get().start,
            hashbrown::hash_table::Entry::Vacant(place) => {
                let start = end - rule.name.len() as u32;
                place.insert(Entry { start, standing: self.names });
                self.names += 1;
                octets.extend_from_slice(rule.name);
                self.depths |= 1 << Labels::of(rule.name).count();
                start
            }
        };
        let NameRule { reach, effect, line, .. } = rule;
        self.rules.push(PlacedRule { start, line, list, reach, effect });
        Ok(())
    }

    pub(super) fn build(mut self) -> SuffixTable {
        self.octets.shrink_to_fit();
        self.rules.shrink_to_fit();
        self.rules.sort_unstable_by_key(|rule| (rule.start, rule.list, rule.line));
        let SuffixBuilder { hasher, depths, mut table, octets, rules, .. } = self;
        // The builder grew by doubling; what stays is as small as it can be.
        table.shrink_to_fit(|entry| hasher.hash(name_at(&octets, entry.start)));
        let mut standings = Standings::new();
        // Names were put down in the order of their numbers, so the n-th group of rules is about the n-th name.
        let standing_of: Vec<u32> =
            rules.chunk_by(|a, b| a.start == b.start).map(|of_one_name| standings.number(of_one_name)).collect();
        for entry in table.iter_mut() {
            entry.standing = standing_of[entry.standing as usize];
        }
        let Standings { all, sets, .. } = standings;
        SuffixTable { hasher, depths, table, octets, standings: all, sets: sets.finish(), rules }
    }
}

/// The name whose octets begin at `start`.
fn name_at(octets: &[u8], start: u32) -> &[u8] {
    let octets = &octets[start as usize..];
    let mut end = 0;
    while octets[end] != 0 {
        end += 1 + usize::from(octets[end]);
    }
    &octets[..=end]
}

/// Gives equal standings the same number.
struct Standings {
    /// The standing of a name that one rule alone is about, which nearly all are.
    of_one_rule: HashMap<(ListId, Reach, Effect), u32>,
    numbers: HashMap<Standing, u32>,
    all: Vec<Standing>,
    sets: Interner,
}

impl Standings {
    fn new() -> Standings {
        Standings { of_one_rule: HashMap::new(), numbers: HashMap::new(), all: Vec::new(), sets: Interner::new() }
    }

    fn number(&mut self, rules: &[PlacedRule]) -> u32 {
        let [rule] = rules else { return self.number_of_many(rules) };
        let key = (rule.list, rule.reach, rule.effect);
        if let Some(&number) = self.of_one_rule.get(&key) {
            return number;
        }
        let number = self.number_of_many(rules);
        self.of_one_rule.insert(key, number);
        number
    }

    fn number_of_many(&mut self, rules: &[PlacedRule]) -> u32 {
        let mut side = |wanted: Effect, others: Reach| {
            let holds = |rule: &&PlacedRule| rule.effect == wanted && rule.reach != others;
            let set: ListSet = rules.iter().filter(holds).map(|rule| rule.list).collect();
            self.sets.number(&set)
        };
        let mut sides =
            |others: Reach| Sides { listed: side(Effect::List, others), excepted: side(Effect::Except, others) };
        let standing = Standing { itself: sides(Reach::Children), below: sides(Reach::Exact) };
        *self.numbers.entry(standing).or_insert_with(|| {
            self.all.push(standing);
            self.all.len() as u32 - 1
        })
    }
}

/// A keyed hash of names that grows by a label at a time from the root, so that one pass over a name hashes every
/// suffix of it. Multiply-and-fold over two words a step; the key is secret, and a collision costs time, never a
/// wrong answer.
#[derive(Debug, Clone, Copy)]
struct NameHasher {
    start: u64,
    key: u64,
}

impl NameHasher {
    fn new(seed: HashSeed) -> NameHasher {
        // Digits of pi: a zero seed must not make a zero key, which would fold everything to nothing.
        NameHasher { start: seed.0 ^ 0x243f_6a88_85a3_08d3, key: seed.1 ^ 0x1319_8a2e_0370_7344 }
    }

    fn root(&self) -> u64 {
        self.start
    }

    /// The hash of a name from its parent's. `label` has its length octet, so that no two names run together.
    fn below(&self, parent: u64, label: &[u8]) -> u64 {
        let mut hash = parent;
        let mut rest = label;
        while rest.len() > 16 {
            hash = self.step(hash, word(rest, 0), word(rest, 8));
            rest = &rest[16..];
        }
        let (low, high) = match rest.len() {
            8.. => (word(rest, 0), word(rest, rest.len() - 8)),
            4.. => (half(rest, 0), half(rest, rest.len() - 4)),
            // One to three octets: the first, the middle and the last.
            n => (u64::from(rest[0]), u64::from(rest[n / 2]) << 8 | u64::from(rest[n - 1])),
        };
        self.step(hash, low, high)
    }

    fn step(&self, hash: u64, low: u64, high: u64) -> u64 {
        let product = u128::from(hash ^ low) * u128::from(self.key ^ high);
        product as u64 ^ (product >> 64) as u64
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let labels = Labels::of(name);
        labels
            .from_root()
            .fold(self.root(), |hash, (_, suffix)| self.below(hash, &suffix[..1 + usize::from(suffix[0])]))
    }
}

fn word(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(octets[at..at + 8].try_into().expect("the slice has eight octets"))
}

fn half(octets: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(octets[at..at + 4].try_into().expect("the slice has four octets")))
}
