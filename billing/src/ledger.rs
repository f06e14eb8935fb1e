//! The ledger: a cheap handle, one writer thread, and readers beside it.

mod clock; // Where the time comes from.
#[cfg(test)]
mod memory; // A store for simulations.
mod postgres; // The store in PostgreSQL.
mod pricing; // What a call must have cost, for the auditors.
mod questions; // Which questions have a bound.
mod shared; // Prices in force, and whether writing has stopped.
mod sqlite; // The store in a SQLite file.
pub(crate) mod store; // What the writer asks of a store.
mod writer; // Decides and commits in groups.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use self::questions::validate;
use self::shared::Shared;
use self::store::{Reader, Store, StoreFault};
use self::writer::{Job, Reply, Request, Writer, WriterOptions};
use crate::billing::Billing;
use crate::capture::{CaptureRequest, Captured};
use crate::error::{BillingError, OpenFailure};
use crate::hold::{Hold, HoldRequest};
use crate::ids::{CallId, OrgId};
use crate::operation::{Operation, digest};
use crate::order::{Order, Outcome};
use crate::price::PriceBook;
use crate::report::{LedgerCheck, Query, Report};

pub use self::clock::Clock;
pub use self::postgres::{PostgresLedgerOptions, audit_database};
pub use self::sqlite::audit_file;

/// The queue has this many slots per operation that `queue_max` allows: holds use the first,
/// the rest is for what ends holds, so that a flood of new calls cannot keep old ones open.
const SLOTS_PER_OPERATION: usize = 2;
/// The most days in one question.
pub(crate) const DAYS_MAX: u32 = 400;

/// How a ledger is opened.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The database file; it is created where it is missing. [`Ledger::connect`] has none.
    pub path: PathBuf,
    /// Operations that may wait for the writer; holds beyond it are refused as overloaded.
    pub queue_max: usize,
    /// Operations in one commit.
    pub batch_max: usize,
    /// Connections for reading, each with its thread.
    pub readers: usize,
    /// Holds that may be open at one time.
    pub holds_open_max: usize,
    /// How often an idle writer looks for expired holds, in milliseconds.
    pub sweep_interval_ms: u64,
    /// How long to wait for a lock that another program has on the file, in milliseconds.
    pub busy_ms: u64,
    /// The time.
    pub clock: Clock,
}

impl Default for LedgerOptions {
    fn default() -> LedgerOptions {
        LedgerOptions {
            path: PathBuf::from("ledger.db"),
            queue_max: 8192,
            batch_max: 2048,
            readers: 2,
            holds_open_max: 1_000_000,
            sweep_interval_ms: 1000,
            busy_ms: 5000,
            clock: Clock::System,
        }
    }
}

