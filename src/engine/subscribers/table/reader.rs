//! Finding subscribers: one at a time, or all of a batch together, so that the processor waits for memory of many at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Found, Held, Table, Term, unpack};
use crate::engine::client::{Realm, Token, unmap};
use crate::engine::query::Origin;
use crate::engine::subscribers::key::Key;
use crate::engine::subscribers::slots::PrefixReader;
use crate::engine::subscribers::tokens::{RecordId, TokenReader, TokenState};

/// Finds subscribers in a table. Takes no lock and allocates nothing.
pub trait LookUp {
    type Found: Copy + Into<Held>;
    /// The subscriber at an address: the longest prefix, blocks of ports before whole addresses.
    fn find(&mut self, realm: Realm, source: SocketAddr) -> Option<Self::Found>;
    /// What is known of a token.
    fn find_token(&mut self, token: Token) -> Option<Self::Found>;
}

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
    calls: Vec<Call>,
}

/// One who is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sought {
    /// What it says that it is: where that is known, it goes before where it is.
    pub identity: Option<Token>,
    pub realm: Realm,
    pub source: SocketAddr,
}

impl Sought {
    pub fn of(origin: &Origin) -> Sought {
        Sought { identity: origin.identity, realm: origin.realm, source: origin.source }
    }
}

/// A place where one of several that are looked for may be.
#[derive(Debug)]
struct Probe {
    of: usize,
    key: Key,
    hash: u64,
}

/// One of several that are looked for says what it is.
#[derive(Debug)]
struct Call {
    of: usize,
    token: Token,
    /// The record that is hardly ever another token's.
    likely: Option<RecordId>,
}

/// The prefixes that an address may be found by, the longest first.
pub(super) struct Keys {
    realm: Realm,
    address: IpAddr,
    port: u16,
    /// Lengths in use, a bit each.
    lengths: [u64; 3],
    word: usize,
}

impl Keys {
    #[inline]
    pub(super) fn new(realm: Realm, source: SocketAddr, [v4, v6 @ ..]: [u64; 4]) -> Keys {
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

impl Table {
    pub fn reader(self: &Arc<Table>) -> Reader {
        let (prefixes, tokens) = (self.prefixes.reader(), self.tokens.reader());
        let (probes, words, calls) = Default::default();
        Reader { table: Arc::clone(self), prefixes, tokens, probes, words, calls }
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
        Some(held_by_token(state))
    }
}

/// What is held by whoever says what it is: it has no end.
fn held_by_token(state: TokenState) -> Held {
    Held { profile: state.profile(), term: Term::default() }
}

impl Reader {
    /// Holds no part of the table any more that was replaced.
    pub fn let_go(&mut self) {
        self.prefixes.shards();
        self.tokens.let_go();
    }

    /// Finds all of these, into `found` by their order, so that the processor waits for the memory of many at once: `touch` is told of
    /// what is read next, first where each token and prefix would be, then the record that each points to. Nothing is in `found` when a
    /// record was used again meanwhile.
    pub fn find_all(&mut self, sought: &[Sought], found: &mut Vec<Option<Held>>, mut touch: impl FnMut(*const u8)) {
        let Reader { table, prefixes, tokens, probes, words, calls } = self;
        let before = table.tokens.reuses();
        let (shards, index) = (prefixes.shards(), tokens.index());
        let lengths = table.lengths_in_use();
        probes.clear();
        words.clear();
        calls.clear();
        found.clear();
        words.resize(sought.len(), None);
        for (of, Sought { identity, realm, source }) in sought.iter().enumerate() {
            if let Some(token) = *identity {
                calls.push(Call { of, token, likely: None });
                continue;
            }
            for key in Keys::new(*realm, *source, lengths) {
                let hash = shards.hash(&key);
                probes.push(Probe { of, key, hash });
            }
        }
        // Short loops of nothing else: each place is in a page of its own, and the more of them the processor has in hand, the more
        // of their translations it looks up at once.
        for Call { token, .. } in calls.iter() {
            touch(index.first_place(*token));
        }
        for Probe { hash, .. } in probes.iter() {
            touch(shards.first_place(*hash));
        }
        for Call { token, likely, .. } in calls.iter_mut() {
            *likely = index.likely(*token);
        }
        for Probe { of, key, hash } in probes {
            if words[*of].is_none() {
                words[*of] = shards.get(*hash, key);
            }
        }
        let by_prefix = words.iter().flatten().filter_map(|word| unpack(*word).0.ok());
        for id in calls.iter().filter_map(|call| call.likely).chain(by_prefix) {
            touch(table.tokens.place(id));
        }
        found.extend(words.iter().map(|word| table.held((*word)?)));
        for Call { of, token, likely } in calls {
            let state = likely.and_then(|id| table.tokens.state_of(id, *token));
            let state = state.or_else(|| table.tokens.find_now(index, *token).map(|(_, state)| state));
            found[*of] = state.map(held_by_token).or_else(|| {
                // What it says that it is nobody knows: then where it is counts.
                let Sought { realm, source, .. } = sought[*of];
                let word = Keys::new(realm, source, lengths).find_map(|key| shards.get(shards.hash(&key), &key));
                table.held(word?)
            });
        }
        if !table.tokens.is_still(before) {
            found.clear();
        }
    }
}
