//! What a node has to say to the server, and has said without having read it back; pure.
//!
//! ```text
//! put → waiting → next: said → heard             told here
//!         ↑          ↓
//!         └── give_up: nobody knows whether it was written, so it is said twice
//! put_lost → lost → next: said again → heard_again     the server had lost it
//! ```
//!
//! While something waits or is said, what others tell of the same is earlier. What is only said again is no news: whatever
//! others tell meanwhile goes before it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::engine::client::Token;
use crate::engine::subscribers::{Change, Key, Table};

/// What a change is about: of two about the same only the later counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    Prefix(Key),
    Choice(Token),
    Session(Token),
}

impl Slot {
    pub(super) fn of(change: &Change) -> Slot {
        match change {
            Change::Put(key, _) | Change::Remove(key) => Slot::Prefix(*key),
            Change::Choose(token, _) => Slot::Choice(*token),
            Change::Say(token, _) => Slot::Session(*token),
        }
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        match self {
            Slot::Prefix(key) => [&[1][..], &key.to_octets()].concat(),
            Slot::Choice(token) => [&[2][..], &token.0.to_be_bytes()].concat(),
            Slot::Session(token) => [&[3][..], &token.0.to_be_bytes()].concat(),
        }
    }
}

/// What this node has to say, and has said without having read it back.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The latest of each, and its turn; as many as the tables hold at most.
    waiting: HashMap<Slot, (u64, Change)>,
    /// What has each turn.
    turns: BTreeMap<u64, Slot>,
    next_turn: u64,
    /// In the stream, not yet read there.
    said: HashMap<Slot, u32>,
    /// What the server lost, to be said again: not news, so whatever others tell meanwhile goes before it.
    lost: VecDeque<Change>,
    /// Of that in the stream, not yet read there: whether another node told something since.
    said_again: HashMap<Slot, bool>,
    serial: Option<u64>,
    /// What is being written: nobody knows whether it got there when the connection is given up meanwhile.
    writing: Option<Batch>,
}

/// Changes of one transaction, with their turns.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    pub(super) changes: Vec<(u64, Change)>,
    /// They are what the server lost.
    pub(super) is_again: bool,
    pub(super) serial: Option<u64>,
}

impl Outbox {
    /// What is told of a prefix keeps the turn that it has; what the network says comes behind all that was told before it,
    /// since it counts only for a token that has a prefix.
    pub(super) fn put(&mut self, change: Change) {
        let slot = Slot::of(&change);
        if let Some((turn, before)) = self.waiting.get_mut(&slot) {
            *before = change;
            if !matches!(slot, Slot::Session(_)) {
                return;
            }
            self.turns.remove(turn);
        }
        self.next_turn += 1;
        self.waiting.insert(slot, (self.next_turn, change));
        self.turns.insert(self.next_turn, slot);
    }

    /// It is said behind all changes.
    pub(super) fn put_serial(&mut self, serial: u64) {
        self.serial = Some(serial);
    }

    /// What the server lost, in the place of what it was thought to have lost.
    pub(super) fn put_lost(&mut self, lost: Vec<Change>) {
        self.lost = lost.into();
    }

    /// One more that the server should have as it is here.
    pub(super) fn add_lost(&mut self, change: Change) {
        self.lost.push_back(change);
    }

    /// Changes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.lost.len()
    }

    pub(super) fn lost(&self) -> HashSet<Slot> {
        self.lost.iter().map(Slot::of).collect()
    }

    /// What is written next, said from now on; `most` changes. `is_current`: all that others told is read.
    pub(super) fn next(&mut self, most: usize, table: &Table, is_current: bool) -> Option<Batch> {
        let (mut changes, mut is_again) = (self.take(most), false);
        // Only who has read all that others told knows what is so still.
        if changes.is_empty() && is_current {
            (changes, is_again) = (self.take_lost(most, table), true);
        }
        // A serial is the last that is said: who has it has all before it.
        let serial = if self.waiting() == 0 { self.serial.take() } else { None };
        if changes.is_empty() && serial.is_none() {
            return None;
        }
        let batch = Batch { changes, is_again, serial };
        // Whoever writes may be stopped at any await.
        self.writing = Some(batch.clone());
        Some(batch)
    }

    /// What was taken last got there.
    pub(super) fn written(&mut self) {
        self.writing = None;
    }

    /// It may have been written: then it is said twice, and is where it stands last.
    pub(super) fn give_up(&mut self) {
        let Some(Batch { changes, is_again, serial }) = self.writing.take() else { return };
        if is_again {
            for (_, change) in changes.into_iter().rev() {
                self.said_again.remove(&Slot::of(&change));
                self.lost.push_front(change);
            }
        } else {
            self.put_back(changes);
        }
        self.serial = self.serial.or(serial);
    }

    /// The next ones, with their turns; said from now on.
    fn take(&mut self, most: usize) -> Vec<(u64, Change)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((turn, slot)) = self.turns.pop_first()
        {
            if let Some((_, change)) = self.waiting.remove(&slot) {
                *self.said.entry(slot).or_insert(0) += 1;
                taken.push((turn, change));
            }
        }
        taken
    }

    /// What could not be written has its turn again. What was told meanwhile is later, and goes before.
    fn put_back(&mut self, taken: Vec<(u64, Change)>) {
        for (turn, change) in taken {
            let slot = Slot::of(&change);
            self.heard(&slot);
            match self.waiting.get_mut(&slot) {
                Some(_) if matches!(slot, Slot::Session(_)) => continue,
                Some((at, _)) => drop(self.turns.remove(&std::mem::replace(at, turn))),
                None => drop(self.waiting.insert(slot, (turn, change))),
            }
            self.turns.insert(turn, slot);
        }
    }

    /// Of what the server lost, that which is so still.
    fn take_lost(&mut self, most: usize, table: &Table) -> Vec<(u64, Change)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(change) = self.lost.pop_front()
        {
            let slot = Slot::of(&change);
            if !self.is_own(&slot) && in_memory(&change, table) == change {
                self.said_again.insert(slot, false);
                taken.push((0, change));
            }
        }
        taken
    }

    /// Whether something later is said, or will be, than what is read; what is only said again is not.
    pub(super) fn is_own(&self, slot: &Slot) -> bool {
        self.waiting.contains_key(slot) || self.said.contains_key(slot)
    }

    /// Another node told something of it.
    pub(super) fn told(&mut self, slot: &Slot) {
        if let Some(is_told) = self.said_again.get_mut(slot) {
            *is_told = true;
        }
    }

    /// Whether one did, later than what this node says again of it.
    pub(super) fn was_told(&self, slot: &Slot) -> bool {
        self.said_again.get(slot) == Some(&true)
    }

    /// What was said again of it was read back: whether another node told something since. `None`: nothing was said.
    pub(super) fn heard_again(&mut self, slot: &Slot) -> Option<bool> {
        self.said_again.remove(slot)
    }

    /// What was said and not read back is said once more, as it is in memory.
    pub(super) fn say_unheard(&mut self, table: &Table) {
        let unheard: Vec<Slot> = self.said.keys().filter(|slot| !self.waiting.contains_key(*slot)).copied().collect();
        unheard.into_iter().for_each(|slot| self.put(at_slot(slot, table)));
    }

    /// What was said is in what is read next.
    pub(super) fn forget_said(&mut self) {
        self.said.clear();
        self.said_again.clear();
    }

    /// What was said of it was read back, or never got there.
    pub(super) fn heard(&mut self, slot: &Slot) {
        if let Some(count) = self.said.get_mut(slot) {
            *count -= 1;
            if *count == 0 {
                self.said.remove(slot);
            }
        }
    }
}

