//! Scenarios of other resolvers' tests of response policy zones: several zones, an upstream, and what a client is told.
//!
//! What every resolver that forwards does (`must`) we do; where they differ among themselves a row says what we do. A zone's
//! override is written into its records here, as an operator would: there is no setting for it.

use std::net::IpAddr;

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::txt::Parser;
use lachan::engine::query::Transport;
use serde_json::Value;

use crate::differences;
use crate::harness::client::Ask;
use crate::harness::resolver::{Files, InProcess};
use crate::harness::upstream::Upstream;
use crate::shared::suite;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], |list| list)
}

/// A policy zone as a file.
fn zone_file(zone: &Value) -> String {
    let name = text(zone, "name").trim_end_matches('.');
    let mut file = format!("$ORIGIN {name}.\n$TTL 60\n@ SOA ns. me. 1 2 3 4 5\n");
    let action = match text(zone, "override") {
        "" => None,
        "disabled" => return file,
        "nxdomain" => Some(".".to_owned()),
        "nodata" => Some("*.".to_owned()),
        "cname" => Some(text(zone, "override_cname").to_owned()),
        other => Some(format!("rpz-{other}.")),
    };
    for record in list(zone, "records") {
        let (trigger, ttl) = (text(record, "trigger"), record["ttl"].as_u64().unwrap_or(60));
        let record = match &action {
            Some(target) => format!("CNAME {target}"),
            None => format!("{} {}", text(record, "type"), text(record, "rdata")),
        };
        file.push_str(&format!("{trigger} {ttl} IN {record}\n"));
    }
    file
}

/// What the upstream has: records of zones, and of the literal answers.
fn upstream_zone(scenario: &Value) -> String {
    let answers = list(scenario, "responses").iter().flat_map(|response| list(response, "answer"));
    let records = list(scenario, "upstream").iter().flat_map(|zone| list(zone, "records"));
    let mut lines: Vec<String> = answers
        .chain(records)
        .filter(|record| !matches!(text(record, "type"), "SOA" | "NS" | "RRSIG" | "DNSKEY" | "NSEC" | "DS"))
        .map(|record| format!("{} 300 IN {} {}", text(record, "name"), text(record, "type"), text(record, "rdata")))
        .collect();
    lines.sort();
    lines.dedup();
    lines.join("\n") + "\n"
}

fn config(zones: usize, upstream: &Upstream) -> String {
    let mut config = format!(
        "[access]\nallow = [\"0.0.0.0/0\", \"::/0\"]\n[listen]\ndns = [\"127.0.0.1:0\", \"[::1]:0\"]\nadmin = \"off\"\n\
         [[upstream]]\nservers = [\"{0}\"]\n[[upstream]]\nzones = [\"test\"]\nservers = [\"{0}\"]\n\
         [profile.default]\nblock = [\"adult\"]\nsafe_search = false\n",
        upstream.v4
    );
    for i in 0..zones {
        config.push_str(&format!(
            "[list.zone{i}]\ncategory = \"adult\"\nformat = \"rpz\"\nfile = \"zone{i}\"\npublic_suffixes = \"obey\"\n"
        ));
    }
    config
}

/// Records as owner, type and data, sorted.
fn expected(records: &[Value]) -> Vec<(String, RecordType, RData)> {
    let mut wanted = Vec::new();
    for record in records {
        let line = format!("{} 60 IN {} {}\n", text(record, "name"), text(record, "type"), text(record, "rdata"));
        let (_, sets) = Parser::new(line, None, Some(Name::root())).parse().unwrap();
        wanted.extend(sets.values().flat_map(|set| set.records_without_rrsigs()).map(told));
    }
    wanted.sort_by_key(|record| format!("{record:?}"));
    wanted
}

fn told(record: &hickory_proto::rr::Record) -> (String, RecordType, RData) {
    (record.name.to_lowercase().to_string(), record.record_type(), record.data.clone())
}

