//! RADIUS accounting by UDP, a copy of the network's stream: packets in, acknowledgements out.
//!
//! An authentic packet is acknowledged at once, whatever becomes of it: who sends a copy must not wait for us. One thread of an
//! address does that and nothing else; another applies packets to the table in memory, in the order in which they came. Disks
//! and fleets come later.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Feed, Subscribers};
use crate::config::SubscriberSettings;
use crate::daemon::clock;
use crate::daemon::telemetry::Metrics;
use crate::engine::client::{Token, TokenKey};
use crate::engine::limits::RADIUS_QUEUE_MAX;
use crate::engine::radius::sessions::{Effect, Report};
use crate::engine::radius::{self, PACKET_OCTETS_MAX, Told};
use crate::engine::subscribers::{Change, Table};

/// What the kernel holds for us while we work: some ten thousand packets, a BNG that begins anew.
const RECEIVE_OCTETS: usize = 8 << 20;
/// How often an address is tried that another process has, and looked up whether to stop.
const AGAIN: Duration = Duration::from_millis(250);

/// Where packets come in.
pub enum Seat {
    Ours(UdpSocket),
    /// The process before us has it; it is ours when that one ends.
    Awaited(SocketAddr),
}

/// Binds the addresses, so that a caller can say what is wrong with them. `beside`: another process may have them still.
pub fn bind(settings: Option<&SubscriberSettings>, beside: bool) -> Result<Vec<Seat>, String> {
    let radius = settings.and_then(|settings| settings.radius.as_ref());
    let listen = radius.iter().flat_map(|radius| &radius.listen);
    listen
        .map(|address| match bind_one(*address) {
            Ok(socket) => Ok(Seat::Ours(socket)),
            Err(why) if beside && why.kind() == io::ErrorKind::AddrInUse => Ok(Seat::Awaited(*address)),
            Err(why) => Err(format!("cannot listen on {address} ([subscribers.radius] listen): {why}")),
        })
        .collect()
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(AGAIN))?;
    // As much as the system allows.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_OCTETS);
    Ok(socket)
}

/// A packet that was acknowledged.
struct Heard {
    datagram: Box<[u8]>,
    source: SocketAddr,
}

/// Serves one address until `stop`. Whoever joins finds all that was acknowledged in the table.
pub fn serve(
    seat: Seat,
    subscribers: Arc<Subscribers>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("radius".to_owned()).spawn(move || {
        let Some(socket) = take_seat(seat, &stop) else { return };
        let (queue, heard) = sync_channel(RADIUS_QUEUE_MAX);
        let (of_table, of_metrics) = (Arc::clone(&subscribers), Arc::clone(&metrics));
        let table = Builder::new().name("radius-table".to_owned());
        let table = match table.spawn(move || take_all(&heard, &of_table, &of_metrics)) {
            Ok(table) => table,
            Err(why) => return tracing::error!("RADIUS accounting is not listened to: {why}"),
        };
        listen(&socket, &subscribers, &metrics, &queue, &stop);
        drop(queue);
        if table.join().is_err() {
            tracing::error!("RADIUS accounting broke off");
        }
    })
}

