//! UDP by the fast lane: a thread for each socket of a group that shares an address, many datagrams a system call.
//!
//! What the lane cannot answer goes through a bounded queue to the slow lane — the resolver's own tasks — which answers by the
//! same socket. When the queue is full the newest work is shed and counted.

use std::io;
use std::net::UdpSocket;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::clock;
use crate::daemon::express::{Misses, Started};
use crate::daemon::lane::{Fast, Lane};
use crate::daemon::listener::batch::{Asked, Batch, DATAGRAMS, Outbox, prepare, send_one};
use crate::daemon::listener::leave_group;
use crate::daemon::prefetch::{prefetch, prefetch_at};
use crate::daemon::resolver::{Begun, Pending, Resolver};
use crate::engine::client::unmap_peer;
use crate::engine::limits::{SECOND_TRIES_MAX, SLOW_IN_FLIGHT_MAX, SLOW_QUEUE_MAX, SLOW_QUEUE_WAIT};
use crate::engine::query::{Header, Origin, Transport};

/// A thread that nobody asks looks for the stop so often.
const WAKE_EVERY: Duration = Duration::from_millis(100);

/// Batches still taken from a socket's queue after the stop, as in the portable engine.
const BATCHES_AFTER_STOP: usize = 512;

/// What is on its way to the slow lane.
enum Slow {
    Datagram {
        message: Box<[u8]>,
        origin: Origin,
        came: Instant,
    },
    /// A query that the lane has judged already.
    Query(Box<Pending>),
}

/// What one thread of the fast lane has.
struct Worker {
    socket: Arc<UdpSocket>,
    resolver: Arc<Resolver>,
    queue: mpsc::Sender<Slow>,
    /// Of the slow lane.
    room: Arc<Semaphore>,
    lane: Lane,
    misses: Misses,
    batch: Batch,
    opened: Vec<Option<Opened>>,
    outbox: Outbox,
    out: Vec<u8>,
}

/// A datagram of a batch that is somebody's.
struct Opened {
    /// Where the message is in it: what a proxy put before is not part of that.
    message: Range<usize>,
    origin: Origin,
}

/// Serves one socket of an address's group on a thread of its own; `core` pins it.
pub(super) fn spawn(
    socket: UdpSocket,
    core: Option<usize>,
    resolver: Arc<Resolver>,
    stop: CancellationToken,
    tracker: &TaskTracker,
) -> io::Result<JoinHandle<()>> {
    let asked = prepare(&socket, WAKE_EVERY)?;
    let socket = Arc::new(socket);
    let (queue, waiting) = mpsc::channel(SLOW_QUEUE_MAX);
    let room = Arc::new(Semaphore::new(SLOW_IN_FLIGHT_MAX));
    tracker.spawn(slow_lane(Arc::clone(&socket), waiting, Arc::clone(&room), Arc::clone(&resolver), tracker.clone()));
    let (ended, end) = oneshot::channel::<()>();
    std::thread::Builder::new().name("lane".to_owned()).spawn(move || {
        if let Some(core) = core {
            pin(core);
        }
        Worker::new(socket, asked, resolver, queue, room).serve(&stop);
        // Dropped on a panic too: either way the thread is no more.
        drop(ended);
    })?;
    Ok(tracker.spawn(async {
        let _ = end.await;
    }))
}

fn pin(core: usize) {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(core);
    if let Err(why) = rustix::thread::sched_setaffinity(None, &cpus) {
        tracing::warn!("a thread cannot be pinned to core {core}: {why}");
    }
}

impl Worker {
    fn new(
        socket: Arc<UdpSocket>,
        asked: Asked,
        resolver: Arc<Resolver>,
        queue: mpsc::Sender<Slow>,
        room: Arc<Semaphore>,
    ) -> Worker {
        Worker {
            lane: Lane::new(Arc::clone(&resolver)),
            misses: Misses::new(Arc::clone(&resolver)),
            batch: Batch::new(asked),
            opened: Vec::with_capacity(DATAGRAMS),
            outbox: Outbox::new(asked),
            out: Vec::with_capacity(4096),
            socket,
            resolver,
            queue,
            room,
        }
    }

