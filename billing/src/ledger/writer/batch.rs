//! One batch: how an operation is decided in it, and who waits for its commit.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::ErrorCode;
use tokio::sync::oneshot;

use super::{Fault, Request, Writer, unwritable};
use crate::account::{Account, Counters};
use crate::error::BillingError;
use crate::hold::{Durability, Hold, HoldTerms};
use crate::ids::OpId;
use crate::ledger::store::{Prior, Store};
use crate::operation::{Answer, Failure, Operation, Reply};
use crate::rules::{self, Change, Event, State};

/// What a batch has done so far.
#[derive(Debug, Default)]
pub(super) struct Batch {
    waiting: Vec<Waiting>,
    /// The accounts that changed, with their counters before the batch. A busy account is
    /// written once per batch, not once per call.
    before: HashMap<Account, Counters>,
    prices: bool,
}

/// Somebody who is told after the commit.
#[derive(Debug)]
enum Waiting {
    /// An answer that must be durable before it is given.
    Answer(oneshot::Sender<Result<Reply, BillingError>>, Result<Reply, BillingError>),
    /// A hold that was answered when it was decided.
    Durable(oneshot::Sender<Result<(), BillingError>>),
}

/// Answers requests that were never looked at.
pub(super) fn refuse(requests: impl IntoIterator<Item = Request>, error: &BillingError) {
    for request in requests {
        drop(request.reply.send(Err(error.clone())));
    }
}

impl Batch {
    /// Takes a decided change into the state.
    pub(super) fn take(&mut self, state: &mut State, change: Change) {
        for (account, _) in &change.balances {
            if !self.before.contains_key(account) {
                self.before.insert(account.clone(), state.counters(account));
            }
        }
        self.prices |= matches!(change.event, Event::Priced(_));
        state.commit(change);
    }

    /// Whether prices were published.
    pub(super) fn has_prices(&self) -> bool {
        self.prices
    }

    /// Writes the balances that changed, and checks that debits and credits grew alike.
    pub(super) fn settle(&self, store: &Store, state: &State) -> Result<(), Fault> {
        let (mut posted, mut held) = (0_i128, 0_i128);
        for (account, before) in &self.before {
            let after = state.counters(account);
            let grown = |counters: &Counters| -> (i128, i128) {
                let nano = |amount: crate::Nano| i128::from(amount.as_nano());
                (
                    nano(counters.debits_posted).saturating_sub(nano(counters.credits_posted)),
                    nano(counters.debits_held).saturating_sub(nano(counters.credits_held)),
                )
            };
            posted = posted.saturating_add(grown(&after).0).saturating_sub(grown(before).0);
            held = held.saturating_add(grown(&after).1).saturating_sub(grown(before).1);
            if !store.settle(account, *before, after).map_err(unwritable)? {
                let name = account.name();
                let reason =
                    format!("the balance of {name} in the file is not what was left there");
                return Err(Fault::Broken(reason));
            }
        }
        if posted != 0 || held != 0 {
            let reason = "debits and credits of a batch differ".to_owned();
            return Err(Fault::Broken(reason));
        }
        Ok(())
    }

    /// Tells everybody that the batch is durable.
    pub(super) fn acknowledge(self) {
        for waiting in self.waiting {
            match waiting {
                Waiting::Answer(reply, answer) => drop(reply.send(answer)),
                Waiting::Durable(durable) => drop(durable.send(Ok(()))),
            }
        }
    }

    /// Tells everybody that nothing of the batch was done.
    pub(super) fn fail(self, error: &BillingError) {
        for waiting in self.waiting {
            match waiting {
                Waiting::Answer(reply, _) => drop(reply.send(Err(error.clone()))),
                Waiting::Durable(durable) => drop(durable.send(Err(error.clone()))),
            }
        }
    }

    /// Answers a decided hold at once; its caller is told of the commit later.
    fn hold(&mut self, reply: oneshot::Sender<Result<Reply, BillingError>>, terms: &HoldTerms) {
        let (durable, pending) = oneshot::channel();
        let hold = Hold::new(terms, Durability::Pending(pending));
        self.waiting.push(Waiting::Durable(durable));
        drop(reply.send(Ok(Reply::Hold(hold))));
    }

    fn answer(
        &mut self,
        reply: oneshot::Sender<Result<Reply, BillingError>>,
        answer: Result<Reply, BillingError>,
    ) {
        self.waiting.push(Waiting::Answer(reply, answer));
    }
}

