//! Top-ups of version 1 as entries: under the operation id that asked for them, where it is found.

use std::collections::HashMap;

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::account::{Account, Transfer};
use crate::ids::{OpId, OrgId};
use crate::ledger::sqlite::values::{Json, Unsigned, unreadable};
use crate::ledger::store::EntryRow;
use crate::money::Nano;
use crate::operation::digest;
use crate::order::{Act, Outcome, Payment};
use crate::report::{Balance, EntryAct, EntryAnswer};

/// The top-ups that have no transfer yet, and the operations that asked for them.
pub(super) struct TopUps {
    waiting: HashMap<(OrgId, Nano, u64), Vec<TopUp>>,
    operations: HashMap<u64, Vec<Operation>>,
    /// What each organisation had bought and not spent; for answers that are not found.
    entries: u64,
}

struct TopUp {
    id: Uuid,
    note: String,
}

struct Operation {
    op: String,
    payload: Vec<u8>,
    balance: OldBalance,
}

/// An answer of version 1.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OldAnswer {
    ToppedUp(OldBalance),
    #[serde(untagged)]
    Other(serde::de::IgnoredAny),
}

#[derive(Clone, Copy, Default, Deserialize)]
struct OldBalance {
    posted: Nano,
    held: Nano,
    available: Nano,
}

impl TopUps {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<TopUps> {
        let mut top_ups =
            TopUps { waiting: HashMap::new(), operations: HashMap::new(), entries: 0 };
        let mut statement = connection
            .prepare("SELECT id, org, amount, note, at_ms FROM v1_top_ups ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = Uuid::from_bytes(row.get(0)?);
            let at = (row.get(1)?, row.get(2)?, row.get::<_, Unsigned>(4)?.0);
            top_ups.waiting.entry(at).or_default().push(TopUp { id, note: row.get(3)? });
        }
        let mut statement = connection
            .prepare("SELECT op, payload, answer, at_ms FROM v1_operations ORDER BY op")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Json(answer) = row.get(2)?;
            let OldAnswer::ToppedUp(balance) = answer else { continue };
            let operation = Operation { op: row.get(0)?, payload: row.get(1)?, balance };
            top_ups.operations.entry(row.get::<_, Unsigned>(3)?.0).or_default().push(operation);
        }
        Ok(top_ups)
    }

    /// The entry of a transfer that no hold made.
    pub(super) fn entry(
        &mut self,
        transfer: &Transfer,
        at_ms: u64,
        number: u64,
    ) -> rusqlite::Result<EntryRow> {
        let Account::Wallet(org) = &transfer.credit else {
            return Err(unreadable("a transfer of no hold is no top-up"));
        };
        let same = self.waiting.get_mut(&(org.clone(), transfer.amount, at_ms));
        let Some(top_up) = same.filter(|same| !same.is_empty()).map(|same| same.remove(0)) else {
            return Err(unreadable("a transfer of no hold has no top-up"));
        };
        let asked = self.operation(&top_up, (org, transfer.amount), at_ms);
        let (op, balance) = asked
            .map(|asked| (asked.op, asked.balance))
            .unwrap_or_else(|| (format!("v1-{}", top_up.id), OldBalance::default()));
        let act = Act::TopUp(Payment {
            org: org.clone(),
            amount: transfer.amount,
            rail: "operator".to_owned(),
            reference: None,
            note: top_up.note,
        });
        let OldBalance { posted, held, available } = balance;
        let balance = Balance { posted, held, available, owed: Nano::ZERO };
        self.entries = self.entries.saturating_add(1);
        Ok(EntryRow {
            number: self.entries,
            op: OpId::new(op).map_err(|error| unreadable(&error.to_string()))?,
            by: "operator".to_owned(),
            org: Some(org.clone()),
            digest: digest(&act).map_err(|error| unreadable(&error.to_string()))?,
            act: EntryAct::Order(act),
            answer: EntryAnswer::Done(Outcome::Balance(balance)),
            transfers: (number, 1),
        })
    }

    /// The operation whose payload was this top-up. Version 1 kept a digest of it.
    fn operation(
        &mut self,
        top_up: &TopUp,
        (org, amount): (&OrgId, Nano),
        at_ms: u64,
    ) -> Option<Operation> {
        let operations = self.operations.get_mut(&at_ms)?;
        let asked = |operation: &Operation| {
            let fields = (&operation.op, org, amount, &top_up.note);
            payload(fields).is_some_and(|payload| payload[..] == operation.payload[..])
        };
        let at = operations.iter().position(asked)?;
        Some(operations.remove(at))
    }

    /// Every top-up must have found its transfer.
    pub(super) fn finish(self) -> rusqlite::Result<()> {
        match self.waiting.values().all(Vec::is_empty) {
            true => Ok(()),
            false => Err(unreadable("a top-up has no transfer")),
        }
    }
}

/// The digest that version 1 kept of a top-up: of its fields as JSON, in this order.
fn payload((op, org, amount, note): (&String, &OrgId, Nano, &String)) -> Option<[u8; 32]> {
    let quoted = |value: serde_json::Value| serde_json::to_string(&value).ok();
    let json = format!(
        r#"{{"TopUp":{{"op":{},"org":{},"amount":{},"note":{}}}}}"#,
        quoted(json!(op))?,
        quoted(json!(org))?,
        quoted(json!(amount))?,
        quoted(json!(note))?,
    );
    Some(Sha256::digest(json).into())
}
