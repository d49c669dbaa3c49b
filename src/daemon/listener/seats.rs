//! Who may have a connection: seats over all stream listeners, by client, and whose is given to another when none is free.
//!
//! Nobody who has sat idle for long keeps somebody out who has a question: when all seats are taken, the one that was idle
//! longest is emptied. A stop empties all of them, politely.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use hyper::body::Bytes;
use smallvec::SmallVec;

use crate::daemon::clock;
use crate::engine::limits::{
    CONNECTION_IDLE_MIN, TCP_CONNECTIONS_MAX, TCP_CONNECTIONS_PER_CLIENT_MAX, TCP_QUEUED_OCTETS_MAX, TCP_STRANGERS_MAX,
};

/// All seats. Shared by every listener that has connections.
pub(in crate::daemon) struct Seats {
    taken: Mutex<Taken>,
    /// Octets of answers that wait for their peers to take them.
    queued_octets: AtomicUsize,
    began: Instant,
    limits: Limits,
}

/// How many there are; the bounds of `limits.rs` but in tests.
#[derive(Debug, Clone, Copy)]
pub(in crate::daemon) struct Limits {
    pub all: usize,
    pub of_client: usize,
    pub of_strangers: usize,
    pub queued_octets: usize,
    /// Who was idle for less keeps the seat.
    pub idle_min: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            all: TCP_CONNECTIONS_MAX,
            of_client: TCP_CONNECTIONS_PER_CLIENT_MAX,
            of_strangers: TCP_STRANGERS_MAX,
            queued_octets: TCP_QUEUED_OCTETS_MAX,
            idle_min: CONNECTION_IDLE_MIN,
        }
    }
}

#[derive(Default)]
struct Taken {
    seats: HashMap<u64, Sitting>,
    by_client: HashMap<IpAddr, SmallVec<[u64; 2]>>,
    strangers: usize,
    /// When each was last known to be active, the longest ago first. A seat that was active since then is put in again when
    /// its turn comes; one that is gone is left out then.
    by_age: BinaryHeap<Reverse<(u64, u64)>>,
    next: u64,
    is_closing: bool,
}

/// A seat, and whose it is; `None`: a stranger's.
struct Sitting {
    seat: Arc<Seat>,
    client: Option<IpAddr>,
}

struct Seat {
    id: u64,
    /// In milliseconds since [`Seats::began`].
    active_ms: AtomicU64,
    notice: AtomicU8,
    waker: AtomicWaker,
}

/// What the one who sits there is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) enum Notice {
    /// Another needs the seat.
    Evicted,
    /// The resolver stops: what was asked is answered, nothing more is read.
    Closing,
}

/// One connection's seat. Dropped, it is free again.
pub(in crate::daemon) struct Place {
    seats: Arc<Seats>,
    seat: Arc<Seat>,
    /// Octets of its own in [`Seats::queued_octets`].
    queued: AtomicUsize,
}

impl Seats {
    pub fn new(limits: Limits) -> Seats {
        let (taken, queued_octets) = (Mutex::default(), AtomicUsize::new(0));
        Seats { taken, queued_octets, began: clock::now(), limits }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    /// Takes a seat, or says which bound is reached. Strangers have few of their own, so that they take nobody's.
    pub fn enter(self: &Arc<Self>, source: IpAddr, is_client: bool, now: Instant) -> Result<Place, &'static str> {
        let (now_ms, limits) = (self.ms(now), self.limits);
        let mut taken = self.lock();
        if taken.is_closing {
            return Err("closing");
        }
        let client = is_client.then(|| household(source));
        match client {
            None if taken.strangers >= limits.of_strangers => return Err("tcp_strangers_max"),
            None => {}
            Some(client) => taken.make_room(client, &limits, now_ms)?,
        }
        Ok(self.seat(&mut taken, client, now_ms))
    }

