//! Who asks, when an address alone does not tell: a name in TLS, a path, a router's word, a proxy's header — and the answer that
//! tells a client who it is.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{RData, RecordType};
use lachan::engine::limits::{GUEST_BURST_SECS, GUEST_QUESTIONS_PER_SECOND};
use lachan::engine::proxy::SIGNATURE;

use crate::harness::PATIENCE;
use crate::harness::client::Ask;
use crate::harness::encrypted::{Authority, NAME, Way, exchange, plain};
use crate::harness::resolver::{Files, InProcess};
use crate::harness::upstream::Upstream;
use crate::programs::free_port;

/// At home, at home with a network of its own, away, and those whose word is believed.
const HOME: &str = "127.1.0.1";
const CLASS: &str = "127.2.0.1";
const AWAY: &str = "127.9.0.1";
const ROUTER: &str = "127.3.0.1";
const PROXY: &str = "127.4.0.1";

const CONFIG: &str = r#"
node_name = "n1"
[access]
allow = ["127.1.0.0/16"]
trusted = ["127.3.0.0/16"]
proxies = ["127.4.0.0/16"]
strangers = "STRANGERS"
[listen]
dns = ["127.0.0.1:0", "[::1]:0"]
dot = ["127.0.0.1:PORT_A"]
doh = ["127.0.0.1:PORT_B"]
doq = ["127.0.0.1:PORT_C"]
admin = "off"
[tls]
certificate_file = "chain.pem"
private_key_file = "key.pem"
name = "dns.example.vn"
[realm.bng-1]
number = 7
[list.games]
category = "games"
file = "games.txt"
[profile.school]
block = ["games"]
[profile.strict]
block = ["games"]
block_response = "refused"
[client.lop-6a]
networks = ["127.2.0.0/16"]
ids = ["lop-6a", "a0:b1:c2:d3:e4:f5"]
profile = "school"
[client.bng]
networks = ["127.1.7.0/24"]
realm = "bng-1"
profile = "strict"
"#;

struct World {
    resolver: InProcess,
    authority: Authority,
    upstream: Upstream,
}

impl World {
    fn new(strangers: &str) -> World {
        let upstream = Upstream::start("game.example. 300 IN A 192.0.2.1\nother.example. 300 IN A 192.0.2.2\n");
        let authority = Authority::new();
        let [a, b, c] = free_ports();
        let config =
            CONFIG.replace("STRANGERS", strangers).replace("PORT_A", &a).replace("PORT_B", &b).replace("PORT_C", &c);
        let config = format!("{config}\n[[upstream]]\nservers = [\"{}\"]\n", upstream.v4);
        let resolver = InProcess::start(&Files {
            config,
            files: &[
                ("games.txt", "game.example\n"),
                ("chain.pem", &authority.certificate_pem),
                ("key.pem", &authority.key_pem),
            ],
        });
        World { resolver, authority, upstream }
    }

    fn at(&self, transport: &str) -> SocketAddr {
        let addresses = &self.resolver.addresses;
        match transport {
            "dot" => addresses.dot[0],
            "doh" => addresses.doh[0],
            "doq" => addresses.doq[0],
            _ => self.resolver.v4,
        }
    }

    /// The code of the answer about a game, by an encrypted transport; `None`: there is none.
    fn game(&self, transport: &str, from: &str, server_name: &str, path: &str) -> Option<u16> {
        let way = Way { from: from.parse().unwrap(), to: self.at(transport), server_name };
        let query = question("game.example", RecordType::A);
        let message = match transport {
            "dot" => self.authority.dot(&way, b"", &query)?,
            "doq" => self.authority.doq(&way, &query)?,
            _ => match self.authority.doh(&way, path, "", &query)? {
                (200, body) => Message::from_vec(&body).unwrap(),
                (status, _) => return Some(status),
            },
        };
        Some(message.metadata.response_code.into())
    }
}

/// A discovery can tell of ports that are known, so they are chosen before.
fn free_ports() -> [String; 3] {
    std::array::from_fn(|_| free_port().port().to_string())
}

fn question(name: &str, qtype: RecordType) -> Vec<u8> {
    Ask::new(name, qtype).encode()
}

fn code(message: &Message) -> u16 {
    message.metadata.response_code.into()
}

