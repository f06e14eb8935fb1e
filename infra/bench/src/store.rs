//! The databases that ledgers are kept in: a PostgreSQL server of our own, and how large a
//! database is.

use std::path::Path;

use anyhow::ensure;
use clap::ValueEnum;
use emberbox_postgres::{PostgresOptions, PostgresServer};
use rusqlite::Connection;
use tokio_postgres::{Client, NoTls};

use crate::slow_disk::SlowDisk;

/// Where a ledger is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// A SQLite file
    Sqlite,
    /// A PostgreSQL database
    Postgres,
}

impl Store {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// Its name in rows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// Starts a PostgreSQL server of default settings that keeps its data under `root`, on the same
/// disk as everybody.
pub(crate) fn start_postgres(root: &Path, disk: &SlowDisk) -> anyhow::Result<PostgresServer> {
    PostgresServer::start_with(PostgresOptions {
        environment: disk.environment(),
        parent: Some(root.to_owned()),
        ..PostgresOptions::default()
    })
}

/// Connects to PostgreSQL, and makes sure that its commits are durable: a server for tests often
/// has syncs switched off.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // How the connection ends is seen by whoever waits for an answer on it.
    tokio::spawn(async move { connection.await.ok() });
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = client.query_one(&format!("SHOW {setting}"), &[]).await?.get(0);
        ensure!(value == "on", "the server runs with {setting} = {value}");
    }
    Ok(client)
}

/// The bytes of the PostgreSQL database that a client is connected to, after a checkpoint.
pub(crate) async fn postgres_bytes(client: &Client) -> anyhow::Result<u64> {
    client.batch_execute("CHECKPOINT").await?;
    let size = "SELECT pg_database_size(current_database())";
    Ok(u64::try_from(client.query_one(size, &[]).await?.get::<_, i64>(0))?)
}

/// The bytes of a SQLite file, once its log is written back into it.
pub(crate) fn sqlite_bytes(path: &Path) -> anyhow::Result<u64> {
    let connection = Connection::open(path)?;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: i64 = connection.query_row(checkpoint, [], |row| row.get(0))?;
    ensure!(busy == 0, "{} is in use and cannot be checkpointed", path.display());
    Ok(std::fs::metadata(path)?.len())
}
