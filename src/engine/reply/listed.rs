//! Answers that a list's rule gives itself: its records, its code, or a CNAME with what it leads to.

use crate::engine::answer::{Answer, AnswerBuilder, Section};
use crate::engine::list::special::{Records, RuleAnswer};
use crate::engine::name::Name;
use crate::engine::policy::{self, Cleared};
use crate::engine::query::{Origin, Query, Rcode, RecordType};
use crate::engine::reply::encoder::{self, EdeText, Response, TtlRule};
use crate::engine::reply::{push_soa, soa_owner, write_made, write_made_into};
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::{Block, ProfileId, Redirect, Target};

/// Writes what a rule answers. `chain` is the answer in which a target was hit: a CNAME that leads to a name with records
/// of a list's own goes before them. `None`: nothing is sent.
pub(super) fn block(
    snapshot: &Snapshot,
    query: &Query,
    origin: Origin,
    (block, answer): (&Block, &RuleAnswer),
    chain: Option<&Answer>,
    ede: &[EdeText<'_>],
    out: &mut Vec<u8>,
) -> Option<Rcode> {
    let owner = soa_owner(&query.question.qname, &block.reason);
    let ttl = block.ttl_secs;
    let (rcode, mut made) = match answer {
        RuleAnswer::Drop => return None,
        RuleAnswer::TcpOnly => {
            let response = Response { nsid: snapshot.node_name.as_bytes(), ..Response::code(Rcode::NOERROR) };
            encoder::write_truncated(query, origin.transport, &response, out);
            return Some(Rcode::NOERROR);
        }
        RuleAnswer::Nodata | RuleAnswer::Alias(_) => (Rcode::NOERROR, AnswerBuilder::new(Rcode::NOERROR)),
        RuleAnswer::Rcode(rcode) => (*rcode, AnswerBuilder::new(*rcode)),
        RuleAnswer::Records(records) => {
            let mut made = AnswerBuilder::new(Rcode::NOERROR);
            let target = match &block.reason.target {
                Some(Target::Name(target)) => Some(&**target),
                Some(Target::Address(_)) | None => None,
            };
            let wanted = of_type(records, query.question.qtype);
            if let (Some(target), Some(chain)) = (target, chain) {
                push_chain(&mut made, chain, target, ttl);
            }
            let at = target.unwrap_or(&query.question.qname).as_wire();
            for record in wanted {
                let ttl = record.ttl.unwrap_or(ttl).min(block.ttl_secs_max);
                made.push(Section::Answer, at, record.rtype, ttl, &record.rdata);
            }
            (Rcode::NOERROR, made)
        }
    };
    // RFC 2308 §3: without an SOA a stub would ask again and again.
    if made.is_empty() && matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
        push_soa(&mut made, owner, ttl);
    }
    write_made_into(snapshot, query, origin, &made.finish(), ede, out);
    Some(rcode)
}

/// Writes a redirect. `chain` led to its owner; `answer` is what its target was found to have, cleared.
pub fn redirect(
    snapshot: &Snapshot,
    profile: ProfileId,
    query: &Query,
    origin: Origin,
    redirect: &Redirect,
    chain: Option<&Answer>,
    target: TargetFound<'_>,
) -> (Vec<u8>, Rcode) {
    let TargetFound { answer, ttl: told, cleared } = target;
    let told = told.at_most(cleared.as_ref().map_or(u32::MAX, Cleared::ttl_secs_max));
    let rcode = answer.map_or(Rcode::NOERROR, |answer| answer.rcode);
    let mut made = AnswerBuilder::new(rcode);
    if let Some(chain) = chain {
        push_chain(&mut made, chain, &redirect.from, snapshot.block_ttl_secs);
    }
    let ttl = redirect.ttl.unwrap_or(snapshot.block_ttl_secs).min(snapshot.cache.max_client_ttl_secs());
    made.push(Section::Answer, redirect.from.as_wire(), RecordType::CNAME, ttl, redirect.target.as_wire());
    let found = answer.into_iter().flat_map(|answer| answer.records());
    let delivered = |section| cleared.as_ref().is_some_and(|cleared| cleared.delivers(section));
    // The SOA of a negative answer is of the target's zone, and so is its CNAME's.
    for record in found.filter(|record| record.section != Section::Additional && delivered(record.section)) {
        made.push(record.section, record.owner, record.rtype, told.apply(record.ttl), record.rdata);
    }
    let (text, detail) = policy::ede_text(&snapshot.categories, &redirect.reason);
    let ede = [EdeText { code: policy::ede_code(snapshot, profile, &redirect.reason), text, detail }];
    (write_made(snapshot, query, origin, &made.finish(), &ede), rcode)
}

/// What is known of a redirect's target.
#[derive(Debug)]
pub struct TargetFound<'a> {
    /// `None`: nobody was asked, because the CNAME itself is the answer.
    pub answer: Option<&'a Answer>,
    pub ttl: TtlRule,
    pub cleared: Option<Cleared>,
}

/// Records that answer a question of this type: one type of them for ANY (RFC 8482 §4.1).
fn of_type(records: &Records, qtype: RecordType) -> impl Iterator<Item = &crate::engine::list::special::Record> {
    let wanted = match (qtype, records.all.first()) {
        (RecordType::ANY, Some(first)) => first.rtype,
        _ => qtype,
    };
    records.all.iter().filter(move |record| record.rtype == wanted)
}

/// The CNAMEs of an answer from its question's name to `target`.
fn push_chain(made: &mut AnswerBuilder, chain: &Answer, target: &Name, ttl_max: u32) {
    for record in chain.section(Section::Answer).filter(|record| record.rtype == RecordType::CNAME) {
        made.push(Section::Answer, record.owner, record.rtype, record.ttl.min(ttl_max), record.rdata);
        if Name::from_wire(record.rdata).as_ref() == Ok(target) {
            return;
        }
    }
}
