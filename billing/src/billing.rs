//! The one interface to the ledger.

use std::sync::Arc;

use async_trait::async_trait;

use crate::BillingError;
use crate::capture::{CaptureRequest, Receipt};
use crate::hold::{Hold, HoldRequest};
use crate::ids::{HoldId, OpId, OrgId, ReceiptId};
use crate::money::Nano;
use crate::price::{NewPriceBook, PriceBook};
use crate::report::{Balance, LedgerCheck, ReceiptQuery, UsageSummary};

/// Holds, captures, prices and receipts, whatever stores them.
///
/// Every operation is idempotent by its id: asked again with the same payload it gives the same
/// answer, refusals included; with another payload [`BillingError::Conflict`].
/// [`BillingError::Overloaded`], [`BillingError::Invalid`], [`BillingError::Stopped`] and
/// [`BillingError::Store`] do not use the id up.
#[async_trait]
pub trait Billing: Send + Sync + 'static {
    /// Sets money aside. Returns when it is *decided*; see [`Hold::durable`]. A refusal leaves
    /// no trace but its own answer, and is durable when it returns.
    ///
    /// # Errors
    /// [`BillingError::Refused`], [`BillingError::UnknownPrice`], [`BillingError::Overloaded`],
    /// and those that every operation has.
    async fn hold(&self, request: HoldRequest) -> Result<Hold, BillingError>;

    /// Charges a call, at most its hold, and releases the rest. Durable when it returns. Once
    /// queued it is done even if the caller stops waiting.
    ///
    /// # Errors
    /// [`BillingError::HoldEnded`] with the reason where the capture is late,
    /// [`BillingError::UnknownHold`], and those that every operation has.
    async fn capture(&self, request: CaptureRequest) -> Result<Receipt, BillingError>;

    /// Gives a hold up; nothing is charged. Durable when it returns.
    ///
    /// # Errors
    /// As [`Billing::capture`].
    async fn void(&self, op: OpId, hold: HoldId) -> Result<(), BillingError>;

    /// Adds credits to a wallet, which comes into being with the first. Durable when it returns.
    ///
    /// # Errors
    /// [`BillingError::Refused`], and those that every operation has.
    async fn top_up(
        &self,
        op: OpId,
        org: OrgId,
        amount: Nano,
        note: String,
    ) -> Result<Balance, BillingError>;

    /// A wallet as of the last commit; zero where there is none.
    ///
    /// # Errors
    /// [`BillingError::Store`].
    async fn balance(&self, org: &OrgId) -> Result<Balance, BillingError>;

    /// The prices in force now. Cheap.
    async fn prices(&self) -> Arc<PriceBook>;

    /// Publishes a new version of the prices. Durable when it returns.
    ///
    /// # Errors
    /// Those that every operation has.
    async fn set_prices(&self, book: NewPriceBook) -> Result<Arc<PriceBook>, BillingError>;

    /// One receipt of an organisation.
    ///
    /// # Errors
    /// [`BillingError::Store`].
    async fn receipt(&self, org: &OrgId, id: ReceiptId) -> Result<Option<Receipt>, BillingError>;

    /// Receipts of an organisation, newest first.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] for a limit out of range, [`BillingError::Store`].
    async fn receipts(
        &self,
        org: &OrgId,
        query: ReceiptQuery,
    ) -> Result<Vec<Receipt>, BillingError>;

    /// What an organisation used since `since_ms` (milliseconds since 1970).
    ///
    /// # Errors
    /// [`BillingError::Store`].
    async fn usage(&self, org: &OrgId, since_ms: u64) -> Result<UsageSummary, BillingError>;

    /// Replays the journal and compares. Where something is broken, writing stops.
    ///
    /// # Errors
    /// [`BillingError::Store`].
    async fn check(&self) -> Result<LedgerCheck, BillingError>;
}