    fn serve(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // While nothing is on its way upstream, clients alone are waited for.
            let is_idle = self.misses.is_idle();
            if !is_idle && !self.take_replies() {
                continue;
            }
            match self.batch.receive(&self.socket, is_idle) {
                Ok(count) => self.take(count),
                // Nobody asks: an old generation must not be held for that.
                Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    let now = clock::now();
                    self.lane.begin(now).end(now);
                }
                // An ICMP error of an earlier answer, or memory pressure: this socket is still good.
                Err(why) => tracing::debug!(error = %why, "receiving failed"),
            }
        }
        // What the kernel queued before the stop is still answered, as far as a bound allows.
        leave_group(&*self.socket);
        for _ in 0..BATCHES_AFTER_STOP {
            let Ok(count) = self.batch.receive(&self.socket, false) else { break };
            self.take(count);
        }
        let (queue, resolver) = (&self.queue, &self.resolver);
        self.misses.give_up_all(&mut |pending| leave(queue, resolver, Slow::Query(pending)));
    }

    /// Waits for servers and clients; whether a client said something.
    fn take_replies(&mut self) -> bool {
        let is_asked = self.misses.wait(&self.socket, clock::now(), WAKE_EVERY);
        self.go_on(clock::now());
        is_asked
    }

    /// Passes on what servers said, and sees to what is late.
    fn go_on(&mut self, now: Instant) {
        let (queue, room, resolver) = (&self.queue, &self.room, &self.resolver);
        let mut slow = |pending| leave(queue, resolver, Slow::Query(pending));
        // Work that waits in the queue is not in the room yet.
        let in_slow_lane = || SLOW_IN_FLIGHT_MAX - room.available_permits() + queue.max_capacity() - queue.capacity();
        let may_ask_again = || in_slow_lane() < SECOND_TRIES_MAX;
        self.misses.take_replies(now, &mut self.outbox, &mut slow, may_ask_again);
        self.outbox.send(&self.socket);
    }

    fn take(&mut self, count: usize) {
        let now = clock::now();
        let Worker { socket, resolver, queue, lane, misses, batch, opened, out, .. } = self;
        let mut work = lane.begin(now);
        opened.clear();
        opened.extend((0..count).map(|i| {
            let (octets, origin) = read(batch, i)?;
            let (message, origin) = work.open(octets, origin)?;
            Some(Opened { message: octets.len() - message.len()..octets.len(), origin })
        }));
        work.look_ahead(opened.iter().map(|opened| Some(opened.as_ref()?.origin)), prefetch_at);
        for (i, opened) in opened.iter().enumerate() {
            let Some((octets, origin)) = message(batch, i, opened) else { continue };
            match work.answer_or_wait(i, octets, origin, out) {
                Some(Fast::Answer) => batch.answer(i, out),
                Some(Fast::Slow) => {
                    leave(queue, resolver, Slow::Datagram { message: octets.into(), origin, came: now });
                }
                Some(Fast::Silence | Fast::Miss) | None => {}
            }
        }
        work.look_up(prefetch);
        while let Some((number, fast)) = work.answer_next(out) {
            match fast {
                Fast::Answer => batch.answer(number, out),
                Fast::Silence => {}
                Fast::Slow => {
                    let Some((octets, origin)) = message(batch, number, &opened[number]) else { continue };
                    leave(queue, resolver, Slow::Datagram { message: octets.into(), origin, came: now });
                }
                Fast::Miss => {
                    let Some(Started::Slow(pending)) = work.take_miss().map(|pending| misses.start(pending, now))
                    else {
                        continue;
                    };
                    leave(queue, resolver, Slow::Query(pending));
                }
            }
        }
        work.end(clock::now());
        misses.send();
        batch.send(socket);
    }
}

/// The datagram number `i` of a batch, and where it came from.
fn read(batch: &Batch, i: usize) -> Option<(&[u8], Origin)> {
    let datagram = batch.datagram(i)?;
    let origin = Origin::new(unmap_peer(datagram.source), datagram.local, Transport::Udp);
    // Of one that is cut nothing but the header is sure; as the portable engine does.
    Some((if datagram.is_cut { &datagram.octets[..Header::LEN] } else { datagram.octets }, origin))
}

/// The message in the datagram number `i` of a batch, and who asks by it.
fn message<'b>(batch: &'b Batch, i: usize, opened: &Option<Opened>) -> Option<(&'b [u8], Origin)> {
    let Opened { message, origin } = opened.as_ref()?;
    Some((batch.octets(i).get(message.clone())?, *origin))
}

/// Leaves work to the slow lane; the newest is shed when there is too much.
fn leave(queue: &mpsc::Sender<Slow>, resolver: &Resolver, slow: Slow) {
    if let Err(TrySendError::Full(slow) | TrySendError::Closed(slow)) = queue.try_send(slow) {
        resolver.metrics.limit_hit("slow_queue_max");
        if let Slow::Query(pending) = slow {
            pending.shed();
        }
    }
}

/// Answers what the lane left, in the order it came.
async fn slow_lane(
    socket: Arc<UdpSocket>,
    mut waiting: mpsc::Receiver<Slow>,
    room: Arc<Semaphore>,
    resolver: Arc<Resolver>,
    tracker: TaskTracker,
) {
    let mut taken = Vec::with_capacity(DATAGRAMS);
    while waiting.recv_many(&mut taken, DATAGRAMS).await > 0 {
        for slow in taken.drain(..) {
            let (begun, origin) = match slow {
                Slow::Query(pending) => {
                    let origin = pending.origin();
                    (Begun::Pending(pending), origin)
                }
                Slow::Datagram { came, .. } if clock::now().saturating_duration_since(came) > SLOW_QUEUE_WAIT => {
                    // Whoever asked has asked again by now.
                    resolver.metrics.limit_hit("slow_queue_wait");
                    continue;
                }
                Slow::Datagram { message, origin, .. } => (resolver.begin(&message, origin), origin),
            };
            match begun {
                Begun::Silence => {}
                Begun::Answer(octets) => send(&socket, &octets, &origin),
                Begun::Pending(pending) => {
                    let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                        resolver.metrics.limit_hit("slow_in_flight_max");
                        pending.shed();
                        continue;
                    };
                    let (socket, resolver) = (Arc::clone(&socket), Arc::clone(&resolver));
                    tracker.spawn(async move {
                        if let Some(octets) = resolver.finish(pending).await {
                            send(&socket, &octets, &origin);
                        }
                        drop(place);
                    });
                }
            }
        }
        // A flood keeps the queue full; timers and signals need this worker too.
        tokio::task::yield_now().await;
    }
}

fn send(socket: &UdpSocket, octets: &[u8], origin: &Origin) {
    let (to, from) = origin.reply_to();
    if let Err(why) = send_one(socket, octets, to, from) {
        tracing::debug!(error = %why, "sending failed");
    }
}

#[cfg(test)]
mod tests;
