//! A question as it arrived: header, question, EDNS as asked, and where it came from.
//!
//! [`read`] turns a datagram or a TCP message into a [`Query`] or into the answer code a bad one gets. It reads every
//! section to the end, so that a message that lies about its length is FORMERR and nothing of it is used.

use std::net::{IpAddr, SocketAddr};

use crate::engine::client::{Realm, Token};
use crate::engine::cookie::{Cookie, Cookies, Told};
use crate::engine::identity;
use crate::engine::limits::{NAME_OCTETS_MAX, UDP_PAYLOAD_MAX, UDP_PAYLOAD_MIN};
use crate::engine::name::{Name, plain_wire};
use crate::engine::structured;

/// DNS record types that the engine names; any other passes as its number (RFC 3597).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct RecordType(pub u16);

impl RecordType {
    pub const A: RecordType = RecordType(1);
    pub const NS: RecordType = RecordType(2);
    pub const CNAME: RecordType = RecordType(5);
    pub const SOA: RecordType = RecordType(6);
    pub const PTR: RecordType = RecordType(12);
    pub const HINFO: RecordType = RecordType(13);
    pub const MX: RecordType = RecordType(15);
    pub const TXT: RecordType = RecordType(16);
    pub const AAAA: RecordType = RecordType(28);
    pub const SRV: RecordType = RecordType(33);
    pub const DNAME: RecordType = RecordType(39);
    pub const OPT: RecordType = RecordType(41);
    pub const DS: RecordType = RecordType(43);
    pub const RRSIG: RecordType = RecordType(46);
    pub const NSEC: RecordType = RecordType(47);
    pub const NSEC3: RecordType = RecordType(50);
    pub const DNSKEY: RecordType = RecordType(48);
    pub const SVCB: RecordType = RecordType(64);
    pub const HTTPS: RecordType = RecordType(65);
    pub const TKEY: RecordType = RecordType(249);
    pub const TSIG: RecordType = RecordType(250);
    pub const IXFR: RecordType = RecordType(251);
    pub const AXFR: RecordType = RecordType(252);
    pub const MAILB: RecordType = RecordType(253);
    pub const MAILA: RecordType = RecordType(254);
    pub const ANY: RecordType = RecordType(255);
    pub const CAA: RecordType = RecordType(257);
}

/// Class IN. RFC 1035 §3.2.4.
pub const CLASS_IN: u16 = 1;
/// Class CH, used for `version.bind` and its like.
pub const CLASS_CH: u16 = 3;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Canonical.
    pub qname: Name,
    pub qtype: RecordType,
    pub qclass: u16,
}

/// The transport a question came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
    /// DNS over TLS, RFC 7858.
    Tls,
    /// DNS over HTTPS, RFC 8484, whichever version of HTTP.
    Https,
    /// DNS over QUIC, RFC 9250.
    Quic,
}

impl Transport {
    /// How many there are.
    pub const COUNT: usize = 5;
    pub const ALL: [Transport; Transport::COUNT] =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic];

    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "dot",
            Transport::Https => "doh",
            Transport::Quic => "doq",
        }
    }

    /// Messages follow each other on a connection that both sides know: what RFC 7828 is about.
    pub fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }

    /// Nobody on the way reads it: padding hides sizes (RFC 7830 §6), and reasons reach people as they were said.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Https | Transport::Quic)
    }
}

/// Where a question came from and where it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client; a v4-mapped address is already unmapped.
    pub source: SocketAddr,
    /// The address the client asked; `None` where the listener cannot know it.
    pub local: Option<IpAddr>,
    pub transport: Transport,
    /// What the client, or whoever stands before it, says that it is; believed as far as where it came from is.
    pub identity: Option<Token>,
    /// Which of several networks with the same addresses it came from.
    pub realm: Realm,
    /// Where the answer goes, when a proxy asks in the client's place.
    pub via: Option<Via>,
}

/// The connection, or the datagram's way, between a proxy and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via {
    pub proxy: SocketAddr,
    /// Our own address there.
    pub local: Option<IpAddr>,
}

