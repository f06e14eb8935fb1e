//! What people ask of a ledger with ten million calls: balance, receipts, usage, the invoice of a
//! month. The ledger is filled through its own interface, by calls spread over months, with a few
//! large organisations and many small ones. Then each question is asked again and again, of the
//! largest organisation and of a typical one. Nothing is written meanwhile, and what was just
//! written is in the operating system's memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use emberbox_billing::Clock;

use crate::closed_loop::{Contestant, Shape, Stretch, run as run_loop};
use crate::disk::fsync_p50_us;
use crate::ours::Ours;
use crate::row::{Format, round};
use crate::slow_disk::SlowDisk;
use crate::store::{Store, start_postgres};

/// Months of calls, and the clock that runs through them.
mod history;
/// The questions.
mod questions;
/// What is printed.
mod rows;

use history::{Fill, History, LARGEST, typical};
use questions::{Asked, Question};
use rows::{FillRow, StatementRow};

/// Calls under way while the ledger is filled.
const IN_FLIGHT: usize = 2_048;
/// Longer than any fill takes.
const UNTIL_IT_IS_FULL: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Calls that the ledger is filled with
    #[arg(long, default_value_t = 10_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    calls: u64,
    /// Organisations that pay, a few of them large
    #[arg(long, default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=100_000))]
    payers: u32,
    /// Days that the calls are spread over, from 2026-01-01 on
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(62..=3_000))]
    days: u32,
    /// How often each question is asked
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    times: u32,
    /// Database to measure on
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    store: Store,
    /// Folder on the disk to measure on [default: the temporary folder]
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    disk: SlowDisk,
}

/// Fills a ledger and measures and prints every row.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    if options.disk.rerun().await? {
        return Ok(());
    }
    let root = options.data.clone().unwrap_or_else(std::env::temp_dir);
    let history = Arc::new(History::new(options.calls, options.days));
    let clock = Clock::Manual(history.clock());
    match options.store {
        Store::Sqlite => {
            let folder = tempfile::Builder::new().prefix("emberbox-bench-").tempdir_in(&root)?;
            let ours = Ours::on_sqlite(&folder.path().join("emberbox.db"), clock).await?;
            measure(options, Arc::new(ours), &history, folder.path()).await
        }
        Store::Postgres => {
            let server = start_postgres(&root, &options.disk)?;
            let ours = Ours::on_postgres(&server.database("emberbox")?, clock).await?;
            measure(options, Arc::new(ours), &history, &server.data_folder()).await
        }
    }
}

async fn measure(
    options: &Options,
    ours: Arc<Ours>,
    history: &Arc<History>,
    folder: &Path,
) -> anyhow::Result<()> {
    let format = Format::new(options.json);
    ours.top_up(options.payers).await?;
    format.print(&fill(options, &ours, history, folder).await?)?;
    for (size, payer) in [("largest", LARGEST), ("typical", typical(options.payers))] {
        let asked = Asked::new(&ours, history, payer).await?;
        for question in Question::ALL {
            let (rows, stretch) = ask(question, options.times, &asked).await?;
            let case = format!("{}-{}-{size}", options.store.name(), question.name());
            let of = (options.store.name(), options.times, options.calls);
            format.print(&StatementRow::new(case, of, (asked.calls, rows), stretch))?;
        }
    }
    ours.close().await
}

/// Fills the ledger.
async fn fill(
    options: &Options,
    ours: &Arc<Ours>,
    history: &Arc<History>,
    folder: &Path,
) -> anyhow::Result<FillRow> {
    let fsync_p50_us = fsync_p50_us(folder)?;
    options.disk.verify(fsync_p50_us)?;
    let bytes_before = ours.database_bytes().await?;
    let shape = Shape { in_flight: IN_FLIGHT, payers: options.payers, time: UNTIL_IT_IS_FULL };
    let fill: Arc<dyn Contestant> = Arc::new(Fill {
        ours: Arc::clone(ours),
        history: Arc::clone(history),
        payers: options.payers,
    });
    let stretch = run_loop(&fill, shape).await?;
    let bytes = ours.database_bytes().await?.saturating_sub(bytes_before);
    Ok(FillRow {
        bench: "statements",
        case: format!("{}-fill", options.store.name()),
        store: options.store.name(),
        calls: stretch.calls,
        payers: options.payers,
        days: options.days,
        seconds: round(stretch.calls as f64 / stretch.calls_per_s, 1),
        calls_per_s: round(stretch.calls_per_s, 1),
        last_tenth_calls_per_s: round(history.last_tenth_calls_per_s(), 1),
        bytes_per_call: bytes / stretch.calls.max(1),
        fsync_p50_us,
        sync_delayed_to_us: options.disk.sync_delayed_to_us(),
    })
}

/// Asks one question so many times, one after the other. The rows of an answer, and how long they
/// took.
async fn ask(question: Question, times: u32, asked: &Asked) -> anyhow::Result<(usize, Stretch)> {
    let mut latencies_us = Vec::new();
    let mut rows = 0;
    let began = Instant::now();
    for _ in 0..times {
        let began = Instant::now();
        rows = question.ask(asked).await?;
        latencies_us.push(u64::try_from(began.elapsed().as_micros())?);
    }
    Ok((rows, Stretch::new(latencies_us, began.elapsed())))
}
