//! What the writer asks of a store, and what a store answers.
//!
//! A store knows no rules. It keeps what a batch says, all of it or nothing, and it finds what was
//! kept. What is kept is durable when [`Store::commit`] returns, or, where the store has a [`Log`],
//! after the log's next sync. One process at a time writes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::account::{Account, Counters, Transfer};
use crate::calendar::Day;
use crate::capture::{Ending, Receipt};
use crate::document::{Document, DocumentKey};
use crate::error::{BillingError, Refusal, StoreError};
use crate::hold::{HoldTerms, Subject};
use crate::ids::{CallId, KeyId, OpId, OrgId};
use crate::money::Nano;
use crate::price::{PriceBook, UsageLine};
use crate::report::{
    DayQuery, EarningsBy, EarningsRow, EarningsSum, Entry, EntryAct, EntryAnswer, EntryQuery,
    LedgerCheck, PeriodClose, ReceiptQuery, ReceiptTotals, Role, SumsQuery, UsageBy, UsageRow,
    UsageSum, UsageSums,
};

/// The writer's side. It blocks, on the writer's own thread.
pub(crate) trait Store: Send {
    /// Reads everything that the rules decide with.
    fn load(&mut self) -> Result<Loaded, StoreFault>;

    /// Finds calls and entries that were kept before; those never seen are left out.
    fn find(&mut self, wanted: &Wanted) -> Result<Found, StoreFault>;

    /// Keeps a batch: all of it, or nothing.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreFault>;

    /// What makes commits durable, where they are not by themselves. It is asked for once.
    fn log(&mut self) -> Result<Option<Box<dyn Log>>, StoreFault> {
        Ok(None)
    }

    /// Closes the store and lets its lock go.
    fn close(self: Box<Self>) -> Result<(), StoreFault>;
}

/// The disk behind a store, on a thread of its own: it syncs one batch while the next is written.
pub(crate) trait Log: Send {
    /// Makes every batch durable whose commit returned before this began. After an error nobody
    /// knows what is on the disk, and the store keeps nothing more.
    fn sync(&mut self) -> Result<(), StoreError>;
}

/// The readers' side: what was committed, while others write.
#[async_trait]
pub(crate) trait Reader: Send + Sync {
    async fn receipt(&self, org: &OrgId, call: CallId) -> Result<Option<Receipt>, BillingError>;
    async fn receipts(&self, query: &ReceiptQuery) -> Result<Vec<Receipt>, BillingError>;
    async fn usage(&self, query: &DayQuery) -> Result<Vec<UsageRow>, BillingError>;
    async fn earnings(&self, query: &DayQuery) -> Result<Vec<EarningsRow>, BillingError>;
    async fn usage_sums(&self, query: &SumsQuery<UsageBy>) -> Result<Vec<UsageSum>, BillingError>;
    async fn earnings_sums(
        &self,
        query: &SumsQuery<EarningsBy>,
    ) -> Result<Vec<EarningsSum>, BillingError>;
    async fn entries(&self, query: &EntryQuery) -> Result<Vec<Entry>, BillingError>;
    /// By its operation id, which an index finds.
    async fn entry(&self, op: &OpId) -> Result<Option<Entry>, BillingError>;
    /// From the receipts and transfers themselves, not from sums that were kept.
    async fn totals(&self, query: &DayQuery) -> Result<ReceiptTotals, BillingError>;
    async fn periods(&self) -> Result<Vec<PeriodClose>, BillingError>;
    /// The independent audit of the whole store.
    async fn check(&self) -> Result<LedgerCheck, BillingError>;
    /// Copies a consistent snapshot to a new file while others write.
    async fn backup(&self, to: &Path) -> Result<(), BillingError>;
    /// Ends the threads or connections.
    async fn close(&self);
}

/// Why a store did not do it.
#[derive(Debug)]
pub(crate) enum StoreFault {
    /// Nothing was kept, and the next try may succeed: a full disk, a lock, a lost connection
    /// before the commit was sent.
    Passing(StoreError),
    /// Nobody knows whether the batch was kept: a failed sync, a connection lost in the commit.
    Unsure(StoreError),
    /// What is kept and what the rules know differ. The text says how.
    Broken(String),
    /// Another process writes now.
    Fenced,
}

/// Everything that the rules decide with.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// All accounts with their numbers, which count from 1.
    pub(crate) accounts: Vec<(u64, Account, Counters)>,
    /// The open holds.
    pub(crate) holds: Vec<HoldTerms>,
    /// The live documents.
    pub(crate) documents: Vec<Document>,
    /// All price books.
    pub(crate) books: Vec<PriceBook>,
    /// What was earned on each of the last [`MATURITY_DAYS_MAX`] days, by organisation; later
    /// days than any bound are included.
    pub(crate) earned: Vec<(OrgId, Day, Nano)>,
    /// The number of the last transfer; they count from 1 without gaps.
    pub(crate) last_transfer: u64,
    /// The number of the last entry; they count from 1 without gaps.
    pub(crate) last_entry: u64,
    /// The time of the last batch.
    pub(crate) last_at_ms: u64,
    /// The highest lot and budget numbers ever given, live or not.
    pub(crate) last_lot: u64,
    pub(crate) last_budget: u64,
}

