use super::bindings::wasi::nn::tensor::TensorType;
use super::context::Named;
use super::error::{GuestError, short};
use super::tensor::{HostTensor, TensorBudget};
use crate::bridge::{Answer, ElementKind, FinishReason, NamedTensor, Usage};

pub(super) fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Deadline => "deadline",
    }
}

pub(super) fn piece(
    text: String,
    tokens: &[u32],
    tensors: &TensorBudget,
) -> Result<Named, GuestError> {
    let ids: Vec<u8> = tokens.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
    let count = length(tokens.len());
    let ids = HostTensor::for_guest(vec![count], TensorType::I64, ids, tensors)?;
    Ok(vec![bytes("text", text.into_bytes(), tensors)?, ("tokens".to_owned(), ids)])
}

pub(super) fn end(reason: &str, usage: Usage, tensors: &TensorBudget) -> Result<Named, GuestError> {
    Ok(vec![json("usage", &usage, tensors)?, json("finish_reason", &reason, tensors)?])
}

pub(super) fn answer(answer: Answer, tensors: &TensorBudget) -> Result<Named, GuestError> {
    let numbers = |name: &str, dimensions, data| {
        let tensor = HostTensor::for_guest(dimensions, TensorType::Fp32, data, tensors)?;
        Ok::<_, GuestError>((name.to_owned(), tensor))
    };
    match answer {
        Answer::Embeddings { rows, dims, data } => {
            Ok(vec![numbers("embeddings", vec![rows, dims], data)?])
        }
        Answer::Classes { labels, parts, data } => {
            let rows: Vec<u8> = parts
                .iter()
                .flat_map(|part| [part.text, part.start, part.end])
                .flat_map(|number| i64::from(number).to_le_bytes())
                .collect();
            let (count, classes) = (length(parts.len()), length(labels.len()));
            let parts = HostTensor::for_guest(vec![count, 3], TensorType::I64, rows, tensors)?;
            Ok(vec![
                json("labels", &labels, tensors)?,
                ("parts".to_owned(), parts),
                numbers("scores", vec![count, classes], data)?,
            ])
        }
        Answer::Scores { data } => Ok(vec![numbers("scores", vec![length(data.len() / 4)], data)?]),
        Answer::Tensors(named) => {
            named.into_iter().map(|tensor| graph_output(tensor, tensors)).collect()
        }
    }
}

/// An output of a graph, in a type that wasi:nn has: booleans are bytes of 0 and 1, and of other
/// integers those that hold every value.
fn graph_output(
    NamedTensor { name, kind, shape, data }: NamedTensor,
    tensors: &TensorBudget,
) -> Result<(String, HostTensor), GuestError> {
    let (ty, data) = match kind {
        ElementKind::F16 => (TensorType::Fp16, data),
        ElementKind::Bf16 => (TensorType::Bf16, data),
        ElementKind::F32 => (TensorType::Fp32, data),
        ElementKind::F64 => (TensorType::Fp64, data),
        ElementKind::I32 => (TensorType::I32, data),
        ElementKind::I64 => (TensorType::I64, data),
        ElementKind::Bool | ElementKind::U8 => (TensorType::U8, data),
        ElementKind::I8 => (
            TensorType::I32,
            data.iter().flat_map(|v| i32::from(v.cast_signed()).to_le_bytes()).collect(),
        ),
        ElementKind::U16 => (
            TensorType::I32,
            data.as_chunks()
                .0
                .iter()
                .flat_map(|v| i32::from(u16::from_le_bytes(*v)).to_le_bytes())
                .collect(),
        ),
        ElementKind::I16 => (
            TensorType::I32,
            data.as_chunks()
                .0
                .iter()
                .flat_map(|v| i32::from(i16::from_le_bytes(*v)).to_le_bytes())
                .collect(),
        ),
        ElementKind::U32 => (
            TensorType::I64,
            data.as_chunks()
                .0
                .iter()
                .flat_map(|v| i64::from(u32::from_le_bytes(*v)).to_le_bytes())
                .collect(),
        ),
        ElementKind::U64 => {
            let prose = format!("output `{}` is U64, which wasi:nn does not have", short(&name));
            return Err(GuestError::unsupported(&prose));
        }
    };
    Ok((name, HostTensor::for_guest(shape, ty, data, tensors)?))
}

pub(super) fn json(
    name: &str,
    value: &impl serde::Serialize,
    tensors: &TensorBudget,
) -> Result<(String, HostTensor), GuestError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| GuestError::unsupported(&format!("output `{name}`: {error}")))?;
    bytes(name, text, tensors)
}

pub(super) fn bytes(
    name: &str,
    data: Vec<u8>,
    tensors: &TensorBudget,
) -> Result<(String, HostTensor), GuestError> {
    let dimensions = vec![length(data.len())];
    Ok((name.to_owned(), HostTensor::for_guest(dimensions, TensorType::U8, data, tensors)?))
}

/// A length that does not fit is over every limit, and the tensor's own check refuses it.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
