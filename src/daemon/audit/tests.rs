//! The log as it is written, and every way to tamper with it.

use super::*;

fn change(subject: &str) -> Change<'_> {
    Change {
        who: "an",
        what: "allow.add",
        subject,
        node: None,
        before: Value::Null,
        after: serde_json::json!({ "name": subject }),
    }
}

/// A log of some lines in a fresh directory.
fn log_of(count: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::default();
    audit.keep_in(folder.path()).unwrap();
    for i in 1..=count {
        audit.record(&change(&format!("n{i}.example"))).unwrap();
    }
    let directory = folder.path().join(DIRECTORY);
    (folder, directory)
}

fn only_file(directory: &Path) -> PathBuf {
    let [file] = &verify::files_in(directory).unwrap()[..] else { panic!("one file") };
    file.clone()
}

#[test]
fn what_was_written_is_verified_and_goes_on_after_a_restart() {
    let (folder, directory) = log_of(3);
    let found = verify(&directory, None).unwrap();
    assert_eq!((found.files, found.lines, found.first, found.last), (1, 3, 1, 3));
    let audit = Audit::default();
    audit.keep_in(folder.path()).unwrap();
    audit.record(&change("later.example")).unwrap();
    assert_eq!(verify(&directory, audit.public_key().as_deref()).unwrap().lines, 4);
    let lines = lines_of(&directory, 2).unwrap();
    let told: Vec<(u64, &str)> = lines.iter().map(|line| (line.seq, line.subject.as_str())).collect();
    assert_eq!(told, [(3, "n3.example"), (4, "later.example")]);
    // Nobody else may read it, or sign with its key.
    use std::os::unix::fs::PermissionsExt;
    for file in [directory.join(KEY), only_file(&directory), directory.join(HEAD)] {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn every_flipped_octet_is_found_in_its_line() {
    let (_folder, directory) = log_of(3);
    let file = only_file(&directory);
    let good = fs::read(&file).unwrap();
    let line_of = |at: usize| good[..at].iter().filter(|octet| **octet == b'\n').count() + 1;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).unwrap();
        let broken = verify(&directory, None).unwrap_err();
        assert_eq!(broken.line, Some(line_of(at)), "octet {at}: {broken}");
    }
    fs::write(&file, &good).unwrap();
    verify(&directory, None).unwrap();
}

#[test]
fn cut_moved_and_foreign_lines_are_found() {
    let (_folder, directory) = log_of(4);
    let file = only_file(&directory);
    let good = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let (_other, others) = log_of(4);
    let foreign = fs::read_to_string(only_file(&others)).unwrap();
    let foreign: Vec<&str> = foreign.split_inclusive('\n').collect();
    for (what, now, line, why) in [
        ("a line cut out", lines[..1].concat() + &lines[2..].concat(), Some(2), "missing or moved"),
        ("two lines the other way", [lines[0], lines[2], lines[1], lines[3]].concat(), Some(2), "missing or moved"),
        ("the first line gone", lines[1..].concat(), Some(1), "file's name"),
        ("the end gone", lines[..2].concat(), None, "as the last, and here it is 2"),
        ("the last line gone", lines[..3].concat(), None, "as the last, and here it is 3"),
        ("half of the last line gone", good[..good.len() - 20].to_owned(), Some(4), "cut off"),
        ("everything gone", String::new(), None, "as the last, and here it is 0"),
        ("a line twice", good.clone() + lines[3], Some(5), "missing or moved"),
        ("another log's line", [&lines[..3], &foreign[3..]].concat().concat(), Some(4), "not by this key"),
        ("another log", foreign.concat(), Some(1), "not by this key"),
        ("no log", "{}\n".to_owned(), Some(1), "no line of an audit log"),
    ] {
        fs::write(&file, now).unwrap();
        let broken = verify(&directory, None).unwrap_err();
        assert!(broken.line == line && broken.why.contains(why), "{what}: {broken}");
    }
    fs::write(&file, &good).unwrap();
    // A head of our own making is none.
    let head = fs::read_to_string(directory.join(HEAD)).unwrap();
    fs::write(directory.join(HEAD), head.replace("\"last\":4", "\"last\":3")).unwrap();
    assert!(verify(&directory, None).unwrap_err().why.contains("not by this key"));
    fs::remove_file(directory.join(HEAD)).unwrap();
    verify(&directory, None).unwrap_err();
}

