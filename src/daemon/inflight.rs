//! Questions on their way upstream: identical ones share one exchange, each waiter keeps its own Permit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

type Teller = watch::Sender<Option<Fetched>>;

/// All exchanges under way.
#[derive(Default)]
pub struct InFlight {
    all: Mutex<HashMap<Key, UnderWay>>,
}

/// One exchange.
struct UnderWay {
    /// Of a lane's: where that one finds it.
    flight: Option<Flight>,
    /// Made for the first that waits elsewhere: most exchanges of a lane have nobody else.
    teller: Option<Teller>,
}

/// An exchange that a lane runs, in numbers that mean something to that lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    pub lane: u64,
    pub id: FlightId,
}

/// A wire's number and a message's id.
pub type FlightId = (u32, u16);

/// How a caller takes part in an exchange.
pub enum Join {
    /// The caller runs the exchange and finishes the ticket.
    Lead(Ticket),
    /// Somebody runs it already.
    Follow(Waiter),
    /// [`QUERIES_IN_FLIGHT_MAX`] are under way.
    Full,
}

/// How a lane takes part in an exchange.
pub enum JoinHere {
    /// It runs the exchange and finishes the ticket.
    Lead(Ticket),
    /// It runs it already.
    Mine(FlightId),
    /// Somebody else does, or too many are under way.
    Elsewhere,
}

/// The duty to finish an exchange. Dropped unfinished, its waiters see their channel close.
pub struct Ticket {
    in_flight: Arc<InFlight>,
    key: Key,
    /// The next exchange about the same may have begun.
    is_over: bool,
}

impl InFlight {
    pub fn join(self: &Arc<Self>, key: &Key) -> Join {
        let mut all = self.lock();
        if let Some(under_way) = all.get_mut(key) {
            return Join::Follow(under_way.waiter());
        }
        if all.len() >= QUERIES_IN_FLIGHT_MAX {
            return Join::Full;
        }
        all.insert(key.clone(), UnderWay { flight: None, teller: None });
        Join::Lead(Ticket { in_flight: Arc::clone(self), key: key.clone(), is_over: false })
    }

    /// As [`InFlight::join`], for a lane, which names the exchange should it be the first.
    pub fn join_here(self: &Arc<Self>, key: &Key, flight: Flight) -> JoinHere {
        let mut all = self.lock();
        match all.get(key) {
            Some(UnderWay { flight: Some(Flight { lane, id }), .. }) if *lane == flight.lane => JoinHere::Mine(*id),
            Some(_) => JoinHere::Elsewhere,
            None if all.len() >= QUERIES_IN_FLIGHT_MAX => JoinHere::Elsewhere,
            None => {
                all.insert(key.clone(), UnderWay { flight: Some(flight), teller: None });
                JoinHere::Lead(Ticket { in_flight: Arc::clone(self), key: key.clone(), is_over: false })
            }
        }
    }

    /// Tells those who wait for an exchange what was found by another way. Its leader finishes it.
    pub fn tell(&self, key: &Key, fetched: Fetched) {
        if let Some(UnderWay { teller: Some(teller), .. }) = self.lock().get(key) {
            teller.send_replace(Some(fetched));
        }
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, UnderWay>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    fn waiter(&mut self) -> Waiter {
        self.teller.get_or_insert_with(|| watch::channel(None).0).subscribe()
    }
}

impl Ticket {
    /// Waits for this exchange.
    pub fn waiter(&self) -> Waiter {
        let mut all = self.in_flight.lock();
        // It is there for as long as the ticket is; a channel without a sender would say that it is abandoned.
        all.get_mut(&self.key).map_or_else(|| watch::channel(None).1, UnderWay::waiter)
    }

    /// What the exchange is about.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Tells everybody who waits; `fetched` is asked for only if somebody does. Whoever joins later finds the cache filled.
    pub fn finish(mut self, fetched: impl FnOnce() -> Fetched) {
        if let Some(teller) = self.take() {
            teller.send_replace(Some(fetched()));
        }
    }

    fn take(&mut self) -> Option<Teller> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        self.in_flight.lock().remove(&self.key)?.teller
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.take();
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
        let Join::Lead(ticket) = flights.join(&key("a")) else { panic!("the first leads") };
        let first = ticket.waiter();
        let Join::Follow(second) = flights.join(&key("a")) else { panic!("the second follows") };
        assert!(matches!(flights.join(&key("b")), Join::Lead(..)));
        ticket.finish(|| Fetched::TimedOut);
        assert!(matches!(wait(first).await, Fetched::TimedOut));
        assert!(matches!(wait(second).await, Fetched::TimedOut));
        assert!(matches!(flights.join(&key("a")), Join::Lead(..)));
    }

    #[tokio::test]
    async fn what_is_found_by_another_way_is_told_at_once() {
        let flights = Arc::new(InFlight::default());
        let Join::Lead(ticket) = flights.join(&key("a")) else { panic!("the first leads") };
        let (first, late) = (ticket.waiter(), ticket.waiter());
        flights.tell(&key("b"), Fetched::TimedOut);
        flights.tell(&key("a"), Fetched::Unreachable);
        assert!(matches!(wait(first).await, Fetched::Unreachable));
        ticket.finish(|| Fetched::Unreachable);
        assert!(matches!(wait(late).await, Fetched::Unreachable));
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn a_dropped_exchange_frees_its_waiters() {
        let flights = Arc::new(InFlight::default());
        let Join::Lead(ticket) = flights.join(&key("a")) else { panic!("the first leads") };
        let waiter = ticket.waiter();
        drop(ticket);
        assert!(matches!(wait(waiter).await, Fetched::Abandoned));
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn a_lane_finds_its_own_and_others_follow_it() {
        let flights = Arc::new(InFlight::default());
        let join = |lane, id| flights.join_here(&key("a"), Flight { lane, id });
        let JoinHere::Lead(ticket) = join(1, (7, 8)) else { panic!("the first leads") };
        assert!(matches!(join(1, (9, 9)), JoinHere::Mine((7, 8))));
        assert!(matches!(join(2, (7, 8)), JoinHere::Elsewhere));
        let Join::Follow(waiter) = flights.join(&key("a")) else { panic!("the slow lane follows") };
        ticket.finish(|| Fetched::Unreachable);
        assert!(matches!(wait(waiter).await, Fetched::Unreachable));
        let JoinHere::Lead(ticket) = join(2, (1, 1)) else { panic!("it is over") };
        ticket.finish(|| panic!("nobody asked"));
        assert!(flights.is_empty());
    }
}
