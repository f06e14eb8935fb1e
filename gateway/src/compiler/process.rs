//! The process that compiles one upload: bounds itself, gives up what it does not need, reads a
//! component, writes compiled code.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use emberbox_runtime::{EngineOptions, Metering, RuntimeError};

use super::Compiler;
use crate::confine::{self, Calls};

/// The component is at fault; the reason is on standard error. `EX_DATAERR` of sysexits.h.
pub(super) const REFUSED: u8 = 65;
/// The compiler itself is. `EX_SOFTWARE`.
const FAILED: u8 = 70;

/// The first argument of the process.
const NAME: &str = "compile-component";

/// Does what a server has started this process for; `None` where arguments say that a person has.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1).peekable();
    if arguments.peek()? != NAME {
        return None;
    }
    Some(match Order::try_parse_from(arguments) {
        Ok(order) => run(&order),
        Err(error) => end((FAILED, error.to_string())),
    })
}

/// The command line of the process.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = NAME)]
pub(super) struct Order {
    /// The largest component, in bytes
    #[arg(long)]
    component_bytes_max: usize,
    /// Address space, in MiB
    #[arg(long)]
    pub(super) memory_mib_max: u64,
    /// Seconds of CPU time
    #[arg(long)]
    pub(super) cpu_s_max: u64,
    /// Whether the code counts fuel
    #[arg(long)]
    fuel: bool,
}

impl Order {
    pub(super) fn new((engine, metering): (&EngineOptions, Metering), compiler: &Compiler) -> Self {
        Self {
            component_bytes_max: engine.component_bytes_max,
            memory_mib_max: compiler.memory_mib_max,
            cpu_s_max: compiler.cpu_s_max,
            fuel: metering == Metering::Fuel,
        }
    }

    /// By the clock: twice the CPU time, for a machine that has others to serve.
    pub(super) fn clock_s_max(&self) -> u64 {
        self.cpu_s_max.saturating_mul(2)
    }

    /// As arguments, the command's own name before them.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            NAME.to_owned(),
            format!("--component-bytes-max={}", self.component_bytes_max),
            format!("--memory-mib-max={}", self.memory_mib_max),
            format!("--cpu-s-max={}", self.cpu_s_max),
        ];
        arguments.extend(self.fuel.then(|| "--fuel".to_owned()));
        arguments
    }
}

/// Compiles standard input to standard output.
fn run(order: &Order) -> ExitCode {
    let compiled = confine(order).map_err(|reason| (FAILED, reason)).and_then(|()| {
        let component = read(order.component_bytes_max).map_err(failed)?;
        let options = EngineOptions {
            component_bytes_max: order.component_bytes_max,
            ..EngineOptions::default()
        };
        let metering = if order.fuel { Metering::Fuel } else { Metering::Cpu };
        emberbox_runtime::compile(&options, &component, metering).map_err(|error| match error {
            RuntimeError::Engine(_) => failed(error),
            refusal => (REFUSED, refusal.to_string()),
        })
    });
    let written = compiled.and_then(|code| io::stdout().write_all(&code).map_err(failed));
    written.map_or_else(end, |()| ExitCode::SUCCESS)
}

fn end((code, reason): (u8, String)) -> ExitCode {
    // Where nobody reads the reason, the code still says whose fault it is.
    io::stderr().write_all(reason.as_bytes()).ok();
    ExitCode::from(code)
}

fn failed(error: impl std::fmt::Display) -> (u8, String) {
    (FAILED, error.to_string())
}

/// At most one byte more than is allowed, which is then refused.
fn read(bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut component = Vec::new();
    io::stdin().take(bytes_max as u64 + 1).read_to_end(&mut component)?;
    Ok(component)
}

/// Bounds what the process may use, and takes away its access to files, sockets and processes.
fn confine(order: &Order) -> Result<(), String> {
    let no_files: [&Path; 0] = [];
    // The rules about files are a file themselves while they are made.
    confine::files(&no_files)?;
    bound(order).map_err(|error| format!("its limits could not be set: {error}"))?;
    confine::calls(Calls::Compute)
}

#[cfg(target_os = "linux")]
fn bound(order: &Order) -> Result<(), rustix::io::Errno> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, max) in [
        (Resource::As, order.memory_mib_max.saturating_mul(1 << 20)),
        (Resource::Cpu, order.cpu_s_max),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        // The three that it has.
        (Resource::Nofile, 3),
    ] {
        setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) })?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn bound(_order: &Order) -> io::Result<()> {
    Ok(())
}
