//! The server from outside: real sockets, the real stores, the real engine, prebuilt guests.

/// Who may do what.
#[cfg(test)]
mod access;
/// Chat completions: what they answer, cost and leave in the ledger.
#[cfg(test)]
mod chat;
/// Publishing functions, and what of it stays when it is refused.
#[cfg(test)]
mod deploy;
/// Vectors.
#[cfg(test)]
mod embeddings;
/// Calls of functions.
#[cfg(test)]
mod functions;
/// Limits of the server and of a key.
#[cfg(test)]
mod limits;
/// The operator's listener, and what survives a restart.
#[cfg(test)]
mod operator;
/// A server on free ports in a temporary folder, and requests to it.
#[cfg(test)]
mod support;
