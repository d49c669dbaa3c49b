//! Both lanes over one cache and one policy: what the fast lane answers, the slow lane answers alike.
//!
//! Shared by the fuzz target and a test of the resolver's own suite.

use std::cell::RefCell;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use lachan::daemon::lane::{Fast, Lane};
use lachan::daemon::prefetch::prefetch;
use lachan::daemon::reload::Loader;
use lachan::daemon::resolver::{Begun, Resolver};
use lachan::daemon::telemetry::Metrics;
use lachan::engine::answer::{Answer, AnswerBuilder, Section};
use lachan::engine::cache::Key;
use lachan::engine::name::Name;
use lachan::engine::query::{self, CLASS_IN, Header, Origin, Query, Question, Rcode, RecordType, Transport};

/// Every kind of rule that a question can meet; no upstream answers.
const CONFIG: &str = r#"
node_name = "n1"
[listen]
dns = ["127.0.0.1:0"]
admin = "off"
[access]
allow = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]
trusted = ["10.12.0.0/16"]
strangers = "STRANGERS"
[page]
v4 = "192.0.2.80"
[[upstream]]
servers = ["udp://127.0.0.1:9"]
[[upstream]]
zones = ["intern.example"]
servers = ["udp://127.0.0.1:9"]
[operator]
allow = ["spared.bad.example"]
deny = ["denied.example"]
[list.malware]
category = "malware"
file = "malware.txt"
[list.games]
category = "games"
file = "games.txt"
[list.ads]
category = "ads"
format = "adblock"
file = "ads.txt"
[list.zone]
category = "scam"
format = "rpz"
file = "zone.txt"
[profile.default]
block = ["games"]
[profile.school]
inherit = "default"
block = ["games", "ads", "bypass", "unsafe-search"]
youtube = "strict"
block_response = "page"
allow = ["good.games.example"]
deny = ["own.example"]
[profile.open]
block = []
security = false
safe_search = false
[profile.null]
inherit = "default"
block_response = "null-ip"
[profile.nodata]
inherit = "school"
block_response = "nodata"
[profile.silent]
inherit = "default"
block_response = "drop"
[profile.hours]
block = []
[profile.hours.window.always]
categories = ["games", "ads"]
days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
[profile.exam]
mode = "allow-only"
allow = ["clean.example.org", "good.games.example"]
[profile.garden]
mode = "walled-garden"
allow = ["good.games.example"]
[profile.seen]
inherit = "school"
mode = "observe"
[profile.shadow]
block = []
shadow = ["games", "ads"]
safe_search_except = ["google"]
[profile.firm]
inherit = "business"
block = ["ads"]
[profile.firm.block_responses]
ads = "refused"
[client.hours]
networks = ["10.6.0.0/16"]
profile = "hours"
[client.exam]
networks = ["10.7.0.0/16"]
profile = "exam"
[client.garden]
networks = ["10.8.0.0/16"]
profile = "garden"
[client.seen]
networks = ["10.9.0.0/16"]
profile = "seen"
[client.shadow]
networks = ["10.10.0.0/16"]
profile = "shadow"
[client.firm]
networks = ["10.11.0.0/16"]
profile = "firm"
[client.school]
networks = ["10.1.0.0/16", "fd00:1::/32"]
ids = ["lop-6a", "a0:b1:c2:d3:e4:f5"]
profile = "school"
[client.open]
networks = ["10.2.0.0/16"]
profile = "open"
[client.null]
networks = ["10.3.0.0/16"]
profile = "null"
[client.nodata]
networks = ["10.4.0.0/16"]
profile = "nodata"
[client.silent]
networks = ["10.5.0.0/16"]
profile = "silent"
"#;

const MALWARE: &str = "bad.example\n198.51.100.66\n";
const GAMES: &str = "games.example\nplay.example.org\n";
const ADS: &str = "\
||ads.example^
@@||fine.ads.example^
||typed.example^$dnstype=AAAA
||elsewhere.example^$dnsrewrite=NOERROR;A;192.0.2.99
||important.example^$important
/^track[0-9]+\\./
";
const ZONE: &str = "\
$ORIGIN rpz.test.
@ 60 SOA ns. me. 1 2 3 4 5
scam.example 60 CNAME .
*.scam.example 60 CNAME *.
pass.scam.example 60 CNAME rpz-passthru.
32.77.100.51.198.rpz-ip 60 CNAME .
";
/// Rules about who asks: with them nothing is decided by the names alone.
const ZONE_OF_CLIENTS: &str = "32.7.0.1.10.rpz-client-ip 60 CNAME .\n";

