//! Listeners: sockets that take questions and send answers, bounded, from the address that was asked.
//!
//! They know octets and addresses; what a message means is the [`resolver`](crate::daemon::resolver)'s.

pub(in crate::daemon) mod batch;
mod batched;
mod desk;
mod https;
mod lingering;
mod quic;
mod records;
pub(in crate::daemon) mod seats;
mod stream;
mod tcp;
mod tls;
mod turns;
mod udp;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use https::{Asked, Refused, read_head};

use crate::config::{Engine, Settings, UdpSettings};
use crate::daemon::resolver::Resolver;
use desk::Desks;
use seats::Seats;
use stream::Service;
use tls::Tls;

/// Octets asked of the kernel for each UDP socket's queue: a burst of some thousand questions. Chosen.
const UDP_BUFFER_OCTETS: usize = 4 << 20;
/// Connections that wait to be accepted.
const TCP_BACKLOG: i32 = 1024;
/// How often old generations are let go of and connections counted.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// What one listener of connections needs; `speech`: what is spoken on them.
struct Door<S> {
    speech: S,
    service: Service,
    seats: Arc<Seats>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Door<()> {
    /// One where this is spoken.
    fn of<S>(&self, speech: S) -> Door<S> {
        let Door { speech: (), service, seats, stop, tracker } = self;
        let (service, seats) = (service.clone(), Arc::clone(seats));
        Door { speech, service, seats, stop: stop.clone(), tracker: tracker.clone() }
    }
}

/// How datagrams are taken from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpEngine {
    /// By the fast lane: `workers` sockets and threads for each address, pinned to a core each if asked.
    Batched { workers: usize, pinned: bool },
    /// By one loop for each address, in the runtime's tasks.
    Portable,
}

impl UdpEngine {
    /// As configured; without a word about it, a thread for each core.
    pub fn of(settings: &UdpSettings) -> UdpEngine {
        match settings.engine {
            Engine::Portable => UdpEngine::Portable,
            Engine::Batched => {
                let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
                UdpEngine::Batched { workers: settings.workers.unwrap_or_else(cores), pinned: settings.pinned }
            }
        }
    }
}

/// Whether another process may have our addresses at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// None may: it would take half the questions, and nobody would know.
    Alone,
    /// One does that we take over from: both answer until it is stopped.
    Beside,
}

/// Sockets that are bound and not served yet, so that every address is known to be free before anything runs.
pub struct Bound {
    engine: UdpEngine,
    /// Each address's group.
    udp: Vec<Vec<StdUdpSocket>>,
    tcp: Vec<StdTcpListener>,
    dot: Vec<StdTcpListener>,
    /// HTTP/1.1 and HTTP/2 by TCP, HTTP/3 by UDP.
    doh: Vec<(StdUdpSocket, StdTcpListener)>,
    doq: Vec<StdUdpSocket>,
}

/// The addresses that are answered on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Plain DNS.
    pub dns: Vec<SocketAddr>,
    pub dot: Vec<SocketAddr>,
    pub doh: Vec<SocketAddr>,
    pub doq: Vec<SocketAddr>,
}

/// Binds every address. Port 0 takes the same free port for UDP and TCP, where both are needed.
///
/// # Errors
/// Names the address: in use, not ours, or not allowed.
pub fn bind(settings: &Settings, engine: UdpEngine, claim: Claim) -> Result<Bound, String> {
    let mut bound =
        Bound { engine, udp: Vec::new(), tcp: Vec::new(), dot: Vec::new(), doh: Vec::new(), doq: Vec::new() };
    let told = |address, bound: io::Result<_>| bound.map_err(|why| explain(address, &why));
    for &address in &settings.dns {
        let (udp, tcp) = told(address, bind_pair(address, claim))?;
        let group = match engine {
            UdpEngine::Portable => vec![udp],
            UdpEngine::Batched { workers, .. } => bind_group(udp, workers).map_err(|why| explain(address, &why))?,
        };
        bound.udp.push(group);
        bound.tcp.push(tcp);
    }
    for &address in &settings.dot {
        bound.dot.push(bind_tcp(address, claim).map_err(|why| explain(address, &why))?);
    }
    for &address in &settings.doh {
        bound.doh.push(told(address, bind_pair(address, claim))?);
    }
    for &address in &settings.doq {
        bound.doq.push(bind_udp(address, claim).map_err(|why| explain(address, &why))?);
    }
    Ok(bound)
}

