//! The ladder as tables: what was asked, under which rules, and what becomes of it.

use super::*;
use crate::engine::answer::Section;
use crate::engine::limits::CHAIN_MAX;
use crate::engine::query::{Rcode, RecordType};
use crate::engine::test_support::{NOW, Setup, answer, client, entries, name, question};

/// `block RUNG CATEGORY RULE`, and the target when it was not the question.
fn block_text(snapshot: &Snapshot, qname: &str, block: &Block) -> String {
    let reason = &block.reason;
    let category = category(reason).map_or("-", |id| snapshot.categories.get(id).name.as_str());
    let owner = reason.owner(&name(qname)).map(|owner| owner.to_string()).unwrap_or_default();
    let cause = match &reason.cause {
        Cause::Rule { .. } => owner,
        Cause::Address { .. } => "address".into(),
        Cause::Rebinding => "rebinding".into(),
        Cause::NotAllowed => "not allowed".into(),
        Cause::UnsafeSearch { .. } => format!("unsafe {owner}"),
        Cause::Order { order, .. } => format!("order {order} {owner}"),
        Cause::Temporary { at, .. } => format!("word {at} {owner}"),
    };
    let target = match &reason.target {
        None => String::new(),
        Some(Target::Name(name)) => format!(" -> {name}"),
        Some(Target::Address(address)) => format!(" -> {address}"),
    };
    format!("block {} {category} {cause}{target}", reason.rung.as_str())
}

fn asked(snapshot: &Snapshot, profile: &str, qname: &str, qtype: RecordType) -> String {
    let permit_text = |permit: &Permit| match permit.allowed() {
        None => String::new(),
        Some(rung) => format!(" by {}", rung.as_str()),
    };
    let mut steps: Vec<(Rung, Step)> = Vec::new();
    let verdict = on_query(snapshot, client(snapshot, profile), &question(qname, qtype), &mut steps);
    // The ladder is climbed downwards, whatever it comes to.
    assert!(steps.windows(2).all(|pair| pair[0].0 < pair[1].0), "{qname}: {steps:?}");
    // The lanes hear no steps, and come to the same.
    let unheard = on_query(snapshot, client(snapshot, profile), &question(qname, qtype), &mut ());
    assert_eq!(format!("{unheard:?}"), format!("{verdict:?}"), "{qname}");
    match verdict {
        QueryVerdict::Local(_) => "local".into(),
        QueryVerdict::Block(block) => block_text(snapshot, qname, &block),
        QueryVerdict::Redirect(redirect, _) => format!("redirect {}", redirect.target),
        QueryVerdict::Rewrite(rewrite, permit) => format!("rewrite {}{}", rewrite.rule.target, permit_text(&permit)),
        QueryVerdict::Allow(permit) => format!("allow{}", permit_text(&permit)),
    }
}

fn answered(snapshot: &Snapshot, profile: &str, qname: &str, records: &str) -> String {
    answered_type(snapshot, profile, qname, RecordType::A, records)
}

fn answered_type(snapshot: &Snapshot, profile: &str, qname: &str, qtype: RecordType, records: &str) -> String {
    let (client, question) = (client(snapshot, profile), question(qname, qtype));
    let QueryVerdict::Allow(permit) = on_query(snapshot, client, &question, &mut ()) else {
        panic!("{qname} is not even asked for")
    };
    let answer = answer(qname, Rcode::NOERROR, records);
    match on_answer(snapshot, client, &permit, &question, &answer) {
        AnswerVerdict::Deliver(cleared) if !cleared.delivers(Section::Additional) => "deliver bare".into(),
        AnswerVerdict::Deliver(_) => "deliver".into(),
        AnswerVerdict::TooLong => "too long".into(),
        AnswerVerdict::Block(block) => block_text(snapshot, qname, &block),
        AnswerVerdict::Rewrite(Rewrite { rule, shape, .. }) => {
            format!("rewrite {} -> {} {shape:?}", rule.host, rule.target)
        }
        AnswerVerdict::Redirect(redirect, _) => format!("redirect {}", redirect.target),
    }
}

