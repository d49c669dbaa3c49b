//! The ladder (DESIGN §4): `on_query` judges a question, `on_answer` what came back. Nothing else decides.
//!
//! [`Permit`] and [`Cleared`] are made here and nowhere else (I4): the forwarder asks for the one and the reply for the
//! other, so a question that no policy saw cannot leave and an answer that no policy saw cannot arrive.
//!
//! Both functions are synchronous, do no I/O and allocate only to say why something is blocked.

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::answer::{Answer, Section};
use crate::engine::category::{Categories, CategoryId, Layer};
use crate::engine::client::{Client, is_private};
use crate::engine::limits::CHAIN_MAX;
use crate::engine::local_data::LocalAnswer;
use crate::engine::matcher::{Hits, ListSet};
use crate::engine::name::Name;
use crate::engine::query::{Question, RecordType};
use crate::engine::safe_search;
use crate::engine::snapshot::{ListRole, Profile, Snapshot};
use crate::engine::verdict::{Block, BlockResponse, Cause, EdeCode, ListId, ProfileId, Reason, Rewrite, Rung, Target};

/// Leave to ask upstream about one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The rung of the allow rule that let the question through; `None` when nothing spoke about it.
    allowed: Option<Rung>,
    purpose: Purpose,
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
    Allow(Permit),
}

/// What becomes of an answer.
#[derive(Debug)]
pub enum AnswerVerdict {
    Deliver(Cleared),
    Block(Block),
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
        Permit { allowed: None, purpose }
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The rung of the allow rule that let the question through.
    pub fn allowed(&self) -> Option<Rung> {
        self.allowed
    }
}

/// Judges a question: rungs 1 to 7.
pub fn on_query(snapshot: &Snapshot, client: Client, question: &Question, trace: &mut impl Trace) -> QueryVerdict {
    if let Some(local) = snapshot.local_data.answer(question) {
        trace.step(Rung::LocalData, || Step::Answered);
        return QueryVerdict::Local(local);
    }
    trace.step(Rung::LocalData, || Step::Nothing);
    let profile = snapshot.profile(client.profile);
    let allowed = match judge(snapshot, profile, &question.qname, None, trace) {
        Judgement::Block(rung, cause) => {
            let reason = Reason { rung, cause, target: None };
            return QueryVerdict::Block(block(snapshot, profile, reason));
        }
        Judgement::Allow(rung) => Some(rung),
        Judgement::Nothing => None,
    };
    let permit = Permit { allowed, purpose: Purpose::Client };
    // An allow rule never turns SafeSearch off: only the profile's own setting does.
    if safe_search::rewrites_type(question.qtype)
        && let Some(rule) = snapshot.safe_search.rule(&question.qname, profile.safe_search, profile.youtube)
    {
        trace.step(Rung::SafeSearch, || Step::Answered);
        let rewrite = Rewrite { engine: rule.engine, rule: Arc::clone(rule) };
        return QueryVerdict::Rewrite(rewrite, permit);
    }
    trace.step(Rung::SafeSearch, || Step::Nothing);
    QueryVerdict::Allow(permit)
}

/// Judges an answer: rungs 2 to 6 again for every name and address in it, on cache hits too.
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
        above: permit.allowed,
        rebinding: rebinding_applies(snapshot, permit, question),
    };
    match judge.section(answer, Section::Answer) {
        SectionVerdict::Clean => {
            // Glue that leads astray is no reason to withhold what was asked for.
            let bare = !matches!(judge.section(answer, Section::Additional), SectionVerdict::Clean);
            AnswerVerdict::Deliver(Cleared { bare })
        }
        SectionVerdict::Block(reason) => AnswerVerdict::Block(block(snapshot, judge.profile, reason)),
        SectionVerdict::TooLong => AnswerVerdict::TooLong,
    }
}

/// What is the same for every name and address of one answer.
struct AnswerJudge<'a> {
    snapshot: &'a Snapshot,
    profile: &'a Profile,
    above: Option<Rung>,
    rebinding: bool,
}

enum SectionVerdict {
    Clean,
    Block(Reason),
    TooLong,
}

impl AnswerJudge<'_> {
    fn section(&self, answer: &Answer, section: Section) -> SectionVerdict {
        for (i, name) in answer.target_names(section).enumerate() {
            if i >= CHAIN_MAX {
                return SectionVerdict::TooLong;
            }
            match judge(self.snapshot, self.profile, &name, self.above, &mut ()) {
                Judgement::Block(rung, cause) => {
                    return SectionVerdict::Block(Reason { rung, cause, target: Some(Target::Name(name)) });
                }
                Judgement::Allow(_) | Judgement::Nothing => {}
            }
        }
        let reason = answer.addresses(section).find_map(|address| self.address(address));
        reason.map_or(SectionVerdict::Clean, SectionVerdict::Block)
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
    Block(Rung, Cause),
    Allow(Rung),
    Nothing,
}

