//! The training loop.

use crate::chart::{Curve, Point};
use crate::config::CONTEXT;
use crate::corpus::{Corpus, HELD_OUT_SEED, TRAIN_SEED};
use crate::model::{Batch, Model};
use crate::optimizer::Optimizer;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use crate::{chart, gguf, infer};
use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Steps over which the learning rate rises.
const WARM_UP: usize = 40;
/// The learning rate ends at this share of its peak.
const RATE_END: f32 = 0.05;
/// Tokens that the held-out loss is measured on during training.
const HELD_OUT_TOKENS: usize = 12_000;
/// Time between checkpoints.
const CHECKPOINT: Duration = Duration::from_secs(240);
/// Longest sample story, in tokens.
const SAMPLE_TOKENS: usize = 200;

/// One rise and fall of the learning rate, with an optimiser that starts afresh.
#[derive(Clone, Copy)]
pub(crate) struct Cycle {
    /// Optimiser steps.
    pub(crate) steps: usize,
    /// Learning rate after warming up.
    pub(crate) rate_peak: f32,
}

/// What a run is asked for.
pub(crate) struct Plan {
    /// In order. The first learns the language, the second what the falling rate had left out.
    pub(crate) cycles: [Cycle; 2],
    /// Skip the first cycle: go on from the artifact and the log that it left.
    pub(crate) resume: bool,
    /// Tokens per step.
    pub(crate) tokens_per_step: usize,
    /// Steps between held-out measurements.
    pub(crate) evaluate_every: usize,
    /// Seed of the weights.
    pub(crate) seed: u64,
    /// The artifact.
    pub(crate) model: PathBuf,
    /// The picture of the loss.
    pub(crate) chart: PathBuf,
    /// What happened, line by line.
    pub(crate) log: PathBuf,
}

impl Cycle {
    /// The learning rate at `step`: a linear rise, then a cosine down to [`RATE_END`] of the peak.
    /// It depends on steps, never on the clock, so that a run can be repeated.
    fn rate(&self, step: usize) -> f32 {
        if step < WARM_UP {
            return self.rate_peak * (step + 1) as f32 / WARM_UP as f32;
        }
        let span = self.steps.saturating_sub(WARM_UP).max(1);
        let done = ((step - WARM_UP) as f32 / span as f32).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
        self.rate_peak * (RATE_END + (1.0 - RATE_END) * cosine)
    }
}

/// Progress on the terminal and in the log.
struct Report {
    bar: ProgressBar,
    log: File,
    started: Instant,
    tokens: usize,
}

impl Report {
    fn new(plan: &Plan, steps: usize) -> Result<Self> {
        let style = "{wide_bar} {pos}/{len} steps  {elapsed} of {duration}  {msg}";
        let bar = ProgressBar::new(steps as u64);
        bar.set_style(ProgressStyle::with_template(style)?);
        if let Some(folder) = plan.log.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = File::options();
        let options = options.create(true).write(true).append(plan.resume).truncate(!plan.resume);
        let log = options.open(&plan.log).context("opening the log")?;
        Ok(Self { bar, log, started: Instant::now(), tokens: 0 })
    }

    fn line(&mut self, text: &str) -> Result<()> {
        self.bar.println(text);
        Ok(writeln!(self.log, "{text}")?)
    }

    fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.started.elapsed().as_secs_f64()
    }
}

/// Perplexity over `batches`, weighted by the tokens that count.
pub(crate) fn perplexity(model: &Model, batches: &[Batch]) -> f64 {
    let model = model.valid();
    let (mut cost, mut count) = (0.0, 0.0);
    for batch in batches {
        let counted = batch.counted() as f64;
        cost += f64::from(scalar(model.loss(batch))) * counted;
        count += counted;
    }
    (cost / count).exp()
}

fn scalar(tensor: Tensor<1>) -> f32 {
    tensor.into_scalar::<f32>()
}

fn held_out(tokenizer: &Tokenizer) -> Result<Vec<Batch>> {
    let mut corpus = Corpus::new(tokenizer, HELD_OUT_SEED);
    (0..HELD_OUT_TOKENS / (4 * CONTEXT)).map(|_| corpus.batch(4 * CONTEXT)).collect()
}

/// A story by the model as it is now, as the artifact would tell it.
fn sample(weights: &Weights, tokenizer: &Tokenizer, seed: u64) -> Result<String> {
    let prompt = tokenizer.prompt("Tell me a story about a fox named Mia.")?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let weights = weights.quantized()?;
    let choose = |logits: &[f32]| infer::sample(logits, 0.8, &mut rng);
    tokenizer.decode(&infer::generate(&weights, &prompt, SAMPLE_TOKENS, choose))
}

/// The run: everything that changes from step to step.
struct Run<'a> {
    plan: &'a Plan,
    tokenizer: &'a Tokenizer,
    held_out: Vec<Batch>,
    report: Report,
    curve: Curve,
    saved: Instant,
}

