use deadpool_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::ask::{all, one};
use super::fault::Fault;
use crate::values::{from_sql, new_id, now_ms};
use crate::{CatalogError, Name, Org};

const COLUMNS: &str = "id, name, created_at_ms";

pub(super) async fn create(db: &Client, name: &Name) -> Result<Org, Fault> {
    let (id, now) = (new_id("org"), now_ms());
    let sql = "INSERT INTO orgs (id, name, created_at_ms) VALUES ($1, $2, $3)";
    let insert = db.prepare_cached(sql).await?;
    db.execute(&insert, &[&id, &name.as_str(), &now]).await.map_err(|error| {
        match error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
            true => CatalogError::taken("organisation", name.as_str()).into(),
            false => Fault::from(error),
        }
    })?;
    Ok(Org { id, name: name.to_string(), created_at_ms: from_sql(now) })
}

pub(super) async fn find(db: &Client, name: &str) -> Result<Org, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM orgs WHERE name = $1");
    match one(db, &sql, &[&name]).await? {
        Some(row) => read(&row),
        None => Err(CatalogError::not_found("organisation", name).into()),
    }
}

pub(super) async fn list(db: &Client) -> Result<Vec<Org>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM orgs ORDER BY id");
    all(db, &sql, &[]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Org, Fault> {
    let created_at_ms = from_sql(row.try_get(2)?);
    Ok(Org { id: row.try_get(0)?, name: row.try_get(1)?, created_at_ms })
}
