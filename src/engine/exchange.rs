//! One forwarded question as a state machine: what is sent to whom, when, and when it is over.
//!
//! Pure: outcomes and `now` go in, steps come out; sockets and timers are the daemon's. A try whose patience has run out
//! is not thrown away: the next server is asked, and whichever answers first wins, for a resolver that looks up a cold
//! name is slow but not dead. A later stage (the next tier, then the enclosing zone) is for when this one is down or
//! has failed at the question; slowness alone opens it only after [`STAGE_PATIENCE`].
//!
//! ```text
//!                    ┌── Truncated → Send (TCP, same server) ──┐
//!                    ├── EdnsRefused → Send (no EDNS, same) ───┤
//!   Send ──→ Wait ───┼── Bad, Failed ──→ Send (next server) ───┼──→ Wait …
//!             │  │   ├── patience out: Late → Send (next, same ──┤
//!             │  │   │                  stage; else again) ─────┤
//!             │  │   ├── whole stage late: Send (next stage) ────┘
//!             │  │   └── slow: Send (hedge, same tier)
//!             │  └── Good, also of a late try ──→ Done
//!             └── nobody left to ask and nobody to wait for, or the deadline ──→ GiveUp
//! ```

use std::time::{Duration, Instant};

use crate::engine::answer;
use crate::engine::limits::{UPSTREAM_RETRIES_MAX, UPSTREAM_TRIES_MAX};
use crate::engine::name::Name;
use crate::engine::query::Question;
use crate::engine::upstream::{Candidate, HedgeBudget, ServerIdx, Standing};

/// When every server of a stage is late, the next stage is asked this long after the stage's first message. Three
/// stages that are silent have their turns within a question's whole time; a stage known to be down costs nothing.
pub const STAGE_PATIENCE: Duration = Duration::from_millis(1_500);

/// One message sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendId(pub u8);

/// How a message goes to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// As the server is configured.
    Configured,
    /// TCP to a UDP server, after a truncated answer.
    Tcp,
}

/// Why a message is sent; metrics tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The next server's turn.
    Turn,
    /// The server before is slow.
    Hedge,
    /// TCP after truncation, or without EDNS after a refusal.
    FollowUp,
}

/// What the daemon does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Send {
        send: SendId,
        server: ServerIdx,
        channel: Channel,
        edns: bool,
        cause: Cause,
    },
    /// The server's patience has run out; its health learns of it. The answer is still welcome.
    Late {
        send: SendId,
        server: ServerIdx,
    },
    /// Nothing to do before this time but listen.
    WaitUntil(Instant),
    /// This message got the answer.
    Done(SendId),
    GiveUp(GiveUp),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// Somebody was waited for in vain.
    Timeout,
    /// Everybody answered badly or could not be reached.
    AllFailed,
    NoServers,
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// NOERROR or NXDOMAIN, with or without data.
    Good,
    /// TC=1: the rest is to be had over TCP.
    Truncated,
    /// FORMERR, NOTIMP or BADVERS to a question with EDNS: an old server, perhaps.
    EdnsRefused,
    /// SERVFAIL, REFUSED or another code that says nothing about the name.
    Bad,
    /// Not an answer to our question.
    Mismatch,
    /// An answer to our question that cannot be read.
    Malformed,
}

/// A message and what has become of it.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Index into `candidates`.
    candidate: usize,
    channel: Channel,
    edns: bool,
    sent_at: Instant,
    state: SentState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SentState {
    Waiting {
        patience_ends: Instant,
    },
    /// Waited for long enough to ask the next; may still answer.
    Late,
    /// Answered well, or in a way that a follow-up mends.
    Answered,
    /// Answered badly or broken off.
    Failed,
}

impl SentState {
    fn is_open(self) -> bool {
        match self {
            SentState::Waiting { .. } | SentState::Late => true,
            SentState::Answered | SentState::Failed => false,
        }
    }
}

/// One question on its way through the servers of its group.
#[derive(Debug)]
pub struct Exchange {
    /// In the order to ask.
    candidates: Vec<Candidate>,
    /// Candidates before this one have had their turn.
    next: usize,
    sent: Vec<Sent>,
    /// Messages that were a server's turn or a hedge; follow-ups are not counted.
    tries: usize,
    /// To be sent before anything else: candidate, channel, EDNS.
    follow_up: Option<(usize, Channel, bool)>,
    has_hedged: bool,
    has_timed_out: bool,
    deadline: Instant,
    done: Option<SendId>,
}

