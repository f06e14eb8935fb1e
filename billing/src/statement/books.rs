//! What the ledger says about an organisation's month.

use super::{CreditNote, Invoice, InvoiceStatus, Movement, MovementKind, less, lines, sum};
use crate::BillingError;
use crate::billing::Billing;
use crate::calendar::Period;
use crate::ids::OrgId;
use crate::money::Nano;
use crate::order::{Act, Outcome, Payment, SystemAct};
use crate::report::{
    Entry, EntryAct, EntryAnswer, EntryQuery, ROWS_PER_PAGE_MAX, ReceiptTotals, UsageRow,
};

/// How often a month that runs is read until nothing changed meanwhile.
const READINGS_MAX: u32 = 3;
/// The most entries of one organisation in one month.
const ENTRIES_MAX: usize = 100_000;

/// What the ledger says.
pub(super) struct Books {
    pub(super) period: Period,
    pub(super) status: InvoiceStatus,
    pub(super) usage: Vec<UsageRow>,
    pub(super) totals: ReceiptTotals,
    /// Whether `usage` and `totals` are of one moment.
    pub(super) is_quiet: bool,
    /// Those that were done, oldest first.
    pub(super) entries: Vec<Entry>,
}

impl Books {
    /// Reads a month. `thorough` adds its receipts up one by one, as reconciliation does; else
    /// the sums that the ledger keeps are used, which its audit holds to the receipts.
    pub(super) async fn read(
        billing: &dyn Billing,
        org: &OrgId,
        period: Period,
        (now_ms, thorough): (u64, bool),
    ) -> Result<Books, BillingError> {
        if now_ms < period.starts_at_ms() {
            return Err(BillingError::Invalid(format!("period: {period} has not begun")));
        }
        // First, so that a month which closes meanwhile counts as one that may change.
        let is_closed = billing.periods().await?.iter().any(|close| close.period == period);
        let status = match (is_closed, now_ms < period.ends_at_ms()) {
            (true, _) => InvoiceStatus::Final,
            (false, true) => InvoiceStatus::Running,
            (false, false) => InvoiceStatus::Ended,
        };
        if !thorough {
            let usage = billing.usage(org, period.first_day(), period.last_day()).await?;
            let entries = entries(billing, org, period).await?;
            let totals = kept_totals(&usage)?;
            return Ok(Books { period, status, usage, totals, is_quiet: true, entries });
        }
        let mut totals = billing.totals(org, period).await?;
        let mut readings = 0_u32;
        loop {
            let usage = billing.usage(org, period.first_day(), period.last_day()).await?;
            let entries = entries(billing, org, period).await?;
            let after = billing.totals(org, period).await?;
            readings = readings.saturating_add(1);
            let is_quiet = totals == after;
            totals = after;
            if is_quiet || readings == READINGS_MAX {
                return Ok(Books { period, status, usage, totals, is_quiet, entries });
            }
        }
    }

    pub(super) fn invoice(
        &self,
        org: &OrgId,
        name: &str,
        now_ms: u64,
    ) -> Result<Invoice, BillingError> {
        let lines = lines(&self.usage)?;
        let total = sum(lines.iter().map(|line| line.cost))?;
        let receipts = lines.iter().fold(0_u64, |calls, line| calls.saturating_add(line.calls));
        let number = format!("{org}-{}", self.period);
        let notes = self.entries.iter().filter_map(|entry| credit_note(&number, entry));
        let credit_notes: Vec<CreditNote> = notes.collect();
        let mut movements = Vec::new();
        for entry in &self.entries {
            movements.extend(movement(entry)?);
        }
        let credited = sum(credit_notes.iter().map(|note| note.amount))?;
        let money = [MovementKind::TopUp, MovementKind::Chargeback];
        let paid = movements.iter().filter(|moved| money.contains(&moved.kind));
        Ok(Invoice {
            org: org.clone(),
            name: name.to_owned(),
            seller: Vec::new(),
            period: self.period,
            status: self.status,
            made_at_ms: now_ms,
            receipts,
            total,
            credited,
            net: less(total, credited)?,
            paid: sum(paid.map(|moved| moved.amount))?,
            number,
            lines,
            credit_notes,
            movements,
        })
    }
}

/// Receipts and their sum as the ledger keeps them by day.
fn kept_totals(usage: &[UsageRow]) -> Result<ReceiptTotals, BillingError> {
    let receipts = usage.iter().fold(0_u64, |sum, row| sum.saturating_add(row.sums.calls));
    let amount = sum(usage.iter().map(|row| row.sums.cost))?;
    Ok(ReceiptTotals { receipts, amount, transferred: amount })
}

/// All entries of a month that were done, oldest first.
async fn entries(
    billing: &dyn Billing,
    org: &OrgId,
    period: Period,
) -> Result<Vec<Entry>, BillingError> {
    let mut all: Vec<Entry> = Vec::new();
    let mut before = None;
    loop {
        let page = billing
            .entries(EntryQuery {
                org: Some(org.clone()),
                from_ms: period.starts_at_ms(),
                to_ms: period.ends_at_ms(),
                before,
                limit: ROWS_PER_PAGE_MAX,
            })
            .await?;
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        all.extend(page.into_iter().filter(|e| matches!(e.answer, EntryAnswer::Done(_))));
        if all.len() > ENTRIES_MAX {
            let reason = format!("{org} has more than {ENTRIES_MAX} entries in {period}");
            return Err(BillingError::Invalid(reason));
        }
    }
    all.reverse();
    Ok(all)
}

fn credit_note(invoice: &str, entry: &Entry) -> Option<CreditNote> {
    let EntryAct::Order(Act::Refund { call, note, .. }) = &entry.act else { return None };
    let EntryAnswer::Done(Outcome::Refunded { amount, .. }) = &entry.answer else { return None };
    Some(CreditNote {
        number: format!("{invoice}-C{}", entry.number),
        call: *call,
        amount: *amount,
        reason: note.clone(),
        at_ms: entry.at_ms,
    })
}

fn movement(entry: &Entry) -> Result<Option<Movement>, BillingError> {
    let moved = |kind, amount, note: &str| Movement {
        entry: entry.number,
        kind,
        amount,
        rail: None,
        reference: None,
        note: note.to_owned(),
        at_ms: entry.at_ms,
    };
    let paid = |kind, amount, payment: &Payment| Movement {
        rail: Some(payment.rail.clone()),
        reference: payment.reference.clone(),
        ..moved(kind, amount, &payment.note)
    };
    // The ledger's own acts do not say how much; what they moved does.
    let transferred = || sum(entry.transfers.iter().map(|transfer| transfer.amount));
    Ok(Some(match &entry.act {
        EntryAct::Order(Act::TopUp(payment)) => paid(MovementKind::TopUp, payment.amount, payment),
        EntryAct::Order(Act::Chargeback(payment)) => {
            paid(MovementKind::Chargeback, less(Nano::ZERO, payment.amount)?, payment)
        }
        EntryAct::Order(Act::Grant(grant)) => moved(MovementKind::Grant, grant.amount, &grant.note),
        EntryAct::Order(Act::Adjust { amount, note, .. }) => {
            moved(MovementKind::Adjustment, *amount, note)
        }
        EntryAct::System(SystemAct::FreeTier { .. }) => {
            moved(MovementKind::FreeTier, transferred()?, "")
        }
        EntryAct::System(SystemAct::ExpireLot { lot }) => {
            let note = format!("lot {lot}");
            moved(MovementKind::Expiry, less(Nano::ZERO, transferred()?)?, &note)
        }
        _ => return Ok(None),
    }))
}
