//! One operation at a time: repeated, decided, or refused.

use std::sync::Arc;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::batch::Draft;
use super::{Reply, Request, Writer};
use crate::account::Transfer;
use crate::capture::{CaptureRequest, Captured, Receipt, normal_form};
use crate::charge::parts_of;
use crate::document::{Document, Refunds};
use crate::error::{BillingError, Refusal};
use crate::hold::{HoldRequest, HoldTerms, Pinned};
use crate::ids::{CallId, OpId, OrgId};
use crate::ledger::store::{CallEnd, CallRow, EntryRow, Found, StoreFault};
use crate::operation::{Operation, digest};
use crate::order::{Act, Order, Outcome, SystemAct};
use crate::report::{EntryAct, EntryAnswer};
use crate::rules::{self, Change, Facts};

type Waiter = oneshot::Sender<Result<Reply, BillingError>>;

impl Writer {
    /// Decides one operation. `Err` ends the batch; an operation that fails by itself is
    /// answered, and the batch goes on.
    pub(super) fn decide(
        &mut self,
        draft: &mut Draft,
        request: Request,
        found: &Found,
    ) -> Result<(), StoreFault> {
        let Request { operation, digest, gateways, reply } = request;
        if let Some((org, call)) = operation.ends()
            && let Err(refused) = self.may_end(draft, (gateways.as_deref(), org, call), found)
        {
            draft.answer(reply, Err(refused.into()));
            return Ok(());
        }
        match operation {
            Operation::Hold(request) => self.decide_hold(draft, &request, (found, reply)),
            Operation::Capture(request) => {
                let answer = self.decide_capture(draft, &request, found);
                draft.answer(reply, answer.map(|captured| Reply::Captured(Box::new(captured))));
                Ok(())
            }
            Operation::Void { org, call } => {
                let answer = self.decide_void(draft, (&org, call), found);
                draft.answer(reply, answer.map(|()| Reply::Voided));
                Ok(())
            }
            Operation::Order(order) => {
                let answer = self.decide_order(draft, (*order, digest), found);
                draft.answer(reply, answer.map(Reply::Done));
                Ok(())
            }
        }
    }

    fn decide_hold(
        &mut self,
        draft: &mut Draft,
        request: &HoldRequest,
        (found, reply): (&Found, Waiter),
    ) -> Result<(), StoreFault> {
        let open = self.state.hold(request.call).map(Arc::clone);
        if let Some(terms) = open.as_ref().filter(|open| open.org == request.org) {
            match terms.is_for(request) {
                true => draft.hold(reply, terms),
                false => draft.answer(reply, Err(BillingError::Conflict)),
            }
            return Ok(());
        }
        if let Some((row, _)) = past(draft, found, (&request.org, request.call)) {
            match (row.terms.is_for(request), &row.end) {
                (false, _) => draft.answer(reply, Err(BillingError::Conflict)),
                (true, CallEnd::Refused(refusal)) => {
                    let refused = Err(BillingError::Refused(refusal.clone()));
                    draft.answer(reply, refused);
                }
                (true, _) => {
                    let terms = row.terms.clone();
                    draft.hold(reply, &terms);
                }
            }
            return Ok(());
        }
        if open.is_some() {
            // Open holds are found by id alone: another organisation's has to end first.
            draft.answer(reply, Err(BillingError::Conflict));
            return Ok(());
        }
        while let Some(act) = rules::due_before_hold(&self.state, request, self.at_ms) {
            let change = rules::apply_system(&self.state, &act, self.at_ms);
            let projected = change.and_then(|change| self.state.project(&change).map(|_| change));
            match projected {
                Ok(change) => self.act(draft, act, change)?,
                // A counter at its end is this hold's trouble and not the ledger's.
                Err(refusal) => {
                    draft.answer(reply, Err(refusal.into()));
                    return Ok(());
                }
            }
        }
        let decided = rules::hold(&self.state, request, self.at_ms);
        match decided.and_then(|change| self.take(draft, change).map(|(change, _)| change)) {
            Ok(change) => {
                if let Some(terms) = &change.opened {
                    draft.hold(reply, terms);
                }
            }
            Err(BillingError::Refused(refusal)) => {
                draft.put_call(refused(request, refusal.clone(), self.at_ms));
                draft.answer(reply, Err(refusal.into()));
            }
            Err(error) => draft.answer(reply, Err(error)),
        }
        Ok(())
    }

