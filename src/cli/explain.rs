//! `explain`: one plain sentence first, the facts, and how to change it.

use std::path::Path;

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::{CANNOT_TELL, ExplainArgs, NO, YES};
use crate::daemon::admin::parse_type;
use crate::daemon::explain::{Who, explain_offline};
use crate::daemon::reload::Loader;
use crate::engine::name::Name;
use crate::engine::query::{CLASS_IN, Question};

pub fn run(config: Option<&Path>, args: &ExplainArgs) -> u8 {
    let host = host_of(&args.name);
    let qname = match Name::from_text(host) {
        Ok(qname) => qname,
        Err(why) => {
            eprintln!("lachan: {host:?} is no name: {why}");
            return 2;
        }
    };
    let Some(qtype) = parse_type(&args.qtype) else {
        eprintln!("lachan: unknown type {:?}; A, AAAA, HTTPS, MX, TXT … or TYPE65", args.qtype);
        return 2;
    };
    let type_text = args.qtype.to_ascii_uppercase();
    let told = if args.offline {
        offline(config, &Question { qname, qtype, qclass: CLASS_IN }, &type_text, args)
    } else {
        online(config, &qname, &type_text, args)
    };
    match told {
        Ok(told) => {
            if args.json {
                println!("{told}");
            } else {
                print_told(&told, args.offline);
            }
            YES
        }
        Err((code, why)) => {
            eprintln!("lachan: {why}");
            code
        }
    }
}

/// `https://example.com:8443/path` → `example.com`; anything else as it is.
fn host_of(text: &str) -> &str {
    let Some((_, rest)) = text.split_once("://") else { return text.split('/').next().unwrap_or(text) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    host.split(':').next().unwrap_or(host)
}

fn online(
    config: Option<&Path>,
    qname: &Name,
    type_text: &str,
    args: &ExplainArgs,
) -> Result<serde_json::Value, (u8, String)> {
    let cannot = |trouble: Trouble| match trouble {
        Trouble::NoDaemon(why) => (CANNOT_TELL, format!("{why}\n(--offline explains without it)")),
        Trouble::Refused(why) => (NO, why),
    };
    let address = client::admin_address(args.admin.admin, config).map_err(cannot)?;
    let (name, client) = (qname.to_string(), args.client.map(|c| c.to_string()));
    let mut query = vec![("name", name.as_str()), ("type", type_text)];
    query.extend(client.as_deref().map(|c| ("client", c)));
    query.extend(args.profile.as_deref().map(|p| ("profile", p)));
    client::get_json(address, "/api/v1/explain", &query).map_err(cannot)
}

fn offline(
    config: Option<&Path>,
    question: &Question,
    type_text: &str,
    args: &ExplainArgs,
) -> Result<serde_json::Value, (u8, String)> {
    let mut loader = Loader::new(config.map(Path::to_owned)).reading_state();
    let loaded = loader.load(None, None, |_, _| {}).map_err(|errors| (NO, errors.join("\nlachan: ")))?;
    for problem in &loaded.notes.problems {
        eprintln!("lachan: {}", problem.message);
    }
    let who = Who { client: args.client, profile: args.profile.clone() };
    let told = explain_offline(&loaded.generation.snapshot, question, type_text, &who).map_err(|why| (NO, why))?;
    serde_json::to_value(told).map_err(|why| (NO, why.to_string()))
}

fn print_told(told: &serde_json::Value, offline: bool) {
    let language = Language::of_user();
    let text = |key: &str| told.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    println!("{}", language.pick(&text("sentence_en"), &text("sentence_vi")));
    println!();
    let line = told.get("line").and_then(serde_json::Value::as_u64);
    let file = match (text("file"), line) {
        (file, Some(line)) if !file.is_empty() => format!("{file}:{line}"),
        (file, _) => file,
    };
    let ede = told.get("ede").and_then(serde_json::Value::as_u64).map(|code| code.to_string()).unwrap_or_default();
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
    ] {
        if !value.is_empty() {
            // Padded by characters: Vietnamese titles have more octets than columns.
            let title = language.pick(title_en, title_vi);
            println!("  {title}{} {value}", " ".repeat(10_usize.saturating_sub(title.chars().count())));
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
    println!("  {title}{} {}", " ".repeat(10_usize.saturating_sub(title.chars().count())), steps.join(" → "));
    if offline {
        let note = language.pick(
            "(offline: the names and addresses of the answer were not looked at)",
            "(ngoại tuyến: chưa xét các tên và địa chỉ trong câu trả lời)",
        );
        println!("  {note}");
    }
    println!();
    let lead = language.pick("to change this:", "muốn thay đổi:");
    println!("{lead} {}", language.pick(&text("change_en"), &text("change_vi")));
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
            ("example.com/path", "example.com"),
        ] {
            assert_eq!(host_of(text), host, "{text}");
        }
    }
}
