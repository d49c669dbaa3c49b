//! Gates, as an operator meets them: what waits, and what a person does about it.

use std::path::Path;

use hickory_proto::rr::RecordType as T;
use serde_json::Value;

use crate::harness::client::Ask;
use crate::harness::process::{Ran, Served, lachan, ran, with_upstream};
use crate::harness::publisher::Publisher;
use crate::harness::resolver::{Files, write_files};
use crate::harness::upstream::Upstream;
use crate::harness::wait_for;

const ZONE: &str = "zalo.me. 300 IN A 192.0.2.1\nbad.example. 300 IN A 192.0.2.2\nworse.example. 300 IN A 192.0.2.3\n\
                    popular7.example. 300 IN A 192.0.2.4\nwww.zalo.me. 300 IN A 192.0.2.5\n\
                    oa.zalo.me. 300 IN A 192.0.2.6\nevil.host.zalo.me. 300 IN A 192.0.2.7\n\
                    vnexpress.net. 300 IN A 192.0.2.8\nthird.example. 300 IN A 192.0.2.9\n";

/// A process over a directory of lists, with its state beside.
fn serve(upstream: &Upstream, lists: &[(&str, &str)]) -> Served {
    let config = "state_directory = \"state\"\n[gate]\npopular_file = \"popular.csv\"\n\
                  [list.mine]\ncategory = \"malware\"\nfile = \"lists\"\n";
    let popular: String = (1..=8_000).map(|i| format!("{i},popular{i}.example\n")).collect();
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("lists")).unwrap();
    std::fs::write(directory.path().join("popular.csv"), popular).unwrap();
    let files = Files { config: with_upstream(config, upstream.v4), files: lists };
    write_files(directory.path(), &files);
    Served::start_in(directory)
}

fn blocks(served: &Served, name: &str) -> bool {
    Ask::new(name, T::A).send(served.v4).rcode() == 3
}

fn list(served: &Served) -> Value {
    served.status()["lists"][0].clone()
}

fn said(ran: &Ran, code: i32, part: &str) {
    assert!(ran.code == code && (ran.stdout.contains(part) || ran.stderr.contains(part)), "{code} {part:?}: {ran:?}");
}

#[test]
fn popular_names_dropped_into_a_directory_wait_for_a_person() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, &[("lists/a.txt", "bad.example\n")]);
    assert!(blocks(&served, "bad.example"));
    said(&served.command(&["lists", "review"]), 0, "nothing waits");
    said(&served.command(&["lists", "approve", "mine"]), 1, "nothing of list `mine` waits");
    said(&served.command(&["lists", "approve", "yours"]), 1, "there is no list `yours`; there are mine");

    let thousands: String = (1..=8_000).map(|i| format!("popular{i}.example\n")).collect();
    served.write("lists/b.txt", &thousands);
    let reload = served.reload("partial");
    assert!(reload["errors"][0].as_str().unwrap().contains("it hits 8000 popular names"), "{reload}");
    assert!(blocks(&served, "bad.example") && !blocks(&served, "popular7.example"));
    assert_eq!(list(&served)["held"]["rules"], 8_001);
    assert!(served.get("/metrics").contains("lachan_list_held{list=\"mine\"} 1"));
    said(&served.command(&["lists", "status"]), 1, "held since");
    said(&served.command(&["lists", "review"]), 1, "it hits 8000 popular names (at most 10): popular1.example, ");
    let diff = served.command(&["lists", "diff", "mine"]);
    said(&diff, 0, "1 → 8001 rules, +8000 −0");
    said(&diff, 0, "popular names that it newly hits (8000): popular1.example");

    // Who takes the file away again has nothing to decide.
    std::fs::remove_file(served.directory.path().join("lists/b.txt")).unwrap();
    served.reload("ok");
    said(&served.command(&["lists", "review"]), 0, "nothing waits");
    served.write("lists/b.txt", &thousands);
    served.reload("partial");

    // Not by a restart either, and not after a power cut.
    let served = Served::start_in(served.kill());
    assert!(blocks(&served, "bad.example") && !blocks(&served, "popular7.example"), "{}", served.log());
    said(&served.command(&["lists", "review"]), 1, "8001 rules wait");

    said(&served.command(&["lists", "approve", "mine"]), 0, "mine is in force: 8001 rules");
    assert!(blocks(&served, "popular7.example"));
    said(&served.command(&["lists", "review"]), 0, "nothing waits");
    assert_eq!(list(&served)["held"], Value::Null);

    // An approval is not forgotten.
    let served = Served::start_in(served.kill());
    assert!(blocks(&served, "popular7.example"), "{}", served.log());
    assert_eq!(served.reload("ok")["result"], "ok");
}

