//! What stops writes, and that reading goes on.

use super::*;

fn is_stopped(error: &BillingError, by: &str) -> bool {
    matches!(error, BillingError::Stopped(reason) if reason.contains(by))
}

async fn used(bench: &Bench) -> Ledger {
    let ledger = bench.open();
    top_up(&ledger, "t", 10_000).await.unwrap();
    let hold = held(&ledger, "h", 1_000).await;
    ledger.capture(capture_of("c", hold, 1)).await.unwrap();
    ledger
}

#[tokio::test]
async fn the_file_itself_refuses_an_overdraft() {
    let bench = Bench::new();
    let ledger = used(&bench).await;
    let file = bench.intruder();
    for (change, name) in [
        ("debits_posted = credits_posted + 1", "wallet:acme"),
        ("debits_held = credits_posted - debits_posted + 1", "wallet:acme"),
        ("credits_posted = 0", "wallet:acme"),
        ("debits_held = 9223372036854775807", "wallet:acme"),
        ("debits_posted = -1", "wallet:acme"),
        ("credits_held = -1", "clearing"),
    ] {
        let refused =
            file.execute(&format!("UPDATE accounts SET {change} WHERE name = ?1"), [name]);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("CHECK constraint failed"), "{change}: {refused}");
    }
    for rewrite in [
        "UPDATE transfers SET amount = 1",
        "DELETE FROM transfers",
        "UPDATE receipts SET amount = 0",
        "DELETE FROM receipts",
        "UPDATE price_books SET book = '{}'",
        "DELETE FROM price_books",
        "UPDATE operations SET answer = '\"voided\"'",
        "DELETE FROM operations",
    ] {
        let refused = file.execute(rewrite, []).unwrap_err().to_string();
        assert!(refused.contains("append-only") || refused.contains("immutable"), "{refused}");
    }
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_balance_changed_by_others_stops_writing() {
    let bench = Bench::new();
    let ledger = used(&bench).await;
    let change = "UPDATE accounts SET credits_posted = credits_posted + 7 WHERE name = ?1";
    bench.intruder().execute(change, ["wallet:acme"]).unwrap();

    // The hold is decided from what the writer knows, but it never becomes durable.
    let mut hold = ledger.hold(hold_of("h2", 10)).await.unwrap();
    let stopped = hold.durable().await.unwrap_err();
    assert!(is_stopped(&stopped, "wallet:acme"), "{stopped}");
    for stopped in [
        top_up(&ledger, "t2", 1).await.unwrap_err(),
        ledger.capture(capture_of("c2", hold.id, 1)).await.unwrap_err(),
        ledger.hold(hold_of("h3", 10)).await.map(drop).unwrap_err(),
    ] {
        assert!(is_stopped(&stopped, "wallet:acme"), "{stopped}");
    }

    assert_eq!(balance(&ledger).await, (9_607, 0, 9_607), "reading goes on");
    assert_eq!(ledger.usage(&acme(), 0).await.unwrap().calls, 1);
    let check = ledger.check().await.unwrap();
    assert!(!check.ok);
    assert!(check.breaks.iter().any(|what| what.contains("wallet:acme")), "{check:?}");
    ledger.close().await.unwrap();

    // It stays stopped after a restart, and still says why.
    let ledger = bench.open();
    let stopped = top_up(&ledger, "t3", 1).await.unwrap_err();
    assert!(is_stopped(&stopped, "posted debits"), "{stopped}");
    assert_eq!(balance(&ledger).await.0, 9_607);
}

