//! One sample of each list format: it is taken for what it is, every line is read, and every kind of rule says why.

use std::path::Path;

use lachan::config::load_str;
use lachan::daemon::explain::{Who, explain_offline};
use lachan::daemon::reload::Loader;
use lachan::engine::list::{Format, ParseOptions, SkipReason, parse};
use lachan::engine::query::{CLASS_IN, Question, RecordType};

use crate::harness::judge::name;

fn sample(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("blocklists/samples").join(file)
}

#[test]
fn each_sample_is_read_as_what_it_is() {
    let samples: [(&str, Format, usize, &[_]); 7] = [
        ("hosts.txt", Format::Hosts, 3, &[(SkipReason::SingleLabel, 2)]),
        ("domains.txt", Format::Domains, 3, &[]),
        ("wildcards.txt", Format::Domains, 2, &[]),
        ("adblock.txt", Format::Adblock, 8, &[(SkipReason::Cosmetic, 1)]),
        ("dnsmasq.conf", Format::Dnsmasq, 5, &[]),
        ("unbound.conf", Format::Unbound, 4, &[]),
        ("rpz.zone", Format::Rpz, 10, &[]),
    ];
    for (file, format, rules, skipped) in samples {
        let text = std::fs::read(sample(file)).unwrap();
        let set = parse(&text, ParseOptions { format: Format::Auto, bare_reach: None }).unwrap();
        assert_eq!(set.report.format, Some(format), "{file}");
        assert_eq!(set.report.skipped, skipped, "{file}");
        assert_eq!(set.rule_count(), rules, "{file}");
    }
}

#[test]
fn every_kind_of_rule_is_explained_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("lachan.toml");
    let mut text = "[access]\nallow = [\"198.51.100.0/24\", \"192.0.2.0/24\"]\n[[upstream]]\nservers = [\"127.0.0.1:9\"]\n[profile.default]\nblock = [\"adult\"]\n".to_owned();
    for file in ["adblock.txt", "dnsmasq.conf", "unbound.conf", "rpz.zone"] {
        let list = file.split('.').next().unwrap();
        text.push_str(&format!("[list.{list}]\ncategory = \"adult\"\nfile = \"{}\"\n", sample(file).display()));
    }
    std::fs::write(&config, &text).unwrap();
    assert!(load_str("t.toml", &text, directory.path()).is_ok());
    let loaded = Loader::new(Some(config)).load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
    for (qname, qtype, client, verdict, list, line, rule) in [
        (
            "typed.sample.example",
            RecordType::AAAA,
            "198.51.100.1",
            "block",
            "adblock",
            6,
            "||typed.sample.example^$dnstype=AAAA|HTTPS",
        ),
        (
            "important.sample.example",
            RecordType::A,
            "198.51.100.1",
            "block",
            "adblock",
            7,
            "||important.sample.example^$important",
        ),
        (
            "moved.sample.example",
            RecordType::A,
            "198.51.100.1",
            "rewrite",
            "adblock",
            9,
            "||moved.sample.example^$dnsrewrite=192.0.2.1",
        ),
        ("ads7.sample.test1", RecordType::A, "198.51.100.1", "block", "adblock", 10, "/^ads[0-9]+\\.sample\\./"),
        (
            "www.portal.sample.example",
            RecordType::A,
            "198.51.100.1",
            "rewrite",
            "dnsmasq",
            6,
            "address=/portal.sample.example/192.0.2.1",
        ),
        (
            "x.children.sample.example",
            RecordType::A,
            "198.51.100.1",
            "block",
            "dnsmasq",
            5,
            "local=/*.children.sample.example/",
        ),
        (
            "refused.sample.example",
            RecordType::A,
            "198.51.100.1",
            "block",
            "unbound",
            5,
            "local-zone: \"refused.sample.example.\" always_refuse",
        ),
        ("x.rpz.sample.example", RecordType::A, "198.51.100.1", "block", "rpz", 6, "*.rpz.sample.example      CNAME ."),
        (
            "drop.sample.example",
            RecordType::A,
            "198.51.100.1",
            "drop",
            "rpz",
            9,
            "drop.sample.example       CNAME rpz-drop.",
        ),
        (
            "search.sample.example",
            RecordType::A,
            "198.51.100.1",
            "rewrite",
            "rpz",
            12,
            "search.sample.example     CNAME safe.sample.example.",
        ),
        ("anything.example", RecordType::A, "192.0.2.9", "block", "rpz", 14, "24.0.2.0.192.rpz-client-ip CNAME *."),
    ] {
        let question = Question { qname: name(qname), qtype, qclass: CLASS_IN };
        let who = Who { client: Some(client.parse().unwrap()), profile: None, ..Who::default() };
        let told = explain_offline(&loaded.generation.snapshot, &loaded.notes.list_lines, &question, "", &who).unwrap();
        assert_eq!(
            (told.verdict, told.list.as_deref(), told.line, told.rule.as_deref()),
            (verdict, Some(list), Some(line), Some(rule)),
            "{qname}"
        );
        assert!(told.file.is_some_and(|file| file.contains("samples")));
    }
}
