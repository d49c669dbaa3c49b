//! What does it cost to know who asks, when a million lines come and go?
//!
//! `cargo bench --bench subscribers` fills a table with a million prefixes and a million tokens and prints, each with what it must
//! be: octets of memory a subscriber, nanoseconds a look-up (by address, by token, of strangers), a whole decision (who asks, and the
//! ladder over a hundred lists and ten windows) and what it allocates, changes a second while readers ask, what a cache hit of the
//! fast lane takes while fifty thousand changes a second are applied and while none is; then sixty thousand sessions of a BNG that
//! began anew. It checks what it timed, and ends with 1 when a figure is not what it must be. Speed of light of a look-up: two
//! lines of memory that no cache holds, the prefix's and the token's.

#[allow(dead_code)]
mod names;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use lachan::daemon::lane::{Fast, Lane};
use lachan::daemon::prefetch::{prefetch, prefetch_at};
use lachan::daemon::reload::Loader;
use lachan::daemon::resolver::Resolver;
use lachan::daemon::subscribers::{Feed, Subscribers};
use lachan::daemon::telemetry::Metrics;
use lachan::engine::answer::{AnswerBuilder, Section};
use lachan::engine::client::{Realm, Token, TokenKey, UnixTime};
use lachan::engine::matcher::Together;
use lachan::engine::name::Name;
use lachan::engine::policy::{self, QueryVerdict};
use lachan::engine::query::{CLASS_IN, Origin, Question, Rcode, RecordType, Transport};
use lachan::engine::radius::sessions::{Report, Sessions};
use lachan::engine::radius::{self, TokenFrom};
use lachan::engine::snapshot::Snapshot;
use lachan::engine::subscribers::{Change, Entry, Holder, Key, Live, Reader, Sought, Standing, Table, Term, Writer};
use names::Lcg;

const LOOK_UPS: usize = 1_000_000;
const ROUNDS: usize = 7;
const NOW: u32 = 1_800_000_000;
const LISTS: usize = 100;
const WINDOWS: u32 = 10;
/// What a second of a country's sessions brings.
const UPDATES_A_SECOND: u32 = 50_000;
/// How long hits are measured, with changes and without.
const SERVED: Duration = Duration::from_secs(5);
const BATCH: usize = 64;

/// Counts what a thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[allow(unsafe_code)]
// SAFETY: every call goes on to the system's allocator as it came; counting touches a number of the thread's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The lines of the table that is printed.
#[derive(Default)]
struct Figures {
    missed: usize,
}

impl Figures {
    fn head() -> Figures {
        println!("| what | figure | must |\n|---|---|---|");
        Figures::default()
    }

    fn tell(&self, what: &str, figure: &str) {
        println!("| {what} | {figure} | |");
    }

    fn must(&mut self, what: &str, figure: &str, must: &str, is_met: bool) {
        self.missed += usize::from(!is_met);
        println!("| {what} | {figure} | {must}{} |", if is_met { "" } else { ": **missed**" });
    }
}

/// A million; `-- LINES` for a glance whether all of it runs.
fn lines() -> u32 {
    static LINES: OnceLock<u32> = OnceLock::new();
    *LINES.get_or_init(|| std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1_000_000))
}

