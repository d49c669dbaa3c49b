//! What must hold for any octets. The fuzz targets call these, and so does the test that replays their corpora.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use lachan::cli::annex;
use lachan::config;
use lachan::daemon::listener::{Asked, read_head};
use lachan::daemon::sources::inflate::{inflate, is_packed};
use lachan::daemon::subscribers::line::{Line, Reading};
use lachan::engine;
use lachan::engine::answer::{Answer, AnswerBuilder, RecordRef, Section};
use lachan::engine::category::{Categories, CategoryId};
use lachan::engine::client::{Realm, Token, TokenKey, UnixTime};
use lachan::engine::compile::{BuiltIn, Inputs, ListRules, ListSettings, ListSource, LoadedList, Policy, compile};
use lachan::engine::compiled::{CompiledList, Sum};
use lachan::engine::framing;
use lachan::engine::gate::GateSettings;
use lachan::engine::identity;
use lachan::engine::limits::{
    ANNEX_ROWS_MAX, DOH_QUERY_OCTETS_MAX, LABEL_OCTETS_MAX, NAME_OCTETS_MAX, PROXY_HEADER_OCTETS_MAX,
};
use lachan::engine::list::special::{From, Owner, Pattern, SpecialRule};
use lachan::engine::list::{Format, ListReport, ParseOptions, Reach, RuleSet, parse};
use lachan::engine::matcher::suffix::Hits;
use lachan::engine::matcher::{Builder, HashSeed, Index, Part, public_suffix};
use lachan::engine::name::Name;
use lachan::engine::policy::{self, QueryVerdict};
use lachan::engine::proxy;
use lachan::engine::query::{self, Edns, Header, Origin, Query, Question, Rcode, RecordType, Spelling, Transport};
use lachan::engine::radius::sessions::{Report, Sessions};
use lachan::engine::radius::{self as accounting, TokenFrom};
use lachan::engine::reply;
use lachan::engine::reply::encoder::{self, EdeText, Response, TtlRule, size_limit};
use lachan::engine::safe_search::SafeSearch;
use lachan::engine::snapshot::Snapshot;
use lachan::engine::subscribers::{Change, Holder, Place, Table};
use lachan::engine::verdict::{EdeCode, ListId};
use sha2::{Digest, Sha256};

/// Reading a list never panics; every rule is a canonical name of a line there is, and finds itself when compiled.
pub fn list_parse(octets: &[u8]) {
    for format in [Format::Auto, Format::Hosts, Format::Domains, Format::Adblock] {
        for bare_reach in [None, Some(Reach::Exact)] {
            let Ok(rules) = parse(octets, ParseOptions { format, bare_reach }) else { continue };
            let mut builder = Builder::new(HashSeed(7, 8));
            builder.add(ListId(0), Part::of(&rules, &public_suffix::is_public_suffix));
            let index = Index::of(builder.build().expect("the input is small"));
            let mut hits = Hits::new();
            for rule in rules.names() {
                let name = Name::from_wire(rule.name).expect("a rule's name is wire form");
                assert_eq!(name.as_wire(), rule.name, "a rule's name is canonical");
                assert!((1..=rules.report.lines).contains(&rule.line));
                index.names.look_up(rule.name, &mut hits);
            }
            let skipped: u32 = rules.report.skipped.iter().map(|(_, count)| count).sum();
            assert!(skipped <= rules.report.lines);
        }
    }
}

/// A PROXY header is read whole or not at all: what follows it is the rest, and all that is told lies before that.
pub fn proxy(octets: &[u8]) {
    let Ok((header, after)) = proxy::read(octets) else { return };
    assert!(octets.starts_with(&proxy::SIGNATURE) && octets.ends_with(after));
    let len = octets.len() - after.len();
    assert!((proxy::HEAD_OCTETS..=PROXY_HEADER_OCTETS_MAX).contains(&len));
    assert_eq!(proxy::rest_len(octets.first_chunk().expect("a header is longer")), Ok(len - proxy::HEAD_OCTETS));
    assert_eq!(proxy::read(&octets[..len]), Ok((header, &[][..])), "it does not depend on what follows");
    for kind in 0..=u8::MAX {
        if let Some(value) = header.tlv(kind) {
            assert!(value.len() < len);
        }
    }
    if let Some(ends) = header.client {
        for address in [ends.source.ip(), ends.destination.ip()] {
            assert_eq!(address, address.to_canonical());
        }
    }
}

