//! Windows against wall clocks, and timelines against windows.

use super::*;

fn at(text: &str) -> UnixTime {
    UnixTime(text.parse::<Timestamp>().unwrap_or_else(|why| panic!("{text}: {why}")).as_second())
}

fn time(text: &str) -> TimeOfDay {
    let (hour, minute) = text.split_once(':').unwrap();
    TimeOfDay::new(hour.parse().unwrap(), minute.parse().unwrap()).unwrap()
}

fn days(text: &str) -> Days {
    use Weekday::*;
    let all = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];
    let words = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    text.split(' ').map(|word| all[words.iter().position(|known| *known == word).unwrap()]).collect()
}

/// `mon tue 22:00-06:00 Asia/Ho_Chi_Minh`.
fn window(text: &str) -> Window {
    let (rest, zone) = text.rsplit_once(' ').unwrap();
    let (of_days, hours) = rest.rsplit_once(' ').unwrap();
    let (from, to) = hours.split_once('-').unwrap();
    Window {
        name: text.to_owned(),
        mode: WindowMode::Block,
        categories: Vec::new(),
        days: if of_days == "daily" { Days::ALL } else { days(of_days) },
        from: time(from),
        to: time(to),
        zone: TimeZone::get(zone).unwrap(),
        calendar: None,
    }
}

fn is_open(windows: &[Window], moment: &str) -> bool {
    let timeline = Timeline::new(windows, at(moment));
    timeline.open()[usize::from(timeline.spot(at(moment)).state)].contains(0)
}

#[test]
fn windows_open_and_close_by_the_clock_on_the_wall() {
    const NIGHT: &str = "sun mon tue wed thu 22:00-06:00 Asia/Ho_Chi_Minh";
    for (text, moment, open) in [
        // 2026-11-27 is a Friday; Hà Nội is 7 hours ahead, all year.
        (NIGHT, "2026-11-26T14:59:59Z", false),
        (NIGHT, "2026-11-26T15:00:00Z", true),
        (NIGHT, "2026-11-26T17:00:00Z", true),
        (NIGHT, "2026-11-26T22:59:59Z", true),
        (NIGHT, "2026-11-26T23:00:00Z", false),
        // Friday's and Saturday's evenings are free …
        (NIGHT, "2026-11-27T16:00:00Z", false),
        (NIGHT, "2026-11-28T16:00:00Z", false),
        // … Sunday's is not, and its window goes on into Monday.
        (NIGHT, "2026-11-29T16:00:00Z", true),
        (NIGHT, "2026-11-29T22:00:00Z", true),
        // Over the end of a year.
        (NIGHT, "2026-12-31T16:59:59Z", true),
        (NIGHT, "2026-12-31T17:00:00Z", true),
        (NIGHT, "2026-12-31T23:00:00Z", false),
        // A leap day is a Tuesday; its window ends in March.
        ("tue 22:00-06:00 Asia/Ho_Chi_Minh", "2028-02-29T15:00:00Z", true),
        ("tue 22:00-06:00 Asia/Ho_Chi_Minh", "2028-02-29T22:59:59Z", true),
        ("tue 22:00-06:00 Asia/Ho_Chi_Minh", "2028-02-29T23:00:00Z", false),
        // Midnights.
        ("sat 00:00-24:00 Asia/Ho_Chi_Minh", "2026-11-27T16:59:59Z", false),
        ("sat 00:00-24:00 Asia/Ho_Chi_Minh", "2026-11-27T17:00:00Z", true),
        ("sat 00:00-24:00 Asia/Ho_Chi_Minh", "2026-11-28T16:59:59Z", true),
        ("sat 00:00-24:00 Asia/Ho_Chi_Minh", "2026-11-28T17:00:00Z", false),
        ("sat 18:00-00:00 Asia/Ho_Chi_Minh", "2026-11-28T16:59:59Z", true),
        ("sat 18:00-00:00 Asia/Ho_Chi_Minh", "2026-11-28T17:00:00Z", false),
        // Berlin: 22:00 is 21:00 UTC in winter and 20:00 UTC in summer.
        ("daily 22:00-06:00 Europe/Berlin", "2026-01-10T20:59:59Z", false),
        ("daily 22:00-06:00 Europe/Berlin", "2026-01-10T21:00:00Z", true),
        ("daily 22:00-06:00 Europe/Berlin", "2026-07-10T19:59:59Z", false),
        ("daily 22:00-06:00 Europe/Berlin", "2026-07-10T20:00:00Z", true),
        // The night of 2026-03-29 has an hour less: 06:00 comes at 04:00 UTC.
        ("daily 22:00-06:00 Europe/Berlin", "2026-03-29T03:59:59Z", true),
        ("daily 22:00-06:00 Europe/Berlin", "2026-03-29T04:00:00Z", false),
        // What would begin or end in the missing hour does so when clocks jump, at 01:00 UTC.
        ("sun 02:30-05:00 Europe/Berlin", "2026-03-29T00:59:59Z", false),
        ("sun 02:30-05:00 Europe/Berlin", "2026-03-29T01:00:00Z", true),
        ("sun 01:00-02:30 Europe/Berlin", "2026-03-29T00:59:59Z", true),
        ("sun 01:00-02:30 Europe/Berlin", "2026-03-29T01:00:00Z", false),
        ("sun 02:10-02:50 Europe/Berlin", "2026-03-29T01:00:00Z", false),
        // The night of 2026-10-25 has an hour more, and 02:30 twice: open from the first to the second.
        ("sun 02:30-05:00 Europe/Berlin", "2026-10-25T00:29:59Z", false),
        ("sun 02:30-05:00 Europe/Berlin", "2026-10-25T00:30:00Z", true),
        ("sun 01:00-02:30 Europe/Berlin", "2026-10-25T01:29:59Z", true),
        ("sun 01:00-02:30 Europe/Berlin", "2026-10-25T01:30:00Z", false),
        ("sun 22:00-06:00 Europe/Berlin", "2026-10-26T04:59:59Z", true),
        ("sun 22:00-06:00 Europe/Berlin", "2026-10-26T05:00:00Z", false),
        // Apia left 2011-12-30 out: what opens on the Thursday closes when the Saturday begins.
        ("thu 22:00-24:00 Pacific/Apia", "2011-12-30T09:59:59Z", true),
        ("thu 22:00-24:00 Pacific/Apia", "2011-12-30T10:00:00Z", false),
        ("fri 08:00-10:00 Pacific/Apia", "2011-12-30T10:00:00Z", false),
    ] {
        assert_eq!(is_open(&[window(text)], moment), open, "{text} at {moment}");
    }
}

