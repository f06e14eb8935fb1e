//! The tests of `gateway` that call functions and models, with both in processes of their own; and
//! what becomes of calls when one of these ends.

/// Whether the servers of these tests have their ledger in a billing service.
#[cfg(test)]
const LEDGER_IS_REMOTE: bool = false;
/// Whether functions and models run in processes of their own.
#[cfg(test)]
const IS_ISOLATED: bool = true;

/// Who may do what.
#[cfg(test)]
#[path = "gateway/access.rs"]
mod access;
/// The limits of one call, and how those who reach one are told which.
#[cfg(test)]
#[path = "gateway/call_limits.rs"]
mod call_limits;
/// Chat completions: what they answer, cost and leave in the ledger.
#[cfg(test)]
#[path = "gateway/chat.rs"]
mod chat;
/// What calls may cost, and who is refused for want of money.
#[cfg(test)]
#[path = "gateway/costs.rs"]
mod costs;
/// An upload that takes too much to compile.
#[cfg(test)]
#[path = "gateway/bomb.rs"]
mod bomb;
/// Where uploads are compiled, and what becomes of their code.
#[cfg(test)]
#[path = "gateway/compiler.rs"]
mod compiler;
/// Publishing functions, and what of it stays when it is refused.
#[cfg(test)]
#[path = "gateway/deploy.rs"]
mod deploy;
/// Requests that functions send.
#[cfg(test)]
#[path = "gateway/egress.rs"]
mod egress;
/// Vectors.
#[cfg(test)]
#[path = "gateway/embeddings.rs"]
mod embeddings;
/// Functions that pay for fuel.
#[cfg(test)]
#[path = "gateway/fuel.rs"]
mod fuel;
/// Calls of functions.
#[cfg(test)]
#[path = "gateway/functions.rs"]
mod functions;
/// What becomes of calls when a process ends, and what the processes have given up.
#[cfg(test)]
#[path = "gateway/isolation.rs"]
mod isolation;
/// Models that functions bring.
#[cfg(test)]
#[path = "gateway/load.rs"]
mod load;
/// Limits of the server and of a key.
#[cfg(test)]
#[path = "gateway/limits.rs"]
mod limits;
/// What functions find in their environment, and nobody sees.
#[cfg(test)]
#[path = "gateway/secrets.rs"]
mod secrets;
/// The operator's listener, and what survives a restart.
#[cfg(test)]
#[path = "gateway/operator.rs"]
mod operator;
/// Models from a hub.
#[cfg(test)]
#[path = "gateway/pull.rs"]
mod pull;
/// A server on free ports in a temporary folder, and requests to it.
#[cfg(test)]
#[path = "gateway/support.rs"]
mod support;

/// A hub on this machine.
#[cfg(test)]
#[path = "../src/hub/tests/local.rs"]
mod local_hub;
