//! Several tables asked as one: lists that change together lie in one layer, so that a rule of our own that changes leaves
//! ten million others where they are.
//!
//! A layer numbers its lists for itself and never changes. Where it is put into an index, its sets of lists are made anew
//! in the index's numbers — a few hundred sets, never the names.

mod together;

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::engine::limits::{LABELS_MAX, LAYERS_MAX, LISTS_MAX};
use crate::engine::list::special::SpecialRule;
use crate::engine::matcher::address::{AddressRuleAt, AddressTable};
use crate::engine::matcher::set::{Interner, ListSet, SetId, Sets};
use crate::engine::matcher::special::{RuleNumber, SpecialTable};
use crate::engine::matcher::suffix::key::Key;
use crate::engine::matcher::suffix::standing::{Sides, Standing};
use crate::engine::matcher::suffix::{AtHand, Hit, Hits, Probe, RuleAt, SuffixTable};
use crate::engine::name::Labels;
use crate::engine::verdict::ListId;

/// The rules of some lists. Shared by every generation from the first that has them to the last.
#[derive(Debug)]
pub struct Layer {
    pub names: SuffixTable,
    pub addresses: AddressTable,
    pub special: SpecialTable,
}

/// A layer at its place in an index.
#[derive(Debug, Clone)]
pub struct Placed {
    pub layer: Arc<Layer>,
    /// By the layer's own number of a list, the index's; `None`: the list is not in the index any more.
    pub lists: Vec<Option<ListId>>,
}

pub use together::Together;

/// Every list's rules, ready to be asked.
#[derive(Debug)]
pub struct Index {
    pub names: Names,
    pub addresses: Addresses,
    pub special: Specials,
}

impl Index {
    /// An index of these layers, whose lists have different numbers.
    ///
    /// # Panics
    /// With more than [`LAYERS_MAX`] layers; the caller counts them.
    pub fn new(mut layers: Vec<Placed>) -> Index {
        assert!(layers.len() <= LAYERS_MAX, "{} layers of at most {LAYERS_MAX}", layers.len());
        // Those that hash alike lie together: a name is hashed once for all of them.
        layers.sort_by_key(|placed| placed.layer.names.seed());
        let (addresses, special) = (Addresses::new(&layers), Specials::new(&layers));
        Index { names: Names::new(layers), addresses, special }
    }

    /// A layer by itself, its lists with the numbers that they have in it.
    pub fn of(layer: Layer) -> Index {
        let lists = (0..LISTS_MAX as u16).map(|list| Some(ListId(list))).collect();
        Index::new(vec![Placed { layer: Arc::new(layer), lists }])
    }
}

/// The names of every layer.
#[derive(Debug)]
pub struct Names {
    layers: Vec<NameLayer>,
    sets: Sets,
}

#[derive(Debug)]
struct NameLayer {
    placed: Placed,
    /// The layer's standings with the index's sets.
    standings: Vec<Standing>,
}

/// The tables of every layer, ready to be asked about many names.
struct Tables<'a> {
    all: SmallVec<[AtHand<'a>; LAYERS_MAX]>,
    /// The places of those that hash alike: one range unless files come from elsewhere.
    alike: SmallVec<[Range<usize>; 1]>,
}

impl Tables<'_> {
    /// Gives `each` what to ask the filters about a name: layer, depth and place. Of layers that hash alike, the shortest suffix
    /// comes first.
    #[inline]
    fn for_each_probe(&self, labels: &Labels<'_>, mut each: impl FnMut(usize, u8, Probe)) {
        for alike in &self.alike {
            for (depth, hash) in self.all[alike.start].table.hashes(labels) {
                for layer in alike.clone() {
                    if let Some(probe) = self.all[layer].probe(depth, hash) {
                        each(layer, depth, probe);
                    }
                }
            }
        }
    }

    /// The layers that have a rule about the root, of which no filter is asked.
    fn with_root(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.all.len()).filter(|layer| self.all[*layer].has_depth(0))
    }
}

