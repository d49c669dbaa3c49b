//! The process: start, signals, drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Learn, Settings};
use crate::daemon::admin::{self, Admin};
use crate::daemon::learner::{self, Learner};
use crate::daemon::listener::{Addresses, Claim, UdpEngine};
use crate::daemon::progress::Progress;
use crate::daemon::reload::{Loaded, Loader, Reloader, rule_count, state_directory};
use crate::daemon::resolver::Resolver;
use crate::daemon::sources::fetch::Limits;
use crate::daemon::sources::supply::Supply;
use crate::daemon::telemetry::Metrics;
use crate::daemon::{background, clock, hours, listener, memory, subscribers, watch};
use crate::engine::limits::{QUERIES_IN_FLIGHT_MAX, TCP_CONNECTIONS_MAX};

/// Open files: one for each question in flight, one for each TCP client, and some.
const FILES_WANTED: u64 = (QUERIES_IN_FLIGHT_MAX + TCP_CONNECTIONS_MAX + 1_000) as u64;

/// With fewer, a busy hour runs out of sockets. Chosen: systemd's default hard limit is far above.
const FILES_NEEDED: u64 = 8_192;

/// What has ended is taken out so often; it does nothing meanwhile. Chosen.
const TEND_EVERY: Duration = Duration::from_secs(30);

/// What a start needs to know.
pub struct Options {
    /// `None`: the embedded default.
    pub config: Option<PathBuf>,
    pub claim: Claim,
}

/// How often one that takes over looks whether the admin address is free.
const ADMIN_LOOK: Duration = Duration::from_millis(100);

/// What is said when everything runs.
pub struct Started {
    pub addresses: Addresses,
    pub admin: Option<SocketAddr>,
    pub rules: usize,
    pub lists: usize,
    pub profiles: usize,
    pub search_hosts: usize,
    pub upstreams: Vec<String>,
    /// Where upstream servers come from when the configuration names none.
    pub upstream_origin: Option<String>,
    pub hints: Vec<String>,
    pub embedded: bool,
}

