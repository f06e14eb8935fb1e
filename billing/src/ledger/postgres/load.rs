//! Reading everything that the rules decide with, and finding what was kept before.

use std::collections::HashMap;

use tokio_postgres::{Client, IsolationLevel, Row, Transaction};

use super::fault::Fault;
use super::names::{Interner, Names};
use super::rows::{CALL, Call, HOLD, TRANSFERS, account, hold, names, nano, number};
use super::values::{Id, narrow, of_json, signed};
use crate::account::{Account, Counters};
use crate::calendar::Day;
use crate::document::{Document, DocumentKey};
use crate::ids::{OpId, OrgId};
use crate::ledger::store::{Found, Loaded, MATURITY_DAYS_MAX, PastEntry, Wanted};

/// How long one statement of a load may take: it reads whole tables.
const LOAD_TIMEOUT_MS: u64 = 600_000;

/// Reads everything, as of one moment, and gives the interner what it must know.
pub(super) async fn load(client: &mut Client, interner: &mut Interner) -> Result<Loaded, Fault> {
    let start = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let step = start.read_only(true).start().await?;
    let settings =
        format!("SET LOCAL statement_timeout = {LOAD_TIMEOUT_MS}; SET LOCAL enable_seqscan = on");
    step.batch_execute(&settings).await?;
    let mut loaded = Loaded { accounts: accounts(&step).await?, ..Loaded::default() };
    let numbers = loaded
        .accounts
        .iter()
        .map(|(number, account, _)| Ok((account.clone(), narrow(signed(*number))?)));
    let numbers: Vec<(Account, i32)> = numbers.collect::<Result<_, Fault>>()?;
    let known = names(&step.query("SELECT id, name FROM names", &[]).await?)?;
    interner.reload(known, numbers);
    let sql = format!("SELECT {HOLD} FROM holds ORDER BY created_at_ms, call");
    for row in step.query(&sql, &[]).await? {
        loaded.holds.push(hold(&row, interner.names())?);
    }
    for row in step.query("SELECT body FROM documents WHERE live ORDER BY kind, id", &[]).await? {
        loaded.documents.push(of_json(row.try_get(0)?)?);
    }
    for row in step.query("SELECT book FROM price_books ORDER BY version", &[]).await? {
        loaded.books.push(of_json(row.try_get(0)?)?);
    }
    last_numbers(&step, &mut loaded).await?;
    earned(&step, interner.names(), &mut loaded).await?;
    step.commit().await?;
    Ok(loaded)
}

async fn accounts(step: &Transaction<'_>) -> Result<Vec<(u64, Account, Counters)>, Fault> {
    let sql = "SELECT number::bigint, name, debits_posted, credits_posted, debits_held,
        credits_held FROM accounts ORDER BY number";
    let read = |row: &Row| {
        let counters = Counters {
            debits_posted: nano(row, 2)?,
            credits_posted: nano(row, 3)?,
            debits_held: nano(row, 4)?,
            credits_held: nano(row, 5)?,
        };
        Ok((number(row, 0)?, account(row.try_get(1)?)?, counters))
    };
    step.query(sql, &[]).await?.iter().map(read).collect()
}

async fn last_numbers(step: &Transaction<'_>, loaded: &mut Loaded) -> Result<(), Fault> {
    let sql = "SELECT
        (SELECT coalesce(max(number), 0) FROM transfers),
        (SELECT coalesce(max(number), 0) FROM entries),
        (SELECT at_ms FROM writer),
        (SELECT coalesce(max(id::bigint), 0) FROM documents WHERE kind = 'lot'),
        (SELECT coalesce(max(id::bigint), 0) FROM documents WHERE kind = 'budget')";
    let row = step.query_one(sql, &[]).await?;
    loaded.last_transfer = number(&row, 0)?;
    loaded.last_entry = number(&row, 1)?;
    loaded.last_at_ms = number(&row, 2)?;
    loaded.last_lot = number(&row, 3)?;
    loaded.last_budget = number(&row, 4)?;
    for (_, account, _) in &loaded.accounts {
        match account {
            Account::Lot(lot) => loaded.last_lot = loaded.last_lot.max(lot.0),
            Account::Budget(budget) => loaded.last_budget = loaded.last_budget.max(budget.0),
            _ => {}
        }
    }
    Ok(())
}

