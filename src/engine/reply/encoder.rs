//! Octets of a reply: header, question, records, OPT.
//!
//! One encoder for every answer that leaves. The question goes back as it came, names are compressed, OPT is there exactly
//! when the client sent one — also on truncation —, and the size never exceeds what client and transport allow (I10).

use smallvec::SmallVec;

use crate::engine::answer::{RecordRef, Section, name_layout};
use crate::engine::cookie::COOKIE_OCTETS;
use crate::engine::limits::{EDE_TEXT_OCTETS_MAX, LABELS_MAX, TCP_IDLE, TLS_IDLE, UDP_PAYLOAD_MAX, UDP_PAYLOAD_MIN};
use crate::engine::name::Labels;
use crate::engine::query::{Edns, Query, Question, Rcode, RecordType, Refusal, Transport};
use crate::engine::structured::Structured;
use crate::engine::verdict::EdeCode;

/// How the encoder treats the TTLs of the records it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlRule {
    /// Less the age, in seconds, and at most `max`.
    Age { secs: u32, max: u32 },
    /// The same for every record.
    Fixed(u32),
}

impl TtlRule {
    /// The TTL to tell for a record that upstream gave this one.
    pub fn apply(self, ttl: u32) -> u32 {
        match self {
            TtlRule::Age { secs, max } => ttl.saturating_sub(secs).min(max),
            TtlRule::Fixed(ttl) => ttl,
        }
    }

    /// The same rule, and no TTL longer than this many seconds.
    #[must_use]
    pub fn at_most(self, secs_max: u32) -> TtlRule {
        match self {
            TtlRule::Age { secs, max } => TtlRule::Age { secs, max: max.min(secs_max) },
            TtlRule::Fixed(ttl) => TtlRule::Fixed(ttl.min(secs_max)),
        }
    }
}

/// An extended error for the answer: code and English text. RFC 8914.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdeText<'a> {
    pub code: EdeCode,
    pub text: &'a str,
    /// Goes on where `text` ends, so that nobody needs memory to join the two.
    pub detail: &'a str,
    /// What goes in place of both to a client that asked for it.
    pub structured: Option<Structured<'a>>,
}

impl EdeText<'_> {
    pub fn new(code: EdeCode, text: &str) -> EdeText<'_> {
        EdeText { code, text, detail: "", structured: None }
    }

    /// What is told to a client, of both parts or of the structured forms, in `room` octets of an option.
    fn texts(&self, edns: &Edns, room: usize) -> (&str, &str) {
        if let Some(structured) = self.structured.filter(|_| edns.structured) {
            let fits = |text: &&str| EDE_OCTETS + text.len() <= room;
            return ([structured.full, structured.short].into_iter().find(fits).unwrap_or(""), "");
        }
        let text = shorten(self.text, EDE_TEXT_OCTETS_MAX);
        (text, shorten(self.detail, EDE_TEXT_OCTETS_MAX - text.len()))
    }
}

/// What an answer says, apart from its records.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    pub rcode: Rcode,
    pub authentic_data: bool,
    pub ttl: TtlRule,
    pub ede: &'a [EdeText<'a>],
    /// NSID, when the client asked and the node has a name. RFC 5001.
    pub nsid: &'a [u8],
}

impl Response<'_> {
    /// A bare code.
    pub fn code(rcode: Rcode) -> Response<'static> {
        Response { rcode, authentic_data: false, ttl: TtlRule::Fixed(0), ede: &[], nsid: &[] }
    }
}

/// The octets an answer by `transport` may have.
pub fn size_limit(transport: Transport, edns: Option<&Edns>) -> usize {
    match transport {
        Transport::Udp => edns.map_or(usize::from(UDP_PAYLOAD_MIN), Edns::reply_limit),
        Transport::Tcp | Transport::Tls | Transport::Https | Transport::Quic => usize::from(u16::MAX),
    }
}

