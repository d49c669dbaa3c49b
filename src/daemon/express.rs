//! Misses of the fast lane: a first question to a server that is well, sent and answered on the lane's own thread.
//!
//! Everything that is not this plain case — another transport, a server in back-off, silence, an answer cut short or bad —
//! goes on in the slow lane, whose exchanges know what to do. Identical questions share one exchange with both lanes. What a
//! server says after patience ran out is taken all the same, and told to whoever waits in the slow lane.
//!
//! Sockets are connected, so the kernel drops what others send, and each is given up after a while or some hundred
//! questions: a port is not there long enough to be found, and the id is random beside it.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rustix::event::{PollFd, PollFlags, Timespec};
use smallvec::{SmallVec, smallvec};

use crate::daemon::forwarder::{Express, is_reply_to};
use crate::daemon::inflight::{self, Fetched, FlightId, JoinHere, Ticket};
use crate::daemon::listener::batch::{Asked, Batch, DATAGRAMS, Outbox};
use crate::daemon::resolver::{Begun, Found, Pending, Resolver};
use crate::daemon::snapshot_cell::Generation;
use crate::engine::answer::AnswerBuilder;
use crate::engine::cache::{Entry, Key};
use crate::engine::exchange::{Answer, Before, read_reply};
use crate::engine::limits::{
    QUERY_DEADLINE, UDP_IN_FLIGHT_MAX, UPSTREAM_OVERDUE_MAX, UPSTREAM_SOCKET_QUESTIONS_MAX, UPSTREAM_SOCKET_SECS_MAX,
    UPSTREAM_SOCKETS_MAX, UPSTREAM_UDP_IN_FLIGHT_MAX,
};
use crate::engine::query::{Question, Rcode};

/// What became of a query that needs upstream.
pub enum Started {
    /// It is under way here, or given up for want of room.
    Here,
    /// It is for the slow lane.
    Slow(Box<Pending>),
}

/// Questions of one lane on their way.
pub struct Misses {
    resolver: Arc<Resolver>,
    /// Tells this lane's exchanges from others'.
    lane: u64,
    wires: Vec<Wire>,
    under_way: UnderWay,
    random: Random,
    replies: Box<Batch>,
    /// Places of wires that have something to read.
    ready: SmallVec<[usize; 16]>,
    /// Counts the times that there were some.
    turn: usize,
    question: Vec<u8>,
    /// Questions to be sent together, and the number of their wire.
    questions: Outbox,
    sending_by: u32,
    room: Room,
}

/// Over all wires.
#[derive(Default)]
struct UnderWay {
    flights: usize,
    /// Queries that wait for them.
    queries: usize,
    /// Questions that the slow lane has by now.
    overdue: usize,
}

/// Memory to read a reply and write an answer in, used again and again.
struct Room {
    read: AnswerBuilder,
    kept: Entry,
    out: Vec<u8>,
}

/// A socket to one server.
struct Wire {
    /// Never used twice.
    number: u32,
    server: SocketAddr,
    socket: UdpSocket,
    opened: Instant,
    asked: u32,
    /// By their message's id.
    flights: HashMap<u16, Flight>,
    /// When patience with each ends; some are over by then.
    patience: Ends,
    /// Those that nobody else had room for when it did, until the client's own time is over.
    last_wait: Ends,
    /// Those that the slow lane goes on with, by their message's id.
    overdue: HashMap<u16, Box<Overdue>>,
    /// When these are forgotten.
    overdue_until: VecDeque<(Instant, u16)>,
}

/// When something ends, and the id of its message; the first is seen. A later question may have less time than one before, for
/// patience goes with the server's pace.
type Ends = BinaryHeap<Reverse<(Instant, u16)>>;

/// A question that the slow lane goes on with. Its first message may still be answered.
struct Overdue {
    to: Express,
    sent: Instant,
    key: Key,
    question: Question,
    dnssec_ok: bool,
    generation: Arc<Generation>,
}