impl Names {
    fn new(layers: Vec<Placed>) -> Names {
        let mut sets = Interner::new();
        let layers = layers
            .into_iter()
            .map(|placed| {
                let table = &placed.layer.names;
                let standings = table.standings().iter().map(|standing| {
                    let mut side = |id: SetId| sets.number(&moved(table.set(id), &placed.lists));
                    let mut sides = |sides: Sides| Sides { listed: side(sides.listed), excepted: side(sides.excepted) };
                    Standing { itself: sides(standing.itself), below: sides(standing.below) }
                });
                let standings = standings.collect();
                NameLayer { placed, standings }
            })
            .collect();
        Names { layers, sets: sets.finish() }
    }

    /// Finds every depth at which some list says something about `name`, a canonical wire-form name; shallowest first,
    /// and at one depth a hit for each layer. What `hits` held is forgotten. Allocates only for more hits than any real
    /// name has.
    pub fn look_up(&self, name: &[u8], hits: &mut Hits) {
        hits.clear();
        let labels = Labels::of(name);
        let tables = self.at_hand();
        let mut maybe = [0; LAYERS_MAX];
        // The filters are asked at every depth before anything else: the lines that this waits for are read side by side.
        tables.for_each_probe(&labels, |layer, depth, probe| {
            maybe[layer] |= u128::from(tables.all[layer].passes(probe)) << depth;
        });
        for layer in tables.with_root() {
            maybe[layer] |= 1;
        }
        let mut key = None;
        for_each_maybe(&maybe, |number, depth| {
            let key = key.get_or_insert_with(|| Key::of(&labels));
            let standing = tables.all[number].table.standing_of(key.upto(depth));
            hits.extend(self.layers[number].hit(depth, labels.count(), standing));
        });
    }

