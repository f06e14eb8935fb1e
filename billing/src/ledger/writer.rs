//! The writer: one thread that owns the file, decides every operation, and commits in groups.
//!
//! It takes what is queued, decides each operation in memory, writes all of it in one
//! transaction, commits once, and only then acknowledges; a hold is answered when it is decided.
//! There is no timer: while one batch syncs, the next one grows.

mod batch;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use uuid::{ContextV7, Timestamp, Uuid};

use self::batch::Batch;
use super::Clock;
use super::shared::Shared;
use super::store::Store;
use crate::error::BillingError;
use crate::hold::HoldEnd;
use crate::operation::{Operation, Reply};
use crate::rules::{self, Facts, State};

/// What waits for the writer.
#[derive(Debug)]
pub(super) enum Job {
    /// An operation, its digest, and who waits for it.
    Operate(Box<Request>),
    /// Finish what came before, close the file, and say so.
    Close(oneshot::Sender<Result<(), BillingError>>),
}

/// An operation on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) payload: [u8; 32],
    pub(super) reply: oneshot::Sender<Result<Reply, BillingError>>,
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
#[derive(Debug)]
pub(super) struct Writer {
    store: Store,
    state: State,
    shared: Arc<Shared>,
    options: WriterOptions,
    ids: ContextV7,
    /// The time of the last batch. Time never runs backwards here.
    at_ms: u64,
}

/// Why a batch cannot be committed.
#[derive(Debug)]
enum Fault {
    /// The file and the rules disagree.
    Broken(String),
    /// The database failed.
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Store(error)
    }
}

