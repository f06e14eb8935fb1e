//! Benchmarks beside peers: ours and theirs in turns within one run, one row per pair.
//!
//! `emberbox-bench NAME --json` prints one JSON line a row; without `--json` a table for people.
//! `infra/bench/peers.sh` installs the peers.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use llm::{Bench as Llm, Speed};

/// The `hello` example through the gateway, beside `wasmtime serve` and a bare hyper server.
mod hello_http;
/// Thousands of functions on one server.
mod density;
/// What it takes to begin a call, and to end it.
mod instantiate;
/// A guest's call of a model that does nothing.
mod nn_call;
/// What a function suffers from its neighbours.
mod neighbour;
/// Complete calls on the ledger, beside one transaction per call.
mod ledger;
/// Many calls at once on a balance for a few.
mod race;
/// Statements of a ledger with millions of calls.
mod statements;
/// Inference beside llama.cpp.
mod llm;
/// Graphs and encoders beside ONNX Runtime.
mod onnx;
/// ONNX's own suite.
mod onnx_suite;
/// Our ledger inside this process.
mod ours;
/// The databases that ledgers are kept in.
mod store;
/// What is called, and by whom.
mod traffic;
/// The load inside this process: calls in a closed loop.
mod closed_loop;
/// A simulated disk, for machines whose own is too fast to be true.
mod slow_disk;
/// Other processes: the peers and our own server.
mod process;
/// The load: a closed loop over a number of connections.
mod load;
/// What the disk takes to make a write durable.
mod disk;
/// Calls of functions in this process.
mod in_process;
/// The example functions.
mod prebuilt;
/// One row of a result, and how rows are printed.
mod row;

/// Benchmarks of Emberbox beside its peers.
#[derive(Debug, Parser)]
#[command(name = "emberbox-bench")]
struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The hello example through the gateway, beside wasmtime serve and a bare hyper server
    HelloHttp(hello_http::Options),
    /// First calls of thousands of functions, and the memory that they take
    Density(density::Options),
    /// A whole call of a guest that does nothing, in this process
    Instantiate(instantiate::Options),
    /// A guest's call of a model that does nothing, beside the same call made directly
    NnCall(nn_call::Options),
    /// The latency of hello beside guests that compute for ever, and beside a model under load
    Neighbour(neighbour::Options),
    /// Complete calls on the ledger, beside one transaction per call on SQLite and PostgreSQL
    Ledger(ledger::Options),
    /// Many calls at once on a balance for a few: exactly those succeed
    Race(race::Options),
    /// Statements of a ledger with millions of calls
    Statements(statements::Options),
    /// Tokens per second of one stream, and the share of the memory's bandwidth
    LlmDecode(llm::Options),
    /// Tokens per second of a prompt of 512 tokens
    LlmPrefill(llm::Options),
    /// Tokens per second of eight streams together
    LlmBatch(llm::Options),
    /// Tokens per second of one stream after 8,192 tokens
    LlmLong(llm::Options),
    /// Time to the first token where the prompt's beginning is known
    LlmPrefix(llm::Options),
    /// Speculative decoding beside the engine without it
    LlmLookup(llm::Options),
    /// Time between a light payer's tokens beside a heavy one
    LlmFair(llm::Options),
    /// Time and memory to load a model
    LlmLoad(llm::Options),
    /// Tokens per second through a guest
    LlmGuest(llm::Options),
    /// Writes the models with random weights that the others measure
    LlmModels(llm::models::Models),
    /// Loads a model for a benchmark and computes one token
    #[command(hide = true)]
    LlmLoadOnce(llm::Once),
    /// How much of ONNX's own suite for backends passes
    OnnxSuite(onnx_suite::Options),
    /// Images a second of a ResNet-50-shaped and a MobileNetV2-shaped graph
    OnnxVision(onnx::Options),
    /// Time and memory to make a graph of 100 MB ready
    OnnxLoad(onnx::Options),
    /// Sentences a second of an encoder
    Embed(onnx::Options),
    /// Runs our server for a benchmark, until standard input closes
    #[command(hide = true)]
    ServeEmberbox(hello_http::ours::Options),
    /// Runs the bare hyper server for a benchmark, until standard input closes
    #[command(hide = true)]
    ServeHyper(hello_http::bare::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    // Our server starts this program for its parts, as it would the real one.
    let part = emberbox::compiler_process(std::env::args_os())
        .or_else(|| emberbox::isolated_process(std::env::args_os()));
    match part {
        Some(code) => Ok(code),
        None => run(Args::parse().bench).map(|()| ExitCode::SUCCESS),
    }
}

#[tokio::main]
async fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::HelloHttp(options) => hello_http::run(&options).await,
        Bench::Density(options) => density::run(&options).await,
        Bench::Instantiate(options) => instantiate::run(&options),
        Bench::NnCall(options) => nn_call::run(&options).await,
        Bench::Neighbour(options) => neighbour::run(&options).await,
        Bench::Ledger(options) => ledger::run(&options).await,
        Bench::Race(options) => race::run(&options).await,
        Bench::Statements(options) => statements::run(&options).await,
        Bench::LlmDecode(options) => llm::run(Llm::Speed(Speed::Decode), &options).await,
        Bench::LlmPrefill(options) => llm::run(Llm::Speed(Speed::Prefill), &options).await,
        Bench::LlmBatch(options) => llm::run(Llm::Speed(Speed::Batch), &options).await,
        Bench::LlmLong(options) => llm::run(Llm::Speed(Speed::Long), &options).await,
        Bench::LlmPrefix(options) => llm::run(Llm::Prefix, &options).await,
        Bench::LlmLookup(options) => llm::run(Llm::Lookup, &options).await,
        Bench::LlmFair(options) => llm::run(Llm::Fair, &options).await,
        Bench::LlmLoad(options) => llm::run(Llm::Load, &options).await,
        Bench::LlmGuest(options) => llm::run(Llm::Guest, &options).await,
        Bench::LlmModels(models) => llm::models::run(&models),
        Bench::LlmLoadOnce(once) => llm::load_once(once).await,
        Bench::OnnxSuite(options) => onnx_suite::run(&options),
        Bench::OnnxVision(options) => onnx::vision(&options),
        Bench::OnnxLoad(options) => onnx::load(&options),
        Bench::Embed(options) => onnx::embed(&options).await,
        Bench::ServeEmberbox(options) => hello_http::ours::serve(options).await,
        Bench::ServeHyper(options) => hello_http::bare::serve(&options).await,
    }
}
