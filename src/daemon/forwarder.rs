//! The forwarder: questions go upstream, the first acceptable answer comes back.
//!
//! This file drives [`Exchange`], which decides what is sent to whom, and tells each server's health what came of it.
//! How one message reaches one server is `upstream`'s and below. A forwarder belongs to one generation of routes;
//! connections and health of servers that stay are handed to the next.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::engine::answer;
use crate::engine::exchange::{Answer, Before, Cause, Exchange, GiveUp, STAGE_PATIENCE, SendId, Step};
use crate::engine::limits::{UNPROVEN_SECS_MAX, UPSTREAM_LAST_RESORT_MAX};
use crate::engine::name::Name;
use crate::engine::policy::Permit;
use crate::engine::query::Question;
use crate::engine::upstream::{
    EXPLORE_ONE_IN, GroupId, HedgeBudget, Host, Member, Routes, Server, ServerIdx, Standing, UpstreamTable,
    UpstreamTransport, candidates, patience,
};

mod bootstrap;
mod connect;
mod message;
mod once;
mod pool;
mod raw;
mod system;
#[cfg(test)]
mod tests;
pub(in crate::daemon) mod tls;
mod udp;
mod upstream;
mod wire;

use bootstrap::Bootstrap;
use system::OwnAddresses;
use tls::Tls;
use upstream::{Answered, Broken, Upstream};

pub use upstream::ServerStatus;
pub(in crate::daemon) use wire::{is_reply_to, write_question};

/// What the forwarder needs to know beside the routes.
#[derive(Debug, Clone, Default)]
pub struct ForwarderOptions {
    /// Servers that resolve host names of other servers, over UDP. Empty: the upstreams given by address do, else the
    /// system's resolvers.
    pub bootstrap: Vec<SocketAddr>,
    /// Certificates, in PEM, trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Addresses we answer on ourselves: nothing is forwarded there.
    pub own: Vec<SocketAddr>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub question: Question,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
    /// Names whose chains broke off, the last of them here: this asks for its rest.
    pub led_here: Vec<Name>,
    pub before: Option<Before>,
}

impl Ask {
    /// As whoever wants an answer and no proof of it.
    pub fn plain(question: Question) -> Ask {
        Ask { question, dnssec_ok: false, checking_disabled: false, led_here: Vec::new(), before: None }
    }
}

/// The answer, as upstream sent it.
#[derive(Debug, Clone)]
pub struct Reply {
    pub answer: answer::Answer,
    pub server: ServerIdx,
    /// AD of the message may reach a client.
    pub trust_ad: bool,
    /// See [`Answer::Partial`].
    pub is_partial: bool,
    pub rtt: Duration,
}

/// A server that the fast lane may ask by itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::daemon) struct Express {
    pub server: ServerIdx,
    pub trust_ad: bool,
    pub address: SocketAddr,
    /// After so long the slow lane goes on.
    pub patience: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A server was waited for in vain.
    Timeout,
    AllFailed {
        /// The last server's own SERVFAIL, REFUSED or the like, so that its code and EDE can reach the client.
        last: Option<answer::Answer>,
    },
    NoServers,
    /// Only our own addresses are left to ask.
    Loop,
}

/// The pool of upstream servers of one generation of routes.
pub struct Forwarder {
    routes: Arc<Routes>,
    /// Indexed by [`ServerIdx`].
    upstreams: Vec<Arc<Upstream>>,
    hedges: HedgeBudget,
    /// Also the roll that lets a slower server be tried now and then.
    questions: AtomicU64,
    /// By group: questions on their way to servers of which all were in back-off when they began.
    last_resort: Box<[AtomicUsize]>,
    shared: Shared,
}

/// One of the questions of the last resort.
struct LastResort<'a>(&'a AtomicUsize);

