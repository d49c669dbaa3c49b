//! Learns which names people ask for: samples from the query path, counted on a thread of its own.
//!
//! The query path takes every 17th question of its thread and puts it into a bounded queue without waiting; what finds no
//! room is not counted. No client is in a sample, and on disk, if it is asked for, are keyed hashes alone (I11).

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::daemon::clock;
use crate::daemon::telemetry::{Outcome, QueryEvent};
use crate::engine::gate::Learned;
use crate::engine::limits::LEARNED_QUEUE_MAX;
use crate::engine::name::Name;

/// One question of so many is counted. A prime: stubs ask for A, AAAA and HTTPS in a beat, which must not fall in step.
const EVERY: u32 = 17;
/// The queue is emptied so often. Polled, so that no query pays for waking somebody.
const EMPTY_QUEUE: Duration = Duration::from_millis(200);
/// What was learnt is written so often. Chosen: a crash costs minutes of two days.
const SAVE: Duration = Duration::from_secs(600);
/// Octets of the file at most: two days of full counts.
pub const FILE_OCTETS_MAX: u64 = 32 << 20;
/// Name of the file in the state directory.
pub const FILE_NAME: &str = "learned";

const SECONDS_OF_A_DAY: u64 = 86_400;

/// What is learnt; the gates read it, the learner's thread writes it.
pub type Shared = Arc<Mutex<Learned>>;

pub fn lock(learned: &Shared) -> MutexGuard<'_, Learned> {
    learned.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The query path's end.
pub struct Learner {
    samples: SyncSender<Option<Name>>,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    NotSampled,
    Taken,
    /// The queue was full.
    NoRoom,
}

thread_local! {
    static UNTIL_NEXT: Cell<u32> = const { Cell::new(EVERY) };
}

impl Learner {
    /// Starts the thread, which ends when this is dropped. `file`: where it is written now and then.
    pub fn start(learned: Shared, file: Option<PathBuf>) -> Learner {
        let (samples, queue) = sync_channel(LEARNED_QUEUE_MAX);
        let started = std::thread::Builder::new().name("learner".to_owned()).spawn(move || {
            run(&queue, &learned, file.as_deref());
        });
        if let Err(why) = started {
            tracing::warn!("it is not learnt which names are asked for: {why}");
        }
        Learner { samples }
    }

    /// Takes a question, or does not. Neither locks nor waits.
    pub fn hear(&self, event: &QueryEvent<'_>) -> Heard {
        let Some(sample) = sample(event) else { return Heard::NotSampled };
        let left = UNTIL_NEXT.get() - 1;
        if left > 0 {
            UNTIL_NEXT.set(left);
            return Heard::NotSampled;
        }
        UNTIL_NEXT.set(EVERY);
        match self.samples.try_send(sample.cloned()) {
            Ok(()) => Heard::Taken,
            Err(TrySendError::Full(_)) => Heard::NoRoom,
            Err(TrySendError::Disconnected(_)) => Heard::NotSampled,
        }
    }
}

/// What is counted of a question: the name of one that was answered, the bare fact of one that was blocked, and nothing
/// of what no list could change.
fn sample<'a>(event: &QueryEvent<'a>) -> Option<Option<&'a Name>> {
    let name = &event.question?.qname;
    match event.outcome {
        Outcome::Hit | Outcome::Stale | Outcome::Forwarded | Outcome::Rewritten => Some(Some(name)),
        Outcome::Blocked => Some(None),
        Outcome::Local
        | Outcome::Refused
        | Outcome::Stranger
        | Outcome::Limited
        | Outcome::Failed
        | Outcome::Dropped
        | Outcome::Abandoned => None,
    }
}

fn run(queue: &Receiver<Option<Name>>, learned: &Shared, file: Option<&Path>) {
    let mut saved = clock::now();
    while count_waiting(queue, learned) {
        if let Some(file) = file
            && clock::now().saturating_duration_since(saved) >= SAVE
        {
            save(learned, file);
            saved = clock::now();
        }
        std::thread::sleep(EMPTY_QUEUE);
    }
}

/// Counts what waits; `false` when nothing will come any more.
fn count_waiting(queue: &Receiver<Option<Name>>, learned: &Shared) -> bool {
    let day = clock::unix_secs() / SECONDS_OF_A_DAY;
    loop {
        match queue.try_recv() {
            Ok(name) => lock(learned).note(day, name.as_ref().map(Name::as_wire)),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}

/// Writes what is learnt; a failure is told and harms nothing.
pub fn save(learned: &Shared, file: &Path) {
    let octets = lock(learned).to_octets();
    if let Err(why) = crate::daemon::state::write_whole(file, &octets) {
        tracing::warn!("{}: what was learnt is not kept: {why}", file.display());
    }
}

/// Reads what was learnt before; nothing when it is absent or damaged.
pub fn read(file: &Path) -> Option<Learned> {
    Learned::from_octets(&crate::config::read_steady(file, FILE_OCTETS_MAX).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::TreeKey;
    use crate::engine::query::{CLASS_IN, Origin, Question, RecordType, Transport};

    fn hear(learner: &Learner, outcome: Outcome) -> Heard {
        let origin = Origin::new("192.0.2.1:5".parse().unwrap(), None, Transport::Udp);
        let qname = Name::from_text("www.example.com").unwrap();
        let question = Question { qname, qtype: RecordType::A, qclass: CLASS_IN };
        learner.hear(&QueryEvent {
            origin: &origin,
            question: Some(&question),
            outcome,
            rcode: None,
            block: None,
            engine: None,
            generation: 1,
            subscribers: None,
            started: clock::now(),
        })
    }

    #[test]
    fn one_question_of_many_is_counted_and_a_full_queue_waits_for_nobody() {
        let (samples, queue) = sync_channel(2);
        let learner = Learner { samples };
        let outcomes = [Outcome::Hit, Outcome::Blocked, Outcome::Forwarded];
        let heard: Vec<Heard> = (0..EVERY * 3).map(|i| hear(&learner, outcomes[i as usize % 3])).collect();
        assert_eq!(heard.iter().filter(|h| **h == Heard::Taken).count(), 2);
        assert_eq!(heard.iter().filter(|h| **h == Heard::NoRoom).count(), 1);
        assert!((0..100).all(|_| hear(&learner, Outcome::Stranger) == Heard::NotSampled));
        let learned: Shared = Arc::new(Mutex::new(Learned::new(TreeKey(1, 2))));
        assert!(count_waiting(&queue, &learned));
        assert_eq!(lock(&learned).total(), 2);
        drop(learner);
        assert!(!count_waiting(&queue, &learned));
    }

    #[test]
    fn what_is_kept_holds_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let learned: Shared = Arc::new(Mutex::new(Learned::new(TreeKey(1, 2))));
        lock(&learned).note(1, Some(Name::from_text("secret.example").unwrap().as_wire()));
        save(&learned, &file);
        assert_eq!(read(&file).unwrap().total(), 1);
        assert!(!String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains("secret"));
        std::fs::write(&file, b"something else").unwrap();
        assert!(read(&file).is_none());
    }
}
