//! The fast lane: blocks, rewrites, local names and cache hits, answered on the thread that received them, into its own buffer.
//!
//! It takes no lock that others hold, waits for nothing, and allocates nothing for what it answers. What it does not
//! understand, or cannot answer from the index and the cache alone, it leaves to [`Resolver::begin`], and then it has counted
//! nothing. Both give the same answers: the lane decides less, never otherwise. How it finds who asks (`subscribers`) and how a
//! datagram ends (`end`) have files of their own.

mod end;
mod subscribers;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use crate::daemon::cache::{Place, Table};
use crate::daemon::clock;
use crate::daemon::limiter::Limiter;
use crate::daemon::resolver::{Pending, Resolver, meet};
use crate::daemon::rewrite::{self, Target};
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::telemetry::Outcome;
use crate::daemon::telemetry::tally::{self, Tally};
use crate::daemon::zone_limiter::ZoneLimiter;
use crate::engine::answer::AnswerBuilder;
use crate::engine::cache::{About, Entry, Freshness, KeyRef, Note, Told};
use crate::engine::client::{Client, Realm, UnixTime};
use crate::engine::matcher::{Hits, Together};
use crate::engine::policy::{self, Permit, QueryVerdict, Relevance};
use crate::engine::query::{self, CLASS_IN, Header, Origin, Query, Rcode};
use crate::engine::reply::encoder::TtlRule;
use crate::engine::reply::{self, NotFound, STALE_TTL};
use crate::engine::subscribers::Sought;
use crate::engine::upstream::GroupId;
use crate::engine::verdict::Rewrite;
use subscribers::Subscribers;

/// What one thread keeps from batch to batch.
pub struct Lane {
    resolver: Arc<Resolver>,
    generation: Arc<Generation>,
    table: Arc<Table>,
    limiter: Option<Arc<Limiter>>,
    zones: Option<Arc<ZoneLimiter>>,
    subscribers: Subscribers,
    entry: Entry,
    room: Room,
    waiting: Waiting,
    tally: tally::Shared,
}

/// Memory to take answers apart and put them together in, used again and again.
struct Room {
    target: AnswerBuilder,
    made: AnswerBuilder,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fast {
    /// The answer is in the buffer.
    Answer,
    /// Nothing is sent.
    Silence,
    /// It is for the slow lane.
    Slow,
    /// It needs upstream, and nothing else: [`Batch::take_miss`] has it.
    Miss,
}

/// Datagrams that the cache has no answer to, until the index was asked about all of them.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "a question is 600 octets, and what moves is a pointer")]
struct Waiting {
    asked: Vec<Box<Asked>>,
    /// Those before were judged.
    next: usize,
    found: Together,
    /// Room for others.
    free: Vec<Box<Asked>>,
}

/// A question that was read.
struct Asked {
    query: Query,
    /// The caller's number of the datagram. Holds for those that wait.
    number: Option<usize>,
    /// Who asked, and whom it would be passed on to. Holds for those that wait.
    by: Option<(Client, Origin, GroupId)>,
}

/// What the ladder says of a question.
enum Judged {
    Done(Fast),
    Allow(Permit),
}

/// The datagrams of one batch: one generation (I2), one moment.
pub struct Batch<'l> {
    resolver: &'l Arc<Resolver>,
    generation: &'l Arc<Generation>,
    table: &'l Table,
    limiter: Option<&'l Limiter>,
    zones: Option<&'l ZoneLimiter>,
    subscribers: &'l mut Subscribers,
    entry: &'l mut Entry,
    room: &'l mut Room,
    waiting: &'l mut Waiting,
    tally: std::sync::MutexGuard<'l, Tally>,
    now: Instant,
    now_ms: u64,
    at: UnixTime,
    /// How often the table of subscribers had changed when the batch began.
    epoch: Option<u64>,
    answered: usize,
    miss: Option<Box<Pending>>,
}

impl Waiting {
    fn room(&mut self) -> Box<Asked> {
        self.free.pop().unwrap_or_else(|| Box::new(Asked { query: Query::default(), number: None, by: None }))
    }

    fn clear(&mut self) {
        self.free.append(&mut self.asked);
        self.next = 0;
    }
}

impl Lane {
    pub fn new(resolver: Arc<Resolver>) -> Lane {
        let generation = resolver.cell.load_full();
        let (table, tally) = (resolver.cache.table(), resolver.metrics.tally(Arc::clone(&generation)));
        let (limiter, zones) = (resolver.limiter(), resolver.zones());
        let room = Room { target: AnswerBuilder::new(Rcode::NOERROR), made: AnswerBuilder::new(Rcode::NOERROR) };
        let (entry, waiting) = (Entry::default(), Waiting::default());
        let subscribers = Subscribers::of(&generation);
        Lane { resolver, generation, table, limiter, zones, subscribers, entry, room, waiting, tally }
    }

