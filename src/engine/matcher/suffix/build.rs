//! Rules → the index's octets.

use crate::engine::list::NameRule;
use crate::engine::matcher::suffix::hash::NameHasher;
use crate::engine::matcher::suffix::key::{Key, labels_of_key};
use crate::engine::matcher::suffix::layout::{Header, Section, Sections};
use crate::engine::matcher::suffix::leaf::{Growing, Leaf, shared};
use crate::engine::matcher::suffix::places::PlacesBuilder;
use crate::engine::matcher::suffix::runs::Runs;
use crate::engine::matcher::suffix::standing::{Kind, Standings, put_standings};
use crate::engine::matcher::suffix::symbols::Encoder;
use crate::engine::matcher::suffix::tree::{Heads, write_nodes};
use crate::engine::matcher::suffix::{SuffixTable, filter};
use crate::engine::matcher::{HashSeed, IndexFull};
use crate::engine::name::Labels;
use crate::engine::verdict::ListId;

/// Names whose octets the dictionary is made of: enough that more make it no better.
const SAMPLE: usize = 100_000;
/// What a rule takes at most beside its key: lengths, standing, place, and its share of nodes.
const RULE_OCTETS_MAX: u64 = 16;
/// How often a key is written at most: as twice as many octets of code, and in a separator.
const KEY_COPIES_MAX: u64 = 3;

/// Collects name rules.
#[derive(Debug)]
pub(in crate::engine::matcher) struct SuffixBuilder {
    seed: HashSeed,
    depths: u128,
    standings: Standings,
    runs: Runs,
    rules: u64,
    /// Octets that the index takes at most. Fits 32 bits, so that every place in it does.
    octets_max: u64,
}

impl SuffixBuilder {
    pub(in crate::engine::matcher) fn new(seed: HashSeed) -> SuffixBuilder {
        SuffixBuilder { seed, depths: 0, standings: Standings::new(), runs: Runs::default(), rules: 0, octets_max: 0 }
    }

    pub(in crate::engine::matcher) fn add(&mut self, list: ListId, rule: NameRule<'_>) -> Result<(), IndexFull> {
        let NameRule { name, reach, effect, line } = rule;
        let labels = Labels::of(name);
        let key = Key::of(&labels);
        let octets_max = self.octets_max + KEY_COPIES_MAX * key.whole().len() as u64 + RULE_OCTETS_MAX;
        if octets_max > u32::MAX.into() {
            return Err(IndexFull);
        }
        self.octets_max = octets_max;
        let kind = self.standings.kind(Kind { list, reach, effect });
        self.runs.push(key.whole(), (kind, line));
        self.depths |= 1 << labels.count();
        self.rules += 1;
        Ok(())
    }

    pub(in crate::engine::matcher) fn build(self) -> SuffixTable {
        let SuffixBuilder { seed, depths, mut standings, runs, rules, .. } = self;
        let sorted = runs.finish();
        let encoder = Encoder::train(&sorted.sample((rules as usize / SAMPLE).max(1)));

        let mut out = vec![0; Header::OCTETS];
        let mut heads = Heads::default();
        let mut places = PlacesBuilder::default();
        let mut leaf = Growing::default();
        let mut names = 0;
        let (mut separator, mut last) = (Vec::new(), Vec::new());
        let mut kinds = Vec::new();
        sorted.for_each(|key, rules| {
            if leaf.is_full() {
                let at = out.len();
                leaf.write(&encoder, &mut out);
                heads.push(&separator, out.len() - at);
            }
            if leaf.is_empty() {
                // The fewest octets that come behind the leaf before; the first leaf has none before it.
                separator.clear();
                if names > 0 {
                    separator.extend_from_slice(&key[..=shared(&last, key)]);
                }
                places.next_leaf();
            }
            rules.sort_unstable_by_key(|&(kind, line)| (standings.kinds[kind as usize].list, line));
            places.push(rules);
            kinds.clear();
            kinds.extend(rules.iter().map(|rule| rule.0));
            kinds.sort_unstable();
            kinds.dedup();
            leaf.push(key, standings.number(&kinds));
            last.clear();
            last.extend_from_slice(key);
            names += 1;
        });
        if !leaf.is_empty() {
            let at = out.len();
            leaf.write(&encoder, &mut out);
            heads.push(&separator, out.len() - at);
        }

        let leaves = heads.len();
        let leaves_end = out.len();
        let filter = make_filter(&out[Header::OCTETS..leaves_end], &heads, &encoder, NameHasher::new(seed), names);
        let root = write_nodes(heads, &mut out, Header::OCTETS);

        let PlacesBuilder { octets, starts, .. } = places;
        out.reserve_exact(filter.len() + octets.len() + 4 * starts.len() + (1 << 16));
        let mut sections = Sections::new(Header::OCTETS, &mut out);
        sections.end(Section::Blocks);
        sections.put(Section::Filter, |out| out.extend_from_slice(&filter));
        drop(filter);
        sections.put(Section::Symbols, |out| out.extend_from_slice(&encoder.symbols.to_octets()));
        sections.put(Section::Standings, |out| put_standings(&standings.all, out));
        let kinds = standings.kinds.clone();
        sections.put(Section::Kinds, |out| kinds.iter().for_each(|kind| out.extend_from_slice(&kind.to_octets())));
        sections.put(Section::Sets, |out| standings.into_sets().put(out));
        sections.put(Section::Starts, |out| starts.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes())));
        sections.put(Section::Places, |out| out.extend_from_slice(&octets));
        drop(octets);
        let header = Header { seed, depths, names, rules, leaves: leaves as u64, root, sections: sections.finish() };
        header.write(&mut out);
        out.shrink_to_fit();
        SuffixTable::open(Box::new(out)).expect("what was just written reads well")
    }
}

/// Reads the leaves again, now that the number of names is known.
fn make_filter(leaves: &[u8], heads: &Heads, encoder: &Encoder, hasher: NameHasher, names: u64) -> Vec<u8> {
    let mut filter = vec![0; filter::octets_for(names as usize)];
    let mut at = 0;
    for len in heads.lens() {
        let leaf = Leaf::of(&leaves[at..at + len]).expect("a leaf was written");
        let walked = leaf.walk(&encoder.symbols, |key| {
            let mut hash = hasher.root();
            labels_of_key(key, |label| hash = hasher.below(hash, label))?;
            filter::insert(&mut filter, hash);
            Some(())
        });
        walked.expect("keys of names were written");
        at += len;
    }
    filter
}
