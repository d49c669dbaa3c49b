//! Subscribers of a served process: API, files, RADIUS, and what a restart leaves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::client::Ask;
use crate::harness::process::{Served, with_upstream};
use crate::harness::resolver::{Files, write_files};
use crate::harness::upstream::Upstream;
use crate::harness::{PATIENCE, skip, wait_for};
use crate::programs::free_port;

pub(super) const TOKEN: &str = "a-token-that-is-long-enough";
const SECRET: &str = "testing123";
pub(super) const ZONE: &str = "bad.example. 300 IN A 192.0.2.1\n";
/// What `open` lets through, and `default` does not.
const LIST: &str = "bad.example\n";

/// A directory with a configuration: `default` blocks the list, `open` does not, `school` does and more.
pub(super) fn directory(upstream: &Upstream, more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let profiles = "[list.adult]\ncategory = \"adult\"\nfile = \"adult.txt\"\n[profile.default]\nblock = [\"adult\"]\n\
                    safe_search = false\n[profile.open]\nblock = []\nsafe_search = false\n[profile.school]\nblock = \
                    [\"adult\", \"games\"]\n";
    let feeds = "[subscribers]\napi_token_file = \"api.token\"\nstate_key_file = \"state.key\"\ntoken_key_files = \
                 [\"token.key\"]\n";
    let config = with_upstream(&format!("state_directory = \"state\"\n{profiles}{feeds}{more}"), upstream.v4);
    let files = [
        ("adult.txt", LIST),
        ("api.token", TOKEN),
        ("state.key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"),
        ("token.key", "000102030405060708090a0b0c0d0e0f\n"),
        ("radius.secret", SECRET),
    ];
    write_files(directory.path(), &Files { config, files: &files });
    directory
}

