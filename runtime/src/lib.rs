//! The sandbox: WebAssembly functions that answer HTTP requests and may ask models.
//!
//! An [`Engine`] belongs to the process, a [`Deployment`] to one version of a function, and an
//! instance to one request: it gets a fresh store and is dropped with it. The crate knows no
//! money, opens no socket and knows no user; models answer through [`models::Models`], where
//! [`models::Metered`] puts what a call may spend ([`spend::Spend`]) before inference
//! ([`bridge::Bridge`]).

/// Where Wasm and inference meet: owned messages and the trait that carries them.
pub mod bridge;
/// Requests that guests send.
pub mod outbound;
/// The models as one call has them, reserved and settled.
pub mod models;
/// What a call may spend, asked before every computation.
pub mod spend;

/// Compiled components, on the disk and in memory.
mod artifact;
/// Bodies of requests and answers.
mod body;
/// A call's parts: request, answer, report.
mod call;
/// One version of a function, compiled.
mod deployment;
/// The process: compiler, allocator, epoch ticks, host interfaces.
mod engine;
/// Errors of engines and deployments, by the decision they call for.
mod error;
/// Headers that must not cross, either way.
mod headers;
/// Threads for guests that compute for long.
mod heavy;
/// One request's store and task.
mod instance;
/// What a call may use, and what it may see.
mod limits;
/// A guest's standard output and error, by lines.
mod log;
/// What one call has used, and whether it must stop.
mod meter;
/// The host of `wasi:nn`.
mod nn;
/// Looks at an upload before the compiler does.
mod validate;

pub use artifact::{Artifacts, Build, Compiled, KEY_BYTES, compile};
pub use body::{BodyError, GuestBody, RequestBody};
pub use call::{Answer, Call, CallEnding, CallError, CallReport, Head, Report, Started};
pub use deployment::Deployment;
pub use engine::{Engine, EngineOptions};
pub use error::{RuntimeError, UnknownImport};
pub use limits::{Grants, LimitKind, Limits, Metering, Secrets};
pub use log::{LogSink, Stream};

// The model and the budget of the tests from outside serve those inside as well.
#[cfg(test)]
extern crate self as emberbox_runtime;
#[cfg(test)]
#[path = "../tests/sandbox/echo.rs"]
mod echo;
#[cfg(test)]
#[path = "../tests/sandbox/purse.rs"]
mod purse;
