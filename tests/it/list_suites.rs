//! List parsing against what other resolvers do, and against every real list at hand.
//!
//! The suites and data lie beside the project (`LACHAN_TEST_SUITES`, `LACHAN_TEST_DATA`); without them these tests say
//! so and pass. Where we differ on purpose a row says why, and a row that no longer differs fails.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lachan::engine::list::{Format, ParseOptions, Reach, RuleSet, parse};
use lachan::engine::matcher::suffix::Hits;
use lachan::engine::matcher::{Builder, HashSeed, Index, Part, public_suffix};
use lachan::engine::name::Name;
use lachan::engine::verdict::ListId;
use serde_json::Value;

/// Cases of `list_parsing_blocky.jsonl` that we answer otherwise: number, what we do, why.
const BLOCKY_DIFFERENCES: &[(&str, &str, &str)] = &[
    ("001", "skips `localhost`", "a name of one label is never blocked from a list"),
    ("005", "skips `localhost` and `alias`", "a name of one label is never blocked from a list"),
    ("019", "skips `ipWithInterface`", "a name of one label is never blocked from a list"),
    ("020", "skips all three names", "a name of one label is never blocked from a list"),
    ("022", "keeps `xn---mllerk1va.com`", "names that IDNA would not make are registered and asked for"),
    (
        "025",
        "makes an address rule",
        "a bare address in a list of names filters answers, as blocky's own golden file has it",
    ),
    ("027", "makes an address rule", "behind the comment mark a bare address is left"),
    ("032", "skips `first` and `second`", "a name of one label is never blocked from a list"),
];

/// Vectors of `format_vectors.jsonl` that we answer otherwise: the lines, the name asked, why.
const VECTOR_DIFFERENCES: &[(&str, &str, &str)] = &[
    ("||example.org", "example.org.com", "without `^` it is read as the name and all below, never as a prefix"),
    ("||example.org", "a.example.orgx.net", "without `^` it is read as the name and all below, never as a prefix"),
    ("ample.org|", "example.org", "the end of a name is a pattern; patterns are skipped and counted"),
    ("||ex*ple.org^", "example.org", "patterns are skipped and counted"),
    ("||ex*ple.org^", "exxxple.org", "patterns are skipped and counted"),
    ("||ex*ple.org^", "ex.ple.org", "patterns are skipped and counted"),
    ("||*.quest^$denyallow=dice.quest", "foo.quest", "`$denyallow` is not honoured; the rule is skipped and counted"),
    ("||a.com^$important\n@@||a.com^", "a.com", "an exception outranks `$important` inside a list here"),
    ("||a.com^$doc", "a.com", "a rule about documents is skipped, as AdGuard's own reference and Go code do"),
    ("/^ads[0-9]+\\./", "ads12.foo.com", "regular expressions are skipped and counted"),
    ("@@/^ads/\n||ads.foo.com^", "ads.foo.com", "regular expressions are skipped and counted"),
    ("://a.com", "a.com", "without an end it is a prefix; patterns are skipped and counted"),
    ("/sub.", "sub.example.org", "patterns are skipped and counted"),
    ("/^stats?\\./", "stats.test.com", "regular expressions are skipped and counted"),
    (
        "||host6^$ctag=pc|printer\n||host6^$badfilter",
        "host6",
        "`$ctag` is not honoured; the rule is skipped and counted",
    ),
];

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
    let mut hits = Hits::new();
    index.names.look_up(Name::from_text(asked).unwrap().as_wire(), &mut hits);
    !index.names.listed(&hits).is_empty()
}

/// Names and addresses of the rules, as text.
fn entries(rules: &RuleSet) -> BTreeSet<String> {
    let names = rules.names().map(|rule| Name::from_wire(rule.name).unwrap().to_string());
    names.chain(rules.addresses().iter().map(|rule| rule.net.addr().to_string())).collect()
}

fn is_regex(line: &str) -> bool {
    line.len() > 1 && line.starts_with('/') && line.ends_with('/')
}

/// Whether we do what blocky does; `None` when the case is about something not built.
fn agrees_with_blocky(case: &Value) -> Option<bool> {
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
        return if text.lines().any(is_regex) { None } else { Some(listed == blocked) };
    }
    if expect["error"] == true {
        return Some(read.map_or(true, |rules| rules.rule_count() == 0 && !rules.report.skipped.is_empty()));
    }
    let wanted =
        |key: &str| expect[key].as_array().into_iter().flatten().map(|entry| entry.as_str().unwrap().to_owned());
    if wanted("entries").any(|entry| is_regex(&entry)) {
        return None;
    }
    let made = read.as_ref().map(entries).unwrap_or_default();
    if expect.get("exact").is_some() {
        // The golden file. blocky keeps a final dot, by which the name never matches, and a name of one label.
        let expected: BTreeSet<String> = wanted("exact")
            .chain(wanted("wildcard_suffix"))
            .filter(|entry| entry != "single-label-host")
            .map(|entry| entry.trim_end_matches('.').to_owned())
            .collect();
        return Some(made == expected);
    }
    Some(made == wanted("entries").map(|entry| entry.trim_start_matches("*.").to_owned()).collect())
}

#[test]
fn list_lines_are_read_as_blocky_reads_them() {
    let Some(suites) = beside("LACHAN_TEST_SUITES", "suites") else { return };
    let (mut ran, mut differ) = (0, Vec::new());
    for case in cases(&suites.join("list_parsing_blocky.jsonl")) {
        let Some(agrees) = agrees_with_blocky(&case) else { continue };
        ran += 1;
        if !agrees {
            differ.push(case["id"].as_str().unwrap().trim_start_matches("list_parsing-").to_owned());
        }
    }
    let known: Vec<&str> = BLOCKY_DIFFERENCES.iter().map(|row| row.0).collect();
    assert_eq!(differ, known);
    assert!(ran >= 50, "{ran} cases ran");
}

#[test]
fn format_vectors_give_the_reference_verdicts() {
    let Some(data) = beside("LACHAN_TEST_DATA", "data") else { return };
    let (mut ran, mut differ) = (0, Vec::new());
    for case in cases(&data.join("format_vectors.jsonl")) {
        let format = match case["format"].as_str().unwrap() {
            "adblock" => Format::Adblock,
            "hosts" => Format::Hosts,
            _ => continue,
        };
        let text = lines(&case, "lines");
        let asked = case["query"].as_str().unwrap().split(' ').next().unwrap();
        let expect = case["expect"].as_str().unwrap();
        let blocked = !(expect == "none" || expect == "allow" || expect.starts_with("forward"));
        let rules = read(&text, format, None).unwrap_or_default();
        ran += 1;
        if is_listed(&index(&rules), asked) != blocked {
            differ.push((text, asked.to_owned()));
        }
    }
    let known: Vec<(String, String)> =
        VECTOR_DIFFERENCES.iter().map(|row| (row.0.to_owned(), row.1.to_owned())).collect();
    assert_eq!(differ, known);
    assert!(ran >= 70, "{ran} vectors ran");
}

/// Folders of lists in formats that are built.
const REAL_LISTS: &[&str] = &[
    "abpvn",
    "adguard",
    "blocklistproject/adguard",
    "blocklistproject/alt-version",
    "bypass",
    "chongluadao",
    "doh-dibdot",
    "hagezi/adblock",
    "hagezi/domains",
    "hagezi/hosts",
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
