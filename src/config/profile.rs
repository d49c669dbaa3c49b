//! The shape of `[profile.NAME]` and `[profile.NAME.window.NAME]`.

use std::time::Duration;

use jiff::civil::Weekday;

use crate::engine::compile::{Mode, YouTube};
use crate::engine::list::own_entry;
use crate::engine::schedule::{TimeOfDay, WindowMode};
use crate::engine::verdict::BlockResponse;

use super::errors::Spanned;
use super::reader::{Section, one_of};
use super::spec::{OwnEntries, not_empty, whole_seconds};
use super::values;

/// `[profile.NAME]`.
pub(super) struct ProfileSpec {
    pub name: Spanned<String>,
    pub inherit: Option<Spanned<String>>,
    pub block: Option<Vec<Spanned<String>>>,
    pub shadow: Option<Vec<Spanned<String>>>,
    pub security: Option<Spanned<bool>>,
    /// Whether security lists are heard for questions that lead a browser somewhere alone.
    pub security_for: Option<Spanned<bool>>,
    pub safe_search: Option<bool>,
    pub safe_search_except: Option<Vec<Spanned<String>>>,
    pub youtube: Option<Spanned<YouTube>>,
    pub block_response: Option<Spanned<BlockResponse>>,
    pub block_responses: Vec<(Spanned<String>, BlockResponse)>,
    pub block_ttl: Option<Spanned<Duration>>,
    pub mode: Option<Spanned<ProfileMode>>,
    pub time_zone: Option<Spanned<String>>,
    pub calendar: Option<Spanned<CalendarFile>>,
    pub windows: Vec<WindowSpec>,
    pub allow: OwnEntries,
    pub deny: OwnEntries,
}

/// `mode` of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProfileMode {
    Enforce,
    Observe,
    AllowOnly,
    WalledGarden,
}

/// `calendar`: a file, or none although a parent names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CalendarFile {
    Off,
    File(String),
}

/// `[profile.NAME.window.NAME]`.
pub(super) struct WindowSpec {
    pub name: Spanned<String>,
    pub mode: Option<Spanned<WindowKind>>,
    pub categories: Option<Vec<Spanned<String>>>,
    pub days: Option<Vec<Spanned<Weekday>>>,
    /// Both or none; neither: the whole day.
    pub from: Option<Spanned<TimeOfDay>>,
    pub to: Option<Spanned<TimeOfDay>>,
    pub time_zone: Option<Spanned<String>>,
    pub calendar: Option<Spanned<CalendarFile>>,
}

/// `mode` of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowKind {
    Is(WindowMode),
    /// A parent's window that this profile has not.
    Off,
}

const BLOCK_RESPONSES: &[(&str, BlockResponse)] = &[
    ("nxdomain", BlockResponse::Nxdomain),
    ("nodata", BlockResponse::Nodata),
    ("refused", BlockResponse::Refused),
    ("null-ip", BlockResponse::NullIp),
    ("page", BlockResponse::Page),
    ("drop", BlockResponse::Drop),
];

/// `mode` of everybody and of a client.
pub(super) const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("observe", Mode::Observe)];

pub(super) fn profile(name: Spanned<String>, mut section: Section<'_>, top_level: &[&str]) -> ProfileSpec {
    let mut responses = section.section("block_responses");
    let block_responses = responses.choices(BLOCK_RESPONSES);
    let spec = ProfileSpec {
        name,
        inherit: section.string("inherit", not_empty),
        block: section.strings("block", not_empty),
        shadow: section.strings("shadow", not_empty),
        security: section.spanned_boolean("security"),
        security_for: section.choice("security_for", &[("all", false), ("addresses", true)]),
        safe_search: section.boolean("safe_search"),
        safe_search_except: section.strings("safe_search_except", not_empty),
        youtube: section
            .choice("youtube", &[("off", YouTube::Off), ("moderate", YouTube::Moderate), ("strict", YouTube::Strict)]),
        block_response: section.choice("block_response", BLOCK_RESPONSES),
        block_responses,
        block_ttl: section.quantity("block_ttl", |text| {
            let second = Duration::from_secs(1);
            values::duration_within(text, ("1 s", second), ("60 s", 60 * second)).and_then(whole_seconds)
        }),
        mode: section.choice(
            "mode",
            &[
                ("enforce", ProfileMode::Enforce),
                ("observe", ProfileMode::Observe),
                ("allow-only", ProfileMode::AllowOnly),
                ("walled-garden", ProfileMode::WalledGarden),
            ],
        ),
        time_zone: section.string("time_zone", values::time_zone),
        calendar: section.string("calendar", calendar),
        windows: section
            .named_sections("window")
            .into_iter()
            .map(|(name, section)| window(name, section, top_level))
            .collect(),
        allow: section.strings("allow", own_entry),
        deny: section.strings("deny", own_entry),
    };
    section.finish(top_level);
    spec
}

fn window(name: Spanned<String>, mut section: Section<'_>, top_level: &[&str]) -> WindowSpec {
    let mode = section.choice(
        "mode",
        &[
            ("block", WindowKind::Is(WindowMode::Block)),
            ("allow-only", WindowKind::Is(WindowMode::AllowOnly)),
            ("off", WindowKind::Off),
        ],
    );
    let kind = mode.as_ref().map_or(WindowKind::Is(WindowMode::Block), |mode| mode.value);
    if kind != WindowKind::Off && !section.has("days") {
        section.missing("days", "[\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]");
    }
    if kind == WindowKind::Is(WindowMode::Block) && !section.has("categories") {
        section.missing("categories", "[\"games\"]");
    }
    for (key, other, example) in [("from", "to", "\"06:00\""), ("to", "from", "\"22:00\"")] {
        if section.has(key) && !section.has(other) {
            section.missing(other, example);
        }
    }
    let spec = WindowSpec {
        name,
        mode,
        categories: section.some_strings("categories", not_empty),
        days: section.some_strings("days", day),
        from: section.string("from", time_of_day),
        to: section.string("to", time_of_day),
        time_zone: section.string("time_zone", values::time_zone),
        calendar: section.string("calendar", calendar),
    };
    section.finish(top_level);
    spec
}

fn calendar(text: &str) -> Result<CalendarFile, String> {
    match text {
        "" => Err("is empty; name a file, or \"off\"".to_owned()),
        "off" => Ok(CalendarFile::Off),
        file => Ok(CalendarFile::File(file.to_owned())),
    }
}

/// `mon`, in any case.
fn day(text: &str) -> Result<Weekday, String> {
    use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    one_of(
        &text.to_ascii_lowercase(),
        &[
            ("mon", Monday),
            ("tue", Tuesday),
            ("wed", Wednesday),
            ("thu", Thursday),
            ("fri", Friday),
            ("sat", Saturday),
            ("sun", Sunday),
        ],
    )
}

/// `06:05`: two digits, a colon, two digits; up to 24:00.
pub(super) fn time_of_day(text: &str) -> Result<TimeOfDay, String> {
    let wrong = || format!("{text:?} is no time of day: two digits, a colon, two digits, from \"00:00\" to \"24:00\"");
    let [h1, h2, b':', m1, m2] = *text.as_bytes() else { return Err(wrong()) };
    let number =
        |high: u8, low: u8| (high.is_ascii_digit() && low.is_ascii_digit()).then(|| (high - b'0') * 10 + low - b'0');
    let time = number(h1, h2).zip(number(m1, m2)).and_then(|(hour, minute)| TimeOfDay::new(hour, minute));
    time.ok_or_else(wrong)
}
