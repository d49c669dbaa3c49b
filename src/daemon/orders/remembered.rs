//! What is known, of each order, of how long clients may remember what they were told before it: looked up in the cache once,
//! when it comes into force here, and kept, so that the reply can be written later. It is this node's own: another told
//! its clients other things.
//!
//! What the figures mean is the engine's ([`Remembered`]).

use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::taken_up::Met;
use super::{Book, Inner, KEPT_OCTETS_MAX, sealed, unsealed};
use crate::config::read_steady;
use crate::daemon::audit::Audit;
use crate::daemon::reload::Reloader;
use crate::daemon::{clock, state};
use crate::engine::answer::Section;
use crate::engine::cache::told_secs_max;
use crate::engine::client::UnixTime;
use crate::engine::explain::rfc3339;
use crate::engine::name::Name;
use crate::engine::order::{Bound, Gathering, Order, Orders, Remembered, State};

/// In the state directory.
const KEPT: &str = "orders-remembered.json";

/// As [`Remembered`], kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    reference: String,
    at: i64,
    limit_secs: u32,
    is_whole: bool,
    cached: Vec<(u32, u32)>,
    #[serde(default)]
    met: Option<Met>,
}

/// How long clients may remember what they were told before an order, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedTold {
    /// When the order came into force at this node: what is told below counts from here.
    pub since: String,
    /// No client was told a longer TTL.
    pub limit_secs: u32,
    /// Of the name that is remembered longest; absent: no client can remember any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<WorstTold>,
    /// Of the names that the cache had an answer of.
    pub cached: Vec<NameTold>,
    /// Of every other name; absent: nobody was told of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_secs: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorstTold {
    pub name: String,
    #[serde(flatten)]
    pub bound: BoundTold,
    /// From then on no client has an older answer.
    pub until: String,
    /// Seconds from when the order was received until then.
    pub after_secs: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameTold {
    pub name: String,
    pub secs: u32,
}

/// How long at most, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundTold {
    pub secs: u32,
    pub by: BoundBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoundBy {
    /// By what was left in the cache.
    Cache,
    /// By the longest TTL that clients are told: the cache does not have all that was told.
    Limit,
}

impl From<Bound> for BoundTold {
    fn from(bound: Bound) -> BoundTold {
        let by = match bound {
            Bound::Cached(_) => BoundBy::Cache,
            Bound::Limit(_) => BoundBy::Limit,
        };
        BoundTold { secs: bound.secs(), by }
    }
}

impl RememberedTold {
    /// `name` tells a name as whoever looks may see it.
    pub(super) fn of(
        remembered: &Remembered,
        order: &Order,
        zone: &TimeZone,
        name: impl Fn(usize) -> String,
    ) -> RememberedTold {
        let worst = remembered.worst(order.names.len()).map(|(place, bound)| {
            let until = UnixTime(remembered.at.0 + i64::from(bound.secs()));
            let after_secs = until.0 - order.received.0;
            WorstTold { name: name(place), bound: bound.into(), until: rfc3339(until, zone), after_secs }
        });
        let cached = remembered.cached.iter().filter(|(place, _)| (*place as usize) < order.names.len());
        let cached: Vec<NameTold> =
            cached.map(|(place, secs)| NameTold { name: name(*place as usize), secs: *secs }).collect();
        let has_others = cached.len() < order.names.len();
        RememberedTold {
            since: rfc3339(remembered.at, zone),
            limit_secs: remembered.limit_secs,
            worst,
            cached,
            others_secs: Some(remembered.limit_secs).filter(|_| has_others && !remembered.is_whole),
        }
    }
}

impl Inner {
    /// Forgets what was measured of an order whose names are others now, or that may begin to act anew.
    pub(super) fn measure_anew(&mut self, reference: &str) {
        self.remembered.remove(reference);
        self.met.remove(reference);
    }
}

impl Book {
    /// Takes up what was measured before.
    ///
    /// # Errors
    /// It cannot be read, or is not as we wrote it.
    pub fn recall(&self, state_directory: &Path, audit: &Audit) -> Result<(), String> {
        let path = state_directory.join(KEPT);
        let octets = match read_steady(&path, KEPT_OCTETS_MAX) {
            Ok(octets) => octets,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(format!("{}: {why}", path.display())),
        };
        let bad = |why: &str| format!("{}: {why}; how long clients may remember is measured anew", path.display());
        let text = String::from_utf8(octets).map_err(|_| bad("it is no UTF-8"))?;
        let (body, is_ours) = unsealed(&text, audit).ok_or_else(|| bad("it has no seal"))?;
        if !is_ours {
            return Err(bad("it was changed"));
        }
        let all: Vec<Kept> = serde_json::from_str(body).map_err(|why| bad(&why.to_string()))?;
        let mut inner = self.inner();
        for Kept { reference, at, limit_secs, is_whole, cached, met } in all {
            inner.met.extend(met.map(|met| (reference.clone(), met)));
            inner.remembered.insert(reference, Remembered { at: UnixTime(at), limit_secs, is_whole, cached });
        }
        Ok(())
    }

