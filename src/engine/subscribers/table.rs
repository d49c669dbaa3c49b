//! Prefix → subscriber → profile, in memory, changed while it is read: many readers, one writer, no lock between them.

mod reader;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use super::key::{Key, V4_BITS, V6_BITS};
use super::names::{NameId, Names};
use super::slots::{PrefixWriter, Prefixes};
use super::tokens::{RecordId, TokenState, TokenWriter, Tokens};
use crate::engine::client::{Realm, Token};
use crate::engine::limits::{SUBSCRIBER_PREFIXES_MAX, SUBSCRIBER_TOKENS_MAX};

use reader::Keys;
pub use reader::{LookUp, Reader, Sought};

/// What readers share. It changes only by its [`Writer`].
#[derive(Debug)]
pub struct Table {
    prefixes: Prefixes,
    tokens: Tokens,
    /// Lengths in use, a bit each, IPv4's first.
    lengths: [AtomicU64; 4],
    epoch: Epoch,
    names: Mutex<Names>,
}

/// In a cache line of its own: every change writes it, and look-ups read what lies around.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Epoch(AtomicU64);

/// The one hand that changes a [`Table`].
#[derive(Debug)]
pub struct Writer {
    table: Arc<Table>,
    prefixes: PrefixWriter,
    tokens: TokenWriter,
    /// Prefixes of each length, IPv4's first.
    counts: [Vec<u32>; 2],
    changes: u64,
    room: Room,
}

/// How much a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub prefixes: usize,
    pub tokens: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { prefixes: SUBSCRIBER_PREFIXES_MAX, tokens: SUBSCRIBER_TOKENS_MAX }
    }
}

/// Whose a prefix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A subscriber, whose profile is kept with the token.
    Token(Token),
    /// Nobody in particular: the prefix has the profile itself.
    Profile(NameId),
}

/// How long an entry holds, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Term {
    /// Seconds since 1970; `None`: until it is removed.
    pub until: Option<u32>,
    /// The end counts whatever the profile is; else it lets only what is weaker than the default profile lapse.
    pub is_hard: bool,
    /// A session of the network's, not an entry of the operator's books: a new set of those leaves it alone.
    pub is_session: bool,
}

/// An entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub holder: Holder,
    pub term: Term,
}

/// One change of a table, as feeds tell it, files keep it and a fleet shares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Put(Key, Entry),
    Remove(Key),
    /// What a subscriber chose; `None`: nothing any more.
    Choose(Token, Option<NameId>),
    /// What the network says with a session.
    Say(Token, Option<NameId>),
}

/// What was found for one who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub token: Option<Token>,
    /// `None`: nobody has said.
    pub profile: Option<NameId>,
    pub term: Term,
}

/// As much of that as the ladder needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// `None`: nobody has said.
    pub profile: Option<NameId>,
    pub term: Term,
}

impl From<Found> for Held {
    fn from(found: Found) -> Held {
        Held { profile: found.profile, term: found.term }
    }
}

/// The table holds no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("the table of subscribers is full: it holds {0} prefixes at most (subscriber_prefixes_max)")]
    Prefixes(usize),
    #[error("the table of subscribers is full: it holds {0} tokens at most (subscriber_tokens_max)")]
    Tokens(usize),
}

/// What is in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// IPv4 prefixes.
    pub v4: usize,
    /// Blocks of ports of shared addresses.
    pub ports: usize,
    pub v6: usize,
    pub tokens: usize,
}

const IS_PROFILE: u64 = 1 << 31;
const IS_HARD: u64 = 1 << 30;
const IS_SESSION: u64 = 1 << 29;
const NUMBER: u64 = IS_SESSION - 1;

/// What a prefix's word says: whom it points to, and its term.
fn unpack(word: u64) -> (Result<RecordId, Option<NameId>>, Term) {
    let until = (word >> 32) as u32;
    let term =
        Term { until: (until != 0).then_some(until), is_hard: word & IS_HARD != 0, is_session: word & IS_SESSION != 0 };
    let number = (word & NUMBER) as u32;
    let target = if word & IS_PROFILE == 0 { Ok(RecordId(number)) } else { Err(NameId::of_octets(number as u16)) };
    (target, term)
}

