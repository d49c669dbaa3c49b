//! The octets: what is asked of an index that is large, odd or hostile. What rules mean is in `matcher::tests`.

use super::*;
use crate::engine::list::RuleSet;
use crate::engine::matcher::special::SpecialTable;
use crate::engine::matcher::{Builder, HashSeed, Index, Layer, Names, Part};
use crate::engine::name::Name;

const SEED: HashSeed = HashSeed(3, 4);

fn table(rules: &[(u16, Name, Reach, Effect)]) -> SuffixTable {
    let mut builder = Builder::new(SEED);
    for list in 0..1024 {
        let mut set = RuleSet::default();
        for (line, (_, name, reach, effect)) in rules.iter().enumerate().filter(|(_, rule)| rule.0 == list) {
            set.push(name, *reach, *effect, line as u32 + 1);
        }
        if set.rule_count() > 0 {
            builder.add(ListId(list), Part::of(&set, &|_| false));
        }
    }
    builder.build().unwrap().names
}

/// The table by itself, as queries ask it.
fn names(table: SuffixTable) -> Names {
    let addresses = crate::engine::matcher::address::AddressBuilder::default().build();
    Index::of(Layer { names: table, addresses, special: SpecialTable::default() }).names
}

fn again(table: &SuffixTable) -> SuffixTable {
    SuffixTable::open(Box::new(table.as_octets().to_vec())).unwrap()
}

fn exact(names: impl IntoIterator<Item = Name>) -> SuffixTable {
    table(&names.into_iter().map(|name| (0, name, Reach::Exact, Effect::List)).collect::<Vec<_>>())
}

fn wire(labels: &[&[u8]]) -> Name {
    let mut octets = Vec::new();
    for label in labels {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label);
    }
    octets.push(0);
    Name::from_wire(&octets).unwrap()
}

fn holds(names: &Names, name: &Name) -> bool {
    let mut hits = Hits::new();
    names.look_up(name.as_wire(), &mut hits);
    names.listed(&hits).contains(ListId(0))
}

#[test]
fn a_filter_that_is_cut_holds_nothing() {
    let whole = exact([wire(&[b"a"])]);
    let (depth, hash) = whole.hashes(&Labels::of(wire(&[b"a"]).as_wire())).last().unwrap();
    for (octets, holds) in [(0, false), (63, false), (64, true)] {
        let mut filter = whole.section(Section::Filter).to_vec();
        filter.truncate(octets);
        let cut = AtHand { filter: &filter, ..whole.at_hand() };
        assert_eq!(cut.passes(cut.probe(depth, hash).unwrap()), holds, "{octets}");
    }
}

#[test]
fn an_index_of_nothing_and_of_one_name() {
    let nothing = names(exact([]));
    assert!(!holds(&nothing, &wire(&[b"a"])));
    assert!(!holds(&nothing, &Name::ROOT));
    assert!(nothing.is_empty());
    assert_eq!(nothing.rules_at(Name::ROOT.as_wire()).count(), 0);
    for name in [Name::ROOT, wire(&[b"a"]), wire(&[b"www", b"example", b"com"])] {
        let one = names(exact([name.clone()]));
        assert!(holds(&one, &name));
        assert_eq!(one.rules_at(name.as_wire()).count(), 1);
        assert!(!holds(&one, &wire(&[b"b"])));
        assert_eq!(one.len(), 1);
    }
}

#[test]
fn every_octet_may_stand_in_a_label() {
    let names: Vec<Name> = (0..=255u8)
        .filter(|c| !c.is_ascii_uppercase())
        .flat_map(|c| [wire(&[&[c]]), wire(&[&[c, 0], b"com"]), wire(&[&[0], &[c], &[1, c, 255]]), wire(&[&[c; 63]])])
        .collect();
    // Every other name is listed, so that each has neighbours that are not.
    let table = self::names(exact(names.iter().step_by(2).cloned()));
    for (i, name) in names.iter().enumerate() {
        assert_eq!(holds(&table, name), i % 2 == 0, "{name}");
    }
}

#[test]
fn names_as_long_and_as_deep_as_names_can_be() {
    let deepest = [1, 0].repeat(127);
    let deepest = Name::from_wire(&[&deepest[..], &[0]].concat()).unwrap();
    let mut names: Vec<Name> = (0..=127).map(|depth| deepest.suffix(depth)).collect();
    for octet in [0, 1, b'a', 255] {
        let long = [&[octet; 63][..], &[octet; 63], &[octet; 63], &[octet; 61]];
        assert_eq!(wire(&long).as_wire().len(), NAME_OCTETS_MAX);
        names.push(wire(&long));
        for last in 0..64u8 {
            let mut first = [octet; 61];
            first[0] = last;
            names.push(wire(&[&first, long[0], long[1], long[2]]));
        }
    }
    let table = exact(names.iter().cloned());
    let asked = self::names(again(&table));
    assert!(names.iter().all(|name| holds(&asked, name)));
    let mut hits = Hits::new();
    let all = names.iter().map(|n| (0, n.clone(), Reach::Subtree, Effect::List)).collect::<Vec<_>>();
    let all = self::names(super::tests::table(&all));
    all.look_up(deepest.as_wire(), &mut hits);
    assert_eq!(hits.as_slice().len(), 128);
    let mut out = 0;
    table.for_each_rule(|_, _| out += 1);
    assert_eq!(out, names.len());
}

