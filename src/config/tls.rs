//! `[tls]`: the certificate of our own listeners, and what clients are told of them.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::engine::discovery::EVERYONE;
use crate::engine::name::Name;

use super::errors::{Sink, Spanned};
use super::reader::Section;
use super::spec::{Spec, not_empty};
use super::values;

/// `[tls]` as written.
pub(super) struct TlsSpec {
    certificate_file: Option<Spanned<String>>,
    private_key_file: Option<Spanned<String>>,
    name: Option<Spanned<Name>>,
    addresses: Option<Vec<Spanned<IpAddr>>>,
    info_url: Option<Spanned<String>>,
    /// In hundredths of a percent.
    share: Option<u16>,
}

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM; our own first, then those that lead to an authority.
    pub certificate_file: PathBuf,
    /// PEM.
    pub private_key_file: PathBuf,
    /// `None`: the certificate's first.
    pub name: Option<Name>,
    /// Where clients reach us; empty: at the address that they asked.
    pub addresses: Vec<IpAddr>,
    /// A page for people.
    pub info_url: Option<String>,
    /// Of clients that are told of the encrypted service, in hundredths of a percent.
    pub share: u16,
}

pub(super) fn table(mut section: Section<'_>, top_level: &[&str]) -> TlsSpec {
    for (key, other) in [("certificate_file", "private_key_file"), ("private_key_file", "certificate_file")] {
        if section.has(key) && !section.has(other) {
            section.missing(
                other,
                &format!("\"tls/{}.pem\"", if other == "private_key_file" { "privkey" } else { "fullchain" }),
            );
        }
    }
    section.only_with("certificate_file", &["name", "addresses", "info_url", "ddr"]);
    let share = if section.has_string("ddr") {
        section.choice("ddr", &[("on", EVERYONE), ("off", 0)]).map(|share| share.value)
    } else {
        let mut ddr = section.section("ddr");
        let share = ddr.string("share", |text| {
            let share = values::share(text)?.0;
            u16::try_from(share)
                .ok()
                .filter(|share| *share <= EVERYONE)
                .ok_or_else(|| format!("{text:?} is more than all"))
        });
        ddr.finish(top_level);
        share.map(|share| share.value)
    };
    let spec = TlsSpec {
        certificate_file: section.string("certificate_file", not_empty),
        private_key_file: section.string("private_key_file", not_empty),
        name: section.string("name", |text| Name::from_text(text).map_err(|why| format!("{text:?} is no name: {why}"))),
        addresses: section.some_strings("addresses", |text| {
            let address: IpAddr = text.parse().map_err(|_| format!("{text:?} is no address"))?;
            values::reachable((address, 1).into(), text).map(|address| address.ip())
        }),
        info_url: section.string("info_url", info_url),
        share,
    };
    section.finish(top_level);
    spec
}

/// RFC 9606 §5: a page that people can read, by HTTPS.
fn info_url(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if url.scheme() == "https" && text.len() <= 240 => Ok(url.into()),
        Ok(url) if url.scheme() == "https" => Err(format!("is {} octets, at most 240", text.len())),
        Ok(_) | Err(_) => Err(format!("{text:?} is no address of a page; write it as \"https://dns.example.vn/\"")),
    }
}

pub(super) fn lower(spec: &Spec, sink: &Sink) -> Option<TlsSettings> {
    let TlsSpec { certificate_file, private_key_file, name, addresses, info_url, share } = &spec.tls;
    if certificate_file.is_none() && private_key_file.is_none() {
        for (key, given) in [("dot", &spec.listen_dot), ("doh", &spec.listen_doh), ("doq", &spec.listen_doq)] {
            if let Some(first) = given.iter().flatten().next() {
                sink.error(
                    first.at,
                    format!(
                        "`{key}` in [listen] needs a certificate: certificate_file and private_key_file in [tls] \
                         (`lachan tls self-signed` makes one to try with)"
                    ),
                );
            }
        }
    }
    let absolute = |path: &Spanned<String>| sink.base(path.at).join(&path.value);
    let (certificate, private_key) = certificate_file.as_ref().zip(private_key_file.as_ref())?;
    Some(TlsSettings {
        certificate_file: absolute(certificate),
        private_key_file: absolute(private_key),
        name: name.as_ref().map(|name| name.value.clone()),
        addresses: addresses.iter().flatten().map(|address| address.value).collect(),
        info_url: info_url.as_ref().map(|url| url.value.clone()),
        share: share.unwrap_or(EVERYONE),
    })
}
