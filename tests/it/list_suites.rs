//! List parsing against what other resolvers do, and against every real list at hand.
//!
//! The suites and data lie beside the project (`LACHAN_TEST_SUITES`, `LACHAN_TEST_DATA`); without them these tests say
//! so and pass. Where we differ on purpose a row says why, and a row that no longer differs fails.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lachan::engine::answer::address;
use lachan::engine::list::special::{Owner, Pattern, RuleAnswer};
use lachan::engine::list::{Format, ParseOptions, Reach, RuleSet, parse};
use lachan::engine::matcher::suffix::Hits;
use lachan::engine::matcher::{Builder, HashSeed, Index, Part, public_suffix};
use lachan::engine::name::Name;
use lachan::engine::policy::{self, QueryVerdict};
use lachan::engine::query::{CLASS_IN, Question, RecordType};
use lachan::engine::verdict::{Block, ListId};
use serde_json::Value;

use crate::differences;
use crate::harness::judge::{self, Who, snapshot};
use crate::shared;

fn beside(variable: &str, folder: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(folder), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is no folder (set {variable})", path.display());
    None
}

fn cases(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lines(case: &Value, key: &str) -> String {
    let lines: Vec<&str> = case[key].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    lines.join("\n")
}

/// What a text makes; one that is refused whole makes nothing.
fn read(text: &str, format: Format, bare_reach: Option<Reach>) -> Result<RuleSet, String> {
    parse(text.as_bytes(), ParseOptions { format, bare_reach }).map_err(|why| why.to_string())
}

fn index(rules: &RuleSet) -> Index {
    let mut builder = Builder::new(HashSeed(3, 4));
    builder.add(ListId(0), Part::of(rules, &|_| false));
    Index::of(builder.build().unwrap())
}

fn is_listed(index: &Index, asked: &str) -> bool {
    if let Ok(address) = asked.parse::<IpAddr>() {
        return !index.addresses.listed(address).is_empty();
    }
    let name = Name::from_text(asked).unwrap();
    let mut hits = Hits::new();
    index.names.look_up(name.as_wire(), &mut hits);
    let mut looks = false;
    index.special.looking_like(name.as_wire(), |_| looks = true);
    looks || !index.names.listed(&hits).is_empty()
}

/// Names, addresses and expressions of the rules, as text.
fn entries(rules: &RuleSet) -> BTreeSet<String> {
    let names = rules.names().map(|rule| Name::from_wire(rule.name).unwrap().to_string());
    let looks = rules.specials().iter().map(|rule| match &rule.owner {
        Owner::Pattern(Pattern::Regex(source)) => format!("/{source}/"),
        Owner::Pattern(Pattern::Literal { text, .. }) => text.to_string(),
        other => format!("{other:?}"),
    });
    names.chain(rules.addresses().iter().map(|rule| rule.net.addr().to_string())).chain(looks).collect()
}

/// Whether we do what blocky does.
fn agrees_with_blocky(case: &Value) -> bool {
    let text = lines(case, "list_rules");
    let expect = &case["expect"];
    // blocky's bare names are exact; ours are by default subtrees.
    let read = read(&text, Format::Auto, Some(Reach::Exact));
    if let Some(blocked) = expect["blocked"].as_bool() {
        let rules = read.unwrap_or_default();
        let answer = case["upstream_answer"].as_str().unwrap_or_default();
        let index = index(&rules);
        let asked = case["query"]["qname"].as_str().unwrap();
        let mut listed = is_listed(&index, asked);
        for record in answer.split("; ").filter_map(|record| record.split_once(' ')) {
            listed |= is_listed(&index, record.1);
        }
        return listed == blocked;
    }
    if expect["error"] == true {
        return read.map_or(true, |rules| rules.rule_count() == 0 && !rules.report.skipped.is_empty());
    }
    let wanted =
        |key: &str| expect[key].as_array().into_iter().flatten().map(|entry| entry.as_str().unwrap().to_owned());
    let made = read.as_ref().map(entries).unwrap_or_default();
    if expect.get("exact").is_some() {
        // The golden file. blocky keeps a final dot, by which the name never matches, and a name of one label.
        let expected: BTreeSet<String> = wanted("exact")
            .chain(wanted("wildcard_suffix"))
            .chain(wanted("regex").map(|source| format!("/{source}/")))
            .filter(|entry| entry != "single-label-host")
            .map(|entry| entry.trim_end_matches('.').to_owned())
            .collect();
        return made == expected;
    }
    made == wanted("entries").map(|entry| entry.trim_start_matches("*.").to_owned()).collect()
}

#[test]
fn list_lines_are_read_as_blocky_reads_them() {
    let Some(suites) = beside("LACHAN_TEST_SUITES", "suites") else { return };
    let (mut ran, mut differ) = (0, Vec::new());
    for case in cases(&suites.join("list_parsing_blocky.jsonl")) {
        ran += 1;
        if !agrees_with_blocky(&case) {
            let id = case["id"].as_str().unwrap().trim_start_matches("list_parsing-").to_owned();
            differ.push((id, lines(&case, "list_rules")));
        }
    }
    differences::check("blocky_lines.tsv", &differ);
    assert!(ran >= 80, "{ran} cases ran");
}

/// What a vector's question comes to, in the vectors' own words.
fn verdict(format: Format, text: &str, query: &str) -> String {
    let (asked, qtype) = query.split_once(' ').unwrap_or((query, "A"));
    let who = Who { tags: vec!["pc".into()], ..Who::default() };
    let (snapshot, client) = snapshot(format, &[text.to_owned()], &who);
    if let Ok(address) = asked.parse::<IpAddr>() {
        return if snapshot.index.addresses.listed(address).is_empty() { "none" } else { "block" }.to_owned();
    }
    let rtype = RecordType(qtype.parse::<hickory_proto::rr::RecordType>().unwrap().into());
    let question = Question { qname: judge::name(asked), qtype: rtype, qclass: CLASS_IN };
    match policy::on_query(&snapshot, client, &question, &mut ()) {
        QueryVerdict::Allow(_) => "none".to_owned(),
        QueryVerdict::Redirect(redirect, _) => format!("CNAME {}", redirect.target),
        QueryVerdict::Block(Block { answer, .. }) => match answer {
            None => "block".to_owned(),
            Some(RuleAnswer::Nodata) => "NODATA".to_owned(),
            Some(RuleAnswer::Drop) => "drop".to_owned(),
            Some(RuleAnswer::Rcode(rcode)) => rcode.as_str().to_owned(),
            Some(RuleAnswer::Records(records)) => {
                let of_type: Vec<String> = records
                    .all
                    .iter()
                    .filter(|record| record.rtype == rtype)
                    .map(|record| match address(record.rtype, &record.rdata) {
                        Some(address) => format!("{qtype} {address}"),
                        None => qtype.to_owned(),
                    })
                    .collect();
                if of_type.is_empty() { "NODATA".to_owned() } else { of_type.join(", ") }
            }
            Some(other) => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    }
}

/// Whether our verdict is the one expected. A sink is a block, and so is NXDOMAIN: the profile says how blocks look.
fn is_as_expected(told: &str, expect: &str) -> bool {
    let expect = expect.split(" (").next().unwrap().split(" via").next().unwrap();
    let sinks = ["A 0.0.0.0", "A 127.0.0.1", "AAAA ::", "AAAA ::1", "NXDOMAIN", "block", "block if client tag pc"];
    match expect {
        "none" | "allow" | "forward" | "no change" | "passthru" => told == "none",
        "TC=1 on UDP, real answer on TCP" => told == "TcpOnly",
        _ if expect.ends_with(" + A") => Some(told) == expect.strip_suffix(" + A"),
        _ if sinks.contains(&expect) => told == "block",
        _ => expect == told,
    }
}

#[test]
fn format_vectors_give_the_reference_verdicts() {
    let Some(data) = beside("LACHAN_TEST_DATA", "data") else { return };
    let (mut ran, mut differ) = (0, Vec::new());
    for case in cases(&data.join("format_vectors.jsonl")) {
        let format = match case["format"].as_str().unwrap() {
            "adblock" => Format::Adblock,
            "hosts" => Format::Hosts,
            "dnsmasq" => Format::Dnsmasq,
            "unbound" => Format::Unbound,
            "rpz" => Format::Rpz,
            other => panic!("no format is called {other}"),
        };
        // `.test` is a zone of our own: its names are not forwarded, so no list is asked.
        let (text, query) =
            (lines(&case, "lines").replace(".test", ".zz9").replace(".TEST", ".ZZ9"), case["query"].as_str().unwrap());
        let query = &query.replace(".test", ".zz9");
        // What becomes of a text as a whole is told by the tests of each format.
        if query.starts_with('(') {
            continue;
        }
        ran += 1;
        let told = verdict(format, &text, query);
        let expect = case["expect"].as_str().unwrap();
        if !is_as_expected(&told, expect) {
            // The lines are the case's id; of a zone its question is enough.
            let lines = if format == Format::Rpz { "rpz".to_owned() } else { text.replace('\n', "; ") };
            differ.push((format!("{lines} ? {query}"), format!("{told}, not {expect}")));
        }
    }
    differences::check("format_vectors.tsv", &differ);
    assert!(ran >= 125, "{ran} vectors ran");
}

/// Folders of lists in formats that are built.
const REAL_LISTS: &[&str] = &[
    "abpvn",
    "adguard",
    "blocklistproject/adguard",
    "blocklistproject/alt-version",
    "blocklistproject/dnsmasq-version",
    "bypass",
    "chongluadao",
    "doh-dibdot",
    "hagezi/adblock",
    "hagezi/dnsmasq",
    "hagezi/domains",
    "hagezi/hosts",
    "hagezi/rpz",
    "hagezi/wildcard",
    "hostsVN/extensions",
    "nextdns",
    "nrd-xruffkez",
    "shadowwhisperer",
    "sinfonietta",
    "ut1",
];

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn contents(file: &Path) -> Option<Vec<u8>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => Some(zstd::decode_all(fs::File::open(file).ok()?).expect("the file is sound zstd")),
        Some("xz" | "json" | "md" | "csv" | "tsv" | "conf" | "yaml") => None,
        _ => fs::read(file).ok(),
    }
}

