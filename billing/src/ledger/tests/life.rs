//! Holds, captures, receipts, prices, usage.

use super::*;
use crate::charge::{Part, Party};
use crate::error::Refusal;
use crate::hold::HoldEnd;
use crate::ids::NAME_BYTES_MAX;
use crate::money::Pico;
use crate::price::{AuthorPrice, FunctionRates, Rates};

#[tokio::test]
async fn a_call_is_held_captured_and_receipted() {
    let bench = Bench::new();
    let ledger = bench.open();
    assert_eq!(balance(&ledger).await, (0, 0, 0));
    top_up(&ledger, "t", 10_000).await.unwrap();
    let hold = held(&ledger, "h", 4_000).await;
    assert_eq!(balance(&ledger).await, (10_000, 4_000, 6_000));
    let receipt = ledger.capture(capture_of("c", hold, 3)).await.unwrap();
    assert_eq!(balance(&ledger).await, (8_800, 0, 8_800));
    assert_eq!((receipt.amount, receipt.held), (nano(1_200), nano(4_000)));
    assert_eq!(receipt.parts, [Part { party: Party::Platform, amount: nano(1_200) }]);
    assert_eq!((receipt.hold, receipt.created_at_ms), (hold, START_MS));
    assert_eq!(ledger.receipt(&acme(), receipt.id).await.unwrap(), Some(receipt.clone()));
    let other = OrgId::new("other");
    assert_eq!(ledger.receipt(&other, receipt.id).await.unwrap(), None, "not theirs");
    let check = assert_sound(&ledger).await;
    assert_eq!((check.captures, check.captured), (1, nano(1_200)));
    assert_eq!((check.debits, check.holds_open), (nano(11_200), 0));
}

