//! Every kind of verdict is said in both languages, with its rule and line, and how to change it.

use super::*;
use crate::engine::query::{Rcode, RecordType};
use crate::engine::test_support::{Setup, answer, client, question};
use crate::engine::verdict::BlockResponse;

/// Explains a question of type A, and the answer where there is one.
fn explain(setup: Setup, profile: &str, qname: &str, records: Option<&str>) -> Explanation {
    let snapshot = setup.compile();
    let (client, question) = (client(&snapshot, profile), question(qname, RecordType::A));
    match judge_question(&snapshot, client, &question, "A") {
        Asked::Done(told) => *told,
        Asked::Forward(told, permit) => {
            assert!(!told.answer_checked);
            let Some(records) = records else { return *told };
            let answer = answer(qname, Rcode::NOERROR, records);
            let told = judge_answer(&snapshot, client, &permit, &question, &answer, told);
            assert!(told.answer_checked);
            *told
        }
    }
}

/// Verdict, rung, category, list and line, rule, target, EDE; `-` for what is absent.
fn facts(told: &Explanation) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or("-".into());
    let line = told.line.map_or("-".into(), |line| line.to_string());
    let ede = told.ede.map_or("-".into(), |code| code.to_string());
    let (list, rule, target) = (or(&told.list), or(&told.rule), or(&told.target));
    format!("{} {} {} {list}:{line} {rule} {target} {ede}", told.verdict, told.rung, or(&told.category))
}

#[test]
fn every_kind_of_verdict_is_told() {
    let rules = "operator.allow =free.example; operator.deny op.example; allow my.example; deny =not.example";
    let malware = "# one\nmal.example\n198.51.100.7\n203.0.113.0/24\n203.0.113.0/28";
    for (profile, qname, records, expected, says) in [
        ("default", "x.invalid", None, "allow local-data - -:- - - -", "special name"),
        ("default", "a.example", None, "allow forward - -:- - - -", "no rule speaks about it"),
        (
            "default",
            "free.example",
            None,
            "allow operator - operator.allow:- =free.example - -",
            "allowed by an allow rule",
        ),
        (
            "default",
            "www.my.example",
            None,
            "allow profile - profile.default.allow:- my.example - -",
            "allowed by an allow rule",
        ),
        ("default", "op.example", None, "block operator - operator.deny:- op.example - 15", "by the operator"),
        (
            "default",
            "not.example",
            None,
            "block profile - profile.default.deny:- =not.example - 17",
            "by the profile `default`",
        ),
        ("default", "www.mal.example", None, "block security malware malware:2 mal.example - 15", "blocked as malware"),
        ("default", "sex.example", None, "block category adult adult:1 sex.example - 15", "blocked as adult content"),
        ("school", "sex.example", None, "block category adult adult:1 sex.example - 17", "blocked as adult content"),
        ("default", "www.bank.example", None, "allow forward - adult:2 bank.example - -", "it is a protected name"),
        (
            "school",
            "www.raw.example",
            None,
            "block category unsafe-search -:- www.raw.example - 17",
            "cannot be made safe",
        ),
        (
            "default",
            "www.search.example",
            None,
            "rewrite safe-search - -:- - safe.search.example -",
            "the safe search of search",
        ),
        (
            "default",
            "adult.block.lachan.example",
            None,
            "block category adult test-name.adult:- =adult.block.lachan.example - 15",
            "adult content",
        ),
        ("default", "a.example", Some("A 192.0.2.1"), "allow forward - -:- - - -", "no rule speaks about it"),
        (
            "default",
            "a.example",
            Some("CNAME sex.example"),
            "block category adult adult:1 sex.example sex.example 15",
            "because it leads to sex.example",
        ),
        (
            "default",
            "a.example",
            Some("A 198.51.100.7"),
            "block security malware malware:3 198.51.100.7 198.51.100.7 15",
            "because it leads to 198.51.100.7",
        ),
        // The narrowest network is told.
        (
            "default",
            "a.example",
            Some("A 203.0.113.9"),
            "block security malware malware:5 203.0.113.0/28 203.0.113.9 15",
            "because it leads to 203.0.113.9",
        ),
        (
            "default",
            "a.example",
            Some("CNAME www.search.example"),
            "rewrite safe-search - -:- - safe.search.example -",
            "because it leads to www.search.example",
        ),
        ("default", "a.example", Some("A 10.0.0.1"), "block security - -:- - 10.0.0.1 15", "private address"),
    ] {
        let mut setup = Setup::new().rules(rules).list("malware", malware);
        setup = setup.list("adult", "sex.example\nbank.example");
        setup.policy.rebind_protection = true;
        let told = explain(setup, profile, qname, records);
        assert_eq!(facts(&told), expected, "{qname} {records:?}");
        assert!(told.sentence_en.contains(says), "{}", told.sentence_en);
        assert_eq!(told.place.as_ref().map(|p| p.line), told.line, "{qname}");
        assert_eq!(told.file.is_some(), matches!(told.list.as_deref(), Some("malware" | "adult")), "{qname}");
        check_sentences(&told);
    }
}

