//! The routes that OpenAI's clients know.

use std::time::{SystemTime, UNIX_EPOCH};

use emberbox_billing::Receipt;
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::stack::{Arrival, Request};

/// `POST /v1/chat/completions`.
pub(crate) mod chat;
/// `POST /v1/classify`.
pub(crate) mod classify;
/// `POST /v1/embeddings`.
pub(crate) mod embeddings;
/// `GET /v1/models`.
pub(crate) mod models;
/// `POST /v1/rerank`.
pub(crate) mod rerank;
/// Calls of models whose answer comes as a whole.
mod whole;

/// What the first step of the stack noted about a request.
pub(crate) fn arrival(request: &Request) -> Result<Arrival, ApiError> {
    arrived(request.extensions())
}

fn arrived(extensions: &http::Extensions) -> Result<Arrival, ApiError> {
    extensions.get::<Arrival>().cloned().ok_or(ApiError::Internal)
}

/// Now, in seconds since 1970, as OpenAI's objects carry it.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a reply tells of its receipt, beside the cost itself.
fn cost_details(receipt: &Receipt) -> Value {
    json!({
        "receipt": receipt.call,
        "held": receipt.held,
        "price_version": receipt.price_version,
        "ending": receipt.ending,
    })
}
