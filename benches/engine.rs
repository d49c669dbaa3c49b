//! What does one query cost inside the process, without its sockets: read it, decide, answer?
//!
//! Each group says what physics allows. The machine's figures are in RESULTS.md; what is timed is checked first.

mod names;

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use lachan::daemon::cache::Cache;
use lachan::daemon::reload::Loader;
use lachan::daemon::resolver::{Begun, Resolver};
use lachan::daemon::snapshot_cell::Generation;
use lachan::daemon::telemetry::Metrics;
use lachan::engine::answer::{Answer, AnswerBuilder, Section};
use lachan::engine::cache::Key;
use lachan::engine::client::Client;
use lachan::engine::limits::UDP_PAYLOAD_MAX;
use lachan::engine::name::Name;
use lachan::engine::policy::{self, AnswerVerdict, QueryVerdict};
use lachan::engine::query::{self, CLASS_IN, Header, Origin, Question, Rcode, RecordType, Transport};
use lachan::engine::reply::encoder::{Response, TtlRule, write};
use lachan::engine::reply::{self, Telling};
use names::{Lcg, list_text};

const ASKED: usize = 10_000;
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A policy as an operator has it: one list of a million names, blocked for everyone. Nothing is asked of the upstream.
const CONFIG: &str = r#"
[listen]
admin = "off"
[[upstream]]
servers = ["udp://127.0.0.1:9"]
[list.big]
category = "adult"
file = "big.txt"
[list.adult]
category = "adult"
file = "builtin:adult"
[profile.default]
block = ["adult"]
"#;

struct Bench {
    generation: Generation,
    client: Client,
    /// Some of the listed names, spread over the list.
    listed: Vec<Name>,
}

fn load() -> Bench {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = list_text();
    std::fs::write(directory.path().join("big.txt"), &text).expect("room for the list");
    let config = directory.path().join("bench.toml");
    std::fs::write(&config, CONFIG).expect("room for the configuration");
    let loaded = Loader::new(Some(config)).load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
    let generation = loaded.generation;
    let client = generation.snapshot.clients.identify(LOOPBACK);
    let lines: Vec<&[u8]> = text.split(|&octet| octet == b'\n').collect();
    let mut random = Lcg(3);
    let mut listed = Vec::with_capacity(ASKED);
    // Public suffixes and protected names in the list are spared, so not every line blocks.
    while listed.len() < ASKED {
        let line = lines[random.next() as usize % lines.len()];
        let Ok(name) = Name::from_ascii(line) else { continue };
        if matches!(decide(&generation, client, &name), QueryVerdict::Block(_)) {
            listed.push(name);
        }
    }
    Bench { generation, client, listed }
}

fn decide(generation: &Generation, client: Client, qname: &Name) -> QueryVerdict {
    policy::on_query(&generation.snapshot, client, &question(qname), &mut ())
}

fn question(qname: &Name) -> Question {
    Question { qname: qname.clone(), qtype: RecordType::A, qclass: CLASS_IN }
}

/// A query as `dig` sends it: RD, one question, an OPT.
fn packet(qname: &Name) -> Vec<u8> {
    let mut message = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01".to_vec();
    message.extend_from_slice(qname.as_wire());
    message.extend_from_slice(b"\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
    message
}

fn origin() -> Origin {
    Origin::new((LOOPBACK, 40_000).into(), Some(LOOPBACK), Transport::Udp)
}

/// What upstream says about a name: a CNAME and an address, or two addresses.
fn two_records(qname: &Name, first: RecordType) -> Answer {
    let mut made = AnswerBuilder::new(Rcode::NOERROR);
    let target = qname.parent().child("edge").expect("one short label more fits");
    match first {
        RecordType::CNAME => {
            made.push(Section::Answer, qname.as_wire(), RecordType::CNAME, 300, target.as_wire());
            made.push(Section::Answer, target.as_wire(), RecordType::A, 300, &[198, 51, 100, 7]);
        }
        _ => {
            made.push(Section::Answer, qname.as_wire(), RecordType::A, 300, &[198, 51, 100, 7]);
            made.push(Section::Answer, qname.as_wire(), RecordType::A, 300, &[198, 51, 100, 8]);
        }
    }
    made.finish()
}

fn name(text: &str) -> Name {
    text.parse().expect("written as a name")
}

/// Read a packet. Speed of light: 60 octets, each looked at once, and a name copied twice (as asked and canonical) into
/// 255 octets each: some 20 ns.
fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for (what, qname) in [("short", "vnexpress.net"), ("long", "a1.b22.c333.d4444.e55555.cdn.images.example.com.vn")] {
        let message = packet(&name(qname));
        let read = || query::read(&message, Header::peek(&message).expect("a query")).expect("a good query");
        assert_eq!(read().question.qname, name(qname));
        assert_eq!(read().edns.map(|e| e.udp_payload), Some(UDP_PAYLOAD_MAX));
        group.bench_function(what, |b| {
            b.iter(|| {
                let message = black_box(&message[..]);
                query::read(message, Header::peek(message).expect("a query")).expect("a good query").id
            });
        });
    }
    group.finish();
}

