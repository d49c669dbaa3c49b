//! The ladder (DESIGN §4): `on_query` judges a question, `on_answer` what came back. Nothing else decides.
//!
//! [`Permit`] and [`Cleared`] are made here and nowhere else (I4): the forwarder asks for the one and the reply for the
//! other, so a question that no policy saw cannot leave and an answer that no policy saw cannot arrive.
//!
//! Both functions are synchronous, do no I/O and allocate only to say why something is blocked.

mod relevance;
mod special;
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::answer::{Answer, Section};
use crate::engine::category::{Categories, CategoryId, Layer};
use crate::engine::client::{Client, is_private};
use crate::engine::limits::CHAIN_MAX;
use crate::engine::list::special::{RuleAnswer, ZoneAction};
use crate::engine::local_data::LocalAnswer;
use crate::engine::matcher::{Hits, ListSet};
use crate::engine::name::Name;
use crate::engine::policy::special::Matter;
use crate::engine::policy::view::{View, category_of, zones_from};
use crate::engine::query::{Question, Rcode, RecordType};
use crate::engine::safe_search;
use crate::engine::snapshot::{Profile, Snapshot};
use crate::engine::verdict::{
    Block, BlockResponse, Cause, EdeCode, ListId, ProfileId, Reason, Redirect, Rewrite, Rung, Shape, Target,
};

pub use relevance::{Relevance, clear, relevance};

/// Leave to ask upstream about one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The rung of the allow rule that let the question through; `None` when nothing spoke about it.
    allowed: Option<Rung>,
    purpose: Purpose,
    silent: Silent,
    review: Option<ListId>,
}

/// Lists that the answer to a permitted question is not judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silent {
    None,
    /// A policy zone let the question by, on this rung: it and the zones after it.
    Passed(Rung, ListId),
    /// The answer is one that this list chose: it, and all policy zones.
    Chosen(ListId),
}

impl Silent {
    /// What is not heard on `rung`.
    fn on(self, snapshot: &Snapshot, rung: Rung) -> Option<Box<ListSet>> {
        let zones = || snapshot.masks.zones.unwrap_or_default();
        match self {
            Silent::Passed(passed, list) if rung >= passed => Some(Box::new(zones_from(&zones(), list))),
            Silent::Passed(..) | Silent::None => None,
            Silent::Chosen(list) => {
                let mut silent = zones();
                silent.insert(list);
                Some(Box::new(silent))
            }
        }
    }
}

/// What a question is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A client wants the answer.
    Client,
    /// The target of a SafeSearch rewrite.
    SafeSearchTarget,
    /// A cached answer is near its end.
    Prefetch,
    /// `explain` and `safesearch test` of the running resolver.
    Probe,
    /// The host of a list's URL.
    ListHost,
}

/// Leave to deliver an answer. It cannot be made elsewhere.
#[derive(Debug)]
pub struct Cleared {
    /// The additional section leads to something blocked, and goes without: nobody asked for it.
    bare: bool,
}

impl Cleared {
    /// Whether records of this section may be delivered.
    pub fn delivers(&self, section: Section) -> bool {
        !(self.bare && section == Section::Additional)
    }
}

/// What becomes of a question.
#[derive(Debug)]
pub enum QueryVerdict {
    /// Answered from rung 1.
    Local(LocalAnswer),
    Block(Block),
    /// SafeSearch: the target is asked for under the permit.
    Rewrite(Rewrite, Permit),
    /// A list answers with a CNAME: its target is asked for under the permit.
    Redirect(Redirect, Permit),
    Allow(Permit),
}

/// What becomes of an answer.
#[derive(Debug)]
pub enum AnswerVerdict {
    Deliver(Cleared),
    Block(Block),
    /// SafeSearch: a name of the chain is a search engine's host, so the whole answer is what that host's would be.
    Rewrite(Rewrite),
    /// A list leads a name of the chain elsewhere: the target is asked for under the permit.
    Redirect(Redirect, Permit),
    /// The chain is longer than policy walks: SERVFAIL (I8).
    TooLong,
}

/// A step of the ladder, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing on this rung speaks about the name.
    Nothing,
    /// A rule hit, but the name is protected.
    Spared(Cause),
    /// A list takes the name off itself again.
    Excepted(Cause),
    Allow(Cause),
    Block(Cause),
    /// Answered or rewritten.
    Answered,
}

