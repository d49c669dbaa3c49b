//! Integration tests: one binary, so that they build once. Each file is about one side of the resolver.

mod built_in;
mod fuzz_replay;
mod list_suites;
mod safe_search_suite;
mod shared;

mod forwarding;
mod harness;
mod matrix;
mod namespace;
mod process;
mod programs;
mod protocol;
mod reload_under_load;
mod scenarios;
mod tidy;
