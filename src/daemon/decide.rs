//! What a person decides about lists while the resolver runs: approve what waits, go back, take out, put in.
//!
//! Each is done when it is answered. Taking a list out changes masks alone, so it does not wait for a reload; the others
//! end in one.

use serde::{Deserialize, Serialize};

use crate::daemon::clock;
use crate::daemon::gates::{Held, ListDecisions};
use crate::daemon::reload::Reloader;
use crate::daemon::sources::{Diff, source_text};
use crate::engine::compile::ListSettings;
use crate::engine::gate::HoldReason;

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

impl Reloader {
    /// Puts the version of a list that waits into force. Blocks.
    ///
    /// # Errors
    /// Why it is not in force.
    pub fn approve(&self, name: &str) -> Result<Decided, String> {
        let list = self.configured(name)?;
        self.sources().approve(&list)?;
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
    pub fn roll_back(&self, name: &str) -> Result<Decided, String> {
        let list = self.configured(name)?;
        self.sources().roll_back(&list)?;
        let status = self.reload();
        if status.result == "failed" {
            return Err(format!("it is pinned to the version before, and waits: {}", status.errors.join("; ")));
        }
        Ok(self.decided(name, "rolled-back"))
    }

    /// Takes a list out of every profile, or puts it in again. Once is as good as twice.
    ///
    /// # Errors
    /// There is no such list.
    pub fn set_disabled(&self, name: &str, disabled: bool) -> Result<Decided, String> {
        self.configured(name)?;
        self.sources().gates().change(name, |decided| {
            decided.disabled_since = match (disabled, decided.disabled_since) {
                (true, None) => Some(clock::unix_secs()),
                (true, since) => since,
                (false, _) => None,
            };
        });
        self.mask_again();
        tracing::warn!(list = name, disabled, "by hand");
        Ok(self.decided(name, if disabled { "disabled" } else { "enabled" }))
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
