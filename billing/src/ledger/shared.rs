//! What the writer tells everybody: the prices, and whether it has stopped.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::error::BillingError;
use crate::price::{PriceBook, in_force};

/// Shared between the handles, the writer and the readers.
#[derive(Debug, Default)]
pub(super) struct Shared {
    books: RwLock<Vec<Arc<PriceBook>>>,
    stopped: OnceLock<String>,
}

impl Shared {
    /// Stops writing for good. The first reason stays.
    pub(super) fn stop(&self, reason: String) -> BillingError {
        let first = self.stopped.get_or_init(|| {
            tracing::error!(reason, "the ledger stops writing; reading goes on");
            reason
        });
        BillingError::Stopped(first.clone())
    }

    /// Why writing has stopped, if it has.
    pub(super) fn stopped(&self) -> Option<BillingError> {
        self.stopped.get().map(|reason| BillingError::Stopped(reason.clone()))
    }

    /// Replaces the price books by those that are committed.
    pub(super) fn publish(&self, books: Vec<Arc<PriceBook>>) {
        *self.books.write().unwrap_or_else(PoisonError::into_inner) = books;
    }

    /// The prices in force. The first version is, from the start of time.
    pub(super) fn prices(&self, now_ms: u64) -> Arc<PriceBook> {
        let books = self.books.read().unwrap_or_else(PoisonError::into_inner);
        in_force(books.iter(), now_ms).unwrap_or_else(|| Arc::new(PriceBook::initial()))
    }
}
