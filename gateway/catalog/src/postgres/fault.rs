use std::path::PathBuf;

use deadpool_postgres::{BuildError, PoolError};
use tokio_postgres::error::SqlState;

use crate::CatalogError;

/// Why an operation on PostgreSQL ended without an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It has an answer: the caller was wrong.
    #[error(transparent)]
    Answer(#[from] CatalogError),
    /// The server refused a statement, or the connection broke.
    #[error("PostgreSQL failed")]
    Server(#[from] tokio_postgres::Error),
    /// There was no connection to ask with, so nothing was asked.
    #[error("there is no connection to PostgreSQL")]
    Connection(#[from] PoolError),
    /// The pool refuses its options.
    #[error("the pool of connections cannot be made")]
    Pool(#[from] BuildError),
    /// There was no answer in time.
    #[error("PostgreSQL did not answer in time")]
    Deadline,
    /// A row holds what no program wrote.
    #[error("the database holds a role that is none")]
    Role(#[from] crate::records::UnknownRole),
    /// The address cannot be used.
    #[error("the address of PostgreSQL is wrong: {0}")]
    Address(String),
    /// The address is not one that the client understands.
    #[error("the address of PostgreSQL is wrong")]
    Parse(#[source] tokio_postgres::Error),
    /// The certificates to trust cannot be read.
    #[error("cannot read certificates from {}", file.display())]
    Certificates {
        /// The file that `sslrootcert` names.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Fault {
    /// What the caller of a reading operation is told: nothing was changed, whatever happened.
    pub(super) fn of_read(self) -> CatalogError {
        match self {
            Fault::Deadline => away(&self),
            Fault::Server(ref error) if is_lost(error) => away(&self),
            other => other.of_write(),
        }
    }

    /// What the caller of a writing operation is told: [`CatalogError::Overloaded`] only where it
    /// is sure that nothing was changed.
    pub(super) fn of_write(self) -> CatalogError {
        match self {
            Fault::Answer(error) => error,
            Fault::Connection(_) => away(&self),
            Fault::Server(ref error) if error.code().is_some_and(is_rolled_back) => away(&self),
            other => other.of_start(),
        }
    }

    /// What is told before anything runs: all that is known.
    pub(super) fn of_start(self) -> CatalogError {
        match self {
            Fault::Answer(error) => error,
            other => CatalogError::Store(Box::new(other)),
        }
    }

    /// Whether another connection may well succeed with the same statement.
    pub(super) fn connection_broke(&self) -> bool {
        matches!(self, Fault::Server(error) if is_lost(error))
    }
}

fn away(fault: &Fault) -> CatalogError {
    tracing::warn!(error = fault as &dyn std::error::Error, "the catalog's database is away");
    CatalogError::Overloaded
}

/// Whether the connection ended: the server was stopped, or the network is broken.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    let ended = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    match error.code() {
        Some(code) => ended.contains(code),
        // Without a state, only the connection's own errors are left, and those of a value that
        // cannot be converted, which have a cause that is not of the system.
        None => error.is_closed() || has_io_cause(error),
    }
}

fn has_io_cause(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// States with which the server says that the transaction is undone, for reasons that pass: no
/// room or connections (class 53), a conflict of transactions (class 40), a lock or an answer that
/// took too long, a server that has just become a standby.
fn is_rolled_back(code: &SqlState) -> bool {
    let passing = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    code.code().starts_with("53") || code.code().starts_with("40") || passing.contains(code)
}
