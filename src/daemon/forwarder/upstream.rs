//! One server at run time: where it is, how it does, and one message to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_net::NetError;
use hickory_proto::op::DnsResponse;

use super::Ask;
use super::bootstrap::{Bootstrap, Location};
use super::connect::{self, Dialect};
use super::message;
use super::once::Once;
use super::pool::Pool;
use super::raw;
use super::system::OwnAddresses;
use super::tls::Tls;
use super::udp::{self, Provider, RawReply};
use crate::engine::answer;
use crate::engine::exchange::{self, Answer, Channel, STAGE_PATIENCE};
use crate::engine::limits::UPSTREAM_UDP_IN_FLIGHT_MAX;
use crate::engine::name::Name;
use crate::engine::query::Question;
use crate::engine::upstream::{Health, Host, Server, Standing, UpstreamTransport};

/// A server may put any text into an HTTP error; more than this is not kept.
const ERROR_CHARS_MAX: usize = 200;

/// A message that came back, not judged yet.
pub struct Answered {
    pub bytes: Vec<u8>,
    pub rtt: Duration,
}

/// Why no message came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Our own bound; the server is not to blame.
    Busy,
    /// The server's address is ours.
    Loop,
    Network(String),
    /// By TCP, to a server of datagrams.
    ByTcp(String),
    /// Something came that is no DNS message to us: the server is there, the name is bad.
    Reply(String),
}

/// How one server does, for people and metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStatus {
    /// As the configuration writes it: the `upstream` label.
    pub server: String,
    pub transport: UpstreamTransport,
    pub is_up: bool,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// Time-outs and network errors in a row, now.
    pub failures_in_a_row: u32,
    pub connections: usize,
    /// Messages sent to it, follow-ups and hedges included.
    pub queries: u64,
    /// Answers about the name asked, NXDOMAIN and no data included.
    pub answers: u64,
    /// SERVFAIL, REFUSED and the like.
    pub refusals: u64,
    /// Times it was waited for in vain until the next server's turn; it may still have answered.
    pub timeouts: u64,
    /// Network errors, replies to another question and replies that cannot be read.
    pub errors: u64,
    pub hedges: u64,
    /// Messages not sent because a bound of ours was reached.
    pub busy: u64,
    /// The last thing that went wrong with it, until the server answers well again.
    pub last_error: Option<String>,
}

/// One server of the pool.
pub struct Upstream {
    server: Server,
    text: String,
    location: Location,
    dialect: Option<Dialect>,
    own: OwnAddresses,
    provider: Provider,
    /// Connections as configured; none for UDP.
    pool: Pool,
    /// TCP connections to a UDP server, for truncated answers.
    tcp: Pool,
    udp_in_flight: AtomicUsize,
    state: Mutex<State>,
    counters: Counters,
}

#[derive(Default)]
struct State {
    health: Health,
    last_error: Option<String>,
}

impl State {
    fn on_failure(&mut self, error: &str, now: Instant) {
        self.health.on_failure(now);
        self.remember(error);
    }

    fn on_lame(&mut self, error: &str, qname: &Name, now: Instant) {
        self.health.on_lame(qname, now);
        self.remember(error);
    }

    fn remember(&mut self, error: &str) {
        self.last_error = Some(error.chars().take(ERROR_CHARS_MAX).collect());
    }
}

#[derive(Default)]
struct Counters {
    queries: AtomicU64,
    answers: AtomicU64,
    refusals: AtomicU64,
    timeouts: AtomicU64,
    errors: AtomicU64,
    hedges: AtomicU64,
    busy: AtomicU64,
}

