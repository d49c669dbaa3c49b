//! `/api/v1/subscribers`: what the operator's books say of lines. Who asks shows the token of `api_token_file`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::Admin;
use crate::daemon::clock;
use crate::daemon::subscribers::line::{Line, Reading};
use crate::daemon::subscribers::{Feed, Refused, Subscribers};
use crate::engine::client::Realm;
use crate::engine::limits::{SUBSCRIBER_LINE_OCTETS_MAX, SUBSCRIBER_LINES_MAX, SUBSCRIBER_SERIAL_MAX};
use crate::engine::query::{Origin, Transport};
use crate::engine::subscribers::{Change, Holder, Place};

/// Mistakes told of one body; more are counted.
const MISTAKES_MAX: usize = 20;
/// Changes made at once of a body that is taken as it comes.
const BATCH: usize = 4_096;

/// The routes below `/api/v1/subscribers`.
pub(super) fn routes(admin: Arc<Admin>) -> Router<Arc<Admin>> {
    let guarded = Router::new()
        .route("/one", put(put_one).get(get_one).delete(delete_one))
        .route("/bulk", post(bulk))
        .route("/delta", post(delta))
        .route("/snapshot", post(snapshot))
        .layer(from_fn_with_state(admin, guard));
    Router::new().route("/", get(summary)).merge(guarded)
}

fn refused(code: StatusCode, why: &str) -> Response {
    (code, Json(serde_json::json!({ "error": why }))).into_response()
}

/// RFC 6750 §2.1. Compared by their hashes, which tell nothing of how much of a guess was right.
async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let settings = admin.subscribers().settings();
    let Some(settings) = settings.as_ref() else {
        return refused(StatusCode::NOT_FOUND, "there is no [subscribers] in the configuration");
    };
    let Some(expected) = &settings.api_token else {
        return refused(StatusCode::FORBIDDEN, "the API needs `api_token_file` in [subscribers]");
    };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim).unwrap_or_default();
    let (given, expected) = (Sha256::digest(given), Sha256::digest(&expected.0));
    if given.iter().zip(&expected).fold(0, |all, (a, b)| all | (a ^ b)) != 0 {
        let mut response =
            refused(StatusCode::UNAUTHORIZED, "the token of `api_token_file` is needed: Authorization: Bearer …");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        return response;
    }
    next.run(request).await
}

async fn summary(State(admin): State<Arc<Admin>>) -> Response {
    match admin.subscribers().settings().as_ref() {
        None => refused(StatusCode::NOT_FOUND, "there is no [subscribers] in the configuration"),
        Some(_) => Json(admin.subscribers().summary()).into_response(),
    }
}

/// Makes changes off the threads that answer queries: the table may have to be waited for.
async fn applied(admin: &Arc<Admin>, changes: Vec<Change>) -> Result<(), Refused> {
    let subscribers = Arc::clone(admin.subscribers());
    let made = tokio::task::spawn_blocking(move || subscribers.apply(Feed::Api, &changes));
    // It does not panic; if it did, nothing more can be said of what was made.
    made.await.unwrap_or(Ok(()))
}

/// Puts down what changed before it says that it did.
async fn flushed(admin: &Arc<Admin>, told: impl Serialize) -> Response {
    let subscribers = Arc::clone(admin.subscribers());
    match tokio::task::spawn_blocking(move || subscribers.flush()).await {
        Ok(()) => Json(told).into_response(),
        Err(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("it broke off: {why}")),
    }
}

/// How much was done. An empty line is none.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub lines: usize,
    /// `false`: it was done before.
    pub applied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// Profiles that are not configured: who has one gets the default profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_profiles: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The store of the fleet does not answer: other nodes hear of it when it does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub others_wait: bool,
}

/// A line that was not taken.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    pub line: usize,
    pub error: String,
}

