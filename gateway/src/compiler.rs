//! Compiles uploads: in a process of its own, which the system bounds and which can do nothing but
//! compile. A compiler is a large program, and what it reads here comes from strangers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use emberbox_runtime::{EngineOptions, Metering, RuntimeError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The process itself.
pub(crate) mod process;

use process::Order;

/// Compilations in each lane at a time: each may take all of a core for a second.
const COMPILATIONS_MAX: usize = 2;
/// How long an upload waits for its turn.
const PATIENCE: Duration = Duration::from_secs(120);
/// Compiled code for each byte of a component, at most; usual are three to six.
const EXPANSION_MAX: usize = 32;
/// Compiled code of any component, at least and at most.
const CODE_BYTES_MAX: [usize; 2] = [8 << 20, 256 << 20];
/// Of what the process says when it refuses.
const REFUSAL_BYTES_MAX: u64 = 16 << 10;

/// Where uploads are compiled, and what that may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program `emberbox`, which is started for each upload; `None` compiles in this process,
    /// for programs that have a server within them.
    pub program: Option<PathBuf>,
    /// Address space of the process, in MiB.
    pub memory_mib_max: u64,
    /// Seconds of CPU time of the process; twice as many by the clock.
    pub cpu_s_max: u64,
}

impl Default for Compiler {
    fn default() -> Self {
        Self { program: None, memory_mib_max: 2_048, cpu_s_max: 60 }
    }
}

impl Compiler {
    /// The program that this process runs, also after its file was replaced by a newer one, whose
    /// compiled code would not fit.
    pub(crate) fn own_program() -> Option<PathBuf> {
        if cfg!(target_os = "linux") {
            return Some(PathBuf::from("/proc/self/exe"));
        }
        std::env::current_exe().ok()
    }
}

/// Why there is no compiled code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// The component is at fault.
    #[error("{0}")]
    Refused(String),
    /// The component is too large.
    #[error("the component is too large")]
    TooLarge,
    /// Others wait for the compiler too.
    #[error("too many uploads are being compiled")]
    Busy,
    /// The host is.
    #[error("the compiler failed: {0}")]
    Failed(String),
}

impl CompileError {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<RuntimeError> for CompileError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::TooLarge { .. } => Self::TooLarge,
            RuntimeError::Engine(_) | RuntimeError::Timer(_) | RuntimeError::Artifact(_) => {
                Self::Failed(error.to_string())
            }
            refusal => Self::Refused(refusal.to_string()),
        }
    }
}

/// Who waits for compiled code. Uploads do not keep calls waiting, nor one organisation's uploads
/// all of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane<'org> {
    /// An upload of this organisation.
    Upload(&'org str),
    /// A call of a component that was taken before, by an older version of the server.
    Kept,
}

/// Compiles, a few at a time.
pub(crate) struct Compilations {
    compiler: Compiler,
    uploads: Arc<Semaphore>,
    /// One turn for each organisation that uploads, by its id.
    orgs: Mutex<HashMap<String, Arc<Semaphore>>>,
    kept: Arc<Semaphore>,
}

/// Leave to compile, until it is dropped.
struct Turn {
    _org: Option<OwnedSemaphorePermit>,
    _lane: OwnedSemaphorePermit,
}

impl Compilations {
    pub(crate) fn new(compiler: Compiler) -> Self {
        let lane = || Arc::new(Semaphore::new(COMPILATIONS_MAX));
        Self { compiler, uploads: lane(), orgs: Mutex::default(), kept: lane() }
    }

    async fn turn(&self, lane: Lane<'_>) -> Result<Turn, AcquireError> {
        Ok(match lane {
            Lane::Kept => Turn { _org: None, _lane: Arc::clone(&self.kept).acquire_owned().await? },
            Lane::Upload(org_id) => Turn {
                _org: Some(self.org(org_id).acquire_owned().await?),
                _lane: Arc::clone(&self.uploads).acquire_owned().await?,
            },
        })
    }

