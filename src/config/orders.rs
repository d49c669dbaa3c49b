//! `[orders]`, and the files of orders: one order a file, read as strictly as the configuration and written so that it
//! reads again to the same order.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use crate::engine::client::{Realm, UnixTime};
use crate::engine::limits::{ORDER_NAMES_MAX, PERSON_TEXT_OCTETS_MAX};
use crate::engine::list::{Reach, own_entry};
use crate::engine::name::Name;
use crate::engine::order::{
    Act, Channel, DEADLINE_SECS, End, Order, OrderedName, Revoked, SECOND_APPROVAL_SECS, is_same_person,
};

use super::errors::{ConfigError, Place, Sink, Spanned};
use super::reader::Section;
use super::{tree, values};

/// `[orders]` as it is written.
pub(super) struct OrdersSpec {
    pub directory: Option<Spanned<String>>,
    pub second_approval: Option<Spanned<Duration>>,
}

/// `[orders]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderSettings {
    /// Where the files are; `None`: `orders` in the state directory.
    pub directory: Option<std::path::PathBuf>,
    /// How long an order acts on one person's word.
    pub second_approval: Duration,
}

impl Default for OrderSettings {
    fn default() -> OrderSettings {
        OrderSettings { directory: None, second_approval: Duration::from_secs(SECOND_APPROVAL_SECS as u64) }
    }
}

pub(super) fn table(mut section: Section<'_>, top_level: &[&str]) -> OrdersSpec {
    const HOUR: Duration = Duration::from_secs(3_600);
    let spec = OrdersSpec {
        directory: section.string("directory", some_text),
        second_approval: section.quantity("second_approval", |text| {
            values::duration_within(text, ("1 hour", HOUR), ("7 days", 7 * 24 * HOUR))
        }),
    };
    section.finish(top_level);
    spec
}

pub(super) fn lower(spec: &OrdersSpec, sink: &Sink) -> OrderSettings {
    let usual = OrderSettings::default();
    OrderSettings {
        directory: spec.directory.as_ref().map(|path| sink.base(path.at).join(&path.value)),
        second_approval: spec.second_approval.as_ref().map_or(usual.second_approval, |time| time.value),
    }
}

/// A line of text of a bounded length.
fn some_text(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().find(|c| c.is_control()) {
        _ if text.is_empty() => Err("it is empty".into()),
        Some(c) => Err(format!("it holds the control character {c:?}")),
        None if text.len() > PERSON_TEXT_OCTETS_MAX => {
            Err(format!("{} octets, at most {PERSON_TEXT_OCTETS_MAX}", text.len()))
        }
        None => Ok(text.to_owned()),
    }
}

/// RFC 3339, or a day of the zone: its first moment, or for an end that of the day after.
fn moment(text: &str, zone: &TimeZone, is_end: bool) -> Result<UnixTime, String> {
    let bad = || format!("{text:?} is no time; write 2027-01-31T09:00:00+07:00, or 2027-01-31");
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(UnixTime(at.as_second()));
    }
    let mut date: jiff::civil::Date = text.parse().map_err(|_| bad())?;
    if is_end {
        date = date.tomorrow().map_err(|_| bad())?;
    }
    let start = date.to_zoned(zone.clone()).map_err(|_| bad())?;
    Ok(UnixTime(start.timestamp().as_second()))
}

/// `a.example`: with all below; `=a.example`: that name alone.
pub fn ordered_name(text: &str) -> Result<(Name, Reach), String> {
    let (name, reach) = own_entry(text)?;
    match reach {
        Reach::Children => Err(format!("{text:?}: an order holds a name, or a name with all below")),
        _ if name.label_count() < 2 => Err(format!("{text:?}: no order is for a whole top-level domain")),
        Reach::Exact | Reach::Subtree => Ok((name, reach)),
    }
}

/// `open`, or a time.
enum EndText {
    Open,
    At(UnixTime),
}

/// Reads one order's file. `name` is what messages call it; a day without a time of day is one of `zone`.
pub fn read_order(name: &str, text: &str, zone: &TimeZone) -> Result<Order, Vec<ConfigError>> {
    let mut sink = Sink::default();
    let file = sink.add_file(name.to_owned(), Path::new("/").to_owned());
    let order = tree::parse(text, file, &sink)
        .and_then(|table| order(Section::top(&table, Place { file, line: 1, column: 1 }, &sink), zone, &sink));
    match (order, sink.into_parts()) {
        (Some(order), (errors, _)) if errors.is_empty() => Ok(order),
        (_, (errors, _)) => Err(errors),
    }
}