#[test]
fn a_higher_rung_wins_over_its_neighbour() {
    for (rules, qname, expected) in [
        ("", "www.example.com", "allow"),
        // 1 over 3: local data is nobody's to deny or allow.
        ("operator.deny localhost.example; operator.deny x.invalid", "x.invalid", "local"),
        ("operator.allow x.onion", "x.onion", "local"),
        // 3 over 4.
        ("operator.allow a.example; malware a.example", "a.example", "allow by operator"),
        ("operator.deny a.example; malware a.example", "a.example", "block operator - a.example"),
        // 3 over 5.
        ("operator.deny a.example; allow a.example", "a.example", "block operator - a.example"),
        ("operator.allow a.example; deny a.example", "a.example", "allow by operator"),
        // Not even the more specific rule of a lower rung.
        ("operator.deny example; allow =www.a.example", "www.a.example", "block operator - example"),
        // 4 over 5.
        ("malware a.example; allow a.example", "a.example", "block security malware a.example"),
        ("malware a.example; deny a.example", "a.example", "block security malware a.example"),
        ("malware a.example; allow =www.a.example", "www.a.example", "block security malware a.example"),
        // 5 over 6.
        ("allow a.example; adult a.example", "a.example", "allow by profile"),
        ("deny a.example; adult a.example", "a.example", "block profile - a.example"),
        ("allow a.example; adult www.a.example", "www.a.example", "allow by profile"),
        // 4 over 6.
        ("malware a.example; adult www.a.example", "www.a.example", "block security malware a.example"),
        // 6 over 7: an engine's host in a blocked category is blocked, not rewritten.
        ("adult search.example", "www.search.example", "block category adult search.example"),
        // 3 and 5 do not switch 7 off.
        ("operator.allow www.search.example", "www.search.example", "rewrite safe.search.example by operator"),
        ("allow www.search.example", "www.search.example", "rewrite safe.search.example by profile"),
        // 2 over all below it, whatever is more specific there.
        ("order a.example; operator.allow =www.a.example", "www.a.example", "block order - order 0 a.example"),
        ("order a.example; for-all.allow =www.a.example", "www.a.example", "block order - order 0 a.example"),
        ("order a.example; operator.deny a.example", "a.example", "block order - order 0 a.example"),
        ("order a.example; malware a.example", "a.example", "block order - order 0 a.example"),
        ("order a.example; for-some.allow a.example", "a.example", "block order - order 0 a.example"),
        ("order a.example; adult a.example; pause x.example", "a.example", "block order - order 0 a.example"),
        ("order www.search.example", "www.search.example", "block order - order 0 www.search.example"),
        // 1 over 2.
        ("order x.onion", "x.onion", "local"),
        // The more specific order is told; a name alone leaves those below it.
        ("order a.example; order =www.a.example", "www.a.example", "block order - order 1 www.a.example"),
        ("order =a.example", "www.a.example", "allow"),
        // Protected names are reached with an override alone.
        ("order bank.example", "bank.example", "allow"),
        ("order !bank.example", "www.bank.example", "block order - order 0 bank.example"),
        ("order example; order !bank.example", "bank.example", "block order - order 1 bank.example"),
        // 3, said for a while.
        ("for-all.allow a.example; malware a.example", "a.example", "allow by operator"),
        ("for-all.deny a.example; allow a.example", "a.example", "block operator - word 0 a.example"),
        ("for-all.deny a.example; for-some.allow =a.example", "a.example", "block operator - word 0 a.example"),
        ("for-all.deny bank.example", "bank.example", "allow"),
        // 4 over 5, said for a while.
        ("for-some.allow a.example; malware a.example", "a.example", "block security malware a.example"),
        ("for-some.deny a.example; malware a.example", "a.example", "block security malware a.example"),
        // 5 over 6.
        ("for-some.allow a.example; adult a.example", "a.example", "allow by profile"),
        ("for-some.deny a.example; operator.allow a.example", "a.example", "allow by operator"),
        // A pause holds off 6 and 7 alone.
        ("pause x.example; adult a.example", "a.example", "allow"),
        ("pause x.example", "www.search.example", "allow"),
        ("pause x.example; malware a.example", "a.example", "block security malware a.example"),
        ("pause x.example; deny a.example", "a.example", "block profile - a.example"),
        ("pause x.example; operator.deny a.example", "a.example", "block operator - a.example"),
        // Neither does an allow switch 7 off.
        ("for-some.allow www.search.example", "www.search.example", "rewrite safe.search.example by profile"),
        // 7 over 8.
        ("", "www.search.example", "rewrite safe.search.example"),
        ("", "search.example", "rewrite safe.search.example"),
        ("", "mail.search.example", "allow"),
    ] {
        let snapshot = Setup::new().rules(rules).compile();
        assert_eq!(asked(&snapshot, "default", qname, RecordType::A), expected, "{qname}: {rules}");
    }
}

