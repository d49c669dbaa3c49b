//! `lists`: its commands, of which two are here. `lists status`: what each list holds, how old it is, what is wrong. `lists update`: fetch
//! now.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::client::{self, Trouble};
use crate::cli::compile::ListsCompileArgs;
use crate::cli::language::{Language, count_of, error_text};
use crate::cli::out::{print, say};
use crate::cli::review::{DecisionArgs, ListArgs, reason_text};
use crate::cli::{AskArgs, NO, WhoSays, YES, compile, person, review};
use crate::daemon::admin::{ListStatus, Status};
use crate::daemon::clock;
use crate::daemon::sources::outcome::Updated;
use crate::engine::limits::LIST_FETCH;

#[derive(Debug, Subcommand)]
pub enum ListsCommand {
    /// Rules, age, skipped lines and errors of every list of the running resolver
    Status(AskArgs),
    /// Compile every configured list into one file, for `format = "compiled"` here or elsewhere
    Compile(ListsCompileArgs),
    /// Fetch lists by URL now, and say what came
    #[command(
        after_help = "Examples:\n  lachan lists update          every list with a `url`\n  lachan lists update adult    \
                            this one\n\nFiles need no update: a change is taken up by itself."
    )]
    Update(ListsUpdateArgs),
    /// Show new versions that wait, and why; exit 1 when there are some
    #[command(
        after_help = "A new version of a list waits when it hits popular names, would block much of what people ask, or \
                      shrinks or grows too much ([gate] in the configuration). The last good version serves meanwhile."
    )]
    Review(AskArgs),
    /// Show what a version that waits would change, or, when none waits, what the last one changed
    Diff(ListArgs),
    /// Put the version that waits into force
    Approve(DecisionArgs),
    /// Go back to the version before, until `lists update` or `lists approve`
    Rollback(DecisionArgs),
    /// Take a list out at once, until `lists enable`
    Disable(DecisionArgs),
    /// Put a list in again
    Enable(DecisionArgs),
}

#[derive(Debug, Args)]
pub struct ListsUpdateArgs {
    /// The NAME of one [list.NAME] [default: every list with a `url`]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    who: WhoSays,
}

pub fn run(config: Option<&Path>, command: &ListsCommand) -> Result<u8, Trouble> {
    match command {
        ListsCommand::Status(args) => status(config, args),
        ListsCommand::Update(args) => update(config, args),
        ListsCommand::Compile(args) => Ok(compile::run(config, args)),
        ListsCommand::Review(args) => review::review(config, args),
        ListsCommand::Diff(args) => review::diff(config, args),
        ListsCommand::Approve(args) => review::approve(config, args),
        ListsCommand::Rollback(args) => review::roll_back(config, args),
        ListsCommand::Disable(args) => review::disable(config, args),
        ListsCommand::Enable(args) => review::enable(config, args),
    }
}

/// The longest fetch, a turn after another one, and a reload. Chosen.
const UPDATE_TIMER: Duration = LIST_FETCH.saturating_mul(3);

pub fn update(config: Option<&Path>, args: &ListsUpdateArgs) -> Result<u8, Trouble> {
    let by = person::by(args.who.by.as_deref());
    let name = args.name.iter().map(|name| ("name", name.as_str()));
    let query: Vec<(&str, &str)> = name.chain([("by", by.as_str())]).collect();
    let address = client::admin_address(args.who.admin.admin, config)?;
    let updated: Vec<Updated> = client::post_json(address, "/api/v1/lists/update", &query, UPDATE_TIMER)?;
    print(&updated, args.who.json, |updated| print_updated(Language::of_user(), updated));
    Ok(if updated.iter().all(|list| list.error.is_none()) { YES } else { NO })
}