#[tokio::test]
async fn the_auditor_finds_each_kind_of_break() {
    let parts = "UPDATE receipts SET parts = '[]'";
    let journal = "UPDATE transfers SET amount = amount + 1 WHERE id = 1";
    for (trigger, damage, expect) in [
        ("", "UPDATE accounts SET debits_held = 1 WHERE name = 'cash:operator'", "cash:operator"),
        ("transfers_keep_update", journal, "wallet:acme is stored as"),
        ("transfers_keep_delete", "DELETE FROM transfers WHERE kind = 2", "released"),
        ("transfers_keep_delete", "DELETE FROM transfers WHERE id > 3", "its receipt differ"),
        ("receipts_keep_delete", "DELETE FROM receipts", "its receipt differ"),
        ("receipts_keep_update", "UPDATE receipts SET amount = amount - 1", "receipt"),
        ("receipts_keep_update", parts, "do not sum"),
        ("", "UPDATE holds SET state = 2", "its receipt differ"),
        ("", "UPDATE holds SET state = 0, ended_at_ms = NULL", "open holds"),
        ("", "UPDATE top_ups SET amount = amount + 1", "top-ups of wallet:acme"),
        ("", "UPDATE accounts SET asset = 'euro' WHERE name = 'platform'", "different assets"),
    ] {
        let bench = Bench::new();
        let ledger = used(&bench).await;
        assert_sound(&ledger).await;
        let file = bench.intruder();
        if !trigger.is_empty() {
            file.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        assert!(file.execute(damage, []).unwrap() > 0, "{damage}");
        let check = ledger.check().await.unwrap();
        assert!(!check.ok && check.breaks.iter().any(|what| what.contains(expect)), "{check:?}");
        let stopped = top_up(&ledger, "after", 1).await.unwrap_err();
        assert!(matches!(stopped, BillingError::Stopped(_)), "{damage}: {stopped}");
    }
}

#[tokio::test]
async fn a_hold_that_was_ended_behind_our_back_stops_writing() {
    let bench = Bench::new();
    let ledger = used(&bench).await;
    let hold = held(&ledger, "h2", 10).await;
    bench.intruder().execute("UPDATE holds SET state = 2, ended_at_ms = 1", []).unwrap();
    let stopped = ledger.void(op("v"), hold).await.unwrap_err();
    assert!(is_stopped(&stopped, "not open in the file"), "{stopped}");
}

#[tokio::test]
async fn a_busy_file_fails_operations_but_not_the_ledger() {
    let bench = Bench::new();
    let ledger = Ledger::open(LedgerOptions { busy_ms: 0, ..bench.options() }).unwrap();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let hold = held(&ledger, "h", 400).await;
    let intruder = bench.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = ledger.capture(capture_of("c", hold, 1)).await;
    assert!(matches!(failed, Err(BillingError::Store(_))), "{failed:?}");
    intruder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(ledger.capture(capture_of("c", hold, 1)).await.unwrap().amount, nano(400));
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_full_disk_fails_operations_but_loses_nothing() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000_000).await.unwrap();
    let hold = held(&ledger, "h", 400).await;
    ledger.close().await.unwrap();
    // SQLite's own limit on pages answers as a full disk does.
    let file = super::schema::open(&bench.path(), Duration::ZERO, 0).unwrap();
    let pages: i64 =
        file.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    file.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let shared = Arc::new(Shared::default());
    let options = WriterOptions {
        batch_max: 10,
        holds_open_max: 10_000,
        sweep_interval: Duration::from_secs(1),
        clock: bench.options().clock,
    };
    let mut writer = Writer::start(Store::new(file), Arc::clone(&shared), options).unwrap();
    let mut outcomes = Vec::new();
    for call in 0..200 {
        let operation = Operation::Hold(hold_of(&format!("full{call}"), 1));
        let payload = operation.payload().unwrap();
        let (reply, mut answer) = oneshot::channel();
        writer.run_batch(vec![Request { operation, payload, reply }]);
        let Ok(Reply::Hold(mut hold)) = answer.try_recv().unwrap() else {
            outcomes.push(false);
            continue;
        };
        outcomes.push(hold.durable().await.is_ok());
    }
    assert!(outcomes.contains(&true) && outcomes.contains(&false), "{outcomes:?}");
    assert!(shared.stopped().is_none(), "{:?}", shared.stopped());
    drop(writer);
    let ledger = bench.open();
    let durable = outcomes.iter().filter(|durable| **durable).count();
    let holds: i64 = bench
        .intruder()
        .query_row("SELECT COUNT(*) FROM holds WHERE amount = 1", [], |row| row.get(0))
        .unwrap();
    assert_eq!(usize::try_from(holds), Ok(durable), "acknowledged is stored, failed is not");
    assert!(ledger.capture(capture_of("c", hold, 1)).await.is_err(), "voided by the restart");
    assert_sound(&ledger).await;
}
