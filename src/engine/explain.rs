//! "Why?" for every verdict: climbs the ladder as a query does, with the steps kept, and says it in a sentence.
//!
//! The same [`policy`] decides; nothing here does.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::engine::answer::Answer;
use crate::engine::category::Category;
use crate::engine::client::{Client, UnixTime};
use crate::engine::compile::ListSource;
use crate::engine::list::special::{Owner, Pattern, RuleAnswer, SpecialRule};
use crate::engine::list::{Effect, Reach};
use crate::engine::name::Name;
use crate::engine::order::Order;
use crate::engine::overlay::{Said, Word};
use crate::engine::policy::{self, AnswerVerdict, Permit, QueryVerdict, Step};
use crate::engine::query::Question;
use crate::engine::safe_search::Rule;
use crate::engine::snapshot::{List, ListRole, Snapshot};
use crate::engine::verdict::{Block, BlockResponse, Cause, Counted, EdeCode, ListId, Redirect, Rung, Target, Would};

mod access;
mod hours;

pub use access::judge_source;
pub use hours::{moment, rfc3339};

/// The answer to "why?", in the shape of DESIGN §7; what does not apply is absent.
#[derive(Debug, Clone, Serialize, Default)]
pub struct Explanation {
    pub name: String,
    #[serde(rename = "type")]
    pub qtype: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub profile: String,
    /// When it is asked, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// `observe`: what is told would be done, and is only counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// Who the client is to us, when somebody tells of subscribers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<Subscriber>,
    /// `allow`, `block`, `rewrite` or `drop`.
    pub verdict: &'static str,
    pub rung: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The name or address of the answer that hit, or the SafeSearch target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ede: Option<u16>,
    /// The window of the profile that blocks, and when it closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_until: Option<String>,
    /// The temporary allow or deny that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporary: Option<Temporary>,
    /// The pause that the client has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Temporary>,
    /// The legal order that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderTold>,
    pub tried: Vec<Tried>,
    /// Whether the answer was looked at too; `false` when only the question could be judged.
    pub answer_checked: bool,
    /// One plain sentence, and how to change it, in English and Vietnamese.
    pub sentence_en: String,
    pub sentence_vi: String,
    pub change_en: String,
    pub change_vi: String,
    /// Where the rule that is told stands.
    #[serde(skip)]
    pub place: Option<Provenance>,
}

/// What the table of subscribers says of a client.
#[derive(Debug, Clone, Serialize)]
pub struct Subscriber {
    /// As [`Standing`](crate::engine::subscribers::Standing) says it.
    pub standing: &'static str,
    /// The first eight digits of its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name of its profile in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether the network told of it.
    pub session: bool,
    /// When its entry ends, or its session must have been confirmed; seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
}

/// What somebody said for a while.
#[derive(Debug, Clone, Serialize)]
pub struct Temporary {
    pub id: u64,
    pub scope: String,
    pub author: String,
    pub reason: String,
    /// RFC 3339.
    pub until: String,
}

/// A legal order; of one that may not be published, that there is one.
#[derive(Debug, Clone, Serialize)]
pub struct OrderTold {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    pub state: &'static str,
    /// RFC 3339; absent while no end is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Temporary {
    fn of(said: &Said) -> Temporary {
        let Said { id, scope, until, author, reason } = said;
        let (scope, until) = (scope.to_string(), time_text(*until));
        Temporary { id: *id, scope, author: author.clone(), reason: reason.clone(), until }
    }
}

impl OrderTold {
    fn of(order: &Order, at: UnixTime) -> OrderTold {
        let told = |text: &String| order.publishable.then(|| text.clone());
        OrderTold {
            reference: told(&order.reference),
            authority: told(&order.authority),
            state: order.state(at).as_str(),
            until: order.acts_until(at).map(time_text),
        }
    }
}

/// RFC 3339, UTC.
pub fn time_text(at: UnixTime) -> String {
    jiff::Timestamp::from_second(at.0).map_or_else(|_| at.0.to_string(), |time| time.to_string())
}

