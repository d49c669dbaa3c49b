//! Reload: load again off the query path, and swap. A generation goes into force whole or not at all (I6).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::tz::TimeZone;

use tokio::sync::watch;

use crate::config::{self, Settings, Versions};
use crate::daemon::audit::Audit;
use crate::daemon::clock;
use crate::daemon::fleet::Log;
use crate::daemon::memory;
use crate::daemon::orders::Book;
use crate::daemon::resolver::Resolver;
use crate::daemon::said::Words;
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::sources::Sources;
use crate::daemon::sources::supply::Supplies;
use crate::daemon::subscribers::Subscribers;
use crate::daemon::telemetry::Metrics;
use crate::engine::snapshot::Snapshot;

pub use crate::daemon::loader::{Loaded, Loader, Notes, built_in, compiled_lists, rule_count, state_directory};

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
    subscribers: Arc<Subscribers>,
    /// What is to be fetched for the generation in force.
    supplies: watch::Sender<Supplies>,
    /// What was said for a while; legal orders; who changed what.
    words: Words,
    orders: Book,
    audit: Audit,
    /// `None`: this node is no fleet's.
    fleet: Option<Arc<Log>>,
    time_zone: Mutex<TimeZone>,
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
        let directory = loader.keeps_state().then(|| state_directory(&settings));
        let (sources, supplies) = (Arc::clone(&loader.sources), watch::Sender::new(loader.supplies.clone()));
        let subscribers = Arc::clone(loader.subscribers());
        subscribers.in_force(settings.subscribers.as_ref(), resolver.cell.load().snapshot.subscribers.as_ref());
        let (loader, status) = (Mutex::new(loader), Mutex::new(status));
        let (words, orders, audit) = (Words::default(), Book::default(), Audit::default());
        let (order_settings, swapping) = (settings.orders.clone(), Mutex::default());
        let time_zone = Mutex::new(zone_of(&settings));
        let fleet = fleet_of(&settings, &resolver.cell.load().snapshot.node_name, directory.as_deref());
        let reloader = Reloader {
            loader,
            resolver,
            started: settings,
            own,
            status,
            seen,
            sources,
            subscribers,
            supplies,
            words,
            orders,
            audit,
            fleet,
            time_zone,
            swapping,
        };
        if let Some(directory) = directory {
            reloader.keep_in(&directory);
        }
        if let Some(log) = &reloader.fleet {
            reloader.words.join(log.name());
        }
        reloader.orders.configure(&order_settings, &reloader.time_zone());
        reloader.orders.look(&reloader.audit);
        if !reloader.words.is_empty() || !reloader.orders.orders().all().is_empty() {
            reloader.mask_again();
        }
        reloader
    }

    /// Takes up what was said before, and keeps it from now on.
    fn keep_in(&self, directory: &Path) {
        let audit = self.audit.keep_in(directory);
        let orders = self.orders.keep_in(directory, &self.audit, &self.time_zone());
        let remembered = self.orders.recall(directory, &self.audit);
        let kept = [audit, self.words.keep_in(directory), orders, remembered];
        for why in kept.into_iter().filter_map(Result::err) {
            tracing::error!("{why}");
        }
    }

    pub fn orders(&self) -> &Book {
        &self.orders
    }

    pub fn words(&self) -> &Words {
        &self.words
    }

    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The commands that this node shares with others; `None`: it is alone.
    pub fn fleet(&self) -> Option<&Arc<Log>> {
        self.fleet.as_ref()
    }

    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// The configured one, as it was loaded last.
    pub fn time_zone(&self) -> TimeZone {
        self.time_zone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes out what has ended. Blocks; called now and then.
    pub fn tend(&self) {
        let (has_ended, is_other) = (self.words.prune(), self.orders.look(&self.audit));
        if has_ended || is_other {
            self.mask_again();
        }
        self.measure_orders();
        self.orders.tell_alarms();
        self.audit.verify_now_and_then(clock::now());
    }

    /// Puts what was said and the orders into force as they are now; lists, their rules and upstream stay as they are.
    ///
    /// # Errors
    /// Why the generation before stays in force.
    pub fn take_up(&self) -> Result<(), String> {
        {
            let _alone = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.resolver.cell.load_full();
            self.swap(Generation::new(now.snapshot.clone(), Arc::clone(&now.forwarder)))?;
        }
        if self.has_unmeasured_orders() || self.fleet.is_some() {
            self.orders.begun.notify_one();
        }
        Ok(())
    }

    /// Takes lists out of the generation in force, or puts them in again, as decided, and windows by the clock of now; rules stay
    /// as they are. Does not wait
    /// for a reload that is under way.
    pub fn mask_again(&self) {
        if let Err(why) = self.take_up() {
            tracing::error!("{why}");
        }
    }

    /// Who calls holds `swapping`.
    fn swap(&self, next: Generation) -> Result<(), String> {
        let ready = self.ready(next)?;
        self.commit(ready);
        Ok(())
    }

    /// A generation as it will be in force, with all that may fail behind it. Nothing is changed yet. Who calls holds
    /// `swapping`.
    fn ready(&self, next: Generation) -> Result<Generation, String> {
        let Generation { snapshot, forwarder, .. } = next;
        let number = self.resolver.cell.load().snapshot.generation + 1;
        let mut snapshot = snapshot.without_lists(number, &|list| self.sources.gates().is_disabled(list));
        snapshot = snapshot.with_hours_from(clock::sane_time());
        self.words.put_into(&mut snapshot);
        snapshot.set_orders(self.orders.orders()).map_err(|why| format!("orders: {why}"))?;
        Ok(Generation::new(snapshot, forwarder))
    }

    fn commit(&self, ready: Generation) {
        self.resolver.metrics.generation.set(ready.snapshot.generation as i64);
        self.resolver.cell.swap(ready);
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
        // What the start left to be written down, before there is a version that follows it.
        self.sources.keep_all();
        // The generation that this one follows; only who holds the loader may replace it.
        let previous = self.resolver.cell.load_full();
        let mut seen = config::look_again(&self.seen());
        let status = match loader.load(Some(&self.own), Some(&previous)) {
            Ok(loaded) => {
                let status = self.put_in_force(loaded, started);
                if status.result != "failed" {
                    seen.clear();
                    self.supplies.send_replace(loader.supplies.clone());
                }
                status
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
        let Loaded { generation, settings, notes, certificate, taken } = loaded;
        let rules = rule_count(&generation.snapshot);
        let zone = zone_of(&settings);
        {
            let _alone = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
            let ready = match self.ready(generation) {
                Ok(ready) => ready,
                Err(why) => {
                    tracing::error!("reload failed: {why}");
                    let ReloadStatus { notes, needs_restart, .. } = self.status();
                    let errors = vec![why];
                    return ReloadStatus { result: "failed", errors, needs_restart, ..status_at(started, notes) };
                }
            };
            // Before the swap: whoever sees the new generation finds the cache as it will be.
            self.resolver.cache.set_size(ready.snapshot.cache.size);
            self.resolver.set_limits(&ready.snapshot);
            self.resolver.set_certificate(certificate);
            self.subscribers.in_force(settings.subscribers.as_ref(), ready.snapshot.subscribers.as_ref());
            *self.time_zone.lock().unwrap_or_else(PoisonError::into_inner) = zone.clone();
            publish(&self.resolver.metrics, &ready.snapshot, &notes);
            // Kept before it serves: whoever sees it in force can go back from it. Only who holds the loader could miss the parts.
            self.sources.in_force_now(&taken);
            self.commit(ready);
        }
        let needs_restart = restart_needs(&self.started, &settings);
        for need in &needs_restart {
            tracing::warn!("{need}");
        }
        for problem in &notes.problems {
            tracing::error!("{}", problem.message);
        }
        warn_of(&notes.warnings);
        self.orders.configure(&settings.orders, &zone);
        if self.orders.look(&self.audit) {
            self.mask_again();
        }
        let number = self.resolver.cell.load().snapshot.generation;
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

    /// The table of subscribers and its feeds.
    pub fn subscribers(&self) -> &Arc<Subscribers> {
        &self.subscribers
    }

    /// The generation in force.
    pub fn in_force(&self) -> Arc<Generation> {
        self.resolver.cell.load_full()
    }

    pub fn status(&self) -> ReloadStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The configured zone; a name that the configuration was accepted with is in the database.
fn zone_of(settings: &Settings) -> TimeZone {
    TimeZone::get(&settings.time_zone).unwrap_or(TimeZone::UTC)
}

/// The log of the configured store. Without a key nobody could tell who wrote a command, so none is shared.
fn fleet_of(settings: &Settings, node: &str, directory: Option<&Path>) -> Option<Arc<Log>> {
    let subscribers = settings.subscribers.as_ref()?;
    let store = subscribers.store.as_ref()?;
    let Some(key) = &subscribers.state_key else {
        tracing::warn!(
            "commands are not shared by [subscribers.store]: without state_key_file in [subscribers] nobody could tell who \
             wrote one"
        );
        return None;
    };
    Some(Arc::new(Log::open(store.clone(), key, node, directory)))
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
    compare("[listen] dot", old.dot != new.dot);
    compare("[listen] doh", old.doh != new.doh);
    compare("[listen] doq", old.doq != new.doq);
    compare("udp_engine, udp_workers or udp_pinned in [listen]", old.udp != new.udp);
    compare("[listen] admin", old.admin != new.admin);
    compare("state_directory", old.state_directory != new.state_directory);
    compare("learn in [gate]", old.popular.learn != new.popular.learn);
    let radius = |settings: &Settings| Some(settings.subscribers.as_ref()?.radius.as_ref()?.listen.clone());
    compare("[subscribers.radius] listen", radius(old) != radius(new));
    let key = |settings: &Settings| settings.subscribers.as_ref().and_then(|subscribers| subscribers.state_key);
    compare("state_key_file in [subscribers]", key(old) != key(new));
    let feeds = |settings: &Settings| settings.subscribers.as_ref().map(|s| (s.leases.clone(), s.store.clone()));
    compare("[subscribers.leases] or [subscribers.store]", feeds(old) != feeds(new));
    compare("drain_timeout", old.drain_timeout != new.drain_timeout);
    needs
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::limits::ORDERS_NAMES_MAX;
    use crate::engine::list::Reach;
    use crate::engine::name::Name;
    use crate::engine::order::tests::order;
    use crate::engine::order::{OrderedName, Orders};

    const UPSTREAM: &str = "time_zone = \"Asia/Ho_Chi_Minh\"\n[[upstream]]\nservers = [\"127.0.0.1:9\"]\n";
    const OTHER: &str = "time_zone = \"Europe/Berlin\"\n[[upstream]]\nservers = [\"127.0.0.1:9\"]\n[cache]\nsize = \"8 MiB\"\n\
                         [rate_limit]\nmode = \"dry-run\"\n[zone_limit]\nmode = \"dry-run\"\n[subscribers]\ninterim_interval = \"5 min\"\n\
                         [list.more]\ncategory = \"adult\"\nurl = \"https://lists.example/more.txt\"\n";

    /// More than an index is given: what the loader does not see, and the swap does.
    fn too_many() -> Orders {
        let name = Name::from_text("bad.example").unwrap();
        let one = OrderedName { name, reach: Reach::Subtree, overrides: false };
        let mut all = order("1", &[]);
        all.names = vec![one; ORDERS_NAMES_MAX + 1];
        Orders::new(vec![all])
    }

    /// I6: what can fail comes before all that is changed.
    #[test]
    fn a_reload_that_fails_at_the_swap_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lachan.toml");
        std::fs::write(&file, UPSTREAM).unwrap();
        let mut loader = Loader::new(Some(file.clone()));
        let loaded = loader.load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
        let resolver = Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new())));
        let (settings, notes) = (loaded.settings, loaded.notes);
        let took = std::time::Duration::from_millis(1);
        let reloader = Reloader::new(loader, Arc::clone(&resolver), settings, notes, Vec::new(), took);
        let state = || {
            (
                resolver.cell.load().snapshot.generation,
                resolver.metrics.generation.get(),
                resolver.cache.size(),
                (resolver.limiter().is_some(), resolver.zones().is_some()),
                reloader.subscribers().settings().is_some(),
                reloader.time_zone().iana_name().map(str::to_owned),
                format!("{:?}", *reloader.supplies().borrow()).len(),
                reloader.status().notes.lists.len(),
            )
        };
        let before = state();
        std::fs::write(&file, OTHER).unwrap();
        reloader.orders().hold(too_many());
        let failed = reloader.reload();
        assert_eq!((failed.result, failed.errors.len()), ("failed", 1));
        assert!(failed.errors[0].starts_with("orders: orders hold 500001 names, at most"), "{:?}", failed.errors);
        assert_eq!(state(), before);
        reloader.orders().hold(Orders::default());
        let status = reloader.reload();
        assert_ne!(status.result, "failed", "{status:?}");
        let after = state();
        assert_eq!((after.0, after.1, after.2), (before.0 + 1, before.1 + 1, 8 << 20));
        assert_eq!((after.3, after.4, after.5.as_deref()), ((true, true), true, Some("Europe/Berlin")));
        assert!(after.6 > before.6 && after.7 > before.7, "{after:?}");
    }
}
