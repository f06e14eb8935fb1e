//! The prices in force, kept here so that asking for them is cheap.

use std::sync::{Arc, PoisonError, Weak};

use super::Shared;
use super::link::Failure;
use crate::error::BillingError;

impl Shared {
    /// Fetches the prices, unless they are the ones that are here already.
    pub(super) async fn refresh_prices(&self) -> Result<(), BillingError> {
        let known = self.prices.read().unwrap_or_else(PoisonError::into_inner).clone();
        let fetched = self.link.prices(known.map(|book| book.version));
        match tokio::time::timeout(self.limits.attempt_deadline, fetched).await {
            Ok(Ok(Some(book))) => {
                let mut prices = self.prices.write().unwrap_or_else(PoisonError::into_inner);
                *prices = Some(Arc::new(book));
                Ok(())
            }
            Ok(Ok(None)) => Ok(()),
            Ok(Err(Failure::Answered(error) | Failure::TooMuch(error))) => Err(error),
            Ok(Err(Failure::Lost(text))) => Err(BillingError::Unreachable(text)),
            Err(_) => Err(BillingError::Unreachable("it did not answer in time".to_owned())),
        }
    }
}

/// Looks at the prices again and again, for as long as somebody needs them. While the service is
/// away the last ones stand: a hold pins the version that was quoted.
pub(super) async fn refresh(shared: Weak<Shared>) {
    let mut failing = false;
    loop {
        let Some(every) = shared.upgrade().map(|shared| shared.limits.prices_every) else { return };
        tokio::time::sleep(every).await;
        let Some(shared) = shared.upgrade().filter(|shared| !shared.queue.closed()) else { return };
        match shared.refresh_prices().await {
            Ok(()) => failing = false,
            // Once, not every second.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "the prices could not be refreshed; the last ones stand");
            }
            Err(_) => {}
        }
    }
}
