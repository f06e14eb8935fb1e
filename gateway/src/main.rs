//! The `emberbox` binary: reads the command line, runs one command, gives its exit code.

use std::process::ExitCode;

use clap::Parser;
use emberbox::cli::{self, Cli};

fn main() -> ExitCode {
    // A server starts this program for its uploads and its isolated parts too; no person does.
    let started = emberbox::compiler_process(std::env::args_os())
        .or_else(|| emberbox::isolated_process(std::env::args_os()));
    if let Some(code) = started {
        return code;
    }
    let cli = Cli::parse();
    let json = cli.wants_json();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(&error, json);
            ExitCode::from(error.exit_code())
        }
    }
}
