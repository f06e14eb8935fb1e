//! The schema: made, brought up to date, and taken over by the process that opens it.

use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::values::{Id, signed};
use crate::error::{OpenFailure, StoreError};
use crate::price::PriceBook;

/// The ledger's own schema, so that it may share a database with others.
pub(super) const SCHEMA: &str = "emberbox_ledger";

/// Each entry brings the schema from the version of its index to the next. They are never edited:
/// what was shipped is in somebody's database.
pub(super) const MIGRATIONS: &[&str] =
    &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The advisory lock under which one process of many opens the ledger: "emberbxl" in ASCII.
const LOCK: i64 = 0x656d_6265_7262_786c;

/// How long one statement of a migration may take: it may rewrite a table.
const MIGRATION_TIMEOUT_MS: u64 = 600_000;

/// The right to write, until somebody else takes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    /// This process, once and for all of its connections.
    pub(super) owner: Uuid,
    /// Every connection has an epoch of its own.
    pub(super) epoch: i64,
    /// The number of the last batch that was kept.
    pub(super) batch: i64,
}

impl From<tokio_postgres::Error> for OpenFailure {
    fn from(error: tokio_postgres::Error) -> OpenFailure {
        OpenFailure::Store(StoreError::new(error))
    }
}

/// Brings the schema up to date and takes the right to write, in one transaction: a process that
/// wrote until now can no more.
pub(super) async fn take_over(
    client: &mut Client,
    owner: Uuid,
    now_ms: u64,
) -> Result<Fence, OpenFailure> {
    let step = client.transaction().await?;
    check_encoding(&step).await?;
    step.batch_execute(&format!("SET LOCAL statement_timeout = {MIGRATION_TIMEOUT_MS}")).await?;
    step.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let found = version(&step).await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenFailure::NewerSchema { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(done) {
        step.batch_execute(migration).await?;
        let done = "INSERT INTO schema_migrations (version, applied_at_ms) VALUES ($1, $2)";
        step.execute(done, &[&version, &signed(now_ms)]).await?;
    }
    if found == 0 {
        // What the first calls cost, until the operator sets prices.
        let book = PriceBook::initial();
        let text = serde_json::to_string(&book)
            .map_err(|error| OpenFailure::Store(StoreError::new(error)))?;
        let sql = "INSERT INTO price_books (version, effective_at_ms, book) VALUES ($1, $2, $3)";
        let (version, effective_at_ms) = (signed(book.version.0), signed(book.effective_at_ms));
        step.execute(sql, &[&version, &effective_at_ms, &text]).await?;
    }
    let sql = "UPDATE writer SET epoch = epoch + 1, owner = $1 RETURNING epoch, batch";
    let row = step.query_opt(sql, &[&Id(owner)]).await?;
    let row = row.ok_or_else(|| OpenFailure::Damaged("nobody may write it".to_owned()))?;
    let fence = Fence { owner, epoch: row.try_get(0)?, batch: row.try_get(1)? };
    step.commit().await?;
    Ok(fence)
}

/// In another encoding than UTF-8 some names cannot be kept, and in none (`SQL_ASCII`) nothing is
/// checked. A database cannot change its encoding.
async fn check_encoding(step: &Transaction<'_>) -> Result<(), OpenFailure> {
    let row = step.query_one("SELECT current_setting('server_encoding')", &[]).await?;
    match row.try_get(0)? {
        "UTF8" => Ok(()),
        other => Err(OpenFailure::NotALedger(format!(
            "its database has the encoding {other}, which cannot keep every name; make one with \
             CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
        ))),
    }
}

/// Takes a new epoch after a connection was lost: what was sent on the old one, and is still on
/// its way, finds the epoch changed. `None` where another process writes now.
pub(super) async fn take_again(
    client: &Client,
    owner: Uuid,
) -> Result<Option<Fence>, tokio_postgres::Error> {
    let sql = "UPDATE writer SET epoch = epoch + 1 WHERE owner = $1 RETURNING epoch, batch";
    let row = client.query_opt(sql, &[&Id(owner)]).await?;
    row.map(|row| Ok(Fence { owner, epoch: row.try_get(0)?, batch: row.try_get(1)? })).transpose()
}

/// The version that the database has; 0 where there is no ledger yet, and its table of versions
/// is made. A schema that the operator made for us may be there, if it is empty.
async fn version(step: &Transaction<'_>) -> Result<i64, OpenFailure> {
    let sql = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = $1),
        (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1),
        to_regclass($1 || '.schema_migrations') IS NOT NULL";
    let row = step.query_one(sql, &[&SCHEMA]).await?;
    let (schemas, relations, is_ours): (i64, i64, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if schemas == 0 {
        step.batch_execute(&format!("CREATE SCHEMA {SCHEMA}")).await?;
    }
    if !is_ours && relations > 0 {
        let what = format!("the schema `{SCHEMA}` holds something else");
        return Err(OpenFailure::NotALedger(what));
    }
    if !is_ours {
        let table = "CREATE TABLE schema_migrations (
            version bigint PRIMARY KEY, applied_at_ms bigint NOT NULL)";
        step.batch_execute(table).await?;
    }
    let sql = "SELECT coalesce(max(version), 0) FROM schema_migrations";
    let row = step.query_one(sql, &[]).await.map_err(|error| {
        OpenFailure::NotALedger(format!("its table of versions is none: {error}"))
    })?;
    Ok(row.try_get(0)?)
}
