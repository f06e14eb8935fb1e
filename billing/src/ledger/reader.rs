//! Reading: threads with connections of their own, so that no reader waits for the writer.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};

use super::schema;
use super::store::{SELECT_RECEIPT, receipt};
use super::usage::UsageSum;
use crate::account::Account;
use crate::account::Counters;
use crate::capture::Receipt;
use crate::error::{BillingError, OpenFailure};
use crate::ids::{OrgId, ReceiptId};
use crate::report::{Balance, ReceiptQuery, UsageSummary};

/// Reads that may wait for one thread; more are refused as overloaded.
const READS_QUEUED_MAX: usize = 1024;

/// A read on its way to a thread, or the end of the thread.
enum Read {
    Run(Box<dyn FnOnce(&Connection) + Send>),
    Close(oneshot::Sender<()>),
}

/// A few reading threads, used in turn.
#[derive(Debug)]
pub(super) struct Readers {
    threads: Vec<mpsc::Sender<Read>>,
    next: AtomicUsize,
}

impl Readers {
    /// Opens the file `count` times (at least once) and starts the threads.
    pub(super) fn start(path: &Path, busy: Duration, count: usize) -> Result<Readers, OpenFailure> {
        let threads = (0..count.max(1))
            .map(|_| start_thread(schema::open_reader(path, busy)?))
            .collect::<Result<_, _>>()?;
        Ok(Readers { threads, next: AtomicUsize::new(0) })
    }

    /// Runs a read on one of the threads.
    pub(super) async fn read<T: Send + 'static>(
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
    pub(super) async fn close(&self) {
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
        .map_err(|error| OpenFailure::Io(std::sync::Arc::new(error)))?;
    Ok(sender)
}

/// A wallet; zero where there is none.
pub(super) fn balance(connection: &Connection, org: &OrgId) -> Result<Balance, BillingError> {
    let counters = connection
        .prepare_cached(
            "SELECT debits_posted, credits_posted, debits_held, credits_held
             FROM accounts WHERE name = ?1",
        )?
        .query_row([Account::Wallet(org.clone()).name()], |row| {
            Ok(Counters {
                debits_posted: row.get(0)?,
                credits_posted: row.get(1)?,
                debits_held: row.get(2)?,
                credits_held: row.get(3)?,
            })
        })
        .optional()?;
    Ok(counters.unwrap_or_default().balance().unwrap_or_default())
}

/// One receipt, if it belongs to the organisation.
pub(super) fn receipt_of(
    connection: &Connection,
    org: &OrgId,
    id: ReceiptId,
) -> Result<Option<Receipt>, BillingError> {
    Ok(connection
        .prepare_cached(&format!("{SELECT_RECEIPT} WHERE id = ?1 AND org = ?2"))?
        .query_row(params![id, org], receipt)
        .optional()?)
}

/// A page of receipts, newest first.
pub(super) fn receipts_of(
    connection: &Connection,
    org: &OrgId,
    query: ReceiptQuery,
) -> Result<Vec<Receipt>, BillingError> {
    let before = query.before.unwrap_or(ReceiptId::from_uuid(uuid::Uuid::max()));
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT_RECEIPT} WHERE org = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
    ))?;
    let receipts = statement.query_map(params![org, before, query.limit], receipt)?;
    Ok(receipts.collect::<Result<_, _>>()?)
}

/// Sums of what an organisation used since a time. Receipt ids are ordered by time, so the
/// index on them finds the first one.
pub(super) fn usage_of(
    connection: &Connection,
    org: &OrgId,
    since_ms: u64,
) -> Result<UsageSummary, BillingError> {
    let mut sum = UsageSum::default();
    let first = ReceiptId::from_uuid(first_id_at(since_ms));
    let mut statement =
        connection.prepare_cached(&format!("{SELECT_RECEIPT} WHERE org = ?1 AND id >= ?2"))?;
    for found in statement.query_map(params![org, first], receipt)? {
        sum.add(found?)?;
    }
    sum.finish(since_ms)
}

/// The smallest UUIDv7 of a millisecond: 48 bits of time, then zeros.
fn first_id_at(ms: u64) -> uuid::Uuid {
    let bits = u128::from(ms.min(super::TIME_MS_MAX)).checked_shl(80).unwrap_or(0);
    uuid::Uuid::from_u128(bits)
}
