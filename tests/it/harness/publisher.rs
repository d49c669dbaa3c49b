//! A publisher of lists: HTTPS on loopback with a certificate of its own, and pages that a test changes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Serves until dropped.
pub struct Publisher {
    pub address: SocketAddr,
    /// The authority to trust, PEM.
    pub ca: String,
    pages: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Requests being answered now, and the most there ever were.
    busy: Arc<Mutex<(usize, usize)>>,
    stop: Arc<AtomicBool>,
}

impl Publisher {
    /// `names` are what its certificate says, addresses or names.
    pub fn start(names: &[&str]) -> Publisher {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let publisher = Publisher {
            address: listener.local_addr().unwrap(),
            ca: made.cert.pem(),
            pages: Arc::default(),
            asked: Arc::default(),
            busy: Arc::default(),
            stop: Arc::default(),
        };
        let (pages, asked, stop) =
            (Arc::clone(&publisher.pages), Arc::clone(&publisher.asked), Arc::clone(&publisher.stop));
        let busy = Arc::clone(&publisher.busy);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (config, pages, asked) = (Arc::clone(&config), Arc::clone(&pages), Arc::clone(&asked));
                let busy = Arc::clone(&busy);
                std::thread::spawn(move || {
                    {
                        let mut busy = busy.lock().unwrap();
                        busy.0 += 1;
                        busy.1 = busy.1.max(busy.0);
                    }
                    // Taken back before the last octet is sent, so that who hears it is not counted with the next.
                    serve(stream, config, &pages, &asked, || busy.lock().unwrap().0 -= 1);
                });
            }
        });
        publisher
    }

    /// Puts a list at a path; `None` takes it away. Its ETag is its length.
    pub fn publish(&self, path: &str, text: Option<&str>) {
        let page = text.map(|text| {
            let length = text.len();
            format!(
                "HTTP/1.1 200 OK\r\nETag: \"{length}\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            )
        });
        let mut pages = self.pages.lock().unwrap();
        match page {
            Some(page) => pages.insert(path.to_owned(), page.into_bytes()),
            None => pages.remove(path),
        };
    }

    /// Says this, to the octet, at a path.
    pub fn say(&self, path: &str, response: &str) {
        self.pages.lock().unwrap().insert(path.to_owned(), response.as_bytes().to_vec());
    }

    /// Paths that were asked for so far; one that was not newer has `304` behind it.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The most requests that were under way at once.
    pub fn most_at_once(&self) -> usize {
        self.busy.lock().unwrap().1
    }

    /// Writes the authority beside a configuration.
    pub fn write_ca(&self, path: &Path) {
        std::fs::write(path, &self.ca).unwrap();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends; it may have ended already.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    pages: &Mutex<HashMap<String, Vec<u8>>>,
    asked: &Mutex<Vec<String>>,
    heard: impl FnOnce(),
) {
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        match tls.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            // Somebody who does not trust us, or has heard enough.
            Ok(_) | Err(_) => return heard(),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let page = pages.lock().unwrap().get(&path).cloned();
    let said =
        page.unwrap_or_else(|| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec());
    let etag = head.lines().find_map(|line| line.to_lowercase().strip_prefix("if-none-match: ").map(str::to_owned));
    let is_same = etag.is_some_and(|etag| String::from_utf8_lossy(&said).contains(&format!("ETag: {etag}\r\n")));
    asked.lock().unwrap().push(if is_same { format!("{path} 304") } else { path });
    let said = if is_same { b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec() } else { said };
    heard();
    // The other side may hang up before it has read all.
    let _ = tls.write_all(&said);
    // Without a length the end of the connection is the end of the body: here somebody cuts it.
    if String::from_utf8_lossy(&said).contains("Content-Length: ") || is_same {
        tls.conn.send_close_notify();
    }
    let _ = tls.flush();
}
