//! The writer's side of the file: what it reads to decide, and how changes are written.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::schema::OpenFile;
use super::sql::{Json, Unsigned, state_code, state_end};
use crate::account::{Account, Counters, Transfer};
use crate::capture::Receipt;
use crate::hold::{HoldEnd, HoldTerms};
use crate::ids::{HoldId, OpId, ReceiptId};
use crate::operation::Answer;
use crate::rules::{Change, Event, State};

/// The writer's connection. Its statements run inside the transaction of a batch.
#[derive(Debug)]
pub(super) struct Store {
    file: OpenFile,
    /// Row ids of accounts, so that a transfer needs no look-up.
    rows: HashMap<Account, i64>,
}

/// The answer that an operation id has, and the digest of the payload it was given for.
pub(super) struct Prior {
    pub(super) payload: Vec<u8>,
    pub(super) answer: Answer,
}

impl Store {
    pub(super) fn new(file: OpenFile) -> Store {
        Store { file, rows: HashMap::new() }
    }

    fn connection(&self) -> &Connection {
        &self.file.connection
    }

    /// Reads the whole state, forgetting what was known.
    pub(super) fn load(&mut self, holds_open_max: usize) -> rusqlite::Result<State> {
        let (state, rows) = read_state(self.connection(), holds_open_max)?;
        self.rows = rows;
        Ok(state)
    }

