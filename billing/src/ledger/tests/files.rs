//! What may be opened, and what is there after a crash.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::hold::HoldEnd;
use tokio::task::JoinSet;

/// Opening says `expect` and leaves the file as it is.
fn check_refused(bench: &Bench, expect: &str) {
    let before = std::fs::read(bench.path()).ok();
    let error = Ledger::open(LedgerOptions { busy_ms: 0, ..bench.options() }).unwrap_err();
    let BillingError::CannotOpen { path, cause } = error else { panic!("{error:?}") };
    assert_eq!(path, bench.path());
    assert!(cause.to_string().contains(expect), "{cause}");
    assert_eq!(std::fs::read(bench.path()).ok(), before, "the file was changed");
}

async fn closed_ledger() -> Bench {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000_000).await.unwrap();
    for call in 0..20_u64 {
        let hold = held(&ledger, &format!("h{call}"), 10_000).await;
        ledger.capture(capture_of(&format!("c{call}"), hold, call)).await.unwrap();
    }
    ledger.close().await.unwrap();
    assert!(!bench.folder.path().join("ledger.db-wal").exists(), "closing folds the log in");
    bench
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let bench = closed_ledger().await;
    let file = bench.intruder();
    file.pragma_update(None, "user_version", 2).unwrap();
    drop(file);
    check_refused(&bench, "its schema version is 2, this program knows up to 1");
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let bench = closed_ledger().await;
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
    }
    std::fs::write(bench.path(), &bytes).unwrap();
    assert_sound(&bench.open()).await;
}

#[tokio::test]
async fn what_is_no_ledger_is_refused() {
    let bench = Bench::new();
    std::fs::write(bench.path(), "money, honestly").unwrap();
    check_refused(&bench, "no SQLite database");
    std::fs::remove_file(bench.path()).unwrap();
    bench.intruder().execute_batch("CREATE TABLE accounts (id)").unwrap();
    check_refused(&bench, "a database of another program");
    std::fs::remove_file(bench.path()).unwrap();
    std::fs::write(bench.folder.path().join("ledger.db-wal"), "log").unwrap();
    check_refused(&bench, "the database itself is missing");
    let missing = bench.folder.path().join("missing/ledger.db");
    let options = LedgerOptions { path: missing, ..bench.options() };
    assert!(matches!(Ledger::open(options), Err(BillingError::CannotOpen { .. })));
}

#[tokio::test]
async fn garbage_in_a_row_is_refused() {
    for damage in [
        "UPDATE accounts SET name = 'nonsense' WHERE name = 'platform'",
        "DROP TRIGGER price_books_keep_update; UPDATE price_books SET book = '{'",
        "UPDATE holds SET state = 0, ended_at_ms = NULL, subject = 'x'",
    ] {
        let bench = closed_ledger().await;
        bench.intruder().execute_batch(damage).unwrap();
        check_refused(&bench, "damaged");
    }
}

