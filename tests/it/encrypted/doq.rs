//! DNS over QUIC: RFC 9250.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsOption;
use quinn::{Connection, ConnectionError, ReadError, ReadToEndError, VarInt};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::{BLOCKED, Lab, question};
use crate::harness::client::Ask;
use crate::harness::secure::{Certificate, TLS13, ask_quic, framed, quic, quic_endpoint, talk};

pub async fn connect(server: SocketAddr, certificate: &Certificate) -> Connection {
    quic(server, certificate.trusted_by(TLS13, &["doq"])).await
}

/// The code that the server closes the connection with.
async fn closed(connection: &Connection) -> u64 {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_locally_known_answer_never_waits_behind_a_slow_name() {
    let lab = Lab::start();
    talk(async {
        let connection = connect(lab.doq(), &lab.certificate).await;
        let asking = connection.clone();
        let slow = tokio::spawn(async move { ask_quic(&asking, &question("held.example", 0)).await.unwrap()[3] & 15 });
        let is_asked = || (lab.upstream.count("held.example", RecordType::A) > 0).then_some(());
        crate::harness::wait_for("the slow one to be asked", is_asked);
        for (name, rcode) in [(BLOCKED, 3), ("fast.example", 0)] {
            assert_eq!(ask_quic(&connection, &question(name, 0)).await.unwrap()[3] & 15, rcode, "{name}");
        }
        lab.upstream.let_go("held.example");
        assert_eq!(slow.await.unwrap(), 0);
    });
}

#[test]
fn more_questions_than_streams_at_once_are_answered_on_one_connection() {
    let lab = Lab::start();
    talk(async {
        let connection = connect(lab.doq(), &lab.certificate).await;
        let query = question(BLOCKED, 0);
        let answers = futures_util::future::join_all((0..1_000).map(|_| ask_quic(&connection, &query))).await;
        assert_eq!(answers.into_iter().filter(|answer| answer.as_ref().unwrap()[3] & 15 == 3).count(), 1_000);
    });
}

#[test]
fn what_breaks_the_protocol_ends_the_connection_with_its_code() {
    let lab = Lab::start();
    let keepalive = {
        let options = vec![EdnsOption::Unknown(11, Vec::new())];
        let mut query = Ask { options, ..Ask::new(BLOCKED, RecordType::A) }.encode();
        query[..2].fill(0);
        query
    };
    let good = framed(&question(BLOCKED, 0));
    talk(async {
        for (what, stream) in [
            ("an id", framed(&question(BLOCKED, 7))),
            ("keepalive", framed(&keepalive)),
            ("no message", b"\x12\x34hello".to_vec()),
            ("less than a header", framed(&[0; 11])),
            ("two messages", [good.as_slice(), &good].concat()),
            ("less than its length says", good[..good.len() - 1].to_vec()),
            ("more than a length can say", [&[0xff; 2], &[0; 65_536][..]].concat()),
            ("nothing", Vec::new()),
        ] {
            let connection = connect(lab.doq(), &lab.certificate).await;
            let (mut send, _receive) = connection.open_bi().await.unwrap();
            // The connection may end before all of it is written.
            let _ = send.write_all(&stream).await;
            let _ = send.finish();
            assert_eq!(closed(&connection).await, 2, "DOQ_PROTOCOL_ERROR: {what}");
        }
        // A stream of one direction, which DoQ has no use for, cannot be opened at all.
        let connection = connect(lab.doq(), &lab.certificate).await;
        assert!(futures_util::FutureExt::now_or_never(connection.open_uni()).is_none());
    });
}

#[test]
fn silence_is_a_stream_that_is_reset_and_the_connection_goes_on() {
    let config =
        "[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n[profile.default]\nblock_response = \"drop\"\n";
    let lab = Lab::with(config);
    talk(async {
        let connection = connect(lab.doq(), &lab.certificate).await;
        let dropped = ask_quic(&connection, &question(BLOCKED, 0)).await;
        let internal_error = VarInt::from_u32(1);
        assert_eq!(dropped, Err(ReadToEndError::Read(ReadError::Reset(internal_error))));
        assert_eq!(ask_quic(&connection, &question("fast.example", 0)).await.unwrap()[3] & 15, 0);
    });
}

#[test]
fn zones_are_not_given_away() {
    let lab = Lab::start();
    talk(async {
        let connection = connect(lab.doq(), &lab.certificate).await;
        for qtype in [RecordType::AXFR, RecordType::IXFR] {
            let mut query = Ask::new("example", qtype).encode();
            query[..2].fill(0);
            assert_eq!(ask_quic(&connection, &query).await.unwrap()[3] & 15, 5, "{qtype}");
        }
    });
}

#[test]
fn a_question_may_come_in_the_first_flight() {
    let lab = Lab::start();
    talk(async {
        let endpoint = quic_endpoint(lab.doq(), lab.certificate.trusted_by(TLS13, &["doq"]));
        let first = endpoint.connect(lab.doq(), crate::harness::secure::NAME).unwrap();
        let first = first.into_0rtt().err().expect("nothing is known of the server yet").await.unwrap();
        ask_quic(&first, &question(BLOCKED, 0)).await.unwrap();
        // Each session is good for one connection, and a new one comes with it.
        for _ in 0..3 {
            let again = endpoint.connect(lab.doq(), crate::harness::secure::NAME).unwrap();
            let Ok((again, accepted)) = again.into_0rtt() else { panic!("a session was given") };
            let answer = ask_quic(&again, &question(BLOCKED, 0)).await.unwrap();
            assert_eq!(answer[3] & 15, 3);
            assert!(accepted.await, "0-RTT was accepted");
            // The next session comes behind the handshake, and before what is asked then.
            ask_quic(&again, &question(BLOCKED, 0)).await.unwrap();
        }
    });
}

/// Passes on what clients send, and nothing of what comes back; that something did is told.
pub async fn one_way_relay(server: SocketAddr) -> (SocketAddr, Arc<Notify>) {
    let (outside, inside) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = outside.local_addr().unwrap();
    let came_back = Arc::new(Notify::new());
    let telling = Arc::clone(&came_back);
    tokio::spawn(async move {
        let (mut there, mut back) = (vec![0; 2048], vec![0; 2048]);
        loop {
            tokio::select! {
                Ok((len, _)) = outside.recv_from(&mut there) => {
                    let _ = inside.send_to(&there[..len], server).await;
                }
                Ok(_) = inside.recv_from(&mut back) => telling.notify_one(),
            }
        }
    });
    (address, came_back)
}

#[test]
fn handshakes_that_nobody_finishes_hold_up_nobody_and_make_the_next_prove_their_address() {
    let lab = Lab::start();
    talk(async {
        let (relay, _) = one_way_relay(lab.doq()).await;
        let endpoint = quic_endpoint(relay, lab.certificate.trusted_by(TLS13, &["doq"]));
        let hanging: Vec<_> =
            (0..150).map(|_| endpoint.connect(relay, crate::harness::secure::NAME).unwrap()).collect();
        // Asked for until enough of them have come that addresses are no longer believed.
        while lab.limit_hits("quic_handshakes_unproven_max") == 0 {
            let connection = connect(lab.doq(), &lab.certificate).await;
            assert_eq!(ask_quic(&connection, &question(BLOCKED, 0)).await.unwrap()[3] & 15, 3);
        }
        let connection = connect(lab.doq(), &lab.certificate).await;
        assert_eq!(ask_quic(&connection, &question("fast.example", 0)).await.unwrap()[3] & 15, 0);
        drop(hanging);
    });
}
