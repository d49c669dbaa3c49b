//! Clients on encrypted channels: DoT, DoH by every version of HTTP, DoQ; and the certificate that they trust.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lachan::daemon::listener::Addresses;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::PATIENCE;
use crate::harness::client::{Ask, Told};
use crate::harness::resolver::with_upstream;

/// The name of the resolver's certificate.
pub const NAME: &str = "dns.example.vn";
pub const DNS_MESSAGE: &str = "application/dns-message";

/// A certificate and its key, as PEM.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Certificate {
    /// For [`NAME`] and the addresses of loopback.
    pub fn new() -> Certificate {
        Certificate::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        for address in ["127.0.0.1", "::1"] {
            params.subject_alt_names.push(SanType::IpAddress(address.parse().unwrap()));
        }
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Certificate { certificate, key: key.serialize_pem() }
    }

    /// The two as files beside a configuration.
    pub fn files(&self) -> [(&str, &str); 2] {
        [("fullchain.pem", &self.certificate), ("privkey.pem", &self.key)]
    }

    /// What a client trusts that knows this certificate and no other, and offers these protocols.
    pub fn trusted(&self, alpn: &[&str]) -> ClientConfig {
        self.trusted_by(&[&rustls::version::TLS13, &rustls::version::TLS12], alpn)
    }

    pub fn trusted_by(&self, versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_early_data = true;
        config
    }
}

/// `[tls]` for the files of [`Certificate::files`].
pub const TLS: &str = "[tls]\ncertificate_file = \"fullchain.pem\"\nprivate_key_file = \"privkey.pem\"\n";

/// As [`with_upstream`], with every encrypted listener for both families.
pub fn encrypted(config: &str, upstream: SocketAddr) -> String {
    let both = "[\"127.0.0.1:0\", \"[::1]:0\"]";
    let listeners = format!("[listen]\ndot = {both}\ndoh = {both}\ndoq = {both}\n");
    format!("{}{TLS}", with_upstream(config, upstream).replace("[listen]\n", &listeners))
}

