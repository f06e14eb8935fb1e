use deadpool_postgres::GenericClient;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::fault::Fault;

/// The values of a statement's parameters.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The one row that a statement finds or changes, or `None`.
pub(super) async fn one(
    db: &impl GenericClient,
    sql: &str,
    params: Params<'_>,
) -> Result<Option<Row>, Fault> {
    Ok(all(db, sql, params).await?.pop())
}

/// All rows that a statement finds or changes.
///
/// PostgreSQL takes no NUL in a text, so a name that holds one is nobody's: no rows.
pub(super) async fn all(
    db: &impl GenericClient,
    sql: &str,
    params: Params<'_>,
) -> Result<Vec<Row>, Fault> {
    let statement = db.prepare_cached(sql).await?;
    match db.query(&statement, params).await {
        Err(error) if error.code() == Some(&SqlState::CHARACTER_NOT_IN_REPERTOIRE) => Ok(vec![]),
        result => Ok(result?),
    }
}
