//! A question to an upstream server in octets, and whether a datagram is the reply to it.

use crate::engine::answer;
use crate::engine::limits::UDP_PAYLOAD_MAX;
use crate::engine::name::Name;
use crate::engine::query::{Question, RecordType};

/// Flags of a question: RD, and AD so that upstream tells us AD (RFC 6840 §5.7).
const RD_AD: u16 = 0x0120;
const CD: u16 = 0x0010;

/// Writes our question: RD, EDNS with our payload, DO and CD as asked, nothing of the client. The id is left zero.
pub fn write_question(question: &Question, dnssec_ok: bool, checking_disabled: bool, edns: bool, out: &mut Vec<u8>) {
    out.clear();
    let flags = RD_AD | if checking_disabled { CD } else { 0 };
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
    out.extend_from_slice(question.qname.as_wire());
    out.extend_from_slice(&question.qtype.0.to_be_bytes());
    out.extend_from_slice(&question.qclass.to_be_bytes());
    if edns {
        out.push(0);
        out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
        out.extend_from_slice(&UDP_PAYLOAD_MAX.to_be_bytes());
        out.extend_from_slice(&[0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
    }
}

/// Whether QR and question say that a datagram with the right id answers `query`. RFC 5452 §9.1.
pub fn is_reply(datagram: &[u8], query: &[u8]) -> bool {
    let Some(header) = datagram.first_chunk::<12>() else { return false };
    if header[..2] != query[..2] || header[2] & 0x80 == 0 {
        return false;
    }
    match header[4..6] {
        [0, 0] => true,
        [0, 1] => question(datagram).is_some_and(|of_reply| question(query) == Some(of_reply)),
        _ => false,
    }
}

/// As [`is_reply`], for a datagram whose id is known to be right.
pub fn is_reply_to(datagram: &[u8], question: &Question) -> bool {
    let Some(header) = datagram.first_chunk::<12>() else { return false };
    match header[4..6] {
        _ if header[2] & 0x80 == 0 => false,
        [0, 0] => true,
        [0, 1] => answer::asks(datagram, question),
        _ => false,
    }
}

/// Name, type and class of the first question.
fn question(message: &[u8]) -> Option<(Name, &[u8])> {
    let (qname, at) = Name::read(message, 12).ok()?;
    Some((qname, message.get(at..at + 4)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::query::{self, CLASS_IN, Header};

    #[test]
    fn a_question_reads_as_it_was_asked() {
        for (dnssec_ok, checking_disabled, edns) in [(false, false, true), (true, true, true), (false, true, false)] {
            let qname = Name::from_text("www.example").unwrap();
            let question = Question { qname, qtype: RecordType::AAAA, qclass: CLASS_IN };
            let mut out = vec![7; 3];
            write_question(&question, dnssec_ok, checking_disabled, edns, &mut out);
            let read = query::read(&out, Header::peek(&out).unwrap()).unwrap();
            assert_eq!(read.question, question);
            assert_eq!((read.recursion_desired, read.authentic_data), (true, true));
            assert_eq!((read.checking_disabled, read.edns.is_some()), (checking_disabled, edns));
            assert_eq!(read.edns.is_some_and(|e| e.dnssec_ok), dnssec_ok && edns);
            assert!(read.edns.is_none_or(|e| e.udp_payload == UDP_PAYLOAD_MAX));
        }
    }
}