fn pack(target: Result<RecordId, NameId>, term: Term) -> u64 {
    let target = match target {
        Ok(RecordId(number)) => u64::from(number),
        Err(name) => IS_PROFILE | u64::from(NameId::number(Some(name))),
    };
    let (hard, session) = (u64::from(term.is_hard) * IS_HARD, u64::from(term.is_session) * IS_SESSION);
    target | hard | session | u64::from(term.until.unwrap_or(0)) << 32
}

impl Table {
    /// An empty table and its writer. The seed keys its hash.
    pub fn new(seed: (u64, u64)) -> (Arc<Table>, Writer) {
        Table::with_room(seed, Room::default())
    }

    /// One that holds less than the bounds allow.
    pub fn with_room(seed: (u64, u64), room: Room) -> (Arc<Table>, Writer) {
        let (prefixes, prefix_writer) = Prefixes::new(seed);
        let (tokens, token_writer) = Tokens::new();
        let (lengths, epoch, names) = (Default::default(), Epoch::default(), Mutex::default());
        let table = Arc::new(Table { prefixes, tokens, lengths, epoch, names });
        let counts = [vec![0; usize::from(V4_BITS) + 1], vec![0; usize::from(V6_BITS) + 1]];
        let (prefixes, tokens) = (prefix_writer, token_writer);
        let writer = Writer { table: Arc::clone(&table), prefixes, tokens, counts, changes: 0, room };
        (table, writer)
    }

    /// How often it changed.
    pub fn epoch(&self) -> u64 {
        self.epoch.0.load(Ordering::Relaxed)
    }

    /// As [`LookUp::find`], for those who ask seldom.
    pub fn find(&self, realm: Realm, source: SocketAddr) -> Option<Found> {
        self.whole(|| {
            let (target, term) = unpack(self.keys(realm, source).find_map(|key| self.prefixes.get(&key))?);
            match target {
                Err(profile) => Some(Found { token: None, profile, term }),
                Ok(id) => {
                    let (token, state) = self.tokens.at(id)?;
                    Some(Found { token: Some(token), profile: state.profile(), term })
                }
            }
        })
    }

    /// What is known of a token, for those who ask seldom.
    pub fn find_token(&self, token: Token) -> Option<TokenState> {
        self.whole(|| self.tokens.find(token).map(|(_, state)| state))
    }

    /// What is read while no record is used again: that happens in these nanoseconds only when the writer has done something.
    fn whole<T>(&self, mut read: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let before = self.tokens.reuses();
            let found = read();
            if self.tokens.is_still(before) {
                return found;
            }
        }
    }

    fn keys(&self, realm: Realm, source: SocketAddr) -> Keys {
        Keys::new(realm, source, self.lengths_in_use())
    }

    /// Lengths in use, as [`Table::lengths`] has them.
    #[inline]
    fn lengths_in_use(&self) -> [u64; 4] {
        std::array::from_fn(|at| self.lengths[at].load(Ordering::Acquire))
    }

    /// What a prefix's word leads to.
    #[inline]
    fn held(&self, word: u64) -> Option<Held> {
        let (target, term) = unpack(word);
        let profile = match target {
            Err(profile) => profile,
            Ok(id) => self.tokens.state(id)?.profile(),
        };
        Some(Held { profile, term })
    }

    pub fn get(&self, key: &Key) -> Option<Entry> {
        self.entry(self.prefixes.get(key)?)
    }

    fn entry(&self, word: u64) -> Option<Entry> {
        let (target, term) = unpack(word);
        let holder = match target {
            Ok(id) => Holder::Token(self.tokens.at(id)?.0),
            Err(name) => Holder::Profile(name?),
        };
        Some(Entry { holder, term })
    }

    /// Every prefix, in no order; what changes meanwhile may be told as before or after.
    pub fn each_prefix(&self, mut with: impl FnMut(Key, Entry)) {
        self.prefixes.each(|key, word| {
            if let Some(entry) = self.entry(word) {
                with(key, entry);
            }
        });
    }

    pub fn each_token(&self, with: impl FnMut(Token, TokenState)) {
        self.tokens.each(with);
    }

    /// Octets of memory.
    pub fn octets(&self) -> usize {
        self.prefixes.octets() + self.tokens.octets()
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a profile's name, whether or not there is such a profile now. `None`: there are too many names.
    pub fn intern(&self, name: &str) -> Option<NameId> {
        self.names().intern(name)
    }

    pub fn name(&self, id: NameId) -> String {
        self.names().name(id).to_owned()
    }

    /// Every name that has a number, by it.
    pub fn all_names(&self) -> Vec<String> {
        self.names().all().to_vec()
    }
}

