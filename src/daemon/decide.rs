//! What a person decides about lists while the resolver runs: approve what waits, go back, take out, put in.
//!
//! Each is done when it is answered. Taking a list out changes masks alone, so it does not wait for a reload; the others
//! end in one. Each is in the audit log, and told to the other nodes of a fleet.

use std::sync::{MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::daemon::audit::Change;
use crate::daemon::clock;
use crate::daemon::fleet::command::{Command, Decision, Deed};
use crate::daemon::gates::{Held, ListDecisions};
use crate::daemon::reload::Reloader;
use crate::daemon::said::person_text;
use crate::daemon::sources::{Diff, source_text};
use crate::engine::compile::ListSettings;
use crate::engine::gate::HoldReason;
use crate::engine::name::Name;

/// In the audit log.
const FLUSH: &str = "cache.flush";

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub list: String,
    /// `approved`, `rolled-back`, `disabled` or `enabled`.
    pub result: String,
    /// The generation that has it.
    pub generation: u64,
    /// Rules of the list in that generation.
    pub rules: usize,
}

/// A list with something that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub list: String,
    pub source: String,
    /// Seconds since 1970.
    pub since: u64,
    /// Of the version in force, and of the one that waits.
    pub rules_in_force: usize,
    pub rules: usize,
    /// None: nothing waits but what was left out.
    pub reasons: Vec<HoldReason>,
    /// Names that should not be blocked, which the version in force was to block.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// Who decided, and at which node of a fleet; `None`: at this one.
#[derive(Clone, Copy)]
struct Decider<'a> {
    by: &'a str,
    node: Option<&'a str>,
}

impl Decision {
    /// As the audit log has it.
    fn as_str(&self) -> &'static str {
        match self {
            Decision::Disabled => "list.disable",
            Decision::Enabled => "list.enable",
            Decision::RolledBack { .. } => "list.rollback",
            Decision::Approved { .. } => "list.approve",
            Decision::Unpinned => "list.unpin",
        }
    }
}

impl Reloader {
    /// Puts the version of a list that waits into force. Blocks.
    ///
    /// # Errors
    /// Why it is not in force.
    pub fn approve(&self, name: &str, by: &str) -> Result<Decided, String> {
        let list = self.configured(name)?;
        {
            let _alone = self.deciding(false);
            let ListDecisions { held, left_out, .. } = self.sources().gates().of(name);
            let sha256 = held.map(|held| held.sha256).or(left_out.map(|left_out| left_out.sha256));
            let sha256 = sha256.ok_or_else(|| format!("nothing of list `{name}` waits"))?;
            let decision = Decision::Approved { sha256 };
            self.carry_out(name, &decision, Decider { by, node: None }, || self.sources().approve(&list))?;
            self.share_decision(name, decision, by);
        }
        let status = self.reload();
        if status.result == "failed" {
            return Err(format!("it is approved, and waits: {}", status.errors.join("; ")));
        }
        match self.sources().gates().of(name).held {
            None => Ok(self.decided(name, "approved")),
            Some(held) => Err(format!("list `{name}` has changed since, and {held}")),
        }
    }

    /// Goes back to the version of a list before the one in force. Blocks.
    ///
    /// # Errors
    /// Why it did not.
    pub fn roll_back(&self, name: &str, by: &str) -> Result<Decided, String> {
        let list = self.configured(name)?;
        {
            let _alone = self.deciding(false);
            // Without one, going back says why it cannot.
            let to = self.sources().versions(name).and_then(|(_, previous)| previous).unwrap_or_default();
            let decision = Decision::RolledBack { to };
            self.carry_out(name, &decision, Decider { by, node: None }, || self.sources().roll_back(&list))?;
            self.share_decision(name, decision, by);
        }
        let status = self.reload();
        if status.result == "failed" {
            return Err(format!("it is pinned to the version before, and waits: {}", status.errors.join("; ")));
        }
        Ok(self.decided(name, "rolled-back"))
    }

