//! What policy needs to know of a cached answer, found once for a generation: then a hit costs one profile's mask.
//!
//! It errs to one side only. [`clear`] says yes when the ladder could not but allow the question and deliver the answer
//! whole; everything else is judged as if there were no note.

use std::net::{IpAddr, Ipv4Addr};

use crate::engine::answer::{Answer, Section};
use crate::engine::client::{Client, is_private};
use crate::engine::limits::CHAIN_MAX;
use crate::engine::matcher::{Hits, ListSet};
use crate::engine::name::Name;
use crate::engine::policy::{Cleared, InForce};
use crate::engine::query::{Question, RecordType};
use crate::engine::snapshot::{ProfileMasks, Snapshot, Unlisted};

/// Every list that says anything about a question, or about a name or an address of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relevance {
    lists: ListSet,
    /// Something else than lists may have a say: a special rule, a temporary word, SafeSearch, a private address, a name of
    /// our own.
    is_judged: bool,
}

impl Relevance {
    /// Of an answer that is judged each time.
    pub const JUDGED: Relevance = Relevance { lists: ListSet::EMPTY, is_judged: true };

    pub fn is_judged(&self) -> bool {
        self.is_judged
    }
}

/// Whether a question is for us does not depend on who asks.
const ANYONE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Looks at a question and its whole answer for everybody, whatever the profile.
pub fn relevance(snapshot: &Snapshot, question: &Question, answer: &Answer) -> Relevance {
    let special = &snapshot.index.special;
    if special.has_clients() || snapshot.local_data.answer(question, ANYONE).is_some() {
        return Relevance::JUDGED;
    }
    let mut lists = ListSet::EMPTY;
    let mut hits = Hits::new();
    let mut add_name = |name: &Name, lists: &mut ListSet| {
        let mut is_special = false;
        special.at_or_above(name.as_wire(), |_, _| is_special = true);
        special.looking_like(name.as_wire(), |_| is_special = true);
        if is_special || snapshot.safe_search.knows(name) || snapshot.overlay.is_about(name) {
            return false;
        }
        snapshot.index.names.look_up(name.as_wire(), &mut hits);
        for hit in hits.as_slice() {
            *lists = lists.union(snapshot.index.names.set(hit.listed)).union(snapshot.index.names.set(hit.excepted));
        }
        true
    };
    let sections = [Section::Answer, Section::Additional];
    let mut is_plain = add_name(&question.qname, &mut lists);
    for section in sections {
        for (i, name) in answer.target_names(section).enumerate() {
            is_plain &= i < CHAIN_MAX && add_name(&name, &mut lists);
        }
        for address in answer.addresses(section) {
            let mut is_special = snapshot.rebind_protection && is_private(address);
            special.for_address(address, |_, _| is_special = true);
            is_plain &= !is_special;
            snapshot.index.addresses.look_up(address, |_, listed, excepted| {
                lists = lists.union(listed).union(excepted);
            });
        }
        if !is_plain {
            return Relevance::JUDGED;
        }
    }
    Relevance { lists, is_judged: false }
}