/// Decide about a question, with a million names listed. Speed of light: a hash over some 20 octets for each label that a
/// rule could stand at, and one cache line from memory for each (some 100 ns cold, a few hot).
fn decide_group(c: &mut Criterion) {
    let Bench { generation, client, listed } = load();
    let unlisted: Vec<Name> = (0..ASKED).map(|i| name(&format!("www.not-listed-{i}.example.org"))).collect();
    let protected = [name("www.vietcombank.com.vn")];
    let search = [name("www.google.com.vn")];
    let mut group = c.benchmark_group("decide");
    let mut bench = |what: &str, asked: &[Name], good: &dyn Fn(&QueryVerdict) -> bool| {
        for qname in asked {
            assert!(good(&decide(&generation, client, qname)), "{what}: {qname}");
        }
        let questions: Vec<Question> = asked.iter().map(question).collect();
        let mut at = 0;
        group.bench_function(what, |b| {
            b.iter(|| {
                let question = black_box(&questions[at]);
                at = if at + 1 == questions.len() { 0 } else { at + 1 };
                matches!(policy::on_query(&generation.snapshot, client, question, &mut ()), QueryVerdict::Block(_))
            });
        });
    };
    let blocks = |verdict: &QueryVerdict| matches!(verdict, QueryVerdict::Block(_));
    let allows = |verdict: &QueryVerdict| matches!(verdict, QueryVerdict::Allow(_));
    bench("miss_cold", &unlisted, &allows);
    bench("miss_hot", &unlisted[..100], &allows);
    bench("block_cold", &listed, &blocks);
    bench("block_hot", &listed[..100], &blocks);
    bench("protected", &protected, &allows);
    bench("safe_search", &search, &|verdict| matches!(verdict, QueryVerdict::Rewrite(..)));
    group.finish();
}

/// A school as it could be: a hundred lists, most of them blocked always, some in ten windows of their own.
fn school(directory: &std::path::Path, windows: usize) -> Generation {
    let names = names::list_text();
    let lines: Vec<&[u8]> = names.split(|&octet| octet == b'\n').collect();
    let mut config = String::from("[listen]\nadmin = \"off\"\n[[upstream]]\nservers = [\"udp://127.0.0.1:9\"]\n");
    let mut always = Vec::new();
    for (i, part) in lines.chunks(lines.len().div_ceil(100)).enumerate() {
        std::fs::write(directory.join(format!("{i}.txt")), part.join(&b'\n')).expect("room for a list");
        config.push_str(&format!("[category.c{i}]\n[list.l{i}]\ncategory = \"c{i}\"\nfile = \"{i}.txt\"\n"));
        if i >= 10 {
            always.push(format!("c{i}"));
        }
    }
    config.push_str(&format!("[profile.default]\nblock = {always:?}\n"));
    for i in 0..windows {
        config.push_str(&format!(
            "[profile.default.window.w{i}]\ncategories = [\"c{i}\"]\ndays = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]\n\
             from = \"{:02}:{:02}\"\nto = \"{:02}:30\"\n",
            i * 2,
            i,
            i * 2 + 1
        ));
    }
    let path = directory.join("school.toml");
    std::fs::write(&path, config).expect("room for the configuration");
    Loader::new(Some(path)).load(None, None).unwrap_or_else(|why| panic!("{why:?}")).generation
}