impl Wire {
    fn is_listened_to(&self) -> bool {
        !(self.flights.is_empty() && self.overdue.is_empty())
    }
}

/// One question on its way.
struct Flight {
    to: Express,
    sent: Instant,
    ticket: Ticket,
    /// The first asked; the others asked the same.
    waiting: SmallVec<[Box<Pending>; 1]>,
}

static LANES: AtomicU64 = AtomicU64::new(0);

impl Misses {
    pub fn new(resolver: Arc<Resolver>) -> Misses {
        Misses {
            resolver,
            lane: LANES.fetch_add(1, Ordering::Relaxed),
            wires: Vec::new(),
            under_way: UnderWay::default(),
            random: Random::default(),
            replies: Box::new(Batch::new(Asked::Fixed(None))),
            ready: SmallVec::new(),
            turn: 0,
            question: Vec::with_capacity(512),
            questions: Outbox::new(Asked::Fixed(None)),
            sending_by: 0,
            room: Room {
                read: AnswerBuilder::new(Rcode::NOERROR),
                kept: Entry::default(),
                out: Vec::with_capacity(4096),
            },
        }
    }

    /// Whether nothing that a server may say is waited for.
    pub fn is_idle(&self) -> bool {
        self.under_way.flights == 0 && self.under_way.overdue == 0
    }

    /// Questions on their way that are answered here.
    #[cfg(test)]
    pub fn flights(&self) -> usize {
        self.under_way.flights
    }

    /// Sends a query's question upstream, if that is a plain thing to do.
    pub fn start(&mut self, pending: Box<Pending>, now: Instant) -> Started {
        if self.under_way.queries >= UDP_IN_FLIGHT_MAX {
            return self.shed("udp_in_flight_max", pending);
        }
        let Some((key, group)) = pending.plain_need() else { return Started::Slow(pending) };
        let Some(to) = pending.generation().forwarder.express(group) else { return Started::Slow(pending) };
        let Ok(at) = self.wire(to.address, now) else { return Started::Slow(pending) };
        let wire = &mut self.wires[at];
        let is_free = |id: &u16| !wire.flights.contains_key(id) && !wire.overdue.contains_key(id);
        let Some(id) = self.random.find(is_free) else { return Started::Slow(pending) };
        let flight = inflight::Flight { lane: self.lane, id: (wire.number, id) };
        let ticket = match self.resolver.join_here(key, flight) {
            JoinHere::Lead(_) if self.under_way.flights >= UPSTREAM_UDP_IN_FLIGHT_MAX => {
                // The slow lane would wait for the same server, at ten times the price; another one it may ask.
                return match self.flights_to(to.address) >= UPSTREAM_UDP_IN_FLIGHT_MAX {
                    true => self.shed("upstream_udp_in_flight_max", pending),
                    false => Started::Slow(pending),
                };
            }
            JoinHere::Lead(ticket) => ticket,
            JoinHere::Mine(id) => return self.follow(id, pending),
            JoinHere::Elsewhere => return Started::Slow(pending),
        };
        pending.write_question(&mut self.question);
        self.question[..2].copy_from_slice(&id.to_be_bytes());
        // One that the kernel does not take is as good as lost on its way: the slow lane goes on when patience runs out.
        self.questions.push_connected(&self.question);
        pending.generation().forwarder.express_sent(to);
        wire.asked += 1;
        wire.patience.push(Reverse((now + to.patience, id)));
        wire.flights.insert(id, Flight { to, sent: now, ticket, waiting: smallvec![pending] });
        self.under_way.queries += 1;
        self.under_way.flights += 1;
        Started::Here
    }

    fn flights_to(&self, server: SocketAddr) -> usize {
        self.wires.iter().filter(|wire| wire.server == server).map(|wire| wire.flights.len()).sum()
    }

    fn shed(&self, limit: &'static str, pending: Box<Pending>) -> Started {
        self.resolver.metrics.limit_hit(limit);
        pending.shed();
        Started::Here
    }