/// One rung that was asked.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    pub rung: &'static str,
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A rule's place, so that the caller can show its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub list: ListId,
    pub line: u32,
}

/// What the question alone leads to.
pub enum Asked {
    /// Nothing more is needed.
    Done(Box<Explanation>),
    /// It would be forwarded, or a target asked for: give the answer to [`judge_answer`].
    Forward(Box<Explanation>, Permit),
}

impl Explanation {
    /// The name that was judged: the target that hit, else the question's.
    fn asked_name(&self) -> &str {
        self.target.as_deref().unwrap_or(&self.name)
    }

    /// What was told of a rule does not decide after all.
    fn forget_rule(&mut self) {
        (self.category, self.list, self.file, self.line, self.rule, self.place) = (None, None, None, None, None, None);
        (self.window, self.window_until, self.temporary, self.order) = (None, None, None, None);
    }
}

/// Judges the question.
pub fn judge_question(snapshot: &Snapshot, client: Client, question: &Question, type_text: &str) -> Asked {
    let mut steps: Vec<(Rung, Step)> = Vec::new();
    let verdict = policy::on_query_enforced(snapshot, client, question, &mut steps);
    let mut told = Box::new(Explanation {
        name: question.qname.to_string(),
        qtype: type_text.to_owned(),
        profile: snapshot.profile(client.profile).name.clone(),
        at: Some(rfc3339(client.at, &TimeZone::UTC)),
        pause: snapshot.overlay.pause(&client).map(Temporary::of),
        tried: steps.iter().map(|(rung, step)| tried(snapshot, &question.qname, *rung, step)).collect(),
        ..Explanation::default()
    });
    if let QueryVerdict::Allow(permit) = policy::on_query(snapshot, client, question, &mut ())
        && !matches!(verdict, QueryVerdict::Allow(_))
    {
        // The permit is the one under which it is asked; what is told is what would have been done.
        fill_query(snapshot, client, question, &mut told, &verdict, &steps);
        tell_observed(&mut told);
        return Asked::Forward(told, permit);
    }
    fill_query(snapshot, client, question, &mut told, &verdict, &steps);
    match verdict {
        QueryVerdict::Allow(permit) => Asked::Forward(told, permit),
        QueryVerdict::Local(_) | QueryVerdict::Block(_) | QueryVerdict::Rewrite(..) | QueryVerdict::Redirect(..) => {
            Asked::Done(told)
        }
    }
}

/// An observed client is answered as upstream does.
fn tell_observed(told: &mut Explanation) {
    told.verdict = "allow";
    told.mode = Some("observe");
    told.ede = None;
    told.sentence_en.push_str(
        " But this client is observed (mode = \"observe\"): it is answered as upstream does, and what would have been done is counted.",
    );
    told.sentence_vi.push_str(
        " Nhưng máy này đang ở chế độ quan sát (mode = \"observe\"): được trả lời như máy chủ cấp trên, chỉ đếm việc lẽ ra đã làm.",
    );
}

