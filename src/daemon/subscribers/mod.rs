//! The table of subscribers in the daemon: feeds hand in changes, one hand makes them, files keep them.
//!
//! It lives on over every reload; a generation gets a handle ([`Live`]). A query never comes here. The operator's whole `books`, the
//! `keeping` of the table over a restart and what people are `told` of it have files of their own.

mod books;
mod keeping;
mod leases;
pub mod line;
pub mod radius;
pub(in crate::daemon) mod record;
mod store;
mod told;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::SubscriberSettings;
use crate::daemon::clock;
use crate::daemon::fleet::mirror::Mirror;
use crate::daemon::reload::Reloader;
use crate::daemon::telemetry::Metrics;
use crate::engine::client::Token;
use crate::engine::radius::sessions::Sessions;
use crate::engine::snapshot::Profile;
use crate::engine::subscribers::{Change, Counts, Entry, Full, Holder, Live, NameId, Room, Table, TokenState, Writer};
use keeping::Wanted;
use store::Store;
pub use told::{FeedSummary, StoreSummary, Summary};

/// How often what changed is written down, and what is over is looked for.
const FLUSH: Duration = Duration::from_secs(1);
const PRUNE: Duration = Duration::from_secs(60);
/// Changes made under one lock: a few milliseconds. Whoever else has something to say waits no longer.
const PIECE: usize = 4_096;
/// Until the next piece of many: whoever waits has the table meanwhile.
const BREATH: Duration = Duration::from_micros(100);
/// Names of profiles that nobody configured, told one by one; more are only counted.
const TOLD_MAX: usize = 20;

/// Who tells of subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    Api,
    Radius,
    Leases,
    Fleet,
}

impl Feed {
    pub const ALL: [Feed; 4] = [Feed::Api, Feed::Radius, Feed::Leases, Feed::Fleet];

    pub fn as_str(self) -> &'static str {
        match self {
            Feed::Api => "api",
            Feed::Radius => "radius",
            Feed::Leases => "leases",
            Feed::Fleet => "fleet",
        }
    }
}

/// What feeds did so far.
#[derive(Debug, Default)]
pub struct Counters {
    updates: [AtomicU64; Feed::ALL.len()],
    /// Seconds since 1970; zero: never.
    last: [AtomicU64; Feed::ALL.len()],
    lapsed: AtomicU64,
    unknown_profile: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    /// Events that an operator should look at, and how often they were.
    pub fn events(&self) -> [(&'static str, u64); 3] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("lapsed", count(&self.lapsed)),
            ("unknown-profile", count(&self.unknown_profile)),
            ("table-full", count(&self.refused)),
        ]
    }

    fn of(&self, feed: Feed) -> (u64, u64) {
        let at = feed as usize;
        (self.updates[at].load(Ordering::Relaxed), self.last[at].load(Ordering::Relaxed))
    }
}

/// Changes that were not made; all others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{first}; {count} of the changes are not made")]
pub struct Refused {
    /// Why the first of them was not.
    pub first: Full,
    pub count: usize,
}

impl Refused {
    /// Those of both.
    pub fn and(one: Option<Refused>, other: Option<Refused>) -> Option<Refused> {
        match (one, other) {
            (Some(one), Some(other)) => Some(Refused { count: one.count + other.count, ..one }),
            (one, other) => one.or(other),
        }
    }
}

/// The table, its writer, and what belongs to them.
pub struct Subscribers {
    table: Arc<Table>,
    inner: Mutex<Inner>,
    /// Where it is kept. Locked before `inner`, never after.
    files: Mutex<Option<Store>>,
    /// Where it is to be kept as soon as no other process keeps it there.
    wanted: Mutex<Option<Wanted>>,
    /// Sessions of the network. Locked before `inner`, never after.
    sessions: Mutex<Sessions>,
    /// As the generation in force reads the table.
    live: ArcSwapOption<Live>,
    settings: ArcSwap<Option<SubscriberSettings>>,
    pub counters: Counters,
    /// Held by a delta or a snapshot. Locked before `inner`, never after.
    whole: Mutex<()>,
    /// Not there: the map is this node's alone.
    mirror: OnceLock<Arc<Mirror>>,
}

