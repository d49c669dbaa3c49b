//! What does one answer of the fast lane cost without its sockets: a hit, a block, and both as people ask?
//!
//! `cargo bench --bench lane` prints nanoseconds of CPU an answer — for one thread, for each of two, with no policy and with ten
//! profiles over a hundred lists — and checks the codes of what it timed. Speed of light: some 130 octets copied in and out,
//! two lines of the cache's memory for a hit, five or six of the index's for a block.
//!
//! Nanoseconds are the machine's mood; instructions are not:
//!
//!     cargo bench --bench lane --no-run     # prints the binary's path
//!     valgrind --tool=callgrind --toggle-collect='*measured_answers*' --callgrind-out-file=block.out \
//!         PATH --callgrind 20000 block
//!
//! `hit`, `block` or `mix`; what callgrind sums up (`Collected`), divided by the number asked, is instructions an answer.

mod names;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use lachan::daemon::lane::{Fast, Lane};
use lachan::daemon::prefetch::prefetch;
use lachan::daemon::reload::Loader;
use lachan::daemon::resolver::Resolver;
use lachan::daemon::telemetry::Metrics;
use lachan::engine::answer::{Answer, AnswerBuilder, Section};
use lachan::engine::cache::Key;
use lachan::engine::name::Name;
use lachan::engine::policy::{self, QueryVerdict};
use lachan::engine::query::{CLASS_IN, Origin, Question, Rcode, RecordType, Transport};
use names::{Lcg, list_text};

/// Names in the cache.
const CACHED: usize = 10_000;
/// Listed names that are asked for: more than the processor's caches hold the index's lines of.
const LISTED: usize = 100_000;
/// Questions made for each mix.
const QUESTIONS: usize = 200_000;
/// Datagrams of one batch, as the listener takes them.
const BATCH: usize = 64;
/// Answers of one round, and rounds; the best round counts.
const ROUND: usize = 1_000_000;
const ROUNDS: usize = 7;
const MIXES: [&str; 3] = ["hit", "block", "mix"];
const PROFILES: u8 = 10;
const LISTS: usize = 100;

/// One list of a million names that blocks for everybody, and nothing else.
const PLAIN: &str = r#"
[listen]
admin = "off"
[access]
allow = ["127.0.0.0/8"]
[[upstream]]
servers = ["udp://127.0.0.1:9"]
[list.big]
category = "adult"
file = "big.txt"
[profile.default]
block = ["adult"]
safe_search = false
"#;

struct Bench {
    resolver: Arc<Resolver>,
    /// Questions of each mix, as datagrams.
    packets: [Packets; MIXES.len()],
}

/// Datagrams end to end, as a batch's buffers are: never far from the processor.
#[derive(Default)]
struct Packets {
    octets: Vec<u8>,
    ends: Vec<usize>,
    /// By code: how many answers of one way through.
    expected: [usize; 16],
}

impl Packets {
    /// A query as stubs send it: RD, one question, an OPT.
    fn push(&mut self, qname: &Name, expected: Rcode) {
        self.octets.extend_from_slice(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01");
        self.octets.extend_from_slice(qname.as_wire());
        self.octets.extend_from_slice(b"\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
        self.ends.push(self.octets.len());
        self.expected[usize::from(expected.0)] += 1;
    }

    fn get(&self, i: usize) -> &[u8] {
        &self.octets[if i == 0 { 0 } else { self.ends[i - 1] }..self.ends[i]]
    }
}

impl Bench {
    /// `is_rich`: with ten profiles over a hundred lists more.
    fn load(text: &[u8], is_rich: bool) -> Bench {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let write =
            |file: &str, text: &[u8]| std::fs::write(directory.path().join(file), text).expect("room for a file");
        write("big.txt", text);
        let cached: Vec<Name> = (0..CACHED).map(|i| name(&format!("www{i}.site{}.example.org", i % 100))).collect();
        let mut config = PLAIN.to_owned();
        if is_rich {
            for list in 0..LISTS {
                // Every second cached name is on a list or two that block nothing for those who ask.
                let of_list = cached.iter().step_by(2).skip(list).step_by(LISTS / 2).map(|name| format!("{name}\n"));
                write(&format!("l{list}.txt"), of_list.collect::<String>().as_bytes());
                config += &format!("[list.l{list}]\ncategory = \"games\"\nfile = \"l{list}.txt\"\n");
            }
            for profile in 0..PROFILES {
                config += &format!("[profile.p{profile}]\nblock = [\"adult\"]\nallow = [\"a{profile}.example\"]\n");
                config +=
                    &format!("[client.c{profile}]\nnetworks = [\"127.0.{profile}.0/24\"]\nprofile = \"p{profile}\"\n");
            }
        }
        write("lachan.toml", config.as_bytes());
        let loader = Loader::new(Some(directory.path().join("lachan.toml")));
        let loaded = { loader }.load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
        let resolver = Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new())));
        fill_cache(&resolver, &cached);
        let listed = listed_names(&resolver, text);
        let packets = MIXES.map(|mix| questions(mix, &cached, &listed));
        Bench { resolver, packets }
    }

    fn lane(&self) -> Lane {
        Lane::new(Arc::clone(&self.resolver))
    }
}

