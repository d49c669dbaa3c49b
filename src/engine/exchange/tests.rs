//! The exchange by tables: order, tiers, follow-ups, hedges, the deadline.

use std::time::Duration;

use super::*;
use crate::engine::name::Name;
use crate::engine::query::{CLASS_IN, RecordType};

const MS: Duration = Duration::from_millis(1);

fn candidate(server: u32, stage: u16, rtt_ms: u64) -> Candidate {
    let rtt = (rtt_ms > 0).then(|| Duration::from_millis(rtt_ms));
    Candidate { server: ServerIdx(server), trust_ad: false, stage, standing: Standing::Up, rtt }
}

/// Two servers of 10 ms in the first tier, one in the second.
fn three() -> Vec<Candidate> {
    vec![candidate(0, 0, 10), candidate(1, 0, 10), candidate(2, 1, 10)]
}

fn budget(questions: u32) -> HedgeBudget {
    let budget = HedgeBudget::default();
    (0..questions).for_each(|_| budget.on_question());
    budget
}

/// What the test's upstream does with a message, in order of sending: (after ms, what).
#[derive(Clone, Copy)]
enum Does {
    Answer(u64, Answer),
    Break(u64),
    Silent,
}
use Does::{Break, Silent};

fn good(after: u64) -> Does {
    Does::Answer(after, Answer::Good)
}

/// Plays an exchange through and writes down what is sent, `at` milliseconds, and how it ends.
fn play(candidates: Vec<Candidate>, hedges: &HedgeBudget, script: &[Does]) -> Vec<String> {
    play_after(None, candidates, hedges, script)
}

/// What a lane found at a server.
#[derive(Debug, Clone, Copy)]
enum Lane {
    /// Nothing, so many milliseconds after it asked.
    Silence(u32, u32),
    Bad(u32),
    EdnsRefused(u32),
}
use Lane::Silence;

/// As [`play`], after a lane has asked a server.
fn play_after(before: Option<Lane>, candidates: Vec<Candidate>, hedges: &HedgeBudget, script: &[Does]) -> Vec<String> {
    let start = Instant::now();
    let mut now = start;
    let before = before.map(|lane| match lane {
        Silence(server, ms) => Before::Silent(ServerIdx(server), start.checked_sub(ms * MS).unwrap()),
        Lane::Bad(server) => Before::Bad(ServerIdx(server), None),
        Lane::EdnsRefused(server) => Before::EdnsRefused(ServerIdx(server)),
    });
    let mut exchange = Exchange::new(candidates, start + 4_500 * MS).after(before.as_ref(), start);
    let mut due: Vec<(Instant, SendId, Does)> = Vec::new();
    let mut log = Vec::new();
    loop {
        let at = now.duration_since(start).as_millis();
        match exchange.poll(now, hedges) {
            Step::Send { send, server, channel, edns, cause } => {
                let extra = match (channel, edns, cause) {
                    (Channel::Tcp, ..) => " tcp",
                    (_, false, _) => " plain",
                    (.., Cause::Hedge) => " hedge",
                    (Channel::Configured, true, Cause::Turn | Cause::FollowUp) => "",
                };
                log.push(format!("{at} → {}{extra}", server.0));
                let does = script.get(usize::from(send.0)).copied().unwrap_or(Silent);
                match does {
                    Does::Answer(after, _) | Break(after) => {
                        due.push((now + Duration::from_millis(after), send, does));
                    }
                    Silent => {}
                }
            }
            Step::Late { server, .. } => log.push(format!("{at} late {}", server.0)),
            Step::WaitUntil(until) => {
                due.sort_by_key(|(at, ..)| *at);
                if due.first().is_none_or(|(at, ..)| *at > until) {
                    assert!(until > now, "a wait that is over already never ends");
                    now = until;
                    continue;
                }
                let (at, send, does) = due.remove(0);
                now = at;
                match does {
                    Does::Answer(_, answer) => exchange.on_answer(send, answer),
                    Break(_) => exchange.on_failure(send),
                    Silent => unreachable!("never due"),
                }
            }
            Step::Done(send) => {
                log.push(format!("{at} done {}", exchange.server_of(send).0));
                return log;
            }
            Step::GiveUp(why) => {
                log.push(format!("{at} {why:?}"));
                return log;
            }
        }
    }
}

