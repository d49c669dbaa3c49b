//! The fast lane against the slow one: what it answers is what the slow lane answers, and it needs no memory for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use domain::base::{Message as OtherMessage, UnknownRecordData};
use hickory_proto::op::Message;
use lachan::daemon::lane::Fast;
use lachan::engine::answer::{Answer, AnswerBuilder, Section};
use lachan::engine::name::Name;
use lachan::engine::query::{CLASS_IN, Origin, Question, Rcode, RecordType};

#[path = "../../fuzz/lane.rs"]
mod shared_lane;

use shared_lane::{Lanes, NAMES, SOURCES, Took, keep, name, origin, resolver};

use crate::harness::wait_for;
use crate::{allocations, fuzz_replay, packet_corpora, shared};

/// A small generator: every run asks the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// A query with this OPT, if any: payload, DO, and options.
fn query(qname: &Name, qtype: u16, flags: u16, opt: Option<(u16, bool, &[u8])>) -> Vec<u8> {
    let mut message = [&[0x12, 0x34][..], &flags.to_be_bytes(), &[0, 1, 0, 0, 0, 0, 0, opt.is_some().into()]].concat();
    message.extend_from_slice(qname.as_wire());
    message.extend_from_slice(&[qtype.to_be_bytes(), [0, 1]].concat());
    if let Some((payload, dnssec_ok, options)) = opt {
        message.extend_from_slice(&[0, 0, 41]);
        message.extend_from_slice(&payload.to_be_bytes());
        message.extend_from_slice(&[0, 0, u8::from(dnssec_ok) << 7, 0]);
        message.extend_from_slice(&(options.len() as u16).to_be_bytes());
        message.extend_from_slice(options);
    }
    message
}

/// RD.
const PLAIN: u16 = 0x0100;

fn made_up(random: &mut Random) -> Vec<u8> {
    let mut qname = name(random.one(&NAMES));
    if random.chance(6) {
        qname = qname.child(random.one(&["www", "track9", "x"])).unwrap();
    }
    let qtype = random.one(&[1, 1, 1, 28, 28, 65, 64, 16, 15, 12, 255, 43, 6, 65_280]);
    let mut flags = PLAIN;
    for flag in [0x0100, 0x0010, 0x0020, 0x0400, 0x0080, 0x0800] {
        if random.chance(12) {
            flags ^= flag;
        }
    }
    // NSID, cookie, client subnet, padding, keepalive, reasons for programs, who a router's client is, and one that ends too
    // early.
    let options: &[&[u8]] = &[
        b"",
        b"",
        b"",
        b"\0\x03\0\0",
        b"\0\x0a\0\x0812345678",
        b"\0\x0a\0\x1812345678\x01\0\0\0\x6a\0\0\x01abcdefgh",
        b"\0\x0a\0\x0912345678?",
        b"\0\x03\0\0\0\x0a\0\x0812345678\0\x0a\0\x0887654321",
        b"\0\x08\0\x04\0\x01\0\0",
        b"\0\x0c\0\x03\0\0\0",
        b"\0\x0b\0\0",
        b"\0\x1a\0\0",
        b"\0\x1a\0\0\0\x03\0\0",
        b"\0\x1a\0\x01?",
        b"\xfd\xe9\0\x06\xa0\xb1\xc2\xd3\xe4\xf5",
        b"\xfe\x32\0\x06lop-6a",
        b"\xfe\x32\0\x06lop-9z\0\x1a\0\0",
        b"\0\x03\0\x09",
    ];
    let options = random.one(options);
    let opt = (!random.chance(4)).then(|| (random.one(&[0, 512, 600, 1232, 4096]), random.chance(4), options));
    let mut message = query(&qname, qtype, flags, opt);
    for octet in &mut message[12..] {
        if octet.is_ascii_lowercase() && random.chance(8) {
            *octet = octet.to_ascii_uppercase();
        }
    }
    if random.chance(12) {
        let at = random.below(message.len());
        message[at] = random.below(256) as u8;
    }
    if random.chance(40) {
        message.truncate(random.below(message.len()));
    }
    if random.chance(40) {
        message.extend_from_slice(&[0, 0, 1]);
    }
    message
}

