//! Odd messages against the whole resolver: each gets an answer of its accept list, and passes the checks beside it.
//!
//! The cases lie beside the project. Where we do not do what a case prefers, a row of [`DIFFERENCES`] says what we do and
//! why; a row that no longer differs fails.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::EdnsCode;
use lachan::engine::name::Name;
use lachan::engine::query::Transport;
use serde_json::Value;

use crate::lab::{Lab, Upstream, framed, hex, question, tcp_stream, udp_client, udp_until};
use crate::shared;

/// What we do otherwise than a case prefers, within what it accepts: id, what we do, why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("rd0", "REFUSED", "nothing is looked up for a question without RD (RFC 1035 §4.1.1): we are no cache to snoop in"),
    (
        "two-soa-answers",
        "NOERROR",
        "records that a query carries are read over: they are well-formed and nothing uses them",
    ),
    ("a-rdlen-5-additional", "NOERROR", "the RDATA of records in a query is not looked at"),
    ("tsig-not-last", "NOERROR", "TSIG is not supported and read over"),
    ("qtype-ixfr-udp", "REFUSED", "a forwarder has no zones to give away, by any transport"),
    ("qtype-axfr-udp", "REFUSED", "as above"),
    ("qclass-none", "REFUSED", "every class but IN is refused alike"),
    ("qclass-class65535", "REFUSED", "as above"),
    ("ecs-prefix33", "NOERROR", "client subnet is not supported: it is read over in any shape and never passed on"),
    ("ecs-scope-nonzero", "NOERROR", "as above"),
    ("ecs-extra-bits", "NOERROR", "as above"),
    ("ecs-short-address", "NOERROR", "as above"),
    ("ecs-cut", "NOERROR", "as above"),
    ("tsig-unsigned-key", "NOERROR", "TSIG is not supported and read over; nothing is granted for a signature"),
    (
        "tcp-prefix-shorter-than-message",
        "FORMERR then anything",
        "the first fourteen octets are a message that says it has a question",
    ),
    ("tcp-trailing-garbage", "2 answers", "octets behind a whole message are read over, and the stream goes on"),
];

pub const CONFIG: &str = r#"
[listen]
dns = ["127.0.0.1:0"]
admin = "off"

[[upstream]]
zones = ["example.test"]
servers = ["udp://ADDRESS"]

[[upstream]]
servers = ["udp://ADDRESS"]
"#;

