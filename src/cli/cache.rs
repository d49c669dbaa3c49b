//! `cache flush`: what was answered of a name is asked anew.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::out::say;
use crate::cli::{WhoSays, person};
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
    /// The name; everything below it is forgotten too. `.` is everything
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    who: WhoSays,
}

pub fn run(config: Option<&Path>, CacheCommand::Flush(args): &CacheCommand) -> Result<u8, Trouble> {
    let FlushArgs { name, who } = args;
    let by = person::by(who.by.as_deref());
    let query = [("name", name.as_str()), ("by", by.as_str())];
    let address = client::admin_address(who.admin.admin, config)?;
    let done = client::post_shared::<Flushed>(address, "/api/v1/cache/flush", &query, FLUSH_TIMER)?;
    Ok(done.print(who.json, |Flushed { name, entries }| match Language::of_user() {
        Language::English => say!("{name}: {entries} answers are forgotten here"),
        Language::Vietnamese => say!("{name}: đã xóa {entries} câu trả lời khỏi bộ nhớ đệm ở nút này"),
    }))
}
