//! One row per way to write money.

use super::*;

fn check<T>(table: &[(&str, Option<T>)])
where
    T: FromStr<Err = BillingError> + PartialEq + fmt::Debug + fmt::Display,
{
    for (text, expect) in table {
        let parsed = text.parse::<T>();
        assert_eq!(parsed.as_ref().ok(), expect.as_ref(), "{text:?} gives {parsed:?}");
        if let Ok(amount) = parsed {
            let again = amount.to_string().parse::<T>().unwrap();
            assert_eq!(again, amount, "{text:?} is shown as {amount}");
        }
    }
}

#[test]
fn amounts_are_read_from_decimal_credits() {
    let nano = |nano| Some(Nano::from_nano(nano));
    check(&[
        ("0", nano(0)),
        ("1", nano(1_000_000_000)),
        ("0.000012345", nano(12_345)),
        ("0.000000001", nano(1)),
        ("-0.5", nano(-500_000_000)),
        ("-0", nano(0)),
        ("10.50", nano(10_500_000_000)),
        ("9223372036.854775807", nano(i64::MAX)),
        ("-9223372036.854775808", nano(i64::MIN)),
        ("9223372036.854775808", None),
        ("-9223372036.854775809", None),
        ("0.0000000001", None),
        ("0.0000000010", None),
        ("", None),
        ("-", None),
        ("--1", None),
        (".5", None),
        ("5.", None),
        ("+1", None),
        ("1e3", None),
        ("1,5", None),
        ("1.2.3", None),
        (" 1", None),
        ("NaN", None),
        ("\u{0661}", None),
        ("99999999999999999999999999999999999999999", None),
        ("000000000000000000000000000000000000000001", None),
    ]);
}

#[test]
fn rates_are_read_from_decimal_credits() {
    let pico = |pico| Some(Pico::from_pico(pico));
    check(&[
        ("0.0000001", pico(100_000)),
        ("0.00000005", pico(50_000)),
        ("0.000000000001", pico(1)),
        ("18446744.073709551615", pico(u64::MAX)),
        ("18446744.073709551616", None),
        ("0.0000000000001", None),
        ("-0.1", None),
    ]);
}

#[test]
fn amounts_are_shown_without_trailing_zeros() {
    for (nano, expect) in [
        (0, "0"),
        (12_345, "0.000012345"),
        (10_000_000_000, "10"),
        (-500_000_000, "-0.5"),
        (i64::MIN, "-9223372036.854775808"),
    ] {
        assert_eq!(Nano::from_nano(nano).to_string(), expect);
    }
    assert_eq!(format!("{:>6}", Nano::from_nano(500_000_000)), "   0.5");
}

#[test]
fn json_has_strings_and_refuses_numbers() {
    let amount = Nano::from_nano(12_345);
    assert_eq!(serde_json::to_string(&amount).unwrap(), "\"0.000012345\"");
    assert_eq!(serde_json::from_str::<Nano>("\"0.000012345\"").unwrap(), amount);
    for number in ["0.1", "1", "1e3", "null", "\"1e3\""] {
        assert!(serde_json::from_str::<Nano>(number).is_err(), "{number}");
        assert!(serde_json::from_str::<Pico>(number).is_err(), "{number}");
    }
}

#[test]
fn sums_do_not_wrap() {
    let one = Nano::from_nano(1);
    assert_eq!(Nano::MAX.checked_add(one), None);
    assert_eq!(Nano::from_nano(i64::MIN).checked_sub(one), None);
    assert_eq!(Nano::checked_sum([one, one]), Some(Nano::from_nano(2)));
    assert_eq!(Nano::checked_sum([Nano::MAX, one]), None);
}
