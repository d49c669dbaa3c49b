//! Replays the committed fuzz corpora: what a fuzzer once found stays found.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/checks.rs"]
pub mod checks;

pub fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display())) {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
}

#[test]
fn list_parse() {
    replay("list_parse", checks::list_parse);
}

#[test]
fn zone_parse() {
    replay("zone_parse", checks::zone_parse);
}

#[test]
fn rules_judged() {
    replay("rules_judged", checks::rules_judged);
}

#[test]
fn name_text() {
    replay("name_text", checks::name_text);
}

#[test]
fn packet() {
    replay("packet", checks::packet);
}

#[test]
fn answer() {
    replay("answer", checks::answer);
}

#[test]
fn compiled() {
    replay("compiled", checks::compiled);
}

#[test]
fn patterns() {
    replay("patterns", checks::patterns);
}

#[test]
fn radius() {
    replay("radius", checks::radius);
}

#[test]
fn subscriber_lines() {
    replay("subscriber_lines", checks::subscriber_lines);
}

#[test]
fn order_file() {
    replay("order_file", checks::order_file);
}

#[test]
fn annex() {
    replay("annex", checks::annex);
}

#[test]
fn unpack() {
    replay("unpack", checks::unpack);
}
