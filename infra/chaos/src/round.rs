//! A round: load, the end of the process, the reading of its file, a new start, the comparison.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;

use crate::books::Books;
use crate::file::{self, Reading};
use crate::load::Stage;
use crate::plan::{End, Plan};
use crate::record::Record;
use crate::report::{Row, notice};
use crate::server::{Home, Server, Started};
use crate::{api, fault, load, operator, plan, setup};

/// Operators that work at the same time.
const DESKS: u64 = 2;
/// How often the process is looked at while it may die by itself.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A run: one data folder, and the books that are kept of it.
#[derive(Debug)]
pub(crate) struct Run {
    home: Home,
    server: Option<Server>,
    token: String,
    books: Books,
    warned: bool,
}

impl Run {
    /// Starts the first server and prepares it.
    pub(crate) async fn begin(home: Home, connections: u16, seed: u64) -> anyhow::Result<Self> {
        let server = home.started().await?;
        let token = std::fs::read_to_string(home.data().join("operator.token"))?;
        let token = token.trim().to_owned();
        let books = setup::prepare(&server, &token, connections).await?;
        std::fs::create_dir_all(home.folder.join("copy"))?;
        std::fs::write(home.folder.join("seed"), seed.to_string())?;
        Ok(Self { home, server: Some(server), token, books, warned: false })
    }

    /// One round. What is broken stands in the row.
    pub(crate) async fn round(&mut self, number: u64, plan: &Plan) -> anyhow::Result<Row> {
        let mut row = Row { round: number, ..Row::default() };
        let mut record = self.load(plan, &mut row).await?;
        row.sent = record.calls.len();
        row.acknowledged = record.acknowledged();
        row.top_ups = record.top_ups.iter().filter(|top_up| top_up.acknowledged).count();
        row.repeated = record.top_ups.len() - row.top_ups;
        row.broken.append(&mut record.strange);
        self.books.enter(&record);
        self.home.lose_the_end()?;
        let reading = self.read(&record)?;
        row.holds = reading.known.then_some(reading.holds);
        row.broken.extend(reading.broken.iter().cloned());
        match self.restart(plan).await {
            Ok(server) => self.server = Some(server),
            Err(error) => {
                row.broken.push(format!("it does not start again: {error:#}"));
                return Ok(row);
            }
        }
        self.compare(&record, &reading, &mut row).await?;
        Ok(row)
    }

