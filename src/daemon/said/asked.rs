//! What an asking is held to before it becomes a word: breadth that somebody must mean, and an end: a time, or that of a lesson.

use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::{Asking, Kind};
use crate::config;
use crate::engine::client::UnixTime;
use crate::engine::explain::rfc3339;
use crate::engine::limits::OVERLAY_TIME_MAX;
use crate::engine::list::Reach;
use crate::engine::matcher::public_suffix::is_public_suffix;
use crate::engine::name::Name;
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::ProfileId;

/// Refuses what reaches further than people mean by it, unless they say that they do: a public suffix with all below it, and
/// a pause for everybody.
pub(super) fn check_breadth(kind: Kind, asking: &Asking, name: Option<&(Name, Reach)>) -> Result<(), String> {
    if let Some((owner, reach)) = name
        && *reach != Reach::Exact
        && is_public_suffix(owner.as_wire())
        && !asking.public_suffix
    {
        return Err(format!(
            "{owner} is a public suffix: everything registered below it would be meant; say so with `--public-suffix` \
             (`public_suffix=true`), or write ={owner} for the name alone"
        ));
    }
    let is_for_all = asking.profile.is_none() && asking.client.as_deref().is_none_or(is_everybody);
    if asking.everyone && !is_for_all {
        return Err("say either `--everyone`, or a profile or a client".into());
    }
    if kind == Kind::Pause && is_for_all && !asking.everyone {
        return Err(
            "this would pause content filtering and SafeSearch for everybody: say whom it is for with `--profile` or \
                    `--client`, or say `--everyone` (`everyone=true`)"
                .into(),
        );
    }
    Ok(())
}

/// Whether a client is a network that no operator has alone: shorter than /8, or than /16 of IPv6.
fn is_everybody(client: &str) -> bool {
    client.parse::<IpNet>().is_ok_and(|net| net.prefix_len() < if net.max_prefix_len() == 32 { 8 } else { 16 })
}

/// When something ends that somebody said at `now`.
pub(super) fn end_of(asking: &Asking, now: i64, zone: &TimeZone) -> Result<i64, String> {
    let until = match (&asking.lasts, &asking.until) {
        (Some(lasts), None) => now.saturating_add(config::duration(lasts)?.as_secs() as i64),
        (None, Some(until)) => moment(until, now, zone)?,
        (None, None) => return Err("say when it ends: `--for 45m`, `--until 17:30` or `--until-window`".into()),
        (Some(_), Some(_)) => return Err("say either `--for` or `--until`, not both".into()),
    };
    let most = OVERLAY_TIME_MAX.as_secs() as i64;
    match until - now {
        ..=0 => Err(format!("it would end at {}, which is past", rfc3339(UnixTime(until), zone))),
        secs if secs > most => Err(format!(
            "it would end at {}, at most {} days from now; what is to last longer belongs into the configuration",
            rfc3339(UnixTime(until), zone),
            Duration::from_secs(most as u64).as_secs() / 86_400
        )),
        _ => Ok(until),
    }
}

/// RFC 3339, or the next time that the clocks of `zone` show `17:30`.
fn moment(text: &str, now: i64, zone: &TimeZone) -> Result<i64, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_second());
    }
    let bad = || format!("{text:?} is no time; write 17:30, or 2027-01-31T17:30:00+07:00");
    let time: jiff::civil::Time = text.parse().map_err(|_| bad())?;
    let here = jiff::Timestamp::from_second(now).map_err(|_| bad())?.to_zoned(zone.clone());
    let on = |date: jiff::civil::Date| zone.to_zoned(date.to_datetime(time)).map_err(|_| bad());
    let today = on(here.date())?;
    let next = if today > here { today } else { on(here.date().tomorrow().map_err(|_| bad())?)? };
    Ok(next.timestamp().as_second())
}