fn token(n: u32) -> Token {
    // A letter for each four bits: letters of either case would be one and the same.
    let letters: [u8; 8] = std::array::from_fn(|i| b'a' + (n >> (4 * i) & 15) as u8);
    Token::of(&TokenKey::LABELS, &letters)
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

/// Ten profiles with ten windows each, over a hundred lists.
fn config(write: impl Fn(&str, &str)) -> String {
    let mut config = "[listen]\nadmin = \"off\"\n[access]\nallow = [\"100.64.0.0/10\", \"2001:db8::/32\"]\n[[upstream]]\nservers = \
                      [\"udp://127.0.0.1:9\"]\n[subscribers]\ninterim_interval = \"10 min\"\n[profile.default]\nblock = [\"adult\"]\nsafe_search = false\n"
        .to_owned();
    for profile in 0..10 {
        config += &format!("[profile.p{profile}]\nblock = [\"adult\", \"games\"]\nallow = [\"a{profile}.example\"]\n");
        for window in 0..WINDOWS {
            config += &format!(
                "[profile.p{profile}.window.w{window}]\ncategories = [\"social\"]\ndays = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]\nfrom = \"{:02}:00\"\nto = \"{:02}:30\"\n",
                2 * window,
                2 * window
            );
        }
    }
    for list in 0..LISTS {
        let category = if list % 2 == 0 { "adult" } else { "games" };
        config += &format!("[list.l{list}]\ncategory = \"{category}\"\nfile = \"l{list}.txt\"\n");
        let names: String = (0..10_000).map(|n| format!("www.site{n}-{list}.example.org\n")).collect();
        write(&format!("l{list}.txt"), &names);
    }
    config
}

/// A resolver with a table of subscribers that is filled.
fn resolver() -> (Arc<Resolver>, Arc<Subscribers>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).expect("room for a file");
    let config = config(write);
    write("lachan.toml", &config);
    let mut loader = Loader::new(Some(directory.path().join("lachan.toml")));
    let mut loaded = loader.load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
    loaded.generation.snapshot = loaded.generation.snapshot.clone().with_hours_from(Some(UnixTime(i64::from(NOW))));
    let subscribers = Arc::clone(loader.subscribers());
    subscribers.in_force(loaded.settings.subscribers.as_ref(), loaded.generation.snapshot.subscribers.as_ref());
    (Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new()))), subscribers)
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
    (0..count).map(|_| random.next() as u32 % lines()).collect()
}

fn fill(figures: &mut Figures) -> (Arc<Table>, Writer) {
    let (table, mut writer) = Table::new((1, 2));
    let began = Instant::now();
    for n in 0..lines() {
        writer.apply(&put(n, NOW + 1_200)).expect("a million fit");
        let profile = table.intern(&format!("p{}", n % 10));
        writer.apply(&Change::Choose(token(n), profile)).expect("a million fit");
    }
    let counts = writer.counts();
    assert_eq!((counts.v4 + counts.v6, counts.tokens), (lines() as usize, lines() as usize));
    let octets = table.octets();
    let (mib, each) = (octets as f64 / 1_048_576.0, octets as f64 / f64::from(lines()));
    figures.must("a million prefixes and a million tokens", &format!("{mib:.1} MiB"), "≤ 100 MiB", mib <= 100.0);
    figures.must("memory of a subscriber", &format!("{each:.1} octets"), "≤ 100", each <= 100.0);
    let rate = 2.0 * f64::from(lines()) / began.elapsed().as_secs_f64();
    figures.tell("filling them, one thread", &format!("{rate:.0} changes a second"));
    (table, writer)
}

/// As the fast lane looks up: a batch at a time, what will be read asked for ahead.
fn look_all(live: &Live, reader: &mut Reader, origins: &[Origin], at: UnixTime) {
    let (mut sought, mut found) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    for batch in origins.chunks(BATCH) {
        sought.clear();
        sought.extend(batch.iter().map(Sought::of));
        live.find_all(reader, &sought, &mut found, prefetch_at);
        for held in &found {
            black_box(live.judge(*held, at));
        }
    }
}

/// One at a time, as a connection's questions come.
fn look_each(live: &Live, reader: &mut Reader, origins: &[Origin], at: UnixTime) {
    for origin in origins {
        black_box(live.identify_by(reader, origin, at));
    }
}

