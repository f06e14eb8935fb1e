use emberbox_billing::Nano;
use emberbox_runtime::bridge::{GenerateOptions, Prompt, Task};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::json::Object;

#[cfg(test)]
mod tests;

/// Messages in one request.
const MESSAGES_MAX: usize = 4_096;
/// Strings that end an answer, as OpenAI limits them.
const STOP_STRINGS_MAX: usize = 4;
/// The highest `max_tokens` that is a number at all; the model's context is what really limits.
const TOKENS_MAX: u32 = 1 << 20;

/// A request, read.
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) task: Task,
    pub(crate) max_cost: Option<Nano>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

/// Reads a request. Unknown fields are ignored; fields that mean something which no model here can
/// do are refused by name, because ignoring them would change the answer silently.
pub(crate) fn parse(fields: &Object<'_>) -> Result<Asked, ApiError> {
    let model = fields.required_text("model")?.to_owned();
    refuse_unsupported(fields)?;
    let prompt = Prompt::Messages(messages(fields)?.to_string());
    let task = Task::Generate { prompt, options: options(fields)? };
    let include_usage = match fields.object("stream_options")? {
        Some(options) => options.flag("include_usage")?,
        None => false,
    };
    let max_cost = fields.max_cost()?;
    Ok(Asked { model, task, max_cost, stream: fields.flag("stream")?, include_usage })
}

fn options(fields: &Object<'_>) -> Result<GenerateOptions, ApiError> {
    let older = fields.whole("max_tokens", 1..=TOKENS_MAX)?;
    let newer = fields.whole("max_completion_tokens", 1..=TOKENS_MAX)?;
    let top_p = fields.real("top_p", 0.0..=1.0)?.unwrap_or(1.0);
    if top_p <= 0.0 {
        return Err(fields.wrong("top_p", "must be more than 0"));
    }
    Ok(GenerateOptions {
        max_tokens: newer.or(older),
        temperature: fields.real("temperature", 0.0..=2.0)?.unwrap_or(1.0) as f32,
        top_p: top_p as f32,
        top_k: 0,
        seed: seed(fields)?,
        stop: stop(fields)?,
    })
}

/// Any whole number of 64 bits, signed as the SDKs send it.
fn seed(fields: &Object<'_>) -> Result<Option<u64>, ApiError> {
    let Some(value) = fields.get("seed") else { return Ok(None) };
    match value.as_i64().map(i64::cast_unsigned).or_else(|| value.as_u64()) {
        Some(seed) => Ok(Some(seed)),
        None => Err(fields.wrong("seed", "must be a whole number of 64 bits")),
    }
}

fn stop(fields: &Object<'_>) -> Result<Vec<String>, ApiError> {
    let wrong = || fields.wrong("stop", "must be a string or a list of up to 4 strings");
    let strings: Vec<String> = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) if list.len() <= STOP_STRINGS_MAX => list
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong()),
    };
    match strings.iter().any(String::is_empty) {
        true => Err(fields.wrong("stop", "must not have an empty string")),
        false => Ok(strings),
    }
}

/// The messages in the plain shape that chat templates know: `developer` is `system`, and parts of
/// text are joined.
fn messages(fields: &Object<'_>) -> Result<Value, ApiError> {
    let list = match fields.get("messages") {
        Some(Value::Array(list)) if (1..=MESSAGES_MAX).contains(&list.len()) => list,
        Some(Value::Array(list)) if !list.is_empty() => {
            return Err(fields.wrong("messages", "has too many messages"));
        }
        _ => return Err(fields.wrong("messages", "must be a list of at least one message")),
    };
    let plain: Result<Vec<Value>, ApiError> =
        list.iter().enumerate().map(|(index, value)| message(value, index)).collect();
    plain.map(Value::from)
}

fn message(value: &Value, index: usize) -> Result<Value, ApiError> {
    let fields = Object::item(value, "messages", index)?;
    let role = match fields.required_text("role")? {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        other => {
            let reason = format!("'{other}' is not one of system, developer, user, assistant");
            return Err(fields.wrong("role", &reason));
        }
    };
    if fields.get("tool_calls").is_some_and(is_used) {
        return Err(fields.wrong("tool_calls", "is not supported"));
    }
    let content = match fields.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => joined(&fields, parts)?,
        _ => return Err(fields.wrong("content", "must be a string or a list of text parts")),
    };
    Ok(json!({ "role": role, "content": content }))
}

fn joined(fields: &Object<'_>, parts: &[Value]) -> Result<String, ApiError> {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let of_text = part.get("type").and_then(Value::as_str) == Some("text");
        match part.get("text").and_then(Value::as_str).filter(|_| of_text) {
            Some(more) => text.push_str(more),
            None => {
                let name = format!("content[{index}]");
                return Err(fields.wrong(&name, "must be a part of type 'text' with its text"));
            }
        }
    }
    Ok(text)
}

/// Whether a field asks for anything.
fn is_used(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) | Value::String(_) => true,
    }
}

fn refuse_unsupported(fields: &Object<'_>) -> Result<(), ApiError> {
    const NAMES: [&str; 13] = [
        "tools",
        "functions",
        "function_call",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "audio",
        "web_search_options",
        "reasoning_effort",
        "verbosity",
        "top_k",
    ];
    if let Some(name) = NAMES.into_iter().find(|name| fields.get(name).is_some_and(is_used)) {
        return Err(fields.wrong(name, "is not supported by the models here"));
    }
    if fields.get("n").is_some_and(|n| n.as_u64() != Some(1)) {
        return Err(fields.wrong("n", "must be 1"));
    }
    let choice = fields.get("tool_choice").and_then(Value::as_str);
    if fields.get("tool_choice").is_some() && !matches!(choice, Some("none" | "auto")) {
        return Err(fields.wrong("tool_choice", "is not supported by the models here"));
    }
    if let Some(format) = fields.object("response_format")?
        && format.required_text("type")? != "text"
    {
        return Err(format.wrong("type", "must be 'text': no other format is supported"));
    }
    let text_only = |value: &Value| *value == json!(["text"]);
    if fields.get("modalities").is_some_and(|value| !text_only(value)) {
        return Err(fields.wrong("modalities", "must be [\"text\"]"));
    }
    Ok(())
}