#[test]
fn every_real_list_is_read() {
    let Some(data) = beside("LACHAN_TEST_DATA", "data") else { return };
    let mut files = Vec::new();
    REAL_LISTS.iter().for_each(|folder| files_below(&data.join(folder), &mut files));
    files.sort();
    let (mut lists, mut rules, mut refused) = (0, 0, 0);
    for file in files {
        if file.ends_with("LICENSE") {
            continue;
        }
        let Some(text) = contents(&file) else { continue };
        let shown = file.strip_prefix(&data).unwrap().display();
        match parse(&text, ParseOptions { format: Format::Auto, bare_reach: None }) {
            Ok(set) => {
                let skipped: Vec<String> = set.report.skipped.iter().map(|(why, n)| format!("{why} {n}")).collect();
                println!("{shown}: {:?}, {} rules, skipped {skipped:?}", set.report.format.unwrap(), set.rule_count());
                lists += 1;
                rules += set.rule_count();
            }
            Err(why) => {
                println!("{shown}: refused: {why}");
                refused += 1;
            }
        }
    }
    println!("{lists} lists, {rules} rules, {refused} refused");
    assert!(lists > 0 && rules > 0);
}

/// Classes of odd lines that are about a part of a site, and never about the site.
const ABOUT_PARTS: &[&str] = &[
    "url-in-domain-list",
    "host-with-path",
    "host-with-port",
    "cosmetic-rule",
    "adblock-with-path",
    "commented-out-rule",
];

