//! TCP, TLS, HTTPS and QUIC upstreams.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_net::quic::QuicServer;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::fake::{self, Behaviour, Log, answer};
use super::{Ask, Failure, Forwarder, ForwarderOptions, forwarder_of, send, server, signed, table};
use crate::engine::query::{Question, RecordType};
use crate::engine::upstream::{GroupId, UpstreamTransport};

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// Answers messages with their length in front; `per_connection` of them, then it closes.
async fn serve_messages(stream: impl AsyncRead + AsyncWrite + Unpin, sign: u8, per_connection: usize) {
    serve_replies(stream, |query| answer(query, sign), per_connection).await;
}

async fn serve_replies(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: impl Fn(&[u8]) -> Option<Vec<u8>>,
    per_connection: usize,
) {
    for _ in 0..per_connection {
        let Ok(len) = stream.read_u16().await else { return };
        let mut query = vec![0; usize::from(len)];
        stream.read_exact(&mut query).await.unwrap();
        let reply = reply(&query).unwrap();
        let framed = [&(reply.len() as u16).to_be_bytes(), &reply[..]].concat();
        stream.write_all(&framed).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// The connections made to it are written to `log`, one entry each.
fn tcp(listener: TcpListener, log: Log, per_connection: usize) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            log.push(b"");
            tokio::spawn(serve_messages(stream, 7, per_connection));
        }
    });
    address
}

/// A port for both TCP and UDP.
async fn both() -> (TcpListener, UdpSocket) {
    loop {
        let listener = listener().await;
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            return (listener, socket);
        }
    }
}

