//! Prefix → subscriber → profile, in memory, changed while it is read: many readers, one writer, no lock between them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;

use super::key::{Key, V4_BITS, V6_BITS};
use super::names::{NameId, Names};
use super::slots::{PrefixReader, PrefixWriter, Prefixes};
use super::tokens::{RecordId, TokenReader, TokenState, TokenWriter, Tokens};
use crate::engine::client::{Realm, Token, unmap};
use crate::engine::limits::{SUBSCRIBER_PREFIXES_MAX, SUBSCRIBER_TOKENS_MAX};

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

/// A [`Table`] as one who asks again and again sees it: what a thread that answers questions keeps.
///
/// It shows every change as soon as the table does. What was replaced it may hold until [`Reader::let_go`].
#[derive(Debug)]
pub struct Reader {
    table: Arc<Table>,
    prefixes: PrefixReader,
    tokens: TokenReader,
    /// Room for [`Reader::find_all`].
    probes: Vec<Probe>,
    words: Vec<Option<u64>>,
}

/// A place where one of several that are looked for may be.
#[derive(Debug)]
struct Probe {
    of: usize,
    key: Key,
    hash: u64,
}

/// The prefixes that an address may be found by, the longest first.
struct Keys {
    realm: Realm,
    address: IpAddr,
    port: u16,
    /// Lengths in use, a bit each.
    lengths: [u64; 3],
    word: usize,
}

impl Keys {
    #[inline]
    fn new(realm: Realm, source: SocketAddr, [v4, v6 @ ..]: [u64; 4]) -> Keys {
        let (address, port) = (unmap(source.ip()), source.port());
        let (lengths, word) = if address.is_ipv4() { ([v4, 0, 0], 0) } else { (v6, 2) };
        Keys { realm, address, port, lengths, word }
    }
}

impl Iterator for Keys {
    type Item = Key;

    #[inline]
    fn next(&mut self) -> Option<Key> {
        while self.lengths[self.word] == 0 {
            self.word = self.word.checked_sub(1)?;
        }
        let top = self.lengths[self.word].ilog2();
        self.lengths[self.word] &= !(1 << top);
        Some(Key::around(self.realm, self.address, self.port, (self.word * 64) as u8 + top as u8))
    }
}