impl Origin {
    /// Of a client that nobody says anything of.
    pub fn new(source: SocketAddr, local: Option<IpAddr>, transport: Transport) -> Origin {
        Origin { source, local, transport, identity: None, realm: Realm::default(), via: None }
    }

    /// Where an answer is sent to, and from which address of ours.
    pub fn reply_to(&self) -> (SocketAddr, Option<IpAddr>) {
        self.via.map_or((self.source, self.local), |via| (via.proxy, via.local))
    }
}

/// A query that can be answered.
#[derive(Debug, Clone)]
pub struct Query {
    pub id: u16,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
    /// AD in a query: "tell me whether it was validated". RFC 6840 §5.7.
    pub authentic_data: bool,
    pub question: Question,
    /// The question's name as the client spelled it: the reply keeps its case (I10).
    pub spelling: Spelling,
    pub edns: Option<Edns>,
    /// Of the message: what an answer is measured against before it counts as amplified.
    pub octets: u16,
}

/// A question about the root: room for one that is read.
impl Default for Query {
    fn default() -> Query {
        Query {
            id: 0,
            recursion_desired: false,
            checking_disabled: false,
            authentic_data: false,
            question: Question { qname: Name::ROOT, qtype: RecordType(0), qclass: 0 },
            spelling: Spelling::ROOT,
            edns: None,
            octets: 0,
        }
    }
}

/// The wire octets of a name with the case a client used; as long as the canonical name.
#[derive(Clone, Copy)]
pub struct Spelling {
    len: u8,
    octets: [u8; NAME_OCTETS_MAX],
}

impl Spelling {
    const ROOT: Spelling = Spelling { len: 1, octets: [0; NAME_OCTETS_MAX] };

    pub fn as_wire(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    pub fn of(name: &Name) -> Spelling {
        let mut octets = [0; NAME_OCTETS_MAX];
        octets[..name.as_wire().len()].copy_from_slice(name.as_wire());
        Spelling { len: name.as_wire().len() as u8, octets }
    }
}

impl std::fmt::Debug for Spelling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spelling(")?;
        crate::engine::name::write_wire(self.as_wire(), f)?;
        f.write_str(")")
    }
}

/// What a client's OPT record asked for. RFC 6891 §6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Edns {
    pub version: u8,
    /// As sent; [`Edns::reply_limit`] bounds it.
    pub udp_payload: u16,
    pub dnssec_ok: bool,
    /// Option 3, RFC 5001.
    pub nsid: bool,
    /// Option 11, RFC 7828; it means something on [streams](Transport::is_stream) alone.
    pub keepalive: bool,
    /// Option [`structured::OPTION`]: reasons are read by a program.
    pub structured: bool,
    /// Option 12, RFC 7830: answers on an encrypted channel are padded.
    pub padding: bool,
    /// Option 10, RFC 7873.
    pub cookie: Option<Cookie>,
    /// What a router says of the client: [`identity::MAC_OPTION`] or [`identity::CPE_ID_OPTION`]. It is a trusted one's word or
    /// nobody's, and goes no further than to the look-up of the client.
    pub client_id: Option<Token>,
    /// The cookie that the answer carries, once somebody judged the client's.
    pub told: Option<Told>,
}

impl Edns {
    /// Judges the client's cookie, if it sent one, for the answer to carry ours. `now`: seconds since 1970.
    pub fn meet(&mut self, cookies: &Cookies, source: IpAddr, now: impl FnOnce() -> u64) {
        self.told = self.cookie.map(|cookie| cookies.meet(cookie, source, now()));
    }

    /// Octets a UDP answer to this client may have.
    pub fn reply_limit(&self) -> usize {
        usize::from(self.udp_payload.clamp(UDP_PAYLOAD_MIN, UDP_PAYLOAD_MAX))
    }
}

/// The fixed part of a message, as far as it decides whether anybody is answered at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub id: u16,
    pub flags: u16,
}

impl Header {
    pub const LEN: usize = 12;
    const QR: u16 = 0x8000;
    const RD: u16 = 0x0100;
    const AD: u16 = 0x0020;
    const CD: u16 = 0x0010;

