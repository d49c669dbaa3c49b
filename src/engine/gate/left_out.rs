//! Names that should not be blocked, and the rules that would block them, left out of a version that is good otherwise.
//!
//! Rules go, not names: what else such a rule reaches — every service below the name — must not be blocked either. Other
//! rules of the list stand, also those about hosts further down.

use std::collections::{BTreeSet, HashSet};

use crate::engine::gate::popular::Kind;
use crate::engine::gate::{HoldReason, Popularity, Proposal, Supply, each_newly_hit};
use crate::engine::list::special::Owner;
use crate::engine::list::{Effect, Reach};
use crate::engine::name::{Name, wire_is_at_or_below};

/// Names that rules stand on, in canonical wire form.
pub type RuleNames = HashSet<Box<[u8]>>;

/// What a version goes into force without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The names that should not be blocked.
    pub names: Vec<Name>,
    /// The names that the rules stand on which would; sorted.
    pub rules: Vec<Name>,
}

impl LeftOut {
    pub fn rule_names(&self) -> RuleNames {
        self.rules.iter().map(|name| name.as_wire().into()).collect()
    }
}

/// What a version is to go without, which would wait for these reasons: nothing when none of them is our own names, or when
/// they are too many to be a few mistakes.
pub(super) fn of(proposal: &Proposal<'_>, popularity: &Popularity, reasons: &[HoldReason]) -> LeftOut {
    let spare = proposal.settings.must_not_block_spare;
    let is_few = |reason: &HoldReason| matches!(reason, HoldReason::MustNotBlock { count, .. } if *count <= spare);
    if proposal.supply == Supply::Hand || !reasons.iter().any(is_few) {
        return LeftOut::default();
    }
    let mut names: Vec<Name> = Vec::new();
    each_newly_hit(proposal, popularity, &RuleNames::default(), |kind, name| match kind {
        Kind::MustNotBlock => names.push(name.clone()),
        Kind::Ranked => {}
    });
    // A list that blocks `www.` blocks the site.
    let www = names.iter().filter_map(|name| name.child("www").ok());
    let spared: Vec<Name> = names.iter().cloned().chain(www).collect();
    let mut rules: BTreeSet<Box<[u8]>> = BTreeSet::new();
    let mut take = |owner: &[u8], reach: Reach| {
        if spared.iter().any(|name| covers(owner, reach, name.as_wire())) {
            rules.insert(owner.into());
        }
    };
    proposal.new.walk(&mut |batch| {
        batch.names().filter(|rule| rule.effect == Effect::List).for_each(|rule| take(rule.name, rule.reach));
    });
    for rule in proposal.new.specials() {
        match &rule.owner {
            Owner::Name { name, reach } => take(name, *reach),
            Owner::Pattern(_) | Owner::Client(_) | Owner::Address(_) => {}
        }
    }
    let name = |wire: Box<[u8]>| Name::from_wire(&wire).expect("a rule stands on a name");
    LeftOut { names, rules: rules.into_iter().map(name).collect() }
}

fn covers(owner: &[u8], reach: Reach, name: &[u8]) -> bool {
    match reach {
        Reach::Exact => owner == name,
        Reach::Subtree => wire_is_at_or_below(name, owner),
        Reach::Children => owner != name && wire_is_at_or_below(name, owner),
    }
}
