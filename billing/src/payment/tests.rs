//! One row per event, signature and rate. The signatures were made by another program (OpenSSL):
//! `(printf '1795000000.'; cat FILE) | openssl dgst -sha256 -hmac whsec_fixture_0123456789abcdef`.

use super::*;
use crate::ids::{OpId, OrgId};
use crate::money::Nano;
use crate::order::{Act, Order, Payment};

const SECRET: &str = "whsec_fixture_0123456789abcdef";
const OTHER: &str = "whsec_fixture_rolled_over_4567";
const SIGNED_AT_S: u64 = 1_795_000_000;

const SESSION: &str = include_str!("fixtures/session_completed.json");
const SESSION_LATER: &str = include_str!("fixtures/session_async.json");
const SESSION_UNPAID: &str = include_str!("fixtures/session_unpaid.json");
const INTENT: &str = include_str!("fixtures/intent_succeeded.json");
const INTENT_YEN: &str = include_str!("fixtures/intent_jpy.json");
const INTENT_FRANC: &str = include_str!("fixtures/intent_chf.json");
const REFUND: &str = include_str!("fixtures/charge_refunded.json");
const REFUND_REST: &str = include_str!("fixtures/charge_refunded_rest.json");
const DISPUTE: &str = include_str!("fixtures/dispute_created.json");
const DISPUTE_WITHDRAWN: &str = include_str!("fixtures/dispute_withdrawn.json");
const DISPUTE_INQUIRY: &str = include_str!("fixtures/dispute_inquiry.json");
const DISPUTE_WON: &str = include_str!("fixtures/dispute_won.json");
const DISPUTE_LOST: &str = include_str!("fixtures/dispute_lost.json");

const SIGNATURES: [(&str, &str); 13] = [
    (SESSION, "f021fc9f1d58f35219b3c5ae90ca8621d5a9cec61f480662e241f227325b9e92"),
    (SESSION_LATER, "044b9009c537aa577db5a5b4a0d6acf01e2eefa1c92484292f493a4c859caa54"),
    (SESSION_UNPAID, "7c59a3e35499eb1a64a63fcea0dde5787bd50aabd1987fa76aeb0014909f993e"),
    (INTENT, "fd7c5bc2f1955fae0f7ff69d21a14ef951a51f9eb6cc155f5fd0aec7cbd81ba2"),
    (INTENT_YEN, "d5695766b40b74134a303d571d4b0bbfa141d828469f040014b962f6fb2b258f"),
    (INTENT_FRANC, "9e5fbba90cde7385635b7b1104389b256cb7e8a6c3aacd853f65be223553086d"),
    (REFUND, "e8031479b4892bf24ba5019815e6599a375f5fbcbca65678a2cf38dabc5c34cc"),
    (REFUND_REST, "2e8bd4273bfaadf98f756c21a8aaa875afa3e2f277e757ca0440fb758fed5594"),
    (DISPUTE, "488ef8e15ad944dc27b39cede7fa7b3b87fb19662de9ae0183972b9caaf6ab0a"),
    (DISPUTE_WITHDRAWN, "44d382031cadf7499f7a29cb66b94ff4642dd6412d62472b037d33c5c3de996a"),
    (DISPUTE_INQUIRY, "72cac2b8e625766bf166e1ed1032b0004fb1813cd7f7eea077266f32cdb36b57"),
    (DISPUTE_WON, "6cebe20a5162470f4305511d79fe0a3d478a48d784a91c71106523c41652d4f3"),
    (DISPUTE_LOST, "70ca47d3170fcd810610a02ebbe6877fa048b461894772bc5602831adf4e2f7d"),
];
const WHOLE: &str = "where a whole number of minor units belongs";
const INTENT_BY_OTHER: &str = "d37d8102b60149173c1affa502d1e4e6a28789e6241838de3a29c79d87b6c88e";

fn nano(credits: &str) -> Nano {
    credits.parse().unwrap()
}

fn webhook(secrets: &[&str]) -> PaymentWebhook {
    let rates = [("usd", "10"), ("EUR", "11.25"), ("jpy", "0.07"), ("kwd", "32.5")];
    let rates = rates.map(|(code, rate)| (code.to_owned(), nano(rate)));
    let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    PaymentWebhook::new(secrets, CreditRates::new(rates).unwrap()).unwrap()
}

fn signature_of(body: &str) -> &'static str {
    SIGNATURES.iter().find(|(signed, _)| *signed == body).unwrap().1
}

#[test]
fn every_fixture_is_accepted_with_its_signature_and_no_other() {
    let webhook = webhook(&[SECRET]);
    for (body, signature) in SIGNATURES {
        let header = format!("t={SIGNED_AT_S},v1={signature}");
        webhook.verify(Some(&header), body.as_bytes(), SIGNED_AT_S).unwrap();
        for (_, other) in SIGNATURES.iter().filter(|(_, other)| *other != signature) {
            let header = format!("t={SIGNED_AT_S},v1={other}");
            let outcome = webhook.verify(Some(&header), body.as_bytes(), SIGNED_AT_S);
            assert_eq!(outcome.unwrap_err(), PaymentError::SignatureMismatch);
        }
    }
}