    /// The header of something that may be answered. `None`: a runt or a response; silence (DESIGN §2, step 1).
    pub fn peek(message: &[u8]) -> Option<Header> {
        let header: &[u8; Header::LEN] = message.first_chunk()?;
        let flags = u16::from_be_bytes([header[2], header[3]]);
        // Answering a response is how two servers start a loop that never ends.
        if flags & Header::QR != 0 {
            return None;
        }
        Some(Header { id: u16::from_be_bytes([header[0], header[1]]), flags })
    }

    pub fn opcode(self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }
}

/// A message that gets an error code instead of an answer, with as much of it as could be read.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub header: Header,
    pub rcode: Rcode,
    /// Echoed when it was whole.
    pub question: Option<(Question, Spelling)>,
    pub edns: Option<Edns>,
}

/// Response codes, with the upper bits that travel in OPT. RFC 6895 §2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Rcode(pub u16);

impl Rcode {
    pub const NOERROR: Rcode = Rcode(0);
    pub const FORMERR: Rcode = Rcode(1);
    pub const SERVFAIL: Rcode = Rcode(2);
    pub const NXDOMAIN: Rcode = Rcode(3);
    pub const NOTIMP: Rcode = Rcode(4);
    pub const REFUSED: Rcode = Rcode(5);
    /// A DNAME made the name too long. RFC 6672 §2.2.
    pub const YXDOMAIN: Rcode = Rcode(6);
    pub const BADVERS: Rcode = Rcode(16);
    /// RFC 7873 §8.
    pub const BADCOOKIE: Rcode = Rcode(23);

    /// Whether it says something about a name, be it that there is none; any other code is a failure to resolve.
    pub fn is_answer(self) -> bool {
        matches!(self, Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::YXDOMAIN)
    }

    /// The metric label: the few codes we count apart, else `other`.
    pub fn as_str(self) -> &'static str {
        match self {
            Rcode::NOERROR => "NOERROR",
            Rcode::FORMERR => "FORMERR",
            Rcode::SERVFAIL => "SERVFAIL",
            Rcode::NXDOMAIN => "NXDOMAIN",
            Rcode::NOTIMP => "NOTIMP",
            Rcode::REFUSED => "REFUSED",
            Rcode::BADVERS => "BADVERS",
            Rcode(_) => "other",
        }
    }
}

/// Reads a whole message whose header [`Header::peek`] let through.
///
/// # Errors
/// The [`Refusal`] says which code the sender gets: NOTIMP for another opcode, FORMERR for anything that cannot be read
/// or does not hold exactly one question (RFC 9619), BADVERS for EDNS above 0 (RFC 6891 §6.1.3). NOERROR for one that
/// asks for a cookie alone.
pub fn read(message: &[u8], header: Header) -> Result<Query, Box<Refusal>> {
    let mut query = Query::default();
    read_into(message, header, &mut query)?;
    Ok(query)
}

/// As [`read`], into a query that was another's: it is large, and most messages are good.
pub fn read_into(message: &[u8], header: Header, query: &mut Query) -> Result<(), Box<Refusal>> {
    query.id = header.id;
    query.recursion_desired = header.flags & Header::RD != 0;
    query.checking_disabled = header.flags & Header::CD != 0;
    query.authentic_data = header.flags & Header::AD != 0;
    query.edns = None;
    query.octets = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut has_question = false;
    let whole = read_sections(&mut Reader { message, at: Header::LEN }, query, &mut has_question);
    let asks_for_cookie = whole == Some(0) && query.edns.is_some_and(|edns| edns.cookie.is_some());
    let rcode = if header.opcode() != 0 {
        // What stands there is another opcode's; only its OPT is everybody's.
        has_question = false;
        Rcode::NOTIMP
    } else if whole != Some(1) && !asks_for_cookie {
        Rcode::FORMERR
    } else if query.edns.is_some_and(|e| e.version > 0) {
        Rcode::BADVERS
    } else if asks_for_cookie {
        // RFC 7873 §5.4: a client may ask for a cookie and nothing else.
        Rcode::NOERROR
    } else if let Some(rcode) = meta_type_refusal(query.question.qtype) {
        rcode
    } else {
        return Ok(());
    };
    let question = has_question.then(|| (query.question.clone(), query.spelling));
    Err(Box::new(Refusal { header, rcode, question, edns: query.edns }))
}

