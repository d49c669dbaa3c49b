//! Fetches from a server on loopback that answers well, badly, by halves and never.

use std::io::Write;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::dns::{Addrs, Name, Resolving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::daemon::sources::verify::test_support::Minisign;

const LIST: &[u8] = b"one.example.com\ntwo.example.com\n";

/// Every name is this machine.
struct Here;

impl Resolve for Here {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(async { Ok(Box::new([SocketAddr::from(([127, 0, 0, 1], 0))].into_iter()) as Addrs) })
    }
}

/// 127.0.0.1 stands for the public internet, and nothing else does.
fn is_here(address: IpAddr) -> bool {
    address == IpAddr::from([127, 0, 0, 1])
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// What the server says to a request's head, and whether it then falls silent without hanging up.
fn page(head: &str) -> (Vec<u8>, bool) {
    let path = head.split(' ').nth(1).unwrap();
    let redirect = |to: &str| answer("302 Found", &format!("Location: {to}\r\n"), b"");
    let said = match path {
        "/list" if head.to_lowercase().contains("if-none-match: \"v1\"") => answer("304 Not Modified", "", b""),
        "/list" => answer("200 OK", "ETag: \"v1\"\r\nLast-Modified: Mon, 02 Nov 2026 00:00:00 GMT\r\n", LIST),
        "/list.minisig" => answer("200 OK", "", Minisign::new(1).sign(LIST).as_bytes()),
        "/list.gz" => answer("200 OK", "", &gzip(LIST)),
        "/encoded" => answer("200 OK", "Content-Encoding: gzip\r\n", &gzip(LIST)),
        "/list.gz-encoded" => answer("200 OK", "Content-Encoding: gzip\r\n", &gzip(&gzip(LIST))),
        "/lying" => answer("200 OK", "Content-Encoding: gzip\r\n", LIST),
        "/brotli" => answer("200 OK", "Content-Encoding: br\r\n", LIST),
        "/bomb" => answer("200 OK", "Content-Encoding: gzip\r\n", &gzip(&[b'a'; 5_000])),
        "/big" => answer("200 OK", "", &[b'a'; 2_000]),
        "/endless" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            .iter()
            .copied()
            .chain(b"400\r\n".iter().copied().chain([b'a'; 1024]).chain(*b"\r\n").cycle().take(4_000))
            .collect(),
        "/busy" => answer("503 Service Unavailable", "Retry-After: 120\r\n", b"later"),
        "/half" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\none.example.com\n".to_vec(),
        "/half-chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\none.example.com\n".to_vec(),
        "/no-last-chunk" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none.\r\n".to_vec(),
        "/stall" => return (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\none.".to_vec(), true),
        "/silent" => return (Vec::new(), true),
        "/moved" => redirect("list"),
        "/loop" => redirect("/loop"),
        "/nowhere" => answer("302 Found", "", b""),
        "/private" => redirect("http://127.0.0.2:9/list"),
        "/metadata" => redirect("http://169.254.169.254/latest/meta-data"),
        "/number" => redirect("http://2130706434/"),
        "/mapped" => redirect("http://[::ffff:10.0.0.1]/"),
        "/file" => redirect("file:///etc/passwd"),
        _ => answer("404 Not Found", "", b"no"),
    };
    (said, false)
}

async fn serve(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => return,
        }
    }
    let (said, falls_silent) = page(&String::from_utf8(head).unwrap());
    // The other side may have heard enough.
    let _ = stream.write_all(&said).await;
    if falls_silent {
        let _ = stream.read_u8().await;
    }
}

struct Publisher {
    address: SocketAddr,
    tls: ClientConfig,
}

impl Publisher {
    async fn start() -> Publisher {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        // A machine without authorities of its own is as good as any: nothing here is encrypted.
        let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
        Publisher { address, tls: crate::daemon::forwarder::tls::client_config(ca.as_bytes()).unwrap() }
    }

    fn order(&self, path: &str) -> Order {
        Order {
            url: format!("http://lists.example:{}{path}", self.address.port()).parse().unwrap(),
            sha256: None,
            minisign_key: None,
            allowed: is_here,
            etag: None,
            last_modified: None,
        }
    }

    async fn fetch(&self, order: &Order) -> Result<Option<Download>, String> {
        let limits = Limits {
            total: Duration::from_secs(20),
            idle: Duration::from_millis(300),
            connect: Duration::from_secs(10),
            octets: 1_000,
        };
        self.fetch_within(order, &limits).await.map_err(|failure| failure.message)
    }

    async fn fetch_within(&self, order: &Order, limits: &Limits) -> Result<Option<Download>, Failure> {
        match fetch(order, self.tls.clone(), Arc::new(Here), limits).await? {
            Fetched::Unchanged => Ok(None),
            Fetched::Published(published) => Ok(Some(open(order, published, limits.octets)?)),
        }
    }
}