/// Those who ask, one of each profile, one that a zone names, a stranger, and a router whose word is believed.
pub const SOURCES: [&str; 16] = [
    "127.0.0.1",
    "10.1.0.1",
    "10.2.0.1",
    "10.3.0.1",
    "10.4.0.1",
    "10.5.0.1",
    "fd00:1::7",
    "10.1.0.7",
    "203.0.113.9",
    "10.6.0.1",
    "10.7.0.1",
    "10.8.0.1",
    "10.9.0.1",
    "10.10.0.1",
    "10.11.0.1",
    "10.12.0.1",
];

/// Names with something to them: listed, spared, rewritten, local, cached — or nothing of that.
pub const NAMES: [&str; 37] = [
    "bad.example",
    "www.bad.example",
    "spared.bad.example",
    "denied.example",
    "games.example",
    "good.games.example",
    "play.example.org",
    "own.example",
    "ads.example",
    "x.ads.example",
    "fine.ads.example",
    "typed.example",
    "elsewhere.example",
    "important.example",
    "track7.example",
    "scam.example",
    "www.scam.example",
    "pass.scam.example",
    "www.google.com",
    "www.youtube.com",
    "www.bing.com",
    "duckduckgo.com",
    "forcesafesearch.google.com",
    "localhost",
    "1.0.0.127.in-addr.arpa",
    "x.onion",
    "use-application-dns.net",
    "clean.example.org",
    "alias.example.org",
    "to-games.example.org",
    "to-search.example.org",
    "private.example.org",
    "private.intern.example",
    "listed-address.example.org",
    "gone.example.org",
    "not-cached.example.org",
    "whoami.lachan.example",
];

/// What is cached, as `name type; record; record`, each record owned by what the one before leads to. `+`: additional.
const CACHED: [&str; 25] = [
    "clean.example.org 1; A 192.0.2.1; A 192.0.2.2",
    "clean.example.org 28; AAAA 2001:db8::1",
    "clean.example.org 16; TXT 250",
    "clean.example.org 65; HTTPS 192.0.2.1",
    "clean.example.org 15; +A 198.51.100.66",
    "alias.example.org 1; CNAME edge.example.net; CNAME far.example.net; A 192.0.2.3",
    "to-games.example.org 1; CNAME www.games.example; A 192.0.2.4",
    "to-search.example.org 1; CNAME www.google.com; A 192.0.2.5",
    "private.example.org 1; A 10.0.0.1",
    "private.intern.example 1; A 10.0.0.2",
    "listed-address.example.org 1; A 198.51.100.66",
    "listed-address.example.org 28; A 198.51.100.77",
    "gone.example.org 1; NXDOMAIN",
    "gone.example.org 28; SOA",
    "games.example 1; A 192.0.2.6",
    "x.ads.example 1; A 192.0.2.7",
    "fine.ads.example 1; A 192.0.2.8",
    "typed.example 1; A 192.0.2.9",
    "spared.bad.example 1; A 192.0.2.10",
    "forcesafesearch.google.com 1; A 216.239.38.120",
    "forcesafesearch.google.com 65; SOA",
    "restrict.youtube.com 1; CNAME edge.youtube.com; A 192.0.2.11",
    "strict.bing.com 28; SOA",
    "strict.bing.com 1; CNAME www.games.example; A 192.0.2.12",
    "use-application-dns.net 1; A 192.0.2.13",
];

/// A resolver whose cache is filled, and a lane of it.
pub struct Lanes {
    pub resolver: Arc<Resolver>,
    lane: Lane,
    out: Vec<u8>,
}

/// What the fast lane did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Took {
    Slow,
    Silence,
    Answer(Vec<u8>),
}

/// Of the two policies, one with rules about clients.
pub fn resolver(about_clients: bool) -> Arc<Resolver> {
    static RESOLVERS: [OnceLock<Arc<Resolver>>; 2] = [const { OnceLock::new() }; 2];
    Arc::clone(RESOLVERS[usize::from(about_clients)].get_or_init(|| load(about_clients)))
}

