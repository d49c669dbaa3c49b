//! The map of subscribers, shared: each node writes what its own feeds tell, reads what the others' tell, and keeps all of it
//! in its own memory.
//!
//! On the server there is a hash with what is, a stream with what changed, and a name that the data was given when it began.
//! Every change goes into both in one transaction. The order of the stream is everybody's: where two nodes change the same
//! entry, the later one there holds; a node that still waits to read its own change does not let an earlier one of another
//! node over it.
//!
//! ```text
//! another name, or none      the server was emptied: memory stays as it is, and what waits is written
//! the same name              what the hash does not hold any more was taken out meanwhile
//! ```
//!
//! With a state key the server sees neither prefixes, tokens nor profiles.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::connection::{Trouble, WAIT, connect};
use crate::config::StoreSettings;
use crate::daemon::clock;
use crate::daemon::subscribers::record::{self, Record};
use crate::daemon::subscribers::{Feed, Subscribers};
use crate::engine::client::{Token, TokenKey};
use crate::engine::subscribers::{Change, Key};

/// A name of the hash, and what stands there.
type Field = (Vec<u8>, Vec<u8>);

/// Changes in one transaction.
const BATCH: usize = 500;
/// Transactions that the stream remembers; who missed more reads the hash.
const STREAM_MAX: usize = 10_000;
/// Entries of the hash asked for at once.
const SCAN: usize = 1_000;
/// Until the server is tried again.
const AGAIN: Duration = Duration::from_millis(500);
const NONCE_OCTETS: usize = 12;
/// Before the first entry of a stream.
const NONE: &str = "0-0";
/// Names fields of the hash when there is no state key: then the server sees records anyway.
const FIELDS: [u8; 16] = *b"lachan fields v1";

/// What a change is about: of two about the same only the later counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Slot {
    Prefix(Key),
    Choice(Token),
    Session(Token),
}

impl Slot {
    fn of(change: &Change) -> Slot {
        match change {
            Change::Put(key, _) | Change::Remove(key) => Slot::Prefix(*key),
            Change::Choose(token, _) => Slot::Choice(*token),
            Change::Say(token, _) => Slot::Session(*token),
        }
    }

    fn octets(&self) -> Vec<u8> {
        match self {
            Slot::Prefix(key) => [&[1][..], &key.to_octets()].concat(),
            Slot::Choice(token) => [&[2][..], &token.0.to_be_bytes()].concat(),
            Slot::Session(token) => [&[3][..], &token.0.to_be_bytes()].concat(),
        }
    }
}

/// What this node has to say, and has said without having read it back.
#[derive(Debug, Default)]
struct Outbox {
    /// The latest of each; as many as the tables hold at most.
    waiting: HashMap<Slot, Change>,
    /// In the stream, not yet read there.
    said: HashMap<Slot, u32>,
    serial: Option<u64>,
}

/// One node's share in the map.
pub struct Mirror {
    settings: StoreSettings,
    seal: Option<LessSafeKey>,
    fields: TokenKey,
    /// This process, in the stream.
    node: String,
    outbox: Mutex<Outbox>,
    something: Notify,
    /// The server answers, and what it had is read.
    is_current: AtomicBool,
    /// When it last did; seconds since 1970, zero: never.
    current_at: AtomicI64,
}

/// Where a node is in the server's data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Position {
    /// The name of the data.
    name: String,
    /// The last entry of the stream that was read.
    last: String,
    /// Up to this entry all is read anew, this node's own too: their order is what counts.
    anew_until: Option<String>,
}

