//! Rung 1 of the ladder: names whose answer is the same everywhere and that nobody upstream should see.
//!
//! Special-use names (`localhost`, `invalid`, `onion`, …), `resolver.arpa`, and the reverse zones of private addresses.
//! `ipv4only.arpa`, `example` and `example.com` are not here: they are ordinary names. Wire form is
//! [`reply`](crate::engine::reply)'s.
//!
//! One table of places in the name tree, made once: a zone of ours, a zone that an `[[upstream]]` took over, or a name
//! that only has something below it. The deepest zone above a question decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::engine::discovery::{About, Discovery, RESINFO};
use crate::engine::name::{Labels, Name};
use crate::engine::query::{CLASS_IN, Question, RecordType};

/// What is said about a local name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAnswer {
    /// NXDOMAIN, else NOERROR; without records that is NODATA.
    pub rcode_nxdomain: bool,
    /// The last so many labels of the question's name are the zone, which owns the SOA record.
    pub zone_labels: u8,
    pub records: LocalRecords,
}

impl LocalAnswer {
    /// The zone's wire form.
    pub fn zone<'q>(&self, qname: &'q Name) -> &'q [u8] {
        Labels::of(qname.as_wire()).suffix(usize::from(self.zone_labels))
    }
}

/// The answer section; its owner is the question's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalRecords {
    None,
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// A PTR record to `localhost`.
    Localhost,
    /// An NS record: the zone names itself as its server. RFC 6303 §3.
    Ns,
    /// The zone's own SOA, the one that negative answers carry.
    Soa,
    /// What [`discovery`](crate::engine::discovery) tells.
    Discovery(Arc<Discovery>, About),
    /// Who asks, as far as we know.
    WhoAsks,
}

/// The name at which a client hears who it is to us.
pub const WHO_AM_I: &str = "whoami.lachan.example";
pub(crate) const WHO_AM_I_WIRE: &[u8] = b"\x06whoami\x06lachan\x07example\0";

/// Every local zone, less what upstreams took over.
#[derive(Debug)]
pub struct LocalData {
    /// By canonical wire form.
    places: HashMap<Box<[u8]>, Place>,
    /// `None`: nothing of ours is encrypted, or nobody is told.
    discovery: Option<Arc<Discovery>>,
    own_name: Option<String>,
}

/// One name of the tree.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    cut: Option<Cut>,
    /// Something exists at or below the name, so it must not be denied: RFC 8020 would take all below with it.
    exists: bool,
    /// A PTR record to `localhost` is here.
    points_to_localhost: bool,
}

/// Where a question at or below a name is answered.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Here.
    Local(Kind),
    /// By an `[[upstream]]` that has the zone.
    Upstream,
}

/// How a zone of ours answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The name and all below are this host. RFC 6761 §6.3.
    Localhost,
    /// Nothing exists, not even the name itself.
    Nothing,
    /// Everything exists and has no records. RFC 9462 §6.4.
    NoRecords,
    /// A zone with SOA and NS at its apex and nothing below. RFC 6303 §3.
    Empty,
}

/// Name, kind, and whether an `[[upstream]]` may take it over.
const ZONES: &[(&str, Kind, bool)] = &[
    ("localhost", Kind::Localhost, false),
    // RFC 6761 §6.4.
    ("invalid", Kind::Nothing, false),
    // RFC 6761 §6.2.
    ("test", Kind::Nothing, true),
    // RFC 7686 §2.
    ("onion", Kind::Nothing, false),
    // RFC 9476 §2.
    ("alt", Kind::Nothing, false),
    // RFC 6762 §22.1.
    ("local", Kind::Nothing, true),
    // RFC 9462 §6.4.
    ("resolver.arpa", Kind::NoRecords, false),
    // RFC 8375 §4.
    ("home.arpa", Kind::Empty, true),
];

/// RFC 6303 §4.1 to §4.6: reverse zones of addresses that are not routed. The sixteen of 172.16/12 (RFC 1918) and the
/// sixty-four of 100.64/10 (RFC 7793) are counted out in [`reverse_zones`].
const REVERSE_ZONES: &[&str] = &[
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    UNSPECIFIED_V6,
    LOOPBACK_V6,
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
];

const UNSPECIFIED_V6: &str = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa";
const LOOPBACK_V6: &str = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa";
const LOOPBACK_V4: &str = "1.0.0.127.in-addr.arpa";