    /// Takes up the generation in force.
    pub fn begin(&mut self, now: Instant) -> Batch<'_> {
        let Lane { resolver, generation, table, limiter, zones, subscribers, entry, room, waiting, tally } = self;
        let mut tally = tally::lock(tally);
        waiting.clear();
        subscribers.begin();
        let in_force = resolver.cell.load();
        if !Arc::ptr_eq(&in_force, generation) {
            *generation = Arc::clone(&in_force);
            *table = resolver.cache.table();
            *subscribers = Subscribers::of(generation);
            (*limiter, *zones) = (resolver.limiter(), resolver.zones());
            tally.turn_to(generation, &resolver.metrics);
        }
        let now_ms = table.ms(now);
        let (limiter, zones) = (limiter.as_deref(), zones.as_deref());
        let at = clock::unix_time();
        let epoch = generation.snapshot.subscribers.as_ref().map(|live| live.table.epoch());
        Batch {
            resolver,
            generation,
            table,
            limiter,
            zones,
            subscribers,
            entry,
            room,
            waiting,
            tally,
            now,
            now_ms,
            at,
            epoch,
            answered: 0,
            miss: None,
        }
    }
}

impl Batch<'_> {
    /// Finds who sent the datagrams of this batch, as they were opened, by their numbers: together, since each alone waits for memory.
    /// `touch` is told what is read next. Without it each is found when its turn comes.
    pub fn look_ahead(&mut self, origins: impl Iterator<Item = Option<Origin>>, touch: impl FnMut(*const u8)) {
        let snapshot = &self.generation.snapshot;
        let Subscribers { reader: Some(reader), asking, found } = &mut *self.subscribers else { return };
        let Some(live) = &snapshot.subscribers else { return };
        let nobody = Sought { identity: None, realm: Realm::default(), source: (Ipv4Addr::UNSPECIFIED, 0).into() };
        let sought = |origin| Sought::of(&snapshot.peers.recognise(origin, None));
        asking.clear();
        asking.extend(origins.map(|origin| origin.map_or(nobody, sought)));
        live.find_all(reader, asking, found, touch);
    }

    /// A datagram without what a proxy put before it, and who asks by it. `None`: it is nobody's.
    pub fn open<'m>(&self, datagram: &'m [u8], origin: Origin) -> Option<(&'m [u8], Origin)> {
        self.resolver.open(&self.generation.snapshot, datagram, origin)
    }

    /// Answers one datagram into `out`, or does not.
    pub fn answer(&mut self, message: &[u8], origin: Origin, out: &mut Vec<u8>) -> Fast {
        let mut asked = self.waiting.room();
        let fast = match self.read(None, message, origin, &mut asked, out) {
            Some(fast) => fast,
            None => self.settle(&asked, None, out),
        };
        self.waiting.free.push(asked);
        fast
    }

    /// As [`Batch::answer`] for the datagram with this number, but what the cache has no answer to waits for
    /// [`Batch::look_up`], and its turn comes in [`Batch::answer_next`]: `None`.
    pub fn answer_or_wait(&mut self, number: usize, message: &[u8], origin: Origin, out: &mut Vec<u8>) -> Option<Fast> {
        let mut asked = self.waiting.room();
        let fast = self.read(Some(number), message, origin, &mut asked, out);
        match fast {
            Some(_) => self.waiting.free.push(asked),
            None => {
                asked.number = Some(number);
                self.waiting.asked.push(asked);
            }
        }
        fast
    }

    /// Asks the index about the questions that wait. `touch` is told what is read next; see [`Names::look_up_together`].
    ///
    /// [`Names::look_up_together`]: crate::engine::matcher::Names::look_up_together
    pub fn look_up(&mut self, mut touch: impl FnMut(&[u8])) {
        let Waiting { asked, found, .. } = &mut *self.waiting;
        let name = |i: usize| asked[i].query.question.qname.as_wire();
        self.generation.snapshot.index.names.look_up_together(asked.len(), name, found, &mut touch);
    }

    /// The number of the next datagram that waited, and what became of it; in their order.
    pub fn answer_next(&mut self, out: &mut Vec<u8>) -> Option<(usize, Fast)> {
        let next = self.waiting.next;
        let Some(number) = self.waiting.asked.get(next).and_then(|asked| asked.number) else {
            self.waiting.clear();
            return None;
        };
        self.waiting.next += 1;
        // Taken apart for as long as they are asked, and put together again: what moves is a pointer each.
        let asked = std::mem::take(&mut self.waiting.asked);
        let found = std::mem::take(&mut self.waiting.found);
        let fast = self.settle(&asked[next], Some(found.hits(next)), out);
        (self.waiting.asked, self.waiting.found) = (asked, found);
        Some((number, fast))
    }

    /// Reads a datagram and answers it from the cache; `None`: that has nothing.
    fn read(
        &mut self,
        number: Option<usize>,
        message: &[u8],
        origin: Origin,
        asked: &mut Asked,
        out: &mut Vec<u8>,
    ) -> Option<Fast> {
        let Some(header) = Header::peek(message) else {
            self.tally.ignore(origin.transport);
            return Some(Fast::Silence);
        };
        let snapshot = &self.generation.snapshot;
        if !snapshot.admits(&origin) {
            return Some(self.stranger(message, header, origin, out));
        }
        let Ok(()) = query::read_into(message, header, &mut asked.query) else { return Some(Fast::Slow) };
        meet(snapshot, &mut asked.query.edns, origin);
        let query = &asked.query;
        let origin = snapshot.peers.recognise(origin, query.edns.as_ref());
        if query.question.qclass != CLASS_IN || !query.recursion_desired {
            return Some(Fast::Slow);
        }
        let client = self.subscribers.identify(snapshot, number, &origin, self.at);
        let Some(group) = snapshot.routes.group_of(&query.question) else { return Some(Fast::Slow) };
        if policy::is_any(&query.question) {
            // Never cached, and never asked upstream.
            asked.by = Some((client, origin, group));
            return None;
        }
        let dnssec_ok = query.edns.is_some_and(|e| e.dnssec_ok);
        let group_key = snapshot.routes.key(group);
        let key = KeyRef::new(&query.question, dnssec_ok, query.checking_disabled, group_key);
        let stale = snapshot.cache.serve_stale;
        let Some((place, freshness)) = self.table.look_up(key, self.now_ms, stale, self.entry) else {
            asked.by = Some((client, origin, group));
            return None;
        };
        Some(self.hit(client, query, origin, (place, freshness), out))
    }

    /// Answers with the entry at hand.
    fn hit(
        &mut self,
        client: Client,
        query: &Query,
        origin: Origin,
        (place, freshness): (Place, Freshness),
        out: &mut Vec<u8>,
    ) -> Fast {
        let snapshot = &self.generation.snapshot;
        let relevance = match self.noted() {
            Some(relevance) => relevance,
            None => {
                let Some(answer) = self.entry.decode() else { return Fast::Slow };
                let relevance = policy::relevance(snapshot, &query.question, &answer);
                let number = self.generation.relevances.number(&relevance);
                self.table.note(self.entry, place, Note::new(snapshot.generation, number));
                let Some(relevance) = self.generation.relevances.get(number) else { return Fast::Slow };
                relevance
            }
        };
        let Some(cleared) = policy::clear(snapshot, client, relevance) else {
            return match self.judge(client, query, origin, None, out) {
                Judged::Done(fast) => fast,
                Judged::Allow(_) => Fast::Slow,
            };
        };
        let (told, outcome) = match freshness {
            Freshness::Fresh => {
                let max = snapshot.cache.max_client_ttl_secs();
                let secs = self.entry.head.age_secs(self.now_ms);
                (Told { ttl: TtlRule::Age { secs, max }, ede: None }, Outcome::Hit)
            }
            Freshness::StaleHeld => {
                let ede = Some(reply::stale_text(self.entry.head.rcode));
                (Told { ttl: STALE_TTL, ede }, Outcome::Stale)
            }
            // Upstream is to be asked.
            Freshness::Prefetch | Freshness::Stale => return Fast::Slow,
        };
        if !self.entry.tell(cleared, query, origin.transport, &told, out) {
            return Fast::Slow;
        }
        self.done(client, query, origin, outcome, self.entry.head.rcode, None, out)
    }

    /// Judges a question that the cache has no answer to. `hits`: what the index's names say, if they were asked before.
    fn settle(&mut self, asked: &Asked, hits: Option<&Hits>, out: &mut Vec<u8>) -> Fast {
        let snapshot = &self.generation.snapshot;
        let query = &asked.query;
        let Some((client, origin, group)) = asked.by else { return Fast::Slow };
        let is_any = policy::is_any(&query.question);
        match self.judge(client, query, origin, hits, out) {
            Judged::Done(fast) => fast,
            // One of our servers may be asking us what we would ask it.
            Judged::Allow(_) if !is_any && self.generation.forwarder.is_server(group, origin.source.ip()) => Fast::Slow,
            Judged::Allow(permit) => {
                if let Some(list) = permit.review() {
                    let name = snapshot.list(list).name.as_str();
                    self.resolver.metrics.keyword_reviews.with_label_values(&[name]).inc();
                }
                self.resolver.count_would(snapshot, client, permit.would());
                if is_any {
                    let rcode = reply::any(snapshot, query, origin, &mut self.room.made, out);
                    return self.done(client, query, origin, Outcome::Local, rcode, None, out);
                }
                self.resolver.metrics.cache_misses.inc();
                if self.refuses(client, query, origin, |limiter, metrics, asker, now| {
                    limiter.refuses_miss(metrics, asker, now)
                }) {
                    return self.cut_short(query, origin, out);
                }
                let metrics = &self.resolver.metrics;
                if self.zones.is_some_and(|zones| zones.refuses(metrics, &query.question.qname, self.now)) {
                    *out = reply::failure(snapshot, query, origin, NotFound::ZoneLimited);
                    return self.done(client, query, origin, Outcome::Failed, Rcode::SERVFAIL, None, out);
                }
                if self.resolver.refuses_hopeless(self.generation, query, group) {
                    *out = reply::failure(snapshot, query, origin, NotFound::Unreachable);
                    return self.done(client, query, origin, Outcome::Failed, Rcode::SERVFAIL, None, out);
                }
                self.miss = Some(Pending::plain(self.generation, client, query, origin, permit, group, metrics));
                Fast::Miss
            }
        }
    }

    /// The query that the last [`Fast::Miss`] was about.
    pub fn take_miss(&mut self) -> Option<Box<Pending>> {
        self.miss.take()
    }

    /// What was found in the entry at hand, if it was in this generation.
    fn noted(&self) -> Option<&Relevance> {
        let note = self.entry.head.note;
        let is_good = note == Note::new(self.generation.snapshot.generation, note.number);
        if is_good { self.generation.relevances.get(note.number) } else { None }
    }

    /// Climbs the ladder for a question; what needs more than that is for the slow lane.
    fn judge(
        &mut self,
        client: Client,
        query: &Query,
        origin: Origin,
        hits: Option<&Hits>,
        out: &mut Vec<u8>,
    ) -> Judged {
        match policy::on_query_found(&self.generation.snapshot, client, &query.question, hits, &mut ()) {
            QueryVerdict::Block(block) => Judged::Done(self.block(client, query, origin, &block, out)),
            QueryVerdict::Rewrite(rewrite, permit) => {
                Judged::Done(self.rewrite(client, &permit, query, origin, &rewrite, out))
            }
            QueryVerdict::Local(local) => {
                let rcode =
                    reply::local(&self.generation.snapshot, client, query, origin, &local, &mut self.room.made, out);
                Judged::Done(self.done(client, query, origin, Outcome::Local, rcode, None, out))
            }
            QueryVerdict::Redirect(..) => Judged::Done(Fast::Slow),
            QueryVerdict::Allow(permit) => Judged::Allow(permit),
        }
    }

    /// SafeSearch, when nothing is asked of the target or the cache has it.
    fn rewrite(
        &mut self,
        client: Client,
        permit: &Permit,
        query: &Query,
        origin: Origin,
        rewrite: &Rewrite,
        out: &mut Vec<u8>,
    ) -> Fast {
        let snapshot = &self.generation.snapshot;
        let rule = &rewrite.rule;
        let found = match rewrite::wanted_type(rewrite.shape, query.question.qtype) {
            None => None,
            Some(qtype) => {
                let Some(group) = snapshot.routes.group_for(&rule.target) else { return Fast::Slow };
                let group = snapshot.routes.key(group);
                let about = About { qtype, dnssec_ok: false, checking_disabled: false, group };
                let key = KeyRef { name: rule.target.as_wire(), about };
                let found = self.table.look_up(key, self.now_ms, snapshot.cache.serve_stale, self.entry);
                let Some((_, freshness)) = found else { return Fast::Slow };
                let (ttl, stale) = match freshness {
                    Freshness::Fresh | Freshness::Prefetch => {
                        (TtlRule::Age { secs: self.entry.head.age_secs(self.now_ms), max: u32::MAX }, false)
                    }
                    Freshness::StaleHeld => (STALE_TTL, true),
                    Freshness::Stale => return Fast::Slow,
                };
                // A target that cannot be resolved is there by contract: the slow lane says what stands in.
                if self.entry.head.rcode != Rcode::NOERROR || self.entry.decode_into(&mut self.room.target).is_none() {
                    return Fast::Slow;
                }
                Some(Ok(Target { answer: self.room.target.answer(), ttl, stale }))
            }
        };
        let is_cached = found.is_some();
        let Ok(target) = rewrite::target_answer(snapshot, client, permit, query, rewrite, found) else {
            return Fast::Slow;
        };
        reply::rewrite(snapshot, query, origin, rewrite, &target, &mut self.room.made, out);
        if is_cached {
            self.tally.found_target();
        }
        self.done(client, query, origin, Outcome::Rewritten, Rcode::NOERROR, Some(rule.engine), out)
    }

    /// Ends the batch; its answers took until `now`.
    pub fn end(mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.now).as_secs_f64();
        self.tally.took(seconds, self.answered);
    }
}
