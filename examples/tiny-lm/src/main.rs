//! Trains Emberbox's bundled story model on CPU and writes it as a GGUF file.
//!
//! The modules in the order in which a run meets them: what stories and chats look like, how they
//! become tokens, the model and its operations, training, the artifact, and its evaluation.

mod chart;
mod chat;
mod config;
mod corpus;
mod evaluate;
mod gguf;
mod grammar;
mod infer;
mod kernels;
mod model;
mod ops;
mod optimizer;
mod reference;
mod tokenizer;
mod train;
mod weights;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use tokenizer::Tokenizer;
use train::Cycle;
use weights::Weights;

/// Trains a tiny story-telling language model on CPU; without a command, the whole run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Optimiser steps of the first cycle.
    #[arg(long, default_value_t = 4600)]
    steps: usize,
    /// Optimiser steps of the second cycle.
    #[arg(long, default_value_t = 1800)]
    more_steps: usize,
    /// Go on with the second cycle from the artifact and the log of the first.
    #[arg(long)]
    resume: bool,
    /// Tokens per step; chats are never cut, so a step usually has some more.
    #[arg(long, default_value_t = 1024)]
    tokens_per_step: usize,
    /// Highest learning rate of the first cycle; the second reaches half of it.
    #[arg(long, default_value_t = 3e-3)]
    rate: f32,
    /// Steps between held-out measurements.
    #[arg(long, default_value_t = 200)]
    evaluate_every: usize,
    /// Seed of the first weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the artifact is written, or read by the other commands.
    #[arg(long, default_value = "model/tiny-storyteller.gguf", global = true)]
    model: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Prints chats of the corpus.
    Corpus {
        /// How many.
        #[arg(long, default_value_t = 10)]
        rows: u64,
    },
    /// Measures the artifact: perplexity, and the share of stories that keep their name.
    Eval {
        /// How many stories are told.
        #[arg(long, default_value_t = 400)]
        stories: u64,
    },
    /// Answers one message.
    Ask {
        /// What the user says.
        message: String,
        /// Seed of the draws.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// 0 always takes the likeliest token.
        #[arg(long, default_value_t = 0.8)]
        temperature: f32,
    },
    /// Writes the fixture for tests of inference engines beside the artifact.
    Reference,
}

fn load(path: &Path) -> Result<(Weights, Tokenizer)> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    gguf::read(&bytes).with_context(|| format!("reading {}", path.display()))
}

fn corpus_text(rows: u64) -> String {
    let chats =
        (0..rows).flat_map(|row| chat::chat(&mut chat::row_rng(corpus::TRAIN_SEED, row)).turns);
    chats.map(|(user, model)| format!("user: {user}\nmodel: {model}\n\n")).collect()
}

fn answer(model: &Path, message: &str, seed: u64, temperature: f32) -> Result<String> {
    let (weights, tokenizer) = load(model)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let prompt = tokenizer.prompt(message)?;
    let choose = |logits: &[f32]| {
        if temperature > 0.0 {
            infer::sample(logits, temperature, &mut rng)
        } else {
            infer::greedy(logits)
        }
    };
    tokenizer.decode(&infer::generate(&weights, &prompt, config::CONTEXT, choose))
}

fn write_reference(model: &Path) -> Result<String> {
    let (weights, tokenizer) = load(model)?;
    let path = model.with_file_name("reference.json");
    std::fs::write(&path, reference::reference(&weights, &tokenizer)?)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(format!("wrote {}", path.display()))
}

fn train(arguments: &Arguments) -> Result<String> {
    train::train(&train::Plan {
        cycles: [
            Cycle { steps: arguments.steps, rate_peak: arguments.rate },
            Cycle { steps: arguments.more_steps, rate_peak: arguments.rate / 2.0 },
        ],
        resume: arguments.resume,
        tokens_per_step: arguments.tokens_per_step,
        evaluate_every: arguments.evaluate_every,
        seed: arguments.seed,
        model: arguments.model.clone(),
        chart: PathBuf::from("loss.svg"),
        log: PathBuf::from("target/train.log"),
    })?;
    write_reference(&arguments.model)
}

#[expect(clippy::print_stdout, reason = "what a command is asked for belongs on standard output")]
fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    let command = arguments.command.take();
    let model = &arguments.model;
    let text = match command {
        None => train(&arguments)?,
        Some(Command::Corpus { rows }) => corpus_text(rows),
        Some(Command::Eval { stories }) => {
            let (weights, tokenizer) = load(model)?;
            evaluate::report(stories, &weights, &tokenizer)?
        }
        Some(Command::Ask { message, seed, temperature }) => {
            answer(model, &message, seed, temperature)?
        }
        Some(Command::Reference) => write_reference(model)?,
    };
    println!("{}", text.trim_end());
    Ok(())
}
