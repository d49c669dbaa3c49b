//! Inputs → (Snapshot, Report): the one place where configuration and lists become what queries read.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::engine::category::{CANARY_NAME, Categories, Category, CategoryId, Layer, TEST_ZONE};
use crate::engine::client::{Access, ClientTable, Configured};
use crate::engine::gate::GateSettings;
use crate::engine::limits::{LISTS_MAX, PROFILES_MAX};
use crate::engine::list::{Effect, Format, ListReport, ParseOptions, Reach, RuleSet};
use crate::engine::local_data::LocalData;
use crate::engine::matcher::{Builder, HashSeed, Hits, IndexFull, ListSet, Part, Spared};
use crate::engine::name::Name;
use crate::engine::safe_search::SafeSearch;
use crate::engine::snapshot::{ConfiguredList, KnownClient, List, ListRole, Masks, Profile, ProfileMasks, Snapshot};
use crate::engine::upstream::{Routes, UpstreamTable};
use crate::engine::verdict::{BlockResponse, ListId, ProfileId};

/// Everything a configuration says about policy, in the engine's types. Lists' contents come beside it.
#[derive(Debug, Clone)]
pub struct Policy {
    pub categories: Categories,
    pub lists: Vec<ListSettings>,
    /// The first is `default`; always there.
    pub profiles: Vec<ProfileSettings>,
    pub clients: Vec<ClientSettings>,
    /// Networks that may ask; loopback, private ones and every client's are in it unless the configuration says otherwise.
    pub access: Vec<IpNet>,
    pub strangers: Strangers,
    pub operator_allow: Vec<(Name, Reach)>,
    pub operator_deny: Vec<(Name, Reach)>,
    /// Empty: the daemon finds servers itself.
    pub upstreams: Vec<UpstreamTable>,
    pub page_v4: Option<Ipv4Addr>,
    pub page_v6: Option<Ipv6Addr>,
    /// TTL of blocks, in seconds: 10 to 60.
    pub block_ttl_secs: u32,
    pub rebind_protection: bool,
    /// Names, with all below, whose answers may hold private addresses.
    pub rebind_allow: Vec<Name>,
    pub cache: CacheSettings,
    /// Answers `id.server` and NSID; empty: the daemon puts the machine's name.
    pub node_name: String,
}

/// What a client that we do not serve gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// REFUSED with EDE 18, rate-limited.
    Refuse,
    /// Nothing.
    Drop,
}

/// `[cache]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// In octets.
    pub size: u64,
    /// How long past its TTL an answer may still serve; zero: never.
    pub serve_stale: Duration,
    /// Longest TTL told to clients.
    pub max_client_ttl: Duration,
}

/// `[list.NAME]` without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSettings {
    pub name: String,
    pub category: CategoryId,
    pub options: ParseOptions,
    /// Path as shown to people, or `builtin:NAME`.
    pub source: ListSource,
    /// Refuse to start without it.
    pub required: bool,
    /// `public_suffixes = "obey"`: a subtree rule may stand on a public suffix.
    pub obey_public_suffixes: bool,
    /// Keywords of the list that block; the others only count what they meet.
    pub block_keywords: Vec<String>,
    /// What a new version must keep to go into force by itself.
    pub gate: GateSettings,
}

/// Where a list's text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListSource {
    /// A starter list compiled in.
    BuiltIn(String),
    /// A file, a directory or a pattern of files, made absolute against the configuration file that names it.
    File(std::path::PathBuf),
    /// A URL that it is fetched from.
    Url(String),
}

/// YouTube's restricted mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum YouTube {
    Off,
    Moderate,
    Strict,
}

/// `[profile.NAME]`, `inherit` already applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileSettings {
    pub name: String,
    /// Content categories; the security layer is `security`.
    pub block: Vec<CategoryId>,
    pub security: bool,
    pub safe_search: bool,
    pub youtube: YouTube,
    pub block_response: BlockResponse,
    pub allow: Vec<(Name, Reach)>,
    pub deny: Vec<(Name, Reach)>,
}

