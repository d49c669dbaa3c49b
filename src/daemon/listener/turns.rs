//! HTTP/2 in turns: all that is there is read, then answered, then the answers are written at once, each in a record of TLS of
//! its own. What a request means is [`https`](super::https)'s.
//!
//! To write each answer by itself takes a system call and a segment for each, which is half of what an answer costs.

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::engine::limits::TCP_PIPELINE_MAX;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Requests of one connection that were read and not looked at yet, at most [`TCP_PIPELINE_MAX`].
pub(super) type Unanswered = Arc<Mutex<Vec<Work>>>;

/// Keeps requests until all are read that came together. hyper gives one to each request, so it does not own what it keeps: a
/// request would keep itself.
#[derive(Clone)]
pub(super) struct Keeper(Weak<Mutex<Vec<Work>>>);

impl Keeper {
    pub(super) fn of(unanswered: &Unanswered) -> Keeper {
        Keeper(Arc::downgrade(unanswered))
    }
}

impl<F> Executor<F> for Keeper
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, work: F) {
        // Nobody is there any more who would take the answer.
        let Some(unanswered) = self.0.upgrade() else { return };
        let work: Work = Box::pin(async { drop(work.await) });
        {
            let mut kept = unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            // Who takes requests back makes room for more of them in the same turn.
            if kept.len() < TCP_PIPELINE_MAX {
                return kept.push(work);
            }
        }
        answer(work);
    }
}

/// Does at once what needs nobody else, as most requests do; what has to wait becomes a task.
fn answer(mut work: Work) {
    // Nobody has to be told to go on: the task that follows asks again.
    if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::spawn(work);
    }
}

/// A connection whose [`Keeper`] keeps requests.
pub(super) struct Turns<'t, T> {
    pub talk: Pin<&'t mut T>,
    pub unanswered: Unanswered,
}

impl<T: Future> Future for Turns<'_, T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        let done = self.talk.as_mut().poll(context);
        let kept = std::mem::take(&mut *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner));
        if done.is_pending() && !kept.is_empty() {
            kept.into_iter().for_each(answer);
            // To write.
            context.waker().wake_by_ref();
        }
        done
    }
}

/// A stream of TLS that puts each answer into a record of its own, and sends the records of one write together.
///
/// Clients may take one answer of a record and lose the others: dnsperf does (its issue 240). It takes octets in one piece only: to a
/// stream that takes several, h2 gives each answer of 256 octets or more by itself.
pub(super) struct RecordEach<IO> {
    stream: TlsStream<IO>,
    frames: Frames,
}

