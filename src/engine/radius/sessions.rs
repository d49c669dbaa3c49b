//! What a sequence of accounting packets comes to, late, doubled and out of order as they are.
//!
//! ```text
//! unknown ──Start, Interim──▶ open ──Stop, the NAS began anew──▶ ended ──some minutes──▶ unknown
//! ```
//!
//! Packets are put in order by when they happened, not by when they came. A place belongs to the session that named it last;
//! whatever an earlier one says or ends, it keeps its hands off. That a session ended is remembered for a while, so that a
//! packet from before its end does not bring it back.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::{Kind, Place, Status, Told};
use crate::engine::client::{Realm, Token, TokenKey};
use crate::engine::limits::{NAS_MAX, SESSION_ENDED_SECS, SESSION_KEYS_MAX, SESSIONS_MAX, SUBSCRIBER_PREFIXES_MAX};
use crate::engine::subscribers::{Change, Entry, Holder, Key, NameId, Table, Term};

/// A session: its NAS and its identifier there, hashed.
type SessionId = Token;

/// Keeps what is known of sessions apart from what is known of lines.
const SESSIONS: TokenKey = TokenKey::new(*b"lachan sessions1");

/// A packet's facts, with what the network's configuration adds to them.
#[derive(Debug)]
pub struct Report<'p, 't> {
    pub told: &'t Told<'p>,
    pub realm: Realm,
    /// The line; `None`: the packet does not identify it.
    pub token: Option<Token>,
    /// The profile that the packet names.
    pub profile: Option<NameId>,
    /// When it came, in seconds since 1970.
    pub now: u32,
    /// So long a session holds without being confirmed, in seconds.
    pub confirmed_for: u32,
}

/// What a packet came to, to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Begun,
    Confirmed,
    Ended,
    /// The NAS began anew; so many sessions ended.
    Cleared(usize),
    /// It tells of something that is over.
    Late,
    /// It does not say whose session, or there is nothing in it for us.
    Nothing,
    /// There is no room for another session or NAS.
    NoRoom,
}

impl Effect {
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Begun => "begun",
            Effect::Confirmed => "confirmed",
            Effect::Ended => "ended",
            Effect::Cleared(_) => "cleared",
            Effect::Late => "late",
            Effect::Nothing => "nothing",
            Effect::NoRoom => "no-room",
        }
    }
}

#[derive(Debug)]
struct Session {
    nas: u16,
    /// The latest that was told of it.
    at: u32,
    /// When it was told last.
    heard: u32,
    /// Until when its places were confirmed, at most.
    until: u32,
    /// When it began, once a Start told: what is older is about another session of the same identifier.
    began: Option<u32>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open {
        token: Option<Token>,
        places: SmallVec<[(Kind, Key); 2]>,
        /// The profile that was named before the line was.
        unsaid: Option<NameId>,
    },
    Ended,
}

/// Who named a place, and when.
#[derive(Debug, Clone, Copy)]
struct Holding {
    session: SessionId,
    at: u32,
}

/// Every session that is known.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: HashMap<SessionId, Session>,
    places: HashMap<Key, Holding>,
    nas: HashMap<Token, u16>,
    /// When each NAS last began anew.
    cleared_at: Vec<u32>,
    open: usize,
    /// Places that sessions had beyond [`SESSION_KEYS_MAX`].
    beyond: u64,
    /// Packets that came with a time that cannot be.
    astray: u64,
}

/// So long a session is known that nobody tells of, in seconds; what is older tells of none.
const KNOWN_SECS: u32 = 7 * 86_400;
/// How far a NAS's clock may be ahead of ours, in seconds. Chosen.
const AHEAD_SECS_MAX: u32 = 60;

