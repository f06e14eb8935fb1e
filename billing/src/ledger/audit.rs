//! The auditor: replays the journal and compares, without any of the ledger's own rules.
//!
//! It reads the tables as plain numbers on purpose. What it shares with the writer is the
//! meaning of the schema, nothing else.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use crate::error::BillingError;
use crate::money::Nano;
use crate::report::LedgerCheck;

/// Breaks that are reported; the rest would say nothing new.
const BREAKS_MAX: usize = 100;

/// An account's row, and what the journal says it should be.
struct Audited {
    name: String,
    asset: String,
    is_limited: bool,
    stored: Tally,
    replayed: Tally,
}

/// Debits and credits, posted and held, in nano-credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    debits_posted: i128,
    credits_posted: i128,
    debits_held: i128,
    credits_held: i128,
}

/// One line of the journal.
struct Line {
    id: i64,
    kind: i64,
    debit: i64,
    credit: i64,
    amount: i128,
}

/// The check under way.
#[derive(Default)]
struct Audit {
    accounts: BTreeMap<i64, Audited>,
    check: LedgerCheck,
}

/// Checks a snapshot of the file while others write.
pub(super) fn check(connection: &Connection) -> Result<LedgerCheck, BillingError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut audit = Audit::default();
    audit.read_accounts(&snapshot)?;
    audit.replay(&snapshot)?;
    audit.compare();
    audit.check_sums()?;
    audit.check_holds(&snapshot)?;
    audit.check_captures(&snapshot)?;
    audit.check_parts(&snapshot)?;
    audit.check_top_ups(&snapshot)?;
    snapshot.finish()?;
    audit.check.ok = audit.check.breaks.is_empty();
    Ok(audit.check)
}

impl Audit {
    fn fail(&mut self, what: String) {
        if self.check.breaks.len() < BREAKS_MAX {
            self.check.breaks.push(what);
        }
    }

