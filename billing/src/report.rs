//! What the ledger tells: balances, receipts, statements, closes, and its own check.

use serde::{Deserialize, Serialize};

use crate::calendar::{Day, Period};
use crate::error::Refusal;
use crate::ids::{BudgetId, CallId, KeyId, LotId, OpId, OrgId};
use crate::message::Message;
use crate::money::Nano;
use crate::order::{
    Act, AutoTopUp, EndpointGone, Funding, Outcome, Platform, Scope, SystemAct, Window,
};

mod sums; // What was used and earned.

pub use sums::{
    EarningsBy, EarningsRow, EarningsSum, Role, SUMS_MAX, SumsQuery, UsageBy, UsageRow, UsageSum,
    UsageSums,
};

/// The most receipts or entries in one answer.
pub const ROWS_PER_PAGE_MAX: u32 = 1000;

/// What an organisation has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What was bought and granted less what was spent and what expired.
    pub posted: Nano,
    /// What is set aside for calls that run.
    pub held: Nano,
    /// What new holds can use: posted less held. Grants with a scope pay only for what it names.
    pub available: Nano,
    /// What is owed; new holds wait until it is paid.
    pub owed: Nano,
}

/// An organisation's account in whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountReport {
    /// What it has.
    pub balance: Balance,
    /// Its grants that are neither spent nor expired, in the order in which they burn.
    pub lots: Vec<LotReport>,
    /// Its budgets.
    pub budgets: Vec<BudgetReport>,
    /// Below which balance it is told.
    pub low_balance: Option<Nano>,
    /// When more is asked of the payment provider.
    pub auto_top_up: Option<AutoTopUp>,
    /// Where its messages go.
    pub endpoint_url: Option<String>,
    /// The endpoint that was switched off, because its receiver wanted no more.
    #[serde(default)]
    pub endpoint_gone: Option<EndpointGone>,
    /// What it earned and was not paid out.
    pub payable: Nano,
    /// How much of that has matured and can be paid out.
    pub matured: Nano,
}

/// Where messages go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointReport {
    /// The address; `None` where nobody listens.
    pub url: Option<String>,
    /// The address before, where its receiver answered that it wants no more messages.
    pub gone: Option<EndpointGone>,
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotReport {
    /// Its number.
    pub lot: LotId,
    /// Whether somebody paid for it.
    pub funding: Funding,
    /// Lower burns first.
    pub priority: u8,
    /// What it may pay for.
    pub scope: Scope,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// What is left and not held.
    pub available: Nano,
    /// What is set aside for calls that run.
    pub held: Nano,
    /// For the statement.
    pub note: String,
}

/// A budget and its present window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReport {
    /// Its number.
    pub budget: BudgetId,
    /// Of one key, or of all.
    pub key: Option<KeyId>,
    /// How long a window is.
    pub window: Window,
    /// The most that calls may cost in a window.
    pub limit: Nano,
    /// What was spent in the present window.
    pub spent: Nano,
    /// What is set aside for calls that run.
    pub held: Nano,
    /// When the next window begins, in milliseconds since 1970.
    pub resets_at_ms: Option<u64>,
}

/// Which receipts, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptQuery {
    /// Whose.
    pub org: OrgId,
    /// Only receipts of calls older than this one, by id.
    pub before: Option<CallId>,
    /// At most this many; 1 to [`ROWS_PER_PAGE_MAX`].
    pub limit: u32,
}

/// Which days, both included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayQuery {
    /// Whose.
    pub org: OrgId,
    /// From this day on.
    pub from: Day,
    /// To the end of this day.
    pub to: Day,
}

/// Which entries of the audit log, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryQuery {
    /// Whose; `None` for all.
    pub org: Option<OrgId>,
    /// From this time on, in milliseconds since 1970.
    pub from_ms: u64,
    /// Before this time.
    pub to_ms: u64,
    /// Only entries with a lower number.
    pub before: Option<u64>,
    /// At most this many; 1 to [`ROWS_PER_PAGE_MAX`].
    pub limit: u32,
}

/// An entry of the audit log: an order or an act of the ledger's own, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; they have no gaps.
    pub number: u64,
    /// The operation id.
    pub op: OpId,
    /// Who asked.
    pub by: String,
    /// What was asked, without secrets.
    pub act: EntryAct,
    /// What was answered.
    pub answer: EntryAnswer,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it moved.
    pub transfers: Vec<TransferReport>,
}

/// What an entry records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryAct {
    /// An order.
    Order(Act),
    /// The ledger's own.
    System(SystemAct),
}

/// What an entry was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryAnswer {
    /// It was done.
    Done(Outcome),
    /// It was refused.
    Refused(Refusal),
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferReport {
    /// The account that gave, by name.
    pub debit: String,
    /// The account that got, by name.
    pub credit: String,
    /// How much.
    pub amount: Nano,
}

/// Receipts in a span of time, added up from the receipts themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptTotals {
    /// How many.
    pub receipts: u64,
    /// What they sum to.
    pub amount: Nano,
    /// What their transfers debited the organisation's accounts.
    pub transferred: Nano,
}