/// An address for the known names, twelve strings of 250 octets at `big`; else NXDOMAIN or no data, with an SOA.
pub fn upstream_says(query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    const NODATA_SOA: &[u8] = b"\0\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x3c";
    let (qname, end) = Name::read(query, 12).ok()?;
    let qtype = u16::from_be_bytes([query[end], query[end + 1]]);
    let text = qname.to_string();
    let host = text.strip_suffix(".example.test");
    let numbered = host.and_then(|h| h.strip_prefix('p')).and_then(|n| n.parse::<u8>().ok()).is_some_and(|n| n < 20);
    let is_host = numbered || matches!(host, Some("ok" | "two" | "other"));
    let mut reply = query[..end + 4].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    match (qtype, host) {
        (1, _) if is_host => {
            reply[7] = 1;
            reply.extend_from_slice(&hex("c00c00010001000000780004c0000263"));
        }
        (16, Some("big")) if transport == Transport::Udp => reply[2] |= 0x02,
        (16, Some("big")) => {
            reply[7] = 12;
            for i in 0..12 {
                reply.extend_from_slice(&hex("c00c001000010000007800fbfa"));
                reply.extend_from_slice(&[b'a' + i; 250]);
            }
        }
        _ => {
            let exists =
                is_host || host == Some("big") || matches!(text.as_str(), "." | "example.test" | "ipv4only.arpa");
            reply[3] |= if exists { 0 } else { 3 };
            reply[9] = 1;
            reply.extend_from_slice(NODATA_SOA);
        }
    }
    Some(reply)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_odd_packet_gets_an_answer_of_its_accept_list() {
    let Some(text) = shared::suite("odd_packets.jsonl") else { return };
    let upstream = Upstream::start(upstream_says).await;
    let lab = Lab::start(&CONFIG.replace("ADDRESS", &upstream.address.to_string())).await;
    let (mut ran, mut failed, mut differ) = (0, Vec::new(), Vec::new());
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        let octets = hex(case["hex"].as_str().unwrap());
        let transports: &[&str] = match case["transport"].as_str().unwrap() {
            "udp" => &["udp", "tcp"],
            "tcp" => &["tcp"],
            "tcp-stream" => &["tcp-stream"],
            other => panic!("{id}: transport {other}"),
        };
        for (i, &transport) in transports.iter().enumerate() {
            ran += 1;
            lab.resolver.flush(&Name::ROOT);
            upstream.take_log();
            let (outcome, mut problems) = run(&lab, &case, transport, &octets).await;
            problems.extend(check_upstream(&case, &upstream.take_log()));
            if !strings(&case["expect"]["accept"]).any(|accepted| accepted == outcome) {
                problems.push(format!("got {outcome}, accepted: {}", case["expect"]["accept"]));
            }
            if i == 0 && case["expect"]["prefer"] != *outcome {
                differ.push((id.to_owned(), outcome));
            }
            failed.extend(problems.into_iter().map(|problem| format!("{id} by {transport}: {problem}")));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let known: Vec<(String, String)> = DIFFERENCES.iter().map(|row| (row.0.to_owned(), row.1.to_owned())).collect();
    assert_eq!(differ, known);
    assert!(ran > 220, "{ran} cases ran");
}

/// Sends the case and says what came of it, with whatever is wrong about the answer.
async fn run(lab: &Lab, case: &Value, transport: &str, octets: &[u8]) -> (String, Vec<String>) {
    const SENTINEL: u16 = 0xbee5;
    let checks = &case["expect"]["checks"];
    // Answered at once from local data: what was not answered before it, and does not wait for upstream, was dropped.
    let sentinel = question(SENTINEL, "localhost", 1);
    match transport {
        "udp" => {
            let socket = udp_client(lab.address).await;
            socket.send(octets).await.unwrap();
            if case["expect"]["prefer"] == "drop" {
                socket.send(&sentinel).await.unwrap();
                let (others, last) = udp_until(&socket, SENTINEL).await;
                assert!(last.is_some(), "{}: the resolver does not answer any more", case["id"]);
                return match others.first() {
                    None => ("drop".to_owned(), Vec::new()),
                    Some(answer) => judge(checks, octets, answer, transport),
                };
            }
            match udp_until(&socket, u16::from_be_bytes([octets[0], octets[1]])).await {
                (_, Some(answer)) => judge(checks, octets, &answer, transport),
                (others, None) => (format!("no answer, but {} others", others.len()), Vec::new()),
            }
        }
        "tcp" => {
            let answers = tcp_stream(lab.address, &[framed(octets), framed(&sentinel)].concat()).await;
            let (sentinels, others): (Vec<_>, Vec<_>) =
                answers.iter().partition(|answer| answer.starts_with(&SENTINEL.to_be_bytes()));
            // A runt ends the stream: nobody knows where the next message begins.
            let mut problems = Vec::new();
            if sentinels.len() != usize::from(octets.len() >= 12) {
                problems.push(format!("{} answers to the question behind it", sentinels.len()));
            }
            let (outcome, more) = match others.as_slice() {
                [] => ("drop".to_owned(), Vec::new()),
                [answer] => judge(checks, octets, answer, transport),
                many => (format!("{} answers", many.len()), Vec::new()),
            };
            problems.extend(more);
            (outcome, problems)
        }
        _ => {
            let answers = tcp_stream(lab.address, octets).await;
            judge_stream(case, &answers)
        }
    }
}

/// The code of an answer, and the checks it fails.
fn judge(checks: &Value, query: &[u8], answer: &[u8], transport: &str) -> (String, Vec<String>) {
    let mut problems = Vec::new();
    let message = match Message::from_vec(answer) {
        Ok(message) => message,
        Err(why) => return (format!("unreadable: {why}"), problems),
    };
    let flags = u16::from_be_bytes([answer[2], answer[3]]);
    let bit = |at: u16| u64::from(flags >> at & 1);
    let edns = message.edns.as_ref();
    let rcode = flags & 0xf | edns.map_or(0, |e| u16::from(e.rcode_high()) << 4);
    let counts: [u16; 4] = std::array::from_fn(|i| u16::from_be_bytes([answer[4 + 2 * i], answer[5 + 2 * i]]));
    let records = usize::from(counts[1] + counts[2] + counts[3]) - usize::from(edns.is_some());
    let over_udp = transport == "udp";
    for (key, wanted) in checks.as_object().into_iter().flatten() {
        let number = |got: u64| wanted.as_u64() == Some(got);
        let holds = match key.as_str() {
            "id_echo" => answer[..2] == query[..2],
            "qr" => number(bit(15)),
            "opcode" => number(u64::from(flags >> 11 & 0xf)),
            "aa" => number(bit(10)),
            // What fits by TCP is not cut.
            "tc" => number(bit(9)) || !over_udp,
            "rd" => number(bit(8)),
            "ra" => number(bit(7)),
            "z" => number(bit(6)),
            "ad" => number(bit(5)),
            "cd" => number(bit(4)),
            "opt" => wanted.as_bool() == Some(edns.is_some()),
            "edns_version" => edns.is_some_and(|e| number(u64::from(e.version()))),
            "edns_z" => edns.is_some_and(|e| number(u64::from(e.flags().z))),
            "do" => edns.is_some_and(|e| number(u64::from(e.flags().dnssec_ok))),
            // Keepalive is for TCP.
            "no_option" if wanted.as_u64() == Some(11) && !over_udp => true,
            "no_option" => {
                let code = EdnsCode::from(wanted.as_u64().unwrap() as u16);
                edns.is_none_or(|e| e.option(code).is_none())
            }
            "no_answer" => counts[1] == 0,
            "no_records" => records == 0,
            "max_size" => !over_udp || answer.len() as u64 <= wanted.as_u64().unwrap(),
            other => panic!("check {other} is unknown"),
        };
        if !holds {
            problems.push(format!("{key} is not {wanted}"));
        }
    }
    // Whatever the case asks for: the question comes back octet for octet, or not at all.
    if counts[0] > 0 {
        let end = Name::read(answer, 12).map_or(answer.len(), |(_, end)| end + 4);
        if query.get(12..end) != answer.get(12..end) {
            problems.push("the question is not the one asked".to_owned());
        }
    }
    (rcode_text(rcode), problems)
}

fn judge_stream(case: &Value, answers: &[Vec<u8>]) -> (String, Vec<String>) {
    let checks = &case["expect"]["checks"];
    let mut problems = Vec::new();
    for answer in answers {
        if let Err(why) = Message::from_vec(answer) {
            problems.push(format!("unreadable: {why}"));
        }
    }
    let has_id = |id: u64| answers.iter().any(|answer| u64::from(u16::from_be_bytes([answer[0], answer[1]])) == id);
    if let Some(id) = checks["must_answer_id"].as_u64()
        && !has_id(id)
    {
        problems.push(format!("no answer with id {id}"));
    }
    let is_formerr = |answer: &Vec<u8>| answer[3] & 0xf == 1;
    let outcome = match answers {
        [] => "close".to_owned(),
        [first, ..] if is_formerr(first) && has_formerr_choice(case) => "FORMERR then anything".to_owned(),
        [_] => "1 answer".to_owned(),
        many => format!("{} answers", many.len()),
    };
    (outcome, problems)
}

fn has_formerr_choice(case: &Value) -> bool {
    strings(&case["expect"]["accept"]).any(|accepted| accepted == "FORMERR then anything")
}

/// Nothing of the client goes upstream, and nothing at all where the case says so.
fn check_upstream(case: &Value, log: &[Vec<u8>]) -> Vec<String> {
    let mut problems = Vec::new();
    let note = case["note"].as_str().unwrap_or_default();
    if !log.is_empty() && (note.contains("must not leak upstream") || note.contains("must not be answered from IN")) {
        problems.push(format!("{} questions went upstream", log.len()));
    }
    for query in log {
        let message = Message::from_vec(query).expect("the forwarder's questions are messages");
        let options = message.edns.as_ref().map_or(0, |e| e.options().as_ref().len());
        if options > 0 || message.queries.len() != 1 {
            problems.push(format!("upstream was sent {options} options and {} questions", message.queries.len()));
        }
        if !message.answers.is_empty() || !message.authorities.is_empty() || !message.additionals.is_empty() {
            problems.push("upstream was sent records".to_owned());
        }
    }
    if note.contains("must not be passed on to the upstream") && log.is_empty() {
        problems.push("upstream was not asked, so this shows nothing".to_owned());
    }
    problems
}

fn rcode_text(rcode: u16) -> String {
    match rcode {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        9 => "NOTAUTH",
        16 => "BADVERS",
        17 => "BADKEY",
        23 => "BADCOOKIE",
        other => return format!("RCODE{other}"),
    }
    .to_owned()
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().map(|entry| entry.as_str().unwrap())
}
