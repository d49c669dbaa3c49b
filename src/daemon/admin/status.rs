//! `/api/v1/status`: what an operator sees at a glance; also the gauges that are read at scrape time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::daemon::admin::Admin;
use crate::daemon::gates::{Held, ListDecisions};
use crate::daemon::sources::source_text;
use crate::engine::gate::HoldReason;

/// The whole answer. Read by `lists status` and `healthcheck` too.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub generation: u64,
    /// Seconds since 1970.
    pub started_at: u64,
    pub dns: Vec<String>,
    pub canary_blocked: bool,
    /// `false`: the clock cannot be right, and every window counts as closed.
    pub clock_is_set: bool,
    /// In which times are told: an IANA name.
    #[serde(default)]
    pub time_zone: String,
    pub degraded: bool,
    pub rules: usize,
    pub profiles: Vec<String>,
    pub lists: Vec<ListStatus>,
    pub upstreams: Vec<UpstreamStatus>,
    /// Where upstream servers come from when the configuration names none.
    pub upstream_origin: Option<String>,
    pub cache: CacheStatus,
    /// Queries by how they ended.
    pub queries: BTreeMap<String, u64>,
    pub in_flight: usize,
    pub last_reload: LastReload,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ListStatus {
    pub name: String,
    pub category: String,
    pub source: String,
    pub format: Option<String>,
    pub rules: usize,
    pub lines: u32,
    pub skipped: BTreeMap<String, u32>,
    /// The first skipped lines: `line: reason: text`.
    pub skipped_shown: Vec<String>,
    /// When it was last read well, or known to be current: seconds since 1970; absent when it never was.
    pub last_success: Option<u64>,
    /// Of a list that is fetched: when it will be again, seconds since 1970.
    pub next_fetch: Option<u64>,
    /// Tries that failed since the last good one.
    pub failures: u32,
    pub error: Option<String>,
    /// The version that waits to be approved.
    pub held: Option<HeldStatus>,
    /// Names that should not be blocked, which it goes without.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// A person went back to the version in force.
    pub pinned: bool,
    /// Taken out by hand since then: seconds since 1970.
    pub disabled_since: Option<u64>,
    /// What the gates find about a file that the configuration names.
    pub warnings: Vec<String>,
}

/// A version that waits.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeldStatus {
    /// Seconds since 1970.
    pub since: u64,
    pub rules: usize,
    pub reasons: Vec<HoldReason>,
}

