//! What goes into a file comes out of it, and nothing else does.

use super::*;
use crate::engine::category::Layer as Rung;
use crate::engine::limits::LIST_OWNER_RULES_MAX;
use crate::engine::list::{Format, parse};
use crate::engine::matcher::{Builder, HashSeed, Hits, Index, Part};

const OPTIONS: ParseOptions = ParseOptions { format: Format::Auto, bare_reach: None };

fn list(name: &str) -> CompiledList {
    CompiledList {
        name: name.into(),
        category: Category { name: "vapes".into(), layer: Rung::Content, title_en: "e".into(), title_vi: "v".into() },
        source: "/lists/a.txt".into(),
        options: OPTIONS,
        rules: 3,
        report: ListReport { lines: 9, ..ListReport::default() },
        spared: 1,
        spared_shown: vec![("com.vn".into(), 4)],
        file_version: Some((1, 2, 3)),
        part_versions: vec![(4, 5, 6)],
        obey_public_suffixes: false,
        read_at: 0,
    }
}

fn layer() -> Layer {
    let mut builder = Builder::new(HashSeed(5, 6));
    let mut text: String = (0..2_000).map(|i| format!("name{i}.example.org\n")).collect();
    text.push_str("192.0.2.0/24\n2001:db8::/32\n");
    builder.add(ListId(0), Part::of(&parse(text.as_bytes(), OPTIONS).unwrap(), &|_| false));
    builder.add(ListId(1), Part::of(&parse(b"name7.example.org\n", OPTIONS).unwrap(), &|_| false));
    builder.build().unwrap()
}

fn file() -> Vec<u8> {
    let layer = layer();
    let Encoded { head, names, tail } = encode(&layer, &[list("a"), list("b")], "key").unwrap();
    [&head, names, &tail].concat()
}

fn checked(octets: &[u8]) -> Result<Compiled, OpenError> {
    let mut sum = Sum::default();
    octets.chunks(1000).for_each(|chunk| sum.update(chunk));
    sum.finish()?;
    open(Arc::new(octets.to_vec()))
}

/// Asks everything that queries and `explain` ask.
fn ask(compiled: Compiled) {
    let index = Index::of(Arc::into_inner(compiled.layer).unwrap());
    let mut hits = Hits::new();
    for i in (0..2_000).step_by(251) {
        let name = Name::from_text(&format!("www.name{i}.example.org")).unwrap();
        index.names.look_up(name.as_wire(), &mut hits);
        index.names.listed(&hits);
        index.names.rules_at(name.parent().as_wire()).count();
    }
    index.addresses.listed("192.0.2.1".parse().unwrap());
}

#[test]
fn a_file_brings_what_it_was_made_of() {
    let made = checked(&file()).unwrap();
    assert_eq!((made.lists.as_slice(), made.key.as_str()), (&[list("a"), list("b")][..], "key"));
    assert_eq!(made.lists[0].about().spared.shown[0].line, 4);
    let index = Index::of(Arc::into_inner(made.layer).unwrap());
    let mut hits = Hits::new();
    let listed = |index: &Index, hits: &Hits| index.names.listed(hits).iter().map(|l| l.0).collect::<Vec<_>>();
    for (name, expected) in [("www.name7.example.org", &[0, 1][..]), ("name1999.example.org", &[0]), ("x.org", &[])] {
        index.names.look_up(Name::from_text(name).unwrap().as_wire(), &mut hits);
        assert_eq!(listed(&index, &hits), expected, "{name}");
    }
    for (address, is_listed) in [("192.0.2.9", true), ("::ffff:192.0.2.9", true), ("2001:db8::1", true), ("::1", false)]
    {
        assert_eq!(!index.addresses.listed(address.parse().unwrap()).is_empty(), is_listed, "{address}");
    }
    let line = index.names.rules_at(Name::from_text("name7.example.org").unwrap().as_wire()).next().unwrap().line;
    assert_eq!(line, 8);
}

#[test]
fn a_file_that_is_cut_is_refused() {
    let file = file();
    for len in (0..file.len()).step_by(64) {
        assert!(checked(&file[..len]).is_err(), "{len} octets");
        // Nobody checked its sum: refused, or harmless.
        let _ = open(Arc::new(file[..len].to_vec())).map(ask);
    }
}

#[test]
fn a_file_that_was_changed_is_refused() {
    let file = file();
    for at in (0..file.len()).step_by(97) {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(checked(&bad).is_err(), "octet {at}");
        let _ = open(Arc::new(bad)).map(ask);
    }
}

