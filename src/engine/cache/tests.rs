//! Ageing, what is kept and how long, and entries in words.

use super::*;
use crate::engine::answer::{AnswerBuilder, Section};
use crate::engine::query::{CLASS_IN, Rcode};

fn key(name: &str) -> Key {
    let question = Question { qname: name.parse().unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
    Key::new(&question, false, false, 1)
}

fn answer(ttl: u32) -> Answer {
    let mut b = AnswerBuilder::new(Rcode::NOERROR);
    b.push(Section::Answer, b"\x01a\0", RecordType::A, ttl, &[192, 0, 2, 1]);
    b.finish()
}

fn failure() -> Answer {
    AnswerBuilder::new(Rcode::SERVFAIL).finish()
}

/// The DNAME that made the name too long. RFC 6672 §2.2.
fn too_long(ttl: u32) -> Answer {
    let mut b = AnswerBuilder::new(Rcode::YXDOMAIN);
    b.push(Section::Answer, b"\x01a\0", RecordType(39), ttl, b"\x01b\0");
    b.finish()
}

const STALE: Duration = Duration::from_secs(100);

fn words(answer: &Answer, ttl_secs: u32) -> Option<Vec<u64>> {
    let mut entry = Entry::default();
    let keeping = Keeping { hash: 7, trust_ad: true, stored_ms: 0, ttl_secs };
    entry.compose(key("a").borrow(), answer, keeping)?;
    Some(entry.words().collect())
}

/// The entry of an answer that was stored at second zero.
fn stored(answer: &Answer, ttl_secs: u32) -> Entry {
    let words = words(answer, ttl_secs).unwrap();
    let mut entry = Entry::default();
    let head = Head::read(|at| words[at]);
    entry.fill(head, words[Head::WORDS..].iter().copied());
    entry
}

#[test]
fn an_answer_ages_goes_stale_and_dies() {
    let head = stored(&answer(60), 60).head;
    for (after, age, freshness) in [
        (0, 0, Some(Freshness::Fresh)),
        (30, 30, Some(Freshness::Fresh)),
        (59, 59, Some(Freshness::Prefetch)),
        (60, 60, Some(Freshness::Stale)),
        (159, 159, Some(Freshness::Stale)),
        (160, 160, None),
    ] {
        let now_ms = after * 1000;
        assert_eq!((head.age_secs(now_ms), head.freshness(now_ms, STALE, true)), (age, freshness), "after {after} s");
    }
    assert_eq!(head.freshness(59_000, STALE, false), Some(Freshness::Fresh), "nobody asked before");
    assert_eq!(stored(&answer(9), 9).head.freshness(8_900, STALE, true), Some(Freshness::Fresh), "not worth it");
    let mut held = head;
    held.held_until_ms = 57_000;
    assert_eq!(held.freshness(56_999, STALE, true), Some(Freshness::Fresh), "upstream failed to renew it a moment ago");
    assert_eq!(held.freshness(57_000, STALE, true), Some(Freshness::Prefetch));
    held.held_until_ms = 70_000;
    assert_eq!(held.freshness(69_999, STALE, true), Some(Freshness::StaleHeld));
    assert_eq!(held.freshness(70_000, STALE, true), Some(Freshness::Stale));
    assert_eq!(stored(&failure(), 1).head.freshness(1_000, STALE, true), None, "a failure is never stale");
}

#[test]
fn what_is_kept_and_how_long() {
    let good = stored(&answer(10), 10).head;
    let bad = |ttl| stored(&failure(), ttl).head;
    for (what, new, old, now_ms, put) in [
        ("an answer", answer(60), None, 0, Put::Keep(60)),
        ("a TTL of zero", answer(0), Some(good), 0, Put::Forget),
        ("a failure", failure(), None, 0, Put::Keep(1)),
        ("a failure while the old one serves stale", failure(), Some(good), 20_000, Put::HoldOld { until_ms: 30_000 }),
        ("a failure when the old one is dead", failure(), Some(good), 110_000, Put::Keep(1)),
        ("a second failure soon after", failure(), Some(bad(1)), 2_000, Put::Keep(2)),
        ("a second failure before the first is over", failure(), Some(bad(4)), 3_999, Put::Keep(4)),
        ("a second failure later", failure(), Some(bad(1)), 61_000, Put::Keep(1)),
        ("the longest", failure(), Some(bad(20)), 21_000, Put::Keep(30)),
        ("YXDOMAIN, which is an answer", too_long(60), Some(bad(4)), 2_000, Put::Keep(60)),
        ("an answer after a failure", answer(60), Some(bad(30)), 1_000, Put::Keep(60)),
    ] {
        assert_eq!(decide(&new, RecordType::A, old.as_ref(), now_ms, STALE), put, "{what}");
    }
}

#[test]
fn an_entry_is_the_answer_of_its_own_key_alone() {
    let entry = stored(&answer(60), 60);
    assert!(entry.is_of(key("a").borrow()));
    assert_eq!(entry.qname(), b"\x01a\0");
    let about = key("a").about;
    for (what, name, about) in [
        ("another name", "b", about),
        ("a longer name", "a.a", about),
        ("another type", "a", About { qtype: RecordType::AAAA, ..about }),
        ("DO", "a", About { dnssec_ok: true, ..about }),
        ("CD", "a", About { checking_disabled: true, ..about }),
        ("another group", "a", About { group: 2, ..about }),
    ] {
        assert!(!entry.is_of(Key { about, ..key(name) }.borrow()), "{what}");
    }
}

#[test]
fn an_answer_comes_out_as_it_went_in() {
    let mut b = AnswerBuilder::new(Rcode(3 | 1 << 4));
    b.push(Section::Answer, b"\x01a\0", RecordType::CNAME, 60, b"\x03www\x01a\0");
    b.push(Section::Answer, b"\x03www\x01a\0", RecordType::A, 30, &[192, 0, 2, 1]);
    b.push(Section::Additional, b"\x01b\x01a\0", RecordType::TXT, 0, b"\x02hi");
    b.push_ede(22, "no server").push_ede(0, "");
    let mut answer = b.finish();
    (answer.authentic_data, answer.truncated) = (true, true);
    assert_eq!(stored(&answer, 60).decode().unwrap(), answer);
}

#[test]
fn what_is_too_large_is_not_kept() {
    let mut b = AnswerBuilder::new(Rcode::NOERROR);
    for _ in 0..100 {
        b.push(Section::Answer, b"\x01a\0", RecordType::TXT, 60, &[b'x'; 200]);
    }
    assert!(words(&b.finish(), 60).is_none());
}

#[test]
fn a_torn_entry_is_nobodys_and_breaks_nothing() {
    let words = words(&answer(60), 60).unwrap();
    for at in 0..words.len() {
        for wrong in [0, u64::MAX, words[at] ^ 0x00ff_00ff_00ff_00ff] {
            let mut torn = words.clone();
            torn[at] = wrong;
            let mut entry = Entry::default();
            entry.fill(Head::read(|at| torn[at]), torn[Head::WORDS..].iter().copied());
            if entry.is_of(key("a").borrow()) {
                let _ = (entry.decode(), entry.qname(), entry.head.freshness(0, STALE, true));
            }
        }
    }
}

#[test]
fn what_upstream_sent_is_kept_octet_for_octet() {
    // `a` A 192.0.2.1 with a TTL that RFC 2181 §8 calls zero, a name beside it, and an OPT, which is not kept.
    let head = b"\x12\x34\x81\xa0\0\x01\0\x01\0\0\0\x02\x01a\0\0\x01\0\x01";
    let records = b"\xc0\x0c\0\x01\0\x01\x80\0\0\x3c\0\x04\xc0\0\x02\x01\x01B\0\0\x10\0\x01\0\0\0\x3c\0\x03\x02hi";
    let came = [&head[..], records, b"\0\0\x29\x04\xd0\0\0\0\0\0\0"].concat();
    let question = Question { qname: "a".parse().unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
    let mut read = AnswerBuilder::new(Rcode::NOERROR);
    read.read(&came, &question).unwrap();
    let mut entry = Entry::default();
    let keeping = Keeping { hash: 7, trust_ad: true, stored_ms: 0, ttl_secs: 60 };
    entry.pass_on(key("a").borrow(), read.answer(), read.as_it_came(&came).unwrap(), keeping).unwrap();
    assert!(entry.is_of(key("a").borrow()));
    assert_eq!(entry.decode().as_ref(), Some(read.answer()));
    assert_eq!(entry.decode().unwrap().records().map(|r| r.ttl).collect::<Vec<_>>(), [0, 60]);
    // A key's name is canonical; a message that spells it otherwise is nobody's.
    let spelled = [&head[..13], b"A", &head[14..], records, b"\0\0\x29\x04\xd0\0\0\0\0\0\0"].concat();
    read.read(&spelled, &question).unwrap();
    assert!(entry.pass_on(key("a").borrow(), read.answer(), read.as_it_came(&spelled).unwrap(), keeping).is_none());
}