    /// Waits for the answer to a question that is on its way.
    fn follow(&mut self, id: FlightId, pending: Box<Pending>) -> Started {
        let wire = self.wires.iter_mut().find(|wire| wire.number == id.0);
        let Some(flight) = wire.and_then(|wire| wire.flights.get_mut(&id.1)) else { return Started::Slow(pending) };
        flight.waiting.push(pending);
        self.under_way.queries += 1;
        Started::Here
    }

    /// Sends the questions that were started.
    pub fn send(&mut self) {
        if let Some(wire) = self.wires.iter().find(|wire| wire.number == self.sending_by) {
            self.questions.send(&wire.socket);
        }
    }

    /// The socket that questions to a server go out by now. Those to be sent by another are sent first.
    fn wire(&mut self, server: SocketAddr, now: Instant) -> io::Result<usize> {
        let at = self.young_wire(server, now)?;
        if self.wires[at].number != self.sending_by {
            self.send();
            self.sending_by = self.wires[at].number;
        }
        Ok(at)
    }

    fn young_wire(&mut self, server: SocketAddr, now: Instant) -> io::Result<usize> {
        let is_young = |wire: &Wire| {
            wire.asked < UPSTREAM_SOCKET_QUESTIONS_MAX
                && now.saturating_duration_since(wire.opened) < Duration::from_secs(UPSTREAM_SOCKET_SECS_MAX)
        };
        if let Some(at) = self.wires.iter().rposition(|wire| wire.server == server && is_young(wire)) {
            return Ok(at);
        }
        self.send();
        // Those that nobody waits at any more are closed when a new one is opened.
        self.wires.retain(|wire| wire.is_listened_to() || wire.server != server && is_young(wire));
        if self.wires.len() >= UPSTREAM_SOCKETS_MAX
            && let Some(at) = self.wires.iter().position(|wire| wire.flights.is_empty())
        {
            // What would come late there is let go for what is asked now.
            self.under_way.overdue -= self.wires.remove(at).overdue.len();
        }
        if self.wires.len() >= UPSTREAM_SOCKETS_MAX {
            return Err(io::Error::other("too many sockets"));
        }
        let any: SocketAddr =
            if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        let number = self.random.next_number();
        self.wires.push(Wire {
            number,
            server,
            socket,
            opened: now,
            asked: 0,
            flights: HashMap::new(),
            patience: Ends::new(),
            last_wait: Ends::new(),
            overdue: HashMap::new(),
            overdue_until: VecDeque::new(),
        });
        Ok(self.wires.len() - 1)
    }