#[test]
fn within_a_rung_the_more_specific_rule_wins_and_allow_at_a_tie() {
    for (rules, qname, expected) in [
        ("allow a.example; deny a.example", "a.example", "allow by profile"),
        // What was said for a while stands beside the lists.
        ("for-some.allow a.example; deny a.example", "a.example", "allow by profile"),
        ("for-some.deny a.example; allow a.example", "a.example", "allow by profile"),
        ("for-some.deny =a.example; for-some.allow a.example", "a.example", "allow by profile"),
        ("for-some.deny www.a.example; allow a.example", "www.a.example", "block profile - word 0 www.a.example"),
        ("deny www.a.example; for-some.allow a.example", "www.a.example", "block profile - www.a.example"),
        ("for-some.deny a.example; deny a.example", "a.example", "block profile - a.example"),
        ("operator.deny a.example; for-all.allow =www.a.example", "www.a.example", "allow by operator"),
        ("deny a.example; allow a.example", "www.a.example", "allow by profile"),
        ("allow a.example; deny www.a.example", "www.a.example", "block profile - www.a.example"),
        ("deny a.example; allow www.a.example", "www.a.example", "allow by profile"),
        ("deny a.example; allow www.a.example", "a.example", "block profile - a.example"),
        ("deny a.example; allow =a.example", "www.a.example", "block profile - a.example"),
        ("deny *.a.example", "a.example", "allow"),
        ("deny *.a.example", "www.a.example", "block profile - a.example"),
        ("deny =a.example", "www.a.example", "allow"),
        ("deny =a.example", "A.EXAMPLE", "block profile - a.example"),
        ("deny a.example", "ba.example", "allow"),
        ("operator.allow example; operator.deny a.example", "a.example", "block operator - a.example"),
        // Of several lists, the most specific rule is the one that is told.
        ("adult a.example; gambling b.a.example", "b.a.example", "block category gambling b.a.example"),
        ("malware a.example; phishing www.a.example", "www.a.example", "block security phishing www.a.example"),
    ] {
        let snapshot = Setup::new().rules(rules).compile();
        assert_eq!(asked(&snapshot, "default", qname, RecordType::A), expected, "{qname}: {rules}");
    }
}

#[test]
fn an_exception_undoes_only_its_own_list() {
    let setup = Setup::new().list("adult", "||a.example^\n@@||www.a.example^").list("gambling", "||b.a.example^");
    let snapshot = setup.compile();
    for (qname, expected) in [
        ("a.example", "block category adult a.example"),
        ("www.a.example", "allow"),
        ("x.www.a.example", "allow"),
        ("b.a.example", "block category gambling b.a.example"),
    ] {
        assert_eq!(asked(&snapshot, "default", qname, RecordType::A), expected, "{qname}");
    }
    let both = Setup::new().list("adult", "||a.example^").list("gambling", "||a.example^\n@@||a.example^").compile();
    assert_eq!(asked(&both, "default", "a.example", RecordType::A), "block category adult a.example");
}

#[test]
fn protected_names_are_holes_for_lists_and_own_denies() {
    for (rules, qname, expected) in [
        ("malware bank.example", "bank.example", "allow"),
        ("malware www.bank.example", "www.bank.example", "allow"),
        ("adult bank.example", "login.bank.example", "allow"),
        // The wider rule stays for the others.
        ("malware wide.example", "pay.wide.example", "allow"),
        ("malware wide.example", "other.wide.example", "block security malware wide.example"),
        ("operator.deny bank.example", "bank.example", "allow"),
        ("deny bank.example", "bank.example", "allow"),
        // Exact: below it lists reach.
        ("malware update.example", "update.example", "allow"),
        ("malware update.example", "evil.update.example", "block security malware update.example"),
        // SafeSearch targets.
        ("adult search.example", "safe.search.example", "allow"),
        ("malware safe.search.example", "safe.search.example", "allow"),
        // Against content lists only.
        ("adult so.gov.vn", "www.so.gov.vn", "allow"),
        ("malware so.gov.vn", "www.so.gov.vn", "block security malware so.gov.vn"),
        ("deny so.gov.vn", "so.gov.vn", "block profile - so.gov.vn"),
        ("malware so.gov.vn; adult so.gov.vn", "so.gov.vn", "block security malware so.gov.vn"),
    ] {
        let snapshot = Setup::new().rules(rules).compile();
        assert_eq!(asked(&snapshot, "default", qname, RecordType::A), expected, "{qname}: {rules}");
    }
}

