//! Rows that the writer and the readers read alike: calls, their usage and their transfers.

use std::fmt::Write;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::names::Names;
use super::values::{Json, Unsigned, ending, meter, meter_code, unreadable};
use crate::account::{Account, Purpose, Transfer};
use crate::capture::Receipt;
use crate::charge::parts_of;
use crate::hold::{HoldTerms, Pinned};
use crate::ids::{CallId, LotId};
use crate::ledger::store::{CallEnd, CallRow};
use crate::money::Nano;
use crate::price::UsageLine;

/// The columns of [`call_row`], followed by conditions.
macro_rules! select_call {
    ($conditions:literal) => {
        concat!(
            "SELECT c.call, c.end, o.name, k.name, s.name, p.name, c.held, c.amount,
                    c.price_version, c.usage, c.ending, c.refusal, c.held_at_ms, c.ttl_ms,
                    c.ended_at_ms, c.first_transfer, c.transfers, c.lots
             FROM calls c JOIN names o ON o.id = c.org JOIN names k ON k.id = c.key
             JOIN names s ON s.id = c.subject LEFT JOIN names p ON p.id = c.pinned ",
            $conditions
        )
    };
}
pub(super) use select_call;

/// Finds calls. The statement is kept while many are looked for: one that goes back to the cache
/// loses what is bound, and SQLite then plans it anew, which costs ten times the look-up.
pub(super) struct FindCall<'a> {
    connection: &'a Connection,
    /// Most calls are new: to know that, one table is enough.
    exists: CachedStatement<'a>,
    whole: CachedStatement<'a>,
}

impl FindCall<'_> {
    pub(super) fn new(connection: &Connection) -> rusqlite::Result<FindCall<'_>> {
        let exists =
            connection.prepare_cached("SELECT 1 FROM calls WHERE org = ?1 AND call = ?2")?;
        let whole = connection.prepare_cached(select_call!("WHERE c.org = ?1 AND c.call = ?2"))?;
        Ok(FindCall { connection, exists, whole })
    }

    /// One call by the number of its organisation and its id.
    pub(super) fn find(&mut self, org: i64, call: CallId) -> rusqlite::Result<Option<CallRow>> {
        let (connection, id) = (self.connection, call.as_uuid().into_bytes());
        if !self.exists.exists(params![org, id])? {
            return Ok(None);
        }
        self.whole.query_row(params![org, id], |row| call_row(connection, row)).optional()
    }
}

