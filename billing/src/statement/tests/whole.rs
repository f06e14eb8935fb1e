//! A month on a real ledger: paid by webhook, used, refunded, disputed; then all figures agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::billing::Billing;
use crate::calendar::Period;
use crate::capture::{CaptureRequest, Ending};
use crate::hold::{HoldRequest, Subject};
use crate::ids::{CallId, KeyId, OpId, OrgId, PriceVersion};
use crate::ledger::{Clock, Ledger, LedgerOptions};
use crate::money::Nano;
use crate::order::{Act, Order, Payment};
use crate::payment::{CreditRates, Instruction, PaymentEvent, PaymentWebhook, payer};
use crate::price::{AuthorPrice, Meter, UsageLine};
use crate::report::{DayQuery, ReceiptQuery};
use crate::statement::{
    GatewayUsage, InvoiceStatus, ReceiptCsv, UsageCsv, invoice, recompute, reconcile,
};

/// 2026-10-20 12:00.
const START_MS: u64 = 1_792_497_600_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn org() -> OrgId {
    OrgId::new("acme")
}

fn nano(credits: &str) -> Nano {
    credits.parse().unwrap()
}

/// What a payment provider's event becomes, its payer looked up where it names none.
async fn pay(ledger: &Ledger, body: &str) -> Order {
    let rates = CreditRates::new([("usd".to_owned(), nano("10"))]).unwrap();
    let webhook = PaymentWebhook::new(vec!["whsec_0123456789".to_owned()], rates).unwrap();
    let event = PaymentEvent::read(body.as_bytes()).unwrap();
    let order = match webhook.instruction(&event).unwrap() {
        Instruction::Order(order) => *order,
        Instruction::Unattributed(later) => {
            let org = payer(ledger, &later.payment).await.unwrap().unwrap();
            later.of(org)
        }
        Instruction::Ignore(reason) => panic!("{reason}"),
    };
    ledger.order(order.clone()).await.unwrap();
    order
}

async fn call(ledger: &Ledger, at_ms: u64, index: u64) -> CallId {
    let is_function = index.is_multiple_of(3);
    let (subject, author) = if is_function {
        let name = "fetch".to_owned();
        let org = OrgId::new("bo");
        let price = AuthorPrice { org, call_fee: nano("0.001"), compute_markup_bps: 1250 };
        (Subject::Function { owner: "bo".to_owned(), name, version: 3 }, Some(price))
    } else {
        (Subject::Model("tiny".to_owned()), None)
    };
    let line = |model: Option<&str>, meter, quantity| UsageLine {
        model: model.map(str::to_owned),
        meter,
        quantity,
    };
    let mut usage = vec![line(Some("tiny"), Meter::OutputTokens, 7 + index)];
    if is_function {
        usage.push(line(None, Meter::Calls, 1));
        usage.push(line(None, Meter::ComputeMicros, 1501 + index));
    }
    let random = u8::try_from(index % 250).unwrap();
    let id = uuid::Builder::from_unix_timestamp_millis(at_ms + index, &[random; 10]).into_uuid();
    let id = CallId::from_uuid(id);
    let request = HoldRequest {
        call: id,
        org: org(),
        key: KeyId::new(format!("key-{}", index % 2)),
        // Too little for some.
        amount: if index % 10 == 9 { nano("0.000001") } else { nano("0.01") },
        price_version: PriceVersion(1),
        subject,
        author,
        provider: None,
        ttl_ms: 60_000,
        holder: None,
    };
    ledger.hold(request).await.unwrap().durable().await.unwrap();
    let third = usize::try_from(index / 3 % 3).unwrap();
    let ending = [Ending::Normal, Ending::GuestTrap, Ending::Deadline][third];
    ledger.capture(CaptureRequest { org: org(), call: id, usage, ending }).await.unwrap();
    id
}

