//! Cases of other projects about encrypted transports and discovery. Where we answer otherwise a row of
//! `tests/differences/encrypted_transports.tsv` or `ddr.tsv` says why.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::svcb::{SvcParamKey, SvcParamValue};
use hickory_proto::rr::{RData, RecordType};
use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use tokio::net::TcpStream;

use super::doh::{VERSIONS, Versions};
use super::doq::connect;
use super::{BLOCKED, LIST, Lab, ZONE, options, padded, question};
use crate::harness::client::{Ask, show};
use crate::harness::resolver::{Files, InProcess};
use crate::harness::secure::{
    Certificate, DNS_MESSAGE, Line, NAME, Way, ask_quic, encrypted, framed, receive_framed, send_framed, talk, tls,
};
use crate::harness::upstream::Upstream;
use crate::programs::free_port;
use crate::{differences, shared};

fn cases(file: &str) -> Option<Vec<Value>> {
    let text = shared::suite(file)?;
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn id(case: &Value) -> &str {
    case["id"].as_str().unwrap()
}

#[test]
fn encrypted_transports() {
    let Some(cases) = cases("encrypted_transports.jsonl") else { return };
    let lab = Lab::start();
    let large = format!("\"{}\" ", "x".repeat(250)).repeat(200);
    lab.upstream.change(&format!("{ZONE}large.example. 300 IN TXT {large}\n"));
    let dropping = Lab::with(&format!("{LIST}[profile.default]\nblock_response = \"drop\"\n"));
    let mut differ = Vec::new();
    let mut asked = 0;
    for case in &cases {
        let told = match case["request"]["transport"].as_str() {
            None | Some("doh") => by_https(&lab, case),
            Some("doq") => by_quic(&lab, &dropping, case),
            Some("dot" | "tcp") => by_stream(&lab, case),
            // `certificates.rs` has it, on all three.
            Some("doq/dot/doh") => continue,
            Some(other) => panic!("{other}"),
        };
        asked += 1;
        if let Err(why) = told {
            differ.push((id(case).to_owned(), why));
        }
    }
    assert!(asked >= 43, "{asked} cases");
    differences::check("encrypted_transports.tsv", &differ);
}

/// The request of a case, and its DNS message.
fn request_of(case: &Value) -> Request<Full<Bytes>> {
    let request = &case["request"];
    let text = |key: &str| request[key].as_str();
    let name = match text("dns") {
        Some("name that fails") => "broken.example",
        Some("65 kB answer, no EDNS") => "large.example",
        _ if case["expect"]["rcode"] == "NXDOMAIN" => "nothing.example",
        _ => "fast.example",
    };
    let qtype = if name == "large.example" { RecordType::TXT } else { RecordType::A };
    let edns = if request["edns"].is_null() && request.get("edns").is_some() || name == "large.example" {
        None
    } else {
        Some(1232)
    };
    let mut ask = Ask { edns, ..Ask::new(name, qtype) };
    if text("edns") == Some("padding") {
        ask = padded(name);
    }
    let mut message = ask.encode();
    message[..2].copy_from_slice(&(request["dns_id"].as_u64().unwrap_or(0) as u16).to_be_bytes());
    match text("dns") {
        Some("QR set") => message[2] |= 0x80,
        Some("last 5 octets cut") => {
            message = Ask { edns: None, ..Ask::new(name, qtype) }.encode();
            message.truncate(message.len() - 5);
        }
        Some("header only, QDCOUNT 0") => {
            message.truncate(12);
            message[4..12].fill(0);
        }
        Some("1030 zero octets") => message = vec![0; 1030],
        _ => {}
    }
    match text("body") {
        Some("") => message.clear(),
        Some("0 x 11") => message = vec![b'0'; 11],
        Some("\\0 x 1024") => message = vec![0; 1024],
        Some(other) => panic!("{other}"),
        None => {}
    }
    let method = text("method").unwrap_or("GET");
    let encoded = URL_SAFE_NO_PAD.encode(&message);
    // Their servers have DNS at another path.
    let path = text("path").map(|path| path.replace("b64url(A query, id 0)", &encoded).replace("/doh?", "/dns-query?"));
    let in_body = method == "POST";
    let path =
        path.unwrap_or_else(|| if in_body { "/dns-query".to_owned() } else { format!("/dns-query?dns={encoded}") });
    let mut made = Request::builder().method(method).uri(format!("https://{NAME}{path}"));
    if in_body {
        made = made.header("content-type", text("content-type").unwrap_or(DNS_MESSAGE));
    }
    for i in 0..request["headers"].as_u64().unwrap_or(0) {
        made = made.header(format!("x-{i}"), "a");
    }
    made.body(if in_body { Full::new(message.into()) } else { Full::default() }).unwrap()
}

fn by_https(lab: &Lab, case: &Value) -> Result<(), String> {
    let expect = &case["expect"];
    let request = &case["request"];
    if let Some(offered) = request["alpn"].as_array() {
        let offered: Vec<&str> = offered.iter().map(|name| name.as_str().unwrap()).collect();
        let chosen = talk(async {
            let stream = tls(lab.doh(), lab.certificate.trusted(&offered)).await.ok()?;
            stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap())
        });
        return match chosen == expect["selected_alpn"].as_str().map(str::to_owned) {
            true => Ok(()),
            false => Err(format!("{chosen:?}")),
        };
    }
    if request["headers"].is_string() {
        return illegal_header(lab);
    }
    talk(async {
        let mut clients = Versions::connect(lab).await;
        for version in VERSIONS {
            let is_by_1 = version == VERSIONS[0];
            if !is_by_1 && (request["http"] == "1.1" || request["headers"].is_u64()) {
                continue;
            }
            let told = clients.ask(version, request_of(case)).await;
            judge(expect, &told).map_err(|why| format!("{version:?}: {why}"))?;
        }
        Ok(())
    })
}

