//! Closed months: the trial balance of each, from the transfers up to its last one.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::Connection;
use serde::Deserialize;

use super::Audit;
use crate::ledger::pricing::decimal;

/// Debits and credits by class and asset, without rows of nothing.
type TrialBalance = BTreeMap<(String, String), (i128, i128)>;

/// A closed month, as its JSON has it.
#[derive(Deserialize)]
struct Close {
    period: String,
    last_transfer: i64,
    trial_balance: Vec<Class>,
}

#[derive(Deserialize)]
struct Class {
    class: String,
    asset: String,
    debits: String,
    credits: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Document {
    Period(Close),
}

/// The closed months that the replay has not come to, in their order.
pub(super) struct Closes(VecDeque<Close>);

impl Closes {
    pub(super) fn read(audit: &mut Audit, connection: &Connection) -> rusqlite::Result<Closes> {
        let mut closes = VecDeque::new();
        let mut statement = connection
            .prepare("SELECT id, body FROM documents WHERE kind = 'period' ORDER BY id")?;
        let mut rows = statement.query([])?;
        let mut last = 0;
        while let Some(row) = rows.next()? {
            let (id, body): (String, String) = (row.get(0)?, row.get(1)?);
            match serde_json::from_str(&body) {
                Ok(Document::Period(close))
                    if close.period == id && close.last_transfer >= last =>
                {
                    last = close.last_transfer;
                    closes.push_back(close);
                }
                Ok(_) => audit.fail(format!("the close of {id} is out of order")),
                Err(error) => audit.fail(format!("the close of {id} cannot be read: {error}")),
            }
        }
        Ok(Closes(closes))
    }

    /// Compares the months that end before transfer `number` with what was replayed so far.
    pub(super) fn compare_before(&mut self, audit: &mut Audit, number: i64) {
        while self.0.front().is_some_and(|close| close.last_transfer < number) {
            if let Some(close) = self.0.pop_front() {
                audit.compare_close(&close);
            }
        }
    }

    /// Compares the rest, none of which can end after the last transfer.
    pub(super) fn finish(mut self, audit: &mut Audit, last: i64) {
        self.compare_before(audit, last.saturating_add(1));
        for close in self.0 {
            let Close { period, last_transfer, .. } = close;
            audit.fail(format!(
                "the close of {period} names transfer {last_transfer}, past the end"
            ));
        }
    }
}

impl Audit {
    fn compare_close(&mut self, close: &Close) {
        let mut replayed = TrialBalance::new();
        for account in self.accounts.iter() {
            let at = (account.class().to_owned(), account.asset.clone());
            let (debits, credits) = replayed.entry(at).or_default();
            *debits = debits.saturating_add(account.replayed.debits_posted);
            *credits = credits.saturating_add(account.replayed.credits_posted);
        }
        let amount = |text: &str| decimal(text, 9).ok().and_then(|nano| i128::try_from(nano).ok());
        let mut kept = TrialBalance::new();
        for Class { class, asset, debits, credits } in &close.trial_balance {
            let sums = (amount(debits).unwrap_or(-1), amount(credits).unwrap_or(-1));
            kept.insert((class.clone(), asset.clone()), sums);
        }
        replayed.retain(|_, sums| *sums != (0, 0));
        kept.retain(|_, sums| *sums != (0, 0));
        if replayed != kept {
            let period = &close.period;
            self.fail(format!("the books of {period} are not what its transfers come to"));
        }
    }
}
