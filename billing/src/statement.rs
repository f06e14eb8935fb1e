//! Statements: the invoice of a month, exports, the check that all figures agree, and the price
//! of a past call told line by line. Everything is composed of what [`Billing::ask`] answers.
//!
//! An invoice says what its month's calls were charged, refunded and paid. It has no opening and
//! closing balance: what an organisation has is [`crate::Query::Account`], of the moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::BillingError;
use crate::billing::Billing;
use crate::calendar::Period;
use crate::hold::Subject;
use crate::ids::{CallId, OrgId};
use crate::money::Nano;
use crate::price::Meter;
use crate::report::UsageRow;

mod books; // What the ledger says about a month.
mod html; // The invoice as a page.
mod csv; // Exports for spreadsheets.
mod reconcile; // Whether all figures agree.
mod recompute; // What a past call should have cost.

pub use csv::{ReceiptCsv, UsageCsv};
pub use recompute::{PricedLine, Recomputed, recompute};
pub use reconcile::{Figure, FigureSource, GatewayUsage, Reconciliation, reconcile};

/// The invoice of a month, or what it comes to so far. Amounts are credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// Its number: the organisation and the month. The same month has the same number, always.
    pub number: String,
    /// Who pays.
    pub org: OrgId,
    /// The organisation's name, for people.
    pub name: String,
    /// Who asks for the money: name and address, line by line. The caller adds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seller: Vec<String>,
    /// The month, in UTC.
    pub period: Period,
    /// Whether the figures can still change.
    pub status: InvoiceStatus,
    /// When it was composed, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// What was charged, by model or function.
    pub lines: Vec<InvoiceLine>,
    /// How many receipts there are for it.
    pub receipts: u64,
    /// What was charged: the sum of the receipts.
    pub total: Nano,
    /// What was given back in this month, oldest first; the calls may be of months before.
    pub credit_notes: Vec<CreditNote>,
    /// Sum of the credit notes.
    pub credited: Nano,
    /// Charged less credited.
    pub net: Nano,
    /// What came in and went out otherwise, oldest first.
    pub movements: Vec<Movement>,
    /// Top-ups less chargebacks.
    pub paid: Nano,
}

/// Whether the figures of a month can still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// The month is not over.
    Running,
    /// The month is over; its books close with the ledger's next act.
    Ended,
    /// The books are closed.
    Final,
}

/// What one model's or function's calls were charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLine {
    /// The model or function.
    pub subject: Subject,
    /// Charged calls.
    pub calls: u64,
    /// What they used, by model and meter.
    pub quantities: Vec<Quantity>,
    /// What they were charged.
    pub cost: Nano,
}

/// How much was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantity {
    /// The model whose tokens these are; `None` for the function itself.
    pub model: Option<String>,
    /// What is counted.
    pub meter: Meter,
    /// How much.
    pub quantity: u64,
}

/// A charge that was given back, in whole or in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditNote {
    /// Its number: the invoice's, and that of the entry in the audit log.
    pub number: String,
    /// The call, whose receipt it corrects.
    pub call: CallId,
    /// How much.
    pub amount: Nano,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Credits that came or went otherwise than by calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// The number of the entry in the audit log.
    pub entry: u64,
    /// What happened.
    pub kind: MovementKind,
    /// What it added; below zero for what it took.
    pub amount: Nano,
    /// The way money took, such as `stripe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rail: Option<String>,
    /// The payment provider's name of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What was noted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Why credits came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Money came in.
    TopUp,
    /// Money was taken back.
    Chargeback,
    /// Credits were given.
    Grant,
    /// The month's free credits.
    FreeTier,
    /// Granted credits that were not spent in time.
    Expiry,
    /// The operator corrected the balance.
    Adjustment,
}

/// The invoice of a month. `name` is the organisation's, for people; `now_ms` the time.
///
/// While the month runs, calls may end between two of the answers it is composed of; after a few
/// attempts it then takes the sums that the ledger keeps. A month whose books are closed is exact.
///
/// # Errors
/// [`BillingError::Invalid`] for a month that has not begun, and those of [`Billing::ask`].
pub async fn invoice(
    billing: &dyn Billing,
    org: &OrgId,
    name: &str,
    period: Period,
    now_ms: u64,
) -> Result<Invoice, BillingError> {
    let books = books::Books::read(billing, org, period, (now_ms, false)).await?;
    books.invoice(org, name, now_ms)
}

impl Invoice {
    /// The invoice as one page of HTML: nothing is loaded from anywhere, no script runs, and it
    /// prints on A4.
    #[must_use]
    pub fn html(&self) -> String {
        html::Page(self).to_string()
    }
}

/// Usage rows, by subject.
fn lines(rows: &[UsageRow]) -> Result<Vec<InvoiceLine>, BillingError> {
    let mut by_subject: BTreeMap<&Subject, (u64, Nano, BTreeMap<_, u64>)> = BTreeMap::new();
    for row in rows {
        let (calls, cost, quantities) = by_subject.entry(&row.subject).or_default();
        *calls = calls.saturating_add(row.sums.calls);
        *cost = sum([*cost, row.sums.cost])?;
        for (meter, quantity) in [
            (Meter::InputTokens, row.sums.input_tokens),
            (Meter::CachedInputTokens, row.sums.cached_input_tokens),
            (Meter::OutputTokens, row.sums.output_tokens),
            (Meter::ComputeMicros, row.sums.compute_micros),
            (Meter::Fuel, row.sums.fuel),
            (Meter::EgressBytes, row.sums.egress_bytes),
        ] {
            if quantity > 0 {
                let counted = quantities.entry((row.model.as_ref(), meter)).or_default();
                *counted = counted.saturating_add(quantity);
            }
        }
    }
    let line = |(subject, (calls, cost, quantities)): (&Subject, (u64, Nano, BTreeMap<_, _>))| {
        let quantities = quantities.into_iter().map(
            |((model, meter), quantity): ((Option<&String>, Meter), u64)| Quantity {
                model: model.cloned(),
                meter,
                quantity,
            },
        );
        InvoiceLine { subject: subject.clone(), calls, quantities: quantities.collect(), cost }
    };
    Ok(by_subject.into_iter().map(line).collect())
}

fn sum(amounts: impl IntoIterator<Item = Nano>) -> Result<Nano, BillingError> {
    let too_large = || BillingError::Invalid("the sum does not fit 64-bit nano-credits".to_owned());
    Nano::checked_sum(amounts).ok_or_else(too_large)
}

fn less(amount: Nano, other: Nano) -> Result<Nano, BillingError> {
    let too_large = || BillingError::Invalid("the sum does not fit 64-bit nano-credits".to_owned());
    amount.checked_sub(other).ok_or_else(too_large)
}

#[cfg(test)]
mod tests;
