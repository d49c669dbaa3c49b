//! Standings: which lists say what at one name. A million names have a few hundred different ones.

use std::collections::HashMap;

use crate::engine::limits::LISTS_MAX;
use crate::engine::list::{Effect, Reach};
use crate::engine::matcher::set::{Interner, ListSet, SetId, Sets};
use crate::engine::matcher::suffix::octets::Reader;
use crate::engine::verdict::ListId;

/// What the lists say at one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(in crate::engine::matcher) struct Standing {
    /// About the name itself: exact and subtree rules.
    pub itself: Sides,
    /// About the names below: subtree and children rules.
    pub below: Sides,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(in crate::engine::matcher) struct Sides {
    pub listed: SetId,
    pub excepted: SetId,
}

impl Sides {
    pub(in crate::engine::matcher) fn is_empty(self) -> bool {
        self.listed.is_empty() && self.excepted.is_empty()
    }
}

/// A rule without its name and line: what a standing is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kind {
    pub list: ListId,
    pub reach: Reach,
    pub effect: Effect,
}

/// In the order of their numbers, which the index keeps.
const EFFECTS: [Effect; 2] = [Effect::List, Effect::Except];
const REACHES: [Reach; 3] = [Reach::Exact, Reach::Subtree, Reach::Children];

/// Kinds of rules that one list can have.
pub(super) const SAYS: usize = EFFECTS.len() * REACHES.len();

/// The number of what a rule says, whichever list it is of; less than [`SAYS`].
pub(super) fn says(reach: Reach, effect: Effect) -> u8 {
    (reach as usize * EFFECTS.len() + effect as usize) as u8
}

/// What [`says`] numbered.
pub(super) fn said(number: usize) -> (Reach, Effect) {
    (REACHES[number / EFFECTS.len()], EFFECTS[number % EFFECTS.len()])
}

impl Kind {
    pub(super) fn to_octets(self) -> [u8; 4] {
        let [low, high] = self.list.0.to_le_bytes();
        [low, high, self.reach as u8, self.effect as u8]
    }

    pub(super) fn from_octets(octets: [u8; 4]) -> Option<Kind> {
        let [low, high, reach, effect] = octets;
        let list = ListId(u16::from_le_bytes([low, high]));
        let reach = *REACHES.get(usize::from(reach))?;
        let effect = *EFFECTS.get(usize::from(effect))?;
        (usize::from(list.0) < LISTS_MAX).then_some(Kind { list, reach, effect })
    }
}

/// Gives names about which equal kinds of rules speak the same number.
#[derive(Debug)]
pub(super) struct Standings {
    pub kinds: Vec<Kind>,
    /// By sorted kinds.
    numbers: HashMap<Vec<u32>, u32>,
    pub all: Vec<Standing>,
    sets: Interner,
}

impl Standings {
    pub(super) fn new() -> Standings {
        Standings { kinds: Vec::new(), numbers: HashMap::new(), all: Vec::new(), sets: Interner::new() }
    }

    /// The numbers of a list's kinds of rules, those whose bit is set in `said_bits`. Called once for each list.
    pub(super) fn kinds_of(&mut self, list: ListId, said_bits: u16) -> [u32; SAYS] {
        let mut numbers = [0; SAYS];
        for number in (0..SAYS).filter(|number| said_bits >> number & 1 == 1) {
            let (reach, effect) = said(number);
            numbers[number] = self.kinds.len() as u32;
            self.kinds.push(Kind { list, reach, effect });
        }
        numbers
    }

    /// The standing of a name about which rules of these kinds speak; each kind once, in order.
    pub(super) fn number(&mut self, kinds: &[u32]) -> u32 {
        if let Some(&number) = self.numbers.get(kinds) {
            return number;
        }
        let mut side = |wanted: Effect, others: Reach| {
            let rules = kinds.iter().map(|&kind| self.kinds[kind as usize]);
            let set: ListSet =
                rules.filter(|kind| kind.effect == wanted && kind.reach != others).map(|kind| kind.list).collect();
            self.sets.number(&set)
        };
        let mut sides =
            |others: Reach| Sides { listed: side(Effect::List, others), excepted: side(Effect::Except, others) };
        let standing = Standing { itself: sides(Reach::Children), below: sides(Reach::Exact) };
        self.all.push(standing);
        let number = self.all.len() as u32 - 1;
        self.numbers.insert(kinds.to_vec(), number);
        number
    }

    pub(super) fn into_sets(self) -> Sets {
        self.sets.finish()
    }
}

pub(super) fn put_standings(all: &[Standing], out: &mut Vec<u8>) {
    for Standing { itself, below } in all {
        for id in [itself.listed, itself.excepted, below.listed, below.excepted] {
            out.extend_from_slice(&id.number().to_le_bytes());
        }
    }
}

/// `None` when it is no table of standings over so many sets.
pub(super) fn read_standings(octets: &[u8], sets: &Sets) -> Option<Vec<Standing>> {
    let mut reader = Reader::new(octets);
    let mut all = Vec::with_capacity(octets.len() / size_of::<Standing>());
    while reader.at < octets.len() {
        let mut sides = || -> Option<Sides> {
            let mut id = || sets.id(reader.u32()?);
            Some(Sides { listed: id()?, excepted: id()? })
        };
        all.push(Standing { itself: sides()?, below: sides()? });
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_and_octets() {
        for number in 0..SAYS {
            let (reach, effect) = said(number);
            assert_eq!(usize::from(says(reach, effect)), number);
            let kind = Kind { list: ListId(300), reach, effect };
            assert_eq!(Kind::from_octets(kind.to_octets()), Some(kind));
        }
        assert_eq!(Kind::from_octets([0, 4, 0, 0]), None, "list 1024");
        assert_eq!(Kind::from_octets([0, 0, 3, 0]), None);
    }
}
