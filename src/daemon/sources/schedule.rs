//! When a list is fetched next: plain decisions over what happened so far. Times are seconds since 1970.

/// A failure is followed by another try after so long; the wait doubles with each.
const BACKOFF_SECS_MIN: u64 = 15;
/// The wait grows no longer than this, nor than the list's own `refresh`. Chosen: an outage of a day is 24 tries.
const BACKOFF_SECS_MAX: u64 = 3_600;
/// A server may ask for this much patience (`Retry-After`) and no more.
const RETRY_AFTER_SECS_MAX: u64 = 86_400;
/// Tries are spread over this share of the wait, in percent: a host is not asked by everybody at once.
const JITTER_PERCENT: u64 = 20;

/// What is known about the fetches of one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// When the list was last known to be current; `None`: never.
    pub succeeded_at: Option<u64>,
    pub tried_at: Option<u64>,
    /// Failures since the last success.
    pub failures: u32,
    /// Why the last try failed.
    pub error: Option<String>,
    /// How long the server asked us to wait.
    pub retry_after_secs: Option<u64>,
    /// Drawn anew for every try; 0 to 999.
    pub jitter: u64,
}

impl History {
    pub fn succeed(&mut self, now: u64, jitter: u64) {
        *self = History { succeeded_at: Some(now), tried_at: Some(now), jitter, ..History::default() };
    }

    pub fn fail(&mut self, now: u64, jitter: u64, error: String, retry_after_secs: Option<u64>) {
        self.tried_at = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.error = Some(error);
        self.retry_after_secs = retry_after_secs;
        self.jitter = jitter;
    }
}

/// When the list is to be fetched next; what lies in the past is due now.
pub fn due_at(history: &History, refresh_secs: u64, now: u64) -> u64 {
    let (since, wait) = match (history.failures, history.tried_at) {
        (0, _) => match history.succeeded_at {
            None => return now,
            Some(at) => (at, refresh_secs),
        },
        (failures, tried) => {
            let doubled = BACKOFF_SECS_MIN.saturating_mul(1 << (failures - 1).min(20));
            let backoff = doubled.min(BACKOFF_SECS_MAX).min(refresh_secs);
            let asked = history.retry_after_secs.unwrap_or(0).min(RETRY_AFTER_SECS_MAX);
            (tried.unwrap_or(now), backoff.max(asked))
        }
    };
    // A clock that was set back: what happened "later" happened now.
    since.min(now).saturating_add(wait + spread(wait, history.jitter))
}

fn spread(wait: u64, jitter: u64) -> u64 {
    (u128::from(wait) * u128::from(jitter.min(999)) * u128::from(JITTER_PERCENT) / 100_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;
    const NOW: u64 = 1_000_000;

    #[test]
    fn a_list_that_never_came_is_due_at_once() {
        assert_eq!(due_at(&History::default(), 24 * HOUR, NOW), NOW);
    }

    #[test]
    fn a_good_list_is_due_after_its_refresh_and_a_little_later() {
        let good = |jitter| History { succeeded_at: Some(NOW), jitter, ..History::default() };
        assert_eq!(due_at(&good(0), HOUR, NOW), NOW + HOUR);
        assert_eq!(due_at(&good(500), HOUR, NOW), NOW + HOUR + HOUR / 10);
        assert!(due_at(&good(999), HOUR, NOW) < NOW + HOUR + HOUR / 5);
        // It came from a time that is not yet.
        let late = History { succeeded_at: Some(NOW + 900 * HOUR), ..History::default() };
        assert_eq!(due_at(&late, HOUR, NOW), NOW + HOUR);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_waits() {
        let mut history = History { succeeded_at: Some(NOW - HOUR), ..History::default() };
        let mut waits = Vec::new();
        for _ in 0..10 {
            history.fail(NOW, 0, "no".into(), None);
            waits.push(due_at(&history, 24 * HOUR, NOW) - NOW);
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 960, 1920, HOUR, HOUR]);
        history.failures = u32::MAX;
        assert_eq!(due_at(&history, 24 * HOUR, NOW), NOW + HOUR);
        assert_eq!(due_at(&history, 300, NOW), NOW + 300, "no longer than its refresh");
        history.succeed(NOW, 0);
        assert_eq!(history.error, None);
        assert_eq!(due_at(&history, 300, NOW), NOW + 300);
    }

    #[test]
    fn a_server_may_ask_for_patience_within_reason() {
        let mut history = History::default();
        history.fail(NOW, 0, "busy".into(), Some(120));
        assert_eq!(due_at(&history, HOUR, NOW), NOW + 120);
        history.fail(NOW, 0, "busy".into(), Some(u64::MAX));
        assert_eq!(due_at(&history, HOUR, NOW), NOW + 24 * HOUR);
    }
}
