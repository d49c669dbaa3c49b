//! "Why?" for every verdict: climbs the ladder as a query does, with the steps kept, and says it in a sentence.
//!
//! The same [`policy`] decides; nothing here does.

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::answer::Answer;
use crate::engine::category::Category;
use crate::engine::client::Client;
use crate::engine::compile::ListSource;
use crate::engine::list::special::{Owner, Pattern, RuleAnswer, SpecialRule};
use crate::engine::list::{Effect, Reach};
use crate::engine::name::Name;
use crate::engine::overlay::Word;
use crate::engine::policy::{self, AnswerVerdict, Permit, QueryVerdict, Step};
use crate::engine::query::Question;
use crate::engine::safe_search::Rule;
use crate::engine::snapshot::{List, Snapshot};
use crate::engine::verdict::{Block, BlockResponse, Cause, Counted, EdeCode, ListId, Redirect, Rung, Target, Would};
use ipnet::IpNet;
use jiff::tz::TimeZone;

mod access;
mod hours;
mod sentence;
mod told;
mod who;

pub use access::judge_source;
pub use hours::{moment, rfc3339};
use sentence::{leads, place, sentence, who, who_vi};
pub use told::{
    CacheTold, ConfiguredTold, Explanation, FeedTold, OrderTold, Provenance, Subscriber, Temporary, Tried, WindowTold,
    time_text,
};
pub use who::tell_client;

/// What the question alone leads to.
pub enum Asked {
    /// Nothing more is needed.
    Done(Box<Explanation>),
    /// It would be forwarded, or a target asked for: give the answer to [`judge_answer`].
    Forward(Box<Explanation>, Permit),
}

