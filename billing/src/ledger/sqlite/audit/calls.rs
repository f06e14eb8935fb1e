//! Ended calls: each charge computed again, and the sums of usage and earnings added up again.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Row};

use super::{Audit, call_text, nano, wide};
use crate::error::BillingError;
use crate::ledger::pricing::{Book, Charged, Pinned, is_model};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Calls and their cost, by organisation and day.
type Days = BTreeMap<(i64, i64), (i128, i128)>;

/// What is needed to compute charges again.
#[derive(Default)]
struct Prices {
    books: HashMap<i64, Book>,
    pinned: HashMap<i64, Pinned>,
    subjects: HashMap<i64, bool>,
}

impl Audit {
    pub(super) fn check_calls(&mut self, connection: &Connection) -> Result<(), BillingError> {
        let mut prices = Prices { books: self.books(connection)?, ..Prices::default() };
        let mut days = Days::new();
        let mut receipted = 0_i128;
        let mut statement = connection.prepare(
            "SELECT call, org, end, key, subject, held, amount, price_version, pinned, usage,
                    ending, ended_at_ms, transfers
             FROM calls",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if ![1, 7].contains(&row.get::<_, i64>(2)?) {
                continue;
            }
            let amount = wide(row, 6)?;
            receipted = receipted.saturating_add(amount);
            self.check.captures = self.check.captures.saturating_add(1);
            let day = row.get::<_, i64>(11)?.checked_div(DAY_MS).unwrap_or(0);
            let (calls, cost) = days.entry((row.get(1)?, day)).or_default();
            *calls = calls.saturating_add(1);
            *cost = cost.saturating_add(amount);
            if let Err(what) = self.check_charge(&mut prices, row, amount)? {
                let call = call_text(&row.get::<_, Vec<u8>>(0)?);
                self.fail(format!("call {call}: {what}"));
            }
        }
        self.check.receipts = self.check.captures;
        self.check.receipted = nano(receipted)?;
        self.check.captured = nano(self.captured)?;
        if self.captured != receipted {
            let captured = self.captured;
            self.fail(format!("calls moved {captured} nano, their receipts sum to {receipted}"));
        }
        Ok(self.check_usage(connection, days)?)
    }

    fn books(&mut self, connection: &Connection) -> rusqlite::Result<HashMap<i64, Book>> {
        let mut books = HashMap::new();
        let mut statement = connection.prepare("SELECT version, book FROM price_books")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (version, book): (i64, String) = (row.get(0)?, row.get(1)?);
            match serde_json::from_str(&book) {
                Ok(book) => drop(books.insert(version, book)),
                Err(error) => self.fail(format!("price book {version} cannot be read: {error}")),
            }
        }
        Ok(books)
    }

    /// The charge must be what the pinned prices give for the usage, to the nano.
    fn check_charge(
        &self,
        prices: &mut Prices,
        row: &Row<'_>,
        amount: i128,
    ) -> rusqlite::Result<Result<(), String>> {
        let (org, subject, pinned): (i64, i64, i64) = (row.get(1)?, row.get(4)?, row.get(8)?);
        let (usage, ending, version) =
            (row.get::<_, String>(9)?, row.get(10)?, row.get::<_, i64>(7)?);
        let (held, transfers) = (wide(row, 5)?, row.get::<_, i64>(12)?);
        let mut check = || {
            if (amount > 0) != (transfers > 0) {
                return Err(format!("it is charged {amount} nano with {transfers} transfers"));
            }
            let org = self.names.get(&org).ok_or("its organisation has no name")?;
            let usage: Vec<(i64, i64, u64)> = serde_json::from_str(&usage)
                .map_err(|error| format!("its usage cannot be read: {error}"))?;
            let is_model = prices.is_model(subject, &self.names)?;
            prices.read_pinned(pinned, &self.names)?;
            let book = prices.books.get(&version).ok_or("its prices are missing")?;
            let none = Pinned::default();
            let pinned = prices.pinned.get(&pinned).unwrap_or(&none);
            let call = Charged { org, is_model, ending, usage: &usage, pinned, held };
            let cost = book.cost(&call, &self.names)?;
            match cost == amount {
                true => Ok(()),
                false => Err(format!("it is charged {amount} nano, its usage costs {cost}")),
            }
        };
        Ok(check())
    }

    /// The sums of usage by day are the receipts of the day.
    fn check_usage(&mut self, connection: &Connection, mut days: Days) -> rusqlite::Result<()> {
        let mut statement = connection
            .prepare("SELECT org, day, SUM(calls), SUM(cost) FROM usage_days GROUP BY org, day")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (org, day): (i64, i64) = (row.get(0)?, row.get(1)?);
            let kept = (wide(row, 2)?, wide(row, 3)?);
            let receipts = days.remove(&(org, day)).unwrap_or_default();
            if kept != receipts {
                let org = self.name(org);
                self.fail(format!(
                    "the usage of {org} on day {day} is kept as {} calls and {} nano, its receipts \
                     are {} and {}",
                    kept.0, kept.1, receipts.0, receipts.1
                ));
            }
        }
        for ((org, day), (calls, _)) in days {
            let org = self.name(org);
            self.fail(format!("the usage of {org} on day {day} lacks all {calls} calls"));
        }
        Ok(())
    }

    /// The sums of earnings are what was transferred to payables less what was refunded from
    /// them.
    pub(super) fn check_earnings(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement =
            connection.prepare("SELECT org, SUM(amount) FROM earnings_days GROUP BY org")?;
        let mut rows = statement.query([])?;
        let mut kept: BTreeMap<String, i128> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let org = row.get(0)?;
            kept.insert(self.name(org), wide(row, 1)?);
        }
        let earned = std::mem::take(&mut self.earned);
        for (org, amount) in &earned {
            let kept = kept.remove(org).unwrap_or(0);
            if kept != *amount {
                self.fail(format!(
                    "the earnings of {org} are kept as {kept} nano, its transfers are {amount}"
                ));
            }
        }
        for (org, amount) in kept.into_iter().filter(|(_, amount)| *amount != 0) {
            self.fail(format!("the earnings of {org}, {amount} nano, have no transfers"));
        }
        Ok(())
    }
}

impl Prices {
    fn is_model(&mut self, subject: i64, names: &HashMap<i64, String>) -> Result<bool, String> {
        if let Some(known) = self.subjects.get(&subject) {
            return Ok(*known);
        }
        let json = names.get(&subject).ok_or("its subject has no name")?;
        let is_model = is_model(json)?;
        self.subjects.insert(subject, is_model);
        Ok(is_model)
    }

    fn read_pinned(&mut self, pinned: i64, names: &HashMap<i64, String>) -> Result<(), String> {
        if pinned == 0 || self.pinned.contains_key(&pinned) {
            return Ok(());
        }
        let json = names.get(&pinned).ok_or("its pinned terms are missing")?;
        let read = serde_json::from_str(json)
            .map_err(|error| format!("its pinned terms cannot be read: {error}"))?;
        self.pinned.insert(pinned, read);
        Ok(())
    }
}