/// A call from a row of [`select_call`].
pub(super) fn call_row(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<CallRow> {
    let Json(subject) = row.get(4)?;
    let created_at_ms = row.get::<_, Unsigned>(12)?.0;
    let terms = HoldTerms {
        call: row.get(0)?,
        org: row.get(2)?,
        key: row.get(3)?,
        amount: row.get(6)?,
        price_version: row.get(8)?,
        subject,
        pinned: Arc::new(pinned(row.get(5)?)),
        lots: lots(row.get(17)?),
        created_at_ms,
        expires_at_ms: created_at_ms.saturating_add(row.get::<_, Unsigned>(13)?.0),
    };
    Ok(CallRow {
        terms,
        end: call_end(connection, row)?,
        ended_at_ms: row.get::<_, Unsigned>(14)?.0,
        transfers: (row.get::<_, Unsigned>(15)?.0, row.get::<_, Unsigned>(16)?.0),
    })
}

fn call_end(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<CallEnd> {
    Ok(match row.get::<_, i64>(1)? {
        code @ (1 | 7) => CallEnd::Captured {
            amount: row.get(7)?,
            usage: usage_lines(connection, &row.get::<_, String>(9)?)?,
            ending: ending(row.get(10)?).ok_or_else(|| unreadable("an ending has no meaning"))?,
            late: code == 7,
        },
        2 => CallEnd::Voided,
        3 => CallEnd::Expired,
        4 => CallEnd::Restarted,
        5 => CallEnd::Refused(row.get::<_, Json<_>>(11)?.0),
        _ => return Err(unreadable("the end of a call has no meaning")),
    })
}

/// Pinned terms; none where the number was 0.
pub(super) fn pinned(json: Option<Json<Pinned>>) -> Pinned {
    json.map(|Json(pinned)| pinned).unwrap_or_default()
}

/// Usage as compact JSON: `[[model or 0, meter, quantity], …]`.
pub(super) fn usage_text(
    names: &mut Names,
    connection: &Connection,
    usage: &[UsageLine],
) -> rusqlite::Result<String> {
    let mut text = String::with_capacity(64);
    text.push('[');
    for line in usage {
        let model = match &line.model {
            Some(model) => names.intern(connection, model)?,
            None => 0,
        };
        let comma = if text.len() > 1 { "," } else { "" };
        write!(text, "{comma}[{model},{},{}]", meter_code(line.meter), line.quantity)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    }
    text.push(']');
    Ok(text)
}

fn usage_lines(connection: &Connection, text: &str) -> rusqlite::Result<Vec<UsageLine>> {
    let lines: Vec<(i64, u64, u64)> = serde_json::from_str(text)
        .map_err(|error| unreadable(&format!("usage cannot be read: {error}")))?;
    let lines = lines.into_iter().map(|(model, code, quantity)| {
        let model = match model {
            0 => None,
            model => Some(name(connection, model)?),
        };
        let meter = meter(code).ok_or_else(|| unreadable("a meter has no meaning"))?;
        Ok(UsageLine { model, meter, quantity })
    });
    lines.collect()
}

fn name(connection: &Connection, number: i64) -> rusqlite::Result<String> {
    connection
        .prepare_cached("SELECT name FROM names WHERE id = ?1")?
        .query_row([number], |row| row.get(0))
}

/// The lots of a hold as compact JSON: `[[lot, nano-credits], …]`; `None` for no lot.
pub(super) fn lots_text(lots: &[(LotId, Nano)]) -> rusqlite::Result<Option<String>> {
    let pairs: Vec<(u64, i64)> = lots.iter().map(|(lot, held)| (lot.0, held.as_nano())).collect();
    if pairs.is_empty() { Ok(None) } else { super::values::json_text(&pairs).map(Some) }
}

/// The lots of a hold.
pub(super) fn lots(json: Option<Json<Vec<(u64, i64)>>>) -> Vec<(LotId, Nano)> {
    let pairs = json.map(|Json(pairs)| pairs).unwrap_or_default().into_iter();
    pairs.map(|(lot, held)| (LotId(lot), Nano::from_nano(held))).collect()
}

/// A range of transfers, in order.
pub(super) fn transfers(
    connection: &Connection,
    (first, count): (u64, u64),
) -> rusqlite::Result<Vec<Transfer>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(
        "SELECT t.purpose, d.name, c.name, t.amount FROM transfers t
         JOIN accounts d ON d.number = t.debit JOIN accounts c ON c.number = t.credit
         WHERE t.number >= ?1 AND t.number < ?2 ORDER BY t.number",
    )?;
    let end = Unsigned(first.saturating_add(count));
    let found = statement.query_map(params![Unsigned(first), end], |row| {
        let purpose = Purpose::of_code(row.get(0)?);
        Ok(Transfer {
            purpose: purpose.ok_or_else(|| unreadable("a transfer's purpose has no meaning"))?,
            debit: account(&row.get::<_, String>(1)?)?,
            credit: account(&row.get::<_, String>(2)?)?,
            amount: row.get(3)?,
        })
    })?;
    found.collect()
}

/// An account by its name.
pub(super) fn account(name: &str) -> rusqlite::Result<Account> {
    Account::parse(name).ok_or_else(|| unreadable(&format!("no account is named `{name}`")))
}

/// The receipt of a call; `None` where nothing was charged.
pub(super) fn receipt(connection: &Connection, row: CallRow) -> rusqlite::Result<Option<Receipt>> {
    let CallEnd::Captured { amount, usage, ending, late } = row.end else { return Ok(None) };
    let parts = parts_of(&transfers(connection, row.transfers)?);
    let (usage, parts) = ((usage, ending), (amount, parts));
    Ok(Some(Receipt::new(&row.terms, usage, parts, (late, row.ended_at_ms))))
}
