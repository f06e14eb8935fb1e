//! Questions that have a bounded answer.

use super::DAYS_MAX;
use crate::error::BillingError;
use crate::report::{DayQuery, Query, ROWS_PER_PAGE_MAX, SUMS_MAX};

/// Refuses questions whose answers would have no bound.
pub(super) fn validate(query: &Query) -> Result<(), BillingError> {
    let (rows_max, sums_max) = (ROWS_PER_PAGE_MAX, SUMS_MAX);
    let (limit, days) = match query {
        Query::Receipts(query) => (Some((query.limit, rows_max)), None),
        Query::Entries(query) => (Some((query.limit, rows_max)), None),
        Query::Messages { limit } => (Some((*limit, rows_max)), None),
        Query::UsageSums(query) => (Some((query.limit, sums_max)), Some(&query.days)),
        Query::EarningsSums(query) => (Some((query.limit, sums_max)), Some(&query.days)),
        Query::Usage(query) | Query::Earnings(query) | Query::Totals(query) => (None, Some(query)),
        _ => (None, None),
    };
    if let Some((_, max)) = limit.filter(|(limit, max)| !(1..=*max).contains(limit)) {
        return Err(BillingError::Invalid(format!("limit: must be from 1 to {max}")));
    }
    let is_long = |query: &DayQuery| {
        query.to.number().checked_sub(query.from.number()).is_none_or(|days| days >= DAYS_MAX)
    };
    if days.is_some_and(is_long) {
        let reason = format!("from, to: must span 1 to {DAYS_MAX} days");
        return Err(BillingError::Invalid(reason));
    }
    Ok(())
}