/// Writes the answer to a query.
pub fn write<'a>(
    query: &Query,
    transport: Transport,
    response: &Response<'_>,
    records: impl Iterator<Item = RecordRef<'a>> + Clone,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(ANSWER_OCTETS_USUAL);
    write_into(query, transport, response, records, &mut out);
    out
}

/// As [`write()`], into a buffer of the caller's; what it held is forgotten.
pub fn write_into<'a>(
    query: &Query,
    transport: Transport,
    response: &Response<'_>,
    records: impl Iterator<Item = RecordRef<'a>> + Clone,
    out: &mut Vec<u8>,
) {
    write_flagged(query, transport, response, records, RA, out);
}

/// As [`write_into`], with one extended error: a structured text that leaves the records no room gives way before an answer is
/// cut short.
pub fn write_explained<'a>(
    query: &Query,
    transport: Transport,
    response: &Response<'_>,
    ede: EdeText<'_>,
    records: impl Iterator<Item = RecordRef<'a>> + Clone,
    out: &mut Vec<u8>,
) {
    let forms = ede.structured.filter(|_| query.edns.is_some_and(|edns| edns.structured)).map(Structured::shorter);
    for structured in forms.iter().flatten().copied().map(Some) {
        let ede = [EdeText { structured, ..ede }];
        write_into(query, transport, &Response { ede: &ede, ..*response }, records.clone(), out);
        if out[2] & (TC >> 8) as u8 == 0 {
            return;
        }
    }
    if forms.is_none() {
        write_into(query, transport, &Response { ede: &[ede], ..*response }, records, out);
    }
}

/// Writes an empty answer that says it is not whole, so that the client asks again by TCP.
pub fn write_truncated(query: &Query, transport: Transport, response: &Response<'_>, out: &mut Vec<u8>) {
    write_flagged(query, transport, response, std::iter::empty(), RA | TC, out);
}

fn write_flagged<'a>(
    query: &Query,
    transport: Transport,
    response: &Response<'_>,
    records: impl Iterator<Item = RecordRef<'a>> + Clone,
    mut flags: u16,
    out: &mut Vec<u8>,
) {
    for (flag, is_set) in [(RD, query.recursion_desired), (CD, query.checking_disabled), (AD, response.authentic_data)]
    {
        if is_set {
            flags |= flag;
        }
    }
    let limit = size_limit(transport, query.edns.as_ref());
    let mut out = Encoder::new(query.id, flags, limit, out);
    out.question(&query.question, query.spelling.as_wire());
    out.reserve_opt(query.edns.as_ref(), response, transport);
    out.records(records, response.ttl);
    out.finish(response.rcode);
}

/// An answer as the cache keeps it.
#[derive(Debug, Default)]
pub struct StoredMessage {
    /// The message without an OPT: the question's name canonical, the id and every flag zero, the TTLs as upstream gave
    /// them.
    pub octets: Vec<u8>,
    /// Where each TTL stands in `octets`.
    pub ttl_at: SmallVec<[u16; 8]>,
}

/// Writes an answer for the cache. `None`: no message could hold it.
pub fn store<'a>(question: &Question, records: impl Iterator<Item = RecordRef<'a>> + Clone) -> Option<StoredMessage> {
    let mut stored = StoredMessage { octets: Vec::with_capacity(ANSWER_OCTETS_USUAL), ttl_at: SmallVec::new() };
    let mut out = Encoder::new(0, 0, usize::from(u16::MAX), &mut stored.octets);
    out.question(question, question.qname.as_wire());
    let count = records.clone().count();
    out.records(records, TtlRule::Age { secs: 0, max: u32::MAX });
    let is_whole = out.ttl_at.len() == count;
    let ttl_at = std::mem::take(&mut out.ttl_at);
    out.finish(Rcode::NOERROR);
    stored.ttl_at = ttl_at;
    is_whole.then_some(stored)
}

