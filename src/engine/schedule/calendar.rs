//! Days that a calendar knows: holidays, on which windows stay closed, and terms, outside of which they do.

use jiff::civil::Date;

/// Days from `first` up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateSpan {
    pub first: Date,
    pub end: Date,
}

/// A school's year.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calendar {
    holidays: Vec<DateSpan>,
    /// Empty: every day is in term.
    terms: Vec<DateSpan>,
}

impl Calendar {
    pub fn new(holidays: Vec<DateSpan>, terms: Vec<DateSpan>) -> Calendar {
        Calendar { holidays: merged(holidays), terms: merged(terms) }
    }

    /// Whether a window that opens on this day of the week does so on this day.
    pub fn opens_on(&self, day: Date) -> bool {
        !holds(&self.holidays, day) && (self.terms.is_empty() || holds(&self.terms, day))
    }

    /// The last day of the last term; `None`: there are no terms, so every day is in one.
    pub fn last_day_of_terms(&self) -> Option<Date> {
        self.terms.last()?.end.yesterday().ok()
    }

    /// Spans of holidays and of terms.
    pub fn counts(&self) -> (usize, usize) {
        (self.holidays.len(), self.terms.len())
    }
}

/// Sorted, and those that meet made one.
fn merged(mut spans: Vec<DateSpan>) -> Vec<DateSpan> {
    spans.sort_unstable();
    let mut all: Vec<DateSpan> = Vec::with_capacity(spans.len());
    for span in spans {
        match all.last_mut() {
            Some(last) if span.first <= last.end => last.end = last.end.max(span.end),
            Some(_) | None => all.push(span),
        }
    }
    all
}

fn holds(spans: &[DateSpan], day: Date) -> bool {
    let after = spans.partition_point(|span| span.first <= day);
    after > 0 && day < spans[after - 1].end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: &str, end: &str) -> DateSpan {
        DateSpan { first: first.parse().unwrap(), end: end.parse().unwrap() }
    }

    #[test]
    fn windows_open_in_term_and_on_no_holiday() {
        let holidays =
            vec![span("2027-02-05", "2027-02-12"), span("2027-02-10", "2027-02-14"), span("2026-09-02", "2026-09-03")];
        let terms = vec![span("2026-09-05", "2027-01-16"), span("2027-01-18", "2027-05-31")];
        let calendar = Calendar::new(holidays, terms);
        assert_eq!(calendar.counts(), (2, 2));
        assert_eq!(calendar.last_day_of_terms(), "2027-05-30".parse().ok());
        assert_eq!(Calendar::new(Vec::new(), Vec::new()).last_day_of_terms(), None);
        for (day, opens) in [
            ("2026-09-02", false),
            ("2026-09-04", false),
            ("2026-09-05", true),
            ("2027-01-15", true),
            ("2027-01-16", false),
            ("2027-01-18", true),
            ("2027-02-04", true),
            ("2027-02-05", false),
            ("2027-02-13", false),
            ("2027-02-14", true),
            ("2027-05-31", false),
        ] {
            assert_eq!(calendar.opens_on(day.parse().unwrap()), opens, "{day}");
        }
        assert!(Calendar::default().opens_on("2027-02-05".parse().unwrap()));
    }
}
