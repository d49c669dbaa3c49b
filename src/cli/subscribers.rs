//! `subscribers`: the API of lines that come and go, from a terminal and from files.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::cli::annex::read_at_most;
use crate::cli::client::{self, Sending, Trouble};
use crate::cli::language::Language;
use crate::cli::lists::span;
use crate::cli::out::{print_json, say};
use crate::cli::{AdminArgs, AskArgs, NO, YES};
use crate::config;
use crate::daemon::admin::{Done, One};
use crate::daemon::clock;
use crate::daemon::subscribers::Summary;
use crate::daemon::subscribers::line::{Expires, Line};
use crate::engine::client::UnixTime;
use crate::engine::explain::rfc3339;
use crate::engine::limits::SUBSCRIBER_FILE_OCTETS_MAX;

pub const EXAMPLES: &str = "\
Examples:
  lachan subscribers set 100.64.1.2/32 --profile family
  lachan subscribers set --line 'olt-7/3/12' --profile unfiltered
  lachan subscribers get 198.51.100.7:2048                     who asks from there?
  lachan subscribers load lines.csv --snapshot 20270131        all of the operator's books
  lachan subscribers status

Needs api_token_file in [subscribers] of the configuration.";

#[derive(Debug, Subcommand)]
pub enum SubscribersCommand {
    /// How many there are, and when each feed last told something; exit 1 when there is no [subscribers]
    Status(AskArgs),
    /// Show what is known of an address, a prefix or a token; exit 1 when it is nothing
    Get(SubscriberArgs),
    /// Give a prefix or a token a profile
    Set(SubscriberSetArgs),
    /// Take out a prefix, or what was chosen for a token
    Remove(SubscriberArgs),
    /// Load a CSV or NDJSON file
    Load(SubscribersLoadArgs),
}

