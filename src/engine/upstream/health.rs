//! Health: what a server's past says about asking it next, and the order of a group's servers.
//!
//! A value that learns from outcomes and is asked with `now`; the daemon keeps one for each server. Time-outs and network
//! errors put a server in back-off; SERVFAIL and REFUSED are answers about a name and do so only when many names get them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::engine::name::Name;
use crate::engine::upstream::routes::name_hash;
use crate::engine::upstream::{GroupId, Member, Routes, ServerIdx};

/// Failures in a row before a server is left alone for a while: one lost datagram says nothing.
const FAILURES_BEFORE_BACK_OFF: u32 = 3;
/// The first back-off; each probe that fails doubles it.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// The longest back-off: a server that came back is noticed within this time.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Different names in a row answered with SERVFAIL or REFUSED before the server itself is blamed. Chosen.
const LAME_NAMES_MAX: usize = 16;
/// How long a server is waited for before the next is asked: four times its usual, within these bounds.
const PATIENCE_MIN: Duration = Duration::from_millis(400);
/// See [`PATIENCE_MIN`]. Three such tries fit in a question's whole time.
const PATIENCE_MAX: Duration = Duration::from_millis(1_500);
/// For a server that never answered yet.
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(800);
/// Added to twice the usual round trip before a server is called slow: jitter of a fast one is no reason. Chosen.
const HEDGE_MARGIN: Duration = Duration::from_millis(50);
/// One question in this many goes first to a server that is not the fastest, so that a faster one is noticed.
pub const EXPLORE_ONE_IN: u64 = 32;

/// What is known of one server.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Smoothed round trip, RFC 6298's way; `None` until the first answer.
    rtt: Option<Duration>,
    /// Time-outs and network errors in a row.
    failures: u32,
    /// When it last said anything about a question of ours.
    heard_at: Option<Instant>,
    /// Set while `failures` has reached [`FAILURES_BEFORE_BACK_OFF`]; when it has passed, one question probes.
    back_off_until: Option<Instant>,
    /// A question is out to see whether the server is back; only its failure lengthens the back-off.
    is_probing: bool,
    /// The length of the present back-off.
    back_off: Duration,
    /// Hashes of the different names that got SERVFAIL or REFUSED since the last good answer; at most `LAME_NAMES_MAX`.
    lame_names: Vec<u64>,
}

/// Whether a server is worth asking now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Up,
    /// The back-off has passed and this question is the one that tries.
    Probe,
    /// In back-off: asked only when nothing else is left.
    Down,
}

impl Health {
    /// A good answer after `rtt`.
    pub fn on_answer(&mut self, rtt: Duration, now: Instant) {
        self.smooth(rtt);
        self.on_alive(now);
        self.lame_names.clear();
    }

    /// SERVFAIL, REFUSED or their like for `qname`, or an answer that cannot be read: the server is there, but of no use
    /// for this name. How long it took is the name's fault as well, and no round trip.
    pub fn on_lame(&mut self, qname: &Name, now: Instant) {
        let hash = name_hash(qname);
        if !self.lame_names.contains(&hash) {
            self.lame_names.push(hash);
        }
        if self.lame_names.len() < LAME_NAMES_MAX {
            return self.on_alive(now);
        }
        self.lame_names.clear();
        self.failures = self.failures.max(FAILURES_BEFORE_BACK_OFF - 1);
        self.on_failure(now);
    }

    /// A time-out or a network error. Many questions that fail together count as one step of back-off.
    pub fn on_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let is_waiting = !self.is_probing && self.back_off_until.is_some_and(|until| now < until);
        if self.failures < FAILURES_BEFORE_BACK_OFF || is_waiting {
            return;
        }
        self.is_probing = false;
        self.back_off = (self.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
        self.back_off_until = Some(now + self.back_off);
    }

    /// A question sent then was never answered. It counts only when the server said nothing to others since: three cold
    /// names in a row are slow, not dead.
    pub fn on_silence(&mut self, sent_at: Instant, now: Instant) {
        if self.heard_at.is_none_or(|heard_at| heard_at < sent_at) {
            self.on_failure(now);
        }
    }

    /// Another server answered first, after this one had been waited for `elapsed`.
    pub fn on_overtaken(&mut self, elapsed: Duration) {
        if self.rtt.is_none_or(|rtt| rtt < elapsed) {
            self.smooth(elapsed);
        }
    }

