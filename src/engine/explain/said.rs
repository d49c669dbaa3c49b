//! What `explain` tells of temporary words, pauses and legal orders.

use serde::Serialize;

use super::{Explanation, leads, rule_text, who, who_vi};
use crate::engine::client::UnixTime;
use crate::engine::order::Order;
use crate::engine::overlay::Said;
use crate::engine::policy::Step;
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::{Cause, Rung};

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
    pub(super) fn of(said: &Said) -> Temporary {
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

    /// As a sentence calls it, in English and Vietnamese.
    fn words(&self) -> (String, String) {
        match self.reference.as_ref().zip(self.authority.as_ref()) {
            Some((reference, authority)) => {
                (format!("the legal order {reference} of {authority}"), format!("yêu cầu {reference} của {authority}"))
            }
            None => ("a legal order".to_owned(), "yêu cầu của cơ quan có thẩm quyền".to_owned()),
        }
    }
}

/// RFC 3339, UTC.
pub fn time_text(at: UnixTime) -> String {
    jiff::Timestamp::from_second(at.0).map_or_else(|_| at.0.to_string(), |time| time.to_string())
}

/// Which order or word it was.
pub(super) fn tell(snapshot: &Snapshot, told: &mut Explanation, cause: &Cause, at: UnixTime) {
    match cause {
        Cause::Order { order, .. } => {
            told.order = snapshot.orders.get(*order).map(|order| OrderTold::of(order, at));
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
}

/// Tells of a temporary allow, if that is what let the name by.
pub(super) fn tell_allow(snapshot: &Snapshot, told: &mut Explanation, steps: &[(Rung, Step)]) -> bool {
    let said = steps.iter().find_map(|(rung, step)| match step {
        Step::Allow(Cause::Temporary { at, .. }) => Some((*rung, snapshot.overlay.get(*at)?)),
        _ => None,
    });
    let Some((rung, word)) = said else { return false };
    told.rung = rung.as_str();
    let Temporary { id, scope, author, reason, until } = Temporary::of(&word.said);
    let (name, rule) = (&told.name, rule_text(&word.name, word.reach));
    told.sentence_en = format!("{name} is allowed until {until} for {scope}, by {author}: {reason}");
    told.sentence_vi = format!("{name} được phép đến {until} cho {scope}, do {author}: {reason}");
    told.change_en = format!("`lachan allow remove {id}` ends it; {}.", who(rung));
    told.change_vi = format!("`lachan allow remove {id}` để kết thúc; {}.", who_vi(rung));
    told.rule = Some(rule);
    told.temporary = Some(Temporary::of(&word.said));
    true
}

/// The sentences of a block by an order or a word, and how to change it; `false`: it was neither.
pub(super) fn sentence(told: &mut Explanation, rung: Rung) -> bool {
    let name = &told.name;
    let (leads_en, leads_vi) = told.target.as_ref().map(leads).unwrap_or_default();
    if let Some(order) = &told.order {
        let (en, vi) = order.words();
        let sentences = (format!("{name} is blocked by {en}{leads_en}."), format!("{name} bị chặn theo {vi}{leads_vi}."));
        (told.sentence_en, told.sentence_vi) = sentences;
        told.change_en = "only the authority that ordered it can end it: `lachan orders revoke` records its word; no allow \
                          rule reaches this rung."
            .into();
        told.change_vi = "chỉ cơ quan ra yêu cầu mới chấm dứt được: ghi nhận bằng `lachan orders revoke`; luật cho phép không \
                          có tác dụng ở bậc này."
            .into();
        return true;
    }
    let Some(Temporary { id, scope, author, reason, until }) = &told.temporary else { return false };
    let (sentences, changes) = (
        (
            format!("{name} is blocked until {until} for {scope}, by {author}: {reason}{leads_en}"),
            format!("{name} bị chặn đến {until} cho {scope}, do {author}: {reason}{leads_vi}"),
        ),
        (
            format!("`lachan deny remove {id}` ends it; {}.", who(rung)),
            format!("`lachan deny remove {id}` để kết thúc; {}.", who_vi(rung)),
        ),
    );
    (told.sentence_en, told.sentence_vi) = sentences;
    (told.change_en, told.change_vi) = changes;
    true
}
