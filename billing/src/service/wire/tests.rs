use super::*;
use crate::order::Window;

fn refusals() -> Vec<Refusal> {
    let (one, two) = (Nano::from_nano(1), Nano::from_nano(-2));
    vec![
        Refusal::InsufficientCredits { needed: one, available: two },
        Refusal::BalanceOverflow,
        Refusal::Owing { owed: one },
        Refusal::BudgetExceeded {
            of_key: true,
            window: Window::Month,
            needed: one,
            available: two,
            limit: Nano::MAX,
            resets_at_ms: Some(3),
        },
        Refusal::UnknownPrice,
        Refusal::UnknownCall,
        Refusal::RefundExceedsCharge { refundable: one },
        Refusal::NotMatured { matured: one },
        Refusal::AdjustmentExceedsWallet { available: two },
        Refusal::StaleGateway { epoch: 7 },
        Refusal::SharesExceedPrice,
        Refusal::AlreadyExpired,
        Refusal::UnknownMessage,
        Refusal::TooMany { max: 9 },
        Refusal::NotHolder,
    ]
}

/// Every error there is.
pub(in crate::service) fn every_error() -> Vec<BillingError> {
    let io = || Arc::new(std::io::Error::other("no such disk"));
    let store = || StoreError::new(std::io::Error::other("disk full"));
    let open = |cause| BillingError::CannotOpen { at: "/data/ledger.db".to_owned(), cause };
    let mut errors: Vec<BillingError> = refusals().into_iter().map(BillingError::from).collect();
    for end in [HoldEnd::Captured, HoldEnd::Voided, HoldEnd::Expired, HoldEnd::Restarted] {
        errors.push(BillingError::HoldEnded(end));
    }
    errors.extend([
        BillingError::Conflict,
        BillingError::UnknownHold,
        BillingError::Overloaded,
        BillingError::Invalid("amount: \"less\" than nothing".to_owned()),
        BillingError::Stopped("invariant 3".to_owned()),
        BillingError::Unreachable("no route".to_owned()),
        BillingError::Store(store()),
        open(OpenFailure::Locked),
        open(OpenFailure::NewerSchema { found: 9, known: 2 }),
        open(OpenFailure::NotALedger("a picture".to_owned())),
        open(OpenFailure::Damaged("page 4".to_owned())),
        open(OpenFailure::Io(io())),
        open(OpenFailure::Store(store())),
    ]);
    errors
}

/// What a caller can tell of an error: its variant with all fields, and its texts. What lies below
/// a store's error is only its text on the other side.
pub(in crate::service) fn told(error: &BillingError) -> String {
    let variant = match error {
        BillingError::Store(_) => "Store".to_owned(),
        BillingError::CannotOpen { at, cause } => match cause {
            OpenFailure::Io(_) => format!("CannotOpen {at} Io"),
            OpenFailure::Store(_) => format!("CannotOpen {at} Store"),
            cause => format!("CannotOpen {at} {cause:?}"),
        },
        error => format!("{error:?}"),
    };
    format!("{variant}: {}", chain(error))
}

#[test]
fn every_error_is_the_same_on_the_other_side() {
    for error in every_error() {
        let text = serde_json::to_string(&Fault::from(&error)).unwrap();
        let fault: Fault = serde_json::from_str(&text).unwrap();
        assert_eq!(told(&fault.into()), told(&error), "{text}");
    }
}

#[test]
fn a_fault_without_its_details_is_no_answer() {
    for code in ["refused", "hold_ended", "cannot_open"] {
        let text = format!("{{\"code\":\"{code}\",\"message\":\"x\"}}");
        let fault: Fault = serde_json::from_str(&text).unwrap();
        assert!(matches!(BillingError::from(fault), BillingError::Unreachable(_)), "{code}");
    }
}

