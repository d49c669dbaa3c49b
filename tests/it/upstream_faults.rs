//! Upstreams that answer badly, through the whole resolver: what the client gets, and what is remembered.
//!
//! The cases lie beside the project; here stands, by id, what such an upstream sends.

use std::collections::BTreeSet;

use hickory_proto::op::{Message, ResponseCode};
use lachan::engine::cache::Key;
use lachan::engine::name::Name;
use lachan::engine::query::{CLASS_IN, Question, RecordType, Transport};
use serde_json::Value;

use crate::lab::{Lab, Upstream, question, udp_client, udp_until};
use crate::shared;

const CONFIG: &str = r#"
[listen]
dns = ["127.0.0.1:0"]
admin = "off"

[[upstream]]
servers = ["udp://ADDRESS"]
"#;

/// What the upstream makes of a question for a name of ours; `good` names are always answered well.
type Fault = fn(&[u8], Transport) -> Option<Vec<u8>>;

/// Id, what the upstream sends (more than one: each in turn), the codes a client may get.
const FAULTS: &[(&str, &[Fault], &[ResponseCode])] = &[
    ("upstream_fau-001", &[|q, _| Some(edit(well(q), |reply| reply[2] &= 0x7f))], &[ResponseCode::ServFail]),
    ("upstream_fau-002", &[poisoned], &[ResponseCode::ServFail]),
    ("upstream_fau-003", &[|q, _| Some(bare(q, 0))], &[ResponseCode::ServFail]),
    ("upstream_fau-004", &[|q, _| Some(bare(q, 3))], &[ResponseCode::ServFail]),
    ("upstream_fau-005", &[|q, _| Some(bare(q, 5))], &[ResponseCode::Refused, ResponseCode::ServFail]),
    ("upstream_fau-006", &[|q, _| Some(edit(well(q), |reply| reply[13] ^= 1))], &[ResponseCode::ServFail]),
    ("upstream_fau-007", &[|q, _| Some(edit_record(q, |record| record[0] = 0xff))], &[ResponseCode::ServFail]),
    ("upstream_fau-008", MALFORMED, &[ResponseCode::ServFail]),
    ("upstream_fau-009", &[|q, _| Some(compressed(q))], &[ResponseCode::NoError]),
    ("upstream_fau-010", &[|q, _| Some(without_edns(q, 1)), |q, _| Some(without_edns(q, 4))], &[ResponseCode::NoError]),
    ("upstream_fau-011", &[cut_over_udp], &[ResponseCode::NoError]),
    (
        "upstream_fau-012",
        &[|q, _| Some(edit(well(q), |reply| reply[13].make_ascii_uppercase()))],
        &[ResponseCode::NoError],
    ),
];

const MALFORMED: &[Fault] = &[
    // Fewer records than the header says.
    |q, _| Some(edit(well(q), |reply| reply[7] = 2)),
    // RDATA that runs past the end.
    |q, _| Some(edit_record(q, |record| record[11] = 200)),
    // An address of five octets, and one of none.
    |q, _| {
        Some(edit_record(q, |record| {
            record[11] = 5;
            record.push(1);
        }))
    },
    |q, _| {
        Some(edit_record(q, |record| {
            record[11] = 0;
            record.truncate(12);
        }))
    },
    // An owner that points at itself, and one that points beyond the message.
    |q, _| {
        Some(edit_record(q, |record| {
            let at = 0xc000 | record_at(q) as u16;
            record[..2].copy_from_slice(&at.to_be_bytes());
        }))
    },
    |q, _| Some(edit_record(q, |record| record[..2].copy_from_slice(&[0xff, 0xff]))),
    // A CNAME that is no name.
    |q, _| Some(edit_record(q, |record| record[3] = 5)),
    // Another class, another opcode, two questions.
    |q, _| Some(edit_record(q, |record| record[5] = 3)),
    |q, _| Some(edit(well(q), |reply| reply[2] |= 0x20)),
    |q, _| Some(edit(well(q), |reply| reply[5] = 2)),
    // Cut inside the header, and inside the question.
    |q, _| Some(edit(well(q), |reply| reply.truncate(11))),
    |q, _| Some(edit(well(q), |reply| reply.truncate(15))),
];

fn record_at(query: &[u8]) -> usize {
    Name::read(query, 12).unwrap().1 + 4
}

/// NOERROR and one address, RA set, the question as it came.
fn well(query: &[u8]) -> Vec<u8> {
    let mut reply = query[..record_at(query)].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x01\0\0\x04\xc0\0\x02\x01");
    reply
}

fn edit(mut reply: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut reply);
    reply
}

/// As [`well`], with the record changed: owner 0..2, type 2..4, class 4..6, TTL 6..10, length 10..12.
fn edit_record(query: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut reply = well(query);
    let mut record = reply.split_off(record_at(query));
    change(&mut record);
    reply.extend_from_slice(&record);
    reply
}

/// A header with a code and nothing behind it.
fn bare(query: &[u8], rcode: u8) -> Vec<u8> {
    [&query[..2], &[0x81, 0x80 | rcode], &[0; 8]].concat()
}