impl Exchange {
    pub fn new(candidates: Vec<Candidate>, deadline: Instant) -> Exchange {
        Exchange {
            candidates,
            next: 0,
            sent: Vec::with_capacity(2),
            tries: 0,
            follow_up: None,
            has_hedged: false,
            has_timed_out: false,
            deadline,
            done: None,
        }
    }

    /// The answer to a message came. Its worth is [`classify`]'s.
    pub fn on_answer(&mut self, send: SendId, answer: Answer) {
        let sent = &mut self.sent[usize::from(send.0)];
        sent.state = SentState::Answered;
        let (candidate, channel, edns) = (sent.candidate, sent.channel, sent.edns);
        match answer {
            Answer::Good => self.done = self.done.or(Some(send)),
            Answer::Truncated if channel == Channel::Configured => {
                self.follow_up = Some((candidate, Channel::Tcp, edns));
            }
            Answer::EdnsRefused if edns => self.follow_up = Some((candidate, channel, false)),
            Answer::Truncated | Answer::EdnsRefused | Answer::Bad | Answer::Mismatch | Answer::Malformed => {
                sent.state = SentState::Failed;
            }
        }
    }

    /// A message could not be sent or its connection broke.
    pub fn on_failure(&mut self, send: SendId) {
        self.sent[usize::from(send.0)].state = SentState::Failed;
    }

    /// The next step. To be called until it says to wait, and again after every outcome and when the time has come.
    pub fn poll(&mut self, now: Instant, hedges: &HedgeBudget) -> Step {
        if let Some(send) = self.done {
            return Step::Done(send);
        }
        if now >= self.deadline {
            return self.give_up();
        }
        if let Some((candidate, channel, edns)) = self.follow_up.take() {
            return self.send(candidate, channel, edns, Cause::FollowUp, now);
        }
        if let Some(step) = self.find_late(now) {
            return step;
        }
        let stage_opens = self.next_stage_opens(now);
        let is_open = stage_opens.is_some_and(|at| at <= now);
        match self.waiting_until() {
            Some(patience_ends) if !is_open => {
                let until = stage_opens.map_or(patience_ends, |at| at.min(patience_ends));
                return self.wait_or_hedge(until, now, hedges);
            }
            Some(_) | None => {}
        }
        if let Some(candidate) = self.next_turn(stage_opens.is_some() && !is_open) {
            return self.send(candidate, Channel::Configured, true, Cause::Turn, now);
        }
        if self.sent.iter().any(|sent| sent.state.is_open()) {
            return Step::WaitUntil(stage_opens.map_or(self.deadline, |at| at.min(self.deadline)));
        }
        self.give_up()
    }

    /// Messages that nobody has answered yet, with the time they were sent: another server has overtaken these.
    pub fn unanswered(&self) -> impl Iterator<Item = (ServerIdx, Instant)> {
        let open = self.sent.iter().filter(|sent| sent.state.is_open());
        open.map(|sent| (self.candidates[sent.candidate].server, sent.sent_at))
    }

    /// The first message to each server whose patience has run out and that has said nothing at all: it may be dead.
    pub fn silent(&self) -> impl Iterator<Item = (ServerIdx, Instant)> {
        (0..self.candidates.len()).filter_map(|candidate| {
            let at = self.sent.iter().position(|sent| sent.candidate == candidate)?;
            let mut messages = self.of(candidate);
            let is_silent =
                messages.clone().any(|sent| sent.state == SentState::Late) && messages.all(|sent| sent.state.is_open());
            is_silent.then(|| (self.candidates[candidate].server, self.sent[at].sent_at))
        })
    }

    fn of(&self, candidate: usize) -> impl Iterator<Item = &Sent> + Clone {
        self.sent.iter().filter(move |sent| sent.candidate == candidate)
    }

    /// Whether AD of the answer to this message may reach a client.
    pub fn trusts_ad(&self, send: SendId) -> bool {
        self.candidate_of(send).trust_ad
    }

    pub fn server_of(&self, send: SendId) -> ServerIdx {
        self.candidate_of(send).server
    }

    fn candidate_of(&self, send: SendId) -> &Candidate {
        &self.candidates[self.sent[usize::from(send.0)].candidate]
    }

