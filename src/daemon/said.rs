//! What people said for a while — allows, denies, pauses — kept over a restart, and put into every generation.
//!
//! A change is written to the audit log, then to the state directory, and then a generation goes into force that shares
//! everything else with the one before. What it does is the engine's ([`overlay`]). With a fleet, other nodes are told
//! ([`fleet`](crate::daemon::fleet)), and what they say is kept here too: a word that was ended is remembered until it would
//! have ended by itself, so that nobody who missed that brings it back.

mod asked;
mod commands;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::daemon::fleet::command;
use crate::daemon::{clock, state};
use crate::engine::client::{Realm, UnixTime};
use crate::engine::explain::time_text;
use crate::engine::limits::{OVERLAY_ENTRIES_MAX, PERSON_TEXT_OCTETS_MAX};
use crate::engine::list::own_entry;
use crate::engine::overlay::{self, Scope, Word};
use crate::engine::snapshot::Snapshot;

/// Name of the file in the state directory.
const FILE: &str = "said.json";
/// Its size, in octets: every word at its longest.
const FILE_OCTETS_MAX: u64 = (2 * (OVERLAY_ENTRIES_MAX + ENDED_MAX) * (2 * PERSON_TEXT_OCTETS_MAX + 1_024)) as u64;
/// Ended words that a fleet remembers. Chosen: as many as can be in force.
const ENDED_MAX: usize = 2 * OVERLAY_ENTRIES_MAX;
/// Ids of a fleet's words: nine digits that a person can type.
const FLEET_IDS: u64 = 999_999_999;

/// What was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Allow,
    Deny,
    Pause,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Allow => "allow",
            Kind::Deny => "deny",
            Kind::Pause => "pause",
        }
    }
}

/// One of them, as it is kept and told. At most one of profile, client and network is there; none: everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub id: u64,
    pub kind: Kind,
    /// As own lists have it: `a.example`, `=a.example`, `*.a.example`. A pause has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<IpNet>,
    /// The realm of the network; 0 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<u16>,
    /// Seconds since 1970.
    pub made: i64,
    pub until: i64,
    pub author: String,
    pub reason: String,
    /// The node of a fleet that it was said at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// One that was ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    id: u64,
    kind: Kind,
    /// When it would have ended.
    until: i64,
    at: i64,
    by: String,
    node: String,
}

/// What somebody asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asking {
    pub name: Option<String>,
    pub profile: Option<String>,
    /// A `[client.*]`, an address or a network.
    pub client: Option<String>,
    /// Of the network, where several use the same addresses.
    pub realm: Option<u16>,
    /// `45 m`.
    #[serde(rename = "for")]
    pub lasts: Option<String>,
    /// RFC 3339, or `17:30` of the configured time zone.
    pub until: Option<String>,
    /// The window by this name, or any of them when it is empty: until the one that is open now ends.
    pub until_window: Option<String>,
    /// It is meant for everybody. A pause needs that to be said.
    #[serde(default)]
    pub everyone: bool,
    /// The name is a public suffix, and everything below it is meant.
    #[serde(default)]
    pub public_suffix: bool,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub by: String,
}

/// Everything that was said, by whomever.
#[derive(Default)]
pub struct Words {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Kept {
    /// The last id that was given.
    #[serde(default)]
    last_id: u64,
    #[serde(default)]
    entries: Vec<Entry>,
    /// Of a fleet's words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<Ended>,
    /// `None`: nothing is kept over a restart.
    #[serde(skip)]
    file: Option<PathBuf>,
}

impl Words {
    /// Keeps words in a state directory from now on, and takes up those that are there and have not ended.
    ///
    /// # Errors
    /// What is there cannot be read; it is put aside and what was said is forgotten.
    pub fn keep_in(&self, state_directory: &Path) -> Result<(), String> {
        let file = state_directory.join(FILE);
        let read = read(&file);
        let mut kept = self.kept();
        kept.file = Some(file.clone());
        match read {
            Ok(None) => Ok(()),
            Ok(Some(before)) => {
                *kept = Kept { file: kept.file.take(), ..before };
                kept.prune(clock::unix_time().0);
                Ok(())
            }
            Err(why) => {
                let aside = file.with_extension("bad");
                let _ = std::fs::rename(&file, &aside);
                Err(format!(
                    "{}: {why}; temporary allows, denies and pauses are forgotten, and the file is {} now",
                    file.display(),
                    aside.display()
                ))
            }
        }
    }