/// Puts id and flags of the reply to `query` over those of a message that the cache kept.
pub fn put_head(out: &mut [u8], query: &Query, rcode: Rcode, authentic_data: bool) {
    let mut flags = QR | RA | rcode.0 & 0xf;
    for (flag, is_set) in [(RD, query.recursion_desired), (CD, query.checking_disabled), (AD, authentic_data)] {
        flags |= if is_set { flag } else { 0 };
    }
    out[..2].copy_from_slice(&query.id.to_be_bytes());
    out[2..4].copy_from_slice(&flags.to_be_bytes());
}

/// Appends an OPT, with at most one extended error, to a message that has none, and counts it. The octets are those that
/// [`write()`] would write.
pub fn put_opt(out: &mut Vec<u8>, edns: &Edns, transport: Transport, rcode: Rcode, ede: Option<&EdeText<'_>>) {
    let count = u16::from_be_bytes([out[10], out[11]]) + 1;
    out[10..12].copy_from_slice(&count.to_be_bytes());
    let opt_at = out.len();
    let options_at = opt_at + OPT_OCTETS;
    out.extend_from_slice(&opt_head(edns, rcode));
    if let Some(told) = &edns.told {
        out.extend_from_slice([COOKIE_OPTION.to_be_bytes(), (told.octets.len() as u16).to_be_bytes()].as_flattened());
        out.extend_from_slice(&told.octets);
    }
    if let Some(ede) = ede {
        let keepalive = if edns.keepalive && transport.is_stream() { KEEPALIVE_OCTETS } else { 0 };
        let room = size_limit(transport, Some(edns)).saturating_sub(out.len() + keepalive);
        let (text, detail) = ede.texts(edns, room);
        let len = 2 + (text.len() + detail.len()) as u16;
        out.extend_from_slice([EDE_OPTION.to_be_bytes(), len.to_be_bytes(), ede.code.0.to_be_bytes()].as_flattened());
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(detail.as_bytes());
    }
    if edns.keepalive && transport.is_stream() {
        let [a, b] = keepalive_tenths(transport).to_be_bytes();
        out.extend_from_slice(&[0, KEEPALIVE_OPTION as u8, 0, 2, a, b]);
    }
    let len = (out.len() - options_at) as u16;
    out[options_at - 2..options_at].copy_from_slice(&len.to_be_bytes());
    if edns.padding && transport.is_encrypted() {
        pad(out, opt_at);
    }
}

/// How long a connection may stay idle, in units of 100 ms. RFC 7828 §3.1.
fn keepalive_tenths(transport: Transport) -> u16 {
    let idle = if transport.is_encrypted() { TLS_IDLE } else { TCP_IDLE };
    (idle.as_millis() / 100) as u16
}

/// Pads a message, whose last record is the OPT at `opt_at`, to whole blocks of 468 octets (RFC 8467 §4.1). One that is too
/// long for that stays as it is.
fn pad(out: &mut Vec<u8>, opt_at: usize) {
    let padded = (out.len() + 4).next_multiple_of(PADDED_BLOCK_OCTETS);
    if padded > usize::from(u16::MAX) {
        return;
    }
    let len = (padded - out.len() - 4) as u16;
    out.extend_from_slice([PADDING_OPTION.to_be_bytes(), len.to_be_bytes()].as_flattened());
    out.resize(padded, 0);
    let rdlength = (padded - opt_at - OPT_OCTETS) as u16;
    out[opt_at + OPT_OCTETS - 2..][..2].copy_from_slice(&rdlength.to_be_bytes());
}

/// An OPT without options: root, type, size, extended code, version and DO, length.
fn opt_head(edns: &Edns, rcode: Rcode) -> [u8; OPT_OCTETS] {
    let ([a, b], [c, d]) = (RecordType::OPT.0.to_be_bytes(), UDP_PAYLOAD_MAX.to_be_bytes());
    [0, a, b, c, d, (rcode.0 >> 4) as u8, 0, u8::from(edns.dnssec_ok) << 7, 0, 0, 0]
}

/// Writes the answer to a message that was no query of ours to answer.
pub fn write_refusal(refusal: &Refusal, transport: Transport, ede: &[EdeText<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ANSWER_OCTETS_USUAL);
    write_refusal_into(refusal, transport, ede, &mut out);
    out
}

