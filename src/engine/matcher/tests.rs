//! The compiled tables against rules read one by one, and the guard of public suffixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;

use super::suffix::{Hits, RuleAt};
use super::*;
use crate::engine::list::{AddressRule, Effect, Format, Manner, ParseOptions, Reach, RuleSet, parse};
use crate::engine::name::Name;
use crate::engine::name::wire_is_at_or_below;

const SEED: HashSeed = HashSeed(1, 2);

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn index(lists: &[&[(&str, Reach, Effect)]]) -> Index {
    let mut builder = Builder::new(SEED);
    for (i, rules) in lists.iter().enumerate() {
        let mut set = RuleSet::default();
        for (line, (text, reach, effect)) in rules.iter().enumerate() {
            set.push(&name(text), *reach, *effect, line as u32 + 1);
        }
        builder.add(ListId(i as u16), Part::of(&set, &|_| false));
    }
    Index::of(builder.build().unwrap())
}

fn check(index: &Index, asked: &str, expected: &[u16]) {
    let mut hits = Hits::new();
    index.names.look_up(name(asked).as_wire(), &mut hits);
    let listed: Vec<u16> = index.names.listed(&hits).iter().map(|list| list.0).collect();
    assert_eq!(listed, expected, "{asked}");
}

#[test]
fn each_reach_covers_what_it_says() {
    let index = index(&[
        &[("exact.example", Reach::Exact, Effect::List)],
        &[("tree.example", Reach::Subtree, Effect::List), ("ok.tree.example", Reach::Subtree, Effect::Except)],
        &[("below.example", Reach::Children, Effect::List), ("tree.example", Reach::Exact, Effect::List)],
    ]);
    for (asked, expected) in [
        ("exact.example", &[0][..]),
        ("www.exact.example", &[]),
        ("tree.example", &[1, 2]),
        ("a.b.tree.example", &[1]),
        ("ok.tree.example", &[]),
        ("very.ok.tree.example", &[]),
        ("nottree.example", &[]),
        ("below.example", &[]),
        ("a.below.example", &[2]),
        ("example", &[]),
        ("tree.example.com", &[]),
    ] {
        check(&index, asked, expected);
    }
}

#[test]
fn an_exception_undoes_its_own_list_only_however_deep() {
    let index = index(&[
        &[("a.tree.example", Reach::Exact, Effect::List), ("tree.example", Reach::Subtree, Effect::Except)],
        &[("tree.example", Reach::Subtree, Effect::List)],
    ]);
    check(&index, "a.tree.example", &[1]);
}

#[test]
fn hits_tell_the_depth_and_rules_tell_list_and_line() {
    let index = index(&[
        &[("example", Reach::Subtree, Effect::List)],
        &[("a.b.example", Reach::Exact, Effect::Except), ("a.b.example", Reach::Subtree, Effect::List)],
    ]);
    let mut hits = Hits::new();
    index.names.look_up(name("a.b.example").as_wire(), &mut hits);
    let depths: Vec<u8> = hits.as_slice().iter().map(|hit| hit.depth).collect();
    assert_eq!(depths, [1, 3]);
    let rules: Vec<RuleAt> = index.names.rules_at(name("a.b.example").as_wire()).collect();
    let at = |line, reach, effect| RuleAt { list: ListId(1), line, reach, effect };
    assert_eq!(rules, [at(1, Reach::Exact, Effect::Except), at(2, Reach::Subtree, Effect::List)]);
    assert_eq!(index.names.rules_at(name("b.example").as_wire()).count(), 0);
    assert_eq!((index.names.len(), index.names.rule_count()), (2, 3));
    index.names.look_up(name("other").as_wire(), &mut hits);
    assert!(hits.is_empty(), "an earlier look-up leaves nothing behind");
}

#[test]
fn the_deepest_name_and_the_root_can_be_asked() {
    let deepest = vec!["a"; 127].join(".");
    let index = index(&[&[("a", Reach::Subtree, Effect::List), (&deepest, Reach::Exact, Effect::List)]]);
    let mut hits = Hits::new();
    index.names.look_up(name(&deepest).as_wire(), &mut hits);
    assert_eq!(hits.as_slice().len(), 2);
    index.names.look_up(Name::ROOT.as_wire(), &mut hits);
    assert!(hits.is_empty());
}

