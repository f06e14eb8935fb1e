//! What can go wrong, one variant per decision of the caller.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hold::HoldEnd;
use crate::money::Nano;

/// Why the ledger did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BillingError {
    /// The rules refuse it. The operation id keeps this answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The operation id was used before with another payload.
    #[error("this operation id was used before with another payload")]
    Conflict,
    /// No hold has this id.
    #[error("no such hold")]
    UnknownHold,
    /// No price book has this version.
    #[error("no such price version")]
    UnknownPrice,
    /// The hold has ended before, in the way that is named.
    #[error("the hold has ended: {0}")]
    HoldEnded(HoldEnd),
    /// A queue or table is at its limit: try again later. Nothing was done.
    #[error("the ledger is overloaded, try again later")]
    Overloaded,
    /// The request makes no sense; the text names the field. The operation id is not used up.
    #[error("{0}")]
    Invalid(String),
    /// Writing has stopped: the ledger is closed, or an invariant is broken (the text says which).
    #[error("the ledger does not write any more: {0}")]
    Stopped(String),
    /// The disk or the database failed. Whether the operation was done is known after a retry
    /// with the same operation id.
    #[error("the ledger's store failed")]
    Store(#[source] StoreError),
    /// The ledger's file cannot be opened.
    #[error("cannot open the ledger {}", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: OpenFailure,
    },
}

/// Why a ledger's file cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenFailure {
    /// Another process (or another handle in this one) has it open.
    #[error("it is locked: another process has it open")]
    Locked,
    /// A later Emberbox wrote it.
    #[error("its schema version is {found}, this program knows up to {known}: use a newer program")]
    NewerSchema {
        /// The version in the file.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// It is something else than a ledger, or empty.
    #[error("it is not a ledger: {0}")]
    NotALedger(String),
    /// It is damaged or cut short.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The operating system refuses.
    #[error("{0}")]
    Io(#[source] Arc<std::io::Error>),
    /// The database library refuses.
    #[error("{0}")]
    Store(#[source] StoreError),
}

/// A failure of the database below.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Arc<rusqlite::Error>);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        StoreError(Arc::new(error))
    }
}

impl From<rusqlite::Error> for BillingError {
    fn from(error: rusqlite::Error) -> BillingError {
        BillingError::Store(error.into())
    }
}

/// Why the rules refuse an operation. Codes are never reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Code 1: the wallet has less than the hold needs.
    #[error("insufficient credits: {needed} needed, {available} available")]
    InsufficientCredits {
        /// The amount of the hold.
        needed: Nano,
        /// What is neither spent nor held.
        available: Nano,
    },
    /// Code 2: an account's lifetime total would leave the range of 64-bit nano-credits.
    #[error("the amount does not fit: an account would hold more than {max} credits in total", max = Nano::MAX)]
    BalanceOverflow,
}

/// Whether asking again (with a new operation id) can have another outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalClass {
    /// It may succeed later, for instance after a top-up.
    Transient,
    /// It will never succeed.
    Final,
}

impl Refusal {
    /// The number of this refusal, stable for ever.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Refusal::InsufficientCredits { .. } => 1,
            Refusal::BalanceOverflow => 2,
        }
    }

    /// Whether asking again can help.
    #[must_use]
    pub const fn class(&self) -> RefusalClass {
        match self {
            Refusal::InsufficientCredits { .. } => RefusalClass::Transient,
            Refusal::BalanceOverflow => RefusalClass::Final,
        }
    }
}
