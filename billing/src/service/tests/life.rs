use std::time::Instant;

use super::lost::calls;
use super::scripted::hold_request;
use super::*;
use crate::calendar::Period;
use crate::error::{BillingError, Refusal};
use crate::hold::{HoldEnd, HoldRequest};
use crate::ids::{CallId, OpId, OrgId};
use crate::money::Nano;
use crate::order::{Act, Order, Outcome, Payment};
use crate::price::{Meter, NewPriceBook, PriceBook, UsageLine};
use crate::report::{EntryQuery, Query, ReceiptQuery, Report};
use crate::{CaptureRequest, Clock, Ending, Ledger, LedgerOptions};

pub(super) fn org() -> OrgId {
    OrgId::new("acme")
}

pub(super) fn open_ledger(site: &Site) -> Ledger {
    let options = LedgerOptions { path: site.path().join("ledger.db"), ..LedgerOptions::default() };
    Ledger::open(options).unwrap()
}

pub(super) fn order(act: Act) -> Order {
    Order { op: OpId::generate(), by: "operator".to_owned(), act }
}

pub(super) fn top_up(nano: i64) -> Order {
    order(Act::TopUp(Payment {
        org: org(),
        amount: Nano::from_nano(nano),
        rail: "operator".to_owned(),
        reference: None,
        note: String::new(),
    }))
}

/// A call that generated ten tokens, at the initial prices.
pub(super) fn capture(call: CallId) -> CaptureRequest {
    let model = Some("tiny".to_owned());
    let usage = vec![UsageLine { model, meter: Meter::OutputTokens, quantity: 10 }];
    CaptureRequest { org: org(), call, usage, ending: Ending::Normal }
}

/// What [`capture`] costs, in nano-credits.
pub(super) const COST: i64 = 4000;

pub(super) fn request(call: CallId) -> HoldRequest {
    HoldRequest { amount: Nano::from_nano(10_000), ..hold_request(call) }
}

#[tokio::test]
async fn the_whole_interface_works_from_elsewhere() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let remote: Arc<dyn Billing> = site.connect(&service).await;

    let topped = remote.order(top_up(1_000_000)).await.unwrap();
    assert!(
        matches!(topped, Outcome::Balance(balance) if balance.available.as_nano() == 1_000_000)
    );
    let call = CallId::generate();
    let mut hold = remote.hold(request(call)).await.unwrap();
    assert_eq!((hold.call, hold.amount.as_nano()), (call, 10_000));
    hold.durable().await.unwrap();
    assert_eq!(remote.balance(&org()).await.unwrap().held.as_nano(), 10_000);
    let captured = remote.capture(capture(call)).await.unwrap();
    assert_eq!(captured.receipt.amount.as_nano(), COST);
    assert_eq!(captured.balance.available.as_nano(), 1_000_000 - COST);
    // The same again gives the same receipt, and another payload is a conflict.
    let again = remote.capture(capture(call)).await.unwrap();
    assert_eq!(again.receipt, captured.receipt);
    let other = CaptureRequest { usage: Vec::new(), ..capture(call) };
    assert!(matches!(remote.capture(other).await, Err(BillingError::Conflict)));
    let ended = remote.void(org(), call).await;
    assert!(matches!(ended, Err(BillingError::HoldEnded(HoldEnd::Captured))), "{ended:?}");
    let unknown = remote.void(org(), CallId::generate()).await;
    assert!(matches!(unknown, Err(BillingError::UnknownHold)), "{unknown:?}");
    let given_up = CallId::generate();
    remote.hold(request(given_up)).await.unwrap().durable().await.unwrap();
    remote.void(org(), given_up).await.unwrap();
    let costly = HoldRequest { amount: Nano::MAX, ..request(CallId::generate()) };
    let refused = remote.hold(costly).await.unwrap_err();
    let Refusal::InsufficientCredits { needed, available } = refusal(refused) else { panic!() };
    assert_eq!((needed, available.as_nano()), (Nano::MAX, 1_000_000 - COST));

    let receipt = remote.receipt(&org(), call).await.unwrap().unwrap();
    assert_eq!(*receipt, captured.receipt);
    assert_eq!(ledger.receipt(&org(), call).await.unwrap().unwrap(), receipt);
    let all = ReceiptQuery { org: org(), before: None, limit: 10 };
    assert_eq!(remote.receipts(all).await.unwrap(), [captured.receipt]);
    let too_many = ReceiptQuery { org: org(), before: None, limit: 0 };
    assert!(matches!(remote.receipts(too_many).await, Err(BillingError::Invalid(_))));
    let period = Period::of(Clock::System.now_ms());
    let (from, to) = (period.first_day(), period.last_day());
    let usage = remote.usage(&org(), from, to).await.unwrap();
    assert_eq!(usage.iter().map(|row| row.sums.output_tokens).sum::<u64>(), 10);
    assert_eq!(remote.earnings(&org(), from, to).await.unwrap(), []);
    assert_eq!(remote.totals(&org(), period).await.unwrap().amount.as_nano(), COST);
    let entries =
        EntryQuery { org: None, from_ms: 0, to_ms: u64::MAX >> 20, before: None, limit: 10 };
    let entries = remote.entries(entries).await.unwrap();
    assert_eq!(entries.len(), 2, "a registration and a top-up: {entries:?}");
    assert_eq!(remote.periods().await.unwrap(), []);
    for query in [Query::Messages { limit: 10 }, Query::Platform, Query::Prices, Query::Periods] {
        assert_eq!(remote.ask(query.clone()).await.unwrap(), ledger.ask(query).await.unwrap());
    }
    assert!(remote.check().await.unwrap().ok);
    service.stop().await;
}

