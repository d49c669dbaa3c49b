//! With programs that others wrote: kdig, curl, stubby, dnspython and Chromium as clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hickory_proto::rr::RecordType;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::{BLOCKED, Lab, ZONE, question};
use crate::harness::client::Ask;
use crate::harness::process::{Ran, ran};
use crate::harness::secure::NAME;
use crate::harness::{skip, wait_for};
use crate::programs::installed;

impl Lab {
    /// The file that a client trusts.
    fn ca(&self) -> PathBuf {
        self.resolver.directory.path().join("fullchain.pem")
    }

    fn questions_by(&self, transport: &str) -> u64 {
        let page = self.resolver.resolver.metrics.encode();
        let of = format!("transport=\"{transport}\"");
        let series = page.lines().filter(|line| line.starts_with("lachan_queries_total{") && line.contains(&of));
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

#[test]
fn kdig_asks_by_tls_https_and_quic() {
    let Some(kdig) = installed("kdig", &[]) else { return skip("kdig is not installed") };
    let lab = Lab::start();
    let can_quic = ran(Command::new(&kdig).arg("--help")).stdout.contains("+[no]quic");
    let ca = format!("+tls-ca={}", lab.ca().display());
    for (words, server, session) in [
        (&["+tls"][..], lab.dot(), "TLS session (TLS1.3)"),
        (&["+https"], lab.doh(), "HTTP session (HTTP/2-POST)"),
        (&["+https-get"], lab.doh(), "HTTP session (HTTP/2-GET)"),
        (&["+quic"], lab.doq(), "QUIC session"),
    ] {
        if words == ["+quic"] && !can_quic {
            skip("this kdig cannot speak QUIC");
            continue;
        }
        for (address, name) in [(server, NAME), (lab_v6(&lab, server), NAME)] {
            let ask = |more: &[&str]| {
                let (at, port, host) =
                    (format!("@{}", address.ip()), address.port().to_string(), format!("+tls-hostname={name}"));
                let told = ran(Command::new(&kdig).args([&at, "-p", &port, ca.as_str(), &host]).args(words).args(more));
                assert_eq!(told.code, 0, "{words:?} {more:?}: {told:?}");
                for trouble in ["WARNING", "malformed", "mismatch", "failed"] {
                    assert!(!told.stdout.contains(trouble), "{words:?}: {}", told.stdout);
                }
                told.stdout
            };
            let told = ask(&["fast.example", "A"]);
            for part in [session, "NOERROR", "192.0.2.1"] {
                assert!(told.contains(part), "{words:?}: no {part:?} in {told}");
            }
            let told = ask(&["+padding", BLOCKED, "A"]);
            for part in ["NXDOMAIN", "Blocked", "PADDING"] {
                assert!(told.to_uppercase().contains(&part.to_uppercase()), "{words:?}: no {part:?} in {told}");
            }
            assert!(told.contains("Received 468 B"), "{words:?}: {told}");
            if words == ["+tls"] {
                // Several questions on one connection.
                let told = ask(&["+keepopen", "fast.example", "A", BLOCKED, "A", "two.example", "A"]);
                assert!(told.contains("NXDOMAIN") && told.matches("192.0.2.1").count() >= 2, "{told}");
                let told = ask(&["+ednsopt=11", "fast.example", "A"]);
                assert!(told.contains("(11): 012C"), "thirty seconds: {told}");
            }
        }
    }
}

fn lab_v6(lab: &Lab, v4: SocketAddr) -> SocketAddr {
    let all = &lab.resolver.addresses;
    let of = [&all.dot, &all.doh, &all.doq].into_iter().find(|of| of[0] == v4).unwrap();
    of[1]
}

/// A page on loopback.
fn page() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let body = "<!doctype html><title>a</title><p>the page of the school</p>";
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n", body.len());
                // A browser may have closed what it opened ahead.
                let _ = write!(&stream, "{head}Connection: close\r\n\r\n{body}");
            });
        }
    });
    address
}

/// As [`ZONE`], with a name for whatever is on this machine.
fn zone_with_page() -> String {
    format!("{ZONE}page.example. 300 IN A 127.0.0.1\n")
}

