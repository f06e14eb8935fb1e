//! The readers' side: a small pool of connections that can only read.

mod sums; // Usage and earnings, added up by the database.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

use super::PostgresLedgerOptions;
use super::address::Address;
use super::audit;
use super::columns::Params;
use super::fault::Fault;
use super::load::narrow_day;
use super::names::Names;
use super::rows::{CALL, Call, TRANSFERS, lines, names, nano, number};
use super::values::{Coded, Id, of_json, signed, unsigned};
use crate::calendar::Day;
use crate::capture::Receipt;
use crate::document::Document;
use crate::error::{BillingError, OpenFailure, StoreError};
use crate::ids::{CallId, KeyId, OpId, OrgId};
use crate::ledger::store::Reader;
use crate::report::{
    DayQuery, EarningsBy, EarningsRow, EarningsSum, Entry, EntryQuery, LedgerCheck, PeriodClose,
    ReceiptQuery, ReceiptTotals, Role, SumsQuery, TransferReport, UsageBy, UsageRow, UsageSum,
    UsageSums,
};

/// Answers that take longer than the server's own limit never come.
const GRACE: Duration = Duration::from_secs(5);
/// A statement is asked again once where its connection had died.
const TRIES_MAX: u32 = 2;

/// Reads what was committed.
pub(crate) struct PostgresReader {
    pool: Pool,
    names: Arc<Names>,
    answer: Duration,
    check: Duration,
}

/// The organisation of a question, by name.
const ORG: &str = "(SELECT id FROM names WHERE name = $1)";

impl PostgresReader {
    /// Makes the pool; it connects when it is asked.
    pub(super) fn new(
        address: &Address,
        options: &PostgresLedgerOptions,
        names: Arc<Names>,
    ) -> Result<PostgresReader, OpenFailure> {
        let mut config = address.config.clone();
        let set = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{set} -c default_transaction_read_only=on"));
        let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &address.tls {
            None => Manager::from_config(config, NoTls, how),
            Some(tls) => Manager::from_config(config, tls.clone(), how),
        };
        let wait = Some(Duration::from_millis(options.connect_timeout_ms));
        let pool = Pool::builder(manager)
            .max_size(options.connections_max.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(wait)
            .create_timeout(wait)
            .recycle_timeout(wait)
            .build()
            .map_err(|error| OpenFailure::Store(StoreError::new(error)))?;
        let answer = Duration::from_millis(options.statement_timeout_ms).saturating_add(GRACE);
        let check = Duration::from_millis(options.check_timeout_ms);
        Ok(PostgresReader { pool, names, answer, check })
    }

    async fn ask(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Fault> {
        let mut tries = 1;
        loop {
            let client = self.pool.get().await?;
            match self.ask_once(&client, sql, &params).await {
                Err(fault) if fault.is_lost() && tries < TRIES_MAX => {
                    drop(Client::take(client));
                    tries = tries.saturating_add(1);
                }
                result => return result,
            }
        }
    }

    async fn ask_once(
        &self,
        client: &Client,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let answer = async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, params).await
        };
        match timeout(self.answer, answer).await {
            Err(_) => Err(Fault::Deadline),
            // PostgreSQL has no NUL in a text, so a name with one is nobody's.
            Ok(Err(error)) if error.code().is_some_and(|state| state.code() == "22021") => {
                Ok(Vec::new())
            }
            Ok(result) => Ok(result?),
        }
    }

    /// Learns the names of numbers that were not seen before.
    async fn learn(&self, ids: impl IntoIterator<Item = i32>) -> Result<(), Fault> {
        let missing = self.names.missing(ids);
        if !missing.is_empty() {
            let sql = "SELECT id, name FROM names WHERE id = ANY($1)";
            self.names.learn(names(&self.ask(sql, vec![&missing]).await?)?);
        }
        Ok(())
    }

    async fn calls(&self, sql: &str, params: Params<'_>) -> Result<Vec<Receipt>, Fault> {
        let rows = self.ask(sql, params).await?;
        let calls: Vec<Call> = rows.iter().map(Call::read).collect::<Result<_, _>>()?;
        self.learn(calls.iter().flat_map(Call::names)).await?;
        calls.into_iter().map(|call| call.into_receipt(&self.names)).collect()
    }

    async fn usage_rows(&self, query: &DayQuery) -> Result<Vec<UsageRow>, Fault> {
        let (from, to) = days(query)?;
        let sql = format!(
            "SELECT day, key, subject, model, calls, input_tokens, cached_input_tokens,
                output_tokens, compute_micros, fuel, egress_bytes, cost
             FROM usage_days WHERE org = {ORG} AND day BETWEEN $2 AND $3"
        );
        let rows = self.ask(&sql, vec![&query.org.as_str(), &from, &to]).await?;
        let mut ids: Vec<i32> = Vec::new();
        for row in &rows {
            ids.extend([row.try_get::<_, i32>(1)?, row.try_get(2)?, row.try_get(3)?]);
        }
        self.learn(ids).await?;
        let mut usage: Vec<UsageRow> =
            rows.iter().map(|row| usage_row(row, &self.names)).collect::<Result<_, _>>()?;
        usage.sort_by(|a, b| {
            (a.day, &a.key, &a.subject, &a.model).cmp(&(b.day, &b.key, &b.subject, &b.model))
        });
        Ok(usage)
    }

