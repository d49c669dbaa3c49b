//! How a fetch ended, for the log, the metric and whoever asked for it.

use serde::{Deserialize, Serialize};

/// What became of one fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A new version; the number of the arrival, to be waited for.
    New {
        rules: usize,
        arrival: u64,
    },
    Unchanged,
    /// A gate holds it.
    Held(String),
    /// What came is no good list, or not the publisher's.
    Refused(String),
    /// Nothing came.
    Failed(String),
}

/// What `lists update` tells of one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    pub list: String,
    /// `new`, `unchanged`, `held`, `refused` or `failed`.
    pub result: String,
    /// Why it is not in force.
    pub error: Option<String>,
    /// Of a new version.
    pub rules: Option<usize>,
}

impl Outcome {
    /// The metric's label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::New { .. } => "new",
            Outcome::Unchanged => "unchanged",
            Outcome::Held(_) => "held",
            Outcome::Refused(_) => "refused",
            Outcome::Failed(_) => "failed",
        }
    }

    /// Why it is not in force.
    pub fn error(&self) -> Option<&str> {
        match self {
            Outcome::New { .. } | Outcome::Unchanged => None,
            Outcome::Held(why) | Outcome::Refused(why) | Outcome::Failed(why) => Some(why),
        }
    }

    pub fn told(self, list: String) -> Updated {
        let rules = match &self {
            Outcome::New { rules, .. } => Some(*rules),
            _ => None,
        };
        Updated { list, result: self.as_str().to_owned(), error: self.error().map(str::to_owned), rules }
    }
}
