//! What several nodes share by a Valkey or Redis server: connections to it, the mirror of subscribers, and the log of commands.
//!
//! The server is never asked by a query. Every node serves from its own memory and goes on when the server is gone, slow or
//! empty; what it has to say waits, and what it missed it reads when the server is back.

mod apply;
pub mod command;
mod connection;
mod log;
pub mod mirror;
mod reach;
mod stream;

pub use connection::{Trouble, connect};
pub use log::{Counters, Log};
pub use reach::{Missing, Node, Reach, Refused, Why};