#[test]
fn a_name_in_tls_or_a_path_says_who_asks_from_anywhere() {
    let world = World::new("refuse");
    let named = format!("lop-6a.{NAME}");
    let unknown = format!("lop-9z.{NAME}");
    for (transport, path) in [("dot", ""), ("doh", "/dns-query"), ("doq", "")] {
        for (from, name, expected) in [
            (HOME, NAME, 0),
            (HOME, &*named, 3),
            (HOME, &*unknown, 0),
            (CLASS, NAME, 3),
            (AWAY, NAME, 5),
            (AWAY, &*named, 3),
            (AWAY, &*unknown, 5),
        ] {
            assert_eq!(world.game(transport, from, name, path), Some(expected), "{transport} {from} {name}");
        }
    }
    for (from, path, expected) in [
        (HOME, "/dns-query/lop-6a", 3),
        (HOME, "/dns-query/LOP-6A", 3),
        (HOME, "/dns-query/lop-9z", 0),
        (AWAY, "/dns-query/lop-6a", 3),
        (AWAY, "/dns-query/lop-9z", 5),
        // A hardware address is a router's word, never a client's.
        (AWAY, "/dns-query/a0b1c2d3e4f5", 5),
        (HOME, "/dns-query/", 404),
        (HOME, "/dns-query/a/b", 404),
    ] {
        assert_eq!(world.game("doh", from, NAME, path), Some(expected), "{from} {path}");
    }
}

#[test]
fn who_drops_strangers_still_hears_those_who_say_who_they_are() {
    let world = World::new("drop");
    let named = format!("lop-6a.{NAME}");
    for transport in ["dot", "doq"] {
        assert_eq!(world.game(transport, AWAY, &named, ""), Some(3), "{transport}");
        assert_eq!(world.game(transport, AWAY, NAME, ""), None, "{transport}");
    }
    assert_eq!(world.game("doh", AWAY, NAME, "/dns-query/lop-6a"), Some(3));
    // Its stream is reset: silence is no status.
    assert_eq!(world.game("doh", AWAY, NAME, "/dns-query"), None);
}

#[test]
fn an_identity_from_elsewhere_has_a_rate_of_its_own() {
    let world = World::new("refuse");
    let named = format!("lop-6a.{NAME}");
    let connect = |from: &str| {
        let way = Way { from: from.parse().unwrap(), to: world.at("dot"), server_name: &named };
        world.authority.connect(&way, b"dot", b"")
    };
    let (mut guest, mut at_home) = (connect(AWAY), connect(HOME));
    let query = question("game.example", RecordType::A);
    let burst = GUEST_BURST_SECS * GUEST_QUESTIONS_PER_SECOND;
    // Strangers are told so many times a second that they are; the first is enough.
    let allowed = (0..3 * burst)
        .take_while(|_| match code(&exchange(&mut guest, &query).expect("it is answered")) {
            3 => true,
            5 => false,
            other => panic!("code {other}"),
        })
        .count();
    assert!((burst as usize..3 * burst as usize).contains(&allowed), "more than its rate is nobody's: {allowed}");
    assert!(world.resolver.resolver.metrics.encode().contains("limit=\"guest_questions_per_second\""));
    for _ in 0..2 * burst {
        assert_eq!(exchange(&mut at_home, &query).map(|answer| code(&answer)), Some(3), "at home nothing counts it");
    }
}

#[test]
fn a_routers_word_counts_where_it_is_trusted_and_goes_no_further() {
    let world = World::new("refuse");
    let mac = EdnsOption::Unknown(65_001, vec![0xa0, 0xb1, 0xc2, 0xd3, 0xe4, 0xf5]);
    let cpe = EdnsOption::Unknown(65_074, b"lop-6a".to_vec());
    let stranger = EdnsOption::Unknown(65_074, b"lop-9z".to_vec());
    let ask = |name: &str, from: &str, option: &EdnsOption, tcp| {
        let from = Some(from.parse().unwrap());
        let options = vec![option.clone()];
        Ask { from, options, tcp, ..Ask::new(name, RecordType::A) }.send(world.resolver.v4)
    };
    for tcp in [false, true] {
        for (from, option, expected) in [
            (ROUTER, &mac, 3),
            (ROUTER, &cpe, 3),
            (ROUTER, &stranger, 0),
            (HOME, &mac, 0),
            (HOME, &cpe, 0),
            (AWAY, &cpe, 5),
        ] {
            assert_eq!(ask("game.example", from, option, tcp).rcode(), expected, "{from} {option:?} tcp: {tcp}");
        }
    }
    // One answer for all of them, asked for without a word about who asked.
    for option in [&mac, &cpe, &stranger] {
        assert_eq!(ask("other.example", ROUTER, option, false).rcode(), 0);
    }
    let log = world.upstream.log();
    let asked: Vec<_> = log.iter().filter(|asked| asked.name.starts_with("other.example")).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(log.iter().all(|asked| asked.options.iter().all(|code| *code < 65_000)), "{log:?}");
}

