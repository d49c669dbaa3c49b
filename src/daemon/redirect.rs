//! A list's CNAME at run time: its target is asked for through our own pipeline and judged like any answer.

use std::sync::Arc;

use crate::daemon::forwarder::Ask;
use crate::daemon::resolver::{Asked, AskedBy, Begun, Ended, Found, Resolver, blocked_by};
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::telemetry::Outcome;
use crate::engine::answer::Answer;
use crate::engine::policy::{self, AnswerVerdict, Permit};
use crate::engine::query::{CLASS_IN, Query, Question, RecordType};
use crate::engine::reply::encoder::TtlRule;
use crate::engine::reply::{self, NotFound, TargetFound};
use crate::engine::verdict::Redirect;

impl Resolver {
    /// Answers a question that a list leads elsewhere.
    pub(super) async fn redirect(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        asked: Asked,
        permit: &Permit,
        redirect: &Redirect,
        chain: Option<&Answer>,
    ) -> Begun {
        let snapshot = &generation.snapshot;
        let (client, query, origin) = (asked.client, &asked.query, asked.origin);
        let by = AskedBy { client, query, origin };
        let found = match self.target(generation, permit, query, redirect, asked.deadline).await {
            Ok(found) => found,
            Err(why) => return self.failed(snapshot, by, asked.recorder, why, None),
        };
        let mut target = TargetFound { answer: None, ttl: TtlRule::Fixed(0), cleared: None };
        if let Some(found) = &found {
            let question = target_question(query, redirect);
            target.cleared = match policy::on_answer(snapshot, client, permit, &question, &found.answer) {
                AnswerVerdict::Deliver(cleared) => Some(cleared),
                AnswerVerdict::Block(block) => {
                    return self.blocked(generation, client, query, origin, asked.recorder, &block, None);
                }
                AnswerVerdict::Rewrite(rewrite) => {
                    return self.rewrite(generation, client, permit, query, origin, asked.recorder, &rewrite).await;
                }
                // One rule leads elsewhere, not one after the other.
                AnswerVerdict::Redirect(..) | AnswerVerdict::TooLong => {
                    self.metrics.limit_hit("chain_max");
                    return self.failed(snapshot, by, asked.recorder, NotFound::Unreachable, None);
                }
            };
            let max = snapshot.cache.max_client_ttl_secs();
            (target.answer, target.ttl) = (Some(&*found.answer), found.ttl_rule(max).0);
        }
        let (bytes, rcode) = reply::redirect(snapshot, client.profile, query, origin, redirect, chain, target);
        let blocked = blocked_by(snapshot, client, &redirect.reason);
        let ended = Ended { by: Some(blocked), ..Ended::new(Outcome::Blocked, rcode) };
        self.answer(snapshot, by, asked.recorder, bytes, ended)
    }

    /// What the target has of the type that was asked; `None` when the CNAME itself was asked for, or everything was.
    async fn target(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        permit: &Permit,
        query: &Query,
        redirect: &Redirect,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Found>, NotFound> {
        // I14: nothing is looked up for RD=0; the CNAME is what we know ourselves.
        if matches!(query.question.qtype, RecordType::CNAME | RecordType::ANY) || !query.recursion_desired {
            return Ok(None);
        }
        let question = target_question(query, redirect);
        let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
        let ask = Ask { dnssec_ok, checking_disabled: query.checking_disabled, ..Ask::plain(question) };
        self.find_anew(generation, permit, ask, None, deadline).await.map(Some)
    }
}

fn target_question(query: &Query, redirect: &Redirect) -> Question {
    Question { qname: redirect.target.clone(), qtype: query.question.qtype, qclass: CLASS_IN }
}