    /// Takes up those of a state directory that is another process's: nothing there is changed.
    ///
    /// # Errors
    /// What is there cannot be read; then nothing is known of it.
    pub fn look_into(&self, state_directory: &Path) -> Result<(), String> {
        let file = state_directory.join(FILE);
        let read =
            read(&file).map_err(|why| format!("{}: {why}; what was said for a while is not told", file.display()))?;
        self.kept().entries = read.map(|kept| kept.entries).unwrap_or_default();
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of a kind that have not ended, the first to end first.
    pub fn of(&self, kind: Kind) -> Vec<Entry> {
        let now = clock::unix_time().0;
        let kept = self.kept();
        let entries = kept.entries.iter().filter(|entry| entry.kind == kind && entry.until > now);
        let mut entries: Vec<Entry> = entries.cloned().collect();
        entries.sort_by_key(|entry| (entry.until, entry.id));
        entries
    }

    pub fn is_empty(&self) -> bool {
        self.kept().entries.is_empty()
    }

    pub fn put_into(&self, snapshot: &mut Snapshot) {
        let kept = self.kept();
        let words: Vec<Word> = kept.entries.iter().filter_map(Entry::word).collect();
        let pauses: Vec<overlay::Said> =
            kept.entries.iter().filter(|entry| entry.kind == Kind::Pause).map(Entry::said).collect();
        snapshot.set_overlay(&words, &pauses);
    }

    /// Writes down what was heard of other nodes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_heard(&self) -> Result<(), String> {
        self.kept().write()
    }

    /// Gives words of before there was a fleet ids that are no other node's.
    pub fn join(&self, node: &str) {
        let mut kept = self.kept();
        let mut renamed = false;
        for at in 0..kept.entries.len() {
            if kept.entries[at].node.is_none() {
                let id = kept.next_id(true);
                tracing::info!(before = kept.entries[at].id, id, "a temporary word has another id now, for the fleet");
                (kept.entries[at].id, kept.entries[at].node) = (id, Some(node.to_owned()));
                renamed = true;
            }
        }
        if renamed && let Err(why) = kept.write() {
            tracing::error!("{why}");
        }
    }

    /// Takes out what has ended. Whether anything had.
    pub fn prune(&self) -> bool {
        let now = clock::unix_time().0;
        let mut kept = self.kept();
        let before = kept.entries.len();
        kept.prune(now);
        kept.entries.len() < before && kept.write().inspect_err(|why| tracing::error!("{why}")).is_ok()
    }
}

impl Kept {
    fn prune(&mut self, now: i64) {
        self.entries.retain(|entry| entry.until > now);
        self.ended.retain(|ended| ended.until > now);
        // More than ever were said: those that would end first go.
        if self.ended.len() > ENDED_MAX {
            self.ended.sort_by_key(|ended| ended.until);
            self.ended.drain(..self.ended.len() - ENDED_MAX);
        }
    }

    /// An id for a new word. Of a fleet's node: one that no other node gives at the same time.
    fn next_id(&self, is_of_fleet: bool) -> u64 {
        if !is_of_fleet {
            return self.last_id + 1;
        }
        let is_free = |id: &u64| {
            !self.entries.iter().any(|entry| entry.id == *id) && !self.ended.iter().any(|ended| ended.id == *id)
        };
        let ids = std::iter::repeat_with(|| 1 + (command::random() % u128::from(FLEET_IDS)) as u64);
        ids.into_iter().find(is_free).unwrap_or(self.last_id + 1)
    }