/// Does something in a runtime of its own; it must not take for ever.
pub fn talk<T>(what: impl Future<Output = T>) -> T {
    runtime().block_on(async { tokio::time::timeout(2 * PATIENCE, what).await.expect("nothing hangs") })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A TLS connection to a server whose name is [`NAME`].
pub async fn tls(server: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    tls_with(server, Arc::new(config)).await
}

pub async fn tls_with(server: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(ServerName::try_from(NAME).unwrap(), stream).await
}

/// The message behind its length.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

pub async fn send_framed(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) {
    stream.write_all(&framed(message)).await.unwrap();
    stream.flush().await.unwrap();
}

/// The next message; an error where the other side has closed.
pub async fn receive_framed(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let len = stream.read_u16().await?;
    let mut message = vec![0; len.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// A question in a URL.
pub fn get(message: &[u8]) -> Request<Full<Bytes>> {
    let url = format!("https://{NAME}/dns-query?dns={}", URL_SAFE_NO_PAD.encode(message));
    Request::get(url).header("accept", DNS_MESSAGE).body(Full::default()).unwrap()
}

/// A question in a body.
pub fn post(message: &[u8]) -> Request<Full<Bytes>> {
    let request = Request::post(format!("https://{NAME}/dns-query")).header("content-type", DNS_MESSAGE);
    request.body(Full::new(Bytes::copy_from_slice(message))).unwrap()
}

pub type Http1 = http1::SendRequest<Full<Bytes>>;
pub type Http2 = http2::SendRequest<Full<Bytes>>;
pub type Http3 = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

pub async fn http1(server: SocketAddr, certificate: &Certificate) -> Http1 {
    let stream = tls(server, certificate.trusted(&["http/1.1"])).await.unwrap();
    let (send, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

pub async fn http2(server: SocketAddr, certificate: &Certificate) -> Http2 {
    let stream = tls(server, certificate.trusted(&["h2"])).await.unwrap();
    let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

/// The same in the form that HTTP/1.1 has it: a path, and the host beside it.
pub fn in_form_of_http1(request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
    parts.headers.insert("host", NAME.parse().unwrap());
    Request::from_parts(parts, body)
}

/// A response with its whole body.
pub async fn whole(response: Response<hyper::body::Incoming>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

/// An endpoint of QUIC, which lives as long as its connections do.
pub fn quic_endpoint(server: SocketAddr, config: ClientConfig) -> quinn::Endpoint {
    let any: SocketAddr = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }.parse().unwrap();
    let mut endpoint = quinn::Endpoint::client(any).unwrap();
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint
}

pub async fn quic(server: SocketAddr, config: ClientConfig) -> quinn::Connection {
    quic_endpoint(server, config).connect(server, NAME).unwrap().await.unwrap()
}

/// One question on a stream of its own.
pub async fn ask_quic(connection: &quinn::Connection, message: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(quinn::ReadError::from)?;
    // A server that refuses it may do so before it has all of it.
    let _ = send.write_all(&framed(message)).await;
    let _ = send.finish();
    let answer = receive.read_to_end(1 << 17).await?;
    assert_eq!(usize::from(u16::from_be_bytes([answer[0], answer[1]])), answer.len() - 2, "one message a stream");
    Ok(answer[2..].to_vec())
}

/// HTTP/3 over a connection of QUIC.
pub async fn http3(connection: quinn::Connection) -> Http3 {
    let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    send
}

pub async fn ask_http3(send: &mut Http3, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut stream = send.send_request(Request::from_parts(parts, ())).await.unwrap();
    // A server may answer before it has read everything, and then reads no more.
    if !body.is_empty() {
        let _ = stream.send_data(body).await;
    }
    let _ = stream.finish().await;
    let (parts, ()) = stream.recv_response().await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(mut part) = stream.recv_data().await.unwrap() {
        body.extend_from_slice(&part.copy_to_bytes(part.remaining()));
    }
    Response::from_parts(parts, body.into())
}

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Udp,
    Tcp,
    Dot,
    Http1,
    Http2,
    Http3,
    Doq,
}

pub const WAYS: [Way; 7] = [Way::Udp, Way::Tcp, Way::Dot, Way::Http1, Way::Http2, Way::Http3, Way::Doq];

/// A way to one server, kept open from question to question.
pub struct Line {
    runtime: Runtime,
    channel: Channel,
    way: Way,
    asked: usize,
}

enum Channel {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Dot(Box<TlsStream<TcpStream>>),
    Http1(Http1),
    Http2(Http2),
    Http3(Http3),
    Doq(quinn::Connection),
}

impl Line {
    pub fn open(way: Way, addresses: &Addresses, v6: bool, certificate: &Certificate) -> Line {
        let at = |of: &[SocketAddr]| *of.iter().find(|address| address.is_ipv6() == v6).unwrap();
        let runtime = runtime();
        let channel = runtime.block_on(async {
            match way {
                Way::Udp => {
                    let any = if v6 { "[::1]:0" } else { "127.0.0.1:0" };
                    let socket = UdpSocket::bind(any).await.unwrap();
                    socket.connect(at(&addresses.dns)).await.unwrap();
                    Channel::Udp(socket)
                }
                Way::Tcp => Channel::Tcp(TcpStream::connect(at(&addresses.dns)).await.unwrap()),
                Way::Dot => {
                    Channel::Dot(Box::new(tls(at(&addresses.dot), certificate.trusted(&["dot"])).await.unwrap()))
                }
                Way::Http1 => Channel::Http1(http1(at(&addresses.doh), certificate).await),
                Way::Http2 => Channel::Http2(http2(at(&addresses.doh), certificate).await),
                Way::Http3 => {
                    let connection = quic(at(&addresses.doh), certificate.trusted_by(TLS13, &["h3"])).await;
                    Channel::Http3(http3(connection).await)
                }
                Way::Doq => Channel::Doq(quic(at(&addresses.doq), certificate.trusted_by(TLS13, &["doq"])).await),
            }
        });
        Line { runtime, channel, way, asked: 0 }
    }

    /// As [`Ask::send`].
    pub fn ask(&mut self, ask: &Ask) -> Told {
        let query = ask.encode();
        let answer = self.exchange(&query);
        ask.told(&query, answer, self.way != Way::Udp)
    }

    /// By HTTP in a URL and in a body by turns; by QUIC with the id that it wants.
    pub fn exchange(&mut self, query: &[u8]) -> Vec<u8> {
        let request = if self.asked.is_multiple_of(2) { get(query) } else { post(query) };
        self.asked += 1;
        let Line { runtime, channel, .. } = self;
        let answered = async {
            match channel {
                Channel::Udp(socket) => {
                    socket.send(query).await.unwrap();
                    let mut answer = vec![0; 65_535];
                    let len = socket.recv(&mut answer).await.unwrap();
                    answer.truncate(len);
                    answer
                }
                Channel::Tcp(stream) => {
                    send_framed(stream, query).await;
                    receive_framed(stream).await.unwrap()
                }
                Channel::Dot(stream) => {
                    send_framed(stream, query).await;
                    receive_framed(stream).await.unwrap()
                }
                Channel::Http1(send) => {
                    send.ready().await.unwrap();
                    let response = send.send_request(in_form_of_http1(request)).await.unwrap();
                    whole(response).await.into_body().to_vec()
                }
                Channel::Http2(send) => whole(send.send_request(request).await.unwrap()).await.into_body().to_vec(),
                Channel::Http3(send) => ask_http3(send, request).await.into_body().to_vec(),
                Channel::Doq(connection) => {
                    let mut answer = ask_quic(connection, &[&[0, 0], &query[2..]].concat()).await.unwrap();
                    assert_eq!(answer[..2], [0, 0], "RFC 9250 §4.2.1");
                    answer[..2].copy_from_slice(&query[..2]);
                    answer
                }
            }
        };
        let limit = Duration::from_secs(20);
        runtime.block_on(async { tokio::time::timeout(limit, answered).await.expect("a question is answered") })
    }
}

pub const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
