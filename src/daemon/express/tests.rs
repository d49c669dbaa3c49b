//! What a lane does when its servers have all they may have. They are sockets on loopback that nobody answers at.

use super::*;
use crate::daemon::inflight::Join;
use crate::daemon::test_support::{answer, pending, resolver};

/// One server for `example.com` and one for `example.net`.
struct Trial {
    resolver: Arc<Resolver>,
    misses: Misses,
    servers: [UdpSocket; 2],
    client: UdpSocket,
    now: Instant,
}

impl Trial {
    fn start() -> Trial {
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (servers, client) = ([socket(), socket()], socket());
        let [com, net] = servers.each_ref().map(|server| server.local_addr().unwrap());
        let resolver = resolver(&format!(
            "[listen]\ndns = [\"127.0.0.1:0\"]\nadmin = \"off\"\n\
             [[upstream]]\nzones = [\"example.com\"]\nservers = [\"udp://{com}\"]\n\
             [[upstream]]\nzones = [\"example.net\"]\nservers = [\"udp://{net}\"]\n"
        ));
        Trial { misses: Misses::new(Arc::clone(&resolver)), resolver, servers, client, now: Instant::now() }
    }

    fn start_one(&mut self, qname: &str) -> Started {
        let pending = pending(&self.resolver, qname, self.client.local_addr().unwrap());
        self.misses.start(pending, self.now)
    }

    /// How many were shed for want of room at a server, and how many queries ended as dropped.
    fn shed(&self) -> (u64, u64) {
        let dropped = self.resolver.metrics.outcomes().into_iter().find(|(outcome, _)| *outcome == "dropped");
        let shed = self.resolver.metrics.limit_hits.with_label_values(&["upstream_udp_in_flight_max"]).get();
        (shed, dropped.map_or(0, |(_, count)| count))
    }
}

