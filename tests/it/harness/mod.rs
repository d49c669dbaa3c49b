//! What the tests stand on: an upstream, the resolver in process or as a process, and a client.
//!
//! The client and the upstream use hickory's codec, not ours, so that a mistake in ours is not made twice. Everything is
//! on loopback and on ports that the kernel picks.

pub mod client;
pub mod encrypted;
pub mod judge;
pub mod process;
pub mod publisher;
pub mod resolver;
pub mod secure;
pub mod upstream;

use std::time::{Duration, Instant};

/// How long anything may take that should happen at once, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer.
pub fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether what may be missing on a developer's machine must be there.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Says that a test cannot run here; where it must, fails.
pub fn skip(why: &str) {
    assert!(!is_ci(), "CI=true, and {why}");
    eprintln!("skipped: {why}");
}
