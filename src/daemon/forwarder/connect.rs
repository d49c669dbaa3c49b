//! Making a connection to a server: TCP, TLS, HTTPS, QUIC, each wrapped as hickory-net's exchange.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_net::h2::HttpsClientStream;
use hickory_net::quic::QuicClientStream;
use hickory_net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_net::runtime::{DnsTcpStream, RuntimeProvider, Spawn};
use hickory_net::tcp::{TcpClientStream, TcpStream};
use hickory_net::xfer::{DnsExchange, DnsMultiplexer, DnsRequestSender};
use hickory_net::{BufDnsStreamHandle, NetError};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::raw::Raw;
use super::tls::Tls;
use super::udp::Provider;
use crate::engine::limits::{QUERY_DEADLINE, UPSTREAM_CONNECT, UPSTREAM_CONNECTION_IN_FLIGHT_MAX};

pub type Exchange = DnsExchange<Provider>;

/// Every question has its own, shorter time; this one only clears what was forgotten.
const REQUEST_TIMEOUT: Duration = QUERY_DEADLINE.saturating_add(Duration::from_secs(1));

/// What is spoken on the connection.
#[derive(Clone)]
pub enum Dialect {
    Tcp,
    Tls { tls: Arc<Tls>, name: Arc<str> },
    Https { tls: Arc<Tls>, name: Arc<str>, path: Arc<str> },
    Quic { tls: Arc<Tls>, name: Arc<str> },
}

/// Connects to the first of the addresses that can be connected to.
pub async fn connect(dialect: Dialect, addresses: Arc<[SocketAddr]>, provider: Provider) -> Result<Exchange, String> {
    let mut last = "the server has no address".to_owned();
    let each = UPSTREAM_CONNECT / addresses.len().clamp(1, 4) as u32;
    for &address in addresses.iter().take(4) {
        match tokio::time::timeout(each, connect_to(&dialect, address, &provider)).await {
            Ok(Ok(exchange)) => return Ok(exchange),
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no connection within {} ms", each.as_millis()),
        }
    }
    Err(last)
}

async fn connect_to(dialect: &Dialect, address: SocketAddr, provider: &Provider) -> Result<Exchange, NetError> {
    match dialect {
        Dialect::Tcp => {
            let stream = provider.connect_tcp(address, None, Some(UPSTREAM_CONNECT)).await?;
            Ok(multiplex(stream, address, provider))
        }
        Dialect::Tls { tls, name } => {
            // Not hickory-net's own `tls_exchange`: that one never sends the server's name (SNI), by which a provider
            // tells its customers apart.
            let stream = provider.connect_tcp(address, None, Some(UPSTREAM_CONNECT)).await?;
            let connector = TlsConnector::from(Arc::clone(&tls.dot));
            let stream = connector.connect(server_name(name)?, stream.0).await?;
            Ok(multiplex(AsyncIoTokioAsStd(stream), address, provider))
        }
        Dialect::Https { tls, name, path } => {
            let mut builder = HttpsClientStream::builder(Arc::clone(&tls.doh), provider.clone());
            builder.request_timeout(REQUEST_TIMEOUT);
            builder.exchange(address, Arc::clone(name), Arc::clone(path)).await
        }
        Dialect::Quic { tls, name } => {
            let builder = QuicClientStream::builder().crypto_config((*tls.doq).clone());
            let stream = builder.request_timeout(REQUEST_TIMEOUT).build(address, Arc::clone(name)).await?;
            Ok(run(stream, provider))
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, NetError> {
    let parsed = ServerName::try_from(name.to_owned());
    parsed.map_err(|_| NetError::from(format!("{name:?} cannot be the name of a certificate")))
}

/// Messages with their length in front, told apart by their id.
fn multiplex<S: DnsTcpStream>(stream: S, address: SocketAddr, provider: &Provider) -> Exchange {
    let (handle, outbound) = BufDnsStreamHandle::with_buffer_size(address, UPSTREAM_CONNECTION_IN_FLIGHT_MAX);
    let stream = TcpStream::from_stream_with_receiver(stream, address, outbound);
    let multiplexer = DnsMultiplexer::new(Raw(TcpClientStream::from_stream(stream)), handle)
        .with_timeout(REQUEST_TIMEOUT)
        // The pool keeps the bound; questions taken back count here until the next poll.
        .with_max_active_requests(2 * UPSTREAM_CONNECTION_IN_FLIGHT_MAX);
    run(multiplexer, provider)
}

fn run(stream: impl DnsRequestSender, provider: &Provider) -> Exchange {
    let (exchange, background) = DnsExchange::from_stream(stream);
    provider.create_handle().spawn_bg(background);
    exchange
}
