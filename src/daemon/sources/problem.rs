//! Why a list is not at the version that came, and how that is told.

use std::path::Path;

use super::source_text;
use crate::daemon::gates::Held;
use crate::engine::compile::{ListSettings, ListSource};
use crate::engine::matcher::room::Lost;

/// A list that could not be read now.
#[derive(Debug, Clone)]
pub struct ListProblem {
    pub list: String,
    /// The thing, the reason, and what is in force instead.
    pub message: String,
    /// It has no good version and is required: nothing may go into force without it.
    pub fatal: bool,
    /// It is to be fetched, is required and has never come: this node should draw no traffic yet.
    pub unready: bool,
}

/// Why a list is not at the version that came.
pub(super) enum Stuck {
    /// It is no good list.
    Bad(String),
    /// It waits for a person.
    Held(Box<Held>),
}

impl From<String> for Stuck {
    fn from(why: String) -> Stuck {
        Stuck::Bad(why)
    }
}

/// What is told of a compiled file that cannot be taken.
pub fn file_problem(list: &str, file: &Path, why: &str, is_kept: bool, required: bool) -> ListProblem {
    let (instead, fatal) = match (is_kept, required) {
        (true, _) => ("; its last good version stays in force", false),
        (false, true) => ("; it has no good version and is required", true),
        (false, false) => ("; it has no good version and holds nothing (required = false)", false),
    };
    let message = format!("list `{list}` ({}): {why}{instead}", file.display());
    ListProblem { list: list.to_owned(), message, fatal, unready: false }
}

/// What is told of a list that was read and whose rules cannot be read again: the index would meet the same error, so
/// nothing goes into force.
pub(super) fn lost_rules(settings: &ListSettings, lost: &Lost) -> ListProblem {
    let message = format!("list `{}`: rules that were put aside cannot be read again: {lost}", settings.name);
    ListProblem { list: settings.name.clone(), message, fatal: true, unready: false }
}

/// What is told of a list that is not at the version that came.
pub(super) fn problem(settings: &ListSettings, stuck: &Stuck, is_kept: bool) -> ListProblem {
    let is_url = matches!(settings.source, ListSource::Url(_));
    let is_held = matches!(stuck, Stuck::Held(_));
    let (instead, fatal, unready) = match (is_kept, is_held || is_url, settings.required) {
        (true, ..) => ("; its last good version stays in force", false, false),
        (false, true, true) => ("; until it is, it holds nothing and this node is not ready", false, true),
        (false, true, false) => ("; until it is, it holds nothing (required = false)", false, false),
        (false, false, true) => ("; it has no good version and is required", true, false),
        (false, false, false) => ("; it has no good version and holds nothing (required = false)", false, false),
    };
    let why = match stuck {
        Stuck::Bad(why) => why.clone(),
        Stuck::Held(held) => format!("{held}; it waits to be approved (`lachan lists approve {}`)", settings.name),
    };
    let message = format!("list `{}` ({}): {why}{instead}", settings.name, source_text(&settings.source));
    ListProblem { list: settings.name.clone(), message, fatal, unready }
}
