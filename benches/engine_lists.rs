//! How long does a list of a million names take to read and compile, and how long one look-up in it?
//!
//! Speed of light: reading touches each octet of the text once (a few GB/s); a look-up waits for two or three cache
//! lines per label that some rule's depth lets it ask for. `names` says which list it is.

mod names;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lachan::daemon::reload::Loader;
use lachan::engine::list::{Format, ParseOptions, RuleSet, parse};
use lachan::engine::matcher::suffix::Hits;
use lachan::engine::matcher::{Builder, HashSeed, Index, Part, public_suffix};
use lachan::engine::name::Name;
use lachan::engine::policy::{self, QueryVerdict};
use lachan::engine::query::{CLASS_IN, Question, RecordType};
use lachan::engine::verdict::ListId;
use names::{Lcg, list_text};

const ASKED: usize = 100_000;

fn read(text: &[u8]) -> RuleSet {
    parse(text, ParseOptions { format: Format::Auto, bare_reach: None }).expect("the list is good")
}

fn compile(rules: &RuleSet) -> Index {
    let mut builder = Builder::new(HashSeed(11, 12));
    builder.add(ListId(0), Part::of(rules, &public_suffix::is_public_suffix));
    Index::of(builder.build().expect("a million names fit"))
}

fn lists(c: &mut Criterion) {
    let text = list_text();
    let rules = read(&text);
    let index = compile(&rules);
    let names = &index.names;
    eprintln!(
        "{} names, {:.2} octets each for queries, {:.2} for `explain`, {} in the text",
        names.len(),
        names.hot_octets() as f64 / names.len() as f64,
        names.cold_octets() as f64 / names.len() as f64,
        text.len() / names.len()
    );

    let mut group = c.benchmark_group("list");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(rules.report.lines.into()));
    group.bench_function("parse", |b| b.iter(|| read(black_box(&text)).rule_count()));
    group.bench_function("compile", |b| b.iter_batched(|| (), |()| compile(&rules), BatchSize::PerIteration));
    group.finish();

    // Cold: spread over the list, so that the cache holds little of the table. Hot: what most of a school's questions
    // are. The names asked lie end to end and are read in order, as they would come from a packet just parsed.
    let all: Vec<&[u8]> = rules.names().map(|rule| rule.name).collect();
    let mut random = Lcg(2);
    let mut hits = Hits::new();
    let mut cold: Vec<Name> = Vec::with_capacity(ASKED);
    // Public suffixes that the list holds are left out of the index.
    while cold.len() < ASKED {
        let name = all[random.next() as usize % all.len()];
        names.look_up(name, &mut hits);
        if !hits.is_empty() {
            cold.push(Name::from_wire(name).expect("a rule's name is wire form"));
        }
    }
    let below: Vec<Name> = cold.iter().filter_map(|name| name.child("www").ok()).collect();
    let other: Vec<Name> = (0..ASKED)
        .map(|i| Name::from_text(&format!("www.not-listed-{i}-{}.com", random.next() % 1000)).expect("a name"))
        .collect();
    let mut group = c.benchmark_group("look_up");
    for (what, asked, hits_min) in [
        ("hit_cold", &cold[..], ASKED),
        ("hit_hot", &cold[..1000], 1000),
        ("hit_below_cold", &below[..], below.len()),
        ("miss", &other[..], 0),
    ] {
        let found = asked.iter().filter(|name| {
            names.look_up(name.as_wire(), &mut hits);
            !hits.is_empty()
        });
        let found = found.count();
        assert!(found >= hits_min, "{what}: {found} hit");
        assert!(hits_min > 0 || found == 0, "{what}: {found} hit");
        let packed: Vec<u8> = asked.iter().flat_map(|name| name.as_wire().iter().copied()).collect();
        let mut at = 0;
        group.bench_function(what, |b| {
            b.iter(|| {
                let end = at + asked_octets(&packed[at..]);
                names.look_up(black_box(&packed[at..end]), &mut hits);
                at = if end == packed.len() { 0 } else { end };
                hits.is_empty()
            });
        });
    }
    group.finish();
}

/// Does a question cost more where there are more profiles? Speed of light: no — the name is looked up once, and a profile
/// is a mask over what that found.
fn profiles(c: &mut Criterion) {
    let text: String = (0..50_000).map(|i| format!("listed-{i}.example.net\n")).collect();
    let mut group = c.benchmark_group("profiles");
    for count in [1, 30, 300, 3_000] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("list.txt"), &text).expect("room for the list");
        // The first 300 have a list of their own as well, more than which one index does not hold.
        let profile = |i: usize| {
            let deny = if i < 300 { format!("deny = [\"denied-{i}.example.net\"]\n") } else { String::new() };
            let octets = format!("10.{}.{}.0/24", i / 256, i % 256);
            format!(
                "[profile.p{i}]\nblock = [\"adult\"]\n{deny}[client.c{i}]\nnetworks = [\"{octets}\"]\nprofile = \"p{i}\"\n"
            )
        };
        let head = "[listen]\nadmin = \"off\"\n[[upstream]]\nservers = [\"udp://127.0.0.1:9\"]\n";
        let list = "[list.l]\ncategory = \"adult\"\nfile = \"list.txt\"\n";
        let config = directory.path().join("bench.toml");
        std::fs::write(&config, [head, list, &(0..count).map(profile).collect::<String>()].concat())
            .expect("room for it");
        let loaded = Loader::new(Some(config)).load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
        let snapshot = loaded.generation.snapshot;
        let mut asked = 0;
        let mut ask = || {
            asked += 1;
            let i = asked % count;
            let client =
                snapshot.clients.identify(std::net::Ipv4Addr::new(10, (i / 256) as u8, (i % 256) as u8, 9).into());
            let text = if asked % 4 == 0 { "www.listed-" } else { "www.not-listed-" };
            let qname = Name::from_text(&format!("{text}{}.example.net", asked % 50_000)).expect("a name");
            let question = Question { qname, qtype: RecordType::A, qclass: CLASS_IN };
            matches!(policy::on_query(&snapshot, client, &question, &mut ()), QueryVerdict::Block(_))
                == (asked % 4 == 0)
        };
        assert!((0..50_000).all(|_| ask()), "{count}: a verdict is wrong");
        group.bench_function(format!("{count}"), |b| b.iter(&mut ask));
    }
    group.finish();
}

/// Octets of the wire-form name that `packed` begins with.
fn asked_octets(packed: &[u8]) -> usize {
    let mut end = 0;
    while packed[end] != 0 {
        end += 1 + usize::from(packed[end]);
    }
    end + 1
}

criterion_group!(benches, lists, profiles);
criterion_main!(benches);