fn refusal(error: BillingError) -> Refusal {
    match error {
        BillingError::Refused(refusal) => refusal,
        error => panic!("not refused: {error:?}"),
    }
}

#[tokio::test]
async fn a_newer_process_of_a_gateway_replaces_the_older() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    ledger.order(top_up(1_000_000)).await.unwrap();
    let old = site.connect(&service).await;
    let call = CallId::generate();
    old.hold(request(call)).await.unwrap().durable().await.unwrap();
    let new = site.connect(&service).await;
    assert!(new.holder().epoch > old.holder().epoch);
    assert_eq!(ledger.balance(&org()).await.unwrap().held, Nano::ZERO, "the old holds are voided");
    let stale = refusal(old.hold(request(CallId::generate())).await.unwrap_err());
    assert_eq!(stale, Refusal::StaleGateway { epoch: new.holder().epoch });
    new.hold(request(CallId::generate())).await.unwrap().durable().await.unwrap();
    // What the old one finished meanwhile is not lost.
    let late = old.capture(capture(call)).await;
    assert!(late.is_ok() || matches!(late, Err(BillingError::HoldEnded(_))), "{late:?}");
    service.stop().await;
}

#[tokio::test]
async fn new_prices_arrive_everywhere() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let one = site.connect(&service).await;
    let mut options = site.options(service.address);
    (options.gateway, options.tls) = ("gw-2".to_owned(), site.tls("gateway-gw-2"));
    let two = RemoteBilling::connect(options).await.unwrap();
    assert_eq!(*one.prices().await.unwrap(), PriceBook::initial());
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
    one.order(order(Act::SetPrices(book))).await.unwrap();
    let expect = ledger.prices().await.unwrap();
    assert_eq!(expect.version.0, 2);
    assert_eq!(one.prices().await.unwrap(), expect, "who sets prices sees them at once");
    until("the other gateway has them", || async { two.prices().await.unwrap() == expect }).await;
    service.stop().await;
}

/// Prints how many complete calls a second go through; nothing depends on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_and_twelve_calls_at_a_time() {
    const CLIENTS: usize = 512;
    const ROUNDS: usize = 20;
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let remote = site.connect(&service).await;
    remote.order(top_up(1_000_000_000)).await.unwrap();
    let begin = Instant::now();
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(calls(Arc::clone(&remote), ROUNDS))).collect();
    for client in clients {
        client.await.unwrap();
    }
    let (calls, took) = (CLIENTS * ROUNDS, begin.elapsed());
    let per_second = u128::try_from(calls).unwrap() * 1000 / took.as_millis().max(1);
    println!("{per_second} complete calls a second, {CLIENTS} in flight, over mutual TLS");
    let spent = 1_000_000_000 - COST * i64::try_from(calls).unwrap();
    assert_eq!(ledger.balance(&org()).await.unwrap().available.as_nano(), spent);
    let Report::Check(check) = ledger.ask(Query::Check).await.unwrap() else { panic!() };
    assert!(check.ok, "{check:?}");
    service.stop().await;
}
