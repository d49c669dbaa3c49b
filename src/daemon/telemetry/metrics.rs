//! Counters and their exposition: the names of DESIGN §7, every label from an enum or the configuration.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::daemon::clock;
use crate::daemon::learner::{Heard, Learner};
use crate::daemon::snapshot_cell::Generation;
use crate::daemon::telemetry::tally::{self, RCODE_PLACES, Tally, rcode_index};
use crate::daemon::telemetry::{Outcome, QTYPES, QueryEvent, family_label, qtype_index, transport_label};
use crate::engine::query::Transport;
use crate::engine::verdict::Rung;

/// Seconds. The lower half is for blocks and hits, the upper for upstream.
const DURATION_BUCKETS: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    queries: IntCounterVec,
    responses: IntCounterVec,
    blocked: IntCounterVec,
    safe_search: IntCounterVec,
    duration_local: Histogram,
    duration_upstream: Histogram,
    pub packets_ignored: IntCounterVec,
    pub list_rules: IntGaugeVec,
    pub list_held: IntGaugeVec,
    pub list_disabled: IntGaugeVec,
    pub list_skipped: IntGaugeVec,
    pub list_last_success: IntGaugeVec,
    pub list_fetch: IntCounterVec,
    pub reload: IntCounterVec,
    pub generation: IntGauge,
    pub cache_entries: IntGauge,
    pub cache_octets: IntGauge,
    pub cache_evictions: IntGauge,
    pub cache_hits: IntCounter,
    pub cache_misses: IntCounter,
    pub upstream: IntGaugeVec,
    pub upstream_rtt: IntGaugeVec,
    pub upstream_up: IntGaugeVec,
    pub limit_hits: IntCounterVec,
    pub rate_limited: IntCounterVec,
    pub zone_limited: IntCounterVec,
    pub subscribers: IntGaugeVec,
    pub subscriber_updates: IntGaugeVec,
    pub subscriber_last: IntGaugeVec,
    pub subscriber_events: IntGaugeVec,
    pub fleet_commands: IntGaugeVec,
    pub radius_packets: IntCounterVec,
    pub orders: IntGaugeVec,
    pub orders_acting: IntGauge,
    pub order_alarms: IntGaugeVec,
    pub order_problems: IntGauge,
    pub order_next: IntGauge,
    pub audit_broken: IntGauge,
    pub keyword_reviews: IntCounterVec,
    /// What would have been done for clients that are observed.
    pub observed: IntCounterVec,
    /// What a shadow category would have blocked.
    pub shadow_blocked: IntCounterVec,
    pub in_flight: IntGauge,
    /// Handshakes of TLS and QUIC by result.
    pub handshakes: IntCounterVec,
    pub connections: IntGauge,
    /// What came from a proxy without a header that could be used.
    pub proxy_headers: IntCounterVec,
    certificate_expiry: OnceLock<IntGauge>,
    /// Not there: nothing is learnt.
    pub learner: OnceLock<Learner>,
    /// The counters of `queries` and `responses` by their places, so that no label is looked up for a query.
    by_query: Box<[OnceLock<IntCounter>]>,
    by_response: Box<[OnceLock<IntCounter>]>,
    /// What the threads of the fast lane count; poured in whenever somebody reads.
    tallies: Mutex<Vec<tally::Shared>>,
}

