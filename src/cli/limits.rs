//! `limits top`: who is over the rate limits, or would be.

use std::path::Path;

use clap::{Args, Subcommand};

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::lists::span;
use crate::cli::out::{print, say};
use crate::cli::{AdminArgs, NO, YES};
use crate::daemon::admin::Limits;
use crate::daemon::clock;
use crate::daemon::limiter::Limited;

#[derive(Debug, Subcommand)]
pub enum LimitsCommand {
    /// Show who is over a limit most often; in a dry run, who would be; exit 1 when no limit is configured
    #[command(
        after_help = "A prefix is an address (IPv6: a /64), or the /24 (/56) around it. Misses are questions that upstream had \
                      to be asked for; octets are those of answers beyond 1.5 times their questions. What is told is in \
                      memory only. Set limits in [rate_limit], and `lines` of a [client.*] with many subscribers behind \
                      one address."
    )]
    Top(LimitsTopArgs),
}

#[derive(Debug, Args)]
pub struct LimitsTopArgs {
    /// So many prefixes
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn top(config: Option<&Path>, args: &LimitsTopArgs) -> Result<u8, Trouble> {
    let count = args.count.to_string();
    let address = client::admin_address(args.admin.admin, config)?;
    let limits: Limits = client::get_json(address, "/api/v1/limits", &[("count", &count)])?;
    print(&limits, args.json, |limits| {
        in_words(Language::of_user(), limits, clock::unix_secs()).iter().for_each(|line| say!("{line}"));
    });
    Ok(if limits.mode == "off" { NO } else { YES })
}

fn in_words(language: Language, limits: &Limits, now: u64) -> Vec<String> {
    let (Some(misses), Some(amplified)) = (limits.misses_per_second, limits.amplified_per_second) else {
        let off = language.pick(
            "No rate limit is configured. `[rate_limit]` with `mode = \"dry-run\"` counts without limiting anybody.",
            "Chưa cấu hình giới hạn tốc độ. `[rate_limit]` với `mode = \"dry-run\"` chỉ đếm, không giới hạn ai.",
        );
        return vec![off.to_owned()];
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
    let mode = &limits.mode;
    let budget = match language {
        Language::English => {
            format!("mode {mode}: {misses} misses and {amplified} amplified octets a second for each line.")
        }
        Language::Vietnamese => {
            format!("chế độ {mode}: mỗi đường dây được {misses} lượt trượt và {amplified} byte khuếch đại mỗi giây.")
        }
    };
    let mut lines = vec![format!("{budget} {felt}")];
    if limits.top.is_empty() {
        lines.push(language.pick("Nobody has been over a limit.", "Chưa có ai vượt giới hạn.").to_owned());
        return lines;
    }
    let [prefix, misses, answers, octets, first, last] = match language {
        Language::English => ["prefix", "misses", "answers", "octets", "first", "last"],
        Language::Vietnamese => ["tiền tố", "lượt trượt", "trả lời", "byte", "lần đầu", "lần cuối"],
    };
    lines.push(format!("{prefix:<30} {misses:>10} {answers:>10} {octets:>12} {first:>10} {last:>10}"));
    let ago = |unix: u64| format!("{} {}", span(now.saturating_sub(unix)), language.pick("ago", "trước"));
    lines.extend(limits.top.iter().map(|Limited { prefix, misses, answers, octets, first, last }| {
        let (first, last) = (ago(*first), ago(*last));
        format!("{prefix:<30} {misses:>10} {answers:>10} {octets:>12} {first:>10} {last:>10}")
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_over_a_limit_is_told_in_both_languages() {
        let (first, last) = (1_800_000_000, 1_800_000_600);
        let one = Limited { prefix: "198.51.100.7/32".into(), misses: 40, answers: 2, octets: 900, first, last };
        let limits = Limits {
            mode: "dry-run".into(),
            misses_per_second: Some(50),
            amplified_per_second: Some(16_384),
            top: vec![one],
        };
        for (language, expected) in [
            (
                Language::English,
                [
                    "mode dry-run: 50 misses and 16384 amplified octets a second for each line. A dry run: this is who would be \
                     limited. Everybody is answered.",
                    "prefix                             misses    answers       octets      first       last",
                    "198.51.100.7/32                        40          2          900    12m ago     2m ago",
                ],
            ),
            (
                Language::Vietnamese,
                [
                    "chế độ dry-run: mỗi đường dây được 50 lượt trượt và 16384 byte khuếch đại mỗi giây. Chạy thử: đây là những ai \
                     sẽ bị giới hạn. Mọi câu hỏi vẫn được trả lời.",
                    "tiền tố                        lượt trượt    trả lời         byte    lần đầu   lần cuối",
                    "198.51.100.7/32                        40          2          900  12m trước   2m trước",
                ],
            ),
        ] {
            assert_eq!(in_words(language, &limits, last + 120), expected);
        }
    }
}