fn load(about_clients: bool) -> Arc<Resolver> {
    let folder = std::env::temp_dir().join(format!("lachan-lanes-{}-{about_clients}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let zone = if about_clients { [ZONE, ZONE_OF_CLIENTS].concat() } else { ZONE.to_owned() };
    let state = format!("state_directory = {:?}\n", folder.join("state"));
    let strangers = if about_clients { "refuse" } else { "drop" };
    for (file, text) in [
        ("lachan.toml", [&state, CONFIG].concat().replace("STRANGERS", strangers).as_str()),
        ("malware.txt", MALWARE),
        ("games.txt", GAMES),
        ("ads.txt", ADS),
        ("zone.txt", &zone),
    ] {
        std::fs::write(folder.join(file), text).expect("the temporary folder can be written");
    }
    let mut loader = Loader::new(Some(folder.join("lachan.toml")));
    let loaded = loader.load(None, None).unwrap_or_else(|why| panic!("{}", why.join("\n")));
    std::fs::remove_dir_all(&folder).expect("the temporary folder is ours");
    let resolver = Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new())));
    CACHED.iter().for_each(|line| fill(&resolver, line));
    resolver
}

/// Keeps an answer, with DO and CD in every way.
pub fn fill(resolver: &Resolver, line: &str) {
    let (question, answer) = cached(line);
    keep(resolver, &question, &answer);
}

/// As [`fill`].
pub fn keep(resolver: &Resolver, question: &Question, answer: &Answer) {
    let routes = &resolver.cell.load().snapshot.routes;
    let group = routes.group_for(&question.qname).expect("the root has a server");
    for (dnssec_ok, checking_disabled) in [(false, false), (true, false), (false, true)] {
        let key = Key::new(question, dnssec_ok, checking_disabled, routes.key(group));
        resolver.cache.put(key, Arc::new(answer.clone()), true, Duration::from_secs(3600));
    }
}

fn cached(line: &str) -> (Question, Answer) {
    let mut parts = line.split("; ");
    let (qname, qtype) = parts.next().and_then(|part| part.split_once(' ')).expect("a name and a type");
    let qname = name(qname);
    let qtype = RecordType(qtype.parse().expect("a type's number"));
    let mut made = AnswerBuilder::new(Rcode::NOERROR);
    let mut owner = qname.clone();
    for part in parts {
        let (section, part) = match part.strip_prefix('+') {
            Some(part) => (Section::Additional, part),
            None => (Section::Answer, part),
        };
        let (kind, value) = part.split_once(' ').unwrap_or((part, ""));
        let mut push = |section, rtype, rdata: &[u8]| {
            made.push(section, owner.as_wire(), rtype, 3600, rdata);
        };
        match (kind, value.parse::<IpAddr>()) {
            ("A", Ok(IpAddr::V4(v4))) => push(section, RecordType::A, &v4.octets()),
            ("AAAA", Ok(IpAddr::V6(v6))) => push(section, RecordType::AAAA, &v6.octets()),
            ("HTTPS", Ok(IpAddr::V4(v4))) => {
                push(section, RecordType::HTTPS, &[&[0, 1, 0, 0, 4, 0, 4][..], &v4.octets()].concat());
            }
            ("TXT", _) => (0..4).for_each(|i| push(section, RecordType::TXT, &[&[250][..], &[i; 250]].concat())),
            ("CNAME", _) => {
                let target = name(value);
                push(section, RecordType::CNAME, target.as_wire());
                owner = target;
            }
            ("SOA" | "NXDOMAIN", _) => {
                let rdata = [&[0; 18][..], &3600_u32.to_be_bytes()].concat();
                push(Section::Authority, RecordType::SOA, &rdata);
                made.set_head(if kind == "SOA" { Rcode::NOERROR } else { Rcode::NXDOMAIN }, false, false);
            }
            _ => panic!("{part}"),
        }
    }
    if made.is_empty() || qtype == RecordType(15) {
        made.push(Section::Answer, qname.as_wire(), qtype, 3600, &[&[0, 10][..], qname.as_wire()].concat());
    }
    (Question { qname, qtype, qclass: CLASS_IN }, made.finish())
}

