//! Thousands of functions on one server: what the first call of each takes, and what memory they
//! take together.
//!
//! Every function is a component of its own, `hello` with a section that says which; the server has
//! no ledger. It is started anew after they were deployed, so that it knows none of them: the first
//! call finds the function in the catalog, maps its compiled code, and runs it. Then they are
//! called at random, by several connections.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::hello_http::ours::{self, Deployer};
use crate::load::{Target, percentile};
use crate::prebuilt;
use crate::row::{Format, Line, round};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Functions that are deployed
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    functions: u32,
    /// Seconds of calls at random
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Connections that call at random
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

/// What first calls took, one after the other.
#[derive(Debug, Serialize)]
struct ColdStart {
    bench: &'static str,
    functions: u32,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    /// The second call of the same functions.
    warm_p50_us: u64,
    target_p99_us: u64,
    target_met: bool,
}

/// What calls at random took, and the memory of all functions.
#[derive(Debug, Serialize)]
struct Density {
    bench: &'static str,
    functions: u32,
    calls: usize,
    errors: usize,
    requests_per_s: f64,
    p50_us: u64,
    p99_us: u64,
    /// Growth since no function was loaded, for each: in all, and without what is a file's.
    resident_kib_per_function: f64,
    anonymous_kib_per_function: f64,
    deploy_ms_per_function: f64,
}

impl Line for ColdStart {
    fn columns(&self) -> String {
        format!(
            "cold-start  {} functions  p50 {} us  p99 {} us (target {})  max {} us  warm p50 {} us",
            self.functions,
            self.p50_us,
            self.p99_us,
            self.target_p99_us,
            self.max_us,
            self.warm_p50_us
        )
    }
}

impl Line for Density {
    fn columns(&self) -> String {
        format!(
            "density  {} functions  {} calls, {} errors, {}/s  p50 {} us  p99 {} us  \
             {} KiB each, {} of them anonymous  deployed in {} ms each",
            self.functions,
            self.calls,
            self.errors,
            self.requests_per_s,
            self.p50_us,
            self.p99_us,
            self.resident_kib_per_function,
            self.anonymous_kib_per_function,
            self.deploy_ms_per_function
        )
    }
}

/// Measures and prints both rows.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("emberbox-bench-").tempdir()?;
    let hello = prebuilt::read("hello")?;
    let (deployed_in, key) = deploy(options, folder.path(), &hello).await?;
    let (process, _) = ours::serve_apart(folder.path(), "unmetered").await?;
    let targets: Vec<Target> = (0..options.functions)
        .map(|number| Target {
            address: process.address,
            path: format!("/f/local/{}/", name(number)),
            authorization: Some(key.clone()),
        })
        .collect();
    let before = Memory::of(process.id()?)?;
    let format = Format::new(options.json);
    format.print(&cold_start(&targets).await?)?;
    let memory = Memory::of(process.id()?)?;
    let each = |kib: u64| round(kib as f64 / f64::from(options.functions), 1);
    let (mut latencies_us, errors, took) = at_random(options, &targets).await?;
    latencies_us.sort_unstable();
    format.print(&Density {
        bench: "density",
        functions: options.functions,
        calls: latencies_us.len() + errors,
        errors,
        requests_per_s: round(latencies_us.len() as f64 / took.as_secs_f64(), 1),
        p50_us: percentile(&latencies_us, 50),
        p99_us: percentile(&latencies_us, 99),
        resident_kib_per_function: each(memory.resident_kib.saturating_sub(before.resident_kib)),
        anonymous_kib_per_function: each(memory.anonymous_kib.saturating_sub(before.anonymous_kib)),
        deploy_ms_per_function: round(
            deployed_in.as_secs_f64() * 1e3 / f64::from(options.functions),
            1,
        ),
    })
}

fn name(number: u32) -> String {
    format!("hello-{number}")
}

