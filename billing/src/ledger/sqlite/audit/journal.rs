//! The journal: every transfer once, in its order, with the call or entry that it belongs to.

use rusqlite::{Connection, Row, Rows};

use super::periods::Closes;
use super::{Audit, Line, call_text, purpose, wide};

/// A call or an entry, and the transfers that it names.
struct Owner {
    first: i64,
    /// The number after its last transfer.
    end: i64,
    kind: Kind,
    seen: i64,
    /// What its parts of a charge come to.
    parts: i128,
    touched: Vec<i64>,
}

enum Kind {
    Call { call: Vec<u8>, amount: i128 },
    Entry(i64),
}

impl Owner {
    fn of(row: &Row<'_>) -> rusqlite::Result<Owner> {
        let (first, count): (i64, i64) = (row.get(0)?, row.get(1)?);
        let kind = match row.get(2)? {
            Some(call) => Kind::Call { call, amount: wide(row, 3)? },
            None => Kind::Entry(row.get(4)?),
        };
        let end = first.saturating_add(count);
        Ok(Owner { first, end, kind, seen: 0, parts: 0, touched: Vec::new() })
    }

    fn label(&self) -> String {
        match &self.kind {
            Kind::Call { call, .. } => format!("call {}", call_text(call)),
            Kind::Entry(number) => format!("entry {number}"),
        }
    }
}

/// Owners in the order of their first transfers.
struct Owners<'a> {
    rows: Rows<'a>,
    current: Option<Owner>,
}

impl Owners<'_> {
    fn advance(&mut self) -> rusqlite::Result<Option<Owner>> {
        let next = self.rows.next()?.map(Owner::of).transpose()?;
        Ok(std::mem::replace(&mut self.current, next))
    }
}

impl Audit {
    /// Replays every transfer, and looks at the accounts after each call and entry.
    pub(super) fn replay(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut closes = Closes::read(self, connection)?;
        let mut owners = connection.prepare(
            "SELECT first_transfer, transfers, call, COALESCE(amount, 0), 0 FROM calls
             WHERE transfers > 0
             UNION ALL SELECT first_transfer, transfers, NULL, 0, number FROM entries
             WHERE transfers > 0 ORDER BY 1, 2",
        )?;
        let mut owners = Owners { rows: owners.query([])?, current: None };
        owners.advance()?;
        let mut statement = connection
            .prepare("SELECT number, purpose, debit, credit, amount FROM transfers ORDER BY 1")?;
        let mut rows = statement.query([])?;
        let mut last = 0_i64;
        while let Some(row) = rows.next()? {
            let line = Line {
                number: row.get(0)?,
                purpose: row.get(1)?,
                debit: row.get(2)?,
                credit: row.get(3)?,
                amount: wide(row, 4)?,
            };
            if last.checked_add(1) != Some(line.number) {
                self.fail(format!("the transfers have a gap before number {}", line.number));
            }
            last = line.number;
            closes.compare_before(self, line.number);
            self.finish_owners(&mut owners, line.number)?;
            self.attribute(&mut owners, &line);
            self.replay_line(&line);
            self.check.transfers = self.check.transfers.saturating_add(1);
        }
        self.finish_owners(&mut owners, i64::MAX)?;
        closes.finish(self, last);
        self.check_batches(connection)
    }

    /// Takes leave of the owners whose transfers end before `number`.
    fn finish_owners(&mut self, owners: &mut Owners<'_>, number: i64) -> rusqlite::Result<()> {
        while owners.current.as_ref().is_some_and(|owner| owner.end <= number) {
            let Some(owner) = owners.advance()? else { break };
            self.finish_owner(&owner);
            if let Some(next) = owners.current.as_ref().filter(|next| next.first < owner.end) {
                let (label, next) = (owner.label(), next.label());
                self.fail(format!("{label} and {next} name the same transfers"));
            }
        }
        Ok(())
    }

    fn finish_owner(&mut self, owner: &Owner) {
        if owner.first.checked_add(owner.seen) != Some(owner.end) {
            self.fail(format!("{} names transfers that are not its own", owner.label()));
        }
        if let Kind::Call { amount, .. } = &owner.kind
            && *amount != owner.parts
        {
            let (label, parts) = (owner.label(), owner.parts);
            self.fail(format!("{label} is charged {amount} nano, its transfers are {parts}"));
        }
        for account in &owner.touched {
            let overdraft = self.accounts.get(*account).and_then(|account| account.overdraft());
            if let Some(overdraft) = overdraft {
                self.fail(format!("after {}, {overdraft}", owner.label()));
            }
        }
    }

