use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::life::{open_ledger, org, request, top_up};
use super::lost::Way;
use super::scripted::{Scripted, hold_request};
use super::*;
use crate::ids::CallId;

#[tokio::test]
async fn a_hold_is_never_sent_again_after_its_void() {
    let site = Site::new();
    let ledger = Scripted::open();
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let way = Way::to(service.address).await;
    let remote = RemoteBilling::connect(site.options(way.address)).await.unwrap();
    // Decided, and not durable: nobody knows whether it is kept.
    let (commit, committed) = oneshot::channel();
    *ledger.commit.lock().unwrap() = Some(committed);
    let call = CallId::generate();
    let mut hold = remote.hold(hold_request(call)).await.unwrap();
    let void = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.void(org(), call).await }
    });
    // Another call's operation tells that the void would have been sent by now.
    remote.void(org(), CallId::generate()).await.unwrap();
    way.turn().cut();
    hold.durable().await.unwrap();
    void.await.unwrap().unwrap();
    let of_call = |line: &String| line.ends_with(&call.to_string());
    let log: Vec<String> = ledger.log().into_iter().filter(of_call).collect();
    assert_eq!(log, [format!("hold {call}"), format!("hold {call}"), format!("void {call}")]);
    drop(commit);
    service.stop().await;
}

fn batch(operations: &[&str]) -> String {
    format!("{{\"operations\":[{}]}}", operations.join(","))
}

fn hold_text(call: CallId) -> String {
    let holder = Some(crate::Holder { gateway: "gw-1".to_owned(), epoch: 1 });
    let request = crate::HoldRequest { holder, ..request(call) };
    format!("{{\"hold\":{}}}", serde_json::to_string(&request).unwrap())
}

fn void_text(call: CallId) -> String {
    format!("{{\"void\":{{\"org\":\"acme\",\"call\":\"{call}\"}}}}")
}

#[tokio::test]
async fn a_hold_that_arrives_after_its_void_is_not_opened() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let remote = site.connect(&service).await;
    remote.order(top_up(1_000_000)).await.unwrap();
    let (late, well) = (CallId::generate(), CallId::generate());
    for (operation, expect) in [
        (void_text(late), "unknown_hold"),
        (hold_text(late), "\"hold_end\":\"voided\""),
        (void_text(late), "unknown_hold"),
        (hold_text(late), "\"hold_end\":\"voided\""),
        // The ledger itself knows what became of the others.
        (hold_text(well), "\"durable\":true"),
        (void_text(well), "voided"),
        (hold_text(well), "\"durable\":true"),
    ] {
        let (status, told) = site.ask(&service, ("POST", "/v1/batch"), &batch(&[&operation])).await;
        assert!(status == 200 && told.contains(expect), "{operation} was answered {told}");
    }
    assert_eq!(ledger.balance(&org()).await.unwrap().held.as_nano(), 0);
    service.stop().await;
}

#[tokio::test]
async fn a_hold_that_its_void_passes_by_is_voided() {
    let site = Site::new();
    let ledger = Scripted::with(0);
    ledger.strict.store(true, Ordering::SeqCst);
    let service = site.serve(ledger.billing(), ServiceLimits::default()).await;
    let call = CallId::generate();
    let (hold, void) = (batch(&[&hold_text(call)]), batch(&[&void_text(call)]));
    let held = site.ask(&service, ("POST", "/v1/batch"), &hold);
    let voided = async {
        until("the hold is at the ledger", || async { ledger.waiting.load(Ordering::SeqCst) == 1 })
            .await;
        let voided = site.ask(&service, ("POST", "/v1/batch"), &void).await;
        ledger.gate.add_permits(2);
        voided
    };
    let ((_, held), (_, voided)) = tokio::join!(held, voided);
    assert!(voided.contains("unknown_hold"), "{voided}");
    assert!(held.contains("\"hold_end\":\"voided\""), "{held}");
    assert_eq!(ledger.log(), [format!("hold {call}"), format!("void {call}")]);
    service.stop().await;
}