#[test]
fn a_hundred_thousand_names_that_begin_alike() {
    // Long equal beginnings, so that separators differ far behind what a node compares as a number.
    let name = |i: u32| wire(&[format!("x{i:x}").as_bytes(), &[b'q'; 60], b"blogspot", b"com"]);
    let mut builder = Builder::new(SEED);
    let mut set = RuleSet::default();
    (0..100_000).step_by(2).for_each(|i| set.push(&name(i), Reach::Exact, Effect::List, i));
    builder.add(ListId(0), Part::of(&set, &|_| false));
    let table = builder.build().unwrap().names;
    let asked = names(again(&table));
    for i in 0..100_000 {
        assert_eq!(holds(&asked, &name(i)), i % 2 == 0, "{i}");
    }
    assert!(table.rules_at(name(77_776).as_wire()).map(|rule| rule.line).eq([77_776]));
    let mut lines = Vec::new();
    table.for_each_rule(|_, rule| {
        assert_eq!(rule.name, name(rule.line).as_wire());
        lines.push(rule.line);
    });
    lines.sort_unstable();
    assert!(lines.into_iter().eq((0..100_000).step_by(2)));
}

#[test]
fn many_standings_keep_their_lists() {
    // More standings than fit four and eight bits, side by side with names that all have the same.
    let mut rules = Vec::new();
    for i in 0..2_000u32 {
        let name = wire(&[format!("n{i:04}").as_bytes(), b"example"]);
        for bit in (0..10).filter(|bit| i >> bit & 1 == 1 && !(600..900).contains(&i)) {
            rules.push((bit as u16 * 100, name.clone(), Reach::Exact, Effect::List));
        }
        rules.push((1023, name, Reach::Subtree, if i % 3 == 0 { Effect::List } else { Effect::Except }));
    }
    let table = names(table(&rules));
    let mut hits = Hits::new();
    for i in 0..2_000u32 {
        let name = wire(&[format!("n{i:04}").as_bytes(), b"example"]);
        table.look_up(name.as_wire(), &mut hits);
        let [hit] = hits.as_slice() else { panic!("{} hits", hits.as_slice().len()) };
        let expected =
            (0..10).filter(|bit| i >> bit & 1 == 1 && !(600..900).contains(&i)).map(|bit| ListId(bit as u16 * 100));
        let last = (i % 3 == 0).then_some(ListId(1023));
        assert!(table.set(hit.listed).iter().eq(expected.chain(last)), "{i}");
        assert_eq!(table.set(hit.excepted).contains(ListId(1023)), i % 3 != 0);
    }
}

#[test]
fn octets_written_and_opened_again_answer_alike() {
    let names: Vec<Name> = (0..500).map(|i| wire(&[format!("a{i}").as_bytes(), b"com"])).collect();
    let first = exact(names.iter().cloned());
    let again = again(&first);
    assert_eq!((again.len(), again.rule_count()), (500, 500));
    assert_eq!(again.as_octets(), exact(names.iter().cloned()).as_octets(), "equal rules make equal octets");
    let again = self::names(again);
    assert!(names.iter().all(|name| holds(&again, name)));
}

#[test]
fn what_is_no_index_is_refused() {
    let good = exact([wire(&[b"a"])]);
    let octets = good.as_octets();
    let refusal = |octets: &[u8]| SuffixTable::open(Box::new(octets.to_vec())).err();
    assert_eq!(refusal(b""), Some(OpenError::NoIndex));
    assert_eq!(refusal(&[7; 4096]), Some(OpenError::NoIndex));
    assert_eq!(refusal(&octets[..octets.len() - 1]), Some(OpenError::Damaged("a section lies outside")));
    let mut newer = octets.to_vec();
    newer[8] = 9;
    assert_eq!(refusal(&newer), Some(OpenError::Version(9)));
}

#[test]
fn a_hostile_index_answers_wrongly_at_worst() {
    let names: Vec<Name> =
        (0..3_000u32).map(|i| wire(&[format!("{:x}", i.wrapping_mul(0x9e37_79b9)).as_bytes(), b"com"])).collect();
    let rules: Vec<_> =
        names.iter().enumerate().map(|(i, name)| (i as u16 % 40, name.clone(), Reach::Subtree, Effect::List)).collect();
    let good = table(&rules).as_octets().to_vec();
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut hits = Hits::new();
    for turn in 0..400 {
        let mut octets = good.clone();
        // One octet, many octets, or a header that lies.
        let within = if turn % 4 == 0 { Header::OCTETS } else { octets.len() };
        for _ in 0..[1, 4, 100][turn % 3] {
            octets[next(within)] = [0, 1, 0x7f, 0x80, 0xff, next(256) as u8][next(6)];
        }
        let Ok(table) = SuffixTable::open(Box::new(octets)) else { continue };
        let asked = self::names(again(&table));
        for name in names.iter().step_by(37) {
            asked.look_up(name.as_wire(), &mut hits);
            asked.listed(&hits);
            asked.rules_at(name.as_wire()).count();
        }
        table.for_each_rule(|_, rule| assert!(Name::from_wire(rule.name).is_ok()));
    }
}
