//! The log of commands that nodes share: each puts on it what people tell it, and does what it reads there.
//!
//! On the server there is a stream with the commands in their order, a hash with what is in force, a hash with the nodes and
//! how far each has come, and a name that the data was given when it began. What a node is told acts there at once, with or
//! without the server; it waits to be written, and what is not written when the process ends is found and put back at the
//! next start, because every node compares what it has with the hash whenever it comes to the server anew.
//!
//! ```text
//! away for a while             reads on in the stream from where it was
//! longer than the stream goes  takes up the hash
//! the server was emptied       puts back what it has, as every node does; absence never takes anything out
//! ```
//!
//! The server is not believed: what our key did not seal is counted and left alone, and whatever it repeats, holds back or
//! puts into another order comes to the same in the end (see [`command`](super::command)).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::command::{Command, Deed, Seal, random};
use super::connection::{Trouble, WAIT, connect};
use super::reach::{FORGOTTEN_SECS, Node, Place, Reach, Refused, Why, missing, seen};
use super::stream::{self, Field, NONE};
use crate::config::{StoreSettings, read_steady};
use crate::daemon::reload::Reloader;
use crate::daemon::{clock, state};
use crate::engine::limits::{FLEET_COMMANDS_WAITING_MAX, FLEET_FILE_OCTETS_MAX};
use crate::engine::name::Name;

/// In the state directory.
const FILE: &str = "fleet.json";
/// Commands that the stream remembers; who missed more takes up the hash. Chosen: some weeks.
const STREAM_MAX: usize = 1_000;
/// Commands read at once: one may be an order with all its names.
const BATCH: usize = 16;
/// Entries of the hash asked for at once.
const SCAN: usize = 100;
/// Until the server, or a command that could not be carried out, is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// A node says so often that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often nodes are looked at while somebody waits for them.
const LOOK: Duration = Duration::from_millis(20);
/// Whoever waits looks again so often, also when nothing is heard.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A server that was lost no longer ago may be back before anybody asks. Chosen: some tries.
const GRACE: Duration = Duration::from_secs(2);
/// So long a start waits for a server that does not answer. Chosen: filtering goes before.
const PATIENCE: Duration = Duration::from_secs(10);
/// Without a word from the server for so long, this process was stopped: more than a read and its time-out take.
const GAP: Duration = Duration::from_millis(4_500);
/// Refusals that are told.
const REFUSED_MAX: usize = 32;
/// What a command of the stream is sealed for.
const IN_STREAM: &[u8] = b"stream";

/// One node's share in the log.
pub struct Log {
    settings: StoreSettings,
    seal: Seal,
    /// This node's, for people.
    name: String,
    /// `None`: nothing is kept over a restart.
    file: Option<PathBuf>,
    state: Mutex<State>,
    /// Held by whoever decides about a list, here or from the log: whether lists are used, and their versions.
    pub(in crate::daemon) deciding: [Mutex<()>; 2],
    something: Notify,
    seen: Notify,
    waiters: AtomicUsize,
    pub counters: Counters,
}

/// What became of commands.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    heard: AtomicU64,
    refused: AtomicU64,
    /// Nobody with our key wrote them.
    ignored: AtomicU64,
}

impl Counters {
    pub fn events(&self) -> [(&'static str, u64); 4] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("sent", count(&self.sent)),
            ("heard", count(&self.heard)),
            ("refused", count(&self.refused)),
            ("ignored", count(&self.ignored)),
        ]
    }
}

#[derive(Default)]
struct State {
    kept: Kept,
    /// Commands of this node that the server does not have.
    outbox: VecDeque<Waiting>,
    /// Numbers of the last command that was said, and of the last that was written.
    said: u64,
    written: u64,
    /// Where the last one stands.
    written_at: Option<Place>,
    /// The last commands by their numbers.
    ids: VecDeque<(u64, String)>,
    refused: VecDeque<Refused>,
    stuck: Option<String>,
    /// Their times are by this node's clock: when something new was heard of each.
    nodes: Vec<Node>,
    /// What each node said last of the time, by its own clock.
    clocks: HashMap<String, i64>,
    /// It is not ready since then: what other nodes were told is not read.
    behind_since: Option<Instant>,
    /// When all was read last.
    contact: Option<Instant>,
    is_following: bool,
    /// Since when; seconds since 1970.
    following_since: i64,
    /// Since when it does not.
    away_since: Option<Instant>,
    is_applying: bool,
}

