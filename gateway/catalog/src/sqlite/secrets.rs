use rusqlite::{Connection, Row};

use super::schema::is_orphan;
use crate::values::{check_secret_count, check_secret_name, from_sql, now_ms};
use crate::{CatalogError, NewSecret, Sealed, SealedSecret};

const COLUMNS: &str = "name, sealed, created_at_ms, updated_at_ms";

pub(super) fn set(db: &Connection, new: NewSecret) -> Result<SealedSecret, CatalogError> {
    let NewSecret { org_id, name, sealed } = new;
    check_secret_name(&name)?;
    let others: i64 = db
        .prepare_cached("SELECT COUNT(*) FROM secrets WHERE org_id = ?1 AND name <> ?2")?
        .query_row([&org_id, &name], |row| row.get(0))?;
    check_secret_count(others)?;
    let sql = format!(
        "INSERT INTO secrets (org_id, name, sealed, created_at_ms, updated_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT (org_id, name)
         DO UPDATE SET sealed = excluded.sealed, updated_at_ms = excluded.updated_at_ms
         RETURNING {COLUMNS}"
    );
    db.prepare_cached(&sql)?.query_row((&org_id, &name, &sealed.0, now_ms()), read).map_err(
        |error| match is_orphan(&error) {
            true => CatalogError::not_found("organisation", &org_id),
            false => error.into(),
        },
    )
}

pub(super) fn list(db: &Connection, org_id: &str) -> Result<Vec<SealedSecret>, CatalogError> {
    let sql = format!("SELECT {COLUMNS} FROM secrets WHERE org_id = ?1 ORDER BY name");
    let mut query = db.prepare_cached(&sql)?;
    let rows = query.query_map([org_id], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn delete(db: &Connection, org_id: &str, name: &str) -> Result<(), CatalogError> {
    let deleted = db
        .prepare_cached("DELETE FROM secrets WHERE org_id = ?1 AND name = ?2")?
        .execute([org_id, name])?;
    match deleted {
        0 => Err(CatalogError::not_found("secret", name)),
        _ => Ok(()),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<SealedSecret> {
    Ok(SealedSecret {
        name: row.get(0)?,
        sealed: Sealed(row.get(1)?),
        created_at_ms: from_sql(row.get(2)?),
        updated_at_ms: from_sql(row.get(3)?),
    })
}
