//! `lists status`: what each list holds, how old it is, what is wrong. `lists update`: fetch now.

use std::path::Path;
use std::time::Duration;

use crate::cli::client::{self, Trouble};
use crate::cli::language::{Language, count_of};
use crate::cli::out::{print, say};
use crate::cli::review::reason_text;
use crate::cli::{AskArgs, ListsUpdateArgs, NO, YES, person};
use crate::daemon::admin::{ListStatus, Status};
use crate::daemon::clock;
use crate::daemon::sources::outcome::Updated;
use crate::engine::limits::LIST_FETCH;

/// The longest fetch, a turn after another one, and a reload. Chosen.
const UPDATE_TIMER: Duration = LIST_FETCH.saturating_mul(3);

pub fn update(config: Option<&Path>, args: &ListsUpdateArgs) -> Result<u8, Trouble> {
    let by = person::by(args.who.by.as_deref());
    let name = args.name.iter().map(|name| ("name", name.as_str()));
    let query: Vec<(&str, &str)> = name.chain([("by", by.as_str())]).collect();
    let address = client::admin_address(args.who.admin.admin, config)?;
    let updated: Vec<Updated> = client::post_json(address, "/api/v1/lists/update", &query, UPDATE_TIMER)?;
    print(&updated, args.who.json, |updated| {
        if updated.is_empty() {
            say!("no list has a `url`; files are taken up when they change");
        }
        for list in updated {
            let rules = list.rules.map_or(String::new(), |rules| format!(": {rules} rules"));
            let error = list.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
            say!("{:<24} {}{rules}{error}", list.list, list.result);
        }
    });
    Ok(if updated.iter().all(|list| list.error.is_none()) { YES } else { NO })
}

pub fn status(config: Option<&Path>, args: &AskArgs) -> Result<u8, Trouble> {
    let address = client::admin_address(args.admin.admin, config)?;
    let status: Status = client::get_json(address, "/api/v1/status", &[])?;
    print(&status.lists, args.json, |_| print_status(&status));
    let good = status.lists.iter().all(|l| l.error.is_none()) && status.last_reload.result != "failed";
    Ok(if good { YES } else { NO })
}

fn print_status(status: &Status) {
    let language = Language::of_user();
    let (generation, reload) = (status.generation, &status.last_reload);
    let english =
        format!("generation {generation}, {}, last reload: {}", count_of(status.rules, "rule"), reload.result);
    let vietnamese = format!("thế hệ {generation}, {} luật, lần nạp gần nhất: {}", status.rules, reload.result);
    say!("{}", language.pick(&english, &vietnamese));
    let error = language.pick("error", "lỗi");
    for why in &reload.errors {
        say!("  {error}: {why}");
    }
    let titles = match language {
        Language::English => ["list", "category", "rules", "skipped", "format", "age", "source"],
        Language::Vietnamese => ["danh sách", "loại", "luật", "bỏ qua", "dạng", "tuổi", "nguồn"],
    };
    let [list, category, rules, skipped, format, age, source] = titles;
    let now = clock::unix_secs();
    say!("{list:<24} {category:<14} {rules:>10} {skipped:>9}  {format:<8} {age:>5}  {source}");
    for list in &status.lists {
        let skipped: u32 = list.skipped.values().sum();
        let format = list.format.as_deref().unwrap_or("-");
        say!(
            "{:<24} {:<14} {:>10} {:>9}  {:<8} {:>5}  {}",
            list.name,
            list.category,
            list.rules,
            skipped,
            format,
            list.last_success.map_or("never".to_owned(), |at| span(now.saturating_sub(at))),
            list.source
        );
        if let Some(at) = list.next_fetch {
            let failures = match list.failures {
                0 => String::new(),
                1 => " (the last try failed)".to_owned(),
                count => format!(" (the last {count} tries failed)"),
            };
            match at > now {
                true => say!("    next fetch in {}{failures}", span(at - now)),
                false => say!("    being fetched{failures}"),
            }
        }
        print_decided(list, now);
        print_skipped(list, language);
    }
}

/// Seconds in short: `45s`, `12m`, `7h`, `3d`.
pub fn span(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs}s"),
        120..7_200 => format!("{}m", secs / 60),
        7_200..172_800 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// What waits, and what was decided by hand.
fn print_decided(list: &ListStatus, now: u64) {
    let language = Language::of_user();
    if let Some(held) = &list.held {
        let (rules, age, name) = (held.rules, span(now.saturating_sub(held.since)), &list.name);
        match language {
            Language::English => say!("    held since {age}: {rules} rules wait; lachan lists diff {name}"),
            Language::Vietnamese => say!("    chờ duyệt từ {age} trước: {rules} luật; lachan lists diff {name}"),
        }
        held.reasons.iter().for_each(|reason| say!("      {}", reason_text(language, reason)));
    }
    if let Some(since) = list.disabled_since {
        let age = span(now.saturating_sub(since));
        match language {
            Language::English => say!("    disabled since {age}: it blocks nothing"),
            Language::Vietnamese => say!("    đã tắt từ {age} trước: không chặn gì"),
        }
    }
    if list.pinned {
        let pinned = language.pick("pinned by `lists rollback`", "giữ bản cũ do `lists rollback`");
        say!("    {pinned}");
    }
    if !list.left_out.is_empty() {
        let (names, name) = (list.left_out.join(", "), &list.name);
        match language {
            Language::English => say!("    left out: {names}; lachan lists review, lachan lists approve {name}"),
            Language::Vietnamese => say!("    đã bỏ ra: {names}; lachan lists review, lachan lists approve {name}"),
        }
    }
    for warning in &list.warnings {
        say!("    {}: {warning}", language.pick("warning", "cảnh báo"));
    }
}

fn print_skipped(list: &ListStatus, language: Language) {
    if let Some(error) = &list.error {
        say!("    {}: {error}", language.pick("error", "lỗi"));
    }
    if list.skipped.is_empty() {
        return;
    }
    let reasons: Vec<String> = list.skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    say!("    {}: {}", language.pick("skipped", "bỏ qua"), reasons.join(", "));
    for line in list.skipped_shown.iter().take(3) {
        say!("      {} {line}", language.pick("line", "dòng"));
    }
}