    /// The time of the last transfer: the clock must not fall behind it.
    pub(super) fn last_at_ms(&self) -> rusqlite::Result<u64> {
        let last = self
            .connection()
            .query_row("SELECT at_ms FROM transfers ORDER BY id DESC LIMIT 1", [], |row| {
                row.get::<_, Unsigned>(0)
            })
            .optional()?;
        Ok(last.map_or(0, |at_ms| at_ms.0))
    }

    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        self.execute("BEGIN IMMEDIATE")
    }

    pub(super) fn commit(&self) -> rusqlite::Result<()> {
        self.execute("COMMIT")
    }

    /// Takes the whole batch back; SQLite may have done so by itself after a failure.
    pub(super) fn roll_back(&self) -> rusqlite::Result<()> {
        if self.is_in_transaction() { self.execute("ROLLBACK") } else { Ok(()) }
    }

    /// Whether the batch is still alive.
    pub(super) fn is_in_transaction(&self) -> bool {
        !self.connection().is_autocommit()
    }

    fn execute(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection().prepare_cached(statement)?.execute([]).map(drop)
    }

    pub(super) fn prior(&self, op: &OpId) -> rusqlite::Result<Option<Prior>> {
        self.connection()
            .prepare_cached("SELECT payload, answer FROM operations WHERE op = ?1")?
            .query_row([op.as_str()], |row| {
                let Json(answer) = row.get(1)?;
                Ok(Prior { payload: row.get(0)?, answer })
            })
            .optional()
    }

    /// How a hold has ended; `None` where it is open or unknown.
    pub(super) fn ended(&self, hold: HoldId) -> rusqlite::Result<Option<HoldEnd>> {
        let state = self
            .connection()
            .prepare_cached("SELECT state FROM holds WHERE id = ?1")?
            .query_row([hold], |row| row.get(0))
            .optional()?;
        Ok(state.and_then(state_end))
    }

    pub(super) fn hold(&self, id: HoldId) -> rusqlite::Result<HoldTerms> {
        self.connection()
            .prepare_cached(&format!("{SELECT_HOLD} WHERE id = ?1"))?
            .query_row([id], hold_terms)
    }

    pub(super) fn receipt(&self, id: ReceiptId) -> rusqlite::Result<Receipt> {
        self.connection()
            .prepare_cached(&format!("{SELECT_RECEIPT} WHERE id = ?1"))?
            .query_row([id], receipt)
    }

    /// Writes an operation's answer and what it did, all or nothing. Balances come with
    /// [`Store::settle`], once per batch.
    pub(super) fn record(
        &mut self,
        answer: Option<(&OpId, &[u8; 32], &Answer)>,
        change: Option<&Change>,
        at_ms: u64,
    ) -> rusqlite::Result<()> {
        // Outside the savepoint: an account of zeros harms nobody, a forgotten row id would.
        for (account, _) in change.iter().flat_map(|change| &change.balances) {
            self.add_account(account)?;
        }
        self.execute("SAVEPOINT operation")?;
        let written = self.record_parts(answer, change, at_ms);
        if written.is_err() && self.is_in_transaction() {
            self.execute("ROLLBACK TO operation")?;
        }
        if self.is_in_transaction() {
            self.execute("RELEASE operation")?;
        }
        written
    }

    fn record_parts(
        &self,
        answer: Option<(&OpId, &[u8; 32], &Answer)>,
        change: Option<&Change>,
        at_ms: u64,
    ) -> rusqlite::Result<()> {
        if let Some(change) = change {
            self.record_event(&change.event, at_ms)?;
            for transfer in &change.transfers {
                self.record_transfer(transfer, at_ms)?;
            }
        }
        if let Some((op, payload, answer)) = answer {
            self.connection()
                .prepare_cached(
                    "INSERT INTO operations (op, payload, answer, at_ms) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![op.as_str(), payload, Json(answer), Unsigned(at_ms)])?;
        }
        Ok(())
    }

    fn record_event(&self, event: &Event, at_ms: u64) -> rusqlite::Result<()> {
        match event {
            Event::Held(hold) => self.insert_hold(hold, at_ms),
            Event::Ended { hold, end, receipt } => {
                self.end_hold(hold.id, *end, at_ms)?;
                receipt.as_deref().map_or(Ok(()), |receipt| self.insert_receipt(receipt))
            }
            Event::ToppedUp { id, org, amount, note, .. } => self
                .connection()
                .prepare_cached(
                    "INSERT INTO top_ups (id, org, amount, note, at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![id.as_bytes(), org, amount, note, Unsigned(at_ms)])
                .map(drop),
            Event::Priced(book) => self
                .connection()
                .prepare_cached(
                    "INSERT INTO price_books (version, effective_at_ms, book)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute(params![book.version, Unsigned(book.effective_at_ms), Json(book.as_ref())])
                .map(drop),
        }
    }

    fn insert_hold(&self, hold: &HoldTerms, at_ms: u64) -> rusqlite::Result<()> {
        self.connection()
            .prepare_cached(
                "INSERT INTO holds (id, org, key, amount, price_version, subject, author,
                                    created_at_ms, expires_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                hold.id,
                hold.org,
                hold.key,
                hold.amount,
                hold.price_version,
                Json(&hold.subject),
                hold.author.as_ref().map(Json),
                Unsigned(at_ms),
                Unsigned(hold.expires_at_ms),
            ])
            .map(drop)
    }

    /// A hold ends once: the row must still be open.
    fn end_hold(&self, hold: HoldId, end: HoldEnd, at_ms: u64) -> rusqlite::Result<()> {
        let changed = self
            .connection()
            .prepare_cached(
                "UPDATE holds SET state = ?2, ended_at_ms = ?3 WHERE id = ?1 AND state = 0",
            )?
            .execute(params![hold, state_code(end), Unsigned(at_ms)])?;
        if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
    }

    fn insert_receipt(&self, receipt: &Receipt) -> rusqlite::Result<()> {
        self.connection()
            .prepare_cached(
                "INSERT INTO receipts (id, org, key, subject, hold, amount, held, usage, ending,
                                       price_version, created_at_ms, parts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                receipt.id,
                receipt.org,
                receipt.key,
                Json(&receipt.subject),
                receipt.hold,
                receipt.amount,
                receipt.held,
                Json(&receipt.usage),
                Json(receipt.ending),
                receipt.price_version,
                Unsigned(receipt.created_at_ms),
                Json(&receipt.parts),
            ])
            .map(drop)
    }

    fn record_transfer(&self, transfer: &Transfer, at_ms: u64) -> rusqlite::Result<()> {
        self.connection()
            .prepare_cached(
                "INSERT INTO transfers (kind, debit, credit, amount, hold, at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                transfer.kind.code(),
                self.rows.get(&transfer.debit),
                self.rows.get(&transfer.credit),
                transfer.amount,
                transfer.hold,
                Unsigned(at_ms),
            ])
            .map(drop)
    }

    fn add_account(&mut self, account: &Account) -> rusqlite::Result<()> {
        if self.rows.contains_key(account) {
            return Ok(());
        }
        self.connection()
            .prepare_cached(
                "INSERT INTO accounts (name, debits_must_not_exceed_credits) VALUES (?1, ?2)",
            )?
            .execute(params![account.name(), account.is_limited()])?;
        self.rows.insert(account.clone(), self.connection().last_insert_rowid());
        Ok(())
    }

    /// Moves an account's row from one set of counters to another. False where the row was not
    /// what it should have been: somebody else changed it.
    pub(super) fn settle(
        &self,
        account: &Account,
        from: Counters,
        to: Counters,
    ) -> rusqlite::Result<bool> {
        let changed = self
            .connection()
            .prepare_cached(
                "UPDATE accounts
                 SET debits_posted = ?2, credits_posted = ?3, debits_held = ?4, credits_held = ?5
                 WHERE id = ?1 AND debits_posted = ?6 AND credits_posted = ?7
                   AND debits_held = ?8 AND credits_held = ?9",
            )?
            .execute(params![
                self.rows.get(account),
                to.debits_posted,
                to.credits_posted,
                to.debits_held,
                to.credits_held,
                from.debits_posted,
                from.credits_posted,
                from.debits_held,
                from.credits_held,
            ])?;
        Ok(changed == 1)
    }

    /// Folds the log into the file, closes it, and lets the lock go.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        let OpenFile { connection, lock } = self.file;
        let closed = connection.close().map_err(|(_, error)| error);
        drop(lock);
        closed
    }
}

