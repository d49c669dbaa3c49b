//! Answers in records of TLS: one each, however many leave together.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// A stream of TLS that puts each answer into a record of its own, and sends the records of one write together.
///
/// Clients may take one answer of a record and lose the others: dnsperf by HTTPS (its issue 240), and Stubby by TLS, which waits for the
/// socket while the rest lies in its TLS library. It takes octets in one piece only: to a stream that takes several, h2 gives each answer
/// of 256 octets or more by itself.
pub(super) struct RecordEach<IO, A> {
    stream: TlsStream<IO>,
    answers: A,
}

impl<IO, A: Answers> RecordEach<IO, A> {
    pub(super) fn new(stream: TlsStream<IO>) -> RecordEach<IO, A> {
        RecordEach { stream, answers: A::default() }
    }
}

/// Follows answers in what a server writes.
pub(super) trait Answers: Copy + Default + Unpin {
    /// Passes octets up to the end of the next answer, or all there are; how many.
    fn pass_one(&mut self, octets: &[u8]) -> usize;

    fn pass(&mut self, octets: &[u8]) {
        let mut at = 0;
        while at < octets.len() {
            at += self.pass_one(&octets[at..]);
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, A: Answers> AsyncRead for RecordEach<IO, A> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, A: Answers> AsyncWrite for RecordEach<IO, A> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        let RecordEach { stream, answers } = &mut *self;
        let mut taken = 0;
        loop {
            let rest = &octets[taken..];
            let mut after = *answers;
            let mut record = &rest[..after.pass_one(rest)];
            if record.len() < rest.len() {
                // Made now, and written with the last.
                let count = stream.get_mut().1.writer().write(record)?;
                answers.pass(&record[..count]);
                taken += count;
                if count == record.len() {
                    continue;
                }
                record = &record[count..];
            }
            // What stands last, or does not fit, goes the way on which there is somebody to wait.
            return match Pin::new(stream).poll_write(context, record) {
                Poll::Ready(Ok(count)) => {
                    answers.pass(&record[..count]);
                    Poll::Ready(Ok(taken + count))
                }
                // It is TLS's by now, and `poll_flush` follows.
                Poll::Pending if taken > 0 => Poll::Ready(Ok(taken)),
                other => other,
            };
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Follows the frames of HTTP/2 in what a server writes. RFC 9113 §4.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Frames {
    head: [u8; Frames::HEAD],
    /// Octets of the head that have passed.
    has: usize,
    /// Octets of the frame behind its head that have not.
    left: usize,
}

impl Frames {
    const HEAD: usize = 9;
    const DATA: u8 = 0;
}

impl Answers for Frames {
    /// An answer ends with a frame of data.
    fn pass_one(&mut self, octets: &[u8]) -> usize {
        let mut at = 0;
        while at < octets.len() {
            if self.has < Frames::HEAD {
                self.head[self.has] = octets[at];
                (self.has, at) = (self.has + 1, at + 1);
                let [high, middle, low, ..] = self.head;
                self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            } else {
                let passed = self.left.min(octets.len() - at);
                (self.left, at) = (self.left - passed, at + passed);
            }
            if self.has == Frames::HEAD && self.left == 0 {
                self.has = 0;
                if self.head[3] == Frames::DATA {
                    break;
                }
            }
        }
        at
    }
}

/// Follows messages of DNS behind their lengths. RFC 1035 §4.2.2, RFC 7858 §3.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Messages {
    /// The first octet of a length whose second has not passed.
    high: Option<u8>,
    /// Octets of the message that have not passed.
    left: usize,
}

impl Answers for Messages {
    fn pass_one(&mut self, octets: &[u8]) -> usize {
        let mut at = 0;
        while at < octets.len() {
            if self.left > 0 {
                let passed = self.left.min(octets.len() - at);
                (self.left, at) = (self.left - passed, at + passed);
            } else {
                let octet = octets[at];
                at += 1;
                match self.high.take() {
                    None => {
                        self.high = Some(octet);
                        continue;
                    }
                    Some(high) => self.left = usize::from(u16::from_be_bytes([high, octet])),
                }
            }
            if self.left == 0 {
                break;
            }
        }
        at
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::IoSlice;
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::engine::framing;

    /// What was written, and in how many pieces.
    #[derive(Default)]
    pub struct Written {
        pub pieces: usize,
        pub octets: Vec<u8>,
    }

    impl Written {
        /// Records of TLS with what is encrypted.
        pub fn records(&self) -> usize {
            let mut rest = &self.octets[..];
            let mut count = 0;
            while let [kind, _, _, high, low, behind @ ..] = rest {
                count += usize::from(*kind == 23);
                rest = &behind[usize::from(*high) << 8 | usize::from(*low)..];
            }
            count
        }
    }

    pub struct Heard(pub tokio::io::DuplexStream, pub Arc<Mutex<Written>>);

    impl AsyncRead for Heard {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, into)
        }
    }

    impl AsyncWrite for Heard {
        fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(octets)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<std::io::Result<usize>> {
            let octets: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            let done = Pin::new(&mut self.0).poll_write(context, &octets);
            if let Poll::Ready(Ok(count)) = done {
                let mut written = self.1.lock().unwrap();
                written.pieces += 1;
                written.octets.extend_from_slice(&octets[..count]);
            }
            done
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    /// Both ends of a connection of TLS.
    pub async fn tls(
        ours: Heard,
        theirs: tokio::io::DuplexStream,
    ) -> (TlsStream<Heard>, tokio_rustls::client::TlsStream<tokio::io::DuplexStream>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let (ours, theirs) = tokio::join!(
            tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(ours),
            tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, theirs)
        );
        (ours.unwrap(), theirs.unwrap())
    }

    /// Stubby takes one message of what TLS hands it, and waits for the socket before it takes the next.
    #[tokio::test]
    async fn messages_that_are_written_together_leave_together_in_a_record_each() {
        let messages: Vec<Vec<u8>> = (1..=20_u8).map(|n| vec![n; 30 * usize::from(n)]).collect();
        let mut framed = Vec::new();
        messages.iter().for_each(|message| framing::put(&mut framed, message));
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let written = Arc::new(Mutex::new(Written::default()));
        let (ours, mut theirs) = tls(Heard(ours, Arc::clone(&written)), theirs).await;
        *written.lock().unwrap() = Written::default();
        let mut stream = RecordEach::<_, Messages>::new(ours);
        stream.write_all(&framed).await.unwrap();
        stream.flush().await.unwrap();
        {
            let written = written.lock().unwrap();
            assert_eq!(written.records(), messages.len());
            assert!(written.pieces <= 2, "{} writes", written.pieces);
        }
        let mut came = vec![0; framed.len()];
        theirs.read_exact(&mut came).await.unwrap();
        assert_eq!(came, framed);
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let mut all = Vec::new();
        [3_usize, 0, 300, 1].iter().for_each(|len| framing::put(&mut all, &vec![9; *len]));
        let ends = [5, 7, 309, 312];
        for piece in [1, 2, 3, 7, 100, all.len()] {
            let (mut messages, mut at, mut met) = (Messages::default(), 0, Vec::new());
            for cut in all.chunks(piece) {
                let mut from = 0;
                while from < cut.len() {
                    from += messages.pass_one(&cut[from..]);
                    if messages == Messages::default() {
                        met.push(at + from);
                    }
                }
                at += cut.len();
            }
            assert_eq!(met, ends, "in pieces of {piece}");
        }
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let frame = |kind: u8, len: u8| [vec![0, 0, len, kind, 0, 0, 0, 0, 1], vec![9; usize::from(len)]].concat();
        // Headers and data twice, settings, data without octets.
        let all: Vec<u8> = [frame(1, 20), frame(0, 50), frame(1, 3), frame(0, 200), frame(4, 6), frame(0, 0)].concat();
        let ends = [88, 309, 333];
        for cut in 1..all.len() {
            let (mut frames, mut found, mut passed) = (Frames::default(), Vec::new(), 0);
            for part in all.chunks(cut) {
                let mut at = 0;
                while at < part.len() {
                    at += frames.pass_one(&part[at..]);
                    if frames.has == 0 && frames.head[3] == Frames::DATA {
                        found.push(passed + at);
                    }
                }
                passed += part.len();
            }
            assert_eq!(found, ends, "{cut}");
        }
    }
}