async fn put_one(State(admin): State<Arc<Admin>>, body: Bytes) -> Response {
    let subscribers = admin.subscribers();
    if body.len() > SUBSCRIBER_LINE_OCTETS_MAX {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, &format!("at most {SUBSCRIBER_LINE_OCTETS_MAX} octets"));
    }
    let with = Reading { table: subscribers.table(), key: key_of(subscribers) };
    let line = match Line::parse(&body) {
        Ok(line) if line.remove => Err("PUT puts in; DELETE takes out".to_owned()),
        other => other,
    };
    match line.and_then(|line| Ok((line.changes(&with)?, line))) {
        Err(why) => refused(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Ok((changes, line)) => match applied(&admin, changes).await {
            Err(full) => refused(StatusCode::INSUFFICIENT_STORAGE, &full.to_string()),
            Ok(()) => {
                let unknown_profiles = unknown(&admin, line.profile.into_iter());
                let others_wait = admin.subscribers().is_cut_off();
                flushed(&admin, Done { lines: 1, applied: true, unknown_profiles, others_wait, ..Done::default() })
                    .await
            }
        },
    }
}

fn key_of(subscribers: &Subscribers) -> Option<crate::engine::client::TokenKey> {
    subscribers.settings().as_ref().as_ref().and_then(|settings| settings.token_keys.first().copied())
}

/// Those of `names` that are no profile's.
fn unknown(admin: &Admin, names: impl Iterator<Item = String>) -> Vec<String> {
    let generation = admin.resolver.cell.load();
    names.filter(|name| generation.snapshot.profile_named(name).is_none()).collect()
}

/// The parameters of `/one`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneParams {
    prefix: Option<String>,
    ports: Option<String>,
    realm: Option<u16>,
    token: Option<String>,
    line: Option<String>,
    label: Option<String>,
    /// Who asks from here?
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl OneParams {
    fn as_line(&self) -> Line {
        Line {
            prefix: self.prefix.clone(),
            ports: self.ports.clone(),
            realm: self.realm.filter(|_| self.address.is_none()),
            token: self.token.clone(),
            line: self.line.clone(),
            label: self.label.clone(),
            ..Line::default()
        }
    }
}

async fn delete_one(State(admin): State<Arc<Admin>>, Query(params): Query<OneParams>) -> Response {
    let subscribers = admin.subscribers();
    let with = Reading { table: subscribers.table(), key: key_of(subscribers) };
    let line = Line { remove: true, ..params.as_line() };
    let changes = match line.changes(&with) {
        Ok(changes) => changes,
        Err(why) => return refused(StatusCode::UNPROCESSABLE_ENTITY, &why),
    };
    let is_there = changes.iter().any(|change| match change {
        Change::Remove(key) => subscribers.table().get(key).is_some(),
        Change::Choose(token, _) => subscribers.table().find_token(*token).is_some_and(|state| state.chosen.is_some()),
        Change::Put(..) | Change::Say(..) => false,
    });
    if !is_there {
        return refused(StatusCode::NOT_FOUND, "there is no such entry");
    }
    match applied(&admin, changes).await {
        Ok(()) => {
            let others_wait = admin.subscribers().is_cut_off();
            flushed(&admin, Done { lines: 1, applied: true, others_wait, ..Done::default() }).await
        }
        Err(full) => refused(StatusCode::INSUFFICIENT_STORAGE, &full.to_string()),
    }
}

/// What is known of one subscriber.
#[derive(Debug, Serialize, Deserialize)]
pub struct One {
    /// As [`Standing`](crate::engine::subscribers::Standing) says it.
    pub standing: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name that the table has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
    pub session: bool,
    /// Prefixes that point to the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<u32>,
    /// What is in the table under this prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<String>,
}

