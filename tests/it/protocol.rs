//! Messages that are no plain query: what each gets, octet by octet, by UDP and TCP over both families.

use std::net::UdpSocket;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::harness::PATIENCE;
use crate::harness::client::Ask;
use crate::harness::resolver::{Files, InProcess, with_upstream};
use crate::harness::upstream::Upstream;

/// `www.example A IN`.
const QUESTION: &[u8] = b"\x03www\x07example\0\0\x01\0\x01";
/// An OPT of version 0, payload 1232, without options.
const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";

/// What a message gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    /// The code, its upper bits in OPT.
    Code(u16),
    Silence,
}

use Gets::{Code, Silence};

const NOERROR: Gets = Code(0);
const FORMERR: Gets = Code(1);
const NOTIMP: Gets = Code(4);
const REFUSED: Gets = Code(5);
const BADVERS: Gets = Code(16);

fn start() -> (Upstream, InProcess) {
    let upstream = Upstream::start("www.example. 300 IN A 192.0.2.1\n");
    let resolver = InProcess::start(&Files { config: with_upstream("", upstream.v4), files: &[] });
    (upstream, resolver)
}

fn message(flags: u16, counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
    let mut octets = vec![0xab, 0xcd];
    octets.extend_from_slice(&flags.to_be_bytes());
    counts.iter().for_each(|count| octets.extend_from_slice(&count.to_be_bytes()));
    rest.iter().for_each(|part| octets.extend_from_slice(part));
    octets
}

fn of_type(qtype: u16, class: u16) -> Vec<u8> {
    [&b"\x03www\x07example\0"[..], &qtype.to_be_bytes(), &class.to_be_bytes()].concat()
}

