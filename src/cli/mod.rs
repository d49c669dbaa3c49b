//! What a person types: arguments in, text and an exit code out. Each command has a module, with its arguments; here are those that
//! many share.
//!
//! Exit codes: 0 yes, 1 no, 2 usage, 3 cannot tell (no daemon, no answer). `healthcheck`: 0 serve, 1 withdraw, 3 degraded.

pub mod annex;
mod audit;
mod cache;
mod check;
mod client;
mod compile;
mod config_reference;
mod dnr;
mod explain;
mod fleet;
mod healthcheck;
mod language;
mod limits;
mod lists;
mod orders;
mod out;
mod person;
mod progress;
mod review;
mod safesearch;
mod said;
mod schedule;
mod serve;
mod services;
mod subscribers;
mod tls;
mod vietnamese;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use client::ended;
use language::Language;
use out::say;

use crate::daemon::said::Kind;

/// Yes; done.
pub const YES: u8 = 0;
/// No; it failed.
pub const NO: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// Cannot tell: no daemon, no answer.
pub const CANNOT_TELL: u8 = 3;

/// Where the configuration is when nothing says otherwise.
const DEFAULT_CONFIG: &str = "/etc/lachan/lachan.toml";

const EXAMPLES: &str = "\
Examples:
  lachan                                              start with the built-in defaults on 127.0.0.1:5354
  lachan -c /etc/lachan/lachan.toml                   start with a configuration
  lachan check -c lachan.toml                         find every mistake in it
  lachan explain www.example.com                      why is (or isn't) a name blocked?
  lachan explain www.example.com -c lachan.toml       the same, asking the resolver of this configuration
  lachan safesearch test                              is every search engine safe?
  dig @127.0.0.1 -p 5354 adult.block.lachan.example   a harmless name that is blocked

Exit codes: 0 yes, 1 no, 2 usage, 3 cannot tell (no daemon, no answer, no address to ask).";

#[derive(Debug, Parser)]
#[command(
    name = "lachan",
    version,
    about = "Lá Chắn: a DNS resolver that filters harmful content on the line",
    long_about = "Lá Chắn (\"shield\") is a DNS resolver for schools and telecom operators. It forwards questions, blocks \
                  harmful names, forces SafeSearch, and tells people why.\n\nMáy phân giải tên miền lọc nội dung xấu độc \
                  cho trường học và nhà mạng.",
    after_help = EXAMPLES
)]
struct Cli {
    /// Configuration file [default: $LACHAN_CONFIG, else /etc/lachan/lachan.toml when it is there, else built in]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer queries (what happens without a command)
    #[command(
        after_help = "Examples:\n  lachan serve -c /etc/lachan/lachan.toml\n  lachan serve --take-over    a new version beside the \
                            running one; then send that one SIGTERM"
    )]
    Serve(serve::ServeArgs),
    /// Read a configuration and its lists and report every mistake with file and line
    Check,
    /// Say why a name is blocked, rewritten or allowed
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// The lists: those in force, and a file of them
    Lists {
        #[command(subcommand)]
        command: lists::ListsCommand,
    },
    /// The rate limits
    Limits {
        #[command(subcommand)]
        command: limits::LimitsCommand,
    },
    /// Allow a name for a while
    Allow {
        #[command(subcommand)]
        command: said::WordCommand,
    },
    /// Deny a name for a while
    Deny {
        #[command(subcommand)]
        command: said::WordCommand,
    },
    /// Switch content filtering and SafeSearch off for a while
    Pause {
        #[command(subcommand)]
        command: said::PauseCommand,
    },
    /// Legal orders
    Orders {
        #[command(subcommand)]
        command: orders::OrdersCommand,
    },
    /// The nodes that share allows, denies, pauses, orders and decisions about lists
    Fleet {
        #[command(subcommand)]
        command: fleet::FleetCommand,
    },
    /// What was answered
    Cache {
        #[command(subcommand)]
        command: cache::CacheCommand,
    },
    /// The log of changes
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// SafeSearch
    Safesearch {
        #[command(subcommand)]
        command: safesearch::SafesearchCommand,
    },
    /// How clients are told of this resolver's encrypted service: for DHCP servers, routers, phones and PCs
    #[command(after_help = dnr::EXAMPLES)]
    Dnr(dnr::DnrArgs),
    /// Lines that come and go, and their profiles
    #[command(after_help = subscribers::EXAMPLES)]
    Subscribers {
        #[command(subcommand)]
        command: subscribers::SubscribersCommand,
    },
    /// Certificates
    Tls {
        #[command(subcommand)]
        command: tls::TlsCommand,
    },
    /// Hours: the windows of profiles
    Schedule {
        #[command(subcommand)]
        command: schedule::ScheduleCommand,
    },
    /// Services that `block = ["service:NAME"]` takes
    Services {
        #[command(subcommand)]
        command: services::ServicesCommand,
    },
    /// The configuration file
    Config {
        #[command(subcommand)]
        command: config_reference::ConfigCommand,
    },
    /// Exit 0 when this node should serve, 1 when it should be withdrawn, 3 when degraded (upstream lost) or unknown
    Healthcheck(AdminArgs),
    /// The version
    Version,
}

