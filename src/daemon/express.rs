//! Misses of the fast lane: a first question to a server that is well, sent and answered on the lane's own thread.
//!
//! Everything that is not this plain case — another transport, a server in back-off, silence, an answer cut short or bad —
//! goes on in the slow lane, whose exchanges know what to do. Identical questions share one exchange with both lanes.
//!
//! Sockets are connected, so the kernel drops what others send, and each is given up after a while or some hundred
//! questions: a port is not there long enough to be found, and the id is random beside it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rustix::event::{PollFd, PollFlags, Timespec};
use smallvec::SmallVec;

use crate::daemon::forwarder::{Express, is_reply, write_question};
use crate::daemon::inflight::{Fetched, Join, Ticket};
use crate::daemon::listener::batch::{Batch, Outbox};
use crate::daemon::resolver::{Begun, Found, Pending, Resolver};
use crate::engine::cache::Key;
use crate::engine::exchange::{Answer, classify};
use crate::engine::limits::{
    UDP_IN_FLIGHT_MAX, UPSTREAM_SOCKET_QUESTIONS_MAX, UPSTREAM_SOCKET_SECS_MAX, UPSTREAM_SOCKETS_MAX,
    UPSTREAM_UDP_IN_FLIGHT_MAX,
};

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
    wires: Vec<Wire>,
    flights: HashMap<FlightId, Flight>,
    by_key: HashMap<Key, FlightId>,
    /// Queries that wait, over all flights.
    waiting: usize,
    /// When patience with each runs out; some are over by then.
    patience: BinaryHeap<Reverse<(Instant, FlightId)>>,
    random: Random,
    replies: Box<Batch>,
    /// Places of wires that have something to read.
    ready: SmallVec<[usize; 16]>,
    question: Vec<u8>,
    /// Questions to be sent together, and the number of their wire.
    questions: Outbox,
    sending_by: u32,
}

/// A wire's number and the message's id.
type FlightId = (u32, u16);

/// A socket to one server.
struct Wire {
    /// Never used twice.
    number: u32,
    server: SocketAddr,
    socket: UdpSocket,
    opened: Instant,
    asked: u32,
    waiting: u32,
}

/// One question on its way.
struct Flight {
    key: Key,
    /// As it was sent.
    message: Box<[u8]>,
    to: Express,
    sent: Instant,
    ticket: Ticket,
    /// The first asked; the others asked the same.
    #[expect(clippy::vec_box, reason = "each came in its box and leaves in it")]
    waiting: Vec<Box<Pending>>,
}

