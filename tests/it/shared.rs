//! Test data that lies beside the project, not in it. A test that needs some is skipped, with a line that says so, where
//! it is absent.

use std::path::PathBuf;

/// A file of the shared test data: `LACHAN_TEST_DATA`, else `../shared/data` from the project's root.
pub fn data_bytes(path: &str) -> Option<Vec<u8>> {
    read("LACHAN_TEST_DATA", "data", path)
}

/// As [`data_bytes`], as text.
pub fn data(path: &str) -> Option<String> {
    data_bytes(path).map(|octets| String::from_utf8(octets).expect("the data is UTF-8"))
}

/// As [`data`], unpacked.
pub fn data_zst(path: &str) -> Option<String> {
    let octets = zstd::decode_all(data_bytes(path)?.as_slice()).expect("the data is zstd");
    Some(String::from_utf8(octets).expect("the data is UTF-8"))
}

/// A file of cases: `LACHAN_TEST_SUITES`, else `../shared/suites` from the project's root.
pub fn suite(path: &str) -> Option<String> {
    let octets = read("LACHAN_TEST_SUITES", "suites", path)?;
    Some(String::from_utf8(octets).expect("the suite is UTF-8"))
}

fn read(variable: &str, folder: &str, path: &str) -> Option<Vec<u8>> {
    let root = match std::env::var_os(variable) {
        Some(root) => PathBuf::from(root),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(folder),
    };
    let file = root.join(path);
    match std::fs::read(&file) {
        Ok(octets) => Some(octets),
        Err(why) => {
            eprintln!("skipped: {} cannot be read ({why}); set {variable} to where the test data is", file.display());
            None
        }
    }
}