#[test]
fn refusals_tell_what_to_do() {
    let mut newer = file();
    newer[8] = 2;
    let why = checked(&newer).unwrap_err().to_string();
    assert_eq!(why, "it is of format 2, and this program reads 1: update lachan");
    assert_eq!(checked(b"0.0.0.0 a.example\n").unwrap_err().to_string(), "it is no compiled list file");
    let layer = layer();
    let refused = |lists: &[CompiledList]| {
        let Encoded { head, names, tail } = encode(&layer, lists, "").unwrap();
        checked(&[&head, names, &tail].concat()).unwrap_err().to_string()
    };
    assert_eq!(refused(&[list("a"), list("a")]), "its list `a`: it is there twice");
    let mut odd = list("a");
    odd.category.name = "A B".into();
    assert_eq!(refused(&[odd, list("b")]), "its list `a`: its category's name is no name");
    assert_eq!(refused(&[]), "it is damaged (an address rule cannot be read)");
}

#[test]
fn special_rules_come_along_and_are_checked() {
    let text = "||a.example^$dnstype=AAAA,denyallow=b.a.example\n/^ads[0-9]+\\./\n||c.example^$dnsrewrite=192.0.2.7\n\
                ||d.example^$client=192.0.2.0/24\n@@||e.example^$important\n||f.example^$dnsrewrite=g.example\n";
    let options = ParseOptions { format: Format::Adblock, bare_reach: None };
    let zone = "$ORIGIN rpz.example.\n@ SOA a. b. 1 2 3 4 5\nx.example CNAME .\ny.example A 192.0.2.9\n\
                z.example CNAME *.garden.example.\n24.0.2.0.192.rpz-ip CNAME rpz-drop.\n";
    let mut builder = Builder::new(HashSeed(5, 6));
    for (list, text, format) in [(0, text, Format::Adblock), (1, zone, Format::Rpz)] {
        let rules = parse(text.as_bytes(), ParseOptions { format, ..options }).unwrap();
        assert!(!rules.specials().is_empty(), "{format:?}");
        builder.add(ListId(list), Part::of(&rules, &|_| false));
    }
    let layer = builder.build().unwrap();
    let write = |lists: &[CompiledList]| {
        let Encoded { head, names, tail } = encode(&layer, lists, "").unwrap();
        [&head, names, &tail].concat()
    };
    let made = checked(&write(&[list("a"), list("b")])).unwrap();
    assert_eq!(made.layer.special.rules(), layer.special.rules());
    let refused = checked(&write(&[list("a")])).unwrap_err().to_string();
    assert_eq!(refused, "it is damaged (a special rule cannot be read)");
}

#[test]
fn special_rules_that_no_text_makes_are_refused() {
    let rule =
        |owner: &str, action: &str| format!(r#"[[0,{{"owner":{owner},"condition":null,"action":{action},"line":1}}]]"#);
    let block = r#"{"Block":{"important":false}}"#;
    let name = r#"{"Name":{"name":[1,97,0],"reach":"Subtree"}}"#;
    let record = |rtype: u16, rdata: &str| {
        format!(r#"{{"Zone":{{"Answer":{{"Records":{{"all":[{{"rtype":{rtype},"ttl":null,"rdata":{rdata}}}]}}}}}}}}"#)
    };
    let literal = |text: &str, from: &str, ends: bool| {
        format!(r#"{{"Pattern":{{"Literal":{{"text":"{text}","from":"{from}","ends":{ends}}}}}}}"#)
    };
    // Of one list, whatever stands between them.
    let many = |count: usize, lists: usize| {
        let one =
            |i: usize| format!(r#"[{},{{"owner":{name},"condition":null,"action":{block},"line":{i}}}]"#, i % lists);
        format!("[{}]", (0..count).map(one).collect::<Vec<String>>().join(","))
    };
    assert!(special::read(many(2 * LIST_OWNER_RULES_MAX, 2).as_bytes(), 2).is_some());
    assert!(special::read(many(2 * LIST_OWNER_RULES_MAX + 1, 2).as_bytes(), 2).is_none());
    for (rules, is_good) in [
        (rule(name, block), true),
        (rule(r#"{"Name":{"name":[1,65,0],"reach":"Subtree"}}"#, block), false),
        (rule(r#"{"Name":{"name":[9,97,0],"reach":"Subtree"}}"#, block), false),
        (rule(&literal("casino", "Word", false), block), true),
        (rule(&literal("casino", "Word", true), block), false),
        (rule(&literal("^", "Word", false), block), false),
        (rule(&literal("", "Anywhere", false), block), false),
        (rule(r#"{"Pattern":{"Regex":"a+"}}"#, block), true),
        (rule(r#"{"Pattern":{"Regex":"("}}"#, block), false),
        (rule(name, &record(1, "[192,0,2,1]")), true),
        (rule(name, &record(1, "[192,0,2]")), false),
        (rule(name, &record(5, "[9,97,0]")), false),
        (rule(name, r#"{"Zone":{"Answer":{"Rcode":5}}}"#), true),
        (rule(name, r#"{"Zone":{"Answer":{"Rcode":5000}}}"#), false),
        ("[[0,".to_owned(), false),
    ] {
        assert_eq!(special::read(rules.as_bytes(), 1).is_some(), is_good, "{rules}");
    }
}