    /// Whether one more of this kind can be in force.
    fn check_room(&self, kind: Kind, now: i64) -> Result<(), String> {
        let same = self.entries.iter().filter(|old| (old.kind == Kind::Pause) == (kind == Kind::Pause));
        match same.filter(|old| old.until > now).count() >= OVERLAY_ENTRIES_MAX {
            true => Err(format!("{OVERLAY_ENTRIES_MAX} are in force, and no more can be")),
            false => Ok(()),
        }
    }

    fn write(&self) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let octets = serde_json::to_vec(self).map_err(|why| why.to_string())?;
        state::write_whole(file, &octets).map_err(|why| format!("{}: {why}", file.display()))
    }

    /// Writes this in place of `before`, which stays when it cannot be.
    fn replace(&mut self, before: Kept) -> Result<(), String> {
        self.write().inspect_err(|_| *self = before)
    }
}

fn read(file: &Path) -> Result<Option<Kept>, String> {
    match config::read_steady(file, FILE_OCTETS_MAX) {
        Ok(octets) => {
            let kept: Kept = serde_json::from_slice(&octets).map_err(|why| why.to_string())?;
            match kept.entries.iter().find(|entry| entry.kind != Kind::Pause && entry.word().is_none()) {
                Some(entry) => Err(format!("entry {} has no name that can be read", entry.id)),
                None => Ok(Some(kept)),
            }
        }
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why.to_string()),
    }
}

impl Entry {
    fn scope(&self) -> Scope {
        match (&self.profile, &self.client, self.network) {
            (Some(profile), ..) => Scope::Profile(profile.clone()),
            (None, Some(client), _) => Scope::Client(client.clone()),
            (None, None, Some(network)) => Scope::Network(Realm(self.realm.unwrap_or(0)), network),
            (None, None, None) => Scope::Everyone,
        }
    }

    fn said(&self) -> overlay::Said {
        overlay::Said {
            id: self.id,
            scope: self.scope(),
            until: UnixTime(self.until),
            author: self.author.clone(),
            reason: self.reason.clone(),
        }
    }

    fn word(&self) -> Option<Word> {
        let effect = match self.kind {
            Kind::Allow => overlay::Effect::Allow,
            Kind::Deny => overlay::Effect::Deny,
            Kind::Pause => return None,
        };
        let (name, reach) = own_entry(self.name.as_deref()?).ok()?;
        Some(Word { said: self.said(), effect, name, reach })
    }

    /// Whom it is for, in a word or two of English, and of Vietnamese.
    pub fn scope_texts(&self) -> (String, String) {
        (self.scope().to_string(), self.scope().in_vietnamese())
    }

    /// RFC 3339, UTC.
    pub fn until_text(&self) -> String {
        time_text(UnixTime(self.until))
    }
}

/// What a person wrote, without what no line may hold.
pub(super) fn person_text(what: &str, text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if text.len() > PERSON_TEXT_OCTETS_MAX {
        return Err(format!("{what} is {} octets, at most {PERSON_TEXT_OCTETS_MAX}", text.len()));
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(format!("{what} holds the control character {c:?}"));
    }
    match text.chars().find(|c| is_unseen(*c)) {
        Some(c) => Err(format!("{what} holds {c:?}, which nobody sees")),
        None => Ok(text.to_owned()),
    }
}

/// Characters that take no room and say nothing in a name: soft hyphen, marks of direction, joiners and the like.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_writes_fits_a_line() {
        for (text, good) in [
            ("Cô Lan", true),
            ("A\u{200b}n", false),
            ("An\u{202e}", false),
            ("  ", false),
            ("a\nb", false),
            (&*"x".repeat(501), false),
        ] {
            assert_eq!(person_text("it", text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_put_aside_and_told() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["{", r#"{"entries":[{"id":1}]}"#, r#"{"last_id":-1}"#] {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            let words = Words::default();
            assert!(words.keep_in(folder.path()).unwrap_err().contains("are forgotten"), "{text}");
            assert_eq!(std::fs::read_to_string(folder.path().join("said.bad")).unwrap(), text);
            assert!(words.of(Kind::Allow).is_empty());
        }
    }
}