/// Whatever a client says of itself becomes a token or nothing: in a name, a path, an option, a header of HTTP.
pub fn identity(octets: &[u8]) {
    // Six octets are a hardware address as it is.
    for code in [identity::MAC_OPTION, identity::CPE_ID_OPTION].into_iter().filter(|_| octets.len() != 6) {
        assert_eq!(
            identity::of_option(code, octets),
            identity::of_option(code, &octets.to_ascii_uppercase()),
            "{code}"
        );
    }
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let configured = identity::configured(text);
    // A hardware address with hyphens is a word too, and not the same client's.
    if octets.len() == 17 {
        return;
    }
    let is_label = identity::is_label(octets);
    let own = "dns.example.vn";
    let by_name = identity::of_server_name(own, &format!("{text}.{own}"));
    assert_eq!((by_name.is_some(), by_name), (is_label, configured.filter(|_| is_label)), "{text:?}");
    let path = identity::Path::read(&format!("{}/{text}", identity::DOH_PATH));
    assert_eq!(path.map(|path| path.identity), is_label.then_some(configured), "{text:?}");
    identity::Path::read(text);
    identity::of_server_name(text, own);
    let values: Vec<&[u8]> = text.split('\n').map(str::as_bytes).collect();
    let last = identity::forwarded_for(values.iter().copied(), |_| false);
    if let Some(address) = last {
        assert_eq!(address.ip(), address.ip().to_canonical());
    }
    identity::forwarded_for(values.iter().copied(), |address| address.is_loopback());
}

/// Octets that claim to be a compiled file are refused or answer something: no panic, no hang. So does a good file some of
/// whose octets are others — each four octets of the input say where (three of them) and how — and one of whose sections,
/// which the first octet says, is the rest of the input. Their sums are made right, as whoever means harm would.
pub fn compiled(octets: &[u8]) {
    ask_compiled(octets.to_vec());
    let mut file = good_compiled().to_vec();
    for change in octets.as_chunks::<4>().0.iter().take(64) {
        let [a, b, c, how] = *change;
        let at = u32::from_le_bytes([a, b, c, 0]) as usize % file.len();
        file[at] ^= how;
    }
    ask_compiled(file);
    if let [which, rest @ ..] = octets {
        ask_compiled(with_section(*which, rest));
    }
}

/// Where the header tells where the sections are: two numbers of eight octets each.
const SECTIONS_AT: usize = 48;
const SECTIONS: u8 = 4;

/// The good file with a section of these octets, which lie behind the others.
fn with_section(which: u8, octets: &[u8]) -> Vec<u8> {
    let mut file = good_compiled().to_vec();
    file.resize(file.len().next_multiple_of(64), 0);
    let at = SECTIONS_AT + 16 * usize::from(which % SECTIONS);
    let start = file.len() as u64;
    file.extend_from_slice(octets);
    let end = file.len() as u64;
    file[at..at + 8].copy_from_slice(&start.to_le_bytes());
    file[at + 8..at + 16].copy_from_slice(&end.to_le_bytes());
    file
}

/// Makes the sum of a file right, if it has a place for one.
fn make_sum_right(file: &mut [u8]) {
    const SUM_AT: usize = 16;
    if let Some((head, summed)) = file.split_at_mut_checked(SECTIONS_AT) {
        head[SUM_AT..].copy_from_slice(&Sha256::digest(summed));
    }
}

