//! AdGuard's own cases of its DNS syntax: what a list of rules does to a question, and which lines are rules.

use lachan::engine::answer::address;
use lachan::engine::explain::{Asked, judge_question};
use lachan::engine::list::special::RuleAnswer;
use lachan::engine::list::{Format, ParseOptions, RuleSet, parse};
use lachan::engine::policy::{self, AnswerVerdict, QueryVerdict};
use lachan::engine::query::{CLASS_IN, Question, RecordType};
use serde_json::Value;

use crate::differences;
use crate::harness::judge::{Who, name, snapshot};
use crate::shared::suite;

fn cases(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn record_type(text: &str) -> RecordType {
    let number: u16 = text.parse::<hickory_proto::rr::RecordType>().unwrap().into();
    RecordType(number)
}

/// What a question comes to: `none`, `block`, `rewrite …`.
fn verdict(case: &Value) -> (String, Option<String>) {
    let rules = texts(&case["list_rules"]);
    let client = &case["query"]["client"];
    let who = Who {
        source: client["ip"].as_str().map(|ip| ip.parse().unwrap()),
        name: client["name"].as_str().map(str::to_owned),
        tags: texts(&client["tags"]),
    };
    let (snapshot, client) = snapshot(Format::Adblock, &[rules.join("\n")], &who);
    let query = &case["query"];
    let qtype = record_type(query["qtype"].as_str().unwrap());
    let question = Question { qname: name(query["qname"].as_str().unwrap()), qtype, qclass: CLASS_IN };
    let rule = match judge_question(&snapshot, client, &question, "") {
        Asked::Done(told) => told.line.map(|line| rules[line as usize - 1].clone()),
        Asked::Forward(..) => None,
    };
    let told = match policy::on_query(&snapshot, client, &question, &mut ()) {
        QueryVerdict::Redirect(redirect, _) => format!("rewrite CNAME {}", redirect.target),
        QueryVerdict::Block(block) => match block.answer {
            None => "block".to_owned(),
            Some(RuleAnswer::Rcode(rcode)) => format!("rewrite {}", rcode.as_str()),
            Some(RuleAnswer::Records(records)) => {
                let mut told: Vec<String> = records
                    .all
                    .iter()
                    .map(|record| match address(record.rtype, &record.rdata) {
                        Some(address) => format!("{} {address}", record.rtype.0),
                        None => record.rtype.0.to_string(),
                    })
                    .collect();
                told.sort();
                format!("rewrite {}", told.join(", "))
            }
            Some(answer) => format!("{answer:?}"),
        },
        QueryVerdict::Allow(permit) => match case["note"].as_str().and_then(upstream_answer) {
            Some(answer) => match policy::on_answer(&snapshot, client, &permit, &question, &answer) {
                AnswerVerdict::Block(_) => "block".to_owned(),
                _ => "none".to_owned(),
            },
            None => "none".to_owned(),
        },
        other => format!("{other:?}"),
    };
    (told, rule)
}

/// `ipv4: upstream answers A 1.2.3.4; …`
fn upstream_answer(note: &str) -> Option<lachan::engine::answer::Answer> {
    use lachan::engine::answer::{AnswerBuilder, Section};
    use lachan::engine::query::Rcode;
    let said = note.split_once("upstream answers ")?.1.split(';').next()?;
    let mut words = said.split(' ');
    let rtype = record_type(words.next()?);
    let mut rdata = Vec::new();
    for word in words {
        if rtype == RecordType::HTTPS && rdata.is_empty() {
            rdata.extend_from_slice(&[0, 1, 0]);
        }
        let (key, value) = word.split_once('=').unwrap_or(("", word));
        let octets = match value.parse().ok()? {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        if !key.is_empty() {
            rdata.extend_from_slice(&[0, if key == "ipv4hint" { 4 } else { 6 }, 0, octets.len() as u8]);
        }
        rdata.extend(octets);
    }
    let mut made = AnswerBuilder::new(Rcode::NOERROR);
    made.push(Section::Answer, name("example.org").as_wire(), rtype, 60, &rdata);
    Some(made.finish())
}

fn expected(expect: &Value) -> String {
    let rewrites = expect["rewrites"].as_array().map_or(&[][..], |rewrites| rewrites);
    // As the product does: a CNAME or a code goes before records.
    if let Some(target) = rewrites.iter().find_map(|rewrite| rewrite["cname"].as_str()) {
        return format!("rewrite CNAME {target}");
    }
    if let Some(rcode) = rewrites.iter().filter_map(|r| r["rcode"].as_str()).find(|rcode| *rcode != "NOERROR") {
        return format!("rewrite {rcode}");
    }
    if !rewrites.is_empty() {
        let mut told: Vec<String> = rewrites
            .iter()
            .map(|rewrite| {
                let number = record_type(rewrite["type"].as_str().unwrap()).0;
                match rewrite["value"].as_str().unwrap().parse::<std::net::IpAddr>() {
                    Ok(address) => format!("{number} {address}"),
                    Err(_) => number.to_string(),
                }
            })
            .collect();
        told.sort();
        return format!("rewrite {}", told.join(", "));
    }
    if expect["blocked"] == true { "block".to_owned() } else { "none".to_owned() }
}

#[test]
fn rules_do_what_they_do_in_adguard() {
    let Some(text) = suite("adguard_dns_rules.jsonl") else { return };
    let (mut ran, mut differ) = (0, Vec::new());
    for case in cases(&text) {
        let id = case["id"].as_str().unwrap().to_owned();
        // An allow list is another kind of list than a block list; here `[operator] allow` and a profile's are.
        if case["group"] == "allow-list-file" {
            continue;
        }
        ran += 1;
        let (told, rule) = verdict(&case);
        let wanted = expected(&case["expect"]);
        if told != wanted {
            differ.push((id, format!("{told}, not {wanted}")));
            continue;
        }
        let wanted = case["expect"]["rule"].as_str();
        if told == "block" && rule.is_some() && wanted.is_some() && rule.as_deref() != wanted {
            differ.push((id, format!("names {rule:?}, not {wanted:?}")));
        }
    }
    assert!(ran >= 200, "{ran} cases ran");
    differences::check("adguard_rules.tsv", &differ);
}

/// Whether a line makes something: a rule, or nothing where nothing is meant.
fn makes(line: &str) -> (usize, bool) {
    let text = format!("||good.example^\n{line}\n");
    let set: RuleSet = parse(text.as_bytes(), ParseOptions { format: Format::Adblock, bare_reach: None }).unwrap();
    (set.rule_count() - 1, set.report.skipped.is_empty())
}

#[test]
fn lines_are_rules_where_adguard_has_them_so() {
    let Some(text) = suite("adguard_rule_parsing.jsonl") else { return };
    let (mut ran, mut differ) = (0, Vec::new());
    for case in cases(&text) {
        // What is no line of a hosts file may be a line of another kind.
        if case["as_kind"] == "hosts" {
            continue;
        }
        ran += 1;
        let line = case["line"].as_str().unwrap();
        let (rules, clean) = makes(line);
        let kind = case["kind"].as_str().unwrap_or_default();
        // A `$badfilter` is valid and adds nothing.
        let is_usable = case["dns_usable"] != false && !line.contains("badfilter");
        let (agrees, wanted) = match (case["valid"] == true, kind) {
            (true, "none" | "comment") => (rules == 0 && clean, "nothing"),
            (true, "cosmetic") => (rules == 0 && !clean, "skipped"),
            (true, _) if line.contains("badfilter") => (rules == 0 && clean, "a void"),
            (true, _) if is_usable => (rules > 0, "a rule"),
            _ => (rules == 0 && !clean, "skipped"),
        };
        if !agrees {
            let told = if rules > 0 {
                "a rule"
            } else if clean {
                "nothing"
            } else {
                "skipped"
            };
            differ.push((case["id"].as_str().unwrap().to_owned(), format!("{told}, not {wanted}: {line}")));
        }
    }
    assert!(ran >= 110, "{ran} cases ran");
    differences::check("adguard_lines.tsv", &differ);
}
