//! The names that benchmarks list and ask for: real ones where they are at hand, made up otherwise.

use std::path::PathBuf;

/// Names made up when there is no real list.
const NAMES: usize = 1_000_000;

/// A small generator, so that every run reads and asks the same.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// One name a line: `LACHAN_BENCH_LIST`, else `sets/mixed_1m.txt.zst` of the shared test data (`LACHAN_TEST_DATA`, else
/// `../shared/data`), else a million names made up. Says which.
pub fn list_text() -> Vec<u8> {
    if let Some(path) = std::env::var_os("LACHAN_BENCH_LIST") {
        eprintln!("names: {}", path.display());
        return std::fs::read(path).expect("LACHAN_BENCH_LIST names a file");
    }
    let data = std::env::var_os("LACHAN_TEST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    if let Ok(packed) = std::fs::read(data.join("sets/mixed_1m.txt.zst")) {
        eprintln!("names: sets/mixed_1m.txt.zst");
        return zstd::decode_all(packed.as_slice()).expect("the shared list is zstd");
    }
    eprintln!("names: {NAMES} made up");
    let mut random = Lcg(1);
    let mut text = String::new();
    for i in 0..NAMES {
        let top = ["com", "net", "org", "vn", "com.vn", "xyz"][random.next() as usize % 6];
        text.push_str(&format!("www{}.site-{i:x}{:x}.{top}\n", random.next() % 9, random.next() % 65_536));
    }
    text.into_bytes()
}