#[test]
fn each_profile_has_its_own_word() {
    let snapshot =
        Setup::new().rules("malware m.example; adult a.example; bypass b.example; games g.example").compile();
    let canary = "block category bypass use-application-dns.net";
    for (qname, default, school, open) in [
        ("m.example", "block security malware m.example", "block security malware m.example", "allow"),
        ("a.example", "block category adult a.example", "block category adult a.example", "allow"),
        ("b.example", "allow", "block category bypass b.example", "allow"),
        ("g.example", "allow", "allow", "allow"),
        ("use-application-dns.net", canary, canary, "allow"),
        ("www.search.example", "rewrite safe.search.example", "rewrite safe.search.example", "allow"),
        ("www.video.example", "allow", "rewrite moderate.video.example", "allow"),
        ("www.raw.example", "allow", "block category unsafe-search unsafe www.raw.example", "allow"),
        ("x.rawest.example", "allow", "block category unsafe-search unsafe rawest.example", "allow"),
        (
            "adult.block.lachan.example",
            "block category adult adult.block.lachan.example",
            "block category adult adult.block.lachan.example",
            "allow",
        ),
    ] {
        for (profile, expected) in [("default", default), ("school", school), ("open", open)] {
            assert_eq!(asked(&snapshot, profile, qname, RecordType::A), expected, "{profile}: {qname}");
        }
    }
    // The proof that filtering works is blocked even where nothing else is, and by no allow rule let through.
    let snapshot = Setup::new().rules("operator.allow lachan.example; allow lachan.example").compile();
    for profile in ["default", "school", "open"] {
        let verdict = asked(&snapshot, profile, "canary.block.lachan.example", RecordType::A);
        assert_eq!(verdict, "block security malware canary.block.lachan.example", "{profile}");
    }
}

#[test]
fn every_type_is_blocked_alike_and_only_leading_types_are_rewritten() {
    let snapshot = Setup::new().rules("adult a.example").compile();
    use RecordType as T;
    for qtype in [T::A, T::AAAA, T::HTTPS, T::SVCB, T::ANY, T::MX, T::TXT, T::NS, T::SOA, T::DS, RecordType(65_280)] {
        assert_eq!(asked(&snapshot, "default", "a.example", qtype), "block category adult a.example", "{qtype:?}");
        let rewritten = asked(&snapshot, "default", "www.search.example", qtype);
        let expected = if safe_search::rewrites_type(qtype) { "rewrite safe.search.example" } else { "allow" };
        assert_eq!(rewritten, expected, "{qtype:?}");
    }
}

#[test]
fn every_name_and_address_of_an_answer_is_judged() {
    let rules = "adult cdn.example; malware evil.example; malware 198.51.100.7 2001:db8:bad::1; gambling 203.0.113.9";
    let snapshot = Setup::new().rules(rules).compile();
    for (records, expected) in [
        ("A 192.0.2.1", "deliver"),
        ("", "deliver"),
        ("CNAME x.example; A 192.0.2.1", "deliver"),
        ("CNAME cdn.example; A 192.0.2.1", "block category adult cdn.example -> cdn.example"),
        ("CNAME x.example; CNAME edge.cdn.example", "block category adult cdn.example -> edge.cdn.example"),
        ("DNAME evil.example; CNAME x.example", "block security malware evil.example -> evil.example"),
        ("HTTPS www.evil.example", "block security malware evil.example -> www.evil.example"),
        ("SVCB cdn.example", "block category adult cdn.example -> cdn.example"),
        ("HTTPS .", "deliver"),
        // The first of the chain is told.
        ("CNAME cdn.example; CNAME evil.example", "block category adult cdn.example -> cdn.example"),
        // A name server is not where the name leads to.
        ("NS evil.example", "deliver"),
        ("TXT evil.example", "deliver"),
        ("A 192.0.2.1; A 198.51.100.7", "block security malware address -> 198.51.100.7"),
        ("AAAA 2001:db8:bad::1", "block security malware address -> 2001:db8:bad::1"),
        ("AAAA 2001:db8::1", "deliver"),
        ("AAAA ::ffff:198.51.100.7", "block security malware address -> ::ffff:198.51.100.7"),
        ("HTTPS . ::ffff:198.51.100.7", "block security malware address -> ::ffff:198.51.100.7"),
        ("A 203.0.113.9", "block category gambling address -> 203.0.113.9"),
        ("HTTPS . 192.0.2.1 198.51.100.7", "block security malware address -> 198.51.100.7"),
        ("HTTPS . 2001:db8:bad::1", "block security malware address -> 2001:db8:bad::1"),
        // What nobody asked for is withheld, not the answer.
        ("TXT x; +A 198.51.100.7", "deliver bare"),
        ("TXT x; +A 192.0.2.1", "deliver"),
        // Names before addresses.
        ("A 198.51.100.7; CNAME cdn.example", "block category adult cdn.example -> cdn.example"),
    ] {
        assert_eq!(answered(&snapshot, "default", "www.example.com", records), expected, "{records}");
    }
    for records in ["CNAME cdn.example", "CNAME evil.example", "A 198.51.100.7"] {
        assert_eq!(answered(&snapshot, "open", "www.example.com", records), "deliver", "{records}");
    }
}

