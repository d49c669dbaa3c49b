//! Nodes that share their map of subscribers by a real Redis: killed, paused, emptied. No question fails meanwhile, nobody who
//! did not ask for it is let through, and in the end all nodes say the same.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::subscribers::{TOKEN, ZONE, api, directory, is_open};
use crate::harness::process::Served;
use crate::harness::upstream::Upstream;
use crate::harness::{skip, wait_for};

/// A server of ours. Killed when dropped.
pub(super) struct Redis {
    child: Child,
    pub(super) address: SocketAddr,
    folder: TempDir,
}

impl Redis {
    /// `None`: it is not installed.
    pub(super) fn start() -> Option<Redis> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        Some(Redis { child: Redis::run(address, &folder)?, address, folder })
    }

    fn run(address: SocketAddr, folder: &TempDir) -> Option<Child> {
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        wait_for("Redis to serve", || TcpStream::connect(address).ok());
        Some(child)
    }

    pub(super) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// It keeps nothing on disk: who begins again is empty.
    pub(super) fn restart_empty_after_kill(&mut self) {
        self.child = Redis::run(self.address, &self.folder).unwrap();
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn command(&self, line: &str) -> Vec<u8> {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "{line}\r\nQUIT\r\n").unwrap();
        let mut told = Vec::new();
        stream.read_to_end(&mut told).unwrap();
        told
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // A paused one takes no other signal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn node(upstream: &Upstream, redis: &Redis) -> Served {
    let store = format!("[subscribers.store]\nurl = \"redis://{}\"\n", redis.address);
    Served::start_in(directory(upstream, &store))
}

fn set(node: &Served, profile: &str) {
    let body = format!(r#"{{"prefix":"127.0.0.1/32","line":"olt-7","profile":"{profile}"}}"#);
    assert_eq!(api(node, TOKEN, "PUT", "/one", &body).0, 200);
}

fn remove(node: &Served) {
    assert_eq!(api(node, TOKEN, "DELETE", "/one?prefix=127.0.0.1/32", "").0, 200);
}

/// Until each node lets the client through, or none does.
fn converge(nodes: &[&Served], open: bool) {
    for (i, node) in nodes.iter().enumerate() {
        wait_for(&format!("node {i} to be open: {open}"), || (is_open(node.v4) == open).then_some(()));
    }
}

fn wait_current(node: &Served) {
    wait_for("the node to be in step with the store", || {
        let status: serde_json::Value = serde_json::from_str(&node.get("/api/v1/subscribers")).unwrap();
        (status["store"]["current"] == true && status["store"]["waiting"] == 0).then_some(())
    });
}

#[test]
fn three_nodes_say_the_same_whatever_becomes_of_the_store() {
    let Some(mut redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let nodes = [node(&upstream, &redis), node(&upstream, &redis), node(&upstream, &redis)];
    let [a, b, c] = &nodes;
    let all = [a, b, c];
    all.iter().for_each(|node| wait_current(node));
    set(a, "open");
    converge(&all, true);
    set(b, "school");
    converge(&all, false);
    set(c, "open");
    converge(&all, true);
    // What lies on the server tells nobody's line, address or profile.
    let dump =
        [redis.command("HGETALL lachan:subscribers:map"), redis.command("XRANGE lachan:subscribers:changes - +")]
            .concat();
    assert!(dump.len() > 100, "there is something to be looked at");
    for word in [&b"olt-7"[..], b"open", b"school", &[127, 0, 0, 1, 0]] {
        assert!(!dump.windows(word.len()).any(|window| window == word), "{word:?}");
    }

    // Paused: nobody waits for it.
    redis.signal("-STOP");
    set(a, "school");
    assert!(!is_open(a.v4) && is_open(b.v4) && is_open(c.v4));
    redis.signal("-CONT");
    converge(&all, false);

    // Killed, and empty when it is back: memory stays, and what waited is told.
    all.iter().for_each(|node| wait_current(node));
    redis.kill();
    assert!(all.iter().all(|node| !is_open(node.v4)));
    set(b, "open");
    assert!(!is_open(a.v4) && is_open(b.v4));
    redis.restart_empty_after_kill();
    converge(&all, true);

    // Emptied under our hands.
    all.iter().for_each(|node| wait_current(node));
    redis.command("FLUSHALL");
    assert!(all.iter().all(|node| is_open(node.v4)));
    all.iter().for_each(|node| wait_current(node));
    assert!(all.iter().all(|node| is_open(node.v4)), "an empty store erases nothing");
    set(c, "school");
    converge(&all, false);
}

#[test]
fn a_node_that_was_away_catches_up() {
    let Some(mut redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let (a, b) = (node(&upstream, &redis), node(&upstream, &redis));
    [&a, &b].iter().for_each(|node| wait_current(node));
    set(&a, "open");
    converge(&[&a, &b], true);
    wait_current(&b);
    // Its state is on disk a second later.
    wait_for("the state to be written", || {
        let log = b.directory.path().join("state/subscribers/log");
        (std::fs::metadata(log).ok()?.len() > 100).then_some(())
    });
    let away = b.kill();
    remove(&a);
    wait_current(&a);
    let back = Served::start_in(away);
    converge(&[&back], false);
    // A new node, which knows nothing.
    set(&a, "open");
    let new = node(&upstream, &redis);
    converge(&[&new, &back], true);
    // A new node while the store is gone has the default profile, and serves.
    redis.kill();
    let alone = node(&upstream, &redis);
    assert!(!is_open(alone.v4) && is_open(a.v4));
    redis.restart_empty_after_kill();
    wait_current(&alone);
    assert!(!is_open(alone.v4) && is_open(a.v4), "what nobody says again stays as it is");
    set(&a, "open");
    converge(&[&alone], true);
}
