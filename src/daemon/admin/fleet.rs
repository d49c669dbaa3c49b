//! `/api/v1/fleet`: the nodes that share commands; and, with every change, how far it has come among them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Admin, host, refused};
use crate::daemon::clock;
use crate::daemon::fleet::Node;

/// So long somebody waits for a word, or an order, to be in force everywhere. Chosen: five times what it takes.
pub(super) const SHORT: Duration = Duration::from_secs(5);
/// As long for a list, which other nodes may have to compile. Chosen.
pub(super) const LONG: Duration = Duration::from_secs(120);
/// The member of a change's answer.
pub const MEMBER: &str = "fleet";
/// An answer with an order's names.
const ANSWER_OCTETS_MAX: usize = 64 << 20;

/// The nodes, as this one sees them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fleet {
    /// This one.
    pub node: String,
    pub store_is_away: bool,
    pub nodes: Vec<Node>,
}

pub(super) fn routes() -> Router<Arc<Admin>> {
    let changes = Router::new().route("/forget", post(forget)).layer(from_fn(host::guard_change));
    Router::new().route("/", get(nodes)).merge(changes)
}

const ALONE: &str = "this node shares no commands: [subscribers.store] and state_key_file in [subscribers] are needed";

async fn nodes(State(admin): State<Arc<Admin>>) -> Response {
    let Some(log) = admin.reloader.fleet() else { return refused(StatusCode::CONFLICT, ALONE) };
    let store_is_away = !log.is_following();
    Json(Fleet { node: log.name().to_owned(), store_is_away, nodes: log.nodes() }).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgetting {
    node: String,
}

async fn forget(State(admin): State<Arc<Admin>>, Query(forgetting): Query<Forgetting>) -> Response {
    let Some(log) = admin.reloader.fleet() else { return refused(StatusCode::CONFLICT, ALONE) };
    match log.forget(&forgetting.node).await {
        Ok(()) => nodes(State(admin)).await,
        Err(why) => refused(StatusCode::CONFLICT, &why),
    }
}

/// Adds to the answer of a change where it is in force, when it was told to a fleet.
pub(super) async fn reach(
    State((admin, timer)): State<(Arc<Admin>, Duration)>,
    request: Request,
    next: Next,
) -> Response {
    let is_change = request.method() == Method::POST;
    let Some(log) = admin.reloader.fleet().filter(|_| is_change) else { return next.run(request).await };
    let (began, before) = (clock::now(), log.said());
    let response = next.run(request).await;
    let said = log.said();
    if said == before || !response.status().is_success() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(octets) = to_bytes(body, ANSWER_OCTETS_MAX).await else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "the answer is too long; what was asked for is done");
    };
    let mut answer = serde_json::from_slice::<Value>(&octets);
    if let Ok(Value::Object(members)) = &mut answer {
        let reach = log.reach(said, began, timer).await;
        members.insert(MEMBER.to_owned(), serde_json::json!(reach));
    }
    let octets = answer.map_or(octets.to_vec(), |answer| answer.to_string().into_bytes());
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(octets))
}
