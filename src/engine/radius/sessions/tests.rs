//! Sequences of packets as tables: what was told in which order, and whose each address is then.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::*;
use crate::engine::subscribers::Writer;

const NOW: u32 = 1_800_000_000;

/// A table that is fed with events written as words.
struct Line {
    sessions: Sessions,
    table: Arc<Table>,
    writer: Writer,
    last: Effect,
}

impl Line {
    fn new() -> Line {
        let (table, writer) = Table::new((1, 1));
        Line { sessions: Sessions::default(), table, writer, last: Effect::Nothing }
    }

    /// `start SESSION NAS AT [ADDRESS …]`, `interim …`, `stop …`, `on NAS AT`, `other …`. A session's token is its number, or `@NUMBER`;
    /// `-` before an address: ports of it are given back; `~`: it is the block around the address; `=NAME`: the profile.
    fn tell(&mut self, event: &str) {
        let words: Vec<&str> = event.split_whitespace().collect();
        let (status, session, rest) = match words[0] {
            "on" => (Status::AllOff, "", &words[1..]),
            "start" => (Status::Start, words[1], &words[2..]),
            "interim" => (Status::Interim, words[1], &words[2..]),
            "stop" => (Status::Stop, words[1], &words[2..]),
            _ => (Status::Other, words[1], &words[2..]),
        };
        let at: i64 = rest[1].parse().unwrap();
        let told = Told {
            identifier: 0,
            status,
            nas: [Some(rest[0].as_bytes()), None, None],
            session: session.as_bytes(),
            circuit: None,
            port: None,
            user: None,
            profile: None,
            at: Some(u32::try_from(i64::from(NOW) + at).unwrap()),
            delay: 0,
            places: rest[2..].iter().filter(|word| !word.starts_with(['=', '@'])).map(|word| place(word)).collect(),
            has_too_many: false,
        };
        let said = |mark: char| rest.iter().find_map(|word| word.strip_prefix(mark));
        let number = said('@').unwrap_or(session.trim_matches(|c: char| !c.is_ascii_digit()));
        let line = number.parse().ok().map(Token);
        let profile = said('=').and_then(|name| self.table.intern(name));
        let now = NOW + 1_000;
        let report = Report { told: &told, realm: Realm(0), token: line, profile, now, confirmed_for: 1_200 };
        let mut changes = Vec::new();
        self.last = self.sessions.take(&report, &self.table, &mut changes);
        for change in &changes {
            self.writer.apply(change).unwrap();
        }
    }

    /// Whose an address is: the number of a session's token.
    fn holder(&self, source: &str) -> Option<u128> {
        let source = source.parse().unwrap_or_else(|_| SocketAddr::new(source.parse::<IpAddr>().unwrap(), 9));
        self.table.find(Realm(0), source).and_then(|found| found.token).map(|token| token.0)
    }
}

fn place(word: &str) -> (Kind, Place) {
    if let Some((address, ports)) = word.split_once('#') {
        let (from, to) = ports.split_once('-').unwrap();
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let back = address.strip_prefix('-');
        let address = back.unwrap_or(address).parse().unwrap();
        return (
            Kind::Ports,
            if back.is_some() { Place::PortsBack(address, from, to) } else { Place::Ports(address, from, to) },
        );
    }
    if let Some(block) = word.strip_prefix('~') {
        return (Kind::FramedNet, Place::Net(block.parse().unwrap()));
    }
    let net: ipnet::IpNet = word.parse().unwrap();
    (if net.addr().is_ipv4() { Kind::FramedAddress } else { Kind::DelegatedPrefix }, Place::Net(net))
}

fn check(events: &str, expected: &str) {
    let mut line = Line::new();
    for event in events.split(';') {
        line.tell(event);
    }
    for place in expected.split(';').map(str::trim) {
        let (source, holder) = place.split_once(' ').unwrap();
        assert_eq!(line.holder(source), holder.parse().ok(), "{events}: {source}");
    }
}

