//! SafeSearch at run time: the engine's target is asked for through our own pipeline, and something safe is always said.
//!
//! Never the original host's data (I8): what cannot be resolved in time is answered from the table, with no addresses, or
//! with SERVFAIL.

use std::sync::Arc;

use crate::daemon::resolver::{AskedBy, Begun, Ended, Resolver};
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::telemetry::{Outcome, Recorder};
use crate::engine::answer::{Answer, AnswerBuilder, Section, address};
use crate::engine::client::Client;
use crate::engine::limits::SAFE_SEARCH_TARGET_TIMER;
use crate::engine::policy::{self, AnswerVerdict, Permit, Purpose};
use crate::engine::query::{CLASS_IN, Origin, Query, Question, Rcode, RecordType};
use crate::engine::reply::encoder::TtlRule;
use crate::engine::reply::{self, NotFound, TargetAnswer};
use crate::engine::safe_search::Rule;
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::{Rewrite, Shape};

impl Resolver {
    /// Answers a rewritten question.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn rewrite(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        client: Client,
        permit: &Permit,
        query: &Query,
        origin: Origin,
        recorder: Recorder,
        rewrite: &Rewrite,
    ) -> Begun {
        let snapshot = &generation.snapshot;
        let rule = &*rewrite.rule;
        let wanted = wanted_type(rewrite.shape, query.question.qtype);
        let found =
            match wanted {
                None => None,
                Some(qtype) => {
                    let question = Question { qname: rule.target.clone(), qtype, qclass: CLASS_IN };
                    let internal = Permit::internal(Purpose::SafeSearchTarget);
                    let found = self.find_internal(generation, &internal, &question, SAFE_SEARCH_TARGET_TIMER).await;
                    // A target that "does not exist", or whose resolution failed, is a failure: it is there by contract.
                    Some(found.and_then(|f| {
                        if f.answer.rcode == Rcode::NOERROR { Ok(f) } else { Err(NotFound::Unreachable) }
                    }))
                }
            };
        let found = found.as_ref().map(|found| match found {
            Ok(found) => {
                let (ttl, stale) = found.ttl_rule(u32::MAX);
                Ok(Target { answer: &found.answer, ttl, stale })
            }
            Err(why) => Err(*why),
        });
        let engine = snapshot.safe_search.engine_name(rewrite.rule.engine);
        let mut bytes = Vec::with_capacity(512);
        let asked = AskedBy { client, query, origin };
        match target_answer(snapshot, client, permit, query, rewrite, found) {
            Ok(target) => {
                let mut made = AnswerBuilder::new(Rcode::NOERROR);
                reply::rewrite(snapshot, query, origin, rewrite, &target, &mut made, &mut bytes);
                let ended = Ended { engine: Some(engine), ..Ended::new(Outcome::Rewritten, Rcode::NOERROR) };
                self.answer(snapshot, asked, recorder, bytes, ended)
            }
            Err(why) => self.failed(snapshot, asked, recorder, why, Some(engine)),
        }
    }
}

/// What a target was found to have: NOERROR, from the cache or from upstream.
pub(super) struct Target<'a> {
    pub answer: &'a Answer,
    pub ttl: TtlRule,
    pub stale: bool,
}

/// What is said for a rewritten question; `found` is `None` when nothing was asked of the target.
///
/// # Errors
/// Nothing safe can be said.
pub(super) fn target_answer<'a>(
    snapshot: &Snapshot,
    client: Client,
    permit: &Permit,
    query: &Query,
    rewrite: &Rewrite,
    found: Option<Result<Target<'a>, NotFound>>,
) -> Result<TargetAnswer<'a>, NotFound> {
    let rule = &*rewrite.rule;
    let wanted = wanted_type(rewrite.shape, query.question.qtype);
    match (found, wanted) {
        (Some(Ok(Target { answer, ttl, stale })), Some(qtype)) if is_usable(answer, qtype) => {
            match policy::on_answer(snapshot, client, permit, &query.question, answer) {
                AnswerVerdict::Deliver(cleared) => Ok(TargetAnswer::Resolved { answer, ttl, stale, cleared }),
                // No list may take the safe search away, not even by a name that its target leads to; and a target that
                // leads back to a host it stands for is not followed a second time.
                AnswerVerdict::Block(_)
                | AnswerVerdict::Redirect(..)
                | AnswerVerdict::TooLong
                | AnswerVerdict::Rewrite(_) => {
                    Ok(if has_static(rule, wanted) { TargetAnswer::Static } else { TargetAnswer::NoData })
                }
            }
        }
        _ if has_static(rule, wanted) => Ok(TargetAnswer::Static),
        // Nothing was asked for, upstream says there is none, or the engine has addresses of the other family only.
        (None, _) | (Some(Ok(_)), _) => Ok(TargetAnswer::NoData),
        (Some(Err(_)), Some(qtype)) if !is_address(qtype) || !rule.ipv4.is_empty() || !rule.ipv6.is_empty() => {
            Ok(TargetAnswer::NoData)
        }
        (Some(Err(why)), _) => Err(why),
    }
}

/// What is asked of the target: nothing for ANY under a CNAME, nor for SVCB types under an own name, which get NODATA.
pub(super) fn wanted_type(shape: Shape, qtype: RecordType) -> Option<RecordType> {
    match (qtype, shape) {
        (RecordType::A | RecordType::AAAA, _) | (_, Shape::Cname) if qtype != RecordType::ANY => Some(qtype),
        (RecordType::ANY, Shape::OwnName) => Some(RecordType::A),
        _ => None,
    }
}

fn is_address(qtype: RecordType) -> bool {
    matches!(qtype, RecordType::A | RecordType::AAAA)
}

/// For address types, an address of that family.
fn is_usable(answer: &Answer, qtype: RecordType) -> bool {
    let has_address =
        || answer.section(Section::Answer).any(|r| r.rtype == qtype && address(r.rtype, r.rdata).is_some());
    !is_address(qtype) || has_address()
}

fn has_static(rule: &Rule, wanted: Option<RecordType>) -> bool {
    match wanted {
        Some(RecordType::A) => !rule.ipv4.is_empty(),
        Some(RecordType::AAAA) => !rule.ipv6.is_empty(),
        _ => false,
    }
}
