//! Messages from upstream as octets: what is read of them, and why one is refused.

use super::*;
use crate::engine::test_support::{answer, name, question};

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// `www.example`, type A, class IN.
const QUESTION: &str = "03777777 076578616d706c65 00 0001 0001";

/// A response with this second word, counts of the three sections, and records.
fn message(flags: &str, counts: &str, records: &str) -> Vec<u8> {
    hex(&format!("4c43 {flags} 0001 {counts} {QUESTION} {records}"))
}

fn read(message: &[u8]) -> Result<Answer, AnswerError> {
    Answer::from_wire(message, &question("www.example", RecordType::A))
}

#[test]
fn a_message_that_is_no_answer_of_ours_says_why() {
    let rdata = |rtype| AnswerError::Rdata(RecordType(rtype));
    for (what, octets, why) in [
        ("nothing", Vec::new(), AnswerError::Cut),
        ("half a header", hex("4c43 8180 0001"), AnswerError::Cut),
        ("QR=0", message("0180", "0000 0000 0000", ""), AnswerError::NotAResponse),
        ("another opcode", message("a180", "0000 0000 0000", ""), AnswerError::OtherQuestion),
        ("no question", hex("4c43 8180 0000 0000 0000 0000"), AnswerError::OtherQuestion),
        (
            "two questions",
            hex(&format!("4c43 8180 0002 0000 0000 0000 {QUESTION} {QUESTION}")),
            AnswerError::OtherQuestion,
        ),
        (
            "another name",
            hex("4c43 8180 0001 0000 0000 0000 03777778 076578616d706c65 00 0001 0001"),
            AnswerError::OtherQuestion,
        ),
        (
            "another type",
            hex("4c43 8180 0001 0000 0000 0000 03777777 076578616d706c65 00 001c 0001"),
            AnswerError::OtherQuestion,
        ),
        (
            "another class",
            hex("4c43 8180 0001 0000 0000 0000 03777777 076578616d706c65 00 0001 0003"),
            AnswerError::OtherQuestion,
        ),
        ("question cut", hex("4c43 8180 0001 0000 0000 0000 03777777 076578616d706c65 00 0001"), AnswerError::Cut),
        ("question's name cut", hex("4c43 8180 0001 0000 0000 0000 037777"), AnswerError::Name(NameError::Cut)),
        ("fewer records than told", message("8180", "0001 0000 0000", ""), AnswerError::Name(NameError::Cut)),
        ("more records than can be", message("8180", "ffff 0000 0000", ""), AnswerError::TooManyRecords(65_535)),
        (
            "an owner that points at itself",
            message("8180", "0001 0000 0000", "c01d 0001 0001 00000001 0004 c0000201"),
            AnswerError::Name(NameError::Pointer),
        ),
        (
            "an owner that points onwards",
            message("8180", "0001 0000 0000", "c0ff 0001 0001 00000001 0004 c0000201"),
            AnswerError::Name(NameError::Pointer),
        ),
        (
            "a label type nobody knows",
            message("8180", "0001 0000 0000", "41 00 0001 0001 00000001 0004 c0000201"),
            AnswerError::Name(NameError::LabelType(0x41)),
        ),
        (
            "RDATA past the end",
            message("8180", "0001 0000 0000", "c00c 0001 0001 00000001 0005 c0000201"),
            AnswerError::Cut,
        ),
        ("class CH", message("8180", "0001 0000 0000", "c00c 0001 0003 00000001 0004 c0000201"), AnswerError::Class(3)),
        (
            "an address of three octets",
            message("8180", "0001 0000 0000", "c00c 0001 0001 00000001 0003 c00002"),
            rdata(1),
        ),
        (
            "an IPv6 address of four",
            message("8180", "0001 0000 0000", "c00c 001c 0001 00000001 0004 c0000201"),
            rdata(28),
        ),
        (
            "a CNAME with something behind",
            message("8180", "0001 0000 0000", "c00c 0005 0001 00000001 0003 c00c 00"),
            rdata(5),
        ),
        (
            "a CNAME of nothing",
            message("8180", "0001 0000 0000", "c00c 0005 0001 00000001 0000"),
            AnswerError::Name(NameError::Cut),
        ),
        ("a name beyond its RDATA", message("8180", "0001 0000 0000", "c00c 0005 0001 00000001 0001 c00c"), rdata(5)),
        ("an MX without a name", message("8180", "0001 0000 0000", "c00c 000f 0001 00000001 0001 00"), rdata(15)),
        (
            "an SOA without numbers",
            message("8180", "0001 0000 0000", "c00c 0006 0001 00000001 0004 c00c c00c"),
            rdata(6),
        ),
        (
            "an ipv4hint of five octets",
            message("8180", "0001 0000 0000", "c00c 0041 0001 00000001 000c 0001 00 0004 0005 c000020101"),
            rdata(65),
        ),
        (
            "an ipv6hint of four",
            message("8180", "0001 0000 0000", "c00c 0041 0001 00000001 000b 0001 00 0006 0004 c0000201"),
            rdata(65),
        ),
        (
            "a parameter past the end",
            message("8180", "0001 0000 0000", "c00c 0041 0001 00000001 0007 0001 00 0001 0004"),
            rdata(65),
        ),
        (
            "an HTTPS target by pointer",
            message("8180", "0001 0000 0000", "c00c 0041 0001 00000001 0006 0001 01 61 c000"),
            rdata(65),
        ),
        (
            "an HTTPS record without a target",
            message("8180", "0001 0000 0000", "c00c 0041 0001 00000001 0002 0001"),
            rdata(65),
        ),
    ] {
        assert_eq!(read(&octets), Err(why), "{what}");
    }
}

