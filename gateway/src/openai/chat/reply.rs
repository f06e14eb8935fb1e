use emberbox_runtime::bridge::{FinishReason, Likelihood, TokenLogprobs, ToolCall};
use serde_json::{Value, json};

use crate::invoke::model::Finished;
use crate::openai::cost_details;

/// What all chunks of one answer share.
pub(super) struct Shape {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
    pub(super) include_usage: bool,
    pub(super) logprobs: bool,
    pub(super) choices: u32,
}

/// An answer as it is collected.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) logprobs: Vec<TokenLogprobs>,
    pub(super) calls: Vec<ToolCall>,
}

impl Shape {
    /// The answer as one object.
    pub(super) fn completion(&self, answers: &[Answer], finished: &Finished) -> Value {
        let choices: Vec<Value> = (0..)
            .zip(answers.iter().zip(&finished.finish_reasons))
            .map(|(index, (answer, reason))| {
                json!({
                    "index": index,
                    "message": self.message(index, answer),
                    "logprobs": self.logprobs(&answer.logprobs),
                    "finish_reason": finish_reason(*reason),
                })
            })
            .collect();
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": usage(finished),
        })
    }

    fn message(&self, choice: u32, answer: &Answer) -> Value {
        let mut message = json!({ "role": "assistant", "content": answer.text, "refusal": null });
        if !answer.calls.is_empty() {
            message["tool_calls"] = self.calls(choice, &answer.calls).into();
            if answer.text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        message
    }

    /// The first chunk of an answer.
    pub(super) fn role_chunk(&self, choice: u32) -> Value {
        self.chunk(choice, &json!({ "role": "assistant", "content": "" }), &[], None)
    }

    /// More text.
    pub(super) fn text_chunk(&self, choice: u32, text: &str, logprobs: &[TokenLogprobs]) -> Value {
        self.chunk(choice, &json!({ "content": text }), logprobs, None)
    }

    /// Functions to be called, each whole.
    pub(super) fn calls_chunk(&self, choice: u32, calls: &[ToolCall]) -> Value {
        let mut calls = self.calls(choice, calls);
        for (index, call) in calls.iter_mut().enumerate() {
            call["index"] = index.into();
        }
        self.chunk(choice, &json!({ "tool_calls": calls }), &[], None)
    }

    /// Calls with ids that are theirs alone, by the answer's.
    fn calls(&self, choice: u32, calls: &[ToolCall]) -> Vec<Value> {
        let answer = self.id.trim_start_matches("chatcmpl-");
        let call = |(index, call): (usize, &ToolCall)| {
            json!({
                "id": format!("call_{answer}_{choice}_{index}"),
                "type": "function",
                "function": { "name": call.name, "arguments": call.arguments },
            })
        };
        calls.iter().enumerate().map(call).collect()
    }

    /// The reason of an answer's end.
    pub(super) fn last_chunk(&self, choice: u32, reason: FinishReason) -> Value {
        self.chunk(choice, &json!({}), &[], Some(finish_reason(reason)))
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

    fn chunk(
        &self,
        choice: u32,
        delta: &Value,
        logprobs: &[TokenLogprobs],
        finish_reason: Option<&str>,
    ) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": choice,
                "delta": delta,
                "logprobs": self.logprobs(logprobs),
                "finish_reason": finish_reason,
            }],
        });
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn logprobs(&self, logprobs: &[TokenLogprobs]) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        let content: Vec<Value> = logprobs
            .iter()
            .map(|token| {
                let mut content = likelihood(&token.chosen);
                content["top_logprobs"] = token.top.iter().map(likelihood).collect();
                content
            })
            .collect();
        json!({ "content": content, "refusal": null })
    }
}

/// A token's text, its bytes, since the text may be a part of a character, and its likelihood. A
/// token that cannot occur has the lowest number that OpenAI uses for one.
fn likelihood(token: &Likelihood) -> Value {
    json!({
        "token": String::from_utf8_lossy(&token.bytes),
        "logprob": token.logprob.max(-9999.0),
        "bytes": token.bytes,
    })
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
        FinishReason::ToolCalls => "tool_calls",
        // A run that was cancelled or too late never gets here: it ends in an error.
        FinishReason::Length | FinishReason::Cancelled | FinishReason::Deadline => "length",
    }
}