pub fn name(text: &str) -> Name {
    Name::from_text(text).expect("written as a name")
}

pub fn origin(source: &str) -> Origin {
    let source = source.parse::<IpAddr>().expect("written as an address");
    Origin::new((source, 4000).into(), None, Transport::Udp)
}

impl Lanes {
    pub fn new(resolver: Arc<Resolver>) -> Lanes {
        Lanes { lane: Lane::new(Arc::clone(&resolver)), resolver, out: Vec::with_capacity(4096) }
    }

    /// What the fast lane does at a moment, by the way that a batch's datagrams take.
    pub fn fast_at(&mut self, message: &[u8], origin: Origin, now: Instant) -> Fast {
        let mut batch = self.lane.begin(now);
        let fast = batch.answer_or_wait(0, message, origin, &mut self.out);
        let fast = fast.unwrap_or_else(|| {
            batch.look_up(prefetch);
            batch.answer_next(&mut self.out).expect("it waits").1
        });
        batch.end(now);
        fast
    }

    pub fn fast(&mut self, message: &[u8], origin: Origin) -> Took {
        match self.fast_at(message, origin, Instant::now()) {
            Fast::Slow | Fast::Miss => Took::Slow,
            Fast::Silence => Took::Silence,
            Fast::Answer => Took::Answer(self.out.clone()),
        }
    }

    /// What the slow lane answers without upstream; `None`: nothing.
    fn slow(&self, message: &[u8], origin: Origin) -> Option<Vec<u8>> {
        match self.resolver.begin(message, origin) {
            Begun::Silence => None,
            Begun::Answer(octets) => Some(octets),
            Begun::Pending(pending) => {
                let mut answer = pin!(self.resolver.finish(pending));
                match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => panic!("the fast lane answered what waits for upstream: {message:02x?}"),
                }
            }
        }
    }

    /// Both lanes, at a moment that is the same for both; says what the fast one did.
    pub fn compare(&mut self, message: &[u8], origin: Origin) -> Took {
        loop {
            let fast = self.fast(message, origin);
            if fast == Took::Slow {
                return fast;
            }
            let slow = self.slow(message, origin).map_or(Took::Silence, Took::Answer);
            // A second may have turned between any two of them; then ages differ, or strangers are told again who were told
            // too often before, and it is done again.
            if self.fast(message, origin) != fast
                || self.slow(message, origin).map_or(Took::Silence, Took::Answer) != slow
            {
                continue;
            }
            assert_same(message, origin, &fast, &slow);
            return fast;
        }
    }
}

fn assert_same(message: &[u8], origin: Origin, fast: &Took, slow: &Took) {
    let (Took::Answer(a), Took::Answer(b)) = (fast, slow) else {
        assert_eq!(fast, slow, "{origin:?} {message:02x?}");
        return;
    };
    let what = || format!("{origin:?} {message:02x?}\nfast {a:02x?}\nslow {b:02x?}");
    assert_eq!(a[..4], b[..4], "id and flags: {}", what());
    let header = Header::peek(message).expect("what is answered has a header");
    let Ok(Query { question, spelling, edns, .. }) = query::read(message, header) else {
        assert_eq!(a, b, "{}", what());
        return;
    };
    let question_end = Header::LEN + spelling.as_wire().len() + 4;
    assert_eq!(a[Header::LEN..question_end], message[Header::LEN..question_end], "the question: {}", what());
    let read = |octets: &[u8]| Answer::from_wire(octets, &question).unwrap_or_else(|why| panic!("{why}: {}", what()));
    assert_eq!(read(a), read(b), "{}", what());
    let limit = edns.map_or(512, |edns| edns.reply_limit());
    assert!(a.len() <= limit, "{} octets, at most {limit}: {}", a.len(), what());
}

/// The fuzz target: one octet for who asks and under which policy, then a message.
pub fn lane(octets: &[u8]) {
    thread_local! {
        static LANES: [RefCell<Lanes>; 2] = [false, true].map(|zones| RefCell::new(Lanes::new(resolver(zones))));
    }
    let Some((&who, message)) = octets.split_first() else { return };
    let source = SOURCES[usize::from(who >> 1) % SOURCES.len()];
    LANES.with(|lanes| lanes[usize::from(who & 1)].borrow_mut().compare(message, origin(source)));
}
