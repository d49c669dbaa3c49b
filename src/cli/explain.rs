//! `explain`: one plain sentence first, the facts, and how to change it.

use std::net::IpAddr;
use std::path::Path;

use clap::Args;
use serde_json::Value;

use crate::cli::client::{self, Trouble};
use crate::cli::language::{Language, error_text};
use crate::cli::out::{complain, say};
use crate::cli::{AdminArgs, NO, USAGE, YES};
use crate::daemon::admin::{parse_moment, parse_type, type_name};
use crate::daemon::explain::{Asker, Who, explain_offline, take_up_kept};
use crate::daemon::reload::Loader;
use crate::engine::client::{Realm, UnixTime};
use crate::engine::name::Name;
use crate::engine::query::{CLASS_IN, Question};

pub const EXAMPLES: &str = "\
Examples:
  lachan explain www.pornhub.com
  lachan explain https://zalo.me/pc --client 10.20.0.7         as this client would be answered
  lachan explain example.com --to 192.0.2.54                   as who asks this address of ours would be answered
  lachan explain example.com --profile school --type AAAA      as this profile would be answered
  lachan explain roblox.com --profile school --at 2026-11-27T22:00:00+07:00
  lachan explain example.com --json                            for scripts
  lachan explain example.com --offline -c lachan.toml          compile the configuration here instead of asking";

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A name or a URL
    #[arg(value_name = "NAME|URL")]
    name: String,
    /// Query type: A, AAAA, HTTPS, TYPE65, 65 …
    #[arg(short = 't', long = "type", default_value = "A", value_name = "TYPE")]
    qtype: String,
    /// As this client would be answered: its address, or one of its `ids`; behind a shared address, the port it asks from tells
    /// which
    #[arg(long, value_name = "ADDR[:PORT]|ID")]
    client: Option<Asker>,
    /// The realm of this address, where several networks use the same ones [default: 0]
    #[arg(long, value_name = "N", requires = "client")]
    realm: Option<u16>,
    /// As who asks this address of ours would be answered
    #[arg(long, value_name = "ADDR")]
    to: Option<IpAddr>,
    /// As this profile would be answered
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// As it would be answered at this moment
    #[arg(long, value_name = "RFC3339")]
    at: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Do not ask the running resolver: compile the configuration and judge the question alone
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub fn run(config: Option<&Path>, args: &ExplainArgs) -> u8 {
    let language = Language::of_user();
    let host = host_of(&args.name);
    if let Some(address) = address_of(host) {
        complain!("lachan: {}", language.pick(&about_address_en(address), &about_address_vi(address)));
        return USAGE;
    }
    let qname = match Name::from_text(host) {
        Ok(qname) => qname,
        Err(why) => {
            complain!("lachan: {}", error_text(&format!("{host:?} is no name: {why}")));
            return USAGE;
        }
    };
    let Some(qtype) = parse_type(&args.qtype) else {
        let why = format!("unknown type {:?}; A, AAAA, HTTPS, MX, TXT … or a number, such as 65", args.qtype);
        complain!("lachan: {}", error_text(&why));
        return USAGE;
    };
    let type_text = type_name(qtype);
    let at = match args.at.as_deref().map(parse_moment).transpose() {
        Ok(at) => at,
        Err(why) => {
            complain!("lachan: {}", error_text(&why));
            return USAGE;
        }
    };
    let told = if args.offline {
        offline(config, &Question { qname, qtype, qclass: CLASS_IN }, &type_text, args, at)
    } else {
        online(config, &qname, &type_text, args)
    };
    match told {
        Ok(told) => {
            if args.json {
                say!("{told}");
            } else {
                print_told(&told, args.offline, args.at.is_some());
            }
            YES
        }
        Err((code, why)) => {
            complain!("lachan: {}", error_text(&why));
            code
        }
    }
}

