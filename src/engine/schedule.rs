//! Hours: weekly windows in an IANA time zone, overnight, with holidays and terms; and when they open and close, in seconds.
//!
//! A window is what a person writes, in the time that clocks on walls show. Nothing of it is asked for a query: ahead of time
//! a [`Timeline`] is made of a profile's windows, the sorted moments at which some window opens or closes, and a query finds
//! its place among them. What is in force at which moment is the snapshot's.

mod calendar;

use std::sync::Arc;

use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::engine::category::CategoryId;
use crate::engine::client::UnixTime;
use crate::engine::limits::WINDOWS_MAX;

pub use calendar::{Calendar, DateSpan};

/// Days that a timeline reaches ahead. Chosen: long enough that whoever renews it may miss a week.
pub const HORIZON_DAYS: i64 = 16;
/// Seconds before its end at which a timeline should be made anew.
const RENEW_SECS: i64 = 8 * 86_400;
/// Seconds that a timeline reaches back: a question may have been asked a moment before.
const BACK_SECS: i64 = 3_600;
const HOUR_SECS: i64 = 3_600;
/// 2026-01-01. A clock that shows less is not set: this program is younger.
pub const CLOCK_SANE_SINCE: UnixTime = UnixTime(1_767_225_600);

/// Whether a machine's clock can be what it says.
pub fn is_sane(now: UnixTime) -> bool {
    now >= CLOCK_SANE_SINCE
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Days(u8);

impl Days {
    pub const ALL: Days = Days(0x7f);

    pub fn insert(&mut self, day: Weekday) {
        self.0 |= 1 << day.to_monday_zero_offset();
    }

    pub fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

impl FromIterator<Weekday> for Days {
    fn from_iter<I: IntoIterator<Item = Weekday>>(all: I) -> Days {
        let mut days = Days::default();
        all.into_iter().for_each(|day| days.insert(day));
        days
    }
}

/// Minutes since a day began: 0 to 1440, which is the next midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    pub const MIDNIGHT: TimeOfDay = TimeOfDay(0);
    pub const END: TimeOfDay = TimeOfDay(1440);

    /// `None`: there is no such time. 24:00 is the end of the day.
    pub fn new(hour: u8, minute: u8) -> Option<TimeOfDay> {
        let minutes = u16::from(hour) * 60 + u16::from(minute);
        (minute < 60 && minutes <= 1440).then_some(TimeOfDay(minutes))
    }
}

impl std::fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// What an open window does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowMode {
    /// Blocks its categories.
    Block,
    /// Blocks whatever is not allowed.
    AllowOnly,
}

/// `[profile.NAME.window.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub name: String,
    pub mode: WindowMode,
    /// None of one that blocks whatever is not allowed.
    pub categories: Vec<CategoryId>,
    /// Days on which it opens; it may close on the next.
    pub days: Days,
    pub from: TimeOfDay,
    /// Not later than `from`: on the next day. Never the same.
    pub to: TimeOfDay,
    pub zone: TimeZone,
    /// Days on which it stays closed, or opens at all.
    pub calendar: Option<Arc<Calendar>>,
}

impl Window {
    /// The last day on which it opens, if its calendar has terms and the last of them is over in so many days.
    pub fn last_day(&self, at: UnixTime, within_days: i64) -> Option<Date> {
        let last = self.calendar.as_ref()?.last_day_of_terms()?;
        let today = Timestamp::from_second(at.0).ok()?.to_zoned(self.zone.clone()).date();
        (last < today.saturating_add(within_days.days())).then_some(last)
    }

    /// Whether it opens on a day.
    fn opens_on(&self, day: Date) -> bool {
        self.days.contains(day.weekday()) && self.calendar.as_ref().is_none_or(|calendar| calendar.opens_on(day))
    }

    /// When it opens and closes if it opens on this day; `None` when clocks jump over the whole of it, or past the end of time.
    fn hours_of(&self, day: Date) -> Option<(i64, i64)> {
        let last = if self.to <= self.from { day.tomorrow().ok()? } else { day };
        let opens = moment(&self.zone, day, self.from, Twice::First)?;
        let closes = moment(&self.zone, last, self.to, Twice::Second)?;
        (opens < closes).then_some((opens, closes))
    }
}

/// Which of the two is meant when clocks show a time twice.
#[derive(Clone, Copy)]
enum Twice {
    First,
    Second,
}

/// Seconds since 1970 at which clocks show this time, or would have when they jump over it.
fn moment(zone: &TimeZone, day: Date, time: TimeOfDay, twice: Twice) -> Option<i64> {
    let (day, minutes) = if time == TimeOfDay::END { (day.tomorrow().ok()?, 0) } else { (day, time.0) };
    let wall = day.at((minutes / 60) as i8, (minutes % 60) as i8, 0, 0);
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    let at = match (ambiguous.offset(), twice) {
        (AmbiguousOffset::Unambiguous { .. }, _) => ambiguous.compatible(),
        (AmbiguousOffset::Fold { .. }, Twice::First) => ambiguous.earlier(),
        (AmbiguousOffset::Fold { .. }, Twice::Second) => ambiguous.later(),
        // 02:30 on the day on which 03:00 follows 01:59: the moment of the jump.
        (AmbiguousOffset::Gap { .. }, _) => {
            let before = ambiguous.earlier().ok()?;
            return Some(zone.following(before).next()?.timestamp().as_second());
        }
    };
    at.ok().map(Timestamp::as_second)
}

/// Windows of one profile that are open, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Open(u16);

impl Open {
    pub const NONE: Open = Open(0);

    pub fn contains(self, window: usize) -> bool {
        window < WINDOWS_MAX && self.0 & (1 << window) != 0
    }

