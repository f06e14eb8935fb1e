//! Money beyond calls: orders from requests, payments that come in, messages that go out, exports,
//! and copies of the whole data folder.

/// Orders from requests: who asks, under which id, for how much.
pub(crate) mod orders;
/// What an organisation and the operator are told of accounts.
pub(crate) mod shown;
/// Spans of days and months in queries.
pub(crate) mod spans;
/// Exports as CSV, page by page.
pub(crate) mod export;
/// The payment provider's webhook.
pub(crate) mod stripe;
/// Messages of the ledger, until somebody has them.
pub(crate) mod outbox;
/// One attempt to send one message.
mod delivery;
/// Copies of the data folder, and back.
pub(crate) mod backup;
