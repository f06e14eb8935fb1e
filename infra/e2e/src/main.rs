//! The end-to-end program: real clients against the real binary, as a newcomer, a developer and an
//! operator would use it. Needs Python 3, Node and the `wasm32-wasip2` target; `.ci/run` has all three.
//!
//! `cargo run --release -p emberbox-e2e -- [--only NAME]` runs the checks whose name contains NAME.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::report::Report;
use crate::world::World;

/// Where things are: the checkout, the binary, a folder that goes away.
mod world;
/// The checks themselves.
mod checks;
/// The real binary, started and stopped.
mod server;
/// Requests of the checks' own.
mod api;
/// A collector of traces.
mod collector;
/// Names, times and results.
mod report;

/// Real clients against the real binary.
#[derive(Debug, Parser)]
struct Args {
    /// Run only the checks whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// The binary under test; by default the one beside this program.
    #[arg(long)]
    emberbox: Option<PathBuf>,
    /// Cargo's folder, kept when the checks change HOME.
    #[arg(long, env = "CARGO_HOME", hide = true)]
    cargo_home: Option<PathBuf>,
    /// Rustup's folder, kept when the checks change HOME.
    #[arg(long, env = "RUSTUP_HOME", hide = true)]
    rustup_home: Option<PathBuf>,
    /// The developer's home, where the two are by default.
    #[arg(long, env = "HOME", hide = true)]
    home: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let kept = vec![
        ("CARGO_HOME", args.cargo_home.unwrap_or_else(|| args.home.join(".cargo"))),
        ("RUSTUP_HOME", args.rustup_home.unwrap_or_else(|| args.home.join(".rustup"))),
    ];
    let world = World::new(args.emberbox, kept)?;
    let mut report = Report::new(args.only);
    checks::run(&world, &mut report);
    Ok(if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
