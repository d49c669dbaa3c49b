//! Names as a tree of keyed hashes: built once from names that matter, then walked by the rules of a list.
//!
//! One look-up a rule, whatever the number of names: ten million rules meet a million names in a second, and the names
//! take 55 MB. A hash of 64 bits can take two names for one with odds of one in a million over such a walk; that
//! may hold a list back, never block a name (I15 is the index's).

use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::engine::gate::rules::Rules;
use crate::engine::list::special::{Action, Owner, SpecialRule, ZoneAction};
use crate::engine::list::{Effect, NameRule, Reach};
use crate::engine::name::Labels;

/// Secret of the hashes. Random, so that no list can be written whose names collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeKey(pub u64, pub u64);

impl TreeKey {
    /// The hash of a name in canonical wire form.
    pub(super) fn hash(self, wire: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(wire);
        hasher.finish()
    }
}

/// A name of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(u32);

/// Names and all that stands above them.
#[derive(Debug)]
pub(super) struct NameTree {
    key: TreeKey,
    /// Numbers into `hashes`, by the hash there.
    table: HashTable<u32>,
    hashes: Vec<u64>,
    /// The node above; a top-level domain is its own. Never greater than the node's own number.
    parents: Vec<u32>,
}

/// A rule lists the name itself.
const LISTS_ITSELF: u8 = 1;
/// A rule lists what is below the name.
const LISTS_BELOW: u8 = 2;
/// A rule lists `www.` of the name, which to its users is the same.
const LISTS_WWW: u8 = 4;
/// From an `LISTS_` flag to that of an exception.
const EXCEPT_SHIFT: u8 = 3;
/// A rule above lists what is below it; likewise for exceptions.
const INHERITS_LISTED: u8 = 64;
const INHERITS_EXCEPTED: u8 = 128;

/// What the rules of one list say about each node.
pub(super) struct Marks {
    flags: Vec<u8>,
    /// Whether some rule lists anything of the tree at all.
    pub is_touched: bool,
}

impl NameTree {
    pub fn new(key: TreeKey) -> NameTree {
        NameTree { key, table: HashTable::new(), hashes: Vec::new(), parents: Vec::new() }
    }

    /// Puts a name in, and everything above it.
    pub fn add(&mut self, wire: &[u8]) -> Node {
        let key = self.key;
        let labels = Labels::of(wire);
        self.add_hashes(labels.from_root().map(|(_, suffix)| key.hash(suffix)))
    }

    /// As [`NameTree::add`] for a name of which there are only hashes, the top-level domain's first.
    pub fn add_hashes(&mut self, from_root: impl Iterator<Item = u64>) -> Node {
        let mut above = None;
        for hash in from_root {
            let NameTree { table, hashes, parents, .. } = self;
            let at = |&node: &u32| hashes[node as usize];
            let node = match table.find(hash, |node| at(node) == hash) {
                Some(&node) => node,
                None => {
                    let node = hashes.len() as u32;
                    table.insert_unique(hash, node, at);
                    hashes.push(hash);
                    parents.push(above.unwrap_or(node));
                    node
                }
            };
            above = Some(node);
        }
        Node(above.unwrap_or(0))
    }

    /// Walks the rules over the tree. `is_spared` tells names on which a listing rule does nothing.
    pub fn mark(&self, rules: &dyn Rules, is_spared: &dyn Fn(&[u8]) -> bool) -> Marks {
        let mut marks = Marks { flags: vec![0; self.hashes.len()], is_touched: false };
        rules.walk(&mut |rules| rules.names().for_each(|rule| self.mark_one(&rule, is_spared, &mut marks)));
        for rule in rules.specials().iter().filter_map(blocking) {
            self.mark_one(&rule, is_spared, &mut marks);
        }
        marks.inherit(&self.parents);
        marks
    }

    fn mark_one(&self, rule: &NameRule<'_>, is_spared: &dyn Fn(&[u8]) -> bool, marks: &mut Marks) {
        let without_www = rule.name.strip_prefix(b"\x03www").filter(|rest| rest[0] != 0);
        let parent = without_www.filter(|_| rule.reach != Reach::Children).and_then(|name| self.find(name));
        let reach = match rule.reach {
            Reach::Exact => LISTS_ITSELF,
            Reach::Subtree => LISTS_ITSELF | LISTS_BELOW,
            Reach::Children => LISTS_BELOW,
        };
        for (node, flags) in [(self.find(rule.name), reach), (parent, LISTS_WWW)] {
            let Some(node) = node else { continue };
            match rule.effect {
                Effect::List if is_spared(rule.name) => {}
                Effect::List => {
                    marks.flags[node] |= flags;
                    marks.is_touched = true;
                }
                Effect::Except => marks.flags[node] |= flags << EXCEPT_SHIFT,
            }
        }
    }

    fn find(&self, wire: &[u8]) -> Option<usize> {
        let hash = self.key.hash(wire);
        self.table.find(hash, |&node| self.hashes[node as usize] == hash).map(|&node| node as usize)
    }
}

