//! The embedded default where nothing but loopback is reachable: it blocks, and SafeSearch holds with no upstream at all.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType as T;

use crate::harness::client::Ask;
use crate::harness::process::{lachan, ran};
use crate::harness::resolver::{Files, InProcess};
use crate::harness::upstream::Upstream;
use crate::harness::{PATIENCE, skip};

/// Inside a network namespace of its own: starts the default, runs our own client's lines against it, and ends it.
const SCRIPT: &str = r#"
set -eu
ip link set lo up
"$LACHAN" serve >"$OUT/banner" 2>"$OUT/errors" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
tries=0
until "$LACHAN" explain localhost >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { cat "$OUT/banner" "$OUT/errors"; exit 9; }
    sleep 0.1
done
"$TEST" --exact namespace::the_embedded_default_filters_with_no_upstream_at_all --nocapture
"$LACHAN" safesearch test >"$OUT/safesearch" || true
"$LACHAN" healthcheck >"$OUT/health" || true
"#;

#[test]
fn the_embedded_default_filters_with_no_upstream_at_all() {
    // The script runs this very test once more, inside.
    if std::env::var_os("LACHAN_TEST_INSIDE").is_some() {
        return inside();
    }
    let Some(unshare) = unshare() else {
        return skip("network namespaces are not permitted here (unshare -n, unshare -rn)");
    };
    let directory = tempfile::tempdir().unwrap();
    let told = ran(Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["sh", "-c", SCRIPT])
        .env_remove("LACHAN_CONFIG")
        .env("LACHAN", env!("CARGO_BIN_EXE_lachan"))
        .env("TEST", std::env::current_exe().unwrap())
        .env("LACHAN_TEST_INSIDE", "1")
        .env("OUT", directory.path()));
    assert_eq!(told.code, 0, "{}\n{}", told.stdout, told.stderr);
    assert!(told.stdout.contains("inside: done"), "{}", told.stdout);
    let file = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let banner = file("banner");
    for part in ["127.0.0.1:5354", "[::1]:5354", "built in", "adult.block.lachan.example"] {
        assert!(banner.contains(part), "no {part:?} in:\n{banner}");
    }
    let table = file("safesearch");
    let google = table.lines().find(|line| line.starts_with("google")).expect("a row for Google");
    assert_eq!(google.matches("pass").count(), 4, "{google}");
    let health = file("health");
    assert!(health.starts_with("degraded"), "{health}");
}

/// Asks the default where nothing is upstream.
fn inside() {
    for server in ["127.0.0.1:5354", "[::1]:5354"].map(|a| a.parse().unwrap()) {
        for tcp in [false, true] {
            let ask = |name: &str, qtype| Ask { tcp, ..Ask::new(name, qtype) }.send(server);
            for (name, owner) in [
                ("adult.block.lachan.example", "adult.block.lachan.example"),
                ("www.pornhub.com", "pornhub.com"),
                ("bet365.com", "bet365.com"),
            ] {
                for qtype in [T::A, T::AAAA, T::HTTPS, T::MX, T::ANY] {
                    let told = ask(name, qtype);
                    assert_eq!((told.rcode(), told.ede()[0].0), (3, 15), "{name} {qtype}");
                    assert_eq!(told.soa().unwrap().0, owner, "{name} {qtype}");
                }
            }
            let cname = "www.google.com.vn CNAME forcesafesearch.google.com".to_owned();
            for (qtype, address) in [
                (T::A, Some("forcesafesearch.google.com A 216.239.38.120")),
                (T::AAAA, Some("forcesafesearch.google.com AAAA 2001:4860:4802:32::78")),
                (T::HTTPS, None),
            ] {
                let told = ask("www.google.com.vn", qtype);
                let expected: Vec<String> = std::iter::once(cname.clone()).chain(address.map(str::to_owned)).collect();
                assert_eq!((told.rcode(), told.answers()), (0, expected), "{qtype}");
            }
            assert_eq!(ask("use-application-dns.net", T::A).rcode(), 3);
            assert_eq!(ask("localhost", T::A).answers(), ["localhost A 127.0.0.1"]);
            // Nothing is upstream, and failure is never "allow".
            assert_eq!(ask("vnexpress.net", T::A).rcode(), 2);
        }
    }
    println!("inside: done");
}

/// Inside a network namespace of its own: an interface with a link-local address.
const LINK_LOCAL: &str = r#"
set -eu
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 addrgenmode none
ip address add fe80::1/64 dev v0 nodad
ip link set v1 up
ip link set v0 up
INDEX="$(ip -oneline link show v0 | cut -d: -f1)"
export INDEX
"$TEST" --exact namespace::clients_at_link_local_addresses_are_answered --nocapture
"#;

#[test]
fn clients_at_link_local_addresses_are_answered() {
    if let Ok(index) = std::env::var("INDEX") {
        return at_link_local(&index);
    }
    let Some(unshare) = unshare() else {
        return skip("network namespaces are not permitted here (unshare -n, unshare -rn)");
    };
    let told = ran(Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["sh", "-c", LINK_LOCAL])
        .env("TEST", std::env::current_exe().unwrap()));
    assert!(told.code == 0 && told.stdout.contains("inside: done"), "{}\n{}", told.stdout, told.stderr);
}

/// Asks for a name that only upstream knows, and again when the cache has it.
fn at_link_local(index: &str) {
    for engine in ["batched", "portable"] {
        let upstream = Upstream::start("good.example. 300 IN A 192.0.2.1\n");
        let config = format!(
            "[listen]\ndns = [\"127.0.0.1:0\", \"[::]:0\"]\nadmin = \"off\"\nudp_engine = \"{engine}\"\n\
             [[upstream]]\nservers = [\"{}\"]\n",
            upstream.v4
        );
        let resolver = InProcess::start(&Files { config, files: &[] });
        let at = |port: u16| format!("[fe80::1%{index}]:{port}").parse::<SocketAddr>().unwrap();
        let client = UdpSocket::bind(at(0)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let query = Ask::new("good.example", T::A).encode();
        for time in ["from upstream", "from the cache"] {
            client.send_to(&query, at(resolver.v6.port())).unwrap();
            let mut answer = [0; 512];
            let len = client.recv(&mut answer).unwrap_or_else(|why| panic!("{engine}, {time}: {why}"));
            let answer = Message::from_vec(&answer[..len]).unwrap();
            assert_eq!(answer.answers.len(), 1, "{engine}, {time}");
        }
        assert_eq!(upstream.log().len(), 1, "{engine}");
    }
    println!("inside: done");
}

/// How a namespace can be made here: as root, or as root of a user namespace.
fn unshare() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "-n"], &["unshare", "-rn"]];
    ways.into_iter().find(|way| {
        let tried = Command::new(way[0]).args(&way[1..]).args(["ip", "link", "set", "lo", "up"]).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn the_embedded_default_checks_clean() {
    // Reads and compiles only; nothing is asked of anybody.
    let told = ran(&mut lachan(&["check"]));
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains("the built-in configuration: good"), "{}", told.stdout);
}
