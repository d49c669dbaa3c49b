//! `safesearch test`: asks the running resolver for every engine, by DNS, and judges what comes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::out::say;
use crate::cli::vietnamese;
use crate::cli::{AdminArgs, NO, YES};
use crate::daemon::admin::{SearchHost, Status};

#[derive(Debug, Subcommand)]
pub enum SafesearchCommand {
    /// Ask the running resolver for every engine and print what came back
    Test(AdminArgs),
}

/// A question takes at most 500 ms for its target, and a little.
const ANSWER_TIMER: Duration = Duration::from_secs(3);

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
    let (engine, name) = (language.pick("engine", "công cụ"), language.pick("host", "tên máy"));
    say!("{engine:<12} {name:<26} {:>5} {:>6} {:>6} {:>6}", "A", "AAAA", "HTTPS", "ANY");
    for host in &hosts {
        let results: Vec<Result<(), Fault>> = TYPES.iter().map(|&qtype| judge(server, host, qtype)).collect();
        let shown: Vec<&str> = results.iter().map(|result| verdict(language, result)).collect();
        say!("{:<12} {:<26} {:>5} {:>6} {:>6} {:>6}", host.engine, host.host, shown[0], shown[1], shown[2], shown[3]);
        for (qtype, result) in TYPES.iter().zip(&results) {
            if let Err(fault) = result {
                say!("    {qtype}: {}", fault.text(language));
                failed += 1;
            }
        }
        let is_lost = results.contains(&Err(Fault::Code(ResponseCode::ServFail)));
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

/// Why an answer is not safe, or none at all.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// SERVFAIL is what a question gets whose target nobody knows the addresses of.
    Code(ResponseCode),
    OtherCname {
        cname: Box<Name>,
        target: Name,
    },
    NoCname {
        target: Name,
    },
    CnameAtApex(Name),
    HttpsAtApex,
    OtherAddress {
        address: IpAddr,
        target: String,
    },
    NoAddress {
        target: String,
    },
    Silence {
        server: SocketAddr,
        why: String,
    },
    /// The codec says why.
    Unreadable(String),
}

impl Fault {
    fn text(&self, language: Language) -> String {
        match (self, language) {
            (Fault::Code(code), Language::English) => format!("{} instead of an answer", code_text(*code)),
            (Fault::Code(code), Language::Vietnamese) => format!("{} thay vì câu trả lời", code_text(*code)),
            (Fault::OtherCname { cname, target }, Language::English) => format!("CNAME {cname} instead of {target}"),
            (Fault::OtherCname { cname, target }, Language::Vietnamese) => format!("CNAME {cname} thay vì {target}"),
            (Fault::NoCname { target }, Language::English) => format!("no CNAME to {target}"),
            (Fault::NoCname { target }, Language::Vietnamese) => format!("không có CNAME đến {target}"),
            (Fault::CnameAtApex(cname), Language::English) => format!("CNAME {cname} at an apex"),
            (Fault::CnameAtApex(cname), Language::Vietnamese) => format!("CNAME {cname} tại đỉnh vùng"),
            (Fault::HttpsAtApex, Language::English) => "an HTTPS record at an apex".to_owned(),
            (Fault::HttpsAtApex, Language::Vietnamese) => "có bản ghi HTTPS tại đỉnh vùng".to_owned(),
            (Fault::OtherAddress { address, target }, Language::English) => {
                format!("{address} is no address of {target}")
            }
            (Fault::OtherAddress { address, target }, Language::Vietnamese) => {
                format!("{address} không phải địa chỉ của {target}")
            }
            (Fault::NoAddress { target }, Language::English) => format!("no address, though {target} has one"),
            (Fault::NoAddress { target }, Language::Vietnamese) => format!("không có địa chỉ, dù {target} có"),
            (Fault::Silence { server, why }, Language::English) => format!("no answer from {server}: {why}"),
            (Fault::Silence { server, why }, Language::Vietnamese) => {
                format!("{server} không trả lời: {}", vietnamese::told(why))
            }
            (Fault::Unreadable(why), Language::English) => why.clone(),
            (Fault::Unreadable(why), Language::Vietnamese) => format!("không đọc được: {why}"),
        }
    }
}

/// The code as it is written in DNS, where the codec has words of its own for it.
fn code_text(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        code => code.to_string(),
    }
}

fn verdict(language: Language, result: &Result<(), Fault>) -> &'static str {
    match (result, language) {
        (Ok(()), Language::English) => "pass",
        (Ok(()), Language::Vietnamese) => "đạt",
        (Err(_), Language::English) => "FAIL",
        (Err(_), Language::Vietnamese) => "LỖI",
    }
}

