//! Keeps windows known: a generation knows when they open and close for some weeks, by the clock that it was made by.
//!
//! A look a second: when a generation's hours run out, or the clock was set, the same rules go into force with hours of their own
//! time. A clock that cannot be right opens no window, and it is said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::daemon::background;
use crate::daemon::clock;
use crate::daemon::reload::Reloader;
use crate::engine::schedule::is_sane;

/// A clock that jumps is followed as soon as this. Chosen.
const LOOK: Duration = Duration::from_secs(1);
/// A clock that is not set is told of again so often. Chosen.
const TELL_AGAIN: Duration = Duration::from_secs(3_600);

/// Calendars whose last term is over in so many days are told of, once a day: their windows open no more then. Chosen.
const TERMS_END_DAYS: i64 = 30;
const TELL_TERMS_AGAIN: Duration = Duration::from_secs(86_400);

/// Runs until `stop`.
pub async fn run(reloader: Arc<Reloader>, stop: CancellationToken) {
    let mut told: Option<Instant> = None;
    let mut told_terms: Option<Instant> = None;
    loop {
        let now = clock::unix_time();
        let generation = reloader.in_force();
        match is_sane(now) {
            true if generation.snapshot.hours_are_due(now) => {
                if told.take().is_some() {
                    tracing::warn!("the clock is set: windows open and close again");
                }
                let reloader = Arc::clone(&reloader);
                // Of many profiles it takes some milliseconds.
                let _ = background::run(move || reloader.mask_again()).await;
            }
            false if generation.snapshot.has_hours() && is_time(told, TELL_AGAIN) => {
                told = Some(clock::now());
                tracing::warn!("the clock of this machine is not set: every window of every profile counts as closed");
            }
            true | false => {}
        }
        if is_sane(now) && is_time(told_terms, TELL_TERMS_AGAIN) {
            told_terms = Some(clock::now());
            for (profile, window, last) in generation.snapshot.terms_ending(now, TERMS_END_DAYS) {
                tracing::warn!(profile, window, %last, "the last term of its calendar ends: the window opens no more then");
            }
        }
        drop(generation);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Whether what was told then is to be told again.
fn is_time(told: Option<Instant>, after: Duration) -> bool {
    told.is_none_or(|at| clock::now().saturating_duration_since(at) >= after)
}