    async fn earnings_rows(&self, query: &DayQuery) -> Result<Vec<EarningsRow>, Fault> {
        let (from, to) = days(query)?;
        let sql = format!(
            "SELECT day, role, subject, calls, amount FROM earnings_days
             WHERE org = {ORG} AND day BETWEEN $2 AND $3"
        );
        let rows = self.ask(&sql, vec![&query.org.as_str(), &from, &to]).await?;
        let ids: Result<Vec<i32>, _> = rows.iter().map(|row| row.try_get(2)).collect();
        self.learn(ids?).await?;
        let read = |row: &Row| {
            Ok(EarningsRow {
                day: Day::from_number(narrow_day(row.try_get(0)?)?),
                role: Role::of_code(row.try_get(1)?)?,
                subject: self.names.subject(row.try_get(2)?)?,
                // Refunds give amounts back, and count no calls.
                calls: unsigned(row.try_get::<_, i64>(3)?.max(0)),
                amount: nano(row, 4)?,
            })
        };
        let mut earned: Vec<EarningsRow> = rows.iter().map(read).collect::<Result<_, Fault>>()?;
        earned.sort_by(|a, b| (a.day, a.role, &a.subject).cmp(&(b.day, b.role, &b.subject)));
        Ok(earned)
    }

    async fn entry_rows(&self, query: &EntryQuery) -> Result<Vec<Entry>, Fault> {
        let (from, to) = (signed(query.from_ms), clamp_end(query.to_ms));
        let before = clamp_end(query.before.unwrap_or(u64::MAX));
        let limit = i64::from(query.limit);
        let org = query.org.as_ref().map(OrgId::as_str);
        let whose = if org.is_some() { format!("org = {ORG}") } else { "$1::text IS NULL".into() };
        let params: [&(dyn ToSql + Sync); 5] = [&org, &from, &to, &before, &limit];
        let sql = format!(
            "SELECT c.number, c.op, c.by_whom, c.act, c.answer, c.at_ms,
                t.purposes, t.debits, t.credits, t.amounts
             FROM (SELECT * FROM entries WHERE {whose} AND at_ms >= $2 AND at_ms < $3
                AND number < $4 ORDER BY number DESC LIMIT $5) AS c {TRANSFERS}
             ORDER BY c.number DESC"
        );
        self.ask(&sql, params.to_vec()).await?.iter().map(entry).collect()
    }

    async fn entry_of(&self, op: &OpId) -> Result<Option<Entry>, Fault> {
        let sql = format!(
            "SELECT c.number, c.op, c.by_whom, c.act, c.answer, c.at_ms,
                t.purposes, t.debits, t.credits, t.amounts
             FROM (SELECT * FROM entries WHERE op = $1) AS c {TRANSFERS}"
        );
        self.ask(&sql, vec![&op.as_str()]).await?.first().map(entry).transpose()
    }

    async fn sum(&self, query: &DayQuery) -> Result<ReceiptTotals, Fault> {
        let (from, to) = (signed(query.from.starts_at_ms()), clamp_end(query.to.ends_at_ms()));
        // What pays for a call: the organisation's wallet and lots, or what it owes.
        let sql = format!(
            "WITH charged AS (
                SELECT amount, first_transfer, transfers FROM calls
                WHERE org = {ORG} AND ended IN (1, 7) AND ended_at_ms >= $2 AND ended_at_ms < $3)
             SELECT (SELECT count(*) FROM charged),
                (SELECT coalesce(sum(amount), 0)::bigint FROM charged),
                (SELECT coalesce(sum(t.amount), 0)::bigint FROM charged AS c
                    CROSS JOIN generate_series(
                        c.first_transfer, c.first_transfer + c.transfers - 1) AS mine
                    JOIN transfers AS t ON t.number = mine AND t.purpose <= 6
                    JOIN accounts AS a ON a.number = t.debit
                    WHERE a.name IN ('wallet:' || $1, 'receivable:' || $1)
                        OR a.name LIKE 'lot:%')"
        );
        let rows = self.ask(&sql, vec![&query.org.as_str(), &from, &to]).await?;
        let Some(row) = rows.first() else { return Ok(ReceiptTotals::default()) };
        let (receipts, amount, transferred) = (number(row, 0)?, nano(row, 1)?, nano(row, 2)?);
        Ok(ReceiptTotals { receipts, amount, transferred })
    }

    async fn closes(&self) -> Result<Vec<PeriodClose>, Fault> {
        let sql = "SELECT body FROM documents WHERE kind = 'period' ORDER BY id";
        let read = |row: &Row| match of_json(row.try_get(0)?)? {
            Document::Period(close) => Ok(close),
            _ => Err(Fault::damaged("a period's document is of another kind")),
        };
        self.ask(sql, Vec::new()).await?.iter().map(read).collect()
    }

    async fn audit(&self) -> Result<LedgerCheck, Fault> {
        let mut client = self.pool.get().await?;
        let checked = timeout(self.check, audit::check(&mut client, self.check)).await;
        match checked {
            Ok(Ok(check)) => Ok(check),
            // What is under way on this connection would be in the way of the next question.
            Ok(Err(fault)) => {
                drop(Client::take(client));
                Err(fault)
            }
            Err(_) => {
                drop(Client::take(client));
                Err(Fault::Deadline)
            }
        }
    }
}

