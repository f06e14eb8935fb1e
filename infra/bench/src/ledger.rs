//! Complete calls on the ledger, in a closed loop, beside one transaction per call written by hand
//! on the same database.
//!
//! A call of ours is a hold, the wait until it is durable, and a capture split among author, model
//! owner, provider and platform: two waits for the disk. A peer's call is one transaction that
//! charges the finished call, with the same postings by double entry: one wait. Everybody gets the
//! same stream of calls, on a database of its own in the same folder. Within a round they take
//! turns; of the rounds the median counts. Ours runs inside this process, as the gateway embeds
//! it; PostgreSQL, for ours and for the peers, is one server of default settings beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use emberbox_billing::Clock;
use emberbox_postgres::PostgresServer;

use crate::closed_loop::{Contestant, Shape, Stretch, median, run as run_loop};
use crate::disk::fsync_p50_us;
use crate::load::percentile;
use crate::ours::Ours;
use crate::row::Format;
use crate::slow_disk::SlowDisk;
use crate::store::{Store, start_postgres};

/// The accounts that peers keep.
pub(crate) mod accounts;
/// One transaction per call on SQLite.
pub(crate) mod sqlite_peer;
/// One transaction per call on PostgreSQL.
pub(crate) mod postgres_peer;
/// Captures alone.
mod captures;
/// What is printed.
pub(crate) mod rows;

use postgres_peer::{Keeps, PostgresPeer};
use rows::{CapturesRow, Conditions, Figures, LedgerRow};
use sqlite_peer::SqlitePeer;

/// How long a contestant is warmed up in each case.
const WARM_UP: Duration = Duration::from_secs(1);
/// Captures under way where they are measured alone.
const CAPTURES_IN_FLIGHT: usize = 2_048;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Calls under way at any time, one case each
    #[arg(long, value_delimiter = ',', default_values_t = [64, 512, 2_048])]
    in_flight: Vec<usize>,
    /// Organisations that pay, one case each; with one, every call needs the same wallet
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1])]
    payers: Vec<u32>,
    /// Databases to measure on
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Store::ALL)]
    stores: Vec<Store>,
    /// Rounds of each case; the median of them is reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds that each contestant is under load in a round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Captures in a round where they are measured alone; 0 leaves that row out
    #[arg(long, default_value_t = 60_000)]
    captures: u64,
    /// Folder on the disk to measure on [default: the temporary folder]
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    disk: SlowDisk,
}

/// Ours and the peers, all with their data on the disk of one folder.
struct Field {
    store: Store,
    ours: Arc<Ours>,
    peers: Vec<Arc<dyn Contestant>>,
    folder: PathBuf,
}

/// Measures and prints every row.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    if options.disk.rerun().await? {
        return Ok(());
    }
    let root = options.data.clone().unwrap_or_else(std::env::temp_dir);
    let format = Format::new(options.json);
    if options.stores.contains(&Store::Sqlite) {
        for (payers, in_flight) in options.cases() {
            let folder = tempfile::Builder::new().prefix("emberbox-bench-").tempdir_in(&root)?;
            let field = Field::on_sqlite(folder.path(), payers).await?;
            field
                .measure(options, Shape { in_flight, payers, time: options.time() }, format)
                .await?;
        }
    }
    if options.stores.contains(&Store::Postgres) {
        match start_postgres(&root, &options.disk) {
            Ok(server) => on_postgres(&server, options, format).await?,
            Err(error) => eprintln!("rows on PostgreSQL are left out: {error:#}"),
        }
    }
    Ok(())
}

async fn on_postgres(
    server: &PostgresServer,
    options: &Options,
    format: Format,
) -> anyhow::Result<()> {
    for (payers, in_flight) in options.cases() {
        let field = Field::on_postgres(server, payers).await?;
        field.measure(options, Shape { in_flight, payers, time: options.time() }, format).await?;
    }
    let payers = options.payers.first().copied().unwrap_or(1);
    if options.captures > 0 {
        let field = Field::on_postgres(server, payers).await?;
        field.measure_captures(options, payers, format).await?;
    }
    Ok(())
}

