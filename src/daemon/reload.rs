//! Reload: read, parse, compile off the query path, swap. A generation goes into force whole or not at all (I6).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::built_in;
use crate::config::{self, Config, ConfigError, Settings, Version, Versions};
use crate::daemon::artefacts::{self, Artefacts, Taken};
use crate::daemon::clock;
use crate::daemon::forwarder::{Forwarder, ForwarderOptions};
use crate::daemon::gates::Gates;
use crate::daemon::learner;
use crate::daemon::memory;
use crate::daemon::resolver::Resolver;
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::sources::supply::Supplies;
use crate::daemon::sources::{self, Lines, ListProblem, Load, Sources};
use crate::daemon::telemetry::Metrics;
use crate::engine::compile::{
    BuiltIn, CompileReport, Home, Inputs, ListRules, ListSettings, ListSource, LoadedList, Policy, compile,
    configured_layer,
};
use crate::engine::compiled::CompiledList;
use crate::engine::gate::{GateSettings, TreeKey};
use crate::engine::list::{Reach, own_entry};
use crate::engine::matcher::{HashSeed, Layer};
use crate::engine::name::Name;
use crate::engine::safe_search::SafeSearch;
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::ListId;

/// Where upstream servers come from when the configuration names none.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where state is kept unless something says otherwise.
const STATE_DIRECTORY: &str = "/var/lib/lachan";

/// Makes generations from one configuration file, or from the embedded default.
pub struct Loader {
    /// `None`: the embedded default.
    path: Option<PathBuf>,
    sources: Arc<Sources>,
    state: State,
    supplies: Supplies,
    artefacts: Artefacts,
    built_in: BuiltIn,
    seed: HashSeed,
    generation: u64,
    /// Lists of the configuration in force.
    lists_in_force: usize,
    /// What the last load looked at, good or not, as it was before it was read.
    seen: Versions,
}

/// What a loader does with the state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unused,
    /// Read, never written to.
    Read,
    /// Last good versions of lists are kept there.
    Kept,
}

/// A generation ready to go into force.
pub struct Loaded {
    pub generation: Generation,
    pub settings: Settings,
    pub notes: Notes,
}

/// What an operator should know about a generation that loaded.
#[derive(Debug, Default, Clone)]
pub struct Notes {
    pub hints: Vec<String>,
    /// Lists at an older version, or without one.
    pub problems: Vec<ListProblem>,
    /// When each list was last read well; seconds since 1970.
    pub read_at: HashMap<String, u64>,
    /// Where upstream servers come from when the configuration names none.
    pub upstream_origin: Option<String>,
    /// Where the lines of each list in force are, by its name.
    pub list_lines: HashMap<String, Lines>,
    /// Every `[list.*]`, also what could not be loaded.
    pub lists: Arc<[ListSettings]>,
    /// What the operator should know of a list that is in force by the operator's own hand: its name, and what.
    pub warnings: Vec<(String, String)>,
}

/// How the last reload went; in `/api/v1/status`.
#[derive(Debug, Clone)]
pub struct ReloadStatus {
    /// `ok`, `partial` or `failed`.
    pub result: &'static str,
    /// Seconds since 1970.
    pub at: u64,
    pub took_ms: u64,
    pub errors: Vec<String>,
    pub needs_restart: Vec<String>,
    pub notes: Notes,
}