#[test]
fn the_newest_question_is_shed_while_a_server_has_all_it_may_have() {
    let mut trial = Trial::start();
    for i in 0..UPSTREAM_UDP_IN_FLIGHT_MAX {
        assert!(matches!(trial.start_one(&format!("n{i}.example.com")), Started::Here), "question {i}");
    }
    assert_eq!((trial.misses.under_way.flights, trial.shed()), (UPSTREAM_UDP_IN_FLIGHT_MAX, (0, 0)));

    assert!(
        matches!(trial.start_one("newest.example.com"), Started::Here),
        "the slow lane would wait for the same server"
    );
    assert_eq!((trial.misses.under_way.flights, trial.shed()), (UPSTREAM_UDP_IN_FLIGHT_MAX, (1, 1)));
    assert_eq!(trial.resolver.in_flight(), UPSTREAM_UDP_IN_FLIGHT_MAX, "nobody waits for what was never asked");

    // Another server has room, in the slow lane.
    let Started::Slow(other) = trial.start_one("www.example.net") else { panic!("it is not shed") };
    other.shed();
    assert_eq!(trial.shed(), (1, 2));

    // Whoever asks what is asked already costs the server nothing.
    let other_client = pending(&trial.resolver, "n0.example.com", "127.0.0.2:4000".parse().unwrap());
    assert!(matches!(trial.misses.start(other_client, trial.now), Started::Here));
    assert_eq!((trial.misses.under_way.queries, trial.shed()), (UPSTREAM_UDP_IN_FLIGHT_MAX + 1, (1, 2)));

    // An answer makes room for a question.
    trial.misses.send();
    let mut query = [0; 512];
    trial.servers[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (octets, from) = trial.servers[0].recv_from(&mut query).unwrap();
    trial.servers[0].send_to(&answer(&query[..octets]), from).unwrap();
    let mut outbox = Outbox::new(Asked::Fixed(None));
    trial.misses.wait(&trial.client, trial.now, Duration::from_secs(20));
    trial.misses.take_replies(trial.now, &mut outbox, &mut |_| panic!("nothing is late"), || true);
    assert_eq!(trial.misses.under_way.flights, UPSTREAM_UDP_IN_FLIGHT_MAX - 1);
    assert!(matches!(trial.start_one("next.example.com"), Started::Here));
    assert_eq!((trial.misses.under_way.flights, trial.shed()), (UPSTREAM_UDP_IN_FLIGHT_MAX, (1, 2)));
}

/// What a server was asked, and by whom.
fn take_question(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut query = [0; 512];
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (octets, from) = server.recv_from(&mut query).unwrap();
    (query[..octets].to_vec(), from)
}

/// The slow lane has the question by then; its first message is answered all the same.
#[test]
fn a_late_answer_is_told_to_who_waits_in_the_slow_lane() {
    let mut trial = Trial::start();
    for (qname, is_good) in [("www.example.com", true), ("other.example.com", false)] {
        let waiting = pending(&trial.resolver, qname, trial.client.local_addr().unwrap());
        let key = waiting.plain_need().unwrap().0.clone();
        assert!(matches!(trial.start_one(qname), Started::Here));
        trial.misses.send();
        let (query, from) = take_question(&trial.servers[0]);
        let mut outbox = Outbox::new(Asked::Fixed(None));
        let (mut left, late) = (Vec::new(), trial.now + Duration::from_millis(2_000));
        trial.misses.take_replies(late, &mut outbox, &mut |pending| left.push(pending), || true);
        assert_eq!((left.len(), trial.misses.flights(), trial.misses.is_idle()), (1, 0, false));
        // The slow lane begins.
        let Join::Lead(ticket) = trial.resolver.join_slowly(&key) else { panic!("the lane has left it") };
        let (mut told, asked_by) = (ticket.waiter(), left.pop().unwrap());
        // Another's question is no answer, whatever its id.
        let mut strange = answer(&query);
        strange[13] ^= 1;
        let mut reply = answer(&query);
        if !is_good {
            reply[3] |= 2;
        }
        for reply in [strange, reply] {
            trial.servers[0].send_to(&reply, from).unwrap();
            trial.misses.wait(&trial.client, late, Duration::from_secs(20));
            assert!(!told.has_changed().unwrap());
            trial.misses.take_replies(late, &mut outbox, &mut |_| panic!("nothing is late"), || true);
        }
        let found = told.borrow_and_update().clone();
        match (is_good, found) {
            (true, Some(Fetched::Answer { answer, .. })) => assert_eq!(answer.rcode, Rcode::NOERROR),
            (false, None) => {}
            (_, found) => panic!("{qname}: {found:?}"),
        }
        assert!(trial.misses.is_idle());
        ticket.finish(|| Fetched::Abandoned);
        asked_by.shed();
        waiting.shed();
    }
}

/// A server that was never heard of is given longer; one question's patience is not another's.
#[test]
fn a_question_with_less_patience_than_one_before_it_goes_on_in_its_own_time() {
    let mut trial = Trial::start();
    for qname in ["before.example.com", "answered.example.com"] {
        assert!(matches!(trial.start_one(qname), Started::Here));
    }
    trial.misses.send();
    take_question(&trial.servers[0]);
    let (query, from) = take_question(&trial.servers[0]);
    trial.servers[0].send_to(&answer(&query), from).unwrap();
    let (mut outbox, mut left) = (Outbox::new(Asked::Fixed(None)), Vec::new());
    trial.misses.wait(&trial.client, trial.now, Duration::from_secs(20));
    trial.misses.take_replies(trial.now, &mut outbox, &mut |_| panic!("nothing is late"), || true);
    assert!(matches!(trial.start_one("after.example.com"), Started::Here));
    for (millis, expected) in
        [(399, None), (400, Some("after.example.com.")), (799, None), (800, Some("before.example.com."))]
    {
        let now = trial.now + Duration::from_millis(millis);
        trial.misses.take_replies(now, &mut outbox, &mut |pending| left.push(pending), || true);
        let late = left.pop().map(|pending| {
            let qname = pending.question().qname.to_string();
            pending.shed();
            qname
        });
        assert_eq!(late.as_deref(), expected.map(|qname| qname.trim_end_matches('.')), "after {millis} ms");
    }
}

#[test]
fn a_late_answer_is_waited_for_as_long_as_its_client_waits() {
    let mut trial = Trial::start();
    assert!(matches!(trial.start_one("www.example.com"), Started::Here));
    trial.misses.send();
    let mut outbox = Outbox::new(Asked::Fixed(None));
    let mut at = |millis: u64, left: &mut Vec<Box<Pending>>| {
        let now = trial.now + Duration::from_millis(millis);
        trial.misses.take_replies(now, &mut outbox, &mut |pending| left.push(pending), || true);
        trial.misses.is_idle()
    };
    let mut left = Vec::new();
    assert!(!at(2_000, &mut left));
    assert!(!at(QUERY_DEADLINE.as_millis() as u64 - 1, &mut left));
    assert!(at(QUERY_DEADLINE.as_millis() as u64, &mut left));
    assert_eq!(left.len(), 1);
    left.pop().unwrap().shed();
}
