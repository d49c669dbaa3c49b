//! Lá Chắn: a DNS resolver that filters on the line.
//!
//! `engine` is pure: names, lists, policy, cache, replies — values in, values out. `config` turns the operator's text into
//! the engine's inputs. `daemon` moves octets and owns tasks. `cli` is what a person types. Arrows go one way:
//! main → cli → daemon → config → engine. ARCHITECTURE.md has the map and the invariants.

pub mod built_in;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod engine;
