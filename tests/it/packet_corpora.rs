//! Packets that other projects' fuzzers kept: nothing dies of them, a response is never answered, and every answer is a
//! message with the id that was sent.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::Message;
use lachan::daemon::resolver::Begun;
use lachan::engine::query::{Origin, Transport};

use crate::lab::{Lab, Upstream, framed, hex, question, tcp_stream, udp_client, udp_until};
use crate::odd_packets::{CONFIG, upstream_says};
use crate::{fuzz_replay, shared};

const FILES: &[&str] = &[
    "bind-fuzz-message-checksig",
    "bind-fuzz-message-parse",
    "bind-fuzz-name-fromwire",
    "bind-fuzz-rdata-fromtext",
    "bind-fuzz-rdata-fromwire",
    "bind-fuzz-zone-load",
    "pdns-http",
    "pdns-proxy-protocol",
    "pdns-raw-dns",
    "unbound-test-packets",
];

/// The largest datagram that IPv4 carries.
const DATAGRAM_MAX: usize = 65_507;
const SENTINEL: u16 = 0xbee5;

/// Name and octets of every packet; empty where the suite is absent.
pub fn packets() -> Vec<(String, Vec<u8>)> {
    let mut packets = Vec::new();
    for file in FILES {
        let Some(text) = shared::suite(&format!("packets/{file}.hexl")) else { return Vec::new() };
        packets.extend(text.lines().filter(|line| !line.is_empty()).map(|line| {
            let (name, octets) = line.split_once(' ').unwrap_or((line, ""));
            (format!("{file}/{name}"), hex(octets))
        }));
    }
    assert!(packets.len() > 600, "{} packets", packets.len());
    packets
}

fn may_be_answered(packet: &[u8]) -> bool {
    packet.len() >= 12 && packet[2] & 0x80 == 0
}

/// What the packet is, and what it nearly is: a query, and a query with one question.
pub fn variants(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut variants = vec![packet.to_vec()];
    if packet.len() >= 12 {
        let mut query = packet.to_vec();
        query[2] &= 0x7f;
        variants.push(query.clone());
        query[2] &= 0x07;
        query[4..6].copy_from_slice(&[0, 1]);
        variants.push(query);
    }
    variants
}

fn check_answer(what: &str, packet: &[u8], answer: &[u8]) {
    assert!(may_be_answered(packet), "{what}: a runt or a response was answered");
    assert_eq!(packet[..2], answer[..2], "{what}: id");
    assert!(answer[2] & 0x80 != 0, "{what}: QR");
    assert_eq!(packet[2] & 0x78, answer[2] & 0x78, "{what}: opcode");
    if let Err(why) = Message::from_vec(answer) {
        panic!("{what}: the answer {answer:02x?} cannot be read: {why}");
    }
}

#[tokio::test]
async fn the_resolver_takes_every_packet_and_its_prefixes() {
    let packets = packets();
    let lab = Lab::start(&CONFIG.replace("ADDRESS", "127.0.0.1:9")).await;
    let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000));
    let (mut taken, mut answered) = (0, 0);
    for (name, packet) in &packets {
        for variant in variants(packet) {
            // Each whole, and cut at steps that meet every field of a record sooner or later.
            let cuts = (0..variant.len().min(700)).step_by(5).chain([variant.len()]);
            for cut in cuts {
                let message = &variant[..cut];
                for transport in [Transport::Udp, Transport::Tcp] {
                    taken += 1;
                    let origin = Origin::new(source, Some(source.ip()), transport);
                    match lab.resolver.begin(message, origin) {
                        Begun::Silence => assert!(!may_be_answered(message), "{name}: silence"),
                        Begun::Pending(pending) => pending.shed(),
                        Begun::Answer(answer) => {
                            answered += 1;
                            check_answer(name, message, &answer);
                        }
                    }
                }
            }
        }
    }
    assert!(packets.is_empty() || (taken > 50_000 && answered > 10_000), "{answered} of {taken} answered");
}

#[test]
fn every_packet_holds_as_fuzz_input() {
    for (name, packet) in packets() {
        for variant in variants(&packet) {
            println!("{name}");
            fuzz_replay::checks::packet(&variant);
            fuzz_replay::checks::answer(&variant);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listeners_take_every_packet_and_go_on_answering() {
    let packets = packets();
    let upstream = Upstream::start(upstream_says).await;
    let lab = Lab::start(&CONFIG.replace("ADDRESS", &upstream.address.to_string())).await;
    let sentinel = question(SENTINEL, "localhost", 1);
    for (name, packet) in packets.iter().filter(|(_, packet)| packet.len() <= DATAGRAM_MAX) {
        let socket = udp_client(lab.address).await;
        socket.send(packet).await.unwrap();
        socket.send(&sentinel).await.unwrap();
        let (others, last) = udp_until(&socket, SENTINEL).await;
        assert!(last.is_some(), "{name}: the resolver does not answer any more");
        others.iter().for_each(|answer| check_answer(name, packet, answer));

        // By TCP every answer comes before the end, those that waited for upstream too.
        let answers = tcp_stream(lab.address, &[framed(packet), framed(&sentinel)].concat()).await;
        let others = answers.iter().filter(|answer| !answer.starts_with(&SENTINEL.to_be_bytes()));
        let count = others.inspect(|answer| check_answer(name, packet, answer)).count();
        assert_eq!(count, usize::from(may_be_answered(packet)), "{name} by TCP: {answers:02x?}");
        assert_eq!(answers.len() - count, usize::from(packet.len() >= 12), "{name}: the question behind it");
    }
    // A question that goes all the way.
    let socket = udp_client(lab.address).await;
    socket.send(&question(7, "ok.example.test", 1)).await.unwrap();
    let (_, answer) = udp_until(&socket, 7).await;
    let answer = Message::from_vec(&answer.expect("an answer")).unwrap();
    assert_eq!(answer.answers.len(), 1);
}