    /// After the last round: every receipt once more, an orderly end, and the file at rest.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Vec<String>> {
        let mut server = self.server.take().context("no server")?;
        let stage = self.stage(&server, false);
        let mut broken = api::compare_all(&stage, &self.books).await?;
        server.term().await?;
        let status = server.ended().await?;
        if !status.success() {
            broken.push(format!("after SIGTERM the server ended with {status}"));
        }
        let reading = self.read(&Record::default())?;
        if reading.holds != 0 {
            broken.push(format!("{} holds are open in a closed ledger", reading.holds));
        }
        broken.extend(self.totals(&reading));
        broken.extend(reading.broken);
        Ok(broken)
    }

    /// Lets clients work until the process is dead, and says what they saw.
    async fn load(&mut self, plan: &Plan, row: &mut Row) -> anyhow::Result<Record> {
        let mut server = self.server.take().context("no server")?;
        if plan.fault.is_some() {
            server.kill().await?;
            match self.start_faulty(plan, row).await? {
                Some(faulty) => server = faulty,
                // The fault struck before it was ready: nobody saw anything.
                None => return Ok(Record::default()),
            }
        }
        let stage = self.stage(&server, plan.fault.is_some());
        let mut record = Record::default();
        if plan.warm {
            let (call, strange) = load::probe(&stage, &self.books.callers[0]).await;
            record.calls.extend(call);
            record.strange.extend(strange);
        }
        let mut clients = self.clients(&stage, plan);
        let began = Instant::now();
        while began.elapsed() < plan.load && server.runs()? {
            let left = plan.load.saturating_sub(began.elapsed());
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
        row.struck = plan.fault.and_then(|_| self.home.struck());
        if let (Some(struck), true) = (row.struck.clone(), server.runs()?) {
            let who = (&self.books.callers[0], self.books.orgs[0].owner.as_str());
            row.broken.extend(fault::check(&stage, &struck, who, &mut record).await);
        }
        stage.ending.store(true, Ordering::Relaxed);
        row.broken.extend(end(&mut server, plan.end).await?);
        row.killed_after_ms = u64::try_from(began.elapsed().as_millis())?;
        while let Some(seen) = clients.join_next().await {
            record.add(seen?);
        }
        Ok(record)
    }

    /// Starts a server whose storage will fail; none where it failed before it was ready.
    async fn start_faulty(&self, plan: &Plan, row: &mut Row) -> anyhow::Result<Option<Server>> {
        match self.home.start(plan.fault).await? {
            Started::Ready(server) => Ok(Some(*server)),
            Started::Ended(status) => {
                row.struck = self.home.struck();
                if row.struck.is_none() {
                    row.broken.push(format!("not struck, the start ended with {status}"));
                }
                Ok(None)
            }
        }
    }

    fn stage(&self, server: &Server, faulty: bool) -> Arc<Stage> {
        Arc::new(Stage {
            public: server.public,
            admin: server.admin,
            function: setup::FUNCTION.to_owned(),
            faulty,
            ending: AtomicBool::new(false),
        })
    }

    fn clients(&self, stage: &Arc<Stage>, plan: &Plan) -> JoinSet<Record> {
        let mut clients = JoinSet::new();
        for desk in 1..=DESKS {
            let prefix = format!("{}-{desk}", plan.seed);
            let who = setup::desk(&self.books, &self.token, &prefix);
            clients.spawn(operator::act(Arc::clone(stage), who, plan::random(plan.seed, desk)));
        }
        for (caller, part) in self.books.callers.iter().zip(DESKS + 1..) {
            let random = plan::random(plan.seed, part);
            clients.spawn(load::call(Arc::clone(stage), caller.clone(), random));
        }
        clients
    }

    /// Reads the file of a dead process. Says loudly, once, where that is not possible.
    fn read(&mut self, record: &Record) -> anyhow::Result<Reading> {
        let copy = self.home.folder.join("copy");
        let reading = file::read(&self.home.data(), &self.books, record, &copy)?;
        if !reading.known && !self.warned {
            notice("THE FILE IS NOT READ: it has no table `calls`; only the server is asked");
            self.warned = true;
        }
        Ok(reading)
    }

    async fn restart(&self, plan: &Plan) -> anyhow::Result<Server> {
        for after in &plan.early {
            self.home.start_and_kill(*after).await?;
        }
        self.home.started().await
    }

    async fn compare(
        &mut self,
        record: &Record,
        reading: &Reading,
        row: &mut Row,
    ) -> anyhow::Result<()> {
        let server = self.server.as_ref().context("no server")?;
        row.recovery_ms = u64::try_from(server.ready_after.as_millis())?;
        let stage = self.stage(server, false);
        let desk = setup::desk(&self.books, &self.token, "");
        let count = |books: &Books| books.orgs.iter().map(|org| org.receipts.len()).sum::<usize>();
        let before = count(&self.books);
        row.broken.extend(api::repeat_top_ups(&stage, &desk, &mut self.books, record).await?);
        row.broken.extend(api::compare(&stage, &desk, &mut self.books, record).await?);
        row.broken.extend(self.totals(reading));
        row.receipts = count(&self.books) - before;
        row.unseen = row.receipts.saturating_sub(row.acknowledged);
        Ok(())
    }

    /// The file of the dead process and the books have the same charges.
    fn totals(&self, reading: &Reading) -> Vec<String> {
        let differ = self.books.orgs.iter().zip(&reading.charged).filter(|(org, charged)| {
            usize::try_from(charged.receipts) != Ok(org.receipts.len())
                || charged.amount != org.spent
        });
        differ
            .map(|(org, charged)| {
                let (receipts, spent) = (org.receipts.len(), org.spent);
                format!("{}: in the file {charged:?}, told {receipts} of {spent}", org.name)
            })
            .collect()
    }
}

/// Ends the process as planned.
async fn end(server: &mut Server, end: End) -> anyhow::Result<Option<String>> {
    match end {
        End::Kill => server.kill().await?,
        End::TermKill(after) => {
            server.term().await?;
            tokio::time::sleep(after).await;
            server.kill().await?;
        }
        End::Term => {
            server.term().await?;
            let status = server.ended().await?;
            let wrong = format!("after SIGTERM under load the server ended with {status}");
            return Ok((!status.success()).then_some(wrong));
        }
    }
    Ok(None)
}
