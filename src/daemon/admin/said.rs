//! `/api/v1/allows`, `/denies`, `/pauses`: what is said for a while.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::{Admin, host, refused};
use crate::daemon::explain::{self, Asker, Who};
use crate::daemon::reload::Reloader;
use crate::daemon::said::{Asking, Entry, Kind};
use crate::engine::client::Realm;
use crate::engine::list::own_entry;
use crate::engine::query::{CLASS_IN, Question, RecordType};
use crate::engine::snapshot::Unlisted;
use crate::engine::verdict::Rung;

/// An entry that was made, and what it does not change.
#[derive(Debug, Serialize, Deserialize)]
pub struct Made {
    pub entry: Entry,
    /// Something else decides all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still: Option<Still>,
}

/// What decides nevertheless, and why.
#[derive(Debug, Serialize, Deserialize)]
pub struct Still {
    pub rung: String,
    pub sentence_en: String,
    pub sentence_vi: String,
    pub change_en: String,
    pub change_vi: String,
}

/// The routes of one kind; what changes something is guarded.
pub(super) fn routes(kind: Kind) -> Router<Arc<Admin>> {
    let list = move |State(admin): State<Arc<Admin>>| async move { Json(admin.reloader.words().of(kind)) };
    let changes = Router::new()
        .route("/", post(move |admin, asking| add(kind, admin, asking)))
        .route("/remove", post(move |admin, params| remove(kind, admin, params)))
        .layer(from_fn(host::guard_change));
    Router::new().route("/", get(list)).merge(changes)
}

async fn add(kind: Kind, State(admin): State<Arc<Admin>>, Query(asking): Query<Asking>) -> Response {
    let made = blocking(&admin, move |reloader| reloader.say(kind, &asking)).await;
    match made {
        Ok(entry) => {
            let still = still(kind, &admin, &entry).await;
            Json(Made { entry, still }).into_response()
        }
        Err(why) => refused(StatusCode::BAD_REQUEST, &why),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    id: u64,
    #[serde(default)]
    by: String,
}

async fn remove(kind: Kind, State(admin): State<Arc<Admin>>, Query(removal): Query<Removal>) -> Response {
    let gone = blocking(&admin, move |reloader| reloader.unsay(kind, removal.id, &removal.by)).await;
    match gone {
        Ok(entry) => Json(entry).into_response(),
        Err(why) => refused(StatusCode::CONFLICT, &why),
    }
}

/// Off the workers: it writes to the disk.
async fn blocking<T: Send + 'static>(
    admin: &Arc<Admin>,
    what: impl FnOnce(&Reloader) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let reloader = Arc::clone(&admin.reloader);
    let done = tokio::task::spawn_blocking(move || what(&reloader)).await;
    done.unwrap_or_else(|why| Err(format!("it broke off: {why}")))
}

/// Asks what becomes of the name for those that a word is for: whether something else decides all the same.
async fn still(kind: Kind, admin: &Arc<Admin>, entry: &Entry) -> Option<Still> {
    let who = Who {
        client: entry.network.map(|network| Asker::Address(SocketAddr::new(network.addr(), 0))),
        realm: Realm(entry.realm.unwrap_or(0)),
        known: entry.client.clone(),
        profile: entry.profile.clone(),
        ..Who::default()
    };
    if kind == Kind::Pause {
        return unpaused(admin, &who);
    }
    let (qname, _) = own_entry(entry.name.as_deref()?).ok()?;
    let question = Question { qname, qtype: RecordType::A, qclass: CLASS_IN };
    let in_force = admin.reloader.status().notes.list_lines;
    let told = explain::explain(&admin.resolver, &in_force, &question, "A", &who).await.ok()?;
    let is_so = match kind {
        Kind::Allow => told.verdict != "allow",
        Kind::Deny => told.verdict == "allow",
        Kind::Pause => false,
    };
    is_so.then(|| Still {
        rung: told.rung.to_owned(),
        sentence_en: told.sentence_en,
        sentence_vi: told.sentence_vi,
        change_en: told.change_en,
        change_vi: told.change_vi,
    })
}

/// What a pause does not change: that only some names are allowed.
fn unpaused(admin: &Admin, who: &Who) -> Option<Still> {
    let generation = admin.reloader.in_force();
    let client = who.resolve(&generation.snapshot).ok()?;
    let profile = generation.snapshot.profile(client.profile);
    if profile.masks_at(client.at).unlisted == Unlisted::Judged {
        return None;
    }
    let name = &profile.name;
    Some(Still {
        rung: Rung::Profile.as_str().to_owned(),
        sentence_en: format!("the profile `{name}` allows only some names now, and a pause does not change that."),
        sentence_vi: format!("hồ sơ `{name}` hiện chỉ cho phép một số tên, tạm tắt lọc không thay đổi điều này."),
        change_en: format!("allow the names that are needed: `lachan allow add NAME --profile {name} …`."),
        change_vi: format!("cho phép những tên cần dùng: `lachan allow add TÊN --profile {name} …`."),
    })
}