/// Listens to the ladder being climbed. `()` hears nothing and costs nothing.
pub trait Trace {
    fn step(&mut self, rung: Rung, step: impl FnOnce() -> Step);
}

impl Trace for () {
    fn step(&mut self, _: Rung, _: impl FnOnce() -> Step) {}
}

impl Trace for Vec<(Rung, Step)> {
    fn step(&mut self, rung: Rung, step: impl FnOnce() -> Step) {
        self.push((rung, step()));
    }
}

impl Permit {
    /// Leave for a question of our own. Its answer reaches a client only through that client's own [`on_answer`].
    pub fn internal(purpose: Purpose) -> Permit {
        Permit { allowed: None, purpose, silent: Silent::None, review: None }
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The list with a keyword that the question's name has and that does not block: for whoever reviews such names.
    pub fn review(&self) -> Option<ListId> {
        self.review
    }

    /// The rung of the allow rule that let the question through.
    pub fn allowed(&self) -> Option<Rung> {
        self.allowed
    }
}

/// Judges a question: rungs 1 to 7.
pub fn on_query(snapshot: &Snapshot, client: Client, question: &Question, trace: &mut impl Trace) -> QueryVerdict {
    on_query_found(snapshot, client, question, None, trace)
}

/// As [`on_query`], with what the index's names say about the question's name, if that was looked up before.
pub fn on_query_found(
    snapshot: &Snapshot,
    client: Client,
    question: &Question,
    hits: Option<&Hits>,
    trace: &mut impl Trace,
) -> QueryVerdict {
    if let Some(local) = snapshot.local_data.answer(question, client.source) {
        trace.step(Rung::LocalData, || Step::Answered);
        return QueryVerdict::Local(local);
    }
    trace.step(Rung::LocalData, || Step::Nothing);
    let profile = snapshot.profile(client.profile);
    let matter = Matter { name: &question.qname, qtype: question.qtype, client, is_question: true };
    let limits = (None, Silent::None);
    let Judged { judgement, passed, review } = match hits {
        Some(hits) => judge_found(snapshot, profile, matter, hits, limits, trace),
        None => judge(snapshot, profile, matter, limits, trace),
    };
    let allowed = match judgement {
        Judgement::Block(rung, cause, answer) => {
            let reason = Reason { rung, cause, target: None };
            return match given(snapshot, profile, matter, reason, answer) {
                Given::Block(block) => QueryVerdict::Block(block),
                Given::Redirect(redirect, permit) => QueryVerdict::Redirect(redirect, permit),
                Given::Rewrite(rewrite, permit) => {
                    trace.step(Rung::SafeSearch, || Step::Answered);
                    QueryVerdict::Rewrite(rewrite, permit)
                }
            };
        }
        Judgement::Allow(rung) => Some(rung),
        Judgement::Nothing => None,
    };
    let silent = passed.map_or(Silent::None, |(rung, list)| Silent::Passed(rung, list));
    let permit = Permit { allowed, purpose: Purpose::Client, silent, review };
    // An allow rule never turns SafeSearch off: only the profile's own setting does.
    if safe_search::rewrites_type(question.qtype)
        && let Some(rule) = snapshot.safe_search.rule(&question.qname, profile.safe_search, profile.youtube)
    {
        trace.step(Rung::SafeSearch, || Step::Answered);
        let shape = if rule.apex { Shape::OwnName } else { Shape::Cname };
        let rewrite = Rewrite { rule: Arc::clone(rule), shape };
        return QueryVerdict::Rewrite(rewrite, permit);
    }
    trace.step(Rung::SafeSearch, || Step::Nothing);
    QueryVerdict::Allow(permit)
}

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
    let judge = AnswerJudge {
        snapshot,
        profile: snapshot.profile(client.profile),
        client,
        question,
        above: permit.allowed,
        silent: permit.silent,
        rebinding: rebinding_applies(snapshot, permit, question),
    };
    match judge.section(answer, Section::Answer) {
        SectionVerdict::Clean => {
            if let Some(rewrite) = judge.rewrite(question, answer) {
                return AnswerVerdict::Rewrite(rewrite);
            }
            // Glue that leads astray is no reason to withhold what was asked for.
            let bare = !matches!(judge.section(answer, Section::Additional), SectionVerdict::Clean);
            AnswerVerdict::Deliver(Cleared { bare })
        }
        SectionVerdict::Given(Given::Block(block)) => AnswerVerdict::Block(block),
        SectionVerdict::Given(Given::Redirect(redirect, permit)) => AnswerVerdict::Redirect(redirect, permit),
        SectionVerdict::Given(Given::Rewrite(rewrite, _)) => AnswerVerdict::Rewrite(rewrite),
        SectionVerdict::TooLong => AnswerVerdict::TooLong,
    }
}

