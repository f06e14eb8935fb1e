use serde_json::{Map, Value};

use crate::bridge::{ElementKind, GenerateOptions, Input, ModelKind, NamedTensor, Prompt, Task};

use super::bindings::wasi::nn::tensor::TensorType;
use super::error::{GuestError, short};
use super::tensor::HostTensor;

const INPUTS: &str = "`prompt`, `messages`, `tokens` or `texts`, and `options`";
const RANKED: &str = "`query` and `documents`";

/// What a guest's inputs ask for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) task: Task,
    /// One piece for each `compute`, instead of all at once.
    pub(super) stream: bool,
}

impl Asked {
    /// A task whose result comes whole.
    pub(super) fn whole(task: Task) -> Self {
        Self { task, stream: false }
    }
}

/// Reads the inputs of one `compute` on a model of some kind.
pub(super) fn read(kind: ModelKind, inputs: &[(String, HostTensor)]) -> Result<Asked, GuestError> {
    match kind {
        ModelKind::Graph => tensors(inputs).map(|inputs| Asked::whole(Task::Run { inputs })),
        ModelKind::Reranking => ranked(inputs).map(Asked::whole),
        ModelKind::Classification | ModelKind::TokenClassification => {
            let texts = only("texts", inputs)?;
            Ok(Asked::whole(Task::Classify { texts }))
        }
        ModelKind::Generation | ModelKind::Embedding => written(inputs),
    }
}

/// What a graph takes: whatever it is given.
fn tensors(inputs: &[(String, HostTensor)]) -> Result<Vec<NamedTensor>, GuestError> {
    inputs.iter().map(|(name, tensor)| named(name, tensor)).collect()
}

/// An input of a graph.
pub(super) fn named(name: &str, tensor: &HostTensor) -> Result<NamedTensor, GuestError> {
    tensor.sound(name)?;
    Ok(NamedTensor {
        name: name.to_owned(),
        kind: kind_of(tensor.ty()),
        shape: tensor.dimensions().to_vec(),
        data: tensor.data().to_vec(),
    })
}

/// A type of wasi:nn as an element's.
fn kind_of(ty: TensorType) -> ElementKind {
    match ty {
        TensorType::Fp16 => ElementKind::F16,
        TensorType::Fp32 => ElementKind::F32,
        TensorType::Fp64 => ElementKind::F64,
        TensorType::Bf16 => ElementKind::Bf16,
        TensorType::U8 => ElementKind::U8,
        TensorType::I32 => ElementKind::I32,
        TensorType::I64 => ElementKind::I64,
    }
}

/// A query and documents.
fn ranked(inputs: &[(String, HostTensor)]) -> Result<Task, GuestError> {
    let (mut query, mut documents) = (None, None);
    for (name, tensor) in inputs {
        tensor.sound(name)?;
        match name.as_str() {
            "query" => query = Some(tensor.text(name)?.to_owned()),
            "documents" => documents = Some(strings(name, tensor)?),
            other => return Err(unknown(other, RANKED)),
        }
    }
    match (query, documents) {
        (Some(query), Some(documents)) => Ok(Task::Rerank { query, documents }),
        _ => Err(GuestError::invalid(&format!("this model compares; give it {RANKED}"))),
    }
}

/// Texts, and nothing else.
fn only(expected: &str, inputs: &[(String, HostTensor)]) -> Result<Vec<Input>, GuestError> {
    let [(name, tensor)] = inputs else {
        let prose = format!("this model takes one input, `{expected}`, not {}", inputs.len());
        return Err(GuestError::invalid(&prose));
    };
    tensor.sound(name)?;
    if name != expected {
        return Err(unknown(name, &format!("`{expected}`")));
    }
    read_texts(tensor)
}

fn unknown(name: &str, known: &str) -> GuestError {
    GuestError::invalid(&format!("there is no input `{}`; there are {known}", short(name)))
}

/// Exactly one kind of input, and perhaps options.
fn written(inputs: &[(String, HostTensor)]) -> Result<Asked, GuestError> {
    let mut kind: Option<(&str, &HostTensor)> = None;
    let mut options: Option<&HostTensor> = None;
    for (name, tensor) in inputs {
        tensor.sound(name)?;
        let twice = match name.as_str() {
            "prompt" | "messages" | "tokens" | "texts" => {
                kind.replace((name, tensor)).map(|(other, _)| other)
            }
            "options" => options.replace(tensor).map(|_| "options"),
            other => return Err(unknown(other, INPUTS)),
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
        _ => return Ok(Asked::whole(Task::Embed { texts: read_texts(tensor)? })),
    };
    Ok(Asked { task: Task::Generate { prompt, options }, stream })
}

fn read_texts(tensor: &HostTensor) -> Result<Vec<Input>, GuestError> {
    Ok(strings("texts", tensor)?.into_iter().map(Input::Text).collect())
}

fn strings(name: &str, tensor: &HostTensor) -> Result<Vec<String>, GuestError> {
    let texts: Vec<String> = serde_json::from_str(tensor.text(name)?).map_err(|error| {
        GuestError::invalid(&format!("`{name}` must be a JSON array of strings: {error}"))
    })?;
    if texts.is_empty() {
        return Err(GuestError::invalid(&format!("`{name}` is empty")));
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
