//! House rules as a test: the arrows and the purity of the layout, and what every file owes its reader.
//!
//! It reads source text, not syntax: comments and tests are cut away first, and what is left is searched for words.

use std::path::{Path, PathBuf};

/// One source file of `src/`.
struct Source {
    /// From the project's root, such as `src/engine/name.rs`.
    path: String,
    text: String,
    /// Without comments, strings and tests.
    code: String,
    /// Under `#[cfg(test)]` as a whole.
    is_test: bool,
}

impl Source {
    /// `engine`, `config`, `daemon`, `cli`, or the file's own name at the top.
    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").expect("sources are below src/");
        inside.split(['/', '.']).next().expect("a path has a first part")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files_below(&path, extension) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

fn sources() -> Vec<Source> {
    let sources: Vec<Source> = files_below(&root().join("src"), "rs")
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let shown = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let is_test =
                shown.ends_with("/tests.rs") || shown.ends_with("/test_support.rs") || shown.contains("/tests/");
            Source { path: shown, code: without_tests(&without_words(&text)), text, is_test }
        })
        .collect();
    assert!(sources.len() > 40, "{} sources", sources.len());
    sources
}

/// The text with comments, strings and characters blanked out, line for line.
fn without_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |at| at + 5)
        } else if first == '"' {
            string_end(rest)
        } else if let Some(len) = character_len(rest) {
            len
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.extend(rest[..len].chars().filter(|c| *c == '\n'));
        rest = &rest[len..];
    }
    out
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal; a lifetime is none.
fn character_len(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let body = if let Some(escape) = inside.strip_prefix('\\') {
        1 + escape.char_indices().skip(1).find(|(_, c)| *c == '\'')?.0
    } else {
        inside.chars().next()?.len_utf8()
    };
    inside[body..].starts_with('\'').then_some(body + 2)
}

/// Blanks every item under `#[cfg(test)]`: to the end of its braces, or to its semicolon.
fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_end(item);
        out.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    out.push_str(rest);
    out
}

fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// Lines of `code` that hold one of `words`, as `path:line: word`.
fn found(source: &Source, words: &[&str]) -> Vec<String> {
    source
        .code
        .lines()
        .enumerate()
        .flat_map(|(at, line)| {
            words.iter().filter(|word| has_word(line, word)).map(move |word| (at + 1, (*word).to_owned()))
        })
        .map(|(line, word)| format!("{}:{line}: {word}", source.path))
        .collect()
}

/// Whether a line holds `word`, not as part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        let open_start = !word.starts_with(|c: char| c.is_alphanumeric()) || !is_letter(line[..at].chars().next_back());
        let open_end = !word.ends_with(|c: char| c.is_alphanumeric()) || !is_letter(after.chars().next());
        open_start && open_end
    })
}

