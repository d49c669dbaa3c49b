//! What does it cost to know who asks, when a million lines come and go?
//!
//! `cargo bench --bench subscribers` fills a table with a million prefixes and a million tokens and prints octets of memory a
//! subscriber, nanoseconds a look-up (by address, by token, of strangers), a whole decision (who asks, and the ladder over a
//! hundred lists), changes a second while readers ask, and what a reader pays meanwhile; then sixty thousand sessions of a BNG that
//! began anew. It checks what it timed. Speed of light of a look-up: two lines of memory that no cache holds, the prefix's and
//! the token's.

#[allow(dead_code)]
mod names;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ipnet::IpNet;
use lachan::daemon::reload::Loader;
use lachan::engine::client::{Realm, Token, TokenKey, UnixTime};
use lachan::engine::name::Name;
use lachan::engine::policy::{self, QueryVerdict};
use lachan::engine::query::{CLASS_IN, Origin, Question, RecordType, Transport};
use lachan::engine::radius::sessions::{Report, Sessions};
use lachan::engine::radius::{self, TokenFrom};
use lachan::engine::snapshot::Snapshot;
use lachan::engine::subscribers::{Change, Entry, Holder, Key, Live, Standing, Table, Term, Writer};
use names::Lcg;

const LINES: u32 = 1_000_000;
const LOOK_UPS: usize = 1_000_000;
const ROUNDS: usize = 7;
const NOW: u32 = 1_800_000_000;
const LISTS: usize = 100;

fn token(n: u32) -> Token {
    Token::of(&TokenKey::LABELS, &n.to_be_bytes().map(|octet| octet | 0x80))
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x6440_0000 + n).into()
}

fn v6(n: u32) -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n) << 72 | 9).into()
}

fn key(n: u32) -> Key {
    // Half by IPv4 address, half by a delegated /56.
    match n % 2 {
        0 => Key::of_net(Realm(0), IpNet::from(address(n))),
        _ => Key::of_net(Realm(0), IpNet::new(v6(n), 56).expect("56 fits").trunc()),
    }
}

fn source(n: u32) -> SocketAddr {
    (if n.is_multiple_of(2) { address(n) } else { v6(n) }, 40_000).into()
}

fn put(n: u32, until: u32) -> Change {
    let term = Term { until: Some(until), is_hard: false, is_session: true };
    Change::Put(key(n), Entry { holder: Holder::Token(token(n)), term })
}

fn snapshot() -> Snapshot {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).expect("room for a file");
    let mut config =
        "[listen]\nadmin = \"off\"\n[[upstream]]\nservers = [\"udp://127.0.0.1:9\"]\n[profile.default]\nblock = \
                      [\"adult\"]\nsafe_search = false\n"
            .to_owned();
    for profile in 0..10 {
        config += &format!("[profile.p{profile}]\nblock = [\"adult\", \"games\"]\nallow = [\"a{profile}.example\"]\n");
    }
    for list in 0..LISTS {
        let category = if list % 2 == 0 { "adult" } else { "games" };
        config += &format!("[list.l{list}]\ncategory = \"{category}\"\nfile = \"l{list}.txt\"\n");
        let names: String = (0..10_000).map(|n| format!("www.site{n}-{list}.example.org\n")).collect();
        write(&format!("l{list}.txt"), &names);
    }
    write("lachan.toml", &config);
    let mut loader = Loader::new(Some(directory.path().join("lachan.toml")));
    loader.load(None, None).unwrap_or_else(|why| panic!("{why:?}")).generation.snapshot
}

/// Nanoseconds of one, the best of some rounds.
fn best(count: usize, mut round: impl FnMut()) -> f64 {
    let one = |_| {
        let began = Instant::now();
        round();
        began.elapsed().as_nanos() as f64 / count as f64
    };
    (0..ROUNDS).map(one).fold(f64::INFINITY, f64::min)
}

fn shuffled(count: usize) -> Vec<u32> {
    let mut random = Lcg(3);
    (0..count).map(|_| random.next() as u32 % LINES).collect()
}