    /// Places of the orders that act and were not measured; one that lapsed is measured again when it acts again.
    fn unmeasured(&self, orders: &Orders, at: UnixTime) -> Vec<u32> {
        let mut inner = self.inner();
        let mut wanted = Vec::new();
        for (place, order) in (0..).zip(orders.all()) {
            if order.state(at) == State::Lapsed {
                inner.measure_anew(&order.reference);
            } else if order.acts(at) && !inner.met.contains_key(&order.reference) {
                wanted.push(place);
            }
        }
        wanted
    }

    fn remember(&self, measured: Vec<(&Order, Remembered, Met)>, audit: &Audit) -> Result<(), String> {
        let mut inner = self.inner();
        for (order, remembered, met) in measured {
            // What was found when it began to act counts; one that did so under an earlier version was not asked for.
            inner.remembered.entry(order.reference.clone()).or_insert(remembered);
            inner.met.insert(order.reference.clone(), met);
        }
        let Some(directory) = &inner.kept_in else { return Ok(()) };
        let path = directory.join(KEPT);
        let all = inner.remembered.iter().map(|(reference, remembered)| {
            let Remembered { at, limit_secs, is_whole, cached } = remembered.clone();
            let met = inner.met.get(reference).copied();
            Kept { reference: reference.clone(), at: at.0, limit_secs, is_whole, cached, met }
        });
        let mut text = serde_json::to_string(&all.collect::<Vec<_>>()).map_err(|why| why.to_string())?;
        text.push('\n');
        state::write_whole(&path, sealed(text, audit).as_bytes()).map_err(|why| format!("{}: {why}", path.display()))
    }

    pub(super) fn remembered(&self, reference: &str) -> Option<Remembered> {
        self.inner().remembered.get(reference).cloned()
    }

