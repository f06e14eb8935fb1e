//! The one interface to the ledger, whatever stores it and wherever it runs.

use std::sync::Arc;

use async_trait::async_trait;

use crate::BillingError;
use crate::calendar::{Day, Period};
use crate::capture::{CaptureRequest, Captured, Receipt};
use crate::hold::{Hold, HoldRequest};
use crate::ids::{CallId, OpId, OrgId};
use crate::order::{Order, Outcome};
use crate::price::PriceBook;
use crate::report::{
    AccountReport, Balance, DayQuery, EarningsRow, EndpointReport, Entry, EntryQuery, LedgerCheck,
    PeriodClose, Query, ReceiptQuery, ReceiptTotals, Report, UsageRow,
};

/// Holds, captures, orders and reports.
///
/// Every operation is idempotent: a call by its id within its organisation, an order by its
/// operation id. Asked again with the same payload it gives the same answer, refusals included;
/// with another payload [`BillingError::Conflict`]. [`BillingError::Overloaded`],
/// [`BillingError::Invalid`], [`BillingError::UnknownHold`], [`BillingError::Stopped`],
/// [`BillingError::Store`] and [`BillingError::Unreachable`] do not use the id up.
#[async_trait]
pub trait Billing: Send + Sync + 'static {
    /// Sets money aside. Returns when it is *decided*; see [`Hold::durable`]. A refusal leaves
    /// no trace but its own answer, and is durable when it returns.
    ///
    /// # Errors
    /// [`BillingError::Refused`], [`BillingError::Overloaded`], and those that every operation
    /// has.
    async fn hold(&self, request: HoldRequest) -> Result<Hold, BillingError>;

    /// Charges a call, at most its hold, and releases the rest. Durable when it returns. Once
    /// queued it is done even if the caller stops waiting. A capture that comes after the hold
    /// has expired is posted against what the organisation owes; it is never dropped.
    ///
    /// # Errors
    /// [`BillingError::HoldEnded`] where the caller had voided the hold,
    /// [`BillingError::UnknownHold`], and those that every operation has.
    async fn capture(&self, request: CaptureRequest) -> Result<Captured, BillingError>;

    /// Gives a hold up; nothing is charged. Durable when it returns.
    ///
    /// # Errors
    /// [`BillingError::HoldEnded`] where it was captured, [`BillingError::UnknownHold`], and
    /// those that every operation has.
    async fn void(&self, org: OrgId, call: CallId) -> Result<(), BillingError>;

    /// [`Billing::capture`] for another process that proved to be one of `gateways`: of a hold
    /// that none of them made it is refused.
    ///
    /// # Errors
    /// [`crate::Refusal::NotHolder`], and those of [`Billing::capture`].
    async fn capture_for(
        &self,
        gateways: Arc<[String]>,
        request: CaptureRequest,
    ) -> Result<Captured, BillingError>;

    /// [`Billing::void`], likewise.
    ///
    /// # Errors
    /// [`crate::Refusal::NotHolder`], and those of [`Billing::void`].
    async fn void_for(
        &self,
        gateways: Arc<[String]>,
        org: OrgId,
        call: CallId,
    ) -> Result<(), BillingError>;

    /// Does what an order asks, once. Durable when it returns.
    ///
    /// # Errors
    /// [`BillingError::Refused`], and those that every operation has.
    async fn order(&self, order: Order) -> Result<Outcome, BillingError>;

    /// The prices in force now. Cheap.
    ///
    /// # Errors
    /// [`BillingError::Unreachable`] where they were never fetched.
    async fn prices(&self) -> Result<Arc<PriceBook>, BillingError>;

    /// Answers a question about what was committed.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] for a limit or span out of range, [`BillingError::Store`],
    /// [`BillingError::Overloaded`].
    async fn ask(&self, query: Query) -> Result<Report, BillingError>;
}

macro_rules! answer {
    ($self:ident, $query:expr, $variant:ident) => {
        match $self.ask($query).await? {
            Report::$variant(answer) => Ok(answer),
            _ => Err(BillingError::Stopped("an answer of another kind came".to_owned())),
        }
    };
}

/// The questions one by one. Errors are those of [`Billing::ask`].
impl dyn Billing {
    /// What an organisation has.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn balance(&self, org: &OrgId) -> Result<Balance, BillingError> {
        Ok(self.account(org).await?.balance)
    }

    /// An organisation's account in whole.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn account(&self, org: &OrgId) -> Result<Box<AccountReport>, BillingError> {
        answer!(self, Query::Account(org.clone()), Account)
    }

    /// Where the messages of an organisation (or, without one, of the operator) go.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn endpoint(&self, org: Option<&OrgId>) -> Result<EndpointReport, BillingError> {
        answer!(self, Query::Endpoint(org.cloned()), Endpoint)
    }

    /// One receipt.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn receipt(
        &self,
        org: &OrgId,
        call: CallId,
    ) -> Result<Option<Box<Receipt>>, BillingError> {
        answer!(self, Query::Receipt { org: org.clone(), call }, Receipt)
    }

    /// Receipts, newest first.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn receipts(&self, query: ReceiptQuery) -> Result<Vec<Receipt>, BillingError> {
        answer!(self, Query::Receipts(query), Receipts)
    }

    /// Usage by day, key, subject and model.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn usage(
        &self,
        org: &OrgId,
        from: Day,
        to: Day,
    ) -> Result<Vec<UsageRow>, BillingError> {
        answer!(self, Query::Usage(DayQuery { org: org.clone(), from, to }), Usage)
    }

    /// Earnings by day, role and subject.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn earnings(
        &self,
        org: &OrgId,
        from: Day,
        to: Day,
    ) -> Result<Vec<EarningsRow>, BillingError> {
        answer!(self, Query::Earnings(DayQuery { org: org.clone(), from, to }), Earnings)
    }

    /// The receipts of a month, added up one by one.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn totals(&self, org: &OrgId, period: Period) -> Result<ReceiptTotals, BillingError> {
        let (from, to) = (period.first_day(), period.last_day());
        answer!(self, Query::Totals(DayQuery { org: org.clone(), from, to }), Totals)
    }

    /// The audit log, newest first.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn entries(&self, query: EntryQuery) -> Result<Vec<Entry>, BillingError> {
        answer!(self, Query::Entries(query), Entries)
    }

    /// The entry of one operation id.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn entry(&self, op: &OpId) -> Result<Option<Box<Entry>>, BillingError> {
        answer!(self, Query::Entry(op.clone()), Entry)
    }

    /// All closed months.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn periods(&self) -> Result<Vec<PeriodClose>, BillingError> {
        answer!(self, Query::Periods, Periods)
    }

    /// Replays the journal and compares.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn check(&self) -> Result<LedgerCheck, BillingError> {
        answer!(self, Query::Check, Check).map(|check: Box<LedgerCheck>| *check)
    }
}
