//! RADIUS accounting by UDP, a copy of the network's stream: packets in, acknowledgements out.
//!
//! An authentic packet is acknowledged at once, whatever becomes of it: who sends a copy must not wait for us. Then it is
//! applied to the table in memory; disks and fleets come later.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{Feed, Subscribers};
use crate::config::SubscriberSettings;
use crate::daemon::clock;
use crate::daemon::telemetry::Metrics;
use crate::engine::client::{Token, TokenKey};
use crate::engine::radius::sessions::{Effect, Report};
use crate::engine::radius::{self, PACKET_OCTETS_MAX, Told};
use crate::engine::subscribers::{Change, Table};

/// What the kernel holds for us while we work: some ten thousand packets, a BNG that begins anew.
const RECEIVE_OCTETS: usize = 8 << 20;
/// How often an address is tried that another process has.
const AGAIN: Duration = Duration::from_millis(250);

/// Where packets come in.
pub enum Seat {
    Ours(StdUdpSocket),
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

fn bind_one(address: SocketAddr) -> io::Result<StdUdpSocket> {
    let socket = StdUdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // As much as the system allows.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_OCTETS);
    Ok(socket)
}

/// Serves one address until `stop`.
pub async fn serve(seat: Seat, subscribers: Arc<Subscribers>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let socket = match seat {
        Seat::Ours(socket) => socket,
        Seat::Awaited(address) => loop {
            if let Ok(socket) = bind_one(address) {
                break socket;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        },
    };
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(why) => return tracing::error!("RADIUS accounting is not listened to: {why}"),
    };
    let mut room = vec![0; PACKET_OCTETS_MAX + 1];
    loop {
        let (length, source) = tokio::select! {
            _ = stop.cancelled() => return,
            received = socket.recv_from(&mut room) => match received {
                Ok(received) => received,
                // An ICMP error of an earlier acknowledgement.
                Err(_) => continue,
            },
        };
        let result = match take(&subscribers, &room[..length], source) {
            Ok(Taken { response, effect }) => {
                // Full buffers lose it, as the way there might: it is sent again.
                let _ = socket.try_send_to(&response, source);
                effect.map_or("refused", Effect::as_str)
            }
            Err(why) => why,
        };
        metrics.radius_packets.with_label_values(&[result]).inc();
    }
}

/// What became of an authentic packet.
pub struct Taken {
    pub response: [u8; 20],
    /// `None`: the table is full.
    pub effect: Option<Effect>,
}

/// Takes one datagram in.
///
/// # Errors
/// Why it is dropped in silence.
pub fn take(subscribers: &Subscribers, datagram: &[u8], source: SocketAddr) -> Result<Taken, &'static str> {
    let settings = subscribers.settings();
    let settings = settings.as_ref().as_ref().ok_or("off")?;
    let radius = settings.radius.as_ref().ok_or("off")?;
    let client = &radius.clients[radius.client(source.ip()).ok_or("stranger")?];
    let told = radius::read(datagram, &client.secret.0).map_err(radius::Dropped::as_str)?;
    let response = radius::acknowledge(datagram, &client.secret.0);
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
    let effect = sessions.take(&report, table, &mut changes);
    // Under the sessions' lock: two sockets must not change their order.
    let done = subscribers.apply(Feed::Radius, &changes);
    Ok(Taken { response, effect: done.is_ok().then_some(effect) })
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