/// What is the same for every name and address of one answer.
struct AnswerJudge<'a> {
    snapshot: &'a Snapshot,
    profile: &'a Profile,
    client: Client,
    question: &'a Question,
    above: Option<Rung>,
    silent: Silent,
    rebinding: bool,
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
            let Judged { judgement, passed, .. } =
                judge(self.snapshot, self.profile, matter, (self.above, silent), &mut ());
            match judgement {
                Judgement::Block(rung, cause, given_answer) => {
                    let reason = Reason { rung, cause, target: Some(Target::Name(Box::new(name.clone()))) };
                    return SectionVerdict::Given(given(self.snapshot, self.profile, matter, reason, given_answer));
                }
                Judgement::Allow(_) | Judgement::Nothing => {}
            }
            if let (Some((rung, list)), Silent::None) = (passed, silent) {
                silent = Silent::Passed(rung, list);
            }
        }
        for address in answer.addresses(section) {
            if let Some(reason) = self.address(address) {
                return SectionVerdict::Given(Given::Block(block(self.snapshot, self.profile, reason)));
            }
        }
        if section == Section::Answer && self.snapshot.index.special.has_addresses() {
            return self.policy_zones(answer, silent);
        }
        SectionVerdict::Clean
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
            let rule = self.snapshot.safe_search.rule(&name, self.profile.safe_search, self.profile.youtube)?;
            // An alias stays one. A service may be at an apex; and a target that leads back is not made an alias of itself.
            let is_alias = rtype == RecordType::CNAME && rule.target != question.qname;
            let shape = if is_alias { Shape::Cname } else { Shape::OwnName };
            Some(Rewrite { rule: Arc::clone(rule), shape })
        })
    }

    fn address(&self, address: IpAddr) -> Option<Reason> {
        let target = Some(Target::Address(address));
        if let Some((rung, cause)) = judge_address(self.snapshot, self.profile, address, self.above) {
            return Some(Reason { rung, cause, target });
        }
        (self.rebinding && is_private(address)).then_some(Reason {
            rung: Rung::Security,
            cause: Cause::Rebinding,
            target,
        })
    }

    /// What policy zones say about the addresses; they answer for the question's name.
    fn policy_zones(&self, answer: &Answer, mut silent: Silent) -> SectionVerdict {
        let matter =
            Matter { name: &self.question.qname, qtype: self.question.qtype, client: self.client, is_question: true };
        for (rung, mask) in [(Rung::Security, &self.profile.security), (Rung::Category, &self.profile.content)] {
            if self.above.is_some_and(|limit| rung >= limit) {
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
            return SectionVerdict::Given(given(self.snapshot, self.profile, matter, reason, answer));
        }
        SectionVerdict::Clean
    }
}

/// What a blocking rule comes to.
enum Given {
    Block(Block),
    Redirect(Redirect, Permit),
    /// The CNAME leads to a search engine.
    Rewrite(Rewrite, Permit),
}

