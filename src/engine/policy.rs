//! The ladder (DESIGN §4): `on_query` judges a question, `on_answer` what came back. Nothing else decides.
//!
//! [`Permit`] and [`Cleared`] are made here and nowhere else (I4): the forwarder asks for the one and the reply for the
//! other, so a question that no policy saw cannot leave and an answer that no policy saw cannot arrive.
//!
//! Both functions are synchronous, do no I/O and allocate only to say why something is blocked.

mod answers;
mod hours;
mod observe;
mod relevance;
mod special;
mod view;

use std::sync::Arc;

use crate::engine::answer::Section;
use crate::engine::category::{Categories, CategoryId, Layer};
use crate::engine::client::{Client, UnixTime};
use crate::engine::list::special::RuleAnswer;
use crate::engine::local_data::LocalAnswer;
use crate::engine::matcher::{Hits, ListSet};
use crate::engine::policy::special::Matter;
use crate::engine::policy::view::{View, zones_from};
use crate::engine::query::{Question, Rcode, RecordType};
use crate::engine::safe_search::{self, Rule};
use crate::engine::snapshot::{Profile, ProfileMasks, Snapshot};
use crate::engine::verdict::{
    Block, BlockResponse, Cause, Counted, EdeCode, ListId, ProfileId, Reason, Redirect, Rewrite, Rung, Shape, Target,
    Would,
};

pub use answers::on_answer;
pub use hours::InForce;
pub use relevance::{Relevance, clear, relevance};

/// Leave to ask upstream about one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The rung of the allow rule that let the question through; `None` when nothing spoke about it.
    allowed: Option<Rung>,
    purpose: Purpose,
    silent: Silent,
    review: Option<ListId>,
    would: Option<Would>,
    /// Nothing that is said about the name is told with a longer TTL, in seconds.
    ttl_secs_max: u32,
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
    would: Option<Would>,
    ttl_secs_max: u32,
}

impl Cleared {
    /// Whether records of this section may be delivered.
    pub fn delivers(&self, section: Section) -> bool {
        !(self.bare && section == Section::Additional)
    }

    /// No record is told with a longer TTL, in seconds: a window may open or close then.
    pub fn ttl_secs_max(&self) -> u32 {
        self.ttl_secs_max
    }

    /// What would have been done about the answer, if that is only counted and was not counted for the question.
    pub fn would(&self) -> Option<Would> {
        self.would
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
    Redirect(Box<Redirect>, Permit),
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
    Redirect(Box<Redirect>, Permit),
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
    /// A pause holds this rung off.
    Paused,
    /// Answered or rewritten.
    Answered,
}

/// Listens to the ladder being climbed. `()` hears nothing and costs nothing.
pub trait Trace {
    /// Whether every rung is to be told of, those too that have nothing to say.
    const IS_HEARD: bool;

    fn step(&mut self, rung: Rung, step: impl FnOnce() -> Step);
}

impl Trace for () {
    const IS_HEARD: bool = false;

    fn step(&mut self, _: Rung, _: impl FnOnce() -> Step) {}
}

impl Trace for Vec<(Rung, Step)> {
    const IS_HEARD: bool = true;

    fn step(&mut self, rung: Rung, step: impl FnOnce() -> Step) {
        self.push((rung, step()));
    }
}

impl Permit {
    /// Leave for a question of our own. Its answer reaches a client only through that client's own [`on_answer`].
    pub fn internal(purpose: Purpose) -> Permit {
        Permit { purpose, ..Permit::plain() }
    }

    /// Leave for a client that nothing speaks about.
    fn plain() -> Permit {
        Permit {
            allowed: None,
            purpose: Purpose::Client,
            silent: Silent::None,
            review: None,
            would: None,
            ttl_secs_max: u32::MAX,
        }
    }