impl Loader {
    pub fn new(path: Option<PathBuf>) -> Loader {
        let mut octets = [0; 16];
        // Without the system's randomness there are no random ids and ports either: nothing here could be trusted.
        getrandom::fill(&mut octets).expect("the system has a source of randomness");
        let (a, b) = octets.split_at(8);
        let half = |h: &[u8]| h.iter().fold(0, |n, &o| n << 8 | u64::from(o));
        let seed = HashSeed(half(a), half(b));
        let built_in = built_in();
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).expect("the system has a source of randomness");
        let (a, b) = octets.split_at(8);
        let gates = Gates::new(TreeKey(half(a), half(b)), &built_in);
        Loader {
            path,
            sources: Arc::new(Sources::new(gates)),
            state: State::Unused,
            supplies: Supplies::default(),
            built_in,
            artefacts: Artefacts::default(),
            seed,
            generation: 0,
            lists_in_force: 0,
            seen: Versions::new(),
        }
    }

    /// Keeps last good versions of lists in the state directory: for the process that serves, and no other.
    pub fn keeping_state(self) -> Loader {
        Loader { state: State::Kept, ..self }
    }

    /// Takes lists that are fetched from the state directory, as whoever serves left them there.
    pub fn reading_state(self) -> Loader {
        Loader { state: State::Read, ..self }
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What the last load looked at, whether it was good or not: when one of these is another, it is time to load again.
    pub fn seen(&self) -> &Versions {
        &self.seen
    }

    /// Reads everything and compiles it. `own` are the addresses we answer on; `previous` is the generation in force, which
    /// is the one that the last call made. The caller puts what this returns into force.
    ///
    /// # Errors
    /// Every reason why nothing new may go into force: configuration errors, or required lists without a good version.
    pub fn load(
        &mut self,
        own: Option<&[std::net::SocketAddr]>,
        previous: Option<&Generation>,
        progress: impl FnMut(&str, usize),
    ) -> Result<Loaded, Vec<String>> {
        self.seen.clear();
        let config = match &self.path {
            None => config::embedded(),
            Some(path) => config::load_noting(path, &mut self.seen).map_err(|errors| texts(&errors))?,
        };
        let Config { settings, mut policy, files: _, hints } = config;
        let others = settings.tls_roots.as_deref().into_iter();
        for path in others.chain(policy.upstreams.is_empty().then_some(Path::new(RESOLV_CONF))) {
            self.seen.insert(path.to_owned(), Version::of_file(path));
        }
        if policy.node_name.is_empty() {
            policy.node_name = host_name();
        }
        if previous.is_some() {
            self.refuse_what_was_cut_off(&policy, own.unwrap_or(&settings.dns))?;
        }
        let list_count = policy.lists.len() + policy.compiled.len();
        let unkept = self.keep_state(&settings, &policy);
        let lists: Arc<[ListSettings]> = policy.lists.as_slice().into();
        let popular = self.configure_gates(&settings, &policy);
        let (mut load, texts_kept) = match previous.is_none().then(|| self.load_kept(&policy.lists)).flatten() {
            Some((load, layer)) => (load, Some(layer)),
            None => (self.sources.load(&policy.lists, progress), None),
        };
        // Only of what is in force whole: what came of a broken list must not look as if it were what its file says.
        let is_whole = load.problems.is_empty() && load.warnings.is_empty();
        let key = is_whole
            .then(|| artefacts::key_of(&policy.lists, &load.in_force, self.sources.gates()))
            .flatten()
            .unwrap_or_default();
        self.load_compiled(&mut policy, &mut load)?;
        self.seen.extend(std::mem::take(&mut load.seen));
        let fatal: Vec<String> = load.problems.iter().filter(|p| p.fatal).map(|p| p.message.clone()).collect();
        if !fatal.is_empty() {
            return Err(fatal);
        }
        let supplies = Supplies::of(&settings, &policy);
        let own = own.unwrap_or(&settings.dns).to_vec();
        let (upstreams, upstream_origin) = if policy.upstreams.is_empty() {
            let (found, origin) = Forwarder::system_upstreams(&own);
            (found, Some(origin))
        } else {
            (policy.upstreams.clone(), None)
        };
        let inputs = Inputs {
            generation: self.generation + 1,
            policy,
            lists: load.lists,
            built_in: self.built_in.clone(),
            upstreams,
            seed: self.seed,
            texts: texts_kept,
        };
        let in_use = inputs.texts.clone().or_else(|| previous.and_then(|generation| generation.snapshot.texts.clone()));
        let (mut snapshot, report) =
            compile(inputs, previous.map(|generation| &generation.snapshot)).map_err(|why| vec![why.to_string()])?;
        self.keep_texts(&mut snapshot, in_use.as_ref(), &load.read_at, &load.in_force, &key);
        let options =
            ForwarderOptions { bootstrap: settings.bootstrap.clone(), ca_file: settings.tls_roots.clone(), own };
        let forwarder =
            Forwarder::new(Arc::clone(&snapshot.routes), options, previous.map(|generation| &*generation.forwarder))
                .map_err(|why| vec![why])?;
        self.generation += 1;
        let gates = self.sources.gates();
        let snapshot = snapshot.without_lists(self.generation, &|list| gates.is_disabled(list));
        self.lists_in_force = list_count;
        self.sources.in_force_now(&load.taken);
        self.supplies = supplies;
        let notes = Notes {
            hints: texts(&hints).into_iter().chain(report_texts(&report)).chain(unkept).chain(popular).collect(),
            lists,
            warnings: load.warnings,
            problems: load.problems,
            read_at: load.read_at,
            upstream_origin,
            list_lines: load.in_force,
        };
        let generation = Generation { snapshot, forwarder: Arc::new(forwarder) };
        Ok(Loaded { generation, settings, notes })
    }
}

