//! Everything one query needs, immutable: made by [`compile`](crate::engine::compile), read by policy.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::engine::category::{Categories, CategoryId};
use crate::engine::client::{Access, Client, ClientTable, UnixTime};
use crate::engine::compile::{CacheSettings, Home, ListSettings, Strangers, YouTube};
use crate::engine::cookie::Cookies;
use crate::engine::list::ListReport;
use crate::engine::local_data::LocalData;
use crate::engine::matcher::{Index, Layer, ListSet, Placed, Spared};
use crate::engine::name::Name;
use crate::engine::query::{Origin, Transport};
use crate::engine::rate_limit::RateLimit;
use crate::engine::safe_search::SafeSearch;
use crate::engine::subscribers::{Identified, Live};
use crate::engine::upstream::Routes;
use crate::engine::verdict::{BlockResponse, ListId, ProfileId};
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
    pub safe_search: Arc<SafeSearch>,
    pub local_data: Arc<LocalData>,
    pub routes: Arc<Routes>,
    pub page_v4: Option<Ipv4Addr>,
    pub page_v6: Option<Ipv6Addr>,
    pub block_ttl_secs: u32,
    pub rebind_protection: bool,
    pub rebind_allow: Vec<Name>,
    pub cache: CacheSettings,
    pub node_name: String,
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
    OperatorAllow,
    OperatorDeny,
    ProfileAllow(ProfileId),
    ProfileDeny(ProfileId),
    /// A hole that no list reaches.
    Protected,
    /// A hole that no content list reaches.
    ProtectedContent,
}

/// What rules may ask about a `[client.*]`.
#[derive(Debug)]
pub struct KnownClient {
    pub name: String,
    pub tags: Vec<String>,
    /// Subscribers behind each of its addresses.
    pub lines: u32,
}

/// A profile with its bit masks over the lists.
#[derive(Debug, Clone)]
pub struct Profile {
    pub name: String,
    pub security: ListSet,
    pub content: ListSet,
    /// Both masks with the lists that are taken out.
    pub whole: ProfileMasks,
    pub allow: ListId,
    pub deny: ListId,
    pub unsafe_search: Option<CategoryId>,
    /// It keeps out all that the default profile does.
    pub keeps_default: bool,
    pub safe_search: bool,
    pub youtube: YouTube,
    pub block_response: BlockResponse,
}

/// What a profile's masks are when no list is taken out.
#[derive(Debug, Clone, Copy)]
pub struct ProfileMasks {
    pub security: ListSet,
    pub content: ListSet,
}

/// Lists that mean the same for every profile.
#[derive(Debug, Clone)]
pub struct Masks {
    pub operator_allow: ListId,
    pub operator_deny: ListId,
    pub protected: ListId,
    pub protected_content: ListId,
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
        let by_udp = origin.transport == Transport::Udp;
        let client = Client { by_udp, at, ..self.clients.identify(origin.source.ip()) };
        let Some(live) = &self.subscribers else { return client };
        let Identified { standing, profile, .. } = live.identify(origin, at);
        Client { standing, profile: profile.unwrap_or(client.profile), ..client }
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
        let mut out = ListSet::new();
        for (i, list) in snapshot.lists.iter_mut().enumerate() {
            list.is_disabled = list.configured.is_some() && is_disabled(&list.name);
            if list.is_disabled {
                out.insert(ListId(i as u16));
            }
        }
        for profile in &mut snapshot.profiles {
            profile.security = profile.whole.security.difference(&out);
            profile.content = profile.whole.content.difference(&out);
        }
        snapshot
    }

    pub fn list(&self, id: ListId) -> &List {
        &self.lists[usize::from(id.0)]
    }

    pub fn profile(&self, id: ProfileId) -> &Profile {
        &self.profiles[usize::from(id.0)]
    }

    pub fn profile_named(&self, name: &str) -> Option<ProfileId> {
        self.profiles.iter().position(|p| p.name == name).map(|i| ProfileId(i as u16))
    }
}