fn order(mut top: Section<'_>, zone: &TimeZone, sink: &Sink) -> Option<Order> {
    let at = top.at;
    let time = |text: &str| moment(text, zone, false);
    let reference = top.string("reference", some_text);
    let authority = top.string("authority", some_text);
    let legal_basis = top.string("legal_basis", some_text);
    let relayed_as = top.string("relayed_as", some_text);
    let category = top.string("category", some_text);
    let channel = top.choice("channel", &Channel::ALL);
    let names = top.some_strings("names", ordered_name);
    let overrides = top.strings("override", ordered_name);
    let scope = top.some_strings("scope", network);
    let realm = top.integer("realm", 0..=65_535);
    top.only_with("scope", &["realm"]);
    let received = top.string("received", time);
    let deadline = top.string("deadline", time);
    let effective = top.string("effective", time);
    let expires = top.string("expires", |text| match text {
        "open" => Ok(EndText::Open),
        text => moment(text, zone, true).map(EndText::At),
    });
    let review_at = top.string("review_at", time);
    let publishable = top.boolean("publishable");
    let evidence_sha256 = top.string("evidence_sha256", |text| match text.len() {
        64 if text.bytes().all(|c| c.is_ascii_hexdigit()) => Ok(text.to_ascii_lowercase()),
        _ => Err(format!("{text:?} is no SHA-256: 64 hexadecimal digits")),
    });
    let mut act = |by: &'static str, at: &'static str| (top.string(by, some_text), top.string(at, time));
    let (entered, checked) = (act("entered_by", "entered_at"), act("checked_by", "checked_at"));
    let (approved, revoked) = (act("approved_by", "approved_at"), act("revoked_by", "revoked_at"));
    let revoked_reason = top.string("revoked_reason", some_text);
    let provisional_until = top.string("provisional_until", time);
    let (verified_at, reported_at) = (top.string("verified_at", time), top.string("reported_at", time));
    for (key, example) in [
        ("reference", "\"2898/A05-P5\""),
        ("authority", "\"Bộ Công an, A05\""),
        ("legal_basis", "\"Nghị định 147/2024/NĐ-CP\""),
        ("names", "[\"bad.example\", \"=only.this.example\"]"),
        ("received", "\"2027-01-31T09:00:00+07:00\""),
        ("expires", "\"2027-12-31\" or \"open\""),
        ("entered_by", "\"Nguyễn Văn An\""),
    ] {
        if !top.has(key) {
            sink.error(at, format!("an order needs `{key}`, for example `{key} = {example}`"));
        }
    }
    top.finish(&[]);

    let value = |given: Option<Spanned<String>>| given.map(|given| given.value);
    let received = received?.value;
    let then = |given: Option<Spanned<UnixTime>>, usual: UnixTime| given.map_or(usual, |given| given.value);
    let effective = then(effective, received);
    let end = match expires? {
        Spanned { value: EndText::At(end), at } => {
            if end <= effective {
                sink.error(at, "`expires` is not after `effective`, so the order would never act");
            }
            End::At(end)
        }
        Spanned { value: EndText::Open, at } => match review_at {
            Some(review_at) => End::Open { review_at: review_at.value },
            None => {
                sink.error(at, "an order without an end needs `review_at`: a day to ask whether it still should act");
                return None;
            }
        },
    };
    let who = |(by, when): (Option<Spanned<String>>, Option<Spanned<UnixTime>>)| {
        Some(Act { by: by?.value, at: then(when, received) })
    };
    let approved_at = approved.0.as_ref().map(|by| by.at);
    let (entered, approved) = (who(entered)?, who(approved));
    if let (Some(act), Some(at)) = (&approved, approved_at)
        && is_same_person(&act.by, &entered.by)
    {
        sink.error(at, format!("`approved_by` is {}, who entered it; a second person approves", entered.by));
    }
    let names = once_each(names?, overrides.unwrap_or_default(), sink);
    Some(Order {
        reference: reference?.value,
        authority: authority?.value,
        legal_basis: legal_basis?.value,
        relayed_as: value(relayed_as),
        category: value(category),
        channel: channel.map_or(Channel::Letter, |channel| channel.value),
        names,
        scope: scope.into_iter().flatten().map(|net| net.value).collect(),
        realm: Realm(realm.unwrap_or(0) as u16),
        received,
        deadline: then(deadline, UnixTime(received.0 + DEADLINE_SECS)),
        effective,
        end,
        publishable: publishable.unwrap_or(false),
        evidence_sha256: value(evidence_sha256),
        entered,
        checked: who(checked),
        approved,
        provisional_until: provisional_until.map(|until| until.value),
        verified_at: verified_at.map(|at| at.value),
        reported_at: reported_at.map(|at| at.value),
        revoked: who(revoked).map(|act| Revoked { act, reason: value(revoked_reason).unwrap_or_default() }),
    })
}

