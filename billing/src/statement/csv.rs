//! Exports for spreadsheets, page by page, by RFC 4180: commas, quotes doubled, lines that end
//! with CR LF, a header line first. Text that a spreadsheet would take for a formula gets an
//! apostrophe before it.

use chrono::{DateTime, SecondsFormat};
use uuid::Builder;

use super::sum;
use crate::BillingError;
use crate::billing::Billing;
use crate::calendar::{Day, Period};
use crate::capture::{Ending, Receipt};
use crate::charge::Party;
use crate::hold::Subject;
use crate::ids::{CallId, OrgId};
use crate::money::Nano;
use crate::price::Meter;
use crate::report::{DayQuery, ROWS_PER_PAGE_MAX, ReceiptQuery, UsageRow};

const USAGE_HEADER: &str = "day,key,subject,version,model,calls,input_tokens,\
    cached_input_tokens,output_tokens,compute_micros,fuel,egress_bytes,cost\r\n";
const RECEIPT_HEADER: &str = "call,charged_at,key,subject,version,ending,late,price_version,held,\
    amount,free_credits,input_tokens,cached_input_tokens,output_tokens,compute_micros,fuel,\
    egress_bytes\r\n";

/// A call's id tells when it began, and its charge comes later: within the longest life of a
/// hold, or after it, when a gateway comes back and reports late. Receipts are looked for among
/// calls this much older than the period.
const LATE_MS_MAX: u64 = 35 * 24 * 60 * 60 * 1000;
/// Ids are made by gateways, whose clocks may be ahead.
const CLOCK_AHEAD_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// An organisation's usage as CSV, a page for each day that has any.
pub struct UsageCsv<'a> {
    billing: &'a dyn Billing,
    query: DayQuery,
    next: Option<Day>,
    is_begun: bool,
}

