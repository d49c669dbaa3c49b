//! The operator's books: a snapshot or a delta goes in whole, by its serial, or not at all. Single changes are in the module above.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Feed, Refused, Subscribers, record};
use crate::engine::subscribers::{Change, Counts, Full, Key};

impl Subscribers {
    /// The serial of the last snapshot or delta.
    pub fn serial(&self) -> u64 {
        self.inner().serial
    }

    /// Makes the changes of a delta when it is the next one. `Ok(false)`: it was made before.
    ///
    /// # Errors
    /// It is not the next one, or does not fit.
    pub fn apply_delta(&self, serial: u64, changes: &[Change]) -> Result<bool, String> {
        let _alone = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.serial();
        if serial <= last {
            return Ok(false);
        }
        if serial != last + 1 {
            return Err(format!("the last serial here is {last}, so {} is next; send a snapshot", last + 1));
        }
        self.inner().writer.fits(changes.iter()).map_err(|full| self.refuse(full, changes.len()))?;
        self.apply(Feed::Api, changes).map_err(|refused| refused.to_string())?;
        self.set_serial(serial);
        Ok(true)
    }

    /// A whole that does not fit.
    fn refuse(&self, full: Full, changes: usize) -> String {
        self.counters.refused.fetch_add(changes as u64, Ordering::Relaxed);
        format!("{full}: nothing is changed")
    }

    /// Replaces everything that is not a session of the network. Every subscriber goes from what it had to what it has at
    /// once; whom the snapshot does not name is taken out.
    ///
    /// # Errors
    /// It is older than what is here, or does not fit.
    pub fn replace(&self, serial: u64, changes: &[Change]) -> Result<bool, String> {
        let _alone = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.serial();
        if serial == last {
            return Ok(false);
        }
        if serial < last {
            return Err(format!("snapshot {serial} is older than the last serial here, {last}: nothing is changed"));
        }
        let mut named: HashSet<Key> = HashSet::new();
        let mut chosen = HashSet::new();
        for change in changes {
            match change {
                Change::Put(key, _) => drop(named.insert(*key)),
                Change::Choose(token, Some(_)) => drop(chosen.insert(*token)),
                Change::Choose(_, None) | Change::Remove(_) | Change::Say(..) => {}
            }
        }
        let Counts { v4, ports, v6, tokens } = self.counts();
        let known = v4 + ports + v6 + tokens;
        if named.is_empty() && chosen.is_empty() && known > 0 {
            return Err(format!(
                "it names nobody, and {known} prefixes and tokens are known: that is taken for a broken export; whom it is \
                 about is taken out one by one"
            ));
        }
        let mut gone = Vec::new();
        self.table.each_prefix(|key, entry| {
            if !entry.term.is_session && !named.contains(&key) {
                gone.push(Change::Remove(key));
            }
        });
        self.table.each_token(|token, state| {
            if state.chosen.is_some() && !chosen.contains(&token) {
                gone.push(Change::Choose(token, None));
            }
        });
        let order = {
            let inner = self.inner();
            match inner.writer.fits(changes.iter().chain(&gone)) {
                Ok(()) => [changes, &gone],
                // What goes makes room for what comes.
                Err(_) => {
                    let fits = inner.writer.fits(gone.iter().chain(changes));
                    fits.map_err(|full| self.refuse(full, changes.len()))?;
                    [&gone, changes]
                }
            }
        };
        // A session may have begun meanwhile where an entry of the books is to go.
        let still = |change: &Change| match change {
            Change::Remove(key) => self.table.get(key).is_some_and(|entry| !entry.term.is_session),
            Change::Put(..) | Change::Choose(..) | Change::Say(..) => true,
        };
        let [one, other] = order.map(|part| self.apply_pieces(Feed::Api, part, &still));
        if let Some(refused) = Refused::and(one, other) {
            return Err(refused.to_string());
        }
        self.set_serial(serial);
        Ok(true)
    }

    fn set_serial(&self, serial: u64) {
        self.heard_serial(serial);
        if let Some(mirror) = self.mirror.get() {
            mirror.say_serial(serial);
        }
    }

    /// Another node of the fleet was told of a serial.
    pub fn heard_serial(&self, serial: u64) {
        let mut inner = self.inner();
        if serial > inner.serial {
            inner.serial = serial;
            if inner.is_kept {
                record::write_serial(serial, &mut inner.pending);
            }
        }
    }
}
