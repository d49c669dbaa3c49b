//! The sentences: why a name is blocked, what would have to change, and who may. English and Vietnamese.

use super::{Explanation, OrderTold, Temporary};
use crate::engine::snapshot::{ListRole, Snapshot};
use crate::engine::verdict::{Block, Cause, ListId, Rung};

pub(super) fn sentence(
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
        let Temporary { id, scope, scope_vi, author, reason, until } = said;
        let sentences = (
            format!("{name} is blocked until {until} for {scope}, by {author}: {reason}{leads_en}"),
            format!("{name} bị chặn đến {until} cho {scope_vi}, do {author}: {reason}{leads_vi}"),
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
            format!(
                "bỏ khỏi {}; nhà vận hành được phép.",
                list.map_or("[operator] deny".into(), |l| place(snapshot, l))
            ),
        ),
        (Rung::Security | Rung::Order, _) => (
            format!(
                "put {what} into [operator] allow; only the operator may, a profile's allow does not reach this rung."
            ),
            format!(
                "thêm {what} vào [operator] allow; chỉ nhà vận hành được phép, allow của hồ sơ không có tác dụng ở bậc này."
            ),
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
pub(super) fn leads(target: impl std::fmt::Display) -> (String, String) {
    (format!(", because it leads to {target}"), format!(", vì dẫn tới {target}"))
}

/// Where a list is written, for "to change this".
pub(super) fn place(snapshot: &Snapshot, list: ListId) -> String {
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

pub(super) fn who(rung: Rung) -> &'static str {
    match rung {
        Rung::Profile => "whoever keeps that profile may",
        _ => "the operator may",
    }
}

pub(super) fn who_vi(rung: Rung) -> &'static str {
    match rung {
        Rung::Profile => "người quản lý hồ sơ được phép",
        _ => "nhà vận hành được phép",
    }
}
