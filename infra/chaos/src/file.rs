//! The independent reading: the ledger's SQLite file as a killed process left it, summed up without
//! a line of the ledger's own code. It reads a copy, so that recovery stays the server's work.

use std::path::Path;

use anyhow::Context;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use crate::books::{Books, Org};
use crate::record::{Outcome, Record};

/// The parts of the file that survive a process; the index (-shm) is made anew from them.
const PARTS: [&str; 3] = ["ledger.db", "ledger.db-wal", "ledger.db-journal"];
/// Breaks of one kind that are told.
const TOLD_MAX: usize = 20;

/// Every sum that must be nothing: what is wrong, and a query whose rows are the breaks, each with
/// one text.
const MUST_BE_EMPTY: [(&str, &str); 10] = [
    (
        "an account's counters are not the sums of its transfers",
        "SELECT format('%s: debits %d, transfers %d; credits %d, transfers %d', name,
             debits_posted, coalesce(debits, 0), credits_posted, coalesce(credits, 0))
         FROM accounts
         LEFT JOIN (SELECT debit, sum(amount) debits FROM transfers GROUP BY debit)
             ON debit = number
         LEFT JOIN (SELECT credit, sum(amount) credits FROM transfers GROUP BY credit)
             ON credit = number
         WHERE debits_posted <> coalesce(debits, 0) OR credits_posted <> coalesce(credits, 0)",
    ),
    (
        "a transfer is between accounts that are not there, or of two assets",
        "SELECT format('transfer %d', t.number) FROM transfers t
         LEFT JOIN accounts d ON d.number = t.debit LEFT JOIN accounts c ON c.number = t.credit
         WHERE d.asset IS NULL OR c.asset IS NULL OR d.asset <> c.asset OR t.amount <= 0",
    ),
    (
        "the debits of an asset are not its credits",
        "SELECT format('%s: posted %d and %d, held %d and %d', asset, sum(debits_posted),
             sum(credits_posted), sum(debits_held), sum(credits_held))
         FROM accounts GROUP BY asset
         HAVING sum(debits_posted) <> sum(credits_posted) OR sum(debits_held) <> sum(credits_held)",
    ),
    (
        "what is held is not the sum of the open holds",
        "SELECT format('clearing %d, holds %d', coalesce(sum(credits_held), 0),
             (SELECT coalesce(sum(amount), 0) FROM holds))
         FROM accounts WHERE name = 'clearing'
         HAVING coalesce(sum(credits_held), 0) <> (SELECT coalesce(sum(amount), 0) FROM holds)",
    ),
    (
        "an account is overdrawn",
        "SELECT name FROM accounts WHERE debits_must_not_exceed_credits = 1
         AND debits_posted + debits_held > credits_posted",
    ),
    (
        "the transfers are not numbered without gaps",
        "SELECT format('%d transfers, the last %d', count(*), max(number)) FROM transfers
         HAVING count(*) <> coalesce(max(number), 0)",
    ),
    (
        "the ranges of calls and entries do not make up the journal",
        "SELECT format('the range from %d follows the one that ends before %d', first, next)
         FROM (SELECT first, lag(first + n, 1, 1) OVER (ORDER BY first) next FROM
             (SELECT first_transfer first, transfers n FROM calls WHERE transfers > 0
              UNION ALL
              SELECT first_transfer, transfers FROM entries WHERE transfers > 0))
         WHERE first <> next
         UNION ALL
         SELECT format('%d transfers in ranges of %d', (SELECT count(*) FROM transfers),
             (SELECT coalesce(sum(transfers), 0) FROM calls)
             + (SELECT coalesce(sum(transfers), 0) FROM entries))
         WHERE (SELECT count(*) FROM transfers)
             <> (SELECT coalesce(sum(transfers), 0) FROM calls)
              + (SELECT coalesce(sum(transfers), 0) FROM entries)",
    ),
    (
        "a call's transfers are not its amount",
        "SELECT format('call %s: %d, transfers %d', hex(call), amount, moved) FROM
             (SELECT call, amount, coalesce((SELECT sum(t.amount) FROM transfers t
                  WHERE t.number >= first_transfer AND t.number < first_transfer + transfers
                  AND t.purpose BETWEEN 1 AND 6), 0) moved
              FROM calls WHERE amount IS NOT NULL)
         WHERE amount <> moved",
    ),
    (
        "a call is open and ended at once",
        "SELECT hex(holds.call) FROM holds JOIN calls USING (org, call)",
    ),
    (
        "an organisation's usage by day is not the sum of its calls",
        "SELECT format('%s: %d calls of %d, by day %d of %d', name, n, cost, days, day_cost) FROM
             (SELECT org, count(*) n, sum(amount) cost FROM calls
              WHERE amount IS NOT NULL GROUP BY org)
         LEFT JOIN (SELECT org, sum(calls) days, sum(cost) day_cost FROM usage_days GROUP BY org)
             USING (org)
         JOIN names ON names.id = org
         WHERE n <> coalesce(days, 0) OR cost <> coalesce(day_cost, 0)",
    ),
];

/// What the file says of one organisation; compared with what the restarted server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Charged {
    /// Captured calls.
    pub(crate) receipts: i64,
    /// Their sum.
    pub(crate) amount: i64,
}

