//! Inputs → (Snapshot, Report): the one place where configuration and lists become what queries read.

mod inputs;

use std::sync::Arc;

use crate::engine::category::{self, CANARY_NAME, Category, CategoryId, TEST_ZONE};
use crate::engine::client::{Access, ClientTable, Configured as KnownBy, Known};
use crate::engine::cookie::CookieSettings;
use crate::engine::limits::{LAYERS_MAX, LISTS_MAX, PROFILES_MAX};
use crate::engine::list::{Effect, Format, Reach, RuleSet};
use crate::engine::local_data::LocalData;
use crate::engine::matcher::room::Room;
use crate::engine::matcher::{BuildError, Builder, HashSeed, Index, Layer, ListSet, Part, Placed, Spared};
use crate::engine::name::Name;
use crate::engine::peers::Peers;
use crate::engine::safe_search::SafeSearch;
use crate::engine::schedule::Timeline;
use crate::engine::snapshot::{
    ConfiguredList, Hours, KnownClient, List, ListRole, Masks, Profile, ProfileMasks, Snapshot, Unlisted,
};
use crate::engine::structured::Texts;
use crate::engine::upstream::Routes;
use crate::engine::verdict::{EngineId, ListId, ProfileId};

pub use inputs::{
    BuiltIn, CacheSettings, ClientSettings, CompiledSettings, Home, Inputs, ListAbout, ListRules, ListSettings,
    ListSource, LoadedList, Mode, Observe, Policy, ProfileSettings, Strangers, YouTube,
};

/// What compiling found that an operator should know.
#[derive(Debug, Default)]
pub struct CompileReport {
    /// Rules that stood on a public suffix and were left out, by list name.
    pub spared: Vec<(String, Spared)>,
    /// Denied names that are protected, so the deny has no effect: where and which.
    pub ineffective: Vec<String>,
}

/// Why inputs cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error(
        "{0} lists, at most {LISTS_MAX} (a profile's allow and deny count as one each unless empty; the rest are [list.*], \
         a test name for each category, and the resolver's own)"
    )]
    TooManyLists(usize),
    #[error("{0} compiled files, at most {COMPILED_FILES_MAX}: compile them into one")]
    TooManyFiles(usize),
    #[error("{0} profiles, at most {PROFILES_MAX}")]
    TooManyProfiles(usize),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Our own lists that are always there: that of orders, the operator's two, the two of protected names, the two of names that
/// machines need, the canary, the browsers' canaries, and the one that holds nothing.
const OWN_LISTS: usize = 10;

/// Layers that are no compiled files': our own lists, the names of orders, and the lists that are read.
const COMPILED_FILES_MAX: usize = LAYERS_MAX - 3;

/// Lists that a policy takes in the index, `configured` of which are `[list.*]`.
pub fn list_count(policy: &Policy, configured: usize) -> usize {
    let entries = policy.profiles.iter().flat_map(|p| [&p.allow, &p.deny]).filter(|entries| !entries.is_empty());
    OWN_LISTS + policy.categories.iter().count() + configured + entries.count()
}

