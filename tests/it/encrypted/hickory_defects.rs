//! What hickory-server's own listeners get wrong (0.26.3), and ours must not: each check holds for us and fails for them, so
//! that it is known to see the fault.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use hickory_server::Server;
use hickory_server::net::NetError;
use quinn::Connecting;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::doq::one_way_relay;
use super::{BLOCKED, Lab, ZONE, question};
use crate::harness::client::Ask;
use crate::harness::secure::{
    Certificate, NAME, TLS13, ask_quic, quic, quic_endpoint, receive_framed, send_framed, talk, tls,
};
use crate::harness::upstream::{Handler, Log};
use crate::harness::{PATIENCE, wait_for};

/// Where something serves.
struct Place {
    udp: SocketAddr,
    tcp: SocketAddr,
    dot: SocketAddr,
    doq: SocketAddr,
    /// What it asked those who know the answers.
    log: Log,
}

impl Place {
    /// Waits until the answer to this question is waited for.
    fn wait_in_flight(&self, name: &str) {
        wait_for("a question to be in flight", || (self.log.count(name, RecordType::A) > 0).then_some(()));
    }
}

/// hickory's listeners over the same zone; what we block is an ordinary name there.
async fn stock(certificate: &Certificate) -> (Place, Server<Handler>) {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let (udp, doq) = (UdpSocket::bind(any).await.unwrap(), UdpSocket::bind(any).await.unwrap());
    let (tcp, dot) = (TcpListener::bind(any).await.unwrap(), TcpListener::bind(any).await.unwrap());
    let zone = format!("{ZONE}{BLOCKED}. 300 IN A 192.0.2.5\n{}", more());
    let (handler, log) = Handler::over(&zone);
    let place = Place {
        log,
        udp: udp.local_addr().unwrap(),
        tcp: tcp.local_addr().unwrap(),
        dot: dot.local_addr().unwrap(),
        doq: doq.local_addr().unwrap(),
    };
    let config = |alpn: &[u8]| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    };
    let mut server = Server::new(handler);
    let patience = Duration::from_secs(5);
    server.register_socket(udp);
    server.register_listener(tcp, patience, 64);
    server.register_tls_listener_with_tls_config(dot, patience, config(b"dot")).unwrap();
    server.register_quic_listener_and_tls_config(doq, patience, config(b"doq")).unwrap();
    (place, server)
}

/// What the zone has besides: large answers, and some that never come.
fn more() -> String {
    let records = |name: String| (0..100).map(move |i| format!("{name}. 300 IN A 192.0.2.{i}\n"));
    let held = HELD.map(|name| format!("{name}. 300 IN A 192.0.2.9\n;! {name}. held\n"));
    large_names().flat_map(records).chain(held).collect()
}

/// One for each kind of connection.
const HELD: [&str; 3] = ["held-a.example", "held-b.example", "held-c.example"];

fn ours() -> (Lab, Place) {
    let lab = Lab::start();
    lab.upstream.change(&format!("{ZONE}{}", more()));
    let log = lab.upstream.shared_log();
    let place = Place { udp: lab.tcp(), tcp: lab.tcp(), dot: lab.dot(), doq: lab.doq(), log };
    (lab, place)
}

/// Defect 1: one client of DoQ that does not finish its handshake keeps all others waiting for five seconds.
///
/// This is the one that hangs, for as long as it is kept: the server has answered it, and it never hears that.
async fn begin_a_handshake(place: &Place, certificate: &Certificate) -> Connecting {
    let (relay, came_back) = one_way_relay(place.doq).await;
    let connecting = quic_endpoint(relay, certificate.trusted_by(TLS13, &["doq"])).connect(relay, NAME).unwrap();
    came_back.notified().await;
    connecting
}

/// And this is another.
async fn ask_by_doq(place: &Place, certificate: &Certificate) {
    let connection = quic(place.doq, certificate.trusted_by(TLS13, &["doq"])).await;
    ask_quic(&connection, &question("fast.example", 0)).await.unwrap();
}

#[test]
fn defect_1_a_doq_handshake_that_hangs_blocks_the_others() {
    let (lab, place) = ours();
    talk(async {
        let hanging = begin_a_handshake(&place, &lab.certificate).await;
        ask_by_doq(&place, &lab.certificate).await;
        let given_up = ["failed", "timed_out"].map(|result| lab.handshakes(result));
        assert_eq!(given_up, [0; 2], "the other was answered while the first still hung");
        drop(hanging);
    });
    talk(async {
        let (place, _server) = stock(&lab.certificate).await;
        let hanging = begin_a_handshake(&place, &lab.certificate).await;
        // Nothing else can be seen of a server that keeps somebody waiting. Less than its five seconds, in which it gives up the
        // first; whatever is slow here only makes the other wait for longer.
        let asked = tokio::time::timeout(Duration::from_secs(2), ask_by_doq(&place, &lab.certificate)).await;
        assert!(asked.is_err(), "the check sees nothing");
        drop(hanging);
    });
}

