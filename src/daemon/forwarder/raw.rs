//! Replies of a stream as they came.
//!
//! hickory-net reads every message of a stream and drops those that it cannot read: an answer with one record that it knows better
//! (an unknown type without data, RFC 3597 §4) would be silence. So each is handed to it as the data of a record of a message that it
//! can read, with the same id, and taken out behind it; what it is worth is judged as for datagrams.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use hickory_net::NetError;
use hickory_net::xfer::DnsClientStream;
use hickory_proto::op::SerialMessage;

/// A header: an id, QR, and one record in the last section.
const HEADER: [u8; 10] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// The root's record of a type for private use (RFC 6895 §3.1), class IN, TTL 0.
const RECORD: [u8; 9] = [0, 0xff, 0, 0, 1, 0, 0, 0, 0];
/// Octets before the message: id, header, record and the data's length.
const ENVELOPE: usize = 2 + HEADER.len() + RECORD.len() + 2;

/// A stream whose messages come in envelopes.
pub struct Raw<S>(pub S);

impl<S: DnsClientStream> Stream for Raw<S> {
    type Item = Result<SerialMessage, NetError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map_ok(|message| {
            let (octets, from) = message.into_parts();
            SerialMessage::new(enveloped(octets), from)
        })
    }
}

impl<S: DnsClientStream> DnsClientStream for Raw<S> {
    type Time = S::Time;

    fn name_server_addr(&self) -> SocketAddr {
        self.0.name_server_addr()
    }
}

/// What is no message at all stays as it is.
fn enveloped(message: Vec<u8>) -> Vec<u8> {
    let (Some(id), Ok(len)) = (message.first_chunk::<2>(), u16::try_from(message.len())) else { return message };
    [&id[..], &HEADER, &RECORD, &len.to_be_bytes(), &message].concat()
}

/// The message in an envelope; another is its own. Whoever sent it could as well have sent what is in it.
pub fn opened(mut octets: Vec<u8>) -> Vec<u8> {
    let is_enveloped = octets.len() >= ENVELOPE
        && octets[2..].starts_with(&HEADER)
        && octets[2 + HEADER.len()..].starts_with(&RECORD)
        && usize::from(u16::from_be_bytes([octets[ENVELOPE - 2], octets[ENVELOPE - 1]])) == octets.len() - ENVELOPE;
    if is_enveloped {
        octets.drain(..ENVELOPE);
    }
    octets
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::DnsResponse;

    use super::*;

    #[test]
    fn whatever_came_goes_through_hickory_as_it_is() {
        let header = [7, 9, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0];
        // An empty list of prefixes (RFC 3123 §4), of which hickory-proto makes an error.
        let odd = [&header[..], &[0, 0, 42, 0, 1, 0, 0, 0, 9, 0, 0]].concat();
        assert!(DnsResponse::from_buffer(odd.clone()).is_err());
        for message in [odd, header.to_vec(), vec![1, 2], vec![3; usize::from(u16::MAX)]] {
            let response = DnsResponse::from_buffer(enveloped(message.clone())).unwrap();
            assert_eq!(response.id.to_be_bytes(), message[..2]);
            assert_eq!(opened(response.into_buffer()), message);
        }
        assert_eq!(enveloped(vec![1]), [1]);
        assert_eq!(opened(header.to_vec()), header);
    }
}