impl Sessions {
    /// Takes a packet in. What changes is put into `changes`, in order.
    pub fn take(&mut self, report: &Report<'_, '_>, table: &Table, changes: &mut Vec<Change>) -> Effect {
        let told = report.told;
        let (at, is_known) = self.happened_at(told, report.now);
        let Some(nas_name) = nas_name(told) else { return Effect::Nothing };
        let Some(nas) = self.nas(nas_name) else { return Effect::NoRoom };
        match told.status {
            Status::AllOff => {
                // By a clock that is set in the next moment what follows may be said to be older than this.
                if is_known {
                    let cleared_at = &mut self.cleared_at[usize::from(nas)];
                    *cleared_at = at.max(*cleared_at);
                }
                Effect::Cleared(self.clear(nas, at, table, changes))
            }
            _ if told.session.is_empty() => Effect::Nothing,
            // What happened before the NAS began anew.
            _ if at < self.cleared_at[usize::from(nas)] => Effect::Late,
            Status::Start | Status::Interim => {
                self.confirm(session_id(nas_name, told.session), nas, at, report, table, changes)
            }
            Status::Stop => self.end(session_id(nas_name, told.session), nas, at, report, table, changes),
            Status::Other => Effect::Nothing,
        }
    }

    /// RFC 2866 §5.2: it happened so many seconds before it was sent. A NAS whose clock is not set yet tells years that are
    /// past or to come; what it tells happened when it came, or its word would lose, or win, for ever. Whether the clock is set.
    fn happened_at(&mut self, told: &Told<'_>, now: u32) -> (u32, bool) {
        let at = told.at.unwrap_or(now).saturating_sub(told.delay);
        let oldest = now.saturating_sub(KNOWN_SECS);
        if (oldest..=now.saturating_add(AHEAD_SECS_MAX)).contains(&at) {
            return (at, true);
        }
        self.astray += 1;
        (now.saturating_sub(told.delay).max(oldest), false)
    }

    /// Packets whose time could not be.
    pub fn astray(&self) -> u64 {
        self.astray
    }

    /// Sessions that are open.
    pub fn open(&self) -> usize {
        self.open
    }

    /// How many places sessions lost because they had more than one may.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Octets of memory, as near as it can be told.
    pub fn octets(&self) -> usize {
        self.sessions.capacity() * (size_of::<(SessionId, Session)>() + 1)
            + self.places.capacity() * (size_of::<(Key, Holding)>() + 1)
    }

    /// Forgets sessions that ended a while ago, and those of which nobody has told for a week.
    pub fn prune(&mut self, now: u32) {
        let (places, open) = (&mut self.places, &mut self.open);
        self.sessions.retain(|id, session| match &session.state {
            State::Ended => now.saturating_sub(session.heard) < SESSION_ENDED_SECS,
            State::Open { places: held, .. } => {
                let is_kept = now.saturating_sub(session.heard) < KNOWN_SECS;
                for (_, key) in held.iter().filter(|_| !is_kept) {
                    if places.get(key).is_some_and(|holding| holding.session == *id) {
                        places.remove(key);
                    }
                }
                *open -= usize::from(!is_kept);
                is_kept
            }
        });
    }

    fn nas(&mut self, name: Token) -> Option<u16> {
        if let Some(number) = self.nas.get(&name) {
            return Some(*number);
        }
        let number = u16::try_from(self.cleared_at.len()).ok().filter(|number| usize::from(*number) < NAS_MAX)?;
        self.cleared_at.push(0);
        self.nas.insert(name, number);
        Some(number)
    }

    /// RFC 2866 §5.1: Accounting-On and Accounting-Off end every session of the NAS.
    fn clear(&mut self, nas: u16, at: u32, table: &Table, changes: &mut Vec<Change>) -> usize {
        let mut ended = 0;
        let places = &mut self.places;
        self.sessions.retain(|id, session| {
            // What was told of it later than that began later.
            let is_over = session.nas == nas && session.at <= at;
            if let (true, State::Open { token, places: held, .. }) = (is_over, &session.state) {
                ended += 1;
                let mine = |key: &&Key| places.get(key).is_some_and(|holding| holding.session == *id);
                let mine: SmallVec<[Key; 4]> = held.iter().map(|(_, key)| key).filter(mine).copied().collect();
                mine.iter().for_each(|key| {
                    places.remove(key);
                });
                let is_ours = |key: &Key| !is_anothers(table, key, *token, session.until);
                changes.extend(mine.into_iter().filter(is_ours).map(Change::Remove));
            }
            !is_over
        });
        self.open -= ended;
        ended
    }

