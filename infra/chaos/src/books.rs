//! What must be true, from what clients saw: kept from round to round, in memory, apart from the
//! server.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::record::{Call, Caller, Outcome, Record, Subject, TopUp};

/// The ledger's time and ours are of one clock, but read one after the other.
const CLOCK_SLACK_MS: u64 = 5;

/// A receipt, as the server tells it.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    /// Its id.
    pub(crate) id: String,
    /// The key that paid.
    pub(crate) key: String,
    /// What was called.
    pub(crate) subject: Subject,
    /// Nano-credits.
    pub(crate) amount: i64,
    /// When it was written, in milliseconds since 1970.
    pub(crate) created_at_ms: u64,
}

/// One organisation.
#[derive(Debug)]
pub(crate) struct Org {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its owner's key.
    pub(crate) owner: String,
    /// Everything topped up, each operation once.
    pub(crate) topped_up: i64,
    /// Amounts of all receipts by id.
    pub(crate) receipts: HashMap<String, i64>,
    /// Their sum.
    pub(crate) spent: i64,
}

/// How many calls a key made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calls {
    /// Those of whose answers bytes arrived: their holds must be kept.
    pub(crate) begun: u64,
    /// All.
    pub(crate) sent: u64,
}

/// Everything that must be true.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The organisations: the rich one first.
    pub(crate) orgs: Vec<Org>,
    /// Who calls.
    pub(crate) callers: Vec<Caller>,
    /// Ids of all keys that were shown, which belong to the rich organisation.
    pub(crate) keys: BTreeSet<String>,
    /// The newest acknowledged price version.
    pub(crate) price_version: u64,
    /// Calls by key.
    pub(crate) calls: BTreeMap<String, Calls>,
}

impl Books {
    /// Enters what was seen in a round, except for receipts and top-ups without an answer.
    pub(crate) fn enter(&mut self, record: &Record) {
        for top_up in record.top_ups.iter().filter(|top_up| top_up.acknowledged) {
            self.enter_top_up(top_up);
        }
        self.keys.extend(record.keys.iter().cloned());
        self.price_version = self.price_version.max(record.price_version);
        for call in &record.calls {
            let calls = self.calls.entry(call.key.clone()).or_default();
            calls.sent += 1;
            let begun = match &call.outcome {
                Outcome::Receipted { .. } | Outcome::Answered => true,
                Outcome::Unknown { begun } => *begun,
                Outcome::Refused => false,
            };
            calls.begun += u64::from(begun);
        }
    }

    /// Enters a top-up that was made.
    pub(crate) fn enter_top_up(&mut self, top_up: &TopUp) {
        if let Some(org) = self.orgs.get_mut(top_up.org) {
            org.topped_up += top_up.amount;
        }
    }
}

impl Org {
    /// Compares the receipts that a round added with the calls of that round, enters them, and
    /// returns what is broken, in sentences.
    pub(crate) fn settle(&mut self, calls: &[&Call], new: Vec<Receipt>) -> Vec<String> {
        let mut broken = Vec::new();
        for receipt in &new {
            self.spent += receipt.amount;
            if self.receipts.insert(receipt.id.clone(), receipt.amount).is_some() {
                broken.push(format!("receipt {} is told twice", receipt.id));
            }
        }
        let rest = named(calls, new, &mut broken);
        broken.extend(unnamed(calls, rest));
        broken
    }
}

/// Compares the receipts that clients were told by id; returns the others.
fn named(calls: &[&Call], new: Vec<Receipt>, broken: &mut Vec<String>) -> Vec<Receipt> {
    let mut rest: BTreeMap<String, Receipt> =
        new.into_iter().map(|receipt| (receipt.id.clone(), receipt)).collect();
    for call in calls {
        let Outcome::Receipted { receipt: id, amount } = &call.outcome else { continue };
        match rest.remove(id) {
            None => broken.push(format!(
                "LOST: receipt {id} of {amount} nano for key {} was acknowledged and is not there \
                 (or was told to two calls)",
                call.key
            )),
            Some(kept) if kept.amount != *amount => broken.push(format!(
                "receipt {id} was acknowledged as {amount} nano and is {}",
                kept.amount
            )),
            Some(kept) if kept.key != call.key || kept.subject != call.subject => broken
                .push(format!("receipt {id} was acknowledged to key {} and is {kept:?}", call.key)),
            Some(_) => {}
        }
    }
    rest.into_values().collect()
}

