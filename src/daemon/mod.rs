//! The half that touches the world: sockets, files, clocks, tasks. It moves octets and decides nothing.

pub mod admin;
pub mod artefacts;
mod background;
pub mod cache;
pub mod clock;
pub mod decide;
pub mod explain;
mod express;
pub mod forwarder;
pub mod gates;
pub mod inflight;
pub mod lane;
pub mod learner;
pub mod listener;
mod mapped;
mod memory;
mod redirect;
pub mod reload;
pub mod resolver;
mod rewrite;
pub mod serve;
pub mod snapshot_cell;
pub mod sources;
pub mod state;
mod stranger_limit;
pub mod telemetry;
pub mod watch;