impl State {
    /// Serves without what is missing, when that was waited for long enough.
    fn give_up(&mut self) -> bool {
        let waited = self.behind_since.map(|since| clock::now().saturating_duration_since(since));
        let gives_up = waited.is_some_and(|waited| waited >= PATIENCE);
        if gives_up {
            self.behind_since = None;
        }
        gives_up
    }

    fn refuse(&mut self, id: String, why: String) {
        self.refused.retain(|refused| refused.id != id);
        self.refused.push_back(Refused { id, why });
        if self.refused.len() > REFUSED_MAX {
            self.refused.pop_front();
        }
    }
}

/// A command that waits to be written.
#[derive(Clone)]
struct Waiting {
    number: u64,
    command: Command,
    /// Into the hash alone: nodes have heard it.
    is_quiet: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// This node.
    node: String,
    /// The name of the data that `last` is of.
    data: String,
    /// The last entry of the stream that is done.
    last: String,
    /// The last decision about each list, by slot.
    #[serde(default)]
    lists: BTreeMap<String, Command>,
    /// As they were seen last.
    #[serde(default)]
    nodes: Vec<Node>,
}

impl Log {
    /// What cannot be read of an earlier process is begun anew: the server, and what this node has in force, tell all of it.
    pub fn open(settings: StoreSettings, state_key: &[u8; 32], name: &str, state_directory: Option<&Path>) -> Log {
        let seal = Seal::new(state_key);
        let file = state_directory.map(|directory| directory.join(FILE));
        let mut kept = file.as_deref().map_or_else(Kept::default, |file| {
            read(file).unwrap_or_else(|why| {
                tracing::warn!("{}: {why}; it is begun anew", file.display());
                Kept::default()
            })
        });
        if kept.node.is_empty() {
            let of_name = u128::from_be_bytes(seal.field(&format!("node/{name}")).try_into().unwrap_or_default());
            let node = if file.is_some() { random() } else { of_name };
            kept = Kept { node: format!("{node:032x}"), last: NONE.to_owned(), ..Kept::default() };
        }
        let state = State {
            nodes: kept.nodes.clone(),
            kept,
            behind_since: Some(clock::now()),
            away_since: Some(clock::now()),
            ..State::default()
        };
        let log = Log {
            settings,
            seal,
            name: name.to_owned(),
            file,
            state: Mutex::new(state),
            deciding: Default::default(),
            something: Notify::new(),
            seen: Notify::new(),
            waiters: AtomicUsize::new(0),
            counters: Counters::default(),
        };
        log.keep();
        log
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells the other nodes what was done here.
    pub fn say(&self, command: Command) {
        self.put(command, false);
        self.something.notify_one();
    }

    fn put(&self, command: Command, is_quiet: bool) {
        let mut state = self.state();
        state.said += 1;
        let number = state.said;
        if !is_quiet {
            state.ids.push_back((number, command.id.clone()));
            if state.ids.len() > REFUSED_MAX {
                state.ids.pop_front();
            }
        }
        state.outbox.push_back(Waiting { number, command, is_quiet });
        // What is left out is in force here, so it is put back when the server is there again.
        if state.outbox.len() > FLEET_COMMANDS_WAITING_MAX {
            state.outbox.pop_front();
        }
    }

    /// The number of the last command that this node said.
    pub fn said(&self) -> u64 {
        self.state().ids.back().map_or(0, |(number, _)| *number)
    }

    /// The last decision about a list.
    pub fn decided(&self, slot: &str) -> Option<Command> {
        self.state().kept.lists.get(slot).cloned()
    }

    pub fn decisions(&self) -> Vec<Command> {
        self.state().kept.lists.values().cloned().collect()
    }

    /// Remembers a decision about a list.
    pub fn decide(&self, slot: &str, command: Command) {
        self.state().kept.lists.insert(slot.to_owned(), command);
        self.keep();
    }

    fn keep(&self) {
        let Some(file) = &self.file else { return };
        let kept = self.state().kept.clone();
        let written = serde_json::to_vec(&kept).map_err(std::io::Error::from);
        if let Err(why) = written.and_then(|octets| state::write_whole(file, &octets)) {
            tracing::error!("{}: {why}; after a restart, commands of the fleet are read again", file.display());
        }
    }

    /// Why this node should not be asked yet: other nodes may do something that it does not know of.
    pub fn not_ready(&self) -> Option<&'static str> {
        let state = self.state();
        let was_stopped = state.is_following && !state.is_applying && state.contact.is_some_and(is_long_ago);
        (state.behind_since.is_some() || was_stopped).then_some("what other nodes were told meanwhile is being read")
    }

