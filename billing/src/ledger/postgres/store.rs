//! The writer's side: one connection, and what to do when it breaks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::Client;
use uuid::Uuid;

use super::PostgresLedgerOptions;
use super::address::Address;
use super::batch::Rows;
use super::commit::Prepared;
use super::fault::Fault;
use super::load::{self, Find};
use super::names::{Interner, Names};
use super::schema::{Fence, take_again, take_over};
use crate::error::{OpenFailure, StoreError};
use crate::ledger::store::{Batch, Found, Loaded, Store, StoreFault, Wanted};

/// A batch is sent again once, after the server says that the first try was not kept.
const TRIES_MAX: u32 = 2;
/// The pause before the second try to connect; it doubles up to the maximum.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Answers that take longer than the server's own limit never come.
const GRACE: Duration = Duration::from_secs(5);

/// The store on PostgreSQL. It blocks, and must not be asked from inside a runtime.
pub(crate) struct PostgresStore {
    runtime: Option<Runtime>,
    writer: Writer,
}

/// Everything but the runtime.
struct Writer {
    address: Address,
    deadlines: Deadlines,
    link: Option<Link>,
    fence: Fence,
    /// Whether nobody knows what became of the last batch. Only a load helps.
    in_doubt: bool,
    interner: Interner,
}

#[derive(Clone, Copy)]
struct Deadlines {
    answer: Duration,
    load: Duration,
    recovery: Duration,
}

/// A connection and what was prepared on it.
struct Link {
    client: Client,
    prepared: Prepared,
    find: Find,
}

impl Link {
    async fn on(client: Client) -> Result<Link, tokio_postgres::Error> {
        let prepared = Prepared::on(&client).await?;
        let find = Find::on(&client).await?;
        Ok(Link { client, prepared, find })
    }
}

impl PostgresStore {
    /// Connects, brings the schema up to date and takes the right to write from whoever had it.
    pub(super) fn open(
        address: Address,
        (options, now_ms): (&PostgresLedgerOptions, u64),
        names: Arc<Names>,
    ) -> Result<PostgresStore, OpenFailure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| OpenFailure::Io(Arc::new(error)))?;
        let owner = Uuid::now_v7();
        let connected = runtime.block_on(async {
            let mut client = address.connect().await?;
            let fence = take_over(&mut client, owner, now_ms).await?;
            warn_of_no_sync(&client).await?;
            Ok::<_, OpenFailure>((fence, Link::on(client).await?))
        });
        let (fence, link) = connected?;
        let deadlines = Deadlines {
            answer: Duration::from_millis(options.statement_timeout_ms).saturating_add(GRACE),
            load: Duration::from_millis(options.load_timeout_ms),
            recovery: Duration::from_millis(options.recovery_timeout_ms),
        };
        let interner = Interner::new(names);
        let (link, in_doubt) = (Some(link), false);
        let writer = Writer { address, deadlines, link, fence, in_doubt, interner };
        Ok(PostgresStore { runtime: Some(runtime), writer })
    }

    fn block_on<'a, T, F>(
        &'a mut self,
        ask: impl FnOnce(&'a mut Writer) -> F,
    ) -> Result<T, StoreFault>
    where
        F: Future<Output = Result<T, StoreFault>>,
    {
        match &self.runtime {
            Some(runtime) => runtime.block_on(ask(&mut self.writer)),
            None => Err(StoreFault::Broken("the store was closed".to_owned())),
        }
    }
}

impl Store for PostgresStore {
    fn load(&mut self) -> Result<Loaded, StoreFault> {
        self.block_on(Writer::load)
    }