#[test]
fn a_person_goes_back_and_stays_there() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, &[("lists/a.txt", "bad.example\n")]);
    said(
        &served.command(&["lists", "rollback", "mine"]),
        1,
        "no version of list `mine` before the one in force is kept",
    );
    served.write("lists/a.txt", "bad.example\nworse.example\n");
    served.reload("ok");
    assert!(blocks(&served, "worse.example"));
    said(&served.command(&["lists", "diff", "mine"]), 0, "what is in force against what was before");

    said(&served.command(&["lists", "rollback", "mine"]), 0, "mine is at the version before");
    assert!(blocks(&served, "bad.example") && !blocks(&served, "worse.example"));
    served.reload("partial");
    let served = Served::start_in(served.kill());
    assert!(!blocks(&served, "worse.example"), "{}", served.log());
    said(&served.command(&["lists", "status"]), 1, "pinned by `lists rollback`");
    said(&served.command(&["lists", "diff", "mine"]), 0, "1 → 2 rules, +1 −0");
    said(&served.command(&["lists", "approve", "mine"]), 0, "mine is in force: 2 rules");
    assert!(blocks(&served, "worse.example"));
    assert_eq!(list(&served)["pinned"], false);
}

#[test]
fn a_list_is_taken_out_and_put_in_at_once() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, &[("lists/a.txt", "bad.example\n")]);
    said(&served.command(&["lists", "disable", "mine"]), 0, "mine blocks nothing until `lists enable`");
    assert!(!blocks(&served, "bad.example"));
    said(&served.command(&["lists", "status"]), 0, "disabled since");
    assert!(served.get("/metrics").contains("lachan_list_disabled{list=\"mine\"} 1"));
    served.write("lists/a.txt", "bad.example\nworse.example\n");
    served.reload("ok");
    assert!(!blocks(&served, "worse.example"), "a reload puts nothing in again");
    let served = Served::start_in(served.kill());
    assert!(!blocks(&served, "bad.example"), "nor does a restart: {}", served.log());
    said(&served.command(&["lists", "enable", "mine"]), 0, "mine blocks again");
    assert!(blocks(&served, "bad.example") && blocks(&served, "worse.example"));
}

#[test]
fn a_file_that_the_configuration_names_is_the_operators_own_word() {
    let upstream = Upstream::start(ZONE);
    let config = "[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n";
    let files = Files { config: with_upstream(config, upstream.v4), files: &[("mine.txt", "zalo.me\n")] };
    let served = Served::start(&files);
    assert!(blocks(&served, "zalo.me"));
    let warning = "it hits 1 name that should not be blocked (at most 0): zalo.me";
    assert_eq!(list(&served)["warnings"][0], warning);
    said(&served.command(&["lists", "status"]), 0, warning);
    said(&ran(&mut lachan(&["check", "-c", &served.config()])), 0, warning);
    assert!(served.log().contains(warning), "{}", served.log());
}

#[test]
fn a_first_version_by_url_that_hits_what_it_should_not_waits() {
    let upstream = Upstream::start(ZONE);
    let publisher = Publisher::start(&["127.0.0.1"]);
    publisher.publish("/list.txt", Some("bad.example\nzalo.me\n"));
    let url = format!("https://127.0.0.1:{}/list.txt", publisher.address.port());
    let config = format!(
        "state_directory = \"state\"\nupstream_ca_file = \"ca.pem\"\n\
         [list.far]\ncategory = \"phishing\"\nurl = \"{url}\"\nallow_private = true\n\
         gate = {{ must_not_block_spare = \"off\" }}\n"
    );
    let directory = tempfile::tempdir().unwrap();
    publisher.write_ca(&directory.path().join("ca.pem"));
    write_files(directory.path(), &Files { config: with_upstream(&config, upstream.v4), files: &[] });
    let served = Served::start_in(directory);
    said(&served.command(&["lists", "update"]), 1, "it hits 1 name that should not be blocked (at most 0): zalo.me");
    assert!(!blocks(&served, "bad.example") && !blocks(&served, "zalo.me"));
    assert!(served.get("/readyz").starts_with("not ready"), "{}", served.get("/readyz"));
    said(&served.command(&["lists", "review"]), 1, "2 rules wait");

    let served = Served::start_in(served.kill());
    said(&served.command(&["lists", "diff", "far"]), 0, "0 → 2 rules, +2 −0");
    said(&served.command(&["lists", "approve", "far"]), 0, "far is in force: 2 rules");
    assert!(blocks(&served, "bad.example") && blocks(&served, "zalo.me"));
    assert_eq!(served.get("/readyz").trim(), "ready");

    // What the publisher takes back waits no longer.
    publisher.publish("/list.txt", Some("bad.example\nzalo.me\nvnexpress.net\n"));
    said(&served.command(&["lists", "update"]), 1, "vnexpress.net");
    publisher.publish("/list.txt", Some("bad.example\nzalo.me\n"));
    said(&served.command(&["lists", "update"]), 0, "unchanged");
    said(&served.command(&["lists", "review"]), 0, "nothing waits");

    said(&served.command(&["lists", "approve", "--help"]), 0, "Put the version that waits into force");
    let vietnamese = ran(lachan(&["lists", "review", "--admin", &served.admin.to_string()]).env("LANG", "vi_VN.UTF-8"));
    said(&vietnamese, 0, "không có gì chờ duyệt");
}

