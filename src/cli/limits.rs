//! `limits top`: who is over the rate limits, or would be.

use std::path::Path;

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::lists::span;
use crate::cli::out::{print, say};
use crate::cli::{LimitsTopArgs, NO, YES};
use crate::daemon::admin::Limits;
use crate::daemon::clock;

pub fn top(config: Option<&Path>, args: &LimitsTopArgs) -> Result<u8, Trouble> {
    let count = args.count.to_string();
    let address = client::admin_address(args.admin.admin, config)?;
    let limits: Limits = client::get_json(address, "/api/v1/limits", &[("count", &count)])?;
    print(&limits, args.json, in_words);
    Ok(if limits.mode == "off" { NO } else { YES })
}

fn in_words(limits: &Limits) {
    let language = Language::of_user();
    let (Some(misses), Some(amplified)) = (limits.misses_per_second, limits.amplified_per_second) else {
        let off = language.pick(
            "No rate limit is configured. `[rate_limit]` with `mode = \"dry-run\"` counts without limiting anybody.",
            "Chưa cấu hình giới hạn tốc độ. `[rate_limit]` với `mode = \"dry-run\"` chỉ đếm, không giới hạn ai.",
        );
        return say!("{off}");
    };
    let felt = match limits.mode.as_str() {
        "enforce" => language.pick(
            "Those over the limit are told to come again over TCP.",
            "Ai vượt giới hạn được yêu cầu hỏi lại qua TCP.",
        ),
        _ => language.pick(
            "A dry run: this is who would be limited. Everybody is answered.",
            "Chạy thử: đây là những ai sẽ bị giới hạn. Mọi câu hỏi vẫn được trả lời.",
        ),
    };
    say!("mode {}: {misses} misses and {amplified} amplified octets a second for each line. {felt}", limits.mode);
    if limits.top.is_empty() {
        return say!("{}", language.pick("Nobody has been over a limit.", "Chưa có ai vượt giới hạn."));
    }
    say!("{:<30} {:>10} {:>10} {:>12} {:>10} {:>10}", "prefix", "misses", "answers", "octets", "first", "last");
    let now = clock::unix_secs();
    let ago = |unix: u64| format!("{} ago", span(now.saturating_sub(unix)));
    for one in &limits.top {
        let (first, last) = (ago(one.first), ago(one.last));
        say!("{:<30} {:>10} {:>10} {:>12} {first:>10} {last:>10}", one.prefix, one.misses, one.answers, one.octets);
    }
}
