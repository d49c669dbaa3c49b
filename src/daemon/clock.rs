//! The one place that reads a clock (I12).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::engine::client::UnixTime;
use crate::engine::schedule;

/// Monotonic time, for everything that ages.
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day, for what begins and ends by it.
pub fn unix_time() -> UnixTime {
    UnixTime(unix_secs() as i64)
}

/// The time of day, when it can be that; `None` on a clock that nobody has set yet.
pub fn sane_time() -> Option<UnixTime> {
    Some(unix_time()).filter(|now| schedule::is_sane(*now))
}

/// Seconds since 1970, for what people and metrics read. Zero on a clock before that.
pub fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