/// Types that are no data and cannot be asked of a forwarder.
fn meta_type_refusal(qtype: RecordType) -> Option<Rcode> {
    match qtype {
        // Type 0 is reserved, OPT and TSIG are no question types, NXNAME (128) must not be asked (RFC 9824 §3.5).
        RecordType(0) | RecordType::OPT | RecordType::TSIG | RecordType(128) => Some(Rcode::FORMERR),
        RecordType::TKEY | RecordType::MAILA | RecordType::MAILB => Some(Rcode::NOTIMP),
        // A forwarder has no zones to give away.
        RecordType::AXFR | RecordType::IXFR => Some(Rcode::REFUSED),
        _ => None,
    }
}

/// Fills `out` with the question and the OPT, and says how many questions there are; `None` at the first thing that cannot
/// be. The OPT stays in `out` also then: RFC 6891 §7 wants one back wherever one was sent. `has_question`: there was
/// one question, and it was whole.
fn read_sections(reader: &mut Reader<'_>, out: &mut Query, has_question: &mut bool) -> Option<u16> {
    let counts: [u16; 4] =
        std::array::from_fn(|i| u16::from_be_bytes([reader.message[4 + 2 * i], reader.message[5 + 2 * i]]));
    // RFC 9619 §4: more than one question is FORMERR.
    let is_one = counts[0] == 1;
    for _ in 0..counts[0] {
        reader.question(out)?;
        *has_question = is_one;
    }
    for (section, &count) in counts[1..].iter().enumerate() {
        for _ in 0..count {
            let record = reader.record()?;
            if record.rtype != RecordType::OPT {
                continue;
            }
            // RFC 6891 §6.1.1: one OPT, in the additional section, owned by the root.
            if section != 2 || out.edns.is_some() || !record.root_owner {
                out.edns = None;
                return None;
            }
            let (edns, has_good_cookie) = read_opt(&record)?;
            out.edns = Some(edns);
            if !has_good_cookie {
                return None;
            }
        }
    }
    Some(counts[0])
}

/// An OPT, and whether its cookie, if it has one, has a length that cookies have.
fn read_opt(record: &RawRecord<'_>) -> Option<(Edns, bool)> {
    let [_extended_rcode, version, flags, _] = record.ttl.to_be_bytes();
    let mut edns = Edns { version, udp_payload: record.class, dnssec_ok: flags & 0x80 != 0, ..Edns::default() };
    let mut has_good_cookie = true;
    let mut options = record.rdata;
    while !options.is_empty() {
        let (head, rest) = options.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        rest.get(..len)?;
        // Client subnet and client-identity options end here: nothing keeps them, so nothing can pass them on.
        match u16::from_be_bytes([head[0], head[1]]) {
            // Of several the last counts: a router puts its own behind what a device sent.
            code @ (identity::MAC_OPTION | identity::CPE_ID_OPTION) => {
                edns.client_id = identity::of_option(code, &rest[..len]);
            }
            3 => edns.nsid = true,
            // RFC 7873 §4: of several the first counts.
            10 if edns.cookie.is_none() => {
                edns.cookie = Cookie::read(&rest[..len]);
                has_good_cookie &= edns.cookie.is_some();
            }
            11 => edns.keepalive = true,
            // One with data is to be ignored.
            structured::OPTION => edns.structured |= len == 0,
            12 => edns.padding = true,
            _ => {}
        }
        options = &rest[len..];
    }
    Some((edns, has_good_cookie))
}

/// A cursor over a message. Each step is `None` when the octets end or cannot be.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

