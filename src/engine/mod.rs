//! The pure half: values in, values out. It knows DNS and policy; it knows no socket, file, clock, thread, log or metric.

#![forbid(unsafe_code)]

pub mod answer;
pub mod cache;
pub mod category;
pub mod client;
pub mod compile;
pub mod compiled;
pub mod cookie;
pub mod discovery;
pub mod dnr;
pub mod exchange;
pub mod explain;
pub mod framing;
pub mod gate;
pub mod identity;
pub mod leases;
pub mod limits;
pub mod list;
pub mod local_data;
pub mod matcher;
pub mod name;
pub mod order;
pub mod overlay;
pub mod peers;
pub mod policy;
pub mod proxy;
pub mod query;
pub mod radius;
pub mod rate_limit;
pub mod reply;
pub mod safe_search;
pub mod schedule;
pub mod snapshot;
pub mod structured;
pub mod subscribers;
#[cfg(test)]
pub(crate) mod test_support;
pub mod upstream;
pub mod verdict;
pub mod zone_limit;
