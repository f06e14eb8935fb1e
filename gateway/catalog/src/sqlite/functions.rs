use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use crate::values::{from_sql, now_ms, to_sql};
use crate::{CatalogError, Function, NewVersion, Version};

/// The alias that calls go to.
const LIVE: &str = "live";

const FUNCTION: &str = "SELECT functions.org_id, orgs.name, functions.name, aliases.number, \
    functions.created_at_ms
    FROM functions JOIN orgs ON orgs.id = functions.org_id
    LEFT JOIN aliases ON aliases.org_id = functions.org_id
        AND aliases.function = functions.name AND aliases.alias = 'live'
    WHERE functions.deleted_at_ms IS NULL";

const VERSION: &str = "SELECT number, digest, size_bytes, manifest, created_at_ms FROM versions \
    WHERE org_id = ?1 AND function = ?2";

pub(super) fn publish(db: &mut Connection, new: &NewVersion) -> Result<Version, CatalogError> {
    let step = begin(db)?;
    let (function, now) = (new.function.as_str(), now_ms());
    let number: i64 = step
        .prepare_cached(
            "INSERT INTO functions (org_id, name, next_number, created_at_ms)
             VALUES (?1, ?2, 2, ?3)
             ON CONFLICT (org_id, name)
             DO UPDATE SET next_number = next_number + 1, deleted_at_ms = NULL
             RETURNING next_number - 1",
        )?
        .query_row((&new.org_id, function, now), |row| row.get(0))?;
    let size_bytes = to_sql(new.size_bytes);
    step.prepare_cached(
        "INSERT INTO versions
         (org_id, function, number, digest, size_bytes, manifest, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((&new.org_id, function, number, &new.digest, size_bytes, &new.manifest, now))?;
    if new.activate {
        point_live(&step, &new.org_id, function, number)?;
    }
    step.commit()?;
    Ok(Version {
        number: from_sql(number),
        digest: new.digest.clone(),
        size_bytes: new.size_bytes,
        manifest: new.manifest.clone(),
        created_at_ms: from_sql(now),
    })
}

pub(super) fn list(db: &Connection, org_id: &str) -> Result<Vec<Function>, CatalogError> {
    let sql = format!("{FUNCTION} AND functions.org_id = ?1 ORDER BY functions.name");
    let mut query = db.prepare_cached(&sql)?;
    let rows = query.query_map([org_id], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn find(db: &Connection, owner: &str, name: &str) -> Result<Function, CatalogError> {
    db.prepare_cached(&format!("{FUNCTION} AND orgs.name = ?1 AND functions.name = ?2"))?
        .query_row([owner, name], read)
        .optional()?
        .ok_or_else(|| CatalogError::not_found("function", &format!("{owner}/{name}")))
}

pub(super) fn versions(
    db: &Connection,
    org_id: &str,
    function: &str,
) -> Result<Vec<Version>, CatalogError> {
    let mut query = db.prepare_cached(&format!("{VERSION} ORDER BY number DESC"))?;
    let rows = query.query_map([org_id, function], read_version)?;
    let versions: Vec<Version> = rows.collect::<Result<_, _>>()?;
    match versions.is_empty() {
        true => Err(CatalogError::not_found("function", function)),
        false => Ok(versions),
    }
}

pub(super) fn version(
    db: &Connection,
    org_id: &str,
    function: &str,
    number: u64,
) -> Result<Version, CatalogError> {
    db.prepare_cached(&format!("{VERSION} AND number = ?3"))?
        .query_row((org_id, function, to_sql(number)), read_version)
        .optional()?
        .ok_or_else(|| CatalogError::not_found("version", &format!("{function}@{number}")))
}

pub(super) fn activate(
    db: &mut Connection,
    org_id: &str,
    function: &str,
    number: u64,
) -> Result<Function, CatalogError> {
    let step = begin(db)?;
    version(&step, org_id, function, number)?;
    point_live(&step, org_id, function, to_sql(number))?;
    let found = step
        .prepare_cached(&format!("{FUNCTION} AND functions.org_id = ?1 AND functions.name = ?2"))?
        .query_row([org_id, function], read)?;
    step.commit()?;
    Ok(found)
}

pub(super) fn delete(
    db: &mut Connection,
    org_id: &str,
    function: &str,
) -> Result<Vec<String>, CatalogError> {
    let step = begin(db)?;
    let deleted = step
        .prepare_cached(
            "UPDATE functions SET deleted_at_ms = ?3
             WHERE org_id = ?1 AND name = ?2 AND deleted_at_ms IS NULL",
        )?
        .execute((org_id, function, now_ms()))?;
    if deleted == 0 {
        return Err(CatalogError::not_found("function", function));
    }
    step.execute("DELETE FROM aliases WHERE org_id = ?1 AND function = ?2", [org_id, function])?;
    let digests = delete_versions(&step, org_id, function)?;
    step.commit()?;
    Ok(digests)
}

/// Takes the right to write at once: a transaction that first reads could lose it to another
/// process's in between.
fn begin(db: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    db.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Deletes the versions; returns the digests that nothing else refers to.
fn delete_versions(
    step: &Transaction<'_>,
    org_id: &str,
    function: &str,
) -> Result<Vec<String>, CatalogError> {
    let mut query = step.prepare_cached(
        "SELECT DISTINCT digest FROM versions AS mine WHERE org_id = ?1 AND function = ?2
         AND NOT EXISTS (SELECT 1 FROM versions AS other WHERE other.digest = mine.digest
            AND (other.org_id != ?1 OR other.function != ?2))",
    )?;
    let rows = query.query_map([org_id, function], |row| row.get(0))?;
    let digests = rows.collect::<Result<_, _>>()?;
    step.execute("DELETE FROM versions WHERE org_id = ?1 AND function = ?2", [org_id, function])?;
    Ok(digests)
}

fn point_live(
    step: &Transaction<'_>,
    org_id: &str,
    function: &str,
    number: i64,
) -> Result<(), CatalogError> {
    step.prepare_cached(
        "INSERT INTO aliases (org_id, function, alias, number) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (org_id, function, alias) DO UPDATE SET number = excluded.number",
    )?
    .execute((org_id, function, LIVE, number))?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Function> {
    Ok(Function {
        org_id: row.get(0)?,
        owner: row.get(1)?,
        name: row.get(2)?,
        live: row.get::<_, Option<i64>>(3)?.map(from_sql),
        created_at_ms: from_sql(row.get(4)?),
    })
}

fn read_version(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        number: from_sql(row.get(0)?),
        digest: row.get(1)?,
        size_bytes: from_sql(row.get(2)?),
        manifest: row.get(3)?,
        created_at_ms: from_sql(row.get(4)?),
    })
}
