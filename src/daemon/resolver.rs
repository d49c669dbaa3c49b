//! The life of one query (DESIGN §2). It decides nothing: policy does.
//!
//! [`Resolver::begin`] answers at once what can be answered without waiting — blocks, local data, cache hits, refusals —
//! and returns a [`Pending`] for the rest, so that a listener spends a task only on questions that wait.
//!
//! Here is the way of a query. Who asks (`who`), what it waits for (`pending`), where its answer comes from (`find`) and how it is told
//! (`end`) have files of their own.

mod end;
mod find;
mod pending;
mod who;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::daemon::cache::Cache;
use crate::daemon::certificates::{Certificate, Certificates};
use crate::daemon::clock;
use crate::daemon::guests::Guests;
use crate::daemon::inflight::InFlight;
use crate::daemon::limiter::{Asker, Limiter};
use crate::daemon::snapshot_cell::{Generation, SnapshotCell};
use crate::daemon::stranger_limit::StrangerLimit;
use crate::daemon::telemetry::{Metrics, Outcome, Recorder};
use crate::daemon::zone_limiter::ZoneLimiter;
use crate::engine::answer::AnswerBuilder;
use crate::engine::cache::Freshness;
use crate::engine::category::CANARY_NAME;
use crate::engine::cookie::Standing;
use crate::engine::limits::QUERY_DEADLINE;
use crate::engine::name::Name;
use crate::engine::policy::{self, QueryVerdict};
use crate::engine::query::{self, CLASS_IN, Edns, Header, Origin, Question, Rcode, Transport};
use crate::engine::reply::{self, NotFound};
use crate::engine::snapshot::Snapshot;

pub(super) use end::{AskedBy, Ended, blocked_by};
use find::answer_key;
pub use find::{Found, From};
pub(super) use pending::Asked;
pub use pending::Pending;
use pending::{Need, Target};
pub use who::Standings;

/// Answers queries. One for the whole process; listeners share it.
pub struct Resolver {
    pub cell: SnapshotCell,
    pub cache: Cache,
    pub metrics: Arc<Metrics>,
    in_flight: Arc<InFlight>,
    pub(super) strangers: StrangerLimit,
    limiter: ArcSwapOption<Limiter>,
    zones: ArcSwapOption<ZoneLimiter>,
    guests: Guests,
    /// Our own, for listeners that encrypt.
    pub certificates: Arc<Certificates>,
    /// Exchanges and prefetches, which outlive the client that caused them.
    exchanges: TaskTracker,
}

/// What became of a message at once.
pub enum Begun {
    /// Send this.
    Answer(Vec<u8>),
    /// Send nothing.
    Silence,
    /// The answer needs upstream.
    Pending(Box<Pending>),
}

impl Resolver {
    pub fn new(first: Generation, metrics: Arc<Metrics>) -> Resolver {
        let cache = Cache::new(first.snapshot.cache.size);
        let resolver = Resolver {
            cell: SnapshotCell::new(first),
            cache,
            metrics,
            in_flight: Arc::default(),
            strangers: StrangerLimit::default(),
            limiter: ArcSwapOption::empty(),
            zones: ArcSwapOption::empty(),
            guests: Guests::default(),
            certificates: Arc::default(),
            exchanges: TaskTracker::new(),
        };
        resolver.set_limits(&resolver.cell.load().snapshot);
        resolver
    }

