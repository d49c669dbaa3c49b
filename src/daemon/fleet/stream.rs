//! What both the mirror and the log ask of the server: which data it has, what a stream holds, what a hash holds.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamReadReply};

use super::connection::Trouble;

/// Before the first entry of a stream.
pub(super) const NONE: &str = "0-0";

/// A name of a hash, and what stands there.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// The name that the data was given when it began; `fresh`, when it begins now.
pub(super) async fn name_of_data(
    key: &str,
    fresh: u128,
    connection: &mut MultiplexedConnection,
) -> Result<String, Trouble> {
    let _: redis::Value =
        redis::cmd("SET").arg(key).arg(format!("{fresh:032x}")).arg("NX").query_async(connection).await?;
    Ok(redis::cmd("GET").arg(key).query_async(connection).await?)
}

/// Whether a stream holds an entry.
pub(super) async fn holds(key: &str, id: &str, connection: &mut MultiplexedConnection) -> Result<bool, Trouble> {
    Ok(one("XRANGE", key, (id, id), connection).await?.is_some())
}

pub(super) async fn first(key: &str, connection: &mut MultiplexedConnection) -> Result<Option<String>, Trouble> {
    one("XRANGE", key, ("-", "+"), connection).await
}

/// The last entry of a stream; [`NONE`], when it has none.
pub(super) async fn last(key: &str, connection: &mut MultiplexedConnection) -> Result<String, Trouble> {
    Ok(one("XREVRANGE", key, ("+", "-"), connection).await?.unwrap_or_else(|| NONE.to_owned()))
}

/// The first entry between two.
async fn one(
    command: &str,
    key: &str,
    (from, to): (&str, &str),
    connection: &mut MultiplexedConnection,
) -> Result<Option<String>, Trouble> {
    let entries: Vec<(String, redis::Value)> =
        redis::cmd(command).arg(key).arg(from).arg(to).arg("COUNT").arg(1).query_async(connection).await?;
    Ok(entries.into_iter().next().map(|(id, _)| id))
}

/// The next entries behind `last`, at most `most`; with `wait`, for so long that there is one.
pub(super) async fn read(
    key: &str,
    last: &str,
    most: usize,
    wait: Option<Duration>,
    connection: &mut MultiplexedConnection,
) -> Result<Vec<StreamId>, Trouble> {
    let mut ask = redis::cmd("XREAD");
    ask.arg("COUNT").arg(most);
    if let Some(wait) = wait {
        ask.arg("BLOCK").arg(wait.as_millis() as u64);
    }
    let told: Option<StreamReadReply> = ask.arg("STREAMS").arg(key).arg(last).query_async(connection).await?;
    Ok(told.into_iter().flat_map(|told| told.keys).flat_map(|key| key.ids).collect())
}

/// The next fields of a hash, about `most`, and where it goes on; zero: that was all.
pub(super) async fn scan(
    key: &str,
    cursor: u64,
    most: usize,
    connection: &mut MultiplexedConnection,
) -> Result<(u64, Vec<Field>), Trouble> {
    Ok(redis::cmd("HSCAN").arg(key).arg(cursor).arg("COUNT").arg(most).query_async(connection).await?)
}
