//! The time between a light payer's tokens, alone and beside a heavy one, which keeps eight
//! streams with long prompts under way.

use anyhow::Context;
use emberbox_inference::api::Prompt;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use super::machine::Watch;
use super::models::Shape;
use super::ours::{Ours, words};
use super::rows::{LlmRow, Rounds, Target};
use super::{Case, Options};

pub(crate) const BENCH: &str = "llm-fair";
/// Of the time alone.
const TARGET: Target = Target::AtMost(2.0);
const HEAVY_STREAMS: u64 = 8;
const HEAVY_PROMPT: u32 = 512;
const HEAVY_TOKENS: u32 = 64;
const LIGHT_PROMPT: usize = 32;
const LIGHT_TOKENS: u32 = 128;

/// The row of one case.
pub(crate) async fn measure(case: &Case, options: &Options) -> anyhow::Result<Vec<LlmRow>> {
    let mut watch = Watch::start()?;
    let ours = Ours::load(case, "bench", |_| {})?;
    let light = Light { ours: &ours, shape: case.shape, tokens: options.tokens(LIGHT_TOKENS) };
    let (mut alone, mut beside) = (Rounds::default(), Rounds::default());
    let (mut first_alone, mut first_beside) = (Rounds::default(), Rounds::default());
    for round in 0..options.rounds() {
        watch.look().await?;
        let seed = u64::from(round) * 1_000_000;
        light.run(seed, &mut alone, &mut first_alone).await?;
        let (began, mut begun) = channel(1);
        let mut lanes = JoinSet::new();
        for lane in 0..HEAVY_STREAMS {
            let heavy = Heavy {
                ours: ours.clone(),
                shape: case.shape,
                seed: seed + (lane + 1) * 10_000,
                prompt: options.tokens(HEAVY_PROMPT),
                tokens: options.tokens(HEAVY_TOKENS),
                began: began.clone(),
            };
            lanes.spawn(heavy.run());
        }
        drop(began);
        begun.recv().await.context("the heavy payer has no stream")?;
        light.run(seed + 1, &mut beside, &mut first_beside).await?;
        lanes.abort_all();
        while let Some(ended) = lanes.join_next().await {
            // A lane ends by itself only where it fails, and then nothing was heavy.
            ended.or_else(|error| if error.is_cancelled() { Ok(Ok(())) } else { Err(error) })??;
        }
    }
    let mut row = LlmRow::new(BENCH, case, options);
    row.unit = "ms";
    let row = row.ours(&beside, watch.conditions()).beside("alone", &alone, Some(TARGET));
    let row = row.detail("figure", "95th percentile of the time between the light payer's tokens");
    let row = row.detail("first_token_ms", first_beside.median());
    Ok(vec![row.detail("first_token_ms_alone", first_alone.median())])
}

/// The light payer.
struct Light<'a> {
    ours: &'a Ours,
    shape: Shape,
    tokens: u32,
}

impl Light<'_> {
    async fn run(&self, seed: u64, gaps: &mut Rounds, first: &mut Rounds) -> anyhow::Result<()> {
        let prompt = Prompt::Tokens(words(self.shape, seed, LIGHT_PROMPT));
        let timeline = self.ours.open("org_light").await?.generate(prompt, self.tokens).await?;
        first.push(timeline.first()?.as_secs_f64() * 1e3);
        let mut all = timeline.gaps_ms();
        all.sort_by(f64::total_cmp);
        gaps.push(*all.get(all.len() * 95 / 100).context("no two tokens came")?);
        Ok(())
    }
}

/// One lane of the heavy payer.
struct Heavy {
    ours: Ours,
    shape: Shape,
    seed: u64,
    prompt: u32,
    tokens: u32,
    began: Sender<()>,
}

impl Heavy {
    /// One generation after the other, each with a new long prompt.
    async fn run(self) -> anyhow::Result<()> {
        for seed in self.seed.. {
            let mut stream = self.ours.open("org_heavy").await?;
            let prompt = Prompt::Tokens(words(self.shape, seed, self.prompt as usize));
            stream.submit(prompt, self.tokens, 0.0).await?;
            while stream.next().await?.is_some() {
                // Full means that the light payer heard it from another lane.
                self.began.try_send(()).ok();
            }
        }
        Ok(())
    }
}
