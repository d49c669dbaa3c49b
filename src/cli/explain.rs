//! `explain`: one plain sentence first, the facts, and how to change it.

use std::net::IpAddr;
use std::path::Path;

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::out::{complain, say};
use crate::cli::{ExplainArgs, NO, USAGE, YES};
use crate::daemon::admin::{parse_moment, parse_type, type_name};
use crate::daemon::explain::{Who, explain_offline};
use crate::daemon::reload::Loader;
use crate::engine::client::UnixTime;
use crate::engine::name::Name;
use crate::engine::query::{CLASS_IN, Question};

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
            complain!("lachan: {host:?} is no name: {why}");
            return USAGE;
        }
    };
    let Some(qtype) = parse_type(&args.qtype) else {
        complain!("lachan: unknown type {:?}; A, AAAA, HTTPS, MX, TXT … or a number, such as 65", args.qtype);
        return USAGE;
    };
    let type_text = type_name(qtype);
    let at = match args.at.as_deref().map(parse_moment).transpose() {
        Ok(at) => at,
        Err(why) => {
            complain!("lachan: {why}");
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
            complain!("lachan: {why}");
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

fn online(
    config: Option<&Path>,
    qname: &Name,
    type_text: &str,
    args: &ExplainArgs,
) -> Result<serde_json::Value, (u8, String)> {
    let without_it = Language::of_user()
        .pick("(--offline explains without it)", "(--offline: trả lời mà không cần chương trình đang chạy)");
    let cannot = |trouble: Trouble| match &trouble {
        Trouble::NoDaemon(why) => (trouble.code(), format!("{why}\n{without_it}")),
        Trouble::NoAddress(why) | Trouble::Refused(why) => (trouble.code(), why.clone()),
    };
    let address = client::admin_address(args.admin.admin, config).map_err(cannot)?;
    let (name, client) = (qname.to_string(), args.client.map(|c| c.to_string()));
    let mut query = vec![("name", name.as_str()), ("type", type_text)];
    query.extend(client.as_deref().map(|c| ("client", c)));
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
) -> Result<serde_json::Value, (u8, String)> {
    let mut loader = Loader::new(config.map(Path::to_owned)).reading_state();
    let loaded = loader.load(None, None).map_err(|errors| (NO, errors.join("\nlachan: ")))?;
    for problem in &loaded.notes.problems {
        eprintln!("lachan: {}", problem.message);
    }
    let who = Who { client: args.client, profile: args.profile.clone(), at, ..Who::default() };
    let told = explain_offline(&loaded.generation.snapshot, &loaded.notes.list_lines, question, type_text, &who)
        .map_err(|why| (NO, why))?;
    serde_json::to_value(told).map_err(|why| (NO, why.to_string()))
}

fn print_told(told: &serde_json::Value, offline: bool, asks_when: bool) {
    let language = Language::of_user();
    let text = |key: &str| told.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    say!("{}", language.pick(&text("sentence_en"), &text("sentence_vi")));
    say!("");
    let line = told.get("line").and_then(serde_json::Value::as_u64);
    let file = match (text("file"), line) {
        (file, Some(line)) if !file.is_empty() => format!("{file}:{line}"),
        (file, _) => file,
    };
    let ede = told.get("ede").and_then(serde_json::Value::as_u64).map(|code| code.to_string()).unwrap_or_default();
    let window = match (text("window"), text("window_until")) {
        (window, until) if !until.is_empty() => format!("{window}, {} {until}", language.pick("open until", "mở đến")),
        (window, _) => window,
    };
    for (title_en, title_vi, value) in [
        ("verdict", "kết luận", text("verdict")),
        ("rung", "bậc", text("rung")),
        ("category", "loại", text("category")),
        ("list", "danh sách", text("list")),
        ("file", "tệp", file),
        ("rule", "luật", text("rule")),
        ("target", "đích", text("target")),
        ("EDE", "EDE", ede),
        ("type", "kiểu", text("type")),
        ("client", "máy hỏi", text("client")),
        ("profile", "hồ sơ", text("profile")),
        ("mode", "chế độ", text("mode")),
        ("window", "khung giờ", window),
        ("at", "lúc", if asks_when { text("at") } else { String::new() }),
        ("line", "thuê bao", subscriber_text(told, language)),
    ] {
        if !value.is_empty() {
            // Padded by characters: Vietnamese titles have more octets than columns.
            let title = language.pick(title_en, title_vi);
            say!("  {title}{} {value}", " ".repeat(10_usize.saturating_sub(title.chars().count())));
        }
    }
    let steps: Vec<String> = told
        .get("tried")
        .and_then(|t| t.as_array())
        .into_iter()
        .flatten()
        .map(|step| {
            let part = |key: &str| step.get(key).and_then(|v| v.as_str()).unwrap_or_default();
            format!("{}: {}", part("rung"), part("outcome"))
        })
        .collect();
    let title = language.pick("tried", "đã xét");
    say!("  {title}{} {}", " ".repeat(10_usize.saturating_sub(title.chars().count())), steps.join(" → "));
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

/// Who the client is to us: session and token, and what became of its profile.
fn subscriber_text(told: &serde_json::Value, language: Language) -> String {
    let Some(subscriber) = told.get("subscriber") else { return String::new() };
    let text = |key: &str| subscriber.get(key).and_then(|v| v.as_str()).unwrap_or_default();
    let standing = match text("standing") {
        "known" => language.pick("known", "đã biết"),
        "no-choice" => {
            language.pick("known, nothing chosen: the default profile", "đã biết, chưa chọn gì: hồ sơ mặc định")
        }
        "unknown-profile" => language.pick(
            "its profile is not configured: the default one",
            "hồ sơ của thuê bao chưa được cấu hình: dùng hồ sơ mặc định",
        ),
        "lapsed" => language.pick(
            "not confirmed in time, or over: the default profile",
            "không được xác nhận kịp thời hoặc đã hết hạn: hồ sơ mặc định",
        ),
        _ => language
            .pick("nobody told of this address: the default profile", "chưa ai báo về địa chỉ này: hồ sơ mặc định"),
    };
    let mut parts = vec![standing.to_owned()];
    if subscriber.get("session").and_then(serde_json::Value::as_bool) == Some(true) {
        parts.push(language.pick("a session of the network", "phiên của mạng").to_owned());
    }
    for (lead_en, lead_vi, value) in
        [("token", "mã", text("token")), ("profile in the table", "hồ sơ trong bảng", text("profile"))]
    {
        if !value.is_empty() {
            parts.push(format!("{} {value}", language.pick(lead_en, lead_vi)));
        }
    }
    if let Some(until) = subscriber.get("until").and_then(serde_json::Value::as_i64)
        && let Ok(until) = jiff::Timestamp::from_second(until)
    {
        parts.push(format!("{} {until}", language.pick("until", "đến")));
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
