//! `[rate_limit]`, in both lanes: floods get no more than they may, and nobody else feels it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lachan::daemon::lane::{Fast, Lane};
use lachan::daemon::reload::Loader;
use lachan::daemon::resolver::{Begun, Resolver};
use lachan::daemon::telemetry::Metrics;
use lachan::engine::answer::{AnswerBuilder, Section};
use lachan::engine::cache::Key;
use lachan::engine::name::Name;
use lachan::engine::query::{CLASS_IN, Origin, Question, Rcode, RecordType, Transport};

use crate::allocations;

const CONFIG: &str = r#"
[listen]
dns = ["127.0.0.1:0"]
admin = "off"
[access]
allow = ["127.0.0.0/8", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]
[[upstream]]
servers = ["udp://127.0.0.1:9"]
[rate_limit]
mode = "MODE"
misses_per_second = 2
amplified_per_second = "1 KiB"
[client.school]
networks = ["203.0.113.7/32"]
profile = "default"
lines = 10
"#;

struct Trial {
    resolver: Arc<Resolver>,
    lane: Lane,
    out: Vec<u8>,
}

/// What came back, in octets, and whether TC was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Got {
    octets: usize,
    is_cut: bool,
}

impl Trial {
    fn new(mode: &str) -> Trial {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lachan.toml");
        std::fs::write(&file, CONFIG.replace("MODE", mode)).unwrap();
        let loaded = Loader::new(Some(file)).load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
        let resolver = Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new())));
        let trial = Trial { lane: Lane::new(Arc::clone(&resolver)), resolver, out: Vec::with_capacity(4096) };
        trial.keep("large.example", RecordType::TXT, &[&[250][..], &[b'x'; 250]].concat(), 4);
        trial.keep("small.example", RecordType::A, &[192, 0, 2, 1], 1);
        trial
    }

    fn keep(&self, qname: &str, qtype: RecordType, rdata: &[u8], count: u8) {
        let question = Question { qname: name(qname), qtype, qclass: CLASS_IN };
        let mut made = AnswerBuilder::new(Rcode::NOERROR);
        for i in 0..count {
            let mut rdata = rdata.to_vec();
            *rdata.last_mut().unwrap() = i;
            made.push(Section::Answer, question.qname.as_wire(), qtype, 3600, &rdata);
        }
        let routes = &self.resolver.cell.load().snapshot.routes;
        let key = Key::new(&question, false, false, routes.key(routes.group_for(&question.qname).unwrap()));
        self.resolver.cache.put(key, Arc::new(made.finish()), true, Duration::ZERO);
    }

    /// What the fast lane answers at a moment; `None`: it would ask upstream.
    fn ask_at(&mut self, message: &[u8], source: IpAddr, now: Instant) -> Option<Got> {
        let mut batch = self.lane.begin(now);
        let fast = batch.answer(message, origin(source, Transport::Udp), &mut self.out);
        if let Some(pending) = batch.take_miss() {
            pending.shed();
        }
        batch.end(now);
        match fast {
            Fast::Answer => Some(got(&self.out)),
            Fast::Miss => None,
            Fast::Slow | Fast::Silence => panic!("{fast:?}"),
        }
    }

    /// What the slow lane answers.
    fn begin(&self, message: &[u8], source: &str, transport: Transport) -> Option<Got> {
        match self.resolver.begin(message, origin(source.parse().unwrap(), transport)) {
            Begun::Answer(octets) => Some(got(&octets)),
            Begun::Pending(pending) => {
                pending.shed();
                None
            }
            Begun::Silence => panic!("silence"),
        }
    }

    fn outcome(&self, outcome: &str) -> u64 {
        self.resolver.metrics.outcomes().into_iter().find(|(of, _)| *of == outcome).map_or(0, |(_, count)| count)
    }
}