fn print_updated(language: Language, updated: &[Updated]) {
    if updated.is_empty() {
        let none = language.pick(
            "no list has a `url`; files are taken up when they change",
            "không danh sách nào có `url`; tệp được tự động nhận khi thay đổi",
        );
        say!("{none}");
    }
    for list in updated {
        let error = list.error.as_ref().map_or(String::new(), |error| format!(": {}", error_text(error)));
        say!("{}{error}", updated_text(language, list));
    }
}

/// What became of a list, without the error.
fn updated_text(language: Language, Updated { list, result, rules, .. }: &Updated) -> String {
    let rules = rules.map_or(String::new(), |rules| match language {
        Language::English => format!(": {}", count_of(rules, "rule")),
        Language::Vietnamese => format!(": {rules} luật"),
    });
    format!("{list:<24} {}{rules}", result_text(language, result))
}

/// How a fetch ended. A word that a newer resolver may use stays as it is.
fn result_text(language: Language, result: &str) -> &str {
    match (language, result) {
        (Language::English, result) => result,
        (Language::Vietnamese, "new") => "bản mới",
        (Language::Vietnamese, "unchanged") => "không đổi",
        (Language::Vietnamese, "held") => "chờ duyệt",
        (Language::Vietnamese, "refused") => "bị từ chối",
        (Language::Vietnamese, "failed") => "tải thất bại",
        (Language::Vietnamese, other) => other,
    }
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
        say!("  {error}: {}", error_text(why));
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
            list.last_success.map_or(language.pick("never", "chưa").to_owned(), |at| span(now.saturating_sub(at))),
            list.source
        );
        if let Some(at) = list.next_fetch {
            print_next_fetch(language, at.checked_sub(now).filter(|wait| *wait > 0), list.failures);
        }
        print_decided(list, now, language);
        print_skipped(list, language);
    }
}

/// When the list is fetched next, in seconds from now; `None`: it is under way.
fn print_next_fetch(language: Language, wait: Option<u64>, failures: u32) {
    let failures = match (failures, language) {
        (0, _) => String::new(),
        (1, Language::English) => " (the last try failed)".to_owned(),
        (count, Language::English) => format!(" (the last {count} tries failed)"),
        (1, Language::Vietnamese) => " (lần thử gần nhất thất bại)".to_owned(),
        (count, Language::Vietnamese) => format!(" ({count} lần thử gần nhất đều thất bại)"),
    };
    match (wait.map(span), language) {
        (Some(wait), Language::English) => say!("    next fetch in {wait}{failures}"),
        (Some(wait), Language::Vietnamese) => say!("    tải lại sau {wait}{failures}"),
        (None, _) => say!("    {}{failures}", language.pick("being fetched", "đang tải")),
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
fn print_decided(list: &ListStatus, now: u64, language: Language) {
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
        say!("    {}: {}", language.pick("warning", "cảnh báo"), error_text(warning));
    }
}

fn print_skipped(list: &ListStatus, language: Language) {
    if let Some(error) = &list.error {
        say!("    {}: {}", language.pick("error", "lỗi"), error_text(error));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::sources::outcome::Outcome;

    #[test]
    fn every_outcome_of_an_update_is_told_in_both_languages() {
        let why = String::new;
        for (outcome, english, vietnamese) in [
            (Outcome::New { rules: 1, arrival: 0 }, "new: 1 rule", "bản mới: 1 luật"),
            (Outcome::New { rules: 2, arrival: 0 }, "new: 2 rules", "bản mới: 2 luật"),
            (Outcome::Unchanged, "unchanged", "không đổi"),
            (Outcome::Held(why()), "held", "chờ duyệt"),
            (Outcome::Refused(why()), "refused", "bị từ chối"),
            (Outcome::Failed(why()), "failed", "tải thất bại"),
        ] {
            let updated = outcome.told("far".to_owned());
            for (language, told) in [(Language::English, english), (Language::Vietnamese, vietnamese)] {
                assert_eq!(updated_text(language, &updated), format!("{:<24} {told}", "far"));
            }
        }
    }
}