impl Loader {
    /// Every configured list in one layer, for a compiled file.
    ///
    /// # Errors
    /// Those of [`Loader::load`], and every list that is not at the version that its source has.
    pub fn compiled(&mut self) -> Result<(Arc<Layer>, Vec<CompiledList>), Vec<String>> {
        let Loaded { generation, notes, .. } = self.load(None, None, |_, _| {})?;
        if !notes.problems.is_empty() {
            return Err(notes.problems.into_iter().map(|problem| problem.message).collect());
        }
        let snapshot = &generation.snapshot;
        let lists = compiled_lists(snapshot, &notes.read_at, &notes.list_lines);
        let layer = configured_layer(snapshot, self.seed).map_err(|why| vec![why.to_string()])?;
        Ok((layer, lists.into_iter().map(|(_, list)| list).collect()))
    }

    /// What the last run compiled, if it was of the same settings and texts.
    fn load_kept(&self, lists: &[ListSettings]) -> Option<(Load, Arc<Layer>)> {
        let lines = self.sources.lines_now(lists)?;
        let kept = self.artefacts.kept_texts(&artefacts::key_of(lists, &lines, self.sources.gates())?)?;
        Some((self.sources.load_kept(lists, &lines, &kept)?, kept.layer))
    }

    /// Adds the lists of compiled files to what was loaded, and their categories to the policy's.
    fn load_compiled(&mut self, policy: &mut Policy, load: &mut Load) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        for settings in &policy.compiled {
            let version = Version::of_file(&settings.file);
            load.seen.entry(settings.file.clone()).or_insert_with(|| version.clone());
            let Taken { compiled, error } = self.artefacts.take(settings, version);
            if let Some(why) = error {
                load.problems.push(sources::file_problem(
                    &settings.name,
                    &settings.file,
                    &why,
                    compiled.is_some(),
                    settings.required,
                ));
            }
            let Some(compiled) = compiled else { continue };
            for (number, list) in compiled.lists.iter().enumerate() {
                if load.lists.iter().any(|other| other.settings.name == list.name) {
                    let (table, name) = (&settings.name, &list.name);
                    errors.push(format!(
                        "[list.{table}]: its file brings a list `{name}`, and there is another of this name"
                    ));
                    continue;
                }
                let category = settings.category.or_else(|| policy.categories.id(&list.category.name));
                let category = category.unwrap_or_else(|| policy.categories.declare(list.category.clone()));
                let source = list.list_source();
                load.in_force.insert(list.name.clone(), artefacts::lines_of(list));
                load.read_at.insert(list.name.clone(), list.read_at);
                let home = Home { layer: Arc::clone(&compiled.layer), list: ListId(number as u16) };
                load.lists.push(LoadedList {
                    settings: ListSettings {
                        name: list.name.clone(),
                        category,
                        options: list.options,
                        source,
                        required: settings.required,
                        obey_public_suffixes: list.obey_public_suffixes,
                        block_keywords: Vec::new(),
                        gate: GateSettings::OPEN,
                    },
                    rules: ListRules::Compiled(home, list.about()),
                });
            }
        }
        self.artefacts.keep_only(&policy.compiled);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Keeps the layer of texts for the next start, when it is a new one, and serves it from there.
    fn keep_texts(
        &self,
        snapshot: &mut Snapshot,
        in_use: Option<&Arc<Layer>>,
        read_at: &HashMap<String, u64>,
        lines: &HashMap<String, Lines>,
        key: &str,
    ) {
        let Some(texts) = snapshot.texts.clone().filter(|texts| !in_use.is_some_and(|old| Arc::ptr_eq(old, texts)))
        else {
            return;
        };
        let lists = compiled_lists(snapshot, read_at, lines);
        let lists: Vec<CompiledList> = lists
            .into_iter()
            .filter(|(home, _)| Arc::ptr_eq(&home.layer, &texts))
            .enumerate()
            .take_while(|(i, (home, _))| usize::from(home.list.0) == *i)
            .map(|(_, (_, list))| list)
            .collect();
        let is_whole = lists.len() == snapshot.lists_of(&texts);
        if is_whole && let Some(layer) = self.artefacts.keep_texts(&texts, &lists, key) {
            snapshot.serve_texts_from(layer);
        }
    }

