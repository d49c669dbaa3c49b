//! Our certificate: what is said of a bad one, and how a new one is taken up.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use tokio::io::AsyncReadExt;

use super::{BLOCKED, Lab, question};
use crate::harness::process::{Served, run};
use crate::harness::resolver::{Files, config_path, write_files};
use crate::harness::secure::{
    Certificate, NAME, TLS, TLS13, ask_quic, encrypted, http2, post, quic, receive_framed, send_framed, talk, tls,
    whole,
};
use crate::harness::upstream::Upstream;
use crate::harness::{skip, wait_for};

async fn ask_dot(stream: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>) -> u8 {
    send_framed(stream, &question(BLOCKED, 1)).await;
    receive_framed(stream).await.unwrap()[3] & 15
}

#[test]
fn a_new_certificate_is_taken_up_and_no_connection_is_dropped() {
    let lab = Lab::start();
    talk(async {
        let mut dot = tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap();
        let mut two = http2(lab.doh(), &lab.certificate).await;
        let doq = quic(lab.doq(), lab.certificate.trusted_by(TLS13, &["doq"])).await;
        let next = Certificate::new();
        for (name, text) in next.files() {
            lab.resolver.write(name, text);
        }
        assert_eq!(lab.resolver.reload().result, "ok");
        // Those who know the new one alone, on every transport.
        assert_eq!(ask_dot(&mut tls(lab.dot(), next.trusted(&["dot"])).await.unwrap()).await, 3);
        assert_eq!(
            http2(lab.doh(), &next).await.send_request(post(&question(BLOCKED, 0))).await.unwrap().status(),
            200
        );
        let new_doq = quic(lab.doq(), next.trusted_by(TLS13, &["doq"])).await;
        assert_eq!(ask_quic(&new_doq, &question(BLOCKED, 0)).await.unwrap()[3] & 15, 3);
        assert!(tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.is_err(), "the old one is gone");
        // Those who were there go on.
        assert_eq!(ask_dot(&mut dot).await, 3);
        assert_eq!(whole(two.send_request(post(&question(BLOCKED, 0))).await.unwrap()).await.body()[3] & 15, 3);
        assert_eq!(ask_quic(&doq, &question(BLOCKED, 0)).await.unwrap()[3] & 15, 3);
    });
}

#[test]
fn a_bad_pair_changes_nothing_and_says_why() {
    let lab = Lab::start();
    let other = Certificate::new();
    lab.resolver.write("privkey.pem", &other.key);
    let status = lab.resolver.reload();
    assert_eq!(status.result, "failed");
    let told = status.errors.join("\n");
    for part in ["privkey.pem", "fullchain.pem", "is not that of the certificate", "renewed"] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    talk(async {
        assert_eq!(ask_dot(&mut tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap()).await, 3);
    });
    lab.resolver.write("fullchain.pem", &other.certificate);
    assert_eq!(lab.resolver.reload().result, "ok");
    talk(async {
        assert_eq!(ask_dot(&mut tls(lab.dot(), other.trusted(&["dot"])).await.unwrap()).await, 3);
    });
}

/// As [`run`]s `check` over this certificate.
fn check(certificate: &str, key: &str, more: &str) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let listen = "[listen]\ndns = [\"127.0.0.1:5353\"]\ndot = [\"127.0.0.1:8853\"]\nadmin = \"off\"\n";
    let config = format!("{listen}[[upstream]]\nservers = [\"127.0.0.1:53535\"]\n{TLS}{more}");
    write_files(directory.path(), &Files { config, files: &[("fullchain.pem", certificate), ("privkey.pem", key)] });
    let told = run(&["check", "-c", config_path(directory.path()).to_str().unwrap()]);
    (told.code, told.stdout)
}

