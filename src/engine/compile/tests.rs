//! What compiling reports, and what it refuses.

use super::*;
use crate::engine::client::Realm;
use crate::engine::list::own_entry;
use crate::engine::matcher::Hits;
use crate::engine::policy::{QueryVerdict, on_query};
use crate::engine::query::RecordType;
use crate::engine::test_support::{Setup, entries, name, question};

#[test]
fn rules_on_public_suffixes_are_left_out_and_told() {
    let lines = "com.vn\ngood.com.vn\nblogspot.com\nco.uk\n";
    let (snapshot, report) = Setup::new().list("adult", lines).compile_with_report();
    let (list, spared) = &report.spared[0];
    assert_eq!((report.spared.len(), list.as_str(), spared.count), (1, "adult", 3));
    let shown: Vec<String> = spared.shown.iter().map(|rule| format!("{} {}", rule.line, rule.name)).collect();
    assert_eq!(shown, ["1 com.vn", "3 blogspot.com", "4 co.uk"]);
    // They are counted as read, and hit nothing.
    let mut hits = Hits::default();
    for (asked, is_listed) in [("x.com.vn", false), ("www.good.com.vn", true), ("x.blogspot.com", false)] {
        snapshot.index.names.look_up(name(asked).as_wire(), &mut hits);
        assert_eq!(!hits.is_empty(), is_listed, "{asked}");
    }
}

#[test]
fn the_operators_own_word_and_obeying_lists_may_stand_on_public_suffixes() {
    let mut setup = Setup::new();
    setup.policy.operator_deny = entries(&["com.vn"]);
    setup.policy.profiles[0].deny = entries(&["blogspot.com"]);
    let inputs = setup.obeying_list("adult", "co.uk").inputs();
    let (snapshot, report) = compile(inputs, None).unwrap();
    assert!(report.spared.is_empty());
    let mut hits = Hits::default();
    for asked in ["x.com.vn", "x.blogspot.com", "x.co.uk"] {
        snapshot.index.names.look_up(name(asked).as_wire(), &mut hits);
        assert!(!hits.is_empty(), "{asked}");
    }
}

#[test]
fn a_deny_of_a_protected_name_is_told_with_its_place() {
    let mut setup = Setup::new();
    setup.policy.operator_deny = entries(&["www.bank.example", "a.example", "safe.search.example"]);
    setup.policy.profiles[1].deny = entries(&["=update.example", "sub.update.example", "so.gov.vn"]);
    let (_, report) = setup.compile_with_report();
    assert_eq!(
        report.ineffective,
        [
            "[operator] deny: www.bank.example is a protected name, so denying it has no effect",
            "[operator] deny: safe.search.example is a protected name, so denying it has no effect",
            "[profile.school] deny: update.example is a protected name, so denying it has no effect",
        ]
    );
}

/// As many profiles, each with `deny`.
fn with_profiles(count: usize, deny: &[&str]) -> Setup {
    let mut setup = Setup::new();
    let first = setup.policy.profiles[0].clone();
    setup.policy.profiles =
        (0..count).map(|i| ProfileSettings { name: format!("p{i}"), deny: entries(deny), ..first.clone() }).collect();
    setup
}

#[test]
fn more_lists_than_a_set_holds_are_refused_before_anything_is_looked_up() {
    let lists =
        |profiles| compile(with_profiles(profiles, &["a.example"]).inputs(), None).map(|made| made.0.lists.len());
    let own = lists(1).unwrap() - 1;
    let most = LISTS_MAX - own;
    assert_eq!(lists(most), Ok(LISTS_MAX));
    let why = lists(most + 1).unwrap_err();
    assert_eq!(why, CompileError::TooManyLists(LISTS_MAX + 1));
    assert!(why.to_string().starts_with(&format!("{} lists, at most {LISTS_MAX} (", LISTS_MAX + 1)), "{why}");
    assert_eq!(lists(2 * LISTS_MAX), Err(CompileError::TooManyLists(own + 2 * LISTS_MAX)));
}

#[test]
fn profiles_without_entries_take_no_lists_of_their_own() {
    let (one, many) = (with_profiles(1, &[]).compile(), with_profiles(2 * LISTS_MAX, &[]).compile());
    assert_eq!(one.lists.len(), many.lists.len());
    let last = &many.profiles[2 * LISTS_MAX - 1];
    assert_eq!((last.allow, last.deny), (one.profiles[0].allow, one.profiles[0].deny));
    assert_eq!(many.list(last.deny).rules, 0);
    let why = compile(with_profiles(PROFILES_MAX + 1, &[]).inputs(), None).unwrap_err();
    assert_eq!(why.to_string(), "65537 profiles, at most 65536");
}

#[test]
fn lists_are_counted_as_they_are_made() {
    for setup in [
        Setup::new(),
        Setup::new().list("adult", "a.example").rules("allow a.example; operator.deny b.example"),
        with_profiles(9, &["a.example"]),
    ] {
        let inputs = setup.inputs();
        let count = list_count(&inputs.policy, inputs.lists.len());
        assert_eq!(compile(inputs, None).unwrap().0.lists.len(), count);
    }
}