/// The ledger on a store of its own. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    writer: mpsc::Sender<Job>,
    reader: Arc<dyn Reader>,
    shared: Arc<Shared>,
    clock: Clock,
    queue_max: usize,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("stopped", &self.0.shared.stopped()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the file, creating it where it is missing, and voids the holds of the process that
    /// had it before. Blocking: some milliseconds.
    ///
    /// Where an invariant does not hold, the ledger opens for reading, and every write says
    /// which in [`BillingError::Stopped`].
    ///
    /// # Errors
    /// [`BillingError::CannotOpen`] with the cause.
    pub fn open(options: LedgerOptions) -> Result<Ledger, BillingError> {
        let at = options.path.display().to_string();
        let busy = Duration::from_millis(options.busy_ms);
        let now_ms = options.clock.now_ms();
        let open = || {
            let (store, reader) = sqlite::open(&options.path, (busy, options.readers), now_ms)?;
            Ledger::start(Box::new(store), Arc::new(reader), options)
        };
        open().map_err(|cause| BillingError::CannotOpen { at, cause })
    }

    /// Opens the ledger in a PostgreSQL database, creating its tables where they are missing, and
    /// takes the writing over: a process that wrote before is fenced off. Blocking.
    ///
    /// # Errors
    /// [`BillingError::CannotOpen`] with the cause.
    pub fn connect(
        postgres: &PostgresLedgerOptions,
        options: LedgerOptions,
    ) -> Result<Ledger, BillingError> {
        let at = postgres.place();
        let open = || {
            let (store, reader) = postgres::open(postgres, options.clock.now_ms())?;
            Ledger::start(Box::new(store), Arc::new(reader), options)
        };
        open().map_err(|cause| BillingError::CannotOpen { at, cause })
    }

    fn start(
        store: Box<dyn Store>,
        reader: Arc<dyn Reader>,
        options: LedgerOptions,
    ) -> Result<Ledger, OpenFailure> {
        let shared = Arc::new(Shared::default());
        let settings = WriterOptions {
            batch_max: options.batch_max.max(1),
            holds_open_max: options.holds_open_max,
            sweep_interval: Duration::from_millis(options.sweep_interval_ms.max(1)),
            clock: options.clock.clone(),
        };
        let queue_max = options.queue_max.max(1);
        let slots = queue_max.saturating_mul(SLOTS_PER_OPERATION);
        let writer = start_writer((store, Arc::clone(&shared), settings), slots)?;
        let clock = options.clock;
        Ok(Ledger(Arc::new(Inner { writer, reader, shared, clock, queue_max })))
    }

    /// Finishes what is queued, closes the store and lets its lock go. Other clones get
    /// [`BillingError::Stopped`] from then on. Dropping all clones does the same, later and
    /// without a word.
    ///
    /// # Errors
    /// [`BillingError::Store`] where the store cannot be closed well; what was acknowledged is
    /// safe all the same. [`BillingError::Stopped`] where it was closed before.
    pub async fn close(self) -> Result<(), BillingError> {
        // Readers first: the last connection to close folds the log into the file.
        self.0.reader.close().await;
        let (closed, done) = oneshot::channel();
        if self.0.writer.send(Job::Close(closed)).await.is_err() {
            return Err(self.gone());
        }
        done.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Copies a consistent snapshot to a new file while calls go on.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] where the store has a way of its own (PostgreSQL),
    /// [`BillingError::Store`].
    pub async fn backup(&self, to: &Path) -> Result<(), BillingError> {
        self.0.reader.backup(to).await?;
        // A copy must not be ahead of what it is a copy of.
        self.0.shared.settled().await
    }

    /// Hands an operation to the writer and waits for its answer.
    async fn operate(
        &self,
        operation: Operation,
        gateways: Option<Arc<[String]>>,
    ) -> Result<Reply, BillingError> {
        operation.validate()?;
        let digest = match &operation {
            Operation::Order(order) => digest(&order.act)?,
            _ => [0; 32],
        };
        let (reply, answer) = oneshot::channel();
        let ends_a_hold = operation.ends().is_some();
        let job = Job::Operate(Box::new(Request { operation, digest, gateways, reply }));
        if ends_a_hold {
            self.0.writer.send(job).await.map_err(|_closed| self.gone())?;
        } else {
            self.enqueue(job)?;
        }
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    async fn captured(
        &self,
        request: CaptureRequest,
        gateways: Option<Arc<[String]>>,
    ) -> Result<Captured, BillingError> {
        match self.operate(Operation::Capture(request), gateways).await? {
            Reply::Captured(captured) => Ok(*captured),
            _ => Err(self.mismatch()),
        }
    }

    async fn voided(
        &self,
        (org, call): (OrgId, CallId),
        gateways: Option<Arc<[String]>>,
    ) -> Result<(), BillingError> {
        match self.operate(Operation::Void { org, call }, gateways).await? {
            Reply::Voided => Ok(()),
            _ => Err(self.mismatch()),
        }
    }

    fn enqueue(&self, job: Job) -> Result<(), BillingError> {
        if self.0.writer.capacity() <= self.0.queue_max {
            return Err(BillingError::Overloaded);
        }
        self.0.writer.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => BillingError::Overloaded,
            TrySendError::Closed(_) => self.gone(),
        })
    }

    /// Asks the writer about its state.
    async fn ask_writer(&self, query: Query) -> Result<Report, BillingError> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job::Ask(query, reply))?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    async fn check(&self) -> Result<LedgerCheck, BillingError> {
        let check = self.0.reader.check().await?;
        if let Some(broken) = check.breaks.first() {
            drop(self.0.shared.stop(broken.clone()));
        }
        Ok(check)
    }

    /// Why the writer does not answer.
    fn gone(&self) -> BillingError {
        let closed = || BillingError::Stopped("the ledger is closed".to_owned());
        self.0.shared.stopped().unwrap_or_else(closed)
    }

    /// The writer answers each operation in kind; this says so to the compiler.
    fn mismatch(&self) -> BillingError {
        self.0.shared.stop("the writer gave an answer of another kind".to_owned())
    }
}

