//! Reading: threads with connections of their own, so that no reader waits for the writer.

mod queries;
mod sums; // Usage and earnings, added up by the database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{audit, backup, cannot_open, file};
use crate::capture::Receipt;
use crate::error::{BillingError, OpenFailure};
use crate::ids::{CallId, OpId, OrgId};
use crate::ledger::store::Reader;
use crate::report::{
    DayQuery, EarningsBy, EarningsRow, EarningsSum, Entry, EntryQuery, LedgerCheck, PeriodClose,
    ReceiptQuery, ReceiptTotals, SumsQuery, UsageBy, UsageRow, UsageSum,
};

/// Reads that may wait for one thread; more are refused as overloaded.
const READS_QUEUED_MAX: usize = 1024;

/// A read on its way to a thread, or the end of the thread.
enum Read {
    Run(Box<dyn FnOnce(&Connection) + Send>),
    Close(oneshot::Sender<()>),
}

/// A few reading threads, used in turn.
#[derive(Debug)]
struct Threads {
    threads: Vec<mpsc::Sender<Read>>,
    next: AtomicUsize,
}

/// The readers' side of the file.
#[derive(Debug)]
pub(in crate::ledger) struct SqliteReader {
    readers: Threads,
    /// Audits and copies take long; they have a thread of their own.
    auditor: Threads,
}

impl SqliteReader {
    /// Opens the file `count` times (at least once) and once for the auditor.
    pub(super) fn start(
        path: &Path,
        busy: Duration,
        count: usize,
    ) -> Result<SqliteReader, OpenFailure> {
        let readers = Threads::start(path, busy, count.max(1))?;
        Ok(SqliteReader { readers, auditor: Threads::start(path, busy, 1)? })
    }
}

impl Threads {
    fn start(path: &Path, busy: Duration, count: usize) -> Result<Threads, OpenFailure> {
        let threads = (0..count)
            .map(|_| start_thread(file::open_reader(path, busy)?))
            .collect::<Result<_, _>>()?;
        Ok(Threads { threads, next: AtomicUsize::new(0) })
    }

    /// Runs a read on one of the threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, BillingError> + Send + 'static,
    ) -> Result<T, BillingError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let thread = turn.checked_rem(self.threads.len()).and_then(|turn| self.threads.get(turn));
        let closed = || BillingError::Stopped("the ledger is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        let run = Read::Run(Box::new(move |connection| {
            if !reply.is_closed() {
                drop(reply.send(read(connection)));
            }
        }));
        match thread.ok_or_else(closed)?.try_send(run) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(closed())),
            Err(mpsc::error::TrySendError::Full(_)) => Err(BillingError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
        }
    }

    /// Ends the threads after what is queued, and waits until their connections are closed.
    async fn close(&self) {
        for thread in &self.threads {
            let (closed, done) = oneshot::channel();
            if thread.send(Read::Close(closed)).await.is_ok() {
                drop(done.await);
            }
        }
    }
}

fn start_thread(connection: Connection) -> Result<mpsc::Sender<Read>, OpenFailure> {
    let (sender, mut queue) = mpsc::channel(READS_QUEUED_MAX);
    let serve = move || {
        while let Some(read) = queue.blocking_recv() {
            match read {
                Read::Run(read) => read(&connection),
                Read::Close(closed) => {
                    drop(connection);
                    closed.send(()).ok();
                    return;
                }
            }
        }
    };
    thread::Builder::new()
        .name("ledger-reader".to_owned())
        .spawn(serve)
        .map_err(|error| OpenFailure::Io(Arc::new(error)))?;
    Ok(sender)
}

#[async_trait]
impl Reader for SqliteReader {
    async fn receipt(&self, org: &OrgId, call: CallId) -> Result<Option<Receipt>, BillingError> {
        let org = org.clone();
        self.readers.read(move |connection| queries::receipt(connection, &org, call)).await
    }

    async fn receipts(&self, query: &ReceiptQuery) -> Result<Vec<Receipt>, BillingError> {
        let query = query.clone();
        self.readers.read(move |connection| queries::receipts(connection, &query)).await
    }

    async fn usage(&self, query: &DayQuery) -> Result<Vec<UsageRow>, BillingError> {
        let query = query.clone();
        self.readers.read(move |connection| queries::usage(connection, &query)).await
    }

    async fn earnings(&self, query: &DayQuery) -> Result<Vec<EarningsRow>, BillingError> {
        let query = query.clone();
        self.readers.read(move |connection| queries::earnings(connection, &query)).await
    }

    async fn usage_sums(&self, query: &SumsQuery<UsageBy>) -> Result<Vec<UsageSum>, BillingError> {
        let query = query.clone();
        self.readers.read(move |connection| sums::usage(connection, &query)).await
    }

    async fn earnings_sums(
        &self,
        query: &SumsQuery<EarningsBy>,
    ) -> Result<Vec<EarningsSum>, BillingError> {
        let query = query.clone();
        self.readers.read(move |connection| sums::earnings(connection, &query)).await
    }

    async fn entries(&self, query: &EntryQuery) -> Result<Vec<Entry>, BillingError> {
        let query = query.clone();
        self.readers.read(move |connection| queries::entries(connection, &query)).await
    }

    async fn entry(&self, op: &OpId) -> Result<Option<Entry>, BillingError> {
        let op = op.clone();
        self.readers.read(move |connection| queries::entry_of(connection, &op)).await
    }

    async fn totals(&self, query: &DayQuery) -> Result<ReceiptTotals, BillingError> {
        let query = query.clone();
        self.readers.read(move |connection| queries::totals(connection, &query)).await
    }

    async fn periods(&self) -> Result<Vec<PeriodClose>, BillingError> {
        self.readers.read(queries::periods).await
    }

    async fn check(&self) -> Result<LedgerCheck, BillingError> {
        self.auditor.read(audit::check).await
    }

    async fn backup(&self, to: &Path) -> Result<(), BillingError> {
        let to = to.to_owned();
        let copy = move |connection: &Connection| {
            backup::backup(connection, &to).map_err(|cause| cannot_open(&to, cause))
        };
        self.auditor.read(copy).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.auditor.close().await;
    }
}