#[test]
fn servers_are_asked_in_order_and_answers_end_it() {
    use Answer::{Bad, EdnsRefused, Mismatch, Truncated};
    use Does::Answer as Is;
    let one = vec![candidate(0, 0, 10)];
    for (case, candidates, script, expected) in [
        ("good at once", three(), vec![good(5)], "0 → 0, 5 done 0"),
        ("bad goes on", three(), vec![Is(5, Bad), good(5)], "0 → 0, 5 → 1, 10 done 1"),
        ("a mismatch goes on", three(), vec![Is(5, Mismatch), good(5)], "0 → 0, 5 → 1, 10 done 1"),
        (
            "the next tier when the tier has nobody left",
            three(),
            vec![Is(5, Bad), Break(1), good(5)],
            "0 → 0, 5 → 1, 6 → 2, 11 done 2",
        ),
        ("all fail", three(), vec![Is(5, Bad), Break(1), Is(5, Bad)], "0 → 0, 5 → 1, 6 → 2, 11 AllFailed"),
        ("truncated", three(), vec![Is(5, Truncated), good(20)], "0 → 0, 5 → 0 tcp, 25 done 0"),
        (
            "truncated over TCP as well",
            three(),
            vec![Is(5, Truncated), Is(5, Truncated), good(5)],
            "0 → 0, 5 → 0 tcp, 10 → 1, 15 done 1",
        ),
        ("no EDNS", three(), vec![Is(5, EdnsRefused), good(5)], "0 → 0, 5 → 0 plain, 10 done 0"),
        (
            "no EDNS, then FORMERR all the same",
            one.clone(),
            vec![Is(5, EdnsRefused), Is(5, Bad)],
            "0 → 0, 5 → 0 plain, 10 AllFailed",
        ),
        ("late is welcome", three(), vec![good(600)], "0 → 0, 400 late 0, 400 → 1, 600 done 0"),
        (
            "a lost datagram is sent again when there is one server",
            one.clone(),
            vec![Silent, Silent, good(10)],
            "0 → 0, 400 late 0, 400 → 0, 1200 late 0, 1200 → 0, 1210 done 0",
        ),
        (
            "silence ends with the deadline, after three (RFC 9520 §3.1)",
            one.clone(),
            vec![],
            "0 → 0, 400 late 0, 400 → 0, 1200 late 0, 1200 → 0, 2800 late 0, 4500 Timeout",
        ),
        (
            "one that says SERVFAIL is not asked again",
            vec![candidate(0, 0, 10), candidate(1, 0, 10)],
            vec![Is(5, Bad), Silent, good(1)],
            "0 → 0, 5 → 1, 405 late 1, 405 → 1, 406 done 1",
        ),
        ("a forged name is asked of nobody else", three(), vec![Is(5, Answer::Bogus), good(1)], "0 → 0, 5 AllFailed"),
        ("nobody", vec![], vec![], "0 NoServers"),
    ] {
        assert_eq!(play(candidates, &budget(0), &script).join(", "), expected, "{case}");
    }
}

#[test]
fn a_question_goes_to_a_bounded_number_of_servers() {
    let many = (0..50).map(|i| candidate(i, 0, 10)).collect();
    let log = play(many, &budget(0), &[Does::Answer(1, Answer::Bad); 50]);
    assert_eq!(log.len(), UPSTREAM_TRIES_MAX + 1);
    assert_eq!(log.last().unwrap(), "8 AllFailed");
}