#[test]
fn a_public_suffix_is_a_hole_that_no_downloaded_list_reaches() {
    let mut set = RuleSet::default();
    for (line, (text, reach, effect)) in [
        ("blogspot.com", Reach::Subtree, Effect::List),
        ("tk", Reach::Subtree, Effect::List),
        ("co.uk", Reach::Children, Effect::List),
        ("ddns.net", Reach::Exact, Effect::List),
        ("com.vn", Reach::Subtree, Effect::Except),
        ("example.com", Reach::Subtree, Effect::List),
    ]
    .into_iter()
    .enumerate()
    {
        set.push(&name(text), reach, effect, line as u32 + 1);
    }
    let mut guarded = Builder::new(SEED);
    let part = Part::of(&set, &public_suffix::is_public_suffix);
    let spared = part.spared.clone();
    guarded.add(ListId(0), part);
    assert_eq!(spared.count, 4);
    let shown: Vec<_> = spared.shown.iter().map(|n| (n.name.to_string(), n.line)).collect();
    assert_eq!(shown, [("blogspot.com".into(), 1), ("tk".into(), 2), ("co.uk".into(), 3), ("ddns.net".into(), 4)]);
    let guarded = Index::of(guarded.build().unwrap());
    let mut obeyed = Builder::new(SEED);
    let part = Part::of(&set, &|_| false);
    assert_eq!(part.spared, Spared::default());
    obeyed.add(ListId(0), part);
    let obeyed = Index::of(obeyed.build().unwrap());
    for (asked, when_guarded, when_obeyed) in [
        ("blogspot.com", &[][..], &[0][..]),
        ("shop.blogspot.com", &[], &[0]),
        ("tk", &[], &[0]),
        ("shop.tk", &[], &[0]),
        ("bbc.co.uk", &[], &[0]),
        ("ddns.net", &[], &[0]),
        ("www.example.com", &[0], &[0]),
    ] {
        check(&guarded, asked, when_guarded);
        check(&obeyed, asked, when_obeyed);
    }
}

#[test]
fn addresses_hit_by_every_covering_network() {
    let mut set = RuleSet::default();
    for (line, (net, effect)) in [
        ("192.0.2.0/24", Effect::List),
        ("192.0.2.7/32", Effect::Except),
        ("2001:db8::/32", Effect::List),
        ("::ffff:198.51.100.0/120", Effect::List),
    ]
    .into_iter()
    .enumerate()
    {
        set.push_address(AddressRule { net: net.parse().unwrap(), effect, line: line as u32 + 1 });
    }
    let mut builder = Builder::new(SEED);
    builder.add(ListId(5), Part::of(&set, &|_| false));
    let table = Index::of(builder.build().unwrap()).addresses;
    for (address, listed) in [
        ("192.0.2.1", true),
        ("192.0.2.7", false),
        ("::ffff:192.0.2.1", true),
        ("192.0.3.1", false),
        ("2001:db8:1::1", true),
        ("2001:db9::1", false),
        ("198.51.100.9", true),
    ] {
        assert_eq!(table.listed(address.parse().unwrap()).contains(ListId(5)), listed, "{address}");
    }
    let rules: Vec<_> = table.rules_at("192.0.2.7/32".parse().unwrap()).map(|rule| (rule.line, rule.effect)).collect();
    assert_eq!(rules, [(2, Effect::Except)]);
    assert_eq!(table.len(), 4);
}

fn read_in_pieces(text: &[u8], options: ParseOptions, guard: Guard<'_>) -> Part {
    let manner = Manner::of(text, options).unwrap();
    let mut readers = [0, 1].map(|_| PartReader::new(manner, 0, guard, None));
    let lines: Vec<&[u8]> = text.split_inclusive(|&c| c == b'\n').collect();
    for (i, piece) in lines.chunks(100).enumerate() {
        let reader = &mut readers[i % 2];
        reader.read(i as u32 * 100, &piece.concat());
        reader.end_piece();
    }
    let [mut reader, other] = readers;
    reader.absorb(other);
    reader.finish(&[]).unwrap().unwrap_or_else(|| {
        let mut reader = PartReader::new(manner, 0, guard, None);
        reader.read_whole(text);
        reader.finish(&[]).unwrap().unwrap()
    })
}

