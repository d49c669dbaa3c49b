//! `schedule show`: which windows are open, and what opens and closes next. Read from the configuration; nobody is asked.

use std::path::Path;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Weekday;
use serde::Serialize;

use crate::cli::language::Language;
use crate::cli::out::{complain, print_json, say};
use crate::cli::{NO, USAGE, YES};
use crate::config;
use crate::daemon::admin::parse_moment;
use crate::daemon::clock;
use crate::engine::category::Categories;
use crate::engine::client::UnixTime;
use crate::engine::compile::ProfileSettings;
use crate::engine::explain::{moment, rfc3339};
use crate::engine::schedule::{Timeline, Window, WindowMode, is_sane};

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Show which windows are open, and what opens and closes next
    #[command(
        after_help = "Examples:\n  lachan schedule show -c lachan.toml\n  lachan schedule show --profile school --at \
                      2026-11-27T22:00:00+07:00\n\nIt reads the configuration; no resolver is asked."
    )]
    Show(ScheduleShowArgs),
}

#[derive(Debug, Args)]
pub struct ScheduleShowArgs {
    /// At this moment instead of now
    #[arg(long, value_name = "RFC3339")]
    at: Option<String>,
    /// This profile alone
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Changes shown for each profile.
const CHANGES_SHOWN: usize = 6;

const WEEK: [(Weekday, &str, &str); 7] = [
    (Weekday::Monday, "mon", "T2"),
    (Weekday::Tuesday, "tue", "T3"),
    (Weekday::Wednesday, "wed", "T4"),
    (Weekday::Thursday, "thu", "T5"),
    (Weekday::Friday, "fri", "T6"),
    (Weekday::Saturday, "sat", "T7"),
    (Weekday::Sunday, "sun", "CN"),
];

#[derive(Debug, Serialize)]
struct Shown {
    at: String,
    /// `false`: the clock is not set, so every window counts as closed.
    clock_is_set: bool,
    profiles: Vec<ProfileShown>,
}

#[derive(Debug, Serialize)]
struct ProfileShown {
    profile: String,
    windows: Vec<WindowShown>,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct WindowShown {
    window: String,
    mode: &'static str,
    categories: Vec<String>,
    days: Vec<&'static str>,
    from: String,
    to: String,
    time_zone: String,
    open: bool,
    /// Absent: not in the next two weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_change: Option<String>,
}

#[derive(Debug, Serialize)]
struct Change {
    at: String,
    open: Vec<String>,
}

pub fn show(path: Option<&Path>, args: &ScheduleShowArgs) -> u8 {
    let at = match args.at.as_deref().map(parse_moment).transpose() {
        Ok(at) => at,
        Err(why) => {
            complain!("lachan: {why}");
            return USAGE;
        }
    };
    let config = match path {
        None => config::embedded(),
        Some(path) => match config::load(path) {
            Ok(config) => config,
            Err(errors) => {
                errors.iter().for_each(|error| complain!("lachan: {error}"));
                return NO;
            }
        },
    };
    let profiles: Vec<&ProfileSettings> = match &args.profile {
        None => config.policy.profiles.iter().filter(|profile| !profile.windows.is_empty()).collect(),
        Some(name) => {
            let found: Vec<_> = config.policy.profiles.iter().filter(|profile| profile.name == *name).collect();
            if found.is_empty() {
                let known: Vec<&str> = config.policy.profiles.iter().map(|profile| profile.name.as_str()).collect();
                complain!("lachan: there is no profile `{name}`; there are: {}", known.join(", "));
                return NO;
            }
            found
        }
    };
    let (now, clock_is_set) = match at {
        Some(at) => (at, true),
        None => (clock::unix_time(), is_sane(clock::unix_time())),
    };
    let timelines: Vec<Timeline> = profiles
        .iter()
        .map(|profile| if clock_is_set { Timeline::new(&profile.windows, now) } else { Timeline::default() })
        .collect();
    if args.json {
        let shown = profiles
            .iter()
            .zip(&timelines)
            .map(|(profile, timeline)| shown(profile, timeline, now, &config.policy.categories));
        let zone = jiff::tz::TimeZone::get(&config.settings.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
        print_json(&Shown { at: rfc3339(now, &zone), clock_is_set, profiles: shown.collect() });
    } else {
        print(&profiles, &timelines, now, clock_is_set, &config.policy.categories);
    }
    YES
}

fn is_open(timeline: &Timeline, window: usize, at: UnixTime) -> bool {
    timeline.open()[usize::from(timeline.spot(at).state)].contains(window)
}

fn names(window: &Window, categories: &Categories) -> Vec<String> {
    window.categories.iter().map(|id| categories.get(*id).name.clone()).collect()
}

fn shown(profile: &ProfileSettings, timeline: &Timeline, now: UnixTime, categories: &Categories) -> ProfileShown {
    let windows = profile.windows.iter().enumerate().map(|(number, window)| WindowShown {
        window: window.name.clone(),
        mode: match window.mode {
            WindowMode::Block => "block",
            WindowMode::AllowOnly => "allow-only",
        },
        categories: names(window, categories),
        days: WEEK.iter().filter(|(day, ..)| window.days.contains(*day)).map(|(_, name, _)| *name).collect(),
        from: window.from.to_string(),
        to: window.to.to_string(),
        time_zone: window.zone.iana_name().unwrap_or("UTC").to_owned(),
        open: is_open(timeline, number, now),
        next_change: timeline.next_change(number, now).map(|at| rfc3339(at, &window.zone)),
    });
    let zone = profile.windows.first().map(|window| window.zone.clone()).unwrap_or(jiff::tz::TimeZone::UTC);
    let changes = timeline.after(timeline.spot(now)).take(CHANGES_SHOWN).map(|(at, state)| Change {
        at: rfc3339(at, &zone),
        open: timeline.open()[usize::from(state)].iter().map(|number| profile.windows[number].name.clone()).collect(),
    });
    ProfileShown { profile: profile.name.clone(), windows: windows.collect(), changes: changes.collect() }
}

fn print(
    profiles: &[&ProfileSettings],
    timelines: &[Timeline],
    now: UnixTime,
    clock_is_set: bool,
    categories: &Categories,
) {
    let language = Language::of_user();
    if !clock_is_set {
        say!(
            "{}",
            language.pick(
                "The clock of this machine is not set: every window counts as closed.",
                "Đồng hồ của máy này chưa đúng: mọi khung giờ được coi là đóng."
            )
        );
    }
    if let [profile] = profiles
        && profile.windows.is_empty()
    {
        let name = &profile.name;
        return match language {
            Language::English => say!("The profile `{name}` has no window."),
            Language::Vietnamese => say!("Hồ sơ `{name}` không có khung giờ nào."),
        };
    }
    if profiles.iter().all(|profile| profile.windows.is_empty()) {
        return say!("{}", language.pick("No profile has a window.", "Không hồ sơ nào có khung giờ."));
    }
    for (profile, timeline) in profiles.iter().zip(timelines).filter(|(profile, _)| !profile.windows.is_empty()) {
        let first = &profile.windows[0].zone;
        let day = Timestamp::from_second(now.0).map(|at| at.to_zoned(first.clone()).weekday());
        let day = day.ok().and_then(|day| WEEK.iter().find(|(known, ..)| *known == day));
        let day = day.map_or("", |(_, en, vi)| language.pick(en, vi));
        say!("{} {}, {day} {}", language.pick("profile", "hồ sơ"), profile.name, moment(now, first));
        for (number, window) in profile.windows.iter().enumerate() {
            let days = WEEK.iter().filter(|(day, ..)| window.days.contains(*day));
            let days: Vec<&str> = days.map(|(_, en, vi)| language.pick(en, vi)).collect();
            let what = match window.mode {
                WindowMode::Block => {
                    format!("{} {}", language.pick("blocks", "chặn"), names(window, categories).join(", "))
                }
                WindowMode::AllowOnly => {
                    language.pick("lets by what is allowed alone", "chỉ cho phép tên được liệt kê").to_owned()
                }
            };
            let open = is_open(timeline, number, now);
            let state =
                if open { language.pick("open", "đang mở") } else { language.pick("closed", "đang đóng") };
            let until = timeline.next_change(number, now).map(|at| {
                let lead = if open { language.pick("until", "đến") } else { language.pick("opens", "mở lúc") };
                format!(", {lead} {}", moment(at, &window.zone))
            });
            let until = until.or_else(|| {
                let last = window.last_day(now, 0)?;
                Some(match language {
                    Language::English => format!(", and stays so: the last term of its calendar ended {last}"),
                    Language::Vietnamese => format!(", và sẽ không mở nữa: học kỳ cuối trong lịch đã hết ngày {last}"),
                })
            });
            let (name, from, to) = (&window.name, window.from, window.to);
            say!("  {name}: {} {from}-{to}, {what}; {state}{}", days.join(" "), until.unwrap_or_default());
        }
        for (at, state) in timeline.after(timeline.spot(now)).take(CHANGES_SHOWN) {
            let open: Vec<&str> = timeline.open()[usize::from(state)]
                .iter()
                .map(|number| profile.windows[number].name.as_str())
                .collect();
            let open =
                if open.is_empty() { language.pick("nothing", "không có").to_owned() } else { open.join(", ") };
            say!("    {}  {} {open}", moment(at, first), language.pick("open:", "mở:"));
        }
    }
}
