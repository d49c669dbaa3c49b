//! What the resolver says at once, and that each query is counted once however it ends. Nothing here meets a network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::daemon::reload::Loader;
use crate::daemon::test_support::{self, message};
use crate::engine::answer::{Answer, Section};
use crate::engine::cache::Key;
use crate::engine::query::{RecordType, Transport};

const CONFIG: &str = r#"
node_name = "n1"

[listen]
dns = ["127.0.0.1:0"]
admin = "off"

[access]
allow = ["127.0.0.0/8", "192.0.2.0/24"]
strangers = "STRANGERS"

[[upstream]]
zones = ["example.com"]
servers = ["127.0.0.1:9"]

[operator]
deny = ["blocked.example.com"]

[profile.dropping]
inherit = "default"
block_response = "drop"

[client.dropped]
networks = ["192.0.2.77/32"]
profile = "dropping"
"#;

fn resolver(strangers: &str) -> Arc<Resolver> {
    test_support::resolver(&CONFIG.replace("STRANGERS", strangers))
}

fn from(source: &str) -> Origin {
    Origin::new(SocketAddr::new(source.parse().unwrap(), 4_000), None, Transport::Udp)
}

/// The code, `silence` or `pending` (given up at once).
fn begun(resolver: &Arc<Resolver>, message: &[u8], source: &str) -> String {
    match resolver.begin(message, from(source)) {
        Begun::Silence => "silence".into(),
        Begun::Answer(bytes) => {
            assert_eq!(bytes[..2], message[..2]);
            Rcode(u16::from(bytes[3] & 0xf)).as_str().into()
        }
        Begun::Pending(pending) => {
            pending.shed();
            "pending".into()
        }
    }
}