    /// The nodes, with this one.
    pub fn nodes(&self) -> Vec<Node> {
        let state = self.state();
        let own = self.node_of(&state);
        let others = state.nodes.iter().filter(|node| node.id != own.id).cloned();
        let mut nodes: Vec<Node> = others.chain([own.clone()]).collect();
        nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        nodes
    }

    /// Whether the server answers.
    pub fn is_following(&self) -> bool {
        self.state().is_following
    }

    /// Waits until a command, and all before it, is in force at every node; at most for so long, and not for nodes that
    /// are silent or refuse.
    pub async fn reach(&self, number: u64, began: Instant, timer: Duration) -> Reach {
        let _waiting = self.begin_to_wait();
        self.something.notify_one();
        let deadline = began + timer;
        loop {
            let seen = self.seen.notified();
            tokio::pin!(seen);
            seen.as_mut().enable();
            let (reach, is_told) = self.reach_now(number, began);
            let can_wait = |why: &Why| matches!(why, Why::Late | Why::NotTold);
            let is_settled = is_told && !reach.missing.iter().any(|missing| can_wait(&missing.why));
            let left = deadline.saturating_duration_since(clock::now());
            if is_settled || reach.store_is_away {
                return reach;
            }
            if left.is_zero() {
                return Reach { store_is_away: !is_told, ..reach };
            }
            let _ = tokio::time::timeout(left.min(LOOK_AGAIN), seen).await;
        }
    }

