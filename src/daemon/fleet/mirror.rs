//! The map of subscribers, shared: each node writes what its own feeds tell, reads what the others' tell, and keeps all of it
//! in its own memory.
//!
//! On the server there is a hash with what is, a stream with what changed, and a name that the data was given when it began.
//! Every change goes into both in one transaction. The order of the stream is everybody's: where two nodes change the same
//! entry, the later one there holds; a node that still waits to read its own change does not let an earlier one of another
//! node over it.
//!
//! ```text
//! another name, or none      the server was emptied: memory stays as it is, and what waits is written. What is said again tells
//!                            until when its node knew of changes: who knew of more holds to what it knows, and says that
//! the same name              what the hash does not hold any more was taken out meanwhile
//! the same, but older        it was restored: memory stays, and what the server lost is written to it again
//! ```
//!
//! What the network says of a token counts only while that has a prefix, so it is written after those, and read after them.
//!
//! What this node has to say waits in its outbox (`outbox.rs`); how it comes to the server is in `catching_up.rs`.
//!
//! With a state key the server sees neither prefixes, tokens nor profiles.

mod catching_up;
mod outbox;
mod seal;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::catching_up::filled_until;
use self::outbox::{Batch, Outbox, Slot, in_memory};
use self::seal::Seal;
use super::connection::{Trouble, WAIT, connect};
use super::stream;
use crate::config::StoreSettings;
use crate::daemon::clock;
use crate::daemon::subscribers::record::{self, Record};
use crate::daemon::subscribers::{Feed, Subscribers};
use crate::engine::subscribers::Change;

/// Names of the hash.
type Held = HashSet<[u8; 16]>;

/// Changes in one transaction.
const BATCH: usize = 500;
/// Transactions that the stream remembers; who missed more reads the hash.
const STREAM_MAX: usize = 10_000;
/// Entries of the hash asked for at once.
const SCAN: usize = 1_000;
/// Until the server is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// One node's share in the map.
pub struct Mirror {
    settings: StoreSettings,
    seal: Seal,
    /// This process, in the stream.
    node: String,
    outbox: Mutex<Outbox>,
    something: Notify,
    /// The server answers, and what it had is read.
    is_current: AtomicBool,
    /// When it last did; seconds since 1970, zero: never.
    current_at: AtomicI64,
    /// Until when memory knew of everybody's changes as the data that is there began, by the server's clock in milliseconds; zero: it
    /// knew of none.
    known_until: AtomicU64,
}

/// Where a node is in the server's data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Position {
    /// The name of the data.
    name: String,
    /// The last entry of the stream that was read.
    last: String,
    /// The hash was read by this process.
    is_read: bool,
}

impl Position {
    /// As it is kept over a restart.
    fn of_text(text: &str) -> Position {
        let (name, last) = text.split_once(' ').unwrap_or((text, ""));
        Position { name: name.to_owned(), last: last.to_owned(), ..Position::default() }
    }

    fn to_text(&self) -> String {
        format!("{} {}", self.name, self.last)
    }
}

