//! `lists status`: what each list holds, what was skipped, what is wrong.

use std::path::Path;

use crate::cli::client;
use crate::cli::language::{Language, count_of};
use crate::cli::out::{complain, say};
use crate::cli::{ListsStatusArgs, NO, YES};
use crate::daemon::admin::{ListStatus, Status};

pub fn status(config: Option<&Path>, args: &ListsStatusArgs) -> u8 {
    let asked = client::admin_address(args.admin.admin, config)
        .and_then(|address| client::get_json::<Status>(address, "/api/v1/status", &[]));
    let status = match asked {
        Ok(status) => status,
        Err(trouble) => {
            complain!("lachan: {trouble}");
            return trouble.code();
        }
    };
    if args.json {
        match serde_json::to_string_pretty(&status.lists) {
            Ok(json) => say!("{json}"),
            Err(why) => complain!("lachan: {why}"),
        }
    } else {
        print_status(&status);
    }
    let good = status.lists.iter().all(|l| l.error.is_none()) && status.last_reload.result != "failed";
    if good { YES } else { NO }
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
        Language::English => ["list", "category", "rules", "skipped", "format", "source"],
        Language::Vietnamese => ["danh sách", "loại", "luật", "bỏ qua", "dạng", "nguồn"],
    };
    let [list, category, rules, skipped, format, source] = titles;
    say!("{list:<24} {category:<14} {rules:>10} {skipped:>9}  {format:<8} {source}");
    for list in &status.lists {
        let skipped: u32 = list.skipped.values().sum();
        let format = list.format.as_deref().unwrap_or("-");
        say!(
            "{:<24} {:<14} {:>10} {:>9}  {:<8} {}",
            list.name,
            list.category,
            list.rules,
            skipped,
            format,
            list.source
        );
        print_skipped(list, language);
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