impl Misses {
    pub fn new(resolver: Arc<Resolver>) -> Misses {
        Misses {
            resolver,
            wires: Vec::new(),
            flights: HashMap::new(),
            by_key: HashMap::new(),
            waiting: 0,
            patience: BinaryHeap::new(),
            random: Random::default(),
            replies: Box::new(Batch::new()),
            ready: SmallVec::new(),
            question: Vec::with_capacity(512),
            questions: Outbox::new(),
            sending_by: 0,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Sends a query's question upstream, if that is a plain thing to do.
    pub fn start(&mut self, pending: Box<Pending>, now: Instant) -> Started {
        if self.waiting >= UDP_IN_FLIGHT_MAX {
            self.resolver.metrics.limit_hit("udp_in_flight_max");
            pending.shed();
            return Started::Here;
        }
        let Some((key, group, ask)) = pending.plain_need() else { return Started::Slow(pending) };
        if let Some(flight) = self.by_key.get(key).and_then(|id| self.flights.get_mut(id)) {
            flight.waiting.push(pending);
            self.waiting += 1;
            return Started::Here;
        }
        if self.flights.len() >= UPSTREAM_UDP_IN_FLIGHT_MAX {
            return Started::Slow(pending);
        }
        let Some(to) = pending.generation().forwarder.express(group) else { return Started::Slow(pending) };
        let Ok(at) = self.wire(to.address, now) else { return Started::Slow(pending) };
        let key = key.clone();
        let Join::Lead(ticket, _) = self.resolver.join(&key) else { return Started::Slow(pending) };
        write_question(&ask, true, &mut self.question);
        let wire = &mut self.wires[at];
        let flights = &self.flights;
        let Some(id) = self.random.find(|id| !flights.contains_key(&(wire.number, *id))) else {
            return Started::Slow(pending);
        };
        self.question[..2].copy_from_slice(&id.to_be_bytes());
        // One that the kernel does not take is as good as lost on its way: the slow lane goes on when patience runs out.
        self.questions.push_connected(&self.question);
        wire.asked += 1;
        wire.waiting += 1;
        pending.generation().forwarder.express_sent(to);
        let id = (wire.number, id);
        self.patience.push(Reverse((now + to.patience, id)));
        self.by_key.insert(key.clone(), id);
        let message = self.question.as_slice().into();
        self.waiting += 1;
        self.flights.insert(id, Flight { key, message, to, sent: now, ticket, waiting: vec![pending] });
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
        self.wires.retain(|wire| wire.waiting > 0 || wire.server != server && is_young(wire));
        if self.wires.len() >= UPSTREAM_SOCKETS_MAX {
            return Err(io::Error::other("too many sockets"));
        }
        let any: SocketAddr =
            if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        let number = self.random.next_number();
        self.wires.push(Wire { number, server, socket, opened: now, asked: 0, waiting: 0 });
        Ok(self.wires.len() - 1)
    }

    /// Waits until a client or a server says something, or patience runs out; at most `limit`. Whether a client did.
    pub fn wait(&mut self, clients: &UdpSocket, now: Instant, limit: Duration) -> bool {
        let until = self.patience.peek().map_or(limit, |Reverse((at, _))| at.saturating_duration_since(now).min(limit));
        self.ready.clear();
        let busy = || (0..self.wires.len()).filter(|at| self.wires[*at].waiting > 0);
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

    /// Takes what servers said, and sees whose patience has run out. Answers go to `out`, what needs more to `slow`.
    pub fn take_replies(&mut self, now: Instant, out: &mut Outbox, slow: &mut impl FnMut(Box<Pending>)) {
        for at in std::mem::take(&mut self.ready) {
            match self.replies.receive(&self.wires[at].socket, false) {
                Ok(count) => (0..count).for_each(|i| self.take_reply(at, i, now, out, slow)),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                // Nobody listens there, most often. Those who wait at this socket are told at once.
                Err(_) => self.give_up_wire(at, slow),
            }
        }
        while let Some(Reverse((at, id))) = self.patience.peek().copied() {
            if at > now {
                break;
            }
            self.patience.pop();
            // The id may be another question's by now, which was sent later.
            if self.flights.get(&id).is_some_and(|flight| flight.sent + flight.to.patience <= now) {
                self.give_up(id, slow);
            }
        }
    }

    fn take_reply(&mut self, at: usize, i: usize, now: Instant, out: &mut Outbox, slow: &mut impl FnMut(Box<Pending>)) {
        let Some(datagram) = self.replies.datagram(i) else { return };
        let Some(id) = datagram.octets.first_chunk::<2>() else { return };
        let id = (self.wires[at].number, u16::from_be_bytes(*id));
        let Some(flight) = self.flights.get(&id).filter(|flight| is_reply(datagram.octets, &flight.message)) else {
            return;
        };
        let Some(pending) = flight.waiting.first() else { return };
        let question = pending.question();
        let (worth, answer) = match datagram.is_cut {
            true => (Answer::Truncated, None),
            false => classify(datagram.octets, question, true),
        };
        let rtt = now.saturating_duration_since(flight.sent);
        pending.generation().forwarder.express_answer(flight.to, worth, &question.qname, rtt, now);
        let (Answer::Good, Some(answer)) = (worth, answer) else {
            let server = flight.to.server;
            self.give_up(id, &mut |mut pending| {
                if worth == Answer::Truncated {
                    pending.truncated_by(server);
                }
                slow(pending);
            });
            return;
        };
        let Some(flight) = self.end(id) else { return };
        let answer = Arc::new(answer);
        let trust_ad = flight.to.trust_ad;
        let stale = flight.waiting.first().map(|pending| pending.serve_stale()).unwrap_or_default();
        self.resolver.cache.put(flight.key, Arc::clone(&answer), trust_ad, stale);
        flight.ticket.finish(Fetched::Answer { answer: Arc::clone(&answer), trust_ad });
        let found = Found::upstream(answer, trust_ad);
        for pending in flight.waiting {
            let origin = pending.origin();
            match self.resolver.deliver_pending(*pending, &found) {
                Begun::Answer(octets) => out.push(&octets, origin.source, origin.local),
                Begun::Silence => {}
                Begun::Pending(next) => slow(next),
            }
        }
    }

    /// Takes a question off the table.
    fn end(&mut self, id: FlightId) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.waiting -= flight.waiting.len();
        self.by_key.remove(&flight.key);
        if let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == id.0) {
            wire.waiting -= 1;
        }
        Some(flight)
    }

    /// Leaves a question to the slow lane. Whoever follows it there asks anew when its ticket is gone.
    fn give_up(&mut self, id: FlightId, slow: &mut dyn FnMut(Box<Pending>)) {
        let Some(Flight { ticket, waiting, .. }) = self.end(id) else { return };
        drop(ticket);
        waiting.into_iter().for_each(slow);
    }

    fn give_up_wire(&mut self, at: usize, slow: &mut impl FnMut(Box<Pending>)) {
        let number = self.wires[at].number;
        let lost: Vec<FlightId> = self.flights.keys().filter(|(wire, _)| *wire == number).copied().collect();
        lost.into_iter().for_each(|id| self.give_up(id, slow));
        // No new question goes out by it.
        self.wires[at].asked = UPSTREAM_SOCKET_QUESTIONS_MAX;
    }

    /// Leaves everything to the slow lane.
    pub fn give_up_all(&mut self, slow: &mut impl FnMut(Box<Pending>)) {
        let all: Vec<FlightId> = self.flights.keys().copied().collect();
        all.into_iter().for_each(|id| self.give_up(id, slow));
    }
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
