//! Everything one query needs, immutable: made by [`compile`](crate::engine::compile), read by policy.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::engine::category::{Categories, CategoryId};
use crate::engine::client::{Access, Client, ClientTable, Token, UnixTime};
use crate::engine::compile::{CacheSettings, Home, ListSettings, Mode, Observe, Strangers, YouTube};
use crate::engine::cookie::Cookies;
use crate::engine::identity;
use crate::engine::limits::ORDERS_NAMES_MAX;
use crate::engine::list::ListReport;
use crate::engine::local_data::LocalData;
use crate::engine::matcher::{BuildError, HashSeed, Hits, Index, Layer, ListSet, Placed, Spared};
use crate::engine::name::Name;
use crate::engine::order::Orders;
use crate::engine::overlay::{Overlay, Said, Word};
use crate::engine::peers::Peers;
use crate::engine::query::Origin;
use crate::engine::rate_limit::RateLimit;
use crate::engine::safe_search::SafeSearch;
use crate::engine::schedule::{Open, Timeline, Window, WindowMode};
use crate::engine::structured::Texts;
use crate::engine::subscribers::{Held, Identified, Live, Reader};
use crate::engine::upstream::Routes;
use crate::engine::verdict::{BlockResponse, EngineId, ListId, ProfileId};
use crate::engine::zone_limit::ZoneLimit;

/// One generation of policy.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counts reloads; in every event (I2).
    pub generation: u64,
    pub categories: Categories,
    /// By [`ListId`].
    pub lists: Vec<List>,
    /// By [`ProfileId`]; the first is `default`.
    pub profiles: Vec<Profile>,
    /// The `[client.*]`, by [`Client::configured`](crate::engine::client::Client).
    pub clients_known: Arc<Vec<KnownClient>>,
    pub clients: Arc<ClientTable>,
    /// Lines that come and go; `None`: nobody tells of them.
    pub subscribers: Option<Live>,
    pub access: Arc<Access>,
    pub peers: Arc<Peers>,
    pub strangers: Strangers,
    /// `None`: no cookies.
    pub cookies: Option<Cookies>,
    /// `None`: nobody is limited.
    pub rate_limit: Option<RateLimit>,
    /// `None`: no zone is limited.
    pub zone_limit: Option<ZoneLimit>,
    pub index: Arc<Index>,
    /// The layer of all lists that were read as text; `None` without one.
    pub texts: Option<Arc<Layer>>,
    pub masks: Masks,
    /// What was said for a while. A change makes a generation that shares all else.
    pub overlay: Arc<Overlay>,
    /// Legal orders, whether they act now or not; their names are the list [`Masks::orders`].
    pub orders: Arc<Orders>,
    /// Where those names lie; `None` without an order.
    pub order_names: Option<Arc<Layer>>,
    pub safe_search: Arc<SafeSearch>,
    pub local_data: Arc<LocalData>,
    pub routes: Arc<Routes>,
    /// Reasons for programs.
    pub structured: Arc<Texts>,
    pub page_v4: Option<Ipv4Addr>,
    pub page_v6: Option<Ipv6Addr>,
    pub block_ttl_secs: u32,
    pub observe: Observe,
    pub rebind_protection: bool,
    pub rebind_allow: Vec<Name>,
    pub cache: CacheSettings,
    pub node_name: String,
    /// In which people are told times.
    pub zone: TimeZone,
}

/// A list of this generation.
#[derive(Debug, Clone)]
pub struct List {
    /// As in the configuration; `operator.allow`, `profile.school.deny`, `protected` and the like for our own.
    pub name: String,
    pub role: ListRole,
    /// Rules compiled.
    pub rules: usize,
    /// `None` for our own lists.
    pub configured: Option<ConfiguredList>,
    /// Taken out by hand: its rules are in the index and in no profile's mask.
    pub is_disabled: bool,
}

/// What `lists status` tells of a `[list.*]`.
#[derive(Debug, Clone)]
pub struct ConfiguredList {
    pub settings: ListSettings,
    pub report: ListReport,
    /// Rules that stood on public suffixes and were left out.
    pub spared: Spared,
    pub home: Home,
}

/// What a list's rules do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListRole {
    Category(CategoryId),
    /// Names of legal orders.
    Orders,
    OperatorAllow,
    OperatorDeny,
    ProfileAllow(ProfileId),
    ProfileDeny(ProfileId),
    /// A hole that no list reaches.
    Protected,
    /// A hole that no content list reaches.
    ProtectedContent,
    /// What a machine needs to work at all; let by where nothing but what is allowed passes, and a hole like the one above.
    Infrastructure,
    /// By these names a machine sees whether it is online; let by likewise, but led to the portal of a walled garden.
    Connectivity,
}