fn fill_query(
    snapshot: &Snapshot,
    client: Client,
    question: &Question,
    told: &mut Explanation,
    verdict: &QueryVerdict,
    steps: &[(Rung, Step)],
) {
    match verdict {
        QueryVerdict::Local(_) => {
            told.verdict = "allow";
            told.rung = Rung::LocalData.as_str();
            told.sentence_en = format!("{} is a special name that this resolver answers itself.", told.name);
            told.sentence_vi = format!("{} là tên đặc biệt do chính máy phân giải này trả lời.", told.name);
            told.change_en = "nothing can change this, except an [[upstream]] zone of your own at or below it.".into();
            told.change_vi = "không thay đổi được, trừ khi khai báo vùng [[upstream]] riêng cho tên này.".into();
        }
        QueryVerdict::Block(block) => fill_block(snapshot, client, &question.qname, told, block),
        QueryVerdict::Rewrite(rewrite, _) => {
            let leads_to = (rewrite.rule.host != question.qname).then_some(&rewrite.rule.host);
            fill_rewrite(snapshot, told, &rewrite.rule, leads_to);
        }
        QueryVerdict::Redirect(redirect, _) => fill_redirect(snapshot, client, &question.qname, told, redirect),
        QueryVerdict::Allow(permit) => {
            fill_allow(snapshot, &question.qname, told, steps);
            if permit.allowed().is_none() {
                hours::tell_next(snapshot, client, &question.qname, told);
            }
            if let Some(category) = permit.would().and_then(|would| would.category) {
                let Category { name, title_en, title_vi, .. } = snapshot.categories.get(category);
                told.category = Some(name.clone());
                told.sentence_en
                    .push_str(&format!(" (It is counted as {title_en}, a shadow category of the profile.)"));
                told.sentence_vi.push_str(&format!(" (Tên được đếm là {title_vi}, loại chỉ đếm của hồ sơ.)"));
            }
        }
    }
}

/// Judges what upstream said about a question that was allowed.
pub fn judge_answer(
    snapshot: &Snapshot,
    client: Client,
    permit: &Permit,
    question: &Question,
    answer: &Answer,
    mut told: Box<Explanation>,
) -> Box<Explanation> {
    told.answer_checked = true;
    match policy::on_answer(snapshot, client, permit, question, answer) {
        AnswerVerdict::Block(block) => fill_block(snapshot, client, &question.qname, &mut told, &block),
        AnswerVerdict::Redirect(redirect, _) => {
            fill_redirect(snapshot, client, &question.qname, &mut told, &redirect);
        }
        AnswerVerdict::TooLong => {
            told.forget_rule();
            told.verdict = "block";
            told.sentence_en = format!("{} leads through too many other names.", told.name);
            told.sentence_vi = format!("{} dẫn qua quá nhiều tên khác.", told.name);
            told.change_en = "nothing here can: whoever keeps that name must make its chain shorter.".into();
            told.change_vi = "không thay đổi được ở đây: bên quản lý tên này phải rút ngắn chuỗi tên.".into();
        }
        AnswerVerdict::Rewrite(rewrite) => {
            fill_rewrite(snapshot, &mut told, &rewrite.rule, Some(&rewrite.rule.host));
        }
        AnswerVerdict::Deliver(cleared) => {
            if let Some(Would { how, rung, category }) = cleared.would() {
                told.category = category.map(|id| snapshot.categories.get(id).name.clone());
                match how {
                    Counted::Observed => {
                        told.sentence_en =
                            format!("What {} leads to would be stopped on the rung {}.", told.name, rung.as_str());
                        told.sentence_vi =
                            format!("Những gì {} dẫn tới lẽ ra bị chặn ở bậc {}.", told.name, rung.as_str());
                        tell_observed(&mut told);
                    }
                    Counted::Shadow => {
                        told.sentence_en
                            .push_str(" (What it leads to is in a shadow category of the profile: it is counted.)");
                        told.sentence_vi.push_str(" (Tên này dẫn tới loại chỉ đếm của hồ sơ: chỉ được đếm.)");
                    }
                }
            }
        }
    }
    told
}

fn tried(snapshot: &Snapshot, qname: &Name, rung: Rung, step: &Step) -> Tried {
    let (outcome, cause) = match step {
        Step::Nothing => ("nothing", None),
        Step::Spared(cause) => ("spared: protected name", Some(cause)),
        Step::Excepted(cause) => ("excepted", Some(cause)),
        Step::Allow(cause) => ("allow", Some(cause)),
        Step::Block(cause) => ("block", Some(cause)),
        Step::Paused => ("paused", None),
        Step::Answered => ("answered", None),
    };
    let list = match cause {
        Some(Cause::Rule { list, .. } | Cause::Address { list, .. }) => Some(snapshot.list(*list).name.clone()),
        Some(Cause::Order { .. }) => Some(snapshot.list(snapshot.masks.orders).name.clone()),
        Some(Cause::Temporary { at, .. }) => {
            snapshot.overlay.get(*at).map(|word| format!("temporary {}", word.said.id))
        }
        Some(Cause::UnsafeSearch { .. } | Cause::Rebinding | Cause::NotAllowed) | None => None,
    };
    let name = cause.and_then(|cause| cause.owner(qname)).map(|owner| owner.to_string());
    Tried { rung: rung.as_str(), outcome, list, name }
}

