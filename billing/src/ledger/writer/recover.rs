//! After a fault of the store: what callers are told, and what the writer goes on from.

use super::Writer;
use crate::error::BillingError;
use crate::ledger::store::StoreFault;
use crate::rules::State;

const FENCED: &str = "another process writes this ledger now";

impl Writer {
    /// What a failed batch means. The state in memory has what was not kept, so it is read again
    /// before anything else is decided or told.
    pub(super) fn recover(&mut self, fault: StoreFault) -> BillingError {
        self.stale = true;
        match fault {
            StoreFault::Passing(error) => BillingError::Store(error),
            // After a failed sync nobody knows what is on the disk until the store is opened
            // again.
            StoreFault::Unsure(error) => self.shared.stop(format!("the store failed: {error}")),
            StoreFault::Broken(reason) => self.shared.stop(reason),
            StoreFault::Fenced => self.shared.stop(FENCED.to_owned()),
        }
    }

    /// Reads the state again where it has what was never kept. A fault that passes is tried again
    /// with the next batch, which an idle writer has at each sweep.
    pub(super) fn refresh(&mut self) -> Result<(), BillingError> {
        if !self.stale {
            return Ok(());
        }
        let loaded = self.store.load().map_err(|fault| match fault {
            StoreFault::Passing(error) => BillingError::Store(error),
            StoreFault::Fenced => self.shared.stop(FENCED.to_owned()),
            fault => self.shared.stop(format!("the state is unreadable: {fault:?}")),
        })?;
        self.state = State::of(loaded, self.options.holds_open_max);
        self.stale = false;
        Ok(())
    }
}

/// What is due cannot be refused.
pub(super) fn broken(refusal: &crate::error::Refusal) -> StoreFault {
    StoreFault::Broken(format!("what is due cannot be done: {refusal}"))
}

/// A fault as callers are told.
pub(super) fn failed(fault: StoreFault) -> BillingError {
    match fault {
        StoreFault::Passing(error) | StoreFault::Unsure(error) => BillingError::Store(error),
        StoreFault::Broken(reason) => BillingError::Stopped(reason),
        StoreFault::Fenced => BillingError::Stopped(FENCED.to_owned()),
    }
}
