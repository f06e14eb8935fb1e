//! What may be opened, what a failed commit leaves, and copies.

use super::desk::{line, terms};
use super::*;
use crate::ledger::store::Reader;
use crate::price::Meter;

/// Opening says `expect` and leaves the file as it is.
fn check_refused(bench: &Bench, expect: &str) {
    let before = std::fs::read(bench.path()).ok();
    let refused = match open(&bench.path(), (Duration::ZERO, 1), START_MS) {
        Err(cause) => cause.to_string(),
        Ok((mut store, _)) => format!("{:?}", store.load().unwrap_err()),
    };
    assert!(refused.contains(expect), "{refused}");
    assert_eq!(std::fs::read(bench.path()).ok(), before, "the file was changed");
}

#[test]
fn a_newer_schema_is_refused() {
    let bench = Bench::with_everything();
    bench.intruder().pragma_update(None, "user_version", 4).unwrap();
    check_refused(&bench, "its schema version is 4, this program knows up to 3");
    let audited = audit_file(&bench.path()).unwrap_err();
    assert!(matches!(audited, BillingError::CannotOpen { .. }), "{audited:?}");
}

#[test]
fn a_truncated_file_is_refused() {
    let bench = Bench::with_everything();
    drop(bench.intruder().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    let bytes = std::fs::read(bench.path()).unwrap();
    for (length, expect) in [
        (0, "the file is empty"),
        (10, "no SQLite database"),
        (100, "damaged"),
        (4096, "damaged"),
        (bytes.len() / 2, "damaged"),
        (bytes.len() - 4096, "damaged"),
    ] {
        std::fs::write(bench.path(), &bytes[..length]).unwrap();
        check_refused(&bench, expect);
        assert!(audit_file(&bench.path()).is_err(), "{length}");
    }
    std::fs::write(bench.path(), &bytes).unwrap();
    assert_sound(&bench);
}

#[test]
fn what_is_no_ledger_is_refused() {
    let bench = Bench::new();
    std::fs::write(bench.path(), "money, honestly").unwrap();
    check_refused(&bench, "no SQLite database");
    std::fs::remove_file(bench.path()).unwrap();
    bench.intruder().execute_batch("CREATE TABLE accounts (id)").unwrap();
    check_refused(&bench, "a database of another program");
    std::fs::remove_file(bench.path()).unwrap();
    assert!(audit_file(&bench.path()).is_err() && !bench.path().exists());
    std::fs::write(bench.folder.path().join("ledger.db-wal"), "log").unwrap();
    check_refused(&bench, "the database itself is missing");
    let missing = bench.folder.path().join("missing/ledger.db");
    assert!(matches!(open(&missing, (Duration::ZERO, 1), 0), Err(OpenFailure::Io(_))));
}

#[test]
fn garbage_in_a_row_is_refused() {
    for damage in [
        "UPDATE accounts SET name = 'nonsense' WHERE name = 'platform'",
        "UPDATE accounts SET number = 99 WHERE name = 'platform'",
        "DROP TRIGGER price_books_keep_update; UPDATE price_books SET book = '{'",
        "UPDATE holds SET subject = key",
        "UPDATE holds SET org = 999",
        "UPDATE documents SET body = '{}' WHERE kind = 'lot'",
        "DROP TRIGGER names_keep_update; UPDATE names SET id = 77 WHERE id = 1",
    ] {
        let bench = Bench::with_everything();
        bench.intruder().execute_batch(damage).unwrap();
        check_refused(&bench, "Broken");
    }
}

#[test]
fn a_locked_file_is_refused() {
    let bench = Bench::with_everything();
    let store = bench.store();
    check_refused(&bench, "locked: another process has it open");
    Box::new(store).close().unwrap();
    let intruder = bench.intruder();
    intruder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    check_refused(&bench, "locked");
    drop(intruder);
    drop(bench.store());
    assert_sound(&bench);
}

#[test]
fn a_commit_that_finds_a_lock_is_tried_again() {
    let bench = Bench::new();
    let mut store = bench.store();
    let mut desk = Desk::default();
    desk.everything(&mut store);
    let intruder = bench.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    desk.top_up("t", &crate::ids::OrgId::new("new"), 5);
    let batch = desk.batch();
    for _ in 0..2 {
        assert!(matches!(store.commit(&batch), Err(StoreFault::Passing(_))));
    }
    drop(intruder);
    store.commit(&batch).unwrap();
    assert_sound(&bench);
}

#[test]
fn a_full_disk_loses_nothing() {
    let bench = Bench::new();
    let mut store = bench.store();
    let mut desk = Desk::default();
    desk.everything(&mut store);
    let pages: i64 =
        store.file.connection.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
    store.file.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let tokens = [line(Some("tiny"), Meter::InputTokens, 3)];
    for number in 100..400 {
        desk.open(&terms(number, 300));
    }
    for number in 100..400 {
        desk.capture(&terms(number, 300), &tokens, false);
    }
    let mut batch = desk.batch();
    (batch.opened, batch.closed) = (Vec::new(), Vec::new());
    let refused = store.commit(&batch);
    assert!(matches!(refused, Err(StoreFault::Passing(_))), "{refused:?}");
    assert_sound(&bench);
    store.file.connection.pragma_update(None, "max_page_count", 1 << 30).unwrap();
    store.commit(&batch).unwrap();
    assert_sound(&bench);
}

#[test]
fn a_read_only_file_loses_nothing() {
    let bench = Bench::new();
    let mut store = bench.store();
    let mut desk = Desk::default();
    desk.everything(&mut store);
    store.file.connection.pragma_update(None, "query_only", true).unwrap();
    desk.top_up("t", &acme(), 5);
    let batch = desk.batch();
    assert!(matches!(store.commit(&batch), Err(StoreFault::Passing(_))));
    store.file.connection.pragma_update(None, "query_only", false).unwrap();
    store.commit(&batch).unwrap();
    assert_sound(&bench);
}

#[test]
fn what_a_dead_process_leaves_is_whole() {
    let bench = Bench::new();
    let (mut store, _readers) = bench.open();
    store.load().unwrap();
    let mut desk = Desk::default();
    desk.everything(&mut store);
    // A batch that was written and not committed.
    desk.top_up("t", &acme(), 5);
    let batch = desk.batch();
    store.write(&batch).unwrap();
    let crashed = Bench::new();
    for suffix in ["", "-wal"] {
        let name = format!("ledger.db{suffix}");
        std::fs::copy(bench.folder.path().join(&name), crashed.folder.path().join(&name)).unwrap();
    }
    let mut store = crashed.store();
    assert_sound(&crashed);
    store.commit(&batch).unwrap();
    assert_sound(&crashed);
}

#[tokio::test]
async fn a_copy_is_consistent_while_others_write() {
    let bench = Bench::new();
    let (mut store, reader) = bench.open();
    store.load().unwrap();
    let mut desk = Desk::default();
    desk.everything(&mut store);
    let copy = Bench::new();
    reader.backup(&copy.path()).await.unwrap();
    desk.top_up("after", &acme(), 5);
    desk.commit(&mut store);
    assert_eq!(assert_sound(&copy).transfers + 1, assert_sound(&bench).transfers);
    let again = reader.backup(&copy.path()).await.unwrap_err();
    assert!(matches!(again, BillingError::CannotOpen { .. }), "{again:?}");
    // The copy is a ledger that can be written.
    drop(copy.store());
    reader.close().await;
    assert!(matches!(reader.periods().await, Err(BillingError::Stopped(_))));
}
