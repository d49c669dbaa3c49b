//! The PROXY protocol, version 2: what a proxy before us says of its client, in a header before a datagram or a connection's
//! first octet. <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt> §2.2.
//!
//! Whose header is believed is not decided here. A header is read whole or not at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::engine::limits::PROXY_HEADER_OCTETS_MAX;

/// What every header begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Octets up to the length, which says how many follow.
pub const HEAD_OCTETS: usize = 16;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// `None`: the proxy asks for itself (LOCAL), as when it looks whether we are there.
    pub client: Option<Ends>,
    tlvs: &'a [u8],
}

/// The two ends of the client's connection with the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// Why there is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Something else begins here.
    Missing,
    /// It breaks off, or is of a version or a family that is not understood.
    Bad,
    /// It is longer than any that is read.
    TooLong,
}

impl Problem {
    pub const ALL: [Problem; 3] = [Problem::Missing, Problem::Bad, Problem::TooLong];

    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Problem::Missing => "missing",
            Problem::Bad => "bad",
            Problem::TooLong => "too_long",
        }
    }
}

/// Octets that follow the first [`HEAD_OCTETS`].
pub fn rest_len(head: &[u8; HEAD_OCTETS]) -> Result<usize, Problem> {
    if head[..12] != SIGNATURE {
        return Err(Problem::Missing);
    }
    // The version stands in the upper half.
    if head[12] >> 4 != 2 {
        return Err(Problem::Bad);
    }
    let len = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if HEAD_OCTETS + len > PROXY_HEADER_OCTETS_MAX { Err(Problem::TooLong) } else { Ok(len) }
}

/// Reads the header that `octets` begin with, and gives what follows it.
pub fn read(octets: &[u8]) -> Result<(Header<'_>, &[u8]), Problem> {
    let (head, rest) = octets.split_first_chunk::<HEAD_OCTETS>().ok_or(Problem::Missing)?;
    let len = rest_len(head)?;
    let (told, after) = rest.split_at_checked(len).ok_or(Problem::Bad)?;
    let (client, tlvs) = match (head[12] & 0xf, head[13]) {
        // LOCAL: whatever is said of addresses is to be left.
        (0, _) => (None, &[][..]),
        // Over a stream (1) or in datagrams (2); the proxy may change from one to the other.
        (1, 0x11 | 0x12) => {
            let (ends, tlvs) = told.split_first_chunk::<12>().ok_or(Problem::Bad)?;
            let v4 = |at: usize| Ipv4Addr::new(ends[at], ends[at + 1], ends[at + 2], ends[at + 3]).into();
            (Some(Ends::new(v4(0), v4(4), &ends[8..])), tlvs)
        }
        (1, 0x21 | 0x22) => {
            let (ends, tlvs) = told.split_first_chunk::<36>().ok_or(Problem::Bad)?;
            let (addresses, _) = ends.as_chunks::<16>();
            let v6 = |i: usize| IpAddr::from(Ipv6Addr::from(addresses[i])).to_canonical();
            (Some(Ends::new(v6(0), v6(1), &ends[32..])), tlvs)
        }
        // Without an address there is nobody whose policy it could be.
        _ => return Err(Problem::Bad),
    };
    let header = Header { client, tlvs };
    // All of them are whole, or none is believed.
    if header.tlvs().any(|tlv| tlv.is_err()) { Err(Problem::Bad) } else { Ok((header, after)) }
}

impl Ends {
    fn new(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Ends {
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        Ends { source: SocketAddr::new(source, port(0)), destination: SocketAddr::new(destination, port(2)) }
    }
}

impl<'a> Header<'a> {
    /// The value of the first of a type.
    pub fn tlv(&self, kind: u8) -> Option<&'a [u8]> {
        self.tlvs().filter_map(Result::ok).find(|(of, _)| *of == kind).map(|(_, value)| value)
    }

