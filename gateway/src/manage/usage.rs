use emberbox_billing::{
    BillingError, DayQuery, EarningsBy, EarningsSum, Nano, OrgId, Query, Report, SumsQuery,
    UsageBy, UsageSum,
};
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::errors::ApiError;
use crate::money::{export, shown, spans};
use crate::respond;
use crate::stack::Response;

/// The most rows of one answer. An export has no such limit, since it is read as it is sent.
const ROWS_MAX: u32 = 5_000;
/// By what sums are told apart when the request does not say.
const USAGE_BY: [UsageBy; 1] = [UsageBy::Subject];
const EARNINGS_BY: [EarningsBy; 3] = [EarningsBy::Day, EarningsBy::Role, EarningsBy::Subject];

/// Usage of whole days: rows added up by what `by` says, or all rows as CSV.
pub(super) async fn usage(app: &App, org: &OrgId, parts: &Parts) -> Result<Response, ApiError> {
    let days = spans::days(org, &parts.uri)?;
    if spans::wants_csv(parts)? {
        return export::usage(app, days).await;
    }
    let by = told_apart(parts, &USAGE_BY, "day, key, subject, model")?;
    let query = SumsQuery { days: days.clone(), by: by.clone(), limit: ROWS_MAX + 1 };
    let Report::UsageSums(sums) = app.billing.ask(Query::UsageSums(query)).await? else {
        return Err(another_kind());
    };
    few(sums.len())?;
    let calls = sums.iter().fold(0_u64, |calls, sum| calls.saturating_add(sum.sums.calls));
    let total = total(sums.iter().map(|sum| sum.sums.cost))?;
    let rows = sums.iter().map(|sum| usage_row(sum, &by)).collect::<Result<Vec<_>, ApiError>>()?;
    respond::ok(&json!({
        "from": days.from,
        "to": days.to,
        "by": by,
        "calls": calls,
        "total": total,
        "rows": rows,
    }))
}

/// A function's own usage is of no model: that is told too, where rows are told apart by it.
fn usage_row(sum: &UsageSum, by: &[UsageBy]) -> Result<Value, ApiError> {
    match by.contains(&UsageBy::Model) {
        true => shown::with(sum, [("model", json!(sum.model))]),
        false => shown::with(sum, []),
    }
}

/// What the organisation earned: rows added up by what `by` says, or all rows as CSV.
pub(super) async fn earnings(app: &App, org: &OrgId, parts: &Parts) -> Result<Response, ApiError> {
    let days = spans::days(org, &parts.uri)?;
    if spans::wants_csv(parts)? {
        return export::earnings(app, days).await;
    }
    let by = told_apart(parts, &EARNINGS_BY, "day, role, subject")?;
    let sums = earned(app, &days, by.clone()).await?;
    let account = app.billing.account(org).await?;
    respond::ok(&json!({
        "from": days.from,
        "to": days.to,
        "by": by,
        "payable": account.payable,
        "matured": account.matured,
        "total": total(sums.iter().map(|sum| sum.amount))?,
        "rows": sums,
    }))
}

async fn earned(
    app: &App,
    days: &DayQuery,
    by: Vec<EarningsBy>,
) -> Result<Vec<EarningsSum>, ApiError> {
    let query = SumsQuery { days: days.clone(), by, limit: ROWS_MAX + 1 };
    match app.billing.ask(Query::EarningsSums(query)).await? {
        Report::EarningsSums(sums) => few(sums.len()).map(|()| sums),
        _ => Err(another_kind()),
    }
}

/// What rows are told apart by, from `?by=` with commas between the names.
fn told_apart<By>(parts: &Parts, otherwise: &[By], names: &str) -> Result<Vec<By>, ApiError>
where
    By: for<'de> Deserialize<'de> + Clone,
{
    let Some(text) = respond::query::<String>(&parts.uri, "by")? else {
        return Ok(otherwise.to_vec());
    };
    let read = |name| serde_json::from_value(Value::from(name)).ok();
    let by: Option<Vec<By>> = text.split(',').map(read).collect();
    by.ok_or_else(|| ApiError::field("by", format!("by is a list of {names}")))
}

/// Refuses an answer that would be too long to be built in memory.
fn few(rows: usize) -> Result<(), ApiError> {
    let most = usize::try_from(ROWS_MAX).unwrap_or(usize::MAX);
    if rows <= most {
        return Ok(());
    }
    let reason = format!(
        "these are more than {ROWS_MAX} rows: ask for fewer days, or for less in `by`, or for \
         format=csv"
    );
    Err(ApiError::field("from", reason))
}

fn total(amounts: impl IntoIterator<Item = Nano>) -> Result<Nano, ApiError> {
    let too_large = "the sum is too large: ask for fewer days";
    Nano::checked_sum(amounts).ok_or_else(|| ApiError::field("from", too_large))
}

fn another_kind() -> ApiError {
    BillingError::Stopped("an answer of another kind came".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_rows_are_refused_with_what_to_do() {
        assert!(few(5_000).is_ok());
        let refused = few(5_001).unwrap_err().to_string();
        assert!(refused.contains("fewer days") && refused.contains("csv"), "{refused}");
    }

    #[test]
    fn what_rows_are_told_apart_by_is_read_or_refused() {
        for (query, expect) in [
            ("", Some("[\"subject\"]")),
            ("?by=day", Some("[\"day\"]")),
            ("?by=model,key", Some("[\"model\",\"key\"]")),
            ("?by=", Some("[\"subject\"]")),
            ("?by=role", None),
            ("?by=day,", None),
            ("?by=Day", None),
        ] {
            let request = http::Request::get(format!("/v1/usage{query}")).body(()).unwrap();
            let by = told_apart(&request.into_parts().0, &USAGE_BY, "").ok();
            let by = by.map(|by| serde_json::to_string(&by).unwrap());
            assert_eq!(by.as_deref(), expect, "{query}");
        }
    }
}