/// `[client.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    pub name: String,
    pub networks: Vec<IpNet>,
    /// What rules with `$ctag` know the client by.
    pub tags: Vec<String>,
    /// Index into [`Policy::profiles`].
    pub profile: usize,
}

/// A list with what was read of it, ready to be compiled.
#[derive(Debug)]
pub struct LoadedList {
    pub settings: ListSettings,
    pub rules: ListRules,
}

/// Where a list's rules come from.
#[derive(Debug)]
pub enum ListRules {
    /// Its text was read now.
    Read(Part),
    /// They are as they were: out of the snapshot that this one follows.
    Kept,
}

impl ListRules {
    /// Rules that were read now; none of a list that is kept.
    pub fn count(&self) -> usize {
        match self {
            ListRules::Read(part) => part.rules,
            ListRules::Kept => 0,
        }
    }
}

/// What is always built in, whatever the configuration says.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    pub safe_search: Arc<SafeSearch>,
    /// Holes that no list reaches.
    pub protected: Vec<(Name, Reach)>,
    /// Holes that no content list reaches.
    pub protected_content: Vec<(Name, Reach)>,
    /// Names by which browsers ask whether a network filters: NXDOMAIN in every profile that does.
    pub browser_canaries: Vec<(Name, Reach)>,
}

/// Everything a snapshot is made of.
#[derive(Debug)]
pub struct Inputs {
    pub generation: u64,
    pub policy: Policy,
    pub lists: Vec<LoadedList>,
    pub built_in: BuiltIn,
    /// Upstream tables in force: the configuration's, else those that the daemon found.
    pub upstreams: Vec<UpstreamTable>,
    /// Keys the index's hash, so that no list can be written to collide.
    pub seed: HashSeed,
}

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
    #[error("{0} profiles, at most {PROFILES_MAX}")]
    TooManyProfiles(usize),
    #[error(transparent)]
    IndexFull(#[from] IndexFull),
}

/// Our own lists that are always there: the operator's two, the two of protected names, the canary, the browsers'
/// canaries, and the one that holds nothing.
const OWN_LISTS: usize = 7;

/// Lists that a policy takes in the index, `configured` of which are `[list.*]`.
pub fn list_count(policy: &Policy, configured: usize) -> usize {
    let entries = policy.profiles.iter().flat_map(|p| [&p.allow, &p.deny]).filter(|entries| !entries.is_empty());
    OWN_LISTS + policy.categories.iter().count() + configured + entries.count()
}