    /// Where the server stands. Taking [`Standing::Probe`] with `may_probe` makes others wait for what this one finds.
    pub fn standing(&mut self, now: Instant, may_probe: bool) -> Standing {
        match self.back_off_until {
            None => Standing::Up,
            Some(until) if now < until || !may_probe => Standing::Down,
            Some(_) => {
                self.back_off_until = Some(now + PATIENCE_MAX);
                self.is_probing = true;
                Standing::Probe
            }
        }
    }

    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Failures in a row, now.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn is_up(&self) -> bool {
        self.back_off_until.is_none()
    }

    /// In back-off, which has not passed: no question need try yet whether it is back.
    pub fn is_down(&self, now: Instant) -> bool {
        self.back_off_until.is_some_and(|until| now < until)
    }

    fn on_alive(&mut self, now: Instant) {
        self.heard_at = Some(now);
        self.failures = 0;
        self.back_off_until = None;
        self.is_probing = false;
        self.back_off = Duration::ZERO;
    }

    fn smooth(&mut self, sample: Duration) {
        // RFC 6298 §2.3: seven parts of the old, one of the new.
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
    }
}

/// One server in the order it will be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub server: ServerIdx,
    /// AD of its answer may reach a client.
    pub trust_ad: bool,
    /// Tier within the whole walk, own tiers first; a hedge stays inside one.
    pub stage: u16,
    pub standing: Standing,
    pub rtt: Option<Duration>,
}

impl Candidate {
    /// How long to wait for it before the next server is asked.
    pub fn patience(&self) -> Duration {
        patience(self.rtt)
    }

    /// After this long it is slow, and a second server may be asked beside it. Unknown for one that never answered.
    pub fn hedge_after(&self) -> Option<Duration> {
        self.rtt.map(|rtt| (rtt * 2 + HEDGE_MARGIN).min(PATIENCE_MAX))
    }
}

/// How long to wait for a server with this round trip before the next one is asked.
pub fn patience(rtt: Option<Duration>) -> Duration {
    rtt.map_or(PATIENCE_UNKNOWN, |rtt| (rtt * 4).clamp(PATIENCE_MIN, PATIENCE_MAX))
}

/// The group's servers in the order to ask them: tier by tier, a probe first, then by round trip; those in back-off
/// after all others. `roll` is random and lets a slower server be tried now and then.
pub fn candidates(
    routes: &Routes,
    group: GroupId,
    roll: u64,
    mut standing: impl FnMut(ServerIdx, bool) -> (Standing, Option<Duration>),
) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::with_capacity(4);
    for (stage, tier) in routes.stages(group).enumerate() {
        // A server of a later tier is not probed while an earlier tier can answer.
        let may_probe = found.iter().all(|candidate| candidate.standing != Standing::Up);
        let start = found.len();
        for &Member { server, trust_ad } in tier {
            if found.iter().all(|candidate| candidate.server != server) {
                let (standing, rtt) = standing(server, may_probe);
                found.push(Candidate { server, trust_ad, stage: stage as u16, standing, rtt });
            }
        }
        found[start..].sort_by_key(|candidate| (order(candidate.standing), candidate.rtt));
        explore(&mut found[start..], roll);
    }
    // Stable: within each half the tiers keep their order.
    found.sort_by_key(|candidate| candidate.standing == Standing::Down);
    found
}

fn order(standing: Standing) -> u8 {
    match standing {
        Standing::Probe => 0,
        Standing::Up => 1,
        Standing::Down => 2,
    }
}

/// Now and then another server that is up goes first.
fn explore(tier: &mut [Candidate], roll: u64) {
    let up = tier.iter().take_while(|candidate| candidate.standing == Standing::Up).count();
    if up > 1 && roll.is_multiple_of(EXPLORE_ONE_IN) {
        let chosen = 1 + (roll / EXPLORE_ONE_IN) as usize % (up - 1);
        tier[..=chosen].rotate_right(1);
    }
}

/// How many second questions may be sent: one for every twenty first ones, and none while tries fail.
#[derive(Debug, Default)]
pub struct HedgeBudget {
    /// In twentieths of a question.
    saved: AtomicU32,
}

