//! How much a prefix may ask for: buckets of misses and of amplified octets, with `now` as an argument.
//!
//! A client's own address has the budget of one line, or of as many as its configuration says; the network around it has
//! that of a few dozen. What a bucket is about, where it lies and what happens to a query is the daemon's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::engine::limits::RATE_LIMIT_BURST_SECS;

/// What one line may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Whether those over their limit feel it. Everything is counted either way.
    pub enforced: bool,
    /// Questions a second that upstream has to be asked for.
    pub misses_per_second: u32,
    /// Octets a second of answers beyond one and a half times their questions.
    pub amplified_per_second: u32,
}

impl Default for RateLimit {
    fn default() -> RateLimit {
        // A household's browsers start with some hundred names, of which a line's neighbours have asked most already; usual
        // answers are a hundred octets longer than 1.5 times their question.
        RateLimit { enforced: true, misses_per_second: 50, amplified_per_second: 16 << 10 }
    }
}

/// What a query costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Upstream has to be asked. A source that has proven its address pays a quarter: nobody spoofs it.
    Miss { is_proven: bool },
    /// Octets beyond 1.5 times the question.
    Amplified(usize),
}

/// Octets of an answer that count as amplified; small answers have none.
pub fn amplified(received: usize, sent: usize) -> usize {
    sent.saturating_sub(received + received / 2)
}

/// Addresses that share a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    bits: u64,
    len: u8,
    is_v6: bool,
}

impl Prefix {
    /// The address of one line: /32, or /64.
    pub fn line(source: IpAddr) -> Prefix {
        Prefix::of(source, 32, 64)
    }

    /// The network around it: /24, or /56.
    pub fn network(source: IpAddr) -> Prefix {
        Prefix::of(source, 24, 56)
    }

    fn of(source: IpAddr, v4_len: u8, v6_len: u8) -> Prefix {
        let (bits, len, is_v6) = match source.to_canonical() {
            IpAddr::V4(v4) => (u64::from(v4.to_bits()) << 32, v4_len, false),
            IpAddr::V6(v6) => ((v6.to_bits() >> 64) as u64, v6_len, true),
        };
        Prefix { bits: bits & u64::MAX << (64 - len), len, is_v6 }
    }

    /// Lines whose budgets its bucket holds when each address has one.
    pub fn lines(self) -> u32 {
        match (self.is_v6, self.len) {
            // Few of 256 lines ask for much at once.
            (false, 24) => 32,
            // A /56 is one subscriber's, with several networks at most.
            (true, 56) => 4,
            _ => 1,
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address: IpAddr = match self.is_v6 {
            false => Ipv4Addr::from_bits((self.bits >> 32) as u32).into(),
            true => Ipv6Addr::from_bits(u128::from(self.bits) << 64).into(),
        };
        write!(f, "{address}/{}", self.len)
    }
}

/// The budgets of one prefix.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Of the largest client in it that asked.
    lines: u32,
    /// In milliseconds of the owner's own time.
    filled_ms: u64,
    misses: Tank,
    amplified: Tank,
    pub over: Over,
}

/// What was over a limit, or would have been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Over {
    pub misses: u64,
    /// Answers, and their amplified octets.
    pub answers: u64,
    pub octets: u64,
    /// When it began, and when it was so last.
    pub first_ms: u64,
    pub last_ms: u64,
}

/// One budget, in thousandths.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Tank {
    left: u64,
    /// It ran dry, and is not full again yet.
    is_dry: bool,
}

impl Tank {
    pub(in crate::engine) fn full(rate: u64) -> Tank {
        Tank { left: capacity(rate), is_dry: false }
    }

    /// `rate` a second is as many thousandths a millisecond.
    pub(in crate::engine) fn fill(&mut self, rate: u64, elapsed_ms: u64) {
        let full = capacity(rate);
        self.left = self.left.saturating_add(rate.saturating_mul(elapsed_ms)).min(full);
        self.is_dry &= self.left < full;
    }

    /// Whether it is refused. One that ran dry refuses until it is full again: so long nobody gets more out of it by
    /// asking on.
    pub(in crate::engine) fn take(&mut self, thousandths: u64) -> bool {
        if !self.is_dry && self.left < thousandths {
            (self.left, self.is_dry) = (0, true);
        }
        if !self.is_dry {
            self.left -= thousandths;
        }
        self.is_dry
    }

    pub(in crate::engine) fn is_dry(self) -> bool {
        self.is_dry
    }

    pub(in crate::engine) fn missing(self, rate: u64) -> u64 {
        capacity(rate).saturating_sub(self.left)
    }
}

fn capacity(rate: u64) -> u64 {
    rate.saturating_mul(1000 * RATE_LIMIT_BURST_SECS)
}

/// What a bucket may give.
#[derive(Debug, Clone, Copy)]
struct Rates {
    misses: u64,
    amplified: u64,
}

impl RateLimit {
    /// As the configuration calls it.
    pub fn mode(&self) -> &'static str {
        if self.enforced { "enforce" } else { "dry-run" }
    }

    fn rates(&self, lines: u32) -> Rates {
        let of = |per_second: u32| u64::from(per_second) * u64::from(lines);
        Rates { misses: of(self.misses_per_second), amplified: of(self.amplified_per_second) }
    }
}

impl Bucket {
    /// A full one, for `lines` lines.
    pub fn new(limit: &RateLimit, lines: u32, now_ms: u64) -> Bucket {
        let rates = limit.rates(lines);
        Bucket {
            lines,
            filled_ms: now_ms,
            misses: Tank::full(rates.misses),
            amplified: Tank::full(rates.amplified),
            over: Over::default(),
        }
    }

