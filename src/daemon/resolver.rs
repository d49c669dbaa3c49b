//! The life of one query (DESIGN §2). It decides nothing: policy does.
//!
//! [`Resolver::begin`] answers at once what can be answered without waiting — blocks, local data, cache hits, refusals —
//! and returns a [`Pending`] for the rest, so that a listener spends a task only on questions that wait.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::daemon::cache::{Cache, Hit};
use crate::daemon::certificates::{Certificate, Certificates};
use crate::daemon::clock;
use crate::daemon::forwarder::{Ask, Failure, Reply, write_question};
use crate::daemon::guests::Guests;
use crate::daemon::inflight::{self, Fetched, Flight, InFlight, Join, JoinHere};
use crate::daemon::limiter::{Asker, Limiter};
use crate::daemon::snapshot_cell::{Generation, SnapshotCell};
use crate::daemon::stranger_limit::StrangerLimit;
use crate::daemon::telemetry::{BlockedBy, Metrics, Outcome, Recorder};
use crate::daemon::zone_limiter::ZoneLimiter;
use crate::engine::answer::{Answer, AnswerBuilder};
use crate::engine::cache::{Entry, Freshness, Key, Told};
use crate::engine::category::CANARY_NAME;
use crate::engine::client::{Client, Token};
use crate::engine::compile::Strangers;
use crate::engine::cookie::Standing;
use crate::engine::explain::CacheTold;
use crate::engine::limits::{QUERY_DEADLINE, STALE_CLIENT_TIMER};
use crate::engine::name::Name;
use crate::engine::peers::Peers;
use crate::engine::policy::{self, AnswerVerdict, Permit, Purpose, QueryVerdict};
use crate::engine::query::{self, CLASS_CH, CLASS_IN, Edns, Header, Origin, Query, Question, Rcode, Transport};
use crate::engine::reply::encoder::TtlRule;
use crate::engine::reply::{self, NotFound, STALE_TTL, Telling};
use crate::engine::snapshot::Snapshot;
use crate::engine::upstream::{GroupId, ServerIdx};
use crate::engine::verdict::{Block, Counted, EdeCode, Reason, Redirect, Rewrite, Would};

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

/// What a connection's source may be.
#[derive(Debug, Clone, Copy)]
pub struct Standings {
    pub is_client: bool,
    /// It begins with a PROXY header.
    pub is_proxy: bool,
    pub strangers: Strangers,
    /// There are clients that are known by what they say, from wherever.
    pub may_be_guest: bool,
}

impl Standings {
    /// Whether nobody who could ask is at the other end. `is_encrypted`: it may still say who it is.
    pub fn is_closed(&self, is_encrypted: bool) -> bool {
        !self.is_client && self.strangers == Strangers::Drop && !(is_encrypted && self.may_be_guest)
    }
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

/// A query that waits, with the generation it began in (I2).
pub struct Pending {
    generation: Arc<Generation>,
    client: Client,
    query: Query,
    origin: Origin,
    recorder: Recorder,
    deadline: Instant,
    need: Need,
}

enum Need {
    /// The question itself; a stale answer may stand in.
    Answer { permit: Permit, key: Key, group: GroupId, stale: Option<Hit>, truncated_by: Option<ServerIdx> },
    /// Another name's answer in its place.
    Target(Target),
}

enum Target {
    /// SafeSearch's.
    Rewrite { permit: Permit, rewrite: Rewrite },
    /// That of a list's CNAME; `chain` is the answer that led to its owner.
    Redirect { permit: Permit, redirect: Box<Redirect>, chain: Option<Arc<Answer>> },
}

/// Who asked what.
#[derive(Clone, Copy)]
pub(super) struct AskedBy<'a> {
    pub client: Client,
    pub query: &'a Query,
    pub origin: Origin,
}

/// How a query ended, with an answer.
pub(super) struct Ended<'a> {
    pub outcome: Outcome,
    pub rcode: Rcode,
    pub by: Option<BlockedBy<'a>>,
    /// The search engine of a rewrite.
    pub engine: Option<&'a str>,
}

