//! The cache from outside: what goes in, what comes out, what goes when room is short, and readers beside a writer.

use super::*;
use crate::engine::answer::{AnswerBuilder, Section};
use crate::engine::query::{CLASS_IN, Question, Rcode, RecordType};

const STALE: Duration = Duration::from_secs(100);

fn key(name: &str) -> Key {
    let question = Question { qname: name.parse().unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
    Key::new(&question, false, false, 1)
}

fn answer(ttl: u32, last: u8) -> Arc<Answer> {
    let mut b = AnswerBuilder::new(Rcode::NOERROR);
    b.push(Section::Answer, b"\x01a\0", RecordType::A, ttl, &[192, 0, 2, last]);
    Arc::new(b.finish())
}

fn last_octet(hit: &Hit) -> u8 {
    *hit.answer.records().next().unwrap().rdata.last().unwrap()
}

#[test]
fn what_was_put_in_comes_out_until_it_is_replaced_or_forgotten() {
    let cache = Cache::new(1 << 20);
    cache.put(key("a.example"), answer(60, 1), true, STALE);
    cache.put(key("b.example"), answer(60, 2), false, STALE);
    let get = |name: &str| cache.get(&key(name), STALE);
    assert_eq!(get("a.example").map(|hit| (last_octet(&hit), hit.trust_ad)), Some((1, true)));
    assert_eq!(get("b.example").map(|hit| (last_octet(&hit), hit.trust_ad)), Some((2, false)));
    assert!(get("c.example").is_none());
    cache.put(key("a.example"), answer(60, 3), true, STALE);
    assert_eq!(get("a.example").map(|hit| last_octet(&hit)), Some(3));
    assert_eq!(cache.figures().entries, 2);
    cache.put(key("a.example"), answer(0, 4), true, STALE);
    assert!(get("a.example").is_none(), "a TTL of zero is not kept and replaces what was");
    assert_eq!(cache.figures().entries, 1);
}

#[test]
fn a_failure_does_not_push_out_an_answer() {
    let cache = Cache::new(1 << 20);
    cache.put(key("a"), answer(60, 1), true, STALE);
    cache.put(key("a"), Arc::new(AnswerBuilder::new(Rcode::SERVFAIL).finish()), true, STALE);
    assert!(!cache.get(&key("a"), STALE).unwrap().answer.is_failure());
}

#[test]
fn a_flood_of_names_asked_once_leaves_what_is_asked_for() {
    let cache = Cache::new(1 << 20);
    let hot: Vec<Key> = (0..500).map(|i| key(&format!("hot{i}.example"))).collect();
    for key in &hot {
        cache.put(key.clone(), answer(600, 1), true, STALE);
    }
    for i in 0..100_000 {
        if i % 1000 == 0 {
            for key in &hot {
                assert!(cache.get(key, STALE).is_some(), "lost after {i} others");
            }
        }
        cache.put(key(&format!("n{i}.flood.example")), answer(600, 2), true, STALE);
    }
    let figures = cache.figures();
    assert!(figures.octets <= 1 << 20, "{figures:?}");
    assert!(figures.evictions > 90_000, "{figures:?}");
}

#[test]
fn what_nobody_asks_for_goes_even_if_everything_was_asked_for() {
    let cache = Cache::new(1 << 20);
    for i in 0..50_000 {
        let key = key(&format!("n{i}.example"));
        cache.put(key.clone(), answer(600, 1), true, STALE);
        assert!(cache.get(&key, STALE).is_some(), "{i} is gone at once");
    }
    assert!(cache.figures().octets <= 1 << 20);
}

#[test]
fn replacing_one_entry_for_ever_pushes_nothing_out() {
    let cache = Cache::new(1 << 20);
    cache.put(key("b"), answer(600, 1), true, STALE);
    for i in 0..20_000 {
        assert!(cache.get(&key("b"), STALE).is_some(), "after {i}");
        cache.put(key("a"), answer(600, i as u8), true, STALE);
        assert_eq!(last_octet(&cache.get(&key("a"), STALE).unwrap()), i as u8);
    }
    assert_eq!(cache.figures().entries, 2);
}

#[test]
fn a_flush_takes_the_subtree_alone() {
    let cache = Cache::new(1 << 20);
    for name in ["a.example", "b.a.example", "xa.example", "example"] {
        cache.put(key(name), answer(60, 1), true, STALE);
    }
    assert_eq!(cache.flush(&"a.example".parse().unwrap()), 2);
    assert!(cache.get(&key("xa.example"), STALE).is_some());
    assert!(cache.get(&key("b.a.example"), STALE).is_none());
}

#[test]
fn another_size_takes_what_is_there_along() {
    let cache = Cache::new(1 << 20);
    for i in 0..1_000 {
        cache.put(key(&format!("n{i}.example")), answer(600, 1), true, STALE);
    }
    cache.set_size(32 << 20);
    assert_eq!(cache.figures().entries, 1_000);
    assert!(cache.get(&key("n999.example"), STALE).is_some());
    cache.set_size(0);
    assert_eq!(cache.figures().entries, 0, "a cache without room keeps nothing");
    cache.put(key("a"), answer(60, 1), true, STALE);
    assert!(cache.get(&key("a"), STALE).is_none());
}

#[test]
fn a_note_stays_with_its_entry() {
    let cache = Cache::new(1 << 20);
    let (table, mut entry) = (cache.table(), Entry::default());
    let note = Note::new(5, 3);
    cache.put(key("a"), answer(60, 1), true, STALE);
    let (place, _) = table.look_up(key("a").borrow(), 0, STALE, &mut entry).unwrap();
    assert_eq!(entry.head.note, Note::default());
    table.note(&entry, place, note);
    let (place, _) = table.look_up(key("a").borrow(), 0, STALE, &mut entry).unwrap();
    assert_eq!(entry.head.note, note);
    cache.put(key("a"), answer(60, 2), true, STALE);
    table.note(&entry, place, note);
    table.look_up(key("a").borrow(), 0, STALE, &mut entry).unwrap();
    assert_eq!(entry.head.note, Note::default(), "what was found in another answer says nothing about this one");
}

/// Readers and writers at once: whatever is read is whole and of the name that was asked.
#[test]
fn readers_never_see_half_an_answer() {
    let cache = Cache::new(256 << 10);
    let names: Vec<Key> = (0..4_000).map(|i| key(&format!("n{i}.example"))).collect();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20 {
                for (i, key) in names.iter().enumerate() {
                    let mut b = AnswerBuilder::new(Rcode::NOERROR);
                    // The owner and every octet of the data say whose it is.
                    for _ in 0..=(i + round) % 7 {
                        b.push(Section::Answer, key.qname(), RecordType::A, 600, &[i as u8; 4]);
                    }
                    cache.put(key.clone(), Arc::new(b.finish()), true, STALE);
                }
            }
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut found = 0;
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) || found == 0 {
                    for (i, key) in names.iter().enumerate() {
                        let Some(hit) = cache.get(key, STALE) else { continue };
                        found += 1;
                        assert!(hit.answer.records().all(|r| r.rdata == [i as u8; 4] && r.owner == key.qname()));
                    }
                }
            });
        }
    });
}

