//! A batch in the form of the tables.

use std::sync::Arc;

use super::columns::{
    BatchRow, BatchRows, BookRow, BookRows, CallColumns, CallRows, ChangedAccount, ChangedAccounts,
    ClosedHold, ClosedHolds, DocumentRow, DocumentRows, EarningsColumns, EarningsRows,
    EntryColumns, EntryRows, NameRow, NameRows, NewAccount, NewAccounts, OpenHold, OpenHolds,
    TransferRow, TransferRows, UsageColumns, UsageRows,
};
use super::fault::Fault;
use super::names::Interner;
use super::values::{Coded, Id, UsageCode, clamped, json, narrow, of_lots, signed};
use crate::account::{Account, Counters};
use crate::hold::HoldTerms;
use crate::ledger::store::{Batch, CallEnd, CallRow, EntryRow};
use crate::money::Nano;
use crate::price::UsageLine;
use crate::report::UsageSums;

/// A whole batch as columns.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) at_ms: i64,
    pub(super) names: NameRows,
    pub(super) new_accounts: NewAccounts,
    pub(super) changed_accounts: ChangedAccounts,
    pub(super) transfers: TransferRows,
    pub(super) batches: BatchRows,
    pub(super) opened: OpenHolds,
    pub(super) closed: ClosedHolds,
    pub(super) calls: CallRows,
    /// Charged after their holds had ended.
    pub(super) late: CallRows,
    pub(super) entries: EntryRows,
    pub(super) documents: DocumentRows,
    pub(super) books: BookRows,
    pub(super) usage: UsageRows,
    pub(super) earnings: EarningsRows,
}

impl Rows {
    /// The rows of a batch. Names and accounts that are new get their numbers, which the interner
    /// has to keep or forget when the batch's fate is known.
    pub(super) fn of(batch: &Batch, interner: &mut Interner) -> Result<Rows, Fault> {
        let mut rows = Rows { at_ms: signed(batch.at_ms), ..Rows::default() };
        rows.take_accounts(batch, interner)?;
        rows.take_transfers(batch, interner)?;
        for hold in &batch.opened {
            rows.opened.push(open_hold(hold, interner)?);
        }
        for (org, call) in &batch.closed {
            let org = interner.name(org.as_str())?;
            rows.closed.push(ClosedHold { org, call: Id(call.as_uuid()) });
        }
        for call in &batch.calls {
            let is_late = matches!(call.end, CallEnd::Captured { late: true, .. });
            let table = if is_late { &mut rows.late } else { &mut rows.calls };
            table.push(call_columns(call, interner)?);
        }
        for entry in &batch.entries {
            rows.entries.push(entry_columns(entry, batch.at_ms, interner)?);
        }
        rows.take_documents(batch)?;
        rows.take_sums(batch, interner)?;
        for (id, name) in interner.fresh() {
            rows.names.push(NameRow { id: *id, name: name.as_ref().to_owned() });
        }
        Ok(rows)
    }

    fn take_accounts(&mut self, batch: &Batch, interner: &mut Interner) -> Result<(), Fault> {
        for change in &batch.accounts {
            let number = narrow(signed(change.number))?;
            let (account, after) = (&change.account, change.after);
            match change.before {
                None => {
                    interner.open(account, number);
                    self.new_accounts.push(new_account(number, account, after));
                }
                Some(before) => self.changed_accounts.push(ChangedAccount {
                    number,
                    debits_posted: after.debits_posted.as_nano(),
                    credits_posted: after.credits_posted.as_nano(),
                    debits_held: after.debits_held.as_nano(),
                    credits_held: after.credits_held.as_nano(),
                    debits_posted_before: before.debits_posted.as_nano(),
                    credits_posted_before: before.credits_posted.as_nano(),
                    debits_held_before: before.debits_held.as_nano(),
                    credits_held_before: before.credits_held.as_nano(),
                }),
            }
        }
        Ok(())
    }

    fn take_transfers(&mut self, batch: &Batch, interner: &Interner) -> Result<(), Fault> {
        let first = signed(batch.first_transfer);
        if !batch.transfers.is_empty() {
            self.batches.push(BatchRow { first_transfer: first, at_ms: signed(batch.at_ms) });
        }
        for (number, transfer) in (first..).zip(&batch.transfers) {
            self.transfers.push(TransferRow {
                number,
                purpose: narrow(transfer.purpose.code())?,
                debit: interner.account(&transfer.debit)?,
                credit: interner.account(&transfer.credit)?,
                amount: transfer.amount.as_nano(),
            });
        }
        Ok(())
    }

    fn take_documents(&mut self, batch: &Batch) -> Result<(), Fault> {
        for document in &batch.documents {
            let (key, live, body) = (document.key(), document.is_live(), json(document)?);
            self.documents.push(DocumentRow { kind: key.kind, id: key.id, live, body });
        }
        for book in &batch.books {
            self.books.push(BookRow {
                version: signed(book.version.0),
                effective_at_ms: signed(book.effective_at_ms),
                book: json(book.as_ref())?,
            });
        }
        Ok(())
    }