impl<'a> Ended<'a> {
    pub(super) fn new(outcome: Outcome, rcode: Rcode) -> Ended<'a> {
        Ended { outcome, rcode, by: None, engine: None }
    }
}

/// A query that waits for more than its own answer.
pub(super) struct Asked {
    pub client: Client,
    pub query: Query,
    pub origin: Origin,
    pub recorder: Recorder,
    pub deadline: Instant,
}

/// One question to upstream, and what is at hand meanwhile.
pub(super) struct Wanted {
    pub key: Key,
    pub group: GroupId,
    pub ask: Ask,
    pub stale: Option<Hit>,
    /// After this long the caller is told what there is; the exchange goes on for the cache.
    pub patience: Duration,
    pub deadline: Instant,
}

/// A part in an exchange.
struct Joined {
    waiter: inflight::Waiter,
    is_follower: bool,
}

/// With less time than this left another exchange could hardly end well.
const WORTH_ANOTHER: Duration = Duration::from_secs(1);

/// What upstream, or the cache, said about one question.
pub struct Found {
    pub answer: Arc<Answer>,
    pub age_secs: u32,
    pub trust_ad: bool,
    pub from: From,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Cache,
    Stale,
    Upstream,
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
                let Some(group) = snapshot.routes.group_for(&query.question.qname) else {
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
                if generation.forwarder.is_server(origin.source.ip()) && self.in_flight.contains(&key) {
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
                Need::Answer { permit, key, group, stale, truncated_by: None }
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

    /// Ends a query with an answer. One that is too much for its prefix is cut short.
    pub(super) fn answer(
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

    fn cut_short(query: &Query, recorder: Recorder, mut bytes: Vec<u8>) -> Begun {
        let rcode = reply::cut_short(query, &mut bytes);
        recorder.record(Some(&query.question), Outcome::Limited, Some(rcode), None, None);
        Begun::Answer(bytes)
    }

    /// SERVFAIL of ours.
    pub(super) fn failed(
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

    /// Whether a lane's question is refused because nothing is hoped of asking upstream; whoever asks what is asked already may wait
    /// with it.
    pub(super) fn refuses_hopeless(&self, generation: &Generation, query: &Query, group: GroupId) -> bool {
        let is_refused =
            generation.forwarder.is_hopeless(group) && !self.in_flight.contains(&answer_key(generation, query, group));
        if is_refused {
            self.metrics.limit_hit("upstream_last_resort_max");
        }
        is_refused
    }

    /// Takes part in the exchange of a question, for a lane.
    pub(super) fn join_here(&self, key: &Key, flight: Flight) -> JoinHere {
        self.in_flight.join_here(key, flight)
    }

    /// Answers a query with upstream's answer as the cache has it, into `out`. What needs more than that comes back.
    pub(super) fn deliver_kept(
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
    pub(super) fn deliver_pending(&self, pending: Pending, found: &Found) -> Begun {
        match pending {
            Pending { generation, client, query, origin, recorder, need: Need::Answer { permit, .. }, .. } => {
                self.deliver(&generation, client, &permit, &query, origin, recorder, found)
            }
            pending => Begun::Pending(Box::new(pending)),
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

    /// Waits for upstream; a stale answer stands in when it is slow or lost (RFC 8767).
    pub(super) async fn find(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        permit: &Permit,
        wanted: Wanted,
    ) -> Result<Found, NotFound> {
        let Wanted { key, group, ask, stale, patience, deadline } = wanted;
        let until = deadline.min(Instant::now() + patience);
        let fetched = loop {
            let joined = match self.exchange(generation, permit, &key, group, &ask, deadline) {
                Ok(joined) => joined,
                Err(why) => {
                    let Some(hit) = stale else { return Err(why) };
                    // The next ones are told the same without asking.
                    self.note_failure(generation, key, EdeCode::NO_REACHABLE_AUTHORITY);
                    return Ok(Found::stale(hit));
                }
            };
            let Ok(fetched) = timeout_at(until, inflight::wait(joined.waiter)).await else {
                // Others would wait as long for the same: until the exchange ends it counts as failed.
                self.note_failure(generation, key, EdeCode::NO_REACHABLE_AUTHORITY);
                break Fetched::TimedOut;
            };
            // Somebody else's exchange ended at their deadline; ours may be later, and then deserves one of its own.
            let may_lead = joined.is_follower && until.saturating_duration_since(Instant::now()) > WORTH_ANOTHER;
            match fetched {
                Fetched::TimedOut if may_lead && stale.is_none() => {}
                // The fast lane began it and left it to us.
                Fetched::Abandoned if may_lead => {}
                fetched => break fetched,
            }
        };
        match (fetched, stale) {
            (Fetched::Answer { answer, .. }, Some(hit)) if answer.is_failure() => Ok(Found::stale(hit)),
            (Fetched::Answer { answer, trust_ad }, _) => {
                Ok(Found { answer, age_secs: 0, trust_ad, from: From::Upstream })
            }
            (Fetched::TimedOut | Fetched::Unreachable | Fetched::Loop | Fetched::Abandoned, Some(hit)) => {
                Ok(Found::stale(hit))
            }
            (Fetched::Loop, None) => Err(self.looping()),
            (Fetched::TimedOut, None) => Err(NotFound::TimedOut),
            (Fetched::Unreachable | Fetched::Abandoned, None) => Err(NotFound::Unreachable),
        }
    }

    /// Notes that upstream has no answer now. A good one that is there serves on, stale (RFC 8767 §5).
    fn note_failure(&self, generation: &Generation, key: Key, code: EdeCode) {
        self.cache.put(key, Arc::new(failure(code)), false, generation.snapshot.cache.serve_stale);
    }

    /// Joins the exchange for `key`, or starts it, unless too many are under way.
    fn exchange(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        permit: &Permit,
        key: &Key,
        group: GroupId,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Joined, NotFound> {
        let ticket = match self.in_flight.join(key) {
            Join::Follow(waiter) => return Ok(Joined { waiter, is_follower: true }),
            Join::Full => {
                self.metrics.limit_hit("queries_in_flight_max");
                return Err(NotFound::NotReady);
            }
            Join::Lead(_) if generation.forwarder.is_hopeless(group) => {
                self.metrics.limit_hit("upstream_last_resort_max");
                return Err(NotFound::Unreachable);
            }
            Join::Lead(ticket) => ticket,
        };
        let waiter = ticket.waiter();
        let (resolver, generation, permit) = (Arc::clone(self), Arc::clone(generation), *permit);
        let (key, ask) = (key.clone(), ask.clone());
        self.exchanges.spawn(async move {
            let fetched = resolver.fetch(&generation, &permit, key, group, ask, deadline).await;
            ticket.finish(|| fetched);
        });
        Ok(Joined { waiter, is_follower: false })
    }

    /// One exchange with upstream; its answer, or its failure, goes into the cache.
    async fn fetch(
        &self,
        generation: &Generation,
        permit: &Permit,
        key: Key,
        group: GroupId,
        ask: Ask,
        deadline: Instant,
    ) -> Fetched {
        let asked = generation.forwarder.ask(permit, group, &ask, deadline).await;
        self.learn_of_zone(&ask.question.qname, &asked);
        let (answer, trust_ad) = match asked {
            Ok(Reply { answer, trust_ad, .. }) => (Arc::new(answer), trust_ad),
            Err(Failure::AllFailed { last: Some(answer) }) => (Arc::new(answer), false),
            Err(Failure::AllFailed { last: None }) => {
                self.note_failure(generation, key, EdeCode::NETWORK_ERROR);
                return Fetched::Unreachable;
            }
            Err(Failure::Timeout) => {
                self.note_failure(generation, key, EdeCode::NO_REACHABLE_AUTHORITY);
                return Fetched::TimedOut;
            }
            Err(Failure::NoServers) => return Fetched::Unreachable,
            Err(Failure::Loop) => return Fetched::Loop,
        };
        self.cache.put(key, Arc::clone(&answer), trust_ad, generation.snapshot.cache.serve_stale);
        Fetched::Answer { answer, trust_ad }
    }

    fn learn_of_zone(&self, qname: &Name, asked: &Result<Reply, Failure>) {
        let said = match asked {
            Ok(reply) => Some(&reply.answer),
            Err(Failure::AllFailed { last }) => last.as_ref(),
            Err(Failure::Timeout) => None,
            // Ours, not the zone's.
            Err(Failure::NoServers | Failure::Loop) => return,
        };
        if let Some(zones) = self.zones.load().as_ref() {
            zones.learn(qname, said, clock::now());
        }
    }

    fn prefetch(self: &Arc<Self>, generation: &Arc<Generation>, key: &Key, group: GroupId, query: &Query) {
        let permit = Permit::internal(Purpose::Prefetch);
        // The waiter is dropped: the cache is what wants the answer.
        let _ = self.exchange(generation, &permit, key, group, &ask_of(query), Instant::now() + QUERY_DEADLINE);
    }

    /// Asks a question of our own, by the cache and the pipeline that clients' questions take.
    pub async fn find_internal(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        permit: &Permit,
        question: &Question,
        limit: Duration,
    ) -> Result<Found, NotFound> {
        let group = generation.snapshot.routes.group_for(&question.qname).ok_or(NotFound::NotReady)?;
        let key = Key::new(question, false, false, generation.snapshot.routes.key(group));
        let stale = match self.look_up(generation, &key) {
            Some(hit) if hit.freshness == Freshness::Stale => Some(hit),
            Some(hit) => return Ok(Found::hit(hit)),
            None => None,
        };
        let ask = Ask { question: question.clone(), dnssec_ok: false, checking_disabled: false, truncated_by: None };
        let deadline = Instant::now() + QUERY_DEADLINE;
        self.find(generation, permit, Wanted { key, group, ask, stale, patience: limit, deadline }).await
    }

    /// Judges an answer for this client and writes it, or the block it earned. Pending: it earned a rewrite.
    #[allow(clippy::too_many_arguments)]
    fn deliver(
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

    /// Writes a block, or nothing when the profile or the rule drops.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn blocked(
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

    /// Someone we do not serve: REFUSED with EDE 18 while the limit lasts, else nothing.
    fn stranger(&self, message: &[u8], header: Header, origin: Origin, recorder: Recorder, how: Strangers) -> Begun {
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
    fn other_class(
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
    pub(super) fn count_would(&self, snapshot: &Snapshot, client: Client, would: Option<Would>) {
        let Some(Would { how, rung, category }) = would else { return };
        let category = category.map_or("none", |id| snapshot.categories.get(id).name.as_str());
        let profile = snapshot.profile(client.profile).name.as_str();
        match how {
            Counted::Observed => self.metrics.observed.with_label_values(&[rung.as_str(), category, profile]).inc(),
            Counted::Shadow => self.metrics.shadow_blocked.with_label_values(&[category, profile]).inc(),
        }
    }

    /// Counts a forwarding loop.
    fn looping(&self) -> NotFound {
        self.metrics.limit_hit("forwarding_loop");
        NotFound::Loop
    }

    pub(super) fn look_up(&self, generation: &Generation, key: &Key) -> Option<Hit> {
        let hit = self.cache.get(key, generation.snapshot.cache.serve_stale);
        let counter = if hit.is_some() { &self.metrics.cache_hits } else { &self.metrics.cache_misses };
        counter.inc();
        hit
    }

    /// What the cache has for a question, for who tells why. It is not counted.
    pub fn cached(&self, generation: &Generation, question: &Question) -> Option<CacheTold> {
        let routes = &generation.snapshot.routes;
        let key = Key::new(question, false, false, routes.key(routes.group_for(&question.qname)?));
        let Some(hit) = self.cache.get(&key, generation.snapshot.cache.serve_stale) else {
            return Some(CacheTold { has: "nothing", age_secs: None });
        };
        let has = match hit.freshness {
            Freshness::Fresh | Freshness::Prefetch => "fresh",
            Freshness::Stale | Freshness::StaleHeld => "stale",
        };
        Some(CacheTold { has, age_secs: Some(hit.age_secs) })
    }

    /// What a connection from an address may be.
    pub fn standing(&self, source: IpAddr) -> Standings {
        let generation = self.cell.load();
        let snapshot = &generation.snapshot;
        Standings {
            is_client: snapshot.access.allows(source),
            is_proxy: snapshot.peers.is_proxy(source),
            strangers: snapshot.strangers,
            may_be_guest: snapshot.may_have_guests(),
        }
    }

    /// A datagram without what a proxy put before it, and who asks by it. `None`: it is nobody's, and counted.
    pub fn open<'m>(&self, snapshot: &Snapshot, datagram: &'m [u8], origin: Origin) -> Option<(&'m [u8], Origin)> {
        if !snapshot.peers.is_proxy(origin.source.ip()) {
            return Some((datagram, origin));
        }
        match snapshot.peers.open(datagram, origin) {
            Ok((message, origin)) => Some((message, self.admit_guest(snapshot, origin))),
            Err(problem) => {
                self.metrics.proxy_headers.with_label_values(&[problem.as_str()]).inc();
                None
            }
        }
    }

    /// Who asks, by an identity of its own: one that asks too much from somewhere else is nobody.
    pub fn admit(&self, origin: Origin) -> Origin {
        if origin.identity.is_none() {
            return origin;
        }
        self.admit_guest(&self.cell.load().snapshot, origin)
    }

    fn admit_guest(&self, snapshot: &Snapshot, origin: Origin) -> Origin {
        let Some(token) = origin.identity.filter(|_| snapshot.is_guest(&origin)) else { return origin };
        match self.guests.admit(token, clock::now()) {
            Ok(()) => origin,
            Err(limit) => {
                self.metrics.limit_hit(limit);
                Origin { identity: None, ..origin }
            }
        }
    }

    /// Who asks on an encrypted connection for which a client named this server.
    pub fn named(&self, origin: Origin, server_name: Option<&str>) -> Origin {
        // What a proxy says of its client goes before what the client says.
        if origin.identity.is_some() {
            return origin;
        }
        let identity = server_name.and_then(|name| self.cell.load().snapshot.identity_in(name));
        Origin { identity, ..origin }
    }

    /// Who asks by a path of DNS over HTTPS that names a client. Nobody's name changes nothing, and what a proxy says goes
    /// before.
    pub fn told_by_path(&self, origin: Origin, identity: Option<Token>) -> Origin {
        let is_told = origin.via.is_some() && origin.identity.is_some();
        let is_known = |token: &Token| origin.identity.is_none() || self.cell.load().snapshot.knows(*token);
        let identity = identity.filter(|token| !is_told && is_known(token)).or(origin.identity);
        Origin { identity, ..origin }
    }

    /// Whether a connection's client may ask, as far as is known now.
    pub fn admits(&self, origin: &Origin) -> bool {
        self.cell.load().snapshot.admits(origin)
    }

    /// Whose word about others is believed.
    pub fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.cell.load().snapshot.peers)
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

impl Pending {
    /// A question that the lane found nothing about.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn plain(
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
        let need = Need::Answer { permit, key, group, stale: None, truncated_by: None };
        Box::new(Pending { generation, client, query, origin, recorder, deadline, need })
    }

    /// What is to be found, when it is the answer to the question itself.
    fn wanted(&mut self) -> Option<(Permit, Wanted)> {
        let Need::Answer { permit, key, group, stale, truncated_by } = &mut self.need else { return None };
        let stale = stale.take();
        let patience = if stale.is_some() { STALE_CLIENT_TIMER } else { QUERY_DEADLINE };
        let ask = Ask { truncated_by: *truncated_by, ..ask_of(&self.query) };
        let (key, group) = (key.clone(), *group);
        Some((*permit, Wanted { key, group, ask, stale, patience, deadline: self.deadline }))
    }

    /// What is asked upstream, when that is all the query needs.
    pub(super) fn plain_need(&self) -> Option<(&Key, GroupId)> {
        match &self.need {
            Need::Answer { key, group, stale: None, .. } => Some((key, *group)),
            Need::Answer { stale: Some(_), .. } | Need::Target(_) => None,
        }
    }

    /// Writes what is asked upstream.
    pub(super) fn write_question(&self, out: &mut Vec<u8>) {
        let Query { question, edns, checking_disabled, .. } = &self.query;
        write_question(question, edns.is_some_and(|e| e.dnssec_ok), *checking_disabled, true, out);
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// A server's answer by UDP was cut short.
    pub(super) fn truncated_by(&mut self, server: ServerIdx) {
        if let Need::Answer { truncated_by, .. } = &mut self.need {
            *truncated_by = Some(server);
        }
    }

    pub(super) fn question(&self) -> &Question {
        &self.query.question
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn serve_stale(&self) -> Duration {
        self.generation.snapshot.cache.serve_stale
    }

    /// Gives the query up for want of room: counted as dropped, nothing is sent.
    pub fn shed(self) {
        self.recorder.record(Some(&self.query.question), Outcome::Dropped, None, None, None);
    }
}

impl Found {
    pub(super) fn upstream(answer: Arc<Answer>, trust_ad: bool) -> Found {
        Found { answer, age_secs: 0, trust_ad, from: From::Upstream }
    }

    pub(super) fn hit(hit: Hit) -> Found {
        let from = match hit.freshness {
            Freshness::Fresh | Freshness::Prefetch => From::Cache,
            Freshness::Stale | Freshness::StaleHeld => From::Stale,
        };
        Found { answer: hit.answer, age_secs: hit.age_secs, trust_ad: hit.trust_ad, from }
    }

    /// How its TTLs are told, at most `max` seconds, and whether it is stale.
    pub fn ttl_rule(&self, max: u32) -> (TtlRule, bool) {
        match self.from {
            From::Cache => (TtlRule::Age { secs: self.age_secs, max }, false),
            From::Upstream => (TtlRule::Age { secs: 0, max }, false),
            From::Stale => (STALE_TTL, true),
        }
    }

    fn stale(hit: Hit) -> Found {
        Found { answer: hit.answer, age_secs: hit.age_secs, trust_ad: hit.trust_ad, from: From::Stale }
    }
}

/// Judges a client's cookie, for the answer to carry ours.
pub(super) fn meet(snapshot: &Snapshot, edns: &mut Option<Edns>, origin: Origin) {
    if let (Some(cookies), Some(edns)) = (&snapshot.cookies, edns) {
        edns.meet(cookies, origin.source.ip(), clock::unix_secs);
    }
}

/// The labels of a block.
pub(super) fn blocked_by<'a>(snapshot: &'a Snapshot, client: Client, reason: &Reason) -> BlockedBy<'a> {
    let category = policy::category(reason).map_or("none", |c| snapshot.categories.get(c).name.as_str());
    BlockedBy { rung: reason.rung, category, profile: &snapshot.profile(client.profile).name }
}

/// What is remembered when no server said anything: SERVFAIL, for a second or more (RFC 9520).
fn failure(code: EdeCode) -> Answer {
    let mut builder = AnswerBuilder::new(Rcode::SERVFAIL);
    builder.push_ede(code.0, "no upstream server answered");
    builder.finish()
}

fn ask_of(query: &Query) -> Ask {
    Ask {
        question: query.question.clone(),
        dnssec_ok: query.edns.is_some_and(|e| e.dnssec_ok),
        checking_disabled: query.checking_disabled,
        truncated_by: None,
    }
}

fn answer_key(generation: &Generation, query: &Query, group: GroupId) -> Key {
    let dnssec_ok = query.edns.is_some_and(|e| e.dnssec_ok);
    let group = generation.snapshot.routes.key(group);
    Key::new(&query.question, dnssec_ok, query.checking_disabled, group)
}

#[cfg(test)]
mod tests;
