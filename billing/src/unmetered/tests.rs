//! Prices without money.

use super::*;
use crate::capture::Ending;
use crate::hold::Subject;
use crate::ids::KeyId;
use crate::price::{Meter, UsageLine};

fn request(price_version: u64) -> HoldRequest {
    HoldRequest {
        op: OpId::generate(),
        org: OrgId::new("acme"),
        key: KeyId::new("key"),
        amount: Nano::from_nano(1_000),
        price_version: PriceVersion(price_version),
        subject: Subject::Model("m".to_owned()),
        author: None,
        ttl_ms: 1_000,
    }
}

fn capture(hold: HoldId) -> CaptureRequest {
    let model = Some("m".to_owned());
    let usage = vec![UsageLine { model, meter: Meter::OutputTokens, quantity: 2 }];
    CaptureRequest { op: OpId::generate(), hold, usage, ending: Ending::Normal }
}

#[tokio::test]
async fn calls_are_priced_and_nobody_pays() {
    let billing = Unmetered::new();
    let mut hold = billing.hold(request(1)).await.unwrap();
    hold.durable().await.unwrap();
    let receipt = billing.capture(capture(hold.id)).await.unwrap();
    assert_eq!((receipt.amount, receipt.held), (Nano::from_nano(800), Nano::from_nano(1_000)));
    assert_eq!(receipt.org, OrgId::new("acme"));
    assert_eq!(billing.balance(&receipt.org).await.unwrap(), BOTTOMLESS);
    assert_eq!(billing.receipt(&receipt.org, receipt.id).await.unwrap(), None, "no store");
    assert!(billing.check().await.unwrap().ok);
    let again = billing.capture(capture(hold.id)).await;
    assert!(matches!(again, Err(BillingError::UnknownHold)));
    let given_up = billing.hold(request(1)).await.unwrap();
    billing.void(OpId::generate(), given_up.id).await.unwrap();
    assert!(billing.void(OpId::generate(), given_up.id).await.is_err());
    assert!(matches!(billing.hold(request(2)).await, Err(BillingError::UnknownPrice)));
}

#[tokio::test]
async fn prices_can_be_published() {
    let billing = Unmetered::default();
    let PriceBook { default_model, models, functions, .. } = PriceBook::initial();
    let op = OpId::generate();
    let book = NewPriceBook { op, effective_at_ms: None, default_model, models, functions };
    let published = billing.set_prices(book).await.unwrap();
    assert_eq!(published.version, PriceVersion(2));
    assert_eq!(billing.prices().await, published);
    assert!(billing.hold(request(2)).await.is_ok());
}

#[tokio::test]
async fn forgotten_holds_do_not_pile_up() {
    let billing = Unmetered::new();
    let first = billing.hold(request(1)).await.unwrap();
    for _ in 0..HOLDS_OPEN_MAX {
        billing.hold(request(1)).await.unwrap();
    }
    assert_eq!(billing.memory().open.len(), HOLDS_OPEN_MAX);
    assert!(matches!(billing.capture(capture(first.id)).await, Err(BillingError::UnknownHold)));
}
