//! The ledger on SQLite: a cheap handle, one writer thread, a few reading threads.

mod audit;
mod reader; // Queries on their own connections.
mod schema; // The file, its lock and its versions.
mod shared; // Prices in force, and whether writing has stopped.
mod sql; // Our types in SQLite's.
mod store; // The writer's statements.
mod usage; // Sums of receipts.
mod writer; // Decides and commits in groups. // Replays the journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use self::reader::Readers;
use self::shared::Shared;
use self::store::Store;
use self::writer::{Job, Request, Writer, WriterOptions};
use crate::billing::Billing;
use crate::capture::{CaptureRequest, Receipt};
use crate::error::{BillingError, OpenFailure};
use crate::hold::{Hold, HoldRequest};
use crate::ids::{HoldId, OpId, OrgId, ReceiptId};
use crate::money::Nano;
use crate::operation::{Operation, Reply};
use crate::price::{NewPriceBook, PriceBook};
use crate::report::{Balance, LedgerCheck, RECEIPTS_PER_PAGE_MAX, ReceiptQuery, UsageSummary};

/// The latest time there is: what the 48 bits of a UUIDv7 hold, in the year 10889.
const TIME_MS_MAX: u64 = (1 << 48) - 1;
/// The queue has this many slots per operation that `queue_max` allows: holds use the first,
/// the rest is for what ends holds, so that a flood of new calls cannot keep old ones open.
const SLOTS_PER_OPERATION: usize = 2;

/// Where the ledger reads the time, in milliseconds since 1970. It never lets it run backwards.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that tests move.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Now, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match self {
            Clock::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            Clock::Manual(now_ms) => now_ms.load(Ordering::SeqCst),
        }
        .min(TIME_MS_MAX)
    }
}

/// How a ledger is opened.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The database file; it is created where it is missing.
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

/// The ledger in a SQLite file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: mpsc::Sender<Job>,
    readers: Readers,
    /// A check takes long; it has a thread of its own.
    auditor: Readers,
    shared: Arc<Shared>,
    clock: Clock,
    queue_max: usize,
}

impl Ledger {
    /// Opens the file, creating it where it is missing, and voids the holds of processes that
    /// are gone. Blocking: some milliseconds.
    ///
    /// Where an invariant does not hold, the ledger opens for reading, and every write says
    /// which in [`BillingError::Stopped`].
    ///
    /// # Errors
    /// [`BillingError::CannotOpen`] with the cause.
    pub fn open(options: LedgerOptions) -> Result<Ledger, BillingError> {
        let path = options.path.clone();
        Ledger::start(options).map_err(|cause| BillingError::CannotOpen { path, cause })
    }

    fn start(options: LedgerOptions) -> Result<Ledger, OpenFailure> {
        let busy = Duration::from_millis(options.busy_ms);
        let file = schema::open(&options.path, busy, options.clock.now_ms())?;
        let shared = Arc::new(Shared::default());
        let settings = WriterOptions {
            batch_max: options.batch_max.max(1),
            holds_open_max: options.holds_open_max,
            sweep_interval: Duration::from_millis(options.sweep_interval_ms.max(1)),
            clock: options.clock.clone(),
        };
        let writer = Writer::start(Store::new(file), Arc::clone(&shared), settings)
            .map_err(schema::failure)?;
        let readers = Readers::start(&options.path, busy, options.readers)?;
        let auditor = Readers::start(&options.path, busy, 1)?;
        let queue_max = options.queue_max.max(1);
        let inner = Inner {
            writer: start_writer(writer, queue_max.saturating_mul(SLOTS_PER_OPERATION))?,
            readers,
            auditor,
            shared,
            clock: options.clock,
            queue_max,
        };
        Ok(Ledger(Arc::new(inner)))
    }

