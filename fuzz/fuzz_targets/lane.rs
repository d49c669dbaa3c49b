#![no_main]

#[path = "../lane.rs"]
mod lane;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| lane::lane(octets));
