//! The auditor: derives every balance again from the journal and compares, without any of the
//! ledger's own rules.
//!
//! It reads the tables as plain numbers on purpose. What it shares with the writer is the meaning
//! of the schema, nothing else: charges are computed again from the JSON of the price books, and
//! closed months from the transfers.

mod accounts; // Counters as stored and as replayed.
mod journal; // Transfers and whose they are.
mod holds; // What is held.
mod calls; // Calls, their charges and the sums of usage.
mod entries; // The audit log.
mod periods; // Closed months.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Row};

use self::accounts::Accounts;
use super::{cannot_open, file};
use crate::error::BillingError;
use crate::money::Nano;
use crate::report::LedgerCheck;

/// Breaks that are reported; the rest would say nothing new.
const BREAKS_MAX: usize = 100;
/// How long to wait for a lock on a file that a server has open.
const BUSY: Duration = Duration::from_secs(5);

/// Checks a ledger's file, which a server may have open, without changing it.
///
/// # Errors
/// [`BillingError::CannotOpen`] where it is no ledger of this version, [`BillingError::Store`]
/// where it cannot be read.
pub fn audit_file(path: &Path) -> Result<LedgerCheck, BillingError> {
    let connection = file::open_foreign(path, BUSY).map_err(|cause| cannot_open(path, cause))?;
    check(&connection)
}

/// Checks a snapshot of the file while others write.
pub(super) fn check(connection: &Connection) -> Result<LedgerCheck, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut audit = Audit { names: names(&snapshot)?, ..Audit::default() };
    audit.read_accounts(&snapshot)?;
    audit.replay(&snapshot)?;
    audit.check_holds(&snapshot)?;
    audit.compare_accounts();
    audit.check_sums()?;
    audit.check_calls(&snapshot)?;
    audit.check_entries(&snapshot)?;
    audit.check_earnings(&snapshot)?;
    snapshot.finish()?;
    audit.check.ok = audit.check.breaks.is_empty();
    Ok(audit.check)
}

/// The check under way.
#[derive(Default)]
struct Audit {
    check: LedgerCheck,
    names: HashMap<i64, String>,
    accounts: Accounts,
    /// What each entry moved, by its number.
    moved: HashMap<i64, Vec<Line>>,
    /// What transfers to payables come to less refunds, by organisation.
    earned: HashMap<String, i128>,
    /// The sum of what calls moved.
    captured: i128,
}

/// One line of the journal.
#[derive(Clone, Debug)]
struct Line {
    number: i64,
    purpose: i64,
    debit: i64,
    credit: i64,
    amount: i128,
}

/// Why a transfer was made: the numbers of the schema.
mod purpose {
    /// Parts of a charge, from the platform's to what free credits paid.
    pub(super) const PARTS: std::ops::RangeInclusive<i64> = 1..=6;
    pub(super) const AUTHOR: i64 = 2;
    pub(super) const PROVIDER: i64 = 4;
    pub(super) const BUDGET_SPENT: i64 = 7;
    pub(super) const TOP_UP: i64 = 8;
    pub(super) const CHARGEBACK: i64 = 9;
    pub(super) const GRANT: i64 = 10;
    pub(super) const BREAKAGE: i64 = 11;
    pub(super) const SETTLEMENT: i64 = 12;
    pub(super) const REFUND: i64 = 13;
    pub(super) const ADJUSTMENT: i64 = 14;
    pub(super) const PAYOUT: i64 = 15;
    pub(super) const BUDGET_LIMIT: i64 = 16;
}

impl Audit {
    fn fail(&mut self, what: String) {
        if self.check.breaks.len() < BREAKS_MAX {
            self.check.breaks.push(what);
        }
    }

    /// A name by its number; `?` where there is none, which is a break.
    fn name(&mut self, number: i64) -> String {
        match self.names.get(&number) {
            Some(name) => name.clone(),
            None => {
                self.fail(format!("name {number} is missing"));
                "?".to_owned()
            }
        }
    }
}

fn names(connection: &Connection) -> rusqlite::Result<HashMap<i64, String>> {
    let mut statement = connection.prepare("SELECT id, name FROM names")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn wide(row: &Row<'_>, column: usize) -> rusqlite::Result<i128> {
    row.get::<_, i64>(column).map(i128::from)
}

fn nano(amount: i128) -> Result<Nano, BillingError> {
    i64::try_from(amount).map(Nano::from_nano).map_err(|error| {
        BillingError::Invalid(format!("the ledger's sums do not fit 64-bit nano-credits: {error}"))
    })
}

/// A call's id as people write it.
fn call_text(call: &[u8]) -> String {
    uuid::Uuid::from_slice(call).map_or_else(|_| "?".to_owned(), |id| id.to_string())
}
