//! TCP: who may connect, and what is spoken there — DNS, DNS in TLS, HTTP in TLS. RFC 7766, RFC 9210, RFC 7858, RFC 8484.
//!
//! Each connection's handshake and talk is a task of its own; an accept loop does nothing but accept.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::daemon::clock;
use crate::daemon::listener::records::{Messages, RecordEach};
use crate::daemon::listener::seats::Place;
use crate::daemon::listener::stream::{Service, converse};
use crate::daemon::listener::tls;
use crate::daemon::listener::{Door, https};
use crate::engine::client::unmap_peer;
use crate::engine::compile::Strangers;
use crate::engine::limits::{HANDSHAKE, PROXY_HEADER_OCTETS_MAX};
use crate::engine::proxy::{self, Problem};
use crate::engine::query::{Origin, Transport};

/// Pause when no more connections can be had: out of descriptors stays so for a while, and a loop would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often that is said.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// What is spoken on a listener's connections.
#[derive(Clone)]
pub(super) enum Speech {
    Dns,
    Dot(Arc<ServerConfig>),
    Https(Arc<ServerConfig>),
}

impl Speech {
    fn transport(&self) -> Transport {
        match self {
            Speech::Dns => Transport::Tcp,
            Speech::Dot(_) => Transport::Tls,
            Speech::Https(_) => Transport::Https,
        }
    }

    fn is_encrypted(&self) -> bool {
        self.transport().is_encrypted()
    }
}

pub(super) fn spawn(listener: StdTcpListener, door: Door<Speech>) -> io::Result<JoinHandle<()>> {
    let listener = TcpListener::from_std(listener)?;
    let tracker = door.tracker.clone();
    Ok(tracker.spawn(accept(listener, door)))
}

async fn accept(listener: TcpListener, door: Door<Speech>) {
    let mut told = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => door.enter(stream, peer),
            Err(why) if is_of_one_peer(&why) => {}
            Err(why) => {
                let now = clock::now();
                door.service.resolver.metrics.limit_hit("open_files");
                if told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_AGAIN) {
                    tracing::warn!(error = %why, "accepting a connection failed");
                    told = Some(now);
                }
                door.seats.relieve(now);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether it is about one connection and not about the listener: the peer gave up while it waited, or the network did
/// (accept(2) on Linux passes on what came for the connection).
fn is_of_one_peer(why: &io::Error) -> bool {
    use rustix::io::Errno;
    const ONE_PEER: [Errno; 10] = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
    ];
    ONE_PEER.iter().any(|errno| why.raw_os_error() == Some(errno.raw_os_error()))
}

impl Door<Speech> {
    fn enter(&self, stream: TcpStream, peer: SocketAddr) {
        let resolver = &self.service.resolver;
        let source = unmap_peer(peer);
        let standing = resolver.standing(source.ip());
        // The connection is closed by being dropped.
        if standing.is_closed(self.speech.is_encrypted()) {
            return;
        }
        let entered = match standing.is_proxy {
            true => self.seats.enter_proxied(source.ip(), clock::now()),
            false => self.seats.enter(source.ip(), standing.is_client, clock::now()),
        };
        match entered {
            Ok(place) => {
                let (service, speech) = (self.service.clone(), self.speech.clone());
                let origin = origin(&stream, source, speech.transport());
                let came = Came { stream, origin, is_proxied: standing.is_proxy };
                match speech {
                    Speech::Dns => self.tracker.spawn(serve_dns(came, service, place)),
                    Speech::Dot(config) => self.tracker.spawn(serve_dot(came, config, service, place)),
                    Speech::Https(config) => self.tracker.spawn(serve_https(came, config, service, place)),
                };
            }
            Err(limit) => resolver.metrics.limit_hit(limit),
        }
    }
}

fn origin(stream: &TcpStream, source: SocketAddr, transport: Transport) -> Origin {
    // Answers are whole when they are written; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    Origin::new(source, stream.local_addr().ok().map(|address| address.ip()), transport)
}

/// A connection that was accepted.
struct Came {
    stream: TcpStream,
    origin: Origin,
    /// A PROXY header is to come first.
    is_proxied: bool,
}

impl Came {
    /// Who is at the other end. `None`: nobody is to be answered.
    async fn open(mut self, place: &Place, service: &Service) -> Option<(TcpStream, Origin)> {
        if self.is_proxied {
            self.origin = Box::pin(read_header(&mut self.stream, self.origin, place, service)).await?;
        }
        Some((self.stream, self.origin))
    }
}