    fn find(&mut self, wanted: &Wanted) -> Result<Found, StoreFault> {
        self.block_on(|writer| writer.find(wanted))
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreFault> {
        self.block_on(|writer| writer.commit(batch))
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreFault> {
        self.writer.link = None;
        // The connection says goodbye when it is driven once more.
        self.block_on(|_| async {
            tokio::task::yield_now().await;
            Ok(())
        })
    }
}

/// A runtime must not be dropped inside of another one, and nobody knows who drops the store.
impl Drop for PostgresStore {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Writer {
    async fn load(&mut self) -> Result<Loaded, StoreFault> {
        self.in_doubt = false;
        for _ in 1..TRIES_MAX {
            match self.try_load().await {
                Err(fault) if fault.is_lost() => self.link = None,
                result => return result.map_err(Fault::of_write),
            }
        }
        self.try_load().await.map_err(Fault::of_write)
    }

    async fn try_load(&mut self) -> Result<Loaded, Fault> {
        self.linked().await?;
        let Some(link) = &mut self.link else { return Err(Fault::Deadline) };
        let loaded = load::load(&mut link.client, &mut self.interner);
        in_time(self.deadlines.load, loaded).await
    }

    async fn find(&mut self, wanted: &Wanted) -> Result<Found, StoreFault> {
        for _ in 1..TRIES_MAX {
            match self.try_find(wanted).await {
                Err(fault) if fault.is_lost() => self.link = None,
                result => return result.map_err(Fault::of_write),
            }
        }
        self.try_find(wanted).await.map_err(Fault::of_write)
    }

    async fn try_find(&mut self, wanted: &Wanted) -> Result<Found, Fault> {
        self.linked().await?;
        let Some(link) = &self.link else { return Err(Fault::Deadline) };
        let found = load::find(&link.client, &link.find, wanted, &self.interner);
        in_time(self.deadlines.answer, found).await
    }

    async fn commit(&mut self, batch: &Batch) -> Result<(), StoreFault> {
        if self.in_doubt {
            let what = Fault::damaged("the fate of the last batch is unknown");
            return Err(StoreFault::Unsure(StoreError::new(what)));
        }
        let rows = Rows::of(batch, &mut self.interner);
        let kept = match rows {
            Ok(rows) => self.keep(&rows).await,
            Err(fault) => Err(fault.of_write()),
        };
        match &kept {
            Ok(()) => self.interner.keep(),
            Err(_) => self.interner.forget(),
        }
        kept
    }

    /// Commits, and where the connection breaks finds out whether it was done.
    async fn keep(&mut self, rows: &Rows) -> Result<(), StoreFault> {
        self.linked().await.map_err(Fault::of_write)?;
        let mut tries = 1;
        loop {
            let fault = match self.try_keep(rows).await {
                Ok(()) => return Ok(()),
                Err(fault) if fault.is_lost() => fault,
                Err(fault) => return Err(fault.of_write()),
            };
            self.link = None;
            let before = self.fence.batch;
            match self.linked().await {
                Ok(()) if self.fence.batch == before.saturating_add(1) => return Ok(()),
                Ok(()) if self.fence.batch == before && tries < TRIES_MAX => {}
                Ok(()) if self.fence.batch == before => return Err(fault.of_write()),
                Ok(()) => {
                    let what = format!("batch {} follows {before}", self.fence.batch);
                    return Err(StoreFault::Broken(what));
                }
                Err(Fault::Fenced) => return Err(StoreFault::Fenced),
                Err(_) => {
                    self.in_doubt = true;
                    return Err(StoreFault::Unsure(StoreError::new(fault)));
                }
            }
            tries = tries.saturating_add(1);
        }
    }

    async fn try_keep(&mut self, rows: &Rows) -> Result<(), Fault> {
        let Some(link) = &self.link else { return Err(Fault::Deadline) };
        let commit = link.prepared.commit(&link.client, rows, &self.fence);
        let kept = in_time(self.deadlines.answer, async { Ok(commit.await?) }).await;
        if kept.as_ref().is_err_and(|fault| !fault.is_lost()) {
            // Where the COMMIT itself was refused, its transaction is still there. Whether this
            // works is known by the next commit.
            let undo = async { Ok(link.client.batch_execute("ROLLBACK").await?) };
            drop(in_time(self.deadlines.answer, undo).await);
        }
        kept?;
        self.fence.batch = self.fence.batch.saturating_add(1);
        Ok(())
    }

    /// Makes sure that there is a connection. A new one brings a new epoch, and tells which batch
    /// was the last.
    async fn linked(&mut self) -> Result<(), Fault> {
        // Lets the connection notice that it was closed since the last time.
        tokio::task::yield_now().await;
        if self.link.as_ref().is_some_and(|link| !link.client.is_closed()) {
            return Ok(());
        }
        self.link = None;
        let give_up = Instant::now().checked_add(self.deadlines.recovery);
        let give_up = give_up.unwrap_or_else(Instant::now);
        let mut pause = PAUSE_MIN;
        loop {
            let relinked = timeout_at(give_up, relink(&self.address, self.fence.owner));
            let fault = match relinked.await {
                Ok(Ok(Some((fence, link)))) => {
                    tracing::warn!(epoch = fence.epoch, "the ledger is connected again");
                    (self.fence, self.link) = (fence, Some(link));
                    return Ok(());
                }
                Ok(Ok(None)) => return Err(Fault::Fenced),
                Ok(Err(error)) => Fault::Server(error),
                Err(_) => Fault::Deadline,
            };
            if Instant::now() >= give_up {
                return Err(fault);
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }
}

/// A new connection with a new epoch; `None` where another process writes now.
async fn relink(
    address: &Address,
    owner: Uuid,
) -> Result<Option<(Fence, Link)>, tokio_postgres::Error> {
    let client = address.connect().await?;
    let Some(fence) = take_again(&client, owner).await? else { return Ok(None) };
    Ok(Some((fence, Link::on(client).await?)))
}

async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, answer).await.unwrap_or(Err(Fault::Deadline))
}

/// The ledger promises what the server's disk keeps.
async fn warn_of_no_sync(client: &Client) -> Result<(), tokio_postgres::Error> {
    let row = client.query_one("SELECT current_setting('fsync')", &[]).await?;
    if row.try_get::<_, &str>(0)? != "on" {
        tracing::warn!("this PostgreSQL has fsync off: a crash of its machine may lose money");
    }
    Ok(())
}