    /// Takes a seat for somebody whom a proxy brings, and of whom nothing is known yet.
    pub fn enter_proxied(self: &Arc<Self>, proxy: IpAddr, now: Instant) -> Result<Place, &'static str> {
        let (now_ms, limits) = (self.ms(now), Limits { of_client: usize::MAX, ..self.limits });
        let mut taken = self.lock();
        if taken.is_closing {
            return Err("closing");
        }
        let client = household(proxy);
        taken.make_room(client, &limits, now_ms)?;
        Ok(self.seat(&mut taken, Some(client), now_ms))
    }

    fn seat(self: &Arc<Self>, taken: &mut Taken, client: Option<IpAddr>, now_ms: u64) -> Place {
        let id = taken.next;
        taken.next += 1;
        let (active_ms, notice, waker) = (AtomicU64::new(now_ms), AtomicU8::new(0), AtomicWaker::new());
        let seat = Arc::new(Seat { id, active_ms, notice, waker });
        taken.sit(Sitting { seat: Arc::clone(&seat), client }, now_ms);
        Place { seats: Arc::clone(self), seat, queued: AtomicUsize::new(0) }
    }

    /// Tells everybody that the resolver stops; nobody gets a seat any more.
    pub fn close(&self) {
        let mut taken = self.lock();
        taken.is_closing = true;
        taken.seats.values().for_each(|sitting| sitting.seat.tell(Notice::Closing));
    }

    /// Takes the seat of whoever was idle longest, where descriptors run out before seats do.
    pub fn relieve(&self, now: Instant) {
        let now_ms = self.ms(now);
        let mut taken = self.lock();
        let idlest = taken.idlest();
        taken.evict(idlest, &self.limits, now_ms);
    }

    /// Connections open now.
    pub fn len(&self) -> usize {
        self.lock().seats.len()
    }
}

impl Taken {
    fn sit(&mut self, sitting: Sitting, now_ms: u64) {
        let id = sitting.seat.id;
        match sitting.client {
            None => self.strangers += 1,
            Some(client) => {
                self.by_client.entry(client).or_default().push(id);
                // Those that left are forgotten together, before they are many.
                if self.by_age.len() > 2 * self.seats.len() + 64 {
                    let seats = &self.seats;
                    self.by_age.retain(|Reverse((_, id))| seats.contains_key(id));
                }
                self.by_age.push(Reverse((now_ms, id)));
            }
        }
        self.seats.insert(id, sitting);
    }

    fn stand_up(&mut self, id: u64) -> Option<Sitting> {
        let sitting = self.seats.remove(&id)?;
        match sitting.client {
            None => self.strangers -= 1,
            Some(client) => {
                if let Some(ids) = self.by_client.get_mut(&client) {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        self.by_client.remove(&client);
                    }
                }
            }
        }
        Some(sitting)
    }

    /// Sees to it that one more of this client fits.
    fn make_room(&mut self, client: IpAddr, limits: &Limits, now_ms: u64) -> Result<(), &'static str> {
        if let Some(ids) = self.by_client.get(&client)
            && ids.len() >= limits.of_client
        {
            let idlest = ids.iter().copied().min_by_key(|id| self.active_ms(*id));
            return self.evict(idlest, limits, now_ms).ok_or("tcp_connections_per_client_max");
        }
        if self.seats.len() - self.strangers >= limits.all {
            let idlest = self.idlest();
            return self.evict(idlest, limits, now_ms).ok_or("tcp_connections_max");
        }
        Ok(())
    }

    fn active_ms(&self, id: u64) -> Option<u64> {
        self.seats.get(&id).map(|sitting| sitting.seat.active_ms.load(Ordering::Relaxed))
    }

    /// The client's seat that was idle longest.
    fn idlest(&mut self) -> Option<u64> {
        loop {
            let Reverse((known_ms, id)) = self.by_age.pop()?;
            let Some(active_ms) = self.active_ms(id) else { continue };
            self.by_age.push(Reverse((active_ms, id)));
            // Nobody else can be idle longer: the others were active after what is known of them.
            if active_ms == known_ms {
                return Some(id);
            }
        }
    }

    /// Takes a seat away from who was idle for long enough.
    fn evict(&mut self, id: Option<u64>, limits: &Limits, now_ms: u64) -> Option<()> {
        let id = id?;
        if now_ms.saturating_sub(self.active_ms(id)?) < limits.idle_min.as_millis() as u64 {
            return None;
        }
        // It is free at once: whoever comes must not wait until the other has left.
        self.stand_up(id)?.seat.tell(Notice::Evicted);
        Some(())
    }
}

impl Seat {
    fn tell(&self, notice: Notice) {
        let number = match notice {
            Notice::Evicted => 1,
            Notice::Closing => 2,
        };
        self.notice.store(number, Ordering::Release);
        self.waker.wake();
    }
}

