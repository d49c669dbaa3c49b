//! DNS over HTTPS: RFC 8484 over HTTP/1.1 and HTTP/2; what a request means is said once, for HTTP/3 too.
//!
//! GET and POST at `/dns-query`, or at `/dns-query/ID` for a client that says who it is. Whoever asks for something else hears
//! which status that is, and why in a line of text.

use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;

use crate::daemon::clock;
use crate::daemon::listener::lingering::Lingering;
use crate::daemon::listener::records::{Frames, RecordEach};
use crate::daemon::listener::seats::{Notice, Place};
use crate::daemon::listener::stream::Service;
use crate::daemon::listener::turns::{Keeper, Turns, Unanswered};
use crate::engine::client::Token;
use crate::engine::identity::{self, Path};
use crate::engine::limits::{
    CONNECTION_TIME_MAX, DOH_DISCARDED_OCTETS_MAX, DOH_HEADER_OCTETS_MAX, DOH_QUERY_OCTETS_MAX, HANDSHAKE,
    TCP_PIPELINE_MAX, TLS_IDLE,
};
use crate::engine::query::{Header, Origin};
use crate::engine::reply;

/// RFC 8484 §6.
const MESSAGE: HeaderValue = HeaderValue::from_static("application/dns-message");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// How often an idle connection is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long a peer may take to hear that we close, and to take its last answer.
const GOODBYE: Duration = Duration::from_secs(1);

/// A request that has no answer of DNS.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub status: StatusCode,
    pub why: &'static str,
}

const fn refused(status: StatusCode, why: &'static str) -> Refused {
    Refused { status, why }
}

/// A header that proxies put client addresses into.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a request's head says.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub asked: Asked,
    /// Who asks, by its own word.
    pub identity: Option<Token>,
}

/// Where a request's message is.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Here: it was in the URL.
    Message(Vec<u8>),
    /// In the body, which is to be read.
    InBody,
}

/// Reads a request's head.
pub fn read_head(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Result<Head, Refused> {
    let Some(Path { identity }) = Path::read(path) else {
        return Err(refused(StatusCode::NOT_FOUND, "DNS is at /dns-query"));
    };
    Ok(Head { asked: asked(method, query, headers)?, identity })
}

fn asked(method: &Method, query: Option<&str>, headers: &HeaderMap) -> Result<Asked, Refused> {
    if let Some(accept) = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok())
        && accept.contains("application/dns-json")
        && !accept.contains("application/dns-message")
    {
        return Err(refused(StatusCode::NOT_ACCEPTABLE, "answers are application/dns-message (RFC 8484), not JSON"));
    }
    if method == Method::POST {
        let is_message = headers.get(CONTENT_TYPE).is_some_and(|value| is_message_type(value.as_bytes()));
        if !is_message {
            let why = "the content type of a question is application/dns-message (RFC 8484)";
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        return match length {
            Some(length) if length > DOH_QUERY_OCTETS_MAX => Err(TOO_LARGE),
            Some(_) | None => Ok(Asked::InBody),
        };
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "GET and POST ask here"));
    }
    let parameters = query.unwrap_or_default().split('&');
    let Some(text) = parameters.filter_map(|parameter| parameter.strip_prefix("dns=")).next() else {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "the parameter `dns` holds the question, as base64url (RFC 8484)",
        ));
    };
    // Some clients pad it, which RFC 8484 §6 forbids, and nothing is gained by refusing them.
    let text = text.trim_end_matches('=').trim_end_matches("%3D").trim_end_matches("%3d");
    if text.len() > DOH_QUERY_OCTETS_MAX * 4 / 3 + 4 {
        return Err(refused(StatusCode::URI_TOO_LONG, "the question is too long"));
    }
    match URL_SAFE_NO_PAD.decode(text) {
        Ok(message) => Ok(Asked::Message(message)),
        Err(_) => Err(refused(StatusCode::BAD_REQUEST, "the parameter `dns` is not base64url (RFC 4648 §5)")),
    }
}