    fn take_sums(&mut self, batch: &Batch, interner: &mut Interner) -> Result<(), Fault> {
        for (row, sums) in &batch.usage {
            let UsageSums { calls, input_tokens, cached_input_tokens, output_tokens, .. } = *sums;
            self.usage.push(UsageColumns {
                org: interner.name(row.org.as_str())?,
                day: narrow(i64::from(row.day.number()))?,
                key: interner.name(row.key.as_str())?,
                subject: interner.subject(&row.subject)?,
                model: interner.model(row.model.as_deref())?,
                calls: clamped(calls),
                input_tokens: clamped(input_tokens),
                cached_input_tokens: clamped(cached_input_tokens),
                output_tokens: clamped(output_tokens),
                compute_micros: clamped(sums.compute_micros),
                fuel: clamped(sums.fuel),
                egress_bytes: clamped(sums.egress_bytes),
                cost: sums.cost.as_nano(),
            });
        }
        for (row, calls, amount) in &batch.earnings {
            self.earnings.push(EarningsColumns {
                org: interner.name(row.org.as_str())?,
                day: narrow(i64::from(row.day.number()))?,
                role: row.role.code()?,
                subject: interner.subject(&row.subject)?,
                calls: *calls,
                amount: amount.as_nano(),
            });
        }
        Ok(())
    }
}

fn new_account(number: i32, account: &Account, after: Counters) -> NewAccount {
    NewAccount {
        number,
        name: account.name(),
        asset: account.asset().name(),
        debits_must_not_exceed_credits: account.is_limited(),
        debits_posted: after.debits_posted.as_nano(),
        credits_posted: after.credits_posted.as_nano(),
        debits_held: after.debits_held.as_nano(),
        credits_held: after.credits_held.as_nano(),
    }
}

fn open_hold(hold: &Arc<HoldTerms>, interner: &mut Interner) -> Result<OpenHold, Fault> {
    Ok(OpenHold {
        org: interner.name(hold.org.as_str())?,
        call: Id(hold.call.as_uuid()),
        key: interner.name(hold.key.as_str())?,
        subject: interner.subject(&hold.subject)?,
        pinned: interner.pinned(&hold.pinned)?,
        amount: hold.amount.as_nano(),
        price_version: signed(hold.price_version.0),
        lots: of_lots(&hold.lots)?,
        created_at_ms: signed(hold.created_at_ms),
        expires_at_ms: signed(hold.expires_at_ms),
    })
}

fn call_columns(call: &CallRow, interner: &mut Interner) -> Result<CallColumns, Fault> {
    let terms = &call.terms;
    let (amount, usage, ending, refusal) = match &call.end {
        CallEnd::Captured { amount, usage, ending, .. } => {
            (*amount, Some(usage_text(usage, interner)?), Some(ending.code()?), None)
        }
        CallEnd::Refused(refusal) => (Nano::ZERO, None, None, Some(json(refusal)?)),
        CallEnd::Voided | CallEnd::Expired | CallEnd::Restarted => (Nano::ZERO, None, None, None),
    };
    let (first_transfer, transfers) = call.transfers;
    Ok(CallColumns {
        org: interner.name(terms.org.as_str())?,
        call: Id(terms.call.as_uuid()),
        ended: narrow(call.end.code())?,
        key: interner.name(terms.key.as_str())?,
        subject: interner.subject(&terms.subject)?,
        pinned: interner.pinned(&terms.pinned)?,
        held: terms.amount.as_nano(),
        amount: amount.as_nano(),
        price_version: signed(terms.price_version.0),
        usage,
        ending,
        refusal,
        held_at_ms: signed(terms.created_at_ms),
        ttl_ms: signed(terms.expires_at_ms.saturating_sub(terms.created_at_ms)),
        ended_at_ms: signed(call.ended_at_ms),
        first_transfer: signed(first_transfer),
        transfers: narrow(signed(transfers))?,
        lots: if call.end.keeps_lots() { of_lots(&terms.lots)? } else { None },
    })
}

fn usage_text(usage: &[UsageLine], interner: &mut Interner) -> Result<String, Fault> {
    let mut codes = Vec::with_capacity(usage.len());
    for line in usage {
        let model = interner.model(line.model.as_deref())?;
        codes.push(UsageCode(model, line.meter.code()?, line.quantity));
    }
    json(&codes)
}

fn entry_columns(
    entry: &EntryRow,
    at_ms: u64,
    interner: &mut Interner,
) -> Result<EntryColumns, Fault> {
    let (first_transfer, transfers) = entry.transfers;
    Ok(EntryColumns {
        number: signed(entry.number),
        op: entry.op.as_str().to_owned(),
        by_whom: entry.by.clone(),
        org: entry.org.as_ref().map(|org| interner.name(org.as_str())).transpose()?,
        act: json(&entry.act)?,
        digest: entry.digest.to_vec(),
        answer: json(&entry.answer)?,
        at_ms: signed(at_ms),
        first_transfer: signed(first_transfer),
        transfers: narrow(signed(transfers))?,
    })
}