/// Starts, tells `progress` how far that is and `ready` what runs, and serves until SIGTERM or SIGINT.
///
/// # Errors
/// Everything that stops a start, each in a sentence: configuration, lists, addresses.
pub async fn run(options: Options, progress: Arc<Progress>, ready: impl FnOnce(&Started)) -> Result<(), Vec<String>> {
    memory::settle();
    let began = clock::now();
    // Registered first: a signal that arrives while lists load is not lost, nor does it kill us.
    let mut hangup = signal(SignalKind::hangup()).map_err(|why| vec![why.to_string()])?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|why| vec![why.to_string()])?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|why| vec![why.to_string()])?;

    raise_file_limit();
    let embedded = options.config.is_none();
    let claim = options.claim;
    let mut loader = Loader::new(options.config).keeping_state().telling(progress);
    let loading = tokio::task::spawn_blocking(move || {
        let loaded =
            check_addresses(loader.path(), claim).map_err(|why| vec![why]).and_then(|()| loader.load(None, None));
        memory::give_back();
        (loader, loaded)
    });
    let (loader, loaded) = tokio::select! {
        done = loading => done.map_err(|why| vec![format!("loading failed: {why}")])?,
        // Nothing is served yet, so there is nothing to drain.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let Loaded { generation, settings, notes, certificate, taken } = loaded?;
    let bound = listener::bind(&settings, UdpEngine::of(&settings.udp), claim).map_err(|why| vec![why])?;
    let addresses = bound.addresses();
    let dns = addresses.dns.clone();
    let admin_listener = bind_admin(&settings, claim).map_err(|why| vec![why])?;
    let radius =
        subscribers::radius::bind(settings.subscribers.as_ref(), claim == Claim::Beside).map_err(|why| vec![why])?;
    let admin_address = admin_listener.as_ref().and_then(|l| l.local_addr().ok());

    let snapshot = &generation.snapshot;
    let started = Started {
        addresses: addresses.clone(),
        admin: admin_address,
        rules: rule_count(snapshot),
        lists: snapshot.lists.iter().filter(|l| l.configured.is_some()).count(),
        profiles: snapshot.profiles.len(),
        search_hosts: snapshot.safe_search.rules().count(),
        upstreams: generation.forwarder.status().into_iter().map(|s| s.server).collect(),
        upstream_origin: notes.upstream_origin.clone(),
        hints: notes.hints.iter().chain(notes.problems.iter().map(|p| &p.message)).cloned().collect(),
        embedded,
    };
    let (drain_timeout, admin_configured) = (settings.drain_timeout, settings.admin);
    let resolver = Arc::new(Resolver::new(generation, Arc::new(Metrics::new())));
    resolver.set_certificate(certificate);
    let learned = start_learning(&settings, &loader, &resolver.metrics);
    let took = clock::now().saturating_duration_since(began);
    let own = dns.clone();
    let reloader = Arc::new(Reloader::new(loader, Arc::clone(&resolver), settings, notes, own, took));

    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let listeners = bound.serve(&resolver, &stop, &tracker).map_err(|why| vec![format!("cannot serve: {why}")])?;
    // Nobody waited for the disk before the first answer.
    let keeping = Arc::clone(reloader.sources());
    tokio::spawn(background::run(move || {
        keeping.in_force_now(&taken);
        drop(taken);
        memory::give_back();
    }));
    // Before anybody can tell of a change: a fleet is to hear of it.
    let keeping = subscribers::start(&reloader, radius, &resolver.metrics, &stop);
    if let Some(log) = reloader.fleet() {
        tokio::spawn(Arc::clone(log).run(Arc::clone(&reloader), stop.clone()));
    }
    let supply = Supply::new(Arc::clone(&resolver), Arc::clone(&reloader), Limits::default());
    // The admin listener lives longer than the DNS ones: a drain can be watched.
    let stop_admin = CancellationToken::new();
    let awaited = if claim == Claim::Beside && admin_listener.is_none() { admin_configured } else { None };
    if admin_listener.is_some() || awaited.is_some() {
        let admin = Arc::new(Admin {
            resolver: Arc::clone(&resolver),
            reloader: Arc::clone(&reloader),
            supply: Arc::clone(&supply),
            dns,
            started_at: clock::unix_secs(),
            scrape: Mutex::default(),
        });
        let stop_admin = stop_admin.clone();
        tokio::spawn(async move {
            let listener = match (admin_listener, awaited) {
                (Some(listener), _) => listener,
                (None, Some(address)) => tokio::select! {
                    listener = admin_when_free(address) => listener,
                    () = stop_admin.cancelled() => return,
                },
                (None, None) => return,
            };
            if let Err(why) = admin::serve(listener, admin, stop_admin).await {
                tracing::error!("the admin listener ended: {why}");
            }
        });
    }
    tokio::spawn(watch::run(Arc::clone(&reloader), stop.clone()));
    tokio::spawn(hours::run(Arc::clone(&reloader), stop.clone()));
    tokio::spawn(supply.run(stop.clone()));
    tokio::spawn(tend(Arc::clone(&reloader), stop.clone()));
    tokio::spawn(measure_orders(Arc::clone(&reloader), stop.clone()));
    // Other nodes are told what is known from before.
    reloader.orders().begun.notify_one();
    ready(&started);
    // Errors mean that nobody supervises us.
    let _ = sd_notify::notify(false, &[NotifyState::Ready]);
    let watchdog = tokio::spawn(feed_watchdog());

    // Of its own: a file that hangs (a network file system) must not keep us from hearing SIGTERM.
    let asked = Arc::new(Notify::new());
    tokio::spawn(reload_when_asked(Arc::clone(&asked), reloader));

    let mut first_to_end = futures_util::future::select_all(listeners);
    let fault = loop {
        tokio::select! {
            _ = hangup.recv() => asked.notify_one(),
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            // A dead listener in a process that looks well would be worse than a restart.
            (ended, ..) = &mut first_to_end => break Some(ended),
        }
    };
    let _ = sd_notify::notify(false, &[NotifyState::Stopping]);
    tracing::info!("stopping: no new questions, those in hand are answered");
    stop.cancel();
    tracker.close();
    if tokio::time::timeout(drain_timeout, tracker.wait()).await.is_err() {
        tracing::warn!("{} tasks were still at work after {drain_timeout:?}", tracker.len());
    }
    // The last of what feeds told.
    let _ = keeping.await;
    if let Some((learned, file)) = learned {
        learner::save(&learned, &file);
    }
    stop_admin.cancel();
    watchdog.abort();
    match fault {
        None => Ok(()),
        Some(ended) => Err(vec![format!("a listener ended by itself ({ended:?}); the resolver must be restarted")]),
    }
}

/// Learns which names people ask for, as configured; where it is to be kept. What is not to be kept on disk is not left
/// there either.
fn start_learning(settings: &Settings, loader: &Loader, metrics: &Metrics) -> Option<(learner::Shared, PathBuf)> {
    let file = state_directory(settings).join(learner::FILE_NAME);
    let learned = Arc::clone(loader.learned());
    let kept = match settings.popular.learn {
        Learn::Disk => {
            if let Some(before) = learner::read(&file) {
                *learner::lock(&learned) = before;
            }
            Some(file)
        }
        Learn::Memory | Learn::Off => {
            // Most often there is none.
            let _ = std::fs::remove_file(&file);
            None
        }
    };
    if settings.popular.learn == Learn::Off {
        return None;
    }
    let _ = metrics.learner.set(Learner::start(Arc::clone(&learned), kept.clone()));
    kept.map(|file| (learned, file))
}

