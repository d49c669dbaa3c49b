//! What a thread does with a question whose server says nothing, by how much the slow lane has to do.

use tokio::sync::OwnedSemaphorePermit;

use super::*;
use crate::daemon::test_support::{answer, pending, resolver};
use crate::engine::limits::QUERY_DEADLINE;

/// Long after anybody's patience with a server, and before a client's own time is over.
const LATE: Duration = Duration::from_millis(4_400);

/// A thread of the fast lane that asked its server one question for its client.
struct Trial {
    worker: Worker,
    waiting: mpsc::Receiver<Slow>,
    server: UdpSocket,
    client: UdpSocket,
    asked_at: Instant,
}

impl Trial {
    fn start() -> Trial {
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (own, server, client) = (socket(), socket(), socket());
        // Nothing here waits so long but where something is broken.
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        let resolver = resolver(&format!(
            "[listen]\ndns = [\"127.0.0.1:0\"]\nadmin = \"off\"\n[[upstream]]\nservers = [\"udp://{}\"]\n",
            server.local_addr().unwrap()
        ));
        let (queue, waiting) = mpsc::channel(SLOW_QUEUE_MAX);
        let room = Arc::new(Semaphore::new(SLOW_IN_FLIGHT_MAX));
        let pending = pending(&resolver, "www.example.com", client.local_addr().unwrap());
        let asked = prepare(&own, WAKE_EVERY).unwrap();
        let mut worker = Worker::new(Arc::new(own), asked, resolver, queue, room);
        let asked_at = Instant::now();
        assert!(matches!(worker.misses.start(pending, asked_at), Started::Here));
        worker.misses.send();
        Trial { worker, waiting, server, client, asked_at }
    }

    /// Gives the slow lane work that waits in its queue, and work that it is at until the permit is dropped.
    fn occupy(&self, queued: usize, at_once: usize) -> OwnedSemaphorePermit {
        for _ in 0..queued {
            let origin = Origin::new(self.client.local_addr().unwrap(), None, Transport::Udp);
            let work = Slow::Datagram { message: Box::default(), origin, came: self.asked_at };
            assert!(self.worker.queue.try_send(work).is_ok());
        }
        Arc::clone(&self.worker.room).try_acquire_many_owned(at_once as u32).unwrap()
    }

    /// Takes what the slow lane has to do; how much of it are queries that the fast lane gave up.
    fn given_up(&mut self) -> usize {
        std::iter::from_fn(|| self.waiting.try_recv().ok()).filter(|slow| matches!(slow, Slow::Query(_))).count()
    }

    /// The question, answered by the server.
    fn answer_late(&mut self) {
        let mut query = [0; 512];
        let (octets, from) = self.server.recv_from(&mut query).unwrap();
        self.server.send_to(&answer(&query[..octets]), from).unwrap();
        self.worker.take_replies();
    }
}

#[test]
fn what_is_late_is_asked_again_only_while_the_slow_lane_has_little_to_do() {
    const HALF: usize = SECOND_TRIES_MAX / 2;
    for (queued, at_once, is_asked_again) in [
        (0, 0, true),
        (SECOND_TRIES_MAX - 1, 0, true),
        (0, SECOND_TRIES_MAX - 1, true),
        (SECOND_TRIES_MAX, 0, false),
        (0, SECOND_TRIES_MAX, false),
        (HALF, SECOND_TRIES_MAX - HALF, false),
    ] {
        let what = format!("{queued} in the queue, {at_once} being answered");
        let mut trial = Trial::start();
        let busy = trial.occupy(queued, at_once);
        trial.worker.go_on(trial.asked_at + LATE);
        assert_eq!(trial.worker.misses.is_idle(), is_asked_again, "{what}");
        assert_eq!(trial.given_up(), usize::from(is_asked_again), "{what}");
        drop(busy);
    }
}

#[test]
fn what_waits_on_in_the_lane_is_answered_there_however_late() {
    let mut trial = Trial::start();
    let busy = trial.occupy(0, SECOND_TRIES_MAX);
    trial.worker.go_on(trial.asked_at + LATE);
    trial.answer_late();
    assert!(trial.worker.misses.is_idle());
    let mut told = [0; 512];
    let octets = trial.client.recv(&mut told).unwrap();
    assert_eq!((octets, &told[..2], told[3] & 0xf, told[7]), (49, &[0x4c, 0x43][..], 0, 1), "NOERROR and one address");
    assert_eq!(trial.given_up(), 0);
    drop(busy);
}

#[test]
fn what_waits_on_in_the_lane_goes_to_the_slow_lane_when_its_clients_time_is_over() {
    let mut trial = Trial::start();
    let busy = trial.occupy(0, SECOND_TRIES_MAX);
    trial.worker.go_on(trial.asked_at + LATE);
    // That there is room again is too late: it was decided once.
    drop(busy);
    trial.worker.go_on(trial.asked_at + QUERY_DEADLINE - Duration::from_nanos(1));
    assert_eq!((trial.worker.misses.is_idle(), trial.given_up()), (false, 0));
    trial.worker.go_on(trial.asked_at + QUERY_DEADLINE);
    assert_eq!((trial.worker.misses.is_idle(), trial.given_up()), (true, 1));
}
