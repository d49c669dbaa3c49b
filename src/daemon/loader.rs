//! Loading: a configuration and its lists, read and compiled, become a generation, whole or not at all (I6). Putting it into
//! force is [`reload`](crate::daemon::reload)'s.

mod compiled;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::built_in;
use crate::config::{self, Config, ConfigError, Settings, Version, Versions};
use crate::daemon::artefacts::{self, Artefacts};
use crate::daemon::background;
use crate::daemon::certificates::{Certificate, listening};
use crate::daemon::clock;
use crate::daemon::forwarder::{Forwarder, ForwarderOptions};
use crate::daemon::gates::Gates;
use crate::daemon::learner;
use crate::daemon::progress::Progress;
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::sources::supply::Supplies;
use crate::daemon::sources::{Lines, ListProblem, Reading, Sources, Taken};
use crate::daemon::spool::SpoolRoom;
use crate::daemon::subscribers::Subscribers;
use crate::engine::compile::{BuiltIn, CompileReport, Inputs, ListSettings, ListSource, Policy, compile};
use crate::engine::cookie::{CookieSettings, Cookies, Secret};
use crate::engine::discovery::Service;
use crate::engine::gate::TreeKey;
use crate::engine::list::{Reach, own_entry};
use crate::engine::matcher::HashSeed;
use crate::engine::matcher::room::Room;
use crate::engine::name::Name;
use crate::engine::safe_search::SafeSearch;
use crate::engine::snapshot::Snapshot;
pub use compiled::compiled_lists;

/// Where upstream servers come from when the configuration names none.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where state is kept unless something says otherwise.
const STATE_DIRECTORY: &str = "/var/lib/lachan";

/// Rules from which making an index of them is heavy: some ten milliseconds. Chosen.
const HEAVY_RULES: usize = 20_000;

/// Threads that read lists at most: more wait for the disk, or for each other.
const THREADS_MAX: usize = 8;

