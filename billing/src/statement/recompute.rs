//! What a past call should have cost, line by line, from its pinned prices. The arithmetic is
//! written apart from that of the charge, so that it can contradict it.

use serde::Serialize;

use crate::BillingError;
use crate::capture::Receipt;
use crate::charge::{Markup, payable};
use crate::ids::{OrgId, PriceVersion};
use crate::money::Nano;
use crate::price::{AuthorPrice, Meter, PriceBook, UsageLine};

/// Exact amounts are whole numbers of 10^-19 credits: fine enough for a microsecond at a rate in
/// pico-credits per millisecond with a markup in basis points.
const EXACT_DECIMALS: usize = 19;
const EXACT_PER_PICO: u128 = 10_000_000;
const EXACT_PER_NANO: u128 = 1000 * EXACT_PER_PICO;
const BPS_PER_WHOLE: u128 = 10_000;

/// The price of a past call, told line by line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recomputed {
    /// The prices that were pinned when the call was held.
    pub price_version: PriceVersion,
    /// How the lines add up.
    pub lines: Vec<PricedLine>,
    /// Their exact sum, in credits.
    pub exact: String,
    /// The exact sum rounded up to a nano-credit, and at most what was held.
    pub expected: Nano,
    /// Whether the hold was less than the sum.
    pub cut_to_hold: bool,
    /// What the receipt says.
    pub charged: Nano,
    /// Whether both are the same, to the nano.
    pub agrees: bool,
}

/// A quantity, its rate, and what both make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PricedLine {
    /// Who asks for it: `None` for the platform, else the function's author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<OrgId>,
    /// The model; `None` for the function itself.
    pub model: Option<String>,
    /// What was counted.
    pub meter: Meter,
    /// How much.
    pub quantity: u64,
    /// The rate in credits; in percent of the platform's price where `per` says so.
    pub rate: String,
    /// What the rate is for, such as `token`.
    pub per: &'static str,
    /// Quantity times rate, exactly, in credits; `0` where the way the call ended left it unpaid.
    pub exact: String,
    /// Whether the way the call ended leaves it to be paid.
    pub is_paid: bool,
}

/// Prices the usage of a receipt again. `book` must be the version that the receipt names.
///
/// # Errors
/// [`BillingError::Invalid`] where `book` is another version, a line has a meter that its subject
/// lacks, or the sum does not fit.
pub fn recompute(receipt: &Receipt, book: &PriceBook) -> Result<Recomputed, BillingError> {
    if book.version != receipt.price_version {
        let (needed, found) = (receipt.price_version, book.version);
        let reason = format!("prices: the receipt pins version {needed}, this is {found}");
        return Err(BillingError::Invalid(reason));
    }
    let due = payable(&receipt.subject, receipt.ending, &receipt.usage);
    // An organisation owes itself nothing.
    let author = receipt.author.as_ref().filter(|author| author.org != receipt.org);
    let mut lines = Vec::new();
    let mut exact_sum = 0_u128;
    for line in &receipt.usage {
        let is_paid = due.lines.contains(line);
        let (exact, platform) = platform_line(book, &receipt.org, line)?;
        let asked = author.and_then(|author| author_line(line, exact, (author, due.markup)));
        for (exact, priced) in std::iter::once((exact, platform)).chain(asked.transpose()?) {
            let counted = if is_paid { exact } else { 0 };
            exact_sum = exact_sum.checked_add(counted).ok_or_else(too_large)?;
            lines.push(PricedLine { exact: decimal(counted), is_paid, ..priced });
        }
    }
    let rounded = i64::try_from(exact_sum.div_ceil(EXACT_PER_NANO)).ok().ok_or_else(too_large)?;
    let whole = Nano::from_nano(rounded);
    let expected = whole.min(receipt.held);
    Ok(Recomputed {
        price_version: book.version,
        lines,
        exact: decimal(exact_sum),
        expected,
        cut_to_hold: whole > receipt.held,
        charged: receipt.amount,
        agrees: expected == receipt.amount,
    })
}