fn network(text: &str) -> Result<IpNet, String> {
    values::network(text)
}

/// Names in their order, each once, with those that override.
fn once_each(
    given: Vec<Spanned<(Name, Reach)>>,
    overrides: Vec<Spanned<(Name, Reach)>>,
    sink: &Sink,
) -> Vec<OrderedName> {
    if let Some(beyond) = given.get(ORDER_NAMES_MAX) {
        sink.error(beyond.at, format!("{} names, at most {ORDER_NAMES_MAX}", given.len()));
        return Vec::new();
    }
    let mut known = std::collections::HashMap::with_capacity(given.len());
    let mut names: Vec<OrderedName> = Vec::with_capacity(given.len());
    for Spanned { value: (name, reach), at } in given {
        match known.insert((name.clone(), reach), at) {
            Some(first) => sink.error(at, format!("{name} is named twice: here and at {}", sink.show(first))),
            None => names.push(OrderedName { name, reach, overrides: false }),
        }
    }
    let mut at_name: std::collections::HashMap<(Name, Reach), usize> =
        names.iter().enumerate().map(|(i, ordered)| ((ordered.name.clone(), ordered.reach), i)).collect();
    for Spanned { value: (name, reach), at } in overrides {
        match at_name.remove(&(name.clone(), reach)) {
            Some(i) => names[i].overrides = true,
            None => sink
                .error(at, format!("`override` holds {name}, which is not among `names` in the same form, or twice")),
        }
    }
    names
}

/// An ordered name as it is written.
pub fn ordered_text(ordered: &OrderedName) -> String {
    match ordered.reach {
        Reach::Exact => format!("={}", ordered.name),
        Reach::Subtree | Reach::Children => ordered.name.to_string(),
    }
}