    /// Types with their values. §2.2.1: one octet, a length of two, the value.
    fn tlvs(&self) -> impl Iterator<Item = Result<(u8, &'a [u8]), Problem>> + use<'a> {
        let mut rest = self.tlvs;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let read = rest.split_first_chunk::<3>().and_then(|([kind, a, b], after)| {
                let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([*a, *b])))?;
                Some(((*kind, value), after))
            });
            match read {
                Some((tlv, after)) => {
                    rest = after;
                    Some(Ok(tlv))
                }
                None => {
                    rest = &[];
                    Some(Err(Problem::Bad))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, told: &[u8]) -> Vec<u8> {
        let head = [0x20 | command, family];
        [&SIGNATURE[..], &head, &(told.len() as u16).to_be_bytes(), told].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 53, 0x0f, 0xa0, 0, 53];

    #[test]
    fn the_ends_and_what_follows_are_read() {
        let mut octets = header(1, 0x12, V4);
        octets.extend_from_slice(b"message");
        let (read, after) = read(&octets).unwrap();
        let ends = read.client.unwrap();
        assert_eq!(
            (ends.source, ends.destination),
            ("192.0.2.1:4000".parse().unwrap(), "198.51.100.53:53".parse().unwrap())
        );
        assert_eq!((after, read.tlv(0xe0)), (&b"message"[..], None));

        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let told = [&v6("2001:db8::1")[..], &v6("::ffff:192.0.2.53"), &[0, 7, 0, 53]].concat();
        let octets = header(1, 0x21, &told);
        let ends = super::read(&octets).unwrap().0.client.unwrap();
        assert_eq!(ends.source, "[2001:db8::1]:7".parse().unwrap());
        assert_eq!(ends.destination, "192.0.2.53:53".parse().unwrap(), "unmapped, as every address is");
    }

    #[test]
    fn values_are_found_by_their_types() {
        let told = [V4, &[0x04, 0, 2, 0, 0], &[0xe0, 0, 6], b"lop-6a", &[0xe1, 0, 0], &[0xe0, 0, 1], b"x"].concat();
        let octets = header(1, 0x11, &told);
        let (read, _) = read(&octets).unwrap();
        assert_eq!((read.tlv(0xe0), read.tlv(0xe1), read.tlv(0xe2)), (Some(&b"lop-6a"[..]), Some(&b""[..]), None));
    }

    #[test]
    fn a_proxy_may_ask_for_itself() {
        for octets in [header(0, 0, b""), header(0, 0x11, V4), header(0, 0x31, b"junk")] {
            assert_eq!(read(&octets), Ok((Header { client: None, tlvs: &[] }, &[][..])));
        }
    }

    #[test]
    fn what_is_no_header_says_why() {
        let mut version_1 = header(1, 0x11, V4);
        version_1[12] = 0x11;
        for (what, octets, problem) in [
            ("nothing", Vec::new(), Problem::Missing),
            ("a question", b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01".to_vec(), Problem::Missing),
            ("version 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 53\r\n".to_vec(), Problem::Missing),
            ("another version", version_1, Problem::Bad),
            ("cut", header(1, 0x11, V4)[..20].to_vec(), Problem::Bad),
            ("another command", header(2, 0x11, V4), Problem::Bad),
            ("an unknown family", header(1, 0, b""), Problem::Bad),
            ("a path", header(1, 0x31, &[0; 216]), Problem::Bad),
            ("addresses cut", header(1, 0x11, &V4[..11]), Problem::Bad),
            ("v6 addresses cut", header(1, 0x21, &[0; 35]), Problem::Bad),
            ("a value cut", header(1, 0x11, &[V4, &[0xe0, 0, 9, 1]].concat()), Problem::Bad),
            ("too long", header(1, 0x11, &[0; PROXY_HEADER_OCTETS_MAX]), Problem::TooLong),
        ] {
            assert_eq!(read(&octets).unwrap_err(), problem, "{what}");
        }
    }
}
