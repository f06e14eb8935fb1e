//! The writer: one thread that owns the store, decides every operation, and commits in groups.
//!
//! It takes what is queued, decides each operation in memory, and hands all of it to the store as
//! one batch; a hold is answered when it is decided, everything else when the batch is durable.
//! There is no timer: while one batch syncs, the next is decided and written.

mod turn; // What is served at one time.
mod batch; // What a batch has done so far, and who waits for it.
mod decide; // One operation at a time.
mod settle; // From the commit to the answers.
mod recover; // After a fault of the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use uuid::{ContextV7, Timestamp, Uuid};

use self::batch::Draft;
use self::recover::{broken, failed};
use self::settle::{Committed, Settling, Waiting};
use self::turn::{Turn, drain, wanted};
use super::Clock;
use super::shared::Shared;
use super::store::{CallEnd, Found, Store, StoreFault};
use crate::capture::Captured;
use crate::error::BillingError;
use crate::hold::Hold;
use crate::message::Message;
use crate::operation::Operation;
use crate::order::{Endpoint, Outcome, SystemAct};
use crate::price::PriceBook;
use crate::report::{Query, Report};
use crate::rules::{self, Change, State};

/// A batch takes in what comes while it is decided, but no longer than this: whoever came first
/// waits for it.
const GROWING_MAX: Duration = Duration::from_millis(2);

/// What waits for the writer.
#[derive(Debug)]
pub(super) enum Job {
    /// An operation, and who waits for it.
    Operate(Box<Request>),
    /// A question about the present state.
    Ask(Query, oneshot::Sender<Result<Report, BillingError>>),
    /// Finish what came before, close the store, and say so.
    Close(oneshot::Sender<Result<(), BillingError>>),
}

/// An operation on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) operation: Operation,
    /// Of an order's act.
    pub(super) digest: [u8; 32],
    /// The names of the gateway that asks; `None` for this process, which may do everything.
    pub(super) gateways: Option<Arc<[String]>>,
    pub(super) reply: oneshot::Sender<Result<Reply, BillingError>>,
}

/// What goes back to the caller.
#[derive(Debug)]
pub(super) enum Reply {
    Hold(Hold),
    Captured(Box<Captured>),
    Voided,
    Done(Outcome),
}

/// How the writer is set up.
#[derive(Clone, Debug)]
pub(super) struct WriterOptions {
    pub(super) batch_max: usize,
    pub(super) holds_open_max: usize,
    pub(super) sweep_interval: Duration,
    pub(super) clock: Clock,
}

/// The writer's own state; nobody else touches it.
pub(super) struct Writer {
    store: Box<dyn Store>,
    state: State,
    /// Whether the state has what was never kept, after a failure.
    stale: bool,
    settling: Settling,
    shared: Arc<Shared>,
    options: WriterOptions,
    ids: ContextV7,
    /// The time of the last batch. Time never runs backwards here.
    at_ms: u64,
}

impl Writer {
    /// Reads the state, checks it, and voids the holds of processes that are gone.
    pub(super) fn start(
        mut store: Box<dyn Store>,
        shared: Arc<Shared>,
        options: WriterOptions,
    ) -> Result<Writer, StoreFault> {
        let settling = Settling::start(store.log()?, &shared)?;
        let state = State::of(store.load()?, options.holds_open_max);
        let (stale, at_ms, ids) = (false, state.last().at_ms, ContextV7::new());
        shared.publish(state.books());
        let mut writer = Writer { store, state, stale, settling, shared, options, ids, at_ms };
        if let Some(broken) = writer.state.broken() {
            drop(writer.shared.stop(broken));
            return Ok(writer);
        }
        match writer.settle_in() {
            Err(fault @ StoreFault::Broken(_)) => drop(writer.recover(fault)),
            outcome => outcome?,
        }
        writer.settling.settle();
        Ok(writer)
    }

