//! A conversation on a stream: questions behind their lengths, answers in the order they are ready. RFC 7766, RFC 7858.
//!
//! One task a connection, for TCP and TLS alike. What the fast lane can answer is answered as it is read, and leaves in one
//! write with its neighbours; what must wait does so beside it, and holds nobody up. A connection that waits for its peer
//! keeps no memory but the stream's own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::daemon::clock;
use crate::daemon::lane::Fast;
use crate::daemon::listener::desk::{Desk, Desks};
use crate::daemon::listener::lingering::Lingering;
use crate::daemon::listener::seats::{Notice, Place};
use crate::daemon::resolver::{Begun, Resolver};
use crate::engine::framing;
use crate::engine::limits::{
    CONNECTION_TIME_MAX, TCP_IDLE, TCP_PIPELINE_MAX, TCP_QUEUED_OCTETS_OF_PEER, TCP_WRITE, TCP_WRITE_OCTETS_MIN,
    TLS_IDLE,
};
use crate::engine::query::{Header, Origin};

/// Memory that a connection may keep from one batch of answers to the next.
const KEPT_OCTETS: usize = 4096;

/// An answer that is waited for; `None`: nothing is sent.
type Waiting = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>;

/// What every conversation needs.
#[derive(Clone)]
pub(in crate::daemon) struct Service {
    pub resolver: Arc<Resolver>,
    pub desks: Arc<Desks>,
}

impl Service {
    /// Answers one message; `None`: nothing is sent.
    pub async fn answer(&self, message: &[u8], origin: Origin) -> Option<Vec<u8>> {
        match self.begin(message, origin) {
            Begun::Answer(answer) => Some(answer),
            Begun::Silence => None,
            Begun::Pending(pending) => self.resolver.finish(pending).await,
        }
    }

    /// Gives a client that is known by its identity alone a client's seat. `None`: there is none for it, and it is counted.
    pub fn seat_guest(&self, origin: &Origin, place: &Place) -> Option<()> {
        if origin.identity.is_none() || !self.resolver.admits(origin) {
            return Some(());
        }
        let seated = place.admit(origin.source.ip(), clock::now());
        seated.map_err(|limit| self.resolver.metrics.limit_hit(limit)).ok()
    }

    /// Answers what needs nobody else.
    pub fn begin(&self, message: &[u8], origin: Origin) -> Begun {
        let origin = self.resolver.admit(origin);
        let fast = self.desks.with(|desk| {
            let Desk { lane, answer, .. } = desk;
            let mut work = lane.begin(clock::now());
            let fast = match work.answer(message, origin, answer) {
                Fast::Answer => Some(Begun::Answer(answer.clone())),
                Fast::Silence => Some(Begun::Silence),
                Fast::Miss => work.take_miss().map(Begun::Pending),
                Fast::Slow => None,
            };
            work.end(clock::now());
            fast
        });
        fast.unwrap_or_else(|| self.resolver.begin(message, origin))
    }
}

/// How a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Everything that was asked is answered.
    Polite,
    /// The peer is gone, takes nothing, or cannot be understood.
    Cut,
}

/// One connection.
struct Line<S> {
    io: Lingering<S>,
    origin: Origin,
    service: Service,
    place: Place,
    /// The beginning of a message whose end has not come, or messages that there was no room for.
    unread: Vec<u8>,
    /// Framed answers; those before `sent` have left.
    outbox: Vec<u8>,
    sent: usize,
    /// The stream below may still hold octets of ours.
    unflushed: bool,
    waiting: FuturesUnordered<Waiting>,
    is_reading: bool,
    heard: Instant,
    /// When the peer last took enough, while there is something to take, and what it took since.
    took: Instant,
    taken: usize,
    began: Instant,
}