/// A block, with the rule's own answer if it has one. A CNAME's target is judged here: no list leads to a name that the
/// ladder blocks, nor past SafeSearch (I14).
fn given(
    snapshot: &Snapshot,
    profile: &Profile,
    matter: Matter<'_>,
    reason: Reason,
    answer: Option<RuleAnswer>,
) -> Given {
    let alias = match answer {
        Some(RuleAnswer::Alias(alias)) => alias,
        answer => return Given::Block(Block { answer, ..block(snapshot, profile, reason) }),
    };
    let failed = Some(RuleAnswer::Rcode(Rcode::SERVFAIL));
    let list = match &reason.cause {
        Cause::Rule { list, .. } | Cause::Address { list, .. } => *list,
        Cause::Rebinding | Cause::UnsafeSearch { .. } => return Given::Block(block(snapshot, profile, reason)),
    };
    let Some(target) = alias.target_of(matter.name) else {
        // RFC 6672 §2.2 has YXDOMAIN for a DNAME that makes a name too long; nothing is said for RPZ.
        return Given::Block(Block { answer: failed, ..block(snapshot, profile, reason) });
    };
    let silent = Silent::Chosen(list);
    let of_target = Matter { name: &target, is_question: false, ..matter };
    match judge(snapshot, profile, of_target, (None, silent), &mut ()).judgement {
        Judgement::Block(rung, cause, answer) => {
            let reason = Reason { rung, cause, target: Some(Target::Name(Box::new(target))) };
            // One rule leads elsewhere, not one after the other.
            let answer = answer.filter(|answer| !matches!(answer, RuleAnswer::Alias(_) | RuleAnswer::Records(_)));
            Given::Block(Block { answer, ..block(snapshot, profile, reason) })
        }
        Judgement::Allow(_) | Judgement::Nothing => {
            let permit = Permit { allowed: None, purpose: Purpose::Client, silent, review: None };
            if safe_search::rewrites_type(matter.qtype)
                && let Some(rule) = snapshot.safe_search.rule(&target, profile.safe_search, profile.youtube)
            {
                let shape = if rule.target == *matter.name { Shape::OwnName } else { Shape::Cname };
                return Given::Rewrite(Rewrite { rule: Arc::clone(rule), shape }, permit);
            }
            Given::Redirect(Redirect { from: matter.name.clone(), target, ttl: alias.ttl, reason }, permit)
        }
    }
}

/// The code a reason is told with: the one place that maps them (I12). RFC 8914 §4.
pub fn ede_code(snapshot: &Snapshot, profile: ProfileId, reason: &Reason) -> EdeCode {
    match reason.rung {
        Rung::Order => EdeCode::CENSORED,
        // The operator's policy for everybody is "Blocked", a profile's own choice "Filtered".
        Rung::Operator | Rung::Security => EdeCode::BLOCKED,
        Rung::Category if profile == snapshot.masks.default_profile => EdeCode::BLOCKED,
        Rung::Profile | Rung::Category => EdeCode::FILTERED,
        Rung::LocalData | Rung::SafeSearch | Rung::Forward => EdeCode::OTHER,
    }
}

enum Judgement {
    Block(Rung, Cause, Option<RuleAnswer>),
    Allow(Rung),
    Nothing,
}

/// What a name came to.
struct Judged {
    judgement: Judgement,
    /// The policy zone that let it by, and the rung it did so on.
    passed: Option<(Rung, ListId)>,
    /// The list with a keyword in it that only counts.
    review: Option<ListId>,
}

/// Rungs 2 to 6 for one name. Of the limits, the rung leaves only those above it.
fn judge(
    snapshot: &Snapshot,
    profile: &Profile,
    matter: Matter<'_>,
    limits: (Option<Rung>, Silent),
    trace: &mut impl Trace,
) -> Judged {
    let mut hits = Hits::default();
    snapshot.index.names.look_up(matter.name.as_wire(), &mut hits);
    judge_found(snapshot, profile, matter, &hits, limits, trace)
}

fn judge_found(
    snapshot: &Snapshot,
    profile: &Profile,
    matter: Matter<'_>,
    hits: &Hits,
    (above, silent): (Option<Rung>, Silent),
    trace: &mut impl Trace,
) -> Judged {
    let mut view = View::of(snapshot, matter, hits, silent.on(snapshot, Rung::Security));
    let judgement = climb(snapshot, profile, &mut view, matter.name, (above, silent), trace);
    Judged { judgement, passed: view.passed, review: view.review() }
}

