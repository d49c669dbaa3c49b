//! What a list's path stands for, read as it comes, packed or not; and one line of a file again, for `explain`.
//!
//! A directory or a pattern is several files, the parts of one list. One part that cannot be read spoils the whole, so
//! that no list is in force by halves.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::text::{Text, Writer};
use crate::config::{list_parts, read_steadily};
use crate::daemon::sources::inflate::unpacked;
use crate::engine::limits::{LIST_FILE_OCTETS_MAX, LIST_LINE_OCTETS_MAX, LIST_PARTS_MAX};

/// Reads what a list's path stands for. What is long goes to a file in `scratch`.
pub fn read(path: &Path, scratch: &Path) -> Result<Text, String> {
    let Some(parts) = list_parts(path) else {
        return read_steadily(path, LIST_FILE_OCTETS_MAX, |from| {
            let mut writer = Writer::new(scratch);
            take(&mut writer, String::new(), from, LIST_FILE_OCTETS_MAX)?;
            Ok(writer.finish(false))
        })
        .map_err(|why| why.to_string());
    };
    let paths = parts.map_err(|why| why.to_string())?;
    if paths.is_empty() {
        return Err("no file is there".to_owned());
    }
    if paths.len() > LIST_PARTS_MAX {
        return Err(format!("it is {} files, at most {LIST_PARTS_MAX}", paths.len()));
    }
    let mut writer = Writer::new(scratch);
    for path in paths {
        let name = path.display().to_string();
        // Each part may have got a line end.
        let room = (LIST_FILE_OCTETS_MAX + LIST_PARTS_MAX as u64).saturating_sub(writer.octets());
        let before = writer.here();
        let read = read_steadily(&path, room, |from| {
            writer.back_to(&before);
            take(&mut writer, name.clone(), from, room)
        });
        read.map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(writer.finish(true))
}

fn take(writer: &mut Writer<'_>, name: String, from: &mut dyn Read, octets_max: u64) -> io::Result<()> {
    writer.part(name, &mut unpacked(BufReader::with_capacity(1 << 16, from), octets_max)?)
}

/// The text of one line of a file, counted from 1. Reads no further than that line. Blocks.
pub fn line_of(path: &Path, line: u32) -> Option<String> {
    let before = line.checked_sub(1)?;
    // Opening a pipe would wait for somebody to write.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let file = std::fs::File::open(path).ok()?.take(LIST_FILE_OCTETS_MAX);
    let mut lines = unpacked(BufReader::with_capacity(1 << 16, file), LIST_FILE_OCTETS_MAX).ok()?;
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
    use crate::daemon::sources::reading::rules;
    use crate::engine::list::{Format, ParseOptions, RuleSet};

    const AUTO: ParseOptions = ParseOptions { format: Format::Auto, bare_reach: None };

    fn scratch() -> &'static Path {
        Path::new("/nonexistent")
    }

    fn parsed(path: &Path) -> Result<RuleSet, String> {
        rules(&read(path, scratch())?, AUTO)
    }

    #[test]
    fn the_files_of_a_directory_are_one_list_and_lines_know_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.txt"), "# one\none.example.com\nnot a name\n").unwrap();
        std::fs::write(at("b.txt"), "0.0.0.0 two.example.com\n0.0.0.0 three.example.com").unwrap();
        let rules = parsed(folder.path()).unwrap();
        assert_eq!((rules.rule_count(), rules.report.lines, rules.report.format), (3, 5, None));
        let names = |name: &str| at(name).display().to_string();
        let (a, b) = (names("a.txt"), names("b.txt"));
        let lines: Vec<_> = rules.names().map(|rule| rules.report.place(rule.line)).collect();
        assert_eq!(lines, [Some((&*a, 2)), Some((&*b, 1)), Some((&*b, 2))]);
        assert_eq!(rules.report.shown[0].line, 3);

        std::fs::write(at("c.txt"), "<!doctype html>\n<html></html>\n").unwrap();
        let error = parsed(folder.path()).unwrap_err();
        assert!(error.starts_with(&format!("{}: it is a web page", names("c.txt"))), "{error}");
    }

    #[test]
    fn nothing_at_all_is_no_list() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), scratch()).err().unwrap(), "no file is there");
        assert!(read(&folder.path().join("*.txt"), scratch()).is_err());
        assert!(read(&folder.path().join("a.txt"), scratch()).is_err());
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
