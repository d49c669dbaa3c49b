//! The register over files that come, go, break and are tampered with.

use super::*;
use crate::engine::client::UnixTime;

const NOW: UnixTime = UnixTime(1_900_000_000);

fn text(reference: &str, names: &str) -> String {
    format!(
        "reference = \"{reference}\"\nauthority = \"A05\"\nlegal_basis = \"NĐ 147/2024\"\nnames = [{names}]\n\
         received = \"2027-01-31T09:00:00+07:00\"\nexpires = \"2099-12-31\"\nentered_by = \"an\"\napproved_by = \"bình\"\n"
    )
}

/// A register over a directory, with an audit log and copies of its own.
struct Setup {
    folder: tempfile::TempDir,
    audit: Audit,
    book: Book,
}

impl Setup {
    fn new() -> Setup {
        Setup::over(tempfile::tempdir().unwrap())
    }

    /// As after a restart.
    fn over(folder: tempfile::TempDir) -> Setup {
        let (audit, book) = (Audit::default(), Book::default());
        let state = folder.path().join("state");
        audit.keep_in(&state).unwrap();
        let kept = book.keep_in(&state, &audit, &TimeZone::UTC);
        let setup = Setup { folder, audit, book };
        std::fs::create_dir_all(setup.directory()).unwrap();
        let directory = Some(setup.directory());
        setup.book.configure(&OrderSettings { directory, ..OrderSettings::default() }, &TimeZone::UTC);
        setup.look();
        if let Err(why) = kept {
            setup.book.inner().problems.push(why);
        }
        setup
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("orders")
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.directory().join(file), text).unwrap();
        // Whatever the file system's clock says.
        self.book.inner().seen.clear();
    }

    fn look(&self) {
        self.book.look(&self.audit);
    }

    /// References of the orders that act.
    fn acting(&self) -> Vec<String> {
        let orders = self.book.orders();
        orders.all().iter().filter(|order| order.acts(NOW)).map(|order| order.reference.clone()).collect()
    }

    fn problem(&self) -> String {
        self.book.problems().join("; ")
    }

    fn order(&self, reference: &str) -> Order {
        let orders = self.book.orders();
        orders.all().iter().find(|order| order.reference == reference).unwrap().clone()
    }
}

/// What a command would not take is not to be had by writing a file.
#[test]
fn a_file_that_somebody_wrote_takes_no_others_along_unasked() {
    let setup = Setup::new();
    let shared = text("1/A05", "\"facebook.com\"");
    setup.write("a.toml", &shared);
    setup.write("b.toml", &text("2/A05", "\"b.example\""));
    setup.look();
    assert_eq!(setup.acting(), ["2/A05"]);
    let problem = setup.problem();
    let expected = "a.toml: `facebook.com` is a shared platform (";
    assert!(problem.contains(expected) && problem.contains("; it does not act"), "{problem}");
    setup.write("a.toml", &format!("{shared}override = [\"facebook.com\"]\n"));
    setup.look();
    assert_eq!((setup.acting(), setup.problem()), (vec!["1/A05".to_owned(), "2/A05".into()], String::new()));
    // Nor is a second person.
    setup.write("c.toml", &text("3/A05", "\"c.example\"").replace("\"bình\"", "\"\u{430}n\""));
    setup.look();
    assert_eq!(setup.acting(), ["1/A05", "2/A05"]);
    assert!(setup.problem().contains("c.toml: `approved_by` reads as an, who entered it"), "{}", setup.problem());
    // What is in force stays so when its file asks for more.
    setup.write("b.toml", &shared.replace("1/A05", "2/A05"));
    setup.look();
    assert_eq!(setup.acting(), ["1/A05", "2/A05"]);
    assert!(setup.problem().contains("order 2/A05 acts on as it was"), "{}", setup.problem());
}

