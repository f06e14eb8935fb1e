//! The `hello` example through the gateway, beside `wasmtime serve` on the same component and a
//! bare hyper server.
//!
//! Every contestant has a process of its own; the load has this one. Within a round they take
//! turns, so that whatever else the machine does meets all of them; of the rounds the median
//! counts. Cases are named `c{connections}-{billed|noop}-{fresh|reuse}`: with the ledger or without
//! one, and an instance of the guest made afresh for each request, or one that answers several.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

use crate::disk::fsync_p50_us;
use crate::load::{Sample, Target, percentile};
use crate::prebuilt;
use crate::process::{Process, other, ourselves};
use crate::row::{Format, Row};

/// A bare hyper server, the same answer from memory.
pub(crate) mod bare;
/// Our server.
pub(crate) mod ours;

/// The benchmark's name.
const BENCH: &str = "hello-http";
/// How long a contestant is warmed up at each number of connections.
const WARM_UP: Duration = Duration::from_secs(1);
/// What a peer's figure means when a billed row is compared with it.
const PEER_NOTE: &str = "peers do not authenticate, meter or bill";
/// What lets an instance answer several requests.
const REUSE: &str = "reuse_instances = true\n";

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Connections of the load, one case each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 512])]
    connections: Vec<usize>,
    /// Rounds of each case; the median of them is reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds that each contestant is under load in a round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Folder on the disk to measure on, for the data folders [default: the temporary folder]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where infra/bench/peers.sh put the peers [default: ~/.cache/emberbox-peers]
    #[arg(long, env = "EMBERBOX_PEERS")]
    peers: Option<PathBuf>,
    /// The home folder, where the peers are by default
    #[arg(long, env = "HOME", hide = true)]
    home: PathBuf,
}

/// One server under load.
struct Contestant {
    name: &'static str,
    target: Target,
    _process: Process,
}

/// Our two servers and the peers that are installed.
struct Field {
    billed: Contestant,
    noop: Contestant,
    reuse: Contestant,
    peers: Vec<Contestant>,
    /// On the disk to measure.
    folder: PathBuf,
}

/// Measures and prints every row.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let root = options.data.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("emberbox-bench-").tempdir_in(root)?;
    let field = Field::start(options, folder.path()).await?;
    let format = Format::new(options.json);
    for &connections in &options.connections {
        ensure!(connections > 0, "--connections must be at least 1");
        for row in field.measure(connections, options).await? {
            format.print(&row)?;
        }
    }
    Ok(())
}

impl Field {
    /// Starts everybody, and makes sure that everybody gives the same answer.
    async fn start(options: &Options, folder: &Path) -> anyhow::Result<Self> {
        let (guest, component) = (prebuilt::path("hello"), prebuilt::read("hello")?);
        let start = async |name: &str, billing, manifest| {
            contestant(&folder.join(name), billing, (&component, manifest)).await
        };
        let billed = start("billed", "metered", "").await?;
        let noop = start("noop", "unmetered", "").await?;
        let reuse = start("reuse", "unmetered", REUSE).await?;
        let body = billed.target.once().await?;
        let text = String::from_utf8(body.to_vec()).context("hello did not answer text")?;
        let mut peers = Vec::new();
        let home = options.home.join(".cache/emberbox-peers");
        peers.extend(wasmtime(options.peers.as_ref().unwrap_or(&home), &guest).await?);
        let (process, _) = ourselves(&["serve-hyper", "--body", &text]).await?;
        peers.push(peer("hyper", process));
        for contestant in peers.iter().chain([&noop, &reuse]) {
            let same = contestant.target.once().await? == body;
            ensure!(same, "{} does not give the same answer", contestant.name);
        }
        Ok(Self { billed, noop, reuse, peers, folder: folder.to_owned() })
    }

