//! The forwarder against small upstreams in process: each does one thing, on 127.0.0.1 and a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ask, Failure, Forwarder, ForwarderOptions, LastResort, Reply};
use crate::engine::limits::{UNPROVEN_SECS_MAX, UPSTREAM_LAST_RESORT_MAX};
use crate::engine::name::Name;
use crate::engine::policy::{Permit, Purpose};
use crate::engine::query::{CLASS_IN, Question, RecordType};
use crate::engine::upstream::{Fallback, GroupId, Host, Routes, Server, UpstreamTable, UpstreamTransport};

mod fake;
mod streams;

use fake::{Behaviour, Log, answer, counted, udp};

/// Tests ask for themselves.
fn leave() -> Permit {
    Permit::internal(Purpose::Probe)
}

fn ask(qname: &str) -> Ask {
    let question = Question { qname: Name::from_text(qname).unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
    Ask { dnssec_ok: true, ..Ask::plain(question) }
}

fn server(transport: UpstreamTransport, address: SocketAddr, tls_name: Option<&str>) -> Server {
    let path = if transport == UpstreamTransport::Https { "/dns-query".into() } else { String::new() };
    Server { transport, host: Host::Address(address), tls_name: tls_name.map(str::to_owned), path }
}

fn table(tier: u8, servers: Vec<Server>) -> UpstreamTable {
    UpstreamTable { zones: vec![Name::ROOT], servers, tier, fallback: Fallback::None, trust_ad: false }
}

fn forwarder_of(tables: &[UpstreamTable], options: ForwarderOptions) -> Forwarder {
    Forwarder::new(Arc::new(Routes::new(tables)), options, None).unwrap()
}

fn plain(addresses: &[SocketAddr]) -> Forwarder {
    let servers = addresses.iter().map(|address| server(UpstreamTransport::Udp, *address, None)).collect();
    forwarder_of(&[table(1, servers)], ForwarderOptions::default())
}

async fn send(forwarder: &Forwarder, qname: &str) -> Result<Reply, Failure> {
    let deadline = Instant::now() + Duration::from_millis(4_500);
    forwarder.ask(&leave(), GroupId(0), &ask(qname), deadline).await
}

/// The last octet of the address in an answer: our fakes sign their answers with it.
fn signed(reply: &Reply) -> u8 {
    *reply.answer.records().last().unwrap().rdata.last().unwrap()
}

#[tokio::test]
async fn a_question_goes_up_as_asked_and_the_answer_comes_back_whole() {
    let log = Log::default();
    let forwarder = plain(&[udp(log.clone(), |query| answer(query, 1)).await]);
    let reply = send(&forwarder, "www.example.com").await.unwrap();
    assert_eq!(signed(&reply), 1);
    assert!(reply.trust_ad, "loopback");
    let query = &log.queries()[0];
    // RD and AD set, no CD; one question; an OPT of 1232 with DO and no options.
    assert_eq!(query[2..12], [0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(query[12..], *b"\x03www\x07example\x03com\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0");
    let status = &forwarder.status()[0];
    assert_eq!((status.queries, status.answers, status.errors), (1, 1, 0));
    assert!(status.rtt.is_some());
}

#[tokio::test]
async fn what_a_bad_upstream_says_makes_the_next_one_answer() {
    for behaviour in [
        Behaviour::Rcode(2),
        Behaviour::Rcode(5),
        Behaviour::Rcode(1),
        Behaviour::QrZero,
        Behaviour::HeaderOnly(0),
        Behaviour::HeaderOnly(3),
        Behaviour::HeaderOnly(5),
        Behaviour::Malformed,
    ] {
        let bad = udp(Log::default(), move |query| behaviour.apply(query)).await;
        let good = udp(Log::default(), |query| answer(query, 2)).await;
        let reply = send(&plain(&[bad, good]), "www.example.com").await.unwrap();
        assert_eq!(signed(&reply), 2, "{behaviour:?}");
    }
}

#[tokio::test]
async fn when_all_fail_the_last_answer_is_kept() {
    let bad = udp(Log::default(), |query| Behaviour::Rcode(5).apply(query)).await;
    let failure = send(&plain(&[bad]), "www.example.com").await.unwrap_err();
    let Failure::AllFailed { last: Some(last) } = failure else { panic!("{failure:?}") };
    assert_eq!(last.rcode.0, 5);
    assert_eq!(send(&plain(&[]), "a.example").await.unwrap_err(), Failure::NoServers);
}

#[tokio::test]
async fn nobody_listening_is_known_at_once() {
    let closed = fake::closed_port().await;
    let good = udp(Log::default(), |query| answer(query, 2)).await;
    let forwarder = plain(&[closed, good]);
    assert_eq!(signed(&send(&forwarder, "www.example.com").await.unwrap()), 2);
    assert_eq!(forwarder.status()[0].errors, 1);
    assert!(forwarder.status()[0].last_error.is_some());
    let failure = send(&plain(&[closed]), "www.example.com").await.unwrap_err();
    assert_eq!(failure, Failure::AllFailed { last: None });
}

#[tokio::test(start_paused = true)]
async fn silence_makes_the_next_one_answer_and_ends_in_time() {
    let silent = udp(Log::default(), |_| None).await;
    // A forged question is no answer either: it is passed over like silence.
    let forger = udp(Log::default(), |query| Behaviour::OtherQuestion.apply(query)).await;
    for dead in [silent, forger] {
        let good = udp(Log::default(), |query| answer(query, 2)).await;
        let forwarder = plain(&[dead, good]);
        assert_eq!(signed(&send(&forwarder, "www.example.com").await.unwrap()), 2);
        assert_eq!(forwarder.status()[0].timeouts, 1);
        let alone = plain(&[dead]);
        let started = Instant::now();
        assert_eq!(send(&alone, "www.example.com").await.unwrap_err(), Failure::Timeout);
        assert!(started.elapsed() <= Duration::from_millis(4_510), "{:?}", started.elapsed());
        assert!(alone.status()[0].queries <= 4);
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_read_is_asked_elsewhere_and_blames_no_server() {
    for behaviour in [Behaviour::Malformed, Behaviour::ShortAddress] {
        let bad = udp(Log::default(), move |query| behaviour.apply(query)).await;
        let good = udp(Log::default(), |query| answer(query, 2)).await;
        let servers = |address| vec![server(UpstreamTransport::Udp, address, None)];
        let forwarder = forwarder_of(&[table(1, servers(bad)), table(2, servers(good))], ForwarderOptions::default());
        for _ in 0..20 {
            assert_eq!(signed(&send(&forwarder, "www.example.com").await.unwrap()), 2, "{behaviour:?}");
        }
        let status = &forwarder.status()[0];
        assert_eq!((status.queries, status.errors, status.is_up), (20, 20, true), "{behaviour:?}");
        let alone = plain(&[bad]);
        for i in 0..16 {
            assert_eq!(send(&alone, &format!("n{i}.example")).await.unwrap_err(), Failure::AllFailed { last: None });
        }
        assert!(!alone.status()[0].is_up, "{behaviour:?}: many names are the server's fault");
    }
}

#[tokio::test]
async fn data_of_a_record_is_not_ours_to_like() {
    // CAA with neither flags nor tag worth the name.
    let upstream = udp(Log::default(), |query| Behaviour::OddCaa.apply(query)).await;
    let mut asked = ask("www.example.com");
    asked.question.qtype = RecordType::CAA;
    let deadline = Instant::now() + Duration::from_millis(4_500);
    let reply = plain(&[upstream]).ask(&leave(), GroupId(0), &asked, deadline).await.unwrap();
    assert_eq!(reply.answer.records().next().unwrap().rdata, [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn names_that_take_long_put_no_server_in_back_off() {
    // Longer than its patience; alone, and beside one that is at once there.
    let slow = fake::udp_after(Duration::from_millis(1_200), 1).await;
    let fast = udp(Log::default(), |query| answer(query, 2)).await;
    for servers in [vec![slow], vec![slow, fast]] {
        let forwarder = Arc::new(plain(&servers));
        let questions = (0..6).map(|i| {
            let forwarder = Arc::clone(&forwarder);
            tokio::spawn(async move { send(&forwarder, &format!("n{i}.example")).await })
        });
        for question in questions.collect::<Vec<_>>() {
            question.await.unwrap().unwrap();
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let status = &forwarder.status()[0];
        assert!(status.timeouts > 0);
        assert_eq!((status.is_up, status.failures_in_a_row), (true, 0), "{status:?}");
    }
}

#[tokio::test]
async fn the_root_group_is_lost_when_all_its_tiers_are_in_back_off() {
    let (closed, other) = (fake::closed_port().await, fake::closed_port().await);
    let good = udp(Log::default(), |query| answer(query, 2)).await;
    let of = |address| vec![server(UpstreamTransport::Udp, address, None)];
    let zone = Name::from_text("school.test").unwrap();
    let own = |address| UpstreamTable { zones: vec![zone.clone()], ..table(1, of(address)) };
    for (case, tables, lost) in [
        ("one tier answers", vec![table(1, of(closed)), table(2, of(good))], false),
        ("both tiers are gone", vec![table(1, of(closed)), table(2, of(other))], true),
        ("another zone answers", vec![table(1, of(closed)), own(good)], true),
        ("no root, its server answers", vec![own(good)], false),
        ("no root, its server is gone", vec![own(closed)], true),
        ("nobody", vec![], false),
    ] {
        let forwarder = forwarder_of(&tables, ForwarderOptions::default());
        assert!(!forwarder.root_group_is_lost(), "{case}: at first");
        let root = forwarder.routes().group_for(&Name::ROOT).or(forwarder.routes().group_for(&zone));
        for i in 0..3 {
            let Some(group) = root else { break };
            let deadline = Instant::now() + Duration::from_millis(4_500);
            let _ = forwarder.ask(&leave(), group, &ask(&format!("n{i}.school.test")), deadline).await;
        }
        assert_eq!(forwarder.root_group_is_lost(), lost, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_silent_is_left_alone_and_later_tried_again() {
    let log = Log::default();
    let dead = udp(log.clone(), |_| None).await;
    let good = udp(Log::default(), |query| answer(query, 2)).await;
    let servers = |address| vec![server(UpstreamTransport::Udp, address, None)];
    let forwarder = forwarder_of(&[table(1, servers(dead)), table(2, servers(good))], ForwarderOptions::default());
    for i in 0..10 {
        assert_eq!(signed(&send(&forwarder, &format!("n{i}.example")).await.unwrap()), 2);
    }
    assert_eq!(log.queries().len(), 4, "three questions, the first of them twice before it went to the next tier");
    assert!(!forwarder.status()[0].is_up);
    tokio::time::advance(Duration::from_millis(1_001)).await;
    send(&forwarder, "probe.example").await.unwrap();
    assert_eq!(log.queries().len(), 5, "one question probes");
    // A new generation keeps what was learnt.
    let routes = Arc::clone(forwarder.routes());
    let next = Forwarder::new(routes, ForwarderOptions::default(), Some(&forwarder)).unwrap();
    assert!(!next.status()[0].is_up);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hoped_of_servers_in_back_off_that_many_wait_for() {
    let dead = udp(Log::default(), |_| None).await;
    let forwarder = Arc::new(plain(&[dead]));
    let is_hopeless = || forwarder.is_hopeless(GroupId(0));
    let crowd =
        || (0..UPSTREAM_LAST_RESORT_MAX).map(|_| LastResort::begin(forwarder.waiting(GroupId(0)))).collect::<Vec<_>>();
    let others = crowd();
    assert!(!is_hopeless(), "nothing is known against the server");
    drop(others);
    while forwarder.status()[0].is_up {
        send(&forwarder, "n.example").await.unwrap_err();
    }
    assert!(!is_hopeless(), "nobody waits");
    let others = crowd();
    assert!(is_hopeless());
    drop(others);
    let last = {
        let forwarder = Arc::clone(&forwarder);
        tokio::spawn(async move { send(&forwarder, "last.example").await })
    };
    tokio::task::yield_now().await;
    assert_eq!(forwarder.waiting(GroupId(0)).load(Ordering::Relaxed), 1, "a question that is asked all the same");
    last.await.unwrap().unwrap_err();
    assert_eq!(forwarder.waiting(GroupId(0)).load(Ordering::Relaxed), 0);
    let others = crowd();
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(!is_hopeless(), "one question is to try whether the server is back");
    drop(others);
}

#[tokio::test]
async fn a_server_that_does_not_know_edns_is_asked_without() {
    for (rcode, header_only) in [(1, false), (4, false), (1, true), (4, true)] {
        let log = Log::default();
        let old = udp(log.clone(), move |query| match (fake::has_edns(query), header_only) {
            (false, _) => answer(query, 1),
            (true, true) => Behaviour::HeaderOnly(rcode).apply(query),
            (true, false) => Behaviour::Rcode(rcode).apply(query),
        })
        .await;
        let forwarder = plain(&[old]);
        let reply = send(&forwarder, "www.example.com").await.unwrap();
        assert_eq!(signed(&reply), 1, "{rcode} {header_only}");
        assert_eq!(log.queries().len(), 2);
        // Signatures were asked for, and could not be had this way: that is not to be remembered for long.
        let ttl = |reply: &Reply| reply.answer.records().next().unwrap().ttl;
        assert_eq!(ttl(&reply), UNPROVEN_SECS_MAX);
        let deadline = Instant::now() + Duration::from_secs(4);
        let unsigned = Ask { dnssec_ok: false, ..ask("www.example.com") };
        assert_eq!(ttl(&forwarder.ask(&leave(), GroupId(0), &unsigned, deadline).await.unwrap()), 256);
    }
}

#[tokio::test]
async fn no_data_is_an_answer_like_any_other() {
    let fast = Log::default();
    let servers = [
        udp(fast.clone(), |query| Behaviour::Rcode(0).apply(query)).await,
        udp(Log::default(), |query| Behaviour::Rcode(3).apply(query)).await,
    ];
    let forwarder = plain(&servers);
    for i in 0..40 {
        send(&forwarder, &format!("n{i}.example")).await.unwrap();
    }
    let status = forwarder.status();
    assert!(status.iter().all(|s| s.is_up && s.failures_in_a_row == 0 && s.refusals + s.errors + s.timeouts == 0));
    assert_eq!(status.iter().map(|s| s.answers).sum::<u64>(), 40);
}

#[tokio::test(start_paused = true)]
async fn the_faster_server_gets_nearly_all_questions() {
    let fast = udp(Log::default(), |query| answer(query, 1)).await;
    let slow = fake::udp_after(Duration::from_millis(60), 2).await;
    let forwarder = plain(&[slow, fast]);
    for i in 0..200 {
        send(&forwarder, &format!("n{i}.example")).await.unwrap();
    }
    let queries: Vec<u64> = forwarder.status().iter().map(|s| s.queries).collect();
    assert!(queries[0] <= 200 / 32 + 10 + 1, "{queries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_becomes_slow_is_hedged_within_the_budget() {
    // Answers at once forty times, then says nothing any more.
    let (log, seen) = (Log::default(), Log::default());
    let first = udp(log.clone(), move |query| if seen.count_up() < 40 { answer(query, 1) } else { None }).await;
    let second = udp(Log::default(), |query| answer(query, 2)).await;
    let forwarder = plain(&[first, second]);
    let mut slowest = Duration::ZERO;
    for i in 0..200 {
        let started = Instant::now();
        send(&forwarder, &format!("n{i}.example")).await.unwrap();
        slowest = slowest.max(started.elapsed());
    }
    let status = forwarder.status();
    let hedges: u64 = status.iter().map(|s| s.hedges).sum();
    assert!((1..=10).contains(&hedges), "at most one in twenty: {hedges}");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    assert!(status[0].queries < 120, "{status:?}");
}

#[tokio::test]
async fn a_zone_of_its_own_falls_back_to_its_parent_only_when_told() {
    let broken = udp(Log::default(), |query| Behaviour::Rcode(2).apply(query)).await;
    let root = udp(Log::default(), |query| answer(query, 2)).await;
    for (fallback, answered) in [(Fallback::Parent, true), (Fallback::None, false)] {
        let zone = Name::from_text("school.test").unwrap();
        let of = |address| vec![server(UpstreamTransport::Udp, address, None)];
        let own = UpstreamTable { zones: vec![zone.clone()], fallback, ..table(1, of(broken)) };
        let forwarder = forwarder_of(&[own, table(1, of(root))], ForwarderOptions::default());
        let group = forwarder.routes().group_for(&zone).unwrap();
        let deadline = Instant::now() + Duration::from_secs(4);
        let outcome = forwarder.ask(&leave(), group, &ask("www.school.test"), deadline).await;
        assert_eq!(outcome.is_ok(), answered, "{fallback:?}");
    }
}

#[tokio::test]
async fn host_names_are_resolved_by_bootstrap_and_never_by_ourselves() {
    let upstream = udp(Log::default(), |query| answer(query, 1)).await;
    let log = Log::default();
    // The bootstrap answers 127.0.0.1 for A and says there is no AAAA.
    let bootstrap =
        udp(
            log.clone(),
            |query| {
                if fake::qtype(query) == 1 { answer(query, 1) } else { Behaviour::Rcode(0).apply(query) }
            },
        )
        .await;
    let host = Host::Name(Name::from_text("dns.example").unwrap(), upstream.port());
    let named = Server { host, ..server(UpstreamTransport::Udp, upstream, None) };
    let options = ForwarderOptions { bootstrap: vec![bootstrap], ..ForwarderOptions::default() };
    let forwarder = forwarder_of(&[table(1, vec![named.clone()])], options.clone());
    for _ in 0..3 {
        assert_eq!(signed(&send(&forwarder, "www.example.com").await.unwrap()), 1);
    }
    assert_eq!(log.queries().len(), 2, "A and AAAA, once");
    let own = vec![SocketAddr::from(([127, 0, 0, 1], upstream.port()))];
    let looping = forwarder_of(&[table(1, vec![named])], ForwarderOptions { own: own.clone(), ..options });
    for _ in 0..5 {
        assert_eq!(send(&looping, "www.example.com").await.unwrap_err(), Failure::Loop);
    }
    let status = &looping.status()[0];
    assert!(!status.is_up && looping.root_group_is_lost(), "a server that is ourselves is no server");
    assert!(status.last_error.as_ref().unwrap().contains("this resolver itself"), "{status:?}");
    let routes = Routes::new(&[table(1, vec![server(UpstreamTransport::Udp, own[0], None)])]);
    let refused = Forwarder::new(Arc::new(routes), ForwarderOptions { own, ..Default::default() }, None);
    assert!(refused.err().unwrap().contains("is this resolver itself"));
}

#[tokio::test]
async fn localhost_is_loopback_and_refused_when_it_is_ourselves() {
    let upstream = udp(Log::default(), |query| answer(query, 1)).await;
    let host = Host::Name(Name::from_text("localhost").unwrap(), upstream.port());
    let named = Server { host, ..server(UpstreamTransport::Udp, upstream, None) };
    // Nobody is asked what it means.
    let bootstrap = vec![fake::closed_port().await];
    let options = ForwarderOptions { bootstrap, ..ForwarderOptions::default() };
    let forwarder = forwarder_of(&[table(1, vec![named.clone()])], options.clone());
    assert_eq!(signed(&send(&forwarder, "www.example.com").await.unwrap()), 1);
    let routes = Arc::new(Routes::new(&[table(1, vec![named])]));
    let refused = Forwarder::new(routes, ForwarderOptions { own: vec![upstream], ..options }, None);
    assert!(refused.err().unwrap().contains("is this resolver itself"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_has_an_error_that_says_so() {
    let silent = udp(Log::default(), |_| None).await;
    let forwarder = plain(&[silent]);
    for n in 0..5 {
        assert_eq!(send(&forwarder, &format!("n{n}.example")).await.unwrap_err(), Failure::Timeout);
    }
    let status = &forwarder.status()[0];
    assert!(!status.is_up);
    let error = status.last_error.as_ref().unwrap();
    assert!(error.starts_with("no answer within ") && error.ends_with(" ms"), "{error}");
}

#[tokio::test]
async fn what_a_bad_server_does_is_told() {
    for behaviour in [Behaviour::Rcode(2), Behaviour::Malformed] {
        let bad = udp(Log::default(), move |query| behaviour.apply(query)).await;
        let forwarder = plain(&[bad]);
        assert!(send(&forwarder, "www.example.com").await.is_err(), "{behaviour:?}");
        let status = &forwarder.status()[0];
        assert!(status.last_error.as_ref().is_some_and(|error| error.starts_with("it answers ")), "{status:?}");
    }
}

#[tokio::test]
async fn many_questions_at_once_are_all_answered() {
    let (count, upstream) = counted().await;
    let forwarder = Arc::new(plain(&[upstream]));
    let questions = (0..200).map(|i| {
        let forwarder = Arc::clone(&forwarder);
        tokio::spawn(async move { send(&forwarder, &format!("n{i}.example")).await })
    });
    for question in questions.collect::<Vec<_>>() {
        question.await.unwrap().unwrap();
    }
    assert!(count.load(std::sync::atomic::Ordering::Relaxed) >= 200);
}
