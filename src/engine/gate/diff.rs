//! What two versions of one list have that the other has not, in figures and a few samples.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::engine::gate::rules::Rules;
use crate::engine::limits::LIST_DIFF_SHOWN_MAX;
use crate::engine::list::{Effect, NameRule, Reach, RuleSet};
use crate::engine::name::Name;

/// The difference of two versions; lines and doubles do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: usize,
    pub removed: usize,
    /// The first ones in the order of the list, at most [`LIST_DIFF_SHOWN_MAX`].
    pub added_shown: Vec<String>,
    pub removed_shown: Vec<String>,
}

const IN_OLD: u8 = 1;
const IN_NEW: u8 = 2;

/// Compares by a hash of each rule: nine octets a rule, and a wrong figure once in a million comparisons.
pub fn difference(old: &dyn Rules, new: &dyn Rules) -> Difference {
    let hasher = DefaultHashBuilder::default();
    let mut seen: HashMap<u64, u8> = HashMap::with_capacity(old.count());
    for (rules, side) in [(old, IN_OLD), (new, IN_NEW)] {
        each_hash(rules, &hasher, |hash, _| *seen.entry(hash).or_default() |= side);
    }
    let mut difference = Difference::default();
    let mut take = |rules: &dyn Rules, only: u8, count: &mut usize, shown: &mut Vec<String>| {
        each_hash(rules, &hasher, |hash, text| {
            // A double is counted once: whoever was counted is in both from now on.
            let sides = seen.entry(hash).or_default();
            if *sides == only {
                *sides = IN_OLD | IN_NEW;
                *count += 1;
                if shown.len() < LIST_DIFF_SHOWN_MAX {
                    shown.push(text());
                }
            }
        });
    };
    let Difference { added, removed, added_shown, removed_shown } = &mut difference;
    take(new, IN_NEW, added, added_shown);
    take(old, IN_OLD, removed, removed_shown);
    difference
}

fn each_hash(rules: &dyn Rules, hasher: &DefaultHashBuilder, mut f: impl FnMut(u64, &dyn Fn() -> String)) {
    rules.walk(&mut |batch| each_hash_of(batch, hasher, &mut f));
}

fn each_hash_of(rules: &RuleSet, hasher: &DefaultHashBuilder, f: &mut dyn FnMut(u64, &dyn Fn() -> String)) {
    for rule in rules.names() {
        let NameRule { name, reach, effect, .. } = rule;
        f(hasher.hash_one((name, reach, effect)), &|| rule_text(&rule));
    }
    for rule in rules.addresses() {
        f(hasher.hash_one((rule.net, rule.effect)), &|| format!("{}{}", mark(rule.effect), rule.net));
    }
}

/// A rule as our own lists write one: `name` with all below, `=name`, `*.name`; `@@` before an exception.
fn rule_text(rule: &NameRule<'_>) -> String {
    let name = Name::from_wire(rule.name).expect("a rule's name is canonical wire form");
    let reach = match rule.reach {
        Reach::Exact => "=",
        Reach::Subtree => "",
        Reach::Children => "*.",
    };
    format!("{}{reach}{name}", mark(rule.effect))
}

fn mark(effect: Effect) -> &'static str {
    match effect {
        Effect::List => "",
        Effect::Except => "@@",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::list::{Format, ParseOptions, parse};

    #[test]
    fn rules_are_compared_whatever_their_lines() {
        let read =
            |text: &str| parse(text.as_bytes(), ParseOptions { format: Format::Adblock, bare_reach: None }).unwrap();
        let old = read("||a.example^\n||b.example^\n||b.example^\n||c.example^\n");
        let new = read("! a comment\n||c.example^\n||d.example^\n||d.example^\n||a.example^\n@@||b.example^\n");
        let Difference { added, removed, added_shown, removed_shown } = difference(&old, &new);
        assert_eq!((added, removed), (2, 1));
        assert_eq!(added_shown, ["d.example", "@@b.example"]);
        assert_eq!(removed_shown, ["b.example"]);
        assert_eq!(difference(&new, &new), Difference::default());
    }
}
