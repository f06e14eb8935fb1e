//! Our engine, inside this process, through its public interface.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use emberbox_inference::api::{
    Event, FinishReason, GenerateOptions, ModelInfo, Open, Prompt, SessionId, Task, Usage,
};
use emberbox_inference::{Inference, InferenceOptions, ModelSource};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::Case;
use super::models::{FIRST_WORD, Shape};

/// An engine with one model.
#[derive(Clone)]
pub(crate) struct Ours {
    pub(crate) inference: Inference,
    pub(crate) info: ModelInfo,
}

impl Ours {
    /// Loads the case's model under this name. What `change` leaves alone is as the server has it.
    pub(crate) fn load(
        case: &Case,
        name: &str,
        change: impl FnOnce(&mut InferenceOptions),
    ) -> anyhow::Result<Self> {
        let mut options = InferenceOptions {
            device: case.device,
            threads: case.threads,
            speculation: false,
            ..InferenceOptions::default()
        };
        change(&mut options);
        let inference = Inference::new(options)?;
        let info = inference.add(name, ModelSource::Path(case.path.clone()))?;
        Ok(Self { inference, info })
    }

    /// A new session that this organisation pays for.
    pub(crate) async fn open(&self, tenant: &str) -> anyhow::Result<Stream> {
        let open = Open { model: self.info.name.clone(), tenant: tenant.to_owned() };
        let session = self.inference.open(open).await?;
        Ok(Stream { inference: self.inference.clone(), session })
    }

    /// Generates beside others; the future can be a task.
    pub(crate) async fn lane(self, prompt: Prompt, tokens: u32) -> anyhow::Result<Timeline> {
        self.generate(prompt, tokens).await
    }

    /// Generates in a session of its own.
    pub(crate) async fn generate(&self, prompt: Prompt, tokens: u32) -> anyhow::Result<Timeline> {
        self.open("org_bench").await?.generate(prompt, tokens).await
    }
}

/// A session, closed with this value.
pub(crate) struct Stream {
    inference: Inference,
    session: SessionId,
}

impl Stream {
    /// Counts the prompt and queues the task; at temperature zero it is greedy.
    pub(crate) async fn submit(
        &mut self,
        prompt: Prompt,
        tokens: u32,
        temperature: f32,
    ) -> anyhow::Result<Instant> {
        let options = GenerateOptions {
            max_tokens: Some(tokens),
            temperature,
            seed: Some(1),
            ..GenerateOptions::default()
        };
        let began = Instant::now();
        self.inference.prepare(self.session, Task::Generate { prompt, options }).await?;
        self.inference.submit(self.session).await?;
        Ok(began)
    }

    /// Waits for more tokens and says how many came; `None` at the end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<u32>> {
        Ok(match self.inference.next(self.session).await? {
            Event::Piece { tokens, .. } => Some(tokens.len() as u32),
            Event::ToolCalls(_) | Event::Answer { .. } => Some(0),
            Event::Done { finish_reason, .. } => {
                let whole = finish_reason == FinishReason::Length;
                ensure!(whole, "the model ended its text early ({finish_reason:?})");
                None
            }
        })
    }

    /// Generates exactly so many tokens.
    pub(crate) async fn generate(
        &mut self,
        prompt: Prompt,
        tokens: u32,
    ) -> anyhow::Result<Timeline> {
        self.sample(prompt, tokens, 0.0).await
    }

    /// Generates exactly so many tokens, at this temperature.
    pub(crate) async fn sample(
        &mut self,
        prompt: Prompt,
        tokens: u32,
        temperature: f32,
    ) -> anyhow::Result<Timeline> {
        let began = self.submit(prompt, tokens, temperature).await?;
        let mut pieces = Vec::new();
        while let Some(count) = self.next().await? {
            pieces.push((Instant::now(), count));
        }
        let ended = Instant::now();
        Ok(Timeline { began, ended, pieces, usage: self.inference.usage(self.session) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.inference.close(self.session);
    }
}

/// When tokens came.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// When, and how many at once.
    pub(crate) pieces: Vec<(Instant, u32)>,
    pub(crate) usage: Usage,
}

