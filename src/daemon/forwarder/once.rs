//! Work that runs once and whose result everybody waits for: a connection being made, a name being resolved.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

/// The result of a task, to come or there.
#[derive(Clone)]
pub struct Once<T>(watch::Receiver<Option<Result<T, Arc<str>>>>);

impl<T: Clone + Send + Sync + 'static> Once<T> {
    /// Starts the work as a task of its own: it goes on when the question that began it is taken back. It must end by
    /// itself.
    pub fn spawn(work: impl Future<Output = Result<T, String>> + Send + 'static) -> Once<T> {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let result = work.await.map_err(Arc::from);
            // Nobody may be waiting any more; then nobody is told.
            let _ = sender.send(Some(result));
        });
        Once(receiver)
    }

    pub async fn get(&self) -> Result<T, Arc<str>> {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or_else(|| Err("not finished".into())),
            Err(_) => Err("the task was stopped".into()),
        }
    }

    pub fn peek(&self) -> Option<Result<T, Arc<str>>> {
        self.0.borrow().clone()
    }
}