#[test]
fn what_can_be_passed_on_as_it_came_is_told_apart() {
    let address = |owner: &str| format!("{owner} 0001 0001 0000003c 0004 c0000201");
    // At 29: the owner; at 31: type, class; at 35: the TTL; at 41: the target.
    let alias = |target: &str| {
        let len = hex(target).len();
        format!("c00c 0005 0001 01610000 {len:04x} {target}")
    };
    let opt = "00 0029 04d0 00000000 0000";
    for (what, counts, records, left) in [
        ("an address", "0001 0000 0000", address("c00c"), Some(16)),
        ("in full", "0001 0000 0000", address("03777777 076578616d706c65 00"), Some(27)),
        ("an OPT behind it", "0001 0000 0001", format!("{} {opt}", address("c00c")), Some(16)),
        ("an OPT before it", "0000 0000 0002", format!("{opt} {}", address("c00c")), None),
        ("two OPTs", "0001 0000 0002", format!("{} {opt} {opt}", address("c00c")), None),
        ("an OPT among the answers", "0002 0000 0000", format!("{} {opt}", address("c00c")), None),
        ("a record of another class", "0000 0000 0001", "c00c 0001 0003 0000003c 0004 c0000201".to_owned(), None),
        ("octets behind the records", "0001 0000 0000", format!("{} 00ff", address("c00c")), Some(16)),
        ("a target by pointer", "0001 0000 0000", alias("0161 c010"), Some(16)),
        ("its owner by pointer", "0002 0000 0000", format!("{} {}", alias("0161 c010"), address("c029")), Some(32)),
        ("a name out of a TTL", "0002 0000 0000", format!("{} {}", alias("0161 c010"), address("c023")), None),
        ("a target out of its own TTL", "0001 0000 0000", alias("c023"), None),
        ("a target out of the header", "0001 0000 0000", alias("c004"), None),
        ("a pointer to such a target", "0002 0000 0000", format!("{} {}", alias("0161 c004"), address("c029")), None),
    ] {
        let octets = message("8180", counts, &records);
        let mut builder = AnswerBuilder::new(Rcode::NOERROR);
        builder.read(&octets, &question("www.example", RecordType::A)).unwrap_or_else(|why| panic!("{what}: {why}"));
        let came = builder.as_it_came(&octets).map(|came| came.octets.len() - 29);
        assert_eq!(came, left, "{what}");
    }
    // The question's own name, by a pointer to octets 4 to 12 of the header.
    let octets = hex("0007 8180 0001 0001 00000000 c004 0001 0001 00 0001 0001 0000003c 0004 c0000201");
    let asked = Name::read(&octets, 12).unwrap().0;
    let mut builder = AnswerBuilder::new(Rcode::NOERROR);
    builder.read(&octets, &Question { qname: asked, qtype: RecordType::A, qclass: CLASS_IN }).unwrap();
    assert!(builder.as_it_came(&octets).is_none());
}

