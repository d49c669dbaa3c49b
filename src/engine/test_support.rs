//! Snapshots, questions and answers for the engine's tests, each in a line or two of text.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::answer::{Answer, AnswerBuilder, Section};
use crate::engine::category::Categories;
use crate::engine::client::{Client, Realm, UnixTime};
use crate::engine::compile::{
    BuiltIn, CacheSettings, CompileReport, Inputs, ListRules, ListSettings, ListSource, LoadedList, Observe, Policy,
    ProfileSettings, Strangers, YouTube, compile,
};
use crate::engine::cookie::CookieSettings;
use crate::engine::gate::GateSettings;
use crate::engine::list::{Format, ParseOptions, Reach, own_entry, parse};
use crate::engine::matcher::public_suffix::is_public_suffix;
use crate::engine::matcher::{Guard, HashSeed, Part};
use crate::engine::name::Name;
use crate::engine::order::tests::order;
use crate::engine::order::{Order, Orders};
use crate::engine::overlay::{self, Said, Scope, Word};
use crate::engine::peers::PeerSettings;
use crate::engine::query::{CLASS_IN, Edns, Origin, Query, Question, Rcode, RecordType, Spelling, Transport};
use crate::engine::safe_search::SafeSearch;
use crate::engine::snapshot::{Snapshot, Unlisted};
use crate::engine::structured::Contact;
use crate::engine::subscribers::Standing;
use crate::engine::upstream::{Fallback, Host, Server, UpstreamTable, UpstreamTransport};
use crate::engine::verdict::BlockResponse;

/// One engine with a CNAME host and an apex, a video service with a moderate form, and two without any safe form.
const SAFE_SEARCH: &str = "\
target,safe.search.example,192.0.2.1,2001:db8::1
target,moderate.video.example,192.0.2.2,
search,www.search.example,safe.search.example,default,cname
search,search.example,safe.search.example,default,address
video,www.video.example,moderate.video.example,moderate,cname
raw,www.raw.example,,no-enforcement,block
raw,*.rawest.example,,no-enforcement,block
";

/// What a snapshot is made of, open to be changed before [`Setup::compile`].
pub struct Setup {
    pub policy: Policy,
    pub built_in: BuiltIn,
    pub upstream_zones: Vec<Name>,
    lists: Vec<LoadedList>,
    pub orders: Vec<Order>,
    /// Their ids count from 1.
    pub words: Vec<Word>,
    pub pauses: Vec<Said>,
}

/// When tests ask unless they say otherwise: 2026-11-27, a Friday, 12:00 in Hà Nội.
pub const NOW: UnixTime = UnixTime(1_795_755_600);

pub fn name(text: &str) -> Name {
    Name::zone_from_text(text).unwrap()
}

/// Entries of an own list: `a.example`, `=a.example`, `*.a.example`.
pub fn entries(entries: &[&str]) -> Vec<(Name, Reach)> {
    entries.iter().map(|entry| own_entry(entry).unwrap()).collect()
}

pub fn question(qname: &str, qtype: RecordType) -> Question {
    Question { qname: name(qname), qtype, qclass: CLASS_IN }
}

/// A query with RD, without EDNS.
pub fn query(qname: &str, qtype: RecordType) -> Query {
    let question = question(qname, qtype);
    Query {
        octets: 40,
        id: 0x1234,
        recursion_desired: true,
        checking_disabled: false,
        authentic_data: false,
        spelling: Spelling::of(&question.qname),
        question,
        edns: None,
    }
}

/// As [`query`], with an OPT of 1232 octets.
pub fn edns_query(qname: &str, qtype: RecordType) -> Query {
    let edns =
        Edns { version: 0, udp_payload: 1232, dnssec_ok: false, nsid: false, keepalive: false, ..Edns::default() };
    Query { edns: Some(edns), ..query(qname, qtype) }
}

pub fn origin() -> Origin {
    let source = "127.0.0.1:4000".parse().unwrap();
    Origin::new(source, None, Transport::Udp)
}

fn loopback() -> Scope {
    Scope::Network(Realm::default(), "127.0.0.0/8".parse().unwrap())
}

fn said(before: usize, scope: Scope) -> Said {
    let (author, reason) = ("Cô Lan".to_owned(), "a lesson".to_owned());
    Said { id: before as u64 + 1, scope, until: UnixTime(NOW.0 + 60), author, reason }
}

/// The client of a profile.
pub fn client(snapshot: &Snapshot, profile: &str) -> Client {
    let profile = snapshot.profile_named(profile).unwrap();
    let source = IpAddr::from([127, 0, 0, 1]);
    let realm = Realm::default();
    Client { profile, configured: None, source, realm, by_udp: true, at: NOW, standing: Standing::NoTable }
}