    /// Waits until a client or a server says something, or patience runs out; at most `limit`. Whether a client did.
    pub fn wait(&mut self, clients: &UdpSocket, now: Instant, limit: Duration) -> bool {
        let firsts = self.wires.iter().flat_map(|wire| [wire.patience.peek(), wire.last_wait.peek()]).flatten();
        let until =
            firsts.map(|Reverse((at, _))| at.saturating_duration_since(now)).min().map_or(limit, |at| at.min(limit));
        self.ready.clear();
        let busy = || (0..self.wires.len()).filter(|at| self.wires[*at].is_listened_to());
        let sockets = std::iter::once(clients.as_fd()).chain(busy().map(|at| self.wires[at].socket.as_fd()));
        let mut sockets: SmallVec<[PollFd<'_>; 16]> =
            sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)).collect();
        let until = Timespec { tv_sec: until.as_secs() as i64, tv_nsec: i64::from(until.subsec_nanos()) };
        match rustix::event::poll(&mut sockets, Some(&until)) {
            // An error of the socket's is told by the next call on it.
            Ok(_) => {
                let ready = busy().zip(&sockets[1..]).filter(|(_, socket)| !socket.revents().is_empty());
                self.ready.extend(ready.map(|(at, _)| at));
                !sockets[0].revents().is_empty()
            }
            // A signal: look again.
            Err(_) => false,
        }
    }

    /// Takes what servers said, and sees with what patience has run out. Answers go to `out`, what needs more to `slow`. What is late does
    /// only if `may_ask_again`: else it waits on here, where that costs nothing, for as long as its client does.
    pub fn take_replies(
        &mut self,
        now: Instant,
        out: &mut Outbox,
        slow: &mut impl FnMut(Box<Pending>),
        may_ask_again: impl Fn() -> bool,
    ) {
        let mut ready = std::mem::take(&mut self.ready);
        if !ready.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % ready.len();
            ready.rotate_left(first);
        }
        let mut taken = 0;
        // Clients wait meanwhile: what is left is there at the next turn, when another socket is the first.
        for at in ready {
            if taken >= DATAGRAMS {
                break;
            }
            match self.replies.receive(&self.wires[at].socket, false) {
                Ok(count) => {
                    taken += count;
                    (0..count).for_each(|i| self.take_reply(at, i, now, out, slow));
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                // Nobody listens there, most often. Those who wait at this socket are told at once.
                Err(_) => self.give_up_wire(at, slow),
            }
        }
        for at in 0..self.wires.len() {
            let wire = &mut self.wires[at];
            let mut given_up = SmallVec::<[u16; 16]>::new();
            while let Some((id, sent)) = late(&mut wire.patience, &wire.flights, now, |flight| flight.to.patience) {
                match may_ask_again() {
                    true => given_up.push(id),
                    false => wire.last_wait.push(Reverse((sent + QUERY_DEADLINE, id))),
                }
            }
            while let Some((id, _)) = late(&mut wire.last_wait, &wire.flights, now, |_| QUERY_DEADLINE) {
                given_up.push(id);
            }
            given_up.into_iter().for_each(|id| self.hand_over(at, id, now, slow));
            self.forget_overdue(at, now);
        }
    }

    fn take_reply(&mut self, at: usize, i: usize, now: Instant, out: &mut Outbox, slow: &mut impl FnMut(Box<Pending>)) {
        let Some(datagram) = self.replies.datagram(i) else { return };
        let Some(id) = datagram.octets.first_chunk::<2>().map(|id| u16::from_be_bytes(*id)) else { return };
        let asked = self.wires[at].flights.get(&id).and_then(|flight| flight.waiting.first());
        if asked.is_none() {
            return self.take_overdue(at, i, id, now);
        }
        if !asked.is_some_and(|pending| is_reply_to(datagram.octets, pending.question())) {
            return;
        }
        let Some(Flight { to, sent, ticket, mut waiting }) = end(&mut self.wires[at], &mut self.under_way, id) else {
            return;
        };
        let Room { read, kept, out: reply } = &mut self.room;
        let Some(first) = waiting.first() else { return };
        let (question, dnssec_ok) = (first.question(), first.dnssec_ok());
        let worth = match datagram.is_cut {
            true => Answer::Truncated,
            false => read_reply(datagram.octets, question, true, read),
        };
        let rtt = now.saturating_duration_since(sent);
        first.generation().forwarder.express_answer(to, worth, &question.qname, rtt, now);
        if worth != Answer::Good {
            let before = match worth {
                Answer::Truncated => Some(Before::Truncated(to.server)),
                Answer::EdnsRefused => Some(Before::EdnsRefused(to.server)),
                Answer::Bad | Answer::Bogus => {
                    let said = Arc::new(read.answer().clone().answering_for(question, dnssec_ok));
                    let is_bogus = worth == Answer::Bogus;
                    Some(if is_bogus { Before::Bogus(said) } else { Before::Bad(to.server, Some(said)) })
                }
                Answer::Mismatch | Answer::Malformed => Some(Before::Bad(to.server, None)),
                // Seldom: whoever asks for the rest asks for the beginning, too.
                Answer::Good | Answer::Partial => None,
            };
            drop(ticket);
            for mut pending in waiting {
                if let Some(before) = &before {
                    pending.was_asked(before.clone());
                }
                slow(pending);
            }
            return;
        }
        let (cache, trust_ad, stale) = (&self.resolver.cache, to.trust_ad, first.serve_stale());
        let answer = read.answer();
        let is_asked = dnssec_ok || !answer.has_proofs(question);
        let is_plain = answer.ede.is_empty() && answer.is_straight(question) && is_asked;
        let came = if is_plain { read.as_it_came(datagram.octets) } else { None };
        let key = ticket.key();
        let is_kept = came.is_some_and(|came| cache.pass_on(key, (answer, came), trust_ad, now, stale, kept));
        // Written anew is what cannot be passed on as it came, and what the slow lane goes on with.
        let anew = OnceCell::new();
        let anew = |question: &Question| {
            Arc::clone(anew.get_or_init(|| Arc::new(answer.clone().answering_for(question, dnssec_ok))))
        };
        if !is_kept {
            cache.put(key.clone(), anew(question), trust_ad, stale);
        }
        if answer.rcode == Rcode::NXDOMAIN
            && let Some(zones) = self.resolver.zones()
        {
            zones.learn(&question.qname, Some(answer), now);
        }
        ticket.finish(|| Fetched::Answer { answer: anew(question), trust_ad });
        for pending in waiting.drain(..) {
            let (to, from) = pending.origin().reply_to();
            let left = match is_kept {
                true => self.resolver.deliver_kept(pending, answer, kept, reply),
                false => Err(pending),
            };
            let begun = match left {
                Ok(()) => {
                    out.push(reply, to, from);
                    continue;
                }
                Err(pending) => {
                    let found = Found::upstream(anew(pending.question()), trust_ad);
                    self.resolver.deliver_pending(*pending, &found)
                }
            };
            match begun {
                Begun::Answer(octets) => out.push(&octets, to, from),
                Begun::Silence => {}
                Begun::Pending(next) => slow(next),
            }
        }
    }

    /// Leaves a question to the slow lane. Whoever follows it there asks anew when its ticket is gone.
    fn give_up(&mut self, at: usize, id: u16, slow: &mut impl FnMut(Box<Pending>)) {
        let Some(Flight { ticket, waiting, .. }) = end(&mut self.wires[at], &mut self.under_way, id) else { return };
        drop(ticket);
        waiting.into_iter().for_each(slow);
    }

    /// Leaves a silent question to the slow lane, and listens on.
    fn hand_over(&mut self, at: usize, id: u16, now: Instant, slow: &mut impl FnMut(Box<Pending>)) {
        let wire = &mut self.wires[at];
        let Some(Flight { to, sent, ticket, waiting }) = end(wire, &mut self.under_way, id) else { return };
        let has_room = self.under_way.overdue < UPSTREAM_OVERDUE_MAX && sent + QUERY_DEADLINE > now;
        if let Some(first) = waiting.first().filter(|_| has_room) {
            let (question, generation) = (first.question().clone(), Arc::clone(first.generation()));
            let (key, dnssec_ok) = (ticket.key().clone(), first.dnssec_ok());
            let overdue = Overdue { to, sent, key, question, dnssec_ok, generation };
            wire.overdue.insert(id, Box::new(overdue));
            wire.overdue_until.push_back((sent + QUERY_DEADLINE, id));
            self.under_way.overdue += 1;
        }
        drop(ticket);
        for mut pending in waiting {
            pending.was_asked(Before::Silent(to.server, sent));
            slow(pending);
        }
    }

    /// A reply to nothing that waits here: perhaps to what waits in the slow lane by now.
    fn take_overdue(&mut self, at: usize, i: usize, id: u16, now: Instant) {
        let Some(datagram) = self.replies.datagram(i) else { return };
        let wire = &mut self.wires[at];
        if !wire.overdue.get(&id).is_some_and(|overdue| is_reply_to(datagram.octets, &overdue.question)) {
            return;
        }
        let Some(overdue) = wire.overdue.remove(&id) else { return };
        self.under_way.overdue -= 1;
        let Overdue { to, sent, key, question, dnssec_ok, generation } = *overdue;
        let read = &mut self.room.read;
        let worth = match datagram.is_cut {
            true => Answer::Truncated,
            false => read_reply(datagram.octets, &question, true, read),
        };
        generation.forwarder.express_answer(to, worth, &question.qname, now.saturating_duration_since(sent), now);
        if worth != Answer::Good {
            return;
        }
        let answer = Arc::new(read.answer().clone().answering_for(&question, dnssec_ok));
        if answer.rcode == Rcode::NXDOMAIN
            && let Some(zones) = self.resolver.zones()
        {
            zones.learn(&question.qname, Some(&answer), now);
        }
        let (trust_ad, stale) = (to.trust_ad, generation.snapshot.cache.serve_stale);
        self.resolver.cache.put(key.clone(), Arc::clone(&answer), trust_ad, stale);
        self.resolver.overtake(&key, Fetched::Answer { answer, trust_ad });
    }

    /// Nobody waits for an answer any more that comes so late.
    fn forget_overdue(&mut self, at: usize, now: Instant) {
        let Wire { overdue, overdue_until, .. } = &mut self.wires[at];
        while let Some(&(_, id)) = overdue_until.front().filter(|(until, _)| *until <= now) {
            overdue_until.pop_front();
            // The id may be a later question's by now, which is in the queue, too.
            if overdue.get(&id).is_some_and(|overdue| overdue.sent + QUERY_DEADLINE <= now) {
                overdue.remove(&id);
                self.under_way.overdue -= 1;
            }
        }
    }

    fn give_up_wire(&mut self, at: usize, slow: &mut impl FnMut(Box<Pending>)) {
        let lost: Vec<u16> = self.wires[at].flights.keys().copied().collect();
        lost.into_iter().for_each(|id| self.give_up(at, id, slow));
        // No new question goes out by it.
        self.wires[at].asked = UPSTREAM_SOCKET_QUESTIONS_MAX;
    }

    /// Leaves everything to the slow lane.
    pub fn give_up_all(&mut self, slow: &mut impl FnMut(Box<Pending>)) {
        (0..self.wires.len()).for_each(|at| self.give_up_wire(at, slow));
    }
}