    /// Finishes what is queued, closes the file and lets its lock go. Other clones get
    /// [`BillingError::Stopped`] from then on. Dropping all clones does the same, later and
    /// without a word.
    ///
    /// # Errors
    /// [`BillingError::Store`] where the file cannot be closed well; what was acknowledged is
    /// safe all the same. [`BillingError::Stopped`] where it was closed before.
    pub async fn close(self) -> Result<(), BillingError> {
        // Readers first: the last connection to close folds the log into the file.
        self.0.readers.close().await;
        self.0.auditor.close().await;
        let (closed, done) = oneshot::channel();
        if self.0.writer.send(Job::Close(closed)).await.is_err() {
            return Err(self.gone());
        }
        done.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Hands an operation to the writer and waits for its answer.
    async fn operate(&self, operation: Operation) -> Result<Reply, BillingError> {
        operation.validate()?;
        let payload = operation.payload()?;
        let (reply, answer) = oneshot::channel();
        let ends_a_hold = operation.ends().is_some();
        let job = Job::Operate(Box::new(Request { operation, payload, reply }));
        if ends_a_hold {
            self.0.writer.send(job).await.map_err(|_closed| self.gone())?;
        } else {
            if self.0.writer.capacity() <= self.0.queue_max {
                return Err(BillingError::Overloaded);
            }
            self.0.writer.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => BillingError::Overloaded,
                TrySendError::Closed(_) => self.gone(),
            })?;
        }
        answer.await.unwrap_or_else(|_| Err(self.gone()))
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

fn start_writer(writer: Writer, slots: usize) -> Result<mpsc::Sender<Job>, OpenFailure> {
    let io_failure = |error| OpenFailure::Io(Arc::new(error));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(io_failure)?;
    let (sender, queue) = mpsc::channel(slots);
    thread::Builder::new()
        .name("ledger-writer".to_owned())
        .spawn(move || writer.run(&runtime, queue))
        .map_err(io_failure)?;
    Ok(sender)
}

#[async_trait]
impl Billing for Ledger {
    async fn hold(&self, request: HoldRequest) -> Result<Hold, BillingError> {
        match self.operate(Operation::Hold(request)).await? {
            Reply::Hold(hold) => Ok(hold),
            _ => Err(self.mismatch()),
        }
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Receipt, BillingError> {
        match self.operate(Operation::Capture(request)).await? {
            Reply::Receipt(receipt) => Ok(*receipt),
            _ => Err(self.mismatch()),
        }
    }

    async fn void(&self, op: OpId, hold: HoldId) -> Result<(), BillingError> {
        match self.operate(Operation::Void { op, hold }).await? {
            Reply::Voided => Ok(()),
            _ => Err(self.mismatch()),
        }
    }

    async fn top_up(
        &self,
        op: OpId,
        org: OrgId,
        amount: Nano,
        note: String,
    ) -> Result<Balance, BillingError> {
        match self.operate(Operation::TopUp { op, org, amount, note }).await? {
            Reply::Balance(balance) => Ok(balance),
            _ => Err(self.mismatch()),
        }
    }

    async fn balance(&self, org: &OrgId) -> Result<Balance, BillingError> {
        let org = org.clone();
        self.0.readers.read(move |connection| reader::balance(connection, &org)).await
    }

    async fn prices(&self) -> Arc<PriceBook> {
        self.0.shared.prices(self.0.clock.now_ms())
    }

    async fn set_prices(&self, book: NewPriceBook) -> Result<Arc<PriceBook>, BillingError> {
        match self.operate(Operation::SetPrices(book)).await? {
            Reply::Prices(book) => Ok(book),
            _ => Err(self.mismatch()),
        }
    }

    async fn receipt(&self, org: &OrgId, id: ReceiptId) -> Result<Option<Receipt>, BillingError> {
        let org = org.clone();
        self.0.readers.read(move |connection| reader::receipt_of(connection, &org, id)).await
    }

    async fn receipts(
        &self,
        org: &OrgId,
        query: ReceiptQuery,
    ) -> Result<Vec<Receipt>, BillingError> {
        if !(1..=RECEIPTS_PER_PAGE_MAX).contains(&query.limit) {
            let reason = format!("limit: must be from 1 to {RECEIPTS_PER_PAGE_MAX}");
            return Err(BillingError::Invalid(reason));
        }
        let org = org.clone();
        self.0.readers.read(move |connection| reader::receipts_of(connection, &org, query)).await
    }

    async fn usage(&self, org: &OrgId, since_ms: u64) -> Result<UsageSummary, BillingError> {
        let org = org.clone();
        self.0.readers.read(move |connection| reader::usage_of(connection, &org, since_ms)).await
    }

    async fn check(&self) -> Result<LedgerCheck, BillingError> {
        let check = self.0.auditor.read(audit::check).await?;
        if let Some(broken) = check.breaks.first() {
            drop(self.0.shared.stop(broken.clone()));
        }
        Ok(check)
    }
}

#[cfg(test)]
mod tests;