/// Every question upstream may hold a socket, and every TCP client does: the soft limit of 1,024 is soon reached.
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(FILES_WANTED) {
        Ok(got) if got < FILES_NEEDED => {
            tracing::warn!("only {got} open files are allowed (ulimit -n), {FILES_WANTED} are wanted");
        }
        Ok(_) => {}
        Err(why) => tracing::warn!("the limit of open files stays as it is: {why}"),
    }
}

/// Says that an address is taken before lists are read, which may take long. Nothing stays bound: until we can answer,
/// askers should hear at once that nobody is there, and go to their other resolver.
fn check_addresses(config: Option<&Path>, claim: Claim) -> Result<(), String> {
    let config = match config {
        None => Ok(config::embedded()),
        Some(path) => config::load(path),
    };
    // Whoever takes over would lose what comes to a socket that is closed again.
    if claim == Claim::Beside {
        return Ok(());
    }
    // What is wrong with the configuration is told by whoever loads it.
    config.map_or(Ok(()), |config| listener::bind(&config.settings, UdpEngine::Portable, claim).map(drop))
}

/// Looks now and then at what ends by itself.
async fn tend(reloader: Arc<Reloader>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TEND_EVERY)).await.is_some() {
        let reloader = Arc::clone(&reloader);
        if let Err(why) = background::run(move || reloader.tend()).await {
            tracing::error!("looking after what ends broke off: {why}");
        }
    }
}

/// Looks at what clients may remember as soon as an order has begun to act; `tend` does so for those that begin by their hour.
async fn measure_orders(reloader: Arc<Reloader>, stop: CancellationToken) {
    while stop.run_until_cancelled(reloader.orders().begun.notified()).await.is_some() {
        let reloader = Arc::clone(&reloader);
        if let Err(why) = background::run(move || reloader.measure_orders()).await {
            tracing::error!("looking at what clients may remember broke off: {why}");
        }
    }
}

/// One reload at a time; however often it is asked for meanwhile, one more follows.
async fn reload_when_asked(asked: Arc<Notify>, reloader: Arc<Reloader>) {
    loop {
        asked.notified().await;
        let _ = sd_notify::notify(false, &[NotifyState::Reloading]);
        let reloading = Arc::clone(&reloader);
        if let Err(why) = background::run(move || reloading.reload()).await {
            tracing::error!("a reload broke off: {why}");
        }
        let _ = sd_notify::notify(false, &[NotifyState::Ready]);
    }
}

/// The default address may be taken by another instance; one that somebody asked for may not.
fn bind_admin(settings: &Settings, claim: Claim) -> Result<Option<std::net::TcpListener>, String> {
    let Some(address) = settings.admin else { return Ok(None) };
    match admin::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        // It is the other's until that one is gone.
        Err(why) if claim == Claim::Beside && why.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
        Err(why) if settings.admin_is_default => {
            tracing::warn!("no admin listener: cannot listen on {address}: {why}; set [listen] admin to another port");
            Ok(None)
        }
        Err(why) => Err(format!("cannot listen on {address} ([listen] admin): {why}")),
    }
}

/// The admin listener of one that takes over, once its address is free.
async fn admin_when_free(address: SocketAddr) -> std::net::TcpListener {
    loop {
        tokio::time::sleep(ADMIN_LOOK).await;
        if let Ok(listener) = admin::bind(address) {
            tracing::info!(%address, "the admin listener is taken over");
            return listener;
        }
    }
}

/// Tells systemd that we live. Whether filtering works is `/readyz`'s to say: killing us would mend no configuration.
async fn feed_watchdog() {
    let mut period = 0;
    if !sd_notify::watchdog_enabled(false, &mut period) {
        return;
    }
    let mut tick = tokio::time::interval(Duration::from_micros(period / 2));
    loop {
        tick.tick().await;
        let _ = sd_notify::notify(false, &[NotifyState::Watchdog]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::progress::Step;

    #[tokio::test]
    async fn an_address_in_use_is_told_before_lists_are_read() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lachan.toml");
        let text = format!(
            "[listen]\ndns = [\"{address}\"]\nadmin = \"off\"\n[list.a]\ncategory = \"adult\"\nfile = \"no\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let progress = Arc::new(Progress::default());
        let errors =
            run(Options { config: Some(file), claim: Claim::Alone }, Arc::clone(&progress), |_| {}).await.unwrap_err();
        assert_eq!(progress.step(), Step::Starting, "a list was read");
        assert!(errors[0].starts_with(&format!("cannot listen on {address}: ")), "{errors:?}");
    }
}
