//! Messages on streams: behind their lengths on TCP and TLS (RFC 1035 §4.2.2, RFC 7858), one alone on a stream of QUIC (RFC 9250).

use crate::engine::query::{self, Header};

/// Octets of the largest message with its length.
pub const FRAME_OCTETS_MAX: usize = 2 + u16::MAX as usize;

/// The first message, without its length, and what follows it; `None`: its end has not come.
pub fn first(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Adds a message of at most 65,535 octets, behind its length.
pub fn put(framed: &mut Vec<u8>, message: &[u8]) {
    let len = u16::try_from(message.len()).expect("a message on a stream is at most 65,535 octets");
    framed.reserve(2 + message.len());
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(message);
}

/// The one question of a stream of QUIC. RFC 9250 §4.2 and §4.2.1: with an id of 0; and §5.5.2: without edns-tcp-keepalive.
pub fn only(framed: &[u8]) -> Option<&[u8]> {
    let (message, after) = first(framed)?;
    if !after.is_empty() || message.len() < Header::LEN || message[..2] != [0, 0] {
        return None;
    }
    // What cannot be read gets its answer from whoever answers.
    let query = Header::peek(message).and_then(|header| query::read(message, header).ok());
    let asks_keepalive = query.is_some_and(|query| query.edns.is_some_and(|edns| edns.keepalive));
    (!asks_keepalive).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = Vec::new();
        put(&mut framed, message);
        framed
    }

    #[test]
    fn messages_are_found_one_after_the_other_when_they_are_whole() {
        for (octets, found) in [
            (&b""[..], None),
            (b"\0", None),
            (b"\0\x01", None),
            (b"\0\0", Some((&b""[..], &b""[..]))),
            (b"\0\x01a", Some((b"a", b""))),
            (b"\0\x01a\0\x02b", Some((b"a", b"\0\x02b"))),
            (b"\x01\0a", None),
        ] {
            assert_eq!(first(octets), found, "{octets:?}");
        }
        let largest = vec![7; usize::from(u16::MAX)];
        assert_eq!(framed(&largest).len(), FRAME_OCTETS_MAX);
        assert_eq!(first(&framed(&largest)), Some((&largest[..], &[][..])));
    }

    #[test]
    fn a_stream_of_quic_holds_one_message_with_id_0() {
        let message = [0; Header::LEN];
        assert_eq!(only(&framed(&message)), Some(&message[..]));
        let mut with_id = message;
        with_id[1] = 1;
        let keepalive = [
            &[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1][..],
            &[0, 0, 1, 0, 1],
            &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 11, 0, 0],
        ];
        for bad in [
            Vec::new(),
            vec![0],
            framed(&message[1..]),
            framed(&with_id),
            framed(&keepalive.concat()),
            [framed(&message), vec![0]].concat(),
            framed(&message)[..10].to_vec(),
            [framed(&message), framed(&message)].concat(),
        ] {
            assert_eq!(only(&bad), None, "{bad:?}");
        }
    }
}