#[tokio::test]
async fn an_answer_larger_than_we_asked_for_is_taken_or_fetched_over_tcp() {
    use crate::engine::limits::UPSTREAM_UDP_REPLY_OCTETS_MAX as MAX;
    // In steps of a record's 16 octets, of which the question leaves one step for the header.
    let question = 12 + "big.example.com".len() + 2 + 4;
    let (last, next) = (MAX - (MAX - question) % 16, MAX + 1);
    for (octets, records) in
        [(600, None), (1_232, None), (2_000, None), (last, None), (next, Some(1)), (20_000, Some(1))]
    {
        let (listener, socket) = both().await;
        let address = fake::serve(socket, Log::default(), move |query| Behaviour::Long(octets).apply(query));
        tcp(listener, Log::default(), usize::MAX);
        let forwarder = super::plain(&[address]);
        let reply = send(&forwarder, "big.example.com").await.unwrap();
        let expected = records.unwrap_or((octets - question).div_ceil(16));
        assert_eq!(reply.answer.records().len(), expected, "{octets} octets");
        let status = &forwarder.status()[0];
        let by_tcp = usize::from(records.is_some());
        assert_eq!(
            (status.queries, status.errors, status.connections),
            (1 + by_tcp as u64, 0, by_tcp),
            "{octets} octets"
        );
    }
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp_from_the_same_server() {
    let (listener, socket) = both().await;
    let connections = Log::default();
    let address = fake::serve(socket, Log::default(), |query| Behaviour::Truncated.apply(query));
    tcp(listener, connections.clone(), usize::MAX);
    let forwarder = super::plain(&[address]);
    for _ in 0..3 {
        assert_eq!(signed(&send(&forwarder, "big.example.com").await.unwrap()), 7);
    }
    assert_eq!(connections.queries().len(), 1, "the connection is kept");
    assert_eq!(forwarder.status()[0].connections, 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_made_again_and_blames_nobody() {
    let connections = Log::default();
    let address = tcp(listener().await, connections.clone(), 1);
    let servers = vec![server(UpstreamTransport::Tcp, address, None)];
    let forwarder = forwarder_of(&[table(1, servers)], ForwarderOptions::default());
    for i in 0..5 {
        assert_eq!(signed(&send(&forwarder, &format!("n{i}.example")).await.unwrap()), 7);
    }
    assert_eq!(connections.queries().len(), 5);
    assert_eq!(forwarder.status()[0].errors, 0);
}

/// RFC 7766 §6.2.4: what is not answered when a connection ends is asked again on another.
#[tokio::test]
async fn a_server_that_closes_before_it_has_answered_all_gets_the_rest_again() {
    for per_connection in [1, 2, 5] {
        let (listener, socket) = both().await;
        let address = fake::serve(socket, Log::default(), |query| Behaviour::Truncated.apply(query));
        tcp(listener, Log::default(), per_connection);
        let by_tcp =
            forwarder_of(&[table(1, vec![server(UpstreamTransport::Tcp, address, None)])], ForwarderOptions::default());
        for forwarder in [by_tcp, super::plain(&[address])].map(Arc::new) {
            // The first makes the connection that the others share.
            let questions = (0..12).map(|i| {
                let forwarder = Arc::clone(&forwarder);
                tokio::spawn(async move { send(&forwarder, &format!("n{i}.example")).await })
            });
            for question in questions.collect::<Vec<_>>() {
                assert_eq!(signed(&question.await.unwrap().unwrap()), 7, "{per_connection} a connection");
            }
            let status = &forwarder.status()[0];
            assert_eq!((status.errors, status.is_up), (0, true));
        }
    }
}

#[tokio::test]
async fn a_connection_carries_many_questions_at_once() {
    let address = tcp(listener().await, Log::default(), usize::MAX);
    let servers = vec![server(UpstreamTransport::Tcp, address, None)];
    let forwarder = Arc::new(forwarder_of(&[table(1, servers)], ForwarderOptions::default()));
    let questions = (0..300).map(|i| {
        let forwarder = Arc::clone(&forwarder);
        tokio::spawn(async move { send(&forwarder, &format!("n{i}.example")).await })
    });
    for question in questions.collect::<Vec<_>>() {
        question.await.unwrap().unwrap();
    }
    assert!(forwarder.status()[0].connections <= crate::engine::limits::UPSTREAM_CONNECTIONS_MAX);
}

#[tokio::test]
async fn a_reload_keeps_the_connections() {
    let connections = Log::default();
    let address = tcp(listener().await, connections.clone(), usize::MAX);
    let servers = vec![server(UpstreamTransport::Tcp, address, None)];
    let mut forwarder = forwarder_of(&[table(1, servers.clone())], ForwarderOptions::default());
    for i in 0..4 {
        send(&forwarder, &format!("n{i}.example")).await.unwrap();
        // A server comes before it: numbers change, the connection stays.
        let mut more = servers.clone();
        more.insert(0, server(UpstreamTransport::Tcp, fake::closed_port().await, None));
        let routes = Arc::new(crate::engine::upstream::Routes::new(&[table(2, more), table(1, servers.clone())]));
        forwarder = Forwarder::new(routes, ForwarderOptions::default(), Some(&forwarder)).unwrap();
    }
    assert_eq!(connections.queries().len(), 1);
}

#[tokio::test]
async fn a_server_that_closes_every_connection_is_a_failure() {
    let address = tcp(listener().await, Log::default(), 0);
    let servers = vec![server(UpstreamTransport::Tcp, address, None)];
    let forwarder = forwarder_of(&[table(1, servers)], ForwarderOptions::default());
    assert_eq!(send(&forwarder, "a.example").await.unwrap_err(), Failure::AllFailed { last: None });
}

/// A certificate for `dns.test`, as a server's configuration and as a file of authorities to trust.
struct Identity {
    config: Arc<ServerConfig>,
    ca_file: tempfile::NamedTempFile,
}

impl Identity {
    fn new(alpn: &[&[u8]]) -> Identity {
        let made = rcgen::generate_simple_self_signed(vec!["dns.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), made.cert.pem()).unwrap();
        Identity { config: Arc::new(config), ca_file }
    }

    fn options(&self) -> ForwarderOptions {
        ForwarderOptions { ca_file: Some(self.ca_file.path().to_owned()), ..ForwarderOptions::default() }
    }
}

type Names = Arc<Mutex<Vec<Option<String>>>>;

/// The server names (SNI) it was asked for are written to `names`.
async fn tls<F>(
    identity: &Identity,
    names: Names,
    serve: fn(tokio_rustls::server::TlsStream<TcpStream>) -> F,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&identity.config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                names.lock().unwrap().push(stream.get_ref().1.server_name().map(str::to_owned));
                tokio::spawn(serve(stream));
            }
        }
    });
    address
}

fn encrypted(transport: UpstreamTransport, address: SocketAddr, name: &str, options: ForwarderOptions) -> Forwarder {
    forwarder_of(&[table(1, vec![server(transport, address, Some(name))])], options)
}

#[tokio::test]
async fn dns_over_tls_names_its_server_and_verifies_it() {
    let (identity, names) = (Identity::new(&[]), Names::default());
    let address = tls(&identity, Arc::clone(&names), |stream| serve_messages(stream, 8, usize::MAX)).await;
    let forwarder = encrypted(UpstreamTransport::Tls, address, "dns.test", identity.options());
    let reply = send(&forwarder, "www.example.com").await.unwrap();
    assert_eq!((signed(&reply), reply.trust_ad), (8, true));
    assert_eq!(*names.lock().unwrap(), [Some("dns.test".to_owned())]);

    let stranger = Identity::new(&[]);
    for (case, name, options) in
        [("another name", "other.test", identity.options()), ("another authority", "dns.test", stranger.options())]
    {
        let forwarder = encrypted(UpstreamTransport::Tls, address, name, options);
        let failure = send(&forwarder, "www.example.com").await.unwrap_err();
        assert_eq!(failure, Failure::AllFailed { last: None }, "{case}");
        let error = forwarder.status()[0].last_error.clone().unwrap();
        assert!(error.contains("certificate"), "{case}: {error}");
    }
}

/// RFC 3597 §3: data that another program knows better is not looked into.
#[tokio::test]
async fn a_record_that_hickory_cannot_read_comes_by_streams_too() {
    let identity = Identity::new(&[]);
    fn odd(query: &[u8]) -> Option<Vec<u8>> {
        Behaviour::OddCaa.apply(query)
    }
    let (plain, address) =
        (listener().await, tls(&identity, Names::default(), |stream| serve_replies(stream, odd, 9)).await);
    let by_tcp = server(UpstreamTransport::Tcp, plain.local_addr().unwrap(), None);
    tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::spawn(serve_replies(stream, odd, 9));
        }
    });
    for server in [by_tcp, server(UpstreamTransport::Tls, address, Some("dns.test"))] {
        let forwarder = forwarder_of(&[table(1, vec![server])], identity.options());
        let question = Question { qtype: RecordType(257), ..super::ask("odd.example").question };
        let deadline = Instant::now() + Duration::from_secs(4);
        let reply = forwarder.ask(&super::leave(), GroupId(0), &Ask::plain(question), deadline).await.unwrap();
        let record = reply.answer.records().next().unwrap();
        assert_eq!((record.rtype, record.rdata), (RecordType(257), &[0, 0][..]));
        assert!(forwarder.status()[0].is_up);
    }
}