    /// Takes one message. Everything that needs no upstream is answered here, without waiting.
    pub fn begin(self: &Arc<Self>, message: &[u8], origin: Origin) -> Begun {
        let Some(header) = Header::peek(message) else {
            self.metrics.packets_ignored.with_label_values(&[origin.transport.as_str()]).inc();
            return Begun::Silence;
        };
        let generation = self.cell.load();
        let snapshot = &generation.snapshot;
        let recorder = Recorder::new(&self.metrics, origin, snapshot);
        if !snapshot.admits(&origin) {
            return self.stranger(message, header, origin, recorder, snapshot.strangers);
        }
        let query = match query::read(message, header) {
            Ok(mut query) => {
                meet(snapshot, &mut query.edns, origin);
                query
            }
            Err(mut refusal) => {
                meet(snapshot, &mut refusal.edns, origin);
                let asks_for_cookie = refusal.rcode == Rcode::NOERROR;
                if asks_for_cookie {
                    refusal.rcode = match refusal.edns.and_then(|edns| edns.told).map(|told| told.standing) {
                        Some(Standing::New | Standing::Proven) => Rcode::NOERROR,
                        Some(Standing::Bad) => Rcode::BADCOOKIE,
                        None => Rcode::FORMERR,
                    };
                }
                let question = refusal.question.as_ref().map(|(question, _)| question);
                let outcome = if refusal.rcode == Rcode::NOERROR { Outcome::Local } else { Outcome::Refused };
                recorder.record(question, outcome, Some(refusal.rcode), None, None);
                return Begun::Answer(reply::refusal(&refusal, origin));
            }
        };
        let origin = snapshot.peers.recognise(origin, query.edns.as_ref());
        if query.question.qclass != CLASS_IN {
            return self.other_class(&generation, &query, header, origin, recorder);
        }
        let client = snapshot.identify(&origin, clock::unix_time());
        let need = match policy::on_query(snapshot, client, &query.question, &mut ()) {
            QueryVerdict::Local(local) => {
                let (mut made, mut bytes) = (AnswerBuilder::new(Rcode::NOERROR), Vec::with_capacity(512));
                let rcode = reply::local(snapshot, client, &query, origin, &local, &mut made, &mut bytes);
                let asked = AskedBy { client, query: &query, origin };
                return self.answer(snapshot, asked, recorder, bytes, Ended::new(Outcome::Local, rcode));
            }
            QueryVerdict::Block(block) => {
                return self.blocked(&generation, client, &query, origin, recorder, &block, None);
            }
            QueryVerdict::Redirect(redirect, permit) => {
                Need::Target(Target::Redirect { permit, redirect, chain: None })
            }
            QueryVerdict::Rewrite(rewrite, permit) => Need::Target(Target::Rewrite { permit, rewrite }),
            QueryVerdict::Allow(permit) => {
                if let Some(list) = permit.review() {
                    self.metrics.keyword_reviews.with_label_values(&[&snapshot.list(list).name]).inc();
                }
                self.count_would(snapshot, client, permit.would());
                let asked = AskedBy { client, query: &query, origin };
                // I14: RD=0 gets blocks, rewrites and local data; nothing is looked up for it.
                if !query.recursion_desired {
                    let refusal = reply::refuse(&query, header, Rcode::REFUSED);
                    recorder.record(Some(&query.question), Outcome::Refused, Some(Rcode::REFUSED), None, None);
                    return Begun::Answer(reply::refusal(&refusal, origin));
                }
                if policy::is_any(&query.question) {
                    let (mut made, mut bytes) = (AnswerBuilder::new(Rcode::NOERROR), Vec::with_capacity(512));
                    let rcode = reply::any(snapshot, &query, origin, &mut made, &mut bytes);
                    return self.answer(snapshot, asked, recorder, bytes, Ended::new(Outcome::Local, rcode));
                }
                let Some(group) = snapshot.routes.group_of(&query.question) else {
                    return self.failed(snapshot, asked, recorder, NotFound::NotReady, None);
                };
                let key = answer_key(&generation, &query, group);
                let stale = match self.look_up(&generation, &key) {
                    Some(hit) if matches!(hit.freshness, Freshness::Stale) => Some(hit),
                    Some(hit) => {
                        if hit.freshness == Freshness::Prefetch {
                            self.prefetch(&generation, &key, group, &query);
                        }
                        let found = Found::hit(hit);
                        return self.deliver(&generation, client, &permit, &query, origin, recorder, &found);
                    }
                    None => None,
                };
                // One of our servers asks us what we are asking it: waiting would only end in a time-out.
                if generation.forwarder.is_server(group, origin.source.ip()) && self.in_flight.contains(&key) {
                    return self.failed(snapshot, asked, recorder, self.looping(), None);
                }
                let (limiter, asker) = (self.limiter.load(), Asker::of(snapshot, client, &query, origin));
                let refuses =
                    |(limiter, asker): (&Arc<Limiter>, Asker)| limiter.refuses_miss(&self.metrics, asker, clock::now());
                if limiter.as_ref().zip(asker).is_some_and(refuses) {
                    return Resolver::cut_short(&query, recorder, Vec::new());
                }
                let is_limited =
                    |zones: &Arc<ZoneLimiter>| zones.refuses(&self.metrics, &query.question.qname, clock::now());
                if self.zones.load().as_ref().is_some_and(is_limited) {
                    // What is stale is better than nothing, as when upstream is lost.
                    return match stale.map(Found::stale) {
                        Some(found) => self.deliver(&generation, client, &permit, &query, origin, recorder, &found),
                        None => self.failed(snapshot, asked, recorder, NotFound::ZoneLimited, None),
                    };
                }
                Need::Answer { permit, key, group, stale, before: None }
            }
        };
        let generation = arc_swap::Guard::into_inner(generation);
        let deadline = Instant::now() + QUERY_DEADLINE;
        Begun::Pending(Box::new(Pending { generation, client, query, origin, recorder, deadline, need }))
    }

