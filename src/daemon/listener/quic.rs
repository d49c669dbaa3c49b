//! QUIC: DNS over dedicated connections (RFC 9250), and HTTP/3 (RFC 9114) where DNS over HTTPS is.
//!
//! Handshakes, connections and streams are tasks of their own: one that hangs holds up nobody. Who cannot be answered yet
//! because many handshakes are open first shows that the address is its own.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Buf, Bytes};
use hyper::{Request, Response};
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::ServerConfig;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::clock;
use crate::daemon::listener::https::{self, Asked};
use crate::daemon::listener::seats::{Notice, Place, Seats};
use crate::daemon::listener::stream::Service;
use crate::engine::client::unmap;
use crate::engine::limits::{
    CONNECTION_TIME_MAX, DOH_QUERY_OCTETS_MAX, HANDSHAKE, QUIC_HANDSHAKES_UNPROVEN_MAX, TCP_PIPELINE_MAX, TLS_IDLE,
};
use crate::engine::query::{Header, Origin, Transport};

/// RFC 9250 §8.4: error codes of DoQ.
const DOQ_NO_ERROR: VarInt = VarInt::from_u32(0x0);
const DOQ_INTERNAL_ERROR: VarInt = VarInt::from_u32(0x1);
const DOQ_PROTOCOL_ERROR: VarInt = VarInt::from_u32(0x2);
/// RFC 9114 §8.1.
const H3_NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Octets of the largest question with its length.
const FRAME_OCTETS_MAX: usize = 2 + u16::MAX as usize;
/// What a connection may send before we took it up. A question is small.
const STREAM_WINDOW: u32 = 1 << 17;
const CONNECTION_WINDOW: u32 = 1 << 18;
/// How long peers may take to hear that we close.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is spoken on a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    Doq,
    H3,
}

/// What one listener needs.
pub(super) struct Door {
    pub speech: Speech,
    pub service: Service,
    pub seats: Arc<Seats>,
    pub stop: CancellationToken,
    pub tracker: TaskTracker,
}

/// One connection, for those who serve its streams.
#[derive(Clone)]
struct Peer {
    connection: Connection,
    service: Service,
    place: Arc<Place>,
    origin: Origin,
}

