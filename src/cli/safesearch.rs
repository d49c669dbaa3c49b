//! `safesearch test`: asks the running resolver for every engine, by DNS, and judges what comes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::out::say;
use crate::cli::{AdminArgs, NO, YES};
use crate::daemon::admin::{SearchHost, Status};

/// A question takes at most 500 ms for its target, and a little.
const ANSWER_TIMER: Duration = Duration::from_secs(3);

/// What a question gets whose target nobody knows the addresses of.
const NO_TARGET: &str = "SERVFAIL";

const TYPES: [RecordType; 4] = [RecordType::A, RecordType::AAAA, RecordType::HTTPS, RecordType::ANY];

pub fn test(config: Option<&Path>, args: &AdminArgs) -> Result<u8, Trouble> {
    let language = Language::of_user();
    let address = client::admin_address(args.admin, config)?;
    let status: Status = client::get_json(address, "/api/v1/status", &[])?;
    let hosts: Vec<SearchHost> = client::get_json(address, "/api/v1/safesearch", &[])?;
    let Some(server) = status.dns.iter().find_map(|a| a.parse().ok()).map(reachable) else {
        let why = language
            .pick("the running resolver names no DNS address", "chương trình đang chạy không cho biết địa chỉ DNS nào");
        return Err(Trouble::NoDaemon(why.to_owned()));
    };
    if hosts.is_empty() {
        say!(
            "{}",
            language.pick(
                "SafeSearch is off in the default profile (safe_search = false).",
                "Tìm kiếm an toàn đang tắt trong hồ sơ mặc định (safe_search = false)."
            )
        );
        return Ok(NO);
    }
    let mut failed = 0;
    let mut unreachable: Vec<&str> = Vec::new();
    say!("{:<12} {:<26} {:>5} {:>6} {:>6} {:>6}", "engine", "host", "A", "AAAA", "HTTPS", "ANY");
    for host in &hosts {
        let results: Vec<Result<(), String>> = TYPES.iter().map(|&qtype| judge(server, host, qtype)).collect();
        let shown: Vec<&str> = results.iter().map(|r| if r.is_ok() { "pass" } else { "FAIL" }).collect();
        say!("{:<12} {:<26} {:>5} {:>6} {:>6} {:>6}", host.engine, host.host, shown[0], shown[1], shown[2], shown[3]);
        for (qtype, result) in TYPES.iter().zip(&results) {
            if let Err(why) = result {
                say!("    {qtype}: {why}");
                failed += 1;
            }
        }
        let is_lost = results.iter().any(|result| result.as_ref().is_err_and(|why| why.starts_with(NO_TARGET)));
        if is_lost && host.addresses.is_empty() && !unreachable.contains(&host.engine.as_str()) {
            unreachable.push(&host.engine);
        }
    }
    if !unreachable.is_empty() {
        let engines = unreachable.join(", ");
        let english = format!(
            "No upstream server says where the safe hosts of {engines} are, and they have no fixed addresses: these engines \
             answer SERVFAIL, never unfiltered."
        );
        let vietnamese = format!(
            "Không máy chủ phía trên nào cho biết máy chủ an toàn của {engines} ở đâu, và các máy chủ này không có địa chỉ cố \
             định: các công cụ này trả lời SERVFAIL, không bao giờ bỏ lọc."
        );
        say!("{}", language.pick(&english, &vietnamese));
    }
    Ok(if failed == 0 { YES } else { NO })
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address
}

/// Safe is: the engine's CNAME, or for an apex addresses or no data, and never another name.
fn judge(server: SocketAddr, host: &SearchHost, qtype: RecordType) -> Result<(), String> {
    let answer = ask(server, &host.host, qtype)?;
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(match answer.metadata.response_code {
            ResponseCode::ServFail => format!("{NO_TARGET} instead of an answer"),
            code => format!("{code} instead of an answer"),
        });
    }
    let target = Name::from_ascii(format!("{}.", host.target)).map_err(|why| why.to_string())?;
    let first_cname = answer.answers.iter().find_map(|r| match &r.data {
        RData::CNAME(cname) => Some(cname.0.clone()),
        _ => None,
    });
    match (host.apex, first_cname) {
        (false, Some(cname)) if cname == target => Ok(()),
        (false, Some(cname)) => Err(format!("CNAME {cname} instead of {target}")),
        (false, None) => Err(format!("no CNAME to {target}")),
        (true, Some(cname)) => Err(format!("CNAME {cname} at an apex")),
        (true, None) if qtype == RecordType::HTTPS && !answer.answers.is_empty() => {
            Err("an HTTPS record at an apex".into())
        }
        (true, None) => judge_apex(server, host, qtype, &answer),
    }
}

/// An apex answers under its own name, so only its addresses tell: each must be one of the safe target's.
fn judge_apex(server: SocketAddr, host: &SearchHost, qtype: RecordType, answer: &Message) -> Result<(), String> {
    let family = if qtype == RecordType::AAAA { RecordType::AAAA } else { RecordType::A };
    let mut safe: Vec<IpAddr> = host.addresses.clone();
    // A target that cannot be resolved now leaves the table's addresses.
    if let Ok(target) = ask(server, &host.target, family) {
        safe.extend(addresses(&target));
    }
    let given = addresses(answer);
    if let Some(stranger) = given.iter().find(|a| !safe.contains(a)) {
        return Err(format!("{stranger} is no address of {}", host.target));
    }
    let has_family = safe.iter().any(|a| a.is_ipv4() == (family == RecordType::A));
    if given.is_empty() && has_family && qtype != RecordType::HTTPS {
        return Err(format!("no address, though {} has one", host.target));
    }
    Ok(())
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let of = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::from(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::from(aaaa.0)),
        _ => None,
    };
    message.answers.iter().filter_map(|r| of(&r.data)).collect()
}

fn ask(server: SocketAddr, host: &str, qtype: RecordType) -> Result<Message, String> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{host}.")).map_err(|why| why.to_string())?;
    message.add_query(Query::query(name, qtype));
    let bytes = message.to_vec().map_err(|why| why.to_string())?;
    let local: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let send = || -> std::io::Result<Vec<u8>> {
        let socket = UdpSocket::bind(local)?;
        socket.set_read_timeout(Some(ANSWER_TIMER))?;
        socket.connect(server)?;
        socket.send(&bytes)?;
        let mut buffer = vec![0; 4096];
        let len = socket.recv(&mut buffer)?;
        buffer.truncate(len);
        Ok(buffer)
    };
    let answer = send().map_err(|why| format!("no answer from {server}: {why}"))?;
    Message::from_vec(&answer).map_err(|why| why.to_string())
}
