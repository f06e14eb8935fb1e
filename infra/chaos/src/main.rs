//! A kill -9 loop against the real binary under load. Each round, clients call, pay and change
//! things until the process dies at a moment that the seed chose; then it is started again, and
//! its books are compared with what the clients saw acknowledged. With `--faults`, its storage
//! fails as well: syncs and writes of the ledger's files, or a torn write.
//!
//! `cargo run --release -p emberbox-chaos -- [--rounds 10] [--seed N] [--faults] [--json]`
//!
//! It ends with 1 when anything is broken, and then keeps the data folder. Moments of a kill depend
//! on the machine, so a seed repeats the plan of a round and not each interleaving.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use clap::Parser;

use crate::plan::Plan;
use crate::report::{notice, say};
use crate::round::Run;
use crate::server::Home;

/// What happens in a round, from the seed.
mod plan;
/// The real binary: started, killed, asked to stop.
mod server;
/// Connections, and what was seen of each answer.
mod client;
/// What clients saw in a round.
mod record;
/// The first start: organisations, keys, a function.
mod setup;
/// Callers.
mod load;
/// The operator and the owner.
mod operator;
/// A round, from the load to the comparison.
mod round;
/// What a server must do whose storage has failed.
mod fault;
/// What must be true, from what clients saw.
mod books;
/// The comparison over HTTP.
mod api;
/// The comparison with the file.
mod file;
/// Credits as numbers.
mod nano;
/// Rows.
mod report;

/// Kills the real binary under load and compares its books with what clients saw.
#[derive(Debug, Parser)]
#[command(name = "emberbox-chaos")]
struct Args {
    /// Rounds, each with one kill under load
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// The seed of the first round; a new one every time by default
    #[arg(long)]
    seed: Option<u64>,
    /// The binary under test; by default the one beside this program
    #[arg(long)]
    emberbox: Option<PathBuf>,
    /// Callers that work at the same time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Let the storage fail in every round
    #[arg(long)]
    faults: bool,
    /// Cut most of the ledger's write-ahead log off after each kill, to see that it is noticed
    #[arg(long)]
    sabotage: bool,
    /// Print one JSON object a round
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let emberbox = match &args.emberbox {
        Some(path) => path.canonicalize()?,
        None => std::env::current_exe()?.with_file_name("emberbox"),
    };
    ensure!(emberbox.is_file(), "{} is not there", emberbox.display());
    let seed = args.seed.unwrap_or_else(of_the_clock);
    let scratch = tempfile::Builder::new().prefix("emberbox-chaos-").tempdir()?;
    let folder = scratch.path().to_path_buf();
    let home = Home { emberbox, folder, faults: None, sabotage: args.sabotage };
    let result = rounds(&args, seed, home).await;
    if matches!(result, Ok(true)) {
        return Ok(ExitCode::SUCCESS);
    }
    let kept = scratch.keep();
    notice(&format!("BROKEN: --seed {seed}; everything is kept in {}", kept.display()));
    result.map(|_| ExitCode::FAILURE)
}

/// Runs the rounds; false where anything broke.
async fn rounds(args: &Args, seed: u64, mut home: Home) -> anyhow::Result<bool> {
    if args.faults {
        home.build_faults().await?;
    }
    let began = Instant::now();
    let mut run = Run::begin(home, args.connections, seed).await?;
    let (mut calls, mut receipts) = (0, 0);
    for round in 1..=args.rounds {
        let plan = Plan::of(seed, round, args.faults);
        let row = run.round(round, &plan).await?;
        row.print(&plan, args.json);
        calls += row.acknowledged;
        receipts += row.receipts;
        if !row.broken.is_empty() {
            return Ok(false);
        }
    }
    let broken = run.finish().await?;
    broken.iter().for_each(|text| notice(&format!("BROKEN at the end: {text}")));
    if !args.json {
        say(&format!(
            "{} rounds, seed {seed}, {calls} calls acknowledged, {receipts} receipts, {:.1} s: {}",
            args.rounds,
            began.elapsed().as_secs_f64(),
            if broken.is_empty() { "nothing is broken" } else { "BROKEN" },
        ));
    }
    Ok(broken.is_empty())
}

fn of_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ (since.as_secs() << 20)
}
