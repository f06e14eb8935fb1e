//! What can go wrong, one variant per decision of the caller.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hold::HoldEnd;
use crate::money::Nano;
use crate::order::Window;

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
    /// The billing service cannot be reached. Whether the operation was done is known after a
    /// retry with the same id.
    #[error("the billing service cannot be reached: {0}")]
    Unreachable(String),
    /// The ledger's file cannot be opened.
    #[error("cannot open the ledger {at}")]
    CannotOpen {
        /// The file, or the database without its password.
        at: String,
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
pub struct StoreError(Arc<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Keeps what the database library said.
    pub(crate) fn new(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError(Arc::new(error))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        StoreError::new(error)
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
    /// Code 1: the organisation has less than the hold needs.
    #[error("insufficient credits: {needed} needed, {available} available")]
    InsufficientCredits {
        /// The amount of the hold.
        needed: Nano,
        /// What is neither spent nor held, and may pay for this call.
        available: Nano,
    },
    /// Code 2: an account's lifetime total would leave the range of 64-bit nano-credits.
    #[error("the amount does not fit: an account would hold more than {max} credits in total", max = Nano::MAX)]
    BalanceOverflow,
    /// Code 3: the organisation owes for late charges or for money taken back.
    #[error("{owed} credits are owed: top up to go on")]
    Owing {
        /// How much.
        owed: Nano,
    },
    /// Code 4: a budget does not allow it.
    #[error("the {} budget of this {} is used up: {needed} needed, {available} of {limit} left",
        match window { Window::Day => "daily", Window::Month => "monthly", Window::Total => "total" },
        if *of_key { "key" } else { "organisation" })]
    BudgetExceeded {
        /// Whether it is the key's own budget; else the organisation's.
        of_key: bool,
        /// How long its window is.
        window: Window,
        /// The amount of the hold.
        needed: Nano,
        /// What its window still allows.
        available: Nano,
        /// The limit.
        limit: Nano,
        /// When the next window begins, in milliseconds since 1970.
        resets_at_ms: Option<u64>,
    },
    /// Code 5: no price book has this version.
    #[error("no such price version")]
    UnknownPrice,
    /// Code 6: the organisation has no charged call of this id.
    #[error("no charged call has this id")]
    UnknownCall,
    /// Code 7: more than what is left of the charge.
    #[error("at most {refundable} credits of this call can be refunded")]
    RefundExceedsCharge {
        /// The charge less earlier refunds.
        refundable: Nano,
    },
    /// Code 8: more than what has matured.
    #[error("at most {matured} credits have matured and can be paid out")]
    NotMatured {
        /// What can be paid out.
        matured: Nano,
    },
    /// Code 9: the wallet has less than the adjustment takes.
    #[error("the wallet has only {available} credits available")]
    AdjustmentExceedsWallet {
        /// What is neither spent nor held.
        available: Nano,
    },
    /// Code 10: the gateway's process has been replaced by a newer one.
    #[error("this gateway was replaced by a newer process of the same name, epoch {epoch}")]
    StaleGateway {
        /// The newer process's epoch; 0 where none is registered.
        epoch: u64,
    },
    /// Code 11: the shares of owner and provider are more than the whole price.
    #[error("the shares of the model's owner and the provider are more than the whole price")]
    SharesExceedPrice,
    /// Code 12: a grant that expires before it is made.
    #[error("the grant would expire before it is made")]
    AlreadyExpired,
    /// Code 13: no message of this id waits.
    #[error("no such message waits")]
    UnknownMessage,
    /// Code 14: an organisation's limit of budgets or grants is reached.
    #[error("too many: at most {max} of this kind for one organisation")]
    TooMany {
        /// The limit.
        max: u64,
    },
    /// Code 15: a gateway captures or voids a hold that another one made.
    #[error("the hold was made by another gateway, which alone may capture or void it")]
    NotHolder,
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
            Refusal::Owing { .. } => 3,
            Refusal::BudgetExceeded { .. } => 4,
            Refusal::UnknownPrice => 5,
            Refusal::UnknownCall => 6,
            Refusal::RefundExceedsCharge { .. } => 7,
            Refusal::NotMatured { .. } => 8,
            Refusal::AdjustmentExceedsWallet { .. } => 9,
            Refusal::StaleGateway { .. } => 10,
            Refusal::SharesExceedPrice => 11,
            Refusal::AlreadyExpired => 12,
            Refusal::UnknownMessage => 13,
            Refusal::TooMany { .. } => 14,
            Refusal::NotHolder => 15,
        }
    }

    /// Whether asking again can help.
    #[must_use]
    pub const fn class(&self) -> RefusalClass {
        match self {
            Refusal::InsufficientCredits { .. }
            | Refusal::Owing { .. }
            | Refusal::BudgetExceeded { .. }
            | Refusal::UnknownPrice
            | Refusal::UnknownCall
            | Refusal::NotMatured { .. }
            | Refusal::AdjustmentExceedsWallet { .. }
            | Refusal::TooMany { .. } => RefusalClass::Transient,
            Refusal::BalanceOverflow
            | Refusal::RefundExceedsCharge { .. }
            | Refusal::StaleGateway { .. }
            | Refusal::SharesExceedPrice
            | Refusal::AlreadyExpired
            | Refusal::UnknownMessage
            | Refusal::NotHolder => RefusalClass::Final,
        }
    }
}