#[test]
fn lines_are_as_documented() {
    let call: CallId = "0195d7e8-7c00-7000-8000-000000000001".parse().unwrap();
    let decided = Decided {
        call,
        amount: Nano::from_nano(5),
        price_version: PriceVersion(1),
        expires_at_ms: 9,
    };
    let line = |index| Line { index, ..Line::default() };
    for (line, expect) in [
        (
            Line { decided: Some(decided), ..line(0) },
            "{\"index\":0,\"decided\":{\"call\":\"0195d7e8-7c00-7000-8000-000000000001\",\
             \"amount\":\"0.000000005\",\"price_version\":1,\"expires_at_ms\":9}}",
        ),
        (Line { durable: true, ..line(3) }, "{\"index\":3,\"durable\":true}"),
        (Line { done: Some(Done::Voided), ..line(1) }, "{\"index\":1,\"done\":\"voided\"}"),
        (
            Line { error: Some(Fault::from(&BillingError::HoldEnded(HoldEnd::Voided))), ..line(2) },
            "{\"index\":2,\"error\":{\"code\":\"hold_ended\",\"message\":\"the hold has ended: it \
             was voided\",\"hold_end\":\"voided\"}}",
        ),
    ] {
        assert_eq!(serde_json::to_string(&line).unwrap(), expect);
    }
}

#[test]
fn what_is_unknown_is_refused() {
    let call = "0195d7e8-7c00-7000-8000-000000000001";
    let void = format!("{{\"org\":\"acme\",\"call\":\"{call}\"}}");
    let check = |operation: &str, expect: bool| {
        let batch = format!("{{\"operations\":[{operation}]}}");
        let read = serde_json::from_str::<Batch>(&batch);
        assert_eq!(read.is_ok(), expect, "{operation}: {read:?}");
    };
    check(&format!("{{\"void\":{void}}}"), true);
    check(&format!("{{\"void\":{void},\"hold\":{void}}}"), false);
    check(&format!("{{\"unvoid\":{void}}}"), false);
    check(&format!("{{\"void\":{}}}", void.replace("org", "orgs")), false);
    check(&format!("{{\"void\":{}}}", void.replace('}', ",\"why\":1}")), false);
    check(&format!("{{\"void\":{}}}", void.replace(call, "1")), false);
    check("{\"order\":{\"op\":\"\",\"by\":\"x\",\"act\":{\"kind\":\"set_platform\"}}}", false);
    assert!(serde_json::from_str::<Batch>("{\"operations\":[],\"more\":1}").is_err());
    let capture = |line: &str| {
        format!(
            "{{\"capture\":{{\"org\":\"a\",\"call\":\"{call}\",\"ending\":\"normal\",\"usage\":[{line}]}}}}"
        )
    };
    let line = "{\"model\":\"m\",\"meter\":\"calls\",\"quantity\":1}";
    check(&capture(line), true);
    check(&capture(&line.replace('}', ",\"price\":1}")), false);
    check(&capture(&line.replace(":1}", ":1.5}")), false);
    let order = |act: &str| format!("{{\"order\":{{\"op\":\"o\",\"by\":\"x\",\"act\":{act}}}}}");
    let adjust = "{\"kind\":\"adjust\",\"org\":\"a\",\"amount\":\"1\",\"note\":\"\"}";
    check(&order(adjust), true);
    check(&order(&adjust.replace('}', ",\"to\":1}")), false);
    check(&order(&adjust.replace("\"1\"", "1")), false);
    let top_up = "{\"kind\":\"top_up\",\"org\":\"a\",\"amount\":\"1\"}";
    check(&order(top_up), true);
    check(&order(&top_up.replace('}', ",\"to\":1}")), false);
    let query = "{\"totals\":{\"org\":\"a\",\"from\":\"2026-01-01\",\"to\":\"2026-01-31\"}}";
    assert!(serde_json::from_str::<crate::Query>(query).is_ok());
    let more = query.replace("}}", ",\"more\":1}}");
    assert!(serde_json::from_str::<crate::Query>(&more).is_err());
}