    fn at_hand(&self) -> Tables<'_> {
        let all: SmallVec<[AtHand<'_>; LAYERS_MAX]> = self.tables().map(SuffixTable::at_hand).collect();
        let mut end = 0;
        let alike = all.chunk_by(|a, b| a.table.seed() == b.table.seed()).map(|alike| {
            let start = end;
            end += alike.len();
            start..end
        });
        Tables { alike: alike.collect(), all }
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

    /// Every rule whose name is exactly `owner`, by list and line in each layer. For `explain`, not for queries.
    pub fn rules_at<'a>(&'a self, owner: &'a [u8]) -> impl Iterator<Item = RuleAt> + 'a {
        self.layers.iter().flat_map(move |layer| {
            let rules = layer.table().rules_at(owner);
            rules.filter_map(|rule| Some(RuleAt { list: place(rule.list, &layer.placed.lists)?, ..rule }))
        })
    }

    /// The layers, in no order that means anything.
    pub fn layers(&self) -> impl Iterator<Item = &Placed> {
        self.layers.iter().map(|layer| &layer.placed)
    }

    fn tables(&self) -> impl Iterator<Item = &SuffixTable> {
        self.layers.iter().map(NameLayer::table)
    }

    /// Names that have a rule; one that has rules in several layers counts in each.
    pub fn len(&self) -> usize {
        self.tables().map(SuffixTable::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.tables().all(SuffixTable::is_empty)
    }

    /// Rules of all lists.
    pub fn rule_count(&self) -> usize {
        self.tables().map(SuffixTable::rule_count).sum()
    }

    /// Octets that queries read.
    pub fn hot_octets(&self) -> usize {
        self.tables().map(SuffixTable::hot_octets).sum()
    }

    /// Octets of list and line of every rule, which queries do not read.
    pub fn cold_octets(&self) -> usize {
        self.tables().map(SuffixTable::cold_octets).sum()
    }
}

/// Gives `each` what the filters let through: a layer's number and a depth, the shallowest first.
#[inline]
fn for_each_maybe(maybe: &[u128; LAYERS_MAX], mut each: impl FnMut(usize, usize)) {
    let mut depths = maybe.iter().fold(0, |all, of_layer| all | of_layer);
    while depths != 0 {
        let depth = depths.trailing_zeros() as usize;
        depths &= depths - 1;
        for (number, _) in maybe.iter().enumerate().filter(|(_, maybe)| *maybe >> depth & 1 == 1) {
            each(number, depth);
        }
    }
}

impl NameLayer {
    fn table(&self) -> &SuffixTable {
        &self.placed.layer.names
    }

    /// What stands at a depth of a name that has so many labels.
    fn hit(&self, depth: usize, labels: usize, standing: Option<usize>) -> Option<Hit> {
        let standing = self.standings.get(standing?).copied().unwrap_or_default();
        let sides = if depth == labels { standing.itself } else { standing.below };
        let Sides { listed, excepted } = sides;
        (!sides.is_empty()).then_some(Hit { depth: depth as u8, listed, excepted })
    }
}

/// The addresses of every layer.
#[derive(Debug)]
pub struct Addresses {
    layers: Vec<AddressLayer>,
}

#[derive(Debug)]
struct AddressLayer {
    layer: Arc<Layer>,
    lists: Vec<Option<ListId>>,
    /// The layer's sets in the index's numbers.
    sets: Vec<ListSet>,
}

impl Addresses {
    /// Layers without an address are not asked.
    fn new(layers: &[Placed]) -> Addresses {
        let with_some = layers.iter().filter(|placed| !placed.layer.addresses.is_empty());
        let layers = with_some.map(|Placed { layer, lists }| AddressLayer {
            layer: Arc::clone(layer),
            lists: lists.clone(),
            sets: layer.addresses.sets().map(|set| moved(set, lists)).collect(),
        });
        Addresses { layers: layers.collect() }
    }

    /// Gives `found` every network that covers `address`, with the lists that hold and that except it, the widest
    /// network of a layer first. Allocates nothing.
    pub fn look_up(&self, address: IpAddr, mut found: impl FnMut(IpNet, &ListSet, &ListSet)) {
        for AddressLayer { layer, sets, .. } in &self.layers {
            layer.addresses.look_up(address, |net, listed, excepted| found(net, &sets[listed], &sets[excepted]));
        }
    }

    /// The lists that hold `address`: an exception undoes its own list, whichever network is narrower.
    pub fn listed(&self, address: IpAddr) -> ListSet {
        let mut listed = ListSet::new();
        let mut excepted = ListSet::new();
        self.look_up(address, |_, of, but| {
            listed = listed.union(of);
            excepted = excepted.union(but);
        });
        listed.difference(&excepted)
    }

    /// Every rule about exactly `net`, by list and line in each layer. For `explain`, not for queries.
    pub fn rules_at(&self, net: IpNet) -> impl Iterator<Item = AddressRuleAt> + '_ {
        self.layers.iter().flat_map(move |layer| {
            let rules = layer.layer.addresses.rules_at(net);
            rules.filter_map(|rule| Some(AddressRuleAt { list: place(rule.list, &layer.lists)?, ..rule }))
        })
    }

    /// Networks that have a rule; one that has rules in several layers counts in each.
    pub fn len(&self) -> usize {
        self.layers.iter().map(|layer| layer.layer.addresses.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

/// The special rules of every layer.
#[derive(Debug)]
pub struct Specials {
    layers: Vec<SpecialLayer>,
}

#[derive(Debug)]
struct SpecialLayer {
    placed: Placed,
    /// Rules of the layers before.
    first: u32,
}

impl Specials {
    /// Layers without a special rule are not asked.
    fn new(layers: &[Placed]) -> Specials {
        let mut first = 0;
        let with_some = layers.iter().filter(|placed| !placed.layer.special.rules().is_empty());
        let layers = with_some.map(|placed| {
            let layer = SpecialLayer { placed: placed.clone(), first };
            first += placed.layer.special.rules().len() as u32;
            layer
        });
        Specials { layers: layers.collect() }
    }

    fn tables(&self) -> impl Iterator<Item = (&SpecialLayer, &SpecialTable)> {
        self.layers.iter().map(|layer| (layer, &layer.placed.layer.special))
    }

    /// Whether no name and no client has a special rule.
    pub fn is_empty(&self) -> bool {
        self.tables().all(|(_, table)| table.is_empty())
    }

    pub fn has_addresses(&self) -> bool {
        self.tables().any(|(_, table)| table.has_addresses())
    }

    pub fn has_clients(&self) -> bool {
        self.tables().any(|(_, table)| table.has_clients())
    }

    /// The rule that a line of a list made. For `explain`, not for queries.
    pub fn rule_of_line(&self, list: ListId, line: u32) -> Option<&SpecialRule> {
        self.tables().find_map(|(layer, table)| {
            let rules = table.rules().iter().filter(|(_, rule)| rule.line == line);
            rules
                .map(|(of, rule)| (place(*of, &layer.placed.lists), rule))
                .find_map(|(of, rule)| (of == Some(list)).then_some(rule))
        })
    }

    pub fn rule(&self, number: RuleNumber) -> (ListId, &SpecialRule) {
        let layer =
            self.layers.iter().rev().find(|layer| layer.first <= number.0).expect("a rule's number is a layer's");
        let (list, rule) = layer.placed.layer.special.rule(RuleNumber(number.0 - layer.first));
        (place(list, &layer.placed.lists).expect("only rules of lists that are there are given away"), rule)
    }

    /// Gives `found` the rules whose owner is `name`, in canonical wire form, or a name above it, with the owner's
    /// labels. Their reach is not looked at.
    pub fn at_or_above(&self, name: &[u8], mut found: impl FnMut(u8, RuleNumber)) {
        for (layer, table) in self.tables() {
            table.at_or_above(name, |depth, rule| layer.give(rule, |rule| found(depth, rule)));
        }
    }

    /// Gives `found` the rules whose pattern `name` has.
    pub fn looking_like(&self, name: &[u8], mut found: impl FnMut(RuleNumber)) {
        for (layer, table) in self.tables() {
            table.looking_like(name, |rule| layer.give(rule, &mut found));
        }
    }

    /// Gives `found` the rules about a network that holds `source`, with the network's length, the widest of a layer first.
    pub fn for_client(&self, source: IpAddr, mut found: impl FnMut(u8, RuleNumber)) {
        for (layer, table) in self.tables() {
            table.for_client(source, |len, rule| layer.give(rule, |rule| found(len, rule)));
        }
    }

    /// Likewise for an address of an answer.
    pub fn for_address(&self, address: IpAddr, mut found: impl FnMut(u8, RuleNumber)) {
        for (layer, table) in self.tables() {
            table.for_address(address, |len, rule| layer.give(rule, |rule| found(len, rule)));
        }
    }
}

impl SpecialLayer {
    /// Rules of lists that are not there any more are not given.
    fn give(&self, rule: RuleNumber, mut found: impl FnMut(RuleNumber)) {
        let (list, _) = self.placed.layer.special.rule(rule);
        if place(list, &self.placed.lists).is_some() {
            found(RuleNumber(rule.0 + self.first));
        }
    }
}

fn place(list: ListId, lists: &[Option<ListId>]) -> Option<ListId> {
    lists.get(usize::from(list.0)).copied().flatten()
}

/// A layer's set in the index's numbers, without the lists that are not there any more.
fn moved(set: &ListSet, lists: &[Option<ListId>]) -> ListSet {
    set.iter().filter_map(|list| place(list, lists)).collect()
}

const _: () = assert!(LABELS_MAX < u128::BITS as usize);
