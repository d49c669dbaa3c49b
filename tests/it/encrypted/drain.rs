//! A stop: nothing new is taken, what was asked is answered, and everybody is told politely.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use quinn::ConnectionError;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::doq::connect;
use super::{Lab, question};
use crate::harness::secure::{
    Line, TLS13, WAYS, ask_http3, ask_quic, get, http3, quic, receive_framed, send_framed, talk, tls,
};
use crate::harness::wait_for;

fn wait_asked(lab: &Lab, count: usize) {
    wait_for("upstream to be asked", || (lab.upstream.count("held.example", RecordType::A) >= count).then_some(()));
}

/// Begins to stop, and returns when nobody is let in any more.
fn stop(lab: &Lab) {
    lab.resolver.begin_stop();
    wait_for("the listeners to close", || std::net::TcpStream::connect(lab.tcp()).is_err().then_some(()));
}

#[test]
fn what_is_in_flight_is_answered_on_every_transport() {
    for way in WAYS {
        let lab = Lab::start();
        let mut line = Line::open(way, &lab.resolver.addresses, false, &lab.certificate);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| line.exchange(&question("held.example", 9)));
            wait_asked(&lab, 1);
            stop(&lab);
            lab.upstream.let_go("held.example");
            let answer = asked.join().expect("it is answered");
            assert_eq!((answer[1], answer[3] & 15, answer[7]), (9, 0, 1), "{way:?}");
        });
        drop(line);
        lab.resolver.wait_stopped();
    }
}

#[test]
fn nobody_comes_in_any_more() {
    let lab = Lab::start();
    lab.resolver.begin_stop();
    lab.resolver.wait_stopped();
    for address in [lab.tcp(), lab.dot(), lab.doh()] {
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
}

#[test]
fn tcp_and_tls_are_closed_behind_the_last_answer() {
    let lab = Lab::start();
    talk(async {
        let mut plain = TcpStream::connect(lab.tcp()).await.unwrap();
        let mut idle = TcpStream::connect(lab.tcp()).await.unwrap();
        let mut encrypted = tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap();
        send_framed(&mut plain, &question("held.example", 1)).await;
        wait_asked(&lab, 1);
        send_framed(&mut encrypted, &question("held.example", 2)).await;
        // Both are with the resolver when the answer to a later question has come.
        send_framed(&mut encrypted, &question(super::BLOCKED, 3)).await;
        assert_eq!(receive_framed(&mut encrypted).await.unwrap()[1], 3);
        lab.resolver.begin_stop();
        assert_eq!(idle.read(&mut [0; 9]).await.unwrap(), 0, "who asked nothing is told at once");
        lab.upstream.let_go("held.example");
        assert_eq!(receive_framed(&mut plain).await.unwrap()[1], 1);
        assert_eq!(receive_framed(&mut encrypted).await.unwrap()[1], 2);
        assert_eq!(plain.read(&mut [0; 9]).await.unwrap(), 0);
        // Without close_notify this is an error: somebody might have cut it off.
        assert_eq!(encrypted.read(&mut [0; 9]).await.unwrap(), 0);
    });
    lab.resolver.wait_stopped();
}

#[test]
fn http_2_says_goaway() {
    let lab = Lab::start();
    talk(async {
        let stream = tls(lab.doh(), lab.certificate.trusted(&["h2"])).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let ended = tokio::spawn(connection);
        let (response, _) = send.send_request(get(&question("held.example", 0)).map(drop), true).unwrap();
        wait_asked(&lab, 1);
        lab.resolver.begin_stop();
        // The GOAWAY comes while an answer is still out.
        let gone = loop {
            match poll_fn(|context| send.poll_ready(context)).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(gone) => break gone,
            }
        };
        assert!(gone.is_go_away() && gone.is_remote() && gone.reason() == Some(h2::Reason::NO_ERROR), "{gone}");
        lab.upstream.let_go("held.example");
        let mut response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert!(response.body_mut().data().await.unwrap().unwrap().len() > 12);
        drop((response, send));
        // An error would be a reset, or an end without a GOAWAY.
        ended.await.unwrap().unwrap();
    });
    lab.resolver.wait_stopped();
}

#[test]
fn http_3_and_doq_end_without_an_error() {
    let lab = Lab::start();
    talk(async {
        let of_h3 = quic(lab.doh(), lab.certificate.trusted_by(TLS13, &["h3"])).await;
        let of_doq = connect(lab.doq(), &lab.certificate).await;
        let mut three = http3(of_h3.clone()).await;
        let by_h3 = tokio::spawn(async move { ask_http3(&mut three, get(&question("held.example", 0))).await });
        wait_asked(&lab, 1);
        let asking = of_doq.clone();
        let by_doq = tokio::spawn(async move { ask_quic(&asking, &question("held.example", 0)).await });
        assert_eq!(ask_quic(&of_doq, &question(super::BLOCKED, 0)).await.unwrap()[3] & 15, 3);
        stop(&lab);
        lab.upstream.let_go("held.example");
        assert_eq!(by_h3.await.unwrap().body()[7], 1);
        assert_eq!(by_doq.await.unwrap().unwrap()[7], 1);
        for (connection, no_error) in [(of_h3, 0x100), (of_doq, 0)] {
            match connection.closed().await {
                ConnectionError::ApplicationClosed(close) => assert_eq!(close.error_code.into_inner(), no_error),
                // The client's own h3 may have closed first, on the GOAWAY.
                ConnectionError::LocallyClosed => assert_eq!(no_error, 0x100),
                other => panic!("{other}"),
            }
        }
    });
    lab.resolver.wait_stopped();
}