/// What rules may ask about a `[client.*]`.
#[derive(Debug)]
pub struct KnownClient {
    pub name: String,
    pub tags: Vec<String>,
    /// Subscribers behind each of its addresses.
    pub lines: u32,
    /// `None`: as its profile has it.
    pub mode: Option<Mode>,
    pub profile: ProfileId,
    /// For who tells why a client is this one.
    pub networks: Vec<IpNet>,
    /// File and line of its table.
    pub place: Option<(String, u32)>,
}

/// A profile with its bit masks over the lists.
#[derive(Debug, Clone)]
pub struct Profile {
    pub name: String,
    /// By the number of what is open, as [`Timeline::open`] has it; the first is for when no window is. What of it is in
    /// force for a question is [`InForce`](crate::engine::policy::InForce)'s to say.
    pub masks: Vec<ProfileMasks>,
    /// The first of them with the lists that are taken out.
    pub whole: ProfileMasks,
    pub hours: Arc<[Hours]>,
    /// Some window judges otherwise even names that no list speaks about.
    pub hours_reach_all: bool,
    /// At no hour is a name judged for itself that no list speaks about.
    pub passes_unlisted: bool,
    pub timeline: Timeline,
    pub allow: ListId,
    pub deny: ListId,
    /// It keeps out all that the default profile does.
    pub keeps_default: bool,
    pub safe_search: bool,
    /// Engines whose hosts are left alone.
    pub safe_search_except: Vec<EngineId>,
    pub youtube: YouTube,
    pub block_response: BlockResponse,
    /// Categories that are answered otherwise.
    pub block_responses: Vec<(CategoryId, BlockResponse)>,
    /// `None`: the snapshot's.
    pub block_ttl_secs: Option<u32>,
    /// Security lists are heard for questions that lead a browser somewhere, and for no others.
    pub security_for_addresses: bool,
    /// `None`: as for everybody.
    pub mode: Option<Mode>,
}

/// What a profile's masks are at some hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileMasks {
    pub security: ListSet,
    pub content: ListSet,
    /// Lists that count and do not block.
    pub shadow: ListSet,
    pub unsafe_search: Option<CategoryId>,
    pub unlisted: Unlisted,
}

/// What becomes of a question that no rule of the operator's or the profile's allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unlisted {
    /// The rungs below see to it.
    Judged,
    /// Blocked, but for what machines need to work.
    Blocked,
    /// Likewise, and machines are to see that they are not online.
    Portal,
}

/// A window with what it blocks while it is open.
#[derive(Debug, Clone)]
pub struct Hours {
    pub window: Window,
    pub content: ListSet,
    pub unsafe_search: Option<CategoryId>,
}

/// Lists that mean the same for every profile.
#[derive(Debug, Clone)]
pub struct Masks {
    pub orders: ListId,
    pub operator_allow: ListId,
    pub operator_deny: ListId,
    pub protected: ListId,
    pub protected_content: ListId,
    pub infrastructure: ListId,
    pub connectivity: ListId,
    /// Response policy zones: of these, in their order, the first that speaks is the one that is heard.
    /// `None`: there is no such list.
    pub zones: Option<ListSet>,
    /// The list with the canary of the built-in security list alone; `None` without a security category.
    pub canary: Option<ListSet>,
    /// Ways round the filter: their names are NXDOMAIN whatever else a profile answers, since they are asked to hear it.
    pub bypass: Option<CategoryId>,
    /// The default profile: its category blocks are the operator's policy (EDE 15), any other's a choice (EDE 17).
    pub default_profile: ProfileId,
}

impl Snapshot {
    /// Who asks, and whose profile it has.
    pub fn identify(&self, origin: &Origin, at: UnixTime) -> Client {
        self.identify_with(origin, at, |live| live.identify(origin, at))
    }

    /// As [`Snapshot::identify`], by what a thread keeps to read the table of subscribers with.
    pub fn identify_by(&self, reader: &mut Option<Reader>, origin: &Origin, at: UnixTime) -> Client {
        let Some(reader) = reader else { return self.identify(origin, at) };
        self.identify_with(origin, at, |live| live.identify_by(reader, origin, at))
    }

    /// As [`Snapshot::identify`] for one of whom the table of subscribers has this.
    pub fn identify_held(&self, held: Option<Held>, origin: &Origin, at: UnixTime) -> Client {
        self.identify_with(origin, at, |live| live.judge(held, at))
    }