/// RFC 7858 §3.2: what goes to a server by TLS goes to it by nothing else, whatever it says.
#[tokio::test]
async fn what_a_stream_cuts_short_is_asked_by_no_other_way() {
    let identity = Identity::new(&[]);
    let (listener, bare) = (listener().await, Log::default());
    let address = listener.local_addr().unwrap();
    let (acceptor, seen) = (TlsAcceptor::from(Arc::clone(&identity.config)), bare.clone());
    tokio::spawn(async move {
        const HANDSHAKE: u8 = 22;
        while let Ok((stream, _)) = listener.accept().await {
            let mut first = [0];
            if stream.peek(&mut first).await.is_err() || first != [HANDSHAKE] {
                seen.push(&first);
                tokio::spawn(serve_messages(stream, 6, usize::MAX));
            } else if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve_replies(stream, |query| Behaviour::Truncated.apply(query), usize::MAX));
            }
        }
    });
    let alone = encrypted(UpstreamTransport::Tls, address, "dns.test", identity.options());
    assert_eq!(send(&alone, "secret.example").await.unwrap_err(), Failure::AllFailed { last: None });
    assert_eq!(alone.status()[0].queries, 1, "it has said all it will");
    let good = tls(&identity, Names::default(), |stream| serve_messages(stream, 8, usize::MAX)).await;
    let servers = [address, good].map(|address| server(UpstreamTransport::Tls, address, Some("dns.test")));
    let forwarder = forwarder_of(&[table(1, servers.to_vec())], identity.options());
    assert_eq!(signed(&send(&forwarder, "secret.example").await.unwrap()), 8);
    assert_eq!(bare.queries().len(), 0, "unencrypted");
}

