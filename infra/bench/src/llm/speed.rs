//! Tokens per second of generation and of prompts.

use anyhow::Context;
use emberbox_inference::Device;
use emberbox_inference::api::Prompt;
use tokio::task::JoinSet;

use super::candle::{self, Candle};
use super::llama_cpp::{self, LlamaCpp, Measure, SETTINGS};
use super::machine::{Watch, read_bandwidth};
use super::models::Shape;
use super::ours::{Ours, Stream, rate_together, words};
use super::rows::{LlmRow, Rounds, Target};
use super::{Case, Options};
use crate::row::round;

/// Streams at the same time.
const STREAMS: u32 = 8;
/// Tokens of each of their prompts.
const STREAM_PROMPT: u32 = 16;
/// Of the bandwidth that was measured; for models far larger than the caches.
const BANDWIDTH_SHARE: f64 = 0.8;

/// What is generated or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speed {
    /// One stream, from nothing.
    Decode,
    /// A prompt.
    Prefill,
    /// Several streams, all together.
    Batch,
    /// One stream, after a long prompt.
    Long,
}

impl Speed {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Decode => "llm-decode",
            Self::Prefill => "llm-prefill",
            Self::Batch => "llm-batch",
            Self::Long => "llm-long",
        }
    }

    fn target(self) -> Target {
        Target::AtLeast(match self {
            Self::Decode | Self::Long => 1.3,
            Self::Prefill => 2.0,
            Self::Batch => 3.0,
        })
    }

    fn measure(self, options: &Options) -> Measure {
        match self {
            Self::Decode => Measure::Decode { tokens: options.tokens(128), depth: 0 },
            Self::Prefill => Measure::Prefill(options.tokens(512)),
            Self::Batch => {
                let tokens = options.tokens(128);
                Measure::Batch { streams: STREAMS, prompt: STREAM_PROMPT, tokens }
            }
            Self::Long => {
                Measure::Decode { tokens: options.tokens(64), depth: options.tokens(8_192) }
            }
        }
    }
}

/// Our side of one case.
struct Contestant {
    ours: Ours,
    shape: Shape,
    measure: Measure,
    /// Keeps a long prompt in the cache from round to round.
    stream: Stream,
}

/// The peer's side: the settings that were the fastest, once they are known.
struct Peer {
    llama_cpp: LlamaCpp,
    measure: Measure,
    settings: Option<&'static str>,
    rounds: Rounds,
}

/// The row of one case, one more of the bandwidth where memory limits, and one beside candle.
pub(crate) async fn measure(
    speed: Speed,
    case: &Case,
    options: &Options,
) -> anyhow::Result<Vec<LlmRow>> {
    let mut watch = Watch::start()?;
    let measure = speed.measure(options);
    let mut peer = LlamaCpp::find(options).map(|llama_cpp| Peer {
        llama_cpp,
        measure,
        settings: None,
        rounds: Rounds::default(),
    });
    let candle = Candle::find(options);
    let mut ours = Contestant::start(case, measure).await;
    let (mut rounds, mut candles) = (Rounds::default(), Rounds::default());
    for number in 0..options.rounds() {
        watch.look().await?;
        let peer_first = number % 2 == 1;
        if let (true, Some(peer)) = (peer_first, &mut peer) {
            peer.round(case).await?;
        }
        if let Ok(ours) = &mut ours {
            rounds.push(ours.round(u64::from(number) + 1).await?);
        }
        if let (false, Some(peer)) = (peer_first, &mut peer) {
            peer.round(case).await?;
        }
        if let Some(candle) = &candle {
            candle.measure(case, measure).await?.into_iter().for_each(|rate| candles.push(rate));
        }
    }
    let mut row = LlmRow::new(speed.name(), case, options).ours(&rounds, watch.conditions());
    if let Some(peer) = &peer {
        row = row.beside(llama_cpp::NAME, &peer.rounds, case.target(speed.target()));
        row = row.detail("peer_settings", peer.settings.unwrap_or_default());
    }
    let bytes = match ours {
        Ok(ours) => ours.ours.info.weight_bytes,
        Err(error) => return Ok(vec![row.unavailable(format!("{error:#}"))]),
    };
    let mut rows = Vec::new();
    // Another device has memory of its own, whose bandwidth is not known here.
    if speed == Speed::Decode && case.device == Device::Cpu {
        rows.push(bandwidth(&row, bytes, case, options)?);
    }
    if candles.median().is_some() {
        let beside = LlmRow::new(speed.name(), case, options).ours(&rounds, watch.conditions());
        rows.push(beside.beside(candle::NAME, &candles, None));
    }
    rows.insert(0, row);
    Ok(rows)
}

