//! `/api/v1/cache`: forget what was answered.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};

use super::{Admin, host, refused};

/// What went.
#[derive(Debug, Serialize, Deserialize)]
pub struct Flushed {
    pub name: String,
    pub entries: usize,
}

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/flush", post(flush)).layer(from_fn(host::guard_change))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flushing {
    name: String,
    #[serde(default)]
    by: String,
}

async fn flush(State(admin): State<Arc<Admin>>, Query(Flushing { name, by }): Query<Flushing>) -> Response {
    let reloader = Arc::clone(&admin.reloader);
    let done =
        tokio::task::spawn_blocking(move || reloader.flush_cache(&name, &by).map(|entries| Flushed { name, entries }));
    match done.await {
        Ok(Ok(flushed)) => Json(flushed).into_response(),
        Ok(Err(why)) => refused(StatusCode::BAD_REQUEST, &why),
        Err(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("it broke off: {why}")),
    }
}