    fn read_accounts(&mut self, connection: &Connection) -> Result<(), BillingError> {
        let mut statement = connection.prepare(
            "SELECT id, name, asset, debits_must_not_exceed_credits,
                    debits_posted, credits_posted, debits_held, credits_held FROM accounts",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let stored = Tally {
                debits_posted: wide(row, 4)?,
                credits_posted: wide(row, 5)?,
                debits_held: wide(row, 6)?,
                credits_held: wide(row, 7)?,
            };
            let name: String = row.get(1)?;
            // A wallet is limited by what it is, whatever its row says.
            let is_limited = row.get(3)? || name.starts_with("wallet:");
            let replayed = Tally::default();
            let account = Audited { name, asset: row.get(2)?, is_limited, stored, replayed };
            self.accounts.insert(row.get(0)?, account);
        }
        self.check.accounts = u64::try_from(self.accounts.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Every line once, in the order of the journal.
    fn replay(&mut self, connection: &Connection) -> Result<(), BillingError> {
        let mut statement = connection
            .prepare("SELECT id, kind, debit, credit, amount FROM transfers ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.check.transfers = self.check.transfers.saturating_add(1);
            let line = Line {
                id: row.get(0)?,
                kind: row.get(1)?,
                debit: row.get(2)?,
                credit: row.get(3)?,
                amount: wide(row, 4)?,
            };
            if let Err(what) = self.replay_line(&line) {
                self.fail(format!("transfer {}: {what}", line.id));
            }
        }
        Ok(())
    }

    fn replay_line(&mut self, line: &Line) -> Result<(), String> {
        let asset = |id: &i64| self.accounts.get(id).map(|account| account.asset.clone());
        match (asset(&line.debit), asset(&line.credit)) {
            (Some(debit), Some(credit)) if debit == credit => {}
            (Some(_), Some(_)) => return Err("its accounts have different assets".to_owned()),
            _ => return Err("one of its accounts does not exist".to_owned()),
        }
        if line.amount <= 0 || line.debit == line.credit {
            return Err(format!("it moves {} nano-credits to itself or backwards", line.amount));
        }
        let (posted, held) = match line.kind {
            1 => (0, line.amount),
            2 => (0, line.amount.saturating_neg()),
            3 => (line.amount, 0),
            kind => return Err(format!("its kind is {kind}")),
        };
        let debit = self.accounts.get_mut(&line.debit).map(|debit| {
            let tally = &mut debit.replayed;
            tally.debits_posted = tally.debits_posted.saturating_add(posted);
            tally.debits_held = tally.debits_held.saturating_add(held);
            debit.overdraft()
        });
        let credit = self.accounts.get_mut(&line.credit).map(|credit| {
            let tally = &mut credit.replayed;
            tally.credits_posted = tally.credits_posted.saturating_add(posted);
            tally.credits_held = tally.credits_held.saturating_add(held);
            credit.overdraft()
        });
        debit.into_iter().chain(credit).try_for_each(|overdraft| overdraft.map_or(Ok(()), Err))
    }

    /// Balances must be what the journal says.
    fn compare(&mut self) {
        let differences: Vec<String> = self
            .accounts
            .values()
            .filter(|account| account.stored != account.replayed)
            .map(|account| {
                let Audited { name, stored, replayed, .. } = account;
                format!("{name} is stored as {stored:?}, but its transfers give {replayed:?}")
            })
            .collect();
        differences.into_iter().for_each(|difference| self.fail(difference));
    }

    /// Debits equal credits, posted and held, per asset.
    fn check_sums(&mut self) -> Result<(), BillingError> {
        let mut sums: BTreeMap<String, Tally> = BTreeMap::new();
        for account in self.accounts.values() {
            let sum = sums.entry(account.asset.clone()).or_default();
            let Tally { debits_posted, credits_posted, debits_held, credits_held } = account.stored;
            sum.debits_posted = sum.debits_posted.saturating_add(debits_posted);
            sum.credits_posted = sum.credits_posted.saturating_add(credits_posted);
            sum.debits_held = sum.debits_held.saturating_add(debits_held);
            sum.credits_held = sum.credits_held.saturating_add(credits_held);
        }
        for (asset, sum) in &sums {
            if sum.debits_posted != sum.credits_posted || sum.debits_held != sum.credits_held {
                self.fail(format!("debits and credits of asset `{asset}` differ: {sum:?}"));
            }
        }
        let sum = sums.get("credit").copied().unwrap_or_default();
        self.check.debits = nano(sum.debits_posted)?;
        self.check.credits = nano(sum.credits_posted)?;
        self.check.held = nano(sum.debits_held)?;
        Ok(())
    }

    /// Each hold was made once and ended at most once, and what is open is what is held.
    fn check_holds(&mut self, connection: &Connection) -> Result<(), BillingError> {
        let (open, open_amount) = connection.query_row(
            "SELECT COUNT(*), COALESCE(SUM(amount), 0) FROM holds WHERE state = 0",
            [],
            |row| Ok((count(row, 0)?, wide(row, 1)?)),
        )?;
        self.check.holds_open = open;
        let held = i128::from(self.check.held.as_nano());
        if open_amount != held {
            self.fail(format!("open holds are {open_amount} nano-credits, held are {held}"));
        }
        let mut statement = connection.prepare(
            "SELECT hex(h.id) FROM holds h
             LEFT JOIN (SELECT hold,
                               SUM(CASE kind WHEN 1 THEN amount ELSE 0 END) AS held,
                               SUM(CASE kind WHEN 2 THEN amount ELSE 0 END) AS released
                        FROM transfers WHERE kind IN (1, 2) GROUP BY hold) t ON t.hold = h.id
             WHERE COALESCE(t.held, 0) <> h.amount
                OR COALESCE(t.released, 0) <> (CASE h.state WHEN 0 THEN 0 ELSE h.amount END)",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            self.fail(format!("hold {id} was not held and released as its row says"));
        }
        Ok(())
    }

    /// Receipts are captures, one to one, and to the nano.
    fn check_captures(&mut self, connection: &Connection) -> Result<(), BillingError> {
        self.check.captures =
            connection
                .query_row("SELECT COUNT(*) FROM holds WHERE state = 1", [], |row| count(row, 0))?;
        let (receipts, receipted) = connection.query_row(
            "SELECT COUNT(*), COALESCE(SUM(amount), 0) FROM receipts",
            [],
            |row| Ok((count(row, 0)?, wide(row, 1)?)),
        )?;
        let captured = connection.query_row(
            "SELECT COALESCE(SUM(amount), 0) FROM transfers WHERE kind = 3 AND hold IS NOT NULL",
            [],
            |row| wide(row, 0),
        )?;
        self.check.receipts = receipts;
        self.check.receipted = nano(receipted)?;
        self.check.captured = nano(captured)?;
        let mut statement = connection.prepare(
            "SELECT hex(h.id) FROM holds h
             LEFT JOIN (SELECT hold, COUNT(*) AS receipts, SUM(amount) AS amount
                        FROM receipts GROUP BY hold) r ON r.hold = h.id
             LEFT JOIN (SELECT hold, SUM(amount) AS amount
                        FROM transfers WHERE kind = 3 GROUP BY hold) t ON t.hold = h.id
             WHERE COALESCE(r.receipts, 0) <> (h.state = 1)
                OR COALESCE(r.amount, 0) <> COALESCE(t.amount, 0)",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            self.fail(format!("the capture of hold {id} and its receipt differ"));
        }
        if captured != receipted {
            self.fail(format!("captured are {captured} nano-credits, receipted {receipted}"));
        }
        Ok(())
    }

    /// The parts of each receipt sum to its amount.
    fn check_parts(&mut self, connection: &Connection) -> Result<(), BillingError> {
        #[derive(serde::Deserialize)]
        struct Share {
            amount: Nano,
        }
        let mut statement = connection.prepare("SELECT hex(id), amount, parts FROM receipts")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, amount, parts): (String, i128, String) =
                (row.get(0)?, wide(row, 1)?, row.get(2)?);
            let shares: Option<Vec<Share>> = serde_json::from_str(&parts).ok();
            let sum = shares
                .map(|shares| shares.iter().map(|share| i128::from(share.amount.as_nano())).sum());
            if sum != Some(amount) {
                self.fail(format!("the parts of receipt {id} do not sum to its amount"));
            }
        }
        Ok(())
    }

    /// Every top-up is in its wallet.
    fn check_top_ups(&mut self, connection: &Connection) -> Result<(), BillingError> {
        let mut statement =
            connection.prepare("SELECT 'wallet:' || org, SUM(amount) FROM top_ups GROUP BY org")?;
        let mut rows = statement.query([])?;
        let mut bought: BTreeMap<String, i128> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            bought.insert(row.get(0)?, wide(row, 1)?);
        }
        let differences: Vec<String> = self
            .accounts
            .values()
            .filter(|account| account.name.starts_with("wallet:"))
            .filter(|account| {
                bought.get(&account.name).copied().unwrap_or(0) != account.stored.credits_posted
            })
            .map(|account| format!("the top-ups of {} are not its credits", account.name))
            .collect();
        differences.into_iter().for_each(|difference| self.fail(difference));
        Ok(())
    }
}

impl Audited {
    fn overdraft(&self) -> Option<String> {
        let Tally { debits_posted, credits_posted, debits_held, credits_held } = self.replayed;
        if debits_held < 0 || credits_held < 0 {
            return Some(format!("it releases more than {} holds", self.name));
        }
        (self.is_limited && debits_posted.saturating_add(debits_held) > credits_posted)
            .then(|| format!("it overdraws {}", self.name))
    }
}

fn wide(row: &Row<'_>, column: usize) -> rusqlite::Result<i128> {
    row.get::<_, i64>(column).map(i128::from)
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, super::sql::Unsigned>(column).map(|count| count.0)
}

fn nano(amount: i128) -> Result<Nano, BillingError> {
    i64::try_from(amount).map(Nano::from_nano).map_err(|error| {
        BillingError::Invalid(format!("the ledger's sums do not fit 64-bit nano-credits: {error}"))
    })
}
