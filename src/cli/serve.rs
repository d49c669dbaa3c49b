//! `serve`: start, banner, progress.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::language::{Language, count_of, error_text};
use crate::cli::out::{complain, say};
use crate::cli::progress::{self, Otherwise};
use crate::cli::{NO, YES};
use crate::daemon::listener::Claim;
use crate::daemon::progress::Progress;
use crate::daemon::serve::{Options, Started, run as serve};
use crate::daemon::telemetry::log;

#[derive(Debug, Args, Default)]
pub struct ServeArgs {
    /// Listen beside a running lachan, which is stopped next: no question is lost over a new version
    #[arg(long)]
    take_over: bool,
}

impl ServeArgs {
    pub fn claim(&self) -> Claim {
        if self.take_over { Claim::Beside } else { Claim::Alone }
    }
}

pub fn run(config: Option<PathBuf>, claim: Claim) -> u8 {
    log::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            complain!("lachan: cannot start: {why}");
            return NO;
        }
    };
    let progress = Arc::new(Progress::default());
    let telling = progress::tell(Arc::clone(&progress), Otherwise::Log);
    let served = runtime.block_on(serve(Options { config, claim }, progress, |started| {
        telling.end();
        banner(started);
    }));
    // A worker that still waits for upstream would hold the process for nothing.
    runtime.shutdown_background();
    match served {
        Ok(()) => YES,
        Err(errors) => {
            for error in &errors {
                complain!("lachan: {}", error_text(error));
            }
            let count = errors.len();
            let english = format!("not started ({})", count_of(count, "error"));
            complain!("lachan: {}", Language::of_user().pick(&english, &format!("không khởi động được ({count} lỗi)")));
            NO
        }
    }
}

fn banner(started: &Started) {
    let language = Language::of_user();
    let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let answers = language.pick("answers on", "trả lời tại");
    let transports = language.pick("UDP and TCP", "UDP và TCP");
    let addresses = &started.addresses;
    say!("Lá Chắn {} {answers} {} ({transports})", env!("CARGO_PKG_VERSION"), list(&addresses.dns));
    let row = |english: &str, vietnamese: &str, text: &str| {
        let title = language.pick(english, vietnamese);
        say!("  {title}{} {text}", " ".repeat(14_usize.saturating_sub(title.chars().count())));
    };
    for (title, addresses) in
        [("DNS over TLS", &addresses.dot), ("DNS over HTTPS", &addresses.doh), ("DNS over QUIC", &addresses.doq)]
    {
        if !addresses.is_empty() {
            row(title, title, &list(addresses));
        }
    }
    if started.embedded {
        let built_in = "built in (no file found; -c FILE for your own)";
        row(
            "configuration",
            "cấu hình",
            language.pick(built_in, "có sẵn (không thấy tệp nào; -c TỆP để dùng tệp riêng)"),
        );
    }
    let (rules, lists, profiles, hosts) = (started.rules, started.lists, started.profiles, started.search_hosts);
    let filtering = match language {
        Language::English => format!(
            "{} in {}, {}; SafeSearch for {}",
            count_of(rules, "rule"),
            count_of(lists, "list"),
            count_of(profiles, "profile"),
            count_of(hosts, "host")
        ),
        Language::Vietnamese => {
            format!("{rules} luật trong {lists} danh sách, {profiles} hồ sơ; tìm kiếm an toàn cho {hosts} tên máy")
        }
    };
    row("filtering", "lọc", &filtering);
    let origin = started.upstream_origin.as_ref().map_or(String::new(), |origin| format!(" ({origin})"));
    row("upstream", "máy chủ trên", &format!("{}{origin}", started.upstreams.join(", ")));
    let admin = started.admin.map_or_else(
        || language.pick("off", "tắt").to_owned(),
        |admin| format!("http://{admin}/metrics, /readyz, /api/v1/status"),
    );
    row("admin", "quản trị", &admin);
    for hint in &started.hints {
        row("note", "lưu ý", &error_text(hint));
    }
    let Some(first) = started.addresses.dns.first() else { return };
    let at = match first.ip() {
        ip if !ip.is_unspecified() => ip.to_string(),
        ip if ip.is_ipv4() => "127.0.0.1".to_owned(),
        _ => "::1".to_owned(),
    };
    say!("{}", language.pick("Try:", "Thử:"));
    for (name, english, vietnamese) in [
        ("adult.block.lachan.example", "a harmless name that is blocked", "tên vô hại, bị chặn để thử"),
        ("www.google.com.vn", "SafeSearch", "tìm kiếm an toàn"),
        ("vnexpress.net", "a clean name", "tên sạch"),
    ] {
        say!("  dig @{at} -p {} {name:<28} {}", first.port(), language.pick(english, vietnamese));
    }
}
