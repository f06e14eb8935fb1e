//! Many callers at once.

use super::*;
use crate::error::Refusal;
use crate::hold::HoldEnd;
use crate::ids::BudgetId;
use crate::order::Window;
use tokio::task::JoinSet;

/// Holds asked for by many callers at the same time; how many were given.
async fn race(ledger: &Ledger, racers: usize, amount: i64) -> usize {
    let mut held = JoinSet::new();
    for racer in 0..racers {
        let ledger = ledger.clone();
        held.spawn(async move {
            match ledger.hold(hold_of(&format!("r{racer}"), amount)).await {
                Ok(mut hold) => hold.durable().await.map(|()| true),
                Err(BillingError::Refused(
                    Refusal::InsufficientCredits { .. } | Refusal::BudgetExceeded { .. },
                )) => Ok(false),
                Err(error) => Err(error),
            }
        });
    }
    let outcomes = held.join_all().await;
    outcomes.into_iter().filter(|outcome| *outcome.as_ref().unwrap()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_the_affordable_holds_succeed() {
    let bench = Bench::sqlite();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_099).await.unwrap();
    assert_eq!(race(&ledger, 300, 100).await, 10);
    assert_eq!(balance(&ledger).await, (1_099, 1_000, 99));
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_gateways_share_one_budget() {
    let bench = Bench::sqlite();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000_000).await.unwrap();
    let (key, window) = (Some(KeyId::new("key")), Window::Day);
    let limit = Some(nano(1_050));
    let act = Act::SetBudget { org: acme(), key, window, limit };
    let set = ledger.order(order_of("b", act)).await.unwrap();
    assert_eq!(set, Outcome::Budget(Some(BudgetId(1))));
    assert_eq!(race(&ledger, 300, 100).await, 10);
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hold_ends_once_whoever_comes_first() {
    let bench = Bench::sqlite();
    let ledger = bench.open();
    top_up(&ledger, "t", 100_000).await.unwrap();
    let mut captured = 0_i64;
    for round in 0..30 {
        let name = format!("h{round}");
        held(&ledger, &name, 400).await;
        let (one, two) = (ledger.clone(), ledger.clone());
        let (capture, id) = (capture_of(&name, 1), call(&name));
        let capture = tokio::spawn(async move { one.capture(capture).await });
        let void = tokio::spawn(async move { two.void(acme(), id).await });
        match (capture.await.unwrap(), void.await.unwrap()) {
            (Ok(_), Err(BillingError::HoldEnded(HoldEnd::Captured))) => captured += 1,
            (Err(BillingError::HoldEnded(HoldEnd::Voided)), Ok(())) => {}
            other => panic!("{other:?}"),
        }
    }
    let left = 100_000 - captured * 400;
    assert_eq!(balance(&ledger).await, (left, 0, left));
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_call_asked_for_many_times_at_once_is_one_hold() {
    let bench = Bench::sqlite();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let ledger = ledger.clone();
        callers.spawn(async move { held(&ledger, "same", 600).await });
    }
    callers.join_all().await;
    assert_eq!(balance(&ledger).await, (1_000, 600, 400));
}

/// Lets what is queued reach the writer, which an intruder keeps waiting.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bad_operations_leave_the_rest_of_their_batch_alone() {
    let bench = Bench::sqlite();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000_000).await.unwrap();
    // The writer is kept waiting, so that all of these come in one batch.
    let intruder = bench.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..100_i64 {
        let ledger = ledger.clone();
        let is_bad = caller % 10 == 0;
        let amount = if is_bad { i64::MAX } else { 1_000 };
        callers.spawn(async move {
            let outcome = match ledger.hold(hold_of(&format!("h{caller}"), amount)).await {
                Ok(mut hold) => hold.durable().await,
                Err(error) => Err(error),
            };
            (is_bad, outcome)
        });
    }
    settle().await;
    intruder.execute_batch("ROLLBACK").unwrap();
    for (is_bad, outcome) in callers.join_all().await {
        assert_eq!(outcome.is_err(), is_bad, "{outcome:?}");
    }
    assert_eq!(balance(&ledger).await.1, 90_000);
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_queue_refuses_new_holds_but_takes_captures() {
    let bench = Bench::sqlite();
    let options = LedgerOptions { queue_max: 1, batch_max: 1, ..bench.options() };
    let ledger = Ledger::open(options).unwrap();
    top_up(&ledger, "t", 10_000).await.unwrap();
    held(&ledger, "h", 400).await;
    let intruder = bench.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..10 {
        let ledger = ledger.clone();
        callers.spawn(async move {
            match ledger.hold(hold_of(&format!("h{caller}"), 100)).await {
                Ok(mut hold) => hold.durable().await,
                Err(error) => Err(error),
            }
        });
    }
    // One is with the writer and one in the queue, at most; the others hear at once.
    for _ in 0..8 {
        let outcome = callers.join_next().await.unwrap().unwrap();
        assert!(matches!(outcome, Err(BillingError::Overloaded)), "{outcome:?}");
    }
    let capturer = ledger.clone();
    let capture = tokio::spawn(async move { capturer.capture(capture_of("h", 1)).await });
    intruder.execute_batch("ROLLBACK").unwrap();
    for outcome in callers.join_all().await {
        assert!(matches!(outcome, Ok(()) | Err(BillingError::Overloaded)), "{outcome:?}");
    }
    assert_eq!(capture.await.unwrap().unwrap().receipt.amount, nano(400));
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_hold_can_be_awaited_again_after_a_cancelled_wait() {
    let bench = Bench::sqlite();
    let ledger = bench.open();
    top_up(&ledger, "t", 10_000).await.unwrap();
    let mut hold = ledger.hold(hold_of("h", 400)).await.unwrap();
    for _ in 0..3 {
        let waiting = hold.durable();
        drop(tokio::time::timeout(Duration::ZERO, waiting).await);
    }
    hold.durable().await.unwrap();
    hold.durable().await.unwrap();
}

/// Calls of one caller, all ways to end mixed; gives what was captured.
async fn calls_of(ledger: Ledger, caller: u64) -> i64 {
    let mut captured = 0;
    for number in 0..25_u64 {
        let name = format!("h{caller}-{number}");
        let Ok(hold) = ledger.hold(hold_of(&name, 4_000)).await else { continue };
        match (caller + number) % 4 {
            0 => ledger.void(acme(), hold.call).await.unwrap(),
            1 => continue,
            ending => {
                let done = ledger.capture(capture_of(&name, ending * 5)).await.unwrap();
                captured += done.receipt.amount.as_nano();
            }
        }
    }
    captured
}

/// A crowd on one ledger; then everything adds up.
async fn crowd(bench: &Bench) {
    let ledger = bench.open();
    top_up(&ledger, "t", 900_000).await.unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        callers.spawn(calls_of(ledger.clone(), caller));
    }
    let captured: i64 = callers.join_all().await.into_iter().sum();
    assert!(captured > 100_000, "{captured}");
    assert_eq!(balance(&ledger).await.0, 900_000 - captured);
    let check = assert_sound(&ledger).await;
    assert_eq!(check.captured, nano(captured));
    let billing: &dyn Billing = &ledger;
    let day = crate::calendar::Day::of(START_MS);
    let usage = billing.usage(&acme(), day, day).await.unwrap();
    let used: i64 = usage.iter().map(|row| row.sums.cost.as_nano()).sum();
    assert_eq!(used, captured);
    bench.wait(60_000);
    top_up(&ledger, "t2", 1).await.unwrap();
    let left = 900_001 - captured;
    assert_eq!(balance(&ledger).await, (left, 0, left), "what nobody ended has expired");
    assert_eq!(assert_sound(&ledger).await.holds_open, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_leaves_sound_books_on_sqlite() {
    crowd(&Bench::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_crowd_leaves_sound_books_on_postgres() {
    crowd(&Bench::postgres(emberbox_postgres::shared().unwrap(), "crowd")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_stale_writer_is_fenced_off_on_postgres() {
    let bench = Bench::postgres(emberbox_postgres::shared().unwrap(), "fence");
    let old = bench.open();
    top_up(&old, "t", 1_000).await.unwrap();
    let new = bench.open();
    let fenced = match old.hold(hold_of("stale", 100)).await {
        Ok(mut hold) => hold.durable().await.unwrap_err(),
        Err(fenced) => fenced,
    };
    assert!(matches!(&fenced, BillingError::Stopped(why) if why.contains("another process")));
    assert!(matches!(top_up(&old, "t2", 1).await, Err(BillingError::Stopped(_))));
    top_up(&new, "t2", 1).await.unwrap();
    assert_eq!(balance(&new).await, (1_001, 0, 1_001));
    assert_sound(&new).await;
}
