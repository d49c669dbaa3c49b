//! TCP and DNS over TLS: RFC 7766, RFC 9210, RFC 7858, RFC 7828, RFC 8467.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{BLOCKED, Lab, options, padded, question};
use crate::harness::client::Ask;
use crate::harness::secure::{Line, TLS13, WAYS, Way, framed, receive_framed, send_framed, talk, tls, tls_with};
use crate::harness::wait_for;

async fn slow_then_local(lab: &Lab, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    for (name, id) in [("held.example", 1), ("held-too.example", 2), (BLOCKED, 3), ("fast.example", 4)] {
        send_framed(&mut stream, &question(name, id)).await;
    }
    for (id, then) in [(3, None), (4, Some("held-too.example")), (2, Some("held.example")), (1, None)] {
        assert_eq!(receive_framed(&mut stream).await.unwrap()[1], id);
        then.into_iter().for_each(|name| lab.upstream.let_go(name));
    }
}

#[test]
fn a_locally_known_answer_never_waits_behind_a_slow_name() {
    let lab = Lab::start();
    talk(async {
        slow_then_local(&lab, TcpStream::connect(lab.tcp()).await.unwrap()).await;
    });
    let lab = Lab::start();
    talk(async { slow_then_local(&lab, tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap()).await });
}

async fn thousand(lab: &Lab, stream: impl AsyncRead + AsyncWrite) {
    let (mut read, mut write) = tokio::io::split(stream);
    let asking = async {
        send_framed(&mut write, &question("held.example", 1000)).await;
        let all: Vec<u8> = (0..1000_u16).flat_map(|id| framed(&question(BLOCKED, id))).collect();
        write.write_all(&all).await.unwrap();
        write.flush().await.unwrap();
    };
    let hearing = async {
        let mut ids = Vec::new();
        for i in 0..=1000 {
            if i == 1000 {
                lab.upstream.let_go("held.example");
            }
            let answer = receive_framed(&mut read).await.unwrap();
            ids.push(u16::from_be_bytes([answer[0], answer[1]]));
        }
        ids
    };
    let ((), ids) = tokio::join!(asking, hearing);
    assert_eq!(ids.last(), Some(&1000), "nobody waits for the slow one");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 1001);
}

#[test]
fn a_pipeline_of_a_thousand_with_one_slow_is_answered_whole() {
    let lab = Lab::start();
    talk(async { thousand(&lab, TcpStream::connect(lab.tcp()).await.unwrap()).await });
    let lab = Lab::start();
    talk(async { thousand(&lab, tls(lab.dot(), lab.certificate.trusted(&[])).await.unwrap()).await });
}

#[test]
fn more_slow_names_than_a_pipeline_holds_are_answered_all() {
    let zone: String =
        (0..250).map(|i| format!("s{i}.example. 300 IN A 192.0.2.1\n;! s{i}.example. delay=50\n")).collect();
    let lab = Lab::start();
    lab.upstream.change(&zone);
    talk(async {
        let mut stream = tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap();
        let all: Vec<u8> = (0..250_u16).flat_map(|i| framed(&question(&format!("s{i}.example"), i))).collect();
        stream.write_all(&all).await.unwrap();
        stream.flush().await.unwrap();
        let mut ids = BTreeSet::new();
        for _ in 0..250 {
            let answer = receive_framed(&mut stream).await.unwrap();
            assert_eq!((answer[3] & 15, answer[7]), (0, 1), "one address");
            ids.insert(u16::from_be_bytes([answer[0], answer[1]]));
        }
        assert_eq!(ids.len(), 250);
    });
}

/// Octet by octet, and two at once: where messages begin is said by their lengths alone.
#[test]
fn messages_are_found_however_they_are_cut() {
    let lab = Lab::start();
    let mut stream = std::net::TcpStream::connect(lab.tcp()).unwrap();
    stream.set_nodelay(true).unwrap();
    let all = [framed(&question(BLOCKED, 1)), framed(&question(BLOCKED, 2)), framed(&question(BLOCKED, 3))].concat();
    let (first, rest) = all.split_at(framed(&question(BLOCKED, 1)).len() + 7);
    first.iter().for_each(|octet| stream.write_all(&[*octet]).unwrap());
    stream.write_all(rest).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    let mut ids = Vec::new();
    let mut left = answers.as_slice();
    while let [a, b, rest @ ..] = left {
        let (message, rest) = rest.split_at(usize::from(u16::from_be_bytes([*a, *b])));
        ids.push(message[1]);
        left = rest;
    }
    assert_eq!(ids, [1, 2, 3], "who asks nothing more is still answered");
}

#[test]
fn keepalive_is_told_on_streams_and_nowhere_else() {
    let lab = Lab::start();
    let ask = Ask { options: vec![EdnsOption::Unknown(11, Vec::new())], ..Ask::new(BLOCKED, RecordType::A) };
    for way in WAYS.into_iter().filter(|way| *way != Way::Doq) {
        let told = Line::open(way, &lab.resolver.addresses, false, &lab.certificate).ask(&ask);
        let edns = told.message.edns.as_ref().unwrap();
        let seconds = edns.options().get(EdnsCode::Keepalive).map(|option| {
            let octets = Vec::try_from(option).unwrap();
            u16::from_be_bytes([octets[0], octets[1]]) / 10
        });
        let expected = match way {
            Way::Tcp => Some(10),
            Way::Dot => Some(30),
            _ => None,
        };
        assert_eq!(seconds, expected, "{way:?}");
    }
}

