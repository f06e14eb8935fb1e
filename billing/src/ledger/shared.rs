//! What everybody may look at: the prices in force, and whether writing has stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

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
}