impl<'a> LastResort<'a> {
    fn begin(waiting: &'a AtomicUsize) -> LastResort<'a> {
        waiting.fetch_add(1, Ordering::Relaxed);
        LastResort(waiting)
    }
}

impl Drop for LastResort<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What servers are built with; a server is handed on to the next generation only with the same.
struct Shared {
    bootstrap: Vec<SocketAddr>,
    ca: Vec<u8>,
    own: OwnAddresses,
    tls: Option<Arc<Tls>>,
}

impl Forwarder {
    /// Builds the pool for these routes; keeps connections and health of servers that were there before.
    ///
    /// The error is a sentence for the operator: the extra certificates cannot be read, the system trusts nobody though
    /// a server needs a certificate, or a server is this resolver itself.
    pub fn new(
        routes: Arc<Routes>,
        options: ForwarderOptions,
        previous: Option<&Forwarder>,
    ) -> Result<Forwarder, String> {
        let own = OwnAddresses::new(options.own);
        routes.servers().iter().try_for_each(|server| check(server, &own))?;
        let ca = tls::read_ca_file(options.ca_file.as_deref())?;
        let same_ca = previous.filter(|previous| previous.shared.ca == ca);
        let tls = match same_ca.and_then(|previous| previous.shared.tls.clone()) {
            Some(tls) => Some(tls),
            None if routes.servers().iter().any(|server| server.transport.is_authenticated()) => {
                Some(Arc::new(Tls::new(&ca)?))
            }
            None => None,
        };
        let shared = Shared { bootstrap: options.bootstrap, ca, own, tls };
        let same_ca = same_ca.is_some();
        let kept: HashMap<&Server, &Arc<Upstream>> = previous
            .filter(|previous| previous.shared.own == shared.own)
            .into_iter()
            .flat_map(|previous| previous.upstreams.iter())
            .map(|upstream| (upstream.server(), upstream))
            .collect();
        let keep = |server: &Server| {
            let is_same = same_ca || !server.transport.is_authenticated();
            kept.get(server).filter(|_| is_same).map(|kept| Arc::clone(kept))
        };
        let upstreams = build(&routes, &shared, keep);
        let last_resort = (0..routes.group_count()).map(|_| AtomicUsize::new(0)).collect();
        let hedges = HedgeBudget::default();
        Ok(Forwarder { routes, upstreams, hedges, questions: AtomicU64::new(1), last_resort, shared })
    }

    /// Upstreams for a configuration without any: the system's resolvers less our own addresses, else public ones; and
    /// a sentence that says which.
    pub fn system_upstreams(own: &[SocketAddr]) -> (Vec<UpstreamTable>, String) {
        system::upstreams(&OwnAddresses::new(own.to_vec()))
    }

    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// Whether a question of the group that comes from `address` comes from one of those that we ask it: the sign of a forwarding
    /// loop. A server of another zone is a client like any other. Loopback does not count, since clients share it.
    pub fn is_server(&self, group: GroupId, address: IpAddr) -> bool {
        let is_there = |member: &Member| match &self.routes.servers()[member.server.0 as usize].host {
            Host::Address(at) => at.ip().to_canonical() == address,
            Host::Name(..) => false,
        };
        !address.is_loopback() && self.routes.stages(group).flatten().any(is_there)
    }

    /// How each server does, in the order of [`ServerIdx`].
    pub fn status(&self) -> Vec<ServerStatus> {
        self.upstreams.iter().map(|upstream| upstream.status()).collect()
    }

    /// Whether every server for names in general is in back-off, whatever its tier. Without a zone `.`, whether all are.
    pub fn root_group_is_lost(&self) -> bool {
        let mut servers: Vec<ServerIdx> = match self.routes.group_for(&Name::ROOT) {
            Some(root) => self.routes.group(root).tiers.iter().flatten().map(|member| member.server).collect(),
            None => (0..self.upstreams.len() as u32).map(ServerIdx).collect(),
        };
        let count = servers.len();
        servers.retain(|server| !self.upstream(*server).is_up());
        count > 0 && servers.len() == count
    }

