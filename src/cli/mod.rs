//! What a person types: arguments in, text and an exit code out. Each command has a module.
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

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::daemon::listener::Claim;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::daemon::explain::Asker;
use client::{Trouble, ended};
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

const DNR_EXAMPLES: &str = "\
Examples:
  lachan dnr -c lachan.toml                         every form
  lachan dnr --kea -c lachan.toml                   one of them
  lachan dnr --ios -c lachan.toml > dns.mobileconfig
  lachan dnr --android --client lop-6a              for the client that has this among its `ids`

The name is `name` in [tls], else the certificate's; the addresses are `addresses` in [tls], else those of `dns` in [listen].";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  lachan explain www.pornhub.com
  lachan explain https://zalo.me/pc --client 10.20.0.7         as this client would be answered
  lachan explain example.com --profile school --type AAAA      as this profile would be answered
  lachan explain roblox.com --profile school --at 2026-11-27T22:00:00+07:00
  lachan explain example.com --json                            for scripts
  lachan explain example.com --offline -c lachan.toml          compile the configuration here instead of asking";

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
    Serve(ServeArgs),
    /// Read a configuration and its lists and report every mistake with file and line
    Check,
    /// Say why a name is blocked, rewritten or allowed
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// The lists: those in force, and a file of them
    Lists {
        #[command(subcommand)]
        command: ListsCommand,
    },
    /// The rate limits
    Limits {
        #[command(subcommand)]
        command: LimitsCommand,
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
        command: SafesearchCommand,
    },
    /// How clients are told of this resolver's encrypted service: for DHCP servers, routers, phones and PCs
    #[command(after_help = DNR_EXAMPLES)]
    Dnr(DnrArgs),
    /// Lines that come and go, and their profiles
    #[command(after_help = SUBSCRIBERS_EXAMPLES)]
    Subscribers {
        #[command(subcommand)]
        command: SubscribersCommand,
    },
    /// Certificates
    Tls {
        #[command(subcommand)]
        command: TlsCommand,
    },
    /// Hours: the windows of profiles
    Schedule {
        #[command(subcommand)]
        command: ScheduleCommand,
    },
    /// Services that `block = ["service:NAME"]` takes
    Services {
        #[command(subcommand)]
        command: ServicesCommand,
    },
    /// The configuration file
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Exit 0 when this node should serve, 1 when it should be withdrawn, 3 when degraded (upstream lost) or unknown
    Healthcheck(AdminArgs),
    /// The version
    Version,
}

#[derive(Debug, Subcommand)]
enum ListsCommand {
    /// Rules, age, skipped lines and errors of every list of the running resolver
    Status(AskArgs),
    /// Compile every configured list into one file, for `format = "compiled"` here or elsewhere
    Compile(ListsCompileArgs),
    /// Fetch lists by URL now, and say what came
    #[command(
        after_help = "Examples:\n  lachan lists update          every list with a `url`\n  lachan lists update adult    \
                            this one\n\nFiles need no update: a change is taken up by itself."
    )]
    Update(ListsUpdateArgs),
    /// Show new versions that wait, and why; exit 1 when there are some
    #[command(
        after_help = "A new version of a list waits when it hits popular names, would block much of what people ask, or \
                      shrinks or grows too much ([gate] in the configuration). The last good version serves meanwhile."
    )]
    Review(AskArgs),
    /// Show what a version that waits would change, or, when none waits, what the last one changed
    Diff(ListArgs),
    /// Put the version that waits into force
    Approve(DecisionArgs),
    /// Go back to the version before, until `lists update` or `lists approve`
    Rollback(DecisionArgs),
    /// Take a list out at once, until `lists enable`
    Disable(DecisionArgs),
    /// Put a list in again
    Enable(DecisionArgs),
}

#[derive(Debug, Subcommand)]
enum LimitsCommand {
    /// Show who is over a limit most often; in a dry run, who would be; exit 1 when no limit is configured
    #[command(
        after_help = "A prefix is an address (IPv6: a /64), or the /24 (/56) around it. Misses are questions that upstream had \
                      to be asked for; octets are those of answers beyond 1.5 times their questions. What is told is in \
                      memory only. Set limits in [rate_limit], and `lines` of a [client.*] with many subscribers behind \
                      one address."
    )]
    Top(LimitsTopArgs),
}

#[derive(Debug, Subcommand)]
enum SafesearchCommand {
    /// Ask the running resolver for every engine and print what came back
    Test(AdminArgs),
}

#[derive(Debug, Subcommand)]
enum SubscribersCommand {
    /// How many there are, and when each feed last told something; exit 1 when there is no [subscribers]
    Status(AskArgs),
    /// Show what is known of an address, a prefix or a token; exit 1 when it is nothing
    Get(SubscriberArgs),
    /// Give a prefix or a token a profile
    Set(SubscriberSetArgs),
    /// Take out a prefix, or what was chosen for a token
    Remove(SubscriberArgs),
    /// Load a CSV or NDJSON file
    Load(SubscribersLoadArgs),
}

