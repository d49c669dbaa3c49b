//! How clients that ask without encryption find our encrypted service: `resolver.arpa` over the wire, and the cases of others.

use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{RData, RecordType};
use serde_json::{Value, json};

use crate::harness::client::{Ask, show};
use crate::harness::encrypted::{Authority, NAME};
use crate::harness::resolver::{Files, InProcess, config_path, with_upstream};
use crate::harness::upstream::Upstream;
use crate::programs::free_port;
use crate::shared;

/// A resolver with these transports on, each on a port that was free a moment ago, and what `[tls]` says more.
fn resolver(transports: &[&str], tls: &str, upstream: &Upstream) -> (InProcess, Vec<u16>) {
    let ports: Vec<u16> = transports.iter().map(|_| free_port().port()).collect();
    let authority = Authority::new();
    let mut config = with_upstream("", upstream.v4);
    let lines = transports.iter().zip(&ports).map(|(key, port)| format!("{key} = [\"127.0.0.1:{port}\"]\n"));
    config = config.replace("[listen]\n", &format!("[listen]\n{}", lines.collect::<String>()));
    config +=
        &format!("[tls]\ncertificate_file = \"chain.pem\"\nprivate_key_file = \"key.pem\"\nname = \"{NAME}\"\n{tls}");
    let files = [("chain.pem", authority.certificate_pem.as_str()), ("key.pem", authority.key_pem.as_str())];
    (InProcess::start(&Files { config, files: &files }), ports)
}

/// What each SVCB record says: target, protocols, port, path.
fn services(resolver: &InProcess, qname: &str) -> Vec<Value> {
    let told = Ask::new(qname, RecordType::SVCB).send(resolver.v4);
    assert_eq!(told.rcode(), 0);
    let service = |data: &RData| {
        let RData::SVCB(svcb) = data else { panic!("{data:?}") };
        let mut said = json!({ "target": svcb.target_name.to_string(), "priority": svcb.svc_priority });
        for (_, value) in &svcb.svc_params {
            match value {
                SvcParamValue::Alpn(alpn) => said["alpn"] = json!(alpn.0),
                SvcParamValue::Port(port) => said["port"] = json!(port),
                SvcParamValue::Unknown(path) => said["dohpath"] = json!(String::from_utf8_lossy(&path.0)),
                _ => {}
            }
        }
        said
    };
    told.message.answers.iter().map(|record| service(&record.data)).collect()
}

#[test]
fn what_is_on_is_told_with_its_addresses_and_nothing_else_is_below_resolver_arpa() {
    let upstream = Upstream::start("");
    let tls = "addresses = [\"192.0.2.53\", \"2001:db8::53\"]\ninfo_url = \"https://dns.example.vn/\"\n";
    let (resolver, ports) = resolver(&["dot", "doh"], tls, &upstream);
    let (dot, doh) = (ports[0], ports[1]);
    let target = format!("{NAME}.");
    assert_eq!(
        services(&resolver, "_dns.resolver.arpa"),
        [
            json!({ "target": target, "priority": 1, "alpn": ["dot"], "port": dot }),
            json!({ "target": target, "priority": 2, "alpn": ["h2", "h3"], "port": doh, "dohpath": "/dns-query{?dns}" }),
        ]
    );
    let told = Ask::new("_dns.resolver.arpa", RecordType::SVCB).send(resolver.v4);
    let beside: Vec<String> = told.message.additionals.iter().map(show).collect();
    assert_eq!(beside, [format!("{NAME} A 192.0.2.53"), format!("{NAME} AAAA 2001:db8::53")]);
    for (qname, qtype) in [
        ("_dns.resolver.arpa", RecordType::A),
        ("_dns.resolver.arpa", RecordType::HTTPS),
        ("resolver.arpa", RecordType::SVCB),
        ("www.resolver.arpa", RecordType::A),
        ("_dns.www.resolver.arpa", RecordType::SVCB),
    ] {
        let told = Ask::new(qname, qtype).send(resolver.v4);
        assert_eq!((told.rcode(), told.answers()), (0, vec![]), "{qname} {qtype}");
        assert_eq!(told.soa().map(|soa| soa.0), Some("resolver.arpa".to_owned()), "{qname} {qtype}");
    }
    let about = Ask::new("resolver.arpa", RecordType::Unknown(261)).send(resolver.v4);
    assert!(about.bytes.windows(12).any(|part| part == b"exterr=15-18"), "{about:?}");
    assert!(about.bytes.windows(31).any(|part| part == b"infourl=https://dns.example.vn/"), "{about:?}");
    assert!(!about.bytes.windows(8).any(|part| part == b"qnamemin"));
    let own = Ask::new(NAME, RecordType::A).send(resolver.v4);
    assert_eq!(own.answers(), [format!("{NAME} A 192.0.2.53")]);
    assert_eq!(upstream.log().len(), 0, "nobody upstream is asked for any of it");
}