/// Deploys every function, and ends the server; gives the first organisation's key.
async fn deploy(
    options: &Options,
    data: &Path,
    hello: &[u8],
) -> anyhow::Result<(Duration, String)> {
    let (process, authorization) = ours::serve_apart(data, "unmetered").await?;
    let authorization = authorization.context("our server gave no key")?;
    let began = Instant::now();
    let mut deployers = JoinSet::new();
    let workers = 4;
    for worker in 0..workers {
        let (address, authorization) = (process.address, authorization.clone());
        let (deployer, hello) = (Deployer { address, authorization }, hello.to_vec());
        let numbers = (worker..options.functions).step_by(workers as usize);
        deployers.spawn(async move {
            for number in numbers {
                deployer.deploy(&name(number), &marked(&hello, number), "").await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = deployers.join_next().await {
        done??;
    }
    let took = began.elapsed();
    process.end().await?;
    Ok((took, authorization))
}

/// The component with one more section, which means nothing: another file with another digest.
fn marked(component: &[u8], number: u32) -> Vec<u8> {
    let mut marked = component.to_vec();
    // A custom section: 0, its length, the length of its name, its name, its content.
    marked.extend([0, 9, 4]);
    marked.extend(b"mark");
    marked.extend(number.to_le_bytes());
    marked
}

/// Every function once, and then once more.
async fn cold_start(targets: &[Target]) -> anyhow::Result<ColdStart> {
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    // A connection, and whatever else the first request of a server meets, is not a function's.
    let first = targets.first().context("no function")?;
    first.once().await?;
    for target in &targets[1..] {
        for times in [&mut cold, &mut warm] {
            times.push(u64::try_from(target.timed().await?.as_micros())?);
        }
    }
    cold.sort_unstable();
    warm.sort_unstable();
    let (p99_us, target_p99_us) = (percentile(&cold, 99), 5_000);
    Ok(ColdStart {
        bench: "cold-start",
        functions: u32::try_from(cold.len())?,
        p50_us: percentile(&cold, 50),
        p99_us,
        max_us: percentile(&cold, 100),
        warm_p50_us: percentile(&warm, 50),
        target_p99_us,
        target_met: p99_us <= target_p99_us,
    })
}

/// Latencies in microseconds, errors, and how long it took.
async fn at_random(
    options: &Options,
    targets: &[Target],
) -> anyhow::Result<(Vec<u64>, usize, Duration)> {
    let began = Instant::now();
    let end = began + Duration::from_secs(options.seconds);
    let mut callers = JoinSet::new();
    for seed in 0..options.connections {
        let (targets, mut random) = (targets.to_vec(), ChaCha8Rng::seed_from_u64(seed as u64));
        callers.spawn(async move {
            let (mut latencies_us, mut errors) = (Vec::new(), 0);
            while Instant::now() < end {
                let target = &targets[random.next_u32() as usize % targets.len()];
                match target.timed().await {
                    Ok(took) => latencies_us.push(u64::try_from(took.as_micros())?),
                    Err(_) => errors += 1,
                }
            }
            anyhow::Ok((latencies_us, errors))
        });
    }
    let (mut latencies_us, mut errors) = (Vec::new(), 0);
    while let Some(caller) = callers.join_next().await {
        let (more, failed) = caller??;
        latencies_us.extend(more);
        errors += failed;
    }
    ensure!(!latencies_us.is_empty(), "no call succeeded");
    Ok((latencies_us, errors, began.elapsed()))
}

/// Of a process, as Linux counts it.
struct Memory {
    resident_kib: u64,
    anonymous_kib: u64,
}

impl Memory {
    fn of(process: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            Ok(number.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(Self { resident_kib: field("VmRSS:")?, anonymous_kib: field("RssAnon:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_another_file() {
        let (a, b) = (marked(b"x", 1), marked(b"x", 258));
        assert_eq!(a, b"x\x00\x09\x04mark\x01\0\0\0");
        assert_eq!(&b[b.len() - 4..], [2, 1, 0, 0]);
    }
}
