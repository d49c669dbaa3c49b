//! Texts of a list: what its path stands for, read whole, and parsed; and one line of a file again, for `explain`.
//!
//! A directory or a pattern is several files, the parts of one list. One part that cannot be read spoils the whole, so
//! that no list is in force by halves.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::config::{list_parts, read_steady};
use crate::daemon::sources::inflate::{inflate, is_packed};
use crate::engine::limits::{LIST_FILE_OCTETS_MAX, LIST_LINE_OCTETS_MAX, LIST_PARTS_MAX};
use crate::engine::list::{self, ParseOptions, RuleSet};

/// A list's text.
#[derive(Clone)]
pub enum Text {
    Whole(Vec<u8>),
    /// In order.
    Parts(Vec<Part>),
}

/// One file of several.
#[derive(Clone)]
pub struct Part {
    /// Its path, as shown to people.
    pub name: String,
    pub octets: Vec<u8>,
}

/// Reads what a list's path stands for.
pub fn read(path: &Path) -> Result<Text, String> {
    let Some(parts) = list_parts(path) else { return read_file(path, LIST_FILE_OCTETS_MAX).map(Text::Whole) };
    let paths = parts.map_err(|why| why.to_string())?;
    if paths.is_empty() {
        return Err("no file is there".to_owned());
    }
    if paths.len() > LIST_PARTS_MAX {
        return Err(format!("it is {} files, at most {LIST_PARTS_MAX}", paths.len()));
    }
    let mut room = LIST_FILE_OCTETS_MAX;
    let mut parts = Vec::with_capacity(paths.len());
    for path in paths {
        let name = path.display().to_string();
        let octets = read_file(&path, room).map_err(|why| format!("{name}: {why}"))?;
        room -= octets.len() as u64;
        parts.push(Part { name, octets });
    }
    Ok(Text::Parts(parts))
}

fn read_file(path: &Path, octets_max: u64) -> Result<Vec<u8>, String> {
    let octets = read_steady(path, octets_max).map_err(|why| why.to_string())?;
    inflate(octets, LIST_FILE_OCTETS_MAX)
}

impl Text {
    /// The rules in it.
    pub fn parse(&self, options: ParseOptions) -> Result<RuleSet, String> {
        match self {
            Text::Whole(octets) => list::parse(octets, options).map_err(|why| why.to_string()),
            Text::Parts(parts) => {
                let mut rules = RuleSet::default();
                for part in parts {
                    let more = list::parse(&part.octets, options).map_err(|why| format!("{}: {why}", part.name))?;
                    rules.append(part.name.clone(), more);
                }
                Ok(rules)
            }
        }
    }
}

/// The text of one line of a file, counted from 1. Reads no further than that line. Blocks.
pub fn line_of(path: &Path, line: u32) -> Option<String> {
    let before = line.checked_sub(1)?;
    // Opening a pipe would wait for somebody to write.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut lines = BufReader::with_capacity(1 << 16, std::fs::File::open(path).ok()?.take(LIST_FILE_OCTETS_MAX));
    if is_packed(lines.fill_buf().ok()?) {
        let mut packed = Vec::new();
        lines.read_to_end(&mut packed).ok()?;
        let text = inflate(packed, LIST_FILE_OCTETS_MAX).ok()?;
        return text.split_inclusive(|&c| c == b'\n').nth(before as usize).map(shown);
    }
    for _ in 0..before {
        if lines.skip_until(b'\n').ok()? == 0 {
            return None;
        }
    }
    let mut text = Vec::new();
    lines.take(LIST_LINE_OCTETS_MAX as u64).read_until(b'\n', &mut text).ok()?;
    (!text.is_empty()).then(|| shown(&text))
}

/// A line as it is shown.
pub fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::list::Format;

    const AUTO: ParseOptions = ParseOptions { format: Format::Auto, bare_reach: None };

    #[test]
    fn the_files_of_a_directory_are_one_list_and_lines_know_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.txt"), "# one\none.example.com\nnot a name\n").unwrap();
        std::fs::write(at("b.txt"), "0.0.0.0 two.example.com\n0.0.0.0 three.example.com").unwrap();
        let rules = read(folder.path()).unwrap().parse(AUTO).unwrap();
        assert_eq!((rules.rule_count(), rules.report.lines, rules.report.format), (3, 5, None));
        let names = |name: &str| at(name).display().to_string();
        let (a, b) = (names("a.txt"), names("b.txt"));
        let lines: Vec<_> = rules.names().map(|rule| rules.report.place(rule.line)).collect();
        assert_eq!(lines, [Some((&*a, 2)), Some((&*b, 1)), Some((&*b, 2))]);
        assert_eq!(rules.report.shown[0].line, 3);

        std::fs::write(at("c.txt"), "<!doctype html>\n<html></html>\n").unwrap();
        let error = read(folder.path()).unwrap().parse(AUTO).unwrap_err();
        assert!(error.starts_with(&format!("{}: it is a web page", names("c.txt"))), "{error}");
    }

    #[test]
    fn nothing_at_all_is_no_list() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).err().unwrap(), "no file is there");
        assert!(read(&folder.path().join("*.txt")).is_err());
        assert!(read(&folder.path().join("a.txt")).is_err());
    }

    #[test]
    fn one_line_is_read_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        // The line after it is no text at all and would not be read as a list.
        std::fs::write(&path, b"# one\r\n  two.example.com \n\n\xff\0 four").unwrap();
        for (path, line, text) in [
            (&*path, 0, None),
            (&path, 1, Some("# one")),
            (&path, 2, Some("two.example.com")),
            (&path, 3, Some("")),
            (&path, 4, Some("\u{fffd}\0 four")),
            (&path, 5, None),
            (dir.path(), 1, None),
            (Path::new("/nonexistent/list.txt"), 1, None),
        ] {
            assert_eq!(line_of(path, line).as_deref(), text, "{} {line}", path.display());
        }
    }
}