#[test]
fn an_allow_leaves_the_answer_to_the_rungs_above_it() {
    let address = "malware 198.51.100.7; gambling 203.0.113.9";
    for (rules, records, expected) in [
        ("allow www.a.example; adult cdn.example", "CNAME cdn.example", "deliver"),
        ("allow www.a.example; deny cdn.example", "CNAME cdn.example", "deliver"),
        (
            "allow www.a.example; malware cdn.example",
            "CNAME cdn.example",
            "block security malware cdn.example -> cdn.example",
        ),
        (
            "allow www.a.example; operator.deny cdn.example",
            "CNAME cdn.example",
            "block operator - cdn.example -> cdn.example",
        ),
        ("operator.allow www.a.example; malware cdn.example", "CNAME cdn.example", "deliver"),
        ("operator.allow www.a.example; operator.deny cdn.example", "CNAME cdn.example", "deliver"),
        ("operator.allow www.a.example; deny cdn.example", "CNAME cdn.example", "deliver"),
        // An allow that names the target spares the target only.
        ("allow cdn.example; adult cdn.example x.example", "CNAME cdn.example", "deliver"),
        (
            "allow cdn.example; adult cdn.example x.example",
            "CNAME cdn.example; CNAME x.example",
            "block category adult x.example -> x.example",
        ),
        (
            &format!("allow cdn.example; {address}"),
            "CNAME cdn.example; A 203.0.113.9",
            "block category gambling address -> 203.0.113.9",
        ),
        // Addresses stand on the rungs of their lists.
        (&format!("allow www.a.example; {address}"), "A 203.0.113.9", "deliver"),
        (
            &format!("allow www.a.example; {address}"),
            "A 198.51.100.7",
            "block security malware address -> 198.51.100.7",
        ),
        (&format!("operator.allow www.a.example; {address}"), "A 198.51.100.7", "deliver"),
    ] {
        let snapshot = Setup::new().rules(rules).compile();
        assert_eq!(answered(&snapshot, "default", "www.a.example", records), expected, "{rules}: {records}");
    }
}

#[test]
fn what_an_internal_question_fetched_is_judged_as_if_nobody_allowed_it() {
    let snapshot = Setup::new().rules("allow www.a.example; adult cdn.example").compile();
    let (client, question) = (client(&snapshot, "default"), question("www.a.example", RecordType::A));
    let answer = answer("www.a.example", Rcode::NOERROR, "CNAME cdn.example");
    for purpose in [Purpose::SafeSearchTarget, Purpose::Prefetch, Purpose::Probe, Purpose::ListHost] {
        let permit = Permit::internal(purpose);
        assert_eq!((permit.purpose(), permit.allowed()), (purpose, None));
        let verdict = on_answer(&snapshot, client, &permit, &question, &answer);
        assert!(matches!(verdict, AnswerVerdict::Block(_)), "{verdict:?}");
    }
}

#[test]
fn a_chain_longer_than_policy_walks_is_not_delivered() {
    let snapshot = Setup::new().compile();
    let chain = |len: usize| (0..len).map(|i| format!("CNAME n{i}.example")).collect::<Vec<_>>().join("; ");
    assert_eq!(answered(&snapshot, "default", "www.example.com", &chain(CHAIN_MAX)), "deliver");
    assert_eq!(answered(&snapshot, "default", "www.example.com", &chain(CHAIN_MAX + 1)), "too long");
}

