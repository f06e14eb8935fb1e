//! Accounts: their counters as stored, and as the journal and the open holds give them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use rusqlite::Connection;

use super::{Audit, nano, wide};
use crate::error::BillingError;

/// An account's row, and what its counters should be.
#[derive(Debug)]
pub(super) struct Audited {
    pub(super) name: String,
    pub(super) asset: String,
    pub(super) is_limited: bool,
    pub(super) stored: Tally,
    pub(super) replayed: Tally,
}

/// Debits and credits, posted and held, in nano-credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) debits_posted: i128,
    pub(super) credits_posted: i128,
    pub(super) debits_held: i128,
    pub(super) credits_held: i128,
}

/// All accounts, by number and by name.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// The account with number n stands at n - 1.
    all: Vec<Audited>,
    by_name: HashMap<String, usize>,
}

impl Accounts {
    fn place(number: i64) -> Option<usize> {
        usize::try_from(number).ok()?.checked_sub(1)
    }

    pub(super) fn get(&self, number: i64) -> Option<&Audited> {
        self.all.get(Accounts::place(number)?)
    }

    pub(super) fn get_mut(&mut self, number: i64) -> Option<&mut Audited> {
        self.all.get_mut(Accounts::place(number)?)
    }

    pub(super) fn named(&mut self, name: &str) -> Option<&mut Audited> {
        let place = *self.by_name.get(name)?;
        self.all.get_mut(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Audited> {
        self.all.iter()
    }
}

impl Audited {
    /// The class that a trial balance sums it in.
    pub(super) fn class(&self) -> &str {
        match self.name.split_once(':') {
            Some(("cash", _)) | None => &self.name,
            Some((class, _)) => class,
        }
    }

    /// How a limited account is overdrawn by what was posted, if it is.
    pub(super) fn overdraft(&self) -> Option<String> {
        let Tally { debits_posted, credits_posted, .. } = self.replayed;
        (self.is_limited && debits_posted > credits_posted).then(|| {
            format!("{} is overdrawn: {debits_posted} of {credits_posted} nano", self.name)
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { debits_posted, credits_posted, debits_held, credits_held } = self;
        write!(
            f,
            "{debits_posted} debits, {credits_posted} credits, {debits_held} debits held, \
             {credits_held} credits held"
        )
    }
}

impl Audit {
    pub(super) fn read_accounts(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT number, name, asset, debits_must_not_exceed_credits,
                    debits_posted, credits_posted, debits_held, credits_held
             FROM accounts ORDER BY number",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let stored = Tally {
                debits_posted: wide(row, 4)?,
                credits_posted: wide(row, 5)?,
                debits_held: wide(row, 6)?,
                credits_held: wide(row, 7)?,
            };
            let (name, asset, flagged): (String, String, bool) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            // An account is limited by what it is, whatever its row says.
            let class = name.split_once(':').map_or("", |(class, _)| class);
            let is_limited = matches!(class, "wallet" | "lot" | "budget");
            if is_limited != flagged {
                self.fail(format!("{name} has the wrong limit"));
            }
            if (class == "budget" || class == "budgets") != (asset == "budget") {
                self.fail(format!("{name} counts the wrong asset"));
            }
            let place = self.accounts.all.len();
            let number = place.checked_add(1).and_then(|number| i64::try_from(number).ok());
            if number != Some(row.get(0)?) {
                self.fail(format!("the numbers of accounts have a gap before {name}"));
                break;
            }
            self.accounts.by_name.insert(name.clone(), place);
            let replayed = Tally::default();
            self.accounts.all.push(Audited { name, asset, is_limited, stored, replayed });
        }
        self.check.accounts = u64::try_from(self.accounts.all.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Counters must be what the journal and the open holds say.
    pub(super) fn compare_accounts(&mut self) {
        let mut differences = Vec::new();
        for account in self.accounts.iter() {
            let Audited { name, stored, replayed, is_limited, .. } = account;
            if stored != replayed {
                differences.push(format!(
                    "{name} is stored with {stored}; its transfers and holds give {replayed}"
                ));
            }
            let spent = replayed.debits_posted.saturating_add(replayed.debits_held);
            if *is_limited && spent > replayed.credits_posted {
                differences.push(format!("{name} is overdrawn with what is held"));
            }
        }
        differences.into_iter().for_each(|difference| self.fail(difference));
    }

    /// Debits equal credits, posted and held, per asset.
    pub(super) fn check_sums(&mut self) -> Result<(), BillingError> {
        let mut sums: BTreeMap<String, Tally> = BTreeMap::new();
        for account in self.accounts.iter() {
            let sum = sums.entry(account.asset.clone()).or_default();
            let Tally { debits_posted, credits_posted, debits_held, credits_held } = account.stored;
            sum.debits_posted = sum.debits_posted.saturating_add(debits_posted);
            sum.credits_posted = sum.credits_posted.saturating_add(credits_posted);
            sum.debits_held = sum.debits_held.saturating_add(debits_held);
            sum.credits_held = sum.credits_held.saturating_add(credits_held);
        }
        for (asset, sum) in &sums {
            if sum.debits_posted != sum.credits_posted || sum.debits_held != sum.credits_held {
                self.fail(format!("debits and credits of asset `{asset}` differ: {sum}"));
            }
        }
        let sum = sums.get("credit").copied().unwrap_or_default();
        self.check.debits = nano(sum.debits_posted)?;
        self.check.credits = nano(sum.credits_posted)?;
        self.check.held = nano(sum.debits_held)?;
        Ok(())
    }
}
