//! From version 1 to version 2: the same money in other tables.
//!
//! Version 1 kept holds and releases in the journal; now only what was posted is there, so the
//! posted transfers are numbered anew, in their order. A receipt's id was given to users, so it
//! is the id of its call. Top-ups become entries under the operation ids that they had. Holds
//! that were open belong to a process that is gone: they are released. The answers of other
//! operations go; their holds and receipts stay.

mod top_ups;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, Row, Transaction, params};

use self::top_ups::TopUps;
use super::commit::Writing;
use super::load::Accounts;
use super::names::Names;
use super::rows::account;
use super::values::{Json, Unsigned, unreadable};
use crate::account::{Account, Counters, Purpose, Transfer};
use crate::calendar::Day;
use crate::capture::normal_form;
use crate::hold::{HoldTerms, Pinned};
use crate::ids::CallId;
use crate::ledger::store::{AccountChange, Batch, CallEnd, CallRow, EarningsKey, UsageKey};
use crate::money::Nano;
use crate::report::{Role, UsageSums};
use crate::rules::quantities;

/// The conversion under way.
struct Conversion<'a> {
    connection: &'a Connection,
    names: Names,
    accounts: Accounts,
    /// The accounts by the numbers that they had.
    old_accounts: HashMap<i64, Account>,
    /// The new numbers of each hold's posted transfers: the first, and how many.
    ranges: HashMap<[u8; 16], (u64, u64)>,
    usage: BTreeMap<UsageKey, UsageSums>,
    earnings: BTreeMap<EarningsKey, (i64, Nano)>,
}

/// Converts what the tables `v1_*` have, and drops them.
pub(super) fn convert_to_2(transaction: &Transaction<'_>, now_ms: u64) -> rusqlite::Result<()> {
    let mut conversion = Conversion {
        connection: transaction,
        names: Names::default(),
        accounts: Accounts::default(),
        old_accounts: HashMap::new(),
        ranges: HashMap::new(),
        usage: BTreeMap::new(),
        earnings: BTreeMap::new(),
    };
    conversion.convert_accounts()?;
    conversion.convert_transfers()?;
    conversion.convert_receipts()?;
    conversion.convert_holds(now_ms)?;
    conversion.write_sums()?;
    transaction.execute_batch(
        "DROP TABLE v1_operations; DROP TABLE v1_top_ups; DROP TABLE v1_receipts;
         DROP TABLE v1_holds; DROP TABLE v1_transfers; DROP TABLE v1_accounts;",
    )
}

