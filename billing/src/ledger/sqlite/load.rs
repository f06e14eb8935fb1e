//! What the writer reads: everything that the rules decide with, and what was kept before.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::names::Names;
use super::rows::{FindCall, account, lots, pinned, transfers};
use super::values::{Json, Unsigned, unreadable};
use crate::account::{Account, Counters};
use crate::calendar::Day;
use crate::document::DocumentKey;
use crate::hold::HoldTerms;
use crate::ledger::store::{Found, Loaded, MATURITY_DAYS_MAX, PastEntry, Wanted};
use crate::money::Nano;
use crate::quick::QuickMap;

/// The numbers of accounts, so that a transfer needs no look-up.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    numbers: QuickMap<Account, u64>,
    /// The account with number n stands at n - 1.
    accounts: Vec<Account>,
}

impl Accounts {
    /// The number of an account that is known.
    pub(super) fn number(&self, account: &Account) -> Option<u64> {
        self.numbers.get(account).copied()
    }

    /// Takes an account in; false where it is known or its number is not the next.
    pub(super) fn push(&mut self, number: u64, account: Account) -> bool {
        let next = u64::try_from(self.accounts.len()).ok().and_then(|len| len.checked_add(1));
        if next != Some(number) || self.numbers.contains_key(&account) {
            return false;
        }
        self.numbers.insert(account.clone(), number);
        self.accounts.push(account);
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Forgets the accounts that a failed batch has brought.
    pub(super) fn truncate(&mut self, len: usize) {
        for account in self.accounts.drain(len.min(self.accounts.len())..) {
            self.numbers.remove(&account);
        }
    }
}

/// Reads everything that the rules decide with.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<(Loaded, Accounts)> {
    let mut numbers = Accounts::default();
    let (last_transfer, last_at_ms) = last_transfer(connection)?;
    let mut loaded = Loaded {
        accounts: accounts(connection)?,
        holds: holds(connection)?,
        documents: bodies(connection, "SELECT body FROM documents WHERE live = 1")?,
        books: bodies(connection, "SELECT book FROM price_books ORDER BY version")?,
        earned: earned(connection, last_at_ms)?,
        last_transfer,
        last_entry: last(connection, "SELECT COALESCE(MAX(number), 0) FROM entries")?,
        last_at_ms,
        last_lot: last(connection, &format!("{LAST_DOCUMENT} 'lot'"))?,
        last_budget: last(connection, &format!("{LAST_DOCUMENT} 'budget'"))?,
    };
    for (number, account, _) in &loaded.accounts {
        if !numbers.push(*number, account.clone()) {
            return Err(unreadable("the numbers of accounts have a gap"));
        }
        match account {
            Account::Lot(lot) => loaded.last_lot = loaded.last_lot.max(lot.0),
            Account::Budget(budget) => loaded.last_budget = loaded.last_budget.max(budget.0),
            _ => {}
        }
    }
    Ok((loaded, numbers))
}

const LAST_DOCUMENT: &str =
    "SELECT COALESCE(MAX(CAST(id AS INTEGER)), 0) FROM documents WHERE kind =";

fn last(connection: &Connection, statement: &str) -> rusqlite::Result<u64> {
    connection.query_row(statement, [], |row| row.get::<_, Unsigned>(0)).map(|last| last.0)
}

/// The number of the last transfer and the time of the last batch.
fn last_transfer(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let last_transfer = last(connection, "SELECT COALESCE(MAX(number), 0) FROM transfers")?;
    let last_at_ms = connection
        .query_row("SELECT at_ms FROM batches ORDER BY first_transfer DESC LIMIT 1", [], |row| {
            row.get::<_, Unsigned>(0)
        })
        .optional()?;
    Ok((last_transfer, last_at_ms.map_or(0, |at_ms| at_ms.0)))
}

