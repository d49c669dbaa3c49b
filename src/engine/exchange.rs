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

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::answer::{self, AnswerBuilder};
use crate::engine::limits::{UPSTREAM_RETRIES_MAX, UPSTREAM_SERVER_TRIES_MAX, UPSTREAM_TRIES_MAX};
use crate::engine::query::{Question, Rcode, RecordType};
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

/// What the fast lane found when it asked a server before the exchange began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// What the server has to say does not fit a datagram: it is asked by TCP at once.
    Truncated(ServerIdx),
    /// The server knows no EDNS, perhaps: it is asked without.
    EdnsRefused(ServerIdx),
    /// The server has answered badly, with this where it can be read: others are asked.
    Bad(ServerIdx, Option<Arc<answer::Answer>>),
    /// The server has found the name forged, and said this.
    Bogus(Arc<answer::Answer>),
    /// It was asked then and has said nothing yet. Whoever asked still listens.
    Silent(ServerIdx, Instant),
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
    /// It says something about the name, with or without data: [`Rcode::is_answer`].
    Good,
    /// The beginning of a chain of aliases, by a server that looks up nothing for others: it ends where the server's zones do.
    Partial,
    /// TC=1: the rest is to be had over TCP.
    Truncated,
    /// FORMERR, NOTIMP or BADVERS to a question with EDNS: an old server, perhaps.
    EdnsRefused,
    /// SERVFAIL, REFUSED or another code that says nothing about the name.
    Bad,
    /// SERVFAIL because the name's signatures are wrong. That is an answer: a server that does not look would tell what is forged.
    Bogus,
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
    /// By a lane, which listens for the answer itself: nothing of it comes here.
    by_lane: bool,
}

