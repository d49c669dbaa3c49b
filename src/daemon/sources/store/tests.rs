//! What is kept, and what a full disk or a power cut leaves of it.

use std::os::unix::fs::PermissionsExt;

use super::super::text::{Part, Writer};
use super::*;

fn text(octets: &str) -> Text {
    Text::of(octets.as_bytes(), Path::new("/nonexistent")).unwrap()
}

fn record(read_at: u64) -> Record {
    Record { source: "https://lists.example/a".into(), read_at, ..Record::default() }
}

fn put(store: &Store, octets: &str, read_at: u64) -> io::Result<()> {
    store.put("a", &mut record(read_at), &text(octets))
}

/// The current text, as far as it reads well.
fn current(store: &Store) -> Option<String> {
    let current = store.versions("a")?.current;
    let text = store.text("a", &current).ok().filter(|text| !text.is_group)?;
    Some(String::from_utf8(text.octets_of(0, text.octets).unwrap()).unwrap())
}

fn files(store: &Store) -> Vec<PathBuf> {
    fs::read_dir(store.directory("a")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_current_version_and_the_one_before_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(store.versions("a").is_none());
    for (octets, at) in [("one\n", 1), ("two\n", 2), ("two\n", 3), ("three\n", 4)] {
        put(&store, octets, at).unwrap();
    }
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let versions = store.versions("a").unwrap();
    assert_eq!(current(&store).as_deref(), Some("three\n"));
    let previous = versions.previous.unwrap();
    assert_eq!(previous.read_at, 3, "the same text again is no version of its own");
    assert_eq!(store.text("a", &previous).unwrap().octets_of(0, 4).unwrap(), b"two\n");
    assert_eq!(files(&store).len(), 3, "older texts are gone: {:?}", files(&store));
    for path in files(&store) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(store.directory("a")).unwrap().permissions().mode() & 0o777, 0o700);

    let noted = Record { checked_at: 9, etag: Some("\"v\"".into()), ..versions.current };
    store.note("a", &noted).unwrap();
    assert_eq!(store.versions("a").unwrap().current, noted);
    assert_eq!(current(&store).as_deref(), Some("three\n"));
}

#[test]
fn several_files_come_back_as_several() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut writer = Writer::new(Path::new("/nonexistent"));
    for (name, octets) in [("a.txt", &b"one\ntwo"[..]), ("b.txt", b""), ("c.txt", b"three\n")] {
        writer.part(name.into(), &mut &octets[..]).unwrap();
    }
    let mut record = record(1);
    store.put("a", &mut record, &writer.finish(true)).unwrap();
    let text = store.text("a", &record).unwrap();
    assert!(text.is_group);
    let octets = |part: &Part| text.octets_of(part.start, part.end).unwrap();
    let parts: Vec<_> = text.parts.iter().map(|part| (&*part.name, octets(part))).collect();
    assert_eq!(parts, [("a.txt", b"one\ntwo\n".to_vec()), ("b.txt", Vec::new()), ("c.txt", b"three\n".to_vec())]);
    assert_eq!(fs::read(store.path("a", &record)).unwrap(), b"one\ntwo\nthree\n");
}

#[test]
fn a_full_disk_leaves_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    put(&store, "one\n", 1).unwrap();
    let writers: [Write; 2] = [
        |file, octets| {
            file.write_all(&octets[..octets.len() / 2])?;
            Err(io::ErrorKind::StorageFull.into())
        },
        // The text still fits, the word about it does not.
        |file, octets| match octets.starts_with(b"{") {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => file.write_all(octets),
        },
    ];
    for write in writers {
        store.write = write;
        assert_eq!(put(&store, "two\n", 2).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(current(&store).as_deref(), Some("one\n"));
        let names = files(&store);
        assert!(names.iter().all(|path| path.extension().is_some_and(|e| e != "tmp")), "{names:?}");
    }
    store.write = |file, octets| file.write_all(octets);
    put(&store, "two\n", 3).unwrap();
    assert_eq!(current(&store).as_deref(), Some("two\n"));
}

#[test]
fn what_a_power_cut_leaves_is_swept_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    put(&store, "one\n", 1).unwrap();
    // Cut off while a text was written, and between the text and the word about it.
    fs::write(store.directory("a").join("0000.tmp"), "ha").unwrap();
    fs::write(store.directory("a").join(format!("{}.txt", "0".repeat(64))), "half").unwrap();
    fs::write(store.directory("a").join("versions.tmp"), "{").unwrap();
    assert_eq!(current(&store).as_deref(), Some("one\n"));
    put(&store, "two\n", 2).unwrap();
    assert_eq!(current(&store).as_deref(), Some("two\n"));
    assert_eq!(files(&store).len(), 3, "{:?}", files(&store));
}

#[test]
fn damage_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    put(&store, "one\n", 1).unwrap();
    let path = store.path("a", &store.versions("a").unwrap().current);
    fs::write(&path, "0ne\n").unwrap();
    assert_eq!(current(&store), None);
    for damaged in ["", "{}", "not json", "{\"list\":\"a\",\"current\":{}}"] {
        fs::write(store.directory("a").join(VERSIONS), damaged).unwrap();
        assert!(store.versions("a").is_none(), "{damaged}");
    }
    let mut outside = record(1);
    outside.sha256 = "../../etc/passwd".into();
    let versions = Versions { list: "a".into(), current: outside, previous: None };
    fs::write(store.directory("a").join(VERSIONS), serde_json::to_vec(&versions).unwrap()).unwrap();
    assert!(store.versions("a").is_none(), "a name of a file is a sum");
}

#[test]
fn a_directory_has_one_user_and_names_stay_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = Store::open(folder.path()).err().unwrap();
    assert!(error.ends_with("is in use by another resolver"), "{error}");
    for (list, name) in [("ads-1_a", "ads-1_a"), ("../x", "%2E%2E%2Fx"), ("Lớp 6", "L%E1%BB%9Bp%206"), (".", "%2E")] {
        assert_eq!(directory_name(list), name);
    }
    drop(store);
    assert!(Store::open(folder.path()).is_ok());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Store::open(&file).is_err());
}

#[test]
fn lists_that_left_long_ago_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    put(&store, "one\n", 1).unwrap();
    let meta = fs::metadata(store.directory("a").join(VERSIONS)).unwrap();
    let written = meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    store.forget_others(&["a"], written + 2 * FORGOTTEN_AFTER_SECS);
    store.forget_others(&["b"], written + FORGOTTEN_AFTER_SECS);
    assert_eq!(current(&store).as_deref(), Some("one\n"));
    store.forget_others(&["b"], written + FORGOTTEN_AFTER_SECS + 1);
    assert!(store.versions("a").is_none());
}
