//! What people said for a while — allows, denies, pauses — kept over a restart, and put into every generation.
//!
//! A change is written to the audit log, then to the state directory, and then a generation goes into force that shares
//! everything else with the one before. What it does is the engine's ([`overlay`]). With a fleet, other nodes are told
//! ([`fleet`](crate::daemon::fleet)), and what they say is kept here too: a word that was ended is remembered until it would
//! have ended by itself, so that nobody who missed that brings it back.

mod asked;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config;
use crate::daemon::audit::Change;
use crate::daemon::explain::{Asker, Who};
use crate::daemon::fleet::command::{self, Command, Deed};
use crate::daemon::reload::Reloader;
use crate::daemon::{clock, state};
use crate::engine::client::{Realm, UnixTime};
use crate::engine::explain::{rfc3339, time_text};
use crate::engine::limits::{OVERLAY_ENTRIES_MAX, OVERLAY_TIME_MAX, PERSON_TEXT_OCTETS_MAX};
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

/// When something ends that somebody said at `now`.
fn end_of(asking: &Asking, now: i64, zone: &TimeZone) -> Result<i64, String> {
    let until = match (&asking.lasts, &asking.until) {
        (Some(lasts), None) => now.saturating_add(config::duration(lasts)?.as_secs() as i64),
        (None, Some(until)) => moment(until, now, zone)?,
        (None, None) => return Err("say when it ends: `--for 45m`, `--until 17:30` or `--until-window`".into()),
        (Some(_), Some(_)) => return Err("say either `--for` or `--until`, not both".into()),
    };
    let most = OVERLAY_TIME_MAX.as_secs() as i64;
    match until - now {
        ..=0 => Err(format!("it would end at {}, which is past", rfc3339(UnixTime(until), zone))),
        secs if secs > most => Err(format!(
            "it would end at {}, at most {} days from now; what is to last longer belongs into the configuration",
            rfc3339(UnixTime(until), zone),
            Duration::from_secs(most as u64).as_secs() / 86_400
        )),
        _ => Ok(until),
    }
}

/// RFC 3339, or the next time that the clocks of `zone` show `17:30`.
fn moment(text: &str, now: i64, zone: &TimeZone) -> Result<i64, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_second());
    }
    let bad = || format!("{text:?} is no time; write 17:30, or 2027-01-31T17:30:00+07:00");
    let time: jiff::civil::Time = text.parse().map_err(|_| bad())?;
    let here = jiff::Timestamp::from_second(now).map_err(|_| bad())?.to_zoned(zone.clone());
    let on = |date: jiff::civil::Date| zone.to_zoned(date.to_datetime(time)).map_err(|_| bad());
    let today = on(here.date())?;
    let next = if today > here { today } else { on(here.date().tomorrow().map_err(|_| bad())?)? };
    Ok(next.timestamp().as_second())
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
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("{what} holds the control character {c:?}")),
        None => Ok(text.to_owned()),
    }
}

impl Reloader {
    /// Says something for a while. It acts when this returns. Blocks.
    ///
    /// # Errors
    /// Why nothing was said.
    pub fn say(&self, kind: Kind, asking: &Asking) -> Result<Entry, String> {
        let now = clock::unix_time().0;
        let mut entry = self.entry(kind, asking, now)?;
        let words = self.words();
        {
            let mut kept = words.kept();
            kept.check_room(kind, now)?;
            entry.node = self.fleet().map(|log| log.name().to_owned());
            entry.id = kept.next_id(entry.node.is_some());
            let (what, subject) = (format!("{}.add", kind.as_str()), entry.id.to_string());
            let after = serde_json::to_value(&entry).map_err(|why| why.to_string())?;
            self.audit().record(&Change {
                who: &entry.author,
                what: &what,
                subject: &subject,
                node: None,
                before: Value::Null,
                after,
            })?;
            let before = kept.clone();
            if entry.node.is_none() {
                kept.last_id = entry.id;
            }
            kept.prune(now);
            kept.entries.push(entry.clone());
            kept.replace(before)?;
            self.share(&entry.author, &what, Deed::Say(entry.clone()));
        }
        self.take_up()?;
        tracing::info!(id = entry.id, until = entry.until_text(), "a temporary {} is in force", kind.as_str());
        Ok(entry)
    }

