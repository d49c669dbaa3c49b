//! UDP: datagrams in, datagrams out, from the address that was asked.
//!
//! One loop a socket. What is answered at once is answered in the loop; what must wait gets a task, and there is a bound
//! on those: the newest is shed and counted.

use std::io;
use std::net::UdpSocket as StdUdpSocket;
use std::sync::Arc;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::listener::leave_group;
use crate::daemon::resolver::{Begun, Resolver};
use crate::engine::client::unmap_peer;
use crate::engine::limits::{UDP_IN_FLIGHT_MAX, UDP_QUERY_OCTETS_MAX};
use crate::engine::query::{Header, Origin, Transport};

/// Room for the largest datagram: a query may be any size, and what is cut would be misread.
const DATAGRAM_OCTETS: usize = 65_535;

/// Batches still taken from a socket's queue after the stop: a queue of 4 MiB holds about so many. Under a flood the
/// queue never ends, and the stop must.
const BATCHES_AFTER_STOP: usize = 512;

/// A socket with the kernel's packet information: which address a datagram was sent to.
struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
}

pub(super) fn spawn(
    socket: StdUdpSocket,
    resolver: Arc<Resolver>,
    stop: CancellationToken,
    tracker: &TaskTracker,
) -> io::Result<JoinHandle<()>> {
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let socket = Arc::new(Socket { io: UdpSocket::from_std(socket)?, state });
    Ok(tracker.spawn(serve(socket, resolver, stop, tracker.clone())))
}

async fn serve(socket: Arc<Socket>, resolver: Arc<Resolver>, stop: CancellationToken, tracker: TaskTracker) {
    let room = Arc::new(Semaphore::new(UDP_IN_FLIGHT_MAX));
    let mut buffers = vec![vec![0u8; DATAGRAM_OCTETS]; BATCH_SIZE];
    let mut metas = vec![RecvMeta::default(); BATCH_SIZE];
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            received = socket.receive(&mut buffers, &mut metas) => received,
        };
        match received {
            Ok(count) => take_all(&socket, &resolver, &room, &tracker, &buffers, &metas[..count]).await,
            // An ICMP error of an earlier answer, or memory pressure: this socket is still good.
            Err(why) => tracing::debug!(error = %why, "receiving failed"),
        }
        // A flood keeps the socket readable for ever; timers, signals and every other socket need this worker too.
        tokio::task::yield_now().await;
    }
    // What the kernel queued before the stop is still answered, as far as a bound allows.
    leave_group(&socket.io);
    for _ in 0..BATCHES_AFTER_STOP {
        let Ok(count) = socket.receive_now(&mut buffers, &mut metas) else { return };
        take_all(&socket, &resolver, &room, &tracker, &buffers, &metas[..count]).await;
    }
}

async fn take_all(
    socket: &Arc<Socket>,
    resolver: &Arc<Resolver>,
    room: &Arc<Semaphore>,
    tracker: &TaskTracker,
    buffers: &[Vec<u8>],
    metas: &[RecvMeta],
) {
    for (buffer, meta) in buffers.iter().zip(metas) {
        // The kernel may hand over several datagrams of one sender end to end.
        for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
            // Of one that is longer than anything we read, nothing but the header is used.
            let datagram = if datagram.len() > UDP_QUERY_OCTETS_MAX { &datagram[..Header::LEN] } else { datagram };
            take(socket, resolver, room, tracker, datagram, meta).await;
        }
    }
}

/// Answers one datagram, or starts the task that will.
async fn take(
    socket: &Arc<Socket>,
    resolver: &Arc<Resolver>,
    room: &Arc<Semaphore>,
    tracker: &TaskTracker,
    datagram: &[u8],
    meta: &RecvMeta,
) {
    let origin = Origin::new(unmap_peer(meta.addr), meta.dst_ip, Transport::Udp);
    let opened = resolver.open(&resolver.cell.load().snapshot, datagram, origin);
    let Some((datagram, origin)) = opened else { return };
    match resolver.begin(datagram, origin) {
        Begun::Silence => {}
        Begun::Answer(bytes) => socket.send(&bytes, meta).await,
        Begun::Pending(pending) => {
            let Ok(place) = Arc::clone(room).try_acquire_owned() else {
                resolver.metrics.limit_hit("udp_in_flight_max");
                pending.shed();
                return;
            };
            let (socket, resolver, meta) = (Arc::clone(socket), Arc::clone(resolver), *meta);
            tracker.spawn(async move {
                if let Some(bytes) = resolver.finish(pending).await {
                    socket.send(&bytes, &meta).await;
                }
                drop(place);
            });
        }
    }
}

impl Socket {
    async fn receive(&self, buffers: &mut [Vec<u8>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        loop {
            self.io.readable().await?;
            match self.receive_now(buffers, metas) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }

    fn receive_now(&self, buffers: &mut [Vec<u8>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.io.try_io(Interest::READABLE, || {
            let mut slices: Vec<io::IoSliceMut<'_>> = buffers.iter_mut().map(|b| io::IoSliceMut::new(b)).collect();
            self.state.recv(UdpSockRef::from(&self.io), &mut slices, metas)
        })
    }

    /// Sends from the address the client asked; a datagram that the kernel does not take is lost, as UDP may be.
    async fn send(&self, bytes: &[u8], to: &RecvMeta) {
        let transmit =
            Transmit { destination: to.addr, ecn: None, contents: bytes, segment_size: None, src_ip: to.dst_ip };
        loop {
            let sent =
                self.io.try_io(Interest::WRITABLE, || self.state.try_send(UdpSockRef::from(&self.io), &transmit));
            match sent {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                    if self.io.writable().await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    tracing::debug!(error = %why, "sending failed");
                    return;
                }
                Ok(()) => return,
            }
        }
    }
}