/// A good name among the bad ones is left out; the list is in force without them until a person wants them.
fn is_in_force_without_good_names(served: &Served, name: &str) {
    let good = ["zalo.me", "oa.zalo.me", "www.zalo.me"];
    let check = |spared: bool| {
        assert!(blocks(served, "bad.example"), "{}", served.log());
        assert!(blocks(served, "evil.host.zalo.me"), "what is told of a host below stands: {}", served.log());
        good.iter().for_each(|name| assert_eq!(blocks(served, name), !spared, "{name}: {}", served.log()));
    };
    check(true);
    let status = list(served);
    assert_eq!((&status["held"], &status["left_out"]), (&Value::Null, &serde_json::json!(["zalo.me"])), "{status}");
    said(&served.command(&["lists", "status"]), 0, "left out: zalo.me");
    let review = served.command(&["lists", "review"]);
    said(&review, 0, "nothing waits");
    said(&review, 0, "left out (1): zalo.me");
    // Without a state directory there is no audit log, which is told below.
    assert_eq!(served.get("/readyz").lines().next(), Some("ready"));
    said(&served.command(&["explain", "oa.zalo.me"]), 0, "has a rule for zalo.me, which was left out");
    served.reload("ok");
    check(true);
    said(&served.command(&["lists", "approve", name]), 0, "is in force: ");
    check(false);
    assert_eq!(list(served)["left_out"], serde_json::json!([]));
    said(&served.command(&["lists", "approve", name]), 1, "nothing of list");
    served.reload("ok");
    check(false);
}

const MOSTLY_BAD: &str = "bad.example\nworse.example\nzalo.me\nevil.host.zalo.me\n";

#[test]
fn a_directory_goes_into_force_without_the_few_good_names_in_it() {
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, &[("lists/a.txt", MOSTLY_BAD)]);
    let served = Served::start_in(served.kill());
    is_in_force_without_good_names(&served, "mine");
    let served = Served::start_in(served.kill());
    assert!(blocks(&served, "zalo.me"), "an approval is not forgotten");

    // What the next version newly has is left out again; what was approved stays.
    served.write("lists/a.txt", &format!("{MOSTLY_BAD}vnexpress.net\n"));
    served.reload("ok");
    assert!(blocks(&served, "zalo.me") && !blocks(&served, "vnexpress.net"), "{}", served.log());
    // Once left out is not once let by: it does not come in with the version after.
    served.write("lists/a.txt", &format!("{MOSTLY_BAD}vnexpress.net\nthird.example\n"));
    served.reload("ok");
    assert!(!blocks(&served, "vnexpress.net") && blocks(&served, "third.example"), "{}", served.log());
    assert!(list(&served)["left_out"].as_array().unwrap().contains(&"vnexpress.net".into()));
}

#[test]
fn a_directory_is_in_force_without_good_names_where_no_state_is_kept_too() {
    let upstream = Upstream::start(ZONE);
    let config = "state_directory = \"/proc/nowhere\"\n[list.mine]\ncategory = \"malware\"\nfile = \"lists\"\n";
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("lists")).unwrap();
    let files = Files { config: with_upstream(config, upstream.v4), files: &[("lists/a.txt", MOSTLY_BAD)] };
    write_files(directory.path(), &files);
    is_in_force_without_good_names(&Served::start_in(directory), "mine");
}

#[test]
fn a_first_version_by_url_is_in_force_without_the_few_good_names_in_it() {
    for state in ["state", "/proc/nowhere"] {
        let upstream = Upstream::start(ZONE);
        let publisher = Publisher::start(&["127.0.0.1"]);
        publisher.publish("/list.txt", Some(MOSTLY_BAD));
        let url = format!("https://127.0.0.1:{}/list.txt", publisher.address.port());
        let config = format!(
            "state_directory = \"{state}\"\nupstream_ca_file = \"ca.pem\"\n\
             [list.far]\ncategory = \"phishing\"\nurl = \"{url}\"\nallow_private = true\n"
        );
        let directory = tempfile::tempdir().unwrap();
        publisher.write_ca(&directory.path().join("ca.pem"));
        write_files(directory.path(), &Files { config: with_upstream(&config, upstream.v4), files: &[] });
        let served = Served::start_in(directory);
        served.command(&["lists", "update"]);
        is_in_force_without_good_names(&served, "far");
    }
}