    /// Ends something before its end. Blocks.
    ///
    /// # Errors
    /// There is nothing of this kind with this id, or it stays.
    pub fn unsay(&self, kind: Kind, id: u64, by: &str) -> Result<Entry, String> {
        let by = person_text("`--by`", by)?;
        let words = self.words();
        let entry = {
            let mut kept = words.kept();
            let now = clock::unix_time().0;
            let found = kept.entries.iter().find(|old| old.id == id && old.kind == kind && old.until > now).cloned();
            let entry = found.ok_or_else(|| format!("no {} {id} is in force", kind.as_str()))?;
            let (what, subject) = (format!("{}.remove", kind.as_str()), id.to_string());
            let told = serde_json::to_value(&entry).map_err(|why| why.to_string())?;
            self.audit().record(&Change {
                who: &by,
                what: &what,
                subject: &subject,
                node: None,
                before: told,
                after: Value::Null,
            })?;
            let before = kept.clone();
            kept.prune(now);
            kept.entries.retain(|old| old.id != id);
            if let Some(log) = self.fleet() {
                let (by, node) = (by.clone(), log.name().to_owned());
                kept.ended.push(Ended { id, kind, until: entry.until, at: now, by, node });
            }
            kept.replace(before)?;
            self.share(&by, &what, Deed::Unsay { kind, id, until: entry.until });
            entry
        };
        self.take_up()?;
        tracing::info!(id, "a temporary {} was ended by hand", kind.as_str());
        Ok(entry)
    }

    fn entry(&self, kind: Kind, asking: &Asking, now: i64) -> Result<Entry, String> {
        let generation = self.in_force();
        let snapshot = &generation.snapshot;
        let name = match (kind, &asking.name) {
            (Kind::Pause, None) => None,
            (Kind::Pause, Some(_)) => return Err("a pause is for people, not for a name".into()),
            (Kind::Allow | Kind::Deny, Some(name)) => {
                asked::check_breadth(kind, asking, Some(&own_entry(name)?))?;
                Some(name.trim().to_owned())
            }
            (Kind::Allow | Kind::Deny, None) => return Err("say which name".into()),
        };
        if let Some(profile) = asking.profile.as_ref().filter(|name| snapshot.profile_named(name).is_none()) {
            let known: Vec<&str> = snapshot.profiles.iter().map(|p| p.name.as_str()).collect();
            return Err(format!("there is no profile `{profile}`; there are {}", known.join(", ")));
        }
        let (mut client, mut network) = (None, None);
        if let Some(given) = &asking.client {
            if asking.profile.is_some() {
                return Err("say either a profile or a client, not both".into());
            }
            let address = given.parse::<std::net::IpAddr>().map(IpNet::from);
            match given.parse::<IpNet>().map_err(drop).map(|net| net.trunc()).or(address.map_err(drop)) {
                Ok(net) => network = Some(net),
                Err(_) if snapshot.clients_known.iter().any(|known| known.name == *given) => {
                    client = Some(given.clone());
                }
                Err(_) => {
                    return Err(format!("`{given}` is no address, no network, and there is no [client.{given}]"));
                }
            }
        }
        if asking.realm.is_some() && network.is_none() {
            return Err("`--realm` goes with `--client` and an address or a network".into());
        }
        let realm = asking.realm.filter(|realm| *realm != 0);
        asked::check_breadth(kind, asking, None)?;
        let until = match &asking.until_window {
            None => end_of(asking, now, &self.time_zone())?,
            Some(_) if asking.lasts.is_some() || asking.until.is_some() => {
                return Err("say one of `--for`, `--until` and `--until-window`".into());
            }
            Some(window) => {
                let who = Who {
                    client: network.map(|network| Asker::Address(SocketAddr::new(network.addr(), 0))),
                    known: client.clone(),
                    realm: Realm(realm.unwrap_or(0)),
                    profile: asking.profile.clone(),
                    at: None,
                };
                if who.client.is_none() && who.known.is_none() && who.profile.is_none() {
                    return Err(
                        "`--until-window` goes by the windows of a profile: say `--profile` or `--client`".into()
                    );
                }
                asked::window_end(snapshot, who.resolve(snapshot)?.profile, window, UnixTime(now))?.0
            }
        };
        let author = person_text("`--by`", &asking.by)?;
        let reason = person_text("`--reason`", &asking.reason)?;
        let profile = asking.profile.clone();
        Ok(Entry { id: 0, kind, name, profile, client, network, realm, made: now, until, author, reason, node: None })
    }