#[test]
fn clients_find_their_profile_and_others_the_first() {
    let mut setup = Setup::new();
    let client = |name: &str, nets: &[&str], profile| ClientSettings {
        name: name.into(),
        networks: nets.iter().map(|net| net.parse().unwrap()).collect(),
        realm: Realm::default(),
        ids: Vec::new(),
        listeners: Vec::new(),
        tags: Vec::new(),
        profile,
        lines: 1,
        mode: None,
        place: None,
    };
    setup.policy.clients =
        vec![client("all", &["10.0.0.0/8", "2001:db8::/32"], 2), client("class", &["10.1.0.0/16"], 1)];
    let snapshot = setup.compile();
    for (source, expected) in [
        ("10.2.0.1", (ProfileId(2), Some(0))),
        ("10.1.0.1", (ProfileId(1), Some(1))),
        ("2001:db8::1", (ProfileId(2), Some(0))),
        ("192.0.2.1", (ProfileId(0), None)),
    ] {
        let client = snapshot.clients.identify(source.parse().unwrap());
        assert_eq!((client.profile, client.configured), expected, "{source}");
    }
    assert!(snapshot.clients_known.iter().map(|client| &*client.name).eq(["all", "class"]));
    assert_eq!(snapshot.profile_named("school"), Some(ProfileId(1)));
    assert_eq!(snapshot.profile_named("nobody"), None);
}

#[test]
fn every_list_has_its_place_and_count() {
    let snapshot = Setup::new().list("adult", "a.example\nb.example\n").rules("operator.deny c.example").compile();
    let count = |name: &str| snapshot.lists.iter().find(|list| list.name == name).map(|list| list.rules);
    for (list, rules) in [
        ("adult", Some(2)),
        ("operator.deny", Some(1)),
        ("operator.allow", Some(0)),
        // Three entries and the SafeSearch targets.
        ("protected", Some(5)),
        ("protected-content", Some(1)),
        ("canary", Some(1)),
        ("browser-canary", Some(1)),
        ("test-name.adult", Some(1)),
        ("profile.school.deny", None),
        ("empty", Some(0)),
        ("nothing", None),
    ] {
        assert_eq!(count(list), rules, "{list}");
    }
    let configured: Vec<_> = snapshot.lists.iter().filter(|l| l.configured.is_some()).map(|l| &l.name).collect();
    assert_eq!(configured, ["adult"]);
}

/// The same lists, kept.
fn keeping(setup: Setup) -> Inputs {
    let mut inputs = setup.inputs();
    inputs.lists.iter_mut().for_each(|list| list.rules = ListRules::Kept);
    inputs
}

#[test]
fn a_rule_of_our_own_leaves_the_lists_where_they_are() {
    let setup = || Setup::new().list("adult", "a.example\n192.0.2.1\n").list("gambling", "g.example\na.example\n");
    let first = setup().compile();
    let layer = first.texts.clone().unwrap();
    let mut inputs = keeping(setup().rules("operator.deny d.example; allow a.example"));
    // A list that left takes its rules along, and the layer stays all the same.
    inputs.lists.remove(0);
    let (second, _) = compile(inputs, Some(&first)).unwrap();
    assert!(Arc::ptr_eq(second.texts.as_ref().unwrap(), &layer));
    let listed = |snapshot: &Snapshot, asked: &str| -> Vec<String> {
        let mut hits = Hits::default();
        snapshot.index.names.look_up(name(asked).as_wire(), &mut hits);
        snapshot.index.names.listed(&hits).iter().map(|list| snapshot.list(list).name.clone()).collect()
    };
    assert_eq!(listed(&first, "a.example"), ["adult", "gambling"]);
    let own = ["profile.default.allow", "profile.school.allow", "profile.open.allow"];
    assert_eq!(listed(&second, "www.a.example"), [&["gambling"], &own[..]].concat());
    assert_eq!(listed(&second, "d.example"), ["operator.deny"]);
    assert!(second.index.addresses.listed("192.0.2.1".parse().unwrap()).is_empty());
    // One list read anew: the other comes out of the layer before.
    let mut inputs = setup().inputs();
    inputs.lists[1].rules = ListRules::Kept;
    let (third, _) = compile(inputs, Some(&second)).unwrap();
    assert!(!Arc::ptr_eq(third.texts.as_ref().unwrap(), &layer));
    assert_eq!(listed(&third, "a.example"), ["adult", "gambling"]);
}