    /// What would have been done about the question, if that is only counted.
    pub fn would(&self) -> Option<Would> {
        self.would
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

/// Judges a question: rungs 1 to 7. For a client that is only observed, what would have been done is in the permit.
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
    let verdict = enforced(snapshot, client, question, hits, trace);
    if matches!(verdict, QueryVerdict::Local(_) | QueryVerdict::Allow(_)) || !snapshot.observes(client) {
        return verdict;
    }
    match observe::instead_of(snapshot, &verdict) {
        Some(would) => QueryVerdict::Allow(Permit { would: Some(would), ..Permit::plain() }),
        None => verdict,
    }
}

/// Judges a question as if nobody were observed: for who tells what would have been done.
pub fn on_query_enforced(
    snapshot: &Snapshot,
    client: Client,
    question: &Question,
    trace: &mut impl Trace,
) -> QueryVerdict {
    enforced(snapshot, client, question, None, trace)
}

fn enforced<T: Trace>(
    snapshot: &Snapshot,
    client: Client,
    question: &Question,
    hits: Option<&Hits>,
    trace: &mut T,
) -> QueryVerdict {
    if let Some(local) = snapshot.local_data.answer(question, client.source) {
        trace.step(Rung::LocalData, || Step::Answered);
        return QueryVerdict::Local(local);
    }
    trace.step(Rung::LocalData, || Step::Nothing);
    let whole = snapshot.profile(client.profile);
    if !T::IS_HEARD && snapshot.overlay.is_empty() && hits.is_some_and(|hits| nobody_speaks(snapshot, whole, hits)) {
        // Neither the hour nor a pause makes a difference, so nobody looks.
        let rule = safe_search::rewrites_type(question.qtype).then(|| snapshot.search_rule(whole, &question.qname));
        return match rule.flatten() {
            Some(rule) => QueryVerdict::Rewrite(in_place(rule, client.standing.ttl_secs_max()), Permit::plain()),
            None => QueryVerdict::Allow(Permit::plain()),
        };
    }
    let profile = InForce::of(snapshot, client, question.qtype);
    let matter = Matter { name: &question.qname, qtype: question.qtype, client, is_question: true };
    let limits = (None, Silent::None);
    let Judged { judgement, passed, review, shadow, ttl_secs_max } = match hits {
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
        Judgement::Allow(rung, _) => Some(rung),
        Judgement::Nothing => None,
    };
    let silent = passed.map_or(Silent::None, |(rung, list)| Silent::Passed(rung, list));
    let would = shadow.map(Would::shadow);
    let permit = Permit { allowed, purpose: Purpose::Client, silent, review, would, ttl_secs_max };
    // An allow rule never turns SafeSearch off: only the profile's own setting does.
    if safe_search::rewrites_type(question.qtype)
        && let Some(rule) = profile.search_rule(snapshot, &question.qname)
    {
        trace.step(Rung::SafeSearch, || Step::Answered);
        return QueryVerdict::Rewrite(in_place(rule, ttl_secs_max.min(profile.told_secs_max)), permit);
    }
    trace.step(Rung::SafeSearch, || if profile.paused_until.is_some() { Step::Paused } else { Step::Nothing });
    QueryVerdict::Allow(permit)
}

/// What SafeSearch puts in the place of a question's name.
fn in_place(rule: &Arc<Rule>, ttl_secs_max: u32) -> Rewrite {
    let shape = if rule.apex { Shape::OwnName } else { Shape::Cname };
    Rewrite { rule: Arc::clone(rule), shape, ttl_secs_max }
}

/// What a blocking rule comes to.
enum Given {
    Block(Block),
    Redirect(Box<Redirect>, Permit),
    /// The CNAME leads to a search engine.
    Rewrite(Rewrite, Permit),
}

/// A block, with the rule's own answer if it has one. A CNAME's target is judged here: no list leads to a name that the
/// ladder blocks, nor past SafeSearch (I14).
fn given(
    snapshot: &Snapshot,
    profile: InForce<'_>,
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
        Cause::Rebinding
        | Cause::UnsafeSearch { .. }
        | Cause::NotAllowed
        | Cause::Order { .. }
        | Cause::Temporary { .. } => {
            return Given::Block(block(snapshot, profile, reason));
        }
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
        Judgement::Allow(..) | Judgement::Nothing => {
            let ttl_secs_max = profile.block_ttl_secs(snapshot);
            let permit = Permit { silent, ..Permit::plain() };
            if safe_search::rewrites_type(matter.qtype)
                && let Some(rule) = profile.search_rule(snapshot, &target)
            {
                let shape = if rule.target == *matter.name { Shape::OwnName } else { Shape::Cname };
                return Given::Rewrite(Rewrite { rule: Arc::clone(rule), shape, ttl_secs_max }, permit);
            }
            let ttl =
                alias.ttl.map(|ttl| ttl.min(profile.secs_until(ttl, |before, after| before != after).unwrap_or(ttl)));
            let ttl = Some(ttl.unwrap_or(ttl_secs_max));
            let redirect = Redirect { from: matter.name.clone(), target, ttl, reason };
            Given::Redirect(Box::new(redirect), permit)
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
    /// With its end, if a word with one allows it.
    Allow(Rung, Option<UnixTime>),
    Nothing,
}

/// What a name came to.
struct Judged {
    judgement: Judgement,
    /// The policy zone that let it by, and the rung it did so on.
    passed: Option<(Rung, ListId)>,
    /// The list with a keyword in it that only counts.
    review: Option<ListId>,
    /// The category that only counts.
    shadow: Option<CategoryId>,
    /// Seconds until it is judged otherwise by the hour; as many as there are: not while any answer lives.
    ttl_secs_max: u32,
}

/// Rungs 2 to 6 for one name. Of the limits, the rung leaves only those above it.
fn judge(
    snapshot: &Snapshot,
    profile: InForce<'_>,
    matter: Matter<'_>,
    limits: (Option<Rung>, Silent),
    trace: &mut impl Trace,
) -> Judged {
    let mut hits = Hits::default();
    snapshot.index.names.look_up(matter.name.as_wire(), &mut hits);
    judge_found(snapshot, profile, matter, &hits, limits, trace)
}

fn judge_found<T: Trace>(
    snapshot: &Snapshot,
    profile: InForce<'_>,
    matter: Matter<'_>,
    hits: &Hits,
    (above, silent): (Option<Rung>, Silent),
    trace: &mut T,
) -> Judged {
    if !T::IS_HEARD && above.is_none() && nobody_speaks(snapshot, &profile, hits) {
        let ttl_secs_max = profile.paused_until.map_or(u32::MAX, |until| profile.secs_to(until));
        return Judged { judgement: Judgement::Nothing, passed: None, review: None, shadow: None, ttl_secs_max };
    }
    let mut view = View::of(snapshot, matter, hits, silent.on(snapshot, Rung::Security));
    let judgement = climb(snapshot, profile, &mut view, matter, (above, silent), trace);
    let (mut shadow, mut ttl_secs_max) = (None, u32::MAX);
    if let Judgement::Allow(_, Some(until)) = &judgement {
        ttl_secs_max = profile.secs_to(*until);
    }
    if matches!(judgement, Judgement::Nothing) && above.is_none_or(|limit| Rung::Category < limit) {
        if let Some(until) = profile.paused_until {
            ttl_secs_max = profile.secs_to(until);
        } else if !profile.masks.shadow.is_empty() {
            shadow = view.category_in(&profile.masks.shadow);
        }
        let differs = |before: &ProfileMasks, after: &ProfileMasks| {
            matter.is_question && view.is_let_by(before.unlisted) != view.is_let_by(after.unlisted)
                || view.meets_difference(&before.content, &after.content)
                || before.unsafe_search != after.unsafe_search
                    && snapshot.safe_search.unsafe_labels(matter.name).is_some()
        };
        if profile.hours_reach_all || !view.is_silent() {
            let border = profile.secs_until(snapshot.cache.max_client_ttl_secs(), differs);
            ttl_secs_max = border.map_or(ttl_secs_max, |secs| secs.min(ttl_secs_max));
        }
    }
    Judged { judgement, passed: view.passed, review: view.review(), shadow, ttl_secs_max }
}

/// Whether all rungs have nothing to say about a name, now and at any hour: so it is for most names of the world, and it shows at once.
fn nobody_speaks(snapshot: &Snapshot, profile: &Profile, hits: &Hits) -> bool {
    hits.is_empty() && profile.passes_unlisted && snapshot.index.special.is_empty() && !snapshot.overlay.has_words()
}

fn climb(
    snapshot: &Snapshot,
    profile: InForce<'_>,
    view: &mut View<'_>,
    matter: Matter<'_>,
    (above, silent): (Option<Rung>, Silent),
    trace: &mut impl Trace,
) -> Judgement {
    let judged = |rung: Rung| above.is_none_or(|limit| rung < limit);
    let masks = &snapshot.masks;

    // The canary proves that filtering works, so no allow rule may reach it.
    if let Some(canary) = &masks.canary
        && let Some(j) = view.lists(Rung::Security, canary, &mut ())
    {
        return j;
    }

    if judged(Rung::Order)
        && let Some(j) = view.orders(matter, trace)
    {
        return j;
    }
    if judged(Rung::Operator)
        && let Some(j) = view.own_lists(Rung::Operator, matter, (masks.operator_allow, masks.operator_deny), trace)
    {
        return j;
    }
    if judged(Rung::Security)
        && let Some(j) = view.lists(Rung::Security, profile.security, trace)
    {
        return j;
    }
    if judged(Rung::Profile) {
        // An answer's names are what the question that was allowed leads to.
        let is_unlisted = matter.is_question
            && !view.is_let_by(profile.masks.unlisted)
            && view.own_lists(Rung::Profile, matter, (profile.allow, profile.deny), &mut ()).is_none();
        if is_unlisted {
            trace.step(Rung::Profile, || Step::Block(Cause::NotAllowed));
            return Judgement::Block(Rung::Profile, Cause::NotAllowed, None);
        }
        if let Some(j) = view.own_lists(Rung::Profile, matter, (profile.allow, profile.deny), trace) {
            return j;
        }
    }
    if judged(Rung::Category) && profile.paused_until.is_some() {
        trace.step(Rung::Category, || Step::Paused);
    } else if judged(Rung::Category) {
        if let Some(category) = profile.masks.unsafe_search
            && let Some(labels) = snapshot.safe_search.unsafe_labels(matter.name)
        {
            let cause = Cause::UnsafeSearch { labels, category };
            trace.step(Rung::Category, || Step::Block(cause.clone()));
            return Judgement::Block(Rung::Category, cause, None);
        }
        view.hush(silent.on(snapshot, Rung::Category));
        if let Some(j) = view.lists(Rung::Category, &profile.masks.content, trace) {
            return j;
        }
    }
    Judgement::Nothing
}

/// Whether private addresses are wrong in the answer to this question. It is a rule of the security rung.
fn rebinding_applies(snapshot: &Snapshot, permit: &Permit, question: &Question) -> bool {
    snapshot.rebind_protection
        && permit.allowed.is_none_or(|rung| Rung::Security < rung)
        && !snapshot.routes.is_explicit_zone(&question.qname)
        && !snapshot.rebind_allow.iter().any(|zone| question.qname.is_at_or_below(zone))
}

/// When what blocks has its end.
fn end_of(snapshot: &Snapshot, at: UnixTime, cause: &Cause) -> Option<UnixTime> {
    match cause {
        Cause::Order { order, .. } => snapshot.orders.get(*order)?.acts_until(at),
        Cause::Temporary { at, .. } => Some(snapshot.overlay.get(*at)?.said.until),
        Cause::Rule { .. }
        | Cause::Address { .. }
        | Cause::Rebinding
        | Cause::UnsafeSearch { .. }
        | Cause::NotAllowed => None,
    }
}

fn block(snapshot: &Snapshot, profile: InForce<'_>, reason: Reason) -> Block {
    let response = match reason.cause {
        // The name is good, only this address is not: nothing but NODATA says so.
        Cause::Rebinding => BlockResponse::Nodata,
        // Browsers and phones ask canaries and relay names to hear NXDOMAIN; silence would stall them for seconds.
        Cause::Rule { category: Some(category), .. } if Some(category) == snapshot.masks.bypass => {
            BlockResponse::Nxdomain
        }
        // One answer for everybody: a notice page would be the operator's word, not the authority's.
        Cause::Order { .. } => BlockResponse::Nxdomain,
        Cause::Rule { .. }
        | Cause::Address { .. }
        | Cause::UnsafeSearch { .. }
        | Cause::NotAllowed
        | Cause::Temporary { .. } => profile.response_for(category(&reason)),
    };
    let max = snapshot.cache.max_client_ttl_secs();
    let end = end_of(snapshot, profile.at(), &reason.cause).map_or(u32::MAX, |end| profile.secs_to(end));
    let ttl_secs_max = profile.secs_until(max, |before, after| before != after).unwrap_or(max).min(end);
    let ttl_secs = profile.block_ttl_secs(snapshot).min(end);
    Block { response, answer: None, reason, ttl_secs, ttl_secs_max }
}

impl Would {
    fn shadow(category: CategoryId) -> Would {
        Would { how: Counted::Shadow, rung: Rung::Category, category: Some(category) }
    }
}

/// The category that a reason is counted under and told with.
pub fn category(reason: &Reason) -> Option<CategoryId> {
    match reason.cause {
        Cause::Rule { category, .. } | Cause::Address { category, .. } => category,
        Cause::UnsafeSearch { category, .. } => Some(category),
        Cause::Rebinding | Cause::NotAllowed | Cause::Order { .. } | Cause::Temporary { .. } => None,
    }
}

/// The extended error's text: English, short, no name of a client's or a list's.
pub fn ede_text<'a>(categories: &'a Categories, reason: &Reason) -> (&'static str, &'a str) {
    let detail = category(reason).map_or("", |c| categories.get(c).title_en.as_str());
    let lead = match (reason.rung, &reason.cause) {
        (_, Cause::Rebinding) => "private address in a public name's answer",
        (_, Cause::NotAllowed) => "only some names are allowed here now",
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
