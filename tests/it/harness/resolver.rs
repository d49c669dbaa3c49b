//! The resolver in process: a configuration in a temporary directory, real listeners, and reload by hand.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lachan::daemon::listener::{self, Addresses, Claim, UdpEngine};
use lachan::daemon::reload::{Loaded, Loader, ReloadStatus, Reloader};
use lachan::daemon::resolver::{Begun, Resolver};
use lachan::daemon::telemetry::Metrics;
use lachan::engine::query::{Origin, Transport};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::PATIENCE;

/// Answers until dropped.
pub struct InProcess {
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    /// Of every transport.
    pub addresses: Addresses,
    pub resolver: Arc<Resolver>,
    pub reloader: Arc<Reloader>,
    pub directory: TempDir,
    stop: CancellationToken,
    tracker: TaskTracker,
    runtime: Runtime,
}

/// A configuration and the files beside it.
pub struct Files<'a> {
    pub config: String,
    pub files: &'a [(&'a str, &'a str)],
}

impl InProcess {
    pub fn start(files: &Files<'_>) -> InProcess {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let inside = runtime.enter();
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path(), files);
        let mut loader = Loader::new(Some(config_path(directory.path())));
        let Loaded { generation, settings, notes, certificate, taken } =
            loader.load(None, None).unwrap_or_else(|errors| panic!("{}", errors.join("\n")));
        let bound = listener::bind(&settings, UdpEngine::of(&settings.udp), Claim::Alone).unwrap();
        let addresses = bound.addresses();
        let own = addresses.dns.clone();
        let resolver = Arc::new(Resolver::new(generation, Arc::new(Metrics::new())));
        resolver.set_certificate(certificate);
        let took = Duration::ZERO;
        let reloader = Arc::new(Reloader::new(loader, Arc::clone(&resolver), settings, notes, own.clone(), took));
        reloader.sources().in_force_now(&taken);
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        bound.serve(&resolver, &stop, &tracker).unwrap();
        let [v4, v6] = own[..] else { panic!("one address of each family: {own:?}") };
        drop(inside);
        InProcess { v4, v6, addresses, resolver, reloader, directory, stop, tracker, runtime }
    }

    /// The address of one family.
    pub fn at(&self, v6: bool) -> SocketAddr {
        if v6 { self.v6 } else { self.v4 }
    }

    /// The sum over a metric's series.
    pub fn metric_sum(&self, name: &str) -> u64 {
        metric_sum(&self.resolver.metrics.encode(), name)
    }

    pub fn write(&self, file: &str, text: &str) {
        replace(&self.directory.path().join(file), text);
    }

    /// What a client at any address is told, without a socket; `None`: nothing.
    pub fn ask_from(&self, message: &[u8], source: IpAddr, transport: Transport) -> Option<Vec<u8>> {
        let origin = Origin::new((source, 4000).into(), None, transport);
        self.runtime.block_on(async {
            match self.resolver.begin(message, origin) {
                Begun::Answer(octets) => Some(octets),
                Begun::Silence => None,
                Begun::Pending(pending) => self.resolver.finish(pending).await,
            }
        })
    }

    /// Begins to stop, as SIGTERM does.
    pub fn begin_stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Waits until everything that was in hand is done.
    pub fn wait_stopped(&self) {
        let done = async { tokio::time::timeout(PATIENCE, self.tracker.wait()).await };
        self.runtime.block_on(done).expect("a stop comes to its end");
    }

    pub fn reload(&self) -> ReloadStatus {
        let _inside = self.runtime.enter();
        self.reloader.reload()
    }
}

/// The sum over the series of a counter on a page of metrics.
pub fn metric_sum(page: &str, name: &str) -> u64 {
    let series = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// One address of each family, on free ports, no admin listener, and this upstream for everything.
pub fn with_upstream(config: &str, upstream: SocketAddr) -> String {
    let listen = "[listen]\ndns = [\"127.0.0.1:0\", \"[::1]:0\"]\nadmin = \"off\"\n";
    format!("{config}\n{listen}\n[[upstream]]\nservers = [\"{upstream}\"]\n")
}

pub fn config_path(directory: &Path) -> PathBuf {
    directory.join("lachan.toml")
}

pub fn write_files(directory: &Path, files: &Files<'_>) {
    for (name, text) in files.files {
        replace(&directory.join(name), text);
    }
    replace(&config_path(directory), &files.config);
}

/// A new file in the old one's place, as a careful program writes it.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).unwrap();
    }
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}