impl Writer {
    /// Reads the state, checks it, and voids the holds of processes that are gone.
    pub(super) fn start(
        mut store: Store,
        shared: Arc<Shared>,
        options: WriterOptions,
    ) -> rusqlite::Result<Writer> {
        let state = store.load(options.holds_open_max)?;
        let at_ms = store.last_at_ms()?;
        shared.publish(state.books());
        let mut writer = Writer { store, state, shared, options, ids: ContextV7::new(), at_ms };
        if let Some(broken) = writer.state.broken() {
            drop(writer.shared.stop(broken));
            return Ok(writer);
        }
        match writer.void_orphans() {
            Ok(()) => Ok(writer),
            Err(Fault::Store(error)) => Err(error),
            Err(Fault::Broken(reason)) => {
                drop(writer.shared.stop(reason));
                writer.store.roll_back()?;
                Ok(writer)
            }
        }
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
            let closing = self.serve(&mut jobs);
            if let Some(closed) = closing {
                queue.close();
                drop(closed.send(self.store.close().map_err(BillingError::from)));
                return;
            }
        }
        if let Err(error) = self.store.close() {
            tracing::error!(%error, "closing the ledger failed; the next start recovers it");
        }
    }

    /// Serves the jobs in order, up to a request to close.
    fn serve(&mut self, jobs: &mut Vec<Job>) -> Option<oneshot::Sender<Result<(), BillingError>>> {
        let mut requests = Vec::with_capacity(jobs.len());
        let mut closing = None;
        for job in jobs.drain(..) {
            match (job, &closing) {
                (Job::Operate(request), None) => requests.push(*request),
                (Job::Close(closed), None) => closing = Some(closed),
                // Dropping a job tells its caller that the ledger is closed.
                (_, Some(_)) => {}
            }
        }
        self.run_batch(requests);
        closing
    }

    /// Decides, writes, commits and acknowledges.
    pub(super) fn run_batch(&mut self, requests: Vec<Request>) {
        if let Some(error) = self.shared.stopped() {
            return batch::refuse(requests, &error);
        }
        let at_ms = self.now_ms();
        if requests.is_empty() && self.state.next_expired(at_ms).is_none() {
            return;
        }
        let mut batch = Batch::default();
        let mut requests = requests.into_iter();
        let outcome = self.fill(&mut batch, &mut requests, at_ms);
        match outcome.and_then(|()| self.commit(&mut batch)) {
            Ok(()) => batch.acknowledge(),
            Err(fault) => {
                let error = self.recover(fault);
                batch.fail(&error);
                batch::refuse(requests, &error);
            }
        }
    }

    fn fill(
        &mut self,
        batch: &mut Batch,
        requests: &mut impl Iterator<Item = Request>,
        at_ms: u64,
    ) -> Result<(), Fault> {
        self.store.begin()?;
        // Holds that are due expire before anything else is decided at this time.
        while let Some(hold) = self.state.next_expired(at_ms) {
            self.end_hold(batch, &hold, HoldEnd::Expired, at_ms)?;
        }
        for request in requests {
            if request.operation.is_for_caller_only() && request.reply.is_closed() {
                continue;
            }
            self.decide(batch, request, at_ms)?;
        }
        Ok(())
    }

    /// One commit for the whole batch.
    fn commit(&mut self, batch: &mut Batch) -> Result<(), Fault> {
        batch.settle(&self.store, &self.state)?;
        self.store.commit()?;
        if batch.has_prices() {
            self.shared.publish(self.state.books());
        }
        Ok(())
    }

    /// Ends the holds that were open when the last process ended: nobody can capture them.
    fn void_orphans(&mut self) -> Result<(), Fault> {
        let at_ms = self.now_ms();
        let mut batch = Batch::default();
        // Even with nothing to void: this finds out whether the file can be written.
        self.store.begin()?;
        while let Some(hold) = self.state.any_open() {
            self.end_hold(&mut batch, &hold, HoldEnd::Restarted, at_ms)?;
        }
        self.commit(&mut batch)
    }

    fn end_hold(
        &mut self,
        batch: &mut Batch,
        hold: &Arc<crate::hold::HoldTerms>,
        end: HoldEnd,
        at_ms: u64,
    ) -> Result<(), Fault> {
        let change = rules::end(&self.state, hold, end).map_err(|error| {
            Fault::Broken(format!("hold {} cannot be released: {error}", hold.id))
        })?;
        self.store.record(None, Some(&change), at_ms).map_err(unwritable)?;
        batch.take(&mut self.state, change);
        Ok(())
    }

    /// Rolls a failed batch back, and goes on from what the file says if that can be trusted.
    fn recover(&mut self, fault: Fault) -> BillingError {
        if let Err(error) = self.store.roll_back() {
            return self.shared.stop(format!("a failed batch cannot be rolled back: {error}"));
        }
        let error = match fault {
            Fault::Broken(reason) => return self.shared.stop(reason),
            Fault::Store(error) => error,
        };
        if !is_passing(&error) {
            // After a failed sync nobody knows what is on the disk until the file is opened again.
            return self.shared.stop(format!("the store failed: {error}"));
        }
        match self.store.load(self.options.holds_open_max) {
            Ok(state) => self.state = state,
            Err(error) => return self.shared.stop(format!("the state is unreadable: {error}")),
        }
        BillingError::from(error)
    }

    /// The time of a batch.
    fn now_ms(&mut self) -> u64 {
        self.at_ms = self.at_ms.max(self.options.clock.now_ms());
        self.at_ms
    }

    fn facts(&self, at_ms: u64, ended: Option<HoldEnd>) -> Facts {
        let seconds = at_ms.checked_div(1000).unwrap_or(0);
        let nanos = at_ms.checked_rem(1000).unwrap_or(0).saturating_mul(1_000_000);
        let nanos = u32::try_from(nanos).unwrap_or(0);
        let id = Uuid::new_v7(Timestamp::from_unix(&self.ids, seconds, nanos));
        Facts { at_ms, id, ended }
    }
}

/// Failures that leave the file as it was, and may be over the next time.
fn is_passing(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
        )
    )
}

/// A constraint that fails, or a row that is not there, means that file and rules disagree.
fn unwritable(error: rusqlite::Error) -> Fault {
    use rusqlite::{Error, ErrorCode};
    match (&error, error.sqlite_error_code()) {
        (Error::StatementChangedRows(_), _) => {
            Fault::Broken("a hold that is open in memory is not open in the file".to_owned())
        }
        (_, Some(ErrorCode::ConstraintViolation)) => {
            Fault::Broken(format!("the file refuses what the rules allow: {error}"))
        }
        _ => Fault::Store(error),
    }
}
