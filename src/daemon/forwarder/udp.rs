//! One question over UDP: hickory-net's client with a socket, a port and an id for itself.
//!
//! Our provider connects that socket: the kernel then drops what others send, and a port that nobody listens on is an
//! error at once instead of a time-out.

use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
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

/// A peer that vanished without a word is noticed after about twice this.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A reply with an empty question section, which hickory-net would wait past.
#[derive(Debug)]
pub struct BareReply(pub Vec<u8>);

impl fmt::Display for BareReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reply has no question")
    }
}

impl std::error::Error for BareReply {}

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
            Ok(ConnectedUdp { socket, server, id: AtomicU16::new(0) })
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
    /// Of the question sent.
    id: AtomicU16,
}

impl DnsUdpSocket for ConnectedUdp {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.socket.poll_recv(cx, &mut buf))?;
        Poll::Ready(self.check(buf.filled()))
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
            let len = self.socket.async_io(wake, || (&*SockRef::from(&self.socket)).read(buf)).await?;
            self.check(&buf[..len])
        })
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], _server: SocketAddr) -> Poll<io::Result<usize>> {
        if let Some(id) = buf.first_chunk() {
            self.id.store(u16::from_be_bytes(*id), Ordering::Relaxed);
        }
        self.socket.poll_send(cx, buf)
    }
}

impl ConnectedUdp {
    fn check(&self, datagram: &[u8]) -> io::Result<(usize, SocketAddr)> {
        if is_bare_reply(datagram, self.id.load(Ordering::Relaxed)) {
            return Err(io::Error::other(BareReply(datagram.to_vec())));
        }
        Ok((datagram.len(), self.server))
    }
}

fn is_bare_reply(datagram: &[u8], id: u16) -> bool {
    let Some(header) = datagram.first_chunk::<12>() else { return false };
    header[..2] == id.to_be_bytes() && header[2] & 0x80 != 0 && header[4..6] == [0, 0]
}
