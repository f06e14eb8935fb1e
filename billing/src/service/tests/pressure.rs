use std::sync::atomic::Ordering;

use super::scripted::{Scripted, hold_request};
use super::*;
use crate::error::{BillingError, StoreError};
use crate::ids::{CallId, OrgId};
use crate::report::Query;

fn org() -> OrgId {
    OrgId::new("acme")
}

#[tokio::test]
async fn a_full_service_turns_holds_away_and_keeps_what_must_be_done() {
    let site = Site::new();
    let ledger = Scripted::with(0);
    let limits = ServiceLimits { batches_max: 1, ..ServiceLimits::default() };
    let service = site.serve(ledger.billing(), limits).await;
    let remote = site.connect(&service).await;
    let first = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.hold(hold_request(CallId::generate())).await }
    });
    until("the first hold is at the ledger", || async {
        ledger.waiting.load(Ordering::SeqCst) == 1
    })
    .await;
    let refused = remote.hold(hold_request(CallId::generate())).await;
    assert!(matches!(refused, Err(BillingError::Overloaded)), "{refused:?}");
    let void = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.void(org(), CallId::generate()).await }
    });
    // The one place is taken, so a batch by hand is refused too.
    let (status, told) = site.ask(&service, ("POST", "/v1/batch"), "{\"operations\":[]}").await;
    assert!(status == 503 && told.contains("overloaded"), "{status} {told}");
    ledger.gate.add_permits(2);
    first.await.unwrap().unwrap();
    void.await.unwrap().unwrap();
    assert_eq!(ledger.log().len(), 2, "what was turned away reached the ledger");
    service.stop().await;
}

#[tokio::test]
async fn questions_have_places_of_their_own() {
    let site = Site::new();
    let ledger = Scripted::with(0);
    let limits = ServiceLimits { queries_max: 1, ..ServiceLimits::default() };
    let service = site.serve(ledger.billing(), limits).await;
    let remote = site.connect(&service).await;
    let first = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.ask(Query::Periods).await }
    });
    until("the first question is at the ledger", || async {
        ledger.waiting.load(Ordering::SeqCst) == 1
    })
    .await;
    let refused = remote.ask(Query::Periods).await;
    assert!(matches!(refused, Err(BillingError::Overloaded)), "{refused:?}");
    ledger.gate.add_permits(2);
    first.await.unwrap().unwrap();
    remote.ask(Query::Periods).await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn a_full_queue_turns_holds_away_and_makes_the_rest_wait() {
    let site = Site::new();
    let ledger = Scripted::with(0);
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let mut options = site.options(service.address);
    (options.limits.holds_max, options.limits.others_max) = (1, 1);
    let remote = RemoteBilling::connect(options).await.unwrap();
    let hold = remote.hold(hold_request(CallId::generate()));
    let mut hold = std::pin::pin!(hold);
    assert!(futures_poll(hold.as_mut()).await.is_none(), "decided already");
    let refused = remote.hold(hold_request(CallId::generate())).await;
    assert!(matches!(refused, Err(BillingError::Overloaded)), "{refused:?}");
    let voids: Vec<_> = (0..3)
        .map(|_| {
            let remote = Arc::clone(&remote);
            tokio::spawn(async move { remote.void(org(), CallId::generate()).await })
        })
        .collect();
    ledger.gate.add_permits(4);
    hold.await.unwrap().durable().await.unwrap();
    for void in voids {
        void.await.unwrap().unwrap();
    }
    ledger.gate.add_permits(1);
    until("a place is free again", || async {
        remote.hold(hold_request(CallId::generate())).await.is_ok()
    })
    .await;
    service.stop().await;
}