    /// Numbers of the windows, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..WINDOWS_MAX).filter(move |window| self.contains(*window))
    }

    fn toggle(&mut self, window: usize) {
        self.0 ^= 1 << window;
    }
}

/// When the windows of one profile open and close, for some time to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Sorted; the first is where the timeline begins. Empty: nothing is known, so every window counts as closed.
    borders: Box<[i64]>,
    /// From each border on: the number of what is open then.
    states: Box<[u16]>,
    /// For each hour from the first border: the number of the border that it begins behind.
    hours: Box<[u16]>,
    /// Where it ends.
    until: i64,
    /// By number: what is open. The first is nothing.
    open: Vec<Open>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        let (borders, states, hours) = Default::default();
        Timeline { borders, states, hours, until: 0, open: vec![Open::NONE] }
    }
}

/// Where a moment is on a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Number of what is open: an index into [`Timeline::open`].
    pub state: u16,
    /// Number of the border before; `None`: the timeline does not know this moment.
    segment: Option<u32>,
}

impl Timeline {
    /// The timeline of these windows around `now`.
    pub fn new(windows: &[Window], now: UnixTime) -> Timeline {
        assert!(windows.len() <= WINDOWS_MAX, "{} windows of at most {WINDOWS_MAX}", windows.len());
        let from = now.0.saturating_sub(BACK_SECS);
        let until = now.0.saturating_add(HORIZON_DAYS * 86_400);
        let Ok(begin) = Timestamp::from_second(from) else { return Timeline::default() };
        let mut changes: Vec<(i64, usize, bool)> = Vec::new();
        for (number, window) in windows.iter().enumerate() {
            // One that opened the day before may be open still.
            let first = begin.to_zoned(window.zone.clone()).date().saturating_sub(1.day());
            let days = (0..HORIZON_DAYS + 3).filter_map(|day| first.checked_add(day.days()).ok());
            for (opens, closes) in days.filter(|day| window.opens_on(*day)).filter_map(|day| window.hours_of(day)) {
                changes.push((opens, number, true));
                changes.push((closes, number, false));
            }
        }
        changes.sort_unstable();
        Timeline::of_changes(&changes, from, until)
    }

    /// Changes are sorted: when, which window, and whether it opens.
    fn of_changes(changes: &[(i64, usize, bool)], from: i64, until: i64) -> Timeline {
        let (mut borders, mut states, mut all) = (vec![from], vec![0_u16], vec![Open::NONE]);
        // A window that closes twice an hour in the night when clocks go back is open in two of its days at once.
        let mut counts = [0_i32; WINDOWS_MAX];
        let mut open = Open::NONE;
        for at_once in changes.chunk_by(|a, b| a.0 == b.0).take_while(|at_once| at_once[0].0 < until) {
            for &(_, window, opens) in at_once {
                counts[window] += if opens { 1 } else { -1 };
            }
            for window in at_once.iter().map(|change| change.1) {
                if open.contains(window) != (counts[window] > 0) {
                    open.toggle(window);
                }
            }
            let state = all.iter().position(|known| *known == open).unwrap_or_else(|| {
                all.push(open);
                all.len() - 1
            }) as u16;
            let at = at_once[0].0.max(from);
            if borders.last() == Some(&at) {
                *states.last_mut().expect("there is a state for each border") = state;
            } else if states.last() != Some(&state) {
                borders.push(at);
                states.push(state);
            }
        }
        let begins = (from..until).step_by(HOUR_SECS as usize);
        let hours = begins.map(|hour| borders.partition_point(|border| *border <= hour) as u16 - 1).collect();
        Timeline { borders: borders.into(), states: states.into(), hours, until, open: all }
    }

    /// What may be open, by number; the first is nothing.
    pub fn open(&self) -> &[Open] {
        &self.open
    }

    /// Whether nothing is known: there is no window, or no clock to open them by.
    pub fn is_empty(&self) -> bool {
        self.borders.is_empty()
    }

    /// Whether it should be made anew: the moment is not on it, or its end is near.
    pub fn is_due(&self, now: UnixTime) -> bool {
        self.borders.first().is_none_or(|first| now.0 < *first) || now.0 >= self.until - RENEW_SECS
    }

    /// Finds a moment. One that the timeline does not know has nothing open.
    pub fn spot(&self, at: UnixTime) -> Spot {
        let unknown = Spot { state: 0, segment: None };
        let Some(first) = self.borders.first().filter(|first| **first <= at.0 && at.0 < self.until) else {
            return unknown;
        };
        let Some(&hour) = self.hours.get(((at.0 - first) / HOUR_SECS) as usize) else { return unknown };
        let later = self.borders[usize::from(hour) + 1..].iter().take_while(|border| **border <= at.0).count();
        let segment = usize::from(hour) + later;
        Spot { state: self.states[segment], segment: Some(segment as u32) }
    }

    /// The borders after a spot, each with the number of what is open from there on.
    pub fn after(&self, spot: Spot) -> impl Iterator<Item = (UnixTime, u16)> + '_ {
        let next = spot.segment.map_or(self.borders.len(), |segment| segment as usize + 1);
        let borders = self.borders[next..].iter().map(|border| UnixTime(*border));
        borders.zip(self.states[next..].iter().copied())
    }

    /// The next moment at which a window is open when it is not, or the other way round; `None`: not on this timeline.
    pub fn next_change(&self, window: usize, at: UnixTime) -> Option<UnixTime> {
        let spot = self.spot(at);
        let now = self.open[usize::from(spot.state)].contains(window);
        self.after(spot)
            .find_map(|(border, state)| (self.open[usize::from(state)].contains(window) != now).then_some(border))
    }
}

#[cfg(test)]
mod tests;
