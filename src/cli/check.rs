//! `check`: every mistake of a configuration and its lists, at once, with file and line.

use std::path::Path;
use std::sync::Arc;

use crate::cli::language::{Language, count_of, error_text};
use crate::cli::out::say;
use crate::cli::{NO, YES};
use crate::config::{self, Config, ListFile};
use crate::daemon::forwarder::{Forwarder, ForwarderOptions};
use crate::daemon::reload::{Loaded, Loader, rule_count};
use crate::daemon::sources;
use crate::engine::upstream::Routes;

pub fn run(config: Option<&Path>) -> u8 {
    let language = Language::of_user();
    let built_in = language.pick("the built-in configuration", "cấu hình có sẵn");
    let shown = config.map_or(built_in.to_owned(), |path| path.display().to_string());
    match examine(config) {
        Ok((loaded, list_files)) => {
            print_hints(&loaded, &list_files, language);
            let rules = rule_count(&loaded.generation.snapshot);
            let english = format!("good ({})", count_of(rules, "rule"));
            say!("{shown}: {}", language.pick(&english, &format!("hợp lệ ({rules} luật)")));
            YES
        }
        Err(errors) => {
            for error in &errors {
                say!("{}", error_text(error));
            }
            let count = errors.len();
            say!("{shown}: {}", language.pick(&count_of(count, "error"), &format!("{count} lỗi")));
            NO
        }
    }
}

/// Loads as a start would. What stops it is told together with what it would have stopped for next.
fn examine(path: Option<&Path>) -> Result<(Loaded, Vec<ListFile>), Vec<String>> {
    let (config, list_files) = match path {
        None => (Ok(config::embedded()), Vec::new()),
        Some(path) => {
            let examined = config::examine(path);
            (examined.config, examined.list_files)
        }
    };
    let config = config.map_err(|errors| {
        let errors = errors.iter().map(ToString::to_string);
        errors.chain(list_errors(&list_files)).collect::<Vec<_>>()
    })?;
    match Loader::new(path.map(Path::to_owned)).reading_state().load(None, None) {
        Ok(loaded) => Ok((loaded, list_files)),
        Err(errors) => {
            // A list without a good version is what loading stops for first, and it does not know where the list is named.
            let mut placed = list_errors(&list_files);
            if placed.is_empty() {
                return Err(errors);
            }
            placed.extend(forwarder_error(&config));
            Err(placed)
        }
    }
}

/// Required lists that cannot be read, each said at its table.
fn list_errors(list_files: &[ListFile]) -> Vec<String> {
    let errors = list_files.iter().filter(|list| list.required).filter_map(|list| {
        let why = sources::check(&list.source, list.options).err()?;
        let source = sources::source_text(&list.source);
        Some(list.say(format!("list `{}` ({source}): {why}", list.list)).to_string())
    });
    errors.collect()
}

/// What is wrong with certificates and upstream servers, beyond what their text shows.
fn forwarder_error(config: &Config) -> Option<String> {
    let settings = &config.settings;
    let options = ForwarderOptions {
        bootstrap: settings.bootstrap.clone(),
        ca_file: settings.tls_roots.clone(),
        own: settings.dns.clone(),
    };
    Forwarder::new(Arc::new(Routes::new(&config.policy.upstreams)), options, None).err()
}

fn print_hints(loaded: &Loaded, list_files: &[ListFile], language: Language) {
    let title = language.pick("hint", "lưu ý");
    for hint in &loaded.notes.hints {
        say!("{title}: {}", error_text(hint));
    }
    // A starter list is compiled in: nobody here can mend it.
    for file in list_files {
        let lists = loaded.generation.snapshot.lists.iter();
        for report in
            lists.filter(|list| list.name == file.list).filter_map(|list| Some(&list.configured.as_ref()?.report))
        {
            let skipped: u32 = report.skipped.iter().map(|(_, count)| count).sum();
            if skipped > 0 {
                let (list, lines) = (&file.list, report.lines);
                let english = format!("list `{list}`: {skipped} of {lines} lines made no rule");
                let vietnamese = format!("danh sách `{list}`: {skipped} trong {lines} dòng không thành luật");
                say!("{title}: {}", file.say(language.pick(&english, &vietnamese).to_owned()));
                for line in report.shown.iter().take(3) {
                    let word = language.pick("line", "dòng");
                    say!("      {word} {}: {}: {}", line.line, line.reason, line.text);
                }
            }
        }
    }
    for (list, warning) in &loaded.notes.warnings {
        let word = language.pick("list", "danh sách");
        say!("{title}: {word} `{list}`: {}", error_text(warning));
    }
    for list in &loaded.settings.list_urls {
        let (list, url) = (&list.list, &list.url);
        let english = format!("list `{list}` ({url}) is fetched when the resolver runs; it is not looked at here");
        let vietnamese = format!("danh sách `{list}` ({url}) được tải về khi chương trình chạy; ở đây không xem được");
        say!("{title}: {}", language.pick(&english, &vietnamese));
    }
    let is_fetched = |name: &str| loaded.settings.list_urls.iter().any(|list| list.list == name);
    for problem in loaded.notes.problems.iter().filter(|problem| !is_fetched(&problem.list)) {
        match list_files.iter().find(|file| file.list == problem.list) {
            Some(file) => say!("{title}: {}", file.say(error_text(&problem.message))),
            None => say!("{title}: {}", error_text(&problem.message)),
        }
    }
}
