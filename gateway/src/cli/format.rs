//! Times, sizes and fields of answers as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use emberbox_billing::Nano;
use serde_json::Value;

use super::error::CliError;

const DAY_S: u64 = 86_400;

/// A field of an answer by its JSON pointer, as a cell of a table.
pub(crate) fn cell(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// The rows of a list: `{"data": […]}`.
pub(crate) fn rows(document: &Value) -> &[Value] {
    let data = document.get("data").unwrap_or(document);
    data.as_array().map_or(&[], Vec::as_slice)
}

/// A field that holds milliseconds since 1970, as a date and time in UTC.
pub(crate) fn time_cell(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer).and_then(Value::as_u64) {
        Some(at_ms) => date_time(at_ms),
        None => cell(document, pointer),
    }
}

/// A field that holds bytes, in KB or MB.
pub(crate) fn size_cell(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer).and_then(Value::as_u64) {
        Some(bytes) => size(bytes),
        None => cell(document, pointer),
    }
}

/// A field that holds an amount of credits, with all nine decimals so that columns align.
pub(crate) fn credits_cell(document: &Value, pointer: &str) -> String {
    let text = cell(document, pointer);
    text.parse().map_or(text, credits)
}

/// Credits with all nine decimals.
pub(crate) fn credits(amount: Nano) -> String {
    let nano = amount.as_nano().unsigned_abs();
    let sign = if amount.as_nano() < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

/// The first characters of a digest: enough to tell two apart.
pub(crate) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// Bytes, with the unit that keeps the figure short.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{}.{} KB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// Milliseconds since 1970 as `2026-11-22 15:04:05`, in UTC.
pub(crate) fn date_time(at_ms: u64) -> String {
    let seconds = at_ms / 1000;
    let (year, month, day) = date_of(seconds / DAY_S);
    let of_day = seconds % DAY_S;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Counts from 1 March of year 0 in eras of 400 years, so that the leap day ends each year
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// A span such as `90s`, `15m`, `24h` or `7d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let expected = "a span is a number and a unit: 90s, 15m, 24h or 7d";
    let unit_s = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => DAY_S,
        _ => return Err(expected.to_owned()),
    };
    let number: u64 = text
        .get(..text.len() - 1)
        .unwrap_or_default()
        .parse()
        .map_err(|error| format!("{error}; {expected}"))?;
    number.checked_mul(unit_s).map(Duration::from_secs).ok_or_else(|| "too long ago".to_owned())
}

/// The moment that lies `ago` in the past, in milliseconds since 1970.
pub(super) fn before_now_ms(ago: Duration) -> Result<u64, CliError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| CliError::Failed {
        what: format!("this machine's clock stands before 1970: {error}"),
        next: "set the clock".to_owned(),
    })?;
    Ok(u64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (at_ms, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_000, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (951_868_800_000, "2000-03-01 00:00:00"),
            (1_798_675_199_999, "2026-12-30 23:59:59"),
            (4_107_542_400_000, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date_time(at_ms), expected);
        }
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 KB"),
            (182_456, "182.4 KB"),
            (3_450_000, "3.4 MB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn spans() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("24h", Some(86_400)),
            ("7d", Some(604_800)),
            ("", None),
            ("h", None),
            ("-1h", None),
            ("1.5h", None),
            ("10", None),
            ("é", None),
            ("999999999999999999d", None),
        ] {
            assert_eq!(span(text).ok(), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn money_has_nine_decimals() {
        for (nano, expected) in [
            (0, "0.000000000"),
            (1, "0.000000001"),
            (-1_500_000_000, "-1.500000000"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(credits(Nano::from_nano(nano)), expected);
        }
        let document = serde_json::json!({"cost": "0.01", "bad": "x"});
        assert_eq!(credits_cell(&document, "/cost"), "0.010000000");
        assert_eq!(credits_cell(&document, "/bad"), "x");
        assert_eq!(credits_cell(&document, "/none"), "-");
    }

    #[test]
    fn fields() {
        let document = serde_json::json!({"a": {"b": 1}, "t": "x", "n": null, "y": true});
        for (pointer, expected) in
            [("/a/b", "1"), ("/t", "x"), ("/n", "-"), ("/none", "-"), ("/y", "yes")]
        {
            assert_eq!(cell(&document, pointer), expected);
        }
    }
}
