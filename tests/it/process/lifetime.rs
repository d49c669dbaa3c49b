//! From start to end: banner, ports, reload, drain, sudden death.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::rr::RecordType;

use super::{config, serve};
use crate::harness::client::Ask;
use crate::harness::process::{Served, lachan, ran, with_upstream};
use crate::harness::resolver::{Files, config_path, write_files};
use crate::harness::upstream::Upstream;
use crate::harness::wait_for;

/// What a process logs whose drain came to an end before what was in flight did.
const CUT_OFF: &str = "tasks were still at work";
const ZONE: &str = "one.example. 300 IN A 192.0.2.1\ntwo.example. 300 IN A 192.0.2.2\n";

fn rcode(served: &Served, name: &str) -> u16 {
    let [v4, v6] = [served.v4, served.v6].map(|server| Ask::new(name, RecordType::A).send(server).rcode());
    assert_eq!(v4, v6, "{name}: both families say the same");
    v4
}

#[test]
fn the_banner_says_what_runs() {
    let (upstream, served) = serve(ZONE, "one.example\n");
    for part in ["Lá Chắn", "1 rule in 1 list", "SafeSearch for ", &upstream.v4.to_string(), &served.v6.to_string()]
    {
        assert!(served.banner.contains(part), "no {part:?} in:\n{}", served.banner);
    }
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (3, 0));
}

#[test]
fn sighup_puts_a_new_line_in_force_and_a_broken_configuration_changes_nothing() {
    let (upstream, served) = serve(ZONE, "one.example\n");
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (3, 0));
    assert_eq!(served.status()["generation"], 1);

    served.write("mine.txt", "one.example\ntwo.example\n");
    served.reload("ok");
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (3, 3));

    served.write("lachan.toml", &config(&upstream).replace("category =", "categroy ="));
    let reload = served.reload("failed");
    let errors = reload["errors"].to_string();
    for part in ["lachan.toml:2", "categroy", "category"] {
        assert!(errors.contains(part), "no {part:?} in {errors}");
    }
    let generation = served.status()["generation"].as_u64().unwrap();
    assert!(generation >= 2, "{generation}");
    served.reload("failed");
    assert_eq!(served.status()["generation"], generation, "nothing changed");
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (3, 3));
    let told = served.command(&["lists", "status"]);
    assert_eq!(told.code, 1, "a failed reload is no good state: {told:?}");
    assert!(told.stdout.contains("categroy"), "{}", told.stdout);

    served.write("lachan.toml", &config(&upstream));
    served.reload("ok");
}

#[test]
fn a_broken_list_keeps_its_last_good_version_and_says_why() {
    let (_upstream, served) = serve(ZONE, "one.example\n");
    served.write("mine.txt", "<!DOCTYPE html>\n<html><body>Service Unavailable</body></html>\n");
    let reload = served.reload("partial");
    let errors = reload["errors"].to_string();
    for part in ["mine", "mine.txt", "last good version"] {
        assert!(errors.contains(part), "no {part:?} in {errors}");
    }
    assert_eq!((rcode(&served, "one.example"), rcode(&served, "two.example")), (3, 0));
    let told = served.command(&["lists", "status"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stdout.contains("last good version"), "{}", told.stdout);

    std::fs::remove_file(served.directory.path().join("mine.txt")).unwrap();
    served.reload("partial");
    assert_eq!(rcode(&served, "one.example"), 3);
}

#[test]
fn a_file_is_taken_up_without_a_signal_even_where_something_always_changes() {
    let (_upstream, served) = serve(ZONE, "one.example\n");
    assert_eq!(rcode(&served, "two.example"), 0);
    served.write("mine.txt", "one.example\ntwo.example\n");
    wait_for("the watched list to be read", || {
        served.write("busy.log", "something\n");
        // One family: the reload may come between two questions.
        (Ask::new("two.example", RecordType::A).send(served.v4).rcode() == 3).then_some(())
    });
}

#[test]
fn after_a_power_cut_it_starts_at_once_on_the_same_ports() {
    let (upstream, served) = serve(ZONE, "one.example\n");
    let (v4, v6, admin) = (served.v4, served.v6, served.admin);
    // Connections that are open when it dies must not keep the port.
    let mut open = Ask::new("one.example", RecordType::A).connect(v4);
    open.exchange(&Ask::new("one.example", RecordType::A).encode());
    let directory = served.kill();
    let fixed = config(&upstream)
        .replace("127.0.0.1:0\", \"[::1]:0", &format!("{v4}\", \"{v6}"))
        .replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{admin}\""));
    write_files(directory.path(), &Files { config: fixed, files: &[] });
    let again = Served::start_in(directory);
    assert_eq!((again.v4, again.v6, again.admin), (v4, v6, admin));
    assert_eq!((rcode(&again, "one.example"), rcode(&again, "two.example")), (3, 0));
}