#[test]
fn a_web_servers_word_counts_where_it_is_trusted() {
    let world = World::new("refuse");
    let query = question("game.example", RecordType::A);
    for (from, header, expected) in [
        (ROUTER, "X-Forwarded-For: 127.2.0.9\r\n", 3),
        (ROUTER, "X-Forwarded-For: 127.1.0.9, 127.2.0.9:4000\r\n", 3),
        (ROUTER, "X-Forwarded-For: 127.2.0.9\r\nX-Forwarded-For: 127.3.0.2\r\n", 3),
        (ROUTER, "X-Forwarded-For: 127.2.0.9, 127.1.0.9\r\n", 0),
        (ROUTER, "X-Forwarded-For: 203.0.113.9\r\n", 5),
        (ROUTER, "", 0),
        (HOME, "X-Forwarded-For: 127.2.0.9\r\n", 0),
        (AWAY, "X-Forwarded-For: 127.2.0.9\r\n", 5),
    ] {
        let way = Way { from: from.parse().unwrap(), to: world.at("doh"), server_name: NAME };
        let (status, body) = world.authority.doh(&way, "/dns-query", header, &query).unwrap();
        assert_eq!((status, code(&Message::from_vec(&body).unwrap())), (200, expected), "{from} {header:?}");
    }
}

/// A PROXY header of a client's, with these values.
fn header(client: &str, tlvs: &[u8]) -> Vec<u8> {
    let client: std::net::Ipv4Addr = client.parse().unwrap();
    let told = [&client.octets()[..], &[127, 0, 0, 53], &[0x0f, 0xa0, 0, 53], tlvs].concat();
    [&SIGNATURE[..], &[0x21, 0x12], &(told.len() as u16).to_be_bytes(), &told].concat()
}

/// The code of the answer to one datagram from an address.
fn datagram(world: &World, from: &str, octets: &[u8]) -> u16 {
    let socket = socket(world, from);
    socket.send(octets).unwrap();
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).expect("it is answered");
    code(&Message::from_vec(&buffer[..len]).unwrap())
}

/// Whether nothing comes back: a question without fault, sent after it, is answered first.
fn is_dropped(world: &World, octets: &[u8]) -> bool {
    let socket = socket(world, PROXY);
    let sentinel = question("localhost", RecordType::A);
    socket.send(octets).unwrap();
    socket.send(&[header(HOME, b""), sentinel.clone()].concat()).unwrap();
    let mut buffer = [0; 4096];
    socket.recv(&mut buffer).expect("the second is answered");
    buffer[..2] == sentinel[..2]
}

