//! A calendar file: the part of RFC 5545 that holidays and terms are written in.
//!
//! Whole days (`DTSTART;VALUE=DATE:20260902`), to `DTEND`, which is not in it any more, or for a `DURATION` of days or weeks;
//! repeated by an `RRULE` of years, months, weeks or days, but for the days of an `EXDATE`. An event whose `CATEGORIES` hold `TERM`
//! is a term, every other a holiday; one whose `STATUS` is `CANCELLED` is nothing. What else stands in it, and means nothing for days, is
//! left unread. An event with a time of day is refused: it would not be known which days it takes.

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

use crate::engine::limits::CALENDAR_DAYS_MAX;
use crate::engine::schedule::{Calendar, DateSpan};

/// Repetitions without an end go on until here. Chosen: whoever reads this then will have another file.
const LAST_YEAR: i16 = 2100;

/// A line as it is meant: folded ones put together (RFC 5545 §3.1), with the number of the first.
struct Line {
    number: usize,
    name: String,
    parameters: String,
    value: String,
}

type Wrong = (usize, String);

/// Reads a calendar. An error names its line.
pub(super) fn read(text: &str) -> Result<Calendar, Wrong> {
    let lines = unfolded(text)?;
    let Some(first) = lines.first() else { return Err((1, "it is empty".to_owned())) };
    if (first.name.as_str(), first.value.as_str()) != ("BEGIN", "VCALENDAR") {
        return Err((first.number, "it does not begin with BEGIN:VCALENDAR".to_owned()));
    }
    let (mut holidays, mut terms) = (Vec::new(), Vec::new());
    let mut open: Vec<(&str, usize)> = Vec::new();
    let mut event: Option<Event> = None;
    for line in &lines {
        match (line.name.as_str(), &mut event) {
            ("BEGIN", _) => {
                if line.value == "VEVENT" && open.len() == 1 {
                    event = Some(Event { number: line.number, ..Event::default() });
                }
                open.push((&line.value, line.number));
            }
            ("END", _) => {
                if open.pop().is_none_or(|(name, _)| name != line.value) {
                    return Err((line.number, format!("END:{} without its BEGIN", line.value)));
                }
                if open.len() == 1
                    && let Some(event) = event.take().filter(|event| !event.is_cancelled)
                {
                    let kind = if event.is_term { &mut terms } else { &mut holidays };
                    event.spans(kind)?;
                }
            }
            (_, Some(event)) if open.len() == 2 => event.take_line(line)?,
            _ => {}
        }
        if days_of(&holidays) + days_of(&terms) > CALENDAR_DAYS_MAX {
            return Err((line.number, format!("more than {CALENDAR_DAYS_MAX} days, repeated ones counted each")));
        }
    }
    match open.last() {
        Some((name, number)) => Err((*number, format!("BEGIN:{name} without its END: the file may be cut short"))),
        None => Ok(Calendar::new(holidays, terms)),
    }
}

fn days_of(spans: &[DateSpan]) -> usize {
    spans.iter().map(|span| span.first.until(span.end).map_or(0, |days| days.get_days() as usize)).sum()
}

fn unfolded(text: &str) -> Result<Vec<Line>, Wrong> {
    let mut whole: Vec<(usize, String)> = Vec::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        match (line.strip_prefix([' ', '\t']), whole.last_mut()) {
            (Some(more), Some((_, last))) => last.push_str(more),
            _ if line.trim().is_empty() => {}
            _ => whole.push((i + 1, line.to_owned())),
        }
    }
    whole.into_iter().map(|(number, line)| content(number, &line)).collect()
}

/// `NAME;PARAMETER=VALUE:value`. A colon inside quotes is the parameter's.
fn content(number: usize, line: &str) -> Result<Line, Wrong> {
    let mut quoted = false;
    let colon = line.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == ':' && !quoted
    });
    let Some((colon, _)) = colon else { return Err((number, "is no line of a calendar: it has no colon".to_owned())) };
    let (head, value) = (&line[..colon], &line[colon + 1..]);
    let (name, parameters) = head.split_once(';').unwrap_or((head, ""));
    let (name, parameters) = (name.to_ascii_uppercase(), parameters.to_ascii_uppercase());
    Ok(Line { number, name, parameters, value: value.trim().to_owned() })
}

#[derive(Default)]
struct Event {
    number: usize,
    first: Option<Date>,
    end: Option<Date>,
    days: Option<i64>,
    rule: Option<Rule>,
    except: Vec<Date>,
    is_term: bool,
    is_cancelled: bool,
}

