#![no_main]

#[path = "../lane.rs"]
#[allow(dead_code)]
mod lane;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| lane::lane(octets));