#[tokio::test]
async fn a_locked_file_is_refused() {
    let bench = closed_ledger().await;
    let ledger = bench.open();
    check_refused(&bench, "locked: another process has it open");
    ledger.close().await.unwrap();
    let intruder = bench.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    check_refused(&bench, "locked");
    intruder.execute_batch("ROLLBACK; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    check_refused(&bench, "locked");
    drop(intruder);
    assert_sound(&bench.open()).await;
}

#[tokio::test]
async fn a_closed_ledger_says_so() {
    let bench = Bench::new();
    let ledger = bench.open();
    let other = ledger.clone();
    ledger.close().await.unwrap();
    for error in [
        top_up(&other, "t", 1).await.unwrap_err(),
        other.balance(&acme()).await.unwrap_err(),
        other.close().await.unwrap_err(),
    ] {
        assert!(matches!(&error, BillingError::Stopped(why) if why.contains("closed")), "{error}");
    }
    drop(bench.open());
}

#[tokio::test]
async fn holds_of_a_process_that_is_gone_are_voided() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let hold = held(&ledger, "h", 700).await;
    ledger.close().await.unwrap();
    let ledger = bench.open();
    assert_eq!(balance(&ledger).await, (1_000, 0, 1_000));
    let late = ledger.capture(capture_of("c", hold, 1)).await;
    assert!(matches!(late, Err(BillingError::HoldEnded(HoldEnd::Restarted))), "{late:?}");
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_copy_taken_while_serving_has_every_acknowledged_capture() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000_000).await.unwrap();
    let mut receipts = Vec::new();
    for call in 0..10 {
        let hold = held(&ledger, &format!("h{call}"), 400).await;
        receipts.push(ledger.capture(capture_of(&format!("c{call}"), hold, 1)).await.unwrap());
    }
    // What a dead process leaves: the file and its log, folded together by nobody.
    let crashed = Bench::new();
    for suffix in ["", "-wal"] {
        let name = format!("ledger.db{suffix}");
        std::fs::copy(bench.folder.path().join(&name), crashed.folder.path().join(&name)).unwrap();
    }
    let reopened = crashed.open();
    for receipt in receipts {
        let found = reopened.receipt(&acme(), receipt.id).await.unwrap();
        assert_eq!(found, Some(receipt));
    }
    assert_sound(&reopened).await;
}

#[tokio::test]
async fn dropping_without_closing_loses_nothing() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000_000).await.unwrap();
    let hold = held(&ledger, "h", 400).await;
    let receipt = ledger.capture(capture_of("c", hold, 1)).await.unwrap();
    drop(ledger);
    // The writer lets the lock go when it has seen that nobody is left.
    let ledger = loop {
        match Ledger::open(bench.options()) {
            Ok(ledger) => break ledger,
            Err(error) => assert!(format!("{error:?}").contains("Locked"), "{error:?}"),
        }
    };
    assert_eq!(ledger.receipt(&acme(), receipt.id).await.unwrap(), Some(receipt));
    assert_sound(&ledger).await;
}

/// What the killed process does: calls from eight tasks at once, and a line for each capture
/// that was acknowledged. It gets the path on its standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of a_killed_process_loses_no_acknowledged_capture"]
async fn child_that_is_killed() {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).unwrap();
    if path.trim().is_empty() {
        return;
    }
    let options = LedgerOptions { path: PathBuf::from(path.trim()), ..LedgerOptions::default() };
    let ledger = Ledger::open(options).unwrap();
    let op = OpId::generate();
    ledger.top_up(op, acme(), nano(1_000_000_000_000), String::new()).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let ledger = ledger.clone();
        callers.spawn(call_for_ever(ledger));
    }
    callers.join_all().await;
}

async fn call_for_ever(ledger: Ledger) {
    loop {
        let request = HoldRequest { op: OpId::generate(), ..hold_of("h", 4_000) };
        let hold = ledger.hold(request).await.unwrap();
        let capture = CaptureRequest { op: OpId::generate(), ..capture_of("c", hold.id, 7) };
        let receipt = ledger.capture(capture).await.unwrap();
        println!("receipt {}", receipt.id);
    }
}

/// Starts a process on the ledger, kills it after `calls` acknowledgements, and says which.
fn acknowledged_until_killed(bench: &Bench, calls: usize) -> Vec<ReceiptId> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::tests::files::child_that_is_killed"])
        .args(["--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", bench.path().display()).unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let id = line.split("receipt ").nth(1).and_then(|id| id.parse::<ReceiptId>().ok());
        acknowledged.extend(id);
        if acknowledged.len() == calls {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= calls, "the child died early");
    acknowledged
}

#[tokio::test]
async fn a_killed_process_loses_no_acknowledged_capture() {
    let bench = Bench::new();
    for round in 0..3_usize {
        let acknowledged = acknowledged_until_killed(&bench, 50 + 37 * round);
        let ledger = bench.open();
        for id in acknowledged {
            assert!(ledger.receipt(&acme(), id).await.unwrap().is_some(), "lost {id}");
        }
        assert_eq!(balance(&ledger).await.1, 0, "orphaned holds are released");
        assert_sound(&ledger).await;
        ledger.close().await.unwrap();
    }
}
