//! `cache flush`: what was answered of a name is asked anew.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::client;
use crate::cli::language::Language;
use crate::cli::lists::{complain, print_json};
use crate::cli::out::say;
use crate::cli::{AdminArgs, person};
use crate::daemon::admin::Flushed;

/// A fleet may have to be waited for.
const FLUSH_TIMER: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Forget what the cache holds of a name and all below; `.` is everything
    Flush(FlushArgs),
}

#[derive(Debug, Args)]
pub struct FlushArgs {
    #[arg(value_name = "NAME")]
    name: String,
    /// Who says so [default: the user]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(config: Option<&Path>, CacheCommand::Flush(args): &CacheCommand) -> u8 {
    let by = person::by(args.by.as_deref());
    let query = [("name", args.name.as_str()), ("by", by.as_str())];
    let asked = client::admin_address(args.admin.admin, config)
        .and_then(|address| client::post_shared::<Flushed>(address, "/api/v1/cache/flush", &query, FLUSH_TIMER));
    let done = match asked {
        Ok(done) => done,
        Err(trouble) => return complain(&trouble),
    };
    if args.json {
        print_json(&done);
    } else {
        let Flushed { name, entries } = &done.told;
        match Language::of_user() {
            Language::English => say!("{name}: {entries} answers are forgotten here"),
            Language::Vietnamese => say!("{name}: đã xóa {entries} câu trả lời khỏi bộ nhớ đệm ở nút này"),
        }
    }
    done.say_reach(args.json)
}
