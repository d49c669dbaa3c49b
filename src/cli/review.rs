//! `lists review|diff|approve|rollback|disable|enable`: what waits, and what a person does about it.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::lists::span;
use crate::cli::out::{print, say};
use crate::cli::{AdminArgs, AskArgs, NO, YES, person};
use crate::daemon::clock;
use crate::daemon::decide::{Decided, Waiting};
use crate::daemon::sources::Diff;
use crate::engine::gate::{HoldReason, Share};

#[derive(Debug, Args)]
pub struct ListArgs {
    /// The NAME of one [list.NAME]
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct DecisionArgs {
    /// Who says so [default: the user]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// A compile of ten million rules, and a reload that is under way before it. Chosen.
const DECISION_TIMER: Duration = Duration::from_secs(300);

/// Shows everything that waits. Nothing waits: yes.
pub fn review(config: Option<&Path>, args: &AskArgs) -> Result<u8, Trouble> {
    let address = client::admin_address(args.admin.admin, config)?;
    let waiting: Vec<Waiting> = client::get_json(address, "/api/v1/lists/review", &[])?;
    print(&waiting, args.json, |waiting| print_waiting(Language::of_user(), waiting));
    Ok(if waiting.iter().any(is_held) { NO } else { YES })
}

fn is_held(list: &Waiting) -> bool {
    !list.reasons.is_empty()
}

fn print_waiting(language: Language, waiting: &[Waiting]) {
    if !waiting.iter().any(is_held) {
        say!("{}", language.pick("nothing waits", "không có gì chờ duyệt"));
    }
    for list in waiting.iter().filter(|list| is_held(list)) {
        let age = span(clock::unix_secs().saturating_sub(list.since));
        let (name, now, rules) = (&list.list, list.rules_in_force, list.rules);
        match language {
            Language::English => {
                say!("{name}: {rules} rules wait since {age}; {now} are in force ({})", list.source)
            }
            Language::Vietnamese => {
                say!("{name}: {rules} luật chờ duyệt từ {age} trước; {now} luật đang có hiệu lực ({})", list.source);
            }
        }
        list.reasons.iter().for_each(|reason| say!("    {}", reason_text(language, reason)));
        say!("    lachan lists diff {name}; lachan lists approve {name}");
    }
    for list in waiting.iter().filter(|list| !list.left_out.is_empty()) {
        print_left_out(language, list);
    }
}

/// Names that a list goes without; they make nobody wait.
fn print_left_out(language: Language, list: &Waiting) {
    let Waiting { list: name, source, left_out, .. } = list;
    let (count, names) = (left_out.len(), left_out.join(", "));
    match language {
        Language::English => {
            say!("{name}: in force without what it says of names that should not be blocked ({source})")
        }
        Language::Vietnamese => say!("{name}: có hiệu lực, trừ luật về các tên miền không nên chặn ({source})"),
    }
    say!("    {} ({count}): {names}", language.pick("left out", "đã bỏ ra"));
    // With a version that waits, approving is about that one.
    if list.reasons.is_empty() {
        say!("    lachan lists approve {name} {}", language.pick("puts them in", "để đưa vào"));
    }
}

pub fn diff(config: Option<&Path>, args: &ListArgs) -> Result<u8, Trouble> {
    let query = [("name", args.name.as_str())];
    let address = client::admin_address(args.admin.admin, config)?;
    let diff: Diff = client::get_json_within(address, "/api/v1/lists/diff", &query, DECISION_TIMER)?;
    print(&diff, args.json, |diff| print_diff(Language::of_user(), diff));
    Ok(YES)
}

fn print_diff(language: Language, diff: &Diff) {
    let Diff { list, rules_before, rules_now, added, removed, popular, .. } = diff;
    let which = match diff.waits {
        true => language.pick("what waits against what is in force", "bản chờ duyệt so với bản đang có hiệu lực"),
        false => language.pick("what is in force against what was before", "bản đang có hiệu lực so với bản trước"),
    };
    let rules = language.pick("rules", "luật");
    say!("{list}: {which}: {rules_before} → {rules_now} {rules}, +{added} −{removed}");
    diff.reasons.iter().for_each(|reason| say!("    {}", reason_text(language, reason)));
    for (sign, count, shown) in [('+', added, &diff.added_shown), ('-', removed, &diff.removed_shown)] {
        shown.iter().for_each(|rule| say!("  {sign} {rule}"));
        if *count > shown.len() {
            say!("  {sign} … {}", count - shown.len());
        }
    }
    if *popular > 0 {
        let title = language.pick("popular names that it newly hits", "tên miền phổ biến bị chặn thêm");
        let more = if *popular > diff.popular_shown.len() { ", …" } else { "" };
        say!("  {title} ({popular}): {}{more}", diff.popular_shown.join(", "));
    }
}

pub fn approve(config: Option<&Path>, args: &DecisionArgs) -> Result<u8, Trouble> {
    decide(config, args, "approve", ("is in force", "đã có hiệu lực"))
}

pub fn roll_back(config: Option<&Path>, args: &DecisionArgs) -> Result<u8, Trouble> {
    let said = (
        "is at the version before, and stays there until `lists update` or `lists approve`",
        "đã trở về bản trước, và giữ bản đó đến khi chạy `lists update` hoặc `lists approve`",
    );
    decide(config, args, "rollback", said)
}

pub fn disable(config: Option<&Path>, args: &DecisionArgs) -> Result<u8, Trouble> {
    decide(
        config,
        args,
        "disable",
        ("blocks nothing until `lists enable`", "không chặn gì nữa đến khi chạy `lists enable`"),
    )
}

pub fn enable(config: Option<&Path>, args: &DecisionArgs) -> Result<u8, Trouble> {
    decide(config, args, "enable", ("blocks again", "chặn trở lại"))
}

fn decide(
    config: Option<&Path>,
    args: &DecisionArgs,
    what: &str,
    (english, vietnamese): (&str, &str),
) -> Result<u8, Trouble> {
    let path = format!("/api/v1/lists/{what}");
    let by = person::by(args.by.as_deref());
    let query = [("name", args.list.name.as_str()), ("by", by.as_str())];
    let args = &args.list;
    let address = client::admin_address(args.admin.admin, config)?;
    let done = client::post_shared::<Decided>(address, &path, &query, DECISION_TIMER)?;
    Ok(done.print(args.json, |Decided { list, rules, generation, .. }| {
        let language = Language::of_user();
        let rules_word = language.pick("rules", "luật");
        let generation_word = language.pick("generation", "thế hệ");
        say!("{list} {}: {rules} {rules_word}, {generation_word} {generation}", language.pick(english, vietnamese));
    }))
}

/// Why a version waits, in the user's language.
pub fn reason_text(language: Language, reason: &HoldReason) -> String {
    let change = |before: usize, now: usize| Share::of(before.abs_diff(now) as u64, before as u64);
    let listed = |count: u32, names: &[String]| {
        let more = if count as usize > names.len() { ", …" } else { "" };
        format!("{}{more}", names.join(", "))
    };
    match (language, reason) {
        (Language::English, reason) => reason.to_string(),
        (Language::Vietnamese, HoldReason::MustNotBlock { count, max, names }) => {
            format!("chặn {count} tên miền không nên chặn (tối đa {max}): {}", listed(*count, names))
        }
        (Language::Vietnamese, HoldReason::Popular { count, max, names }) => {
            format!("chặn {count} tên miền phổ biến (tối đa {max}): {}", listed(*count, names))
        }
        (Language::Vietnamese, HoldReason::Questions { share, max }) => {
            format!("sẽ chặn {share} số truy vấn được trả lời từ hôm qua (tối đa {max})")
        }
        (Language::Vietnamese, HoldReason::Shrinks { before, now, max }) => {
            format!("giảm từ {before} xuống {now} luật, tức {} (tối đa {max})", change(*before, *now))
        }
        (Language::Vietnamese, HoldReason::Grows { before, now, max }) => {
            format!("tăng từ {before} lên {now} luật, tức {} (tối đa {max})", change(*before, *now))
        }
        (Language::Vietnamese, HoldReason::Emptied { before: 0 }) => "không có luật nào".to_owned(),
        (Language::Vietnamese, HoldReason::Emptied { before }) => {
            format!("không còn luật nào, trước đó có {before}")
        }
        (Language::Vietnamese, HoldReason::Pinned) => {
            "danh sách đang giữ ở bản có hiệu lực do `lists rollback`".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::vietnamese;

    /// A warning of the running resolver comes as text, and is known by its form.
    #[test]
    fn a_reason_that_comes_as_text_is_told_as_one_that_comes_with_its_parts() {
        let names = || vec!["a.example".to_owned(), "b.example".to_owned()];
        let share = || Share::of(1, 8);
        let reasons = [
            HoldReason::MustNotBlock { count: 1, max: 0, names: vec!["a.example".to_owned()] },
            HoldReason::MustNotBlock { count: 7, max: 3, names: names() },
            HoldReason::Popular { count: 1, max: 0, names: vec!["a.example".to_owned()] },
            HoldReason::Popular { count: 2, max: 1, names: names() },
            HoldReason::Questions { share: share(), max: share() },
            HoldReason::Shrinks { before: 100, now: 10, max: share() },
            HoldReason::Grows { before: 10, now: 100, max: share() },
            HoldReason::Emptied { before: 10 },
            HoldReason::Emptied { before: 0 },
            HoldReason::Pinned,
        ];
        for reason in reasons {
            let english = reason.to_string();
            let told = vietnamese::told(&english);
            assert_ne!(told, english);
            assert_eq!(told, reason_text(Language::Vietnamese, &reason), "{english}");
        }
    }
}