/// Two codecs of others read an answer, and write of it what they read.
fn others_read(answer: &[u8]) {
    let hickory = Message::from_vec(answer).unwrap_or_else(|why| panic!("{why}: {answer:02x?}"));
    let domain = OtherMessage::from_octets(answer).expect("it has a header");
    let (_, answers, authority, additional) = domain.sections().expect("its sections can be told apart");
    let mut counts = [0; 3];
    for (count, section) in counts.iter_mut().zip([answers, authority, additional]) {
        for record in section {
            let record = record.unwrap_or_else(|why| panic!("{why}: {answer:02x?}"));
            record.into_record::<UnknownRecordData<_>>().unwrap_or_else(|why| panic!("{why}: {answer:02x?}"));
            *count += 1;
        }
    }
    let opt = usize::from(hickory.edns.is_some());
    let theirs = [hickory.answers.len(), hickory.authorities.len(), hickory.additionals.len() + opt];
    assert_eq!(counts, theirs, "{answer:02x?}");
    assert_eq!(domain.header().id(), hickory.metadata.id);
}

fn compare(lanes: &mut [Lanes; 2], message: &[u8], origin: Origin) -> [Took; 2] {
    lanes.each_mut().map(|lanes| {
        let took = lanes.compare(message, origin);
        if let Took::Answer(answer) = &took {
            others_read(answer);
        }
        took
    })
}

fn both() -> [Lanes; 2] {
    [false, true].map(|zones| Lanes::new(resolver(zones)))
}

#[test]
fn what_is_made_up_is_answered_alike() {
    let mut lanes = both();
    let mut random = Random(7);
    let (mut answered, mut silent, mut slow) = (0, 0, 0);
    for _ in 0..40_000 {
        let source = random.one(&SOURCES);
        for took in compare(&mut lanes, &made_up(&mut random), origin(source)) {
            match took {
                Took::Answer(_) => answered += 1,
                Took::Silence => silent += 1,
                Took::Slow => slow += 1,
            }
        }
    }
    assert!(answered > 15_000, "{answered} answered, {silent} silent, {slow} slow");
    assert!(silent > 1_000, "{answered} answered, {silent} silent, {slow} slow");
}

#[test]
fn packets_of_others_are_answered_alike() {
    let mut lanes = both();
    let mut packets: Vec<Vec<u8>> = packet_corpora::packets().into_iter().map(|(_, packet)| packet).collect();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/packet");
    packets.extend(std::fs::read_dir(corpus).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()));
    let odd = shared::suite("odd_packets.jsonl").unwrap_or_default();
    packets.extend(odd.lines().map(|line| {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        crate::lab::hex(case["hex"].as_str().unwrap())
    }));
    for packet in &packets {
        for variant in packet_corpora::variants(packet) {
            for source in SOURCES {
                compare(&mut lanes, &variant, origin(source));
            }
        }
    }
}

#[test]
fn the_fuzz_corpus_of_the_lanes_holds() {
    fuzz_replay::replay("lane", shared_lane::lane);
}

