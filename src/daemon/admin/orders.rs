//! `/api/v1/orders`: the register of legal orders.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::{Admin, host, refused};
use crate::daemon::clock;
use crate::daemon::orders::{Asked, Role};
use crate::daemon::reload::Reloader;
use crate::engine::limits::ANNEX_OCTETS_MAX;

/// The routes below `/api/v1/orders`; what changes something is guarded.
pub(super) fn routes() -> Router<Arc<Admin>> {
    let changes = Router::new()
        .route("/", post(enter).layer(DefaultBodyLimit::max(ANNEX_OCTETS_MAX as usize)))
        .route("/check", post(|admin, act| change(admin, act, |r, act| r.check_order(&act.reference, &act.by))))
        .route("/approve", post(|admin, act| change(admin, act, |r, act| r.approve_order(&act.reference, &act.by))))
        .route("/report", post(|admin, act| change(admin, act, |r, act| r.report_order(&act.reference, &act.by))))
        .route(
            "/revoke",
            post(|admin, act| change(admin, act, |r, act| r.revoke_order(&act.reference, &act.by, &act.reason))),
        )
        .route("/verify", post(verify))
        .layer(from_fn(host::guard_change));
    Router::new().route("/", get(list)).route("/problems", get(problems)).merge(changes)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Looking {
    #[serde(default)]
    role: Role,
}

async fn list(State(admin): State<Arc<Admin>>, Query(looking): Query<Looking>) -> Response {
    let reloader = &admin.reloader;
    Json(reloader.orders().told(clock::unix_time(), looking.role, reloader.audit())).into_response()
}

async fn problems(State(admin): State<Arc<Admin>>) -> Response {
    // Orders are no better than the log of who entered them.
    let problems = admin.reloader.audit().trouble().into_iter().chain(admin.reloader.orders().problems());
    Json(problems.collect::<Vec<_>>()).into_response()
}

async fn enter(State(admin): State<Arc<Admin>>, Json(asked): Json<Asked>) -> Response {
    done(&admin, move |reloader| reloader.enter_order(&asked)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActOn {
    reference: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    reason: String,
}

async fn change<T: Serialize + Send + 'static>(
    State(admin): State<Arc<Admin>>,
    Query(act): Query<ActOn>,
    what: impl FnOnce(&Reloader, &ActOn) -> Result<T, String> + Send + 'static,
) -> Response {
    done(&admin, move |reloader| what(reloader, &act)).await
}

async fn verify(State(admin): State<Arc<Admin>>, Query(act): Query<ActOn>) -> Response {
    let resolver = Arc::clone(&admin.resolver);
    match off_workers(&admin, move |reloader| reloader.verify_order(&resolver, &act.reference, &act.by)).await {
        Ok(mut effect) => {
            admin.reloader.ask_nodes(&mut effect).await;
            Json(effect).into_response()
        }
        Err(refused) => refused,
    }
}

async fn done<T: Serialize + Send + 'static>(
    admin: &Arc<Admin>,
    what: impl FnOnce(&Reloader) -> Result<T, String> + Send + 'static,
) -> Response {
    off_workers(admin, what).await.map_or_else(|refused| refused, |told| Json(told).into_response())
}

/// Off the workers: it reads and writes files.
async fn off_workers<T: Send + 'static>(
    admin: &Arc<Admin>,
    what: impl FnOnce(&Reloader) -> Result<T, String> + Send + 'static,
) -> Result<T, Response> {
    let reloader = Arc::clone(&admin.reloader);
    match tokio::task::spawn_blocking(move || what(&reloader)).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(why)) => Err(refused(StatusCode::CONFLICT, &why)),
        Err(why) => Err(refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("it broke off: {why}"))),
    }
}
