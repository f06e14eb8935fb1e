//! Money: nano-credits for amounts, pico-credits for rates. Integers only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::BillingError;

/// Decimals of a [`Nano`] amount: 1 credit is 10^9 nano-credits.
const NANO_DECIMALS: usize = 9;
/// Decimals of a [`Pico`] rate: 1 credit is 10^12 pico-credits.
const PICO_DECIMALS: usize = 12;
/// Longer text than this is no amount of money; it is refused before it is parsed.
const DECIMAL_TEXT_MAX: usize = 40;

/// An amount of money in nano-credits (10^-9 credits). Text and JSON show decimal credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nano(i64);

/// A rate in pico-credits (10^-12 credits) per unit. Text and JSON show decimal credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pico(u64);

impl Nano {
    /// Nothing.
    pub const ZERO: Nano = Nano(0);
    /// The largest amount, about 9.2 billion credits.
    pub const MAX: Nano = Nano(i64::MAX);

    /// An amount of `nano` nano-credits.
    #[must_use]
    pub const fn from_nano(nano: i64) -> Nano {
        Nano(nano)
    }

    /// The amount in nano-credits.
    #[must_use]
    pub const fn as_nano(self) -> i64 {
        self.0
    }

    /// The sum, or `None` where it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Nano) -> Option<Nano> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Nano(sum)),
            None => None,
        }
    }

    /// The difference, or `None` where it does not fit. It may be negative.
    #[must_use]
    pub const fn checked_sub(self, other: Nano) -> Option<Nano> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Nano(difference)),
            None => None,
        }
    }

    /// Whether the amount is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The sum of many amounts, or `None` where it does not fit.
    #[must_use]
    pub fn checked_sum(amounts: impl IntoIterator<Item = Nano>) -> Option<Nano> {
        amounts.into_iter().try_fold(Nano::ZERO, Nano::checked_add)
    }
}

impl Pico {
    /// Free of charge.
    pub const ZERO: Pico = Pico(0);

    /// A rate of `pico` pico-credits per unit.
    #[must_use]
    pub const fn from_pico(pico: u64) -> Pico {
        Pico(pico)
    }

    /// The rate in pico-credits per unit.
    #[must_use]
    pub const fn as_pico(self) -> u64 {
        self.0
    }
}

/// Decimal credits without trailing zeros: `0.000012345`, `10`, `-0.5`.
impl fmt::Display for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(
            self.0 >= 0,
            "",
            &decimal_text(u128::from(self.0.unsigned_abs()), NANO_DECIMALS),
        )
    }
}

/// Decimal credits without trailing zeros: `0.0000001`.
impl fmt::Display for Pico {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(true, "", &decimal_text(u128::from(self.0), PICO_DECIMALS))
    }
}

impl FromStr for Nano {
    type Err = BillingError;

    fn from_str(text: &str) -> Result<Nano, BillingError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let units = i128::try_from(parse_decimal(digits, NANO_DECIMALS, text)?)
            .ok()
            .ok_or_else(|| unreadable(text, "it is too large"))?;
        let signed = if negative { units.checked_neg() } else { Some(units) };
        signed
            .and_then(|units| i64::try_from(units).ok())
            .map(Nano)
            .ok_or_else(|| unreadable(text, "it is too large"))
    }
}

impl FromStr for Pico {
    type Err = BillingError;

    fn from_str(text: &str) -> Result<Pico, BillingError> {
        u64::try_from(parse_decimal(text, PICO_DECIMALS, text)?)
            .map(Pico)
            .ok()
            .ok_or_else(|| unreadable(text, "it is too large"))
    }
}

fn unreadable(text: &str, reason: &str) -> BillingError {
    let shown: String = text.chars().take(DECIMAL_TEXT_MAX).collect();
    BillingError::Invalid(format!("`{shown}` is not an amount of credits: {reason}"))
}

/// `units` with the point moved `decimals` places to the left, trailing zeros dropped.
fn decimal_text(units: u128, decimals: usize) -> String {
    let digits = format!("{units:0>width$}", width = decimals.saturating_add(1));
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// Digits with at most one point and at most `decimals` of them behind it, as units.
fn parse_decimal(digits: &str, decimals: usize, text: &str) -> Result<u128, BillingError> {
    if digits.len() > DECIMAL_TEXT_MAX {
        return Err(unreadable(text, "it is too long"));
    }
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return Err(unreadable(text, "digits are missing behind the point")),
        Some(parts) => parts,
        None => (digits, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(unreadable(text, "write it as digits with at most one point, like 0.01"));
    }
    if fraction.len() > decimals {
        return Err(unreadable(text, &format!("more than {decimals} decimals")));
    }
    format!("{whole}{fraction:0<decimals$}")
        .parse()
        .ok()
        .ok_or_else(|| unreadable(text, "it is too large"))
}

macro_rules! serde_as_decimal_string {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        /// Strings only: a JSON number has been through a float somewhere.
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

serde_as_decimal_string!(Nano);
serde_as_decimal_string!(Pico);

#[cfg(test)]
mod tests;
