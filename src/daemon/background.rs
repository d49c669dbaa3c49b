//! Work that may take long and must not be felt: on a thread of its own, which makes way before it does what is heavy. What
//! is light — a rule that a person changes — has no time to wait until nobody else wants the processor.

use std::cell::Cell;
use std::io;

use tokio::sync::oneshot;

/// As nice as a thread can be, where there is no better way to make way.
const NICE: i32 = 19;

thread_local! {
    /// Whether this thread does one thing only and ends.
    static IS_BACKGROUND: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` on a thread of its own. An error: it panicked, or there is no thread.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, waits) = oneshot::channel();
    // A new thread each time: one that has made way cannot take its priority back without privilege.
    std::thread::Builder::new().name("background".into()).spawn(move || {
        IS_BACKGROUND.set(true);
        let _ = done.send(work());
    })?;
    waits.await.map_err(|_| io::Error::other("it broke off"))
}

/// Octets from which work on them is heavy: some milliseconds. Chosen.
const HEAVY_OCTETS: u64 = 1 << 20;

/// As [`make_way`] when what follows has to do with so many octets that it is heavy.
pub fn make_way_for(octets: u64) {
    if octets >= HEAVY_OCTETS {
        make_way();
    }
}

/// What follows is heavy: from now on this thread runs when no other wants to, and gives way at once when one does
/// (SCHED_IDLE, sched(7)). Does nothing on a thread that is not of [`run`].
pub fn make_way() {
    if !IS_BACKGROUND.get() {
        return;
    }
    // For Linux a process number of zero is this thread. Should it fail, the work is done all the same.
    let _ = rustix::process::setpriority_process(None, NICE);
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    // SAFETY: the kernel reads one `sched_param` from a place that is there. As a system call of its own, because musl's
    // function does nothing.
    unsafe {
        let param: libc::sched_param = std::mem::zeroed();
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_IDLE, &raw const param);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_makes_way_and_nobody_else_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let after = move || {
            make_way();
            nice()
        };
        let before = nice();
        assert_eq!((run(nice).await.unwrap(), run(after).await.unwrap()), (before, NICE));
        assert_eq!((after(), nice()), (before, before));
        assert!(run(|| panic!("on purpose")).await.is_err());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_runs_when_nobody_else_wants_to() {
        // The policy is the 41st field (proc_pid_stat(5)); the second may hold blanks.
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let rest = stat.rsplit_once(')').unwrap().1.to_owned();
            rest.split_whitespace().nth(38).unwrap().to_owned()
        };
        let after = move || {
            make_way();
            policy()
        };
        assert_eq!((after(), run(after).await.unwrap()), ("0".to_owned(), libc::SCHED_IDLE.to_string()));
    }
}
