//! What a node does that hears a command, and what it tells others that it has.
//!
//! A command that was heard before, or that comes to less than what is known here, changes nothing. One that cannot come to
//! anything here — a list that this configuration does not have — is told as refused; one that cannot be written down now is
//! tried again, so that nothing is in force that the audit log does not know.

use super::command::{Command, Deed};
use crate::daemon::clock;
use crate::daemon::reload::Reloader;
use crate::engine::name::Name;

/// A flush that is older helps nobody: what it was about has run out. Chosen: the longest TTL that is kept.
const FLUSH_SECS: i64 = 86_400;

impl Reloader {
    /// Tells the fleet what was done here; nothing without one.
    pub(in crate::daemon) fn share(&self, by: &str, what: &str, deed: Deed) {
        if let Some(log) = self.fleet() {
            log.say(Command::new(log.name(), by, what, clock::unix_time().0, deed));
        }
    }

    /// Does what commands say; it is in force when this returns. Why each is not, if it is not. Blocks.
    ///
    /// # Errors
    /// Something cannot be written down now; those that are done are known when they are tried again.
    pub(super) fn apply(&self, commands: &[Command]) -> Result<Vec<Option<String>>, String> {
        let (mut complaints, mut has_changed) = (Vec::with_capacity(commands.len()), vec![false; commands.len()]);
        let mut has_orders = false;
        for (at, command) in commands.iter().enumerate() {
            let (is_new, complaint) = match &command.deed {
                Deed::Say(entry) => self.hear_word(command, entry)?,
                Deed::Unsay { kind, id, until } => (self.hear_end(command, (*kind, *id, *until))?, None),
                Deed::Order { text, .. } => {
                    let (is_new, complaint) = self.hear_order(command, text)?;
                    has_orders |= is_new;
                    (is_new, complaint)
                }
                Deed::List { list, decision } => self.hear_decision(command, list, decision)?,
                Deed::Flush { zone } => (false, self.hear_flush(command, zone)?),
            };
            if is_new {
                tracing::info!(node = command.node, "{} of the fleet is carried out", command.what);
            }
            has_changed[at] = is_new;
            complaints.push(complaint);
        }
        if has_orders {
            self.keep_heard_orders()?;
        }
        if !has_changed.contains(&true) {
            return Ok(complaints);
        }
        self.words().keep_heard()?;
        if let Err(why) = self.take_up() {
            let changed = complaints.iter_mut().zip(has_changed).filter(|(_, is_new)| *is_new);
            changed.for_each(|(complaint, _)| *complaint = Some(format!("it is kept, and waits: {why}")));
        }
        Ok(complaints)
    }

    fn hear_flush(&self, command: &Command, zone: &str) -> Result<Option<String>, String> {
        let is_own = self.fleet().is_some_and(|log| log.name() == command.node);
        if is_own || command.at + FLUSH_SECS < clock::unix_time().0 {
            return Ok(None);
        }
        let Ok(name) = Name::zone_from_text(zone) else { return Ok(Some(format!("{zone:?} is no name here"))) };
        self.audit().record(&command.change(zone, serde_json::Value::Null, serde_json::Value::Null))?;
        self.resolver().flush(&name);
        Ok(None)
    }

    /// Everything that this node has in force by a command.
    pub(super) fn all_in_force(&self) -> Vec<Command> {
        let Some(log) = self.fleet() else { return Vec::new() };
        let mut commands = self.words_in_force(log.name());
        commands.extend(self.orders_in_force(log.name(), None));
        commands.extend(log.decisions());
        commands
    }

    /// What it has at one slot.
    pub(super) fn in_force_at(&self, slot: &str) -> Option<Command> {
        let log = self.fleet()?;
        match slot.split_once('/')? {
            ("order", reference) => self.orders_in_force(log.name(), Some(reference)).pop(),
            ("list", _) => log.decided(slot),
            // A word never changes.
            _ => None,
        }
    }
}
