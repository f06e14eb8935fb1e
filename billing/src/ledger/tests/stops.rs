//! What stops writing, and that reading goes on.

use super::*;

fn is_stopped(error: &BillingError, by: &str) -> bool {
    matches!(error, BillingError::Stopped(reason) if reason.contains(by))
}

async fn used(bench: &Bench) -> Ledger {
    let ledger = bench.open();
    top_up(&ledger, "t", 10_000).await.unwrap();
    held(&ledger, "h", 1_000).await;
    ledger.capture(capture_of("h", 1)).await.unwrap();
    ledger
}

#[tokio::test]
async fn a_balance_changed_by_others_stops_writing() {
    let bench = Bench::sqlite();
    let ledger = used(&bench).await;
    let change = "UPDATE accounts SET credits_posted = credits_posted + 7 WHERE name = ?1";
    bench.intruder().execute(change, ["wallet:acme"]).unwrap();

    // The hold is decided from what the writer knows, but it never becomes durable.
    let mut hold = ledger.hold(hold_of("h2", 10)).await.unwrap();
    let stopped = hold.durable().await.unwrap_err();
    assert!(is_stopped(&stopped, "wallet:acme"), "{stopped}");
    for stopped in [
        top_up(&ledger, "t2", 1).await.unwrap_err(),
        ledger.capture(capture_of("h2", 1)).await.map(drop).unwrap_err(),
        ledger.hold(hold_of("h3", 10)).await.map(drop).unwrap_err(),
    ] {
        assert!(is_stopped(&stopped, "wallet:acme"), "{stopped}");
    }

    let billing: &dyn Billing = &ledger;
    let ready = billing.ask(Query::Ready).await.unwrap_err();
    assert!(is_stopped(&ready, "wallet:acme"), "{ready}");
    // Reading goes on, with what was committed: without the hold that never was.
    assert_eq!(balance(&ledger).await, (9_607, 0, 9_607));
    let receipt = billing.receipt(&acme(), call("h")).await.unwrap().unwrap();
    assert_eq!(receipt.amount, nano(400));
    let check = billing.check().await.unwrap();
    assert!(check.breaks.iter().any(|what| what.contains("wallet:acme")), "{check:?}");
    ledger.close().await.unwrap();

    // It stays stopped after a restart, and still says why.
    let ledger = bench.open();
    let stopped = top_up(&ledger, "t3", 1).await.unwrap_err();
    assert!(is_stopped(&stopped, "posted debits"), "{stopped}");
    assert_eq!(balance(&ledger).await.0, 9_607);
}

#[tokio::test]
async fn a_break_that_the_audit_finds_stops_writing() {
    let bench = Bench::sqlite();
    let ledger = used(&bench).await;
    assert_eq!(ledger.ask(Query::Ready).await.unwrap(), Report::Ready);
    assert_sound(&ledger).await;
    let file = bench.intruder();
    file.execute("UPDATE usage_days SET cost = cost + 1", []).unwrap();
    let check = ledger.check().await.unwrap();
    assert!(!check.ok, "{check:?}");
    let stopped = top_up(&ledger, "after", 1).await.unwrap_err();
    assert!(matches!(stopped, BillingError::Stopped(_)), "{stopped}");
}

#[tokio::test]
async fn a_busy_file_fails_operations_but_not_the_ledger() {
    let bench = Bench::sqlite();
    let ledger = Ledger::open(LedgerOptions { busy_ms: 0, ..bench.options() }).unwrap();
    top_up(&ledger, "t", 1_000).await.unwrap();
    held(&ledger, "h", 400).await;
    let intruder = bench.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = ledger.capture(capture_of("h", 1)).await;
    assert!(matches!(failed, Err(BillingError::Store(_))), "{failed:?}");
    intruder.execute_batch("ROLLBACK").unwrap();
    let captured = ledger.capture(capture_of("h", 1)).await.unwrap();
    assert_eq!(captured.receipt.amount, nano(400));
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_closed_ledger_says_so() {
    let bench = Bench::sqlite();
    let ledger = used(&bench).await;
    ledger.clone().close().await.unwrap();
    let stopped = top_up(&ledger, "t2", 1).await.unwrap_err();
    assert!(is_stopped(&stopped, "closed"), "{stopped}");
}

#[test]
fn refusals_have_numbers_that_never_change() {
    use crate::error::{Refusal, RefusalClass};
    let (needed, available, owed) = (nano(1), nano(0), nano(1));
    let transient = [
        Refusal::InsufficientCredits { needed, available },
        Refusal::Owing { owed },
        Refusal::UnknownPrice,
        Refusal::UnknownCall,
        Refusal::NotMatured { matured: available },
        Refusal::AdjustmentExceedsWallet { available },
        Refusal::TooMany { max: 1 },
    ];
    let last = [
        Refusal::BalanceOverflow,
        Refusal::RefundExceedsCharge { refundable: available },
        Refusal::StaleGateway { epoch: 2 },
        Refusal::SharesExceedPrice,
        Refusal::AlreadyExpired,
        Refusal::UnknownMessage,
    ];
    let codes = |refusals: &[Refusal]| refusals.iter().map(Refusal::code).collect::<Vec<_>>();
    assert_eq!(codes(&transient), [1, 3, 5, 6, 8, 9, 14]);
    assert_eq!(codes(&last), [2, 7, 10, 11, 12, 13]);
    assert!(transient.iter().all(|refusal| refusal.class() == RefusalClass::Transient));
    assert!(last.iter().all(|refusal| refusal.class() == RefusalClass::Final));
}