/// Only our own lists allow; what a list says of a name that it does not block after all is told too.
fn fill_allow(snapshot: &Snapshot, qname: &Name, told: &mut Explanation, steps: &[(Rung, Step)]) {
    told.verdict = "allow";
    let said = steps.iter().find_map(|(rung, step)| match step {
        Step::Allow(Cause::Temporary { at, .. }) => Some((*rung, snapshot.overlay.get(*at)?)),
        _ => None,
    });
    if let Some((rung, word)) = said {
        return fill_said(told, rung, word);
    }
    let allow = steps.iter().find_map(|(rung, step)| match step {
        Step::Allow(cause @ Cause::Rule { list, .. }) => Some((*rung, *list, cause.owner(qname)?)),
        _ => None,
    });
    match allow {
        Some((rung, list, owner)) => {
            told.rung = rung.as_str();
            told.list = Some(snapshot.list(list).name.clone());
            let name = &told.name;
            let rule = rule_line(snapshot, list, &owner, name, Effect::List)
                .map_or(owner.to_string(), |(_, reach)| rule_text(&owner, reach));
            told.sentence_en = format!("{name} is allowed by an allow rule for {owner}.");
            told.sentence_vi = format!("{name} được phép theo luật cho phép {owner}.");
            told.change_en = format!("take {rule} out of {}; {}.", place(snapshot, list), who(rung));
            told.change_vi = format!("bỏ {rule} khỏi {}; {}.", place(snapshot, list), who_vi(rung));
            told.rule = Some(rule);
        }
        None => {
            told.rung = Rung::Forward.as_str();
            let heard = steps.iter().find(|(_, step)| matches!(step, Step::Spared(_) | Step::Excepted(_)));
            let name = told.name.clone();
            (told.sentence_en, told.sentence_vi) = match heard.map(|(_, step)| step) {
                Some(Step::Spared(cause)) => {
                    fill_cause(snapshot, told, cause, (cause.owner(qname).as_ref(), None), Effect::List);
                    (
                        format!("{name} is allowed: a list names it, but it is a protected name."),
                        format!("{name} được phép: có danh sách chứa tên này nhưng đây là tên được bảo vệ."),
                    )
                }
                Some(Step::Excepted(cause)) => {
                    fill_cause(snapshot, told, cause, (cause.owner(qname).as_ref(), None), Effect::Except);
                    let list = told.list.as_deref().unwrap_or_default();
                    (
                        format!("{name} is allowed: the list `{list}` has an exception for it."),
                        format!("{name} được phép: danh sách `{list}` có luật ngoại lệ cho tên này."),
                    )
                }
                _ => (
                    format!("{name} is allowed: no rule speaks about it."),
                    format!("{name} được phép: không có luật nào nói về tên này."),
                ),
            };
            told.change_en = "to block it, put it into [operator] deny (everybody) or the profile's deny.".into();
            told.change_vi = "muốn chặn, thêm tên vào [operator] deny (mọi người) hoặc deny của hồ sơ.".into();
        }
    }
}

/// A temporary allow.
fn fill_said(told: &mut Explanation, rung: Rung, word: &Word) {
    told.rung = rung.as_str();
    let Temporary { id, scope, author, reason, until } = Temporary::of(&word.said);
    let (name, rule) = (&told.name, rule_text(&word.name, word.reach));
    told.sentence_en = format!("{name} is allowed until {until} for {scope}, by {author}: {reason}");
    told.sentence_vi = format!("{name} được phép đến {until} cho {scope}, do {author}: {reason}");
    told.change_en = format!("`lachan allow remove {id}` ends it; {}.", who(rung));
    told.change_vi = format!("`lachan allow remove {id}` để kết thúc; {}.", who_vi(rung));
    told.rule = Some(rule);
    told.temporary = Some(Temporary::of(&word.said));
}