/// An `RRULE`.
struct Rule {
    every: Every,
    interval: i64,
    count: Option<usize>,
    until: Option<Date>,
    /// Of a week.
    days: Vec<Weekday>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Every {
    Day,
    Week,
    Month,
    Year,
}

impl Event {
    fn take_line(&mut self, line: &Line) -> Result<(), Wrong> {
        match line.name.as_str() {
            "DTSTART" => self.first = Some(day(line, &line.value)?),
            "DTEND" => self.end = Some(day(line, &line.value)?),
            "DURATION" => self.days = Some(duration(line)?),
            "RRULE" => self.rule = Some(rule(line)?),
            "EXDATE" => {
                for text in line.value.split(',') {
                    self.except.push(day(line, text)?);
                }
            }
            "RDATE" | "RECURRENCE-ID" => {
                return Err((line.number, format!("{} is not read here; write an event for each day", line.name)));
            }
            "CATEGORIES" => self.is_term |= line.value.split(',').any(|word| word.trim().eq_ignore_ascii_case("TERM")),
            "STATUS" => self.is_cancelled = line.value.eq_ignore_ascii_case("CANCELLED"),
            _ => {}
        }
        Ok(())
    }

    fn spans(self, into: &mut Vec<DateSpan>) -> Result<(), Wrong> {
        let wrong = |why: &str| (self.number, format!("the event that begins here {why}"));
        let first = self.first.ok_or_else(|| wrong("has no DTSTART"))?;
        // RFC 5545 §3.6.1: without an end it is that day.
        let days = match (self.end, self.days) {
            (Some(end), None) => i64::from(first.until(end).map_or(0, |days| days.get_days())),
            (None, Some(days)) => days,
            (None, None) => 1,
            (Some(_), Some(_)) => return Err(wrong("has DTEND and DURATION; one of them says how long it is")),
        };
        if days < 1 {
            return Err(wrong("ends before it begins"));
        }
        let mut push = |first: Date| -> Result<bool, Wrong> {
            if !self.except.contains(&first) {
                let end = first.checked_add(days.days()).map_err(|_| wrong("ends after the end of time"))?;
                into.push(DateSpan { first, end });
            }
            Ok(days_of(into) <= CALENDAR_DAYS_MAX)
        };
        match &self.rule {
            None => push(first).map(|_| ()),
            Some(rule) => {
                for first in rule.days_from(first).take(CALENDAR_DAYS_MAX + 1) {
                    if !push(first)? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Rule {
    /// The days on which it begins, the first of them `first`.
    fn days_from(&self, first: Date) -> impl Iterator<Item = Date> + '_ {
        let last = self.until.unwrap_or(Date::constant(LAST_YEAR, 12, 31));
        // RFC 5545 §3.3.10: days that a month or a year has not are left out, and do not count.
        let steps = (0..).map_while(move |step: i64| {
            let by = step.checked_mul(self.interval)?;
            let nth = match self.every {
                Every::Day => first.checked_add(by.days()),
                Every::Week => first.checked_add(by.weeks()),
                Every::Month => first.first_of_month().checked_add(by.months()),
                Every::Year => first.first_of_month().checked_add(by.years()),
            };
            nth.ok()
        });
        let days = steps.take_while(move |step| *step <= last || self.every == Every::Week && week_of(*step) <= last);
        let days = days.flat_map(move |step| match self.every {
            Every::Day => vec![step],
            Every::Month | Every::Year => Date::new(step.year(), step.month(), first.day()).into_iter().collect(),
            Every::Week if self.days.is_empty() => vec![step],
            Every::Week => {
                let week = week_of(step);
                let mut days: Vec<Date> = self
                    .days
                    .iter()
                    .filter_map(|day| week.checked_add(i64::from(day.to_monday_zero_offset()).days()).ok())
                    .collect();
                days.sort_unstable();
                days
            }
        });
        days.filter(move |day| first <= *day && *day <= last).take(self.count.unwrap_or(usize::MAX))
    }
}

/// The Monday of a day's week.
fn week_of(day: Date) -> Date {
    day.saturating_sub(i64::from(day.weekday().to_monday_zero_offset()).days())
}

/// `20260902`.
fn day(line: &Line, text: &str) -> Result<Date, Wrong> {
    let text = text.trim();
    let wrong = |why: &str| Err((line.number, format!("{} {text:?} {why}", line.name)));
    if text.contains('T') {
        return wrong("has a time of day; what is wanted is a day, as in DTSTART;VALUE=DATE:20260902");
    }
    let digits = text.len() == 8 && text.bytes().all(|c| c.is_ascii_digit());
    let (true, Ok(year), Ok(month), Ok(day)) = (
        digits,
        text.get(..4).unwrap_or("").parse(),
        text.get(4..6).unwrap_or("").parse(),
        text.get(6..).unwrap_or("").parse(),
    ) else {
        return wrong("is no day, as in 20260902");
    };
    if !line.parameters.is_empty() && !line.parameters.split(';').all(|p| p == "VALUE=DATE" || p.starts_with("X-")) {
        return wrong("has parameters other than VALUE=DATE");
    }
    Date::new(year, month, day).or_else(|_| wrong("is a day that no year has"))
}

/// `P5D` or `P2W`.
fn duration(line: &Line) -> Result<i64, Wrong> {
    let days = || {
        let rest = line.value.strip_prefix('P')?;
        let (count, unit) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
        let count = count.parse::<u16>().ok()?;
        match unit {
            "D" => Some(i64::from(count)),
            "W" => Some(i64::from(count) * 7),
            _ => None,
        }
    };
    days().ok_or_else(|| (line.number, format!("DURATION {:?} is no number of days or weeks, as in P5D", line.value)))
}

fn rule(line: &Line) -> Result<Rule, Wrong> {
    let wrong = |why: String| (line.number, format!("RRULE {:?}: {why}", line.value));
    let mut every = None;
    let (mut interval, mut count, mut until, mut days) = (1, None, None, Vec::new());
    for part in line.value.split(';') {
        let Some((key, value)) = part.split_once('=') else { return Err(wrong(format!("{part:?} has no value"))) };
        match key.to_ascii_uppercase().as_str() {
            "FREQ" => {
                every = Some(match value {
                    "DAILY" => Every::Day,
                    "WEEKLY" => Every::Week,
                    "MONTHLY" => Every::Month,
                    "YEARLY" => Every::Year,
                    _ => return Err(wrong(format!("FREQ={value}; YEARLY, MONTHLY, WEEKLY and DAILY are read"))),
                });
            }
            "INTERVAL" => match value.parse::<u16>() {
                Ok(number) if number > 0 => interval = i64::from(number),
                _ => return Err(wrong(format!("INTERVAL={value} is no number from 1 to 65535"))),
            },
            "COUNT" => match value.parse::<u16>() {
                Ok(number) if number > 0 => count = Some(usize::from(number)),
                _ => return Err(wrong(format!("COUNT={value} is no number from 1 to 65535"))),
            },
            // Some calendars end a rule of days with the last moment of a day.
            "UNTIL" => {
                until = Some(day(
                    &Line { parameters: String::new(), ..copy(line) },
                    value.split('T').next().unwrap_or(value),
                )?)
            }
            "BYDAY" => {
                for word in value.split(',') {
                    days.push(
                        weekday(word)
                            .ok_or_else(|| wrong(format!("BYDAY={word}; MO to SU are read, without a number")))?,
                    );
                }
            }
            "WKST" if value == "MO" => {}
            other => return Err(wrong(format!("{other} is not read here"))),
        }
    }
    let Some(every) = every else { return Err(wrong("it has no FREQ".to_owned())) };
    if !days.is_empty() && every != Every::Week {
        return Err(wrong("BYDAY is read with FREQ=WEEKLY alone".to_owned()));
    }
    if count.is_some() && until.is_some() {
        return Err(wrong("it has COUNT and UNTIL; one of them says where it ends".to_owned()));
    }
    Ok(Rule { every, interval, count, until, days })
}

fn copy(line: &Line) -> Line {
    let Line { number, name, parameters, value } = line;
    Line { number: *number, name: name.clone(), parameters: parameters.clone(), value: value.clone() }
}

fn weekday(word: &str) -> Option<Weekday> {
    use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let all = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];
    let at = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"].iter().position(|known| word.eq_ignore_ascii_case(known))?;
    Some(all[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(lines: &str) -> String {
        let lines = lines.replace("; ", "\r\n");
        format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nSUMMARY:x\r\n{lines}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
    }

    fn closed_on(calendar: &Calendar, day: &str) -> bool {
        !calendar.opens_on(day.parse().unwrap())
    }

    #[test]
    fn holidays_are_days_and_their_repetitions() {
        for (lines, closed, open) in [
            ("DTSTART;VALUE=DATE:20260902", "2026-09-02", "2026-09-01 2026-09-03 2027-09-02"),
            ("DTSTART:20260902; DTEND:20260904", "2026-09-02 2026-09-03", "2026-09-04"),
            ("DTSTART;VALUE=DATE:20270205; DURATION:P1W", "2027-02-05 2027-02-11", "2027-02-04 2027-02-12"),
            ("DTSTART:20250902; RRULE:FREQ=YEARLY", "2025-09-02 2026-09-02 2099-09-02", "2024-09-02 2026-09-03"),
            // A leap day comes in leap years.
            ("DTSTART:20240229; RRULE:FREQ=YEARLY", "2024-02-29 2028-02-29", "2027-02-28 2027-03-01"),
            (
                "DTSTART:20260131; RRULE:FREQ=MONTHLY;COUNT=3",
                "2026-01-31 2026-03-31 2026-05-31",
                "2026-02-28 2026-07-31",
            ),
            (
                "DTSTART:20261102; RRULE:FREQ=WEEKLY;BYDAY=MO,SA;UNTIL=20261115T235959Z",
                "2026-11-02 2026-11-07 2026-11-14",
                "2026-11-01 2026-11-16",
            ),
            (
                "DTSTART:20261104; RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=2",
                "2026-11-04 2026-11-18",
                "2026-11-11 2026-12-02",
            ),
            ("DTSTART:20261104; RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=1", "2026-11-09", "2026-11-02 2026-11-04 2026-11-16"),
            (
                "DTSTART:20261101; RRULE:FREQ=DAILY;INTERVAL=3;UNTIL=20261107; EXDATE:20261104",
                "2026-11-01 2026-11-07",
                "2026-11-04 2026-11-10",
            ),
            ("DTSTART:20260902; STATUS:CANCELLED", "", "2026-09-02"),
        ] {
            let calendar = read(&event(lines)).unwrap_or_else(|why| panic!("{lines}: {why:?}"));
            closed.split_whitespace().for_each(|day| assert!(closed_on(&calendar, day), "{lines}: {day} is open"));
            open.split_whitespace().for_each(|day| assert!(!closed_on(&calendar, day), "{lines}: {day} is closed"));
        }
    }

    #[test]
    fn terms_bound_what_opens_and_folded_lines_are_one() {
        let text = "\u{feff}BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:Asia/Ho_Chi_Minh\nBEGIN:STANDARD\nDTSTART:19700101T000000\nEND:STANDARD\n\
                    END:VTIMEZONE\nBEGIN:VEVENT\nDTSTART;X-NOTE=\"a:b\";VALUE=DATE:2026\n 0907\nDTEND:20270529\nCATEGORIES:Trường,Term\n\
                    BEGIN:VALARM\nTRIGGER:-PT15M\nEND:VALARM\nEND:VEVENT\nEND:VCALENDAR\n";
        let calendar = read(text).unwrap();
        assert_eq!(calendar.counts(), (0, 1));
        assert!(
            closed_on(&calendar, "2026-09-06")
                && !closed_on(&calendar, "2026-09-07")
                && closed_on(&calendar, "2027-05-29")
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_line() {
        for (text, line, why) in [
            (String::new(), 1, "empty"),
            ("<html>".to_owned(), 1, "colon"),
            ("BEGIN:VCARD\nEND:VCARD\n".to_owned(), 1, "BEGIN:VCALENDAR"),
            ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260101\n".to_owned(), 2, "cut short"),
            ("BEGIN:VCALENDAR\nEND:VEVENT\n".to_owned(), 2, "without its BEGIN"),
            (event("DTEND:20260101"), 3, "no DTSTART"),
            (event("DTSTART:20260902T080000"), 5, "time of day"),
            (event("DTSTART;TZID=Asia/Ho_Chi_Minh:20260902"), 5, "parameters"),
            (event("DTSTART:20260230"), 5, "no year has"),
            (event("DTSTART:2026-09-02"), 5, "no day"),
            (event("DTSTART:20260902; DTEND:20260902"), 3, "before it begins"),
            (event("DTSTART:20260902; DTEND:20260903; DURATION:P1D"), 3, "one of them"),
            (event("DTSTART:20260902; DURATION:PT5H"), 6, "P5D"),
            (event("DTSTART:20260902; RRULE:COUNT=2"), 6, "no FREQ"),
            (event("DTSTART:20260902; RRULE:FREQ=HOURLY"), 6, "YEARLY"),
            (event("DTSTART:20260902; RRULE:FREQ=YEARLY;BYDAY=MO"), 6, "WEEKLY alone"),
            (event("DTSTART:20260902; RRULE:FREQ=WEEKLY;BYDAY=1MO"), 6, "without a number"),
            (event("DTSTART:20260902; RRULE:FREQ=YEARLY;BYEASTER=1"), 6, "not read"),
            (event("DTSTART:20260902; RRULE:FREQ=YEARLY;COUNT=2;UNTIL=20270101"), 6, "one of them"),
            (event("DTSTART:20260902; RRULE:FREQ=YEARLY;INTERVAL=0"), 6, "1 to 65535"),
            (event("DTSTART:20260902; RDATE:20270902"), 6, "each day"),
            (event("DTSTART:20260101; DURATION:P60000D"), 7, "20000 days"),
            (event("DTSTART:00010101; RRULE:FREQ=DAILY"), 7, "20000 days"),
        ] {
            let (at, told) = read(&text).unwrap_err();
            assert_eq!((at, told.contains(why)), (line, true), "{text}\n{told}");
        }
    }
}