    fn decide_capture(
        &mut self,
        draft: &mut Draft,
        request: &CaptureRequest,
        found: &Found,
    ) -> Result<Captured, BillingError> {
        let past = past(draft, found, (&request.org, request.call));
        if let Some((
            row @ CallRow { end: CallEnd::Captured { usage, ending, .. }, .. },
            transfers,
        )) = past
        {
            let same = *ending == request.ending && *usage == normal_form(&request.usage);
            let receipt = row.receipt(transfers).filter(|_| same);
            let balance = self.state.balance(&request.org);
            return receipt
                .map(|receipt| Captured { receipt, balance })
                .ok_or(BillingError::Conflict);
        }
        let ids = self.ids_for(&request.org);
        let facts = Facts { at_ms: self.at_ms, ids, past, refunds: None };
        let change = rules::capture(&self.state, request, &facts)?;
        let (change, transfers) = self.take(draft, change)?;
        let ended = change.ended.first().ok_or(BillingError::UnknownHold)?;
        let row = CallRow {
            terms: ended.terms.as_ref().clone(),
            end: ended.end.clone(),
            ended_at_ms: self.at_ms,
            transfers,
        };
        let receipt = row.receipt(&change.transfers).ok_or(BillingError::UnknownHold)?;
        Ok(Captured { receipt, balance: self.state.balance(&request.org) })
    }

    /// A hold is its gateway's: no other may charge it, give it up, or see its receipt.
    fn may_end(
        &self,
        draft: &Draft,
        (gateways, org, call): (Option<&[String]>, &OrgId, CallId),
        found: &Found,
    ) -> Result<(), Refusal> {
        let Some(gateways) = gateways else { return Ok(()) };
        let open = self.state.hold(call).filter(|terms| terms.org == *org).map(AsRef::as_ref);
        let ended = || past(draft, found, (org, call)).map(|(row, _)| &row.terms);
        let Some(terms) = open.or_else(ended) else { return Ok(()) };
        let holder = terms.pinned.holder.as_ref();
        let is_own = holder.is_some_and(|holder| gateways.contains(&holder.gateway));
        if is_own { Ok(()) } else { Err(Refusal::NotHolder) }
    }

    /// Ids for the messages of a charge, which only an organisation with settings gets: drawing
    /// them costs more than deciding most charges.
    fn ids_for(&self, org: &OrgId) -> [Uuid; 2] {
        self.state.settings(Some(org)).map_or([Uuid::nil(); 2], |_| self.fresh_ids())
    }

    fn decide_void(
        &mut self,
        draft: &mut Draft,
        (org, call): (&OrgId, CallId),
        found: &Found,
    ) -> Result<(), BillingError> {
        let past = past(draft, found, (org, call));
        if past.is_some_and(|(row, _)| row.end == CallEnd::Voided) {
            return Ok(());
        }
        let facts = Facts { at_ms: self.at_ms, ids: [Uuid::nil(); 2], past, refunds: None };
        let change = rules::void(&self.state, (org, call), &facts)?;
        self.take(draft, change).map(drop)
    }

    fn decide_order(
        &mut self,
        draft: &mut Draft,
        (order, digest): (Order, [u8; 32]),
        found: &Found,
    ) -> Result<Outcome, BillingError> {
        let here = draft.entry(&order.op).map(|entry| (entry.digest, entry.answer.clone()));
        let kept = || found.entries.get(&order.op).map(|past| (past.digest, past.answer.clone()));
        if let Some((asked, answer)) = here.or_else(kept) {
            return match answer {
                _ if asked != digest => Err(BillingError::Conflict),
                EntryAnswer::Done(outcome) => Ok(outcome),
                EntryAnswer::Refused(refusal) => Err(refusal.into()),
            };
        }
        let decided = self.try_order(draft, &order.act, found);
        let (change, answer) = match decided {
            Ok((change, outcome)) => (change, EntryAnswer::Done(outcome)),
            Err(refusal) => (Change::default(), EntryAnswer::Refused(refusal)),
        };
        let (_, transfers) = self.take(draft, change)?;
        let outcome = match &answer {
            EntryAnswer::Done(outcome) => Ok(outcome.clone()),
            EntryAnswer::Refused(refusal) => Err(refusal.clone().into()),
        };
        let Order { op, by, act } = order;
        let org = act.org().cloned();
        let act = EntryAct::Order(act.redacted());
        self.enter(draft, (op, by, org), (act, digest), (answer, transfers));
        outcome
    }

    /// Decides an order, with the last guard over its accounts.
    fn try_order(
        &self,
        draft: &Draft,
        act: &Act,
        found: &Found,
    ) -> Result<(Change, Outcome), Refusal> {
        let (mut call, mut refunds) = (None, None);
        if let Act::Refund { org, call: id, .. } = act {
            call = past(draft, found, (org, *id));
            let key = Refunds::key(org.as_str(), Some(*id));
            let document = draft.document(&key).or_else(|| found.documents.get(&key));
            refunds = match document {
                Some(Document::Refunds(refunds)) => Some(refunds),
                _ => None,
            };
        }
        let facts = Facts { at_ms: self.at_ms, ids: self.fresh_ids(), past: call, refunds };
        let (change, outcome) = rules::order(&self.state, act, &facts)?;
        self.state.project(&change)?;
        Ok((change, outcome))
    }

