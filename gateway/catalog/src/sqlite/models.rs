use rusqlite::{Connection, OptionalExtension, Row};

use super::schema::is_taken;
use crate::values::{check_model_name, from_sql, now_ms};
use crate::{CatalogError, Model, NewModel};

const COLUMNS: &str = "name, source, digest, kind, created_at_ms";

pub(super) fn add(db: &Connection, new: NewModel) -> Result<Model, CatalogError> {
    check_model_name(&new.name)?;
    let now = now_ms();
    db.prepare_cached(
        "INSERT INTO models (name, source, digest, kind, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((&new.name, &new.source, &new.digest, &new.kind, now))
    .map_err(|error| match is_taken(&error) {
        true => CatalogError::taken("model", &new.name),
        false => error.into(),
    })?;
    let NewModel { name, source, digest, kind } = new;
    Ok(Model { name, source, digest, kind, created_at_ms: from_sql(now) })
}

pub(super) fn list(db: &Connection) -> Result<Vec<Model>, CatalogError> {
    let mut query = db.prepare_cached(&format!("SELECT {COLUMNS} FROM models ORDER BY name"))?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn remove(db: &Connection, name: &str) -> Result<Model, CatalogError> {
    db.prepare_cached(&format!("DELETE FROM models WHERE name = ?1 RETURNING {COLUMNS}"))?
        .query_row([name], read)
        .optional()?
        .ok_or_else(|| CatalogError::not_found("model", name))
}

pub(super) fn setting(db: &Connection, name: &str) -> Result<Option<String>, CatalogError> {
    let mut query = db.prepare_cached("SELECT value FROM settings WHERE name = ?1")?;
    Ok(query.query_row([name], |row| row.get(0)).optional()?)
}

pub(super) fn set_setting(db: &Connection, name: &str, value: &str) -> Result<(), CatalogError> {
    db.prepare_cached(
        "INSERT INTO settings (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute([name, value])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Model> {
    Ok(Model {
        name: row.get(0)?,
        source: row.get(1)?,
        digest: row.get(2)?,
        kind: row.get(3)?,
        created_at_ms: from_sql(row.get(4)?),
    })
}
