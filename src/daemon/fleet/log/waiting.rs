//! Waiting until what was said here is in force everywhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Log;
use crate::daemon::clock;
use crate::daemon::fleet::reach::{Reach, Why, missing};

/// Whoever waits looks again so often, also when nothing is heard.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A server that was lost no longer ago may be back before anybody asks. Chosen: some tries.
const GRACE: Duration = Duration::from_secs(2);

impl Log {
    /// Waits until a command, and all before it, is in force at every node; at most for so long, and not for nodes that
    /// are silent or refuse.
    pub async fn reach(&self, number: u64, began: Instant, timer: Duration) -> Reach {
        let _waiting = self.begin_to_wait();
        self.something.notify_one();
        let deadline = began + timer;
        loop {
            let seen = self.seen.notified();
            tokio::pin!(seen);
            seen.as_mut().enable();
            let (reach, is_told) = self.reach_now(number, began);
            let can_wait = |why: &Why| matches!(why, Why::Late | Why::NotTold);
            let is_settled = is_told && !reach.missing.iter().any(|missing| can_wait(&missing.why));
            let left = deadline.saturating_duration_since(clock::now());
            if is_settled || reach.store_is_away {
                return reach;
            }
            if left.is_zero() {
                return Reach { store_is_away: !is_told, ..reach };
            }
            let _ = tokio::time::timeout(left.min(LOOK_AGAIN), seen).await;
        }
    }

    /// Whoever asked may go away meanwhile.
    fn begin_to_wait(&self) -> impl Drop + '_ {
        struct Waiter<'a>(&'a AtomicUsize);
        impl Drop for Waiter<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiters.fetch_add(1, Ordering::Relaxed);
        Waiter(&self.waiters)
    }

    /// And whether the server has it.
    fn reach_now(&self, number: u64, began: Instant) -> (Reach, bool) {
        let state = self.state();
        let place = state.written_at.filter(|_| state.written >= number);
        let command = state.ids.iter().find(|(of, _)| *of == number).map(|(_, id)| id.as_str());
        let (data, now) = (state.kept.data.as_str(), clock::unix_secs() as i64);
        let missing = missing(&state.nodes, &state.kept.node, (data, place), command, (now, state.following_since));
        let is_back_soon = |since| clock::now().saturating_duration_since(since) < GRACE;
        let is_away = !state.is_following && !state.away_since.is_some_and(is_back_soon);
        let nodes = 1 + state.nodes.iter().filter(|node| node.id != state.kept.node).count();
        let effective = nodes - missing.len();
        let millis = clock::now().saturating_duration_since(began).as_millis() as u64;
        let is_told = place.is_some();
        (Reach { nodes, effective, millis, store_is_away: !is_told && is_away, missing }, is_told)
    }
}
