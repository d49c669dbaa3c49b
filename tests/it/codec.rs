//! Our reader and writer of messages against hickory-proto's, on generated messages and on broken ones.
//!
//! hickory-proto is an oracle with known faults and habits of its own; where it and we differ on purpose, the reason is a
//! line of [`stricter`] or stands beside the comparison.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns as OracleEdns, Message, OpCode, Query as OracleQuery, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, MX, NS, NULL, PTR, SOA, SRV, SVCB, TXT};
use hickory_proto::rr::{DNSClass, Name as OracleName, RData, Record, RecordType as OracleType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder, NameEncoding};
use lachan::engine::answer::{Answer, RecordRef, Section};
use lachan::engine::limits::{UDP_PAYLOAD_MAX, UDP_PAYLOAD_MIN};
use lachan::engine::name::Name;
use lachan::engine::query::{self, CLASS_IN, Edns, Header, Query, Question, Rcode, RecordType, Transport};
use lachan::engine::reply::encoder::{self, EdeText, Response, TtlRule, size_limit};
use lachan::engine::verdict::EdeCode;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Wire form of a name: labels that repeat, so that there is something to compress, in several cases, and any octets.
fn names() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec!["www", "WWW", "cdn-7", "a", "example", "Example", "com", "vn", "xn--0lq70ey8yz1b"]);
    let label = prop_oneof![
        8 => known.prop_map(|label| label.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..64),
    ];
    vec(label, 0..6).prop_map(|labels| {
        let mut wire = Vec::new();
        for label in labels.iter().filter(|label| !label.is_empty()) {
            if wire.len() + label.len() + 2 <= 255 {
                wire.push(label.len() as u8);
                wire.extend_from_slice(label);
            }
        }
        wire.push(0);
        wire
    })
}

fn oracle_name(wire: &[u8]) -> OracleName {
    OracleName::read(&mut BinDecoder::new(wire)).unwrap()
}

fn rdata() -> impl Strategy<Value = RData> {
    let name = || names().prop_map(|wire| oracle_name(&wire));
    let raw = |code, octets| RData::Unknown { code: OracleType::from(code), rdata: NULL::with(octets) };
    let hints = (any::<[u8; 4]>(), any::<[u8; 16]>()).prop_map(|(v4, v6)| {
        vec![
            (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A(v4.into())]))),
            (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![AAAA(v6.into())]))),
        ]
    });
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| RData::A(A(octets.into()))),
        any::<[u8; 16]>().prop_map(|octets| RData::AAAA(AAAA(octets.into()))),
        name().prop_map(|n| RData::NS(NS(n))),
        name().prop_map(|n| RData::CNAME(CNAME(n))),
        name().prop_map(|n| RData::PTR(PTR(n))),
        (any::<u16>(), name()).prop_map(|(preference, n)| RData::MX(MX::new(preference, n))),
        (name(), name(), any::<u32>()).prop_map(|(m, r, n)| RData::SOA(SOA::new(m, r, n, 1, 2, 3, n))),
        (any::<u16>(), name()).prop_map(|(n, target)| RData::SRV(SRV::new(n, n, n, target))),
        vec(vec(any::<u8>(), 0..256), 1..4)
            .prop_map(|strings| RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))),
        (1u16.., name(), hints).prop_map(|(n, target, params)| RData::HTTPS(HTTPS(SVCB::new(n, target, params)))),
        (0u16..2, name()).prop_map(|(n, target)| RData::SVCB(SVCB::new(n, target, Vec::new()))),
        // DNAME, RRSIG and NSEC are raw octets to an oracle built without DNSSEC.
        names().prop_map(move |wire| raw(39, wire)),
        names().prop_map(move |wire| raw(46, [&[7; 18][..], &wire, &[9; 40]].concat())),
        names().prop_map(move |wire| raw(47, [&wire[..], &[0, 1, 0x40]].concat())),
        (65_280u16..65_290, vec(any::<u8>(), 1..300)).prop_map(move |(code, octets)| raw(code, octets)),
    ]
}

