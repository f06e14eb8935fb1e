//! The `emberbox` binary: reads the command line, runs one command, gives its exit code.

use std::process::ExitCode;

use clap::Parser;
use emberbox::cli::{self, Cli};

fn main() -> ExitCode {
    // A server starts this program for its uploads too; no person does.
    if let Some(code) = emberbox::compiler_process(std::env::args_os()) {
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
