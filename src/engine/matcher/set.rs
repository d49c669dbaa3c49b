//! Sets of lists: a fixed bit set, and the interner that makes a set a small number.

use std::collections::HashMap;

use crate::engine::limits::LISTS_MAX;
use crate::engine::verdict::ListId;

const WORDS: usize = LISTS_MAX / 64;

/// A set of lists. A profile's mask is one too, so "does anything here concern this client?" is an AND of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ListSet {
    bits: [u64; WORDS],
}

impl ListSet {
    pub const EMPTY: ListSet = ListSet { bits: [0; WORDS] };

    pub fn new() -> ListSet {
        ListSet::EMPTY
    }

    /// Adds a list. The caller numbers lists below [`LISTS_MAX`].
    pub fn insert(&mut self, list: ListId) {
        let i = usize::from(list.0);
        assert!(i < LISTS_MAX, "list {i} of at most {LISTS_MAX}");
        self.bits[i / 64] |= 1 << (i % 64);
    }

    pub fn contains(&self, list: ListId) -> bool {
        let i = usize::from(list.0);
        i < LISTS_MAX && self.bits[i / 64] & (1 << (i % 64)) != 0
    }

    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|&word| word == 0)
    }

    pub fn intersects(&self, other: &ListSet) -> bool {
        self.bits.iter().zip(&other.bits).any(|(a, b)| a & b != 0)
    }

    #[must_use]
    pub fn union(&self, other: &ListSet) -> ListSet {
        self.zip(other, |a, b| a | b)
    }

    #[must_use]
    pub fn intersection(&self, other: &ListSet) -> ListSet {
        self.zip(other, |a, b| a & b)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &ListSet) -> ListSet {
        self.zip(other, |a, b| a & !b)
    }

    /// Whether this set meets what is in one of two others and not in both. Makes no set.
    pub fn meets_difference(&self, a: &ListSet, b: &ListSet) -> bool {
        self.bits.iter().zip(a.bits.iter().zip(&b.bits)).any(|(own, (a, b))| own & (a ^ b) != 0)
    }

    /// The lists, lowest number first.
    pub fn iter(&self) -> impl Iterator<Item = ListId> + '_ {
        self.bits.iter().enumerate().flat_map(|(i, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(ListId((i as u32 * 64 + bit) as u16))
            })
        })
    }

    fn zip(&self, other: &ListSet, op: impl Fn(u64, u64) -> u64) -> ListSet {
        ListSet { bits: std::array::from_fn(|i| op(self.bits[i], other.bits[i])) }
    }
}

impl FromIterator<ListId> for ListSet {
    fn from_iter<I: IntoIterator<Item = ListId>>(lists: I) -> ListSet {
        let mut set = ListSet::new();
        lists.into_iter().for_each(|list| set.insert(list));
        set
    }
}

/// The number of a set in its table. 0 is the empty set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SetId(u32);

impl SetId {
    pub const EMPTY: SetId = SetId(0);

    pub fn is_empty(self) -> bool {
        self == SetId::EMPTY
    }

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// Sets by number.
#[derive(Debug, Clone)]
pub(super) struct Sets {
    all: Vec<ListSet>,
}

impl Sets {
    pub(super) fn get(&self, id: SetId) -> &ListSet {
        &self.all[id.0 as usize]
    }

    /// By number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ListSet> {
        self.all.iter()
    }

    /// The set with this number, if there is one.
    pub(super) fn id(&self, number: u32) -> Option<SetId> {
        ((number as usize) < self.all.len()).then_some(SetId(number))
    }

    /// Appends the sets, each as words of 64 lists.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.all.iter().flat_map(|set| set.bits).flat_map(u64::to_le_bytes));
    }

    /// `None` when these are no sets, or the first is not the empty one.
    pub(super) fn from_octets(octets: &[u8]) -> Option<Sets> {
        let (sets, rest) = octets.as_chunks::<{ 8 * WORDS }>();
        let set = |octets: &[u8; 8 * WORDS]| {
            let (words, _) = octets.as_chunks::<8>();
            ListSet { bits: std::array::from_fn(|i| u64::from_le_bytes(words[i])) }
        };
        let all: Vec<ListSet> = sets.iter().map(set).collect();
        (rest.is_empty() && all.first() == Some(&ListSet::EMPTY)).then_some(Sets { all })
    }
}

/// Gives equal sets the same number.
#[derive(Debug)]
pub(super) struct Interner {
    numbers: HashMap<ListSet, SetId>,
    all: Vec<ListSet>,
}

impl Interner {
    pub(super) fn new() -> Interner {
        Interner { numbers: HashMap::from([(ListSet::EMPTY, SetId::EMPTY)]), all: vec![ListSet::EMPTY] }
    }

    pub(super) fn number(&mut self, set: &ListSet) -> SetId {
        *self.numbers.entry(*set).or_insert_with(|| {
            self.all.push(*set);
            SetId(self.all.len() as u32 - 1)
        })
    }

    pub(super) fn finish(self) -> Sets {
        Sets { all: self.all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_keeps_what_was_put_in() {
        let lists = [0, 1, 63, 64, 700, 1023].map(ListId);
        let set: ListSet = lists.into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), lists);
        assert!(set.contains(ListId(700)));
        assert!(!set.contains(ListId(2)));
        assert!(!set.contains(ListId(5000)));
        assert!(ListSet::new().is_empty());
        assert!(!set.is_empty());
    }

    #[test]
    fn sets_combine() {
        let ab: ListSet = [ListId(1), ListId(900)].into_iter().collect();
        let bc: ListSet = [ListId(900), ListId(3)].into_iter().collect();
        assert_eq!(ab.union(&bc).iter().count(), 3);
        assert_eq!(ab.intersection(&bc), [ListId(900)].into_iter().collect());
        assert_eq!(ab.difference(&bc), [ListId(1)].into_iter().collect());
        assert!(ab.intersects(&bc));
        assert!(!ab.intersects(&ListSet::new()));
    }

    #[test]
    fn equal_sets_have_one_number() {
        let mut sets = Interner::new();
        let ab: ListSet = [ListId(1), ListId(2)].into_iter().collect();
        let number = sets.number(&ab);
        assert_eq!(sets.number(&ab), number);
        assert_eq!(sets.number(&ListSet::new()), SetId::EMPTY);
        let sets = sets.finish();
        assert_eq!(sets.get(number), &ab);
        let mut octets = Vec::new();
        sets.put(&mut octets);
        let read = Sets::from_octets(&octets).unwrap();
        assert_eq!(read.id(1).map(|id| *read.get(id)), Some(ab));
        assert_eq!(read.id(2), None);
        assert!(Sets::from_octets(&octets[1..]).is_none());
        assert!(Sets::from_octets(&[]).is_none());
    }
}