impl Timeline {
    /// Until the first token was there, prompt and all.
    pub(crate) fn first(&self) -> anyhow::Result<Duration> {
        let (at, _) = self.pieces.first().context("no token came")?;
        Ok(*at - self.began)
    }

    /// From the beginning to the end.
    pub(crate) fn whole(&self) -> Duration {
        self.ended - self.began
    }

    /// Tokens per second after the first ones.
    pub(crate) fn rate_after_first(&self) -> anyhow::Result<f64> {
        let [(first, _), rest @ ..] = self.pieces.as_slice() else {
            anyhow::bail!("no token came");
        };
        let tokens: u32 = rest.iter().map(|(_, count)| count).sum();
        let (last, _) = rest.last().context("only one token came")?;
        Ok(f64::from(tokens) / (*last - *first).as_secs_f64())
    }

    /// Milliseconds between pieces.
    pub(crate) fn gaps_ms(&self) -> Vec<f64> {
        let pairs = self.pieces.iter().zip(self.pieces.iter().skip(1));
        pairs.map(|((before, _), (after, _))| (*after - *before).as_secs_f64() * 1e3).collect()
    }
}

/// Tokens per second of all streams together, while all of them ran: from when the last one had
/// its first token to when the first one had its last.
pub(crate) fn rate_together(streams: &[Timeline]) -> anyhow::Result<f64> {
    let mut firsts = Vec::new();
    let mut lasts = Vec::new();
    for stream in streams {
        firsts.push(stream.pieces.first().context("no token came")?.0);
        lasts.push(stream.pieces.last().context("no token came")?.0);
    }
    let from = *firsts.iter().max().context("no stream")?;
    let to = *lasts.iter().min().context("no stream")?;
    ensure!(to > from, "the streams did not run at the same time");
    let all = streams.iter().flat_map(|stream| &stream.pieces);
    let within = all.filter(|(at, _)| *at > from && *at <= to);
    let tokens: u32 = within.map(|(_, count)| count).sum();
    Ok(f64::from(tokens) / (to - from).as_secs_f64())
}

/// Random words, always the same for a seed.
pub(crate) fn words(shape: Shape, seed: u64, count: usize) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let range = shape.vocabulary() - FIRST_WORD;
    (0..count).map(|_| FIRST_WORD + random.next_u32() % range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(began: Instant, pieces: &[(u64, u32)]) -> Timeline {
        let at = |ms: u64| began + Duration::from_millis(ms);
        let pieces: Vec<_> = pieces.iter().map(|(ms, count)| (at(*ms), *count)).collect();
        let ended = pieces.last().map_or(began, |(at, _)| *at);
        Timeline { began, ended, pieces, usage: Usage::default() }
    }

    #[test]
    fn rates_leave_out_what_came_first() {
        let stream = timeline(Instant::now(), &[(100, 1), (200, 2), (300, 1)]);
        assert_eq!(stream.first().unwrap(), Duration::from_millis(100));
        assert!((stream.rate_after_first().unwrap() - 15.0).abs() < 1e-9);
        assert_eq!(stream.gaps_ms().len(), 2);
        assert!(timeline(Instant::now(), &[]).rate_after_first().is_err());
    }

    #[test]
    fn streams_count_while_all_of_them_run() {
        let began = Instant::now();
        let one = timeline(began, &[(100, 1), (200, 1), (300, 1)]);
        let other = timeline(began, &[(200, 1), (300, 1), (400, 1)]);
        // One token each within the 100 ms.
        assert!((rate_together(&[one.clone(), other]).unwrap() - 20.0).abs() < 1e-9);
        let late = timeline(began, &[(500, 1), (600, 1)]);
        assert!(rate_together(&[one, late]).is_err());
    }

    #[test]
    fn prompts_hold_words_only_and_are_the_same_again() {
        let prompt = words(Shape::SmolLm2, 7, 100);
        assert_eq!(prompt, words(Shape::SmolLm2, 7, 100));
        assert_ne!(prompt, words(Shape::SmolLm2, 8, 100));
        assert!(prompt.iter().all(|id| (FIRST_WORD..49_152).contains(id)));
    }
}