impl Setup {
    /// Profiles: `default` (adult, gambling), `school` (bypass and unsafe-search as well), `open` (nothing, security off).
    pub fn new() -> Setup {
        let categories = Categories::built_in();
        let ids = |names: &[&str]| names.iter().map(|name| categories.id(name).unwrap()).collect();
        let default = ProfileSettings {
            name: "default".into(),
            block: ids(&["adult", "gambling"]),
            security: true,
            security_for_addresses: false,
            safe_search: true,
            safe_search_except: Vec::new(),
            youtube: YouTube::Off,
            block_response: BlockResponse::Nxdomain,
            block_responses: Vec::new(),
            block_ttl_secs: None,
            unlisted: Unlisted::Judged,
            mode: None,
            shadow: Vec::new(),
            windows: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
        };
        let school = ProfileSettings {
            name: "school".into(),
            block: ids(&["adult", "gambling", "bypass", "unsafe-search"]),
            youtube: YouTube::Moderate,
            ..default.clone()
        };
        let open = ProfileSettings {
            name: "open".into(),
            block: Vec::new(),
            security: false,
            safe_search: false,
            ..default.clone()
        };
        let policy = Policy {
            categories,
            lists: Vec::new(),
            compiled: Vec::new(),
            profiles: vec![default, school, open],
            clients: Vec::new(),
            access: Vec::new(),
            peers: PeerSettings::default(),
            strangers: Strangers::Refuse,
            cookies: CookieSettings::Off,
            rate_limit: None,
            zone_limit: None,
            operator_allow: Vec::new(),
            operator_deny: Vec::new(),
            upstreams: Vec::new(),
            contact: Contact::default(),
            page_v4: None,
            page_v6: None,
            block_ttl_secs: 10,
            observe: Observe::NOBODY,
            rebind_protection: false,
            rebind_allow: Vec::new(),
            cache: CacheSettings {
                size: 1 << 20,
                serve_stale: Duration::ZERO,
                max_client_ttl: Duration::from_secs(60),
            },
            discovery: None,
            node_name: String::new(),
            time_zone: jiff::tz::TimeZone::UTC,
        };
        let built_in = BuiltIn {
            safe_search: Arc::new(SafeSearch::from_csv(SAFE_SEARCH).unwrap()),
            protected: entries(&["bank.example", "pay.wide.example", "=update.example"]),
            protected_content: entries(&["gov.vn"]),
            infrastructure: entries(&["ntp.example"]),
            connectivity: entries(&["=online.example"]),
            browser_canaries: entries(&["=use-application-dns.net"]),
        };
        let (orders, words, pauses) = (Vec::new(), Vec::new(), Vec::new());
        Setup { policy, built_in, upstream_zones: vec![Name::ROOT], lists: Vec::new(), orders, words, pauses }
    }

    /// Adds a list, named as its category, with these lines.
    pub fn list(self, category: &str, lines: &str) -> Setup {
        self.list_guarded_by(&is_public_suffix, category, lines)
    }

    /// As [`Setup::list`], with `public_suffixes = "obey"`.
    pub fn obeying_list(self, category: &str, lines: &str) -> Setup {
        self.list_guarded_by(&|_| false, category, lines)
    }

    fn list_guarded_by(mut self, guard: Guard<'_>, category: &str, lines: &str) -> Setup {
        let options = ParseOptions { format: Format::Auto, bare_reach: Some(Reach::Subtree) };
        let settings = ListSettings {
            name: category.to_owned(),
            category: self.policy.categories.id(category).unwrap(),
            options,
            source: ListSource::File(format!("lists/{category}.txt").into()),
            required: true,
            obey_public_suffixes: false,
            block_keywords: Vec::new(),
            gate: GateSettings::OPEN,
        };
        let rules = ListRules::Read(Part::of(&parse(lines.as_bytes(), options).unwrap(), guard));
        self.lists.push(LoadedList { settings, rules });
        self
    }

    /// Rules as `where entry`, with `;` between: `operator.allow a.example; deny =b.example; malware c.example`. `allow`
    /// and `deny` are every profile's; `order` is an order that acts, for its name alone with `=`, and with `!` in front
    /// overriding; `for-all.allow`, `for-all.deny`, `for-some.allow` and `for-some.deny` are said until 60 s after 1970, for
    /// everyone or for 127.0.0.0/8; `pause` is for that network; anything else is the category of a list.
    pub fn rules(mut self, rules: &str) -> Setup {
        for rule in rules.split(';').map(str::trim).filter(|rule| !rule.is_empty()) {
            let (place, entry) = rule.split_once(' ').unwrap();
            let own = || own_entry(entry).unwrap();
            match place {
                "operator.allow" => self.policy.operator_allow.push(own()),
                "operator.deny" => self.policy.operator_deny.push(own()),
                "allow" => self.policy.profiles.iter_mut().for_each(|profile| profile.allow.push(own())),
                "deny" => self.policy.profiles.iter_mut().for_each(|profile| profile.deny.push(own())),
                "order" => self.orders.push(order(&format!("{}/A05", self.orders.len() + 1), &[entry])),
                "for-all.allow" => self.say(overlay::Effect::Allow, own(), Scope::Everyone),
                "for-all.deny" => self.say(overlay::Effect::Deny, own(), Scope::Everyone),
                "for-some.allow" => self.say(overlay::Effect::Allow, own(), loopback()),
                "for-some.deny" => self.say(overlay::Effect::Deny, own(), loopback()),
                "pause" => self.pauses.push(said(self.pauses.len(), loopback())),
                category => self = self.list(category, &entry.replace(' ', "\n")),
            }
        }
        self
    }