fn records(count: usize) -> impl Strategy<Value = Vec<Record>> {
    let ttl = prop_oneof![Just(0), 1u32..100_000, Just(i32::MAX as u32), Just(u32::MAX)];
    vec((names(), ttl, rdata()), 0..count).prop_map(|all| {
        all.into_iter().map(|(wire, ttl, data)| Record::from_rdata(oracle_name(&wire), ttl, data)).collect()
    })
}

/// A response of hickory-proto's with its question.
fn responses() -> impl Strategy<Value = (Message, Question)> {
    let edes = option::of(vec((any::<u16>(), "[a-z ]{0,40}"), 0..3));
    let rcode = select(vec![0u16, 2, 3, 5, 16, 23]);
    let sections = (records(6), records(4), records(4));
    (names(), 1u16..300, rcode, any::<bool>(), sections, edes).prop_map(|(wire, qtype, rcode, ad, sections, edes)| {
        let question = Question { qname: Name::from_wire(&wire).unwrap(), qtype: RecordType(qtype), qclass: CLASS_IN };
        let mut message = Message::response(0x1234, OpCode::Query);
        message.add_query(OracleQuery::query(oracle_name(&wire), OracleType::from(qtype)));
        (message.answers, message.authorities, message.additionals) = sections;
        message.metadata.authentic_data = ad;
        // Codes above 15 travel in the OPT alone.
        let rcode = if edes.is_some() { rcode } else { rcode & 0xf };
        message.metadata.response_code = ResponseCode::from((rcode >> 4) as u8, (rcode & 0xf) as u8);
        if let Some(edes) = edes {
            let mut edns = OracleEdns::new();
            for (code, text) in edes {
                let value = [&code.to_be_bytes(), text.as_bytes()].concat();
                edns.options_mut().insert(EdnsOption::Unknown(15, value));
            }
            message.set_edns(edns);
        }
        (message, question)
    })
}

/// A record's fields with names written out: owner, type, TTL, RDATA.
type Plain = (Vec<u8>, u16, u32, Vec<u8>);

fn plain_oracle(record: &Record) -> Plain {
    let uncompressed = |emit: &dyn Fn(&mut BinEncoder<'_>)| {
        let mut octets = Vec::new();
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        emit(&mut encoder);
        octets
    };
    let owner = uncompressed(&|encoder| record.name.emit(encoder).unwrap());
    let rdata = uncompressed(&|encoder| record.data.emit(encoder).unwrap());
    // RFC 2181 §8: a TTL with the top bit set is zero.
    let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
    (owner, record.record_type().into(), ttl, rdata)
}

fn plain(record: RecordRef<'_>) -> Plain {
    (record.owner.to_vec(), record.rtype.0, record.ttl, record.rdata.to_vec())
}

/// As [`Plain`] without regard to case, which compression may change in names.
fn folded(records: impl Iterator<Item = Plain>) -> Vec<Plain> {
    records
        .map(|(owner, rtype, ttl, rdata)| (owner.to_ascii_lowercase(), rtype, ttl, rdata.to_ascii_lowercase()))
        .collect()
}

fn sections(message: &Message) -> [(Section, &[Record]); 3] {
    [
        (Section::Answer, &message.answers),
        (Section::Authority, &message.authorities),
        (Section::Additional, &message.additionals),
    ]
}

fn edns() -> impl Strategy<Value = Option<Edns>> {
    let payload = prop_oneof![Just(0u16), Just(511), Just(512), Just(1232), any::<u16>()];
    option::of((payload, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(udp_payload, dnssec_ok, nsid, keepalive)| Edns {
            version: 0,
            udp_payload,
            dnssec_ok,
            nsid,
            keepalive,
            ..Edns::default()
        },
    ))
}

/// A query for the question, spelled as the client did: read from octets, as every query is.
fn query_for(question: &Question, spelling: &[u8], edns: Option<Edns>) -> Query {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(spelling);
    message.extend_from_slice(&[0, 1, 0, 1]);
    let header = Header::peek(&message).unwrap();
    let mut query = query::read(&message, header).unwrap();
    query.question.qtype = question.qtype;
    query.edns = edns;
    query
}

