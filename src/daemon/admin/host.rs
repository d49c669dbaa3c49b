//! Whom the admin listener answers: not a web page that reaches it by a name of its own making.
//!
//! A page's name can be made to resolve to 127.0.0.1 (DNS rebinding). The browser then takes our answers for the page's
//! own, but it still sends the page's name as Host. Peers from elsewhere are the network's policy.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// 403 for a request of this machine that names neither an address nor `localhost`.
pub(super) async fn guard(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    let headers = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let is_foreign = headers.chain(request.uri().authority().map(Authority::as_str)).any(|host| !is_own(host));
    if peer.ip().to_canonical().is_loopback() && is_foreign {
        let text = "refused: from this machine, ask by an IP address or by localhost, not by another name\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// What a request that changes something must carry, with any value. A page of another origin cannot send a header of its
/// own without asking first (CORS), and nobody here says yes.
pub const CHANGE_HEADER: &str = "x-lachan-change";

/// 403 for a change that a browser may have been talked into.
pub(super) async fn guard_change(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !headers.contains_key(CHANGE_HEADER) || headers.contains_key(header::ORIGIN) {
        let text = format!("refused: a change is asked for with the header {CHANGE_HEADER}, and not by a web page\n");
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether `host`, perhaps with a port, is an address or `localhost`.
fn is_own(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn addresses_and_localhost_are_our_own_names() {
        for (host, own) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9153", true),
            ("[::1]:9153", true),
            ("[::1]", true),
            ("192.0.2.1:9153", true),
            ("localhost:9153", true),
            ("LocalHost.", true),
            ("rebind.example:9153", false),
            ("localhost.rebind.example", false),
            ("127.0.0.1.rebind.example", false),
            ("resolver", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_own(host), own, "{host:?}");
        }
    }

    #[tokio::test]
    async fn a_page_on_this_machine_is_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::<()>::new()
            .route("/", get(|| async { Body::from("in") }))
            .route("/change", post(|| async { "done" }).layer(axum::middleware::from_fn(guard_change)))
            .layer(axum::middleware::from_fn(guard));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        for (request, code) in [
            ("GET / HTTP/1.1\r\nHost: localhost\r\n", "200"),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:9153\r\n", "200"),
            ("GET / HTTP/1.1\r\nHost: rebind.example:9153\r\n", "403"),
            ("GET http://rebind.example/ HTTP/1.1\r\nHost: localhost\r\n", "403"),
            ("GET / HTTP/1.0\r\n", "200"),
            ("POST /change HTTP/1.1\r\nHost: localhost\r\nX-Lachan-Change: 1\r\n", "200"),
            ("POST /change HTTP/1.1\r\nHost: localhost\r\n", "403"),
            ("POST /change HTTP/1.1\r\nHost: a.example\r\nX-Lachan-Change: 1\r\n", "403"),
            ("POST /change HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nX-Lachan-Change: 1\r\n", "403"),
            ("OPTIONS /change HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a.example\r\n", "403"),
            ("GET /change HTTP/1.1\r\nHost: localhost\r\nX-Lachan-Change: 1\r\n", "405"),
        ] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{request}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.split(' ').nth(1), Some(code), "{request}: {answer}");
        }
    }
}