/// What HTTP says cannot stand in a head.
fn illegal_header(lab: &Lab) -> Result<(), String> {
    talk(async {
        let mut stream = tls(lab.doh(), lab.certificate.trusted(&["http/1.1"])).await.unwrap();
        let text = URL_SAFE_NO_PAD.encode(question(BLOCKED, 0));
        let head = format!("GET /dns-query?dns={text} HTTP/1.1\r\nHost: a\r\n{{}}: test\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        let mut told = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut told).await.unwrap();
        if told.starts_with("HTTP/1.1 400") { Ok(()) } else { Err(told) }
    })
}

fn judge(expect: &Value, told: &hyper::Response<Bytes>) -> Result<(), String> {
    let status = told.status().as_u16();
    let fits = match &expect["status"] {
        Value::Number(one) => one.as_u64() == Some(status.into()),
        Value::Array(some) => some.contains(&status.into()),
        Value::String(text) => text.contains(&status.to_string()),
        _ => status == 200,
    };
    if !fits {
        return Err(format!("status {status}"));
    }
    if status != 200 {
        return Ok(());
    }
    let body = told.body();
    let header = |name: &str| told.headers().get(name).map(|value| value.to_str().unwrap());
    let message = hickory_proto::op::Message::from_vec(body).map_err(|why| why.to_string())?;
    let rcode = match body[3] & 15 {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        _ => "other",
    };
    let smallest = message.answers.iter().map(|record| record.ttl).min();
    let negative = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let padding = options(&message).contains(&12);
    for (key, expected) in expect.as_object().unwrap() {
        let holds = match key.as_str() {
            "status" => true,
            "content-type" => header("content-type") == expected.as_str(),
            "cache-control" => {
                let age = smallest.or(negative).ok_or("no TTL")?;
                header("cache-control") == Some(&format!("private, max-age={age}"))
            }
            "dns_id" => Some(u64::from(u16::from_be_bytes([body[0], body[1]]))) == expected.as_u64(),
            "rcode" => expected == rcode || expected.as_array().is_some_and(|some| some.contains(&rcode.into())),
            "tc" => body[2] & 2 == 0 && body.len() > 40_000,
            "access-control-allow-origin" => header(key).is_none(),
            "reply_size_multiple_of" => body.len().is_multiple_of(468),
            "padding" => Some(padding) == expected.as_bool(),
            other => return Err(format!("nobody looks at {other}")),
        };
        if !holds {
            return Err(format!("{key}: {expected}, not so in {rcode} {:?}", told.headers()));
        }
    }
    Ok(())
}

fn by_quic(lab: &Lab, dropping: &Lab, case: &Value) -> Result<(), String> {
    let (request, expect) = (&case["request"], &case["expect"]);
    talk(async {
        let connection = connect(lab.doq(), &lab.certificate).await;
        if expect["stream"] == "reset" {
            let connection = connect(dropping.doq(), &dropping.certificate).await;
            let told = ask_quic(&connection, &question(BLOCKED, 0)).await;
            return if told.is_err() && connection.close_reason().is_none() { Ok(()) } else { Err("an answer".into()) };
        }
        let mut query = match request["edns"].as_str() {
            Some("tcp-keepalive") => {
                let options = vec![EdnsOption::Unknown(11, Vec::new())];
                Ask { options, ..Ask::new("fast.example", RecordType::A) }.encode()
            }
            None if request["qtype"] == "AXFR" => Ask::new("example", RecordType::AXFR).encode(),
            _ => Ask::new("fast.example", RecordType::A).encode(),
        };
        query[..2].copy_from_slice(&(request["dns_id"].as_u64().unwrap_or(0) as u16).to_be_bytes());
        let octets = match request["body"].as_str() {
            Some("random") => vec![0x5a; 50],
            Some("over 65535") => vec![0xff; 65_538],
            _ => framed(&query),
        };
        let streams = if request.get("streams").is_some() { 10 } else { 1 };
        for _ in 0..streams {
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            let _ = send.write_all(&octets).await;
            let _ = send.finish();
            let told = receive.read_to_end(1 << 17).await;
            if expect.get("stream").is_some() || expect.get("connection").is_some() {
                let why = connection.closed().await;
                let is_told =
                    matches!(&why, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == 2_u8.into());
                return if is_told && told.is_err() { Ok(()) } else { Err(format!("{why}")) };
            }
            let told = told.map_err(|why| why.to_string())?;
            let rcode = told[5] & 15;
            let fits = if request["qtype"] == "AXFR" { matches!(rcode, 4 | 5) } else { rcode == 0 };
            if !fits {
                return Err(format!("rcode {rcode}"));
            }
        }
        Ok(())
    })
}

fn by_stream(lab: &Lab, case: &Value) -> Result<(), String> {
    let request = &case["request"];
    if request["edns"] == "tcp-keepalive" {
        let ask = Ask { options: vec![EdnsOption::Unknown(11, Vec::new())], ..Ask::new("fast.example", RecordType::A) };
        let told = Line::open(Way::Dot, &lab.resolver.addresses, false, &lab.certificate).ask(&ask);
        return if options(&told.message).contains(&11) { Ok(()) } else { Err("no option 11".into()) };
    }
    let names: &[&str] = match request["queries"].as_str() {
        None => &["fast.example"],
        Some("several at once") => &["fast.example", "two.example", BLOCKED, "nothing.example"],
        Some("slow then fast") => &["held.example", BLOCKED],
        Some(other) => panic!("{other}"),
    };
    let order = talk(async {
        if request["transport"] == "tcp" {
            exchange_all(lab, TcpStream::connect(lab.tcp()).await.unwrap(), names).await
        } else {
            exchange_all(lab, tls(lab.dot(), lab.certificate.trusted(&["dot"])).await.unwrap(), names).await
        }
    });
    let is_in_order = case["expect"]["first_answer"] != "fast" || order[0] == 1;
    if is_in_order { Ok(()) } else { Err(format!("{order:?}")) }
}

async fn exchange_all(
    lab: &Lab,
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    names: &[&str],
) -> Vec<u8> {
    for (name, id) in names.iter().zip(0..) {
        send_framed(&mut stream, &question(name, id)).await;
    }
    let mut order = Vec::new();
    for _ in names {
        order.push(receive_framed(&mut stream).await.unwrap()[1]);
        // One that others had to wait for is over by now; for the next case what was let go is quick.
        if names.contains(&"held.example") {
            lab.upstream.let_go("held.example");
        }
    }
    order
}

#[test]
fn discovery() {
    let Some(cases) = cases("ddr.jsonl") else { return };
    let upstream = Upstream::start(ZONE);
    let certificate = Certificate::with(|params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName("dns.example.net".try_into().unwrap()));
    });
    let mut differ = Vec::new();
    for case in &cases {
        if let Err(why) = discover(case, &upstream, &certificate) {
            differ.push((id(case).to_owned(), why));
        }
    }
    assert!(cases.len() >= 7, "{} cases", cases.len());
    differences::check("ddr.tsv", &differ);
}