    /// The rows of one number of connections.
    async fn measure(&self, connections: usize, options: &Options) -> anyhow::Result<Vec<Row>> {
        let everybody: Vec<&Contestant> =
            [&self.billed, &self.noop, &self.reuse].into_iter().chain(&self.peers).collect();
        for contestant in &everybody {
            contestant.target.load(connections, WARM_UP).await?;
        }
        let mut samples = vec![Vec::new(); everybody.len()];
        let mut syncs_us = Vec::new();
        for _ in 0..options.rounds {
            // In every round, because a shared disk is not the same from minute to minute.
            syncs_us.push(fsync_p50_us(&self.folder)?);
            for (contestant, samples) in everybody.iter().zip(&mut samples) {
                let time = Duration::from_secs(options.seconds);
                let sample = contestant.target.load(connections, time).await;
                samples.push(sample.with_context(|| contestant.name)?);
            }
        }
        let medians: Vec<Sample> =
            samples.iter_mut().filter_map(|samples| median(samples)).collect();
        let [billed, noop, reuse, peers @ ..] = medians.as_slice() else {
            anyhow::bail!("a contestant has no sample");
        };
        syncs_us.sort_unstable();
        let disk = format!("fsync_p50_us={}; ", percentile(&syncs_us, 50));
        let mut rows = Vec::new();
        for (kind, ours, extra) in [
            ("billed-fresh", billed, disk.as_str()),
            ("noop-fresh", noop, ""),
            ("noop-reuse", reuse, ""),
        ] {
            let case = format!("c{connections}-{kind}");
            for (contestant, peer) in self.peers.iter().zip(peers) {
                rows.push(row(&case, *ours, (contestant.name, *peer), extra));
            }
        }
        Ok(rows)
    }
}

fn row(case: &str, ours: Sample, peer: (&'static str, Sample), extra: &str) -> Row {
    let (name, peer) = peer;
    let rates = (name, peer.requests_per_s);
    let row = Row::more_is_better(BENCH, case.to_owned(), ours.requests_per_s, rates);
    let note = format!(
        "{extra}p50_us={} p99_us={}; peer p50_us={} p99_us={}; {PEER_NOTE}",
        ours.p50_us, ours.p99_us, peer.p50_us, peer.p99_us
    );
    Row { unit: "requests/s", note, ..row }
}

/// The sample of the middle rate.
fn median(samples: &mut [Sample]) -> Option<Sample> {
    samples.sort_by(|a, b| a.requests_per_s.total_cmp(&b.requests_per_s));
    samples.get(samples.len() / 2).copied()
}

async fn contestant(
    data: &Path,
    billing: &str,
    guest: (&[u8], &str),
) -> anyhow::Result<Contestant> {
    let (process, target) = ours::start(data, billing, guest).await?;
    Ok(Contestant { name: "emberbox", target, _process: process })
}

fn peer(name: &'static str, process: Process) -> Contestant {
    let target = Target { address: process.address, path: "/".to_owned(), authorization: None };
    Contestant { name, target, _process: process }
}

/// `wasmtime serve` on the same component, or nothing where it is not installed.
async fn wasmtime(peers: &Path, guest: &Path) -> anyhow::Result<Option<Contestant>> {
    let program = peers.join("bin/wasmtime");
    if !program.is_file() {
        eprintln!(
            "no {}: rows beside wasmtime-serve are left out; infra/bench/peers.sh installs it",
            program.display()
        );
        return Ok(None);
    }
    let guest = guest.to_str().context("the guest's path is not UTF-8")?;
    let arguments = ["serve", "-Scli", "--addr", "{}", guest];
    Ok(Some(peer("wasmtime-serve", other(&program, &arguments).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests_per_s: f64) -> Sample {
        Sample { requests_per_s, p50_us: 1, p99_us: 2 }
    }

    #[test]
    fn the_middle_round_counts() {
        let mut three = [sample(3.0), sample(1.0), sample(2.0)];
        assert_eq!(median(&mut three), Some(sample(2.0)));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn billed_rows_tell_the_disk() {
        let row = row("c1-billed-fresh", sample(5.0), ("hyper", sample(10.0)), "fsync_p50_us=9; ");
        assert!(row.note.starts_with("fsync_p50_us=9; p50_us=1 p99_us=2; peer"), "{}", row.note);
        assert!((row.ratio - 0.5).abs() < f64::EPSILON);
        assert_eq!(row.unit, "requests/s");
    }
}