async fn earned(step: &Transaction<'_>, names: &Names, loaded: &mut Loaded) -> Result<(), Fault> {
    let first = Day::of(loaded.last_at_ms).number().saturating_sub(MATURITY_DAYS_MAX);
    let first: i32 = narrow(i64::from(first))?;
    let sql = "SELECT org, day, sum(amount)::bigint FROM earnings_days WHERE day >= $1
        GROUP BY org, day ORDER BY org, day";
    for row in step.query(sql, &[&first]).await? {
        let (org, day): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
        let day = Day::from_number(narrow_day(day)?);
        loaded.earned.push((OrgId::new(names.text(org)?.as_ref()), day, nano(&row, 2)?));
    }
    Ok(())
}

pub(super) fn narrow_day(day: i32) -> Result<u32, Fault> {
    narrow(i64::from(day))
}

/// Finds what was kept of what is wanted: three statements, one round trip.
pub(super) async fn find(
    client: &Client,
    statements: &Find,
    wanted: &Wanted,
    names: &Interner,
) -> Result<Found, Fault> {
    let (mut orgs, mut calls) = (Vec::new(), Vec::new());
    for (org, call) in &wanted.calls {
        // An organisation without a number has no calls.
        if let Some(org) = names.known(org.as_str()) {
            orgs.push(org);
            calls.push(Id(call.as_uuid()));
        }
    }
    let ops: Vec<&str> = wanted.entries.iter().map(OpId::as_str).collect();
    let kinds: Vec<&str> = wanted.documents.iter().map(|key| key.kind).collect();
    let ids: Vec<&str> = wanted.documents.iter().map(|key| key.id.as_str()).collect();
    let (calls, entries, documents) = tokio::try_join!(
        async {
            if calls.is_empty() {
                Ok(Vec::new())
            } else {
                client.query(&statements.calls, &[&orgs, &calls]).await
            }
        },
        async {
            if ops.is_empty() {
                Ok(Vec::new())
            } else {
                client.query(&statements.entries, &[&ops]).await
            }
        },
        async {
            if ids.is_empty() {
                Ok(Vec::new())
            } else {
                client.query(&statements.documents, &[&kinds, &ids]).await
            }
        },
    )?;
    let read = |row: &Row| Call::read(row)?.into_row(names.names());
    Ok(Found {
        calls: calls.iter().map(read).collect::<Result<HashMap<_, _>, Fault>>()?,
        entries: entries.iter().map(entry).collect::<Result<HashMap<_, _>, Fault>>()?,
        documents: documents.iter().map(document).collect::<Result<HashMap<_, _>, Fault>>()?,
    })
}

fn entry(row: &Row) -> Result<(OpId, PastEntry), Fault> {
    let op: &str = row.try_get(0)?;
    let op = OpId::new(op).map_err(|error| Fault::damaged(format!("`{op}`: {error}")))?;
    let digest: &[u8] = row.try_get(1)?;
    let digest = digest.try_into();
    let digest = digest.ok().ok_or_else(|| Fault::damaged(format!("{op} has no digest")))?;
    Ok((op, PastEntry { digest, answer: of_json(row.try_get(2)?)? }))
}

fn document(row: &Row) -> Result<(DocumentKey, Document), Fault> {
    let document: Document = of_json(row.try_get(0)?)?;
    Ok((document.key(), document))
}

/// The statements of [`find`], prepared on one connection.
pub(super) struct Find {
    calls: tokio_postgres::Statement,
    entries: tokio_postgres::Statement,
    documents: tokio_postgres::Statement,
}

impl Find {
    pub(super) async fn on(client: &Client) -> Result<Find, tokio_postgres::Error> {
        let calls = format!(
            "SELECT {CALL} FROM unnest($1::integer[], $2::uuid[]) AS wanted (org, call)
             JOIN calls AS c ON c.org = wanted.org AND c.call = wanted.call {TRANSFERS}"
        );
        let entries = "SELECT op, digest, answer FROM unnest($1::text[]) AS wanted (op)
            JOIN entries USING (op)";
        let documents = "SELECT body FROM unnest($1::text[], $2::text[]) AS wanted (kind, id)
            JOIN documents USING (kind, id)";
        Ok(Find {
            calls: client.prepare(&calls).await?,
            entries: client.prepare(entries).await?,
            documents: client.prepare(documents).await?,
        })
    }
}
