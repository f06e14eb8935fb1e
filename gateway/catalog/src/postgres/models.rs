use deadpool_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::ask::{all, one};
use super::fault::Fault;
use crate::values::{check_model_name, from_sql, now_ms};
use crate::{CatalogError, Model, NewModel};

const COLUMNS: &str = "name, source, digest, kind, created_at_ms";

pub(super) async fn add(db: &Client, new: NewModel) -> Result<Model, Fault> {
    check_model_name(&new.name)?;
    let now = now_ms();
    let sql = "INSERT INTO models (name, source, digest, kind, created_at_ms)
        VALUES ($1, $2, $3, $4, $5)";
    let insert = db.prepare_cached(sql).await?;
    let NewModel { name, source, digest, kind } = new;
    db.execute(&insert, &[&name, &source, &digest, &kind, &now]).await.map_err(
        |error| match error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
            true => CatalogError::taken("model", &name).into(),
            false => Fault::from(error),
        },
    )?;
    Ok(Model { name, source, digest, kind, created_at_ms: from_sql(now) })
}

pub(super) async fn list(db: &Client) -> Result<Vec<Model>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM models ORDER BY name");
    all(db, &sql, &[]).await?.iter().map(read).collect()
}

pub(super) async fn remove(db: &Client, name: &str) -> Result<Model, Fault> {
    let sql = format!("DELETE FROM models WHERE name = $1 RETURNING {COLUMNS}");
    match one(db, &sql, &[&name]).await? {
        Some(row) => read(&row),
        None => Err(CatalogError::not_found("model", name).into()),
    }
}

pub(super) async fn setting(db: &Client, name: &str) -> Result<Option<String>, Fault> {
    let row = one(db, "SELECT value FROM settings WHERE name = $1", &[&name]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn set_setting(db: &Client, name: &str, value: &str) -> Result<(), Fault> {
    let sql = "INSERT INTO settings (name, value) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    let upsert = db.prepare_cached(sql).await?;
    db.execute(&upsert, &[&name, &value]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Model, Fault> {
    Ok(Model {
        name: row.try_get(0)?,
        source: row.try_get(1)?,
        digest: row.try_get(2)?,
        kind: row.try_get(3)?,
        created_at_ms: from_sql(row.try_get(4)?),
    })
}