    /// Takes a change into state and batch; gives it back with the numbers of its transfers.
    fn take(
        &mut self,
        draft: &mut Draft,
        change: Change,
    ) -> Result<(Change, (u64, u64)), BillingError> {
        let counters = self.state.project(&change)?;
        let range = draft.record(&self.state, (&change, &counters));
        self.state.take(&change, counters);
        self.state.advance(change.transfers.len(), 0);
        Ok((change, range))
    }

    /// Takes a change that cannot be refused.
    pub(super) fn apply(&mut self, draft: &mut Draft, change: Change) -> Result<(), StoreFault> {
        let taken = self.take(draft, change).map(drop);
        taken.map_err(|error| StoreFault::Broken(format!("what is due cannot be done: {error}")))
    }

    /// Takes an act of the ledger's own.
    pub(super) fn act(
        &mut self,
        draft: &mut Draft,
        act: SystemAct,
        change: Change,
    ) -> Result<(), StoreFault> {
        let unwritable = |error: BillingError| StoreFault::Broken(error.to_string());
        let digest = digest(&act).map_err(unwritable)?;
        let number = self.state.last().entry.saturating_add(1);
        let op = OpId::new(format!("system-{number}")).map_err(unwritable)?;
        let org = match &act {
            SystemAct::FreeTier { org } => Some(org.clone()),
            SystemAct::ExpireLot { lot } => self.state.lot(*lot).map(|lot| lot.org.clone()),
            SystemAct::OpenWindow { budget } => {
                self.state.budget(*budget).map(|budget| budget.org.clone())
            }
            SystemAct::ClosePeriod { .. } => None,
        };
        let (_, transfers) = self.take(draft, change).map_err(unwritable)?;
        let answer = EntryAnswer::Done(Outcome::Done);
        let act = EntryAct::System(act);
        self.enter(draft, (op, "system".to_owned(), org), (act, digest), (answer, transfers));
        Ok(())
    }

    fn enter(
        &mut self,
        draft: &mut Draft,
        (op, by, org): (OpId, String, Option<OrgId>),
        (act, digest): (EntryAct, [u8; 32]),
        (answer, transfers): (EntryAnswer, (u64, u64)),
    ) {
        let number = self.state.last().entry.saturating_add(1);
        self.state.advance(0, 1);
        // An entry that moved nothing belongs to no place in the journal.
        let transfers = if transfers.1 == 0 { (0, 0) } else { transfers };
        draft.put_entry(EntryRow { number, op, by, org, act, digest, answer, transfers });
    }
}

/// A call that ended, in this batch or before.
fn past<'a>(
    draft: &'a Draft,
    found: &'a Found,
    (org, call): (&OrgId, CallId),
) -> Option<(&'a CallRow, &'a [Transfer])> {
    draft.call(org, call).or_else(|| {
        if found.calls.is_empty() {
            return None;
        }
        let (row, transfers) = found.calls.get(&(org.clone(), call))?;
        Some((row, transfers.as_slice()))
    })
}

/// A hold that was refused, as it is kept.
fn refused(request: &HoldRequest, refusal: Refusal, at_ms: u64) -> CallRow {
    let pinned = Pinned {
        author: request.author.clone(),
        provider: request.provider.clone(),
        holder: request.holder.clone(),
        budgets: Vec::new(),
        paid_lots: Vec::new(),
    };
    let terms = HoldTerms {
        call: request.call,
        org: request.org.clone(),
        key: request.key.clone(),
        amount: request.amount,
        price_version: request.price_version,
        subject: request.subject.clone(),
        pinned: Arc::new(pinned),
        lots: Vec::new(),
        created_at_ms: at_ms,
        expires_at_ms: at_ms.saturating_add(request.ttl_ms),
    };
    CallRow { terms, end: CallEnd::Refused(refusal), ended_at_ms: at_ms, transfers: (0, 0) }
}

impl CallRow {
    /// The receipt of a captured call, with the transfers of its capture.
    pub(crate) fn receipt(&self, transfers: &[Transfer]) -> Option<Receipt> {
        let CallEnd::Captured { amount, usage, ending, late } = &self.end else { return None };
        Some(Receipt::new(
            &self.terms,
            (usage.clone(), *ending),
            (*amount, parts_of(transfers)),
            (*late, self.ended_at_ms),
        ))
    }
}