struct Inner {
    writer: Writer,
    /// The serial of the last snapshot or delta; zero: there was none.
    serial: u64,
    /// Changes since the last flush.
    pending: Vec<u8>,
    is_kept: bool,
    /// Where this was last in the fleet's data, as the mirror writes it; empty: nowhere.
    fleet: String,
    /// What of that is written down.
    fleet_kept: String,
    told: HashSet<NameId>,
}

impl Subscribers {
    pub fn new(seed: (u64, u64)) -> Subscribers {
        Subscribers::with_room(seed, Room::default())
    }

    fn with_room(seed: (u64, u64), room: Room) -> Subscribers {
        let (table, writer) = Table::with_room(seed, room);
        let inner = Inner {
            writer,
            serial: 0,
            pending: Vec::new(),
            is_kept: false,
            fleet: String::new(),
            fleet_kept: String::new(),
            told: HashSet::new(),
        };
        Subscribers {
            table,
            inner: Mutex::new(inner),
            files: Mutex::default(),
            wanted: Mutex::default(),
            sessions: Mutex::default(),
            live: ArcSwapOption::empty(),
            settings: ArcSwap::from_pointee(None),
            counters: Counters::default(),
            whole: Mutex::default(),
            mirror: OnceLock::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// What the configuration in force says of feeds.
    pub fn settings(&self) -> Arc<Option<SubscriberSettings>> {
        self.settings.load_full()
    }

    /// The handle of a generation; `None`: its configuration has no subscribers.
    pub fn live(&self, settings: Option<&SubscriberSettings>, profiles: &[Profile]) -> Option<Live> {
        Some(Live::new(Arc::clone(&self.table), profiles, settings?.nats.clone().into()))
    }

    /// A generation goes into force.
    pub fn in_force(&self, settings: Option<&SubscriberSettings>, live: Option<&Live>) {
        self.settings.store(Arc::new(settings.cloned()));
        self.live.store(live.cloned().map(Arc::new));
        self.inner().told.clear();
    }

    /// Makes changes, all that fit, piece by piece.
    ///
    /// # Errors
    /// The table is full: so many changes are not made. What they would have replaced is taken out all the same.
    pub fn apply(&self, feed: Feed, changes: &[Change]) -> Result<(), Refused> {
        let refused = self.apply_pieces(feed, changes, &|_| true);
        refused.map_or(Ok(()), Err)
    }

    /// `still`: whether a change is to be made yet when its turn comes.
    fn apply_pieces(&self, feed: Feed, changes: &[Change], still: &dyn Fn(&Change) -> bool) -> Option<Refused> {
        let mut refused = None;
        for (i, piece) in changes.chunks(PIECE).enumerate() {
            if i > 0 {
                // The lock goes to whoever is quicker, and that would be us.
                std::thread::sleep(BREATH);
            }
            let mut inner = self.inner();
            refused = Refused::and(refused, self.apply_locked(&mut inner, feed, piece, still));
        }
        refused
    }

    fn apply_locked(
        &self,
        inner: &mut Inner,
        feed: Feed,
        changes: &[Change],
        still: &dyn Fn(&Change) -> bool,
    ) -> Option<Refused> {
        let mirror = self.mirror.get().filter(|_| feed != Feed::Fleet);
        let mut said = mirror.map(|_| Vec::with_capacity(changes.len()));
        let mut refused: Option<Refused> = None;
        for change in changes.iter().filter(|change| still(change)) {
            if let Err(first) = self.make(inner, change, said.as_mut()) {
                refused.get_or_insert(Refused { first, count: 0 }).count += 1;
            }
        }
        if let (Some(mirror), Some(said)) = (mirror, said) {
            mirror.say(&said);
        }
        let (at, not) = (feed as usize, refused.map_or(0, |refused| refused.count));
        self.counters.updates[at].fetch_add((changes.len() - not) as u64, Ordering::Relaxed);
        self.counters.refused.fetch_add(not as u64, Ordering::Relaxed);
        self.counters.last[at].store(clock::unix_secs(), Ordering::Relaxed);
        refused
    }

    /// Makes one change; what a fleet is to hear of it goes into `said`.
    fn make(&self, inner: &mut Inner, change: &Change, said: Option<&mut Vec<Change>>) -> Result<(), Full> {
        let before = said.as_ref().and_then(|_| self.holder_before(change));
        let done = inner.writer.apply(change);
        let made = match (done, change) {
            (Ok(()), change) => *change,
            // There is no room for who has the place now; who had it before has it no more all the same.
            (Err(_), Change::Put(key, _)) if inner.writer.remove(key).is_some() => Change::Remove(*key),
            (Err(full), _) => return Err(full),
        };
        if inner.is_kept {
            record::write(&made, &self.table, &mut inner.pending);
        }
        if let Some(said) = said {
            said.push(made);
            said.extend(self.withdrawn(&made, before));
        }
        if let Some(name) = name_of(&made)
            && self.live.load().as_ref().is_some_and(|live| !live.knows(name))
        {
            self.tell_unknown(inner, name);
        }
        done
    }

    /// Whose a change's prefix is before it is made.
    fn holder_before(&self, change: &Change) -> Option<(Token, TokenState)> {
        let (Change::Put(key, _) | Change::Remove(key)) = change else { return None };
        match self.table.get(key)?.holder {
            Holder::Token(token) => Some((token, self.table.find_token(token)?)),
            Holder::Profile(_) => None,
        }
    }

    /// What the network said of a token ends with its last prefix, and nothing of before comes back with the first: nodes
    /// that hear of the fleet later have to be told.
    fn withdrawn(&self, made: &Change, before: Option<(Token, TokenState)>) -> impl Iterator<Item = Change> + use<> {
        let prefixes = |token| self.table.find_token(token).map_or(0, |state| state.prefixes);
        let last = before.filter(|(token, state)| state.session.is_some() && prefixes(*token) == 0);
        let first = match made {
            Change::Put(_, Entry { holder: Holder::Token(token), term }) if term.is_session => Some(*token),
            Change::Put(..) | Change::Remove(_) | Change::Choose(..) | Change::Say(..) => None,
        };
        let had_one = |token| before.is_some_and(|(of, _)| of == token);
        let first = first.filter(|token| prefixes(*token) == 1 && !had_one(*token));
        last.map(|(token, _)| token).into_iter().chain(first).map(|token| Change::Say(token, None))
    }

    fn tell_unknown(&self, inner: &mut Inner, name: NameId) {
        self.counters.unknown_profile.fetch_add(1, Ordering::Relaxed);
        if inner.told.len() < TOLD_MAX && inner.told.insert(name) {
            let name = self.table.name(name);
            tracing::warn!("subscribers have the profile `{name}`, which is not configured: they get the default one");
        }
    }

    /// Whether other nodes hear nothing of this one now.
    pub fn is_cut_off(&self) -> bool {
        self.mirror.get().is_some_and(|mirror| !mirror.is_current())
    }

    /// Where in the fleet's data this was last, as the mirror writes it; empty: nowhere.
    pub fn fleet(&self) -> String {
        self.inner().fleet.clone()
    }

    pub fn set_fleet(&self, place: String) {
        self.inner().fleet = place;
    }

    /// Everything that a table is made of, as changes: prefixes, then what is chosen, then what the network said.
    pub fn each_change(&self, mut with: impl FnMut(Change)) {
        self.table.each_prefix(|key, entry| with(Change::Put(key, entry)));
        self.table.each_token(|token, state| {
            if state.chosen.is_some() {
                with(Change::Choose(token, state.chosen));
            }
            if state.session.is_some() {
                with(Change::Say(token, state.session));
            }
        });
    }

    /// Takes out what the fleet does not hold any more.
    pub fn keep_only(&self, mut is_held: impl FnMut(&Change) -> bool) {
        let mut gone = Vec::new();
        self.each_change(|change| {
            if !is_held(&change) {
                gone.push(match change {
                    Change::Put(key, _) | Change::Remove(key) => Change::Remove(key),
                    Change::Choose(token, _) => Change::Choose(token, None),
                    Change::Say(token, _) => Change::Say(token, None),
                });
            }
        });
        // Less always fits.
        let _ = self.apply(Feed::Fleet, &gone);
    }

    pub fn counts(&self) -> Counts {
        self.inner().writer.counts()
    }

    /// Takes out what is over.
    fn prune(&self) {
        let now = clock::unix_time();
        self.sessions().prune(u32::try_from(now.0).unwrap_or(0));
        let Some(live) = self.live.load_full() else { return };
        let mut over = Vec::new();
        self.table.each_prefix(|key, entry| {
            if live.is_over(&entry, now) {
                over.push((key, entry));
            }
        });
        for piece in over.chunks(PIECE) {
            let (mut inner, mut said) = (self.inner(), Vec::new());
            for (key, entry) in piece {
                // Unless it was confirmed since.
                if self.table.get(key) == Some(*entry) {
                    // Less always fits.
                    let _ = self.make(&mut inner, &Change::Remove(*key), Some(&mut said));
                    self.counters.lapsed.fetch_add(1, Ordering::Relaxed);
                }
            }
            // A node that is cut off does not know whether others heard more of it.
            if let Some(mirror) = self.mirror.get().filter(|mirror| mirror.is_current()) {
                mirror.say(&said);
            }
        }
    }
}

/// The profile that a change names.
fn name_of(change: &Change) -> Option<NameId> {
    match change {
        Change::Put(_, Entry { holder: Holder::Profile(name), .. }) => Some(*name),
        Change::Choose(_, name) | Change::Say(_, name) => *name,
        Change::Put(_, Entry { holder: Holder::Token(_), .. }) | Change::Remove(_) => None,
    }
}

/// Starts what listens to feeds and what keeps the table. It ends when all is written down.
pub fn start(
    reloader: &Reloader,
    radius: Vec<radius::Seat>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let subscribers = reloader.subscribers();
    let radius = radius.into_iter().filter_map(|seat| {
        let served = radius::serve(seat, Arc::clone(subscribers), Arc::clone(metrics), stop.clone());
        served.inspect_err(|why| tracing::error!("RADIUS accounting is not listened to: {why}")).ok()
    });
    let radius = radius.collect();
    let settings = subscribers.settings();
    for lease in settings.iter().flat_map(|settings| settings.leases.clone()) {
        tokio::spawn(leases::run(lease, Arc::clone(subscribers), stop.clone()));
    }
    if let Some(settings) = settings.as_ref()
        && let Some(store) = &settings.store
    {
        let mirror = Arc::new(Mirror::new(store.clone(), settings.state_key.as_ref()));
        let mirror = subscribers.mirror.get_or_init(|| mirror);
        mirror.start(Arc::clone(subscribers), stop.clone());
    }
    tokio::spawn(run(Arc::clone(subscribers), radius, stop.clone()))
}

/// Writes down and takes out until `stop`.
async fn run(subscribers: Arc<Subscribers>, radius: Vec<std::thread::JoinHandle<()>>, stop: CancellationToken) {
    let (mut flush, mut prune) = (tokio::time::interval(FLUSH), tokio::time::interval(PRUNE));
    loop {
        let work: fn(&Subscribers) = tokio::select! {
            _ = stop.cancelled() => break,
            _ = flush.tick() => |subscribers| {
                subscribers.claim();
                subscribers.flush();
            },
            _ = prune.tick() => Subscribers::prune,
        };
        let subscribers = Arc::clone(&subscribers);
        // A disk may hang; whoever is at work on it goes on alone.
        let _ = tokio::task::spawn_blocking(move || work(&subscribers)).await;
    }
    let _ = tokio::task::spawn_blocking(move || {
        // What was acknowledged is written down.
        radius.into_iter().for_each(|thread| drop(thread.join()));
        subscribers.flush();
        subscribers.release();
    })
    .await;
}

#[cfg(test)]
mod tests;