/// Finds subscribers in a table. Takes no lock and allocates nothing.
pub trait LookUp {
    type Found: Copy + Into<Held>;
    /// The subscriber at an address: the longest prefix, blocks of ports before whole addresses.
    fn find(&mut self, realm: Realm, source: SocketAddr) -> Option<Self::Found>;
    /// What is known of a token.
    fn find_token(&mut self, token: Token) -> Option<Self::Found>;
}

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

    pub fn reader(self: &Arc<Table>) -> Reader {
        let (prefixes, tokens) = (self.prefixes.reader(), self.tokens.reader());
        Reader { table: Arc::clone(self), prefixes, tokens, probes: Vec::new(), words: Vec::new() }
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

impl LookUp for &Table {
    type Found = Found;

    fn find(&mut self, realm: Realm, source: SocketAddr) -> Option<Found> {
        Table::find(self, realm, source)
    }

    fn find_token(&mut self, token: Token) -> Option<Found> {
        let state = Table::find_token(self, token)?;
        Some(Found { token: Some(token), profile: state.profile(), term: Term::default() })
    }
}

impl LookUp for Reader {
    type Found = Held;

    fn find(&mut self, realm: Realm, source: SocketAddr) -> Option<Held> {
        let Reader { table, prefixes, .. } = self;
        table.whole(|| table.held(table.keys(realm, source).find_map(|key| prefixes.get(&key))?))
    }

    fn find_token(&mut self, token: Token) -> Option<Held> {
        let Reader { table, tokens, .. } = self;
        let (_, state) = table.whole(|| table.tokens.find_by(tokens, token))?;
        Some(Held { profile: state.profile(), term: Term::default() })
    }
}

impl Reader {
    /// Holds no part of the table any more that was replaced.
    pub fn let_go(&mut self) {
        self.prefixes.shards();
        self.tokens.let_go();
    }

    /// Finds those at all of these addresses, into `found` by their order, so that the processor waits for the memory of many at
    /// once: `touch` is told of what is read next, first where each prefix would be, then the record that each points to. Nothing
    /// is in `found` when a record was used again meanwhile.
    pub fn find_all(
        &mut self,
        sources: impl Iterator<Item = (Realm, SocketAddr)>,
        found: &mut Vec<Option<Held>>,
        mut touch: impl FnMut(*const u8),
    ) {
        let Reader { table, prefixes, probes, words, .. } = self;
        let before = table.tokens.reuses();
        let shards = prefixes.shards();
        let lengths = table.lengths_in_use();
        probes.clear();
        words.clear();
        found.clear();
        for (of, (realm, source)) in sources.enumerate() {
            words.push(None);
            for key in Keys::new(realm, source, lengths) {
                let hash = shards.hash(&key);
                touch(shards.first_place(hash));
                probes.push(Probe { of, key, hash });
            }
        }
        for Probe { of, key, hash } in probes {
            if words[*of].is_none()
                && let Some(word) = shards.get(*hash, key)
            {
                words[*of] = Some(word);
                if let Ok(id) = unpack(word).0 {
                    touch(table.tokens.place(id));
                }
            }
        }
        found.extend(words.iter().map(|word| table.held((*word)?)));
        if !table.tokens.is_still(before) {
            found.clear();
        }
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
mod tests {
    use super::*;

    const TERM: Term = Term { until: None, is_hard: false, is_session: false };

    fn net(text: &str) -> Key {
        Key::of_net(Realm(0), text.parse().unwrap())
    }

    fn profile_at(table: &Table, source: &str) -> Option<String> {
        table.find(Realm(0), source.parse().unwrap()).and_then(|found| found.profile).map(|id| table.name(id))
    }

    #[test]
    fn the_longest_prefix_wins_and_ports_are_longer_than_addresses() {
        let (table, mut writer) = Table::new((1, 2));
        let mut put = |key: Key, name: &str| {
            let holder = Holder::Profile(table.intern(name).unwrap());
            writer.put(key, Entry { holder, term: TERM }).unwrap();
        };
        for (prefix, name) in [
            ("100.64.0.0/10", "ten"),
            ("100.64.1.2/32", "one"),
            ("2001:db8::/32", "wide"),
            ("2001:db8:0:100::/56", "line"),
            ("2001:db8:1::/48", "site"),
            ("2001:db8:1::7/128", "host"),
        ] {
            put(net(prefix), name);
        }
        for key in Key::of_ports(Realm(0), [198, 51, 100, 7].into(), 1_024..=2_023) {
            put(key, "block");
        }
        put(Key::of_net(Realm(5), "100.64.1.2/32".parse().unwrap()), "elsewhere");
        for (source, name) in [
            ("100.64.1.2:5", Some("one")),
            ("100.64.1.3:5", Some("ten")),
            ("[::ffff:100.64.1.2]:5", Some("one")),
            ("100.128.0.1:5", None),
            ("198.51.100.7:1024", Some("block")),
            ("198.51.100.7:2023", Some("block")),
            ("198.51.100.7:2024", None),
            ("198.51.100.7:1023", None),
            ("[2001:db8:0:1ff::9]:5", Some("line")),
            ("[2001:db8:0:200::9]:5", Some("wide")),
            ("[2001:db8:1:ffff::1]:5", Some("site")),
            ("[2001:db8:1::7]:5", Some("host")),
        ] {
            assert_eq!(profile_at(&table, source).as_deref(), name, "{source}");
        }
        let elsewhere = table.find(Realm(5), "100.64.1.2:5".parse().unwrap()).unwrap();
        assert_eq!(table.name(elsewhere.profile.unwrap()), "elsewhere");
        assert_eq!(table.find(Realm(5), "100.64.1.3:5".parse().unwrap()), None);
        assert_eq!(writer.counts(), Counts { v4: 3, ports: 6, v6: 4, tokens: 0 });
        writer.remove(&net("100.64.1.2/32")).unwrap();
        assert_eq!(profile_at(&table, "100.64.1.2:5").as_deref(), Some("ten"));
        assert_eq!(writer.remove(&net("100.64.1.2/32")), None);
    }

    #[test]
    fn a_tokens_profile_reaches_all_its_prefixes_and_the_choice_goes_first() {
        let (table, mut writer) = Table::new((1, 2));
        let (family, school) = (table.intern("family"), table.intern("school"));
        let token = Token(77);
        let session = Entry { holder: Holder::Token(token), term: Term { is_session: true, until: Some(9), ..TERM } };
        writer.put(net("100.64.1.2/32"), session).unwrap();
        writer.put(net("2001:db8::/56"), session).unwrap();
        assert_eq!(profile_at(&table, "100.64.1.2:5"), None);
        let found = table.find(Realm(0), "100.64.1.2:5".parse().unwrap()).unwrap();
        assert_eq!((found.token, found.term), (Some(token), session.term));
        writer.say_of_session(token, school).unwrap();
        assert_eq!(profile_at(&table, "[2001:db8::1]:5").as_deref(), Some("school"));
        writer.choose(token, family).unwrap();
        assert_eq!(profile_at(&table, "100.64.1.2:5").as_deref(), Some("family"));
        assert_eq!(table.find_token(token), Some(TokenState { chosen: family, session: school, prefixes: 2 }));
        // The same prefix again is one prefix still.
        writer.put(net("2001:db8::/56"), session).unwrap();
        assert_eq!(table.find_token(token).unwrap().prefixes, 2);
        // The address goes to the next subscriber; what was chosen stays with the one before.
        writer.put(net("100.64.1.2/32"), Entry { holder: Holder::Token(Token(78)), ..session }).unwrap();
        assert_eq!(profile_at(&table, "100.64.1.2:5"), None);
        writer.remove(&net("2001:db8::/56"));
        assert_eq!(table.find_token(token), Some(TokenState { chosen: family, session: None, prefixes: 0 }));
        writer.choose(token, None).unwrap();
        assert_eq!(table.find_token(token), None);
        assert_eq!(writer.counts().tokens, 1);
    }

    #[test]
    fn a_full_table_is_known_before_it_is_changed_and_takes_what_replaces() {
        let (table, mut writer) = Table::with_room((1, 2), Room { prefixes: 2, tokens: 2 });
        let family = table.intern("family");
        let of = |token| Entry { holder: Holder::Token(Token(token)), term: TERM };
        let (a, b, c) = (net("10.0.0.1/32"), net("10.0.0.2/32"), net("10.0.0.3/32"));
        for change in [Change::Put(a, of(1)), Change::Put(b, of(2))] {
            writer.apply(&change).unwrap();
        }
        let (no_prefix, no_token) = (Err(Full::Prefixes(2)), Err(Full::Tokens(2)));
        for (changes, fits) in [
            (vec![Change::Put(a, of(2)), Change::Put(b, of(1))], Ok(())),
            (vec![Change::Put(c, of(1))], no_prefix),
            (vec![Change::Remove(a), Change::Put(c, of(1))], Ok(())),
            (vec![Change::Put(c, of(1)), Change::Remove(a)], no_prefix),
            (vec![Change::Put(a, of(3))], no_token),
            (vec![Change::Choose(Token(3), family)], no_token),
            (vec![Change::Choose(Token(2), family), Change::Choose(Token(3), None)], Ok(())),
            (vec![Change::Remove(a), Change::Choose(Token(3), family)], Ok(())),
            (vec![Change::Choose(Token(1), family), Change::Remove(a), Change::Choose(Token(3), family)], no_token),
            (vec![Change::Put(c, Entry { holder: Holder::Profile(family.unwrap()), term: TERM })], no_prefix),
            (vec![Change::Say(Token(9), family)], Ok(())),
        ] {
            assert_eq!(writer.fits(changes.iter()), fits, "{changes:?}");
        }
        assert_eq!((writer.put(c, of(1)), writer.put(a, of(3))), (no_prefix, no_token));
        assert_eq!(writer.counts().tokens, 2);
    }

    /// Whoever keeps what it reads with sees what the table holds now, however it has grown; and only what is there is touched.
    #[test]
    fn a_reader_sees_every_change_at_once() {
        let (table, mut writer) = Table::new((1, 2));
        let mut reader = table.reader();
        let profile = table.intern("family").unwrap();
        let source = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 7));
        for n in 0..20_000 {
            let key = Key::of_net(Realm(0), source(n).ip().into());
            assert_eq!(reader.find(Realm(0), source(n)), None);
            writer
                .put(key, Entry { holder: Holder::Token(Token(u128::from(n) << 64 | u128::from(n))), term: TERM })
                .unwrap();
            assert!(reader.find(Realm(0), source(n)).is_some(), "{n}");
            writer.choose(Token(u128::from(n) << 64 | u128::from(n)), Some(profile)).unwrap();
            assert_eq!(
                reader.find(Realm(0), source(n / 2)),
                table.find(Realm(0), source(n / 2)).map(Held::from),
                "{n}"
            );
            assert_eq!(reader.find(Realm(0), source(n)).unwrap().profile, Some(profile), "{n}");
        }
        let (mut touched, mut found) = (Vec::new(), Vec::new());
        let sources = [source(1), source(30_000), source(2)];
        reader.find_all(sources.map(|source| (Realm(0), source)).into_iter(), &mut found, |place| touched.push(place));
        assert_eq!(found, sources.map(|source| reader.find(Realm(0), source)));
        assert_eq!((touched.len(), found[1]), (3 + 2, None), "three places of prefixes, and the records of two");
        // Of several lengths the longest wins here too.
        writer
            .put(net("10.0.0.0/16"), Entry { holder: Holder::Profile(table.intern("wide").unwrap()), term: TERM })
            .unwrap();
        reader.find_all([(Realm(0), source(1)), (Realm(0), source(30_000))].into_iter(), &mut found, |_| {});
        assert_eq!(found, [source(1), source(30_000)].map(|source| reader.find(Realm(0), source)));
    }

    /// A prefix whose token comes and goes never shows another token's profile.
    #[test]
    fn records_used_again_are_nobodys_elses() {
        let (table, mut writer) = Table::new((1, 2));
        let names: Vec<_> = (0..8).map(|n| table.intern(&format!("p{n}")).unwrap()).collect();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (line, keeps_shards) in [(0_usize, false), (1, false), (0, true), (1, true)] {
                let (table, names, done) = (&table, &names, &done);
                scope.spawn(move || {
                    let source = SocketAddr::from(([10, 0, 0, line as u8], 1));
                    let (mut table, mut reader) = (&**table, table.reader());
                    while !done.load(Ordering::Relaxed) {
                        let found = match keeps_shards {
                            true => reader.find(Realm(0), source),
                            false => LookUp::find(&mut table, Realm(0), source).map(|found| {
                                assert_eq!(found.token.unwrap().0 as usize % 2, line);
                                found.into()
                            }),
                        };
                        // The session's profile may not be told yet, or not any more.
                        let Some(profile) = found.and_then(|held: Held| held.profile) else { continue };
                        let place = names.iter().position(|name| *name == profile).unwrap();
                        assert_eq!(place % 2, line);
                    }
                });
            }
            for round in 0..50_000_u128 {
                let key = net(&format!("10.0.0.{}/32", round % 2));
                let token = Token(round + 8);
                let entry = Entry { holder: Holder::Token(token), term: Term { is_session: true, ..TERM } };
                writer.put(key, entry).unwrap();
                writer.say_of_session(token, Some(names[(round % 8) as usize])).unwrap();
                if round % 3 == 0 {
                    writer.remove(&key);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(writer.counts().tokens <= 2);
    }
}
