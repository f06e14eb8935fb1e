//! What PostgreSQL's refusals mean for the writer and for readers.

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::error::{BillingError, StoreError};
use crate::ledger::store::StoreFault;

/// Why something was not done on PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server refused a statement, or the connection broke.
    #[error("PostgreSQL failed")]
    Server(#[from] tokio_postgres::Error),
    /// There was no answer in time.
    #[error("PostgreSQL did not answer in time")]
    Deadline,
    /// No connection came free, or none could be made.
    #[error("there is no connection to PostgreSQL")]
    Connection(#[from] PoolError),
    /// Another process opened the ledger.
    #[error("another process writes now")]
    Fenced,
    /// A row says what no ledger wrote.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
}

impl Fault {
    /// A damaged row.
    pub(super) fn damaged(what: impl Into<String>) -> Fault {
        Fault::Damaged(what.into())
    }

    /// Whether the connection is gone, so that nobody knows what became of the statement.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Fault::Server(error) => is_lost(error),
            Fault::Deadline => true,
            Fault::Connection(_) | Fault::Fenced | Fault::Damaged(_) => false,
        }
    }

    /// What it means where nothing was kept.
    pub(super) fn of_write(self) -> StoreFault {
        match &self {
            Fault::Fenced => StoreFault::Fenced,
            Fault::Damaged(what) => StoreFault::Broken(what.clone()),
            Fault::Server(error) => match broken(error) {
                Some(what) => StoreFault::Broken(what),
                None if state(error) == "EB002" => StoreFault::Fenced,
                None => StoreFault::Passing(StoreError::new(self)),
            },
            Fault::Deadline | Fault::Connection(_) => StoreFault::Passing(StoreError::new(self)),
        }
    }

    /// What a reader of sums is told: those that leave 64 bits are the asker's to narrow.
    pub(super) fn of_sum(self) -> BillingError {
        match self {
            Fault::Server(error) if state(&error) == "22003" => {
                BillingError::Invalid("the sums are too large: ask for fewer days".to_owned())
            }
            other => other.of_read(),
        }
    }

    /// What a reader is told.
    pub(super) fn of_read(self) -> BillingError {
        match self {
            Fault::Connection(PoolError::Timeout(_)) => BillingError::Overloaded,
            other => BillingError::Store(StoreError::new(other)),
        }
    }
}

fn state(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("", SqlState::code)
}

/// Whether the connection ended: the server stopped or cut it off, or the network broke.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    let of_system =
        std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
    match state(error) {
        "" => error.is_closed() || of_system,
        // Shutdown, crash, not yet up, idle too long (57P); idle in a transaction too long.
        state => state.starts_with("57P") || state == "25P03",
    }
}

/// How what is kept and what the rules know differ, where an error shows it.
fn broken(error: &tokio_postgres::Error) -> Option<String> {
    let state = state(error);
    let class = state.get(..2).unwrap_or_default();
    let shows = match class {
        // A value that does not fit, a broken constraint, an unknown table, corrupt data.
        "22" | "23" | "XX" => true,
        "42" => state != SqlState::INSUFFICIENT_PRIVILEGE.code(),
        "EB" => state != "EB002",
        // No state and no lost connection: a value that is not of its column's type.
        "" => !is_lost(error),
        _ => false,
    };
    shows.then(|| match error.as_db_error() {
        Some(said) => format!("PostgreSQL refuses a batch: {} ({state})", said.message()),
        None => format!("a batch does not fit the tables: {error}"),
    })
}
