//! Open holds: what they set aside is what is held.

use rusqlite::Connection;

use super::{Audit, call_text, wide};

/// The budgets in a hold's pinned terms; the rest of them is of no interest here.
#[derive(serde::Deserialize)]
struct Pinned {
    #[serde(default)]
    budgets: Vec<u64>,
}

impl Audit {
    /// Sets aside what each open hold sets aside: lots first, the rest in the wallet, and the
    /// whole amount in each budget.
    pub(super) fn check_holds(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT h.call, h.org, h.amount, h.lots, h.pinned,
                    EXISTS (SELECT 1 FROM calls c WHERE c.org = h.org AND c.call = h.call)
             FROM holds h",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let call = call_text(&row.get::<_, Vec<u8>>(0)?);
            self.check.holds_open = self.check.holds_open.saturating_add(1);
            if row.get(5)? {
                self.fail(format!("call {call} is open and has ended"));
            }
            let org: i64 = row.get(1)?;
            let wallet = format!("wallet:{}", self.name(org));
            let amount = wide(row, 2)?;
            let lots = row.get::<_, Option<String>>(3)?.unwrap_or_else(|| "[]".to_owned());
            let lots: Option<Vec<(u64, i64)>> = serde_json::from_str(&lots).ok();
            let budgets = self.budgets(row.get(4)?);
            let (Some(lots), Some(budgets)) = (lots, budgets) else {
                self.fail(format!("the hold of call {call} cannot be read"));
                continue;
            };
            let mut left = amount;
            for (lot, held) in lots {
                left = left.saturating_sub(i128::from(held));
                self.hold((&format!("lot:{lot}"), "clearing"), i128::from(held), &call);
            }
            self.hold((&wallet, "clearing"), left, &call);
            for budget in budgets {
                let clearing = format!("budgets:{budget}");
                self.hold((&format!("budget:{budget}"), &clearing), amount, &call);
            }
        }
        Ok(())
    }

    fn budgets(&self, pinned: i64) -> Option<Vec<u64>> {
        match pinned {
            0 => Some(Vec::new()),
            pinned => {
                let pinned: Pinned = serde_json::from_str(self.names.get(&pinned)?).ok()?;
                Some(pinned.budgets)
            }
        }
    }

    fn hold(&mut self, (debit, credit): (&str, &str), amount: i128, call: &str) {
        if amount < 0 {
            self.fail(format!("the hold of call {call} sets {amount} nano aside in {debit}"));
        }
        if amount == 0 {
            return;
        }
        match self.accounts.named(debit) {
            Some(account) => {
                let held = &mut account.replayed.debits_held;
                *held = held.saturating_add(amount);
            }
            None => self.fail(format!("the hold of call {call} is on {debit}, which is missing")),
        }
        if let Some(account) = self.accounts.named(credit) {
            let held = &mut account.replayed.credits_held;
            *held = held.saturating_add(amount);
        }
    }
}
