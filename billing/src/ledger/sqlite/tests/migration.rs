//! From version 1: the fixture was made by the released program of that version. It has captured
//! calls of every ending, cut ones and free ones, two price books, voided, expired, orphaned and
//! open holds, and top-ups.

use super::*;
use crate::calendar::Day;
use crate::ids::{OpId, OrgId};
use crate::ledger::store::{CallEnd, Reader};
use crate::operation::digest;
use crate::order::{Act, Outcome};
use crate::report::{DayQuery, EntryAct, EntryAnswer, EntryQuery, ReceiptQuery};

const FIXTURE: &[u8] = include_bytes!("../../../../tests/fixtures/ledger-v1.db");

fn version_1() -> Bench {
    let bench = Bench::new();
    std::fs::write(bench.path(), FIXTURE).unwrap();
    bench
}

/// The one number that a query gives.
fn number(bench: &Bench, query: &str) -> i64 {
    bench.intruder().query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn every_balance_is_what_it_was() {
    let old = version_1();
    let before: Vec<(String, i64, i64)> = old
        .intruder()
        .prepare("SELECT name, debits_posted, credits_posted FROM accounts ORDER BY id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let bench = version_1();
    let (mut store, _) = bench.open();
    let loaded = store.load().unwrap();
    let after: Vec<(String, i64, i64)> = loaded
        .accounts
        .iter()
        .map(|(_, account, counters)| {
            let held = (counters.debits_held, counters.credits_held);
            assert_eq!(held, (nano(0), nano(0)), "{account:?}");
            let (debits, credits) = (counters.debits_posted, counters.credits_posted);
            (account.name(), debits.as_nano(), credits.as_nano())
        })
        .collect();
    assert_eq!(before, after);
    assert!(before.contains(&("wallet:acme".to_owned(), 38_134, 5_000_000_001)));
    assert!(loaded.holds.is_empty());
    assert_eq!(loaded.last_transfer, 27);
    assert_eq!(loaded.last_entry, 4);
    let last = number(&old, "SELECT MAX(at_ms) FROM transfers");
    assert_eq!(i64::try_from(loaded.last_at_ms).unwrap(), last);
    assert_eq!(loaded.books.len(), 2);
}

#[test]
fn the_audit_finds_nothing_and_the_ledger_goes_on() {
    let bench = version_1();
    let mut store = bench.store();
    let check = assert_sound(&bench);
    assert_eq!((check.captures, check.holds_open), (14, 0));
    assert_eq!((check.captured.as_nano(), check.debits.as_nano()), (63_148, 5_001_140_149));
    let mut batch = Batch { at_ms: START_MS * 2, first_transfer: 28, ..Batch::default() };
    batch.transfers.clear();
    store.commit(&batch).unwrap();
    Box::new(store).close().unwrap();
    // Opening once more changes nothing.
    drop(bench.store());
    assert_eq!(number(&bench, "SELECT COUNT(*) FROM schema_migrations"), 3);
    assert_eq!(number(&bench, "SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE 'v1_%'"), 0);
    assert_sound(&bench);
}

#[tokio::test]
async fn receipts_keep_their_ids_and_usage_is_summed() {
    let old = version_1();
    let ids: Vec<(Vec<u8>, i64, i64)> = old
        .intruder()
        .prepare("SELECT id, amount, held FROM receipts WHERE org = 'acme' ORDER BY id DESC")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let bench = version_1();
    let (mut store, reader) = bench.open();
    store.load().unwrap();
    let receipts =
        reader.receipts(&ReceiptQuery { org: acme(), before: None, limit: 100 }).await.unwrap();
    let kept: Vec<(Vec<u8>, i64, i64)> = receipts
        .iter()
        .map(|receipt| {
            let parts: i64 = receipt.parts.iter().map(|part| part.amount.as_nano()).sum();
            assert_eq!(parts, receipt.amount.as_nano());
            let id = receipt.call.as_uuid().as_bytes().to_vec();
            (id, receipt.amount.as_nano(), receipt.held.as_nano())
        })
        .collect();
    assert_eq!(ids, kept);
    let (from, to) = (Day::of(START_MS), Day::of(START_MS + 3 * 86_400_000));
    let query = DayQuery { org: acme(), from, to };
    let charged: i64 = ids.iter().map(|(_, amount, _)| amount).sum();
    let usage = reader.usage(&query).await.unwrap();
    let cost: i64 = usage.iter().map(|row| row.sums.cost.as_nano()).sum();
    let calls: u64 = usage.iter().map(|row| row.sums.calls).sum();
    assert_eq!((cost, usize::try_from(calls).unwrap()), (charged, ids.len()));
    let totals = reader.totals(&query).await.unwrap();
    assert_eq!(totals.amount.as_nano(), charged);
    assert_eq!(totals.transferred.as_nano(), charged);
    let earned = DayQuery { org: OrgId::new("authors"), from, to };
    let earned = reader.earnings(&earned).await.unwrap();
    let earned: i64 = earned.iter().map(|row| row.amount.as_nano()).sum();
    assert_eq!(earned, 3_937);
}

#[tokio::test]
async fn top_ups_are_entries_under_the_ids_that_asked_for_them() {
    let bench = version_1();
    let (mut store, reader) = bench.open();
    store.load().unwrap();
    let query = EntryQuery { org: None, from_ms: 0, to_ms: u64::MAX, before: None, limit: 10 };
    let entries = reader.entries(&query).await.unwrap();
    let ops: Vec<&str> = entries.iter().map(|entry| entry.op.as_str()).collect();
    assert_eq!(ops, ["top-up-4", "top-up-3", "top-up-2", "top-up-1"]);
    let Some(EntryAct::Order(act @ Act::TopUp(payment))) = entries.get(1).map(|entry| &entry.act)
    else {
        panic!("{entries:?}")
    };
    assert_eq!((payment.note.as_str(), payment.amount), ("same \"second\"", nano(77_000)));
    assert_eq!(entries[1].transfers.len(), 1);
    // Asked again, it is known by its digest and has its answer.
    let op = OpId::new("top-up-3").unwrap();
    let wanted = Wanted { entries: vec![op.clone()], ..Wanted::default() };
    let past = store.find(&wanted).unwrap().entries.remove(&op).unwrap();
    assert_eq!(past.digest, digest(act).unwrap());
    let EntryAnswer::Done(Outcome::Balance(balance)) = past.answer else { panic!() };
    assert_eq!(balance.posted, nano(77_000));
}

#[test]
fn holds_that_were_not_captured_are_calls_that_ended() {
    let bench = version_1();
    let mut store = bench.store();
    for (state, end, count) in [(2, 2, 2), (3, 3, 1), (4, 4, 1), (0, 4, 2)] {
        let old = version_1();
        let query = format!("SELECT COUNT(*) FROM holds WHERE state = {state}");
        assert_eq!(number(&old, &query), count, "{state}");
        let ids: Vec<(String, [u8; 16])> = old
            .intruder()
            .prepare(&format!("SELECT org, id FROM holds WHERE state = {state}"))
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for (org, id) in ids {
            let at = (OrgId::new(org), crate::ids::CallId::from_uuid(uuid::Uuid::from_bytes(id)));
            let wanted = Wanted { calls: vec![at.clone()], ..Wanted::default() };
            let (row, _) = store.find(&wanted).unwrap().calls.remove(&at).unwrap();
            assert_eq!(row.end.code(), end);
            assert!(!matches!(row.end, CallEnd::Captured { .. }));
        }
    }
}

#[test]
fn a_migration_that_fails_leaves_version_1_as_it_was() {
    for damage in [
        "DELETE FROM top_ups",
        "UPDATE accounts SET name = 'nonsense' WHERE name = 'platform'",
        "UPDATE holds SET subject = '{' WHERE state = 1",
        "DROP TRIGGER operations_keep_update; UPDATE operations SET answer = '{'",
        "INSERT INTO top_ups SELECT randomblob(16), org, amount, note, at_ms FROM top_ups",
    ] {
        let bench = version_1();
        bench.intruder().execute_batch(damage).unwrap();
        let tables = "SELECT COUNT(*) FROM sqlite_schema";
        let before = number(&bench, tables);
        let refused = open(&bench.path(), (Duration::ZERO, 1), START_MS).unwrap_err();
        assert!(matches!(refused, OpenFailure::Damaged(_)), "{damage}: {refused:?}");
        assert_eq!(number(&bench, "PRAGMA user_version"), 1);
        assert_eq!(number(&bench, tables), before);
        assert_eq!(number(&bench, "SELECT COUNT(*) FROM transfers"), 63);
    }
}

#[test]
fn an_old_file_is_not_audited_before_it_is_migrated() {
    let bench = version_1();
    let refused = audit_file(&bench.path()).unwrap_err();
    let BillingError::CannotOpen { cause, .. } = refused else { panic!("{refused:?}") };
    assert!(cause.to_string().contains("its schema version is 1"), "{cause}");
}