#[test]
fn a_server_that_a_lane_asked_is_not_asked_as_if_it_were_the_first_time() {
    let one = || vec![candidate(0, 0, 10)];
    for (before, candidates, script, log) in [
        (None, one(), &[][..], "0 → 0, 400 late 0, 400 → 0, 1200 late 0, 1200 → 0, 2800 late 0, 4500 Timeout"),
        (Some(Silence(0, 400)), one(), &[], "0 → 0, 800 late 0, 800 → 0, 2400 late 0, 4500 Timeout"),
        // Others have their turn first, whoever stands first.
        (Some(Silence(1, 400)), vec![candidate(0, 0, 10), candidate(1, 0, 10)], &[Silent, good(9)], "0 → 0, 9 done 0"),
        // It says no to the second: what the lane hears of the first is the lane's.
        (Some(Silence(0, 400)), one(), &[Silent, Does::Answer(5, Answer::Bad)], "0 → 0, 5 Timeout"),
        (Some(Silence(0, 400)), one(), &[Silent, Break(5)], "0 → 0, 5 Timeout"),
        (
            Some(Silence(0, 400)),
            vec![candidate(0, 0, 10), candidate(1, 0, 10)],
            &[Silent, Break(5)],
            "0 → 1, 5 → 0, 805 late 0, 805 → 0, 2405 late 0, 4500 Timeout",
        ),
        // What has answered badly is not asked again, and others are asked at once.
        (Some(Lane::Bad(0)), one(), &[], "0 AllFailed"),
        (Some(Lane::Bad(1)), vec![candidate(0, 0, 10), candidate(1, 0, 10)], &[Silent, good(9)], "0 → 0, 9 done 0"),
        (
            Some(Lane::Bad(0)),
            vec![candidate(0, 0, 10), candidate(1, 1, 10)],
            &[Silent, Does::Answer(5, Answer::Bad)],
            "0 → 1, 5 AllFailed",
        ),
        (Some(Lane::EdnsRefused(0)), three(), &[Silent, good(9)], "0 → 0 plain, 9 done 0"),
        (
            Some(Lane::EdnsRefused(1)),
            three(),
            &[Silent, Does::Answer(5, Answer::Bad), good(9)],
            "0 → 1 plain, 5 → 0, 14 done 0",
        ),
        // Of a group that is another by now.
        (Some(Silence(7, 400)), one(), &[good(9)], "0 → 0, 9 done 0"),
        (Some(Lane::Bad(7)), one(), &[good(9)], "0 → 0, 9 done 0"),
        (Some(Lane::EdnsRefused(7)), one(), &[good(9)], "0 → 0, 9 done 0"),
    ] {
        assert_eq!(play_after(before, candidates, &budget(0), script).join(", "), log, "{before:?}");
    }
}

#[test]
fn a_slow_server_is_hedged_once_within_its_tier_and_the_budget() {
    let alone_in_tier = vec![candidate(0, 0, 10), candidate(1, 1, 10)];
    let mut other_is_down = three();
    other_is_down[1].standing = Standing::Down;
    let never_answered = vec![candidate(0, 0, 0), candidate(1, 0, 10)];
    for (case, candidates, questions, script, expected) in [
        ("fast", three(), 20, vec![good(69)], "0 → 0, 69 done 0"),
        ("slow", three(), 20, vec![Silent, good(5)], "0 → 0, 70 → 1 hedge, 75 done 1"),
        ("slow, and wins", three(), 20, vec![good(80), Silent], "0 → 0, 70 → 1 hedge, 80 done 0"),
        ("no budget", three(), 19, vec![good(80)], "0 → 0, 80 done 0"),
        ("no other in the tier", alone_in_tier, 20, vec![good(80)], "0 → 0, 80 done 0"),
        ("the other is down", other_is_down, 20, vec![good(80)], "0 → 0, 80 done 0"),
        ("nothing known", never_answered, 20, vec![good(700)], "0 → 0, 700 done 0"),
        (
            "both silent",
            three(),
            200,
            vec![Silent, Silent, Silent, Silent, good(5)],
            "0 → 0, 70 → 1 hedge, 400 late 0, 470 late 1, 470 → 0, 1270 late 0, 1270 → 1, 1500 → 2, 1505 done 2",
        ),
    ] {
        assert_eq!(play(candidates, &budget(questions), &script).join(", "), expected, "{case}");
    }
}

