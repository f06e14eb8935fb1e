//! Answers that must agree with each other, on every store.

use std::collections::BTreeMap;

use crate::billing::Billing;
use crate::calendar::Day;
use crate::error::BillingError;
use crate::ids::{OpId, OrgId};
use crate::report::{
    DayQuery, EarningsBy, EarningsRow, EarningsSum, Entry, Query, Report, SUMS_MAX, SumsQuery,
    UsageBy, UsageRow, UsageSum,
};

type Span<'a> = (&'a OrgId, Day, Day);

fn query<By: Clone>((org, from, to): Span<'_>, by: &[By], limit: u32) -> SumsQuery<By> {
    SumsQuery { days: DayQuery { org: org.clone(), from, to }, by: by.to_vec(), limit }
}

/// Every choice of some of `all`.
fn choices<By: Copy>(all: &[By]) -> Vec<Vec<By>> {
    let mut choices = vec![Vec::new()];
    for by in all {
        let more: Vec<Vec<By>> =
            choices.iter().map(|some| [some.clone(), vec![*by]].concat()).collect();
        choices.extend(more);
    }
    choices
}

/// The database's sums are those of the rows.
pub(super) async fn usage(billing: &dyn Billing, span: Span<'_>, rows: &[UsageRow]) {
    let ask = async |query| match billing.ask(Query::UsageSums(query)).await {
        Ok(Report::UsageSums(sums)) => Ok(sums),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    for by in choices(&[UsageBy::Day, UsageBy::Key, UsageBy::Subject, UsageBy::Model]) {
        let mut expected: BTreeMap<_, UsageSum> = BTreeMap::new();
        for row in rows {
            let has = |one| by.contains(&one);
            let whose = (
                has(UsageBy::Day).then_some(row.day),
                has(UsageBy::Key).then(|| row.key.clone()),
                has(UsageBy::Subject).then(|| row.subject.clone()),
                row.model.clone().filter(|_| has(UsageBy::Model)),
            );
            let sum = expected.entry(whose.clone()).or_default();
            (sum.day, sum.key, sum.subject, sum.model) = whose;
            let (into, more) = (&mut sum.sums, &row.sums);
            into.calls += more.calls;
            into.input_tokens += more.input_tokens;
            into.cached_input_tokens += more.cached_input_tokens;
            into.output_tokens += more.output_tokens;
            into.compute_micros += more.compute_micros;
            into.fuel += more.fuel;
            into.egress_bytes += more.egress_bytes;
            into.cost = into.cost.checked_add(more.cost).unwrap();
        }
        let mut found = ask(query(span, &by, SUMS_MAX)).await.unwrap();
        let key =
            |sum: &UsageSum| (sum.day, sum.key.clone(), sum.subject.clone(), sum.model.clone());
        found.sort_by_key(key);
        assert_eq!(found, expected.into_values().collect::<Vec<_>>(), "{by:?}");
        let first = ask(query(span, &by, 1)).await.unwrap();
        assert_eq!(first.len(), found.len().min(1), "{by:?}");
    }
    for limit in [0, SUMS_MAX + 1] {
        let refused = ask(query(span, &[UsageBy::Day], limit)).await;
        assert!(matches!(refused, Err(BillingError::Invalid(_))), "{refused:?}");
    }
}

/// The database's sums are those of the rows.
pub(super) async fn earnings(billing: &dyn Billing, span: Span<'_>, rows: &[EarningsRow]) {
    for by in choices(&[EarningsBy::Day, EarningsBy::Role, EarningsBy::Subject]) {
        let mut expected: BTreeMap<_, EarningsSum> = BTreeMap::new();
        for row in rows {
            let has = |one| by.contains(&one);
            let whose = (
                has(EarningsBy::Day).then_some(row.day),
                has(EarningsBy::Role).then_some(row.role),
                has(EarningsBy::Subject).then(|| row.subject.clone()),
            );
            let sum = expected.entry(whose.clone()).or_default();
            (sum.day, sum.role, sum.subject) = whose;
            sum.calls += row.calls;
            sum.amount = sum.amount.checked_add(row.amount).unwrap();
        }
        let asked = Query::EarningsSums(query(span, &by, SUMS_MAX));
        let Report::EarningsSums(mut found) = billing.ask(asked).await.unwrap() else { panic!() };
        found.sort_by_key(|sum| (sum.day, sum.role, sum.subject.clone()));
        assert_eq!(found, expected.into_values().collect::<Vec<_>>(), "{by:?}");
    }
}

/// Each entry is found by its id, and no other is.
pub(super) async fn entries(billing: &dyn Billing, entries: &[Entry]) {
    for entry in entries {
        let found = billing.entry(&entry.op).await.unwrap();
        assert_eq!(found.as_deref(), Some(entry));
    }
    assert_eq!(billing.entry(&OpId::new("nobody-s").unwrap()).await.unwrap(), None);
}
