//! The reply to the authority, as Markdown: in Vietnamese in the form that NĐ 30/2020 gives letters, in English for those who
//! keep books in it.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::commands::{Effect, Measured, OrderTold};
use super::remembered::{BoundBy, BoundTold, RememberedTold, WorstTold};
use super::taken_up::{NodeTold, TakenUpTold};

/// The language that a reply is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterIn {
    Vietnamese,
    English,
}

/// The reply about a verified order; times are those of `zone`.
pub fn letter(effect: &Effect, zone: &TimeZone, language: LetterIn) -> String {
    match language {
        LetterIn::Vietnamese => in_vietnamese(effect, zone),
        LetterIn::English => in_english(effect, zone),
    }
}

/// A time as people write it; as it is when it is none.
fn written(text: &str, zone: &TimeZone, form: &str) -> String {
    let at = text.parse::<Timestamp>();
    at.map_or_else(|_| text.to_owned(), |at| at.to_zoned(zone.clone()).strftime(form).to_string())
}

fn done(effect: &Effect) -> usize {
    effect.names.iter().filter(|name| name.effective).count()
}

/// What a name's row says, in one language.
struct RowWords {
    blocked: &'static str,
    not_blocked: &'static str,
    /// The order is not in force here, so nothing is known of what clients remember.
    not_known: &'static str,
    /// No client remembers an older answer.
    forgotten: &'static str,
    at_most: fn(u32) -> String,
}

/// A row of the table for each name.
fn rows(effect: &Effect, words: &RowWords) -> String {
    let mut text = String::new();
    for (i, Measured { name, effective, micros, remembered, .. }) in effect.names.iter().enumerate() {
        let result = if *effective { words.blocked } else { words.not_blocked };
        let longest = match remembered {
            _ if effect.order.remembered.is_none() => words.not_known.to_owned(),
            Some(BoundTold { secs, .. }) => (words.at_most)(*secs),
            None => words.forgotten.to_owned(),
        };
        let _ = writeln!(text, "| {} | {name} | {result} | {micros} µs | {longest} |", i + 1);
    }
    text
}

/// What the table of nodes says, in one language.
struct NodeWords<'w> {
    title: &'w str,
    not_said: &'w str,
    forgotten: &'w str,
    unknown: &'w dyn Fn(&str) -> String,
    /// At which node, when and how many seconds after the order was received; and whether every node has said.
    slowest: &'w dyn Fn(&str, &str, i64, bool) -> String,
    here: &'w dyn Fn(&str) -> String,
    span: fn(i64) -> String,
}

/// The part about each node of the fleet; empty for one that is alone.
fn nodes(effect: &Effect, words: &NodeWords<'_>) -> String {
    let NodeWords { title, not_said, forgotten, unknown, slowest, here, span } = words;
    if let Some(why) = &effect.nodes_unknown {
        return unknown(why);
    }
    if effect.nodes.is_empty() {
        return String::new();
    }
    let mut text = (*title).to_owned();
    let mut worst: Option<(&str, &str, i64)> = None;
    for NodeTold { node, taken_up } in &effect.nodes {
        let Some(TakenUpTold { since, after_secs, names, blocked, micros, forgotten: until }) = taken_up else {
            let _ = writeln!(text, "| {node} | {not_said} | | | | |");
            continue;
        };
        let last = until.as_ref().map_or((*forgotten).to_owned(), |(at, _)| here(at));
        let _ = writeln!(
            text,
            "| {node} | {} | {} | {blocked}/{names} | {micros} µs | {last} |",
            here(since),
            span(*after_secs)
        );
        if let Some((at, after)) = until
            && worst.is_none_or(|(_, _, before)| before < *after)
        {
            worst = Some((node, at, *after));
        }
    }
    if let Some((node, at, after)) = worst {
        let is_of_all = effect.nodes.iter().all(|node| node.taken_up.is_some());
        text.push_str(&slowest(node, &here(at), after, is_of_all));
    }
    text
}

