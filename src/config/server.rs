//! The text of one upstream server → [`Server`]: `udp://192.0.2.1`, `tls://192.0.2.2#dns.example`,
//! `https://dns.example/dns-query`.
//!
//! Not every URL is a server and not every server a URL, so it is read by hand: an address alone is UDP, and what stands
//! after `#` is the name the certificate must carry.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::engine::name::Name;
use crate::engine::upstream::{Host, Server, UpstreamTransport};

use super::errors::nearest;
use super::values::reachable;

const SCHEMES: &[(&str, UpstreamTransport)] = &[
    ("udp", UpstreamTransport::Udp),
    ("tcp", UpstreamTransport::Tcp),
    ("tls", UpstreamTransport::Tls),
    ("https", UpstreamTransport::Https),
    ("quic", UpstreamTransport::Quic),
];

/// What others call these transports.
const ALSO_CALLED: &[(&str, &str)] = &[
    ("dns", "udp"),
    ("dot", "tls"),
    ("doh", "https"),
    ("h2", "https"),
    ("h3", "https"),
    ("http", "https"),
    ("doq", "quic"),
];

/// RFC 8484 leaves the path to the server; this one is everybody's.
const DOH_PATH: &str = "/dns-query";

/// Reads one entry of `servers`.
pub(super) fn server(text: &str) -> Result<Server, String> {
    if let Some(bad) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("{text:?}: {bad:?} cannot stand in a server's address"));
    }
    let (transport, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (transport(scheme, text)?, rest),
        None => (UpstreamTransport::Udp, text),
    };
    let (rest, given_name) = match rest.split_once('#') {
        Some((rest, name)) => (rest, Some(name)),
        None => (rest, None),
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => (&rest[..slash], &rest[slash..]),
        None => (rest, ""),
    };
    let path = path_of(transport, path, text)?;
    let host = host(authority, transport.default_port(), text)?;
    let tls_name = match given_name {
        Some(_) if !transport.is_authenticated() => {
            return Err(format!("{text:?}: a name after # is for tls, https and quic; this channel proves nothing"));
        }
        Some(name) => Some(tls_name(name, text)?),
        None => match &host {
            Host::Name(name, _) if transport.is_authenticated() => Some(name.to_string()),
            Host::Name(..) | Host::Address(_) => None,
        },
    };
    Ok(Server { transport, host, tls_name, path })
}

fn transport(scheme: &str, text: &str) -> Result<UpstreamTransport, String> {
    if let Some(&(_, transport)) = SCHEMES.iter().find(|(name, _)| *name == scheme) {
        return Ok(transport);
    }
    let lower = scheme.to_ascii_lowercase();
    let alias = ALSO_CALLED.iter().find(|(name, _)| *name == lower).map(|&(_, ours)| ours);
    let near = alias.or_else(|| nearest(&lower, SCHEMES.iter().map(|&(name, _)| name)));
    let hint = near.map_or(String::new(), |name| format!("; did you mean \"{name}://\"?"));
    Err(format!("{text:?}: {scheme:?} is not one of udp, tcp, tls, https, quic{hint}"))
}

fn path_of(transport: UpstreamTransport, path: &str, text: &str) -> Result<String, String> {
    if transport != UpstreamTransport::Https {
        // A final slash is how many people end a URL.
        return match path {
            "" | "/" => Ok(String::new()),
            _ => Err(format!("{text:?}: only https servers have a path")),
        };
    }
    // We ask by POST, so a template's variable (RFC 8484 §4.1.1) has nothing to be filled with.
    let path = path.strip_suffix("{?dns}").unwrap_or(path);
    if let Some(bad) = path.chars().find(|c| !c.is_ascii_graphic() || "{}\"<>\\^`|".contains(*c)) {
        return Err(format!("{text:?}: {bad:?} cannot stand in the path"));
    }
    Ok(if path.is_empty() { DOH_PATH.to_owned() } else { path.to_owned() })
}

fn host(authority: &str, default_port: u16, text: &str) -> Result<Host, String> {
    if authority.is_empty() {
        return Err(format!("{text:?} names no server"));
    }
    if authority.contains('@') {
        return Err(format!("{text:?}: a user name or password cannot be given"));
    }
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return reachable(address, text).map(Host::Address);
    }
    let unbracketed = authority.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let bare = match unbracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => authority.parse::<IpAddr>().ok(),
    };
    if let Some(ip) = bare {
        return reachable(SocketAddr::new(ip, default_port), text).map(Host::Address);
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) => {
            let port: u16 = port
                .parse()
                .ok()
                .filter(|&p| p != 0)
                .ok_or_else(|| format!("{text:?}: {port:?} is no port (1 to 65535)"))?;
            (name, port)
        }
        None => (authority, default_port),
    };
    host_name(name, text).map(|name| Host::Name(name, port))
}