    /// Takes a list out of every profile, or puts it in again. Once is as good as twice.
    ///
    /// # Errors
    /// There is no such list, or it cannot be logged.
    pub fn set_disabled(&self, name: &str, disabled: bool, by: &str) -> Result<Decided, String> {
        self.configured(name)?;
        {
            let _alone = self.deciding(true);
            let decision = if disabled { Decision::Disabled } else { Decision::Enabled };
            self.carry_out(name, &decision, Decider { by, node: None }, || {
                self.note_disabled(name, disabled);
                Ok(())
            })?;
            self.share_decision(name, decision, by);
        }
        self.mask_again();
        tracing::warn!(list = name, disabled, "by hand");
        Ok(self.decided(name, if disabled { "disabled" } else { "enabled" }))
    }

    /// Lets a list that a person went back with follow its publisher again.
    ///
    /// # Errors
    /// It cannot be logged.
    pub fn unpin(&self, name: &str, by: &str) -> Result<(), String> {
        let _alone = self.deciding(false);
        if self.sources().gates().of(name).pinned.is_none() {
            return Ok(());
        }
        self.carry_out(name, &Decision::Unpinned, Decider { by, node: None }, || {
            self.sources().unpin(name);
            Ok(())
        })?;
        self.share_decision(name, Decision::Unpinned, by);
        Ok(())
    }

    /// Forgets what the cache holds of a name and all below; how many entries that were.
    ///
    /// # Errors
    /// It is no name, or it cannot be logged.
    pub fn flush_cache(&self, zone: &str, by: &str) -> Result<usize, String> {
        let name = Name::zone_from_text(zone).map_err(|why| format!("{zone:?} is no name: {why}"))?;
        let by = person_text("`--by`", by)?;
        let subject = name.to_string();
        let (before, after) = (Value::Null, Value::Null);
        self.audit().record(&Change { who: &by, what: FLUSH, subject: &subject, node: None, before, after })?;
        let count = self.resolver().flush(&name);
        self.share(&by, FLUSH, Deed::Flush { zone: subject });
        Ok(count)
    }

