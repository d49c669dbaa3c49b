//! Rules → tables that answer "which lists hold this name or address?" in one walk, whatever the number of lists.
//!
//! A list becomes a [`Part`]; [`Builder`] takes the parts and makes a [`Layer`]; an [`Index`] is one or several of those.
//! What a hit means — whose profile blocks it, which rung it stands on — is policy's; this module knows no category and no
//! client. Matching is exact: every hit rests on a compare of the whole name (I15).

pub mod address;
mod layers;
mod pattern;
pub mod public_suffix;
mod set;
pub mod special;
pub mod suffix;

use std::collections::HashMap;

use crate::engine::limits::{LIST_OWNER_RULES_MAX, LIST_SKIPPED_SHOWN_MAX, PATTERNS_MAX};
use crate::engine::list::special::{Action, Owner, Pattern, SpecialRule, ZoneAction};
use crate::engine::list::{
    AddressRule, Effect, ListError, ListReport, ParseOptions, RuleSet, SkipReason, parse, parse_in_pieces,
};
use crate::engine::matcher::address::AddressBuilder;
use crate::engine::matcher::special::SpecialBuilder;
use crate::engine::matcher::suffix::Runs;
use crate::engine::name::Name;
use crate::engine::verdict::ListId;

pub use layers::{Addresses, Index, Layer, Names, Placed, Specials};
pub use set::{ListSet, SetId};
pub use suffix::{Hit, Hits, Octets, OpenError};

/// Secret of the name hash. Random in the daemon, so that no list can be written whose names collide; fixed in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashSeed(pub u64, pub u64);

/// The lists together have more names than an index can number the octets of, or too many patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the names of all lists together could take more than {} octets of index, or their patterns are more than \
     {PATTERNS_MAX}",
    u32::MAX
)]
pub struct IndexFull;

/// What the public-suffix guard did to one list's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spared {
    pub count: u32,
    /// The first ones, at most [`LIST_SKIPPED_SHOWN_MAX`].
    pub shown: Vec<SparedRule>,
}

/// A rule that stood on a public suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparedRule {
    pub name: Name,
    pub line: u32,
}

/// Rules that are held as they come when a text is read: some 9 MB.
const PIECE_RULES: usize = 1 << 18;

/// One list's rules, sorted and written short: what a list is between its text and the index. Parts are made one by one,
/// on as many threads as there are; [`Builder`] merges them.
#[derive(Debug, Default)]
pub struct Part {
    names: Runs,
    addresses: Vec<AddressRule>,
    specials: Vec<SpecialRule>,
    pub spared: Spared,
    /// Rules read, the spared ones too.
    pub rules: usize,
    pub report: ListReport,
}

impl Part {
    /// `is_public_suffix` guards names under which strangers register: pass [`public_suffix::is_public_suffix`] for a
    /// downloaded list, and `|_| false` for the operator's own word or `public_suffixes = "obey"`.
    ///
    /// A guarded rule keeps nothing, whatever its reach: a public suffix is a protected name, so no list reaches it.
    /// Exceptions are not guarded: leaving one out would block more.
    pub fn of(rules: &RuleSet, is_public_suffix: &dyn Fn(&[u8]) -> bool) -> Part {
        let mut part = Part::default();
        part.take_names(rules, is_public_suffix);
        part.finish(rules, is_public_suffix)
    }