#[test]
fn every_message_gets_what_the_standards_say() {
    const RD: u16 = 0x0100;
    let one = [1, 0, 0, 0];
    let with_opt = [1, 0, 0, 1];
    let opcode = |code: u16| code << 11 | RD;
    let asked = |qtype, class| message(RD, one, &[&of_type(qtype, class)]);
    let opt_option = |option: &[u8]| {
        let mut opt = OPT[..9].to_vec();
        opt.extend_from_slice(&(option.len() as u16).to_be_bytes());
        opt.extend_from_slice(option);
        opt
    };
    let record = b"\0\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x01";
    let cases: Vec<(&str, Vec<u8>, Gets)> = vec![
        ("a query", message(RD, one, &[QUESTION]), NOERROR),
        ("a query with OPT", message(RD, with_opt, &[QUESTION, OPT]), NOERROR),
        ("a response", message(0x8000 | RD, one, &[QUESTION]), Silence),
        ("a response with an error", message(0x8005, one, &[QUESTION]), Silence),
        ("opcode IQUERY", message(opcode(1), one, &[QUESTION]), NOTIMP),
        ("opcode STATUS", message(opcode(2), one, &[QUESTION]), NOTIMP),
        ("opcode NOTIFY", message(opcode(4), one, &[&of_type(6, 1)]), NOTIMP),
        ("opcode UPDATE", message(opcode(5), one, &[&of_type(6, 1)]), NOTIMP),
        ("opcode DSO", message(opcode(6), [0; 4], &[]), NOTIMP),
        ("opcode 15", message(opcode(15), one, &[QUESTION]), NOTIMP),
        ("no question", message(RD, [0; 4], &[]), FORMERR),
        ("no question, but a cookie", message(RD, [0, 0, 0, 1], &[OPT]), FORMERR),
        ("two questions", message(RD, [2, 0, 0, 0], &[QUESTION, QUESTION]), FORMERR),
        ("65535 questions", message(RD, [0xffff, 0, 0, 0], &[QUESTION]), FORMERR),
        ("a question that ends early", message(RD, one, &[&QUESTION[..8]]), FORMERR),
        ("a header alone that promises a question", message(RD, one, &[]), FORMERR),
        ("a pointer to itself", message(RD, one, &[b"\xc0\x0c\0\x01\0\x01"]), FORMERR),
        ("a label type of 0x80", message(RD, one, &[b"\x80www\0\0\x01\0\x01"]), FORMERR),
        ("EDNS 1", message(RD, with_opt, &[QUESTION, b"\0\0\x29\x04\xd0\0\x01\0\0\0\0"]), BADVERS),
        ("two OPT", message(RD, [1, 0, 0, 2], &[QUESTION, OPT, OPT]), FORMERR),
        ("OPT among answers", message(RD, [1, 1, 0, 0], &[QUESTION, OPT]), FORMERR),
        ("OPT owned by a name", message(RD, with_opt, &[QUESTION, b"\x01a", OPT]), FORMERR),
        ("an option longer than OPT", message(RD, with_opt, &[QUESTION, &opt_option(b"\0\x08\0\x40\0")]), FORMERR),
        ("half an option's head", message(RD, with_opt, &[QUESTION, &opt_option(b"\0\x08\0")]), FORMERR),
        ("client subnet, family 0", message(RD, with_opt, &[QUESTION, &opt_option(b"\0\x08\0\x04\0\0\0\0")]), NOERROR),
        ("a cookie", message(RD, with_opt, &[QUESTION, &opt_option(b"\0\x0a\0\x0812345678")]), NOERROR),
        ("an unknown option", message(RD, with_opt, &[QUESTION, &opt_option(b"\xfd\xe9\0\x01x")]), NOERROR),
        ("an extra record among answers", message(RD, [1, 1, 0, 0], &[QUESTION, record]), NOERROR),
        ("AXFR", asked(252, 1), REFUSED),
        ("IXFR", asked(251, 1), REFUSED),
        ("ANY", asked(255, 1), NOERROR),
        ("MAILB", asked(253, 1), NOTIMP),
        ("MAILA", asked(254, 1), NOTIMP),
        ("TKEY", asked(249, 1), NOTIMP),
        ("type TSIG", asked(250, 1), FORMERR),
        ("type OPT", asked(41, 1), FORMERR),
        ("type 0", asked(0, 1), FORMERR),
        ("class CH", asked(16, 3), REFUSED),
        ("class HS", asked(1, 4), REFUSED),
        ("class NONE", asked(1, 254), REFUSED),
        ("class ANY", asked(1, 255), REFUSED),
        ("class 0", asked(1, 0), REFUSED),
    ];
    let (_upstream, resolver) = start();
    let mut wrong = Vec::new();
    for (what, octets, gets) in &cases {
        for (tcp, v6) in [(false, false), (false, true), (true, false), (true, true)] {
            let got = exchange(&resolver, octets, tcp, v6, *gets == Silence);
            let holds = match (&got, gets) {
                (None, Silence) => true,
                (Some(reply), Code(code)) => code_of(reply) == *code && reply[2] & 0xf8 == octets[2] & 0x78 | 0x80,
                (None, Code(_)) | (Some(_), Silence) => false,
            };
            if !holds {
                wrong.push(format!("{what} (tcp={tcp} v6={v6}): {got:02x?} instead of {gets:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn runts_are_met_with_silence() {
    let (_upstream, resolver) = start();
    for len in 0..12 {
        for v6 in [false, true] {
            assert_eq!(exchange(&resolver, &vec![0; len], false, v6, true), None, "{len} octets");
        }
    }
}

#[test]
fn a_refusal_keeps_question_and_opt() {
    let (_upstream, resolver) = start();
    for (what, octets) in [
        ("BADVERS", message(0x0100, [1, 0, 0, 1], &[QUESTION, b"\0\0\x29\x04\xd0\0\x01\x80\0\0\0"])),
        ("REFUSED", message(0x0100, [1, 0, 0, 1], &[&of_type(252, 1), OPT])),
    ] {
        let reply = exchange(&resolver, &octets, false, false, false).unwrap();
        let read = Message::from_vec(&reply).unwrap();
        assert_eq!(read.queries.len(), 1, "{what}");
        let edns = read.edns.unwrap_or_else(|| panic!("{what}: OPT is missing"));
        assert_eq!((edns.version(), edns.max_payload()), (0, 1232), "{what}");
    }
}

#[test]
fn one_tcp_connection_answers_in_the_order_that_answers_are_ready() {
    let upstream = Upstream::start(
        "slow.example. 300 IN A 192.0.2.1\n;! slow.example. delay=400\nquick.example. 300 IN A 192.0.2.2\n",
    );
    let resolver = InProcess::start(&Files { config: with_upstream("", upstream.v4), files: &[] });
    let names = ["slow.example", "quick.example", "adult.block.lachan.example", "localhost"];
    let queries = names.map(|name| Ask::new(name, RecordType::A).encode());
    let mut connection = Ask::new("localhost", RecordType::A).connect(resolver.v4);
    // All in one write, as a pipelining client does.
    queries.iter().for_each(|query| connection.send(query));
    let ids: Vec<[u8; 2]> = queries
        .iter()
        .map(|_| {
            let reply = connection.receive().expect("every question of a connection is answered");
            [reply[0], reply[1]]
        })
        .collect();
    let id = |at: usize| [queries[at][0], queries[at][1]];
    assert_eq!(ids.last(), Some(&id(0)), "the slow one is last");
    for (at, name) in names.iter().enumerate() {
        assert!(ids.contains(&id(at)), "{name}");
    }
}

#[test]
fn a_question_by_tcp_may_come_octet_by_octet() {
    use std::io::Write;
    let (_upstream, resolver) = start();
    let ask = Ask::new("www.example", RecordType::A);
    for server in [resolver.v4, resolver.v6] {
        let mut connection = ask.connect(server);
        for _ in 0..2 {
            let query = ask.encode();
            let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
            connection.stream().set_nodelay(true).unwrap();
            framed.iter().for_each(|octet| connection.stream().write_all(&[*octet]).unwrap());
            let reply = connection.receive().expect("it is answered when it is whole");
            assert_eq!((&reply[..2], reply[3] & 0xf), (&query[..2], 0));
        }
        // Less than a header: whoever sends that does not follow the framing, and what comes next cannot be trusted.
        assert!(connection.try_send(&[0; 11]));
        assert_eq!(connection.receive(), None, "the connection is closed");
    }
}

#[test]
fn client_subnet_and_identity_do_not_go_upstream() {
    use hickory_proto::rr::rdata::opt::EdnsOption;
    let (upstream, resolver) = start();
    let mut ask = Ask::new("www.example", RecordType::A);
    // Client subnet, cookie, and the MAC address that some home routers add.
    ask.options = vec![
        EdnsOption::Unknown(8, b"\0\x01\x18\0\xc0\0\x02".to_vec()),
        EdnsOption::Unknown(10, b"12345678".to_vec()),
        EdnsOption::Unknown(65001, b"\0\x11\x22\x33\x44\x55".to_vec()),
    ];
    let told = ask.send(resolver.v4);
    assert_eq!(told.message.metadata.response_code, ResponseCode::NoError);
    let log = upstream.log();
    assert_eq!(log.len(), 1);
    assert!(log[0].options.iter().all(|code| ![8, 10, 65001].contains(code)), "{:?}", log[0]);
}

/// The reply to a message. Where silence is expected a plain question follows: `None` when that one is answered first.
fn exchange(resolver: &InProcess, octets: &[u8], tcp: bool, v6: bool, silence: bool) -> Option<Vec<u8>> {
    let server = resolver.at(v6);
    let sentinel = Ask::new("localhost", RecordType::A).encode();
    let reply = if tcp {
        let mut connection = Ask::new("localhost", RecordType::A).connect(server);
        connection.send(octets);
        if silence {
            connection.send(&sentinel);
        }
        connection.receive()
    } else {
        let socket = UdpSocket::bind(if v6 { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(octets, server).unwrap();
        if silence {
            socket.send_to(&sentinel, server).unwrap();
        }
        let mut buffer = [0; 4096];
        socket.recv_from(&mut buffer).ok().map(|(len, _)| buffer[..len].to_vec())
    };
    reply.filter(|reply| reply[..2] != sentinel[..2])
}

fn code_of(reply: &[u8]) -> u16 {
    let low = u16::from(reply[3] & 0xf);
    let high = Message::from_vec(reply).ok().and_then(|m| m.edns).map_or(0, |edns| u16::from(edns.rcode_high()));
    high << 4 | low
}