    fn identify_with<F>(&self, origin: &Origin, at: UnixTime, identify: impl FnOnce(&Live) -> Identified<F>) -> Client {
        let client = Client { at, ..self.clients.of(origin) };
        let Some(live) = &self.subscribers else { return client };
        // An identity of the configuration goes before the line that it asks from.
        if origin.identity.is_some_and(|token| self.clients.knows(token)) {
            return client;
        }
        let Identified { standing, profile, .. } = identify(live);
        Client { standing, profile: profile.unwrap_or(client.profile), ..client }
    }

    /// Whether whoever asks is one of our clients, by its network or by its identity.
    pub fn admits(&self, origin: &Origin) -> bool {
        self.access.allows(origin.source.ip()) || origin.identity.is_some_and(|token| self.knows(token))
    }

    /// A client away from home: its identity is known, and nothing else speaks for it.
    pub fn is_guest(&self, origin: &Origin) -> bool {
        // Who may ask anyway is not looked for: a batch is looked up together later.
        origin.identity.is_some_and(|token| !self.access.allows(origin.source.ip()) && self.knows(token))
    }

    /// Whether somebody has this identity, by the configuration or among subscribers.
    pub fn knows(&self, token: Token) -> bool {
        let is_subscriber = || self.subscribers.as_ref().is_some_and(|live| live.table.find_token(token).is_some());
        self.clients.knows(token) || is_subscriber()
    }

    /// Whether anybody is known by what it says at all.
    pub fn may_have_guests(&self) -> bool {
        self.clients.has_tokens() || self.subscribers.is_some()
    }

    /// The identity in a name that a client asked for in TLS.
    pub fn identity_in(&self, server_name: &str) -> Option<Token> {
        identity::of_server_name(self.local_data.own_name()?, server_name)
    }

    /// Subscribers behind a client's address.
    pub fn lines(&self, client: Client) -> u32 {
        client.configured.and_then(|at| self.clients_known.get(at as usize)).map_or(1, |known| known.lines)
    }

    /// Serves the lists that were read as text from `layer`, which holds the same rules elsewhere.
    pub fn serve_texts_from(&mut self, layer: Arc<Layer>) {
        let Some(before) = self.texts.replace(Arc::clone(&layer)) else { return };
        let layers = self.index.names.layers().map(|Placed { layer: at, lists }| {
            let at = if Arc::ptr_eq(at, &before) { &layer } else { at };
            Placed { layer: Arc::clone(at), lists: lists.clone() }
        });
        self.index = Arc::new(Index::new(layers.collect()));
        let homes = self.lists.iter_mut().filter_map(|list| Some(&mut list.configured.as_mut()?.home));
        homes.filter(|home| Arc::ptr_eq(&home.layer, &before)).for_each(|home| home.layer = Arc::clone(&layer));
    }

    /// How many lists have their rules in `layer`.
    pub fn lists_of(&self, layer: &Arc<Layer>) -> usize {
        let configured = self.lists.iter().filter_map(|list| list.configured.as_ref());
        configured.filter(|list| Arc::ptr_eq(&list.home.layer, layer)).count()
    }

    /// The same generation of rules with these `[list.*]` taken out, and every other one in: masks change, the index does
    /// not.
    pub fn without_lists(&self, generation: u64, is_disabled: &dyn Fn(&str) -> bool) -> Snapshot {
        let mut snapshot = Snapshot { generation, ..self.clone() };
        for list in &mut snapshot.lists {
            list.is_disabled = list.configured.is_some() && is_disabled(&list.name);
        }
        snapshot.mask_profiles();
        snapshot
    }

    /// The same rules with windows that open and close by this clock; without a clock they stay closed.
    pub fn with_hours_from(mut self, now: Option<UnixTime>) -> Snapshot {
        for profile in self.profiles.iter_mut().filter(|profile| !profile.hours.is_empty()) {
            let windows: Vec<Window> = profile.hours.iter().map(|hours| hours.window.clone()).collect();
            profile.timeline = now.map_or_else(Timeline::default, |now| Timeline::new(&windows, now));
        }
        self.mask_profiles();
        self
    }

    /// Whether some profile's windows are not known for this moment, or soon will not be.
    pub fn hours_are_due(&self, now: UnixTime) -> bool {
        self.profiles.iter().any(|profile| !profile.hours.is_empty() && profile.timeline.is_due(now))
    }

    /// Whether some profile has windows.
    pub fn has_hours(&self) -> bool {
        self.profiles.iter().any(|profile| !profile.hours.is_empty())
    }

