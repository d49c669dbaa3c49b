//! `check`: every mistake of a configuration and its lists, at once, with file and line.

use std::path::Path;

use crate::cli::language::Language;
use crate::cli::{NO, YES};
use crate::daemon::reload::{Loader, rule_count};

pub fn run(config: Option<&Path>) -> u8 {
    let language = Language::of_user();
    let mut loader = Loader::new(config.map(Path::to_owned)).reading_state();
    let shown = config.map_or("the built-in configuration".to_owned(), |path| path.display().to_string());
    match loader.load(None, None, |_, _| {}) {
        Ok(loaded) => {
            for hint in &loaded.notes.hints {
                println!("hint: {hint}");
            }
            let snapshot = &loaded.generation.snapshot;
            for list in &snapshot.lists {
                let Some(configured) = &list.configured else { continue };
                let skipped: u32 = configured.report.skipped.iter().map(|(_, count)| count).sum();
                if skipped > 0 {
                    println!("hint: list `{}`: {skipped} of {} lines made no rule", list.name, configured.report.lines);
                    for line in configured.report.shown.iter().take(3) {
                        println!("      line {}: {}: {}", line.line, line.reason, line.text);
                    }
                }
            }
            for (list, warning) in &loaded.notes.warnings {
                println!("hint: list `{list}`: {warning}");
            }
            for list in &loaded.settings.list_urls {
                println!(
                    "hint: list `{}` ({}) is fetched when the resolver runs; it is not looked at here",
                    list.list, list.url
                );
            }
            let is_fetched = |name: &str| loaded.settings.list_urls.iter().any(|list| list.list == name);
            for problem in loaded.notes.problems.iter().filter(|problem| !is_fetched(&problem.list)) {
                println!("hint: {}", problem.message);
            }
            let rules = rule_count(snapshot);
            println!("{shown}: {}", language.pick(&format!("good ({rules} rules)"), &format!("hợp lệ ({rules} luật)")));
            YES
        }
        Err(errors) => {
            for error in &errors {
                println!("{error}");
            }
            let count = errors.len();
            let english = if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
            println!("{shown}: {}", language.pick(&english, &format!("{count} lỗi")));
            NO
        }
    }
}
