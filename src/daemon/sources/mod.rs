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
mod offered;
pub mod outcome;
mod problem;
mod reading;
mod review;
pub mod schedule;
pub mod store;
pub mod supply;
mod text;
mod verify;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::built_in;
use crate::config::{Version, Versions};
use crate::daemon::clock;
use crate::daemon::gates::Gates;
use crate::daemon::spool::{Spool, SpoolRoom};
use crate::engine::compile::{Home, ListRules, ListSettings, ListSource, LoadedList};
use crate::engine::compiled::Compiled;
use crate::engine::gate::{HoldReason, Supply};
use crate::engine::list::ParseOptions;
use crate::engine::matcher::Part;
use crate::engine::matcher::room::Room;
use crate::engine::verdict::ListId;

pub use offered::Offered;
pub use problem::{ListProblem, file_problem};
pub use review::Diff;

use problem::{Stuck, lost_rules, problem};
use store::{Record, Store};
use text::Text;

pub use reading::Reading;

/// What is remembered of every list between loads.
pub struct Sources {
    good: Mutex<HashMap<String, Good>>,
    /// Not there: nothing is kept over a restart.
    store: OnceLock<Store>,
    gates: Gates,
    /// Texts that wait for approval and are not in the store; one a list.
    waiting: Mutex<HashMap<String, (Record, Arc<Text>)>>,
    /// Where scratch files are made.
    scratch: OnceLock<PathBuf>,
    /// Held by whoever writes texts to the store.
    keeping: Mutex<()>,
}

/// A version of a list that could be read.
#[derive(Debug, Clone)]
struct Good {
    source: ListSource,
    options: ParseOptions,
    obey_public_suffixes: bool,
    block_keywords: Vec<String>,
    rule_count: usize,
    /// `None`: they are in the snapshot in force.
    part: Option<Arc<Part>>,
    /// The text, when the store does not have it.
    text: Option<Arc<Text>>,
    /// What the store is to know of the text, when it is still to be kept there.
    unkept: Option<Record>,
    /// When it was last known to be current; seconds since 1970.
    read_at: u64,
    lines: Lines,
    /// Of a fetched list.
    record: Option<Record>,
    /// What a gate finds about a file that is the operator's own hand.
    warnings: Vec<HoldReason>,
}

/// Octets of a text that one thread reads as fast as several. Chosen.
const SHORT_MAX: u64 = 2 << 20;

/// A list's version, and why it is not the one that came.
type Looked = (Option<Good>, Option<Stuck>);

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
    pub taken: Taken,
    /// What the operator should know of a list that is in force by the operator's own hand: its name, and what.
    pub warnings: Vec<(String, String)>,
}

/// What a load took out of memory, for [`Sources::in_force_now`].
pub type Taken = Vec<(String, Arc<Part>)>;

impl Sources {
    pub fn new(gates: Gates) -> Sources {
        Sources {
            good: Mutex::default(),
            store: OnceLock::new(),
            gates,
            waiting: Mutex::default(),
            scratch: OnceLock::new(),
            keeping: Mutex::default(),
        }
    }

    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Loads every list.
    pub fn load(&self, lists: &[ListSettings], reading: &Reading<'_>) -> Load {
        let mut load = Load::default();
        // Lists that left the configuration are forgotten, and their memory with them.
        self.memory().retain(|name, _| lists.iter().any(|l| &l.name == name));
        let seen = Mutex::default();
        let looked = self.look_at(lists, reading, &seen);
        load.seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (settings, (good, stuck)) in lists.iter().zip(looked) {
            load.problems.extend(stuck.map(|why| problem(settings, &why, good.is_some())));
            let Some(good) = good else { continue };
            let warned = good.warnings.iter().map(|warning| (settings.name.clone(), warning.to_string()));
            load.warnings.extend(warned);
            load.read_at.insert(settings.name.clone(), good.read_at);
            load.in_force.insert(settings.name.clone(), good.lines);
            let rules = match good.part {
                Some(part) => {
                    // It is remembered whole: what is left out may be let in later.
                    let left_out = self.gates.rules_left_out(&settings.name);
                    match (*part).clone().without(&left_out) {
                        Ok(reduced) => {
                            load.taken.push((settings.name.clone(), part));
                            ListRules::Read(reduced)
                        }
                        Err(lost) => {
                            load.problems.push(lost_rules(settings, &lost));
                            continue;
                        }
                    }
                }
                None => ListRules::Kept,
            };
            load.lists.push(LoadedList { settings: settings.clone(), rules });
        }
        if let Some(store) = self.own_store() {
            let names: Vec<&str> = lists.iter().map(|list| list.name.as_str()).collect();
            store.forget_others(&names, clock::unix_secs());
        }
        load
    }

