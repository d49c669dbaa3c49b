//! Feeds, serials, and what a restart leaves.

use super::*;
use crate::config::{RadiusClient, RadiusSettings, Secret};
use crate::daemon::subscribers::line::{Line, Reading};
use crate::engine::client::{Realm, Token, TokenKey};
use crate::engine::radius::TokenFrom;
use crate::engine::subscribers::Term;

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
    let told =
        radius::take(&subscribers, &start(b"olt-1", b"a", [10, 0, 0, 1]), from).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((told.response[0], told.effect.map(|effect| effect.as_str())), (5, Some("begun")));
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
        assert_eq!(radius::take(&subscribers, datagram, source.parse().unwrap()).err(), Some(why));
    }
    assert_eq!(subscribers.table().find(Realm(4), "10.0.0.3:1".parse().unwrap()), None);
}
