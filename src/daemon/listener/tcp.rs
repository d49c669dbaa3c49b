//! TCP: pipelined questions, answers in the order they are ready, idle time and caps. RFC 7766, RFC 9210.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::resolver::{Begun, Resolver};
use crate::engine::client::unmap;
use crate::engine::compile::Strangers;
use crate::engine::limits::{
    TCP_CONNECTIONS_MAX, TCP_CONNECTIONS_PER_CLIENT_MAX, TCP_IDLE, TCP_PIPELINE_MAX, TCP_QUEUED_OCTETS_MAX,
    TCP_STRANGERS_MAX, TCP_WRITE,
};
use crate::engine::query::{Header, Origin, Transport};

/// Pause after an accept error: out of descriptors stays so for a while, and a loop would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers written together, in octets. Chosen: a few segments.
const TOGETHER_OCTETS: usize = 16 * 1024;

/// Connections at once, by client, over all listeners.
#[derive(Default)]
pub(super) struct Limits {
    open: Mutex<Open>,
    /// Octets of answers that wait for their peers to take them.
    queued_octets: AtomicUsize,
}

#[derive(Default)]
struct Open {
    by_client: HashMap<IpAddr, usize>,
    clients: usize,
    strangers: usize,
}

/// One connection's place. Dropped, it is free again.
struct Place {
    limits: Arc<Limits>,
    /// `None`: a stranger's.
    client: Option<IpAddr>,
}

impl Limits {
    /// Takes a place, or says which bound is reached. Strangers have few of their own, so that they take nobody's.
    fn enter(self: &Arc<Self>, source: IpAddr, is_client: bool) -> Result<Place, &'static str> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_client {
            if open.strangers >= TCP_STRANGERS_MAX {
                return Err("tcp_strangers_max");
            }
            open.strangers += 1;
            return Ok(Place { limits: Arc::clone(self), client: None });
        }
        if open.clients >= TCP_CONNECTIONS_MAX {
            return Err("tcp_connections_max");
        }
        let client = household(source);
        let count = open.by_client.entry(client).or_insert(0);
        if *count >= TCP_CONNECTIONS_PER_CLIENT_MAX {
            return Err("tcp_connections_per_client_max");
        }
        *count += 1;
        open.clients += 1;
        Ok(Place { limits: Arc::clone(self), client: Some(client) })
    }
}

/// An address of IPv6 stands for its /64: one host there has as many addresses as it likes.
fn household(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(client) = self.client else {
            open.strangers -= 1;
            return;
        };
        open.clients -= 1;
        if let Some(count) = open.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&client);
            }
        }
    }
}

pub(super) fn spawn(
    listener: StdTcpListener,
    resolver: Arc<Resolver>,
    limits: Arc<Limits>,
    stop: CancellationToken,
    tracker: &TaskTracker,
) -> io::Result<JoinHandle<()>> {
    let listener = TcpListener::from_std(listener)?;
    Ok(tracker.spawn(accept(listener, resolver, limits, stop, tracker.clone())))
}