#[test]
fn a_holiday_is_the_day_on_which_a_window_would_open() {
    let day = |text: &str| text.parse::<Date>().unwrap();
    let holidays = vec![DateSpan { first: day("2026-09-02"), end: day("2026-09-03") }];
    let night = Window {
        calendar: Some(Arc::new(Calendar::new(holidays, Vec::new()))),
        ..window("daily 22:00-06:00 Asia/Ho_Chi_Minh")
    };
    for (moment, open) in [
        // Opened on the evening before, it goes on into the holiday; it does not open on the holiday.
        ("2026-09-01T20:00:00Z", true),
        ("2026-09-02T15:00:00Z", false),
        ("2026-09-02T20:00:00Z", false),
        ("2026-09-03T15:00:00Z", true),
    ] {
        assert_eq!(is_open(std::slice::from_ref(&night), moment), open, "{moment}");
    }
}

#[test]
fn a_timeline_says_what_it_would_said_anew_at_any_moment() {
    let windows = [
        window("mon tue wed thu fri 07:00-11:30 Asia/Ho_Chi_Minh"),
        window("mon tue wed thu fri 13:00-16:30 Asia/Ho_Chi_Minh"),
        window("daily 22:00-06:00 Europe/Berlin"),
        window("sat sun 00:00-24:00 America/St_Johns"),
        window("daily 22:00-21:59 Australia/Lord_Howe"),
    ];
    let now = at("2026-10-20T00:00:00Z");
    let timeline = Timeline::new(&windows, now);
    let mut moment = now.0;
    while moment < now.0 + HORIZON_DAYS * 86_400 {
        let open = timeline.open()[usize::from(timeline.spot(UnixTime(moment)).state)];
        for (number, window) in windows.iter().enumerate() {
            let today = Timestamp::from_second(moment).unwrap().to_zoned(window.zone.clone()).date();
            let is_open = [today.yesterday().unwrap(), today].iter().any(|day| {
                window.opens_on(*day)
                    && window.hours_of(*day).is_some_and(|(opens, closes)| opens <= moment && moment < closes)
            });
            assert_eq!(open.contains(number), is_open, "{} at {moment}", window.name);
        }
        moment += 60 * 7;
    }
}

