//! List files: read, parsed, and kept at their last good version (I6).
//!
//! A file that has not changed is not read again: its rules come out of the snapshot in force. A broken list never means an empty list: what was good stays in force,
//! and only a list that never was good and is required stops a start or a reload.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::built_in;
use crate::config::{Version, Versions, read_steady};
use crate::daemon::clock;
use crate::daemon::unpack::{is_packed, unpack};
use crate::engine::compile::{Home, ListRules, ListSettings, ListSource, LoadedList};
use crate::engine::compiled::Compiled;
use crate::engine::limits::{LIST_FILE_OCTETS_MAX, LIST_LINE_OCTETS_MAX};
use crate::engine::list::{self, ParseOptions, RuleSet};
use crate::engine::matcher::Part;
use crate::engine::matcher::public_suffix::is_public_suffix;
use crate::engine::verdict::ListId;

/// What is remembered of every list between reloads. Its rules are not: they are in the snapshot in force.
#[derive(Debug, Default)]
pub struct Sources {
    good: Good,
}

/// By list, the version whose rules are in a snapshot.
pub type Good = HashMap<String, GoodList>;

/// A version of a list that could be read.
#[derive(Debug, Clone)]
pub struct GoodList {
    source: ListSource,
    options: ParseOptions,
    obey_public_suffixes: bool,
    block_keywords: Vec<String>,
    /// `None` for a list that is compiled in.
    version: Option<Version>,
    rules: usize,
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
    /// For [`Sources::in_force`].
    pub good: Good,
}

impl Sources {
    /// Loads every list; one that has not changed since the snapshot in force, or cannot be read, is kept as it is there.
    /// `progress` is told each list's name before it is read, and how many there are.
    pub fn load(&self, lists: &[ListSettings], mut progress: impl FnMut(&str, usize)) -> Load {
        let mut load = Load::default();
        for settings in lists {
            progress(&settings.name, lists.len());
            let (good, rules) = match self.refresh(settings, &mut load.seen) {
                Ok(fresh) => fresh,
                Err(why) => {
                    let place = PathBuf::from(source_text(&settings.source));
                    let kept = self.good.get(&settings.name).cloned();
                    load.problems.push(problem(&settings.name, &place, &why, kept.is_some(), settings.required));
                    match kept {
                        Some(good) => (good, ListRules::Kept),
                        None => continue,
                    }
                }
            };
            load.read_at.insert(settings.name.clone(), good.read_at);
            load.in_force.extend(good.version.clone().map(|version| (settings.name.clone(), version)));
            load.good.insert(settings.name.clone(), good);
            load.lists.push(LoadedList { settings: settings.clone(), rules });
        }
        load
    }

    /// The same as [`Sources::load`] when every list lies compiled in `kept`, made of just these settings and versions.
    pub fn load_kept(&self, lists: &[ListSettings], kept: &Compiled) -> Option<Load> {
        let mut load = Load::default();
        for settings in lists {
            let number = kept.lists.iter().position(|list| list.name == settings.name)?;
            let list = &kept.lists[number];
            let version = match &settings.source {
                ListSource::BuiltIn(_) => None,
                ListSource::File(path) => Some((path.clone(), Version::of_file(path))),
            };
            load.seen.extend(version.clone());
            let version = version.map(|(_, version)| version);
            let about = list.about();
            let good = GoodList {
                source: settings.source.clone(),
                options: settings.options,
                obey_public_suffixes: settings.obey_public_suffixes,
                block_keywords: settings.block_keywords.clone(),
                version: version.clone(),
                rules: about.rules,
                read_at: list.read_at,
            };
            load.read_at.insert(settings.name.clone(), good.read_at);
            load.in_force.extend(version.map(|version| (settings.name.clone(), version)));
            load.good.insert(settings.name.clone(), good);
            let home = Home { layer: Arc::clone(&kept.layer), list: ListId(number as u16) };
            load.lists.push(LoadedList { settings: settings.clone(), rules: ListRules::Compiled(home, about) });
        }
        Some(load)
    }

    /// What was loaded is in the snapshot that goes into force.
    pub fn in_force(&mut self, good: Good) {
        self.good = good;
    }

    /// The list as it is now; kept when nothing about it changed.
    fn refresh(&self, settings: &ListSettings, seen: &mut Versions) -> Result<(GoodList, ListRules), String> {
        let version = match &settings.source {
            ListSource::BuiltIn(_) => None,
            ListSource::File(path) => Some(Version::of_file(path)),
        };
        if let (ListSource::File(path), Some(version)) = (&settings.source, &version) {
            // Two lists of one file: the earlier look is the safe one.
            seen.entry(path.clone()).or_insert_with(|| version.clone());
        }
        let ListSettings { source, options, obey_public_suffixes, block_keywords, .. } = settings.clone();
        if let Some(good) = self.good.get(&settings.name)
            && good.source == source
            && good.options == options
            && good.obey_public_suffixes == obey_public_suffixes
            && good.block_keywords == block_keywords
            && good.version == version
        {
            return Ok((good.clone(), ListRules::Kept));
        }
        let guard: &dyn Fn(&[u8]) -> bool = if obey_public_suffixes { &|_| false } else { &is_public_suffix };
        let text = text_of(&source)?;
        let part = if block_keywords.is_empty() {
            Part::read(&text, options, guard).map_err(|why| why.to_string())?
        } else {
            let rules = list::parse(&text, options).map_err(|why| why.to_string())?;
            Part::of(&rules.blocking_keywords(&block_keywords), guard)
        };
        let before = self.good.get(&settings.name).filter(|good| good.source == source).map_or(0, |good| good.rules);
        if before > 0 && part.rules == 0 {
            return Err(format!(
                "it holds no rule any more, {before} before; to empty it on purpose take it out of the configuration, or \
                 restart"
            ));
        }
        let (rules, read_at) = (part.rules, clock::unix_secs());
        let good = GoodList { source, options, obey_public_suffixes, block_keywords, version, rules, read_at };
        Ok((good, ListRules::Read(part)))
    }
}

