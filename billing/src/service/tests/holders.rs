use super::life::{capture, open_ledger, org, request, top_up};
use super::*;
use crate::error::{BillingError, Refusal};
use crate::ids::CallId;

fn refused<T: std::fmt::Debug>(answer: &Result<T, BillingError>) {
    let not_holder = matches!(answer, Err(BillingError::Refused(Refusal::NotHolder)));
    assert!(not_holder, "{answer:?}");
}

#[tokio::test]
async fn only_the_gateway_that_made_a_hold_ends_it() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let holder = site.connect(&service).await;
    let other = RemoteOptions {
        gateway: "gw-2".to_owned(),
        tls: site.tls("gateway-gw-2"),
        ..site.options(service.address)
    };
    let other = RemoteBilling::connect(other).await.unwrap();
    other.order(top_up(1_000_000)).await.unwrap();
    let [one, two, three, own] = std::array::from_fn(|_| CallId::generate());
    for call in [one, two, three] {
        holder.hold(request(call)).await.unwrap().durable().await.unwrap();
    }
    ledger.hold(request(own)).await.unwrap().durable().await.unwrap();
    refused(&other.capture(capture(one)).await);
    refused(&other.void(org(), one).await);
    // The operator's process may; what it holds itself is no gateway's.
    ledger.void(org(), two).await.unwrap();
    refused(&holder.capture(capture(own)).await);
    refused(&holder.void(org(), own).await);
    ledger.capture(capture(own)).await.unwrap();
    // Nor is another's receipt told, or what became of its hold.
    holder.capture(capture(one)).await.unwrap();
    refused(&other.capture(capture(one)).await);
    refused(&other.void(org(), two).await);
    // The same gateway's next process settles what the former one left.
    let next = site.connect(&service).await;
    refused(&other.capture(capture(three)).await);
    assert!(next.capture(capture(three)).await.unwrap().receipt.late);
    let unknown = other.void(org(), CallId::generate()).await;
    assert!(matches!(unknown, Err(BillingError::UnknownHold)), "{unknown:?}");
    service.stop().await;
}

#[tokio::test]
async fn no_gateway_voids_in_advance_for_another() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let one = site.connect(&service).await;
    let two = RemoteOptions {
        gateway: "gw-2".to_owned(),
        tls: site.tls("gateway-gw-2"),
        ..site.options(service.address)
    };
    let two = RemoteBilling::connect(two).await.unwrap();
    one.order(top_up(1_000_000)).await.unwrap();
    let call = CallId::generate();
    assert!(two.void(org(), call).await.is_err());
    one.hold(request(call)).await.unwrap().durable().await.unwrap();
    service.stop().await;
}