fn look_ups(figures: &mut Figures, live: &Live, snapshot: &Snapshot) {
    let asked = shuffled(LOOK_UPS);
    let at = UnixTime(i64::from(NOW));
    let origins: Vec<Origin> = asked.iter().map(|&n| Origin::new(source(n), None, Transport::Udp)).collect();
    let known = origins.iter().filter(|origin| live.identify(origin, at).standing == Standing::Known).count();
    assert_eq!(known, LOOK_UPS);
    let mut reader = live.table.reader();
    let reader = &mut reader;
    let by_address = best(LOOK_UPS, || look_all(live, reader, &origins, at));
    let what = "who asks, by address (IPv4 /32 and IPv6 /56 in turn)";
    figures.must(what, &format!("{by_address:.0} ns"), "≤ 100 ns", by_address <= 100.0);
    let v4: Vec<Origin> = origins.iter().filter(|origin| origin.source.is_ipv4()).copied().collect();
    let by_v4 = best(v4.len(), || look_all(live, reader, &v4, at));
    figures.must("who asks, by IPv4 address", &format!("{by_v4:.0} ns"), "≤ 100 ns", by_v4 <= 100.0);
    let strangers: Vec<Origin> = asked
        .iter()
        .map(|&n| Origin::new((Ipv4Addr::from_bits(0x0a00_0000 + n), 9).into(), None, Transport::Udp))
        .collect();
    let none = strangers.iter().all(|origin| live.identify(origin, at).standing == Standing::Unknown);
    assert!(none);
    let each = best(LOOK_UPS, || look_each(live, reader, &origins, at));
    figures.tell("who asks, by address, one at a time", &format!("{each:.0} ns"));
    let unknown = best(LOOK_UPS, || look_all(live, reader, &strangers, at));
    figures.tell("an address that nobody told of", &format!("{unknown:.0} ns"));
    let tokens: Vec<Origin> =
        asked.iter().zip(&strangers).map(|(&n, origin)| Origin { identity: Some(token(n)), ..*origin }).collect();
    assert!(tokens.iter().all(|origin| live.identify(origin, at).standing == Standing::Known));
    let by_token = best(LOOK_UPS, || look_all(live, reader, &tokens, at));
    figures.must("who asks, by token", &format!("{by_token:.0} ns"), "≤ 100 ns", by_token <= 100.0);
    let each = best(LOOK_UPS, || look_each(live, reader, &tokens, at));
    figures.tell("who asks, by token, one at a time", &format!("{each:.0} ns"));
    // One after the other, as a thread with one question at a time does: nothing is fetched ahead.
    let mut chained = |with: &[Origin]| {
        best(with.len(), || {
            let mut place = 0;
            for _ in 0..with.len() {
                let found = live.identify_by(reader, &with[place % with.len()], at).found;
                place += 1 + found.map_or(0, |found| found.term.until.unwrap_or(0) as usize & 1);
            }
            black_box(place);
        })
    };
    figures.tell("the same by address, each after the one before", &format!("{:.0} ns", chained(&origins)));
    let questions: Vec<Question> = (0..1_000)
        .map(|n| format!("www.site{}-{}.example.{}", n % 10_000, n % LISTS, if n % 10 == 0 { "org" } else { "net" }))
        .map(|name| Question { qname: Name::from_text(&name).expect("a name"), qtype: RecordType::A, qclass: CLASS_IN })
        .collect();
    let (mut reader, mut names) = (live.table.reader(), Together::default());
    let (mut sought, mut found) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut decide_all = || {
        let mut blocked = 0;
        for (n, batch) in origins.chunks(BATCH).enumerate() {
            sought.clear();
            sought.extend(batch.iter().map(Sought::of));
            live.find_all(&mut reader, &sought, &mut found, prefetch_at);
            let question = |i: usize| &questions[(n * BATCH + i) % 1_000];
            snapshot.index.names.look_up_together(
                batch.len(),
                |i| question(i).qname.as_wire(),
                &mut names,
                &mut prefetch,
            );
            for (i, origin) in batch.iter().enumerate() {
                let client = snapshot.identify_held(found[i], origin, at);
                let verdict = policy::on_query_found(snapshot, client, question(i), Some(names.hits(i)), &mut ());
                blocked += usize::from(matches!(verdict, QueryVerdict::Block(_)));
            }
        }
        blocked
    };
    // The first time makes room.
    decide_all();
    let before = ALLOCATIONS.get();
    assert_eq!(decide_all(), LOOK_UPS / 10);
    let allocated = ALLOCATIONS.get() - before;
    let decide = best(LOOK_UPS, || {
        black_box(decide_all());
    });
    let what = format!("a decision: who asks, and the ladder over {LISTS} lists of 10,000 names and {WINDOWS} windows");
    figures.must(&what, &format!("{decide:.0} ns"), "≤ 250 ns (aim: 120)", decide <= 250.0);
    figures.must("allocations of a million decisions", &allocated.to_string(), "0", allocated == 0);
    let without = Snapshot { subscribers: None, ..snapshot.clone() };
    let alone = best(LOOK_UPS, || {
        for (i, origin) in origins.iter().enumerate() {
            let client = without.identify(origin, at);
            black_box(policy::on_query(&without, client, &questions[i % 1_000], &mut ()));
        }
    });
    figures.tell("a decision without subscribers", &format!("{alone:.0} ns"));
}