impl LocalData {
    /// `upstream_zones` are the zones of every `[[upstream]]`; those at or below a zone that may be taken over, take it.
    pub fn new(upstream_zones: &[Name], discovery: Option<Discovery>) -> LocalData {
        let discovery = discovery.map(Arc::new);
        let own_name = discovery.as_ref().map(|discovery| discovery.name().to_string());
        let mut data = LocalData { places: HashMap::new(), discovery, own_name };
        for &(zone, kind, _) in ZONES {
            data.place(&fixed_name(zone)).cut = Some(Cut::Local(kind));
        }
        for zone in reverse_zones() {
            data.place(&zone).cut = Some(Cut::Local(Kind::Empty));
        }
        for pointer in [LOOPBACK_V4, LOOPBACK_V6] {
            let pointer = fixed_name(pointer);
            data.place(&pointer).points_to_localhost = true;
            data.mark_above(&pointer);
        }
        for zone in upstream_zones.iter().filter(|zone| may_be_taken(zone)) {
            data.place(zone).cut = Some(Cut::Upstream);
            data.mark_above(zone);
        }
        data
    }

    /// The name that our certificate is for, when something of ours is encrypted.
    pub fn own_name(&self) -> Option<&str> {
        self.own_name.as_deref()
    }

    /// The answer for `source` if the question is for a local name; `None` sends it down the ladder. Whether it is local does
    /// not depend on who asks.
    pub fn answer(&self, question: &Question, source: IpAddr) -> Option<LocalAnswer> {
        let wire = question.qname.as_wire();
        if question.qclass != CLASS_IN {
            return None;
        }
        if let Some(discovery) = &self.discovery
            && let Some(about) = discovery.about_our_name(question)
        {
            let records = LocalRecords::Discovery(Arc::clone(discovery), about);
            return Some(LocalAnswer { rcode_nxdomain: false, zone_labels: labels_of(discovery.name()), records });
        }
        if wire == WHO_AM_I_WIRE {
            let records = match question.qtype {
                RecordType::TXT | RecordType::ANY => LocalRecords::WhoAsks,
                _ => LocalRecords::None,
            };
            return Some(LocalAnswer { rcode_nxdomain: false, zone_labels: labels_of(&question.qname), records });
        }
        if !may_be_local(wire) {
            return None;
        }
        let labels = Labels::of(wire);
        let (depth, kind) = self.deepest_local(&labels)?;
        let is_apex = depth == labels.count();
        // RFC 4035 §3.1.4.1: DS of a zone is its parent's to answer; RFC 8375 §4 point 4 demands that it is asked there, and
        // the proof that there is none is what lets a validator behind us accept our unsigned zone.
        if kind == Kind::Empty && is_apex && question.qtype == RecordType::DS {
            return None;
        }
        let place = self.places.get(wire).copied().unwrap_or_default();
        let records = match self.told(question, source) {
            Some(about) => about,
            None => records(kind, is_apex, place, question.qtype),
        };
        let exists = match kind {
            Kind::Localhost | Kind::NoRecords => true,
            Kind::Nothing => place.exists,
            Kind::Empty => is_apex || place.exists,
        };
        Some(LocalAnswer { rcode_nxdomain: !exists, zone_labels: depth as u8, records })
    }

    /// Depth and kind of the deepest zone at or above the name; `None` if that zone is an upstream's or there is none.
    fn deepest_local(&self, labels: &Labels<'_>) -> Option<(usize, Kind)> {
        for depth in (1..=labels.count()).rev() {
            match self.places.get(labels.suffix(depth)).and_then(|place| place.cut) {
                Some(Cut::Local(kind)) => return Some((depth, kind)),
                Some(Cut::Upstream) => return None,
                None => {}
            }
        }
        None
    }

    /// What `resolver.arpa` tells this client.
    fn told(&self, question: &Question, source: IpAddr) -> Option<LocalRecords> {
        let about = match (question.qname.as_wire(), question.qtype) {
            (b"\x04_dns\x08resolver\x04arpa\0", RecordType::SVCB) => About::Services,
            (b"\x08resolver\x04arpa\0", RESINFO) => About::Resolver,
            _ => return None,
        };
        let discovery = self.discovery.as_ref().filter(|discovery| discovery.is_for(source))?;
        Some(LocalRecords::Discovery(Arc::clone(discovery), about))
    }

    fn place(&mut self, name: &Name) -> &mut Place {
        self.places.entry(name.as_wire().into()).or_default()
    }