    /// Sends one question upstream, through the tiers of the group and to further servers as they fail, until the first
    /// acceptable answer or the deadline. Nothing is asked without leave (I4). Dropping the future takes the question back.
    pub async fn ask(&self, _leave: &Permit, group: GroupId, ask: &Ask, deadline: Instant) -> Result<Reply, Failure> {
        let candidates = self.candidates(group);
        let is_last_resort = candidates.iter().all(|candidate| candidate.standing == Standing::Down);
        let _waiting = is_last_resort.then(|| LastResort::begin(self.waiting(group)));
        let begun = Instant::now().into_std();
        let mut exchange = Exchange::new(candidates, deadline.into_std()).after(ask.before.as_ref(), begun);
        self.hedges.on_question();
        let shared_ask = Arc::new(ask.clone());
        let mut in_flight = FuturesUnordered::new();
        let mut heard = Heard::after(ask.before.as_ref());
        loop {
            let now = Instant::now();
            match exchange.poll(now.into_std(), &self.hedges) {
                Step::Send { send, server, channel, edns, cause } => {
                    let (upstream, ask) = (Arc::clone(self.upstream(server)), Arc::clone(&shared_ask));
                    upstream.on_sent(cause == Cause::Hedge);
                    in_flight.push(async move {
                        let outcome = upstream.ask(&ask, channel, edns, deadline).await;
                        (send, edns, outcome)
                    });
                }
                Step::Late { server, .. } => {
                    self.hedges.on_failure();
                    self.upstream(server).on_late();
                }
                Step::WaitUntil(at) => {
                    tokio::select! {
                        biased;
                        Some((send, edns, outcome)) = in_flight.next(), if !in_flight.is_empty() => {
                            self.learn(&mut exchange, &mut heard, ask, send, edns, outcome);
                        }
                        () = tokio::time::sleep_until(Instant::from_std(at)) => {}
                    }
                }
                Step::Done(send) => {
                    let (answer, is_partial, rtt) = heard.good.expect("`learn` keeps the answer it calls good");
                    self.overtaken(&exchange, send, now);
                    let (server, trust_ad) = (exchange.server_of(send), exchange.trusts_ad(send));
                    // A validator behind us takes it for forged; it is not to be told so for the whole of a TTL.
                    let lacks_proofs = ask.dnssec_ok && !exchange.had_edns(send);
                    let answer = if lacks_proofs { answer.at_most(UNPROVEN_SECS_MAX) } else { answer };
                    self.await_silent(exchange, shared_ask, in_flight, now);
                    return Ok(Reply { answer, server, trust_ad, is_partial, rtt });
                }
                Step::GiveUp(why) => {
                    self.await_silent(exchange, shared_ask, in_flight, now);
                    return Err(heard.failure(why));
                }
            }
        }
    }

    /// Whether a further question would only wait with the many that wait already: all servers are in back-off, none is due to be tried,
    /// and [`UPSTREAM_LAST_RESORT_MAX`] questions ask them all the same.
    pub(in crate::daemon) fn is_hopeless(&self, group: GroupId) -> bool {
        if self.waiting(group).load(Ordering::Relaxed) < UPSTREAM_LAST_RESORT_MAX {
            return false;
        }
        let now = Instant::now().into_std();
        self.routes.stages(group).flatten().all(|member| self.upstream(member.server).is_down(now))
    }

    fn waiting(&self, group: GroupId) -> &AtomicUsize {
        &self.last_resort[group.0 as usize]
    }

    /// The server to ask first when asking is a plain thing: one with an address of its own, asked over UDP, in a tier whose
    /// servers are all well.
    pub(in crate::daemon) fn express(&self, group: GroupId) -> Option<Express> {
        let tier = self.routes.stages(group).next()?;
        let mut all = SmallVec::<[(ServerIdx, bool, SocketAddr, Option<Duration>); 4]>::new();
        for member in tier {
            let upstream = self.upstream(member.server);
            let (address, rtt) = upstream.plain_address().zip(upstream.rtt_if_up())?;
            all.push((member.server, member.trust_ad, address, rtt));
        }
        self.hedges.on_question();
        let roll = self.questions.fetch_add(1, Ordering::Relaxed);
        let explored = (roll.is_multiple_of(EXPLORE_ONE_IN)).then(|| roll / EXPLORE_ONE_IN % all.len() as u64);
        let chosen = match explored {
            Some(at) => all.get(at as usize),
            None => all.iter().min_by_key(|(.., rtt)| *rtt),
        };
        let &(server, trust_ad, address, rtt) = chosen?;
        Some(Express { server, trust_ad, address, patience: patience(rtt) })
    }

