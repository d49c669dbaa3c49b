//! The audit log: who changed what, when, from what to what — one JSON line each, chained and signed.
//!
//! Every line holds the hash of the one before, its own hash and a signature of that (Ed25519); `head.json` says, signed,
//! which line is the first and which the last. So a changed octet, a line that was cut out, moved or put in, and an end that
//! was cut off are found by whoever has the public key ([`verify`]). Who has the private key too can write another history:
//! the key is this node's own, made at the first start, and its public half belongs elsewhere as well.
//!
//! A line holds what a person typed, and nothing of any client. What cannot be written down does not happen: callers record
//! first and act then.

mod verify;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::daemon::{clock, state};
use crate::engine::explain::time_text;
use crate::engine::limits::{AUDIT_FILE_OCTETS_MAX, AUDIT_FILES_MAX, AUDIT_LINE_OCTETS_MAX};

pub use verify::{Broken, Verified, is_empty, lines_of, verify, verify_file};

/// In the state directory.
pub const DIRECTORY: &str = "audit";
const KEY: &str = "key";
const PUBLIC_KEY: &str = "key.pub";
const HEAD: &str = "head.json";

/// The hash that the first line of all follows.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// How often a process reads the whole log. Chosen: a log of years takes a second.
const VERIFY_EVERY: Duration = Duration::from_secs(3_600);

/// One change.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    pub who: &'a str,
    /// `allow.add`, `order.approve` and the like.
    pub what: &'a str,
    /// What it is about: an id, a reference, a list.
    pub subject: &'a str,
    /// Where it was said; `None`: here.
    pub node: Option<&'a str>,
    pub before: Value,
    pub after: Value,
}

/// A line of the log without its hash and signature.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Counts from 1.
    pub seq: u64,
    /// RFC 3339.
    pub at: String,
    pub who: String,
    pub what: String,
    pub subject: String,
    /// The node of the fleet where it was said, when that was not this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(default)]
    pub before: Value,
    #[serde(default)]
    pub after: Value,
    /// Hash of the line before.
    pub prev: String,
}

/// What the log reaches from and to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    first: u64,
    last: u64,
    /// Of the last line.
    hash: String,
    signature: String,
}

impl Head {
    fn message(first: u64, last: u64, hash: &str) -> Vec<u8> {
        format!("lachan audit head\n{first}\n{last}\n{hash}\n").into_bytes()
    }
}

fn line_message(hash: &str) -> Vec<u8> {
    format!("lachan audit line\n{hash}\n").into_bytes()
}