#[test]
fn answers_are_padded_to_468_octets_where_the_question_is_and_nobody_reads_along() {
    let lab = Lab::start();
    for way in WAYS {
        let mut line = Line::open(way, &lab.resolver.addresses, false, &lab.certificate);
        // A block, an answer that is fetched, the same from the cache, one of our own.
        for name in [BLOCKED, "two.example", "two.example", "x.onion", "nothing.example"] {
            let told = line.ask(&padded(name));
            let is_padded = options(&told.message).contains(&12);
            assert_eq!(is_padded, !matches!(way, Way::Udp | Way::Tcp), "{way:?} {name}");
            assert_eq!(told.bytes.len().is_multiple_of(468), is_padded, "{way:?} {name}: {} octets", told.bytes.len());
            let plain = line.ask(&Ask::new(name, RecordType::A));
            assert!(!options(&plain.message).contains(&12), "{way:?} {name}");
        }
    }
}

#[test]
fn tls_1_3_is_preferred_and_1_2_understood() {
    let lab = Lab::start();
    talk(async {
        for (versions, expected) in [
            (&[&rustls::version::TLS13, &rustls::version::TLS12][..], rustls::ProtocolVersion::TLSv1_3),
            (&[&rustls::version::TLS12], rustls::ProtocolVersion::TLSv1_2),
        ] {
            let config = lab.certificate.trusted_by(versions, &["dot"]);
            let mut stream = tls(lab.dot(), config).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
            send_framed(&mut stream, &question(BLOCKED, 7)).await;
            assert_eq!(receive_framed(&mut stream).await.unwrap()[3] & 15, 3);
        }
    });
}

#[test]
fn alpn_is_dot_or_none_and_nothing_else() {
    let lab = Lab::start();
    talk(async {
        for (offered, chosen) in
            [(&["dot"][..], Ok(Some("dot"))), (&["h2", "dot"], Ok(Some("dot"))), (&[], Ok(None)), (&["bogus"], Err(()))]
        {
            let told = tls(lab.dot(), lab.certificate.trusted(offered)).await;
            let told =
                told.as_ref().map(|stream| stream.get_ref().1.alpn_protocol().map(|p| std::str::from_utf8(p).unwrap()));
            assert_eq!(told.map_err(|_| ()), chosen, "{offered:?}");
        }
    });
}

#[test]
fn sessions_are_resumed_by_both_versions_of_tls() {
    let lab = Lab::start();
    talk(async {
        for versions in [TLS13, &[&rustls::version::TLS12]] {
            let config = std::sync::Arc::new(lab.certificate.trusted_by(versions, &["dot"]));
            let mut kinds = Vec::new();
            for _ in 0..3 {
                let mut stream = tls_with(lab.dot(), config.clone()).await.unwrap();
                // The ticket of TLS 1.3 comes behind the handshake, at the latest with the answer.
                send_framed(&mut stream, &question(BLOCKED, 7)).await;
                receive_framed(&mut stream).await.unwrap();
                kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            }
            assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed], "{versions:?}");
        }
    });
}

/// Reads to the end; whether it was reached before patience was.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut octets = [0; 4096];
    loop {
        match stream.read(&mut octets).await {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
    }
}

#[test]
fn octets_that_are_no_message_end_their_connection_alone() {
    let lab = Lab::start();
    talk(async {
        let mut good = tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap();
        for garbage in [&b"\0\0"[..], b"\0\x05hello", b"\0\x0b\0\0\0\0\0\0\0\0\0\0\0"] {
            for encrypts in [false, true] {
                if encrypts {
                    let mut stream = tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap();
                    stream.write_all(garbage).await.unwrap();
                    assert!(is_closed(&mut stream).await, "{garbage:?}");
                } else {
                    let mut stream = TcpStream::connect(lab.tcp()).await.unwrap();
                    stream.write_all(garbage).await.unwrap();
                    assert!(is_closed(&mut stream).await, "{garbage:?}");
                }
            }
        }
        // Behind TLS and in place of it.
        let mut stream = TcpStream::connect(lab.dot()).await.unwrap();
        stream.write_all(&framed(&question(BLOCKED, 1))).await.unwrap();
        assert!(is_closed(&mut stream).await, "DNS in the clear where TLS is");
        // A message of the largest size is one; what stands behind its question is read over.
        let mut large = question(BLOCKED, 9);
        large.resize(65_535, 0);
        send_framed(&mut good, &large).await;
        let answer = receive_framed(&mut good).await.unwrap();
        assert_eq!((answer[1], answer[3] & 15), (9, 3));
        send_framed(&mut good, &question(BLOCKED, 10)).await;
        assert_eq!(receive_framed(&mut good).await.unwrap()[1], 10);
    });
}

#[test]
fn a_client_with_all_its_connections_open_loses_the_idlest_for_a_new_one() {
    let lab = Lab::start();
    let connect = || std::net::TcpStream::connect(lab.tcp()).unwrap();
    let ask = |stream: &mut std::net::TcpStream, id: u16| {
        stream.write_all(&framed(&question(BLOCKED, id))).ok()?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).ok().map(|()| answer[3])
    };
    let mut all: Vec<_> = (0..lachan::engine::limits::TCP_CONNECTIONS_PER_CLIENT_MAX).map(|_| connect()).collect();
    for (stream, id) in all.iter_mut().zip(0..) {
        assert!(ask(stream, id).is_some());
    }
    let last = all.len() - 1;
    // Those who asked a moment ago keep theirs; soon one has been idle for long enough.
    wait_for("a seat", || {
        assert!(ask(&mut all[last], 1).is_some(), "who asks keeps the connection");
        ask(&mut connect(), 7)
    });
    assert!(lab.limit_hits("tcp_connections_per_client_max") > 0 || ask(&mut all[0], 1).is_none());
}
