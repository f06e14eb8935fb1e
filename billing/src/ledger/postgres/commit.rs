//! The statements of a commit. One for each table, whatever the size of the batch, and all of
//! them sent in one go: a commit takes one round trip and one sync.

use std::future::Future;
use std::pin::Pin;

use futures::future::join_all;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::batch::Rows;
use super::columns::{
    BatchRows, BookRows, CallRows, ChangedAccounts, ClosedHolds, Columns, DocumentRows,
    EarningsRows, EntryRows, NameRows, NewAccounts, OpenHolds, TransferRows, UsageRows,
};
use super::schema::Fence;

/// Whatever the database's default is.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// The server is told twice how to sync: by its configuration, which may ask for more than this
/// (a standby's answer), and here, where it asks for less.
const SYNC: &str = "SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')";

/// The tables grow from nothing while their statements stay prepared, so a plan must not rest on
/// what was small once: every row is found by its key.
const PLANS: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
    SET plan_cache_mode = force_generic_plan; SET jit = off";

/// The statements of a commit, prepared on one connection.
pub(super) struct Prepared {
    fence: Statement,
    names: Statement,
    new_accounts: Statement,
    changed_accounts: Statement,
    transfers: Statement,
    batches: Statement,
    opened: Statement,
    closed: Statement,
    calls: Statement,
    late: Statement,
    entries: Statement,
    documents: Statement,
    books: Statement,
    usage: Statement,
    earnings: Statement,
}

/// What is sent outside of a transaction that says otherwise changes nothing. A commit is sent
/// whole, before its BEGIN is answered: should that one fail, by itself (somebody cancels it, or
/// it takes too long), each statement after it would else be a transaction of its own.
const GUARD: &str = "SET default_transaction_read_only = on";

/// A statement that changes rows, with the number of rows that it must find.
fn expecting<T: Columns>(change: &str, what: &str) -> String {
    let wanted = T::next_param();
    format!(
        "WITH changed AS ({change} RETURNING 1)
         SELECT expect((SELECT count(*) FROM changed), ${wanted}, 'EB001', '{what}')"
    )
}

fn changed_accounts() -> String {
    let change = format!(
        "UPDATE accounts AS kept SET debits_posted = new.debits_posted,
            credits_posted = new.credits_posted, debits_held = new.debits_held,
            credits_held = new.credits_held
         FROM {} WHERE kept.number = new.number
            AND kept.debits_posted = new.debits_posted_before
            AND kept.credits_posted = new.credits_posted_before
            AND kept.debits_held = new.debits_held_before
            AND kept.credits_held = new.credits_held_before",
        ChangedAccounts::unnest()
    );
    expecting::<ChangedAccounts>(&change, "accounts as they were before")
}

fn closed() -> String {
    let change = format!(
        "DELETE FROM holds AS kept USING {} WHERE kept.org = new.org AND kept.call = new.call",
        ClosedHolds::unnest()
    );
    expecting::<ClosedHolds>(&change, "open holds")
}

fn late() -> String {
    let change = format!(
        "{} ON CONFLICT (org, call) DO UPDATE SET ended = excluded.ended,
            amount = excluded.amount, usage = excluded.usage, ending = excluded.ending,
            ended_at_ms = excluded.ended_at_ms, first_transfer = excluded.first_transfer,
            transfers = excluded.transfers
         WHERE calls.ended IN (3, 4)",
        CallRows::insert("calls")
    );
    expecting::<CallRows>(&change, "calls whose holds had expired")
}

fn usage() -> String {
    let quantities = [
        "input_tokens",
        "cached_input_tokens",
        "output_tokens",
        "compute_micros",
        "fuel",
        "egress_bytes",
    ];
    let grown = |name: &&str| {
        format!("{name} = least(kept.{name}::numeric + excluded.{name}, 9223372036854775807)")
    };
    let grown: Vec<String> = quantities.iter().map(grown).collect();
    format!(
        "{} ON CONFLICT (org, day, key, subject, model) DO UPDATE SET
            calls = kept.calls + excluded.calls, cost = kept.cost + excluded.cost, {}",
        UsageRows::insert("usage_days AS kept"),
        grown.join(", ")
    )
}

fn earnings() -> String {
    format!(
        "{} ON CONFLICT (org, day, role, subject) DO UPDATE SET
            calls = kept.calls + excluded.calls, amount = kept.amount + excluded.amount",
        EarningsRows::insert("earnings_days AS kept")
    )
}