#[test]
fn an_answer_that_leads_to_a_search_engine_is_rewritten_as_its_host_is() {
    use RecordType as T;
    let (host, apex) =
        ("rewrite www.search.example -> safe.search.example", "rewrite search.example -> safe.search.example");
    for (rules, profile, qname, qtype, records, expected) in [
        ("", "default", "a.example", T::A, "CNAME www.search.example; A 192.0.2.9", format!("{host} Cname")),
        ("", "default", "a.example", T::AAAA, "CNAME b.example; CNAME www.search.example", format!("{host} Cname")),
        ("", "default", "a.example", T::HTTPS, "CNAME www.search.example; HTTPS .", format!("{host} Cname")),
        // A CNAME may lead to an apex, for nothing else is at an alias.
        ("", "default", "a.example", T::A, "CNAME search.example; A 192.0.2.9", format!("{apex} Cname")),
        // A service may be at an apex itself.
        ("", "default", "a.example", T::HTTPS, "HTTPS www.search.example 192.0.2.9", format!("{host} OwnName")),
        ("", "default", "a.example", T::SVCB, "SVCB www.search.example", format!("{host} OwnName")),
        // Never a CNAME of a name to itself.
        (
            "",
            "default",
            "safe.search.example",
            T::A,
            "CNAME www.search.example; A 192.0.2.9",
            format!("{host} OwnName"),
        ),
        // What does not lead a browser to a search passes, and so does what is only near.
        ("", "default", "a.example", T::MX, "CNAME www.search.example", "deliver".into()),
        ("", "default", "a.example", T::A, "CNAME mail.search.example; A 192.0.2.9", "deliver".into()),
        ("", "default", "a.example", T::A, "DNAME www.search.example; CNAME a.www.search.example", "deliver".into()),
        ("", "default", "a.example", T::A, "A 192.0.2.9; +CNAME www.search.example", "deliver".into()),
        // The profile's own switches decide, and no allow rule does.
        ("", "open", "a.example", T::A, "CNAME www.search.example", "deliver".into()),
        ("", "default", "a.example", T::A, "CNAME www.video.example", "deliver".into()),
        (
            "",
            "school",
            "a.example",
            T::A,
            "CNAME www.video.example",
            "rewrite www.video.example -> moderate.video.example Cname".into(),
        ),
        ("operator.allow a.example", "default", "a.example", T::A, "CNAME www.search.example", format!("{host} Cname")),
        ("allow www.search.example", "default", "a.example", T::A, "CNAME www.search.example", format!("{host} Cname")),
        // Rungs 2 to 6 come first.
        (
            "adult b.example",
            "default",
            "a.example",
            T::A,
            "CNAME www.search.example; CNAME b.example",
            "block category adult b.example -> b.example".into(),
        ),
        (
            "",
            "school",
            "a.example",
            T::A,
            "CNAME www.raw.example",
            "block category unsafe-search unsafe www.raw.example -> www.raw.example".into(),
        ),
        ("", "default", "a.example", T::A, "CNAME www.raw.example", "deliver".into()),
    ] {
        let snapshot = Setup::new().rules(rules).compile();
        assert_eq!(
            answered_type(&snapshot, profile, qname, qtype, records),
            expected,
            "{profile} {qname} {qtype:?} {records}"
        );
    }
}

#[test]
fn private_addresses_in_public_answers_are_rebinding() {
    let blocked = |address: &str| format!("block security - rebinding -> {address}");
    for (rules, qname, records, expected) in [
        ("", "www.example.com", "A 192.0.2.1", "deliver".to_owned()),
        ("", "www.example.com", "A 192.168.1.1", blocked("192.168.1.1")),
        ("", "www.example.com", "A 192.0.2.1; A 10.0.0.1", blocked("10.0.0.1")),
        ("", "www.example.com", "AAAA fd00::1", blocked("fd00::1")),
        ("", "www.example.com", "AAAA ::ffff:10.0.0.1", blocked("::ffff:10.0.0.1")),
        ("", "www.example.com", "HTTPS . 172.16.0.1", blocked("172.16.0.1")),
        ("", "www.example.com", "HTTPS . fe80::1", blocked("fe80::1")),
        ("", "www.example.com", "TXT x; +A 169.254.1.1", "deliver bare".to_owned()),
        ("", "www.example.com", "A 127.0.0.2", "deliver".to_owned()),
        // A zone with servers of its own, and names the configuration spares.
        ("", "nas.lan.example", "A 192.168.1.1", "deliver".to_owned()),
        ("", "nas.spared.example", "A 192.168.1.1", "deliver".to_owned()),
        ("", "notspared.example", "A 192.168.1.1", blocked("192.168.1.1")),
        // It is a rule of the security rung: only the operator's allow is above it.
        ("operator.allow www.example.com", "www.example.com", "A 192.168.1.1", "deliver".to_owned()),
        ("allow www.example.com", "www.example.com", "A 192.168.1.1", blocked("192.168.1.1")),
    ] {
        let mut setup = Setup::new().rules(rules);
        setup.policy.rebind_protection = true;
        setup.policy.rebind_allow = vec![name("spared.example")];
        setup.upstream_zones.push(name("lan.example"));
        let snapshot = setup.compile();
        assert_eq!(answered(&snapshot, "default", qname, records), expected, "{qname} {records}");
    }
    let off = Setup::new().compile();
    assert_eq!(answered(&off, "default", "www.example.com", "A 192.168.1.1"), "deliver");
}