    /// Takes the state directory into use when there is something to keep; else, why nothing is kept.
    fn keep_state(&mut self, settings: &Settings, policy: &Policy) -> Option<String> {
        let is_kept = |list: &ListSettings| !matches!(list.source, ListSource::BuiltIn(_));
        let directory = state_directory(settings);
        let gates = self.sources.gates();
        let unkept = match self.state {
            State::Unused => None,
            State::Read => {
                self.sources.look_into(&directory);
                gates.look_into(&directory);
                None
            }
            State::Kept => {
                let has_texts = policy.lists.iter().any(is_kept);
                let kept = if has_texts { self.sources.keep_in(&directory) } else { Ok(()) };
                if kept.is_ok() {
                    gates.keep_in(&directory);
                }
                let compiled = match kept {
                    Ok(()) if has_texts || !policy.compiled.is_empty() => self.artefacts.keep_in(&directory),
                    Ok(()) | Err(_) => Ok(()),
                };
                kept.and(compiled).err()
            }
        }?;
        Some(format!("{unkept}: no list is kept for the next start (state_directory = {})", directory.display()))
    }

    /// Tells the gates what the configuration says; what is wrong with the ranked file.
    fn configure_gates(&mut self, settings: &Settings, policy: &Policy) -> Option<String> {
        let gates = self.sources.gates();
        let version = settings.popular.file.as_deref().map_or(Version::Absent, Version::of_file);
        self.seen.extend(settings.popular.file.iter().map(|file| (file.clone(), version.clone())));
        gates.configure(&policy.categories, &settings.popular, version, &self.built_in);
        gates.problem()
    }

    /// What is learnt about popular names.
    pub fn learned(&self) -> &learner::Shared {
        self.sources.gates().learned()
    }

