//! The admin listener: `/metrics`, `/healthz`, `/readyz`, `/api/v1`. Loopback unless the operator says otherwise.
//!
//! What changes something is a POST that no web page can send (`host`).

mod cache;
mod fleet;
mod host;
mod limits;
mod lists;
mod orders;
mod said;
mod status;
mod subscribers;

use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::daemon::explain::{self, Who};
use crate::daemon::reload::Reloader;
use crate::daemon::resolver::Resolver;
use crate::daemon::said::Kind;
use crate::daemon::sources::supply::Supply;
use crate::daemon::subscribers::{FeedSummary, Subscribers};
use crate::engine::client::{Realm, UnixTime};
use crate::engine::explain::{FeedTold, rfc3339};
use crate::engine::name::Name;
use crate::engine::query::{CLASS_IN, Question, RecordType};

pub use cache::Flushed;
pub use fleet::{Fleet, MEMBER};
pub use host::CHANGE_HEADER;
pub use limits::Limits;
pub use said::{Made, Still};
pub use status::{ListStatus, SearchHost, Status, UpstreamStatus};
pub use subscribers::{Done, One};

/// What the handlers share.
pub struct Admin {
    pub resolver: Arc<Resolver>,
    pub reloader: Arc<Reloader>,
    pub supply: Arc<Supply>,
    /// Addresses that answer DNS.
    pub dns: Vec<SocketAddr>,
    /// Seconds since 1970.
    pub started_at: u64,
    /// One scrape at a time: gauges are set anew for each, and a second scraper must not find half of them.
    pub scrape: Mutex<()>,
}

impl Admin {
    fn subscribers(&self) -> &Arc<Subscribers> {
        self.reloader.subscribers()
    }
}