impl Writer {
    /// Decides one operation and writes it. `Err` ends the batch; an operation that fails by
    /// itself is answered, and the batch goes on.
    pub(super) fn decide(
        &mut self,
        batch: &mut Batch,
        request: Request,
        at_ms: u64,
    ) -> Result<(), Fault> {
        let Request { operation, payload, reply } = request;
        if let Some(prior) = self.store.prior(operation.op())? {
            return self.repeat(batch, (prior, payload), reply);
        }
        let ended = match operation.ends() {
            Some(hold) if self.state.hold(hold).is_none() => self.store.ended(hold)?,
            _ => None,
        };
        let facts = self.facts(at_ms, ended);
        match rules::apply(&self.state, &operation, &facts) {
            Ok(change) => self.accept(batch, (&operation, payload), (change, reply), at_ms),
            Err(error) => self.refuse(batch, (operation.op(), payload), (error, reply), at_ms),
        }
    }

    fn accept(
        &mut self,
        batch: &mut Batch,
        (operation, payload): (&Operation, [u8; 32]),
        (change, reply): (Change, oneshot::Sender<Result<Reply, BillingError>>),
        at_ms: u64,
    ) -> Result<(), Fault> {
        let answer = change.event.answer();
        let recorded =
            self.store.record(Some((operation.op(), &payload, &answer)), Some(&change), at_ms);
        if let Err(error) = recorded {
            return self.reject(batch, error, reply);
        }
        match &change.event {
            Event::Held(terms) => batch.hold(reply, terms),
            Event::Ended { receipt: Some(receipt), .. } => {
                batch.answer(reply, Ok(Reply::Receipt(receipt.clone())));
            }
            Event::Ended { receipt: None, .. } => batch.answer(reply, Ok(Reply::Voided)),
            Event::ToppedUp { balance, .. } => batch.answer(reply, Ok(Reply::Balance(*balance))),
            Event::Priced(book) => batch.answer(reply, Ok(Reply::Prices(Arc::clone(book)))),
        }
        batch.take(&mut self.state, change);
        Ok(())
    }

    fn refuse(
        &mut self,
        batch: &mut Batch,
        (op, payload): (&OpId, [u8; 32]),
        (error, reply): (BillingError, oneshot::Sender<Result<Reply, BillingError>>),
        at_ms: u64,
    ) -> Result<(), Fault> {
        if let Some(failure) = Failure::of(&error) {
            let answer = Answer::Failed(failure);
            if let Err(error) = self.store.record(Some((op, &payload, &answer)), None, at_ms) {
                return self.reject(batch, error, reply);
            }
        }
        batch.answer(reply, Err(error));
        Ok(())
    }

    /// An operation that the file does not take (a value that is too big for a row, say) was
    /// taken back alone, if the transaction still lives.
    fn reject(
        &mut self,
        batch: &mut Batch,
        error: rusqlite::Error,
        reply: oneshot::Sender<Result<Reply, BillingError>>,
    ) -> Result<(), Fault> {
        let is_its_own_fault = error.sqlite_error_code() == Some(ErrorCode::TooBig)
            || matches!(error, rusqlite::Error::ToSqlConversionFailure(_));
        if is_its_own_fault && self.store.is_in_transaction() {
            let reason = format!("the request cannot be stored: {error}");
            batch.answer(reply, Err(BillingError::Invalid(reason)));
            return Ok(());
        }
        let fault = unwritable(error);
        batch.answer(reply, Err(BillingError::Overloaded));
        Err(fault)
    }

    /// Gives the answer that the operation id has.
    fn repeat(
        &mut self,
        batch: &mut Batch,
        (prior, payload): (Prior, [u8; 32]),
        reply: oneshot::Sender<Result<Reply, BillingError>>,
    ) -> Result<(), Fault> {
        if prior.payload != payload {
            batch.answer(reply, Err(BillingError::Conflict));
            return Ok(());
        }
        let answer = match prior.answer {
            Answer::Held(hold) => {
                let terms = self.store.hold(hold)?;
                batch.hold(reply, &terms);
                return Ok(());
            }
            Answer::Captured(id) => Ok(Reply::Receipt(Box::new(self.store.receipt(id)?))),
            Answer::Voided => Ok(Reply::Voided),
            Answer::ToppedUp(balance) => Ok(Reply::Balance(balance)),
            Answer::Priced(version) => self
                .state
                .book(version)
                .map(|book| Reply::Prices(Arc::clone(book)))
                .ok_or(BillingError::UnknownPrice),
            Answer::Failed(failure) => Err(failure.into()),
        };
        batch.answer(reply, answer);
        Ok(())
    }
}