async fn accept(
    listener: TcpListener,
    resolver: Arc<Resolver>,
    limits: Arc<Limits>,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (is_client, strangers) = resolver.standing(peer.ip());
                // The connection is closed by being dropped.
                if !is_client && strangers == Strangers::Drop {
                    continue;
                }
                match limits.enter(unmap(peer.ip()), is_client) {
                    Ok(place) => {
                        tracker.spawn(converse(stream, peer, Arc::clone(&resolver), stop.clone(), place));
                    }
                    Err(limit) => resolver.metrics.limit_hit(limit),
                }
            }
            // ECONNABORTED, EMFILE and their like are about one connection, not about the listener.
            Err(why) => {
                tracing::warn!(error = %why, "accepting a TCP connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection from its first question to its close.
async fn converse(stream: TcpStream, peer: SocketAddr, resolver: Arc<Resolver>, stop: CancellationToken, place: Place) {
    let local = stream.local_addr().ok().map(|a| a.ip());
    let source = SocketAddr::new(unmap(peer.ip()), peer.port());
    let origin = Origin { source, local, transport: Transport::Tcp };
    // Answers are whole when they are written; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let (answers, outgoing) = mpsc::channel(TCP_PIPELINE_MAX);
    let writing = tokio::spawn(write_answers(writer, outgoing, Arc::clone(&place.limits)));
    let limits = Arc::clone(&place.limits);
    let room = Arc::new(Semaphore::new(TCP_PIPELINE_MAX));
    loop {
        let turn = Arc::clone(&room).acquire_owned().await.expect("the semaphore of a connection is never closed");
        let message = tokio::select! {
            biased;
            message = read_message(&mut reader) => message,
            () = stop.cancelled() => break,
            // The writer gave up on a peer that takes nothing.
            () = answers.closed() => break,
        };
        let Some(message) = message else { break };
        match resolver.begin(&message, origin) {
            Begun::Silence => {}
            Begun::Answer(bytes) => {
                if !queue(&answers, &limits, bytes, &resolver).await {
                    break;
                }
            }
            Begun::Pending(pending) => {
                let (resolver, answers, limits) = (Arc::clone(&resolver), answers.clone(), Arc::clone(&limits));
                tokio::spawn(async move {
                    if let Some(bytes) = resolver.finish(*pending).await {
                        queue(&answers, &limits, bytes, &resolver).await;
                    }
                    drop(turn);
                });
            }
        }
    }
    // What is still being answered holds a sender; the writer ends when the last is gone.
    drop(answers);
    let _ = writing.await;
    drop(place);
}

/// Gives an answer to the writer. `false`: the peer is gone, or peers that take nothing hold too much already.
async fn queue(answers: &mpsc::Sender<Vec<u8>>, limits: &Limits, bytes: Vec<u8>, resolver: &Resolver) -> bool {
    let octets = bytes.len();
    if limits.queued_octets.fetch_add(octets, Ordering::Relaxed) > TCP_QUEUED_OCTETS_MAX {
        limits.queued_octets.fetch_sub(octets, Ordering::Relaxed);
        resolver.metrics.limit_hit("tcp_queued_octets_max");
        return false;
    }
    let sent = answers.send(bytes).await.is_ok();
    if !sent {
        limits.queued_octets.fetch_sub(octets, Ordering::Relaxed);
    }
    sent
}

/// The next message; `None` at the end, after too long a silence, or when the stream cannot be followed.
async fn read_message(reader: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let whole = async {
        let len = usize::from(reader.read_u16().await.ok()?);
        // Less than a header: the peer and we disagree about where messages begin.
        if len < Header::LEN {
            return None;
        }
        let mut message = vec![0; len];
        reader.read_exact(&mut message).await.ok()?;
        Some(message)
    };
    timeout(TCP_IDLE, whole).await.ok().flatten()
}

async fn write_answers(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Vec<u8>>, limits: Arc<Limits>) {
    let mut framed = Vec::new();
    while let Some(answer) = outgoing.recv().await {
        framed.clear();
        let mut octets = answer.len();
        // Answers that are ready together leave together, up to a segment's worth.
        put_framed(&mut framed, &answer);
        while framed.len() < TOGETHER_OCTETS
            && let Ok(answer) = outgoing.try_recv()
        {
            octets += answer.len();
            put_framed(&mut framed, &answer);
        }
        let written = timeout(TCP_WRITE, writer.write_all(&framed)).await;
        limits.queued_octets.fetch_sub(octets, Ordering::Relaxed);
        match written {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    // Whoever still sends learns from the closed channel that nobody listens; what was queued is given back.
    outgoing.close();
    while let Some(answer) = outgoing.recv().await {
        limits.queued_octets.fetch_sub(answer.len(), Ordering::Relaxed);
    }
    let _ = writer.shutdown().await;
}

/// RFC 1035 §4.2.2: two octets of length before the message.
fn put_framed(framed: &mut Vec<u8>, answer: &[u8]) {
    let len = u16::try_from(answer.len()).expect("an answer by TCP is at most 65,535 octets");
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(answer);
}
