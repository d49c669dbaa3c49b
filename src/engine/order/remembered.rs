//! How long clients may remember what they were told of an order's names before it acted.
//!
//! Nobody sees into a client, so this is an upper bound by what was handed out: an answer that the cache has is remembered no
//! longer than the TTL that is left of it, and one that the cache does not have any more no longer than the longest TTL that
//! clients are told. A question that was under way at that moment is in the latter alone.

use hashbrown::HashMap;

use super::Orders;
use crate::engine::client::UnixTime;
use crate::engine::name::Name;

/// What was known at the moment when an order came into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub at: UnixTime,
    /// The longest TTL that clients are told, in seconds.
    pub limit_secs: u32,
    /// The cache had lost nothing for as long as that: what was not in it was told to nobody who may still remember it.
    pub is_whole: bool,
    /// Places of the order's names that the cache had an answer of, in their order, and how long it may be remembered.
    pub cached: Vec<(u32, u32)>,
}

/// How long at most a name may be remembered, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The TTL that was left in the cache.
    Cached(u32),
    /// The longest TTL that clients are told.
    Limit(u32),
}

impl Bound {
    pub fn secs(self) -> u32 {
        match self {
            Bound::Cached(secs) | Bound::Limit(secs) => secs,
        }
    }
}

impl Remembered {
    /// For the name at a place of the order. `None`: nobody was told anything of it.
    pub fn of(&self, place: usize) -> Option<Bound> {
        match self.cached.binary_search_by_key(&place, |(place, _)| *place as usize) {
            Ok(found) => Some(Bound::Cached(self.cached[found].1)),
            Err(_) if self.is_whole => None,
            Err(_) => Some(Bound::Limit(self.limit_secs)),
        }
    }

    /// The longest of an order's so many names, and where it stands; of several the first.
    pub fn worst(&self, names: usize) -> Option<(usize, Bound)> {
        let bounds = (0..names).filter_map(|place| Some((place, self.of(place)?)));
        bounds.reduce(|worst, next| if next.1.secs() > worst.1.secs() { next } else { worst })
    }
}

/// Gathers what the cache has of the names of some orders.
pub struct Gathering<'a> {
    orders: &'a Orders,
    /// Places of orders in the register, ascending.
    wanted: &'a [u32],
    /// By order and name.
    found: HashMap<(u32, u32), u32>,
}

impl<'a> Gathering<'a> {
    pub fn new(orders: &'a Orders, wanted: &'a [u32]) -> Gathering<'a> {
        Gathering { orders, wanted, found: HashMap::new() }
    }

    /// An answer about a name, or that leads to it, may be remembered so long.
    pub fn add(&mut self, name: &Name, secs: u32) {
        for holding in self.orders.over(name).filter(|holding| self.wanted.binary_search(&holding.at).is_ok()) {
            let longest = self.found.entry((holding.at, holding.place)).or_default();
            *longest = secs.max(*longest);
        }
    }

    /// Of each order that was wanted.
    pub fn finish(self, at: UnixTime, limit_secs: u32, is_whole: bool) -> Vec<(u32, Remembered)> {
        let mut all: Vec<(u32, Remembered)> = self
            .wanted
            .iter()
            .map(|order| (*order, Remembered { at, limit_secs, is_whole, cached: Vec::new() }))
            .collect();
        for ((order, place), secs) in self.found {
            if let Ok(at) = self.wanted.binary_search(&order) {
                all[at].1.cached.push((place, secs.min(limit_secs)));
            }
        }
        all.iter_mut().for_each(|(_, remembered)| remembered.cached.sort_unstable());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::order::tests::order;

    fn gathered(told: &[(&str, u32)], is_whole: bool) -> Remembered {
        let orders = Orders::new(vec![
            order("1", &["a.example"]),
            order("2", &["=only.example", "b.example", "quiet.example", "a.example"]),
        ]);
        let mut gathering = Gathering::new(&orders, &[1]);
        told.iter().for_each(|(name, secs)| gathering.add(&Name::from_text(name).unwrap(), *secs));
        let mut all = gathering.finish(UnixTime(100), 3_600, is_whole);
        assert_eq!(all.len(), 1);
        all.remove(0).1
    }

    #[test]
    fn a_name_is_remembered_as_long_as_the_longest_answer_at_or_below_it() {
        let told = [("b.example", 60), ("www.b.example", 300), ("x.b.example", 5), ("other.example", 900)];
        let remembered = gathered(&told, true);
        assert_eq!(remembered.cached, [(1, 300)]);
        let of: Vec<Option<Bound>> = (0..4).map(|place| remembered.of(place)).collect();
        assert_eq!(of, [None, Some(Bound::Cached(300)), None, None]);
        assert_eq!(remembered.worst(4), Some((1, Bound::Cached(300))));
        // A name alone is not held with what is below it.
        assert_eq!(gathered(&[("www.only.example", 60)], true).worst(4), None);
        assert_eq!(gathered(&[("only.example", 60)], true).worst(4), Some((0, Bound::Cached(60))));
    }

    #[test]
    fn what_the_cache_may_have_lost_is_remembered_as_long_as_a_client_may_be_told() {
        let remembered = gathered(&[("b.example", 300)], false);
        assert_eq!((remembered.of(0), remembered.of(1)), (Some(Bound::Limit(3_600)), Some(Bound::Cached(300))));
        assert_eq!(remembered.worst(4), Some((0, Bound::Limit(3_600))));
        assert_eq!(remembered.worst(0), None);
    }

    #[test]
    fn an_answer_that_has_run_out_is_known_and_not_remembered() {
        let remembered = gathered(&[("b.example", 0)], false);
        assert_eq!(remembered.of(1), Some(Bound::Cached(0)));
    }
}
