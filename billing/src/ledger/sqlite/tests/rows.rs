//! What is kept is found again, and nothing else is kept.

use super::desk::{line, terms};
use super::*;
use crate::account::Account;
use crate::document::Document;
use crate::hold::HoldTerms;
use crate::ids::{LotId, OpId};
use crate::ledger::store::CallEnd;
use crate::order::Outcome;
use crate::price::Meter;
use crate::report::EntryAnswer;

fn everything() -> (Bench, SqliteStore, Desk) {
    let bench = Bench::new();
    let mut store = bench.store();
    let mut desk = Desk::default();
    desk.everything(&mut store);
    (bench, store, desk)
}

fn find_call(store: &mut SqliteStore, number: u128) -> Option<(CallEnd, usize)> {
    let wanted = Wanted { calls: vec![(acme(), call_id(number))], ..Wanted::default() };
    let found = store.find(&wanted).unwrap().calls.remove(&(acme(), call_id(number)));
    found.map(|(row, transfers)| {
        assert_eq!(row.transfers.1, u64::try_from(transfers.len()).unwrap());
        (row.end, transfers.len())
    })
}

#[test]
fn a_new_file_has_the_first_prices_and_nothing_else() {
    let bench = Bench::new();
    let (mut store, _) = bench.open();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.books, vec![crate::price::PriceBook::initial()]);
    assert!(loaded.accounts.is_empty() && loaded.holds.is_empty() && loaded.documents.is_empty());
    assert_eq!((loaded.last_transfer, loaded.last_entry, loaded.last_at_ms), (0, 0, 0));
    assert_sound(&bench);
}

#[test]
fn what_was_committed_is_loaded_after_a_restart() {
    let (bench, store, desk) = everything();
    Box::new(store).close().unwrap();
    let (mut store, _) = bench.open();
    let loaded = store.load().unwrap();
    for (number, account, counters) in &loaded.accounts {
        assert_eq!(desk.counters(account), *counters, "{account:?} {number}");
    }
    let mut open: Vec<&HoldTerms> = loaded.holds.iter().collect();
    open.sort_by_key(|hold| hold.call);
    let held: Vec<_> = open.iter().map(|hold| (hold.call, hold.amount.as_nano())).collect();
    assert_eq!(held, [(call_id(5), 10_000), (call_id(7), 5)]);
    assert_eq!(open[0].lots, [(LotId(1), nano(3_000))]);
    assert_eq!(open[0].pinned.budgets.len(), 1);
    assert_eq!(open[1], &terms(7, 5));
    // Done messages and refunds are not live.
    let mut kinds: Vec<&str> = loaded.documents.iter().map(|body| body.key().kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["budget", "gateway", "lot", "period", "platform", "settings"]);
    assert_eq!((loaded.last_entry, loaded.last_lot, loaded.last_budget), (5, 1, 1));
    assert_eq!(loaded.last_at_ms, desk.at_ms);
    let earned: i64 = loaded.earned.iter().map(|(_, _, amount)| amount.as_nano()).sum();
    let farm = Account::Payable(crate::ids::OrgId::new("farm"));
    assert_eq!(earned, desk.counters(&farm).credits_posted.as_nano());
}

#[test]
fn calls_entries_and_documents_are_found_by_their_ids() {
    let (_bench, mut store, _) = everything();
    for (number, code, transfers) in [(1, 1, 1), (2, 1, 4), (3, 2, 0), (4, 7, 2), (6, 5, 0)] {
        let (end, found) = find_call(&mut store, number).unwrap();
        assert_eq!((end.code(), found), (code, transfers), "{number}");
    }
    assert!(find_call(&mut store, 5).is_none() && find_call(&mut store, 99).is_none());
    let op = |op: &str| OpId::new(op).unwrap();
    let refunds = crate::document::Refunds::key("acme", Some(call_id(2)));
    let wanted = Wanted {
        calls: vec![(crate::ids::OrgId::new("nobody"), call_id(1))],
        entries: vec![op("refund"), op("never")],
        documents: vec![refunds.clone(), crate::document::Refunds::key("acme", None)],
    };
    let found = store.find(&wanted).unwrap();
    assert!(found.calls.is_empty());
    let past = &found.entries[&op("refund")];
    assert!(matches!(past.answer, EntryAnswer::Done(Outcome::Refunded { .. })));
    assert_eq!((found.entries.len(), past.digest.len()), (1, 32));
    assert!(matches!(found.documents[&refunds], Document::Refunds(_)));
    assert_eq!(found.documents.len(), 1);
}