#[test]
fn it_knows_whether_an_answer_of_a_span_may_be_gone() {
    let (hour, minute) = (Duration::from_secs(3_600), Duration::from_secs(60));
    let cache = Cache::new(1 << 20);
    let began = clock::now();
    cache.put(key("a.example"), answer(60, 1), true, STALE);
    // Another process may have answered before this one.
    assert!(!cache.is_whole_for(hour, began + hour - minute) && cache.is_whole_for(hour, began + hour));
    cache.flush(&"a.example".parse().unwrap());
    let flushed = clock::now();
    assert!(!cache.is_whole_for(minute, flushed) && cache.is_whole_for(minute, flushed + minute));
    for i in 0..100_000 {
        cache.put(key(&format!("n{i}.example")), answer(600, 2), true, STALE);
    }
    assert!(!cache.is_whole_for(minute, flushed + hour), "something made room");
    assert!(!Cache::new(0).is_whole_for(minute, flushed + hour), "it keeps nothing");
}

#[test]
fn every_answer_is_shown_with_what_is_left_of_its_longest_ttl() {
    let cache = Cache::new(1 << 20);
    let names: Vec<String> = (0..3_000).map(|i| format!("n{i}.example")).collect();
    for name in &names {
        cache.put(key(name), answer(600, 1), true, STALE);
    }
    cache.put(key("fails.example"), Arc::new(AnswerBuilder::new(Rcode::SERVFAIL).finish()), true, STALE);
    let now = clock::now();
    for (after, max, secs) in
        [(0, 3_600, 595..=600), (0, 100, 100..=100), (500, 3_600, 95..=100), (640, 3_600, 30..=30), (900, 3_600, 0..=0)]
    {
        let mut shown = std::collections::BTreeSet::new();
        cache.remembered(max, STALE, now + Duration::from_secs(after), |entry, _, left| {
            assert!(secs.contains(&left), "{left} s are left after {after} s");
            shown.insert(entry.qname().to_vec());
        });
        assert_eq!(shown.len(), names.len(), "all of them, and no failure");
    }
}
