//! What everybody may look at: the prices in force, how far the disk is, and whether writing has
//! stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tokio::sync::watch;

use crate::error::BillingError;
use crate::price::{PriceBook, in_force};

/// Shared between the writer, the readers and all handles.
#[derive(Debug, Default)]
pub(super) struct Shared {
    books: RwLock<Vec<Arc<PriceBook>>>,
    /// The latest time that prices were asked at: a clock that steps back brings no old prices
    /// back.
    asked_at_ms: AtomicU64,
    stopped: OnceLock<String>,
    progress: watch::Sender<Progress>,
}

/// Counts of batches.
#[derive(Debug, Default)]
struct Progress {
    /// Committed, or about to be: readers may see their rows.
    begun: u64,
    /// Durable.
    synced: u64,
    /// A sync failed: nobody knows what became of the batches since the last one.
    failed: Option<BillingError>,
}

impl Shared {
    /// Publishes all price books.
    pub(super) fn publish(&self, books: Vec<Arc<PriceBook>>) {
        *self.books.write().unwrap_or_else(PoisonError::into_inner) = books;
    }

    /// The prices in force.
    pub(super) fn prices(&self, now_ms: u64) -> Arc<PriceBook> {
        let before_ms = self.asked_at_ms.fetch_max(now_ms, Ordering::Relaxed);
        let books = self.books.read().unwrap_or_else(PoisonError::into_inner);
        in_force(books.iter(), now_ms.max(before_ms))
            .unwrap_or_else(|| Arc::new(PriceBook::initial()))
    }

    /// Stops writing for good; the first reason stays.
    pub(super) fn stop(&self, reason: String) -> BillingError {
        tracing::error!(%reason, "the ledger has stopped writing");
        BillingError::Stopped(self.stopped.get_or_init(|| reason).clone())
    }

    /// Why writing has stopped, if it has.
    pub(super) fn stopped(&self) -> Option<BillingError> {
        self.stopped.get().cloned().map(BillingError::Stopped)
    }

    /// A batch is about to be committed.
    pub(super) fn begin(&self) {
        self.progress.send_modify(|progress| progress.begun = progress.begun.saturating_add(1));
    }

    /// The batch that was begun last was not committed.
    pub(super) fn withdraw(&self) {
        self.progress.send_modify(|progress| progress.begun = progress.begun.saturating_sub(1));
    }

    /// How many batches were begun.
    pub(super) fn begun(&self) -> u64 {
        self.progress.borrow().begun
    }

    /// So many batches are durable.
    pub(super) fn synced(&self, batches: u64) {
        self.progress.send_modify(|progress| progress.synced = progress.synced.max(batches));
    }

    /// A sync has failed: whatever is not durable by now is in doubt until the next start.
    pub(super) fn doubt(&self, error: &BillingError) {
        self.progress.send_modify(|progress| progress.failed = Some(error.clone()));
    }

    /// Waits until all that could be seen so far is durable: what a crash may take back must not
    /// be told. That takes no longer than a commit and a sync.
    pub(super) async fn settled(&self) -> Result<(), BillingError> {
        let mut progress = self.progress.subscribe();
        let seen = progress.borrow().begun;
        let is_over = |progress: &Progress| {
            // A batch that was withdrawn was never there.
            progress.failed.is_some() || progress.synced >= seen.min(progress.begun)
        };
        let Ok(progress) = progress.wait_for(is_over).await else { return Ok(()) };
        match &progress.failed {
            Some(error) if progress.synced < seen.min(progress.begun) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}
