//! What the three zone-like formats share: rules with an answer of their own, one for each owner.
//!
//! dnsmasq, Unbound and RPZ say of a name, besides "blocked", what is answered for it; of several rules the most specific
//! counts. Records of one owner come in many lines and are one answer here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::answer::address;
use crate::engine::limits::LIST_OWNER_RECORDS_MAX;
use crate::engine::list::special::{Action, Owner, Record, Records, RuleAnswer, SpecialRule, ZoneAction};
use crate::engine::list::{Reach, RuleSet, SkipReason, hosts};

/// Owners that have a rule with an answer, and where in the rule set it is.
#[derive(Debug, Default)]
pub(super) struct Owners {
    rules: HashMap<Owner, usize>,
}

impl Owners {
    /// Adds a rule. The first one for an owner counts; the same again is nothing new.
    pub(super) fn add(
        &mut self,
        set: &mut RuleSet,
        owner: Owner,
        action: ZoneAction,
        line: u32,
    ) -> Result<(), SkipReason> {
        if let Some(&at) = self.rules.get(&owner) {
            let same = set.specials[at].action == Action::Zone(action);
            return if same { Ok(()) } else { Err(SkipReason::Conflict) };
        }
        let at = set.specials.len();
        let rule = SpecialRule { owner: owner.clone(), condition: None, action: Action::Zone(action), line };
        set.push_special(rule)?;
        self.rules.insert(owner, at);
        Ok(())
    }

    /// Adds a record to what its owner answers.
    pub(super) fn add_record(
        &mut self,
        set: &mut RuleSet,
        owner: Owner,
        record: Record,
        line: u32,
    ) -> Result<(), SkipReason> {
        let Some(&at) = self.rules.get(&owner) else {
            let records = Records { all: vec![record] };
            return self.add(set, owner, ZoneAction::Answer(RuleAnswer::Records(Arc::new(records))), line);
        };
        let Action::Zone(ZoneAction::Answer(RuleAnswer::Records(records))) = &mut set.specials[at].action else {
            return Err(SkipReason::Conflict);
        };
        let records = Arc::make_mut(records);
        if records.all.len() >= LIST_OWNER_RECORDS_MAX {
            return Err(SkipReason::Conflict);
        }
        if !records.all.contains(&record) {
            records.all.push(record);
        }
        Ok(())
    }
}

/// Whether a record is an address that stands for "nowhere": a block, however it is written.
pub(super) fn is_sink(record: &Record) -> bool {
    address(record.rtype, &record.rdata).is_some_and(|address: IpAddr| hosts::is_sink(address))
}

pub(super) fn name_owner(wire: &[u8], reach: Reach) -> Owner {
    Owner::Name { name: wire.into(), reach }
}