/// What a special rule comes to, when it blocks a name or lets it by: whom and which types it is for does not matter here.
/// An answer of a rule's own blocks nothing: lists that make searches safe name search engines.
fn blocking(rule: &SpecialRule) -> Option<NameRule<'_>> {
    let Owner::Name { name, reach } = &rule.owner else { return None };
    let effect = match rule.action {
        Action::Block { .. } | Action::Zone(ZoneAction::Block) => Effect::List,
        // For some clients or types only: for the others the name is blocked.
        Action::Except { .. } if rule.condition.is_some() => return None,
        Action::Except { .. } => Effect::Except,
        Action::Rewrite { .. } | Action::Unrewrite { .. } | Action::Review => return None,
        Action::Zone(ZoneAction::Pass | ZoneAction::Answer(_)) => return None,
    };
    Some(NameRule { name, reach: *reach, effect, line: rule.line })
}

impl Marks {
    /// Hands down what rules say about everything below; parents come before their children.
    fn inherit(&mut self, parents: &[u32]) {
        for (node, &parent) in parents.iter().enumerate().filter(|(node, parent)| *node != **parent as usize) {
            let above = self.flags[parent as usize];
            let listed = if above & (LISTS_BELOW | INHERITS_LISTED) == 0 { 0 } else { INHERITS_LISTED };
            let is_excepted = above & (LISTS_BELOW << EXCEPT_SHIFT | INHERITS_EXCEPTED) != 0;
            let excepted = if is_excepted { INHERITS_EXCEPTED } else { 0 };
            self.flags[node] |= listed | excepted;
        }
    }

    /// Whether the list holds the name itself: an exception undoes it at every depth.
    pub fn holds(&self, Node(node): Node) -> bool {
        let flags = self.flags[node as usize];
        flags & (LISTS_ITSELF | INHERITS_LISTED) != 0 && flags & (LISTS_ITSELF << EXCEPT_SHIFT | INHERITS_EXCEPTED) == 0
    }

    /// As [`Marks::holds`], or holds its `www.`: to the people who use the name it is the same.
    pub fn holds_or_www(&self, node: Node) -> bool {
        let flags = self.flags[node.0 as usize];
        let www_listed = flags & (LISTS_WWW | LISTS_BELOW | INHERITS_LISTED) != 0;
        let www_excepted = flags & ((LISTS_WWW | LISTS_BELOW) << EXCEPT_SHIFT | INHERITS_EXCEPTED) != 0;
        self.holds(node) || (www_listed && !www_excepted)
    }
}

const _: () = assert!(LISTS_WWW << EXCEPT_SHIFT < INHERITS_LISTED);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::list::{Format, ParseOptions, RuleSet, parse};
    use crate::engine::name::Name;

    #[test]
    fn rules_hit_names_as_the_index_would() {
        let name = Name::from_text("shop.example.com").unwrap();
        for (list, held, with_www) in [
            ("||shop.example.com^", true, true),
            ("||example.com^", true, true),
            ("||other.example.com^", false, false),
            ("||a.shop.example.com^", false, false),
            ("||www.shop.example.com^", false, true),
            ("||example.com^\n@@||shop.example.com^", false, false),
            ("||shop.example.com^\n@@||example.com^", false, false),
            ("||shop.example.com^\n@@||www.shop.example.com^", true, true),
            ("||www.shop.example.com^\n@@||www.shop.example.com^", false, false),
            ("||com^", true, true),
            ("||shop.example.com^$important", true, true),
            ("||example.com^$client=192.0.2.0/24", true, true),
            ("||shop.example.com^\n@@||example.com^$important", false, false),
            ("||shop.example.com^\n@@||example.com^$client=192.0.2.1", true, true),
            ("||shop.example.com^$dnsrewrite=192.0.2.1", false, false),
        ] {
            let mut tree = NameTree::new(TreeKey(1, 2));
            let node = tree.add(name.as_wire());
            let rules = parse(list.as_bytes(), ParseOptions { format: Format::Adblock, bare_reach: None }).unwrap();
            let marks = tree.mark(&rules, &|_| false);
            assert_eq!((marks.holds(node), marks.holds_or_www(node)), (held, with_www), "{list}");
            assert!(!tree.mark(&rules, &|_| true).holds_or_www(node), "{list}");
        }
    }

    #[test]
    fn exact_and_children_rules_keep_their_reach() {
        let (top, below) = (Name::from_text("example.com").unwrap(), Name::from_text("a.example.com").unwrap());
        for (reach, held) in [
            (Reach::Exact, [true, false]),
            (Reach::Subtree, [true, true]),
            // `www.` is below, so the name is as good as held.
            (Reach::Children, [true, true]),
        ] {
            let mut tree = NameTree::new(TreeKey(1, 2));
            let nodes = [&top, &below].map(|name| tree.add(name.as_wire()));
            let mut rules = RuleSet::default();
            rules.push(&top, reach, Effect::List, 1);
            let marks = tree.mark(&rules, &|_| false);
            assert_eq!(nodes.map(|node| marks.holds_or_www(node)), held, "{reach:?}");
            assert_eq!(marks.holds(nodes[0]), reach != Reach::Children);
        }
    }
}