    fn confirm(
        &mut self,
        id: SessionId,
        nas: u16,
        at: u32,
        report: &Report<'_, '_>,
        table: &Table,
        changes: &mut Vec<Change>,
    ) -> Effect {
        let is_start = report.told.status == Status::Start;
        let (is_new, is_old) = match self.sessions.get(&id) {
            None if self.sessions.len() >= SESSIONS_MAX => return Effect::NoRoom,
            None => (true, false),
            Some(Session { state: State::Ended, at: ended, .. }) if at <= *ended => return Effect::Late,
            Some(Session { state: State::Ended, .. }) => (true, false),
            Some(session) if session.began.is_some_and(|began| at < began) => return Effect::Late,
            Some(session) => (false, at < session.at),
        };
        if is_new {
            let state = State::Open { token: None, places: SmallVec::new(), unsaid: None };
            self.sessions.insert(id, Session { nas, at, heard: report.now, until: 0, began: None, state });
            self.open += 1;
        }
        let session = self.sessions.get_mut(&id).expect("it is there or was put there");
        session.at = session.at.max(at);
        session.heard = report.now;
        session.until = session.until.max(report.now.saturating_add(report.confirmed_for));
        let until = session.until;
        if is_start {
            session.began = Some(at);
        }
        let State::Open { token, places: held, unsaid } = &mut session.state else {
            unreachable!("an ended one was replaced")
        };
        // Of an attribute that is not there nothing is known; it is not taken back.
        if report.token.is_some() && !(is_old && token.is_some()) {
            *token = report.token;
        }
        let mut told: SmallVec<[(Kind, Key); 4]> = SmallVec::new();
        let mut back: SmallVec<[Key; 1]> = SmallVec::new();
        for (kind, place) in &report.told.places {
            let keys = place.keys(report.realm);
            match place {
                Place::PortsBack(..) => back.extend(keys),
                // What an older packet says of a place, a younger one may have changed.
                Place::Net(_) | Place::Ports(..) if is_old && held.iter().any(|(known, _)| known == kind) => {}
                Place::Net(_) | Place::Ports(..) => told.extend(keys.into_iter().map(|key| (*kind, key))),
            }
        }
        // Blocks of ports are given one by one; of everything else what is told anew replaces what was.
        let is_told = |kind: Kind| told.iter().any(|(k, _)| *k == kind);
        // With its address a line leaves the block around it.
        let has_moved = is_told(Kind::FramedAddress)
            && held.iter().any(|place| place.0 == Kind::FramedAddress && !told.contains(place));
        let is_replaced = |(kind, key): &(Kind, Key)| {
            let is_told_anew = *kind != Kind::Ports && is_told(*kind) || *kind == Kind::FramedNet && has_moved;
            (is_told_anew && !told.contains(&(*kind, *key))) || back.contains(key)
        };
        let mut gone: SmallVec<[Key; 2]> =
            held.iter().filter(|place| is_replaced(place)).map(|(_, key)| *key).collect();
        held.retain(|place| !is_replaced(place));
        held.extend(told.iter().filter(|place| !held.contains(place)).copied().collect::<SmallVec<[_; 4]>>());
        let beyond = held.len().saturating_sub(SESSION_KEYS_MAX);
        self.beyond += beyond as u64;
        gone.extend(held.drain(..beyond).map(|(_, key)| key));
        gone.retain(|key| held.iter().all(|(_, kept)| kept != key));
        let named = report.profile.filter(|_| !is_old).or(*unsaid);
        *unsaid = named.filter(|_| token.is_none());
        let (token, held) = (*token, held.clone());
        let Some(token) = token else {
            // Whose line it is nobody says; it is not that of who had the place before.
            for (_, key) in &held {
                let is_later = self.places.get(key).is_none_or(|holding| holding.session == id || holding.at <= at);
                if is_later && self.places.remove(key).is_none_or(|holding| holding.session != id) {
                    changes.push(Change::Remove(*key));
                }
            }
            gone.iter().for_each(|key| self.let_go(id, key, (token, until), table, changes));
            return Effect::Nothing;
        };
        let term = Term { until: Some(until), is_hard: false, is_session: true };
        for (_, key) in &held {
            if self.places.len() >= SUBSCRIBER_PREFIXES_MAX && !self.places.contains_key(key) {
                continue;
            }
            let holding = self.places.entry(*key).or_insert(Holding { session: id, at });
            if holding.session != id && holding.at > at {
                continue;
            }
            *holding = Holding { session: id, at: at.max(if holding.session == id { holding.at } else { 0 }) };
            changes.push(Change::Put(*key, Entry { holder: Holder::Token(token), term }));
        }
        // Last, so that a line which goes from one address to another is not without any: what was said of it would be lost.
        gone.iter().for_each(|key| self.let_go(id, key, (Some(token), until), table, changes));
        if named.is_some() {
            changes.push(Change::Say(token, named));
        }
        if is_new { Effect::Begun } else { Effect::Confirmed }
    }