    /// `None`: nobody else decides at the same time, without a fleet.
    fn deciding(&self, is_about_use: bool) -> Option<MutexGuard<'_, ()>> {
        let turn = &self.fleet()?.deciding[usize::from(is_about_use)];
        Some(turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a decision into the log, and does it then.
    fn carry_out<T>(
        &self,
        list: &str,
        decision: &Decision,
        Decider { by, node }: Decider<'_>,
        act: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let by = person_text("`--by`", by)?;
        let ListDecisions { held, pinned, disabled_since, .. } = self.sources().gates().of(list);
        let before = serde_json::json!({
            "disabled": disabled_since.is_some(),
            "pinned": pinned,
            "waits": held.map(|held| held.sha256),
        });
        let after = serde_json::to_value(decision).map_err(|why| why.to_string())?;
        let change = |what, before, after| Change { who: &by, what, subject: list, node, before, after };
        self.audit().record(&change(decision.as_str(), before, after.clone()))?;
        act().inspect_err(|why| {
            let undone = self.audit().record(&change("list.undone", after, Value::String(why.clone())));
            undone.unwrap_or_else(|why| tracing::error!("{why}"));
        })
    }

    fn note_disabled(&self, name: &str, disabled: bool) {
        self.sources().gates().change(name, |decided| {
            decided.disabled_since = match (disabled, decided.disabled_since) {
                (true, None) => Some(clock::unix_secs()),
                (true, since) => since,
                (false, _) => None,
            };
        });
    }

    /// Tells the fleet. Whatever was decided before about the same is earlier, whichever clock said so.
    fn share_decision(&self, list: &str, decision: Decision, by: &str) {
        let Some(log) = self.fleet() else { return };
        let what = decision.as_str();
        let deed = Deed::List { list: list.to_owned(), decision };
        let Some(slot) = deed.slot() else { return };
        let after = log.decided(&slot).map_or(0, |before| before.at + 1);
        let command = Command::new(log.name(), by, what, clock::unix_time().0.max(after), deed);
        log.decide(&slot, command.clone());
        log.say(command);
    }

    /// Does what was decided at another node, unless something later was. Whether anything is new, and why it is not in
    /// force as it is there. Blocks.
    ///
    /// # Errors
    /// It cannot be logged now.
    pub fn hear_decision(
        &self,
        command: &Command,
        name: &str,
        decision: &Decision,
    ) -> Result<(bool, Option<String>), String> {
        let (Some(log), Some(slot)) = (self.fleet(), command.deed.slot()) else { return Ok((false, None)) };
        let _alone = self.deciding(matches!(decision, Decision::Disabled | Decision::Enabled));
        let is_later = |before: Command| (before.at, &before.id) >= (command.at, &command.id);
        if log.decided(&slot).is_some_and(is_later) {
            return Ok((false, None));
        }
        let list = match self.configured(name) {
            Ok(list) => list,
            Err(why) => {
                log.decide(&slot, command.clone());
                return Ok((false, Some(why)));
            }
        };
        let mut reloads = false;
        let mut complaint = None;
        let by = Decider { by: &command.by, node: Some(&command.node) };
        let gates = self.sources().gates();
        self.carry_out(name, decision, by, || {
            let now = gates.of(name);
            let versions = self.sources().versions(name);
            let current = versions.as_ref().map(|(current, _)| current.as_str());
            let previous = versions.as_ref().and_then(|(_, previous)| previous.as_deref());
            match decision {
                Decision::Disabled | Decision::Enabled => self.note_disabled(name, *decision == Decision::Disabled),
                Decision::Unpinned => self.sources().unpin(name),
                Decision::RolledBack { to } if current == Some(to) => {
                    gates.change(name, |decided| decided.pinned = Some(to.clone()));
                }
                Decision::RolledBack { to } if previous == Some(to) => {
                    reloads = true;
                    complaint = self.sources().roll_back(&list).err();
                }
                Decision::RolledBack { .. } => {
                    complaint = Some(format!("the version that list `{name}` went back to is not kept here"));
                }
                Decision::Approved { sha256 } => {
                    let waits = now.held.map(|held| held.sha256).or(now.left_out.map(|left_out| left_out.sha256));
                    if waits.as_ref() == Some(sha256) {
                        reloads = true;
                        complaint = self.sources().approve(&list).err();
                    } else {
                        gates.change(name, |decided| {
                            (decided.approved, decided.pinned) = (Some(sha256.clone()), None);
                        });
                        complaint = (current != Some(sha256)).then(|| {
                            format!("the version of list `{name}` that was approved has not come here; it need not wait when it does")
                        });
                    }
                }
            }
            Ok(())
        })?;
        log.decide(&slot, command.clone());
        if reloads {
            let status = self.reload();
            if status.result == "failed" {
                complaint = Some(format!("it is decided, and waits: {}", status.errors.join("; ")));
            }
        }
        Ok((true, complaint))
    }

    /// What a list's waiting version changes. Blocks.
    ///
    /// # Errors
    /// There is no such list, or nothing to compare.
    pub fn diff(&self, name: &str) -> Result<Diff, String> {
        self.sources().diff(&self.configured(name)?)
    }

    /// Everything that waits.
    pub fn waiting(&self) -> Vec<Waiting> {
        let lists = self.status().notes.lists;
        let waiting = lists.iter().filter_map(|list| {
            let ListDecisions { held, left_out, .. } = self.sources().gates().of(&list.name);
            let rules_in_force = self.rules(&list.name);
            let (since, rules, reasons) = match (held, &left_out) {
                (Some(Held { since, rules, reasons, .. }), _) => (since, rules, reasons),
                (None, Some(left_out)) => (left_out.since, rules_in_force, Vec::new()),
                (None, None) => return None,
            };
            Some(Waiting {
                list: list.name.clone(),
                source: source_text(&list.source),
                since,
                rules_in_force,
                rules,
                reasons,
                left_out: left_out.map(|left_out| left_out.names).unwrap_or_default(),
            })
        });
        waiting.collect()
    }

    fn configured(&self, name: &str) -> Result<ListSettings, String> {
        let lists = self.status().notes.lists;
        let found = lists.iter().find(|list| list.name == name).cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = lists.iter().map(|list| list.name.as_str()).collect();
            format!("there is no list `{name}`; there are {}", names.join(", "))
        })
    }

    fn rules(&self, name: &str) -> usize {
        let generation = self.in_force();
        generation.snapshot.lists.iter().find(|list| list.name == name).map_or(0, |list| list.rules)
    }

    fn decided(&self, name: &str, result: &str) -> Decided {
        let (generation, rules) = (self.in_force().snapshot.generation, self.rules(name));
        Decided { list: name.to_owned(), result: result.to_owned(), generation, rules }
    }
}