fn spelled(message: &Message) -> Vec<u8> {
    plain_oracle(&Record::from_rdata(message.queries[0].name().clone(), 0, RData::A(A(Ipv4Addr::UNSPECIFIED)))).0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// What upstream says is read record for record.
    #[test]
    fn answers_are_read_as_they_were_written((message, question) in responses()) {
        let octets = message.to_vec().unwrap();
        let answer = Answer::from_wire(&octets, &question).unwrap();
        prop_assert_eq!(answer.rcode.0, u16::from(message.metadata.response_code));
        prop_assert_eq!(answer.authentic_data, message.metadata.authentic_data);
        for (section, records) in sections(&message) {
            let read: Vec<Plain> = answer.section(section).map(plain).collect();
            let mut written: Vec<Plain> = records.iter().map(plain_oracle).collect();
            // RFC 2308 §5: the SOA of a negative answer lives no longer than its MINIMUM, the last field.
            for (_, rtype, ttl, rdata) in &mut written {
                if section == Section::Authority && *rtype == RecordType::SOA.0 {
                    *ttl = (*ttl).min(u32::from_be_bytes(*rdata.last_chunk().unwrap()));
                }
            }
            // The oracle compresses by octets, so even the case is the same.
            prop_assert_eq!(read, written);
        }
        let edes = message.edns.as_ref().map_or(0, |e| e.options().get_all(EdnsCode::Unknown(15)).len());
        prop_assert_eq!(answer.ede.len(), edes);
    }

    /// What we write is read by the oracle as the same message, and is no longer than its own.
    #[test]
    fn what_we_write_is_read_back_and_is_small((message, question) in responses(), edns in edns(), cd in any::<bool>()) {
        let answer = Answer::from_wire(&message.to_vec().unwrap(), &question).unwrap();
        let spelling = spelled(&message);
        let query = Query { checking_disabled: cd, ..query_for(&question, &spelling, edns.map(|e| Edns { nsid: false, keepalive: false, ..e })) };
        let rcode = if edns.is_some() { answer.rcode } else { Rcode(answer.rcode.0 & 0xf) };
        let response = Response { rcode, authentic_data: true, ttl: TtlRule::Age { secs: 0, max: u32::MAX }, ede: &[], nsid: &[] };
        let reply = encoder::write(&query, Transport::Tcp, &response, answer.records());

        let read = Message::from_vec(&reply).unwrap();
        prop_assert_eq!(read.metadata.id, 0x1234);
        prop_assert_eq!(u16::from(read.metadata.response_code), rcode.0);
        let flags = (read.metadata.recursion_available, read.metadata.authoritative, read.metadata.truncation);
        prop_assert_eq!(flags, (true, false, false));
        prop_assert_eq!((read.metadata.checking_disabled, read.metadata.authentic_data), (cd, true));
        prop_assert_eq!(&reply[12..12 + spelling.len()], &spelling[..], "the question's case");
        prop_assert_eq!(read.edns.is_some(), edns.is_some());
        prop_assert_eq!(read.edns.as_ref().map(|e| (e.max_payload(), e.flags().dnssec_ok)), edns.map(|e| (UDP_PAYLOAD_MAX, e.dnssec_ok)));
        for (section, records) in sections(&read) {
            prop_assert_eq!(folded(records.iter().map(plain_oracle)), folded(answer.section(section).map(plain)));
        }

        let mut theirs = message.clone();
        theirs.edns = edns.map(|_| OracleEdns::new());
        theirs.metadata.response_code = ResponseCode::NoError;
        // The oracle also points into names that lie in RDATA which itself must not be compressed; we remember none there.
        let points_into_rdata = theirs.all_sections().any(|r| matches!(u16::from(r.record_type()), 33 | 64 | 65));
        let most = theirs.to_vec().unwrap().len();
        prop_assert!(points_into_rdata || reply.len() <= most, "{} octets, the oracle's {most}", reply.len());
    }

    /// No answer is larger than its client takes; what is cut is cut whole, and the OPT is there whenever it was asked for.
    #[test]
    fn no_answer_is_too_large(
        (message, question) in responses(),
        edns in edns(),
        texts in vec("\\PC{0,60}", 0..6),
        nsid in vec(any::<u8>(), 0..256),
        is_udp in any::<bool>(),
    ) {
        let answer = Answer::from_wire(&message.to_vec().unwrap(), &question).unwrap();
        let query = query_for(&question, &spelled(&message), edns);
        let ede: Vec<EdeText<'_>> = texts.iter().map(|text| EdeText::new(EdeCode::BLOCKED, text)).collect();
        let ttl = TtlRule::Fixed(30);
        let response = Response { rcode: answer.rcode, authentic_data: false, ttl, ede: &ede, nsid: &nsid };
        let transport = if is_udp { Transport::Udp } else { Transport::Tcp };
        let reply = encoder::write(&query, transport, &response, answer.records());

        let limit = match (transport, edns) {
            (Transport::Tcp | Transport::Tls | Transport::Https | Transport::Quic, _) => 65_535,
            (Transport::Udp, None) => UDP_PAYLOAD_MIN,
            (Transport::Udp, Some(edns)) => edns.udp_payload.clamp(UDP_PAYLOAD_MIN, UDP_PAYLOAD_MAX),
        };
        prop_assert_eq!(size_limit(transport, query.edns.as_ref()), usize::from(limit));
        prop_assert!(reply.len() <= usize::from(limit), "{} octets, at most {limit}", reply.len());
        let read = Message::from_vec(&reply).unwrap();
        prop_assert_eq!(read.edns.is_some(), edns.is_some());
        prop_assert_eq!(read.queries.len(), 1);
        let whole = |section| answer.section(section).count();
        let [answers, authorities, additionals] =
            [&read.answers, &read.authorities, &read.additionals].map(Vec::len);
        for (got, section) in [(answers, Section::Answer), (authorities, Section::Authority), (additionals, Section::Additional)] {
            prop_assert!(got == 0 || got == whole(section), "{section:?}: {got} of {}", whole(section));
        }
        // RFC 2181 §9: TC says that something needed is missing, a proof in the authority section too (RFC 4035 §3.1.1);
        // then nothing comes behind the gap.
        prop_assert_eq!(read.metadata.truncation && authorities + additionals > 0, false);
        let is_proof = |rtype: RecordType| [6, 43, 46, 47, 50].contains(&rtype.0);
        let has_proof = answer.section(Section::Authority).any(|record| is_proof(record.rtype));
        let is_authority_needed = whole(Section::Answer) == 0 || has_proof;
        let is_needed_missing = answers < whole(Section::Answer)
            || (is_authority_needed && authorities < whole(Section::Authority));
        prop_assert_eq!(read.metadata.truncation, is_needed_missing);
        prop_assert!(read.all_sections().all(|record| record.ttl == 30));
        if let Some(options) = read.edns.as_ref().map(|e| e.options()) {
            let texts = options.get_all(EdnsCode::Unknown(15));
            prop_assert!(texts.iter().all(|option| matches!(option, EdnsOption::Unknown(_, value) if value.len() <= 66)));
            // RFC 7828 §3.2.1: never over UDP.
            prop_assert!(options.get(EdnsCode::Keepalive).is_none() || !is_udp);
        }
    }

    /// Sound queries are read field by field.
    #[test]
    fn queries_are_read_as_they_were_written(
        wire in names(), qtype in 1u16..39, flags in any::<[bool; 3]>(), edns in edns(), options in vec((20u16.., vec(any::<u8>(), 0..40)), 0..4),
    ) {
        let octets = oracle_query(&wire, qtype, flags, edns, &options);
        let query = query::read(&octets, Header::peek(&octets).unwrap()).unwrap();
        prop_assert_eq!(query.spelling.as_wire(), &wire[..]);
        prop_assert_eq!(query.question, Question { qname: Name::from_wire(&wire).unwrap(), qtype: RecordType(qtype), qclass: CLASS_IN });
        prop_assert_eq!([query.recursion_desired, query.authentic_data, query.checking_disabled], flags);
        // The oracle writes the least payload there is for a smaller one.
        let edns = edns.map(|e| Edns { udp_payload: e.udp_payload.max(512), ..e });
        prop_assert_eq!(query.edns, edns);
    }

    /// Broken queries: we read nothing that the oracle cannot, and refuse more only for a reason of [`stricter`].
    #[test]
    fn broken_queries_are_judged_as_the_oracle_does(
        wire in names(), qtype in 1u16..39, edns in edns(), options in vec((20u16.., vec(any::<u8>(), 0..9)), 0..3),
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in option::of(any::<prop::sample::Index>()),
    ) {
        let mut octets = oracle_query(&wire, qtype, [true, false, false], edns, &options);
        for (at, value) in hits {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        if let Some(cut) = cut {
            octets.truncate(cut.index(octets.len()));
        }
        let Some(header) = Header::peek(&octets) else { return Ok(()) };
        let ours = query::read(&octets, header);
        let theirs = Message::from_vec(&octets);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.id, theirs.metadata.id);
                prop_assert_eq!(oracle_name(ours.spelling.as_wire()), theirs.queries[0].name().clone());
                prop_assert_eq!(ours.question.qtype.0, u16::from(theirs.queries[0].query_type()));
                prop_assert_eq!(ours.edns.map(|e| e.dnssec_ok), theirs.edns.as_ref().map(|e| e.flags().dnssec_ok));
            }
            (Ok(_), Err(why)) => prop_assert!(is_laxer(&octets), "only the oracle refuses {octets:02x?}: {why}"),
            (Err(refusal), Ok(_)) => prop_assert!(stricter(&octets), "only we refuse {octets:02x?}: {:?}", refusal.rcode),
            (Err(_), Err(_)) => {}
        }
    }

    /// Broken answers: nothing dies, and whatever address or target the oracle sees, policy sees.
    #[test]
    fn broken_answers_hide_nothing_from_policy((message, question) in responses(), hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut octets = message.to_vec().unwrap();
        for (at, value) in hits {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        let (Ok(answer), Ok(theirs)) = (Answer::from_wire(&octets, &question), Message::from_vec(&octets)) else { return Ok(()) };
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let seen: Vec<_> = sections.into_iter().flat_map(|section| answer.addresses(section)).collect();
        let targets: Vec<Name> = answer.target_names(Section::Answer).collect();
        // Additional records of another class are left out, so nobody gets to see them.
        let kept = |record: &&Record| record.dns_class == DNSClass::IN;
        for record in theirs.all_sections().filter(kept) {
            let address = match &record.data {
                RData::A(A(v4)) => Some((*v4).into()),
                RData::AAAA(AAAA(v6)) => Some((*v6).into()),
                _ => None,
            };
            prop_assert!(address.is_none_or(|address| seen.contains(&address)), "{address:?} is not in {seen:?}");
        }
        for record in &theirs.answers {
            let target = match &record.data {
                RData::CNAME(CNAME(target)) => Some(target),
                RData::HTTPS(HTTPS(svcb)) | RData::SVCB(svcb) if !svcb.target_name.is_root() => Some(&svcb.target_name),
                _ => None,
            };
            let target = target.map(|target| Name::from_wire(&target.to_bytes().unwrap()).unwrap());
            prop_assert!(target.as_ref().is_none_or(|target| targets.contains(target)), "{target:?} is not in {targets:?}");
        }
    }
}

