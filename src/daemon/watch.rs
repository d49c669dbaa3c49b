//! Watches what the last load looked at, and reloads when some of it is another than it was then.
//!
//! Directories are watched, because editors and configuration managers put a new file, or a new link, in an old one's
//! place. Events only wake us; what decides is the [`Version`] of each path, compared with the one that was read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Version, Versions};
use crate::daemon::background;
use crate::daemon::reload::{Look, Reloader};

/// A change is taken up once nothing else changed for so long: one `cp` of three files is one reload.
const QUIET: Duration = Duration::from_millis(300);
/// A change waits no longer than this for others, however busy the files are. Chosen.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// A file that is written to all the time is read at last, after so long. Chosen.
const UNSETTLED_MAX: Duration = Duration::from_secs(30);
/// Even without an event the files are looked at so often: a network file system sends none.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Links that are followed on the way to one file; the kernel's own bound.
const LINKS_MAX: usize = 40;

/// Runs until `stop`.
pub async fn run(reloader: Arc<Reloader>, stop: CancellationToken) {
    // `wake` lives as long as the loop: without a watcher nobody else holds a sender.
    let (wake, mut woken) = mpsc::channel(1);
    let mut watch = Watch::new(wake.clone());
    let mut unsettled_since = None;
    loop {
        // Watched first and looked at then: what changes after the look wakes us.
        watch.follow(&reloader.seen());
        let reloading = Arc::clone(&reloader);
        let insist = unsettled_since.is_some_and(|since: Instant| since.elapsed() >= UNSETTLED_MAX);
        let look = background::run(move || reloading.reload_if_changed(insist)).await;
        unsettled_since = match look {
            Ok(Look::Unsettled) => unsettled_since.or_else(|| Some(Instant::now())),
            _ => None,
        };
        let wait = match look {
            Ok(Look::Unchanged) => LOOK_AGAIN,
            // Files that have just joined are not watched yet.
            Ok(Look::Reloaded(_) | Look::Unsettled) => QUIET,
            Err(why) => {
                tracing::error!("a reload broke off: {why}");
                LOOK_AGAIN
            }
        };
        tokio::select! {
            _ = woken.recv() => settle(&mut woken).await,
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Waits until nothing happened for [`QUIET`], but not for ever.
async fn settle(woken: &mut mpsc::Receiver<()>) {
    let enough = tokio::time::sleep(SETTLE_MAX);
    tokio::pin!(enough);
    loop {
        tokio::select! {
            biased;
            () = &mut enough => return,
            more = tokio::time::timeout(QUIET, woken.recv()) => if more.is_err() {
                return;
            },
        }
    }
}

/// The system's watcher and what it is told to watch.
struct Watch {
    /// `None`: this system has none.
    watcher: Option<RecommendedWatcher>,
    /// Device and inode: a directory that was replaced must be watched anew.
    directories: BTreeMap<PathBuf, (u64, u64)>,
    interest: Arc<Mutex<Interest>>,
}

impl Watch {
    fn new(wake: mpsc::Sender<()>) -> Watch {
        let interest = Arc::new(Mutex::new(Interest::default()));
        let heard = Arc::clone(&interest);
        let handler = move |event: notify::Result<notify::Event>| {
            let is_ours = event.is_ok_and(|event| {
                let interest = heard.lock().unwrap_or_else(PoisonError::into_inner);
                // Reading a file is no change. Without a path, events were lost.
                !event.kind.is_access() && (event.paths.is_empty() || event.paths.iter().any(|p| interest.holds(p)))
            });
            if is_ours {
                // A wake-up that is already waiting stands for this one too.
                let _ = wake.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|why| {
                tracing::warn!("files are not watched ({why}); they are looked at every minute, and on SIGHUP");
            })
            .ok();
        Watch { watcher, directories: BTreeMap::new(), interest }
    }

    /// Watches these paths and no others. Done anew at every look: links and directories come and go.
    fn follow(&mut self, versions: &Versions) {
        let Some(watcher) = &mut self.watcher else { return };
        let interest = Interest::of(versions);
        let wanted: BTreeMap<PathBuf, (u64, u64)> = interest
            .directories()
            .into_iter()
            .filter_map(|directory| {
                let meta = std::fs::metadata(&directory).ok()?;
                Some((directory, (meta.dev(), meta.ino())))
            })
            .collect();
        *self.interest.lock().unwrap_or_else(PoisonError::into_inner) = interest;
        for (directory, _) in self.directories.iter().filter(|(path, id)| wanted.get(*path) != Some(*id)) {
            // One that is gone has taken its watch along.
            let _ = watcher.unwatch(directory);
        }
        for (directory, _) in wanted.iter().filter(|(path, id)| self.directories.get(*path) != Some(*id)) {
            if let Err(why) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                tracing::warn!("{} is not watched: {why}; it is looked at every minute", directory.display());
            }
        }
        self.directories = wanted;
    }
}

/// Paths whose events matter, free of links in their directories, as the watcher names them.
#[derive(Default)]
struct Interest {
    /// Files, and the links on the way to them.
    paths: BTreeSet<PathBuf>,
    /// Directories of which every entry matters.
    parts: BTreeSet<PathBuf>,
}

impl Interest {
    fn of(versions: &Versions) -> Interest {
        let mut interest = Interest::default();
        for (path, version) in versions {
            let trail = trail(path);
            match version {
                Version::Absent | Version::File(..) => {}
                Version::Parts(_) => interest.parts.extend(trail.last().cloned()),
                // A directory, or a pattern in one.
                Version::Group(parts) => {
                    let is_directory = trail.last().is_some_and(|end| end.is_dir());
                    let end = trail.last().and_then(|end| if is_directory { Some(&**end) } else { end.parent() });
                    interest.parts.extend(end.map(Path::to_owned));
                    interest.paths.extend(parts.iter().flatten().flat_map(|(part, _)| self::trail(part)));
                }
            }
            interest.paths.extend(trail);
        }
        interest
    }

    /// A directory above one of ours matters too: it may have come, gone or been replaced.
    fn holds(&self, path: &Path) -> bool {
        self.paths.iter().any(|ours| ours.starts_with(path))
            || path.parent().is_some_and(|directory| self.parts.contains(directory))
    }

    /// Where these paths' events are heard: their directories, or the nearest above that is there.
    fn directories(&self) -> BTreeSet<PathBuf> {
        let above = self.paths.iter().filter_map(|path| path.ancestors().skip(1).find(|above| above.is_dir()));
        let parts = self.parts.iter().map(PathBuf::as_path).filter(|parts| parts.is_dir());
        above.chain(parts).map(Path::to_owned).collect()
    }
}

/// The links on the way to a path, each in a directory without links, and where the way ends.
fn trail(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (mut trail, mut at) = (Vec::new(), PathBuf::from("/"));
    let mut ahead: Vec<OsString> = steps(&absolute);
    while let Some(step) = ahead.pop() {
        match Path::new(&step).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                let here = at.join(name);
                match std::fs::read_link(&here) {
                    Ok(target) if trail.len() < LINKS_MAX => {
                        ahead.extend(steps(&target));
                        trail.push(here);
                    }
                    Ok(_) | Err(_) => at = here,
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    trail.push(at);
    trail
}

/// A path's components, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|component| component.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests;