/// Judges the question.
pub fn judge_question(snapshot: &Snapshot, client: Client, question: &Question, type_text: &str) -> Asked {
    let mut steps: Vec<(Rung, Step)> = Vec::new();
    let verdict = policy::on_query_enforced(snapshot, client, question, &mut steps);
    let mut told = Box::new(Explanation {
        name: question.qname.to_string(),
        qtype: type_text.to_owned(),
        profile: snapshot.profile(client.profile).name.clone(),
        at: Some(rfc3339(client.at, &snapshot.zone)),
        pause: snapshot.overlay.pause(&client).map(|said| Temporary::of(said, &snapshot.zone)),
        windows: hours::all(snapshot, client),
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
            told.change_en =
                "nothing can change this, except an [[upstream]] zone of your own at or below it; the operator \
                              may declare one."
                    .into();
            told.change_vi =
                "không thay đổi được, trừ khi khai báo vùng [[upstream]] riêng cho tên này; nhà vận hành được phép."
                    .into();
        }
        QueryVerdict::Block(block) => fill_block(snapshot, client, &question.qname, told, block),
        QueryVerdict::Rewrite(rewrite, _) => {
            let leads_to = (rewrite.rule.host != question.qname).then_some(&rewrite.rule.host);
            fill_rewrite(snapshot, told, &rewrite.rule, leads_to);
        }
        QueryVerdict::Redirect(redirect, _) => fill_redirect(snapshot, client, &question.qname, told, redirect),
        QueryVerdict::Allow(permit) => {
            fill_allow(snapshot, &question.qname, told, steps);
            if permit.allowed().is_none() && !tell_paused(snapshot, client, question, told) {
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
    judge_what_came(snapshot, client, permit, question, answer, &mut told);
    // What the answer meets on a rung is a result of that rung like any other.
    if let ("block" | "drop" | "rewrite", Some(target)) = (told.verdict, &told.target) {
        let outcome = if told.verdict == "rewrite" { "answered" } else { "block" };
        let (rung, list, name) = (told.rung, told.list.clone(), Some(target.clone()));
        told.tried.push(Tried { rung, outcome, list, name });
    }
    told
}

fn judge_what_came(
    snapshot: &Snapshot,
    client: Client,
    permit: &Permit,
    question: &Question,
    answer: &Answer,
    told: &mut Explanation,
) {
    match policy::on_answer(snapshot, client, permit, question, answer) {
        AnswerVerdict::Block(block) => fill_block(snapshot, client, &question.qname, told, &block),
        AnswerVerdict::Redirect(redirect, _) => {
            fill_redirect(snapshot, client, &question.qname, told, &redirect);
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
            fill_rewrite(snapshot, told, &rewrite.rule, Some(&rewrite.rule.host));
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
                        tell_observed(told);
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
        return fill_said(told, rung, word, &snapshot.zone);
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
                        format!("{name} is allowed: a rule would block it, but it is a protected name."),
                        format!("{name} được phép: có luật chặn tên này nhưng đây là tên được bảo vệ."),
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
            if snapshot.is_protected(qname) {
                told.change_en =
                    "nothing but a legal order with an override reaches a protected name (`lachan orders add \
                                  --override NAME`; two people, for an authority)."
                        .into();
                told.change_vi =
                    "chỉ yêu cầu của cơ quan có thẩm quyền có ghi đè mới chặn được tên được bảo vệ (`lachan orders \
                                  add --override TÊN`; hai người thực hiện)."
                        .into();
                return;
            }
            told.change_en =
                "to block it, put it into [operator] deny (everybody; the operator may) or the profile's deny \
                              (whoever keeps that profile may)."
                    .into();
            told.change_vi =
                "muốn chặn, thêm tên vào [operator] deny (mọi người; nhà vận hành được phép) hoặc deny của hồ sơ \
                              (người quản lý hồ sơ được phép)."
                    .into();
        }
    }
}

/// Tells of a pause that is in force; whether it is why the name passes.
fn tell_paused(snapshot: &Snapshot, client: Client, question: &Question, told: &mut Explanation) -> bool {
    let Some(Temporary { id, scope, scope_vi, author, reason, until }) = told.pause.clone() else { return false };
    let mut without = snapshot.clone();
    without.overlay = Arc::new(snapshot.overlay.without_pauses());
    let mut steps = Vec::new();
    let verdict = policy::on_query_enforced(&without, client, question, &mut steps);
    if matches!(verdict, QueryVerdict::Allow(_)) {
        told.sentence_en.push_str(&format!(
            " (Content filtering and SafeSearch are paused until {until} for {scope}, by {author}: {reason}. The question \
             would pass without it too.)"
        ));
        told.sentence_vi.push_str(&format!(
            " (Lọc nội dung và SafeSearch đang tạm tắt đến {until} cho {scope_vi}, do {author}: {reason}. Không tạm tắt thì câu \
             hỏi này cũng được phép.)"
        ));
        return false;
    }
    let (name, qtype) = (told.name.clone(), told.qtype.clone());
    let mut else_told = Explanation { name, qtype, profile: told.profile.clone(), ..Explanation::default() };
    fill_query(&without, client, question, &mut else_told, &verdict, &steps);
    let name = &told.name;
    told.sentence_en = format!(
        "{name} is allowed until {until}, because content filtering and SafeSearch are paused for {scope}, by {author}: \
         {reason}. Without the pause: {}",
        else_told.sentence_en
    );
    told.sentence_vi = format!(
        "{name} được phép đến {until}, vì lọc nội dung và SafeSearch đang tạm tắt cho {scope_vi}, do {author}: {reason}. Nếu \
         không tạm tắt: {}",
        else_told.sentence_vi
    );
    told.change_en = format!("`lachan pause remove {id}` ends the pause; the operator may.");
    told.change_vi = format!("`lachan pause remove {id}` để kết thúc tạm tắt; nhà vận hành được phép.");
    true
}

/// A temporary allow.
fn fill_said(told: &mut Explanation, rung: Rung, word: &Word, zone: &TimeZone) {
    told.rung = rung.as_str();
    let said = Temporary::of(&word.said, zone);
    let Temporary { id, scope, scope_vi, author, reason, until } = &said;
    let (name, rule) = (&told.name, rule_text(&word.name, word.reach));
    told.sentence_en = format!("{name} is allowed until {until} for {scope}, by {author}: {reason}");
    told.sentence_vi = format!("{name} được phép đến {until} cho {scope_vi}, do {author}: {reason}");
    told.change_en = format!("`lachan allow remove {id}` ends it; {}.", who(rung));
    told.change_vi = format!("`lachan allow remove {id}` để kết thúc; {}.", who_vi(rung));
    told.rule = Some(rule);
    told.temporary = Some(said);
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
    told.change_en = format!(
        "set safe_search (or youtube) in [profile.{profile}]; whoever keeps that profile may; allow rules do not switch it off."
    );
    told.change_vi = format!(
        "đổi safe_search (hoặc youtube) trong [profile.{profile}]; người quản lý hồ sơ được phép; luật cho phép không tắt được."
    );
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
            told.order = snapshot.orders.get(*order).map(|order| OrderTold::of(order, client.at, &snapshot.zone));
        }
        Cause::Temporary { at, .. } => {
            told.temporary = snapshot.overlay.get(*at).map(|word| Temporary::of(&word.said, &snapshot.zone));
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

fn source(source: &ListSource) -> String {
    match source {
        ListSource::BuiltIn(name) => format!("builtin:{name}"),
        ListSource::File(path) => path.display().to_string(),
        ListSource::Url(url) => url.clone(),
    }
}

#[cfg(test)]
mod tests;