    fn say(&mut self, effect: overlay::Effect, (name, reach): (Name, Reach), scope: Scope) {
        self.words.push(Word { said: said(self.words.len(), scope), effect, name, reach });
    }

    pub fn compile(self) -> Snapshot {
        self.compile_with_report().0
    }

    pub fn compile_with_report(self) -> (Snapshot, CompileReport) {
        let (orders, words, pauses) = (self.orders.clone(), self.words.clone(), self.pauses.clone());
        let (mut snapshot, report) = compile(self.inputs(), None).unwrap();
        snapshot.set_overlay(&words, &pauses);
        snapshot.set_orders(Arc::new(Orders::new(orders))).unwrap();
        (snapshot, report)
    }

    pub fn inputs(self) -> Inputs {
        let server = Server {
            transport: UpstreamTransport::Udp,
            host: Host::Address("127.0.0.1:53".parse().unwrap()),
            tls_name: None,
            path: String::new(),
        };
        let table = |zone: Name| UpstreamTable {
            zones: vec![zone],
            servers: vec![server.clone()],
            tier: 1,
            fallback: Fallback::None,
            trust_ad: false,
        };
        Inputs {
            generation: 1,
            policy: self.policy,
            lists: self.lists,
            built_in: self.built_in,
            upstreams: self.upstream_zones.into_iter().map(table).collect(),
            seed: HashSeed(1, 2),
            texts: None,
            room: None,
            now: Some(NOW),
        }
    }
}

/// An answer as records with `;` between: `CNAME b.example; A 192.0.2.1`. Each is owned by the last CNAME's target. Names:
/// CNAME, DNAME, NS; addresses: A, AAAA; `HTTPS target hint …` and SVCB; `SOA minimum`; a `+` in front puts a record into
/// the additional section. The TTL is 300.
pub fn answer(qname: &str, rcode: Rcode, records: &str) -> Answer {
    let mut made = AnswerBuilder::new(rcode);
    let mut owner = name(qname);
    for record in records.split(';').map(str::trim).filter(|record| !record.is_empty()) {
        let (section, record) = match record.strip_prefix('+') {
            Some(record) => (Section::Additional, record),
            None => (Section::Answer, record),
        };
        let (rtype, value) = record.split_once(' ').unwrap();
        let mut push = |rtype, rdata: &[u8]| {
            made.push(section, owner.as_wire(), rtype, 300, rdata);
        };
        match rtype {
            "CNAME" => {
                let target = name(value);
                push(RecordType::CNAME, target.as_wire());
                owner = target;
            }
            "DNAME" => push(RecordType::DNAME, name(value).as_wire()),
            "NS" => push(RecordType::NS, name(value).as_wire()),
            "A" | "AAAA" => match value.parse().unwrap() {
                IpAddr::V4(v4) => push(RecordType::A, &v4.octets()),
                IpAddr::V6(v6) => push(RecordType::AAAA, &v6.octets()),
            },
            "HTTPS" => push(RecordType::HTTPS, &svcb(value)),
            "SVCB" => push(RecordType::SVCB, &svcb(value)),
            "TXT" => push(RecordType::TXT, &[&[value.len() as u8], value.as_bytes()].concat()),
            "SOA" => {
                let minimum: u32 = value.parse().unwrap();
                let rdata = [&[0; 18], minimum.to_be_bytes().as_slice()].concat();
                made.push(Section::Authority, owner.as_wire(), RecordType::SOA, 300, &rdata);
            }
            other => panic!("type {other}"),
        }
    }
    made.finish()
}

/// Priority 1, a target and a hint for each address. RFC 9460 §2.2.
fn svcb(value: &str) -> Vec<u8> {
    let mut words = value.split(' ');
    let mut rdata = vec![0, 1];
    rdata.extend_from_slice(name(words.next().unwrap()).as_wire());
    for hint in words {
        match hint.parse().unwrap() {
            IpAddr::V4(v4) => rdata.extend([&[0, 4, 0, 4][..], &v4.octets()].concat()),
            IpAddr::V6(v6) => rdata.extend([&[0, 6, 0, 16][..], &v6.octets()].concat()),
        }
    }
    rdata
}
