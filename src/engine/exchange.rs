//! One forwarded question as a state machine: what is sent to whom, when, and when it is over.
//!
//! Pure: outcomes and `now` go in, steps come out; sockets and timers are the daemon's. A try whose patience has run out
//! is not thrown away: the next server is asked, and whichever answers first wins, for a resolver that looks up a cold
//! name is slow but not dead.
//!
//! ```text
//!                    ┌── Truncated → Send (TCP, same server) ──┐
//!                    ├── EdnsRefused → Send (no EDNS, same) ───┤
//!   Send ──→ Wait ───┼── Bad, Failed ──→ Send (next server) ───┼──→ Wait …
//!             │  │   ├── patience out: Late → Send (next) ─────┘
//!             │  │   └── slow: Send (hedge, same tier)
//!             │  └── Good, also of a late try ──→ Done
//!             └── nobody left to ask and nobody to wait for, or the deadline ──→ GiveUp
//! ```

use std::time::{Duration, Instant};

use crate::engine::limits::{UPSTREAM_RETRIES_MAX, UPSTREAM_TRIES_MAX};
use crate::engine::name::Name;
use crate::engine::query::Question;
use crate::engine::upstream::{Candidate, HedgeBudget, ServerIdx, Standing};

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
    Ended,
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
        sent.state = SentState::Ended;
        let (candidate, channel, edns) = (sent.candidate, sent.channel, sent.edns);
        match answer {
            Answer::Good => self.done = self.done.or(Some(send)),
            Answer::Truncated if channel == Channel::Configured => {
                self.follow_up = Some((candidate, Channel::Tcp, edns));
            }
            Answer::EdnsRefused if edns => self.follow_up = Some((candidate, channel, false)),
            Answer::Truncated | Answer::EdnsRefused | Answer::Bad | Answer::Mismatch => {}
        }
    }

    /// A message could not be sent or its connection broke.
    pub fn on_failure(&mut self, send: SendId) {
        self.sent[usize::from(send.0)].state = SentState::Ended;
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
        if let Some(patience_ends) = self.waiting_until() {
            return self.wait_or_hedge(patience_ends, now, hedges);
        }
        if let Some(candidate) = self.next_turn() {
            return self.send(candidate, Channel::Configured, true, Cause::Turn, now);
        }
        if self.sent.iter().any(|sent| sent.state == SentState::Late) {
            return Step::WaitUntil(self.deadline);
        }
        self.give_up()
    }

    /// Messages that nobody has answered yet, with the time they were sent: another server has overtaken these.
    pub fn unanswered(&self) -> impl Iterator<Item = (ServerIdx, Instant)> {
        let open = self.sent.iter().filter(|sent| sent.state != SentState::Ended);
        open.map(|sent| (self.candidates[sent.candidate].server, sent.sent_at))
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
        } else if self.has_timed_out || self.sent.iter().any(|sent| sent.state != SentState::Ended) {
            GiveUp::Timeout
        } else {
            GiveUp::AllFailed
        })
    }

    fn send(&mut self, candidate: usize, channel: Channel, edns: bool, cause: Cause, now: Instant) -> Step {
        let times = self.sent.iter().filter(|sent| sent.candidate == candidate).count() as u32;
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
            SentState::Late | SentState::Ended => None,
        });
        ends.min()
    }

    fn wait_or_hedge(&mut self, patience_ends: Instant, now: Instant, hedges: &HedgeBudget) -> Step {
        let wait_until = patience_ends.min(self.deadline);
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

    /// Whose turn it is: everybody once, then, while few were sent, those again who kept silent.
    fn next_turn(&mut self) -> Option<usize> {
        if self.tries >= UPSTREAM_TRIES_MAX {
            return None;
        }
        if self.next < self.candidates.len() {
            self.next += 1;
            return Some(self.next - 1);
        }
        if self.tries >= UPSTREAM_RETRIES_MAX {
            return None;
        }
        let is_silent = |i: &usize| {
            let mut sent = self.sent.iter().filter(|sent| sent.candidate == *i).peekable();
            sent.peek().is_some() && sent.all(|sent| sent.state == SentState::Late)
        };
        let times = |i: &usize| self.sent.iter().filter(|sent| sent.candidate == *i).count();
        (0..self.candidates.len()).filter(is_silent).min_by_key(times)
    }
}

/// What a reply is worth. `rcode` is the whole one, the EDNS part included; `edns` whether the question had an OPT.
pub fn classify(reply: &[u8], question: &Question, rcode: u16, edns: bool) -> Answer {
    const QR: u8 = 0x80;
    const TC: u8 = 0x02;
    let Some(header) = reply.first_chunk::<12>() else { return Answer::Mismatch };
    if header[2] & QR == 0 {
        return Answer::Mismatch;
    }
    let is_edns_refusal = edns && matches!(rcode, 1 | 4 | 16);
    match u16::from_be_bytes([header[4], header[5]]) {
        1 if asks(reply, question) => {}
        // Old servers refuse what they cannot parse with a bare header.
        0 if is_edns_refusal => return Answer::EdnsRefused,
        _ => return Answer::Mismatch,
    }
    if header[2] & TC != 0 {
        return Answer::Truncated;
    }
    match rcode {
        // RFC 6672 §2.2: YXDOMAIN (6) answers for a DNAME that makes the name too long.
        0 | 3 | 6 => Answer::Good,
        _ if is_edns_refusal => Answer::EdnsRefused,
        _ => Answer::Bad,
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

/// How much longer a message may be waited for at most.
pub fn time_left(deadline: Instant, now: Instant) -> Duration {
    deadline.saturating_duration_since(now)
}