/// What memory says about the same as a change.
pub(super) fn in_memory(change: &Change, table: &Table) -> Change {
    at_slot(Slot::of(change), table)
}

fn at_slot(slot: Slot, table: &Table) -> Change {
    let state = |token| table.find_token(token).unwrap_or_default();
    match slot {
        Slot::Prefix(key) => table.get(&key).map_or(Change::Remove(key), |entry| Change::Put(key, entry)),
        Slot::Choice(token) => Change::Choose(token, state(token).chosen),
        Slot::Session(token) => Change::Say(token, state(token).session),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::Realm;
    use crate::engine::subscribers::{Entry, Holder, NameId, Term};

    fn put(n: u8, token: u128) -> Change {
        let key = Key::of_net(Realm(0), std::net::IpAddr::from([10, 0, 0, n]).into());
        Change::Put(key, Entry { holder: Holder::Token(Token(token)), term: Term::default() })
    }

    fn say(token: u128, name: Option<NameId>) -> Change {
        Change::Say(Token(token), name)
    }

    fn taken(outbox: &mut Outbox, most: usize) -> Vec<Change> {
        outbox.take(most).into_iter().map(|(_, change)| change).collect()
    }

    /// What the network says of a token is written behind all prefixes that were told before it.
    #[test]
    fn what_is_said_of_a_token_comes_behind_its_prefixes() {
        let (table, _) = Table::new((0, 0));
        let name = table.intern("family");
        let mut outbox = Outbox::default();
        let told = [put(1, 1), say(1, name), put(2, 2), say(2, name), put(3, 1), say(1, None), put(3, 3), say(1, name)];
        told.into_iter().for_each(|change| outbox.put(change));
        assert_eq!(taken(&mut outbox, 2), [put(1, 1), put(2, 2)]);
        // One batch did not get there; meanwhile one of its prefixes is another's, whose profile is told too.
        let failed = outbox.take(2);
        assert_eq!(failed.iter().map(|(_, change)| *change).collect::<Vec<_>>(), [say(2, name), put(3, 3)]);
        [put(3, 4), say(4, name), say(2, None)].into_iter().for_each(|change| outbox.put(change));
        outbox.put_back(failed);
        assert_eq!(taken(&mut outbox, 9), [put(3, 4), say(1, name), say(4, name), say(2, None)]);
        assert!(outbox.turns.is_empty() && outbox.waiting.is_empty());
        // Said until it is read back, as often as it was said.
        assert_eq!(outbox.said.len(), 6);
        for slot in
            [put(1, 1), put(2, 2), put(3, 4), say(1, name), say(4, name), say(2, None)].map(|change| Slot::of(&change))
        {
            outbox.heard(&slot);
        }
        assert!(outbox.said.is_empty());
    }

    /// Of two nodes that say again what a third has changed meanwhile, neither lets the other's word over that.
    #[test]
    fn what_was_told_goes_before_what_others_say_again() {
        let (table, mut writer) = Table::new((0, 0));
        let (before, news) = (put(1, 1), put(1, 2));
        let slot = Slot::of(&before);
        writer.apply(&before).unwrap();
        let mut outbox = Outbox::default();
        outbox.put_lost(vec![before]);
        assert!(outbox.next(9, &table, true).is_some_and(|batch| batch.is_again));
        outbox.written();
        assert!(!outbox.was_told(&slot), "another's word is as good as ours");
        outbox.told(&slot);
        writer.apply(&news).unwrap();
        assert!(outbox.was_told(&slot) && !outbox.is_own(&slot));
        assert_eq!((outbox.heard_again(&slot), in_memory(&before, &table)), (Some(true), news));
        assert!(!outbox.was_told(&slot), "from here on the stream's order is everybody's");
    }
}