fn documents() -> String {
    format!(
        "{} ON CONFLICT (kind, id) DO UPDATE SET live = excluded.live, body = excluded.body",
        DocumentRows::insert("documents")
    )
}

const FENCE: &str = "WITH mine AS (
        UPDATE writer SET batch = $2, at_ms = $3 WHERE epoch = $1 AND batch = $2::bigint - 1
        RETURNING 1)
    SELECT expect((SELECT count(*) FROM mine), 1, 'EB002', 'writers of this epoch')";

/// A statement under way.
type Step<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

impl Prepared {
    /// Sets the session up and prepares everything that a commit needs.
    pub(super) async fn on(client: &Client) -> Result<Prepared, Error> {
        client.batch_execute(SYNC).await?;
        client.batch_execute(PLANS).await?;
        client.batch_execute(GUARD).await?;
        let prepare = async |sql: String| client.prepare(&sql).await;
        Ok(Prepared {
            fence: prepare(FENCE.to_owned()).await?,
            names: prepare(NameRows::insert("names")).await?,
            new_accounts: prepare(NewAccounts::insert("accounts")).await?,
            changed_accounts: prepare(changed_accounts()).await?,
            transfers: prepare(TransferRows::insert("transfers")).await?,
            batches: prepare(BatchRows::insert("batches")).await?,
            opened: prepare(OpenHolds::insert("holds")).await?,
            closed: prepare(closed()).await?,
            calls: prepare(CallRows::insert("calls")).await?,
            late: prepare(late()).await?,
            entries: prepare(EntryRows::insert("entries")).await?,
            documents: prepare(documents()).await?,
            books: prepare(BookRows::insert("price_books")).await?,
            usage: prepare(usage()).await?,
            earnings: prepare(earnings()).await?,
        })
    }

    /// Sends a whole transaction, COMMIT included, and then waits for the answers. Where one
    /// statement fails the server refuses those after it, and its COMMIT undoes all: the first
    /// failure is the reason.
    pub(super) async fn commit(
        &self,
        client: &Client,
        rows: &Rows,
        fence: &Fence,
    ) -> Result<(), Error> {
        let next = fence.batch.saturating_add(1);
        let (changed, closed, late) =
            (rows.changed_accounts.rows(), rows.closed.rows(), rows.late.rows());
        let mut steps = Steps { client, steps: Vec::with_capacity(18) };
        steps.steps.push(Box::pin(client.batch_execute(BEGIN)));
        let guard: [&(dyn ToSql + Sync); 3] = [&fence.epoch, &next, &rows.at_ms];
        steps.run(&self.fence, guard.to_vec());
        steps.add(&self.names, &rows.names);
        steps.add(&self.new_accounts, &rows.new_accounts);
        steps.expect(&self.changed_accounts, &rows.changed_accounts, &changed);
        steps.add(&self.transfers, &rows.transfers);
        steps.add(&self.batches, &rows.batches);
        steps.expect(&self.closed, &rows.closed, &closed);
        steps.add(&self.opened, &rows.opened);
        steps.add(&self.calls, &rows.calls);
        steps.expect(&self.late, &rows.late, &late);
        steps.add(&self.entries, &rows.entries);
        steps.add(&self.documents, &rows.documents);
        steps.add(&self.books, &rows.books);
        steps.add(&self.usage, &rows.usage);
        steps.add(&self.earnings, &rows.earnings);
        steps.steps.push(Box::pin(client.batch_execute("COMMIT")));
        // A statement is sent when it is first polled, so they are sent in this order.
        join_all(steps.steps).await.into_iter().collect()
    }
}

/// The statements of one transaction, in the order in which they are sent.
struct Steps<'a> {
    client: &'a Client,
    steps: Vec<Step<'a>>,
}

impl<'a> Steps<'a> {
    fn run(&mut self, statement: &'a Statement, params: Vec<&'a (dyn ToSql + Sync)>) {
        let client = self.client;
        let step = async move { client.execute(statement, &params).await.map(|_| ()) };
        self.steps.push(Box::pin(step));
    }

    /// Rows that are added; nothing is sent where there are none.
    fn add(&mut self, statement: &'a Statement, rows: &'a impl Columns) {
        if rows.rows() > 0 {
            self.run(statement, rows.params());
        }
    }

    /// Rows that must be there.
    fn expect(&mut self, statement: &'a Statement, rows: &'a impl Columns, wanted: &'a i64) {
        if *wanted > 0 {
            let mut params = rows.params();
            params.push(wanted);
            self.run(statement, params);
        }
    }
}
