//! What each outcome looks like on the wire, read back by the reader of upstream's answers.

use super::*;
use crate::engine::policy::{AnswerVerdict, QueryVerdict, on_answer, on_query};
use crate::engine::query::{CLASS_CH, Edns, Question};
use crate::engine::test_support::{Setup, answer as made_answer, client, edns_query, name, origin, query};
use crate::engine::verdict::Cause;

/// Records of a section as `OWNER TYPE TTL DATA`; an SOA's data is its minimum, a name's the name.
fn section(answer: &Answer, section: Section) -> String {
    let text = |wire: &[u8]| Name::from_wire(wire).unwrap().to_string();
    let record = |r: RecordRef<'_>| {
        let data = match r.rtype {
            RecordType::SOA => u32::from_be_bytes(*r.rdata.last_chunk().unwrap()).to_string(),
            RecordType::CNAME | RecordType::NS | RecordType::PTR => text(r.rdata),
            RecordType::A | RecordType::AAAA => crate::engine::answer::address(r.rtype, r.rdata).unwrap().to_string(),
            _ => String::from_utf8_lossy(r.rdata).into_owned(),
        };
        format!("{} {} {} {data}", text(r.owner), r.rtype.0, r.ttl)
    };
    answer.section(section).map(record).collect::<Vec<_>>().join(", ")
}

/// `RCODE | answer | authority`, and what every reply of ours has in common checked.
fn read(query: &Query, reply: &[u8]) -> (String, Answer) {
    let answer = Answer::from_wire(reply, &query.question).unwrap();
    assert_eq!(reply[..2], query.id.to_be_bytes());
    let flags = u16::from_be_bytes([reply[2], reply[3]]);
    // QR and RA set, AA and Z not.
    assert_eq!(flags & 0x84c0, 0x8080, "{flags:04x}");
    let (answers, authority) = (section(&answer, Section::Answer), section(&answer, Section::Authority));
    (format!("{} | {answers} | {authority}", answer.rcode.as_str()), answer)
}

fn blocked(setup: Setup, query: &Query) -> Option<(String, Answer)> {
    let snapshot = setup.compile();
    let client = client(&snapshot, "default");
    let block = match on_query(&snapshot, client, &query.question, &mut ()) {
        QueryVerdict::Block(block) => block,
        other => panic!("{other:?}"),
    };
    let (reply, rcode) = block_reply(&snapshot, client.profile, query, &block)?;
    let (text, answer) = read(query, &reply);
    assert_eq!(answer.rcode, rcode);
    Some((text, answer))
}

fn block_reply(snapshot: &Snapshot, profile: ProfileId, query: &Query, block: &Block) -> Option<(Vec<u8>, Rcode)> {
    let mut out = Vec::new();
    let rcode = super::block(snapshot, profile, query, origin(), block, None, &mut out)?;
    Some((out, rcode))
}

fn rewritten(snapshot: &Snapshot, query: &Query, wanted: &Rewrite, told: &TargetAnswer<'_>) -> Vec<u8> {
    let (mut made, mut out) = (AnswerBuilder::new(Rcode::SERVFAIL), vec![7; 3]);
    rewrite(snapshot, query, origin(), wanted, told, &mut made, &mut out);
    out
}

