//! One question over UDP: hickory-net's client with a socket, a port and an id for itself.
//!
//! Our provider connects that socket: the kernel then drops what others send, and a port that nobody listens on is an
//! error at once instead of a time-out. It also takes replies to our question out before hickory-net does, which would cut
//! them to the size that we advertised and refuse whole messages for one record that it knows better.

use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use hickory_net::NetError;
use hickory_net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_net::runtime::{
    DnsUdpSocket, QuicSocketBinder, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::DnsRequestSender;
use hickory_proto::op::{DnsRequest, DnsResponse};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};

use super::wire::is_reply;
use crate::engine::limits::UPSTREAM_UDP_REPLY_OCTETS_MAX;

/// A peer that vanished without a word is noticed after about twice this.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// One octet more than a reply may have, so that a longer one is known.
const ROOM: usize = UPSTREAM_UDP_REPLY_OCTETS_MAX + 1;
/// TC, in a header's third octet.
const TC: u8 = 0x02;

/// A reply to our question, or with an empty question section, as it came. An error to hickory-net, which would read it.
#[derive(Debug)]
pub struct RawReply(pub Vec<u8>);

impl fmt::Display for RawReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a reply of {} octets", self.0.len())
    }
}

impl std::error::Error for RawReply {}

/// Sends one datagram and waits for its reply: source, id and question checked.
pub async fn ask(
    server: SocketAddr,
    provider: &Provider,
    request: DnsRequest,
    time_left: Duration,
) -> Result<DnsResponse, NetError> {
    // One message only: when to send another is the exchange's to decide.
    let builder = UdpClientStream::builder(server, provider.clone()).with_timeout(Some(time_left)).with_max_retries(1);
    let mut replies = builder.build().send_message(request);
    replies.next().await.unwrap_or(Err(NetError::Timeout))
}

/// Tokio's runtime with connected UDP sockets and kept-alive TCP connections. It owns the background tasks of the
/// exchanges made with it: they end with its last clone.
#[derive(Clone, Default)]
pub struct Provider(TokioRuntimeProvider);

impl RuntimeProvider for Provider {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = ConnectedUdp;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> TokioHandle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let connecting = self.0.connect_tcp(server, local, timeout);
        Box::pin(async move {
            let stream = connecting.await?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3);
            SockRef::from(&stream.0).set_tcp_keepalive(&keepalive)?;
            Ok(stream)
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(server).await?;
            Ok(ConnectedUdp { socket, server, query: OnceLock::new() })
        })
    }

    fn quic_binder(&self) -> Option<&dyn QuicSocketBinder> {
        self.0.quic_binder()
    }
}

/// A socket that talks to one server, for one question.
pub struct ConnectedUdp {
    socket: UdpSocket,
    server: SocketAddr,
    /// The message sent.
    query: OnceLock<Vec<u8>>,
}

impl DnsUdpSocket for ConnectedUdp {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut octets = [0; ROOM];
        let mut datagram = ReadBuf::new(&mut octets);
        ready!(self.socket.poll_recv(cx, &mut datagram))?;
        Poll::Ready(self.check(datagram.filled(), buf))
    }

    /// Also awake to errors: a refusal alone (ICMP port unreachable) does not make a socket readable.
    ///
    /// The signature is what `async_trait` makes of `async fn recv_from(&self, buf: &mut [u8])`.
    fn recv_from<'s, 'b, 'f>(
        &'s self,
        buf: &'b mut [u8],
    ) -> Pin<Box<dyn Future<Output = io::Result<(usize, SocketAddr)>> + Send + 'f>>
    where
        's: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let wake = Interest::READABLE | Interest::ERROR;
            let read = || {
                let mut datagram = [0; ROOM];
                let len = (&*SockRef::from(&self.socket)).read(&mut datagram)?;
                self.check(&datagram[..len], buf)
            };
            self.socket.async_io(wake, read).await
        })
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], _server: SocketAddr) -> Poll<io::Result<usize>> {
        self.query.get_or_init(|| buf.to_vec());
        self.socket.poll_send(cx, buf)
    }
}

impl ConnectedUdp {
    /// A reply to our question is an error, for us; anything else goes on into `buf`, as far as it fits.
    fn check(&self, datagram: &[u8], buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if self.query.get().is_some_and(|query| is_reply(datagram, query)) {
            let mut reply = datagram.to_vec();
            if reply.len() == ROOM {
                // Cut by us: as if the server had said so, it is asked over TCP.
                reply[2] |= TC;
            }
            return Err(io::Error::other(RawReply(reply)));
        }
        let len = datagram.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram[..len]);
        Ok((len, self.server))
    }
}
