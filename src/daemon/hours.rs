//! Keeps windows known: a generation knows when they open and close for some weeks, by the clock that it was made by.
//!
//! A look a second: when a generation's hours run out, or the clock was set, the same rules go into force with hours of their own
//! time. A clock that cannot be right opens no window, and it is said.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::daemon::background;
use crate::daemon::clock;
use crate::daemon::reload::Reloader;
use crate::engine::schedule::is_sane;

/// A clock that jumps is followed as soon as this. Chosen.
const LOOK: Duration = Duration::from_secs(1);
/// A clock that is not set is told of again so often. Chosen.
const TELL_AGAIN: Duration = Duration::from_secs(3_600);

/// Runs until `stop`.
pub async fn run(reloader: Arc<Reloader>, stop: CancellationToken) {
    let mut told: Option<std::time::Instant> = None;
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
            false if generation.snapshot.has_hours() && told.is_none_or(|at| at.elapsed() >= TELL_AGAIN) => {
                told = Some(clock::now());
                tracing::warn!("the clock of this machine is not set: every window of every profile counts as closed");
            }
            true | false => {}
        }
        drop(generation);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}
