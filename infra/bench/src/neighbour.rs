//! What a function suffers from its neighbours: the latency of `hello` alone, beside eight guests that
//! compute for ever, beside a model under load, and beside guests and clients that do what they must not.
//! The server has no ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::hello_http::ours::{self, Deployer};
use crate::load::{Sample, Target};
use crate::prebuilt;
use crate::row::{Format, Line, round};

/// Guests that compute.
const SPINNING: usize = 8;
/// What a client does that asks for something bad.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Waits,
    Leaves,
    ReadsSlowly,
}

/// Somebody who keeps the server busy.
type Busy = (Target, Manner);

/// Traps, floods, bombs, clients that leave and clients that read slowly, one of each at a time.
const HOSTILE: [(&str, Manner); 10] = [
    ("trap", Manner::Waits),
    ("trap?how=recurse", Manner::Waits),
    ("hoard", Manner::Waits),
    ("hoard-contexts", Manner::Waits),
    ("flood-logs", Manner::Waits),
    ("lie-shape", Manner::Waits),
    ("spin", Manner::Waits),
    ("slow?before_ms=100000", Manner::Leaves),
    ("slow?pieces=100000&ms=1", Manner::Leaves),
    ("big-response?mib=64", Manner::ReadsSlowly),
];
/// When a client leaves that does.
const LEAVES_AFTER: Duration = Duration::from_millis(20);
/// Between two pieces that a client takes which reads slowly.
const PAUSE: Duration = Duration::from_millis(5);
/// Two epoch ticks.
const TARGET_MS: f64 = 10.0;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Connections that call hello
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Rounds; the median of them is reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Neighbour {
    bench: &'static str,
    case: &'static str,
    connections: usize,
    alone_p99_ms: f64,
    beside_p99_ms: f64,
    added_p99_ms: f64,
    alone_p50_ms: f64,
    beside_p50_ms: f64,
    target_ms: f64,
    target_met: bool,
}

impl Line for Neighbour {
    fn columns(&self) -> String {
        format!(
            "neighbour {:<10} p99 {} ms alone, {} ms beside: {} ms more (target {})  p50 {} and {} ms",
            self.case,
            self.alone_p99_ms,
            self.beside_p99_ms,
            self.added_p99_ms,
            self.target_ms,
            self.alone_p50_ms,
            self.beside_p50_ms
        )
    }
}

/// Measures and prints all rows.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("emberbox-bench-").tempdir()?;
    let (process, authorization) = ours::serve_with_model(folder.path(), "unmetered").await?;
    let authorization = authorization.context("our server gave no key")?;
    let deployer = Deployer { address: process.address, authorization: authorization.clone() };
    let target = |path: String| Target {
        address: process.address,
        path,
        authorization: Some(authorization.clone()),
    };
    let hello = target(deployer.deploy("hello", &prebuilt::read("hello")?, "").await?);
    let limits = "[limits]\ncpu_ms = 60000\nwall_ms = 300000\n";
    let spin = deployer.deploy("misbehave", &prebuilt::read("misbehave")?, limits).await?;
    let spin = target(format!("{spin}spin"));
    let model = "models = [\"tiny-storyteller\"]\n";
    let story = deployer.deploy("storyteller", &prebuilt::read("storyteller")?, model).await?;
    let story = target(format!("{story}?about=a+fox"));
    let limits = "[limits]\ncpu_ms = 500\nwall_ms = 2000\nmemory_mib = 16\n";
    let limits = format!("{model}{limits}");
    let limited = deployer.deploy("limited", &prebuilt::read("misbehave")?, &limits).await?;
    let hostile: Vec<Busy> = HOSTILE
        .iter()
        .map(|(misdeed, manner)| (target(format!("{limited}{misdeed}")), *manner))
        .collect();
    let format = Format::new(options.json);
    for (case, busy) in [
        ("spinning", vec![(spin, Manner::Waits); SPINNING]),
        ("model", vec![(story, Manner::Waits); SPINNING]),
        ("hostile", hostile),
    ] {
        format.print(&beside(options, case, (&hello, &busy)).await?)?;
    }
    Ok(())
}

async fn beside(
    options: &Options,
    case: &'static str,
    (hello, busy): (&Target, &[Busy]),
) -> anyhow::Result<Neighbour> {
    let time = Duration::from_secs(options.seconds);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    hello.load(options.connections, time).await?;
    for _ in 0..options.rounds {
        alone.push(hello.load(options.connections, time).await?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut others = JoinSet::new();
        for busy in busy {
            others.spawn(keep_busy(busy.clone(), Arc::clone(&stop)));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        beside.push(hello.load(options.connections, time).await?);
        stop.store(true, Ordering::Relaxed);
        // Whoever drops its connection stops its guest.
        others.shutdown().await;
    }
    let (alone, beside) = (median(&mut alone)?, median(&mut beside)?);
    let ms = |us: u64| us as f64 / 1e3;
    let added = ms(beside.p99_us) - ms(alone.p99_us);
    Ok(Neighbour {
        bench: "neighbour",
        case,
        connections: options.connections,
        alone_p99_ms: round(ms(alone.p99_us), 2),
        beside_p99_ms: round(ms(beside.p99_us), 2),
        added_p99_ms: round(added, 2),
        alone_p50_ms: round(ms(alone.p50_us), 2),
        beside_p50_ms: round(ms(beside.p50_us), 2),
        target_ms: TARGET_MS,
        target_met: added <= TARGET_MS,
    })
}

/// Calls again and again; one that is stopped at its limit has done what it is for.
async fn keep_busy((busy, manner): Busy, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        match manner {
            Manner::Waits => drop(busy.once().await),
            Manner::Leaves => drop(tokio::time::timeout(LEAVES_AFTER, busy.once()).await),
            Manner::ReadsSlowly => drop(busy.read_slowly(PAUSE).await),
        }
    }
}

/// The sample of the middle 99th percentile.
fn median(samples: &mut [Sample]) -> anyhow::Result<Sample> {
    samples.sort_by_key(|sample| sample.p99_us);
    samples.get(samples.len() / 2).copied().context("no sample")
}
