//! `serve`: start, banner, progress.

use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{NO, YES};
use crate::daemon::serve::{Options, Started, run as serve};
use crate::daemon::telemetry::log;

pub fn run(config: Option<PathBuf>) -> u8 {
    log::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("lachan: cannot start: {why}");
            return NO;
        }
    };
    let bar = progress_bar();
    let telling = bar.clone();
    let progress = move |list: &str, count: usize| {
        telling.set_length(count as u64);
        telling.inc(1);
        telling.set_message(format!("reading list {list}"));
    };
    let served = runtime.block_on(serve(Options { config }, progress, |started| {
        bar.finish_and_clear();
        banner(started);
    }));
    // A worker that still waits for upstream would hold the process for nothing.
    runtime.shutdown_background();
    match served {
        Ok(()) => YES,
        Err(errors) => {
            for error in &errors {
                eprintln!("lachan: {error}");
            }
            eprintln!("lachan: not started ({} {})", errors.len(), if errors.len() == 1 { "error" } else { "errors" });
            NO
        }
    }
}

/// Seen only on a terminal, and only when loading takes long enough to be drawn.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} [{pos}/{len}] {msg} ({elapsed})")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new(0).with_style(style)
}

fn banner(started: &Started) {
    let addresses: Vec<String> = started.dns.iter().map(ToString::to_string).collect();
    println!("Lá Chắn {} answers on {} (UDP and TCP)", env!("CARGO_PKG_VERSION"), addresses.join(", "));
    if started.embedded {
        println!("  configuration  built in (no file found; -c FILE for your own)");
    }
    println!(
        "  filtering      {} rules in {} lists, {} {}; SafeSearch for {} hosts",
        started.rules,
        started.lists,
        started.profiles,
        if started.profiles == 1 { "profile" } else { "profiles" },
        started.search_hosts
    );
    let origin = started.upstream_origin.as_ref().map_or(String::new(), |origin| format!(" ({origin})"));
    println!("  upstream       {}{origin}", started.upstreams.join(", "));
    match started.admin {
        Some(admin) => println!("  admin          http://{admin}/metrics, /readyz, /api/v1/status"),
        None => println!("  admin          off"),
    }
    for hint in &started.hints {
        println!("  note           {hint}");
    }
    let Some(first) = started.dns.first() else { return };
    let at = if first.ip().is_unspecified() { String::from("127.0.0.1") } else { first.ip().to_string() };
    let dig = format!("dig @{at} -p {}", first.port());
    println!("Try:");
    println!("  {dig} adult.block.lachan.example     a harmless name that is blocked");
    println!("  {dig} www.google.com.vn              SafeSearch");
    println!("  {dig} vnexpress.net                  a clean name");
}
