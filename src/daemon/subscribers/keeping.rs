//! The table over a restart: taken up from the state directory, and what changed written down there. The files' form is in `store` and
//! `record`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::store::{self, Kept, Store};
use super::{Inner, Subscribers, record};
use crate::engine::subscribers::{Change, Key};

/// Where state is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    directory: PathBuf,
    key: [u8; 32],
}

impl Subscribers {
    /// Takes up what an earlier process left in `directory`, and keeps it there from now on; while another process does, as
    /// soon as that one ends. What should be told of it.
    pub fn keep_in(&self, directory: &Path, key: &[u8; 32]) -> Option<String> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.is_some() {
            return None;
        }
        let mut inner = self.inner();
        let Kept { store, changes, serial, fleet, complaint, is_busy } = Store::open(directory, key, &self.table);
        (inner.serial, inner.fleet, inner.fleet_kept) = (serial, fleet.clone(), fleet);
        self.take_up(&mut inner, &changes);
        inner.is_kept = store.is_some();
        *files = store;
        let wanted = is_busy.then(|| Wanted { directory: directory.to_owned(), key: *key });
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        complaint
    }

    /// The table becomes what was kept.
    fn take_up(&self, inner: &mut Inner, changes: &[Change]) {
        let mut keys: HashSet<Key> = HashSet::new();
        for change in changes {
            match change {
                Change::Put(key, _) => drop(keys.insert(*key)),
                Change::Remove(key) => drop(keys.remove(key)),
                Change::Choose(..) | Change::Say(..) => {}
            }
            // As many as were kept fit again.
            let _ = inner.writer.apply(change);
        }
        let mut gone = Vec::new();
        self.table.each_prefix(|key, _| gone.extend((!keys.contains(&key)).then_some(key)));
        for key in &gone {
            inner.writer.remove(key);
        }
    }

    /// Whether another process kept the state, and has ended: then it is ours.
    pub(super) fn claim(&self) {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Wanted { directory, key }) = wanted.filter(|wanted| !store::is_busy(&wanted.directory))
            && let Some(complaint) = self.keep_in(&directory, &key)
        {
            tracing::error!("{complaint}");
        }
    }

    /// Writes down what changed since the last time. Blocks, but not those who change the table.
    pub fn flush(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = files.as_mut() else { return };
        let (octets, about) = {
            let mut inner = self.inner();
            if inner.is_kept && inner.fleet != inner.fleet_kept {
                inner.fleet_kept = inner.fleet.clone();
                let Inner { fleet, pending, .. } = &mut *inner;
                record::write_fleet(fleet, pending);
            }
            (std::mem::take(&mut inner.pending), (inner.serial, inner.fleet.clone()))
        };
        if let Err(why) = store.append(&octets, (about.0, &about.1), &self.table) {
            tracing::error!("the state of subscribers cannot be written: {why}; what changed is lost with a restart");
        }
    }

    /// Another process may keep it from now on.
    pub(super) fn release(&self) {
        self.inner().is_kept = false;
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