impl<IO> RecordEach<IO> {
    pub(super) fn new(stream: TlsStream<IO>) -> RecordEach<IO> {
        RecordEach { stream, frames: Frames::default() }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for RecordEach<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RecordEach<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        let RecordEach { stream, frames } = &mut *self;
        let mut taken = 0;
        loop {
            let rest = &octets[taken..];
            let mut after = *frames;
            let mut record = &rest[..after.pass_to_end_of_data(rest)];
            if record.len() < rest.len() {
                // Made now, and written with the last.
                let count = stream.get_mut().1.writer().write(record)?;
                frames.pass(&record[..count]);
                taken += count;
                if count == record.len() {
                    continue;
                }
                record = &record[count..];
            }
            // What stands last, or does not fit, goes the way on which there is somebody to wait.
            return match Pin::new(stream).poll_write(context, record) {
                Poll::Ready(Ok(count)) => {
                    frames.pass(&record[..count]);
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
struct Frames {
    head: [u8; Frames::HEAD],
    /// Octets of the head that have passed.
    has: usize,
    /// Octets of the frame behind its head that have not.
    left: usize,
}

impl Frames {
    const HEAD: usize = 9;
    const DATA: u8 = 0;

    /// Passes octets up to the end of the next frame of data, or all there are; how many.
    fn pass_to_end_of_data(&mut self, octets: &[u8]) -> usize {
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

    fn pass(&mut self, octets: &[u8]) {
        let mut at = 0;
        while at < octets.len() {
            at += self.pass_to_end_of_data(&octets[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::Full;
    use hyper::body::Bytes;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;

    use super::*;

    /// What was written, and in how many pieces.
    #[derive(Default)]
    struct Written {
        pieces: usize,
        octets: Vec<u8>,
    }

    impl Written {
        /// Records of TLS with what is encrypted.
        fn records(&self) -> usize {
            let mut rest = &self.octets[..];
            let mut count = 0;
            while let [kind, _, _, high, low, behind @ ..] = rest {
                count += usize::from(*kind == 23);
                rest = &behind[usize::from(*high) << 8 | usize::from(*low)..];
            }
            count
        }
    }

    struct Heard(tokio::io::DuplexStream, Arc<Mutex<Written>>);

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
    async fn tls(
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

    #[tokio::test]
    async fn answers_to_requests_that_came_together_leave_together_in_a_record_each() {
        const REQUESTS: usize = 20;
        // As long as a padded answer.
        const ANSWER: &[u8] = &[7; 468];
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let written = Arc::new(Mutex::new(Written::default()));
        let (ours, theirs) = tls(Heard(ours, Arc::clone(&written)), theirs).await;
        let (mut client, mut connection) = h2::client::handshake(theirs).await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..REQUESTS {
            client = client.ready().await.unwrap();
            answers.push(client.send_request(Request::get("https://localhost/").body(()).unwrap(), true).unwrap().0);
        }
        // All of it lies there before the server begins.
        assert!(Pin::new(&mut connection).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        *written.lock().unwrap() = Written::default();
        let (unanswered, stream) = (Unanswered::default(), TokioIo::new(RecordEach::new(ours)));
        let asked =
            service_fn(|_| async { Ok::<_, std::fmt::Error>(Response::new(Full::new(Bytes::from_static(ANSWER)))) });
        let talk = hyper::server::conn::http2::Builder::new(Keeper::of(&unanswered)).serve_connection(stream, asked);
        let mut turns = Turns { talk: pin!(talk), unanswered };
        tokio::spawn(connection);
        let all = async {
            for answer in answers {
                let mut body = answer.await.unwrap().into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), ANSWER);
            }
        };
        tokio::select! {
            _ = &mut turns => panic!("the connection ended"),
            () = all => {}
        }
        // Settings and what is said to the client's are a few more of each.
        let written = written.lock().unwrap();
        let (pieces, records) = (written.pieces, written.records());
        assert!(pieces <= 6, "{pieces} writes for {REQUESTS} answers");
        assert!((REQUESTS..=REQUESTS + 5).contains(&records), "{records} records for {REQUESTS} answers");
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
                    at += frames.pass_to_end_of_data(&part[at..]);
                    if frames.has == 0 && frames.head[3] == Frames::DATA {
                        found.push(passed + at);
                    }
                }
                passed += part.len();
            }
            assert_eq!(found, ends, "{cut}");
        }
    }

    #[tokio::test]
    async fn requests_that_nobody_answers_go_with_their_connection() {
        let (unanswered, held) = (Unanswered::default(), Arc::new(()));
        let keeper = Keeper::of(&unanswered);
        // As hyper does: each request has the keeper.
        let work = |held: Arc<()>| {
            let keeper = keeper.clone();
            async move {
                std::future::pending::<()>().await;
                drop((keeper, held));
            }
        };
        (0..3).for_each(|_| keeper.execute(work(Arc::clone(&held))));
        assert_eq!((unanswered.lock().unwrap().len(), Arc::strong_count(&held)), (3, 4));
        // The connection ends in the turn in which they came.
        let ready = pin!(async {});
        Turns { talk: ready, unanswered }.await;
        assert_eq!(Arc::strong_count(&held), 1);
        keeper.execute(work(Arc::clone(&held)));
        assert_eq!(Arc::strong_count(&held), 1, "nobody takes the answer");
    }

    #[tokio::test]
    async fn what_is_kept_has_a_bound() {
        let (unanswered, answered) = (Unanswered::default(), Arc::new(AtomicUsize::new(0)));
        let keeper = Keeper::of(&unanswered);
        for _ in 0..TCP_PIPELINE_MAX + 5 {
            let answered = Arc::clone(&answered);
            keeper.execute(async move { answered.fetch_add(1, Ordering::Relaxed) });
        }
        assert_eq!((unanswered.lock().unwrap().len(), answered.load(Ordering::Relaxed)), (TCP_PIPELINE_MAX, 5));
    }
}