    /// Serves the queue until it is closed.
    pub(super) fn run(mut self, runtime: &Runtime, mut queue: mpsc::Receiver<Job>) {
        self.settling = self.settling.spawn();
        let mut jobs = Vec::with_capacity(self.options.batch_max);
        let closing = loop {
            let taken = runtime.block_on(async {
                let taking = queue.recv_many(&mut jobs, self.options.batch_max);
                tokio::time::timeout(self.options.sweep_interval, taking).await
            });
            if taken == Ok(0) {
                break None;
            }
            // What comes while the batch is decided joins it: a call whose hold was just decided
            // may be captured in the same commit.
            let began = Instant::now();
            let most_now = |most| if began.elapsed() < GROWING_MAX { most } else { 0 };
            let more = |most, jobs: &mut Vec<Job>| drain(&mut queue, most_now(most), jobs);
            let closing = self.serve(&mut jobs, more);
            self.settling.settle();
            if closing.is_some() {
                queue.close();
                break closing;
            }
        };
        // The log is synced for the last time before the store closes it.
        self.settling.finish();
        let outcome = self.store.close();
        match (closing, outcome) {
            (Some(closed), outcome) => drop(closed.send(outcome.map_err(failed))),
            (None, Ok(())) => {}
            (None, Err(fault)) => {
                tracing::error!(?fault, "closing the ledger failed; the next start recovers it");
            }
        }
    }

    /// Serves the jobs in order, and those that come meanwhile, up to a request to close.
    pub(super) fn serve(
        &mut self,
        jobs: &mut Vec<Job>,
        mut more: impl FnMut(usize, &mut Vec<Job>),
    ) -> Option<oneshot::Sender<Result<(), BillingError>>> {
        let batch_max = self.options.batch_max;
        let mut turn = Turn::default();
        let requests = turn.sort(jobs);
        self.run_batch(requests, |taken| {
            more(batch_max.saturating_sub(taken), jobs);
            turn.sort(jobs)
        });
        if !turn.questions.is_empty() {
            let questions = turn.questions.into_iter();
            let report = |(query, reply)| Waiting::Report(reply, self.answer(&query));
            let waiting = questions.map(report).collect();
            self.settling.hand_over(Committed::new(waiting, None));
        }
        turn.closing
    }

