//! Versions that were fetched: offered, taken or refused.

use std::sync::Arc;

use super::fetch::Download;
use super::reading::{self, Reading};
use super::store::Record;
use super::text::Text;
use super::{Good, Lines, Sources, new_record, note_unkept, source_text};
use crate::daemon::clock;
use crate::daemon::progress::Progress;
use crate::engine::compile::ListSettings;
use crate::engine::gate::Supply;
use crate::engine::matcher::Part;

/// What became of a fetched text.
#[derive(Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is the version in force.
    Same,
    /// It goes into force with the next load.
    New { rules: usize },
    /// A gate holds it: why.
    Held(String),
    /// It is no good list: why.
    Refused(String),
}

impl Sources {
    /// Takes a fetched text, if it is a good version of the list. Blocks.
    pub fn offer(&self, settings: &ListSettings, download: Download) -> Offered {
        let Download { text, published_sha256, etag, last_modified } = download;
        let text = match Text::of(&text, self.scratch()) {
            Ok(text) => Arc::new(text),
            Err(why) => return Offered::Refused(format!("it cannot be put aside: {why}")),
        };
        let progress = Progress::default();
        let reading = Reading { threads: 1, room: self.room(), progress: &progress };
        let known = self.fetched(settings);
        let is_same = |good: &Good| {
            let record = good.record.as_ref();
            good.options == settings.options && record.is_some_and(|r| r.sha256 == text.sha256)
        };
        let now = clock::unix_secs();
        if let Some(Good { record: Some(record), .. }) = known.filter(is_same) {
            // What waited is not what the publisher gives any more.
            self.withdraw(&settings.name);
            let record = Record { etag, last_modified, published_sha256: Some(published_sha256), ..record };
            self.note(settings, Record { checked_at: now, source: source_text(&settings.source), ..record });
            return Offered::Same;
        }
        let part = match reading::read(&text, settings, &reading) {
            Ok(part) => part,
            Err(why) => return Offered::Refused(why),
        };
        let record = new_record(settings, &part, now);
        let mut record = Record { published_sha256: Some(published_sha256), etag, last_modified, ..record };
        record.describe(&text);
        if let Err(held) = self.admit(settings, Supply::Fetched, &record, &text, &part, &reading) {
            return Offered::Held(held.to_string());
        }
        let good = self.accept(settings, record, &text, part);
        Offered::New { rules: good.rule_count }
    }

    /// Makes a fetched version the list's; it goes into force with the next load.
    pub(super) fn accept(&self, settings: &ListSettings, mut record: Record, text: &Arc<Text>, part: Part) -> Good {
        let kept = self.own_store().filter(|store| {
            // Before anything else: what was fetched should not have to be fetched again.
            note_unkept(&settings.name, store.put(&settings.name, &mut record, text))
        });
        let lines = kept.map_or(Lines::Gone, |store| Lines::Stored(store.path(&settings.name, &record)));
        let is_kept = kept.is_some();
        let mut good = self.remember(settings, part, record.read_at, lines, Some(record));
        if !is_kept {
            good.text = Some(Arc::clone(text));
            self.memory().insert(settings.name.clone(), good.clone());
        }
        good
    }

    /// The server says that the version we have is the current one. Blocks.
    pub fn confirm(&self, settings: &ListSettings) {
        if let Some(Good { record: Some(record), .. }) = self.fetched(settings) {
            self.withdraw(&settings.name);
            self.note(settings, Record { checked_at: clock::unix_secs(), ..record });
        }
    }

    /// What is known of the version of a fetched list that we have, if it is from this URL and read as it should be.
    pub fn record(&self, settings: &ListSettings) -> Option<Record> {
        let good = self.fetched(settings).filter(|good| good.options == settings.options)?;
        good.record.filter(|record| record.source == source_text(&settings.source))
    }

    fn fetched(&self, settings: &ListSettings) -> Option<Good> {
        self.memory().get(&settings.name).cloned()
    }

    fn note(&self, settings: &ListSettings, record: Record) {
        if let Some(store) = self.own_store() {
            note_unkept(&settings.name, store.note(&settings.name, &record));
        }
        if let Some(good) = self.memory().get_mut(&settings.name) {
            good.source = settings.source.clone();
            good.read_at = record.checked_at;
            good.record = Some(record);
        }
    }
}
