//! A connection to the server that a fleet shares: every request has its time, so that a server that hangs is one that is gone.

use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

/// Chosen: a server in the same network answers in a millisecond.
const CONNECT: Duration = Duration::from_secs(2);
/// More than a read that waits ([`WAIT`]) takes.
const RESPONSE: Duration = Duration::from_secs(3);
/// How long a read waits for something new.
pub(super) const WAIT: Duration = Duration::from_secs(1);

/// Why the server was of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(String);

impl From<redis::RedisError> for Trouble {
    /// The kind and what the server says; never the address, which may hold a password.
    fn from(why: redis::RedisError) -> Trouble {
        Trouble(match (why.code(), why.detail()) {
            (Some(code), Some(detail)) => format!("{code}: {detail}"),
            _ => why.category().to_owned(),
        })
    }
}

impl Trouble {
    pub(super) fn new(why: impl Into<String>) -> Trouble {
        Trouble(why.into())
    }
}

/// A connection for one task. `url` is `redis://[:PASSWORD@]HOST[:PORT][/DB]`.
pub async fn connect(url: &[u8]) -> Result<MultiplexedConnection, Trouble> {
    let url = std::str::from_utf8(url).map_err(|_| Trouble::new("its address is no text"))?;
    let client = redis::Client::open(url)?;
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(RESPONSE));
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}
