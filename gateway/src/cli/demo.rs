//! `emberbox demo`: everything at work on this machine, in a temporary folder.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::error::CliError;
use crate::demo;

/// Watch everything at work on this machine, offline, in a temporary folder
///
/// Starts a server, deploys the example functions, calls them and the bundled model, shows what
/// each call costs, runs out of credits, and compares the receipts with the ledger. Then the
/// server keeps running, to be tried out, until Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Stop the server at the end. With --json the last line is
    /// {"ok", "steps": [{"name", "status", "cost", "ms"}]}
    #[arg(long)]
    exit: bool,
    /// A BERT-architecture embedding model for the semantic search: a folder with config.json,
    /// tokenizer.json and safetensors, such as all-MiniLM-L6-v2
    #[arg(long, value_name = "FOLDER")]
    embedding_model: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let options =
        demo::Options { exit: arguments.exit, embedding_model: arguments.embedding_model.clone() };
    demo::run(&options, context.out)
}
