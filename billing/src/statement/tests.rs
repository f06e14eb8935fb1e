//! What a ledger could answer, rightly and wrongly, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::ids::OpId;
use crate::order::Act;
use crate::report::EntryAct;
use told::{AT_MS, Told, after_ms, done, model_call, nano, october, org, payment, told};

mod exports; // For spreadsheets.
mod recomputed; // What a past call should have cost.
mod told; // The ledger that answers.
mod whole; // The ledger that works.

async fn invoice_of(told: Told, now_ms: u64) -> Invoice {
    invoice(&told, &org(), "Acme & Söhne", october(), now_ms).await.unwrap()
}

#[tokio::test]
async fn an_invoice_is_the_sum_of_its_receipts() {
    let told = told();
    let receipts: Vec<Nano> = told.receipts[..3].iter().map(|receipt| receipt.amount).collect();
    let invoice = invoice_of(told, after_ms()).await;
    assert_eq!((invoice.number.as_str(), invoice.receipts), ("acme-2026-10", 3));
    assert_eq!(invoice.status, InvoiceStatus::Final);
    assert_eq!(invoice.total, sum(receipts).unwrap());
    // 2 x 10 x 0.0000001 + 7 x 0.0000004; 0.000001 + 1.5 x 0.0000001.
    let lines: Vec<_> = invoice.lines.iter().map(|line| (line.calls, line.cost)).collect();
    assert_eq!(lines, [(2, nano("0.0000048")), (1, nano("0.00000115"))]);
    let used: Vec<_> = invoice.lines[0].quantities.iter().map(|q| (q.meter, q.quantity)).collect();
    assert_eq!(used, [(Meter::InputTokens, 20), (Meter::OutputTokens, 7)]);
    let movements: Vec<_> =
        invoice.movements.iter().map(|m| (m.kind, m.amount.to_string())).collect();
    let expect = [
        (MovementKind::TopUp, "25"),
        (MovementKind::Chargeback, "-5"),
        (MovementKind::Grant, "2"),
        (MovementKind::FreeTier, "0.5"),
        (MovementKind::Expiry, "-0.25"),
    ];
    assert_eq!(movements, expect.map(|(kind, amount)| (kind, amount.to_owned())));
    assert_eq!((invoice.paid, invoice.credited), (nano("20"), nano("0.000001")));
    assert_eq!(invoice.net, nano("0.00000495"));
    let note = &invoice.credit_notes[0];
    assert_eq!((note.number.as_str(), note.reason.as_str()), ("acme-2026-10-C4", "was <slow>"));
    let json = serde_json::to_string(&invoice).unwrap();
    assert!(json.contains("\"total\":\"0.00000595\""), "{json}");
    assert_eq!(serde_json::from_str::<Invoice>(&json).unwrap(), invoice);
}