fn accounts(connection: &Connection) -> rusqlite::Result<Vec<(u64, Account, Counters)>> {
    let mut statement = connection.prepare(
        "SELECT number, name, debits_posted, credits_posted, debits_held, credits_held
         FROM accounts ORDER BY number",
    )?;
    let rows = statement.query_map([], |row| {
        let counters = Counters {
            debits_posted: row.get(2)?,
            credits_posted: row.get(3)?,
            debits_held: row.get(4)?,
            credits_held: row.get(5)?,
        };
        Ok((row.get::<_, Unsigned>(0)?.0, account(&row.get::<_, String>(1)?)?, counters))
    })?;
    rows.collect()
}

fn holds(connection: &Connection) -> rusqlite::Result<Vec<HoldTerms>> {
    let mut statement = connection.prepare(
        "SELECT h.call, o.name, k.name, h.amount, h.price_version, s.name, p.name, h.lots,
                h.created_at_ms, h.expires_at_ms
         FROM holds h LEFT JOIN names o ON o.id = h.org LEFT JOIN names k ON k.id = h.key
         LEFT JOIN names s ON s.id = h.subject LEFT JOIN names p ON p.id = h.pinned",
    )?;
    statement.query_map([], hold)?.collect()
}

fn hold(row: &Row<'_>) -> rusqlite::Result<HoldTerms> {
    let Json(subject) = row.get(5)?;
    Ok(HoldTerms {
        call: row.get(0)?,
        org: row.get(1)?,
        key: row.get(2)?,
        amount: row.get(3)?,
        price_version: row.get(4)?,
        subject,
        pinned: Arc::new(pinned(row.get(6)?)),
        lots: lots(row.get(7)?),
        created_at_ms: row.get::<_, Unsigned>(8)?.0,
        expires_at_ms: row.get::<_, Unsigned>(9)?.0,
    })
}

/// A column of JSON texts.
pub(super) fn bodies<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    statement: &str,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare(statement)?;
    let bodies = statement.query_map([], |row| row.get::<_, Json<T>>(0).map(|Json(body)| body))?;
    bodies.collect()
}

/// Earnings by organisation and day; older ones have matured long ago.
fn earned(
    connection: &Connection,
    last_at_ms: u64,
) -> rusqlite::Result<Vec<(crate::ids::OrgId, Day, Nano)>> {
    let first = Day::of(last_at_ms).number().saturating_sub(MATURITY_DAYS_MAX);
    let mut statement = connection.prepare(
        "SELECT o.name, e.day, SUM(e.amount) FROM earnings_days e JOIN names o ON o.id = e.org
         WHERE e.day >= ?1 GROUP BY e.org, e.day",
    )?;
    let rows = statement
        .query_map([first], |row| Ok((row.get(0)?, Day::from_number(row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

/// Finds calls, entries and documents that were kept before.
pub(super) fn find(
    connection: &Connection,
    names: &Names,
    wanted: &Wanted,
) -> rusqlite::Result<Found> {
    let mut found = Found::default();
    let mut calls = FindCall::new(connection)?;
    for (org, id) in &wanted.calls {
        let Some(number) = names.known(org.as_str()) else { continue };
        if let Some(row) = calls.find(number, *id)? {
            let transfers = transfers(connection, row.transfers)?;
            found.calls.insert((org.clone(), *id), (row, transfers));
        }
    }
    let mut entries =
        connection.prepare_cached("SELECT digest, answer FROM entries WHERE op = ?1")?;
    for op in &wanted.entries {
        let past = entries
            .query_row([op.as_str()], |row| {
                let Json(answer) = row.get(1)?;
                Ok(PastEntry { digest: row.get(0)?, answer })
            })
            .optional()?;
        found.entries.extend(past.map(|past| (op.clone(), past)));
    }
    for key in &wanted.documents {
        let DocumentKey { kind, id } = key;
        let document = connection
            .prepare_cached("SELECT body FROM documents WHERE kind = ?1 AND id = ?2")?
            .query_row(params![kind, id], |row| row.get(0))
            .optional()?;
        found.documents.extend(document.map(|Json(document)| (key.clone(), document)));
    }
    Ok(found)
}
