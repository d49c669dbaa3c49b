//! Lists by URL, as an operator sees them: a start without the network, updates, refusals, and a restart.

use hickory_proto::rr::RecordType as T;

use crate::harness::client::Ask;
use crate::harness::process::{Served, with_upstream};
use crate::harness::publisher::Publisher;
use crate::harness::resolver::Files;
use crate::harness::upstream::Upstream;
use crate::harness::wait_for;

const ZONE: &str = "one.example.com. 300 IN A 192.0.2.1\nlists.example. 300 IN A 127.0.0.1\n";

/// A process with one malware list at `host`, and its publisher. `more` are further keys of the list.
fn serve(publisher: &Publisher, host: &str, more: &str) -> (Upstream, Served) {
    let upstream = Upstream::start(ZONE);
    let url = format!("https://{host}:{}/list.txt", publisher.address.port());
    let config = format!(
        "state_directory = \"state\"\nupstream_ca_file = \"ca.pem\"\n\
         [list.far]\ncategory = \"malware\"\nurl = \"{url}\"\n{more}\n"
    );
    let directory = tempfile::tempdir().unwrap();
    publisher.write_ca(&directory.path().join("ca.pem"));
    let files = Files { config: with_upstream(&config, upstream.v4), files: &[] };
    crate::harness::resolver::write_files(directory.path(), &files);
    (upstream, Served::start_in(directory))
}

fn is_blocked(served: &Served, name: &str) -> bool {
    Ask::new(name, T::A).send(served.v4).rcode() == 3
}

fn readiness(served: &Served) -> String {
    served.get("/readyz")
}

#[test]
fn a_list_by_url_comes_changes_breaks_and_outlives_its_publisher() {
    let publisher = Publisher::start(&["127.0.0.1"]);
    let (upstream, served) = serve(&publisher, "127.0.0.1", "allow_private = true");
    // It serves at once, without the list, and says so.
    assert!(!is_blocked(&served, "one.example.com"));
    assert!(readiness(&served).starts_with("not ready: list `far`"), "{}", readiness(&served));
    assert_eq!(served.command(&["healthcheck"]).code, 1);
    wait_for("a failed fetch", || {
        served.status()["lists"][0]["error"].as_str().filter(|e| e.contains("404")).map(|_| ())
    });

    publisher.publish("/list.txt", Some("one.example.com\n"));
    let ran = served.command(&["lists", "update"]);
    // The fetch that is tried again by itself may just have brought it.
    let told = ["far                      new: 1 rule", "far                      unchanged"];
    assert!(ran.code == 0 && told.contains(&ran.stdout.trim()), "{ran:?}");
    assert!(is_blocked(&served, "one.example.com"), "{}", served.log());
    assert_eq!(readiness(&served).trim(), "ready");
    assert_eq!(served.command(&["lists", "update", "far"]).stdout.trim(), "far                      unchanged");
    assert_eq!(publisher.asked().last().unwrap(), "/list.txt 304");
    let status = served.status()["lists"][0].clone();
    assert!(status["next_fetch"].as_u64() > status["last_success"].as_u64(), "{status}");
    assert!(served.command(&["lists", "status"]).stdout.contains("next fetch in"));
    let explained = served.command(&["explain", "one.example.com", "--json"]).stdout;
    let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
    assert_eq!((&explained["rule"], &explained["line"]), (&"one.example.com".into(), &1.into()), "{explained}");
    assert!(explained["file"].as_str().unwrap().starts_with("https://127.0.0.1:"));

    for (response, why) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n<!doctype html><html>404\n\n", "web page"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntwo.example.com\n", "cut short"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ntwo.example.com\n", "cut short"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n# empty\n", "no rule any more"),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", "not followed"),
    ] {
        publisher.say("/list.txt", response);
        let ran = served.command(&["lists", "update", "far"]);
        assert!(ran.code == 1 && ran.stdout.contains(why), "{why}: {ran:?}");
        assert!(is_blocked(&served, "one.example.com"), "{why}");
    }
    assert_eq!(served.command(&["lists", "status"]).code, 1);
    assert_eq!(readiness(&served).trim(), "ready");
    let page = served.get("/metrics");
    for (result, count) in [("new", 1), ("unchanged", 1), ("refused", 1), ("held", 1), ("failed", 4)] {
        let series = format!("lachan_list_fetch_total{{list=\"far\",result=\"{result}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&*series)?.parse::<u64>().ok());
        assert!(value.is_some_and(|value| value >= count), "{series}: {value:?}");
    }
    assert_eq!(served.command(&["lists", "update", "near"]).code, 1);

    // Nobody publishes any more, and the power goes.
    drop(publisher);
    let directory = served.kill();
    let config = crate::harness::resolver::config_path(directory.path());
    let offline = ["explain", "one.example.com", "--offline", "-c", config.to_str().unwrap()];
    let told = crate::harness::process::run(&offline);
    assert!(told.stdout.contains("verdict    block"), "{told:?}");
    let told = crate::harness::process::run(&["check", "-c", config.to_str().unwrap()]);
    assert!(told.code == 0 && told.stdout.contains("is fetched when the resolver runs"), "{told:?}");
    let served = Served::start_in(directory);
    assert!(is_blocked(&served, "one.example.com"), "{}", served.log());
    assert_eq!(readiness(&served).trim(), "ready");
    drop(upstream);
}

