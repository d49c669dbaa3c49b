//! Clients that mean no good, or break down: they hold up nobody, and are let go.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::doq::{connect, one_way_relay};
use super::{BLOCKED, Lab, ZONE, question};
use crate::harness::secure::{
    Line, NAME, TLS13, WAYS, Way, ask_quic, framed, get, http2, post, quic, quic_endpoint, receive_framed, send_framed,
    talk, tls, whole,
};
use crate::harness::wait_for;

/// Longer than anybody may hang, on a machine that is busy.
const ALL_LET_GO: Duration = Duration::from_secs(60);

type Closed = std::pin::Pin<Box<dyn Future<Output = &'static str> + Send>>;

/// Reads until the other side closes.
fn until_closed(what: &'static str, mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Closed {
    Box::pin(async move {
        let mut octets = [0; 4096];
        while !matches!(stream.read(&mut octets).await, Ok(0) | Err(_)) {}
        what
    })
}

fn until_left(
    what: &'static str,
    connection: quinn::Connection,
    stream: Option<(quinn::SendStream, quinn::RecvStream)>,
) -> Closed {
    Box::pin(async move {
        match stream {
            // Only the stream is over.
            Some((_send, mut receive)) => drop(receive.read_to_end(9).await.unwrap_err()),
            None => drop(connection.closed().await),
        }
        what
    })
}

async fn tcp_with(server: SocketAddr, octets: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(octets).await.unwrap();
    stream
}