    /// Marks the name and what is above it as existing.
    fn mark_above(&mut self, name: &Name) {
        for depth in 1..=name.label_count() {
            self.place(&name.suffix(depth)).exists = true;
        }
    }
}

fn records(kind: Kind, is_apex: bool, place: Place, qtype: RecordType) -> LocalRecords {
    match (kind, qtype) {
        // RFC 8482 §4.1: ANY is answered with one RRset of those that exist.
        (Kind::Localhost, RecordType::A | RecordType::ANY) => LocalRecords::A(Ipv4Addr::LOCALHOST),
        (Kind::Localhost, RecordType::AAAA) => LocalRecords::Aaaa(Ipv6Addr::LOCALHOST),
        (Kind::Empty, RecordType::PTR | RecordType::ANY) if place.points_to_localhost => LocalRecords::Localhost,
        (Kind::Empty, RecordType::SOA | RecordType::ANY) if is_apex => LocalRecords::Soa,
        (Kind::Empty, RecordType::NS) if is_apex => LocalRecords::Ns,
        (Kind::Localhost | Kind::Nothing | Kind::NoRecords | Kind::Empty, _) => LocalRecords::None,
    }
}

fn labels_of(name: &Name) -> u8 {
    name.label_count() as u8
}

/// Whether the last label is one of ours. Nearly every question ends here.
fn may_be_local(wire: &[u8]) -> bool {
    let mut at = 0;
    let mut last: &[u8] = &[];
    while wire[at] != 0 {
        let end = at + 1 + usize::from(wire[at]);
        last = &wire[at + 1..end];
        at = end;
    }
    matches!(last, b"arpa" | b"local" | b"localhost" | b"test" | b"invalid" | b"onion" | b"alt")
}

fn may_be_taken(zone: &Name) -> bool {
    let special = ZONES.iter().filter(|&&(_, _, takeable)| takeable).map(|&(text, ..)| fixed_name(text));
    special.chain(reverse_zones()).any(|local| zone.is_at_or_below(&local))
}

fn reverse_zones() -> impl Iterator<Item = Name> {
    let listed = REVERSE_ZONES.iter().map(|text| fixed_name(text));
    let private = (16..=31).map(|octet| fixed_name(&format!("{octet}.172.in-addr.arpa")));
    let shared = (64..=127).map(|octet| fixed_name(&format!("{octet}.100.in-addr.arpa")));
    listed.chain(private).chain(shared)
}

fn fixed_name(text: &str) -> Name {
    Name::from_ascii(text.as_bytes()).expect("the names of this file are names")
}

#[cfg(test)]
mod tests {
    use super::*;

    use RecordType as T;

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// The answer as a word: `nx`, `nodata`, records, or `pass`.
    fn answer(data: &LocalData, qname: &str, qtype: RecordType) -> String {
        let question = Question { qname: name(qname), qtype, qclass: CLASS_IN };
        let Some(answer) = data.answer(&question, SOURCE) else {
            return "pass".to_owned();
        };
        let zone = Name::from_wire(answer.zone(&question.qname)).unwrap();
        match (answer.rcode_nxdomain, answer.records) {
            (true, LocalRecords::None) => format!("nx {zone}"),
            (true, records) => panic!("{qname}: NXDOMAIN with {records:?}"),
            (false, LocalRecords::None) => format!("nodata {zone}"),
            (false, LocalRecords::A(a)) => format!("A {a}"),
            (false, LocalRecords::Aaaa(a)) => format!("AAAA {a}"),
            (false, LocalRecords::Localhost) => "PTR localhost".to_owned(),
            (false, LocalRecords::Ns) => format!("NS {zone}"),
            (false, LocalRecords::Soa) => format!("SOA {zone}"),
            (false, LocalRecords::Discovery(_, about)) => format!("{about:?}"),
            (false, LocalRecords::WhoAsks) => "who asks".to_owned(),
        }
    }

