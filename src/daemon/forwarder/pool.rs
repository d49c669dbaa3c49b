//! The connections to one server: few, shared by many questions, made again when they die.
//!
//! A connection that the server closed while it was idle, or after it had answered some of what was asked on it, is nobody's
//! fault: what is not answered goes once more, over a fresh one (RFC 7766 §6.2.4), a few times. A connection on which several
//! questions in a row found no answer is given up, for a peer that lost its state says nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use hickory_net::{DnsHandle, NetError};
use hickory_proto::op::{DnsRequest, DnsResponse};
use tokio::time::Instant;

use super::connect::Exchange;
use super::once::Once;
use super::upstream::Broken;
use crate::engine::limits::{UPSTREAM_CONNECTION_IN_FLIGHT_MAX, UPSTREAM_CONNECTIONS_MAX};

/// With this many questions in flight on each connection another one is made.
const BUSY: usize = 64;
/// Questions in a row without an answer after which a connection counts as dead.
const UNANSWERED_MAX: u32 = 3;
/// Connections that a question is asked on, at most. Chosen: with [`UPSTREAM_CONNECTIONS_MAX`] at once a server that answers one
/// question on each gets through sixteen questions that came together.
const TRIES_MAX: u32 = 5;
/// Connections among these that break without an answer to anybody, at most: of one that broke its answer to another question may
/// not have been told yet.
const FRUITLESS_MAX: u32 = 2;
/// A question taken back earlier than this says nothing about the connection.
const UNANSWERED_AFTER: Duration = Duration::from_millis(400);

/// The connections, at most [`UPSTREAM_CONNECTIONS_MAX`].
#[derive(Default)]
pub struct Pool {
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    exchange: Once<Exchange>,
    in_flight: AtomicUsize,
    /// Questions in a row that found no answer.
    unanswered: AtomicU32,
    /// It has answered before; when it breaks then, it may just have been idle for too long.
    has_answered: AtomicBool,
}

impl Pool {
    /// Asks over a connection, made by `open` when there is none. The duration counts from when it was there.
    pub async fn ask(
        &self,
        request: DnsRequest,
        open: impl Fn() -> Once<Exchange>,
    ) -> Result<(DnsResponse, Duration), Broken> {
        let (mut tries, mut fruitless) = (0, 0);
        loop {
            tries += 1;
            let lease = self.lease(tries > 1, &open)?;
            let exchange = match lease.connection.exchange.get().await {
                Ok(exchange) => exchange,
                Err(error) => {
                    lease.retire();
                    return Err(Broken::Network(error.to_string()));
                }
            };
            let started = Instant::now();
            match exchange.send(request.clone()).next().await.unwrap_or(Err(NetError::Timeout)) {
                Ok(response) => {
                    lease.on_answer();
                    return Ok((response, started.elapsed()));
                }
                // Only over HTTPS and QUIC: on a stream of messages hickory-net passes over what it cannot read.
                Err(error @ NetError::Proto(_)) => {
                    lease.on_answer();
                    return Err(Broken::Reply(error.to_string()));
                }
                Err(error) if is_about_reply(&error) => return Err(Broken::Network(error.to_string())),
                // `Busy` too: that is what hickory-net says when the connection's task has ended.
                Err(error) => {
                    lease.retire();
                    fruitless += u32::from(!lease.connection.has_answered.load(Ordering::Relaxed));
                    if tries >= TRIES_MAX || fruitless > FRUITLESS_MAX {
                        return Err(Broken::Network(error.to_string()));
                    }
                }
            }
        }
    }

    /// The least busy connection; a retry takes only one that is new, and shares it only when no more may be made: a server
    /// that closes before it has answered all may answer but one on each.
    fn lease(&self, is_retry: bool, open: impl Fn() -> Once<Exchange>) -> Result<Lease<'_>, Broken> {
        let mut connections = self.lock();
        let fit = connections.iter().filter(|c| !is_retry || !c.has_answered.load(Ordering::Relaxed));
        let is_full = connections.len() >= UPSTREAM_CONNECTIONS_MAX;
        let in_flight = |c: &&Arc<Connection>| c.in_flight.load(Ordering::Relaxed);
        let least = fit.min_by_key(in_flight).or_else(|| connections.iter().filter(|_| is_full).min_by_key(in_flight));
        let least = least.cloned();
        let has_room = |limit: usize| least.as_ref().filter(|c| c.in_flight.load(Ordering::Relaxed) < limit);
        let connection = match has_room(if is_retry { 1 } else { BUSY }) {
            Some(connection) => Arc::clone(connection),
            None if !is_full => {
                let connection = Arc::new(Connection {
                    exchange: open(),
                    in_flight: AtomicUsize::new(0),
                    unanswered: AtomicU32::new(0),
                    has_answered: AtomicBool::new(false),
                });
                connections.push(Arc::clone(&connection));
                connection
            }
            None => Arc::clone(has_room(UPSTREAM_CONNECTION_IN_FLIGHT_MAX).ok_or(Broken::Busy)?),
        };
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Lease { pool: self, connection, started: Instant::now(), is_open: AtomicBool::new(true) })
    }

    fn retire(&self, connection: &Arc<Connection>) {
        self.lock().retain(|c| !Arc::ptr_eq(c, connection));
    }

    pub fn connections(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        // The list is whole between any two statements, so a panic elsewhere leaves it usable.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An HTTP status, a message that cannot be read: the connection itself is sound.
fn is_about_reply(error: &NetError) -> bool {
    matches!(error, NetError::Msg(_) | NetError::ParseInt(_) | NetError::Decode(_))
}

/// One question's share of a connection.
struct Lease<'a> {
    pool: &'a Pool,
    connection: Arc<Connection>,
    started: Instant,
    /// Neither answered nor retired yet.
    is_open: AtomicBool,
}

impl Lease<'_> {
    fn on_answer(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        self.connection.unanswered.store(0, Ordering::Relaxed);
        self.connection.has_answered.store(true, Ordering::Relaxed);
    }

    fn retire(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        self.pool.retire(&self.connection);
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
        let is_unanswered = self.is_open.load(Ordering::Relaxed) && self.started.elapsed() >= UNANSWERED_AFTER;
        if is_unanswered && self.connection.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
            self.pool.retire(&self.connection);
        }
    }
}
