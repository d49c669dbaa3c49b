//! Feeds, serials, and what a restart leaves.

use super::*;
use crate::config::{RadiusClient, RadiusSettings, Secret};
use crate::daemon::subscribers::line::{Line, Reading};
use crate::engine::client::{Realm, Token, TokenKey};
use crate::engine::radius::TokenFrom;
use crate::engine::subscribers::{Key, Term};

fn lines(subscribers: &Subscribers, lines: &[&str]) -> Vec<Change> {
    let with = Reading { table: subscribers.table(), key: None };
    lines.iter().flat_map(|line| Line::parse(line.as_bytes()).unwrap().changes(&with).unwrap()).collect()
}

fn profile_at(subscribers: &Subscribers, source: &str) -> Option<String> {
    let found = subscribers.table().find(Realm(0), (source.parse::<std::net::IpAddr>().unwrap(), 1).into())?;
    found.profile.map(|name| subscribers.table().name(name))
}

const ONE: &str = r#"{"prefix":"10.0.0.1","profile":"family"}"#;
const TWO: &str = r#"{"prefix":"10.0.0.2","profile":"school"}"#;

#[test]
fn deltas_and_snapshots_are_made_once_and_in_order() {
    let subscribers = Subscribers::new((1, 2));
    let (one, two) = (lines(&subscribers, &[ONE]), lines(&subscribers, &[TWO]));
    assert_eq!(subscribers.apply_delta(1, &one), Ok(true));
    assert_eq!(subscribers.apply_delta(1, &two), Ok(false), "done before");
    assert_eq!(profile_at(&subscribers, "10.0.0.2"), None);
    assert!(subscribers.apply_delta(3, &two).unwrap_err().contains("so 2 is next"));
    assert_eq!(subscribers.apply_delta(2, &two), Ok(true));
    // A session of the network is not the books'.
    let key = Key::of_net(Realm(0), "10.0.0.3/32".parse().unwrap());
    let term = Term { is_session: true, ..Term::default() };
    let session = Change::Put(key, Entry { holder: Holder::Token(Token(9)), term });
    subscribers
        .apply(Feed::Radius, &[session, Change::Choose(Token(9), subscribers.table().intern("family"))])
        .unwrap();
    assert_eq!(profile_at(&subscribers, "10.0.0.3").as_deref(), Some("family"));
    assert_eq!(subscribers.replace(2, &two), Ok(false));
    assert_eq!(subscribers.replace(9, &two), Ok(true));
    assert_eq!(profile_at(&subscribers, "10.0.0.1"), None);
    assert_eq!(profile_at(&subscribers, "10.0.0.2").as_deref(), Some("school"));
    // The session stays; what its line had chosen is not in the books any more.
    assert!(subscribers.table().get(&key).is_some());
    assert_eq!(profile_at(&subscribers, "10.0.0.3"), None);
    assert_eq!(subscribers.serial(), 9);
    // Who sends an older one has lost count, or we have: it is not passed off as done.
    assert!(subscribers.replace(8, &one).unwrap_err().contains("snapshot 8 is older than the last serial here, 9"));
    assert_eq!(profile_at(&subscribers, "10.0.0.1"), None);
}

#[test]
fn what_feeds_told_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let key = [3; 32];
    let start = || {
        let subscribers = Subscribers::new((1, 2));
        assert_eq!(subscribers.keep_in(folder.path(), &key), None);
        subscribers
    };
    let first = start();
    let both = lines(&first, &[ONE, TWO]);
    assert_eq!(first.replace(7, &both), Ok(true));
    first.flush();
    first.apply(Feed::Api, &[Change::Remove(Key::of_net(Realm(0), "10.0.0.1/32".parse().unwrap()))]).unwrap();
    first.flush();
    // The next process begins before this one ends.
    let beside = start();
    assert_eq!((profile_at(&beside, "10.0.0.2").as_deref(), beside.summary().kept), (Some("school"), false));
    first.apply(Feed::Api, &[Change::Remove(Key::of_net(Realm(0), "10.0.0.2/32".parse().unwrap()))]).unwrap();
    first.apply(Feed::Api, &lines(&first, &[ONE])).unwrap();
    first.flush();
    beside.claim();
    assert!(!beside.summary().kept, "the other one has it still");
    first.release();
    beside.claim();
    assert_eq!((profile_at(&beside, "10.0.0.2"), beside.summary().kept), (None, true));
    assert_eq!((profile_at(&beside, "10.0.0.1").as_deref(), beside.serial()), (Some("family"), 7));
    beside.release();
    assert_eq!(profile_at(&start(), "10.0.0.1").as_deref(), Some("family"));
}

