//! Which names people ask for, learnt by counting: keyed hashes with counts, of two days, and no client in them.
//!
//! A sample is taken elsewhere; here it is counted in bounded room. What it is for: to say of a new version of a list
//! how much of what is asked and answered today it would block.

use std::collections::HashMap;

use crate::engine::gate::tree::{NameTree, Node, TreeKey};
use crate::engine::limits::{LEARNED_DEPTH_MAX, LEARNED_NAMES_MAX};
use crate::engine::name::Labels;

/// Counts of the day that is, and of the one before.
#[derive(Debug)]
pub struct Learned {
    key: TreeKey,
    /// Days since 1970.
    day: u64,
    today: Day,
    before: Day,
    names_max: usize,
}

/// One day's counts.
#[derive(Debug, Default, Clone)]
struct Day {
    /// Everything sampled, also what is counted under no name.
    total: u64,
    /// By the hash of the whole name.
    names: HashMap<u64, Counted>,
}

#[derive(Debug, Clone)]
struct Counted {
    /// The hashes of the name and of everything above it, the top-level domain's first.
    chain: Box<[u64]>,
    count: u64,
}

/// The first octets of what [`Learned::to_octets`] writes.
const MAGIC: &[u8; 16] = b"lachan-learned-1";

impl Learned {
    pub fn new(key: TreeKey) -> Learned {
        Learned::with_room(key, LEARNED_NAMES_MAX)
    }

    fn with_room(key: TreeKey, names_max: usize) -> Learned {
        Learned { key, day: 0, today: Day::default(), before: Day::default(), names_max }
    }

    /// Counts a sampled question; `name` (canonical wire form) only when it was answered. `day` is days since 1970.
    pub fn note(&mut self, day: u64, name: Option<&[u8]>) {
        self.turn(day);
        self.today.total += 1;
        let Some(name) = name else { return };
        let labels = Labels::of(name);
        // Rules stand near the root: what is deeper is counted under its last labels.
        let depth = labels.count().min(LEARNED_DEPTH_MAX);
        let hash = self.key.hash(labels.suffix(depth));
        if let Some(counted) = self.today.names.get_mut(&hash) {
            counted.count += 1;
            return;
        }
        if self.today.names.len() >= self.names_max {
            self.today.make_room();
        }
        let chain = (1..=depth).map(|d| self.key.hash(labels.suffix(d))).collect();
        self.today.names.insert(hash, Counted { chain, count: 1 });
    }

    /// A new day makes the last one yesterday; older ones are forgotten.
    fn turn(&mut self, day: u64) {
        if day > self.day {
            let last = std::mem::take(&mut self.today);
            self.before = if day == self.day + 1 { last } else { Day::default() };
            self.day = day;
        }
    }

    /// Everything sampled in the two days.
    pub fn total(&self) -> u64 {
        self.today.total + self.before.total
    }

    /// Names that have a count.
    pub fn names(&self) -> usize {
        self.today.names.len() + self.before.names.len()
    }

    /// The names as a tree, each with its node and its count.
    pub(super) fn tree(&self) -> (NameTree, Vec<(Node, u64)>) {
        let mut tree = NameTree::new(self.key);
        let days = [&self.today, &self.before];
        let counted = days.into_iter().flat_map(|day| day.names.values());
        let nodes = counted.map(|c| (tree.add_hashes(c.chain.iter().copied()), c.count)).collect();
        (tree, nodes)
    }

    /// For a file. It holds the key too, so who reads it can tell whether a given name was asked for, and how often; not
    /// which names were, and never by whom.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let mut put = |n: u64| out.extend_from_slice(&n.to_le_bytes());
        [self.key.0, self.key.1, self.day].into_iter().for_each(&mut put);
        for day in [&self.today, &self.before] {
            put(day.total);
            put(day.names.len() as u64);
            for counted in day.names.values() {
                put(counted.count);
                put(counted.chain.len() as u64);
                counted.chain.iter().copied().for_each(&mut put);
            }
        }
        out
    }

    /// Reads what [`Learned::to_octets`] wrote; `None` when it is something else, or cut.
    pub fn from_octets(octets: &[u8]) -> Option<Learned> {
        let (words, rest) = octets.strip_prefix(MAGIC)?.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut learned = Learned::new(TreeKey(words.next()?, words.next()?));
        learned.day = words.next()?;
        for day in [&mut learned.today, &mut learned.before] {
            day.total = words.next()?;
            let names = words.next().filter(|&n| n <= LEARNED_NAMES_MAX as u64)?;
            for _ in 0..names {
                let count = words.next()?;
                let depth = words.next().filter(|&n| (1..=LEARNED_DEPTH_MAX as u64).contains(&n))?;
                let chain: Box<[u64]> = words.by_ref().take(depth as usize).collect();
                let hash = *chain.last().filter(|_| chain.len() as u64 == depth)?;
                day.names.insert(hash, Counted { chain, count });
            }
        }
        (rest.is_empty() && words.next().is_none()).then_some(learned)
    }
}

impl Day {
    /// Takes one from every count and forgets who has none left (Misra and Gries): a name asked for more than one time
    /// in [`LEARNED_NAMES_MAX`] is never lost, and a name of a random flood soon is.
    fn make_room(&mut self) {
        self.names.retain(|_, counted| {
            counted.count -= 1;
            counted.count > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::name::Name;

    fn note(learned: &mut Learned, day: u64, name: &str) {
        learned.note(day, Some(Name::from_text(name).unwrap().as_wire()));
    }

    #[test]
    fn two_days_are_kept() {
        let mut learned = Learned::new(TreeKey(1, 2));
        note(&mut learned, 10, "a.example");
        note(&mut learned, 11, "b.example");
        assert_eq!((learned.total(), learned.names()), (2, 2));
        // A clock that steps back does not turn the page.
        note(&mut learned, 10, "b.example");
        note(&mut learned, 12, "c.example");
        assert_eq!((learned.total(), learned.names()), (3, 2));
        learned.note(20, None);
        assert_eq!((learned.total(), learned.names()), (1, 0));
    }

    #[test]
    fn a_flood_of_names_pushes_out_nothing_that_is_asked_for_often() {
        let mut learned = Learned::with_room(TreeKey(1, 2), 50);
        for i in 0..2_000 {
            note(&mut learned, 1, &format!("r{i}.flood.example"));
            if i % 10 == 0 {
                note(&mut learned, 1, "often.example");
            }
        }
        assert!(learned.names() <= 50, "{}", learned.names());
        let (_, nodes) = learned.tree();
        assert!(nodes.iter().any(|&(_, count)| count > 100), "{nodes:?}");
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_cut_is_not() {
        let mut learned = Learned::new(TreeKey(3, 4));
        for name in ["a.example", "www.a.example", "a.example", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.example"] {
            note(&mut learned, 7, name);
        }
        note(&mut learned, 8, "b.example");
        let octets = learned.to_octets();
        let again = Learned::from_octets(&octets).unwrap();
        assert_eq!((again.key, again.day, again.total(), again.names()), (TreeKey(3, 4), 8, 5, 4));
        for end in 0..octets.len() {
            assert!(Learned::from_octets(&octets[..end]).is_none(), "{end}");
        }
        assert!(Learned::from_octets(&[&octets[..], &[0]].concat()).is_none());
        let text = String::from_utf8_lossy(&octets).into_owned();
        assert!(!text.contains("example"), "only hashes are written");
    }
}