#[test]
fn the_header_the_opt_and_its_errors_are_read() {
    let opt = |ttl: &str, options: &str| {
        let len = hex(options).len();
        message("81a3", "0000 0000 0001", &format!("00 0029 04d0 {ttl} {len:04x} {options}"))
    };
    let plain = read(&message("8180", "0000 0000 0000", "")).unwrap();
    assert_eq!((plain.rcode, plain.authentic_data, plain.truncated), (Rcode::NOERROR, false, false));
    assert!(read(&message("8380", "0000 0000 0000", "")).unwrap().truncated);
    // The case of the question does not count.
    let upper = hex("4c43 8180 0001 0000 0000 0000 03575757 074578616d706c65 00 0001 0001");
    assert!(read(&upper).is_ok());

    let told = read(&opt("00000000", "000f 0004 0016 6869")).unwrap();
    assert_eq!((told.rcode, told.authentic_data), (Rcode::NXDOMAIN, true));
    assert_eq!(*told.ede, [Ede { code: 22, text: "hi".into() }]);
    // RFC 6891 §6.1.3: the upper eight bits of the code.
    assert_eq!(read(&opt("01000000", "")).unwrap().rcode, Rcode(0x13));
    for (options, texts) in [
        ("000f 0002 0016", &[""][..]),
        ("000f 0001 00", &[]),
        ("000f 0004 0016 6800", &["h"]),
        ("000f 0003 0016 ff", &["\u{fffd}"]),
        ("000a 0001 00 000f 0003 0016 68", &["h"]),
        // An option that runs over ends the list, and the answer stays good.
        ("000f 0003 0016 68 000f 0009 00", &["h"]),
        ("000f 0002 0001 000f 0002 0001 000f 0002 0001 000f 0002 0001 000f 0002 0001", &["", "", "", ""]),
    ] {
        let read = read(&opt("00000000", options)).unwrap();
        let found: Vec<&str> = read.ede.iter().map(|ede| &*ede.text).collect();
        assert_eq!(found, texts, "{options}");
    }
    assert_eq!(told.records().len(), 0, "the OPT is no record");
}

#[test]
fn records_are_kept_with_their_names_written_out() {
    let records = "c00c 0005 0001 0000012c 0006 03 63646e c010 \
                   03 43446e c010 0001 0001 80000001 0004 c0000201 \
                   c010 0006 0001 00000384 0019 c00c 01 6d 00 00000001 00000002 00000003 00000004 0000003c \
                   00 ff00 0001 00000001 0003 c00c 61";
    let answer = read(&message("8180", "0002 0001 0001", records)).unwrap();
    let [cname, a, soa, other] = answer.records().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((cname.owner, cname.ttl), (&b"\x03www\x07example\0"[..], 300));
    assert_eq!(cname.rdata, b"\x03cdn\x07example\0");
    // The case is upstream's; RFC 2181 §8: a TTL with the top bit set is zero.
    assert_eq!((a.owner, a.ttl, a.rdata), (&b"\x03CDn\x07example\0"[..], 0, &[192, 0, 2, 1][..]));
    assert_eq!((soa.section, soa.rdata.len()), (Section::Authority, 13 + 3 + 20));
    // RFC 3597 §4: nothing in a type we do not know is a pointer.
    assert_eq!((other.section, other.rtype, other.rdata), (Section::Additional, RecordType(0xff00), &b"\xc0\x0ca"[..]));
    assert!(answer.size() > 100);
    assert_eq!(answer.target_names(Section::Answer).collect::<Vec<_>>(), [name("cdn.example")]);
}

