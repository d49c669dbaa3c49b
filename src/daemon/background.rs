//! Work that may take long and must not be felt: a thread of its own that runs when nobody else wants the processor.

use std::io;

use tokio::sync::oneshot;

/// As nice as a thread can be: beside one that answers questions it gets one part in sixty of a core.
const NICE: i32 = 19;

/// Does `work` on a thread of its own. An error: it panicked, or there is no thread.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, waits) = oneshot::channel();
    // A new thread each time: one that has made way cannot take its priority back without privilege.
    std::thread::Builder::new().name("background".into()).spawn(move || {
        // For Linux a process number of zero is this thread. Should it fail, the work is done all the same.
        let _ = rustix::process::setpriority_process(None, NICE);
        let _ = done.send(work());
    })?;
    waits.await.map_err(|_| io::Error::other("it broke off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_makes_way_and_nobody_else_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(run(nice).await.unwrap(), NICE);
        assert_eq!(nice(), before);
        assert!(run(|| panic!("on purpose")).await.is_err());
    }
}