/// Makes generations from one configuration file, or from the embedded default.
pub struct Loader {
    /// `None`: the embedded default.
    path: Option<PathBuf>,
    pub(super) sources: Arc<Sources>,
    /// Lives on over every load.
    subscribers: Arc<Subscribers>,
    state: State,
    pub(super) supplies: Supplies,
    artefacts: Artefacts,
    built_in: BuiltIn,
    seed: HashSeed,
    /// Made with a secret of this process's own, for who gives none.
    cookies: Option<Cookies>,
    generation: u64,
    progress: Arc<Progress>,
    /// Where the process listens for what is encrypted. Other listeners need a restart, and are told of after it.
    listening: Option<Vec<(Service, IpAddr)>>,
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
    /// Our own; there is one where an encrypted listener is.
    pub certificate: Option<Certificate>,
    /// For [`Sources::in_force_now`], once it is.
    pub taken: Taken,
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
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).expect("the system has a source of randomness");
        let gates = Gates::new(TreeKey(half(a), half(b)), &built_in);
        Loader {
            path,
            sources: Arc::new(Sources::new(gates)),
            subscribers: Arc::new(Subscribers::new((seed.1, seed.0))),
            state: State::Unused,
            supplies: Supplies::default(),
            built_in,
            artefacts: Artefacts::default(),
            seed,
            cookies: Cookies::new([Secret::new(secret)]),
            generation: 0,
            progress: Arc::default(),
            listening: None,
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

    /// Whether state is kept.
    pub fn keeps_state(&self) -> bool {
        self.state == State::Kept
    }

    /// Tells `progress` how far a load is.
    pub fn telling(self, progress: Arc<Progress>) -> Loader {
        Loader { progress, ..self }
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
    ) -> Result<Loaded, Vec<String>> {
        self.seen.clear();
        let config = match &self.path {
            None => config::embedded(),
            Some(path) => config::load_noting(path, &mut self.seen).map_err(|errors| texts(&errors))?,
        };
        let Config { settings, mut policy, files: _, hints } = config;
        let own_files =
            settings.tls.iter().flat_map(|files| [files.certificate_file.as_path(), files.private_key_file.as_path()]);
        let others = settings.tls_roots.as_deref().into_iter().chain(own_files);
        for path in others.chain(policy.upstreams.is_empty().then_some(Path::new(RESOLV_CONF))) {
            self.seen.insert(path.to_owned(), Version::of_file(path));
        }
        let listening = self.listening.get_or_insert_with(|| listening(&settings));
        let certificate = settings.tls.as_ref().map(Certificate::read).transpose().map_err(|why| vec![why])?;
        let mut of_certificate = Vec::new();
        if let Some((certificate, tls)) = certificate.as_ref().zip(settings.tls.as_ref()) {
            of_certificate.extend(certificate.complaint(clock::unix_secs()));
            let has_identities = policy.clients.iter().any(|client| !client.ids.is_empty());
            let (discovery, hints) = certificate.discovery(&settings, tls, listening, has_identities);
            policy.discovery = discovery;
            of_certificate.extend(hints);
        }
        if let (CookieSettings::Random, Some(cookies)) = (&policy.cookies, &self.cookies) {
            policy.cookies = CookieSettings::Given(cookies.clone());
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
        let spool = self.artefacts.spool(self.sources.scratch());
        let room: Arc<dyn Room> = Arc::new(SpoolRoom(Arc::clone(&spool)));
        // Before the first answer nobody else needs the machine; later, everybody does.
        let threads = if previous.is_none() { threads_at_start() } else { 1 };
        let progress = Arc::clone(&self.progress);
        let reading = Reading { threads, room: Some(Arc::clone(&room)), progress: &progress };
        let (mut load, texts_kept) = match previous.is_none().then(|| self.load_kept(&policy.lists)).flatten() {
            Some((load, layer)) => (load, Some(layer)),
            None => (self.sources.load(&policy.lists, &reading), None),
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
            room: Some(room),
            now: clock::sane_time(),
        };
        let read = inputs.lists.iter().map(|list| list.rules.count()).sum();
        let before = previous.and_then(|generation| generation.snapshot.texts.as_ref());
        if !load.taken.is_empty() && read + before.map_or(0, |texts| texts.names.rule_count()) >= HEAVY_RULES {
            background::make_way();
        }
        progress.compiles(read);
        let in_use = inputs.texts.clone().or_else(|| previous.and_then(|generation| generation.snapshot.texts.clone()));
        let (mut snapshot, report) =
            compile(inputs, previous.map(|generation| &generation.snapshot)).map_err(|why| vec![why.to_string()])?;
        let made = spool.take_served();
        self.keep_texts(&mut snapshot, in_use.as_ref(), &load.read_at, &load.in_force, &key, made);
        let options =
            ForwarderOptions { bootstrap: settings.bootstrap.clone(), ca_file: settings.tls_roots.clone(), own };
        let forwarder =
            Forwarder::new(Arc::clone(&snapshot.routes), options, previous.map(|generation| &*generation.forwarder))
                .map_err(|why| vec![why])?;
        self.generation += 1;
        let gates = self.sources.gates();
        snapshot.subscribers = self.subscribers.live(settings.subscribers.as_ref(), &snapshot.profiles);
        let unkept_lines = self.keep_subscribers(&settings);
        let snapshot = snapshot.without_lists(self.generation, &|list| gates.is_disabled(list));
        self.lists_in_force = list_count;
        self.supplies = supplies;
        let notes = Notes {
            hints: texts(&hints)
                .into_iter()
                .chain(of_certificate)
                .chain(report_texts(&report))
                .chain(unkept)
                .chain(unkept_lines)
                .chain(popular)
                .collect(),
            lists,
            warnings: load.warnings,
            problems: load.problems,
            read_at: load.read_at,
            upstream_origin,
            list_lines: load.in_force,
        };
        let generation = Generation::new(snapshot, Arc::new(forwarder));
        Ok(Loaded { generation, settings, notes, certificate, taken: load.taken })
    }
}

impl Loader {
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

    /// Where who serves keeps what it knows of subscribers; what should be told of it.
    fn keep_subscribers(&self, settings: &Settings) -> Option<String> {
        let subscribers = settings.subscribers.as_ref().filter(|_| self.state == State::Kept)?;
        let Some(key) = &subscribers.state_key else {
            return Some(
                "[subscribers] has no `state_key_file`: what feeds tell is in memory only, and after a restart every \
                 subscriber has the default profile until they tell it again"
                    .to_owned(),
            );
        };
        self.subscribers.keep_in(&state_directory(settings), key)
    }

    /// The table of subscribers and its feeds.
    pub fn subscribers(&self) -> &Arc<Subscribers> {
        &self.subscribers
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

/// Threads that read lists before the first answer.
fn threads_at_start() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX))
}

/// Where state is: as configured, else as systemd says, else where packages put it.
pub fn state_directory(settings: &Settings) -> PathBuf {
    let given = settings.state_directory.clone();
    // systemd gives several directories with colons between them.
    let told = || std::env::var("STATE_DIRECTORY").ok()?.split(':').next().filter(|d| !d.is_empty()).map(PathBuf::from);
    given.or_else(told).unwrap_or_else(|| PathBuf::from(STATE_DIRECTORY))
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
        infrastructure: entries(built_in::infrastructure()),
        connectivity: entries(built_in::connectivity()),
        browser_canaries: entries(built_in::starter_list("canary").unwrap_or_default()),
    }
}

/// Rules of all configured lists.
pub fn rule_count(snapshot: &Snapshot) -> usize {
    snapshot.lists.iter().filter(|l| l.configured.is_some()).map(|l| l.rules).sum()
}
