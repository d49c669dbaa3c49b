//! Verdict or answer → wire: RCODE, SOA, EDE, TTL, TC, EDNS as the client had it.
//!
//! What each outcome says is here; how it is put into octets is [`encoder`]'s. Whom it goes to and why was decided before.

pub mod encoder;
mod listed;
mod short;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::engine::answer::{Answer, AnswerBuilder, RecordRef, Section};
use crate::engine::client::Client;
use crate::engine::cookie::Standing;
use crate::engine::discovery::{self, About, Discovery};
use crate::engine::limits::{SAFE_SEARCH_STATIC_TTL_SECS, STALE_TTL_SECS};
use crate::engine::local_data::{LocalAnswer, LocalRecords, WHO_AM_I_WIRE};
use crate::engine::name::Name;
use crate::engine::policy::{self, Cleared};
use crate::engine::query::{Header, Origin, Query, Question, Rcode, RecordType, Refusal, Transport};
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::{Block, BlockResponse, EdeCode, ProfileId, Reason, Rewrite, Shape, Target};

use smallvec::SmallVec;

use encoder::{EdeText, Response, TtlRule};
pub use listed::{TargetFound, redirect};
use short::Own;

/// TTL of rung 1's answers, in seconds: they never change.
const LOCAL_TTL_SECS: u32 = 3600;
/// TTL of the CNAME that SafeSearch puts in, in seconds: a profile that changes is followed soon.
const SAFE_SEARCH_TTL_SECS: u32 = 60;
/// TTL of the HINFO that answers ANY, in seconds. RFC 8482 §4.2 leaves it open.
const ANY_TTL_SECS: u32 = 3600;

/// Why nothing can be said about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// No upstream answered in time.
    TimedOut,
    /// No upstream could be reached, or none gave a usable answer.
    Unreachable,
    /// No upstream is configured for the name, or too many questions are under way.
    NotReady,
    /// The question came back to us from its own upstream.
    Loop,
    /// Too many questions about its zone fail.
    ZoneLimited,
}

/// How an answer from upstream or the cache is told.
#[derive(Debug, Clone, Copy)]
pub struct Telling {
    pub ttl: TtlRule,
    /// Past its TTL: said with an extended error (RFC 8767 §6, RFC 8914 §4.4).
    pub stale: bool,
    /// The channel it came by is authentic, so its AD may be passed on.
    pub trust_ad: bool,
}

/// Writes an answer that policy has cleared.
pub fn answer(
    cleared: Cleared,
    snapshot: &Snapshot,
    query: &Query,
    origin: Origin,
    answer: &Answer,
    telling: Telling,
) -> Vec<u8> {
    // Who reads reasons gets none that hides them: "the server MUST NOT return the Forged Answer extended error code".
    let is_told = |code: u16| code != EdeCode::FORGED.0 || !query.edns.is_some_and(|edns| edns.structured);
    let told = answer.ede.iter().filter(|ede| is_told(ede.code));
    let mut ede: Vec<EdeText<'_>> = told.map(|e| EdeText::new(EdeCode(e.code), &e.text)).collect();
    if telling.stale {
        ede.push(stale_text(answer.rcode));
    }
    // RFC 6840 §5.7: AD is for clients that asked for it, by AD or by DO.
    let wants_ad = query.authentic_data || query.edns.is_some_and(|e| e.dnssec_ok);
    let response = Response {
        rcode: answer.rcode,
        authentic_data: wants_ad && answer.authentic_data && telling.trust_ad,
        ttl: telling.ttl.at_most(cleared.ttl_secs_max()),
        ede: &ede,
        nsid: snapshot.node_name.as_bytes(),
    };
    let records = answer.records().filter(|r| cleared.delivers(r.section));
    encoder::write(query, origin.transport, &response, records)
}

