//! Our question as hickory-proto's message: RD, EDNS with our payload, DO and CD as asked, nothing of the client.

use hickory_proto::op::{DnsRequest, DnsRequestOptions, Edns, Message, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::Ask;
use crate::engine::limits::UDP_PAYLOAD_MAX;

/// A message with a fresh random id. AD is set so that upstream tells us AD (RFC 6840 §5.7).
pub fn request(ask: &Ask, edns: bool) -> DnsRequest {
    let wire = ask.question.qname.as_wire();
    let qname = Name::read(&mut BinDecoder::new(wire)).expect("a canonical name is a valid name");
    let mut query = Query::query(qname, RecordType::from(ask.question.qtype.0));
    query.set_query_class(DNSClass::from(ask.question.qclass));
    let mut message = Message::query();
    message.add_query(query);
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = true;
    message.metadata.checking_disabled = ask.checking_disabled;
    if edns {
        let mut opt = Edns::new();
        opt.set_max_payload(UDP_PAYLOAD_MAX).set_version(0).set_dnssec_ok(ask.dnssec_ok);
        message.set_edns(opt);
    }
    DnsRequest::new(message, DnsRequestOptions::default())
}