/// What a future has by now; `None` where it needs to wait.
async fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut future = Some(future);
    std::future::poll_fn(|cx| {
        let polled = future.take().map(|future| future.poll(cx));
        std::task::Poll::Ready(match polled {
            Some(std::task::Poll::Ready(output)) => Some(output),
            _ => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_void_never_overtakes_its_hold() {
    let site = Site::new();
    let ledger = Scripted::with(0);
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let remote = site.connect(&service).await;
    let call = CallId::generate();
    let mut hold = Box::pin(remote.hold(hold_request(call)));
    assert!(futures_poll(hold.as_mut()).await.is_none());
    until("the hold is at the ledger", || async { ledger.waiting.load(Ordering::SeqCst) == 1 })
        .await;
    let mut void = Box::pin(remote.void(org(), call));
    assert!(futures_poll(void.as_mut()).await.is_none());
    // Another call's operation passes by.
    let other = CallId::generate();
    let mut passing = Box::pin(remote.void(org(), other));
    assert!(futures_poll(passing.as_mut()).await.is_none());
    until("the other is at the ledger", || async { ledger.waiting.load(Ordering::SeqCst) == 2 })
        .await;
    ledger.gate.add_permits(3);
    let (hold, void, passing) = tokio::join!(hold, void, passing);
    assert!(hold.is_ok() && void.is_ok() && passing.is_ok());
    let expect = [format!("hold {call}"), format!("void {other}"), format!("void {call}")];
    assert_eq!(ledger.log(), expect);
    service.stop().await;
}

#[tokio::test]
async fn one_batch_keeps_the_order_of_a_call() {
    let site = Site::new();
    let ledger = Scripted::open();
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let call = CallId::generate();
    let mut request = hold_request(call);
    request.holder = Some(crate::Holder { gateway: "gw-1".to_owned(), epoch: 1 });
    let hold = serde_json::to_string(&request).unwrap();
    let void = format!("{{\"void\":{{\"org\":\"acme\",\"call\":\"{call}\"}}}}");
    let pair = format!("{{\"hold\":{hold}}},{void}");
    let batch = format!("{{\"operations\":[{}]}}", [pair.as_str(); 20].join(","));
    let (status, _) = site.ask(&service, ("POST", "/v1/batch"), &batch).await;
    assert_eq!(status, 200);
    let in_order = (0..20).flat_map(|_| [format!("hold {call}"), format!("void {call}")]);
    assert_eq!(ledger.log(), in_order.collect::<Vec<_>>());
    service.stop().await;
}

#[tokio::test]
async fn a_hold_is_decided_before_it_is_durable() {
    let site = Site::new();
    let ledger = Scripted::open();
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let remote = site.connect(&service).await;
    for (outcome, expect) in [
        (Some(Ok(())), "Ok(())"),
        (Some(Err(BillingError::Stopped("disk".to_owned()))), "Err(Stopped(\"disk\"))"),
        (Some(Err(BillingError::Store(StoreError::new(std::fmt::Error)))), "Err(Store("),
        (None, "Err(Stopped("),
    ] {
        let (commit, committed) = oneshot::channel();
        *ledger.commit.lock().unwrap() = Some(committed);
        let call = CallId::generate();
        let mut hold = remote.hold(hold_request(call)).await.unwrap();
        assert_eq!(hold.call, call);
        assert!(futures_poll(Box::pin(hold.durable()).as_mut()).await.is_none(), "too early");
        match outcome {
            Some(outcome) => commit.send(outcome).unwrap(),
            None => drop(commit),
        }
        let durable = format!("{:?}", hold.durable().await);
        assert!(durable.starts_with(expect), "{durable}");
        // What is known stays known.
        assert_eq!(format!("{:?}", hold.durable().await), durable);
    }
    service.stop().await;
}

#[tokio::test]
async fn closing_answers_what_is_queued_and_takes_nothing_more() {
    let site = Site::new();
    let ledger = Scripted::with(0);
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let remote = site.connect(&service).await;
    let void = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.void(org(), CallId::generate()).await }
    });
    until("the void is at the ledger", || async { ledger.waiting.load(Ordering::SeqCst) == 1 })
        .await;
    let mut close = Box::pin(remote.close());
    assert!(futures_poll(close.as_mut()).await.is_none(), "closed with an operation on its way");
    let late = remote.hold(hold_request(CallId::generate())).await;
    assert!(matches!(late, Err(BillingError::Stopped(_))), "{late:?}");
    ledger.gate.add_permits(1);
    close.await;
    void.await.unwrap().unwrap();
    service.stop().await;
}

#[tokio::test]
async fn an_operation_that_is_too_large_is_refused_at_once() {
    let site = Site::new();
    let service = site.serve(Scripted::open(), ServiceLimits::default()).await;
    let mut options = site.options(service.address);
    options.limits.batch_bytes_max = 1000;
    let remote = RemoteBilling::connect(options).await.unwrap();
    let refused = remote.void(OrgId::new("x".repeat(1000)), CallId::generate()).await;
    assert!(matches!(refused, Err(BillingError::Invalid(_))), "{refused:?}");
    // Many small ones go in several batches.
    let voids: Vec<_> = (0..100)
        .map(|_| {
            let remote = Arc::clone(&remote);
            tokio::spawn(async move { remote.void(org(), CallId::generate()).await })
        })
        .collect();
    for void in voids {
        void.await.unwrap().unwrap();
    }
    service.stop().await;
}