#[tokio::test]
async fn a_list_comes_whole_however_it_is_packed() {
    let publisher = Publisher::start().await;
    for path in ["/list", "/list.gz", "/encoded", "/list.gz-encoded", "/moved"] {
        let download = publisher.fetch(&publisher.order(path)).await.unwrap().unwrap();
        assert_eq!(download.text, LIST, "{path}");
    }
    let download = publisher.fetch(&publisher.order("/list")).await.unwrap().unwrap();
    assert_eq!(download.etag.as_deref(), Some("\"v1\""));
    let have = Order { etag: download.etag, ..publisher.order("/list") };
    assert_eq!(publisher.fetch(&have).await, Ok(None));
    let other = Order { etag: Some("\"v0\"".into()), ..publisher.order("/list") };
    assert!(publisher.fetch(&other).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_no_whole_list_is_told_and_not_taken() {
    let publisher = Publisher::start().await;
    for (path, why) in [
        ("/404", "answers 404 Not Found"),
        ("/half", "the body is cut short"),
        ("/half-chunk", "the body is cut short"),
        ("/no-last-chunk", "the body is cut short"),
        ("/big", "is over 1000 octets"),
        ("/endless", "is over 1000 octets"),
        ("/bomb", "unpacks to more than 1000 octets"),
        ("/lying", "it is said to be gzip, but is not"),
        ("/brotli", "packed as \"br\""),
        ("/stall", "no answer in time"),
        ("/silent", "no answer in time"),
        ("/loop", "more than 5 redirects"),
        ("/nowhere", "without a place to go to"),
        ("/private", "127.0.0.2 is at 127.0.0.2, which is no address of the public internet"),
        ("/metadata", "which is no address of the public internet"),
        ("/number", "127.0.0.2"),
        ("/mapped", "which is no address of the public internet"),
        ("/file", "leads to file://, which is not followed"),
    ] {
        let error = publisher.fetch(&publisher.order(path)).await.unwrap_err();
        assert!(error.contains(why), "{path}: {error}");
    }
    let busy = publisher.fetch_within(&publisher.order("/busy"), &Limits::default()).await.unwrap_err();
    assert_eq!(busy.retry_after_secs, Some(120));
}

#[tokio::test]
async fn the_whole_time_is_bounded_too() {
    let publisher = Publisher::start().await;
    let limits = Limits { total: Duration::from_millis(200), ..Limits::default() };
    let failure = publisher.fetch_within(&publisher.order("/stall"), &limits).await.unwrap_err();
    assert!(failure.message.contains("not there after 0.2 s"), "{}", failure.message);
}

#[tokio::test]
async fn where_a_connection_really_went_is_looked_at() {
    let publisher = Publisher::start().await;
    // As if a name had passed the look-up and then led here.
    let order = Order { allowed: |_| false, ..publisher.order("/list") };
    assert!(publisher.fetch(&order).await.unwrap_err().contains("lists.example is at 127.0.0.1"));
}

#[tokio::test]
async fn a_wrong_sum_or_signature_refuses_the_whole() {
    let publisher = Publisher::start().await;
    let sum = |octets: &[u8]| -> [u8; 32] {
        ring::digest::digest(&ring::digest::SHA256, octets).as_ref().try_into().unwrap()
    };
    let key = |seed| PublicKey::from_base64(&Minisign::new(seed).public_key()).unwrap();
    for (path, sha256, seed, is_good) in [
        ("/list", Some(sum(LIST)), None, true),
        ("/list", Some([0; 32]), None, false),
        ("/encoded", Some(sum(LIST)), None, true),
        // The publisher's file is the packed one; a server may send it as a packed transfer.
        ("/encoded", Some(sum(&gzip(LIST))), None, true),
        ("/list.gz", Some(sum(LIST)), None, false),
        ("/list.gz", Some(sum(&gzip(LIST))), None, true),
        ("/list", None, Some(1), true),
        ("/list", None, Some(2), false),
        ("/list", Some([0; 32]), Some(1), false),
        ("/list.gz", None, Some(1), false),
    ] {
        let order = Order { sha256, minisign_key: seed.map(key), ..publisher.order(path) };
        let got = publisher.fetch(&order).await;
        assert_eq!(got.is_ok(), is_good, "{path} {seed:?}: {got:?}");
    }
}

#[test]
fn redirects_lead_nowhere_less_safe() {
    for (from, location, to) in [
        ("https://a.example/x/y", "z", Some("https://a.example/x/z")),
        ("https://a.example/x", "//b.example/y", Some("https://b.example/y")),
        ("http://a.example/x", "https://b.example/y", Some("https://b.example/y")),
        ("https://a.example/x", "http://a.example/x", None),
        ("https://a.example/x", "ftp://a.example/x", None),
        ("https://a.example/x", "data:text/plain,a.example", None),
        ("https://a.example/x", "https://me:secret@a.example/x", None),
        ("https://a.example/x", "https://", None),
    ] {
        let got = next(&from.parse().unwrap(), location);
        assert_eq!(got.as_ref().map(Url::as_str).ok(), to, "{from} {location}: {got:?}");
    }
}
