//! How a query ends: an answer is judged and written, a block, a refusal or a failure said; it is recorded, and cut short when it
//! is too much for whoever asked. Where answers come from is in `find`.

use std::sync::Arc;

use tokio::time::Instant;

use super::find::{Found, From};
use super::pending::{Need, Pending, Target};
use super::{Begun, Resolver};
use crate::daemon::clock;
use crate::daemon::limiter::{Asker, Limiter};
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::telemetry::{BlockedBy, Outcome, Recorder};
use crate::engine::answer::Answer;
use crate::engine::cache::{Entry, Told};
use crate::engine::client::Client;
use crate::engine::compile::Strangers;
use crate::engine::limits::QUERY_DEADLINE;
use crate::engine::policy::{self, AnswerVerdict, Permit};
use crate::engine::query::{CLASS_CH, Header, Origin, Query, Rcode};
use crate::engine::reply::encoder::TtlRule;
use crate::engine::reply::{self, NotFound, Telling};
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::{Block, Counted, Reason, Would};

/// Who asked what.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct AskedBy<'a> {
    pub client: Client,
    pub query: &'a Query,
    pub origin: Origin,
}

/// How a query ended, with an answer.
pub(in crate::daemon) struct Ended<'a> {
    pub outcome: Outcome,
    pub rcode: Rcode,
    pub by: Option<BlockedBy<'a>>,
    /// The search engine of a rewrite.
    pub engine: Option<&'a str>,
}

impl<'a> Ended<'a> {
    pub(in crate::daemon) fn new(outcome: Outcome, rcode: Rcode) -> Ended<'a> {
        Ended { outcome, rcode, by: None, engine: None }
    }
}

