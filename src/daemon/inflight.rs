//! Questions on their way upstream: identical ones share one exchange, each waiter keeps its own Permit.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use tokio::sync::watch;

use crate::engine::answer::Answer;
use crate::engine::cache::Key;
use crate::engine::limits::QUERIES_IN_FLIGHT_MAX;

/// What an exchange ended in.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// Upstream's answer, a failure's code included.
    Answer { answer: Arc<Answer>, trust_ad: bool },
    /// Nothing usable came back in time.
    TimedOut,
    /// No server could be reached or none gave a usable answer.
    Unreachable,
    /// A server turned out to be this resolver itself.
    Loop,
    /// The resolver is stopping.
    Abandoned,
}

/// Waits for an exchange.
pub type Waiter = watch::Receiver<Option<Fetched>>;

/// All exchanges under way.
#[derive(Default)]
pub struct InFlight {
    waiting: Mutex<HashMap<Key, Waiter>>,
}

/// How a caller takes part in an exchange.
pub enum Join {
    /// The caller runs the exchange and finishes the ticket.
    Lead(Ticket, Waiter),
    /// Somebody runs it already.
    Follow(Waiter),
    /// [`QUERIES_IN_FLIGHT_MAX`] are under way.
    Full,
}

/// The duty to finish an exchange. Dropped unfinished, its waiters see their channel close.
pub struct Ticket {
    in_flight: Arc<InFlight>,
    key: Key,
    sender: watch::Sender<Option<Fetched>>,
}

impl InFlight {
    pub fn join(self: &Arc<Self>, key: &Key) -> Join {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiter) = waiting.get(key) {
            return Join::Follow(waiter.clone());
        }
        if waiting.len() >= QUERIES_IN_FLIGHT_MAX {
            return Join::Full;
        }
        let (sender, waiter) = watch::channel(None);
        waiting.insert(key.clone(), waiter.clone());
        Join::Lead(Ticket { in_flight: Arc::clone(self), key: key.clone(), sender }, waiter)
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Ticket {
    /// Tells everybody who waits.
    pub fn finish(self, fetched: Fetched) {
        self.sender.send_replace(Some(fetched));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Removed after the value is sent: whoever joins later finds the cache filled.
        self.in_flight.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// The exchange's end, whenever it comes.
pub async fn wait(mut waiter: Waiter) -> Fetched {
    match waiter.wait_for(Option::is_some).await {
        Ok(fetched) => fetched.clone().unwrap_or(Fetched::Abandoned),
        Err(_) => Fetched::Abandoned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::query::{CLASS_IN, Question, RecordType};

    fn key(name: &str) -> Key {
        Key::new(&Question { qname: name.parse().unwrap(), qtype: RecordType::A, qclass: CLASS_IN }, false, false, 1)
    }

    #[tokio::test]
    async fn identical_questions_share_and_all_are_told() {
        let flights = Arc::new(InFlight::default());
        let Join::Lead(ticket, first) = flights.join(&key("a")) else { panic!("the first leads") };
        let Join::Follow(second) = flights.join(&key("a")) else { panic!("the second follows") };
        assert!(matches!(flights.join(&key("b")), Join::Lead(..)));
        ticket.finish(Fetched::TimedOut);
        assert!(matches!(wait(first).await, Fetched::TimedOut));
        assert!(matches!(wait(second).await, Fetched::TimedOut));
        assert!(matches!(flights.join(&key("a")), Join::Lead(..)));
    }

    #[tokio::test]
    async fn a_dropped_exchange_frees_its_waiters() {
        let flights = Arc::new(InFlight::default());
        let Join::Lead(ticket, waiter) = flights.join(&key("a")) else { panic!("the first leads") };
        drop(ticket);
        assert!(matches!(wait(waiter).await, Fetched::Abandoned));
        assert!(flights.is_empty());
    }
}
