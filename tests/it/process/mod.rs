//! The built binary as a process: what an operator sees of it.

mod admin;
mod commands;
mod compiled;
mod explained;
mod fleet;
mod fleet_commands;
mod flood;
mod gates;
mod hours;
mod lifetime;
mod operations;
mod subscribers;
mod supply;
mod told;
mod wildcard;

use crate::harness::process::{Served, with_upstream};
use crate::harness::resolver::Files;
use crate::harness::upstream::Upstream;

/// A process over a zone, with one malware list `mine.txt`.
fn serve(zone: &str, list: &str) -> (Upstream, Served) {
    let upstream = Upstream::start(zone);
    let served = Served::start(&Files { config: config(&upstream), files: &[("mine.txt", list)] });
    (upstream, served)
}

fn config(upstream: &Upstream) -> String {
    with_upstream("[list.mine]\ncategory = \"malware\"\nfile = \"mine.txt\"\n", upstream.v4)
}