/// Makes a snapshot. `previous` is the one it follows; lists that are kept come out of it, by name.
pub fn compile(inputs: Inputs, previous: Option<&Snapshot>) -> Result<(Snapshot, CompileReport), CompileError> {
    let Inputs { generation, policy, lists, built_in, upstreams, seed, texts, room, now } = inputs;
    let count = list_count(&policy, lists.len());
    if count > LISTS_MAX {
        return Err(CompileError::TooManyLists(count));
    }
    if policy.profiles.len() > PROFILES_MAX {
        return Err(CompileError::TooManyProfiles(policy.profiles.len()));
    }
    let mut report = CompileReport::default();
    let Configured { lists: configured, layers, texts } =
        place_configured(lists, texts, Ground { seed, room }, previous, &mut report)?;
    // Hashed as the layer that is asked beside it, so that both are asked with one hash.
    let seed = texts.as_ref().or(layers.first().map(|placed| &placed.layer)).map_or(seed, |layer| layer.names.seed());
    let (mut security, mut always) = (ListSet::default(), ListSet::default());
    let mut content: Vec<(CategoryId, ListId)> = Vec::new();
    for (i, list) in configured.iter().enumerate() {
        let ListRole::Category(category) = list.role else { continue };
        match policy.categories.get(category).layer {
            category::Layer::Security => security.insert(ListId(i as u16)),
            category::Layer::Content => content.push((category, ListId(i as u16))),
        }
    }
    let is_zone = |list: &List| list.configured.as_ref().is_some_and(|c| c.report.format == Some(Format::Rpz));
    let zone_lists: ListSet =
        (0..configured.len()).filter(|i| is_zone(&configured[*i])).map(|i| ListId(i as u16)).collect();
    let mut plan = Plan { builder: Builder::new(seed), first: configured.len(), lists: configured };

    // Its names come by themselves: an order does not wait for lists to be read.
    let orders = plan.own("orders", ListRole::Orders, &[]);
    let operator_allow = plan.own("operator.allow", ListRole::OperatorAllow, &policy.operator_allow);
    let operator_deny = plan.own("operator.deny", ListRole::OperatorDeny, &policy.operator_deny);
    let protected = plan.own("protected", ListRole::Protected, &built_in.holes());
    let protected_content = plan.own("protected-content", ListRole::ProtectedContent, &built_in.protected_content);
    let infrastructure = plan.own("infrastructure", ListRole::Infrastructure, &built_in.infrastructure);
    let connectivity = plan.own("connectivity", ListRole::Connectivity, &built_in.connectivity);
    // Every profile that allows or denies nothing shares it, so that hundreds of profiles fit into one index.
    let empty = plan.own("empty", ListRole::Protected, &[]);

    for (id, category) in policy.categories.iter() {
        let list = plan.own(&format!("test-name.{}", category.name), ListRole::Category(id), &test_names(category));
        match category.layer {
            category::Layer::Security => security.insert(list),
            category::Layer::Content => content.push((id, list)),
        }
    }
    let first_security = policy.categories.iter().find(|(_, c)| c.layer == category::Layer::Security).map(|(id, _)| id);
    if let Some(category) = first_security {
        let canary = Name::from_text(CANARY_NAME).expect("the canary's name is written as a name");
        // Blocked in every profile, `security = false` too: it is how /readyz and `healthcheck` see that filtering works.
        always.insert(plan.own("canary", ListRole::Category(category), &[(canary, Reach::Exact)]));
    }
    let bypass = policy.categories.id("bypass");
    let browser_canary = match bypass {
        Some(id) => Some(plan.own("browser-canary", ListRole::Category(id), &built_in.browser_canaries)),
        None => None,
    };

    let mut profiles = Vec::with_capacity(policy.profiles.len());
    for (i, settings) in policy.profiles.iter().enumerate() {
        let id = ProfileId(i as u16);
        let mut own = |key: &str, role: ListRole, entries: &[(Name, Reach)]| match entries {
            [] => empty,
            _ => plan.own(&format!("profile.{}.{key}", settings.name), role, entries),
        };
        let allow = own("allow", ListRole::ProfileAllow(id), &settings.allow);
        let deny = own("deny", ListRole::ProfileDeny(id), &settings.deny);
        let lists_of = |categories: &[CategoryId]| -> ListSet {
            content.iter().filter(|(category, _)| categories.contains(category)).map(|(_, list)| *list).collect()
        };
        let unsafe_search =
            |categories: &[CategoryId]| policy.categories.id("unsafe-search").filter(|id| categories.contains(id));
        let mut content_mask = lists_of(&settings.block);
        // A profile that filters nothing leaves browsers their own choice of resolver.
        if let Some(list) = browser_canary.filter(|_| !settings.block.is_empty() || settings.safe_search) {
            content_mask.insert(list);
        }
        let keeps_default = keeps(settings, &policy.profiles[0]);
        let security_mask = if settings.security { always.union(&security) } else { always };
        profiles.push(Profile {
            name: settings.name.clone(),
            masks: Vec::new(),
            whole: ProfileMasks {
                security: security_mask,
                content: content_mask,
                shadow: lists_of(&settings.shadow),
                unsafe_search: unsafe_search(&settings.block),
                unlisted: settings.unlisted,
            },
            hours: settings
                .windows
                .iter()
                .map(|window| Hours {
                    window: window.clone(),
                    content: lists_of(&window.categories),
                    unsafe_search: unsafe_search(&window.categories),
                })
                .collect(),
            hours_reach_all: false,
            passes_unlisted: false,
            timeline: Timeline::default(),
            allow,
            deny,
            keeps_default,
            safe_search: settings.safe_search,
            safe_search_except: engines_of(&built_in.safe_search, &settings.safe_search_except),
            youtube: settings.youtube,
            block_response: settings.block_response,
            block_responses: settings.block_responses.clone(),
            block_ttl_secs: settings.block_ttl_secs,
            security_for_addresses: settings.security_for_addresses,
            mode: settings.mode,
        });
    }
    assert!(plan.lists.len() <= count, "the lists were counted before they were made");

    let first = plan.first as u16;
    let own = (0..plan.lists.len() as u16 - first).map(|list| Some(ListId(first + list))).collect();
    let own = Placed { layer: Arc::new(plan.builder.build()?), lists: own };
    let index = Index::new(layers.into_iter().chain([own]).collect());

    let mut known = Known::default();
    for (i, client) in policy.clients.iter().enumerate() {
        let entry = KnownBy { profile: ProfileId(client.profile as u16), client: i as u32 };
        known.nets.extend(client.networks.iter().map(|&net| (client.realm, net, entry)));
        known.tokens.extend(client.ids.iter().map(|&token| (token, entry)));
        known.listeners.extend(client.listeners.iter().map(|&address| (address, entry)));
    }
    let zones: Vec<Name> = upstreams.iter().flat_map(|u| u.zones.iter().cloned()).collect();
    let snapshot = Snapshot {
        generation,
        structured: Arc::new(Texts::new(&policy.contact, &policy.categories)),
        categories: policy.categories,
        lists: plan.lists,
        profiles,
        clients_known: Arc::new(
            policy
                .clients
                .into_iter()
                .map(|c| {
                    let ClientSettings { name, tags, lines, mode, networks, place, .. } = c;
                    let profile = ProfileId(c.profile as u16);
                    KnownClient { name, tags, lines, mode, profile, networks, place }
                })
                .collect(),
        ),
        clients: Arc::new(ClientTable::new(known)),
        subscribers: None,
        access: Arc::new(Access::new(policy.access)),
        peers: Arc::new(Peers::new(policy.peers)),
        strangers: policy.strangers,
        cookies: match policy.cookies {
            CookieSettings::Given(cookies) => Some(cookies),
            CookieSettings::Off | CookieSettings::Random => None,
        },
        rate_limit: policy.rate_limit,
        zone_limit: policy.zone_limit,
        index: Arc::new(index),
        texts,
        overlay: Arc::default(),
        orders: Arc::default(),
        order_names: None,
        masks: Masks {
            orders,
            operator_allow,
            operator_deny,
            protected,
            protected_content,
            infrastructure,
            connectivity,
            zones: (!zone_lists.is_empty()).then_some(zone_lists),
            canary: (!always.is_empty()).then_some(always),
            bypass,
            default_profile: ProfileId(0),
        },
        safe_search: built_in.safe_search,
        local_data: Arc::new(LocalData::new(&zones, policy.discovery)),
        routes: Arc::new(Routes::new(&upstreams)),
        page_v4: policy.page_v4,
        page_v6: policy.page_v6,
        block_ttl_secs: policy.block_ttl_secs,
        observe: policy.observe,
        rebind_protection: policy.rebind_protection,
        rebind_allow: policy.rebind_allow,
        cache: policy.cache,
        node_name: policy.node_name,
        zone: policy.time_zone,
    }
    .with_hours_from(now);
    note_ineffective(&snapshot, &policy.operator_deny, "[operator] deny", &mut report);
    for profile in &policy.profiles {
        note_ineffective(&snapshot, &profile.deny, &format!("[profile.{}] deny", profile.name), &mut report);
    }
    Ok((snapshot, report))
}

