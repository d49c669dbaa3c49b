//! Our own certificate: read from PEM, checked, and swapped by a reload without dropping a connection.
//!
//! What it says of itself — names, addresses, dates — is told to whoever warns about it. What a channel does with it is the
//! listeners'.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::{Settings, TlsSettings, read_steady};
use crate::engine::discovery::{Discovery, Protocol, Service};
use crate::engine::limits::CERTIFICATE_FILE_OCTETS_MAX;
use crate::engine::name::Name;

const DAY_SECS: i64 = 86_400;

/// A certificate with its key, and what it says.
#[derive(Debug, Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// Its dNSNames, in their order.
    pub names: Vec<String>,
    /// Its iPAddresses.
    pub addresses: Vec<IpAddr>,
}

/// The certificate in force, for every listener that needs one.
#[derive(Debug, Default)]
pub struct Certificates {
    in_force: ArcSwapOption<Certificate>,
}

impl Certificates {
    pub fn set(&self, certificate: Option<Certificate>) {
        self.in_force.store(certificate.map(Arc::new));
    }

    pub fn in_force(&self) -> Option<Arc<Certificate>> {
        self.in_force.load_full()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.in_force.load().as_ref().map(|certificate| Arc::clone(&certificate.key))
    }
}

impl Certificate {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// The file, and why it is none: unreadable, no PEM, another's key.
    pub fn read(settings: &TlsSettings) -> Result<Certificate, String> {
        let (chain_file, key_file) = (&settings.certificate_file, &settings.private_key_file);
        let chain = certificates(chain_file)?;
        let key = private_key(key_file)?;
        let signer = ring::sign::any_supported_type(&key)
            .map_err(|why| format!("{}: a private key that cannot be used: {why}", key_file.display()))?;
        let (_, first) = X509Certificate::from_der(&chain[0])
            .map_err(|why| format!("{}: its first certificate cannot be read: {why}", chain_file.display()))?;
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for name in first.subject_alternative_name().ok().flatten().iter().flat_map(|san| &san.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => addresses.extend(address(octets)),
                _ => {}
            }
        }
        let (not_before, not_after) = (first.validity().not_before.timestamp(), first.validity().not_after.timestamp());
        let key = CertifiedKey::new(chain, signer);
        match key.keys_match() {
            // A key whose public half cannot be told apart will show at the first handshake.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => {
                return Err(format!(
                    "the private key in {} is not that of the certificate in {}; was only one of them renewed?",
                    key_file.display(),
                    chain_file.display()
                ));
            }
        }
        Ok(Certificate { key: Arc::new(key), not_before, not_after, names, addresses })
    }

    /// What clients would object to at `now`, in seconds since 1970.
    pub fn complaint(&self, now: u64) -> Option<String> {
        let now = now as i64;
        if now < self.not_before {
            let wait = (self.not_before - now).div_euclid(DAY_SECS) + 1;
            return Some(format!(
                "the certificate is not valid yet, for {wait} more days: is this machine's clock right? Clients refuse it"
            ));
        }
        if now > self.not_after {
            let past = (now - self.not_after).div_euclid(DAY_SECS);
            return Some(format!("the certificate expired {past} days ago: clients refuse it"));
        }
        let left = (self.not_after - now).div_euclid(DAY_SECS);
        (left < 7).then(|| format!("the certificate expires in {left} days"))
    }

    /// What clients are told of the encrypted listeners, and what keeps them from believing it. `has_identities`: some clients
    /// say who they are by a label before our name.
    pub fn discovery(
        &self,
        settings: &Settings,
        tls: &TlsSettings,
        listening: &[(Service, IpAddr)],
        has_identities: bool,
    ) -> (Option<Discovery>, Vec<String>) {
        let mut hints = Vec::new();
        if listening.is_empty() {
            return (None, hints);
        }
        let name = match &tls.name {
            Some(name) => Some(name.clone()),
            None => self.names.iter().filter(|name| !name.contains('*')).find_map(|name| Name::from_text(name).ok()),
        };
        let Some(name) = name else {
            hints.push(format!(
                "{}: the certificate has no host name (dNSName), so clients cannot be told of the encrypted service; \
                 give `name` in [tls]",
                tls.certificate_file.display()
            ));
            return (None, hints);
        };
        if !self.is_for(&name) {
            hints.push(format!(
                "{}: the certificate is not for {name}: clients will refuse it",
                tls.certificate_file.display()
            ));
        }
        if has_identities && !self.is_for_all_below(&name) {
            hints.push(format!(
                "{}: the certificate is not for *.{name}, so clients with `ids` can say who they are by the path of DNS over \
                 HTTPS alone: a phone with ID.{name} as its Private DNS will refuse it",
                tls.certificate_file.display()
            ));
        }
        let asked = settings.dns.iter().map(|address| address.ip().to_canonical());
        let asked = asked.filter(|address| !address.is_unspecified()).collect::<Vec<_>>();
        let reached = if tls.addresses.is_empty() { &asked } else { &tls.addresses };
        for address in reached.iter().filter(|address| tls.share > 0 && !self.addresses.contains(*address)) {
            hints.push(format!(
                "{}: the certificate does not have the address {address}: clients that look for encryption there (DDR, \
                 RFC 9462 §4.2) will not take it up",
                tls.certificate_file.display()
            ));
        }
        let (listening, addresses) = (listening.iter().copied(), tls.addresses.clone());
        (Some(Discovery::new(name, listening, addresses, tls.share, tls.info_url.as_deref())), hints)
    }

    /// What clients are told when the name is configured and the certificate is not at hand.
    pub fn discovery_without(settings: &Settings, tls: &TlsSettings) -> Option<Discovery> {
        let listening = listening(settings);
        let name = tls.name.clone().filter(|_| !listening.is_empty())?;
        Some(Discovery::new(name, listening, tls.addresses.clone(), tls.share, tls.info_url.as_deref()))
    }

    /// Whether it is for every name one label below this one.
    pub fn is_for_all_below(&self, name: &Name) -> bool {
        self.names.iter().any(|of| of.eq_ignore_ascii_case(&format!("*.{name}")))
    }

    /// Whether it is for a name, itself or by a wildcard of one label. RFC 6125 §6.4.
    fn is_for(&self, name: &Name) -> bool {
        let name = name.to_string();
        let below = name.split_once('.').map_or("", |(_, rest)| rest);
        self.names.iter().any(|of| {
            of.eq_ignore_ascii_case(&name) || of.strip_prefix("*.").is_some_and(|of| of.eq_ignore_ascii_case(below))
        })
    }
}

