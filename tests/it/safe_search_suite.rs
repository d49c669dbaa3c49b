//! The SafeSearch table against cases and facts gathered elsewhere. Each deliberate difference is a row with its reason.

use std::collections::{BTreeMap, BTreeSet};

use lachan::built_in::safe_search_csv;
use lachan::engine::compile::YouTube;
use lachan::engine::name::Name;
use lachan::engine::query::RecordType;
use lachan::engine::safe_search::{Rule, SafeSearch, rewrites_type};

use crate::shared;

fn table() -> SafeSearch {
    SafeSearch::from_csv(safe_search_csv()).unwrap()
}

/// Cases we answer otherwise on purpose: id, what we do, why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "safesearch-276",
        "CNAME familysearch.yandex.ru, then that host's HTTPS records",
        "a host below an apex gets the CNAME for every type, so that a browser cannot learn the original's HTTPS records",
    ),
    (
        "safesearch-275",
        "CNAME familysearch.yandex.ru, then that host's AAAA records",
        "as above; the peer answers from a fixed IPv4 address and has nothing for AAAA",
    ),
];

#[test]
fn cases_of_other_resolvers_hold() {
    let Some(text) = shared::suite("safesearch.jsonl") else { return };
    let table = table();
    let mut seen = 0;
    let mut failed = Vec::new();
    for line in text.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        seen += 1;
        let known = DIFFERENCES.iter().any(|(known, ..)| *known == id);
        let holds = case_holds(&table, &case);
        if holds == known {
            failed.push(format!("{id}: {} {}", if known { "is listed as different but holds:" } else { "" }, line));
        }
    }
    assert!(seen > 250, "{seen} cases");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn case_holds(table: &SafeSearch, case: &serde_json::Value) -> bool {
    let qname = Name::from_text(case["query"]["qname"].as_str().unwrap()).unwrap();
    let qtype = match case["query"]["qtype"].as_str().unwrap() {
        "A" => RecordType::A,
        "AAAA" => RecordType::AAAA,
        "HTTPS" => RecordType::HTTPS,
        other => panic!("type {other}"),
    };
    let expect = &case["expect"];
    // These cases are about a client or an engine for which the rewriting is switched off.
    let wanted = expect["rewritten"] != serde_json::Value::Bool(false);
    let rule = table.rule(&qname, wanted, if wanted { YouTube::Moderate } else { YouTube::Off });
    let Some(rule) = rule else { return !wanted };
    if !wanted || !rewrites_type(qtype) {
        return false;
    }
    if let Some(cname) = expect["cname"].as_str() {
        // An apex leads to the same target, with its addresses in place of the CNAME.
        return rule.target.to_string() == cname;
    }
    let answers: Vec<_> = expect["answers"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    match qtype {
        RecordType::A => rule.ipv4.iter().map(ToString::to_string).eq(answers),
        RecordType::AAAA => rule.apex && rule.ipv6.iter().map(ToString::to_string).eq(answers),
        _ => rule.apex && answers.is_empty(),
    }
}

/// Hosts that the facts leave off and we block, for profiles that block `unsafe-search`.
const BLOCKED_INSTEAD: &[(&str, &str)] = &[
    ("startpage.com", "nobody vouches for its safe host, so it counts as an engine without enforcement"),
    ("www.startpage.com", "as above"),
];

#[test]
fn the_table_agrees_with_the_gathered_facts() {
    let Some(text) = shared::data_zst("safesearch.csv.zst") else { return };
    let table = table();
    let mut expected: BTreeMap<(String, &str), [String; 3]> = BTreeMap::new();
    let mut blocked = BTreeSet::new();
    let mut off = BTreeSet::new();
    for fields in text.lines().skip(1).map(csv_fields) {
        let [_, host, target, ipv4, ipv6, _, mode, confidence] = &fields[..] else { panic!("{fields:?}") };
        let youtube = match mode.as_str() {
            _ if target == "(block)" => {
                blocked.insert(host.clone());
                continue;
            }
            "default" | "loophole" if confidence != "unverified" => "off",
            "moderate" => "moderate",
            "strict" => "strict",
            _ => {
                off.insert(host.clone());
                continue;
            }
        };
        // The facts deny `ipv6.google.*`. We send it to the engine's safe host like every other name of that front end:
        // as strict, and a search there still answers.
        let facts = match target.as_str() {
            "(NXDOMAIN)" => {
                ["forcesafesearch.google.com", "216.239.38.120", "2001:4860:4802:32::78"].map(str::to_owned)
            }
            _ => [target.clone(), ipv4.clone(), ipv6.clone()],
        };
        expected.insert((host.clone(), youtube), facts);
    }

    let ours: BTreeMap<_, _> = table.rules().map(|rule| ((rule.host.to_string(), level(rule)), facts(rule))).collect();
    for (host, facts) in &expected {
        assert_eq!(ours.get(host), Some(facts), "{host:?}");
    }
    assert_eq!(ours.len(), expected.len(), "we rewrite something that the facts do not");

    let is_unsafe = |host: &str| table.unsafe_labels(&Name::from_text(host).unwrap()).is_some();
    for host in &blocked {
        assert!(is_unsafe(host), "{host}");
    }
    for host in &off {
        let instead = BLOCKED_INSTEAD.iter().any(|(known, _)| known == host);
        assert_eq!(is_unsafe(host), instead, "{host}");
    }
}

fn level(rule: &Rule) -> &'static str {
    match rule.youtube {
        YouTube::Off => "off",
        YouTube::Moderate => "moderate",
        YouTube::Strict => "strict",
    }
}

fn facts(rule: &Rule) -> [String; 3] {
    let words = |words: Vec<String>| words.join(" ");
    [
        rule.target.to_string(),
        words(rule.ipv4.iter().map(ToString::to_string).collect()),
        words(rule.ipv6.iter().map(ToString::to_string).collect()),
    ]
}

/// Fields of one line, of which some are quoted.
fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().expect("it begins with one").push(c),
        }
    }
    fields
}