fn hash_of(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Writes the log; one for the process.
#[derive(Default)]
pub struct Audit {
    /// `None`: nothing is kept, because there is no state directory.
    log: Mutex<Option<Log>>,
    /// Of a log that another process writes.
    elsewhere: Option<String>,
    /// Why the log is not whole, or is not kept at all. What is broken stays so until the process ends.
    broken: Mutex<Option<String>>,
    /// Why the last change could not be written.
    unwritten: Mutex<Option<String>>,
    /// When the whole log was read last.
    verified_at: Mutex<Option<Instant>>,
}

struct Log {
    directory: PathBuf,
    key: Ed25519KeyPair,
    file: File,
    octets: u64,
    first: u64,
    last: u64,
    hash: String,
}

impl Audit {
    /// Writes into a state directory from now on.
    ///
    /// # Errors
    /// Why it cannot be written there.
    pub fn keep_in(&self, state_directory: &Path) -> Result<(), String> {
        let directory = state_directory.join(DIRECTORY);
        let opened = Log::open(&directory).map_err(|why| format!("{}: {why}", directory.display()));
        let (log, broken) = opened.inspect_err(|why| {
            *locked(&self.broken) = Some(format!("the audit log cannot be kept, and nothing is written down: {why}"));
        })?;
        *locked(&self.broken) = broken;
        *locked(&self.log) = Some(log);
        Ok(())
    }

    /// What somebody should look into; filtering goes on all the same.
    pub fn trouble(&self) -> Option<String> {
        locked(&self.broken).clone().or_else(|| locked(&self.unwritten).clone())
    }

    /// Reads the whole log now and then: the start goes by the last file, and somebody may change what is written. Blocks, for long
    /// when the log is.
    pub fn verify_now_and_then(&self, now: Instant) {
        let is_due = |at: Instant| now.saturating_duration_since(at) >= VERIFY_EVERY;
        match &mut *locked(&self.verified_at) {
            Some(at) if !is_due(*at) => return,
            at => *at = Some(now),
        }
        let Some(directory) = locked(&self.log).as_ref().map(|log| log.directory.clone()) else { return };
        if verify(&directory, None).is_ok() {
            return;
        }
        // A line may have been written meanwhile. What is broken while nobody writes is.
        let writing = locked(&self.log);
        if let Err(why) = verify(&directory, None) {
            let why = broken_text(&directory, &why);
            tracing::error!("{why}");
            locked(&self.broken).get_or_insert(why);
        }
        drop(writing);
    }

    /// Knows the public key of the log in a state directory, which another process writes.
    pub fn looking_into(state_directory: &Path) -> Audit {
        Audit { elsewhere: public_key_in(state_directory).ok(), ..Audit::default() }
    }

    /// Writes a change down; it is on the disk when this returns. Without a state directory nothing is written.
    ///
    /// # Errors
    /// It could not be written. Then the change must not happen.
    pub fn record(&self, change: &Change<'_>) -> Result<(), String> {
        let Some(log) = &mut *locked(&self.log) else { return Ok(()) };
        let written = log.record(change).map_err(|why| {
            format!("the audit log cannot be written, so nothing was changed: {}: {why}", log.directory.display())
        });
        *locked(&self.unwritten) = written.clone().err();
        written
    }

    /// Signs octets with the log's key; `None` when nothing is kept.
    pub fn sign(&self, octets: &[u8]) -> Option<String> {
        let log = locked(&self.log);
        log.as_ref().map(|log| BASE64.encode(log.key.sign(octets)))
    }

    /// The key that signatures are checked with.
    pub fn public_key(&self) -> Option<String> {
        let log = locked(&self.log);
        log.as_ref().map(|log| BASE64.encode(log.key.public_key())).or_else(|| self.elsewhere.clone())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken_text(directory: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: the audit log is broken: {why}; `lachan audit verify` tells", directory.display())
}

/// Whether a signature by this public key is good.
pub fn is_signed(public_key: &str, octets: &[u8], signature: &str) -> bool {
    let (Ok(key), Ok(signature)) = (BASE64.decode(public_key.trim()), BASE64.decode(signature)) else { return false };
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key).verify(octets, &signature).is_ok()
}

/// Whether a text is a public key, as `audit key` prints it.
pub fn is_public_key(text: &str) -> bool {
    BASE64.decode(text.trim()).is_ok_and(|key| key.len() == ring::signature::ED25519_PUBLIC_KEY_LEN)
}

/// The public key of the log in a state directory.
pub fn public_key_in(state_directory: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(state_directory.join(DIRECTORY).join(PUBLIC_KEY))?.trim().to_owned())
}

impl Log {
    /// Beside the log why it is broken, if it is.
    fn open(directory: &Path) -> io::Result<(Log, Option<String>)> {
        let key = open_key(directory)?;
        let public = BASE64.encode(key.public_key());
        let head = read_head(&directory.join(HEAD), &public)?;
        let file = verify::files_in(directory)?.pop();
        let end = match (&file, &head) {
            (None, None) => Ok(End { last: 0, hash: NOTHING.to_owned(), path: None }),
            (Some(file), head) => end_of(file, head.as_ref(), &public),
            (None, Some(head)) => Err(format!("its files are gone; the head tells of {} lines", head.last)),
        };
        let (end, broken) = match end {
            Ok(end) => (end, None),
            Err(why) => {
                // What is there stays for whoever looks into it. The next line follows the last that was signed.
                tracing::error!("{}", broken_text(directory, &why));
                let last = head.as_ref().map_or(0, |head| head.last).max(verify::last_first(file.as_deref()));
                let hash = head.as_ref().map_or(NOTHING.to_owned(), |head| head.hash.clone());
                (End { last: last + 1, hash, path: None }, Some(why))
            }
        };
        let path = end.path.unwrap_or_else(|| verify::path_of(directory, end.last + 1));
        let file = open_to_append(&path)?;
        let octets = file.metadata()?.len();
        let first = head.as_ref().map_or(1, |head| head.first);
        let mut log = Log { directory: directory.to_owned(), key, file, octets, first, last: end.last, hash: end.hash };
        match &broken {
            Some(why) => {
                let (before, after) = (Value::Null, Value::String(why.clone()));
                log.record(&Change {
                    who: "lachan",
                    what: "audit.broken",
                    subject: "audit",
                    node: None,
                    before,
                    after,
                })?;
            }
            None if head.is_none_or(|head| head.last != log.last) => log.write_head()?,
            None => {}
        }
        Ok((log, broken.map(|why| broken_text(directory, &why))))
    }

    fn record(&mut self, change: &Change<'_>) -> io::Result<()> {
        let line = Line {
            seq: self.last + 1,
            at: time_text(clock::unix_time()),
            who: change.who.to_owned(),
            what: change.what.to_owned(),
            subject: change.subject.to_owned(),
            node: change.node.map(str::to_owned),
            before: change.before.clone(),
            after: change.after.clone(),
            prev: self.hash.clone(),
        };
        let mut text = serde_json::to_string(&line)?;
        text.pop();
        let hash = hash_of(text.as_bytes());
        let signature = BASE64.encode(self.key.sign(&line_message(&hash)));
        text.push_str(&format!(",\"hash\":\"{hash}\",\"signature\":\"{signature}\"}}\n"));
        if text.len() > AUDIT_LINE_OCTETS_MAX {
            return Err(io::Error::other(format!("a line of {} octets, at most {AUDIT_LINE_OCTETS_MAX}", text.len())));
        }
        if self.octets + text.len() as u64 > AUDIT_FILE_OCTETS_MAX && self.octets > 0 {
            self.turn_over()?;
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a line would break the chain.
            let _ = self.file.set_len(self.octets);
        }
        written?;
        self.octets += text.len() as u64;
        (self.last, self.hash) = (line.seq, hash);
        self.write_head()
    }

    /// Begins the next file; the oldest goes when there are too many.
    fn turn_over(&mut self) -> io::Result<()> {
        self.file = open_to_append(&verify::path_of(&self.directory, self.last + 1))?;
        self.octets = 0;
        let files = verify::files_in(&self.directory)?;
        let surplus = files.len().saturating_sub(AUDIT_FILES_MAX);
        for path in &files[..surplus] {
            tracing::warn!("{}: the oldest part of the audit log goes", path.display());
            fs::remove_file(path)?;
        }
        if surplus > 0 {
            self.first = verify::last_first(files.get(surplus).map(PathBuf::as_path));
        }
        Ok(())
    }

    fn write_head(&self) -> io::Result<()> {
        let (first, last, hash) = (self.first, self.last, self.hash.clone());
        let signature = BASE64.encode(self.key.sign(&Head::message(first, last, &hash)));
        let head = serde_json::to_vec(&Head { first, last, hash, signature })?;
        state::write_whole(&self.directory.join(HEAD), &head)
    }
}

/// Where a log goes on.
struct End {
    last: u64,
    hash: String,
    /// `None`: in a new file.
    path: Option<PathBuf>,
}

/// The end of the last file. A line that a power cut left unfinished, and that nobody was told of, goes.
fn end_of(path: &Path, head: Option<&Head>, public: &str) -> Result<End, String> {
    let octets = fs::read(path).map_err(|why| why.to_string())?;
    let whole = octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    let found = verify::check(path, &octets[..whole], None, public).map_err(|broken| broken.to_string())?;
    let (last, hash) = match (found.last, head) {
        (Some((last, hash)), _) => (last, hash),
        // A file that was begun, and nothing written into it.
        (None, Some(head)) => (head.last, head.hash.clone()),
        (None, None) => (0, NOTHING.to_owned()),
    };
    if let Some(head) = head.filter(|head| head.last > last || (head.last == last && head.hash != hash)) {
        return Err(format!(
            "its end was cut off: the head tells of {} lines, the last one there is {last}",
            head.last
        ));
    }
    if whole < octets.len() {
        tracing::warn!("{}: an unfinished line at its end goes", path.display());
        let file = OpenOptions::new().write(true).open(path).map_err(|why| why.to_string())?;
        file.set_len(whole as u64).map_err(|why| why.to_string())?;
    }
    Ok(End { last, hash, path: Some(path.to_owned()) })
}

fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn open_key(directory: &Path) -> io::Result<Ed25519KeyPair> {
    let path = directory.join(KEY);
    let bad = |why: ring::error::KeyRejected| io::Error::other(format!("{}: no key: {why}", path.display()));
    if !path.exists() {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let made = made.map_err(|_| io::Error::other("no key could be made"))?;
        state::write_whole(&path, made.as_ref())?;
    }
    let mut octets = Vec::new();
    File::open(&path)?.take(4_096).read_to_end(&mut octets)?;
    let key = Ed25519KeyPair::from_pkcs8(&octets).map_err(bad)?;
    let public = format!("{}\n", BASE64.encode(key.public_key()));
    if fs::read_to_string(directory.join(PUBLIC_KEY)).ok().as_deref() != Some(&public) {
        state::write_whole(&directory.join(PUBLIC_KEY), public.as_bytes())?;
    }
    Ok(key)
}

/// `None`: there is none, or it is not signed by this key.
fn read_head(path: &Path, public: &str) -> io::Result<Option<Head>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let head: Option<Head> = serde_json::from_slice(&text).ok();
    Ok(head.filter(|head| is_signed(public, &Head::message(head.first, head.last, &head.hash), &head.signature)))
}

#[cfg(test)]
mod tests;