    pub(in crate::daemon) fn express_sent(&self, to: Express) {
        self.upstream(to.server).on_sent(false);
    }

    pub(in crate::daemon) fn express_answer(
        &self,
        to: Express,
        worth: Answer,
        qname: &Name,
        rtt: Duration,
        now: std::time::Instant,
    ) {
        self.upstream(to.server).on_answer(worth, qname, rtt, now);
        if matches!(worth, Answer::Bad | Answer::Mismatch | Answer::Malformed) {
            self.hedges.on_failure();
        }
    }

    fn upstream(&self, server: ServerIdx) -> &Arc<Upstream> {
        &self.upstreams[server.0 as usize]
    }

    fn candidates(&self, group: GroupId) -> Vec<crate::engine::upstream::Candidate> {
        let now = Instant::now().into_std();
        let roll = self.questions.fetch_add(1, Ordering::Relaxed);
        let standing =
            |server, may_probe| -> (Standing, Option<Duration>) { self.upstream(server).standing(now, may_probe) };
        candidates(&self.routes, group, roll, standing)
    }

    /// Judges what came of one message and tells the server's health and the exchange.
    fn learn(
        &self,
        exchange: &mut Exchange,
        heard: &mut Heard,
        ask: &Ask,
        send: SendId,
        edns: bool,
        outcome: Result<Answered, Broken>,
    ) {
        let now = Instant::now().into_std();
        let upstream = self.upstream(exchange.server_of(send));
        match outcome {
            Ok(answered) => {
                let (worth, answer) = upstream.classify(&answered.bytes, &ask.question, edns);
                let answer = answer.map(|answer| match ask.dnssec_ok {
                    true => answer,
                    false => answer.without_proofs(&ask.question),
                });
                upstream.on_answer(worth, &ask.question.qname, answered.rtt, now);
                exchange.on_answer(send, worth);
                match worth {
                    Answer::Good | Answer::Partial => {
                        let good = answer.map(|answer| (answer, worth == Answer::Partial, answered.rtt));
                        heard.good = heard.good.take().or(good);
                    }
                    Answer::Bad | Answer::Bogus => heard.last_bad = answer,
                    Answer::Truncated | Answer::EdnsRefused | Answer::Mismatch | Answer::Malformed => {}
                }
                if matches!(worth, Answer::Bad | Answer::Mismatch | Answer::Malformed) {
                    self.hedges.on_failure();
                }
            }
            Err(broken) => {
                heard.has_loop |= broken == Broken::Loop;
                self.hedges.on_failure();
                upstream.on_broken(&broken, &ask.question.qname, now);
                exchange.on_failure(send);
            }
        }
    }

    /// The question is over; servers that have said nothing to it are listened to until they had [`STAGE_PATIENCE`], and
    /// only then is their silence held against them: slow is not dead.
    fn await_silent(
        &self,
        exchange: Exchange,
        ask: Arc<Ask>,
        mut in_flight: impl Stream<Item = (SendId, bool, Result<Answered, Broken>)> + Send + Unpin + 'static,
        now: Instant,
    ) {
        let end = |sent_at| Instant::from_std(sent_at) + STAGE_PATIENCE;
        let mut silent: Vec<(ServerIdx, Arc<Upstream>, std::time::Instant)> =
            exchange.silent().map(|(server, sent_at)| (server, Arc::clone(self.upstream(server)), sent_at)).collect();
        silent.retain(|(_, upstream, sent_at)| {
            let is_over = end(*sent_at) <= now;
            if is_over {
                upstream.on_silence(*sent_at, now.into_std());
            }
            !is_over
        });
        let Some(until) = silent.iter().map(|(.., sent_at)| end(*sent_at)).max() else { return };
        tokio::spawn(async move {
            while let Ok(Some((send, edns, outcome))) = tokio::time::timeout_at(until, in_flight.next()).await {
                let of = exchange.server_of(send);
                let Some(at) = silent.iter().position(|(server, ..)| *server == of) else { continue };
                let (_, upstream, _) = silent.swap_remove(at);
                let (qname, now) = (&ask.question.qname, Instant::now().into_std());
                match outcome {
                    Ok(answered) => {
                        let (worth, _) = upstream.classify(&answered.bytes, &ask.question, edns);
                        upstream.on_answer(worth, qname, answered.rtt, now);
                    }
                    Err(broken) => upstream.on_broken(&broken, qname, now),
                }
            }
            // A lane may listen for one of them still.
            if !silent.is_empty() {
                tokio::time::sleep_until(until).await;
            }
            let now = Instant::now().into_std();
            silent.iter().for_each(|(_, upstream, sent_at)| upstream.on_silence(*sent_at, now));
        });
    }