/// The share of the machine's bandwidth that one stream makes use of: every weight is read once
/// for each token.
fn bandwidth(
    decode: &LlmRow,
    weight_bytes: u64,
    case: &Case,
    options: &Options,
) -> anyhow::Result<LlmRow> {
    let bytes_per_s = read_bandwidth(case.threads)?;
    let share = |rate: Option<f64>| {
        let mut rounds = Rounds::default();
        rate.into_iter().for_each(|rate| rounds.push(rate * weight_bytes as f64 / 1e9));
        rounds
    };
    let mut available = Rounds::default();
    available.push(bytes_per_s / 1e9);
    let target = (case.shape == Shape::Llama32).then_some(Target::AtLeast(BANDWIDTH_SHARE));
    let mut row = LlmRow::new("llm-decode", case, options);
    row.case = "bandwidth";
    row.unit = "GB/s";
    let theirs = share(decode.peer).median().map(|rate| round(rate * 1e9 / bytes_per_s, 3));
    let conditions = decode.conditions().context("nothing was measured")?;
    let row = row.ours(&share(decode.ours), conditions);
    let row = row.beside("plain reads", &available, target);
    Ok(row.detail("weight_bytes", weight_bytes).detail("llama_cpp_share", theirs))
}

impl Contestant {
    /// Loads the model and runs it once, as `llama-bench` does.
    async fn start(case: &Case, measure: Measure) -> anyhow::Result<Self> {
        let ours = Ours::load(case, "bench", |limits| {
            if let Measure::Prefill(tokens) = measure {
                // The peer takes as many in one step.
                limits.prefill_tokens_max = tokens as usize;
            }
        })?;
        let stream = ours.open("org_bench").await?;
        let mut contestant = Self { ours, shape: case.shape, measure, stream };
        contestant.round(0).await?;
        Ok(contestant)
    }

    /// Tokens per second. Every round has a prompt of its own, so that no cache knows it, but for
    /// the long one, which is to be known.
    async fn round(&mut self, seed: u64) -> anyhow::Result<f64> {
        let prompt =
            |seed: u64, tokens: u32| Prompt::Tokens(words(self.shape, seed, tokens as usize));
        match self.measure {
            Measure::Prefill(tokens) => {
                let timeline = self.ours.generate(prompt(seed, tokens), 1).await?;
                Ok(f64::from(tokens) / timeline.first()?.as_secs_f64())
            }
            Measure::Decode { tokens, depth: 0 } => {
                let timeline = self.ours.generate(prompt(seed, 1), tokens).await?;
                Ok(f64::from(tokens) / timeline.whole().as_secs_f64())
            }
            Measure::Decode { tokens, depth } => {
                let prompt = prompt(0, depth);
                self.stream.generate(prompt, tokens + 1).await?.rate_after_first()
            }
            Measure::Batch { streams, prompt: length, tokens } => {
                let lane = |lane: u32| {
                    let seed = seed * u64::from(streams) + u64::from(lane);
                    self.ours.clone().lane(prompt(seed, length), tokens)
                };
                let lanes: JoinSet<_> = (0..streams).map(lane).collect();
                let timelines: anyhow::Result<Vec<_>> =
                    lanes.join_all().await.into_iter().collect();
                rate_together(&timelines?)
            }
        }
    }
}

impl Peer {
    /// One round; the first one finds the settings.
    async fn round(&mut self, case: &Case) -> anyhow::Result<()> {
        if let Some(settings) = self.settings {
            self.rounds.push(self.llama_cpp.measure(case, self.measure, settings).await?);
            return Ok(());
        }
        let mut fastest = (0.0, SETTINGS[0]);
        for settings in SETTINGS {
            let rate = self.llama_cpp.measure(case, self.measure, settings).await?;
            if rate > fastest.0 {
                fastest = (rate, settings);
            }
        }
        self.rounds.push(fastest.0);
        self.settings = Some(fastest.1);
        Ok(())
    }
}
