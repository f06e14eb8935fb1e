//! A real PostgreSQL server for tests and benchmarks: started from the programs that are installed,
//! on a temporary folder and a free port, and gone with the process that started it.
//!
//! ```no_run
//! let server = emberbox_postgres::PostgresServer::start()?;
//! let url = server.database("ledger")?; // an empty database, for any client of PostgreSQL
//! # anyhow::Ok(())
//! ```
//!
//! Nothing in the product depends on it.

/// Where PostgreSQL's programs are.
mod programs;
/// The account that the server runs under: PostgreSQL refuses to be root.
mod account;
/// What a server can be told before it starts.
mod options;
/// A running server: started, asked, stopped, killed, started again.
mod server;

pub use options::{PostgresOptions, authority_file};
pub use server::{PostgresServer, shared};