/// A host's name. One that ends in digits was meant to be an address (RFC 1123 §2.1).
fn host_name(text: &str, whole: &str) -> Result<Name, String> {
    let name =
        Name::from_text(text).map_err(|why| format!("{whole:?}: {text:?} is neither address nor name: {why}"))?;
    let last = text.strip_suffix('.').unwrap_or(text).rsplit('.').next().unwrap_or("");
    if last.bytes().all(|c| c.is_ascii_digit()) {
        return Err(format!("{whole:?}: {text:?} is no address"));
    }
    Ok(name)
}

fn tls_name(name: &str, text: &str) -> Result<String, String> {
    if name.parse::<IpAddr>().is_ok() {
        return Err(format!("{text:?}: after # stands the name of the certificate, not an address"));
    }
    host_name(name, text).map(|name| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        use UpstreamTransport::*;
        for (text, transport, host, tls_name, path) in [
            ("192.0.2.1", Udp, "192.0.2.1:53", None, ""),
            ("192.0.2.1:5353", Udp, "192.0.2.1:5353", None, ""),
            ("2001:db8::1", Udp, "[2001:db8::1]:53", None, ""),
            ("udp://192.0.2.1", Udp, "192.0.2.1:53", None, ""),
            ("udp://192.0.2.1/", Udp, "192.0.2.1:53", None, ""),
            ("tcp://[2001:db8::1]:54", Tcp, "[2001:db8::1]:54", None, ""),
            ("tcp://[2001:db8::1]", Tcp, "[2001:db8::1]:53", None, ""),
            ("tls://192.0.2.2", Tls, "192.0.2.2:853", None, ""),
            ("tls://192.0.2.2#DNS.example", Tls, "192.0.2.2:853", Some("dns.example"), ""),
            ("https://192.0.2.2/dns-query#dns.example", Https, "192.0.2.2:443", Some("dns.example"), "/dns-query"),
            ("https://192.0.2.2", Https, "192.0.2.2:443", None, "/dns-query"),
            ("quic://192.0.2.3#dns.example", Quic, "192.0.2.3:853", Some("dns.example"), ""),
        ] {
            let read = server(text).unwrap();
            assert_eq!(read.transport, transport, "{text}");
            assert_eq!(read.host, Host::Address(host.parse().unwrap()), "{text}");
            assert_eq!(read.tls_name.as_deref(), tls_name, "{text}");
            assert_eq!(read.path, path, "{text}");
        }
        for (text, name, port, tls_name, path) in [
            ("dns.example", "dns.example", 53, None, ""),
            ("tls://dns.example", "dns.example", 853, Some("dns.example"), ""),
            ("tls://dns.example:8853#other.example", "dns.example", 8853, Some("other.example"), ""),
            ("https://dns.example/dns-query{?dns}", "dns.example", 443, Some("dns.example"), "/dns-query"),
            ("https://dns.example/a?b=c", "dns.example", 443, Some("dns.example"), "/a?b=c"),
        ] {
            let read = server(text).unwrap();
            assert_eq!(read.host, Host::Name(Name::from_text(name).unwrap(), port), "{text}");
            assert_eq!((read.tls_name.as_deref(), read.path.as_str()), (tls_name, path), "{text}");
        }
    }

    #[test]
    fn what_is_no_server_says_why() {
        for (text, why) in [
            ("", "names no server"),
            ("udp://", "names no server"),
            ("192.0.2.300", "is no address"),
            ("dot://192.0.2.1", "did you mean \"tls://\"?"),
            ("tsl://192.0.2.1", "did you mean \"tls://\"?"),
            ("ftp-server://192.0.2.1", "is not one of udp, tcp, tls, https, quic"),
            ("udp://192.0.2.1#dns.example", "this channel proves nothing"),
            ("udp://192.0.2.1/dns-query", "only https servers have a path"),
            ("udp://192.0.2.1:0", "port 0"),
            ("udp://192.0.2.1:99999", "is no port"),
            ("udp://0.0.0.0", "no server can have the address"),
            ("tls://192.0.2.1#192.0.2.1", "not an address"),
            ("https://me@dns.example/", "user name"),
            ("https://dns.example/{x}", "cannot stand in the path"),
            ("tls://bad name", "cannot stand in a server's address"),
            ("tls://a..b", "neither address nor name"),
            ("tls://[192.0.2.1]", "neither address nor name"),
        ] {
            let error = server(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