#[test]
fn who_is_not_told_gets_no_data() {
    let upstream = Upstream::start("");
    for ddr in ["ddr = \"off\"\n", "ddr = { share = \"0 %\" }\n"] {
        let (resolver, _) = resolver(&["dot"], ddr, &upstream);
        assert_eq!(services(&resolver, "_dns.resolver.arpa"), [] as [Value; 0], "{ddr}");
        assert_eq!(upstream.log().len(), 0);
    }
}

#[test]
fn a_listener_that_waits_for_a_restart_is_not_told_of_yet() {
    let upstream = Upstream::start("");
    let (resolver, _) = resolver(&["dot"], "", &upstream);
    let path = config_path(resolver.directory.path());
    let config = std::fs::read_to_string(&path).unwrap();
    resolver.write("lachan.toml", &config.replace("[listen]\n", "[listen]\ndoq = [\"127.0.0.1:8853\"]\n"));
    let status = resolver.reload();
    assert_eq!((status.result, status.needs_restart.len()), ("ok", 1), "{status:?}");
    let told = services(&resolver, "_dns.resolver.arpa");
    assert_eq!(told.iter().map(|said| &said["alpn"]).collect::<Vec<_>>(), [&json!(["dot"])]);
}

#[test]
fn the_cases_of_others_hold() {
    let Some(suite) = shared::suite("ddr.jsonl") else { return };
    let upstream = Upstream::start("");
    for line in suite.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (id, config, query) = (&case["id"], &case["config"], &case["query"]);
        let on: Vec<&str> = ["dot", "doh", "doq"].into_iter().filter(|key| config.get(*key).is_some()).collect();
        // With nothing encrypted there is no `[tls]` either.
        if on.is_empty() {
            continue;
        }
        let tls = if config["ddr"] == json!(false) { "ddr = \"off\"\n" } else { "" };
        let (resolver, ports) = resolver(&on, tls, &upstream);
        if query["qtype"] != "SVCB" || case["expect"].get("svcb").is_none() {
            let qtype = if query["qtype"] == "SVCB" { RecordType::SVCB } else { RecordType::A };
            let told = Ask::new("_dns.resolver.arpa", qtype).send(resolver.v4);
            // One passes it on; RFC 9462 §6.4 has it answered here.
            assert_eq!((told.rcode(), told.answers()), (0, vec![]), "{id}");
            continue;
        }
        let told = services(&resolver, "_dns.resolver.arpa");
        let expected = case["expect"]["svcb"].as_array().unwrap();
        assert_eq!(told.len(), expected.len(), "{id}");
        for want in expected {
            // Their ports are fixed, ours are free ones in their places; ours speaks HTTP/3 too, and says what it likes best.
            let has = |said: &&Value| said["alpn"].as_array().is_some_and(|alpn| alpn.contains(&want["alpn"]));
            let said = told.iter().find(has).unwrap_or_else(|| panic!("{id}: {told:?}"));
            assert_eq!(said.get("dohpath"), want.get("dohpath"), "{id}");
            assert!(ports.iter().any(|port| said["port"] == json!(port)), "{id}: {said}");
        }
    }
}