/// Whom a command is about.
#[derive(Debug, Args)]
pub struct SubscriberArgs {
    /// `100.64.1.2/32`, `2001:db8:20::/56`; for `get` also an address, with the port it asks from: `198.51.100.7:2048`
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,
    /// Ports of a shared address
    #[arg(long, value_name = "FIRST-LAST", requires = "prefix")]
    ports: Option<String>,
    /// Which of several networks with the same addresses
    #[arg(long, value_name = "N")]
    realm: Option<u16>,
    /// 32 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    token: Option<String>,
    /// A line's identifier, as the network tells it
    #[arg(long, value_name = "TEXT")]
    line: Option<String>,
    /// What a client calls itself in a host name or a path
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// How the API is reached.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// File with the API's token [default: the configuration's api_token_file]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct SubscriberSetArgs {
    #[command(flatten)]
    who: SubscriberArgs,
    /// The profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// When the entry of a prefix ends: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

#[derive(Debug, Args)]
pub struct SubscribersLoadArgs {
    /// CSV with a head (`prefix,profile`, and any of ports, realm, token, line, label, expires, remove), or NDJSON of the
    /// same names when it ends in .ndjson or .jsonl
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file is all there is: whom it does not name is taken out. Numbers grow; one that was used does nothing
    #[arg(long, value_name = "SERIAL", conflicts_with = "delta")]
    snapshot: Option<u64>,
    /// The file follows what is here: its number is the one after `subscribers status` tells
    #[arg(long, value_name = "SERIAL")]
    delta: Option<u64>,
    #[command(flatten)]
    api: ApiArgs,
}

/// How long a whole table may take.
const LOAD_TIMER: Duration = Duration::from_secs(600);
const TIMER: Duration = Duration::from_secs(30);
const ROOT: &str = "/api/v1/subscribers";

pub fn run(config: Option<&Path>, command: &SubscribersCommand) -> Result<u8, Trouble> {
    match command {
        SubscribersCommand::Status(args) => status(config, args),
        SubscribersCommand::Get(args) => get(config, args),
        SubscribersCommand::Set(args) => set(config, args),
        SubscribersCommand::Remove(args) => remove(config, args),
        SubscribersCommand::Load(args) => load(config, args),
    }
}

fn status(config: Option<&Path>, args: &AskArgs) -> Result<u8, Trouble> {
    let language = Language::of_user();
    let address = client::admin_address(args.admin.admin, config)?;
    let summary: Summary = client::get_json(address, ROOT, &[])?;
    if args.json {
        print_json(&summary);
        return Ok(YES);
    }
    for (title_en, title_vi, count) in [
        ("IPv4 prefixes", "tiền tố IPv4", summary.v4),
        ("port blocks", "khối cổng", summary.port_blocks),
        ("IPv6 prefixes", "tiền tố IPv6", summary.v6),
        ("tokens", "mã thuê bao", summary.tokens),
        ("sessions", "phiên", summary.sessions),
    ] {
        let title = language.pick(title_en, title_vi);
        say!("{title}{} {count:>10}", " ".repeat(16_usize.saturating_sub(title.chars().count())));
    }
    let kept = match summary.kept {
        true => language.pick("survives a restart", "còn sau khi khởi động lại"),
        false => language.pick("in memory only", "chỉ nằm trong bộ nhớ"),
    };
    say!(
        "{}: {}; {:.1} MiB; {kept}",
        language.pick("serial", "số hiệu"),
        summary.serial,
        summary.octets as f64 / 1_048_576.0
    );
    for (feed, told) in summary.feeds.iter().filter(|(_, told)| told.last.is_some()) {
        let ago = span(clock::unix_secs().saturating_sub(told.last.unwrap_or_default()));
        let updates = told.updates;
        match language {
            Language::English => say!("{feed}: {updates} changes, the last {ago} ago"),
            Language::Vietnamese => say!("{feed}: {updates} thay đổi, lần cuối cách đây {ago}"),
        }
    }
    Ok(YES)
}

fn get(config: Option<&Path>, args: &SubscriberArgs) -> Result<u8, Trouble> {
    let language = Language::of_user();
    let mut query = parameters(args);
    // An address is asked about as one who asks; a prefix as what is in the table.
    let source = args.prefix.as_deref().filter(|_| args.ports.is_none()).and_then(|text| {
        let bare = || text.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 0));
        text.parse().ok().or_else(bare)
    });
    if let Some(source) = source {
        query.retain(|(key, _)| *key != "prefix");
        query.push(("address", source.ip().to_string()));
        query.push(("port", source.port().to_string()));
    }
    let one: One = call(config, &args.api, Call { query, ..Call::new(Method::GET, "/one") })?;
    if args.api.json {
        print_json(&one);
        return Ok(YES);
    }
    let zone = one.until.map(|_| client::time_zone(client::admin_address(args.api.admin.admin, config).ok(), config));
    let time = |until: u32| zone.as_ref().map(|zone| rfc3339(UnixTime(until.into()), zone)).unwrap_or_default();
    for (title, value) in [
        (language.pick("standing", "tình trạng"), Some(one.standing)),
        (language.pick("token", "mã"), one.token),
        (language.pick("profile", "hồ sơ"), one.profile),
        (language.pick("until", "đến"), one.until.map(time)),
        (language.pick("session", "phiên"), one.session.then(|| language.pick("yes", "có").to_owned())),
        (language.pick("prefixes", "số tiền tố"), one.prefixes.map(|count| count.to_string())),
        (language.pick("entries", "mục"), (!one.entries.is_empty()).then(|| one.entries.join(", "))),
    ] {
        if let Some(value) = value {
            say!("{title}{} {value}", " ".repeat(10_usize.saturating_sub(title.chars().count())));
        }
    }
    Ok(YES)
}

