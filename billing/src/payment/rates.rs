//! What money is worth in credits, exactly.

use std::collections::BTreeMap;

use super::PaymentError;
use crate::BillingError;
use crate::money::Nano;

/// Currencies whose amounts are written in whole units.
const NO_DECIMALS: [&str; 15] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
    "xof", "xpf",
];
/// Currencies whose amounts are written in thousandths.
const THREE_DECIMALS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];
/// Currencies without decimals whose amounts are written with two all the same, by some
/// providers and at some times: a mistake of 100 waits here.
const AMBIGUOUS: [&str; 2] = ["isk", "ugx"];
/// The most of a currency in one event, in minor units; providers have twelve digits.
const MINOR_UNITS_MAX: u64 = 999_999_999_999;

/// How many credits a currency buys. Exact: a rate that would need rounding is refused when it
/// is configured, so that partial refunds sum to what was credited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreditRates {
    /// Nano-credits per minor unit, by currency in lower case.
    per_minor_unit: BTreeMap<String, i64>,
}

impl CreditRates {
    /// Takes credits per unit of a currency (per dollar, not per cent), by ISO 4217 code.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] where a code is not three letters or comes twice, its minor
    /// unit is ambiguous (`isk`, `ugx`), or the rate is not above zero or not exact in minor
    /// units.
    pub fn new(
        credits_per_unit: impl IntoIterator<Item = (String, Nano)>,
    ) -> Result<CreditRates, BillingError> {
        let mut per_minor_unit = BTreeMap::new();
        for (code, rate) in credits_per_unit {
            let currency = code.to_ascii_lowercase();
            let refused = |reason: &str| {
                let shown: String = code.chars().take(10).collect();
                Err(BillingError::Invalid(format!("payments: the rate of `{shown}` {reason}")))
            };
            if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
                return refused("is not that of a currency: write its code of three letters");
            }
            if AMBIGUOUS.contains(&currency.as_str()) {
                return refused("is refused: its smallest unit is written in two ways");
            }
            if rate <= Nano::ZERO {
                return refused("is not above zero");
            }
            let (whole, rest) = (rate.as_nano(), minor_units(&currency));
            let (Some(exact), Some(0)) = (whole.checked_div(rest), whole.checked_rem(rest)) else {
                return refused("has too many decimals to be exact in its smallest unit");
            };
            if per_minor_unit.insert(currency, exact).is_some() {
                return refused("stands there twice");
            }
        }
        Ok(CreditRates { per_minor_unit })
    }

    /// What an amount in minor units is worth.
    pub(super) fn credits(&self, currency: &str, minor: u64) -> Result<Nano, PaymentError> {
        let currency = currency.to_ascii_lowercase();
        let Some(rate) = self.per_minor_unit.get(&currency) else {
            let shown = currency.chars().take(10).collect();
            return Err(PaymentError::UnknownCurrency(shown));
        };
        let too_large =
            || PaymentError::Malformed(format!("an amount of {minor} {currency} is too large"));
        let minor = i64::try_from(minor).ok().filter(|_| minor <= MINOR_UNITS_MAX);
        let nano = minor.and_then(|minor| minor.checked_mul(*rate));
        nano.map(Nano::from_nano).ok_or_else(too_large)
    }
}

/// How many minor units a unit has.
fn minor_units(currency: &str) -> i64 {
    if NO_DECIMALS.contains(&currency) {
        1
    } else if THREE_DECIMALS.contains(&currency) {
        1000
    } else {
        100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano(credits: &str) -> Nano {
        credits.parse().unwrap()
    }

    #[test]
    fn rates_are_exact_or_refused() {
        let rates = |code: &str, rate: &str| CreditRates::new([(code.to_owned(), nano(rate))]);
        for (code, rate, expect) in [
            ("usd", "0.0000001", None),
            ("usd", "0.00000001", Some("has too many decimals to be exact in its smallest unit")),
            ("jpy", "0.000000001", None),
            ("kwd", "0.000001", None),
            ("kwd", "0.0000001", Some("has too many decimals to be exact in its smallest unit")),
            ("usd", "0", Some("is not above zero")),
            ("usd", "-1", Some("is not above zero")),
            ("us", "1", Some("is not that of a currency: write its code of three letters")),
            ("us1", "1", Some("is not that of a currency: write its code of three letters")),
            ("ISK", "1", Some("is refused: its smallest unit is written in two ways")),
            ("ugx", "1", Some("is refused: its smallest unit is written in two ways")),
        ] {
            let found = rates(code, rate).err().map(|error| error.to_string());
            let expect = expect.map(|expect| format!("payments: the rate of `{code}` {expect}"));
            assert_eq!(found, expect);
        }
        let twice = [("usd", "1"), ("USD", "2")].map(|(code, rate)| (code.to_owned(), nano(rate)));
        assert!(CreditRates::new(twice).is_err());
        let several = [("usd", "10"), ("EUR", "11.25"), ("jpy", "0.07"), ("kwd", "32.5")];
        let several = several.map(|(code, rate)| (code.to_owned(), nano(rate)));
        let several = CreditRates::new(several).unwrap();
        for (currency, minor, expect) in [
            ("usd", 1, Some("0.1")),
            ("EUR", 1, Some("0.1125")),
            ("eur", 999_999_999_999, None),
            ("jpy", 1, Some("0.07")),
            ("kwd", 1500, Some("48.75")),
            ("usd", 0, Some("0")),
            ("usd", u64::MAX, None),
            ("gbp", 1, None),
        ] {
            let credits = several.credits(currency, minor).ok();
            assert_eq!(credits, expect.map(nano), "{minor} {currency}");
        }
    }
}