async fn get_one(State(admin): State<Arc<Admin>>, Query(params): Query<OneParams>) -> Response {
    let subscribers = admin.subscribers();
    let table = subscribers.table();
    let generation = admin.resolver.cell.load();
    let Some(live) = &generation.snapshot.subscribers else {
        return refused(StatusCode::NOT_FOUND, "there is no [subscribers] in the configuration");
    };
    let hex = |token: crate::engine::client::Token| format!("{:032x}", token.0);
    if let Some(address) = params.address {
        let source = SocketAddr::new(address, params.port.unwrap_or(0));
        let origin = Origin { realm: Realm(params.realm.unwrap_or(0)), ..Origin::new(source, None, Transport::Udp) };
        let told = live.identify(&origin, clock::unix_time());
        let Some(found) = told.found else { return refused(StatusCode::NOT_FOUND, "no subscriber is known there") };
        return Json(One {
            standing: told.standing.as_str().to_owned(),
            token: found.token.map(hex),
            profile: found.profile.map(|name| table.name(name)),
            until: found.term.until,
            session: found.term.is_session,
            prefixes: found.token.and_then(|token| table.find_token(token)).map(|state| state.prefixes),
            entries: Vec::new(),
        })
        .into_response();
    }
    let with = Reading { table, key: key_of(subscribers) };
    let line = params.as_line();
    let (keys, token) = match line.keys().and_then(|keys| Ok((keys, line.token(&with)?))) {
        Ok(asked) => asked,
        Err(why) => return refused(StatusCode::UNPROCESSABLE_ENTITY, &why),
    };
    let entry = keys.iter().find_map(|key| Some((key, table.get(key)?)));
    let token = match entry.map(|(_, entry)| entry.holder) {
        Some(Holder::Token(token)) => Some(token),
        Some(Holder::Profile(_)) => None,
        None => token.filter(|_| keys.is_empty()),
    };
    let state = token.and_then(|token| table.find_token(token));
    let profile = match entry.map(|(_, entry)| entry.holder) {
        Some(Holder::Profile(name)) => Some(name),
        Some(Holder::Token(_)) | None => state.and_then(|state| state.profile()),
    };
    if entry.is_none() && state.is_none() {
        return refused(StatusCode::NOT_FOUND, "there is no such entry");
    }
    let shown = |place: Place| place.to_string();
    let term = entry.map(|(_, entry)| entry.term).unwrap_or_default();
    let standing = match profile {
        None => "no-choice",
        Some(name) if live.knows(name) => "known",
        Some(_) => "unknown-profile",
    };
    Json(One {
        standing: standing.to_owned(),
        token: token.map(hex),
        profile: profile.map(|name| table.name(name)),
        until: term.until,
        session: term.is_session,
        prefixes: state.map(|state| state.prefixes),
        entries: keys.iter().filter(|key| table.get(key).is_some()).map(|key| shown(key.place())).collect(),
    })
    .into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SerialParams {
    serial: u64,
}

/// Lines as they come: each good one is in force, each bad one told.
async fn bulk(State(admin): State<Arc<Admin>>, body: Body) -> Response {
    let mut read = Lines::new(&admin);
    let mut stream = body.into_data_stream();
    let mut full = None;
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else { return refused(StatusCode::BAD_REQUEST, "the body was cut short") };
        read.take(&piece);
        if read.changes.len() >= BATCH {
            let changes = std::mem::take(&mut read.changes);
            full = Refused::and(full, applied(&admin, changes).await.err());
        }
        if read.is_too_long() {
            break;
        }
    }
    read.end();
    let changes = std::mem::take(&mut read.changes);
    // With a full table all that is left is still looked at: among it is what makes room.
    if let Some(full) = Refused::and(full, applied(&admin, changes).await.err()) {
        return refused(StatusCode::INSUFFICIENT_STORAGE, &full.to_string());
    }
    let done = read.done(&admin, None);
    if !done.mistakes.is_empty() {
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(done)).into_response();
    }
    flushed(&admin, done).await
}

async fn delta(admin: State<Arc<Admin>>, params: Query<SerialParams>, body: Body) -> Response {
    whole(admin, params, body, Subscribers::apply_delta).await
}

async fn snapshot(admin: State<Arc<Admin>>, params: Query<SerialParams>, body: Body) -> Response {
    whole(admin, params, body, Subscribers::replace).await
}

