//! QUIC: DNS over dedicated connections (RFC 9250), and HTTP/3 (RFC 9114) where DNS over HTTPS is.
//!
//! Handshakes, connections and streams are tasks of their own: one that hangs holds up nobody. Who cannot be answered yet
//! because many handshakes are open first shows that the address is its own.

use std::io;
use std::net::{IpAddr, UdpSocket as StdUdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BufMut;
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream, SendStream, TransportConfig, VarInt,
};
use rustls::ServerConfig;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::daemon::clock;
use crate::daemon::listener::Door;
use crate::daemon::listener::https::{self, Asked};
use crate::daemon::listener::seats::{Notice, Place};
use crate::daemon::listener::stream::Service;
use crate::engine::client::{Token, unmap_peer};
use crate::engine::framing::{self, FRAME_OCTETS_MAX};
use crate::engine::limits::{
    CONNECTION_TIME_MAX, DOH_HEADER_OCTETS_MAX, DOH_QUERY_OCTETS_MAX, HANDSHAKE, QUIC_HANDSHAKES_UNPROVEN_MAX,
    TCP_PIPELINE_MAX, TCP_WRITE, TLS_IDLE,
};
use crate::engine::query::{Origin, Transport};

/// RFC 9250 §8.4: error codes of DoQ.
const DOQ_NO_ERROR: VarInt = VarInt::from_u32(0x0);
const DOQ_INTERNAL_ERROR: VarInt = VarInt::from_u32(0x1);
const DOQ_PROTOCOL_ERROR: VarInt = VarInt::from_u32(0x2);
const DOQ_REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x3);
const DOQ_EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x4);
const DOQ_UNSPECIFIED_ERROR: VarInt = VarInt::from_u32(0x5);
/// RFC 9114 §8.1.
const H3_NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Octets that a peer may send before we took them up, and that wait to be taken by it. A question is small.
const STREAM_WINDOW: u32 = 16 << 10;
const CONNECTION_WINDOW: u32 = 64 << 10;
/// How long peers may take to hear that we close.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is spoken on a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    Doq,
    H3,
}

/// One connection, for those who serve its streams.
#[derive(Clone)]
struct Peer {
    connection: Connection,
    service: Service,
    place: Arc<Place>,
    local: Option<IpAddr>,
    transport: Transport,
    /// For whom the client took us.
    identity: Option<Token>,
}

impl Peer {
    fn new(connection: Connection, transport: Transport, service: Service, place: Arc<Place>) -> Peer {
        let local = connection.local_ip();
        Peer { connection, service, place, local, transport, identity: None }
    }

    /// Where a question comes from. A connection wanders with its client, and whose profile holds is said by where it is now.
    fn origin(&self) -> Origin {
        let source = unmap_peer(self.connection.remote_address());
        Origin { identity: self.identity, ..Origin::new(source, self.local, self.transport) }
    }

    /// Notes for whom the client took us, once its handshake is read. `None`: there is no seat for it.
    fn meet(&mut self) -> Option<()> {
        let data = self.connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        self.identity = self.service.resolver.named(self.origin(), data.server_name.as_deref()).identity;
        self.service.seat_guest(&self.origin(), &self.place)
    }
}

/// One of the handshakes under way.
struct Handshake(Arc<AtomicUsize>);

impl Handshake {
    fn of(all: &Arc<AtomicUsize>) -> Handshake {
        all.fetch_add(1, Ordering::Relaxed);
        Handshake(Arc::clone(all))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn spawn(socket: StdUdpSocket, tls: &Arc<ServerConfig>, door: Door<Speech>) -> io::Result<JoinHandle<()>> {
    let crypto = QuicServerConfig::try_from(Arc::clone(tls)).map_err(io::Error::other)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(door.speech)));
    // Clients wander from network to network, and their connections with them.
    config.migration(true);
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)?;
    let tracker = door.tracker.clone();
    Ok(tracker.spawn(accept(endpoint, door)))
}

fn transport(speech: Speech) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let streams_of_h3 = if speech == Speech::H3 { 8 } else { 0_u32 };
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(TCP_PIPELINE_MAX as u32))
        .max_concurrent_uni_streams(VarInt::from_u32(streams_of_h3))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(VarInt::from_u32(TLS_IDLE.as_millis() as u32).into()));
    transport
}