/// `leads_to`: the engine's host, when it was not the question itself.
fn fill_rewrite(snapshot: &Snapshot, told: &mut Explanation, rule: &Rule, leads_to: Option<&Name>) {
    let (leads_en, leads_vi) = leads_to.map(leads).unwrap_or_default();
    let engine = snapshot.safe_search.engine_name(rule.engine);
    // An allow rule that was told of does not decide this.
    told.forget_rule();
    told.verdict = "rewrite";
    told.rung = Rung::SafeSearch.as_str();
    told.target = Some(rule.target.to_string());
    told.sentence_en = format!("{} is sent to {}, the safe search of {engine}{leads_en}.", told.name, rule.target);
    told.sentence_vi =
        format!("{} được chuyển tới {}, tìm kiếm an toàn của {engine}{leads_vi}.", told.name, rule.target);
    let profile = &told.profile;
    told.change_en = format!("set safe_search (or youtube) in [profile.{profile}]; allow rules do not switch it off.");
    told.change_vi = format!("đổi safe_search (hoặc youtube) trong [profile.{profile}]; luật cho phép không tắt được.");
}

/// A list's CNAME, told as the block it stands for, with where it leads.
fn fill_redirect(snapshot: &Snapshot, client: Client, qname: &Name, told: &mut Explanation, redirect: &Redirect) {
    let response = snapshot.profile(client.profile).block_response;
    let ttl_secs = redirect.ttl.unwrap_or(snapshot.block_ttl_secs);
    let block = Block { response, answer: None, reason: redirect.reason.clone(), ttl_secs, ttl_secs_max: ttl_secs };
    fill_block(snapshot, client, qname, told, &block);
    told.verdict = "rewrite";
    told.target = Some(redirect.target.to_string());
    told.sentence_en.push_str(&format!(" The list sends it to {}.", redirect.target));
    told.sentence_vi.push_str(&format!(" Danh sách chuyển tên này tới {}.", redirect.target));
}

fn fill_block(snapshot: &Snapshot, client: Client, qname: &Name, told: &mut Explanation, block: &Block) {
    let reason = &block.reason;
    let owner = reason.owner(qname);
    told.forget_rule();
    told.verdict = match (&block.answer, block.response) {
        (Some(RuleAnswer::Drop), _) | (None, BlockResponse::Drop) => "drop",
        (Some(RuleAnswer::Records(_)), _) => "rewrite",
        _ => "block",
    };
    told.rung = reason.rung.as_str();
    let code: EdeCode = policy::ede_code(snapshot, client.profile, reason);
    told.ede = Some(code.0);
    let category = policy::category(reason).map(|id| snapshot.categories.get(id));
    told.category = category.map(|c| c.name.clone());
    told.target = reason.target.as_ref().map(|t| match t {
        Target::Name(name) => name.to_string(),
        Target::Address(address) => address.to_string(),
    });
    fill_cause(snapshot, told, &reason.cause, (owner.as_ref(), reason.target.as_ref()), Effect::List);
    let from = match &reason.cause {
        Cause::Rule { list, .. } | Cause::Address { list, .. } => Some(*list),
        Cause::UnsafeSearch { .. }
        | Cause::Rebinding
        | Cause::NotAllowed
        | Cause::Order { .. }
        | Cause::Temporary { .. } => None,
    };
    match &reason.cause {
        Cause::Order { order, .. } => {
            told.order = snapshot.orders.get(*order).map(|order| OrderTold::of(order, client.at));
        }
        Cause::Temporary { at, .. } => {
            told.temporary = snapshot.overlay.get(*at).map(|word| Temporary::of(&word.said));
        }
        Cause::Rule { .. }
        | Cause::Address { .. }
        | Cause::UnsafeSearch { .. }
        | Cause::Rebinding
        | Cause::NotAllowed => {}
    }
    sentence(snapshot, told, block, category.map(|c| (c.title_en.as_str(), c.title_vi.as_str())), from);
    hours::tell_open(snapshot, client, reason, told);
}

