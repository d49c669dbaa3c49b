//! Integration tests: one binary, so that they build once. Each file is about one side of the resolver.

mod built_in;
mod fuzz_replay;
mod list_suites;
mod safe_search_suite;
mod shared;

mod lab;
mod odd_packets;
mod packet_corpora;
mod reloading;
mod upstream_faults;
