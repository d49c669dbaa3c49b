//! What there is, for people: how many subscribers, by which feeds, and how the fleet's store is.

use std::collections::BTreeMap;

use super::{Feed, Subscribers};
use crate::engine::subscribers::Counts;

/// What there is, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    pub v4: usize,
    pub port_blocks: usize,
    pub v6: usize,
    pub tokens: usize,
    pub sessions: usize,
    pub serial: u64,
    pub epoch: u64,
    pub octets: usize,
    /// Whether it survives a restart.
    pub kept: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSummary>,
    pub feeds: BTreeMap<String, FeedSummary>,
}

/// The store of a fleet, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreSummary {
    /// It answers, and all that it has is here.
    pub current: bool,
    /// When it last was; seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// Changes of this node that it has not taken yet.
    pub waiting: usize,
}

/// One feed, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FeedSummary {
    pub updates: u64,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
}

impl Subscribers {
    pub fn summary(&self) -> Summary {
        let sessions = self.sessions().open();
        let inner = self.inner();
        let Counts { v4, ports, v6, tokens } = inner.writer.counts();
        let feeds = Feed::ALL.iter().map(|feed| {
            let (updates, last) = self.counters.of(*feed);
            (feed.as_str().to_owned(), FeedSummary { updates, last: (last != 0).then_some(last) })
        });
        Summary {
            v4,
            port_blocks: ports,
            v6,
            tokens,
            sessions,
            serial: inner.serial,
            epoch: self.table.epoch(),
            octets: self.table.octets(),
            kept: inner.is_kept,
            store: self.mirror.get().map(|mirror| StoreSummary {
                current: mirror.is_current(),
                at: mirror.current_at(),
                waiting: mirror.waiting(),
            }),
            feeds: feeds.collect(),
        }
    }
}
