//! Words to standard output and standard error, for people who may stop listening.
//!
//! `println!` panics when the other end of a pipe is closed. Who reads one line of ten (`| head -1`) has what they wanted:
//! the rest is dropped, and the command ends as it would have. Anything else that keeps words from being written, such as
//! a full disk, is told and makes the command fail.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// Whether something could not be written that somebody still wanted.
static LOST: AtomicBool = AtomicBool::new(false);

/// `println!` that a closed pipe does not stop.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::out::line(format_args!($($words)*)) };
}

/// `eprintln!` that a closed pipe does not stop.
macro_rules! complain {
    ($($words:tt)*) => { $crate::cli::out::error_line(format_args!($($words)*)) };
}

pub(crate) use {complain, say};

/// One line to standard output.
pub(crate) fn line(words: Arguments<'_>) {
    let Err(why) = writeln!(std::io::stdout().lock(), "{words}") else { return };
    if why.kind() != ErrorKind::BrokenPipe && !LOST.swap(true, Ordering::Relaxed) {
        complain!("lachan: cannot write to standard output: {why}");
    }
}

/// One line to standard error. When that fails, nobody is left to be told.
pub(crate) fn error_line(words: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{words}");
}

/// Whether every line to standard output was written, or unwanted.
pub(crate) fn is_whole() -> bool {
    !LOST.load(Ordering::Relaxed)
}

/// What was told: as JSON, or in words.
pub(crate) fn print<T: Serialize>(told: &T, is_json: bool, words: impl FnOnce(&T)) {
    match is_json {
        true => print_json(told),
        false => words(told),
    }
}

pub(crate) fn print_json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(json) => say!("{json}"),
        Err(why) => complain!("lachan: {why}"),
    }
}