#[test]
fn borders_are_where_something_changes_and_nowhere_else() {
    let daily = Timeline::new(&[window("daily 00:00-24:00 Asia/Ho_Chi_Minh")], at("2026-11-27T00:00:00Z"));
    let spot = daily.spot(at("2026-11-27T00:00:00Z"));
    assert_eq!(daily.after(spot).count(), 0);
    assert_eq!(daily.next_change(0, at("2026-11-27T00:00:00Z")), None);

    let night = Timeline::new(&[window("daily 22:00-06:00 Asia/Ho_Chi_Minh")], at("2026-11-27T00:00:00Z"));
    assert_eq!(night.next_change(0, at("2026-11-27T00:00:00Z")), Some(at("2026-11-27T15:00:00Z")));
    assert_eq!(night.next_change(0, at("2026-11-27T15:00:00Z")), Some(at("2026-11-27T23:00:00Z")));
    let after: Vec<_> = night.after(night.spot(at("2026-11-27T14:59:59Z"))).take(2).collect();
    assert_eq!(after, [(at("2026-11-27T15:00:00Z"), 1), (at("2026-11-27T23:00:00Z"), 0)]);
}

#[test]
fn what_a_timeline_does_not_know_is_closed_and_due() {
    let windows = [window("daily 00:00-24:00 UTC")];
    let now = at("2026-11-27T12:00:00Z");
    let timeline = Timeline::new(&windows, now);
    for (moment, open, due) in [
        (now.0, true, false),
        (now.0 - BACK_SECS, true, false),
        (now.0 - BACK_SECS - 1, false, true),
        (now.0 + HORIZON_DAYS * 86_400 - RENEW_SECS - 1, true, false),
        (now.0 + HORIZON_DAYS * 86_400 - RENEW_SECS, true, true),
        (now.0 + HORIZON_DAYS * 86_400, false, true),
        (i64::MIN, false, true),
        (i64::MAX, false, true),
    ] {
        let spot = timeline.spot(UnixTime(moment));
        assert_eq!((spot.state == 1, timeline.is_due(UnixTime(moment))), (open, due), "{moment}");
    }
    assert!(Timeline::default().is_due(now));
    assert_eq!(Timeline::default().spot(now).state, 0);
    assert_eq!(Timeline::new(&windows, UnixTime(i64::MAX)), Timeline::default());
    assert!(is_sane(now) && !is_sane(UnixTime(0)) && !is_sane(UnixTime(CLOCK_SANE_SINCE.0 - 1)));
}

#[test]
fn times_of_day_end_at_24() {
    for (hour, minute, known) in [(0, 0, true), (23, 59, true), (24, 0, true), (24, 1, false), (12, 60, false)] {
        assert_eq!(TimeOfDay::new(hour, minute).is_some(), known, "{hour}:{minute}");
    }
    assert_eq!(TimeOfDay::new(6, 5).unwrap().to_string(), "06:05");
}

#[test]
fn a_moment_is_found_by_its_hour_where_the_borders_say() {
    let windows =
        ["daily 22:00-06:00 Asia/Ho_Chi_Minh", "mon 07:15-07:45 Europe/Berlin", "daily 07:30-07:31 Europe/Berlin"];
    for begin in ["2026-10-24T21:17:05Z", "2026-11-29T00:00:00Z"] {
        let timeline = Timeline::new(&windows.map(window), at(begin));
        let ends = [timeline.borders[0] - 1, timeline.until - 1, timeline.until];
        let hours = (timeline.borders[0]..timeline.until).step_by(HOUR_SECS as usize);
        let moments = timeline.borders.iter().copied().chain(hours).flat_map(|at| [at - 1, at, at + 1]).chain(ends);
        for moment in moments {
            let after = timeline.borders.partition_point(|border| *border <= moment);
            let is_known = after > 0 && moment < timeline.until;
            let segment = is_known.then(|| after as u32 - 1);
            let state = segment.map_or(0, |segment| timeline.states[segment as usize]);
            assert_eq!(timeline.spot(UnixTime(moment)), Spot { state, segment }, "{moment}");
        }
    }
}
