//! `/api/v1/limits`: who is over the rate limits, or would be.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Json;
use serde::{Deserialize, Serialize};

use crate::daemon::admin::Admin;
use crate::daemon::limiter::Limited;

/// Prefixes told when nobody says how many.
const COUNT: usize = 20;
/// Prefixes told at most.
const COUNT_MAX: usize = 1_000;

/// The rate limits, and who meets them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Limits {
    /// `off`, `dry-run` or `enforce`.
    pub mode: String,
    /// For each line; absent when there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misses_per_second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amplified_per_second: Option<u32>,
    /// Those over a limit most often, first.
    pub top: Vec<Limited>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    count: Option<usize>,
}

pub(super) async fn json(State(admin): State<Arc<Admin>>, Query(params): Query<Params>) -> Json<Limits> {
    let Some(limiter) = admin.resolver.limiter() else {
        let (misses_per_second, amplified_per_second) = (None, None);
        return Json(Limits { mode: "off".to_owned(), misses_per_second, amplified_per_second, top: Vec::new() });
    };
    let limit = limiter.limit();
    Json(Limits {
        mode: limit.mode().to_owned(),
        misses_per_second: Some(limit.misses_per_second),
        amplified_per_second: Some(limit.amplified_per_second),
        top: limiter.top(params.count.unwrap_or(COUNT).min(COUNT_MAX)),
    })
}
