//! What several nodes share by a Valkey or Redis server: connections to it, and the mirror of subscribers.
//!
//! The server is never asked by a query. Every node serves from its own memory and goes on when the server is gone, slow or
//! empty; what it has to say waits, and what it missed it reads when the server is back.

mod connection;
pub mod mirror;

pub use connection::{Trouble, connect};
