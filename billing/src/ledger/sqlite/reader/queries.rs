//! The queries. Each runs in one snapshot of what was committed.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::calendar::Day;
use crate::capture::Receipt;
use crate::document::Document;
use crate::error::BillingError;
use crate::ids::{CallId, OpId, OrgId};
use crate::ledger::sqlite::load::bodies;
use crate::ledger::sqlite::rows::{self, FindCall, call_row, select_call};
use crate::ledger::sqlite::values::{Json, Unsigned, role, saturated, unreadable};
use crate::report::{
    DayQuery, EarningsRow, Entry, EntryQuery, PeriodClose, ReceiptQuery, ReceiptTotals,
    TransferReport, UsageRow, UsageSums,
};

/// The number of an organisation's name; `None` where nobody has used it.
pub(super) fn org_number(connection: &Connection, org: &OrgId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM names WHERE name = ?1")?
        .query_row([org.as_str()], |row| row.get(0))
        .optional()
}

pub(super) fn receipt(
    connection: &Connection,
    org: &OrgId,
    call: CallId,
) -> Result<Option<Receipt>, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(org) = org_number(&snapshot, org)? else { return Ok(None) };
    let row = FindCall::new(&snapshot)?.find(org, call)?;
    match row {
        Some(row) => Ok(rows::receipt(&snapshot, row)?),
        None => Ok(None),
    }
}

/// A page of receipts, newest first.
pub(super) fn receipts(
    connection: &Connection,
    query: &ReceiptQuery,
) -> Result<Vec<Receipt>, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(org) = org_number(&snapshot, &query.org)? else { return Ok(Vec::new()) };
    // One byte more than any id has, where there is no bound.
    let before = match query.before {
        Some(before) => before.as_uuid().as_bytes().to_vec(),
        None => vec![0xFF; 17],
    };
    let mut statement = snapshot.prepare_cached(select_call!(
        "WHERE c.org = ?1 AND c.call < ?2 AND c.end IN (1, 7) ORDER BY c.call DESC LIMIT ?3"
    ))?;
    let found = statement.query_map(params![org, before, query.limit], |row| {
        rows::receipt(&snapshot, call_row(&snapshot, row)?)
    })?;
    let receipts: Vec<Option<Receipt>> = found.collect::<Result<_, _>>()?;
    Ok(receipts.into_iter().flatten().collect())
}

pub(super) fn usage(
    connection: &Connection,
    query: &DayQuery,
) -> Result<Vec<UsageRow>, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(org) = org_number(&snapshot, &query.org)? else { return Ok(Vec::new()) };
    let mut statement = snapshot.prepare_cached(
        "SELECT u.day, k.name, s.name, m.name, u.calls, u.input_tokens, u.cached_input_tokens,
                u.output_tokens, u.compute_micros, u.fuel, u.egress_bytes, u.cost
         FROM usage_days u JOIN names k ON k.id = u.key JOIN names s ON s.id = u.subject
         LEFT JOIN names m ON m.id = u.model
         WHERE u.org = ?1 AND u.day BETWEEN ?2 AND ?3
         ORDER BY u.day, k.name, s.name, m.name",
    )?;
    let (from, to) = (query.from.number(), query.to.number());
    let found = statement.query_map(params![org, from, to], usage_row)?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn usage_row(row: &Row<'_>) -> rusqlite::Result<UsageRow> {
    let count = |column| row.get::<_, Unsigned>(column).map(|count| count.0);
    let Json(subject) = row.get(2)?;
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
    let (day, key, model) = (Day::from_number(row.get(0)?), row.get(1)?, row.get(3)?);
    Ok(UsageRow { day, key, subject, model, sums })
}