/// As [`write_refusal`], into a buffer of the caller's; what it held is forgotten.
pub fn write_refusal_into(refusal: &Refusal, transport: Transport, ede: &[EdeText<'_>], out: &mut Vec<u8>) {
    // RFC 1035 gives RD and CD a meaning in queries only: another opcode gets its opcode and the code back.
    let is_query = refusal.header.opcode() == 0;
    let kept = if is_query { refusal.header.flags & (RD | CD) | RA } else { 0 };
    let limit = size_limit(transport, refusal.edns.as_ref());
    let mut out = Encoder::new(refusal.header.id, kept | refusal.header.flags & OPCODE, limit, out);
    if let Some((question, spelling)) = &refusal.question {
        out.question(question, spelling.as_wire());
    }
    let response = Response { ede, ..Response::code(refusal.rcode) };
    out.reserve_opt(refusal.edns.as_ref(), &response, transport);
    out.finish(refusal.rcode);
}

const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;

/// An OPT without options: root, type, class, TTL, length. RFC 6891 §6.1.2.
pub(super) const OPT_OCTETS: usize = 11;
/// Number of the option with a cookie. RFC 7873 §4.
const COOKIE_OPTION: u16 = 10;
/// Octets of that option with a cookie of ours.
pub(super) const COOKIE_OPTION_OCTETS: usize = 4 + COOKIE_OCTETS;
/// Number of the option with an extended error. RFC 8914 §2.
const EDE_OPTION: u16 = 15;
/// Octets of that option without its text.
const EDE_OCTETS: usize = 6;
/// RFC 7828 §3.1.
const KEEPALIVE_OPTION: u16 = 11;
const KEEPALIVE_OCTETS: usize = 6;
/// RFC 7830 §3.
const PADDING_OPTION: u16 = 12;
/// RFC 8467 §4.1.
const PADDED_BLOCK_OCTETS: usize = 468;
/// Offsets that a compression pointer can reach: 14 bits. RFC 1035 §4.1.4.
const POINTER_MAX: usize = 0x3fff;
/// Room for most answers.
const ANSWER_OCTETS_USUAL: usize = 512;
/// Names remembered for compression in one message; later ones are written out. Bounds the work per name.
const COMPRESSION_NAMES_MAX: usize = 128;

/// An OPT that is being written: with an extended error, a structured one too, it needs no memory of its own.
type Opt = SmallVec<[u8; 512]>;

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    flags: u16,
    /// Largest size, the OPT included.
    limit: usize,
    /// The OPT, encoded; appended last.
    opt: Opt,
    pads: bool,
    counts: [u16; 3],
    suffixes: SmallVec<[Written; 24]>,
    /// Where the TTL of each record stands.
    ttl_at: SmallVec<[u16; 8]>,
    /// Labels that were compared with what was written before.
    #[cfg(test)]
    compared: std::cell::Cell<usize>,
}

/// A name, or the end of one, that a pointer may stand for.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// Where it starts in `out`.
    at: u16,
    /// Its octets written out, the root's zero included: names of different length are never compared, so that many deep
    /// names with a common beginning stay cheap.
    len: u8,
}

impl<'o> Encoder<'o> {
    fn new(id: u16, flags: u16, limit: usize, out: &'o mut Vec<u8>) -> Encoder<'o> {
        out.clear();
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&[0; 10]);
        let (opt, suffixes, ttl_at) = (SmallVec::new(), SmallVec::new(), SmallVec::new());
        Encoder {
            out,
            flags: flags | QR,
            limit,
            opt,
            pads: false,
            counts: [0; 3],
            suffixes,
            ttl_at,
            #[cfg(test)]
            compared: std::cell::Cell::default(),
        }
    }

    fn question(&mut self, question: &Question, spelling: &[u8]) {
        self.out[5] = 1;
        self.name(spelling);
        self.out.extend_from_slice(&question.qtype.0.to_be_bytes());
        self.out.extend_from_slice(&question.qclass.to_be_bytes());
    }

