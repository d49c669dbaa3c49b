//! What the encoder writes, and leaves out.

use super::*;
use crate::engine::name::Name;
use crate::engine::query::CLASS_IN;
use crate::engine::test_support;

fn query(qname: Name, edns: Option<Edns>) -> Query {
    Query { edns, ..test_support::query(&qname.to_string(), RecordType::A) }
}

fn edns(udp_payload: u16) -> Edns {
    Edns { version: 0, udp_payload, dnssec_ok: false, nsid: true, keepalive: true, ..Edns::default() }
}

/// A name of 255 octets, the longest there is.
fn longest() -> Name {
    let label = |octet: char, len| octet.to_string().repeat(len);
    Name::from_text(&[label('a', 63), label('b', 63), label('c', 63), label('d', 61)].join(".")).unwrap()
}

/// Codes of the options in an answer whose last record is the OPT.
fn options(answer: &[u8]) -> Vec<u16> {
    let at = answer.windows(6).rposition(|w| w == [0, 0, 41, 0x04, 0xd0, 0]).expect("an OPT of 1232");
    let mut options = &answer[at + OPT_OCTETS..];
    let mut codes = Vec::new();
    while let Some((head, rest)) = options.split_first_chunk::<4>() {
        codes.push(u16::from_be_bytes([head[0], head[1]]));
        options = &rest[usize::from(u16::from_be_bytes([head[2], head[3]]))..];
    }
    codes
}

#[test]
fn options_that_do_not_fit_are_left_out_and_the_opt_stays() {
    let long = "x".repeat(200);
    let ede = [EdeText::new(EdeCode::BLOCKED, &long); 5];
    let short = Name::from_text("a.example").unwrap();
    for (qname, transport, payload, nsid, codes) in [
        (&short, Transport::Udp, 1232, 255, &[15, 15, 15, 15, 15, 3][..]),
        (&short, Transport::Tcp, 512, 255, &[15, 15, 15, 15, 15, 3, 11]),
        (&short, Transport::Udp, 512, 255, &[15, 15, 15, 15, 15]),
        (&longest(), Transport::Udp, 512, 255, &[15, 15, 15]),
        (&longest(), Transport::Udp, 0, 10, &[15, 15, 15, 3]),
        (&longest(), Transport::Tcp, 0, 10, &[15, 15, 15, 15, 15, 3, 11]),
    ] {
        let query = query(qname.clone(), Some(edns(payload)));
        let nsid = vec![b'n'; nsid];
        let response = Response { ede: &ede, nsid: &nsid, ..Response::code(Rcode::SERVFAIL) };
        let answer = write(&query, transport, &response, std::iter::empty());
        let limit = size_limit(transport, query.edns.as_ref());
        assert!(answer.len() <= limit, "{} octets, at most {limit}", answer.len());
        assert_eq!(options(&answer), codes, "{qname} {transport:?} {payload}");
    }
}

#[test]
fn an_extended_error_is_cut_between_characters() {
    for (text, len) in [("short", 5), (&"x".repeat(64), 64), (&"x".repeat(65), 64), (&"ữ".repeat(30), 63)] {
        assert_eq!(shorten(text, EDE_TEXT_OCTETS_MAX).len(), len, "{text}");
    }
}

#[test]
fn the_opt_answers_what_was_asked() {
    let name = Name::from_text("a.example").unwrap();
    let with = |edns: Option<Edns>, transport, rcode| {
        let response = Response { nsid: b"n1", ..Response::code(rcode) };
        write(&query(name.clone(), edns), transport, &response, std::iter::empty())
    };
    let plain = with(None, Transport::Udp, Rcode::NOERROR);
    assert_eq!((plain.len(), plain[11]), (12 + 11 + 4, 0), "no OPT unless asked");
    assert_eq!(options(&with(Some(edns(1232)), Transport::Udp, Rcode::NOERROR)), [3], "no keepalive over UDP");
    let tcp = with(Some(edns(1232)), Transport::Tcp, Rcode::NOERROR);
    assert_eq!(options(&tcp), [3, 11]);
    assert_eq!(tcp[tcp.len() - 2..], ((TCP_IDLE.as_millis() / 100) as u16).to_be_bytes());
    let do_bit = with(Some(Edns { dnssec_ok: true, nsid: false, ..edns(512) }), Transport::Udp, Rcode::BADVERS);
    // Extended code 1, version 0, DO.
    assert_eq!(do_bit[do_bit.len() - 6..], [1, 0, 0x80, 0, 0, 0]);
    assert_eq!(do_bit[3] & 0xf, 0);
}

