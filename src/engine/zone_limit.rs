//! How often questions about one zone may fail before upstream is left alone with it: what a flood of random names below a
//! victim's domain meets. Pure: `now` is an argument; where buckets lie is the daemon's.

use crate::engine::answer::{Answer, Section};
use crate::engine::matcher::public_suffix::is_public_suffix;
use crate::engine::name::{Labels, Name};
use crate::engine::query::{Rcode, RecordType};
use crate::engine::rate_limit::Tank;

/// Of the questions about a zone over its limit one in so many goes on: good names get through, and recovery is seen.
const LET_THROUGH_ONE_IN: u32 = 10;

/// How much failure one zone may cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneLimit {
    /// Whether it is felt. Everything is counted either way.
    pub enforced: bool,
    /// NXDOMAIN, SERVFAIL and silence of upstream.
    pub failures_per_second: u32,
    /// Zones that are never limited, with all below: lists of mail servers say NXDOMAIN all day.
    pub spare: Vec<Name>,
}

impl ZoneLimit {
    /// As the configuration calls it.
    pub fn mode(&self) -> &'static str {
        if self.enforced { "enforce" } else { "dry-run" }
    }

    pub fn spares(&self, qname: &Name) -> bool {
        self.spare.iter().any(|zone| qname.is_at_or_below(zone))
    }

    fn rate(&self) -> u64 {
        u64::from(self.failures_per_second)
    }
}

/// The budget of one zone.
#[derive(Debug, Clone, Copy)]
pub struct ZoneBucket {
    tank: Tank,
    /// In milliseconds of the owner's own time.
    filled_ms: u64,
    /// Questions since it ran dry.
    asked: u32,
}

impl ZoneBucket {
    pub fn new(limit: &ZoneLimit, now_ms: u64) -> ZoneBucket {
        ZoneBucket { tank: Tank::full(limit.rate()), filled_ms: now_ms, asked: 0 }
    }

    /// Counts a failure; whether the zone is over its limit.
    pub fn fail(&mut self, limit: &ZoneLimit, now_ms: u64) -> bool {
        self.fill(limit, now_ms);
        self.tank.take(1000)
    }

    /// Whether a question is not to go upstream.
    pub fn refuses(&mut self, limit: &ZoneLimit, now_ms: u64) -> bool {
        self.fill(limit, now_ms);
        if !self.tank.is_dry() {
            self.asked = 0;
            return false;
        }
        self.asked = self.asked.wrapping_add(1);
        !self.asked.is_multiple_of(LET_THROUGH_ONE_IN)
    }

    fn fill(&mut self, limit: &ZoneLimit, now_ms: u64) {
        self.tank.fill(limit.rate(), now_ms.saturating_sub(self.filled_ms));
        self.filled_ms = self.filled_ms.max(now_ms);
    }

    /// How little would be lost if it were forgotten: whether it is dry, then what is missing.
    pub fn weight(&self, limit: &ZoneLimit, now_ms: u64) -> (bool, u64) {
        let mut filled = *self;
        filled.fill(limit, now_ms);
        (filled.tank.is_dry(), filled.tank.missing(limit.rate()))
    }
}

/// The zone that a failure counts for, a suffix of `qname`; `None`: the answer is no failure, or nobody's zone in particular.
/// `answer`: what upstream said in the end, if anything.
///
/// A name that does not exist says which zone says so. Of one that fails only what was registered is known. A public
/// suffix is never meant: it holds what other people registered.
pub fn zone_of<'n>(qname: &'n Name, answer: Option<&Answer>) -> Option<&'n [u8]> {
    match answer {
        Some(answer) if answer.rcode == Rcode::NXDOMAIN => {
            let soa = answer.section(Section::Authority).find(|record| record.rtype == RecordType::SOA)?;
            let owner = Name::from_wire(soa.owner).ok()?;
            // A chain may end in another zone; that one is not asked for by this name.
            let is_ours = qname.is_at_or_below(&owner) && !is_public_suffix(owner.as_wire());
            is_ours.then(|| &qname.as_wire()[qname.as_wire().len() - owner.as_wire().len()..])
        }
        Some(answer) if !answer.is_failure() => None,
        _ => zones_of(qname).next(),
    }
}

