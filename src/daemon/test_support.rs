//! A resolver without listeners, and questions to it, for the daemon's tests.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::daemon::loader::Loader;
use crate::daemon::resolver::{Begun, Pending, Resolver};
use crate::daemon::subscribers::Subscribers;
use crate::daemon::telemetry::Metrics;
use crate::engine::name::Name;
use crate::engine::query::{Origin, RecordType, Transport};

/// What a configuration in a file comes to.
pub fn resolver(config: &str) -> Arc<Resolver> {
    with_subscribers(config).0
}

/// The same, and its table of subscribers.
pub fn with_subscribers(config: &str) -> (Arc<Resolver>, Arc<Subscribers>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lachan.toml");
    std::fs::write(&file, config).unwrap();
    let mut loader = Loader::new(Some(file));
    let loaded = loader.load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
    let subscribers = Arc::clone(loader.subscribers());
    subscribers.in_force(loaded.settings.subscribers.as_ref(), loaded.generation.snapshot.subscribers.as_ref());
    (Arc::new(Resolver::new(loaded.generation, Arc::new(Metrics::new()))), subscribers)
}

/// A query with these flags; `class` as a number.
pub fn message(flags: u16, qname: &str, qtype: RecordType, class: u16) -> Vec<u8> {
    let mut message = vec![0x4c, 0x43];
    message.extend_from_slice(&flags.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(Name::from_text(qname).unwrap().as_wire());
    message.extend_from_slice(&qtype.0.to_be_bytes());
    message.extend_from_slice(&class.to_be_bytes());
    message
}

/// A question for an address, asked by UDP, that needs upstream.
pub fn pending(resolver: &Arc<Resolver>, qname: &str, client: SocketAddr) -> Box<Pending> {
    let message = message(0x0100, qname, RecordType::A, 1);
    match resolver.begin(&message, Origin::new(client, None, Transport::Udp)) {
        Begun::Pending(pending) => pending,
        Begun::Answer(_) | Begun::Silence => panic!("{qname} needs upstream"),
    }
}

/// A server's answer to one question: NOERROR and 192.0.2.1 for four minutes. `query` has nothing behind its OPT.
pub fn answer(query: &[u8]) -> Vec<u8> {
    let end = Name::read(query, 12).unwrap().1 + 4;
    let mut reply = query[..end].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x00\xf0\0\x04\xc0\0\x02\x01");
    reply
}