/// Binds the address, so that a caller can say what is wrong with it.
pub fn bind(address: SocketAddr) -> std::io::Result<StdTcpListener> {
    let listener = StdTcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `stop`.
pub async fn serve(listener: StdTcpListener, admin: Arc<Admin>, stop: CancellationToken) -> std::io::Result<()> {
    let told = |timer| from_fn_with_state((Arc::clone(&admin), timer), fleet::reach);
    let router = axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/api/v1/status", get(status_json))
        .route("/api/v1/explain", get(explain_json))
        .route("/api/v1/safesearch", get(safe_search_json))
        .route("/api/v1/limits", get(limits::json))
        .nest("/api/v1/lists", lists::routes().layer(told(fleet::LONG)))
        .nest("/api/v1/subscribers", subscribers::routes(Arc::clone(&admin)))
        .nest("/api/v1/allows", said::routes(Kind::Allow).layer(told(fleet::SHORT)))
        .nest("/api/v1/denies", said::routes(Kind::Deny).layer(told(fleet::SHORT)))
        .nest("/api/v1/pauses", said::routes(Kind::Pause).layer(told(fleet::SHORT)))
        .nest("/api/v1/orders", orders::routes().layer(told(fleet::SHORT)))
        .nest("/api/v1/cache", cache::routes().layer(told(fleet::SHORT)))
        .nest("/api/v1/fleet", fleet::routes())
        .layer(axum::middleware::from_fn(host::guard))
        .with_state(admin);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn refused(code: StatusCode, why: &str) -> Response {
    (code, Json(serde_json::json!({ "error": why }))).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let text = {
        let _alone = admin.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        status::refresh_gauges(&admin);
        admin.resolver.metrics.encode()
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// 503 only when filtering itself does not work; a dead upstream is `degraded`, since blocks, cache and stale go on.
async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if !admin.resolver.canary_is_blocked() {
        let text = format!("not ready: {} is not blocked\n", crate::engine::category::CANARY_NAME);
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let problems = admin.reloader.status().notes.problems;
    if let Some(problem) = problems.iter().find(|problem| problem.unready) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", problem.message)).into_response();
    }
    if let Some(why) = admin.reloader.fleet().and_then(|log| log.not_ready()) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response();
    }
    // Somebody should look, and filtering works: no reason to withdraw.
    let more = admin.reloader.audit().trouble().map_or_else(String::new, |why| format!("{why}\n"));
    if status::upstream_is_lost(&admin) {
        let text = format!("degraded: no upstream server answers; blocks, cache and stale answers go on\n{more}");
        return text.into_response();
    }
    format!("ready\n{more}").into_response()
}

async fn status_json(State(admin): State<Arc<Admin>>) -> Json<Status> {
    Json(Status::of(&admin))
}

async fn safe_search_json(State(admin): State<Arc<Admin>>) -> Json<Vec<SearchHost>> {
    Json(status::search_hosts(&admin))
}

/// The parameters of `/api/v1/explain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainParams {
    name: String,
    #[serde(rename = "type")]
    qtype: Option<String>,
    client: Option<String>,
    /// Of the client's address, where several networks use the same.
    realm: Option<u16>,
    /// The address of ours that it asks.
    to: Option<IpAddr>,
    profile: Option<String>,
    /// RFC 3339.
    at: Option<String>,
}

/// A moment as people write it: RFC 3339, with an offset or a Z.
pub fn parse_moment(text: &str) -> Result<UnixTime, String> {
    let read = text.parse::<jiff::Timestamp>().map(|at| UnixTime(at.as_second()));
    read.map_err(|_| format!("{text:?} is no moment: write it as 2026-11-27T21:30:00+07:00"))
}

async fn explain_json(State(admin): State<Arc<Admin>>, Query(params): Query<ExplainParams>) -> Response {
    let bad = |why: String| (StatusCode::BAD_REQUEST, Json(serde_json::json!({ "error": why }))).into_response();
    let asked = params.qtype.as_deref().unwrap_or("A");
    let Some(qtype) = parse_type(asked) else { return bad(format!("unknown type `{asked}`")) };
    let type_text = type_name(qtype);
    let qname = match Name::from_text(&params.name) {
        Ok(qname) => qname,
        Err(why) => return bad(format!("{:?} is no name: {why}", params.name)),
    };
    let question = Question { qname, qtype, qclass: CLASS_IN };
    let client = match params.client.as_deref().map(str::parse).transpose() {
        Ok(client) => client,
        Err(why) => return bad(why),
    };
    let at = match params.at.as_deref().map(parse_moment).transpose() {
        Ok(at) => at,
        Err(why) => return bad(why),
    };
    let realm = Realm(params.realm.unwrap_or(0));
    let who = Who { client, realm, to: params.to, profile: params.profile, at, ..Who::default() };
    let in_force = admin.reloader.status().notes.list_lines;
    match explain::explain(&admin.resolver, &in_force, &question, &type_text, &who).await {
        Ok(mut told) => {
            let gates = admin.reloader.sources().gates();
            let lists = admin.reloader.status().notes.lists;
            let left_out = lists.iter().filter_map(|list| Some((list.name.as_str(), gates.of(&list.name).left_out?)));
            explain::tell_left_out(&mut told, &question.qname, left_out);
            if let Some(subscriber) = &mut told.subscriber {
                subscriber.feeds = feeds(&admin);
            }
            Json(told).into_response()
        }
        Err(why) => bad(why),
    }
}

/// Those that told something of subscribers since the start.
fn feeds(admin: &Admin) -> Vec<FeedTold> {
    let zone = admin.reloader.time_zone();
    let feeds = admin.subscribers().summary().feeds.into_iter();
    let told = feeds.filter_map(|(feed, FeedSummary { updates, last })| {
        let last = rfc3339(UnixTime(i64::try_from(last?).ok()?), &zone);
        Some(FeedTold { feed, updates, last: Some(last) })
    });
    told.collect()
}

/// Types that people write by name.
const TYPES: &[(&str, RecordType)] = &[
    ("A", RecordType::A),
    ("AAAA", RecordType::AAAA),
    ("ANY", RecordType::ANY),
    ("CAA", RecordType::CAA),
    ("CNAME", RecordType::CNAME),
    ("DNSKEY", RecordType::DNSKEY),
    ("DS", RecordType::DS),
    ("HTTPS", RecordType::HTTPS),
    ("MX", RecordType::MX),
    ("NS", RecordType::NS),
    ("PTR", RecordType::PTR),
    ("SOA", RecordType::SOA),
    ("SRV", RecordType::SRV),
    ("SVCB", RecordType::SVCB),
    ("TXT", RecordType::TXT),
];

/// A type as people write it: `AAAA`, `TYPE28`, `28`.
pub fn parse_type(text: &str) -> Option<RecordType> {
    let text = text.to_ascii_uppercase();
    if let Some(&(_, rtype)) = TYPES.iter().find(|(name, _)| *name == text) {
        return Some(rtype);
    }
    let digits = text.strip_prefix("TYPE").unwrap_or(&text);
    let is_number = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    is_number.then(|| digits.parse().ok().map(RecordType)).flatten()
}

/// A type's name; RFC 3597 §5 for one that has none here.
pub fn type_name(rtype: RecordType) -> String {
    let known = TYPES.iter().find(|(_, known)| *known == rtype);
    known.map_or_else(|| format!("TYPE{}", rtype.0), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_by_name_and_by_number() {
        for (text, name) in [
            ("aaaa", Some("AAAA")),
            ("HTTPS", Some("HTTPS")),
            ("65", Some("HTTPS")),
            ("TYPE65", Some("HTTPS")),
            ("type99", Some("TYPE99")),
            ("TYPE", None),
            ("+65", None),
            ("65536", None),
            ("NONSENSE", None),
            ("", None),
        ] {
            assert_eq!(parse_type(text).map(type_name).as_deref(), name, "{text}");
        }
    }
}
