//! The ledger of Emberbox: holds, captures, prices, receipts.
#![deny(
    clippy::float_arithmetic,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_lossless
)]

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