#[tokio::test]
async fn a_month_on_a_real_ledger_agrees_in_every_figure() {
    let folder = tempfile::tempdir().unwrap();
    let now_ms = Arc::new(AtomicU64::new(START_MS));
    let ledger = Ledger::open(LedgerOptions {
        path: folder.path().join("ledger.db"),
        clock: Clock::Manual(Arc::clone(&now_ms)),
        sweep_interval_ms: 1,
        ..LedgerOptions::default()
    })
    .unwrap();

    // Two events of one payment, one of them twice: one posting.
    let session = include_str!("../../payment/fixtures/session_completed.json");
    let intent = include_str!("../../payment/fixtures/intent_succeeded.json");
    for event in [session, intent, session] {
        pay(&ledger, event).await;
    }
    let billing: &dyn Billing = &ledger;
    assert_eq!(billing.balance(&org()).await.unwrap().posted, nano("250"));

    let mut first = None;
    for index in 0..30 {
        let id = call(&ledger, START_MS + DAY_MS * (index / 10), index).await;
        first.get_or_insert(id);
        now_ms.store(START_MS + DAY_MS * (index / 10), Ordering::SeqCst);
    }
    let call_refunded = first.unwrap();
    let act =
        Act::Refund { org: org(), call: call_refunded, amount: None, note: "slow".to_owned() };
    let refund = Order { op: OpId::new("refund-1").unwrap(), by: "operator".to_owned(), act };
    ledger.order(refund).await.unwrap();
    pay(&ledger, include_str!("../../payment/fixtures/charge_refunded.json")).await;
    let dispute = include_str!("../../payment/fixtures/dispute_created.json");
    pay(&ledger, dispute).await;
    pay(&ledger, include_str!("../../payment/fixtures/dispute_withdrawn.json")).await;
    let balance = billing.balance(&org()).await.unwrap();
    assert!(balance.owed > nano("99"), "{balance:?}");
    pay(&ledger, include_str!("../../payment/fixtures/dispute_won.json")).await;

    // November, which closes October.
    let october: Period = "2026-10".parse().unwrap();
    let later_ms = october.ends_at_ms() + DAY_MS;
    now_ms.store(later_ms, Ordering::SeqCst);
    call(&ledger, later_ms, 31).await;
    let payment = Payment {
        org: org(),
        amount: nano("1"),
        rail: "operator".to_owned(),
        reference: None,
        note: String::new(),
    };
    let act = Act::TopUp(payment);
    let order = Order { op: OpId::new("november").unwrap(), by: "operator".to_owned(), act };
    ledger.order(order).await.unwrap();

    let made = invoice(billing, &org(), "Acme", october, later_ms).await.unwrap();
    assert_eq!((made.status, made.receipts, made.lines.len()), (InvoiceStatus::Final, 30, 2));
    assert_eq!(made.paid, nano("150"));
    assert_eq!((made.credit_notes.len(), made.credit_notes[0].call), (1, call_refunded));
    assert!(made.html().contains("Paid (top-ups less chargebacks)"));

    let gateways = GatewayUsage { calls: 30, amount: made.total };
    let found = reconcile(billing, &org(), october, Some(&gateways), later_ms).await.unwrap();
    assert!(found.ok, "{:?}", found.breaks);
    assert!(billing.check().await.unwrap().ok);

    exports_agree(billing, october, made.total).await;
    ledger.close().await.unwrap();
}

/// The exports of a month, receipt by receipt, sum to its invoice.
async fn exports_agree(billing: &dyn Billing, october: Period, total: Nano) {
    let mut sum = Nano::ZERO;
    let query = ReceiptQuery { org: org(), before: None, limit: 1000 };
    for receipt in billing.receipts(query).await.unwrap() {
        let book = billing.prices().await.unwrap();
        let told = recompute(&receipt, &book).unwrap();
        assert!(told.agrees, "{receipt:?} {told:?}");
        if receipt.created_at_ms < october.ends_at_ms() {
            sum = sum.checked_add(receipt.amount).unwrap();
        }
    }
    assert_eq!(sum, total);

    let mut csv = ReceiptCsv::new(billing, org(), october);
    let page = csv.next_page().await.unwrap().unwrap();
    assert_eq!((page.lines().count(), csv.next_page().await.unwrap()), (31, None));
    let (from, to) = (october.first_day(), october.last_day());
    let mut csv = UsageCsv::new(billing, DayQuery { org: org(), from, to });
    let mut lines = 0;
    while let Some(page) = csv.next_page().await.unwrap() {
        lines += page.lines().count();
    }
    assert_eq!(lines, 1 + billing.usage(&org(), from, to).await.unwrap().len());
}