fn outcomes(resolver: &Resolver) -> Vec<(&'static str, u64)> {
    resolver.metrics.outcomes().into_iter().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn each_message_has_one_end_and_is_counted_once() {
    const RD: u16 = 0x0100;
    let (a, txt, any) = (RecordType::A, RecordType::TXT, RecordType::ANY);
    for (what, message, source, expected, outcome) in [
        ("forwarded", message(RD, "www.example.com", a, 1), "127.0.0.1", "pending", Some("dropped")),
        ("blocked", message(RD, "blocked.example.com", a, 1), "127.0.0.1", "NXDOMAIN", Some("blocked")),
        // I14: neither RD=0 nor another type is a way round.
        ("blocked, RD=0", message(0, "blocked.example.com", a, 1), "127.0.0.1", "NXDOMAIN", Some("blocked")),
        ("blocked, ANY", message(RD, "blocked.example.com", any, 1), "127.0.0.1", "NXDOMAIN", Some("blocked")),
        ("dropped by its profile", message(RD, "blocked.example.com", a, 1), "192.0.2.77", "silence", Some("blocked")),
        ("local", message(RD, "localhost", a, 1), "127.0.0.1", "NOERROR", Some("local")),
        ("local, RD=0", message(0, "localhost", a, 1), "127.0.0.1", "NOERROR", Some("local")),
        ("rewritten, RD=0", message(0, "www.google.com", a, 1), "127.0.0.1", "pending", Some("dropped")),
        ("RD=0", message(0, "www.example.com", a, 1), "127.0.0.1", "REFUSED", Some("refused")),
        ("ANY", message(RD, "www.example.com", any, 1), "127.0.0.1", "NOERROR", Some("local")),
        ("no server for it", message(RD, "www.example.org", a, 1), "127.0.0.1", "SERVFAIL", Some("failed")),
        ("transfer", message(RD, "example.com", RecordType::AXFR, 1), "127.0.0.1", "REFUSED", Some("refused")),
        ("notify", message(0x2000, "example.com", a, 1), "127.0.0.1", "NOTIMP", Some("refused")),
        ("no question", message(RD, "example.com", a, 1)[..12].to_vec(), "127.0.0.1", "FORMERR", Some("refused")),
        ("version", message(RD, "version.bind", txt, 3), "127.0.0.1", "NOERROR", Some("local")),
        ("id", message(RD, "id.server", txt, 3), "127.0.0.1", "NOERROR", Some("local")),
        // Only this machine is told.
        ("version, from afar", message(RD, "version.bind", txt, 3), "192.0.2.1", "REFUSED", Some("refused")),
        ("class HS", message(RD, "www.example.com", a, 4), "127.0.0.1", "REFUSED", Some("refused")),
        ("stranger", message(RD, "www.example.com", a, 1), "198.51.100.1", "REFUSED", Some("stranger")),
        (
            "stranger's nonsense",
            message(RD, "x.example", a, 1)[..13].to_vec(),
            "198.51.100.1",
            "REFUSED",
            Some("stranger"),
        ),
        // Packets, not queries.
        ("response", message(0x8180, "www.example.com", a, 1), "127.0.0.1", "silence", None),
        ("stranger's response", message(0x8180, "www.example.com", a, 1), "198.51.100.1", "silence", None),
        ("runt", vec![0x4c, 0x43, 1], "127.0.0.1", "silence", None),
    ] {
        let resolver = resolver("refuse");
        assert_eq!(begun(&resolver, &message, source), expected, "{what}");
        assert_eq!(outcomes(&resolver), outcome.map(|o| (o, 1)).into_iter().collect::<Vec<_>>(), "{what}");
        let ignored = resolver.metrics.packets_ignored.with_label_values(&["udp"]).get();
        assert_eq!(ignored, u64::from(outcome.is_none()), "{what}");
    }
}

#[tokio::test]
async fn strangers_may_be_told_nothing() {
    let resolver = resolver("drop");
    let message = message(0x0100, "www.example.com", RecordType::A, 1);
    assert_eq!(begun(&resolver, &message, "198.51.100.1"), "silence");
    assert_eq!(outcomes(&resolver), [("stranger", 1)]);
}

#[tokio::test]
async fn a_query_that_nobody_waits_for_any_more_is_counted_too() {
    let resolver = resolver("refuse");
    let Begun::Pending(pending) =
        resolver.begin(&message(0x0100, "www.example.com", RecordType::A, 1), from("127.0.0.1"))
    else {
        panic!("it needs upstream")
    };
    drop(pending);
    assert_eq!(outcomes(&resolver), [("abandoned", 1)]);
}

#[tokio::test]
async fn a_cached_alias_of_a_search_engine_waits_for_its_safe_host_and_is_counted_as_rewritten() {
    let resolver = resolver("refuse");
    let name = |text| Name::from_text(text).unwrap();
    let question = Question { qname: name("search.example.com"), qtype: RecordType::A, qclass: CLASS_IN };
    let mut alias = crate::engine::answer::AnswerBuilder::new(Rcode::NOERROR);
    let (from_name, to_name) = (question.qname.as_wire(), name("www.google.com"));
    alias.push(Section::Answer, from_name, RecordType::CNAME, 300, to_name.as_wire());
    alias.push(Section::Answer, to_name.as_wire(), RecordType::A, 300, &[192, 0, 2, 66]);
    resolver.cache.put(key_of(&resolver, "search.example.com"), Arc::new(alias.finish()), false, Duration::ZERO);

    let message = message(0x0100, "search.example.com", RecordType::A, 1);
    let Begun::Pending(pending) = resolver.begin(&message, from("127.0.0.1")) else {
        panic!("its target is not known")
    };
    let told = Answer::from_wire(&resolver.finish(pending).await.unwrap(), &question).unwrap();
    // Nobody can be asked for the target here, so the table's own addresses stand in.
    let records: Vec<_> = told.section(Section::Answer).map(|r| (r.rtype, r.rdata.to_vec())).collect();
    let safe = name("forcesafesearch.google.com").as_wire().to_vec();
    assert_eq!(records, [(RecordType::CNAME, safe), (RecordType::A, vec![216, 239, 38, 120])]);
    assert_eq!(outcomes(&resolver), [("rewritten", 1)]);
    assert_eq!(resolver.metrics.cache_hits.get(), 1);
}

/// The key of a question for an address.
fn key_of(resolver: &Resolver, qname: &str) -> Key {
    let question = Question { qname: Name::from_text(qname).unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
    let routes = Arc::clone(&resolver.cell.load().snapshot.routes);
    Key::new(&question, false, false, routes.key(routes.group_of(&question).unwrap()))
}

/// A school's own server answers for its zone, and asks us about everything else, as any client does.
#[tokio::test]
async fn only_a_server_that_is_asked_the_same_is_a_loop() {
    let zones = "[[upstream]]\nservers = [\"192.0.2.1\"]\n[[upstream]]\nzones = [\"truong.local\"]\nservers = [\"192.0.2.2\"]\n";
    let resolver = test_support::resolver(&format!("{}{zones}", CONFIG.replace("STRANGERS", "refuse")));
    for (qname, source, expected) in [
        ("www.example.org", "192.0.2.1", "SERVFAIL"),
        ("www.example.org", "192.0.2.2", "pending"),
        ("www.example.org", "192.0.2.3", "pending"),
        ("www.truong.local", "192.0.2.1", "pending"),
        ("www.truong.local", "192.0.2.2", "SERVFAIL"),
    ] {
        let crate::daemon::inflight::Join::Lead(ticket) = resolver.join_slowly(&key_of(&resolver, qname)) else {
            panic!("nobody asks it")
        };
        let asked = begun(&resolver, &message(0x0100, qname, RecordType::A, 1), source);
        assert_eq!(asked, expected, "{qname} from {source}");
        drop(ticket);
        assert_eq!(begun(&resolver, &message(0x0100, qname, RecordType::A, 1), source), "pending", "nobody is asked");
    }
}

/// RFC 9520 §3.2: what is remembered of a failure is how the exchange ended, not how many waited for it, or how shortly.
#[tokio::test(start_paused = true)]
async fn whose_patience_ends_says_nothing_of_the_exchange() {
    let resolver = resolver("refuse");
    let (generation, key) = (resolver.cell.load_full(), key_of(&resolver, "slow.example.com"));
    let question =
        Question { qname: Name::from_text("slow.example.com").unwrap(), qtype: RecordType::A, qclass: CLASS_IN };
    let crate::daemon::inflight::Join::Lead(ticket) = resolver.join_slowly(&key) else { panic!("nobody asks it") };
    let permit = policy::Permit::internal(policy::Purpose::Probe);
    for _ in 0..8 {
        let limit = Duration::from_millis(500);
        let found = resolver.find_internal(&generation, &permit, &question, limit).await;
        assert!(matches!(found, Err(NotFound::TimedOut)));
        assert_eq!(resolver.cached(&generation, &question).unwrap().has, "nothing");
    }
    drop(ticket);
}

#[tokio::test]
async fn a_refused_message_gets_its_opt_back() {
    let resolver = resolver("refuse");
    for (flags, questions, rcode) in [(0x2100, 1, Rcode::NOTIMP), (0x0100, 0, Rcode::FORMERR)] {
        let mut message = message(flags, "example.com", RecordType::A, 1);
        message.truncate(if questions == 0 { 12 } else { message.len() });
        (message[5], message[11]) = (questions, 1);
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let Begun::Answer(told) = resolver.begin(&message, from("127.0.0.1")) else { panic!("{rcode:?}") };
        assert_eq!((told.len(), told[11], told[3] & 0xf), (12 + 11, 1, rcode.0 as u8), "the header and the OPT");
        assert_eq!(told[12..15], [0, 0, 41]);
    }
}

#[tokio::test]
async fn the_canary_proves_that_filtering_works() {
    assert!(resolver("refuse").canary_is_blocked());
    // Whoever its own machine is to the table of subscribers: it asks as they do.
    let subscribers =
        format!("{CONFIG}[subscribers]\ninterim_interval = \"5 min\"\n[profile.bare]\nsecurity = false\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lachan.toml");
    std::fs::write(&file, subscribers.replace("STRANGERS", "refuse")).unwrap();
    let mut loader = Loader::new(Some(file));
    let loaded = loader.load(None, None).unwrap_or_else(|why| panic!("{why:?}"));
    let subscribers = Arc::clone(loader.subscribers());
    let line = crate::daemon::subscribers::line::Line::parse(br#"{"prefix":"127.0.0.1","profile":"bare"}"#).unwrap();
    let with = crate::daemon::subscribers::line::Reading { table: subscribers.table(), key: None };
    subscribers.apply(crate::daemon::subscribers::Feed::Api, &line.changes(&with).unwrap()).unwrap();
    let resolver = Resolver::new(loaded.generation, Arc::new(Metrics::new()));
    assert!(resolver.canary_is_blocked());
}
