//! Reading: what other nodes were told is done here, and what the server lacks is put back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use sha2::{Digest, Sha256};

use super::{AGAIN, IN_STREAM, Log, is_long_ago};
use crate::daemon::clock;
use crate::daemon::fleet::command::{Command, Deed, random};
use crate::daemon::fleet::connection::Trouble;
use crate::daemon::fleet::stream::{self, NONE};
use crate::daemon::reload::Reloader;
use crate::engine::name::Name;

/// Commands read at once: one may be an order with all its names.
const BATCH: usize = 16;
/// Entries of the hash asked for at once.
const SCAN: usize = 100;

impl Log {
    /// Finds out what the server's data is.
    pub(super) async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let name = stream::name_of_data(&self.key("name"), random(), connection).await?;
        let mut state = self.state();
        if state.kept.data == name {
            return Ok(());
        }
        if !state.kept.data.is_empty() {
            tracing::warn!("the store of the fleet is empty or another one: this node puts back what it has in force");
        }
        (state.kept.data, state.kept.last) = (name, NONE.to_owned());
        (state.written, state.written_at) = (0, None);
        Ok(())
    }

    /// Does what was said meanwhile, and says what the server does not have.
    pub(super) async fn catch_up(
        &self,
        reloader: &Arc<Reloader>,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        // What is refused still is heard of again.
        self.state().refused.clear();
        let goes_on = self.remembers(connection).await?;
        if goes_on {
            while self.read(reloader, None, connection).await? > 0 {}
        } else {
            // Names that somebody wanted out of every cache may have been among what is missed.
            reloader.resolver().flush(&Name::ROOT);
        }
        let end = stream::last(&self.key("log"), connection).await?;
        let theirs = self.read_hash(reloader, goes_on, connection).await?;
        if !goes_on {
            self.state().kept.last = end;
            self.keep();
        }
        for command in reloader.all_in_force() {
            let Some(slot) = command.deed.slot() else { continue };
            let waits =
                || self.state().outbox.iter().any(|waiting| waiting.command.deed.slot().as_ref() == Some(&slot));
            if theirs.get(&slot) != Some(&sum(&command.deed)) && !waits() {
                self.put(command, false);
            }
        }
        let mut state = self.state();
        (state.behind_since, state.contact, state.is_following) = (None, Some(clock::now()), true);
        state.following_since = clock::unix_secs() as i64;
        drop(state);
        self.something.notify_one();
        Ok(())
    }

    /// Whether the stream goes on without a gap from what was done last.
    async fn remembers(&self, connection: &mut MultiplexedConnection) -> Result<bool, Trouble> {
        let last = self.state().kept.last.clone();
        if last == NONE {
            return Ok(false);
        }
        stream::holds(&self.key("log"), &last, connection).await
    }

    /// Does all that the hash holds: the sum of each deed by its slot. What has ended is taken out.
    async fn read_hash(
        &self,
        reloader: &Arc<Reloader>,
        goes_on: bool,
        connection: &mut MultiplexedConnection,
    ) -> Result<HashMap<String, [u8; 32]>, Trouble> {
        let (mut cursor, mut sums) = (0_u64, HashMap::new());
        loop {
            let (next, fields) = stream::scan(&self.key("live"), cursor, SCAN, connection).await?;
            let mut commands = Vec::new();
            for (field, sealed) in fields {
                let Some(command) = self.opened(&field, &sealed) else { continue };
                let slot = command.deed.slot().filter(|slot| self.seal.field(slot) == field);
                let Some(slot) = slot else { continue };
                if command.deed.ends().is_some_and(|end| end <= clock::unix_time().0) {
                    let _: i64 = redis::cmd("HDEL").arg(self.key("live")).arg(&field).query_async(connection).await?;
                    continue;
                }
                sums.insert(slot, sum(&command.deed));
                commands.push(command);
            }
            self.apply(reloader, commands, goes_on).await;
            if next == 0 {
                return Ok(sums);
            }
            cursor = next;
        }
    }

    fn opened(&self, place: &[u8], sealed: &[u8]) -> Option<Command> {
        let opened = self.seal.open(place, sealed);
        if opened.is_none() && self.counters.ignored.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "the store of the fleet holds a command that no node with this state_key_file wrote: it is ignored, and so are \
                 others (lachan_fleet_commands{{event=\"ignored\"}})"
            );
        }
        let opened = opened?;
        let command = serde_json::from_slice(&opened);
        let told = command.inspect_err(|why| {
            tracing::error!("a command of the fleet is none that this version knows: {why}");
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            let id = serde_json::from_slice::<serde_json::Value>(&opened).ok();
            let id = id.and_then(|command| command.get("id")?.as_str().map(str::to_owned));
            id.into_iter().for_each(|id| self.state().refuse(id, "this version does not know it".to_owned()));
        });
        told.ok()
    }

    /// Does what the stream holds beyond what was done last; how many entries that were.
    pub(super) async fn read(
        &self,
        reloader: &Arc<Reloader>,
        wait: Option<Duration>,
        connection: &mut MultiplexedConnection,
    ) -> Result<usize, Trouble> {
        let (asked, last) = (clock::now(), self.state().kept.last.clone());
        let entries = stream::read(&self.key("log"), &last, BATCH, wait, connection).await?;
        if entries.is_empty() && wait.is_some() {
            // Nothing new is no news of the data's being the same.
            let name: Option<String> = redis::cmd("GET").arg(self.key("name")).query_async(connection).await?;
            let is_same = name.as_deref() == Some(self.state().kept.data.as_str());
            let is_new = self.state().kept.last == NONE;
            if !is_same || !(is_new || self.remembers(connection).await?) {
                return Err(Trouble::new("its data is gone"));
            }
        }
        {
            let mut state = self.state();
            if state.is_following && state.contact.is_some_and(is_long_ago) {
                // This answer may be of before the process was stopped: only the next one tells that nothing is missing.
                (state.behind_since, state.contact) = (Some(clock::now()), Some(clock::now()));
            }
        }
        let count = entries.len();
        if let Some(entry) = entries.last() {
            let last = entry.id.clone();
            let sealed = entries.iter().map(|entry| entry.get::<Vec<u8>>("c").unwrap_or_default());
            let commands: Vec<Command> = sealed.filter_map(|sealed| self.opened(IN_STREAM, &sealed)).collect();
            self.apply(reloader, commands, true).await;
            self.state().kept.last = last;
            self.keep();
            self.something.notify_one();
        }
        let mut state = self.state();
        if state.is_following && count < BATCH && state.behind_since.is_none_or(|since| since <= asked) {
            (state.contact, state.behind_since) = (Some(clock::now()), None);
        }
        Ok(count)
    }

    /// Does what commands say, however long it takes: nothing is left out because a disk is full. `is_known`: what this node has said
    /// of them stands in the stream; in data that began anew it does not.
    async fn apply(&self, reloader: &Arc<Reloader>, commands: Vec<Command>, is_known: bool) {
        if commands.is_empty() {
            return;
        }
        self.state().is_applying = true;
        let commands = Arc::new(commands);
        loop {
            let (to, what) = (Arc::clone(reloader), Arc::clone(&commands));
            let done = tokio::task::spawn_blocking(move || to.apply(&what)).await;
            match done.unwrap_or_else(|why| Err(format!("it broke off: {why}"))) {
                Ok(complaints) => return self.applied(reloader, &commands, complaints, is_known),
                Err(why) => {
                    if self.state().stuck.replace(why.clone()).is_none() {
                        tracing::error!("a command of the fleet cannot be carried out: {why}; it is tried again");
                    }
                    if self.state().give_up() {
                        tracing::warn!("this node serves without it meanwhile");
                    }
                    self.something.notify_one();
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn applied(&self, reloader: &Arc<Reloader>, commands: &[Command], complaints: Vec<Option<String>>, is_known: bool) {
        self.counters.heard.fetch_add(commands.len() as u64, Ordering::Relaxed);
        for (command, complaint) in commands.iter().zip(complaints) {
            // The server's last word about it may be less than what is in force.
            let mine = command.deed.slot().and_then(|slot| reloader.in_force_at(&slot));
            if let Some(mine) = mine.filter(|mine| mine.deed != command.deed) {
                // A node that was away may have put back what it knew before the others came, and reads on from there.
                self.put(mine, is_known);
            }
            let Some(why) = complaint else { continue };
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::error!(node = command.node, "{} of the fleet is not in force here: {why}", command.what);
            self.state().refuse(command.id.clone(), why);
        }
        let mut state = self.state();
        (state.is_applying, state.stuck) = (false, None);
    }
}

fn sum(deed: &Deed) -> [u8; 32] {
    Sha256::digest(serde_json::to_vec(deed).unwrap_or_default()).into()
}
