//! Load for encrypted listeners that dnsperf cannot make: DNS over QUIC, new connections of TLS; and DNS over HTTPS, which
//! it makes but for servers that put two answers into one record of TLS (RESULTS.md).
//!
//! `secure_load doq|doh|new SERVER QUESTIONS SECONDS CONNECTIONS [IN_FLIGHT]` asks the names of a file for dnsperf in turn and
//! prints what dnsperf prints. `doq` and `doh` (HTTP/2, POST): over connections that stay; `new`: each question over a
//! connection of its own, with a whole handshake. Each answer has to be its question's. No certificate is checked: what is
//! measured is the server.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use lachan::engine::name::Name;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const USAGE: &str = "secure_load doq|doh|new SERVER QUESTIONS SECONDS CONNECTIONS [IN_FLIGHT]";
const SERVER_NAME: &str = "localhost";
/// Clients that new connections come from: one has so many and no more.
const HOSTS: usize = 200;
/// Whoever has no answer by then has none, as with dnsperf's `-t 2`.
const LOST_AFTER: Duration = Duration::from_secs(2);
const MESSAGE: HeaderValue = HeaderValue::from_static("application/dns-message");

fn main() {
    // `cargo bench` adds a word of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.is_empty() {
        return eprintln!("{USAGE}");
    }
    let [what, server, questions, seconds, connections, rest @ ..] = words.as_slice() else { panic!("{USAGE}") };
    let load = Load {
        server: server.parse().expect("an address and a port"),
        questions: read_questions(questions),
        until: Instant::now() + Duration::from_secs(seconds.parse().expect("seconds")),
        next: AtomicUsize::new(0),
    };
    let connections: usize = connections.parse().expect("how many connections");
    let in_flight: usize = rest.first().map_or(connections, |word| word.parse().expect("how many questions at once"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    let done = runtime.block_on(async {
        match what.as_str() {
            "doq" => doq(Arc::new(load), connections, in_flight).await,
            "doh" => doh(Arc::new(load), connections, in_flight).await,
            "new" => new_connections(Arc::new(load), connections).await,
            _ => panic!("{USAGE}"),
        }
    });
    let answers: usize = done.codes.values().sum();
    println!("  Queries completed:    {answers}");
    println!("  Queries lost:         {}", done.lost);
    let codes: Vec<_> = done.codes.iter().map(|(code, count)| format!("{code} {count} (-)")).collect();
    println!("  Response codes:       {}", codes.join(", "));
    println!("  Queries per second:   {:.1}", answers as f64 / began.elapsed().as_secs_f64());
}

struct Load {
    server: SocketAddr,
    questions: Vec<Vec<u8>>,
    until: Instant,
    next: AtomicUsize,
}

#[derive(Default)]
struct Done {
    codes: BTreeMap<&'static str, usize>,
    lost: usize,
}

impl Load {
    /// `None`: the time is over.
    fn question(&self) -> Option<&[u8]> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (Instant::now() < self.until).then(|| self.questions[number % self.questions.len()].as_slice())
    }
}

impl Done {
    /// What came to a question; both are messages without a length before them.
    fn count(&mut self, question: &[u8], answer: Option<&[u8]>) {
        let Some(answer) = answer else { return self.lost += 1 };
        let code = match answer.get(3).map_or(0, |octet| octet & 15) {
            _ if !answers(question, answer) => "WRONG",
            0 => "NOERROR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            5 => "REFUSED",
            _ => "OTHER",
        };
        *self.codes.entry(code).or_default() += 1;
    }

    fn add(&mut self, other: Done) {
        other.codes.into_iter().for_each(|(code, count)| *self.codes.entry(code).or_default() += count);
        self.lost += other.lost;
    }
}

/// Whether it has the question's id and repeats what was asked.
fn answers(question: &[u8], answer: &[u8]) -> bool {
    let asked = &question[12..];
    answer.starts_with(&question[..2])
        && answer.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && answer.get(12..).is_some_and(|rest| rest.starts_with(asked))
}

/// Framed questions with an id of 0.
fn read_questions(file: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|why| panic!("{file}: {why}"));
    let framed = text.lines().map(|line| {
        let name = Name::from_text(line.split(' ').next().expect("a line has a word")).expect("a name");
        let message = [&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name.as_wire(), &[0, 1, 0, 1]].concat();
        [&(message.len() as u16).to_be_bytes()[..], &message].concat()
    });
    framed.collect()
}

fn config(alpn: &[u8]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring knows TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// As many workers as questions at once, shared out over the connections.
async fn doq(load: Arc<Load>, connections: usize, in_flight: usize) -> Done {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config(b"doq")).expect("TLS 1.3 is on");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let mut workers = Vec::new();
    for _ in 0..connections {
        let connection = endpoint.connect(load.server, SERVER_NAME).expect("a good name").await.expect("a handshake");
        for _ in 0..in_flight.div_ceil(connections) {
            let (load, connection) = (Arc::clone(&load), connection.clone());
            workers.push(tokio::spawn(async move {
                let mut done = Done::default();
                while let Some(question) = load.question() {
                    let answer = ask_quic(&connection, question).await;
                    done.count(&question[2..], answer.as_deref().and_then(|framed| framed.get(2..)));
                }
                done
            }));
        }
    }
    sum(workers).await
}

