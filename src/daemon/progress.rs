//! How far a load is, for those who wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared by who loads and who tells.
#[derive(Debug, Default)]
pub struct Progress {
    step: Mutex<Step>,
    /// Octets of the list's text, and how many of them are read.
    octets: AtomicU64,
    read: AtomicU64,
}

/// What is being done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Step {
    #[default]
    Starting,
    /// A list, its number from 1, how many there are, and how much of its text is read, in hundredths.
    Reading { list: String, number: usize, lists: usize, percent: u64 },
    /// Rules become an index.
    Compiling { rules: usize },
}

impl Progress {
    pub fn list(&self, name: &str, number: usize, lists: usize) {
        self.octets.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
        *self.lock() = Step::Reading { list: name.to_owned(), number, lists, percent: 0 };
    }

    /// A text of so many octets is being read.
    pub fn reads(&self, octets: u64) {
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    /// So many octets more are read.
    pub fn read(&self, octets: u64) {
        self.read.fetch_add(octets, Ordering::Relaxed);
    }

    pub fn compiles(&self, rules: usize) {
        *self.lock() = Step::Compiling { rules };
    }

    pub fn step(&self) -> Step {
        let mut step = self.lock().clone();
        if let Step::Reading { percent, .. } = &mut step {
            let (read, octets) = (self.read.load(Ordering::Relaxed), self.octets.load(Ordering::Relaxed));
            *percent = (read * 100).checked_div(octets).unwrap_or(0);
        }
        step
    }

    fn lock(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Starting => f.write_str("starting"),
            Step::Reading { list, number, lists, percent } => {
                write!(f, "reading list `{list}` ({number} of {lists}): {percent} %")
            }
            Step::Compiling { rules } => write!(f, "compiling {rules} rules"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_list_and_percent_and_then_rules() {
        let progress = Progress::default();
        assert_eq!(progress.step().to_string(), "starting");
        progress.list("ads", 2, 3);
        assert_eq!(progress.step().to_string(), "reading list `ads` (2 of 3): 0 %");
        progress.reads(200);
        progress.read(83);
        assert_eq!(progress.step().to_string(), "reading list `ads` (2 of 3): 41 %");
        progress.compiles(7);
        assert_eq!(progress.step().to_string(), "compiling 7 rules");
    }
}