impl Sent {
    /// Whether an answer to it may come here.
    fn is_awaited(&self) -> bool {
        self.state.is_open() && !self.by_lane
    }
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
    /// See [`Before::Truncated`].
    truncated_by: Option<ServerIdx>,
    /// Nobody else is to be asked.
    is_bogus: bool,
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
            truncated_by: None,
            is_bogus: false,
            deadline,
            done: None,
        }
    }

    /// Goes on from what is known already.
    #[must_use]
    pub fn after(mut self, before: Option<&Before>, now: Instant) -> Exchange {
        match before {
            None => {}
            Some(&Before::Truncated(server)) => self.truncated_by = Some(server),
            Some(&Before::EdnsRefused(server)) => {
                let is_ours = self.was_sent(server, SentState::Answered, now);
                self.follow_up = is_ours.then_some((0, Channel::Configured, false));
            }
            Some(Before::Bogus(_)) => self.is_bogus = true,
            Some(&Before::Bad(server, _)) => _ = self.was_sent(server, SentState::Failed, now),
            Some(&Before::Silent(server, sent_at)) => {
                self.has_timed_out = self.was_sent(server, SentState::Late, sent_at);
            }
        }
        self
    }

    /// The first message went to this server, by a lane. `false`: it is none of ours any more.
    fn was_sent(&mut self, server: ServerIdx, state: SentState, sent_at: Instant) -> bool {
        let Some(at) = self.candidates.iter().position(|candidate| candidate.server == server) else { return false };
        self.candidates[..=at].rotate_right(1);
        self.sent.push(Sent { candidate: 0, channel: Channel::Configured, edns: true, sent_at, state, by_lane: true });
        (self.next, self.tries) = (1, 1);
        true
    }

    /// The answer to a message came. Its worth is [`classify`]'s.
    pub fn on_answer(&mut self, send: SendId, answer: Answer) {
        let sent = &mut self.sent[usize::from(send.0)];
        sent.state = SentState::Answered;
        let (candidate, channel, edns) = (sent.candidate, sent.channel, sent.edns);
        match answer {
            Answer::Good | Answer::Partial => self.done = self.done.or(Some(send)),
            Answer::Truncated if channel == Channel::Configured => {
                self.follow_up = Some((candidate, Channel::Tcp, edns));
            }
            Answer::Bogus => self.is_bogus = true,
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
        if now >= self.deadline || self.is_bogus {
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
            let is_cut = self.truncated_by == Some(self.candidates[candidate].server);
            let channel = if is_cut { Channel::Tcp } else { Channel::Configured };
            return self.send(candidate, channel, true, Cause::Turn, now);
        }
        if self.sent.iter().any(Sent::is_awaited) {
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

    /// Whether the message had an OPT: without one nobody asks for signatures.
    pub fn had_edns(&self, send: SendId) -> bool {
        self.sent[usize::from(send.0)].edns
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
        self.sent.push(Sent { candidate, channel, edns, sent_at: now, state, by_lane: false });
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
        (times(&again) < if must_stay { 2 } else { UPSTREAM_SERVER_TRIES_MAX }).then_some(again)
    }
}

/// What a reply is worth and, where it is an answer, good or bad, what it says. `edns`: whether the question had an OPT.
pub fn classify(reply: &[u8], question: &Question, edns: bool) -> (Answer, Option<answer::Answer>) {
    let mut read = AnswerBuilder::new(Rcode::NOERROR);
    match read_reply(reply, question, edns, &mut read) {
        worth @ (Answer::Good | Answer::Partial | Answer::Bad | Answer::Bogus) => {
            (worth, Some(read.finish().answering(question)))
        }
        worth => (worth, None),
    }
}

/// As [`classify`], into memory that is used again: what can be read is in `read`, with all that came beside the answer.
pub fn read_reply(reply: &[u8], question: &Question, edns: bool, read: &mut AnswerBuilder) -> Answer {
    const QR: u8 = 0x80;
    const TC: u8 = 0x02;
    let Some(header) = reply.first_chunk::<12>() else { return Answer::Mismatch };
    if header[2] & QR == 0 {
        return Answer::Mismatch;
    }
    let is_edns_refusal = |rcode: u16| edns && matches!(rcode, 1 | 4 | 16);
    let refuses_edns = is_edns_refusal(u16::from(header[3] & 0x0f));
    match u16::from_be_bytes([header[4], header[5]]) {
        1 if answer::asks(reply, question) => {}
        // Old servers refuse what they cannot parse with a bare header.
        0 if refuses_edns => return Answer::EdnsRefused,
        _ => return Answer::Mismatch,
    }
    // Neither needs to be whole.
    if header[2] & TC != 0 {
        return Answer::Truncated;
    }
    if refuses_edns {
        return Answer::EdnsRefused;
    }
    if read.read(reply, question).is_err() {
        return Answer::Malformed;
    }
    match read.answer().rcode {
        Rcode::NOERROR if is_referral(header, read.answer()) || read.answer().is_ring(question) => Answer::Bad,
        Rcode::NOERROR if is_partial(header, question, read.answer()) => Answer::Partial,
        rcode if rcode.is_answer() => Answer::Good,
        rcode if is_edns_refusal(rcode.0) => Answer::EdnsRefused,
        Rcode::SERVFAIL if read.answer().is_bogus() => Answer::Bogus,
        _ => Answer::Bad,
    }
}

/// The header's octet with RA and the code, and RA in it.
const RA: u8 = 0x80;

/// RFC 1034 §4.3.2: a server that does not recurse (RA=0) says of a chain what is in its own zones, and no more. One that does has
/// looked, and means that there is nothing at the end.
fn is_partial(header: &[u8; 12], question: &Question, answer: &answer::Answer) -> bool {
    let mut found = answer.section(answer::Section::Answer);
    header[3] & RA == 0
        && !matches!(question.qtype, RecordType::CNAME | RecordType::ANY)
        && found.clone().any(|record| matches!(record.rtype, RecordType::CNAME | RecordType::DNAME))
        && found.all(|record| record.rtype != question.qtype)
        && answer.section(answer::Section::Authority).all(|record| record.rtype != RecordType::SOA)
}

/// No answer, and servers to ask instead (RFC 2308 §2.2): who says so does not ask for others, or not about this name, so another
/// server may know. Some that do (RA) tell of NS beside no data; none of them tells of the root's.
fn is_referral(header: &[u8; 12], answer: &answer::Answer) -> bool {
    const AA: u8 = 0x04;
    let recurses = header[3] & RA != 0;
    let authority = || answer.section(answer::Section::Authority);
    // Beside the servers a signed zone tells of their keys, or that there are none.
    header[2] & AA == 0
        && answer.section(answer::Section::Answer).next().is_none()
        && authority().any(|record| record.rtype == RecordType::NS && (!recurses || record.owner == [0]))
        && authority().all(|record| record.rtype != RecordType::SOA)
}

#[cfg(test)]
mod tests;