#[test]
fn profiles_that_nobody_configured_are_counted() {
    let subscribers = Subscribers::new((1, 2));
    let live = Live::new(Arc::clone(subscribers.table()), &[], Arc::from([]));
    subscribers.in_force(None, Some(&live));
    subscribers.apply(Feed::Api, &lines(&subscribers, &[ONE, ONE])).unwrap();
    assert_eq!(subscribers.counters.events()[1], ("unknown-profile", 2));
}

#[test]
fn entries_whose_end_has_come_are_taken_out() {
    let subscribers = Subscribers::new((1, 2));
    let live = Live::new(Arc::clone(subscribers.table()), &[], Arc::from([]));
    subscribers.in_force(None, Some(&live));
    let over = r#"{"prefix":"10.0.0.7","profile":"family","expires":1700000000}"#;
    subscribers.apply(Feed::Api, &lines(&subscribers, &[ONE, over])).unwrap();
    subscribers.prune();
    assert_eq!((subscribers.counts().v4, subscribers.counters.events()[0]), (1, ("lapsed", 1)));
}

fn token_put(address: &str, token: u128) -> Change {
    let term = Term { is_session: true, ..Term::default() };
    Change::Put(
        Key::of_net(Realm(0), format!("{address}/32").parse().unwrap()),
        Entry { holder: Holder::Token(Token(token)), term },
    )
}

/// A full table: what fits of a batch is made, removals behind what does not fit too, and nobody keeps another's place.
#[test]
fn a_full_table_takes_what_fits_and_keeps_no_stale_holder() {
    let subscribers = Subscribers::with_room((1, 2), Room { prefixes: 3, tokens: 2 });
    let remove = |address: &str| Change::Remove(Key::of_net(Realm(0), format!("{address}/32").parse().unwrap()));
    let holder = |address: &str| {
        let found = subscribers.table().find(Realm(0), format!("{address}:1").parse().unwrap());
        found.and_then(|found| found.token).map(|token| token.0)
    };
    subscribers.apply(Feed::Radius, &[token_put("10.0.0.1", 1), token_put("10.0.0.2", 2)]).unwrap();
    let changes = [
        // No room for a third token: the address is not the first one's any more.
        token_put("10.0.0.1", 3),
        token_put("10.0.0.3", 4),
        token_put("10.0.0.4", 2),
        remove("10.0.0.2"),
        token_put("10.0.0.5", 5),
    ];
    let refused = subscribers.apply(Feed::Radius, &changes).unwrap_err();
    assert_eq!((refused.first, refused.count), (Full::Tokens(2), 2), "two of the five find none");
    assert!(refused.to_string().ends_with("(subscriber_tokens_max); 2 of the changes are not made"), "{refused}");
    let held = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"].map(holder);
    assert_eq!(held, [None, None, Some(4), Some(2), None]);
}