#[test]
fn a_text_read_in_pieces_is_the_text_read_as_a_whole() {
    let mut text: String = (0..1000u32).map(|i| format!("n{:x}.example\n", i.wrapping_mul(0x9e37_79b9))).collect();
    text.push_str("192.0.2.1\nnot a name!\ncom.vn\n");
    let voids = format!("||n0.example^$badfilter\n{text}||n0.example^\n||last.example^\n");
    let guard: Guard<'_> = &public_suffix::is_public_suffix;
    for (text, format) in [(&text, Format::Domains), (&voids, Format::Adblock)] {
        let options = ParseOptions { format, bare_reach: None };
        let rules = parse(text.as_bytes(), options).unwrap();
        let (pieces, whole) = (read_in_pieces(text.as_bytes(), options, guard), Part::of(&rules, guard));
        assert_eq!((pieces.rules, &pieces.report, &pieces.spared), (whole.rules, &whole.report, &whole.spared));
        let rules = |part: Part| {
            let mut builder = Builder::new(SEED);
            builder.add(ListId(0), part);
            let mut rules = Vec::new();
            builder.build().unwrap().names.for_each_rule(|_, rule| {
                rules.push((rule.name.to_vec(), rule.reach, rule.effect, rule.line));
            });
            rules
        };
        assert!(rules(pieces) == rules(whole));
    }
}

/// The meaning of rules, rule by rule.
mod model {
    use super::*;

    pub type ModelRule = (u16, Name, Reach, Effect);

    pub fn covers(rule: &Name, reach: Reach, asked: &Name) -> bool {
        let at_or_below = wire_is_at_or_below(asked.as_wire(), rule.as_wire());
        match reach {
            Reach::Exact => rule == asked,
            Reach::Subtree => at_or_below,
            Reach::Children => at_or_below && rule != asked,
        }
    }

    /// Lists with each effect that say something about `asked` with a name of `depth` labels.
    pub fn at_depth(rules: &[ModelRule], asked: &Name, depth: usize, effect: Effect) -> Vec<u16> {
        let speaks = |(_, name, reach, e): &&ModelRule| {
            *e == effect && name.label_count() == depth && covers(name, *reach, asked)
        };
        let mut lists: Vec<u16> = rules.iter().filter(speaks).map(|rule| rule.0).collect();
        lists.sort_unstable();
        lists.dedup();
        lists
    }

    pub fn address_listed(rules: &[(u16, IpNet, Effect)], asked: IpAddr) -> Vec<u16> {
        let with = |effect| move |rule: &&(u16, IpNet, Effect)| rule.2 == effect && rule.1.contains(&asked);
        let excepted: Vec<u16> = rules.iter().filter(with(Effect::Except)).map(|rule| rule.0).collect();
        let mut lists: Vec<u16> = rules.iter().filter(with(Effect::List)).map(|rule| rule.0).collect();
        lists.retain(|list| !excepted.contains(list));
        lists.sort_unstable();
        lists.dedup();
        lists
    }
}

fn any_name() -> impl Strategy<Value = Name> {
    let label = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "ab", "ba"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![3usize, 7, 8, 15, 16, 17, 40, 63]).prop_map(|n| "c".repeat(n)),
    ];
    prop::collection::vec(label, 1..=3).prop_map(|labels| name(&labels.join(".")))
}

fn any_reach() -> impl Strategy<Value = Reach> {
    prop::sample::select(vec![Reach::Exact, Reach::Subtree, Reach::Children])
}

fn any_effect() -> impl Strategy<Value = Effect> {
    prop_oneof![3 => Just(Effect::List), 1 => Just(Effect::Except)]
}