#[test]
fn curl_asks_by_https_and_loads_a_page_by_it() {
    let Some(curl) = installed("curl", &[]) else { return skip("curl is not installed") };
    let lab = Lab::start();
    lab.upstream.change(&zone_with_page());
    let (ca, at) = (lab.ca().display().to_string(), lab.doh());
    let curl = |words: &[&str]| -> Ran {
        ran(Command::new(&curl)
            .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--cacert", &ca])
            .args(words))
    };
    let text = URL_SAFE_NO_PAD.encode(question(BLOCKED, 0));
    let message = lab.resolver.directory.path().join("message");
    std::fs::write(&message, question(BLOCKED, 0)).unwrap();
    let body = format!("@{}", message.display());
    let kind = "content-type: application/dns-message";
    let base = format!("https://{at}");
    let (get, bare) = (format!("{base}/dns-query?dns={text}"), format!("{base}/dns-query"));
    let (dns, elsewhere, long) =
        (bare.as_str(), format!("{base}/"), format!("{base}/dns-query?dns={}", "A".repeat(6_000)));
    let large = lab.resolver.directory.path().join("large");
    std::fs::write(&large, vec![0; 5_000]).unwrap();
    let large = format!("@{}", large.display());
    for (version, number) in [("--http2", "2"), ("--http1.1", "1.1")] {
        for (words, status) in [
            (&[get.as_str()][..], 200),
            (&["--head", &get], 200),
            (&["-H", kind, "--data-binary", &body, dns], 200),
            (&[dns], 400),
            (&[&elsewhere], 404),
            (&["-X", "PUT", dns], 405),
            (&["-H", "accept: application/dns-json", &get], 406),
            (&["-H", kind, "--data-binary", &large, dns], 413),
            (&[&long], 414),
            (&["--data-binary", &body, dns], 415),
        ] {
            let told = curl(&[&["-o", "/dev/null", "-w", "%{http_code} %{http_version}", version], words].concat());
            assert_eq!(told.stdout, format!("{status} {number}"), "{words:?}: {told:?}");
        }
    }
    let page = page();
    let url = format!("http://page.example:{}/", page.port());
    let told = curl(&["--doh-url", dns, &url]);
    assert!(told.stdout.contains("the page of the school"), "{told:?}");
    let told = curl(&["--doh-url", dns, &format!("http://{BLOCKED}:{}/", page.port())]);
    assert_eq!(told.code, 6, "the host is not resolved: {told:?}");
}

/// A program that serves until dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn stubby_takes_us_for_its_resolver_by_tls() {
    let Some(stubby) = installed("stubby", &[]) else { return skip("stubby is not installed") };
    let lab = Lab::start();
    let port = crate::programs::free_port();
    let config = format!(
        "resolution_type: GETDNS_RESOLUTION_STUB\ndns_transport_list:\n  - GETDNS_TRANSPORT_TLS\n\
         tls_authentication: GETDNS_AUTHENTICATION_REQUIRED\ntls_query_padding_blocksize: 128\nidle_timeout: 10000\n\
         tls_ca_file: \"{}\"\nlisten_addresses:\n  - 127.0.0.1@{}\nupstream_recursive_servers:\n  \
         - address_data: 127.0.0.1\n    tls_port: {}\n    tls_auth_name: \"{NAME}\"\n",
        lab.ca().display(),
        port.port(),
        lab.dot().port()
    );
    let file = lab.resolver.directory.path().join("stubby.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(stubby);
    command.arg("-C").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Running(command.spawn().unwrap());
    wait_for("stubby to answer", || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        socket.send_to(&question("fast.example", 7), port).ok()?;
        let mut answer = [0; 512];
        let (len, _) = socket.recv_from(&mut answer).ok()?;
        (len > 40 && answer[3] & 15 == 0).then_some(())
    });
    for (name, rcode) in [(BLOCKED, 3), ("two.example", 0), ("nothing.example", 3)] {
        let query = Ask::new(name, RecordType::A).encode();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        socket.send_to(&query, port).unwrap();
        let mut answer = [0; 4096];
        let (len, _) = socket.recv_from(&mut answer).unwrap();
        let told = hickory_proto::op::Message::from_vec(&answer[..len]).unwrap();
        assert_eq!(u16::from(told.metadata.response_code), rcode, "{name}");
    }
    assert!(lab.questions_by("dot") >= 4, "they came by TLS");
}

