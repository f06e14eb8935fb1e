//! The ledger of Emberbox: what a call costs, who pays it, and proof that it adds up.
//!
//! The crate knows no models, no Wasm and no requests of users. Callers talk to the trait
//! [`Billing`]; [`Ledger`] is it on SQLite or PostgreSQL, [`RemoteBilling`] is it in another
//! process, [`Unmetered`] is it for operators who do not bill.
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
//! | `wallet:{org}` | what an organisation bought and can spend; never overdrawn |
//! | `lot:{number}` | credits that were granted together; never overdrawn |
//! | `receivable:{org}` | what an organisation owes: late charges, money taken back |
//! | `payable:{org}` | what is owed to an author, a model's owner or a provider |
//! | `platform` | what the platform earned |
//! | `promo` | what free credits cost: granted from here, spent back to here |
//! | `breakage` | what expired before it was spent |
//! | `rounding` | what rounding parts down left |
//! | `clearing` | the other side of every hold |
//! | `suspense` | what an operator's adjustment has yet to explain |
//! | `cash:{rail}` | where money comes in and goes out |
//! | `budget:{number}` | what a budget's window still allows; never overdrawn; not money |
//! | `budgets:{number}` | the other side of a budget |
//!
//! A call has one id, chosen by the caller, unique within the paying organisation. It is a *hold*
//! of its worst case ([`Billing::hold`]), then a *capture* of what it cost
//! ([`Billing::capture`]) or a *void* ([`Billing::void`]). Which usage is paid follows from how
//! the call ended: [`payable`] is the table. The hold pins the price version, the author's price
//! and the provider's share, and sets money aside in lots and wallet and room in every budget,
//! all or nothing. A capture beyond the hold is cut to it. Every capture has a [`Receipt`].
//!
//! Everything else is an [`Order`]: top-ups, chargebacks, grants, refunds, adjustments, payouts,
//! budgets, prices, rules. Orders are the audit log.
//!
//! A hold is answered when it is *decided*, so that work can begin; [`Hold::durable`] says when
//! it would survive a crash, and no byte of the answer may leave before. Everything else is
//! durable when it is answered.
//!
//! # Promises
//!
//! - P1 Debits equal credits per asset: checked in every batch before it is committed, and by
//!   [`Query::Check`], which replays the journal without the ledger's own rules.
//! - P2 No wallet, lot or budget is overdrawn: the rules refuse it, and a `CHECK` in the store
//!   would.
//! - P3 A hold ends once: captured, voided, expired, or voided because its process is gone.
//! - P4 The same id has the same answer, for ever, failures included; with another payload it is
//!   a [`BillingError::Conflict`].
//! - P5 What was acknowledged survives a process kill.
//! - P6 Replaying the journal gives the balances to the nano.
//! - P7 Prices and shares are pinned when the hold is made.
//! - P8 Every charge has a receipt, and the receipts of a month sum to its invoice.
//! - P9 A hold is durable before [`Hold::durable`] returns, a charge before [`Billing::capture`]
//!   does.
//! - P10 A broken invariant stops writing and says which; reading goes on.
//!
//! What an organisation owes (a charge that came after its hold had expired, money that the
//! payment provider took back) blocks its new holds until it is paid. What free credits pay for
//! earns nobody anything. Refunds reverse what the call recorded. Months close by themselves,
//! each with a trial balance.
//!
//! # How it works
//!
//! The rules are a pure function from state, operation and facts (time, fresh ids, what was
//! found) to a change. One writer thread decides each operation in memory, hands all of a batch
//! to the store, and then acknowledges. A store knows no rules: it keeps a batch whole or not at
//! all. In PostgreSQL the writer is fenced by an epoch, so that after a fail-over the stale one
//! cannot write. The auditor reads the tables as plain numbers and derives everything again.
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
mod calendar; // Days and months.
mod capture; // The charged call and its receipt.
mod charge; // From usage to money, by the table of endings.
mod document; // What is remembered beside accounts and calls.
mod error; // What can go wrong.
mod hold; // Money set aside for a call.
mod ids; // Names of things.
mod ledger; // The interface on a store of its own.
mod message; // What is told to somebody.
mod money; // Amounts and rates.
mod operation; // What makes an operation invalid.
mod order; // What is asked beside calls.
mod price; // Meters, rates, price books.
mod report; // What the ledger tells.
mod rules; // The pure rules.
mod quick; // Maps whose keys are hashed quickly.
mod payment; // What a payment provider tells, as orders.
mod webhook; // What is told to others, signed.
mod statement; // Invoices, exports, and whether all figures agree.
mod unmetered; // The interface without a store.
pub mod service; // The interface over HTTP, for gateways in other processes.

pub use billing::Billing;
pub use calendar::{Day, Period};
pub use capture::{CaptureRequest, Captured, Ending, Receipt};
pub use charge::{Billed, Charge, Markup, Part, Party, Payable, USAGE_LINES_MAX, payable};
pub use error::{BillingError, OpenFailure, Refusal, RefusalClass, StoreError};
pub use hold::{Hold, HoldEnd, HoldRequest, Holder, Subject};
pub use ids::{
    BudgetId, CallId, KeyId, LotId, MessageId, NAME_BYTES_MAX, OP_CHARS_MAX, OpId, OrgId,
    PriceVersion,
};
pub use ledger::{Clock, Ledger, LedgerOptions, PostgresLedgerOptions, audit_database, audit_file};
pub use message::{MESSAGES_MAX, MESSAGES_PER_ORG_MAX, Message};
pub use money::{Nano, Pico};
pub use operation::{
    HOLD_TTL_MS_MAX, MARKUP_BPS_MAX, NOTE_BYTES_MAX, PRICED_MODELS_MAX, SCOPE_NAMES_MAX,
    SHARE_BPS_MAX,
};
pub use order::{
    Act, AutoTopUp, Endpoint, EndpointGone, Funding, Grant, Order, Outcome, Payment, Platform,
    Scope, SystemAct, Window,
};
pub use payment::{
    CreditRates, Instruction, PAYMENT_BODY_BYTES_MAX, PAYMENT_HEADER_BYTES_MAX,
    PAYMENT_TOLERANCE_S, PaymentError, PaymentEvent, PaymentWebhook, Unattributed, payer,
};
pub use price::{
    AuthorPrice, FunctionRates, Meter, NewPriceBook, Override, PriceBook, ProviderShare, Rates,
    Royalty, UsageLine,
};
pub use report::{
    AccountReport, Balance, BudgetReport, DayQuery, EarningsBy, EarningsRow, EarningsSum,
    EndpointReport, Entry, EntryAct, EntryAnswer, EntryQuery, LedgerCheck, LotReport, PeriodClose,
    Query, ROWS_PER_PAGE_MAX, ReceiptQuery, ReceiptTotals, Report, Role, SUMS_MAX, SumsQuery,
    TransferReport, TrialBalanceRow, UsageBy, UsageRow, UsageSum, UsageSums,
};
pub use statement::{
    CreditNote, Figure, FigureSource, GatewayUsage, Invoice, InvoiceLine, InvoiceStatus, Movement,
    MovementKind, PricedLine, Quantity, ReceiptCsv, Recomputed, Reconciliation, UsageCsv, invoice,
    recompute, reconcile,
};
pub use unmetered::Unmetered;
pub use webhook::{
    ENDPOINT_URL_BYTES_MAX, SignedMessage, WEBHOOK_TOLERANCE_S, WebhookAnswer, WebhookSecret,
    check_url, is_public, retry_after,
};
