//! A query that waits: what it waits for, and what it needs to end well. Who waits for it is in `resolver.rs`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::find::{Wanted, answer_key, ask_of};
use crate::daemon::cache::Hit;
use crate::daemon::forwarder::{Ask, write_question};
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::telemetry::{Metrics, Outcome, Recorder};
use crate::engine::answer::Answer;
use crate::engine::cache::Key;
use crate::engine::client::Client;
use crate::engine::exchange::Before;
use crate::engine::limits::{QUERY_DEADLINE, STALE_CLIENT_TIMER};
use crate::engine::policy::Permit;
use crate::engine::query::{Origin, Query, Question};
use crate::engine::upstream::GroupId;
use crate::engine::verdict::{Redirect, Rewrite};

/// A query that waits, with the generation it began in (I2).
pub struct Pending {
    pub(super) generation: Arc<Generation>,
    pub(super) client: Client,
    pub(super) query: Query,
    pub(super) origin: Origin,
    pub(super) recorder: Recorder,
    pub(super) deadline: Instant,
    pub(super) need: Need,
}

pub(super) enum Need {
    /// The question itself; a stale answer may stand in.
    Answer { permit: Permit, key: Key, group: GroupId, stale: Option<Hit>, before: Option<Before> },
    /// Another name's answer in its place.
    Target(Target),
}

pub(super) enum Target {
    /// SafeSearch's.
    Rewrite { permit: Permit, rewrite: Rewrite },
    /// That of a list's CNAME; `chain` is the answer that led to its owner.
    Redirect { permit: Permit, redirect: Box<Redirect>, chain: Option<Arc<Answer>> },
}

/// A query that waits for more than its own answer.
pub(in crate::daemon) struct Asked {
    pub client: Client,
    pub query: Query,
    pub origin: Origin,
    pub recorder: Recorder,
    pub deadline: Instant,
}

impl Pending {
    /// A question that the lane found nothing about.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::daemon) fn plain(
        generation: &Arc<Generation>,
        client: Client,
        query: &Query,
        origin: Origin,
        permit: Permit,
        group: GroupId,
        metrics: &Arc<Metrics>,
    ) -> Box<Pending> {
        let recorder = Recorder::new(metrics, origin, &generation.snapshot);
        let (key, generation) = (answer_key(generation, query, group), Arc::clone(generation));
        let query = query.clone();
        let deadline = Instant::now() + QUERY_DEADLINE;
        let need = Need::Answer { permit, key, group, stale: None, before: None };
        Box::new(Pending { generation, client, query, origin, recorder, deadline, need })
    }

    /// What is to be found, when it is the answer to the question itself.
    pub(super) fn wanted(&mut self) -> Option<(Permit, Wanted)> {
        let Need::Answer { permit, key, group, stale, before } = &mut self.need else { return None };
        let stale = stale.take();
        let patience = if stale.is_some() { STALE_CLIENT_TIMER } else { QUERY_DEADLINE };
        let ask = Ask { before: before.take(), ..ask_of(&self.query) };
        let (key, group) = (key.clone(), *group);
        Some((*permit, Wanted { key, group, ask, stale, patience, deadline: self.deadline }))
    }

    /// What is asked upstream, when that is all the query needs.
    pub(in crate::daemon) fn plain_need(&self) -> Option<(&Key, GroupId)> {
        match &self.need {
            Need::Answer { key, group, stale: None, .. } => Some((key, *group)),
            Need::Answer { stale: Some(_), .. } | Need::Target(_) => None,
        }
    }

    /// Writes what is asked upstream.
    pub(in crate::daemon) fn write_question(&self, out: &mut Vec<u8>) {
        let Query { question, edns, checking_disabled, .. } = &self.query;
        write_question(question, edns.is_some_and(|e| e.dnssec_ok), *checking_disabled, true, out);
    }

    pub(in crate::daemon) fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// A lane asked a server already.
    pub(in crate::daemon) fn was_asked(&mut self, found: Before) {
        if let Need::Answer { before, .. } = &mut self.need {
            *before = Some(found);
        }
    }

    pub(in crate::daemon) fn question(&self) -> &Question {
        &self.query.question
    }

    pub(in crate::daemon) fn dnssec_ok(&self) -> bool {
        self.query.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    pub(in crate::daemon) fn origin(&self) -> Origin {
        self.origin
    }

    pub(in crate::daemon) fn serve_stale(&self) -> Duration {
        self.generation.snapshot.cache.serve_stale
    }

    /// Gives the query up for want of room: counted as dropped, nothing is sent.
    pub fn shed(self) {
        self.recorder.record(Some(&self.query.question), Outcome::Dropped, None, None, None);
    }
}
