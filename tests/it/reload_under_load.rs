//! A hundred reloads under load: no question is lost, and each is answered by one generation, never by half of one.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;

use crate::harness::PATIENCE;
use crate::harness::client::Ask;
use crate::harness::resolver::{Files, InProcess, with_upstream};
use crate::harness::upstream::Upstream;

const RELOADS: usize = 100;
/// Questions one socket has in flight at once.
const BATCH: usize = 32;

/// The alias and its target are listed in turn: an odd generation lists the one, an even one the other. The answer to
/// the alias needs two look-ups, of its own name and of its target's; a look-up in each generation would find neither,
/// and let it pass.
const ZONE: &str = "alias.example. 0 IN CNAME target.example.\ntarget.example. 300 IN A 192.0.2.1\n\
                    ;! alias.example. delay=2\nclean.example. 0 IN A 192.0.2.2\n;! clean.example. delay=2\n";

fn config(upstream: SocketAddr, odd: bool) -> String {
    // Each generation blocks with a TTL of its own, so that one answer shows which generation wrote it.
    let (file, ttl) = if odd { ("odd.txt", "11 s") } else { ("even.txt", "22 s") };
    let lists = format!("[list.mine]\ncategory = \"malware\"\nfile = \"{file}\"\n");
    with_upstream(&format!("block_ttl = \"{ttl}\"\n{lists}"), upstream)
}

#[test]
fn a_hundred_reloads_lose_nothing_and_mix_nothing() {
    let upstream = Upstream::start(ZONE);
    let files = [("odd.txt", "alias.example\n"), ("even.txt", "target.example\n")];
    let resolver = Arc::new(InProcess::start(&Files { config: config(upstream.v4, true), files: &files }));
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);

    let workers: Vec<_> = [(false, false), (false, true), (true, false), (true, true)]
        .into_iter()
        .map(|(tcp, v6)| {
            let server = resolver.at(v6);
            let (done, answered, seen) = (Arc::clone(&done), Arc::clone(&answered), Arc::clone(&seen));
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let names = ["alias.example", "clean.example", "alias.example", "localhost"];
                    let queries: Vec<(&str, Vec<u8>)> = (0..BATCH)
                        .map(|i| names[i % names.len()])
                        .map(|name| (name, Ask::new(name, RecordType::A).encode()))
                        .collect();
                    let replies = if tcp { by_tcp(server, &queries) } else { by_udp(server, &queries) };
                    assert_eq!(replies.len(), BATCH, "tcp={tcp} v6={v6}: questions were lost");
                    for (name, query) in &queries {
                        let reply = replies.iter().find(|reply| reply[..2] == query[..2]).expect("each has its answer");
                        judge(name, reply, &seen);
                    }
                    answered.fetch_add(BATCH, Ordering::Relaxed);
                }
            })
        })
        .collect();

    for i in 0..RELOADS {
        // Each reload has something in flight: it waits for answers since the last one.
        let before = answered.load(Ordering::Relaxed);
        resolver.write("lachan.toml", &config(upstream.v4, i % 2 == 1));
        let status = resolver.reload();
        assert_eq!(status.result, "ok", "{:?}", status.errors);
        crate::harness::wait_for("answers", || (answered.load(Ordering::Relaxed) > before).then_some(()));
    }
    done.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("no worker saw anything wrong");
    }
    assert_eq!(resolver.resolver.cell.load().snapshot.generation, 1 + RELOADS as u64);
    assert!(answered.load(Ordering::Relaxed) >= 2_000, "{answered:?}");
    assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) > 0), "both generations answered: {seen:?}");
}

#[test]
fn an_open_connection_is_answered_by_the_generation_in_force() {
    let upstream = Upstream::start(ZONE);
    let files = [("odd.txt", "one.example\n"), ("even.txt", "two.example\n")];
    let resolver = InProcess::start(&Files { config: config(upstream.v4, true), files: &files });
    let ask = |name: &str| Ask::new(name, RecordType::A).encode();
    let mut connection = Ask::new("localhost", RecordType::A).connect(resolver.v4);
    let mut blocked = |name: &str| {
        let reply = connection.exchange(&ask(name));
        let message = Message::from_vec(&reply).unwrap();
        crate::harness::client::Told { message, bytes: reply }.ede().first().map(|e| e.0) == Some(15)
    };
    assert!(blocked("one.example") && !blocked("two.example"), "the first generation");
    resolver.write("lachan.toml", &config(upstream.v4, false));
    assert_eq!(resolver.reload().result, "ok");
    assert!(!blocked("one.example") && blocked("two.example"), "the second, on the same connection");
}

fn judge(name: &str, reply: &[u8], seen: &[AtomicUsize; 2]) {
    let message = Message::from_vec(reply).unwrap();
    let told = crate::harness::client::Told { message, bytes: reply.to_vec() };
    match name {
        "alias.example" => {
            assert_eq!((told.rcode(), told.answers()), (3, vec![]), "half a generation let the alias pass");
            let (owner, ttl, _) = told.soa().expect("a block has an SOA");
            assert_eq!(owner, "alias.example");
            match ttl {
                11 => seen[0].fetch_add(1, Ordering::Relaxed),
                22 => seen[1].fetch_add(1, Ordering::Relaxed),
                _ => panic!("no generation blocks with a TTL of {ttl}"),
            };
        }
        "clean.example" => assert_eq!(told.answers(), ["clean.example A 192.0.2.2"]),
        _ => assert_eq!(told.answers(), ["localhost A 127.0.0.1"]),
    }
}

fn by_udp(server: SocketAddr, queries: &[(&str, Vec<u8>)]) -> HashSet<Vec<u8>> {
    let socket = UdpSocket::bind(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for (_, query) in queries {
        socket.send_to(query, server).unwrap();
    }
    let mut buffer = [0; 4096];
    let mut replies = HashSet::new();
    while replies.len() < queries.len() {
        let Ok((len, _)) = socket.recv_from(&mut buffer) else { break };
        replies.insert(buffer[..len].to_vec());
    }
    replies
}

fn by_tcp(server: SocketAddr, queries: &[(&str, Vec<u8>)]) -> HashSet<Vec<u8>> {
    let mut connection = Ask::new("localhost", RecordType::A).connect(server);
    queries.iter().for_each(|(_, query)| connection.send(query));
    queries.iter().map_while(|_| connection.receive()).collect()
}