/// Earnings are remembered at least this many days.
pub(crate) const MATURITY_DAYS_MAX: u32 = 400;

/// What the writer looks for before it decides a batch.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) calls: Vec<(OrgId, CallId)>,
    pub(crate) entries: Vec<OpId>,
    pub(crate) documents: Vec<DocumentKey>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Calls that ended or were refused, with the transfers of their capture in order.
    pub(crate) calls: HashMap<(OrgId, CallId), (CallRow, Vec<Transfer>)>,
    pub(crate) entries: HashMap<OpId, PastEntry>,
    pub(crate) documents: HashMap<DocumentKey, Document>,
}

/// What an operation id was used for, and its answer.
#[derive(Clone, Debug)]
pub(crate) struct PastEntry {
    pub(crate) digest: [u8; 32],
    pub(crate) answer: EntryAnswer,
}

/// Everything that changed. Each list is in the order in which it happened.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) at_ms: u64,
    /// Accounts whose counters changed: each once.
    pub(crate) accounts: Vec<AccountChange>,
    /// The number of the first transfer; the others follow without gaps.
    pub(crate) first_transfer: u64,
    pub(crate) transfers: Vec<Transfer>,
    /// Holds that are open after the batch and were not before.
    pub(crate) opened: Vec<Arc<HoldTerms>>,
    /// Holds that were open before the batch and are not after.
    pub(crate) closed: Vec<(OrgId, CallId)>,
    /// Calls that ended or were refused.
    pub(crate) calls: Vec<CallRow>,
    pub(crate) entries: Vec<EntryRow>,
    /// Documents that are new or changed: each once.
    pub(crate) documents: Vec<Document>,
    pub(crate) books: Vec<Arc<PriceBook>>,
    /// To be added to the sums of usage: each key once.
    pub(crate) usage: Vec<(UsageKey, UsageSums)>,
    /// To be added to the sums of earnings (below zero for refunds): each key once.
    pub(crate) earnings: Vec<(EarningsKey, i64, Nano)>,
}

/// An account before and after a batch.
#[derive(Debug)]
pub(crate) struct AccountChange {
    pub(crate) number: u64,
    pub(crate) account: Account,
    /// `None`: it is new. Otherwise the store must find exactly this, or say that it is
    /// broken.
    pub(crate) before: Option<Counters>,
    pub(crate) after: Counters,
}

/// A call that is not open any more. It never changes, except that an expired or orphaned one
/// may be captured late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallRow {
    pub(crate) terms: HoldTerms,
    pub(crate) end: CallEnd,
    pub(crate) ended_at_ms: u64,
    /// The transfers of the capture: the first one's number, and how many there are.
    pub(crate) transfers: (u64, u64),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// The hold was refused.
    Refused(Refusal),
    /// It was charged; `late`: after its hold had expired, in which case the row replaces an
    /// [`CallEnd::Expired`] or [`CallEnd::Restarted`] one.
    Captured {
        amount: Nano,
        usage: Vec<UsageLine>,
        ending: Ending,
        late: bool,
    },
    Voided,
    Expired,
    Restarted,
}

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub(crate) struct EntryRow {
    pub(crate) number: u64,
    pub(crate) op: OpId,
    pub(crate) by: String,
    pub(crate) org: Option<OrgId>,
    pub(crate) act: EntryAct,
    /// Of the whole payload.
    pub(crate) digest: [u8; 32],
    pub(crate) answer: EntryAnswer,
    /// What it moved: the first transfer's number, and how many there are.
    pub(crate) transfers: (u64, u64),
}

/// A row of the sums of usage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UsageKey {
    pub(crate) org: OrgId,
    pub(crate) day: Day,
    pub(crate) key: KeyId,
    pub(crate) subject: Subject,
    pub(crate) model: Option<String>,
}

/// A row of the sums of earnings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EarningsKey {
    pub(crate) org: OrgId,
    pub(crate) day: Day,
    pub(crate) role: Role,
    pub(crate) subject: Subject,
}

impl CallEnd {
    /// Whether the lots that were set aside are kept with the call: it may be charged late, or was.
    pub(crate) const fn keeps_lots(&self) -> bool {
        matches!(self, CallEnd::Expired | CallEnd::Restarted | CallEnd::Captured { late: true, .. })
    }

    /// The number in the store; never reused. 7 is a late capture.
    pub(crate) const fn code(&self) -> i64 {
        match self {
            CallEnd::Captured { late: false, .. } => 1,
            CallEnd::Voided => 2,
            CallEnd::Expired => 3,
            CallEnd::Restarted => 4,
            CallEnd::Refused(_) => 5,
            CallEnd::Captured { late: true, .. } => 7,
        }
    }
}