#[test]
fn a_later_stage_is_asked_only_when_this_one_is_down_or_failed_or_late_as_a_whole() {
    use Answer::{Bad, Malformed};
    use Does::Answer as Is;
    let lone = || vec![candidate(0, 0, 10), candidate(1, 1, 10)];
    let with = |standing: Standing| {
        let mut candidates = lone();
        candidates[0].standing = standing;
        candidates
    };
    let mut down_last = with(Standing::Down);
    down_last.rotate_left(1);
    let all_down = lone().into_iter().map(|c| Candidate { standing: Standing::Down, ..c }).collect();
    let stages = vec![candidate(0, 0, 10), candidate(1, 1, 10), candidate(2, 2, 10)];
    for (case, candidates, script, expected) in [
        ("slow", lone(), vec![good(600)], "0 → 0, 400 late 0, 400 → 0, 600 done 0"),
        ("slower", lone(), vec![good(1_499), Silent], "0 → 0, 400 late 0, 400 → 0, 1200 late 0, 1499 done 0"),
        ("a lost datagram", lone(), vec![Silent, good(5)], "0 → 0, 400 late 0, 400 → 0, 405 done 0"),
        (
            "silent",
            lone(),
            vec![Silent, Silent, good(5)],
            "0 → 0, 400 late 0, 400 → 0, 1200 late 0, 1500 → 1, 1505 done 1",
        ),
        ("SERVFAIL", lone(), vec![Is(5, Bad), good(5)], "0 → 0, 5 → 1, 10 done 1"),
        ("malformed", lone(), vec![Is(5, Malformed), good(5)], "0 → 0, 5 → 1, 10 done 1"),
        (
            "late, then SERVFAIL",
            lone(),
            vec![Is(600, Bad), Silent, good(5)],
            "0 → 0, 400 late 0, 400 → 0, 600 → 1, 605 done 1",
        ),
        ("a probe in vain", with(Standing::Probe), vec![Silent, good(5)], "0 → 0, 400 late 0, 400 → 1, 405 done 1"),
        ("down", down_last.clone(), vec![good(5)], "0 → 1, 5 done 1"),
        ("down, the other silent", down_last, vec![Silent, good(5)], "0 → 1, 400 late 1, 400 → 0, 405 done 0"),
        ("all down", all_down, vec![Silent, good(5)], "0 → 0, 400 late 0, 400 → 1, 405 done 1"),
        (
            "two stages silent",
            stages,
            vec![Silent, Silent, Silent, Silent, good(5)],
            "0 → 0, 400 late 0, 400 → 0, 1200 late 0, 1500 → 1, 1900 late 1, 1900 → 1, 2700 late 1, 3000 → 2, 3005 done 2",
        ),
    ] {
        assert_eq!(play(candidates, &budget(0), &script).join(", "), expected, "{case}");
    }
}

#[test]
fn those_who_have_not_answered_are_known() {
    let start = Instant::now();
    let hedges = budget(20);
    let mut exchange = Exchange::new(three(), start + 4_500 * MS);
    assert!(matches!(exchange.poll(start, &hedges), Step::Send { .. }));
    let Step::Send { send, .. } = exchange.poll(start + 70 * MS, &hedges) else { panic!("a hedge") };
    exchange.on_answer(send, Answer::Good);
    assert_eq!(exchange.poll(start + 75 * MS, &hedges), Step::Done(send));
    assert_eq!(exchange.unanswered().collect::<Vec<_>>(), [(ServerIdx(0), start)]);
    assert_eq!(exchange.silent().count(), 0, "its patience runs");
    let mut exchange = Exchange::new(three(), start + 4_500 * MS);
    let Step::Send { send, .. } = exchange.poll(start, &hedges) else { panic!("a turn") };
    assert!(matches!(exchange.poll(start + 400 * MS, &hedges), Step::Late { .. }));
    assert_eq!(exchange.silent().collect::<Vec<_>>(), [(ServerIdx(0), start)]);
    exchange.on_answer(send, Answer::Bad);
    assert_eq!(exchange.silent().count(), 0);
}