/// When the window that is open now ends: of several the one that is named, else the first to end.
pub(super) fn window_end(
    snapshot: &Snapshot,
    profile: ProfileId,
    wanted: &str,
    now: UnixTime,
) -> Result<UnixTime, String> {
    let profile = snapshot.profile(profile);
    let told = &profile.name;
    if profile.hours.is_empty() {
        return Err(format!("profile `{told}` has no window; say `--for 45m` or `--until 17:30`"));
    }
    if profile.timeline.is_empty() {
        return Err("the clock of this machine is not set, so every window counts as closed; say `--for 45m`".into());
    }
    let timeline = &profile.timeline;
    let open = timeline.open()[usize::from(timeline.spot(now).state)];
    let windows = || profile.hours.iter().enumerate();
    if !wanted.is_empty() && windows().all(|(_, hours)| hours.window.name != wanted) {
        let known: Vec<&str> = windows().map(|(_, hours)| hours.window.name.as_str()).collect();
        return Err(format!("profile `{told}` has no window `{wanted}`; there are {}", known.join(", ")));
    }
    let is_wanted = |name: &str| wanted.is_empty() || name == wanted;
    let ends = windows().filter(|(number, hours)| open.contains(*number) && is_wanted(&hours.window.name));
    // A window that is open all week does not end on the timeline.
    let ends = ends.filter_map(|(number, _)| timeline.next_change(number, now));
    ends.min().ok_or_else(|| {
        let next: Vec<String> = windows()
            .filter(|(number, hours)| !open.contains(*number) && is_wanted(&hours.window.name))
            .filter_map(|(number, hours)| {
                let opens = timeline.next_change(number, now)?;
                Some(format!("`{}` opens {}", hours.window.name, rfc3339(opens, &hours.window.zone)))
            })
            .collect();
        let next = if next.is_empty() { String::new() } else { format!(" ({})", next.join(", ")) };
        let which = if wanted.is_empty() { "no window".to_owned() } else { format!("the window `{wanted}`") };
        let not = if wanted.is_empty() { "" } else { "not " };
        format!("{which} of profile `{told}` is {not}open now with an end in sight{next}; say `--for 45m` or `--until 17:30`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::list::own_entry;
    use crate::engine::test_support::Setup;

    #[test]
    fn what_reaches_far_must_be_meant() {
        let plain = Asking::default;
        let (suffix, all) = (Asking { public_suffix: true, ..plain() }, Asking { everyone: true, ..plain() });
        let school = Asking { profile: Some("school".into()), ..plain() };
        let of = |client: &str| Asking { client: Some(client.into()), ..plain() };
        for (kind, asking, name, good) in [
            (Kind::Deny, plain(), Some("com"), false),
            (Kind::Deny, suffix.clone(), Some("com"), true),
            (Kind::Deny, plain(), Some("=com"), true),
            (Kind::Deny, plain(), Some("*.com.vn"), false),
            (Kind::Allow, school.clone(), Some("blogspot.com"), false),
            (Kind::Allow, plain(), Some("example.com"), true),
            (Kind::Pause, plain(), None, false),
            (Kind::Pause, all.clone(), None, true),
            (Kind::Pause, school.clone(), None, true),
            (Kind::Pause, Asking { everyone: true, ..school }, None, false),
            (Kind::Pause, of("0.0.0.0/0"), None, false),
            (Kind::Pause, of("::/0"), None, false),
            (Kind::Pause, of("128.0.0.0/1"), None, false),
            (Kind::Pause, Asking { everyone: true, ..of("::/0") }, None, true),
            (Kind::Pause, of("10.0.0.0/8"), None, true),
            (Kind::Pause, of("2001:db8::/32"), None, true),
            (Kind::Pause, of("lop-6a"), None, true),
        ] {
            let name = name.map(|name| own_entry(name).unwrap());
            assert_eq!(check_breadth(kind, &asking, name.as_ref()).is_ok(), good, "{kind:?} {asking:?} {name:?}");
        }
    }

    fn zone() -> TimeZone {
        TimeZone::get("Asia/Ho_Chi_Minh").unwrap()
    }

    #[test]
    fn an_end_is_said_in_several_ways_and_bounded() {
        // 2027-01-31 16:00 in Vietnam.
        let now = "2027-01-31T09:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
        for (lasts, until, expected) in [
            (Some("45m"), None, Ok(now + 45 * 60)),
            (Some("1 day"), None, Ok(now + 86_400)),
            (None, Some("17:30"), Ok(now + 90 * 60)),
            // Tomorrow.
            (None, Some("15:00"), Ok(now + 23 * 3_600)),
            (None, Some("2027-01-31T17:00:00+07:00"), Ok(now + 3_600)),
            (None, Some("2027-01-31T15:00:00+07:00"), Err("which is past")),
            (None, Some("2029-01-31T15:00:00Z"), Err("at most 366 days")),
            (Some("0 s"), None, Err("which is past")),
            (Some("soon"), None, Err("no duration")),
            (None, Some("soon"), Err("no time")),
            (None, None, Err("say when it ends")),
            (Some("1 h"), Some("17:30"), Err("not both")),
        ] {
            let asking = Asking { lasts: lasts.map(Into::into), until: until.map(Into::into), ..Asking::default() };
            match (end_of(&asking, now, &zone()), expected) {
                (Ok(end), Ok(expected)) => assert_eq!(end, expected, "{lasts:?} {until:?}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (end, expected) => panic!("{lasts:?} {until:?}: {end:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn the_end_of_a_lesson_is_that_of_the_window_that_is_open() {
        let text = "time_zone = \"Asia/Ho_Chi_Minh\"\n[profile.school]\n[profile.school.window.lesson]\ncategories = [\"games\"]\n\
                    days = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]\nfrom = \"07:00\"\nto = \"11:30\"\n\
                    [profile.school.window.exam]\nmode = \"allow-only\"\ndays = [\"fri\"]\nfrom = \"09:00\"\nto = \"10:00\"\n\
                    [profile.plain]\n";
        let config = config::load_str("a.toml", text, std::path::Path::new("/")).unwrap();
        // A Friday.
        let at = |clock: &str| {
            let at: jiff::Timestamp = format!("2026-11-27T{clock}:00+07:00").parse().unwrap();
            UnixTime(at.as_second())
        };
        let mut setup = Setup::new();
        setup.policy = config.policy;
        let snapshot = setup.compile().with_hours_from(Some(at("08:00")));
        let of = |profile: &str| snapshot.profile_named(profile).unwrap();
        for (profile, wanted, now, expected) in [
            ("school", "", "08:00", Ok(at("11:30"))),
            // Of two the first to end.
            ("school", "", "09:30", Ok(at("10:00"))),
            ("school", "lesson", "09:30", Ok(at("11:30"))),
            ("school", "", "12:00", Err("`lesson` opens 2026-11-30T07:00:00+07:00")),
            ("school", "exam", "08:00", Err("the window `exam` of profile `school` is not open now")),
            ("school", "night", "08:00", Err("has no window `night`; there are lesson, exam")),
            ("plain", "", "08:00", Err("profile `plain` has no window")),
        ] {
            match (window_end(&snapshot, of(profile), wanted, at(now)), expected) {
                (Ok(end), Ok(expected)) => assert_eq!(end, expected, "{profile} {wanted} {now}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (end, expected) => panic!("{profile} {wanted} {now}: {end:?}, not {expected:?}"),
            }
        }
    }
}