fn fill() -> (Arc<Table>, Writer) {
    let (table, mut writer) = Table::new((1, 2));
    let began = Instant::now();
    for n in 0..LINES {
        writer.apply(&put(n, NOW + 1_200)).expect("a million fit");
        let profile = table.intern(&format!("p{}", n % 10));
        writer.apply(&Change::Choose(token(n), profile)).expect("a million fit");
    }
    let counts = writer.counts();
    assert_eq!((counts.v4 + counts.v6, counts.tokens), (LINES as usize, LINES as usize));
    let octets = table.octets();
    println!(
        "| a million prefixes and a million tokens | {:.1} MiB, {:.1} octets a subscriber |",
        octets as f64 / 1_048_576.0,
        octets as f64 / f64::from(LINES)
    );
    println!("| filling them | {:.0} changes a second |", 2.0 * f64::from(LINES) / began.elapsed().as_secs_f64());
    (table, writer)
}

fn look(live: &Live, origin: &Origin, at: UnixTime) {
    black_box(live.identify(origin, at));
}

fn look_ups(live: &Live, snapshot: &Snapshot) {
    let asked = shuffled(LOOK_UPS);
    let at = UnixTime(i64::from(NOW));
    let origins: Vec<Origin> = asked.iter().map(|&n| Origin::new(source(n), None, Transport::Udp)).collect();
    let known = origins.iter().filter(|origin| live.identify(origin, at).standing == Standing::Known).count();
    assert_eq!(known, LOOK_UPS);
    let by_address = best(LOOK_UPS, || origins.iter().for_each(|origin| look(live, origin, at)));
    println!("| who asks, by address (IPv4 /32 and IPv6 /56 in turn) | {by_address:.0} ns |");
    let v4: Vec<Origin> = origins.iter().filter(|origin| origin.source.is_ipv4()).copied().collect();
    let by_v4 = best(v4.len(), || v4.iter().for_each(|origin| look(live, origin, at)));
    println!("| who asks, by IPv4 address | {by_v4:.0} ns |");
    let strangers: Vec<Origin> = asked
        .iter()
        .map(|&n| Origin::new((Ipv4Addr::from_bits(0x0a00_0000 + n), 9).into(), None, Transport::Udp))
        .collect();
    let none = strangers.iter().all(|origin| live.identify(origin, at).standing == Standing::Unknown);
    assert!(none);
    let unknown = best(LOOK_UPS, || strangers.iter().for_each(|origin| look(live, origin, at)));
    println!("| an address that nobody told of | {unknown:.0} ns |");
    let tokens: Vec<Origin> =
        asked.iter().zip(&strangers).map(|(&n, origin)| Origin { identity: Some(token(n)), ..*origin }).collect();
    assert!(tokens.iter().all(|origin| live.identify(origin, at).standing == Standing::Known));
    let by_token = best(LOOK_UPS, || tokens.iter().for_each(|origin| look(live, origin, at)));
    println!("| who asks, by token | {by_token:.0} ns |");
    // One after the other, as a thread with one question at a time does: nothing is fetched ahead.
    let chained = |with: &[Origin]| {
        best(with.len(), || {
            let mut place = 0;
            for _ in 0..with.len() {
                let found = live.identify(&with[place % with.len()], at).found;
                place += 1 + found.map_or(0, |found| found.term.until.unwrap_or(0) as usize & 1);
            }
            black_box(place);
        })
    };
    println!("| the same by address, each after the one before | {:.0} ns |", chained(&origins));
    let questions: Vec<Question> = (0..1_000)
        .map(|n| format!("www.site{}-{}.example.{}", n % 10_000, n % LISTS, if n % 10 == 0 { "org" } else { "net" }))
        .map(|name| Question { qname: Name::from_text(&name).expect("a name"), qtype: RecordType::A, qclass: CLASS_IN })
        .collect();
    let mut blocked = 0;
    let decide = best(LOOK_UPS, || {
        blocked = 0;
        for (i, origin) in origins.iter().enumerate() {
            let client = snapshot.identify(origin, at);
            let verdict = policy::on_query(snapshot, client, &questions[i % 1_000], &mut ());
            blocked += usize::from(matches!(verdict, QueryVerdict::Block(_)));
        }
    });
    assert_eq!(blocked, LOOK_UPS / 10);
    println!("| a decision: who asks, and the ladder over {LISTS} lists of 10,000 names | {decide:.0} ns |");
    let without = Snapshot { subscribers: None, ..snapshot.clone() };
    let alone = best(LOOK_UPS, || {
        for (i, origin) in origins.iter().enumerate() {
            let client = without.identify(origin, at);
            black_box(policy::on_query(&without, client, &questions[i % 1_000], &mut ()));
        }
    });
    println!("| the same without subscribers | {alone:.0} ns |");
}