    /// Syncs and answers; for simulations, which have no thread.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        self.settling.settle();
    }

    /// Answers from what was committed last, also when writing has stopped.
    fn answer(&mut self, query: &Query) -> Result<Report, BillingError> {
        self.refresh()?;
        Ok(match query {
            Query::Account(org) => {
                Report::Account(Box::new(rules::report_account(&self.state, org, self.at_ms)))
            }
            Query::Messages { limit } => Report::Messages(self.messages(*limit)),
            Query::Platform => Report::Platform(self.state.platform().clone()),
            Query::Endpoint(org) => {
                Report::Endpoint(rules::report_endpoint(&self.state, org.as_ref()))
            }
            _ => {
                let books = self.state.books();
                Report::Prices(books.iter().map(|book| book.as_ref().clone()).collect())
            }
        })
    }

    fn messages(&self, limit: u32) -> Vec<(Message, Option<Endpoint>)> {
        let endpoint = |message: &Message| {
            let settings = self.state.settings(message.org.as_ref());
            settings.and_then(|settings| settings.endpoint.clone())
        };
        let now_ms = self.at_ms.max(self.options.clock.now_ms());
        let due = self.state.messages_due(now_ms);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        due.take(limit).map(|message| (message.clone(), endpoint(message))).collect()
    }

    /// Decides, commits, and hands over who waits. `more` is told how many operations the batch
    /// has, and gives those that came meanwhile.
    pub(super) fn run_batch(
        &mut self,
        requests: Vec<Request>,
        mut more: impl FnMut(usize) -> Vec<Request>,
    ) {
        if let Some(error) = self.shared.stopped() {
            return batch::refuse(requests, &error);
        }
        if let Err(error) = self.refresh() {
            return batch::refuse(requests, &error);
        }
        self.now_ms();
        let mut draft = Draft::new(self.at_ms, &self.state);
        let mut requests = requests.into_iter();
        let mut taken = 0_usize;
        // What is due happens before anything else is decided at this time.
        let mut outcome = self.catch_up(&mut draft);
        while outcome.is_ok() && requests.len() > 0 {
            taken = taken.saturating_add(requests.len());
            outcome = self.fill(&mut draft, &mut requests);
            if outcome.is_ok() {
                requests = more(taken).into_iter();
            }
        }
        if let Err(fault) = outcome.and_then(|()| self.commit(&mut draft)) {
            let error = self.recover(fault);
            draft.fail(&error);
            batch::refuse(requests, &error);
        }
    }

    fn fill(
        &mut self,
        draft: &mut Draft,
        requests: &mut std::vec::IntoIter<Request>,
    ) -> Result<(), StoreFault> {
        let wanted = wanted(requests.as_slice(), &self.state);
        let found = match wanted.is_empty() {
            true => Found::default(),
            false => self.store.find(&wanted)?,
        };
        for request in requests {
            if request.operation.is_for_caller_only() && request.reply.is_closed() {
                continue;
            }
            self.decide(draft, request, &found)?;
        }
        Ok(())
    }

    /// Closes months, expires holds and lots: all that is due, in as many commits as it takes.
    /// Requests wait for it, since what is posted at this time must find the months before closed
    /// and what has expired gone.
    fn catch_up(&mut self, draft: &mut Draft) -> Result<(), StoreFault> {
        self.close_months(draft)?;
        while let Some(hold) = self.state.next_expired(self.at_ms) {
            self.apply(draft, rules::end(&hold, CallEnd::Expired))?;
            self.commit_full(draft)?;
        }
        while let Some(act) = rules::due(&self.state, self.at_ms) {
            self.do_due(draft, act)?;
            self.commit_full(draft)?;
        }
        Ok(())
    }

    /// A month closes before anything happens in the next one, and in the same commit as the first
    /// that does: the very first month is known by the time of the last batch only.
    fn close_months(&mut self, draft: &mut Draft) -> Result<(), StoreFault> {
        while let Some(act @ SystemAct::ClosePeriod { .. }) = rules::due(&self.state, self.at_ms) {
            self.do_due(draft, act)?;
        }
        Ok(())
    }

    fn do_due(&mut self, draft: &mut Draft, act: SystemAct) -> Result<(), StoreFault> {
        let change = rules::apply_system(&self.state, &act, self.at_ms)
            .map_err(|refusal| broken(&refusal))?;
        self.act(draft, act, change)
    }

    /// Commits a batch of what is due by itself once it is as large as a batch may be: a store
    /// gives one that takes too long up, and would do so again each time.
    fn commit_full(&mut self, draft: &mut Draft) -> Result<(), StoreFault> {
        if draft.len() < self.options.batch_max {
            return Ok(());
        }
        self.commit(draft)?;
        *draft = Draft::new(self.at_ms, &self.state);
        Ok(())
    }

    /// One commit for the whole batch; those who wait are handed over.
    fn commit(&mut self, draft: &mut Draft) -> Result<(), StoreFault> {
        let mut books = None;
        let is_new = !draft.is_empty();
        if is_new {
            let batch = draft.finish(&self.state)?;
            self.settling.begin();
            if let Err(fault) = self.store.commit(&batch) {
                self.settling.withdraw();
                return Err(fault);
            }
            self.state.at(self.at_ms);
            books = (!batch.books.is_empty()).then(|| self.state.books());
        }
        let waiting = draft.waiting();
        if is_new || !waiting.is_empty() {
            self.settling.hand_over(Committed::new(waiting, books));
        }
        Ok(())
    }

    /// Gives a new ledger its first prices, and ends the holds of the process that had the ledger
    /// embedded before: nobody can capture them any more. Holds of gateways elsewhere stay.
    fn settle_in(&mut self) -> Result<(), StoreFault> {
        self.now_ms();
        let mut draft = Draft::new(self.at_ms, &self.state);
        self.close_months(&mut draft)?;
        if self.state.books().is_empty() {
            let book = Some(Arc::new(PriceBook::initial()));
            self.apply(&mut draft, Change { book, ..Change::default() })?;
        }
        let orphans: Vec<_> =
            self.state.holds().filter(|hold| hold.pinned.holder.is_none()).cloned().collect();
        for hold in orphans {
            self.apply(&mut draft, rules::end(&hold, CallEnd::Restarted))?;
            self.commit_full(&mut draft)?;
        }
        self.catch_up(&mut draft)?;
        self.commit(&mut draft)
    }

    /// The time of a batch.
    fn now_ms(&mut self) -> u64 {
        self.at_ms = self.at_ms.max(self.options.clock.now_ms());
        self.at_ms
    }

    fn fresh_ids(&self) -> [Uuid; 2] {
        let seconds = self.at_ms.checked_div(1000).unwrap_or(0);
        let nanos = self.at_ms.checked_rem(1000).unwrap_or(0).saturating_mul(1_000_000);
        let nanos = u32::try_from(nanos).unwrap_or(0);
        let fresh = || Uuid::new_v7(Timestamp::from_unix(&self.ids, seconds, nanos));
        [fresh(), fresh()]
    }
}