#[test]
fn deep_names_with_a_common_beginning_are_written_in_full_and_compared_seldom() {
    // 126 labels `a` below a name that differs: nothing can be pointed at, and every suffix looks like another.
    let owner = |last: u8| [&b"\x01a".repeat(126)[..], &[1, last, 0]].concat();
    let owners: Vec<Vec<u8>> = (0..240).map(owner).collect();
    let record = |owner| RecordRef {
        section: Section::Answer,
        owner,
        rtype: RecordType::A,
        class: CLASS_IN,
        ttl: 60,
        rdata: &[192, 0, 2, 1],
    };
    let records: Vec<RecordRef<'_>> = owners.iter().map(|owner| record(owner.as_slice())).collect();
    let question = query(Name::from_text("a.example").unwrap(), None).question;
    let mut out = Vec::new();
    let mut encoder = Encoder::new(0, 0, usize::from(u16::MAX), &mut out);
    encoder.question(&question, question.qname.as_wire());
    encoder.records(records.iter().copied(), TtlRule::Fixed(60));
    // Each end of a name with the one that is as long, and little else; comparing names of any length took a hundred
    // times as much.
    let ends = LABELS_MAX * (LABELS_MAX + 1) / 2;
    let compared = encoder.compared.get();
    assert!(compared <= owners.len() * (ends + LABELS_MAX), "{compared} labels");
    encoder.finish(Rcode::NOERROR);
    let read = crate::engine::answer::Answer::from_wire(&out, &question).unwrap();
    // `a` and `A` differ in case alone: their owners are one name.
    let folded = |owner: &[u8]| owner.to_ascii_lowercase();
    assert!(read.records().map(|r| folded(r.owner)).eq(owners.iter().map(|owner| folded(owner))));
}

#[test]
fn ttls_age_and_are_capped() {
    for (rule, ttl, told) in [
        (TtlRule::Age { secs: 0, max: 3600 }, 300, 300),
        (TtlRule::Age { secs: 100, max: 3600 }, 300, 200),
        (TtlRule::Age { secs: 301, max: 3600 }, 300, 0),
        (TtlRule::Age { secs: 100, max: 60 }, 300, 60),
        (TtlRule::Fixed(30), 5, 30),
    ] {
        assert_eq!(rule.apply(ttl), told, "{rule:?} {ttl}");
    }
}

#[test]
fn what_does_not_fit_is_cut_by_section() {
    let qname = Name::from_text("a.example").unwrap();
    let record = |section, rtype, rdata| RecordRef {
        section,
        owner: b"\x01a\x07example\0",
        rtype,
        class: CLASS_IN,
        ttl: 60,
        rdata,
    };
    let (small, large) = (&[b'.'; 50][..], &[b'.'; 600][..]);
    const ANSWER: (Section, RecordType) = (Section::Answer, RecordType::TXT);
    const AUTHORITY: (Section, RecordType) = (Section::Authority, RecordType::TXT);
    const PROOF: (Section, RecordType) = (Section::Authority, RecordType::NSEC);
    const ADDITIONAL: (Section, RecordType) = (Section::Additional, RecordType::TXT);
    for (what, records, tc, counts) in [
        ("all fits", vec![(ANSWER, small), (AUTHORITY, small), (ADDITIONAL, small)], false, [1, 1, 1]),
        ("half an answer is none", vec![(ANSWER, small), (ANSWER, large)], true, [0, 0, 0]),
        ("a cut answer has nothing behind it", vec![(ANSWER, large), (AUTHORITY, small)], true, [0, 0, 0]),
        ("authority goes silently", vec![(ANSWER, small), (AUTHORITY, large)], false, [1, 0, 0]),
        (
            "and additional is still tried",
            vec![(ANSWER, small), (AUTHORITY, large), (ADDITIONAL, small)],
            false,
            [1, 0, 1],
        ),
        ("proof does not go silently", vec![(ANSWER, small), (PROOF, large), (ADDITIONAL, small)], true, [1, 0, 0]),
        ("additional goes silently", vec![(ANSWER, small), (ADDITIONAL, large)], false, [1, 0, 0]),
        ("no data without its SOA is cut", vec![(AUTHORITY, large)], true, [0, 0, 0]),
        ("no data and no glue", vec![(AUTHORITY, small), (ADDITIONAL, large)], false, [0, 1, 0]),
    ] {
        let records: Vec<RecordRef<'_>> =
            records.into_iter().map(|((section, rtype), rdata)| record(section, rtype, rdata)).collect();
        for edns in [None, Some(Edns { nsid: false, ..edns(512) })] {
            let query = query(qname.clone(), edns);
            let out = write(&query, Transport::Udp, &Response::code(Rcode::NOERROR), records.iter().copied());
            let got: [u8; 3] = [out[7], out[9], out[11] - u8::from(edns.is_some())];
            assert_eq!((out[2] & 0x02 != 0, got), (tc, counts), "{what}");
            assert!(out.len() <= 512, "{what}");
        }
    }
}
