//! `allow`, `deny` and `pause`: what is said for a while.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use crate::cli::client::{self, Trouble};
use crate::cli::language::Language;
use crate::cli::out::{print, say};
use crate::cli::{AdminArgs, AskArgs, NO, WhoSays, YES, person};
use crate::daemon::admin::Made;
use crate::daemon::said::{Entry, Kind};
use crate::engine::client::UnixTime;
use crate::engine::explain::rfc3339;

/// A reload may be under way before it. Chosen.
const CHANGE_TIMER: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub enum WordCommand {
    /// Say it for a while
    #[command(
        after_help = "Examples:\n  lachan allow add zalo.me --profile school --for 45m --reason \"lesson 5, class 7A\"\n  \
                      lachan deny add =www.example.com --until 17:30 --reason \"ticket 4711\"\n  lachan allow add \
                      zalo.me --profile school --until-window --reason \"this lesson\"\n\nA name means itself and all \
                      below; =NAME itself alone; *.NAME all below. Without --profile and --client it is for everybody, and \
                      goes before the security lists; for a profile or a client it goes after them."
    )]
    Add(AddWord),
    /// Show those in force
    List(AskArgs),
    /// End one before its end
    Remove(RemoveSaid),
}

#[derive(Debug, Subcommand)]
pub enum PauseCommand {
    /// Switch content categories and SafeSearch off for a while; orders, the operator's lists and security stay on
    Add(AddPause),
    /// Show those in force
    List(AskArgs),
    /// End one before its end
    Remove(RemoveSaid),
}

#[derive(Debug, Args)]
pub struct AddWord {
    /// NAME, =NAME or *.NAME
    #[arg(value_name = "NAME")]
    name: String,
    /// The name is a public suffix, as com or com.vn, and everything below it is meant
    #[arg(long)]
    public_suffix: bool,
    #[command(flatten)]
    said: SaidArgs,
}

#[derive(Debug, Args)]
pub struct AddPause {
    #[command(flatten)]
    said: SaidArgs,
}

#[derive(Debug, Args)]
struct SaidArgs {
    /// For the clients of this profile
    #[arg(long, value_name = "NAME", conflicts_with = "client")]
    profile: Option<String>,
    /// For this [client.NAME], address or network
    #[arg(long, value_name = "NAME|ADDR|NET")]
    client: Option<String>,
    /// The realm of this network, where several use the same addresses [default: 0]
    #[arg(long, value_name = "NUMBER", requires = "client")]
    realm: Option<u16>,
    /// So long: 45m, 2 h, 1 day
    #[arg(long = "for", value_name = "TIME", conflicts_with = "until")]
    lasts: Option<String>,
    /// Until then: 17:30, or 2027-01-31T17:30:00+07:00
    #[arg(long, value_name = "TIME", conflicts_with = "until_window")]
    until: Option<String>,
    /// Until the window of the profile that is open now ends, as a lesson; of several the one by this name, else the first to
    /// end
    #[arg(
        long,
        value_name = "WINDOW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "lasts"
    )]
    until_window: Option<String>,
    /// For everybody; a pause without --profile and --client needs it
    #[arg(long, conflicts_with_all = ["profile", "client"])]
    everyone: bool,
    /// Why; `explain` and the audit log tell it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    who: WhoSays,
}

#[derive(Debug, Args)]
pub struct RemoveSaid {
    /// As `list` shows it
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    who: WhoSays,
}

pub fn word(config: Option<&Path>, kind: Kind, command: &WordCommand) -> Result<u8, Trouble> {
    match command {
        WordCommand::Add(AddWord { name, public_suffix, said }) => {
            add(config, kind, Some((name.as_str(), *public_suffix)), said)
        }
        WordCommand::List(args) => list(config, kind, args),
        WordCommand::Remove(args) => remove(config, kind, args),
    }
}

pub fn pause(config: Option<&Path>, command: &PauseCommand) -> Result<u8, Trouble> {
    match command {
        PauseCommand::Add(AddPause { said }) => add(config, Kind::Pause, None, said),
        PauseCommand::List(args) => list(config, Kind::Pause, args),
        PauseCommand::Remove(args) => remove(config, Kind::Pause, args),
    }
}

fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Allow => "/api/v1/allows",
        Kind::Deny => "/api/v1/denies",
        Kind::Pause => "/api/v1/pauses",
    }
}