fn updates(figures: &mut Figures, live: &Live, mut writer: Writer) {
    let stop = AtomicBool::new(false);
    let order = shuffled(LOOK_UPS);
    let at = UnixTime(i64::from(NOW));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let origins: Vec<Origin> = order.iter().map(|&n| Origin::new(source(n), None, Transport::Udp)).collect();
            let mut reader = live.table.reader();
            let (mut asked, mut longest, began) = (0_u64, 0, Instant::now());
            while !stop.load(Ordering::Relaxed) {
                for origins in origins.chunks(64) {
                    let batch = Instant::now();
                    for origin in origins {
                        assert_ne!(black_box(live.identify_by(&mut reader, origin, at)).standing, Standing::Unknown);
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
        let rate = f64::from(count) / took;
        let (what, must) = ("confirmations of sessions while one thread asks", "≥ 50,000 a second");
        figures.must(what, &format!("{rate:.0} a second"), must, rate >= f64::from(UPDATES_A_SECOND));
        figures.tell("who asks, meanwhile", &format!("{ns:.0} ns; the slowest batch of 64 {longest:.2} ms"));
    });
}

/// Each of sixty thousand sessions ends and begins, in no order, a tenth of the packets twice: packets to table.
fn reboot(figures: &mut Figures) {
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
        black_box(radius::answer(packet, SECRET).expect("signed with this secret"));
        changes.drain(..).for_each(|change| writer.apply(&change).expect("they fit"));
    }
    let took = began.elapsed();
    assert_eq!((sessions.open(), writer.counts().v4), (SESSIONS as usize, SESSIONS as usize));
    let secs = took.as_secs_f64();
    let what =
        format!("a BNG of {SESSIONS} sessions begins anew: {} packets, out of order, a tenth twice", packets.len());
    let figure = format!("{secs:.2} s, {:.0} packets a second", packets.len() as f64 / secs);
    figures.must(&what, &figure, "≤ 60 s", secs <= 60.0);
    let octets = sessions.octets() as f64 / f64::from(SESSIONS);
    figures.tell("memory of a session beside its entry", &format!("{octets:.0} octets"));
}

/// Nanoseconds a hit, of batches: the middle one, and the one that is slower than 99 of 100.
struct Hits {
    middle: u32,
    slow: u32,
    count: usize,
}

/// Hits of the fast lane, as a listener takes them, by subscribers all over the table.
fn hits(lane: &mut Lane, packets: &[Vec<u8>], sources: &[SocketAddr], stop: &AtomicBool) -> Hits {
    let (mut each, mut out, mut at) = (Vec::new(), Vec::with_capacity(4_096), 0_usize);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut batch = lane.begin(began);
        let mut answered = 0;
        let origin = |i: usize| Origin::new(sources[i % sources.len()], None, Transport::Udp);
        batch.look_ahead((at..at + BATCH).map(|i| Some(origin(i))), prefetch_at);
        for i in at..at + BATCH {
            let origin = origin(i);
            let fast = batch.answer_or_wait(i - at, &packets[i % packets.len()], origin, &mut out);
            answered += usize::from(fast == Some(Fast::Answer) && out[3] & 15 == 0);
        }
        batch.look_up(prefetch);
        while let Some((_, fast)) = batch.answer_next(&mut out) {
            answered += usize::from(fast == Fast::Answer && out[3] & 15 == 0);
        }
        let ended = Instant::now();
        batch.end(ended);
        assert_eq!(answered, BATCH, "every hit is answered");
        each.push((ended.duration_since(began).as_nanos() / BATCH as u128) as u32);
        at += BATCH;
    }
    each.sort_unstable();
    Hits { middle: each[each.len() / 2], slow: each[each.len() * 99 / 100], count: at }
}

