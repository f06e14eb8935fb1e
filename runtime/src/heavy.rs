//! Where guests go on that compute for long: threads of their own, which come after all others.
//!
//! A guest yields at every epoch tick, but whoever waits behind it on the same thread has waited for
//! a tick then, and a request waits several times on its way. So a guest that has used a tick's worth
//! of CPU time leaves the threads that requests are answered on, and the system's scheduler, which
//! prefers threads that seldom run, does the rest.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// CPU time after which a guest is moved.
pub(crate) const HEAVY_AFTER: Duration = Duration::from_millis(5);
/// How far these threads stand back, as `nice` counts.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// The threads, until they are dropped.
pub(crate) struct Heavy {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Heavy {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("guests")
            .on_thread_start(stand_back)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        // It may be dropped where nobody may wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where the system does not allow it, they are threads like others.
#[cfg(target_os = "linux")]
fn stand_back() {
    // On Linux, of this thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the guests' threads have the priority of all others");
    }
}

#[cfg(not(target_os = "linux"))]
fn stand_back() {}

/// Runs a guest's work on the threads of the present runtime, and on the others from the moment on
/// at which it is heavy.
pub(crate) fn spawn<W>(work: W, heavy: &Handle, is_heavy: impl Fn() -> bool + Send + Sync + 'static)
where
    W: Future<Output = ()> + Send + 'static,
{
    let heavy = heavy.clone();
    let mut work: Pin<Box<W>> = Box::pin(work);
    tokio::spawn(async move {
        let is_done = std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if is_heavy() => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        })
        .await;
        if !is_done {
            heavy.spawn(work);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn here() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    #[tokio::test]
    async fn work_moves_once_it_is_heavy() {
        let heavy = Heavy::start().unwrap();
        let flag = Arc::new(AtomicBool::new(false));
        let (sender, places) = oneshot::channel();
        let set = Arc::clone(&flag);
        let work = async move {
            let mut places = vec![here()];
            tokio::task::yield_now().await;
            places.push(here());
            set.store(true, Ordering::Relaxed);
            tokio::task::yield_now().await;
            places.push(here());
            // A timer that was made on one runtime goes on on the other.
            tokio::time::sleep(Duration::from_millis(1)).await;
            places.push(here());
            sender.send(places).unwrap();
        };
        spawn(work, heavy.handle(), move || flag.load(Ordering::Relaxed));
        let places = places.await.unwrap();
        let apart: Vec<bool> = places.iter().map(|p| p.as_deref() == Some("guests")).collect();
        assert_eq!(apart, [false, false, true, true], "{places:?}");
    }

    /// A guest is dropped with the engine's last handle, inside of tasks too.
    #[tokio::test]
    async fn the_threads_can_be_dropped_anywhere() {
        drop(Heavy::start().unwrap());
    }
}
