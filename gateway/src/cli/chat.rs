//! `emberbox chat`: one question to a model, the answer printed as it is made.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::context::Context;
use super::error::CliError;
use super::format::cell;
use crate::client::Call;

/// The model that every server has.
const DEFAULT_MODEL: &str = "tiny-storyteller";

/// Ask a model and print its answer as it is made
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to say
    prompt: String,
    /// Which model
    #[arg(long, short, default_value = DEFAULT_MODEL)]
    model: String,
    /// At most so many tokens
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// 0 always says the same; 1 is the model's own spread
    #[arg(long)]
    temperature: Option<f32>,
    /// A number that makes a sampled answer repeatable
    #[arg(long)]
    seed: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let mut body = json!({
        "model": arguments.model,
        "messages": [{"role": "user", "content": arguments.prompt}],
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    for (name, value) in [
        ("max_tokens", arguments.max_tokens.map(Value::from)),
        ("temperature", arguments.temperature.map(Value::from)),
        ("seed", arguments.seed.map(Value::from)),
    ] {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    let call = Call::new(Method::POST, "/v1/chat/completions").json(&body);
    let mut text = String::new();
    let mut usage = Value::Null;
    for event in context.client()?.send(call)?.into_events() {
        let event = event?;
        if let Some(piece) = event.pointer("/choices/0/delta/content").and_then(Value::as_str) {
            text.push_str(piece);
            if !context.out.is_json() {
                context.out.piece(piece.as_bytes())?;
            }
        }
        if let Some(counted) = event.get("usage").filter(|usage| usage.is_object()) {
            usage = counted.clone();
        }
    }
    if context.out.is_json() {
        let answer = json!({"model": arguments.model, "content": text, "usage": usage});
        return context.out.answer(&answer, |_| String::new());
    }
    context.out.piece(b"\n")?;
    context.out.note(&format!(
        "{} tokens in, {} out, {} credits",
        cell(&usage, "/prompt_tokens"),
        cell(&usage, "/completion_tokens"),
        cell(&usage, "/cost")
    ));
    Ok(())
}