fn updates(live: &Live, mut writer: Writer) {
    let stop = AtomicBool::new(false);
    let order = shuffled(LOOK_UPS);
    let at = UnixTime(i64::from(NOW));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let origins: Vec<Origin> = order.iter().map(|&n| Origin::new(source(n), None, Transport::Udp)).collect();
            let (mut asked, mut longest, began) = (0_u64, 0, Instant::now());
            while !stop.load(Ordering::Relaxed) {
                for origins in origins.chunks(64) {
                    let batch = Instant::now();
                    for origin in origins {
                        assert_ne!(black_box(live.identify(origin, at)).standing, Standing::Unknown);
                    }
                    longest = longest.max(batch.elapsed().as_nanos());
                    asked += 64;
                }
            }
            (began.elapsed().as_nanos() as f64 / asked as f64, longest as f64 / 1e6)
        });
        let began = Instant::now();
        let mut count = 0_u32;
        while began.elapsed().as_secs_f64() < 2.0 {
            for _ in 0..1_000 {
                let n = order[count as usize % LOOK_UPS];
                writer.apply(&put(n, NOW + 1_200 + count % 7)).expect("it is there already");
                count += 1;
            }
        }
        let took = began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let (ns, longest) = reader.join().expect("the reader found everybody");
        println!("| confirmations of sessions while one thread asks | {:.0} a second |", f64::from(count) / took);
        println!("| who asks, meanwhile | {ns:.0} ns; the slowest batch of 64 {longest:.2} ms |");
    });
}

/// Each of sixty thousand sessions ends and begins, in no order, a tenth of the packets twice: packets to table.
fn reboot() {
    const SESSIONS: u32 = 60_000;
    const SECRET: &[u8] = b"testing123";
    let mut packets = Vec::new();
    for n in 0..SESSIONS {
        for (status, session, at) in [(1, n, 0), (2, n, 500), (1, n + SESSIONS, 1_000)] {
            let mut packet = vec![4, 1, 0, 0];
            packet.extend([0; 16]);
            let mut put = |kind: u8, value: &[u8]| {
                packet.extend([kind, value.len() as u8 + 2]);
                packet.extend_from_slice(value);
            };
            put(40, &u32::to_be_bytes(status));
            put(32, b"bng-1");
            put(44, &session.to_be_bytes());
            put(87, format!("line-{n}").as_bytes());
            put(8, &(0x0a00_0000 + n).to_be_bytes());
            put(55, &(NOW + at).to_be_bytes());
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            radius::sign(&mut packet, SECRET);
            packets.push(packet);
        }
    }
    let mut random = Lcg(5);
    for i in (1..packets.len()).rev() {
        packets.swap(i, random.next() as usize % (i + 1));
    }
    packets.extend((0..packets.len() / 10).map(|i| packets[i * 7 % packets.len()].clone()).collect::<Vec<_>>());
    let (table, mut writer) = Table::new((1, 2));
    let (mut sessions, mut changes) = (Sessions::default(), Vec::new());
    let began = Instant::now();
    for packet in &packets {
        let told = radius::read(packet, SECRET).expect("signed with this secret");
        let token = told.line(&TokenFrom::DEFAULT).map(|line| Token::of(&TokenKey::LABELS, line));
        let report =
            Report { told: &told, realm: Realm(0), token, profile: None, now: NOW + 1_500, confirmed_for: 1_200 };
        sessions.take(&report, &table, &mut changes);
        black_box(radius::acknowledge(packet, SECRET));
        changes.drain(..).for_each(|change| writer.apply(&change).expect("they fit"));
    }
    let took = began.elapsed();
    assert_eq!((sessions.open(), writer.counts().v4), (SESSIONS as usize, SESSIONS as usize));
    println!(
        "| a BNG of {SESSIONS} sessions begins anew: {} packets, out of order, a tenth twice | {:.2} s, {:.0} packets a second |",
        packets.len(),
        took.as_secs_f64(),
        packets.len() as f64 / took.as_secs_f64()
    );
    println!("| memory of a session beside its entry | {:.0} octets |", sessions.octets() as f64 / f64::from(SESSIONS));
}

fn main() {
    println!("| what | figure |");
    println!("|---|---|");
    let mut snapshot = snapshot();
    let (table, writer) = fill();
    let live = Live::new(table, &snapshot.profiles, Arc::from([]));
    snapshot.subscribers = Some(live.clone());
    look_ups(&live, &snapshot);
    updates(&live, writer);
    reboot();
}