#[test]
fn a_block_is_answered_as_its_profile_says_and_rebinding_with_no_data() {
    use BlockResponse::{Drop, Nodata, NullIp, Nxdomain, Page, Refused};
    for response in [Nxdomain, Nodata, Refused, NullIp, Page, Drop] {
        let mut setup = Setup::new().rules("adult a.example cdn.example");
        setup.policy.profiles[0].block_response = response;
        setup.policy.rebind_protection = true;
        let snapshot = setup.compile();
        let client = client(&snapshot, "default");
        let QueryVerdict::Block(block) = on_query(&snapshot, client, &question("a.example", RecordType::A), &mut ())
        else {
            panic!("{response:?}")
        };
        assert_eq!(block.response, response);
        for (records, expected) in [("CNAME cdn.example", response), ("A 10.0.0.1", Nodata)] {
            let question = question("www.example.com", RecordType::A);
            let answer = answer("www.example.com", Rcode::NOERROR, records);
            let permit = Permit::plain();
            let AnswerVerdict::Block(block) = on_answer(&snapshot, client, &permit, &question, &answer) else {
                panic!("{response:?} {records}")
            };
            assert_eq!(block.response, expected, "{records}");
        }
    }
}

#[test]
fn a_reason_has_one_extended_error() {
    let snapshot = Setup::new().compile();
    let list = snapshot.masks.operator_deny;
    let adult = snapshot.categories.id("adult");
    let rule = |category| Cause::Rule { list, category, labels: 2, line: None };
    let unsafe_search = Cause::UnsafeSearch { labels: 2, category: adult.unwrap() };
    for (rung, cause, default, school, text) in [
        (Rung::Order, rule(None), 16, 16, "blocked by a legal order"),
        (Rung::Operator, rule(None), 15, 15, "blocked by the network operator"),
        (Rung::Security, rule(snapshot.categories.id("scam")), 15, 15, "blocked for your safety: scam"),
        (Rung::Security, Cause::Rebinding, 15, 15, "private address in a public name's answer"),
        (Rung::Profile, rule(None), 17, 17, "blocked by this network's own list"),
        (Rung::Category, rule(adult), 15, 17, "blocked by this network's policy: adult content"),
        (
            Rung::Category,
            Cause::Address { list, category: adult, line: None },
            15,
            17,
            "blocked by this network's policy: adult content",
        ),
        (Rung::Category, unsafe_search, 15, 17, "blocked by this network's policy: adult content"),
    ] {
        let reason = Reason { rung, cause, target: None };
        assert_eq!(ede_code(&snapshot, client(&snapshot, "default").profile, &reason).0, default, "{reason:?}");
        assert_eq!(ede_code(&snapshot, client(&snapshot, "school").profile, &reason).0, school, "{reason:?}");
        let (lead, detail) = ede_text(&snapshot.categories, &reason);
        assert_eq!(format!("{lead}{detail}"), text, "{reason:?}");
    }
}

#[test]
fn the_steps_that_were_climbed_are_told() {
    let heard = |rules: &str, qname: &str| {
        let snapshot = Setup::new().rules(rules).compile();
        let mut steps: Vec<(Rung, Step)> = Vec::new();
        on_query(&snapshot, client(&snapshot, "default"), &question(qname, RecordType::A), &mut steps);
        let word = |step: &Step| match step {
            Step::Nothing => "nothing",
            Step::Spared(_) => "spared",
            Step::Excepted(_) => "excepted",
            Step::Allow(_) => "allow",
            Step::Block(_) => "block",
            Step::Paused => "paused",
            Step::Answered => "answered",
        };
        steps.iter().map(|(rung, step)| format!("{} {}", *rung as u8, word(step))).collect::<Vec<_>>().join(", ")
    };
    for (rules, qname, steps) in [
        ("", "x.invalid", "1 answered"),
        ("", "a.example", "1 nothing, 2 nothing, 3 nothing, 4 nothing, 5 nothing, 6 nothing, 7 nothing"),
        ("operator.deny a.example", "a.example", "1 nothing, 2 nothing, 3 block"),
        ("allow a.example", "a.example", "1 nothing, 2 nothing, 3 nothing, 4 nothing, 5 allow, 7 nothing"),
        (
            "malware bank.example",
            "bank.example",
            "1 nothing, 2 nothing, 3 nothing, 4 spared, 5 nothing, 6 nothing, 7 nothing",
        ),
        (
            "malware @@||a.example^",
            "a.example",
            "1 nothing, 2 nothing, 3 nothing, 4 excepted, 5 nothing, 6 nothing, 7 nothing",
        ),
        ("", "www.search.example", "1 nothing, 2 nothing, 3 nothing, 4 nothing, 5 nothing, 6 nothing, 7 answered"),
    ] {
        assert_eq!(heard(rules, qname), steps, "{qname}: {rules}");
    }
}

