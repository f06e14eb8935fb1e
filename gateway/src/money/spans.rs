use std::str::FromStr;

use emberbox_billing::{BillingError, Clock, Day, DayQuery, OrgId, Period};
use http::Uri;
use http::header::ACCEPT;
use http::request::Parts;

use crate::errors::ApiError;
use crate::respond;

/// The most days that the ledger adds up in one answer.
const DAYS_MAX: u32 = 400;

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    Clock::System.now_ms()
}

/// A parameter that the ledger knows how to read, with its reason when it is wrong.
pub(crate) fn read<T>(uri: &Uri, name: &str) -> Result<Option<T>, ApiError>
where
    T: FromStr<Err = BillingError>,
{
    let Some(text) = respond::query::<String>(uri, name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|error: BillingError| ApiError::field(name, error.to_string()))
}

/// The days from `from` to `to` (both included, `2026-11-22`), or since `since_ms`; by default all
/// that can be added up.
pub(crate) fn days(org: &OrgId, uri: &Uri) -> Result<DayQuery, ApiError> {
    let to = read(uri, "to")?.unwrap_or_else(|| Day::of(now_ms()));
    let earliest = Day::from_number(to.number().saturating_sub(DAYS_MAX - 1));
    let since = respond::query(uri, "since_ms")?.map(|since_ms| Day::of(since_ms).max(earliest));
    let from = read(uri, "from")?.or(since.map(|since| since.min(to))).unwrap_or(earliest);
    if from > to || from < earliest {
        let reason = format!("from and to must span 1 to {DAYS_MAX} days");
        return Err(ApiError::field("from", reason));
    }
    Ok(DayQuery { org: org.clone(), from, to })
}

/// A month; by default the present one.
pub(crate) fn period(uri: &Uri) -> Result<Period, ApiError> {
    Ok(read(uri, "period")?.unwrap_or_else(|| Period::of(now_ms())))
}

/// Whether the answer is wanted as CSV: `?format=csv`, or `Accept: text/csv`.
pub(crate) fn wants_csv(parts: &Parts) -> Result<bool, ApiError> {
    match respond::query::<String>(&parts.uri, "format")?.as_deref() {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(_) => Err(ApiError::field("format", "format is json or csv")),
        None => {
            let accepted = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
            Ok(accepted.is_some_and(|accepted| accepted.contains("text/csv")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_days_are_read_or_refused() {
        let org = OrgId::new("acme");
        for (query, expect) in [
            ("from=2026-11-01&to=2026-11-30", Some(("2026-11-01", "2026-11-30"))),
            ("to=2026-11-30&from=2026-11-30", Some(("2026-11-30", "2026-11-30"))),
            ("since_ms=1793491200000&to=2026-11-30", Some(("2026-11-01", "2026-11-30"))),
            ("since_ms=9993491200000&to=2026-11-30", Some(("2026-11-30", "2026-11-30"))),
            ("to=2026-11-30", Some(("2025-10-27", "2026-11-30"))),
            ("from=2026-12-01&to=2026-11-30", None),
            ("from=2020-01-01&to=2026-11-30", None),
            ("from=2026-02-30&to=2026-11-30", None),
            ("from=yesterday", None),
            ("since_ms=-1", None),
        ] {
            let uri: Uri = format!("/v1/usage?{query}").parse().unwrap();
            let found = days(&org, &uri).ok().map(|q| (q.from.to_string(), q.to.to_string()));
            let expect = expect.map(|(from, to)| (from.to_owned(), to.to_owned()));
            assert_eq!(found, expect, "{query}");
        }
    }
}
