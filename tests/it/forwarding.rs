//! What many clients share, and what no client may take from another.

use std::io::Read;
use std::sync::{Arc, Barrier};

use hickory_proto::rr::RecordType;

use crate::harness::client::Ask;
use crate::harness::resolver::{Files, InProcess, with_upstream};
use crate::harness::upstream::Upstream;
use crate::harness::wait_for;

#[test]
fn identical_questions_in_flight_share_one_exchange_and_each_client_its_own_verdict() {
    const CLIENTS: usize = 24;
    let upstream = Upstream::start(
        "slow.example. 300 IN CNAME game.example.\ngame.example. 300 IN A 192.0.2.1\n;! slow.example. delay=700\n",
    );
    let config = "[list.games]\ncategory = \"games\"\nfile = \"games.txt\"\n[profile.school]\nblock = [\"games\"]\n\
                  [client.school]\nnetworks = [\"127.0.0.128/25\"]\nprofile = \"school\"\n";
    let files = Files { config: with_upstream(config, upstream.v4), files: &[("games.txt", "game.example\n")] };
    let resolver = InProcess::start(&files);
    let together = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|i| {
            let (together, server) = (Arc::clone(&together), resolver.v4);
            std::thread::spawn(move || {
                let is_school = i % 2 == 0;
                let from = format!("127.0.0.{}", if is_school { 130 + i } else { 10 + i });
                let ask = Ask {
                    from: Some(from.parse().unwrap()),
                    tcp: i % 3 == 0,
                    ..Ask::new("slow.example", RecordType::A)
                };
                together.wait();
                (is_school, ask.send(server).rcode())
            })
        })
        .collect();
    for client in clients {
        let (is_school, rcode) = client.join().expect("every client has its answer");
        assert_eq!(rcode, if is_school { 3 } else { 0 }, "school: {is_school}");
    }
    assert_eq!(upstream.count("slow.example", RecordType::A), 1);
}

#[test]
fn a_lost_upstream_leaves_stale_answers_which_policy_still_judges() {
    let upstream = Upstream::start(
        "short.example. 1 IN A 192.0.2.1\ncover.example. 1 IN CNAME listed.example.\nlisted.example. 1 IN A 192.0.2.2\n",
    );
    let config = "[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n";
    let files = Files { config: with_upstream(config, upstream.v4), files: &[("mine.txt", "other.example\n")] };
    let resolver = InProcess::start(&files);
    let ask = |name: &str| Ask::new(name, RecordType::A).send(resolver.v4);
    for name in ["short.example", "cover.example"] {
        assert_eq!((ask(name).rcode(), ask(name).ede()), (0, vec![]), "{name}");
    }
    drop(upstream);
    let stale = wait_for("the answer to be stale", || Some(ask("short.example")).filter(|told| !told.ede().is_empty()));
    assert_eq!((stale.rcode(), stale.ede()[0].0), (0, 3), "RFC 8914: Stale Answer");
    assert_eq!(stale.answers(), ["short.example A 192.0.2.1"]);
    assert_eq!(stale.message.answers[0].ttl, 30, "RFC 8767 §4");
    // That upstream is lost does not take the answer from those who ask after.
    for _ in 0..3 {
        assert_eq!((ask("short.example").answers(), ask("short.example").ede()), (stale.answers(), stale.ede()));
    }
    // Nothing was cached of this one.
    assert_eq!(ask("never.example").rcode(), 2);

    resolver.write("mine.txt", "listed.example\n");
    assert_eq!(resolver.reload().result, "ok");
    let judged = ask("cover.example");
    assert_eq!((judged.rcode(), judged.ede()[0].0, judged.answers()), (3, 15, vec![]));
}

#[test]
fn one_client_cannot_take_all_tcp_connections() {
    let upstream = Upstream::start("one.example. 300 IN A 192.0.2.1\n");
    let resolver = InProcess::start(&Files { config: with_upstream("", upstream.v4), files: &[] });
    let max = lachan::engine::limits::TCP_CONNECTIONS_PER_CLIENT_MAX;
    let ask = Ask { tcp: true, ..Ask::new("localhost", RecordType::A) };
    let mut open: Vec<_> = (0..max).map(|_| ask.connect(resolver.v4)).collect();
    for connection in &mut open {
        assert_eq!(connection.exchange(&ask.encode())[3] & 0xf, 0);
    }
    let mut refused = ask.connect(resolver.v4);
    assert_eq!(refused.stream().read(&mut [0]).unwrap(), 0, "one more is closed at once");
    // Others are not affected, nor is the client itself by UDP.
    let other = Ask { from: Some("127.0.0.2".parse().unwrap()), ..ask.clone() };
    assert_eq!(other.send(resolver.v4).rcode(), 0);
    assert_eq!(Ask { tcp: false, ..ask.clone() }.send(resolver.v4).rcode(), 0);
    assert_eq!(ask.send(resolver.v6).rcode(), 0);
    drop(open);
    wait_for("a place to be free again", || {
        let mut again = ask.connect(resolver.v4);
        again.try_send(&ask.encode()).then(|| again.receive())?
    });
    let page = resolver.resolver.metrics.encode();
    assert!(page.contains("limit=\"tcp_connections_per_client_max\""), "the bound is counted");
}
