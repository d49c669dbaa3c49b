//! Text → engine inputs: what the operator wrote becomes a [`Policy`] and the daemon's [`Settings`].
//!
//! The one idea: a configuration is either taken whole or refused with *every* mistake in it, each with its file and line.
//! So it is read in passes that never stop — files to a `tree` that knows its lines, tables merged, tree to the file's
//! shape (`spec`), shape to engine types (`lower`) — and all of them report to one sink. Lists are only named here;
//! reading them is the daemon's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::compile::{ListSource, Policy};
use crate::engine::limits::CONFIG_FILE_OCTETS_MAX;
use crate::engine::list::ParseOptions;

mod calendar;
mod contact;
mod cookies;
pub mod default;
mod errors;
mod files;
mod gate;
mod hints;
mod hours;
mod list_url;
mod lower;
mod orders;
mod peers;
mod people;
mod profile;
mod rate_limit;
mod reader;
pub mod reference;
mod server;
mod services;
mod shipped;
mod spec;
mod subscribers;
mod tls;
mod tree;
mod values;
mod versions;
mod zone_limit;

#[cfg(test)]
mod tests;

pub use errors::ConfigError;
pub use files::{list_parts, read_steadily, read_steady};
pub use list_url::ListUrl;
pub use orders::{OrderSettings, ordered_name, ordered_text, read_order, write_order};
pub use subscribers::{LeaseSettings, RadiusClient, RadiusSettings, Secret, StoreSettings, SubscriberSettings};
pub use tls::TlsSettings;
pub use values::{duration, network};
pub use versions::{Version, Versions, look_again};

use errors::{Place, Sink};
use tree::Table;

/// A configuration without mistakes.
#[derive(Debug, Clone)]
pub struct Config {
    pub settings: Settings,
    pub policy: Policy,
    /// The configuration files that were read, the main one first. Empty for the embedded one.
    pub files: Vec<PathBuf>,
    /// What is allowed but probably not meant.
    pub hints: Vec<ConfigError>,
}

/// What belongs to the daemon. Most of it needs a restart; comparing two of these tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Plain DNS, UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS.
    pub dot: Vec<SocketAddr>,
    /// DNS over HTTPS: HTTP/1.1 and HTTP/2 by TCP, HTTP/3 by UDP.
    pub doh: Vec<SocketAddr>,
    /// DNS over QUIC.
    pub doq: Vec<SocketAddr>,
    /// There is one where an encrypted listener is.
    pub tls: Option<TlsSettings>,
    pub udp: UdpSettings,
    /// `None`: off.
    pub admin: Option<SocketAddr>,
    /// Nobody asked for this address: when it is taken, warn and serve.
    pub admin_is_default: bool,
    pub orders: OrderSettings,
    /// `None`: the daemon chooses.
    pub state_directory: Option<PathBuf>,
    /// Servers that resolve the host names of upstream servers.
    pub bootstrap: Vec<SocketAddr>,
    /// Certificates trusted beside the system's when an upstream is verified; PEM.
    pub tls_roots: Option<PathBuf>,
    /// How long a shutdown waits for questions in flight.
    pub drain_timeout: Duration,
    /// An IANA name that is in the database.
    pub time_zone: String,
    pub popular: PopularSettings,
    /// Lists that are fetched.
    pub list_urls: Vec<ListUrl>,
    /// `None`: nobody tells of subscribers.
    pub subscribers: Option<SubscriberSettings>,
}

/// How datagrams are taken from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpSettings {
    pub engine: Engine,
    /// Threads for each address; `None`: one for each core.
    pub workers: Option<usize>,
    /// Each thread stays on a core of its own.
    pub pinned: bool,
}

/// `[listen] udp_engine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Batched,
    Portable,
}

/// From what it is known which names are popular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopularSettings {
    /// `rank,name` or a name a line, the most popular first.
    pub file: Option<PathBuf>,
    /// So many of its names count.
    pub top: usize,
    pub learn: Learn,
}

/// Whether it is learnt which names people ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learn {
    Off,
    /// Forgotten with the process.
    Memory,
    /// Kept in the state directory too, as keyed hashes.
    Disk,
}

/// The configuration of a resolver that was started without one.
pub fn embedded() -> Config {
    load_str("lachan.toml (embedded)", default::EMBEDDED, Path::new("/"))
        .expect("a test reads the embedded configuration without a mistake")
}

/// Reads a configuration file and, beside a `lachan.toml`, `conf.d/*.toml`.
pub fn load(path: &Path) -> Result<Config, Vec<ConfigError>> {
    examine(path).config
}