/// How the running resolver is reached.
#[derive(Debug, Args, Clone)]
struct AdminArgs {
    /// Admin address of the running resolver [default: the configuration's]
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
}

/// How the running resolver is reached, and how its answer is told.
#[derive(Debug, Args)]
struct AskArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Who says so, to whom, and how it is told.
#[derive(Debug, Args)]
struct WhoSays {
    /// Who says so [default: the user]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs what the arguments ask for. Usage errors end the process with 2 inside clap.
pub fn main() -> ExitCode {
    let cli = parsed();
    let config = cli.config.clone().or_else(default_config);
    let code = match cli.command.unwrap_or(Command::Serve(serve::ServeArgs::default())) {
        Command::Serve(args) => serve::run(config, args.claim()),
        Command::Check => check::run(config.as_deref()),
        Command::Explain(args) => explain::run(config.as_deref(), &args),
        Command::Lists { command } => ended(lists::run(config.as_deref(), &command)),
        Command::Limits { command: limits::LimitsCommand::Top(args) } => ended(limits::top(config.as_deref(), &args)),
        Command::Allow { command } => ended(said::word(config.as_deref(), Kind::Allow, &command)),
        Command::Deny { command } => ended(said::word(config.as_deref(), Kind::Deny, &command)),
        Command::Pause { command } => ended(said::pause(config.as_deref(), &command)),
        Command::Orders { command } => ended(orders::run(config.as_deref(), &command)),
        Command::Fleet { command } => ended(fleet::run(config.as_deref(), &command)),
        Command::Cache { command } => ended(cache::run(config.as_deref(), &command)),
        Command::Audit { command } => audit::run(config.as_deref(), &command),
        Command::Safesearch { command: safesearch::SafesearchCommand::Test(args) } => {
            ended(safesearch::test(config.as_deref(), &args))
        }
        Command::Dnr(args) => dnr::run(config.as_deref(), &args),
        Command::Subscribers { command } => ended(subscribers::run(config.as_deref(), &command)),
        Command::Tls { command: tls::TlsCommand::SelfSigned(args) } => tls::self_signed(&args),
        Command::Schedule { command: schedule::ScheduleCommand::Show(args) } => {
            schedule::show(config.as_deref(), &args)
        }
        Command::Services { command: services::ServicesCommand::List(args) } => services::list(&args),
        Command::Config { command: config_reference::ConfigCommand::Reference(args) } => config_reference::run(&args),
        Command::Healthcheck(args) => healthcheck::run(config.as_deref(), &args),
        Command::Version => {
            say!("lachan {}", env!("CARGO_PKG_VERSION"));
            YES
        }
    };
    ExitCode::from(if code == YES && !out::is_whole() { NO } else { code })
}

fn parsed() -> Cli {
    let read = |command: clap::Command| Cli::from_arg_matches(&command.try_get_matches()?);
    match Language::of_user() {
        Language::English => read(Cli::command()).unwrap_or_else(|why| why.exit()),
        Language::Vietnamese => {
            read(vietnamese::pages(Cli::command())).unwrap_or_else(|why| why.apply::<vietnamese::Vietnamese>().exit())
        }
    }
}

fn default_config() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LACHAN_CONFIG").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists())
}
