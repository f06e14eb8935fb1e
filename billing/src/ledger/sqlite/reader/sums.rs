use rusqlite::{Connection, Error, Row, params};

use super::queries::org_number;
use crate::calendar::Day;
use crate::error::BillingError;
use crate::ledger::sqlite::values::{Json, Unsigned, role, unreadable};
use crate::report::{EarningsBy, EarningsSum, SumsQuery, UsageBy, UsageSum, UsageSums};

pub(super) fn usage(
    connection: &Connection,
    query: &SumsQuery<UsageBy>,
) -> Result<Vec<UsageSum>, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(org) = org_number(&snapshot, &query.days.org)? else { return Ok(Vec::new()) };
    let (day, key) =
        (query.column(UsageBy::Day, "day", "NULL"), query.column(UsageBy::Key, "key", "NULL"));
    let subject = query.column(UsageBy::Subject, "subject", "NULL");
    let model = query.column(UsageBy::Model, "model", "NULL");
    let mut statement = snapshot.prepare_cached(&format!(
        "SELECT g.day, k.name, s.name, m.name, g.calls, g.input_tokens, g.cached_input_tokens,
                g.output_tokens, g.compute_micros, g.fuel, g.egress_bytes, g.cost
         FROM (SELECT {day} AS day, {key} AS key, {subject} AS subject, {model} AS model,
                      SUM(calls) AS calls, SUM(input_tokens) AS input_tokens,
                      SUM(cached_input_tokens) AS cached_input_tokens,
                      SUM(output_tokens) AS output_tokens,
                      SUM(compute_micros) AS compute_micros, SUM(fuel) AS fuel,
                      SUM(egress_bytes) AS egress_bytes, SUM(cost) AS cost
               FROM usage_days WHERE org = ?1 AND day BETWEEN ?2 AND ?3
               GROUP BY 1, 2, 3, 4 LIMIT ?4) g
         LEFT JOIN names k ON k.id = g.key LEFT JOIN names s ON s.id = g.subject
         LEFT JOIN names m ON m.id = g.model ORDER BY 1, 2, 3, 4"
    ))?;
    let (from, to) = (query.days.from.number(), query.days.to.number());
    let found = statement.query_map(params![org, from, to, query.limit], usage_sum)?;
    found.collect::<Result<_, _>>().map_err(too_large)
}

fn usage_sum(row: &Row<'_>) -> rusqlite::Result<UsageSum> {
    let count = |column| row.get::<_, Unsigned>(column).map(|count| count.0);
    let sums = UsageSums {
        calls: count(4)?,
        input_tokens: count(5)?,
        cached_input_tokens: count(6)?,
        output_tokens: count(7)?,
        compute_micros: count(8)?,
        fuel: count(9)?,
        egress_bytes: count(10)?,
        cost: row.get(11)?,
    };
    Ok(UsageSum {
        day: row.get::<_, Option<u32>>(0)?.map(Day::from_number),
        key: row.get(1)?,
        subject: row.get::<_, Option<Json<_>>>(2)?.map(|Json(subject)| subject),
        model: row.get(3)?,
        sums,
    })
}

pub(super) fn earnings(
    connection: &Connection,
    query: &SumsQuery<EarningsBy>,
) -> Result<Vec<EarningsSum>, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(org) = org_number(&snapshot, &query.days.org)? else { return Ok(Vec::new()) };
    let day = query.column(EarningsBy::Day, "day", "NULL");
    let role_column = query.column(EarningsBy::Role, "role", "NULL");
    let subject = query.column(EarningsBy::Subject, "subject", "NULL");
    let mut statement = snapshot.prepare_cached(&format!(
        "SELECT g.day, g.role, s.name, g.calls, g.amount
         FROM (SELECT {day} AS day, {role_column} AS role, {subject} AS subject,
                      SUM(calls) AS calls, SUM(amount) AS amount
               FROM earnings_days WHERE org = ?1 AND day BETWEEN ?2 AND ?3
               GROUP BY 1, 2, 3 LIMIT ?4) g
         LEFT JOIN names s ON s.id = g.subject ORDER BY 1, 2, 3"
    ))?;
    let (from, to) = (query.days.from.number(), query.days.to.number());
    let found = statement.query_map(params![org, from, to, query.limit], |row| {
        let known = |code| role(code).ok_or_else(|| unreadable("a role has no meaning"));
        Ok(EarningsSum {
            day: row.get::<_, Option<u32>>(0)?.map(Day::from_number),
            role: row.get::<_, Option<i64>>(1)?.map(known).transpose()?,
            subject: row.get::<_, Option<Json<_>>>(2)?.map(|Json(subject)| subject),
            calls: row.get::<_, Unsigned>(3)?.0,
            amount: row.get(4)?,
        })
    })?;
    found.collect::<Result<_, _>>().map_err(too_large)
}

/// Sums that leave 64 bits are the asker's to narrow, and no failure of the store.
fn too_large(error: Error) -> BillingError {
    match &error {
        Error::SqliteFailure(_, Some(said)) if said == "integer overflow" => {
            BillingError::Invalid("the sums are too large: ask for fewer days".to_owned())
        }
        _ => error.into(),
    }
}
