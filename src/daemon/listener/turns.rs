//! HTTP/2 in turns: all that is there is read, then answered, then the answers are written at once ([`records`](super::records)).
//! What a request means is [`https`](super::https)'s.
//!
//! To write each answer by itself takes a system call and a segment for each, which is half of what an answer costs.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;

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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::Full;
    use hyper::body::Bytes;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;

    use super::*;
    use crate::daemon::listener::records::tests::{Heard, Written, tls};
    use crate::daemon::listener::records::{Frames, RecordEach};

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
        let (unanswered, stream) = (Unanswered::default(), TokioIo::new(RecordEach::<_, Frames>::new(ours)));
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