/// Writes a block (DESIGN §5) and says its code. `chain` is the answer in which it was hit, if it was not the question
/// itself. `None`: nothing is sent.
pub fn block(
    snapshot: &Snapshot,
    profile: ProfileId,
    query: &Query,
    origin: Origin,
    block: &Block,
    chain: Option<&Answer>,
    out: &mut Vec<u8>,
) -> Option<Rcode> {
    let qname = &query.question.qname;
    let ttl = block.ttl_secs;
    let ede = told_why(snapshot, profile, &block.reason);
    if let Some(answer) = &block.answer {
        return listed::block(snapshot, query, origin, (block, answer), chain, ede, out);
    }
    let (rcode, address) = match block.response {
        BlockResponse::Drop => return None,
        BlockResponse::Nxdomain => (Rcode::NXDOMAIN, None),
        BlockResponse::Nodata => (Rcode::NOERROR, None),
        BlockResponse::Refused => (Rcode::REFUSED, None),
        BlockResponse::NullIp => (
            Rcode::NOERROR,
            address_for(query.question.qtype, Some(Ipv4Addr::UNSPECIFIED), Some(Ipv6Addr::UNSPECIFIED)),
        ),
        BlockResponse::Page => (Rcode::NOERROR, address_for(query.question.qtype, snapshot.page_v4, snapshot.page_v6)),
    };
    let record = match address {
        Some(address) => Some(Own::Address { address, ttl }),
        // RFC 2308 §3: without an SOA a stub would ask again and again.
        None if rcode != Rcode::REFUSED => Some(Own::Soa { owner: soa_owner(qname, &block.reason), ttl }),
        None => None,
    };
    if short::write(query, origin.transport, rcode, record, &ede, out) {
        return Some(rcode);
    }
    let response = Response { nsid: snapshot.node_name.as_bytes(), ttl: AS_IT_IS, ..Response::code(rcode) };
    let mut rdata = [0; _];
    let record = record.map(|record| record.as_record(qname, &mut rdata));
    encoder::write_explained(query, origin.transport, &response, ede, record.into_iter(), out);
    Some(rcode)
}

/// Why something is blocked, as an extended error.
fn told_why<'a>(snapshot: &'a Snapshot, profile: ProfileId, reason: &Reason) -> EdeText<'a> {
    let (text, detail) = policy::ede_text(&snapshot.categories, reason);
    let code = policy::ede_code(snapshot, profile, reason);
    EdeText { code, text, detail, structured: snapshot.structured.of(code, reason) }
}

/// Owner of a block's SOA, a suffix of the question's name: the rule's name when the question is at or below it, else the
/// question's own name; never a top-level domain, whose other names a cache could then deny.
fn soa_owner<'q>(qname: &'q Name, reason: &Reason) -> &'q [u8] {
    let labels = match (&reason.target, reason.cause.labels()) {
        (None, Some(labels)) => usize::from(labels),
        (Some(Target::Name(target)), Some(labels)) => {
            let owner = target.suffix(usize::from(labels));
            if qname.is_at_or_below(&owner) { owner.label_count() } else { 0 }
        }
        (Some(Target::Address(_)), _) | (_, None) => 0,
    };
    let owner = qname.suffix_wire(labels);
    // One label and the root's zero: a top-level domain.
    let is_short = owner.len() == 1 || owner.len() == 2 + usize::from(owner[0]);
    if is_short { qname.as_wire() } else { owner }
}

/// Writes an answer of rung 1 and says its code. `made` is room to put it together in.
pub fn local(
    snapshot: &Snapshot,
    client: Client,
    query: &Query,
    origin: Origin,
    local: &LocalAnswer,
    made: &mut AnswerBuilder,
    out: &mut Vec<u8>,
) -> Rcode {
    let rcode = if local.rcode_nxdomain { Rcode::NXDOMAIN } else { Rcode::NOERROR };
    let (owner, zone) = (query.question.qname.as_wire(), local.zone(&query.question.qname));
    made.clear(rcode);
    // Who asks is different for the next one, and for the same one in another place.
    let is_personal = zone == WHO_AM_I_WIRE;
    let ttl = if is_personal { 0 } else { LOCAL_TTL_SECS };
    match &local.records {
        LocalRecords::None => push_soa(made, zone, ttl),
        LocalRecords::A(v4) => push_address(made, owner, (*v4).into(), ttl),
        LocalRecords::Aaaa(v6) => push_address(made, owner, (*v6).into(), ttl),
        LocalRecords::Localhost => {
            made.push(Section::Answer, owner, RecordType::PTR, ttl, b"\x09localhost\0");
        }
        LocalRecords::Ns => {
            made.push(Section::Answer, owner, RecordType::NS, ttl, zone);
        }
        LocalRecords::Soa => {
            made.push(Section::Answer, owner, RecordType::SOA, ttl, &soa_rdata(ttl));
        }
        LocalRecords::WhoAsks => push_who_asks(made, snapshot, client, owner, origin),
        LocalRecords::Discovery(discovery, about) => push_discovery(made, query, origin, local, (discovery, *about)),
    }
    write_made_into(snapshot, query, origin, made.answer(), &[], out);
    rcode
}