    /// Takes up a word of another node. Whether it is new, and why it is not in force as it is there.
    ///
    /// # Errors
    /// It cannot be logged now.
    pub fn hear_word(&self, command: &Command, entry: &Entry) -> Result<(bool, Option<String>), String> {
        let now = clock::unix_time().0;
        let snapshot = &self.in_force().snapshot;
        let complaint = match (&entry.profile, &entry.client) {
            (Some(profile), _) if snapshot.profile_named(profile).is_none() => {
                Some(format!("there is no profile `{profile}` here"))
            }
            (_, Some(client)) if !snapshot.clients_known.iter().any(|known| known.name == *client) => {
                Some(format!("there is no [client.{client}] here"))
            }
            _ => None,
        };
        let mut kept = self.words().kept();
        let was_ended = kept.ended.iter().any(|ended| ended.id == entry.id);
        if was_ended || entry.until <= now {
            return Ok((false, None));
        }
        match kept.entries.iter().find(|old| old.id == entry.id) {
            Some(old) if old == entry => return Ok((false, complaint)),
            Some(_) => return Ok((false, Some(format!("another word has the id {} here", entry.id)))),
            None => {}
        }
        if entry.kind != Kind::Pause && entry.word().is_none() {
            return Ok((false, Some("its name cannot be read here".into())));
        }
        if let Err(why) = kept.check_room(entry.kind, now) {
            return Ok((false, Some(why)));
        }
        let after = serde_json::to_value(entry).map_err(|why| why.to_string())?;
        self.audit().record(&command.change(&entry.id.to_string(), Value::Null, after))?;
        kept.entries.push(entry.clone());
        Ok((true, complaint))
    }

    /// Ends a word because another node was told to, or remembers that it has ended. Whether that is new.
    ///
    /// # Errors
    /// It cannot be logged now.
    pub fn hear_end(&self, command: &Command, (kind, id, until): (Kind, u64, i64)) -> Result<bool, String> {
        let mut kept = self.words().kept();
        if kept.ended.iter().any(|ended| ended.id == id) || until <= clock::unix_time().0 {
            return Ok(false);
        }
        if let Some(entry) = kept.entries.iter().find(|old| old.id == id) {
            let before = serde_json::to_value(entry).map_err(|why| why.to_string())?;
            self.audit().record(&command.change(&id.to_string(), before, Value::Null))?;
        }
        kept.entries.retain(|old| old.id != id);
        let (by, node) = (command.by.clone(), command.node.clone());
        kept.ended.push(Ended { id, kind, until, at: command.at, by, node });
        Ok(true)
    }

    /// Everything that was said and ended, as it is told to other nodes.
    pub fn words_in_force(&self, node: &str) -> Vec<Command> {
        let now = clock::unix_time().0;
        let kept = self.words().kept();
        let words = kept.entries.iter().filter(|entry| entry.until > now).map(|entry| {
            let node = entry.node.as_deref().unwrap_or(node);
            let what = format!("{}.add", entry.kind.as_str());
            Command::new(node, &entry.author, &what, entry.made, Deed::Say(entry.clone()))
        });
        let ended = kept.ended.iter().filter(|ended| ended.until > now).map(|ended| {
            let Ended { id, kind, until, at, by, node } = ended;
            let deed = Deed::Unsay { kind: *kind, id: *id, until: *until };
            Command::new(node, by, &format!("{}.remove", kind.as_str()), *at, deed)
        });
        words.chain(ended).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::get("Asia/Ho_Chi_Minh").unwrap()
    }

    #[test]
    fn an_end_is_said_in_several_ways_and_bounded() {
        // 2027-01-31 16:00 in Vietnam.
        let now = "2027-01-31T09:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
        for (lasts, until, expected) in [
            (Some("45m"), None, Ok(now + 45 * 60)),
            (Some("1 day"), None, Ok(now + 86_400)),
            (None, Some("17:30"), Ok(now + 90 * 60)),
            // Tomorrow.
            (None, Some("15:00"), Ok(now + 23 * 3_600)),
            (None, Some("2027-01-31T17:00:00+07:00"), Ok(now + 3_600)),
            (None, Some("2027-01-31T15:00:00+07:00"), Err("which is past")),
            (None, Some("2029-01-31T15:00:00Z"), Err("at most 366 days")),
            (Some("0 s"), None, Err("which is past")),
            (Some("soon"), None, Err("no duration")),
            (None, Some("soon"), Err("no time")),
            (None, None, Err("say when it ends")),
            (Some("1 h"), Some("17:30"), Err("not both")),
        ] {
            let asking = Asking { lasts: lasts.map(Into::into), until: until.map(Into::into), ..Asking::default() };
            match (end_of(&asking, now, &zone()), expected) {
                (Ok(end), Ok(expected)) => assert_eq!(end, expected, "{lasts:?} {until:?}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (end, expected) => panic!("{lasts:?} {until:?}: {end:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn what_a_person_writes_fits_a_line() {
        for (text, good) in [("Cô Lan", true), ("  ", false), ("a\nb", false), (&*"x".repeat(501), false)] {
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