/// List, file, line and rule. The rule is told in our own grammar; whoever has the file may put its text instead. `owner` is
/// the rule's name, `target` what of the answer hit.
fn fill_cause(
    snapshot: &Snapshot,
    told: &mut Explanation,
    cause: &Cause,
    (owner, target): (Option<&Name>, Option<&Target>),
    effect: Effect,
) {
    let (list, line, rule) = match cause {
        Cause::Rule { list, line, .. } => {
            let by_name = || {
                let owner = owner?;
                let (line, reach) = rule_line(snapshot, *list, owner, told.asked_name(), effect)?;
                Some((Some(line), Some(rule_text(owner, reach))))
            };
            let found = match line {
                Some(line) => (Some(*line), snapshot.index.special.rule_of_line(*list, *line).and_then(special_text)),
                None => by_name().unwrap_or_default(),
            };
            (*list, found.0, found.1.or_else(|| owner.map(Name::to_string)))
        }
        Cause::Address { list, line: Some(line), .. } => {
            (*list, Some(*line), snapshot.index.special.rule_of_line(*list, *line).and_then(special_text))
        }
        Cause::Address { list, line: None, .. } => {
            let found = match target {
                Some(Target::Address(address)) => address_rule(snapshot, *list, *address),
                Some(Target::Name(_)) | None => None,
            };
            (*list, found.map(|(_, line)| line), found.map(|(net, _)| net_text(net)))
        }
        Cause::UnsafeSearch { .. } | Cause::Order { .. } => {
            told.rule = owner.map(Name::to_string);
            return;
        }
        Cause::Temporary { at, .. } => {
            told.rule = snapshot.overlay.get(*at).map(|word| rule_text(&word.name, word.reach));
            return;
        }
        Cause::Rebinding | Cause::NotAllowed => return,
    };
    let at = snapshot.list(list);
    told.list = Some(at.name.clone());
    told.rule = rule;
    // A list of our own has positions, not lines of a file.
    let Some(configured) = &at.configured else { return };
    told.file = Some(source(&configured.settings.source));
    if let Some(line) = line {
        tell_line(told, at, line);
        told.place = Some(Provenance { list, line });
    }
}

/// A special rule without its conditions and its answer.
fn special_text(rule: &SpecialRule) -> Option<String> {
    match &rule.owner {
        Owner::Name { name, reach } => Some(rule_text(&Name::from_wire(name).ok()?, *reach)),
        Owner::Pattern(Pattern::Regex(source)) => Some(format!("/{source}/")),
        Owner::Pattern(Pattern::Literal { text, .. }) => Some(text.to_string()),
        Owner::Client(net) | Owner::Address(net) => Some(net_text(*net)),
    }
}

/// The line, and the one file it is in.
fn tell_line(told: &mut Explanation, list: &List, line: u32) {
    let place = list.configured.as_ref().and_then(|c| c.report.place(line));
    told.line = Some(place.map_or(line, |(_, line)| line));
    if let Some((file, _)) = place {
        told.file = Some(file.to_owned());
    }
}

