//! Keeps fetched lists fresh: one fetch of a list at a time, few at once, each when it is due or when somebody asks.
//!
//! When is decided by [`schedule`](super::schedule), what is a good list by [`Sources`]. What is new goes into force by one
//! reload for all that came together, off the query path.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::address::is_public;
use super::fetch::{self, Fetched, Limits, Order};
use super::names::Names;
use super::outcome::{Outcome, Updated};
use super::schedule::{History, due_at};
use super::{Offered, Sources};
use crate::config::{ListUrl, Settings};
use crate::daemon::forwarder::tls;
use crate::daemon::reload::Reloader;
use crate::daemon::resolver::Resolver;
use crate::daemon::{background, clock};
use crate::engine::compile::{ListSettings, Policy};
use crate::engine::limits::LIST_FETCHES_MAX;

/// The schedule is looked at so often even when nothing is due: clocks are set, machines sleep.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// What came waits so long for what is still coming, so that one reload does for all. Chosen.
const GATHER: Duration = Duration::from_secs(5);

/// What one generation has to fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supplies {
    pub lists: Vec<UrlList>,
    /// Certificates trusted beside the system's; PEM.
    pub tls_roots: Option<PathBuf>,
}

/// A list that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlList {
    pub settings: ListSettings,
    pub how: ListUrl,
}

/// Where a list's fetches stand; for the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub history: History,
    /// Seconds since 1970; in the past: now.
    pub due_at: u64,
}

/// The task that fetches, and what it knows.
pub struct Supply {
    resolver: Arc<Resolver>,
    reloader: Arc<Reloader>,
    limits: Limits,
    slots: Semaphore,
    lists: Mutex<BTreeMap<String, Arc<Line>>>,
    tls_roots: Mutex<Option<PathBuf>>,
    /// Fetches that ended.
    ended: watch::Sender<u64>,
    /// Versions that came, and how many of them a reload has taken up.
    arrived: watch::Sender<u64>,
    taken_up: watch::Sender<u64>,
}

/// One list.
struct Line {
    /// Held while it is fetched.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    list: UrlList,
    history: History,
    is_fetching: bool,
}

impl Supplies {
    pub fn of(settings: &Settings, policy: &Policy) -> Supplies {
        let how = |list: &ListSettings| settings.list_urls.iter().find(|how| how.list == list.name).cloned();
        let lists = policy.lists.iter();
        Supplies {
            lists: lists.filter_map(|list| Some(UrlList { settings: list.clone(), how: how(list)? })).collect(),
            tls_roots: settings.tls_roots.clone(),
        }
    }
}

impl Supply {
    pub fn new(resolver: Arc<Resolver>, reloader: Arc<Reloader>, limits: Limits) -> Arc<Supply> {
        let supply = Supply {
            resolver,
            reloader,
            limits,
            slots: Semaphore::new(LIST_FETCHES_MAX),
            lists: Mutex::default(),
            tls_roots: Mutex::default(),
            ended: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
            taken_up: watch::Sender::new(0),
        };
        let supplies = supply.reloader.supplies().borrow().clone();
        supply.adopt(&supplies);
        Arc::new(supply)
    }