#[test]
fn an_answer_of_the_fast_lane_needs_no_memory() {
    let resolver = resolver(false);
    let mut lanes = Lanes::new(resolver);
    let now = Instant::now();
    let opt = Some((1232, false, &b""[..]));
    make_stale(&mut lanes, "stale.example.org");
    for (what, qname, qtype, source, expected) in [
        ("a hit", "clean.example.org", 1, "127.0.0.1", Fast::Answer),
        ("a hit by an alias", "alias.example.org", 1, "10.1.0.1", Fast::Answer),
        ("no such name, from the cache", "gone.example.org", 1, "10.1.0.1", Fast::Answer),
        ("a stale hit", "stale.example.org", 1, "127.0.0.1", Fast::Answer),
        ("a block: nxdomain", "bad.example", 1, "127.0.0.1", Fast::Answer),
        ("a block: nodata", "www.games.example", 1, "10.4.0.1", Fast::Answer),
        ("a block: null-ip", "www.games.example", 28, "10.3.0.1", Fast::Answer),
        ("a block: page", "www.games.example", 1, "10.1.0.1", Fast::Answer),
        ("a block: drop", "www.games.example", 1, "10.5.0.1", Fast::Silence),
        ("a hit for who has hours", "clean.example.org", 1, "10.6.0.1", Fast::Answer),
        ("a block by a window", "www.games.example", 1, "10.12.0.1", Fast::Answer),
        ("a block where only what is allowed passes", "bank.example", 1, "10.7.0.1", Fast::Answer),
        ("a way to the portal", "captive.apple.com", 1, "10.8.0.1", Fast::Answer),
        ("a hit for who is observed", "clean.example.org", 1, "10.9.0.1", Fast::Answer),
        ("a canary", "use-application-dns.net", 1, "127.0.0.1", Fast::Answer),
        ("a rewrite", "www.google.com", 1, "127.0.0.1", Fast::Answer),
        ("a rewrite by an alias", "www.youtube.com", 1, "10.1.0.1", Fast::Answer),
        ("a rewrite without data", "www.google.com", 65, "127.0.0.1", Fast::Answer),
        ("all types at once", "clean.example.org", 255, "127.0.0.1", Fast::Answer),
        ("a local name", "localhost", 1, "127.0.0.1", Fast::Answer),
        ("a local address", "1.0.0.127.in-addr.arpa", 12, "127.0.0.1", Fast::Answer),
        ("a stranger", "clean.example.org", 1, "203.0.113.9", Fast::Silence),
        ("who asks", "whoami.lachan.example", 16, "10.1.0.1", Fast::Answer),
        ("a router's client", "www.games.example", 1, "10.6.0.1", Fast::Answer),
    ] {
        let (message, origin) = (query(&name(qname), qtype, PLAIN, opt), origin(source));
        let with_cookie = query(&name(qname), qtype, PLAIN, Some((1232, false, b"\0\x0a\0\x0812345678")));
        let with = |options: &[u8]| query(&name(qname), qtype, PLAIN, Some((1232, false, options)));
        let reasons = with(b"\0\x1a\0\0");
        let client_id = with(b"\xfe\x32\0\x06lop-6a");
        let plain = query(&name(qname), qtype, PLAIN, None);
        for message in [message, plain, with_cookie, reasons, client_id] {
            // The first time makes room, and notes what policy found.
            let first = lanes.fast_at(&message, origin, now);
            assert_eq!(first, expected, "{what}");
            let mut again = first;
            let count = allocations::in_work(|| again = lanes.fast_at(&message, origin, now));
            assert_eq!((again, count), (first, 0), "{what}");
        }
    }
    let mut lanes = Lanes::new(shared_lane::resolver(true));
    let message = query(&name("clean.example.org"), 1, PLAIN, opt);
    let stranger = origin("203.0.113.9");
    wait_for("a stranger's turn", || (lanes.fast_at(&message, stranger, now) == Fast::Answer).then_some(()));
    let refusing = || {
        let mut fast = Fast::Slow;
        let count = allocations::in_work(|| fast = lanes.fast_at(&message, stranger, now));
        assert_eq!(count, 0, "a stranger who is told");
        (fast == Fast::Answer).then_some(())
    };
    wait_for("a stranger's turn", refusing);
}

/// Makes a name's answer one that is past its TTL, and upstream have failed a moment ago.
fn make_stale(lanes: &mut Lanes, qname: &str) {
    let question = Question { qname: name(qname), qtype: RecordType::A, qclass: CLASS_IN };
    let mut good = AnswerBuilder::new(Rcode::NOERROR);
    good.push(Section::Answer, question.qname.as_wire(), RecordType::A, 1, &[192, 0, 2, 50]);
    keep(&lanes.resolver, &question, &good.finish());
    let message = query(&question.qname, 1, PLAIN, None);
    let resolver = Arc::clone(&lanes.resolver);
    wait_for("the end of a TTL of one second", || {
        (lanes.fast(&message, origin("127.0.0.1")) == Took::Slow).then_some(())
    });
    keep(&resolver, &question, &AnswerBuilder::new(Rcode::SERVFAIL).finish());
    let Took::Answer(answer) = lanes.compare(&message, origin("127.0.0.1")) else { panic!("it serves, stale") };
    assert_eq!(Answer::from_wire(&answer, &question).unwrap().section(Section::Answer).count(), 1);
}