fn sentence(
    snapshot: &Snapshot,
    told: &mut Explanation,
    block: &Block,
    titles: Option<(&str, &str)>,
    list: Option<ListId>,
) {
    let name = &told.name;
    let (leads_en, leads_vi) = told.target.as_ref().map(leads).unwrap_or_default();
    let rung = block.reason.rung;
    let said = told.temporary.as_ref().map(|said| {
        let Temporary { id, scope, author, reason, until } = said;
        let sentences = (
            format!("{name} is blocked until {until} for {scope}, by {author}: {reason}{leads_en}"),
            format!("{name} bị chặn đến {until} cho {scope}, do {author}: {reason}{leads_vi}"),
        );
        let changes = (
            format!("`lachan deny remove {id}` ends it; {}.", who(rung)),
            format!("`lachan deny remove {id}` để kết thúc; {}.", who_vi(rung)),
        );
        (sentences, changes)
    });
    if let Some((sentences, changes)) = said {
        (told.sentence_en, told.sentence_vi) = sentences;
        (told.change_en, told.change_vi) = changes;
        return;
    }
    if let Cause::Order { .. } = block.reason.cause {
        let (en, vi) = order_words(told.order.as_ref());
        let sentences =
            (format!("{name} is blocked by {en}{leads_en}."), format!("{name} bị chặn theo {vi}{leads_vi}."));
        (told.sentence_en, told.sentence_vi) = sentences;
        told.change_en =
            "only the authority that ordered it can end it: `lachan orders revoke` records its word; no allow \
                          rule reaches this rung."
                .into();
        told.change_vi =
            "chỉ cơ quan ra yêu cầu mới chấm dứt được: ghi nhận bằng `lachan orders revoke`; luật cho phép không \
                          có tác dụng ở bậc này."
                .into();
        return;
    }
    (told.sentence_en, told.sentence_vi) = match (&block.reason.cause, titles) {
        (Cause::Rebinding, _) => (
            format!("{name} is blocked: a public name answers with the private address of a local machine."),
            format!("{name} bị chặn: tên công cộng lại trả về địa chỉ riêng của máy trong mạng."),
        ),
        (Cause::NotAllowed, _) => (
            format!("{name} is blocked: only what is allowed passes here now."),
            format!("{name} bị chặn: hiện chỉ những tên được cho phép mới được truy cập."),
        ),
        (Cause::UnsafeSearch { .. }, _) => (
            format!("{name} is blocked: this search engine cannot be made safe."),
            format!("{name} bị chặn: công cụ tìm kiếm này không có chế độ tìm kiếm an toàn."),
        ),
        (_, Some((en, vi))) => {
            (format!("{name} is blocked as {en}{leads_en}."), format!("{name} bị chặn vì thuộc loại {vi}{leads_vi}."))
        }
        (_, None) if rung == Rung::Operator => (
            format!("{name} is blocked by the operator of this resolver{leads_en}."),
            format!("{name} bị nhà vận hành máy phân giải này chặn{leads_vi}."),
        ),
        (_, None) => (
            format!("{name} is blocked by the profile `{}`{leads_en}.", told.profile),
            format!("{name} bị hồ sơ `{}` chặn{leads_vi}.", told.profile),
        ),
    };
    let what = told.target.as_deref().unwrap_or(name);
    let profile = &told.profile;
    (told.change_en, told.change_vi) = match (rung, &block.reason.cause) {
        (_, Cause::Rebinding) => (
            format!("add {name} to rebind_allow, or give its zone an [[upstream]]; the operator may."),
            format!("thêm {name} vào rebind_allow, hoặc khai báo [[upstream]] cho vùng này; nhà vận hành được phép."),
        ),
        (Rung::Operator, _) => (
            format!(
                "take it out of {}; the operator may.",
                list.map_or("[operator] deny".into(), |l| place(snapshot, l))
            ),
            "bỏ khỏi [operator] deny; nhà vận hành được phép.".to_owned(),
        ),
        (Rung::Security | Rung::Order, _) => (
            format!(
                "put {what} into [operator] allow; only the operator may, a profile's allow does not reach this rung."
            ),
            format!("thêm {what} vào [operator] allow; chỉ nhà vận hành được phép."),
        ),
        (Rung::Profile, Cause::NotAllowed) => (
            format!("put {what} into [profile.{profile}] allow; whoever keeps that profile may."),
            format!("thêm {what} vào allow của [profile.{profile}]; người quản lý hồ sơ được phép."),
        ),
        (Rung::Profile, _) => (
            format!("take it out of [profile.{profile}] deny; whoever keeps that profile may."),
            format!("bỏ khỏi deny của [profile.{profile}]; người quản lý hồ sơ được phép."),
        ),
        _ => (
            format!(
                "put {what} into [profile.{profile}] allow, or [operator] allow for everybody; whoever keeps that profile may."
            ),
            format!(
                "thêm {what} vào allow của [profile.{profile}], hoặc [operator] allow cho mọi người; người quản lý hồ sơ được phép."
            ),
        ),
    };
}