pub(super) fn earnings(
    connection: &Connection,
    query: &DayQuery,
) -> Result<Vec<EarningsRow>, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(org) = org_number(&snapshot, &query.org)? else { return Ok(Vec::new()) };
    let mut statement = snapshot.prepare_cached(
        "SELECT e.day, e.role, s.name, e.calls, e.amount
         FROM earnings_days e JOIN names s ON s.id = e.subject
         WHERE e.org = ?1 AND e.day BETWEEN ?2 AND ?3 ORDER BY e.day, e.role, s.name",
    )?;
    let (from, to) = (query.from.number(), query.to.number());
    let found = statement.query_map(params![org, from, to], |row| {
        let Json(subject) = row.get(2)?;
        Ok(EarningsRow {
            day: Day::from_number(row.get(0)?),
            role: role(row.get(1)?).ok_or_else(|| unreadable("a role has no meaning"))?,
            subject,
            calls: row.get::<_, Unsigned>(3)?.0,
            amount: row.get(4)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// A page of the audit log, newest first. Numbers grow with time, so the index on time gives the
/// numbers to look between.
pub(super) fn entries(
    connection: &Connection,
    query: &EntryQuery,
) -> Result<Vec<Entry>, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let org = match &query.org {
        Some(org) => match org_number(&snapshot, org)? {
            Some(number) => Some(number),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let since = |at_ms: u64| -> rusqlite::Result<i64> {
        let first = snapshot
            .prepare_cached(
                "SELECT number FROM entries WHERE at_ms >= ?1 ORDER BY at_ms, number LIMIT 1",
            )?
            .query_row([saturated(at_ms)], |row| row.get(0))
            .optional()?;
        Ok(first.unwrap_or(i64::MAX))
    };
    let from = since(query.from_ms)?;
    let to = since(query.to_ms)?.min(query.before.map_or(i64::MAX, saturated));
    let of_org = if org.is_some() { "e.org = ?4 AND" } else { "?4 IS NULL AND" };
    let mut statement = snapshot.prepare_cached(&format!(
        "SELECT e.number, e.op, e.\"by\", e.act, e.answer, e.at_ms, e.first_transfer, e.transfers
         FROM entries e WHERE {of_org} e.number >= ?1 AND e.number < ?2
         ORDER BY e.number DESC LIMIT ?3"
    ))?;
    let found =
        statement.query_map(params![from, to, query.limit, org], |row| entry(&snapshot, row))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The entry of one operation id.
pub(super) fn entry_of(connection: &Connection, op: &OpId) -> Result<Option<Entry>, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached(
        "SELECT e.number, e.op, e.\"by\", e.act, e.answer, e.at_ms, e.first_transfer, e.transfers
         FROM entries e WHERE e.op = ?1",
    )?;
    Ok(statement.query_row([op.as_str()], |row| entry(&snapshot, row)).optional()?)
}

fn entry(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Entry> {
    let (Json(act), Json(answer)) = (row.get(3)?, row.get(4)?);
    let range = (row.get::<_, Unsigned>(6)?.0, row.get::<_, Unsigned>(7)?.0);
    let transfers = rows::transfers(connection, range)?.into_iter();
    let op = OpId::new(row.get::<_, String>(1)?);
    Ok(Entry {
        number: row.get::<_, Unsigned>(0)?.0,
        op: op.map_err(|error| unreadable(&error.to_string()))?,
        by: row.get(2)?,
        act,
        answer,
        at_ms: row.get::<_, Unsigned>(5)?.0,
        transfers: transfers
            .map(|transfer| TransferReport {
                debit: transfer.debit.name(),
                credit: transfer.credit.name(),
                amount: transfer.amount,
            })
            .collect(),
    })
}

/// Adds receipts and the transfers that paid them up, one by one. Callers choose the ids of their
/// calls, so nothing is concluded from the times in them; the index on ends is by our own clock.
pub(super) fn totals(
    connection: &Connection,
    query: &DayQuery,
) -> Result<ReceiptTotals, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(org) = org_number(&snapshot, &query.org)? else {
        return Ok(ReceiptTotals::default());
    };
    let mut statement = snapshot.prepare_cached(
        "SELECT COUNT(*), COALESCE(SUM(c.amount), 0),
                COALESCE(SUM((SELECT SUM(t.amount) FROM transfers t
                              WHERE t.number >= c.first_transfer
                                AND t.number < c.first_transfer + c.transfers
                                AND t.purpose <= 6)), 0)
         FROM calls c INDEXED BY calls_by_time
         WHERE c.org = ?1 AND c.ended_at_ms >= ?2 AND c.ended_at_ms < ?3 AND c.end IN (1, 7)",
    )?;
    let (from, to) = (saturated(query.from.starts_at_ms()), saturated(query.to.ends_at_ms()));
    let totals = statement.query_row(params![org, from, to], |row| {
        Ok(ReceiptTotals {
            receipts: row.get::<_, Unsigned>(0)?.0,
            amount: row.get(1)?,
            transferred: row.get(2)?,
        })
    })?;
    Ok(totals)
}

pub(super) fn periods(connection: &Connection) -> Result<Vec<PeriodClose>, BillingError> {
    let documents: Vec<Document> =
        bodies(connection, "SELECT body FROM documents WHERE kind = 'period' ORDER BY id")?;
    let periods = documents.into_iter().filter_map(|document| match document {
        Document::Period(close) => Some(close),
        _ => None,
    });
    Ok(periods.collect())
}