    /// Every list as it is now, or its last good version and why it is that: short ones side by side, a long one by
    /// several.
    fn look_at(&self, lists: &[ListSettings], reading: &Reading<'_>, seen: &Mutex<Versions>) -> Vec<Looked> {
        let look = |i: usize, reading: &Reading<'_>| {
            let settings = &lists[i];
            reading.progress.list(&settings.name, i + 1, lists.len());
            match self.refresh(settings, reading, seen) {
                Ok(good) => (Some(good), None),
                Err(why) => (self.remembered(settings, reading), Some(why)),
            }
        };
        let (short, long): (Vec<usize>, Vec<usize>) =
            (0..lists.len()).partition(|&i| reading.threads > 1 && is_short(&lists[i].source));
        let next = AtomicUsize::new(0);
        let alone = Reading { threads: 1, ..reading.clone() };
        let work = || {
            let turns = std::iter::from_fn(|| short.get(next.fetch_add(1, Ordering::Relaxed)));
            turns.map(|&i| (i, look(i, &alone))).collect::<Vec<_>>()
        };
        let mut looked: Vec<(usize, Looked)> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..reading.threads.min(short.len())).map(|_| scope.spawn(work)).collect();
            let mut looked = work();
            for other in others {
                looked.extend(other.join().unwrap_or_else(|why| std::panic::resume_unwind(why)));
            }
            looked
        });
        looked.extend(long.into_iter().map(|i| (i, look(i, reading))));
        looked.sort_by_key(|&(i, _)| i);
        looked.into_iter().map(|(_, looked)| looked).collect()
    }

    /// What a load took is in the snapshot in force, or is about to be, so it need not be held here too; what came since
    /// then is not. Texts that are to be kept are kept now. Blocks.
    pub fn in_force_now(&self, taken: &[(String, Arc<Part>)]) {
        for (name, part) in taken {
            if let Some(good) = self.memory().get_mut(name)
                && good.part.as_ref().is_some_and(|known| Arc::ptr_eq(known, part))
            {
                good.part = None;
            }
        }
        self.keep_all();
    }

    /// Writes texts that the store does not have yet. When this returns, nobody else is at it either. Blocks.
    pub fn keep_all(&self) {
        let Some(store) = self.own_store() else { return };
        let _alone = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: Vec<String> =
            self.memory().iter().filter(|(_, good)| good.unkept.is_some()).map(|(list, _)| list.clone()).collect();
        for list in waiting {
            let unkept = self.memory().get_mut(&list).and_then(|good| good.unkept.take().zip(good.text.clone()));
            if let Some((mut record, text)) = unkept
                && note_unkept(&list, store.put(&list, &mut record, &text))
                && let Some(good) = self.memory().get_mut(&list)
                && good.text.as_ref().is_some_and(|known| Arc::ptr_eq(known, &text))
            {
                good.text = None;
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
                part: None,
                text: None,
                unkept: None,
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
            let _ = self.scratch.set(store.scratch().to_owned());
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
    fn refresh(&self, settings: &ListSettings, reading: &Reading<'_>, seen: &Mutex<Versions>) -> Result<Good, Stuck> {
        let known = self.memory().get(&settings.name).cloned();
        // What is kept was made with these.
        let known = known.filter(|good| {
            good.source == settings.source
                && good.options == settings.options
                && good.obey_public_suffixes == settings.obey_public_suffixes
                && good.block_keywords == settings.block_keywords
        });
        match &settings.source {
            ListSource::BuiltIn(name) => match known {
                Some(good) => Ok(good),
                None => {
                    let text = built_in_text(name, self.scratch())?;
                    let part = reading::read(&text, settings, reading)?;
                    Ok(self.remember(settings, part, clock::unix_secs(), Lines::BuiltIn, None))
                }
            },
            ListSource::File(path) => {
                // Looked at before it is read, so that a change meanwhile is seen. Two lists of one file: the earlier look
                // is the safe one.
                let version = {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    let version = Version::of_list(path);
                    seen.entry(path.clone()).or_insert_with(|| version.clone());
                    version
                };
                match known.filter(|good| good.lines == Lines::Files(version.clone())) {
                    Some(good) => {
                        self.withdraw(&settings.name);
                        Ok(good)
                    }
                    None => self.read_file(settings, path, version, reading),
                }
            }
            ListSource::Url(_) => {
                match self.reconsidered(settings, reading).or(known).or_else(|| self.stored(settings, reading)) {
                    Some(good) => Ok(good),
                    None => match self.gates.of(&settings.name).held {
                        Some(held) => Err(Stuck::Held(Box::new(held))),
                        None => Err(Stuck::Bad("it has not been fetched yet".to_owned())),
                    },
                }
            }
        }
    }

    fn read_file(
        &self,
        settings: &ListSettings,
        path: &Path,
        version: Version,
        reading: &Reading<'_>,
    ) -> Result<Good, Stuck> {
        let text = Arc::new(files::read(path, self.scratch())?);
        let part = reading::read(&text, settings, reading)?;
        let now = clock::unix_secs();
        let mut record = new_record(settings, &part, now);
        record.describe(&text);
        let supply = if text.is_group { Supply::Directory } else { Supply::Hand };
        let warnings = self.admit(settings, supply, &record, &text, &part, reading).map_err(Stuck::Held)?;
        let mut good = self.remember(settings, part, now, Lines::Files(version), None);
        good.text = Some(text);
        // The store writes it down when it is in force: nobody waits for the disk before that.
        good.unkept = self.own_store().map(|_| record);
        Ok(self.warned(settings, good, warnings))
    }

    fn remember(
        &self,
        settings: &ListSettings,
        part: Part,
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
            rule_count: part.rules,
            part: Some(Arc::new(part)),
            text: None,
            unkept: None,
            read_at,
            lines,
            record,
            warnings: Vec::new(),
        };
        self.memory().insert(settings.name.clone(), good.clone());
        good
    }

    /// The last good version, whatever it was read from and however.
    fn remembered(&self, settings: &ListSettings, reading: &Reading<'_>) -> Option<Good> {
        let known = self.memory().get(&settings.name).cloned();
        known.or_else(|| self.stored(settings, reading))
    }

    /// The newest version in the store that still reads well.
    fn stored(&self, settings: &ListSettings, reading: &Reading<'_>) -> Option<Good> {
        let store = self.store.get()?;
        let versions = store.versions(&settings.name)?;
        let from_url = matches!(settings.source, ListSource::Url(_));
        for record in [Some(versions.current), versions.previous].into_iter().flatten() {
            match store.text(&settings.name, &record).and_then(|text| reading::read(&text, settings, reading)) {
                Ok(part) => {
                    let lines = Lines::Stored(store.path(&settings.name, &record));
                    let checked_at = record.checked_at;
                    // What was fetched while this was read is newer.
                    let known = self.memory().get(&settings.name).cloned();
                    let is_newer = |good: &Good| good.source == settings.source && good.options == settings.options;
                    if let Some(good) = known.filter(|good| is_newer(good) && good.read_at >= checked_at) {
                        return Some(good);
                    }
                    let record = from_url.then_some(record);
                    return Some(self.remember(settings, part, checked_at, lines, record));
                }
                Err(why) => tracing::error!("list `{}`: its kept version is of no use: {why}", settings.name),
            }
        }
        None
    }

    /// Where scratch files are made.
    pub fn scratch(&self) -> &Path {
        self.scratch.get_or_init(std::env::temp_dir)
    }

    /// Room for rules on their way into an index.
    fn room(&self) -> Option<Arc<dyn Room>> {
        Some(Arc::new(SpoolRoom(Spool::new(self.scratch().to_owned(), None, 0))))
    }

    fn own_store(&self) -> Option<&Store> {
        self.store.get().filter(|store| store.is_ours())
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<String, Good>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a list is not worth several readers, as far as can be told beforehand.
fn is_short(source: &ListSource) -> bool {
    match source {
        ListSource::BuiltIn(_) => true,
        ListSource::File(path) => std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() < SHORT_MAX),
        ListSource::Url(_) => false,
    }
}

fn new_record(settings: &ListSettings, part: &Part, now: u64) -> Record {
    Record {
        source: source_text(&settings.source),
        read_at: now,
        checked_at: now,
        format: part.report.format.map(|format| format!("{format:?}").to_lowercase()),
        rules: part.rules,
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

/// Whether a list that is here, compiled in or in files, reads well; else, why not.
pub fn check(source: &ListSource, options: ParseOptions) -> Result<(), String> {
    let scratch = std::env::temp_dir();
    let text = match source {
        ListSource::BuiltIn(name) => built_in_text(name, &scratch)?,
        ListSource::File(path) => files::read(path, &scratch)?,
        ListSource::Url(_) => return Err("it is fetched by the running resolver only".to_owned()),
    };
    reading::rules(&text, options).map(drop)
}

fn built_in_text(name: &str, scratch: &Path) -> Result<Text, String> {
    let text = built_in::starter_list(name).ok_or_else(|| format!("there is no built-in list `{name}`"))?;
    Text::of(text.as_bytes(), scratch).map_err(|why| why.to_string())
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
