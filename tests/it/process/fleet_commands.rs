//! What people tell one node of a fleet is so at all of them, over a real Redis: also when a node or the server is gone
//! meanwhile, and never because of what somebody else wrote there.

use hickory_proto::rr::RecordType as T;
use serde_json::Value;

use super::fleet::Redis;
use super::subscribers::directory;
use crate::harness::client::Ask;
use crate::harness::process::{Ran, Served, lachan, ran};
use crate::harness::resolver::config_path;
use crate::harness::upstream::Upstream;
use crate::harness::{skip, wait_for};

const ZONE: &str =
    "bad.example. 300 IN A 192.0.2.1\nworse.example. 300 IN A 192.0.2.2\ngood.example. 300 IN A 192.0.2.3\n";

/// The configuration of a node: `bad.example` is blocked as adult, by a list of a directory.
fn node_directory(upstream: &Upstream, redis: &Redis, name: &str) -> tempfile::TempDir {
    let more = format!(
        "[subscribers.store]\nurl = \"redis://{}\"\n[list.mine]\ncategory = \"malware\"\nfile = \"lists\"\n",
        redis.address
    );
    let directory = directory(upstream, &more);
    std::fs::create_dir(directory.path().join("lists")).unwrap();
    std::fs::write(directory.path().join("lists/a.txt"), "never.example\n").unwrap();
    let config = config_path(directory.path());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(config, format!("node_name = \"{name}\"\n{text}")).unwrap();
    directory
}

fn node(upstream: &Upstream, redis: &Redis, name: &str) -> Served {
    Served::start_in(node_directory(upstream, redis, name))
}

fn blocks(node: &Served, name: &str) -> bool {
    Ask::new(name, T::A).send(node.v4).rcode() == 3
}

fn said(ran: &Ran, code: i32, part: &str) {
    assert!(ran.code == code && (ran.stdout.contains(part) || ran.stderr.contains(part)), "{code} {part:?}: {ran:?}");
}

fn fleet(node: &Served) -> Value {
    serde_json::from_str(&node.get("/api/v1/fleet")).unwrap()
}

/// Until a node sees so many, and is in step with the server.
fn wait_whole(nodes: &[&Served], count: usize) {
    for node in nodes {
        wait_for("the fleet to be whole", || {
            let fleet = fleet(node);
            let is_whole = fleet["store_is_away"] == false && fleet["nodes"].as_array().unwrap().len() == count;
            (is_whole && node.get("/readyz") == "ready\n").then_some(())
        });
    }
}

fn three(upstream: &Upstream, redis: &Redis) -> [Served; 3] {
    let nodes = ["a", "b", "c"].map(|name| node(upstream, redis, name));
    wait_whole(&nodes.each_ref(), 3);
    nodes
}

fn allow(node: &Served, name: &str) -> Ran {
    node.command(&["allow", "add", name, "--for", "1 h", "--reason", "lesson 5", "--by", "An"])
}

/// The id of the only allow in force.
fn allow_id(node: &Served) -> String {
    let told = node.command(&["allow", "list", "--json"]);
    let entries: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
    entries[0]["id"].to_string()
}

fn audit(node: &Served) -> Vec<Value> {
    let config = node.config();
    let told = ran(&mut lachan(&["-c", &config, "audit", "show", "-n", "100", "--json"]));
    assert_eq!(ran(&mut lachan(&["-c", &config, "audit", "verify"])).code, 0);
    serde_json::from_str(&told.stdout).unwrap_or_else(|why| panic!("{why}: {told:?}"))
}

/// From the first moment at which a node says that it is ready, it has what it missed.
fn ready_with_it(node: &Served, has_it: impl Fn(&Served) -> bool) {
    wait_for("a node to be ready again", || (node.get("/readyz") == "ready\n").then_some(()));
    assert!(has_it(node), "ready without what it missed: {}", node.log());
}