pub(super) const TOO_LARGE: Refused = refused(StatusCode::PAYLOAD_TOO_LARGE, "the question is too long");
pub(super) const TOO_SLOW: Refused = refused(StatusCode::REQUEST_TIMEOUT, "the body took too long");
const BUSY: Refused = refused(StatusCode::SERVICE_UNAVAILABLE, "too many answers wait to be taken");
pub(super) const NO_SEAT: Refused = refused(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
const NO_QUESTION: Refused = refused(StatusCode::BAD_REQUEST, "this is no DNS question");

/// `application/dns-message`, whatever stands behind it.
fn is_message_type(value: &[u8]) -> bool {
    let kind = value.split(|&octet| octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(MESSAGE.as_bytes())
}

/// A request that policy meets with silence.
#[derive(Debug, thiserror::Error)]
#[error("nothing is said to this question")]
pub(super) struct Silence;
/// Who asks by a request on a connection of `origin`'s.
pub(super) fn origin_of(service: &Service, origin: Origin, head: &Head, headers: &HeaderMap) -> Origin {
    let mut origin = service.resolver.told_by_path(origin, head.identity);
    if headers.contains_key(FORWARDED_FOR) {
        let peers = service.resolver.peers();
        if peers.is_trusted(origin.source.ip()) {
            let values = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
            let client = identity::forwarded_for(values, |address| peers.is_trusted(address));
            // Who cannot be told is nobody: in no network, and never the proxy itself.
            origin.source = client.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        }
    }
    origin
}

/// The answer to a message, as HTTP says it.
pub(super) async fn answer(
    service: &Service,
    place: &Place,
    message: &[u8],
    origin: Origin,
) -> Result<Response<Bytes>, Silence> {
    match service.answer(message, origin).await {
        Some(answer) => {
            // RFC 8484 §5.1. One client's verdict is not another's, so that no shared cache may keep it.
            let age = reply::smallest_ttl(&answer);
            let control = match age {
                0 => HeaderValue::from_static("private, max-age=0"),
                age => HeaderValue::from_str(&format!("private, max-age={age}")).expect("a number is a header's value"),
            };
            let Some(answer) = place.hold(answer) else {
                service.resolver.metrics.limit_hit("tcp_queued_octets_max");
                return Ok(refusal(&BUSY));
            };
            let mut response = Response::new(answer);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, MESSAGE);
            headers.insert(CACHE_CONTROL, control);
            Ok(response)
        }
        None if Header::peek(message).is_none() => Ok(refusal(&NO_QUESTION)),
        None => Err(Silence),
    }
}

pub(super) fn refusal(refused: &Refused) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(refused.why.as_bytes()));
    *response.status_mut() = refused.status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if refused.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    response
}

/// Answers one request.
async fn respond<B>(
    request: Request<B>,
    service: &Service,
    place: &Place,
    origin: Origin,
) -> Result<Response<Bytes>, Silence>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let head = match read_head(&method, uri.path(), uri.query(), &headers) {
        Ok(head) => head,
        // Such as to a HEAD that asks for nothing.
        Err(refused) if method == Method::HEAD => return Ok(without_body(refusal(&refused))),
        Err(refused) => {
            discard(body).await;
            return Ok(refusal(&refused));
        }
    };
    let origin = origin_of(service, origin, &head, &headers);
    if service.seat_guest(&origin, place).is_none() {
        return Ok(refusal(&NO_SEAT));
    }
    let message = match head.asked {
        Asked::Message(message) => message.into(),
        Asked::InBody => match timeout(HANDSHAKE, Limited::new(body, DOH_QUERY_OCTETS_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(why)) if why.is::<LengthLimitError>() => return Ok(refusal(&TOO_LARGE)),
            Ok(Err(_)) => return Ok(refusal(&refused(StatusCode::BAD_REQUEST, "the body broke off"))),
            Err(_) => return Ok(refusal(&TOO_SLOW)),
        },
    };
    let response = answer(service, place, &message, origin).await?;
    Ok(if method == Method::HEAD { without_body(response) } else { response })
}

/// Takes what comes of a body that nobody wants, within bounds.
async fn discard<B: Body<Data = Bytes>>(body: B) {
    let mut body = pin!(body);
    let rest = async {
        let mut left = DOH_DISCARDED_OCTETS_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let octets = frame.data_ref().map_or(0, Bytes::len);
            let Some(fewer) = left.checked_sub(octets) else { return };
            left = fewer;
        }
    };
    // Whoever is slower than that loses nothing but the status.
    let _ = timeout(GOODBYE, rest).await;
}

/// How many requests are being answered on a connection.
struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection until its peer leaves, is idle for too long, or the resolver stops.
pub(super) async fn serve<S>(stream: TlsStream<S>, speaks_h2: bool, origin: Origin, service: Service, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (place, busy) = (Arc::new(place), Arc::new(AtomicUsize::new(0)));
    let answering = {
        let (place, busy) = (Arc::clone(&place), Arc::clone(&busy));
        service_fn(move |request| {
            let (service, place, busy) = (service.clone(), Arc::clone(&place), Arc::clone(&busy));
            async move {
                place.touch(clock::now());
                busy.fetch_add(1, Ordering::Relaxed);
                let _busy = Busy(&busy);
                respond(request, &service, &place, origin).await.map(|response| response.map(Full::new))
            }
        })
    };
    if speaks_h2 {
        let unanswered = Unanswered::default();
        let mut builder = hyper::server::conn::http2::Builder::new(Keeper::of(&unanswered));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(TCP_PIPELINE_MAX as u32)
            .max_header_list_size(DOH_HEADER_OCTETS_MAX as u32)
            // A question is small, and so is what may wait on a connection.
            .initial_stream_window_size(1 << 16)
            .initial_connection_window_size(1 << 17)
            .max_send_buf_size(1 << 16);
        let stream = TokioIo::new(Lingering::new(RecordEach::<_, Frames>::new(stream)));
        let mut turns = Turns { talk: pin!(builder.serve_connection(stream, answering)), unanswered };
        watch(Pin::new(&mut turns), |mut turns| turns.talk.as_mut().graceful_shutdown(), &place, &busy).await;
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(TLS_IDLE)
            .max_buf_size(DOH_HEADER_OCTETS_MAX)
            .half_close(false);
        let talk = pin!(builder.serve_connection(TokioIo::new(Lingering::new(stream)), answering));
        watch(talk, |talk| talk.graceful_shutdown(), &place, &busy).await;
    }
}

