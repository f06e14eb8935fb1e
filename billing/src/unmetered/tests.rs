//! Prices without money.

use super::*;
use crate::capture::Ending;
use crate::hold::Subject;
use crate::ids::{KeyId, OpId};
use crate::price::{Meter, NewPriceBook, UsageLine};

fn request(price_version: u64) -> HoldRequest {
    HoldRequest {
        call: CallId::generate(),
        org: OrgId::new("acme"),
        key: KeyId::new("key"),
        amount: Nano::from_nano(1_000),
        price_version: PriceVersion(price_version),
        subject: Subject::Model("m".to_owned()),
        author: None,
        provider: None,
        ttl_ms: 1_000,
        holder: None,
    }
}

fn capture(call: CallId) -> CaptureRequest {
    let model = Some("m".to_owned());
    let usage = vec![UsageLine { model, meter: Meter::OutputTokens, quantity: 2 }];
    CaptureRequest { org: OrgId::new("acme"), call, usage, ending: Ending::Normal }
}

#[tokio::test]
async fn calls_are_priced_and_nobody_pays() {
    let billing: Arc<dyn Billing> = Arc::new(Unmetered::new());
    let mut hold = billing.hold(request(1)).await.unwrap();
    hold.durable().await.unwrap();
    let Captured { receipt, balance } = billing.capture(capture(hold.call)).await.unwrap();
    assert_eq!(balance, BOTTOMLESS);
    assert_eq!((receipt.amount, receipt.held), (Nano::from_nano(800), Nano::from_nano(1_000)));
    assert_eq!(receipt.org, OrgId::new("acme"));
    assert_eq!(billing.balance(&receipt.org).await.unwrap(), BOTTOMLESS);
    assert_eq!(billing.receipt(&receipt.org, receipt.call).await.unwrap(), None, "no store");
    assert!(billing.check().await.unwrap().ok);
    let again = billing.capture(capture(hold.call)).await;
    assert!(matches!(again, Err(BillingError::UnknownHold)));
    let given_up = billing.hold(request(1)).await.unwrap();
    billing.void(OrgId::new("acme"), given_up.call).await.unwrap();
    assert!(billing.void(OrgId::new("acme"), given_up.call).await.is_err());
    assert!(matches!(
        billing.hold(request(2)).await,
        Err(BillingError::Refused(Refusal::UnknownPrice))
    ));
}

#[tokio::test]
async fn prices_can_be_published() {
    let billing = Unmetered::default();
    let PriceBook { default_model, models, functions, royalties, overrides, .. } =
        PriceBook::initial();
    let book = NewPriceBook {
        effective_at_ms: None,
        default_model,
        models,
        functions,
        royalties,
        overrides,
    };
    let order = |act| Order { op: OpId::generate(), by: "operator".to_owned(), act };
    let outcome = billing.order(order(Act::SetPrices(book))).await.unwrap();
    let Outcome::Priced(published) = outcome else { panic!("{outcome:?}") };
    assert_eq!(published.version, PriceVersion(2));
    assert_eq!(*billing.prices().await.unwrap(), *published);
    let grant = billing.order(order(Act::SetPlatform(Platform::default()))).await;
    assert!(matches!(grant, Err(BillingError::Invalid(_))), "{grant:?}");
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
    assert!(matches!(billing.capture(capture(first.call)).await, Err(BillingError::UnknownHold)));
}
