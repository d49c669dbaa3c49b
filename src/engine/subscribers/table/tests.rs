//! What a table holds, to whoever reads it, while it changes.

use super::*;

const TERM: Term = Term { until: None, is_hard: false, is_session: false };

fn net(text: &str) -> Key {
    Key::of_net(Realm(0), text.parse().unwrap())
}

fn profile_at(table: &Table, source: &str) -> Option<String> {
    table.find(Realm(0), source.parse().unwrap()).and_then(|found| found.profile).map(|id| table.name(id))
}

#[test]
fn the_longest_prefix_wins_and_ports_are_longer_than_addresses() {
    let (table, mut writer) = Table::new((1, 2));
    let mut put = |key: Key, name: &str| {
        let holder = Holder::Profile(table.intern(name).unwrap());
        writer.put(key, Entry { holder, term: TERM }).unwrap();
    };
    for (prefix, name) in [
        ("100.64.0.0/10", "ten"),
        ("100.64.1.2/32", "one"),
        ("2001:db8::/32", "wide"),
        ("2001:db8:0:100::/56", "line"),
        ("2001:db8:1::/48", "site"),
        ("2001:db8:1::7/128", "host"),
    ] {
        put(net(prefix), name);
    }
    for key in Key::of_ports(Realm(0), [198, 51, 100, 7].into(), 1_024..=2_023) {
        put(key, "block");
    }
    put(Key::of_net(Realm(5), "100.64.1.2/32".parse().unwrap()), "elsewhere");
    for (source, name) in [
        ("100.64.1.2:5", Some("one")),
        ("100.64.1.3:5", Some("ten")),
        ("[::ffff:100.64.1.2]:5", Some("one")),
        ("100.128.0.1:5", None),
        ("198.51.100.7:1024", Some("block")),
        ("198.51.100.7:2023", Some("block")),
        ("198.51.100.7:2024", None),
        ("198.51.100.7:1023", None),
        ("[2001:db8:0:1ff::9]:5", Some("line")),
        ("[2001:db8:0:200::9]:5", Some("wide")),
        ("[2001:db8:1:ffff::1]:5", Some("site")),
        ("[2001:db8:1::7]:5", Some("host")),
    ] {
        assert_eq!(profile_at(&table, source).as_deref(), name, "{source}");
    }
    let elsewhere = table.find(Realm(5), "100.64.1.2:5".parse().unwrap()).unwrap();
    assert_eq!(table.name(elsewhere.profile.unwrap()), "elsewhere");
    assert_eq!(table.find(Realm(5), "100.64.1.3:5".parse().unwrap()), None);
    assert_eq!(writer.counts(), Counts { v4: 3, ports: 6, v6: 4, tokens: 0 });
    writer.remove(&net("100.64.1.2/32")).unwrap();
    assert_eq!(profile_at(&table, "100.64.1.2:5").as_deref(), Some("ten"));
    assert_eq!(writer.remove(&net("100.64.1.2/32")), None);
}

#[test]
fn a_tokens_profile_reaches_all_its_prefixes_and_the_choice_goes_first() {
    let (table, mut writer) = Table::new((1, 2));
    let (family, school) = (table.intern("family"), table.intern("school"));
    let token = Token(77);
    let session = Entry { holder: Holder::Token(token), term: Term { is_session: true, until: Some(9), ..TERM } };
    writer.put(net("100.64.1.2/32"), session).unwrap();
    writer.put(net("2001:db8::/56"), session).unwrap();
    assert_eq!(profile_at(&table, "100.64.1.2:5"), None);
    let found = table.find(Realm(0), "100.64.1.2:5".parse().unwrap()).unwrap();
    assert_eq!((found.token, found.term), (Some(token), session.term));
    writer.say_of_session(token, school).unwrap();
    assert_eq!(profile_at(&table, "[2001:db8::1]:5").as_deref(), Some("school"));
    writer.choose(token, family).unwrap();
    assert_eq!(profile_at(&table, "100.64.1.2:5").as_deref(), Some("family"));
    assert_eq!(table.find_token(token), Some(TokenState { chosen: family, session: school, prefixes: 2 }));
    // The same prefix again is one prefix still.
    writer.put(net("2001:db8::/56"), session).unwrap();
    assert_eq!(table.find_token(token).unwrap().prefixes, 2);
    // The address goes to the next subscriber; what was chosen stays with the one before.
    writer.put(net("100.64.1.2/32"), Entry { holder: Holder::Token(Token(78)), ..session }).unwrap();
    assert_eq!(profile_at(&table, "100.64.1.2:5"), None);
    writer.remove(&net("2001:db8::/56"));
    assert_eq!(table.find_token(token), Some(TokenState { chosen: family, session: None, prefixes: 0 }));
    writer.choose(token, None).unwrap();
    assert_eq!(table.find_token(token), None);
    assert_eq!(writer.counts().tokens, 1);
}

