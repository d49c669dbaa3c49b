//! Asks the running resolver by its admin listener.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::fleet::Told;
use crate::cli::language::{Language, count_of, error_text};
use crate::cli::out::complain;
use crate::cli::{CANNOT_TELL, NO, vietnamese};
use crate::config::{self, ConfigError};
use crate::daemon::admin::{CHANGE_HEADER, MEMBER, Status};

/// How long the running resolver may take to say anything.
const ANSWER_TIMER: Duration = Duration::from_secs(10);

/// Why nothing was learnt.
#[derive(Debug)]
pub enum Trouble {
    /// The configuration does not say whom to ask.
    NoAddress(String),
    /// Nobody answers there.
    NoDaemon(String),
    /// It answered with an error of its own.
    Refused(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::NoAddress(why) | Trouble::NoDaemon(why) | Trouble::Refused(why) => f.write_str(why),
        }
    }
}

impl Trouble {
    /// What a command ends with that cannot go on without an answer.
    pub fn code(&self) -> u8 {
        match self {
            Trouble::NoAddress(_) | Trouble::NoDaemon(_) => CANNOT_TELL,
            Trouble::Refused(_) => NO,
        }
    }
}

/// What a command ends with; why it could not go on is told.
pub fn ended(done: Result<u8, Trouble>) -> u8 {
    done.unwrap_or_else(|trouble| {
        complain!("lachan: {}", error_text(&trouble.to_string()));
        trouble.code()
    })
}

/// The admin address: as given, else the configuration's. A wildcard is asked on loopback.
///
/// A broken file is no reason to ask elsewhere: another resolver may answer at the default address.
pub fn admin_address(given: Option<SocketAddr>, config: Option<&Path>) -> Result<SocketAddr, Trouble> {
    let address = match given {
        Some(address) => Some(address),
        None => match config {
            None => config::embedded().settings.admin,
            Some(path) => match config::load(path) {
                Ok(config) => config.settings.admin,
                Err(errors) => return Err(Trouble::NoAddress(unreadable(&errors))),
            },
        },
    };
    let Some(mut address) = address else {
        let why = Language::of_user().pick(
            "the configuration has no admin listener ([listen] admin = \"off\")",
            "cấu hình không mở cổng quản trị ([listen] admin = \"off\")",
        );
        return Err(Trouble::NoDaemon(why.into()));
    };
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    Ok(address)
}

/// The first mistake, how many there are, and how to do without the file.
fn unreadable(errors: &[ConfigError]) -> String {
    let language = Language::of_user();
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    let others = errors.len().saturating_sub(1);
    let more = match (others, language) {
        (0, _) => String::new(),
        (_, Language::English) => format!(" (and {}; see `lachan check`)", count_of(others, "more error")),
        (_, Language::Vietnamese) => format!(" (và {others} lỗi nữa; xem `lachan check`)"),
    };
    let lead = language
        .pick("the configuration does not tell whom to ask", "cấu hình không cho biết phải hỏi chương trình nào");
    let way_out = language.pick(
        "--admin ADDR:PORT asks a running resolver without it",
        "dùng --admin ĐỊA_CHỈ:CỔNG để hỏi chương trình đang chạy mà không cần cấu hình",
    );
    format!("{lead}: {first}{more}\n{way_out}")
}

/// In which zone times are told: that of the resolver that was asked, else the configuration's.
pub fn time_zone(address: Option<SocketAddr>, config: Option<&Path>) -> TimeZone {
    let told = address.and_then(|address| get_json::<Status>(address, "/api/v1/status", &[]).ok());
    let written = || match config.map(config::load) {
        Some(Ok(config)) => config.settings.time_zone,
        Some(Err(_)) | None => config::default::TIME_ZONE.to_owned(),
    };
    let name = told.map(|status| status.time_zone).filter(|name| !name.is_empty()).unwrap_or_else(written);
    TimeZone::get(&name).unwrap_or(TimeZone::UTC)
}

/// Status code and body of `path`.
pub fn get(address: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<(u16, String), Trouble> {
    ask(Method::GET, address, path, query, ANSWER_TIMER)
}

/// What is sent to the API of subscribers.
pub struct Sending<'a> {
    pub method: Method,
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub token: &'a str,
    pub body: Vec<u8>,
}

/// Status code and body of what is answered, within `timer`.
pub fn send(address: SocketAddr, sending: Sending<'_>, timer: Duration) -> Result<(u16, String), Trouble> {
    let Sending { method, path, query, token, body } = sending;
    exchange(address, path, timer, |client, url| client.request(method, url).bearer_auth(token).body(body).query(query))
}

fn ask(
    method: Method,
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    timer: Duration,
) -> Result<(u16, String), Trouble> {
    send_json(method, address, path, query, None, timer)
}

