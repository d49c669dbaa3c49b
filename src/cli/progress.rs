//! Tells people who wait how far a load is: a line that changes on a terminal, else a line in the log now and then.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::language::Language;
use crate::daemon::progress::{Progress, Step};

/// How often a terminal is drawn anew.
const DRAWN: Duration = Duration::from_millis(150);
/// How often the log says something. Chosen: a start of some seconds is silent.
const LOGGED: Duration = Duration::from_secs(3);

/// Tells until it is dropped, or told to end.
pub struct Telling {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is done when nobody sees a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    Log,
    Nothing,
}

pub fn tell(progress: Arc<Progress>, otherwise: Otherwise) -> Telling {
    let is_seen = std::io::stderr().is_terminal();
    let ended = Arc::new(AtomicBool::new(false));
    if !is_seen && otherwise == Otherwise::Nothing {
        return Telling { ended, thread: None };
    }
    let stop = Arc::clone(&ended);
    // Without a thread nothing is told.
    let thread = thread::Builder::new().name("progress".into()).spawn(move || match is_seen {
        true => draw(&progress, &stop),
        false => log(&progress, &stop),
    });
    Telling { ended, thread: thread.ok() }
}

fn draw(progress: &Progress, stop: &AtomicBool) {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let language = Language::of_user();
    while !stop.load(Ordering::Relaxed) {
        thread::park_timeout(DRAWN);
        bar.set_message(text(&progress.step(), language));
        bar.tick();
    }
    bar.finish_and_clear();
}

fn log(progress: &Progress, stop: &AtomicBool) {
    let began = Instant::now();
    let mut next = began + LOGGED;
    while !stop.load(Ordering::Relaxed) {
        thread::park_timeout(next.saturating_duration_since(Instant::now()));
        if Instant::now() >= next && !stop.load(Ordering::Relaxed) {
            tracing::info!("{}, {} s so far", progress.step(), began.elapsed().as_secs());
            next += LOGGED;
        }
    }
}

fn text(step: &Step, language: Language) -> String {
    match (language, step) {
        (Language::English, step) => step.to_string(),
        (Language::Vietnamese, Step::Starting) => "đang khởi động".to_owned(),
        (Language::Vietnamese, Step::Reading { list, number, lists, percent }) => {
            format!("đang đọc danh sách `{list}` ({number}/{lists}): {percent} %")
        }
        (Language::Vietnamese, Step::Compiling { rules }) => format!("đang biên dịch {rules} luật"),
    }
}

impl Telling {
    pub fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.stop();
    }
}
