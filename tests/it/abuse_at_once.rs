//! A flood of random names, a flood of ANY questions and an upstream that keeps everybody waiting, all at once: whoever asks for
//! what is cached is answered all the same, and what waits is bounded.
//!
//! How fast those answers come is for `benches/lane_load`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use lachan::engine::limits::{SLOW_IN_FLIGHT_MAX, UPSTREAM_UDP_IN_FLIGHT_MAX};

use crate::harness::client::Ask;
use crate::harness::resolver::{Files, InProcess};
use crate::harness::wait_for;
use crate::lab::question;

/// More random names than one lane and the slow lane together keep waiting.
const RANDOM_NAMES: usize = 20_000;
/// Sent between one hit and the next: fewer than a socket's buffer holds, so that the kernel drops none.
const BURST: usize = 32;
const HITS: [&str; 3] = ["www.hit.example", "mail.hit.example", "hit.example"];
const CACHE_OCTETS: usize = 1 << 20;
const ANY: u16 = 255;

/// Answers names below `hit.example` at once, and all others when it is let go.
struct SlowUpstream {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
    is_slow: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SlowUpstream {
    fn start() -> SlowUpstream {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Often enough to see that it is let go.
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (is_slow, stop) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (log, slow, stopped) = (Arc::clone(&asked), Arc::clone(&is_slow), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut waiting = Vec::new();
            let mut buffer = [0; 4096];
            // A resolver's socket may be closed by now: it no longer waits.
            let send = |query: &[u8], client: SocketAddr| drop(socket.send_to(&answer(query), client));
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((len, client)) = socket.recv_from(&mut buffer) {
                    let query = buffer[..len].to_vec();
                    log.lock().unwrap().push(query.clone());
                    match is_hit(&query) {
                        true => send(&query, client),
                        false => waiting.push((query, client)),
                    }
                }
                if !slow.load(Ordering::Relaxed) {
                    waiting.drain(..).for_each(|(query, client)| send(&query, client));
                }
            }
        });
        SlowUpstream { address, asked, is_slow, stop, thread: Some(thread) }
    }

    fn let_go(&self) {
        self.is_slow.store(false, Ordering::Relaxed);
    }
}

impl Drop for SlowUpstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().expect("it is dropped once").join();
    }
}

fn is_hit(query: &[u8]) -> bool {
    query.windows(12).any(|part| part == b"\x03hit\x07example")
}

/// NOERROR and one address for five minutes.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut reply = query[..question_end(query)].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02\x01");
    reply
}

fn question_end(query: &[u8]) -> usize {
    12 + query[12..].iter().position(|octet| *octet == 0).expect("a name ends") + 5
}

fn qtype(query: &[u8]) -> u16 {
    let end = question_end(query);
    u16::from_be_bytes([query[end - 4], query[end - 3]])
}

#[test]
fn floods_and_a_slow_upstream_leave_hits_alone() {
    let upstream = SlowUpstream::start();
    let config = format!(
        "[listen]\ndns = [\"127.0.0.1:0\", \"[::1]:0\"]\nudp_workers = 1\nadmin = \"off\"\n\
         [[upstream]]\nservers = [\"{}\"]\n[cache]\nsize = \"{CACHE_OCTETS} B\"\n",
        upstream.address
    );
    let resolver = InProcess::start(&Files { config, files: &[] });
    let is_answered = |name: &str| {
        let told = Ask::new(name, RecordType::A).send(resolver.v4);
        assert_eq!(told.answers(), [format!("{name} A 192.0.2.1")]);
    };
    HITS.into_iter().for_each(is_answered);
    let hits_forwarded = |asked: &[Vec<u8>]| asked.iter().filter(|query| is_hit(query)).count();
    let forwarded_before = hits_forwarded(&upstream.asked.lock().unwrap());

    // Nobody reads what comes back here, as nobody does at a made-up source.
    let floods = [UdpSocket::bind("127.0.0.2:0").unwrap(), UdpSocket::bind("127.0.0.3:0").unwrap()];
    let in_flight_max = UPSTREAM_UDP_IN_FLIGHT_MAX + SLOW_IN_FLIGHT_MAX;
    let mut highest = 0;
    for at in (0..RANDOM_NAMES).step_by(BURST) {
        for i in at..at + BURST {
            let name = format!("{i:x}.{:x}.victim.example", i * 7919);
            floods[0].send_to(&question(i as u16, &name, 1), resolver.v4).unwrap();
            floods[1].send_to(&question(i as u16, HITS[i % HITS.len()], ANY), resolver.v4).unwrap();
        }
        is_answered(HITS[at / BURST % HITS.len()]);
        let in_flight = resolver.resolver.in_flight();
        assert!(in_flight <= in_flight_max, "{in_flight} in flight, at most {in_flight_max}");
        highest = highest.max(in_flight);
    }
    assert!(highest > BURST, "the upstream was slow: {highest} in flight at the highest");

    upstream.let_go();
    wait_for("what is in flight", || (resolver.resolver.in_flight() == 0).then_some(()));
    HITS.into_iter().for_each(is_answered);
    let octets = resolver.resolver.cache.figures().octets;
    assert!(octets <= CACHE_OCTETS, "{octets} octets in a cache of {CACHE_OCTETS}");
    // I5: each query ends once, those that were shed too.
    let ended = || resolver.metric_sum("lachan_responses_total") == resolver.metric_sum("lachan_queries_total");
    wait_for("every query's end", || ended().then_some(()));
    let asked = upstream.asked.lock().unwrap();
    assert!(asked.iter().all(|query| qtype(query) != ANY), "ANY is answered here, never forwarded");
    assert_eq!(hits_forwarded(&asked), forwarded_before, "what is cached is not asked for again");
}
