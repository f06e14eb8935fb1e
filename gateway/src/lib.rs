//! Emberbox: a serverless platform for WebAssembly functions and the models they call, metered.
//!
//! The modules stand in the order in which a request meets them: [`config`] and [`start`] before
//! any request, then from the socket inwards, then what calls are made of, then what people use
//! to talk to a server.

/// What an operator can set.
pub mod config;
/// From a configuration to a running server, and back.
mod start;
/// The data folder and its lock.
mod folder;
/// What a fresh server finds.
mod bootstrap;
/// Logs and traces.
mod telemetry;
/// Numbers for Prometheus.
mod metrics;
/// What a request can reach.
mod app;

/// Sockets: accept, serve, drain.
mod server;
/// What every request passes on its way in and out.
mod stack;
/// Which path is what.
mod route;
/// Who is calling.
mod auth;
/// What one key may do at a time and per minute.
mod limits;
/// Bodies and their limits.
mod body;
/// Reading JSON bodies field by field.
mod json;

/// The routes that OpenAI's clients know.
mod openai;
/// Calls of functions.
mod functions;
/// What a call would cost.
mod quotes;
/// A charged call, from its quote to its receipt.
mod invoke;
/// Function versions: from an upload to something that can be called.
mod deployments;
/// Secrets of functions: sealed at rest, opened for the functions that name them.
mod secrets;
/// Compiles uploads, in a process of its own.
mod compiler;
/// The models that a server offers, as its operator sees them.
mod models;
/// Parts of a server in processes of their own.
mod isolate;
/// What such a process gives up.
mod confine;
/// What functions print.
mod logs;
/// What a key's own organisation can see and change.
mod manage;
/// The operator's listener.
mod admin;
/// Money beyond calls: orders, payments, messages, exports, backups.
mod money;
/// Whether the server can do its work.
mod health;

/// Answers in JSON.
mod respond;
/// Every refusal and failure that a client can see.
mod errors;

/// What one call of a function may use.
mod call_limits;
/// Connections to hosts that others have named.
mod dial;
/// Requests that functions send.
mod egress;
/// `emberbox.toml`: what a function's author declares.
pub mod manifest;

/// A blocking client of a server.
pub mod client;
/// A client of model hubs: lists, downloads, checks.
pub mod hub;
/// The project that `emberbox new` writes, and its build.
pub mod template;
/// The command line: one file per command.
pub mod cli;
/// The demo: everything at work in a temporary folder.
mod demo;

pub use call_limits::CallLimits;
pub use compiler::Compiler;
pub use compiler::process::start as compiler_process;
pub use config::{Config, ConfigError};
pub use folder::FolderError;
pub use isolate::process::run as isolated_process;
pub use start::{Running, StartError, start};
pub use telemetry::TelemetryError;