    /// A file cut short may still read well. What only a hand would do at leisure is done by a restart.
    fn refuse_what_was_cut_off(&self, policy: &Policy, own: &[std::net::SocketAddr]) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        let path = self.path.as_ref().map_or(String::new(), |path| format!("{}: ", path.display()));
        if policy.lists.is_empty() && policy.compiled.is_empty() && self.lists_in_force > 0 {
            errors.push(format!(
                "{path}no [list.*] is left of {}: the file may be cut short; to serve without lists, restart",
                self.lists_in_force
            ));
        }
        if let Some(address) = own.iter().find(|a| policy.upstreams.is_empty() && !a.ip().is_loopback()) {
            errors.push(format!("{path}no [[upstream]] is left, and it answers on {address}, beyond loopback"));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Where state is: as configured, else as systemd says, else where packages put it.
pub(super) fn state_directory(settings: &Settings) -> PathBuf {
    let given = settings.state_directory.clone();
    // systemd gives several directories with colons between them.
    let told = || std::env::var("STATE_DIRECTORY").ok()?.split(':').next().filter(|d| !d.is_empty()).map(PathBuf::from);
    given.or_else(told).unwrap_or_else(|| PathBuf::from(STATE_DIRECTORY))
}

/// The configured lists of a snapshot as a compiled file tells of them, each with where its rules lie.
pub fn compiled_lists(
    snapshot: &Snapshot,
    read_at: &HashMap<String, u64>,
    lines: &HashMap<String, Lines>,
) -> Vec<(Home, CompiledList)> {
    let configured = snapshot.lists.iter().filter_map(|list| Some((list, list.configured.as_ref()?)));
    let told = configured.map(|(list, about)| {
        let shown = about.spared.shown.iter().map(|rule| (rule.name.to_string(), rule.line));
        let told = CompiledList {
            name: list.name.clone(),
            category: snapshot.categories.get(about.settings.category).clone(),
            source: sources::source_text(&about.settings.source),
            options: about.settings.options,
            rules: u32::try_from(list.rules).unwrap_or(u32::MAX),
            report: about.report.clone(),
            spared: about.spared.count,
            spared_shown: shown.collect(),
            file_version: match lines.get(&list.name) {
                Some(Lines::Files(version)) => version.of_content(),
                Some(Lines::BuiltIn | Lines::Stored(_) | Lines::Gone) | None => None,
            },
            part_versions: match lines.get(&list.name) {
                Some(Lines::Files(Version::Group(Some(parts)))) => artefacts::part_versions(&about.report, parts),
                Some(Lines::Files(_) | Lines::BuiltIn | Lines::Stored(_) | Lines::Gone) | None => Vec::new(),
            },
            obey_public_suffixes: about.settings.obey_public_suffixes,
            read_at: read_at.get(&list.name).copied().unwrap_or(0),
        };
        (about.home.clone(), told)
    });
    told.collect()
}

/// The machine's name: what `id.server` and NSID say unless `node_name` says otherwise. Empty when it cannot be had.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn texts(errors: &[ConfigError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn report_texts(report: &CompileReport) -> Vec<String> {
    let spared = report.spared.iter().map(|(list, spared)| {
        let names: Vec<String> =
            spared.shown.iter().take(3).map(|rule| format!("{} (line {})", rule.name, rule.line)).collect();
        format!(
            "list `{list}`: {} rules stand on public suffixes (public_suffixes = \"obey\" puts those in) or on names that \
             should not be blocked (`lachan lists review` tells), and are left out, such as {}",
            spared.count,
            names.join(", ")
        )
    });
    spared.chain(report.ineffective.iter().cloned()).collect()
}

/// What is compiled into the binary. Tests hold that all of it reads well.
pub fn built_in() -> BuiltIn {
    let entries = |text: &'static str| -> Vec<(Name, Reach)> {
        built_in::own_entries(text)
            .map(|entry| own_entry(entry).expect("a test reads every built-in entry as a name"))
            .collect()
    };
    let safe_search =
        SafeSearch::from_csv(built_in::safe_search_csv()).expect("a test reads the built-in SafeSearch table");
    BuiltIn {
        safe_search: Arc::new(safe_search),
        protected: entries(built_in::protected()),
        protected_content: entries(built_in::protected_content()),
        browser_canaries: entries(built_in::starter_list("canary").unwrap_or_default()),
    }
}

/// What a look at the files brought.
#[derive(Debug)]
pub enum Look {
    Unchanged,
    /// Something changed a moment ago; it may not be whole yet.
    Unsettled,
    Reloaded(ReloadStatus),
}

/// Reloads on request and remembers how it went.
pub struct Reloader {
    loader: Mutex<Loader>,
    resolver: Arc<Resolver>,
    /// What the process started with: what needs a restart is compared with this, however many reloads were between.
    started: Settings,
    own: Vec<std::net::SocketAddr>,
    status: Mutex<ReloadStatus>,
    /// What the last load looked at. After a failed one also what is behind the generation in force: whichever of them
    /// changes may be the repair. Written under the loader's lock.
    seen: Mutex<Versions>,
    sources: Arc<Sources>,
    /// What is to be fetched for the generation in force.
    supplies: watch::Sender<Supplies>,
    /// Held by whoever swaps: which lists are taken out must not change between the mask and the swap.
    swapping: Mutex<()>,
}

