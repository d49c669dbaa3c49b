//! A stream whose end is a lingering close: our side ends, then what the peer still sends is taken until its side ends, too.
//!
//! Closing over octets that nobody read is a reset, and that may overtake our last answers (RFC 1122 §4.2.2.13). A client of
//! HTTP/2 nearly always has something on the way: it acknowledges what it got.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a peer may take to hear that we close, and to close.
const GOODBYE: Duration = Duration::from_secs(1);

/// See the module. Everything but `poll_shutdown` is the stream's own.
pub(super) struct Lingering<S> {
    stream: S,
    /// Goes off when the peer has had its time; there is none before our side ends.
    alarm: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Lingering<S> {
        Lingering { stream, alarm: None, has_ended: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lingering<S> {
    fn poll_goodbye(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.has_ended {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.has_ended = true;
        }
        let mut unread = [0; 512];
        loop {
            let mut unread = ReadBuf::new(&mut unread);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut unread));
            if read.is_err() || unread.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(GOODBYE)));
        // First: a peer that sends without end would leave it no turn.
        if alarm.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_goodbye(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_the_peer_still_sends_is_taken_until_it_ends() {
        // Its pipe has room for less than it sends.
        let (ours, mut theirs) = duplex(64);
        let mut ours = Lingering::new(ours);
        let goodbye = tokio::spawn(async move { ours.shutdown().await });
        assert_eq!(theirs.read(&mut [0; 9]).await.unwrap(), 0, "our side ends first");
        theirs.write_all(&[7; 10_000]).await.unwrap();
        assert!(!goodbye.is_finished());
        let before = Instant::now();
        drop(theirs);
        goodbye.await.unwrap().unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_close_is_left() {
        let (ours, _theirs) = duplex(64);
        let mut ours = Lingering::new(ours);
        let before = Instant::now();
        ours.shutdown().await.unwrap();
        assert!((GOODBYE..2 * GOODBYE).contains(&before.elapsed()));
    }

    /// Whose pipe is never empty when it is looked into.
    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            // As a socket does: it costs the task's budget.
            let budget = ready!(tokio::task::coop::poll_proceed(context));
            budget.made_progress();
            into.put_slice(&[7; 9]);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Endless {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Ok(octets.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// By the clock, for one that stands still would do so for ever here.
    #[tokio::test]
    async fn who_sends_without_end_is_left_as_well() {
        let left = tokio::time::timeout(60 * GOODBYE, async { Lingering::new(Endless).shutdown().await });
        left.await.expect("it ends").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_left_too() {
        let (ours, _theirs) = duplex(64);
        let mut ours = Lingering::new(tokio::io::BufWriter::new(ours));
        // More than the pipe takes, so our side cannot end.
        ours.write_all(&[7; 1000]).await.unwrap();
        ours.shutdown().await.unwrap();
    }
}