async fn ask_quic(connection: &quinn::Connection, framed: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(framed).await.ok()?;
    send.finish().ok()?;
    receive.read_to_end(1 << 17).await.ok()
}

/// As many connections as are to stay, each with its share of questions open. One that breaks is made anew.
async fn doh(load: Arc<Load>, connections: usize, in_flight: usize) -> Done {
    let config = Arc::new(config(b"h2"));
    let uri: Uri = format!("https://{}/dns-query", load.server).parse().expect("an address makes a URI");
    let each = in_flight.div_ceil(connections);
    let workers = (0..connections).map(|_| {
        let (load, config, uri) = (Arc::clone(&load), Arc::clone(&config), uri.clone());
        tokio::spawn(async move {
            let mut done = Done::default();
            while Instant::now() < load.until {
                let Ok(Some(requests)) = tokio::time::timeout(LOST_AFTER, connect_h2(load.server, &config)).await
                else {
                    done.lost += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let next_id = AtomicU16::new(0);
                let askers = (0..each).map(|_| ask_until_broken(&load, requests.clone(), &uri, &next_id));
                join_all(askers).await.into_iter().for_each(|part| done.add(part));
            }
            done
        })
    });
    let workers: Vec<_> = workers.collect();
    sum(workers).await
}

async fn connect_h2(server: SocketAddr, config: &Arc<ClientConfig>) -> Option<SendRequest<Bytes>> {
    let stream = connect(server, config, 0).await.ok()?;
    let mut builder = h2::client::Builder::new();
    // Wide, as browsers have them, so that updates of windows are rare.
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24).enable_push(false);
    let (requests, connection) = builder.handshake(stream).await.ok()?;
    tokio::spawn(connection);
    Some(requests)
}

/// One question after the other, until the time is over or the connection has no answer any more.
async fn ask_until_broken(load: &Load, mut requests: SendRequest<Bytes>, uri: &Uri, next_id: &AtomicU16) -> Done {
    let mut done = Done::default();
    while let Some(framed) = load.question() {
        let mut question = framed[2..].to_vec();
        question[..2].copy_from_slice(&next_id.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let question = Bytes::from(question);
        let asked = tokio::time::timeout(LOST_AFTER, ask_h2(&mut requests, uri, question.clone())).await;
        let is_broken = matches!(asked, Ok(Err(_)));
        done.count(&question, asked.ok().and_then(Result::ok).flatten().as_deref());
        if is_broken {
            break;
        }
    }
    done
}

/// `None`: an answer of HTTP that is none of DNS.
async fn ask_h2(requests: &mut SendRequest<Bytes>, uri: &Uri, question: Bytes) -> Result<Option<Vec<u8>>, h2::Error> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = HeaderMap::from_iter([
        (ACCEPT, MESSAGE),
        (CONTENT_TYPE, MESSAGE),
        (CONTENT_LENGTH, HeaderValue::from(question.len())),
        (USER_AGENT, HeaderValue::from_static("secure_load")),
    ]);
    std::future::poll_fn(|context| requests.poll_ready(context)).await?;
    let (response, mut body) = requests.send_request(request, false)?;
    body.send_data(question, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut answer = Vec::new();
    while let Some(octets) = body.data().await {
        let octets = octets?;
        body.flow_control().release_capacity(octets.len())?;
        answer.extend_from_slice(&octets);
    }
    let is_dns = head.status == StatusCode::OK && head.headers.get(CONTENT_TYPE) == Some(&MESSAGE);
    Ok(is_dns.then_some(answer))
}

async fn new_connections(load: Arc<Load>, at_once: usize) -> Done {
    let config = Arc::new(config(b"dot"));
    let workers = (0..at_once).map(|number| {
        let (load, config) = (Arc::clone(&load), Arc::clone(&config));
        tokio::spawn(async move {
            let mut done = Done::default();
            while let Some(question) = load.question() {
                let answer = async {
                    let mut stream = connect(load.server, &config, number % HOSTS).await.ok()?;
                    ask_stream(&mut stream, question).await
                };
                done.count(&question[2..], answer.await.as_deref().and_then(|framed| framed.get(2..)));
            }
            done
        })
    });
    let workers: Vec<_> = workers.collect();
    sum(workers).await
}

async fn connect(server: SocketAddr, config: &Arc<ClientConfig>, host: usize) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 1, (host >> 8) as u8, host as u8), 0).into())?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from(SERVER_NAME).expect("a name"), stream).await
}

async fn ask_stream(stream: &mut TlsStream<TcpStream>, framed: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(framed).await.ok()?;
    stream.flush().await.ok()?;
    let len = stream.read_u16().await.ok()?;
    let mut answer = vec![0; 2 + usize::from(len)];
    stream.read_exact(&mut answer[2..]).await.ok()?;
    Some(answer)
}

async fn sum(workers: Vec<tokio::task::JoinHandle<Done>>) -> Done {
    let mut all = Done::default();
    for worker in workers {
        all.add(worker.await.expect("no worker panics"));
    }
    all
}

/// Takes every certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