#[test]
fn a_power_cut_costs_no_line_that_was_promised() {
    let (folder, directory) = log_of(2);
    let file = only_file(&directory);
    let good = fs::read(&file).unwrap();
    fs::write(&file, [&good[..], b"{\"seq\":3,\"at\":"].concat()).unwrap();
    let audit = Audit::default();
    audit.keep_in(folder.path()).unwrap();
    audit.record(&change("n3.example")).unwrap();
    assert_eq!(verify(&directory, None).unwrap().lines, 3);
    // The head may be one behind.
    let head = fs::read(directory.join(HEAD)).unwrap();
    audit.record(&change("n4.example")).unwrap();
    fs::write(directory.join(HEAD), head).unwrap();
    assert_eq!(verify(&directory, None).unwrap().last, 4);
    Audit::default().keep_in(folder.path()).unwrap();
    assert_eq!(verify(&directory, None).unwrap().last, 4);
}

#[test]
fn a_broken_log_stays_as_it_is_and_is_told() {
    let (folder, directory) = log_of(3);
    let file = only_file(&directory);
    let mut octets = fs::read(&file).unwrap();
    octets[20] ^= 1;
    fs::write(&file, &octets).unwrap();
    let audit = Audit::default();
    audit.keep_in(folder.path()).unwrap();
    audit.record(&change("later.example")).unwrap();
    assert_eq!(fs::read(&file).unwrap(), octets);
    assert_eq!(verify(&directory, None).unwrap_err().line, Some(1));
    let told: Vec<String> = lines_of(&directory, 2).unwrap().into_iter().map(|line| line.what).collect();
    assert_eq!(told, ["audit.broken", "allow.add"]);
}

#[test]
fn a_full_file_is_followed_by_the_next() {
    let (folder, directory) = log_of(0);
    let audit = Audit::default();
    audit.keep_in(folder.path()).unwrap();
    audit.record(&change("n1.example")).unwrap();
    audit.log.lock().unwrap().as_mut().unwrap().octets = AUDIT_FILE_OCTETS_MAX;
    audit.record(&change("n2.example")).unwrap();
    let found = verify(&directory, None).unwrap();
    assert_eq!((found.files, found.lines, found.last), (2, 2, 2));
    // A whole file that is gone is missed.
    fs::remove_file(&verify::files_in(&directory).unwrap()[0]).unwrap();
    assert!(verify(&directory, None).unwrap_err().why.contains("begins with line 2"));
}

#[test]
fn what_is_too_long_for_a_line_is_refused() {
    let (folder, directory) = log_of(1);
    let audit = Audit::default();
    audit.keep_in(folder.path()).unwrap();
    let long = Change { after: Value::String("x".repeat(AUDIT_LINE_OCTETS_MAX)), ..change("n2.example") };
    assert!(audit.record(&long).unwrap_err().contains("nothing was changed"));
    assert_eq!(verify(&directory, None).unwrap().lines, 1);
}

#[test]
fn what_is_broken_is_told_until_the_process_ends_and_also_when_the_last_file_is_whole() {
    let (folder, directory) = log_of(3);
    let start = || {
        let audit = Audit::default();
        audit.keep_in(folder.path()).unwrap();
        audit
    };
    let audit = start();
    let now = std::time::Instant::now();
    audit.verify_now_and_then(now);
    assert_eq!(audit.trouble(), None);
    let file = only_file(&directory);
    let mut octets = fs::read(&file).unwrap();
    octets[40] ^= 1;
    fs::write(&file, octets).unwrap();
    // A process that runs on looks again.
    audit.verify_now_and_then(now + VERIFY_EVERY - Duration::from_secs(1));
    assert_eq!(audit.trouble(), None);
    audit.verify_now_and_then(now + VERIFY_EVERY);
    assert!(audit.trouble().unwrap().contains("audit-000000000001.jsonl:1"), "{:?}", audit.trouble());
    let audit = start();
    assert!(audit.trouble().unwrap().contains("the audit log is broken"), "{:?}", audit.trouble());
    // Lines go on in a file of their own, and the next start looks at that one alone: the rest is read once.
    audit.record(&change("later.example")).unwrap();
    assert!(audit.trouble().is_some());
    let audit = start();
    assert_eq!(audit.trouble(), None);
    audit.verify_now_and_then(now);
    assert!(audit.trouble().unwrap().contains("audit-000000000001.jsonl:1"), "{:?}", audit.trouble());

    // Where nothing can be written, that is the trouble.
    let nowhere = Audit::default();
    let taken = tempfile::NamedTempFile::new().unwrap();
    nowhere.keep_in(taken.path()).unwrap_err();
    assert!(nowhere.trouble().unwrap().contains("cannot be kept"), "{:?}", nowhere.trouble());
}
