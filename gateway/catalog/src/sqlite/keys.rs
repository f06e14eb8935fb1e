use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::values::{check_key_count, check_key_name, from_sql, new_id, now_ms};
use crate::{CatalogError, Key, KeyHash, NewKey, Org, Principal, Secret, secret};

const COLUMNS: &str = "keys.id, keys.org_id, keys.name, keys.role, keys.prefix, \
    keys.created_at_ms, keys.last_used_at_ms, keys.revoked_at_ms";

pub(super) fn create(db: &Connection, new: &NewKey, secret: &Secret) -> Result<Key, CatalogError> {
    check_key_name(&new.name)?;
    let known: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM orgs WHERE id = ?1)")?
        .query_row([&new.org_id], |row| row.get(0))?;
    if !known {
        return Err(CatalogError::not_found("organisation", &new.org_id));
    }
    let (kept, live): (u32, u32) = db
        .prepare_cached(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE revoked_at_ms IS NULL)
             FROM keys WHERE org_id = ?1",
        )?
        .query_row([&new.org_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    check_key_count(kept.into(), live.into())?;
    // `generate` makes keys that have a hash; the check keeps a mistake from storing none.
    let hash = KeyHash::of(secret.reveal()).ok_or(CatalogError::Stopped)?;
    let id = new_id("key");
    db.prepare_cached(
        "INSERT INTO keys (id, hash, org_id, name, role, prefix, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        &id,
        &hash.0[..],
        &new.org_id,
        &new.name,
        new.role.as_str(),
        secret::shown_prefix(secret),
        now_ms(),
    ))?;
    find(db, &new.org_id, &id)
}

pub(super) fn principal(db: &Connection, hash: KeyHash) -> Result<Option<Principal>, CatalogError> {
    let sql = format!(
        "SELECT {COLUMNS}, orgs.id, orgs.name, orgs.created_at_ms
         FROM keys JOIN orgs ON orgs.id = keys.org_id
         WHERE keys.hash = ?1 AND keys.revoked_at_ms IS NULL"
    );
    let found = db.prepare_cached(&sql)?.query_row([&hash.0[..]], |row| {
        let org = Org { id: row.get(8)?, name: row.get(9)?, created_at_ms: from_sql(row.get(10)?) };
        Ok(Principal { org, key: read(row)? })
    });
    Ok(found.optional()?)
}

pub(super) fn list(db: &Connection, org_id: &str) -> Result<Vec<Key>, CatalogError> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE org_id = ?1 ORDER BY id");
    let mut query = db.prepare_cached(&sql)?;
    let rows = query.query_map([org_id], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn revoke(db: &Connection, org_id: &str, key_id: &str) -> Result<Key, CatalogError> {
    db.prepare_cached(
        "UPDATE keys SET revoked_at_ms = ?3
         WHERE org_id = ?1 AND id = ?2 AND revoked_at_ms IS NULL",
    )?
    .execute((org_id, key_id, now_ms()))?;
    find(db, org_id, key_id)
}

pub(super) fn touch(db: &Connection, key_id: &str) -> Result<(), CatalogError> {
    db.prepare_cached("UPDATE keys SET last_used_at_ms = ?2 WHERE id = ?1")?
        .execute((key_id, now_ms()))?;
    Ok(())
}

fn find(db: &Connection, org_id: &str, key_id: &str) -> Result<Key, CatalogError> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE org_id = ?1 AND id = ?2");
    db.prepare_cached(&sql)?
        .query_row([org_id, key_id], read)
        .optional()?
        .ok_or_else(|| CatalogError::not_found("key", key_id))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Key> {
    let role: String = row.get(3)?;
    let role = role.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(3, Type::Text, Box::new(error))
    })?;
    Ok(Key {
        id: row.get(0)?,
        org_id: row.get(1)?,
        name: row.get(2)?,
        role,
        prefix: row.get(4)?,
        created_at_ms: from_sql(row.get(5)?),
        last_used_at_ms: row.get::<_, Option<i64>>(6)?.map(from_sql),
        revoked_at_ms: row.get::<_, Option<i64>>(7)?.map(from_sql),
    })
}