#[test]
fn a_full_table_is_known_before_it_is_changed_and_takes_what_replaces() {
    let (table, mut writer) = Table::with_room((1, 2), Room { prefixes: 2, tokens: 2 });
    let family = table.intern("family");
    let of = |token| Entry { holder: Holder::Token(Token(token)), term: TERM };
    let (a, b, c) = (net("10.0.0.1/32"), net("10.0.0.2/32"), net("10.0.0.3/32"));
    for change in [Change::Put(a, of(1)), Change::Put(b, of(2))] {
        writer.apply(&change).unwrap();
    }
    let (no_prefix, no_token) = (Err(Full::Prefixes(2)), Err(Full::Tokens(2)));
    for (changes, fits) in [
        (vec![Change::Put(a, of(2)), Change::Put(b, of(1))], Ok(())),
        (vec![Change::Put(c, of(1))], no_prefix),
        (vec![Change::Remove(a), Change::Put(c, of(1))], Ok(())),
        (vec![Change::Put(c, of(1)), Change::Remove(a)], no_prefix),
        (vec![Change::Put(a, of(3))], no_token),
        (vec![Change::Choose(Token(3), family)], no_token),
        (vec![Change::Choose(Token(2), family), Change::Choose(Token(3), None)], Ok(())),
        (vec![Change::Remove(a), Change::Choose(Token(3), family)], Ok(())),
        (vec![Change::Choose(Token(1), family), Change::Remove(a), Change::Choose(Token(3), family)], no_token),
        (vec![Change::Put(c, Entry { holder: Holder::Profile(family.unwrap()), term: TERM })], no_prefix),
        (vec![Change::Say(Token(9), family)], Ok(())),
    ] {
        assert_eq!(writer.fits(changes.iter()), fits, "{changes:?}");
    }
    assert_eq!((writer.put(c, of(1)), writer.put(a, of(3))), (no_prefix, no_token));
    assert_eq!(writer.counts().tokens, 2);
}

/// Whoever keeps what it reads with sees what the table holds now, however it has grown; and only what is there is touched.
#[test]
fn a_reader_sees_every_change_at_once() {
    let (table, mut writer) = Table::new((1, 2));
    let mut reader = table.reader();
    let profile = table.intern("family").unwrap();
    let source = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 7));
    for n in 0..20_000 {
        let key = Key::of_net(Realm(0), source(n).ip().into());
        assert_eq!(reader.find(Realm(0), source(n)), None);
        writer
            .put(key, Entry { holder: Holder::Token(Token(u128::from(n) << 64 | u128::from(n))), term: TERM })
            .unwrap();
        assert!(reader.find(Realm(0), source(n)).is_some(), "{n}");
        writer.choose(Token(u128::from(n) << 64 | u128::from(n)), Some(profile)).unwrap();
        assert_eq!(reader.find(Realm(0), source(n / 2)), table.find(Realm(0), source(n / 2)).map(Held::from), "{n}");
        assert_eq!(reader.find(Realm(0), source(n)).unwrap().profile, Some(profile), "{n}");
    }
    let (mut touched, mut found) = (Vec::new(), Vec::new());
    let sources = [source(1), source(30_000), source(2)];
    let at = |source| Sought { identity: None, realm: Realm(0), source };
    reader.find_all(&sources.map(at), &mut found, |place| touched.push(place));
    assert_eq!(found, sources.map(|source| reader.find(Realm(0), source)));
    assert_eq!((touched.len(), found[1]), (3 + 2, None), "three places of prefixes, and the records of two");
    // Of several lengths the longest wins here too.
    writer
        .put(net("10.0.0.0/16"), Entry { holder: Holder::Profile(table.intern("wide").unwrap()), term: TERM })
        .unwrap();
    reader.find_all(&[source(1), source(30_000)].map(at), &mut found, |_| {});
    assert_eq!(found, [source(1), source(30_000)].map(|source| reader.find(Realm(0), source)));
}