    /// Encodes the OPT now, so that records know what room is left; nothing when the client sent none (RFC 6891 §7).
    fn reserve_opt(&mut self, edns: Option<&Edns>, response: &Response<'_>, transport: Transport) {
        let Some(edns) = edns else { return };
        // What is left for options: one that does not fit is left out, so that the question and the OPT always go.
        let room = self.limit.saturating_sub(self.out.len() + OPT_OCTETS);
        write_opt(&mut self.opt, room, edns, response, transport);
        self.pads = edns.padding && transport.is_encrypted();
    }

    /// Writes the records that fit. An answer section that does not fit whole is left out and TC set (RFC 2181 §9); the
    /// other sections are left out silently, unless they hold proof.
    fn records<'a>(&mut self, records: impl Iterator<Item = RecordRef<'a>> + Clone, ttl: TtlRule) {
        for section in [Section::Answer, Section::Authority, Section::Additional] {
            let (start, remembered, ttls) = (self.out.len(), self.suffixes.len(), self.ttl_at.len());
            for record in records.clone().filter(|r| r.section == section) {
                self.record(&record, ttl);
                self.counts[section as usize] += 1;
                if self.out.len() + self.opt.len() <= self.limit {
                    continue;
                }
                self.out.truncate(start);
                self.suffixes.truncate(remembered);
                self.ttl_at.truncate(ttls);
                self.counts[section as usize] = 0;
                let is_needed = match section {
                    Section::Answer => true,
                    Section::Authority => {
                        self.counts[0] == 0 || records.clone().any(|r| r.section == section && is_proof(r.rtype))
                    }
                    Section::Additional => false,
                };
                if is_needed {
                    self.flags |= TC;
                    return;
                }
                break;
            }
        }
    }

    fn record(&mut self, record: &RecordRef<'_>, ttl: TtlRule) {
        self.name(record.owner);
        self.out.extend_from_slice(&record.rtype.0.to_be_bytes());
        self.out.extend_from_slice(&record.class.to_be_bytes());
        self.ttl_at.push(self.out.len() as u16);
        self.out.extend_from_slice(&ttl.apply(record.ttl).to_be_bytes());
        let len_at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        match record.rtype {
            // RFC 3597 §4: only the types of RFC 1035 may be compressed.
            RecordType::NS | RecordType::CNAME | RecordType::PTR | RecordType::MX | RecordType::SOA => {
                let (before, names) = name_layout(record.rtype);
                self.out.extend_from_slice(&record.rdata[..before]);
                let mut at = before;
                for _ in 0..names {
                    let end = at + name_len(&record.rdata[at..]);
                    self.name(&record.rdata[at..end]);
                    at = end;
                }
                self.out.extend_from_slice(&record.rdata[at..]);
            }
            _ => self.out.extend_from_slice(record.rdata),
        }
        let len = (self.out.len() - len_at - 2) as u16;
        self.out[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
    }

    /// Writes a name, with a pointer to the longest suffix that was written before. Case does not count (RFC 1035 §2.3.3).
    fn name(&mut self, wire: &[u8]) {
        let labels = Labels::of(wire);
        let mut new = [Written { at: 0, len: 0 }; LABELS_MAX];
        let mut new_count = 0;
        for depth in (1..=labels.count()).rev() {
            let suffix = labels.suffix(depth);
            let len = suffix.len() as u8;
            let is_it = |written: &&Written| written.len == len && self.is_written_at(usize::from(written.at), suffix);
            if let Some(&Written { at, .. }) = self.suffixes.iter().find(is_it) {
                self.out.extend_from_slice(&(0xc000 | at).to_be_bytes());
                self.remember(&new[..new_count]);
                return;
            }
            let at = self.out.len();
            if at <= POINTER_MAX {
                new[new_count] = Written { at: at as u16, len };
                new_count += 1;
            }
            self.out.extend_from_slice(&suffix[..1 + usize::from(suffix[0])]);
        }
        self.out.push(0);
        self.remember(&new[..new_count]);
    }

    fn remember(&mut self, starts: &[Written]) {
        let room = COMPRESSION_NAMES_MAX.saturating_sub(self.suffixes.len());
        self.suffixes.extend_from_slice(&starts[..starts.len().min(room)]);
    }

    /// Whether the name written at `at` is `suffix`.
    fn is_written_at(&self, mut at: usize, suffix: &[u8]) -> bool {
        let mut rest = suffix;
        loop {
            let octet = self.out[at];
            if octet & 0xc0 == 0xc0 {
                at = usize::from(octet & 0x3f) << 8 | usize::from(self.out[at + 1]);
                continue;
            }
            #[cfg(test)]
            self.compared.update(|labels| labels + 1);
            let len = 1 + usize::from(octet);
            if rest.len() < len || !self.out[at..at + len].eq_ignore_ascii_case(&rest[..len]) {
                return false;
            }
            if octet == 0 {
                return true;
            }
            at += len;
            rest = &rest[len..];
        }
    }

    fn finish(mut self, rcode: Rcode) {
        let flags = self.flags | rcode.0 & 0xf;
        self.out[2..4].copy_from_slice(&flags.to_be_bytes());
        if !self.opt.is_empty() {
            let opt_at = self.out.len();
            self.out.extend_from_slice(&self.opt);
            self.counts[2] += 1;
            if self.pads {
                pad(self.out, opt_at);
            }
        }
        for (i, count) in self.counts.into_iter().enumerate() {
            self.out[6 + 2 * i..8 + 2 * i].copy_from_slice(&count.to_be_bytes());
        }
    }
}