/// `https://me@example.com:8443/path` → `example.com`, and so with any part left out; `[::1]:53` → `::1`.
fn host_of(text: &str) -> &str {
    let text = text.trim();
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        return inside;
    }
    match host.rsplit_once(':') {
        // An IPv6 address without brackets has no port.
        Some((name, port)) if !name.contains(':') && port.bytes().all(|c| c.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// The address that stands where a name is expected; its zone (`fe80::1%eth0`) does not matter.
fn address_of(host: &str) -> Option<IpAddr> {
    host.split('%').next().unwrap_or(host).parse().ok()
}

fn about_address_en(address: IpAddr) -> String {
    format!(
        "{address} is an address, not a name: whoever types it asks no resolver, so DNS filtering never sees it; a firewall \
         does. (A list may hold addresses: then a name that leads there is blocked. Explain that name.)"
    )
}

fn about_address_vi(address: IpAddr) -> String {
    format!(
        "{address} là địa chỉ, không phải tên miền: người gõ địa chỉ không hỏi máy phân giải nào, nên lọc DNS không thấy \
         được; việc này là của tường lửa. (Danh sách có thể chứa địa chỉ: khi đó tên dẫn tới địa chỉ ấy bị chặn. Hãy hỏi tên đó.)"
    )
}

fn online(config: Option<&Path>, qname: &Name, type_text: &str, args: &ExplainArgs) -> Result<Value, (u8, String)> {
    let without_it = Language::of_user()
        .pick("(--offline explains without it)", "(--offline: trả lời mà không cần chương trình đang chạy)");
    let cannot = |trouble: Trouble| match &trouble {
        Trouble::NoDaemon(why) => (trouble.code(), format!("{why}\n{without_it}")),
        Trouble::NoAddress(why) | Trouble::Refused(why) => (trouble.code(), why.clone()),
    };
    let address = client::admin_address(args.admin.admin, config).map_err(cannot)?;
    let (name, client) = (qname.to_string(), args.client.as_ref().map(ToString::to_string));
    let mut query = vec![("name", name.as_str()), ("type", type_text)];
    query.extend(client.as_deref().map(|c| ("client", c)));
    let realm = args.realm.map(|realm| realm.to_string());
    query.extend(realm.as_deref().map(|realm| ("realm", realm)));
    let to = args.to.map(|to| to.to_string());
    query.extend(to.as_deref().map(|to| ("to", to)));
    query.extend(args.profile.as_deref().map(|p| ("profile", p)));
    query.extend(args.at.as_deref().map(|at| ("at", at)));
    client::get_json(address, "/api/v1/explain", &query).map_err(cannot)
}

fn offline(
    config: Option<&Path>,
    question: &Question,
    type_text: &str,
    args: &ExplainArgs,
    at: Option<UnixTime>,
) -> Result<Value, (u8, String)> {
    let mut loader = Loader::new(config.map(Path::to_owned)).reading_state();
    let mut loaded = loader.load(None, None).map_err(|errors| (NO, errors.join("\nlachan: ")))?;
    let kept = take_up_kept(&mut loaded.generation.snapshot, &loaded.settings);
    for problem in loaded.notes.problems.iter().map(|problem| &problem.message).chain(&kept) {
        complain!("lachan: {problem}");
    }
    let realm = Realm(args.realm.unwrap_or(0));
    let profile = args.profile.clone();
    let who = Who { client: args.client.clone(), realm, to: args.to, profile, at, ..Who::default() };
    let told = explain_offline(&loaded.generation.snapshot, &loaded.notes.list_lines, question, type_text, &who)
        .map_err(|why| (NO, why))?;
    serde_json::to_value(told).map_err(|why| (NO, why.to_string()))
}

fn print_told(told: &Value, offline: bool, asks_when: bool) {
    let language = Language::of_user();
    let text = |key: &str| told.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    say!("{}", language.pick(&text("sentence_en"), &text("sentence_vi")));
    say!("");
    let line = told.get("line").and_then(Value::as_u64);
    let file = match (text("file"), line) {
        (file, Some(line)) if !file.is_empty() => format!("{file}:{line}"),
        (file, _) => file,
    };
    let ede = told.get("ede").and_then(Value::as_u64).map(|code| code.to_string()).unwrap_or_default();
    let row = |title: &str, value: &str| {
        if !value.is_empty() {
            // Padded by characters: Vietnamese titles have more octets than columns.
            say!("  {title}{} {value}", " ".repeat(10_usize.saturating_sub(title.chars().count())));
        }
    };
    let word = |key: &str| in_words(&text(key), language).to_owned();
    for (title_en, title_vi, value) in [
        ("verdict", "kết luận", word("verdict")),
        ("rung", "bậc", word("rung")),
        ("category", "loại", text("category")),
        ("list", "danh sách", text("list")),
        ("file", "tệp", file),
        ("rule", "luật", text("rule")),
        ("target", "đích", text("target")),
        ("order", "yêu cầu", order_text(told, language)),
        ("said", "tạm thời", said_text(&told["temporary"], language)),
        ("pause", "tạm tắt", said_text(&told["pause"], language)),
        ("EDE", "EDE", ede),
        ("type", "kiểu", text("type")),
        ("client", "máy hỏi", text("client")),
        ("is", "là", configured_text(&told["configured"], language)),
        ("line", "thuê bao", subscriber_text(told, offline, language)),
        ("feeds", "nguồn tin", feeds_text(&told["subscriber"]["feeds"], language)),
        ("profile", "hồ sơ", profile_text(&text("profile"), &text("profile_from"), language)),
        ("mode", "chế độ", word("mode")),
        ("windows", "khung giờ", windows_text(&told["windows"], language)),
        ("cached", "đệm", cache_text(&told["cache"], offline, language)),
        ("at", "lúc", if asks_when { text("at") } else { String::new() }),
    ] {
        row(language.pick(title_en, title_vi), &value);
    }
    let steps = items(&told["tried"]).map(|step| {
        let part = |key: &str| step.get(key).and_then(|v| v.as_str()).unwrap_or_default();
        let by = [part("list"), part("name")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let by = if by.is_empty() { by } else { format!(" ({by})") };
        format!("{}: {}{by}", in_words(part("rung"), language), in_words(part("outcome"), language))
    });
    row(language.pick("tried", "đã xét"), &steps.collect::<Vec<_>>().join(" → "));
    if offline {
        let note = language.pick(
            "(offline: the names and addresses of the answer were not looked at)",
            "(ngoại tuyến: chưa xét các tên và địa chỉ trong câu trả lời)",
        );
        say!("  {note}");
    }
    say!("");
    let lead = language.pick("to change this:", "muốn thay đổi:");
    say!("{lead} {}", language.pick(&text("change_en"), &text("change_vi")));
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A word of the JSON as people read it.
fn in_words(word: &str, language: Language) -> &str {
    let vietnamese = match word {
        "allow" => "cho phép",
        "block" => "chặn",
        "rewrite" => "chuyển tới nơi khác",
        "drop" => "không trả lời",
        "nothing" => "không có",
        "answered" => "đã trả lời",
        "refused" => "từ chối",
        "dropped" => "bỏ qua",
        "excepted" => "ngoại lệ",
        "spared: protected name" => "tên được bảo vệ",
        "paused" => "đang tạm tắt",
        "observe" => "chỉ quan sát",
        "access" => "quyền hỏi",
        "local-data" => "dữ liệu tại chỗ",
        "order" => "yêu cầu của cơ quan có thẩm quyền",
        "operator" => "nhà vận hành",
        "security" => "an ninh",
        "profile" => "hồ sơ",
        "category" => "loại nội dung",
        "safe-search" => "tìm kiếm an toàn",
        "forward" => "hỏi cấp trên",
        _ => word,
    };
    language.pick(word, vietnamese)
}

/// What somebody said for a while.
fn said_text(said: &Value, language: Language) -> String {
    let Some(id) = said.get("id").and_then(Value::as_u64) else { return String::new() };
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let (scope, until, author, reason) = (text("scope"), text("until"), text("author"), text("reason"));
    match language {
        Language::English => format!("{id}, for {scope}, until {until}, by {author}: {reason}"),
        Language::Vietnamese => {
            format!("{id}, cho {}, đến {until}, do {author}: {reason}", text("scope_vi"))
        }
    }
}

fn order_text(told: &Value, language: Language) -> String {
    let Some(order) = told.get("order") else { return String::new() };
    let text = |key: &str| order.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = match text("reference") {
        "" => language.pick("one that is not published", "không công bố").to_owned(),
        reference => format!("{reference} ({})", text("authority")),
    };
    let until = match text("until") {
        "" => language.pick("no end is stated", "chưa có thời hạn").to_owned(),
        until => format!("{} {until}", language.pick("until", "đến")),
    };
    format!("{name}; {}; {until}", language.pick(text("state"), text("state_vi")))
}

/// The `[client.*]` that matched.
fn configured_text(configured: &Value, language: Language) -> String {
    let text = |key: &str| configured.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() {
        return String::new();
    }
    let by = match text("by") {
        "identity" => language.pick("by its identity", "theo danh tính").to_owned(),
        "prefix" => format!("{} {}", language.pick("by the network", "theo mạng"), text("prefix")),
        "listener" => language.pick("by the address it asks", "theo địa chỉ được hỏi").to_owned(),
        _ => language.pick("by its name", "theo tên").to_owned(),
    };
    let place = match (text("file"), configured.get("line").and_then(Value::as_u64)) {
        (file, Some(line)) if !file.is_empty() => format!(" ({file}:{line})"),
        _ => String::new(),
    };
    format!("[client.{}], {by}{place}", text("name"))
}

fn profile_text(profile: &str, from: &str, language: Language) -> String {
    let why = match from {
        "asked" => language.pick("as asked for", "theo yêu cầu"),
        "subscriber" => language.pick("chosen for the subscriber", "đã chọn cho thuê bao"),
        "identity" => language.pick("of the [client.*] with this identity", "của [client.*] có danh tính này"),
        "prefix" => language.pick("of the [client.*] with the longest prefix", "của [client.*] có tiền tố dài nhất"),
        "listener" => language.pick("of the [client.*] at this listener", "của [client.*] hỏi tại địa chỉ này"),
        "name" => language.pick("of this [client.*]", "của [client.*] này"),
        "default" => language
            .pick("no [client.*] and no subscriber: the default", "không thuộc [client.*] hay thuê bao nào: mặc định"),
        _ => return profile.to_owned(),
    };
    format!("{profile} ({why})")
}

fn windows_text(windows: &Value, language: Language) -> String {
    let told = items(windows).map(|window| {
        let name = window["window"].as_str().unwrap_or_default();
        let until = window["until"].as_str();
        match (window["open"].as_bool() == Some(true), until) {
            (true, Some(until)) => format!("{name}: {} {until}", language.pick("open until", "đang mở đến")),
            (true, None) => format!("{name}: {}", language.pick("open", "đang mở")),
            (false, Some(until)) => format!("{name}: {} {until}", language.pick("closed, opens", "đang đóng, mở lúc")),
            (false, None) => format!("{name}: {}", language.pick("closed", "đang đóng")),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

fn cache_text(cache: &Value, offline: bool, language: Language) -> String {
    let age = cache["age_secs"].as_u64().unwrap_or_default();
    match (cache["has"].as_str(), language) {
        (Some("fresh"), Language::English) => format!("yes, {age} s old"),
        (Some("fresh"), Language::Vietnamese) => format!("có, từ {age} giây trước"),
        (Some("stale"), Language::English) => format!("stale, {age} s old"),
        (Some("stale"), Language::Vietnamese) => format!("có nhưng đã quá hạn, từ {age} giây trước"),
        (Some(_), _) => language.pick("no", "không").to_owned(),
        (None, _) if offline => language.pick("offline: not known", "ngoại tuyến: không biết").to_owned(),
        (None, _) => String::new(),
    }
}

fn feeds_text(feeds: &Value, language: Language) -> String {
    let told = items(feeds).map(|feed| {
        let name = feed["feed"].as_str().unwrap_or_default();
        match feed["last"].as_str() {
            Some(last) => format!("{name}: {} {last}", language.pick("last at", "lần cuối lúc")),
            None => format!("{name}: {}", language.pick("nothing since the start", "chưa báo gì từ lúc khởi động")),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Who the client is to us: session and token, and what became of its profile.
fn subscriber_text(told: &Value, offline: bool, language: Language) -> String {
    let Some(subscriber) = told.get("subscriber") else { return String::new() };
    let text = |key: &str| subscriber.get(key).and_then(|v| v.as_str()).unwrap_or_default();
    // Whoever is in no table, or not with a profile, has what [client.*] says, if one does.
    let has_client = told.get("configured").is_some();
    let so = match has_client {
        true => language.pick("its [client.*] decides", "theo [client.*] của máy"),
        false => language.pick("the default profile", "hồ sơ mặc định"),
    };
    let standing = match text("standing") {
        "known" => language.pick("known", "đã biết").to_owned(),
        "no-choice" => format!("{}: {so}", language.pick("known, nothing chosen", "đã biết, chưa chọn gì")),
        "unknown-profile" => {
            format!("{}: {so}", language.pick("its profile is not configured", "hồ sơ của thuê bao chưa được cấu hình"))
        }
        "lapsed" => format!(
            "{}: {so}",
            language.pick("not confirmed in time, or over", "không được xác nhận kịp thời hoặc đã hết hạn")
        ),
        "not-read" if offline => language
            .pick(
                "not looked at: the running resolver has the table (without --offline it is asked)",
                "chưa xét: chương trình đang chạy giữ bảng thuê bao (bỏ --offline để hỏi)",
            )
            .to_owned(),
        _ => format!("{}: {so}", language.pick("nobody told of this address", "chưa ai báo về địa chỉ này")),
    };
    let mut parts = vec![standing];
    if subscriber.get("session").and_then(Value::as_bool) == Some(true) {
        parts.push(language.pick("a session of the network", "phiên của mạng").to_owned());
    }
    for (lead_en, lead_vi, value) in [
        ("token", "mã", text("token")),
        ("profile in the table", "hồ sơ trong bảng", text("profile")),
        ("until", "đến", text("until_at")),
    ] {
        if !value.is_empty() {
            parts.push(format!("{} {value}", language.pick(lead_en, lead_vi)));
        }
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_its_host() {
        for (text, host) in [
            ("example.com", "example.com"),
            ("https://example.com/a?b#c", "example.com"),
            ("http://user@example.com:8080", "example.com"),
            ("http://user:word@example.com:8080/p", "example.com"),
            ("example.com/path", "example.com"),
            ("example.com?q", "example.com"),
            ("example.com:443", "example.com"),
            ("//example.com/x", "example.com"),
            (" example.com ", "example.com"),
            ("192.0.2.1:53", "192.0.2.1"),
            ("https://192.0.2.1/x", "192.0.2.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("https://[2001:db8::1]:8443/x", "2001:db8::1"),
            ("mailto:me@example.com", "example.com"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(host_of(text), host, "{text}");
        }
    }

    #[test]
    fn an_address_is_known_from_a_name() {
        for (host, is_address) in
            [("192.0.2.1", true), ("::1", true), ("fe80::1%eth0", true), ("example.com", false), ("192.0.2", false)]
        {
            assert_eq!(address_of(host).is_some(), is_address, "{host}");
        }
    }
}
