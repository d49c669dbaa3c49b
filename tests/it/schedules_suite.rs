//! Windows against cases gathered from other resolvers. Each deliberate difference is a row with its reason.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use lachan::config;
use lachan::engine::client::UnixTime;
use lachan::engine::schedule::{Timeline, Window};
use serde_json::Value;

use crate::{differences, shared};

/// Where `local` is: these cases name no zone, so any will do.
const LOCAL: &str = "Asia/Ho_Chi_Minh";

#[test]
fn cases_of_other_resolvers_hold() {
    let Some(text) = shared::suite("schedules.jsonl") else { return };
    let mut differ = Vec::new();
    let mut seen = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        seen += 1;
        let (told, expected) = (told(&case), expected(&case["expect"]));
        if told != expected {
            differ.push((case["id"].as_str().unwrap().to_owned(), format!("{told}, not {expected}: {line}")));
        }
    }
    assert!(seen > 45, "{seen} cases");
    differences::check("schedules.tsv", &differ);
}

fn expected(expect: &Value) -> String {
    match (expect["active"].as_bool(), expect["valid"].as_bool()) {
        (Some(active), _) => if active { "open" } else { "closed" }.to_owned(),
        (None, Some(valid)) => if valid { "taken" } else { "refused" }.to_owned(),
        (None, None) => panic!("{expect}"),
    }
}

/// What we say of a case: whether its window is open at its moment, else whether it is taken at all.
fn told(case: &Value) -> String {
    let Some(window) = window(&case["schedule"]) else { return "refused".to_owned() };
    let Some(at) = case["at"].as_str() else { return "taken".to_owned() };
    let at = match at.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_) => at.parse::<DateTime>().unwrap().to_zoned(TimeZone::get(LOCAL).unwrap()).unwrap().timestamp(),
    };
    let at = UnixTime(at.as_second());
    let timeline = Timeline::new(&[window], at);
    let is_open = timeline.open()[usize::from(timeline.spot(at).state)].contains(0);
    if is_open { "open" } else { "closed" }.to_owned()
}

/// The case's schedule, written as a window of ours and read; `None`: it is refused.
fn window(schedule: &Value) -> Option<Window> {
    let mut text = String::from("[profile.a.window.w]\ncategories = [\"games\"]\n");
    for (key, name) in [("start", "from"), ("end", "to")] {
        if let Some(time) = schedule[key].as_str() {
            text.push_str(&format!("{name} = {time:?}\n"));
        }
    }
    if let Some(days) = schedule["weekdays"].as_array() {
        text.push_str(&format!("days = {}\n", Value::Array(days.clone())));
    }
    match schedule["tz"].as_str() {
        Some("local") => text.push_str(&format!("time_zone = {LOCAL:?}\n")),
        Some(zone) => text.push_str(&format!("time_zone = {zone:?}\n")),
        None => {}
    }
    let config = config::load_str("case.toml", &text, Path::new("/")).ok()?;
    let profile = config.policy.profiles.iter().find(|profile| profile.name == "a")?;
    profile.windows.first().cloned()
}