    fn give_up(&self) -> Step {
        Step::GiveUp(if self.candidates.is_empty() {
            GiveUp::NoServers
        } else if self.has_timed_out || self.sent.iter().any(|sent| sent.state.is_open()) {
            GiveUp::Timeout
        } else {
            GiveUp::AllFailed
        })
    }

    fn send(&mut self, candidate: usize, channel: Channel, edns: bool, cause: Cause, now: Instant) -> Step {
        let times = self.of(candidate).count() as u32;
        let patience = match cause {
            // Asked again after silence: twice as patient each time.
            Cause::Turn => self.candidates[candidate].patience() * 2_u32.pow(times),
            Cause::Hedge => self.candidates[candidate].patience(),
            // A connection has to be made first.
            Cause::FollowUp => self.candidates[candidate].patience() * 2,
        };
        let send = SendId(self.sent.len() as u8);
        let state = SentState::Waiting { patience_ends: now + patience };
        self.sent.push(Sent { candidate, channel, edns, sent_at: now, state });
        self.tries += usize::from(cause != Cause::FollowUp);
        Step::Send { send, server: self.candidates[candidate].server, channel, edns, cause }
    }

    /// The first message whose patience has run out becomes late.
    fn find_late(&mut self, now: Instant) -> Option<Step> {
        let is_out = |sent: &Sent| matches!(sent.state, SentState::Waiting { patience_ends } if patience_ends <= now);
        let at = self.sent.iter().position(is_out)?;
        self.sent[at].state = SentState::Late;
        self.has_timed_out = true;
        let server = self.candidates[self.sent[at].candidate].server;
        Some(Step::Late { send: SendId(at as u8), server })
    }

    /// When the first of the messages waited for runs out of patience.
    fn waiting_until(&self) -> Option<Instant> {
        let ends = self.sent.iter().filter_map(|sent| match sent.state {
            SentState::Waiting { patience_ends } => Some(patience_ends),
            SentState::Late | SentState::Answered | SentState::Failed => None,
        });
        ends.min()
    }

    fn wait_or_hedge(&mut self, until: Instant, now: Instant, hedges: &HedgeBudget) -> Step {
        let wait_until = until.min(self.deadline);
        let Some((hedge_at, candidate)) = self.hedge() else {
            return Step::WaitUntil(wait_until);
        };
        if now < hedge_at {
            return Step::WaitUntil(wait_until.min(hedge_at));
        }
        // Asked once: a question that found no budget waits like any other.
        self.has_hedged = true;
        if !hedges.take() {
            return Step::WaitUntil(wait_until);
        }
        self.candidates[self.next..=candidate].rotate_right(1);
        let candidate = self.next;
        self.next += 1;
        self.send(candidate, Channel::Configured, true, Cause::Hedge, now)
    }

    /// When the server now waited for counts as slow, and who would be asked beside it: one that is up, in its tier.
    fn hedge(&self) -> Option<(Instant, usize)> {
        if self.has_hedged || self.tries >= UPSTREAM_TRIES_MAX {
            return None;
        }
        let sent = self.sent.last().filter(|sent| matches!(sent.state, SentState::Waiting { .. }))?;
        let slow = &self.candidates[sent.candidate];
        let is_fit = |other: &Candidate| other.stage == slow.stage && other.standing == Standing::Up;
        let candidate = (self.next..self.candidates.len()).find(|&i| is_fit(&self.candidates[i]))?;
        Some((sent.sent_at + slow.hedge_after()?, candidate))
    }

    /// When the next server may be asked, if it is of a later stage than all those waited for. `None`: it is not, or not
    /// before one of these is late or has failed.
    fn next_stage_opens(&self, now: Instant) -> Option<Instant> {
        let next = self.candidates.get(self.next).filter(|_| self.tries < UPSTREAM_TRIES_MAX)?;
        let is_waited_for = |sent: &Sent| matches!(sent.state, SentState::Waiting { .. });
        let mut waited_for = self.sent.iter().filter(|sent| is_waited_for(sent));
        if waited_for.any(|sent| self.candidates[sent.candidate].stage >= next.stage) {
            return None;
        }
        let before = self.candidates.iter().enumerate().filter(|(_, candidate)| candidate.stage < next.stage);
        before.map(|(i, _)| self.is_through(i, now)).try_fold(now, |at, through| Some(at.max(through?)))
    }

