//! Time to the first token where the beginning of the prompt was computed before.

use emberbox_inference::api::Prompt;

use super::machine::Watch;
use super::ours::{Ours, Stream, words};
use super::rows::{LlmRow, Rounds, Target};
use super::{Case, Options};

pub(crate) const BENCH: &str = "llm-prefix";
/// Tokens of what two prompts share.
const PREFIX: u32 = 1_024;
/// Tokens after it.
const REST: usize = 32;
/// Of the time without a prefix that is known.
const TARGET: Target = Target::AtMost(0.1);

/// A row for a prefix that another session of the same payer computed, and one for the session's
/// own.
pub(crate) async fn measure(case: &Case, options: &Options) -> anyhow::Result<Vec<LlmRow>> {
    let mut watch = Watch::start()?;
    let ours = Ours::load(case, "bench", |_| {})?;
    // Once before it counts.
    let warm_up = words(case.shape, u64::MAX, options.tokens(PREFIX) as usize);
    ours.generate(Prompt::Tokens(warm_up), 1).await?;
    let mut cold = Rounds::default();
    let mut known = [Known::new("other-session"), Known::new("same-session")];
    for round in 0..options.rounds() {
        watch.look().await?;
        let seed = u64::from(round) * 4;
        let prefix = words(case.shape, seed, options.tokens(PREFIX) as usize);
        let prompt = |rest: u64| {
            let rest = words(case.shape, seed + rest, REST);
            Prompt::Tokens(prefix.iter().copied().chain(rest).collect())
        };
        let mut first = ours.open("org_bench").await?;
        cold.push(first_token_ms(&mut first, prompt(1)).await?.0);
        let mut other = ours.open("org_bench").await?;
        known[0].add(first_token_ms(&mut other, prompt(2)).await?);
        known[1].add(first_token_ms(&mut first, prompt(3)).await?);
    }
    let mut rows = Vec::new();
    for known in known {
        let mut row = LlmRow::new(BENCH, case, options);
        row.case = known.case;
        row.unit = "ms";
        let row = row.ours(&known.rounds, watch.conditions());
        let row = row.beside("cold", &cold, Some(TARGET));
        let row = row.detail("cached_input_tokens", known.cached);
        rows.push(match known.cached {
            0 => row.unavailable("the engine did not know the prefix".to_owned()),
            _ => row,
        });
    }
    Ok(rows)
}

/// Figures with a prefix that is known to somebody.
struct Known {
    case: &'static str,
    rounds: Rounds,
    /// Tokens that were not computed again.
    cached: u32,
}

impl Known {
    fn new(case: &'static str) -> Self {
        Self { case, rounds: Rounds::default(), cached: 0 }
    }

    fn add(&mut self, (ms, cached): (f64, u32)) {
        self.rounds.push(ms);
        self.cached = cached;
    }
}

/// Milliseconds to the first token, and how many of the prompt's were cached.
async fn first_token_ms(stream: &mut Stream, prompt: Prompt) -> anyhow::Result<(f64, u32)> {
    let timeline = stream.generate(prompt, 1).await?;
    Ok((timeline.first()?.as_secs_f64() * 1e3, timeline.usage.cached_input_tokens))
}
