//! How each node took an order up: when it came into force there, what a question for each of its names met, and how long that
//! node's clients may remember an older answer. Nodes tell each other, so that one of them can write the reply for all.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::commands::{Effect, measure};
use super::{Book, Held, Inner, sha256};
use crate::config::write_order;
use crate::daemon::reload::Reloader;
use crate::engine::client::UnixTime;
use crate::engine::explain::rfc3339;
use crate::engine::order::Order;

/// Orders that a node tells others of, the newest. Chosen: some months of them, in 40 KiB.
const TOLD_MAX: usize = 256;

/// What questions through the resolver met when an order came into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Met {
    /// Names that were asked for, and how many of them were blocked.
    names: usize,
    blocked: usize,
    /// How long the slowest answer took.
    micros: u64,
}

/// How one node took an order up, as it tells the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenUp {
    /// Of the order as it is there: under one reference two nodes may have two orders, or one of them has not heard all of it.
    mark: String,
    /// When it came into force there; seconds since 1970.
    since: i64,
    #[serde(flatten)]
    met: Met,
    /// How long after that clients may remember an older answer; absent: no client can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remembered_secs: Option<u32>,
}

/// As [`TakenUp`], told to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenUpTold {
    pub since: String,
    /// Seconds from when the order was received until then.
    pub after_secs: i64,
    pub names: usize,
    pub blocked: usize,
    pub micros: u64,
    /// From then on no client has an older answer, and seconds from when the order was received until then; absent: no client
    /// had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<(String, i64)>,
}

/// A node of the fleet, and how it took an order up; `None`: it has not told of this order as it is here, among its newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTold {
    pub node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_up: Option<TakenUpTold>,
}

impl TakenUp {
    fn told(&self, received: UnixTime, zone: &TimeZone) -> TakenUpTold {
        let TakenUp { since, met: Met { names, blocked, micros }, .. } = *self;
        // Another node's clock may be behind.
        let after = |at: i64| (at - received.0).max(0);
        TakenUpTold {
            since: rfc3339(UnixTime(since), zone),
            after_secs: after(since),
            names,
            blocked,
            micros,
            forgotten: self.remembered_secs.map(|secs| {
                let at = since + i64::from(secs);
                (rfc3339(UnixTime(at), zone), after(at))
            }),
        }
    }
}

impl Book {
    /// How this node took up its orders, the newest first.
    fn newest_taken_up(&self) -> Vec<TakenUp> {
        let inner = self.inner();
        let mut newest: Vec<(i64, &String)> = inner.remembered.iter().map(|(of, at)| (at.at.0, of)).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        newest.into_iter().take(TOLD_MAX).filter_map(|(_, reference)| inner.taken_up(reference)).collect()
    }
}

impl Book {
    /// When all names of an order were first found blocked here, if they were as soon as it came into force.
    pub(super) fn first_blocked(&self, reference: &str) -> Option<UnixTime> {
        let inner = self.inner();
        let met = inner.met.get(reference).filter(|met| met.names > 0 && met.names == met.blocked);
        met.and_then(|_| Some(inner.remembered.get(reference)?.at))
    }
}

impl Inner {
    fn taken_up(&self, reference: &str) -> Option<TakenUp> {
        let (Held { order, mark, .. }, remembered) = (self.held.get(reference)?, self.remembered.get(reference)?);
        Some(TakenUp {
            mark: mark.clone(),
            since: remembered.at.0,
            met: *self.met.get(reference)?,
            remembered_secs: remembered.worst(order.names.len()).map(|(_, bound)| bound.secs()),
        })
    }
}

/// What two nodes have alike when they have the same order, approved by the same.
pub(super) fn mark(order: &Order) -> String {
    let of_all = Order { checked: None, verified_at: None, reported_at: None, ..order.clone() };
    sha256(&write_order(&of_all))
}

impl Reloader {
    /// Asks for every name of an order that has come into force.
    pub(super) fn meet(&self, order: &Order) -> Met {
        let names = order.names.iter().map(|ordered| measure(self.resolver(), order, &ordered.name));
        names.fold(Met { names: 0, blocked: 0, micros: 0 }, |met, name| Met {
            names: met.names + 1,
            blocked: met.blocked + usize::from(name.effective),
            micros: met.micros.max(name.micros),
        })
    }

    /// Tells the other nodes how this one took up its orders. Who calls holds `measuring`, so that nothing older is told after it.
    pub(super) fn tell_taken_up(&self) {
        if let Some(fleet) = self.fleet() {
            fleet.tell_taken_up(self.orders().newest_taken_up());
        }
    }

    /// Adds to a verified order how each node of the fleet took it up, if there are others.
    pub async fn ask_nodes(&self, effect: &mut Effect) {
        let (Some(fleet), Ok(order)) = (self.fleet(), self.orders().get(&effect.order.reference)) else { return };
        let (zone, own) = (self.orders().zone(), self.orders().inner().taken_up(&order.reference));
        let mark = mark(&order);
        match fleet.taken_up(own, |taken_up| taken_up.mark == mark).await {
            Ok(nodes) => {
                let told = |(node, taken_up): (String, Option<TakenUp>)| NodeTold {
                    node,
                    taken_up: taken_up.map(|taken_up| taken_up.told(order.received, &zone)),
                };
                effect.nodes = nodes.into_iter().map(told).collect();
            }
            Err(why) => effect.nodes_unknown = Some(why),
        }
    }
}