#[test]
fn a_word_is_in_force_at_every_node_and_ends_at_every_node() {
    let Some(redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let nodes = three(&upstream, &redis);
    let [a, b, c] = &nodes;
    assert!(nodes.iter().all(|node| blocks(node, "bad.example") && !blocks(node, "good.example")));

    said(&allow(a, "bad.example"), 0, "3/3 nodes effective in 0.");
    assert!(nodes.iter().all(|node| !blocks(node, "bad.example")));
    let denied =
        b.command(&["deny", "add", "=good.example", "--for", "1 h", "--reason", "x", "--by", "Bình", "--json"]);
    let told: Value = serde_json::from_str(&denied.stdout).unwrap();
    assert_eq!((denied.code, &told["fleet"]["effective"], &told["entry"]["node"]), (0, &3.into(), &"b".into()));
    assert!(nodes.iter().all(|node| blocks(node, "good.example")));
    let mut pause = lachan(&["pause", "add", "--everyone", "--for", "1 h", "--reason", "exam", "--by", "Chi"]);
    pause.args(["--admin", &c.admin.to_string()]).env("LANG", "vi_VN.UTF-8");
    said(&ran(&mut pause), 0, "3/3 nút có hiệu lực sau 0,");
    assert!(nodes.iter().all(|node| node.command(&["pause", "list"]).stdout.contains("by Chi: exam")));

    // Ended at another node than where it was said.
    said(&c.command(&["allow", "remove", &allow_id(c), "--by", "Chi"]), 0, "3/3 nodes effective in 0.");
    assert!(nodes.iter().all(|node| node.command(&["allow", "list"]).stdout.contains("none is in force")));
    said(&a.command(&["cache", "flush", "good.example", "--by", "An"]), 0, "3/3 nodes effective in 0.");

    // Each node's log tells who said it, and where.
    for (node, name) in nodes.iter().zip(["a", "b", "c"]) {
        let lines = audit(node);
        let line = |what: &str| lines.iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("{what}"));
        for (what, who, at) in [("allow.add", "An", "a"), ("deny.add", "Bình", "b"), ("allow.remove", "Chi", "c")] {
            let node = if name == at { Value::Null } else { at.into() };
            assert_eq!((&line(what)["who"], &line(what)["node"]), (&who.into(), &node), "{name}: {what}");
        }
        assert_eq!(line("cache.flush")["subject"], "good.example");
        assert_eq!(lines.len(), 5, "nothing twice: {lines:?}");
    }
    said(&b.command(&["fleet", "status"]), 0, "c");
    assert!(c.get("/metrics").contains("lachan_fleet_commands{event=\"ignored\"} 0"));
    // What lies on the server tells nobody's names or reasons.
    let dump =
        [redis.command("HGETALL lachan:commands:live"), redis.command("XRANGE lachan:commands:log - +")].concat();
    assert!(dump.len() > 100, "there is something to be looked at");
    for word in ["good", "An", "lesson", "exam"] {
        assert!(!dump.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
}

#[test]
fn a_node_that_is_away_is_named_and_has_it_before_it_is_ready() {
    let Some(redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let [a, b, c] = three(&upstream, &redis);
    // Stopped.
    b.signal("-STOP");
    let told = allow(&a, "bad.example");
    said(&told, 1, "2/3 nodes effective in ");
    said(&told, 1, "missing: b (");
    assert!(!blocks(&a, "bad.example") && !blocks(&c, "bad.example"));
    b.signal("-CONT");
    ready_with_it(&b, |node| !blocks(node, "bad.example"));
    // Killed; what was said before its end is ended meanwhile, and something else is said.
    wait_whole(&[&a, &b, &c], 3);
    let id = allow_id(&a);
    let away = b.kill();
    said(&c.command(&["allow", "remove", &id, "--by", "Chi"]), 1, "missing: b (");
    said(&allow(&c, "worse.example"), 1, "missing: b (");
    said(&c.command(&["fleet", "status"]), 1, "not heard of for");
    let b = Served::start_in(away);
    ready_with_it(&b, |node| blocks(node, "bad.example") && node.command(&["allow", "list"]).stdout.contains("worse"));
    wait_whole(&[&a, &b, &c], 3);
    said(&a.command(&["allow", "remove", &allow_id(&a), "--by", "An"]), 0, "3/3 nodes effective in 0.");
    // Away for longer than the stream goes.
    wait_whole(&[&a, &b, &c], 3);
    let away = c.kill();
    said(&allow(&b, "bad.example"), 1, "missing: c (");
    redis.command("XTRIM lachan:commands:log MAXLEN 0");
    let c = Served::start_in(away);
    ready_with_it(&c, |node| !blocks(node, "bad.example"));
    said(&b.command(&["allow", "remove", &allow_id(&b), "--by", "An"]), 0, "3/3 nodes effective in 0.");
    // One that does not come back is missed no more.
    drop(b);
    wait_for("b to be missed", || (a.command(&["fleet", "status"]).code == 1).then_some(()));
    said(&a.command(&["fleet", "forget", "b"]), 0, "c");
    wait_for("b to be forgotten", || (fleet(&c)["nodes"].as_array().unwrap().len() == 2).then_some(()));
    said(&allow(&a, "bad.example"), 0, "2/2 nodes effective in 0.");
}

#[test]
fn a_server_that_is_gone_or_empty_loses_nothing() {
    let Some(mut redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let nodes = three(&upstream, &redis);
    let [a, b, c] = &nodes;
    said(&a.command(&["deny", "add", "good.example", "--for", "1 h", "--reason", "x", "--by", "An"]), 0, "3/3 nodes");
    // Paused: nobody waits for it but who wants to know where a command is in force.
    redis.signal("-STOP");
    let denied = c.command(&["deny", "add", "worse.example", "--for", "1 h", "--reason", "x", "--by", "Chi"]);
    said(&denied, 1, "the store of the fleet does not answer, others are told when it does");
    assert!(blocks(c, "worse.example") && !blocks(a, "worse.example"));
    assert!(nodes.iter().all(|node| node.get("/readyz") == "ready\n"), "filtering goes on");
    redis.signal("-CONT");
    for node in &nodes {
        wait_for("what waited to come", || blocks(node, "worse.example").then_some(()));
    }
    wait_whole(&[a, b, c], 3);
    redis.kill();
    wait_for("the store to be missed", || (fleet(a)["store_is_away"] == true).then_some(()));
    let told = allow(a, "bad.example");
    said(&told, 1, "1/3 nodes effective in ");
    said(&told, 1, "the store of the fleet does not answer");
    said(&told, 1, "b (");
    assert!(!blocks(a, "bad.example") && blocks(b, "bad.example") && blocks(c, "good.example"));
    assert_eq!(a.get("/readyz"), "ready\n", "filtering goes on");
    // It begins again with nothing: what waited is told, and what was said before stays.
    redis.restart_after_kill();
    for node in &nodes {
        wait_for("the word to come", || (!blocks(node, "bad.example")).then_some(()));
        assert!(blocks(node, "good.example"), "an empty store erases nothing");
    }
    wait_whole(&[a, b, c], 3);
    redis.command("FLUSHALL");
    wait_whole(&[a, b, c], 3);
    wait_for("the nodes to put back what they have", || {
        redis.command("HLEN lachan:commands:live").starts_with(b":3").then_some(())
    });
    assert!(nodes.iter().all(|node| !blocks(node, "bad.example") && blocks(node, "good.example")));
    // A new node knows all of it before it is ready.
    let new = node(&upstream, &redis, "d");
    ready_with_it(&new, |node| !blocks(node, "bad.example") && blocks(node, "good.example"));
    wait_whole(&[a], 4);
    said(&c.command(&["allow", "remove", &allow_id(c), "--by", "Chi"]), 0, "4/4 nodes effective in 0.");
    assert!(nodes.iter().chain([&new]).all(|node| blocks(node, "bad.example")));
    // A start without the server: it waits a while, says so, and serves what it kept.
    let away = new.kill();
    redis.kill();
    let alone = Served::start_in(away);
    assert!(alone.get("/readyz").starts_with("not ready: what other nodes were told"), "{}", alone.get("/readyz"));
    ready_with_it(&alone, |node| blocks(node, "bad.example") && blocks(node, "good.example"));
    assert!(alone.log().contains("this node serves with what it kept"), "{}", alone.log());
}

#[test]
fn what_no_node_wrote_is_ignored_and_what_is_repeated_changes_nothing() {
    let Some(redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let [a, b, c] = three(&upstream, &redis);
    let ignored = |node: &Served| -> u64 {
        let metrics = node.get("/metrics");
        let line = metrics.lines().find(|line| line.contains("{event=\"ignored\"}")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    said(&allow(&a, "bad.example"), 0, "3/3 nodes");
    let client = redis::Client::open(format!("redis://{}", redis.address)).unwrap();
    let mut server = client.get_connection().unwrap();
    let entries: Vec<(String, Vec<Vec<u8>>)> =
        redis::cmd("XRANGE").arg("lachan:commands:log").arg("-").arg("+").query(&mut server).unwrap();
    let word = entries[0].1[1].clone();
    said(&b.command(&["allow", "remove", &allow_id(&b), "--by", "Chi"]), 0, "3/3 nodes");
    let mut flipped = word.clone();
    flipped[20] ^= 1;
    let mut add = |command: &[u8]| {
        let add = redis::cmd("XADD").arg("lachan:commands:log").arg("*").arg("c").arg(command).to_owned();
        add.query::<String>(&mut server).unwrap();
    };
    add(b"{\"allow\":\"bad.example\"}");
    add(&flipped);
    // A word of before, in its own octets: it has ended.
    add(&word);
    for node in [&a, &b, &c] {
        wait_for("the forged commands to be counted", || (ignored(node) == 2).then_some(()));
    }
    // In the hash, in another's place and in none.
    let fields: Vec<(Vec<u8>, Vec<u8>)> = redis::cmd("HGETALL").arg("lachan:commands:live").query(&mut server).unwrap();
    for field in [&b"0123456789abcdef"[..], b"x"] {
        let sealed = &fields[0].1;
        let _: i64 = redis::cmd("HSET").arg("lachan:commands:live").arg(field).arg(sealed).query(&mut server).unwrap();
    }
    let new = node(&upstream, &redis, "d");
    ready_with_it(&new, |node| blocks(node, "bad.example"));
    assert_eq!(ignored(&new), 2);
    said(&allow(&c, "worse.example"), 0, "4/4 nodes");
    assert!([&a, &b, &c, &new].iter().all(|node| blocks(node, "bad.example")));
}

#[test]
fn an_order_that_two_nodes_worked_on_is_one_and_is_never_lost() {
    let Some(mut redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let [a, b, c] = three(&upstream, &redis);
    let all_block =
        |nodes: &[&Served], expected: bool| nodes.iter().all(|node| blocks(node, "good.example") == expected);
    let add = [
        "orders",
        "add",
        "--reference",
        "1/A05",
        "--authority",
        "A05",
        "--legal-basis",
        "NĐ 147/2024",
        "--expires",
        "2099-01-01",
        "--by",
        "An",
        "good.example",
    ];
    said(&a.command(&add), 0, "3/3 nodes effective in ");
    assert!(all_block(&[&a, &b, &c], false), "nobody approved it");
    said(&b.command(&["orders", "approve", "1/A05", "--by", "an"]), 1, "a second person approves it");
    said(&b.command(&["orders", "approve", "1/A05", "--by", "Bình"]), 0, "3/3 nodes effective in ");
    assert!(all_block(&[&a, &b, &c], true));
    // Each node tells how it took the order up, and any of them writes the reply for all.
    let reply = |node: &Served| node.command(&["orders", "letter", "1/A05", "--by", "Chi", "--lang", "en"]);
    let rows = |told: &Ran| told.stdout.lines().filter(|line| line.contains(" s | 1/1 | ")).count();
    wait_for("three nodes in the reply", || (rows(&reply(&c)) == 3).then_some(()));
    let verified = a.command(&["orders", "verify", "1/A05", "--by", "An"]);
    for node in ["a", "b", "c"] {
        said(&verified, 0, &format!("node {node}: in force since "));
    }
    // An empty server, and a node that lost its disk: the order acts everywhere.
    redis.kill();
    said(&reply(&a), 0, "5. Each node: the others could not be asked (the store of the fleet does not answer: ");
    redis.restart_after_kill();
    wait_whole(&[&a, &b, &c], 3);
    wait_for("three nodes in the reply again", || (rows(&reply(&b)) == 3).then_some(()));
    // What a node said stays said while it begins anew.
    let a = Served::start_in(a.kill());
    assert_eq!(rows(&reply(&b)), 3);
    ready_with_it(&a, |node| blocks(node, "good.example"));
    drop(c);
    let c = node(&upstream, &redis, "c");
    ready_with_it(&c, |node| blocks(node, "good.example"));
    assert!(all_block(&[&a, &b, &c], true));
    // Revoked at one node while the other two are away.
    let away = [a.kill(), c.kill()];
    let told = b.command(&["orders", "revoke", "1/A05", "--by", "Chi", "--reason", "letter 99/A05"]);
    said(&told, 1, "missing: a (");
    assert!(all_block(&[&b], false));
    let [a, c] = away.map(Served::start_in);
    for node in [&a, &c] {
        ready_with_it(node, |node| !blocks(node, "good.example"));
        let lines = audit(node);
        let revoked = lines.iter().find(|line| line["what"] == "order.revoke").unwrap();
        assert_eq!((&revoked["who"], &revoked["node"]), (&"Chi".into(), &"b".into()));
        assert_eq!(revoked["after"]["revoked_reason"], "letter 99/A05");
    }
}

#[test]
fn what_is_decided_about_a_list_is_decided_everywhere() {
    let Some(redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let [a, b, c] = three(&upstream, &redis);
    let all = [&a, &b, &c];
    said(&a.command(&["lists", "disable", "adult", "--by", "An"]), 0, "3/3 nodes effective in ");
    assert!(all.iter().all(|node| !blocks(node, "bad.example")));
    said(&b.command(&["lists", "enable", "adult", "--by", "Bình"]), 0, "3/3 nodes effective in ");
    assert!(all.iter().all(|node| blocks(node, "bad.example")));
    // A new version at every node, and back.
    for node in all {
        node.write("lists/a.txt", "never.example\ngood.example\n");
        node.reload("ok");
        assert!(blocks(node, "good.example"));
    }
    said(&c.command(&["lists", "rollback", "mine", "--by", "Chi"]), 0, "3/3 nodes effective in ");
    assert!(all.iter().all(|node| !blocks(node, "good.example")));
    said(&a.command(&["lists", "approve", "mine", "--by", "An"]), 0, "3/3 nodes effective in ");
    assert!(all.iter().all(|node| blocks(node, "good.example")));
    // A node without the version says so.
    b.write("lists/a.txt", "never.example\ngood.example\nworse.example\n");
    b.reload("ok");
    let told = c.command(&["lists", "rollback", "mine", "--by", "Chi"]);
    said(&told, 1, "2/3 nodes effective in ");
    said(&told, 1, "b (the version that list `mine` went back to is not kept here)");
    let lines = audit(&a);
    let whats: Vec<&str> = lines.iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["list.disable", "list.enable", "list.rollback", "list.approve", "list.rollback"]);
    assert_eq!((&lines[2]["who"], &lines[2]["node"], &lines[3]["node"]), (&"Chi".into(), &"c".into(), &Value::Null));
}

/// The node that was away is the first to put back what it has, into a store that was emptied.
#[test]
fn what_was_done_while_a_node_was_away_reaches_it_by_an_emptied_store() {
    let Some(redis) = Redis::start() else { return skip("redis-server is not installed") };
    let upstream = Upstream::start(ZONE);
    let [a, b, c] = three(&upstream, &redis);
    let add = ["orders", "add", "--reference", "1/A05", "--authority", "A05", "--legal-basis", "NĐ 147/2024"];
    said(&a.command(&[&add[..], &["--expires", "2099-01-01", "--by", "An", "good.example"]].concat()), 0, "3/3 nodes");
    said(&a.command(&["lists", "disable", "adult", "--by", "An"]), 0, "3/3 nodes");
    let away = b.kill();
    said(&a.command(&["orders", "approve", "1/A05", "--by", "Bình"]), 1, "2/3 nodes");
    said(&a.command(&["lists", "enable", "adult", "--by", "Bình"]), 1, "2/3 nodes");
    let others = [a.kill(), c.kill()];
    redis.command("FLUSHALL");
    let b = Served::start_in(away);
    wait_for("it to put back what it has", || {
        redis.command("HLEN lachan:commands:live").starts_with(b":2").then_some(())
    });
    assert!(!blocks(&b, "good.example") && !blocks(&b, "bad.example"), "it does not know better");
    let [a, c] = others.map(Served::start_in);
    for node in [&a, &b, &c] {
        wait_for("the order and the list to act", || {
            (blocks(node, "good.example") && blocks(node, "bad.example")).then_some(())
        });
    }
    wait_whole(&[&a, &b, &c], 3);
    assert!([&a, &b, &c].iter().all(|node| blocks(node, "good.example") && blocks(node, "bad.example")));
}

/// `tests/drill/run`: from a subscriber's address and a URL to the reason, one command, and back, without a lost question.
#[test]
fn the_drill_is_green() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drill/run");
    let told = ran(std::process::Command::new(script).arg(env!("CARGO_BIN_EXE_lachan")));
    match told.code {
        2 => skip(told.stderr.trim()),
        code => assert!(code == 0 && told.stdout.ends_with("drill: green\n"), "{}{}", told.stdout, told.stderr),
    }
}