impl Reloader {
    pub fn new(
        loader: Loader,
        resolver: Arc<Resolver>,
        settings: Settings,
        notes: Notes,
        own: Vec<std::net::SocketAddr>,
        took: std::time::Duration,
    ) -> Reloader {
        publish(&resolver.metrics, &resolver.cell.load().snapshot, &notes);
        let result = if notes.problems.is_empty() { "ok" } else { "partial" };
        let status = ReloadStatus {
            result,
            at: clock::unix_secs(),
            took_ms: took.as_millis() as u64,
            errors: notes.problems.iter().map(|p| p.message.clone()).collect(),
            needs_restart: Vec::new(),
            notes,
        };
        for problem in &status.notes.problems {
            tracing::error!("{}", problem.message);
        }
        warn_of(&status.notes.warnings);
        let seen = Mutex::new(loader.seen().clone());
        let (sources, supplies) = (Arc::clone(&loader.sources), watch::Sender::new(loader.supplies.clone()));
        let (loader, status) = (Mutex::new(loader), Mutex::new(status));
        let swapping = Mutex::default();
        Reloader { loader, resolver, started: settings, own, status, seen, sources, supplies, swapping }
    }

    /// Takes lists out of the generation in force, or puts them in again, as decided; rules stay as they are. Does not wait
    /// for a reload that is under way.
    pub fn mask_again(&self) {
        let _alone = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.resolver.cell.load_full();
        self.swap(Generation { snapshot: now.snapshot.clone(), forwarder: Arc::clone(&now.forwarder) });
    }

    /// Who calls holds `swapping`.
    fn swap(&self, next: Generation) {
        let Generation { snapshot, forwarder } = next;
        let number = self.resolver.cell.load().snapshot.generation + 1;
        let snapshot = snapshot.without_lists(number, &|list| self.sources.gates().is_disabled(list));
        self.resolver.metrics.generation.set(number as i64);
        self.resolver.cell.swap(Generation { snapshot, forwarder });
    }

    /// Reads everything again and swaps. Blocks; call it off the query path.
    pub fn reload(&self) -> ReloadStatus {
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload_with(&mut loader)
    }

    /// Reloads when something that the last load looked at is another now, and no file is just being written; or
    /// nevertheless, when `insist`. Blocks; call it off the query path.
    pub fn reload_if_changed(&self, insist: bool) -> Look {
        // Looked at under the lock: a reload that somebody else asked for may just be taking the change up.
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen();
        let now = config::look_again(&seen);
        let mut changed = now.iter().filter(|(path, version)| seen.get(*path) != Some(version)).peekable();
        let Some((path, _)) = changed.peek() else { return Look::Unchanged };
        let path = path.display().to_string();
        let unix_now = clock::unix_secs();
        if !insist && !changed.all(|(_, version)| version.is_settled(unix_now)) {
            return Look::Unsettled;
        }
        tracing::info!("{path} changed");
        Look::Reloaded(self.reload_with(&mut loader))
    }

    fn reload_with(&self, loader: &mut Loader) -> ReloadStatus {
        let started = clock::now();
        // The generation that this one follows; only who holds the loader may replace it.
        let previous = self.resolver.cell.load_full();
        let mut seen = config::look_again(&self.seen());
        let status = match loader.load(Some(&self.own), Some(&previous), |_, _| {}) {
            Ok(loaded) => {
                seen.clear();
                self.supplies.send_replace(loader.supplies.clone());
                self.put_in_force(loaded, started)
            }
            Err(errors) => {
                for error in &errors {
                    tracing::error!("{error}");
                }
                tracing::error!("reload failed: generation {} stays in force", previous.snapshot.generation);
                let ReloadStatus { notes, needs_restart, .. } = self.status();
                ReloadStatus { result: "failed", errors, needs_restart, ..status_at(started, notes) }
            }
        };
        seen.extend(loader.seen().clone());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        // The status first: whoever sees the counter move finds the reload it counts.
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status.clone();
        self.resolver.metrics.reload.with_label_values(&[status.result]).inc();
        drop(previous);
        memory::give_back();
        status
    }