#[test]
fn sigterm_answers_what_is_in_flight_and_ends() {
    let zone = "slow.example. 300 IN A 192.0.2.9\n;! slow.example. delay=1000\n";
    let (upstream, mut served) = serve(zone, "one.example\n");
    let asking: Vec<_> = [(served.v4, false), (served.v6, true)]
        .map(|(server, tcp)| {
            std::thread::spawn(move || {
                Ask { tcp, dnssec_ok: tcp, ..Ask::new("slow.example", RecordType::A) }.send(server).answers()
            })
        })
        .into();
    // Two keys, for DO differs, so upstream sees both.
    wait_for("both to be in flight", || (upstream.count("slow.example", RecordType::A) == 2).then_some(()));
    served.signal("-TERM");
    for asked in asking {
        assert_eq!(asked.join().expect("what is in flight is answered"), ["slow.example A 192.0.2.9"]);
    }
    let status = wait_for("the end", || served.exited());
    assert!(status.success(), "{status}");
    assert!(!served.log().contains(CUT_OFF), "it ends when the last answer is sent: {}", served.log());
}

#[test]
fn sigterm_cuts_off_what_is_in_flight_when_the_drain_may_take_no_time() {
    let upstream = Upstream::start("silent.example. 300 IN A 192.0.2.9\n;! silent.example. silent\n");
    let config = format!("drain_timeout = 0\n{}", config(&upstream));
    let mut served = Served::start(&Files { config, files: &[("mine.txt", "one.example\n")] });
    let mut stream = Ask::new("silent.example", RecordType::A).connect(served.v4);
    stream.send(&Ask::new("silent.example", RecordType::A).encode());
    wait_for("it to be in flight", || (upstream.count("silent.example", RecordType::A) > 0).then_some(()));
    served.signal("-TERM");
    let status = wait_for("the end", || served.exited());
    assert!(status.success(), "{status}");
    assert!(served.log().contains(CUT_OFF), "{}", served.log());
}

#[test]
fn a_second_instance_on_the_same_port_fails_and_names_it() {
    let (upstream, served) = serve(ZONE, "one.example\n");
    for (address, taken) in [(served.v4, "127.0.0.1:0"), (served.v6, "[::1]:0")] {
        let directory = tempfile::tempdir().unwrap();
        let second = config(&upstream).replacen(taken, &address.to_string(), 1);
        write_files(directory.path(), &Files { config: second, files: &[("mine.txt", "one.example\n")] });
        let path = config_path(directory.path());
        let told = ran(&mut lachan(&["serve", "-c", path.to_str().unwrap()]));
        assert_eq!(told.code, 1, "{told:?}");
        assert!(told.stderr.contains(&format!("cannot listen on {address}")), "{}", told.stderr);
        assert!(told.stderr.contains("in use"), "{}", told.stderr);
    }
}

#[test]
fn a_new_version_takes_over_and_no_question_is_lost() {
    let (upstream, mut old) = serve(ZONE, "one.example\n");
    let directory = tempfile::tempdir().unwrap();
    // Its admin listener is another; that of the old one is free only when it is gone.
    let beside = [("127.0.0.1:0", old.v4), ("[::1]:0", old.v6)]
        .into_iter()
        .fold(config(&upstream), |config, (any, taken)| config.replacen(any, &taken.to_string(), 1));
    let files = [("mine.txt", "one.example\ntwo.example\n")];
    write_files(directory.path(), &Files { config: beside, files: &files });

    let (address, stop) = (old.v4, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut asked, mut rcodes) = (0, [0; 16]);
            while !stop.load(Ordering::Relaxed) || asked < 1_000 {
                // A socket of its own for each: the kernel shares them out by where they come from.
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                socket.send_to(&question("two.example", asked), address).unwrap();
                let mut answer = [0; 512];
                let (len, _) = socket.recv_from(&mut answer).unwrap_or_else(|why| panic!("question {asked}: {why}"));
                assert!(len > 12, "an answer is longer than its head");
                assert_eq!(answer[..2], asked.to_be_bytes());
                rcodes[usize::from(answer[3] & 15)] += 1;
                asked += 1;
            }
            rcodes
        });
        let new = Served::start_with(directory, &["--take-over"]);
        assert_eq!((new.v4, new.v6), (old.v4, old.v6));
        wait_for("the new one to be asked", || (new.metric_sum("lachan_queries_total") > 20).then_some(()));
        old.signal("-TERM");
        let status = wait_for("the old one's end", || old.exited());
        assert!(status.success(), "{status}");
        stop.store(true, Ordering::Relaxed);
        let rcodes = asking.join().expect("every question is answered");
        assert!(rcodes[0] > 0 && rcodes[3] > 0, "both answered: {rcodes:?}");
        assert_eq!(rcode(&new, "two.example"), 3);
    });
}

/// A question for an address.
fn question(name: &str, id: u16) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    let head = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    head.into_iter().chain(labels).chain([0, 0, 1, 0, 1]).collect()
}

#[test]
fn a_required_list_that_never_was_good_stops_the_start_and_another_does_not() {
    let upstream = Upstream::start(ZONE);
    let list = "[list.gone]\ncategory = \"adult\"\nfile = \"gone.txt\"\n";
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &Files { config: with_upstream(list, upstream.v4), files: &[] });
    let told = ran(&mut lachan(&["-c", config_path(directory.path()).to_str().unwrap()]));
    assert_eq!(told.code, 1);
    assert!(told.stderr.contains("gone.txt"), "{}", told.stderr);

    let config = with_upstream(&format!("{list}required = false\n"), upstream.v4);
    let served = Served::start(&Files { config, files: &[] });
    assert_eq!(rcode(&served, "one.example"), 0);
    assert!(served.banner.contains("gone.txt"), "{}", served.banner);
}