#[test]
fn a_block_looks_as_its_profile_says() {
    use BlockResponse::{Nodata, NullIp, Nxdomain, Page, Refused};
    let soa = "a.example 6 10 10";
    for (response, qtype, expected) in [
        (Nxdomain, RecordType::A, format!("NXDOMAIN |  | {soa}")),
        (Nxdomain, RecordType::MX, format!("NXDOMAIN |  | {soa}")),
        (Nodata, RecordType::A, format!("NOERROR |  | {soa}")),
        (Refused, RecordType::A, "REFUSED |  | ".into()),
        (NullIp, RecordType::A, "NOERROR | www.a.example 1 10 0.0.0.0 | ".into()),
        (NullIp, RecordType::AAAA, "NOERROR | www.a.example 28 10 :: | ".into()),
        (NullIp, RecordType::HTTPS, format!("NOERROR |  | {soa}")),
        (NullIp, RecordType::ANY, format!("NOERROR |  | {soa}")),
        (Page, RecordType::A, "NOERROR | www.a.example 1 10 192.0.2.80 | ".into()),
        // No page of that family, and types that are no addresses.
        (Page, RecordType::AAAA, format!("NOERROR |  | {soa}")),
        (Page, RecordType::TXT, format!("NOERROR |  | {soa}")),
    ] {
        let mut setup = Setup::new().rules("adult a.example");
        setup.policy.profiles[0].block_response = response;
        setup.policy.page_v4 = Some("192.0.2.80".parse().unwrap());
        let query = edns_query("www.a.example", qtype);
        let (text, answer) = blocked(setup, &query).unwrap();
        assert_eq!(text, expected, "{response:?} {qtype:?}");
        assert_eq!(answer.ede.iter().map(|e| e.code).collect::<Vec<_>>(), [15], "{response:?}");
        assert_eq!(&*answer.ede[0].text, "blocked by this network's policy: adult content");
        assert!(!answer.authentic_data);
    }
    let mut setup = Setup::new().rules("adult a.example");
    setup.policy.profiles[0].block_response = BlockResponse::Drop;
    assert!(blocked(setup, &query("a.example", RecordType::A)).is_none());
}

/// A block for a client that reads reasons by a program, and takes so many octets.
fn reasons(setup: Setup, qname: &str, udp_payload: u16, nsid: bool) -> (Vec<u8>, Answer) {
    let mut query = edns_query(qname, RecordType::A);
    query.edns = query.edns.map(|edns| Edns { structured: true, udp_payload, nsid, ..edns });
    let snapshot = setup.compile();
    let QueryVerdict::Block(found) = on_query(&snapshot, client(&snapshot, "default"), &query.question, &mut ()) else {
        panic!("it is blocked")
    };
    let mut out = Vec::new();
    block(&snapshot, ProfileId(0), &query, origin(), &found, None, &mut out).unwrap();
    let answer = Answer::from_wire(&out, &query.question).unwrap();
    (out, answer)
}