/// [`load`], which notes what it looks at even when nothing good comes of it: a mistake is repaired in one of these.
pub fn load_noting(path: &Path, seen: &mut Versions) -> Result<Config, Vec<ConfigError>> {
    examine_noting(path, seen).config
}

/// What a configuration says, for whoever goes on where a start would stop.
pub struct Examined {
    pub config: Result<Config, Vec<ConfigError>>,
    /// The list files it names, whatever else is wrong with it.
    pub list_files: Vec<ListFile>,
}

/// A file that a `[list.*]` names.
pub struct ListFile {
    pub list: String,
    pub source: ListSource,
    pub options: ParseOptions,
    pub required: bool,
    /// Where the table stands.
    file: String,
    line: u32,
}

impl ListFile {
    /// Something about this list, said at its table.
    pub fn say(&self, message: String) -> ConfigError {
        ConfigError { file: self.file.clone(), line: Some(self.line), column: None, message }
    }
}

/// [`load`], and which list files are named.
pub fn examine(path: &Path) -> Examined {
    examine_noting(path, &mut Versions::new())
}

fn examine_noting(path: &Path, seen: &mut Versions) -> Examined {
    let mut files = vec![path.to_owned()];
    let mut unreadable = Vec::new();
    seen.insert(path.to_owned(), Version::of_file(path));
    if let Some(directory) = files::parts_directory(path) {
        seen.insert(directory.clone(), Version::Parts(None));
        match files::parts_of(&directory) {
            Ok(parts) => {
                seen.insert(directory, Version::of_parts(&parts));
                seen.extend(parts.iter().map(|part| (part.clone(), Version::of_file(part))));
                files.extend(parts);
            }
            Err(error) => unreadable.push(ConfigError::about_file(path, error.to_string())),
        }
    }
    let mut texts = Vec::new();
    for file in &files {
        match read_text(file) {
            Ok(text) => texts.push((file.display().to_string(), text, base_of(file))),
            Err(error) => unreadable.push(error),
        }
    }
    read(&texts, files, unreadable, seen)
}

/// Reads a configuration from text. `name` is what messages call it; relative paths start from `base`.
pub fn load_str(name: &str, text: &str, base: &Path) -> Result<Config, Vec<ConfigError>> {
    let texts = [(name.to_owned(), text.to_owned(), base.to_owned())];
    read(&texts, Vec::new(), Vec::new(), &mut Versions::new()).config
}

fn read_text(file: &Path) -> Result<String, ConfigError> {
    let octets = read_steady(file, CONFIG_FILE_OCTETS_MAX)
        .map_err(|error| ConfigError::about_file(file, format!("cannot be read: {error}")))?;
    String::from_utf8(octets).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|&&c| c == b'\n').count() as u32 + 1;
        ConfigError { line: Some(line), ..ConfigError::about_file(file, "not UTF-8") }
    })
}

/// The directory a file's relative paths start from, absolute.
fn base_of(file: &Path) -> PathBuf {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned())
}

/// Name, text and base directory of each file → the configuration they make together. `unreadable` is what could not be
/// read of it. What else is read is noted in `seen`.
fn read(
    texts: &[(String, String, PathBuf)],
    files: Vec<PathBuf>,
    unreadable: Vec<ConfigError>,
    seen: &mut Versions,
) -> Examined {
    let mut sink = Sink::default();
    let numbers: Vec<usize> = texts.iter().map(|(name, _, base)| sink.add_file(name.clone(), base.clone())).collect();
    let mut all = Table::default();
    let mut is_whole = unreadable.is_empty();
    for (&number, (_, text, _)) in numbers.iter().zip(texts) {
        match tree::parse(text, number, &sink) {
            Some(table) => all.merge(table, "", &sink),
            None => is_whole = false,
        }
    }
    let top = Place { file: 0, line: 1, column: 1 };
    // What a full disk or an editor that died leaves behind. Taken at its word it would filter nothing.
    if is_whole && all.entries.is_empty() {
        sink.error(top, "it holds no setting; without -c the built-in configuration is served");
    }
    let spec = spec::read(&all, top, &sink);
    let list_files = lower::list_files(&spec, &sink);
    // What a missing part or a syntax error hides would look undeclared, so references are checked only without one.
    let lowered = is_whole.then(|| lower::lower(&spec, &hours::Calendars::read(&spec, seen, &sink), &sink));
    let config = match (lowered, sink.into_parts()) {
        (Some((settings, policy)), (errors, hints)) if errors.is_empty() => {
            Ok(Config { settings, policy, files, hints })
        }
        (_, (errors, _)) => Err(unreadable.into_iter().chain(errors).collect()),
    };
    Examined { config, list_files }
}