/// Strings of `key=value`: this node, how the question came, and whose it is to us. No address, and no name but configured ones.
fn push_who_asks(made: &mut AnswerBuilder, snapshot: &Snapshot, client: Client, owner: &[u8], origin: Origin) {
    let known = client.configured.and_then(|at| snapshot.clients_known.get(at as usize));
    let mut rdata: SmallVec<[u8; 256]> = SmallVec::new();
    for (key, value) in [
        ("node=", snapshot.node_name.as_str()),
        ("transport=", origin.transport.as_str()),
        ("profile=", snapshot.profile(client.profile).name.as_str()),
        ("client=", known.map_or("", |known| known.name.as_str())),
        ("family=", if origin.source.is_ipv4() { "v4" } else { "v6" }),
    ] {
        let value = encoder::shorten(value, 255 - key.len());
        rdata.push((key.len() + value.len()) as u8);
        rdata.extend_from_slice(key.as_bytes());
        rdata.extend_from_slice(value.as_bytes());
    }
    made.push(Section::Answer, owner, RecordType::TXT, 0, &rdata);
}

/// What clients are told of our encrypted service; the addresses of its name come along (RFC 9462 §4).
fn push_discovery(
    made: &mut AnswerBuilder,
    query: &Query,
    origin: Origin,
    local: &LocalAnswer,
    (discovery, about): (&Discovery, About),
) {
    let (owner, ttl) = (query.question.qname.as_wire(), discovery::TTL_SECS);
    match about {
        About::Services => {
            for rdata in discovery.records(origin.local) {
                made.push(Section::Answer, owner, RecordType::SVCB, ttl, &rdata);
            }
            let beside = if made.is_empty() { Vec::new() } else { discovery.addresses(origin.local) };
            for address in beside {
                let mut octets = [0; 16];
                let (rtype, len) = put_address(address, &mut octets);
                made.push(Section::Additional, discovery.name().as_wire(), rtype, ttl, &octets[..len]);
            }
        }
        About::Addresses => {
            let addresses = discovery.addresses(origin.local).into_iter();
            let asked = addresses.filter(|address| is_of_type(address, query.question.qtype));
            asked.for_each(|address| push_address(made, owner, address, ttl));
        }
        About::Resolver => {
            made.push(Section::Answer, owner, discovery::RESINFO, ttl, &discovery.about());
        }
        About::Nothing => {}
    }
    if made.is_empty() {
        push_soa(made, local.zone(&query.question.qname), ttl);
    }
}

/// What is known of a SafeSearch target when its answer is written.
#[derive(Debug)]
pub enum TargetAnswer<'a> {
    /// Upstream answered and policy cleared it. `ttl` is for its records; stale ones are told as such.
    Resolved { answer: &'a Answer, ttl: TtlRule, stale: bool, cleared: Cleared },
    /// The table's own addresses stand in.
    Static,
    /// The target exists without records of this type.
    NoData,
}

