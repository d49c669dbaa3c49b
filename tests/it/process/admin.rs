//! The admin listener: its pages, its metrics by their names, and what must never be in either, nor in the log.

use hickory_proto::rr::RecordType as T;

use super::{config, serve};
use crate::harness::client::Ask;

const ZONE: &str = "secret-visit.example. 300 IN A 192.0.2.1\nforcesafesearch.google.com. 300 IN A 192.0.2.2\n";
const LIST: &str = "private-vice.example\nnot a name at all\n";

#[test]
fn pages_say_how_it_goes() {
    let (upstream, served) = serve(ZONE, LIST);
    assert_eq!(served.get("/healthz").trim(), "alive");
    assert_eq!(served.get("/readyz").trim(), "ready");
    let status = served.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["canary_blocked"], true);
    assert_eq!(status["dns"], serde_json::json!([served.v4.to_string(), served.v6.to_string()]));
    assert_eq!(status["lists"][0]["name"], "mine");
    assert_eq!(status["lists"][0]["rules"], 1);
    let shown = status["lists"][0]["skipped_shown"][0].as_str().unwrap();
    assert!(shown.starts_with("2:") && shown.contains("not a name at all"), "{shown}");
    assert!(status["upstreams"][0]["server"].as_str().unwrap().contains(&upstream.v4.to_string()), "{status}");
    assert_eq!(status["last_reload"]["result"], "ok");
}

#[test]
fn metrics_have_the_names_and_labels_that_dashboards_know() {
    let (_upstream, served) = serve(ZONE, LIST);
    for server in [served.v4, served.v6] {
        for tcp in [false, true] {
            for name in ["secret-visit.example", "private-vice.example", "www.google.com"] {
                Ask { tcp, ..Ask::new(name, T::A) }.send(server);
            }
        }
    }
    served.reload("ok");
    let page = served.get("/metrics");
    for part in [
        "lachan_queries_total{family=\"v6\",qtype=\"A\",transport=\"tcp\"} 3",
        "lachan_queries_total{family=\"v4\",qtype=\"A\",transport=\"udp\"} 3",
        "lachan_responses_total{outcome=\"blocked\",rcode=\"NXDOMAIN\"} 4",
        "lachan_blocked_total{category=\"malware\",profile=\"default\",rung=\"security\"} 4",
        "lachan_safe_search_total{engine=\"google\",qtype=\"A\"} 4",
        "lachan_query_duration_seconds_count{path=",
        "lachan_list_rules{list=\"mine\"} 1",
        "lachan_list_skipped_total{list=\"mine\",reason=",
        "lachan_list_last_success_timestamp_seconds{list=\"mine\"}",
        "lachan_reload_total{result=\"ok\"}",
        "lachan_snapshot_generation ",
        "lachan_cache_",
        "lachan_upstream_",
        "lachan_build_info{",
    ] {
        assert!(page.contains(part), "no {part} in:\n{page}");
    }
    assert_eq!(served.metric_sum("lachan_queries_total"), 12);
    assert_eq!(served.metric_sum("lachan_responses_total"), 12);
}

#[test]
fn names_and_clients_are_in_no_metric_and_no_log() {
    let (_upstream, served) = serve(ZONE, LIST);
    for server in [served.v4, served.v6] {
        for name in ["secret-visit.example", "private-vice.example", "lost-love.example"] {
            for qtype in [T::A, T::MX, T::Unknown(65280)] {
                Ask { tcp: qtype == T::MX, ..Ask::new(name, qtype) }.send(server);
            }
        }
    }
    served.write("mine.txt", "<html>\n");
    served.reload("partial");
    let (page, log) = (served.get("/metrics"), served.log());
    assert!(log.contains("mine"), "the log works, it tells of the broken list: {log}");
    for word in ["secret-visit", "private-vice", "lost-love"] {
        assert!(!page.contains(word), "{word} is in the metrics");
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
    }
    assert!(!log.contains("hickory_server"), "{log}");
}

#[test]
fn what_needs_a_restart_says_so() {
    let (upstream, served) = serve(ZONE, LIST);
    served.write("lachan.toml", &config(&upstream).replace("\"127.0.0.1:0\", ", ""));
    let reload = served.reload("ok");
    let needs = reload["needs_restart"].to_string();
    assert!(needs.contains("[listen] dns") && needs.contains("restart"), "{reload}");
    assert_eq!(Ask::new("private-vice.example", T::A).send(served.v4).rcode(), 3, "the old address goes on");
}