fn any_net() -> impl Strategy<Value = IpNet> {
    (any_address(), 0u8..=128).prop_map(|(address, bits)| {
        let bits = if address.is_ipv4() { bits / 4 } else { bits };
        IpNet::new(address, bits).unwrap().trunc()
    })
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..8).prop_map(|n| IpAddr::V4(Ipv4Addr::from(0xc000_0200 | n))),
        (0u128..8).prop_map(|n| IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | n))),
    ]
}

proptest! {
    #[test]
    fn the_name_table_is_the_rules_read_one_by_one(
        rules in prop::collection::vec((0u16..5, any_name(), any_reach(), any_effect()), 0..24),
        asked in prop::collection::vec(any_name(), 1..8),
        seed in any::<(u64, u64)>(),
        split in 0u16..6,
        same_seed in any::<bool>(),
    ) {
        // Lists from `split` on lie in a second layer, where they count from 0; a list that was there is gone.
        let mut first = Builder::new(HashSeed(seed.0, seed.1));
        let mut second = Builder::new(if same_seed { HashSeed(seed.0, seed.1) } else { SEED });
        for list in 0..5 {
            let mut set = RuleSet::default();
            for (i, (_, name, reach, effect)) in rules.iter().enumerate().filter(|(_, rule)| rule.0 == list) {
                set.push(name, *reach, *effect, i as u32);
            }
            let part = Part::of(&set, &|_| false);
            if list < split { first.add(ListId(list), part) } else { second.add(ListId(list - split), part) }
            if list == 0 {
                second.add(ListId(9), Part::of(&set, &|_| false));
            }
        }
        let placed = |builder: Builder, lists: std::ops::Range<u16>| {
            let layer = Arc::new(builder.build().unwrap());
            Placed { layer, lists: lists.map(|list| Some(ListId(list))).collect() }
        };
        let table = Index::new(vec![placed(first, 0..split), placed(second, split..5)]).names;
        let mut hits = Hits::new();
        let mut room = Together::default();
        // The second time in room that other names left.
        table.look_up_together(asked.len(), |i| asked[asked.len() - 1 - i].as_wire(), &mut room, &mut |_| {});
        table.look_up_together(asked.len(), |i| asked[i].as_wire(), &mut room, &mut |_| {});
        for (i, asked) in asked.iter().enumerate() {
            table.look_up(asked.as_wire(), &mut hits);
            prop_assert_eq!(hits.as_slice(), room.hits(i).as_slice());
            for depth in 0..=asked.label_count() {
                let at = |side: fn(&Hit) -> SetId| {
                    let hits = hits.as_slice().iter().filter(|hit| usize::from(hit.depth) == depth);
                    hits.fold(ListSet::EMPTY, |all, hit| all.union(table.set(side(hit))))
                };
                for (set, effect) in [(at(|h| h.listed), Effect::List), (at(|h| h.excepted), Effect::Except)] {
                    let lists: Vec<u16> = set.iter().map(|list| list.0).collect();
                    prop_assert_eq!(lists, model::at_depth(&rules, asked, depth, effect), "{} at {}", asked, depth);
                }
            }
            prop_assert!(hits.as_slice().is_sorted_by_key(|hit| hit.depth));
            let mut placed: Vec<(u16, u32)> = table.rules_at(asked.as_wire()).map(|r| (r.list.0, r.line)).collect();
            placed.sort_unstable();
            let mut expected: Vec<(u16, u32)> =
                rules.iter().enumerate().filter(|(_, r)| &r.1 == asked).map(|(i, r)| (r.0, i as u32)).collect();
            expected.sort_unstable();
            prop_assert_eq!(placed, expected);
        }
    }

    #[test]
    fn the_address_table_is_the_rules_read_one_by_one(
        rules in prop::collection::vec((0u16..4, any_net(), any_effect()), 0..16),
        asked in any_address(),
    ) {
        let mut builder = Builder::new(SEED);
        for list in 0..4 {
            let mut set = RuleSet::default();
            for (_, net, effect) in rules.iter().filter(|rule| rule.0 == list) {
                set.push_address(AddressRule { net: *net, effect: *effect, line: 1 });
            }
            builder.add(ListId(list), Part::of(&set, &|_| false));
        }
        let listed: Vec<u16> = Index::of(builder.build().unwrap()).addresses.listed(asked).iter().map(|list| list.0).collect();
        prop_assert_eq!(listed, model::address_listed(&rules, asked));
    }
}

