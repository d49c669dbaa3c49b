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
use crate::daemon::listener::seats::{Notice, Place};
use crate::daemon::resolver::{Begun, Resolver};
use crate::engine::limits::{
    CONNECTION_TIME_MAX, TCP_IDLE, TCP_PIPELINE_MAX, TCP_QUEUED_OCTETS_OF_PEER, TCP_WRITE, TLS_IDLE,
};
use crate::engine::query::{Header, Origin};

/// Memory that a connection may keep from one batch of answers to the next.
const KEPT_OCTETS: usize = 4096;
/// How long a peer may take to hear that we close.
const GOODBYE: Duration = Duration::from_secs(1);

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
            Begun::Pending(pending) => self.resolver.finish(*pending).await,
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
    io: S,
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
    /// When the peer last took something, while there is something to take.
    took: Instant,
    began: Instant,
}

/// Serves a connection from its first question to its end.
pub(in crate::daemon) async fn converse<S>(io: S, origin: Origin, service: Service, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let now = clock::now();
    let mut line = Line {
        io,
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
        began: now,
    };
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
        let _ = tokio::time::timeout(GOODBYE, line.io.shutdown()).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
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
                    put_framed(&mut self.outbox, &answer);
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
        if whole_frame(&self.unread).is_none() {
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
        while let Some((message, after)) = whole_frame(rest) {
            // Less than a header: the peer and we disagree about where messages begin.
            if message.len() < Header::LEN {
                return Poll::Ready(Err(End::Cut));
            }
            if self.waiting.len() >= TCP_PIPELINE_MAX || self.outbox.len() - self.sent >= TCP_QUEUED_OCTETS_OF_PEER {
                break;
            }
            rest = after;
            self.heard = now;
            let origin = self.service.resolver.admit(self.origin);
            let pending = match work.answer(message, origin, answer) {
                Fast::Answer => {
                    put_framed(&mut self.outbox, answer);
                    continue;
                }
                Fast::Silence => continue,
                Fast::Miss => work.take_miss(),
                Fast::Slow => match self.service.resolver.begin(message, origin) {
                    Begun::Answer(answer) => {
                        put_framed(&mut self.outbox, &answer);
                        continue;
                    }
                    Begun::Silence => continue,
                    Begun::Pending(pending) => Some(pending),
                },
            };
            if let Some(pending) = pending {
                let resolver = Arc::clone(&self.service.resolver);
                self.waiting.push(Box::pin(async move { resolver.finish(*pending).await }));
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
                self.took = clock::now();
            }
            let written = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, &self.outbox[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            self.took = clock::now();
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

/// The first message, without its length, and what follows it; `None`: its end has not come.
fn whole_frame(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// RFC 1035 §4.2.2: two octets of length before the message.
fn put_framed(framed: &mut Vec<u8>, answer: &[u8]) {
    let len = u16::try_from(answer.len()).expect("an answer on a stream is at most 65,535 octets");
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(answer);
}
