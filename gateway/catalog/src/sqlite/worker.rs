use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::CatalogError;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A thread that owns one connection and does one job after the other.
///
/// SQLite blocks, so it never runs on an executor thread; the queue is bounded, and a full one is
/// answered at once rather than waited for.
pub(super) struct Worker {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(
        name: &str,
        connection: Connection,
        queue_max: usize,
    ) -> Result<Self, CatalogError> {
        let (jobs, queue) = sync_channel(queue_max.max(1));
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(connection, &queue))
            .map_err(CatalogError::Thread)?;
        Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a job on the thread and waits for its answer.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, CatalogError> + Send + 'static,
    {
        let (answer, waiting) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A caller that no longer waits needs no answer; what was written stays written.
            if answer.send(job(connection)).is_err() {
                tracing::trace!("the caller of a catalog operation has left");
            }
        });
        let jobs = self.jobs.as_ref().ok_or(CatalogError::Stopped)?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => CatalogError::Overloaded,
            TrySendError::Disconnected(_) => CatalogError::Stopped,
        })?;
        waiting.await.unwrap_or(Err(CatalogError::Stopped))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a thread of the catalog ended in a panic");
        }
    }
}

fn work(mut connection: Connection, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        job(&mut connection);
    }
}