#[test]
fn odd_lines_of_real_lists_are_read_or_told() {
    let Some(text) = shared::data_zst("odd/odd_lines.jsonl.zst") else { return };
    let mut ran = 0;
    for line in text.lines() {
        let odd: Value = serde_json::from_str(line).unwrap();
        let (class, line) = (odd["class"].as_str().unwrap(), odd["text"].as_str().unwrap());
        for (format, good) in [
            (Format::Domains, "good.example"),
            (Format::Adblock, "||good.example^"),
            (Format::Hosts, "0.0.0.0 good.example"),
            (Format::Dnsmasq, "local=/good.example/"),
            (Format::Unbound, "local-zone: \"good.example\" static"),
            (Format::Rpz, "good.example CNAME ."),
        ] {
            let text = format!("{good}\n{line}\n");
            let Ok(set) = parse(text.as_bytes(), ParseOptions { format, bare_reach: None }) else { continue };
            // What made no rule says why, unless it is a comment.
            let skipped: u32 = set.report.skipped.iter().map(|(_, count)| count).sum();
            assert!(skipped as usize <= text.lines().count(), "{format:?} {line}");
            let is_part = ABOUT_PARTS.contains(&class) && matches!(format, Format::Domains | Format::Adblock);
            assert!(!is_part || set.names().len() == 1, "{format:?} {class}: {line}");
            ran += 1;
        }
    }
    assert!(ran > 10_000, "{ran} lines read");
}

#[test]
fn a_list_about_pages_blocks_no_newspaper() {
    let Some(data) = beside("LACHAN_TEST_DATA", "data") else { return };
    let mut files = Vec::new();
    files_below(&data.join("abpvn"), &mut files);
    let spared = fs::read_to_string(data.join("popular/vn_must_not_block.txt")).unwrap();
    let mut read = 0;
    for file in files.iter().filter(|file| file.to_string_lossy().contains("filter/abpvn")) {
        let rules = parse(&contents(file).unwrap(), ParseOptions { format: Format::Auto, bare_reach: None }).unwrap();
        let mut builder = Builder::new(HashSeed(5, 6));
        builder.add(ListId(0), Part::of(&rules, &public_suffix::is_public_suffix));
        let index = Index::of(builder.build().unwrap());
        for name in spared.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let name = name.split_whitespace().next().unwrap();
            assert!(!is_listed(&index, name), "{}: {name}", file.display());
        }
        read += 1;
    }
    assert!(read > 0, "no list of that publisher was found");
}
