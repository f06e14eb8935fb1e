//! Lies to models, and spends more than it has.

use emberbox_sdk::{Context, Error, FinishReason, Model, Request, Response, Tensor, TensorType};
use emberbox_sdk::{Message, json};
use std::sync::atomic::{AtomicU64, Ordering};

const MODEL: &str = "tiny-storyteller";

type Inputs = Vec<(String, Tensor)>;

/// Opens contexts and keeps them all.
pub(crate) fn hoard_contexts(request: &Request) -> Result<Response, Error> {
    let max: usize = request.query_as("max")?.unwrap_or(100_000);
    let model = Model::load(MODEL)?;
    let mut contexts: Vec<Context> = Vec::new();
    while contexts.len() < max {
        match model.context() {
            Ok(context) => contexts.push(context),
            Err(error) => {
                return Response::json(&json!({
                    "contexts": contexts.len(), "ended": error.code(), "message": error.to_string(),
                }));
            }
        }
    }
    Response::json(&json!({ "contexts": max, "ended": null }))
}

/// Tells how many times this instance was asked; what it leaves open is not there any more when the
/// platform gives every request an instance of its own.
pub(crate) fn count(request: &Request) -> Result<Response, Error> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    println!("call {calls}");
    if request.query("leave") == Some("context") {
        std::mem::forget(Model::load(MODEL)?.context()?);
    }
    Response::json(&json!({ "calls": calls }))
}

/// Loads what it was sent as a model, as often as it is told to, and goes on with a text.
pub(crate) fn load(request: &Request) -> Result<Response, Error> {
    let times: u32 = request.query_as("times")?.unwrap_or(1);
    let mut texts = Vec::new();
    for _ in 0..times {
        let model = Model::from_bytes(request.body())?;
        let story = model.generate("Once upon a time").max_tokens(8).temperature(0.0).complete()?;
        texts.push(story.text);
    }
    Response::json(&json!({ "texts": texts }))
}

/// Gives each lie to a context of its own, and lists how it was answered. An honest platform
/// accepts none of them.
pub(crate) fn lie_shape() -> Result<Response, Error> {
    let model = Model::load(MODEL)?;
    let mut outcomes = Vec::new();
    for (lie, inputs) in lies() {
        let outcome = model.context().and_then(|mut context| context.compute(inputs));
        let (code, message) = match &outcome {
            Ok(outputs) => ("accepted", format!("{} outputs", outputs.len())),
            Err(error) => (error.code(), error.to_string()),
        };
        outcomes.push(json!({ "lie": lie, "outcome": code, "message": message }));
    }
    Response::json(&outcomes)
}

fn lies() -> Vec<(String, Inputs)> {
    let mut lies: Vec<(String, Inputs)> = Vec::new();
    let mut lie = |name: &str, inputs: Vec<(&str, Tensor)>| {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        lies.push((name.to_owned(), inputs));
    };
    let bytes = |dimensions: &[u32], data: &[u8]| {
        Tensor::new(dimensions.to_vec(), TensorType::U8, data.to_vec())
    };
    lie("data shorter than the dimensions say", vec![("prompt", bytes(&[1000], b"abc"))]);
    lie("data longer than the dimensions say", vec![("prompt", bytes(&[1], b"abcdef"))]);
    lie("dimensions beyond 64 bits", vec![("prompt", bytes(&[u32::MAX; 3], b""))]);
    lie("dimensions that wrap to zero in 32 bits", vec![("prompt", bytes(&[65536, 65536], b""))]);
    lie("dimensions that wrap to zero in 64 bits", vec![("prompt", bytes(&[1 << 16; 4], b""))]);
    lie("a thousand dimensions", vec![("prompt", bytes(&[1; 1000], b"a"))]);
    lie("no prompt at all", vec![("prompt", bytes(&[0], b""))]);
    lie("numbers for a prompt", vec![("prompt", Tensor::f32(&[1], &[1.0]))]);
    lie("a prompt that is not UTF-8", vec![("prompt", bytes(&[2], &[0xff, 0xfe]))]);
    lie("a name that is none", vec![("promt", Tensor::text("Hi"))]);
    lie("two prompts", vec![("prompt", Tensor::text("a")), ("prompt", Tensor::text("b"))]);
    lie("a prompt and texts", vec![("prompt", Tensor::text("a")), ("texts", Tensor::text("[]"))]);
    lie("only options", vec![("options", Tensor::text("{}"))]);
    lie("nothing, before anything was asked", vec![]);
    lie("messages that are no list", vec![("messages", Tensor::text("{}"))]);
    lie("messages without a role", vec![("messages", Tensor::text(r#"[{"content":"Hi"}]"#))]);
    lie("no messages", vec![("messages", Tensor::text("[]"))]);
    lie("texts that are no list", vec![("texts", Tensor::text("\"Hi\""))]);
    lie("texts that are numbers", vec![("texts", Tensor::text("[1]"))]);
    lie("a negative token", vec![("tokens", Tensor::i64(&[-1]))]);
    lie("a token outside the vocabulary", vec![("tokens", Tensor::i64(&[i64::MAX]))]);
    lie("tokens cut off", vec![("tokens", Tensor::new(vec![1], TensorType::I64, vec![0; 7]))]);
    lie("a prompt over the context", vec![("prompt", Tensor::text(&"word ".repeat(20_000)))]);
    for options in [
        "{",
        "[]",
        r#"{"max_tokens":0}"#,
        r#"{"max_tokens":-1}"#,
        r#"{"max_tokens":4294967296}"#,
        r#"{"max_tokens":1e999}"#,
        r#"{"temperature":-1}"#,
        r#"{"temperature":1e30}"#,
        r#"{"top_p":7}"#,
        r#"{"stop":"not a list"}"#,
        r#"{"max_tokens":8,"price":0}"#,
    ] {
        let inputs = vec![("prompt", Tensor::text("Hi")), ("options", Tensor::text(options))];
        lie(&format!("options {options}"), inputs);
    }
    lies
}

/// Generates until it is refused, and then a few times more, in case nobody looks any longer.
pub(crate) fn overspend(request: &Request) -> Result<Response, Error> {
    let calls_max: u32 = request.query_as("calls")?.unwrap_or(1000);
    let model = Model::load(MODEL)?;
    let generate = |seed: u32| {
        let prompt = Message::user("Tell me a story.");
        model.generate(prompt).max_tokens(200).seed(seed.into()).complete()
    };
    let (mut calls, mut output_tokens) = (0, 0_u64);
    let refusal = loop {
        if calls == calls_max {
            break None;
        }
        match generate(calls) {
            Ok(whole) => {
                calls += 1;
                output_tokens += u64::from(whole.usage.output_tokens);
                if whole.finish_reason == FinishReason::Budget {
                    break Some(("budget".to_owned(), "the stream ended early".to_owned()));
                }
            }
            Err(error) => break Some((error.code().to_owned(), error.to_string())),
        }
    };
    let slipped_through = match refusal {
        Some(_) => (0..10).filter(|&seed| generate(seed).is_ok_and(|w| !w.text.is_empty())).count(),
        None => 0,
    };
    let (ended, message) = refusal.unzip();
    Response::json(&json!({
        "calls": calls, "output_tokens": output_tokens,
        "ended": ended, "message": message, "slipped_through": slipped_through,
    }))
}
