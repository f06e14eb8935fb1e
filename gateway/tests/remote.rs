//! The tests of `gateway`, with the ledger behind a billing service: another server, reached over
//! mutual TLS with certificates that were made for it.

/// Whether the servers of these tests have their ledger in a billing service.
#[cfg(test)]
const LEDGER_IS_REMOTE: bool = true;
/// Whether functions and models run in processes of their own.
#[cfg(test)]
const IS_ISOLATED: bool = false;

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
/// Publishing functions, and what of it stays when it is refused.
#[cfg(test)]
#[path = "gateway/deploy.rs"]
mod deploy;
/// Vectors.
#[cfg(test)]
#[path = "gateway/embeddings.rs"]
mod embeddings;
/// Calls of functions.
#[cfg(test)]
#[path = "gateway/functions.rs"]
mod functions;
/// Limits of the server and of a key.
#[cfg(test)]
#[path = "gateway/limits.rs"]
mod limits;
/// Money that is set in motion over HTTP.
#[cfg(test)]
#[path = "gateway/money_orders.rs"]
mod money_orders;
/// Statements, invoices and exports.
#[cfg(test)]
#[path = "gateway/money_statements.rs"]
mod money_statements;
/// Payments that come in.
#[cfg(test)]
#[path = "gateway/money_payments.rs"]
mod money_payments;
/// Messages that go out.
#[cfg(test)]
#[path = "gateway/money_webhooks.rs"]
mod money_webhooks;
/// The billing service's own operator's listener, and its end.
#[cfg(test)]
#[path = "gateway/service.rs"]
mod service;
/// The operator's listener, and what survives a restart.
#[cfg(test)]
#[path = "gateway/operator.rs"]
mod operator;
/// A server on free ports in a temporary folder, and requests to it.
#[cfg(test)]
#[path = "gateway/support.rs"]
mod support;