#[tokio::test]
async fn a_void_releases_everything() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let hold = held(&ledger, "h", 1_000).await;
    ledger.void(op("v"), hold).await.unwrap();
    assert_eq!(balance(&ledger).await, (1_000, 0, 1_000));
    let late = ledger.capture(capture_of("c", hold, 1)).await;
    assert!(matches!(late, Err(BillingError::HoldEnded(HoldEnd::Voided))), "{late:?}");
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn refusals() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let fee = |call_fee| AuthorPrice { org: acme(), call_fee, compute_markup_bps: 0 };
    let base = || hold_of("h", 10);
    for (request, expect) in [
        (hold_of("a", 1_001), "insufficient credits: 0.000001001 needed, 0.000001 available"),
        (hold_of("b", i64::MAX), "insufficient credits"),
        (HoldRequest { org: OrgId::new("nobody"), ..hold_of("c", 1) }, "0 available"),
        (hold_of("d", -1), "amount: must not be negative"),
        (HoldRequest { price_version: PriceVersion(2), ..hold_of("e", 1) }, "no such price"),
        (HoldRequest { price_version: PriceVersion(u64::MAX), ..hold_of("f", 1) }, "no such price"),
        (HoldRequest { ttl_ms: 0, ..base() }, "ttl_ms"),
        (HoldRequest { ttl_ms: u64::MAX, ..base() }, "ttl_ms"),
        (HoldRequest { org: OrgId::new(""), ..base() }, "org: must have 1 to 256 bytes"),
        (HoldRequest { key: KeyId::new(long.clone()), ..base() }, "key: must have"),
        (HoldRequest { subject: Subject::Model(long.clone()), ..base() }, "subject: must have"),
        (HoldRequest { author: Some(fee(nano(-1))), ..base() }, "author.call_fee"),
    ] {
        let refused = ledger.hold(request).await.map(|hold| hold.id).unwrap_err().to_string();
        assert!(refused.contains(expect), "{refused}");
    }
    for amount in [0, -1, i64::MIN] {
        let refused = top_up(&ledger, "bad", amount).await.unwrap_err();
        assert!(refused.to_string().contains("amount: must be more than zero"), "{refused}");
    }
    let unknown = HoldId::from_uuid(uuid::Uuid::nil());
    let refused = ledger.capture(capture_of("u", unknown, 1)).await;
    assert!(matches!(refused, Err(BillingError::UnknownHold)));
    let refused = ledger.void(op("w"), unknown).await;
    assert!(matches!(refused, Err(BillingError::UnknownHold)));
    assert_eq!(balance(&ledger).await, (1_000, 0, 1_000), "a refusal leaves nothing behind");
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn a_charge_never_exceeds_the_hold() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let hold = held(&ledger, "h", 500).await;
    let too_large = ledger.capture(capture_of("huge", hold, u64::MAX)).await;
    assert!(matches!(too_large, Err(BillingError::Invalid(_))), "the hold stays open");
    let receipt = ledger.capture(capture_of("c", hold, 1_000_000)).await.unwrap();
    assert_eq!(receipt.amount, nano(500));
    assert_eq!(balance(&ledger).await, (500, 0, 500));
    let free = held(&ledger, "free", 0).await;
    assert_eq!(ledger.capture(capture_of("f", free, 9)).await.unwrap().amount, Nano::ZERO);
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn authors_are_credited() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 100_000).await.unwrap();
    let author = OrgId::new("author");
    let price = AuthorPrice { org: author.clone(), call_fee: nano(70), compute_markup_bps: 5_000 };
    let name = || "f".to_owned();
    let subject = Subject::Function { owner: name(), name: name(), version: 3 };
    let request = HoldRequest { author: Some(price), subject, ..hold_of("h", 50_000) };
    let hold = ledger.hold(request).await.unwrap();
    let line = |meter, quantity| UsageLine { model: None, meter, quantity };
    let usage = vec![line(Meter::Calls, 1), line(Meter::ComputeMicros, 10_001)];
    let capture = CaptureRequest { op: op("c"), hold: hold.id, usage, ending: Ending::Normal };
    let receipt = ledger.capture(capture).await.unwrap();
    // Platform 1,000 + 1,000.1; author 70 + 500.05; together 2,570.15, rounded up.
    let parts: Vec<_> = receipt.parts.iter().map(|part| part.amount.as_nano()).collect();
    assert_eq!((receipt.amount.as_nano(), parts), (2_571, vec![2_000, 570, 1]));
    let file = bench.intruder();
    let credited = |account: &str| -> i64 {
        file.query_row("SELECT credits_posted FROM accounts WHERE name = ?1", [account], |row| {
            row.get(0)
        })
        .unwrap()
    };
    assert_eq!(credited("payable:author"), 570);
    assert_eq!((credited("platform"), credited("rounding")), (2_000, 1));
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn holds_expire_at_their_tick() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let in_time = held(&ledger, "h1", 100).await;
    bench.wait(59_999);
    assert!(ledger.capture(capture_of("c1", in_time, 0)).await.is_ok());
    let late = held(&ledger, "h2", 100).await;
    bench.wait(60_000);
    let outcome = ledger.capture(capture_of("c2", late, 0)).await;
    assert!(matches!(outcome, Err(BillingError::HoldEnded(HoldEnd::Expired))), "{outcome:?}");
    let outcome = ledger.void(op("v2"), late).await;
    assert!(matches!(outcome, Err(BillingError::HoldEnded(HoldEnd::Expired))), "{outcome:?}");
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn an_idle_ledger_sweeps() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    held(&ledger, "h", 400).await;
    bench.wait(60_000);
    while balance(&ledger).await != (1_000, 0, 1_000) {
        tokio::task::yield_now().await;
    }
    assert_sound(&ledger).await;
}

#[tokio::test]
async fn time_never_runs_backwards() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000).await.unwrap();
    let first = ledger.hold(hold_of("h1", 100)).await.unwrap();
    bench.clock.store(5, Ordering::SeqCst);
    let second = ledger.hold(hold_of("h2", 100)).await.unwrap();
    assert_eq!(first.expires_at_ms, second.expires_at_ms);
    assert!(first.id < second.id, "ids are ordered");
    ledger.close().await.unwrap();
    let ledger = bench.open();
    let third = ledger.hold(hold_of("h3", 100)).await.unwrap();
    assert_eq!(third.expires_at_ms, first.expires_at_ms, "not across a restart either");
    bench.clock.store(u64::MAX, Ordering::SeqCst);
    assert!(ledger.hold(hold_of("h4", 100)).await.is_ok(), "the end of time is no panic");
}