    fn org(&self, org_id: &str) -> Arc<Semaphore> {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever compiles or waits has a handle of its own.
        orgs.retain(|_, turns| Arc::strong_count(turns) > 1);
        let turns = orgs.entry(org_id.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1)));
        Arc::clone(turns)
    }

    /// Checks and compiles a component; gives the compiled code.
    pub(crate) async fn compile(
        &self,
        (engine, metering): (&EngineOptions, Metering),
        (lane, component): (Lane<'_>, Bytes),
    ) -> Result<Vec<u8>, CompileError> {
        if component.len() > engine.component_bytes_max {
            return Err(CompileError::TooLarge);
        }
        let turn = tokio::time::timeout(PATIENCE, self.turn(lane)).await;
        let turn = turn.or(Err(CompileError::Busy))?.map_err(CompileError::failed)?;
        if let Some(program) = &self.compiler.program {
            let order = Order::new((engine, metering), &self.compiler);
            let compiled = apart(program, &order, component).await;
            drop(turn);
            return compiled;
        }
        let options = engine.clone();
        let work = move || {
            let compiled = emberbox_runtime::compile(&options, &component, metering);
            drop(turn);
            compiled
        };
        Ok(tokio::task::spawn_blocking(work).await.map_err(CompileError::failed)??)
    }
}

/// Runs the process: the component in, compiled code or a reason out.
async fn apart(program: &Path, order: &Order, component: Bytes) -> Result<Vec<u8>, CompileError> {
    let [least, most] = CODE_BYTES_MAX;
    let code_bytes_max = component.len().saturating_mul(EXPANSION_MAX).clamp(least, most) as u64;
    let mut child = Command::new(program)
        .args(order.arguments())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(CompileError::failed)?;
    let (input, code, reason) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let talk = async {
        let send = async move {
            let Some(mut input) = input else { return };
            // A process that has seen enough stops reading; why, it says itself.
            input.write_all(&component).await.ok();
        };
        let (_, code, reason) =
            tokio::join!(send, all(code, code_bytes_max), all(reason, REFUSAL_BYTES_MAX));
        (code, reason, child.wait().await)
    };
    let clock = Duration::from_secs(order.clock_s_max());
    let Ok((code, reason, status)) = tokio::time::timeout(clock, talk).await else {
        let reason = format!("compiling it takes more than {} s", clock.as_secs());
        return Err(CompileError::Refused(reason));
    };
    let (code, status) =
        (code.map_err(CompileError::failed)?, status.map_err(CompileError::failed)?);
    let reason = String::from_utf8_lossy(&reason.map_err(CompileError::failed)?).into_owned();
    // A process that could not write more than this has failed by it.
    if code.len() as u64 > code_bytes_max {
        let reason = format!("its compiled code has more than {code_bytes_max} bytes");
        return Err(CompileError::Refused(reason));
    }
    outcome(status, reason, order)?;
    Ok(code)
}

/// At most one byte more than `bytes_max`.
async fn all(stream: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(bytes_max + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// A process that the system has ended was over a bound: memory that is refused aborts it.
fn outcome(status: ExitStatus, reason: String, order: &Order) -> Result<(), CompileError> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(process::REFUSED) => Err(CompileError::Refused(reason)),
        Some(_) => Err(CompileError::Failed(reason)),
        None if !over_a_bound(status) => {
            Err(CompileError::Failed(format!("the process was ended: {status}")))
        }
        None => {
            tracing::info!(%status, reason, "a compilation was ended");
            Err(CompileError::Refused(format!(
                "compiling it takes more than {} MiB of memory or {} s of CPU time",
                order.memory_mib_max, order.cpu_s_max
            )))
        }
    }
}

/// Memory that is refused aborts the process, a stack that is full is a fault, and CPU time ends by
/// one of two signals. Others come from whoever stops the server.
#[cfg(unix)]
fn over_a_bound(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;

    use rustix::process::Signal;
    let bounds = [Signal::ABORT, Signal::SEGV, Signal::KILL, Signal::XCPU];
    status.signal().is_some_and(|signal| bounds.iter().any(|bound| bound.as_raw() == signal))
}

#[cfg(not(unix))]
fn over_a_bound(_status: ExitStatus) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One organisation waits for itself, not others for it, and calls wait for no upload.
    #[tokio::test]
    async fn lanes_are_apart() {
        let compilations = Compilations::new(Compiler::default());
        let first = compilations.turn(Lane::Upload("a")).await.unwrap();
        let wait = Duration::from_millis(20);
        let second = compilations.turn(Lane::Upload("a"));
        assert!(tokio::time::timeout(wait, second).await.is_err());
        let other = compilations.turn(Lane::Upload("b")).await.unwrap();
        let third = compilations.turn(Lane::Upload("c"));
        assert!(tokio::time::timeout(wait, third).await.is_err(), "both turns are taken");
        let kept = compilations.turn(Lane::Kept).await.unwrap();
        drop((first, other, kept));
        compilations.turn(Lane::Upload("a")).await.unwrap();
        assert_eq!(compilations.orgs.lock().unwrap().len(), 1, "who left is forgotten");
    }
}