#[test]
fn a_hold_that_expired_and_was_captured_in_one_batch_has_one_row() {
    let (bench, mut store, mut desk) = everything();
    let terms = terms(20, 10_000);
    desk.open(&terms);
    desk.commit(&mut store);
    desk.end(&terms, CallEnd::Expired);
    desk.capture(&terms, &[line(Some("tiny"), Meter::OutputTokens, 1)], true);
    let mut batch = desk.batch();
    batch.calls.remove(0);
    store.commit(&batch).unwrap();
    assert_eq!(find_call(&mut store, 20).map(|(end, _)| end.code()), Some(7));
    assert_sound(&bench);
}

#[test]
fn absurd_quantities_stop_at_the_largest_number() {
    let (bench, mut store, mut desk) = everything();
    for number in [30, 31] {
        let terms = terms(number, 10_000);
        desk.open(&terms);
        desk.commit(&mut store);
        desk.capture(&terms, &[line(Some("tiny"), Meter::OutputTokens, 1)], false);
        let mut batch = desk.batch();
        batch.usage[0].1.input_tokens = u64::MAX;
        store.commit(&batch).unwrap();
    }
    let most: i64 = bench
        .intruder()
        .query_row("SELECT MAX(input_tokens) FROM usage_days", [], |row| row.get(0))
        .unwrap();
    assert_eq!(most, i64::MAX);
    assert_sound(&bench);
}

/// A batch that does not fit what the file has is refused whole, and the store goes on.
fn check_broken(expect: &str, tamper: impl FnOnce(&mut Batch)) {
    let (bench, mut store, mut desk) = everything();
    let kept = desk.clone();
    desk.top_up("new", &crate::ids::OrgId::new("somebody new"), 7);
    desk.end(&terms(7, 5), CallEnd::Voided);
    let mut batch = desk.batch();
    tamper(&mut batch);
    let fault = store.commit(&batch);
    assert!(matches!(&fault, Err(StoreFault::Broken(why)) if why.contains(expect)), "{fault:?}");
    assert_sound(&bench);
    let mut desk = kept;
    desk.top_up("new", &crate::ids::OrgId::new("somebody else"), 9);
    desk.commit(&mut store);
    assert_sound(&bench);
}

#[test]
fn a_batch_that_does_not_fit_the_file_breaks_nothing() {
    check_broken("is not what the ledger thinks", |batch| {
        let known = batch.accounts.iter_mut().find(|change| change.before.is_some()).unwrap();
        known.before.as_mut().unwrap().credits_posted = nano(1);
    });
    check_broken("is not what the ledger thinks", |batch| {
        batch.accounts.last_mut().unwrap().number += 1;
    });
    check_broken("CHECK constraint failed", |batch| {
        let wallet = batch.accounts.iter_mut().find(|c| c.account == Account::Wallet(acme()));
        wallet.unwrap().after.debits_posted = nano(i64::MAX >> 1);
    });
    check_broken("is not open", |batch| batch.closed[0].1 = call_id(1));
    check_broken("UNIQUE constraint failed: calls", |batch| batch.calls[0].terms.call = call_id(1));
    check_broken("UNIQUE constraint failed: entries.op", |batch| {
        batch.entries[0].op = OpId::new("top-up-1").unwrap();
    });
    check_broken("do not follow", |batch| batch.entries[0].number += 1);
    check_broken("do not follow", |batch| batch.first_transfer += 1);
    check_broken("that the file does not have", |batch| {
        batch.transfers[0].debit = Account::Suspense;
    });
    check_broken("UNIQUE constraint failed: calls", |batch| {
        // A call that was captured is not captured late.
        batch.calls[0].terms.call = call_id(1);
        batch.calls[0].end = CallEnd::Captured {
            amount: nano(0),
            usage: Vec::new(),
            ending: crate::capture::Ending::Normal,
            late: true,
        };
    });
}

#[test]
fn what_must_not_change_does_not() {
    let (bench, _store, _) = everything();
    for statement in [
        "UPDATE transfers SET amount = 1",
        "DELETE FROM transfers",
        "UPDATE calls SET amount = 0 WHERE end = 1",
        "UPDATE calls SET end = 7 WHERE end = 2",
        "DELETE FROM calls",
        "UPDATE entries SET answer = ''",
        "DELETE FROM entries",
        "UPDATE names SET name = 'x' WHERE id = 1",
        "DELETE FROM names",
        "UPDATE price_books SET book = ''",
        "DELETE FROM price_books",
        "UPDATE accounts SET debits_posted = credits_posted + 1 WHERE name = 'wallet:acme'",
    ] {
        let error = bench.intruder().execute_batch(statement).unwrap_err().to_string();
        let refused = ["append-only", "immutable", "CHECK constraint"];
        assert!(refused.iter().any(|why| error.contains(why)), "{statement}: {error}");
    }
}
