//! Between "parsed well" and "in force": may a new version of a list take the old one's place?
//!
//! A pure decision. What is held leaves the list at its last good version (I6).

use crate::engine::compile::ListSettings;
use crate::engine::list::RuleSet;

/// What is known of the version in force without reading it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub rules: usize,
}

/// What becomes of a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    Accept,
    /// Why, in a sentence for the operator.
    Hold(String),
}

/// Judges a version that reads well. `old` is the last good one from the same source; a list's first has none.
pub fn judge(_settings: &ListSettings, old: Option<Summary>, new: &RuleSet) -> Judgement {
    match old {
        Some(old) if old.rules > 0 && new.rule_count() == 0 => Judgement::Hold(format!(
            "it holds no rule any more, {} before; to empty it on purpose take it out of the configuration",
            old.rules
        )),
        Some(_) | None => Judgement::Accept,
    }
}
