//! One fetch of one list over HTTP: bounded in time, size and redirects, and never from a private address unasked.
//!
//! What comes is the publisher's file, whole or not at all; whether it is a good list is decided elsewhere.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use minisign_verify::PublicKey;
use reqwest::dns::Resolve;
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Client, Response, StatusCode, redirect};
use rustls::ClientConfig;
use url::{Host, Url};

use super::inflate::inflate;
use super::names::not_public;
use super::verify;
use crate::engine::limits::{
    LIST_FETCH, LIST_FETCH_CONNECT, LIST_FETCH_IDLE, LIST_FILE_OCTETS_MAX, LIST_REDIRECTS_MAX,
    LIST_SIGNATURE_OCTETS_MAX,
};

/// What is wanted, and what we have of it.
#[derive(Debug, Clone)]
pub struct Order {
    pub url: Url,
    pub sha256: Option<[u8; 32]>,
    pub minisign_key: Option<PublicKey>,
    /// Which addresses may be asked.
    pub allowed: fn(IpAddr) -> bool,
    /// Of the version we have.
    pub etag: Option<String>,
    /// Of the version we have.
    pub last_modified: Option<String>,
}

/// How much of everything.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For all of it: redirects, body, signature.
    pub total: Duration,
    /// Without an octet.
    pub idle: Duration,
    pub connect: Duration,
    /// Of the body as it comes, and again of what it unpacks to.
    pub octets: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { total: LIST_FETCH, idle: LIST_FETCH_IDLE, connect: LIST_FETCH_CONNECT, octets: LIST_FILE_OCTETS_MAX }
    }
}

/// What a server had.
#[derive(Debug)]
pub enum Fetched {
    /// Nothing newer than what we have.
    Unchanged,
    Published(Published),
}

/// A body as it came.
#[derive(Debug)]
pub struct Published {
    octets: Vec<u8>,
    /// `Content-Encoding` as sent.
    encoding: Option<String>,
    signature: Option<Vec<u8>>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Published {
    pub fn octets(&self) -> u64 {
        self.octets.len() as u64
    }
}

/// A text that is what its publisher meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Download {
    pub text: Vec<u8>,
    /// Of the publisher's file, before it was unpacked.
    pub published_sha256: String,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// Why nothing came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    /// The server's `Retry-After`.
    pub retry_after_secs: Option<u64>,
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure { message, retry_after_secs: None }
    }
}

/// Fetches the list and, where there is a key for it, its signature.
pub async fn fetch(
    order: &Order,
    tls: ClientConfig,
    names: Arc<impl Resolve + 'static>,
    limits: &Limits,
) -> Result<Fetched, Failure> {
    let within = async {
        let client = client(tls, names, limits)?;
        let Some(response) = get(&client, order, &order.url, conditions(order)).await? else {
            return Ok(Fetched::Unchanged);
        };
        let (etag, last_modified) = (text(&response, header::ETAG), text(&response, header::LAST_MODIFIED));
        let encoding = text(&response, header::CONTENT_ENCODING);
        let octets = body(response, limits.octets).await?;
        let signature = match order.minisign_key {
            None => None,
            Some(_) => Some(signature(&client, order).await?),
        };
        Ok(Fetched::Published(Published { octets, encoding, signature, etag, last_modified }))
    };
    let too_long = |_| Failure::from(format!("it was not there after {} s", limits.total.as_secs_f32()));
    tokio::time::timeout(limits.total, within).await.unwrap_or_else(|elapsed| Err(too_long(elapsed)))
}

