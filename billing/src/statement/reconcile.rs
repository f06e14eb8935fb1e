//! Whether all figures of a month agree: what gateways counted, what was transferred, the
//! receipts one by one, the sums that are kept, and the invoice.

use serde::{Deserialize, Serialize};

use super::books::Books;
use super::{Invoice, InvoiceStatus, sum};
use crate::BillingError;
use crate::billing::Billing;
use crate::calendar::Period;
use crate::ids::OrgId;
use crate::money::Nano;
use crate::order::{Act, Outcome};
use crate::report::{Entry, EntryAct, EntryAnswer, TransferReport};

/// What gateways counted by themselves, all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayUsage {
    /// Calls that were charged.
    pub calls: u64,
    /// What they were charged.
    pub amount: Nano,
}

/// What was found for a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Whose.
    pub org: OrgId,
    /// Which month.
    pub period: Period,
    /// Whether the figures can still change.
    pub status: InvoiceStatus,
    /// Whether all figures agree.
    pub ok: bool,
    /// The figures, in the order in which a call meets them.
    pub figures: Vec<Figure>,
    /// What does not agree, in sentences with both figures.
    pub breaks: Vec<String>,
}

/// What one source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Who says it.
    pub source: FigureSource,
    /// Charged calls, where the source counts them.
    pub calls: Option<u64>,
    /// What they were charged.
    pub amount: Nano,
}

/// A source of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureSource {
    /// The gateways' own counters.
    Gateways,
    /// What captures debited the organisation's accounts.
    Transfers,
    /// The receipts, added up one by one.
    Receipts,
    /// The sums of usage that the ledger keeps by day.
    UsageSums,
    /// The lines of the invoice.
    InvoiceLines,
    /// The total of the invoice.
    InvoiceTotal,
}

impl FigureSource {
    fn name(self) -> &'static str {
        match self {
            FigureSource::Gateways => "the gateways",
            FigureSource::Transfers => "the transfers of captures",
            FigureSource::Receipts => "the receipts",
            FigureSource::UsageSums => "the sums of usage",
            FigureSource::InvoiceLines => "the lines of the invoice",
            FigureSource::InvoiceTotal => "the total of the invoice",
        }
    }
}

/// Compares all figures of a month with the receipts, and every refund and payment with what it
/// moved. Gateways' figures are compared where they are given.
///
/// # Errors
/// As [`super::invoice`].
pub async fn reconcile(
    billing: &dyn Billing,
    org: &OrgId,
    period: Period,
    gateways: Option<&GatewayUsage>,
    now_ms: u64,
) -> Result<Reconciliation, BillingError> {
    let books = Books::read(billing, org, period, (now_ms, true)).await?;
    let invoice = books.invoice(org, "", now_ms)?;
    let figures = figures(&books, &invoice, gateways)?;
    let mut breaks = Vec::new();
    if !books.is_quiet {
        breaks.push(
            "Calls were charged while the ledger was read: the figures are not of one moment, \
             ask again."
                .to_owned(),
        );
    }
    let (count, amount) = (books.totals.receipts, books.totals.amount);
    for figure in &figures {
        let name = capitalised(figure.source.name());
        if let Some(calls) = figure.calls.filter(|calls| *calls != count) {
            breaks.push(format!("{name} count {calls} calls, the receipts {count}."));
        }
        if figure.amount != amount {
            let charged = figure.amount;
            breaks.push(format!("{name} come to {charged} credits, the receipts to {amount}."));
        }
    }
    for entry in &books.entries {
        breaks.extend(broken(entry)?);
    }
    let ok = breaks.is_empty();
    Ok(Reconciliation { org: org.clone(), period, status: books.status, ok, figures, breaks })
}

fn figures(
    books: &Books,
    invoice: &Invoice,
    gateways: Option<&GatewayUsage>,
) -> Result<Vec<Figure>, BillingError> {
    let figure = |source, calls, amount| Figure { source, calls, amount };
    let add = |calls: u64, more: u64| calls.saturating_add(more);
    let used = books.usage.iter().map(|row| row.sums.calls).fold(0, add);
    let listed = invoice.lines.iter().map(|line| line.calls).fold(0, add);
    let mut figures = Vec::new();
    if let Some(GatewayUsage { calls, amount }) = gateways {
        figures.push(figure(FigureSource::Gateways, Some(*calls), *amount));
    }
    let totals = &books.totals;
    figures.push(figure(FigureSource::Transfers, None, totals.transferred));
    figures.push(figure(FigureSource::Receipts, Some(totals.receipts), totals.amount));
    let cost = sum(books.usage.iter().map(|row| row.sums.cost))?;
    figures.push(figure(FigureSource::UsageSums, Some(used), cost));
    let cost = sum(invoice.lines.iter().map(|line| line.cost))?;
    figures.push(figure(FigureSource::InvoiceLines, Some(listed), cost));
    figures.push(figure(FigureSource::InvoiceTotal, Some(invoice.receipts), invoice.total));
    Ok(figures)
}

/// Whether an entry moved something else than it says.
fn broken(entry: &Entry) -> Result<Option<String>, BillingError> {
    let is_cash = |account: &str| account.starts_with("cash:");
    let touches_cash = |t: &&TransferReport| is_cash(&t.debit) || is_cash(&t.credit);
    let (what, says, moved) = match (&entry.act, &entry.answer) {
        (EntryAct::Order(Act::TopUp(payment)), _) => {
            let cash = entry.transfers.iter().filter(touches_cash);
            ("top-up", payment.amount, sum(cash.map(|t| t.amount))?)
        }
        (EntryAct::Order(Act::Chargeback(payment)), _) => {
            let cash = entry.transfers.iter().filter(touches_cash);
            ("chargeback", payment.amount, sum(cash.map(|t| t.amount))?)
        }
        (
            EntryAct::Order(Act::Refund { .. }),
            EntryAnswer::Done(Outcome::Refunded { amount, .. }),
        ) => ("refund", *amount, sum(entry.transfers.iter().map(|t| t.amount))?),
        _ => return Ok(None),
    };
    Ok((says != moved).then(|| {
        let (number, op) = (entry.number, &entry.op);
        format!("Entry {number} ({op}) is a {what} of {says} credits, and it moved {moved}.")
    }))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
