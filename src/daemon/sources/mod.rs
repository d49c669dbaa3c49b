//! Lists: read from files or fetched, parsed, and kept at their last good version (I6).
//!
//! A broken list never means an empty list: what was good stays in force, in memory and, for the next start, in the
//! [`store`]. Files are read when a generation is loaded; what is fetched is offered by the [`supply`] whenever it comes
//! and goes into force with the next load. Nothing here waits for the network.

mod address;
pub mod fetch;
mod files;
pub mod inflate;
mod names;
pub mod outcome;
mod review;
pub mod schedule;
pub mod store;
pub mod supply;
mod verify;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::built_in;
use crate::config::{Version, Versions};
use crate::daemon::clock;
use crate::daemon::gates::{Gates, Held};
use crate::engine::compile::{Home, ListRules, ListSettings, ListSource, LoadedList};
use crate::engine::compiled::Compiled;
use crate::engine::gate::{HoldReason, RuleNames, Supply};
use crate::engine::list::{ParseOptions, RuleSet};
use crate::engine::matcher::Part;
use crate::engine::matcher::public_suffix::is_public_suffix;
use crate::engine::verdict::ListId;

pub use review::Diff;

use fetch::Download;
use files::Text;
use store::{Record, Store};

/// What is remembered of every list between loads.
pub struct Sources {
    good: Mutex<HashMap<String, Good>>,
    /// Not there: nothing is kept over a restart.
    store: OnceLock<Store>,
    gates: Gates,
    /// Texts that wait for approval and are not in the store; one a list.
    waiting: Mutex<HashMap<String, (Record, Text)>>,
}

/// A version of a list that could be read.
#[derive(Debug, Clone)]
struct Good {
    source: ListSource,
    options: ParseOptions,
    obey_public_suffixes: bool,
    block_keywords: Vec<String>,
    rule_count: usize,
    /// `None`: they are in the snapshot in force, and their text is in the store. A second copy would be as large as the
    /// index.
    rules: Option<Arc<RuleSet>>,
    /// Whether the store has the text.
    is_stored: bool,
    /// Whether these rules are in the snapshot in force.
    is_in_force: bool,
    /// When it was last known to be current; seconds since 1970.
    read_at: u64,
    lines: Lines,
    /// Of a fetched list.
    record: Option<Record>,
    /// What a gate finds about a file that is the operator's own hand.
    warnings: Vec<HoldReason>,
}

/// Why a list is not at the version that came.
enum Stuck {
    /// It is no good list.
    Bad(String),
    /// It waits for a person.
    Held(Box<Held>),
}

impl From<String> for Stuck {
    fn from(why: String) -> Stuck {
        Stuck::Bad(why)
    }
}

/// Where the lines of a list in force are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lines {
    BuiltIn,
    /// In its file or files, as long as they are of this version.
    Files(Version),
    /// In the store, where a text never changes.
    Stored(PathBuf),
    /// Nowhere any more.
    Gone,
}

/// A list that could not be read now.
#[derive(Debug, Clone)]
pub struct ListProblem {
    pub list: String,
    /// The thing, the reason, and what is in force instead.
    pub message: String,
    /// It has no good version and is required: nothing may go into force without it.
    pub fatal: bool,
    /// It is to be fetched, is required and has never come: this node should draw no traffic yet.
    pub unready: bool,
}

