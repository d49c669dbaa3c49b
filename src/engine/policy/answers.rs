//! Judging an answer: rungs 2 to 7 again, for every name and address in it.
//!
//! What a name comes to on the ladder is [`policy`](super)'s; here is which names and addresses an answer has, and what one
//! of them means for the whole.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::answer::{Answer, Section};
use crate::engine::category::CategoryId;
use crate::engine::client::{Client, is_private};
use crate::engine::limits::CHAIN_MAX;
use crate::engine::list::special::ZoneAction;
use crate::engine::matcher::ListSet;
use crate::engine::query::{Question, RecordType};
use crate::engine::safe_search;
use crate::engine::snapshot::{ProfileMasks, Snapshot};
use crate::engine::verdict::{Cause, ListId, Reason, Rewrite, Rung, Shape, Target, Would};

use super::hours::InForce;
use super::special::{self, Matter};
use super::view::category_of;
use super::{
    AnswerVerdict, Cleared, Given, Judged, Judgement, Permit, Silent, block, given, judge, observe, rebinding_applies,
};

/// Judges an answer: rungs 2 to 7 again for every name and address in it, on cache hits too.
///
/// `question` is the client's own, so that a zone with servers of its own may hold private addresses.
pub fn on_answer(
    snapshot: &Snapshot,
    client: Client,
    permit: &Permit,
    question: &Question,
    answer: &Answer,
) -> AnswerVerdict {
    let mut judge = AnswerJudge {
        snapshot,
        profile: InForce::of(snapshot, client, question.qtype),
        client,
        question,
        above: permit.allowed,
        silent: permit.silent,
        rebinding: rebinding_applies(snapshot, permit, question),
        shadow: Cell::new(None),
        ttl_secs_max: Cell::new(permit.ttl_secs_max),
    };
    let verdict = judge.verdict(question, answer);
    let would = match &verdict {
        AnswerVerdict::Deliver(_) | AnswerVerdict::TooLong => return with_counted(verdict, permit),
        AnswerVerdict::Block(block) => observe::instead_of_reason(snapshot, &block.reason),
        AnswerVerdict::Redirect(redirect, _) => observe::instead_of_reason(snapshot, &redirect.reason),
        AnswerVerdict::Rewrite(_) => Some(observe::REWRITE),
    };
    let Some(would) = would.filter(|_| snapshot.observes(client)) else { return verdict };
    // What is done for everybody all the same stands behind what is only counted.
    (judge.above, judge.rebinding) = (Some(Rung::Operator), false);
    match judge.section(answer, Section::Answer) {
        SectionVerdict::Given(Given::Block(block)) => AnswerVerdict::Block(block),
        SectionVerdict::TooLong => AnswerVerdict::TooLong,
        SectionVerdict::Clean | SectionVerdict::Given(_) => {
            let bare = !matches!(judge.section(answer, Section::Additional), SectionVerdict::Clean);
            let would = Some(would).filter(|_| permit.would.is_none());
            AnswerVerdict::Deliver(Cleared { bare, would, ttl_secs_max: u32::MAX })
        }
    }
}

/// What was counted for the question is not counted for its answer again.
fn with_counted(verdict: AnswerVerdict, permit: &Permit) -> AnswerVerdict {
    match verdict {
        AnswerVerdict::Deliver(cleared) => {
            let would = cleared.would.filter(|_| permit.would.is_none());
            AnswerVerdict::Deliver(Cleared { would, ..cleared })
        }
        verdict => verdict,
    }
}

impl AnswerJudge<'_> {
    fn verdict(&self, question: &Question, answer: &Answer) -> AnswerVerdict {
        match self.section(answer, Section::Answer) {
            SectionVerdict::Clean => {
                if let Some(rewrite) = self.rewrite(question, answer) {
                    return AnswerVerdict::Rewrite(rewrite);
                }
                let (shadow, ttl_secs_max) = (self.shadow.get(), self.ttl_secs_max.get());
                // Glue that leads astray is no reason to withhold what was asked for.
                let bare = !matches!(self.section(answer, Section::Additional), SectionVerdict::Clean);
                AnswerVerdict::Deliver(Cleared { bare, would: shadow.map(Would::shadow), ttl_secs_max })
            }
            SectionVerdict::Given(Given::Block(block)) => AnswerVerdict::Block(block),
            SectionVerdict::Given(Given::Redirect(redirect, permit)) => AnswerVerdict::Redirect(redirect, permit),
            SectionVerdict::Given(Given::Rewrite(rewrite, _)) => AnswerVerdict::Rewrite(rewrite),
            SectionVerdict::TooLong => AnswerVerdict::TooLong,
        }
    }
}

/// What is the same for every name and address of one answer.
struct AnswerJudge<'a> {
    snapshot: &'a Snapshot,
    profile: InForce<'a>,
    client: Client,
    question: &'a Question,
    above: Option<Rung>,
    silent: Silent,
    rebinding: bool,
    /// The first category met that is only counted.
    shadow: Cell<Option<CategoryId>>,
    /// The shortest of all names and addresses.
    ttl_secs_max: Cell<u32>,
}

enum SectionVerdict {
    Clean,
    Given(Given),
    TooLong,
}

