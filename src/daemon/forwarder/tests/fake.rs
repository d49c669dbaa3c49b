//! Upstreams that do as they are told. Messages are octets here: what is wrong with them is the point.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;

/// The messages an upstream was sent.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Vec<u8>>>>);

impl Log {
    pub fn push(&self, query: &[u8]) {
        self.0.lock().unwrap().push(query.to_vec());
    }

    /// Adds an entry and tells how many there were before.
    pub fn count_up(&self) -> usize {
        self.push(b"");
        self.0.lock().unwrap().len() - 1
    }

    pub fn queries(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }
}

/// Ways to answer badly.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    /// No records, this code.
    Rcode(u8),
    QrZero,
    HeaderOnly(u8),
    OtherQuestion,
    /// The owner of the record has a label of 255 octets.
    Malformed,
    /// An address of two octets.
    ShortAddress,
    /// A CAA record of which hickory-proto would not have the data.
    OddCaa,
    Truncated,
    /// At least so many octets of addresses, without TC.
    Long(usize),
}

impl Behaviour {
    pub fn apply(self, query: &[u8]) -> Option<Vec<u8>> {
        let mut reply = answer(query, 0)?;
        let question_end = question_end(query);
        match self {
            Behaviour::Rcode(rcode) => {
                reply.truncate(question_end);
                reply[3] = 0x80 | rcode;
                reply[6..8].copy_from_slice(&[0, 0]);
            }
            Behaviour::QrZero => reply[2] &= 0x7f,
            Behaviour::HeaderOnly(rcode) => {
                reply.truncate(12);
                reply[3] = 0x80 | rcode;
                reply[4..8].copy_from_slice(&[0; 4]);
            }
            Behaviour::OtherQuestion => reply[13] ^= 1,
            Behaviour::Malformed => reply[question_end] = 0xff,
            Behaviour::ShortAddress => {
                reply[question_end + 11] = 2;
                reply.truncate(question_end + 14);
            }
            Behaviour::OddCaa => {
                reply[question_end + 2..question_end + 4].copy_from_slice(&257_u16.to_be_bytes());
                reply[question_end + 11] = 2;
                reply.truncate(question_end + 12);
                reply.extend_from_slice(&[0, 0]);
            }
            Behaviour::Truncated => {
                reply.truncate(question_end);
                reply[2] |= 0x02;
                reply[6..8].copy_from_slice(&[0, 0]);
            }
            Behaviour::Long(octets) => {
                let mut count = 1_u16;
                while reply.len() < octets {
                    count += 1;
                    let [high, low] = count.to_be_bytes();
                    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 127, 1, high, low]);
                }
                reply[6..8].copy_from_slice(&count.to_be_bytes());
            }
        }
        Some(reply)
    }
}

fn question_end(query: &[u8]) -> usize {
    let mut at = 12;
    while query[at] != 0 {
        at += 1 + usize::from(query[at]);
    }
    at + 5
}

pub fn qtype(query: &[u8]) -> u8 {
    query[question_end(query) - 3]
}

pub fn has_edns(query: &[u8]) -> bool {
    query[11] == 1
}

/// NOERROR with the address 127.0.0.`sign`.
pub fn answer(query: &[u8], sign: u8) -> Option<Vec<u8>> {
    let mut reply = query[..question_end(query)].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 127, 0, 0, sign]);
    Some(reply)
}

pub async fn udp(log: Log, f: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    serve(socket, log, f)
}

pub fn serve(socket: UdpSocket, log: Log, f: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buf = [0; 2048];
        while let Ok((len, client)) = socket.recv_from(&mut buf).await {
            log.push(&buf[..len]);
            if let Some(reply) = f(&buf[..len]) {
                let _ = socket.send_to(&reply, client).await;
            }
        }
    });
    address
}

/// Answers each question after a while of the (paused) clock.
pub async fn udp_after(delay: Duration, sign: u8) -> SocketAddr {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buf = [0; 2048];
        while let Ok((len, client)) = socket.recv_from(&mut buf).await {
            let (socket, reply) = (Arc::clone(&socket), answer(&buf[..len], sign).unwrap());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = socket.send_to(&reply, client).await;
            });
        }
    });
    address
}

/// An upstream that answers and counts.
pub async fn counted() -> (Arc<AtomicUsize>, SocketAddr) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let address = udp(Log::default(), move |query| {
        counter.fetch_add(1, Ordering::Relaxed);
        answer(query, 1)
    })
    .await;
    (count, address)
}

/// A port that nobody listens on.
pub async fn closed_port() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}