    fn put_in_force(&self, loaded: Loaded, started: Instant) -> ReloadStatus {
        let Loaded { generation, settings, notes } = loaded;
        let needs_restart = restart_needs(&self.started, &settings);
        for need in &needs_restart {
            tracing::warn!("{need}");
        }
        for problem in &notes.problems {
            tracing::error!("{}", problem.message);
        }
        warn_of(&notes.warnings);
        let cache_size = generation.snapshot.cache.size;
        let rules = rule_count(&generation.snapshot);
        publish(&self.resolver.metrics, &generation.snapshot, &notes);
        {
            let _alone = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
            self.swap(generation);
        }
        let number = self.resolver.cell.load().snapshot.generation;
        self.resolver.cache.set_size(cache_size);
        let result = if notes.problems.is_empty() { "ok" } else { "partial" };
        let errors = notes.problems.iter().map(|p| p.message.clone()).collect();
        let status = ReloadStatus { result, errors, needs_restart, ..status_at(started, notes) };
        tracing::info!(generation = number, rules, took_ms = status.took_ms, result, "reloaded");
        status
    }

    /// What the last load looked at, to be watched.
    pub fn seen(&self) -> Versions {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is to be fetched for the generation in force, now and whenever it changes.
    pub fn supplies(&self) -> watch::Receiver<Supplies> {
        self.supplies.subscribe()
    }

    /// Where fetched lists go.
    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// The generation in force.
    pub fn in_force(&self) -> Arc<Generation> {
        self.resolver.cell.load_full()
    }

    pub fn status(&self) -> ReloadStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn warn_of(warnings: &[(String, String)]) {
    for (list, warning) in warnings {
        tracing::warn!("list `{list}`: {warning}; it is a file that the configuration names, so it is in force");
    }
}

fn status_at(started: Instant, notes: Notes) -> ReloadStatus {
    let took_ms = clock::now().saturating_duration_since(started).as_millis() as u64;
    ReloadStatus { result: "ok", at: clock::unix_secs(), took_ms, errors: Vec::new(), needs_restart: Vec::new(), notes }
}

/// Settings that a reload cannot change, each with what to do.
fn restart_needs(old: &Settings, new: &Settings) -> Vec<String> {
    let mut needs = Vec::new();
    let mut compare = |key: &str, changed: bool| {
        if changed {
            needs.push(format!("{key} changed: it takes effect after a restart"));
        }
    };
    compare("[listen] dns", old.dns != new.dns);
    compare("[listen] admin", old.admin != new.admin);
    compare("state_directory", old.state_directory != new.state_directory);
    compare("learn in [gate]", old.popular.learn != new.popular.learn);
    compare("drain_timeout", old.drain_timeout != new.drain_timeout);
    needs
}

/// Rules of all configured lists.
pub fn rule_count(snapshot: &Snapshot) -> usize {
    snapshot.lists.iter().filter(|l| l.configured.is_some()).map(|l| l.rules).sum()
}

/// Tells metrics about a generation that goes into force.
fn publish(metrics: &Metrics, snapshot: &Snapshot, notes: &Notes) {
    metrics.generation.set(snapshot.generation as i64);
    metrics.list_rules.reset();
    metrics.list_skipped.reset();
    metrics.list_last_success.reset();
    for list in &snapshot.lists {
        let Some(configured) = &list.configured else { continue };
        metrics.list_rules.with_label_values(&[&list.name]).set(list.rules as i64);
        for (reason, count) in &configured.report.skipped {
            metrics.list_skipped.with_label_values(&[list.name.as_str(), reason.as_str()]).set(i64::from(*count));
        }
        if let Some(at) = notes.read_at.get(&list.name) {
            metrics.list_last_success.with_label_values(&[&list.name]).set(*at as i64);
        }
    }
}