impl HedgeBudget {
    /// What a hedge costs, in what a question earns: 1 in 20 is 5 %.
    const COST: u32 = 20;
    /// Ten hedges: a pause of upstream's cannot spend an hour's savings at once.
    const SAVED_MAX: u32 = 200;

    /// A question was asked.
    pub fn on_question(&self) {
        let saved = self.saved.load(Ordering::Relaxed);
        if saved < Self::SAVED_MAX {
            self.saved.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A try failed. It costs as much as a hedge, so that nothing is left for hedges when one in twenty fails.
    pub fn on_failure(&self) {
        self.change(|saved| Some(saved.saturating_sub(Self::COST)));
    }

    /// Takes one hedge; false when there is none.
    pub fn take(&self) -> bool {
        self.change(|saved| saved.checked_sub(Self::COST))
    }

    fn change(&self, f: impl FnMut(u32) -> Option<u32>) -> bool {
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, f).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::upstream::{Fallback, Host, Server, UpstreamTable, UpstreamTransport};

    const MS: Duration = Duration::from_millis(1);

    fn name(i: usize) -> Name {
        Name::from_text(&format!("n{i}.example")).unwrap()
    }

    #[test]
    fn back_off_grows_by_probes_and_ends_with_an_answer() {
        let start = Instant::now();
        let mut health = Health::default();
        health.on_answer(10 * MS, Instant::now());
        for _ in 0..FAILURES_BEFORE_BACK_OFF - 1 {
            health.on_failure(start);
            assert_eq!(health.standing(start, true), Standing::Up);
        }
        // A hundred questions that were in flight fail together: one back-off of a second.
        for _ in 0..100 {
            health.on_failure(start);
        }
        assert_eq!(health.standing(start + 999 * MS, true), Standing::Down);
        let mut at = start + 1_000 * MS;
        for expected_secs in [2, 4, 8, 16, 30, 30] {
            assert_eq!(health.standing(at, false), Standing::Down, "a later tier does not probe");
            assert_eq!(health.standing(at, true), Standing::Probe);
            assert_eq!(health.standing(at, true), Standing::Down, "one probe at a time");
            at += 400 * MS;
            health.on_failure(at);
            let back = Duration::from_secs(expected_secs);
            assert_eq!(health.standing(at + back - MS, true), Standing::Down, "{expected_secs} s");
            at += back;
        }
        assert_eq!(health.standing(at, true), Standing::Probe);
        health.on_answer(10 * MS, Instant::now());
        assert!(health.is_up());
        assert_eq!(health.failures(), 0);
    }

    #[test]
    fn a_probe_that_tells_nothing_is_followed_by_another() {
        let start = Instant::now();
        let mut health = Health::default();
        (0..3).for_each(|_| health.on_failure(start));
        let at = start + BACK_OFF_MIN;
        assert_eq!(health.standing(at, true), Standing::Probe);
        assert_eq!(health.standing(at + PATIENCE_MAX, true), Standing::Probe);
    }

    #[test]
    fn servfail_blames_the_server_only_for_many_names() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..1_000 {
            health.on_lame(&name(0), now);
        }
        assert!(health.is_up(), "one name");
        (1..LAME_NAMES_MAX - 1).for_each(|i| health.on_lame(&name(i), now));
        health.on_answer(MS, now);
        (0..LAME_NAMES_MAX - 1).for_each(|i| health.on_lame(&name(i), now));
        assert!(health.is_up(), "a good answer in between");
        health.on_lame(&name(99), now);
        assert!(!health.is_up());
    }

    #[test]
    fn a_slow_servfail_is_no_round_trip() {
        let now = Instant::now();
        let mut health = Health::default();
        health.on_answer(10 * MS, now);
        health.on_lame(&name(0), now);
        assert_eq!(health.rtt(), Some(10 * MS));
    }

    #[test]
    fn silence_counts_only_when_nothing_else_was_heard() {
        let start = Instant::now();
        for (case, heard_ms, is_up) in [("before", 99, false), ("since", 101, true)] {
            let mut health = Health::default();
            health.on_answer(10 * MS, start + heard_ms * MS);
            (0..5).for_each(|_| health.on_silence(start + 100 * MS, start + 1_600 * MS));
            assert_eq!(health.is_up(), is_up, "{case}");
        }
    }

    #[test]
    fn a_server_overtaken_while_waited_for_longer_than_usual_sinks() {
        let mut health = Health::default();
        health.on_answer(10 * MS, Instant::now());
        health.on_overtaken(5 * MS);
        assert_eq!(health.rtt(), Some(10 * MS));
        health.on_overtaken(90 * MS);
        assert_eq!(health.rtt(), Some(20 * MS));
    }

    #[test]
    fn hedges_are_one_in_twenty_and_none_while_tries_fail() {
        let budget = HedgeBudget::default();
        assert!(!budget.take());
        let mut hedges = 0;
        for _ in 0..10_000 {
            budget.on_question();
            hedges += u32::from(budget.take());
        }
        assert_eq!(hedges, 500);
        for i in 0..10_000 {
            budget.on_question();
            if i % 20 == 0 {
                budget.on_failure();
            }
            assert!(!budget.take());
        }
        (0..100_000).for_each(|_| budget.on_question());
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10, "savings are bounded");
    }