impl Writer {
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub fn apply(&mut self, change: &Change) -> Result<(), Full> {
        match change {
            Change::Put(key, entry) => self.put(*key, *entry),
            Change::Remove(key) => {
                self.remove(key);
                Ok(())
            }
            Change::Choose(token, chosen) => self.choose(*token, *chosen),
            Change::Say(token, profile) => self.say_of_session(*token, *profile),
        }
    }

    /// Puts an entry under a key, over what was there.
    pub fn put(&mut self, key: Key, entry: Entry) -> Result<(), Full> {
        if self.prefixes.len() >= self.room.prefixes && self.table.prefixes.get(&key).is_none() {
            return Err(Full::Prefixes(self.room.prefixes));
        }
        let target = match entry.holder {
            Holder::Profile(name) => Err(name),
            Holder::Token(token) => {
                let id = self.token(token)?;
                // Before the old entry is let go, so that a refresh never gives the record up.
                self.tokens.change(&self.table.tokens, id, |state| state.prefixes += 1);
                Ok(id)
            }
        };
        let before = self.prefixes.put(&self.table.prefixes, &key, pack(target, entry.term));
        match before {
            Some(word) => self.let_go(word),
            None => self.count(&key, 1),
        }
        self.changed();
        Ok(())
    }

    /// Takes an entry out; what it was.
    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.table.get(key);
        let word = self.prefixes.remove(&self.table.prefixes, key)?;
        self.let_go(word);
        self.count(key, -1);
        self.changed();
        entry
    }

    /// What a token's subscriber chose; `None`: nothing any more.
    pub fn choose(&mut self, token: Token, chosen: Option<NameId>) -> Result<(), Full> {
        self.change_token(token, chosen.is_some(), |state| state.chosen = chosen)
    }

    /// What the network says of a token that has a prefix.
    pub fn say_of_session(&mut self, token: Token, profile: Option<NameId>) -> Result<(), Full> {
        self.change_token(token, false, |state| state.session = profile)
    }

    /// The record of a token, made when there is none.
    fn token(&mut self, token: Token) -> Result<RecordId, Full> {
        let full = Full::Tokens(self.room.tokens);
        if self.tokens.len() >= self.room.tokens && self.table.tokens.find(token).is_none() {
            return Err(full);
        }
        self.tokens.of(&self.table.tokens, token).ok_or(full)
    }

    fn change_token(&mut self, token: Token, make: bool, with: impl FnOnce(&mut TokenState)) -> Result<(), Full> {
        let id = match self.table.tokens.find(token) {
            Some((id, _)) => id,
            None if make => self.token(token)?,
            None => return Ok(()),
        };
        self.tokens.change(&self.table.tokens, id, with);
        self.changed();
        Ok(())
    }

    /// Whether there is room for all of these, made one after the other.
    pub fn fits<'c>(&self, changes: impl Iterator<Item = &'c Change> + Clone) -> Result<(), Full> {
        // Far from full, nothing need be counted: no change makes more than one of each.
        let most =
            changes.clone().filter(|change| !matches!(change, Change::Remove(_) | Change::Choose(_, None))).count();
        let is_roomy = self.prefixes.len() + most <= self.room.prefixes && self.tokens.len() + most <= self.room.tokens;
        if is_roomy { Ok(()) } else { Trial::of(self).all(changes) }
    }

    pub fn counts(&self) -> Counts {
        let [v4, v6] = &self.counts;
        let sum = |counts: &[u32]| counts.iter().map(|&count| count as usize).sum();
        Counts { v4: sum(&v4[..=32]), ports: sum(&v4[33..]), v6: sum(v6), tokens: self.tokens.len() }
    }

    fn let_go(&mut self, word: u64) {
        if let (Ok(id), _) = unpack(word) {
            self.tokens.change(&self.table.tokens, id, |state| {
                state.prefixes -= 1;
                if state.prefixes == 0 {
                    state.session = None;
                }
            });
        }
    }

    fn count(&mut self, key: &Key, by: i32) {
        let count = &mut self.counts[usize::from(key.is_v6)][usize::from(key.length)];
        let before = *count;
        *count = before.wrapping_add_signed(by);
        let word = if key.is_v6 { 1 + usize::from(key.length) / 64 } else { 0 };
        let bit = 1_u64 << (key.length % 64);
        match (before, *count) {
            (0, _) => drop(self.table.lengths[word].fetch_or(bit, Ordering::AcqRel)),
            (_, 0) => drop(self.table.lengths[word].fetch_and(!bit, Ordering::AcqRel)),
            _ => {}
        }
    }

    fn changed(&mut self) {
        self.changes += 1;
        self.table.epoch.0.store(self.changes, Ordering::Release);
    }
}