#[test]
fn reasons_for_programs_give_way_before_an_answer_is_cut() {
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(58), "long.example".to_owned()].join(".");
    let mail = format!("mailto:{}@example.vn", "m".repeat(42));
    let (reason, organization) = ("Chặn theo chính sách của mạng này: nội dung người lớn", "o".repeat(64));
    let small = format!(r#"{{"c":["tel:111;phone-context=+84"],"j":"{reason}","s":5,"l":"vi"}}"#);
    let large =
        format!(r#"{{"c":["tel:111;phone-context=+84","{mail}"],"j":"{reason}","s":5,"o":"{organization}","l":"vi"}}"#);
    let short = format!(r#"{{"c":["tel:111;phone-context=+84","{mail}"],"s":5}}"#);
    let with = |is_large| {
        let mut setup = Setup::new().rules("adult long.example; adult a.example");
        setup.policy.node_name = "n".repeat(60);
        if is_large {
            setup.policy.contact.uris.push(mail.clone());
            setup.policy.contact.organization = Some(organization.clone());
        }
        setup
    };
    for (qname, payload, nsid, is_large, expected) in [
        ("a.example", 1232, false, false, &small),
        ("a.example", 512, false, true, &large),
        ("a.example", 512, true, true, &large),
        (&*long, 512, false, false, &small),
        (&*long, 512, false, true, &short),
        (&*long, 512, true, true, &short),
        (&*long, 1232, false, true, &large),
    ] {
        let (out, answer) = reasons(with(is_large), qname, payload, nsid);
        let told: Vec<_> = answer.ede.iter().map(|ede| (ede.code, &*ede.text)).collect();
        assert_eq!(told, [(15, expected.as_str())], "{qname} {payload} nsid: {nsid}");
        assert_eq!(out[2] & 2, 0, "TC: {qname} {payload}");
        assert!(out.len() <= usize::from(payload), "{} octets", out.len());
        assert_eq!(answer.section(Section::Authority).count(), 1, "the SOA stays");
    }
    let mut setup = with(false);
    setup.policy.contact.uris = (0..4).map(|i| format!("mailto:{}{i}@example.vn", "x".repeat(50))).collect();
    let (out, answer) = reasons(setup, &long, 512, false);
    assert_eq!((answer.ede.len(), &*answer.ede[0].text, out[2] & 2), (1, "", 0), "the code alone");
}

#[test]
fn who_reads_reasons_is_told_of_no_forged_answer() {
    let snapshot = Setup::new().compile();
    let mut made = AnswerBuilder::new(Rcode::NOERROR);
    made.push(Section::Answer, b"\x01a\x07example\0", RecordType::A, 60, &[192, 0, 2, 1]);
    made.push_ede(4, "forged");
    made.push_ede(22, "lost");
    let found = made.finish();
    for (structured, codes) in [(false, &[4, 22][..]), (true, &[22])] {
        let mut query = edns_query("a.example", RecordType::A);
        query.edns = query.edns.map(|edns| Edns { structured, ..edns });
        let permit = match on_query(&snapshot, client(&snapshot, "open"), &query.question, &mut ()) {
            QueryVerdict::Allow(permit) => permit,
            other => panic!("{other:?}"),
        };
        let AnswerVerdict::Deliver(cleared) =
            on_answer(&snapshot, client(&snapshot, "open"), &permit, &query.question, &found)
        else {
            panic!("nothing blocks it")
        };
        let out = answer(cleared, &snapshot, &query, origin(), &found, fresh());
        let told = Answer::from_wire(&out, &query.question).unwrap();
        assert_eq!(told.ede.iter().map(|ede| ede.code).collect::<Vec<_>>(), codes);
    }
}

#[test]
fn without_edns_a_block_has_no_extended_error() {
    let (_, answer) = blocked(Setup::new().rules("adult a.example"), &query("a.example", RecordType::A)).unwrap();
    assert!(answer.ede.is_empty());
}

#[test]
fn the_soa_of_a_block_is_the_rules_name_or_the_questions_own() {
    let list = crate::engine::verdict::ListId(0);
    let rule = |labels| Cause::Rule { list, category: None, labels, line: None };
    let address = Cause::Address { list, category: None, line: None };
    for (qname, target, cause, owner) in [
        ("www.a.example", None, rule(2), "a.example"),
        ("a.example", None, rule(2), "a.example"),
        // A rule that is about the whole name, whatever it is.
        ("www.a.example", None, rule(u8::MAX), "www.a.example"),
        // A rule about the chain's target says nothing about the name that was asked.
        ("www.a.example", Some("www.cdn.example"), rule(2), "www.a.example"),
        ("www.xa.example", Some("www.a.example"), rule(2), "www.xa.example"),
        // Unless it holds that one too.
        ("www.a.example", Some("x.y.a.example"), rule(2), "a.example"),
        // Never a top-level domain, nor the root.
        ("www.a.example", None, rule(1), "www.a.example"),
        ("www.a.example", None, rule(0), "www.a.example"),
        ("www.a.example", Some("b.example"), rule(1), "www.a.example"),
        ("example", None, rule(1), "example"),
        (".", None, rule(u8::MAX), "."),
        ("www.a.example", None, address, "www.a.example"),
        ("www.a.example", None, Cause::Rebinding, "www.a.example"),
    ] {
        let target = target.map(|target| Target::Name(Box::new(name(target))));
        let reason = Reason { rung: crate::engine::verdict::Rung::Category, cause, target };
        let qname = Name::zone_from_text(qname).unwrap();
        let owner = Name::zone_from_text(owner).unwrap();
        assert_eq!(soa_owner(&qname, &reason), owner.as_wire(), "{qname} {reason:?}");
    }
}

#[test]
fn the_ttl_of_a_block_is_the_configured_one() {
    let mut setup = Setup::new().rules("adult a.example");
    setup.policy.block_ttl_secs = 60;
    let (text, _) = blocked(setup, &query("a.example", RecordType::A)).unwrap();
    assert_eq!(text, "NXDOMAIN |  | a.example 6 60 60");
}

#[test]
fn local_names_have_their_records_or_an_soa() {
    let snapshot = Setup::new().compile();
    for (qname, qtype, expected) in [
        ("localhost", RecordType::A, "NOERROR | localhost 1 3600 127.0.0.1 | "),
        ("localhost", RecordType::AAAA, "NOERROR | localhost 28 3600 ::1 | "),
        ("localhost", RecordType::MX, "NOERROR |  | localhost 6 3600 3600"),
        ("x.invalid", RecordType::A, "NXDOMAIN |  | invalid 6 3600 3600"),
        ("1.0.0.127.in-addr.arpa", RecordType::PTR, "NOERROR | 1.0.0.127.in-addr.arpa 12 3600 localhost | "),
        ("10.in-addr.arpa", RecordType::NS, "NOERROR | 10.in-addr.arpa 2 3600 10.in-addr.arpa | "),
        ("10.in-addr.arpa", RecordType::SOA, "NOERROR | 10.in-addr.arpa 6 3600 3600 | "),
    ] {
        let query = query(qname, qtype);
        let answer = snapshot.local_data.answer(&query.question, [10, 0, 0, 1].into()).unwrap();
        let (mut made, mut reply) = (AnswerBuilder::new(Rcode::SERVFAIL), vec![7; 3]);
        let rcode = local(&snapshot, client(&snapshot, "default"), &query, origin(), &answer, &mut made, &mut reply);
        let (text, read) = read(&query, &reply);
        assert_eq!(text, expected, "{qname}");
        assert_eq!(read.rcode, rcode);
    }
}

/// What a client of the default profile gets when upstream, or the cache, said this.
fn delivered(query: &Query, said: &Answer, telling: Telling) -> (Vec<u8>, Answer) {
    let snapshot = Setup::new().compile();
    let client = client(&snapshot, "default");
    let QueryVerdict::Allow(permit) = on_query(&snapshot, client, &query.question, &mut ()) else {
        panic!("{query:?}")
    };
    let AnswerVerdict::Deliver(cleared) = on_answer(&snapshot, client, &permit, &query.question, said) else {
        panic!("{said:?}")
    };
    let reply = answer(cleared, &snapshot, query, origin(), said, telling);
    let read = Answer::from_wire(&reply, &query.question).unwrap();
    (reply, read)
}

fn fresh() -> Telling {
    Telling { ttl: TtlRule::Age { secs: 100, max: 3600 }, stale: false, trust_ad: true }
}

#[test]
fn upstreams_answer_is_told_faithfully() {
    let query = edns_query("a.example", RecordType::A);
    let said = made_answer("a.example", Rcode::NOERROR, "CNAME b.example; A 192.0.2.1; +A 192.0.2.2");
    let (reply, told) = delivered(&query, &said, fresh());
    assert_eq!(section(&told, Section::Answer), "a.example 5 200 b.example, b.example 1 200 192.0.2.1");
    assert_eq!(section(&told, Section::Additional), "b.example 1 200 192.0.2.2");
    assert_eq!(reply[3] & 0x40, 0);
    for rcode in [Rcode::NXDOMAIN, Rcode::SERVFAIL, Rcode::REFUSED, Rcode(16), Rcode(23)] {
        let (_, told) = delivered(&query, &made_answer("a.example", rcode, "SOA 60"), fresh());
        assert_eq!(told.rcode, rcode);
        assert_eq!(section(&told, Section::Authority), "a.example 6 60 60");
    }
}

#[test]
fn extended_errors_of_upstream_pass_and_stale_is_said_behind_them() {
    let query = edns_query("a.example", RecordType::A);
    for (rcode, stale, codes) in
        [(Rcode::NOERROR, false, &[22][..]), (Rcode::NOERROR, true, &[22, 3]), (Rcode::NXDOMAIN, true, &[22, 19])]
    {
        let mut said = made_answer("a.example", rcode, "A 192.0.2.1");
        said.ede = vec![crate::engine::answer::Ede { code: 22, text: "theirs".into() }];
        let ttl = if stale { STALE_TTL } else { fresh().ttl };
        let (_, told) = delivered(&query, &said, Telling { stale, ttl, ..fresh() });
        assert_eq!(told.ede.iter().map(|e| e.code).collect::<Vec<_>>(), codes, "{rcode:?} {stale}");
        assert_eq!(&*told.ede[0].text, "theirs");
        let ttl = if stale { 30 } else { 200 };
        assert_eq!(told.records().next().unwrap().ttl, ttl);
    }
}

#[test]
fn ad_is_for_clients_that_asked_and_paths_that_are_trusted() {
    let edns = |dnssec_ok| {
        Some(Edns { version: 0, udp_payload: 1232, dnssec_ok, nsid: false, keepalive: false, ..Edns::default() })
    };
    for (ad_asked, edns, said, trusted, told) in [
        (true, None, true, true, true),
        (false, edns(true), true, true, true),
        (false, edns(false), true, true, false),
        (false, None, true, true, false),
        (true, edns(true), false, true, false),
        (true, edns(true), true, false, false),
    ] {
        let query = Query { authentic_data: ad_asked, edns, ..query("a.example", RecordType::A) };
        let mut answer = made_answer("a.example", Rcode::NOERROR, "A 192.0.2.1");
        answer.authentic_data = said;
        let (_, read) = delivered(&query, &answer, Telling { trust_ad: trusted, ..fresh() });
        assert_eq!(read.authentic_data, told, "{ad_asked} {edns:?} {said} {trusted}");
    }
}

#[test]
fn the_case_of_the_question_and_its_flags_come_back() {
    let mut query = edns_query("a.example", RecordType::A);
    let mixed = b"\x01A\x07exAMPle\0";
    let message = [&[0x12, 0x34, 0x01, 0x10, 0, 1, 0, 0, 0, 0, 0, 0][..], mixed, &[0, 1, 0, 1]].concat();
    let header = Header::peek(&message).unwrap();
    query.spelling = crate::engine::query::read(&message, header).unwrap().spelling;
    let said = made_answer("a.example", Rcode::NOERROR, "A 192.0.2.1");
    for (rd, cd) in [(false, false), (true, false), (true, true)] {
        let query = Query { recursion_desired: rd, checking_disabled: cd, ..query.clone() };
        let (reply, _) = delivered(&query, &said, fresh());
        assert_eq!(reply[12..23], mixed[..]);
        // The owner is a pointer to the question.
        assert_eq!(reply[27..29], [0xc0, 12]);
        assert_eq!((reply[2] & 1 == 1, reply[3] & 0x10 != 0), (rd, cd));
    }
}

#[test]
fn a_rewrite_is_a_cname_and_at_an_apex_plain_addresses() {
    let resolved = "A 192.0.2.9";
    let soa = "safe.search.example 6 30 30";
    let cname = "www.search.example 5 60 safe.search.example";
    for (qname, qtype, target, expected) in [
        (
            "www.search.example",
            RecordType::A,
            Some(resolved),
            format!("NOERROR | {cname}, safe.search.example 1 60 192.0.2.9 | "),
        ),
        (
            "www.search.example",
            RecordType::A,
            Some("CNAME e.example; A 192.0.2.9"),
            format!("NOERROR | {cname}, safe.search.example 5 60 e.example, e.example 1 60 192.0.2.9 | "),
        ),
        ("www.search.example", RecordType::HTTPS, Some(""), format!("NOERROR | {cname} | {soa}")),
        ("www.search.example", RecordType::ANY, None, format!("NOERROR | {cname} | ")),
        ("search.example", RecordType::A, Some(resolved), "NOERROR | search.example 1 60 192.0.2.9 | ".into()),
        // Never a CNAME at an apex, not the target's either.
        (
            "search.example",
            RecordType::A,
            Some("CNAME e.example; A 192.0.2.9"),
            "NOERROR | search.example 1 60 192.0.2.9 | ".into(),
        ),
        ("search.example", RecordType::ANY, Some(resolved), "NOERROR | search.example 1 60 192.0.2.9 | ".into()),
        ("search.example", RecordType::HTTPS, None, "NOERROR |  | search.example 6 30 30".into()),
    ] {
        let snapshot = Setup::new().compile();
        let query = edns_query(qname, qtype);
        let (wanted, found) = (
            rewrite_of(&snapshot, &query.question),
            target.map(|t| made_answer("safe.search.example", Rcode::NOERROR, t)),
        );
        let told = match &found {
            Some(found) => TargetAnswer::Resolved {
                answer: found,
                ttl: TtlRule::Age { secs: 10, max: u32::MAX },
                stale: false,
                cleared: cleared(&snapshot, found),
            },
            None => TargetAnswer::NoData,
        };
        let (text, _) = read(&query, &rewritten(&snapshot, &query, &wanted, &told));
        assert_eq!(text, expected, "{qname} {qtype:?}");
    }
}

#[test]
fn the_tables_own_addresses_stand_in_for_a_lost_target() {
    let snapshot = Setup::new().compile();
    for (qname, qtype, expected) in [
        (
            "www.search.example",
            RecordType::A,
            "NOERROR | www.search.example 5 60 safe.search.example, safe.search.example 1 30 192.0.2.1 | ",
        ),
        (
            "www.search.example",
            RecordType::AAAA,
            "NOERROR | www.search.example 5 60 safe.search.example, safe.search.example 28 30 2001:db8::1 | ",
        ),
        ("search.example", RecordType::A, "NOERROR | search.example 1 30 192.0.2.1 | "),
        ("search.example", RecordType::ANY, "NOERROR | search.example 1 30 192.0.2.1 | "),
    ] {
        let query = edns_query(qname, qtype);
        let wanted = rewrite_of(&snapshot, &query.question);
        let (text, _) = read(&query, &rewritten(&snapshot, &query, &wanted, &TargetAnswer::Static));
        assert_eq!(text, expected, "{qname} {qtype:?}");
    }
}

fn rewrite_of(snapshot: &Snapshot, question: &Question) -> Rewrite {
    match on_query(snapshot, client(snapshot, "default"), question, &mut ()) {
        QueryVerdict::Rewrite(rewrite, _) => rewrite,
        other => panic!("{other:?}"),
    }
}

fn cleared(snapshot: &Snapshot, answer: &Answer) -> Cleared {
    let (client, question) = (client(snapshot, "default"), query("safe.search.example", RecordType::A).question);
    let QueryVerdict::Allow(permit) = on_query(snapshot, client, &question, &mut ()) else {
        panic!("the target is asked")
    };
    match on_answer(snapshot, client, &permit, &question, answer) {
        AnswerVerdict::Deliver(cleared) => cleared,
        other => panic!("{other:?}"),
    }
}

#[test]
fn any_is_answered_by_one_record_of_ours() {
    let snapshot = Setup::new().compile();
    let query = edns_query("a.example", RecordType::ANY);
    let (mut made, mut out) = (AnswerBuilder::new(Rcode::NOERROR), Vec::new());
    any(&snapshot, &query, origin(), &mut made, &mut out);
    let (text, _) = read(&query, &out);
    assert_eq!(text, "NOERROR | a.example 13 3600 \u{7}RFC8482\0 | ");
}

#[test]
fn our_failures_say_why() {
    let snapshot = Setup::new().compile();
    let query = edns_query("a.example", RecordType::A);
    for (why, code) in
        [(NotFound::TimedOut, 22), (NotFound::Unreachable, 23), (NotFound::NotReady, 14), (NotFound::Loop, 0)]
    {
        let (text, answer) = read(&query, &failure(&snapshot, &query, origin(), why));
        assert_eq!(text, "SERVFAIL |  | ");
        assert_eq!(answer.ede.iter().map(|e| e.code).collect::<Vec<_>>(), [code], "{why:?}");
        assert!(!answer.ede[0].text.is_empty());
    }
}

#[test]
fn version_and_id_are_told_in_class_ch() {
    let version = concat!("lachan ", env!("CARGO_PKG_VERSION"));
    for (qname, qtype, node_name, text) in [
        ("version.bind", RecordType::TXT, "n1", Some(version)),
        ("Version.Server", RecordType::TXT, "", Some(version)),
        ("version.bind", RecordType::ANY, "", Some(version)),
        ("version.bind", RecordType::A, "", None),
        ("id.server", RecordType::TXT, "n1", Some("n1")),
        ("id.server", RecordType::TXT, "", None),
        ("authors.bind", RecordType::TXT, "n1", None),
    ] {
        let mut setup = Setup::new();
        setup.policy.node_name = node_name.into();
        let snapshot = setup.compile();
        let mut query = query(qname, qtype);
        query.question.qclass = CLASS_CH;
        let reply = chaos(&snapshot, &query, origin());
        assert_eq!(reply.is_some(), text.is_some(), "{qname} {qtype:?}");
        if let (Some(reply), Some(text)) = (reply, text) {
            let end = [&[text.len() as u8], text.as_bytes()].concat();
            assert!(reply.ends_with(&end), "{qname}");
            // One TXT record of class CH, TTL 0, owned by the question.
            let record = [0xc0, 12, 0, 16, 0, 3, 0, 0, 0, 0, 0, end.len() as u8];
            assert!(reply.ends_with(&[&record[..], &end].concat()), "{qname}: {reply:02x?}");
        }
    }
}

#[test]
fn a_stranger_is_refused_whatever_it_sends() {
    let edns = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    let question = b"\x01a\x07example\0\0\x01\0\x01";
    let header = |flags: u16, questions, additional| {
        let flags = flags.to_be_bytes();
        [0x12, 0x34, flags[0], flags[1], 0, questions, 0, 0, 0, 0, 0, additional]
    };
    for (what, message, has_question, has_opt) in [
        ("a query", [&header(0x0100, 1, 1)[..], question, edns].concat(), true, true),
        ("without EDNS", [&header(0x0100, 1, 0)[..], question].concat(), true, false),
        ("half a message", [&header(0x0100, 1, 1)[..], question].concat(), true, false),
        ("nothing to read", header(0x0100, 1, 0).to_vec(), false, false),
        ("another opcode", [&header(0x2800, 1, 0)[..], question].concat(), false, false),
    ] {
        let header = Header::peek(&message).unwrap();
        let mut reply = vec![7; 3];
        stranger(&message, header, origin(), &mut reply);
        assert_eq!(reply[..2], message[..2], "{what}");
        assert_eq!(reply[3] & 0xf, 5, "{what}");
        assert_eq!((reply[5] == 1, reply[11] == 1), (has_question, has_opt), "{what}");
        // EDE 18 wherever there is an OPT.
        assert_eq!(reply.windows(4).any(|w| w[..2] == [0, 15] && w[3] > 2), has_opt, "{what}");
    }
}