impl Place {
    /// A stranger turned out to be a client of ours, or the bound that is reached.
    pub fn admit(&self, source: IpAddr, now: Instant) -> Result<(), &'static str> {
        self.move_to(source, now, self.seats.limits, |sitting| sitting.client.is_none())
    }

    /// Whom a proxy brings is known now: it is this one's seat, or the bound that is reached.
    pub fn brought(&self, source: IpAddr, now: Instant) -> Result<(), &'static str> {
        // It is among all of them already.
        self.move_to(source, now, Limits { all: usize::MAX, ..self.seats.limits }, |_| true)
    }

    fn move_to(
        &self,
        source: IpAddr,
        now: Instant,
        limits: Limits,
        moves: impl Fn(&Sitting) -> bool,
    ) -> Result<(), &'static str> {
        let (client, now_ms) = (household(source), self.seats.ms(now));
        let mut taken = self.seats.lock();
        if !taken.seats.get(&self.seat.id).is_some_and(moves) {
            return Ok(());
        }
        taken.make_room(client, &limits, now_ms)?;
        if let Some(sitting) = taken.stand_up(self.seat.id) {
            taken.sit(Sitting { client: Some(client), ..sitting }, now_ms);
        }
        Ok(())
    }

    /// Notes that something was asked or answered.
    pub fn touch(&self, now: Instant) {
        self.seat.active_ms.store(self.seats.ms(now), Ordering::Relaxed);
    }

    pub fn idle_for(&self, now: Instant) -> Duration {
        Duration::from_millis(self.seats.ms(now).saturating_sub(self.seat.active_ms.load(Ordering::Relaxed)))
    }

    /// What the one who sits here is told, now or, by the waker, later.
    pub fn notice(&self, cx: &Context<'_>) -> Option<Notice> {
        self.seat.waker.register(cx.waker());
        self.told()
    }

    fn told(&self) -> Option<Notice> {
        match self.seat.notice.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Notice::Evicted),
            _ => Some(Notice::Closing),
        }
    }

    /// Waits until there is something to be told.
    pub async fn noticed(&self) -> Notice {
        std::future::poll_fn(|cx| match self.notice(cx) {
            Some(notice) => std::task::Poll::Ready(notice),
            None => std::task::Poll::Pending,
        })
        .await
    }

    /// Octets of an answer that waits for the peer, counted until they are dropped; `None`: those of all peers together are
    /// too many.
    pub fn hold(&self, octets: Vec<u8>) -> Option<Bytes> {
        let all = &self.seats.queued_octets;
        let len = octets.len();
        let held = Held { octets, seats: Arc::clone(&self.seats) };
        let before = all.fetch_add(len, Ordering::Relaxed);
        // Dropped here, it is counted no more.
        (before + len <= self.seats.limits.queued_octets).then(|| Bytes::from_owner(held))
    }

    /// Says how many octets wait for the peer. `false`: those of all peers together are too many.
    pub fn queue(&self, octets: usize) -> bool {
        let before = self.queued.swap(octets, Ordering::Relaxed);
        let all = &self.seats.queued_octets;
        if octets <= before {
            all.fetch_sub(before - octets, Ordering::Relaxed);
            return true;
        }
        all.fetch_add(octets - before, Ordering::Relaxed) + octets - before <= self.seats.limits.queued_octets
    }
}

/// An answer that is somebody else's to send.
struct Held {
    octets: Vec<u8>,
    seats: Arc<Seats>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seats.queued_octets.fetch_sub(self.octets.len(), Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue(0);
        // One that was evicted has left already.
        self.seats.lock().stand_up(self.seat.id);
    }
}