fn good_compiled() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let mut text: String = (0..500).map(|i| format!("name{i}.example.org\n")).collect();
        text.push_str("*.below.example\n192.0.2.0/24\n2001:db8::/32\n");
        let options = ParseOptions { format: Format::Auto, bare_reach: None };
        let part = || Part::of(&parse(text.as_bytes(), options).expect("it is a list"), &|_| false);
        let mut builder = Builder::new(HashSeed(7, 8));
        builder.add(ListId(0), part());
        let special =
            "||name9.example.org^$dnsrewrite=192.0.2.1\n/^www[.]name/\n||name9.example.org^$client=192.0.2.0/24\n";
        let special = parse(special.as_bytes(), ParseOptions { format: Format::Adblock, bare_reach: None });
        builder.add(ListId(1), Part::of(&special.expect("it is a list"), &|_| false));
        let layer = builder.build().expect("it is small");
        let list = |name: &str| CompiledList {
            name: name.into(),
            category: Categories::built_in().get(CategoryId(0)).clone(),
            source: "a.txt".into(),
            options,
            rules: 500,
            report: ListReport::default(),
            spared: 0,
            spared_shown: Vec::new(),
            file_version: None,
            part_versions: Vec::new(),
            obey_public_suffixes: false,
            read_at: 0,
        };
        let lists = [list("a"), list("b")];
        let encoded = engine::compiled::encode(&layer, &lists, "").expect("it is text");
        let file = [&encoded.head, encoded.names, &encoded.tail].concat();
        let mut sum = Sum::default();
        sum.update(&file);
        assert!(sum.finish().is_ok() && engine::compiled::open(Arc::new(file.clone())).is_ok());
        file
    })
}

/// Everything that queries, `explain` and the next compile ask.
fn ask_compiled(mut octets: Vec<u8>) {
    make_sum_right(&mut octets);
    let mut sum = Sum::default();
    sum.update(&octets);
    if sum.finish().is_err() {
        return;
    }
    let Ok(opened) = engine::compiled::open(Arc::new(octets)) else { return };
    opened.lists.iter().for_each(|list| drop((list.about(), list.list_source())));
    opened.layer.names.for_each_rule(|_, rule| assert!(Name::from_wire(rule.name).is_ok()));
    let index = Index::of(Arc::into_inner(opened.layer).expect("nobody else has it"));
    let mut hits = Hits::new();
    for i in (0..500).step_by(23) {
        let name = Name::from_text(&format!("www.name{i}.example.org")).expect("it is a name");
        for depth in 0..=name.label_count() {
            let name = name.suffix(depth);
            index.names.look_up(name.as_wire(), &mut hits);
            let _ = index.names.listed(&hits);
            let _ = index.names.rules_at(name.as_wire()).count();
        }
    }
    let found = |rule| drop(index.special.rule(rule).1.clone());
    for name in ["www.name9.example.org", "a"] {
        let name = Name::from_text(name).expect("it is a name");
        index.special.at_or_above(name.as_wire(), |_, rule| found(rule));
        index.special.looking_like(name.as_wire(), found);
    }
    for address in ["192.0.2.1", "2001:db8::1"] {
        let address = address.parse().expect("it is an address");
        let _ = index.addresses.listed(address);
        index.special.for_client(address, |_, rule| found(rule));
        index.special.for_address(address, |_, rule| found(rule));
    }
    let _ = (index.names.len(), index.names.rule_count(), index.names.hot_octets(), index.names.cold_octets());
}

/// Reading files of other programs never panics; every rule is of a line there is and is found by what it is about.
pub fn zone_parse(octets: &[u8]) {
    for format in [Format::Dnsmasq, Format::Unbound, Format::Rpz, Format::Keywords, Format::Auto] {
        let Ok(rules) = parse(octets, ParseOptions { format, bare_reach: None }) else { continue };
        let mut builder = Builder::new(HashSeed(7, 8));
        builder.add(ListId(0), Part::of(&rules, &|_| false));
        let index = Index::of(builder.build().expect("the input is small"));
        for rule in rules.specials() {
            assert!((1..=rules.report.lines).contains(&rule.line));
            let mut found = false;
            let mut same = |number| found |= index.special.rule(number).1 == rule;
            match &rule.owner {
                Owner::Name { name, .. } => {
                    assert_eq!(Name::from_wire(name).expect("an owner is wire form").as_wire(), &**name);
                    index.special.at_or_above(name, |_, number| same(number));
                }
                Owner::Client(net) => index.special.for_client(net.addr(), |_, number| same(number)),
                Owner::Address(net) => index.special.for_address(net.addr(), |_, number| same(number)),
                // A pattern is found by names that look like it, which nothing here makes up.
                Owner::Pattern(_) => found = true,
            }
            assert!(found, "{rule:?}");
        }
    }
}

