//! Which structure should hold ten million names: how many octets, how long to build, how long to ask?
//!
//! `index_candidates LIST [--reversed]`: one name a line, or its labels reversed. All candidates are built from the same
//! sorted names and asked the same questions, taking turns; the least of several rounds counts.

mod filter;
mod front;
mod quotient;
mod symbols;
mod walk;

use std::hint::black_box;
use std::time::Instant;

use filter::Filter;
use front::Front;
use hashbrown::HashTable;
use quotient::Quotient;
use walk::{Hasher, Walk, starts};

const ASKED: usize = 500_000;
const ROUNDS: usize = 5;
const HASHER: Hasher = Hasher(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345);
const SECOND: Hasher = Hasher(0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89);

/// Names end to end.
#[derive(Default)]
struct Packed {
    octets: Vec<u8>,
    ends: Vec<u32>,
}

impl Packed {
    fn push(&mut self, name: &[u8]) {
        self.octets.extend_from_slice(name);
        self.ends.push(self.octets.len() as u32);
    }
    fn get(&self, i: usize) -> &[u8] {
        let from = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.octets[from..self.ends[i] as usize]
    }
    fn len(&self) -> usize {
        self.ends.len()
    }
}

struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize
    }
}

fn wire_of(key: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(key.len() + 2);
    for label in key.rsplit(|&c| c == b'.') {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    wire
}

fn read(path: &str, reversed: bool) -> Vec<Box<[u8]>> {
    let text = std::fs::read(path).unwrap();
    let mut keys: Vec<Box<[u8]>> = text
        .split(|&c| c == b'\n')
        .filter(|line| !line.is_empty() && line.len() < 254)
        .map(|line| {
            let mut labels: Vec<&[u8]> = line.split(|&c| c == b'.').collect();
            if !reversed {
                labels.reverse();
            }
            labels.join(&b'.').into()
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

trait Candidate {
    fn name(&self) -> &str;
    fn bytes(&self) -> usize;
    /// Names found at all depths.
    fn look_up(&self, wire: &[u8]) -> usize;
}

/// Calls `at(depth, label's start)` from the root, with the hash so far.
#[inline]
fn hashes(wire: &[u8], starts: &[u8; 128], n: usize, depths: u128, mut at: impl FnMut(usize, u64)) {
    let mut hash = HASHER.0;
    for d in 1..=n {
        let s = usize::from(starts[n - d]);
        hash = HASHER.below(hash, &wire[s..s + 1 + usize::from(wire[s])]);
        if depths >> d & 1 == 1 {
            at(d, hash);
        }
    }
}

struct Today {
    table: HashTable<(u32, u32)>,
    octets: Vec<u8>,
    depths: u128,
}

impl Candidate for Today {
    fn name(&self) -> &str {
        "hashbrown and octets"
    }
    fn bytes(&self) -> usize {
        self.table.allocation_size() + self.octets.len()
    }
    fn look_up(&self, wire: &[u8]) -> usize {
        let (starts, n) = starts(wire);
        let mut found = 0;
        hashes(wire, &starts, n, self.depths, |d, hash| {
            let suffix = &wire[usize::from(starts[n - d])..];
            found += usize::from(
                self.table.find(hash, |e| self.octets[e.0 as usize..].starts_with(suffix)).is_some(),
            );
        });
        found
    }
}

struct Fst {
    map: fst::Map<Vec<u8>>,
    depths: u128,
}

impl Candidate for Fst {
    fn name(&self) -> &str {
        "fst::Map"
    }
    fn bytes(&self) -> usize {
        self.map.as_fst().as_bytes().len()
    }
    fn look_up(&self, wire: &[u8]) -> usize {
        // One walk over the automaton: a suffix that is listed is a final state on the way.
        let (starts, n) = starts(wire);
        let fst = self.map.as_fst();
        let mut node = fst.root();
        let mut found = 0;
        for d in 1..=n {
            let from = usize::from(starts[n - d]);
            let dot = (d > 1).then_some(&b'.');
            for &c in dot.into_iter().chain(&wire[from + 1..from + 1 + usize::from(wire[from])]) {
                let Some(i) = node.find_input(c) else { return found };
                node = fst.node(node.transition(i).addr);
            }
            found += usize::from(self.depths >> d & 1 == 1 && node.is_final());
        }
        found
    }
}

struct Hashed {
    table: Quotient,
    filter: Option<Filter>,
    depths: u128,
}

impl Candidate for Hashed {
    fn name(&self) -> &str {
        if self.filter.is_some() { "96-bit hashes, filter" } else { "96-bit hashes" }
    }
    fn bytes(&self) -> usize {
        self.table.bytes() + self.filter.as_ref().map_or(0, Filter::bytes)
    }
    fn look_up(&self, wire: &[u8]) -> usize {
        let (starts, n) = starts(wire);
        let (mut h1, mut h2) = (HASHER.0, SECOND.0);
        let mut found = 0;
        for d in 1..=n {
            let s = usize::from(starts[n - d]);
            let label = &wire[s..s + 1 + usize::from(wire[s])];
            h1 = HASHER.below(h1, label);
            h2 = SECOND.below(h2, label);
            if self.depths >> d & 1 == 1 && self.filter.as_ref().is_none_or(|f| f.may_hold(h1)) {
                found += usize::from(self.table.find(h1, h2).is_some());
            }
        }
        found
    }
}

struct Blocks {
    name: String,
    front: Front,
    filter: Option<Filter>,
    depths: u128,
}

impl Candidate for Blocks {
    fn name(&self) -> &str {
        &self.name
    }
    fn bytes(&self) -> usize {
        self.front.bytes() + self.filter.as_ref().map_or(0, Filter::bytes)
    }
    fn look_up(&self, wire: &[u8]) -> usize {
        let (starts, n) = starts(wire);
        let mut maybe = 0u128;
        match &self.filter {
            Some(filter) => {
                hashes(wire, &starts, n, self.depths, |d, hash| maybe |= u128::from(filter.may_hold(hash)) << d)
            }
            None => maybe = self.depths & (u128::MAX >> (127 - n)),
        }
        if maybe == 0 {
            return 0;
        }
        let walk = Walk::of(wire, &starts, n);
        let mut found = 0;
        while maybe != 0 {
            let d = maybe.trailing_zeros() as usize;
            maybe &= maybe - 1;
            found += usize::from(self.front.find(&walk.key, usize::from(walk.ends[d])).is_some());
        }
        found
    }
}

fn timed<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = f();
    eprintln!("{what}: built in {:.2} s", start.elapsed().as_secs_f64());
    made
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let only_size = args.iter().any(|a| a == "--sizes");
    let keys = read(&args[0], args.iter().any(|a| a == "--reversed"));
    let n = keys.len();
    eprintln!("{n} names, {:.2} octets of key each", keys.iter().map(|k| k.len()).sum::<usize>() as f64 / n as f64);
    let mut depths = 0u128;
    let mut all = Packed::default();
    for key in &keys {
        let d = 1 + key.iter().filter(|&&c| c == b'.').count();
        depths |= 1 << d;
        all.push(key);
    }
    drop(keys);
    let get = |i: usize| all.get(i);
    let hashed: Vec<u64> = (0..if only_size { 0 } else { n }).map(|i| HASHER.of_key(get(i))).collect();
    if only_size {
        for (fan, inner) in [(16, 64), (24, 64), (32, 64), (48, 64), (64, 64)] {
            let start = Instant::now();
            let front = Front::build(n, get, fan, inner);
            println!(
                "blocks of {fan}/{inner}: {:.3} B/name, leaves {:.3}, {:.2} s",
                front.bytes() as f64 / n as f64,
                front.leaf_bytes as f64 / n as f64,
                start.elapsed().as_secs_f64()
            );
        }
        return;
    }
    let filter = |bits_per_name: f64, bits: u32| {
        timed(&format!("filter of {bits_per_name}"), || {
            let mut filter = Filter::new(n, bits_per_name, bits);
            hashed.iter().for_each(|&h| filter.insert(h));
            filter
        })
    };
    let mut candidates: Vec<Box<dyn Candidate>> = Vec::new();
    let quick = args.iter().any(|a| a == "--blocks");
    if !quick {
    candidates.push(timed("hashbrown", || {
        let mut octets = Vec::new();
        let mut entries = Vec::new();
        for i in 0..n {
            entries.push((octets.len() as u32, 0));
            octets.extend_from_slice(&wire_of(get(i)));
        }
        octets.shrink_to_fit();
        let mut table = HashTable::with_capacity(n);
        for (i, e) in entries.into_iter().enumerate() {
            table.insert_unique(hashed[i], e, |_| unreachable!());
        }
        Box::new(Today { table, octets, depths })
    }));
    candidates.push(timed("fst", || {
        let mut builder = fst::MapBuilder::memory();
        (0..n).for_each(|i| builder.insert(get(i), 0).unwrap());
        Box::new(Fst { map: fst::Map::new(builder.into_inner().unwrap()).unwrap(), depths })
    }));
    for with in [false, true] {
        let filter = with.then(|| filter(8.0, 5));
        candidates.push(timed("96-bit hashes", || {
            let both: Vec<(u64, u64)> = (0..n).map(|i| (hashed[i], SECOND.of_key(get(i)))).collect();
            Box::new(Hashed { table: Quotient::build(&both), filter, depths })
        }));
    }
    }
    for (fan, inner, bits, k) in if quick { vec![(32, 32, 8.0, 5)] } else { vec![(32, 64, 0.0, 0), (16, 64, 8.0, 5), (24, 64, 8.0, 5), (32, 32, 8.0, 5), (32, 64, 8.0, 5), (32, 64, 6.0, 4), (32, 128, 8.0, 5)] }
    {
        let filter = (bits > 0.0).then(|| filter(bits, k));
        let name = format!("blocks of {fan} under {inner}{}", if bits > 0.0 { format!(", filter of {bits} bits") } else { String::new() });
        candidates.push(timed(&name, || {
            Box::new(Blocks { name: name.clone(), front: Front::build(n, get, fan, inner), filter, depths })
        }));
    }

    if let Some(only) = args.iter().find_map(|a| a.strip_prefix("--only=")) {
        candidates.retain(|c| c.name().contains(only));
    }
    let mut random = Lcg(7);
    let mut questions: Vec<(&str, Packed, bool)> = Vec::new();
    let mut hit = Packed::default();
    let mut below = Packed::default();
    let mut miss = Packed::default();
    let mut deep = Packed::default();
    while miss.len() < ASKED {
        let key = get(random.next() % n);
        let wire = wire_of(key);
        hit.push(&wire);
        let child: Vec<u8> = [&b"\x03www"[..], &wire].concat();
        below.push(&child);
        // A neighbour that is not listed: one letter of the second label is another.
        let mut labels = key.split(|&c| c == b'.');
        let (top, mut second) = (labels.next().unwrap().to_vec(), labels.next().unwrap_or(b"x").to_vec());
        let at = random.next() % second.len();
        second[at] = b'a' + (random.next() % 26) as u8;
        let name = wire_of(&[&top[..], &second, b"www"].join(&b'.'));
        if candidates[0].look_up(&name) > 0 {
            continue;
        }
        miss.push(&name);
        deep.push(&[&b"\x01a\x02bc\x03def\x04ghij\x05klmno"[..], &name].concat());
    }
    let mut hot = Packed::default();
    (0..1000).for_each(|i| hot.push(hit.get(i)));
    let mut hot_miss = Packed::default();
    (0..1000).for_each(|i| hot_miss.push(miss.get(i)));
    questions.push(("hit", hit, true));
    questions.push(("hit below", below, true));
    questions.push(("miss", miss, false));
    questions.push(("deep miss", deep, false));
    questions.push(("hit hot", hot, true));
    questions.push(("miss hot", hot_miss, false));
    let mut least = vec![vec![f64::MAX; questions.len()]; candidates.len()];
    for _ in 0..ROUNDS {
        for (q, (what, names, hits)) in questions.iter().enumerate() {
            for (c, candidate) in candidates.iter().enumerate() {
                let turns = if names.len() < ASKED { 100 } else { 1 };
                let start = Instant::now();
                let mut found = 0;
                for _ in 0..turns {
                    for i in 0..names.len() {
                        let name = names.get(i);
                        // The next question waits for this answer, as a thread's next packet does.
                        found += usize::from(candidate.look_up(black_box(name)) > 0);
                        black_box(&found);
                    }
                }
                let ns = start.elapsed().as_nanos() as f64 / (turns * names.len()) as f64;
                least[c][q] = least[c][q].min(ns);
                assert_eq!(found, if *hits { turns * names.len() } else { 0 }, "{}: {what}", candidate.name());
            }
        }
    }
    print!("| candidate | octets a name |");
    questions.iter().for_each(|(what, ..)| print!(" {what} |"));
    println!();
    for (c, candidate) in candidates.iter().enumerate() {
        print!("| {} | {:.2} |", candidate.name(), candidate.bytes() as f64 / n as f64);
        least[c].iter().for_each(|ns| print!(" {ns:.0} |"));
        println!();
    }
}