/// The socket and more that share its address.
fn bind_group(first: StdUdpSocket, workers: usize) -> io::Result<Vec<StdUdpSocket>> {
    let address = first.local_addr()?;
    let others = (1..workers).map(|_| bind_udp(address, Claim::Beside));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// Takes no more datagrams, and keeps those that are queued: connected to itself, a socket gets nothing that is meant for its
/// address, so that whoever shares the address gets it all, and nothing is lost between the last look and the close.
fn leave_group(socket: &impl AsFd) {
    let socket = SockRef::from(socket);
    let Some(mut own) = socket.local_addr().ok().and_then(|address| address.as_socket()) else { return };
    if own.ip().is_unspecified() {
        own.set_ip(if own.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    if let Err(why) = socket.connect(&own.into()) {
        tracing::debug!(error = %why, "a socket stays in its group until it is closed");
    }
}

fn explain(address: SocketAddr, why: &io::Error) -> String {
    let hint = match why.kind() {
        io::ErrorKind::AddrInUse => "; another program (systemd-resolved, dnsmasq, another lachan?) listens there",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE (see deploy/systemd)",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        _ => "",
    };
    format!("cannot listen on {address}: {why}{hint}")
}

/// With port 0 the port that UDP got may be taken for TCP; a few tries find one that is free for both.
fn bind_pair(address: SocketAddr, claim: Claim) -> io::Result<(StdUdpSocket, StdTcpListener)> {
    const PORT_0_TRIES: usize = 20;
    for _ in 1..PORT_0_TRIES {
        let udp = bind_udp(address, claim)?;
        match bind_tcp(udp.local_addr()?, claim) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(why) if address.port() == 0 && why.kind() == io::ErrorKind::AddrInUse => {}
            Err(why) => return Err(why),
        }
    }
    let udp = bind_udp(address, claim)?;
    let tcp = bind_tcp(udp.local_addr()?, claim)?;
    Ok((udp, tcp))
}

fn bind_udp(address: SocketAddr, claim: Claim) -> io::Result<StdUdpSocket> {
    let address = free(address, Type::DGRAM, Protocol::UDP, claim)?;
    let socket = udp_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Every socket of ours shares its address, so that one that takes over can bind it. Bound alone for a moment first: another
/// process that has the address, or shares it in a group of its own, is an error and not a thief of half the questions.
/// With port 0, the port that was given.
fn free(address: SocketAddr, kind: Type, protocol: Protocol, claim: Claim) -> io::Result<SocketAddr> {
    if claim == Claim::Beside {
        return Ok(address);
    }
    let alone = socket(address, kind, protocol)?;
    if kind == Type::STREAM {
        alone.set_reuse_address(true)?;
    }
    alone.bind(&address.into())?;
    Ok(alone.local_addr()?.as_socket().unwrap_or(address))
}

fn udp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    // Best effort: the kernel's limit may be lower, and a smaller queue still works.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER_OCTETS);
    let _ = socket.set_send_buffer_size(UDP_BUFFER_OCTETS);
    Ok(socket)
}

fn bind_tcp(address: SocketAddr, claim: Claim) -> io::Result<StdTcpListener> {
    let address = free(address, Type::STREAM, Protocol::TCP, claim)?;
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // For TCP this only lets a restarted server take the port while old connections linger; it shares nothing.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // Else [::] would take 0.0.0.0 as well, and answer it from mapped addresses.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Bound {
    /// The addresses taken, in the order they were asked for; with port 0, the ports that were given.
    pub fn addresses(&self) -> Addresses {
        let of_tcp = |listeners: &[StdTcpListener]| listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
        Addresses {
            dns: self.udp.iter().filter_map(|group| group.first()?.local_addr().ok()).collect(),
            dot: of_tcp(&self.dot),
            doh: self.doh.iter().filter_map(|(_, tcp)| tcp.local_addr().ok()).collect(),
            doq: self.doq.iter().filter_map(|socket| socket.local_addr().ok()).collect(),
        }
    }

    /// Serves all of them until `stop`. Work in hand is in `tracker`; the listeners' own tasks too, and they are returned:
    /// one that ends before the stop is a fault.
    pub fn serve(
        self,
        resolver: &Arc<Resolver>,
        stop: &CancellationToken,
        tracker: &TaskTracker,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let mut tasks = Vec::new();
        for group in self.udp {
            for (core, socket) in group.into_iter().enumerate() {
                let (resolver, stop) = (Arc::clone(resolver), stop.clone());
                tasks.push(match self.engine {
                    UdpEngine::Portable => udp::spawn(socket, resolver, stop, tracker)?,
                    UdpEngine::Batched { pinned, .. } => {
                        batched::spawn(socket, pinned.then_some(core), resolver, stop, tracker)?
                    }
                });
            }
        }
        let seats = Arc::new(Seats::new(seats::Limits::default()));
        let desks = Arc::new(Desks::new(Arc::clone(resolver)));
        let service = Service { resolver: Arc::clone(resolver), desks: Arc::clone(&desks) };
        tokio::spawn(keep_house(desks, Arc::clone(&seats), Arc::clone(resolver), stop.clone()));
        let tls = Tls::new(&resolver.certificates).map_err(io::Error::other)?;
        let door = Door { speech: (), service, seats, stop: stop.clone(), tracker: tracker.clone() };
        for listener in self.tcp {
            tasks.push(tcp::spawn(listener, door.of(tcp::Speech::Dns))?);
        }
        for listener in self.dot {
            tasks.push(tcp::spawn(listener, door.of(tcp::Speech::Dot(Arc::clone(&tls.dot))))?);
        }
        for (socket, listener) in self.doh {
            tasks.push(tcp::spawn(listener, door.of(tcp::Speech::Https(Arc::clone(&tls.doh))))?);
            tasks.push(quic::spawn(socket, &tls.h3, door.of(quic::Speech::H3))?);
        }
        for socket in self.doq {
            tasks.push(quic::spawn(socket, &tls.doq, door.of(quic::Speech::Doq))?);
        }
        Ok(tasks)
    }
}

/// What connections need now and then; at the stop, that they are told.
async fn keep_house(desks: Arc<Desks>, seats: Arc<Seats>, resolver: Arc<Resolver>, stop: CancellationToken) {
    let counted = async {
        loop {
            tokio::time::sleep(HOUSEKEEPING).await;
            desks.keep_current();
            resolver.metrics.connections.set(seats.len() as i64);
        }
    };
    tokio::select! {
        () = counted => {}
        () = stop.cancelled() => seats.close(),
    }
}