async fn serve_dns(came: Came, service: Service, place: Place) {
    let Some((stream, origin)) = came.open(&place, &service).await else { return };
    converse(stream, origin, service, place).await;
}

async fn serve_dot(came: Came, config: Arc<ServerConfig>, service: Service, place: Place) {
    // On the heap: a handshake's memory is not kept for the talk that follows.
    let Some((stream, origin)) = Box::pin(greet(came, config, &place, &service)).await else { return };
    if service.resolver.standing(origin.source.ip()).strangers == Strangers::Drop && !service.resolver.admits(&origin) {
        return;
    }
    converse(RecordEach::<_, Messages>::new(stream), origin, service, place).await;
}

async fn serve_https(came: Came, config: Arc<ServerConfig>, service: Service, place: Place) {
    let Some((stream, origin)) = Box::pin(greet(came, config, &place, &service)).await else { return };
    let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(tls::H2);
    https::serve(stream, speaks_h2, origin, service, place).await;
}

/// What comes before the talk on an encrypted connection, and who is at its other end. One that names an identity of ours
/// has a client's seat, from wherever it comes.
async fn greet(
    came: Came,
    config: Arc<ServerConfig>,
    place: &Place,
    service: &Service,
) -> Option<(tokio_rustls::server::TlsStream<TcpStream>, Origin)> {
    let (stream, origin) = came.open(place, service).await?;
    let stream = shake_hands(stream, config, place, service).await?;
    let origin = service.resolver.named(origin, stream.get_ref().1.server_name());
    service.seat_guest(&origin, place)?;
    Some((stream, origin))
}

/// A proxy's header, before anything else, TLS too. One that does not come whole and in time ends the connection.
async fn read_header(stream: &mut TcpStream, origin: Origin, place: &Place, service: &Service) -> Option<Origin> {
    let resolver = &service.resolver;
    let mut octets = [0; PROXY_HEADER_OCTETS_MAX];
    let whole = async {
        let (head, rest) = octets.split_first_chunk_mut::<{ proxy::HEAD_OCTETS }>().ok_or(Problem::TooLong)?;
        stream.read_exact(head).await.map_err(|_| Problem::Missing)?;
        let rest = rest.get_mut(..proxy::rest_len(head)?).ok_or(Problem::TooLong)?;
        stream.read_exact(rest).await.map_err(|_| Problem::Bad)?;
        Ok(proxy::HEAD_OCTETS + rest.len())
    };
    let read = tokio::select! {
        read = timeout(HANDSHAKE, whole) => read.unwrap_or(Err(Problem::Missing)),
        _ = place.noticed() => return None,
    };
    let told = read.and_then(|len| {
        let (header, _) = proxy::read(&octets[..len])?;
        Ok(resolver.peers().told_by(&header, origin))
    });
    match told {
        Ok(origin) => match place.brought(origin.source.ip(), clock::now()) {
            Ok(()) => Some(origin),
            Err(limit) => {
                resolver.metrics.limit_hit(limit);
                None
            }
        },
        Err(problem) => {
            resolver.metrics.proxy_headers.with_label_values(&[problem.as_str()]).inc();
            None
        }
    }
}

/// A TLS handshake, which may fail, or take too long, or lose its seat.
async fn shake_hands(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    place: &Place,
    service: &Service,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let metrics = &service.resolver.metrics;
    let done = tokio::select! {
        done = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)) => done,
        _ = place.noticed() => return None,
    };
    match done {
        Ok(Ok(stream)) => {
            metrics.handshakes.with_label_values(&["ok"]).inc();
            Some(stream)
        }
        Ok(Err(why)) => {
            tracing::debug!(error = %why, "a TLS handshake failed");
            metrics.handshakes.with_label_values(&["failed"]).inc();
            None
        }
        Err(_) => {
            metrics.handshakes.with_label_values(&["timed_out"]).inc();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_one_connection_does_not_hold_up_the_others() {
        let of = |number| is_of_one_peer(&io::Error::from_raw_os_error(number));
        for (number, expected) in [
            (libc::ECONNABORTED, true),
            (libc::EHOSTUNREACH, true),
            (libc::EPROTO, true),
            (libc::EMFILE, false),
            (libc::ENFILE, false),
            (libc::ENOBUFS, false),
            (libc::ENOMEM, false),
            (libc::EINVAL, false),
        ] {
            assert_eq!(of(number), expected, "{}", io::Error::from_raw_os_error(number));
        }
    }
}