#[test]
fn a_place_is_the_latest_sessions() {
    const A: &str = "10.0.0.1/32";
    for (events, holder) in [
        (format!("start 1 n 10 {A}"), "1"),
        (format!("start 1 n 10 {A}; stop 1 n 20"), "-"),
        // The same address, the next session; the Stop of the one before is late, doubled, or both.
        (format!("start 1 n 10 {A}; start 2 n 30 {A}; stop 1 n 20"), "2"),
        (format!("start 1 n 10 {A}; start 2 n 30 {A}; stop 1 n 20 {A}; stop 1 n 20 {A}"), "2"),
        (format!("start 2 n 30 {A}; start 1 n 10 {A}; stop 1 n 20 {A}"), "2"),
        (format!("stop 1 n 20 {A}; start 2 n 30 {A}; start 1 n 10 {A}"), "2"),
        (format!("stop 1 n 20 {A}; start 1 n 10 {A}"), "-"),
        (format!("stop 1 n 20 {A}; interim 1 n 15 {A}"), "-"),
        // A NAS that uses its identifiers again.
        (format!("start 1 n 10 {A}; stop 1 n 20; start 1 n 30 {A}"), "1"),
        (format!("start 1 n 30 {A}; stop 1 n 20"), "1"),
        (format!("start 1 n 30 {A}; interim 1 n 20 10.0.0.2/32; stop 1 n 25"), "1"),
        // An Interim that does not tell all.
        (format!("start 1 n 10 {A}; interim 1 n 20"), "1"),
        (format!("interim 1 n 20; start 1 n 10 {A}"), "1"),
        (format!("interim 1 n 20 {A}"), "1"),
        // One that tells of another address.
        (format!("start 1 n 10 {A}; interim 1 n 20 10.0.0.2/32"), "-"),
        (format!("interim 1 n 20 10.0.0.2/32; start 1 n 10 {A}"), "-"),
        // The NAS begins anew.
        (format!("start 1 n 10 {A}; on n 20"), "-"),
        (format!("on n 20; start 1 n 10 {A}"), "-"),
        (format!("start 1 n 30 {A}; on n 20"), "1"),
        (format!("start 1 other 10 {A}; on n 20"), "1"),
        (format!("start 1 n 10 {A}; on n 20; stop 1 n 15; start 2 n 30 {A}; interim 1 n 12 {A}"), "2"),
        // Two access servers with sessions of the same identifier.
        (format!("start 1 n 10 10.0.0.2/32; start 1 m 10 {A}; stop 1 n 20"), "1"),
        (format!("other 1 n 10 {A}"), "-"),
    ] {
        check(&events, &format!("10.0.0.1 {holder}"));
    }
}

/// An access server that has no time yet, as after a start, tells of 1970 or of a year to come.
#[test]
fn a_time_that_cannot_be_counts_as_now() {
    const A: &str = "10.0.0.1/32";
    let years = 1_700_000_000;
    for (events, holder, astray) in [
        (format!("on n 34560000; start 1 n 1000 {A}"), "1", 1),
        (format!("start 1 n 34560000 {A}; stop 1 n 1000"), "-", 1),
        (format!("start 1 n 34560000 {A}; start 2 n 1000 {A}"), "2", 1),
        (format!("start 1 n 10 {A}; start 2 n -{years} {A}"), "2", 1),
        (format!("start 1 n 10 {A}; on n -{years}"), "-", 1),
        (format!("start 1 n -{years} {A}; stop 1 n -{years}"), "-", 2),
        // Its clock is set meanwhile, and is a little behind ours.
        (format!("on n -{years}; start 1 n 995 {A}"), "1", 1),
        // A minute ahead, or days late, as when the network was cut: each in its order.
        (format!("start 1 n 1060 {A}; stop 1 n 1055"), "1", 0),
        (format!("start 1 n 10 {A}; stop 1 n -500000"), "1", 0),
    ] {
        let mut line = Line::new();
        events.split(';').for_each(|event| line.tell(event));
        assert_eq!((line.holder("10.0.0.1"), line.sessions.astray()), (holder.parse().ok(), astray), "{events}");
    }
}

#[test]
fn a_profile_that_is_named_before_the_line_is_kept_for_it() {
    for (events, expected) in [
        ("start x n 10 10.0.0.1/32 =school; interim x n 20 @7", Some("school")),
        ("start x n 10 10.0.0.1/32 =school; interim x n 20 @7 =family", Some("family")),
        ("start x n 10 10.0.0.1/32 =school; interim x n 15 =family; interim x n 20 @7", Some("family")),
        ("start x n 10 10.0.0.1/32; interim x n 20 @7", None),
        // What was said once is not said again: a choice in between stays.
        ("start x n 10 10.0.0.1/32 =school @7; interim x n 20 @7 =family; interim x n 30 @7", Some("family")),
    ] {
        let mut line = Line::new();
        events.split(';').for_each(|event| line.tell(event));
        assert_eq!(line.holder("10.0.0.1"), Some(7), "{events}");
        let said = line.table.find_token(Token(7)).and_then(|state| state.session);
        assert_eq!(said, expected.and_then(|name| line.table.intern(name)), "{events}");
    }
}

