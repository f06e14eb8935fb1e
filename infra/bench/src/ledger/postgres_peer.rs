//! The peers on PostgreSQL: one transaction per call, written by hand.
//!
//! A pool of connections; each call takes one, locks the wallet's row with `SELECT ... FOR
//! UPDATE`, writes the call and its postings and commits with PostgreSQL's own group commit. What
//! needs no answer is sent at once, so a call is two round trips. As on SQLite, the transaction
//! charges the finished call without a hold before it.
//!
//! There are two: one keeps the balances of all five accounts, and so locks the platform's row in
//! every call; the other keeps the wallet's balance only, and what payees have is the sum of their
//! postings.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::closed_loop::Contestant;
use crate::ledger::accounts::{Account, TOP_UP_NANO, all_accounts};
use crate::store::{connect, postgres_bytes};
use crate::traffic::Call;

/// Connections of the pool.
pub(crate) const CONNECTIONS: usize = 32;

const SCHEMA: &str = "
    CREATE TABLE accounts (
        id             bigint PRIMARY KEY,
        name           text NOT NULL UNIQUE,
        is_wallet      boolean NOT NULL,
        debits_posted  bigint NOT NULL DEFAULT 0,
        credits_posted bigint NOT NULL DEFAULT 0,
        CHECK (NOT is_wallet OR debits_posted <= credits_posted)
    ) WITH (fillfactor = 20);
    CREATE TABLE calls (
        id             uuid PRIMARY KEY,
        payer          bigint NOT NULL REFERENCES accounts (id),
        key            integer NOT NULL,
        function       integer NOT NULL,
        model          integer NOT NULL,
        amount         bigint NOT NULL,
        input_tokens   integer NOT NULL,
        output_tokens  integer NOT NULL,
        compute_micros integer NOT NULL,
        at             timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX calls_by_payer ON calls (payer, id);
    CREATE TABLE postings (
        id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        call   uuid NOT NULL,
        debit  bigint NOT NULL,
        credit bigint NOT NULL,
        amount bigint NOT NULL CHECK (amount > 0)
    );
    CREATE INDEX postings_by_call ON postings (call);
";

/// Which balances the peer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Those of wallets and of payees.
    AllBalances,
    /// Those of wallets.
    WalletBalances,
}

/// One transaction per call on PostgreSQL.
pub(crate) struct PostgresPeer {
    keeps: Keeps,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

/// A connection and its prepared statements.
struct Connection {
    client: Client,
    lock: Statement,
    call: Statement,
    postings: Statement,
    debit: Statement,
    credit: Statement,
}

impl PostgresPeer {
    /// Creates the tables and accounts in an empty database and opens the pool.
    pub(crate) async fn create(url: &str, payers: u32, keeps: Keeps) -> anyhow::Result<Self> {
        let client = connect(url).await?;
        client.batch_execute(SCHEMA).await?;
        let account = client
            .prepare(
                "INSERT INTO accounts (id, name, is_wallet, credits_posted) \
                 VALUES ($1, $2, $3, $4)",
            )
            .await?;
        for account_of in all_accounts(payers) {
            let wallet = matches!(account_of, Account::Wallet(_));
            let credits = if wallet { TOP_UP_NANO } else { 0 };
            client
                .execute(&account, &[&account_of.id(), &account_of.name(), &wallet, &credits])
                .await?;
        }
        let mut idle = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            idle.push(Connection::prepare(connect(url).await?).await?);
        }
        Ok(Self { keeps, permits: Semaphore::new(CONNECTIONS), idle: Mutex::new(idle) })
    }

    fn take(&self) -> anyhow::Result<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().context("more permits than connections")
    }

    fn put_back(&self, connection: Connection) -> anyhow::Result<()> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(())
    }
}

#[async_trait]
impl Contestant for PostgresPeer {
    fn name(&self) -> &'static str {
        match self.keeps {
            Keeps::AllBalances => "postgres-transaction-per-call",
            Keeps::WalletBalances => "postgres-transaction-per-call-wallet-balances-only",
        }
    }

    async fn call(&self, call: Call, end: Instant) -> anyhow::Result<bool> {
        let permit = self.permits.acquire().await?;
        if Instant::now() >= end {
            return Ok(false);
        }
        let connection = self.take()?;
        connection.charge(call, self.keeps).await?;
        self.put_back(connection)?;
        drop(permit);
        Ok(true)
    }

    async fn database_bytes(&self) -> anyhow::Result<u64> {
        let connection = self.take()?;
        let bytes = postgres_bytes(&connection.client).await;
        self.put_back(connection)?;
        bytes
    }
}