#[test]
fn check_says_what_is_wrong_with_a_certificate() {
    let good = Certificate::new();
    let other = Certificate::new();
    let (past, future) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2090, 1, 1));
    let expired =
        Certificate::with(|params| (params.not_before, params.not_after) = (past, rcgen::date_time_ymd(2020, 2, 1)));
    let too_soon =
        Certificate::with(|params| (params.not_before, params.not_after) = (future, rcgen::date_time_ymd(2090, 2, 1)));
    let elsewhere = Certificate::with(|params| {
        params.subject_alt_names.retain(|name| !matches!(name, rcgen::SanType::IpAddress(_)));
    });
    let nameless = Certificate::with(|params| {
        params.subject_alt_names.retain(|name| matches!(name, rcgen::SanType::IpAddress(_)));
    });
    let encrypted_key = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cut = &good.certificate[..good.certificate.len() / 2];
    for (what, certificate, key, more, code, said) in [
        ("good", good.certificate.as_str(), good.key.as_str(), "", 0, &["good"][..]),
        ("another's key", &good.certificate, &other.key, "", 1, &["privkey.pem", "is not that of the certificate"]),
        ("expired", &expired.certificate, &expired.key, "", 0, &["expired", "days ago"]),
        ("not yet", &too_soon.certificate, &too_soon.key, "", 0, &["not valid yet", "clock"]),
        ("an encrypted key", &good.certificate, encrypted_key, "", 1, &["privkey.pem", "encrypted", "password"]),
        ("no certificate", "", &good.key, "", 1, &["fullchain.pem", "no certificate in it"]),
        ("half a certificate", cut, &good.key, "", 1, &["fullchain.pem"]),
        ("no key", &good.certificate, "", "", 1, &["privkey.pem", "no private key in it"]),
        ("the two exchanged", &good.key, &good.certificate, "", 1, &["fullchain.pem", "no certificate in it"]),
        ("no address", &elsewhere.certificate, &elsewhere.key, "", 0, &["does not have the address 127.0.0.1", "DDR"]),
        ("no address, and nobody is told", &elsewhere.certificate, &elsewhere.key, "ddr = \"off\"\n", 0, &["good"]),
        ("no name", &nameless.certificate, &nameless.key, "", 0, &["no host name", "`name` in [tls]"]),
        ("another name", &good.certificate, &good.key, "name = \"other.example\"\n", 0, &["is not for other.example"]),
    ] {
        let (told_code, told) = check(certificate, key, more);
        assert_eq!(told_code, code, "{what}: {told}");
        for part in said {
            assert!(told.contains(part), "{what}: no {part:?} in {told}");
        }
        // It has no list, which is told as well.
        let about_it = told.lines().filter(|line| !line.contains("there is no [list.*]")).count();
        assert!(said != ["good"] || about_it == 1, "{what}: {told}");
    }
    let (code, told) = check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good.key, "");
    assert!(code == 1 && told.contains("its first certificate cannot be read"), "{told}");
}

/// Of a process: where each encrypted listener is.
fn encrypted_addresses(served: &Served) -> SocketAddr {
    let line = served.banner.lines().find(|line| line.contains("DNS over TLS")).expect("the banner tells of DoT");
    line.split([' ', ',']).find_map(|word| word.parse().ok()).expect("an address")
}

