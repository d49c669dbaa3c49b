//! How many strangers a second are told REFUSED, over all of them: enough to explain, too few to amplify anything.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::daemon::clock;
use crate::engine::limits::STRANGER_ANSWERS_PER_SECOND;

/// Second (upper half) and answers in it (lower half).
#[derive(Debug, Default)]
pub struct StrangerLimit {
    window: AtomicU64,
}

impl StrangerLimit {
    /// Takes one answer of this second's.
    pub fn allows(&self) -> bool {
        self.allows_at(clock::unix_secs())
    }

    fn allows_at(&self, second: u64) -> bool {
        let second = second & 0xffff_ffff;
        let next = |window: u64| {
            let used = if window >> 32 == second { window & 0xffff_ffff } else { 0 };
            (used < u64::from(STRANGER_ANSWERS_PER_SECOND)).then_some(second << 32 | (used + 1))
        };
        self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_share_and_the_next_one_too() {
        let limit = StrangerLimit::default();
        for second in [7, 8] {
            let told = (0..1000).filter(|_| limit.allows_at(second)).count();
            assert_eq!(told, STRANGER_ANSWERS_PER_SECOND as usize);
        }
    }
}
