//! The file: its lock, its creation, its schema versions, and why it may be refused.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use super::migration;
use super::values::{Json, Unsigned};
use crate::error::OpenFailure;
use crate::price::PriceBook;

/// "EMBL" in the header of every ledger file.
const APPLICATION_ID: i64 = 0x454D_424C;
/// Every SQLite file starts with it.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The log is cut back to this size when it is reset.
const WAL_BYTES_KEPT_MAX: i64 = 64 << 20;
/// The statements of the crate, prepared once per connection.
const STATEMENTS_MAX: usize = 64;
/// The log is folded into the file when it has so many pages: seldom, for each fold is two syncs.
const WAL_PAGES_MAX: i64 = 4096;
/// What a connection may keep of the file in memory, in KiB.
const CACHE_KIB_MAX: i64 = 32 << 10;
/// Forward only: the statements at index n lead from version n to n + 1.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// The oldest version whose tables the audit understands: version 3 has only a column more, which it
/// does not read. So a backup of version 2 can be restored.
const READABLE: i64 = 2;

/// A ledger file that this process has for itself.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) connection: Connection,
    /// Held as long as the file is open. SQLite's own locks are per transaction only.
    pub(super) lock: FileLock,
}

/// The lock beside a ledger file.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl Drop for FileLock {
    /// Closing alone would not do: a process that is just being started shares the open file
    /// until it runs its program, and with it the lock.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the ledger's lock goes with the process only");
        }
    }
}

/// Opens the file for the writer; creates and migrates it where needed.
pub(super) fn open(path: &Path, busy: Duration, now_ms: u64) -> Result<OpenFile, OpenFailure> {
    let lock = lock(path)?;
    if fs::exists(path).map_err(io_failure)? {
        check_header(path)?;
    } else {
        create(path, now_ms)?;
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy)?;
    check_version(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failure)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT_MAX).map_err(failure)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX).map_err(failure)?;
    migrate(&mut connection, now_ms)?;
    // From here on commits are synced by `SqliteLog`. Checkpoints still sync by themselves.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failure)?;
    Ok(OpenFile { connection, lock })
}

/// Opens the file once more, for reading only.
pub(super) fn open_reader(path: &Path, busy: Duration) -> Result<Connection, OpenFailure> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy)
}

/// Opens a file for reading that another process may have open, and changes nothing. An older
/// version than [`READABLE`] must be opened by a server first, which migrates it.
pub(super) fn open_foreign(path: &Path, busy: Duration) -> Result<Connection, OpenFailure> {
    check_header(path)?;
    let connection = open_reader(path, busy)?;
    check_version(&connection)?;
    match user_version(&connection)? {
        found if found >= READABLE => Ok(connection),
        found => Err(OpenFailure::NotALedger(format!(
            "its schema version is {found}: start the server on it once, which migrates it"
        ))),
    }
}

/// What an error of the database means for an open file.
pub(super) fn failure(error: rusqlite::Error) -> OpenFailure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenFailure::Locked,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenFailure::Damaged(error.to_string())
        }
        Some(_) => OpenFailure::Store(error.into()),
        // Not from SQLite but from reading its values: a row has what we never write.
        None => OpenFailure::Damaged(error.to_string()),
    }
}

fn io_failure(error: io::Error) -> OpenFailure {
    OpenFailure::Io(Arc::new(error))
}

/// The path with something at its end.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock beside the file. The file itself must not be opened by anything but SQLite
/// while it is in use: closing it would let SQLite's own locks go.
fn lock(path: &Path) -> Result<FileLock, OpenFailure> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside(path, ".lock"))
        .map_err(io_failure)?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenFailure::Locked),
        Err(TryLockError::Error(error)) => Err(io_failure(error)),
    }
}

fn check_header(path: &Path) -> Result<(), OpenFailure> {
    let mut header = Vec::with_capacity(SQLITE_MAGIC.len());
    let bytes_max = u64::try_from(SQLITE_MAGIC.len()).unwrap_or(u64::MAX);
    let file = File::open(path).map_err(io_failure)?;
    file.take(bytes_max).read_to_end(&mut header).map_err(io_failure)?;
    match header.as_slice() {
        [] => Err(OpenFailure::NotALedger("the file is empty".to_owned())),
        header if header == SQLITE_MAGIC => Ok(()),
        _ => Err(OpenFailure::NotALedger("the file is no SQLite database".to_owned())),
    }
}

/// Makes a ledger under another name and renames it, so that there is never half of one.
fn create(path: &Path, now_ms: u64) -> Result<(), OpenFailure> {
    if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        let reason = "its write-ahead log is there but the database itself is missing";
        return Err(OpenFailure::Damaged(reason.to_owned()));
    }
    let draft = beside(path, ".new");
    for leftover in [draft.clone(), beside(&draft, "-journal")] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_failure(error)),
            _ => {}
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = connect(&draft, flags, Duration::ZERO)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(failure)?;
    migrate(&mut connection, now_ms)?;
    connection.close().map_err(|(_, error)| failure(error))?;
    fs::rename(&draft, path).map_err(io_failure)?;
    sync_folder(path).map_err(io_failure)
}

/// Makes a file's name durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all())
}

fn connect(path: &Path, flags: OpenFlags, busy: Duration) -> Result<Connection, OpenFailure> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failure)?;
    connection.busy_timeout(busy).map_err(failure)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "synchronous", "FULL").map_err(failure)?;
    connection
        .pragma_update(None, "cache_size", CACHE_KIB_MAX.saturating_neg())
        .map_err(failure)?;
    Ok(connection)
}

fn user_version(connection: &Connection) -> Result<i64, OpenFailure> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failure)
}

fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Refuses other programs' files and later versions before anything is written.
fn check_version(connection: &Connection) -> Result<(), OpenFailure> {
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failure)?;
    if application != APPLICATION_ID {
        let reason = "it is a database of another program".to_owned();
        return Err(OpenFailure::NotALedger(reason));
    }
    match (user_version(connection)?, known_version()) {
        (found, known) if found > known => Err(OpenFailure::NewerSchema { found, known }),
        (found, _) if found < 1 => Err(OpenFailure::Damaged(format!("schema version {found}"))),
        _ => Ok(()),
    }
}

fn migrate(connection: &mut Connection, now_ms: u64) -> Result<(), OpenFailure> {
    let found = user_version(connection)?;
    for (version, migration) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        migrate_to(connection, version, migration, now_ms).map_err(failure)?;
    }
    Ok(())
}

fn migrate_to(
    connection: &mut Connection,
    version: i64,
    migration: &str,
    now_ms: u64,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration)?;
    match version {
        1 => {
            let book = PriceBook::initial();
            transaction.execute(
                "INSERT INTO price_books (version, effective_at_ms, book) VALUES (?1, ?2, ?3)",
                params![book.version, Unsigned(book.effective_at_ms), Json(&book)],
            )?;
        }
        2 => migration::convert_to_2(&transaction, now_ms)?,
        _ => {}
    }
    transaction.execute(
        "INSERT INTO schema_migrations (version, applied_at_ms) VALUES (?1, ?2)",
        params![version, Unsigned(now_ms)],
    )?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