fn assert_none(wrong: Vec<String>, rule: &str) {
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

#[test]
fn arrows_go_one_way() {
    // A room, and what it must not know. Tests stand outside the rule.
    let rules: &[(&str, &[&str])] = &[
        ("engine", &["crate::config", "crate::daemon", "crate::cli", "crate::built_in"]),
        ("config", &["crate::daemon", "crate::cli"]),
        ("daemon", &["crate::cli"]),
        ("built_in", &["crate::config", "crate::daemon", "crate::cli"]),
    ];
    for source in sources().iter().filter(|s| !s.is_test) {
        // One path a `use`: braces right after the root would hide what is searched for here and below.
        assert_none(found(source, &["crate::{", "std::{"]), "a `use` names the room it enters");
        for (room, forbidden) in rules {
            if source.room() == *room {
                assert_none(found(source, forbidden), "main → cli → daemon → config → engine");
            }
        }
    }
}

#[test]
fn outer_crates_stop_at_the_daemon() {
    let outer = ["hickory_server", "hickory_net", "tokio", "prometheus", "tracing", "axum", "notify", "rustls"];
    for source in sources().iter().filter(|s| !s.is_test && !["daemon", "cli"].contains(&s.room())) {
        assert_none(found(source, &outer), "hickory-server, tokio, prometheus and tracing stop at daemon/");
    }
    for source in sources().iter().filter(|s| !s.is_test && ["engine", "config"].contains(&s.room())) {
        assert_none(found(source, &["hickory_proto"]), "engine and config know no hickory type");
    }
}

#[test]
fn the_engine_is_pure() {
    let impure = [
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "UnixStream",
        "ToSocketAddrs",
        "std::fs",
        "std::env",
        "std::thread",
        "std::process",
        "std::io",
        "thread_local!",
        "Instant::now",
        "SystemTime::now",
        "Zoned::now",
        "Timestamp::now",
        "getrandom",
        "rand",
        "println!",
        "eprintln!",
        "print!",
        "dbg!",
    ];
    for source in sources().iter().filter(|s| !s.is_test && s.room() == "engine") {
        assert_none(found(source, &impure), "engine: values in, values out");
    }
}

#[test]
fn the_engine_forbids_unsafe_and_others_say_why() {
    let module = std::fs::read_to_string(root().join("src/engine/mod.rs")).unwrap();
    assert!(module.contains("#![forbid(unsafe_code)]"), "src/engine/mod.rs forbids unsafe code");
    for source in &sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for place in found(source, &["unsafe"]) {
            let line: usize = place.split(':').nth(1).unwrap().parse().unwrap();
            let reason = lines[..line].iter().rev().take(4).any(|l| l.contains("SAFETY:"));
            assert!(reason, "{place}: say why it is sound, with `// SAFETY:` above");
        }
    }
}

#[test]
fn every_module_opens_with_what_lives_in_it() {
    let tests = files_below(&root().join("tests"), "rs");
    let benches = files_below(&root().join("benches"), "rs");
    for path in files_below(&root().join("src"), "rs").into_iter().chain(tests).chain(benches) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with `//!`", path.display());
    }
}

#[test]
fn no_unwrap_outside_tests() {
    for source in sources().iter().filter(|s| !s.is_test) {
        assert_none(found(source, &[".unwrap()", "todo!", "unimplemented!", "dbg!"]), "`expect` with a true sentence");
    }
}

#[test]
fn the_door_and_the_map_are_short() {
    let main = std::fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() <= 40, "src/main.rs: {} lines, at most 40", main.lines().count());
    if let Ok(map) = std::fs::read_to_string(root().join("ARCHITECTURE.md")) {
        assert!(map.lines().count() <= 150, "ARCHITECTURE.md: {} lines, at most 150", map.lines().count());
    }
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let folders = ["src", "tests", "benches", "config", "deploy", "blocklists", ".ci"];
    let extensions = ["rs", "toml", "md", "txt", "csv", "service", "sh"];
    let mut files: Vec<PathBuf> =
        folders.iter().flat_map(|f| extensions.iter().flat_map(move |e| files_below(&root().join(f), e))).collect();
    files.extend(
        ["README.md", "README.vi.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "Cargo.toml", ".ci/run"]
            .map(|f| root().join(f)),
    );
    // Put together here, so that this file does not hold them itself.
    let words = [["/wo", "rk/"], ["/ho", "me/"], ["/ro", "ot/"], ["/tmp", "/w"]].map(|parts| parts.concat());
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            for word in &words {
                assert!(!line.contains(word.as_str()), "{}:{}: {word}", path.display(), at + 1);
            }
        }
    }
}

#[test]
fn the_cutter_cuts_what_it_should() {
    let text = "let a = \"tokio\"; // tokio\nlet c = '\"'; let l: &'static str = r#\"tokio\"#;\n#[cfg(test)]\nmod tests {\n fn f() { tokio }\n}\nlet b = tokio;\n";
    let code = without_tests(&without_words(text));
    assert_eq!(code.matches("tokio").count(), 1, "{code}");
    assert_eq!(code.lines().count(), text.lines().count(), "{code}");
    assert!(has_word("use tokio::net", "tokio") && !has_word("use my_tokio::net", "tokio"), "words are whole");
    assert!(!has_word("let rand_max", "rand"), "words are whole");
}
