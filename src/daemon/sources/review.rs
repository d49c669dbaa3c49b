//! Versions that wait, and what a person does about them: look at the difference, approve, go back.

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::reading::{self, Reading};
use super::store::Record;
use super::text::Text;
use super::{Good, Lines, Sources};
use crate::daemon::clock;
use crate::daemon::gates::{Candidate, Held};
use crate::daemon::progress::Progress;
use crate::engine::compile::{ListSettings, ListSource};
use crate::engine::gate::{HoldReason, Rules, Supply, difference};
use crate::engine::list::RuleSet;
use crate::engine::matcher::Part;

/// What `lists diff` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    pub list: String,
    /// Whether the newer version waits; else it is in force, and the older one is what was before.
    pub waits: bool,
    pub rules_before: usize,
    pub rules_now: usize,
    pub added: usize,
    pub removed: usize,
    /// The first of them, in our own grammar.
    pub added_shown: Vec<String>,
    pub removed_shown: Vec<String>,
    /// Popular names that the newer version newly hits, and how many in all.
    pub popular: usize,
    pub popular_shown: Vec<String>,
    pub reasons: Vec<HoldReason>,
}

impl Sources {
    pub(super) fn warned(&self, settings: &ListSettings, mut good: Good, warnings: Vec<HoldReason>) -> Good {
        good.warnings = warnings;
        self.memory().insert(settings.name.clone(), good.clone());
        good
    }

    /// Asks the gates about a version that reads well, and keeps it when it has to wait.
    pub(super) fn admit(
        &self,
        settings: &ListSettings,
        supply: Supply,
        record: &Record,
        text: &Arc<Text>,
        part: &Part,
        reading: &Reading<'_>,
    ) -> Result<Vec<HoldReason>, Box<Held>> {
        let list = settings.name.as_str();
        let in_force = match supply {
            // By hand only an emptied file is held, so what was before matters for that alone.
            Supply::Hand if part.rules > 0 => None,
            Supply::Hand | Supply::Directory | Supply::Fetched => self.in_force(settings, record, reading),
        };
        let sha256 = record.sha256.as_str();
        let in_force = in_force.as_deref().map(|part| part as &dyn Rules);
        let candidate = Candidate { settings, supply, sha256, in_force, new: part };
        let admitted = self.gates.admit(&candidate);
        match &admitted {
            Ok(_) => self.forget_waiting(list),
            Err(held) => self.keep_waiting(list, held, record, text),
        }
        admitted
    }

    /// The rules that the list has from this source: in memory, or read again.
    fn in_force(&self, settings: &ListSettings, new: &Record, reading: &Reading<'_>) -> Option<Arc<Part>> {
        let known = self.memory().get(&settings.name).cloned();
        let mut text = None;
        if let Some(good) = known {
            if good.source != settings.source {
                return None;
            }
            if good.part.is_some() {
                return good.part;
            }
            text = good.text;
        }
        let stored = || {
            let store = self.store.get()?;
            let kept = store.versions(&settings.name)?.current;
            let is_ours = kept.source == new.source;
            is_ours.then(|| store.text(&settings.name, &kept).ok()).flatten().map(Arc::new)
        };
        let text = text.or_else(stored)?;
        reading::read(&text, settings, reading).ok().map(Arc::new)
    }

    /// Keeps a text that waits: in the store, or else in memory.
    pub(super) fn keep_waiting(&self, list: &str, held: &Held, record: &Record, text: &Arc<Text>) {
        if self.waiting_record(list).is_some_and(|known| known.sha256 == held.sha256) {
            return;
        }
        tracing::warn!("list `{list}`: {held}; `lachan lists diff {list}` shows it");
        let kept = self.own_store().map(|store| store.put_waiting(list, record, text));
        match kept {
            Some(Ok(())) => return,
            Some(Err(why)) => tracing::error!("list `{list}`: what waits is kept in memory alone: {why}"),
            None => {}
        }
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(list.to_owned(), (record.clone(), Arc::clone(text)));
    }

    pub(super) fn forget_waiting(&self, list: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(list);
        if let Some(store) = self.own_store() {
            store.drop_waiting(list);
        }
    }

