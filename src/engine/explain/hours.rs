//! What hours have to do with a verdict: the window that blocks, or the one that will.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Explanation, WindowTold};
use crate::engine::client::{Client, UnixTime};
use crate::engine::matcher::{Hits, ListSet};
use crate::engine::name::Name;
use crate::engine::schedule::WindowMode;
use crate::engine::snapshot::{Hours, Profile, Snapshot, Unlisted};
use crate::engine::verdict::{Cause, Reason, Rung};

/// Every window of the client's profile at its moment.
pub(super) fn all(snapshot: &Snapshot, client: Client) -> Vec<WindowTold> {
    let profile = snapshot.profile(client.profile);
    let timeline = &profile.timeline;
    let open = timeline.open().get(usize::from(timeline.spot(client.at).state));
    let told = profile.hours.iter().enumerate().map(|(number, hours)| WindowTold {
        window: hours.window.name.clone(),
        open: open.is_some_and(|open| open.contains(number)),
        until: timeline.next_change(number, client.at).map(|at| rfc3339(at, &hours.window.zone)),
    });
    told.collect()
}

/// Tells of the window by which a reason blocks, if it is one.
pub(super) fn tell_open(snapshot: &Snapshot, client: Client, reason: &Reason, told: &mut Explanation) {
    let profile = snapshot.profile(client.profile);
    let blocks = |hours: &Hours| match (&reason.cause, hours.window.mode) {
        (Cause::NotAllowed, WindowMode::AllowOnly) => profile.whole.unlisted == Unlisted::Judged,
        (Cause::Rule { list, .. } | Cause::Address { list, .. }, WindowMode::Block) => {
            reason.rung == Rung::Category && hours.content.contains(*list) && !profile.whole.content.contains(*list)
        }
        (Cause::UnsafeSearch { .. }, WindowMode::Block) => {
            hours.unsafe_search.is_some() && profile.whole.unsafe_search.is_none()
        }
        _ => false,
    };
    let open = profile.timeline.open()[usize::from(profile.timeline.spot(client.at).state)];
    let Some(number) = open.iter().find(|number| profile.hours.get(*number).is_some_and(blocks)) else { return };
    let window = &profile.hours[number].window;
    told.window = Some(window.name.clone());
    let until = profile.timeline.next_change(number, client.at);
    told.window_until = until.map(|until| rfc3339(until, &window.zone));
    let (en, vi) = match until {
        Some(until) => {
            (format!("until {}", moment(until, &window.zone)), format!("đến {}", moment(until, &window.zone)))
        }
        None => ("and does not close soon".to_owned(), "và chưa đóng trong thời gian tới".to_owned()),
    };
    let name = &window.name;
    told.sentence_en.push_str(&format!(" The window `{name}` of this profile is open {en}."));
    told.sentence_vi.push_str(&format!(" Khung giờ `{name}` của hồ sơ này đang mở {vi}."));
}

/// Tells of the next window that will block a name that passes now.
pub(super) fn tell_next(snapshot: &Snapshot, client: Client, qname: &Name, told: &mut Explanation) {
    let profile = snapshot.profile(client.profile);
    if profile.hours.is_empty() {
        return;
    }
    if profile.timeline.is_empty() {
        told.sentence_en
            .push_str(" (The clock of this machine is not set, so every window of its profile counts as closed.)");
        told.sentence_vi.push_str(" (Đồng hồ của máy này chưa đúng nên mọi khung giờ của hồ sơ được coi là đóng.)");
        return;
    }
    let mut hits = Hits::default();
    snapshot.index.names.look_up(qname.as_wire(), &mut hits);
    let Some((number, opens)) = next(profile, client.at, &snapshot.index.names.listed(&hits)) else { return };
    let window = &profile.hours[number].window;
    let (name, opens) = (&window.name, moment(opens, &window.zone));
    told.sentence_en.push_str(&format!(" (The window `{name}` will block it from {opens}.)"));
    told.sentence_vi.push_str(&format!(" (Khung giờ `{name}` sẽ chặn tên này từ {opens}.)"));
}

/// The window that will block first, and when it opens.
fn next(profile: &Profile, at: UnixTime, listed: &ListSet) -> Option<(usize, UnixTime)> {
    let open = profile.timeline.open()[usize::from(profile.timeline.spot(at).state)];
    let closed = profile.hours.iter().enumerate().filter(|(number, _)| !open.contains(*number));
    let will_block = closed.filter(|(_, hours)| match hours.window.mode {
        WindowMode::Block => listed.intersects(&hours.content),
        WindowMode::AllowOnly => true,
    });
    let opening = will_block.filter_map(|(number, _)| Some((number, profile.timeline.next_change(number, at)?)));
    opening.min_by_key(|(_, opens)| *opens)
}

/// `2026-11-28 06:00 (Asia/Ho_Chi_Minh)`.
pub fn moment(at: UnixTime, zone: &TimeZone) -> String {
    let Ok(at) = Timestamp::from_second(at.0) else { return "?".to_owned() };
    let name = zone.iana_name().unwrap_or("UTC");
    format!("{} ({name})", at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M"))
}

/// `2026-11-28T06:00:00+07:00`.
pub fn rfc3339(at: UnixTime, zone: &TimeZone) -> String {
    let Ok(at) = Timestamp::from_second(at.0) else { return "?".to_owned() };
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}