fn fill_cache(resolver: &Resolver, names: &[Name]) {
    let generation = resolver.cell.load();
    for (i, qname) in names.iter().enumerate() {
        let group = generation.snapshot.routes.group_for(qname).expect("there is an upstream");
        let key = Key::new(&question(qname), false, false, generation.snapshot.routes.key(group));
        let answer = if i % 2 == 0 { address(qname) } else { alias(qname) };
        resolver.cache.put(key, Arc::new(answer), false, Duration::from_secs(86_400));
    }
}

/// Names spread over the list that are blocked: some that it has are protected.
fn listed_names(resolver: &Resolver, text: &[u8]) -> Vec<Name> {
    let generation = resolver.cell.load();
    let client = generation.snapshot.clients.identify(LOOPBACK);
    let lines: Vec<&[u8]> = text.split(|&octet| octet == b'\n').collect();
    let mut random = Lcg(3);
    let mut listed = Vec::with_capacity(LISTED);
    while listed.len() < LISTED {
        let Ok(name) = Name::from_ascii(lines[random.next() as usize % lines.len()]) else { continue };
        let verdict = policy::on_query(&generation.snapshot, client, &question(&name), &mut ());
        if matches!(verdict, QueryVerdict::Block(_)) {
            listed.push(name);
        }
    }
    listed
}

fn questions(mix: &str, cached: &[Name], listed: &[Name]) -> Packets {
    let mut random = Lcg(5);
    let mut packets = Packets::default();
    for i in 0..QUESTIONS {
        // Few names are asked for often: the rank is a power, with an exponent that is evenly spread (Zipf's law).
        let share = (random.next() % (1 << 20)) as f64 / f64::from(1 << 20);
        let hit = &cached[(cached.len() as f64).powf(share) as usize - 1];
        let is_block = mix == "block" || mix == "mix" && random.next().is_multiple_of(10);
        if is_block {
            packets.push(&listed[i % listed.len()], Rcode::NXDOMAIN);
        } else {
            packets.push(hit, Rcode::NOERROR);
        }
    }
    packets
}

/// Answers `count` questions in batches and says how many got each code. By this name callgrind knows where to count.
#[inline(never)]
fn measured_answers(lane: &mut Lane, packets: &Packets, count: usize) -> [usize; 16] {
    let mut codes = [0; 16];
    let mut out = Vec::with_capacity(4096);
    for first in (0..count).step_by(BATCH) {
        let mut batch = lane.begin(std::time::Instant::now());
        for i in first..(first + BATCH).min(count) {
            let source = IpAddr::from([127, 0, (i % usize::from(PROFILES)) as u8, 1]);
            let origin = Origin::new((source, 40_000).into(), Some(LOOPBACK), Transport::Udp);
            if batch.answer_or_wait(i, packets.get(i % QUESTIONS), origin, &mut out) == Some(Fast::Answer) {
                codes[usize::from(out[3] & 15)] += 1;
            }
        }
        batch.look_up(prefetch);
        while let Some((_, fast)) = batch.answer_next(&mut out) {
            if fast == Fast::Answer {
                codes[usize::from(out[3] & 15)] += 1;
            }
        }
        batch.end(std::time::Instant::now());
    }
    codes
}