#[tokio::test]
async fn a_file_of_authorities_that_has_none_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = ForwarderOptions { ca_file: Some(file.path().to_owned()), ..ForwarderOptions::default() };
    let routes = crate::engine::upstream::Routes::new(&[]);
    let refused = Forwarder::new(Arc::new(routes), options, None);
    assert!(refused.err().unwrap().contains("no certificate in it"));
}

/// As much HTTP/2 (RFC 9113) as it takes to answer a POST: frames in, one status and one body out.
async fn serve_https(mut stream: tokio_rustls::server::TlsStream<TcpStream>) {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const ACK: u8 = 1;
    const END_HEADERS: u8 = 4;
    /// HPACK's static entry 8, `:status: 200`.
    const STATUS_200: [u8; 1] = [0x88];
    let frame = |kind: u8, flags: u8, id: [u8; 4], body: &[u8]| -> Vec<u8> {
        let len = (body.len() as u32).to_be_bytes();
        [&len[1..], &[kind, flags], &id, body].concat()
    };
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, [0; 4], &[])).await.unwrap();
    let mut query = Vec::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let [l0, l1, l2, kind, flags, id @ ..] = head;
        let mut body = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        stream.read_exact(&mut body).await.unwrap();
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, [0; 4], &[])).await.unwrap(),
            DATA => {
                query.extend_from_slice(&body);
                if flags & END_STREAM != 0 {
                    let reply = answer(&std::mem::take(&mut query), 9).unwrap();
                    let head = frame(HEADERS, END_HEADERS, id, &STATUS_200);
                    stream.write_all(&[head, frame(DATA, END_STREAM, id, &reply)].concat()).await.unwrap();
                }
            }
            _ => {}
        }
        stream.flush().await.unwrap();
    }
}

#[tokio::test]
async fn dns_over_https_answers_and_keeps_its_connection() {
    let (identity, names) = (Identity::new(&[b"h2"]), Names::default());
    let address = tls(&identity, Arc::clone(&names), serve_https).await;
    let forwarder = encrypted(UpstreamTransport::Https, address, "dns.test", identity.options());
    for i in 0..3 {
        let reply = send(&forwarder, &format!("n{i}.example")).await.unwrap();
        assert_eq!((signed(&reply), reply.trust_ad), (9, true));
    }
    assert_eq!(*names.lock().unwrap(), [Some("dns.test".to_owned())]);
    let refused = encrypted(UpstreamTransport::Https, address, "other.test", identity.options());
    assert!(send(&refused, "a.example").await.is_err());
}

async fn quic(identity: &Identity, reply: fn(&[u8]) -> Option<Vec<u8>>) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = QuicServer::with_socket_and_tls_config(socket, Arc::clone(&identity.config)).unwrap();
    tokio::spawn(async move {
        while let Ok(Some((mut streams, _))) = server.next().await {
            tokio::spawn(async move {
                while let Some(Ok(mut stream)) = streams.next().await {
                    let query = stream.receive_bytes().await.unwrap();
                    stream.send_bytes(reply(&query).unwrap().into()).await.unwrap();
                    stream.finish().await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_blames_neither_server_nor_connection() {
    let identity = Identity::new(&[b"doq"]);
    let address = quic(&identity, |query| Behaviour::ShortAddress.apply(query)).await;
    let forwarder = encrypted(UpstreamTransport::Quic, address, "dns.test", identity.options());
    for _ in 0..5 {
        assert_eq!(send(&forwarder, "a.example").await.unwrap_err(), Failure::AllFailed { last: None });
    }
    let status = &forwarder.status()[0];
    assert_eq!((status.errors, status.is_up, status.failures_in_a_row, status.connections), (5, true, 0, 1));
}

#[tokio::test]
async fn dns_over_quic_answers() {
    let identity = Identity::new(&[b"doq"]);
    let address = quic(&identity, |query| answer(query, 5)).await;
    let forwarder = encrypted(UpstreamTransport::Quic, address, "dns.test", identity.options());
    for i in 0..3 {
        assert_eq!(signed(&send(&forwarder, &format!("n{i}.example")).await.unwrap()), 5);
    }
    assert_eq!(forwarder.status()[0].connections, 1);
    let refused = encrypted(UpstreamTransport::Quic, address, "other.test", identity.options());
    assert!(send(&refused, "a.example").await.is_err());
}
