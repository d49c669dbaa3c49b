//! Rules → tables that answer "which lists hold this name or address?" in one walk, whatever the number of lists.
//!
//! [`Builder`] takes the lists one by one and makes an [`Index`]. What a hit means — whose profile blocks it, which rung
//! it stands on — is policy's; this module knows no category and no client. Matching is exact: every hit rests on a
//! compare of the whole name (I15).

pub mod address;
mod pattern;
pub mod public_suffix;
mod set;
pub mod special;
pub mod suffix;

use crate::engine::limits::LIST_SKIPPED_SHOWN_MAX;
use crate::engine::list::special::{Action, Owner, Pattern, SpecialRule, ZoneAction};
use crate::engine::list::{Effect, RuleSet};
use crate::engine::matcher::address::{AddressBuilder, AddressTable};
use crate::engine::matcher::special::{SpecialBuilder, SpecialTable};
use crate::engine::matcher::suffix::{SuffixBuilder, SuffixTable};
use crate::engine::name::Name;
use crate::engine::verdict::ListId;

pub use set::{ListSet, SetId};
pub use suffix::{Hit, Hits};

/// Secret of the name hash. Random in the daemon, so that no list can be written whose names collide; fixed in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashSeed(pub u64, pub u64);

/// Every list's rules, ready to be asked.
#[derive(Debug)]
pub struct Index {
    pub names: SuffixTable,
    pub addresses: AddressTable,
    pub special: SpecialTable,
}

/// The lists together have more octets of names, or more patterns, than a table can number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the names of all lists together are over {} octets, or their patterns too many", u32::MAX)]
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

/// Collects the rules of all lists.
pub struct Builder {
    names: SuffixBuilder,
    addresses: AddressBuilder,
    special: SpecialBuilder,
}

impl Builder {
    pub fn new(seed: HashSeed) -> Builder {
        Builder {
            names: SuffixBuilder::new(seed),
            addresses: AddressBuilder::default(),
            special: SpecialBuilder::default(),
        }
    }

    /// Adds a list's rules. `is_public_suffix` guards names under which strangers register: pass
    /// [`public_suffix::is_public_suffix`] for a downloaded list, and `|_| false` for the operator's own word or
    /// `public_suffixes = "obey"`.
    ///
    /// A guarded rule keeps nothing, whatever its reach: a public suffix is a protected name, so no list reaches it.
    /// Exceptions are not guarded: leaving one out would block more.
    pub fn add(
        &mut self,
        list: ListId,
        rules: &RuleSet,
        is_public_suffix: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Spared, IndexFull> {
        let mut spared = Spared::default();
        for rule in rules.names() {
            if rule.effect == Effect::List && is_public_suffix(rule.name) {
                spared.note(rule.name, rule.line);
            } else {
                self.names.add(list, rule)?;
            }
        }
        for rule in rules.addresses() {
            self.addresses.add(list, *rule);
        }
        for rule in rules.specials() {
            match guarded(rule, is_public_suffix) {
                Some(name) => spared.note(&name, rule.line),
                None => self.special.add(list, rule.clone())?,
            }
        }
        Ok(spared)
    }

    /// Makes room for so many name rules in all.
    pub fn reserve(&mut self, rules: usize) {
        self.names.reserve(rules);
    }

    pub fn build(self) -> Index {
        Index { names: self.names.build(), addresses: self.addresses.build(), special: self.special.build() }
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