    /// Fetches what is due until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (mut supplies, mut ended) = (self.reloader.supplies(), self.ended.subscribe());
        let reloads = tokio::spawn(Arc::clone(&self).take_up());
        loop {
            let wanted = supplies.borrow_and_update().clone();
            self.adopt(&wanted);
            let wait = self.start_due();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = ended.changed() => {}
                _ = supplies.changed() => {}
                () = stop.cancelled() => break,
            }
        }
        reloads.abort();
    }

    /// Fetches one list now, or all of them, and waits until what came is in force.
    ///
    /// # Errors
    /// There is no such list to fetch.
    pub async fn update(self: &Arc<Self>, name: Option<&str>, by: &str) -> Result<Vec<Updated>, String> {
        let lines: Vec<(String, Arc<Line>)> =
            self.lines().into_iter().filter(|(list, _)| name.is_none_or(|name| name == list)).collect();
        if let (Some(name), true) = (name, lines.is_empty()) {
            return Err(format!("there is no list `{name}` with a `url`; files are taken up when they change"));
        }
        // Who asks for what is new does not want to stay with what was before.
        let (reloader, by) = (Arc::clone(&self.reloader), by.to_owned());
        let names: Vec<String> = lines.iter().map(|(list, _)| list.clone()).collect();
        let unpinned = tokio::task::spawn_blocking(move || names.iter().try_for_each(|list| reloader.unpin(list, &by)));
        unpinned.await.unwrap_or_else(|why| Err(format!("it broke off: {why}")))?;
        let fetches = lines.iter().map(|(list, line)| async move { (list.clone(), self.fetch(line).await) });
        let outcomes = join_all(fetches).await;
        // Also what a fetch brought that was under way before this one and found that nothing is newer.
        let last = *self.arrived.borrow();
        // The sender lives as long as we do.
        let _ = self.taken_up.subscribe().wait_for(|taken| *taken >= last).await;
        let reload = self.reloader.status();
        let told = outcomes.into_iter().map(|(list, outcome)| {
            let is_waiting = matches!(outcome, Outcome::New { .. }) && reload.result == "failed";
            let mut told = outcome.told(list);
            if is_waiting {
                told.error = Some(format!("it waits: {}", reload.errors.join("; ")));
            }
            told
        });
        Ok(told.collect())
    }

    /// Where the fetches of a list stand; `None`: it is not fetched.
    pub fn standing(&self, list: &str) -> Option<Standing> {
        let line = self.lock().get(list).cloned()?;
        let state = line.state();
        let due_at = due_at(&state.history, state.list.how.refresh.as_secs(), clock::unix_secs());
        Some(Standing { history: state.history.clone(), due_at })
    }

    /// Takes over what a generation wants; what it does not want any more is not fetched again.
    fn adopt(&self, supplies: &Supplies) {
        *self.tls_roots.lock().unwrap_or_else(PoisonError::into_inner) = supplies.tls_roots.clone();
        let mut lists = self.lock();
        lists.retain(|name, _| supplies.lists.iter().any(|list| list.settings.name == *name));
        for list in &supplies.lists {
            if let Some(line) = lists.get(&list.settings.name) {
                let mut state = line.state();
                if state.list != *list {
                    state.history = self.history(list);
                    state.list = list.clone();
                }
                continue;
            }
            let state = State { list: list.clone(), history: self.history(list), is_fetching: false };
            let line = Line { turn: tokio::sync::Mutex::default(), state: Mutex::new(state) };
            lists.insert(list.settings.name.clone(), Arc::new(line));
        }
    }

    /// What the store tells of fetches of before. A version that is not what the configuration asks for now is none.
    fn history(&self, list: &UrlList) -> History {
        let record = self.sources().record(&list.settings).filter(|record| list.is_satisfied_by(record));
        History { succeeded_at: record.map(|record| record.checked_at), jitter: jitter(), ..History::default() }
    }

    /// Starts what is due; how long until there may be more.
    fn start_due(self: &Arc<Self>) -> Duration {
        let now = clock::unix_secs();
        let mut next = now + LOOK_AGAIN.as_secs();
        for (_, line) in self.lines() {
            let mut state = line.state();
            if state.is_fetching {
                continue;
            }
            let due = due_at(&state.history, state.list.how.refresh.as_secs(), now);
            if due > now {
                next = next.min(due);
                continue;
            }
            state.is_fetching = true;
            drop(state);
            let supply = Arc::clone(self);
            tokio::spawn(async move { supply.fetch(&line).await });
        }
        Duration::from_secs(next - now)
    }

    /// One fetch, from the wait for a turn to the word about how it went.
    async fn fetch(self: &Arc<Self>, line: &Line) -> Outcome {
        let _turn = line.turn.lock().await;
        let _slot = self.slots.acquire().await;
        let list = {
            let mut state = line.state();
            state.is_fetching = true;
            state.list.clone()
        };
        let (outcome, retry_after_secs) = self.attempt(&list).await;
        let now = clock::unix_secs();
        {
            let mut state = line.state();
            state.is_fetching = false;
            match outcome.error() {
                // It is told about a list that is not wanted any more.
                _ if state.list != list => {}
                None => state.history.succeed(now, jitter()),
                Some(error) => state.history.fail(now, jitter(), error.to_owned(), retry_after_secs),
            }
        }
        self.tell(&list, &outcome, now);
        self.ended.send_modify(|count| *count += 1);
        outcome
    }

    async fn attempt(self: &Arc<Self>, list: &UrlList) -> (Outcome, Option<u64>) {
        let record = self.sources().record(&list.settings).filter(|record| list.is_satisfied_by(record));
        if record.is_some() && list.how.sha256.is_some() {
            // What is pinned and here does not change.
            return (self.confirm(list).await, None);
        }
        let order = Order {
            url: list.how.url.clone(),
            sha256: list.how.sha256,
            minisign_key: list.how.minisign_key.clone(),
            allowed: if list.how.allow_private { |_| true } else { is_public },
            etag: record.as_ref().and_then(|record| record.etag.clone()),
            last_modified: record.as_ref().and_then(|record| record.last_modified.clone()),
        };
        let roots = self.tls_roots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tls = match tls::read_ca_file(roots.as_deref()).and_then(|ca| tls::client_config(&ca)) {
            Ok(tls) => tls,
            Err(why) => return (Outcome::Failed(why), None),
        };
        let names = Names { resolver: Arc::clone(&self.resolver), allowed: order.allowed };
        match fetch::fetch(&order, tls, Arc::new(names), &self.limits).await {
            Ok(Fetched::Unchanged) => (self.confirm(list).await, None),
            Ok(Fetched::Published(published)) => {
                let (sources, settings) = (Arc::clone(self.sources()), list.settings.clone());
                let octets_max = self.limits.octets;
                let taking = background::run(move || {
                    background::make_way_for(published.octets());
                    match fetch::open(&order, published, octets_max) {
                        Ok(download) => sources.offer(&settings, download),
                        Err(why) => Offered::Refused(why),
                    }
                });
                let offered =
                    taking.await.unwrap_or_else(|why| Offered::Refused(format!("reading it broke off: {why}")));
                (self.outcome(offered), None)
            }
            Err(failure) => (Outcome::Failed(failure.message), failure.retry_after_secs),
        }
    }

    async fn confirm(&self, list: &UrlList) -> Outcome {
        let (sources, settings) = (Arc::clone(self.sources()), list.settings.clone());
        match tokio::task::spawn_blocking(move || sources.confirm(&settings)).await {
            Ok(()) => Outcome::Unchanged,
            Err(why) => Outcome::Failed(why.to_string()),
        }
    }

    fn outcome(&self, offered: Offered) -> Outcome {
        match offered {
            Offered::Same => Outcome::Unchanged,
            Offered::Held(why) => Outcome::Held(why),
            Offered::Refused(why) => Outcome::Refused(why),
            Offered::New { rules } => {
                let mut arrival = 0;
                self.arrived.send_modify(|count| {
                    *count += 1;
                    arrival = *count;
                });
                Outcome::New { rules, arrival }
            }
        }
    }

    /// Counts and logs how a fetch went.
    fn tell(&self, list: &UrlList, outcome: &Outcome, now: u64) {
        let name = list.settings.name.as_str();
        let metrics = &self.resolver.metrics;
        metrics.list_fetch.with_label_values(&[name, outcome.as_str()]).inc();
        match outcome {
            Outcome::New { rules, .. } => tracing::info!(list = name, rules, "a new version was fetched"),
            Outcome::Unchanged => {
                metrics.list_last_success.with_label_values(&[name]).set(now as i64);
                tracing::debug!(list = name, "the list is current");
            }
            Outcome::Held(why) | Outcome::Refused(why) | Outcome::Failed(why) => {
                let url = &list.how.url;
                match self.reloader.status().notes.read_at.contains_key(name) {
                    true => tracing::warn!("list `{name}` ({url}): {why}; its last good version stays in force"),
                    false => tracing::error!("list `{name}` ({url}): {why}; it holds nothing until it is fetched"),
                }
            }
        }
    }

    /// One reload for all that came together.
    async fn take_up(self: Arc<Self>) {
        let (mut arrived, mut ended) = (self.arrived.subscribe(), self.ended.subscribe());
        while arrived.changed().await.is_ok() {
            let until = Instant::now() + GATHER;
            while self.lines().iter().any(|(_, line)| line.state().is_fetching) {
                if tokio::time::timeout_at(until, ended.changed()).await.is_err() {
                    break;
                }
            }
            let count = *arrived.borrow_and_update();
            let reloader = Arc::clone(&self.reloader);
            if let Err(why) = background::run(move || reloader.reload()).await {
                tracing::error!("a reload broke off: {why}");
            }
            self.taken_up.send_replace(count);
        }
    }

    fn sources(&self) -> &Arc<Sources> {
        self.reloader.sources()
    }

    fn lines(&self) -> Vec<(String, Arc<Line>)> {
        self.lock().iter().map(|(name, line)| (name.clone(), Arc::clone(line))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Line>>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UrlList {
    /// Whether a version is what the configuration asks for: a new pin wants another.
    fn is_satisfied_by(&self, record: &super::store::Record) -> bool {
        let pinned = self.how.sha256.as_ref().map(|sum| super::verify::hex(sum));
        pinned.is_none() || record.published_sha256 == pinned
    }
}

/// 0 to 999.
fn jitter() -> u64 {
    // Without randomness everybody comes at the same time, which harms nobody but the server.
    getrandom::u64().unwrap_or_default() % 1_000
}
