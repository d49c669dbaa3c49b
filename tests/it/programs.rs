//! With programs that others wrote: Knot DNS upstream, dig and kdig as clients, over both families.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use crate::harness::client::Ask;
use crate::harness::process::{Served, ran, with_upstream};
use crate::harness::resolver::Files;
use crate::harness::{skip, wait_for};

const ZONE: &str = r#"$ORIGIN example.test.
$TTL 300
@       SOA   ns.example.test. host.example.test. 1 3600 600 86400 60
@       NS    ns
ns      A     127.0.0.1
www     A     192.0.2.1
www     AAAA  2001:db8::1
alias   CNAME www
cover   CNAME tracker
tracker A     192.0.2.66
mail    MX    10 www
txt     TXT   "one" "two words"
svc     HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1
caa     CAA   0 issue "ca.example"
odd     TYPE65280 \# 4 C0000201
"#;

/// A Knot DNS that serves [`ZONE`]. Killed when dropped.
struct Knot {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Knot {
    /// `None`: it is not installed.
    fn start() -> Option<Knot> {
        let program = installed("knotd", &["/usr/sbin/knotd", "/usr/local/sbin/knotd"])?;
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::write(root.join("example.test.zone"), ZONE).unwrap();
        let address = free_port();
        let config = format!(
            "server:\n  rundir: {root}\n  listen: [ {ip}@{port} ]\ndatabase:\n  storage: {root}\n\
             log:\n  - target: stderr\n    any: error\ntemplate:\n  - id: default\n    storage: {root}\n    \
             zonefile-sync: -1\n    journal-content: none\nzone:\n  - domain: example.test\n    file: example.test.zone\n",
            root = root.display(),
            ip = address.ip(),
            port = address.port()
        );
        let path = root.join("knot.conf");
        std::fs::write(&path, config).unwrap();
        let child = Command::new(program)
            .args(["-c", path.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let knot = Knot { child, address, _directory: directory };
        // By TCP: a connection is refused at once while nobody listens.
        wait_for("Knot DNS to serve", || std::net::TcpStream::connect(address).ok());
        Some(knot)
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of loopback that is free for UDP and TCP. Its port is one that no client is given in between.
pub fn free_port() -> SocketAddr {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + std::process::id().wrapping_mul(97).wrapping_add(next) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for both UDP and TCP");
}

/// Where a program is, looked for in PATH and where system programs are.
pub fn installed(name: &str, places: &[&str]) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let in_path = path.split(':').map(|folder| format!("{folder}/{name}"));
    in_path.chain(places.iter().map(|place| (*place).to_owned())).find(|file| Path::new(file).is_file())
}

fn serve_over(knot: &Knot) -> Served {
    // `test` is a local name unless an upstream has a zone there.
    let config = format!(
        "{}zones = [\"example.test\"]\n",
        with_upstream("[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n", knot.address)
    );
    Served::start(&Files { config, files: &[("mine.txt", "tracker.example.test\nbad.example.test\n")] })
}

#[test]
fn knot_upstream_is_told_faithfully() {
    let Some(knot) = Knot::start() else { return skip("Knot DNS (knotd) is not installed") };
    let served = serve_over(&knot);
    use RecordType as T;
    for (name, qtype, rcode, answers) in [
        ("www.example.test", T::A, 0, vec!["www.example.test A 192.0.2.1"]),
        ("www.example.test", T::AAAA, 0, vec!["www.example.test AAAA 2001:db8::1"]),
        (
            "alias.example.test",
            T::A,
            0,
            vec!["alias.example.test CNAME www.example.test", "www.example.test A 192.0.2.1"],
        ),
        ("mail.example.test", T::MX, 0, vec!["mail.example.test MX 10 www.example.test"]),
        ("www.example.test", T::MX, 0, vec![]),
        ("nothing.example.test", T::A, 3, vec![]),
        ("cover.example.test", T::A, 3, vec![]),
        ("bad.example.test", T::HTTPS, 3, vec![]),
    ] {
        for (server, tcp) in [(served.v4, false), (served.v4, true), (served.v6, false), (served.v6, true)] {
            let told = Ask { tcp, ..Ask::new(name, qtype) }.send(server);
            assert_eq!(
                (told.rcode(), told.answers()),
                (rcode, answers.iter().map(ToString::to_string).collect()),
                "{name} {qtype}"
            );
            let blocked = name.starts_with("cover") || name.starts_with("bad");
            assert_eq!(told.ede().first().map(|e| e.0), blocked.then_some(15), "{name} {qtype}");
        }
    }
}

#[test]
fn dig_and_kdig_understand_us() {
    let Some(knot) = Knot::start() else { return skip("Knot DNS (knotd) is not installed") };
    let served = serve_over(&knot);
    for program in ["dig", "kdig"] {
        let Some(path) = installed(program, &[]) else {
            skip(&format!("{program} is not installed"));
            continue;
        };
        for server in [served.v4, served.v6] {
            for tcp in ["+notcp", "+tcp"] {
                let ask = |arguments: &[&str]| {
                    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
                    let told = ran(Command::new(&path).args([&at, "-p", &port, tcp]).args(arguments));
                    assert_eq!(told.code, 0, "{program} {arguments:?}: {told:?}");
                    for trouble in ["WARNING", "Warning", "malformed", "extra bytes", "mismatch"] {
                        assert!(!told.stdout.contains(trouble), "{program} {arguments:?}: {}", told.stdout);
                    }
                    told.stdout
                };
                assert_eq!(ask(&["+short", "www.example.test", "A"]).trim(), "192.0.2.1");
                assert_eq!(ask(&["+short", "www.example.test", "AAAA"]).trim(), "2001:db8::1");
                assert!(ask(&["+short", "svc.example.test", "HTTPS"]).contains("192.0.2.1"));
                assert!(ask(&["+short", "caa.example.test", "CAA"]).contains("ca.example"));
                assert!(ask(&["odd.example.test", "TYPE65280"]).contains("C0000201"));
                let blocked = ask(&["+dnssec", "bad.example.test", "A"]);
                for part in ["NXDOMAIN", "bad.example.test.", "SOA", "Blocked"] {
                    assert!(blocked.contains(part), "{program}: no {part:?} in {blocked}");
                }
                let target = ask(&["cover.example.test", "A"]);
                assert!(target.contains("NXDOMAIN") && !target.contains("192.0.2.66"), "{target}");
                if program == "dig" {
                    // dig says whether the cookie that came back begins with its own.
                    for name in ["www.example.test", "bad.example.test", "x.stranger.example"] {
                        assert!(ask(&["+cookie", name, "A"]).contains("(good)"), "{name}");
                    }
                    let first = ask(&["+cookie=0123456789abcdef", "www.example.test", "A"]);
                    let cookie = first.lines().find_map(|line| line.strip_prefix("; COOKIE: ")).unwrap();
                    let cookie = cookie.split_whitespace().next().unwrap();
                    assert_eq!((cookie.len(), &cookie[..16]), (48, "0123456789abcdef"));
                    let again = ask(&[&format!("+cookie={cookie}"), "www.example.test", "A"]);
                    assert!(again.contains(cookie), "a good cookie is used on: {again}");
                    let alone = ask(&["+header-only", "+cookie=0123456789abcdef"]);
                    assert!(alone.contains("NOERROR") && alone.contains("QUERY: 0"), "{alone}");
                    assert!(ask(&["+header-only", "+nocookie", "+edns"]).contains("FORMERR"));
                }
                assert!(ask(&["+subnet=0.0.0.0/0", "www.example.test", "A"]).contains("192.0.2.1"));
            }
        }
    }
}
