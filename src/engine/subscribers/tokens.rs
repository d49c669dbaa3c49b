//! What is known of each token, in records that never move, and an index over them.
//!
//! A prefix points to a record by its number. A record that nobody points to is used again for another token; before that
//! happens, and before a session's profile is taken off a record, the counter `reuses` moves, and a reader who finds it moved looks
//! again.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use arc_swap::{ArcSwap, Cache};

use super::names::NameId;
use crate::engine::client::Token;
use crate::engine::limits::SUBSCRIBER_TOKENS_MAX;

/// Records made at once.
const CHUNK: usize = 4_096;
const SHARDS: usize = 256;
const SLOTS_MIN: usize = 16;
const EMPTY: u64 = 0;
/// A token was here; the search goes on behind it.
const GONE: u64 = u32::MAX as u64;

/// The number of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordId(pub u32);

/// What a record says of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenState {
    /// What the subscriber, or the operator's books, chose.
    pub chosen: Option<NameId>,
    /// What the network said with the session; the choice goes before it.
    pub session: Option<NameId>,
    /// Prefixes that point here.
    pub prefixes: u32,
}

impl TokenState {
    /// The profile that the token has.
    pub fn profile(&self) -> Option<NameId> {
        self.chosen.or(self.session)
    }

    fn is_unused(&self) -> bool {
        self.chosen.is_none() && self.prefixes == 0
    }

    fn pack(self) -> u64 {
        u64::from(NameId::number(self.chosen))
            | u64::from(NameId::number(self.session)) << 16
            | u64::from(self.prefixes) << 32
    }

    fn unpack(word: u64) -> TokenState {
        TokenState {
            chosen: NameId::of_octets(word as u16),
            session: NameId::of_octets((word >> 16) as u16),
            prefixes: (word >> 32) as u32,
        }
    }
}

/// 24 octets, and 8 so that none lies in two lines of memory.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Record {
    high: AtomicU64,
    low: AtomicU64,
    state: AtomicU64,
}

impl Record {
    fn token(&self) -> Token {
        let (high, low) = (self.high.load(Ordering::Relaxed), self.low.load(Ordering::Relaxed));
        Token(u128::from(high) << 64 | u128::from(low))
    }
}

type Slots = Arc<[AtomicU64]>;
type Index = [Slots; SHARDS];

/// The records, which all share.
#[derive(Debug)]
pub(super) struct Tokens {
    chunks: Box<[OnceLock<Box<[Record]>>]>,
    /// A part of the token's bits above a record's number plus one.
    index: Arc<ArcSwap<Index>>,
    /// Counts records that were used again, or whose session ended.
    reuses: AtomicU64,
}

/// The index as one reader sees it; see [`PrefixReader`](super::slots::PrefixReader).
#[derive(Debug)]
pub(super) struct TokenReader {
    index: Cache<Arc<ArcSwap<Index>>, Arc<Index>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fill {
    full: usize,
    gone: usize,
}

/// What the writer knows of the records.
#[derive(Debug)]
pub(super) struct TokenWriter {
    fills: Vec<Fill>,
    /// Records ever used.
    used: u32,
    free: Vec<u32>,
}

/// Tokens are keyed hashes, so their own bits are as good as a hash of them.
fn shard_of(token: Token) -> usize {
    token.0 as usize % SHARDS
}

fn place(token: Token, slots: usize) -> usize {
    (((token.0 >> 64) * slots as u128) >> 64) as usize
}

/// Kept in the index, so that few other records are looked at.
fn mark(token: Token) -> u64 {
    (token.0 >> 32) as u64 & 0xffff_ffff
}

impl TokenReader {
    /// The index that there is now.
    #[inline]
    pub fn index(&mut self) -> IndexNow<'_> {
        IndexNow(self.index.load())
    }

    /// Holds no part of the index any more that was replaced.
    pub fn let_go(&mut self) {
        self.index.load();
    }
}

/// The index as it is between two changes of a shard's size.
#[derive(Clone, Copy)]
pub(super) struct IndexNow<'r>(&'r Index);