/// Takes a question off the table.
fn end(wire: &mut Wire, under_way: &mut UnderWay, id: u16) -> Option<Flight> {
    let flight = wire.flights.remove(&id)?;
    under_way.flights -= 1;
    under_way.queries -= flight.waiting.len();
    Some(flight)
}

/// The next question with which patience is over, and when it was sent.
fn late(
    waits: &mut Ends,
    flights: &HashMap<u16, Flight>,
    now: Instant,
    patience: impl Fn(&Flight) -> Duration,
) -> Option<(u16, Instant)> {
    while let Some(&Reverse((until, id))) = waits.peek() {
        // The id may be another question's by now, which was sent later.
        let flight = flights.get(&id).filter(|flight| flight.sent + patience(flight) <= until);
        if flight.is_some() && until > now {
            return None;
        }
        waits.pop();
        if let Some(flight) = flight {
            return Some((id, flight.sent));
        }
    }
    None
}

/// Ids that nobody can guess, fetched from the system many at a time.
#[derive(Default)]
struct Random {
    octets: Vec<u8>,
    numbers: u32,
}

impl Random {
    /// Octets fetched at once.
    const FETCHED: usize = 1024;
    /// So many ids are tried before a socket counts as full.
    const TRIES: usize = 16;

    fn find(&mut self, is_free: impl Fn(&u16) -> bool) -> Option<u16> {
        (0..Random::TRIES).map_while(|_| self.id()).find(is_free)
    }

    fn id(&mut self) -> Option<u16> {
        if self.octets.len() < 2 {
            self.octets.resize(Random::FETCHED, 0);
            // Without randomness nothing is asked this way.
            if getrandom::fill(&mut self.octets).is_err() {
                self.octets.clear();
            }
        }
        let (low, high) = (self.octets.pop()?, self.octets.pop()?);
        Some(u16::from_be_bytes([low, high]))
    }

    fn next_number(&mut self) -> u32 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }
}

#[cfg(test)]
mod tests;
