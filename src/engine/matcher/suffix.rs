//! Names → sets of lists, for a name and everything above it, in one walk from the root.
//!
//! The names lie in flat octets, seven or eight each (`layout`), on the heap or in a mapped file: a filter that most
//! questions do not pass, then leaves of sorted keys under a tree of their separators. With each key lies the number of
//! its *standing* — the sets of lists that hold the name itself and all below it. List and line of each rule lie apart,
//! for `explain` and for the index that follows this one.
//!
//! A hit rests on a compare of the whole name (I15). Octets from elsewhere are read with bounds: a damaged index may give
//! wrong answers, and nothing worse.

mod build;
mod filter;
mod hash;
pub(super) mod key;
mod layout;
mod leaf;
mod octets;
mod places;
mod runs;
pub(super) mod standing;
mod symbols;
mod tree;

use std::fmt;

use smallvec::SmallVec;

use crate::engine::limits::NAME_OCTETS_MAX;
use crate::engine::list::{Effect, NameRule, Reach};
use crate::engine::matcher::HashSeed;
use crate::engine::matcher::set::{ListSet, SetId, Sets};
use crate::engine::name::Labels;
use crate::engine::verdict::ListId;
pub(in crate::engine) use hash::NameHasher;
use key::{Asked, Key, name_of_key};
use layout::{Header, Section};
use leaf::Leaf;
use places::Places;
use standing::{Kind, Standing, read_standings};
use symbols::Symbols;
pub(super) use tree::Block;

pub(super) use build::build;
pub use layout::OpenError;
pub use octets::Octets;
pub(super) use runs::Runs;

/// The compiled name rules of all lists.
pub struct SuffixTable {
    octets: Box<dyn Octets>,
    header: Header,
    hasher: NameHasher,
    symbols: Symbols,
    standings: Vec<Standing>,
    sets: Sets,
    kinds: Vec<Kind>,
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

/// What a look-up found, shallowest first; at one depth a hit for each layer. Made once and used again.
#[derive(Debug, Clone, Default)]
pub struct Hits {
    hits: SmallVec<[Hit; HITS_INLINE]>,
}

/// Hits that need no memory of their own. Chosen: a name has some four labels, an index two or three layers.
const HITS_INLINE: usize = 16;

impl Hits {
    pub fn new() -> Hits {
        Hits::default()
    }

    pub fn as_slice(&self) -> &[Hit] {
        &self.hits
    }

    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.hits.clear();
    }

    pub(super) fn extend(&mut self, hit: Option<Hit>) {
        self.hits.extend(hit);
    }
}

/// A key that was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    leaf: usize,
    place: usize,
    standing: u32,
}

impl SuffixTable {
    /// Serves from `octets`, which a builder made here or elsewhere. They may be anybody's: what they say may be wrong,
    /// but it is read with bounds.
    pub fn open(octets: Box<dyn Octets>) -> Result<SuffixTable, OpenError> {
        let all = (*octets).as_ref();
        let header = Header::read(all)?;
        let section = |section| &all[header.range(section)];
        let symbols = Symbols::from_octets(section(Section::Symbols)).ok_or(OpenError::Damaged("its symbols"))?;
        let sets = Sets::from_octets(section(Section::Sets)).ok_or(OpenError::Damaged("its sets"))?;
        let standings =
            read_standings(section(Section::Standings), &sets).ok_or(OpenError::Damaged("its standings"))?;
        let (kinds, _) = section(Section::Kinds).as_chunks::<4>();
        let kinds = kinds.iter().map(|&kind| Kind::from_octets(kind)).collect::<Option<Vec<Kind>>>();
        let kinds = kinds.ok_or(OpenError::Damaged("its kinds of rules"))?;
        let hasher = NameHasher::new(header.seed);
        Ok(SuffixTable { octets, header, hasher, symbols, standings, sets, kinds })
    }

    /// The whole index, to be written to a file and opened again.
    pub fn as_octets(&self) -> &[u8] {
        (*self.octets).as_ref()
    }

    fn section(&self, section: Section) -> &[u8] {
        // Octets that shrink after `open` would be somebody's bug, not a reason to go down.
        self.as_octets().get(self.header.range(section)).unwrap_or(&[])
    }

