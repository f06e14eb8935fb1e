//! The ledger of Emberbox: what a call costs, who pays it, and proof that it adds up.
//!
//! The crate knows no HTTP, no models and no Wasm. Callers talk to the trait [`Billing`];
//! [`Ledger`] is it on SQLite, [`Unmetered`] is it for operators who do not bill.
//!
//! # The model
//!
//! Money is [`Nano`] (10^-9 credits), rates are [`Pico`] (10^-12 credits per unit), and nothing
//! here is a float. A charge is the exact sum of quantity times rate, rounded up once.
//!
//! Accounts have four counters: debits and credits, posted and held. A transfer debits one
//! account and credits another with the same amount, and is never changed. The chart:
//!
//! | account | what it is |
//! |---|---|
//! | `wallet:{org}` | what an organisation can spend; never overdrawn |
//! | `payable:{org}` | what is owed to an author |
//! | `platform` | what the platform earned |
//! | `rounding` | what rounding parts down left, at most two nano-credits per call |
//! | `clearing` | the other side of every hold |
//! | `cash:operator` | where the operator's top-ups come from |
//!
//! A call is a *hold* of its worst case ([`Billing::hold`]), then a *capture* of what it cost
//! ([`Billing::capture`]) or a *void* ([`Billing::void`]). Which usage is paid follows from how
//! the call ended: [`payable`] is the table. The hold pins the price version and the author's
//! price, and a capture beyond the hold is cut to it. Every capture has a [`Receipt`].
//!
//! A hold is answered when it is *decided*, so that work can begin; [`Hold::durable`] says when
//! it would survive a crash, and no byte of the answer may leave before. Everything else is
//! durable when it is answered.
//!
//! # What this version promises
//!
//! - Debits equal credits per asset: checked in every batch before it is committed, and by
//!   [`Billing::check`], which replays the journal without the ledger's own rules.
//! - No wallet is overdrawn: the rules refuse it, and a `CHECK` in the file would.
//! - A hold ends once: captured, voided, expired, or voided because its process is gone. A late
//!   capture is told which ([`BillingError::HoldEnded`]).
//! - The same operation id has the same answer, for ever, failures included; with another
//!   payload it is a [`BillingError::Conflict`].
//! - What was acknowledged survives a process kill (write-ahead log, `synchronous=FULL`).
//! - A broken invariant stops writing and says which; reading goes on.
//! - A file that is locked, damaged, foreign or of a later version is refused, and left alone.
//!
//! # How it works
//!
//! The rules are a pure function from state, operation and facts (time, a fresh id) to a change.
//! One writer thread owns the file. It takes what is queued, decides each operation in memory,
//! writes all changes in one transaction, commits once, and then acknowledges. Readers have
//! connections and threads of their own.
//!
//! # What later versions add
//!
//! Lots with expiry, budgets in windows, refunds, receivables (a late capture will be posted
//! there instead of refused), overrides and a revenue waterfall with more parties, signed
//! receipts, and PostgreSQL behind the same trait. The rules, the store and the interface are
//! apart so that each can grow alone; schema migrations run forward only.
#![deny(
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_lossless
)]
// Tests may add plainly: overflow panics there, and a panic is what a test is for.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod account; // Accounts and transfers.
mod billing; // The one interface.
mod capture; // The charged call and its receipt.
mod charge; // From usage to money, by the table of endings.
mod error; // What can go wrong.
mod hold; // Money set aside for a call.
mod ids; // Names of things.
mod ledger; // The interface on SQLite.
mod money; // Amounts and rates.
mod operation; // What the ledger is asked, and what makes it invalid.
mod price; // Meters, rates, price books.
mod report; // What the ledger tells.
mod rules; // The pure rules.
mod unmetered; // The interface without a store.

pub use billing::Billing;
pub use capture::{CaptureRequest, Ending, Receipt};
pub use charge::{Charge, Markup, Part, Party, Payable, USAGE_LINES_MAX, payable};
pub use error::{BillingError, OpenFailure, Refusal, RefusalClass, StoreError};
pub use hold::{Hold, HoldEnd, HoldRequest, Subject};
pub use ids::{HoldId, KeyId, NAME_BYTES_MAX, OP_CHARS_MAX, OpId, OrgId, PriceVersion, ReceiptId};
pub use ledger::{Clock, Ledger, LedgerOptions};
pub use money::{Nano, Pico};
pub use operation::{HOLD_TTL_MS_MAX, MARKUP_BPS_MAX, NOTE_BYTES_MAX, PRICED_MODELS_MAX};
pub use price::{AuthorPrice, FunctionRates, Meter, NewPriceBook, PriceBook, Rates, UsageLine};
pub use report::{
    Balance, LedgerCheck, RECEIPTS_PER_PAGE_MAX, ReceiptQuery, UsageRow, UsageSummary,
};
pub use unmetered::Unmetered;