/// Defect 2: a name that is known waits behind one whose answer does not come. For TCP, TLS and QUIC; what is not answered within
/// the limit waits.
async fn what_is_known_does_not_wait(place: &Place, certificate: &Certificate, limit: Duration) -> [bool; 3] {
    async fn is_first(
        mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        place: &Place,
        held: &str,
        limit: Duration,
    ) -> bool {
        send_framed(&mut stream, &question(held, 1)).await;
        place.wait_in_flight(held);
        send_framed(&mut stream, &question(BLOCKED, 2)).await;
        tokio::time::timeout(limit, receive_framed(&mut stream)).await.is_ok_and(|told| told.unwrap()[1] == 2)
    }
    let tcp = is_first(TcpStream::connect(place.tcp).await.unwrap(), place, HELD[0], limit).await;
    let dot = is_first(tls(place.dot, certificate.trusted(&["dot"])).await.unwrap(), place, HELD[1], limit).await;
    let connection = quic(place.doq, certificate.trusted_by(TLS13, &["doq"])).await;
    let asking = connection.clone();
    let held = tokio::spawn(async move { ask_quic(&asking, &question(HELD[2], 0)).await });
    place.wait_in_flight(HELD[2]);
    let known = question(BLOCKED, 0);
    let doq = tokio::time::timeout(limit, ask_quic(&connection, &known)).await.is_ok_and(|told| told.is_ok());
    held.abort();
    [tcp, dot, doq]
}

#[test]
fn defect_2_questions_of_a_connection_wait_for_each_other() {
    let (lab, place) = ours();
    assert_eq!(talk(what_is_known_does_not_wait(&place, &lab.certificate, PATIENCE)), [true; 3]);
    talk(async {
        let (place, _server) = stock(&lab.certificate).await;
        // Whatever is slow here only makes it wait for longer.
        let waits = what_is_known_does_not_wait(&place, &lab.certificate, Duration::from_millis(500)).await;
        assert_eq!(waits, [false; 3], "the check sees nothing");
    });
    HELD.iter().for_each(|name| lab.upstream.let_go(name));
}

/// Defect 3: a stop leaves those without an answer whose questions are in flight.
async fn is_answered_over_a_stop(place: &Place, stop: impl Future<Output = Result<(), NetError>>) -> bool {
    let mut stream = TcpStream::connect(place.tcp).await.unwrap();
    send_framed(&mut stream, &question("slow.example", 1)).await;
    place.wait_in_flight("slow.example");
    stop.await.unwrap();
    receive_framed(&mut stream).await.is_ok()
}

#[test]
fn defect_3_a_stop_forgets_what_is_in_flight() {
    let (lab, place) = ours();
    let stop = async {
        lab.resolver.begin_stop();
        Ok(())
    };
    assert!(talk(is_answered_over_a_stop(&place, stop)));
    lab.resolver.wait_stopped();
    talk(async {
        let (place, mut server) = stock(&lab.certificate).await;
        assert!(!is_answered_over_a_stop(&place, server.shutdown_gracefully()).await, "the check sees nothing");
    });
}

/// Defect 4: what claims to be an answer is answered, and two that do so keep each other busy.
async fn an_answer_is_met_with_silence(place: &Place) -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(place.udp).await.unwrap();
    // QR, and a body that breaks off.
    let mut answer = question("fast.example", 0x1111);
    answer[2] |= 0x80;
    answer.truncate(20);
    socket.send(&answer).await.unwrap();
    // Whatever is said to it is not far behind what is said to those that come after it.
    for _ in 0..20 {
        socket.send(&question("fast.example", 0x2222)).await.unwrap();
        let mut told = [0; 512];
        socket.recv(&mut told).await.unwrap();
        if told[..2] == [0x11; 2] {
            return false;
        }
    }
    true
}

#[test]
fn defect_4_answers_are_answered() {
    let (lab, place) = ours();
    assert!(talk(an_answer_is_met_with_silence(&place)));
    talk(async {
        let (place, _server) = stock(&lab.certificate).await;
        assert!(!an_answer_is_met_with_silence(&place).await, "the check sees nothing");
    });
}

/// Names of every length, so that for some of them what fits leaves no room for an OPT.
fn large_names() -> impl Iterator<Item = String> {
    (1..=16).map(|len| format!("{}.example", "m".repeat(len)))
}

/// Defect 6: an answer that is cut short loses its OPT.
async fn opt_survives_a_cut(place: &Place) -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(place.udp).await.unwrap();
    let mut survives = true;
    for name in large_names() {
        socket.send(&Ask::new(&name, RecordType::A).encode()).await.unwrap();
        let mut told = vec![0; 4096];
        let len = socket.recv(&mut told).await.unwrap();
        assert!(told[2] & 2 != 0, "{name} is cut short");
        survives &= hickory_proto::op::Message::from_vec(&told[..len]).unwrap().edns.is_some();
    }
    survives
}

#[test]
fn defect_6_what_is_cut_short_loses_its_opt() {
    let (lab, place) = ours();
    assert!(talk(opt_survives_a_cut(&place)));
    talk(async {
        let (place, _server) = stock(&lab.certificate).await;
        assert!(!opt_survives_a_cut(&place).await, "the check sees nothing");
    });
}