impl IndexNow<'_> {
    /// Where the search for a token begins.
    #[inline]
    pub fn first_place(self, token: Token) -> *const u8 {
        let slots = &self.0[shard_of(token)];
        std::ptr::from_ref(&slots[place(token, slots.len())]).cast()
    }

    /// The record that is hardly ever another token's; [`Tokens::find_now`] has the one that never is.
    #[inline]
    pub fn likely(self, token: Token) -> Option<RecordId> {
        marked(&self.0[shard_of(token)], token).next()
    }
}

/// The records with a token's mark, where its search comes by them.
#[inline]
fn marked(slots: &[AtomicU64], token: Token) -> impl Iterator<Item = RecordId> + '_ {
    let (behind, ahead) = slots.split_at(place(token, slots.len()));
    let seen = ahead.iter().chain(behind).map(|slot| slot.load(Ordering::Acquire)).take_while(|slot| *slot != EMPTY);
    let is_marked = move |slot: &u64| slot >> 32 == mark(token) && *slot as u32 != GONE as u32;
    seen.filter(is_marked).map(|slot| RecordId(slot as u32 - 1))
}

impl Tokens {
    pub fn new() -> (Tokens, TokenWriter) {
        let chunks = (0..SUBSCRIBER_TOKENS_MAX.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
        let index: Index = std::array::from_fn(|_| empty(SLOTS_MIN));
        let index = Arc::new(ArcSwap::from_pointee(index));
        let writer = TokenWriter { fills: vec![Fill::default(); SHARDS], used: 0, free: Vec::new() };
        (Tokens { chunks, index, reuses: AtomicU64::new(0) }, writer)
    }

    fn record(&self, id: RecordId) -> Option<&Record> {
        self.chunks.get(id.0 as usize / CHUNK)?.get()?.get(id.0 as usize % CHUNK)
    }

    /// To be compared after a look-up: when it moved, what was read may be another token's.
    pub fn reuses(&self) -> u64 {
        self.reuses.load(Ordering::Acquire)
    }

    /// Moves the counter: whoever reads a word that is written from here on finds, after it, that it has moved.
    fn moved(&self) {
        self.reuses.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::Release);
    }

    /// Whether no record was used again since `before`.
    pub fn is_still(&self, before: u64) -> bool {
        fence(Ordering::Acquire);
        self.reuses.load(Ordering::Relaxed) == before
    }

    /// Where a record's state is.
    #[inline]
    pub fn place(&self, id: RecordId) -> *const u8 {
        self.record(id).map_or(std::ptr::null(), |record| std::ptr::from_ref(&record.state).cast())
    }

    #[inline]
    pub fn state(&self, id: RecordId) -> Option<TokenState> {
        Some(TokenState::unpack(self.record(id)?.state.load(Ordering::Acquire)))
    }

    pub fn at(&self, id: RecordId) -> Option<(Token, TokenState)> {
        let record = self.record(id)?;
        let state = TokenState::unpack(record.state.load(Ordering::Acquire));
        Some((record.token(), state))
    }

    pub fn reader(&self) -> TokenReader {
        TokenReader { index: Cache::new(Arc::clone(&self.index)) }
    }

    /// The record of a token, for those who ask seldom. Takes no lock and allocates nothing; compare [`Tokens::reuses`] around
    /// it.
    pub fn find(&self, token: Token) -> Option<(RecordId, TokenState)> {
        self.find_in(&self.index.load()[shard_of(token)], token)
    }

    /// As [`Tokens::find`].
    pub fn find_by(&self, reader: &mut TokenReader, token: Token) -> Option<(RecordId, TokenState)> {
        self.find_now(reader.index(), token)
    }

    /// As [`Tokens::find`].
    pub fn find_now(&self, index: IndexNow<'_>, token: Token) -> Option<(RecordId, TokenState)> {
        self.find_in(&index.0[shard_of(token)], token)
    }

    fn shard(&self, token: Token) -> Slots {
        Arc::clone(&self.index.load()[shard_of(token)])
    }