/// The encrypted transports that are configured, and where; the best liked first. A port that the system chooses cannot be
/// told.
pub fn listening(settings: &Settings) -> Vec<(Service, IpAddr)> {
    let given = [(Protocol::Dot, &settings.dot), (Protocol::Doq, &settings.doq), (Protocol::Doh, &settings.doh)];
    let given = given.into_iter().flat_map(|(protocol, addresses)| {
        let addresses = addresses.iter().filter(|address| address.port() != 0);
        addresses.map(move |address| (Service { protocol, port: address.port() }, address.ip()))
    });
    given.collect()
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read_pem(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|why| format!("{}: its PEM is broken: {why}", file.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: no certificate in it (-----BEGIN CERTIFICATE-----)", file.display()));
    }
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read_pem(file)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|why| match why {
        pem::Error::NoItemsFound if pem.windows(9).any(|part| part == b"ENCRYPTED") => {
            format!("{}: the private key is encrypted, and nobody is there to type its password", file.display())
        }
        pem::Error::NoItemsFound => format!("{}: no private key in it (-----BEGIN PRIVATE KEY-----)", file.display()),
        why => format!("{}: its PEM is broken: {why}", file.display()),
    })
}

fn read_pem(file: &Path) -> Result<Vec<u8>, String> {
    read_steady(file, CERTIFICATE_FILE_OCTETS_MAX).map_err(|why| format!("{}: cannot be read: {why}", file.display()))
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical()),
        _ => None,
    }
}