/// The whole state, and the row ids of its accounts.
fn read_state(
    connection: &Connection,
    holds_open_max: usize,
) -> rusqlite::Result<(State, HashMap<Account, i64>)> {
    let mut state = State::new(holds_open_max);
    let mut rows = HashMap::new();
    let mut accounts = connection.prepare_cached(
        "SELECT id, name, debits_posted, credits_posted, debits_held, credits_held FROM accounts",
    )?;
    let mut found = accounts.query([])?;
    while let Some(row) = found.next()? {
        let name: String = row.get(1)?;
        let account = Account::parse(&name)
            .ok_or_else(|| unreadable(1, &format!("no account is named `{name}`")))?;
        rows.insert(account.clone(), row.get(0)?);
        state.set_account(account, counters(row)?);
    }
    let mut books = connection.prepare_cached("SELECT book FROM price_books ORDER BY version")?;
    for book in books.query_map([], |row| row.get(0))? {
        let Json(book) = book?;
        state.add_book(Arc::new(book));
    }
    let mut holds = connection.prepare_cached(&format!("{SELECT_HOLD} WHERE state = 0"))?;
    for hold in holds.query_map([], hold_terms)? {
        state.add_hold(Arc::new(hold?));
    }
    Ok((state, rows))
}

/// The columns of [`hold_terms`].
const SELECT_HOLD: &str = "SELECT id, org, key, amount, price_version, subject, author, \
                           expires_at_ms FROM holds";

fn hold_terms(row: &Row<'_>) -> rusqlite::Result<HoldTerms> {
    let Json(subject) = row.get(5)?;
    let author: Option<Json<_>> = row.get(6)?;
    Ok(HoldTerms {
        id: row.get(0)?,
        org: row.get(1)?,
        key: row.get(2)?,
        amount: row.get(3)?,
        price_version: row.get(4)?,
        subject,
        author: author.map(|Json(author)| author),
        expires_at_ms: row.get::<_, Unsigned>(7)?.0,
    })
}

/// The columns of [`receipt`].
pub(super) const SELECT_RECEIPT: &str = "SELECT id, org, key, subject, hold, amount, held, \
    usage, ending, price_version, created_at_ms, parts FROM receipts";

/// A receipt from a row of [`SELECT_RECEIPT`].
pub(super) fn receipt(row: &Row<'_>) -> rusqlite::Result<Receipt> {
    let Json(subject) = row.get(3)?;
    let Json(usage) = row.get(7)?;
    let Json(ending) = row.get(8)?;
    let Json(parts) = row.get(11)?;
    Ok(Receipt {
        id: row.get(0)?,
        org: row.get(1)?,
        key: row.get(2)?,
        subject,
        hold: row.get(4)?,
        amount: row.get(5)?,
        held: row.get(6)?,
        usage,
        ending,
        price_version: row.get(9)?,
        created_at_ms: row.get::<_, Unsigned>(10)?.0,
        parts,
    })
}

fn counters(row: &Row<'_>) -> rusqlite::Result<Counters> {
    Ok(Counters {
        debits_posted: row.get(2)?,
        credits_posted: row.get(3)?,
        debits_held: row.get(4)?,
        credits_held: row.get(5)?,
    })
}

fn unreadable(column: usize, reason: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, reason.into())
}