#[async_trait]
impl Reader for PostgresReader {
    async fn receipt(&self, org: &OrgId, call: CallId) -> Result<Option<Receipt>, BillingError> {
        let sql = format!(
            "SELECT {CALL} FROM calls AS c {TRANSFERS}
             WHERE c.org = {ORG} AND c.call = $2 AND c.ended IN (1, 7)"
        );
        let id = Id(call.as_uuid());
        let found = self.calls(&sql, vec![&org.as_str(), &id]).await;
        Ok(found.map_err(Fault::of_read)?.pop())
    }

    async fn receipts(&self, query: &ReceiptQuery) -> Result<Vec<Receipt>, BillingError> {
        let sql = format!(
            "SELECT {CALL} FROM (SELECT * FROM calls WHERE org = {ORG} AND ended IN (1, 7)
                AND ($2::uuid IS NULL OR call < $2) ORDER BY call DESC LIMIT $3) AS c {TRANSFERS}
             ORDER BY c.call DESC"
        );
        let (before, limit) = (query.before.map(|call| Id(call.as_uuid())), i64::from(query.limit));
        self.calls(&sql, vec![&query.org.as_str(), &before, &limit]).await.map_err(Fault::of_read)
    }

    async fn usage(&self, query: &DayQuery) -> Result<Vec<UsageRow>, BillingError> {
        self.usage_rows(query).await.map_err(Fault::of_read)
    }

    async fn earnings(&self, query: &DayQuery) -> Result<Vec<EarningsRow>, BillingError> {
        self.earnings_rows(query).await.map_err(Fault::of_read)
    }

    async fn usage_sums(&self, query: &SumsQuery<UsageBy>) -> Result<Vec<UsageSum>, BillingError> {
        self.usage_added_up(query).await.map_err(Fault::of_sum)
    }

    async fn earnings_sums(
        &self,
        query: &SumsQuery<EarningsBy>,
    ) -> Result<Vec<EarningsSum>, BillingError> {
        self.earnings_added_up(query).await.map_err(Fault::of_sum)
    }

    async fn entries(&self, query: &EntryQuery) -> Result<Vec<Entry>, BillingError> {
        self.entry_rows(query).await.map_err(Fault::of_read)
    }

    async fn entry(&self, op: &OpId) -> Result<Option<Entry>, BillingError> {
        self.entry_of(op).await.map_err(Fault::of_read)
    }

    async fn totals(&self, query: &DayQuery) -> Result<ReceiptTotals, BillingError> {
        self.sum(query).await.map_err(Fault::of_read)
    }

    async fn periods(&self) -> Result<Vec<PeriodClose>, BillingError> {
        self.closes().await.map_err(Fault::of_read)
    }

    async fn check(&self) -> Result<LedgerCheck, BillingError> {
        self.audit().await.map_err(Fault::of_read)
    }

    async fn backup(&self, _to: &std::path::Path) -> Result<(), BillingError> {
        let reason = "a ledger on PostgreSQL is backed up with PostgreSQL's own programs";
        Err(BillingError::Invalid(reason.to_owned()))
    }

    async fn close(&self) {
        self.pool.close();
    }
}

/// The days of a question, as the tables number them.
fn days(query: &DayQuery) -> Result<(i32, i32), Fault> {
    let day = |day: Day| i32::try_from(day.number()).unwrap_or(i32::MAX);
    Ok((day(query.from), day(query.to)))
}

/// The end of a span; what is beyond all times is the last of them.
fn clamp_end(end: u64) -> i64 {
    i64::try_from(end).unwrap_or(i64::MAX)
}

fn usage_row(row: &Row, names: &Names) -> Result<UsageRow, Fault> {
    Ok(UsageRow {
        day: Day::from_number(narrow_day(row.try_get(0)?)?),
        key: KeyId::new(names.text(row.try_get(1)?)?.as_ref()),
        subject: names.subject(row.try_get(2)?)?,
        model: names.model(row.try_get(3)?)?,
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

fn entry(row: &Row) -> Result<Entry, Fault> {
    let op: &str = row.try_get(1)?;
    let transfers = lines(row, 6)?.into_iter().map(|line| TransferReport {
        debit: line.debit.name(),
        credit: line.credit.name(),
        amount: line.amount,
    });
    Ok(Entry {
        number: number(row, 0)?,
        op: OpId::new(op).map_err(|error| Fault::damaged(format!("`{op}`: {error}")))?,
        by: row.try_get(2)?,
        act: of_json(row.try_get(3)?)?,
        answer: of_json(row.try_get(4)?)?,
        at_ms: number(row, 5)?,
        transfers: transfers.collect(),
    })
}
