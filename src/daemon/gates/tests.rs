//! What is decided, remembered, and forgotten.

use super::*;
use crate::daemon::reload::built_in;
use crate::engine::compile::ListSource;
use crate::engine::gate::Share;

fn rules(text: &str) -> RuleSet {
    parse(text.as_bytes(), ParseOptions { format: Format::Domains, bare_reach: None }).unwrap()
}

fn settings(name: &str, category: &str) -> ListSettings {
    ListSettings {
        name: name.to_owned(),
        category: Categories::built_in().id(category).unwrap(),
        options: ParseOptions { format: Format::Domains, bare_reach: None },
        source: ListSource::File("lists".into()),
        required: true,
        obey_public_suffixes: false,
        block_keywords: Vec::new(),
        gate: GateSettings { must_not_block_max: Some(0), shrink_max: Some(Share::percent(30)), ..GateSettings::OPEN },
    }
}

fn gates() -> Gates {
    Gates::new(TreeKey(1, 2), &built_in())
}

fn admit(gates: &Gates, settings: &ListSettings, sha256: &str, text: &str) -> Result<Vec<HoldReason>, Box<Held>> {
    let new = rules(text);
    gates.admit(&Candidate { settings, supply: Supply::Directory, sha256, in_force: None, new: &new })
}

#[test]
fn what_a_person_approved_goes_into_force_and_nothing_else_does() {
    let (gates, list) = (gates(), settings("x", "phishing"));
    assert!(admit(&gates, &list, "aa", "bad.example").is_ok());
    let held = admit(&gates, &list, "bb", "zalo.me").unwrap_err();
    assert_eq!(gates.of("x").held.as_ref(), Some(&*held));
    // Asked again, it waits since the first time.
    assert_eq!(admit(&gates, &list, "bb", "zalo.me").unwrap_err(), held);
    gates.change("x", |list| list.approved = Some("bb".into()));
    assert!(admit(&gates, &list, "cc", "zalo.me\nvnexpress.net").is_err(), "another version was not approved");
    assert!(admit(&gates, &list, "bb", "zalo.me").is_ok());
    assert_eq!(gates.of("x").held, None, "nothing waits any more");
}

#[test]
fn a_version_that_waits_is_judged_again_by_other_bounds() {
    let (gates, mut list) = (gates(), settings("x", "phishing"));
    assert!(admit(&gates, &list, "bb", "zalo.me").is_err());
    list.gate.must_not_block_max = None;
    assert!(admit(&gates, &list, "bb", "zalo.me").is_ok());
    assert_eq!(gates.of("x"), ListDecisions::default());
}

#[test]
fn a_pinned_list_takes_no_other_version_by_itself() {
    let (gates, list) = (gates(), settings("x", "phishing"));
    gates.change("x", |list| list.pinned = Some("aa".into()));
    assert!(admit(&gates, &list, "aa", "bad.example").is_ok());
    assert_eq!(admit(&gates, &list, "bb", "worse.example").unwrap_err().reasons, [HoldReason::Pinned]);
}

#[test]
fn a_starter_lists_category_is_what_it_is_about() {
    let gates = gates();
    assert!(admit(&gates, &settings("s", "social"), "aa", "facebook.com").is_ok());
    assert!(admit(&gates, &settings("g", "gambling"), "aa", "facebook.com").is_err());
    // Protected names do not count: no list reaches them.
    assert!(admit(&gates, &settings("p", "phishing"), "aa", "sacombank.com.vn").is_ok());
}

#[test]
fn a_restart_forgets_no_decision() {
    let folder = tempfile::tempdir().unwrap();
    let list = settings("x", "phishing");
    let first = gates();
    first.keep_in(folder.path());
    let held = admit(&first, &list, "bb", "zalo.me").unwrap_err();
    first.change("y", |list| list.disabled_since = Some(7));
    let second = gates();
    second.keep_in(folder.path());
    assert_eq!(second.of("x").held, Some(*held));
    assert!(second.is_disabled("y") && !second.is_disabled("x"));
    // A file that is damaged is told of; nothing is published by it.
    std::fs::write(folder.path().join(DECISIONS), b"{").unwrap();
    let third = gates();
    third.keep_in(folder.path());
    assert_eq!(third.of("x"), ListDecisions::default());
}

#[test]
fn a_ranked_file_counts_and_a_bad_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tranco.csv");
    let mut list = settings("x", "adult");
    list.gate.popular_max = Some(0);
    let gates = gates();
    let configure = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let popular = PopularSettings { file: Some(file.clone()), top: 10, learn: crate::config::Learn::Off };
        gates.configure(&Categories::built_in(), &popular, Version::of_file(&file), &built_in());
        gates.problem()
    };
    assert_eq!(configure("1,much-read.example\n"), None);
    assert!(admit(&gates, &list, "aa", "much-read.example").is_err());
    let problem = configure("<html>\n<body>\nnothing here\n").unwrap();
    assert!(problem.contains("tranco.csv: it holds no name"), "{problem}");
}
