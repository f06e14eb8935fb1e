use emberbox_billing::Nano;
use emberbox_runtime::bridge::{Prompt, Task};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::json::Object;

/// How to choose tokens, and when to stop.
mod options;
#[cfg(test)]
mod tests;

/// Messages in one request.
const MESSAGES_MAX: usize = 4_096;
/// Answers to one request.
const CHOICES_MAX: u32 = 16;

/// A request, read.
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) task: Task,
    /// How many answers.
    pub(crate) choices: u32,
    pub(crate) max_cost: Option<Nano>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) logprobs: bool,
}

/// Reads a request. Unknown fields are ignored; fields that mean something which no model here can
/// do are refused by name, because ignoring them would change the answer silently.
pub(crate) fn parse(fields: &Object<'_>) -> Result<Asked, ApiError> {
    let model = fields.required_text("model")?.to_owned();
    refuse_unsupported(fields)?;
    let prompt = Prompt::Messages(messages(fields)?.to_string());
    let options = options::read(fields)?;
    let logprobs = options.logprobs.is_some();
    let task = Task::Generate { prompt, options };
    let include_usage = match fields.object("stream_options")? {
        Some(options) => options.flag("include_usage")?,
        None => false,
    };
    let choices = fields.whole("n", 1..=CHOICES_MAX)?.unwrap_or(1);
    let max_cost = fields.max_cost()?;
    let stream = fields.flag("stream")?;
    Ok(Asked { model, task, choices, max_cost, stream, include_usage, logprobs })
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
        role @ ("user" | "assistant" | "tool") => role,
        other => {
            let reason =
                format!("'{other}' is not one of system, developer, user, assistant, tool");
            return Err(fields.wrong("role", &reason));
        }
    };
    let calls = calls(&fields)?;
    let content = match fields.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => joined(&fields, parts)?,
        // An assistant that only called functions said nothing.
        None if !calls.is_empty() => String::new(),
        _ => return Err(fields.wrong("content", "must be a string or a list of text parts")),
    };
    let mut plain = json!({ "role": role, "content": content });
    if !calls.is_empty() {
        plain["tool_calls"] = calls.into();
    }
    for name in ["tool_call_id", "name"].into_iter().filter(|_| role == "tool") {
        if let Some(text) = fields.text(name)? {
            plain[name] = text.into();
        }
    }
    Ok(plain)
}

/// The calls of an earlier answer, with their arguments as objects, as templates expect them.
fn calls(fields: &Object<'_>) -> Result<Vec<Value>, ApiError> {
    let wrong = || {
        let shape = "must be a list of functions with a name and arguments";
        fields.wrong("tool_calls", shape)
    };
    let list = match fields.get("tool_calls") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong()),
    };
    let call = |call: &Value| {
        let function = &call["function"];
        let name = function["name"].as_str()?;
        let arguments = function["arguments"].as_str()?;
        let arguments =
            serde_json::from_str(arguments).unwrap_or_else(|_not_json| Value::from(arguments));
        let function = json!({ "name": name, "arguments": arguments });
        Some(json!({ "id": call["id"], "type": "function", "function": function }))
    };
    list.iter().map(|item| call(item).ok_or_else(wrong)).collect()
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
    const NAMES: [&str; 6] = [
        "functions",
        "function_call",
        "audio",
        "web_search_options",
        "reasoning_effort",
        "verbosity",
    ];
    if let Some(name) = NAMES.into_iter().find(|name| fields.get(name).is_some_and(is_used)) {
        return Err(fields.wrong(name, "is not supported by the models here"));
    }
    let text_only = |value: &Value| *value == json!(["text"]);
    if fields.get("modalities").is_some_and(|value| !text_only(value)) {
        return Err(fields.wrong("modalities", "must be [\"text\"]"));
    }
    Ok(())
}
