//! Who a client is to us, and why it has the profile that it has.

use super::{ConfiguredTold, Explanation};
use crate::engine::client::{Client, unmap};
use crate::engine::query::Origin;
use crate::engine::snapshot::Snapshot;
use crate::engine::subscribers::Standing;

/// Tells which `[client.*]` the client is and what gives it its profile. `is_asked`: somebody asked for the profile by name.
pub fn tell_client(snapshot: &Snapshot, origin: &Origin, client: Client, is_asked: bool, told: &mut Explanation) {
    let known = client.configured.and_then(|at| snapshot.clients_known.get(at as usize));
    told.configured = known.map(|known| {
        let by_identity = origin.identity.is_some_and(|token| snapshot.clients.knows(token));
        let source = unmap(origin.source.ip());
        let over = known.networks.iter().filter(|net| net.contains(&source));
        let prefix = over.max_by_key(|net| net.prefix_len()).filter(|_| !by_identity).map(ToString::to_string);
        let by = match &prefix {
            _ if by_identity => "identity",
            Some(_) => "prefix",
            None if origin.local.is_some() => "listener",
            None => "name",
        };
        let (file, line) = known.place.clone().unzip();
        ConfiguredTold { name: known.name.clone(), by, prefix, file, line }
    });
    told.profile_from = match &told.configured {
        _ if is_asked => "asked",
        _ if client.standing == Standing::Known => "subscriber",
        Some(configured) => configured.by,
        None => "default",
    };
}