impl Run<'_> {
    fn measure(&mut self, model: &Model, step: usize) -> Result<()> {
        let perplexity = perplexity(model, &self.held_out);
        self.curve.held_out.push(Point { step, loss: perplexity.ln() });
        let minutes = self.report.started.elapsed().as_secs_f64() / 60.0;
        let speed = self.report.tokens_per_second();
        let loss = self.curve.recent();
        self.report.line(&format!(
            "step {step}: loss {loss:.3}, held-out perplexity {perplexity:.3}, {:.2} M tokens, \
             {minutes:.1} min, {speed:.0} tokens/s",
            self.report.tokens as f64 / 1e6,
        ))
    }

    fn save(&mut self, model: &Model, step: usize) -> Result<()> {
        let weights = Weights::of(model);
        gguf::write(&self.plan.model, &weights, self.tokenizer)?;
        std::fs::write(&self.plan.chart, chart::svg(&self.curve))?;
        let story = sample(&weights, self.tokenizer, step as u64)?;
        self.report.line(&format!("  at step {step} it tells: {story}"))?;
        self.saved = Instant::now();
        Ok(())
    }

    fn cycle(
        &mut self,
        mut model: Model,
        corpus: &mut Corpus<'_>,
        (cycle, done): (Cycle, usize),
    ) -> Result<Model> {
        let mut optimizer = Optimizer::default();
        for step in 0..cycle.steps {
            let batch = corpus.batch(self.plan.tokens_per_step)?;
            let loss = model.loss(&batch);
            let value = scalar(loss.clone());
            let (updated, norm) = optimizer.step(model, loss.backward(), cycle.rate(step));
            model = updated;
            let count = done + step + 1;
            self.report.tokens += batch.ids.len();
            self.report.bar.inc(1);
            let speed = self.report.tokens_per_second();
            let message = format!("loss {value:.3}  norm {norm:.2}  {speed:.0} tokens/s");
            self.report.bar.set_message(message);
            self.curve.training.push(Point { step: count, loss: f64::from(value) });
            let last = step + 1 == cycle.steps;
            if last || count.is_multiple_of(self.plan.evaluate_every) {
                self.measure(&model, count)?;
            }
            if last || self.saved.elapsed() > CHECKPOINT {
                self.save(&model, count)?;
            }
        }
        Ok(model)
    }
}

/// What the first cycle left: its weights, tokenizer and curve.
fn left(plan: &Plan) -> Result<(Weights, Tokenizer, Curve)> {
    let (weights, tokenizer) = gguf::read(&std::fs::read(&plan.model)?)?;
    Ok((weights, tokenizer, Curve::from_log(&std::fs::read_to_string(&plan.log)?)))
}

/// Trains the tokenizer and the model, and writes artifact, picture and log.
///
/// # Errors
/// Fails when a file cannot be read or written.
pub(crate) fn train(plan: &Plan) -> Result<()> {
    let device = Device::flex().autodiff();
    device.seed(plan.seed);
    let (mut model, tokenizer, curve) = if plan.resume {
        let (weights, tokenizer, curve) = left(plan)?;
        (weights.model(&device), tokenizer, curve)
    } else {
        (Model::new(&device), Tokenizer::train(TRAIN_SEED)?, Curve::default())
    };
    let skipped = if plan.resume { 1 } else { 0 };
    let steps = plan.cycles[skipped..].iter().map(|cycle| cycle.steps).sum();
    let mut report = Report::new(plan, steps)?;
    let parameters = Weights::of(&model).parameters();
    report.line(&format!("{parameters} parameters, {} tokens", tokenizer.tokens.len()))?;
    let mut corpus = Corpus::new(&tokenizer, TRAIN_SEED);
    let mut done: usize = plan.cycles[..skipped].iter().map(|cycle| cycle.steps).sum();
    for _ in 0..done {
        corpus.batch(plan.tokens_per_step)?;
    }
    let (held_out, saved) = (held_out(&tokenizer)?, Instant::now());
    report.started = Instant::now();
    let mut run = Run { plan, tokenizer: &tokenizer, held_out, report, curve, saved };
    for cycle in &plan.cycles[skipped..] {
        model = run.cycle(model, &mut corpus, (*cycle, done))?;
        done += cycle.steps;
    }
    run.report.bar.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_steps_lower_the_loss() {
        let tokenizer = Tokenizer::train(1).unwrap();
        let device = Device::flex().autodiff();
        device.seed(1);
        let mut model = Model::new(&device);
        let batch = Corpus::new(&tokenizer, 1).batch(200).unwrap();
        let first = perplexity(&model, std::slice::from_ref(&batch));
        let mut optimizer = Optimizer::default();
        for _ in 0..12 {
            let gradients = model.loss(&batch).backward();
            model = optimizer.step(model, gradients, 2e-3).0;
        }
        let last = perplexity(&model, std::slice::from_ref(&batch));
        assert!(first > 1000.0 && last < first / 4.0, "from {first} to {last}");
    }

    #[test]
    fn the_plain_forward_pass_agrees_with_the_training_graph() {
        let tokenizer = Tokenizer::train(1).unwrap();
        let device = Device::flex().autodiff();
        device.seed(2);
        let model = Model::new(&device);
        let batch = Corpus::new(&tokenizer, 2).batch(100).unwrap();
        let graph = model.forward(&batch).inner().into_data().try_into_vec::<f32>().unwrap();
        let weights = Weights::of(&model);
        let mut session = infer::Session::new(&weights);
        for (t, id) in batch.ids[..batch.lengths[0]].iter().enumerate() {
            let logits = session.step(*id);
            for (i, plain) in logits.iter().enumerate() {
                let other = graph[t * logits.len() + i];
                assert!((plain - other).abs() < 1e-3, "token {t}, logit {i}: {plain}, {other}");
            }
        }
    }
}