fn in_vietnamese(effect: &Effect, zone: &TimeZone) -> String {
    let unit = effect.organization.as_deref().unwrap_or("TÊN ĐƠN VỊ");
    let OrderTold { reference, authority, legal_basis, received, remembered, .. } = &effect.order;
    let here = |text: &str| written(text, zone, "%H giờ %M phút, ngày %d tháng %m năm %Y");
    let mut text = format!(
        "**{unit}**\n\nSố: …/…\n\n**CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM**  \n**Độc lập – Tự do – Hạnh phúc**\n\n\
         *…, {}*\n\nV/v thực hiện yêu cầu số {reference}\n\n**Kính gửi:** {authority}\n\n\
         Thực hiện yêu cầu số {reference} của {authority} (căn cứ: {legal_basis}), nhận lúc {}, đơn vị chúng tôi xin báo cáo \
         kết quả như sau:\n\n1. Đã ngăn chặn {}/{} tên miền trên hệ thống phân giải tên miền của đơn vị.{}\n\n\
         2. Kiểm chứng: {}, tại nút {}; {}.\n\n3. Máy khách chậm nhất: {}\n\n\
         4. Kết quả kiểm chứng từng tên miền:\n\n\
         | STT | Tên miền | Kết quả | Thời gian trả lời | Máy khách còn nhớ câu trả lời cũ |\n|---|---|---|---|---|\n",
        written(&effect.at, zone, "ngày %d tháng %m năm %Y"),
        here(received),
        done(effect),
        effect.names.len(),
        if effect.order.acts {
            String::new()
        } else {
            format!(" Trạng thái của yêu cầu: {}.", effect.order.state_vi)
        },
        here(&effect.at),
        effect.node,
        effect.verified_at.as_ref().map_or_else(
            || "chưa lần nào tất cả đều bị chặn".to_owned(),
            |first| {
                format!(
                    "lần đầu tất cả đều bị chặn lúc {}, tức {} kể từ khi nhận yêu cầu",
                    here(first),
                    span_in_vietnamese(effect.after_secs)
                )
            }
        ),
        remembered.as_ref().map_or_else(
            || "chưa xác định, vì yêu cầu chưa có hiệu lực tại nút này.".to_owned(),
            |remembered| slowest_in_vietnamese(remembered, &here)
        ),
    );
    let words = RowWords {
        blocked: "Đã chặn (NXDOMAIN, EDE 16)",
        not_blocked: "Chưa chặn",
        not_known: "chưa xác định",
        forgotten: "không",
        at_most: |secs| format!("không quá {secs} giây"),
    };
    text.push_str(&rows(effect, &words));
    text.push_str(&nodes(
        effect,
        &NodeWords {
            title: "\n5. Kết quả tại từng nút, kiểm chứng khi yêu cầu có hiệu lực tại nút đó:\n\n\
                    | Nút | Có hiệu lực từ | Kể từ khi nhận yêu cầu | Đã chặn | Trả lời chậm nhất | Máy khách quên câu trả lời \
                    cũ muộn nhất |\n|---|---|---|---|---|---|\n",
            not_said: "chưa báo",
            forgotten: "không máy nào còn nhớ",
            unknown: &|why| format!("\n5. Kết quả tại từng nút: chưa hỏi được các nút khác ({why}).\n"),
            slowest: &|node, at, after, is_of_all| {
                let span = span_in_vietnamese(after);
                let of = if is_of_all { "mọi nút" } else { "các nút đã báo" };
                format!("\nMáy khách chậm nhất trên {of}: tại {node}, {at}, tức {span} kể từ khi nhận yêu cầu.\n")
            },
            here: &here,
            span: span_in_vietnamese,
        },
    ));
    text.push_str(
        "\nTrân trọng báo cáo./.\n\n**Nơi nhận:**\n- Như trên;\n- Lưu: VT.\n\n**ĐẠI DIỆN ĐƠN VỊ**\n\n*(Ký, ghi rõ họ tên)*\n",
    );
    text
}

fn slowest_in_vietnamese(remembered: &RememberedTold, here: &dyn Fn(&str) -> String) -> String {
    let RememberedTold { since, limit_secs, worst, .. } = remembered;
    let since = here(since);
    let Some(WorstTold { name, bound: BoundTold { secs, by }, until, after_secs }) = worst else {
        return format!(
            "không có. Yêu cầu có hiệu lực tại nút lúc {since}; trước đó nút không trả lời máy khách nào về các tên miền này mà \
             TTL còn hạn."
        );
    };
    let (until, span) = (here(until), span_in_vietnamese(*after_secs));
    let by = match by {
        BoundBy::Cache => format!("theo TTL còn lại trong bộ nhớ đệm của nút vào lúc yêu cầu có hiệu lực ({name})"),
        BoundBy::Limit => {
            "theo TTL dài nhất mà nút trả cho máy khách, vì bộ nhớ đệm không còn giữ mọi câu trả lời".to_owned()
        }
    };
    format!(
        "quên câu trả lời cũ muộn nhất vào {until}, tức {span} kể từ khi nhận yêu cầu. Yêu cầu có hiệu lực tại nút lúc {since}; \
         từ đó câu trả lời cũ còn được nhớ không quá {secs} giây, {by}. Đây là giới hạn trên tính từ các câu trả lời đã đưa ra, \
         không phải số đo tại máy khách; không câu trả lời nào có TTL quá {limit_secs} giây."
    )
}