/// Safe is: the engine's CNAME, or for an apex addresses or no data, and never another name.
fn judge(server: SocketAddr, host: &SearchHost, qtype: RecordType) -> Result<(), Fault> {
    let answer = ask(server, &host.host, qtype)?;
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(Fault::Code(answer.metadata.response_code));
    }
    let target = Name::from_ascii(format!("{}.", host.target)).map_err(unreadable)?;
    let first_cname = answer.answers.iter().find_map(|r| match &r.data {
        RData::CNAME(cname) => Some(cname.0.clone()),
        _ => None,
    });
    match (host.apex, first_cname) {
        (false, Some(cname)) if cname == target => Ok(()),
        (false, Some(cname)) => Err(Fault::OtherCname { cname: Box::new(cname), target }),
        (false, None) => Err(Fault::NoCname { target }),
        (true, Some(cname)) => Err(Fault::CnameAtApex(cname)),
        (true, None) if qtype == RecordType::HTTPS && !answer.answers.is_empty() => Err(Fault::HttpsAtApex),
        (true, None) => judge_apex(server, host, qtype, &answer),
    }
}

/// An apex answers under its own name, so only its addresses tell: each must be one of the safe target's.
fn judge_apex(server: SocketAddr, host: &SearchHost, qtype: RecordType, answer: &Message) -> Result<(), Fault> {
    let family = if qtype == RecordType::AAAA { RecordType::AAAA } else { RecordType::A };
    let mut safe: Vec<IpAddr> = host.addresses.clone();
    // A target that cannot be resolved now leaves the table's addresses.
    if let Ok(target) = ask(server, &host.target, family) {
        safe.extend(addresses(&target));
    }
    let given = addresses(answer);
    if let Some(stranger) = given.iter().find(|a| !safe.contains(a)) {
        return Err(Fault::OtherAddress { address: *stranger, target: host.target.clone() });
    }
    let has_family = safe.iter().any(|a| a.is_ipv4() == (family == RecordType::A));
    if given.is_empty() && has_family && qtype != RecordType::HTTPS {
        return Err(Fault::NoAddress { target: host.target.clone() });
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

fn ask(server: SocketAddr, host: &str, qtype: RecordType) -> Result<Message, Fault> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{host}.")).map_err(unreadable)?;
    message.add_query(Query::query(name, qtype));
    let bytes = message.to_vec().map_err(unreadable)?;
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
    let answer = send().map_err(|why| Fault::Silence { server, why: why.to_string() })?;
    Message::from_vec(&answer).map_err(unreadable)
}

fn unreadable(why: impl std::fmt::Display) -> Fault {
    Fault::Unreadable(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_in_both_languages() {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let (cname, target) = (name("www.bing.com."), name("strict.bing.com."));
        let text = || "strict.bing.com".to_owned();
        let server = ([127, 0, 0, 1], 5354).into();
        for (fault, english, vietnamese) in [
            (Fault::Code(ResponseCode::ServFail), "SERVFAIL instead of an answer", "SERVFAIL thay vì câu trả lời"),
            (
                Fault::OtherCname { cname: Box::new(cname.clone()), target: target.clone() },
                "CNAME www.bing.com. instead of strict.bing.com.",
                "CNAME www.bing.com. thay vì strict.bing.com.",
            ),
            (Fault::NoCname { target }, "no CNAME to strict.bing.com.", "không có CNAME đến strict.bing.com."),
            (Fault::CnameAtApex(cname), "CNAME www.bing.com. at an apex", "CNAME www.bing.com. tại đỉnh vùng"),
            (Fault::HttpsAtApex, "an HTTPS record at an apex", "có bản ghi HTTPS tại đỉnh vùng"),
            (
                Fault::OtherAddress { address: [192, 0, 2, 1].into(), target: text() },
                "192.0.2.1 is no address of strict.bing.com",
                "192.0.2.1 không phải địa chỉ của strict.bing.com",
            ),
            (
                Fault::NoAddress { target: text() },
                "no address, though strict.bing.com has one",
                "không có địa chỉ, dù strict.bing.com có",
            ),
            (
                Fault::Silence { server, why: "Connection refused (os error 111)".into() },
                "no answer from 127.0.0.1:5354: Connection refused (os error 111)",
                "127.0.0.1:5354 không trả lời: kết nối bị từ chối (os error 111)",
            ),
        ] {
            assert_eq!(fault.text(Language::English), english);
            assert_eq!(fault.text(Language::Vietnamese), vietnamese);
        }
    }
}