    fn attribute(&mut self, owners: &mut Owners<'_>, line: &Line) {
        let own = |owner: &&mut Owner| (owner.first..owner.end).contains(&line.number);
        let Some(owner) = owners.current.as_mut().filter(own) else {
            self.fail(format!("transfer {} belongs to no call and no entry", line.number));
            return;
        };
        owner.seen = owner.seen.saturating_add(1);
        for account in [line.debit, line.credit] {
            if !owner.touched.contains(&account) {
                owner.touched.push(account);
            }
        }
        match &owner.kind {
            Kind::Call { .. } if purpose::PARTS.contains(&line.purpose) => {
                owner.parts = owner.parts.saturating_add(line.amount);
                self.captured = self.captured.saturating_add(line.amount);
            }
            Kind::Call { .. }
                if ![purpose::BUDGET_SPENT, purpose::SETTLEMENT].contains(&line.purpose) =>
            {
                let (number, label) = (line.number, owner.label());
                self.fail(format!("transfer {number} of {label} has purpose {}", line.purpose));
            }
            Kind::Call { .. } => {}
            Kind::Entry(number) => self.moved.entry(*number).or_default().push(line.clone()),
        }
    }

    fn replay_line(&mut self, line: &Line) {
        if let Err(what) = self.post(line) {
            self.fail(format!("transfer {}: {what}", line.number));
        }
        let author_or_other = (purpose::AUTHOR..=purpose::PROVIDER).contains(&line.purpose);
        let (account, amount) = match line.purpose {
            _ if author_or_other => (line.credit, line.amount),
            purpose::REFUND => (line.debit, line.amount.saturating_neg()),
            _ => return,
        };
        let name = self.accounts.get(account).map(|account| account.name.clone());
        match name.as_deref().and_then(|name| name.strip_prefix("payable:")) {
            Some(org) => {
                let earned = self.earned.entry(org.to_owned()).or_default();
                *earned = earned.saturating_add(amount);
            }
            None if author_or_other => {
                self.fail(format!("transfer {} pays a party's part to no payable", line.number));
            }
            None => {}
        }
    }

    fn post(&mut self, line: &Line) -> Result<(), String> {
        let asset = |number| self.accounts.get(number).map(|account| account.asset.as_str());
        match (asset(line.debit), asset(line.credit)) {
            (Some(debit), Some(credit)) if debit == credit => {}
            (Some(_), Some(_)) => return Err("its accounts have different assets".to_owned()),
            _ => return Err("one of its accounts does not exist".to_owned()),
        }
        if line.amount <= 0 || line.debit == line.credit {
            return Err(format!("it moves {} nano to itself or backwards", line.amount));
        }
        if !(*purpose::PARTS.start()..=purpose::BUDGET_LIMIT).contains(&line.purpose) {
            return Err(format!("its purpose is {}", line.purpose));
        }
        if let Some(debit) = self.accounts.get_mut(line.debit) {
            let posted = &mut debit.replayed.debits_posted;
            *posted = posted.saturating_add(line.amount);
        }
        if let Some(credit) = self.accounts.get_mut(line.credit) {
            let posted = &mut credit.replayed.credits_posted;
            *posted = posted.saturating_add(line.amount);
        }
        Ok(())
    }

    /// The time of batches never runs backwards, and the first transfer has one.
    fn check_batches(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let (first, backwards): (Option<i64>, i64) = connection.query_row(
            "SELECT (SELECT MIN(first_transfer) FROM batches),
                    (SELECT COUNT(*) FROM (
                        SELECT at_ms < LAG(at_ms) OVER (ORDER BY first_transfer) AS backwards
                        FROM batches) WHERE backwards)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if backwards > 0 {
            self.fail("the times of batches run backwards".to_owned());
        }
        if self.check.transfers > 0 && first != Some(1) {
            self.fail("the first transfers have no time".to_owned());
        }
        Ok(())
    }
}