fn span_in_vietnamese(secs: i64) -> String {
    format!("{} giờ {} phút {} giây", secs / 3_600, secs % 3_600 / 60, secs % 60)
}

fn in_english(effect: &Effect, zone: &TimeZone) -> String {
    let unit = effect.organization.as_deref().unwrap_or("NAME OF THE ORGANISATION");
    let OrderTold { reference, authority, legal_basis, received, remembered, .. } = &effect.order;
    let here = |text: &str| written(text, zone, "%H:%M on %-d %B %Y");
    let mut text = format!(
        "**{unit}**\n\nNo.: …/…\n\n*…, {}*\n\nSubject: order {reference}\n\n**To:** {authority}\n\n\
         We report on order {reference} of {authority} (legal basis: {legal_basis}), received at {}:\n\n\
         1. {} of {} names are blocked by our resolvers.{}\n\n\
         2. Asked at {}, at node {}; {}.\n\n3. Slowest client: {}\n\n\
         4. Each name:\n\n\
         | No. | Name | Result | Time to answer | Clients remember the old answer |\n|---|---|---|---|---|\n",
        written(&effect.at, zone, "%-d %B %Y"),
        here(received),
        done(effect),
        effect.names.len(),
        if effect.order.acts {
            String::new()
        } else {
            format!(" The order does not act: it is {}.", effect.order.state)
        },
        here(&effect.at),
        effect.node,
        effect.verified_at.as_ref().map_or_else(
            || "never yet were all of them blocked".to_owned(),
            |first| format!(
                "all blocked first at {}, {} after the order was received",
                here(first),
                span(effect.after_secs)
            )
        ),
        remembered.as_ref().map_or_else(
            || "not known, for the order is not in force at this node.".to_owned(),
            |remembered| slowest(remembered, &here)
        ),
    );
    let words = RowWords {
        blocked: "Blocked (NXDOMAIN, EDE 16)",
        not_blocked: "Not blocked",
        not_known: "not known",
        forgotten: "no",
        at_most: |secs| format!("at most {secs} s"),
    };
    text.push_str(&rows(effect, &words));
    text.push_str(&nodes(
        effect,
        &NodeWords {
            title: "\n5. Each node, asked when the order came into force there:\n\n\
                    | Node | In force since | After the order was received | Blocked | Slowest answer | Clients forget the old \
                    answer by |\n|---|---|---|---|---|---|\n",
            not_said: "has not said",
            forgotten: "none remembers it",
            unknown: &|why| format!("\n5. Each node: the others could not be asked ({why}).\n"),
            slowest: &|node, at, after, is_of_all| {
                let span = span(after);
                let of = if is_of_all { "at any node" } else { "at the nodes that have said" };
                format!("\nSlowest client {of}: at {node}, {at}, {span} after the order was received.\n")
            },
            here: &here,
            span,
        },
    ));
    text.push_str("\n**Copies:**\n- as above;\n- our files.\n\n**FOR THE ORGANISATION**\n\n*(signature and name)*\n");
    text
}

fn slowest(remembered: &RememberedTold, here: &dyn Fn(&str) -> String) -> String {
    let RememberedTold { since, limit_secs, worst, .. } = remembered;
    let since = here(since);
    let Some(WorstTold { name, bound: BoundTold { secs, by }, until, after_secs }) = worst else {
        return format!(
            "none. The order came into force at this node at {since}; before that, the node had told no client anything about these \
             names whose TTL had not run out."
        );
    };
    let (until, span) = (here(until), span(*after_secs));
    let by = match by {
        BoundBy::Cache => format!("by the TTL left in the node's cache when the order came into force ({name})"),
        BoundBy::Limit => {
            "by the longest TTL that the node tells clients, for its cache does not have all that was told".to_owned()
        }
    };
    format!(
        "it forgets the old answer at {until} at the latest, {span} after the order was received. The order came into force at \
         this node at {since}; an old answer is remembered for at most {secs} s from then on, {by}. This is an upper bound by what \
         was handed out, not measured at a client; no answer had a TTL over {limit_secs} s."
    )
}

