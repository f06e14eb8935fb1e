use rusqlite::{Connection, OptionalExtension, Row};

use super::schema::is_taken;
use crate::values::{from_sql, new_id, now_ms};
use crate::{CatalogError, Name, Org};

const COLUMNS: &str = "id, name, created_at_ms";

pub(super) fn create(db: &Connection, name: &Name) -> Result<Org, CatalogError> {
    let (id, now) = (new_id("org"), now_ms());
    db.prepare_cached("INSERT INTO orgs (id, name, created_at_ms) VALUES (?1, ?2, ?3)")?
        .execute((&id, name.as_str(), now))
        .map_err(|error| match is_taken(&error) {
            true => CatalogError::taken("organisation", name.as_str()),
            false => error.into(),
        })?;
    Ok(Org { id, name: name.to_string(), created_at_ms: from_sql(now) })
}

pub(super) fn find(db: &Connection, name: &str) -> Result<Org, CatalogError> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM orgs WHERE name = ?1"))?
        .query_row([name], read)
        .optional()?
        .ok_or_else(|| CatalogError::not_found("organisation", name))
}

pub(super) fn list(db: &Connection) -> Result<Vec<Org>, CatalogError> {
    let mut query = db.prepare_cached(&format!("SELECT {COLUMNS} FROM orgs ORDER BY id"))?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Org> {
    Ok(Org { id: row.get(0)?, name: row.get(1)?, created_at_ms: from_sql(row.get(2)?) })
}
