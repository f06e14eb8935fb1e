//! How a batch is written. Every list is one prepared statement that runs once for each row.

use rusqlite::{Connection, Statement, ToSql, params};

use super::load::Accounts;
use super::names::Names;
use super::rows::{lots_text, usage_text};
use super::values::{Json, Unsigned, ending_code, role_code, saturated, unreadable};
use crate::hold::HoldTerms;
use crate::ledger::store::{
    AccountChange, Batch, CallEnd, CallRow, EarningsKey, EntryRow, UsageKey,
};
use crate::money::Nano;
use crate::report::UsageSums;

/// A batch on its way into an open transaction.
pub(super) struct Writing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) names: &'a mut Names,
    pub(super) accounts: &'a mut Accounts,
}

/// The names of a call by their numbers.
struct Named {
    org: i64,
    key: i64,
    subject: i64,
    pinned: i64,
}

impl Writing<'_> {
    /// Writes the whole batch. `next_transfer` and `next_entry` are what its numbers must start
    /// from.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        (next_transfer, next_entry): (u64, u64),
    ) -> rusqlite::Result<()> {
        if !batch.transfers.is_empty() && batch.first_transfer != next_transfer {
            return Err(unreadable("the batch's transfers do not follow those in the file"));
        }
        self.write_accounts(&batch.accounts)?;
        self.write_transfers(batch, next_transfer)?;
        self.write_opened(batch)?;
        self.write_closed(batch)?;
        self.write_calls(&batch.calls)?;
        self.write_entries(batch, next_entry)?;
        self.write_documents(batch)?;
        self.write_usage(&batch.usage)?;
        self.write_earnings(&batch.earnings)
    }

    /// Moves each account from the counters that it must have to the new ones.
    pub(super) fn write_accounts(&mut self, changes: &[AccountChange]) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO accounts (number, name, asset, debits_must_not_exceed_credits,
                                   debits_posted, credits_posted, debits_held, credits_held)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let mut update = self.connection.prepare_cached(
            "UPDATE accounts
             SET debits_posted = ?2, credits_posted = ?3, debits_held = ?4, credits_held = ?5
             WHERE number = ?1 AND debits_posted = ?6 AND credits_posted = ?7
               AND debits_held = ?8 AND credits_held = ?9",
        )?;
        for AccountChange { number, account, before, after } in changes {
            let number = Unsigned(*number);
            let (debits, credits) = (after.debits_posted, after.credits_posted);
            let (debits_held, credits_held) = (after.debits_held, after.credits_held);
            let changed = match before {
                Some(before) => update.execute(params![
                    number,
                    debits,
                    credits,
                    debits_held,
                    credits_held,
                    before.debits_posted,
                    before.credits_posted,
                    before.debits_held,
                    before.credits_held,
                ])?,
                None if !self.accounts.push(number.0, account.clone()) => 0,
                None => insert.execute(params![
                    number,
                    account.name(),
                    account.asset().name(),
                    account.is_limited(),
                    debits,
                    credits,
                    debits_held,
                    credits_held,
                ])?,
            };
            if changed != 1 {
                let name = account.name();
                return Err(unreadable(&format!("{name} is not what the ledger thinks it is")));
            }
        }
        Ok(())
    }

    pub(super) fn write_transfers(
        &self,
        batch: &Batch,
        next_transfer: u64,
    ) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO transfers (number, purpose, debit, credit, amount)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let number_of = |account| {
            self.accounts.number(account).map(Unsigned).ok_or_else(|| {
                unreadable("a transfer names an account that the file does not have")
            })
        };
        for (number, transfer) in (next_transfer..).zip(&batch.transfers) {
            insert.execute(params![
                Unsigned(number),
                transfer.purpose.code(),
                number_of(&transfer.debit)?,
                number_of(&transfer.credit)?,
                transfer.amount,
            ])?;
        }
        self.connection
            .prepare_cached(
                "INSERT INTO batches (first_transfer, at_ms) VALUES (?1, ?2)
                 ON CONFLICT (first_transfer) DO UPDATE SET at_ms = excluded.at_ms",
            )?
            .execute(params![Unsigned(next_transfer), Unsigned(batch.at_ms)])
            .map(drop)
    }

    fn names_of(&mut self, terms: &HoldTerms) -> rusqlite::Result<Named> {
        let connection = self.connection;
        Ok(Named {
            org: self.names.intern(connection, terms.org.as_str())?,
            key: self.names.intern(connection, terms.key.as_str())?,
            subject: self.names.subject(connection, &terms.subject)?,
            pinned: self.names.pinned(connection, &terms.pinned)?,
        })
    }

    fn write_opened(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut insert = connection.prepare_cached(
            "INSERT INTO holds (org, call, key, subject, amount, price_version, pinned, lots,
                                created_at_ms, expires_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for terms in &batch.opened {
            let named = self.names_of(terms)?;
            insert.execute(params![
                named.org,
                terms.call.as_uuid().into_bytes(),
                named.key,
                named.subject,
                terms.amount,
                terms.price_version,
                named.pinned,
                lots_text(&terms.lots)?,
                Unsigned(terms.created_at_ms),
                Unsigned(terms.expires_at_ms),
            ])?;
        }
        Ok(())
    }

    /// A hold ends once: its row must still be there.
    fn write_closed(&self, batch: &Batch) -> rusqlite::Result<()> {
        let mut delete =
            self.connection.prepare_cached("DELETE FROM holds WHERE org = ?1 AND call = ?2")?;
        for (org, call) in &batch.closed {
            let org = self.names.known(org.as_str());
            if delete.execute(params![org, call.as_uuid().into_bytes()])? != 1 {
                return Err(unreadable(&format!("the hold of call {call} is not open")));
            }
        }
        Ok(())
    }

    pub(super) fn write_calls(&mut self, rows: &[CallRow]) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut late = connection.prepare_cached(CAPTURE_LATE)?;
        let mut insert = connection.prepare_cached(INSERT_CALL)?;
        for row in rows {
            // A hold that expired in this very batch has no row yet.
            if !self.capture_late(row, &mut late)? {
                self.insert_call(row, &mut insert)?;
            }
        }
        Ok(())
    }

    /// Turns the row of an expired call into that of its late capture, where there is one.
    fn capture_late(&mut self, row: &CallRow, late: &mut Statement<'_>) -> rusqlite::Result<bool> {
        let CallEnd::Captured { amount, usage, ending, late: true } = &row.end else {
            return Ok(false);
        };
        let changed = late.execute(params![
            self.names.intern(self.connection, row.terms.org.as_str())?,
            row.terms.call.as_uuid().into_bytes(),
            amount,
            usage_text(self.names, self.connection, usage)?,
            ending_code(*ending),
            Unsigned(row.ended_at_ms),
            Unsigned(row.transfers.0),
            Unsigned(row.transfers.1),
        ])?;
        Ok(changed == 1)
    }

    fn insert_call(&mut self, row: &CallRow, insert: &mut Statement<'_>) -> rusqlite::Result<()> {
        let named = self.names_of(&row.terms)?;
        let (mut amount, mut usage, mut ending, mut refusal) = (None, None, None, None);
        match &row.end {
            CallEnd::Captured { amount: charged, usage: lines, ending: how, .. } => {
                amount = Some(*charged);
                usage = Some(usage_text(self.names, self.connection, lines)?);
                ending = Some(ending_code(*how));
            }
            CallEnd::Refused(why) => refusal = Some(Json(why)),
            CallEnd::Voided | CallEnd::Expired | CallEnd::Restarted => {}
        }
        let ttl_ms = row.terms.expires_at_ms.saturating_sub(row.terms.created_at_ms);
        let (call, end) = (row.terms.call.as_uuid().into_bytes(), row.end.code());
        let times = [row.terms.created_at_ms, ttl_ms, row.ended_at_ms].map(Unsigned);
        let transfers = [row.transfers.0, row.transfers.1].map(Unsigned);
        let lots = if row.end.keeps_lots() { lots_text(&row.terms.lots)? } else { None };
        let mut values: Vec<&dyn ToSql> = vec![
            &named.org,
            &call,
            &end,
            &named.key,
            &named.subject,
            &row.terms.amount,
            &amount,
            &row.terms.price_version,
            &named.pinned,
            &usage,
            &ending,
            &refusal,
        ];
        for number in times.iter().chain(&transfers) {
            values.push(number);
        }
        let Some(lots) = &lots else { return insert.execute(values.as_slice()).map(drop) };
        values.push(lots);
        // Version 2, to which version 1 is converted, has no such column.
        let mut insert = self.connection.prepare_cached(INSERT_CALL_WITH_LOTS)?;
        insert.execute(values.as_slice()).map(drop)
    }

    fn write_entries(&mut self, batch: &Batch, next_entry: u64) -> rusqlite::Result<()> {
        for (number, entry) in (next_entry..).zip(&batch.entries) {
            if entry.number != number {
                return Err(unreadable("the batch's entries do not follow those in the file"));
            }
            self.write_entry(entry, batch.at_ms)?;
        }
        Ok(())
    }

    pub(super) fn write_entry(&mut self, entry: &EntryRow, at_ms: u64) -> rusqlite::Result<()> {
        let org = match &entry.org {
            Some(org) => self.names.intern(self.connection, org.as_str())?,
            None => 0,
        };
        self.connection
            .prepare_cached(
                "INSERT INTO entries (number, op, \"by\", org, act, digest, answer, at_ms,
                                      first_transfer, transfers)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                Unsigned(entry.number),
                entry.op.as_str(),
                entry.by,
                org,
                Json(&entry.act),
                entry.digest,
                Json(&entry.answer),
                Unsigned(at_ms),
                Unsigned(entry.transfers.0),
                Unsigned(entry.transfers.1),
            ])
            .map(drop)
    }

    fn write_documents(&self, batch: &Batch) -> rusqlite::Result<()> {
        for document in &batch.documents {
            let key = document.key();
            self.connection
                .prepare_cached(
                    "INSERT INTO documents (kind, id, live, body) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (kind, id) DO UPDATE
                     SET live = excluded.live, body = excluded.body",
                )?
                .execute(params![key.kind, key.id, document.is_live(), Json(document)])?;
        }
        for book in &batch.books {
            self.connection
                .prepare_cached(
                    "INSERT INTO price_books (version, effective_at_ms, book)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute(params![
                    book.version,
                    Unsigned(book.effective_at_ms),
                    Json(book.as_ref())
                ])?;
        }
        Ok(())
    }

    /// Adds to the sums of a day. Quantities that nobody pays for may be absurd, so they stop at
    /// the largest number that there is.
    pub(super) fn write_usage(&mut self, rows: &[(UsageKey, UsageSums)]) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut add = connection.prepare_cached(ADD_USAGE)?;
        for (key, sums) in rows {
            let model = match &key.model {
                Some(model) => self.names.intern(connection, model)?,
                None => 0,
            };
            add.execute(params![
                self.names.intern(connection, key.org.as_str())?,
                key.day.number(),
                self.names.intern(connection, key.key.as_str())?,
                self.names.subject(connection, &key.subject)?,
                model,
                saturated(sums.calls),
                saturated(sums.input_tokens),
                saturated(sums.cached_input_tokens),
                saturated(sums.output_tokens),
                saturated(sums.compute_micros),
                saturated(sums.fuel),
                saturated(sums.egress_bytes),
                sums.cost,
            ])?;
        }
        Ok(())
    }

    pub(super) fn write_earnings(
        &mut self,
        rows: &[(EarningsKey, i64, Nano)],
    ) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut add = connection.prepare_cached(ADD_EARNINGS)?;
        for (key, calls, amount) in rows {
            add.execute(params![
                self.names.intern(connection, key.org.as_str())?,
                key.day.number(),
                role_code(key.role),
                self.names.subject(connection, &key.subject)?,
                calls,
                amount,
            ])?;
        }
        Ok(())
    }
}