impl Metrics {
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let vec =
                IntCounterVec::new(Opts::new(name, help), labels).expect("a metric's name and labels are literals");
            register(&registry, &vec);
            vec
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels).expect("a metric's name and labels are literals");
            register(&registry, &vec);
            vec
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("a metric's name is a literal");
            register(&registry, &gauge);
            gauge
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("a metric's name is a literal");
            register(&registry, &counter);
            counter
        };
        let opts = HistogramOpts::new("lachan_query_duration_seconds", "Time from a query's arrival to its answer")
            .buckets(DURATION_BUCKETS.to_vec());
        let duration = HistogramVec::new(opts, &["path"]).expect("a metric's name and labels are literals");
        register(&registry, &duration);
        let build = gauges("lachan_build_info", "Always 1; the version is the label", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Metrics {
            queries: counters("lachan_queries_total", "Queries received", &["transport", "family", "qtype"]),
            responses: counters("lachan_responses_total", "Queries by how they ended", &["rcode", "outcome"]),
            blocked: counters("lachan_blocked_total", "Queries blocked", &["rung", "category", "profile"]),
            safe_search: counters("lachan_safe_search_total", "SafeSearch rewrites", &["engine", "qtype"]),
            duration_local: duration.with_label_values(&["local"]),
            duration_upstream: duration.with_label_values(&["upstream"]),
            packets_ignored: counters("lachan_packets_ignored_total", "Messages that are no query", &["transport"]),
            list_rules: gauges("lachan_list_rules", "Rules in force", &["list"]),
            list_held: gauges("lachan_list_held", "1 while a new version waits for `lists approve`", &["list"]),
            list_disabled: gauges("lachan_list_disabled", "1 while the list is taken out", &["list"]),
            list_skipped: gauges("lachan_list_skipped_total", "Lines that made no rule", &["list", "reason"]),
            list_last_success: gauges(
                "lachan_list_last_success_timestamp_seconds",
                "When the list was last read well, or known to be current",
                &["list"],
            ),
            list_fetch: counters("lachan_list_fetch_total", "Fetches of lists by URL", &["list", "result"]),
            reload: counters("lachan_reload_total", "Reloads by result", &["result"]),
            generation: gauge("lachan_snapshot_generation", "Generation in force"),
            cache_entries: gauge("lachan_cache_entries", "Answers in the cache"),
            cache_octets: gauge("lachan_cache_bytes", "Octets in the cache"),
            cache_evictions: gauge("lachan_cache_evictions_total", "Answers pushed out for want of room"),
            cache_hits: counter("lachan_cache_hits_total", "Look-ups that found an answer"),
            cache_misses: counter("lachan_cache_misses_total", "Look-ups that found none"),
            upstream: gauges("lachan_upstream_events_total", "Questions, answers, time-outs …", &["upstream", "event"]),
            upstream_rtt: gauges("lachan_upstream_rtt_microseconds", "Smoothed round-trip time", &["upstream"]),
            upstream_up: gauges("lachan_upstream_up", "1 when in use, 0 in back-off", &["upstream"]),
            limit_hits: counters("lachan_limit_hits_total", "Times a bound was reached", &["limit"]),
            rate_limited: counters(
                "lachan_rate_limited_total",
                "Queries of prefixes over a limit, by what was too much; in a dry run they were answered all the same",
                &["cost", "mode"],
            ),
            subscribers: gauges(
                "lachan_subscribers",
                "Subscribers in the table: prefixes, tokens, sessions",
                &["kind"],
            ),
            subscriber_updates: gauges("lachan_subscriber_updates_total", "Changes that feeds told", &["feed"]),
            subscriber_last: gauges(
                "lachan_subscriber_feed_timestamp_seconds",
                "When a feed last told of a change; what it lags is the present less this",
                &["feed"],
            ),
            subscriber_events: gauges(
                "lachan_subscriber_events_total",
                "Entries that lapsed, that have a profile nobody configured, and that a full table refused",
                &["event"],
            ),
            fleet_commands: gauges(
                "lachan_fleet_commands",
                "Commands of the fleet since the start: sent, heard, refused here, and ignored because no node wrote them",
                &["event"],
            ),
            radius_packets: counters(
                "lachan_radius_packets_total",
                "RADIUS packets by what became of them",
                &["result"],
            ),
            zone_limited: counters(
                "lachan_zone_limited_total",
                "Queries about zones that fail too often; in a dry run upstream was asked all the same",
                &["mode"],
            ),
            orders: gauges("lachan_orders", "Legal orders by where they stand", &["state"]),
            orders_acting: gauge("lachan_orders_acting", "Legal orders that block now"),
            order_alarms: gauges(
                "lachan_order_alarms",
                "Legal orders that should not wait, by what is near",
                &["kind"],
            ),
            order_problems: gauge("lachan_order_problems", "What is wrong with files of orders"),
            order_next: gauge(
                "lachan_order_next_deadline_timestamp_seconds",
                "The first time by which somebody must approve an order, so that it acts in time or goes on; 0: none waits",
            ),
            audit_broken: gauge("lachan_audit_broken", "1 while the audit log is not whole, or cannot be written"),
            keyword_reviews: counters(
                "lachan_keyword_reviews_total",
                "Questions let by whose name has a keyword of the list",
                &["list"],
            ),
            observed: counters(
                "lachan_observed_total",
                "Queries that would have been blocked or rewritten, had their clients not been observed only",
                &["rung", "category", "profile"],
            ),
            shadow_blocked: counters(
                "lachan_shadow_blocked_total",
                "Queries that a shadow category of their profile would have blocked",
                &["category", "profile"],
            ),
            in_flight: gauge("lachan_queries_in_flight", "Questions on their way upstream"),
            handshakes: counters("lachan_tls_handshakes_total", "Handshakes of TLS and QUIC", &["result"]),
            connections: gauge("lachan_connections", "Clients' connections open now"),
            proxy_headers: counters(
                "lachan_proxy_dropped_total",
                "Datagrams and connections of proxies that were dropped for what their PROXY header was",
                &["reason"],
            ),
            certificate_expiry: OnceLock::new(),
            learner: OnceLock::new(),
            by_query: (0..Transport::COUNT * 2 * QTYPES.len()).map(|_| OnceLock::new()).collect(),
            by_response: (0..Outcome::ALL.len() * RCODE_PLACES).map(|_| OnceLock::new()).collect(),
            tallies: Mutex::default(),
            registry,
        }
    }

    /// The default sink: a few counters, no lock that waits for another thread's work.
    pub fn record(&self, event: &QueryEvent<'_>) {
        let qtype = event.question.map_or(QTYPES.len() - 1, |q| qtype_index(q.qtype));
        let origin = event.origin;
        let family = usize::from(origin.source.is_ipv6());
        let place = (origin.transport as usize * 2 + family) * QTYPES.len() + qtype;
        let qtype = QTYPES[qtype];
        let labels =
            || self.queries.with_label_values(&[transport_label(origin.transport), family_label(origin), qtype]);
        self.by_query[place].get_or_init(labels).inc();
        let place = event.outcome as usize * RCODE_PLACES + event.rcode.map_or(RCODE_PLACES - 1, rcode_index);
        let rcode = event.rcode.map_or("none", |r| r.as_str());
        let labels = || self.responses.with_label_values(&[rcode, event.outcome.as_str()]);
        self.by_response[place].get_or_init(labels).inc();
        if let Some(block) = event.block {
            self.blocked.with_label_values(&[block.rung.as_str(), block.category, block.profile]).inc();
        }
        if let Some(engine) = event.engine {
            self.safe_search.with_label_values(&[engine, qtype]).inc();
        }
        self.learn(event);
        let took = clock::now().saturating_duration_since(event.started).as_secs_f64();
        match event.outcome {
            Outcome::Forwarded | Outcome::Failed | Outcome::Abandoned => self.duration_upstream.observe(took),
            Outcome::Local
            | Outcome::Blocked
            | Outcome::Rewritten
            | Outcome::Hit
            | Outcome::Stale
            | Outcome::Refused
            | Outcome::Stranger
            | Outcome::Limited
            | Outcome::Dropped => self.duration_local.observe(took),
        }
    }

    /// When our certificate expires, in seconds since 1970; nothing is shown while there never was one.
    pub fn certificate_expiry(&self, at: Option<i64>) {
        let Some(at) = at else { return };
        let gauge = self.certificate_expiry.get_or_init(|| {
            let name = "lachan_certificate_expiry_timestamp_seconds";
            let gauge = IntGauge::new(name, "When our certificate expires").expect("a metric's name is a literal");
            register(&self.registry, &gauge);
            gauge
        });
        gauge.set(at);
    }

    /// A tally for one thread of the fast lane.
    pub fn tally(&self, generation: Arc<Generation>) -> tally::Shared {
        let tally = Arc::new(Mutex::new(Tally::new(generation, self.duration_local.local())));
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tally));
        tally
    }

    fn pour_tallies(&self) {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().for_each(|tally| tally::lock(tally).pour(self));
    }

    pub(super) fn add_queries(&self, transport: &str, family: &str, qtype: &str, count: u64) {
        if count > 0 {
            self.queries.with_label_values(&[transport, family, qtype]).inc_by(count);
        }
    }

    pub(super) fn add_responses(&self, rcode: &str, outcome: Outcome, count: u64) {
        if count > 0 {
            self.responses.with_label_values(&[rcode, outcome.as_str()]).inc_by(count);
        }
    }

    pub(super) fn add_blocked(&self, rung: Rung, category: &str, profile: &str, count: u64) {
        self.blocked.with_label_values(&[rung.as_str(), category, profile]).inc_by(count);
    }

    pub(super) fn add_rewritten(&self, engine: &str, qtype: &str, count: u64) {
        self.safe_search.with_label_values(&[engine, qtype]).inc_by(count);
    }

    /// Lets the learner hear of a query, if there is one.
    pub fn learn(&self, event: &QueryEvent<'_>) {
        if let Some(learner) = self.learner.get()
            && learner.hear(event) == Heard::NoRoom
        {
            self.limit_hit("learned_queue_max");
        }
    }

    /// A bound was reached; `limit` is the name of its constant.
    pub fn limit_hit(&self, limit: &'static str) {
        self.limit_hits.with_label_values(&[limit]).inc();
    }

    /// Sums for `/api/v1/status`: queries that ended in each outcome.
    pub fn outcomes(&self) -> Vec<(&'static str, u64)> {
        use prometheus::core::Collector;
        self.pour_tallies();
        let families = self.responses.collect();
        Outcome::ALL
            .iter()
            .map(|outcome| {
                let of = |m: &prometheus::proto::Metric| {
                    m.get_label().iter().any(|l| l.name() == "outcome" && l.value() == outcome.as_str())
                };
                let sum: f64 = families
                    .iter()
                    .flat_map(|f| f.get_metric())
                    .filter(|m| of(m))
                    .map(|m| m.get_counter().get_value())
                    .sum();
                (outcome.as_str(), sum as u64)
            })
            .collect()
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> String {
        self.pour_tallies();
        let mut out = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        encoded.expect("encoding into memory fails only for a metric without a name");
        String::from_utf8(out).expect("the text encoder writes UTF-8")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, collector: &C) {
    registry.register(Box::new(collector.clone())).expect("each metric is registered once, under its own name");
}
