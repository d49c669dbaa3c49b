//! How each node took an order up: when it came into force there, what a question for each of its names met, and how long that
//! node's clients may remember an older answer. Nodes tell each other, so that one of them can write the reply for all.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Book;
use super::commands::{Effect, measure};
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
    pub reference: String,
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

/// A node of the fleet, and how it took an order up; `None`: it has not said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTold {
    pub node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_up: Option<TakenUpTold>,
}

impl TakenUp {
    fn told(&self, received: UnixTime, zone: &TimeZone) -> TakenUpTold {
        let TakenUp { since, met: Met { names, blocked, micros }, .. } = *self;
        let after = |at: i64| at - received.0;
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
    fn taken_up(&self) -> Vec<TakenUp> {
        let inner = self.inner();
        let known = inner.remembered.iter().filter_map(|(reference, remembered)| {
            let names = inner.held.get(reference)?.order.names.len();
            Some(TakenUp {
                reference: reference.clone(),
                since: remembered.at.0,
                met: *inner.met.get(reference)?,
                remembered_secs: remembered.worst(names).map(|(_, bound)| bound.secs()),
            })
        });
        let mut known: Vec<TakenUp> = known.collect();
        known.sort_by(|a, b| (b.since, &b.reference).cmp(&(a.since, &a.reference)));
        known.truncate(TOLD_MAX);
        known
    }
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

    /// Tells the other nodes how this one took up its orders.
    pub(super) fn tell_taken_up(&self) {
        if let Some(fleet) = self.fleet() {
            fleet.tell_taken_up(self.orders().taken_up());
        }
    }

    /// Adds to a verified order how each node of the fleet took it up, if there are others.
    pub async fn ask_nodes(&self, effect: &mut Effect) {
        let (Some(fleet), Ok(order)) = (self.fleet(), self.orders().get(&effect.order.reference)) else { return };
        self.tell_taken_up();
        let zone = self.orders().zone();
        match fleet.taken_up(&order.reference).await {
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
