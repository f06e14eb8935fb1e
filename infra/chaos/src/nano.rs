//! Credits as decimal strings, read and summed in nano-credits. Written apart from the ledger's
//! own code on purpose: what checks it must not share its mistakes.

use anyhow::{Context, ensure};
use serde_json::Value;

/// Digits behind the point.
const DECIMALS: usize = 9;
const NANO_PER_CREDIT: i64 = 1_000_000_000;

/// Reads credits, such as "0.000012345", as nano-credits.
pub(crate) fn parse(text: &str) -> anyhow::Result<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    ensure!(plain(whole) && plain(part) && part.len() <= DECIMALS, "{text:?} is not credits");
    let part: i64 = format!("{part:0<DECIMALS$}").parse()?;
    let sum = whole.parse::<i64>()?.checked_mul(NANO_PER_CREDIT).and_then(|n| n.checked_add(part));
    sum.map(|nano| sign * nano).with_context(|| format!("{text:?} is too much"))
}

/// Writes nano-credits, which must not be negative, as credits.
pub(crate) fn text(nano: i64) -> String {
    format!("{}.{:09}", nano / NANO_PER_CREDIT, nano % NANO_PER_CREDIT)
}

/// The credits in a field of a JSON object.
pub(crate) fn field(value: &Value, name: &str) -> anyhow::Result<i64> {
    let text = value.get(name).and_then(Value::as_str);
    parse(text.with_context(|| format!("no credits in {name} of {value}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_read_exactly() {
        let rows = [
            ("0", Some(0)),
            ("1", Some(1_000_000_000)),
            ("0.000000001", Some(1)),
            ("-12.5", Some(-12_500_000_000)),
            ("0.0000000001", None),
            ("1.", None),
            (".5", None),
            ("1e3", None),
            ("99999999999", None),
            ("", None),
        ];
        for (text, expect) in rows {
            assert_eq!(parse(text).ok(), expect, "{text}");
        }
        assert_eq!(text(1_000_000_001), "1.000000001");
    }
}