#[test]
fn the_texts_may_be_served_from_elsewhere() {
    let mut snapshot = Setup::new().list("adult", "a.example\n").compile();
    let again = Setup::new().list("adult", "a.example\n").compile().texts.unwrap();
    snapshot.serve_texts_from(Arc::clone(&again));
    assert!(Arc::ptr_eq(snapshot.texts.as_ref().unwrap(), &again));
    let (next, _) = compile(keeping(Setup::new().list("adult", "")), Some(&snapshot)).unwrap();
    assert!(Arc::ptr_eq(next.texts.as_ref().unwrap(), &again));
    let mut hits = Hits::default();
    next.index.names.look_up(name("a.example").as_wire(), &mut hits);
    assert_eq!(next.index.names.listed(&hits).iter().collect::<Vec<_>>(), [ListId(0)]);
}

#[test]
fn a_list_that_is_kept_comes_out_of_the_snapshot_before() {
    let adult = "com.vn\na.example\n@@||ok.a.example^\n192.0.2.1\n";
    let before = Setup::new().list("gambling", "g.example").list("adult", adult).compile();
    // Other lists and numbers than before; the kept list has neither text nor rules of its own.
    let mut inputs = Setup::new().list("adult", "gone.example").list("malware", "m.example\na.example").inputs();
    inputs.lists[0].rules = ListRules::Kept;
    let (after, report) = compile(inputs, Some(&before)).unwrap();
    let adult = |snapshot: &Snapshot| {
        let at = snapshot.lists.iter().position(|list| list.name == "adult").unwrap();
        (ListId(at as u16), snapshot.lists[at].rules, snapshot.lists[at].configured.as_ref().unwrap().report.clone())
    };
    let ((old, old_rules, old_report), (new, rules, about)) = (adult(&before), adult(&after));
    assert_ne!(old, new);
    assert_eq!((rules, &about), (old_rules, &old_report));
    assert_eq!(report.spared[0].1.count, 1);
    let mut hits = Hits::default();
    for (asked, is_listed) in
        [("a.example", true), ("ok.a.example", false), ("g.example", false), ("gone.example", false)]
    {
        after.index.names.look_up(name(asked).as_wire(), &mut hits);
        assert_eq!(after.index.names.listed(&hits).contains(new), is_listed, "{asked}");
    }
    assert!(after.index.addresses.listed("192.0.2.1".parse().unwrap()).contains(new));
    let owner = name("a.example");
    let lines = |snapshot: &Snapshot, list: ListId| -> Vec<u32> {
        snapshot.index.names.rules_at(owner.as_wire()).filter(|at| at.list == list).map(|at| at.line).collect()
    };
    assert_eq!(lines(&after, new), lines(&before, old));
}

#[test]
fn a_list_that_is_taken_out_blocks_nothing_until_it_is_put_in_again() {
    let whole = Setup::new().list("malware", "bad.example").list("adult", "a.example").compile();
    let blocks = |snapshot: &crate::engine::snapshot::Snapshot| {
        let client = snapshot.clients.identify("192.0.2.1".parse().unwrap());
        ["bad.example", "a.example"].map(|name| {
            let question = question(name, RecordType::A);
            matches!(on_query(snapshot, client, &question, &mut ()), QueryVerdict::Block(_))
        })
    };
    assert_eq!(blocks(&whole), [true, true]);
    for (disabled, want) in [("malware", [false, true]), ("adult", [true, false]), ("canary", [true, true])] {
        let less = whole.without_lists(2, &|name| name == disabled);
        assert_eq!((blocks(&less), less.generation), (want, 2), "{disabled}");
        assert!(Arc::ptr_eq(&less.index, &whole.index), "the index is the same one");
        assert_eq!(blocks(&less.without_lists(3, &|_| false)), [true, true]);
    }
}

#[test]
fn a_profile_keeps_the_default_one_only_when_it_keeps_out_all_of_it() {
    type Change = fn(&mut ProfileSettings);
    let cases: [(&str, Change, bool); 14] = [
        ("the same", |_| {}, true),
        ("one category more", |p| p.block.push(CategoryId(900)), true),
        ("one category less", |p| p.block.truncate(1), false),
        ("no security", |p| p.security = false, false),
        ("no safe search", |p| p.safe_search = false, false),
        ("a category that is only counted", |p| p.shadow = p.block.clone(), false),
        ("only looked at", |p| p.mode = Some(Mode::Observe), false),
        ("an exam room", |p| p.unlisted = Unlisted::Blocked, true),
        ("an engine left alone", |p| p.safe_search_except.push("bing".into()), false),
        ("no security for mail", |p| p.security_for_addresses = true, false),
        ("a stricter YouTube", |p| p.youtube = YouTube::Strict, true),
        ("an allow of its own", |p| p.allow.push(own_entry("a.example").unwrap()), false),
        ("a deny of its own", |p| p.deny.push(own_entry("b.example").unwrap()), true),
        ("no deny", |p| p.deny.clear(), false),
    ];
    let mut default = Setup::new().policy.profiles.swap_remove(0);
    default.deny.push(own_entry("d.example").unwrap());
    for (what, change, expected) in cases {
        let mut profile = default.clone();
        change(&mut profile);
        assert_eq!(keeps(&profile, &default), expected, "{what}");
    }
}