    #[test]
    fn special_names_are_answered_here() {
        let data = LocalData::new(&[Name::ROOT, name("com"), name("school.example")], None);
        for (qname, qtype, expected) in [
            (WHO_AM_I, T::TXT, "who asks"),
            (WHO_AM_I, T::A, "nodata whoami.lachan.example"),
            ("www.whoami.lachan.example", T::TXT, "pass"),
            ("localhost", T::A, "A 127.0.0.1"),
            ("localhost", T::AAAA, "AAAA ::1"),
            ("a.LocalHost", T::A, "A 127.0.0.1"),
            ("localhost", T::ANY, "A 127.0.0.1"),
            ("localhost", T::MX, "nodata localhost"),
            ("a.localhost", T::TXT, "nodata localhost"),
            ("invalid", T::A, "nx invalid"),
            ("x.invalid", T::SOA, "nx invalid"),
            ("x.test", T::A, "nx test"),
            ("x.onion", T::A, "nx onion"),
            ("onion", T::NS, "nx onion"),
            ("a.b.alt", T::A, "nx alt"),
            ("printer.local", T::A, "nx local"),
            ("x.home.arpa", T::A, "nx home.arpa"),
            ("home.arpa", T::A, "nodata home.arpa"),
            ("home.arpa", T::SOA, "SOA home.arpa"),
            ("home.arpa", T::NS, "NS home.arpa"),
            ("home.arpa", T::ANY, "SOA home.arpa"),
            ("home.arpa", T::DS, "pass"),
            ("x.home.arpa", T::DS, "nx home.arpa"),
            ("resolver.arpa", T::A, "nodata resolver.arpa"),
            ("_dns.resolver.arpa", T::SVCB, "nodata resolver.arpa"),
            ("a.b.resolver.arpa", T::DS, "nodata resolver.arpa"),
        ] {
            assert_eq!(answer(&data, qname, qtype), expected, "{qname} {qtype:?}");
        }
    }

    #[test]
    fn reverse_names_of_private_addresses_are_answered_here() {
        let data = LocalData::new(&[], None);
        let beside_loopback = LOOPBACK_V6.replacen('1', "2", 1);
        for (qname, qtype, expected) in [
            ("1.0.0.10.in-addr.arpa", T::PTR, "nx 10.in-addr.arpa"),
            ("10.in-addr.arpa", T::PTR, "nodata 10.in-addr.arpa"),
            ("10.in-addr.arpa", T::SOA, "SOA 10.in-addr.arpa"),
            ("10.in-addr.arpa", T::NS, "NS 10.in-addr.arpa"),
            ("10.in-addr.arpa", T::DS, "pass"),
            ("1.1.16.172.in-addr.arpa", T::PTR, "nx 16.172.in-addr.arpa"),
            ("1.1.31.172.in-addr.arpa", T::PTR, "nx 31.172.in-addr.arpa"),
            ("1.1.15.172.in-addr.arpa", T::PTR, "pass"),
            ("1.1.32.172.in-addr.arpa", T::PTR, "pass"),
            ("1.1.168.192.in-addr.arpa", T::PTR, "nx 168.192.in-addr.arpa"),
            ("1.1.169.192.in-addr.arpa", T::PTR, "pass"),
            ("1.1.64.100.in-addr.arpa", T::PTR, "nx 64.100.in-addr.arpa"),
            ("1.1.127.100.in-addr.arpa", T::PTR, "nx 127.100.in-addr.arpa"),
            ("1.1.63.100.in-addr.arpa", T::PTR, "pass"),
            ("1.1.128.100.in-addr.arpa", T::PTR, "pass"),
            ("1.0.0.127.in-addr.arpa", T::PTR, "PTR localhost"),
            ("1.0.0.127.in-addr.arpa", T::ANY, "PTR localhost"),
            ("1.0.0.127.in-addr.arpa", T::A, "nodata 127.in-addr.arpa"),
            // Empty, but not denied: something is below.
            ("0.0.127.in-addr.arpa", T::PTR, "nodata 127.in-addr.arpa"),
            ("2.0.0.127.in-addr.arpa", T::PTR, "nx 127.in-addr.arpa"),
            ("a.1.0.0.127.in-addr.arpa", T::PTR, "nx 127.in-addr.arpa"),
            ("255.255.255.255.in-addr.arpa", T::PTR, "nodata 255.255.255.255.in-addr.arpa"),
            ("1.2.0.192.in-addr.arpa", T::PTR, "nx 2.0.192.in-addr.arpa"),
            (LOOPBACK_V6, T::PTR, "PTR localhost"),
            (beside_loopback.as_str(), T::PTR, "pass"),
            ("1.d.f.ip6.arpa", T::PTR, "nx d.f.ip6.arpa"),
            ("1.c.f.ip6.arpa", T::PTR, "pass"),
            ("1.b.e.f.ip6.arpa", T::PTR, "nx b.e.f.ip6.arpa"),
            ("1.c.e.f.ip6.arpa", T::PTR, "pass"),
            ("1.8.b.d.0.1.0.0.2.ip6.arpa", T::PTR, "nx 8.b.d.0.1.0.0.2.ip6.arpa"),
        ] {
            assert_eq!(answer(&data, qname, qtype), expected, "{qname} {qtype:?}");
        }
    }