/// Whether a profile keeps out all that `default` does: then nobody is worse protected by having it.
fn keeps(profile: &ProfileSettings, default: &ProfileSettings) -> bool {
    let has_all = |these: &[(Name, Reach)], those: &[(Name, Reach)]| those.iter().all(|entry| these.contains(entry));
    let is_blocked = |category| profile.block.contains(category) && !profile.shadow.contains(category);
    default.block.iter().all(|category| is_blocked(category) || default.shadow.contains(category))
        && profile.security >= default.security
        && profile.security_for_addresses <= default.security_for_addresses
        && profile.safe_search >= default.safe_search
        && profile.safe_search_except.iter().all(|engine| default.safe_search_except.contains(engine))
        && profile.youtube >= default.youtube
        && (profile.unlisted == default.unlisted || profile.unlisted != Unlisted::Judged)
        && (profile.mode == default.mode || profile.mode == Some(Mode::Enforce))
        && default.windows.iter().all(|window| profile.windows.contains(window))
        && has_all(&default.allow, &profile.allow)
        && has_all(&profile.deny, &default.deny)
}

/// Lists of the configuration in their layers. They have the first numbers, in the configuration's order.
struct Configured {
    lists: Vec<List>,
    layers: Vec<Placed>,
    /// The layer of those that are read as text.
    texts: Option<Arc<Layer>>,
}

