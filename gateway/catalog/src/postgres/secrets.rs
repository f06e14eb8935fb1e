use deadpool_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::ask::{all, one};
use super::fault::Fault;
use crate::values::{check_secret_count, check_secret_name, from_sql, now_ms};
use crate::{CatalogError, NewSecret, Sealed, SealedSecret};

const COLUMNS: &str = "name, sealed, created_at_ms, updated_at_ms";

pub(super) async fn set(db: &Client, new: NewSecret) -> Result<SealedSecret, Fault> {
    let NewSecret { org_id, name, sealed } = new;
    check_secret_name(&name)?;
    let count = "SELECT count(*) FROM secrets WHERE org_id = $1 AND name <> $2";
    // Some that are set at the same moment may pass the limit together, as with keys.
    if let Some(row) = one(db, count, &[&org_id, &name]).await? {
        check_secret_count(row.try_get(0)?)?;
    }
    let sql = format!(
        "INSERT INTO secrets (org_id, name, sealed, created_at_ms, updated_at_ms)
         VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (org_id, name)
         DO UPDATE SET sealed = excluded.sealed, updated_at_ms = excluded.updated_at_ms
         RETURNING {COLUMNS}"
    );
    let upsert = db.prepare_cached(&sql).await?;
    let row = db.query_one(&upsert, &[&org_id, &name, &sealed.0, &now_ms()]).await;
    read(&row.map_err(|error| match error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) {
        true => CatalogError::not_found("organisation", &org_id).into(),
        false => Fault::from(error),
    })?)
}

pub(super) async fn list(db: &Client, org_id: &str) -> Result<Vec<SealedSecret>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM secrets WHERE org_id = $1 ORDER BY name");
    all(db, &sql, &[&org_id]).await?.iter().map(read).collect()
}

pub(super) async fn delete(db: &Client, org_id: &str, name: &str) -> Result<(), Fault> {
    let sql = "DELETE FROM secrets WHERE org_id = $1 AND name = $2 RETURNING name";
    match one(db, sql, &[&org_id, &name]).await? {
        Some(_) => Ok(()),
        None => Err(CatalogError::not_found("secret", name).into()),
    }
}

fn read(row: &Row) -> Result<SealedSecret, Fault> {
    Ok(SealedSecret {
        name: row.try_get(0)?,
        sealed: Sealed(row.try_get(1)?),
        created_at_ms: from_sql(row.try_get(2)?),
        updated_at_ms: from_sql(row.try_get(3)?),
    })
}
