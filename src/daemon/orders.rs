//! The register of legal orders: files of a directory, one an order, and what is known to have been in force.
//!
//! What a command writes carries a seal, signed with the audit log's key, in its last line. Nothing but a stated end
//! unblocks: when a file goes away, cannot be read or was changed under its seal, the version that was in force acts on,
//! and the trouble is told until somebody puts it right. Copies of those versions are in the state directory.
//!
//! What acts when is the engine's ([`order`](crate::engine::order)); commands are in `commands`.

mod annex;
mod commands;
mod figures;
mod letter;
mod remembered;
mod shared;
mod taken_up;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use tokio::sync::Notify;

use crate::config::{OrderSettings, Version, read_order, read_steady};
use crate::daemon::audit::{Audit, Change, is_signed};
use crate::daemon::state;
use crate::engine::limits::{ORDER_FILE_OCTETS_MAX, ORDERS_MAX, ORDERS_NAMES_MAX};
use crate::engine::order::{Alarm, Order, Orders, Remembered, may_be_same_person};
use taken_up::Met;

pub use annex::{Entry as AnnexEntry, Standing, look_at};
pub use commands::{Asked, Effect, Entered, Measured, OrderTold, Role};
pub use letter::{LetterIn, letter};
pub use remembered::{BoundBy, BoundTold, NameTold, RememberedTold, WorstTold};
pub use taken_up::{NodeTold, TakenUp, TakenUpTold};

/// In the state directory.
const DIRECTORY: &str = "orders";
/// Copies of what is in force, in the state directory.
const KEPT: &str = "orders.json";
const KEPT_OCTETS_MAX: u64 = 1 << 30;
/// The last line of a file that a command wrote.
const SEAL: &str = "# seal: ";

/// One for the process.
#[derive(Default)]
pub struct Book {
    inner: Mutex<Inner>,
    /// Held by whoever reads an order to write it changed.
    changing: Mutex<()>,
    /// Held by whoever looks up what clients may remember.
    measuring: Mutex<()>,
    /// Rung when orders may have begun to act.
    pub begun: Notify,
}

#[derive(Default)]
struct Inner {
    settings: OrderSettings,
    zone: Option<TimeZone>,
    directory: Option<PathBuf>,
    /// `None`: nothing is kept over a restart.
    kept_in: Option<PathBuf>,
    /// By reference.
    held: BTreeMap<String, Held>,
    /// Of those that have acted, by reference: what clients may remember of before.
    remembered: BTreeMap<String, Remembered>,
    /// Of the same: what questions for their names met.
    met: BTreeMap<String, Met>,
    /// What was last seen of the directory.
    seen: BTreeMap<PathBuf, Version>,
    problems: Vec<String>,
    /// Those that were told.
    alarms: Vec<(String, Alarm)>,
    orders: Arc<Orders>,
}

/// An order in its last good version.
#[derive(Debug, Clone)]
struct Held {
    /// Name of its file in the directory.
    file: String,
    text: String,
    order: Order,
    /// What other nodes know it by.
    mark: String,
}

impl Held {
    fn new(file: String, text: String, order: Order) -> Held {
        Held { mark: taken_up::mark(&order), file, text, order }
    }
}

/// As [`Held`], kept.
#[derive(Debug, Serialize, Deserialize)]
struct KeptFile {
    file: String,
    text: String,
}

impl Book {
    /// Takes up what was in force when the process ended, and keeps it there from now on.
    ///
    /// # Errors
    /// What is there cannot be read, or is not as we wrote it. The files alone count then.
    pub fn keep_in(&self, state_directory: &Path, audit: &Audit, zone: &TimeZone) -> Result<(), String> {
        let path = state_directory.join(KEPT);
        let mut inner = self.inner();
        inner.kept_in = Some(state_directory.to_owned());
        let octets = match read_steady(&path, KEPT_OCTETS_MAX) {
            Ok(octets) => octets,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(format!("{}: {why}", path.display())),
        };
        let bad = |why: String| format!("{}: {why}; only the files in the orders' directory count", path.display());
        let text = String::from_utf8(octets).map_err(|_| bad("it is no UTF-8".into()))?;
        let (body, is_whole) = unsealed(&text, audit).ok_or_else(|| bad("it has no seal".into()))?;
        if !is_whole {
            return Err(bad("it was changed".into()));
        }
        let files: Vec<KeptFile> = serde_json::from_str(body).map_err(|why| bad(why.to_string()))?;
        // One that cannot be read takes no other with it.
        let mut unread = Vec::new();
        for KeptFile { file, text } in files {
            match read_order(&file, &text, zone) {
                Ok(order) => drop(inner.held.insert(order.reference.clone(), Held::new(file, text, order))),
                Err(errors) => unread.push(first(&errors)),
            }
        }
        inner.publish();
        if unread.is_empty() { Ok(()) } else { Err(format!("{}: {}", path.display(), unread.join("; "))) }
    }