    fn mask_profiles(&mut self) {
        let out = (0..self.lists.len()).filter(|i| self.lists[*i].is_disabled).map(|i| ListId(i as u16)).collect();
        for profile in &mut self.profiles {
            profile.masks = profile.timeline.open().iter().map(|open| profile.masks_of(*open, &out)).collect();
            let of_all = |masks: &ProfileMasks| (masks.unlisted, masks.unsafe_search);
            profile.passes_unlisted =
                profile.masks.iter().all(|masks| masks.unlisted == Unlisted::Judged && masks.unsafe_search.is_none());
            profile.hours_reach_all = profile.masks.iter().any(|masks| of_all(masks) != of_all(&profile.masks[0]));
        }
    }

    /// Takes up what was said for a while.
    pub fn set_overlay(&mut self, words: &[Word], pauses: &[Said]) {
        self.overlay = Arc::new(Overlay::new(words, pauses, self));
    }

    /// Takes up a register of orders in place of the one before. The other layers of the index stay as they are.
    ///
    /// # Errors
    /// Its names are more than an index holds; then nothing has changed.
    pub fn set_orders(&mut self, orders: Arc<Orders>) -> Result<(), BuildError> {
        if Arc::ptr_eq(&self.orders, &orders) {
            return Ok(());
        }
        let names = orders.all().iter().map(|order| order.names.len()).sum();
        if names > ORDERS_NAMES_MAX {
            return Err(BuildError::OrderNames(names));
        }
        // Hashed as a layer that is asked beside it, so that both are asked with one hash.
        let is_before = |placed: &&Placed| self.order_names.as_ref().is_some_and(|own| Arc::ptr_eq(own, &placed.layer));
        let others: Vec<Placed> = self.index.names.layers().filter(|placed| !is_before(placed)).cloned().collect();
        let seed = others.first().map_or(HashSeed(0, 0), |placed| placed.layer.names.seed());
        let layer = orders.layer(seed)?;
        let placed =
            layer.as_ref().map(|layer| Placed { layer: Arc::clone(layer), lists: vec![Some(self.masks.orders)] });
        if placed.is_some() || self.order_names.is_some() {
            self.index = Arc::new(Index::new(others.into_iter().chain(placed).collect()));
        }
        self.lists[usize::from(self.masks.orders.0)].rules = names;
        (self.orders, self.order_names) = (orders, layer);
        Ok(())
    }

    pub fn list(&self, id: ListId) -> &List {
        &self.lists[usize::from(id.0)]
    }

    pub fn profile(&self, id: ProfileId) -> &Profile {
        &self.profiles[usize::from(id.0)]
    }

    /// Profiles and windows whose calendar has no term any more in so many days, and the last day of the last one.
    pub fn terms_ending(&self, at: UnixTime, within_days: i64) -> impl Iterator<Item = (&str, &str, Date)> {
        self.profiles.iter().flat_map(move |profile| {
            let windows = profile.hours.iter().map(|hours| &hours.window);
            windows.filter_map(move |window| {
                Some((profile.name.as_str(), window.name.as_str(), window.last_day(at, within_days)?))
            })
        })
    }

    /// Whether no list reaches the name.
    pub fn is_protected(&self, name: &Name) -> bool {
        let mut hits = Hits::new();
        self.index.names.look_up(name.as_wire(), &mut hits);
        self.index.names.listed(&hits).contains(self.masks.protected)
    }

    pub fn profile_named(&self, name: &str) -> Option<ProfileId> {
        self.profiles.iter().position(|p| p.name == name).map(|i| ProfileId(i as u16))
    }
}

impl Profile {
    /// What is in force at a moment.
    pub fn masks_at(&self, at: UnixTime) -> &ProfileMasks {
        &self.masks[usize::from(self.timeline.spot(at).state)]
    }

    /// The masks while these windows are open, with these lists taken out.
    fn masks_of(&self, open: Open, out: &ListSet) -> ProfileMasks {
        let mut masks = self.whole;
        for hours in open.iter().filter_map(|window| self.hours.get(window)) {
            match hours.window.mode {
                WindowMode::Block => {
                    masks.content = masks.content.union(&hours.content);
                    masks.unsafe_search = masks.unsafe_search.or(hours.unsafe_search);
                }
                WindowMode::AllowOnly => masks.unlisted = masks.unlisted.max(Unlisted::Blocked),
            }
        }
        masks.security = masks.security.difference(out);
        masks.content = masks.content.difference(out);
        masks.shadow = masks.shadow.difference(out).difference(&masks.content);
        masks
    }

    /// What blocks of this category look like.
    pub fn response_for(&self, category: Option<CategoryId>) -> BlockResponse {
        let own = self.block_responses.iter().find(|(of, _)| Some(*of) == category);
        own.map_or(self.block_response, |(_, response)| *response)
    }
}
