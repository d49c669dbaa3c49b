//! The log of commands that nodes share: each puts on it what people tell it, and does what it reads there.
//!
//! On the server there is a stream with the commands in their order, a hash with what is in force, a hash with the nodes and
//! how far each has come, one with how each took up its orders, and a name that the data was given when it began. What a
//! node is told acts there at once, with or without the server; it waits to be written, and what is not written when the process ends is found and put back at the
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

mod reading;
mod waiting;
mod writing;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::command::{Command, Seal, random};
use super::connection::{Trouble, WAIT, connect};
use super::reach::{Node, Place, Refused};
use super::stream::NONE;
use crate::config::{StoreSettings, read_steady};
use crate::daemon::orders::TakenUp;
use crate::daemon::reload::Reloader;
use crate::daemon::{clock, state};
use crate::engine::limits::{FLEET_COMMANDS_WAITING_MAX, FLEET_FILE_OCTETS_MAX};

/// In the state directory.
const FILE: &str = "fleet.json";
/// Until the server, or a command that could not be carried out, is tried again.
const AGAIN: Duration = Duration::from_millis(500);
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
    /// How this node took up its orders; `None`: it has not looked yet, and what it said before it was started anew counts.
    taken_up: Option<Arc<[TakenUp]>>,
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

    /// What other nodes are told of how this one took up its orders.
    pub fn tell_taken_up(&self, taken_up: Vec<TakenUp>) {
        let mut state = self.state();
        if state.taken_up.as_deref() != Some(&taken_up) {
            state.taken_up = Some(taken_up.into());
            drop(state);
            self.something.notify_one();
        }
    }

    /// Whether the server answers.
    pub fn is_following(&self) -> bool {
        self.state().is_following
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
}

fn is_long_ago(at: Instant) -> bool {
    clock::now().saturating_duration_since(at) > GAP
}

fn read(file: &Path) -> Result<Kept, String> {
    match read_steady(file, FLEET_FILE_OCTETS_MAX) {
        Ok(octets) => serde_json::from_slice(&octets).map_err(|why| why.to_string()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(why) => Err(why.to_string()),
    }
}