/// An entry's place in the stream: milliseconds, and a number among those of the same one.
fn place(id: &str) -> (u64, u64) {
    let (ms, number) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

impl Mirror {
    pub fn new(settings: StoreSettings, state_key: Option<&[u8; 32]>) -> Mirror {
        let mut octets = [0; 8];
        // Without the system's randomness two nodes might share a name.
        getrandom::fill(&mut octets).expect("the system has a source of randomness");
        Mirror {
            settings,
            seal: Seal::new(state_key),
            node: format!("{:016x}", u64::from_be_bytes(octets)),
            outbox: Mutex::default(),
            something: Notify::new(),
            is_current: AtomicBool::new(false),
            current_at: AtomicI64::new(0),
            known_until: AtomicU64::new(0),
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what a feed of this node told.
    pub fn say(&self, changes: &[Change]) {
        let mut outbox = self.outbox();
        changes.iter().for_each(|change| outbox.put(*change));
        drop(outbox);
        self.something.notify_one();
    }

    pub fn say_serial(&self, serial: u64) {
        self.outbox().put_serial(serial);
        self.something.notify_one();
    }

    /// Whether all that the server has is here.
    pub fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Acquire)
    }

    /// Seconds since 1970; `None`: never.
    pub fn current_at(&self) -> Option<i64> {
        Some(self.current_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Changes that wait to be written.
    pub fn waiting(&self) -> usize {
        self.outbox().waiting()
    }

    fn key(&self, what: &str) -> String {
        format!("{}:subscribers:{what}", self.settings.prefix)
    }

    /// Follows the server until `stop`, on a thread of its own: the table may have to be waited for, and queries must not.
    pub fn start(self: &Arc<Self>, subscribers: Arc<Subscribers>, stop: CancellationToken) {
        let mirror = Arc::clone(self);
        let run = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(mirror.run(subscribers, stop)),
            Err(why) => tracing::error!("the store of the fleet is not followed: {why}"),
        };
        if let Err(why) = std::thread::Builder::new().name("fleet".to_owned()).spawn(run) {
            tracing::error!("the store of the fleet is not followed: {why}");
        }
    }

    async fn run(self: Arc<Self>, subscribers: Arc<Subscribers>, stop: CancellationToken) {
        let mut position = Position::of_text(&subscribers.fleet());
        let mut complained = false;
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow(&subscribers, &mut position, &mut complained) => followed,
            };
            self.is_current.store(false, Ordering::Release);
            if let Err(why) = followed
                && !std::mem::replace(&mut complained, true)
            {
                tracing::warn!(
                    "the store of the fleet is of no use: {why}; subscribers are served from memory meanwhile"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn follow(&self, subscribers: &Subscribers, at: &mut Position, complained: &mut bool) -> Result<(), Trouble> {
        self.outbox().give_up();
        let (mut reading, mut writing) = (connect(&self.settings.url.0).await?, connect(&self.settings.url.0).await?);
        self.catch_up(subscribers, at, &mut reading).await?;
        if std::mem::take(complained) {
            tracing::info!("the store of the fleet is back");
        }
        let read = self.read(subscribers, at, &mut reading);
        let write = self.write(subscribers, &mut writing);
        tokio::select! {
            ended = read => ended,
            ended = write => ended,
        }
    }

    /// Keeps the place over a restart, once the server has all that belongs to it.
    fn keep(&self, at: &Position, subscribers: &Subscribers) {
        if self.waiting() == 0 {
            subscribers.set_fleet(at.to_text());
        }
    }

    /// Whether this node has something later to say about it than what it reads.
    fn is_own(&self, slot: &Slot) -> bool {
        self.outbox().is_own(slot)
    }

    /// Whether the stream goes on from an entry without a gap, and has not gone back behind it.
    async fn remembers(&self, last: &str, connection: &mut MultiplexedConnection) -> Result<bool, Trouble> {
        stream::holds(&self.key("changes"), last, connection).await
    }

    fn records(&self, sealed: Vec<u8>, subscribers: &Subscribers) -> Result<Vec<Record>, Trouble> {
        record::read(&self.seal.open(sealed)?, subscribers.table())
            .ok_or_else(|| Trouble::new("an entry on the server is none of ours"))
    }

    /// `is_news`: not what a node said again that the server had lost.
    fn take_in(&self, subscribers: &Subscribers, sealed: Vec<u8>, is_news: bool) -> Result<(), Trouble> {
        let said = self.take_records(subscribers, self.records(sealed, subscribers)?, is_news);
        let _ = subscribers.apply(Feed::Fleet, &said);
        Ok(())
    }

    /// Takes in all but what the network says of tokens, which is left for the end.
    fn take_records(&self, subscribers: &Subscribers, records: Vec<Record>, is_news: bool) -> Vec<Change> {
        let (mut changes, mut said) = (Vec::with_capacity(records.len()), Vec::new());
        for record in records {
            match record {
                Record::Change(change) if self.is_later(&change, is_news) => {}
                // Longer than any line's: no feed of ours told of it.
                Record::Change(Change::Put(key, _)) if key.is_too_wide() => {}
                Record::Change(change @ Change::Say(..)) => said.push(change),
                Record::Change(change) => changes.push(change),
                Record::Serial(serial) => subscribers.heard_serial(serial),
                Record::Fleet(_) => {}
            }
        }
        // A full table is counted there.
        let _ = subscribers.apply(Feed::Fleet, &changes);
        said
    }

    async fn read(
        &self,
        subscribers: &Subscribers,
        at: &mut Position,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        let mut looked = clock::now();
        loop {
            let entries = stream::read(&self.key("changes"), &at.last, BATCH, Some(WAIT), connection).await?;
            let is_all = entries.len() < BATCH;
            // Nothing new is no news of the data's being the same; nor is what others write without having looked.
            if entries.is_empty() || clock::now().saturating_duration_since(looked) >= WAIT {
                looked = clock::now();
                let name: Option<String> = redis::cmd("GET").arg(self.key("name")).query_async(connection).await?;
                if name.as_ref() != Some(&at.name) {
                    return Err(Trouble::new("its data is gone"));
                }
                if place(&stream::last(&self.key("changes"), connection).await?) < place(&at.last) {
                    return Err(Trouble::new("its data has gone back"));
                }
            }
            for entry in entries {
                let (node, again) = (entry.get::<String>("n"), entry.get::<u64>("again"));
                let sealed = entry.get::<Vec<u8>>("r").unwrap_or_default();
                match (node.as_deref() == Some(&self.node), again) {
                    (true, None) => self.read_back(sealed, subscribers)?,
                    (true, Some(_)) => self.read_again(sealed, subscribers)?,
                    (false, Some(until)) if self.knows_more_than(until) => self.contest(subscribers, sealed)?,
                    (false, again) => self.take_in(subscribers, sealed, again.is_none())?,
                }
                at.last = entry.id;
            }
            self.keep(at, subscribers);
            if is_all {
                self.is_current.store(true, Ordering::Release);
                self.current_at.store(clock::unix_secs() as i64, Ordering::Relaxed);
                self.something.notify_one();
            }
        }
    }

    /// Our own entry: from here on others' are later than it. What was said twice, and by another in between, is so again.
    fn read_back(&self, sealed: Vec<u8>, subscribers: &Subscribers) -> Result<(), Trouble> {
        let records = record::read(&self.seal.open(sealed)?, subscribers.table()).unwrap_or_default();
        let mut ours = Vec::new();
        let mut outbox = self.outbox();
        for record in records {
            let Record::Change(change) = record else { continue };
            let slot = Slot::of(&change);
            outbox.heard(&slot);
            if !outbox.is_own(&slot) && in_memory(&change, subscribers.table()) != change {
                ours.push(change);
            }
        }
        drop(outbox);
        let _ = subscribers.apply(Feed::Fleet, &ours);
        Ok(())
    }

    /// Our own entry, of what the server had lost. What others told before it, without our having heard of it in time, is
    /// later all the same, and is said once more.
    fn read_again(&self, sealed: Vec<u8>, subscribers: &Subscribers) -> Result<(), Trouble> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for record in self.records(sealed, subscribers)? {
            let Record::Change(change) = record else { continue };
            let slot = Slot::of(&change);
            let mut outbox = self.outbox();
            match outbox.heard_again(&slot) {
                _ if outbox.is_own(&slot) => {}
                Some(true) => theirs.push(in_memory(&change, subscribers.table())),
                // In the order of the stream, as on every other node.
                Some(false) | None => ours.push(change),
            }
        }
        let _ = subscribers.apply(Feed::Fleet, &ours);
        self.say(&theirs);
        Ok(())
    }

    /// Whether this node has said, or will say, something later; what it only says again is not, but what others told since goes
    /// before what yet others say again.
    fn is_later(&self, change: &Change, is_news: bool) -> bool {
        let slot = Slot::of(change);
        let mut outbox = self.outbox();
        if is_news {
            outbox.told(&slot);
        }
        outbox.is_own(&slot) || !is_news && outbox.was_told(&slot)
    }

    async fn write(&self, subscribers: &Subscribers, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        loop {
            let next = self.outbox().next(BATCH, subscribers.table(), self.is_current());
            let Some(batch) = next else {
                self.something.notified().await;
                continue;
            };
            self.write_batch(subscribers, &batch, connection).await?;
            self.outbox().written();
        }
    }

    async fn write_batch(
        &self,
        subscribers: &Subscribers,
        Batch { changes, is_again, serial }: &Batch,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        let table = subscribers.table();
        let (name, filled): (Option<String>, Option<String>) = match serial {
            Some(_) => redis::cmd("MGET").arg(self.key("name")).arg(self.key("filled")).query_async(connection).await?,
            None => (None, None),
        };
        let (map, mut all, mut pipe) = (self.key("map"), Vec::new(), redis::pipe());
        pipe.atomic();
        for (_, change) in changes {
            record::write(change, table, &mut all);
            let field = self.seal.field(&Slot::of(change));
            let mut one = Vec::new();
            record::write(change, table, &mut one);
            match change {
                Change::Remove(_) | Change::Choose(_, None) | Change::Say(_, None) => {
                    pipe.cmd("HDEL").arg(&map).arg(&field).ignore();
                }
                Change::Put(..) | Change::Choose(..) | Change::Say(..) => {
                    pipe.cmd("HSET").arg(&map).arg(&field).arg(self.seal.close(one)?).ignore();
                }
            }
        }
        if let Some(serial) = serial {
            record::write_serial(*serial, &mut all);
            let mut one = Vec::new();
            record::write_serial(*serial, &mut one);
            pipe.cmd("HSET").arg(&map).arg("serial").arg(self.seal.close(one)?).ignore();
            // Not by nodes that come later with what they remember from other data.
            let filled = name.map(|name| {
                let by_others = filled.as_deref().and_then(|filled| filled_until(filled, &name)).unwrap_or(0);
                format!("{name} {}", by_others.max(self.known_until.load(Ordering::Relaxed)))
            });
            pipe.cmd("SET").arg(self.key("filled")).arg(filled).ignore();
        }
        pipe.cmd("XADD").arg(self.key("changes")).arg("MAXLEN").arg("~").arg(STREAM_MAX).arg("*");
        pipe.arg("n").arg(&self.node).arg("r").arg(self.seal.close(all)?);
        if *is_again {
            pipe.arg("again").arg(self.known_until.load(Ordering::Relaxed));
        }
        pipe.ignore();
        pipe.query_async::<()>(connection).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::stream::NONE;
    use super::*;

    #[test]
    fn places_in_the_stream_are_compared_as_numbers_and_kept() {
        assert!(place("9-9") < place("10-0") && place("10-2") < place("10-10") && place(NONE) == (0, 0));
        let at = Position { name: "a1".into(), last: "17-3".into(), is_read: false };
        assert_eq!(Position::of_text(&at.to_text()), at);
        assert_eq!(Position::of_text(""), Position::default());
    }

    #[test]
    fn who_filled_the_data_says_which_and_until_when_it_knew() {
        for (filled, until) in [("a1 17", Some(17)), ("a1 0", Some(0)), ("b2 17", None), ("a1", None), ("a1 x", None)] {
            assert_eq!(filled_until(filled, "a1"), until, "{filled}");
        }
    }
}
