use emberbox_runtime::bridge::{GenerateOptions, Grammar, ToolChoice};
use serde_json::Value;

use crate::errors::ApiError;
use crate::json::Object;

/// Strings that end an answer, as OpenAI limits them.
const STOP_STRINGS_MAX: usize = 4;
/// The highest `max_tokens` that is a number at all; the model's context is what really limits.
const TOKENS_MAX: u32 = 1 << 20;
/// The most alternatives to a token that OpenAI tells.
const TOP_LOGPROBS_MAX: u32 = 20;

/// Reads OpenAI's options, and beside them `top_k`, `min_p` and `repetition_penalty`, which other
/// servers know by these names too.
pub(super) fn read(fields: &Object<'_>) -> Result<GenerateOptions, ApiError> {
    let older = fields.whole("max_tokens", 1..=TOKENS_MAX)?;
    let newer = fields.whole("max_completion_tokens", 1..=TOKENS_MAX)?;
    let real = |name, (from, to, default): (f64, f64, f64)| {
        fields.real(name, from..=to).map(|number| number.unwrap_or(default) as f32)
    };
    let above_zero = |name, to| match real(name, (0.0, to, 1.0))? {
        number if number > 0.0 => Ok(number),
        _ => Err(fields.wrong(name, "must be more than 0")),
    };
    Ok(GenerateOptions {
        max_tokens: newer.or(older),
        temperature: real("temperature", (0.0, 2.0, 1.0))?,
        top_p: above_zero("top_p", 1.0)?,
        top_k: fields.whole("top_k", 0..=u32::MAX)?.unwrap_or(0),
        min_p: real("min_p", (0.0, 1.0, 0.0))?,
        repetition_penalty: above_zero("repetition_penalty", 10.0)?,
        presence_penalty: real("presence_penalty", (-2.0, 2.0, 0.0))?,
        frequency_penalty: real("frequency_penalty", (-2.0, 2.0, 0.0))?,
        logit_bias: logit_bias(fields)?,
        logprobs: logprobs(fields)?,
        grammar: grammar(fields)?,
        tools: tools(fields)?,
        tool_choice: tool_choice(fields)?,
        seed: seed(fields)?,
        stop: stop(fields)?,
        deadline_ms: None,
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

/// An object from token numbers, which JSON makes strings of, to biases.
fn logit_bias(fields: &Object<'_>) -> Result<Vec<(u32, f32)>, ApiError> {
    const FIELD: &str = "logit_bias";
    let wrong = || fields.wrong(FIELD, "must map token numbers to biases from -100 to 100");
    match fields.get(FIELD) {
        None => Ok(Vec::new()),
        Some(Value::Object(biases)) => biases
            .iter()
            .map(|(token, bias)| {
                let token = token.parse().map_err(|_not_a_number| wrong())?;
                let bias = bias.as_f64().filter(|bias| bias.abs() <= 100.0).ok_or_else(wrong)?;
                Ok((token, bias as f32))
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

fn logprobs(fields: &Object<'_>) -> Result<Option<u32>, ApiError> {
    let top = fields.whole("top_logprobs", 0..=TOP_LOGPROBS_MAX)?;
    match (fields.flag("logprobs")?, top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(fields.wrong("top_logprobs", "needs logprobs to be true")),
    }
}

/// OpenAI's formats, and beside them `regex` with a `pattern` and `grammar` with a `grammar` in
/// Lark's syntax.
fn grammar(fields: &Object<'_>) -> Result<Option<Grammar>, ApiError> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    match format.required_text("type")? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Grammar::JsonObject)),
        "json_schema" => {
            let named = format.object("json_schema")?;
            let schema = named.and_then(|named| named.get("schema"));
            match schema {
                Some(schema @ Value::Object(_)) => Ok(Some(Grammar::JsonSchema(schema.clone()))),
                _ => Err(format.wrong("json_schema", "must have an object `schema`")),
            }
        }
        "regex" => Ok(Some(Grammar::Regex(format.required_text("pattern")?.to_owned()))),
        "grammar" => Ok(Some(Grammar::Lark(format.required_text("grammar")?.to_owned()))),
        other => {
            let known = "text, json_object, json_schema, regex, grammar";
            Err(format.wrong("type", &format!("'{other}' is not one of {known}")))
        }
    }
}

/// Functions, as they are: the model's template shows them to it.
fn tools(fields: &Object<'_>) -> Result<Vec<Value>, ApiError> {
    match fields.get("tools") {
        None => Ok(Vec::new()),
        Some(Value::Array(tools)) => Ok(tools.clone()),
        Some(_) => Err(fields.wrong("tools", "must be a list of functions")),
    }
}

fn tool_choice(fields: &Object<'_>) -> Result<ToolChoice, ApiError> {
    const FIELD: &str = "tool_choice";
    match fields.get(FIELD) {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) if word == "none" => Ok(ToolChoice::None),
        Some(Value::String(word)) if word == "auto" => Ok(ToolChoice::Auto),
        Some(Value::String(word)) if word == "required" => Ok(ToolChoice::Required),
        Some(value) => match value["function"]["name"].as_str() {
            Some(name) if value["type"] == "function" => Ok(ToolChoice::Function(name.to_owned())),
            _ => {
                let known = "must be none, auto, required or a function by its name";
                Err(fields.wrong(FIELD, known))
            }
        },
    }
}
