//! What a batch has done so far, and who waits for its commit.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::settle::Waiting;
use super::{Reply, Request};
use crate::account::{Account, Asset, Counters, Transfer};
use crate::calendar::Day;
use crate::document::{Document, DocumentKey};
use crate::error::BillingError;
use crate::hold::{Durability, Hold, HoldTerms};
use crate::ids::{CallId, OpId, OrgId};
use crate::ledger::store::{
    AccountChange, Batch, CallEnd, CallRow, EarningsKey, EntryRow, StoreFault, UsageKey,
};
use crate::money::Nano;
use crate::quick::QuickMap;
use crate::report::UsageSums;
use crate::rules::{Change, Ended, State, quantities};

/// A batch that grows.
#[derive(Debug)]
pub(super) struct Draft {
    waiting: Vec<Waiting>,
    batch: Batch,
    /// The accounts that changed, with their counters before the batch. A busy account is
    /// written once per batch, not once per call.
    before: QuickMap<Account, Option<Counters>>,
    /// Holds of this batch, open or not any more.
    opened: QuickMap<CallId, Arc<HoldTerms>>,
    /// Where the calls of `batch` are. Two organisations may use the same id.
    calls: QuickMap<(OrgId, CallId), usize>,
    entries: QuickMap<OpId, usize>,
    documents: QuickMap<DocumentKey, usize>,
    usage: QuickMap<UsageKey, UsageSums>,
    earnings: QuickMap<EarningsKey, (i64, Nano)>,
}

/// Answers requests that were never looked at.
pub(super) fn refuse(requests: impl IntoIterator<Item = Request>, error: &BillingError) {
    for request in requests {
        drop(request.reply.send(Err(error.clone())));
    }
}