/// QR=0, and an address for a name nobody asked for.
fn poisoned(query: &[u8], _: Transport) -> Option<Vec<u8>> {
    let mut reply = query[..record_at(query)].to_vec();
    reply[2..12].copy_from_slice(&[0x01, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(b"\x08poisoned\x07example\0\0\x01\0\x01\0\0\x01\0\0\x04\xc0\0\x02\x01");
    Some(reply)
}

/// A chain whose every name is a pointer to the question or into it.
fn compressed(query: &[u8]) -> Vec<u8> {
    let mut reply = query[..record_at(query)].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2, 0, 1, 0, 0]);
    let parent = 13 + query[12];
    // CNAME to the parent, its address, and NS of the parent at the name asked.
    reply.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 0, 0, 2, 0xc0, parent]);
    reply.extend_from_slice(&[0xc0, parent, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 192, 0, 2, 1]);
    reply.extend_from_slice(&[0xc0, parent, 0, 2, 0, 1, 0, 0, 1, 0, 0, 2, 0xc0, 12]);
    reply
}

fn without_edns(query: &[u8], rcode: u8) -> Vec<u8> {
    let has_edns = query[11] == 1;
    if !has_edns {
        return well(query);
    }
    edit(well(query), |reply| {
        reply.truncate(record_at(query));
        reply[3] |= rcode;
        reply[7] = 0;
    })
}

fn cut_over_udp(query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let cut = |reply: &mut Vec<u8>| {
        reply.truncate(record_at(query));
        reply[2] |= 0x02;
        reply[7] = 0;
    };
    Some(match transport {
        Transport::Udp => edit(well(query), cut),
        Transport::Tcp | Transport::Tls | Transport::Https | Transport::Quic => well(query),
    })
}

/// Asks, and says what is wrong with what came.
async fn run(id: &str, fault: Fault, accepted: &[ResponseCode]) -> Vec<String> {
    let upstream = Upstream::start(move |query, transport| {
        let is_good = query[12..].starts_with(b"\x04good");
        if is_good { Some(well(query)) } else { fault(query, transport) }
    })
    .await;
    let lab = Lab::start(&CONFIG.replace("ADDRESS", &upstream.address.to_string())).await;
    let socket = udp_client(lab.address).await;
    let mut problems = Vec::new();

    socket.send(&question(1, "www.fault.example", 1)).await.unwrap();
    let (_, answer) = udp_until(&socket, 1).await;
    let Some(answer) = answer else { return vec![format!("{id}: no answer")] };
    let answer = Message::from_vec(&answer).unwrap();
    let rcode = answer.metadata.response_code;
    if !accepted.contains(&rcode) {
        problems.push(format!("{id}: {rcode:?}, not one of {accepted:?}"));
    }
    if rcode != ResponseCode::NoError && !answer.answers.is_empty() {
        problems.push(format!("{id}: {rcode:?} with {} answers", answer.answers.len()));
    }
    if rcode == ResponseCode::NoError && answer.answers.is_empty() {
        problems.push(format!("{id}: NOERROR without the records"));
    }
    for name in ["www.fault.example", "poisoned.example"] {
        if let Some(found) = cached(&lab, name)
            && found.rcode.0 == 0
            && rcode != ResponseCode::NoError
        {
            problems.push(format!("{id}: {name} was cached"));
        }
    }
    // The resolver lives, and so does its only upstream in its eyes.
    socket.send(&question(2, "good.example", 1)).await.unwrap();
    let (_, answer) = udp_until(&socket, 2).await;
    if answer.is_none_or(|answer| answer[3] & 0xf != 0) {
        problems.push(format!("{id}: the next question is not answered"));
    }
    problems
}

fn cached(lab: &Lab, name: &str) -> Option<std::sync::Arc<lachan::engine::answer::Answer>> {
    let question = Question { qname: Name::from_text(name).unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
    let routes = std::sync::Arc::clone(&lab.resolver.cell.load().snapshot.routes);
    let group = routes.group_for(&question.qname).unwrap();
    Some(
        lab.resolver
            .cache
            .get(&Key::new(&question, false, false, routes.key(group)), std::time::Duration::ZERO)?
            .answer,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_upstream_never_makes_a_bad_answer() {
    let Some(text) = shared::suite("upstream_faults.jsonl") else { return };
    let ids: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    let played: BTreeSet<String> = FAULTS.iter().map(|(id, ..)| (*id).to_owned()).collect();
    assert_eq!(ids, played);
    // Side by side: what is never answered takes a question's whole time.
    let runs = FAULTS.iter().flat_map(|&(id, faults, accepted)| {
        faults
            .iter()
            .enumerate()
            .map(move |(i, &fault)| tokio::spawn(async move { run(&format!("{id} ({i})"), fault, accepted).await }))
    });
    let mut problems = Vec::new();
    for handle in runs.collect::<Vec<_>>() {
        problems.extend(handle.await.unwrap());
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
