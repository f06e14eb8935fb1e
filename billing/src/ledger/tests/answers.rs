//! The same id gets the same answer, for ever; another payload is a conflict.

use super::*;
use crate::hold::HoldEnd;

/// Every operation that uses an id up, and how its answer reads.
async fn ask_all(ledger: &Ledger, ended: HoldId, open: HoldId, voided: HoldId) -> Vec<String> {
    let hold = |hold: Result<Hold, BillingError>| {
        hold.map(|hold| (hold.id, hold.amount, hold.price_version, hold.expires_at_ms))
    };
    let unknown = HoldId::from_uuid(uuid::Uuid::nil());
    let unpriced = HoldRequest { price_version: PriceVersion(9), ..hold_of("unpriced", 1) };
    vec![
        format!("{:?}", hold(ledger.hold(hold_of("held", 100)).await)),
        format!("{:?}", hold(ledger.hold(hold_of("refused", 50_000)).await)),
        format!("{:?}", hold(ledger.hold(unpriced).await)),
        format!("{:?}", top_up(ledger, "bought", 5).await),
        format!("{:?}", ledger.capture(capture_of("captured", open, 1)).await),
        format!("{:?}", ledger.capture(capture_of("late", ended, 1)).await),
        format!("{:?}", ledger.capture(capture_of("unknown", unknown, 1)).await),
        format!("{:?}", ledger.void(op("voided"), voided).await),
        format!("{:?}", ledger.void(op("void-late"), ended).await),
        format!("{:?}", ledger.set_prices(prices()).await),
    ]
}

fn prices() -> NewPriceBook {
    let PriceBook { default_model, models, functions, .. } = PriceBook::initial();
    NewPriceBook { op: op("priced"), effective_at_ms: None, default_model, models, functions }
}

#[tokio::test]
async fn answers_survive_restarts() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 10_000).await.unwrap();
    let (ended, open) = (held(&ledger, "h1", 500).await, held(&ledger, "h2", 500).await);
    let voided = held(&ledger, "h3", 500).await;
    ledger.void(op("v"), ended).await.unwrap();
    let first = ask_all(&ledger, ended, open, voided).await;
    assert_eq!(ask_all(&ledger, ended, open, voided).await, first, "at once");
    let before = balance(&ledger).await;
    ledger.close().await.unwrap();

    let ledger = bench.open();
    // The refusal stays although the money would be there now, and the capture is not repeated.
    top_up(&ledger, "t2", 1_000_000).await.unwrap();
    bench.wait(100_000);
    assert_eq!(ask_all(&ledger, ended, open, voided).await, first, "after a restart");
    let after = balance(&ledger).await;
    assert_eq!((after.0, after.1), (before.0 + 1_000_000, 0), "nothing was done twice");
    assert!(ledger.hold(hold_of("refused-2", 50_000)).await.is_ok(), "a new id is a new try");
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn another_payload_is_a_conflict() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 10_000).await.unwrap();
    let hold = held(&ledger, "h", 500).await;
    let other = held(&ledger, "o", 500).await;
    ledger.capture(capture_of("c", hold, 1)).await.unwrap();
    assert!(ledger.hold(hold_of("poor", 1_000_000)).await.is_err());
    let is_conflict = |error| matches!(error, BillingError::Conflict);
    let thief = HoldRequest { org: OrgId::new("thief"), ..hold_of("h", 500) };
    for request in [hold_of("h", 501), thief, hold_of("t", 1), hold_of("poor", 1)] {
        assert!(is_conflict(ledger.hold(request).await.unwrap_err()));
    }
    for capture in [capture_of("c", hold, 2), capture_of("c", other, 1), capture_of("h", other, 1)]
    {
        assert!(is_conflict(ledger.capture(capture).await.unwrap_err()));
    }
    assert!(is_conflict(ledger.void(op("c"), other).await.unwrap_err()));
    assert!(is_conflict(top_up(&ledger, "t", 1).await.unwrap_err()));
    // A second capture under a new id is told how the hold ended.
    let twice = ledger.capture(capture_of("c2", hold, 1)).await;
    assert!(matches!(twice, Err(BillingError::HoldEnded(HoldEnd::Captured))), "{twice:?}");
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn what_is_invalid_does_not_use_the_id_up() {
    let bench = Bench::new();
    let ledger = bench.open();
    assert!(top_up(&ledger, "t", -1).await.is_err());
    assert!(top_up(&ledger, "t", 1).await.is_ok());
    for id in ["", "a\nb", &"x".repeat(129)] {
        assert!(OpId::new(id).is_err(), "{id:?}");
        assert!(serde_json::from_value::<OpId>(serde_json::json!(id)).is_err(), "{id:?}");
    }
    assert!(OpId::new("ä".repeat(128)).is_ok());
}