/// A whole that does not fit is refused before anything is changed; one whose end fits is made.
#[test]
fn a_snapshot_or_delta_that_does_not_fit_changes_nothing() {
    let subscribers = Subscribers::with_room((1, 2), Room { prefixes: 2, tokens: 2 });
    let put = |n: u32| format!(r#"{{"prefix":"10.0.0.{n}","profile":"family"}}"#);
    let all = |ns: &[u32]| {
        let text: Vec<String> = ns.iter().map(|n| put(*n)).collect();
        lines(&subscribers, &text.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let known = || (1..=5).filter(|n| profile_at(&subscribers, &format!("10.0.0.{n}")).is_some()).collect::<Vec<u32>>();
    assert_eq!(subscribers.replace(1, &all(&[1, 2])), Ok(true));
    let why = subscribers.replace(2, &all(&[3, 4, 5])).unwrap_err();
    assert!(why.contains("(subscriber_prefixes_max): nothing is changed"), "{why}");
    let why = subscribers.apply_delta(2, &all(&[2, 3])).unwrap_err();
    assert!(why.contains("(subscriber_prefixes_max): nothing is changed"), "{why}");
    assert_eq!((known(), subscribers.serial()), (vec![1, 2], 1));
    assert_eq!(subscribers.replace(2, &all(&[3, 4])), Ok(true), "what goes makes room");
    assert_eq!((known(), subscribers.serial()), (vec![3, 4], 2));
    assert_eq!(subscribers.counters.events()[2], ("table-full", 5));
}

/// Whoever waits for the table has it between two pieces of many changes.
#[test]
fn a_large_snapshot_lets_others_in_between() {
    let subscribers = Subscribers::new((1, 2));
    let name = subscribers.table().intern("family").unwrap();
    let many: Vec<Change> = (0..200_000_u32)
        .map(|n| {
            let net = std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)).into();
            let holder = Holder::Profile(name);
            Change::Put(Key::of_net(Realm(0), net), Entry { holder, term: Term::default() })
        })
        .collect();
    let counts = std::thread::scope(|scope| {
        let snapshot = scope.spawn(|| subscribers.replace(1, &many));
        let mut counts = Vec::new();
        while !snapshot.is_finished() {
            subscribers.apply(Feed::Radius, &[token_put("192.0.2.1", 7)]).unwrap();
            counts.push(subscribers.counts().v4);
        }
        assert_eq!(snapshot.join().unwrap(), Ok(true));
        counts
    });
    assert!(counts.iter().any(|count| (2..200_000).contains(count)), "some were made in the midst of it");
    assert_eq!(subscribers.counts().v4, 200_001);
}

/// An Accounting-Request, signed.
fn packet(secret: &[u8], attributes: &[(u8, &[u8])]) -> Vec<u8> {
    let mut packet = vec![4, 1, 0, 0];
    packet.extend([0; 16]);
    for (kind, value) in attributes {
        packet.extend([*kind, value.len() as u8 + 2]);
        packet.extend_from_slice(value);
    }
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    crate::engine::radius::sign(&mut packet, secret);
    packet
}

#[test]
fn a_line_is_found_by_either_key_and_a_full_or_strange_packet_tells_nothing() {
    let subscribers = Subscribers::new((1, 2));
    let (new, old) = (TokenKey::new([1; 16]), TokenKey::new([2; 16]));
    let client = RadiusClient {
        name: "bng".into(),
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        secret: Secret(b"testing123".to_vec()),
        realm: Realm(4),
    };
    let radius = RadiusSettings { listen: Vec::new(), clients: vec![client], token_from: TokenFrom::DEFAULT.to_vec() };
    let settings = SubscriberSettings {
        api_token: None,
        state_key: None,
        token_keys: vec![new, old],
        interim: Duration::from_secs(600),
        nats: Vec::new(),
        radius: Some(radius),
        leases: Vec::new(),
        store: None,
    };
    subscribers.in_force(Some(&settings), None);
    let family = subscribers.table().intern("family");
    // The books know one line by the key of before.
    subscribers.apply(Feed::Api, &[Change::Choose(Token::of(&old, b"olt-1"), family)]).unwrap();
    let start = |line: &[u8], session: &[u8], address: [u8; 4]| {
        let attributes: [(u8, &[u8]); 5] =
            [(40, &[0, 0, 0, 1]), (32, b"bng-1"), (44, session), (87, line), (8, &address)];
        packet(b"testing123", &attributes)
    };
    let from = "192.0.2.9:5000".parse().unwrap();
    let first = start(b"olt-1", b"a", [10, 0, 0, 1]);
    assert_eq!(radius::answer(&subscribers, &first, from).map(|response| response[0]), Ok(5));
    // Whatever holds the table, its sessions and its files: a snapshot, another packet, a disk that hangs.
    std::thread::scope(|scope| {
        let _busy = (subscribers.files.lock().unwrap(), subscribers.sessions(), subscribers.inner());
        let (done, waits) = std::sync::mpsc::channel();
        let (subscribers, first) = (&subscribers, &first);
        scope.spawn(move || done.send(radius::answer(subscribers, first, from)));
        let answer = waits.recv_timeout(Duration::from_secs(30)).expect("an acknowledgement waits for nobody");
        assert!(answer.is_ok());
    });
    let told = radius::take(&subscribers, &first, from).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(told.effect.map(|effect| effect.as_str()), Some("begun"));
    radius::take(&subscribers, &start(b"olt-2", b"b", [10, 0, 0, 2]), from).unwrap_or_else(|why| panic!("{why}"));
    let token = |address: &str| {
        subscribers.table().find(Realm(4), (address.parse::<std::net::IpAddr>().unwrap(), 1).into()).unwrap().token
    };
    assert_eq!(token("10.0.0.1"), Some(Token::of(&old, b"olt-1")));
    assert_eq!(token("10.0.0.2"), Some(Token::of(&new, b"olt-2")));
    let good = start(b"olt-3", b"c", [10, 0, 0, 3]);
    for (datagram, source, why) in [
        (&good[..], "198.51.100.1:5000", "stranger"),
        (&good[..19], "192.0.2.9:5000", "malformed"),
        (&packet(b"another", &[(40, &[0, 0, 0, 1])])[..], "192.0.2.9:5000", "forged"),
    ] {
        assert_eq!(radius::answer(&subscribers, datagram, source.parse().unwrap()), Err(why));
    }
    assert_eq!(subscribers.table().find(Realm(4), "10.0.0.3:1".parse().unwrap()), None);
}
