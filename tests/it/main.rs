//! Integration tests: one binary, so that they build once. Each file is about one side of the resolver.

mod adguard_suites;
mod built_in;
mod codec;
mod differences;
mod forwarding;
mod fuzz_replay;
mod harness;
mod lab;
mod list_gates;
mod list_samples;
mod list_suites;
mod matrix;
mod namespace;
mod odd_packets;
mod packet_corpora;
mod process;
mod programs;
mod protocol;
mod reload_under_load;
mod reloading;
mod rpz_suite;
mod safe_search_suite;
mod scenarios;
mod shared;
mod tidy;
mod upstream_faults;
