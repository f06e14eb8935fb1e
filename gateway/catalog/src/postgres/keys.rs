use deadpool_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::ask::{all, one};
use super::fault::Fault;
use crate::values::{check_key_count, check_key_name, from_sql, new_id, now_ms};
use crate::{CatalogError, Key, KeyHash, NewKey, Org, Principal, Secret, secret};

const COLUMNS: &str = "keys.id, keys.org_id, keys.name, keys.role, keys.prefix, \
    keys.created_at_ms, keys.last_used_at_ms, keys.revoked_at_ms";

pub(super) async fn create(db: &Client, new: &NewKey, secret: &Secret) -> Result<Key, Fault> {
    check_key_name(&new.name)?;
    let count = "SELECT count(*), count(*) FILTER (WHERE revoked_at_ms IS NULL)
        FROM keys WHERE org_id = $1";
    // Some that are made at the same moment may pass the limit together: it bounds what one
    // organisation can take, and need not be exact.
    if let Some(row) = one(db, count, &[&new.org_id]).await? {
        check_key_count(row.try_get(0)?, row.try_get(1)?)?;
    }
    // `generate` makes keys that have a hash; the check keeps a mistake from storing none.
    let hash = KeyHash::of(secret.reveal()).ok_or(CatalogError::Stopped)?;
    let (id, prefix, now) = (new_id("key"), secret::shown_prefix(secret), now_ms());
    let sql = "INSERT INTO keys (id, hash, org_id, name, role, prefix, created_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let insert = db.prepare_cached(sql).await?;
    let (org_id, name, role) = (&new.org_id, &new.name, new.role);
    db.execute(&insert, &[&id, &&hash.0[..], org_id, name, &role.as_str(), &prefix, &now])
        .await
        .map_err(|error| match error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) {
            true => CatalogError::not_found("organisation", org_id).into(),
            false => Fault::from(error),
        })?;
    Ok(Key {
        id,
        org_id: org_id.clone(),
        name: name.clone(),
        role,
        prefix,
        created_at_ms: from_sql(now),
        last_used_at_ms: None,
        revoked_at_ms: None,
    })
}

pub(super) async fn principal(db: &Client, hash: KeyHash) -> Result<Option<Principal>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS}, orgs.id, orgs.name, orgs.created_at_ms
         FROM keys JOIN orgs ON orgs.id = keys.org_id
         WHERE keys.hash = $1 AND keys.revoked_at_ms IS NULL"
    );
    let Some(row) = one(db, &sql, &[&&hash.0[..]]).await? else { return Ok(None) };
    let created_at_ms = from_sql(row.try_get(10)?);
    let org = Org { id: row.try_get(8)?, name: row.try_get(9)?, created_at_ms };
    Ok(Some(Principal { org, key: read(&row)? }))
}

pub(super) async fn list(db: &Client, org_id: &str) -> Result<Vec<Key>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE org_id = $1 ORDER BY id");
    all(db, &sql, &[&org_id]).await?.iter().map(read).collect()
}

pub(super) async fn revoke(db: &Client, org_id: &str, key_id: &str) -> Result<Key, Fault> {
    let sql = format!(
        "UPDATE keys SET revoked_at_ms = coalesce(revoked_at_ms, $3)
         WHERE org_id = $1 AND id = $2 RETURNING {COLUMNS}"
    );
    match one(db, &sql, &[&org_id, &key_id, &now_ms()]).await? {
        Some(row) => read(&row),
        None => Err(CatalogError::not_found("key", key_id).into()),
    }
}

pub(super) async fn touch(db: &Client, key_id: &str) -> Result<(), Fault> {
    // The clocks of two gateways differ; the date never goes back.
    let sql = "UPDATE keys SET last_used_at_ms = greatest(last_used_at_ms, $2) WHERE id = $1";
    one(db, sql, &[&key_id, &now_ms()]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Key, Fault> {
    Ok(Key {
        id: row.try_get(0)?,
        org_id: row.try_get(1)?,
        name: row.try_get(2)?,
        role: row.try_get::<_, &str>(3)?.parse()?,
        prefix: row.try_get(4)?,
        created_at_ms: from_sql(row.try_get(5)?),
        last_used_at_ms: row.try_get::<_, Option<i64>>(6)?.map(from_sql),
        revoked_at_ms: row.try_get::<_, Option<i64>>(7)?.map(from_sql),
    })
}