    /// The version in force is the publisher's again, or a person's wish: nothing waits.
    pub(super) fn withdraw(&self, list: &str) {
        if self.gates.of(list).held.is_some() {
            self.gates.change(list, |decided| decided.held = None);
            self.forget_waiting(list);
        }
    }

    fn waiting_record(&self, list: &str) -> Option<Record> {
        let here =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(list).map(|(record, _)| record.clone());
        here.or_else(|| self.store.get()?.waiting(list))
    }

    fn waiting_text(&self, list: &str) -> Option<(Record, Arc<Text>)> {
        let here = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(list).cloned();
        here.or_else(|| {
            let store = self.store.get()?;
            let record = store.waiting(list)?;
            let text = store.text(list, &record).ok()?;
            Some((record, Arc::new(text)))
        })
    }

    /// Lets the version that waits go into force with the next load. Blocks.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn approve(&self, settings: &ListSettings) -> Result<(), String> {
        let list = settings.name.as_str();
        let decided = self.gates.of(list);
        let held = match (decided.held, decided.left_out) {
            (Some(held), _) => held,
            (None, Some(left_out)) => {
                return self.approve_left_out(settings, left_out.sha256);
            }
            (None, None) => return Err(format!("nothing of list `{list}` waits")),
        };
        if matches!(settings.source, ListSource::Url(_)) {
            let (record, text) =
                self.waiting_text(list).filter(|(record, _)| record.sha256 == held.sha256).ok_or_else(|| {
                    format!("what waits of list `{list}` is not kept any more; `lachan lists update {list}`")
                })?;
            let part = self.read_quietly(&text, settings)?;
            self.accept(settings, Record { read_at: clock::unix_secs(), ..record }, &text, part);
            self.forget_waiting(list);
        }
        // A file is read again by the next load, and its version known by its sum.
        self.gates.change(list, |decided| {
            decided.approved = Some(held.sha256);
            decided.pinned = None;
            decided.held = None;
            decided.left_out = None;
        });
        Ok(())
    }

    /// Lets the version in force have what was left out of it. The next load takes its rules anew.
    fn approve_left_out(&self, settings: &ListSettings, sha256: String) -> Result<(), String> {
        let list = settings.name.as_str();
        let known = self.memory().get(list).cloned();
        // A text that is kept nowhere else is read again; it may be all that there is of this version.
        let text = known.filter(|good| good.part.is_none()).and_then(|good| good.text);
        let read = text.as_ref().map(|text| self.read_quietly(text, settings)).transpose()?;
        self.gates.change(list, |decided| {
            decided.approved = Some(sha256);
            decided.left_out = None;
        });
        let mut memory = self.memory();
        let is_here = memory.get_mut(list).is_some_and(|good| {
            if good.part.is_none()
                && good.text.as_ref().zip(text.as_ref()).is_some_and(|(now, read)| Arc::ptr_eq(now, read))
            {
                good.part = read.map(Arc::new);
            }
            good.part.is_some()
        });
        if !is_here {
            // It is in its file, or in the store.
            memory.remove(list);
        }
        Ok(())
    }

    /// What waits of a fetched list, when it need not wait by the bounds that the configuration has now.
    pub(super) fn reconsidered(&self, settings: &ListSettings, reading: &Reading<'_>) -> Option<Good> {
        let held = self.gates.of(&settings.name).held.filter(|held| held.bounds != Some(settings.gate))?;
        let (record, text) = self.waiting_text(&settings.name).filter(|(record, _)| record.sha256 == held.sha256)?;
        let part = reading::read(&text, settings, reading).ok()?;
        // The version in force is the one to compare with; after a start it is in the store alone.
        self.remembered(settings, reading);
        self.admit(settings, Supply::Fetched, &record, &text, &part, reading).ok()?;
        Some(self.accept(settings, record, &text, part))
    }

    /// Goes back to the previous version, and pins it. Blocks.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn roll_back(&self, settings: &ListSettings) -> Result<usize, String> {
        let list = settings.name.as_str();
        if matches!(settings.source, ListSource::BuiltIn(_)) {
            return Err(format!(
                "list `{list}` is built in and changes with the program alone, so there is no version to go back to; `lachan \
                 lists disable {list}` takes it out"
            ));
        }
        let store = self.own_store().ok_or("no earlier version is kept: there is no state directory")?;
        let before = store.versions(list).and_then(|versions| versions.previous);
        let before = before.ok_or_else(|| format!("no version of list `{list}` before the one in force is kept"))?;
        let part = self.read_quietly(&store.text(list, &before)?, settings)?;
        let (left, now) = store
            .roll_back(list)
            .map_err(|why| format!("list `{list}`: {why}"))?
            .ok_or_else(|| format!("no version of list `{list}` before the one in force is kept"))?;
        let held = Held {
            sha256: left.sha256,
            since: clock::unix_secs(),
            rules: left.rules,
            reasons: vec![HoldReason::Pinned],
            bounds: Some(settings.gate),
        };
        let supply = if matches!(settings.source, ListSource::Url(_)) { Supply::Fetched } else { Supply::Directory };
        let candidate = Candidate { settings, supply, sha256: &now.sha256, in_force: None, new: &part };
        let left_out = self.gates.left_out_of(&candidate);
        self.gates.change(list, |decided| {
            decided.left_out = left_out;
            decided.held = Some(held);
            decided.approved = None;
            decided.pinned = Some(now.sha256.clone());
        });
        let count = part.rules;
        let lines = Lines::Stored(store.path(list, &now));
        let record = matches!(settings.source, ListSource::Url(_)).then_some(now);
        self.remember(settings, part, clock::unix_secs(), lines, record);
        Ok(count)
    }

    /// SHA-256 of the version of a list that is in force, and of the one before; `None`: none is kept.
    pub fn versions(&self, list: &str) -> Option<(String, Option<String>)> {
        let versions = self.own_store()?.versions(list)?;
        Some((versions.current.sha256, versions.previous.map(|previous| previous.sha256)))
    }

    /// The rules of the version in force, as they come; none when it has none.
    fn rules_now(&self, settings: &ListSettings) -> RuleSet {
        let held = self.memory().get(&settings.name).and_then(|good| good.text.clone());
        let stored = || {
            let store = self.store.get()?;
            let record = store.versions(&settings.name)?.current;
            store.text(&settings.name, &record).ok().map(Arc::new)
        };
        let text = held.or_else(stored);
        text.and_then(|text| reading::rules(&text, settings.options).ok()).unwrap_or_default()
    }

    /// Reads a text because a person asked for it.
    fn read_quietly(&self, text: &Text, settings: &ListSettings) -> Result<Part, String> {
        reading::read(text, settings, &Reading { threads: 1, room: self.room(), progress: &Progress::default() })
    }

    /// Lets a list that a person went back with follow its publisher again.
    pub fn unpin(&self, list: &str) {
        self.gates.change(list, |decided| decided.pinned = None);
    }

    /// What waits against what is in force; when nothing waits, what is in force against what was before. Blocks.
    ///
    /// # Errors
    /// There is nothing to compare.
    pub fn diff(&self, settings: &ListSettings) -> Result<Diff, String> {
        let list = settings.name.as_str();
        let in_force = self.rules_now(settings);
        let held = self.gates.of(list).held;
        let read = |text: &Text| reading::rules(text, settings.options);
        let (old, new, waits): (RuleSet, RuleSet, bool) = match (&held, self.waiting_text(list)) {
            (Some(_), Some((_, text))) => (in_force, read(&text)?, true),
            (Some(_), None) => return Err(format!("what waits of list `{list}` is not kept any more")),
            (None, _) => {
                let store = self.store.get();
                let previous = store.and_then(|store| Some((store, store.versions(list)?.previous?)));
                let Some((store, record)) = previous else {
                    return Err(format!("nothing of list `{list}` waits, and no earlier version is kept"));
                };
                (read(&store.text(list, &record)?)?, in_force, false)
            }
        };
        let difference = difference(&old, &new);
        let candidate = Candidate { settings, supply: Supply::Fetched, sha256: "", in_force: Some(&old), new: &new };
        let (popular, popular_shown) = self.gates.newly_hit(&candidate);
        Ok(Diff {
            list: list.to_owned(),
            waits,
            rules_before: old.rule_count(),
            rules_now: new.rule_count(),
            added: difference.added,
            removed: difference.removed,
            added_shown: difference.added_shown,
            removed_shown: difference.removed_shown,
            popular,
            popular_shown,
            reasons: held.map(|held| held.reasons).unwrap_or_default(),
        })
    }
}