/// Status code and JSON of what the API says.
pub(super) fn api(served: &Served, token: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(served.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} /api/v1/subscribers{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer \
         {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let code = response.split(' ').nth(1).unwrap().parse().unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1;
    (code, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Whether a client on loopback may see what `default` blocks.
pub(super) fn is_open(server: SocketAddr) -> bool {
    Ask::new("bad.example", T::A).send(server).rcode() == 0
}

#[test]
fn the_api_changes_who_gets_what_at_once_and_it_outlives_the_process() {
    let upstream = Upstream::start(ZONE);
    let served = Served::start_in(directory(&upstream, ""));
    assert!(!is_open(served.v4));
    let put = |body: &str| api(&served, TOKEN, "PUT", "/one", body);
    assert_eq!(api(&served, "another", "PUT", "/one", "{}").0, 401);
    assert_eq!(api(&served, "another", "GET", "/one?address=127.0.0.1", "").0, 401);
    assert_eq!(put(r#"{"prefix":"127.0.0.1/32","profile":"open"}"#), (200, json!({"lines": 1, "applied": true})));
    assert!(is_open(served.v4) && !is_open(served.v6));
    assert_eq!(put(r#"{"prefix":"127.0.0.1/33","profile":"open"}"#).0, 422);
    let (code, told) = put(r#"{"prefix":"0.0.0.0/0","profile":"school"}"#);
    let why = "`prefix` is wider than /8, which is no line's (subscriber_prefix_bits_min)";
    assert_eq!((code, &told["error"]), (422, &json!(why)));
    // Another profile; then one that is not there, which is the default one.
    assert_eq!(put(r#"{"prefix":"127.0.0.1/32","profile":"school"}"#).0, 200);
    assert!(!is_open(served.v4));
    let unknown = put(r#"{"prefix":"127.0.0.1/32","profile":"tomorrow"}"#);
    assert_eq!(unknown, (200, json!({"lines": 1, "applied": true, "unknown_profiles": ["tomorrow"]})));
    assert!(!is_open(served.v4));
    let (code, told) = api(&served, TOKEN, "GET", "/one?address=127.0.0.1", "");
    assert_eq!((code, &told["standing"], &told["profile"]), (200, &json!("unknown-profile"), &json!("tomorrow")));
    // By token: the prefix stays, what its subscriber chose changes.
    let bulk = "{\"prefix\":\"127.0.0.1/32\",\"line\":\"olt-7\"}\n\n{\"line\":\"olt-7\",\"profile\":\"open\"}\n";
    assert_eq!(api(&served, TOKEN, "POST", "/bulk", bulk).0, 200);
    assert!(is_open(served.v4));
    let (code, told) =
        api(&served, TOKEN, "POST", "/bulk", "{\"line\":\"olt-7\",\"profile\":\"school\"}\n{\"prefix\":\"an\"}\n");
    assert_eq!((code, &told["mistakes"][0]["line"]), (422, &json!(2)), "{told}");
    assert!(!is_open(served.v4), "the good line of the two is in force");
    // All or nothing, and once.
    let snapshot = "{\"prefix\":\"127.0.0.1/32\",\"profile\":\"open\"}\n";
    let (code, told) = api(&served, TOKEN, "POST", "/snapshot?serial=5", &format!("{snapshot}{{}}\n"));
    assert_eq!((code, &told["mistakes"][0]["line"], &told["applied"]), (422, &json!(2), &json!(false)));
    assert!(!is_open(served.v4));
    assert_eq!(api(&served, TOKEN, "POST", "/snapshot?serial=5", snapshot).1["serial"], 5);
    assert!(is_open(served.v4));
    assert_eq!(
        api(&served, TOKEN, "POST", "/delta?serial=5", "{\"prefix\":\"127.0.0.1/32\",\"remove\":true}").1["applied"],
        false
    );
    assert!(is_open(served.v4));
    assert_eq!(api(&served, TOKEN, "POST", "/delta?serial=7", snapshot).0, 409);
    let metrics = served.get("/metrics");
    for series in ["lachan_subscribers{kind=\"ipv4\"} 1", "lachan_subscriber_updates_total{feed=\"api\"}"] {
        assert!(metrics.contains(series), "{series}");
    }
    // A reload renumbers profiles; a power cut takes the process.
    let config = served.config();
    let text = std::fs::read_to_string(&config).unwrap();
    served.write("lachan.toml", &format!("{text}\n[profile.aaa]\nblock = [\"adult\"]\n"));
    served.reload("ok");
    assert!(is_open(served.v4));
    assert_nothing_in_clear(&served.directory.path().join("state"));
    let again = Served::start_in(served.kill());
    assert!(is_open(again.v4));
    assert_eq!(api(&again, TOKEN, "DELETE", "/one?prefix=127.0.0.1/32", "").0, 200);
    assert!(!is_open(again.v4));
    assert_eq!(api(&again, TOKEN, "DELETE", "/one?prefix=127.0.0.1/32", "").0, 404);
}

/// No identity card's number, no name that was sent, no address.
fn assert_nothing_in_clear(state: &Path) {
    let folder = state.join("subscribers");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let octets = std::fs::read(&path).unwrap();
        seen += octets.len();
        let has = |word: &[u8]| octets.windows(word.len()).any(|window| window == word);
        for word in [&b"olt-7"[..], b"open", b"school", b"tomorrow", b"127.0.0", &[127, 0, 0, 1, 0]] {
            assert!(!has(word), "{}: {word:?}", path.display());
        }
        assert!(!octets.windows(12).any(|window| window.iter().all(u8::is_ascii_digit)), "{}", path.display());
    }
    assert!(seen > 100, "there is something to be looked at");
}

#[test]
fn a_file_is_loaded_from_the_command_line() {
    let upstream = Upstream::start(ZONE);
    let served = Served::start_in(directory(&upstream, ""));
    served.write("lines.csv", "prefix,line,profile\n127.0.0.1/32,olt-1,\n,olt-1,open\n::1,,school\n");
    let file = served.directory.path().join("lines.csv");
    let (file, config) = (file.to_str().unwrap(), served.config());
    let run = |arguments: &[&str]| served.command(&[&["-c", &config, "subscribers"], arguments].concat());
    let loaded = run(&["load", file, "--snapshot", "3"]);
    assert_eq!((loaded.code, loaded.stdout.trim()), (0, "done: 3 lines"), "{loaded:?}");
    assert!(is_open(served.v4) && !is_open(served.v6));
    let again = run(&["load", file, "--snapshot", "3"]);
    assert_eq!((again.code, again.stdout.trim()), (0, "done before: the serial here is 3"));
    let status = run(&["status"]);
    assert!(status.code == 0 && status.stdout.contains("serial: 3"), "{status:?}");
    let got = run(&["get", "127.0.0.1:4000"]);
    assert!(got.code == 0 && got.stdout.contains("open") && got.stdout.contains("known"), "{got:?}");
    let set = run(&["set", "--line", "olt-1", "--profile", "school"]);
    assert_eq!(set.code, 0, "{set:?}");
    assert!(!is_open(served.v4));
    assert_eq!(run(&["remove", "127.0.0.1/32"]).code, 0);
    assert_eq!(run(&["get", "127.0.0.1/32"]).code, 1);
    served.write("lines.csv", "prefix,profile\n127.0.0.1/32,open\n127.0.0.1/40,open\n");
    let bad = run(&["load", file, "--delta", "4"]);
    assert!(bad.code == 1 && bad.stdout.contains("line 3: `prefix` is no network"), "{bad:?}");
    assert!(!is_open(served.v4));
    let wide = run(&["set", "0.0.0.0/0", "--profile", "open"]);
    assert!(wide.code != 0 && format!("{wide:?}").contains("is wider than /8"), "{wide:?}");
    // As Excel writes it where the comma is for decimals.
    served.write("lines.csv", "\u{feff}prefix;profile\r\n127.0.0.1/32;open\r\n");
    let excel = run(&["load", file]);
    assert_eq!((excel.code, excel.stdout.trim()), (0, "done: 1 line"), "{excel:?}");
    assert!(is_open(served.v4));
    let explained = run(&["status", "--json"]);
    assert!(explained.stdout.contains("\"kept\": true"), "{explained:?}");
    let told = served.command(&["explain", "bad.example", "--client", "[::1]:40000", "--json"]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&told["subscriber"]["standing"], &told["profile"]), (&json!("known"), &json!("school")), "{told}");
}

pub(super) fn radius(listen: SocketAddr) -> String {
    format!(
        "[subscribers.radius]\nlisten = [\"{listen}\"]\n[subscribers.radius.client.test]\nnetworks = \
         [\"127.0.0.0/8\"]\nsecret_file = \"radius.secret\"\n"
    )
}

/// With the client that others wrote: FreeRADIUS's.
#[test]
fn sessions_of_a_radius_client_come_and_go() {
    if Command::new("radclient").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return skip("radclient (freeradius-utils) is not installed");
    }
    let upstream = Upstream::start(ZONE);
    let listen = free_port();
    let served = Served::start_in(directory(&upstream, &radius(listen)));
    assert_eq!(api(&served, TOKEN, "PUT", "/one", r#"{"line":"ge-0/0/1","profile":"open"}"#).0, 200);
    let send = |secret: &str, attributes: &str| {
        let mut child = Command::new("radclient")
            .args(["-r", "1", "-t", "2", &listen.to_string(), "acct", secret])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(attributes.as_bytes()).unwrap();
        child.wait_with_output().unwrap().status.success()
    };
    let about = |status: &str, session: &str, more: &str| {
        format!(
            "Acct-Status-Type = {status}\nNAS-Identifier = \"bng-1\"\nAcct-Session-Id = \"{session}\"\nNAS-Port-Id = \
             \"ge-0/0/1\"\nUser-Name = \"an\"\n{more}\n"
        )
    };
    let address = "Framed-IP-Address = 127.0.0.1\nDelegated-IPv6-Prefix = ::/64\n";
    // The acknowledgement comes first, what follows from the packet right behind.
    let becomes = |open: bool, v6: bool| {
        wait_for(&format!("to be open: {open}"), || {
            (is_open(served.v4) == open && (!v6 || is_open(served.v6) == open)).then_some(())
        });
    };
    let count = |result: &str| {
        let (series, metrics) =
            (format!("lachan_radius_packets_total{{result=\"{result}\"}} "), served.get("/metrics"));
        let of = metrics.lines().find_map(|line| line.strip_prefix(series.as_str())?.parse::<u32>().ok());
        of.unwrap_or(0)
    };
    let counted = |result: &str, n: u32| wait_for(result, || (count(result) == n).then_some(()));
    assert!(!is_open(served.v4));
    assert!(send(SECRET, &about("Start", "s1", address)), "an authentic packet is acknowledged");
    becomes(true, true);
    assert!(send(SECRET, &about("Interim-Update", "s1", "")));
    counted("confirmed", 1);
    assert!(is_open(served.v4));
    // The next session has the address; the end of the one before comes late.
    assert!(send(SECRET, &about("Start", "s2", address)));
    assert!(send(SECRET, &about("Stop", "s1", &format!("{address}Acct-Delay-Time = 30"))));
    counted("late", 1);
    assert!(is_open(served.v4));
    assert!(send(SECRET, &about("Stop", "s2", "")));
    becomes(false, true);
    assert!(send(SECRET, &about("Start", "s3", address)));
    becomes(true, false);
    assert!(send(SECRET, "Acct-Status-Type = Accounting-On\nNAS-Identifier = \"bng-1\"\n"));
    becomes(false, false);
    assert!(!send("another-secret", &about("Start", "s4", address)), "what is forged is not acknowledged");
    counted("forged", 1);
    assert!(!is_open(served.v4));
    let ranged = "Framed-IP-Address = 127.0.0.1\nIP-Port-Range-Range-Start = 1\nIP-Port-Range-Range-End = 65534\n";
    assert!(send(SECRET, &about("Start", "s5", ranged)));
    // The port that is asked from is in the block.
    becomes(true, false);
}

/// A BNG that begins anew: each session's end and its successor's beginning, out of order and doubled.
#[test]
fn sixty_thousand_sessions_converge() {
    let upstream = Upstream::start(ZONE);
    let listen = free_port();
    let served = Served::start_in(directory(&upstream, &radius(listen)));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    const SESSIONS: u32 = 60_000;
    // Before the reboot each line had the address of its number; after it, the one from the other end.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let began = now as u32 - 3_000;
    let mut packets = Vec::new();
    for n in 0..SESSIONS {
        let (before, after) = (0x0a00_0000 + n, 0x0a00_0000 + (SESSIONS - 1 - n));
        packets.push((1_u32, n, before, began + n / 600, 1_u8));
        packets.push((2, n, after, began + 1_000 + n / 600, 1));
        packets.push((1, n, before, began + 500, 2));
    }
    let mut random = 7_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for i in (1..packets.len()).rev() {
        packets.swap(i, next(i + 1));
    }
    let doubled: Vec<_> = (0..packets.len() / 10).map(|_| packets[next(packets.len())]).collect();
    packets.extend(doubled);
    let mut sent = 0;
    // Whoever has too much to take in acknowledges nothing, and is sent it again.
    let mut send = |waiting: &mut Vec<Vec<u8>>| {
        let (until, mut answer, mut is_due) = (Instant::now() + PATIENCE, [0; 64], true);
        while !waiting.is_empty() {
            if is_due {
                waiting.iter().for_each(|packet| assert!(socket.send_to(packet, listen).is_ok()));
                sent += waiting.len();
            }
            is_due = socket.recv_from(&mut answer).is_err();
            waiting.retain(|packet| is_due || packet[1] != answer[1]);
            assert!(Instant::now() < until, "{} packets are not acknowledged", waiting.len());
        }
    };
    let mut waiting = Vec::new();
    for (i, (round, line, address, at, status)) in packets.iter().enumerate() {
        let (session, line) = (format!("s{round}-{line}"), format!("line-{line}"));
        waiting.push(accounting(i as u8, *status, &session, &line, b"", *address, *at));
        // As one who sends a copy does: so many on their way, no more.
        if waiting.len() == 64 {
            send(&mut waiting);
        }
    }
    send(&mut waiting);
    // What is acknowledged is taken in behind that.
    wait_for("all of it to be taken in", || {
        let metrics = served.get("/metrics");
        let counts = metrics.lines().filter(|line| line.starts_with("lachan_radius_packets_total{"));
        let sum: usize = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
        (sum >= sent).then_some(())
    });
    let status: Value = serde_json::from_str(&served.get("/api/v1/subscribers")).unwrap();
    assert_eq!(
        (&status["v4"], &status["sessions"], &status["tokens"]),
        (&json!(SESSIONS), &json!(SESSIONS), &json!(SESSIONS))
    );
    // Whose an address is: the line's from the other end.
    for n in (0..SESSIONS).step_by(6_007) {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
        let (_, by_address) = api(&served, TOKEN, "GET", &format!("/one?address={address}"), "");
        let (_, by_line) = api(&served, TOKEN, "GET", &format!("/one?line=line-{}", SESSIONS - 1 - n), "");
        assert!(by_line["token"].is_string(), "{by_line}");
        assert_eq!(by_address["token"], by_line["token"], "{address}");
    }
}

/// An Accounting-Request, signed; without a class when that is empty.
pub(super) fn accounting(
    id: u8,
    status: u8,
    session: &str,
    line: &str,
    class: &[u8],
    address: u32,
    at: u32,
) -> Vec<u8> {
    let mut packet = vec![4, id, 0, 0];
    packet.extend([0; 16]);
    let mut put = |kind: u8, value: &[u8]| {
        packet.extend([kind, value.len() as u8 + 2]);
        packet.extend_from_slice(value);
    };
    put(40, &u32::from(status).to_be_bytes());
    put(32, b"bng-1");
    put(44, session.as_bytes());
    put(87, line.as_bytes());
    put(8, &address.to_be_bytes());
    put(55, &at.to_be_bytes());
    if !class.is_empty() {
        put(25, class);
    }
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    lachan::engine::radius::sign(&mut packet, SECRET.as_bytes());
    packet
}
