//! Benchmarks beside peers: ours and theirs in turns within one run, one row per pair.
//!
//! `emberbox-bench NAME --json` prints one JSON line a row; without `--json` a table for people.
//! `infra/bench/peers.sh` installs the peers.

use clap::{Parser, Subcommand};

/// The `hello` example through the gateway, beside `wasmtime serve` and a bare hyper server.
mod hello_http;
/// Complete calls on the ledger, beside one transaction per call.
mod ledger;
/// Many calls at once on a balance for a few.
mod race;
/// Statements of a ledger with millions of calls.
mod statements;
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
    /// Complete calls on the ledger, beside one transaction per call on SQLite and PostgreSQL
    Ledger(ledger::Options),
    /// Many calls at once on a balance for a few: exactly those succeed
    Race(race::Options),
    /// Statements of a ledger with millions of calls
    Statements(statements::Options),
    /// Runs our server for a benchmark, until standard input closes
    #[command(hide = true)]
    ServeEmberbox(hello_http::ours::Options),
    /// Runs the bare hyper server for a benchmark, until standard input closes
    #[command(hide = true)]
    ServeHyper(hello_http::bare::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().bench {
        Bench::HelloHttp(options) => hello_http::run(&options).await,
        Bench::Ledger(options) => ledger::run(&options).await,
        Bench::Race(options) => race::run(&options).await,
        Bench::Statements(options) => statements::run(&options).await,
        Bench::ServeEmberbox(options) => hello_http::ours::serve(options).await,
        Bench::ServeHyper(options) => hello_http::bare::serve(&options).await,
    }
}