#[test]
fn a_wider_bound_lets_in_what_waits() {
    let upstream = Upstream::start(ZONE);
    let publisher = Publisher::start(&["127.0.0.1"]);
    publisher.publish("/list.txt", Some("bad.example\nzalo.me\n"));
    let url = format!("https://127.0.0.1:{}/list.txt", publisher.address.port());
    let config = |gate: &str| {
        let list = format!("[list.far]\ncategory = \"phishing\"\nurl = \"{url}\"\nallow_private = true\n{gate}");
        with_upstream(&format!("state_directory = \"state\"\nupstream_ca_file = \"ca.pem\"\n{list}\n"), upstream.v4)
    };
    let directory = tempfile::tempdir().unwrap();
    publisher.write_ca(&directory.path().join("ca.pem"));
    write_files(directory.path(), &Files { config: config("gate = { must_not_block_spare = 0 }"), files: &[] });
    let served = Served::start_in(directory);
    said(&served.command(&["lists", "update"]), 1, "zalo.me");
    served.write("lachan.toml", &config("gate = { must_not_block_max = 1 }"));
    served.reload("ok");
    assert!(blocks(&served, "zalo.me"), "{}", served.log());
    said(&served.command(&["lists", "review"]), 0, "nothing waits");
}

#[test]
fn what_is_learnt_is_kept_only_when_asked_for() {
    let upstream = Upstream::start(ZONE);
    let config = |learn: &str| {
        with_upstream(&format!("state_directory = \"state\"\n[gate]\nlearn = \"{learn}\"\n"), upstream.v4)
    };
    let mut served = Served::start(&Files { config: config("disk"), files: &[] });
    // Enough for a few to be counted, whichever thread answers them.
    (0..300).for_each(|_| assert!(!blocks(&served, "zalo.me")));
    served.signal("-TERM");
    wait_for("the end", || served.exited());
    let file = served.directory.path().join("state/learned");
    let octets = std::fs::read(&file).unwrap();
    assert!(octets.starts_with(b"lachan-learned-1") && !String::from_utf8_lossy(&octets).contains("zalo"));
    served.write("lachan.toml", &config("memory"));
    let _served = Served::start_in(served.kill());
    assert!(!file.exists(), "what is not to be kept is not left there either");
}

#[test]
fn without_a_state_directory_what_waits_is_kept_in_memory() {
    let upstream = Upstream::start(ZONE);
    let config = "state_directory = \"/proc/nowhere\"\n[gate]\nmust_not_block_spare = \"off\"\n\
                  [list.mine]\ncategory = \"malware\"\nfile = \"lists\"\n";
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("lists")).unwrap();
    let files =
        Files { config: with_upstream(config, upstream.v4), files: &[("lists/a.txt", "bad.example\nzalo.me\n")] };
    write_files(directory.path(), &files);
    let served = Served::start_in(directory);
    assert!(!blocks(&served, "bad.example"), "the first version of a directory waits too");
    said(&served.command(&["lists", "diff", "mine"]), 0, "0 → 2 rules");
    said(&served.command(&["lists", "approve", "mine"]), 0, "mine is in force");
    assert!(blocks(&served, "zalo.me"));
    said(&served.command(&["lists", "rollback", "mine"]), 1, "there is no state directory");
    assert!(!Path::new("/proc/nowhere").exists());
}

#[test]
fn no_web_page_decides() {
    use std::io::{Read, Write};
    let upstream = Upstream::start(ZONE);
    let served = serve(&upstream, &[("lists/a.txt", "bad.example\n")]);
    for (request, code) in [
        ("POST /api/v1/lists/disable?name=mine HTTP/1.1\r\nHost: localhost\r\n", "403"),
        (
            "POST /api/v1/lists/disable?name=mine HTTP/1.1\r\nHost: localhost\r\nX-Lachan-Change: 1\r\nOrigin: http://a\r\n",
            "403",
        ),
        ("GET /api/v1/lists/disable?name=mine HTTP/1.1\r\nHost: localhost\r\nX-Lachan-Change: 1\r\n", "405"),
        ("POST /api/v1/lists/disable HTTP/1.1\r\nHost: localhost\r\nX-Lachan-Change: 1\r\n", "400"),
    ] {
        let mut stream = std::net::TcpStream::connect(served.admin).unwrap();
        write!(stream, "{request}Connection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(code), "{request}: {answer}");
    }
    assert!(blocks(&served, "bad.example"));
}