/// Writes an order's file; times are those of UTC.
pub fn write_order(order: &Order) -> String {
    let mut text = String::new();
    let quoted = |value: &str| toml_edit::Value::from(value).to_string().trim().to_owned();
    let mut put = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
    };
    let time = |at: UnixTime| crate::engine::explain::time_text(at);
    put("reference", Some(&order.reference));
    put("authority", Some(&order.authority));
    put("legal_basis", Some(&order.legal_basis));
    put("relayed_as", order.relayed_as.as_deref());
    put("category", order.category.as_deref());
    put("channel", Some(order.channel.as_str()));
    put("received", Some(&time(order.received)));
    put("deadline", Some(&time(order.deadline)));
    put("effective", Some(&time(order.effective)));
    match order.end {
        End::At(end) => put("expires", Some(&time(end))),
        End::Open { review_at } => {
            put("expires", Some("open"));
            put("review_at", Some(&time(review_at)));
        }
    }
    put("evidence_sha256", order.evidence_sha256.as_deref());
    let acts = [
        ("entered", Some(&order.entered)),
        ("checked", order.checked.as_ref()),
        ("approved", order.approved.as_ref()),
        ("revoked", order.revoked.as_ref().map(|revoked| &revoked.act)),
    ];
    for (what, act) in acts.into_iter().filter_map(|(what, act)| Some((what, act?))) {
        put(&format!("{what}_by"), Some(&act.by));
        put(&format!("{what}_at"), Some(&time(act.at)));
    }
    put("revoked_reason", order.revoked.as_ref().map(|revoked| revoked.reason.as_str()).filter(|why| !why.is_empty()));
    put("provisional_until", order.provisional_until.map(time).as_deref());
    put("verified_at", order.verified_at.map(time).as_deref());
    put("reported_at", order.reported_at.map(time).as_deref());
    let _ = writeln!(text, "publishable = {}", order.publishable);
    if order.realm != Realm::default() {
        let _ = writeln!(text, "realm = {}", order.realm.0);
    }
    let mut array = |key: &str, values: Vec<String>| {
        if !values.is_empty() {
            let lines: String = values.iter().map(|value| format!("  {},\n", quoted(value))).collect();
            let _ = write!(text, "{key} = [\n{lines}]\n");
        }
    };
    array("scope", order.scope.iter().map(IpNet::to_string).collect());
    array("names", order.names.iter().map(ordered_text).collect());
    array("override", order.names.iter().filter(|ordered| ordered.overrides).map(ordered_text).collect());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::get("Asia/Ho_Chi_Minh").unwrap()
    }

    const WHOLE: &str = "reference = \"2898/A05-P5\"\nauthority = \"A05\"\nlegal_basis = \"NĐ 147/2024\"\n\
        names = [\"bad.example\", \"=only.example\"]\noverride = [\"=only.example\"]\nscope = [\"10.0.0.0/8\"]\n\
        received = \"2027-01-31T09:00:00+07:00\"\nexpires = \"2027-12-31\"\nentered_by = \"An \\\"đêm\\\"\"\n\
        approved_by = \"Bình\"\n";

    #[test]
    fn what_is_written_reads_to_the_same_order() {
        let order = read_order("o.toml", WHOLE, &zone()).unwrap();
        assert_eq!(order.deadline.0 - order.received.0, DEADLINE_SECS);
        assert_eq!((order.effective, order.publishable, order.channel), (order.received, false, Channel::Letter));
        // Through the last day: until the first moment of the next one.
        let end = "2028-01-01T00:00:00+07:00".parse::<jiff::Timestamp>().unwrap().as_second();
        assert_eq!(order.end, End::At(UnixTime(end)));
        assert_eq!(order.names.iter().map(|ordered| ordered.overrides).collect::<Vec<_>>(), [false, true]);
        assert_eq!(read_order("o.toml", &write_order(&order), &TimeZone::UTC).unwrap(), order);
        let act = Act { by: "Cô Lan".into(), at: UnixTime(1_800_000_000) };
        let everything = Order {
            relayed_as: Some("2312/CVT-CS".into()),
            category: Some("gambling".into()),
            channel: Channel::Phone,
            realm: Realm(7),
            end: End::Open { review_at: UnixTime(1_900_000_000) },
            publishable: true,
            evidence_sha256: Some("0".repeat(64)),
            checked: Some(act.clone()),
            provisional_until: Some(UnixTime(1_800_086_400)),
            verified_at: Some(UnixTime(1_800_000_001)),
            reported_at: Some(UnixTime(1_800_000_002)),
            revoked: Some(Revoked { act, reason: "rút \"lại\"\\".into() }),
            ..order
        };
        assert_eq!(read_order("o.toml", &write_order(&everything), &zone()).unwrap(), everything);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        for (from, to, told) in [
            ("reference = \"2898/A05-P5\"\n", "", "o.toml:1: an order needs `reference`"),
            ("bad.example", "*.bad.example", "o.toml:4: `names`: \"*.bad.example\": an order holds a name"),
            ("bad.example", "vn", "no order is for a whole top-level domain"),
            ("bad.example", "=only.example", "only.example is named twice"),
            ("override = [\"=only", "override = [\"only", "`override` holds only.example"),
            ("10.0.0.0/8", "10.0.0.0/99", "o.toml:6:"),
            ("scope = [\"10.0.0.0/8\"]", "realm = 7", "`realm` is for a table with `scope`"),
            ("scope = ", "realm = 65_536\nscope = ", "`realm` is 65536, must be 0 to 65535"),
            ("2027-01-31T09:00:00+07:00", "31/1/2027", "\"31/1/2027\" is no time"),
            ("\"2027-12-31\"", "\"2026-12-31\"", "would never act"),
            ("\"2027-12-31\"", "\"open\"", "needs `review_at`"),
            ("\"Bình\"", "\"an \\\"ĐÊM\\\"\"", "o.toml:10: `approved_by` is An \"đêm\", who entered it"),
            ("approved_by", "aproved_by", "unknown key `aproved_by`; did you mean `approved_by`?"),
            ("names = [", "names = 3 # ", "`names` must be an array of strings"),
            ("authority = \"A05\"", "authority = \" \"", "`authority`: it is empty"),
            ("entered_by", "evidence_sha256 = \"ab\"\nentered_by", "no SHA-256"),
            ("entered_by", "channel = \"fax\"\nentered_by", "\"fax\" is not one of letter, electronic, phone"),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let errors = read_order("o.toml", &WHOLE.replacen(from, to, 1), &zone()).unwrap_err();
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(texts.iter().any(|text| text.contains(told)), "{told}: {texts:?}");
        }
    }
}