/// Everything that was loaded for one generation.
#[derive(Debug, Default)]
pub struct Load {
    pub lists: Vec<LoadedList>,
    pub problems: Vec<ListProblem>,
    /// When each list was last read well, by name.
    pub read_at: HashMap<String, u64>,
    /// Where the lines of each list that is loaded are, by its name.
    pub in_force: HashMap<String, Lines>,
    /// Every list file as it was before it was read, the broken ones too.
    pub seen: Versions,
    /// Rules that were taken out of memory, for [`Sources::in_force_now`].
    pub taken: Vec<(String, Arc<RuleSet>)>,
    /// What the operator should know of a list that is in force by the operator's own hand: its name, and what.
    pub warnings: Vec<(String, String)>,
}

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
    pub fn new(gates: Gates) -> Sources {
        Sources { good: Mutex::default(), store: OnceLock::new(), gates, waiting: Mutex::default() }
    }

    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Loads every list. `progress` is told each list's name before it is read, and how many there are.
    pub fn load(&self, lists: &[ListSettings], mut progress: impl FnMut(&str, usize)) -> Load {
        let mut load = Load::default();
        // Lists that left the configuration are forgotten, and their memory with them.
        self.memory().retain(|name, _| lists.iter().any(|l| &l.name == name));
        for settings in lists {
            progress(&settings.name, lists.len());
            let good = match self.refresh(settings, &mut load.seen) {
                Ok(good) => good,
                Err(why) => {
                    let kept = self.remembered(settings);
                    load.problems.push(problem(settings, &why, kept.is_some()));
                    match kept {
                        Some(good) => good,
                        None => continue,
                    }
                }
            };
            let warned = good.warnings.iter().map(|warning| (settings.name.clone(), warning.to_string()));
            load.warnings.extend(warned);
            load.read_at.insert(settings.name.clone(), good.read_at);
            load.in_force.insert(settings.name.clone(), good.lines);
            let rules = match good.rules {
                Some(rules) if !good.is_in_force => {
                    let part = part_of(settings, &rules, &self.gates.rules_left_out(&settings.name));
                    load.taken.push((settings.name.clone(), rules));
                    ListRules::Read(part)
                }
                Some(_) | None => ListRules::Kept,
            };
            load.lists.push(LoadedList { settings: settings.clone(), rules });
        }
        if let Some(store) = self.own_store() {
            let names: Vec<&str> = lists.iter().map(|list| list.name.as_str()).collect();
            store.forget_others(&names, clock::unix_secs());
        }
        load
    }

    /// What a load took is in the snapshot in force: where the store has the text, its rules need not be held here too.
    /// What came since then is not.
    pub fn in_force_now(&self, taken: &[(String, Arc<RuleSet>)]) {
        let has_store = self.own_store().is_some();
        let mut memory = self.memory();
        for (name, rules) in taken {
            let Some(good) = memory.get_mut(name) else { continue };
            if good.rules.as_ref().is_some_and(|known| Arc::ptr_eq(known, rules)) {
                good.is_in_force = true;
                if has_store && good.is_stored {
                    good.rules = None;
                }
            }
        }
    }

    /// Where the lines of each list would be that a load would take now; `None`: one of them cannot be told.
    pub fn lines_now(&self, lists: &[ListSettings]) -> Option<HashMap<String, Lines>> {
        let lines_of = |settings: &ListSettings| match &settings.source {
            ListSource::BuiltIn(_) => Some(Lines::BuiltIn),
            ListSource::File(path) => Some(Lines::Files(Version::of_list(path))),
            ListSource::Url(_) => {
                let store = self.own_store()?;
                let record = store.versions(&settings.name)?.current;
                (record.source == source_text(&settings.source))
                    .then(|| Lines::Stored(store.path(&settings.name, &record)))
            }
        };
        lists.iter().map(|settings| Some((settings.name.clone(), lines_of(settings)?))).collect()
    }

    /// The same as [`Sources::load`] when every list lies compiled in `kept`, made of just these settings and lines.
    pub fn load_kept(&self, lists: &[ListSettings], lines: &HashMap<String, Lines>, kept: &Compiled) -> Option<Load> {
        let mut load = Load::default();
        let store = self.own_store();
        for settings in lists {
            let number = kept.lists.iter().position(|list| list.name == settings.name)?;
            let (list, lines) = (&kept.lists[number], lines.get(&settings.name)?.clone());
            let record = store.and_then(|store| Some(store.versions(&settings.name)?.current));
            let is_url = matches!(settings.source, ListSource::Url(_));
            let checked_at = record.as_ref().filter(|_| is_url).map_or(list.read_at, |record| record.checked_at);
            if let (ListSource::File(path), Lines::Files(version)) = (&settings.source, &lines) {
                load.seen.entry(path.clone()).or_insert_with(|| version.clone());
            }
            let about = list.about();
            let good = Good {
                source: settings.source.clone(),
                options: settings.options,
                obey_public_suffixes: settings.obey_public_suffixes,
                block_keywords: settings.block_keywords.clone(),
                rule_count: about.rules,
                rules: None,
                is_stored: record.is_some(),
                is_in_force: true,
                read_at: checked_at,
                lines: lines.clone(),
                record: record.filter(|_| is_url),
                warnings: Vec::new(),
            };
            self.memory().insert(settings.name.clone(), good);
            load.read_at.insert(settings.name.clone(), checked_at);
            load.in_force.insert(settings.name.clone(), lines);
            let home = Home { layer: Arc::clone(&kept.layer), list: ListId(number as u16) };
            load.lists.push(LoadedList { settings: settings.clone(), rules: ListRules::Compiled(home, about) });
        }
        Some(load)
    }

    /// Keeps last good versions in a state directory from now on.
    ///
    /// # Errors
    /// A sentence for the operator: why nothing can be kept.
    pub fn keep_in(&self, state_directory: &Path) -> Result<(), String> {
        if self.store.get().is_none() {
            let store = Store::open(state_directory)?;
            // Only a loader calls this, and there is one.
            let _ = self.store.set(store);
        }
        Ok(())
    }

    /// Reads what a resolver keeps in a state directory, and keeps nothing.
    pub fn look_into(&self, state_directory: &Path) {
        self.store.get_or_init(|| Store::look_into(state_directory));
    }

    /// The list as it is now, from memory when nothing about it changed.
    fn refresh(&self, settings: &ListSettings, seen: &mut Versions) -> Result<Good, Stuck> {
        let known = self.memory().get(&settings.name).cloned();
        let known = known.filter(|good| good.source == settings.source && good.options == settings.options);
        // What is kept was made with these.
        let known = known.filter(|good| {
            good.rules.is_some() && !good.is_in_force
                || good.obey_public_suffixes == settings.obey_public_suffixes
                    && good.block_keywords == settings.block_keywords
        });
        match &settings.source {
            ListSource::BuiltIn(name) => match known {
                Some(good) => Ok(good),
                None => {
                    let rules = built_in_text(name)?.parse(settings.options)?;
                    Ok(self.remember(settings, rules, clock::unix_secs(), Lines::BuiltIn, None))
                }
            },
            ListSource::File(path) => {
                // Looked at before it is read, so that a change meanwhile is seen. Two lists of one file: the earlier look
                // is the safe one.
                let version = Version::of_list(path);
                seen.entry(path.clone()).or_insert_with(|| version.clone());
                match known.filter(|good| good.lines == Lines::Files(version.clone())) {
                    Some(good) => {
                        self.withdraw(&settings.name);
                        Ok(good)
                    }
                    None => self.read_file(settings, path, version),
                }
            }
            ListSource::Url(_) => match self.reconsidered(settings).or(known).or_else(|| self.stored(settings)) {
                Some(good) => Ok(good),
                None => match self.gates.of(&settings.name).held {
                    Some(held) => Err(Stuck::Held(Box::new(held))),
                    None => Err(Stuck::Bad("it has not been fetched yet".to_owned())),
                },
            },
        }
    }

    fn read_file(&self, settings: &ListSettings, path: &Path, version: Version) -> Result<Good, Stuck> {
        let text = files::read(path)?;
        let rules = text.parse(settings.options)?;
        let now = clock::unix_secs();
        let mut record = new_record(settings, &rules, now);
        record.describe(&text);
        let supply = match text {
            Text::Whole(_) => Supply::Hand,
            Text::Parts(_) => Supply::Directory,
        };
        let warnings = self.admit(settings, supply, &record, &text, &rules).map_err(Stuck::Held)?;
        let put = |store: &Store| note_unkept(&settings.name, store.put(&settings.name, &mut record, &text));
        let is_stored = self.own_store().is_some_and(put);
        let mut good = self.remember(settings, rules, now, Lines::Files(version), None);
        good.is_stored = is_stored;
        Ok(self.warned(settings, good, warnings))
    }

    /// Takes a fetched text, if it is a good version of the list. Blocks.
    pub fn offer(&self, settings: &ListSettings, download: Download) -> Offered {
        let Download { text, published_sha256, etag, last_modified } = download;
        let known = self.fetched(settings);
        let is_same = |good: &Good| {
            let record = good.record.as_ref();
            good.options == settings.options && record.is_some_and(|r| r.sha256 == verify::sha256_hex(&text))
        };
        let now = clock::unix_secs();
        if let Some(Good { record: Some(record), .. }) = known.filter(is_same) {
            // What waited is not what the publisher gives any more.
            self.withdraw(&settings.name);
            let record = Record { etag, last_modified, published_sha256: Some(published_sha256), ..record };
            self.note(settings, Record { checked_at: now, source: source_text(&settings.source), ..record });
            return Offered::Same;
        }
        let text = Text::Whole(text);
        let rules = match text.parse(settings.options) {
            Ok(rules) => rules,
            Err(why) => return Offered::Refused(why),
        };
        let record = new_record(settings, &rules, now);
        let mut record = Record { published_sha256: Some(published_sha256), etag, last_modified, ..record };
        record.describe(&text);
        if let Err(held) = self.admit(settings, Supply::Fetched, &record, &text, &rules) {
            return Offered::Held(held.to_string());
        }
        let good = self.accept(settings, record, &text, rules);
        Offered::New { rules: good.rule_count }
    }

    /// Makes a fetched version the list's; it goes into force with the next load.
    fn accept(&self, settings: &ListSettings, mut record: Record, text: &Text, rules: RuleSet) -> Good {
        let lines = match self.own_store() {
            None => Lines::Gone,
            Some(store) => match note_unkept(&settings.name, store.put(&settings.name, &mut record, text)) {
                true => Lines::Stored(store.path(&settings.name, &record)),
                false => Lines::Gone,
            },
        };
        self.remember(settings, rules, record.read_at, lines, Some(record))
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

    fn remember(
        &self,
        settings: &ListSettings,
        rules: RuleSet,
        read_at: u64,
        lines: Lines,
        record: Option<Record>,
    ) -> Good {
        let (source, options) = (settings.source.clone(), settings.options);
        let good = Good {
            source,
            options,
            obey_public_suffixes: settings.obey_public_suffixes,
            block_keywords: settings.block_keywords.clone(),
            rule_count: rules.rule_count(),
            rules: Some(Arc::new(rules)),
            is_stored: matches!(lines, Lines::Stored(_)),
            is_in_force: false,
            read_at,
            lines,
            record,
            warnings: Vec::new(),
        };
        self.memory().insert(settings.name.clone(), good.clone());
        good
    }

    /// The last good version, whatever it was read from and however.
    fn remembered(&self, settings: &ListSettings) -> Option<Good> {
        let known = self.memory().get(&settings.name).cloned();
        known.or_else(|| self.stored(settings))
    }

    /// The newest version in the store that still reads well.
    fn stored(&self, settings: &ListSettings) -> Option<Good> {
        let store = self.store.get()?;
        let versions = store.versions(&settings.name)?;
        let from_url = matches!(settings.source, ListSource::Url(_));
        for record in [Some(versions.current), versions.previous].into_iter().flatten() {
            match store.text(&settings.name, &record).and_then(|text| text.parse(settings.options)) {
                Ok(rules) => {
                    let lines = Lines::Stored(store.path(&settings.name, &record));
                    let checked_at = record.checked_at;
                    // What was fetched while this was read is newer.
                    let known = self.memory().get(&settings.name).cloned();
                    let is_newer = |good: &Good| good.source == settings.source && good.options == settings.options;
                    if let Some(good) = known.filter(|good| is_newer(good) && good.read_at >= checked_at) {
                        return Some(good);
                    }
                    let record = from_url.then_some(record);
                    return Some(self.remember(settings, rules, checked_at, lines, record));
                }
                Err(why) => tracing::error!("list `{}`: its kept version is of no use: {why}", settings.name),
            }
        }
        None
    }

    fn own_store(&self) -> Option<&Store> {
        self.store.get().filter(|store| store.is_ours())
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<String, Good>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn part_of(settings: &ListSettings, rules: &RuleSet, left_out: &RuleNames) -> Part {
    let guard: &dyn Fn(&[u8]) -> bool =
        &|name| left_out.contains(name) || (!settings.obey_public_suffixes && is_public_suffix(name));
    if settings.block_keywords.is_empty() {
        Part::of(rules, guard)
    } else {
        Part::of(&rules.blocking_keywords(&settings.block_keywords), guard)
    }
}

/// What is told of a compiled file that cannot be taken.
pub fn file_problem(list: &str, file: &Path, why: &str, is_kept: bool, required: bool) -> ListProblem {
    let (instead, fatal) = match (is_kept, required) {
        (true, _) => ("; its last good version stays in force", false),
        (false, true) => ("; it has no good version and is required", true),
        (false, false) => ("; it has no good version and holds nothing (required = false)", false),
    };
    let message = format!("list `{list}` ({}): {why}{instead}", file.display());
    ListProblem { list: list.to_owned(), message, fatal, unready: false }
}

/// What is told of a list that is not at the version that came.
fn problem(settings: &ListSettings, stuck: &Stuck, is_kept: bool) -> ListProblem {
    let is_url = matches!(settings.source, ListSource::Url(_));
    let is_held = matches!(stuck, Stuck::Held(_));
    let (instead, fatal, unready) = match (is_kept, is_held || is_url, settings.required) {
        (true, ..) => ("; its last good version stays in force", false, false),
        (false, true, true) => ("; until it is, it holds nothing and this node is not ready", false, true),
        (false, true, false) => ("; until it is, it holds nothing (required = false)", false, false),
        (false, false, true) => ("; it has no good version and is required", true, false),
        (false, false, false) => ("; it has no good version and holds nothing (required = false)", false, false),
    };
    let why = match stuck {
        Stuck::Bad(why) => why.clone(),
        Stuck::Held(held) => format!("{held}; it waits to be approved (`lachan lists approve {}`)", settings.name),
    };
    let message = format!("list `{}` ({}): {why}{instead}", settings.name, source_text(&settings.source));
    ListProblem { list: settings.name.clone(), message, fatal, unready }
}

fn new_record(settings: &ListSettings, rules: &RuleSet, now: u64) -> Record {
    Record {
        source: source_text(&settings.source),
        read_at: now,
        checked_at: now,
        format: rules.report.format.map(|format| format!("{format:?}").to_lowercase()),
        rules: rules.rule_count(),
        ..Record::default()
    }
}

/// Says that something could not be kept; `true` when it was.
fn note_unkept(list: &str, kept: std::io::Result<()>) -> bool {
    if let Err(why) = &kept {
        tracing::error!("list `{list}` is in force but not kept for the next start: {why}");
    }
    kept.is_ok()
}

/// Reads and parses one list that is here: compiled in, or in files.
pub fn read(source: &ListSource, options: ParseOptions) -> Result<RuleSet, String> {
    match source {
        ListSource::BuiltIn(name) => built_in_text(name)?.parse(options),
        ListSource::File(path) => files::read(path)?.parse(options),
        ListSource::Url(_) => Err("it is fetched by the running resolver only".to_owned()),
    }
}

fn built_in_text(name: &str) -> Result<Text, String> {
    let text = built_in::starter_list(name).ok_or_else(|| format!("there is no built-in list `{name}`"))?;
    Ok(Text::Whole(text.as_bytes().to_vec()))
}

/// A source as people write it.
pub fn source_text(source: &ListSource) -> String {
    match source {
        ListSource::BuiltIn(name) => format!("builtin:{name}"),
        ListSource::File(path) => path.display().to_string(),
        ListSource::Url(url) => url.clone(),
    }
}

/// The text of one line of a list file, for `explain`; counted from 1. Blocks.
pub fn line_of(path: &Path, line: u32) -> Option<String> {
    files::line_of(path, line)
}

/// The text of one line of a starter list; counted from 1.
pub fn built_in_line(name: &str, line: u32) -> Option<String> {
    let line = built_in::starter_list(name)?.lines().nth(line.checked_sub(1)? as usize)?;
    (!line.is_empty()).then(|| files::shown(line.as_bytes()))
}

#[cfg(test)]
mod tests;
