//! How a commit becomes durable: one sync of the write-ahead log, on a thread of its own.
//!
//! The writer's connection commits with `synchronous=NORMAL`: a commit appends its frames to the
//! log and returns. What is durable is decided here. After a sync that began when a commit had
//! returned, the commit is on the disk, whatever the log went through meanwhile:
//!
//! - Its frames are still in the log: then they were written before the sync began. A sync covers
//!   the whole file, its size included, whichever descriptor wrote it. The log's header was synced
//!   by SQLite when the log began anew, before any frame after it.
//! - A checkpoint has moved them: before a checkpoint SQLite syncs the log, and after it the
//!   database, and only when that has succeeded may a later commit begin the log anew, under new
//!   salts, and write over them. Then they are in the database.
//!
//! The file is opened once and stays open. A failed sync is told once to each description that was
//! open when it happened; a fresh one might never hear of what failed in a checkpoint of
//! SQLite's. It stays the same file for as long, for only the last connection to close takes the
//! log away, and the writer's is open. SQLite has no locks on the log itself (they are on the
//! index beside it), so that closing this descriptor lets none go.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::file::beside;
use crate::error::{OpenFailure, StoreError};
use crate::ledger::store::{Log, StoreFault};

/// Whether a sync has failed. From then on nothing is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    pub(super) fn check(&self) -> Result<(), StoreFault> {
        if self.0.load(Ordering::SeqCst) {
            let error = std::io::Error::other("a sync of the ledger's log has failed");
            return Err(StoreFault::Unsure(StoreError::new(error)));
        }
        Ok(())
    }
}

/// The write-ahead log of a ledger file.
#[derive(Debug)]
pub(super) struct SqliteLog {
    file: File,
    doubt: Doubt,
}

impl SqliteLog {
    /// Opens the log of a file that the writer has open. Reading is enough to sync it.
    pub(super) fn open(path: &Path, doubt: Doubt) -> Result<SqliteLog, OpenFailure> {
        let file = File::open(beside(path, "-wal"));
        let file = file.map_err(|error| OpenFailure::Io(Arc::new(error)))?;
        Ok(SqliteLog { file, doubt })
    }
}

impl Log for SqliteLog {
    fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.file.sync_data();
        if synced.is_err() {
            self.doubt.0.store(true, Ordering::SeqCst);
        }
        synced.map_err(StoreError::new)
    }
}