#[test]
fn a_reply_is_worth_what_its_header_and_question_say() {
    let qname = Name::from_text("www.example.com").unwrap();
    let question = Question { qname, qtype: RecordType::A, qclass: CLASS_IN };
    let message = |flags: [u8; 2], name: &[u8], qtype: u8| -> Vec<u8> {
        let counts = [0, 1, 0, 0, 0, 0, 0, 0];
        [&[0, 0], &flags[..], &counts, name, &[0, qtype, 0, 1]].concat()
    };
    const OURS: &[u8] = b"\x03wWw\x07eXample\x03cOm\0";
    const OTHER: &[u8] = b"\x03www\x07example\x03net\0";
    // One record, in the section whose count stands at `count_at`.
    let with = |flags: [u8; 2], count_at: usize, record: &[u8]| -> Vec<u8> {
        let mut reply = [&message(flags, OURS, 1), record].concat();
        reply[count_at] = 1;
        reply
    };
    let two = |flags: [u8; 2], count_at: usize, records: &[u8]| -> Vec<u8> {
        let mut reply = with(flags, count_at, records);
        reply[count_at] = 2;
        reply
    };
    let bare = |rcode: u8| vec![0, 0, 0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0];
    for (case, reply, edns, expected) in [
        ("NOERROR", message([0x81, 0x80], OURS, 1), true, Answer::Good),
        ("NXDOMAIN", message([0x81, 0x83], OURS, 1), true, Answer::Good),
        ("YXDOMAIN", message([0x81, 0x86], OURS, 1), true, Answer::Good),
        ("SERVFAIL", message([0x81, 0x82], OURS, 1), true, Answer::Bad),
        ("REFUSED", message([0x81, 0x85], OURS, 1), true, Answer::Bad),
        ("FORMERR to EDNS", message([0x81, 0x81], OURS, 1), true, Answer::EdnsRefused),
        ("BADVERS", with([0x81, 0x80], 11, b"\0\0\x29\x04\xd0\x01\0\0\0\0\0"), true, Answer::EdnsRefused),
        ("unknown data", with([0x81, 0x80], 7, b"\xc0\x0c\x01\x01\0\x01\0\0\0\x09\0\x02\0\0"), true, Answer::Good),
        ("TSIG", with([0x81, 0x80], 11, b"\0\0\xfa\0\xff\0\0\0\0\0\0"), true, Answer::Good),
        ("another class", with([0x81, 0x80], 7, b"\0\0\x10\0\x03\0\0\0\0\0\0"), true, Answer::Malformed),
        (
            "a broken record",
            with([0x81, 0x80], 7, b"\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x02\0\0"),
            true,
            Answer::Malformed,
        ),
        ("a cut record, truncated", with([0x83, 0x80], 7, b"\xc0\x0c\0"), true, Answer::Truncated),
        ("servers instead", with([0x81, 0x00], 9, b"\x03com\0\0\x02\0\x01\0\0\0\x09\0\x03\x01a\0"), true, Answer::Bad),
        (
            "servers instead, of a signed zone",
            two(
                [0x81, 0x00],
                9,
                b"\x03com\0\0\x02\0\x01\0\0\0\x09\0\x03\x01a\0\x03com\0\0\x2b\0\x01\0\0\0\x09\0\x04\0\0\0\0",
            ),
            true,
            Answer::Bad,
        ),
        ("the root's servers", with([0x81, 0x80], 9, b"\0\0\x02\0\x01\0\0\0\x09\0\x03\x01a\0"), true, Answer::Bad),
        (
            "no data, of one that asks for others",
            with([0x81, 0x80], 9, b"\x03com\0\0\x02\0\x01\0\0\0\x09\0\x03\x01a\0"),
            true,
            Answer::Good,
        ),
        (
            "no data, of one that knows",
            with([0x85, 0x00], 9, b"\x03com\0\0\x02\0\x01\0\0\0\x09\0\x03\x01a\0"),
            true,
            Answer::Good,
        ),
        ("a ring", with([0x81, 0x80], 7, b"\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x02\xc0\x0c"), true, Answer::Bad),
        ("FORMERR without EDNS", message([0x81, 0x81], OURS, 1), false, Answer::Bad),
        ("truncated", message([0x83, 0x80], OURS, 1), true, Answer::Truncated),
        ("QR=0", message([0x01, 0x80], OURS, 1), true, Answer::Mismatch),
        ("another name", message([0x81, 0x80], OTHER, 1), true, Answer::Mismatch),
        ("another type", message([0x81, 0x80], OURS, 28), true, Answer::Mismatch),
        ("no question", bare(0), true, Answer::Mismatch),
        ("no question, NXDOMAIN", bare(3), true, Answer::Mismatch),
        ("no question, FORMERR to EDNS", bare(1), true, Answer::EdnsRefused),
        ("no question, FORMERR without EDNS", bare(1), false, Answer::Mismatch),
        ("cut", message([0x81, 0x80], OURS, 1)[..20].to_vec(), true, Answer::Mismatch),
        ("runt", vec![0, 0, 0x80], true, Answer::Mismatch),
    ] {
        assert_eq!(classify(&reply, &question, edns).0, expected, "{case}");
    }
}
