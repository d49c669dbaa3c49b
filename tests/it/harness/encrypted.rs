//! A client that asks over TLS, HTTPS or QUIC, under a server name of choice and from an address of choice.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_proto::op::Message;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};
use tokio_rustls::TlsConnector;

use crate::harness::PATIENCE;
use crate::harness::secure::{get, talk, whole};

/// The name that the certificate is for, and one label before it.
pub const NAME: &str = "dns.example.vn";

/// A certificate that its clients trust.
pub struct Authority {
    pub certificate_pem: String,
    pub key_pem: String,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Authority {
        let names = vec![NAME.to_owned(), format!("*.{NAME}"), "localhost".to_owned()];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Authority {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
        }
    }

    fn config(&self, alpn: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    /// A TLS connection; `first` goes before its handshake.
    pub fn connect(&self, way: &Way<'_>, alpn: &[u8], first: &[u8]) -> StreamOwned<ClientConnection, TcpStream> {
        let mut stream = plain(way, first);
        let name = ServerName::try_from(way.server_name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(Arc::new(self.config(alpn)), name).unwrap();
        // A connection that is closed in the handshake is seen at the first read.
        while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        StreamOwned::new(connection, stream)
    }

    /// One question over TLS; `None`: the connection was closed.
    pub fn dot(&self, way: &Way<'_>, first: &[u8], query: &[u8]) -> Option<Message> {
        let mut stream = self.connect(way, b"dot", first);
        exchange(&mut stream, query)
    }

    /// One question over HTTPS: status, and what is said.
    pub fn doh(&self, way: &Way<'_>, path: &str, headers: &str, query: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = self.connect(way, b"http/1.1", b"");
        let text = URL_SAFE_NO_PAD.encode(query);
        let request = format!(
            "GET {path}?dns={text} HTTP/1.1\r\nHost: {}\r\n{headers}Connection: close\r\n\r\n",
            way.server_name
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        // Some ends come without a goodbye of TLS.
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
        let status = std::str::from_utf8(&answer[9..12]).ok()?.parse().ok()?;
        Some((status, answer[end + 4..].to_vec()))
    }

    /// As [`doh`](Authority::doh) at the usual path, by HTTP/2, which every server of DNS over HTTPS speaks.
    pub fn doh_2(&self, way: &Way<'_>, query: &[u8]) -> Option<(u16, Vec<u8>)> {
        let stream = plain(way, b"");
        stream.set_nonblocking(true).unwrap();
        let name = ServerName::try_from(way.server_name.to_owned()).unwrap();
        talk(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let stream = TlsConnector::from(Arc::new(self.config(b"h2"))).connect(name, stream).await.ok()?;
            let (mut send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            let response = whole(send.send_request(get(query)).await.ok()?).await;
            Some((response.status().as_u16(), response.into_body().to_vec()))
        })
    }

    /// One question over QUIC; `None`: it was not answered.
    pub fn doq(&self, way: &Way<'_>, query: &[u8]) -> Option<Message> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(self.config(b"doq")).unwrap();
        runtime.block_on(async {
            let mut endpoint = quinn::Endpoint::client(SocketAddr::new(way.from, 0)).unwrap();
            endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
            let asked = async {
                let connection = endpoint.connect(way.to, way.server_name).unwrap().await.ok()?;
                let (mut send, mut receive) = connection.open_bi().await.ok()?;
                let mut query = query.to_vec();
                query[..2].copy_from_slice(&[0, 0]);
                send.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).await.ok()?;
                send.finish().ok()?;
                let answer = receive.read_to_end(65_537).await.ok()?;
                Message::from_vec(answer.get(2..)?).ok()
            };
            tokio::time::timeout(PATIENCE, asked).await.expect("QUIC ends in time")
        })
    }
}

/// Where a question goes, from where, and whom it asks for.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    pub from: IpAddr,
    pub to: SocketAddr,
    pub server_name: &'a str,
}

/// A TCP connection; `first` goes before anything else.
pub fn plain(way: &Way<'_>, first: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::for_address(way.to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(way.from, 0).into()).unwrap();
    socket.connect_timeout(&way.to.into(), PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream: TcpStream = socket.into();
    stream.write_all(first).unwrap();
    stream
}

/// One question on a stream; `None`: the connection was closed.
pub fn exchange(stream: &mut (impl Read + Write), query: &[u8]) -> Option<Message> {
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat()).ok()?;
    stream.flush().ok()?;
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).ok()?;
    Message::from_vec(&message).ok()
}
