//! Asks the running resolver by its admin listener.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::config;
use crate::daemon::admin::CHANGE_HEADER;

/// How long the running resolver may take to say anything.
const ANSWER_TIMER: Duration = Duration::from_secs(10);

/// Why nothing was learnt.
#[derive(Debug)]
pub enum Trouble {
    /// Nobody answers there.
    NoDaemon(String),
    /// It answered with an error of its own.
    Refused(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::NoDaemon(why) | Trouble::Refused(why) => f.write_str(why),
        }
    }
}

/// The admin address: as given, else the configuration's. A wildcard is asked on loopback.
pub fn admin_address(given: Option<SocketAddr>, config: Option<&Path>) -> Result<SocketAddr, Trouble> {
    let address = match given {
        Some(address) => Some(address),
        None => match config {
            None => config::embedded().settings.admin,
            Some(path) => match config::load(path) {
                Ok(config) => config.settings.admin,
                // A broken file does not hide a running resolver: it started from a good one.
                Err(_) => config::embedded().settings.admin,
            },
        },
    };
    let Some(mut address) = address else {
        return Err(Trouble::NoDaemon("the configuration has no admin listener ([listen] admin = \"off\")".into()));
    };
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    Ok(address)
}

/// Status code and body of `path`.
pub fn get(address: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<(u16, String), Trouble> {
    ask(Method::GET, address, path, query, ANSWER_TIMER)
}

fn ask(
    method: Method,
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    timer: Duration,
) -> Result<(u16, String), Trouble> {
    let unreachable = |why: &dyn std::fmt::Display| {
        Trouble::NoDaemon(format!(
            "no resolver answers at http://{address}{path}: {why}; is `lachan serve` running, with this [listen] admin?"
        ))
    };
    // The client wants one even when nothing is encrypted. Another in its place is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| unreachable(&why))?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(timer).no_proxy().build().map_err(|why| unreachable(&why))?;
        let url = format!("http://{address}{path}");
        let request = match method {
            Method::POST => client.request(method, url).header(CHANGE_HEADER, "1"),
            _ => client.request(method, url),
        };
        let response = request.query(query).send().await.map_err(|why| unreachable(&root_cause(&why)))?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(|why| unreachable(&root_cause(&why)))?;
        Ok((status, body))
    })
}

/// JSON of `path`; an answer other than 200 is its error text.
pub fn get_json<T: DeserializeOwned>(address: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<T, Trouble> {
    read_json(address, path, get(address, path, query)?)
}

/// As [`get_json`], for what may take as long as `timer`.
pub fn get_json_within<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    timer: Duration,
) -> Result<T, Trouble> {
    read_json(address, path, ask(Method::GET, address, path, query, timer)?)
}

/// Asks for a change at `path`, which may take as long as `timer`; JSON as with [`get_json`].
pub fn post_json<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    timer: Duration,
) -> Result<T, Trouble> {
    read_json(address, path, ask(Method::POST, address, path, query, timer)?)
}

fn read_json<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
    (status, body): (u16, String),
) -> Result<T, Trouble> {
    if status != 200 {
        let error = serde_json::from_str::<serde_json::Value>(&body).ok();
        let text = error.and_then(|e| e.get("error").and_then(|t| t.as_str()).map(str::to_owned)).unwrap_or(body);
        return Err(Trouble::Refused(text));
    }
    serde_json::from_str(&body).map_err(|why| {
        Trouble::Refused(format!("http://{address}{path} answers something else than lachan does: {why}"))
    })
}

/// The innermost error: "Connection refused", not three sentences around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