/// What a new layer of texts is made with.
struct Ground {
    seed: HashSeed,
    room: Option<Arc<dyn Room>>,
}

/// Puts every configured list into a layer. The layer of texts before is taken as it is when no list was read anew.
fn place_configured(
    lists: Vec<LoadedList>,
    texts: Option<Arc<Layer>>,
    ground: Ground,
    previous: Option<&Snapshot>,
    report: &mut CompileReport,
) -> Result<Configured, CompileError> {
    let before = texts.or_else(|| previous.and_then(|snapshot| snapshot.texts.clone()));
    let mut parts: Vec<(usize, Part)> = Vec::new();
    let mut homes: Vec<Option<Home>> = Vec::new();
    let mut made: Vec<(ListSettings, ListAbout)> = Vec::new();
    for (i, LoadedList { settings, rules }) in lists.into_iter().enumerate() {
        let (home, about) = match rules {
            ListRules::Read(part) => {
                let about = ListAbout { rules: part.rules, spared: part.spared.clone(), report: part.report.clone() };
                parts.push((i, part));
                (None, about)
            }
            ListRules::Kept => {
                let (home, about) = kept(previous, &settings.name);
                (Some(home), about)
            }
            ListRules::Compiled(home, about) => (Some(home), about),
        };
        homes.push(home);
        made.push((settings, about));
    }
    let is_text = |home: &Option<Home>| home.as_ref().is_none_or(|home| is_same(Some(&home.layer), before.as_ref()));
    let texts = match homes.iter().any(is_text) {
        false => None,
        true if parts.is_empty() => before,
        true => Some(Arc::new(merge_texts(parts, before.as_deref(), ground, &mut homes, &is_text)?)),
    };
    let mut layers: Vec<Placed> = Vec::new();
    let mut lists = Vec::with_capacity(made.len());
    for (i, (home, (settings, about))) in homes.into_iter().zip(made).enumerate() {
        let home = match (home, &texts) {
            (Some(home), _) => home,
            (None, Some(texts)) => Home { layer: Arc::clone(texts), list: ListId(i as u16) },
            (None, None) => unreachable!("a list without a home is a text"),
        };
        let placed = match layers.iter().position(|placed| Arc::ptr_eq(&placed.layer, &home.layer)) {
            Some(at) => &mut layers[at],
            None => {
                layers.push(Placed { layer: Arc::clone(&home.layer), lists: Vec::new() });
                layers.last_mut().expect("one was pushed")
            }
        };
        let local = usize::from(home.list.0);
        placed.lists.resize(placed.lists.len().max(local + 1), None);
        placed.lists[local] = Some(ListId(i as u16));
        let ListAbout { rules, spared, report: list_report } = about;
        if spared.count > 0 {
            report.spared.push((settings.name.clone(), spared.clone()));
        }
        lists.push(List {
            name: settings.name.clone(),
            role: ListRole::Category(settings.category),
            rules,
            configured: Some(ConfiguredList { settings, report: list_report, spared, home }),
            is_disabled: false,
        });
    }
    let files = layers.iter().filter(|placed| !is_same(Some(&placed.layer), texts.as_ref())).count();
    if files > COMPILED_FILES_MAX {
        return Err(CompileError::TooManyFiles(files));
    }
    Ok(Configured { lists, layers, texts })
}

fn is_same(a: Option<&Arc<Layer>>, b: Option<&Arc<Layer>>) -> bool {
    a.zip(b).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
}