#[test]
fn files_are_taken_up_and_only_a_stated_end_takes_them_out() {
    let setup = Setup::new();
    setup.write("a.toml", &text("1/A05", "\"a.example\""));
    setup.write("b.toml", &text("2/A05", "\"b.example\""));
    setup.look();
    assert_eq!((setup.acting(), setup.problem()), (vec!["1/A05".to_owned(), "2/A05".into()], String::new()));

    // Broken, gone, or of another's reference: what was in force acts on.
    setup.write("a.toml", "reference = ");
    std::fs::remove_file(setup.directory().join("b.toml")).unwrap();
    setup.look();
    assert_eq!(setup.acting(), ["1/A05", "2/A05"]);
    let problem = setup.problem();
    assert!(problem.contains("a.toml: ") && problem.contains("order 1/A05 acts on as it was"), "{problem}");
    assert!(problem.contains("order 2/A05: its file b.toml is gone"), "{problem}");
    setup.write("c.toml", &text("1/A05", "\"c.example\""));
    setup.write("a.toml", &text("1/A05", "\"a.example\""));
    setup.look();
    assert!(setup.problem().contains("its reference 1/A05 is that of a.toml too"), "{}", setup.problem());

    // Not by a restart either.
    let setup = Setup::over(setup.folder);
    assert_eq!(setup.acting(), ["1/A05", "2/A05"]);

    // An end that is stated does.
    let ended = text("1/A05", "\"a.example\"").replace("2099-12-31", "2027-02-01");
    setup.write("a.toml", &ended);
    std::fs::remove_file(setup.directory().join("c.toml")).unwrap();
    setup.look();
    assert_eq!(setup.acting(), ["2/A05"]);
    // Everything that changed is in the log.
    let directory = setup.folder.path().join("state").join(crate::daemon::audit::DIRECTORY);
    assert_eq!(crate::daemon::audit::verify(&directory, None).unwrap().lines, 3);
}

#[test]
fn what_a_command_sealed_is_changed_by_commands_alone() {
    let setup = Setup::new();
    let order = read_order("o", &text("1/A05", "\"a.example\", \"b.example\""), &TimeZone::UTC).unwrap();
    setup.book.put(order.clone(), "an", "order.add", &setup.audit).unwrap();
    let file = files_of(&setup.directory()).unwrap().remove(0);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let good = std::fs::read_to_string(&file).unwrap();
    setup.book.inner().seen.clear();
    setup.look();
    assert_eq!((setup.order("1/A05"), setup.problem()), (order.clone(), String::new()));

    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let seal = lines.len() - 1;
    let mut swapped = lines.clone();
    swapped.swap(0, 1);
    // Within the signature, and to another letter whatever it is.
    let (before, rest) = good.split_at(good.len() - 40);
    let flipped = [before, if rest.starts_with('A') { "B" } else { "A" }, &rest[1..]].concat();
    for (what, bad) in [
        ("a name left out", good.replace("  \"a.example\",\n", "")),
        ("an octet flipped", good.replace("a.example", "c.example")),
        ("an octet of the seal flipped", flipped),
        ("two lines the other way", swapped.concat()),
        ("a line cut out", lines[1..].concat()),
        ("the seal gone", lines[..seal].concat()),
        ("the seal gone, and a name", lines[..seal].concat().replace("  \"a.example\",\n", "")),
        ("cut short", good[..good.len() / 2].to_owned()),
        ("empty", String::new()),
    ] {
        setup.write(&name, &bad);
        setup.look();
        assert_eq!(setup.order("1/A05"), order, "{what}");
        assert!(setup.problem().contains("acts on as it was"), "{what}: {}", setup.problem());
    }
    setup.write(&name, &good);
    setup.look();
    assert_eq!(setup.problem(), "");
}

#[test]
fn copies_that_were_changed_do_not_count() {
    let setup = Setup::new();
    setup.write("a.toml", &text("1/A05", "\"a.example\""));
    setup.look();
    let kept = setup.folder.path().join("state").join(KEPT);
    let good = std::fs::read_to_string(&kept).unwrap();
    let setup = Setup::over(setup.folder);
    assert_eq!((setup.acting(), setup.problem()), (vec!["1/A05".to_owned()], String::new()));
    for bad in [good.replace("a.example", "c.example"), "[]\n".to_owned(), good[..20].to_owned()] {
        std::fs::write(&kept, bad).unwrap();
        let (audit, book) = (Audit::default(), Book::default());
        let state = setup.folder.path().join("state");
        audit.keep_in(&state).unwrap();
        let why = book.keep_in(&state, &audit, &TimeZone::UTC).unwrap_err();
        assert!(why.contains("only the files in the orders' directory count"), "{why}");
    }
}

#[test]
fn too_many_names_are_refused_and_change_nothing() {
    let setup = Setup::new();
    let inner = setup.book.inner();
    let order = read_order("o", &text("1/A05", "\"a.example\""), &TimeZone::UTC).unwrap();
    assert!(inner.check_bounds(ORDERS_MAX, 0, &order).is_err());
    assert!(inner.check_bounds(0, ORDERS_NAMES_MAX, &order).unwrap_err().contains("500001 names, at most 500000"));
    assert!(inner.check_bounds(ORDERS_MAX - 1, ORDERS_NAMES_MAX - 1, &order).is_ok());
}