impl Options {
    /// Payers and calls under way, case by case.
    fn cases(&self) -> impl Iterator<Item = (u32, usize)> + '_ {
        let in_flight = |payers| self.in_flight.iter().map(move |in_flight| (payers, *in_flight));
        self.payers.iter().copied().flat_map(in_flight)
    }

    /// How long a contestant is under load in a round.
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl Field {
    async fn on_sqlite(folder: &Path, payers: u32) -> anyhow::Result<Self> {
        let ours = Ours::on_sqlite(&folder.join("emberbox.db"), Clock::System).await?;
        ours.top_up(payers).await?;
        let peer = SqlitePeer::create(&folder.join("peer.db"), payers)?;
        let (ours, folder) = (Arc::new(ours), folder.to_owned());
        Ok(Self { store: Store::Sqlite, ours, peers: vec![Arc::new(peer)], folder })
    }

    async fn on_postgres(server: &PostgresServer, payers: u32) -> anyhow::Result<Self> {
        let ours = Ours::on_postgres(&server.database("emberbox")?, Clock::System).await?;
        ours.top_up(payers).await?;
        let mut peers: Vec<Arc<dyn Contestant>> = Vec::new();
        for keeps in [Keeps::AllBalances, Keeps::WalletBalances] {
            let url = server.database("peer")?;
            peers.push(Arc::new(PostgresPeer::create(&url, payers, keeps).await?));
        }
        let (ours, folder) = (Arc::new(ours), server.data_folder());
        Ok(Self { store: Store::Postgres, ours, peers, folder })
    }

    /// Prints the rows of one case.
    async fn measure(&self, options: &Options, shape: Shape, format: Format) -> anyhow::Result<()> {
        let ours: Arc<dyn Contestant> = Arc::<Ours>::clone(&self.ours);
        let everybody: Vec<&Arc<dyn Contestant>> = [&ours].into_iter().chain(&self.peers).collect();
        let mut tallies = Vec::new();
        for contestant in &everybody {
            let bytes_before = contestant.database_bytes().await?;
            let calls = run_loop(contestant, Shape { time: WARM_UP, ..shape }).await?.calls;
            tallies.push(Tally { bytes_before, calls, stretches: Vec::new() });
        }
        let mut syncs_us = Vec::new();
        for round in 0..options.rounds {
            // In every round, because a shared disk is not the same from minute to minute.
            syncs_us.push(self.sync_us(options)?);
            let mut turns: Vec<_> = everybody.iter().zip(&mut tallies).collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for (contestant, tally) in turns {
                let stretch = run_loop(contestant, shape).await?;
                tally.calls += stretch.calls;
                tally.stretches.push(stretch);
            }
        }
        let conditions = self.conditions(options, shape, &mut syncs_us);
        let mut figures = Vec::new();
        for (contestant, tally) in everybody.iter().zip(&mut tallies) {
            figures.push(tally.figures(contestant).await?);
        }
        let [ours, peers @ ..] = figures.as_slice() else { bail!("nobody was measured") };
        for peer in peers {
            format.print(&LedgerRow::new(conditions, *ours, *peer))?;
        }
        self.ours.close().await
    }

    /// Prints the rows of captures alone. A peer's only transaction is a whole charge, so its
    /// calls are what captures are compared with.
    async fn measure_captures(
        &self,
        options: &Options,
        payers: u32,
        format: Format,
    ) -> anyhow::Result<()> {
        let shape = Shape { in_flight: CAPTURES_IN_FLIGHT, payers, time: options.time() };
        let mut ours = Vec::new();
        let mut peers = vec![Vec::new(); self.peers.len()];
        let mut syncs_us = Vec::new();
        for _ in 0..options.rounds {
            syncs_us.push(self.sync_us(options)?);
            ours.push(captures::measure(&self.ours, options.captures, shape).await?);
            for (peer, stretches) in self.peers.iter().zip(&mut peers) {
                stretches.push(run_loop(peer, shape).await?);
            }
        }
        let conditions = self.conditions(options, shape, &mut syncs_us);
        let ours = median(&mut ours).context("no round was measured")?;
        for (peer, stretches) in self.peers.iter().zip(&mut peers) {
            let stretch = median(stretches).context("no round was measured")?;
            format.print(&CapturesRow::new(conditions, ours, (peer.name(), stretch)))?;
        }
        self.ours.close().await
    }

    fn sync_us(&self, options: &Options) -> anyhow::Result<u64> {
        let fsync_p50_us = fsync_p50_us(&self.folder)?;
        options.disk.verify(fsync_p50_us)?;
        Ok(fsync_p50_us)
    }

    fn conditions(&self, options: &Options, shape: Shape, syncs_us: &mut [u64]) -> Conditions {
        syncs_us.sort_unstable();
        Conditions {
            store: self.store.name(),
            in_flight: shape.in_flight,
            payers: shape.payers,
            rounds: options.rounds,
            fsync_p50_us: percentile(syncs_us, 50),
            sync_delayed_to_us: options.disk.sync_delayed_to_us(),
        }
    }
}

/// What a contestant did in all rounds.
struct Tally {
    bytes_before: u64,
    calls: u64,
    stretches: Vec<Stretch>,
}

impl Tally {
    async fn figures(&mut self, contestant: &Arc<dyn Contestant>) -> anyhow::Result<Figures> {
        let bytes = contestant.database_bytes().await?.saturating_sub(self.bytes_before);
        Ok(Figures {
            name: contestant.name(),
            stretch: median(&mut self.stretches).context("no round was measured")?,
            bytes_per_call: bytes.checked_div(self.calls).unwrap_or_default(),
        })
    }
}