impl AnswerJudge<'_> {
    fn section(&self, answer: &Answer, section: Section) -> SectionVerdict {
        let mut silent = self.silent;
        for (i, name) in answer.target_names(section).enumerate() {
            if i >= CHAIN_MAX {
                return SectionVerdict::TooLong;
            }
            let matter = Matter { name: &name, qtype: self.question.qtype, client: self.client, is_question: false };
            let Judged { judgement, passed, shadow, ttl_secs_max, .. } =
                judge(self.snapshot, self.profile, matter, (self.above, silent), &mut ());
            match judgement {
                Judgement::Block(rung, cause, given_answer) => {
                    let reason = Reason { rung, cause, target: Some(Target::Name(Box::new(name.clone()))) };
                    return SectionVerdict::Given(given(self.snapshot, self.profile, matter, reason, given_answer));
                }
                Judgement::Allow(..) | Judgement::Nothing => {}
            }
            self.meet(shadow, ttl_secs_max);
            if let (Some((rung, list)), Silent::None) = (passed, silent) {
                silent = Silent::Passed(rung, list);
            }
        }
        for address in answer.addresses(section) {
            if let Some(reason) = self.address(address) {
                return SectionVerdict::Given(Given::Block(block(self.snapshot, self.profile, reason)));
            }
        }
        if section == Section::Answer
            && self.snapshot.index.special.has_addresses()
            && let Some(given) = self.policy_zones(answer, silent)
        {
            return SectionVerdict::Given(given);
        }
        SectionVerdict::Clean
    }

    fn meet(&self, shadow: Option<CategoryId>, ttl_secs_max: u32) {
        self.shadow.set(self.shadow.get().or(shadow));
        self.ttl_secs_max.set(self.ttl_secs_max.get().min(ttl_secs_max));
    }

    /// Rung 7 for the names that the question leads to. As for the question itself, no allow rule turns it off.
    fn rewrite(&self, question: &Question, answer: &Answer) -> Option<Rewrite> {
        if !safe_search::rewrites_type(question.qtype) {
            return None;
        }
        answer.targets(Section::Answer).find_map(|(rtype, name)| {
            // What a DNAME makes of the question's name is the CNAME beside it; its own target is no name of the chain.
            if rtype == RecordType::DNAME {
                return None;
            }
            let rule = self.profile.search_rule(self.snapshot, &name)?;
            // An alias stays one. A service may be at an apex; and a target that leads back is not made an alias of itself.
            let is_alias = rtype == RecordType::CNAME && rule.target != question.qname;
            let shape = if is_alias { Shape::Cname } else { Shape::OwnName };
            let ttl_secs_max = self.ttl_secs_max.get().min(self.profile.told_secs_max);
            Some(Rewrite { rule: Arc::clone(rule), shape, ttl_secs_max })
        })
    }

    fn address(&self, address: IpAddr) -> Option<Reason> {
        let target = Some(Target::Address(address));
        if let Some((rung, cause)) = self.listed_address(address) {
            return Some(Reason { rung, cause, target });
        }
        (self.rebinding && is_private(address)).then_some(Reason {
            rung: Rung::Security,
            cause: Cause::Rebinding,
            target,
        })
    }

    /// Rungs 4 and 6 for one address; the operator's and the profiles' own lists hold names only.
    fn listed_address(&self, address: IpAddr) -> Option<(Rung, Cause)> {
        let AnswerJudge { snapshot, profile, .. } = self;
        if snapshot.index.addresses.is_empty() {
            return None;
        }
        let listed = snapshot.index.addresses.listed(address);
        let first_of = |mask: &ListSet| listed.intersection(mask).iter().next();
        let category_of = |list: ListId| category_of(snapshot.list(list).role);
        let is_paused = |rung: Rung| rung == Rung::Category && profile.paused_until.is_some();
        let judged = |rung: Rung| !is_paused(rung) && self.above.is_none_or(|limit| rung < limit);
        let found = [(Rung::Security, profile.security), (Rung::Category, &profile.masks.content)]
            .into_iter()
            .filter(|(rung, _)| judged(*rung))
            .find_map(|(rung, mask)| {
                let list = first_of(mask)?;
                Some((rung, Cause::Address { list, category: category_of(list), line: None }))
            });
        if found.is_none() && judged(Rung::Category) && !listed.is_empty() {
            let differs =
                |before: &ProfileMasks, after: &ProfileMasks| listed.meets_difference(&before.content, &after.content);
            let secs = profile.secs_until(snapshot.cache.max_client_ttl_secs(), differs);
            self.meet(first_of(&profile.masks.shadow).and_then(category_of), secs.unwrap_or(u32::MAX));
        }
        found
    }

    /// What policy zones say about the addresses; they answer for the question's name.
    fn policy_zones(&self, answer: &Answer, mut silent: Silent) -> Option<Given> {
        let matter =
            Matter { name: &self.question.qname, qtype: self.question.qtype, client: self.client, is_question: true };
        for (rung, mask) in [(Rung::Security, self.profile.security), (Rung::Category, &self.profile.masks.content)] {
            let is_paused = rung == Rung::Category && self.profile.paused_until.is_some();
            if is_paused || self.above.is_some_and(|limit| rung >= limit) {
                continue;
            }
            let Some(zones) = self.snapshot.masks.zones else { continue };
            let mut mask = mask.intersection(&zones);
            if let Some(silent) = silent.on(self.snapshot, rung) {
                mask = mask.difference(&silent);
            }
            let addresses = answer.addresses(Section::Answer);
            let Some((list, line, address, action)) = special::for_addresses(self.snapshot, addresses, &mask) else {
                continue;
            };
            let answer = match action {
                ZoneAction::Answer(answer) if !special::lets_by(&answer, matter) => Some(answer),
                ZoneAction::Block => None,
                ZoneAction::Pass | ZoneAction::Answer(_) => {
                    if silent == Silent::None {
                        silent = Silent::Passed(rung, list);
                    }
                    continue;
                }
            };
            let category = category_of(self.snapshot.list(list).role);
            let cause = Cause::Address { list, category, line: Some(line) };
            let reason = Reason { rung, cause, target: Some(Target::Address(address)) };
            return Some(given(self.snapshot, self.profile, matter, reason, answer));
        }
        None
    }
}