    fn measuring(&self) -> MutexGuard<'_, ()> {
        self.measuring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reloader {
    /// Whether an order has begun to act that was not measured yet.
    pub fn has_unmeasured_orders(&self) -> bool {
        let generation = self.in_force();
        !self.orders().unmeasured(&generation.snapshot.orders, clock::unix_time()).is_empty()
    }

    /// Looks up in the cache, for the orders that have begun to act, how long clients may remember what they were told before, asks
    /// for their names, and tells the other nodes. Blocks.
    pub fn measure_orders(&self) {
        let _alone = self.orders().measuring();
        self.measure_begun();
        self.tell_taken_up();
    }

    fn measure_begun(&self) {
        let generation = self.in_force();
        let (orders, settings) = (Arc::clone(&generation.snapshot.orders), generation.snapshot.cache);
        let (at, now) = (clock::unix_time(), clock::now());
        let wanted = self.orders().unmeasured(&orders, at);
        if wanted.is_empty() {
            return;
        }
        let (max, stale) = (settings.max_client_ttl_secs(), settings.serve_stale);
        let limit_secs = told_secs_max(max, stale);
        let cache = &self.resolver().cache;
        let is_whole = cache.is_whole_for(Duration::from_secs(limit_secs.into()), now);
        let mut gathering = Gathering::new(&orders, &wanted);
        cache.remembered(max, stale, now, |entry, answer, secs| {
            if let Ok(name) = Name::from_wire(entry.qname()) {
                gathering.add(&name, secs);
            }
            answer.target_names(Section::Answer).for_each(|name| gathering.add(&name, secs));
        });
        let measured = gathering.finish(at, limit_secs, is_whole).into_iter();
        let measured = measured.filter_map(|(place, remembered)| {
            let order = orders.get(place)?;
            Some((order, remembered, self.meet(order)))
        });
        if let Err(why) = self.orders().remember(measured.collect(), self.audit()) {
            tracing::error!("{why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::reload::Loader;
    use crate::daemon::resolver::Resolver;
    use crate::daemon::telemetry::Metrics;
    use crate::engine::answer::AnswerBuilder;
    use crate::engine::cache::Key;
    use crate::engine::order::tests::order;
    use crate::engine::query::{CLASS_IN, Question, Rcode, RecordType};

    const CONFIG: &str =
        "[[upstream]]\nservers = [\"127.0.0.1:9\"]\n[cache]\nserve_stale = 0\nmax_client_ttl = \"30 m\"\n";

    fn reloader(directory: &Path) -> Reloader {
        let file = directory.join("lachan.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let mut loader = Loader::new(Some(file));
        let loaded = loader.load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
        let resolver = Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new())));
        Reloader::new(loader, resolver, loaded.settings, loaded.notes, Vec::new(), Duration::ZERO)
    }

    /// Upstream said so: records of an answer to a question for A.
    fn told(reloader: &Reloader, qname: &str, records: &[(&str, RecordType, u32, &[u8])]) {
        let question = Question { qname: qname.parse().unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
        let mut answer = AnswerBuilder::new(Rcode::NOERROR);
        for (owner, rtype, ttl, rdata) in records {
            let owner: Name = owner.parse().unwrap();
            answer.push(Section::Answer, owner.as_wire(), *rtype, *ttl, rdata);
        }
        let key = Key::new(&question, false, false, 1);
        reloader.resolver().cache.put(key, Arc::new(answer.finish()), false, Duration::ZERO);
    }

    fn address(reloader: &Reloader, qname: &str, ttl: u32) {
        told(reloader, qname, &[(qname, RecordType::A, ttl, &[192, 0, 2, 1][..])]);
    }

    /// Puts orders into force.
    fn act(reloader: &Reloader, orders: Vec<Order>) {
        reloader.orders().hold(Orders::new(orders));
        reloader.take_up().unwrap();
    }

    #[test]
    fn what_clients_may_remember_is_what_the_cache_had_when_the_order_came_into_force() {
        let folder = tempfile::tempdir().unwrap();
        let reloader = reloader(folder.path());
        address(&reloader, "www.bad.example", 300);
        address(&reloader, "long.example", 86_400);
        address(&reloader, "other.example", 900);
        let target: Name = "target.example".parse().unwrap();
        let alias = [
            ("shop.example", RecordType::CNAME, 700, target.as_wire()),
            ("target.example", RecordType::A, 5, &[192, 0, 2, 1][..]),
        ];
        told(&reloader, "shop.example", &alias);
        let names = ["bad.example", "quiet.example", "long.example", "target.example"];
        let waits = Order { effective: UnixTime(i64::MAX), ..order("2", &["other.example"]) };
        act(&reloader, vec![order("1", &names), waits.clone()]);
        assert!(reloader.has_unmeasured_orders());
        reloader.measure_orders();
        assert!(!reloader.has_unmeasured_orders());
        let remembered = reloader.orders().remembered("1").unwrap();
        // The process has not run for half an hour: what it does not know, another may have told before it.
        assert_eq!((remembered.limit_secs, remembered.is_whole), (1_800, false));
        let near = |place, secs: u32| match remembered.of(place) {
            Some(Bound::Cached(found)) => secs - 5 <= found && found <= secs,
            _ => false,
        };
        // Below the name; no longer than clients are told; by an alias that leads there, with the alias's own TTL.
        assert!(near(0, 300) && near(2, 1_800) && near(3, 700), "{remembered:?}");
        assert_eq!(remembered.of(1), Some(Bound::Limit(1_800)));
        assert_eq!(reloader.orders().remembered("2"), None, "it does not act yet");

        // It is measured once: what is answered later is the order's block, or not for its clients.
        address(&reloader, "quiet.example", 60);
        act(&reloader, vec![order("1", &names), waits]);
        reloader.measure_orders();
        assert_eq!(reloader.orders().remembered("1"), Some(remembered));
    }

    #[test]
    fn an_order_that_lapsed_is_measured_anew_when_it_acts_again() {
        let folder = tempfile::tempdir().unwrap();
        let reloader = reloader(folder.path());
        let far = UnixTime(i64::MAX);
        let night = Order { approved: None, provisional_until: Some(far), ..order("1", &["bad.example"]) };
        act(&reloader, vec![night.clone()]);
        reloader.measure_orders();
        assert_eq!(reloader.orders().remembered("1").map(|remembered| remembered.cached), Some(vec![]));
        act(&reloader, vec![Order { provisional_until: Some(UnixTime(1)), ..night }]);
        reloader.measure_orders();
        assert_eq!(reloader.orders().remembered("1"), None);
        address(&reloader, "bad.example", 300);
        act(&reloader, vec![order("1", &["bad.example"])]);
        reloader.measure_orders();
        assert_eq!(reloader.orders().remembered("1").map(|remembered| remembered.cached.len()), Some(1));
    }

    #[test]
    fn what_was_measured_outlives_the_process_and_is_taken_as_it_was_written_alone() {
        let folder = tempfile::tempdir().unwrap();
        let book = || {
            let (audit, book) = (Audit::default(), Book::default());
            audit.keep_in(folder.path()).unwrap();
            book.keep_in(folder.path(), &audit, &TimeZone::UTC).unwrap();
            (audit, book)
        };
        let orders = Orders::new(vec![order("1/A05", &["bad.example", "b.example"])]);
        let remembered = Remembered { at: UnixTime(7), limit_secs: 60, is_whole: true, cached: vec![(1, 9)] };
        let (audit, first) = book();
        let met: Met = serde_json::from_str(r#"{"names":2,"blocked":2,"micros":9}"#).unwrap();
        first.remember(vec![(&orders.all()[0], remembered.clone(), met)], &audit).unwrap();
        let (audit, second) = book();
        second.recall(folder.path(), &audit).unwrap();
        assert_eq!((second.remembered("1/A05"), second.inner().met.get("1/A05")), (Some(remembered), Some(&met)));
        let file = folder.path().join(KEPT);
        let changed = std::fs::read_to_string(&file).unwrap().replace("[[1,9]]", "[[1,2]]");
        std::fs::write(&file, changed).unwrap();
        let (audit, third) = book();
        let why = third.recall(folder.path(), &audit).unwrap_err();
        assert!(why.contains("it was changed; how long clients may remember is measured anew"), "{why}");
        assert_eq!(third.remembered("1/A05"), None);
    }
}