    /// Whoever asked may go away meanwhile.
    fn begin_to_wait(&self) -> impl Drop + '_ {
        struct Waiter<'a>(&'a AtomicUsize);
        impl Drop for Waiter<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiters.fetch_add(1, Ordering::Relaxed);
        Waiter(&self.waiters)
    }

    /// And whether the server has it.
    fn reach_now(&self, number: u64, began: Instant) -> (Reach, bool) {
        let state = self.state();
        let place = state.written_at.filter(|_| state.written >= number);
        let command = state.ids.iter().find(|(of, _)| *of == number).map(|(_, id)| id.as_str());
        let (data, now) = (state.kept.data.as_str(), clock::unix_secs() as i64);
        let missing = missing(&state.nodes, &state.kept.node, (data, place), command, (now, state.following_since));
        let is_back_soon = |since| clock::now().saturating_duration_since(since) < GRACE;
        let is_away = !state.is_following && !state.away_since.is_some_and(is_back_soon);
        let nodes = 1 + state.nodes.iter().filter(|node| node.id != state.kept.node).count();
        let effective = nodes - missing.len();
        let millis = clock::now().saturating_duration_since(began).as_millis() as u64;
        let is_told = place.is_some();
        (Reach { nodes, effective, millis, store_is_away: !is_told && is_away, missing }, is_told)
    }

    fn key(&self, what: &str) -> String {
        format!("{}:commands:{what}", self.settings.prefix)
    }

    /// Follows the server until `stop`.
    pub async fn run(self: Arc<Self>, reloader: Arc<Reloader>, stop: CancellationToken) {
        let mut complained = false;
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow(&reloader, &mut complained) => followed,
            };
            let Err(why) = followed;
            let gave_up = self.lost();
            if !std::mem::replace(&mut complained, true) {
                tracing::warn!(
                    "the store of the fleet is of no use for commands: {why}; what this node is told acts here, and is told to \
                     others later"
                );
            }
            if gave_up {
                tracing::warn!(
                    "the store of the fleet does not answer: this node serves with what it kept; what others were told since \
                     then is missing here until it is back"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// The server is gone. Whether a start that waited for it goes on without.
    fn lost(&self) -> bool {
        let mut state = self.state();
        // It was this process that was gone.
        if state.is_following && !state.is_applying && state.contact.is_some_and(is_long_ago) {
            state.behind_since = Some(clock::now());
        }
        if state.is_following {
            state.away_since = Some(clock::now());
        }
        (state.is_following, state.is_applying) = (false, false);
        let gave_up = state.give_up();
        drop(state);
        self.seen.notify_waiters();
        gave_up
    }

    async fn follow(&self, reloader: &Arc<Reloader>, complained: &mut bool) -> Result<Infallible, Trouble> {
        let (mut reading, mut writing) = (connect(&self.settings.url.0).await?, connect(&self.settings.url.0).await?);
        self.greet(&mut reading).await?;
        let read = async {
            self.catch_up(reloader, &mut reading).await?;
            if std::mem::take(complained) {
                tracing::info!("the store of the fleet is back, and commands are told");
            }
            loop {
                self.read(reloader, Some(WAIT), &mut reading).await?;
            }
        };
        tokio::select! {
            ended = read => ended,
            ended = self.write(&mut writing) => ended,
        }
    }

    /// Finds out what the server's data is.
    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
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
    async fn catch_up(&self, reloader: &Arc<Reloader>, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
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
        let theirs = self.read_hash(reloader, connection).await?;
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
            self.apply(reloader, commands).await;
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
    async fn read(
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
            self.apply(reloader, commands).await;
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

    /// Does what commands say, however long it takes: nothing is left out because a disk is full.
    async fn apply(&self, reloader: &Arc<Reloader>, commands: Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        self.state().is_applying = true;
        let commands = Arc::new(commands);
        loop {
            let (to, what) = (Arc::clone(reloader), Arc::clone(&commands));
            let done = tokio::task::spawn_blocking(move || to.apply(&what)).await;
            match done.unwrap_or_else(|why| Err(format!("it broke off: {why}"))) {
                Ok(complaints) => return self.applied(reloader, &commands, complaints),
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

    fn applied(&self, reloader: &Arc<Reloader>, commands: &[Command], complaints: Vec<Option<String>>) {
        self.counters.heard.fetch_add(commands.len() as u64, Ordering::Relaxed);
        for (command, complaint) in commands.iter().zip(complaints) {
            // The server's last word about it may be less than what is in force.
            let mine = command.deed.slot().and_then(|slot| reloader.in_force_at(&slot));
            if let Some(mine) = mine.filter(|mine| mine.deed != command.deed) {
                self.put(mine, true);
            }
            let Some(why) = complaint else { continue };
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::error!(node = command.node, "{} of the fleet is not in force here: {why}", command.what);
            self.state().refuse(command.id.clone(), why);
        }
        let mut state = self.state();
        (state.is_applying, state.stuck) = (false, None);
    }

    /// Writes what waits, says how far this node has come, and looks how far the others have.
    async fn write(&self, connection: &mut MultiplexedConnection) -> Result<Infallible, Trouble> {
        let mut told: Option<(Node, Instant)> = None;
        loop {
            loop {
                let next = self.state().outbox.front().cloned();
                let Some(waiting) = next else { break };
                self.write_one(&waiting, connection).await?;
            }
            let own = self.node_of(&self.state());
            let is_old = |(before, at): &(Node, Instant)| {
                let is_same = Node { at: own.at, ..before.clone() } == own;
                !is_same || clock::now().saturating_duration_since(*at) >= HEARTBEAT
            };
            if told.as_ref().is_none_or(is_old) {
                let sealed = self.seal.seal(own.id.as_bytes(), &own).map_err(Trouble::new)?;
                redis::cmd("HSET")
                    .arg(self.key("nodes"))
                    .arg(&own.id)
                    .arg(sealed)
                    .query_async::<redis::Value>(connection)
                    .await?;
                told = Some((own, clock::now()));
            }
            self.look(connection).await?;
            let is_waited_for = self.waiters.load(Ordering::Relaxed) > 0;
            let pause = if is_waited_for { LOOK } else { HEARTBEAT };
            let _ = tokio::time::timeout(pause, self.something.notified()).await;
        }
    }

    async fn write_one(&self, waiting: &Waiting, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let Waiting { number, command, is_quiet } = waiting;
        let mut pipe = redis::pipe();
        pipe.atomic();
        if let Some(slot) = command.deed.slot() {
            let field = self.seal.field(&slot);
            let sealed = self.seal.seal(&field, command).map_err(Trouble::new)?;
            pipe.cmd("HSET").arg(self.key("live")).arg(field).arg(sealed).ignore();
        }
        if let Some(slot) = command.deed.clears() {
            pipe.cmd("HDEL").arg(self.key("live")).arg(self.seal.field(&slot)).ignore();
        }
        if !is_quiet {
            let sealed = self.seal.seal(IN_STREAM, command).map_err(Trouble::new)?;
            pipe.cmd("XADD").arg(self.key("log")).arg("MAXLEN").arg("~").arg(STREAM_MAX).arg("*").arg("c").arg(sealed);
        }
        let ids: Vec<String> = pipe.query_async(connection).await?;
        self.counters.sent.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.outbox.retain(|waiting| waiting.number != *number);
        state.written = state.written.max(*number);
        if let Some(place) = ids.first().and_then(|id| Place::read(id)) {
            state.written_at = Some(place);
        }
        Ok(())
    }

    fn node_of(&self, state: &State) -> Node {
        Node {
            id: state.kept.node.clone(),
            name: self.name.clone(),
            at: clock::unix_secs() as i64,
            data: state.kept.data.clone(),
            applied: state.kept.last.clone(),
            refused: state.refused.iter().cloned().collect(),
            stuck: state.stuck.clone(),
        }
    }

    async fn look(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let told: Vec<Field> = redis::cmd("HGETALL").arg(self.key("nodes")).query_async(connection).await?;
        let now = clock::unix_secs() as i64;
        let mut nodes: Vec<Node> = Vec::new();
        for (id, sealed) in told {
            let node = self.seal.open(&id, &sealed).and_then(|opened| serde_json::from_slice::<Node>(&opened).ok());
            match node {
                Some(node) if now - node.at > FORGOTTEN_SECS => {
                    let _: i64 = redis::cmd("HDEL").arg(self.key("nodes")).arg(&id).query_async(connection).await?;
                }
                Some(node) => nodes.push(node),
                None => {}
            }
        }
        let mut state = self.state();
        let clocks = nodes.iter().map(|node| (node.id.clone(), node.at)).collect();
        let before = std::mem::replace(&mut state.clocks, clocks);
        let known = std::mem::take(&mut state.nodes);
        let (own, data) = (state.kept.node.clone(), state.kept.data.clone());
        let nodes = seen(known, &before, nodes, (&own, &data), now);
        let ids = |nodes: &[Node]| nodes.iter().map(|node| node.id.clone()).collect::<std::collections::BTreeSet<_>>();
        let are_others = ids(&nodes) != ids(&state.kept.nodes);
        state.nodes = nodes;
        if are_others {
            state.kept.nodes = state.nodes.clone();
        }
        drop(state);
        if are_others {
            self.keep();
        }
        self.seen.notify_waiters();
        Ok(())
    }

    /// Takes a node that will not come back out of the fleet; one that is there comes back by itself.
    ///
    /// # Errors
    /// There is no such node, or the server does not answer.
    pub async fn forget(&self, name: &str) -> Result<(), String> {
        let nodes = self.nodes();
        let found: Vec<&Node> = nodes.iter().filter(|node| node.name == name || node.id == name).collect();
        let [node] = found[..] else {
            let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            return Err(format!("{} nodes are called `{name}`; there are {}", found.len(), known.join(", ")));
        };
        let forgotten = async {
            let mut connection = connect(&self.settings.url.0).await?;
            let key = self.key("nodes");
            Ok::<i64, Trouble>(redis::cmd("HDEL").arg(key).arg(&node.id).query_async(&mut connection).await?)
        };
        forgotten.await.map_err(|why| format!("the store of the fleet does not answer: {why}"))?;
        self.state().nodes.retain(|known| known.id != node.id);
        Ok(())
    }
}

fn is_long_ago(at: Instant) -> bool {
    clock::now().saturating_duration_since(at) > GAP
}

fn sum(deed: &Deed) -> [u8; 32] {
    Sha256::digest(serde_json::to_vec(deed).unwrap_or_default()).into()
}

fn read(file: &Path) -> Result<Kept, String> {
    match read_steady(file, FLEET_FILE_OCTETS_MAX) {
        Ok(octets) => serde_json::from_slice(&octets).map_err(|why| why.to_string()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(why) => Err(why.to_string()),
    }
}
