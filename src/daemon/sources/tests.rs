//! Loading: what is taken, what is kept instead, and what a restart finds.

use std::path::Path;

use super::fetch::Download;
use super::reading::Reading;
use super::*;
use crate::daemon::progress::Progress;
use crate::engine::category::CategoryId;
use crate::engine::gate::{GateSettings, TreeKey};
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
        gate: GateSettings::OPEN,
    }
}

impl Sources {
    /// Loads and keeps what came, but puts nothing into force.
    fn load_all(&self, lists: &[ListSettings]) -> Load {
        let load = self.load(lists, &Reading { threads: 2, room: self.room(), progress: &Progress::default() });
        self.keep_all();
        load
    }
}

impl Default for Sources {
    fn default() -> Sources {
        Sources::new(Gates::new(TreeKey(1, 2), &crate::daemon::reload::built_in()))
    }
}

#[test]
fn a_broken_file_keeps_the_last_good_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.txt");
    std::fs::write(&path, "one.example.com\n").unwrap();
    let sources = Sources::default();
    let lists = [settings(&path, true)];
    assert_eq!(sources.load_all(&lists).lists[0].rules.count(), 1);
    for broken in ["<!doctype html><html>404</html>\n", "\0\x01\x02\x03", "", "# updated\n"] {
        std::fs::write(&path, broken).unwrap();
        let load = sources.load_all(&lists);
        assert_eq!(load.lists[0].rules.count(), 1, "{broken:?}");
        assert!(load.problems[0].message.contains("last good version stays"), "{}", load.problems[0].message);
        assert!(!load.problems[0].fatal);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(sources.load_all(&lists).lists[0].rules.count(), 1);
    std::fs::write(&path, "one.example.com\ntwo.example.com\n").unwrap();
    let load = sources.load_all(&lists);
    assert_eq!((load.lists[0].rules.count(), load.problems.len()), (2, 0));
}

#[test]
fn a_list_that_never_was_good_is_fatal_unless_it_need_not_be() {
    let sources = Sources::default();
    let gone = Path::new("/nonexistent/list.txt");
    let load = sources.load_all(&[settings(gone, true)]);
    assert!(load.problems[0].fatal);
    let load = sources.load_all(&[settings(gone, false)]);
    assert!(!load.problems[0].fatal && load.lists.is_empty());
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.txt");
    std::fs::write(&path, "one.example.com\n").unwrap();
    let sources = Sources::default();
    let lists = [settings(&path, true)];
    sources.load_all(&lists);
    let rules = |sources: &Sources| sources.memory()["x"].part.clone().unwrap();
    let first = rules(&sources);
    sources.load_all(&lists);
    assert!(Arc::ptr_eq(&first, &rules(&sources)));
}

fn url_settings(url: &str, required: bool) -> ListSettings {
    ListSettings { source: ListSource::Url(url.into()), ..settings(Path::new(""), required) }
}

const URL: &str = "https://lists.example/a.txt";

fn download(text: &str) -> Download {
    let published_sha256 = verify::sha256_hex(text.as_bytes());
    Download { text: text.into(), published_sha256, etag: Some("\"v\"".into()), last_modified: None }
}

/// Sources that keep their lists in `folder`, as after a start.
fn keeping(folder: &Path) -> Sources {
    let sources = Sources::default();
    sources.keep_in(folder).unwrap();
    sources
}

fn rules(load: &Load) -> Vec<usize> {
    load.lists.iter().map(|list| list.rules.count()).collect()
}

#[test]
fn a_file_lost_over_a_restart_keeps_its_last_good_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    let lists = [settings(&path, true)];
    std::fs::write(&path, "one.example.com\ntwo.example.com\n").unwrap();
    assert_eq!(rules(&keeping(folder.path()).load_all(&lists)), [2]);
    for broken in [None, Some("<!doctype html>\n"), Some("# emptied\n")] {
        match broken {
            None => std::fs::remove_file(&path).unwrap(),
            Some(text) => std::fs::write(&path, text).unwrap(),
        }
        let load = keeping(folder.path()).load_all(&lists);
        assert_eq!(rules(&load), [2], "{broken:?}");
        assert!(load.problems[0].message.ends_with("its last good version stays in force"), "{:?}", load.problems);
        assert!(!load.problems[0].fatal);
        let Some(Lines::Stored(kept)) = load.in_force.get("x") else { panic!("{:?}", load.in_force) };
        assert_eq!(line_of(kept, 2).as_deref(), Some("two.example.com"));
    }
    std::fs::write(&path, "three.example.com\n").unwrap();
    let load = keeping(folder.path()).load_all(&lists);
    assert_eq!((rules(&load), load.problems.len()), (vec![1], 0));
}