/// A text that is read as an order is written so that it reads to the same order.
pub fn order_file(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let zone = jiff::tz::TimeZone::UTC;
    let Ok(order) = config::read_order("order.toml", text, &zone) else { return };
    let written = config::write_order(&order);
    let again = config::read_order("order.toml", &written, &zone);
    assert_eq!(again.as_ref().ok(), Some(&order), "{written}\n{again:?}");
    for at in [-1 << 40, 0, order.received.0, order.effective.0, 1 << 40] {
        let at = UnixTime(at);
        assert!(!order.acts(at) || order.effective <= at);
        let _ = (order.state(at), order.alarms(at), order.acts_until(at));
    }
}

/// An annex, taken for a table and for a workbook, is rows within the bound or refused.
pub fn annex(octets: &[u8]) {
    for rows in [annex::table(octets), annex::sheet(octets.to_vec())].into_iter().flatten() {
        assert!(rows.len() <= ANNEX_ROWS_MAX);
    }
}

/// What is packed unpacks to no more than the bound, or is refused.
pub fn unpack(octets: &[u8]) {
    const MAX: u64 = 1 << 16;
    if let Ok(text) = inflate(octets.to_vec(), MAX) {
        assert!(text.len() as u64 <= MAX.max(octets.len() as u64) && !is_packed(&text));
    }
}

/// A pattern meets a name among others as it does alone, and a literal meets what has it in its text. The first line is
/// the name, the others are patterns.
pub fn patterns(octets: &[u8]) {
    let Some(end) = octets.iter().position(|&c| c == b'\n') else { return };
    let host = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let Some(qname) = octets[..end].iter().all(host).then(|| String::from_utf8_lossy(&octets[..end])) else { return };
    let Ok(qname) = Name::from_text(&qname) else { return };
    let text = qname.to_string();
    for format in [Format::Adblock, Format::Keywords] {
        let options = ParseOptions { format, bare_reach: None };
        let Ok(rules) = parse(&octets[end + 1..], options) else { continue };
        let found = |rules: &RuleSet| -> Vec<SpecialRule> {
            let mut builder = Builder::new(HashSeed(7, 8));
            builder.add(ListId(0), Part::of(rules, &|_| false));
            let index = Index::of(builder.build().expect("the input is small"));
            let mut found = Vec::new();
            index.special.looking_like(qname.as_wire(), |number| found.push(index.special.rule(number).1.clone()));
            found
        };
        let together = found(&rules);
        for line in octets[end + 1..].split(|&c| c == b'\n').take(64) {
            // A rule that another line takes back is none of its own.
            let Ok(alone) = parse(line, options) else { continue };
            let met = found(&alone);
            for rule in alone.specials() {
                let Owner::Pattern(pattern) = &rule.owner else { continue };
                let meets = met.iter().any(|met| met.owner == rule.owner);
                if rules.specials().iter().any(|of_all| of_all.owner == rule.owner) {
                    assert_eq!(together.iter().any(|met| met.owner == rule.owner), meets, "{pattern:?} {text}");
                }
                if let Pattern::Literal { text: literal, from, ends } = pattern {
                    let holds =
                        text.match_indices(&**literal).any(|(at, _)| begins(&text, at, literal.len(), *from, *ends));
                    // What overlaps itself is met where its first place does not hold.
                    assert!(meets || !holds, "{pattern:?} {text}");
                }
            }
        }
    }
}

/// Whether a literal that is at `at` begins and ends where it must.
fn begins(text: &str, at: usize, len: usize, from: From, ends: bool) -> bool {
    let before = at.checked_sub(1).map(|at| text.as_bytes()[at]);
    let after = text.as_bytes().get(at + len);
    let from_there = match from {
        From::Start => before.is_none(),
        From::Label => before.is_none_or(|c| c == b'.'),
        From::Anywhere => true,
        From::Word => before.is_none_or(|c| matches!(c, b'.' | b'-')) && after.is_none_or(|c| matches!(c, b'.' | b'-')),
    };
    from_there && (!ends || after.is_none())
}