/// Writes a SafeSearch rewrite: the engine's CNAME and the target's records, or the addresses under the question's name.
/// `made` is room to put it together in.
pub fn rewrite(
    snapshot: &Snapshot,
    query: &Query,
    origin: Origin,
    rewrite: &Rewrite,
    target: &TargetAnswer<'_>,
    made: &mut AnswerBuilder,
    out: &mut Vec<u8>,
) {
    let rule = &rewrite.rule;
    let own_name = rewrite.shape == Shape::OwnName;
    let qtype = query.question.qtype;
    let owner = query.question.qname.as_wire();
    made.clear(Rcode::NOERROR);
    let address_owner = if own_name { owner } else { rule.target.as_wire() };
    if !own_name {
        made.push(
            Section::Answer,
            owner,
            RecordType::CNAME,
            SAFE_SEARCH_TTL_SECS.min(rewrite.ttl_secs_max),
            rule.target.as_wire(),
        );
    }
    let before = made.len();
    let static_ttl = SAFE_SEARCH_STATIC_TTL_SECS.min(rewrite.ttl_secs_max);
    let mut ede: &[EdeText<'_>] = &[];
    match target {
        TargetAnswer::Resolved { answer, ttl, stale, cleared: _ } => {
            if *stale {
                ede = &[EdeText { code: EdeCode::STALE_ANSWER, text: STALE_TEXT, detail: "", structured: None }];
            }
            for record in answer.section(Section::Answer) {
                let ttl = ttl.apply(record.ttl).min(SAFE_SEARCH_TTL_SECS).min(rewrite.ttl_secs_max);
                if !own_name {
                    made.push(Section::Answer, record.owner, record.rtype, ttl, record.rdata);
                } else if record.rtype == qtype || (qtype == RecordType::ANY && record.rtype == RecordType::A) {
                    made.push(Section::Answer, owner, record.rtype, ttl, record.rdata);
                }
            }
        }
        TargetAnswer::Static => {
            let v4 = rule.ipv4.iter().map(|&a| IpAddr::from(a));
            let v6 = rule.ipv6.iter().map(|&a| IpAddr::from(a));
            for address in v4.chain(v6).filter(|a| is_of_type(a, qtype)) {
                push_address(made, address_owner, address, static_ttl);
            }
        }
        TargetAnswer::NoData => {}
    }
    // ANY of a host with a CNAME is answered by the CNAME alone: one RRset is enough (RFC 8482 §4.1).
    if made.len() == before && (own_name || qtype != RecordType::ANY) {
        let soa = if own_name { &query.question.qname } else { &rule.target };
        push_soa(made, soa.as_wire(), static_ttl);
    }
    write_made_into(snapshot, query, origin, made.answer(), ede, out);
}

/// Whether an address answers a question of this type; ANY is answered with A.
fn is_of_type(address: &IpAddr, qtype: RecordType) -> bool {
    match qtype {
        RecordType::A | RecordType::ANY => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => false,
    }
}

/// By UDP: TC=1 and nothing else, for one whose prefix is over its limit: an honest client comes again over TCP. One that sent a
/// cookie which proves nothing gets BADCOOKIE, and comes again with the one in it (RFC 7873 §5.2.3). Longer than the
/// question only by the server's part of a cookie, 16 octets, and the question had 40 then. Says its code.
pub fn cut_short(query: &Query, out: &mut Vec<u8>) -> Rcode {
    let told = query.edns.and_then(|edns| edns.told);
    let is_bad = told.is_some_and(|told| told.standing != Standing::Proven);
    let rcode = if is_bad { Rcode::BADCOOKIE } else { Rcode::NOERROR };
    out.clear();
    out.extend_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    encoder::put_head(out, query, rcode, false);
    out[2] |= if is_bad { 0 } else { 0x02 };
    out.extend_from_slice(query.spelling.as_wire());
    let Question { qtype, qclass, .. } = query.question;
    out.extend_from_slice([qtype.0.to_be_bytes(), qclass.to_be_bytes()].as_flattened());
    if let Some(edns) = &query.edns {
        encoder::put_opt(out, edns, Transport::Udp, rcode, None);
    }
    rcode
}

/// ANY, for a name that nothing blocks: a HINFO of our own. RFC 8482 §4.2.
pub fn any(snapshot: &Snapshot, query: &Query, origin: Origin, made: &mut AnswerBuilder, out: &mut Vec<u8>) -> Rcode {
    made.clear(Rcode::NOERROR);
    let owner = query.question.qname.as_wire();
    made.push(Section::Answer, owner, RecordType::HINFO, ANY_TTL_SECS, b"\x07RFC8482\0");
    write_made_into(snapshot, query, origin, made.answer(), &[], out);
    Rcode::NOERROR
}

/// SERVFAIL of ours, with the reason (I8: never "allow").
pub fn failure(snapshot: &Snapshot, query: &Query, origin: Origin, why: NotFound) -> Vec<u8> {
    let (code, text) = match why {
        NotFound::TimedOut => (EdeCode::NO_REACHABLE_AUTHORITY, "no upstream server answered in time"),
        NotFound::Unreachable => (EdeCode::NETWORK_ERROR, "no upstream server gave a usable answer"),
        NotFound::NotReady => (EdeCode::NOT_READY, "no upstream server for this name now"),
        NotFound::ZoneLimited => (EdeCode::OTHER, "too many questions for this zone fail; try again in some seconds"),
        NotFound::Loop => (EdeCode::OTHER, "forwarding loop: an upstream server asks us"),
    };
    let made = AnswerBuilder::new(Rcode::SERVFAIL).finish();
    write_made(snapshot, query, origin, &made, &[EdeText::new(code, text)])
}

/// `version.bind`, `version.server`, `id.server` in class CH. `None`: another name or type. RFC 4892.
pub fn chaos(snapshot: &Snapshot, query: &Query, origin: Origin) -> Option<Vec<u8>> {
    if !matches!(query.question.qtype, RecordType::TXT | RecordType::ANY) {
        return None;
    }
    let version = concat!("lachan ", env!("CARGO_PKG_VERSION"));
    let text = match query.question.qname.as_wire() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => version,
        b"\x02id\x06server\0" if !snapshot.node_name.is_empty() => &snapshot.node_name,
        _ => return None,
    };
    let text = &text.as_bytes()[..text.len().min(255)];
    let rdata: Vec<u8> = std::iter::once(text.len() as u8).chain(text.iter().copied()).collect();
    let owner = query.question.qname.as_wire();
    let record = RecordRef {
        section: Section::Answer,
        owner,
        rtype: RecordType::TXT,
        class: query.question.qclass,
        ttl: 0,
        rdata: &rdata,
    };
    let response = Response { nsid: snapshot.node_name.as_bytes(), ..Response::code(Rcode::NOERROR) };
    Some(encoder::write(query, origin.transport, &response, std::iter::once(record)))
}

