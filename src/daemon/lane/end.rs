//! How a datagram ends in the lane: a block or a refusal is written, whoever asked too much is cut short, and what was answered is
//! counted and told. What the answer is was decided before.

use std::time::Instant;

use super::{Batch, Fast};
use crate::daemon::limiter::{Asker, Limiter};
use crate::daemon::resolver::blocked_by;
use crate::daemon::telemetry::tally::Counted;
use crate::daemon::telemetry::{Metrics, Outcome, QueryEvent, log};
use crate::engine::client::Client;
use crate::engine::compile::Strangers;
use crate::engine::policy;
use crate::engine::query::{Header, Origin, Query, Question, Rcode};
use crate::engine::reply;
use crate::engine::verdict::{Block, EngineId};

impl Batch<'_> {
    pub(super) fn block(
        &mut self,
        client: Client,
        query: &Query,
        origin: Origin,
        block: &Block,
        out: &mut Vec<u8>,
    ) -> Fast {
        let snapshot = &self.generation.snapshot;
        let rcode = reply::block(snapshot, client.profile, query, origin, block, None, out);
        if rcode.is_some() && self.is_too_much(client, query, origin, out) {
            return self.cut_short(query, origin, out);
        }
        let category = policy::category(&block.reason);
        let qtype = query.question.qtype;
        self.tally.count(&Counted {
            transport: origin.transport,
            is_v6: origin.source.is_ipv6(),
            qtype: Some(qtype),
            outcome: Outcome::Blocked,
            rcode,
            block: Some((block.reason.rung, category, client.profile)),
            engine: None,
        });
        let by = blocked_by(snapshot, client, &block.reason);
        self.tell_others(QueryEvent {
            block: Some(by),
            ..self.event(&origin, Some(&query.question), Outcome::Blocked, rcode)
        });
        self.answered += 1;
        if rcode.is_some() { Fast::Answer } else { Fast::Silence }
    }

    /// Someone we do not serve: REFUSED with EDE 18 while the limit lasts, else nothing.
    pub(super) fn stranger(&mut self, message: &[u8], header: Header, origin: Origin, out: &mut Vec<u8>) -> Fast {
        let is_told = self.generation.snapshot.strangers == Strangers::Refuse && self.resolver.strangers.allows();
        let rcode = is_told.then_some(Rcode::REFUSED);
        let (transport, is_v6) = (origin.transport, origin.source.is_ipv6());
        let outcome = Outcome::Stranger;
        self.tally.count(&Counted { transport, is_v6, qtype: None, outcome, rcode, block: None, engine: None });
        self.tell_others(self.event(&origin, None, Outcome::Stranger, rcode));
        if !is_told {
            return Fast::Silence;
        }
        reply::stranger(message, header, origin, out);
        Fast::Answer
    }

    /// Whether the answer is more than its prefix may have now.
    fn is_too_much(&self, client: Client, query: &Query, origin: Origin, out: &[u8]) -> bool {
        let (received, sent) = (usize::from(query.octets), out.len());
        self.refuses(client, query, origin, |limiter, metrics, asker, now| {
            limiter.refuses_answer(metrics, asker, received, sent, now)
        })
    }

    pub(super) fn refuses(
        &self,
        client: Client,
        query: &Query,
        origin: Origin,
        refuses: impl FnOnce(&Limiter, &Metrics, Asker, Instant) -> bool,
    ) -> bool {
        let Some(limiter) = self.limiter else { return false };
        let asker = Asker::of(&self.generation.snapshot, client, query, origin);
        asker.is_some_and(|asker| refuses(limiter, &self.resolver.metrics, asker, self.now))
    }

    pub(super) fn cut_short(&mut self, query: &Query, origin: Origin, out: &mut Vec<u8>) -> Fast {
        let rcode = reply::cut_short(query, out);
        self.told(origin, &query.question, Outcome::Limited, rcode, None)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn done(
        &mut self,
        client: Client,
        query: &Query,
        origin: Origin,
        outcome: Outcome,
        rcode: Rcode,
        engine: Option<EngineId>,
        out: &mut Vec<u8>,
    ) -> Fast {
        if self.is_too_much(client, query, origin, out) {
            return self.cut_short(query, origin, out);
        }
        self.told(origin, &query.question, outcome, rcode, engine)
    }

    fn told(
        &mut self,
        origin: Origin,
        question: &Question,
        outcome: Outcome,
        rcode: Rcode,
        engine: Option<EngineId>,
    ) -> Fast {
        let (transport, is_v6, rcode) = (origin.transport, origin.source.is_ipv6(), Some(rcode));
        self.tally.count(&Counted {
            transport,
            is_v6,
            qtype: Some(question.qtype),
            outcome,
            rcode,
            block: None,
            engine,
        });
        let engine = engine.map(|engine| self.generation.snapshot.safe_search.engine_name(engine));
        self.tell_others(QueryEvent { engine, ..self.event(&origin, Some(question), outcome, rcode) });
        self.answered += 1;
        Fast::Answer
    }

    fn event<'a>(
        &self,
        origin: &'a Origin,
        question: Option<&'a Question>,
        outcome: Outcome,
        rcode: Option<Rcode>,
    ) -> QueryEvent<'a> {
        let generation = self.generation.snapshot.generation;
        let (subscribers, started) = (self.epoch, self.now);
        QueryEvent { origin, question, outcome, rcode, block: None, engine: None, generation, subscribers, started }
    }

    fn tell_others(&self, event: QueryEvent<'_>) {
        self.resolver.metrics.learn(&event);
        log::query(&event);
    }
}
