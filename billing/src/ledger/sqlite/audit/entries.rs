//! The audit log: every entry can be read, and moved what it says.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{Audit, Line, purpose, wide};
use crate::ledger::pricing::decimal;
use crate::report::EntryAnswer;

/// What an entry may and must move.
#[derive(Debug, Default)]
struct Expected {
    /// The purposes that it may have.
    purposes: Vec<i64>,
    /// The first of them must come to this.
    amount: Option<u128>,
    /// Accounts that every transfer of the first purpose must debit and credit.
    debit: Option<String>,
    credit: Option<String>,
}

/// What refunds of each call come to, by organisation and call.
type Refunds = HashMap<(String, String), i128>;

impl Audit {
    pub(super) fn check_entries(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut refunds = Refunds::new();
        let mut last = 0_i64;
        let mut statement = connection.prepare(
            "SELECT number, op, length(digest), act, answer FROM entries ORDER BY number",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            if last.checked_add(1) != Some(number) {
                self.fail(format!("the entries have a gap before number {number}"));
            }
            last = number;
            if row.get::<_, i64>(2)? != 32 {
                self.fail(format!("the digest of entry {number} is none"));
            }
            let (act, answer): (String, String) = (row.get(3)?, row.get(4)?);
            let moved = self.moved.remove(&number).unwrap_or_default();
            if let Err(what) = self.check_entry((&act, &answer), &moved, &mut refunds) {
                let op: String = row.get(1)?;
                self.fail(format!("entry {number} (`{op}`): {what}"));
            }
        }
        let mut statement = connection
            .prepare("SELECT op FROM entries NOT INDEXED GROUP BY op HAVING COUNT(*) > 1")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let op: String = row.get(0)?;
            self.fail(format!("operation id `{op}` was used more than once"));
        }
        self.check_refunds(connection, refunds)
    }

    fn check_entry(
        &self,
        (act, answer): (&str, &str),
        moved: &[Line],
        refunds: &mut Refunds,
    ) -> Result<(), String> {
        let unreadable = |error: serde_json::Error| format!("it cannot be read: {error}");
        serde_json::from_str::<EntryAnswer>(answer).map_err(unreadable)?;
        let answer: Value = serde_json::from_str(answer).map_err(unreadable)?;
        let act: Value = serde_json::from_str(act).map_err(unreadable)?;
        let expected = expected(&act, &answer)?;
        if let Some(line) = moved.iter().find(|line| !expected.purposes.contains(&line.purpose)) {
            return Err(format!("its transfer {} has purpose {}", line.number, line.purpose));
        }
        let Some(first) = expected.purposes.first() else { return Ok(()) };
        let own = || moved.iter().filter(|line| line.purpose == *first);
        let sum = own().fold(0_i128, |sum, line| sum.saturating_add(line.amount));
        if let Some(amount) = expected.amount
            && i128::try_from(amount).ok() != Some(sum)
        {
            return Err(format!("it says {amount} nano, its transfers are {sum}"));
        }
        let sides = own().flat_map(|line| {
            [(line, line.debit, &expected.debit), (line, line.credit, &expected.credit)]
        });
        for (line, account, expected) in sides {
            let name = self.accounts.get(account).map_or("?", |account| &account.name);
            if expected.as_ref().is_some_and(|expected| expected != name) {
                return Err(format!("its transfer {} is on {name}", line.number));
            }
        }
        if let Some(refund) = act.pointer("/order").filter(|order| order["kind"] == "refund") {
            let of = |field: &str| refund[field].as_str().unwrap_or_default().to_owned();
            let refunded = refunds.entry((of("org"), of("call"))).or_default();
            *refunded = refunded.saturating_add(sum);
        }
        Ok(())
    }

    /// No call was given back more than it was charged.
    fn check_refunds(&mut self, connection: &Connection, refunds: Refunds) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT COALESCE(c.amount, 0) FROM calls c JOIN names o ON o.id = c.org
             WHERE o.name = ?1 AND c.call = ?2",
        )?;
        for ((org, call), refunded) in refunds.into_iter().filter(|(_, sum)| *sum > 0) {
            let id = uuid::Uuid::try_parse(&call).unwrap_or_default().into_bytes();
            let charged = statement.query_row(params![org, id], |row| wide(row, 0)).optional()?;
            if charged.is_none_or(|charged| refunded > charged) {
                self.fail(format!(
                    "call {call} was refunded {refunded} nano, more than its charge"
                ));
            }
        }
        Ok(())
    }
}

/// What an act moves by what it says and by what it was answered.
fn expected(act: &Value, answer: &Value) -> Result<Expected, String> {
    if answer.get("done").is_none() {
        return Ok(Expected::default());
    }
    let (act, is_order) = match (act.get("order"), act.get("system")) {
        (Some(order), _) => (order, true),
        (_, Some(system)) => (system, false),
        _ => return Err("it is neither an order nor an act of the ledger".to_owned()),
    };
    let text = |field: &str| act[field].as_str().unwrap_or_default();
    let amount = |text: &str| decimal(text.trim_start_matches('-'), 9).map(Some);
    let cash = || Some(format!("cash:{}", text("rail")));
    let of_org = |class: &str| Some(format!("{class}:{}", text("org")));
    let only = |purpose: i64| Expected { purposes: vec![purpose], ..Expected::default() };
    Ok(match (is_order, text("kind")) {
        (true, "top_up") => Expected {
            purposes: vec![purpose::TOP_UP, purpose::SETTLEMENT],
            amount: amount(text("amount"))?,
            debit: cash(),
            credit: of_org("wallet"),
        },
        (true, "chargeback") => Expected {
            amount: amount(text("amount"))?,
            credit: cash(),
            ..only(purpose::CHARGEBACK)
        },
        (true, "grant") => Expected { amount: amount(text("amount"))?, ..only(purpose::GRANT) },
        (true, "refund") => {
            let refunded = answer["done"]["refunded"]["amount"].as_str().unwrap_or_default();
            Expected {
                purposes: vec![purpose::REFUND, purpose::SETTLEMENT],
                amount: amount(refunded)?,
                ..Expected::default()
            }
        }
        (true, "adjust") => Expected {
            purposes: vec![purpose::ADJUSTMENT, purpose::SETTLEMENT],
            amount: amount(text("amount"))?,
            ..Expected::default()
        },
        (true, "payout") => Expected {
            amount: amount(text("amount"))?,
            debit: of_org("payable"),
            credit: cash(),
            ..only(purpose::PAYOUT)
        },
        (true, "set_budget") | (false, "open_window") => only(purpose::BUDGET_LIMIT),
        (false, "expire_lot") => Expected {
            debit: Some(format!("lot:{}", act["lot"])),
            credit: Some("breakage".to_owned()),
            ..only(purpose::BREAKAGE)
        },
        (false, "free_tier") => only(purpose::GRANT),
        _ => Expected::default(),
    })
}
