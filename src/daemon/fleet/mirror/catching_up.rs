//! What a node does that comes to the server anew: it finds out what the data there is, takes in what it missed, and says again what
//! the server lost.

use std::sync::atomic::Ordering;

use redis::aio::MultiplexedConnection;

use super::outbox::{Slot, in_memory};
use super::{BATCH, Held, Mirror, Position, SCAN, STREAM_MAX, Trouble, place};
use crate::daemon::fleet::stream::{self, NONE};
use crate::daemon::subscribers::record::Record;
use crate::daemon::subscribers::{Feed, Subscribers};
use crate::engine::subscribers::Change;

/// Until when those knew of changes who filled the data of this name. `None`: nobody has.
pub(super) fn filled_until(filled: &str, name: &str) -> Option<u64> {
    let (of, until) = filled.split_once(' ')?;
    (of == name).then(|| until.parse().ok()).flatten()
}

impl Mirror {
    /// Finds out what the server's data is, and takes in what is missed.
    pub(super) async fn catch_up(
        &self,
        subscribers: &Subscribers,
        at: &mut Position,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).map_err(|why| Trouble::new(why.to_string()))?;
        let name = stream::name_of_data(&self.key("name"), u128::from_be_bytes(octets), connection).await?;
        let is_same = at.name == name;
        if !is_same && !at.name.is_empty() {
            tracing::warn!(
                "the store of the fleet is empty or another one: what is in memory stays, and is written to it unless another node did"
            );
        }
        let last = stream::last(&self.key("changes"), connection).await?;
        let (known_until, _) = place(&at.last);
        if is_same && self.has_gone_back(&at.last, &last, connection).await? {
            self.known_until.store(known_until, Ordering::Relaxed);
            tracing::warn!(
                "the store of the fleet has gone back to what it was before: what is in memory stays, and is written to it again"
            );
            self.outbox().forget_said();
            // Until all of it is done, the place of before tells that it is not.
            let mut later = Position { is_read: true, ..at.clone() };
            self.read_later(subscribers, &mut later, &last, connection).await?;
            self.put_back_memory(subscribers, true, connection).await?;
            *at = later;
            return Ok(());
        }
        if is_same && at.is_read && !at.last.is_empty() && self.remembers(&at.last, connection).await? {
            return Ok(());
        }
        if !is_same {
            self.known_until.store(known_until, Ordering::Relaxed);
            // It may be gone with the data before anybody read it.
            self.outbox().say_unheard(subscribers.table());
        }
        // What was said is in what is read now.
        self.outbox().forget_said();
        // Before the first entry nobody need have written yet what was in memory when the data began.
        let has_place = is_same && place(&at.last) > (0, 0);
        if !has_place && !at.last.is_empty() {
            // A stream that began anew tells what was taken out since; the hash does not.
            let mut begin = Position { last: NONE.to_owned(), ..Position::default() };
            self.read_later(subscribers, &mut begin, &last, connection).await?;
        }
        let filled: Option<String> = redis::cmd("GET").arg(self.key("filled")).query_async(connection).await?;
        let filled_by = filled.as_deref().and_then(|filled| filled_until(filled, &name));
        let has_memory = !has_place && known_until > 0;
        if has_memory && filled_by.is_none_or(|until| until < known_until) && self.is_stream_whole(connection).await? {
            // The stream told what is news; whatever else is there is from nodes that know less.
            self.put_back_memory(subscribers, true, connection).await?;
            *at = Position { name, last, is_read: true };
            self.keep(at, subscribers);
            return Ok(());
        }
        let held = self.read_hash(subscribers, connection).await?;
        // Data that nodes have filled who knew all that this one does is as good as data that never went away.
        if has_place || has_memory && filled_by.is_some_and(|until| until >= known_until) {
            let lost = self.outbox().lost();
            subscribers.keep_only(|change| {
                let slot = Slot::of(change);
                held.contains(&self.seal.field(&slot)) || lost.contains(&slot) || self.is_own(&slot)
            });
        }
        match filled_by {
            // Whoever has taken in what others filled knows as much as they.
            Some(until) => drop(self.known_until.fetch_max(until, Ordering::Relaxed)),
            None if !has_place => self.put_back_memory(subscribers, false, connection).await?,
            None => {}
        }
        *at = Position { name, last, is_read: true };
        self.keep(at, subscribers);
        Ok(())
    }

    /// Whether the data has the same name and lacks what was read of it: somebody restored an old state, or a follower that
    /// was behind took over. Entries that only fell off the stream's beginning are older than all that are left.
    async fn has_gone_back(
        &self,
        read: &str,
        last: &str,
        connection: &mut MultiplexedConnection,
    ) -> Result<bool, Trouble> {
        if place(read) == (0, 0) || place(last) < place(read) || self.remembers(read, connection).await? {
            return Ok(place(last) < place(read));
        }
        let first = stream::first(&self.key("changes"), connection).await?;
        Ok(first.is_none_or(|first| place(&first) < place(read)))
    }

    /// Takes in what nodes said from a place on up to `last`, this one too: it is later than what is in memory.
    async fn read_later(
        &self,
        subscribers: &Subscribers,
        at: &mut Position,
        last: &str,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        while place(&at.last) < place(last) {
            let entries = stream::read(&self.key("changes"), &at.last, BATCH, None, connection).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let knows_less = entry.get::<u64>("again").is_some_and(|until| self.knows_more_than(until));
                if let Some(sealed) = entry.get::<Vec<u8>>("r").filter(|_| !knows_less) {
                    self.take_in(subscribers, sealed, true)?;
                }
                at.last = entry.id;
            }
        }
        last.clone_into(&mut at.last);
        Ok(())
    }

    /// Whether memory knew of more, when the data began, than a node that knew of changes until then.
    pub(super) fn knows_more_than(&self, until: u64) -> bool {
        until < self.known_until.load(Ordering::Relaxed)
    }

    /// Whether the stream holds all since the data began.
    async fn is_stream_whole(&self, connection: &mut MultiplexedConnection) -> Result<bool, Trouble> {
        let len: usize = redis::cmd("XLEN").arg(self.key("changes")).query_async(connection).await?;
        Ok(len < STREAM_MAX)
    }

    /// What a node says again that knew less: what memory has instead is said.
    pub(super) fn contest(&self, subscribers: &Subscribers, sealed: Vec<u8>) -> Result<(), Trouble> {
        let records = self.records(sealed, subscribers)?;
        let mut outbox = self.outbox();
        for record in records {
            let Record::Change(change) = record else { continue };
            let here = in_memory(&change, subscribers.table());
            if here != change && !outbox.is_own(&Slot::of(&change)) {
                outbox.add_lost(here);
            }
        }
        drop(outbox);
        self.something.notify_one();
        Ok(())
    }

    /// Says again whatever the hash does not hold; `wins`: or holds otherwise than memory does.
    async fn put_back_memory(
        &self,
        subscribers: &Subscribers,
        wins: bool,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Trouble> {
        let (table, mut held, mut other) = (subscribers.table(), Held::new(), Vec::new());
        self.outbox().put_lost(Vec::new());
        self.each_field(connection, &mut |field, sealed| {
            for record in self.records(sealed, subscribers)? {
                let Record::Change(change) = record else { continue };
                let here = in_memory(&change, table);
                if wins && here != change {
                    other.push(here);
                }
            }
            held.insert(field);
            Ok(())
        })
        .await?;
        subscribers.each_change(|change| {
            if !held.contains(&self.seal.field(&Slot::of(&change))) {
                other.push(change);
            }
        });
        other.retain(|change| !self.is_own(&Slot::of(change)));
        if other.is_empty() {
            return Ok(());
        }
        other.sort_by_key(|change| matches!(change, Change::Say(..)));
        self.outbox().put_lost(other);
        // Behind them all: from then on whoever comes finds the data whole.
        self.say_serial(subscribers.serial());
        Ok(())
    }

    /// Takes in all that the hash holds; the names of its fields.
    async fn read_hash(
        &self,
        subscribers: &Subscribers,
        connection: &mut MultiplexedConnection,
    ) -> Result<Held, Trouble> {
        let (mut held, mut said) = (Held::new(), Vec::new());
        self.each_field(connection, &mut |field, sealed| {
            let records = self.records(sealed, subscribers)?;
            // Fields come in no order: what the network says waits until every prefix is there.
            said.extend(self.take_records(subscribers, records, false));
            held.insert(field);
            Ok(())
        })
        .await?;
        // Less than all always fits.
        let _ = subscribers.apply(Feed::Fleet, &said);
        Ok(held)
    }

    async fn each_field(
        &self,
        connection: &mut MultiplexedConnection,
        with: &mut dyn FnMut([u8; 16], Vec<u8>) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut cursor = 0_u64;
        loop {
            let (next, fields) = stream::scan(&self.key("map"), cursor, SCAN, connection).await?;
            for (field, sealed) in fields {
                // The serial has a name of another length; no change does.
                with(<[u8; 16]>::try_from(field).unwrap_or_default(), sealed)?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