/// Makes a snapshot. `previous` is the one it follows; lists that are kept come out of it, by name.
pub fn compile(inputs: Inputs, previous: Option<&Snapshot>) -> Result<(Snapshot, CompileReport), CompileError> {
    let Inputs { generation, policy, lists, built_in, upstreams, seed } = inputs;
    let count = list_count(&policy, lists.len());
    if count > LISTS_MAX {
        return Err(CompileError::TooManyLists(count));
    }
    if policy.profiles.len() > PROFILES_MAX {
        return Err(CompileError::TooManyProfiles(policy.profiles.len()));
    }
    let mut plan = Plan::new(seed, previous);
    let mut report = CompileReport::default();

    let operator_allow = plan.own("operator.allow", ListRole::OperatorAllow, &policy.operator_allow);
    let operator_deny = plan.own("operator.deny", ListRole::OperatorDeny, &policy.operator_deny);
    let protected = plan.own("protected", ListRole::Protected, &built_in.holes());
    let protected_content = plan.own("protected-content", ListRole::ProtectedContent, &built_in.protected_content);
    // Every profile that allows or denies nothing shares it, so that hundreds of profiles fit into one index.
    let empty = plan.own("empty", ListRole::Protected, &[]);

    let (mut security, mut always) = (ListSet::default(), ListSet::default());
    let mut content: Vec<(CategoryId, ListId)> = Vec::new();
    for (id, category) in policy.categories.iter() {
        let list = plan.own(&format!("test-name.{}", category.name), ListRole::Category(id), &test_names(category));
        match category.layer {
            Layer::Security => security.insert(list),
            Layer::Content => content.push((id, list)),
        }
    }
    let first_security = policy.categories.iter().find(|(_, c)| c.layer == Layer::Security).map(|(id, _)| id);
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

    for list in lists {
        let category = list.settings.category;
        let id = plan.configured(list, &mut report);
        match policy.categories.get(category).layer {
            Layer::Security => security.insert(id),
            Layer::Content => content.push((category, id)),
        }
    }

    let mut profiles = Vec::with_capacity(policy.profiles.len());
    for (i, settings) in policy.profiles.iter().enumerate() {
        let id = ProfileId(i as u16);
        let mut own = |key: &str, role: ListRole, entries: &[(Name, Reach)]| match entries {
            [] => empty,
            _ => plan.own(&format!("profile.{}.{key}", settings.name), role, entries),
        };
        let allow = own("allow", ListRole::ProfileAllow(id), &settings.allow);
        let deny = own("deny", ListRole::ProfileDeny(id), &settings.deny);
        let mut content_mask = ListSet::default();
        for (_, list) in content.iter().filter(|(category, _)| settings.block.contains(category)) {
            content_mask.insert(*list);
        }
        // A profile that filters nothing leaves browsers their own choice of resolver.
        if let Some(list) = browser_canary.filter(|_| !settings.block.is_empty() || settings.safe_search) {
            content_mask.insert(list);
        }
        let security_mask = if settings.security { always.union(&security) } else { always };
        profiles.push(Profile {
            name: settings.name.clone(),
            security: security_mask,
            content: content_mask,
            whole: ProfileMasks { security: security_mask, content: content_mask },
            allow,
            deny,
            unsafe_search: policy.categories.id("unsafe-search").filter(|id| settings.block.contains(id)),
            safe_search: settings.safe_search,
            youtube: settings.youtube,
            block_response: settings.block_response,
        });
    }
    assert!(plan.lists.len() <= count, "the lists were counted before they were made");

    if let Some(previous) = previous {
        plan.builder.add_from(&previous.index, &plan.kept);
    }
    let index = plan.builder.build()?;

    let mut clients = ClientTable::default();
    for (i, client) in policy.clients.iter().enumerate() {
        let entry = Configured { profile: ProfileId(client.profile as u16), client: i as u32 };
        client.networks.iter().for_each(|&net| clients.insert(net, entry));
    }
    let zones: Vec<Name> = upstreams.iter().flat_map(|u| u.zones.iter().cloned()).collect();
    let snapshot = Snapshot {
        generation,
        categories: policy.categories,
        lists: plan.lists,
        profiles,
        clients_known: Arc::new(
            policy.clients.into_iter().map(|c| KnownClient { name: c.name, tags: c.tags }).collect(),
        ),
        clients: Arc::new(clients),
        access: Arc::new(Access::new(policy.access)),
        strangers: policy.strangers,
        index: Arc::new(index),
        masks: Masks {
            operator_allow,
            operator_deny,
            protected,
            protected_content,
            zones: (!plan.zones.is_empty()).then_some(plan.zones),
            canary: (!always.is_empty()).then_some(always),
            bypass,
            default_profile: ProfileId(0),
        },
        safe_search: built_in.safe_search,
        local_data: Arc::new(LocalData::new(&zones)),
        routes: Arc::new(Routes::new(&upstreams)),
        page_v4: policy.page_v4,
        page_v6: policy.page_v6,
        block_ttl_secs: policy.block_ttl_secs,
        rebind_protection: policy.rebind_protection,
        rebind_allow: policy.rebind_allow,
        cache: policy.cache,
        node_name: policy.node_name,
    };
    note_ineffective(&snapshot, &policy.operator_deny, "[operator] deny", &mut report);
    for profile in &policy.profiles {
        note_ineffective(&snapshot, &profile.deny, &format!("[profile.{}] deny", profile.name), &mut report);
    }
    Ok((snapshot, report))
}

/// The lists so far, and the index that is growing.
struct Plan<'a> {
    builder: Builder,
    lists: Vec<List>,
    previous: Option<&'a Snapshot>,
    /// The new number of each of the previous snapshot's lists that is kept.
    kept: Vec<Option<ListId>>,
    /// Lists that are response policy zones.
    zones: ListSet,
}

