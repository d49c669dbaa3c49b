//! `lists review|diff|approve|rollback|disable|enable`: what waits, and what a person does about it.

use std::path::Path;
use std::time::Duration;

use crate::cli::client;
use crate::cli::language::Language;
use crate::cli::lists::{complain, print_json, span};
use crate::cli::out::say;
use crate::cli::{DecisionArgs, ListArgs, ListsStatusArgs, NO, YES, person};
use crate::daemon::clock;
use crate::daemon::decide::{Decided, Waiting};
use crate::daemon::sources::Diff;
use crate::engine::gate::{HoldReason, Share};

/// A compile of ten million rules, and a reload that is under way before it. Chosen.
const DECISION_TIMER: Duration = Duration::from_secs(300);

/// Shows everything that waits. Nothing waits: yes.
pub fn review(config: Option<&Path>, args: &ListsStatusArgs) -> u8 {
    let asked = client::admin_address(args.admin.admin, config)
        .and_then(|address| client::get_json::<Vec<Waiting>>(address, "/api/v1/lists/review", &[]));
    let waiting = match asked {
        Ok(waiting) => waiting,
        Err(trouble) => return complain(&trouble),
    };
    let language = Language::of_user();
    let is_held = |list: &&Waiting| !list.reasons.is_empty();
    let nothing_waits = waiting.iter().find(is_held).is_none();
    if args.json {
        print_json(&waiting);
    } else if nothing_waits {
        say!("{}", language.pick("nothing waits", "không có gì chờ duyệt"));
    }
    for list in waiting.iter().filter(is_held).filter(|_| !args.json) {
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
    for list in waiting.iter().filter(|list| !list.left_out.is_empty() && !args.json) {
        print_left_out(language, list);
    }
    if nothing_waits { YES } else { NO }
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

pub fn diff(config: Option<&Path>, args: &ListArgs) -> u8 {
    let query = [("name", args.name.as_str())];
    let asked = client::admin_address(args.admin.admin, config)
        .and_then(|address| client::get_json_within::<Diff>(address, "/api/v1/lists/diff", &query, DECISION_TIMER));
    match asked {
        Ok(diff) if args.json => print_json(&diff),
        Ok(diff) => print_diff(Language::of_user(), &diff),
        Err(trouble) => return complain(&trouble),
    }
    YES
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

pub fn approve(config: Option<&Path>, args: &DecisionArgs) -> u8 {
    decide(config, args, "approve", ("is in force", "đã có hiệu lực"))
}

pub fn roll_back(config: Option<&Path>, args: &DecisionArgs) -> u8 {
    let said = (
        "is at the version before, and stays there until `lists update` or `lists approve`",
        "đã trở về bản trước, và giữ bản đó đến khi chạy `lists update` hoặc `lists approve`",
    );
    decide(config, args, "rollback", said)
}

pub fn disable(config: Option<&Path>, args: &DecisionArgs) -> u8 {
    decide(
        config,
        args,
        "disable",
        ("blocks nothing until `lists enable`", "không chặn gì nữa đến khi chạy `lists enable`"),
    )
}

pub fn enable(config: Option<&Path>, args: &DecisionArgs) -> u8 {
    decide(config, args, "enable", ("blocks again", "chặn trở lại"))
}

fn decide(config: Option<&Path>, args: &DecisionArgs, what: &str, (english, vietnamese): (&str, &str)) -> u8 {
    let path = format!("/api/v1/lists/{what}");
    let by = person::by(args.by.as_deref());
    let query = [("name", args.list.name.as_str()), ("by", by.as_str())];
    let args = &args.list;
    let asked = client::admin_address(args.admin.admin, config)
        .and_then(|address| client::post_shared::<Decided>(address, &path, &query, DECISION_TIMER));
    let done = match asked {
        Ok(done) => done,
        Err(trouble) => return complain(&trouble),
    };
    if args.json {
        print_json(&done);
    } else {
        let Decided { list, rules, generation, .. } = &done.told;
        let language = Language::of_user();
        let rules_word = language.pick("rules", "luật");
        let generation_word = language.pick("generation", "thế hệ");
        say!("{list} {}: {rules} {rules_word}, {generation_word} {generation}", language.pick(english, vietnamese));
    }
    done.say_reach(args.json)
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
        (Language::Vietnamese, HoldReason::Emptied { before }) => {
            format!("không còn luật nào, trước đó có {before}")
        }
        (Language::Vietnamese, HoldReason::Pinned) => {
            "danh sách đang giữ ở bản có hiệu lực do `lists rollback`".to_owned()
        }
    }
}