impl Connection {
    async fn prepare(client: Client) -> anyhow::Result<Self> {
        let lock = "SELECT credits_posted - debits_posted FROM accounts WHERE id = $1 FOR UPDATE";
        let call = "INSERT INTO calls (id, payer, key, function, model, amount, input_tokens, \
                    output_tokens, compute_micros) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let postings = "INSERT INTO postings (call, debit, credit, amount) VALUES \
                        ($1, $2, $3, $4), ($1, $2, $5, $6), ($1, $2, $7, $8), ($1, $2, $9, $10)";
        let types = [&[Type::UUID][..], &[Type::INT8; 9]].concat();
        Ok(Self {
            lock: client.prepare(lock).await?,
            call: client.prepare(call).await?,
            postings: client.prepare_typed(postings, &types).await?,
            debit: client.prepare(&balance("debits_posted")).await?,
            credit: client.prepare(&balance("credits_posted")).await?,
            client,
        })
    }

    async fn charge(&self, call: Call, keeps: Keeps) -> anyhow::Result<()> {
        let parts_nano = call.parts_nano();
        let amount: i64 = parts_nano.iter().sum();
        let wallet = Account::Wallet(call.payer).id();
        let lock: [&(dyn ToSql + Sync); 1] = [&wallet];
        let (_, row) = tokio::try_join!(
            self.client.batch_execute("BEGIN"),
            self.client.query_one(&self.lock, &lock)
        )?;
        ensure!(row.get::<_, i64>(0) >= amount, "wallet {wallet} is empty");
        let id = Uuid::now_v7();
        // The futures are polled in this order, and so are the statements sent: the commit last.
        tokio::try_join!(
            self.write(id, call, amount),
            self.post(id, call),
            self.keep(call, amount, keeps),
            async { Ok(self.client.batch_execute("COMMIT").await?) }
        )?;
        Ok(())
    }

    async fn write(&self, id: Uuid, call: Call, amount: i64) -> anyhow::Result<()> {
        let [key, function, model] = [call.key, call.function, call.model].map(u32::cast_signed);
        let [input, output, compute] =
            [call.input_tokens, call.output_tokens, call.compute_micros].map(u32::cast_signed);
        let payer = Account::Wallet(call.payer).id();
        let values: [&(dyn ToSql + Sync); 9] =
            [&id, &payer, &key, &function, &model, &amount, &input, &output, &compute];
        self.client.execute(&self.call, &values).await?;
        Ok(())
    }

    async fn post(&self, id: Uuid, call: Call) -> anyhow::Result<()> {
        let wallet = Account::Wallet(call.payer).id();
        let [author, owner, provider, platform] = Account::payees(call).map(Account::id);
        let [a, o, r, p] = call.parts_nano();
        let values: [&(dyn ToSql + Sync); 10] =
            [&id, &wallet, &author, &a, &owner, &o, &provider, &r, &platform, &p];
        self.client.execute(&self.postings, &values).await?;
        Ok(())
    }

    /// Keeps balances, the wallet's first and the platform's last: everybody locks rows in the
    /// same order, and the row that all need for the shortest time.
    async fn keep(&self, call: Call, amount: i64, keeps: Keeps) -> anyhow::Result<()> {
        let wallet = Account::Wallet(call.payer).id();
        let values: [&(dyn ToSql + Sync); 2] = [&amount, &wallet];
        let debit = self.client.execute(&self.debit, &values);
        if keeps == Keeps::WalletBalances {
            debit.await?;
            return Ok(());
        }
        let [author, owner, provider, platform] = Account::payees(call).map(Account::id);
        let [a, o, r, p] = call.parts_nano();
        let values: [[&(dyn ToSql + Sync); 2]; 4] =
            [[&a, &author], [&o, &owner], [&r, &provider], [&p, &platform]];
        tokio::try_join!(
            debit,
            self.client.execute(&self.credit, &values[0]),
            self.client.execute(&self.credit, &values[1]),
            self.client.execute(&self.credit, &values[2]),
            self.client.execute(&self.credit, &values[3]),
        )?;
        Ok(())
    }
}

fn balance(column: &str) -> String {
    format!("UPDATE accounts SET {column} = {column} + $1 WHERE id = $2")
}