/// Whom a command is about.
#[derive(Debug, Args)]
struct SubscriberArgs {
    /// `100.64.1.2/32`, `2001:db8:20::/56`; for `get` also an address, with the port it asks from: `198.51.100.7:2048`
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,
    /// Ports of a shared address
    #[arg(long, value_name = "FIRST-LAST", requires = "prefix")]
    ports: Option<String>,
    /// Which of several networks with the same addresses
    #[arg(long, value_name = "N")]
    realm: Option<u16>,
    /// 32 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    token: Option<String>,
    /// A line's identifier, as the network tells it
    #[arg(long, value_name = "TEXT")]
    line: Option<String>,
    /// What a client calls itself in a host name or a path
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// How the API is reached.
#[derive(Debug, Args)]
struct ApiArgs {
    /// File with the API's token [default: the configuration's api_token_file]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Show which windows are open, and what opens and closes next
    #[command(
        after_help = "Examples:\n  lachan schedule show -c lachan.toml\n  lachan schedule show --profile school --at \
                      2026-11-27T22:00:00+07:00\n\nIt reads the configuration; no resolver is asked."
    )]
    Show(ScheduleShowArgs),
}

#[derive(Debug, Subcommand)]
enum ServicesCommand {
    /// List them, by the group that each belongs to
    List(ServicesListArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key: its type, default, unit, what it does, and an example
    Reference(ConfigReferenceArgs),
}

#[derive(Debug, Args)]
struct ScheduleShowArgs {
    /// At this moment instead of now
    #[arg(long, value_name = "RFC3339")]
    at: Option<String>,
    /// This profile alone
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SubscriberSetArgs {
    #[command(flatten)]
    who: SubscriberArgs,
    /// The profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// When the entry of a prefix ends: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

#[derive(Debug, Args)]
struct SubscribersLoadArgs {
    /// CSV with a head (`prefix,profile`, and any of ports, realm, token, line, label, expires, remove), or NDJSON of the
    /// same names when it ends in .ndjson or .jsonl
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file is all there is: whom it does not name is taken out. Numbers grow; one that was used does nothing
    #[arg(long, value_name = "SERIAL", conflicts_with = "delta")]
    snapshot: Option<u64>,
    /// The file follows what is here: its number is the one after `subscribers status` tells
    #[arg(long, value_name = "SERIAL")]
    delta: Option<u64>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Debug, Args)]
struct ServicesListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ConfigReferenceArgs {
    /// vi or en [default: by the locale]
    #[arg(long, value_name = "LANGUAGE", value_parser = ["vi", "en"])]
    lang: Option<String>,
}

#[derive(Debug, Subcommand)]
enum TlsCommand {
    /// Make a certificate that nobody vouches for, to try encrypted DNS with
    #[command(
        after_help = "Examples:\n  lachan tls self-signed --name dns.example.vn -o tls\n  kdig @127.0.0.1 -p 8853 +tls \
                      +tls-ca=tls/fullchain.pem +tls-hostname=dns.example.vn vnexpress.net\n\nWhat it prints goes into the \
                      configuration. A certificate for people's devices comes from an authority that they trust."
    )]
    SelfSigned(SelfSignedArgs),
}

#[derive(Debug, Args)]
struct DnrArgs {
    /// For Kea: DHCPv4 and DHCPv6
    #[arg(long)]
    kea: bool,
    /// For dnsmasq
    #[arg(long)]
    dnsmasq: bool,
    /// For ISC DHCP
    #[arg(long)]
    isc: bool,
    /// For MikroTik RouterOS
    #[arg(long)]
    mikrotik: bool,
    /// For radvd
    #[arg(long)]
    radvd: bool,
    /// A configuration profile for iPhone, iPad and Mac
    #[arg(long)]
    ios: bool,
    /// What is typed into Android's Private DNS
    #[arg(long)]
    android: bool,
    /// Commands for Windows 11
    #[arg(long)]
    windows: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// As the client with this identity
    #[arg(long, value_name = "ID", value_parser = identity)]
    client: Option<String>,
}

fn identity(text: &str) -> Result<String, String> {
    match crate::engine::identity::is_label(text.as_bytes()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("an identity is 1 to 63 letters, digits and hyphens".to_owned()),
    }
}

#[derive(Debug, Args)]
struct SelfSignedArgs {
    /// The resolver's host name
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    name: String,
    /// Its addresses [default: 127.0.0.1 and ::1]
    #[arg(long = "address", value_name = "ADDR")]
    addresses: Vec<IpAddr>,
    /// Directory for fullchain.pem and privkey.pem
    #[arg(short = 'o', long = "output", value_name = "DIR", default_value = "tls")]
    directory: PathBuf,
}

