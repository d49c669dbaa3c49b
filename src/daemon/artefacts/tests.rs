//! Files read, copied and kept.

use super::*;
use crate::engine::category::{Category, Layer as Rung};
use crate::engine::list::{Format, ListReport, ParseOptions, parse};
use crate::engine::matcher::{Builder, HashSeed, Part};
use crate::engine::verdict::ListId;

const OPTIONS: ParseOptions = ParseOptions { format: Format::Domains, bare_reach: None };

fn list() -> CompiledList {
    CompiledList {
        name: "adult".into(),
        category: Category { name: "adult".into(), layer: Rung::Content, title_en: "e".into(), title_vi: "v".into() },
        source: "/lists/adult.txt".into(),
        options: OPTIONS,
        rules: 1,
        report: ListReport::default(),
        spared: 0,
        spared_shown: Vec::new(),
        file_version: None,
        part_versions: Vec::new(),
        obey_public_suffixes: false,
        read_at: 0,
    }
}

fn layer(text: &str) -> Layer {
    let mut builder = Builder::new(HashSeed(1, 2));
    builder.add(ListId(0), Part::of(&parse(text.as_bytes(), OPTIONS).unwrap(), &|_| false));
    builder.build().unwrap()
}

fn write_to(path: &Path, text: &str) {
    let layer = layer(text);
    write(path, &compiled::encode(&layer, &[list()], "").unwrap()).unwrap();
}

fn settings(path: &Path) -> CompiledSettings {
    CompiledSettings { name: "all".into(), category: None, file: path.to_owned(), required: true }
}

fn take(artefacts: &mut Artefacts, path: &Path) -> Taken {
    artefacts.take(&settings(path), Version::of_file(path))
}

fn copies(state: &Path) -> usize {
    fs::read_dir(state.join("compiled")).unwrap().count()
}

#[test]
fn a_broken_file_keeps_the_last_good_version_whether_copied_or_not() {
    for is_keeping in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (path, state) = (folder.path().join("a.lachan"), folder.path().join("state"));
        write_to(&path, "a.example\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        let mut artefacts = Artefacts::default();
        if is_keeping {
            artefacts.keep_in(&state).unwrap();
        }
        let first = take(&mut artefacts, &path).compiled.unwrap();
        let again = take(&mut artefacts, &path).compiled.unwrap();
        assert!(Arc::ptr_eq(&first, &again), "a file of the same version is not read again");
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 4;
        let mut newer = good.clone();
        newer[8] = 77;
        for (octets, why) in [
            (&good[..good.len() - 1], "cut short"),
            (&flipped, "cut short or was changed"),
            (&newer, "it is of format 77, and this program reads 1: update lachan"),
            (b"a.example\n", "no compiled list file"),
        ] {
            // In place, as a careless copy does it: what is served does not lie there.
            fs::write(&path, octets).unwrap();
            let taken = take(&mut artefacts, &path);
            assert!(taken.error.as_ref().is_some_and(|error| error.contains(why)), "{:?}", taken.error);
            assert!(Arc::ptr_eq(&taken.compiled.unwrap(), &first));
        }
        write_to(&path, "a.example\nb.example\n");
        let second = take(&mut artefacts, &path);
        assert_eq!((second.error, second.compiled.unwrap().layer.names.len()), (None, 2));
        if is_keeping {
            assert_eq!(copies(&state), 2);
            artefacts.keep_only(&[settings(&path)]);
            assert_eq!(copies(&state), 1);
            artefacts.keep_only(&[]);
            assert_eq!(copies(&state), 0);
        }
        // Served from a file that has no name any more.
        assert_eq!(first.layer.names.len(), 1);
    }
}

#[test]
fn a_damaged_copy_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, state) = (folder.path().join("a.lachan"), folder.path().join("state"));
    write_to(&path, "a.example\n");
    let load = || {
        let mut artefacts = Artefacts::default();
        artefacts.keep_in(&state).unwrap();
        let taken = take(&mut artefacts, &path);
        assert_eq!(taken.error, None);
        taken.compiled.unwrap()
    };
    drop(load());
    let copy = fs::read_dir(state.join("compiled")).unwrap().next().unwrap().unwrap().path();
    fs::write(&copy, b"half a f").unwrap();
    assert_eq!(load().layer.names.len(), 1);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&path).unwrap());
}

#[test]
fn what_is_kept_is_taken_for_the_same_inputs_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut artefacts = Artefacts::default();
    assert!(artefacts.keep_texts(&layer("a.example\n"), &[list()], "one", None).is_none(), "without a state directory");
    artefacts.keep_in(folder.path()).unwrap();
    assert!(artefacts.kept_texts("one").is_none());
    let kept = artefacts.keep_texts(&layer("a.example\n"), &[list()], "one", None).unwrap();
    assert_eq!(kept.names.len(), 1);
    assert_eq!(artefacts.kept_texts("one").unwrap().lists, [list()]);
    assert!(artefacts.kept_texts("two").is_none());
    let path = folder.path().join("compiled").join(TEXTS);
    let mut octets = fs::read(&path).unwrap();
    octets.truncate(octets.len() - 1);
    fs::write(&path, octets).unwrap();
    assert!(artefacts.kept_texts("one").is_none());
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let why = Artefacts::default().keep_in(&file).unwrap_err();
    assert!(why.starts_with(&file.join("compiled").display().to_string()), "{why}");
}