/// Decide with a hundred lists, without windows and with ten, near a border and far from one. Speed of light: what `decide`
/// costs, and a search among some three hundred borders that lie in one page: a few nanoseconds.
fn decide_by_the_hour(c: &mut Criterion) {
    let unlisted: Vec<Name> = (0..ASKED).map(|i| name(&format!("www.not-listed-{i}.example.org"))).collect();
    let mut group = c.benchmark_group("decide_100_lists");
    for windows in [0, 10] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let generation = school(directory.path(), windows);
        let snapshot = &generation.snapshot;
        let at = lachan::daemon::clock::unix_time();
        let client = Client { at, ..snapshot.clients.identify(LOOPBACK) };
        assert_eq!(snapshot.profile(client.profile).hours.len(), windows);
        assert!(!snapshot.hours_are_due(at));
        let lines = names::list_text();
        let lines: Vec<&[u8]> = lines.split(|&octet| octet == b'\n').collect();
        let mut random = Lcg(5);
        let mut listed = Vec::with_capacity(ASKED);
        while listed.len() < ASKED {
            let Ok(qname) = Name::from_ascii(lines[random.next() as usize % lines.len()]) else { continue };
            if matches!(policy::on_query(snapshot, client, &question(&qname), &mut ()), QueryVerdict::Block(_)) {
                listed.push(qname);
            }
        }
        for (what, asked) in [("nothing_listed", &unlisted), ("listed_hot", &listed[..100].to_vec())] {
            let questions: Vec<Question> = asked.iter().map(question).collect();
            let is_block = what == "listed_hot";
            let mut at = 0;
            group.bench_function(format!("{what}_{windows}_windows"), |b| {
                b.iter(|| {
                    let question = black_box(&questions[at]);
                    at = if at + 1 == questions.len() { 0 } else { at + 1 };
                    let verdict = policy::on_query(snapshot, client, question, &mut ());
                    assert_eq!(matches!(verdict, QueryVerdict::Block(_)), is_block);
                });
            });
        }
    }
    group.finish();
}

