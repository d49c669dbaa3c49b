//! TCP: pipelined questions, answers in the order they are ready, idle time and caps. RFC 7766, RFC 9210.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::resolver::{Begun, Resolver};
use crate::engine::client::unmap;
use crate::engine::limits::{
    TCP_CONNECTIONS_MAX, TCP_CONNECTIONS_PER_CLIENT_MAX, TCP_IDLE, TCP_PIPELINE_MAX, TCP_WRITE,
};
use crate::engine::query::{Header, Origin, Transport};

/// Pause after an accept error: out of descriptors stays so for a while, and a loop would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections at once, by client, over all listeners.
#[derive(Default)]
pub(super) struct Limits {
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place. Dropped, it is free again.
struct Place {
    limits: Arc<Limits>,
    client: IpAddr,
}

impl Limits {
    /// Takes a place, or says which bound is reached.
    fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Place, &'static str> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= TCP_CONNECTIONS_MAX {
            return Err("tcp_connections_max");
        }
        let count = open.entry(client).or_insert(0);
        if *count >= TCP_CONNECTIONS_PER_CLIENT_MAX {
            return Err("tcp_connections_per_client_max");
        }
        *count += 1;
        Ok(Place { limits: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
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
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    tracker.spawn(accept(listener, resolver, limits, stop, tracker.clone()));
    Ok(())
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
            Ok((stream, peer)) => match limits.enter(unmap(peer.ip())) {
                Ok(place) => {
                    tracker.spawn(converse(stream, peer, Arc::clone(&resolver), stop.clone(), place));
                }
                // The connection is closed by being dropped.
                Err(limit) => resolver.metrics.limit_hit(limit),
            },
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
    let writing = tokio::spawn(write_answers(writer, outgoing));
    let room = Arc::new(Semaphore::new(TCP_PIPELINE_MAX));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.expect("the semaphore of a connection is never closed");
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
                if answers.send(bytes).await.is_err() {
                    break;
                }
            }
            Begun::Pending(pending) => {
                let (resolver, answers) = (Arc::clone(&resolver), answers.clone());
                tokio::spawn(async move {
                    if let Some(bytes) = resolver.finish(*pending).await {
                        // A closed channel: the peer is gone, and its answer with it.
                        let _ = answers.send(bytes).await;
                    }
                    drop(place);
                });
            }
        }
    }
    // What is still being answered holds a sender; the writer ends when the last is gone.
    drop(answers);
    let _ = writing.await;
    drop(place);
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

async fn write_answers(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    let mut framed = Vec::new();
    while let Some(answer) = outgoing.recv().await {
        framed.clear();
        // Answers that are ready together leave together.
        put_framed(&mut framed, &answer);
        while let Ok(answer) = outgoing.try_recv() {
            put_framed(&mut framed, &answer);
        }
        match timeout(TCP_WRITE, writer.write_all(&framed)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let _ = writer.shutdown().await;
}

/// RFC 1035 §4.2.2: two octets of length before the message.
fn put_framed(framed: &mut Vec<u8>, answer: &[u8]) {
    let len = u16::try_from(answer.len()).expect("an answer by TCP is at most 65,535 octets");
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(answer);
}