impl Mirror {
    pub fn new(settings: StoreSettings, state_key: Option<&[u8; 32]>) -> Mirror {
        let seal = state_key.map(|key| {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the length that the cipher wants");
            LessSafeKey::new(key)
        });
        let mut fields = FIELDS;
        if let Some(key) = state_key {
            let context = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), b"lachan fields");
            fields.copy_from_slice(&context.as_ref()[..16]);
        }
        let mut octets = [0; 8];
        // Without the system's randomness two nodes might share a name.
        getrandom::fill(&mut octets).expect("the system has a source of randomness");
        Mirror {
            settings,
            seal,
            fields: TokenKey::new(fields),
            node: format!("{:016x}", u64::from_be_bytes(octets)),
            outbox: Mutex::default(),
            something: Notify::new(),
            is_current: AtomicBool::new(false),
            current_at: AtomicI64::new(0),
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what a feed of this node told.
    pub fn say(&self, changes: &[Change]) {
        let mut outbox = self.outbox();
        for change in changes {
            outbox.waiting.insert(Slot::of(change), *change);
        }
        drop(outbox);
        self.something.notify_one();
    }

    pub fn say_serial(&self, serial: u64) {
        self.outbox().serial = Some(serial);
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
        self.outbox().waiting.len()
    }

    fn key(&self, what: &str) -> String {
        format!("{}:subscribers:{what}", self.settings.prefix)
    }

    /// A name for a slot in the hash: opaque, since a prefix in clear would tell who is who.
    fn field(&self, slot: &Slot) -> Vec<u8> {
        let hex: Vec<u8> = slot.octets().iter().flat_map(|octet| [octet >> 4, octet & 15]).collect();
        Token::of(&self.fields, &hex).0.to_be_bytes().to_vec()
    }

    fn sealed(&self, records: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let Some(key) = &self.seal else { return Ok(records) };
        let (mut nonce, mut sealed) = ([0; NONCE_OCTETS], records);
        getrandom::fill(&mut nonce).map_err(|why| Trouble::new(why.to_string()))?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .map_err(|_| Trouble::new("it cannot be encrypted"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn opened(&self, mut sealed: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let Some(key) = &self.seal else { return Ok(sealed) };
        let bad = || Trouble::new("an entry on the server is damaged, or was written with another state_key_file");
        let nonce: [u8; NONCE_OCTETS] = sealed.get(..NONCE_OCTETS).and_then(|n| n.try_into().ok()).ok_or_else(bad)?;
        let mut rest = sealed.split_off(NONCE_OCTETS);
        let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut rest);
        let length = opened.map_err(|_| bad())?.len();
        rest.truncate(length);
        Ok(rest)
    }

    /// Follows the server until `stop`.
    pub async fn run(self: Arc<Self>, subscribers: Arc<Subscribers>, stop: CancellationToken) {
        let mut position = Position { name: subscribers.fleet_name(), ..Position::default() };
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

    /// Finds out what the server's data is, and takes in what is missed.
    async fn catch_up(
        &self,
        subscribers: &Subscribers,
        at: &mut Position,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).map_err(|why| Trouble::new(why.to_string()))?;
        let fresh = format!("{:032x}", u128::from_be_bytes(octets));
        let _: redis::Value =
            redis::cmd("SET").arg(self.key("name")).arg(&fresh).arg("NX").query_async(connection).await?;
        let name: String = redis::cmd("GET").arg(self.key("name")).query_async(connection).await?;
        let is_same = at.name == name;
        if !is_same && !at.name.is_empty() {
            tracing::warn!(
                "the store of the fleet is empty or another one: what is in memory stays; `lachan subscribers load` fills it again"
            );
        }
        if is_same && !at.last.is_empty() && self.remembers(&at.last, connection).await? {
            return Ok(());
        }
        let last = self.last_entry(connection).await?;
        // What was said is in what is read now, or is gone with the data.
        self.outbox().said.clear();
        let held = self.read_hash(subscribers, connection).await?;
        if is_same {
            subscribers.keep_only(
                &mut |key| held.contains(&self.field(&Slot::Prefix(key))) || self.is_own(&Slot::Prefix(key)),
                &mut |token| held.contains(&self.field(&Slot::Choice(token))) || self.is_own(&Slot::Choice(token)),
            );
        }
        // A stream that began anew is read from its beginning: the hash does not tell what was taken out since.
        let is_anew = !is_same && !at.last.is_empty() && last != NONE;
        let (last, anew_until) = if is_anew { (NONE.to_owned(), Some(last)) } else { (last, None) };
        *at = Position { name: name.clone(), last, anew_until };
        subscribers.set_fleet_name(&name);
        Ok(())
    }

    /// Whether this node has something later to say about it than what it reads.
    fn is_own(&self, slot: &Slot) -> bool {
        let outbox = self.outbox();
        outbox.waiting.contains_key(slot) || outbox.said.contains_key(slot)
    }

    /// Whether the stream goes on from an entry without a gap, and has not gone back behind it.
    async fn remembers(&self, last: &str, connection: &mut MultiplexedConnection) -> Result<bool, Trouble> {
        let entry: StreamRange =
            redis::cmd("XRANGE").arg(self.key("changes")).arg(last).arg(last).query_async(connection).await?;
        Ok(!entry.is_empty())
    }

    async fn last_entry(&self, connection: &mut MultiplexedConnection) -> Result<String, Trouble> {
        let entry: StreamRange = redis::cmd("XREVRANGE")
            .arg(self.key("changes"))
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(connection)
            .await?;
        Ok(entry.into_iter().next().map_or_else(|| NONE.to_owned(), |(id, _)| id))
    }

    /// Takes in all that the hash holds; the names of its fields.
    async fn read_hash(
        &self,
        subscribers: &Subscribers,
        connection: &mut MultiplexedConnection,
    ) -> Result<HashSet<Vec<u8>>, Trouble> {
        let (mut cursor, mut held) = (0_u64, HashSet::new());
        loop {
            let (next, fields): (u64, Vec<Field>) = redis::cmd("HSCAN")
                .arg(self.key("map"))
                .arg(cursor)
                .arg("COUNT")
                .arg(SCAN)
                .query_async(connection)
                .await?;
            for (field, sealed) in fields {
                self.take_in(subscribers, sealed)?;
                held.insert(field);
            }
            if next == 0 {
                return Ok(held);
            }
            cursor = next;
        }
    }

    fn take_in(&self, subscribers: &Subscribers, sealed: Vec<u8>) -> Result<(), Trouble> {
        let records = record::read(&self.opened(sealed)?, subscribers.table())
            .ok_or_else(|| Trouble::new("an entry on the server is none of ours"))?;
        let mut changes = Vec::with_capacity(records.len());
        for record in records {
            match record {
                Record::Change(change) if self.is_own(&Slot::of(&change)) => {}
                Record::Change(change) => changes.push(change),
                Record::Serial(serial) => subscribers.heard_serial(serial),
                Record::Fleet(_) => {}
            }
        }
        // A full table is counted there.
        let _ = subscribers.apply(Feed::Fleet, &changes);
        Ok(())
    }

    async fn read(
        &self,
        subscribers: &Subscribers,
        at: &mut Position,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        loop {
            let told: Option<StreamReadReply> = redis::cmd("XREAD")
                .arg("COUNT")
                .arg(BATCH)
                .arg("BLOCK")
                .arg(WAIT.as_millis() as u64)
                .arg("STREAMS")
                .arg(self.key("changes"))
                .arg(&at.last)
                .query_async(connection)
                .await?;
            let entries: Vec<_> = told.into_iter().flat_map(|told| told.keys).flat_map(|key| key.ids).collect();
            if entries.is_empty() {
                // Nothing new is no news of the data's being the same.
                let name: Option<String> = redis::cmd("GET").arg(self.key("name")).query_async(connection).await?;
                if name.as_ref() != Some(&at.name) {
                    return Err(Trouble::new("its data is gone"));
                }
                self.is_current.store(true, Ordering::Release);
                self.current_at.store(clock::unix_secs() as i64, Ordering::Relaxed);
            }
            for entry in entries {
                let (node, sealed) = (entry.get::<String>("n"), entry.get::<Vec<u8>>("r"));
                if node.as_deref() == Some(&self.node) && at.anew_until.is_none() {
                    self.read_back(sealed.unwrap_or_default(), subscribers)?;
                } else if let Some(sealed) = sealed {
                    self.take_in(subscribers, sealed)?;
                }
                at.anew_until.take_if(|until| *until == entry.id);
                at.last = entry.id;
            }
        }
    }

    /// Our own entry: from here on others' are later than it.
    fn read_back(&self, sealed: Vec<u8>, subscribers: &Subscribers) -> Result<(), Trouble> {
        let records = record::read(&self.opened(sealed)?, subscribers.table()).unwrap_or_default();
        let mut outbox = self.outbox();
        for record in records {
            let Record::Change(change) = record else { continue };
            let slot = Slot::of(&change);
            if let Some(count) = outbox.said.get_mut(&slot) {
                *count -= 1;
                if *count == 0 {
                    outbox.said.remove(&slot);
                }
            }
        }
        Ok(())
    }

    async fn write(&self, subscribers: &Subscribers, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        loop {
            let (batch, serial) = self.take_batch();
            if batch.is_empty() && serial.is_none() {
                self.something.notified().await;
                continue;
            }
            if let Err(why) = self.write_batch(subscribers, &batch, serial, connection).await {
                self.put_back(batch, serial);
                return Err(why);
            }
        }
    }

    /// What is written next, said from now on.
    fn take_batch(&self) -> (Vec<Change>, Option<u64>) {
        let mut outbox = self.outbox();
        let slots: Vec<Slot> = outbox.waiting.keys().take(BATCH).copied().collect();
        let mut batch: Vec<Change> = slots.iter().filter_map(|slot| outbox.waiting.remove(slot)).collect();
        // A session is said of a token that has a prefix: the prefix goes first.
        batch.sort_by_key(|change| matches!(change, Change::Say(..)));
        slots.into_iter().for_each(|slot| *outbox.said.entry(slot).or_insert(0) += 1);
        // A serial is the last that is said: who has it has all before it.
        let serial = if outbox.waiting.is_empty() { outbox.serial.take() } else { None };
        (batch, serial)
    }

    fn put_back(&self, batch: Vec<Change>, serial: Option<u64>) {
        let mut outbox = self.outbox();
        for change in batch {
            let slot = Slot::of(&change);
            if let Some(count) = outbox.said.get_mut(&slot) {
                *count -= 1;
                if *count == 0 {
                    outbox.said.remove(&slot);
                }
            }
            // What was told meanwhile is later.
            outbox.waiting.entry(slot).or_insert(change);
        }
        outbox.serial = outbox.serial.or(serial);
    }

    async fn write_batch(
        &self,
        subscribers: &Subscribers,
        batch: &[Change],
        serial: Option<u64>,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        let table = subscribers.table();
        let (map, mut all, mut pipe) = (self.key("map"), Vec::new(), redis::pipe());
        pipe.atomic();
        for change in batch {
            record::write(change, table, &mut all);
            let field = self.field(&Slot::of(change));
            let mut one = Vec::new();
            record::write(change, table, &mut one);
            match change {
                Change::Remove(_) | Change::Choose(_, None) | Change::Say(_, None) => {
                    pipe.cmd("HDEL").arg(&map).arg(field).ignore();
                }
                Change::Put(..) | Change::Choose(..) | Change::Say(..) => {
                    pipe.cmd("HSET").arg(&map).arg(field).arg(self.sealed(one)?).ignore();
                }
            }
        }
        if let Some(serial) = serial {
            record::write_serial(serial, &mut all);
            let mut one = Vec::new();
            record::write_serial(serial, &mut one);
            pipe.cmd("HSET").arg(&map).arg("serial").arg(self.sealed(one)?).ignore();
        }
        pipe.cmd("XADD").arg(self.key("changes")).arg("MAXLEN").arg("~").arg(STREAM_MAX).arg("*");
        pipe.arg("n").arg(&self.node).arg("r").arg(self.sealed(all)?).ignore();
        pipe.query_async::<()>(connection).await?;
        Ok(())
    }
}

/// Entries of a stream, as `XRANGE` tells them.
type StreamRange = Vec<(String, redis::Value)>;