impl<'a> UsageCsv<'a> {
    /// From a day to another, both included.
    #[must_use]
    pub fn new(billing: &'a dyn Billing, query: DayQuery) -> UsageCsv<'a> {
        let next = (query.from <= query.to).then_some(query.from);
        UsageCsv { billing, query, next, is_begun: false }
    }

    /// The next piece of the file; `None` when it is complete. The first has the header.
    ///
    /// # Errors
    /// As [`Billing::ask`].
    pub async fn next_page(&mut self) -> Result<Option<String>, BillingError> {
        let header = if self.is_begun { "" } else { USAGE_HEADER };
        self.is_begun = true;
        let mut page = header.to_owned();
        while let Some(day) = self.next {
            for row in self.billing.usage(&self.query.org, day, day).await? {
                push_usage(&mut page, &row);
            }
            let next = day.number().checked_add(1).map(Day::from_number);
            self.next = next.filter(|next| *next <= self.query.to);
            if page.len() > header.len() {
                break;
            }
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

/// An organisation's receipts of a month as CSV, the newest call first, with at most
/// [`ROWS_PER_PAGE_MAX`] lines in a page.
///
/// A month whose books are closed is exported whole or not at all: the last page is an error if
/// the lines do not sum to the receipts.
pub struct ReceiptCsv<'a> {
    billing: &'a dyn Billing,
    org: OrgId,
    period: Period,
    before: Option<CallId>,
    lines: u64,
    amount: Nano,
    is_begun: bool,
    is_done: bool,
}

impl<'a> ReceiptCsv<'a> {
    /// The receipts that were written in `period`.
    #[must_use]
    pub fn new(billing: &'a dyn Billing, org: OrgId, period: Period) -> ReceiptCsv<'a> {
        let newest_ms = period.ends_at_ms().saturating_add(CLOCK_AHEAD_MS_MAX);
        let before = Builder::from_unix_timestamp_millis(newest_ms, &[0; 10]).into_uuid();
        ReceiptCsv {
            billing,
            org,
            period,
            before: Some(CallId::from_uuid(before)),
            lines: 0,
            amount: Nano::ZERO,
            is_begun: false,
            is_done: false,
        }
    }

    /// The next piece of the file; `None` when it is complete. The first has the header.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] where a closed month's lines do not sum to its receipts, and
    /// those of [`Billing::ask`].
    pub async fn next_page(&mut self) -> Result<Option<String>, BillingError> {
        let header = if self.is_begun { "" } else { RECEIPT_HEADER };
        self.is_begun = true;
        let mut page = header.to_owned();
        while page.len() == header.len() && !self.is_done {
            let query = ReceiptQuery {
                org: self.org.clone(),
                before: self.before,
                limit: ROWS_PER_PAGE_MAX,
            };
            let receipts = self.billing.receipts(query).await?;
            let last = receipts.last().map(|receipt| receipt.call);
            self.is_done = last.is_none_or(|call| self.is_too_old(call));
            self.before = last;
            for receipt in &receipts {
                self.push(&mut page, receipt)?;
            }
            if self.is_done {
                self.compare().await?;
            }
        }
        Ok((!page.is_empty()).then_some(page))
    }

    fn push(&mut self, page: &mut String, receipt: &Receipt) -> Result<(), BillingError> {
        let span = self.period.starts_at_ms()..self.period.ends_at_ms();
        if span.contains(&receipt.created_at_ms) {
            self.lines = self.lines.saturating_add(1);
            self.amount = sum([self.amount, receipt.amount])?;
            push_receipt(page, receipt);
        }
        Ok(())
    }

    /// Whether calls before this one can have no receipt in the period.
    fn is_too_old(&self, call: CallId) -> bool {
        let began = call.as_uuid().get_timestamp().map(|time| time.to_unix().0);
        let began_ms = began.and_then(|began_s| began_s.checked_mul(1000));
        let oldest_ms = self.period.starts_at_ms().saturating_sub(LATE_MS_MAX);
        began_ms.is_some_and(|began_ms| began_ms < oldest_ms)
    }

    async fn compare(&self) -> Result<(), BillingError> {
        if !self.billing.periods().await?.iter().any(|close| close.period == self.period) {
            return Ok(());
        }
        let totals = self.billing.totals(&self.org, self.period).await?;
        if (totals.receipts, totals.amount) == (self.lines, self.amount) {
            return Ok(());
        }
        Err(BillingError::Invalid(format!(
            "the export has {} receipts of {} credits, the month {} of {}",
            self.lines, self.amount, totals.receipts, totals.amount
        )))
    }
}

fn push_usage(page: &mut String, row: &UsageRow) {
    let (subject, version) = subject(&row.subject);
    let sums = &row.sums;
    let cells = [
        row.day.to_string(),
        text(row.key.as_str()),
        text(&subject),
        version,
        text(row.model.as_deref().unwrap_or_default()),
        sums.calls.to_string(),
        sums.input_tokens.to_string(),
        sums.cached_input_tokens.to_string(),
        sums.output_tokens.to_string(),
        sums.compute_micros.to_string(),
        sums.fuel.to_string(),
        sums.egress_bytes.to_string(),
        sums.cost.to_string(),
    ];
    push_line(page, &cells);
}

fn push_receipt(page: &mut String, receipt: &Receipt) {
    let (subject, version) = subject(&receipt.subject);
    let used = |meter: Meter| {
        let lines = receipt.usage.iter().filter(|line| line.meter == meter);
        lines.fold(0_u64, |sum, line| sum.saturating_add(line.quantity)).to_string()
    };
    let promo = receipt.parts.iter().find(|part| part.party == Party::Promo);
    let at_ms = i64::try_from(receipt.created_at_ms).unwrap_or(i64::MAX);
    let charged_at = DateTime::from_timestamp_millis(at_ms).unwrap_or(DateTime::UNIX_EPOCH);
    let ending = match receipt.ending {
        Ending::Normal => "normal",
        Ending::ClientLeft => "client_left",
        Ending::Deadline => "deadline",
        Ending::Budget => "budget",
        Ending::GuestTrap => "guest_trap",
        Ending::PlatformFault => "platform_fault",
    };
    let cells = [
        receipt.call.to_string(),
        charged_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        text(receipt.key.as_str()),
        text(&subject),
        version,
        ending.to_owned(),
        receipt.late.to_string(),
        receipt.price_version.to_string(),
        receipt.held.to_string(),
        receipt.amount.to_string(),
        promo.map_or(Nano::ZERO, |part| part.amount).to_string(),
        used(Meter::InputTokens),
        used(Meter::CachedInputTokens),
        used(Meter::OutputTokens),
        used(Meter::ComputeMicros),
        used(Meter::Fuel),
        used(Meter::EgressBytes),
    ];
    push_line(page, &cells);
}

fn subject(subject: &Subject) -> (String, String) {
    match subject {
        Subject::Model(model) => (model.clone(), String::new()),
        Subject::Function { owner, name, version } => {
            (format!("{owner}/{name}"), version.to_string())
        }
    }
}

fn push_line(page: &mut String, cells: &[String]) {
    page.push_str(&cells.join(","));
    page.push_str("\r\n");
}

/// A cell of text: never a formula, and in quotes where it has to be.
fn text(text: &str) -> String {
    // A spreadsheet skips what looks like nothing before it decides.
    let first = text.trim_start_matches([' ', '\u{a0}', '\n', '\r', '\u{feff}']).chars().next();
    let is_formula = matches!(
        first,
        Some(
            '=' | '+' | '-' | '@' | '\t' | '|' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}'
        )
    );
    let safe = if is_formula { format!("'{text}") } else { text.to_owned() };
    if safe.contains([',', '"', '\r', '\n', '\t', '\'']) {
        format!("\"{}\"", safe.replace('"', "\"\""))
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_and_never_a_formula() {
        for (cell, expect) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            (" =1", "\"' =1\""),
            ("\r=1", "\"'\r=1\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("=\"a\",1", "\"'=\"\"a\"\",1\""),
            ("org/name-1", "org/name-1"),
        ] {
            assert_eq!(text(cell), expect, "{cell:?}");
        }
    }
}