/// The books of a month that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodClose {
    /// The month.
    pub period: Period,
    /// When the books were closed, in milliseconds since 1970: with the first act after its end.
    pub closed_at_ms: u64,
    /// The last transfer in it.
    pub last_transfer: u64,
    /// The trial balance at its end, by class of account.
    pub trial_balance: Vec<TrialBalanceRow>,
}

/// One class of accounts in a trial balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialBalanceRow {
    /// `wallet`, `lot`, `payable`, `platform`, …
    pub class: String,
    /// `credit` for money, `budget` for permissions to spend.
    pub asset: String,
    /// All debits posted.
    pub debits: Nano,
    /// All credits posted.
    pub credits: Nano,
}

/// The outcome of replaying the whole journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCheck {
    /// Whether nothing is broken.
    pub ok: bool,
    /// Accounts.
    pub accounts: u64,
    /// Transfers in the journal.
    pub transfers: u64,
    /// Sum of posted debits of all money accounts.
    pub debits: Nano,
    /// Sum of posted credits of all money accounts; equals `debits`.
    pub credits: Nano,
    /// Sum of what is held of organisations' money.
    pub held: Nano,
    /// Holds that are open.
    pub holds_open: u64,
    /// Calls that were captured; equals `receipts`.
    pub captures: u64,
    /// Sum of what the journal debited for captures.
    pub captured: Nano,
    /// Receipts.
    pub receipts: u64,
    /// Sum of the receipts; equals `captured`.
    pub receipted: Nano,
    /// What is broken, in sentences; the first 100.
    pub breaks: Vec<String>,
}

/// What can be asked of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Query {
    /// An organisation's account in whole, as of the last commit: [`Report::Account`].
    Account(OrgId),
    /// Messages that are due, at most this many, of every receiver the oldest first:
    /// [`Report::Messages`].
    Messages {
        /// At most this many.
        limit: u32,
    },
    /// What holds for everybody: [`Report::Platform`].
    Platform,
    /// Where messages of an organisation go, or (without one) the operator's: [`Report::Endpoint`].
    Endpoint(Option<OrgId>),
    /// One receipt: [`Report::Receipt`].
    Receipt {
        /// Whose.
        org: OrgId,
        /// Of which call.
        call: CallId,
    },
    /// Receipts: [`Report::Receipts`].
    Receipts(ReceiptQuery),
    /// Usage by day, key, subject and model: [`Report::Usage`].
    Usage(DayQuery),
    /// Earnings by day, role and subject: [`Report::Earnings`].
    Earnings(DayQuery),
    /// Usage, added up by what is asked: [`Report::UsageSums`].
    UsageSums(SumsQuery<UsageBy>),
    /// Earnings, added up by what is asked: [`Report::EarningsSums`].
    EarningsSums(SumsQuery<EarningsBy>),
    /// The audit log: [`Report::Entries`].
    Entries(EntryQuery),
    /// The entry of one operation id: [`Report::Entry`].
    Entry(OpId),
    /// Receipts of whole days, added up one by one: [`Report::Totals`].
    Totals(DayQuery),
    /// All closed months, oldest first: [`Report::Periods`].
    Periods,
    /// All versions of the prices, oldest first: [`Report::Prices`].
    Prices,
    /// Whether operations are taken: [`Report::Ready`], or [`crate::BillingError::Stopped`] with
    /// the reason.
    Ready,
    /// Replays the journal and compares: [`Report::Check`]. Where something is broken, writing
    /// stops.
    Check,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// To [`Query::Account`].
    Account(Box<AccountReport>),
    /// To [`Query::Messages`], with where each goes; `None` where nobody listens any more.
    Messages(Vec<(Message, Option<crate::order::Endpoint>)>),
    /// To [`Query::Platform`].
    Platform(Platform),
    /// To [`Query::Endpoint`].
    Endpoint(EndpointReport),
    /// To [`Query::Receipt`].
    Receipt(Option<Box<crate::capture::Receipt>>),
    /// To [`Query::Receipts`].
    Receipts(Vec<crate::capture::Receipt>),
    /// To [`Query::Usage`].
    Usage(Vec<UsageRow>),
    /// To [`Query::Earnings`].
    Earnings(Vec<EarningsRow>),
    /// To [`Query::UsageSums`].
    UsageSums(Vec<UsageSum>),
    /// To [`Query::EarningsSums`].
    EarningsSums(Vec<EarningsSum>),
    /// To [`Query::Entries`].
    Entries(Vec<Entry>),
    /// To [`Query::Entry`]; `None` where the id was never used, or by a call.
    Entry(Option<Box<Entry>>),
    /// To [`Query::Totals`].
    Totals(ReceiptTotals),
    /// To [`Query::Periods`].
    Periods(Vec<PeriodClose>),
    /// To [`Query::Prices`].
    Prices(Vec<crate::price::PriceBook>),
    /// To [`Query::Ready`].
    Ready,
    /// To [`Query::Check`].
    Check(Box<LedgerCheck>),
}
