//! `[list.NAME] url`: where a list is fetched from, how often, and what proves that it is the right one.

use std::time::Duration;

use minisign_verify::PublicKey;
use url::Url;

use super::errors::{Sink, Spanned};
use super::spec::ListSpec;

/// How often a list is fetched unless `refresh` says otherwise.
const REFRESH: Duration = Duration::from_secs(86_400);

/// A list that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListUrl {
    /// The `NAME` of `[list.NAME]`.
    pub list: String,
    /// `https`, or `http` with a proof below.
    pub url: Url,
    pub refresh: Duration,
    /// What the publisher's file must sum to.
    pub sha256: Option<[u8; 32]>,
    /// Whose signature the file must have.
    pub minisign_key: Option<PublicKey>,
    /// The host may be in a private network.
    pub allow_private: bool,
}

/// Reads a URL that a list can be fetched from.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|why| format!("{text:?} is no URL: {why}"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("{text:?}: lists are fetched by https, not by {:?}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in a URL would be shown to everyone who sees the status".to_owned());
    }
    if url.port() == Some(0) {
        return Err(format!("{text:?}: no server can have port 0"));
    }
    Ok(url)
}

/// Reads a SHA-256 as `sha256sum` prints it.
pub(super) fn sha256(text: &str) -> Result<[u8; 32], String> {
    let mut sum = [0; 32];
    if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(format!("{text:?} is no SHA-256; write the 64 hexadecimal digits that `sha256sum FILE` prints"));
    }
    for (at, octet) in sum.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|why| why.to_string())?;
    }
    Ok(sum)
}

/// Reads a public key as it stands in the last line of a `minisign.pub`.
pub(super) fn minisign_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_base64(text)
        .map_err(|_| format!("{text:?} is no minisign key; write the line of minisign.pub that begins with \"RW\""))
}

/// How the list of a table is fetched, if it is.
pub(super) fn list_url(spec: &ListSpec, sink: &Sink) -> Option<ListUrl> {
    let list = spec.name.value.clone();
    let url = spec.url.as_ref()?;
    let is_proven = spec.sha256.is_some() || spec.minisign_key.is_some();
    if url.value.scheme() == "http" && !is_proven {
        let message = format!(
            "`url` in [list.{list}]: http proves nothing about what comes; take https, or give `sha256` or `minisign_key`"
        );
        sink.error(url.at, message);
    }
    Some(ListUrl {
        list,
        url: url.value.clone(),
        refresh: spec.refresh.as_ref().map_or(REFRESH, |time| time.value),
        sha256: spec.sha256.as_ref().map(|sum| sum.value),
        minisign_key: spec.minisign_key.as_ref().map(|Spanned { value, .. }| value.clone()),
        allow_private: spec.allow_private.unwrap_or(false),
    })
}