    /// What keeps those in bounds who ask too much; `None`: nothing does.
    pub fn limiter(&self) -> Option<Arc<Limiter>> {
        self.limiter.load_full()
    }

    /// What keeps upstream from zones whose questions fail; `None`: nothing does.
    pub(super) fn zones(&self) -> Option<Arc<ZoneLimiter>> {
        self.zones.load_full()
    }

    /// Takes up a certificate; connections that are there go on with the one they know.
    pub fn set_certificate(&self, certificate: Option<Certificate>) {
        let expires = certificate.as_ref().map(|certificate| certificate.not_after);
        self.metrics.certificate_expiry(expires);
        self.certificates.set(certificate);
    }

    /// Takes up a generation's limits. Other ones begin with full buckets; the same ones go on.
    pub fn set_limits(&self, snapshot: &Snapshot) {
        let (clients, zones) = (snapshot.rate_limit.as_ref(), snapshot.zone_limit.as_ref());
        if self.limiter.load().as_ref().map(|limiter| limiter.limit()) != clients {
            self.limiter.store(clients.map(|limit| Arc::new(Limiter::new(*limit))));
        }
        if self.zones.load().as_ref().map(|limiter| limiter.limit()) != zones {
            self.zones.store(zones.map(|limit| Arc::new(ZoneLimiter::new(limit.clone()))));
        }
    }

    /// Waits for what a query needs and answers it. `None`: nothing is sent.
    pub async fn finish(self: &Arc<Self>, mut pending: Box<Pending>) -> Option<Vec<u8>> {
        // An answer may lead to a SafeSearch host or to a list's CNAME, whose target is asked for in turn; that one leads no
        // further.
        loop {
            let begun = match pending.need {
                Need::Answer { .. } => self.wait(pending).await,
                Need::Target(target) => {
                    let Pending { generation, client, query, origin, recorder, deadline, .. } = *pending;
                    let asked = Asked { client, query, origin, recorder, deadline };
                    // Seldom, and large: a task that waits for an answer has no room for it.
                    Box::pin(self.wait_for_target(generation, asked, target)).await
                }
            };
            match begun {
                Begun::Answer(bytes) => return Some(bytes),
                Begun::Silence => return None,
                Begun::Pending(next) => pending = next,
            }
        }
    }

    /// Waits for the answer to the question itself. Thousands wait here at once, so nothing is held twice.
    async fn wait(self: &Arc<Self>, mut pending: Box<Pending>) -> Begun {
        let found = match pending.wanted() {
            Some((permit, wanted)) => self.find(&pending.generation, &permit, wanted).await,
            None => Err(NotFound::NotReady),
        };
        match found {
            Ok(found) => self.deliver_pending(*pending, &found),
            Err(why) => {
                let Pending { generation, client, query, origin, recorder, .. } = *pending;
                self.failed(&generation.snapshot, AskedBy { client, query: &query, origin }, recorder, why, None)
            }
        }
    }

    async fn wait_for_target(self: &Arc<Self>, generation: Arc<Generation>, asked: Asked, target: Target) -> Begun {
        match target {
            Target::Rewrite { permit, rewrite } => {
                let Asked { client, query, origin, recorder, .. } = asked;
                self.rewrite(&generation, client, &permit, &query, origin, recorder, &rewrite).await
            }
            Target::Redirect { permit, redirect, chain } => {
                self.redirect(&generation, asked, &permit, &redirect, chain.as_deref()).await
            }
        }
    }

    /// Whether the canary of the built-in security list is blocked now: the proof that filtering works.
    pub fn canary_is_blocked(&self) -> bool {
        let generation = self.cell.load();
        let snapshot = &generation.snapshot;
        let origin = Origin::new(([127, 0, 0, 1], 0).into(), None, Transport::Udp);
        let client = snapshot.identify(&origin, clock::unix_time());
        let qname = Name::from_text(CANARY_NAME).expect("the canary's name is written as a name");
        let question = Question { qname, qtype: query::RecordType::A, qclass: CLASS_IN };
        matches!(policy::on_query(snapshot, client, &question, &mut ()), QueryVerdict::Block(_))
    }

    /// Forgets what is cached at or below `zone`.
    pub fn flush(&self, zone: &Name) -> usize {
        self.cache.flush(zone)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// Judges a client's cookie, for the answer to carry ours.
pub(super) fn meet(snapshot: &Snapshot, edns: &mut Option<Edns>, origin: Origin) {
    if let (Some(cookies), Some(edns)) = (&snapshot.cookies, edns) {
        edns.meet(cookies, origin.source.ip(), clock::unix_secs);
    }
}

#[cfg(test)]
mod tests;
