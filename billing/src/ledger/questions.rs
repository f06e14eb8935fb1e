//! Questions that have a bounded answer.

use super::DAYS_MAX;
use crate::error::BillingError;
use crate::report::{DayQuery, Query, ROWS_PER_PAGE_MAX};

/// Refuses questions whose answers would have no bound.
pub(super) fn validate(query: &Query) -> Result<(), BillingError> {
    let (limit, days) = match query {
        Query::Receipts(query) => (Some(query.limit), None),
        Query::Entries(query) => (Some(query.limit), None),
        Query::Messages { limit } => (Some(*limit), None),
        Query::Usage(query) | Query::Earnings(query) | Query::Totals(query) => (None, Some(query)),
        _ => (None, None),
    };
    if limit.is_some_and(|limit| !(1..=ROWS_PER_PAGE_MAX).contains(&limit)) {
        let reason = format!("limit: must be from 1 to {ROWS_PER_PAGE_MAX}");
        return Err(BillingError::Invalid(reason));
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
