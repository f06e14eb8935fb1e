use super::life::org;
use super::scripted::{Scripted, hold_request};
use super::*;
use crate::error::BillingError;
use crate::ids::{CallId, OrgId};

/// Voids that wait together go in one batch, and each is answered.
async fn check(limits: ServiceLimits) {
    let site = Site::new();
    let ledger = Scripted::with(0);
    let service = site.serve(ledger.billing(), limits).await;
    let mut options = site.options(service.address);
    options.limits.batches_max = 1;
    let remote = RemoteBilling::connect(options).await.unwrap();
    let voids: Vec<_> = (0..40)
        .map(|_| {
            let remote = Arc::clone(&remote);
            tokio::spawn(async move { remote.void(org(), CallId::generate()).await })
        })
        .collect();
    let held = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.hold(hold_request(CallId::generate())).await }
    });
    ledger.gate.add_permits(41);
    for void in voids {
        void.await.unwrap().unwrap();
    }
    held.await.unwrap().unwrap().durable().await.unwrap();
    assert_eq!(ledger.log().len(), 41, "something was done twice or never");
    service.stop().await;
}

#[tokio::test]
async fn too_many_operations_go_in_parts() {
    check(ServiceLimits { operations_max: 3, ..ServiceLimits::default() }).await;
}

#[tokio::test]
async fn too_many_bytes_go_in_parts() {
    check(ServiceLimits { body_bytes_max: 700, ..ServiceLimits::default() }).await;
}

#[tokio::test]
async fn what_is_too_much_by_itself_fails_alone() {
    let site = Site::new();
    let ledger = Scripted::open();
    let limits = ServiceLimits { body_bytes_max: 700, ..ServiceLimits::default() };
    let service = site.serve(ledger.billing(), limits).await;
    let mut options = site.options(service.address);
    options.limits.batches_max = 1;
    let remote = RemoteBilling::connect(options).await.unwrap();
    let names = ["a".to_owned(), "x".repeat(1000), "b".to_owned()];
    let voids = names.map(|name| {
        let remote = Arc::clone(&remote);
        tokio::spawn(async move { remote.void(OrgId::new(name), CallId::generate()).await })
    });
    let [first, large, last] = voids;
    first.await.unwrap().unwrap();
    last.await.unwrap().unwrap();
    let refused = large.await.unwrap();
    assert!(
        matches!(&refused, Err(BillingError::Invalid(text)) if text.contains("700")),
        "{refused:?}"
    );
    assert_eq!(ledger.log().len(), 2);
    service.stop().await;
}
