//! How a client's own word for itself reaches us: a label before our name in TLS, a path of DNS over HTTPS, an option of EDNS,
//! a header of a proxy's. Each becomes a [`Token`]; whether it is believed is said where it comes from.
//!
//! An identity is a word as it stands in a host name: 1 to 63 letters, digits and hyphens. Hardware addresses are words of
//! their own kind, so that nobody can give one as a name.

use std::net::{IpAddr, SocketAddr};

use crate::engine::client::{Token, TokenKey};
use crate::engine::limits::{FORWARDED_ADDRESSES_MAX, IDENTITY_OCTETS_MAX, LABEL_OCTETS_MAX};

/// Where DNS over HTTPS is asked; an identity may follow behind a slash. RFC 8484 §4.1.1 leaves the path to the server.
pub const DOH_PATH: &str = "/dns-query";
/// EDNS options that carry what a router knows of a client: dnsmasq's `--add-mac` and `--add-cpe-id`. In the range for local
/// use (RFC 6891 §9).
pub const MAC_OPTION: u16 = 65_001;
pub const CPE_ID_OPTION: u16 = 65_074;
/// What stands before a hardware address, which no label can begin with.
const MAC_MARK: &[u8] = b"mac:";
const MAC_OCTETS: usize = 6;

/// A word that may stand before a host name and in a path.
pub fn is_label(text: &[u8]) -> bool {
    let fits = |c: &u8| c.is_ascii_alphanumeric() || *c == b'-';
    (1..=LABEL_OCTETS_MAX).contains(&text.len()) && text.iter().all(fits)
}

/// The token of an identity as it stands in a configuration: a label, or a hardware address `a0:b1:c2:d3:e4:f5`.
pub fn configured(text: &str) -> Option<Token> {
    match mac_of_text(text.as_bytes()) {
        Some(mac) => Some(of_mac(mac)),
        None => is_label(text.as_bytes()).then(|| of_text(text.as_bytes())),
    }
}

fn of_text(text: &[u8]) -> Token {
    Token::of(&TokenKey::LABELS, text)
}

fn of_mac(mac: [u8; MAC_OCTETS]) -> Token {
    let mut hex = [0; MAC_MARK.len() + 2 * MAC_OCTETS];
    hex[..MAC_MARK.len()].copy_from_slice(MAC_MARK);
    for (pair, octet) in hex[MAC_MARK.len()..].chunks_exact_mut(2).zip(mac) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        pair.copy_from_slice(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
    }
    of_text(&hex)
}

/// Six pairs of hexadecimal digits with colons or hyphens between.
fn mac_of_text(text: &[u8]) -> Option<[u8; MAC_OCTETS]> {
    let mut mac = [0; MAC_OCTETS];
    if text.len() != 3 * MAC_OCTETS - 1 {
        return None;
    }
    for (octet, part) in mac.iter_mut().zip(text.chunks(3)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *octet = (digit(part[0])? << 4 | digit(part[1])?) as u8;
        if part.get(2).is_some_and(|between| *between != text[2]) || !matches!(text[2], b':' | b'-') {
            return None;
        }
    }
    Some(mac)
}

/// The identity in a name that a client asked for in TLS: one label before `own`, our own name.
pub fn of_server_name(own: &str, server_name: &str) -> Option<Token> {
    let above = server_name.len().checked_sub(own.len())?;
    let (before, rest) = server_name.as_bytes().split_at(above);
    let label = before.strip_suffix(b".")?;
    (rest.eq_ignore_ascii_case(own.as_bytes()) && is_label(label)).then(|| of_text(label))
}

/// What a path asks for. `None`: not for DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    pub identity: Option<Token>,
}

impl Path {
    pub fn read(path: &str) -> Option<Path> {
        let rest = path.strip_prefix(DOH_PATH)?;
        if rest.is_empty() {
            return Some(Path { identity: None });
        }
        let label = rest.strip_prefix('/')?.as_bytes();
        is_label(label).then(|| Path { identity: Some(of_text(label)) })
    }
}

/// The identity in an option of EDNS; `None`: it holds none that could be anybody's.
pub fn of_option(code: u16, value: &[u8]) -> Option<Token> {
    match code {
        // dnsmasq sends the address itself, or as text.
        MAC_OPTION => value.try_into().ok().or_else(|| mac_of_text(value)).map(of_mac),
        CPE_ID_OPTION => of_words(value),
        _ => None,
    }
}

/// The identity that a trusted proxy, or a router, gives as a text of its own.
pub fn of_words(value: &[u8]) -> Option<Token> {
    (1..=IDENTITY_OCTETS_MAX).contains(&value.len()).then(|| match mac_of_text(value) {
        Some(mac) => of_mac(mac),
        None => of_text(value),
    })
}

/// The client that a chain of `X-Forwarded-For` tells of: the last address that is not a proxy's of ours. `values` are the
/// headers in their order; what stands before something unreadable is nobody's word.
pub fn forwarded_for<'a>(
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<SocketAddr> {
    let mut first = None;
    // Only what a proxy of ours put last is believed, whatever octets a client put before it.
    let addresses = values.rev().flat_map(|value| value.rsplit(|octet| *octet == b',')).take(FORWARDED_ADDRESSES_MAX);
    for text in addresses {
        let address = address(std::str::from_utf8(text).ok()?.trim())?;
        if !is_trusted(address.ip()) {
            return Some(address);
        }
        first = Some(address);
    }
    first
}

