use serde_json::{Map, Value};

use crate::bridge::{GenerateOptions, Prompt, Task};

use super::error::{GuestError, short};
use super::tensor::HostTensor;

const INPUTS: &str = "`prompt`, `messages`, `tokens` or `texts`, and `options`";

/// What a guest's inputs ask for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) task: Task,
    /// One piece for each `compute`, instead of all at once.
    pub(super) stream: bool,
}

/// Reads the inputs of one `compute`: exactly one kind of input, and perhaps options.
pub(super) fn read(inputs: &[(String, HostTensor)]) -> Result<Asked, GuestError> {
    let mut kind: Option<(&str, &HostTensor)> = None;
    let mut options: Option<&HostTensor> = None;
    for (name, tensor) in inputs {
        tensor.sound(name)?;
        let twice = match name.as_str() {
            "prompt" | "messages" | "tokens" | "texts" => {
                kind.replace((name, tensor)).map(|(other, _)| other)
            }
            "options" => options.replace(tensor).map(|_| "options"),
            other => {
                let prose = format!("there is no input `{}`; there are {INPUTS}", short(other));
                return Err(GuestError::invalid(&prose));
            }
        };
        if let Some(other) = twice {
            let prose = format!("`{name}` and `{other}` cannot be given together");
            return Err(GuestError::invalid(&prose));
        }
    }
    let Some((name, tensor)) = kind else {
        return Err(GuestError::invalid(&format!("there is nothing to compute; give {INPUTS}")));
    };
    let (options, stream) = read_options(options)?;
    let prompt = match name {
        "prompt" => Prompt::Text(tensor.text(name)?.to_owned()),
        "messages" => Prompt::Messages(tensor.text(name)?.to_owned()),
        "tokens" => Prompt::Tokens(tensor.tokens(name)?),
        _ => return Ok(Asked { task: Task::Embed { texts: read_texts(tensor)? }, stream: false }),
    };
    Ok(Asked { task: Task::Generate { prompt, options }, stream })
}

fn read_texts(tensor: &HostTensor) -> Result<Vec<String>, GuestError> {
    let texts: Vec<String> = serde_json::from_str(tensor.text("texts")?).map_err(|error| {
        GuestError::invalid(&format!("`texts` must be a JSON array of strings: {error}"))
    })?;
    if texts.is_empty() {
        return Err(GuestError::invalid("`texts` is empty"));
    }
    Ok(texts)
}

fn read_options(tensor: Option<&HostTensor>) -> Result<(GenerateOptions, bool), GuestError> {
    let Some(tensor) = tensor else { return Ok((GenerateOptions::default(), false)) };
    let json = tensor.text("options")?;
    let mut fields: Map<String, Value> = serde_json::from_str(json).map_err(|error| {
        GuestError::invalid(&format!("`options` must be a JSON object: {error}"))
    })?;
    fields.retain(|_, value| !value.is_null());
    let stream = match fields.remove("stream") {
        None => false,
        Some(Value::Bool(stream)) => stream,
        Some(_) => return Err(GuestError::invalid("option `stream` must be true or false")),
    };
    // Field by field first, because an error of the whole does not say which field it is about.
    for (name, value) in &fields {
        let field = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<GenerateOptions>(Value::Object(field))
            .map_err(|error| GuestError::invalid(&format!("option `{}`: {error}", short(name))))?;
    }
    let options = serde_json::from_value(Value::Object(fields))
        .map_err(|error| GuestError::invalid(&format!("`options`: {error}")))?;
    Ok((options, stream))
}

#[cfg(test)]
mod tests;
