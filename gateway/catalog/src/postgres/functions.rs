use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Row;

use super::ask::{all, one};
use super::fault::Fault;
use crate::values::{from_sql, now_ms, to_sql};
use crate::{CatalogError, Function, NewVersion, Version};

const FUNCTION: &str = "SELECT functions.org_id, orgs.name, functions.name, aliases.number, \
    functions.created_at_ms
    FROM functions JOIN orgs ON orgs.id = functions.org_id
    LEFT JOIN aliases ON aliases.org_id = functions.org_id
        AND aliases.function = functions.name AND aliases.alias = 'live'
    WHERE functions.deleted_at_ms IS NULL";

const VERSION: &str = "SELECT number, digest, size_bytes, manifest, created_at_ms FROM versions \
    WHERE org_id = $1 AND function = $2";

/// Takes the function's row to the end of the transaction, so that whoever numbers, activates or
/// deletes versions of it does so alone.
const LOCK: &str = "SELECT 1 FROM functions \
    WHERE org_id = $1 AND name = $2 AND deleted_at_ms IS NULL FOR NO KEY UPDATE";

pub(super) async fn publish(db: &mut Client, new: &NewVersion) -> Result<Version, Fault> {
    let step = db.transaction().await?;
    let (function, now) = (new.function.as_str(), now_ms());
    // The row is locked by its change: another publication waits here, and counts on from it.
    let sql = "INSERT INTO functions (org_id, name, next_number, created_at_ms)
        VALUES ($1, $2, 2, $3)
        ON CONFLICT (org_id, name)
        DO UPDATE SET next_number = functions.next_number + 1, deleted_at_ms = NULL
        RETURNING next_number - 1";
    let insert = step.prepare_cached(sql).await?;
    let number: i64 = step.query_one(&insert, &[&new.org_id, &function, &now]).await?.try_get(0)?;
    let sql = "INSERT INTO versions
        (org_id, function, number, digest, size_bytes, manifest, created_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let insert = step.prepare_cached(sql).await?;
    let (size_bytes, digest, manifest) = (to_sql(new.size_bytes), &new.digest, &new.manifest);
    step.execute(&insert, &[&new.org_id, &function, &number, digest, &size_bytes, manifest, &now])
        .await?;
    if new.activate {
        point_live(&step, &new.org_id, function, number).await?;
    }
    step.commit().await?;
    Ok(Version {
        number: from_sql(number),
        digest: digest.clone(),
        size_bytes: new.size_bytes,
        manifest: manifest.clone(),
        created_at_ms: from_sql(now),
    })
}

pub(super) async fn list(db: &Client, org_id: &str) -> Result<Vec<Function>, Fault> {
    let sql = format!("{FUNCTION} AND functions.org_id = $1 ORDER BY functions.name");
    all(db, &sql, &[&org_id]).await?.iter().map(read).collect()
}

pub(super) async fn find(db: &Client, owner: &str, name: &str) -> Result<Function, Fault> {
    let sql = format!("{FUNCTION} AND orgs.name = $1 AND functions.name = $2");
    match one(db, &sql, &[&owner, &name]).await? {
        Some(row) => read(&row),
        None => Err(CatalogError::not_found("function", &format!("{owner}/{name}")).into()),
    }
}

pub(super) async fn versions(
    db: &Client,
    org_id: &str,
    function: &str,
) -> Result<Vec<Version>, Fault> {
    let rows = all(db, &format!("{VERSION} ORDER BY number DESC"), &[&org_id, &function]).await?;
    match rows.is_empty() {
        true => Err(CatalogError::not_found("function", function).into()),
        false => rows.iter().map(read_version).collect(),
    }
}

pub(super) async fn version(
    db: &Client,
    org_id: &str,
    function: &str,
    number: u64,
) -> Result<Version, Fault> {
    let sql = format!("{VERSION} AND number = $3");
    match one(db, &sql, &[&org_id, &function, &to_sql(number)]).await? {
        Some(row) => read_version(&row),
        None => Err(no_version(function, number)),
    }
}

pub(super) async fn activate(
    db: &mut Client,
    org_id: &str,
    function: &str,
    number: u64,
) -> Result<Function, Fault> {
    let step = db.transaction().await?;
    if one(&step, LOCK, &[&org_id, &function]).await?.is_none() {
        return Err(no_version(function, number));
    }
    let version = format!("{VERSION} AND number = $3");
    if one(&step, &version, &[&org_id, &function, &to_sql(number)]).await?.is_none() {
        return Err(no_version(function, number));
    }
    point_live(&step, org_id, function, to_sql(number)).await?;
    let sql = format!("{FUNCTION} AND functions.org_id = $1 AND functions.name = $2");
    let found = one(&step, &sql, &[&org_id, &function]).await?;
    let found = found.ok_or_else(|| no_version(function, number))?;
    step.commit().await?;
    read(&found)
}

pub(super) async fn delete(
    db: &mut Client,
    org_id: &str,
    function: &str,
) -> Result<Vec<String>, Fault> {
    let step = db.transaction().await?;
    let sql = "UPDATE functions SET deleted_at_ms = $3
        WHERE org_id = $1 AND name = $2 AND deleted_at_ms IS NULL RETURNING 1";
    if one(&step, sql, &[&org_id, &function, &now_ms()]).await?.is_none() {
        return Err(CatalogError::not_found("function", function).into());
    }
    all(&step, "DELETE FROM aliases WHERE org_id = $1 AND function = $2", &[&org_id, &function])
        .await?;
    let digests = delete_versions(&step, org_id, function).await?;
    step.commit().await?;
    Ok(digests)
}

/// Deletes the versions; returns the digests that nothing else refers to.
async fn delete_versions(
    step: &Transaction<'_>,
    org_id: &str,
    function: &str,
) -> Result<Vec<String>, Fault> {
    let orphans = "SELECT DISTINCT digest FROM versions AS mine
        WHERE org_id = $1 AND function = $2
        AND NOT EXISTS (SELECT 1 FROM versions AS other WHERE other.digest = mine.digest
            AND (other.org_id != $1 OR other.function != $2))";
    let rows = all(step, orphans, &[&org_id, &function]).await?;
    let digests = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    all(step, "DELETE FROM versions WHERE org_id = $1 AND function = $2", &[&org_id, &function])
        .await?;
    Ok(digests)
}

async fn point_live(
    step: &Transaction<'_>,
    org_id: &str,
    function: &str,
    number: i64,
) -> Result<(), Fault> {
    let sql = "INSERT INTO aliases (org_id, function, alias, number) VALUES ($1, $2, 'live', $3)
        ON CONFLICT (org_id, function, alias) DO UPDATE SET number = excluded.number";
    let upsert = step.prepare_cached(sql).await?;
    step.execute(&upsert, &[&org_id, &function, &number]).await?;
    Ok(())
}

fn no_version(function: &str, number: u64) -> Fault {
    CatalogError::not_found("version", &format!("{function}@{number}")).into()
}

fn read(row: &Row) -> Result<Function, Fault> {
    Ok(Function {
        org_id: row.try_get(0)?,
        owner: row.try_get(1)?,
        name: row.try_get(2)?,
        live: row.try_get::<_, Option<i64>>(3)?.map(from_sql),
        created_at_ms: from_sql(row.try_get(4)?),
    })
}

fn read_version(row: &Row) -> Result<Version, Fault> {
    Ok(Version {
        number: from_sql(row.try_get(0)?),
        digest: row.try_get(1)?,
        size_bytes: from_sql(row.try_get(2)?),
        manifest: row.try_get(3)?,
        created_at_ms: from_sql(row.try_get(4)?),
    })
}
