//! Whom we believe: the system's roots and the operator's own, in one rustls configuration for each protocol.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Certificates are verified on each of these; they differ in ALPN only.
pub struct Tls {
    pub dot: Arc<ClientConfig>,
    pub doh: Arc<ClientConfig>,
    pub doq: Arc<ClientConfig>,
}

impl Tls {
    /// `ca` is PEM text of further roots; may be empty. The error is a sentence for the operator.
    pub fn new(ca: &[u8]) -> Result<Tls, String> {
        let base = client_config(ca)?;
        let config = |alpn: &[&[u8]]| {
            let mut config = base.clone();
            // A session of one protocol is not taken up by another.
            config.resumption = Resumption::default();
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(config)
        };
        // RFC 7858 has no ALPN; some servers refuse one they do not know.
        Ok(Tls { dot: config(&[]), doh: config(&[b"h2"]), doq: config(&[b"doq"]) })
    }
}

/// A client that verifies whom it talks to, without ALPN. `ca` is PEM text of further roots; may be empty.
pub fn client_config(ca: &[u8]) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(&certificates(ca)?, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

/// The system's roots with ours beside them; ours alone where the system has none.
fn verifier(
    extra: &[CertificateDer<'static>],
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    use rustls_platform_verifier::Verifier;
    let system = match Verifier::new_with_extra_roots(extra.iter().cloned(), Arc::clone(provider)) {
        Ok(verifier) => return Ok(Arc::new(verifier)),
        Err(error) => error,
    };
    if extra.is_empty() {
        return Err(format!(
            "a server's certificate is to be verified, but this system trusts no authority ({system}): install \
             ca-certificates or name a file of your own"
        ));
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in extra {
        roots.add(certificate.clone()).map_err(|error| format!("the extra certificates: {error}"))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(verifier.map_err(|error| format!("the extra certificates: {error}"))?)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.map_err(|error| format!("the extra certificates are not PEM: {error}"))
}

/// The text of the file of further roots; empty without one. A file without any certificate is an error.
pub fn read_ca_file(path: Option<&Path>) -> Result<Vec<u8>, String> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if certificates(&pem)?.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(pem)
}