/// What the platform asks for a line.
fn platform_line(
    book: &PriceBook,
    org: &OrgId,
    line: &UsageLine,
) -> Result<(u128, PricedLine), BillingError> {
    let functions = book.function_rates(org);
    let rates = line.model.as_ref().map(|model| book.rates(org, model));
    // The rate, what it is for, and how many of the meter's units that is.
    let (rate, per, units) = match (rates, line.meter) {
        (Some(rates), Meter::InputTokens) => (rates.input_token, "token", 1),
        (Some(rates), Meter::CachedInputTokens) => (rates.cached_input_token, "token", 1),
        (Some(rates), Meter::OutputTokens) => (rates.output_token, "token", 1),
        (Some(rates), Meter::Calls) => (rates.call, "call", 1),
        (None, Meter::Calls) => (functions.call, "call", 1),
        (None, Meter::ComputeMicros) => (functions.compute_ms, "millisecond", 1000),
        (None, Meter::Fuel) => (functions.fuel_million, "million", 1_000_000),
        (None, Meter::EgressBytes) => (functions.egress_megabyte, "megabyte", 1_000_000),
        (_, meter) => {
            let reason = format!("usage: no price has a meter {meter:?} here");
            return Err(BillingError::Invalid(reason));
        }
    };
    let per_unit = EXACT_PER_PICO.checked_div(units).ok_or_else(too_large)?;
    let picos = u128::from(line.quantity).checked_mul(u128::from(rate.as_pico()));
    let exact = picos.and_then(|picos| picos.checked_mul(per_unit)).ok_or_else(too_large)?;
    Ok((exact, priced(line, None, (rate.to_string(), per))))
}

/// What the author adds to a line of which the platform asks `exact`.
fn author_line(
    line: &UsageLine,
    exact: u128,
    (author, markup): (&AuthorPrice, Markup),
) -> Option<Result<(u128, PricedLine), BillingError>> {
    if line.model.is_some() {
        return None;
    }
    let (asked, rate) = match (line.meter, markup) {
        (Meter::Calls, Markup::Full | Markup::CallFeeOnly) => {
            let fee = u128::try_from(author.call_fee.as_nano()).ok();
            let fees = fee.and_then(|fee| fee.checked_mul(u128::from(line.quantity)));
            let asked = fees.and_then(|fees| fees.checked_mul(EXACT_PER_NANO));
            (asked, (author.call_fee.to_string(), "call"))
        }
        (Meter::ComputeMicros | Meter::Fuel, Markup::Full) => {
            let bps = u128::from(author.compute_markup_bps);
            let asked = exact.checked_mul(bps).and_then(|all| all.checked_div(BPS_PER_WHOLE));
            (asked, (percent(bps), "percent of the platform's price"))
        }
        _ => return None,
    };
    let line = priced(line, Some(author.org.clone()), rate);
    Some(asked.map(|asked| (asked, line)).ok_or_else(too_large))
}

fn priced(
    line: &UsageLine,
    author: Option<OrgId>,
    (rate, per): (String, &'static str),
) -> PricedLine {
    PricedLine {
        author,
        model: line.model.clone(),
        meter: line.meter,
        quantity: line.quantity,
        rate,
        per,
        exact: String::new(),
        is_paid: true,
    }
}

fn percent(bps: u128) -> String {
    point(bps, 2)
}

fn decimal(exact: u128) -> String {
    point(exact, EXACT_DECIMALS)
}

/// `units` with the point moved to the left, trailing zeros dropped.
fn point(units: u128, decimals: usize) -> String {
    let digits = format!("{units:0>width$}", width = decimals.saturating_add(1));
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

fn too_large() -> BillingError {
    BillingError::Invalid("usage: the price does not fit 64-bit nano-credits".to_owned())
}
