//! List files: read, parsed, and kept at their last good version (I6).
//!
//! A file that has not changed is not read again. A broken list never means an empty list: what was good stays in force,
//! and only a list that never was good and is required stops a start or a reload.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use crate::built_in;
use crate::config::{Version, Versions, read_steady};
use crate::daemon::clock;
use crate::engine::compile::{ListSettings, ListSource, LoadedList};
use crate::engine::limits::{LIST_FILE_OCTETS_MAX, LIST_LINE_OCTETS_MAX};
use crate::engine::list::{self, ParseOptions, RuleSet};

/// What is remembered of every list between reloads.
#[derive(Debug, Default)]
pub struct Sources {
    good: HashMap<String, Good>,
}

/// A version of a list that could be read.
#[derive(Debug, Clone)]
struct Good {
    source: ListSource,
    options: ParseOptions,
    /// `None` for a list that is compiled in.
    version: Option<Version>,
    rules: Arc<RuleSet>,
    /// Seconds since 1970.
    read_at: u64,
}

/// A list that could not be read now.
#[derive(Debug, Clone)]
pub struct ListProblem {
    pub list: String,
    /// The thing, the reason, and what is in force instead.
    pub message: String,
    /// It has no good version and is required: nothing may go into force without it.
    pub fatal: bool,
}

/// Everything that was loaded for one generation.
#[derive(Debug, Default)]
pub struct Load {
    pub lists: Vec<LoadedList>,
    pub problems: Vec<ListProblem>,
    /// When each list was last read well, by name.
    pub read_at: HashMap<String, u64>,
    /// The version of each list file that is loaded, by the list's name.
    pub in_force: HashMap<String, Version>,
    /// Every list file as it was before it was read, the broken ones too.
    pub seen: Versions,
}

impl Sources {
    /// Loads every list. `progress` is told each list's name before it is read, and how many there are.
    pub fn load(&mut self, lists: &[ListSettings], mut progress: impl FnMut(&str, usize)) -> Load {
        let mut load = Load::default();
        // Lists that left the configuration are forgotten, and their memory with them.
        self.good.retain(|name, _| lists.iter().any(|l| &l.name == name));
        for settings in lists {
            progress(&settings.name, lists.len());
            let good = match self.refresh(settings, &mut load.seen) {
                Ok(good) => good,
                Err(why) => {
                    let place = source_text(&settings.source);
                    let kept = self.good.get(&settings.name).cloned();
                    let (instead, fatal) = match &kept {
                        Some(_) => ("; its last good version stays in force", false),
                        None if settings.required => ("; it has no good version and is required", true),
                        None => ("; it has no good version and holds nothing (required = false)", false),
                    };
                    let message = format!("list `{}` ({place}): {why}{instead}", settings.name);
                    load.problems.push(ListProblem { list: settings.name.clone(), message, fatal });
                    match kept {
                        Some(good) => good,
                        None => continue,
                    }
                }
            };
            load.read_at.insert(settings.name.clone(), good.read_at);
            load.in_force.extend(good.version.map(|version| (settings.name.clone(), version)));
            load.lists.push(LoadedList { settings: settings.clone(), rules: good.rules });
        }
        load
    }

    /// The list as it is now, from memory when nothing about it changed.
    fn refresh(&mut self, settings: &ListSettings, seen: &mut Versions) -> Result<Good, String> {
        let version = match &settings.source {
            ListSource::BuiltIn(_) => None,
            ListSource::File(path) => Some(Version::of_file(path)),
        };
        if let (ListSource::File(path), Some(version)) = (&settings.source, &version) {
            // Two lists of one file: the earlier look is the safe one.
            seen.entry(path.clone()).or_insert_with(|| version.clone());
        }
        if let Some(good) = self.good.get(&settings.name)
            && good.source == settings.source
            && good.options == settings.options
            && good.version == version
        {
            return Ok(good.clone());
        }
        let rules = read(&settings.source, settings.options)?;
        let before = self.good.get(&settings.name).filter(|good| good.source == settings.source);
        if let Some(before) = before.map(|good| good.rules.rule_count()).filter(|&n| n > 0 && rules.rule_count() == 0) {
            return Err(format!(
                "it holds no rule any more, {before} before; to empty it on purpose take it out of the configuration, or \
                 restart"
            ));
        }
        let good = Good {
            source: settings.source.clone(),
            options: settings.options,
            version,
            rules: Arc::new(rules),
            read_at: clock::unix_secs(),
        };
        self.good.insert(settings.name.clone(), good.clone());
        Ok(good)
    }
}

/// Reads and parses one list.
pub fn read(source: &ListSource, options: ParseOptions) -> Result<RuleSet, String> {
    let text = match source {
        ListSource::BuiltIn(name) => built_in::starter_list(name)
            .ok_or_else(|| format!("there is no built-in list `{name}`"))?
            .as_bytes()
            .to_vec(),
        ListSource::File(path) => read_steady(path, LIST_FILE_OCTETS_MAX).map_err(|why| why.to_string())?,
    };
    list::parse(&text, options).map_err(|why| why.to_string())
}

