//! Nodes that share their map of subscribers by a real Redis: killed, paused, emptied. No question fails meanwhile, nobody who
//! did not ask for it is let through, and in the end all nodes say the same.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::subscribers::{TOKEN, ZONE, accounting, api, directory, is_open, radius};
use crate::harness::process::Served;
use crate::harness::upstream::Upstream;
use crate::harness::{PATIENCE, skip, wait_for};
use crate::programs::free_port;

/// A server of ours. Killed when dropped.
pub(super) struct Redis {
    child: Child,
    pub(super) address: SocketAddr,
    folder: TempDir,
}

impl Redis {
    /// `None`: it is not installed.
    pub(super) fn start() -> Option<Redis> {
        let address = free_port();
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

    /// It keeps nothing on disk but what `SAVE` puts there: who begins again is empty, or what it was then.
    pub(super) fn restart_after_kill(&mut self) {
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
    wait_for("the store to be missed", || {
        let body = r#"{"prefix":"127.0.0.1/32","line":"olt-7","profile":"open"}"#;
        (api(b, TOKEN, "PUT", "/one", body).1["others_wait"] == true).then_some(())
    });
    assert!(!is_open(a.v4) && is_open(b.v4));
    redis.restart_after_kill();
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
    redis.restart_after_kill();
    // What the others remember is written to the store that lost it.
    converge(&[&alone, &a, &back, &new], true);
    remove(&back);
    converge(&[&alone, &a, &back, &new], false);
}

/// The store loses what it was told last: somebody restored an old dump of it, or a follower that was behind took over.
#[test]
fn a_store_that_has_gone_back_is_told_again_what_it_lost() {
    let Some(mut redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let (a, b) = (node(&upstream, &redis), node(&upstream, &redis));
    [&a, &b].iter().for_each(|node| wait_current(node));
    set(&a, "open");
    let other = |node: &Served, profile: &str| {
        let body = format!(r#"{{"prefix":"192.0.2.9/32","profile":"{profile}"}}"#);
        assert_eq!(api(node, TOKEN, "PUT", "/one", &body).0, 200);
    };
    let profile_of_other = |node: &Served| api(node, TOKEN, "GET", "/one?address=192.0.2.9", "").1["profile"].clone();
    other(&b, "school");
    converge(&[&a, &b], true);
    [&a, &b].iter().for_each(|node| wait_current(node));
    assert!(redis.command("SAVE").starts_with(b"+OK"));
    // A household is not let through any more, another one is; none of it is in the dump.
    set(&a, "school");
    other(&a, "open");
    let new = r#"{"prefix":"192.0.2.10/32","profile":"school"}"#;
    assert_eq!(api(&b, TOKEN, "PUT", "/one", new).0, 200);
    converge(&[&a, &b], false);
    wait_for("both to know of both", || {
        let knows = |node: &Served| profile_of_other(node) == "open";
        (knows(&a) && knows(&b)).then_some(())
    });
    [&a, &b].iter().for_each(|node| wait_current(node));
    redis.kill();
    redis.restart_after_kill();
    [&a, &b].iter().for_each(|node| wait_current(node));
    assert!(!is_open(a.v4) && !is_open(b.v4), "what the dump says is not believed");
    let fresh = node(&upstream, &redis);
    wait_for("a node that only the store tells to know all of it", || {
        let (_, told) = api(&fresh, TOKEN, "GET", "/one?address=192.0.2.10", "");
        (!is_open(fresh.v4) && profile_of_other(&fresh) == "open" && told["profile"] == "school").then_some(())
    });
    assert_eq!((profile_of_other(&a), profile_of_other(&b)), ("open".into(), "open".into()));
    remove(&fresh);
    converge(&[&a, &b, &fresh], false);
}

/// While a store that was emptied is filled again from memory, changes go on: what is only remembered never goes before them.
#[test]
fn what_is_told_while_a_store_is_filled_again_is_not_undone() {
    const LINES: u32 = 20_000;
    const STEP: usize = 20;
    let Some(redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let nodes = [node(&upstream, &redis), node(&upstream, &redis), node(&upstream, &redis)];
    let [a, b, c] = &nodes;
    nodes.iter().for_each(wait_current);
    let address = |n: u32| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
    let put = |n: u32, profile: &str| format!("{{\"prefix\":\"{}/32\",\"profile\":\"{profile}\"}}\n", address(n));
    let all: String = (0..LINES).map(|n| put(n, "open")).collect();
    assert_eq!(api(a, TOKEN, "POST", "/bulk", &all).0, 200);
    let count = |node: &Served| {
        let status: serde_json::Value = serde_json::from_str(&node.get("/api/v1/subscribers")).unwrap();
        status["v4"].as_u64()
    };
    for node in &nodes {
        wait_for("all lines", || (count(node) == Some(LINES.into())).then_some(()));
        wait_current(node);
    }
    redis.command("FLUSHALL");
    // All over the table, on two nodes, one line after the other.
    let changed: Vec<u32> = (0..LINES).step_by(STEP).collect();
    for (i, n) in changed.iter().enumerate() {
        let node = [b, c][i % 2];
        match i % 4 {
            3 => assert_eq!(api(node, TOKEN, "DELETE", &format!("/one?prefix={}/32", address(*n)), "").0, 200),
            _ => assert_eq!(api(node, TOKEN, "PUT", "/one", &put(*n, "school")).0, 200),
        }
    }
    let fresh = node(&upstream, &redis);
    let left = LINES as usize - changed.len() / 4;
    for node in nodes.iter().chain([&fresh]) {
        let told = |n: u32| {
            let (code, told) = api(node, TOKEN, "GET", &format!("/one?address={}", address(n)), "");
            if code == 404 { "none".to_owned() } else { told["profile"].as_str().unwrap().to_owned() }
        };
        wait_for("as many lines as are left", || (count(node) == Some(left as u64)).then_some(()));
        wait_current(node);
        for (i, n) in changed.iter().enumerate() {
            let expected = if i % 4 == 3 { "none" } else { "school" };
            wait_for(&format!("{expected} of line {n}"), || (told(*n) == expected).then_some(()));
            assert_eq!(told(n + 1), "open");
        }
    }
}

/// An authentic packet is acknowledged and acts on the node, whatever has become of the store.
/// Ends a node as SIGTERM does: what it knows is on disk.
fn stop(mut node: Served) -> TempDir {
    node.signal("-TERM");
    wait_for("the node to stop", || node.exited());
    node.kill()
}

/// A store that was emptied, and first filled by a node that was away: it does not know what was taken out since.
#[test]
fn what_was_taken_out_comes_back_by_no_node_that_was_away() {
    let Some(mut redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    for is_first in [true, false] {
        let [a, b] = [node(&upstream, &redis), node(&upstream, &redis)];
        [&a, &b].into_iter().for_each(wait_current);
        set(&a, "open");
        converge(&[&a, &b], true);
        wait_current(&b);
        let away = stop(b);
        remove(&a);
        assert_eq!(api(&a, TOKEN, "PUT", "/one", r#"{"prefix":"127.0.0.9/32","profile":"open"}"#).0, 200);
        wait_current(&a);
        redis.kill();
        redis.restart_after_kill();
        let [a, b] = match is_first {
            // Nobody else is there to say that it is so no more.
            true => {
                let other = stop(a);
                redis.command("FLUSHALL");
                let b = Served::start_in(away);
                wait_current(&b);
                assert!(is_open(b.v4), "it does not know better");
                [Served::start_in(other), b]
            }
            false => {
                wait_current(&a);
                wait_for("the store to be filled", || {
                    redis.command("EXISTS lachan:subscribers:filled").starts_with(b":1").then_some(())
                });
                // Started anew it has forgotten how it came by what it knows, and writes a serial all the same.
                let a = Served::start_in(stop(a));
                wait_current(&a);
                let more = r#"{"prefix":"127.0.0.10/32","profile":"open"}"#;
                assert_eq!(api(&a, TOKEN, "POST", "/delta?serial=1", more).0, 200);
                wait_current(&a);
                [a, Served::start_in(away)]
            }
        };
        converge(&[&a, &b], false);
        [&a, &b].into_iter().for_each(wait_current);
        let known = |node: &Served| api(node, TOKEN, "GET", "/one?prefix=127.0.0.9/32", "").0 == 200;
        wait_for("what was told meanwhile to be at both", || (known(&a) && known(&b)).then_some(()));
        assert!(!is_open(a.v4) && !is_open(b.v4), "first: {is_first}");
        redis.command("FLUSHALL");
    }
}

#[test]
fn a_radius_packet_is_acknowledged_while_the_store_hangs() {
    let Some(redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let listen = free_port();
    let store = format!("[subscribers.store]\nurl = \"redis://{}\"\n{}", redis.address, radius(listen));
    let a = Served::start_in(directory(&upstream, &store));
    wait_current(&a);
    redis.signal("-STOP");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as u32;
    let tell = |status: u8, session: &str, at: u32| {
        let packet = accounting(9, status, session, "line-1", b"lachan:open", 0x7f00_0001, at);
        socket.send_to(&packet, listen).unwrap();
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer).expect("it is acknowledged");
        assert_eq!((length, answer[..2].to_vec()), (20, vec![5, 9]));
    };
    for n in 0..20 {
        tell(1, &format!("s{n}"), now - 100 + n);
        converge(&[&a], true);
        tell(2, &format!("s{n}"), now - 100 + n);
        converge(&[&a], false);
    }
    tell(1, "last", now);
    converge(&[&a], true);
    redis.signal("-CONT");
    wait_current(&a);
    converge(&[&a, &node(&upstream, &redis)], true);
}

/// What the network says of a line comes with its session, to a node that was there and to one that comes later; with the
/// session it goes.
#[test]
fn the_profile_of_a_session_reaches_every_node_and_ends_with_it() {
    const SESSIONS: u32 = 1_300;
    let Some(redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let listen = free_port();
    let store = format!("[subscribers.store]\nurl = \"redis://{}\"\n{}", redis.address, radius(listen));
    let a = Served::start_in(directory(&upstream, &store));
    let live = node(&upstream, &redis);
    [&a, &live].iter().for_each(|node| wait_current(node));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let tell = |status: u8, session: &str, class: &[u8], at: u32| {
        for n in 0..SESSIONS {
            let (session, line) = (format!("{session}-{n}"), format!("line-{n}"));
            let packet = accounting(n as u8, status, &session, &line, class, 0x0a00_0000 + n, at);
            socket.send_to(&packet, listen).unwrap();
            socket.recv_from(&mut [0; 64]).expect("it is acknowledged");
        }
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as u32;
    let profiles = |node: &Served| {
        let of = |n| {
            api(node, TOKEN, "GET", &format!("/one?address={}", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)), "")
        };
        let mut told: Vec<String> = (0..SESSIONS).map(|n| of(n).1["profile"].to_string()).collect();
        told.dedup();
        told
    };
    let count = |node: &Served| {
        let status: serde_json::Value = serde_json::from_str(&node.get("/api/v1/subscribers")).unwrap();
        (status["v4"].as_u64(), status["store"]["waiting"].as_u64())
    };
    let wait = |nodes: &[&Served], sessions: u32, profile: &str| {
        for node in nodes {
            wait_for("every session", || (count(node) == (Some(sessions.into()), Some(0))).then_some(()));
            if sessions > 0 {
                wait_for("every session's profile", || (profiles(node) == [profile]).then_some(()));
            }
        }
    };
    tell(1, "s", b"lachan:school", now - 100);
    wait(&[&a, &live], SESSIONS, "\"school\"");
    let late = node(&upstream, &redis);
    wait(&[&late], SESSIONS, "\"school\"");
    // The same lines again, of whom the network says nothing: nothing of before comes back.
    tell(2, "s", b"", now - 50);
    wait(&[&a, &live, &late], 0, "");
    tell(1, "t", b"", now - 20);
    let later = node(&upstream, &redis);
    wait(&[&a, &live, &late, &later], SESSIONS, "null");
}