pub(super) fn spawn(socket: StdUdpSocket, tls: &Arc<ServerConfig>, door: Door) -> io::Result<JoinHandle<()>> {
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

async fn accept(endpoint: Endpoint, door: Door) {
    loop {
        let incoming = tokio::select! {
            biased;
            () = door.stop.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        door.enter(&endpoint, incoming);
    }
    // No new connections; those that are there answer what they were asked, and close.
    endpoint.set_server_config(None);
    endpoint.wait_idle().await;
}

impl Door {
    fn enter(&self, endpoint: &Endpoint, incoming: Incoming) {
        let resolver = &self.service.resolver;
        let peer = incoming.remote_address();
        let source = SocketAddr::new(unmap(peer.ip()), peer.port());
        let standing = resolver.standing(source.ip());
        if standing.is_closed(true) {
            return incoming.ignore();
        }
        // A seat is for an address that was seen to answer, once many are being asked for.
        if !incoming.remote_address_validated() && endpoint.open_connections() >= QUIC_HANDSHAKES_UNPROVEN_MAX {
            let _ = incoming.retry();
            return;
        }
        match self.seats.enter(source.ip(), standing.is_client, clock::now()) {
            Ok(place) => {
                let (service, speech) = (self.service.clone(), self.speech);
                self.tracker.spawn(greet(incoming, source, speech, service, Arc::new(place)));
            }
            Err(limit) => {
                resolver.metrics.limit_hit(limit);
                incoming.refuse();
            }
        }
    }
}

/// A handshake, and what follows it.
async fn greet(incoming: Incoming, source: SocketAddr, speech: Speech, service: Service, place: Arc<Place>) {
    let metrics = Arc::clone(&service.resolver.metrics);
    let Ok(connecting) = incoming.accept() else { return };
    // RFC 9250 §4.5: questions may come with the first flight, since asking twice does no harm. Of HTTP/3 they may not.
    let connection = if speech == Speech::Doq {
        match connecting.into_0rtt() {
            Ok((connection, _)) => Ok(Ok(connection)),
            Err(connecting) => timeout(HANDSHAKE, connecting).await,
        }
    } else {
        timeout(HANDSHAKE, connecting).await
    };
    let connection = match connection {
        Ok(Ok(connection)) => {
            metrics.handshakes.with_label_values(&["ok"]).inc();
            connection
        }
        Ok(Err(why)) => {
            tracing::debug!(error = %why, "a QUIC handshake failed");
            metrics.handshakes.with_label_values(&["failed"]).inc();
            return;
        }
        Err(_) => {
            metrics.handshakes.with_label_values(&["timed_out"]).inc();
            return;
        }
    };
    let transport = if speech == Speech::Doq { Transport::Quic } else { Transport::Https };
    let origin = Origin::new(source, connection.local_ip(), transport);
    let peer = Peer { connection, service, place, origin };
    match speech {
        Speech::Doq => serve_doq(peer).await,
        Speech::H3 => serve_h3(peer).await,
    }
}

impl Peer {
    /// Notes for whom the client took us, once its handshake is read. `None`: there is no seat for it.
    fn meet(&mut self) -> Option<()> {
        let data = self.connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        self.origin = self.service.resolver.named(self.origin, data.server_name.as_deref());
        self.service.seat_guest(&self.origin, &self.place)
    }
}

/// One question a stream, each answered when it can be.
async fn serve_doq(mut peer: Peer) {
    let mut is_met = false;
    let streams = TaskTracker::new();
    let until = tokio::time::Instant::now() + CONNECTION_TIME_MAX;
    let code = loop {
        tokio::select! {
            biased;
            notice = peer.place.noticed() => break (notice == Notice::Closing).then_some(DOQ_NO_ERROR),
            accepted = peer.connection.accept_bi() => match accepted {
                Ok((send, receive)) => {
                    // With the first question the handshake is there: its keys are.
                    if !std::mem::replace(&mut is_met, true) && peer.meet().is_none() {
                        break None;
                    }
                    streams.spawn(answer_stream(peer.clone(), send, receive));
                }
                Err(_) => return,
            },
            () = tokio::time::sleep_until(until) => break Some(DOQ_NO_ERROR),
        }
    };
    if code.is_some() {
        // Questions have an end of their own.
        streams.close();
        streams.wait().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    peer.connection.close(code.unwrap_or(DOQ_NO_ERROR), b"");
}

async fn answer_stream(peer: Peer, mut send: SendStream, mut receive: RecvStream) {
    peer.place.touch(clock::now());
    let read = timeout(HANDSHAKE, receive.read_to_end(FRAME_OCTETS_MAX)).await;
    let message = match &read {
        Ok(Ok(framed)) => message_of(framed),
        Ok(Err(quinn::ReadToEndError::TooLong)) => None,
        // The peer took it back, or is gone, or too slow: only this stream is over.
        Ok(Err(quinn::ReadToEndError::Read(_))) | Err(_) => {
            let _ = send.reset(DOQ_INTERNAL_ERROR);
            return;
        }
    };
    let Some(message) = message else {
        // RFC 9250 §4.3.3.
        peer.connection.close(DOQ_PROTOCOL_ERROR, b"a stream holds one message behind its length, with id 0");
        return;
    };
    match peer.service.answer(message, peer.origin).await {
        Some(answer) => {
            let len = u16::try_from(answer.len()).expect("an answer on a stream is at most 65,535 octets");
            let framed = [&len.to_be_bytes(), answer.as_slice()].concat();
            let sent = async {
                send.write_all(&framed).await?;
                let _ = send.finish();
                send.stopped().await.map_err(|_| quinn::WriteError::ClosedStream)
            };
            let _ = timeout(GOODBYE, sent).await;
        }
        None => {
            let _ = send.reset(DOQ_INTERNAL_ERROR);
        }
    }
}

/// The one message of a stream. RFC 9250 §4.2 and §4.2.1: with an id of 0; and §5.5.2: without edns-tcp-keepalive.
fn message_of(framed: &[u8]) -> Option<&[u8]> {
    let (len, message) = framed.split_first_chunk::<2>()?;
    let is_whole = usize::from(u16::from_be_bytes(*len)) == message.len();
    let is_good = is_whole && message.len() >= Header::LEN && message[..2] == [0, 0];
    is_good.then_some(message)
}

async fn serve_h3(mut peer: Peer) {
    if peer.meet().is_none() {
        return;
    }
    let quic = h3_quinn::Connection::new(peer.connection.clone());
    let built = timeout(HANDSHAKE, h3::server::builder().max_field_section_size(16 << 10).build(quic)).await;
    let Ok(Ok(mut talk)) = built else { return };
    let requests = TaskTracker::new();
    let until = tokio::time::Instant::now() + CONNECTION_TIME_MAX;
    loop {
        tokio::select! {
            biased;
            notice = peer.place.noticed() => {
                if notice == Notice::Evicted {
                    break;
                }
                let _ = talk.shutdown(0).await;
                requests.close();
                requests.wait().await;
                break;
            }
            accepted = talk.accept() => match accepted {
                Ok(Some(request)) => {
                    let peer = peer.clone();
                    requests.spawn(async move {
                        peer.place.touch(clock::now());
                        if let Err(why) = answer_request(&peer, request).await {
                            tracing::debug!(error = %why, "a request of HTTP/3 ended badly");
                        }
                    });
                }
                Ok(None) | Err(_) => return,
            },
            () = tokio::time::sleep_until(until) => {
                let _ = talk.shutdown(0).await;
                break;
            }
        }
    }
    peer.connection.close(H3_NO_ERROR, b"");
}

type H3Error = h3::error::StreamError;

async fn answer_request(
    peer: &Peer,
    request: h3::server::RequestResolver<h3_quinn::Connection, Bytes>,
) -> Result<(), H3Error> {
    let resolved = timeout(HANDSHAKE, request.resolve_request()).await;
    let Ok(resolved) = resolved else { return Ok(()) };
    let (request, mut stream): (Request<()>, _) = resolved?;
    let read = https::read_head(request.method(), request.uri().path(), request.uri().query(), request.headers());
    let origin = match &read {
        Ok(head) => https::origin_of(&peer.service, peer.origin, head, request.headers()),
        Err(_) => peer.origin,
    };
    let response: Response<Bytes> = match read.map(|head| head.asked) {
        _ if peer.service.seat_guest(&origin, &peer.place).is_none() => https::refusal(&https::NO_SEAT),
        Ok(Asked::Message(message)) => https::answer(&peer.service, &message, origin).await,
        Ok(Asked::InBody) => {
            let mut body = Vec::new();
            let whole = async {
                while let Some(mut part) = stream.recv_data().await? {
                    while part.has_remaining() {
                        let chunk = part.chunk();
                        body.extend_from_slice(chunk);
                        let len = chunk.len();
                        part.advance(len);
                    }
                    if body.len() > DOH_QUERY_OCTETS_MAX {
                        return Ok(false);
                    }
                }
                Ok::<bool, H3Error>(true)
            };
            match timeout(HANDSHAKE, whole).await {
                Ok(Ok(true)) => https::answer(&peer.service, &body, origin).await,
                Ok(Ok(false)) => https::refusal(&https::TOO_LARGE),
                Ok(Err(why)) => return Err(why),
                Err(_) => return Ok(()),
            }
        }
        Err(refused) => https::refusal(&refused),
    };
    let (head, body) = https::with_length(response);
    stream.send_response(head).await?;
    stream.send_data(body).await?;
    stream.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_holds_one_message_with_id_0() {
        let message = [0; Header::LEN];
        let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes(), message].concat();
        assert_eq!(message_of(&framed(&message)), Some(&message[..]));
        let mut with_id = message;
        with_id[1] = 1;
        for bad in [
            Vec::new(),
            vec![0],
            framed(&message[1..]),
            framed(&with_id),
            [framed(&message), vec![0]].concat(),
            framed(&message)[..10].to_vec(),
            [framed(&message), framed(&message)].concat(),
        ] {
            assert_eq!(message_of(&bad), None, "{bad:?}");
        }
    }
}
