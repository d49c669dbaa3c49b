//! Windows of profiles, lowered: what of a window its profile says, and its calendar read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::engine::category::Categories;
use crate::engine::limits::{CALENDAR_FILE_OCTETS_MAX, WINDOWS_MAX};
use crate::engine::schedule::{Calendar, Days, TimeOfDay, Window, WindowMode};

use super::calendar;
use super::errors::{Sink, Spanned};
use super::files::read_steady;
use super::people::category_ids;
use super::profile::{CalendarFile, ProfileSpec, WindowKind, WindowSpec};
use super::spec::Spec;
use super::values;
use super::versions::{Version, Versions};

/// Calendars by the path that names them; `None`: it cannot be read, which was told.
#[derive(Default)]
pub(super) struct Calendars {
    all: HashMap<PathBuf, Option<Arc<Calendar>>>,
}

impl Calendars {
    /// Reads every calendar that is named; what each was is noted before, for whoever looks whether it is another.
    pub(super) fn read(spec: &Spec, seen: &mut Versions, sink: &Sink) -> Calendars {
        let mut calendars = Calendars::default();
        for profile in &spec.profiles {
            let of_windows = profile.windows.iter().filter_map(|window| window.calendar.as_ref());
            for named in profile.calendar.iter().chain(of_windows) {
                let CalendarFile::File(file) = &named.value else { continue };
                let path = sink.base(named.at).join(file);
                if calendars.all.contains_key(&path) {
                    continue;
                }
                seen.insert(path.clone(), Version::of_file(&path));
                let read = read(&path).map_err(|why| {
                    sink.error(named.at, format!("`calendar` in [profile.{}]: {why}", profile.name.value));
                });
                calendars.all.insert(path, read.ok().map(Arc::new));
            }
        }
        calendars
    }

    fn get(&self, named: &Spanned<CalendarFile>, sink: &Sink) -> Option<Arc<Calendar>> {
        match &named.value {
            CalendarFile::Off => None,
            CalendarFile::File(file) => self.all.get(&sink.base(named.at).join(file)).cloned().flatten(),
        }
    }
}

fn read(path: &Path) -> Result<Calendar, String> {
    let shown = path.display();
    let octets = read_steady(path, CALENDAR_FILE_OCTETS_MAX).map_err(|why| format!("{shown} cannot be read: {why}"))?;
    let text = String::from_utf8(octets).map_err(|_| format!("{shown} is not UTF-8"))?;
    calendar::read(&text).map_err(|(line, why)| format!("{shown}, line {line}: {why}"))
}

/// What a profile and its ancestors say of its hours, the youngest word of each.
#[derive(Default)]
pub(super) struct Draft<'a> {
    time_zone: Option<&'a Spanned<String>>,
    calendar: Option<&'a Spanned<CalendarFile>>,
    windows: Vec<&'a WindowSpec>,
}

impl<'a> Draft<'a> {
    pub(super) fn apply(&mut self, spec: &'a ProfileSpec) {
        self.time_zone = spec.time_zone.as_ref().or(self.time_zone);
        self.calendar = spec.calendar.as_ref().or(self.calendar);
        for window in &spec.windows {
            match self.windows.iter_mut().find(|known| known.name.value == window.name.value) {
                Some(known) => *known = window,
                None => self.windows.push(window),
            }
        }
    }

    pub(super) fn lower(
        &self,
        spec: &Spec,
        calendars: &Calendars,
        categories: &Categories,
        sink: &Sink,
    ) -> Vec<Window> {
        let made = self.windows.iter().filter_map(|window| {
            let WindowKind::Is(mode) = kind(window) else { return None };
            let zone = window.time_zone.as_ref().or(self.time_zone).or(spec.time_zone.as_ref());
            let calendar = window.calendar.as_ref().or(self.calendar);
            // One that is undeclared was told by `check`, once for all profiles that have the window.
            let blocked = window.categories.iter().flatten().filter_map(|name| categories.id(&name.value));
            Some(Window {
                name: window.name.value.clone(),
                mode,
                categories: blocked.collect(),
                days: window.days.iter().flatten().map(|day| day.value).collect::<Days>(),
                from: window.from.as_ref().map_or(TimeOfDay::MIDNIGHT, |from| from.value),
                to: window.to.as_ref().map_or(TimeOfDay::END, |to| to.value),
                zone: time_zone(zone.map_or(super::default::TIME_ZONE, |zone| zone.value.as_str())),
                calendar: calendar.and_then(|named| calendars.get(named, sink)),
            })
        });
        let mut made: Vec<Window> = made.collect();
        made.truncate(WINDOWS_MAX);
        made
    }

    /// Reports more windows than a profile may have.
    pub(super) fn check_count(&self, profile: &ProfileSpec, sink: &Sink) {
        let count = self.windows.iter().filter(|window| kind(window) != WindowKind::Off).count();
        if count > WINDOWS_MAX {
            let name = &profile.name.value;
            sink.error(profile.name.at, format!("[profile.{name}] has {count} windows, at most {WINDOWS_MAX}"));
        }
    }
}

fn kind(window: &WindowSpec) -> WindowKind {
    window.mode.as_ref().map_or(WindowKind::Is(WindowMode::Block), |mode| mode.value)
}

pub(super) fn time_zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("a zone's name was looked up in the database when it was read")
}

/// What is wrong with a profile's own windows.
pub(super) fn check(profile: &ProfileSpec, categories: &Categories, sink: &Sink) {
    for window in &profile.windows {
        let table = format!("[profile.{}.window.{}]", profile.name.value, window.name.value);
        if let Err(why) = values::check_thing_name(&window.name.value) {
            sink.error(window.name.at, format!("{table}: {why}"));
        }
        let place = format!("`categories` in {table}");
        category_ids(window.categories.iter().flatten(), &place, categories, sink);
        if kind(window) == WindowKind::Is(WindowMode::AllowOnly)
            && let Some(first) = window.categories.iter().flatten().next()
        {
            sink.error(
                first.at,
                format!(
                    "{place}: a window with `mode = \"allow-only\"` blocks whatever the profile's `allow` does not hold"
                ),
            );
        }
        if let (Some(from), Some(to)) = (&window.from, &window.to)
            && from.value == to.value
        {
            let why = "the window opens and closes at the same time; for a whole day leave both out";
            sink.error(to.at, format!("`to` in {table}: {why}"));
        }
        if window.from.as_ref().is_some_and(|from| from.value == TimeOfDay::END) {
            let at = window.from.as_ref().map_or(window.name.at, |from| from.at);
            sink.error(at, format!("`from` in {table} is 24:00; write \"00:00\" and the next day"));
        }
        for (i, day) in window.days.iter().flatten().enumerate() {
            if window.days.iter().flatten().take(i).any(|earlier| earlier.value == day.value) {
                sink.hint(day.at, format!("`days` in {table} names a day twice"));
            }
        }
    }
}