#[test]
fn every_family_and_every_block_of_ports_is_held_by_itself() {
    check(
        "start 1 n 10 10.0.0.1/32 2001:db8::/56; interim 1 n 20 2001:db8:0:100::/56",
        "10.0.0.1 1; 2001:db8::1 -; 2001:db8:0:100::1 1",
    );
    check(
        "start 1 n 10 192.0.2.1#1024-2047; interim 1 n 20 192.0.2.1#4096-5119; start 2 n 15 192.0.2.1#2048-3071",
        "192.0.2.1:1024 1; 192.0.2.1:5000 1; 192.0.2.1:2048 2; 192.0.2.1:9999 -",
    );
    check(
        "start 1 n 10 192.0.2.1#1024-2047; interim 1 n 20 192.0.2.1#4096-5119; interim 1 n 30 -192.0.2.1#1024-2047",
        "192.0.2.1:1024 -; 192.0.2.1:5000 1",
    );
    check("start 1 n 10 192.0.2.1#1024-2047 10.0.0.1/32; stop 1 n 20", "192.0.2.1:1024 -; 10.0.0.1 -");
}

/// A NAT that gives blocks and never says that it took one back.
#[test]
fn places_of_a_session_are_bounded_and_the_oldest_goes() {
    let mut line = Line::new();
    line.tell("start 1 n 0 10.0.0.1/32");
    let blocks = SESSION_KEYS_MAX + 20;
    for n in 0..blocks {
        let first = 1_024 + n * 64;
        line.tell(&format!("interim 1 n {} 192.0.2.1#{first}-{}", n + 1, first + 63));
        // Told again, it is the same one.
        line.tell(&format!("interim 1 n {} 192.0.2.1#{first}-{}", n + 1, first + 63));
    }
    let block = |n: usize| format!("192.0.2.1:{}", 1_024 + n * 64 + 5);
    let first = blocks - SESSION_KEYS_MAX;
    for (n, holder) in [(0, None), (first - 1, None), (first, Some(1)), (blocks - 1, Some(1))] {
        assert_eq!(line.holder(&block(n)), holder, "block {n} of {blocks}");
    }
    assert_eq!((line.sessions.places.len(), line.writer.counts().ports), (SESSION_KEYS_MAX, SESSION_KEYS_MAX));
    assert_eq!(line.sessions.beyond(), 21, "the address and {first} blocks");
    line.tell("stop 1 n 9999");
    assert_eq!((line.sessions.places.len(), line.writer.counts().ports, line.sessions.open()), (0, 0, 0));
}

/// Its profile was told with the Start alone.
#[test]
fn a_session_that_changes_its_address_keeps_what_was_said_of_it() {
    let mut line = Line::new();
    line.tell("start 1 n 10 10.0.0.1/32");
    let family = line.table.intern("family");
    line.writer.say_of_session(Token(1), family).unwrap();
    line.tell("interim 1 n 20 10.0.0.2/32");
    assert_eq!((line.holder("10.0.0.1"), line.holder("10.0.0.2")), (None, Some(1)));
    assert_eq!(line.table.find_token(Token(1)).and_then(|state| state.session), family);
}

/// Whatever the order, and however often each packet comes: the same sessions hold the same places in the end.
#[test]
fn order_and_doubles_make_no_difference() {
    let events = [
        "start 1 n 10 10.0.0.1/32",
        "interim 1 n 20 2001:db8::/56",
        "stop 1 n 30 10.0.0.1/32",
        "start 2 n 40 10.0.0.1/32 2001:db8:0:100::/56",
        "interim 2 n 50 10.0.0.1/32",
        "start 3 n 60 10.0.0.3/32",
        "on m 35",
        "start 4 m 34 10.0.0.4/32",
        "start 5 m 36 10.0.0.4/32",
    ];
    let mut random = 1_u64;
    for round in 0..2_000 {
        let mut order: Vec<usize> = (0..events.len()).chain(0..events.len()).collect();
        for i in (1..order.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(i, (random >> 33) as usize % (i + 1));
        }
        let told: Vec<&str> = order.iter().map(|&i| events[i]).collect();
        let mut line = Line::new();
        told.iter().for_each(|event| line.tell(event));
        for (source, holder) in [
            ("10.0.0.1", Some(2)),
            ("2001:db8::1", None),
            ("2001:db8:0:100::1", Some(2)),
            ("10.0.0.3", Some(3)),
            ("10.0.0.4", Some(5)),
        ] {
            assert_eq!(line.holder(source), holder, "round {round}, {source}: {told:?}");
        }
        assert_eq!(line.sessions.open(), 3, "round {round}: {told:?}");
    }
}