impl Conversion<'_> {
    fn writing(&mut self) -> Writing<'_> {
        Writing {
            connection: self.connection,
            names: &mut self.names,
            accounts: &mut self.accounts,
        }
    }

    /// Nothing is held any more; what was posted stays to the nano.
    fn convert_accounts(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(
            "SELECT id, name, debits_posted, credits_posted FROM v1_accounts ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        let mut accounts = Vec::new();
        while let Some(row) = rows.next()? {
            let account = account(&row.get::<_, String>(1)?)?;
            self.old_accounts.insert(row.get(0)?, account.clone());
            let after = Counters {
                debits_posted: row.get(2)?,
                credits_posted: row.get(3)?,
                ..Counters::default()
            };
            let number = u64::try_from(accounts.len()).unwrap_or(u64::MAX).saturating_add(1);
            accounts.push(AccountChange { number, account, before: None, after });
        }
        self.writing().write_accounts(&accounts)
    }

    /// Numbers the posted transfers anew; those of no hold are top-ups, in their order.
    fn convert_transfers(&mut self) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut top_ups = TopUps::read(connection)?;
        let mut statement = connection.prepare(
            "SELECT debit, credit, amount, hold, at_ms FROM v1_transfers
             WHERE kind = 3 ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        let mut batch = Batch { first_transfer: 1, ..Batch::default() };
        let mut number = 0_u64;
        while let Some(row) = rows.next()? {
            number = number.saturating_add(1);
            let at_ms = row.get::<_, Unsigned>(4)?.0;
            if at_ms != batch.at_ms && !batch.transfers.is_empty() {
                self.writing().write_transfers(&batch, batch.first_transfer)?;
                batch = Batch { at_ms, first_transfer: number, ..Batch::default() };
            }
            let hold: Option<[u8; 16]> = row.get(3)?;
            let transfer = self.transfer(row, hold.is_some())?;
            match hold {
                Some(hold) => {
                    let (_, count) = self.ranges.entry(hold).or_insert((number, 0));
                    *count = count.saturating_add(1);
                }
                None => {
                    let entry = top_ups.entry(&transfer, at_ms, number)?;
                    self.writing().write_entry(&entry, at_ms)?;
                }
            }
            batch.at_ms = at_ms;
            batch.transfers.push(transfer);
        }
        if !batch.transfers.is_empty() {
            self.writing().write_transfers(&batch, batch.first_transfer)?;
        }
        top_ups.finish()?;
        // The clock must not fall behind what else was written.
        let last_at_ms: Option<i64> =
            connection.query_row("SELECT MAX(at_ms) FROM v1_transfers", [], |row| row.get(0))?;
        if let Some(last_at_ms) = last_at_ms {
            connection.execute(
                "INSERT INTO batches (first_transfer, at_ms) VALUES (?1, ?2)",
                params![Unsigned(number.saturating_add(1)), last_at_ms],
            )?;
        }
        Ok(())
    }

    fn transfer(&self, row: &Row<'_>, of_hold: bool) -> rusqlite::Result<Transfer> {
        let account = |column| -> rusqlite::Result<Account> {
            let account = self.old_accounts.get(&row.get(column)?).cloned();
            account.ok_or_else(|| unreadable("a transfer names an account that does not exist"))
        };
        let (debit, credit) = (account(0)?, account(1)?);
        let purpose = match &credit {
            _ if !of_hold => Purpose::TopUp,
            Account::Platform => Purpose::Platform,
            Account::Payable(_) => Purpose::Author,
            Account::Rounding => Purpose::Rounding,
            _ => return Err(unreadable("a transfer pays nobody that calls pay")),
        };
        Ok(Transfer { purpose, debit, credit, amount: row.get(2)? })
    }

    /// Captured calls: receipts, with the terms of their holds.
    fn convert_receipts(&mut self) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut statement = connection.prepare(
            "SELECT h.id, h.org, h.key, h.amount, h.price_version, h.subject, h.author,
                    h.created_at_ms, h.expires_at_ms,
                    r.id, r.amount, r.usage, r.ending, r.created_at_ms
             FROM v1_receipts r JOIN v1_holds h ON h.id = r.hold ORDER BY r.id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let hold: [u8; 16] = row.get(0)?;
            let (amount, Json(usage), Json(ending)) = (row.get(10)?, row.get(11)?, row.get(12)?);
            let usage: Vec<crate::price::UsageLine> = usage;
            let usage = normal_form(&usage);
            let call = CallRow {
                terms: terms(row, row.get(9)?)?,
                end: CallEnd::Captured { amount, usage, ending, late: false },
                ended_at_ms: row.get::<_, Unsigned>(13)?.0,
                transfers: self.ranges.get(&hold).copied().unwrap_or_default(),
            };
            self.add_to_sums(&call)?;
            self.writing().write_calls(std::slice::from_ref(&call))?;
        }
        Ok(())
    }

    /// Holds that were not captured: voided, expired, or released now.
    fn convert_holds(&mut self, now_ms: u64) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut statement = connection.prepare(
            "SELECT id, org, key, amount, price_version, subject, author,
                    created_at_ms, expires_at_ms, state, ended_at_ms
             FROM v1_holds WHERE state <> 1 ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let end = match row.get(9)? {
                2_i64 => CallEnd::Voided,
                3 => CallEnd::Expired,
                _ => CallEnd::Restarted,
            };
            let ended_at_ms = row.get::<_, Option<Unsigned>>(10)?.map(|at_ms| at_ms.0);
            let terms = terms(row, row.get(0)?)?;
            let ended_at_ms = ended_at_ms.unwrap_or(now_ms.max(terms.created_at_ms));
            let call = CallRow { terms, end, ended_at_ms, transfers: (0, 0) };
            self.writing().write_calls(std::slice::from_ref(&call))?;
        }
        Ok(())
    }

    fn add_to_sums(&mut self, call: &CallRow) -> rusqlite::Result<()> {
        let CallEnd::Captured { amount, usage, .. } = &call.end else { return Ok(()) };
        let (terms, day) = (&call.terms, Day::of(call.ended_at_ms));
        let too_large = || unreadable("the sums of usage do not fit");
        for (model, more) in quantities(&terms.subject, usage, *amount) {
            let (org, key) = (terms.org.clone(), terms.key.clone());
            let key = UsageKey { org, day, key, subject: terms.subject.clone(), model };
            let sums = self.usage.entry(key).or_default();
            add(sums, &more).ok_or_else(too_large)?;
        }
        for transfer in super::rows::transfers(self.connection, call.transfers)? {
            let Account::Payable(org) = transfer.credit else { continue };
            let (role, subject) = (Role::Author, terms.subject.clone());
            let key = EarningsKey { org, day, role, subject };
            let (calls, earned) = self.earnings.entry(key).or_default();
            *calls = calls.saturating_add(1);
            *earned = earned.checked_add(transfer.amount).ok_or_else(too_large)?;
        }
        Ok(())
    }

    fn write_sums(&mut self) -> rusqlite::Result<()> {
        for (key, sums) in std::mem::take(&mut self.usage) {
            self.writing().write_usage(&[(key, sums)])?;
        }
        for (key, (calls, amount)) in std::mem::take(&mut self.earnings) {
            self.writing().write_earnings(&[(key, calls, amount)])?;
        }
        Ok(())
    }
}

/// The terms of a hold of version 1, from the columns that both queries begin with.
fn terms(row: &Row<'_>, call: CallId) -> rusqlite::Result<HoldTerms> {
    let Json(subject) = row.get(5)?;
    let author = row.get::<_, Option<Json<_>>>(6)?.map(|Json(author)| author);
    Ok(HoldTerms {
        call,
        org: row.get(1)?,
        key: row.get(2)?,
        amount: row.get(3)?,
        price_version: row.get(4)?,
        subject,
        pinned: Arc::new(Pinned { author, ..Pinned::default() }),
        lots: Vec::new(),
        created_at_ms: row.get::<_, Unsigned>(7)?.0,
        expires_at_ms: row.get::<_, Unsigned>(8)?.0,
    })
}

fn add(sums: &mut UsageSums, more: &UsageSums) -> Option<()> {
    sums.calls = sums.calls.saturating_add(more.calls);
    sums.input_tokens = sums.input_tokens.saturating_add(more.input_tokens);
    sums.cached_input_tokens = sums.cached_input_tokens.saturating_add(more.cached_input_tokens);
    sums.output_tokens = sums.output_tokens.saturating_add(more.output_tokens);
    sums.compute_micros = sums.compute_micros.saturating_add(more.compute_micros);
    sums.cost = sums.cost.checked_add(more.cost)?;
    Some(())
}