#[test]
fn a_list_has_no_more_rules_about_one_name_than_a_question_may_look_at() {
    use crate::engine::limits::LIST_OWNER_RULES_MAX;
    use crate::engine::list::{Format, ParseOptions, SkipReason, parse};
    let options = ParseOptions { format: Format::Adblock, bare_reach: None };
    let over = 1_000;
    let conditions = |i: usize| format!("||a.example^$client=10.{}.{}.0/24\n", i / 256, i % 256);
    for (text, found_for) in [
        ((0..LIST_OWNER_RULES_MAX + over).map(conditions).collect::<String>(), "a.example"),
        ((0..LIST_OWNER_RULES_MAX + over).map(|_| "/ads[0-9]/\n").collect::<String>(), "ads1.example"),
    ] {
        let part = Part::of(&parse(text.as_bytes(), options).unwrap(), &|_| false);
        assert_eq!(part.report.skipped, [(SkipReason::TooManyOfOne, over as u32)]);
        assert_eq!(part.report.shown[0].line as usize, LIST_OWNER_RULES_MAX + 1);
        let mut builder = Builder::new(SEED);
        builder.add(ListId(0), part);
        let index = Index::of(builder.build().unwrap());
        let mut found = 0;
        let asked = name(found_for);
        index.special.at_or_above(asked.as_wire(), |_, _| found += 1);
        index.special.looking_like(asked.as_wire(), |_| found += 1);
        assert_eq!(found, LIST_OWNER_RULES_MAX, "{found_for}");
    }
}

#[test]
fn the_bound_on_rules_about_one_name_is_the_lists_and_not_its_files() {
    use crate::engine::limits::LIST_OWNER_RULES_MAX;
    use crate::engine::list::{Format, ParseOptions, SkipReason, parse};
    let options = ParseOptions { format: Format::Adblock, bare_reach: None };
    let text: String = (0..LIST_OWNER_RULES_MAX).map(|i| format!("||a.example^$client=10.0.{i}.0/24\n")).collect();
    let file = || Part::of(&parse(text.as_bytes(), options).unwrap(), &|_| false);
    let mut list = Part::default();
    list.append("one".into(), file());
    list.append("two".into(), file());
    list.bound_specials();
    assert_eq!(list.specials().len(), LIST_OWNER_RULES_MAX);
    assert_eq!(list.report.skipped, [(SkipReason::TooManyOfOne, LIST_OWNER_RULES_MAX as u32)]);
}

#[test]
fn a_part_goes_without_the_listing_rules_on_some_names() {
    use crate::engine::list::{Format, ParseOptions, parse};
    let options = ParseOptions { format: Format::Adblock, bare_reach: None };
    let text = "||good.example^\n||bad.example^\n@@||good.example^\n||evil.good.example^\n||good.example^$important\n\
                @@||good.example^$important\n|good.example^\n";
    let part = Part::of(&parse(text.as_bytes(), options).unwrap(), &|_| false);
    let names = [name("good.example"), name("other.example")].map(|name| name.as_wire().into()).into();
    let less = part.clone().without(&names).unwrap();
    let told = |part: &Part| {
        let mut lines: Vec<u32> = part.specials().iter().map(|rule| rule.line).collect();
        part.walk_names(&mut |batch| lines.extend(batch.names().map(|rule| rule.line))).unwrap();
        lines.sort_unstable();
        lines
    };
    assert_eq!(told(&less), [2, 3, 4, 6]);
    assert_eq!(less.spared.shown.iter().map(|rule| rule.line).collect::<Vec<_>>(), [1, 5, 7]);
    assert_eq!((less.spared.count, less.rules), (3, 7));
    assert_eq!(told(&part), [1, 2, 3, 4, 5, 6, 7], "what it was made of stays whole");
    let mut builder = Builder::new(SEED);
    builder.add(ListId(0), less);
    assert_eq!(builder.build().unwrap().names.rule_count(), 3);
    assert_eq!(part.clone().without(&[].into()).unwrap().spared, part.spared);
}