#[test]
fn a_stop_after_a_restart_ends_what_is_the_lines_still() {
    for (holder, term, expected) in [
        (1, Term { is_session: true, ..Term::default() }, None),
        (2, Term { is_session: true, ..Term::default() }, Some(2)),
        // The operator's own entry is no session's.
        (1, Term::default(), Some(1)),
    ] {
        let mut line = Line::new();
        let key = Key::of_net(Realm(0), "10.0.0.1/32".parse().unwrap());
        line.writer.put(key, Entry { holder: Holder::Token(Token(holder)), term }).unwrap();
        line.tell("stop 1 n 20 10.0.0.1/32");
        assert_eq!(line.holder("10.0.0.1"), expected);
    }
}

/// What another node was told of the same address is news of the table alone; the sessions here know nothing of it.
/// RFC 2865 §5.9: a line that is a router to a few addresses has them, until it has another address.
#[test]
fn the_block_around_an_address_goes_with_it() {
    const START: &str = "start 1 n 10 10.0.0.1/32 ~10.0.0.0/28";
    for (events, places) in [
        ("", "10.0.0.1 1; 10.0.0.7 1; 10.0.0.16 -"),
        // What is not there is not taken back.
        ("; interim 1 n 20 10.0.0.1/32", "10.0.0.1 1; 10.0.0.7 1"),
        ("; interim 1 n 20", "10.0.0.7 1"),
        ("; interim 1 n 20 10.1.0.1/32", "10.0.0.1 -; 10.0.0.7 -; 10.1.0.1 1"),
        ("; interim 1 n 20 10.1.0.1/32 ~10.1.0.0/28", "10.0.0.7 -; 10.1.0.7 1"),
        ("; start 2 n 20 10.0.0.7/32", "10.0.0.7 2; 10.0.0.6 1"),
        ("; stop 1 n 20", "10.0.0.1 -; 10.0.0.7 -"),
    ] {
        check(&format!("{START}{events}"), places);
    }
}

#[test]
fn an_end_takes_nothing_from_a_session_that_another_node_was_told_of() {
    let key = Key::of_net(Realm(0), "10.0.0.1/32".parse().unwrap());
    let until = NOW + 1_000 + 1_200;
    let session = |token, until| Entry {
        holder: Holder::Token(Token(token)),
        term: Term { until: Some(until), is_hard: false, is_session: true },
    };
    for end in ["stop 1 n 20", "stop 1 n 20 10.0.0.1/32", "on n 20", "interim 1 n 20 10.0.0.9/32"] {
        let mut line = Line::new();
        let by_person = Holder::Profile(line.table.intern("school").unwrap());
        for (told, is_left) in [
            (session(2, until), true),
            (session(1, until + 60), true),
            (session(1, until), false),
            // A person's word for an address ends with its session.
            (Entry { holder: by_person, term: Term::default() }, false),
        ] {
            line.sessions = Sessions::default();
            line.tell("start 1 n 10 10.0.0.1/32");
            line.writer.apply(&Change::Put(key, told)).unwrap();
            line.tell(end);
            assert_eq!(line.table.get(&key), is_left.then_some(told), "{end}");
        }
    }
}

#[test]
fn what_is_over_is_forgotten_after_a_while() {
    let mut line = Line::new();
    line.tell("start 1 n 10 10.0.0.1/32");
    line.tell("start 2 n 10 10.0.0.2/32");
    line.tell("stop 1 n 20");
    assert_eq!((line.last, line.sessions.sessions.len()), (Effect::Ended, 2));
    line.tell("interim 1 n 15 10.0.0.1/32");
    assert_eq!(line.last, Effect::Late);
    line.sessions.prune(NOW + 1_000 + SESSION_ENDED_SECS);
    assert_eq!((line.sessions.sessions.len(), line.sessions.open()), (1, 1));
    line.sessions.prune(NOW + 8 * 86_400);
    assert_eq!((line.sessions.sessions.len(), line.sessions.places.len()), (0, 0));
}