/// Every suffix of a name that may be a zone with a limit: from what was registered down to the name itself.
pub fn zones_of(qname: &Name) -> impl Iterator<Item = &[u8]> {
    let wire = qname.as_wire();
    let suffixes = Labels::of(wire).from_root().map(|(_, suffix)| suffix.len()).collect::<smallvec::SmallVec<[_; 8]>>();
    suffixes.into_iter().map(move |len| &wire[wire.len() - len..]).skip_while(|zone| is_public_suffix(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::answer::AnswerBuilder;
    use crate::engine::test_support::name;

    fn limit() -> ZoneLimit {
        ZoneLimit { enforced: true, failures_per_second: 2, spare: vec![name("zen.example.org")] }
    }

    #[test]
    fn a_zone_over_its_limit_lets_one_in_ten_through_until_it_has_recovered() {
        let limit = limit();
        let mut bucket = ZoneBucket::new(&limit, 0);
        assert!((0..20).all(|_| !bucket.fail(&limit, 0) && !bucket.refuses(&limit, 0)));
        assert!(bucket.fail(&limit, 0));
        assert_eq!((0..100).filter(|_| !bucket.refuses(&limit, 9_999)).count(), 10);
        assert!(!bucket.refuses(&limit, 10_000));
    }

    #[test]
    fn a_failure_counts_for_the_zone_that_says_so_or_what_was_registered() {
        let nxdomain = |soa: &str| {
            let mut made = AnswerBuilder::new(Rcode::NXDOMAIN);
            made.push(Section::Authority, name(soa).as_wire(), RecordType::SOA, 60, &[0; 22]);
            made.finish()
        };
        for (what, qname, answer, zone) in [
            ("below a zone of its own", "x.a.victim.com", Some(nxdomain("a.victim.com")), Some("a.victim.com")),
            ("SOA in capitals", "x.victim.com", Some(nxdomain("VICTIM.com")), Some("victim.com")),
            ("nobody registered it", "victim.com", Some(nxdomain("com")), None),
            ("nobody registered it there", "victim.com.vn", Some(nxdomain("com.vn")), None),
            ("no such top", "victim.nowhere", Some(nxdomain(".")), None),
            ("by an alias elsewhere", "www.shop.com", Some(nxdomain("victim.com")), None),
            ("no SOA", "x.victim.com", Some(AnswerBuilder::new(Rcode::NXDOMAIN).finish()), None),
            (
                "SERVFAIL",
                "x.a.victim.com.vn",
                Some(AnswerBuilder::new(Rcode::SERVFAIL).finish()),
                Some("victim.com.vn"),
            ),
            ("silence", "x.a.victim.com", None, Some("victim.com")),
            ("silence about a suffix", "co.uk", None, None),
            ("no data", "x.victim.com", Some(AnswerBuilder::new(Rcode::NOERROR).finish()), None),
        ] {
            let got = zone_of(&name(qname), answer.as_ref()).map(|zone| Name::from_wire(zone).unwrap().to_string());
            assert_eq!(got.as_deref(), zone, "{what}");
        }
        let zones: Vec<_> = zones_of(&name("x.a.victim.com.vn")).map(<[u8]>::len).collect();
        assert_eq!(zones, [15, 17, 19]);
    }

    #[test]
    fn what_is_spared_is_spared_with_all_below() {
        let limit = limit();
        for (qname, spared) in [("1.2.zen.example.org", true), ("zen.example.org", true), ("example.org", false)] {
            assert_eq!(limit.spares(&name(qname)), spared, "{qname}");
        }
    }
}