/// Serves a connection from its first question to its end.
pub(in crate::daemon) async fn converse<S>(io: S, origin: Origin, service: Service, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut line = Line::new(io, origin, service, place);
    let mut alarm = pin!(tokio::time::sleep_until(line.due().into()));
    let end = poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = line.poll(cx) {
                return Poll::Ready(end);
            }
            let due = line.due();
            // A later one is found when the alarm goes off; setting it for every message would cost more than the message.
            if due < alarm.deadline().into_std() {
                alarm.as_mut().reset(due.into());
            }
            std::task::ready!(alarm.as_mut().poll(cx));
            match line.is_late(clock::now()) {
                Some(end) => return Poll::Ready(end),
                None => alarm.as_mut().reset(line.due().into()),
            }
        }
    })
    .await;
    if end == End::Polite {
        let _ = line.io.shutdown().await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    fn new(io: S, origin: Origin, service: Service, place: Place) -> Line<S> {
        let now = clock::now();
        Line {
            io: Lingering::new(io),
            origin,
            service,
            place,
            unread: Vec::new(),
            outbox: Vec::new(),
            sent: 0,
            unflushed: false,
            waiting: FuturesUnordered::new(),
            is_reading: true,
            heard: now,
            took: now,
            taken: 0,
            began: now,
        }
    }

    /// When to look whether the peer is too slow.
    fn due(&self) -> Instant {
        if self.has_unsent() { self.took + TCP_WRITE } else { self.heard + self.idle() }
    }

    fn idle(&self) -> Duration {
        if self.origin.transport.is_encrypted() { TLS_IDLE } else { TCP_IDLE }
    }

    fn is_late(&mut self, now: Instant) -> Option<End> {
        if self.has_unsent() {
            return (now >= self.took + TCP_WRITE).then_some(End::Cut);
        }
        if !self.waiting.is_empty() {
            // Questions have an end of their own.
            self.heard = now;
            return None;
        }
        (now >= self.heard + self.idle()).then_some(End::Polite)
    }

    fn has_unsent(&self) -> bool {
        self.sent < self.outbox.len() || self.unflushed
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.place.notice(cx) {
            None => {}
            Some(Notice::Evicted) => return Poll::Ready(End::Cut),
            Some(Notice::Closing) => self.is_reading = false,
        }
        loop {
            while let Poll::Ready(Some(answer)) = self.waiting.poll_next_unpin(cx) {
                self.heard = clock::now();
                if let Some(answer) = answer {
                    framing::put(&mut self.outbox, &answer);
                }
            }
            if let Poll::Ready(Err(_)) = self.write(cx) {
                return Poll::Ready(End::Cut);
            }
            if !self.place.queue(self.outbox.len() - self.sent) {
                self.service.resolver.metrics.limit_hit("tcp_queued_octets_max");
                return Poll::Ready(End::Cut);
            }
            if !self.is_reading {
                let is_done = self.waiting.is_empty() && !self.has_unsent();
                return if is_done { Poll::Ready(End::Polite) } else { Poll::Pending };
            }
            if !self.has_room() {
                return Poll::Pending;
            }
            let desks = Arc::clone(&self.service.desks);
            match desks.with(|desk| self.read(cx, desk)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(end),
            }
        }
    }

    /// Whether another question may be taken.
    fn has_room(&self) -> bool {
        self.waiting.len() < TCP_PIPELINE_MAX && self.outbox.len() - self.sent < TCP_QUEUED_OCTETS_OF_PEER
    }

    /// Takes what the peer sent, or what of it had no room.
    fn read(&mut self, cx: &mut Context<'_>, desk: &mut Desk) -> Poll<Result<(), End>> {
        let Desk { lane, inbox, answer } = desk;
        let before = self.unread.len();
        inbox[..before].copy_from_slice(&self.unread);
        if framing::first(&self.unread).is_none() {
            let mut buffer = ReadBuf::new(&mut inbox[before..]);
            let read = std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
            let len = buffer.filled().len();
            if read.is_err() {
                return Poll::Ready(Err(End::Cut));
            }
            if len == 0 {
                // The peer asks nothing more, and may still listen.
                self.is_reading = false;
                return Poll::Ready(Ok(()));
            }
            self.unread.clear();
            self.take(&inbox[..before + len], lane, answer)
        } else {
            let unread = std::mem::take(&mut self.unread);
            self.take(&unread, lane, answer)
        }
    }

    /// Answers the messages in `octets`, as many as there is room for, and keeps the rest.
    fn take(
        &mut self,
        octets: &[u8],
        lane: &mut crate::daemon::lane::Lane,
        answer: &mut Vec<u8>,
    ) -> Poll<Result<(), End>> {
        let now = clock::now();
        let mut rest = octets;
        let mut work = lane.begin(now);
        while let Some((message, after)) = framing::first(rest) {
            // Less than a header: the peer and we disagree about where messages begin.
            if message.len() < Header::LEN {
                return Poll::Ready(Err(End::Cut));
            }
            if !self.has_room() {
                break;
            }
            rest = after;
            self.heard = now;
            let origin = self.service.resolver.admit(self.origin);
            let pending = match work.answer(message, origin, answer) {
                Fast::Answer => {
                    framing::put(&mut self.outbox, answer);
                    continue;
                }
                Fast::Silence => continue,
                Fast::Miss => work.take_miss(),
                Fast::Slow => match self.service.resolver.begin(message, origin) {
                    Begun::Answer(answer) => {
                        framing::put(&mut self.outbox, &answer);
                        continue;
                    }
                    Begun::Silence => continue,
                    Begun::Pending(pending) => Some(pending),
                },
            };
            if let Some(pending) = pending {
                let resolver = Arc::clone(&self.service.resolver);
                self.waiting.push(Box::pin(async move { resolver.finish(pending).await }));
            }
        }
        work.end(clock::now());
        self.place.touch(now);
        if now >= self.began + CONNECTION_TIME_MAX {
            self.is_reading = false;
        }
        if !rest.is_empty() {
            self.unread = rest.to_vec();
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what the peer takes.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.sent < self.outbox.len() {
            if !self.unflushed {
                self.unflushed = true;
                (self.took, self.taken) = (clock::now(), 0);
            }
            let written = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, &self.outbox[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            self.taken += written;
            if self.taken >= TCP_WRITE_OCTETS_MIN {
                (self.took, self.taken) = (clock::now(), 0);
            }
        }
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
            self.sent = 0;
            self.outbox.clear();
            if self.outbox.capacity() > KEPT_OCTETS || self.waiting.is_empty() {
                self.outbox = Vec::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;
    use crate::daemon::listener::seats::{Limits, Seats};
    use crate::daemon::reload::Loader;
    use crate::daemon::telemetry::Metrics;
    use crate::engine::query::Transport;

    /// A conversation, and its peer's end, between which `octets` fit.
    fn line(transport: Transport, octets: usize) -> (Line<DuplexStream>, DuplexStream) {
        let loaded = Loader::new(None).load(None, None).expect("the embedded configuration is sound");
        let resolver = Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new())));
        let service = Service { desks: Arc::new(Desks::new(Arc::clone(&resolver))), resolver };
        let (io, peer) = tokio::io::duplex(octets);
        let seats = Arc::new(Seats::new(Limits::default()));
        let source = ([127, 0, 0, 1], 4000).into();
        let place = seats.enter([127, 0, 0, 1].into(), true, clock::now()).expect("there are seats");
        (Line::new(io, Origin::new(source, None, transport), service, place), peer)
    }

    fn poll(line: &mut Line<DuplexStream>) -> Poll<End> {
        line.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// `localhost A`, framed: rung 1 answers it.
    fn question() -> Vec<u8> {
        let mut framed = Vec::new();
        framing::put(&mut framed, b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01");
        framed
    }

    #[tokio::test]
    async fn who_asks_nothing_is_closed_politely_and_later_where_a_handshake_was_paid_for() {
        for (transport, idle) in [(Transport::Tcp, TCP_IDLE), (Transport::Tls, TLS_IDLE)] {
            let (mut line, mut peer) = line(transport, 1 << 16);
            let began = line.began;
            assert_eq!(poll(&mut line), Poll::Pending);
            // Half a question is none.
            peer.write_all(&question()[..9]).await.unwrap();
            assert_eq!(poll(&mut line), Poll::Pending);
            assert_eq!(line.due(), began + idle);
            assert_eq!(line.is_late(began + idle - Duration::from_millis(1)), None);
            assert_eq!(line.is_late(began + idle), Some(End::Polite), "{transport:?}");
            peer.write_all(&question()[9..]).await.unwrap();
            assert_eq!(poll(&mut line), Poll::Pending);
            assert!(line.heard > began && line.is_late(began + idle).is_none(), "a question is heard");
            assert!(!line.has_unsent(), "and answered");
        }
    }

    #[tokio::test]
    async fn who_takes_answers_too_slowly_is_cut() {
        let (mut line, mut peer) = line(Transport::Tcp, 4 * TCP_WRITE_OCTETS_MIN);
        line.outbox = vec![0; 16 * TCP_WRITE_OCTETS_MIN];
        assert_eq!(poll(&mut line), Poll::Pending);
        let took = line.took;
        assert_eq!(line.is_late(took + TCP_WRITE), Some(End::Cut));
        // An octet now and then does not help.
        let mut taken = [0; TCP_WRITE_OCTETS_MIN];
        for _ in 0..100 {
            peer.read_exact(&mut taken[..1]).await.unwrap();
            assert_eq!(poll(&mut line), Poll::Pending);
        }
        assert_eq!((line.took, line.is_late(took + TCP_WRITE)), (took, Some(End::Cut)));
        peer.read_exact(&mut taken).await.unwrap();
        assert_eq!(poll(&mut line), Poll::Pending);
        assert!(line.took > took && line.is_late(took + TCP_WRITE).is_none());
    }

    #[tokio::test]
    async fn a_connection_that_was_served_for_long_takes_no_more_questions() {
        let (mut line, mut peer) = line(Transport::Tls, 1 << 16);
        line.began -= CONNECTION_TIME_MAX;
        peer.write_all(&question()).await.unwrap();
        assert_eq!(poll(&mut line), Poll::Ready(End::Polite));
        let len = peer.read_u16().await.unwrap();
        let mut answer = vec![0; len.into()];
        peer.read_exact(&mut answer).await.unwrap();
        assert_eq!((answer[1], answer[7]), (7, 1), "the one that came is answered");
    }

    #[tokio::test]
    async fn questions_wait_in_the_kernel_while_their_peer_takes_no_answers() {
        let (mut line, mut peer) = line(Transport::Tcp, 1 << 20);
        line.outbox = vec![0; 2 << 20];
        peer.write_all(&question()).await.unwrap();
        assert_eq!(poll(&mut line), Poll::Pending);
        assert!(!line.has_room() && line.outbox.len() == 2 << 20, "nothing was read");
        let mut taken = vec![0; 2 << 20];
        let (read, ()) = tokio::join!(peer.read_exact(&mut taken), async {
            poll_fn(|cx| if line.poll(cx).is_pending() && line.has_unsent() { Poll::Pending } else { Poll::Ready(()) })
                .await;
        });
        read.unwrap();
        let _ = poll(&mut line);
        assert!(peer.read_u16().await.unwrap() > 12, "then it is answered");
    }
}
