//! What policy needs to know of a cached answer, found once for a generation: then a hit costs one profile's mask.
//!
//! It errs to one side only. [`clear`] says yes when the ladder could not but allow the question and deliver the answer
//! whole; everything else is judged as if there were no note.

use crate::engine::answer::{Answer, Section};
use crate::engine::client::is_private;
use crate::engine::limits::CHAIN_MAX;
use crate::engine::matcher::{Hits, ListSet};
use crate::engine::name::Name;
use crate::engine::policy::Cleared;
use crate::engine::query::Question;
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::ProfileId;

/// Every list that says anything about a question, or about a name or an address of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relevance {
    lists: ListSet,
    /// Something else than lists may have a say: a special rule, SafeSearch, a private address, a name of our own.
    is_judged: bool,
}

impl Relevance {
    /// Of an answer that is judged each time.
    pub const JUDGED: Relevance = Relevance { lists: ListSet::EMPTY, is_judged: true };

    pub fn is_judged(&self) -> bool {
        self.is_judged
    }
}

/// Looks at a question and its whole answer for everybody, whatever the profile.
pub fn relevance(snapshot: &Snapshot, question: &Question, answer: &Answer) -> Relevance {
    let special = &snapshot.index.special;
    if special.has_clients() || snapshot.local_data.answer(question).is_some() {
        return Relevance::JUDGED;
    }
    let mut lists = ListSet::EMPTY;
    let mut hits = Hits::new();
    let mut add_name = |name: &Name, lists: &mut ListSet| {
        let mut is_special = false;
        special.at_or_above(name.as_wire(), |_, _| is_special = true);
        special.looking_like(name.as_wire(), |_| is_special = true);
        if is_special || snapshot.safe_search.knows(name) {
            return false;
        }
        snapshot.index.names.look_up(name.as_wire(), &mut hits);
        for hit in hits.as_slice() {
            *lists = lists.union(snapshot.index.names.set(hit.listed)).union(snapshot.index.names.set(hit.excepted));
        }
        true
    };
    let sections = [Section::Answer, Section::Additional];
    let mut is_plain = add_name(&question.qname, &mut lists);
    for section in sections {
        for (i, name) in answer.target_names(section).enumerate() {
            is_plain &= i < CHAIN_MAX && add_name(&name, &mut lists);
        }
        for address in answer.addresses(section) {
            let mut is_special = snapshot.rebind_protection && is_private(address);
            special.for_address(address, |_, _| is_special = true);
            is_plain &= !is_special;
            snapshot.index.addresses.look_up(address, |_, listed, excepted| {
                lists = lists.union(listed).union(excepted);
            });
        }
        if !is_plain {
            return Relevance::JUDGED;
        }
    }
    Relevance { lists, is_judged: false }
}

/// Leave to deliver a cached answer without climbing the ladder. `None`: the ladder must be climbed.
pub fn clear(snapshot: &Snapshot, profile: ProfileId, relevance: &Relevance) -> Option<Cleared> {
    let Relevance { lists, is_judged } = relevance;
    if *is_judged {
        return None;
    }
    let says_nothing = lists.is_empty() || {
        let (masks, profile) = (&snapshot.masks, snapshot.profile(profile));
        let own = [masks.operator_allow, masks.operator_deny, profile.allow, profile.deny];
        !lists.intersects(&profile.security)
            && !lists.intersects(&profile.content)
            && !own.into_iter().any(|list| lists.contains(list))
    };
    // Protected names alone are no reason: a hole in lists that do not hold the name.
    says_nothing.then_some(Cleared { bare: false })
}
