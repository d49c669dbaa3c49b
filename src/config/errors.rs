//! What is wrong with a configuration: where, and what to write instead.
//!
//! Reading never stops at the first mistake. Every reader reports to one [`Sink`] and goes on, so that the operator sees
//! all of them at once.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake, or one hint. Line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub file: String,
    /// `None` when the whole file is meant.
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub message: String,
}

impl ConfigError {
    /// An error about a file as a whole.
    pub fn about_file(file: &Path, message: impl Into<String>) -> ConfigError {
        ConfigError { file: file.display().to_string(), line: None, column: None, message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Where something stands: which file, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index into the sink's files.
    pub file: usize,
    pub line: u32,
    pub column: u32,
}

/// A value and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spanned<T> {
    pub at: Place,
    pub value: T,
}

/// The files being read, and what was found wrong with them.
#[derive(Default)]
pub(super) struct Sink {
    /// Name as shown to people, and the directory that relative paths start from.
    files: Vec<(String, PathBuf)>,
    errors: RefCell<Vec<(Place, ConfigError)>>,
    hints: RefCell<Vec<(Place, ConfigError)>>,
    /// Keys that were asked for, with their tables.
    #[cfg(test)]
    pub asked: RefCell<std::collections::BTreeSet<(String, String)>>,
}

impl Sink {
    /// Makes a file known; what stands in it is reported under the number returned.
    pub fn add_file(&mut self, name: String, base: PathBuf) -> usize {
        self.files.push((name, base));
        self.files.len() - 1
    }

    /// The directory that relative paths of this place start from.
    pub fn base(&self, at: Place) -> &Path {
        &self.files[at.file].1
    }

    pub fn error(&self, at: Place, message: impl Into<String>) {
        self.errors.borrow_mut().push((at, self.at(at, message.into())));
    }

    pub fn hint(&self, at: Place, message: impl Into<String>) {
        self.hints.borrow_mut().push((at, self.at(at, message.into())));
    }

    /// A place for use inside a message: `conf.d/a.toml:4`.
    pub fn show(&self, at: Place) -> String {
        format!("{}:{}", self.file(at), at.line)
    }

    /// The name of a place's file, as shown to people.
    pub fn file(&self, at: Place) -> &str {
        &self.files[at.file].0
    }

    fn at(&self, at: Place, message: String) -> ConfigError {
        let file = self.file(at).to_owned();
        ConfigError { file, line: Some(at.line), column: Some(at.column), message }
    }

    /// Errors and hints, each in the order of files and lines.
    pub fn into_parts(self) -> (Vec<ConfigError>, Vec<ConfigError>) {
        (in_order(self.errors.into_inner()), in_order(self.hints.into_inner()))
    }
}

fn in_order(mut found: Vec<(Place, ConfigError)>) -> Vec<ConfigError> {
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, error)| error).collect()
}

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    // A slip of a letter or two in a short word, a third of a longer one.
    let distance_max = lower.chars().count().div_ceil(3).max(1);
    known
        .into_iter()
        .map(|k| (strsim::osa_distance(&lower, &k.to_lowercase()), k))
        .filter(|&(distance, _)| distance <= distance_max)
        .min()
        .map(|(_, k)| k)
}

/// `; did you mean …?`, or which words there are when none is near.
pub(super) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_and_a_far_one_is_not() {
        let known = ["block", "block_response", "allow", "deny", "v4", "v6"];
        for (word, want) in [
            ("blok", Some("block")),
            ("Block", Some("block")),
            ("block-response", Some("block_response")),
            ("alow", Some("allow")),
            ("v5", Some("v4")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
        assert_eq!(suggestion("zzz", ["a", "b"]), "; known: a, b");
    }

    #[test]
    fn an_error_is_shown_with_its_file_and_line() {
        let mut error = ConfigError { file: "a.toml".into(), line: Some(3), column: Some(1), message: "no".into() };
        assert_eq!(error.to_string(), "a.toml:3: no");
        error.line = None;
        assert_eq!(error.to_string(), "a.toml: no");
    }
}