fn got(octets: &[u8]) -> Got {
    Got { octets: octets.len(), is_cut: octets[2] & 2 != 0 }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn origin(source: IpAddr, transport: Transport) -> Origin {
    Origin::new((source, 4000).into(), None, transport)
}

/// With RD and an OPT of 1232 octets.
fn query(qname: &str, qtype: RecordType) -> Vec<u8> {
    let mut message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01".to_vec();
    message.extend_from_slice(name(qname).as_wire());
    message.extend_from_slice(&qtype.0.to_be_bytes());
    message.extend_from_slice(b"\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
    message
}

fn large() -> Vec<u8> {
    query("large.example", RecordType::TXT)
}

#[test]
fn forged_questions_get_no_more_than_one_and_a_half_times_their_octets() {
    let mut trial = Trial::new("enforce");
    let (question, now) = (large(), Instant::now());
    let source = |i: u32| IpAddr::from([198, 51, 100, (i % 256) as u8]);
    // The budget of a /24, 32 lines of 10 KiB, is soon gone.
    let given = (0..2_000).filter(|i| !trial.ask_at(&question, source(*i), now).unwrap().is_cut).count();
    assert!((300..400).contains(&given), "{given} answers");
    let (mut received, mut sent) = (0, 0);
    for ms in 0..9_999 {
        let got = trial.ask_at(&question, source(ms), now + Duration::from_millis(ms.into())).unwrap();
        received += question.len();
        sent += got.octets;
    }
    assert!(2 * sent <= 3 * received, "{sent} octets for {received}");
    let neighbour: IpAddr = "203.0.113.8".parse().unwrap();
    assert!(!trial.ask_at(&question, neighbour, now).unwrap().is_cut);
    let small = query("small.example", RecordType::A);
    assert!(!trial.ask_at(&small, source(1), now).unwrap().is_cut, "small hits never count");
    assert!(!trial.begin(&question, "198.51.100.1", Transport::Tcp).unwrap().is_cut, "nobody forges a connection");
    assert!(trial.begin(&question, "198.51.100.1", Transport::Udp).unwrap().is_cut, "the slow lane says the same");
    let later = now + Duration::from_secs(25);
    assert!(!trial.ask_at(&question, source(1), later).unwrap().is_cut, "and it passes");
}

#[test]
fn who_is_cut_short_costs_no_memory_and_is_counted_once() {
    let mut trial = Trial::new("enforce");
    let (question, now) = (large(), Instant::now());
    let source = "2001:db8::1".parse().unwrap();
    let hits = (0..).take_while(|_| !trial.ask_at(&question, source, now).unwrap().is_cut).count() as u64;
    let mut last = None;
    assert_eq!(allocations::in_work(|| last = trial.ask_at(&question, source, now)), 0);
    assert_eq!(last, Some(Got { octets: question.len(), is_cut: true }));
    assert_eq!((trial.outcome("hit"), trial.outcome("limited")), (hits, 2));
}

#[test]
fn misses_are_counted_by_line_and_upstream_is_not_asked_for_more() {
    for (source, allowed) in [("198.51.100.9", 20), ("2001:db8:0:1::9", 20), ("203.0.113.7", 200), ("127.0.0.1", 500)] {
        let mut trial = Trial::new("enforce");
        let now = Instant::now();
        let of = source.parse().unwrap();
        let asked = (0..500).filter(|i| {
            let question = query(&format!("n{i}.example"), RecordType::A);
            trial.ask_at(&question, of, now).is_none()
        });
        assert_eq!(asked.count(), allowed, "{source}");
        let question = query("another.example", RecordType::A);
        let is_limited = trial.begin(&question, source, Transport::Udp).is_some_and(|got| got.is_cut);
        assert_eq!(is_limited, allowed < 500, "{source}: the slow lane says the same");
        assert_eq!(trial.begin(&question, source, Transport::Tcp), None, "{source} over TCP");
    }
}

/// [`large`] with a COOKIE option.
fn large_with(cookie: &[u8]) -> Vec<u8> {
    let mut message = large();
    let len = message.len();
    message[len - 2..].copy_from_slice(&(4 + cookie.len() as u16).to_be_bytes());
    message.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
    message.extend_from_slice(cookie);
    message
}

#[test]
fn who_has_our_cookie_is_answered_and_who_has_none_gets_one() {
    let mut trial = Trial::new("enforce");
    let now = Instant::now();
    let source = "198.51.100.9".parse().unwrap();
    while !trial.ask_at(&large(), source, now).unwrap().is_cut {}
    let asked = large_with(b"12345678");
    let got = trial.ask_at(&asked, source, now).unwrap();
    assert!(!got.is_cut && 2 * got.octets <= 3 * asked.len(), "{got:?}");
    // BADCOOKIE is 23: one in OPT's upper bits, seven below.
    assert_eq!(trial.out[3] & 0xf, 7);
    let cookie = trial.out[trial.out.len() - 24..].to_vec();
    assert_eq!(cookie[..8], *b"12345678");
    let got = trial.ask_at(&large_with(&cookie), source, now).unwrap();
    assert!(!got.is_cut && got.octets > 1000, "{got:?}");
    let mut forged = cookie;
    forged[20] ^= 1;
    let forged = large_with(&forged);
    assert!(trial.ask_at(&forged, source, now).unwrap().octets <= forged.len());
    assert!(trial.begin(&forged, "198.51.100.9", Transport::Udp).unwrap().octets <= forged.len());
}

#[test]
fn a_dry_run_counts_and_limits_nobody() {
    let mut trial = Trial::new("dry-run");
    let now = Instant::now();
    let source = "198.51.100.9".parse().unwrap();
    for i in 0..100 {
        assert!(!trial.ask_at(&large(), source, now).unwrap().is_cut);
        assert_eq!(trial.ask_at(&query(&format!("n{i}.example"), RecordType::A), source, now), None);
    }
    let top = trial.resolver.limiter().unwrap().top(10);
    assert_eq!((top[0].prefix.as_str(), top[0].misses), ("198.51.100.9/32", 80));
    assert!(top[0].octets > 50_000, "{top:?}");
    assert_eq!((trial.outcome("limited"), trial.outcome("hit")), (0, 100));
    let metrics = trial.resolver.metrics.encode();
    assert!(metrics.contains("lachan_rate_limited_total{cost=\"miss\",mode=\"dry-run\"} 80"), "{metrics}");
}