/// Cache hits while changes are applied, and while none is.
fn serving(figures: &mut Figures, resolver: &Arc<Resolver>, subscribers: &Arc<Subscribers>) {
    let table = subscribers.table();
    let profiles: Vec<_> = (0..10).map(|n| table.intern(&format!("p{n}"))).collect();
    let all: Vec<Change> =
        (0..lines()).flat_map(|n| [put(n, NOW + 1_200), Change::Choose(token(n), profiles[n as usize % 10])]).collect();
    subscribers.apply(Feed::Radius, &all).expect("a million fit");
    drop(all);
    let names: Vec<Name> =
        (0..10_000).map(|n| Name::from_text(&format!("www{n}.good.example")).expect("a name")).collect();
    let generation = resolver.cell.load();
    for qname in &names {
        let question = Question { qname: qname.clone(), qtype: RecordType::A, qclass: CLASS_IN };
        let group = generation.snapshot.routes.group_for(qname).expect("there is an upstream");
        let key = lachan::engine::cache::Key::new(&question, false, false, generation.snapshot.routes.key(group));
        let mut made = AnswerBuilder::new(Rcode::NOERROR);
        made.push(Section::Answer, qname.as_wire(), RecordType::A, 3_600, &[198, 51, 100, 7]);
        resolver.cache.put(key, Arc::new(made.finish()), false, Duration::from_secs(86_400));
    }
    let packets: Vec<Vec<u8>> = names
        .iter()
        .map(|qname| {
            let octets =
                [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01", qname.as_wire(), b"\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0"];
            octets.concat()
        })
        .collect();
    let sources: Vec<SocketAddr> = shuffled(LOOK_UPS).into_iter().map(source).collect();
    let mut lane = Lane::new(Arc::clone(resolver));
    let order = shuffled(LOOK_UPS);
    let mut measured = |rate: u32| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| hits(&mut lane, &packets, &sources, &stop));
            let (began, mut made) = (Instant::now(), 0_u32);
            // A hundred times a second, as packets come in bursts.
            let mut changes = Vec::with_capacity(rate as usize / 100);
            while began.elapsed() < SERVED {
                changes.clear();
                let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u32;
                for count in made..due {
                    let n = order[count as usize % LOOK_UPS];
                    changes.push(match count % 5 {
                        0 => Change::Choose(token(n), profiles[count as usize % 10]),
                        _ => put(n, NOW + 1_200 + count % 7),
                    });
                }
                subscribers.apply(Feed::Radius, &changes).expect("all are there already");
                made = due;
                std::thread::sleep(Duration::from_millis(10));
            }
            let rate = f64::from(made) / began.elapsed().as_secs_f64();
            stop.store(true, Ordering::Relaxed);
            (reader.join().expect("every hit was answered"), rate)
        })
    };
    measured(0);
    let (quiet, _) = measured(0);
    let (busy, rate) = measured(UPDATES_A_SECOND);
    let least = f64::from(UPDATES_A_SECOND) * 0.99;
    figures.must(
        "changes applied while serving",
        &format!("{rate:.0} a second"),
        "≥ 50,000 (1 % of pace)",
        rate >= least,
    );
    let told = |hits: &Hits| format!("{} ns, 99 %: {} ns, of {} hits", hits.middle, hits.slow, hits.count);
    figures.tell("a cache hit of a subscriber, batches of 64, no changes", &told(&quiet));
    let is_flat = busy.middle * 10 <= quiet.middle * 11 && busy.slow * 10 <= quiet.slow * 15;
    figures.must("the same with 50,000 changes a second", &told(&busy), "flat: within 10 %, 99 % within half", is_flat);
}

fn main() -> ExitCode {
    let mut figures = Figures::head();
    let (resolver, subscribers) = resolver();
    let mut snapshot = resolver.cell.load().snapshot.clone();
    {
        let (table, writer) = fill(&mut figures);
        let live = Live::new(table, &snapshot.profiles, Arc::from([]));
        snapshot.subscribers = Some(live.clone());
        look_ups(&mut figures, &live, &snapshot);
        updates(&mut figures, &live, writer);
    }
    serving(&mut figures, &resolver, &subscribers);
    reboot(&mut figures);
    if figures.missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