/// Finds a call for each receipt whose id no client was told: first for the calls that were
/// answered in full, each of which must have one, then for those whose end nobody saw.
fn unnamed(calls: &[&Call], mut rest: Vec<Receipt>) -> Vec<String> {
    let mut broken = Vec::new();
    rest.sort_by_key(|receipt| receipt.created_at_ms);
    let mut ended: Vec<&Call> =
        calls.iter().filter(|call| call.outcome == Outcome::Answered).copied().collect();
    ended.sort_by_key(|call| call.done_ms);
    for call in ended {
        let fits = |receipt: &Receipt| {
            fits(call, receipt) && receipt.created_at_ms <= call.done_ms + CLOCK_SLACK_MS
        };
        match rest.iter().position(fits) {
            Some(at) => drop(rest.remove(at)),
            None => broken.push(format!("LOST: no receipt for a call answered in full: {call:?}")),
        }
    }
    let mut open: Vec<&Call> = calls
        .iter()
        .filter(|call| matches!(call.outcome, Outcome::Unknown { .. }))
        .copied()
        .collect();
    // The receipts come oldest first. The latest call that fits leaves the earlier ones, which
    // fit more, to the others.
    open.sort_by_key(|call| std::cmp::Reverse(call.sent_ms));
    for receipt in rest {
        match open.iter().position(|call| fits(call, &receipt)) {
            Some(at) => drop(open.remove(at)),
            None => broken.push(format!("OVERCHARGED: no call in flight explains {receipt:?}")),
        }
    }
    broken
}

fn fits(call: &Call, receipt: &Receipt) -> bool {
    call.key == receipt.key
        && call.subject == receipt.subject
        && call.sent_ms <= receipt.created_at_ms + CLOCK_SLACK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sent_ms: u64, done_ms: u64, outcome: Outcome) -> Call {
        Call { org: 0, key: "k".into(), subject: Subject::Function, sent_ms, done_ms, outcome }
    }

    fn receipt(id: &str, amount: i64, created_at_ms: u64) -> Receipt {
        Receipt {
            id: id.into(),
            key: "k".into(),
            subject: Subject::Function,
            amount,
            created_at_ms,
        }
    }

    /// Calls, receipts, and a part of each sentence that is expected.
    type Row<'a> = (Vec<Call>, Vec<Receipt>, &'a [&'a str]);

    fn check(rows: Vec<Row<'_>>) {
        for (calls, receipts, expect) in rows {
            let mut org = Org {
                id: String::new(),
                name: String::new(),
                owner: String::new(),
                topped_up: 0,
                receipts: HashMap::new(),
                spent: 0,
            };
            let calls: Vec<&Call> = calls.iter().collect();
            let broken = org.settle(&calls, receipts.clone());
            assert_eq!(broken.len(), expect.len(), "{calls:?} {receipts:?}: {broken:?}");
            for (said, part) in broken.iter().zip(expect) {
                assert!(said.contains(part), "{said} has no {part}");
            }
            assert_eq!(org.spent, receipts.iter().map(|receipt| receipt.amount).sum::<i64>());
        }
    }

    #[test]
    fn receipts_are_held_against_what_clients_saw() {
        let told = || Outcome::Receipted { receipt: "a".into(), amount: 7 };
        let lost = || Outcome::Unknown { begun: false };
        let a = || receipt("a", 7, 150);
        check(vec![
            (vec![call(100, 200, told())], vec![a()], &[]),
            (vec![call(100, 200, told())], vec![], &["LOST"]),
            (vec![call(100, 200, told())], vec![receipt("a", 8, 150)], &["is 8"]),
            (vec![call(100, 200, told()), call(100, 200, told())], vec![a()], &["LOST"]),
            (vec![call(100, 200, told())], vec![a(), receipt("b", 1, 150)], &["OVERCHARGED"]),
            (vec![call(100, 200, Outcome::Answered)], vec![a()], &[]),
            (vec![call(100, 200, Outcome::Answered)], vec![], &["LOST"]),
            (
                vec![call(100, 200, Outcome::Answered)],
                vec![receipt("a", 7, 300)],
                &["LOST", "OVERCHARGED"],
            ),
            (vec![call(100, 200, Outcome::Refused)], vec![], &[]),
            (vec![call(100, 200, Outcome::Refused)], vec![a()], &["OVERCHARGED"]),
            (vec![call(100, 200, lost())], vec![], &[]),
            (vec![call(100, 200, lost())], vec![a()], &[]),
            (vec![call(100, 200, lost())], vec![a(), receipt("b", 1, 160)], &["OVERCHARGED"]),
            (vec![call(180, 200, lost())], vec![a()], &["OVERCHARGED"]),
            (
                vec![call(100, 110, lost()), call(140, 145, lost())],
                vec![receipt("b", 1, 120), a()],
                &[],
            ),
        ]);
    }
}