/// Leave to deliver a cached answer without climbing the ladder. `None`: the ladder must be climbed.
pub fn clear(snapshot: &Snapshot, client: Client, relevance: &Relevance) -> Option<Cleared> {
    let Relevance { lists, is_judged } = relevance;
    if *is_judged {
        return None;
    }
    // Heard or not for the type that is asked, security lists make the ladder be climbed.
    let profile = InForce::of(snapshot, client, RecordType::A);
    let says_nothing = profile.masks.unlisted == Unlisted::Judged
        && (lists.is_empty() || {
            let masks = &snapshot.masks;
            let own = [masks.orders, masks.operator_allow, masks.operator_deny, profile.allow, profile.deny];
            !lists.intersects(profile.security)
                && !lists.intersects(&profile.masks.content)
                && !lists.intersects(&profile.masks.shadow)
                && !own.into_iter().any(|list| lists.contains(list))
        });
    let differs = |before: &ProfileMasks, after: &ProfileMasks| {
        before.unlisted != after.unlisted || lists.meets_difference(&before.content, &after.content)
    };
    // Protected names alone are no reason: a hole in lists that do not hold the name.
    says_nothing.then(|| Cleared {
        bare: false,
        would: None,
        ttl_secs_max: profile.secs_until(snapshot.cache.max_client_ttl_secs(), differs).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::policy::{AnswerVerdict, QueryVerdict, on_answer, on_query};
    use crate::engine::query::Rcode;
    use crate::engine::test_support::{Setup, answer, client, question};

    /// A small generator: every run asks the same.
    struct Random(u64);

    impl Random {
        fn one<T: Copy>(&mut self, of: &[T]) -> T {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            of[(self.0 >> 33) as usize % of.len()]
        }
    }

    const NAMES: [&str; 14] = [
        "a.example",
        "www.a.example",
        "b.example",
        "x.b.example",
        "bank.example",
        "wide.example",
        "pay.wide.example",
        "www.search.example",
        "search.example",
        "safe.search.example",
        "www.raw.example",
        "use-application-dns.net",
        "example.vn",
        "so.gov.vn",
    ];
    const ADDRESSES: [&str; 5] = ["A 192.0.2.1", "A 10.0.0.1", "A 198.51.100.7", "AAAA fd00::1", "AAAA 2001:db8::1"];
    const RULES: [&str; 10] = [
        "||N^",
        "N",
        "@@||N^",
        "||N^$important",
        "||N^$dnstype=AAAA",
        "||N^$dnsrewrite=NOERROR;A;192.0.2.99",
        "198.51.100.0/24",
        "192.0.2.1",
        "*.N",
        "/^x\\./",
    ];

    fn setup(random: &mut Random) -> Setup {
        let mut setup = Setup::new();
        for category in ["malware", "adult", "games"] {
            let lines: Vec<String> =
                (0..3).map(|_| random.one(&RULES).replace('N', random.one(&NAMES))).chain(["x.test".into()]).collect();
            setup = setup.list(category, &lines.join("\n"));
        }
        let said = ["order", "for-all.allow", "for-all.deny", "for-some.allow", "for-some.deny", "pause"];
        for place in ["operator.allow", "operator.deny", "allow", "deny"].into_iter().chain(said) {
            if random.one(&[true, false, false, false]) {
                setup = setup.rules(&format!("{place} {}", random.one(&NAMES)));
            }
        }
        setup.policy.rebind_protection = random.one(&[true, false]);
        setup
    }

    fn made_up(random: &mut Random) -> String {
        let mut records = Vec::new();
        for _ in 0..random.one(&[0, 0, 1, 2]) {
            records.push(format!("CNAME {}", random.one(&NAMES)));
        }
        records.push(random.one(&ADDRESSES).to_owned());
        match random.one(&[0, 1, 2, 3, 4]) {
            0 => records.push(format!("HTTPS {}", random.one(&NAMES))),
            1 => records.push(format!("+{}", random.one(&ADDRESSES))),
            2 => records.push(format!("+NS {}", random.one(&NAMES))),
            _ => {}
        }
        records.join("; ")
    }

    #[test]
    fn what_is_cleared_is_what_the_ladder_lets_by_whole() {
        let mut random = Random(3);
        let (mut cleared, mut judged) = (0, 0);
        for _ in 0..300 {
            let snapshot = setup(&mut random).compile();
            for _ in 0..60 {
                let (qname, records) = (random.one(&NAMES), made_up(&mut random));
                let qtype = random.one(&[RecordType::A, RecordType::AAAA, RecordType::HTTPS, RecordType::MX]);
                let (question, answer) = (question(qname, qtype), answer(qname, Rcode::NOERROR, &records));
                let found = relevance(&snapshot, &question, &answer);
                for profile in ["default", "school", "open"] {
                    let client = client(&snapshot, profile);
                    if clear(&snapshot, client, &found).is_none() {
                        judged += 1;
                        continue;
                    }
                    cleared += 1;
                    let what = || format!("{profile}: {qname} {qtype:?} {records}");
                    let QueryVerdict::Allow(permit) = on_query(&snapshot, client, &question, &mut ()) else {
                        panic!("{}", what())
                    };
                    let verdict = on_answer(&snapshot, client, &permit, &question, &answer);
                    let AnswerVerdict::Deliver(delivered) = verdict else { panic!("{}: {verdict:?}", what()) };
                    assert!(delivered.delivers(Section::Additional), "{}", what());
                    assert_eq!(permit.review(), None, "{}", what());
                }
            }
        }
        assert!(cleared > 5_000 && judged > 5_000, "{cleared} cleared, {judged} judged");
    }
}