#[derive(Debug, Args, Default)]
struct ServeArgs {
    /// Listen beside a running lachan, which is stopped next: no question is lost over a new version
    #[arg(long)]
    take_over: bool,
}

impl ServeArgs {
    fn claim(&self) -> Claim {
        if self.take_over { Claim::Beside } else { Claim::Alone }
    }
}

/// How the running resolver is reached.
#[derive(Debug, Args, Clone)]
struct AdminArgs {
    /// Admin address of the running resolver [default: the configuration's]
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
}

#[derive(Debug, Args)]
struct LimitsTopArgs {
    /// So many prefixes
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
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

#[derive(Debug, Args)]
struct ListsCompileArgs {
    /// Where the file goes; it is there whole or not at all
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The NAME of one [list.NAME]
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DecisionArgs {
    /// Who says so [default: the user]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Args)]
struct ListsUpdateArgs {
    /// The NAME of one [list.NAME] [default: every list with a `url`]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    who: WhoSays,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// A name or a URL
    #[arg(value_name = "NAME|URL")]
    name: String,
    /// Query type: A, AAAA, HTTPS, TYPE65, 65 …
    #[arg(short = 't', long = "type", default_value = "A", value_name = "TYPE")]
    qtype: String,
    /// As this client would be answered: its address, or one of its `ids`; behind a shared address, the port it asks from tells
    /// which
    #[arg(long, value_name = "ADDR[:PORT]|ID")]
    client: Option<Asker>,
    /// The realm of this address, where several networks use the same ones [default: 0]
    #[arg(long, value_name = "N", requires = "client")]
    realm: Option<u16>,
    /// As this profile would be answered
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// As it would be answered at this moment
    #[arg(long, value_name = "RFC3339")]
    at: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Do not ask the running resolver: compile the configuration and judge the question alone
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const SUBSCRIBERS_EXAMPLES: &str = "\
Examples:
  lachan subscribers set 100.64.1.2/32 --profile family
  lachan subscribers set --line 'olt-7/3/12' --profile unfiltered
  lachan subscribers get 198.51.100.7:2048                     who asks from there?
  lachan subscribers load lines.csv --snapshot 20270131        all of the operator's books
  lachan subscribers status

Needs api_token_file in [subscribers] of the configuration.";

/// Runs what the arguments ask for. Usage errors end the process with 2 inside clap.
pub fn main() -> ExitCode {
    let cli = parsed();
    let config = cli.config.clone().or_else(default_config);
    let code = match cli.command.unwrap_or(Command::Serve(ServeArgs::default())) {
        Command::Serve(args) => serve::run(config, args.claim()),
        Command::Check => check::run(config.as_deref()),
        Command::Explain(args) => explain::run(config.as_deref(), &args),
        Command::Lists { command } => ended(lists_command(config.as_deref(), &command)),
        Command::Limits { command: LimitsCommand::Top(args) } => ended(limits::top(config.as_deref(), &args)),
        Command::Allow { command } => ended(said::word(config.as_deref(), Kind::Allow, &command)),
        Command::Deny { command } => ended(said::word(config.as_deref(), Kind::Deny, &command)),
        Command::Pause { command } => ended(said::pause(config.as_deref(), &command)),
        Command::Orders { command } => ended(orders::run(config.as_deref(), &command)),
        Command::Fleet { command } => ended(fleet::run(config.as_deref(), &command)),
        Command::Cache { command } => ended(cache::run(config.as_deref(), &command)),
        Command::Audit { command } => audit::run(config.as_deref(), &command),
        Command::Safesearch { command: SafesearchCommand::Test(args) } => {
            ended(safesearch::test(config.as_deref(), &args))
        }
        Command::Dnr(args) => dnr::run(config.as_deref(), &args),
        Command::Subscribers { command } => ended(subscribers::run(config.as_deref(), &command)),
        Command::Tls { command: TlsCommand::SelfSigned(args) } => tls::self_signed(&args),
        Command::Schedule { command: ScheduleCommand::Show(args) } => schedule::show(config.as_deref(), &args),
        Command::Services { command: ServicesCommand::List(args) } => services::list(&args),
        Command::Config { command: ConfigCommand::Reference(args) } => config_reference::run(&args),
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

fn lists_command(config: Option<&Path>, command: &ListsCommand) -> Result<u8, Trouble> {
    match command {
        ListsCommand::Status(args) => lists::status(config, args),
        ListsCommand::Update(args) => lists::update(config, args),
        ListsCommand::Compile(args) => Ok(compile::run(config, args)),
        ListsCommand::Review(args) => review::review(config, args),
        ListsCommand::Diff(args) => review::diff(config, args),
        ListsCommand::Approve(args) => review::approve(config, args),
        ListsCommand::Rollback(args) => review::roll_back(config, args),
        ListsCommand::Disable(args) => review::disable(config, args),
        ListsCommand::Enable(args) => review::enable(config, args),
    }
}

fn default_config() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LACHAN_CONFIG").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists())
}