fn book(id: &str, output: u64, effective_at_ms: Option<u64>) -> NewPriceBook {
    let (zero, output_token) = (Pico::ZERO, Pico::from_pico(output));
    let default_model =
        Rates { input_token: zero, cached_input_token: zero, output_token, call: zero };
    NewPriceBook {
        op: op(id),
        effective_at_ms,
        default_model,
        models: std::collections::BTreeMap::new(),
        functions: FunctionRates { call: zero, compute_ms: zero },
    }
}

#[tokio::test]
async fn prices_are_pinned_by_the_hold() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000_000).await.unwrap();
    assert_eq!(*ledger.prices().await, PriceBook::initial());
    let old = held(&ledger, "h1", 10_000).await;
    let published = ledger.set_prices(book("p", 7_000_000, None)).await.unwrap();
    assert_eq!((published.version, published.effective_at_ms), (PriceVersion(2), START_MS));
    assert_eq!(*ledger.prices().await, *published);
    let request = HoldRequest { price_version: PriceVersion(2), ..hold_of("h2", 10_000) };
    let new = ledger.hold(request).await.unwrap().id;
    for (id, hold, expect) in [("c1", old, (1, 400)), ("c2", new, (2, 7_000))] {
        let receipt = ledger.capture(capture_of(id, hold, 1)).await.unwrap();
        assert_eq!((receipt.price_version.0, receipt.amount.as_nano()), expect);
    }
    ledger.set_prices(book("later", 1, Some(START_MS + 10))).await.unwrap();
    assert_eq!(ledger.prices().await.version, PriceVersion(2));
    bench.wait(10);
    assert_eq!(ledger.prices().await.version, PriceVersion(3));
    ledger.close().await.unwrap();
    assert_eq!(bench.open().prices().await.version, PriceVersion(3));
}

#[tokio::test]
async fn receipts_come_in_pages_and_sum_up() {
    let bench = Bench::new();
    let ledger = bench.open();
    top_up(&ledger, "t", 1_000_000).await.unwrap();
    let mut ids = Vec::new();
    for call in 0..5_u64 {
        let hold = held(&ledger, &format!("h{call}"), 10_000).await;
        let capture = capture_of(&format!("c{call}"), hold, call);
        ids.push(ledger.capture(capture).await.unwrap().id);
        bench.wait(1);
    }
    ids.reverse();
    let page = |before, limit| ReceiptQuery { before, limit };
    for (query, expect) in [
        (page(None, 2), &ids[..2]),
        (page(Some(ids[1]), 2), &ids[2..4]),
        (page(Some(ids[3]), 1000), &ids[4..]),
        (page(Some(ids[4]), 1), &[]),
    ] {
        let found = ledger.receipts(&acme(), query).await.unwrap();
        assert_eq!(found.iter().map(|receipt| receipt.id).collect::<Vec<_>>(), expect);
    }
    for limit in [0, RECEIPTS_PER_PAGE_MAX + 1] {
        let refused = ledger.receipts(&acme(), page(None, limit)).await;
        assert!(matches!(refused, Err(BillingError::Invalid(_))));
    }
    assert!(ledger.receipts(&OrgId::new("x"), page(None, 9)).await.unwrap().is_empty());
    for (since_ms, calls, tokens) in [(0, 5, 10), (START_MS + 2, 3, 9), (u64::MAX, 0, 0)] {
        let usage = ledger.usage(&acme(), since_ms).await.unwrap();
        assert_eq!((usage.calls, usage.total), (calls, nano(tokens * 400)), "since {since_ms}");
        let sum: u64 = usage.rows.iter().map(|row| row.output_tokens).sum();
        assert_eq!(sum, u64::try_from(tokens).unwrap());
    }
}

#[tokio::test]
async fn a_refusal_has_a_number_and_a_class() {
    use crate::error::RefusalClass;
    let needed = nano(1);
    for (refusal, code, class) in [
        (Refusal::InsufficientCredits { needed, available: nano(0) }, 1, RefusalClass::Transient),
        (Refusal::BalanceOverflow, 2, RefusalClass::Final),
    ] {
        assert_eq!((refusal.code(), refusal.class()), (code, class));
    }
}