#[test]
fn any_is_never_forwarded_and_layers_are_told_apart() {
    assert!(is_any(&question("a.example", RecordType::ANY)));
    assert!(!is_any(&question("a.example", RecordType::A)));
    let snapshot = Setup::new().compile();
    for (category, expected) in [("malware", true), ("adult", false)] {
        assert_eq!(is_security(&snapshot.categories, snapshot.categories.id(category).unwrap()), expected);
    }
    // Own entries keep their reach.
    assert_eq!(entries(&["=a.example"])[0].1, crate::engine::list::Reach::Exact);
}

#[test]
fn what_ends_is_told_for_no_longer() {
    let ttl = |rules: &str, qname: &str, at: i64, max: u32| {
        let snapshot = Setup::new().rules(rules).compile();
        let client = Client { at: UnixTime(NOW.0 + at), ..client(&snapshot, "default") };
        let question = question(qname, RecordType::A);
        match on_query(&snapshot, client, &question, &mut ()) {
            QueryVerdict::Block(block) => (block.ttl_secs < snapshot.block_ttl_secs).then_some(block.ttl_secs),
            QueryVerdict::Allow(permit) => {
                let answer = answer(qname, Rcode::NOERROR, "CNAME cdn.example; A 192.0.2.1");
                let verdict = on_answer(&snapshot, client, &permit, &question, &answer);
                let AnswerVerdict::Deliver(cleared) = verdict else { panic!("{rules}: {verdict:?}") };
                Some(cleared.ttl_secs_max().min(max))
            }
            other => panic!("{rules}: {other:?}"),
        }
    };
    for (rules, at, max, expected) in [
        ("", 0, 300, Some(300)),
        ("for-some.allow a.example", 0, 300, Some(60)),
        ("for-some.allow a.example", 59, 300, Some(1)),
        ("for-some.allow a.example", 60, 300, Some(300)),
        ("for-some.allow a.example", 0, 20, Some(20)),
        // A word about a target counts as well.
        ("for-some.allow cdn.example", 50, 300, Some(10)),
        ("pause x.example", 50, 300, Some(10)),
        ("for-some.deny a.example", 55, 300, Some(5)),
        ("deny a.example", 50, 300, None),
        ("order a.example", 50, 300, None),
    ] {
        assert_eq!(ttl(rules, "a.example", at, max), expected, "{rules} at {at}");
    }
}

#[test]
fn an_order_acts_for_its_networks_and_its_time() {
    let mut setup = Setup::new().rules("order a.example; order b.example");
    setup.orders[0].scope = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    setup.orders[1].effective = UnixTime(10);
    setup.orders[1].end = crate::engine::order::End::At(UnixTime(20));
    let snapshot = setup.compile();
    for (qname, source, at, blocked) in [
        ("a.example", "10.1.2.3", 0, true),
        ("a.example", "::ffff:10.1.2.3", 0, true),
        ("a.example", "2001:db8::1", 0, true),
        ("a.example", "192.0.2.1", 0, false),
        ("b.example", "192.0.2.1", 9, false),
        ("b.example", "192.0.2.1", 10, true),
        ("b.example", "192.0.2.1", 19, true),
        ("b.example", "192.0.2.1", 20, false),
    ] {
        for qtype in [RecordType::A, RecordType::AAAA, RecordType::HTTPS, RecordType::MX] {
            let (source, at) = (source.parse().unwrap(), UnixTime(at));
            for profile in ["default", "school", "open"] {
                let client = Client { source, at, ..client(&snapshot, profile) };
                let verdict = on_query(&snapshot, client, &question(qname, qtype), &mut ());
                let code = match &verdict {
                    QueryVerdict::Block(block) => Some(ede_code(&snapshot, client.profile, &block.reason)),
                    _ => None,
                };
                assert_eq!(code, blocked.then_some(EdeCode::CENSORED), "{qname} {source} {at:?}: {verdict:?}");
            }
        }
    }
}

#[test]
fn orders_are_heard_about_every_name_of_an_answer() {
    let snapshot = Setup::new().rules("order cdn.example; operator.allow shop.example; allow other.example").compile();
    let expected = "block order - order 0 cdn.example -> cdn.example";
    for qname in ["shop.example", "other.example", "third.example"] {
        assert_eq!(answered(&snapshot, "default", qname, "CNAME cdn.example; A 192.0.2.1"), expected, "{qname}");
    }
}