async fn accept(endpoint: Endpoint, door: Door<Speech>) {
    let handshakes = Arc::default();
    loop {
        let incoming = tokio::select! {
            biased;
            () = door.stop.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        door.enter(incoming, &handshakes);
    }
    // No new connections; those that are there answer what they were asked, and close.
    endpoint.set_server_config(None);
    endpoint.wait_idle().await;
}

impl Door<Speech> {
    fn enter(&self, incoming: Incoming, handshakes: &Arc<AtomicUsize>) {
        let resolver = &self.service.resolver;
        let source = unmap_peer(incoming.remote_address());
        let standing = resolver.standing(source.ip());
        if standing.is_closed(true) {
            return incoming.ignore();
        }
        // A seat is for an address that was seen to answer, once many are being asked for.
        let are_many = handshakes.load(Ordering::Relaxed) >= QUIC_HANDSHAKES_UNPROVEN_MAX;
        if are_many && !incoming.remote_address_validated() {
            resolver.metrics.limit_hit("quic_handshakes_unproven_max");
            // It cannot fail: the address is not validated.
            let _ = incoming.retry();
            return;
        }
        match self.seats.enter(source.ip(), standing.is_client, clock::now()) {
            Ok(place) => {
                let (service, speech) = (self.service.clone(), self.speech);
                let handshake = Handshake::of(handshakes);
                self.tracker.spawn(greet(incoming, handshake, speech, service, Arc::new(place)));
            }
            Err(limit) => {
                resolver.metrics.limit_hit(limit);
                incoming.refuse();
            }
        }
    }
}

/// A handshake, and what follows it.
async fn greet(incoming: Incoming, handshake: Handshake, speech: Speech, service: Service, place: Arc<Place>) {
    let Ok(connecting) = incoming.accept() else { return };
    let metrics = Arc::clone(&service.resolver.metrics);
    let count = |result| metrics.handshakes.with_label_values(&[result]).inc();
    match speech {
        // RFC 9250 §4.5: questions may come with the first flight, since asking twice does no harm.
        Speech::Doq => {
            // Of a connection that comes in it never fails.
            let Ok((connection, established)) = connecting.into_0rtt() else { return };
            let peer = Peer::new(connection.clone(), Transport::Quic, service, place);
            let shaken = async move {
                let is_in_time = timeout(HANDSHAKE, established).await.is_ok();
                drop(handshake);
                match connection.close_reason() {
                    Some(_) => count("failed"),
                    None if is_in_time => count("ok"),
                    None => {
                        count("timed_out");
                        connection.close(DOQ_NO_ERROR, b"");
                    }
                }
            };
            tokio::join!(shaken, serve_doq(peer));
        }
        // Of HTTP/3 they may not.
        Speech::H3 => {
            let shaken = timeout(HANDSHAKE, connecting).await;
            drop(handshake);
            match shaken {
                Ok(Ok(connection)) => {
                    count("ok");
                    serve_h3(Peer::new(connection, Transport::Https, service, place)).await;
                }
                Ok(Err(why)) => {
                    tracing::debug!(error = %why, "a QUIC handshake failed");
                    count("failed");
                }
                Err(_) => count("timed_out"),
            }
        }
    }
}

/// One question a stream, each answered when it can be.
async fn serve_doq(mut peer: Peer) {
    let mut is_met = false;
    let streams = TaskTracker::new();
    let mut until = pin!(tokio::time::sleep(CONNECTION_TIME_MAX));
    loop {
        tokio::select! {
            biased;
            notice = peer.place.noticed() => match notice {
                Notice::Evicted => return peer.connection.close(DOQ_NO_ERROR, b""),
                Notice::Closing => break,
            },
            accepted = peer.connection.accept_bi() => match accepted {
                Ok((send, receive)) => {
                    // With the first question the handshake is there: its keys are.
                    if !std::mem::replace(&mut is_met, true) && peer.meet().is_none() {
                        return peer.connection.close(DOQ_EXCESSIVE_LOAD, b"");
                    }
                    streams.spawn(answer_stream(peer.clone(), send, receive));
                }
                Err(_) => return,
            },
            () = until.as_mut() => break,
        }
    }
    // Questions have an end of their own.
    streams.close();
    streams.wait().await;
    peer.connection.close(DOQ_NO_ERROR, b"");
}

async fn answer_stream(peer: Peer, mut send: SendStream, mut receive: RecvStream) {
    peer.place.touch(clock::now());
    let framed = match timeout(HANDSHAKE, receive.read_to_end(FRAME_OCTETS_MAX)).await {
        Ok(Ok(framed)) => framed,
        Ok(Err(ReadToEndError::TooLong)) => return refuse_stream(&peer),
        // The peer took it back, or is gone, or too slow: only this stream is over.
        Ok(Err(ReadToEndError::Read(_))) => return drop(send.reset(DOQ_REQUEST_CANCELLED)),
        Err(_) => return drop(send.reset(DOQ_UNSPECIFIED_ERROR)),
    };
    let Some(message) = framing::only(&framed) else { return refuse_stream(&peer) };
    let Some(answer) = peer.service.answer(message, peer.origin()).await else {
        return drop(send.reset(DOQ_INTERNAL_ERROR));
    };
    let mut framed = Vec::new();
    framing::put(&mut framed, &answer);
    let Some(framed) = peer.place.hold(framed) else {
        peer.service.resolver.metrics.limit_hit("tcp_queued_octets_max");
        return drop(send.reset(DOQ_EXCESSIVE_LOAD));
    };
    let sent = async {
        send.write_chunk(framed).await?;
        let _ = send.finish();
        // Until the peer has it: whoever closes the connection then takes nothing back.
        send.stopped().await.map_err(|_| quinn::WriteError::ClosedStream)
    };
    if !matches!(timeout(TCP_WRITE, sent).await, Ok(Ok(_))) {
        // What is cut off is not to look like all there is.
        let _ = send.reset(DOQ_UNSPECIFIED_ERROR);
    }
}

/// RFC 9250 §4.3.3: a peer that does not keep to the protocol is told so, and left.
fn refuse_stream(peer: &Peer) {
    peer.connection.close(DOQ_PROTOCOL_ERROR, b"a stream holds one question behind its length, with id 0");
}

async fn serve_h3(mut peer: Peer) {
    if peer.meet().is_none() {
        return;
    }
    let quic = h3_quinn::Connection::new(peer.connection.clone());
    let head_max = DOH_HEADER_OCTETS_MAX as u64;
    let built = timeout(HANDSHAKE, h3::server::builder().max_field_section_size(head_max).build(quic)).await;
    let Ok(Ok(mut talk)) = built else { return };
    let requests = TaskTracker::new();
    let begin = |request| {
        let peer = peer.clone();
        requests.spawn(async move {
            peer.place.touch(clock::now());
            if let Err(why) = answer_request(&peer, request).await {
                tracing::debug!(error = %why, "a request of HTTP/3 ended badly");
            }
        });
    };
    let mut until = pin!(tokio::time::sleep(CONNECTION_TIME_MAX));
    loop {
        tokio::select! {
            biased;
            notice = peer.place.noticed() => match notice {
                Notice::Evicted => return peer.connection.close(H3_NO_ERROR, b""),
                Notice::Closing => break,
            },
            accepted = talk.accept() => match accepted {
                Ok(Some(request)) => begin(request),
                Ok(None) | Err(_) => return,
            },
            () = until.as_mut() => break,
        }
    }
    // RFC 9114 §5.2: a GOAWAY names the first request that will not be answered; those before it are.
    let _ = timeout(GOODBYE, talk.shutdown(1)).await;
    let mut left = pin!(async {
        while let Ok(Some(request)) = talk.accept().await {
            begin(request);
        }
    });
    let answered = async {
        requests.close();
        requests.wait().await;
        // The last answer is on its way.
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! {
        () = left.as_mut() => {}
        () = answered => {}
    }
    peer.connection.close(H3_NO_ERROR, b"");
}

type H3Error = h3::error::StreamError;
type H3Stream = h3::server::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

async fn answer_request(
    peer: &Peer,
    request: h3::server::RequestResolver<h3_quinn::Connection, Bytes>,
) -> Result<(), H3Error> {
    let resolved = timeout(HANDSHAKE, request.resolve_request()).await;
    let Ok(resolved) = resolved else { return Ok(()) };
    let (request, mut stream): (Request<()>, H3Stream) = resolved?;
    let read = https::read_head(request.method(), request.uri().path(), request.uri().query(), request.headers());
    let (origin, asked) = match read {
        Ok(head) => (https::origin_of(&peer.service, peer.origin(), &head, request.headers()), Ok(head.asked)),
        Err(refused) => (peer.origin(), Err(refused)),
    };
    let message = match asked {
        _ if peer.service.seat_guest(&origin, &peer.place).is_none() => Err(https::NO_SEAT),
        Ok(Asked::Message(message)) => Ok(message),
        Ok(Asked::InBody) => match timeout(HANDSHAKE, read_body(&mut stream)).await {
            Ok(Ok(Some(body))) => Ok(body),
            Ok(Ok(None)) => Err(https::TOO_LARGE),
            Ok(Err(why)) => return Err(why),
            Err(_) => Err(https::TOO_SLOW),
        },
        Err(refused) => Err(refused),
    };
    let response = match message {
        Ok(message) => https::answer(&peer.service, &peer.place, &message, origin).await,
        Err(refused) => Ok(https::refusal(&refused)),
    };
    let Ok(response) = response else {
        stream.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
        return Ok(());
    };
    let response =
        if request.method() == Method::HEAD { https::without_body(response) } else { https::with_length(response) };
    let (head, body) = response.into_parts();
    let sent = async {
        stream.send_response(Response::from_parts(head, ())).await?;
        if !body.is_empty() {
            stream.send_data(body).await?;
        }
        // RFC 9114 §4.1: what was not read of the request is not missed.
        stream.stop_sending(h3::error::Code::H3_NO_ERROR);
        stream.finish().await
    };
    // A peer that takes nothing of it: dropped, the stream is reset.
    timeout(TCP_WRITE, sent).await.unwrap_or(Ok(()))
}

/// `None`: it is too large.
async fn read_body(stream: &mut H3Stream) -> Result<Option<Vec<u8>>, H3Error> {
    let mut body = Vec::new();
    while let Some(part) = stream.recv_data().await? {
        body.put(part);
        if body.len() > DOH_QUERY_OCTETS_MAX {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
