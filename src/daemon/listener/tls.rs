//! TLS for our listeners: one certificate, one configuration for each protocol. RFC 7858, RFC 8310, RFC 9250.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache};

use crate::daemon::certificates::Certificates;
use crate::engine::limits::QUIC_SESSIONS_MAX;

/// What a client and we agree on by ALPN.
pub(super) const H2: &[u8] = b"h2";
pub(super) const H3: &[u8] = b"h3";
pub(super) const DOQ: &[u8] = b"doq";

/// Configurations that differ in ALPN and versions alone.
pub(super) struct Tls {
    pub dot: Arc<ServerConfig>,
    pub doh: Arc<ServerConfig>,
    /// DoQ alone, and HTTP/3.
    pub doq: Arc<ServerConfig>,
    pub h3: Arc<ServerConfig>,
}

/// Sessions are kept here, not by the client.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

impl Tls {
    pub fn new(certificates: &Arc<Certificates>) -> Result<Tls, String> {
        let ticketer = ring::Ticketer::new().map_err(|why| format!("TLS cannot be set up: {why}"))?;
        let config = |versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&[u8]]| {
            let resolver: Arc<Certificates> = Arc::clone(certificates);
            let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(versions)
                .map_err(|why| format!("TLS cannot be set up: {why}"))?
                .with_no_client_auth()
                .with_cert_resolver(resolver);
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            // RFC 8310 §11 and RFC 9250 §5.5: a session is taken up from what the client keeps; we keep nothing of it. Its key is
            // replaced every six hours, and gone after twelve.
            config.ticketer = Arc::clone(&ticketer);
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 1;
            Ok::<_, String>(config)
        };
        let both = [&rustls::version::TLS13, &rustls::version::TLS12];
        let newest = [&rustls::version::TLS13];
        let early = |mut config: ServerConfig| {
            // QUIC knows this value and zero (RFC 9001 §4.6.1). rustls takes early data only with a session of its own keeping,
            // which is good once (RFC 8446 §8.1).
            config.max_early_data_size = u32::MAX;
            config.ticketer = Arc::new(NoTickets);
            config.session_storage = ServerSessionMemoryCache::new(QUIC_SESSIONS_MAX);
            config
        };
        Ok(Tls {
            dot: Arc::new(config(&both, &[b"dot"])?),
            doh: Arc::new(config(&both, &[H2, b"http/1.1"])?),
            doq: Arc::new(early(config(&newest, &[DOQ])?)),
            h3: Arc::new(config(&newest, &[H3])?),
        })
    }
}
