//! The ledger's store on PostgreSQL.
//!
//! The writer has one connection. A batch is one transaction, sent whole in one go, with one
//! statement for each table. Each commit names the epoch that the process took when it opened the
//! ledger: when another process opens it, the older one can never write again. Where the
//! connection breaks in a commit, a count of batches in the same transaction tells afterwards
//! whether it was done.
//!
//! Readers have a pool of connections that can only read.

mod address; // Where the database is, and how the connection is secured.
mod schema; // Made, brought up to date, taken over.
mod values; // How values stand in columns.
mod names; // Numbers for names.
mod columns; // The tables as columns.
mod batch; // A batch in the form of the tables.
mod commit; // The statements of a commit.
mod rows; // What is read back.
mod load; // Reading what the rules need.
mod fault; // What PostgreSQL's refusals mean.
mod store; // The writer's side.
mod reader; // The readers' side.
mod audit; // The independent check.
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread;

use address::Address;
use names::Names;
use reader::PostgresReader;
use store::PostgresStore;

use super::store::Reader;
use crate::error::{BillingError, OpenFailure};
use crate::report::LedgerCheck;

/// A ledger on PostgreSQL: where it is, and how long it waits.
#[derive(Clone)]
pub struct PostgresLedgerOptions {
    /// `postgres://user:password@host:port/database`. The ledger lives in a schema of its own
    /// there, `emberbox_ledger`. A connection to another machine is encrypted, and the server's
    /// certificate and name are checked; `sslmode=disable` switches that off, and `sslrootcert`
    /// names a file of certificates to trust instead of the system's.
    pub url: String,
    /// The most connections of readers; the writer has one more.
    pub connections_max: usize,
    /// How long it may take to connect, and how long a reader waits for a free connection.
    pub connect_timeout_ms: u64,
    /// How long a statement may take. One that takes longer is given up, and its transaction
    /// undone.
    pub statement_timeout_ms: u64,
    /// How long a statement waits for rows that somebody else has locked.
    pub lock_timeout_ms: u64,
    /// How long the writer tries to connect again before it gives up; until then, callers wait.
    pub recovery_timeout_ms: u64,
    /// How long reading everything at the start may take.
    pub load_timeout_ms: u64,
    /// How long the check of the whole ledger may take.
    pub check_timeout_ms: u64,
}

impl PostgresLedgerOptions {
    /// The defaults, for a database.
    #[must_use]
    pub fn new(url: impl Into<String>) -> PostgresLedgerOptions {
        PostgresLedgerOptions {
            url: url.into(),
            connections_max: 4,
            connect_timeout_ms: 5_000,
            statement_timeout_ms: 30_000,
            lock_timeout_ms: 10_000,
            recovery_timeout_ms: 30_000,
            load_timeout_ms: 600_000,
            check_timeout_ms: 3_600_000,
        }
    }

    /// Where it is, as it may be shown: without user and password.
    pub(super) fn place(&self) -> String {
        let unreadable = |_| "in the PostgreSQL of an unreadable address".to_owned();
        Address::of(self).map_or_else(unreadable, |address| address.place())
    }
}

/// The password stays out of logs.
impl std::fmt::Debug for PostgresLedgerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresLedgerOptions")
            .field("connections_max", &self.connections_max)
            .field("statement_timeout_ms", &self.statement_timeout_ms)
            .finish_non_exhaustive()
    }
}

/// Opens a ledger: connects, makes or migrates its schema, and takes the right to write from
/// whoever had it. It blocks; the thread that asks may belong to a runtime.
pub(super) fn open(
    options: &PostgresLedgerOptions,
    now_ms: u64,
) -> Result<(PostgresStore, PostgresReader), OpenFailure> {
    let address = Address::of(options)?;
    let names = Arc::new(Names::default());
    let reader = PostgresReader::new(&address, options, Arc::clone(&names))?;
    // The store waits inside of its own runtime, and one runtime must not wait inside of another.
    let store = thread::scope(|scope| {
        let open = || PostgresStore::open(address, (options, now_ms), names);
        scope.spawn(open).join()
    });
    let died = || OpenFailure::Damaged("opening it ended early".to_owned());
    Ok((store.unwrap_or_else(|_| Err(died()))?, reader))
}

/// Checks a ledger in PostgreSQL, which a server may have open, without changing it and without
/// taking the right to write from anybody.
///
/// # Errors
/// [`BillingError::CannotOpen`] for an address that cannot be used, [`BillingError::Store`] where
/// there is no ledger or it cannot be read.
pub async fn audit_database(options: &PostgresLedgerOptions) -> Result<LedgerCheck, BillingError> {
    let reader = Address::of(options)
        .and_then(|address| PostgresReader::new(&address, options, Arc::new(Names::default())));
    let reader = reader.map_err(|cause| BillingError::CannotOpen { at: options.place(), cause })?;
    reader.check().await
}
