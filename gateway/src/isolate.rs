//! Parts of a server in processes of their own: the models in one, functions in others. They have
//! a socket to the server and what they read, and nothing else; money and catalog stay here.
//!
//! A part that ends takes what runs in it. Its callers are answered and not charged for what they
//! did not get, and it is started again.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use emberbox_runtime::{EngineOptions, KEY_BYTES};

use crate::Config;

/// The process that holds the models.
mod inference;
/// What the server and a worker say to each other.
mod messages;
/// The models, as the rest of the server has them.
mod models;
/// How a process starts.
pub(crate) mod process;
/// How it is kept running.
mod supervise;
/// Questions and answers over a socket.
mod wire;
/// A process that runs functions.
mod worker;
/// The workers, as the rest of the server has them.
mod workers;

pub(crate) use messages::DeployError;
pub(crate) use models::RemoteModels;
pub(crate) use workers::{RemoteFunction, Workers};

/// Starts the process for models; they may be below these paths, or in the folders that the
/// configuration names.
pub(crate) async fn start_inference(
    config: &Config,
    sources: Vec<PathBuf>,
) -> io::Result<RemoteModels> {
    let own = config.data.join("models");
    std::fs::create_dir_all(&own)?;
    let all = sources.into_iter().chain([own]).chain(config.isolation.folders());
    // What is a link leads elsewhere, and what is not there cannot be read.
    let readable: Vec<PathBuf> = all.filter_map(|path| path.canonicalize().ok()).collect();
    let (graph_operations_max, graph_bytes_max) = config.inference.graph_bounds();
    let order = process::Order::Inference(inference::Order {
        common: process::Common { log: config.log.clone() },
        device: config.inference.device.to_string(),
        encoder_weights: config.inference.encoder_weights.to_string(),
        threads: config.inference.threads,
        speculation: config.inference.speculation,
        output_tokens_default: config.limits.output_tokens_default,
        memory_bytes_max: config.inference.memory_mib_max.saturating_mul(1 << 20),
        graph_operations_max,
        graph_bytes_max,
        readable: readable.clone(),
    });
    let program = program(config)?;
    RemoteModels::start(move || process::start(&program, &order), readable).await
}

/// Starts the processes for functions, whose compiled code is in a folder.
pub(crate) async fn start_workers(
    config: &Config,
    engine: EngineOptions,
    (compiled, key): (PathBuf, [u8; KEY_BYTES]),
) -> io::Result<Workers> {
    let instances_max = engine.instances_max;
    let order = process::Order::Worker(worker::Order {
        common: process::Common { log: config.log.clone() },
        engine,
        compiled: compiled.canonicalize()?,
    });
    let program = program(config)?;
    let start = move || process::start(&program, &order);
    Workers::start((config.isolation.workers, instances_max), key, start).await
}

/// A lock, also after somebody who held it has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program that parts are started from: the one that compiles uploads too.
fn program(config: &Config) -> io::Result<PathBuf> {
    let missing = || io::Error::other("isolation needs the program `emberbox` (compiler.program)");
    config.compiler.program.clone().ok_or_else(missing)
}