/// A query as hickory-proto writes it; RD, AD, CD.
fn oracle_query(wire: &[u8], qtype: u16, flags: [bool; 3], edns: Option<Edns>, options: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.add_query(OracleQuery::query(oracle_name(wire), OracleType::from(qtype)));
    [message.metadata.recursion_desired, message.metadata.authentic_data, message.metadata.checking_disabled] = flags;
    if let Some(edns) = edns {
        let mut opt = OracleEdns::new();
        opt.set_max_payload(edns.udp_payload).set_dnssec_ok(edns.dnssec_ok);
        for (code, value) in options {
            opt.options_mut().insert(EdnsOption::Unknown(*code, value.clone()));
        }
        if edns.nsid {
            opt.options_mut().insert(EdnsOption::Unknown(3, Vec::new()));
        }
        if edns.keepalive {
            opt.options_mut().insert(EdnsOption::Unknown(11, Vec::new()));
        }
        message.set_edns(opt);
    }
    message.to_vec().unwrap()
}

/// What we refuse and hickory-proto reads, on purpose.
fn stricter(octets: &[u8]) -> bool {
    let word = |at: usize| octets.get(at..at + 2).map_or(0, |w| u16::from_be_bytes([w[0], w[1]]));
    // Another opcode is NOTIMP, and anything but one question FORMERR (RFC 9619).
    if word(2) & 0x7800 != 0 || word(4) != 1 {
        return true;
    }
    let Ok((qname, end)) = Name::read(octets, 12) else { return false };
    // The question's name is the first of the message: a pointer in it points into the header.
    if end - 12 != qname.as_wire().len() {
        return true;
    }
    let qtype = word(end);
    // Types that cannot be asked.
    if matches!(qtype, 0 | 41 | 128 | 249..=254) {
        return true;
    }
    // EDNS above 0 is BADVERS; an OPT is owned by the root and in the additional section.
    let opt = end + 4;
    if word(6) + word(8) > 0 || octets.get(opt) != Some(&0) || octets.get(opt + 6).is_some_and(|version| *version > 0) {
        return true;
    }
    // An option that runs past its OPT: the oracle drops what is left of it.
    let Some(mut options) = octets.get(opt + 11..opt + 11 + usize::from(word(opt + 9))) else { return false };
    while let Some((head, rest)) = options.split_first_chunk::<4>() {
        let Some(rest) = rest.get(usize::from(u16::from_be_bytes([head[2], head[3]]))..) else { return true };
        options = rest;
    }
    !options.is_empty()
}