impl Draft {
    pub(super) fn new(at_ms: u64, state: &State) -> Draft {
        let first_transfer = state.last().transfer.saturating_add(1);
        Draft {
            waiting: Vec::new(),
            batch: Batch { at_ms, first_transfer, ..Batch::default() },
            before: QuickMap::default(),
            opened: QuickMap::default(),
            calls: QuickMap::default(),
            entries: QuickMap::default(),
            documents: QuickMap::default(),
            usage: QuickMap::default(),
            earnings: QuickMap::default(),
        }
    }

    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        let batch = &self.batch;
        self.opened.is_empty()
            && batch.calls.is_empty()
            && batch.entries.is_empty()
            && batch.books.is_empty()
            && batch.transfers.is_empty()
    }

    /// How many calls and entries it writes.
    pub(super) fn len(&self) -> usize {
        self.batch.calls.len().saturating_add(self.batch.entries.len())
    }

    /// Takes a decided change over; gives the numbers of its transfers. The state must not have
    /// taken it yet.
    pub(super) fn record(
        &mut self,
        state: &State,
        (change, counters): (&Change, &[(Account, Counters)]),
    ) -> (u64, u64) {
        for (account, _) in counters {
            if !self.before.contains_key(account) {
                let before = state.account(account).map(|(_, counters)| counters);
                self.before.insert(account.clone(), before);
            }
        }
        let range = (state.last().transfer.saturating_add(1), wide(change.transfers.len()));
        self.batch.transfers.extend(change.transfers.iter().cloned());
        if let Some(hold) = &change.opened {
            self.opened.insert(hold.call, Arc::clone(hold));
        }
        for ended in &change.ended {
            self.end_call(ended, range);
        }
        change.documents.iter().cloned().for_each(|document| self.put_document(document));
        self.batch.books.extend(change.book.iter().map(Arc::clone));
        for (key, calls, amount) in &change.earnings {
            let sum = self.earnings.entry(key.clone()).or_default();
            sum.0 = sum.0.saturating_add(*calls);
            sum.1 = sum.1.checked_add(*amount).unwrap_or(sum.1);
        }
        range
    }

    fn end_call(&mut self, ended: &Ended, range: (u64, u64)) {
        let Ended { terms, end } = ended;
        let is_late = matches!(end, CallEnd::Captured { late: true, .. });
        if !is_late && self.opened.get(&terms.call).is_none_or(|hold| hold.org != terms.org) {
            self.batch.closed.push((terms.org.clone(), terms.call));
        }
        let transfers = match end {
            CallEnd::Captured { usage, amount, .. } => {
                self.count(terms, quantities(&terms.subject, usage, *amount));
                range
            }
            _ => (0, 0),
        };
        let ended_at_ms = self.batch.at_ms;
        let terms = terms.as_ref().clone();
        self.put_call(CallRow { terms, end: end.clone(), ended_at_ms, transfers });
    }

    /// Adds a call that ended or was refused. A late capture replaces the row of its expiry.
    pub(super) fn put_call(&mut self, row: CallRow) {
        let key = (row.terms.org.clone(), row.terms.call);
        match self.calls.get(&key).and_then(|at| self.batch.calls.get_mut(*at)) {
            Some(known) => *known = row,
            None => {
                self.calls.insert(key, self.batch.calls.len());
                self.batch.calls.push(row);
            }
        }
    }

    fn count(&mut self, terms: &HoldTerms, rows: Vec<(Option<String>, UsageSums)>) {
        for (model, sums) in rows {
            let key = UsageKey {
                org: terms.org.clone(),
                day: Day::of(self.batch.at_ms),
                key: terms.key.clone(),
                subject: terms.subject.clone(),
                model,
            };
            let sum = self.usage.entry(key).or_default();
            *sum = UsageSums {
                calls: sum.calls.saturating_add(sums.calls),
                input_tokens: sum.input_tokens.saturating_add(sums.input_tokens),
                cached_input_tokens: sum
                    .cached_input_tokens
                    .saturating_add(sums.cached_input_tokens),
                output_tokens: sum.output_tokens.saturating_add(sums.output_tokens),
                compute_micros: sum.compute_micros.saturating_add(sums.compute_micros),
                fuel: sum.fuel.saturating_add(sums.fuel),
                egress_bytes: sum.egress_bytes.saturating_add(sums.egress_bytes),
                cost: sum.cost.checked_add(sums.cost).unwrap_or(Nano::MAX),
            };
        }
    }

    fn put_document(&mut self, document: Document) {
        let key = document.key();
        match self.documents.get(&key).and_then(|at| self.batch.documents.get_mut(*at)) {
            Some(known) => *known = document,
            None => {
                self.documents.insert(key, self.batch.documents.len());
                self.batch.documents.push(document);
            }
        }
    }

    /// Adds an entry of the audit log.
    pub(super) fn put_entry(&mut self, entry: EntryRow) {
        self.entries.insert(entry.op.clone(), self.batch.entries.len());
        self.batch.entries.push(entry);
    }

    /// A call that ended in this batch, and the transfers of its capture.
    pub(super) fn call(&self, org: &OrgId, call: CallId) -> Option<(&CallRow, &[Transfer])> {
        if self.calls.is_empty() {
            return None;
        }
        let row = self.batch.calls.get(*self.calls.get(&(org.clone(), call))?)?;
        let (first, count) = row.transfers;
        let from = usize::try_from(first.saturating_sub(self.batch.first_transfer)).ok()?;
        let to = from.checked_add(usize::try_from(count).ok()?)?;
        Some((row, self.batch.transfers.get(from..to).unwrap_or_default()))
    }

    /// An entry of this batch.
    pub(super) fn entry(&self, op: &OpId) -> Option<&EntryRow> {
        self.entries.get(op).and_then(|at| self.batch.entries.get(*at))
    }

    /// A document that this batch changed.
    pub(super) fn document(&self, key: &DocumentKey) -> Option<&Document> {
        self.documents.get(key).and_then(|at| self.batch.documents.get(*at))
    }

    /// The batch as the store takes it, checked once more: debits and credits grew alike.
    pub(super) fn finish(&mut self, state: &State) -> Result<Batch, StoreFault> {
        let mut batch = std::mem::take(&mut self.batch);
        let mut grown: QuickMap<Asset, (i128, i128)> = QuickMap::default();
        for (account, before) in self.before.drain() {
            let Some((number, after)) = state.account(&account) else { continue };
            let (posted, held) = grown.entry(account.asset()).or_default();
            let (was, is) = (sides(before.unwrap_or_default()), sides(after));
            *posted = posted.saturating_add(is.0).saturating_sub(was.0);
            *held = held.saturating_add(is.1).saturating_sub(was.1);
            batch.accounts.push(AccountChange { number, account, before, after });
        }
        if grown.values().any(|sums| *sums != (0, 0)) {
            let reason = "debits and credits of a batch differ".to_owned();
            return Err(StoreFault::Broken(reason));
        }
        batch.accounts.sort_by_key(|change| change.number);
        let still_open = self.opened.drain().map(|(_, hold)| hold);
        let is_open = |hold: &Arc<HoldTerms>| state.hold(hold.call).is_some();
        batch.opened = still_open.filter(is_open).collect();
        batch.opened.sort_by_key(|hold| hold.call);
        batch.usage = self.usage.drain().collect();
        let earnings = self.earnings.drain();
        batch.earnings = earnings.map(|(key, (calls, amount))| (key, calls, amount)).collect();
        Ok(batch)
    }

    /// Who is told when the batch is durable.
    pub(super) fn waiting(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    /// Tells everybody that nothing of the batch was done.
    pub(super) fn fail(self, error: &BillingError) {
        self.waiting.into_iter().for_each(|waiting| waiting.fail(error));
    }

    /// Answers a decided hold at once; its caller is told of the commit later.
    pub(super) fn hold(
        &mut self,
        reply: oneshot::Sender<Result<Reply, BillingError>>,
        terms: &HoldTerms,
    ) {
        let (durable, pending) = oneshot::channel();
        let hold = Hold::new(terms, Durability::Pending(pending));
        self.waiting.push(Waiting::Durable(durable));
        drop(reply.send(Ok(Reply::Hold(hold))));
    }

    /// Answers after the commit.
    pub(super) fn answer(
        &mut self,
        reply: oneshot::Sender<Result<Reply, BillingError>>,
        answer: Result<Reply, BillingError>,
    ) {
        self.waiting.push(Waiting::Answer(reply, answer));
    }
}

/// Debits less credits, posted and held.
fn sides(counters: Counters) -> (i128, i128) {
    let nano = |amount: Nano| i128::from(amount.as_nano());
    let side = |debits: Nano, credits: Nano| nano(debits).saturating_sub(nano(credits));
    (
        side(counters.debits_posted, counters.credits_posted),
        side(counters.debits_held, counters.credits_held),
    )
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
