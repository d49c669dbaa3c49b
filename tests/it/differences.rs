//! Where we answer otherwise than a reference on purpose: a reviewed file of rows for each suite.
//!
//! A row is a case's id, what we do, and why, parted by tabs. A case that differs without a row fails, and so does a row
//! that is no longer needed.

use std::path::Path;

/// Compares the cases that differ, in their order, with the rows of `tests/differences/FILE`.
pub fn check(file: &str, differ: &[(String, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differences").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [id, what, why] = columns[..] else { panic!("{}: not three columns: {line}", path.display()) };
            assert!(!what.is_empty() && !why.is_empty(), "{}: {line}", path.display());
            id
        })
        .collect();
    let unexplained: Vec<String> = differ
        .iter()
        .filter(|(id, _)| !rows.contains(&id.as_str()))
        .map(|(id, what)| format!("{id}: {what}"))
        .collect();
    assert!(unexplained.is_empty(), "cases differ without a row in {}:\n{}", path.display(), unexplained.join("\n"));
    let stale: Vec<&&str> = rows.iter().filter(|row| !differ.iter().any(|(id, _)| id == **row)).collect();
    assert!(stale.is_empty(), "{}: rows no longer needed: {stale:?}", path.display());
}