impl Resolver {
    /// Judges an answer for this client and writes it, or the block it earned. Pending: it earned a rewrite.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn deliver(
        &self,
        generation: &Arc<Generation>,
        client: Client,
        permit: &Permit,
        query: &Query,
        origin: Origin,
        recorder: Recorder,
        found: &Found,
    ) -> Begun {
        let snapshot = &generation.snapshot;
        match policy::on_answer(snapshot, client, permit, &query.question, &found.answer) {
            AnswerVerdict::Block(block) => {
                self.blocked(generation, client, query, origin, recorder, &block, Some(&found.answer))
            }
            AnswerVerdict::Rewrite(rewrite) => Begun::Pending(Box::new(Pending {
                generation: Arc::clone(generation),
                client,
                query: query.clone(),
                origin,
                recorder,
                deadline: Instant::now() + QUERY_DEADLINE,
                need: Need::Target(Target::Rewrite { permit: *permit, rewrite }),
            })),
            AnswerVerdict::Redirect(redirect, permit) => Begun::Pending(Box::new(Pending {
                generation: Arc::clone(generation),
                client,
                query: query.clone(),
                origin,
                recorder,
                deadline: Instant::now() + QUERY_DEADLINE,
                need: Need::Target(Target::Redirect { permit, redirect, chain: Some(Arc::clone(&found.answer)) }),
            })),
            AnswerVerdict::TooLong => {
                self.metrics.limit_hit("chain_max");
                self.failed(snapshot, AskedBy { client, query, origin }, recorder, NotFound::Unreachable, None)
            }
            AnswerVerdict::Deliver(cleared) => {
                self.count_would(snapshot, client, cleared.would());
                let max = snapshot.cache.max_client_ttl_secs();
                let outcome = match found.from {
                    From::Cache => Outcome::Hit,
                    From::Upstream => Outcome::Forwarded,
                    From::Stale => Outcome::Stale,
                };
                let (ttl, stale) = found.ttl_rule(max);
                let telling = Telling { ttl, stale, trust_ad: found.trust_ad };
                let bytes = reply::answer(cleared, snapshot, query, origin, &found.answer, telling);
                let ended = Ended::new(outcome, found.answer.rcode);
                self.answer(snapshot, AskedBy { client, query, origin }, recorder, bytes, ended)
            }
        }
    }

    /// Answers a query with upstream's answer as the cache has it, into `out`. What needs more than that comes back.
    pub(in crate::daemon) fn deliver_kept(
        &self,
        pending: Box<Pending>,
        answer: &Answer,
        kept: &Entry,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<Pending>> {
        let Need::Answer { permit, .. } = &pending.need else { return Err(pending) };
        let (snapshot, query) = (&pending.generation.snapshot, &pending.query);
        let verdict = policy::on_answer(snapshot, pending.client, permit, &query.question, answer);
        let AnswerVerdict::Deliver(cleared) = verdict else { return Err(pending) };
        let would = cleared.would();
        let ttl = TtlRule::Age { secs: 0, max: snapshot.cache.max_client_ttl_secs() };
        if !kept.tell(cleared, query, pending.origin.transport, &Told { ttl, ede: None }, out) {
            return Err(pending);
        }
        self.count_would(snapshot, pending.client, would);
        let limiter = self.limiter.load();
        let asker = Asker::of(snapshot, pending.client, query, pending.origin);
        let is_cut = limiter.as_ref().zip(asker).is_some_and(|(limiter, asker)| {
            limiter.refuses_answer(&self.metrics, asker, query.octets.into(), out.len(), clock::now())
        });
        let (outcome, rcode) = match is_cut {
            true => (Outcome::Limited, reply::cut_short(query, out)),
            false => (Outcome::Forwarded, answer.rcode),
        };
        let Pending { query, recorder, .. } = *pending;
        recorder.record(Some(&query.question), outcome, Some(rcode), None, None);
        Ok(())
    }

    /// Answers a query with what was found for it elsewhere.
    pub(in crate::daemon) fn deliver_pending(&self, pending: Pending, found: &Found) -> Begun {
        match pending {
            Pending { generation, client, query, origin, recorder, need: Need::Answer { permit, .. }, .. } => {
                self.deliver(&generation, client, &permit, &query, origin, recorder, found)
            }
            pending => Begun::Pending(Box::new(pending)),
        }
    }

    /// Writes a block, or nothing when the profile or the rule drops.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::daemon) fn blocked(
        &self,
        generation: &Generation,
        client: Client,
        query: &Query,
        origin: Origin,
        recorder: Recorder,
        block: &Block,
        chain: Option<&Answer>,
    ) -> Begun {
        let snapshot = &generation.snapshot;
        let by = blocked_by(snapshot, client, &block.reason);
        let mut bytes = Vec::with_capacity(512);
        match reply::block(snapshot, client.profile, query, origin, block, chain, &mut bytes) {
            Some(rcode) => {
                let ended = Ended { by: Some(by), ..Ended::new(Outcome::Blocked, rcode) };
                self.answer(snapshot, AskedBy { client, query, origin }, recorder, bytes, ended)
            }
            None => {
                recorder.record(Some(&query.question), Outcome::Blocked, None, Some(by), None);
                Begun::Silence
            }
        }
    }

    /// SERVFAIL of ours.
    pub(in crate::daemon) fn failed(
        &self,
        snapshot: &Snapshot,
        asked: AskedBy<'_>,
        recorder: Recorder,
        why: NotFound,
        engine: Option<&str>,
    ) -> Begun {
        let bytes = reply::failure(snapshot, asked.query, asked.origin, why);
        let ended = Ended { engine, ..Ended::new(Outcome::Failed, Rcode::SERVFAIL) };
        self.answer(snapshot, asked, recorder, bytes, ended)
    }

    /// Ends a query with an answer. One that is too much for its prefix is cut short.
    pub(in crate::daemon) fn answer(
        &self,
        snapshot: &Snapshot,
        asked: AskedBy<'_>,
        recorder: Recorder,
        bytes: Vec<u8>,
        ended: Ended<'_>,
    ) -> Begun {
        let AskedBy { client, query, origin } = asked;
        let limiter = self.limiter.load();
        let asker = Asker::of(snapshot, client, query, origin);
        let refuses = |(limiter, asker): (&Arc<Limiter>, Asker)| {
            limiter.refuses_answer(&self.metrics, asker, query.octets.into(), bytes.len(), clock::now())
        };
        if limiter.as_ref().zip(asker).is_some_and(refuses) {
            return Resolver::cut_short(query, recorder, bytes);
        }
        recorder.record(Some(&query.question), ended.outcome, Some(ended.rcode), ended.by, ended.engine);
        Begun::Answer(bytes)
    }

    pub(super) fn cut_short(query: &Query, recorder: Recorder, mut bytes: Vec<u8>) -> Begun {
        let rcode = reply::cut_short(query, &mut bytes);
        recorder.record(Some(&query.question), Outcome::Limited, Some(rcode), None, None);
        Begun::Answer(bytes)
    }

    /// Someone we do not serve: REFUSED with EDE 18 while the limit lasts, else nothing.
    pub(super) fn stranger(
        &self,
        message: &[u8],
        header: Header,
        origin: Origin,
        recorder: Recorder,
        how: Strangers,
    ) -> Begun {
        if how == Strangers::Drop || !self.strangers.allows() {
            recorder.record(None, Outcome::Stranger, None, None, None);
            return Begun::Silence;
        }
        recorder.record(None, Outcome::Stranger, Some(Rcode::REFUSED), None, None);
        let mut bytes = Vec::with_capacity(512);
        reply::stranger(message, header, origin, &mut bytes);
        Begun::Answer(bytes)
    }

    /// `CH TXT version.bind` and its like from this machine; any other class is refused.
    pub(super) fn other_class(
        &self,
        generation: &Generation,
        query: &Query,
        header: Header,
        origin: Origin,
        recorder: Recorder,
    ) -> Begun {
        let told = (query.question.qclass == CLASS_CH && origin.source.ip().to_canonical().is_loopback())
            .then(|| reply::chaos(&generation.snapshot, query, origin))
            .flatten();
        if let Some(bytes) = told {
            recorder.record(Some(&query.question), Outcome::Local, Some(Rcode::NOERROR), None, None);
            return Begun::Answer(bytes);
        }
        let refusal = reply::refuse(query, header, Rcode::REFUSED);
        recorder.record(Some(&query.question), Outcome::Refused, Some(Rcode::REFUSED), None, None);
        Begun::Answer(reply::refusal(&refusal, origin))
    }

    /// Counts what would have been done, where it is only counted.
    pub(in crate::daemon) fn count_would(&self, snapshot: &Snapshot, client: Client, would: Option<Would>) {
        let Some(Would { how, rung, category }) = would else { return };
        let category = category.map_or("none", |id| snapshot.categories.get(id).name.as_str());
        let profile = snapshot.profile(client.profile).name.as_str();
        match how {
            Counted::Observed => self.metrics.observed.with_label_values(&[rung.as_str(), category, profile]).inc(),
            Counted::Shadow => self.metrics.shadow_blocked.with_label_values(&[category, profile]).inc(),
        }
    }
}

/// The labels of a block.
pub(in crate::daemon) fn blocked_by<'a>(snapshot: &'a Snapshot, client: Client, reason: &Reason) -> BlockedBy<'a> {
    let category = policy::category(reason).map_or("none", |c| snapshot.categories.get(c).name.as_str());
    BlockedBy { rung: reason.rung, category, profile: &snapshot.profile(client.profile).name }
}
