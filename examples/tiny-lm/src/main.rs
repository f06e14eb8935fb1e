//! Trains Emberbox's bundled story model on CPU and writes it as a GGUF file.
//!
//! The modules in the order in which a run meets them: what stories and chats look like, how they
//! become tokens, the model and its operations, training, the artifact, and its evaluation.

mod chart;
mod chat;
mod config;
mod corpus;
mod gguf;
mod grammar;
mod infer;
mod kernels;
mod model;
mod ops;
mod optimizer;
mod tokenizer;
mod train;
mod weights;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Trains a tiny story-telling language model on CPU; without a command, the whole run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Optimiser steps.
    #[arg(long, default_value_t = 5500)]
    steps: usize,
    /// Tokens per step; rows are never cut, so a step may have some more.
    #[arg(long, default_value_t = 1024)]
    tokens_per_step: usize,
    /// Learning rate after warming up.
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
}

#[expect(clippy::print_stdout, reason = "what a command is asked for belongs on standard output")]
fn print_corpus(rows: u64) {
    for row in 0..rows {
        for (user, model) in chat::chat(&mut chat::row_rng(corpus::TRAIN_SEED, row)).turns {
            println!("user: {user}\nmodel: {model}\n");
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Corpus { rows }) => print_corpus(rows),
        None => train::train(&train::Plan {
            steps: arguments.steps,
            tokens_per_step: arguments.tokens_per_step,
            rate_peak: arguments.rate,
            evaluate_every: arguments.evaluate_every,
            seed: arguments.seed,
            model: arguments.model,
            chart: PathBuf::from("loss.svg"),
            log: PathBuf::from("target/train.log"),
        })?,
    }
    Ok(())
}
