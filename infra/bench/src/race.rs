//! Ten thousand calls at once on a balance for exactly one thousand: exactly so many succeed, and
//! not a nano-credit more is spent than was there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use emberbox_billing::{BillingError, CallId, Clock, HoldRequest, Nano, OrgId, Refusal};
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::ours::{Ours, capture_request};
use crate::row::{Format, Line};
use crate::slow_disk::SlowDisk;
use crate::store::{Store, start_postgres};
use crate::traffic::{Call, Traffic};

/// What every call of a race holds, in nano-credits: less than what its usage would cost, so the
/// capture is cut to it and every call costs the same.
const CALL_COST_NANO: i64 = 2_345;
/// When a call that the ledger had no room for comes back.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// How to race.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Calls of a race, all under way at once
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    calls: u32,
    /// Calls that the balance is exactly enough for
    #[arg(long, default_value_t = 1_000)]
    affordable: u32,
    /// Races on each database
    #[arg(long, default_value_t = 20)]
    races: u32,
    /// Databases to race on
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Store::ALL)]
    stores: Vec<Store>,
    /// Folder on the disk to race on [default: the temporary folder]
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    disk: SlowDisk,
}

/// One race.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct RaceRow {
    bench: &'static str,
    case: String,
    store: &'static str,
    calls: u32,
    affordable: u32,
    /// Calls that were held, durable and captured.
    succeeded: u32,
    /// Calls that were refused for want of credits.
    refused: u32,
    /// What receipts sum to beyond what was paid in; more than 0 is money out of nothing.
    overspend_nano: i64,
    /// What the ledger says is left, spent and held taken off.
    left_nano: i64,
    wall_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_delayed_to_us: Option<u64>,
    ok: bool,
}

impl Line for RaceRow {
    fn columns(&self) -> String {
        format!(
            "{:<14} {} of {} calls succeeded, {} affordable  {} refused  overspend {} nano  \
             left {} nano  {} ms  {}",
            self.case,
            self.succeeded,
            self.calls,
            self.affordable,
            self.refused,
            self.overspend_nano,
            self.left_nano,
            self.wall_ms,
            if self.ok { "ok" } else { "BROKEN" }
        )
    }
}

/// Runs all races; fails where one of them was not exact.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    if options.disk.rerun().await? {
        return Ok(());
    }
    ensure!(options.affordable <= options.calls, "--affordable is more than --calls");
    let root = options.data.clone().unwrap_or_else(std::env::temp_dir);
    let mut broken = 0;
    if options.stores.contains(&Store::Sqlite) {
        let folder = tempfile::Builder::new().prefix("emberbox-bench-").tempdir_in(&root)?;
        let ours = Ours::on_sqlite(&folder.path().join("emberbox.db"), Clock::System).await?;
        broken += races(options, Arc::new(ours), Store::Sqlite).await?;
    }
    if options.stores.contains(&Store::Postgres) {
        match start_postgres(&root, &options.disk) {
            Ok(server) => {
                let url = server.database("emberbox")?;
                let ours = Ours::on_postgres(&url, Clock::System).await?;
                broken += races(options, Arc::new(ours), Store::Postgres).await?;
            }
            Err(error) => eprintln!("races on PostgreSQL are left out: {error:#}"),
        }
    }
    ensure!(broken == 0, "{broken} races were not exact");
    Ok(())
}

/// Races on one ledger, then has it replay its journal. Returns how many were not exact.
async fn races(options: &Options, ours: Arc<Ours>, store: Store) -> anyhow::Result<u32> {
    let format = Format::new(options.json);
    let mut broken = 0;
    for number in 1..=options.races {
        let row = race(options, &ours, (store, number)).await?;
        broken += u32::from(!row.ok);
        format.print(&row)?;
    }
    let check = ours.billing.check().await?;
    ensure!(check.ok, "the ledger is broken: {}", check.breaks.join(" "));
    ours.close().await?;
    Ok(broken)
}

async fn race(
    options: &Options,
    ours: &Arc<Ours>,
    (store, number): (Store, u32),
) -> anyhow::Result<RaceRow> {
    let paid_in_nano = CALL_COST_NANO * i64::from(options.affordable);
    let org = OrgId::new(format!("race-{number}"));
    ours.pay_in(org.clone(), Nano::from_nano(paid_in_nano)).await?;
    let began = Instant::now();
    let spent = everybody_calls(options, ours, &org).await?;
    let wall_ms = u64::try_from(began.elapsed().as_millis())?;
    let succeeded = u32::try_from(spent.iter().flatten().count())?;
    let refused = u32::try_from(spent.len())? - succeeded;
    let receipts_nano: i64 = spent.iter().flatten().map(|amount| amount.as_nano()).sum();
    let overspend_nano = (receipts_nano - paid_in_nano).max(0);
    let balance = ours.billing.balance(&org).await?;
    let left_nano = balance.available.as_nano();
    let ok = succeeded == options.affordable
        && overspend_nano == 0
        && left_nano == paid_in_nano - receipts_nano
        && balance.held == Nano::ZERO
        && balance.owed == Nano::ZERO;
    Ok(RaceRow {
        bench: "race",
        case: format!("{}-{number}", store.name()),
        store: store.name(),
        calls: options.calls,
        affordable: options.affordable,
        succeeded,
        refused,
        overspend_nano,
        left_nano,
        wall_ms,
        sync_delayed_to_us: options.disk.sync_delayed_to_us(),
        ok,
    })
}

/// All calls at once, none before all are ready. What each cost; `None` for one that was refused.
async fn everybody_calls(
    options: &Options,
    ours: &Arc<Ours>,
    org: &OrgId,
) -> anyhow::Result<Vec<Option<Nano>>> {
    let start = Arc::new(Barrier::new(usize::try_from(options.calls)?));
    let mut calls = JoinSet::new();
    for lane in 0..options.calls {
        let (ours, start, org) = (Arc::clone(ours), Arc::clone(&start), org.clone());
        let call = Traffic::new(u64::from(lane), 1).call();
        calls.spawn(async move {
            start.wait().await;
            call_once(&ours, org, call).await
        });
    }
    let mut spent = Vec::new();
    while let Some(finished) = calls.join_next().await {
        spent.push(finished?.context("a call of the race failed")?);
    }
    Ok(spent)
}

async fn call_once(ours: &Ours, org: OrgId, call: Call) -> anyhow::Result<Option<Nano>> {
    let id = CallId::generate();
    let amount = Nano::from_nano(CALL_COST_NANO);
    let request = HoldRequest { org: org.clone(), amount, ..ours.hold_request(id, call) };
    let mut hold = loop {
        match ours.billing.hold(request.clone()).await {
            Ok(hold) => break hold,
            Err(BillingError::Refused(Refusal::InsufficientCredits { .. })) => return Ok(None),
            // More than the ledger queues at a time: the same call comes back, as a client would.
            Err(BillingError::Overloaded) => tokio::time::sleep(RETRY_AFTER).await,
            Err(error) => return Err(error.into()),
        }
    };
    hold.durable().await?;
    let mut request = capture_request(id, call);
    request.org = org;
    Ok(Some(ours.billing.capture(request).await?.receipt.amount))
}
