//! A process of a part: how the server starts it, and how it starts itself.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::wire::{Peer, Service};
use super::{inference, worker};
use crate::cli::serve::runtime;
use crate::confine::{self, Calls};
use crate::telemetry;

/// Its name as the first argument, and its order as the second.
const INFERENCE: &str = "run-inference";
const WORKER: &str = "run-worker";

/// Something is wrong with the process itself. `EX_SOFTWARE` of sysexits.h.
const FAILED: u8 = 70;

/// What a process is told before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Holds models.
    Inference(inference::Order),
    /// Runs functions.
    Worker(worker::Order),
}

/// What all of them are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Common {
    /// The filter of the log.
    pub(super) log: String,
}

impl Order {
    fn name(&self) -> &'static str {
        match self {
            Self::Inference(_) => INFERENCE,
            Self::Worker(_) => WORKER,
        }
    }

    fn text(&self) -> io::Result<String> {
        Ok(match self {
            Self::Inference(order) => serde_json::to_string(order)?,
            Self::Worker(order) => serde_json::to_string(order)?,
        })
    }
}

/// A process that was started. It ends when this is dropped, and when its socket is closed.
pub(super) struct Started {
    pub(super) process: Child,
    pub(super) socket: UnixStream,
}

/// Starts a process of this program. Its standard input is its end of the socket; there is no name
/// by which anybody else could reach it.
pub(super) fn start(program: &Path, order: &Order) -> io::Result<Started> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let process = Command::new(program)
        .arg(order.name())
        .arg(order.text()?)
        .env_clear()
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        // What stops the server from a terminal is not for its parts: they end after it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok(Started { process, socket: UnixStream::from_std(ours)? })
}

/// Does what a server has started this process for; `None` where arguments say that a person has.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let name = arguments.next()?;
    let text = arguments.next().unwrap_or_default();
    let ended = match name.to_str()? {
        INFERENCE => serve(&text, inference::Order::part),
        WORKER => serve(&text, worker::Order::part),
        _ => return None,
    };
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!(reason, "a part of the server cannot run");
            ExitCode::from(FAILED)
        }
    })
}

/// What a process does, once it is confined.
pub(super) struct Part {
    pub(super) common: Common,
    /// Files that it may read; `None` leaves it all files and system calls, for drivers of GPUs.
    pub(super) readable: Option<Vec<std::path::PathBuf>>,
}

/// Makes what answers the server.
pub(super) type Begin<S> = Box<dyn FnOnce(Peer) -> Result<Arc<S>, String>>;

fn serve<O: DeserializeOwned, S: Service>(
    text: &OsString,
    part: impl FnOnce(O) -> (Part, Begin<S>),
) -> Result<(), String> {
    let text = text.to_str().ok_or("its order is not text")?;
    let order = serde_json::from_str(text).map_err(|error| format!("its order: {error}"))?;
    let (Part { common, readable }, begin) = part(order);
    telemetry::log_only(&common.log).map_err(|error| error.to_string())?;
    if let Some(readable) = readable {
        // Threads inherit it, so it comes before there are any.
        confine::files(&readable)?;
        confine::calls(Calls::Serve)?;
    }
    let runtime = runtime().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let peer = Peer::new(socket().map_err(|error| format!("its socket: {error}"))?);
        let service = begin(peer.clone())?;
        peer.listen(service).await;
        Ok(())
    })
}

fn socket() -> io::Result<UnixStream> {
    use std::os::fd::AsFd;
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = std::os::unix::net::UnixStream::from(input);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