/// What came of a reading.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Whether the file has the tables that are read here.
    pub(crate) known: bool,
    /// What is broken, in sentences.
    pub(crate) broken: Vec<String>,
    /// Charges by organisation, in the order of the books.
    pub(crate) charged: Vec<Charged>,
    /// Open holds.
    pub(crate) holds: i64,
}

/// Copies the ledger's files out of a data folder and reads the copy. No process may have them
/// open.
pub(crate) fn read(
    data: &Path,
    books: &Books,
    record: &Record,
    scratch: &Path,
) -> anyhow::Result<Reading> {
    for part in PARTS {
        let (from, to) = (data.join(part), scratch.join(part));
        if to.exists() {
            std::fs::remove_file(&to)?;
        }
        if from.exists() {
            std::fs::copy(&from, &to).with_context(|| from.display().to_string())?;
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(scratch.join(PARTS[0]), flags)?;
    let calls = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'calls'";
    if database.query_row(calls, [], |_| Ok(())).optional()?.is_none() {
        return Ok(Reading::default());
    }
    let mut reading = Reading { known: true, ..Reading::default() };
    let integrity: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if integrity != "ok" {
        reading.broken.push(format!("SQLite finds the file damaged: {integrity}"));
    }
    for (what, query) in MUST_BE_EMPTY {
        let breaks = texts(&database, query).with_context(|| what.to_owned())?;
        reading.broken.extend(breaks.iter().map(|text| format!("in the file, {what}: {text}")));
    }
    reading.holds = database.query_row("SELECT count(*) FROM holds", [], |row| row.get(0))?;
    for (place, org) in books.orgs.iter().enumerate() {
        reading.charged.push(charged(&database, org)?);
        reading.broken.extend(wallet(&database, (place, org), record)?);
    }
    reading.broken.extend(acknowledged(&database, books, record)?);
    reading.broken.extend(begun(&database, books)?);
    Ok(reading)
}

fn texts(database: &Connection, query: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare(query)?;
    let rows = statement.query_map([], |row: &Row<'_>| row.get(0))?;
    rows.take(TOLD_MAX).collect()
}

fn charged(database: &Connection, org: &Org) -> anyhow::Result<Charged> {
    let query = "SELECT count(*), coalesce(sum(amount), 0) FROM calls
        WHERE end IN (1, 7) AND org = (SELECT id FROM names WHERE name = ?1)";
    let read = |row: &Row<'_>| Ok(Charged { receipts: row.get(0)?, amount: row.get(1)? });
    Ok(database.query_row(query, [&org.id], read)?)
}

/// The wallet got every acknowledged top-up, and beyond them only some that were not.
fn wallet(
    database: &Connection,
    (place, org): (usize, &Org),
    record: &Record,
) -> anyhow::Result<Option<String>> {
    let query = "SELECT credits_posted FROM accounts WHERE name = ?1";
    let name = format!("wallet:{}", org.id);
    let got: Option<i64> = database.query_row(query, [name], |row| row.get(0)).optional()?;
    let got = got.unwrap_or(0);
    let open = record.top_ups.iter().filter(|top_up| top_up.org == place && !top_up.acknowledged);
    let (least, open) = (org.topped_up, open.map(|top_up| top_up.amount).sum::<i64>());
    Ok((got < least || got > least + open).then(|| {
        format!(
            "in the file, {} was credited {got} nano, not {least} to {}",
            org.name,
            least + open
        )
    }))
}

/// What was acknowledged is in the file before anybody recovers anything (P5).
fn acknowledged(
    database: &Connection,
    books: &Books,
    record: &Record,
) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut find = database.prepare(
        "SELECT amount FROM calls WHERE org = (SELECT id FROM names WHERE name = ?1)
         AND call = unhex(?2, '-') AND end IN (1, 7)",
    )?;
    for call in &record.calls {
        let Outcome::Receipted { receipt, amount } = &call.outcome else { continue };
        let org = books.orgs.get(call.org).context("a call of no organisation")?;
        let kept: Option<i64> =
            find.query_row([org.id.as_str(), receipt.as_str()], |row| row.get(0)).optional()?;
        if kept != Some(*amount) {
            broken
                .push(format!("LOST: in the file, receipt {receipt} of {amount} nano is {kept:?}"));
        }
    }
    Ok(broken)
}

/// No byte of an answer left before its hold was durable (P9): each key has at least as many holds
/// and ended calls as there were answers that began, and no more than there were calls.
fn begun(database: &Connection, books: &Books) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut count = database.prepare(
        "SELECT (SELECT count(*) FROM holds WHERE key = id)
              + (SELECT count(*) FROM calls WHERE key = id AND end <> 5)
         FROM names WHERE name = ?1",
    )?;
    for (key, calls) in &books.calls {
        let kept: Option<i64> = count.query_row([key], |row| row.get(0)).optional()?;
        let kept = u64::try_from(kept.unwrap_or(0))?;
        if kept < calls.begun || kept > calls.sent {
            broken.push(format!(
                "in the file, key {key} has {kept} holds for {} answers begun of {} calls sent",
                calls.begun, calls.sent
            ));
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests;