    fn end(
        &mut self,
        id: SessionId,
        nas: u16,
        at: u32,
        report: &Report<'_, '_>,
        table: &Table,
        changes: &mut Vec<Change>,
    ) -> Effect {
        let ended = Session { nas, at, heard: report.now, until: 0, began: None, state: State::Ended };
        match self.sessions.get(&id) {
            Some(Session { state: State::Ended, .. }) => return Effect::Late,
            Some(session) if session.began.is_some_and(|began| at < began) => return Effect::Late,
            Some(_) => {}
            None if self.sessions.len() >= SESSIONS_MAX => return Effect::NoRoom,
            None => {
                // Its beginning was told to a process before this one, or is still on its way.
                self.sessions.insert(id, ended);
                self.end_unknown(report, table, changes);
                return Effect::Ended;
            }
        }
        let before = self.sessions.insert(id, ended).expect("it was there a moment ago");
        if let State::Open { token, places, .. } = before.state {
            self.open -= 1;
            for (_, key) in places {
                self.let_go(id, &key, (token, before.until), table, changes);
            }
        }
        Effect::Ended
    }

    /// The end of a session that was known before a restart: its places are given up when they are this line's still.
    fn end_unknown(&self, report: &Report<'_, '_>, table: &Table, changes: &mut Vec<Change>) {
        let Some(token) = report.token else { return };
        for key in report.told.places.iter().flat_map(|(_, place)| place.keys(report.realm)) {
            let is_its = |entry: Entry| entry.term.is_session && entry.holder == Holder::Token(token);
            if !self.places.contains_key(&key) && table.get(&key).is_some_and(is_its) {
                changes.push(Change::Remove(key));
            }
        }
    }

    /// A place that the session has no more, unless another session has it now. `known`: its line, and until when its place was
    /// confirmed at most.
    fn let_go(
        &mut self,
        id: SessionId,
        key: &Key,
        (token, until): (Option<Token>, u32),
        table: &Table,
        changes: &mut Vec<Change>,
    ) {
        if self.places.get(key).is_some_and(|holding| holding.session == id) {
            self.places.remove(key);
            if !is_anothers(table, key, token, until) {
                changes.push(Change::Remove(*key));
            }
        }
    }
}

/// Whether a place is a session's that another node was told of: of another line, or confirmed later than ours was.
fn is_anothers(table: &Table, key: &Key, token: Option<Token>, until: u32) -> bool {
    let is_ours = |entry: &Entry| token.is_some_and(|token| entry.holder == Holder::Token(token));
    table.get(key).is_some_and(|entry| {
        entry.term.is_session && (!is_ours(&entry) || entry.term.until.is_some_and(|at| at > until))
    })
}

/// NAS-Identifier, NAS-IP-Address and NAS-IPv6-Address, those that are there. RFC 2866 §4.1: one of them must be.
fn nas_name(told: &Told<'_>) -> Option<Token> {
    let mut text: SmallVec<[u8; 64]> = SmallVec::new();
    for (i, part) in told.nas.iter().enumerate() {
        if let Some(part) = part {
            text.extend([i as u8 + 1, part.len() as u8]);
            // An address's octets are no letters.
            text.extend(part.iter().flat_map(|octet| [octet >> 4, octet & 15]));
        }
    }
    (!text.is_empty()).then(|| Token::of(&SESSIONS, &text))
}

fn session_id(nas: Token, session: &[u8]) -> SessionId {
    let mut text: SmallVec<[u8; 64]> = SmallVec::from_slice(&nas.0.to_be_bytes().map(|octet| octet >> 4));
    text.extend(nas.0.to_be_bytes().map(|octet| octet & 15));
    text.extend(session.iter().flat_map(|octet| [octet >> 4, octet & 15]));
    Token::of(&SESSIONS, &text)
}

#[cfg(test)]
mod tests;