#[test]
fn a_signature_is_accepted_or_refused_for_the_right_reason() {
    let good = signature_of(INTENT);
    let bad = "0".repeat(64);
    let other = INTENT_BY_OTHER;
    let malformed = |reason: &str| Err(PaymentError::SignatureMalformed(reason.to_owned()));
    let t = SIGNED_AT_S;
    let is = |text: &str| Some(text.to_owned());
    let mismatch = Err(PaymentError::SignatureMismatch);
    let hex = "a v1 signature is not 64 hex digits";
    let no_time = "its time is not in seconds since 1970";
    let rows = [
        ("as sent", is(&format!("t={t},v1={good}")), t, Ok(())),
        ("in capitals", is(&format!("t={t},v1={}", good.to_uppercase())), t, Ok(())),
        ("with spaces", is(&format!("t={t}, v1={good}")), t, Ok(())),
        ("with an old scheme", is(&format!("t={t},v1={good},v0=abc")), t, Ok(())),
        ("rolled, second", is(&format!("t={t},v1={bad},v1={good}")), t, Ok(())),
        ("300 s old", is(&format!("t={t},v1={good}")), t + 300, Ok(())),
        (
            "301 s old",
            is(&format!("t={t},v1={good}")),
            t + 301,
            Err(PaymentError::TooOld { age_s: 301 }),
        ),
        ("300 s ahead", is(&format!("t={t},v1={good}")), t - 300, Ok(())),
        (
            "301 s ahead",
            is(&format!("t={t},v1={good}")),
            t - 301,
            Err(PaymentError::FromTheFuture { ahead_s: 301 }),
        ),
        ("missing", None, t, Err(PaymentError::SignatureMissing)),
        ("all zeros", is(&format!("t={t},v1={bad}")), t, mismatch.clone()),
        ("another secret", is(&format!("t={t},v1={other}")), t, mismatch.clone()),
        ("another time", is(&format!("t={},v1={good}", t + 1)), t, mismatch.clone()),
        ("the same time otherwise", is(&format!("t=0{t},v1={good}")), t, mismatch.clone()),
        ("wrong and old", is(&format!("t={t},v1={bad}")), t + 9999, mismatch),
        (
            "only v0",
            is(&format!("t={t},v0={good}")),
            t,
            malformed("it has no signature of scheme v1"),
        ),
        ("empty", is(""), t, malformed("it is written as t=…,v1=…")),
        ("no time", is(&format!("v1={good}")), t, malformed("it has no time (t=…)")),
        ("two times", is(&format!("t={t},t={t},v1={good}")), t, malformed("it has two times")),
        ("negative time", is(&format!("t=-1,v1={good}")), t, malformed(no_time)),
        ("signed time", is(&format!("t=+{t},v1={good}")), t, malformed(no_time)),
        ("endless time", is(&format!("t={t}0000,v1={good}")), t, malformed(no_time)),
        ("no digits", is(&format!("t=,v1={good}")), t, malformed(no_time)),
        ("short", is(&format!("t={t},v1={}", &good[1..])), t, malformed(hex)),
        ("long", is(&format!("t={t},v1={good}00")), t, malformed(hex)),
        ("not hex", is(&format!("t={t},v1=g{}", &good[1..])), t, malformed(hex)),
        (
            "17 signatures",
            is(&format!("t={t}{}", format!(",v1={bad}").repeat(17))),
            t,
            malformed("it has too many signatures"),
        ),
        ("too long", is(&format!("t={t},v0={}", "0".repeat(2048))), t, malformed("it is too long")),
    ];
    for (row, header, now_s, expect) in rows {
        let outcome = webhook(&[SECRET]).verify(header.as_deref(), INTENT.as_bytes(), now_s);
        assert_eq!(outcome.map(|_| ()), expect, "{row}");
    }
}

#[test]
fn each_of_several_secrets_is_enough() {
    let both = format!("t={SIGNED_AT_S},v1={},v1={INTENT_BY_OTHER}", signature_of(INTENT));
    let one = format!("t={SIGNED_AT_S},v1={INTENT_BY_OTHER}");
    for (secrets, header, accepted) in [
        (vec![SECRET, OTHER], &one, true),
        (vec![OTHER], &one, true),
        (vec![OTHER], &both, true),
        (vec![SECRET], &one, false),
        (vec!["whsec_neither_0123456789"], &both, false),
    ] {
        let outcome = webhook(&secrets).verify(Some(header), INTENT.as_bytes(), SIGNED_AT_S);
        assert_eq!(outcome.is_ok(), accepted, "{secrets:?} {header}");
    }
}