fn send_json(
    method: Method,
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    body: Option<String>,
    timer: Duration,
) -> Result<(u16, String), Trouble> {
    exchange(address, path, timer, |client, url| {
        let request = match method {
            Method::POST => client.request(method, url).header(CHANGE_HEADER, "1"),
            _ => client.request(method, url),
        };
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        };
        request.query(query)
    })
}

/// Longest address that is asked: the HTTP library takes no longer one, and says so in no words of ours.
const URL_OCTETS_MAX: usize = 60_000;

fn exchange(
    address: SocketAddr,
    path: &str,
    timer: Duration,
    request: impl FnOnce(&reqwest::Client, String) -> reqwest::RequestBuilder,
) -> Result<(u16, String), Trouble> {
    let unreachable = |why: &dyn std::fmt::Display| {
        let english = format!(
            "no resolver answers at http://{address}{path}: {why}; is `lachan serve` running, with this [listen] admin?"
        );
        let vietnamese = format!(
            "không có chương trình nào trả lời tại http://{address}{path}: {}; `lachan serve` có đang chạy, với [listen] \
             admin này không?",
            vietnamese::told(&why.to_string())
        );
        Trouble::NoDaemon(Language::of_user().pick(&english, &vietnamese).to_owned())
    };
    // The client wants one even when nothing is encrypted. Another in its place is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| unreachable(&why))?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(timer).no_proxy().build().map_err(|why| unreachable(&why))?;
        let url = format!("http://{address}{path}");
        let request = request(&client, url).build().map_err(|why| unreachable(&root_cause(&why)))?;
        let octets = request.url().as_str().len();
        if octets > URL_OCTETS_MAX {
            let english = format!(
                "what is said takes {octets} octets, at most {URL_OCTETS_MAX}: shorten the reason or the names"
            );
            let vietnamese =
                format!("nội dung dài {octets} octet, tối đa {URL_OCTETS_MAX}: hãy rút ngắn lý do hoặc các tên");
            return Err(Trouble::Refused(Language::of_user().pick(&english, &vietnamese).to_owned()));
        }
        let response = client.execute(request).await.map_err(|why| unreachable(&root_cause(&why)))?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(|why| unreachable(&root_cause(&why)))?;
        Ok((status, body))
    })
}

/// JSON of `path`; an answer other than 200 is its error text.
pub fn get_json<T: DeserializeOwned>(address: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<T, Trouble> {
    read_json(address, path, get(address, path, query)?)
}

/// As [`get_json`], for what may take as long as `timer`.
pub fn get_json_within<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    timer: Duration,
) -> Result<T, Trouble> {
    read_json(address, path, ask(Method::GET, address, path, query, timer)?)
}

/// Asks for a change at `path`, which may take as long as `timer`; JSON as with [`get_json`].
pub fn post_json<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    timer: Duration,
) -> Result<T, Trouble> {
    read_json(address, path, ask(Method::POST, address, path, query, timer)?)
}

/// As [`post_json`], for a change that a fleet may be told of.
pub fn post_shared<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    timer: Duration,
) -> Result<Told<T>, Trouble> {
    read_shared(address, path, ask(Method::POST, address, path, query, timer)?)
}

/// As [`post_shared`], with a body.
pub fn post_body_shared<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    body: &impl Serialize,
    timer: Duration,
) -> Result<Told<T>, Trouble> {
    let body = serde_json::to_string(body).map_err(|why| Trouble::Refused(why.to_string()))?;
    read_shared(address, path, send_json(Method::POST, address, path, &[], Some(body), timer)?)
}

fn read_shared<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    (status, body): (u16, String),
) -> Result<Told<T>, Trouble> {
    let mut members: serde_json::Map<String, serde_json::Value> = read_json(address, path, (status, body))?;
    let fleet = members.remove(MEMBER);
    let read = |why: serde_json::Error| not_lachan(address, path, &why);
    let fleet = fleet.map(serde_json::from_value).transpose().map_err(read)?;
    Ok(Told { told: serde_json::from_value(members.into()).map_err(read)?, fleet })
}

fn read_json<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    (status, body): (u16, String),
) -> Result<T, Trouble> {
    if status != 200 {
        let error = serde_json::from_str::<serde_json::Value>(&body).ok();
        let text = error.and_then(|e| e.get("error").and_then(|t| t.as_str()).map(str::to_owned)).unwrap_or(body);
        return Err(Trouble::Refused(text));
    }
    serde_json::from_str(&body).map_err(|why| not_lachan(address, path, &why))
}

/// What is told where another program listens, or another version of this one.
fn not_lachan(address: SocketAddr, path: &str, why: &serde_json::Error) -> Trouble {
    let text = match Language::of_user() {
        Language::English => format!("http://{address}{path} answers something else than lachan does: {why}"),
        Language::Vietnamese => {
            format!("chương trình trả lời tại http://{address}{path} không phải lachan, hoặc khác phiên bản: {why}")
        }
    };
    Trouble::Refused(text)
}

/// The innermost error: "Connection refused", not three sentences around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
