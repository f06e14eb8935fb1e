//! The auditor: adds the whole ledger up again in SQL, without any of the rules' code.
//!
//! Everything is read as of one moment, while others write. Each SQL file of `audit/` is one question
//! whose answers are sentences about what is broken; a whole ledger answers none. Charges are then
//! computed again one by one.

mod prices; // Charges, computed once more.

use std::time::Duration;

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::IsolationLevel;

use super::fault::Fault;
use super::values::unsigned;
use crate::money::Nano;
use crate::report::LedgerCheck;

/// Breaks that are reported; the rest would say nothing new.
const BREAKS_MAX: usize = 100;

/// What each question is about, where it fails itself, and the question.
const QUESTIONS: [(&str, &str); 5] = [
    ("accounts", include_str!("audit/accounts.sql")),
    ("the journal", include_str!("audit/journal.sql")),
    ("holds", include_str!("audit/holds.sql")),
    ("calls", include_str!("audit/calls.sql")),
    ("sums", include_str!("audit/sums.sql")),
];

/// Sums that do not fit are cut: something is broken then, and the questions say what.
const FIGURES: &str = "SELECT array_agg(least(figure, 9223372036854775807)::bigint ORDER BY place)
    FROM (VALUES
        (1, (SELECT count(*)::numeric FROM accounts)),
        (2, (SELECT count(*) FROM transfers)),
        (3, (SELECT coalesce(sum(debits_posted), 0) FROM accounts WHERE asset = 'credit')),
        (4, (SELECT coalesce(sum(credits_posted), 0) FROM accounts WHERE asset = 'credit')),
        (5, (SELECT coalesce(sum(debits_held), 0) FROM accounts WHERE asset = 'credit')),
        (6, (SELECT count(*) FROM holds)),
        (7, (SELECT count(*) FROM calls WHERE ended IN (1, 7))),
        (8, (SELECT coalesce(sum(amount), 0) FROM transfers WHERE purpose <= 6)),
        (9, (SELECT coalesce(sum(amount), 0) FROM calls WHERE ended IN (1, 7)))
    ) AS figures (place, figure)";

/// Checks the whole ledger; each statement may take as long as `limit`.
pub(super) async fn check(client: &mut Client, limit: Duration) -> Result<LedgerCheck, Fault> {
    let start = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let snapshot = start.read_only(true).start().await?;
    let limit_ms = limit.as_millis();
    snapshot.batch_execute(&format!("SET LOCAL statement_timeout = {limit_ms}")).await?;
    let (mut check, mut readable) = (figures(&snapshot).await?, true);
    for (about, question) in QUESTIONS {
        match ask(&snapshot, question).await {
            Ok(breaks) => check.breaks.extend(breaks),
            // Rows that cannot even be read, such as names that are no JSON: nothing more can be
            // asked in this transaction.
            Err(Fault::Server(error)) => {
                let unreadable = error.as_db_error().filter(|error| is_unreadable(error));
                let Some(said) = unreadable else { return Err(Fault::Server(error)) };
                check.breaks.push(format!("{about} cannot be read: {}", said.message()));
                readable = false;
                break;
            }
            Err(fault) => return Err(fault),
        }
    }
    if readable {
        check.breaks.extend(prices::check(&snapshot).await?);
    }
    // It only read, so there is nothing to keep.
    drop(snapshot);
    check.breaks.truncate(BREAKS_MAX);
    check.ok = check.breaks.is_empty();
    Ok(check)
}

fn is_unreadable(error: &tokio_postgres::error::DbError) -> bool {
    let state = error.code().code();
    state.starts_with("22") || state.starts_with("XX")
}

async fn ask(snapshot: &Transaction<'_>, question: &str) -> Result<Vec<String>, Fault> {
    let rows = snapshot.query(question, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn figures(snapshot: &Transaction<'_>) -> Result<LedgerCheck, Fault> {
    let figures: Vec<i64> = snapshot.query_one(FIGURES, &[]).await?.try_get(0)?;
    let [accounts, transfers, debits, credits, held, holds_open, captures, captured, receipted] =
        figures[..]
    else {
        return Err(Fault::damaged("the figures are not nine"));
    };
    Ok(LedgerCheck {
        accounts: unsigned(accounts),
        transfers: unsigned(transfers),
        debits: Nano::from_nano(debits),
        credits: Nano::from_nano(credits),
        held: Nano::from_nano(held),
        holds_open: unsigned(holds_open),
        captures: unsigned(captures),
        captured: Nano::from_nano(captured),
        // A captured call's row is its receipt.
        receipts: unsigned(captures),
        receipted: Nano::from_nano(receipted),
        ..LedgerCheck::default()
    })
}