#[test]
fn a_body_that_was_touched_or_is_too_long_is_refused() {
    let header = format!("t={SIGNED_AT_S},v1={}", signature_of(INTENT));
    let more = INTENT.replace("2500", "9500");
    for (body, expect) in [
        (more, PaymentError::SignatureMismatch),
        (INTENT.trim_end().to_owned(), PaymentError::SignatureMismatch),
        (String::new(), PaymentError::SignatureMismatch),
        (" ".repeat(PAYMENT_BODY_BYTES_MAX + 1), PaymentError::TooLarge),
    ] {
        let outcome = webhook(&[SECRET]).verify(Some(&header), body.as_bytes(), SIGNED_AT_S);
        assert_eq!(outcome.unwrap_err(), expect);
    }
}

/// What a body asks for, in one line.
fn told(body: &str) -> String {
    let event = match PaymentEvent::read(body.as_bytes()) {
        Ok(event) => event,
        Err(error) => return error.to_string(),
    };
    let said = |order: &Order| {
        let (kind, Payment { org, amount, rail, reference, note }) = match &order.act {
            Act::TopUp(payment) => ("top-up", payment),
            Act::Chargeback(payment) => ("chargeback", payment),
            act => panic!("{act:?}"),
        };
        assert_eq!((rail.as_str(), order.by.as_str()), ("stripe", "stripe"));
        let (op, reference) = (&order.op, reference.as_deref().unwrap());
        format!("{op}: {kind} {amount} for {org}, {reference}, {note}")
    };
    match webhook(&[SECRET]).instruction(&event) {
        Ok(Instruction::Order(order)) => said(&order),
        Ok(Instruction::Unattributed(later)) => {
            let payment = later.payment.clone();
            format!("payer of {payment}; {}", said(&later.of(OrgId::new("payer"))))
        }
        Ok(Instruction::Ignore(reason)) => format!("ignored: {reason}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn events_become_orders() {
    let paid = "stripe:pi_3Ember0001:paid: top-up 250 for acme, pi_3Ember0001, payment received";
    let withdrawn = "payer of stripe:pi_3Ember0001:paid; stripe:du_1Ember0001:withdrawn: \
        chargeback 250 for payer, pi_3Ember0001, payment disputed: du_1Ember0001";
    for (body, expect) in [
        // Three events of one payment, one order to the letter.
        (SESSION, paid),
        (SESSION_LATER, paid),
        (INTENT, paid),
        (SESSION_UNPAID, "ignored: the session is not paid yet"),
        (
            INTENT_YEN,
            "stripe:pi_3Ember0002:paid: top-up 210 for acme, pi_3Ember0002, payment received",
        ),
        (INTENT_FRANC, "no rate is configured for payments in `chf`"),
        (
            REFUND,
            "stripe:ch_3Ember0001:refund:1000: chargeback 100 for acme, pi_3Ember0001, \
             payment refunded",
        ),
        (
            REFUND_REST,
            "stripe:ch_3Ember0001:refund:2500: chargeback 150 for acme, pi_3Ember0001, \
             payment refunded",
        ),
        (DISPUTE, withdrawn),
        (DISPUTE_WITHDRAWN, withdrawn),
        (DISPUTE_INQUIRY, "ignored: a dispute that is `warning_needs_response` has taken no money"),
        (
            DISPUTE_WON,
            "payer of stripe:pi_3Ember0001:paid; stripe:du_1Ember0001:reinstated: top-up 250 for \
             payer, pi_3Ember0001, dispute won: du_1Ember0001",
        ),
        (DISPUTE_LOST, "ignored: the dispute was closed as `lost`"),
    ] {
        assert_eq!(told(body), expect);
    }
}

/// The fixture with one text replaced by another, which must be there.
fn with(body: &str, from: &str, to: &str) -> String {
    assert!(body.contains(from), "{from}");
    body.replace(from, to)
}

/// A paid intent with another amount.
fn received(amount: &str) -> String {
    with(INTENT, "\"amount_received\": 2500", &format!("\"amount_received\": {amount}"))
}

#[test]
fn odd_amounts_are_refused() {
    for (amount, found) in [
        ("2500.0", "2500.0"),
        ("25.5", "25.5"),
        ("2.5e3", "2500.0"),
        ("\"2500\"", "\"2500\""),
        ("-2500", "-2500"),
        ("null", "null"),
        ("true", "true"),
        ("99999999999999999999", "1e+20"),
    ] {
        let expect = format!("`data.object.amount_received` is {found}, {WHOLE}");
        assert_eq!(told(&received(amount)), format!("the event is not understood: {expect}"));
    }
}

#[test]
fn odd_events_are_refused_by_the_field() {
    let rows = [
        (received("1000000000000"), "an amount of 1000000000000 usd is too large".to_owned()),
        (
            with(INTENT, "amount_received", "amount_recieved"),
            format!("`data.object.amount_received` is missing, {WHOLE}"),
        ),
        (
            with(INTENT, "\"currency\": \"usd\"", "\"currency\": 840"),
            "`currency` is missing or no text".to_owned(),
        ),
        (
            with(INTENT, "\"acme\"", "7"),
            "`metadata.emberbox_org` is not the name of an organisation".to_owned(),
        ),
        (
            with(INTENT, "\"acme\"", "\"\""),
            "`metadata.emberbox_org` is not the name of an organisation".to_owned(),
        ),
        (
            with(INTENT, "\"acme\"", "\"a\\u0000\""),
            "`metadata.emberbox_org` is not the name of an organisation".to_owned(),
        ),
        (with(INTENT, "\"pi_3Ember0001\"", "\"pi:3\""), "`id` is not an id".to_owned()),
        (with(INTENT, "\"pi_3Ember0001\"", "7"), "`id` is not an id".to_owned()),
        (
            with(SESSION, "\"pi_3Ember0001\"", "null"),
            "the session was paid without a payment intent: only single payments become credits"
                .to_owned(),
        ),
        (
            with(REFUND, "\"amount_captured\": 2500", "\"amount_captured\": 2000"),
            "the charge was captured in part: adjust the wallet by hand".to_owned(),
        ),
        (
            with(REFUND, "\"amount_refunded\": 0", "\"other\": 0"),
            format!("`data.previous_attributes.amount_refunded` is missing, {WHOLE}"),
        ),
        (
            with(REFUND, "\"amount_refunded\": 0", "\"amount_refunded\": 1000"),
            "`amount_refunded` has not grown".to_owned(),
        ),
        (
            with(REFUND, "\"amount_refunded\": 0", "\"amount_refunded\": 1001"),
            "`amount_refunded` has not grown".to_owned(),
        ),
    ];
    for (body, expect) in rows {
        assert_eq!(told(&body), format!("the event is not understood: {expect}"));
    }
}

#[test]
fn events_that_move_no_credits_are_ignored_with_the_reason() {
    for (body, expect) in [
        (received("0"), "nothing was paid"),
        (with(INTENT, "emberbox_org", "other"), "the payment intent has no metadata.emberbox_org"),
        (with(SESSION, "emberbox_org", "other"), "the session has no metadata.emberbox_org"),
        (
            with(REFUND, "\"captured\": true", "\"captured\": false"),
            "the charge was never captured",
        ),
        (
            with(
                &with(REFUND, "emberbox_org", "other"),
                "\"payment_intent\": \"pi_3Ember0001\"",
                "\"payment_intent\": null",
            ),
            "it names neither an organisation nor a payment intent",
        ),
        (
            with(INTENT, "payment_intent.succeeded", "customer.created"),
            "events of type `customer.created` move no credits",
        ),
    ] {
        assert_eq!(told(&body), format!("ignored: {expect}"));
    }
}

#[test]
fn what_is_no_event_is_refused() {
    for body in
        ["", "[]", "{}", "null", "{\"id\":\"evt_1\",\"type\":\"x\",\"data\":{\"object\":7}}"]
    {
        assert!(told(body).starts_with("the event is not understood: "), "{body}");
    }
    let deep = format!("{{\"id\":\"e\",\"type\":\"x\",\"data\":{}", "[".repeat(100_000));
    assert!(told(&deep).contains("recursion limit"), "{}", told(&deep));
}

#[test]
fn a_refund_whose_charge_names_nobody_waits_for_its_payer() {
    let body = with(REFUND, "emberbox_org", "other");
    assert_eq!(
        told(&body),
        "payer of stripe:pi_3Ember0001:paid; stripe:ch_3Ember0001:refund:1000: chargeback 100 for \
         payer, pi_3Ember0001, payment refunded"
    );
}

#[test]
fn secrets_are_needed_and_never_shown() {
    for secrets in
        [vec![], vec![String::new()], vec!["short".to_owned()], vec![SECRET.to_owned(); 9]]
    {
        assert!(PaymentWebhook::new(secrets, CreditRates::default()).is_err());
    }
    assert!(!format!("{:?}", webhook(&[SECRET])).contains("whsec"));
}

#[test]
fn the_order_ids_are_those_of_the_table() {
    let Ok(Instruction::Order(order)) = webhook(&[SECRET]).receive(
        Some(&format!("t={SIGNED_AT_S},v1={}", signature_of(REFUND))),
        REFUND.as_bytes(),
        SIGNED_AT_S,
    ) else {
        panic!("no order")
    };
    assert_eq!(order.op, OpId::new("stripe:ch_3Ember0001:refund:1000").unwrap());
}