/// Warms up, then gives the best round's nanoseconds of CPU an answer.
fn best(bench: &Bench, mix: usize) -> f64 {
    let (mut lane, packets) = (bench.lane(), &bench.packets[mix]);
    let codes = measured_answers(&mut lane, packets, QUESTIONS);
    assert_eq!(codes, packets.expected, "{}: codes of the answers", MIXES[mix]);
    let round = || {
        let before = cpu_ns();
        let answered: usize = measured_answers(&mut lane, packets, ROUND).iter().sum();
        assert_eq!(answered, ROUND, "{}: answers", MIXES[mix]);
        (cpu_ns() - before) as f64 / ROUND as f64
    };
    std::iter::repeat_with(round).take(ROUNDS).fold(f64::INFINITY, f64::min)
}

/// As [`best`] on two threads at once: the mean of the two.
fn best_of_two(bench: &Bench, mix: usize) -> f64 {
    let start = Barrier::new(2);
    let one = || {
        start.wait();
        best(bench, mix)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(one);
        (one() + other.join().expect("the other thread's answers are good")) / 2.0
    })
}

/// Nanoseconds of CPU this thread had. The scheduler adds them up every few milliseconds.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells a thread's time");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("the first field is nanoseconds")
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn name(text: &str) -> Name {
    Name::from_text(text).expect("written as a name")
}

fn question(qname: &Name) -> Question {
    Question { qname: qname.clone(), qtype: RecordType::A, qclass: CLASS_IN }
}

fn address(qname: &Name) -> Answer {
    let mut made = AnswerBuilder::new(Rcode::NOERROR);
    made.push(Section::Answer, qname.as_wire(), RecordType::A, 3600, &[198, 51, 100, 7]);
    made.finish()
}

fn alias(qname: &Name) -> Answer {
    let mut made = AnswerBuilder::new(Rcode::NOERROR);
    let target = qname.parent().child("edge").expect("one short label more fits");
    made.push(Section::Answer, qname.as_wire(), RecordType::CNAME, 3600, target.as_wire());
    made.push(Section::Answer, target.as_wire(), RecordType::A, 3600, &[198, 51, 100, 7]);
    made.finish()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let text = list_text();
    if let Some(at) = arguments.iter().position(|argument| argument == "--callgrind") {
        let count = arguments.get(at + 1).and_then(|count| count.parse().ok()).expect("--callgrind N MIX");
        let mix = arguments.get(at + 2).and_then(|mix| MIXES.iter().position(|known| known == mix));
        let mix = mix.expect("--callgrind N MIX, and MIX is hit, block or mix");
        let bench = Bench::load(&text, true);
        let mut lane = bench.lane();
        // What is cached has its note from the first time on; not under the name that is counted.
        warm(&mut lane, &bench.packets[mix], count);
        let answered: usize = measured_answers(&mut lane, &bench.packets[mix], count).iter().sum();
        assert_eq!(answered, count, "answers");
        return;
    }
    let (plain, rich) = (Bench::load(&text, false), Bench::load(&text, true));
    println!("ns of CPU an answer, best of {ROUNDS} rounds of {ROUND}");
    println!("| mix | no policy | {PROFILES} profiles, {LISTS} lists | the same on each of two threads |");
    println!("|---|---|---|---|");
    for (i, mix) in MIXES.into_iter().enumerate() {
        let (without, with, two) = (best(&plain, i), best(&rich, i), best_of_two(&rich, i));
        println!("| {mix} | {without:.0} | {with:.0} | {two:.0} ({:.2} × one thread's rate) |", 2.0 * with / two);
    }
}

/// Answers every question that will be measured once.
fn warm(lane: &mut Lane, packets: &Packets, count: usize) {
    let mut batch = lane.begin(std::time::Instant::now());
    let mut out = Vec::with_capacity(4096);
    for i in 0..count.min(QUESTIONS) {
        let origin = Origin::new((LOOPBACK, 40_000).into(), Some(LOOPBACK), Transport::Udp);
        batch.answer(packets.get(i), origin, &mut out);
    }
    batch.end(std::time::Instant::now());
}