/// An order as a sentence calls it, in English and Vietnamese.
fn order_words(told: Option<&OrderTold>) -> (String, String) {
    match told.and_then(|told| told.reference.as_ref().zip(told.authority.as_ref())) {
        Some((reference, authority)) => {
            (format!("the legal order {reference} of {authority}"), format!("yêu cầu {reference} của {authority}"))
        }
        None => ("a legal order".to_owned(), "yêu cầu của cơ quan có thẩm quyền".to_owned()),
    }
}

/// Why a name is treated as another: the end of a sentence, in English and Vietnamese.
fn leads(target: impl std::fmt::Display) -> (String, String) {
    (format!(", because it leads to {target}"), format!(", vì dẫn tới {target}"))
}

/// Line and reach of the list's rule at `owner` that reaches the name in `judged`.
fn rule_line(snapshot: &Snapshot, list: ListId, owner: &Name, judged: &str, effect: Effect) -> Option<(u32, Reach)> {
    let other = if owner.to_string() == judged { Reach::Children } else { Reach::Exact };
    let mut rules = snapshot.index.names.rules_at(owner.as_wire());
    let rule = rules.find(|r| r.list == list && r.effect == effect && r.reach != other)?;
    Some((rule.line, rule.reach))
}

/// The list's narrowest network over `address`, and its line.
fn address_rule(snapshot: &Snapshot, list: ListId, address: IpAddr) -> Option<(IpNet, u32)> {
    let table = &snapshot.index.addresses;
    let mut narrowest = None;
    table.look_up(address, |net, listed, _| {
        if listed.contains(list) {
            narrowest = Some(net);
        }
    });
    let net = narrowest?;
    let rule = table.rules_at(net).find(|r| r.list == list && r.effect == Effect::List)?;
    Some((net, rule.line))
}

/// A network as a list writes it: a single address without its length.
fn net_text(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// A rule in our own grammar.
fn rule_text(owner: &Name, reach: Reach) -> String {
    match reach {
        Reach::Exact => format!("={owner}"),
        Reach::Subtree => owner.to_string(),
        Reach::Children => format!("*.{owner}"),
    }
}

/// Where a list is written, for "to change this".
fn place(snapshot: &Snapshot, list: ListId) -> String {
    match snapshot.list(list).role {
        ListRole::OperatorAllow => "[operator] allow".into(),
        ListRole::OperatorDeny => "[operator] deny".into(),
        ListRole::ProfileAllow(p) => format!("[profile.{}] allow", snapshot.profile(p).name),
        ListRole::ProfileDeny(p) => format!("[profile.{}] deny", snapshot.profile(p).name),
        ListRole::Category(_) => format!("[list.{}]", snapshot.list(list).name),
        ListRole::Protected | ListRole::ProtectedContent => "the protected names".into(),
        ListRole::Infrastructure | ListRole::Connectivity => "the names that machines need".into(),
        ListRole::Orders => "the orders".into(),
    }
}

fn who(rung: Rung) -> &'static str {
    match rung {
        Rung::Profile => "whoever keeps that profile may",
        _ => "the operator may",
    }
}

fn who_vi(rung: Rung) -> &'static str {
    match rung {
        Rung::Profile => "người quản lý hồ sơ được phép",
        _ => "nhà vận hành được phép",
    }
}

fn source(source: &ListSource) -> String {
    match source {
        ListSource::BuiltIn(name) => format!("builtin:{name}"),
        ListSource::File(path) => path.display().to_string(),
        ListSource::Url(url) => url.clone(),
    }
}

#[cfg(test)]
mod tests;