    /// Servers still waited for when another answered have been slow for this long, at least.
    fn overtaken(&self, exchange: &Exchange, send: SendId, now: Instant) {
        for (server, sent_at) in exchange.unanswered() {
            if server != exchange.server_of(send) {
                self.upstream(server).on_overtaken(now.into_std() - sent_at);
            }
        }
    }
}

fn check(server: &Server, own: &OwnAddresses) -> Result<(), String> {
    // Where another name leads is known only when it is asked for; each message is looked at then.
    if server.host.known_addresses().iter().any(|address| own.contains(*address)) {
        return Err(format!("upstream {server} is this resolver itself"));
    }
    let Host::Address(address) = &server.host else { return Ok(()) };
    // hickory-net uses one text as the certificate's name and as HTTP's authority, where brackets differ.
    if server.transport == UpstreamTransport::Https && address.is_ipv6() && server.tls_name.is_none() {
        return Err(format!("upstream {server}: add the name of its certificate after `#`"));
    }
    Ok(())
}

/// What has come in for one question so far.
#[derive(Default)]
struct Heard {
    /// Whether it is [`Answer::Partial`] stands beside it, and how long it took.
    good: Option<(answer::Answer, bool, Duration)>,
    last_bad: Option<answer::Answer>,
    has_loop: bool,
}

impl Heard {
    fn after(before: Option<&Before>) -> Heard {
        let last_bad = match before {
            Some(Before::Bad(_, said)) => said.as_deref().cloned(),
            Some(Before::Bogus(said)) => Some((**said).clone()),
            Some(Before::Truncated(_) | Before::EdnsRefused(_) | Before::Silent(..)) | None => None,
        };
        Heard { last_bad, ..Heard::default() }
    }

    fn failure(self, why: GiveUp) -> Failure {
        match why {
            GiveUp::NoServers => Failure::NoServers,
            GiveUp::Timeout | GiveUp::AllFailed if self.last_bad.is_some() => {
                Failure::AllFailed { last: self.last_bad }
            }
            GiveUp::Timeout => Failure::Timeout,
            GiveUp::AllFailed if self.has_loop => Failure::Loop,
            GiveUp::AllFailed => Failure::AllFailed { last: None },
        }
    }
}

/// Servers by address first: they may have to resolve the names of the others.
fn build(routes: &Routes, shared: &Shared, keep: impl Fn(&Server) -> Option<Arc<Upstream>>) -> Vec<Arc<Upstream>> {
    let new = |server: &Server, bootstrap: Option<Arc<Bootstrap>>| {
        Arc::new(Upstream::new(server.clone(), shared.tls.clone(), shared.own.clone(), bootstrap))
    };
    let by_address = |server: &Server| !server.host.known_addresses().is_empty();
    let mut built: Vec<Option<Arc<Upstream>>> = routes
        .servers()
        .iter()
        .map(|server| by_address(server).then(|| keep(server).unwrap_or_else(|| new(server, None))))
        .collect();
    if built.iter().any(Option::is_none) {
        let bootstrap = Arc::new(Bootstrap::new(routes, &built, &shared.bootstrap, &shared.own));
        for (at, server) in routes.servers().iter().enumerate() {
            if built[at].is_none() {
                // A kept one resolves through the servers it was built with: only the same ones will do.
                let kept = keep(server).filter(|kept| kept.is_resolved_like(&bootstrap));
                built[at] = Some(kept.unwrap_or_else(|| new(server, Some(Arc::clone(&bootstrap)))));
            }
        }
    }
    built.into_iter().flatten().collect()
}