    /// From when on a server no longer keeps a later stage from being asked; `None` while its patience runs.
    fn is_through(&self, candidate: usize, now: Instant) -> Option<Instant> {
        let has = |state: SentState| self.of(candidate).any(|sent| sent.state == state);
        let is_waited_for = self.of(candidate).any(|sent| sent.state.is_open());
        if has(SentState::Failed) || !is_waited_for {
            return Some(now);
        }
        if !has(SentState::Late) {
            return None;
        }
        match self.candidates[candidate].standing {
            Standing::Up => {
                let stage = self.candidates[candidate].stage;
                let first = self.sent.iter().find(|sent| self.candidates[sent.candidate].stage == stage)?;
                Some((first.sent_at + STAGE_PATIENCE).max(now))
            }
            // It was down before: one patience is enough.
            Standing::Probe | Standing::Down => Some(now),
        }
    }

    /// Whose turn it is: everybody once, then, while few were sent, those again who kept silent. While the next stage is
    /// not open yet, those of this one again, once.
    fn next_turn(&mut self, must_stay: bool) -> Option<usize> {
        if self.tries >= UPSTREAM_TRIES_MAX {
            return None;
        }
        if self.next < self.candidates.len() && !must_stay {
            self.next += 1;
            return Some(self.next - 1);
        }
        if self.tries >= UPSTREAM_RETRIES_MAX {
            return None;
        }
        let is_silent = |i: &usize| {
            let mut sent = self.of(*i).peekable();
            sent.peek().is_some() && sent.all(|sent| sent.state == SentState::Late)
        };
        let times = |i: &usize| self.of(*i).count();
        let again = (0..self.candidates.len()).filter(is_silent).min_by_key(times)?;
        (!must_stay || times(&again) < 2).then_some(again)
    }
}

/// What a reply is worth and, where it is an answer, good or bad, what it says. `edns`: whether the question had an OPT.
pub fn classify(reply: &[u8], question: &Question, edns: bool) -> (Answer, Option<answer::Answer>) {
    const QR: u8 = 0x80;
    const TC: u8 = 0x02;
    let Some(header) = reply.first_chunk::<12>() else { return (Answer::Mismatch, None) };
    if header[2] & QR == 0 {
        return (Answer::Mismatch, None);
    }
    let is_edns_refusal = |rcode: u16| edns && matches!(rcode, 1 | 4 | 16);
    let refuses_edns = is_edns_refusal(u16::from(header[3] & 0x0f));
    match u16::from_be_bytes([header[4], header[5]]) {
        1 if asks(reply, question) => {}
        // Old servers refuse what they cannot parse with a bare header.
        0 if refuses_edns => return (Answer::EdnsRefused, None),
        _ => return (Answer::Mismatch, None),
    }
    // Neither needs to be whole.
    if header[2] & TC != 0 {
        return (Answer::Truncated, None);
    }
    if refuses_edns {
        return (Answer::EdnsRefused, None);
    }
    let Ok(answer) = answer::Answer::from_wire(reply, question) else { return (Answer::Malformed, None) };
    match answer.rcode.0 {
        // RFC 6672 §2.2: YXDOMAIN (6) answers for a DNAME that makes the name too long.
        0 | 3 | 6 => (Answer::Good, Some(answer)),
        rcode if is_edns_refusal(rcode) => (Answer::EdnsRefused, None),
        _ => (Answer::Bad, Some(answer)),
    }
}

/// Whether the message's question is ours: name without regard to case, type, class. RFC 5452 §9.1.
fn asks(reply: &[u8], question: &Question) -> bool {
    let Ok((qname, at)) = Name::read(reply, 12) else { return false };
    let Some(fixed) = reply.get(at..at + 4) else { return false };
    qname == question.qname
        && fixed[..2] == question.qtype.0.to_be_bytes()
        && fixed[2..] == question.qclass.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
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
        let start = Instant::now();
        let mut now = start;
        let mut exchange = Exchange::new(candidates, start + 4_500 * MS);
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
                "silence ends with the deadline, after four",
                one.clone(),
                vec![],
                "0 → 0, 400 late 0, 400 → 0, 1200 late 0, 1200 → 0, 2800 late 0, 2800 → 0, 4500 Timeout",
            ),
            (
                "one that says SERVFAIL is not asked again",
                vec![candidate(0, 0, 10), candidate(1, 0, 10)],
                vec![Is(5, Bad), Silent, good(1)],
                "0 → 0, 5 → 1, 405 late 1, 405 → 1, 406 done 1",
            ),
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
}
