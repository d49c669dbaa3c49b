//! Last good versions of lists on disk, so that a restart needs neither the network nor the file.
//!
//! `lists/NAME/` holds texts named by their SHA-256, which never change, and `versions.json`, which says what is the
//! current one and what was before. Each is written beside its place, synced and renamed, the texts first: whenever the
//! power goes, `versions.json` names texts that are whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::text::Text;
use crate::config::read_steady;

/// The file that says which texts there are.
const VERSIONS: &str = "versions.json";
/// The file that says which text waits to be approved.
const WAITING: &str = "waiting.json";
/// Of a list that left the configuration, so many seconds pass before its texts go too. Chosen: a month.
const FORGOTTEN_AFTER_SECS: u64 = 30 * 86_400;
/// Size of one `versions.json`, in octets: a thousand parts with long paths fit.
const VERSIONS_OCTETS_MAX: u64 = 8 << 20;

/// Writes the whole of something.
type Write = fn(&mut File, &[u8]) -> io::Result<()>;

/// A directory that nobody else writes to while this lives; or a look into one.
pub struct Store {
    /// `lists` in the state directory.
    root: PathBuf,
    /// `None`: somebody else's, which is only read.
    lock: Option<File>,
    /// Replaced by tests: disks fill up.
    write: Write,
}

/// What is known about one version of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Path or URL.
    pub source: String,
    /// When it came; seconds since 1970.
    pub read_at: u64,
    /// When it was last known to be current; seconds since 1970.
    pub checked_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Of a fetched list, as it was published: before it was decompressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_sha256: Option<String>,
    /// Of the text that is kept.
    pub sha256: String,
    pub octets: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    pub rules: usize,
    /// Of a list of several files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartRecord>,
}

/// One file of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    pub name: String,
    pub octets: u64,
}

/// `versions.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Versions {
    pub list: String,
    pub current: Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Record>,
}

impl Store {
    /// Takes a state directory into use; it is made when it is not there.
    ///
    /// # Errors
    /// A sentence for the operator: it cannot be written, or another process uses it.
    pub fn open(state_directory: &Path) -> Result<Store, String> {
        let root = state_directory.join("lists");
        let told = |why: io::Error| format!("{}: {why}", root.display());
        private_directory(&root).map_err(told)?;
        let lock = private_file(&root.join(".lock")).map_err(told)?;
        if let Err(why) = lock.try_lock() {
            return Err(match why {
                fs::TryLockError::WouldBlock => format!("{} is in use by another resolver", root.display()),
                fs::TryLockError::Error(why) => told(why),
            });
        }
        Ok(Store { root, lock: Some(lock), write: |file, octets| file.write_all(octets) })
    }

    /// Looks into a state directory that another process may use; nothing is ever written.
    pub fn look_into(state_directory: &Path) -> Store {
        let write: Write = |_, _| Err(io::ErrorKind::ReadOnlyFilesystem.into());
        Store { root: state_directory.join("lists"), lock: None, write }
    }

    /// Where scratch files may be made.
    pub fn scratch(&self) -> &Path {
        &self.root
    }

    pub fn is_ours(&self) -> bool {
        self.lock.is_some()
    }

    /// What is kept of a list; nothing when that cannot be read.
    pub fn versions(&self, list: &str) -> Option<Versions> {
        let octets = read_steady(&self.directory(list).join(VERSIONS), VERSIONS_OCTETS_MAX).ok()?;
        let versions: Versions = serde_json::from_slice(&octets).ok()?;
        let is_good = versions.current.has_sum() && versions.previous.as_ref().is_none_or(Record::has_sum);
        is_good.then_some(versions)
    }

    /// Where a version's text is; its lines are those of its parts one after the other.
    pub fn path(&self, list: &str, record: &Record) -> PathBuf {
        self.directory(list).join(format!("{}.txt", record.sha256))
    }

    /// A version's text, checked against its sum.
    pub fn text(&self, list: &str, record: &Record) -> Result<Text, String> {
        let path = self.path(list, record);
        let parts: Vec<(String, u64)> = record.parts.iter().map(|part| (part.name.clone(), part.octets)).collect();
        let text = File::open(&path).and_then(|file| Text::stored(file, &parts));
        let text = text.map_err(|why| format!("{}: {why}", path.display()))?;
        if text.sha256 != record.sha256 {
            return Err(format!("{}: it is damaged", path.display()));
        }
        Ok(text)
    }

    /// Makes a text the current version, and what was current the previous one. `record` is filled in with what only the
    /// text tells.
    pub fn put(&self, list: &str, record: &mut Record, text: &Text) -> io::Result<()> {
        record.describe(text);
        let directory = self.directory(list);
        private_directory(&directory)?;
        File::open(&self.root)?.sync_all()?;
        let before = self.versions(list);
        let path = self.path(list, record);
        let is_there = fs::metadata(&path).is_ok_and(|meta| meta.len() == record.octets);
        if !is_there {
            self.write_text(&path, text)?;
        }
        let previous = match before {
            Some(before) if before.current.sha256 == record.sha256 => before.previous,
            Some(before) => Some(before.current),
            None => None,
        };
        let versions = Versions { list: list.to_owned(), current: record.clone(), previous };
        self.write_whole(&directory.join(VERSIONS), &serde_json::to_vec_pretty(&versions)?)?;
        self.sweep(list);
        Ok(())
    }