/// Writes an OPT with the options that fit into `room`.
fn write_opt(opt: &mut Opt, mut room: usize, edns: &Edns, response: &Response<'_>, transport: Transport) {
    opt.extend_from_slice(&opt_head(edns, response.rcode));
    let options_at = opt.len();
    if let Some(told) = &edns.told {
        put_option(opt, &mut room, COOKIE_OPTION, &[&told.octets]);
    }
    // The reason before the node's name: it is what a person needs when not both fit.
    for ede in response.ede {
        let (text, detail) = ede.texts(edns, room);
        put_option(opt, &mut room, EDE_OPTION, &[&ede.code.0.to_be_bytes(), text.as_bytes(), detail.as_bytes()]);
    }
    if edns.nsid && !response.nsid.is_empty() {
        put_option(opt, &mut room, 3, &[response.nsid]);
    }
    if edns.keepalive && transport.is_stream() {
        put_option(opt, &mut room, KEEPALIVE_OPTION, &[&keepalive_tenths(transport).to_be_bytes()]);
    }
    let len = (opt.len() - options_at) as u16;
    opt[options_at - 2..options_at].copy_from_slice(&len.to_be_bytes());
}

/// Adds an option that fits into `room`, and takes it off.
fn put_option(opt: &mut Opt, room: &mut usize, code: u16, value: &[&[u8]]) {
    let len: usize = value.iter().map(|v| v.len()).sum();
    let Some(left) = room.checked_sub(4 + len) else { return };
    *room = left;
    opt.extend_from_slice(&code.to_be_bytes());
    opt.extend_from_slice(&(len as u16).to_be_bytes());
    for part in value {
        opt.extend_from_slice(part);
    }
}

/// Types of the authority section that an answer is not whole without: what proves or times a negative one, and what
/// proves a wildcard (RFC 4035 §3.1.1). NS records only say where one could ask further.
fn is_proof(rtype: RecordType) -> bool {
    // NSEC3 is 50.
    matches!(rtype, RecordType::SOA | RecordType::NSEC | RecordType(50) | RecordType::DS | RecordType::RRSIG)
}

/// At most `max` octets, cut between characters.
pub(super) fn shorten(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Length of the uncompressed name that `octets` begins with.
fn name_len(octets: &[u8]) -> usize {
    let mut at = 0;
    while octets[at] != 0 {
        at += 1 + usize::from(octets[at]);
    }
    at + 1
}

#[cfg(test)]
mod tests;