impl ListStatus {
    /// Adds what was decided about the list.
    fn decided(mut self, decided: ListDecisions, warnings: &[(String, String)]) -> ListStatus {
        self.held = decided.held.map(|Held { since, rules, reasons, .. }| HeldStatus { since, rules, reasons });
        self.left_out = decided.left_out.map(|left_out| left_out.names).unwrap_or_default();
        self.pinned = decided.pinned.is_some();
        self.disabled_since = decided.disabled_since;
        self.warnings = warnings.iter().filter(|(list, _)| *list == self.name).map(|(_, text)| text.clone()).collect();
        self
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct UpstreamStatus {
    pub server: String,
    pub up: bool,
    pub rtt_us: Option<u64>,
    pub queries: u64,
    pub answers: u64,
    pub refusals: u64,
    pub timeouts: u64,
    pub errors: u64,
    pub hedges: u64,
    pub last_error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct CacheStatus {
    pub entries: usize,
    pub bytes: usize,
    pub size: u64,
    pub evictions: u64,
    pub hits: u64,
    pub misses: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct LastReload {
    pub result: String,
    pub at: u64,
    pub took_ms: u64,
    pub errors: Vec<String>,
    pub hints: Vec<String>,
    pub needs_restart: Vec<String>,
}

impl Status {
    pub fn of(admin: &Admin) -> Status {
        let generation = admin.resolver.cell.load_full();
        let snapshot = &generation.snapshot;
        let reload = admin.reloader.status();
        let cache = admin.resolver.cache.figures();
        let metrics = &admin.resolver.metrics;
        let error_of = |name: &str| reload.notes.problems.iter().find(|p| p.list == name).map(|p| p.message.clone());
        let standing = |name: &str| admin.supply.standing(name);
        let fetched_at = |name: &str| standing(name).and_then(|s| s.history.succeeded_at);
        let fetch_error = |name: &str| standing(name).and_then(|s| s.history.error);
        let mut lists: Vec<ListStatus> = snapshot
            .lists
            .iter()
            .filter_map(|list| {
                let configured = list.configured.as_ref()?;
                let report = &configured.report;
                Some(ListStatus {
                    name: list.name.clone(),
                    category: snapshot.categories.get(configured.settings.category).name.clone(),
                    source: source_text(&configured.settings.source),
                    format: report.format.map(|f| format!("{f:?}").to_lowercase()),
                    rules: list.rules,
                    lines: report.lines,
                    skipped: report.skipped.iter().map(|(why, n)| (why.as_str().to_owned(), *n)).collect(),
                    skipped_shown: report
                        .shown
                        .iter()
                        .map(|s| match report.place(s.line) {
                            Some((file, line)) => format!("{file}:{line}: {}: {}", s.reason, s.text),
                            None => format!("{}: {}: {}", s.line, s.reason, s.text),
                        })
                        .collect(),
                    last_success: fetched_at(&list.name).max(reload.notes.read_at.get(&list.name).copied()),
                    next_fetch: standing(&list.name).map(|s| s.due_at),
                    failures: standing(&list.name).map_or(0, |s| s.history.failures),
                    error: fetch_error(&list.name).or_else(|| error_of(&list.name)),
                    held: None,
                    left_out: Vec::new(),
                    pinned: false,
                    disabled_since: None,
                    warnings: Vec::new(),
                })
            })
            .collect();
        // A list that never loaded is not in the snapshot; it must not be missing from the picture.
        for problem in reload.notes.problems.iter().filter(|p| !snapshot.lists.iter().any(|l| l.name == p.list)) {
            let supplies = admin.reloader.supplies();
            let supplies = supplies.borrow();
            let settings = supplies.lists.iter().map(|list| &list.settings).find(|list| list.name == problem.list);
            lists.push(ListStatus {
                name: problem.list.clone(),
                category: settings.map_or(String::new(), |s| snapshot.categories.get(s.category).name.clone()),
                source: settings.map_or(String::new(), |s| source_text(&s.source)),
                format: None,
                rules: 0,
                lines: 0,
                skipped: BTreeMap::new(),
                skipped_shown: Vec::new(),
                last_success: None,
                next_fetch: standing(&problem.list).map(|s| s.due_at),
                failures: standing(&problem.list).map_or(0, |s| s.history.failures),
                error: Some(match fetch_error(&problem.list) {
                    Some(why) => format!("{}; {why}", problem.message),
                    None => problem.message.clone(),
                }),
                held: None,
                left_out: Vec::new(),
                pinned: false,
                disabled_since: None,
                warnings: Vec::new(),
            });
        }
        let gates = admin.reloader.sources().gates();
        let lists = lists.into_iter().map(|list| {
            let decided = gates.of(&list.name);
            list.decided(decided, &reload.notes.warnings)
        });
        let lists = lists.collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: snapshot.generation,
            started_at: admin.started_at,
            dns: admin.dns.iter().map(ToString::to_string).collect(),
            canary_blocked: admin.resolver.canary_is_blocked(),
            clock_is_set: crate::daemon::clock::sane_time().is_some(),
            time_zone: snapshot.zone.iana_name().unwrap_or("UTC").to_owned(),
            degraded: upstream_is_lost(admin),
            rules: crate::daemon::reload::rule_count(snapshot),
            profiles: snapshot.profiles.iter().map(|p| p.name.clone()).collect(),
            lists,
            upstreams: generation
                .forwarder
                .status()
                .into_iter()
                .map(|s| UpstreamStatus {
                    server: s.server,
                    up: s.is_up,
                    rtt_us: s.rtt.map(|d| d.as_micros() as u64),
                    queries: s.queries,
                    answers: s.answers,
                    refusals: s.refusals,
                    timeouts: s.timeouts,
                    errors: s.errors,
                    hedges: s.hedges,
                    last_error: s.last_error,
                })
                .collect(),
            upstream_origin: reload.notes.upstream_origin.clone(),
            cache: CacheStatus {
                entries: cache.entries,
                bytes: cache.octets,
                size: snapshot.cache.size,
                evictions: cache.evictions,
                hits: metrics.cache_hits.get(),
                misses: metrics.cache_misses.get(),
            },
            queries: metrics.outcomes().into_iter().map(|(outcome, n)| (outcome.to_owned(), n)).collect(),
            in_flight: admin.resolver.in_flight(),
            last_reload: LastReload {
                result: reload.result.to_owned(),
                at: reload.at,
                took_ms: reload.took_ms,
                errors: reload.errors,
                hints: reload.notes.hints,
                needs_restart: reload.needs_restart,
            },
        }
    }
}

/// Whether no server for names in general answers; one that serves a zone of its own is no comfort.
pub fn upstream_is_lost(admin: &Admin) -> bool {
    admin.resolver.cell.load().forwarder.root_group_is_lost()
}

/// Gauges that follow from a state, set when somebody looks.
pub fn refresh_gauges(admin: &Admin) {
    let metrics = &admin.resolver.metrics;
    let cache = admin.resolver.cache.figures();
    metrics.cache_entries.set(cache.entries as i64);
    metrics.cache_octets.set(cache.octets as i64);
    metrics.cache_evictions.set(cache.evictions as i64);
    metrics.in_flight.set(admin.resolver.in_flight() as i64);
    metrics.list_held.reset();
    metrics.list_disabled.reset();
    for list in admin.reloader.status().notes.lists.iter() {
        let decided = admin.reloader.sources().gates().of(&list.name);
        metrics.list_held.with_label_values(&[&list.name]).set(i64::from(decided.held.is_some()));
        metrics.list_disabled.with_label_values(&[&list.name]).set(i64::from(decided.disabled_since.is_some()));
    }
    refresh_subscribers(admin);
    admin.reloader.orders().tell_metrics(metrics, crate::daemon::clock::unix_time());
    metrics.audit_broken.set(i64::from(admin.reloader.audit().trouble().is_some()));
    if let Some(log) = admin.reloader.fleet() {
        for (event, count) in log.counters.events() {
            metrics.fleet_commands.with_label_values(&[event]).set(count as i64);
        }
    }
    // Servers that left with a reload take their series along.
    metrics.upstream.reset();
    metrics.upstream_rtt.reset();
    metrics.upstream_up.reset();
    for s in admin.resolver.cell.load().forwarder.status() {
        let events = [
            ("query", s.queries),
            ("answer", s.answers),
            ("refusal", s.refusals),
            ("timeout", s.timeouts),
            ("error", s.errors),
            ("hedge", s.hedges),
        ];
        for (event, count) in events {
            metrics.upstream.with_label_values(&[s.server.as_str(), event]).set(count as i64);
        }
        metrics.upstream_up.with_label_values(&[&s.server]).set(i64::from(s.is_up));
        if let Some(rtt) = s.rtt {
            metrics.upstream_rtt.with_label_values(&[&s.server]).set(rtt.as_micros() as i64);
        }
    }
}

/// Nothing is shown while nobody tells of subscribers.
fn refresh_subscribers(admin: &Admin) {
    let subscribers = admin.reloader.subscribers();
    if subscribers.settings().is_none() {
        return;
    }
    let metrics = &admin.resolver.metrics;
    let summary = subscribers.summary();
    for (kind, count) in [
        ("ipv4", summary.v4),
        ("ports", summary.port_blocks),
        ("ipv6", summary.v6),
        ("token", summary.tokens),
        ("session", summary.sessions),
    ] {
        metrics.subscribers.with_label_values(&[kind]).set(count as i64);
    }
    for (feed, told) in &summary.feeds {
        metrics.subscriber_updates.with_label_values(&[feed.as_str()]).set(told.updates as i64);
        if let Some(last) = told.last {
            metrics.subscriber_last.with_label_values(&[feed.as_str()]).set(last as i64);
        }
    }
    for (event, count) in subscribers.counters.events() {
        metrics.subscriber_events.with_label_values(&[event]).set(count as i64);
    }
}

/// A host that `safesearch test` asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SearchHost {
    pub engine: String,
    pub host: String,
    pub target: String,
    /// Addresses under the host's own name, no CNAME.
    pub apex: bool,
    /// The table's own addresses of the target.
    pub addresses: Vec<IpAddr>,
}

/// For each engine that the default profile makes safe, a host with a CNAME and an apex, where it has them.
pub fn search_hosts(admin: &Arc<Admin>) -> Vec<SearchHost> {
    let generation = admin.resolver.cell.load_full();
    let snapshot = &generation.snapshot;
    let profile = snapshot.profile(snapshot.masks.default_profile);
    let mut hosts: Vec<SearchHost> = Vec::new();
    for rule in snapshot.safe_search.rules() {
        let on = snapshot.search_rule(profile, &rule.host);
        if !on.is_some_and(|on| Arc::ptr_eq(on, rule)) {
            continue;
        }
        let engine = snapshot.safe_search.engine_name(rule.engine).to_owned();
        if hosts.iter().any(|h| h.engine == engine && h.apex == rule.apex) {
            continue;
        }
        let v4 = rule.ipv4.iter().map(|&a| IpAddr::from(a));
        let addresses = v4.chain(rule.ipv6.iter().map(|&a| IpAddr::from(a))).collect();
        let (host, target) = (rule.host.to_string(), rule.target.to_string());
        hosts.push(SearchHost { engine, host, target, apex: rule.apex, addresses });
    }
    hosts.sort_by(|a, b| (&a.engine, a.apex).cmp(&(&b.engine, b.apex)));
    hosts
}
