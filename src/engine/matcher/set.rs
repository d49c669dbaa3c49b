//! Sets of lists: a fixed bit set, and the interner that makes a set a small number.

use std::collections::HashMap;

use crate::engine::limits::LISTS_MAX;
use crate::engine::verdict::ListId;

const WORDS: usize = LISTS_MAX / 64;

/// A set of lists. A profile's mask is one too, so "does anything here concern this client?" is an AND of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ListSet {
    /// Bit `i` is set when word `i` has a list: most sets have few, and only words that both have are looked at.
    used: u16,
    bits: [u64; WORDS],
}

const _: () = assert!(WORDS <= u16::BITS as usize);

impl ListSet {
    pub const EMPTY: ListSet = ListSet { used: 0, bits: [0; WORDS] };

    pub fn new() -> ListSet {
        ListSet::EMPTY
    }

    fn of_words(word: impl FnMut(usize) -> u64) -> ListSet {
        let bits = std::array::from_fn(word);
        let used = bits.iter().enumerate().fold(0, |used, (i, &word)| used | u16::from(word != 0) << i);
        ListSet { used, bits }
    }

    /// Adds a list. The caller numbers lists below [`LISTS_MAX`].
    pub fn insert(&mut self, list: ListId) {
        let i = usize::from(list.0);
        assert!(i < LISTS_MAX, "list {i} of at most {LISTS_MAX}");
        self.bits[i / 64] |= 1 << (i % 64);
        self.used |= 1 << (i / 64);
    }

    pub fn contains(&self, list: ListId) -> bool {
        let i = usize::from(list.0);
        i < LISTS_MAX && self.bits[i / 64] & (1 << (i % 64)) != 0
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub fn intersects(&self, other: &ListSet) -> bool {
        places(self.used & other.used).any(|i| self.bits[i] & other.bits[i] != 0)
    }

    #[must_use]
    pub fn union(&self, other: &ListSet) -> ListSet {
        ListSet::of_words(|i| self.bits[i] | other.bits[i])
    }

    #[must_use]
    pub fn intersection(&self, other: &ListSet) -> ListSet {
        ListSet::of_words(|i| self.bits[i] & other.bits[i])
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &ListSet) -> ListSet {
        ListSet::of_words(|i| self.bits[i] & !other.bits[i])
    }

    /// Whether this set meets what is in one of two others and not in both. Makes no set.
    pub fn meets_difference(&self, a: &ListSet, b: &ListSet) -> bool {
        places(self.used & (a.used | b.used)).any(|i| self.bits[i] & (a.bits[i] ^ b.bits[i]) != 0)
    }

    /// The lowest list that is in this set and in `mask` and in none of `without`. Makes no set.
    pub fn first_in<'a>(&self, mask: &ListSet, without: impl Iterator<Item = &'a ListSet> + Clone) -> Option<ListId> {
        places(self.used & mask.used).find_map(|i| {
            let left = without.clone().fold(self.bits[i] & mask.bits[i], |left, set| left & !set.bits[i]);
            places(left).next().map(|bit| ListId((i * 64 + bit) as u16))
        })
    }

    /// The lists, lowest number first.
    pub fn iter(&self) -> impl Iterator<Item = ListId> + '_ {
        places(self.used).flat_map(|i| places(self.bits[i]).map(move |bit| ListId((i * 64 + bit) as u16)))
    }
}

/// Where bits are set, the lowest first.
#[inline]
fn places(bits: impl Into<u64>) -> impl Iterator<Item = usize> {
    let mut left = bits.into();
    std::iter::from_fn(move || {
        let bit = (left != 0).then(|| left.trailing_zeros())?;
        left &= left - 1;
        Some(bit as usize)
    })
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
            ListSet::of_words(|i| u64::from_le_bytes(words[i]))
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
        assert!(ab.difference(&ab).is_empty() && ab.difference(&ab) == ListSet::EMPTY);
        assert_eq!(ab.first_in(&bc, [].iter()), Some(ListId(900)));
        assert_eq!(ab.first_in(&ab, [bc].iter()), Some(ListId(1)));
        assert_eq!(ab.first_in(&ab, [ab].iter()), None);
        assert_eq!(ab.first_in(&ListSet::EMPTY, [].iter()), None);
        assert!(ab.meets_difference(&ab, &bc) && ab.meets_difference(&ListSet::EMPTY, &ab));
        assert!(!ab.meets_difference(&bc, &bc) && !ListSet::EMPTY.meets_difference(&ab, &bc));
        assert!(!bc.meets_difference(
            &ab,
            &[ListId(1)].into_iter().collect::<ListSet>().union(&bc).difference(&[ListId(3)].into_iter().collect())
        ));
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
