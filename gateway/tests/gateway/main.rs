//! The server from outside: real sockets, the real stores, the real engine, prebuilt guests.
//! `remote.rs` runs the same tests with the ledger in a billing service.

/// Whether the servers of these tests have their ledger in a billing service.
#[cfg(test)]
const LEDGER_IS_REMOTE: bool = false;
/// Whether functions and models run in processes of their own.
#[cfg(test)]
const IS_ISOLATED: bool = false;

/// Who may do what.
#[cfg(test)]
mod access;
/// The limits of one call, and how those who reach one are told which.
#[cfg(test)]
mod call_limits;
/// Chat completions: what they answer, cost and leave in the ledger.
#[cfg(test)]
mod chat;
/// What calls may cost, and who is refused for want of money.
#[cfg(test)]
mod costs;
/// An upload that takes too much to compile.
#[cfg(test)]
mod bomb;
/// Where uploads are compiled, and what becomes of their code.
#[cfg(test)]
mod compiler;
/// Publishing functions, and what of it stays when it is refused.
#[cfg(test)]
mod deploy;
/// Requests that functions send.
#[cfg(test)]
mod egress;
/// Vectors.
#[cfg(test)]
mod embeddings;
/// Encoders that classify and rank.
#[cfg(test)]
mod encoders;
/// Functions that pay for fuel.
#[cfg(test)]
mod fuel;
/// Calls of functions.
#[cfg(test)]
mod functions;
/// Graphs, brought and by name.
#[cfg(test)]
mod graphs;
/// Models that functions bring.
#[cfg(test)]
mod load;
/// Limits of the server and of a key.
#[cfg(test)]
mod limits;
/// Orders of organisations and of the operator.
#[cfg(test)]
mod money_orders;
/// Usage, invoices, receipts and the audit log.
#[cfg(test)]
mod money_statements;
/// Payments that come in.
#[cfg(test)]
mod money_payments;
/// Messages that go out.
#[cfg(test)]
mod money_webhooks;
/// Copies of the data folder, and what an audit finds in them.
#[cfg(test)]
mod money_backup;
/// What functions find in their environment, and nobody sees.
#[cfg(test)]
mod secrets;
/// Secrets from the command line, and what the program leaves of them.
#[cfg(test)]
mod secrets_program;
/// The operator's listener, and what survives a restart.
#[cfg(test)]
mod operator;
/// Models from a hub.
#[cfg(test)]
mod pull;
/// A hub on this machine.
#[cfg(test)]
#[path = "../../src/hub/tests/local.rs"]
mod local_hub;
/// A server on free ports in a temporary folder, and requests to it.
#[cfg(test)]
mod support;
