//! The writer: one thread that owns the store, decides every operation, and commits in groups.
//!
//! It takes what is queued, decides each operation in memory, hands all of it to the store as
//! one batch, and only then acknowledges; a hold is answered when it is decided. There is no
//! timer: while one batch syncs, the next one grows.

mod batch; // What a batch has done so far, and who waits for it.
mod decide; // One operation at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use uuid::{ContextV7, Timestamp, Uuid};

use self::batch::Draft;
use super::Clock;
use super::shared::Shared;
use super::store::{CallEnd, Found, Store, StoreFault, Wanted};
use crate::capture::Captured;
use crate::document::Refunds;
use crate::error::BillingError;
use crate::hold::Hold;
use crate::ids::OrgId;
use crate::message::Message;
use crate::operation::Operation;
use crate::order::{Act, Endpoint, Outcome};
use crate::price::PriceBook;
use crate::report::{Query, Report};
use crate::rules::{self, Change, State};

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
        let state = State::of(store.load()?, options.holds_open_max);
        let at_ms = state.last().at_ms;
        shared.publish(state.books());
        let mut writer = Writer { store, state, shared, options, ids: ContextV7::new(), at_ms };
        if let Some(broken) = writer.state.broken() {
            drop(writer.shared.stop(broken));
            return Ok(writer);
        }
        match writer.settle_in() {
            Err(StoreFault::Broken(reason)) => drop(writer.shared.stop(reason)),
            outcome => outcome?,
        }
        Ok(writer)
    }

    /// Serves the queue until it is closed.
    pub(super) fn run(mut self, runtime: &Runtime, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(self.options.batch_max);
        loop {
            let taken = runtime.block_on(async {
                let taking = queue.recv_many(&mut jobs, self.options.batch_max);
                tokio::time::timeout(self.options.sweep_interval, taking).await
            });
            if taken == Ok(0) {
                break;
            }
            // What comes while the batch is decided joins it: a call whose hold was just decided
            // may be captured in the same commit.
            if let Some(closed) = self.serve(&mut jobs, |most, more| drain(&mut queue, most, more))
            {
                queue.close();
                let outcome = self.store.close().map_err(failed);
                drop(closed.send(outcome));
                return;
            }
        }
        if let Err(fault) = self.store.close() {
            tracing::error!(?fault, "closing the ledger failed; the next start recovers it");
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
        for (query, reply) in turn.questions {
            drop(reply.send(Ok(self.answer(&query))));
        }
        turn.closing
    }

    /// Answers from what was committed last.
    fn answer(&self, query: &Query) -> Report {
        match query {
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
        }
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

    /// Decides, writes, commits and acknowledges. `more` is told how many operations the batch
    /// has, and gives those that came meanwhile.
    pub(super) fn run_batch(
        &mut self,
        requests: Vec<Request>,
        mut more: impl FnMut(usize) -> Vec<Request>,
    ) {
        if let Some(error) = self.shared.stopped() {
            return batch::refuse(requests, &error);
        }
        let at_ms = self.now_ms();
        let mut draft = Draft::new(at_ms, &self.state);
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
        match outcome.and_then(|()| self.commit(&mut draft)) {
            Ok(()) => draft.acknowledge(),
            Err(fault) => {
                let error = self.recover(fault);
                draft.fail(&error);
                batch::refuse(requests, &error);
            }
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

    /// Closes months, expires holds and lots.
    fn catch_up(&mut self, draft: &mut Draft) -> Result<(), StoreFault> {
        // A month closes before anything is posted in the next one.
        while let Some(hold) = self.state.next_expired(self.at_ms) {
            self.apply(draft, rules::end(&hold, CallEnd::Expired))?;
        }
        while let Some(act) = rules::due(&self.state, self.at_ms) {
            let change = rules::apply_system(&self.state, &act, self.at_ms)
                .map_err(|refusal| broken(&refusal))?;
            self.act(draft, act, change)?;
        }
        Ok(())
    }

    /// One commit for the whole batch.
    fn commit(&mut self, draft: &mut Draft) -> Result<(), StoreFault> {
        if draft.is_empty() {
            return Ok(());
        }
        let batch = draft.finish(&self.state)?;
        self.store.commit(&batch)?;
        self.state.at(self.at_ms);
        if !batch.books.is_empty() {
            self.shared.publish(self.state.books());
        }
        Ok(())
    }

    /// Gives a new ledger its first prices, and ends the holds of the process that had the ledger
    /// embedded before: nobody can capture them any more. Holds of gateways elsewhere stay.
    fn settle_in(&mut self) -> Result<(), StoreFault> {
        self.now_ms();
        let mut draft = Draft::new(self.at_ms, &self.state);
        if self.state.books().is_empty() {
            let book = Some(Arc::new(PriceBook::initial()));
            self.apply(&mut draft, Change { book, ..Change::default() })?;
        }
        let orphans: Vec<_> =
            self.state.holds().filter(|hold| hold.pinned.holder.is_none()).cloned().collect();
        for hold in orphans {
            self.apply(&mut draft, rules::end(&hold, CallEnd::Restarted))?;
        }
        self.catch_up(&mut draft)?;
        self.commit(&mut draft)
    }

    /// Goes on from what the store says if that can be trusted.
    fn recover(&mut self, fault: StoreFault) -> BillingError {
        let error = match fault {
            StoreFault::Passing(error) => error,
            // After a failed sync nobody knows what is on the disk until the store is opened
            // again.
            StoreFault::Unsure(error) => {
                return self.shared.stop(format!("the store failed: {error}"));
            }
            StoreFault::Broken(reason) => return self.shared.stop(reason),
            StoreFault::Fenced => {
                return self.shared.stop("another process writes this ledger now".to_owned());
            }
        };
        match self.store.load() {
            Ok(loaded) => self.state = State::of(loaded, self.options.holds_open_max),
            Err(StoreFault::Fenced) => {
                return self.shared.stop("another process writes this ledger now".to_owned());
            }
            Err(fault) => {
                return self.shared.stop(format!("the state is unreadable: {fault:?}"));
            }
        }
        BillingError::Store(error)
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

/// What is served at one time.
#[derive(Default)]
struct Turn {
    questions: Vec<(Query, oneshot::Sender<Result<Report, BillingError>>)>,
    closing: Option<oneshot::Sender<Result<(), BillingError>>>,
}

impl Turn {
    /// Takes the jobs apart; gives the operations.
    fn sort(&mut self, jobs: &mut Vec<Job>) -> Vec<Request> {
        let mut requests = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            match (job, &self.closing) {
                (Job::Operate(request), None) => requests.push(*request),
                (Job::Ask(query, reply), None) => self.questions.push((query, reply)),
                (Job::Close(closed), None) => self.closing = Some(closed),
                // Dropping a job tells its caller that the ledger is closed.
                (_, Some(_)) => {}
            }
        }
        requests
    }
}

/// What is in the queue by now.
fn drain(queue: &mut mpsc::Receiver<Job>, most: usize, jobs: &mut Vec<Job>) {
    while let Some(job) = (jobs.len() < most).then(|| queue.try_recv().ok()).flatten() {
        jobs.push(job);
    }
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.entries.is_empty() && self.documents.is_empty()
    }
}

/// What must be looked up before a batch can be decided.
fn wanted(requests: &[Request], state: &State) -> Wanted {
    let mut wanted = Wanted::default();
    let is_open = |org: &OrgId, call| state.hold(call).is_some_and(|hold| hold.org == *org);
    for request in requests {
        match &request.operation {
            Operation::Hold(hold) => wanted.calls.push((hold.org.clone(), hold.call)),
            Operation::Capture(capture) if is_open(&capture.org, capture.call) => {}
            Operation::Capture(capture) => {
                wanted.calls.push((capture.org.clone(), capture.call));
            }
            Operation::Void { org, call } if is_open(org, *call) => {}
            Operation::Void { org, call } => wanted.calls.push((org.clone(), *call)),
            Operation::Order(order) => {
                wanted.entries.push(order.op.clone());
                if let Act::Refund { org, call, .. } = &order.act {
                    wanted.calls.push((org.clone(), *call));
                    wanted.documents.push(Refunds::key(org.as_str(), Some(*call)));
                }
            }
        }
    }
    wanted
}

fn broken(refusal: &crate::error::Refusal) -> StoreFault {
    StoreFault::Broken(format!("what is due cannot be done: {refusal}"))
}

/// A fault as callers are told.
fn failed(fault: StoreFault) -> BillingError {
    match fault {
        StoreFault::Passing(error) | StoreFault::Unsure(error) => BillingError::Store(error),
        StoreFault::Broken(reason) => BillingError::Stopped(reason),
        StoreFault::Fenced => {
            BillingError::Stopped("another process writes this ledger now".to_owned())
        }
    }
}