/// Whatever the rules are, a question gets a verdict, and a block an answer that can be read. The first line is the name
/// that is asked for.
pub fn rules_judged(octets: &[u8]) {
    let Some(end) = octets.iter().position(|&c| c == b'\n') else { return };
    let Some(qname) = std::str::from_utf8(&octets[..end]).ok().and_then(|text| Name::from_text(text).ok()) else {
        return;
    };
    for format in [Format::Adblock, Format::Rpz] {
        let options = ParseOptions { format, bare_reach: None };
        let Ok(rules) = parse(&octets[end + 1..], options) else { continue };
        let snapshot = snapshot(rules, options);
        let client = snapshot.clients.identify([192, 0, 2, 1].into());
        for qtype in [RecordType::A, RecordType::HTTPS, RecordType::ANY] {
            let question = Question { qname: qname.clone(), qtype, qclass: query::CLASS_IN };
            let verdict = policy::on_query(&snapshot, client, &question, &mut ());
            let QueryVerdict::Block(block) = verdict else { continue };
            let spelling = Spelling::of(&question.qname);
            let query = Query {
                octets: 40,
                id: 7,
                recursion_desired: true,
                checking_disabled: false,
                authentic_data: false,
                question,
                spelling,
                edns: None,
            };
            let source = ([192, 0, 2, 1], 53).into();
            let origin = Origin::new(source, None, Transport::Tcp);
            let mut reply = Vec::new();
            if reply::block(&snapshot, client.profile, &query, origin, &block, None, &mut reply).is_some() {
                Answer::from_wire(&reply, &query.question).expect("our own answer can be read");
            }
        }
    }
}

/// A policy that blocks what one list holds.
fn snapshot(rules: RuleSet, options: ParseOptions) -> Snapshot {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    let policy = POLICY
        .get_or_init(|| {
            let text = "[profile.default]\nblock = [\"adult\"]\nsafe_search = false\n";
            config::load_str("fuzz.toml", text, Path::new("/")).expect("the configuration is sound").policy
        })
        .clone();
    let settings = ListSettings {
        name: "list".into(),
        category: policy.categories.id("adult").expect("a built-in category"),
        options,
        source: ListSource::BuiltIn("list".into()),
        required: true,
        obey_public_suffixes: true,
        block_keywords: Vec::new(),
        gate: GateSettings::OPEN,
    };
    let built_in = BuiltIn {
        infrastructure: Vec::new(),
        connectivity: Vec::new(),
        safe_search: Arc::new(SafeSearch::from_csv("").expect("an empty table is one")),
        protected: Vec::new(),
        protected_content: Vec::new(),
        browser_canaries: Vec::new(),
    };
    let lists = vec![LoadedList { settings, rules: ListRules::Read(Part::of(&rules, &|_| false)) }];
    let inputs = Inputs {
        generation: 1,
        policy,
        lists,
        built_in,
        upstreams: Vec::new(),
        seed: HashSeed(7, 8),
        texts: None,
        room: None,
        now: None,
    };
    compile(inputs, None).expect("one small list fits").0
}

/// A text that is a name is one again when its own text is read, and its wire form is within the bounds.
pub fn name_text(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let Ok(name) = Name::from_text(text) else { return };
    let wire = name.as_wire();
    assert!(wire.len() <= NAME_OCTETS_MAX);
    assert_eq!(Name::from_wire(wire).as_ref(), Ok(&name));
    assert_eq!(Name::from_text(&name.to_string()).as_ref(), Ok(&name));
    assert!(name.to_string().split('.').all(|label| (1..=LABEL_OCTETS_MAX).contains(&label.len())));
}