const CAPTURE_LATE: &str = "UPDATE calls SET end = 7, amount = ?3, usage = ?4, ending = ?5, \
    ended_at_ms = ?6, first_transfer = ?7, transfers = ?8 \
    WHERE org = ?1 AND call = ?2 AND end IN (3, 4)";

const INSERT_CALL: &str = "INSERT INTO calls (org, call, end, key, subject, held, amount, \
    price_version, pinned, usage, ending, refusal, held_at_ms, ttl_ms, ended_at_ms, \
    first_transfer, transfers) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

const INSERT_CALL_WITH_LOTS: &str = "INSERT INTO calls (org, call, end, key, subject, held, \
    amount, price_version, pinned, usage, ending, refusal, held_at_ms, ttl_ms, ended_at_ms, \
    first_transfer, transfers, lots) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

const ADD_EARNINGS: &str = "INSERT INTO earnings_days (org, day, role, subject, calls, amount) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
    ON CONFLICT (org, day, role, subject) DO UPDATE \
    SET calls = calls + excluded.calls, amount = amount + excluded.amount";

const ADD_USAGE: &str = "INSERT INTO usage_days (org, day, key, subject, model, calls, \
    input_tokens, cached_input_tokens, output_tokens, compute_micros, fuel, egress_bytes, cost) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
    ON CONFLICT (org, day, key, subject, model) DO UPDATE SET calls = calls + excluded.calls, \
    input_tokens = input_tokens \
        + MIN(excluded.input_tokens, 9223372036854775807 - input_tokens), \
    cached_input_tokens = cached_input_tokens \
        + MIN(excluded.cached_input_tokens, 9223372036854775807 - cached_input_tokens), \
    output_tokens = output_tokens \
        + MIN(excluded.output_tokens, 9223372036854775807 - output_tokens), \
    compute_micros = compute_micros \
        + MIN(excluded.compute_micros, 9223372036854775807 - compute_micros), \
    fuel = fuel + MIN(excluded.fuel, 9223372036854775807 - fuel), \
    egress_bytes = egress_bytes \
        + MIN(excluded.egress_bytes, 9223372036854775807 - egress_bytes), \
    cost = cost + excluded.cost";
