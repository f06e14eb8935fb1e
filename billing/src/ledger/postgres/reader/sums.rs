use tokio_postgres::Row;

use super::{ORG, PostgresReader, days};
use crate::calendar::Day;
use crate::ids::KeyId;
use crate::ledger::postgres::fault::Fault;
use crate::ledger::postgres::load::narrow_day;
use crate::ledger::postgres::names::Names;
use crate::ledger::postgres::rows::{nano, number};
use crate::ledger::postgres::values::{Coded, unsigned};
use crate::report::{EarningsBy, EarningsSum, Role, SumsQuery, UsageBy, UsageSum, UsageSums};

/// A column that the sums are not told apart by.
const NO_NUMBER: &str = "NULL::integer";

impl PostgresReader {
    pub(super) async fn usage_added_up(
        &self,
        query: &SumsQuery<UsageBy>,
    ) -> Result<Vec<UsageSum>, Fault> {
        let (from, to) = days(&query.days)?;
        let limit = i64::from(query.limit);
        let column = |by, name| query.column(by, name, NO_NUMBER);
        let sql = format!(
            "SELECT {}, {}, {}, {}, sum(calls)::bigint, sum(input_tokens)::bigint,
                sum(cached_input_tokens)::bigint, sum(output_tokens)::bigint,
                sum(compute_micros)::bigint, sum(fuel)::bigint, sum(egress_bytes)::bigint,
                sum(cost)::bigint
             FROM usage_days WHERE org = {ORG} AND day BETWEEN $2 AND $3
             GROUP BY 1, 2, 3, 4 LIMIT $4",
            column(UsageBy::Day, "day"),
            column(UsageBy::Key, "key"),
            column(UsageBy::Subject, "subject"),
            column(UsageBy::Model, "model"),
        );
        let org = query.days.org.as_str();
        let rows = self.ask(&sql, vec![&org, &from, &to, &limit]).await?;
        let mut ids: Vec<i32> = Vec::new();
        for row in &rows {
            for column in 1..=3 {
                ids.extend(row.try_get::<_, Option<i32>>(column)?);
            }
        }
        self.learn(ids).await?;
        let mut sums: Vec<UsageSum> =
            rows.iter().map(|row| usage_sum(row, &self.names)).collect::<Result<_, _>>()?;
        sums.sort_by(|a, b| {
            (a.day, &a.key, &a.subject, &a.model).cmp(&(b.day, &b.key, &b.subject, &b.model))
        });
        Ok(sums)
    }

    pub(super) async fn earnings_added_up(
        &self,
        query: &SumsQuery<EarningsBy>,
    ) -> Result<Vec<EarningsSum>, Fault> {
        let (from, to) = days(&query.days)?;
        let limit = i64::from(query.limit);
        let sql = format!(
            "SELECT {}, {}, {}, sum(calls)::bigint, sum(amount)::bigint FROM earnings_days
             WHERE org = {ORG} AND day BETWEEN $2 AND $3 GROUP BY 1, 2, 3 LIMIT $4",
            query.column(EarningsBy::Day, "day", NO_NUMBER),
            query.column(EarningsBy::Role, "role", "NULL::smallint"),
            query.column(EarningsBy::Subject, "subject", NO_NUMBER),
        );
        let org = query.days.org.as_str();
        let rows = self.ask(&sql, vec![&org, &from, &to, &limit]).await?;
        let mut ids: Vec<i32> = Vec::new();
        for row in &rows {
            ids.extend(row.try_get::<_, Option<i32>>(2)?);
        }
        self.learn(ids).await?;
        let mut sums: Vec<EarningsSum> =
            rows.iter().map(|row| earnings_sum(row, &self.names)).collect::<Result<_, _>>()?;
        sums.sort_by(|a, b| (a.day, a.role, &a.subject).cmp(&(b.day, b.role, &b.subject)));
        Ok(sums)
    }
}

fn day(row: &Row) -> Result<Option<Day>, Fault> {
    let day: Option<i32> = row.try_get(0)?;
    day.map(|day| Ok(Day::from_number(narrow_day(day)?))).transpose()
}

fn usage_sum(row: &Row, names: &Names) -> Result<UsageSum, Fault> {
    let (key, subject): (Option<i32>, Option<i32>) = (row.try_get(1)?, row.try_get(2)?);
    let model: Option<i32> = row.try_get(3)?;
    Ok(UsageSum {
        day: day(row)?,
        key: key.map(|id| Ok::<_, Fault>(KeyId::new(names.text(id)?.as_ref()))).transpose()?,
        subject: subject.map(|id| names.subject(id)).transpose()?,
        model: model.map(|id| names.model(id)).transpose()?.flatten(),
        sums: UsageSums {
            calls: number(row, 4)?,
            input_tokens: number(row, 5)?,
            cached_input_tokens: number(row, 6)?,
            output_tokens: number(row, 7)?,
            compute_micros: number(row, 8)?,
            fuel: number(row, 9)?,
            egress_bytes: number(row, 10)?,
            cost: nano(row, 11)?,
        },
    })
}

fn earnings_sum(row: &Row, names: &Names) -> Result<EarningsSum, Fault> {
    let subject: Option<i32> = row.try_get(2)?;
    Ok(EarningsSum {
        day: day(row)?,
        role: row.try_get::<_, Option<_>>(1)?.map(Role::of_code).transpose()?,
        subject: subject.map(|id| names.subject(id)).transpose()?,
        // Refunds give amounts back, and count no calls.
        calls: unsigned(row.try_get::<_, i64>(3)?.max(0)),
        amount: nano(row, 4)?,
    })
}
