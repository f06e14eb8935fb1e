use std::time::Duration;

use deadpool_postgres::{Client, Transaction};

use super::ask::one;
use super::fault::Fault;
use crate::CatalogError;

/// The catalog's own schema, so that it may share a database with others.
pub(super) const SCHEMA: &str = "emberbox_catalog";

/// Each entry brings the schema from its index to the next version. Entries are never edited:
/// what was shipped once is in somebody's database.
pub(super) const MIGRATIONS: &[&str] =
    &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// How long one statement of a migration may take: it may rewrite a table.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// The advisory lock under which one gateway of many migrates: "emberbox" in ASCII, plus one for
/// the catalog.
const MIGRATION_LOCK: i64 = 0x656d_6265_7262_6f79;

/// Brings the schema up to date, all in one transaction. Gateways that start together take turns.
pub(super) async fn migrate(db: &mut Client, place: &str) -> Result<(), Fault> {
    let step = db.transaction().await?;
    let timeout_ms = MIGRATION_TIMEOUT.as_millis();
    step.batch_execute(&format!("SET LOCAL statement_timeout = {timeout_ms}")).await?;
    step.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    let found = version(&step).await?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(CatalogError::Schema { place: place.to_owned(), found, known }.into());
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        step.batch_execute(migration).await?;
        let next = index as i32 + 1;
        step.execute("INSERT INTO schema_versions (version) VALUES ($1)", &[&next]).await?;
    }
    step.commit().await?;
    Ok(())
}

/// The version that the database has; 0 where there is nothing yet, and the table of versions is
/// made. Whoever only uses the catalog needs no right to make schemas.
async fn version(step: &Transaction<'_>) -> Result<u32, Fault> {
    let exists = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    if one(step, exists, &[&SCHEMA]).await?.is_none() {
        step.batch_execute(&format!("CREATE SCHEMA {SCHEMA}")).await?;
    }
    let exists = format!("SELECT to_regclass('{SCHEMA}.schema_versions') IS NOT NULL");
    if !step.query_one(&exists, &[]).await?.try_get::<_, bool>(0)? {
        let table = "CREATE TABLE schema_versions (
            version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())";
        step.batch_execute(table).await?;
    }
    let newest = "SELECT coalesce(max(version), 0) FROM schema_versions";
    let newest: i32 = step.query_one(newest, &[]).await?.try_get(0)?;
    Ok(u32::try_from(newest).unwrap_or(0))
}
