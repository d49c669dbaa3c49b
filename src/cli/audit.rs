//! `audit verify` and `audit show`: the log of changes, read from the disk. No resolver has to run.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use crate::cli::client;
use crate::cli::language::Language;
use crate::cli::out::{complain, print_json, say};
use crate::cli::{CANNOT_TELL, NO, USAGE, YES};
use crate::config;
use crate::daemon::admin::parse_moment;
use crate::daemon::audit::{self, Broken, Verified};
use crate::daemon::loader::state_directory;
use crate::engine::explain::rfc3339;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that no octet, line or end of the log was changed; exit 1 and name the first bad line otherwise
    #[command(
        after_help = "The public key is beside the log (audit/key.pub); who may write there could replace both, so keep a \
                      copy elsewhere and give it with --key."
    )]
    Verify(VerifyArgs),
    /// Show the last changes
    Show(ShowArgs),
    /// Print the public key that the log is checked with
    Key(KeyArgs),
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// One file of a log, or the directory of one [default: the state directory's]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The public key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// So many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    count: usize,
    /// The directory of a log [default: the state directory's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The directory of a log [default: the state directory's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub fn run(config: Option<&Path>, command: &AuditCommand) -> u8 {
    let given = match command {
        AuditCommand::Verify(VerifyArgs { file, .. }) => file,
        AuditCommand::Show(ShowArgs { directory, .. }) | AuditCommand::Key(KeyArgs { directory }) => directory,
    };
    let Some(place) = given.clone().or_else(|| configured(config)) else { return CANNOT_TELL };
    match command {
        AuditCommand::Verify(args) => verify(&place, args.key.as_deref()),
        AuditCommand::Show(args) => show(&place, args, &client::time_zone(None, config)),
        AuditCommand::Key(_) => key(&place),
    }
}

/// Where the configuration keeps state.
fn configured(config: Option<&Path>) -> Option<PathBuf> {
    let settings = match config {
        None => Ok(config::embedded().settings),
        Some(path) => config::load(path).map(|config| config.settings),
    };
    match settings {
        Ok(settings) => Some(state_directory(&settings).join(audit::DIRECTORY)),
        Err(errors) => {
            errors.iter().for_each(|error| complain!("lachan: {error}"));
            None
        }
    }
}

fn verify(place: &Path, key: Option<&str>) -> u8 {
    let language = Language::of_user();
    if let Some(key) = key.filter(|key| !audit::is_public_key(key)) {
        let why = language.pick(
            "is no public key; `lachan audit key` prints one",
            "không phải khóa công khai; `lachan audit key` in ra khóa",
        );
        complain!("lachan: --key: {key:?} {why}");
        return USAGE;
    }
    if !place.exists() {
        let why = language.pick(
            "there is no audit log; -c FILE says where the configuration keeps one",
            "không có nhật ký kiểm toán; -c TỆP cho biết cấu hình lưu ở đâu",
        );
        complain!("lachan: {}: {why}", place.display());
        return CANNOT_TELL;
    }
    let is_empty = place.is_dir() && audit::is_empty(place);
    if is_empty {
        let (english, vietnamese) =
            ("there is no file of an audit log in it", "không có tệp nhật ký kiểm toán nào ở đây");
        complain!("lachan: {}: {}", place.display(), language.pick(english, vietnamese));
        return CANNOT_TELL;
    }
    let found = if place.is_dir() { audit::verify(place, key) } else { audit::verify_file(place, key) };
    match found {
        Ok(Verified { files, lines, first, last, hash }) => {
            let whole = language.pick("the audit log is whole", "nhật ký kiểm toán nguyên vẹn");
            let words = match language {
                Language::English => {
                    format!("{lines} lines in {files} files, {first} to {last}, the last with hash {hash}")
                }
                Language::Vietnamese => {
                    format!("{lines} dòng trong {files} tệp, từ {first} đến {last}, dòng cuối có mã băm {hash}")
                }
            };
            say!("{whole}: {words}");
            YES
        }
        Err(broken) => told(&broken),
    }
}

fn told(broken: &Broken) -> u8 {
    let lead = Language::of_user().pick("the audit log is broken", "nhật ký kiểm toán không còn nguyên vẹn");
    complain!("lachan: {lead}: {broken}");
    NO
}

fn show(place: &Path, args: &ShowArgs, zone: &TimeZone) -> u8 {
    let lines = match audit::lines_of(place, args.count) {
        Ok(lines) => lines,
        Err(broken) => {
            complain!("lachan: {broken}");
            return CANNOT_TELL;
        }
    };
    if args.json {
        print_json(&lines);
        return YES;
    }
    for line in lines {
        let side = |value: &serde_json::Value| if value.is_null() { "–".to_owned() } else { value.to_string() };
        let (before, after) = (side(&line.before), side(&line.after));
        let at = parse_moment(&line.at).map_or_else(|_| line.at.clone(), |at| rfc3339(at, zone));
        let node = line.node.map_or(String::new(), |node| format!(" ({node})"));
        say!("{:>6}  {at}  {}{node}  {} {}: {before} → {after}", line.seq, line.who, line.what, line.subject);
    }
    YES
}

fn key(place: &Path) -> u8 {
    let key = place.parent().map(audit::public_key_in);
    match key {
        Some(Ok(key)) => {
            say!("{key}");
            YES
        }
        Some(Err(why)) => {
            complain!("lachan: {}: {why}", place.display());
            CANNOT_TELL
        }
        None => CANNOT_TELL,
    }
}