/// An address of IPv6 stands for its /64: one host there has as many addresses as it likes.
fn household(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seats(all: usize, of_client: usize) -> (Arc<Seats>, Instant) {
        let limits = Limits { all, of_client, of_strangers: 1, queued_octets: 100, idle_min: SECOND };
        let seats = Arc::new(Seats::new(limits));
        let began = seats.began;
        (seats, began)
    }

    fn client(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn the_connection_that_was_idle_longest_makes_room() {
        let (seats, began) = seats(3, 9);
        let enter = |last, at: u32| seats.enter(client(last), true, began + at * SECOND);
        let (a, b, c) = (enter(1, 0).unwrap(), enter(2, 1).unwrap(), enter(3, 2).unwrap());
        a.touch(began + 10 * SECOND);
        let d = enter(4, 20).unwrap();
        assert_eq!([a.told(), b.told(), c.told(), d.told()], [None, Some(Notice::Evicted), None, None]);
        let e = enter(5, 21).unwrap();
        assert_eq!([a.told(), c.told()], [None, Some(Notice::Evicted)]);
        assert_eq!(seats.len(), 3);
        // Those that were told leave later, and nothing is counted twice.
        drop((b, c));
        assert_eq!(seats.len(), 3);
        drop((a, d, e));
        assert_eq!(seats.len(), 0);
        assert!(seats.lock().by_client.is_empty());
    }

    #[test]
    fn who_was_active_a_moment_ago_keeps_the_seat() {
        let (seats, began) = seats(2, 1);
        let now = began + 5 * SECOND;
        let (a, b) = (seats.enter(client(1), true, began).unwrap(), seats.enter(client(2), true, now).unwrap());
        a.touch(now);
        assert_eq!(seats.enter(client(3), true, now).err(), Some("tcp_connections_max"));
        assert_eq!(seats.enter(client(2), true, now).err(), Some("tcp_connections_per_client_max"));
        assert_eq!([a.told(), b.told()], [None, None]);
    }

    #[test]
    fn a_client_with_too_many_loses_one_of_its_own() {
        let (seats, began) = seats(9, 2);
        let other = seats.enter(client(9), true, began).unwrap();
        // Of IPv6 the /64 counts.
        let host = |last: &str| format!("2001:db8::{last}").parse::<IpAddr>().unwrap();
        let a = seats.enter(host("1"), true, began + SECOND).unwrap();
        let b = seats.enter(host("2"), true, began + 2 * SECOND).unwrap();
        let _c = seats.enter(host("3"), true, began + 9 * SECOND).unwrap();
        assert_eq!([other.told(), a.told(), b.told()], [None, Some(Notice::Evicted), None]);
    }

    #[test]
    fn strangers_take_no_clients_seat_until_they_are_known() {
        let (seats, began) = seats(1, 1);
        let stranger = seats.enter(client(1), false, began).unwrap();
        assert_eq!(seats.enter(client(2), false, began).err(), Some("tcp_strangers_max"));
        let first = seats.enter(client(3), true, began).unwrap();
        assert_eq!(stranger.admit(client(1), began), Err("tcp_connections_max"));
        drop(first);
        assert_eq!(stranger.admit(client(1), began), Ok(()));
        assert!(seats.enter(client(2), false, began).is_ok());
        drop(stranger);
        assert_eq!(seats.len(), 0);
    }

    #[test]
    fn whom_a_proxy_brings_sits_as_itself() {
        let (seats, began) = seats(9, 2);
        let proxy = client(7);
        let brought: Vec<_> = (1..=4).map(|_| seats.enter_proxied(proxy, began).unwrap()).collect();
        let limit = Err("tcp_connections_per_client_max");
        for (place, (last, done)) in brought.iter().zip([(1, Ok(())), (1, Ok(())), (1, limit), (2, Ok(()))]) {
            assert_eq!(place.brought(client(last), began), done, "one client has as many as any other: {last}");
        }
        drop(brought);
        assert_eq!(seats.len(), 0);
        assert!(seats.lock().by_client.is_empty());
    }

    #[test]
    fn a_stop_is_told_to_everybody_and_nobody_comes_any_more() {
        let (seats, began) = seats(9, 9);
        let a = seats.enter(client(1), true, began).unwrap();
        seats.close();
        assert_eq!(a.told(), Some(Notice::Closing));
        assert!(seats.enter(client(1), true, began).is_err());
    }

    #[test]
    fn octets_that_wait_are_counted_over_all() {
        let (seats, began) = seats(9, 9);
        let (a, b) = (seats.enter(client(1), true, began).unwrap(), seats.enter(client(1), true, began).unwrap());
        assert!(a.queue(60));
        assert!(!b.queue(60));
        assert!(b.queue(40));
        drop(a);
        assert!(b.queue(100));
    }

    #[test]
    fn an_answer_that_others_send_is_counted_until_it_is_gone() {
        let (seats, began) = seats(9, 9);
        let (a, b) = (seats.enter(client(1), true, began).unwrap(), seats.enter(client(2), true, began).unwrap());
        let held = a.hold(vec![7; 60]).unwrap();
        let part = held.slice(..1);
        assert!(b.hold(vec![0; 60]).is_none());
        drop(held);
        assert!(b.hold(vec![0; 60]).is_none(), "a part of it still waits");
        drop((a, part));
        assert_eq!(b.hold(vec![7; 100]).unwrap()[..], [7; 100]);
        assert_eq!(seats.queued_octets.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn where_descriptors_run_out_the_idlest_makes_room() {
        let (seats, began) = seats(9, 9);
        let (a, b) = (seats.enter(client(1), true, began).unwrap(), seats.enter(client(2), true, began).unwrap());
        a.touch(began + SECOND);
        seats.relieve(began + SECOND / 2);
        assert_eq!([a.told(), b.told()], [None, None], "nobody was idle for long enough");
        seats.relieve(began + SECOND);
        assert_eq!([a.told(), b.told()], [None, Some(Notice::Evicted)]);
    }

    #[test]
    fn connections_that_come_and_go_leave_nothing_behind() {
        let (seats, began) = seats(9, 9);
        for i in 0..10_000 {
            drop(seats.enter(client(1), true, began + i * SECOND).unwrap());
        }
        assert!(seats.lock().by_age.len() <= 66);
    }
}