fn cannot_open(fault: StoreFault) -> OpenFailure {
    match fault {
        StoreFault::Passing(error) | StoreFault::Unsure(error) => OpenFailure::Store(error),
        StoreFault::Broken(reason) => OpenFailure::Damaged(reason),
        StoreFault::Fenced => OpenFailure::Locked,
    }
}

/// Starts the writer's thread, and returns when it has read its state: a store may wait inside
/// of a runtime of its own, which callers' threads may not.
fn start_writer(
    (store, shared, settings): (Box<dyn Store>, Arc<Shared>, WriterOptions),
    slots: usize,
) -> Result<mpsc::Sender<Job>, OpenFailure> {
    let io_failure = |error| OpenFailure::Io(Arc::new(error));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(io_failure)?;
    let (sender, queue) = mpsc::channel(slots);
    let (started, outcome) = std::sync::mpsc::sync_channel(1);
    let serve = move || match Writer::start(store, shared, settings) {
        Ok(writer) => {
            drop(started.send(Ok(())));
            writer.run(&runtime, queue);
        }
        Err(fault) => drop(started.send(Err(cannot_open(fault)))),
    };
    let thread = thread::Builder::new().name("ledger-writer".to_owned());
    thread.spawn(serve).map_err(io_failure)?;
    let died = |_| OpenFailure::Damaged("the writer ended while it read its state".to_owned());
    outcome.recv().map_err(died)??;
    Ok(sender)
}

#[async_trait]
impl Billing for Ledger {
    async fn hold(&self, request: HoldRequest) -> Result<Hold, BillingError> {
        match self.operate(Operation::Hold(Box::new(request)), None).await? {
            Reply::Hold(hold) => Ok(hold),
            _ => Err(self.mismatch()),
        }
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Captured, BillingError> {
        self.captured(request, None).await
    }

    async fn void(&self, org: OrgId, call: CallId) -> Result<(), BillingError> {
        self.voided((org, call), None).await
    }

    async fn capture_for(
        &self,
        gateways: Arc<[String]>,
        request: CaptureRequest,
    ) -> Result<Captured, BillingError> {
        self.captured(request, Some(gateways)).await
    }

    async fn void_for(
        &self,
        gateways: Arc<[String]>,
        org: OrgId,
        call: CallId,
    ) -> Result<(), BillingError> {
        self.voided((org, call), Some(gateways)).await
    }

    async fn order(&self, order: Order) -> Result<Outcome, BillingError> {
        match self.operate(Operation::Order(Box::new(order)), None).await? {
            Reply::Done(outcome) => Ok(outcome),
            _ => Err(self.mismatch()),
        }
    }

    async fn prices(&self) -> Result<Arc<PriceBook>, BillingError> {
        Ok(self.0.shared.prices(self.0.clock.now_ms()))
    }

    async fn ask(&self, query: Query) -> Result<Report, BillingError> {
        validate(&query)?;
        let reader = &self.0.reader;
        let report = match query {
            Query::Account(_)
            | Query::Messages { .. }
            | Query::Platform
            | Query::Endpoint(_)
            | Query::Prices => return self.ask_writer(query).await,
            Query::Receipt { org, call } => {
                Report::Receipt(reader.receipt(&org, call).await?.map(Box::new))
            }
            Query::Receipts(query) => Report::Receipts(reader.receipts(&query).await?),
            Query::Usage(query) => Report::Usage(reader.usage(&query).await?),
            Query::Earnings(query) => Report::Earnings(reader.earnings(&query).await?),
            Query::UsageSums(query) => Report::UsageSums(reader.usage_sums(&query).await?),
            Query::EarningsSums(query) => Report::EarningsSums(reader.earnings_sums(&query).await?),
            Query::Entries(query) => Report::Entries(reader.entries(&query).await?),
            Query::Entry(op) => Report::Entry(reader.entry(&op).await?.map(Box::new)),
            Query::Totals(query) => Report::Totals(reader.totals(&query).await?),
            Query::Periods => Report::Periods(reader.periods().await?),
            Query::Ready => return self.0.shared.stopped().map_or(Ok(Report::Ready), Err),
            // It must answer after a failed sync, too.
            Query::Check => return Ok(Report::Check(Box::new(self.check().await?))),
        };
        // Readers see what is committed, which a crash may take back before it is synced.
        self.0.shared.settled().await?;
        Ok(report)
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