fn climb(
    snapshot: &Snapshot,
    profile: &Profile,
    view: &mut View<'_>,
    name: &Name,
    (above, silent): (Option<Rung>, Silent),
    trace: &mut impl Trace,
) -> Judgement {
    let judged = |rung: Rung| above.is_none_or(|limit| rung < limit);
    let masks = &snapshot.masks;

    // The canary proves that filtering works, so no allow rule may reach it.
    if let Some(canary) = masks.canary
        && let Some(j) = view.lists(Rung::Security, &canary, &mut ())
    {
        return j;
    }

    if judged(Rung::Operator)
        && let Some(j) = view.own_lists(Rung::Operator, masks.operator_allow, masks.operator_deny, trace)
    {
        return j;
    }
    if judged(Rung::Security)
        && let Some(j) = view.lists(Rung::Security, &profile.security, trace)
    {
        return j;
    }
    if judged(Rung::Profile)
        && let Some(j) = view.own_lists(Rung::Profile, profile.allow, profile.deny, trace)
    {
        return j;
    }
    if judged(Rung::Category) {
        if let Some(category) = profile.unsafe_search
            && let Some(labels) = snapshot.safe_search.unsafe_labels(name)
        {
            let cause = Cause::UnsafeSearch { labels, category };
            trace.step(Rung::Category, || Step::Block(cause.clone()));
            return Judgement::Block(Rung::Category, cause, None);
        }
        view.hush(silent.on(snapshot, Rung::Category));
        if let Some(j) = view.lists(Rung::Category, &profile.content, trace) {
            return j;
        }
    }
    Judgement::Nothing
}

/// Rungs 4 and 6 for one address; the operator's and the profiles' own lists hold names only.
fn judge_address(
    snapshot: &Snapshot,
    profile: &Profile,
    address: IpAddr,
    above: Option<Rung>,
) -> Option<(Rung, Cause)> {
    if snapshot.index.addresses.is_empty() {
        return None;
    }
    let listed = snapshot.index.addresses.listed(address);
    [(Rung::Security, &profile.security), (Rung::Category, &profile.content)]
        .into_iter()
        .filter(|(rung, _)| above.is_none_or(|limit| *rung < limit))
        .find_map(|(rung, mask)| {
            let list = listed.intersection(mask).iter().next()?;
            let category = category_of(snapshot.list(list).role);
            Some((rung, Cause::Address { list, category, line: None }))
        })
}

/// Whether private addresses are wrong in the answer to this question. It is a rule of the security rung.
fn rebinding_applies(snapshot: &Snapshot, permit: &Permit, question: &Question) -> bool {
    snapshot.rebind_protection
        && permit.allowed.is_none_or(|rung| Rung::Security < rung)
        && !snapshot.routes.is_explicit_zone(&question.qname)
        && !snapshot.rebind_allow.iter().any(|zone| question.qname.is_at_or_below(zone))
}

fn block(snapshot: &Snapshot, profile: &Profile, reason: Reason) -> Block {
    let response = match reason.cause {
        // The name is good, only this address is not: nothing but NODATA says so.
        Cause::Rebinding => BlockResponse::Nodata,
        // Browsers and phones ask canaries and relay names to hear NXDOMAIN; silence would stall them for seconds.
        Cause::Rule { category: Some(category), .. } if Some(category) == snapshot.masks.bypass => {
            BlockResponse::Nxdomain
        }
        Cause::Rule { .. } | Cause::Address { .. } | Cause::UnsafeSearch { .. } => profile.block_response,
    };
    Block { response, answer: None, reason }
}

/// The category that a reason is counted under and told with.
pub fn category(reason: &Reason) -> Option<CategoryId> {
    match reason.cause {
        Cause::Rule { category, .. } | Cause::Address { category, .. } => category,
        Cause::UnsafeSearch { category, .. } => Some(category),
        Cause::Rebinding => None,
    }
}

/// The extended error's text: English, short, no name of a client's or a list's.
pub fn ede_text<'a>(categories: &'a Categories, reason: &Reason) -> (&'static str, &'a str) {
    let detail = category(reason).map_or("", |c| categories.get(c).title_en.as_str());
    let lead = match (reason.rung, &reason.cause) {
        (_, Cause::Rebinding) => "private address in a public name's answer",
        (Rung::Order, _) => "blocked by a legal order",
        (Rung::Operator, _) => "blocked by the network operator",
        (Rung::Profile, _) => "blocked by this network's own list",
        (Rung::Security, _) => "blocked for your safety: ",
        (Rung::Category, _) => "blocked by this network's policy: ",
        (Rung::LocalData | Rung::SafeSearch | Rung::Forward, _) => "blocked",
    };
    (lead, detail)
}

/// Whether a category's layer is security.
pub fn is_security(categories: &Categories, id: CategoryId) -> bool {
    categories.get(id).layer == Layer::Security
}

/// ANY is answered by policy and by ourselves, never forwarded. RFC 8482.
pub fn is_any(question: &Question) -> bool {
    question.qtype == RecordType::ANY
}

#[cfg(test)]
mod tests;