/// An error code for a message that is no query of ours to answer.
pub fn refusal(refusal: &Refusal, origin: Origin) -> Vec<u8> {
    encoder::write_refusal(refusal, origin.transport, &[])
}

/// REFUSED with EDE 18 for someone we do not serve. The question is echoed when it can be read.
pub fn stranger(message: &[u8], header: Header, origin: Origin, out: &mut Vec<u8>) {
    let told = match crate::engine::query::read(message, header) {
        Ok(query) => refuse(&query, header, Rcode::REFUSED),
        Err(bad) => Refusal { rcode: Rcode::REFUSED, ..*bad },
    };
    let ede = [EdeText::new(EdeCode::PROHIBITED, "this resolver does not serve your network")];
    encoder::write_refusal_into(&told, origin.transport, &ede, out);
}

/// The smallest TTL of a message of ours, in seconds: how long an HTTP cache may keep it (RFC 8484 §5.1). Zero for one without
/// records.
pub fn smallest_ttl(message: &[u8]) -> u32 {
    let skip_name = |mut at: usize| {
        while let Some(&octet) = message.get(at) {
            match octet {
                0 => return at + 1,
                0xc0.. => return at + 2,
                _ => at += 1 + usize::from(octet),
            }
        }
        at
    };
    let count = |at: usize| message.get(at..at + 2).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]));
    let mut at = Header::LEN;
    for _ in 0..count(4) {
        at = skip_name(at) + 4;
    }
    let mut smallest = None;
    for _ in 0..usize::from(count(6)) + usize::from(count(8)) + usize::from(count(10)) {
        at = skip_name(at);
        let Some(&[type_a, type_b, _, _, ttl_a, ttl_b, ttl_c, ttl_d, len_a, len_b]) =
            message.get(at..).and_then(|rest| rest.first_chunk())
        else {
            break;
        };
        if RecordType(u16::from_be_bytes([type_a, type_b])) != RecordType::OPT {
            let ttl = u32::from_be_bytes([ttl_a, ttl_b, ttl_c, ttl_d]);
            smallest = Some(smallest.map_or(ttl, |before: u32| before.min(ttl)));
        }
        at += 10 + usize::from(u16::from_be_bytes([len_a, len_b]));
    }
    smallest.unwrap_or(0)
}

