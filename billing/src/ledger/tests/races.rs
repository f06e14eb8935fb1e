//! Many callers at once.

use super::*;
use crate::error::Refusal;
use crate::hold::HoldEnd;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_the_affordable_holds_succeed() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_099).await.unwrap();
    let mut racers = JoinSet::new();
    for racer in 0..300 {
        let ledger = ledger.clone();
        racers.spawn(async move {
            match ledger.hold(hold_of(&format!("r{racer}"), 100)).await {
                Ok(mut hold) => hold.durable().await.map(|()| true),
                Err(BillingError::Refused(Refusal::InsufficientCredits { .. })) => Ok(false),
                Err(error) => Err(error),
            }
        });
    }
    let outcomes: Vec<bool> = racers.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|held| **held).count(), 10);
    assert_eq!(balance(&ledger).await, (1_099, 1_000, 99));
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hold_ends_once_whoever_comes_first() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 100_000).await.unwrap();
    let mut captured = 0_i64;
    for round in 0..30 {
        let hold = held(&ledger, &format!("h{round}"), 400).await;
        let (one, two) = (ledger.clone(), ledger.clone());
        let capture = capture_of(&format!("c{round}"), hold, 1);
        let capture = tokio::spawn(async move { one.capture(capture).await });
        let void = tokio::spawn(async move { two.void(op(&format!("v{round}")), hold).await });
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
async fn one_id_asked_many_times_at_once_is_one_hold() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let ledger = ledger.clone();
        callers.spawn(async move { held(&ledger, "same", 600).await });
    }
    let ids = callers.join_all().await;
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(balance(&ledger).await, (1_000, 600, 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bad_operations_leave_the_rest_of_their_batch_alone() {
    let bench = Bench::new();
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
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    intruder.execute_batch("ROLLBACK").unwrap();
    for (is_bad, outcome) in callers.join_all().await {
        assert_eq!(outcome.is_err(), is_bad, "{outcome:?}");
    }
    assert_eq!(balance(&ledger).await.1, 90_000);
    assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_queue_refuses_new_holds_but_takes_captures() {
    let bench = Bench::new();
    let options = LedgerOptions { queue_max: 1, batch_max: 1, ..bench.options() };
    let ledger = Ledger::open(options).unwrap();
    top_up(&ledger, "t", 10_000).await.unwrap();
    let hold = held(&ledger, "h", 400).await;
    let intruder = bench.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..10 {
        let ledger = ledger.clone();
        callers.spawn(async move {
            let hold = ledger.hold(hold_of(&format!("h{caller}"), 100)).await;
            hold.map(|hold| hold.id)
        });
    }
    // One is with the writer and one in the queue, at most; the others hear at once.
    for _ in 0..8 {
        let outcome = callers.join_next().await.unwrap().unwrap();
        assert!(matches!(outcome, Err(BillingError::Overloaded)), "{outcome:?}");
    }
    let capturer = ledger.clone();
    let capture = tokio::spawn(async move { capturer.capture(capture_of("c", hold, 1)).await });
    intruder.execute_batch("ROLLBACK").unwrap();
    for outcome in callers.join_all().await {
        assert!(matches!(outcome, Ok(_) | Err(BillingError::Overloaded)), "{outcome:?}");
    }
    assert_eq!(capture.await.unwrap().unwrap().amount, nano(400));
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_hold_can_be_awaited_again_after_a_cancelled_wait() {
    let bench = Bench::new();
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
    for call in 0..25_u64 {
        let (hold_id, end_id) = (format!("h{caller}-{call}"), format!("e{caller}-{call}"));
        let Ok(hold) = ledger.hold(hold_of(&hold_id, 4_000)).await else { continue };
        match (caller + call) % 4 {
            0 => ledger.void(op(&end_id), hold.id).await.unwrap(),
            1 => continue,
            ending => {
                let capture = capture_of(&end_id, hold.id, ending * 5);
                captured += ledger.capture(capture).await.unwrap().amount.as_nano();
            }
        }
    }
    captured
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_leaves_sound_books() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 900_000).await.unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        callers.spawn(calls_of(ledger.clone(), caller));
    }
    let captured: i64 = callers.join_all().await.into_iter().sum();
    assert_eq!(balance(&ledger).await.0, 900_000 - captured);
    let check = assert_sound(&ledger).await;
    assert_eq!(check.captured, nano(captured));
    assert_eq!(ledger.usage(&acme(), 0).await.unwrap().total, nano(captured));
    bench.wait(60_000);
    top_up(&ledger, "t2", 1).await.unwrap();
    let left = 900_001 - captured;
    assert_eq!(balance(&ledger).await, (left, 0, left), "what nobody ended has expired");
    assert_eq!(assert_sound(&ledger).await.holds_open, 0);
}