    fn find_in(&self, slots: &[AtomicU64], token: Token) -> Option<(RecordId, TokenState)> {
        marked(slots, token).find_map(|id| Some((id, self.state_of(id, token)?)))
    }

    /// What a record says of this token; `None` when it is another's.
    #[inline]
    pub fn state_of(&self, id: RecordId, token: Token) -> Option<TokenState> {
        let (found, state) = self.at(id)?;
        (found == token).then_some(state)
    }

    /// Every token, in no order.
    pub fn each(&self, mut with: impl FnMut(Token, TokenState)) {
        for slots in self.index.load_full().iter() {
            for slot in slots.iter().map(|slot| slot.load(Ordering::Acquire)) {
                if slot == EMPTY || slot as u32 == GONE as u32 {
                    continue;
                }
                if let Some((token, state)) = self.at(RecordId(slot as u32 - 1)) {
                    with(token, state);
                }
            }
        }
    }

    pub fn octets(&self) -> usize {
        let chunks = self.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        let index: usize = self.index.load().iter().map(|slots| slots.len() * size_of::<AtomicU64>()).sum();
        self.chunks.len() * size_of::<OnceLock<Box<[Record]>>>() + chunks * CHUNK * size_of::<Record>() + index
    }
}

fn empty(slots: usize) -> Slots {
    (0..slots).map(|_| AtomicU64::new(EMPTY)).collect()
}

impl TokenWriter {
    pub fn len(&self) -> usize {
        self.fills.iter().map(|fill| fill.full).sum()
    }

    /// The record of a token, made when there is none. `None`: there are too many.
    pub fn of(&mut self, table: &Tokens, token: Token) -> Option<RecordId> {
        if let Some((id, _)) = table.find(token) {
            return Some(id);
        }
        let id = match self.free.pop() {
            Some(id) => {
                table.moved();
                RecordId(id)
            }
            None if self.used as usize >= SUBSCRIBER_TOKENS_MAX => return None,
            None => {
                self.used += 1;
                RecordId(self.used - 1)
            }
        };
        let chunk = &table.chunks[id.0 as usize / CHUNK];
        let record = &chunk.get_or_init(|| (0..CHUNK).map(|_| Record::default()).collect())[id.0 as usize % CHUNK];
        record.high.store((token.0 >> 64) as u64, Ordering::Relaxed);
        record.low.store(token.0 as u64, Ordering::Relaxed);
        record.state.store(0, Ordering::Release);
        self.enter(table, token, id);
        Some(id)
    }

    /// Changes what a record says; one that nobody needs any more is given up.
    pub fn change(&mut self, table: &Tokens, id: RecordId, with: impl FnOnce(&mut TokenState)) {
        let record = table.record(id).expect("the writer knows the numbers it gave");
        let before = TokenState::unpack(record.state.load(Ordering::Relaxed));
        let mut state = before;
        with(&mut state);
        if before.session.is_some() && state.session.is_none() || state.is_unused() {
            // Whoever came here by a prefix that was this token's a moment ago looks whose it is now, and whoever came by the token
            // itself, where its line is.
            table.moved();
        }
        record.state.store(state.pack(), Ordering::Release);
        if state.is_unused() {
            self.give_up(table, record.token(), id);
        }
    }

    fn give_up(&mut self, table: &Tokens, token: Token, id: RecordId) {
        let slots = table.shard(token);
        if let Some(slot) = slot_of(&slots, token, id) {
            slot.store(GONE, Ordering::Release);
            let fill = &mut self.fills[shard_of(token)];
            fill.full -= 1;
            fill.gone += 1;
            self.free.push(id.0);
        }
    }