fn socket(world: &World, from: &str) -> UdpSocket {
    let socket = UdpSocket::bind((from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(world.resolver.v4).unwrap();
    socket
}

#[test]
fn a_proxy_says_who_asks_before_each_datagram_and_connection() {
    let world = World::new("refuse");
    let query = question("game.example", RecordType::A);
    let local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
    for (what, head, expected) in [
        ("a client of the default", header(HOME, b""), Some(0)),
        ("a client of the class", header(CLASS, b""), Some(3)),
        ("a stranger", header(AWAY, b""), Some(5)),
        ("a stranger who is known", header(AWAY, b"\xe0\0\x06lop-6a"), Some(3)),
        ("a stranger who is not", header(AWAY, b"\xe0\0\x06lop-9z"), Some(5)),
        ("a client of the default in a realm", header("127.1.7.1", b"\xe1\0\x05bng-1"), Some(5)),
        ("the same in none", header("127.1.7.1", b""), Some(0)),
        ("the proxy itself", local, Some(0)),
        ("nobody", Vec::new(), None),
        ("something cut", header(CLASS, b"\xe0\0\x09l"), None),
    ] {
        let octets = [head.clone(), query.clone()].concat();
        match expected {
            Some(expected) => assert_eq!(datagram(&world, PROXY, &octets), expected, "UDP: {what}"),
            None => assert!(is_dropped(&world, &octets), "UDP: {what}"),
        }
        let way = |to| Way { from: PROXY.parse().unwrap(), to, server_name: NAME };
        let told = exchange(&mut plain(&way(world.resolver.v4), &head), &query).map(|answer| code(&answer));
        assert_eq!(told, expected, "TCP: {what}");
        if expected.is_some() {
            let told = world.authority.dot(&way(world.at("dot")), &head, &query).map(|answer| code(&answer));
            assert_eq!(told, expected, "DoT: {what}");
        }
    }
    // Whoever is no proxy says nothing for others: what looks like a header is a message of a strange opcode.
    let octets = [header(CLASS, b""), query.clone()].concat();
    assert_eq!(datagram(&world, HOME, &octets), 4);
    let page = world.resolver.resolver.metrics.encode();
    for reason in ["missing", "bad"] {
        assert!(page.contains(&format!("lachan_proxy_dropped_total{{reason=\"{reason}\"}}")), "{page}");
    }
    // An answer that upstream had to be asked for finds its way too.
    let other = [header(CLASS, b""), question("other.example", RecordType::A)].concat();
    assert_eq!(datagram(&world, PROXY, &other), 0);
}

#[test]
fn a_client_hears_who_it_is_to_us_on_every_transport() {
    let world = World::new("refuse");
    let query = question("whoami.lachan.example", RecordType::TXT);
    let way = |to| Way { from: CLASS.parse().unwrap(), to, server_name: NAME };
    let told = |message: Message| {
        let [record] = &message.answers[..] else { panic!("{message:?}") };
        assert_eq!(record.ttl, 0);
        let RData::TXT(txt) = &record.data else { panic!("{record:?}") };
        txt.txt_data.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect::<Vec<_>>().join(" ")
    };
    let plain = |tcp| {
        Ask { from: Some(CLASS.parse().unwrap()), tcp, ..Ask::new("whoami.lachan.example", RecordType::TXT) }
            .send(world.resolver.v4)
            .message
    };
    let (_, body) = world.authority.doh(&way(world.at("doh")), "/dns-query", "", &query).unwrap();
    for (transport, message) in [
        ("udp", plain(false)),
        ("tcp", plain(true)),
        ("dot", world.authority.dot(&way(world.at("dot")), b"", &query).unwrap()),
        ("doh", Message::from_vec(&body).unwrap()),
        ("doq", world.authority.doq(&way(world.at("doq")), &query).unwrap()),
    ] {
        let expected = format!("node=n1 transport={transport} profile=school client=lop-6a family=v4");
        assert_eq!(told(message), expected);
    }
    let nobody = Ask { from: Some(HOME.parse().unwrap()), ..Ask::new("whoami.lachan.example", RecordType::TXT) };
    assert_eq!(told(nobody.send(world.resolver.v4).message), "node=n1 transport=udp profile=default client= family=v4");
    let other_type = Ask { from: Some(HOME.parse().unwrap()), ..Ask::new("whoami.lachan.example", RecordType::A) };
    let nothing = other_type.send(world.resolver.v4);
    assert_eq!((nothing.rcode(), nothing.soa()), (0, Some(("whoami.lachan.example".into(), 0, 0))));
    assert_eq!(world.upstream.log().len(), 0, "nobody upstream hears of it");
}

#[test]
fn reasons_for_programs_are_the_same_on_every_transport() {
    let world = World::new("refuse");
    let ask = Ask {
        from: Some(CLASS.parse().unwrap()),
        options: vec![EdnsOption::Unknown(26, Vec::new())],
        ..Ask::new("game.example", RecordType::A)
    };
    let way = |to| Way { from: CLASS.parse().unwrap(), to, server_name: NAME };
    let query = ask.encode();
    let (_, body) = world.authority.doh(&way(world.at("doh")), "/dns-query", "", &query).unwrap();
    let expected = r#"{"c":["tel:111;phone-context=+84"],"j":"Chặn theo chính sách của mạng này: trò chơi","l":"vi"}"#;
    for message in [
        ask.send(world.resolver.v4).message,
        Ask { tcp: true, ..ask.clone() }.send(world.resolver.v4).message,
        world.authority.dot(&way(world.at("dot")), b"", &query).unwrap(),
        Message::from_vec(&body).unwrap(),
        world.authority.doq(&way(world.at("doq")), &query).unwrap(),
    ] {
        let told = crate::harness::client::Told { bytes: message.to_vec().unwrap(), message };
        assert_eq!(told.ede(), [(17, expected.to_owned())]);
    }
    let plain = Ask { options: Vec::new(), ..ask.clone() }.send(world.resolver.v4);
    assert_eq!(plain.ede(), [(17, "blocked by this network's policy: games".to_owned())]);
    let with_data = Ask { options: vec![EdnsOption::Unknown(26, vec![1])], ..ask }.send(world.resolver.v4);
    assert_eq!(with_data.ede(), plain.ede(), "an option with data is ignored");
}
