//! A resolver in this process and an upstream that does as it is told, both on loopback with ports of their own.
//!
//! Messages are octets here: what is odd about them is the point of the suites that use this.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lachan::config::Settings;
use lachan::daemon::listener::{self, Claim, UdpEngine};
use lachan::daemon::reload::Loader;
use lachan::daemon::resolver::Resolver;
use lachan::daemon::telemetry::Metrics;
use lachan::engine::query::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than any question may take: a wait that ends by this is an answer that never came.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// A resolver that answers on a UDP and a TCP port.
pub struct Lab {
    pub resolver: Arc<Resolver>,
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl Lab {
    /// Starts with this configuration; where it listens is added.
    pub async fn start(config: &str) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lachan.toml");
        std::fs::write(&file, config).unwrap();
        let loaded = Loader::new(Some(file)).load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
        let resolver = Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new())));
        let settings = Settings { dns: vec![(Ipv4Addr::LOCALHOST, 0).into()], ..loaded.settings };
        let bound = listener::bind(&settings, UdpEngine::Portable, Claim::Alone).unwrap();
        let address = bound.addresses().dns[0];
        let stop = CancellationToken::new();
        bound.serve(&resolver, &stop, &TaskTracker::new()).unwrap();
        Lab { resolver, address, stop }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An upstream on one port, UDP and TCP.
pub struct Upstream {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Upstream {
    /// Every message gets what `script` says; `None` is silence.
    pub async fn start(script: impl Fn(&[u8], Transport) -> Option<Vec<u8>> + Send + Sync + 'static) -> Upstream {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let upstream = Upstream { address: udp.local_addr().unwrap(), log: Arc::default() };
        let (log, script) = (Arc::clone(&upstream.log), Arc::new(script));
        let (tcp_log, tcp_script) = (Arc::clone(&log), Arc::clone(&script));
        tokio::spawn(async move {
            let mut buf = vec![0; 65_535];
            while let Ok((len, client)) = udp.recv_from(&mut buf).await {
                log.lock().unwrap().push(buf[..len].to_vec());
                if let Some(reply) = script(&buf[..len], Transport::Udp) {
                    let _ = udp.send_to(&reply, client).await;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                let (log, script) = (Arc::clone(&tcp_log), Arc::clone(&tcp_script));
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.into_split();
                    while let Some(message) = read_framed(&mut reader).await {
                        log.lock().unwrap().push(message.clone());
                        if let Some(reply) = script(&message, Transport::Tcp) {
                            let _ = writer.write_all(&framed(&reply)).await;
                        }
                    }
                });
            }
        });
        upstream
    }

    /// What it was asked since the last call.
    pub fn take_log(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

/// A question of class IN with RD; `id` tells its answer from others.
pub fn question(id: u16, name: &str, qtype: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&qtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// The answer whose id is `id`, and whatever else came before it.
pub async fn udp_until(socket: &UdpSocket, id: u16) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut others = Vec::new();
    let mut buf = vec![0; 65_535];
    while let Ok(Ok(len)) = timeout(PATIENCE, socket.recv(&mut buf)).await {
        let message = buf[..len].to_vec();
        if message.starts_with(&id.to_be_bytes()) {
            return (others, Some(message));
        }
        others.push(message);
    }
    (others, None)
}

/// A UDP socket that talks to `to` alone.
pub async fn udp_client(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

/// Sends octets as they are and collects every message that comes back until the server closes; we close our side first,
/// so that it does.
pub async fn tcp_stream(to: SocketAddr, octets: &[u8]) -> Vec<Vec<u8>> {
    let (mut reader, mut writer) = TcpStream::connect(to).await.unwrap().into_split();
    // A server that cut us off while we were writing is one of the right answers.
    let _ = writer.write_all(octets).await;
    let _ = writer.shutdown().await;
    let mut answers = Vec::new();
    while let Ok(Some(message)) = timeout(PATIENCE, read_framed(&mut reader)).await {
        answers.push(message);
    }
    answers
}

/// RFC 1035 §4.2.2: two octets of length before the message.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a message is at most 65,535 octets");
    [&len.to_be_bytes(), message].concat()
}

async fn read_framed(reader: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let len = usize::from(reader.read_u16().await.ok()?);
    let mut message = vec![0; len];
    reader.read_exact(&mut message).await.ok()?;
    Some(message)
}

pub fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half an octet: {text}");
    let digit = |c: u8| char::from(c).to_digit(16).unwrap_or_else(|| panic!("no hex digit: {text}")) as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