/// Turns a query that was read into the refusal of it.
pub fn refuse(query: &Query, header: Header, rcode: Rcode) -> Refusal {
    Refusal { header, rcode, question: Some((query.question.clone(), query.spelling)), edns: query.edns }
}

fn write_made(snapshot: &Snapshot, query: &Query, origin: Origin, made: &Answer, ede: &[EdeText<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_made_into(snapshot, query, origin, made, ede, &mut out);
    out
}

fn write_made_into(
    snapshot: &Snapshot,
    query: &Query,
    origin: Origin,
    made: &Answer,
    ede: &[EdeText<'_>],
    out: &mut Vec<u8>,
) {
    let nsid = snapshot.node_name.as_bytes();
    let response = Response { rcode: made.rcode, authentic_data: false, ttl: AS_IT_IS, ede, nsid };
    encoder::write_into(query, origin.transport, &response, made.records(), out);
}

fn address_for(qtype: RecordType, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Option<IpAddr> {
    match qtype {
        RecordType::A => v4.map(IpAddr::from),
        RecordType::AAAA => v6.map(IpAddr::from),
        _ => None,
    }
}

fn push_address(made: &mut AnswerBuilder, owner: &[u8], address: IpAddr, ttl: u32) {
    let mut octets = [0; 16];
    let (rtype, len) = put_address(address, &mut octets);
    made.push(Section::Answer, owner, rtype, ttl, &octets[..len]);
}

/// Writes the RDATA of an address and says its type and length.
fn put_address(address: IpAddr, octets: &mut [u8; 16]) -> (RecordType, usize) {
    match address {
        IpAddr::V4(v4) => {
            octets[..4].copy_from_slice(&v4.octets());
            (RecordType::A, 4)
        }
        IpAddr::V6(v6) => {
            *octets = v6.octets();
            (RecordType::AAAA, 16)
        }
    }
}

fn push_soa(made: &mut AnswerBuilder, owner: &[u8], ttl: u32) {
    made.push(Section::Authority, owner, RecordType::SOA, ttl, &soa_rdata(ttl));
}

/// An SOA of our own: server and mailbox are names that cannot exist, the times Unbound's, the minimum our TTL.
fn soa_rdata(minimum: u32) -> [u8; SOA_NAMES.len() + 20] {
    let mut rdata = [0; SOA_NAMES.len() + 20];
    let (names, numbers) = rdata.split_at_mut(SOA_NAMES.len());
    names.copy_from_slice(SOA_NAMES);
    let (numbers, _) = numbers.as_chunks_mut::<4>();
    for (place, number) in numbers.iter_mut().zip([1, 3600, 1200, 604_800, minimum]) {
        *place = number.to_be_bytes();
    }
    rdata
}

const SOA_NAMES: &[u8; 32] = b"\x06lachan\x07invalid\0\x06nobody\x07invalid\0";

/// As [`write_made_into`], with why it is not what was asked for.
fn write_explained(
    snapshot: &Snapshot,
    query: &Query,
    origin: Origin,
    made: &Answer,
    ede: EdeText<'_>,
    out: &mut Vec<u8>,
) {
    let nsid = snapshot.node_name.as_bytes();
    let response = Response { rcode: made.rcode, authentic_data: false, ttl: AS_IT_IS, ede: &[], nsid };
    encoder::write_explained(query, origin.transport, &response, ede, made.records(), out);
}

/// TTL rule of what we make ourselves.
const AS_IT_IS: TtlRule = TtlRule::Age { secs: 0, max: u32::MAX };

const STALE_TEXT: &str = "upstream does not answer";

/// The extended error of a stale answer. RFC 8914 §4.4 and §4.20.
pub fn stale_text(rcode: Rcode) -> EdeText<'static> {
    let code = if rcode == Rcode::NXDOMAIN { EdeCode::STALE_NXDOMAIN } else { EdeCode::STALE_ANSWER };
    EdeText::new(code, STALE_TEXT)
}

/// TTL rule of a stale answer. RFC 8767 §4.
pub const STALE_TTL: TtlRule = TtlRule::Fixed(STALE_TTL_SECS);

#[cfg(test)]
mod tests;
