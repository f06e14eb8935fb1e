//! The store in a SQLite file: a write-ahead log that a thread of its own syncs, one writer,
//! readers of their own.

mod file; // The file, its lock and its versions.
mod migration; // From the first version to the second.
mod values; // Our types in SQLite's.
mod names; // Names that many rows share.
mod rows; // Rows that writer and readers read alike.
mod load; // What the writer reads.
mod commit; // How a batch is written.
mod log; // How it becomes durable.
mod reader; // Queries on their own connections.
mod audit; // Replays the journal.
mod backup; // Copies while others write.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use self::commit::Writing;
use self::file::OpenFile;
use self::load::Accounts;
use self::log::{Doubt, SqliteLog};
use self::names::Names;
use super::store::{Batch, Found, Loaded, Log, Store, StoreFault, Wanted};
use crate::error::{BillingError, OpenFailure, StoreError};

pub use self::audit::audit_file;
pub(super) use self::reader::SqliteReader;

/// Opens the file for this process alone; creates and migrates it where needed. `readers` threads
/// (at least one) have connections of their own, the auditor has one more. A lock that another
/// program has on the file is waited for as long as `busy` says.
pub(super) fn open(
    path: &Path,
    (busy, readers): (Duration, usize),
    now_ms: u64,
) -> Result<(SqliteStore, SqliteReader), OpenFailure> {
    let file = file::open(path, busy, now_ms)?;
    let doubt = Doubt::default();
    let log = Some(SqliteLog::open(path, doubt.clone())?);
    let store = SqliteStore {
        file,
        log,
        doubt,
        names: Names::default(),
        accounts: Accounts::default(),
        next_transfer: 1,
        next_entry: 1,
    };
    Ok((store, SqliteReader::start(path, busy, readers)?))
}

/// A file that cannot be opened (or made), by its path.
fn cannot_open(path: &Path, cause: OpenFailure) -> BillingError {
    BillingError::CannotOpen { at: path.display().to_string(), cause }
}

/// The writer's side of the file. [`Store::load`] comes first, and again after a failed commit
/// whose outcome nobody knows.
#[derive(Debug)]
pub(super) struct SqliteStore {
    file: OpenFile,
    /// Until it is asked for.
    log: Option<SqliteLog>,
    doubt: Doubt,
    names: Names,
    accounts: Accounts,
    next_transfer: u64,
    next_entry: u64,
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Loaded, StoreFault> {
        let connection = &self.file.connection;
        let snapshot = connection.unchecked_transaction().map_err(fault)?;
        self.names = Names::load(&snapshot).map_err(fault)?;
        let (loaded, accounts) = load::load(&snapshot).map_err(fault)?;
        snapshot.finish().map_err(fault)?;
        self.accounts = accounts;
        self.next_transfer = loaded.last_transfer.saturating_add(1);
        self.next_entry = loaded.last_entry.saturating_add(1);
        Ok(loaded)
    }

    fn find(&mut self, wanted: &Wanted) -> Result<Found, StoreFault> {
        // In one transaction, for a batch looks for many calls: beginning one takes the file's
        // locks, which costs far more than looking.
        let snapshot = self.file.connection.unchecked_transaction().map_err(fault)?;
        let found = load::find(&snapshot, &self.names, wanted).map_err(fault)?;
        snapshot.finish().map_err(fault)?;
        Ok(found)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreFault> {
        self.doubt.check()?;
        let known = (self.names.len(), self.accounts.len());
        let written = self.write(batch).map_err(fault);
        let outcome = written.and_then(|()| self.end("COMMIT").map_err(commit_fault));
        if outcome.is_err() {
            self.names.truncate(known.0);
            self.accounts.truncate(known.1);
            self.roll_back();
            return outcome;
        }
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        self.next_transfer = self.next_transfer.saturating_add(count(batch.transfers.len()));
        self.next_entry = self.next_entry.saturating_add(count(batch.entries.len()));
        Ok(())
    }

    fn log(&mut self) -> Result<Option<Box<dyn Log>>, StoreFault> {
        let boxed = |log| -> Box<dyn Log> { Box::new(log) };
        Ok(self.log.take().map(boxed))
    }

    /// Folds the log into the file, closes it, and lets the lock go.
    fn close(self: Box<Self>) -> Result<(), StoreFault> {
        let OpenFile { connection, lock } = self.file;
        if self.doubt.check().is_err() {
            // What the system still shows of the log may not be what is on the disk. The file
            // must get nothing of it but what the next start finds whole, by its checksums.
            let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            connection.set_db_config(keep, true).map_err(fault)?;
        }
        let closed = connection.close().map_err(|(_, error)| fault(error));
        drop(lock);
        closed
    }
}

impl SqliteStore {
    fn write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        // A transaction that could not be rolled back would still be open.
        self.roll_back();
        self.end("BEGIN IMMEDIATE")?;
        let Self { file, names, accounts, next_transfer, next_entry, .. } = self;
        let mut writing = Writing { connection: &file.connection, names, accounts };
        writing.write(batch, (*next_transfer, *next_entry))
    }

    fn end(&self, statement: &str) -> rusqlite::Result<()> {
        self.file.connection.prepare_cached(statement)?.execute([]).map(drop)
    }

    /// Takes the whole batch back; SQLite may have done so by itself after a failure.
    fn roll_back(&self) {
        let connection: &Connection = &self.file.connection;
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the ledger's transaction cannot be rolled back");
        }
    }
}

/// What an error before the commit means: nothing was kept.
fn fault(error: rusqlite::Error) -> StoreFault {
    match error.sqlite_error_code() {
        // What the file has and what the ledger thinks it has differ, or the file is damaged, or
        // (without a code) a row has what the ledger never writes.
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase,
        )
        | None => StoreFault::Broken(error.to_string()),
        Some(_) => StoreFault::Passing(StoreError::from(error)),
    }
}

/// What an error of the commit itself means. A failed write (or sync, when the log begins anew)
/// may have left the whole batch in the log, where the next process to open the file would find
/// it.
fn commit_fault(error: rusqlite::Error) -> StoreFault {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::ReadOnly,
        ) => StoreFault::Passing(StoreError::from(error)),
        Some(ErrorCode::ConstraintViolation) => StoreFault::Broken(error.to_string()),
        _ => StoreFault::Unsure(StoreError::from(error)),
    }
}

#[cfg(test)]
mod tests;
