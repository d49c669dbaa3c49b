//! Short answers of our own, as most blocks are: the question, at most one record and an OPT with one extended error.
//!
//! The same octets as [`encoder`] writes, without looking for names to compress: where they can point to is known.

use std::net::IpAddr;

use crate::engine::answer::{RecordRef, Section};
use crate::engine::limits::{EDE_TEXT_OCTETS_MAX, NAME_OCTETS_MAX, UDP_PAYLOAD_MIN};
use crate::engine::name::Name;
use crate::engine::query::{CLASS_IN, Header, Query, Rcode, RecordType, Transport};
use crate::engine::reply::encoder::{self, COOKIE_OPTION_OCTETS, EdeText, OPT_OCTETS};
use crate::engine::reply::{SOA_NAMES, put_address, soa_rdata};

/// The only record of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Own<'q> {
    /// The question's name has it.
    Address { address: IpAddr, ttl: u32 },
    /// `owner` is the question's name or the end of it.
    Soa { owner: &'q [u8], ttl: u32 },
}

/// Room for a record's RDATA.
pub(super) type OwnData = [u8; SOA_OCTETS];

const SOA_OCTETS: usize = SOA_NAMES.len() + 20;
/// The second name of [`SOA_NAMES`] as it is written: its first label, and a pointer to the end of the first name.
const MAILBOX: &[u8; 7] = b"\x06nobody";
/// Where the names' last label stands in the first.
const LAST_LABEL: usize = 7;
/// Octets of the first name.
const SERVER: usize = 16;
const _: () = assert!(SOA_NAMES[SERVER] == MAILBOX[0] && SOA_NAMES[LAST_LABEL] as usize == SERVER - LAST_LABEL - 2);

/// Octets of the largest of these answers, which every client takes.
const LARGEST: usize = Header::LEN
    + NAME_OCTETS_MAX
    + 4
    + (2 + 10 + SOA_OCTETS)
    + OPT_OCTETS
    + COOKIE_OPTION_OCTETS
    + 6
    + EDE_TEXT_OCTETS_MAX;
const _: () = assert!(LARGEST <= UDP_PAYLOAD_MIN as usize);

impl<'q> Own<'q> {
    pub(super) fn as_record<'a>(&self, qname: &'a Name, rdata: &'a mut OwnData) -> RecordRef<'a>
    where
        'q: 'a,
    {
        let record =
            |section, owner, rtype, ttl, rdata| RecordRef { section, owner, rtype, class: CLASS_IN, ttl, rdata };
        match *self {
            Own::Address { address, ttl } => {
                let mut octets = [0; 16];
                let (rtype, len) = put_address(address, &mut octets);
                rdata[..len].copy_from_slice(&octets[..len]);
                record(Section::Answer, qname.as_wire(), rtype, ttl, &rdata[..len])
            }
            Own::Soa { owner, ttl } => {
                *rdata = soa_rdata(ttl);
                record(Section::Authority, owner, RecordType::SOA, ttl, rdata)
            }
        }
    }
}

/// Writes the answer. `false`: more is asked for than it can say, and nothing is written.
pub(super) fn write(
    query: &Query,
    transport: Transport,
    rcode: Rcode,
    record: Option<Own<'_>>,
    ede: &EdeText<'_>,
    out: &mut Vec<u8>,
) -> bool {
    if query.edns.is_some_and(|edns| edns.nsid) {
        return false;
    }
    let question = &query.question;
    out.clear();
    out.extend_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    encoder::put_head(out, query, rcode, false);
    out.extend_from_slice(query.spelling.as_wire());
    out.extend_from_slice([question.qtype.0.to_be_bytes(), question.qclass.to_be_bytes()].as_flattened());
    match record {
        None => {}
        Some(Own::Address { address, ttl }) => {
            out[7] = 1;
            let mut octets = [0; 16];
            let (rtype, len) = put_address(address, &mut octets);
            put_record_head(out, Header::LEN, rtype, ttl, len);
            out.extend_from_slice(&octets[..len]);
        }
        Some(Own::Soa { owner, ttl }) => {
            out[9] = 1;
            let owner_at = Header::LEN + question.qname.as_wire().len() - owner.len();
            let rdata = soa_rdata(ttl);
            let (names, numbers) = rdata.split_at(SOA_NAMES.len());
            put_record_head(out, owner_at, RecordType::SOA, ttl, SERVER + MAILBOX.len() + 2 + numbers.len());
            let server_at = out.len();
            out.extend_from_slice(&names[..SERVER]);
            out.extend_from_slice(MAILBOX);
            out.extend_from_slice(&pointer_to(server_at + LAST_LABEL));
            out.extend_from_slice(numbers);
        }
    }
    if let Some(edns) = &query.edns {
        encoder::put_opt(out, edns, transport, rcode, Some(ede));
    }
    let largest = query.edns.filter(|edns| edns.structured).map_or(LARGEST, |edns| edns.reply_limit());
    debug_assert!(transport != Transport::Udp || out.len() <= largest, "{} octets", out.len());
    true
}

