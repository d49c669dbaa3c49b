//! What upstream, or the cache, has for one question: an exchange is joined or begun, and a stale answer stands in when it is slow
//! or lost. What a client is told of it is in `end`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Resolver;
use crate::daemon::cache::Hit;
use crate::daemon::clock;
use crate::daemon::forwarder::{Ask, Failure, Reply};
use crate::daemon::inflight::{self, Fetched, Flight, Join, JoinHere};
use crate::daemon::snapshot_cell::Generation;
use crate::engine::answer::{Answer, AnswerBuilder};
use crate::engine::cache::{Freshness, Key};
use crate::engine::exchange::Before;
use crate::engine::explain::CacheTold;
use crate::engine::limits::{CHAIN_MAX, QUERY_DEADLINE, STALE_CLIENT_TIMER};
use crate::engine::name::Name;
use crate::engine::policy::{Permit, Purpose};
use crate::engine::query::{Query, Question, Rcode};
use crate::engine::reply::encoder::TtlRule;
use crate::engine::reply::{NotFound, STALE_TTL};
use crate::engine::upstream::GroupId;
use crate::engine::verdict::EdeCode;

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
    /// Asks a question of our own, by the cache and the pipeline that clients' questions take.
    pub async fn find_internal(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        permit: &Permit,
        question: &Question,
        limit: Duration,
    ) -> Result<Found, NotFound> {
        let deadline = Instant::now() + QUERY_DEADLINE;
        self.find_anew(generation, permit, Ask::plain(question.clone()), Some(limit), deadline).await
    }

    /// Finds what another question than the client's own leads to. Without `patience` that of a client holds.
    pub(in crate::daemon) async fn find_anew(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        permit: &Permit,
        ask: Ask,
        patience: Option<Duration>,
        deadline: Instant,
    ) -> Result<Found, NotFound> {
        let routes = &generation.snapshot.routes;
        let group = routes.group_of(&ask.question).ok_or(NotFound::NotReady)?;
        let key = Key::new(&ask.question, ask.dnssec_ok, ask.checking_disabled, routes.key(group));
        let stale = match self.look_up(generation, &key) {
            Some(hit) if hit.freshness == Freshness::Stale => Some(hit),
            Some(hit) => return Ok(Found::hit(hit)),
            None => None,
        };
        let usual = if stale.is_some() { STALE_CLIENT_TIMER } else { QUERY_DEADLINE };
        let patience = patience.unwrap_or(usual);
        self.find(generation, permit, Wanted { key, group, ask, stale, patience, deadline }).await
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
                // Others would wait as long for the same. What is to be remembered of the exchange itself is known at its end.
                if stale.is_some() {
                    self.note_failure(generation, key, EdeCode::NO_REACHABLE_AUTHORITY);
                }
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

    pub(in crate::daemon) fn look_up(&self, generation: &Generation, key: &Key) -> Option<Hit> {
        let hit = self.cache.get(key, generation.snapshot.cache.serve_stale);
        let counter = if hit.is_some() { &self.metrics.cache_hits } else { &self.metrics.cache_misses };
        counter.inc();
        hit
    }

    /// What the cache has for a question, for who tells why. It is not counted.
    pub fn cached(&self, generation: &Generation, question: &Question) -> Option<CacheTold> {
        let routes = &generation.snapshot.routes;
        let key = Key::new(question, false, false, routes.key(routes.group_of(question)?));
        let Some(hit) = self.cache.get(&key, generation.snapshot.cache.serve_stale) else {
            return Some(CacheTold { has: "nothing", age_secs: None });
        };
        let has = match hit.freshness {
            Freshness::Fresh | Freshness::Prefetch => "fresh",
            Freshness::Stale | Freshness::StaleHeld => "stale",
        };
        Some(CacheTold { has, age_secs: Some(hit.age_secs) })
    }

    pub(super) fn prefetch(self: &Arc<Self>, generation: &Arc<Generation>, key: &Key, group: GroupId, query: &Query) {
        let permit = Permit::internal(Purpose::Prefetch);
        // The waiter is dropped: the cache is what wants the answer.
        let _ = self.exchange(generation, &permit, key, group, &ask_of(query), Instant::now() + QUERY_DEADLINE);
    }

    /// Whether a lane's question is refused because nothing is hoped of asking upstream; whoever asks what is asked already may wait
    /// with it.
    pub(in crate::daemon) fn refuses_hopeless(&self, generation: &Generation, query: &Query, group: GroupId) -> bool {
        let is_refused =
            generation.forwarder.is_hopeless(group) && !self.in_flight.contains(&answer_key(generation, query, group));
        if is_refused {
            self.metrics.limit_hit("upstream_last_resort_max");
        }
        is_refused
    }

    /// Takes part in the exchange of a question, for a lane.
    pub(in crate::daemon) fn join_here(&self, key: &Key, flight: Flight) -> JoinHere {
        self.in_flight.join_here(key, flight)
    }

    /// Takes part in the exchange of a question, as the slow lane does.
    #[cfg(test)]
    pub(in crate::daemon) fn join_slowly(&self, key: &Key) -> Join {
        self.in_flight.join(key)
    }

    /// Tells whoever waits for `key` what a lane was told late.
    pub(in crate::daemon) fn overtake(&self, key: &Key, fetched: Fetched) {
        self.in_flight.tell(key, fetched);
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
        // What came late between the lane's leave and this is in the cache, and nobody was told.
        if let Some(Before::Silent(..)) = ask.before
            && let Some(hit) = self.cache.get(key, Duration::ZERO).filter(|hit| hit.freshness == Freshness::Fresh)
        {
            ticket.finish(|| Fetched::Answer { answer: hit.answer, trust_ad: hit.trust_ad });
            return Ok(Joined { waiter, is_follower: false });
        }
        let (resolver, generation, permit) = (Arc::clone(self), Arc::clone(generation), *permit);
        let (key, ask) = (key.clone(), ask.clone());
        let overtaken = ticket.waiter();
        self.exchanges.spawn(async move {
            let fetched = tokio::select! {
                biased;
                // A lane that had asked first has its late answer.
                fetched = inflight::wait(overtaken) => fetched,
                fetched = resolver.fetch(&generation, &permit, key, group, ask, deadline) => fetched,
            };
            ticket.finish(|| fetched);
        });
        Ok(Joined { waiter, is_follower: false })
    }

    /// One exchange with upstream; its answer, or its failure, goes into the cache.
    async fn fetch(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        permit: &Permit,
        key: Key,
        group: GroupId,
        ask: Ask,
        deadline: Instant,
    ) -> Fetched {
        let asked = generation.forwarder.ask(permit, group, &ask, deadline).await.map_err(|why| match why {
            Failure::AllFailed { last } => Failure::AllFailed { last: last.map(failed) },
            Failure::Timeout | Failure::NoServers | Failure::Loop => why,
        });
        self.learn_of_zone(&ask.question.qname, &asked);
        let (answer, trust_ad) = match asked {
            Ok(Reply { answer, trust_ad, is_partial: true, .. }) => {
                // Seldom, and large.
                match Box::pin(self.complete(generation, permit, &ask, answer, deadline)).await {
                    Ok((answer, is_trusted)) => (answer, trust_ad && is_trusted),
                    Err(why) => {
                        self.note_failure(generation, key, EdeCode::NO_REACHABLE_AUTHORITY);
                        return if why == NotFound::TimedOut { Fetched::TimedOut } else { Fetched::Unreachable };
                    }
                }
            }
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

    /// Looks up the rest of a chain: whose servers tell of its beginning look up no more. Whether AD of the rest may be told stands beside
    /// it.
    async fn complete(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        permit: &Permit,
        ask: &Ask,
        beginning: Answer,
        deadline: Instant,
    ) -> Result<(Arc<Answer>, bool), NotFound> {
        let Some(qname) = beginning.end_of_chain() else { return Ok((Arc::new(beginning), true)) };
        let led_here = [&ask.led_here[..], std::slice::from_ref(&ask.question.qname)].concat();
        if led_here.len() > CHAIN_MAX || led_here.contains(&qname) {
            self.metrics.limit_hit("chain_max");
            return Err(NotFound::Unreachable);
        }
        let question = Question { qname, ..ask.question.clone() };
        let rest = Ask { question, led_here, before: None, ..ask.clone() };
        let found = self.find_anew(generation, permit, rest, None, deadline).await?;
        match found.answer.is_failure() {
            true => Ok((found.answer, false)),
            false => Ok((Arc::new(beginning.with_end(&found.answer, found.age_secs)), found.trust_ad)),
        }
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

    /// Notes that upstream has no answer now. A good one that is there serves on, stale (RFC 8767 §5).
    fn note_failure(&self, generation: &Generation, key: Key, code: EdeCode) {
        self.cache.put(key, Arc::new(failure(code)), false, generation.snapshot.cache.serve_stale);
    }

    /// Counts a forwarding loop.
    pub(super) fn looping(&self) -> NotFound {
        self.metrics.limit_hit("forwarding_loop");
        NotFound::Loop
    }
}

impl Found {
    pub(in crate::daemon) fn upstream(answer: Arc<Answer>, trust_ad: bool) -> Found {
        Found { answer, age_secs: 0, trust_ad, from: From::Upstream }
    }

    pub(in crate::daemon) fn hit(hit: Hit) -> Found {
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

    pub(super) fn stale(hit: Hit) -> Found {
        Found { answer: hit.answer, age_secs: hit.age_secs, trust_ad: hit.trust_ad, from: From::Stale }
    }
}

/// What a client is told of the last server's bad answer, and what is remembered of it (RFC 9520 §2).
fn failed(mut answer: Answer) -> Answer {
    match answer.rcode {
        Rcode::SERVFAIL | Rcode::REFUSED => {}
        // Servers to ask instead, or a ring of aliases: that would say that there is no data.
        Rcode::NOERROR => {
            let mut builder = AnswerBuilder::new(Rcode::SERVFAIL);
            builder.push_ede(EdeCode::NO_REACHABLE_AUTHORITY.0, "upstream has no answer about this name");
            return builder.finish();
        }
        // It was about our own question: to a client, whose question was good, it would say that we know no EDNS (RFC 6891 §7), or
        // not what it asks, or that its cookie is bad; and without EDNS only half of a code would reach it.
        _ => answer.rcode = Rcode::SERVFAIL,
    }
    answer
}

/// What is remembered when no server said anything: SERVFAIL, for a second or more (RFC 9520).
fn failure(code: EdeCode) -> Answer {
    let mut builder = AnswerBuilder::new(Rcode::SERVFAIL);
    builder.push_ede(code.0, "no upstream server answered");
    builder.finish()
}

pub(super) fn ask_of(query: &Query) -> Ask {
    Ask {
        dnssec_ok: query.edns.is_some_and(|e| e.dnssec_ok),
        checking_disabled: query.checking_disabled,
        ..Ask::plain(query.question.clone())
    }
}

pub(super) fn answer_key(generation: &Generation, query: &Query, group: GroupId) -> Key {
    let dnssec_ok = query.edns.is_some_and(|e| e.dnssec_ok);
    let group = generation.snapshot.routes.key(group);
    Key::new(&query.question, dnssec_ok, query.checking_disabled, group)
}