/// `None`: to stop.
fn take_seat(seat: Seat, stop: &CancellationToken) -> Option<UdpSocket> {
    let address = match seat {
        Seat::Ours(socket) => return Some(socket),
        Seat::Awaited(address) => address,
    };
    while !stop.is_cancelled() {
        match bind_one(address) {
            Ok(socket) => return Some(socket),
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
    None
}

/// Acknowledges, and waits for nobody.
fn listen(
    socket: &UdpSocket,
    subscribers: &Subscribers,
    metrics: &Metrics,
    queue: &SyncSender<Heard>,
    stop: &CancellationToken,
) {
    let mut room = vec![0; PACKET_OCTETS_MAX + 1];
    while !stop.is_cancelled() {
        // Nothing came for a while; or an ICMP error of an earlier acknowledgement did.
        let Ok((length, source)) = socket.recv_from(&mut room) else { continue };
        let datagram = &room[..length];
        let dropped = match answer(subscribers, datagram, source) {
            Ok(response) => match queue.try_send(Heard { datagram: datagram.into(), source }) {
                Ok(()) => {
                    // Full buffers lose it, as the way there might: it is sent again.
                    let _ = socket.send_to(&response, source);
                    continue;
                }
                Err(_) => {
                    metrics.limit_hit("radius_queue_max");
                    "no-queue"
                }
            },
            Err(why) => why,
        };
        metrics.radius_packets.with_label_values(&[dropped]).inc();
    }
}

/// Takes in what was acknowledged, until no more can come.
fn take_all(heard: &Receiver<Heard>, subscribers: &Subscribers, metrics: &Metrics) {
    for Heard { datagram, source } in heard {
        let result = match take(subscribers, &datagram, source) {
            Ok(Taken { effect, limits }) => {
                limits.into_iter().flatten().for_each(|limit| metrics.limit_hit(limit));
                effect.map_or("refused", Effect::as_str)
            }
            Err(why) => why,
        };
        metrics.radius_packets.with_label_values(&[result]).inc();
    }
}

/// What an authentic datagram is acknowledged with.
///
/// # Errors
/// Why it is dropped in silence.
pub fn answer(subscribers: &Subscribers, datagram: &[u8], source: SocketAddr) -> Result<[u8; 20], &'static str> {
    let settings = subscribers.settings();
    let radius = settings.as_ref().as_ref().and_then(|settings| settings.radius.as_ref()).ok_or("off")?;
    let client = &radius.clients[radius.client(source.ip()).ok_or("stranger")?];
    radius::answer(datagram, &client.secret.0).map_err(radius::Dropped::as_str)
}

/// What became of an authentic packet.
pub struct Taken {
    /// `None`: the table is full.
    pub effect: Option<Effect>,
    /// Bounds that it met.
    pub limits: [Option<&'static str>; 3],
}

/// Takes in one datagram that was acknowledged.
///
/// # Errors
/// Why nothing comes of it.
pub fn take(subscribers: &Subscribers, datagram: &[u8], source: SocketAddr) -> Result<Taken, &'static str> {
    let settings = subscribers.settings();
    let settings = settings.as_ref().as_ref().ok_or("off")?;
    let radius = settings.radius.as_ref().ok_or("off")?;
    let client = &radius.clients[radius.client(source.ip()).ok_or("stranger")?];
    let told = radius::read_again(datagram).map_err(radius::Dropped::as_str)?;
    let table = subscribers.table();
    let now = u32::try_from(clock::unix_secs()).unwrap_or(u32::MAX);
    let report = Report {
        told: &told,
        realm: client.realm,
        token: token_of(&told, settings, table),
        profile: told.profile.and_then(|name| table.intern(name)),
        now,
        // Twice, so that one that is lost does no harm.
        confirmed_for: u32::try_from(2 * settings.interim.as_secs()).unwrap_or(u32::MAX),
    };
    let mut changes: Vec<Change> = Vec::new();
    let mut sessions = subscribers.sessions();
    let (beyond, astray) = (sessions.beyond(), sessions.astray());
    let effect = sessions.take(&report, table, &mut changes);
    let (is_beyond, is_astray) = (sessions.beyond() > beyond, sessions.astray() > astray);
    // Under the sessions' lock: two sockets must not change their order.
    let done = subscribers.apply(Feed::Radius, &changes);
    // The first, and then ever fewer: a NAS without a clock sends nothing else.
    if is_astray && (astray + 1).is_power_of_two() {
        tracing::warn!(
            nas = %source.ip(),
            packets = astray + 1,
            "RADIUS accounting with an Event-Timestamp that cannot be: it counts from when it came; is that clock set?"
        );
    }
    let limits = [
        told.has_too_many.then_some("session_places_max"),
        is_beyond.then_some("session_keys_max"),
        is_astray.then_some("radius_clock"),
    ];
    Ok(Taken { effect: done.is_ok().then_some(effect), limits })
}

/// The line's token, made with the key that it is known by; one that is known by none gets the first.
fn token_of(told: &Told<'_>, settings: &SubscriberSettings, table: &Table) -> Option<Token> {
    let line = told.line(&settings.radius.as_ref()?.token_from)?;
    known_token(line, &settings.token_keys, table)
}

/// While keys change, a line is looked for by both.
pub fn known_token(line: &[u8], keys: &[TokenKey], table: &Table) -> Option<Token> {
    let mut tokens = keys.iter().map(|key| Token::of(key, line));
    let first = tokens.next()?;
    let has_choice = |token: &Token| table.find_token(*token).is_some_and(|state| state.chosen.is_some());
    if has_choice(&first) { Some(first) } else { Some(tokens.find(has_choice).unwrap_or(first)) }
}
