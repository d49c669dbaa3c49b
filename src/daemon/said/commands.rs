//! What is said and ended, here and at other nodes of a fleet.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Asking, Ended, Entry, Kind, asked, person_text};
use crate::config;
use crate::daemon::audit::Change;
use crate::daemon::clock;
use crate::daemon::explain::{Asker, Who};
use crate::daemon::fleet::command::{Command, Deed};
use crate::daemon::reload::Reloader;
use crate::engine::client::{Realm, UnixTime};
use crate::engine::list::own_entry;

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
                if name.trim().parse::<std::net::IpAddr>().is_ok() {
                    return Err(format!("{name:?} is an address; a word is about a name"));
                }
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
            let is_network = given.parse::<std::net::IpAddr>().is_ok() || given.parse::<IpNet>().is_ok();
            match is_network.then(|| config::network(given)) {
                Some(net) => network = Some(net?),
                None if snapshot.clients_known.iter().any(|known| known.name == *given) => {
                    client = Some(given.clone());
                }
                None => {
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
            None => asked::end_of(asking, now, &self.time_zone())?,
            Some(_) if asking.lasts.is_some() || asking.until.is_some() => {
                return Err("say one of `--for`, `--until` and `--until-window`".into());
            }
            Some(window) => {
                let who = Who {
                    client: network.map(|network| Asker::Address(SocketAddr::new(network.addr(), 0))),
                    known: client.clone(),
                    realm: Realm(realm.unwrap_or(0)),
                    profile: asking.profile.clone(),
                    ..Who::default()
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