struct RawRecord<'a> {
    root_owner: bool,
    rtype: RecordType,
    class: u16,
    ttl: u32,
    rdata: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let octets = self.message.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*octets)
    }

    /// The question. Its name is the first of the message, so a compression pointer in it can only be an attack.
    fn question(&mut self, out: &mut Query) -> Option<()> {
        let wire = plain_wire(self.message.get(self.at..)?)?;
        self.at += wire.len();
        out.question.qtype = RecordType(u16::from_be_bytes(self.take()?));
        out.question.qclass = u16::from_be_bytes(self.take()?);
        out.question.qname.set_plain(wire);
        out.spelling.octets[..wire.len()].copy_from_slice(wire);
        out.spelling.len = wire.len() as u8;
        Some(())
    }

    fn record(&mut self) -> Option<RawRecord<'a>> {
        // An OPT's owner is the root, and few queries have another record.
        let root_owner = if self.message.get(self.at) == Some(&0) {
            self.at += 1;
            true
        } else {
            let (owner, end) = Name::read(self.message, self.at).ok()?;
            self.at = end;
            owner.is_root()
        };
        let rtype = RecordType(u16::from_be_bytes(self.take()?));
        let class = u16::from_be_bytes(self.take()?);
        let ttl = u32::from_be_bytes(self.take()?);
        let len = usize::from(u16::from_be_bytes(self.take()?));
        let rdata = self.message.get(self.at..self.at + len)?;
        self.at += len;
        Some(RawRecord { root_owner, rtype, class, ttl, rdata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn read_hex(text: &str) -> Result<Query, Rcode> {
        let message = hex(text);
        read(&message, Header::peek(&message).unwrap()).map_err(|r| r.rcode)
    }

    const QUESTION: &str = "026f6b076578616d706c6504746573740000010001";

    #[test]
    fn a_plain_query_is_read_and_its_case_kept() {
        let q = read_hex("12340110000100000000000003576542076578616d706c650000010001").unwrap();
        assert_eq!((q.id, q.recursion_desired, q.checking_disabled), (0x1234, true, true));
        assert_eq!(q.question.qname.to_string(), "web.example");
        assert_eq!(q.spelling.as_wire(), b"\x03WeB\x07example\0");
        assert_eq!(q.edns, None);
    }

    #[test]
    fn runts_and_responses_are_not_answered() {
        for silent in ["", "12", "1234010000010000000000", "123481000001000000000000"] {
            assert_eq!(Header::peek(&hex(silent)), None, "{silent}");
        }
    }

    #[test]
    fn a_refused_message_gets_its_opt_back_if_it_can_be_read() {
        let opt = "0000290400000080000000";
        for (what, message, rcode, has_opt) in [
            ("opcode status", format!("123411000001000000000001{QUESTION}{opt}"), Rcode::NOTIMP, true),
            (
                "notify with an SOA",
                format!("123421000001000100000001{QUESTION}c00c0006000100000000000100{opt}"),
                Rcode::NOTIMP,
                true,
            ),
            ("opcode without a question", format!("123431000000000000000001{opt}"), Rcode::NOTIMP, true),
            ("opcode, cut", format!("123411000001000000000001{QUESTION}{}", &opt[..20]), Rcode::NOTIMP, false),
            ("no question", format!("123401000000000000000001{opt}"), Rcode::FORMERR, true),
            ("two questions", format!("123401000002000000000001{QUESTION}{QUESTION}{opt}"), Rcode::FORMERR, true),
            ("a question cut", format!("123401000002000000000001{QUESTION}026f"), Rcode::FORMERR, false),
            ("cut behind it", format!("123401000001000000000002{QUESTION}{opt}00"), Rcode::FORMERR, true),
            ("cut before it", format!("123401000001000100000001{QUESTION}c00c00"), Rcode::FORMERR, false),
            // RFC 6891 §6.1.1: neither of two is the one.
            ("two OPTs", format!("123401000001000000000002{QUESTION}{opt}{opt}"), Rcode::FORMERR, false),
            ("OPT in authority", format!("123401000001000000010000{QUESTION}{opt}"), Rcode::FORMERR, false),
            (
                "one of them in authority",
                format!("123401000001000000010001{QUESTION}{opt}{opt}"),
                Rcode::FORMERR,
                false,
            ),
            ("a meta type", format!("123401000001000000000001{}00fa0001{opt}", &QUESTION[..34]), Rcode::FORMERR, true),
        ] {
            let message = hex(&message);
            let refusal = read(&message, Header::peek(&message).unwrap()).unwrap_err();
            assert_eq!((refusal.rcode, refusal.edns.is_some()), (rcode, has_opt), "{what}");
            assert!(refusal.edns.is_none_or(|edns| edns.dnssec_ok && edns.udp_payload == 1024), "{what}");
            assert!(refusal.rcode != Rcode::NOTIMP || refusal.question.is_none(), "{what}");
        }
    }

    #[test]
    fn bad_messages_get_their_code() {
        let opt = "0000290400000000000000";
        let opt_v5 = "0000290400000500000000";
        for (what, message, rcode) in [
            ("header alone", "123401000001000000000000".to_owned(), Rcode::FORMERR),
            ("no question", "123401000000000000000000".to_owned(), Rcode::FORMERR),
            ("two questions", format!("123401000002000000000000{QUESTION}{QUESTION}"), Rcode::FORMERR),
            ("opcode status", format!("123411000001000000000000{QUESTION}"), Rcode::NOTIMP),
            ("missing additional", format!("123401000001000000000001{QUESTION}"), Rcode::FORMERR),
            ("two OPTs", format!("123401000001000000000002{QUESTION}{opt}{opt}"), Rcode::FORMERR),
            ("OPT in authority", format!("123401000001000000010000{QUESTION}{opt}"), Rcode::FORMERR),
            ("EDNS version 5", format!("123401000001000000000001{QUESTION}{opt_v5}"), Rcode::BADVERS),
            (
                "option overrun",
                format!("123401000001000000000001{QUESTION}000029040000000000000400030009"),
                Rcode::FORMERR,
            ),
            ("pointer as name", "123401000001000000000000c00c00010001".to_owned(), Rcode::FORMERR),
            ("AXFR", "1234010000010000000000000000fc0001".to_owned(), Rcode::REFUSED),
            ("type 0", "12340100000100000000000000 00000001".replace(' ', ""), Rcode::FORMERR),
        ] {
            assert_eq!(read_hex(&message).unwrap_err(), rcode, "{what}");
        }
    }

    #[test]
    fn the_opt_is_read() {
        let q =
            read_hex(&format!("123401000001000000000001{QUESTION}0000290400000080000004000300 00").replace(' ', ""));
        let edns = q.unwrap().edns.unwrap();
        assert!(edns.dnssec_ok);
        assert!(edns.nsid);
        assert_eq!(edns.udp_payload, 1024);
        for (asked, limit) in [(0, 512), (511, 512), (1232, 1232), (65535, 1232)] {
            assert_eq!(Edns { udp_payload: asked, ..edns }.reply_limit(), limit);
        }
    }

    #[test]
    fn an_option_asks_for_reasons_that_programs_read() {
        for (option, is_asked) in [("001a0000", true), ("001a000161", false), ("00190000", false)] {
            let len = option.len() / 2;
            let text = format!("123401000001000000000001{QUESTION}00002904d000000000{len:04x}{option}");
            assert_eq!(read_hex(&text).unwrap().edns.unwrap().structured, is_asked, "{option}");
        }
    }

    #[test]
    fn a_routers_word_about_its_client_is_read() {
        let opt = "0000 29 04d0 00000000";
        for (options, identity) in [
            ("fde9 0006 a0b1c2d3e4f5", identity::configured("a0:b1:c2:d3:e4:f5")),
            ("fe32 0006 6c6f702d3661", identity::configured("lop-6a")),
            ("fe32 0001 61 fde9 0006 a0b1c2d3e4f5", identity::configured("a0:b1:c2:d3:e4:f5")),
            ("fde9 0000", None),
            ("", None),
        ] {
            let options: String = options.split_whitespace().collect();
            let text = format!("123401000001000000000001{QUESTION}{opt}{:04x}{options}", options.len() / 2);
            let query = read_hex(&text.replace(' ', "")).unwrap();
            assert_eq!(query.edns.unwrap().client_id, identity, "{options}");
        }
    }

    #[test]
    fn client_subnet_of_any_shape_is_read_over() {
        // Family 0, prefix 0: what `dig +subnet=0` sends.
        let q = read_hex(
            &format!("123401000001000000000001{QUESTION}00002904d000000000000800080004000000 00").replace(' ', ""),
        );
        assert!(q.is_ok());
    }
}