/// Together they are found as one by one: by what they say that they are, and where nobody knows that, by where they are.
#[test]
fn several_are_found_by_what_they_say_that_they_are() {
    let (table, mut writer) = Table::new((1, 2));
    let mut reader = table.reader();
    let source = |n: u8| SocketAddr::from(([10, 0, 0, n], 7));
    let profile = |name: &str| table.intern(name).unwrap();
    let entry = |name: &str| Entry { holder: Holder::Profile(profile(name)), term: TERM };
    writer.put(net("10.0.0.1/32"), entry("of-the-place")).unwrap();
    // The first two are alike in all that the index keeps of a token.
    let tokens = [Token(5 << 64 | 9 << 32 | 1 << 8), Token(5 << 64 | 9 << 32 | 2 << 8), Token(77)];
    for (token, name) in tokens.iter().zip(["first", "second", "gone"]) {
        writer.choose(*token, Some(profile(name))).unwrap();
    }
    writer.choose(tokens[2], None).unwrap();
    let sought = [
        (Some(tokens[0]), 1, Some("first")),
        (Some(tokens[1]), 1, Some("second")),
        (Some(tokens[2]), 1, Some("of-the-place")),
        (Some(tokens[2]), 2, None),
        (Some(Token(5 << 64 | 9 << 32)), 1, Some("of-the-place")),
        (None, 1, Some("of-the-place")),
        (None, 2, None),
    ];
    let all = sought.map(|(identity, n, _)| Sought { identity, realm: Realm(0), source: source(n) });
    let mut found = Vec::new();
    reader.find_all(&all, &mut found, |_| {});
    for ((sought, (identity, n, expected)), found) in all.iter().zip(sought).zip(&found) {
        let alone = identity.and_then(|token| reader.find_token(token)).or_else(|| reader.find(Realm(0), source(n)));
        assert_eq!(*found, alone, "{sought:?}");
        assert_eq!(found.and_then(|held| held.profile), expected.map(profile), "{sought:?}");
    }
}

/// A prefix whose token comes and goes never shows another token's profile.
#[test]
fn records_used_again_are_nobodys_elses() {
    let (table, mut writer) = Table::new((1, 2));
    let names: Vec<_> = (0..8).map(|n| table.intern(&format!("p{n}")).unwrap()).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (line, keeps_shards) in [(0_usize, false), (1, false), (0, true), (1, true)] {
            let (table, names, done) = (&table, &names, &done);
            scope.spawn(move || {
                let source = SocketAddr::from(([10, 0, 0, line as u8], 1));
                let (mut table, mut reader) = (&**table, table.reader());
                while !done.load(Ordering::Relaxed) {
                    let found = match keeps_shards {
                        true => reader.find(Realm(0), source),
                        false => LookUp::find(&mut table, Realm(0), source).map(|found| {
                            assert_eq!(found.token.unwrap().0 as usize % 2, line);
                            found.into()
                        }),
                    };
                    // The session's profile may not be told yet, or not any more.
                    let Some(profile) = found.and_then(|held: Held| held.profile) else { continue };
                    let place = names.iter().position(|name| *name == profile).unwrap();
                    assert_eq!(place % 2, line);
                }
            });
        }
        for round in 0..50_000_u128 {
            let key = net(&format!("10.0.0.{}/32", round % 2));
            let token = Token(round + 8);
            let entry = Entry { holder: Holder::Token(token), term: Term { is_session: true, ..TERM } };
            writer.put(key, entry).unwrap();
            writer.say_of_session(token, Some(names[(round % 8) as usize])).unwrap();
            if round % 3 == 0 {
                writer.remove(&key);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(writer.counts().tokens <= 2);
}