#[test]
fn a_process_takes_up_files_that_change_and_those_it_is_told_of() {
    let (upstream, first) = (Upstream::start(super::ZONE), Certificate::new());
    let config = encrypted(super::LIST, upstream.v4).replace("\"off\"", "\"127.0.0.1:0\"");
    let [chain, key] = first.files();
    let served = Served::start(&Files { config, files: &[("mine.txt", "bad.example\n"), chain, key] });
    let dot = encrypted_addresses(&served);
    talk(async {
        let mut old = tls(dot, first.trusted(&["dot"])).await.unwrap();
        assert_eq!(ask_dot(&mut old).await, 3);
        let second = Certificate::new();
        for (name, text) in second.files() {
            served.write(name, text);
        }
        served.reload("ok");
        assert_eq!(ask_dot(&mut tls(dot, second.trusted(&["dot"])).await.unwrap()).await, 3);
        // Without a signal: as certbot and its like leave them.
        let third = Certificate::new();
        for (name, text) in third.files() {
            served.write(name, text);
        }
        let until = std::time::Instant::now() + crate::harness::PATIENCE;
        while tls(dot, third.trusted(&["dot"])).await.is_err() {
            assert!(std::time::Instant::now() < until, "the new files are not taken up: {}", served.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(ask_dot(&mut old).await, 3, "who was connected still is");
    });
    let page = served.get("/metrics");
    assert!(page.contains("lachan_certificate"), "days to expiry are told: {page}");
}

#[test]
fn a_self_signed_certificate_serves_a_trial_from_end_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().to_str().unwrap();
    let make = || run(&["tls", "self-signed", "--name", NAME, "-o", folder]);
    let made = make();
    assert_eq!(made.code, 0, "{made:?}");
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let certificate = Certificate { certificate: read("fullchain.pem"), key: read("privkey.pem") };
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(directory.path().join("privkey.pem")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "nobody else reads the key");
    // What it prints is what the configuration needs.
    let upstream = Upstream::start(super::ZONE);
    let config = encrypted(super::LIST, upstream.v4).replace(TLS, &made.stdout).replace("\"off\"", "\"127.0.0.1:0\"");
    let served = Served::start(&Files { config, files: &[("mine.txt", "bad.example\n")] });
    let dot = encrypted_addresses(&served);
    talk(async { assert_eq!(ask_dot(&mut tls(dot, certificate.trusted(&["dot"])).await.unwrap()).await, 3) });
    // A second time it leaves what is there.
    let again = make();
    assert!(again.code == 1 && again.stderr.contains("is there already"), "{again:?}");
    assert_eq!(read("privkey.pem"), certificate.key);
    // A key that is fit is used again; one that is not is named, with what to do.
    std::fs::remove_file(directory.path().join("fullchain.pem")).unwrap();
    let renewed = make();
    assert!(renewed.code == 0 && renewed.stderr.contains("the certificate is made with it"), "{renewed:?}");
    assert_eq!(read("privkey.pem"), certificate.key);
    assert_ne!(read("fullchain.pem"), certificate.certificate);
    std::fs::remove_file(directory.path().join("fullchain.pem")).unwrap();
    std::fs::write(directory.path().join("privkey.pem"), "no key").unwrap();
    let refused = make();
    assert!(refused.code == 1 && refused.stderr.contains("move it away"), "{refused:?}");
    assert_eq!(read("privkey.pem"), "no key");
}

#[test]
fn a_process_that_runs_out_of_files_lives_on_and_takes_the_next_connection() {
    let (upstream, certificate) = (Upstream::start(super::ZONE), Certificate::new());
    let config = encrypted(super::LIST, upstream.v4).replace("\"off\"", "\"127.0.0.1:0\"");
    let [chain, key] = certificate.files();
    let served = Served::start(&Files { config, files: &[("mine.txt", "bad.example\n"), chain, key] });
    let open = std::fs::read_dir(format!("/proc/{}/fd", served.pid())).unwrap().count();
    let limit = format!("--nofile={0}:{0}", open + 20);
    let Ok(set) = Command::new("prlimit").args(["--pid", &served.pid().to_string(), &limit]).status() else {
        return skip("prlimit (util-linux) is not installed");
    };
    assert!(set.success());
    let ask = |stream: &mut std::net::TcpStream| {
        stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        stream.write_all(&crate::harness::secure::framed(&question(BLOCKED, 1))).ok()?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).ok().map(|()| answer[5] & 15)
    };
    let crowd: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(served.v4).unwrap()).collect();
    wait_for("it to say so", || served.log().contains("accepting a connection failed").then_some(()));
    // Whoever asks is answered: an idle one makes room.
    wait_for("an answer", || ask(&mut std::net::TcpStream::connect(served.v4).unwrap()).filter(|rcode| *rcode == 3));
    let told = crate::harness::client::Ask::new(BLOCKED, hickory_proto::rr::RecordType::A).send(served.v4);
    assert_eq!(told.rcode(), 3, "UDP needs no descriptor");
    drop(crowd);
    talk(async {
        let mut dot = tls(encrypted_addresses(&served), certificate.trusted(&["dot"])).await.unwrap();
        assert_eq!(ask_dot(&mut dot).await, 3);
        drop(dot.read(&mut [0; 0]).await);
    });
}