    /// Reads a list's text, never holding many of its rules as they come.
    pub fn read(
        text: &[u8],
        options: ParseOptions,
        is_public_suffix: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Part, ListError> {
        Part::read_in_pieces(text, options, is_public_suffix, PIECE_RULES)
    }

    fn read_in_pieces(
        text: &[u8],
        options: ParseOptions,
        is_public_suffix: &dyn Fn(&[u8]) -> bool,
        piece: usize,
    ) -> Result<Part, ListError> {
        let mut part = Part::default();
        match parse_in_pieces(text, options, piece, |piece| part.take_names(piece, is_public_suffix))? {
            Some(rest) => {
                part.take_names(&rest, is_public_suffix);
                Ok(part.finish(&rest, is_public_suffix))
            }
            None => Ok(Part::of(&parse(text, options)?, is_public_suffix)),
        }
    }

    fn take_names(&mut self, rules: &RuleSet, is_public_suffix: &dyn Fn(&[u8]) -> bool) {
        for rule in rules.names() {
            self.rules += 1;
            if rule.effect == Effect::List && is_public_suffix(rule.name) {
                self.spared.note(rule.name, rule.line);
            } else {
                self.names.push(rule);
            }
        }
    }

    /// `last` has what is not given away in pieces: addresses, special rules and the report.
    fn finish(mut self, last: &RuleSet, is_public_suffix: &dyn Fn(&[u8]) -> bool) -> Part {
        self.names.end_run();
        self.rules += last.addresses().len() + last.specials().len();
        self.report = last.report.clone();
        let mut of_one: HashMap<&Owner, usize> = HashMap::new();
        for rule in last.specials() {
            if let Some(name) = guarded(rule, is_public_suffix) {
                self.spared.note(&name, rule.line);
                continue;
            }
            // A question looks at every rule about its name: there is a bound to them.
            let count = of_one.entry(&rule.owner).or_default();
            *count += 1;
            if *count > LIST_OWNER_RULES_MAX {
                self.report.skip(rule.line, SkipReason::TooManyOfOne, "(the list has too many rules about this)");
                continue;
            }
            self.specials.push(rule.clone());
        }
        self.addresses = last.addresses().to_vec();
        self
    }
}

/// Collects the rules of all lists.
pub struct Builder {
    seed: HashSeed,
    names: Vec<(ListId, Runs)>,
    addresses: AddressBuilder,
    special: SpecialBuilder,
}

impl Builder {
    pub fn new(seed: HashSeed) -> Builder {
        Builder { seed, names: Vec::new(), addresses: AddressBuilder::default(), special: SpecialBuilder::default() }
    }

    /// Adds a list. The caller gives each list a number of its own.
    pub fn add(&mut self, list: ListId, part: Part) {
        self.names.push((list, part.names));
        part.addresses.into_iter().for_each(|rule| self.addresses.add(list, rule));
        part.specials.into_iter().for_each(|rule| self.special.add(list, rule));
    }

    /// Adds lists as another layer holds them: `new_id`, by that layer's [`ListId`], tells which and under what number.
    pub fn add_from(&mut self, layer: &Layer, new_id: &[Option<ListId>]) {
        let id = |list: ListId| new_id.get(usize::from(list.0)).copied().flatten();
        let mut kept: Vec<Runs> = new_id.iter().map(|_| Runs::default()).collect();
        layer.names.for_each_rule(|list, rule| {
            if id(list).is_some() {
                kept[usize::from(list.0)].push_sorted(rule);
            }
        });
        self.names.extend(new_id.iter().zip(kept).filter_map(|(id, runs)| Some(((*id)?, runs))));
        for (list, rule) in layer.addresses.rules() {
            if let Some(list) = id(list) {
                self.addresses.add(list, rule);
            }
        }
        for (list, rule) in layer.special.rules() {
            if let Some(list) = id(*list) {
                self.special.add(list, rule.clone());
            }
        }
    }

    pub fn build(self) -> Result<Layer, IndexFull> {
        let names = suffix::build(self.seed, self.names).ok_or(IndexFull)?;
        let special = self.special.build().ok_or(IndexFull)?;
        Ok(Layer { names, addresses: self.addresses.build(), special })
    }
}

/// The public suffix that a special rule would take with it. Rules that let something by are never guarded.
fn guarded(rule: &SpecialRule, is_public_suffix: &dyn Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    if matches!(
        rule.action,
        Action::Except { .. } | Action::Unrewrite { .. } | Action::Zone(ZoneAction::Pass) | Action::Review
    ) {
        return None;
    }
    match &rule.owner {
        Owner::Name { name, .. } => is_public_suffix(name).then(|| name.to_vec()),
        // Whatever ends with `com`, with or without a dot before it.
        Owner::Pattern(Pattern::Literal { text, ends: true, .. }) => {
            let name = Name::from_text(text.trim_matches('.')).ok()?;
            is_public_suffix(name.as_wire()).then(|| name.as_wire().to_vec())
        }
        Owner::Pattern(_) | Owner::Client(_) | Owner::Address(_) => None,
    }
}

impl Spared {
    fn note(&mut self, name: &[u8], line: u32) {
        self.count += 1;
        if self.shown.len() < LIST_SKIPPED_SHOWN_MAX {
            let name = Name::from_wire(name).expect("a rule's name is canonical wire form");
            self.shown.push(SparedRule { name, line });
        }
    }
}

#[cfg(test)]
mod tests;