const DNSPYTHON: &str = r#"
import ssl, sys
import dns.edns, dns.message, dns.query, dns.rcode
dot, doh, doq, name, ca, blocked = sys.argv[1:]
options = [dns.edns.GenericOption(12, bytes(16))]
ask = lambda qname: dns.message.make_query(qname, "A", use_edns=0, options=options)
ways = {
    "dot": lambda q: dns.query.tls(q, "127.0.0.1", timeout=15, port=int(dot), server_hostname=name, ssl_context=ssl.create_default_context(cafile=ca)),
    "doh post": lambda q: dns.query.https(q, f"https://127.0.0.1:{doh}/dns-query", timeout=15, verify=ca, http_version=dns.query.HTTPVersion.H2),
    "doh get": lambda q: dns.query.https(q, f"https://127.0.0.1:{doh}/dns-query", timeout=15, verify=ca, post=False, http_version=dns.query.HTTPVersion.H2),
    "doh3": lambda q: dns.query.https(q, f"https://127.0.0.1:{doh}/dns-query", timeout=15, verify=ca, http_version=dns.query.HTTPVersion.H3),
    "doq": lambda q: dns.query.quic(q, "127.0.0.1", timeout=15, port=int(doq), verify=ca, server_hostname=name),
}
for way, send in ways.items():
    for qname in ("fast.example", blocked):
        query = ask(qname)
        if way == "doq":
            query.id = 0
        answer = send(query)
        codes = [str(option.code.value) for option in answer.options if option.otype == 15]
        print(way, qname, dns.rcode.to_text(answer.rcode()), ",".join(codes), len(answer.wire) % 468)
"#;

#[test]
fn dnspython_asks_by_every_transport() {
    // A Python with dnspython[doh,doq]; .ci/run makes one.
    let python = std::env::var("LACHAN_TEST_PYTHON").ok().or_else(|| installed("python3", &[]));
    let Some(python) = python else { return skip("python3 is not installed") };
    let has = ran(Command::new(&python).args(["-c", "import dns.query, h2, aioquic"]));
    if has.code != 0 {
        return skip("this Python has no dnspython[doh,doq]; LACHAN_TEST_PYTHON names one that has");
    }
    let lab = Lab::start();
    let ports = [lab.dot(), lab.doh(), lab.doq()].map(|address| address.port().to_string());
    let mut command = Command::new(python);
    command.args(["-c", DNSPYTHON]).args(&ports).arg(NAME).arg(lab.ca()).arg(BLOCKED);
    let told = ran(command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR"));
    let expected: String = ["dot", "doh post", "doh get", "doh3", "doq"]
        .map(|way| format!("{way} fast.example NOERROR  0\n{way} {BLOCKED} NXDOMAIN 15 0\n"))
        .concat();
    assert_eq!(told.stdout, expected, "{}", told.stderr);
}

/// What Chromium calls a certificate by: the hash of its public key.
fn public_key_hash(lab: &Lab) -> String {
    let der = CertificateDer::from_pem_slice(lab.certificate.certificate.as_bytes()).unwrap();
    let (_, read) = x509_parser::parse_x509_certificate(&der).unwrap();
    STANDARD.encode(Sha256::digest(read.public_key().raw))
}

#[test]
fn chromium_loads_a_page_by_name_with_us_as_its_secure_dns() {
    let Some(chromium) = installed("chromium", &[]) else { return skip("chromium is not installed") };
    let lab = Lab::start();
    lab.upstream.change(&zone_with_page());
    let page = page();
    let profile = tempfile::tempdir().unwrap();
    // "Use secure DNS: with custom", as people set it, and no other way to resolve a name.
    let template = format!("https://127.0.0.1:{}/dns-query{{?dns}}", lab.doh().port());
    let state = serde_json::json!({ "dns_over_https": { "mode": "secure", "templates": template } });
    std::fs::write(profile.path().join("Local State"), state.to_string()).unwrap();
    let load = |url: &str| {
        let mut command = Command::new(&chromium);
        command.args("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync".split(' '));
        command.args("--disable-background-networking --disable-component-update --no-proxy-server".split(' '));
        command.arg(format!("--ignore-certificate-errors-spki-list={}", public_key_hash(&lab)));
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        // A page that cannot be had would be tried again and again.
        command.args(["--timeout=15000", "--dump-dom", url]);
        ran(&mut command)
    };
    let told = load(&format!("http://page.example:{}/", page.port()));
    assert!(told.stdout.contains("the page of the school"), "{told:?}");
    assert!(lab.upstream.count("page.example", RecordType::A) > 0);
    let by_https = lab.questions_by("doh");
    assert!(by_https > 0, "it asked by HTTPS");
    let told = load(&format!("http://{BLOCKED}:{}/", page.port()));
    assert!(!told.stdout.contains("the page of the school"), "{told:?}");
    assert!(lab.questions_by("doh") > by_https, "it asked for what is blocked");
}