/// What a table would come to, without a change of it.
struct Trial<'w> {
    table: &'w Table,
    room: Room,
    prefixes: usize,
    tokens: usize,
    /// Keys that are otherwise than in the table: whose they are, if anybody's.
    keys: HashMap<Key, Option<Holder>>,
    /// Tokens that are: prefixes, and whether something is chosen.
    states: HashMap<Token, (u32, bool)>,
}

impl<'w> Trial<'w> {
    fn of(writer: &'w Writer) -> Trial<'w> {
        let (prefixes, tokens) = (writer.prefixes.len(), writer.tokens.len());
        let (keys, states) = (HashMap::new(), HashMap::new());
        Trial { table: &writer.table, room: writer.room, prefixes, tokens, keys, states }
    }

    fn all<'c>(mut self, changes: impl Iterator<Item = &'c Change>) -> Result<(), Full> {
        for change in changes {
            match change {
                Change::Put(key, entry) => self.put(*key, Some(entry.holder))?,
                Change::Remove(key) => self.put(*key, None)?,
                Change::Choose(token, chosen) => self.change(*token, |state| state.1 = chosen.is_some())?,
                Change::Say(..) => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, key: Key, holder: Option<Holder>) -> Result<(), Full> {
        if let Some(Holder::Token(token)) = holder {
            self.change(token, |state| state.0 += 1)?;
        }
        let known = || self.table.get(&key).map(|entry| entry.holder);
        let before = self.keys.insert(key, holder).unwrap_or_else(known);
        if let Some(Holder::Token(token)) = before {
            self.change(token, |state| state.0 = state.0.saturating_sub(1))?;
        }
        self.prefixes = self.prefixes + usize::from(holder.is_some()) - usize::from(before.is_some());
        if self.prefixes > self.room.prefixes { Err(Full::Prefixes(self.room.prefixes)) } else { Ok(()) }
    }

    fn change(&mut self, token: Token, with: impl FnOnce(&mut (u32, bool))) -> Result<(), Full> {
        let table = self.table;
        let state = self.states.entry(token).or_insert_with(|| {
            table.find_token(token).map_or((0, false), |state| (state.prefixes, state.chosen.is_some()))
        });
        let is_used = |state: &(u32, bool)| usize::from(state.0 > 0 || state.1);
        let before = is_used(state);
        with(state);
        self.tokens = self.tokens + is_used(state) - before;
        if self.tokens > self.room.tokens { Err(Full::Tokens(self.room.tokens)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
