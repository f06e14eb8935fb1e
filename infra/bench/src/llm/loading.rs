//! The time and the memory that it takes to load a model and to compute its first token, each in
//! a process of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use emberbox_inference::Device;
use emberbox_inference::api::Prompt;
use tokio::process::Command;

use super::llama_cpp::{LlamaCpp, NAME};
use super::machine::Watch;
use super::models::{Quant, Shape};
use super::ours::{Ours, words};
use super::rows::{LlmRow, Rounds, Target};
use super::{Case, Options};

pub(crate) const BENCH: &str = "llm-load";
/// Of the file's size.
const TARGET: Target = Target::AtMost(1.25);
/// How often a process's memory is looked at. The system keeps the peak, so only what it takes in
/// the last moment before its end can be missed.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What the hidden command of this program needs to load a model once.
#[derive(Debug, Args)]
pub(crate) struct Once {
    #[arg(long, value_enum)]
    shape: Shape,
    #[arg(long, value_enum)]
    quant: Quant,
    #[arg(long)]
    device: Device,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    path: PathBuf,
}

/// Loads a model, computes one token, and ends.
pub(crate) async fn load_once(once: Once) -> anyhow::Result<()> {
    let Once { shape, quant, device, threads, path } = once;
    let case = Case { shape, quant, device, threads, path };
    let ours = Ours::load(&case, "bench", |_| {})?;
    ours.generate(Prompt::Tokens(words(shape, 0, 1)), 1).await?;
    Ok(())
}

/// A row for the memory beside the file's size, and one for the time beside the peer's.
pub(crate) async fn measure(case: &Case, options: &Options) -> anyhow::Result<Vec<LlmRow>> {
    let mut watch = Watch::start()?;
    // From here on the file is in the system's memory, for everybody.
    let bytes = std::io::copy(&mut std::fs::File::open(&case.path)?, &mut std::io::sink())?;
    let peer = LlamaCpp::find(options);
    let (mut ours, mut theirs) = (Costs::default(), Costs::default());
    for _ in 0..options.rounds() {
        watch.look().await?;
        ours.add(run(ourselves(case)?).await?);
        if let Some(peer) = &peer {
            theirs.add(run(peer.one_token(case)).await?);
        }
    }
    let mut file = Rounds::default();
    file.push(bytes as f64 / 1e6);
    let mut memory = LlmRow::new(BENCH, case, options);
    (memory.case, memory.unit) = ("memory-peak", "MB");
    let memory = memory.ours(&ours.memory_mb, watch.conditions());
    let memory = memory.beside("the file's size", &file, case.target(TARGET));
    let memory = memory.detail("llama_cpp_mb", theirs.memory_mb.median());
    let mut time = LlmRow::new(BENCH, case, options);
    (time.case, time.unit) = ("time-to-one-token", "ms");
    let mut time = time.ours(&ours.ms, watch.conditions());
    if peer.is_some() {
        time = time.beside(NAME, &theirs.ms, None);
    }
    Ok(vec![memory, time])
}

/// What it took, round by round.
#[derive(Default)]
struct Costs {
    ms: Rounds,
    memory_mb: Rounds,
}

impl Costs {
    fn add(&mut self, (time, memory_bytes): (Duration, u64)) {
        self.ms.push(time.as_secs_f64() * 1e3);
        self.memory_mb.push(memory_bytes as f64 / 1e6);
    }
}

fn ourselves(case: &Case) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["llm-load-once", "--shape", case.shape.name(), "--quant", case.quant.name()]);
    command.args(["--device", &case.device.to_string()]);
    command.args(["--threads", &case.threads.to_string(), "--path"]).arg(&case.path);
    Ok(command)
}

/// The time that a process runs, and the most memory that it has had, files that it maps included.
async fn run(mut command: Command) -> anyhow::Result<(Duration, u64)> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.kill_on_drop(true).spawn()?;
    let status = format!("/proc/{}/status", child.id().context("it ended at once")?);
    let mut peak = 0;
    let ended = loop {
        // Between its end and its burial there is no such line.
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        peak = memory_bytes_peak(&now).unwrap_or(0).max(peak);
        tokio::select! {
            ended = child.wait() => break ended?,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    };
    let time = began.elapsed();
    if !ended.success() {
        let output = child.wait_with_output().await?;
        bail!("{ended}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok((time, peak))
}

/// From `/proc/PID/status`.
fn memory_bytes_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        let status = "VmPeak:\t  999 kB\nVmHWM:\t    1024 kB\nVmRSS:\t     512 kB\n";
        assert_eq!(memory_bytes_peak(status), Some(1 << 20));
        assert_eq!(memory_bytes_peak("State:\tZ (zombie)\n"), None);
    }
}