#[tokio::test]
async fn an_invoice_says_whether_it_can_change() {
    let open = Told { closed: false, ..told() };
    assert_eq!(invoice_of(open.clone(), AT_MS).await.status, InvoiceStatus::Running);
    assert_eq!(invoice_of(open.clone(), after_ms()).await.status, InvoiceStatus::Ended);
    let early = october().starts_at_ms() - 1;
    let error = invoice(&open, &org(), "", october(), early).await.unwrap_err();
    assert!(matches!(error, BillingError::Invalid(_)), "{error}");
    // From the sums that are kept, however many receipts a month has and whatever happens now.
    let busy =
        Told { is_busy: true, off: (7, nano("7"), Nano::ZERO), asked: Arc::default(), ..open };
    let asked = Arc::clone(&busy.asked);
    let running = invoice_of(busy, AT_MS).await;
    assert_eq!((running.receipts, running.total), (3, nano("0.00000595")));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn no_payment_is_lost_or_doubled_between_pages() {
    let mut told = told();
    for _ in 0..2500 {
        let (act, paid) =
            (EntryAct::Order(Act::TopUp(payment("1", ""))), [("cash:stripe", "wallet:acme", "1")]);
        told.enter(AT_MS, act, done(), &paid);
    }
    let invoice = invoice_of(told, after_ms()).await;
    assert_eq!((invoice.movements.len(), invoice.paid), (2505, nano("2520")));
    assert!(invoice.movements.is_sorted_by_key(|moved| moved.entry));
}

#[tokio::test]
async fn the_page_loads_nothing_runs_nothing_and_escapes_everything() {
    let hostile = "</title><script>alert('x')</script>&\"\u{202e}\u{0}";
    let mut told = told();
    told.charge(AT_MS, "key", model_call(hostile, 1));
    told.entries[0].act = EntryAct::Order(Act::TopUp(payment("25", hostile)));
    let mut invoice =
        invoice(&told, &OrgId::new(hostile), hostile, october(), after_ms()).await.unwrap();
    invoice.seller = vec![hostile.to_owned(), "1 Main Street".to_owned()];
    invoice.credit_notes[0].reason = hostile.to_owned();
    let page = invoice.html();
    let escaped =
        "&lt;/title&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}\u{fffd}";
    // Title, number, name, organisation, seller, model, credit note (number and reason), note.
    assert_eq!(page.matches(escaped).count(), 9, "{page}");
    for absent in [
        "<script",
        "</title><",
        "http:",
        "https:",
        "url(",
        "src=",
        "<link",
        "<img",
        "@import",
        "\u{202e}",
        "\u{0}",
    ] {
        assert!(!page.contains(absent), "{absent}");
    }
    for present in [
        "@page {\n  size: A4",
        "content: \"Invoice ??title??script?alert??x????script?????-2026-10\";",
        "counter(page)",
        "@media print",
        "display: table-header-group",
        "Net, in credits",
        "<td class=\"n\">0.00000115</td>",
        "<td class=\"n\">25.00000000</td>",
        "<td class=\"n\">\u{2212}5.00000000</td>",
        "bo/fetch <small>version 3</small>",
        "1\u{202f}500 \u{b5}s of compute",
    ] {
        assert!(page.contains(present), "{present}\n{page}");
    }
    assert_eq!(page.matches("<thead>").count(), 3);
    assert!(!page.contains("provisional"));
    for tag in ["table", "tbody", "tr", "td", "th", "div", "section", "dl", "main", "header"] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[tokio::test]
async fn every_break_is_named_with_both_figures() {
    let one = Nano::from_nano(1);
    let right = GatewayUsage { calls: 3, amount: nano("0.00000595") };
    let edit = |edit: fn(&mut Told)| {
        let mut told = told();
        edit(&mut told);
        told
    };
    let sum_off = "come to 0.000005951 credits, the receipts to 0.00000595.";
    let rows: [(Told, Option<GatewayUsage>, Vec<String>); 9] = [
        (told(), None, vec![]),
        (told(), Some(right), vec![]),
        (
            told(),
            Some(GatewayUsage { calls: 4, ..right }),
            vec!["The gateways count 4 calls, the receipts 3.".to_owned()],
        ),
        (
            told(),
            Some(GatewayUsage { amount: nano("0.000005951"), ..right }),
            vec![format!("The gateways {sum_off}")],
        ),
        (
            Told { off: (0, Nano::ZERO, one), ..told() },
            None,
            vec![format!("The transfers of captures {sum_off}")],
        ),
        (
            edit(|told| {
                told.usage[0].sums.cost = nano("0.000003001");
                told.usage[1].sums.calls = 2;
            }),
            None,
            vec![
                "The sums of usage count 4 calls, the receipts 3.".to_owned(),
                format!("The sums of usage {sum_off}"),
                "The lines of the invoice count 4 calls, the receipts 3.".to_owned(),
                format!("The lines of the invoice {sum_off}"),
                "The total of the invoice count 4 calls, the receipts 3.".to_owned(),
                format!("The total of the invoice {sum_off}"),
            ],
        ),
        (
            edit(|told| told.entries[0].transfers[0].amount = nano("24")),
            None,
            vec!["Entry 1 (op-1) is a top-up of 25 credits, and it moved 24.".to_owned()],
        ),
        (
            edit(|told| told.entries[1].transfers.truncate(1)),
            None,
            vec!["Entry 2 (op-2) is a chargeback of 5 credits, and it moved 4.".to_owned()],
        ),
        (
            edit(|told| told.entries[3].transfers.clear()),
            None,
            vec!["Entry 4 (op-4) is a refund of 0.000001 credits, and it moved 0.".to_owned()],
        ),
    ];
    for (told, gateways, expect) in rows {
        let found =
            reconcile(&told, &org(), october(), gateways.as_ref(), after_ms()).await.unwrap();
        assert_eq!(found.breaks, expect);
        assert_eq!(found.ok, expect.is_empty());
        assert_eq!(found.figures.len(), 5 + usize::from(gateways.is_some()));
    }
    let busy = Told { is_busy: true, ..told() };
    let found = reconcile(&busy, &org(), october(), None, after_ms()).await.unwrap();
    assert!(!found.ok && found.breaks[0].contains("ask again"), "{:?}", found.breaks);
}

#[tokio::test]
async fn the_payer_of_a_payment_is_found_in_the_audit_log() {
    let told = told();
    for (op, expect) in [("op-1", Some(org())), ("op-3", None), ("op-5", None), ("op-99", None)] {
        let found = crate::payment::payer(&told, &OpId::new(op).unwrap()).await.unwrap();
        assert_eq!(found, expect, "{op}");
    }
}
