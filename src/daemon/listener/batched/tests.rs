//! What a thread does with a question whose server says nothing, by how much the slow lane has to do; and with a batch that a proxy
//! sends for many.

use tokio::sync::OwnedSemaphorePermit;

use super::*;
use crate::daemon::subscribers::Feed;
use crate::daemon::test_support::{answer, message, pending, resolver, with_subscribers};
use crate::engine::client::Realm;
use crate::engine::identity;
use crate::engine::limits::QUERY_DEADLINE;
use crate::engine::proxy::SIGNATURE;
use crate::engine::query::RecordType;
use crate::engine::subscribers::{Change, Entry, Holder, Key, Term};

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
        assert_eq!(trial.worker.misses.flights() == 0, is_asked_again, "{what}");
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

#[test]
fn each_of_a_batch_is_who_the_proxy_says_it_is() {
    let config = "[listen]\ndns = [\"127.0.0.1:0\"]\nadmin = \"off\"\n[[upstream]]\nservers = [\"udp://127.0.0.1:9\"]\n[access]\nallow = \
                  [\"192.0.2.0/24\"]\nproxies = [\"127.0.0.0/8\"]\n[subscribers]\ninterim_interval = \"10 min\"\n";
    let profiles = [("default", "nxdomain"), ("school", "nodata"), ("strict", "refused")]
        .map(|(name, how)| format!("[profile.{name}]\ndeny = [\"game.example\"]\nblock_response = \"{how}\"\n"));
    let (resolver, subscribers) = with_subscribers(&(config.to_owned() + &profiles.concat()));
    let profile = |name: &str| subscribers.table().intern(name).unwrap();
    let token = |id: &str| identity::configured(id).unwrap();
    let strict = Entry { holder: Holder::Profile(profile("strict")), term: Term::default() };
    let changes = [
        Change::Choose(token("lop-6a"), Some(profile("school"))),
        Change::Choose(token("lop-7b"), Some(profile("strict"))),
        Change::Put(Key::of_net(Realm(0), "192.0.2.9/32".parse().unwrap()), strict),
    ];
    subscribers.apply(Feed::Api, &changes).unwrap();

    let (own, proxy) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    proxy.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    proxy.connect(own.local_addr().unwrap()).unwrap();
    let (queue, _waiting) = mpsc::channel(SLOW_QUEUE_MAX);
    let asked = prepare(&own, WAKE_EVERY).unwrap();
    let mut worker = Worker::new(Arc::new(own), asked, resolver, queue, Arc::new(Semaphore::new(1)));
    let (noerror, nxdomain, refused) = (0, 3, 5);
    let asked = [
        (Some("lop-6a"), 1, noerror),
        (Some("lop-7b"), 1, refused),
        (None, 1, nxdomain),
        (Some("of-nobody"), 1, nxdomain),
        (Some("of-nobody"), 9, refused),
        (Some("lop-6a"), 9, noerror),
        (None, 9, refused),
    ];
    for (id, host, _) in asked {
        let tlv = id.map_or(Vec::new(), |id| [&[0xe0, 0, id.len() as u8], id.as_bytes()].concat());
        let told = [&[192, 0, 2, host, 198, 51, 100, 53, 0x0f, 0xa0, 0, 53], &tlv[..]].concat();
        let question = message(0x0100, "game.example", RecordType::A, 1);
        let octets = [&SIGNATURE[..], &[0x21, 0x12], &(told.len() as u16).to_be_bytes(), &told, &question].concat();
        proxy.send(&octets).unwrap();
    }
    let count = worker.batch.receive(&worker.socket, true).unwrap();
    assert_eq!(count, asked.len(), "what loopback has queued comes at once");
    worker.take(count);
    for (id, host, rcode) in asked {
        let mut told = [0; 512];
        proxy.recv(&mut told).unwrap();
        assert_eq!(told[3] & 0xf, rcode, "{id:?} at 192.0.2.{host}");
    }
}