fn set(config: Option<&Path>, args: &SubscriberSetArgs) -> Result<u8, Trouble> {
    let who = &args.who;
    let seconds = |text: &String| text.parse().map_or_else(|_| Expires::Text(text.clone()), Expires::Seconds);
    let line = Line {
        prefix: who.prefix.clone(),
        ports: who.ports.clone(),
        realm: who.realm,
        token: who.token.clone(),
        line: who.line.clone(),
        label: who.label.clone(),
        profile: args.profile.clone(),
        expires: args.expires.as_ref().map(seconds),
        remove: false,
    };
    let body = serde_json::to_vec(&line).map_err(|why| Trouble::Refused(why.to_string()))?;
    let done: Done = call(config, &who.api, Call { body, ..Call::new(Method::PUT, "/one") })?;
    tell(&done, who.api.json);
    Ok(YES)
}

fn remove(config: Option<&Path>, args: &SubscriberArgs) -> Result<u8, Trouble> {
    let query = parameters(args);
    let done: Done = call(config, &args.api, Call { query, ..Call::new(Method::DELETE, "/one") })?;
    tell(&done, args.api.json);
    Ok(YES)
}

fn load(config: Option<&Path>, args: &SubscribersLoadArgs) -> Result<u8, Trouble> {
    let body = read_file(&args.file).map_err(|why| Trouble::Refused(format!("{}: {why}", args.file.display())))?;
    let serial = args.snapshot.or(args.delta).map(|serial| ("serial", serial.to_string()));
    let path = match (args.snapshot, args.delta) {
        (Some(_), _) => "/snapshot",
        (None, Some(_)) => "/delta",
        (None, None) => "/bulk",
    };
    let query = serial.into_iter().collect();
    let (code, text) =
        send(config, &args.api, Call { query, body, timer: LOAD_TIMER, ..Call::new(Method::POST, path) })?;
    let Ok(done) = serde_json::from_str::<Done>(&text) else { return Err(refused(&text)) };
    tell(&done, args.api.json);
    Ok(if code == 200 { YES } else { NO })
}

fn tell(done: &Done, json: bool) {
    let language = Language::of_user();
    if json {
        return print_json(done);
    }
    for mistake in &done.mistakes {
        match language {
            Language::English => say!("line {}: {}", mistake.line, mistake.error),
            Language::Vietnamese => say!("dòng {}: {}", mistake.line, mistake.error),
        }
    }
    if let Some(error) = &done.error {
        say!("{error}");
    }
    for profile in &done.unknown_profiles {
        match language {
            Language::English => say!("the profile `{profile}` is not configured: who has it gets the default one"),
            Language::Vietnamese => {
                say!("hồ sơ `{profile}` chưa được cấu hình: thuê bao có hồ sơ này dùng hồ sơ mặc định")
            }
        }
    }
    match (done.applied, done.serial) {
        (false, Some(serial)) if done.mistakes.is_empty() => match language {
            Language::English => say!("done before: the serial here is {serial}"),
            Language::Vietnamese => say!("đã làm trước đó: số hiệu hiện tại là {serial}"),
        },
        (true, _) if done.mistakes.is_empty() => match language {
            Language::English if done.lines == 1 => say!("done: 1 line"),
            Language::English => say!("done: {} lines", done.lines),
            Language::Vietnamese => say!("xong: {} dòng", done.lines),
        },
        _ => {}
    }
    if done.others_wait {
        say!(
            "{}",
            language.pick(
                "the store of the fleet does not answer: other nodes hear of it when it does, unless this one is started anew before",
                "kho chung của cụm không trả lời: các nút khác sẽ được báo khi kho trả lời, trừ khi nút này khởi động lại trước đó"
            )
        );
    }
}

fn parameters(args: &SubscriberArgs) -> Vec<(&'static str, String)> {
    let given = [
        ("prefix", &args.prefix),
        ("ports", &args.ports),
        ("token", &args.token),
        ("line", &args.line),
        ("label", &args.label),
    ];
    let realm = args.realm.map(|realm| ("realm", realm.to_string()));
    given.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).chain(realm).collect()
}