/// `None`: as expected.
fn differs(resolver: &InProcess, query: &Value, expect: &Value) -> Option<String> {
    let qtype = text(query, "qtype").parse().unwrap();
    let ask = Ask {
        recursion_desired: query["rd"] != false,
        dnssec_ok: query["do"] == true,
        checking_disabled: query["cd"] == true,
        ..Ask::new(text(query, "qname").trim_end_matches('.'), qtype)
    };
    let source: IpAddr = query["client"].as_str().unwrap_or("198.51.100.77").parse().unwrap();
    let transport = if query["transport"] == "tcp" { Transport::Tcp } else { Transport::Udp };
    let Some(octets) = resolver.ask_from(&ask.encode(), source, transport) else {
        return (expect["dropped"] != true).then(|| "nothing is sent".to_owned());
    };
    let message = Message::from_vec(&octets).unwrap();
    let mut answers: Vec<_> = message.answers.iter().map(told).collect();
    answers.sort_by_key(|record| format!("{record:?}"));
    let rcode = message.metadata.response_code.to_str().to_owned();
    let is = |word: &str| rcode.replace(' ', "").eq_ignore_ascii_case(word);
    let rcode_name = match u16::from(message.metadata.response_code) {
        0 => "NOERROR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        5 => "REFUSED",
        _ => "other",
    };
    let tc = message.metadata.truncation;
    let same = expect["dropped"] != true
        && (rcode_name == text(expect, "rcode") || is(text(expect, "rcode")))
        && tc == (expect["tc"] == true)
        && answers == expected(list(expect, "answers"));
    (!same).then(|| {
        let answers: Vec<String> = answers.iter().map(|(name, rtype, data)| format!("{name} {rtype} {data}")).collect();
        format!("{rcode_name}{} {answers:?}", if tc { " tc" } else { "" })
    })
}

#[test]
fn policy_zones_do_what_they_do_elsewhere() {
    let Some(text_of_suite) = suite("rpz_scenarios.jsonl") else { return };
    let (mut ran, mut must, mut differ, mut wrong) = (0, 0, Vec::new(), Vec::new());
    for line in text_of_suite.lines() {
        let scenario: Value = serde_json::from_str(line).unwrap();
        let id = text(&scenario, "id");
        let zones = list(&scenario, "policy_zones");
        let upstream = Upstream::start(&upstream_zone(&scenario));
        let files: Vec<(String, String)> =
            zones.iter().enumerate().map(|(i, zone)| (format!("zone{i}"), zone_file(zone))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
        let resolver = InProcess::start(&Files { config: config(zones.len(), &upstream), files: &files });
        for (i, step) in list(&scenario, "steps").iter().enumerate() {
            if step["action"] == "reload" {
                for (i, zone) in list(step, "policy_zones").iter().enumerate() {
                    resolver.write(&format!("zone{i}"), &zone_file(zone));
                }
                assert_eq!(resolver.reload().result, "ok", "{id}");
            }
            let (grade, query) = (text(step, "grade"), &step["query"]);
            let needs = |what: &str| list(step, "requires").iter().any(|word| word == what);
            // A recursor's triggers, DNSSEC, stale answers; tags on zones; addresses made of others.
            let is_out = grade.starts_with("needs-") || needs("client-groups") || needs("dns64");
            if !query.is_object() || is_out {
                continue;
            }
            ran += 1;
            must += u32::from(grade == "must");
            let Some(what) = differs(&resolver, query, &step["expect"]) else { continue };
            let number = step["step"].as_u64().map_or_else(|| format!("[{i}]"), |number| format!("#{number}"));
            if grade == "must" {
                wrong.push(format!("{id}{number}: {what}, not {}", step["expect"]));
            } else {
                differ.push((format!("{id}{number}"), what));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {must} that must hold do not:\n{}", wrong.len(), wrong.join("\n"));
    differences::check("rpz.tsv", &differ);
    assert!(must >= 150 && ran >= 170, "{ran} ran, {must} of them a must");
}