/// Rungs 2 to 6 for one name; `above` leaves only the rungs above that one.
fn judge(
    snapshot: &Snapshot,
    profile: &Profile,
    name: &Name,
    above: Option<Rung>,
    trace: &mut impl Trace,
) -> Judgement {
    let mut hits = Hits::default();
    snapshot.index.names.look_up(name.as_wire(), &mut hits);
    let view = View::of(snapshot, name, &hits);
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
            && let Some(owner) = snapshot.safe_search.unsafe_owner(name)
        {
            let cause = Cause::UnsafeSearch { owner, category };
            trace.step(Rung::Category, || Step::Block(cause.clone()));
            return Judgement::Block(Rung::Category, cause);
        }
        if let Some(j) = view.lists(Rung::Category, &profile.content, trace) {
            return j;
        }
    }
    Judgement::Nothing
}

/// What the index says about one name.
struct View<'a> {
    snapshot: &'a Snapshot,
    name: &'a Name,
    hits: &'a Hits,
    /// Lists that take the name off themselves again.
    excepted: ListSet,
    protected: bool,
    protected_content: bool,
}

impl<'a> View<'a> {
    fn of(snapshot: &'a Snapshot, name: &'a Name, hits: &'a Hits) -> View<'a> {
        let mut view =
            View { snapshot, name, hits, excepted: ListSet::default(), protected: false, protected_content: false };
        for hit in hits.as_slice() {
            let listed = snapshot.index.names.set(hit.listed);
            if !hit.excepted.is_empty() {
                view.excepted = view.excepted.union(snapshot.index.names.set(hit.excepted));
            }
            view.protected |= listed.contains(snapshot.masks.protected);
            view.protected_content |= listed.contains(snapshot.masks.protected_content);
        }
        view
    }

    /// An allow list and a deny list of ours: the more specific rule wins, allow at a tie.
    fn own_lists(&self, rung: Rung, allow: ListId, deny: ListId, trace: &mut impl Trace) -> Option<Judgement> {
        for hit in self.hits.as_slice().iter().rev() {
            let listed = self.snapshot.index.names.set(hit.listed);
            if listed.contains(allow) {
                trace.step(rung, || Step::Allow(self.cause(allow, hit.depth)));
                return Some(Judgement::Allow(rung));
            }
            if listed.contains(deny) {
                let cause = self.cause(deny, hit.depth);
                // Only an order with an explicit override reaches a protected name.
                if self.protected {
                    trace.step(rung, || Step::Spared(cause));
                    return None;
                }
                trace.step(rung, || Step::Block(cause.clone()));
                return Some(Judgement::Block(rung, cause));
            }
        }
        trace.step(rung, || Step::Nothing);
        None
    }

    /// The lists of `mask`: the most specific rule is the one that is told.
    fn lists(&self, rung: Rung, mask: &ListSet, trace: &mut impl Trace) -> Option<Judgement> {
        for hit in self.hits.as_slice().iter().rev() {
            let listed = self.snapshot.index.names.set(hit.listed).intersection(mask).difference(&self.excepted);
            let Some(list) = listed.iter().next() else { continue };
            let cause = self.cause(list, hit.depth);
            if self.protected || (rung == Rung::Category && self.protected_content) {
                trace.step(rung, || Step::Spared(cause));
                return None;
            }
            trace.step(rung, || Step::Block(cause.clone()));
            return Some(Judgement::Block(rung, cause));
        }
        trace.step(rung, || Step::Nothing);
        None
    }

    fn cause(&self, list: ListId, depth: u8) -> Cause {
        let category = category_of(self.snapshot.list(list).role);
        Cause::Rule { list, category, owner: self.name.suffix(usize::from(depth)) }
    }
}

fn category_of(role: ListRole) -> Option<CategoryId> {
    match role {
        ListRole::Category(category) => Some(category),
        ListRole::OperatorAllow
        | ListRole::OperatorDeny
        | ListRole::ProfileAllow(_)
        | ListRole::ProfileDeny(_)
        | ListRole::Protected
        | ListRole::ProtectedContent => None,
    }
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
            Some((rung, Cause::Address { list, category }))
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
    Block { response, reason }
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