/// What is asked of the API.
struct Call<'a> {
    method: Method,
    path: &'a str,
    query: Vec<(&'static str, String)>,
    body: Vec<u8>,
    timer: Duration,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a str) -> Call<'a> {
        Call { method, path, query: Vec::new(), body: Vec::new(), timer: TIMER }
    }
}

fn call<T: DeserializeOwned>(config: Option<&Path>, api: &ApiArgs, call: Call<'_>) -> Result<T, Trouble> {
    let (code, text) = send(config, api, call)?;
    match serde_json::from_str(&text) {
        Ok(told) if code == 200 => Ok(told),
        _ => Err(refused(&text)),
    }
}

fn refused(text: &str) -> Trouble {
    let error = serde_json::from_str::<serde_json::Value>(text).ok();
    let error = error.and_then(|error| Some(error.get("error")?.as_str()?.to_owned()));
    Trouble::Refused(error.unwrap_or_else(|| text.trim().to_owned()))
}

fn send(config: Option<&Path>, api: &ApiArgs, call: Call<'_>) -> Result<(u16, String), Trouble> {
    let Call { method, path, query, body, timer } = call;
    let address = client::admin_address(api.admin.admin, config)?;
    let token = api_token(config, api.token_file.as_deref())?;
    let query: Vec<(&str, &str)> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let path = format!("{ROOT}{path}");
    client::send(address, Sending { method, path: &path, query: &query, token: &token, body }, timer)
}

fn api_token(config: Option<&Path>, file: Option<&Path>) -> Result<String, Trouble> {
    let without = || {
        let why = Language::of_user().pick(
            "the API needs a token: --token-file, or api_token_file in [subscribers] of the configuration",
            "API cần mã truy cập: --token-file, hoặc api_token_file trong [subscribers] của cấu hình",
        );
        Trouble::NoAddress(why.to_owned())
    };
    let octets = match (file, config) {
        (Some(file), _) => {
            std::fs::read(file).map_err(|why| Trouble::NoAddress(format!("{}: {why}", file.display())))?
        }
        (None, Some(config)) => {
            let config = config::load(config)
                .map_err(|errors| Trouble::NoAddress(errors.first().map(ToString::to_string).unwrap_or_default()))?;
            config.settings.subscribers.and_then(|subscribers| subscribers.api_token).ok_or_else(without)?.0
        }
        (None, None) => return Err(without()),
    };
    String::from_utf8(octets).map(|text| text.trim().to_owned()).map_err(|_| without())
}

/// A file as NDJSON: as it is, or line by line out of CSV, so that the numbers of lines stay the file's.
fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    let octets = read_at_most(file, SUBSCRIBER_FILE_OCTETS_MAX)?;
    // What spreadsheets on Windows put in front.
    let octets = octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&octets);
    let is_json = file.extension().is_some_and(|ending| ending == "ndjson" || ending == "jsonl");
    if is_json { Ok(octets.to_vec()) } else { of_csv(octets) }
}

fn of_csv(octets: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(octets).map_err(|_| "it is not UTF-8")?;
    let (mut head, mut out) = (None, Vec::new());
    let is_told = |text: &&str| !text.trim().is_empty() && !text.starts_with('#');
    let by = separator(text.lines().find(is_told).unwrap_or_default());
    for (i, text) in text.lines().enumerate() {
        let told = |why: String| format!("line {}: {why}", i + 1);
        if is_told(&text) {
            let record = record_of(text, by).map_err(told)?;
            match &head {
                None => head = Some(checked_head(record).map_err(told)?),
                Some(head) => {
                    let line = line_of(head, &record).map_err(told)?;
                    serde_json::to_writer(&mut out, &line).map_err(|why| told(why.to_string()))?;
                }
            }
        }
        // What the CSV says on line n is told on line n, its head and comments included.
        out.push(b'\n');
    }
    head.map(|_| out).ok_or_else(|| "it has no head, as `prefix,profile`".to_owned())
}

