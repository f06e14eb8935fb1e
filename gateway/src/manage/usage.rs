use std::collections::BTreeMap;

use emberbox_billing::{Day, KeyId, Nano, OrgId, Subject, UsageRow, UsageSums};
use http::request::Parts;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::errors::ApiError;
use crate::money::{export, spans};
use crate::respond;
use crate::stack::Response;

/// By what sums are told apart when the request does not say.
const BY_DEFAULT: [By; 1] = [By::Subject];

/// By what sums are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Day,
    Key,
    Subject,
    Model,
}

/// What one row is of; absent where rows are not told apart by it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    day: Option<Day>,
    key: Option<KeyId>,
    subject: Option<Subject>,
    model: Option<Option<String>>,
}

/// Usage of whole days: rows added up by what `by` says, or all rows as CSV.
pub(super) async fn usage(app: &App, org: &OrgId, parts: &Parts) -> Result<Response, ApiError> {
    let query = spans::days(org, &parts.uri)?;
    if spans::wants_csv(parts)? {
        return export::usage(app, query).await;
    }
    let by = match respond::query::<String>(&parts.uri, "by")? {
        Some(text) => text.split(',').map(By::read).collect::<Result<Vec<By>, ApiError>>()?,
        None => BY_DEFAULT.to_vec(),
    };
    let rows = app.billing.usage(org, query.from, query.to).await?;
    let calls = rows.iter().fold(0_u64, |calls, row| calls.saturating_add(row.sums.calls));
    let total = total(rows.iter().map(|row| row.sums.cost))?;
    respond::ok(&json!({
        "from": query.from,
        "to": query.to,
        "by": by,
        "calls": calls,
        "total": total,
        "rows": grouped(&rows, &by)?,
    }))
}

/// What the organisation earned: rows by day, role and subject.
pub(super) async fn earnings(app: &App, org: &OrgId, parts: &Parts) -> Result<Response, ApiError> {
    let query = spans::days(org, &parts.uri)?;
    let rows = app.billing.earnings(org, query.from, query.to).await?;
    if spans::wants_csv(parts)? {
        return export::earnings(&rows, &format!("earnings-{}-{}.csv", query.from, query.to));
    }
    let account = app.billing.account(org).await?;
    respond::ok(&json!({
        "from": query.from,
        "to": query.to,
        "payable": account.payable,
        "matured": account.matured,
        "total": total(rows.iter().map(|row| row.amount))?,
        "rows": rows,
    }))
}

impl By {
    fn read(text: &str) -> Result<By, ApiError> {
        match text {
            "day" => Ok(By::Day),
            "key" => Ok(By::Key),
            "subject" => Ok(By::Subject),
            "model" => Ok(By::Model),
            _ => Err(ApiError::field("by", "by is a list of day, key, subject, model")),
        }
    }
}

fn grouped(rows: &[UsageRow], by: &[By]) -> Result<Vec<Value>, ApiError> {
    let has = |one: By| by.contains(&one);
    let mut groups: BTreeMap<Group, UsageSums> = BTreeMap::new();
    for row in rows {
        let group = Group {
            day: has(By::Day).then_some(row.day),
            key: has(By::Key).then(|| row.key.clone()),
            subject: has(By::Subject).then(|| row.subject.clone()),
            model: has(By::Model).then(|| row.model.clone()),
        };
        add(groups.entry(group).or_default(), &row.sums)?;
    }
    Ok(groups.into_iter().map(|(group, sums)| row(group, &sums)).collect())
}

fn row(group: Group, sums: &UsageSums) -> Value {
    let mut shown = json!(sums);
    if let Value::Object(fields) = &mut shown {
        let named = [
            ("day", group.day.map(|day| json!(day))),
            ("key", group.key.map(|key| json!(key))),
            ("subject", group.subject.map(|subject| json!(subject))),
            ("model", group.model.map(|model| json!(model))),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        fields.extend(named);
    }
    shown
}

fn add(into: &mut UsageSums, sums: &UsageSums) -> Result<(), ApiError> {
    for (into, more) in [
        (&mut into.calls, sums.calls),
        (&mut into.input_tokens, sums.input_tokens),
        (&mut into.cached_input_tokens, sums.cached_input_tokens),
        (&mut into.output_tokens, sums.output_tokens),
        (&mut into.compute_micros, sums.compute_micros),
        (&mut into.fuel, sums.fuel),
        (&mut into.egress_bytes, sums.egress_bytes),
    ] {
        *into = into.saturating_add(more);
    }
    into.cost = total([into.cost, sums.cost])?;
    Ok(())
}

fn total(amounts: impl IntoIterator<Item = Nano>) -> Result<Nano, ApiError> {
    let too_large = "the sum is too large: ask for fewer days";
    Nano::checked_sum(amounts).ok_or_else(|| ApiError::field("from", too_large))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_up_by_what_is_asked() {
        let row = |day: u32, key: &str, model: &str, calls: u64, cost: i64| UsageRow {
            day: Day::from_number(day),
            key: KeyId::new(key),
            subject: Subject::Model(model.to_owned()),
            model: Some(model.to_owned()),
            sums: UsageSums { calls, cost: Nano::from_nano(cost), ..UsageSums::default() },
        };
        let rows = [row(1, "a", "m", 1, 10), row(1, "b", "m", 2, 20), row(2, "a", "n", 4, 40)];
        for (by, expect) in [
            (vec![], vec![(7, "0.00000007")]),
            (vec![By::Day], vec![(3, "0.00000003"), (4, "0.00000004")]),
            (vec![By::Key], vec![(5, "0.00000005"), (2, "0.00000002")]),
            (vec![By::Model], vec![(3, "0.00000003"), (4, "0.00000004")]),
            (
                vec![By::Subject, By::Key],
                vec![(1, "0.00000001"), (4, "0.00000004"), (2, "0.00000002")],
            ),
        ] {
            let found = grouped(&rows, &by).unwrap();
            let mut found: Vec<(u64, String)> = found
                .iter()
                .map(|row| (row["calls"].as_u64().unwrap(), row["cost"].as_str().unwrap().into()))
                .collect();
            let mut expect: Vec<(u64, String)> =
                expect.into_iter().map(|(calls, cost)| (calls, cost.to_owned())).collect();
            found.sort();
            expect.sort();
            assert_eq!(found, expect, "{by:?}");
        }
    }
}