impl<'a> Plan<'a> {
    fn new(seed: HashSeed, previous: Option<&'a Snapshot>) -> Plan<'a> {
        let kept = vec![None; previous.map_or(0, |snapshot| snapshot.lists.len())];
        Plan { builder: Builder::new(seed), lists: Vec::new(), previous, kept, zones: ListSet::EMPTY }
    }

    /// The next number; compile has counted that all of them are below the bound.
    fn next_id(&self) -> ListId {
        ListId(self.lists.len() as u16)
    }

    /// A list of ours: public suffixes are obeyed, since a person wrote it.
    fn own(&mut self, name: &str, role: ListRole, entries: &[(Name, Reach)]) -> ListId {
        let id = self.next_id();
        let mut rules = RuleSet::default();
        for (i, (entry, reach)) in entries.iter().enumerate() {
            rules.push(entry, *reach, Effect::List, i as u32 + 1);
        }
        self.builder.add(id, Part::of(&rules, &|_| false));
        self.lists.push(List {
            name: name.to_owned(),
            role,
            rules: rules.rule_count(),
            configured: None,
            is_disabled: false,
        });
        id
    }

    fn configured(&mut self, list: LoadedList, report: &mut CompileReport) -> ListId {
        let id = self.next_id();
        let LoadedList { settings, rules } = list;
        let (rules, spared, list_report) = match rules {
            ListRules::Read(part) => {
                let about = (part.rules, part.spared.clone(), part.report.clone());
                self.builder.add(id, part);
                about
            }
            ListRules::Kept => self.keep(&settings.name, id),
        };
        if list_report.format == Some(Format::Rpz) {
            self.zones.insert(id);
        }
        if spared.count > 0 {
            report.spared.push((settings.name.clone(), spared.clone()));
        }
        self.lists.push(List {
            name: settings.name.clone(),
            role: ListRole::Category(settings.category),
            rules,
            configured: Some(ConfiguredList { settings, report: list_report, spared }),
            is_disabled: false,
        });
        id
    }

    /// Notes that a list of the previous snapshot goes on under a new number, and returns what is known about it.
    fn keep(&mut self, name: &str, id: ListId) -> (usize, Spared, ListReport) {
        let lists = self.previous.map_or(&[][..], |snapshot| &snapshot.lists[..]);
        let (old, list, about) = lists
            .iter()
            .enumerate()
            .find_map(|(i, list)| Some((i, list, list.configured.as_ref().filter(|_| list.name == name)?)))
            .expect("a list is kept only when the snapshot in force has it");
        self.kept[old] = Some(id);
        (list.rules, about.spared.clone(), about.report.clone())
    }
}

impl BuiltIn {
    /// Names that no list reaches: the built-in ones and every SafeSearch target.
    pub fn holes(&self) -> Vec<(Name, Reach)> {
        let targets = self.safe_search.targets().map(|name| (name.clone(), Reach::Exact));
        self.protected.iter().cloned().chain(targets).collect()
    }
}

/// `adult.block.lachan.example`: harmless, for demonstrations and checks.
fn test_names(category: &Category) -> Vec<(Name, Reach)> {
    let zone = Name::from_text(TEST_ZONE).expect("the test zone is written as a name");
    // A category of the configuration may have a name that is no label; it goes without a test name.
    zone.child(&category.name).map(|name| (name, Reach::Exact)).into_iter().collect()
}

/// Tells of denied names that a hole spares, so that nobody waits for a block that will not come.
fn note_ineffective(snapshot: &Snapshot, entries: &[(Name, Reach)], place: &str, report: &mut CompileReport) {
    for (name, _) in entries {
        let mut hits = Hits::default();
        snapshot.index.names.look_up(name.as_wire(), &mut hits);
        let spared =
            hits.as_slice().iter().any(|h| snapshot.index.names.set(h.listed).contains(snapshot.masks.protected));
        if spared {
            report.ineffective.push(format!("{place}: {name} is a protected name, so denying it has no effect"));
        }
    }
}

#[cfg(test)]
mod tests;