    fn routes(tiers: &[&[u8]]) -> Routes {
        let server = |last: &u8| Server {
            transport: UpstreamTransport::Udp,
            host: Host::Address(([192, 0, 2, *last], 53).into()),
            tls_name: None,
            path: String::new(),
        };
        let table = |(i, tier): (usize, &&[u8])| UpstreamTable {
            zones: vec![Name::ROOT],
            servers: tier.iter().map(server).collect(),
            tier: i as u8 + 1,
            fallback: Fallback::None,
            trust_ad: false,
        };
        Routes::new(&tiers.iter().enumerate().map(table).collect::<Vec<_>>())
    }

    #[test]
    fn the_order_is_tier_then_round_trip_and_back_off_last() {
        use Standing::{Down, Probe, Up};
        let routes = routes(&[&[0, 1, 2], &[3, 4]]);
        for (case, standings, expected) in [
            ("by round trip", [(Up, 30), (Up, 10), (Up, 20), (Up, 1), (Up, 2)], [1, 2, 0, 3, 4]),
            ("unknown first", [(Up, 30), (Up, 10), (Up, 0), (Up, 1), (Up, 0)], [2, 1, 0, 4, 3]),
            ("down last", [(Up, 30), (Down, 10), (Up, 20), (Up, 1), (Up, 2)], [2, 0, 3, 4, 1]),
            ("a probe first", [(Up, 30), (Up, 10), (Probe, 99), (Up, 1), (Up, 2)], [2, 1, 0, 3, 4]),
            ("a tier that is down", [(Down, 3), (Down, 2), (Down, 1), (Up, 1), (Up, 2)], [3, 4, 2, 1, 0]),
        ] {
            let ordered = candidates(&routes, GroupId(0), 1, |server, _| {
                let (standing, rtt) = standings[server.0 as usize];
                (standing, (rtt > 0).then_some(rtt * MS))
            });
            assert_eq!(ordered.iter().map(|c| c.server.0).collect::<Vec<_>>(), expected, "{case}");
        }
    }

    #[test]
    fn one_question_in_a_while_tries_a_slower_server_first() {
        let routes = routes(&[&[0, 1, 2]]);
        let firsts = (0..EXPLORE_ONE_IN * 300).map(|roll| {
            let ordered = candidates(&routes, GroupId(0), roll, |server, _| (Standing::Up, Some((server.0 + 1) * MS)));
            assert_eq!(ordered.len(), 3);
            ordered[0].server.0
        });
        let mut counts = [0; 3];
        firsts.for_each(|server| counts[server as usize] += 1);
        assert_eq!(counts, [300 * (EXPLORE_ONE_IN as usize - 1), 150, 150]);
    }

    #[test]
    fn patience_follows_the_round_trip_within_bounds() {
        let candidate =
            |rtt| Candidate { server: ServerIdx(0), trust_ad: false, stage: 0, standing: Standing::Up, rtt };
        for (rtt, patience, hedge) in [
            (None, 800, None),
            (Some(1), 400, Some(52)),
            (Some(200), 800, Some(450)),
            (Some(2_000), 1_500, Some(1_500)),
        ] {
            let candidate = candidate(rtt.map(|rtt| rtt * MS));
            assert_eq!(candidate.patience(), patience * MS, "{rtt:?}");
            assert_eq!(candidate.hedge_after(), hedge.map(|hedge| hedge * MS), "{rtt:?}");
        }
    }
}
