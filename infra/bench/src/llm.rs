//! Inference beside llama.cpp: the same file, the same number of threads, in turns.
//!
//! Ours runs inside this process, through the public interface of `emberbox-inference`, with
//! sampling, text and events; llama.cpp by its own `llama-bench` and `llama-batched-bench`, which
//! do neither. Prompts are fixed random tokens. Of the rounds the median counts.

use std::path::PathBuf;

use clap::Args;
use emberbox_inference::Device;

/// A light payer beside a heavy one.
mod fair;
/// Through a guest.
mod guest;
/// A peer in Rust.
mod candle;
/// The peer.
mod llama_cpp;
/// Time and memory to load a model.
mod loading;
/// With drafts and without.
mod lookup;
/// What else the machine does.
mod machine;
/// Files with random weights.
pub(crate) mod models;
/// Our engine.
mod ours;
/// The first token after a prefix that is known.
mod prefix;
/// What is printed.
mod rows;
/// Tokens per second.
mod speed;

pub(crate) use loading::{Once, load_once};
use models::{Models, Quant, Shape};
use rows::{LlmRow, Target};
pub(crate) use speed::Speed;

use crate::row::Format;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// A smoke run: short, one round, and its figures mean nothing
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    models: Models,
    /// Threads of ours and of the peer, one case each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// What ours runs on: cpu, or cuda:0, wgpu:0 and the like in a build with that feature. The
    /// peer stays on the processor
    #[arg(long, default_value_t)]
    device: Device,
    /// Rounds of each case; the median of them is reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where infra/bench/peers.sh put the peers [default: ~/.cache/emberbox-peers]
    #[arg(long, env = "EMBERBOX_PEERS")]
    peers: Option<PathBuf>,
}

/// A model, what it runs on, and how many threads it gets.
#[derive(Debug, Clone)]
struct Case {
    shape: Shape,
    quant: Quant,
    device: Device,
    threads: usize,
    path: PathBuf,
}

impl Case {
    /// What a ratio has to be, on the device that the peer has too.
    fn target(&self, target: Target) -> Option<Target> {
        (self.device == Device::Cpu).then_some(target)
    }
}

/// A benchmark of inference.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bench {
    Speed(Speed),
    Prefix,
    Lookup,
    Fair,
    Load,
    Guest,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Speed(speed) => speed.name(),
            Self::Prefix => prefix::BENCH,
            Self::Lookup => lookup::BENCH,
            Self::Fair => fair::BENCH,
            Self::Load => loading::BENCH,
            Self::Guest => guest::BENCH,
        }
    }
}

/// Measures and prints every row. Where ours fails, the row says so, and the next case follows.
pub(crate) async fn run(bench: Bench, options: &Options) -> anyhow::Result<()> {
    let format = Format::new(options.json);
    for case in options.cases()? {
        let rows = match bench {
            Bench::Speed(speed) => speed::measure(speed, &case, options).await,
            Bench::Prefix => prefix::measure(&case, options).await,
            Bench::Lookup => lookup::measure(&case, options).await,
            Bench::Fair => fair::measure(&case, options).await,
            Bench::Load => loading::measure(&case, options).await,
            Bench::Guest => guest::measure(&case, options).await,
        };
        let failed = |error: anyhow::Error| {
            vec![LlmRow::new(bench.name(), &case, options).unavailable(format!("{error:#}"))]
        };
        for row in rows.unwrap_or_else(failed) {
            format.print(&row)?;
        }
    }
    Ok(())
}

impl Options {
    /// Every model with every number of threads; files are written where they are missing.
    fn cases(&self) -> anyhow::Result<Vec<Case>> {
        let mut cases = Vec::new();
        let quants = &self.models.quant;
        let files =
            self.models.models.iter().flat_map(|s| quants.iter().map(move |quant| (*s, *quant)));
        for (shape, quant) in files {
            let path = self.models.file(shape, quant)?;
            let device = self.device;
            let case = |threads: &usize| {
                let (threads, path) = (*threads, path.clone());
                Case { shape, quant, device, threads, path }
            };
            cases.extend(self.threads.iter().map(case));
        }
        Ok(cases)
    }

    fn peers(&self) -> PathBuf {
        let home = || self.models.home.join(".cache/emberbox-peers");
        self.peers.clone().unwrap_or_else(home)
    }

    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// So many tokens, or an eighth of them in a smoke run.
    fn tokens(&self, count: u32) -> u32 {
        if self.quick { count / 8 } else { count }
    }
}