#[test]
fn whoever_hangs_at_any_stage_is_let_go_and_holds_up_nobody() {
    let lab = Lab::start();
    let hello = [0x16, 3, 1, 2, 0, 1, 0];
    let half = &framed(&question(BLOCKED, 1))[..20];
    talk_long(async {
        let dot = || tls(lab.dot(), lab.certificate.trusted(&["dot"]));
        let h2 = || tls(lab.doh(), lab.certificate.trusted(&["h2"]));
        let h1 = || tls(lab.doh(), lab.certificate.trusted(&["http/1.1"]));
        let mut hanging: Vec<Closed> = vec![
            until_closed("tcp: nothing", tcp_with(lab.tcp(), &[]).await),
            until_closed("tcp: one octet of a length", tcp_with(lab.tcp(), &half[..1]).await),
            until_closed("tcp: half a question", tcp_with(lab.tcp(), half).await),
            until_closed("dot: no handshake", tcp_with(lab.dot(), &[]).await),
            until_closed("dot: half a client hello", tcp_with(lab.dot(), &hello).await),
            until_closed("doh: half a client hello", tcp_with(lab.doh(), &hello).await),
        ];
        let mut stream = dot().await.unwrap();
        stream.write_all(half).await.unwrap();
        hanging.push(until_closed("dot: half a question", stream));
        hanging.push(until_closed("dot: nothing", dot().await.unwrap()));
        for (what, octets) in [
            ("h2: nothing", &b""[..]),
            ("h2: half a preface", b"PRI * HTTP/2.0\r\n"),
            ("h2: a preface and nothing", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
            // A head that is never ended (flags 0), and one whose body never comes.
            ("h2: half a head", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x82"),
        ] {
            let mut stream = h2().await.unwrap();
            stream.write_all(octets).await.unwrap();
            hanging.push(until_closed(what, stream));
        }
        for (what, octets) in [
            ("h1: nothing", &b""[..]),
            ("h1: half a head", b"POST /dns-query HTTP/1.1\r\nHost: a\r\n"),
            (
                "h1: half a body",
                b"POST /dns-query HTTP/1.1\r\nHost: a\r\nContent-Type: application/dns-message\r\nContent-Length: 40\r\n\r\nabc",
            ),
        ] {
            let mut stream = h1().await.unwrap();
            stream.write_all(octets).await.unwrap();
            hanging.push(until_closed(what, stream));
        }
        let connection = connect(lab.doq(), &lab.certificate).await;
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(half).await.unwrap();
        hanging.push(until_left("doq: half a question", connection, Some((send, receive))));
        hanging.push(until_left("doq: nothing", connect(lab.doq(), &lab.certificate).await, None));
        let of_h3 = quic(lab.doh(), lab.certificate.trusted_by(TLS13, &["h3"])).await;
        hanging.push(until_left("h3: nothing", of_h3, None));

        let all = hanging.len();
        let everybody = tokio::spawn(futures_util::future::join_all(hanging));
        // The others, meanwhile.
        let mut asked = 0;
        while !everybody.is_finished() {
            for name in [BLOCKED, "fast.example"] {
                let rcode = if name == BLOCKED { 3 } else { 0 };
                let mut stream = dot().await.unwrap();
                send_framed(&mut stream, &question(name, 1)).await;
                assert_eq!(receive_framed(&mut stream).await.unwrap()[3] & 15, rcode);
                let mut two = http2(lab.doh(), &lab.certificate).await;
                assert_eq!(
                    whole(two.send_request(post(&question(name, 1))).await.unwrap()).await.body()[3] & 15,
                    rcode
                );
                let connection = connect(lab.doq(), &lab.certificate).await;
                assert_eq!(ask_quic(&connection, &question(name, 0)).await.unwrap()[3] & 15, rcode);
                asked += 3;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(everybody.await.unwrap().len(), all);
        assert!(asked > 0);
    });
}

fn talk_long<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(ALL_LET_GO, what).await.expect("all are let go") })
}

/// A zone with a large answer.
fn large_zone() -> String {
    let strings = format!("\"{}\" ", "x".repeat(250)).repeat(60);
    format!("{ZONE}large.example. 300 IN TXT {strings}\n")
}

#[test]
fn whoever_takes_no_answers_is_cut() {
    let lab = Lab::start();
    lab.upstream.change(&large_zone());
    let mut query = crate::harness::client::Ask::new("large.example", RecordType::TXT).encode();
    query[..2].fill(0);
    talk_long(async {
        let mut tcp = TcpStream::connect(lab.tcp()).await.unwrap();
        let mut dot = tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap();
        // Once no more goes in, a write waits, and it ends with an error when the connection is cut.
        let asked = framed(&query);
        let by_tcp = async { while tcp.write_all(&asked).await.is_ok() {} };
        let by_dot = async { while dot.write_all(&asked).await.is_ok() && dot.flush().await.is_ok() {} };
        let both = std::pin::pin!(futures_util::future::join(by_tcp, by_dot));
        // Meanwhile others are answered.
        let answered = std::cell::Cell::new(0);
        let others = std::pin::pin!(async {
            loop {
                let mut good = tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap();
                send_framed(&mut good, &question(BLOCKED, 1)).await;
                assert_eq!(receive_framed(&mut good).await.unwrap()[3] & 15, 3);
                answered.set(answered.get() + 1);
            }
        });
        futures_util::future::select(both, others).await;
        assert!(answered.get() > 0);
    });
}

#[test]
fn streams_that_are_reset_at_once_cost_their_client_the_connection_and_nobody_else_anything() {
    let lab = Lab::start();
    talk(async {
        let stream = tls(lab.doh(), lab.certificate.trusted(&["h2"])).await.unwrap();
        let (send, connection) = h2::client::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
        let ended = tokio::spawn(connection);
        let mut send = send;
        let mut reset = 0;
        for i in 0..100_000 {
            match send.ready().await {
                Ok(ready) => send = ready,
                Err(_) => break,
            }
            let request = get(&question(&format!("s{}.slow.example", i % 50), 0)).map(drop);
            let Ok((_response, mut body)) = send.send_request(request, true) else { break };
            body.send_reset(Reason::CANCEL);
            reset += 1;
        }
        let mut two = http2(lab.doh(), &lab.certificate).await;
        assert_eq!(whole(two.send_request(get(&question(BLOCKED, 0))).await.unwrap()).await.body()[3] & 15, 3);
        assert!(reset < 100_000, "nobody may do so for ever");
        let why = ended.await.unwrap().unwrap_err();
        assert!(why.reason() == Some(Reason::ENHANCE_YOUR_CALM) || why.is_io(), "{why}");
    });
}

#[test]
fn hundreds_of_idle_connections_are_kept_and_the_next_is_answered_on_each_transport() {
    let lab = Lab::start();
    let mut idle = Vec::new();
    talk(async {
        let config = std::sync::Arc::new(lab.certificate.trusted(&["dot"]));
        for _ in 0..300 {
            idle.push(crate::harness::secure::tls_with(lab.dot(), config.clone()).await.unwrap());
        }
    });
    for way in WAYS {
        let mut line = Line::open(way, &lab.resolver.addresses, false, &lab.certificate);
        assert_eq!(line.exchange(&question(BLOCKED, 1))[3] & 15, 3, "{way:?}");
        if way == Way::Doq {
            assert_eq!(line.exchange(&question("fast.example", 1))[3] & 15, 0);
        }
    }
    wait_for("the connections to be counted", || (lab.resolver.metric_sum("lachan_connections") >= 300).then_some(()));
    drop(idle);
    wait_for("them to be gone", || (lab.resolver.metric_sum("lachan_connections") < 20).then_some(()));
}

#[test]
fn handshakes_that_nobody_finishes_are_given_up() {
    let lab = Lab::start();
    talk_long(async {
        let (relay, _) = one_way_relay(lab.doq()).await;
        let endpoint = quic_endpoint(relay, lab.certificate.trusted_by(TLS13, &["doq"]));
        let hanging: Vec<_> = (0..50).map(|_| endpoint.connect(relay, NAME).unwrap()).collect();
        while lab.handshakes("timed_out") < 50 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(lab.handshakes("ok"), 0, "none of them was one");
        drop(hanging);
    });
}