    /// Takes up what another process keeps in its state directory and what its files say; nothing is changed. What is wrong.
    pub fn look_into(&self, state_directory: &Path, settings: &OrderSettings, zone: &TimeZone) -> Vec<String> {
        let audit = Audit::looking_into(state_directory);
        let kept = self.keep_in(state_directory, &audit, zone).err();
        self.configure(settings, zone);
        self.inner().kept_in = None;
        self.look(&audit);
        kept.into_iter().chain(self.problems()).collect()
    }

    /// Follows the configuration.
    pub fn configure(&self, settings: &OrderSettings, zone: &TimeZone) {
        let mut inner = self.inner();
        inner.directory = settings.directory.clone().or_else(|| Some(inner.kept_in.as_ref()?.join(DIRECTORY)));
        inner.settings = settings.clone();
        inner.zone = Some(zone.clone());
        inner.seen.clear();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the engine asks.
    pub fn orders(&self) -> Arc<Orders> {
        Arc::clone(&self.inner().orders)
    }

    /// As if these had been read.
    #[cfg(test)]
    pub(super) fn hold(&self, orders: Orders) {
        self.inner().orders = Arc::new(orders);
    }

    /// What is wrong with the files.
    pub fn problems(&self) -> Vec<String> {
        self.inner().problems.clone()
    }

    /// Reads the directory when something in it is another than it was. Whether the orders are others now. Blocks.
    pub fn look(&self, audit: &Audit) -> bool {
        let mut inner = self.inner();
        let Some(directory) = inner.directory.clone() else { return false };
        let files = match files_of(&directory) {
            Ok(files) => files,
            Err(why) => {
                let told = vec![format!("{}: {why}; orders that were in force act on", directory.display())];
                return inner.tell(told, false);
            }
        };
        let now: BTreeMap<PathBuf, Version> = files.iter().map(|path| (path.clone(), Version::of_file(path))).collect();
        if now == inner.seen && !inner.seen.is_empty() {
            return false;
        }
        let changed = inner.read_all(&files, audit);
        inner.seen = now;
        changed
    }
}

/// Files of orders, in the order of their names; none without a directory.
fn files_of(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn first(errors: &[crate::config::ConfigError]) -> String {
    let more = if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
    errors.first().map_or_else(String::new, |error| format!("{error}{more}"))
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A text with its seal behind it; without one when nothing can sign.
fn sealed(mut text: String, audit: &Audit) -> String {
    if let Some(seal) = audit.sign(text.as_bytes()) {
        text.push_str(&format!("{SEAL}{seal}\n"));
    }
    text
}

/// What stands before the seal, and whether it is as it was sealed; `None`: there is no seal.
fn unsealed<'t>(text: &'t str, audit: &Audit) -> Option<(&'t str, bool)> {
    let at = text.rfind(SEAL).filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n')?;
    let (body, seal) = (&text[..at], text[at + SEAL.len()..].strip_suffix('\n')?);
    Some((body, audit.public_key().is_some_and(|key| is_signed(&key, body.as_bytes(), seal))))
}

impl Inner {
    /// Remembers what is wrong, and logs what is newly so.
    fn tell(&mut self, problems: Vec<String>, changed: bool) -> bool {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::error!("{problem}");
        }
        self.problems = problems;
        changed
    }

    fn read_all(&mut self, files: &[PathBuf], audit: &Audit) -> bool {
        let mut problems = Vec::new();
        let mut there: BTreeMap<String, String> = BTreeMap::new();
        let mut changed = false;
        for path in files {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match self.read_one(path, &file, &there, audit) {
                Ok(held) => {
                    let reference = held.order.reference.clone();
                    there.insert(reference.clone(), file);
                    let before = self.held.get(&reference);
                    if before.is_some_and(|before| before.text == held.text) {
                        continue;
                    }
                    let told = |held: Option<&Held>| held.map_or(Value::Null, summary);
                    let change = Change {
                        who: "file",
                        what: "order.file",
                        subject: &reference,
                        node: None,
                        before: told(before),
                        after: told(Some(&held)),
                    };
                    if let Err(why) = audit.record(&change) {
                        problems.push(format!("{}: {why}", path.display()));
                        continue;
                    }
                    tracing::info!(order = reference, "taken up from {}", path.display());
                    if before.is_some_and(|before| before.order.names != held.order.names) {
                        self.measure_anew(&reference);
                    }
                    self.held.insert(reference, held);
                    changed = true;
                }
                Err(why) => {
                    let kept =
                        self.held.values().find(|held| held.file == file).map(|held| held.order.reference.clone());
                    let acts_on = match &kept {
                        Some(reference) => format!("; order {reference} acts on as it was"),
                        None => "; it does not act".to_owned(),
                    };
                    there.extend(kept.map(|reference| (reference, file.clone())));
                    problems.push(format!("{}: {why}{acts_on}", path.display()));
                }
            }
        }
        for held in self.held.values().filter(|held| !there.contains_key(&held.order.reference)) {
            let reference = &held.order.reference;
            problems.push(format!(
                "order {reference}: its file {} is gone; it acts on until its end, or `lachan orders revoke`",
                held.file
            ));
        }
        if changed {
            problems.extend(self.keep(audit).err());
            self.publish();
        }
        self.tell(problems, changed)
    }

    fn read_one(
        &self,
        path: &Path,
        file: &str,
        there: &BTreeMap<String, String>,
        audit: &Audit,
    ) -> Result<Held, String> {
        let octets = read_steady(path, ORDER_FILE_OCTETS_MAX).map_err(|why| why.to_string())?;
        let text = String::from_utf8(octets).map_err(|_| "it is no UTF-8".to_owned())?;
        let seal = unsealed(&text, audit);
        if seal.is_some_and(|(_, is_whole)| !is_whole) {
            return Err("it was changed after a command sealed it".into());
        }
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let order = read_order(file, &text, &zone).map_err(|errors| first(&errors))?;
        if let Some(other) = there.get(&order.reference) {
            return Err(format!("its reference {} is that of {other} too", order.reference));
        }
        let before = self.held.get(&order.reference);
        if seal.is_none() && before.is_some_and(|before| unsealed(&before.text, audit).is_some()) {
            return Err("its seal is gone: a command wrote it, so only commands change it".into());
        }
        // What a command wrote was looked at when it was entered, and what is in force stays so.
        if seal.is_none() && before.is_none_or(|before| before.order.names != order.names) {
            annex::refuse_shared(&order)?;
        }
        if seal.is_none()
            && before.is_none_or(|before| before.order.approved != order.approved)
            && order.approved.as_ref().is_some_and(|act| may_be_same_person(&act.by, &order.entered.by))
        {
            return Err(format!(
                "`approved_by` reads as {}, who entered it; a second person approves",
                order.entered.by
            ));
        }
        let others = self.held.values().filter(|held| held.order.reference != order.reference);
        self.check_bounds(others.clone().count(), others.map(|held| held.order.names.len()).sum(), &order)?;
        Ok(Held::new(file.to_owned(), text, order))
    }

    /// Whether one more order fits beside so many with so many names.
    fn check_bounds(&self, orders: usize, names: usize, order: &Order) -> Result<(), String> {
        if orders >= ORDERS_MAX {
            return Err(format!("{orders} orders are there, and no more can be"));
        }
        let all = names + order.names.len();
        if all > ORDERS_NAMES_MAX {
            return Err(format!("all orders would hold {all} names, at most {ORDERS_NAMES_MAX}"));
        }
        Ok(())
    }

    /// Writes copies of what is in force.
    fn keep(&self, audit: &Audit) -> Result<(), String> {
        let Some(directory) = &self.kept_in else { return Ok(()) };
        let path = directory.join(KEPT);
        let files = self.held.values().map(|held| KeptFile { file: held.file.clone(), text: held.text.clone() });
        let mut text = serde_json::to_string(&files.collect::<Vec<_>>()).map_err(|why| why.to_string())?;
        text.push('\n');
        state::write_whole(&path, sealed(text, audit).as_bytes()).map_err(|why| format!("{}: {why}", path.display()))
    }

    fn publish(&mut self) {
        self.orders = Arc::new(Orders::new(self.held.values().map(|held| held.order.clone()).collect()));
    }
}

/// What the audit log tells of a version: not its names, which may be secret and many.
fn summary(held: &Held) -> Value {
    let order = &held.order;
    let act = |act: Option<&crate::engine::order::Act>| act.map(|act| act.by.clone());
    serde_json::json!({
        "file": held.file,
        "sha256": sha256(&held.text),
        "names": order.names.len(),
        "entered_by": order.entered.by,
        "approved_by": act(order.approved.as_ref()),
        "revoked_by": act(order.revoked.as_ref().map(|revoked| &revoked.act)),
        "revoked_reason": order.revoked.as_ref().map(|revoked| revoked.reason.clone()),
    })
}

#[cfg(test)]
mod tests;