fn span(secs: i64) -> String {
    format!("{} h {} min {} s", secs / 3_600, secs % 3_600 / 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::UnixTime;
    use crate::engine::order::tests::order;
    use crate::engine::order::{Order, Remembered};

    /// 15:00 in Vietnam.
    const BEGAN: i64 = 1_800_000_000;

    fn effect(remembered: Option<Remembered>) -> Effect {
        let order = Order { received: UnixTime(BEGAN), ..order("1/A05", &["bad.example", "=only.example"]) };
        let zone = TimeZone::get("Asia/Ho_Chi_Minh").unwrap();
        let names = order.names.iter().enumerate().map(|(place, ordered)| Measured {
            name: ordered.name.to_string(),
            effective: true,
            rcode: 3,
            micros: 40,
            remembered: remembered.as_ref().and_then(|remembered| Some(remembered.of(place)?.into())),
        });
        Effect {
            names: names.collect(),
            order: OrderTold::of(&order, UnixTime(BEGAN + 7_200), None, &zone, remembered.as_ref()),
            node: "hn-1".into(),
            organization: None,
            at: "2027-01-15T19:00:00+07:00".into(),
            verified_at: Some("2027-01-15T17:00:00+07:00".into()),
            after_secs: 7_200,
            nodes: Vec::new(),
            nodes_unknown: None,
        }
    }

    /// It may be written again long after.
    #[test]
    fn the_reply_tells_when_the_order_was_first_found_effective() {
        let zone = TimeZone::get("Asia/Ho_Chi_Minh").unwrap();
        let again = effect(None);
        let never = Effect { verified_at: None, ..effect(None) };
        let mut revoked = effect(None);
        (revoked.order.acts, revoked.order.state, revoked.order.state_vi) =
            (false, "revoked".into(), "đã thu hồi".into());
        for (effect, language, part) in [
            (
                &again,
                LetterIn::Vietnamese,
                "2. Kiểm chứng: 19 giờ 00 phút, ngày 15 tháng 01 năm 2027, tại nút hn-1; lần đầu tất cả đều bị chặn lúc 17 giờ 00 phút",
            ),
            (&again, LetterIn::Vietnamese, "tức 2 giờ 0 phút 0 giây kể từ khi nhận yêu cầu.\n"),
            (&again, LetterIn::English, "all blocked first at 17:00 on 15 January 2027, 2 h 0 min 0 s after"),
            (&never, LetterIn::Vietnamese, "tại nút hn-1; chưa lần nào tất cả đều bị chặn.\n"),
            (&revoked, LetterIn::Vietnamese, "của đơn vị. Trạng thái của yêu cầu: đã thu hồi.\n"),
            (&revoked, LetterIn::English, "by our resolvers. The order does not act: it is revoked.\n"),
            (&never, LetterIn::English, "never yet were all of them blocked.\n"),
        ] {
            let text = letter(effect, &zone, language);
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_reply_tells_what_the_slowest_client_may_remember_and_by_what() {
        let zone = TimeZone::get("Asia/Ho_Chi_Minh").unwrap();
        let remembered =
            |is_whole, cached| Some(Remembered { at: UnixTime(BEGAN + 3_600), limit_secs: 1_800, is_whole, cached });
        for (remembered, vietnamese, english) in [
            (
                remembered(true, vec![(1, 90)]),
                vec![
                    "muộn nhất vào 16 giờ 01 phút, ngày 15 tháng 01 năm 2027, tức 1 giờ 1 phút 30 giây kể từ khi nhận",
                    "không quá 90 giây, theo TTL còn lại trong bộ nhớ đệm của nút vào lúc yêu cầu có hiệu lực (=only.example)",
                    "không câu trả lời nào có TTL quá 1800 giây",
                    "| 1 | bad.example | Đã chặn (NXDOMAIN, EDE 16) | 40 µs | không |",
                    "| 2 | only.example | Đã chặn (NXDOMAIN, EDE 16) | 40 µs | không quá 90 giây |",
                ],
                vec![
                    "at 16:01 on 15 January 2027 at the latest, 1 h 1 min 30 s after the order was received",
                    "at most 90 s from then on, by the TTL left in the node's cache",
                    "| 2 | only.example | Blocked (NXDOMAIN, EDE 16) | 40 µs | at most 90 s |",
                ],
            ),
            (
                remembered(false, vec![(1, 90)]),
                vec![
                    "không quá 1800 giây, theo TTL dài nhất",
                    "| 40 µs | không quá 1800 giây |",
                    "không quá 90 giây |",
                ],
                vec!["at most 1800 s from then on, by the longest TTL that the node tells clients"],
            ),
            (
                remembered(true, Vec::new()),
                vec!["3. Máy khách chậm nhất: không có. Yêu cầu có hiệu lực tại nút lúc 16 giờ 00 phút"],
                vec!["3. Slowest client: none. The order came into force at this node at 16:00 on 15 January 2027"],
            ),
            (
                None,
                vec!["3. Máy khách chậm nhất: chưa xác định, vì yêu cầu chưa có hiệu lực", "| chưa xác định |"],
                vec!["3. Slowest client: not known", "| not known |"],
            ),
        ] {
            let effect = effect(remembered);
            for (language, parts) in [(LetterIn::Vietnamese, vietnamese), (LetterIn::English, english)] {
                let text = letter(&effect, &zone, language);
                for part in parts {
                    assert!(text.contains(part), "{part}: {text}");
                }
            }
        }
    }

    #[test]
    fn the_reply_tells_of_each_node_and_of_the_slowest_client_of_all() {
        let zone = TimeZone::get("Asia/Ho_Chi_Minh").unwrap();
        let taken_up = |secs: i64, forgotten: Option<i64>| {
            let at = |secs: i64| crate::engine::explain::rfc3339(UnixTime(BEGAN + secs), &zone);
            let forgotten = forgotten.map(|secs| (at(secs), secs));
            Some(TakenUpTold { since: at(secs), after_secs: secs, names: 2, blocked: 2, micros: 40, forgotten })
        };
        let node = |node: &str, taken_up| NodeTold { node: node.into(), taken_up };
        let nodes = vec![
            node("hn-1", taken_up(3_600, Some(3_690))),
            node("hn-2", taken_up(3_601, Some(5_401))),
            node("hn-3", taken_up(3_660, None)),
            node("hn-4", None),
        ];
        let all_said = Effect { nodes: nodes[..3].to_vec(), ..effect(None) };
        let fleet = Effect { nodes, ..effect(None) };
        let away = Effect { nodes_unknown: Some("the store is away".into()), ..effect(None) };
        let alone = letter(&effect(None), &zone, LetterIn::English);
        assert!(!alone.contains("node:") && !alone.contains("5. "), "{alone}");
        for (effect, language, part) in [
            (
                &fleet,
                LetterIn::Vietnamese,
                "| hn-2 | 16 giờ 00 phút, ngày 15 tháng 01 năm 2027 | 1 giờ 0 phút 1 giây | 2/2 | 40 µs | 16 giờ 30 phút,",
            ),
            (&fleet, LetterIn::Vietnamese, "| không máy nào còn nhớ |\n| hn-4 | chưa báo |"),
            (&fleet, LetterIn::Vietnamese, "Máy khách chậm nhất trên các nút đã báo: tại hn-2, 16 giờ 30 phút"),
            (&all_said, LetterIn::Vietnamese, "Máy khách chậm nhất trên mọi nút: tại hn-2, 16 giờ 30 phút"),
            (&fleet, LetterIn::English, "Slowest client at the nodes that have said: at hn-2"),
            (&all_said, LetterIn::English, "Slowest client at any node: at hn-2"),
            (
                &fleet,
                LetterIn::English,
                "| hn-3 | 16:01 on 15 January 2027 | 1 h 1 min 0 s | 2/2 | 40 µs | none remembers it |",
            ),
            (&fleet, LetterIn::English, "| hn-4 | has not said |"),
            (
                &fleet,
                LetterIn::English,
                "at hn-2, 16:30 on 15 January 2027, 1 h 30 min 1 s after the order was received.\n",
            ),
            (&away, LetterIn::Vietnamese, "chưa hỏi được các nút khác (the store is away)"),
            (&away, LetterIn::English, "5. Each node: the others could not be asked (the store is away).\n"),
        ] {
            let text = letter(effect, &zone, language);
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