/// Reading a message never panics; what is answered is answered with its id, its question and within its limit.
pub fn packet(octets: &[u8]) {
    let Some(header) = Header::peek(octets) else { return };
    let text = EdeText {
        structured: None,
        code: EdeCode::BLOCKED,
        text: "blocked by this network\u{2019}s policy: ",
        detail: "ways round the filter, \u{1ee9}",
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        let query = match query::read(octets, header) {
            Ok(query) => query,
            Err(refusal) => {
                let limit = size_limit(transport, refusal.edns.as_ref());
                let reply = encoder::write_refusal(&refusal, transport, &[text]);
                assert!(reply.len() <= limit, "{} octets, at most {limit}", reply.len());
                assert_eq!(reply[..2], octets[..2]);
                continue;
            }
        };
        let limit = size_limit(transport, query.edns.as_ref());
        let mut made = AnswerBuilder::new(Rcode::NOERROR);
        let owner = query.question.qname.as_wire();
        made.push(Section::Answer, owner, RecordType::CNAME, 60, owner);
        made.push(Section::Answer, owner, RecordType::TXT, 61, &[b'.'; 300]);
        let parent = query.question.qname.parent();
        made.push(Section::Authority, parent.as_wire(), RecordType::NS, 62, owner);
        made.push(Section::Additional, owner, RecordType::A, 63, &[192, 0, 2, 1]);
        let made = made.finish();
        let ede = [text; 5];
        let response = Response {
            rcode: Rcode::NOERROR,
            authentic_data: false,
            ttl: TtlRule::Age { secs: 0, max: u32::MAX },
            ede: &ede,
            nsid: &[b'n'; 255],
        };
        let reply = encoder::write(&query, transport, &response, made.records());
        assert!(reply.len() <= limit, "{} octets, at most {limit}", reply.len());
        assert_eq!(reply[..2], octets[..2]);
        let question_end = Header::LEN + query.spelling.as_wire().len() + 4;
        assert_eq!(reply[Header::LEN..question_end], octets[Header::LEN..question_end]);
        let read = Answer::from_wire(&reply, &query.question).expect("our own answer can be read");
        assert_eq!(read.ede.is_empty(), query.edns.is_none());
        if transport == Transport::Tcp {
            assert_same(&made, &read);
        }
    }
}

/// What stands on a stream is the same messages however it is cut, and nothing of it is lost. The first octet says where it
/// is cut.
pub fn framing(octets: &[u8]) {
    let Some((step, stream)) = octets.split_first() else { return };
    let mut whole = Vec::new();
    let mut rest = stream;
    while let Some((message, after)) = framing::first(rest) {
        framing::put(&mut whole, message);
        rest = after;
    }
    assert_eq!([&whole, rest].concat(), stream);
    let (mut cut, mut unread) = (Vec::new(), Vec::new());
    for part in stream.chunks(usize::from(*step) + 1) {
        unread.extend_from_slice(part);
        let mut rest = unread.as_slice();
        while let Some((message, after)) = framing::first(rest) {
            framing::put(&mut cut, message);
            rest = after;
        }
        unread = rest.to_vec();
        assert!(unread.len() < framing::FRAME_OCTETS_MAX);
    }
    assert_eq!((cut, unread.as_slice()), (whole, rest));
}

/// A stream of DoQ holds one message with id 0, or nothing that is answered.
pub fn doq_stream(octets: &[u8]) {
    let Some(message) = framing::only(octets) else { return };
    assert!(message.len() >= Header::LEN && message[..2] == [0, 0]);
    let mut framed = Vec::new();
    framing::put(&mut framed, message);
    assert_eq!(framed, octets);
    packet(message);
}