/// Drives a connection, and closes it when nobody asks for too long or its seat is wanted.
async fn watch<T, E>(mut talk: Pin<&mut T>, close: impl Fn(Pin<&mut T>), place: &Place, busy: &AtomicUsize)
where
    T: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let ended = |done: Result<(), E>| {
        if let Err(why) = done {
            tracing::debug!(error = %why, "a connection of HTTP ended badly");
        }
    };
    let is_busy = || busy.load(Ordering::Relaxed) > 0;
    let until = Instant::now() + CONNECTION_TIME_MAX;
    loop {
        tokio::select! {
            biased;
            done = talk.as_mut() => return ended(done),
            notice = place.noticed() => match notice {
                Notice::Evicted => return,
                Notice::Closing => break,
            },
            () = tokio::time::sleep(LOOK) => {
                let is_idle = !is_busy() && place.idle_for(clock::now()) >= TLS_IDLE;
                if is_idle || Instant::now() >= until {
                    break;
                }
            }
        }
    }
    // Politely: what was asked is answered, and the peer is told to ask nothing more (GOAWAY, `connection: close`).
    close(talk.as_mut());
    let mut was_busy = true;
    loop {
        tokio::select! {
            biased;
            done = talk.as_mut() => return ended(done),
            // Questions have an end of their own, and the last answer has its time to be taken.
            () = tokio::time::sleep(GOODBYE) => match (was_busy, is_busy()) {
                (false, false) => return,
                (_, is_busy) => was_busy = is_busy,
            },
        }
    }
}

/// Says how long the body is, which HTTP/1.1 and HTTP/2 do by themselves where there is one.
pub(super) fn with_length(mut response: Response<Bytes>) -> Response<Bytes> {
    let length = HeaderValue::from(response.body().len());
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// RFC 9110 §9.3.2: an answer to HEAD says everything but its body.
pub(super) fn without_body(response: Response<Bytes>) -> Response<Bytes> {
    with_length(response).map(|_| Bytes::new())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn head(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Head, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let (path, query) = match url.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (url, None),
        };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        read_head(&method, path, query, &map).map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn requests_are_read_or_get_their_status() {
        let message = ("content-type", "application/dns-message");
        let large = "A".repeat(DOH_QUERY_OCTETS_MAX * 4 / 3 + 8);
        for (method, url, headers, expected) in [
            ("GET", "/dns-query?dns=AAAB", &[][..], Ok(Asked::Message(vec![0, 0, 1]))),
            ("HEAD", "/dns-query?dns=AAAB", &[], Ok(Asked::Message(vec![0, 0, 1]))),
            ("GET", "/dns-query?ct=x&dns=AA_-", &[], Ok(Asked::Message(vec![0, 15, 254]))),
            ("GET", "/dns-query?dns=AAA=", &[], Ok(Asked::Message(vec![0, 0]))),
            ("GET", "/dns-query?dns=AA%3D%3D", &[], Ok(Asked::Message(vec![0]))),
            ("GET", "/dns-query?dns=AA+/", &[], Err(400)),
            ("GET", "/dns-query?dns", &[], Err(400)),
            ("GET", "/dns-query", &[], Err(400)),
            ("GET", &format!("/dns-query?dns={large}"), &[], Err(414)),
            ("GET", "/", &[], Err(404)),
            ("GET", "/dns-query/", &[], Err(404)),
            ("GET", "/resolve?name=a.example", &[], Err(404)),
            ("GET", "/dns-query?dns=AAAB", &[("accept", "application/dns-json")], Err(406)),
            ("GET", "/dns-query?dns=AAAB", &[("accept", "*/*")], Ok(Asked::Message(vec![0, 0, 1]))),
            ("POST", "/dns-query", &[message], Ok(Asked::InBody)),
            ("POST", "/dns-query", &[("content-type", "Application/DNS-Message; a=b")], Ok(Asked::InBody)),
            ("POST", "/dns-query", &[message, ("content-length", "70000")], Err(413)),
            ("POST", "/dns-query", &[("content-type", "text/html")], Err(415)),
            ("POST", "/dns-query", &[], Err(415)),
            ("PUT", "/dns-query", &[message], Err(405)),
            ("DELETE", "/elsewhere", &[], Err(404)),
        ] {
            assert_eq!(head(method, url, headers).map(|head| head.asked), expected, "{method} {url}");
        }
        for (url, identity) in [
            ("/dns-query?dns=AAAB", Ok(None)),
            ("/dns-query/lop-6a?dns=AAAB", Ok(identity::configured("lop-6a"))),
            ("/dns-query/lop-6a", Err(400)),
            ("/dns-query/lop_6a?dns=AAAB", Err(404)),
            ("/dns-query/a/b?dns=AAAB", Err(404)),
        ] {
            assert_eq!(head("GET", url, &[]).map(|head| head.identity), identity, "{url}");
        }
    }
}
