//! DNS over HTTPS: RFC 8484 by HTTP/1.1, HTTP/2 and HTTP/3.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hickory_proto::rr::RecordType;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use lachan::engine::limits::{DOH_QUERY_OCTETS_MAX, TCP_PIPELINE_MAX};

use super::{BLOCKED, Lab, question};
use crate::harness::client::Ask;
use crate::harness::secure::{
    DNS_MESSAGE, Http1, Http2, Http3, NAME, TLS13, ask_http3, get, http1, http2, http3, in_form_of_http1, post, quic,
    talk, tls, whole,
};

/// A client by each version.
pub struct Versions {
    one: Http1,
    two: Http2,
    three: Http3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
    Three,
}

pub const VERSIONS: [Version; 3] = [Version::One, Version::Two, Version::Three];

impl Versions {
    pub async fn connect(lab: &Lab) -> Versions {
        let quic = quic(lab.doh(), lab.certificate.trusted_by(TLS13, &["h3"])).await;
        Versions {
            one: http1(lab.doh(), &lab.certificate).await,
            two: http2(lab.doh(), &lab.certificate).await,
            three: http3(quic).await,
        }
    }

    pub async fn ask(&mut self, version: Version, request: Request<Full<Bytes>>) -> Response<Bytes> {
        match version {
            Version::One => {
                self.one.ready().await.unwrap();
                whole(self.one.send_request(in_form_of_http1(request)).await.unwrap()).await
            }
            Version::Two => whole(self.two.send_request(request).await.unwrap()).await,
            Version::Three => ask_http3(&mut self.three, request).await,
        }
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
    request = request.uri(format!("https://{NAME}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
}

#[test]
fn every_request_gets_the_status_that_is_its() {
    let lab = Lab::start();
    let query = question(BLOCKED, 0);
    let text = URL_SAFE_NO_PAD.encode(&query);
    let path = format!("/dns-query?dns={text}");
    let long = format!("/dns-query?dns={}", "A".repeat(DOH_QUERY_OCTETS_MAX * 4 / 3 + 8));
    let message = &[("content-type", DNS_MESSAGE)][..];
    let mut answer = query.clone();
    answer[2] |= 0x80;
    let of_an_answer = format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(&answer));
    let large = vec![0; DOH_QUERY_OCTETS_MAX + 1];
    talk(async {
        let mut clients = Versions::connect(&lab).await;
        for (method, path, headers, body, status) in [
            ("GET", path.as_str(), &[][..], &[][..], 200),
            ("HEAD", &path, &[], &[], 200),
            ("POST", "/dns-query", message, &query, 200),
            ("POST", "/dns-query?whatever=1", message, &query, 200),
            ("GET", "/dns-query", &[], &[], 400),
            ("GET", "/dns-query?dns=_~", &[], &[], 400),
            ("GET", &of_an_answer, &[], &[], 400),
            ("POST", "/dns-query", message, &[], 400),
            ("POST", "/dns-query", message, &[0; 11], 400),
            ("GET", "/", &[], &[], 404),
            ("POST", "/dns", message, &query, 404),
            ("PUT", "/dns-query", message, &query, 405),
            ("DELETE", &path, &[], &[], 405),
            ("GET", &path, &[("accept", "application/dns-json")], &[], 406),
            ("POST", "/dns-query", message, &large, 413),
            ("GET", &long, &[], &[], 414),
            ("POST", "/dns-query", &[("content-type", "application/json")], &query, 415),
            ("POST", "/dns-query", &[], &query, 415),
        ] {
            for version in VERSIONS {
                let what = format!("{method} {} {version:?}", &path[..path.len().min(40)]);
                let told = clients.ask(version, request(method, path, headers, body)).await;
                assert_eq!(told.status().as_u16(), status, "{what}");
                let header = |name: &str| told.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
                let kind = if status == 200 { DNS_MESSAGE } else { "text/plain; charset=utf-8" };
                assert_eq!(header("content-type").as_deref(), Some(kind), "{what}");
                assert_eq!(header("allow").is_some(), status == 405, "{what}");
                assert_eq!(told.body().is_empty(), method == "HEAD", "{what}");
                assert!(header("content-length").is_some_and(|length| length != "0"), "{what}");
                if status != 200 {
                    assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{what}");
                    // One that was refused in the middle of its body may cost HTTP/1.1 the connection.
                    if version == Version::One && !body.is_empty() {
                        clients.one = http1(lab.doh(), &lab.certificate).await;
                    }
                }
            }
        }
    });
}

#[test]
fn an_answer_is_kept_by_its_client_alone_and_no_longer_than_its_smallest_ttl() {
    let lab = Lab::start();
    lab.upstream.change(
        "example. 60 IN SOA ns.example. host.example. 1 3600 600 86400 40\nwww.example. 300 IN CNAME host.example.\n\
         host.example. 120 IN A 192.0.2.1\nbroken.example. 300 IN A 192.0.2.1\n;! broken.example. rcode=SERVFAIL\n",
    );
    talk(async {
        let mut clients = Versions::connect(&lab).await;
        for (name, rcode, ages) in [
            ("www.example", 0, 110..=120),
            // RFC 2308 §5: the SOA's minimum, when it is less than the SOA's own TTL.
            ("nothing.example", 3, 30..=40),
            (BLOCKED, 3, 10..=10),
            // RFC 8484 §4.2.1: what DNS says of a failure is no failure of HTTP.
            ("broken.example", 2, 0..=0),
        ] {
            for version in VERSIONS {
                let told = clients.ask(version, get(&question(name, 0))).await;
                assert_eq!((told.status(), told.body()[3] & 15), (StatusCode::OK, rcode), "{name} {version:?}");
                let control = told.headers()["cache-control"].to_str().unwrap();
                let age: u32 = control.strip_prefix("private, max-age=").unwrap().parse().unwrap();
                assert!(ages.contains(&age), "{name} {version:?}: {control}");
            }
        }
    });
}

#[test]
fn requests_of_one_connection_do_not_wait_for_each_other() {
    let lab = Lab::start();
    talk(async {
        for version in [Version::Two, Version::Three] {
            let name = if version == Version::Two { "held.example" } else { "held-too.example" };
            let clients = Versions::connect(&lab).await;
            let ask = |name: &str| {
                let (mut two, mut three, request) =
                    (clients.two.clone(), clients.three.clone(), post(&question(name, 0)));
                async move {
                    match version {
                        Version::Three => ask_http3(&mut three, request).await,
                        _ => whole(two.send_request(request).await.unwrap()).await,
                    }
                }
            };
            let slow = tokio::spawn(ask(name));
            crate::harness::wait_for("the slow one to be asked", || {
                (lab.upstream.count(name, RecordType::A) > 0).then_some(())
            });
            for _ in 0..20 {
                assert_eq!(ask(BLOCKED).await.body()[3] & 15, 3);
            }
            assert!(!slow.is_finished(), "{version:?}");
            lab.upstream.let_go(name);
            assert_eq!(slow.await.unwrap().body()[3] & 15, 0);
        }
    });
}

#[test]
fn a_connection_has_so_many_requests_at_once_and_its_heads_so_many_octets() {
    let lab = Lab::start();
    talk(async {
        let stream = tls(lab.doh(), lab.certificate.trusted(&["h2"])).await.unwrap();
        let (mut send, mut connection) = h2::client::handshake(stream).await.unwrap();
        let mut ping_pong = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        // What the server allows has come when it answers a ping.
        ping_pong.ping(h2::Ping::opaque()).await.unwrap();
        assert_eq!(send.current_max_send_streams(), TCP_PIPELINE_MAX);
        let mut large = get(&question(BLOCKED, 0)).map(drop);
        for i in 0..257 {
            let name = hyper::header::HeaderName::try_from(format!("x-{i}")).unwrap();
            large.headers_mut().insert(name, "a".repeat(100).parse().unwrap());
        }
        std::future::poll_fn(|cx| send.poll_ready(cx)).await.unwrap();
        let (response, _) = send.send_request(large, true).unwrap();
        if let Ok(response) = response.await {
            assert_eq!(response.status().as_u16(), 431);
        }
        let mut one = http1(lab.doh(), &lab.certificate).await;
        let mut large = in_form_of_http1(get(&question(BLOCKED, 0)));
        for i in 0..257 {
            let name = hyper::header::HeaderName::try_from(format!("x-{i}")).unwrap();
            large.headers_mut().insert(name, "a".parse().unwrap());
        }
        one.ready().await.unwrap();
        assert_eq!(one.send_request(large).await.unwrap().status().as_u16(), 431);
    });
}

#[test]
fn http_2_is_chosen_of_those_that_a_client_offers_and_nothing_that_is_none() {
    let lab = Lab::start();
    talk(async {
        for (offered, chosen) in [
            (&["h2"][..], Ok(Some("h2"))),
            (&["http/1.1", "h2"], Ok(Some("h2"))),
            (&["http/1.1"], Ok(Some("http/1.1"))),
            (&[], Ok(None)),
            (&["bogus-alpn"], Err(())),
        ] {
            let told = tls(lab.doh(), lab.certificate.trusted(offered)).await;
            let chosen_here = |stream: &tokio_rustls::client::TlsStream<_>| {
                stream.get_ref().1.alpn_protocol().map(|p| String::from_utf8(p.to_vec()).unwrap())
            };
            assert_eq!(
                told.as_ref().map(chosen_here).map_err(|_| ()),
                chosen.map(|c: Option<&str>| c.map(str::to_owned)),
                "{offered:?}"
            );
        }
    });
}

#[test]
fn an_answer_of_any_size_comes_whole() {
    let lab = Lab::start();
    let strings = format!("\"{}\" ", "x".repeat(250)).repeat(60);
    lab.upstream.change(&format!("large.example. 300 IN TXT {strings}\n"));
    talk(async {
        let mut clients = Versions::connect(&lab).await;
        let mut query = Ask { edns: None, ..Ask::new("large.example", RecordType::TXT) }.encode();
        query[..2].fill(0);
        for version in VERSIONS {
            let told = clients.ask(version, get(&query)).await;
            assert!(told.body().len() > 15_000 && told.body()[2] & 2 == 0, "{version:?}: {} octets", told.body().len());
        }
    });
}
