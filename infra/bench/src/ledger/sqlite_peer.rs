//! The peer on SQLite: one transaction per call, written by hand.
//!
//! One connection, owned by a thread, commits once for each call with the same durability as the
//! ledger (write-ahead log, `synchronous=FULL`). The transaction charges the finished call: it
//! checks the wallet, writes the call and its four postings and keeps five balances. It takes no
//! hold before the work, so it syncs once per call where the ledger waits for two syncs.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use rusqlite::{Connection, Transaction, params};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::closed_loop::Contestant;
use crate::ledger::accounts::{Account, TOP_UP_NANO, all_accounts};
use crate::store::sqlite_bytes;
use crate::traffic::Call;

/// Calls that may wait for the connection.
const QUEUE_MAX: usize = 4_096;
/// Statements kept prepared.
const STATEMENTS_MAX: usize = 16;

const SCHEMA: &str = "
    CREATE TABLE accounts (
        id             INTEGER PRIMARY KEY,
        name           TEXT NOT NULL UNIQUE,
        is_wallet      INTEGER NOT NULL,
        debits_posted  INTEGER NOT NULL DEFAULT 0,
        credits_posted INTEGER NOT NULL DEFAULT 0,
        CHECK (is_wallet = 0 OR debits_posted <= credits_posted)
    ) STRICT;
    CREATE TABLE calls (
        id             BLOB PRIMARY KEY,
        payer          INTEGER NOT NULL REFERENCES accounts (id),
        key            INTEGER NOT NULL,
        function       INTEGER NOT NULL,
        model          INTEGER NOT NULL,
        amount         INTEGER NOT NULL,
        input_tokens   INTEGER NOT NULL,
        output_tokens  INTEGER NOT NULL,
        compute_micros INTEGER NOT NULL,
        at_ms          INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX calls_by_payer ON calls (payer, id);
    CREATE TABLE postings (
        id     INTEGER PRIMARY KEY,
        call   BLOB NOT NULL,
        debit  INTEGER NOT NULL REFERENCES accounts (id),
        credit INTEGER NOT NULL REFERENCES accounts (id),
        amount INTEGER NOT NULL CHECK (amount > 0)
    ) STRICT;
    CREATE INDEX postings_by_call ON postings (call);
";

/// One transaction per call on SQLite.
#[derive(Debug)]
pub(crate) struct SqlitePeer {
    queue: SyncSender<Job>,
    path: PathBuf,
}

struct Job {
    call: Call,
    end: Instant,
    done: oneshot::Sender<anyhow::Result<bool>>,
}

impl SqlitePeer {
    /// Creates the database with its accounts, each wallet topped up.
    pub(crate) fn create(path: &Path, payers: u32) -> anyhow::Result<Self> {
        let mut connection = Connection::open(path)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        let transaction = connection.transaction()?;
        for account in all_accounts(payers) {
            let wallet = matches!(account, Account::Wallet(_));
            transaction.execute(
                "INSERT INTO accounts (id, name, is_wallet, credits_posted) VALUES (?, ?, ?, ?)",
                params![account.id(), account.name(), wallet, if wallet { TOP_UP_NANO } else { 0 }],
            )?;
        }
        transaction.commit()?;
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        thread::Builder::new()
            .name("sqlite-peer".to_owned())
            .spawn(move || serve(&mut connection, &jobs))?;
        Ok(Self { queue, path: path.to_owned() })
    }
}

#[async_trait]
impl Contestant for SqlitePeer {
    fn name(&self) -> &'static str {
        "sqlite-transaction-per-call"
    }

    async fn call(&self, call: Call, end: Instant) -> anyhow::Result<bool> {
        let (done, answer) = oneshot::channel();
        ensure!(
            self.queue.try_send(Job { call, end, done }).is_ok(),
            "more than {QUEUE_MAX} calls wait"
        );
        answer.await.context("the connection's thread ended")?
    }

    async fn database_bytes(&self) -> anyhow::Result<u64> {
        sqlite_bytes(&self.path)
    }
}

/// Answers calls until nobody can ask any more.
fn serve(connection: &mut Connection, jobs: &Receiver<Job>) {
    for job in jobs {
        let outcome = if Instant::now() < job.end {
            charge(connection, job.call).map(|()| true)
        } else {
            Ok(false)
        };
        // Whoever asked may be gone; the call is charged all the same.
        job.done.send(outcome).ok();
    }
}

fn charge(connection: &mut Connection, call: Call) -> anyhow::Result<()> {
    let parts_nano = call.parts_nano();
    let amount: i64 = parts_nano.iter().sum();
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let wallet = Account::Wallet(call.payer).id();
    let left: i64 = transaction
        .prepare_cached("SELECT credits_posted - debits_posted FROM accounts WHERE id = ?")?
        .query_row([wallet], |row| row.get(0))?;
    ensure!(left >= amount, "wallet {wallet} is empty");
    let id = Uuid::now_v7();
    write_call(&transaction, id, call, amount)?;
    transaction
        .prepare_cached("UPDATE accounts SET debits_posted = debits_posted + ? WHERE id = ?")?
        .execute(params![amount, wallet])?;
    for (payee, nano) in Account::payees(call).into_iter().zip(parts_nano) {
        transaction
            .prepare_cached(
                "INSERT INTO postings (call, debit, credit, amount) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![id.as_bytes(), wallet, payee.id(), nano])?;
        transaction
            .prepare_cached("UPDATE accounts SET credits_posted = credits_posted + ? WHERE id = ?")?
            .execute(params![nano, payee.id()])?;
    }
    Ok(transaction.commit()?)
}

fn write_call(
    transaction: &Transaction<'_>,
    id: Uuid,
    call: Call,
    amount: i64,
) -> anyhow::Result<()> {
    let at_ms = id.get_timestamp().map_or(0, |at| at.to_unix().0 * 1_000);
    transaction
        .prepare_cached("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            id.as_bytes(),
            Account::Wallet(call.payer).id(),
            call.key,
            call.function,
            call.model,
            amount,
            call.input_tokens,
            call.output_tokens,
            call.compute_micros,
            i64::try_from(at_ms)?,
        ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::traffic::Traffic;

    #[tokio::test]
    async fn what_wallets_pay_is_what_payees_get() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer.db");
        let peer = SqlitePeer::create(&path, 3).unwrap();
        let mut traffic = Traffic::new(1, 3);
        let end = Instant::now() + Duration::from_secs(600);
        let mut spent = 0;
        for _ in 0..20 {
            let call = traffic.call();
            spent += call.parts_nano().iter().sum::<i64>();
            assert!(peer.call(call, end).await.unwrap());
        }
        assert!(!peer.call(traffic.call(), Instant::now()).await.unwrap(), "the time was over");
        assert!(peer.database_bytes().await.unwrap() > 0);
        let sums = "SELECT sum(debits_posted), sum(credits_posted) FILTER (WHERE NOT is_wallet),
                           (SELECT count(*) FROM postings), (SELECT count(*) FROM calls)
                    FROM accounts";
        let seen: (i64, i64, i64, i64) = Connection::open(&path)
            .unwrap()
            .query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap();
        assert_eq!(seen, (spent, spent, 80, 20));
    }
}