/// Owner, type, class, TTL and length of a record; the owner stands at `owner_at`.
fn put_record_head(out: &mut Vec<u8>, owner_at: usize, rtype: RecordType, ttl: u32, len: usize) {
    let ([a, b], [c, d]) = (pointer_to(owner_at), rtype.0.to_be_bytes());
    let ([e, f, g, h], [i, j]) = (ttl.to_be_bytes(), (len as u16).to_be_bytes());
    out.extend_from_slice(&[a, b, c, d, 0, CLASS_IN as u8, e, f, g, h, i, j]);
}

/// RFC 1035 §4.1.4.
fn pointer_to(at: usize) -> [u8; 2] {
    (0xc000 | at as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::query::{Edns, Question, Spelling};
    use crate::engine::reply::encoder::{Response, TtlRule};
    use crate::engine::structured::Structured;
    use crate::engine::verdict::EdeCode;

    fn query(qname: &str, edns: Option<Edns>) -> Query {
        let qname = Name::from_text(qname).unwrap();
        Query {
            octets: 40,
            id: 0x1234,
            recursion_desired: true,
            checking_disabled: edns.is_some(),
            authentic_data: true,
            spelling: Spelling::of(&qname),
            question: Question { qname, qtype: RecordType::A, qclass: CLASS_IN },
            edns,
        }
    }

    #[test]
    fn the_octets_are_the_encoders() {
        let label = |octet: char, len| octet.to_string().repeat(len);
        let longest = [label('a', 63), label('b', 63), label('c', 63), label('d', 61)].join(".");
        let long_text = "x".repeat(100);
        let structured_text = format!(r#"{{"j":"{}"}}"#, "ữ".repeat(60));
        let edns =
            Edns { version: 0, udp_payload: 512, dnssec_ok: true, nsid: false, keepalive: true, ..Edns::default() };
        for qname in ["example", "www.a.example", &longest] {
            let others = [
                Edns { dnssec_ok: false, udp_payload: 0, padding: true, ..edns },
                Edns { structured: true, ..edns },
                Edns { structured: true, udp_payload: 1232, padding: true, ..edns },
            ];
            for edns in [None, Some(edns)].into_iter().chain(others.map(Some)) {
                let query = query(qname, edns);
                let whole = &query.question.qname;
                let addresses = ["0.0.0.0", "2001:db8::1"].map(|text| text.parse().unwrap());
                let records = [None, Some(Own::Soa { owner: whole.as_wire(), ttl: 10 })].into_iter();
                let records = records.chain(addresses.map(|address| Some(Own::Address { address, ttl: 60 })));
                let above = Own::Soa { owner: whole.suffix_wire(2), ttl: u32::MAX };
                for record in records.chain([Some(above)]) {
                    let structured = Some(Structured { full: &structured_text, short: r#"{"s":5}"# });
                    for (rcode, text, structured) in [
                        (Rcode::NXDOMAIN, "", None),
                        (Rcode::BADVERS, "blocked: ", structured),
                        (Rcode(0), &long_text, structured),
                    ] {
                        let ede = [EdeText { code: EdeCode::BLOCKED, text, detail: "games", structured }];
                        let ttl = TtlRule::Age { secs: 0, max: u32::MAX };
                        let response = Response { ttl, ..Response::code(rcode) };
                        let mut rdata = [0; _];
                        let as_record = record.map(|record| record.as_record(whole, &mut rdata)).into_iter();
                        for transport in Transport::ALL {
                            let mut short = vec![7; 3];
                            assert!(write(&query, transport, rcode, record, &ede[0], &mut short));
                            let mut long = Vec::new();
                            encoder::write_explained(
                                &query,
                                transport,
                                &response,
                                ede[0],
                                as_record.clone(),
                                &mut long,
                            );
                            assert_eq!(short, long, "{qname} {edns:?} {transport:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_asks_for_more_is_left_to_the_encoder() {
        let edns =
            Edns { version: 0, udp_payload: 1232, dnssec_ok: false, nsid: false, keepalive: false, ..Edns::default() };
        let ede = EdeText::new(EdeCode::BLOCKED, "");
        for transport in Transport::ALL {
            for (edns, is_short) in [(edns, true), (Edns { nsid: true, ..edns }, false)] {
                let query = query("a.example", Some(edns));
                let done = write(&query, transport, Rcode::NXDOMAIN, None, &ede, &mut Vec::new());
                assert_eq!(done, is_short, "{edns:?} {transport:?}");
            }
        }
    }
}