/// Lines of a request — method, path with its parameters, headers — give a message, a body to be read, or a status of an error.
pub fn doh_request(octets: &[u8]) {
    let mut lines = octets.split(|&octet| octet == b'\n');
    let (Some(method), Some(target)) = (lines.next(), lines.next()) else { return };
    let (Ok(method), Ok(target)) = (Method::from_bytes(method), Uri::try_from(target)) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.take(16) {
        let mut parts = line.splitn(2, |&octet| octet == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    match read_head(&method, target.path(), target.query(), &headers).map(|head| head.asked) {
        Ok(Asked::Message(message)) => {
            assert!(method != Method::POST && message.len() <= DOH_QUERY_OCTETS_MAX + 4);
            let encoded = URL_SAFE_NO_PAD.encode(&message);
            assert!(target.query().is_some_and(|query| query.contains(&encoded)), "what was asked is in the URL");
            packet(&message);
        }
        Ok(Asked::InBody) => assert_eq!(method, Method::POST),
        Err(refused) => assert!(refused.status.is_client_error() && !refused.why.is_empty()),
    }
}

/// Reading what upstream sends never panics; what was read is the same after it was written and read again.
pub fn answer(octets: &[u8]) {
    let Ok((qname, end)) = Name::read(octets, Header::LEN) else { return };
    let Some(&[type_high, type_low, class_high, class_low]) = octets.get(end..).and_then(|rest| rest.first_chunk())
    else {
        return;
    };
    let qtype = RecordType(u16::from_be_bytes([type_high, type_low]));
    let question = Question { qname, qtype, qclass: u16::from_be_bytes([class_high, class_low]) };
    let Ok(answer) = Answer::from_wire(octets, &question) else { return };
    // What answers the question, also for good: nothing of that is lost when it is looked for again.
    let kept = answer.clone().answering(&question);
    assert_eq!(kept.clone().answering(&question), kept);
    // Judged as policy does, and kept as the cache does.
    for section in [Section::Answer, Section::Authority, Section::Additional] {
        answer.target_names(section).for_each(|name| assert!(!name.as_wire().is_empty()));
        let _ = answer.addresses(section).count();
    }
    let _ = (answer.ttl_secs(qtype), answer.is_failure());
    assert!(answer.size() >= answer.records().map(|r| r.rdata.len()).sum());

    passed_on(octets, &question);

    let spelling = Spelling::of(&question.qname);
    let edns =
        Edns { version: 0, udp_payload: 1232, dnssec_ok: true, nsid: false, keepalive: false, ..Edns::default() };
    let query = Query {
        octets: 40,
        id: 7,
        recursion_desired: true,
        checking_disabled: false,
        authentic_data: true,
        question,
        spelling,
        edns: Some(edns),
    };
    let ttl = TtlRule::Age { secs: 0, max: u32::MAX };
    let response = Response { rcode: answer.rcode, authentic_data: true, ttl, ede: &[], nsid: &[] };
    for transport in [Transport::Udp, Transport::Tcp] {
        let reply = encoder::write(&query, transport, &response, answer.records());
        assert!(reply.len() <= size_limit(transport, Some(&edns)));
        let read = Answer::from_wire(&reply, &query.question).expect("our own answer can be read");
        assert_eq!(read.rcode, answer.rcode);
        if transport == Transport::Tcp && !read.truncated && read.records().len() == answer.records().len() {
            assert_same(&answer, &read);
        }
    }
}

/// What is passed on as it came says the same whatever stands in the octets that are written anew for each client.
fn passed_on(octets: &[u8], question: &Question) {
    let mut builder = AnswerBuilder::new(Rcode::NOERROR);
    builder.read(octets, question).expect("it was read before");
    let Some(came) = builder.as_it_came(octets) else { return };
    assert_eq!(came.ttl_at.len(), builder.answer().records().len());
    let additional = builder.answer().section(Section::Additional).count() as u16;
    for patch in [[0; 4], [3, b'w', b'w', b'w'], [0xc0, 0x0c, 0xc0, 0x0c]] {
        let mut message = came.octets.to_vec();
        message[..2].copy_from_slice(&patch[..2]);
        message[2..4].copy_from_slice(&[0x81, 0x80]);
        message[10..12].copy_from_slice(&additional.to_be_bytes());
        for at in came.ttl_at {
            message[usize::from(*at)..][..4].copy_from_slice(&patch);
        }
        let read = Answer::from_wire(&message, question).expect("what is passed on can be read");
        let names = |answer: &Answer| {
            let all = answer.records().map(|r| (r.section, r.owner.to_vec(), r.rtype, r.rdata.to_vec()));
            all.collect::<Vec<_>>()
        };
        assert_eq!(names(&read), names(builder.answer()));
    }
}

/// The same records; compression may have changed the case of names.
fn assert_same(written: &Answer, read: &Answer) {
    // The encoder writes section by section; the order inside each stays.
    let by_section = |answer: &Answer| -> Vec<Vec<String>> {
        let say = |r: RecordRef<'_>| {
            let (owner, rdata) = (r.owner.to_ascii_lowercase(), r.rdata.to_ascii_lowercase());
            format!("{owner:02x?} {:?} {} {} {rdata:02x?}", r.rtype, r.class, r.ttl)
        };
        [Section::Answer, Section::Authority, Section::Additional]
            .map(|section| answer.section(section).map(say).collect())
            .to_vec()
    };
    assert_eq!(by_section(written), by_section(read));
}

/// Octets as a datagram; then as a sequence of packets, each behind its length, made authentic: none panics, every place that
/// is held is a session's, and when every access server begins anew nothing is left.
pub fn radius(octets: &[u8]) {
    const SECRET: &[u8] = b"testing123";
    let _ = accounting::read(octets, SECRET);
    let (table, mut writer) = Table::new((1, 2));
    let (mut sessions, mut changes) = (Sessions::default(), Vec::new());
    let mut servers = Vec::new();
    let mut take = |packet: &[u8], now: u32, servers: &mut Vec<Vec<u8>>| {
        let Ok(told) = accounting::read(packet, SECRET) else { return };
        if let [Some(name), None, None] = told.nas {
            servers.push(name.to_vec());
        }
        let token = told.line(&TokenFrom::DEFAULT).map(|line| Token::of(&TokenKey::LABELS, line));
        let report = Report { told: &told, realm: Realm(1), token, profile: None, now, confirmed_for: 1_200 };
        sessions.take(&report, &table, &mut changes);
        changes.drain(..).for_each(|change| writer.apply(&change).expect("the input is small"));
    };
    let mut rest = octets;
    for now in 1_800_000_000.. {
        let Some((&[high, low], after)) = rest.split_first_chunk::<2>() else { break };
        let length = (usize::from(high) << 8 | usize::from(low)) % 512;
        let (body, next) = after.split_at(length.min(after.len()));
        take(&request(body, SECRET), now, &mut servers);
        rest = next;
    }
    table.each_prefix(|key, entry| {
        assert!(entry.term.is_session && matches!(entry.holder, Holder::Token(_)));
        assert_eq!(key.realm(), Realm(1));
        match key.place() {
            Place::Ports(_, from, to) => assert!(from <= to),
            Place::Net(net) => assert_eq!(net, net.trunc()),
        }
    });
    // Only those whose name is whole told of their sessions by it alone.
    for name in servers.clone() {
        let mut body = vec![40, 6, 0, 0, 0, 7, 32, name.len() as u8 + 2];
        body.extend(name);
        take(&request(&body, SECRET), u32::MAX, &mut servers);
    }
}

/// An Accounting-Request with these attributes, signed.
fn request(body: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut packet = vec![4, 7, 0, 0];
    packet.extend([0; 16]);
    packet.extend_from_slice(body);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    accounting::sign(&mut packet, secret);
    packet
}

/// Any line is taken or refused, and no refusal repeats a value; what is taken can be undone.
pub fn subscriber_lines(octets: &[u8]) {
    let (table, mut writer) = Table::new((1, 2));
    let with = Reading { table: &table, key: Some(TokenKey::LABELS) };
    for line in octets.split(|&octet| octet == b'\n').take(100) {
        let Ok(changes) = Line::parse(line).and_then(|line| line.changes(&with)) else { continue };
        assert!((1..=31).contains(&changes.len()), "{}", changes.len());
        for change in &changes {
            writer.apply(change).expect("the input is small");
        }
        for change in changes {
            match change {
                Change::Put(key, _) => writer.apply(&Change::Remove(key)).expect("there is room for less"),
                Change::Choose(token, _) => writer.apply(&Change::Choose(token, None)).expect("there is room for less"),
                Change::Remove(_) | Change::Say(..) => {}
            }
        }
    }
    let left = writer.counts();
    assert_eq!((left.v4, left.v6, left.ports, left.tokens), (0, 0, 0, 0));
}