/// Both languages say something about the name, end as sentences do, and are not the same.
fn check_sentences(told: &Explanation) {
    for text in [&told.sentence_en, &told.sentence_vi] {
        assert!(text.starts_with(&told.name) && text.ends_with('.'), "{text}");
    }
    for text in [&told.change_en, &told.change_vi] {
        assert!(!text.is_empty() && text.ends_with('.'), "{}: {text}", told.name);
    }
    assert_ne!(told.sentence_en, told.sentence_vi);
    assert_ne!(told.change_en, told.change_vi);
    assert!(!told.tried.is_empty() && !told.qtype.is_empty() && !told.profile.is_empty());
}

#[test]
fn what_to_change_names_the_place_that_decides() {
    for (rules, qname, records, place) in [
        ("operator.deny a.example", "a.example", None, "[operator] deny"),
        ("operator.allow a.example", "a.example", None, "[operator] allow"),
        ("deny a.example", "a.example", None, "[profile.default] deny"),
        ("allow a.example", "a.example", None, "[profile.default] allow"),
        // A profile's allow would not reach the security rung.
        ("malware a.example", "a.example", None, "put a.example into [operator] allow; only the operator"),
        ("adult a.example", "www.a.example", None, "put www.a.example into [profile.default] allow"),
        ("adult cdn.example", "a.example", Some("CNAME cdn.example"), "put cdn.example into [profile.default] allow"),
        ("", "a.example", Some("A 10.0.0.1"), "rebind_allow"),
        ("", "www.search.example", None, "safe_search"),
        ("", "x.onion", None, "[[upstream]]"),
        ("", "a.example", None, "[operator] deny"),
    ] {
        let mut setup = Setup::new().rules(rules);
        setup.policy.rebind_protection = true;
        let told = explain(setup, "default", qname, records);
        assert!(told.change_en.contains(place), "{qname}: {}", told.change_en);
        check_sentences(&told);
    }
}

#[test]
fn a_profile_that_drops_says_so() {
    let mut setup = Setup::new().rules("adult a.example");
    setup.policy.profiles[0].block_response = BlockResponse::Drop;
    let told = explain(setup, "default", "a.example", None);
    assert_eq!(facts(&told), "drop category adult adult:1 a.example - 15");
}

#[test]
fn a_chain_that_is_too_long_is_told_as_a_block_and_what_to_change_fits() {
    let chain: Vec<String> = (0..70).map(|i| format!("CNAME n{i}.example")).collect();
    let told = explain(Setup::new(), "default", "a.example", Some(&chain.join("; ")));
    assert_eq!((told.verdict, &told.place), ("block", &None));
    assert!(told.sentence_en.contains("too many other names"), "{}", told.sentence_en);
    assert!(!told.change_en.contains("to block it"), "{}", told.change_en);
    check_sentences(&told);
}