/// Write an answer. Speed of light: one allocation (20 ns) and 100 to 150 octets copied; a compressed name is a compare.
fn answer(c: &mut Criterion) {
    let Bench { generation, client, listed } = load();
    let snapshot = &generation.snapshot;
    let clean = name("www.example.org");
    let message = packet(&clean);
    let query = query::read(&message, Header::peek(&message).expect("a query")).expect("a good query");
    let mut group = c.benchmark_group("answer");

    for (what, first) in [("two_addresses", RecordType::A), ("cname_and_address", RecordType::CNAME)] {
        let answer = two_records(&clean, first);
        let encode = || {
            let ttl = TtlRule::Age { secs: 7, max: 3600 };
            let response = Response { ttl, ..Response::code(answer.rcode) };
            write(&query, Transport::Udp, &response, answer.records())
        };
        let again = Answer::from_wire(&encode(), &query.question).expect("what we write can be read");
        assert_eq!((again.records().len(), again.ttl_secs(RecordType::A)), (2, 293));
        group.bench_function(format!("write_{what}"), |b| b.iter(|| black_box(encode()).len()));

        // What a cache hit does after the look-up: judge each name and address for this client, then write.
        let QueryVerdict::Allow(permit) = policy::on_query(snapshot, client, &query.question, &mut ()) else {
            panic!("{clean} is not blocked");
        };
        let deliver = || match policy::on_answer(snapshot, client, &permit, &query.question, &answer) {
            AnswerVerdict::Deliver(cleared) => {
                let telling = Telling { ttl: TtlRule::Age { secs: 7, max: 3600 }, stale: false, trust_ad: false };
                reply::answer(cleared, snapshot, &query, origin(), &answer, telling)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(deliver().len(), encode().len());
        group.bench_function(format!("judge_and_write_{what}"), |b| b.iter(|| black_box(deliver()).len()));
    }

    let message = packet(&listed[0]);
    let blocked = query::read(&message, Header::peek(&message).expect("a query")).expect("a good query");
    let QueryVerdict::Block(verdict) = decide(&generation, client, &listed[0]) else { panic!("a listed name") };
    let encode = |out: &mut Vec<u8>| {
        reply::block(snapshot, client.profile, &blocked, origin(), &verdict, None, out).expect("NXDOMAIN is not silent")
    };
    let mut out = Vec::new();
    encode(&mut out);
    let again = Answer::from_wire(&out, &blocked.question).expect("what we write can be read");
    assert_eq!((again.rcode, again.section(Section::Authority).count(), again.ede.len()), (Rcode::NXDOMAIN, 1, 1));
    group.bench_function("write_block", |b| b.iter(|| encode(black_box(&mut out))));
    group.finish();
}

/// Find an answer in a cache of 100,000. Speed of light: one hash of the key, one line of the map, one of the entry.
fn cache(c: &mut Criterion) {
    let cache = Cache::new(256 << 20);
    let key = |i: usize| Key::new(&question(&name(&format!("www{i}.example.org"))), false, false, 1);
    let keys: Vec<Key> = (0..100_000).map(key).collect();
    for (i, key) in keys.iter().enumerate() {
        let qname = name(&format!("www{i}.example.org"));
        cache.put(key.clone(), Arc::new(two_records(&qname, RecordType::A)), false, Duration::ZERO);
    }
    assert_eq!(cache.figures().entries, keys.len());
    let absent: Vec<Key> = (200_000..300_000).map(key).collect();
    let mut group = c.benchmark_group("cache");
    for (what, asked, found) in
        [("hit_cold", &keys[..], true), ("hit_hot", &keys[..100], true), ("miss", &absent, false)]
    {
        assert!(asked.iter().all(|key| cache.get(key, Duration::ZERO).is_some() == found), "{what}");
        let mut at = 0;
        group.bench_function(what, |b| {
            b.iter(|| {
                let hit = cache.get(black_box(&asked[at]), Duration::ZERO);
                // A step that visits all, so that the next key is not the neighbour of the last.
                at = (at + 7_919) % asked.len();
                hit.is_some()
            });
        });
    }
    group.finish();
}

/// All of it: a datagram in, the octets of the answer out, counted. Speed of light: the sum of the groups above; what is
/// over is clocks, counters and locks.
fn begin(c: &mut Criterion) {
    let Bench { generation, client: _, listed } = load();
    let resolver = Arc::new(Resolver::new(generation, Arc::new(Metrics::new())));
    let clean: Vec<Name> = (0..ASKED).map(|i| name(&format!("www{i}.example.org"))).collect();
    let generation = resolver.cell.load_full();
    for qname in &clean {
        let question = question(qname);
        let group = generation.snapshot.routes.group_for(qname).expect("there is an upstream");
        let key = Key::new(&question, false, false, generation.snapshot.routes.key(group));
        resolver.cache.put(key, Arc::new(two_records(qname, RecordType::A)), false, Duration::from_secs(86_400));
    }
    let mut group = c.benchmark_group("begin");
    for (what, asked, rcode) in [("hit", &clean, Rcode::NOERROR), ("block", &listed, Rcode::NXDOMAIN)] {
        let messages: Vec<Vec<u8>> = asked.iter().map(packet).collect();
        for (message, qname) in messages.iter().zip(asked) {
            let Begun::Answer(octets) = resolver.begin(message, origin()) else { panic!("{what}: {qname} waits") };
            let answer = Answer::from_wire(&octets, &question(qname)).expect("what we write can be read");
            assert_eq!(answer.rcode, rcode, "{what}: {qname}");
        }
        let mut at = 0;
        group.bench_function(what, |b| {
            b.iter(|| {
                let begun = resolver.begin(black_box(&messages[at]), origin());
                at = if at + 1 == messages.len() { 0 } else { at + 1 };
                matches!(begun, Begun::Answer(_))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse, decide_group, decide_by_the_hour, answer, cache, begin);
criterion_main!(benches);