    fn enter(&mut self, table: &Tokens, token: Token, id: RecordId) {
        let shard = shard_of(token);
        let mut slots = table.shard(token);
        let fill = &mut self.fills[shard];
        if (fill.full + fill.gone + 1) * 4 > slots.len() * 3 {
            fill.gone = 0;
            let new = empty(((fill.full + 1) * 16 / 9).max(SLOTS_MIN));
            for old in slots.iter().map(|slot| slot.load(Ordering::Relaxed)) {
                if old == EMPTY || old as u32 == GONE as u32 {
                    continue;
                }
                let (token, _) = table.at(RecordId(old as u32 - 1)).expect("the index holds numbers of records");
                new[free_place(&new, token)].store(old, Ordering::Relaxed);
            }
            let mut index = table.index.load().as_ref().clone();
            index[shard] = Arc::clone(&new);
            table.index.store(Arc::new(index));
            slots = new;
        }
        let at = free_place(&slots, token);
        if slots[at].load(Ordering::Relaxed) == GONE {
            self.fills[shard].gone -= 1;
        }
        self.fills[shard].full += 1;
        slots[at].store(mark(token) << 32 | u64::from(id.0 + 1), Ordering::Release);
    }
}

/// The slot that names a record: within the few that a search for its token looks at, not the whole shard.
fn slot_of(slots: &[AtomicU64], token: Token, id: RecordId) -> Option<&AtomicU64> {
    let (before, from) = slots.split_at(place(token, slots.len()));
    let word = |slot: &&AtomicU64| slot.load(Ordering::Relaxed);
    let mut path = from.iter().chain(before).take_while(|slot| word(slot) != EMPTY);
    path.find(|slot| word(slot) == mark(token) << 32 | u64::from(id.0 + 1))
}

fn free_place(slots: &[AtomicU64], token: Token) -> usize {
    let mut at = place(token, slots.len());
    while !matches!(slots[at].load(Ordering::Relaxed), EMPTY | GONE) {
        at = if at + 1 == slots.len() { 0 } else { at + 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(n: u64) -> Token {
        Token(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    /// Tokens whose search begins at one place, and goes round the end.
    #[test]
    fn what_is_given_up_is_found_on_the_path_of_its_search() {
        let (table, mut writer) = Tokens::new();
        let crowded = |n: u128| Token(u128::from(u64::MAX) << 64 | n << 32);
        let ids: Vec<RecordId> = (0..8).map(|n| writer.of(&table, crowded(n)).unwrap()).collect();
        let slots = table.shard(crowded(0));
        for (n, id) in ids.iter().enumerate() {
            assert!(slot_of(&slots, crowded(n as u128), *id).is_some(), "{n}");
        }
        assert!(slot_of(&slots, crowded(0), RecordId(99)).is_none());
        for (n, id) in ids.iter().enumerate().rev() {
            writer.change(&table, *id, |state| state.prefixes = 0);
            assert_eq!((table.find(crowded(n as u128)), writer.len()), (None, n));
        }
    }

    #[test]
    fn tokens_come_and_go_and_records_are_used_again() {
        let (table, mut writer) = Tokens::new();
        let name = NameId::of_octets(7);
        for n in 1..=10_000 {
            let id = writer.of(&table, token(n)).unwrap();
            writer.change(&table, id, |state| state.chosen = name);
        }
        for n in (1..=10_000).step_by(2) {
            let (id, _) = table.find(token(n)).unwrap();
            writer.change(&table, id, |state| state.chosen = None);
            assert_eq!(table.find(token(n)), None);
        }
        assert_eq!(writer.len(), 5_000);
        let before = table.reuses();
        for n in 20_001..=25_000 {
            let id = writer.of(&table, token(n)).unwrap();
            writer.change(&table, id, |state| state.prefixes = 2);
        }
        assert_eq!((writer.used, table.reuses() - before), (10_000, 5_000));
        for n in (2..=10_000).step_by(2) {
            assert_eq!(table.find(token(n)).unwrap().1.profile(), name, "{n}");
        }
        for n in 20_001..=25_000 {
            assert_eq!(table.find(token(n)).unwrap().1, TokenState { prefixes: 2, ..TokenState::default() });
        }
        let mut count = 0;
        table.each(|_, _| count += 1);
        assert_eq!(count, 10_000);
    }
}
