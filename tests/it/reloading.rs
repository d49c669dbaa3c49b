//! What makes a running resolver load again: every file behind its configuration, there or not yet there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lachan::daemon::reload::{Loader, Look, Reloader};
use lachan::daemon::resolver::Resolver;
use lachan::daemon::telemetry::Metrics;
use lachan::daemon::watch;
use lachan::engine::name::Name;
use tokio_util::sync::CancellationToken;

/// Longer than the slowest machine takes for a reload of a few lines.
const PATIENCE: Duration = Duration::from_secs(30);
const UPSTREAM: &str = "[[upstream]]\nservers = [\"127.0.0.1:9\"]\n";

/// A resolver that listens nowhere, and the folder of its files.
struct House {
    folder: tempfile::TempDir,
    resolver: Arc<Resolver>,
    reloader: Arc<Reloader>,
    stop: CancellationToken,
}

impl House {
    fn build(config: &str) -> House {
        House::build_with(config, |_| {})
    }

    /// `meanwhile` happens after the files were read and before anybody watches.
    fn build_with(config: &str, meanwhile: impl FnOnce(&Path)) -> House {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lachan.toml"), config).unwrap();
        std::fs::write(folder.path().join("list.txt"), "one.example.com\n").unwrap();
        let mut loader = Loader::new(Some(folder.path().join("lachan.toml")));
        let loaded = loader.load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
        meanwhile(folder.path());
        let resolver = Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new())));
        let own: Vec<SocketAddr> = vec![(Ipv4Addr::LOCALHOST, 5354).into()];
        let (settings, notes) = (loaded.settings, loaded.notes);
        let reloader =
            Arc::new(Reloader::new(loader, Arc::clone(&resolver), settings, notes, own, Duration::from_millis(1)));
        reloader.sources().in_force_now(&loaded.taken);
        House { folder, resolver, reloader, stop: CancellationToken::new() }
    }

    fn watched(self) -> House {
        tokio::spawn(watch::run(Arc::clone(&self.reloader), self.stop.clone()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn holds(&self, name: &str) -> bool {
        let mut hits = lachan::engine::matcher::Hits::default();
        let name = Name::from_text(name).unwrap();
        self.resolver.cell.load().snapshot.index.names.look_up(name.as_wire(), &mut hits);
        !hits.is_empty()
    }

    /// How a reload went, if there was something to take up.
    fn look(&self) -> Option<&'static str> {
        match self.reloader.reload_if_changed(true) {
            Look::Reloaded(status) => Some(status.result),
            Look::Unchanged | Look::Unsettled => None,
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&House) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < PATIENCE, "{what}: {:?}", self.reloader.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn with_list(file: &str) -> String {
    format!("{UPSTREAM}[list.mine]\ncategory = \"adult\"\nfile = \"{file}\"\n")
}

fn deny(name: &str) -> String {
    format!("[operator]\ndeny = [\"{name}\"]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_in_conf_d_is_noticed_wherever_conf_d_comes_from() {
    let house = House::build(UPSTREAM).watched();
    std::fs::create_dir(house.path("conf.d")).unwrap();
    house.write("conf.d/10-a.toml", &deny("a.example.com"));
    house.until("a conf.d that came later", |h| h.holds("a.example.com")).await;
    house.write("conf.d/20-b.toml", &deny("b.example.com"));
    house.until("a second file", |h| h.holds("b.example.com")).await;
    std::fs::remove_file(house.path("conf.d/10-a.toml")).unwrap();
    house.until("a file that left", |h| !h.holds("a.example.com")).await;
    std::fs::remove_dir_all(house.path("conf.d")).unwrap();
    house.until("conf.d itself left", |h| !h.holds("b.example.com")).await;
    std::fs::create_dir(house.path("conf.d")).unwrap();
    house.write("conf.d/30-c.toml", &deny("c.example.com"));
    house.until("it came again", |h| h.holds("c.example.com")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_the_start_is_not_lost() {
    let house = House::build_with(&with_list("list.txt"), |folder| {
        std::fs::write(folder.join("list.txt"), "two.example.com\nthree.example.com\n").unwrap();
    });
    assert!(house.holds("one.example.com"));
    let house = house.watched();
    house.until("the list's new lines", |h| h.holds("two.example.com")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_made_a_reload_fail_is_watched() {
    let house = House::build(&with_list("list.txt")).watched();
    // Another list: the one of before would stay at its last good version.
    house.write("lachan.toml", &with_list("new/list.txt").replace("[list.mine]", "[list.other]"));
    house.until("a list that is not there", |h| h.reloader.status().result == "failed").await;
    assert!(house.holds("one.example.com"));
    std::fs::create_dir(house.path("new")).unwrap();
    house.write("new/list.txt", "two.example.com\n");
    house.until("it came", |h| h.holds("two.example.com")).await;
    house.write("lachan.toml", "[[upstream\n");
    house.until("a mistake", |h| h.reloader.status().result == "failed").await;
    house.write("lachan.toml", &with_list("list.txt"));
    house.until("its repair", |h| h.holds("one.example.com")).await;
}

#[test]
fn what_was_taken_up_is_not_taken_up_again() {
    let house = House::build(&with_list("list.txt"));
    assert!(house.look().is_none());
    house.write("lachan.toml", &format!("{}{}", with_list("list.txt"), deny("a.example.com")));
    assert_eq!(house.reloader.reload().result, "ok");
    assert!(house.look().is_none());
    assert_eq!(house.reloader.reload().result, "ok", "asked for, it reloads without a change");
    // While the configuration is broken, a list that changes is one more reason to try, once.
    house.write("lachan.toml", "= 1\n");
    assert_eq!(house.look().unwrap(), "failed");
    house.write("list.txt", "one.example.com\ntwo.example.com\n");
    assert_eq!(house.look().unwrap(), "failed");
    assert!(house.look().is_none());
    house.write("lachan.toml", &with_list("list.txt"));
    assert_eq!(house.look().unwrap(), "ok");
    assert!(house.holds("two.example.com"));
}

#[test]
fn authorities_and_the_systems_resolvers_are_watched() {
    let house = House::build("drain_timeout = \"3 s\"\n");
    assert!(house.reloader.seen().contains_key(Path::new("/etc/resolv.conf")));
    house.write("lachan.toml", &format!("upstream_ca_file = \"ca.pem\"\n{UPSTREAM}"));
    house.reloader.reload();
    let seen = house.reloader.seen();
    assert!(seen.contains_key(&house.path("ca.pem")), "{seen:?}");
}

#[test]
fn what_needs_a_restart_is_said_until_there_is_one() {
    let house = House::build(UPSTREAM);
    let changed = format!("state_directory = \"state\"\ndrain_timeout = \"7 s\"\n{UPSTREAM}");
    let needs = [
        "state_directory changed: it takes effect after a restart",
        "drain_timeout changed: it takes effect after a restart",
    ];
    for (text, want) in [(changed.as_str(), &needs[..]), (&changed, &needs), ("= 1\n", &needs), (UPSTREAM, &[])] {
        house.write("lachan.toml", text);
        assert_eq!(house.reloader.reload().needs_restart, want, "{text}");
    }
}

#[test]
fn a_file_just_written_is_left_to_its_writer_for_a_moment() {
    let house = House::build(&with_list("list.txt"));
    // Long ago by the file's own word: a clock is not asked.
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    house.write("list.txt", "one.example.com\ntwo.exam");
    assert!(matches!(house.reloader.reload_if_changed(false), Look::Unsettled));
    assert!(house.holds("one.example.com") && !house.holds("two.exam"));
    house.write("list.txt", "one.example.com\ntwo.example.com\n");
    std::fs::File::open(house.path("list.txt")).unwrap().set_modified(old).unwrap();
    assert!(matches!(house.reloader.reload_if_changed(false), Look::Reloaded(_)));
    assert!(house.holds("two.example.com"));
}

#[test]
fn a_configuration_cut_short_changes_nothing() {
    let house = House::build(&with_list("list.txt"));
    for cut in ["", "# lists\n", UPSTREAM, "[listen]\ndns = [\"127.0.0.1:5354\"]\n"] {
        house.write("lachan.toml", cut);
        let status = house.reloader.reload();
        assert_eq!(status.result, "failed", "{cut:?}");
        assert!(house.holds("one.example.com"), "{cut:?}");
    }
}

#[test]
fn a_pipe_in_a_lists_place_hangs_nothing() {
    let house = House::build(&with_list("list.txt"));
    std::fs::remove_file(house.path("list.txt")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(house.path("list.txt")).status().unwrap();
    assert!(made.success());
    let status = house.reloader.reload();
    assert_eq!(status.result, "partial");
    assert!(status.errors[0].contains("pipe"), "{:?}", status.errors);
    assert!(house.holds("one.example.com"));
}