/// Ports of a case are other ones here, where any may be taken: those of the listeners are told.
fn discover(case: &Value, upstream: &Upstream, certificate: &Certificate) -> Result<(), String> {
    let wanted = &case["config"];
    let mut config = encrypted("", upstream.v4);
    let both = "[\"127.0.0.1:0\", \"[::1]:0\"]";
    for key in ["dot", "doh", "doq"] {
        let line = format!("{key} = {both}\n");
        let port = wanted[key].as_u64().map(|_| free_port().port());
        config = config.replace(&line, &port.map_or(String::new(), |port| format!("{key} = [\"{ALONE}:{port}\"]\n")));
    }
    config.push_str("name = \"dns.example.net\"\n");
    if wanted["ddr"] == false {
        config.push_str("ddr = \"off\"\n");
    }
    let files = certificate.files();
    let resolver = InProcess::start(&Files { config, files: &files });
    let qtype: RecordType = case["query"]["qtype"].as_str().unwrap().parse().unwrap();
    let told = Ask::new(case["query"]["qname"].as_str().unwrap(), qtype).send(resolver.v4);
    let expected = &case["expect"];
    if expected["forwarded"] == true {
        let asked = upstream.count("_dns.resolver.arpa", qtype);
        return if asked > 0 { Ok(()) } else { Err(format!("rcode {}, not forwarded", told.rcode())) };
    }
    if told.rcode() != 0 {
        return Err(format!("rcode {}", told.rcode()));
    }
    let port_of = |alpn: &str| match alpn {
        "dot" => resolver.addresses.dot[0].port(),
        "doq" => resolver.addresses.doq[0].port(),
        _ => resolver.addresses.doh[0].port(),
    };
    let svcb = expected["svcb"].as_array().cloned().unwrap_or_default();
    if told.message.answers.len() != svcb.len() {
        return Err(format!("{:?}", told.message.answers.iter().map(show).collect::<Vec<_>>()));
    }
    for expected in &svcb {
        let alpn = expected["alpn"].as_str().unwrap();
        let found = told.message.answers.iter().find_map(|record| {
            let RData::SVCB(svcb) = &record.data else { return None };
            let is_it = svcb.svc_params.iter().any(|(key, value)| {
                *key == SvcParamKey::Alpn
                    && matches!(value, SvcParamValue::Alpn(names) if names.0.iter().any(|name| name == alpn))
            });
            is_it.then(|| svcb.clone())
        });
        let Some(found) = found else { return Err(format!("no {alpn}")) };
        let text = found.svc_params.iter().map(|(key, value)| format!("{key}={value} ")).collect::<String>();
        let is_good = found.target_name.to_string() == expected["target"]
            && text.contains(&format!("port={}", port_of(alpn)))
            && text.contains(ALONE)
            && (expected.get("dohpath").is_none() || text.contains("7=\"/dns-query{?dns}\""));
        if !is_good {
            return Err(format!("{} {text}", found.target_name));
        }
    }
    // RFC 9462 §4: the addresses of the target come along; here it listens at another one than was asked.
    let beside = format!("dns.example.net A {ALONE}");
    if !svcb.is_empty() && !told.message.additionals.iter().any(|record| show(record) == beside) {
        return Err("no address beside it".to_owned());
    }
    Ok(())
}

/// An address where no other test listens: a port that is free there stays so.
const ALONE: &str = "127.77.0.1";
