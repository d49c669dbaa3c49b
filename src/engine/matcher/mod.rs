//! Rules → tables that answer "which lists hold this name or address?" in one walk, whatever the number of lists.
//!
//! [`Builder`] takes the lists one by one and makes an [`Index`]. What a hit means — whose profile blocks it, which rung
//! it stands on — is policy's; this module knows no category and no client. Matching is exact: every hit rests on a
//! compare of the whole name (I15).

pub mod address;
pub mod public_suffix;
mod set;
pub mod suffix;

use crate::engine::limits::LIST_SKIPPED_SHOWN_MAX;
use crate::engine::list::{Effect, NameRule, RuleSet};
use crate::engine::matcher::address::{AddressBuilder, AddressTable};
use crate::engine::matcher::suffix::{SuffixBuilder, SuffixTable};
use crate::engine::name::Name;
use crate::engine::verdict::ListId;

pub use set::{ListSet, SetId};
pub use suffix::{Hit, Hits, Octets, OpenError};

/// Secret of the name hash. Random in the daemon, so that no list can be written whose names collide; fixed in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashSeed(pub u64, pub u64);

/// Every list's rules, ready to be asked.
#[derive(Debug)]
pub struct Index {
    pub names: SuffixTable,
    pub addresses: AddressTable,
}

/// The lists together have more names than an index can number the octets of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the names of all lists together could take more than {} octets of index", u32::MAX)]
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
}

impl Builder {
    pub fn new(seed: HashSeed) -> Builder {
        Builder { names: SuffixBuilder::new(seed), addresses: AddressBuilder::default() }
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
                spared.note(rule);
            } else {
                self.names.add(list, rule)?;
            }
        }
        for rule in rules.addresses() {
            self.addresses.add(list, *rule);
        }
        Ok(spared)
    }

    pub fn build(self) -> Index {
        Index { names: self.names.build(), addresses: self.addresses.build() }
    }
}

impl Spared {
    fn note(&mut self, rule: NameRule<'_>) {
        self.count += 1;
        if self.shown.len() < LIST_SKIPPED_SHOWN_MAX {
            let name = Name::from_wire(rule.name).expect("a rule's name is canonical wire form");
            self.shown.push(SparedRule { name, line: rule.line });
        }
    }
}

#[cfg(test)]
mod tests;