#[test]
fn a_lists_host_is_resolved_by_our_own_upstreams_and_may_not_be_private_unasked() {
    let publisher = Publisher::start(&["lists.example"]);
    publisher.publish("/list.txt", Some("one.example.com\n"));
    let (upstream, served) = serve(&publisher, "lists.example", "allow_private = true");
    wait_for("the list", || is_blocked(&served, "one.example.com").then_some(()));
    assert!(upstream.count("lists.example", T::A) > 0, "{:?}", upstream.log());
    drop(served);

    let (_upstream, served) = serve(&publisher, "lists.example", "required = false");
    let refusal = "lists.example is at 127.0.0.1, which is no address of the public internet";
    wait_for("a refusal", || served.status()["lists"][0]["error"].as_str().filter(|e| e.contains(refusal)).map(|_| ()));
    assert!(!is_blocked(&served, "one.example.com"));
    assert_eq!(readiness(&served).trim(), "ready", "a list that is not required keeps nobody waiting");
}

#[test]
fn a_pinned_sum_is_kept_to() {
    let publisher = Publisher::start(&["127.0.0.1"]);
    publisher.publish("/list.txt", Some("one.example.com\n"));
    let pinned = format!("allow_private = true\nsha256 = \"{}\"", "0".repeat(64));
    let (_upstream, served) = serve(&publisher, "127.0.0.1", &pinned);
    let ran = served.command(&["lists", "update"]);
    assert!(ran.code == 1 && ran.stdout.contains("`sha256` pins 0000"), "{ran:?}");
    assert!(!is_blocked(&served, "one.example.com"));
}

#[test]
fn many_lists_come_two_at_a_time_and_files_join_directories() {
    let publisher = Publisher::start(&["127.0.0.1"]);
    let far = (0..8).map(|number| format!("a{number}"));
    let names = far.chain(["b".to_owned(), "c".to_owned()]);
    let zone: String = names.map(|name| format!("{name}.example.com. 300 IN A 192.0.2.1\n")).collect();
    let upstream = Upstream::start(&zone);
    let port = publisher.address.port();
    let mut config = "upstream_ca_file = \"ca.pem\"\n".to_owned();
    for number in 0..8 {
        publisher.publish(&format!("/{number}"), Some(&format!("a{number}.example.com\n")));
        config += &format!(
            "[list.far{number}]\ncategory = \"malware\"\nurl = \"https://127.0.0.1:{port}/{number}\"\nallow_private = true\n"
        );
    }
    config += "[list.near]\ncategory = \"malware\"\nfile = \"lists/*.txt\"\n";
    let directory = tempfile::tempdir().unwrap();
    publisher.write_ca(&directory.path().join("ca.pem"));
    std::fs::create_dir(directory.path().join("lists")).unwrap();
    let files = Files { config: with_upstream(&config, upstream.v4), files: &[("lists/b.txt", "b.example.com\n")] };
    crate::harness::resolver::write_files(directory.path(), &files);
    let served = Served::start_in(directory);
    assert!(is_blocked(&served, "b.example.com"));
    for number in 0..8 {
        wait_for("a list", || is_blocked(&served, &format!("a{number}.example.com")).then_some(()));
    }
    wait_for("all of them", || (readiness(&served).trim() == "ready").then_some(()));
    assert_eq!(publisher.asked().len(), 8, "{:?}", publisher.asked());
    assert!(publisher.most_at_once() <= 2, "{}", publisher.most_at_once());
    served.write("lists/c.txt", "# another\nc.example.com\n");
    wait_for("a file that joined", || is_blocked(&served, "c.example.com").then_some(()));
    let explained = served.command(&["explain", "c.example.com"]).stdout;
    assert!(explained.contains("lists/c.txt:2"), "{explained}");
    std::fs::remove_file(served.directory.path().join("lists/c.txt")).unwrap();
    wait_for("a file that left", || (!is_blocked(&served, "c.example.com")).then_some(()));
    assert!(is_blocked(&served, "b.example.com"));
}