/// Makes one layer of what was read now and what is kept of the layer before; every list gets its number in the index.
fn merge_texts(
    parts: Vec<(usize, Part)>,
    before: Option<&Layer>,
    ground: Ground,
    homes: &mut [Option<Home>],
    is_text: &dyn Fn(&Option<Home>) -> bool,
) -> Result<Layer, CompileError> {
    let mut builder = Builder::new(ground.seed).in_room(ground.room);
    let mut new_id: Vec<Option<ListId>> = Vec::new();
    for (i, home) in homes.iter_mut().enumerate().filter(|(_, home)| is_text(home)) {
        let Some(Home { list, .. }) = home.take() else { continue };
        let local = usize::from(list.0);
        new_id.resize(new_id.len().max(local + 1), None);
        new_id[local] = Some(ListId(i as u16));
    }
    parts.into_iter().for_each(|(i, part)| builder.add(ListId(i as u16), part));
    if let Some(before) = before.filter(|_| !new_id.is_empty()) {
        builder.add_from(before, &new_id);
    }
    Ok(builder.build()?)
}

/// Where a list of the previous snapshot lies, and what is known about it.
fn kept(previous: Option<&Snapshot>, name: &str) -> (Home, ListAbout) {
    let lists = previous.map_or(&[][..], |snapshot| &snapshot.lists[..]);
    let (list, about) = lists
        .iter()
        .find_map(|list| Some((list, list.configured.as_ref().filter(|_| list.name == name)?)))
        .expect("a list is kept only when the snapshot in force has it");
    let (spared, report) = (about.spared.clone(), about.report.clone());
    (about.home.clone(), ListAbout { rules: list.rules, spared, report })
}

/// One layer of every configured list of a snapshot, with the numbers that they have in it: what a compiled file holds.
pub fn configured_layer(snapshot: &Snapshot, seed: HashSeed) -> Result<Arc<Layer>, BuildError> {
    let count = snapshot.lists.iter().take_while(|list| list.configured.is_some()).count();
    let is_own = |placed: &&Placed| placed.lists.iter().flatten().all(|list| usize::from(list.0) >= count);
    let layers: Vec<&Placed> = snapshot.index.names.layers().filter(|placed| !is_own(placed)).collect();
    if let [only] = layers[..]
        && only.lists.iter().copied().eq((0..count as u16).map(|list| Some(ListId(list))))
    {
        return Ok(Arc::clone(&only.layer));
    }
    let mut builder = Builder::new(seed);
    layers.iter().for_each(|placed| builder.add_from(&placed.layer, &placed.lists));
    Ok(Arc::new(builder.build()?))
}

/// The lists so far, and the layer of our own that is growing.
struct Plan {
    builder: Builder,
    /// The number of our first list.
    first: usize,
    lists: Vec<List>,
}

impl Plan {
    /// A list of ours: public suffixes are obeyed, since a person wrote it. Compile has counted that its number is below
    /// the bound.
    fn own(&mut self, name: &str, role: ListRole, entries: &[(Name, Reach)]) -> ListId {
        let id = ListId(self.lists.len() as u16);
        let mut rules = RuleSet::default();
        for (i, (entry, reach)) in entries.iter().enumerate() {
            rules.push(entry, *reach, Effect::List, i as u32 + 1);
        }
        self.builder.add(ListId((self.lists.len() - self.first) as u16), Part::of(&rules, &|_| false));
        self.lists.push(List {
            name: name.to_owned(),
            role,
            rules: rules.rule_count(),
            configured: None,
            is_disabled: false,
        });
        id
    }
}

/// `adult.block.lachan.example`: harmless, for demonstrations and checks.
fn test_names(category: &Category) -> Vec<(Name, Reach)> {
    let zone = Name::from_text(TEST_ZONE).expect("the test zone is written as a name");
    // A category of the configuration may have a name that is no label; it goes without a test name.
    zone.child(&category.name).map(|name| (name, Reach::Exact)).into_iter().collect()
}

/// Engines by their names; what is no engine's name was refused when it was read.
fn engines_of(table: &SafeSearch, names: &[String]) -> Vec<EngineId> {
    table.engines().filter(|(_, name)| names.iter().any(|wanted| wanted == name)).map(|(id, _)| id).collect()
}

/// Tells of denied names that a hole spares, so that nobody waits for a block that will not come.
fn note_ineffective(snapshot: &Snapshot, entries: &[(Name, Reach)], place: &str, report: &mut CompileReport) {
    for (name, _) in entries {
        if snapshot.is_protected(name) {
            report.ineffective.push(format!("{place}: {name} is a protected name, so denying it has no effect"));
        }
    }
}

#[cfg(test)]
mod tests;