/// What is told of a list, or a compiled file, that cannot be read.
pub fn problem(list: &str, place: &Path, why: &str, is_kept: bool, required: bool) -> ListProblem {
    let (instead, fatal) = match (is_kept, required) {
        (true, _) => ("; its last good version stays in force", false),
        (false, true) => ("; it has no good version and is required", true),
        (false, false) => ("; it has no good version and holds nothing (required = false)", false),
    };
    let message = format!("list `{list}` ({}): {why}{instead}", place.display());
    ListProblem { list: list.to_owned(), message, fatal }
}

/// Reads and parses one list.
pub fn read(source: &ListSource, options: ParseOptions) -> Result<RuleSet, String> {
    list::parse(&text_of(source)?, options).map_err(|why| why.to_string())
}

fn text_of(source: &ListSource) -> Result<Vec<u8>, String> {
    match source {
        ListSource::BuiltIn(name) => built_in::starter_list(name)
            .ok_or_else(|| format!("there is no built-in list `{name}`"))
            .map(|text| text.as_bytes().to_vec()),
        ListSource::File(path) => unpack(read_steady(path, LIST_FILE_OCTETS_MAX).map_err(|why| why.to_string())?),
    }
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
            if is_packed(lines.fill_buf().ok()?) {
                let mut packed = Vec::new();
                lines.read_to_end(&mut packed).ok()?;
                let text = unpack(packed).ok()?;
                let line = text.split_inclusive(|&c| c == b'\n').nth(before as usize)?;
                return Some(shown(line));
            }
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
    (!text.is_empty()).then(|| shown(&text))
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::category::CategoryId;
    use crate::engine::list::Format;

    fn settings(path: &Path, required: bool) -> ListSettings {
        ListSettings {
            name: "x".into(),
            category: CategoryId(0),
            options: ParseOptions { format: Format::Auto, bare_reach: None },
            source: ListSource::File(path.to_owned()),
            required,
            obey_public_suffixes: false,
            block_keywords: Vec::new(),
        }
    }

    /// Rules of the only list, `None` when they are kept.
    fn rules(load: &Load) -> Option<usize> {
        match &load.lists[0].rules {
            ListRules::Read(part) => Some(part.rules),
            ListRules::Kept | ListRules::Compiled(..) => None,
        }
    }

    #[test]
    fn a_broken_file_keeps_the_last_good_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        std::fs::write(&path, "one.example.com\n").unwrap();
        let mut sources = Sources::default();
        let lists = [settings(&path, true)];
        let load = sources.load(&lists, |_, _| {});
        assert_eq!(rules(&load), Some(1));
        sources.in_force(load.good);
        for broken in ["<!doctype html><html>404</html>\n", "\0\x01\x02\x03", "", "# updated\n"] {
            std::fs::write(&path, broken).unwrap();
            let load = sources.load(&lists, |_, _| {});
            assert_eq!(rules(&load), None, "{broken:?}");
            assert!(load.problems[0].message.contains("last good version stays"), "{}", load.problems[0].message);
            assert!(!load.problems[0].fatal);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(rules(&sources.load(&lists, |_, _| {})), None);
        std::fs::write(&path, "one.example.com\ntwo.example.com\n").unwrap();
        let load = sources.load(&lists, |_, _| {});
        assert_eq!((rules(&load), load.problems.len()), (Some(2), 0));
    }

    #[test]
    fn a_list_that_never_was_good_is_fatal_unless_it_need_not_be() {
        let sources = Sources::default();
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
        let first = sources.load(&lists, |_, _| {});
        assert_eq!(rules(&first), Some(1));
        // Until a snapshot with it is in force there is nothing to keep it from.
        assert_eq!(rules(&sources.load(&lists, |_, _| {})), Some(1));
        sources.in_force(first.good);
        assert_eq!(rules(&sources.load(&lists, |_, _| {})), None);
        let obeying = [ListSettings { obey_public_suffixes: true, ..lists[0].clone() }];
        assert_eq!(rules(&sources.load(&obeying, |_, _| {})), Some(1));
    }

    #[test]
    fn a_packed_file_is_read_and_its_lines_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt.zst");
        std::fs::write(&path, zstd::encode_all(&b"# one\ntwo.example.com\n"[..], 3).unwrap()).unwrap();
        let load = Sources::default().load(&[settings(&path, true)], |_, _| {});
        assert_eq!((rules(&load), load.problems.len()), (Some(1), 0));
        let file = ListSource::File(path);
        assert_eq!(line_text(&file, 2).as_deref(), Some("two.example.com"));
        assert_eq!(line_text(&file, 3), None);
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