/// `192.0.2.1`, `192.0.2.1:4000`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4000`; port 0 where none is told.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let told = bare.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0));
    let address = told.or_else(|| text.parse().ok())?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_words_or_hardware_addresses() {
        for (text, is_one) in [
            ("lop-6a", true),
            ("LOP-6A", true),
            ("7", true),
            (&"x".repeat(63), true),
            (&"x".repeat(64), false),
            ("", false),
            ("lớp", false),
            ("a.b", false),
            ("a/b", false),
            ("a b", false),
            ("a0:b1:c2:d3:e4:f5", true),
            ("A0-B1-C2-D3-E4-F5", true),
            ("a0:b1:c2:d3:e4", false),
            ("a0:b1:c2:d3:e4:g5", false),
        ] {
            assert_eq!(configured(text).is_some(), is_one, "{text:?}");
        }
        assert_eq!(configured("a0:b1:c2:d3:e4:f5"), configured("A0-B1-C2-D3-E4-F5"));
        assert_ne!(configured("a0:b1:c2:d3:e4:f5"), configured("a0b1c2d3e4f5"), "nobody gives an address as a name");
    }

    #[test]
    fn a_label_before_our_own_name_is_an_identity() {
        for (own, asked, identity) in [
            ("dns.example.vn", "lop-6a.dns.example.vn", Some("lop-6a")),
            ("dns.example.vn", "LOP-6A.DNS.example.vn", Some("lop-6a")),
            ("dns.example.vn", "dns.example.vn", None),
            ("dns.example.vn", "a.b.dns.example.vn", None),
            ("dns.example.vn", ".dns.example.vn", None),
            ("dns.example.vn", "xdns.example.vn", None),
            ("dns.example.vn", "lop-6a.dns.example.com", None),
            ("dns.example.vn", "vn", None),
            ("dns.example.vn", "a_b.dns.example.vn", None),
        ] {
            assert_eq!(of_server_name(own, asked), identity.and_then(configured), "{asked}");
        }
    }

    #[test]
    fn a_path_may_name_who_asks() {
        for (path, expected) in [
            ("/dns-query", Some(None)),
            ("/dns-query/lop-6a", Some(Some("lop-6a"))),
            ("/dns-query/Lop-6A", Some(Some("lop-6a"))),
            ("/dns-query/", None),
            ("/dns-query/a/b", None),
            ("/dns-query/a/", None),
            ("/dns-query/%61", None),
            ("/dns-queryx", None),
            ("/", None),
            ("", None),
        ] {
            let expected = expected.map(|text| Path { identity: text.and_then(configured) });
            assert_eq!(Path::read(path), expected, "{path}");
        }
    }

    #[test]
    fn options_of_routers_carry_identities() {
        let mac = configured("a0:b1:c2:d3:e4:f5");
        for (code, value, identity) in [
            (MAC_OPTION, &[0xa0, 0xb1, 0xc2, 0xd3, 0xe4, 0xf5][..], mac),
            (MAC_OPTION, b"A0:B1:C2:D3:E4:F5", mac),
            (MAC_OPTION, b"a0b1", None),
            (MAC_OPTION, b"", None),
            (CPE_ID_OPTION, b"lop-6a", configured("lop-6a")),
            (CPE_ID_OPTION, b"", None),
            (8, b"lop-6a", None),
        ] {
            assert_eq!(of_option(code, value), identity, "{code} {value:?}");
        }
        assert_eq!(of_option(CPE_ID_OPTION, &[b'x'; IDENTITY_OCTETS_MAX + 1]), None);
    }

    #[test]
    fn the_last_address_that_is_no_proxy_of_ours_is_the_clients() {
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        for (values, client) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["203.0.113.9, 192.0.2.1"], Some("192.0.2.1")),
            (&["203.0.113.9, 192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
            (&["203.0.113.9", "192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
            (&["192.0.2.1:4000"], Some("192.0.2.1:4000")),
            (&["[2001:db8::1]:4000"], Some("[2001:db8::1]:4000")),
            (&["é, 192.0.2.1"], Some("192.0.2.1")),
            (&["192.0.2.1, é"], None),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            (&["10.0.0.2, 10.0.0.1"], Some("10.0.0.2")),
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1, unknown, 10.0.0.1"], None),
            (&[""], None),
            (&[], None),
        ] {
            let client = client.map(|text: &str| address(text).unwrap());
            let octets = values.iter().map(|value| value.as_bytes());
            assert_eq!(forwarded_for(octets, is_trusted), client, "{values:?}");
        }
        let long = "10.0.0.1, ".repeat(10 * FORWARDED_ADDRESSES_MAX) + "10.0.0.1";
        assert!(forwarded_for([long.as_bytes()].into_iter(), is_trusted).is_some());
    }
}
