use emberbox_runtime::bridge::FinishReason;
use serde_json::{Value, json};

use crate::invoke::model::Finished;
use crate::openai::cost_details;

/// What all chunks of one answer share.
pub(super) struct Shape {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
    pub(super) include_usage: bool,
}

impl Shape {
    /// The answer as one object.
    pub(super) fn completion(&self, text: &str, finished: &Finished) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": null,
                "finish_reason": finish_reason(finished.finish_reason),
            }],
            "usage": usage(finished),
        })
    }

    /// The first chunk of a stream.
    pub(super) fn role_chunk(&self) -> Value {
        self.chunk(&json!({ "role": "assistant", "content": "" }), None)
    }

    /// More text.
    pub(super) fn text_chunk(&self, text: &str) -> Value {
        self.chunk(&json!({ "content": text }), None)
    }

    /// The reason of the end.
    pub(super) fn last_chunk(&self, finished: &Finished) -> Value {
        self.chunk(&json!({}), Some(finish_reason(finished.finish_reason)))
    }

    /// The usage: a chunk of its own, without choices.
    pub(super) fn usage_chunk(&self, finished: &Finished) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [],
            "usage": usage(finished),
        })
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "delta": delta,
                "logprobs": null,
                "finish_reason": finish_reason,
            }],
        });
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}

/// Tokens as the host counted them, and the cost as the ledger booked it.
fn usage(finished: &Finished) -> Value {
    let (usage, receipt) = (&finished.usage, &finished.charged.receipt);
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
        "prompt_tokens_details": { "cached_tokens": usage.cached_input_tokens },
        "cost": receipt.amount,
        "cost_details": cost_details(receipt),
    })
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        // A cancelled run never gets here: it ends in an error.
        FinishReason::Length | FinishReason::Cancelled => "length",
    }
}