/// Reads a body to its end before anything of it is done: with a mistake in it nothing is.
async fn whole(
    State(admin): State<Arc<Admin>>,
    Query(SerialParams { serial }): Query<SerialParams>,
    body: Body,
    with: fn(&Subscribers, u64, &[Change]) -> Result<bool, String>,
) -> Response {
    // One at a time: each may hold a table's worth of changes.
    static WHOLE: Semaphore = Semaphore::const_new(1);
    let Ok(_alone) = WHOLE.try_acquire() else {
        return refused(StatusCode::CONFLICT, "another snapshot or delta is under way");
    };
    if serial == 0 {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "serials begin with 1");
    }
    if serial > SUBSCRIBER_SERIAL_MAX {
        // Nothing could follow it.
        let why = format!("serial {serial}: at most {SUBSCRIBER_SERIAL_MAX}; numbers only grow");
        return refused(StatusCode::UNPROCESSABLE_ENTITY, &why);
    }
    let mut read = Lines::new(&admin);
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else {
            return refused(StatusCode::BAD_REQUEST, "the body was cut short: nothing is changed");
        };
        read.take(&piece);
        if read.is_too_long() {
            break;
        }
    }
    read.end();
    if read.mistake_count > 0 {
        let error = Some(format!("{} of {} lines have a mistake: nothing is changed", read.mistake_count, read.told));
        let done = Done { error, applied: false, ..read.done(&admin, Some(admin.subscribers().serial())) };
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(done)).into_response();
    }
    let (subscribers, changes) = (Arc::clone(admin.subscribers()), std::mem::take(&mut read.changes));
    let done = tokio::task::spawn_blocking(move || {
        let done = with(&subscribers, serial, &changes);
        subscribers.flush();
        done
    });
    match done.await {
        Ok(Ok(applied)) => {
            Json(Done { applied, ..read.done(&admin, Some(admin.subscribers().serial())) }).into_response()
        }
        Ok(Err(why)) => refused(StatusCode::CONFLICT, &why),
        Err(why) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("it broke off: {why}")),
    }
}

/// Lines of a body, read as its pieces come.
struct Lines {
    admin: Arc<Admin>,
    key: Option<crate::engine::client::TokenKey>,
    /// The beginning of a line that has not ended yet.
    rest: Vec<u8>,
    number: usize,
    /// Lines with something in them.
    told: usize,
    changes: Vec<Change>,
    profiles: std::collections::BTreeSet<String>,
    mistakes: Vec<Mistake>,
    mistake_count: usize,
}

impl Lines {
    fn new(admin: &Arc<Admin>) -> Lines {
        Lines {
            admin: Arc::clone(admin),
            key: key_of(admin.subscribers()),
            rest: Vec::new(),
            number: 0,
            told: 0,
            changes: Vec::new(),
            profiles: std::collections::BTreeSet::new(),
            mistakes: Vec::new(),
            mistake_count: 0,
        }
    }

    fn take(&mut self, mut piece: &[u8]) {
        while let Some(end) = piece.iter().position(|&octet| octet == b'\n') {
            let (line, after) = piece.split_at(end);
            piece = &after[1..];
            if self.rest.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole);
            }
        }
        // What is longer than a line may be is not kept to its end; one octet more tells.
        let room = (SUBSCRIBER_LINE_OCTETS_MAX + 1).saturating_sub(self.rest.len());
        self.rest.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&rest);
        }
    }

    /// More lines than a table holds.
    fn is_too_long(&self) -> bool {
        self.number > SUBSCRIBER_LINES_MAX
    }

    fn line(&mut self, text: &[u8]) {
        self.number += 1;
        if text.trim_ascii().is_empty() {
            return;
        }
        self.told += 1;
        if self.is_too_long() {
            return self.mistake(format!("more than {SUBSCRIBER_LINES_MAX} lines"));
        }
        if text.len() > SUBSCRIBER_LINE_OCTETS_MAX {
            return self.mistake(format!("a line is at most {SUBSCRIBER_LINE_OCTETS_MAX} octets"));
        }
        let with = Reading { table: self.admin.subscribers().table(), key: self.key };
        let told = Line::parse(text).and_then(|line| Ok((line.changes(&with)?, line.profile)));
        match told {
            Ok((changes, profile)) => {
                self.changes.extend(changes);
                if let Some(profile) = profile.filter(|profile| !self.profiles.contains(profile)) {
                    self.profiles.insert(profile);
                }
            }
            Err(why) => self.mistake(why),
        }
    }

    fn mistake(&mut self, error: String) {
        self.mistake_count += 1;
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(Mistake { line: self.number, error });
        }
    }

    fn done(&mut self, admin: &Admin, serial: Option<u64>) -> Done {
        let more =
            (self.mistake_count > 0).then(|| format!("{} of {} lines were not taken", self.mistake_count, self.told));
        Done {
            lines: self.told,
            applied: true,
            serial,
            unknown_profiles: unknown(admin, std::mem::take(&mut self.profiles).into_iter()),
            mistakes: std::mem::take(&mut self.mistakes),
            error: more,
            others_wait: admin.subscribers().is_cut_off(),
        }
    }
}