#[test]
fn a_file_that_joins_or_leaves_a_directory_is_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.txt"), "one.example.com\n").unwrap();
    let sources = Sources::default();
    let lists = [settings(&at("*.txt"), true)];
    let load = |want: &[usize]| {
        let load = sources.load_all(&lists);
        assert_eq!(rules(&load), want, "{:?}", load.problems);
        load
    };
    let seen = load(&[1]).seen;
    std::fs::write(at("b.txt"), "two.example.com\nthree.example.com\n").unwrap();
    assert_ne!(crate::config::look_again(&seen), seen);
    load(&[3]);
    std::fs::write(at("a.txt"), "<!doctype html>\n").unwrap();
    assert_eq!(load(&[3]).problems.len(), 1, "one broken file, and the whole stays as it was");
    std::fs::remove_file(at("a.txt")).unwrap();
    load(&[2]);
    std::fs::remove_file(at("b.txt")).unwrap();
    assert_eq!(load(&[2]).problems.len(), 1, "no file at all is no list");
}

#[test]
fn a_list_that_was_never_fetched_serves_empty_and_says_so() {
    let sources = Sources::default();
    for required in [true, false] {
        let load = sources.load_all(&[url_settings(URL, required)]);
        assert!(load.lists.is_empty());
        assert_eq!((load.problems[0].fatal, load.problems[0].unready), (false, required));
    }
}

#[test]
fn what_is_fetched_is_in_force_from_the_next_load_on_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let lists = [url_settings(URL, true)];
    let sources = keeping(folder.path());
    sources.load_all(&lists);
    assert_eq!(sources.record(&lists[0]), None);
    assert!(matches!(sources.offer(&lists[0], download("")), Offered::Held(_)));
    assert_eq!(sources.offer(&lists[0], download("one.example.com\n")), Offered::New { rules: 1 });
    assert_eq!(sources.offer(&lists[0], download("one.example.com\n")), Offered::Same);
    assert_eq!(rules(&sources.load_all(&lists)), [1]);
    for (bad, why) in [("<!doctype html>\n", "web page"), ("\0\x01\x02", "binary"), ("a b\n%%\n", "cannot be read")] {
        let offered = sources.offer(&lists[0], download(bad));
        assert!(matches!(&offered, Offered::Refused(told) if told.contains(why)), "{bad:?}: {offered:?}");
    }
    assert!(matches!(sources.offer(&lists[0], download("# nothing\n")), Offered::Held(_)));
    assert_eq!(rules(&sources.load_all(&lists)), [1]);
    drop(sources);

    let sources = keeping(folder.path());
    let load = sources.load_all(&lists);
    assert_eq!((rules(&load), load.problems.len()), (vec![1], 0));
    let record = sources.record(&lists[0]).unwrap();
    assert_eq!((record.etag.as_deref(), record.rules), (Some("\"v\""), 1));
    assert_eq!(sources.offer(&lists[0], download("one.example.com\n")), Offered::Same);
    // Another URL: what we have serves on, but is no answer to "newer than this?".
    let moved = [url_settings("https://other.example/", true)];
    assert_eq!(rules(&sources.load_all(&moved)), [1]);
    assert_eq!(sources.record(&moved[0]), None);
}

#[test]
fn a_damaged_version_gives_way_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let lists = [url_settings(URL, true)];
    let sources = keeping(folder.path());
    for text in ["one.example.com\n", "one.example.com\ntwo.example.com\n"] {
        sources.offer(&lists[0], download(text));
    }
    let load = sources.load_all(&lists);
    let Some(Lines::Stored(current)) = load.in_force.get("x") else { panic!("{:?}", load.in_force) };
    assert_eq!(rules(&load), [2]);
    std::fs::write(current, "one.ex").unwrap();
    drop(sources);
    assert_eq!(rules(&keeping(folder.path()).load_all(&lists)), [1]);
}

#[test]
fn without_a_state_directory_what_is_fetched_lives_in_memory() {
    let sources = Sources::default();
    let lists = [url_settings(URL, true)];
    assert_eq!(sources.offer(&lists[0], download("one.example.com\n")), Offered::New { rules: 1 });
    let load = sources.load_all(&lists);
    assert_eq!((rules(&load), load.in_force.get("x")), (vec![1], Some(&Lines::Gone)));
    // Read otherwise from now on: there is no text to read again, so it stays as it was until the next fetch.
    let mut exact = lists[0].clone();
    exact.options.bare_reach = Some(crate::engine::list::Reach::Exact);
    let load = sources.load_all(std::slice::from_ref(&exact));
    assert_eq!((rules(&load), load.problems.len()), (vec![1], 1));
    assert_eq!(sources.record(&exact), None);
    assert_eq!(sources.offer(&exact, download("one.example.com\n")), Offered::New { rules: 1 });
}