/// What hickory-proto refuses and we read, on purpose: nothing reads what is wrong there.
fn is_laxer(octets: &[u8]) -> bool {
    let Ok((_, end)) = Name::read(octets, 12) else { return false };
    let word = |at: usize| octets.get(at..at + 2).map_or(0, |w| u16::from_be_bytes([w[0], w[1]]));
    // RDATA of records in a query is not looked at, nor is client subnet or any other option we do not answer.
    let has_other_records = word(6) + word(8) > 0 || word(10) > 1 || word(end + 5) != 41;
    let has_known_option = octets[end..].windows(2).any(|w| w[0] == 0 && matches!(w[1], 5..=14));
    has_other_records || has_known_option
}

#[test]
fn addresses_of_hints_are_those_the_oracle_wrote() {
    let name = oracle_name(b"\x01a\x07example\0");
    let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::LOCALHOST);
    let params = vec![
        (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A(v4), A(v4)]))),
        (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![AAAA(v6)]))),
    ];
    let mut message = Message::response(1, OpCode::Query);
    message.add_query(OracleQuery::query(name.clone(), OracleType::HTTPS));
    message.add_answer(Record::from_rdata(name, 60, RData::HTTPS(HTTPS(SVCB::new(1, OracleName::root(), params)))));
    let question =
        Question { qname: Name::from_text("a.example").unwrap(), qtype: RecordType::HTTPS, qclass: CLASS_IN };
    let answer = Answer::from_wire(&message.to_vec().unwrap(), &question).unwrap();
    let addresses: Vec<_> = answer.addresses(Section::Answer).collect();
    assert_eq!(addresses, [v4.into(), v4.into(), std::net::IpAddr::from(v6)]);
    assert_eq!(answer.target_names(Section::Answer).count(), 0);
}