fn add(config: Option<&Path>, kind: Kind, word: Option<(&str, bool)>, said: &SaidArgs) -> Result<u8, Trouble> {
    let by = person::by(said.who.by.as_deref());
    let realm = said.realm.map(|realm| realm.to_string());
    let mut query = vec![("reason", said.reason.as_str()), ("by", by.as_str())];
    let is_true = |given: bool| given.then_some("true");
    let given = [
        ("name", word.map(|(name, _)| name)),
        ("public_suffix", word.and_then(|(_, public_suffix)| is_true(public_suffix))),
        ("everyone", is_true(said.everyone)),
        ("until_window", said.until_window.as_deref()),
        ("profile", said.profile.as_deref()),
        ("client", said.client.as_deref()),
        ("realm", realm.as_deref()),
        ("for", said.lasts.as_deref()),
        ("until", said.until.as_deref()),
    ];
    query.extend(given.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let address = client::admin_address(said.who.admin.admin, config)?;
    let done = client::post_shared::<Made>(address, path(kind), &query, CHANGE_TIMER)?;
    let language = Language::of_user();
    let code = done.print(said.who.json, |Made { entry, .. }| {
        let told = told(language, entry, &zone(config, &said.who.admin));
        say!("{} {}: {told}", kind.as_str(), entry.id);
    });
    let Some(still) = done.told.still else { return Ok(code) };
    if !said.who.json {
        let lead = match kind {
            Kind::Deny => language.pick("It is allowed all the same.", "Tên này vẫn được phép."),
            Kind::Allow => language.pick("It is blocked all the same.", "Tên này vẫn bị chặn."),
            Kind::Pause => language.pick("But", "Nhưng"),
        };
        say!("{lead} {}", language.pick(&still.sentence_en, &still.sentence_vi));
        let lead = language.pick("to change this:", "muốn thay đổi:");
        say!("{lead} {}", language.pick(&still.change_en, &still.change_vi));
    }
    Ok(NO)
}

fn list(config: Option<&Path>, kind: Kind, args: &AskArgs) -> Result<u8, Trouble> {
    let address = client::admin_address(args.admin.admin, config)?;
    let entries: Vec<Entry> = client::get_json(address, path(kind), &[])?;
    print(&entries, args.json, |entries| {
        let (language, zone) = (Language::of_user(), zone(config, &args.admin));
        if entries.is_empty() {
            say!("{}", language.pick("none is in force", "không có mục nào đang có hiệu lực"));
        }
        entries.iter().for_each(|entry| say!("{:>6}  {}", entry.id, told(language, entry, &zone)));
    });
    Ok(YES)
}

fn remove(config: Option<&Path>, kind: Kind, args: &RemoveSaid) -> Result<u8, Trouble> {
    let (id, by) = (args.id.to_string(), person::by(args.who.by.as_deref()));
    let query = [("id", id.as_str()), ("by", by.as_str())];
    let address = client::admin_address(args.who.admin.admin, config)?;
    let path = format!("{}/remove", path(kind));
    let done = client::post_shared::<Entry>(address, &path, &query, CHANGE_TIMER)?;
    Ok(done.print(args.who.json, |entry| {
        let language = Language::of_user();
        let told = told(language, entry, &zone(config, &args.who.admin));
        say!("{} {id} {}: {told}", kind.as_str(), language.pick("has ended", "đã kết thúc"));
    }))
}

fn zone(config: Option<&Path>, admin: &AdminArgs) -> TimeZone {
    client::time_zone(client::admin_address(admin.admin, config).ok(), config)
}

/// One entry in a line.
fn told(language: Language, entry: &Entry, zone: &TimeZone) -> String {
    let what = entry.name.clone().unwrap_or_else(|| {
        language.pick("content and SafeSearch off", "tạm tắt lọc nội dung và SafeSearch").to_owned()
    });
    let (until, Entry { author, reason, .. }) = (rfc3339(UnixTime(entry.until), zone), entry);
    let (scope_en, scope_vi) = entry.scope_texts();
    match language {
        Language::English => format!("{what}, for {scope_en}, until {until}, by {author}: {reason}"),
        Language::Vietnamese => format!("{what}, cho {scope_vi}, đến {until}, do {author}: {reason}"),
    }
}
