//! Days and months, in UTC: what budgets, statements and closes are cut by.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Months, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::BillingError;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A day in UTC, written `2026-11-22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(u32);

/// A month in UTC, written `2026-11`: the period of an invoice and of a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    year: u16,
    month: u8,
}

impl Day {
    /// The day of a time, in milliseconds since 1970.
    #[must_use]
    pub fn of(at_ms: u64) -> Day {
        Day(at_ms.checked_div(DAY_MS).and_then(|day| u32::try_from(day).ok()).unwrap_or(u32::MAX))
    }

    /// A day by its number since 1970-01-01.
    #[must_use]
    pub const fn from_number(days_since_1970: u32) -> Day {
        Day(days_since_1970)
    }

    /// Its number since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its first millisecond since 1970.
    #[must_use]
    pub fn starts_at_ms(self) -> u64 {
        u64::from(self.0).saturating_mul(DAY_MS)
    }

    /// The first millisecond after it.
    #[must_use]
    pub fn ends_at_ms(self) -> u64 {
        self.starts_at_ms().saturating_add(DAY_MS)
    }

    /// The day after it.
    #[must_use]
    pub fn next(self) -> Day {
        Day(self.0.saturating_add(1))
    }

    fn date(self) -> NaiveDate {
        let at_ms = i64::try_from(self.starts_at_ms()).unwrap_or(i64::MAX);
        DateTime::from_timestamp_millis(at_ms).map_or(NaiveDate::MAX, |time| time.date_naive())
    }

    fn of_date(date: NaiveDate) -> Option<Day> {
        let since = date.signed_duration_since(NaiveDate::default()).num_days();
        u32::try_from(since).ok().map(Day)
    }
}

impl Period {
    /// The month of a time, in milliseconds since 1970.
    #[must_use]
    pub fn of(at_ms: u64) -> Period {
        Period::of_date(Day::of(at_ms).date())
    }

    fn of_date(date: NaiveDate) -> Period {
        Period {
            year: u16::try_from(date.year()).unwrap_or(u16::MAX),
            month: u8::try_from(date.month()).unwrap_or(1),
        }
    }

    fn first_date(self) -> NaiveDate {
        NaiveDate::from_ymd_opt(i32::from(self.year), u32::from(self.month), 1)
            .unwrap_or(NaiveDate::MAX)
    }

    /// Its first day.
    #[must_use]
    pub fn first_day(self) -> Day {
        Day::of_date(self.first_date()).unwrap_or(Day(0))
    }

    /// The month after it.
    #[must_use]
    pub fn next(self) -> Period {
        self.first_date().checked_add_months(Months::new(1)).map_or(self, Period::of_date)
    }

    /// Its last day.
    #[must_use]
    pub fn last_day(self) -> Day {
        Day(self.next().first_day().0.saturating_sub(1))
    }

    /// Its first millisecond since 1970.
    #[must_use]
    pub fn starts_at_ms(self) -> u64 {
        self.first_day().starts_at_ms()
    }

    /// The first millisecond after it.
    #[must_use]
    pub fn ends_at_ms(self) -> u64 {
        self.next().starts_at_ms()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date().format("%Y-%m-%d"))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Day {
    type Err = BillingError;

    fn from_str(text: &str) -> Result<Day, BillingError> {
        let shape = text.len() == 10;
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| shape);
        date.and_then(Day::of_date).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            BillingError::Invalid(format!("`{shown}` is not a day: write one like 2026-11-22"))
        })
    }
}

impl FromStr for Period {
    type Err = BillingError;

    fn from_str(text: &str) -> Result<Period, BillingError> {
        let day = (text.len() == 7).then(|| format!("{text}-01").parse::<Day>().ok()).flatten();
        day.map(|day| Period::of(day.starts_at_ms())).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            BillingError::Invalid(format!("`{shown}` is not a month: write one like 2026-11"))
        })
    }
}

macro_rules! text_in_json {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = BillingError;

            fn try_from(text: String) -> Result<Self, BillingError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}

text_in_json!(Day);
text_in_json!(Period);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_are_cut_where_the_calendar_cuts_them() {
        let rows = [
            ("1970-01-01", 0, "1970-01", "1970-01-31"),
            ("2024-02-29", 19_782, "2024-02", "2024-02-29"),
            ("2026-12-31", 20_818, "2026-12", "2026-12-31"),
        ];
        for (text, number, month, last) in rows {
            let day: Day = text.parse().unwrap();
            assert_eq!((day.number(), day.to_string()), (number, text.to_owned()));
            assert_eq!(Day::of(day.ends_at_ms() - 1), day);
            assert_eq!(Day::of(day.ends_at_ms()).number(), number + 1);
            let period = Period::of(day.starts_at_ms());
            assert_eq!(period.to_string(), month);
            assert_eq!(period.last_day().to_string(), last);
            assert_eq!(period.ends_at_ms(), period.next().starts_at_ms());
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in
            ["2026-02-29", "2026-13-01", "2026-11-31", "2026-1-1", "today", "", "1969-12-31"]
        {
            assert!(matches!(text.parse::<Day>(), Err(BillingError::Invalid(_))), "{text}");
        }
        for text in ["2026-00", "2026-13", "2026-1", "2026-11-01", ""] {
            assert!(matches!(text.parse::<Period>(), Err(BillingError::Invalid(_))), "{text}");
        }
    }
}
