//! Names that a list should not begin to block: our own, and those of a ranked file that the operator points to.

use crate::engine::category::Layer;
use crate::engine::gate::rules::Rules;
use crate::engine::gate::tree::{Marks, NameTree, Node, TreeKey};
use crate::engine::limits::POPULAR_NAMES_MAX;
use crate::engine::list::{Effect, Reach, RuleSet};
use crate::engine::name::Name;

/// The names, ready for rules to be walked over them.
#[derive(Debug)]
pub struct Popularity {
    pub(super) tree: NameTree,
    /// Canonical wire forms, end to end.
    octets: Vec<u8>,
    /// Our own first, then the ranked ones, the most popular first.
    names: Vec<Popular>,
    pub(super) holes: Holes,
}

#[derive(Debug, Clone, Copy)]
struct Popular {
    start: u32,
    len: u8,
    kind: Kind,
    /// No list reaches it.
    protected: bool,
    /// No list of a content category reaches it.
    protected_content: bool,
    node: Node,
}

/// Why a name is among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    MustNotBlock,
    Ranked,
}

/// Names that lists do not reach, so that naming them does no harm.
#[derive(Debug, Default)]
pub struct Holes {
    pub protected: RuleSet,
    pub protected_content: RuleSet,
}

impl Holes {
    pub fn new(protected: &[(Name, Reach)], protected_content: &[(Name, Reach)]) -> Holes {
        let rules = |entries: &[(Name, Reach)]| {
            let mut rules = RuleSet::default();
            entries.iter().for_each(|(name, reach)| rules.push(name, *reach, Effect::List, 0));
            rules
        };
        Holes { protected: rules(protected), protected_content: rules(protected_content) }
    }
}

/// What a ranked file holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RankedReport {
    pub names: usize,
    /// Lines that hold no name of two labels or more.
    pub skipped: usize,
}

impl Popularity {
    /// `ranked` is the file's text: `rank,name` or a name a line, the most popular first; names after the first `top`
    /// are left out.
    pub fn new(
        key: TreeKey,
        holes: Holes,
        must_not_block: impl Iterator<Item = Name>,
        ranked: &str,
        top: usize,
    ) -> (Popularity, RankedReport) {
        let mut popularity = Popularity { tree: NameTree::new(key), octets: Vec::new(), names: Vec::new(), holes };
        must_not_block.for_each(|name| popularity.push(&name, Kind::MustNotBlock));
        let mut report = RankedReport::default();
        for line in ranked.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if report.names >= top.min(POPULAR_NAMES_MAX) {
                break;
            }
            match ranked_name(line) {
                Some(name) => {
                    popularity.push(&name, Kind::Ranked);
                    report.names += 1;
                }
                None => report.skipped += 1,
            }
        }
        popularity.note_holes();
        (popularity, report)
    }

    fn push(&mut self, name: &Name, kind: Kind) {
        let (wire, start) = (name.as_wire(), self.octets.len() as u32);
        self.octets.extend_from_slice(wire);
        let node = self.tree.add(wire);
        self.names.push(Popular {
            start,
            len: wire.len() as u8,
            kind,
            protected: false,
            protected_content: false,
            node,
        });
    }

    fn note_holes(&mut self) {
        let protected = self.tree.mark(&self.holes.protected, &|_| false);
        let content = self.tree.mark(&self.holes.protected_content, &|_| false);
        for name in &mut self.names {
            name.protected = protected.holds(name.node);
            name.protected_content = content.holds(name.node);
        }
    }

    /// Every name that a list of this layer could reach and that `is_hit`, with why it is here.
    pub(super) fn hit<'a>(
        &'a self,
        layer: Layer,
        is_hit: impl Fn(Node) -> bool + 'a,
    ) -> impl Iterator<Item = (Kind, Name)> + 'a {
        let reachable = move |name: &&Popular| !(name.protected || (layer == Layer::Content && name.protected_content));
        self.names.iter().filter(reachable).filter(move |name| is_hit(name.node)).map(|name| {
            let wire = &self.octets[name.start as usize..name.start as usize + usize::from(name.len)];
            (name.kind, Name::from_wire(wire).expect("a name was put in"))
        })
    }

    pub(super) fn mark(&self, rules: &dyn Rules, is_spared: &dyn Fn(&[u8]) -> bool) -> Marks {
        self.tree.mark(rules, is_spared)
    }
}

/// The name in `1,example.com`, `example.com,…` or `example.com`: the first field that is no number.
fn ranked_name(line: &str) -> Option<Name> {
    let mut fields = line.split([',', '\t', ';']).map(|field| field.trim().trim_matches('"'));
    let text = fields.find(|field| !field.bytes().all(|c| c.is_ascii_digit()))?;
    Name::from_text(text).ok().filter(|name| name.label_count() >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranked_files_are_read_as_their_publishers_write_them() {
        for (line, name) in [
            ("1,google.com", Some("google.com")),
            ("google.com", Some("google.com")),
            ("google.com\t1\t1", Some("google.com")),
            ("\"12\",\"example.org\",\"x\"", Some("example.org")),
            ("Example.ORG.", Some("example.org")),
            ("rank,domain", None),
            ("1,com", None),
            ("1", None),
            ("<html>", None),
        ] {
            assert_eq!(ranked_name(line), name.map(|text| Name::from_text(text).unwrap()), "{line}");
        }
    }

    #[test]
    fn names_after_the_top_are_left_out() {
        let text = "rank,name\n1,one.example\n2,two.example\n\n# end\n3,three.example\n";
        let new = |top| Popularity::new(TreeKey(1, 2), Holes::default(), std::iter::empty(), text, top).1;
        assert_eq!(new(2), RankedReport { names: 2, skipped: 1 });
        assert_eq!(new(10), RankedReport { names: 3, skipped: 1 });
    }
}