/// What stands between values: a semicolon where the comma is for decimals, as Excel writes with Vietnamese settings. No name
/// of a column has either in it.
fn separator(head: &str) -> u8 {
    if head.contains(';') && !head.contains(',') { b';' } else { b',' }
}

fn checked_head(head: csv::StringRecord) -> Result<csv::StringRecord, String> {
    const KNOWN: [&str; 9] = ["prefix", "ports", "realm", "token", "line", "label", "profile", "expires", "remove"];
    match head.iter().find(|name| !KNOWN.contains(name)) {
        Some(unknown) => Err(format!("unknown column {unknown:?}; there are: {}", KNOWN.join(", "))),
        None => Ok(head),
    }
}

/// One line: no value here has a line's end in it.
fn record_of(text: &str, by: u8) -> Result<csv::StringRecord, String> {
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.has_headers(false).delimiter(by).trim(csv::Trim::All).from_reader(text.as_bytes());
    reader.records().next().transpose().map_err(|why| why.to_string()).map(Option::unwrap_or_default)
}

fn line_of(head: &csv::StringRecord, record: &csv::StringRecord) -> Result<Line, String> {
    if record.len() != head.len() {
        return Err(format!("it has {} values, the head has {}", record.len(), head.len()));
    }
    let mut line = Line::default();
    for (key, value) in head.iter().zip(record).filter(|(_, value)| !value.is_empty()) {
        let text = Some(value.to_owned());
        match key {
            "prefix" => line.prefix = text,
            "ports" => line.ports = text,
            "realm" => line.realm = Some(value.parse().map_err(|_| "`realm` must be 0 to 65535")?),
            "token" => line.token = text,
            "line" => line.line = text,
            "label" => line.label = text,
            "profile" => line.profile = text,
            "expires" => line.expires = Some(value.parse().map_or(Expires::Text(value.to_owned()), Expires::Seconds)),
            "remove" => {
                line.remove = match value {
                    "true" | "1" | "yes" => true,
                    "false" | "0" | "no" => false,
                    _ => return Err("`remove` must be true or false".to_owned()),
                };
            }
            _ => {}
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_becomes_lines_with_its_own_numbers() {
        let text =
            "prefix,profile,realm,expires\n100.64.1.2/32,family,,\n# a word\n2001:db8::/56,school,7,1900000000\n";
        let told = String::from_utf8(of_csv(text.as_bytes()).unwrap()).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines,
            [
                "",
                r#"{"prefix":"100.64.1.2/32","profile":"family"}"#,
                "",
                r#"{"prefix":"2001:db8::/56","realm":7,"profile":"school","expires":1900000000}"#
            ]
        );
        for text in [
            "\u{feff}prefix;line;profile\r\n10.0.0.1/32;\"olt;1, a\";family\r\n",
            "prefix,line,profile\r\n10.0.0.1/32,\"olt;1, a\",family\r\n",
            "# lines\n\n prefix ; line ; profile \n 10.0.0.1/32 ;\"olt;1, a\"; family\n",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("lines.csv");
            std::fs::write(&file, text).unwrap();
            let told = String::from_utf8(read_file(&file).unwrap()).unwrap();
            assert_eq!(
                told.lines().last(),
                Some(r#"{"prefix":"10.0.0.1/32","line":"olt;1, a","profile":"family"}"#),
                "{text}"
            );
        }
        for (text, why) in [
            ("prefix,name\n", "line 1: unknown column \"name\""),
            ("prefix,realm\n\n10.0.0.1,x\n", "line 3: `realm` must be"),
            ("prefix,remove\n10.0.0.1,maybe\n", "line 2: `remove` must be"),
        ] {
            assert!(of_csv(text.as_bytes()).unwrap_err().starts_with(why), "{text}: {:?}", of_csv(text.as_bytes()));
        }
        assert!(of_csv(b"prefix,profile\n10.0.0.1\n").is_err(), "a record that is too short");
    }
}