impl Upstream {
    /// `bootstrap` is needed for a server with a host name, `tls` for one with a certificate.
    pub fn new(
        server: Server,
        tls: Option<Arc<Tls>>,
        own: OwnAddresses,
        bootstrap: Option<Arc<Bootstrap>>,
    ) -> Upstream {
        let dialect = dialect(&server, tls);
        Upstream {
            text: server.to_string(),
            location: Location::new(&server.host, bootstrap),
            server,
            dialect,
            own,
            provider: Provider::default(),
            pool: Pool::default(),
            tcp: Pool::default(),
            udp_in_flight: AtomicUsize::new(0),
            state: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub fn is_resolved_like(&self, bootstrap: &Bootstrap) -> bool {
        self.location.is_resolved_like(bootstrap)
    }

    /// Sends one message and waits for what comes back, until `deadline` at most.
    pub async fn ask(
        &self,
        ask: &Ask,
        channel: Channel,
        edns: bool,
        deadline: tokio::time::Instant,
    ) -> Result<Answered, Broken> {
        let addresses = self.location.addresses().await.map_err(Broken::Network)?;
        // A name's addresses are known only now, and each must be somebody else's.
        let addresses = self.own.others(addresses).ok_or(Broken::Loop)?;
        let request = message::request(ask, edns);
        let (response, rtt) = match (channel, &self.dialect) {
            (Channel::Configured, None) => return self.ask_udp(&addresses, request, deadline).await,
            // How it does by datagrams is not told by this.
            (Channel::Tcp, None) => {
                let asked = self.tcp.ask(request, || self.open(Dialect::Tcp, &addresses)).await;
                asked.map_err(|broken| match broken {
                    Broken::Network(why) => Broken::ByTcp(format!("by TCP: {why}")),
                    Broken::Busy | Broken::Loop | Broken::ByTcp(_) | Broken::Reply(_) => broken,
                })?
            }
            // Nothing goes out by another way than the one that is configured, least of all unencrypted.
            (Channel::Configured | Channel::Tcp, Some(dialect)) => {
                self.pool.ask(request, || self.open(dialect.clone(), &addresses)).await?
            }
        };
        Ok(Answered::new(response, rtt))
    }

    /// What a reply is worth by the way it came, and what it says: a stream has room for all of it.
    pub fn classify(&self, reply: &[u8], question: &Question, edns: bool) -> (Answer, Option<answer::Answer>) {
        match exchange::classify(reply, question, edns) {
            (Answer::Truncated, _) if self.dialect.is_some() => (Answer::Malformed, None),
            told => told,
        }
    }

    fn open(&self, dialect: Dialect, addresses: &Arc<[SocketAddr]>) -> Once<connect::Exchange> {
        Once::spawn(connect::connect(dialect, Arc::clone(addresses), self.provider.clone()))
    }

    async fn ask_udp(
        &self,
        addresses: &[SocketAddr],
        request: hickory_proto::op::DnsRequest,
        deadline: tokio::time::Instant,
    ) -> Result<Answered, Broken> {
        let _slot = Slot::take(&self.udp_in_flight).ok_or(Broken::Busy)?;
        let address = self.location.choose(addresses);
        let started = tokio::time::Instant::now();
        // The exchange ends at the deadline; this timer must only not be the first.
        let time_left = deadline.saturating_duration_since(started) + Duration::from_secs(1);
        let outcome = udp::ask(address, &self.provider, request, time_left).await;
        let rtt = started.elapsed();
        match outcome {
            Ok(response) => Ok(Answered::new(response, rtt)),
            Err(error) if is_out_of_files(&error) => Err(Broken::Busy),
            Err(error @ NetError::Proto(_)) => Err(Broken::Reply(error.to_string())),
            Err(error) => match raw_reply(&error) {
                Some(bytes) => Ok(Answered { bytes: bytes.to_vec(), rtt }),
                None => {
                    self.location.advance();
                    Err(Broken::Network(error.to_string()))
                }
            },
        }
    }

    // Outcomes, as health and counters learn them.

    pub fn on_sent(&self, is_hedge: bool) {
        count(&self.counters.queries);
        if is_hedge {
            count(&self.counters.hedges);
        }
    }

    /// Its patience has run out. Whether that counts against it is [`Upstream::on_silence`]'s.
    pub fn on_late(&self) {
        count(&self.counters.timeouts);
    }

    /// A question sent then was never answered.
    pub fn on_silence(&self, sent_at: Instant, now: Instant) {
        self.change(|state| {
            let failures = state.health.failures();
            state.health.on_silence(sent_at, now);
            // Silence that health makes light of is no error.
            if state.health.failures() > failures {
                state.remember(&format!("no answer within {} ms", STAGE_PATIENCE.as_millis()));
            }
        });
    }

    pub fn on_answer(&self, answer: Answer, qname: &Name, rtt: Duration, now: Instant) {
        match answer {
            Answer::Good | Answer::Partial | Answer::Truncated | Answer::EdnsRefused | Answer::Bogus => {
                if matches!(answer, Answer::Good | Answer::Partial) {
                    count(&self.counters.answers);
                }
                self.change(|state| {
                    state.health.on_answer(rtt, now);
                    state.last_error = None;
                });
            }
            Answer::Bad => {
                count(&self.counters.refusals);
                self.change(|state| state.on_lame("it answers SERVFAIL, REFUSED or the like", qname, now));
            }
            Answer::Malformed => {
                count(&self.counters.errors);
                self.change(|state| state.on_lame("it answers what cannot be read", qname, now));
            }
            Answer::Mismatch => {
                count(&self.counters.errors);
                self.change(|state| state.on_failure("it answers another question than was asked", now));
            }
        }
    }

    pub fn on_broken(&self, broken: &Broken, qname: &Name, now: Instant) {
        match broken {
            Broken::Busy => count(&self.counters.busy),
            Broken::Loop => {
                count(&self.counters.errors);
                self.change(|state| state.on_failure("its name leads to this resolver itself", now));
            }
            Broken::Network(error) => {
                count(&self.counters.errors);
                self.change(|state| state.on_failure(error, now));
            }
            Broken::ByTcp(error) => {
                count(&self.counters.errors);
                self.change(|state| state.remember(error));
            }
            Broken::Reply(error) => {
                count(&self.counters.errors);
                self.change(|state| state.on_lame(error, qname, now));
            }
        }
    }

    pub fn on_overtaken(&self, elapsed: Duration) {
        self.change(|state| state.health.on_overtaken(elapsed));
    }

    /// Where a datagram goes, if that needs no looking up.
    pub fn plain_address(&self) -> Option<SocketAddr> {
        match (self.server.transport, &self.server.host) {
            (UpstreamTransport::Udp, Host::Address(address)) => Some(*address),
            _ => None,
        }
    }

    /// Its round trip, which may not be known yet; `None` while it is in back-off.
    pub fn rtt_if_up(&self) -> Option<Option<Duration>> {
        let state = self.lock();
        state.health.is_up().then(|| state.health.rtt())
    }

    pub fn is_up(&self) -> bool {
        self.lock().health.is_up()
    }

    pub fn is_down(&self, now: Instant) -> bool {
        self.lock().health.is_down(now)
    }

    pub fn standing(&self, now: Instant, may_probe: bool) -> (Standing, Option<Duration>) {
        let mut state = self.lock();
        (state.health.standing(now, may_probe), state.health.rtt())
    }

    pub fn status(&self) -> ServerStatus {
        let state = self.lock();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerStatus {
            server: self.text.clone(),
            transport: self.server.transport,
            is_up: state.health.is_up(),
            rtt: state.health.rtt(),
            failures_in_a_row: state.health.failures(),
            connections: self.pool.connections() + self.tcp.connections(),
            queries: read(&self.counters.queries),
            answers: read(&self.counters.answers),
            refusals: read(&self.counters.refusals),
            timeouts: read(&self.counters.timeouts),
            errors: read(&self.counters.errors),
            hedges: read(&self.counters.hedges),
            busy: read(&self.counters.busy),
            last_error: state.last_error.clone(),
        }
    }

    /// Changes the state and tells the operator when the server went down or came back.
    fn change(&self, f: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let was_up = state.health.is_up();
        f(&mut state);
        let is_up = state.health.is_up();
        if was_up == is_up {
            return;
        }
        let error = state.last_error.clone().unwrap_or_default();
        drop(state);
        if is_up {
            tracing::info!(upstream = %self.text, "upstream is back");
        } else {
            tracing::warn!(upstream = %self.text, error, "upstream is down");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Health is a value that any order of its changes leaves sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answered {
    fn new(response: DnsResponse, rtt: Duration) -> Answered {
        Answered { bytes: raw::opened(response.into_buffer()), rtt }
    }
}

/// `None` for UDP.
fn dialect(server: &Server, tls: Option<Arc<Tls>>) -> Option<Dialect> {
    let name = || -> Arc<str> {
        match (&server.tls_name, &server.host) {
            (Some(name), _) => name.as_str().into(),
            (None, Host::Address(address)) => address.ip().to_string().into(),
            (None, Host::Name(name, _)) => name.to_string().into(),
        }
    };
    let tls = || tls.clone().expect("the forwarder makes a TLS configuration when a server needs one");
    match server.transport {
        UpstreamTransport::Udp => None,
        UpstreamTransport::Tcp => Some(Dialect::Tcp),
        UpstreamTransport::Tls => Some(Dialect::Tls { tls: tls(), name: name() }),
        UpstreamTransport::Https => {
            let path = if server.path.is_empty() { "/dns-query" } else { &server.path };
            Some(Dialect::Https { tls: tls(), name: name(), path: path.into() })
        }
        UpstreamTransport::Quic => Some(Dialect::Quic { tls: tls(), name: name() }),
    }
}

fn raw_reply(error: &NetError) -> Option<&[u8]> {
    let NetError::Io(error) = error else { return None };
    error.get_ref()?.downcast_ref::<RawReply>().map(|reply| reply.0.as_slice())
}

/// No socket left to open: our own bound (`LimitNOFILE`), not the server's fault.
fn is_out_of_files(error: &NetError) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error, NetError::Io(error) if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)))
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One of the sockets that may be open to a server at once.
struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    fn take(in_flight: &'a AtomicUsize) -> Option<Slot<'a>> {
        let slot = Slot(in_flight);
        (in_flight.fetch_add(1, Ordering::Relaxed) < UPSTREAM_UDP_IN_FLIGHT_MAX).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
