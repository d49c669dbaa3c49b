//! Watches configuration and list files, and reloads when one of them is another than before.
//!
//! Directories are watched, because editors and configuration managers put a new file in an old one's place. Events only
//! wake us; what decides is the files' size, time and inode.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::daemon::reload::Reloader;

/// A change is taken up once nothing else changed for so long: one `cp` of three files is one reload.
const QUIET: Duration = Duration::from_millis(300);
/// A directory in which something always changes must not put a change off for ever.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// Even without an event the files are looked at so often: a network file system sends none.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

type Stamps = HashMap<PathBuf, Option<(u64, i64, i64, u64)>>;

/// Runs until `stop`.
pub async fn run(reloader: Arc<Reloader>, stop: CancellationToken) {
    let (wake, mut woken) = mpsc::channel(1);
    let handler = move |event: notify::Result<notify::Event>| {
        // A wake-up that is already waiting stands for this one too. Reading a file is no change.
        if event.is_ok_and(|e| !e.kind.is_access()) {
            let _ = wake.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(handler) {
        Ok(watcher) => Some(watcher),
        Err(why) => {
            tracing::warn!("files are not watched ({why}); they are looked at every minute, and on SIGHUP");
            None
        }
    };
    let mut watched = BTreeSet::new();
    let mut files = reloader.status().notes.files;
    watch(&mut watcher, &mut watched, &files);
    let mut before = stamps(&files);
    loop {
        tokio::select! {
            event = woken.recv() => if event.is_none() {
                // The watcher is gone; the minute's look remains.
                tokio::time::sleep(LOOK_AGAIN).await;
            },
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = stop.cancelled() => return,
        }
        let quiet = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, woken.recv()).await {} };
        // Either way something changed; what decides is below.
        let _ = tokio::time::timeout(QUIET_WAIT_MAX, quiet).await;
        let now = stamps(&files);
        if now == before {
            continue;
        }
        before = now;
        tracing::info!("a watched file changed");
        let reloading = Arc::clone(&reloader);
        let done = tokio::task::spawn_blocking(move || reloading.reload()).await;
        if let Ok(status) = done {
            files = status.notes.files;
            watch(&mut watcher, &mut watched, &files);
            // Taken after the reload: files that joined the configuration have no earlier stamp.
            before
                .extend(stamps(&files).into_iter().filter(|(path, _)| !before.contains_key(path)).collect::<Vec<_>>());
            before.retain(|path, _| files.contains(path));
        }
    }
}

fn watch(watcher: &mut Option<notify::RecommendedWatcher>, watched: &mut BTreeSet<PathBuf>, files: &[PathBuf]) {
    let Some(watcher) = watcher else { return };
    for directory in files.iter().filter_map(|f| f.parent()) {
        if watched.insert(directory.to_owned())
            && let Err(why) = watcher.watch(directory, RecursiveMode::NonRecursive)
        {
            tracing::warn!("{} is not watched: {why}", directory.display());
        }
    }
}

fn stamps(files: &[PathBuf]) -> Stamps {
    files.iter().map(|f| (f.clone(), stamp(f))).collect()
}

fn stamp(path: &Path) -> Option<(u64, i64, i64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()))
}
