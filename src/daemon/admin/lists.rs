//! `/api/v1/lists`: fetch now, look at what waits, and decide about it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{Admin, host, refused};
use crate::daemon::reload::Reloader;

/// The routes below `/api/v1/lists`; what changes something is guarded.
pub(super) fn routes() -> Router<Arc<Admin>> {
    let changes = Router::new()
        .route("/update", post(update))
        .route("/approve", post(|admin, list| decide(admin, list, |r, list| r.approve(&list.name, &list.by))))
        .route("/rollback", post(|admin, list| decide(admin, list, |r, list| r.roll_back(&list.name, &list.by))))
        .route(
            "/disable",
            post(|admin, list| decide(admin, list, |r, list| r.set_disabled(&list.name, true, &list.by))),
        )
        .route(
            "/enable",
            post(|admin, list| decide(admin, list, |r, list| r.set_disabled(&list.name, false, &list.by))),
        )
        .layer(from_fn(host::guard_change));
    Router::new()
        .route("/review", get(review))
        .route("/diff", get(|admin, list| decide(admin, list, |r, list| r.diff(&list.name))))
        .merge(changes)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateParams {
    /// `None`: all that are fetched.
    name: Option<String>,
    #[serde(default = "nobody")]
    by: String,
}

/// Who does not say who they are.
fn nobody() -> String {
    "unnamed".to_owned()
}

/// Fetches lists now, and answers when what came is in force.
async fn update(State(admin): State<Arc<Admin>>, Query(params): Query<UpdateParams>) -> Response {
    static UPDATES: Semaphore = Semaphore::const_new(1);
    let Ok(_alone) = UPDATES.try_acquire() else {
        return refused(StatusCode::CONFLICT, "an update is under way; `lachan lists status` shows how it goes");
    };
    match admin.supply.update(params.name.as_deref(), &params.by).await {
        Ok(updated) => Json(updated).into_response(),
        Err(why) => refused(StatusCode::NOT_FOUND, &why),
    }
}

async fn review(State(admin): State<Arc<Admin>>) -> Response {
    Json(admin.reloader.waiting()).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    name: String,
    #[serde(default = "nobody")]
    by: String,
}

/// Does one thing about one list, off the workers: it may read and compile.
async fn decide<T: Serialize + Send + 'static>(
    State(admin): State<Arc<Admin>>,
    Query(params): Query<ListParams>,
    what: impl FnOnce(&Reloader, &ListParams) -> Result<T, String> + Send + 'static,
) -> Response {
    let done = tokio::task::spawn_blocking(move || what(&admin.reloader, &params)).await;
    match done {
        Ok(Ok(told)) => Json(told).into_response(),
        Ok(Err(why)) => refused(StatusCode::CONFLICT, &why),
        Err(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("it broke off: {why}")),
    }
}