#[test]
fn the_json_keeps_out_what_does_not_apply() {
    let told = explain(Setup::new().rules("adult a.example"), "default", "a.example", None);
    let json = serde_json::to_value(&told).unwrap();
    for (key, value) in
        [("name", "a.example"), ("type", "A"), ("verdict", "block"), ("list", "adult"), ("file", "lists/adult.txt")]
    {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(json["line"], 1);
    for key in ["target", "client"] {
        assert!(json.get(key).is_none(), "{key}");
    }
    let tried: Vec<String> =
        json["tried"].as_array().unwrap().iter().map(|t| format!("{} {}", t["rung"], t["outcome"])).collect();
    assert_eq!(tried.last().unwrap(), "\"category\" \"block\"");
}

#[test]
fn a_pause_that_is_in_force_is_told_whether_it_matters_or_not() {
    for (rules, qname, says_en, says_vi) in [
        (
            "pause x.example; adult a.example",
            "a.example",
            "because content filtering and SafeSearch are paused for network 127.0.0.0/8, by Cô Lan: a lesson. Without the pause: \
             a.example is blocked as adult content.",
            "vì lọc nội dung và SafeSearch đang tạm tắt cho mạng 127.0.0.0/8, do Cô Lan: a lesson. Nếu không tạm tắt: a.example \
             bị chặn",
        ),
        (
            "pause x.example",
            "www.search.example",
            "Without the pause: www.search.example is sent to",
            "được chuyển tới",
        ),
        ("pause x.example", "a.example", "The question would pass without it too.)", "cũng được phép.)"),
    ] {
        let told = explain(Setup::new().rules(rules), "default", qname, None);
        assert_eq!(told.verdict, "allow");
        assert!(told.sentence_en.contains(says_en), "{}", told.sentence_en);
        assert!(told.sentence_vi.contains(says_vi), "{}", told.sentence_vi);
        let pause = told.pause.as_ref().unwrap();
        assert!(told.sentence_en.contains(&pause.until), "{}", told.sentence_en);
        assert!(told.tried.iter().any(|step| step.outcome == "paused"), "{:?}", told.tried);
    }
    // Security goes on, and what decides is told.
    let told = explain(Setup::new().rules("pause x.example; malware a.example"), "default", "a.example", None);
    assert_eq!((told.verdict, told.rung, told.pause.is_some()), ("block", "security", true));
}

#[test]
fn what_an_answer_meets_is_a_result_of_its_rung() {
    let told = explain(Setup::new().rules("adult b.example"), "default", "a.example", Some("CNAME b.example"));
    let last = told.tried.last().unwrap();
    assert_eq!((last.rung, last.outcome, last.name.as_deref()), ("category", "block", Some("b.example")));
}

/// Who may not ask is told the profile that it would have: by the table of subscribers, as everywhere.
#[test]
fn a_stranger_has_the_profile_of_its_line() {
    use crate::engine::client::{Realm, UnixTime};
    use crate::engine::query::{Origin, Transport};
    use crate::engine::subscribers::{Entry, Holder, Key, Live, Table, Term};
    let mut snapshot = Setup::new().compile();
    let (table, mut writer) = Table::new((1, 2));
    let school = table.intern("school").unwrap();
    let key = Key::of_net(Realm(7), "203.0.113.9/32".parse().unwrap());
    let until = Some(1_900_000_000);
    let term = Term { until, is_hard: true, is_session: false };
    writer.put(key, Entry { holder: Holder::Profile(school), term }).unwrap();
    snapshot.subscribers = Some(Live::new(table, &snapshot.profiles, std::sync::Arc::from([])));
    for (realm, at, profile) in
        [(7, 1_800_000_000, "school"), (7, 1_900_000_001, "default"), (0, 1_800_000_000, "default")]
    {
        let source = "203.0.113.9:4000".parse().unwrap();
        let origin = Origin { realm: Realm(realm), ..Origin::new(source, None, Transport::Udp) };
        let told = judge_source(&snapshot, &origin, UnixTime(at), &question("a.example", RecordType::A), "A").unwrap();
        assert_eq!(told.profile, profile, "realm {realm} at {at}");
    }
}