fn client(tls: ClientConfig, names: Arc<impl Resolve + 'static>, limits: &Limits) -> Result<Client, Failure> {
    Client::builder()
        .use_preconfigured_tls(tls)
        .dns_resolver(names)
        // A proxy would resolve and connect in our place, past every check.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .http1_only()
        .connect_timeout(limits.connect)
        .read_timeout(limits.idle)
        .user_agent(concat!("lachan/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|why| root_cause(&why).into())
}

/// Asks only for what is newer than we have.
fn conditions(order: &Order) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, text: &Option<String>| {
        if let Some(value) = text.as_deref().and_then(|text| text.parse().ok()) {
            headers.insert(name, value);
        }
    };
    add(header::IF_NONE_MATCH, &order.etag);
    add(header::IF_MODIFIED_SINCE, &order.last_modified);
    headers
}

/// Follows redirects to a good answer; `None`: what we have is the current one.
async fn get(client: &Client, order: &Order, url: &Url, conditions: HeaderMap) -> Result<Option<Response>, Failure> {
    let mut url = url.clone();
    for _ in 0..=LIST_REDIRECTS_MAX {
        check_host(&url, order.allowed)?;
        let request = client.get(url.clone()).headers(conditions.clone()).header(header::ACCEPT_ENCODING, "gzip, zstd");
        let response = request.send().await.map_err(|why| told(&url, &why))?;
        // The resolver and the literal are checked before; this is what was really asked.
        if let Some(peer) = response.remote_addr()
            && !(order.allowed)(peer.ip())
        {
            return Err(not_public(url.host_str().unwrap_or_default(), peer.ip()).into());
        }
        match response.status() {
            StatusCode::OK => return Ok(Some(response)),
            StatusCode::NOT_MODIFIED if !conditions.is_empty() => return Ok(None),
            status if status.is_redirection() => {
                let location = text(&response, header::LOCATION);
                let location = location.ok_or_else(|| format!("{url} answers {status} without a place to go to"))?;
                url = next(&url, &location)?;
            }
            status => {
                let retry_after_secs = text(&response, header::RETRY_AFTER).and_then(|text| text.parse().ok());
                let message = format!("{url} answers {status}");
                return Err(Failure { message, retry_after_secs });
            }
        }
    }
    Err(format!("more than {LIST_REDIRECTS_MAX} redirects; the last leads to {url}").into())
}

fn text(response: &Response, name: HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// Where a redirect leads.
fn next(from: &Url, location: &str) -> Result<Url, String> {
    let to = from.join(location).map_err(|why| format!("{from} leads to {location:?}, which is no URL: {why}"))?;
    let is_downgrade = from.scheme() == "https" && to.scheme() != "https";
    if is_downgrade || !["http", "https"].contains(&to.scheme()) {
        return Err(format!("{from} leads to {}://, which is not followed", to.scheme()));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(format!("{from} leads to a URL with a user name, which is not followed"));
    }
    Ok(to)
}

/// Names are checked when they are resolved; an address in the URL is not resolved.
fn check_host(url: &Url, allowed: fn(IpAddr) -> bool) -> Result<(), String> {
    let address = match url.host() {
        Some(Host::Ipv4(v4)) => v4.into(),
        Some(Host::Ipv6(v6)) => v6.into(),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(format!("{url} names no host")),
    };
    if allowed(address) { Ok(()) } else { Err(not_public(url.host_str().unwrap_or_default(), address)) }
}

async fn body(mut response: Response, octets_max: u64) -> Result<Vec<u8>, Failure> {
    let url = response.url().clone();
    let too_long = || Failure::from(format!("{url} is over {octets_max} octets"));
    if response.content_length().is_some_and(|length| length > octets_max) {
        return Err(too_long());
    }
    let mut octets = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|why| told(&url, &why))? {
        if octets.len() as u64 + chunk.len() as u64 > octets_max {
            return Err(too_long());
        }
        octets.extend_from_slice(&chunk);
    }
    Ok(octets)
}

async fn signature(client: &Client, order: &Order) -> Result<Vec<u8>, Failure> {
    let mut url = order.url.clone();
    url.set_path(&format!("{}.minisig", order.url.path()));
    let response = get(client, order, &url, HeaderMap::new()).await?;
    let response = response.ok_or_else(|| format!("{url} answers 304 to an unconditional request"))?;
    let encoding = text(&response, header::CONTENT_ENCODING);
    let octets = body(response, LIST_SIGNATURE_OCTETS_MAX).await?;
    Ok(decode(octets, encoding.as_deref(), LIST_SIGNATURE_OCTETS_MAX)?)
}

/// Checks what was published against what is known of its publisher, and unpacks it. Takes its time: off the runtime.
pub fn open(order: &Order, published: Published, octets_max: u64) -> Result<Download, String> {
    let Published { octets, encoding, signature, etag, last_modified } = published;
    let check = |file: &[u8]| -> Result<(), String> {
        if let Some(pinned) = &order.sha256 {
            verify::check_sum(file, pinned)?;
        }
        if let Some(key) = &order.minisign_key {
            verify::check_signature(file, signature.as_deref().unwrap_or_default(), key)?;
        }
        Ok(())
    };
    // Some servers send a packed file as a packed transfer: then the publisher's file is what came, else what is in it.
    let is_encoded = encoding.is_some();
    let file = match is_encoded && (order.sha256.is_none() && order.minisign_key.is_none() || check(&octets).is_err()) {
        true => decode(octets, encoding.as_deref(), octets_max)?,
        false => octets,
    };
    check(&file)?;
    let published_sha256 = verify::sha256_hex(&file);
    let text = inflate(file, octets_max)?;
    Ok(Download { text, published_sha256, etag, last_modified })
}

/// Takes the transfer's packing off.
fn decode(octets: Vec<u8>, encoding: Option<&str>, octets_max: u64) -> Result<Vec<u8>, String> {
    let encoding = encoding.unwrap_or("identity").trim().to_ascii_lowercase();
    match encoding.as_str() {
        "" | "identity" => Ok(octets),
        "gzip" | "x-gzip" | "zstd" => super::inflate::layer(&octets, octets_max)?
            .ok_or_else(|| format!("it is said to be {encoding}, but is not")),
        _ => Err(format!("it comes packed as {encoding:?}, which was not asked for")),
    }
}

fn told(url: &Url, error: &reqwest::Error) -> Failure {
    let what = match () {
        () if error.is_timeout() => "no answer in time".to_owned(),
        () if error.is_body() || error.is_decode() => format!("the body is cut short: {}", root_cause(error)),
        () => root_cause(error),
    };
    format!("{url}: {what}").into()
}

/// The innermost error: "connection refused", not three sentences around it.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