    /// Pays a cost; whether it is over the limit.
    pub fn charge(&mut self, limit: &RateLimit, lines: u32, cost: Cost, now_ms: u64) -> bool {
        // A network may hold clients of different sizes; the largest says what it holds.
        self.lines = self.lines.max(lines);
        self.fill(limit, now_ms);
        let is_over = match cost {
            Cost::Miss { is_proven } => self.misses.take(if is_proven { 250 } else { 1000 }),
            Cost::Amplified(octets) => self.amplified.take(1000 * octets as u64),
        };
        if is_over {
            match cost {
                Cost::Miss { .. } => self.over.misses += 1,
                Cost::Amplified(octets) => {
                    self.over.answers += 1;
                    self.over.octets += octets as u64;
                }
            }
            if self.over.first_ms == 0 {
                self.over.first_ms = now_ms;
            }
            self.over.last_ms = now_ms;
        }
        is_over
    }

    fn fill(&mut self, limit: &RateLimit, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = self.filled_ms.max(now_ms);
        let rates = limit.rates(self.lines);
        self.misses.fill(rates.misses, elapsed_ms);
        self.amplified.fill(rates.amplified, elapsed_ms);
    }

    /// How little would be lost if it were forgotten: whether anybody was over the limit, then how empty it is, in
    /// thousandths.
    pub fn weight(&self, limit: &RateLimit, now_ms: u64) -> (bool, bool, u64) {
        let mut filled = *self;
        filled.fill(limit, now_ms);
        let rates = limit.rates(self.lines);
        let emptiness = |tank: Tank, rate| 1000 - 1000 * tank.left / capacity(rate).max(1);
        let is_dry = filled.misses.is_dry || filled.amplified.is_dry;
        let emptiest = emptiness(filled.misses, rates.misses).max(emptiness(filled.amplified, rates.amplified));
        (is_dry, self.over != Over::default(), emptiest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { enforced: true, misses_per_second: 2, amplified_per_second: 1000 };
    const MISS: Cost = Cost::Miss { is_proven: false };

    #[test]
    fn prefixes_are_of_both_families() {
        for (source, line, network) in [
            ("192.0.2.77", "192.0.2.77/32", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.77/32", "192.0.2.0/24"),
            ("2001:db8:1:2345:6:7:8:9", "2001:db8:1:2345::/64", "2001:db8:1:2300::/56"),
        ] {
            let source = source.parse().unwrap();
            assert_eq!(Prefix::line(source).to_string(), line);
            assert_eq!(Prefix::network(source).to_string(), network);
        }
        // Zeros in the same places are not the same in the other family.
        assert_ne!(Prefix::line("0.0.0.1".parse().unwrap()), Prefix::line("0:0:0:0:1::".parse().unwrap()));
    }

    #[test]
    fn a_burst_is_ten_seconds_of_the_rate_and_a_dry_bucket_waits_until_it_is_full() {
        let mut bucket = Bucket::new(&LIMIT, 1, 0);
        let mut over = |at_ms| bucket.charge(&LIMIT, 1, MISS, at_ms);
        assert_eq!((0..25).filter(|_| over(0)).count(), 5);
        // Two a second have come in since, but who asks on gets nothing of it.
        assert!(over(9_999));
        assert!(!over(10_000), "it is full again");
        assert_eq!((0..25).filter(|_| over(10_000)).count(), 6);
        assert_eq!(bucket.over.misses, 12);
    }

    #[test]
    fn lines_multiply_and_the_largest_client_counts() {
        let mut bucket = Bucket::new(&LIMIT, 1, 0);
        assert!((0..20).all(|_| !bucket.charge(&LIMIT, 1, MISS, 0)));
        // A larger one of the same network comes later: what it may have fills up from there.
        assert!(!bucket.charge(&LIMIT, 10, MISS, 1_000));
        assert!((0..19).all(|_| !bucket.charge(&LIMIT, 1, MISS, 1_000)));
        assert!(bucket.charge(&LIMIT, 1, MISS, 1_000));
        assert!(bucket.charge(&LIMIT, 1, MISS, 10_999));
        assert!(!bucket.charge(&LIMIT, 1, MISS, 11_000));
    }

    #[test]
    fn a_proven_source_pays_a_quarter() {
        let mut bucket = Bucket::new(&LIMIT, 1, 0);
        assert_eq!((0..100).filter(|_| bucket.charge(&LIMIT, 1, Cost::Miss { is_proven: true }, 0)).count(), 20);
    }

    #[test]
    fn small_answers_are_never_amplified() {
        for (received, sent, counted) in
            [(40, 40, 0), (40, 60, 0), (40, 61, 1), (41, 61, 0), (40, 1232, 1172), (0, 5, 5)]
        {
            assert_eq!(amplified(received, sent), counted);
        }
    }

    #[test]
    fn over_ten_seconds_after_it_ran_dry_a_prefix_gets_no_more_than_it_may() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let mut bucket = Bucket::new(&LIMIT, 1, 0);
            let mut now = 0;
            // When it ran dry, and what was received and sent since.
            let mut dry: Option<(u64, usize, usize)> = None;
            for _ in 0..2_000 {
                now += next(60);
                let (received, answer) = (30 + next(40) as usize, 40 + next(1200) as usize);
                let octets = amplified(received, answer);
                let is_over = octets > 0 && bucket.charge(&LIMIT, 1, Cost::Amplified(octets), now);
                let sent = if is_over { received } else { answer };
                dry = match dry {
                    None if is_over => Some((now, received, sent)),
                    Some((since, before, sent_before)) if now - since < 10_000 => {
                        let (received, sent) = (before + received, sent_before + sent);
                        assert!(2 * sent <= 3 * received, "{sent} octets for {received}, {} ms after", now - since);
                        Some((since, received, sent))
                    }
                    _ => None,
                };
            }
        }
    }
}