#[test]
fn an_answer_may_be_kept_as_long_as_its_records_say() {
    for (rcode, records, qtype, ttl) in [
        (Rcode::NOERROR, "A 192.0.2.1", RecordType::A, 300),
        (Rcode::NOERROR, "CNAME b.example; A 192.0.2.1", RecordType::A, 300),
        (Rcode::NOERROR, "A 192.0.2.1; SOA 5", RecordType::A, 300),
        (Rcode::NOERROR, "A 192.0.2.1", RecordType::ANY, 300),
        // Negative answers: the SOA's minimum, and nothing without one.
        (Rcode::NOERROR, "A 192.0.2.1", RecordType::AAAA, 0),
        (Rcode::NOERROR, "CNAME b.example; SOA 60", RecordType::AAAA, 60),
        (Rcode::NOERROR, "SOA 900", RecordType::A, 300),
        (Rcode::NXDOMAIN, "SOA 60", RecordType::A, 60),
        (Rcode::NXDOMAIN, "", RecordType::A, 0),
        (Rcode::NXDOMAIN, "A 192.0.2.1; SOA 60", RecordType::A, 60),
        (Rcode::NOERROR, "", RecordType::A, 0),
    ] {
        assert_eq!(answer("a.example", rcode, records).ttl_secs(qtype), ttl, "{rcode:?} {records}");
    }
    let long = |section, rtype, rdata: &[u8]| {
        let mut made = AnswerBuilder::new(Rcode::NOERROR);
        made.push(section, b"\x01a\0", rtype, i32::MAX as u32, rdata);
        made.finish().ttl_secs(RecordType::A)
    };
    assert_eq!(long(Section::Answer, RecordType::A, &[0; 4]), POSITIVE_TTL_SECS_MAX);
    assert_eq!(long(Section::Authority, RecordType::SOA, &[0xff; 22]), NEGATIVE_TTL_SECS_MAX);
}

#[test]
fn failures_and_negative_answers_are_told_apart() {
    for (rcode, records, is_failure, is_negative) in [
        (Rcode::NOERROR, "A 192.0.2.1", false, false),
        (Rcode::NOERROR, "TXT x", false, true),
        (Rcode::NOERROR, "", false, true),
        (Rcode::NXDOMAIN, "A 192.0.2.1", false, true),
        (Rcode::SERVFAIL, "", true, true),
        (Rcode::REFUSED, "A 192.0.2.1", true, false),
    ] {
        let answer = answer("a.example", rcode, records);
        assert_eq!(
            (answer.is_failure(), answer.is_negative(RecordType::A)),
            (is_failure, is_negative),
            "{rcode:?} {records}"
        );
    }
}

#[test]
fn targets_and_addresses_come_in_order_and_from_their_own_places() {
    for (records, targets, addresses) in [
        ("CNAME b.example; CNAME c.example; A 192.0.2.1", "b.example c.example", "192.0.2.1"),
        ("DNAME d.example; CNAME e.example", "d.example e.example", ""),
        ("HTTPS svc.example 192.0.2.1 2001:db8::1", "svc.example", "192.0.2.1 2001:db8::1"),
        ("HTTPS . 192.0.2.1; SVCB alias.example", "alias.example", "192.0.2.1"),
        // Another section's are asked for apart.
        ("TXT x; +A 192.0.2.9; +AAAA 2001:db8::9; +CNAME z.example", "", ""),
        ("NS ns.example; TXT 192.0.2.1", "", ""),
    ] {
        let answer = answer("a.example", Rcode::NOERROR, records);
        let text = |items: Vec<String>| items.join(" ");
        assert_eq!(text(answer.target_names(Section::Answer).map(|n| n.to_string()).collect()), targets, "{records}");
        assert_eq!(text(answer.addresses(Section::Answer).map(|a| a.to_string()).collect()), addresses, "{records}");
    }
    let glue = answer("a.example", Rcode::NOERROR, "TXT x; +A 192.0.2.9; +CNAME z.example");
    assert_eq!(glue.target_names(Section::Additional).collect::<Vec<_>>(), [name("z.example")]);
    assert_eq!(glue.addresses(Section::Additional).count(), 1);
}