    /// What queries read.
    pub(super) fn at_hand(&self) -> AtHand<'_> {
        let (filter, blocks) = (self.section(Section::Filter), self.section(Section::Blocks));
        AtHand { table: self, depths: self.header.depths, filter, blocks }
    }

    /// The hash of each suffix of a name, with its labels, the shortest first.
    pub(super) fn hashes<'a>(&self, labels: &'a Labels<'_>) -> impl Iterator<Item = (u8, u64)> + use<'a> {
        let hasher = self.hasher;
        labels.from_root().scan(hasher.root(), move |hash, (depth, suffix)| {
            *hash = hasher.below(*hash, &suffix[..1 + usize::from(suffix[0])]);
            Some((depth, *hash))
        })
    }

    /// The number of the standing of exactly this key's name.
    pub(super) fn standing_of(&self, asked: Asked<'_>) -> Option<usize> {
        self.find(asked).map(|found| found.standing as usize)
    }

    pub(super) fn standings(&self) -> &[Standing] {
        &self.standings
    }

    pub(super) fn set(&self, id: SetId) -> &ListSet {
        self.sets.get(id)
    }

    /// What its names are hashed with.
    pub fn seed(&self) -> HashSeed {
        self.header.seed
    }

    fn find(&self, asked: Asked<'_>) -> Option<Found> {
        let (leaf_number, leaf) = tree::leaf_of(self.section(Section::Blocks), self.header.root, asked.as_slice())?;
        let leaf = Leaf::of(leaf)?;
        let place = leaf.find(&self.symbols, asked)?;
        Some(Found { leaf: leaf_number, place, standing: leaf.standing(place)? })
    }

    /// Every rule whose name is exactly `owner`, by list and line. For `explain`, not for queries.
    pub fn rules_at(&self, owner: &[u8]) -> impl Iterator<Item = RuleAt> + '_ {
        let labels = Labels::of(owner);
        let mut rules = Vec::new();
        if let Some(found) = self.find(Key::of(&labels).upto(labels.count()))
            && let Some(mut places) = self.places(found.leaf)
        {
            for _ in 0..=found.place {
                rules.clear();
                if places.next(|rule| rules.push(rule)).is_none() {
                    break;
                }
            }
        }
        rules.into_iter()
    }

    fn places(&self, leaf: usize) -> Option<Places<'_>> {
        Places::of_leaf(self.section(Section::Places), self.section(Section::Starts), leaf, &self.kinds)
    }

    /// Gives `each` every rule, by name from the root: what the next index takes over from lists that did not change, or
    /// whose text cannot be had any more (I6). Reads the whole index.
    pub fn for_each_rule(&self, mut each: impl FnMut(ListId, NameRule<'_>)) {
        let blocks = self.section(Section::Blocks);
        let mut wire = [0; NAME_OCTETS_MAX];
        let mut rules = Vec::new();
        tree::for_each_leaf(blocks, self.header.root, |number, leaf| {
            let mut places = self.places(number)?;
            Leaf::of(leaf)?.walk(&self.symbols, |key| {
                rules.clear();
                places.next(|rule| rules.push(rule))?;
                let name = name_of_key(key, &mut wire)?;
                for &RuleAt { list, line, reach, effect } in &rules {
                    each(list, NameRule { name, reach, effect, line });
                }
                Some(())
            })
        });
    }

    /// Names that have a rule.
    pub fn len(&self) -> usize {
        self.header.names as usize
    }

    pub fn is_empty(&self) -> bool {
        self.header.names == 0
    }

    /// Rules of all lists.
    pub fn rule_count(&self) -> usize {
        self.header.rules as usize
    }

    /// Octets that queries read.
    pub fn hot_octets(&self) -> usize {
        self.header.range(Section::Blocks).len() + self.header.range(Section::Filter).len()
    }

    /// Octets of list and line of every rule, which queries do not read.
    pub fn cold_octets(&self) -> usize {
        self.header.range(Section::Starts).len() + self.header.range(Section::Places).len()
    }
}

/// The parts of a table that queries read, looked up in its octets once for many of them.
#[derive(Clone, Copy)]
pub(super) struct AtHand<'a> {
    pub table: &'a SuffixTable,
    depths: u128,
    filter: &'a [u8],
    blocks: &'a [u8],
}

/// A name's place in a filter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    hash: u64,
    /// Where its line begins. An index is smaller than 4 GiB; in a file that says otherwise names are not found.
    line: u32,
}

impl<'a> AtHand<'a> {
    /// Where to ask whether the name of this hash, which has so many labels, may be held. `None`: no name here has as many.
    #[inline]
    pub(super) fn probe(&self, depth: u8, hash: u64) -> Option<Probe> {
        self.has_depth(depth).then(|| Probe { hash, line: filter::line_of(self.filter.len(), hash) as u32 })
    }

    /// Whether some name here has so many labels.
    #[inline]
    pub(super) fn has_depth(&self, depth: u8) -> bool {
        self.depths >> depth & 1 == 1
    }

    /// Whether the name may be held.
    #[inline]
    pub(super) fn passes(&self, probe: Probe) -> bool {
        self.filter_line(probe).is_some_and(|line| filter::may_hold(line, probe.hash))
    }

    /// What [`AtHand::passes`] reads.
    #[inline]
    pub(super) fn filter_line(&self, probe: Probe) -> Option<&'a [u8; filter::LINE]> {
        self.filter.get(probe.line as usize..)?.first_chunk()
    }

    /// Where the way to every leaf begins.
    pub(super) fn root(&self) -> Block {
        Block::root(self.table.header.root)
    }

    /// One step on the way to the leaf of a key.
    pub(super) fn below(&self, block: Block, asked: Asked<'_>) -> Option<Block> {
        block.below(self.blocks, asked.as_slice())
    }

    pub(super) fn block(&self, block: Block) -> &'a [u8] {
        block.octets(self.blocks).unwrap_or(&[])
    }

    /// The number of the standing of exactly this key's name, whose leaf this is.
    pub(super) fn standing_in(&self, leaf: Block, asked: Asked<'_>) -> Option<usize> {
        let leaf = Leaf::of(self.block(leaf))?;
        Some(leaf.standing(leaf.find(&self.table.symbols, asked)?)? as usize)
    }
}

impl fmt::Debug for SuffixTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuffixTable").field("header", &self.header).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
