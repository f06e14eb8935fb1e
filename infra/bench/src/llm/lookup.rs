//! Speculative decoding, beside the same engine without it.
//!
//! A network with random weights repeats itself when it is greedy and never when it is not, so one
//! case is all gain and the other all cost; texts of trained models lie between.

use emberbox_inference::api::Prompt;

use super::machine::Watch;
use super::ours::{Ours, words};
use super::rows::{LlmRow, Rounds, Target};
use super::{Case, Options};

pub(crate) const BENCH: &str = "llm-lookup";
const TOKENS: u32 = 128;
/// A prompt that says things twice, so that there is always something to look up.
const PHRASE: usize = 32;
const PHRASES: usize = 4;
/// Of the speed without drafts, where they are of no use.
const TARGET: Target = Target::AtLeast(0.95);

/// A row for a text that repeats itself, and one for a text that does not.
pub(crate) async fn measure(case: &Case, options: &Options) -> anyhow::Result<Vec<LlmRow>> {
    let mut watch = Watch::start()?;
    let with = Ours::load(case, "bench", |options| options.speculation = true)?;
    let without = Ours::load(case, "bench", |_| {})?;
    let mut rows = Vec::new();
    for (name, temperature, target) in
        [("repeats", 0.0, None), ("does-not-repeat", 1.0, Some(TARGET))]
    {
        let (mut ours, mut plain) = (Rounds::default(), Rounds::default());
        // Once before it counts.
        rate(&with, (case, options, 0), temperature).await?;
        rate(&without, (case, options, 0), temperature).await?;
        for round in 1..=options.rounds() {
            watch.look().await?;
            ours.push(rate(&with, (case, options, round), temperature).await?);
            plain.push(rate(&without, (case, options, round), temperature).await?);
        }
        let mut row = LlmRow::new(BENCH, case, options);
        row.case = name;
        let row = row.ours(&ours, watch.conditions());
        rows.push(row.beside("without drafts", &plain, target));
    }
    Ok(rows)
}

/// Tokens per second after the first.
async fn rate(
    engine: &Ours,
    (case, options, round): (&Case, &Options, u32),
    temperature: f32,
) -> anyhow::Result<f64> {
    let phrase = words(case.shape, u64::from(round), PHRASE);
    let mut stream = engine.open("org_bench").await?;
    let prompt = Prompt::Tokens(phrase.repeat(PHRASES));
    let timeline = stream.sample(prompt, options.tokens(TOKENS), temperature).await?;
    timeline.rate_after_first()
}