    /// Keeps a text that waits; the one that waited before is forgotten.
    pub fn put_waiting(&self, list: &str, record: &Record, text: &Text) -> io::Result<()> {
        let directory = self.directory(list);
        private_directory(&directory)?;
        self.write_text(&self.path(list, record), text)?;
        self.write_whole(&directory.join(WAITING), &serde_json::to_vec_pretty(record)?)?;
        self.sweep(list);
        Ok(())
    }

    /// The text that waits.
    pub fn waiting(&self, list: &str) -> Option<Record> {
        let octets = read_steady(&self.directory(list).join(WAITING), VERSIONS_OCTETS_MAX).ok()?;
        serde_json::from_slice(&octets).ok().filter(Record::has_sum)
    }

    /// Nothing waits any more.
    pub fn drop_waiting(&self, list: &str) {
        if fs::remove_file(self.directory(list).join(WAITING)).is_ok() {
            self.sweep(list);
        }
    }

    /// Makes the previous version the current one, and lets the current one wait. `None`: there is no previous one.
    pub fn roll_back(&self, list: &str) -> io::Result<Option<(Record, Record)>> {
        let Some(Versions { list: name, current, previous: Some(previous) }) = self.versions(list) else {
            return Ok(None);
        };
        let directory = self.directory(list);
        self.write_whole(&directory.join(WAITING), &serde_json::to_vec_pretty(&current)?)?;
        let versions = Versions { list: name, current: previous.clone(), previous: None };
        self.write_whole(&directory.join(VERSIONS), &serde_json::to_vec_pretty(&versions)?)?;
        Ok(Some((current, previous)))
    }

    /// Notes what was learnt about the current version without a new text.
    pub fn note(&self, list: &str, record: &Record) -> io::Result<()> {
        let Some(mut versions) = self.versions(list).filter(|v| v.current.sha256 == record.sha256) else {
            return Ok(());
        };
        versions.current = record.clone();
        self.write_whole(&self.directory(list).join(VERSIONS), &serde_json::to_vec_pretty(&versions)?)
    }

    /// Forgets lists that have not been in the configuration for long.
    pub fn forget_others(&self, configured: &[&str], now: u64) {
        let ours: Vec<PathBuf> = configured.iter().map(|list| self.directory(list)).collect();
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !ours.contains(path)) {
            let touched = fs::metadata(path.join(VERSIONS)).and_then(|meta| meta.modified()).ok();
            let touched = touched.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            if touched.is_some_and(|at| now.saturating_sub(at.as_secs()) > FORGOTTEN_AFTER_SECS) {
                // What cannot be removed harms nobody.
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    fn directory(&self, list: &str) -> PathBuf {
        self.root.join(directory_name(list))
    }

    /// A file that is there whole or not at all, whatever happens meanwhile.
    fn write_whole(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        self.write_beside(path, |file| (self.write)(file, octets))
    }

    fn write_text(&self, path: &Path, text: &Text) -> io::Result<()> {
        self.write_beside(path, |file| text.for_each_chunk(|octets| (self.write)(file, octets)))
    }

    fn write_beside(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let beside = path.with_extension("tmp");
        let written = private_file(&beside).and_then(|mut file| {
            file.set_len(0)?;
            write(&mut file)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written?;
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        File::open(directory)?.sync_all()
    }

    /// Removes texts that no version names any more, and what a crash left behind.
    fn sweep(&self, list: &str) {
        let directory = self.directory(list);
        let versions = self.versions(list).map(|v| [Some(v.current), v.previous]).unwrap_or_default();
        let records = versions.into_iter().flatten().chain(self.waiting(list));
        let mut named: Vec<PathBuf> = records.map(|record| self.path(list, &record)).collect();
        named.extend([VERSIONS, WAITING].map(|file| directory.join(file)));
        let Ok(entries) = fs::read_dir(directory) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !named.contains(path)) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Record {
    /// Whether its sum is one: it becomes the name of a file.
    fn has_sum(&self) -> bool {
        self.sha256.len() == 64 && self.sha256.bytes().all(|c| c.is_ascii_hexdigit())
    }

    /// Fills in what a text tells.
    pub fn describe(&mut self, text: &Text) {
        let parts = text.parts.iter().filter(|_| text.is_group);
        self.parts = parts.map(|part| PartRecord { name: part.name.clone(), octets: part.end - part.start }).collect();
        self.octets = text.octets;
        self.sha256 = text.sha256.clone();
    }
}

/// A list's name as that of a directory: what is no letter, digit, hyphen or underline becomes `%XX`.
fn directory_name(list: &str) -> String {
    let mut name = String::with_capacity(list.len());
    for octet in list.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(octet)),
            _ => name.push_str(&format!("%{octet:02X}")),
        }
    }
    name
}

fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests;