/// A source as people write it.
pub fn source_text(source: &ListSource) -> String {
    match source {
        ListSource::BuiltIn(name) => format!("builtin:{name}"),
        ListSource::File(path) => path.display().to_string(),
    }
}

/// The text of one line of a list, for `explain`; counted from 1. Reads no further than that line. Blocks.
pub fn line_text(source: &ListSource, line: u32) -> Option<String> {
    let before = line.checked_sub(1)?;
    let text = match source {
        ListSource::BuiltIn(name) => built_in::starter_list(name)?.lines().nth(before as usize)?.as_bytes().to_vec(),
        ListSource::File(path) => {
            // Opening a pipe would wait for somebody to write.
            if !std::fs::metadata(path).ok()?.is_file() {
                return None;
            }
            let mut lines =
                BufReader::with_capacity(1 << 16, std::fs::File::open(path).ok()?.take(LIST_FILE_OCTETS_MAX));
            for _ in 0..before {
                if lines.skip_until(b'\n').ok()? == 0 {
                    return None;
                }
            }
            let mut text = Vec::new();
            lines.take(LIST_LINE_OCTETS_MAX as u64).read_until(b'\n', &mut text).ok()?;
            text
        }
    };
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).trim().chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::category::CategoryId;
    use crate::engine::gate::GateSettings;
    use crate::engine::list::Format;

    fn settings(path: &Path, required: bool) -> ListSettings {
        ListSettings {
            name: "x".into(),
            category: CategoryId(0),
            options: ParseOptions { format: Format::Auto, bare_reach: None },
            source: ListSource::File(path.to_owned()),
            required,
            obey_public_suffixes: false,
            gate: GateSettings::OPEN,
        }
    }

    #[test]
    fn a_broken_file_keeps_the_last_good_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        std::fs::write(&path, "one.example.com\n").unwrap();
        let mut sources = Sources::default();
        let lists = [settings(&path, true)];
        assert_eq!(sources.load(&lists, |_, _| {}).lists[0].rules.rule_count(), 1);
        for broken in ["<!doctype html><html>404</html>\n", "\0\x01\x02\x03", "", "# updated\n"] {
            std::fs::write(&path, broken).unwrap();
            let load = sources.load(&lists, |_, _| {});
            assert_eq!(load.lists[0].rules.rule_count(), 1, "{broken:?}");
            assert!(load.problems[0].message.contains("last good version stays"), "{}", load.problems[0].message);
            assert!(!load.problems[0].fatal);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(sources.load(&lists, |_, _| {}).lists[0].rules.rule_count(), 1);
        std::fs::write(&path, "one.example.com\ntwo.example.com\n").unwrap();
        let load = sources.load(&lists, |_, _| {});
        assert_eq!((load.lists[0].rules.rule_count(), load.problems.len()), (2, 0));
    }

    #[test]
    fn a_list_that_never_was_good_is_fatal_unless_it_need_not_be() {
        let mut sources = Sources::default();
        let gone = Path::new("/nonexistent/list.txt");
        let load = sources.load(&[settings(gone, true)], |_, _| {});
        assert!(load.problems[0].fatal);
        let load = sources.load(&[settings(gone, false)], |_, _| {});
        assert!(!load.problems[0].fatal && load.lists.is_empty());
    }

    #[test]
    fn an_unchanged_file_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        std::fs::write(&path, "one.example.com\n").unwrap();
        let mut sources = Sources::default();
        let lists = [settings(&path, true)];
        let first = Arc::clone(&sources.load(&lists, |_, _| {}).lists[0].rules);
        let second = Arc::clone(&sources.load(&lists, |_, _| {}).lists[0].rules);
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn one_line_is_read_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        // The line after it is no text at all and would not be read as a list.
        std::fs::write(&path, b"# one\r\n  two.example.com \n\n\xff\0 four").unwrap();
        let file = ListSource::File(path);
        for (source, line, text) in [
            (&file, 0, None),
            (&file, 1, Some("# one")),
            (&file, 2, Some("two.example.com")),
            (&file, 3, Some("")),
            (&file, 4, Some("\u{fffd}\0 four")),
            (&file, 5, None),
            (&ListSource::File(dir.path().to_owned()), 1, None),
            (&ListSource::File("/nonexistent/list.txt".into()), 1, None),
            (&ListSource::BuiltIn("nothing".into()), 1, None),
        ] {
            assert_eq!(line_text(source, line).as_deref(), text, "{source:?} {line}");
        }
        assert!(line_text(&ListSource::BuiltIn("adult".into()), 1).is_some());
    }
}
