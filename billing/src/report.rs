//! What the ledger tells: balances, receipts in pages, usage, and its own check.

use serde::{Deserialize, Serialize};

use crate::hold::Subject;
use crate::ids::{KeyId, ReceiptId};
use crate::money::Nano;

/// The most receipts in one answer.
pub const RECEIPTS_PER_PAGE_MAX: u32 = 1000;

/// An organisation's wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What was bought less what was spent.
    pub posted: Nano,
    /// What is set aside for calls that run.
    pub held: Nano,
    /// What new holds can use: posted less held.
    pub available: Nano,
}

/// Which receipts, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptQuery {
    /// Only receipts older than this one.
    pub before: Option<ReceiptId>,
    /// At most this many; 1 to [`RECEIPTS_PER_PAGE_MAX`].
    pub limit: u32,
}

/// What an organisation used since a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSummary {
    /// From when on, in milliseconds since 1970.
    pub since_ms: u64,
    /// Charged calls.
    pub calls: u64,
    /// What they cost.
    pub total: Nano,
    /// By subject and key, in their order.
    pub rows: Vec<UsageRow>,
}

/// What one key used of one model or function version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The model or function.
    pub subject: Subject,
    /// The key.
    pub key: KeyId,
    /// Charged calls.
    pub calls: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Prompt tokens from the cache.
    pub cached_input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Microseconds of thread CPU time.
    pub compute_micros: u64,
    /// What they cost.
    pub cost: Nano,
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
    /// Sum of posted debits of all accounts.
    pub debits: Nano,
    /// Sum of posted credits of all accounts; equals `debits`.
    pub credits: Nano,
    /// Sum of what is held in wallets.
    pub held: Nano,
    /// Holds that are open.
    pub holds_open: u64,
    /// Holds that were captured; equals `receipts`.
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