    #[test]
    fn ordinary_names_pass() {
        let data = LocalData::new(&[], None);
        for qname in [
            "example",
            "www.example",
            "example.com",
            "ipv4only.arpa",
            "arpa",
            "in-addr.arpa",
            "127.arpa",
            "ip6.arpa",
            "com",
            "localhost.example.com",
            "mylocal",
            "xlocalhost",
            "e164.arpa",
            "notresolver.arpa",
        ] {
            assert_eq!(answer(&data, qname, T::A), "pass", "{qname}");
        }
        assert!(data.answer(&Question { qname: Name::ROOT, qtype: T::NS, qclass: CLASS_IN }, SOURCE).is_none());
        assert!(data.answer(&Question { qname: name("localhost"), qtype: T::A, qclass: 3 }, SOURCE).is_none());
    }

    #[test]
    fn an_upstream_zone_takes_a_local_one_over() {
        let zones = ["truong.local", "1.10.in-addr.arpa", "168.192.in-addr.arpa", "home.arpa"];
        let data = LocalData::new(&zones.map(name), None);
        for (qname, qtype, expected) in [
            ("www.truong.local", T::A, "pass"),
            ("truong.local", T::DS, "pass"),
            // A denied `local` would deny `truong.local` in a cache behind us.
            ("local", T::A, "nodata local"),
            ("khac.local", T::A, "nx local"),
            ("xtruong.local", T::A, "nx local"),
            ("9.9.1.10.in-addr.arpa", T::PTR, "pass"),
            ("9.9.2.10.in-addr.arpa", T::PTR, "nx 10.in-addr.arpa"),
            ("1.1.168.192.in-addr.arpa", T::PTR, "pass"),
            ("nas.home.arpa", T::A, "pass"),
            ("x.test", T::A, "nx test"),
        ] {
            assert_eq!(answer(&data, qname, qtype), expected, "{qname} {qtype:?}");
        }
    }

    #[test]
    fn some_names_are_never_taken_over() {
        let zones = ["a.localhost", "invalid", "x.onion", "a.alt", "resolver.arpa", "arpa", "in-addr.arpa"];
        let data = LocalData::new(&zones.map(name), None);
        for (qname, expected) in [
            ("a.localhost", "A 127.0.0.1"),
            ("invalid", "nx invalid"),
            ("x.onion", "nx onion"),
            ("onion", "nx onion"),
            ("a.alt", "nx alt"),
            ("_dns.resolver.arpa", "nodata resolver.arpa"),
            // Above a local zone is not at or below it.
            ("1.10.in-addr.arpa", "nx 10.in-addr.arpa"),
        ] {
            assert_eq!(answer(&data, qname, T::A), expected, "{qname}");
        }
    }

    #[test]
    fn those_who_are_told_find_our_encrypted_service() {
        let discovery = |share| Discovery::new(name("dns.example.vn"), [], Vec::new(), share, None);
        let everyone = LocalData::new(&[], Some(discovery(10_000)));
        for (qname, qtype, expected) in [
            ("_dns.resolver.arpa", T::SVCB, "Services"),
            ("_dns.resolver.arpa", T::A, "nodata resolver.arpa"),
            ("resolver.arpa", RESINFO, "Resolver"),
            ("resolver.arpa", T::SVCB, "nodata resolver.arpa"),
            ("x._dns.resolver.arpa", T::SVCB, "nodata resolver.arpa"),
            ("dns.example.vn", T::AAAA, "Addresses"),
            ("dns.example.vn", T::TXT, "pass"),
            ("_dns.dns.example.vn", T::SVCB, "Services"),
            ("example.vn", T::A, "pass"),
        ] {
            assert_eq!(answer(&everyone, qname, qtype), expected, "{qname} {qtype:?}");
        }
        let nobody = LocalData::new(&[], Some(discovery(0)));
        assert_eq!(answer(&nobody, "_dns.resolver.arpa", T::SVCB), "nodata resolver.arpa");
        // Whoever knows the name was told by hand.
        assert_eq!(answer(&nobody, "_dns.dns.example.vn", T::SVCB), "Services");
    }
}
