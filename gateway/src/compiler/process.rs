//! The process that compiles one upload: bounds itself, gives up what it does not need, reads a
//! component, writes compiled code.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::Parser;
use emberbox_runtime::{EngineOptions, RuntimeError};

use super::Compiler;

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
}

impl Order {
    pub(super) fn new(engine: &EngineOptions, compiler: &Compiler) -> Self {
        Self {
            component_bytes_max: engine.component_bytes_max,
            memory_mib_max: compiler.memory_mib_max,
            cpu_s_max: compiler.cpu_s_max,
        }
    }

    /// By the clock: twice the CPU time, for a machine that has others to serve.
    pub(super) fn clock_s_max(&self) -> u64 {
        self.cpu_s_max.saturating_mul(2)
    }

    /// As arguments, the command's own name before them.
    pub(super) fn arguments(&self) -> [String; 4] {
        [
            NAME.to_owned(),
            format!("--component-bytes-max={}", self.component_bytes_max),
            format!("--memory-mib-max={}", self.memory_mib_max),
            format!("--cpu-s-max={}", self.cpu_s_max),
        ]
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
        emberbox_runtime::compile(&options, &component).map_err(|error| match error {
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

#[cfg(not(target_os = "linux"))]
fn confine(_order: &Order) -> Result<(), String> {
    Ok(())
}

/// Bounds what the process may use, and takes away its access to files, sockets and processes.
/// What the kernel is too old for is left out: landlock came with Linux 5.13.
#[cfg(target_os = "linux")]
fn confine(order: &Order) -> Result<(), String> {
    // The rules about files are a file themselves while they are made.
    linux::no_files().map_err(|error| format!("its files could not be taken away: {error}"))?;
    linux::bound(order).map_err(|error| format!("its limits could not be set: {error}"))?;
    linux::few_calls().map_err(|error| format!("system calls could not be filtered: {error}"))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
    use rustix::io::Errno;
    use rustix::process::{Resource, Rlimit, setrlimit};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };

    use super::Order;

    pub(super) fn bound(order: &Order) -> Result<(), Errno> {
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

    /// No path can be opened any more, no port bound or connected, no signal sent.
    pub(super) fn no_files() -> Result<(), landlock::RulesetError> {
        let newest = ABI::V6;
        Ruleset::default()
            .handle_access(AccessFs::from_all(newest))?
            .handle_access(AccessNet::from_all(newest))?
            .scope(Scope::from_all(newest))?
            .create()?
            .restrict_self()?;
        Ok(())
    }

    /// What memory, threads' locks, the clock, the streams it has and its own end take. Anything
    /// else fails as if it were not permitted.
    pub(super) fn few_calls() -> Result<(), seccompiler::Error> {
        let calls = [
            libc::SYS_brk,
            libc::SYS_clock_gettime,
            libc::SYS_close,
            libc::SYS_exit,
            libc::SYS_exit_group,
            libc::SYS_fstat,
            libc::SYS_futex,
            libc::SYS_getpid,
            libc::SYS_getrandom,
            libc::SYS_gettid,
            libc::SYS_madvise,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_mremap,
            libc::SYS_munmap,
            libc::SYS_read,
            libc::SYS_restart_syscall,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_yield,
            libc::SYS_sigaltstack,
            libc::SYS_statx,
            libc::SYS_write,
            libc::SYS_writev,
        ];
        let mut rules: BTreeMap<_, _> = calls.into_iter().map(|call| (call, Vec::new())).collect();
        // A process ends itself with a signal; it sends none to others.
        let own = u64::from(std::process::id());
        let to_itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?;
        rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_itself])?]);
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs()),
            SeccompAction::Allow,
            std::env::consts::ARCH.try_into()?,
        )?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)
    }
}
