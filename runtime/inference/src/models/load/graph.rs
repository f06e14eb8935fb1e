use std::sync::Arc;

use emberbox_onnx::{Form, Kind, Model, Source, Spec};
use sha2::{Digest as _, Sha256};

use super::{Checked, Config, Text};
use crate::InferenceError;
use crate::api::{ElementKind, ModelInfo, ModelKind, TensorSpec};
use crate::formats::blob::{self, Blob};

impl Source for &Blob {
    fn len(&self) -> u64 {
        Blob::len(self)
    }

    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        Blob::read(self, at, len as u64).map_err(|error| error.to_string())
    }
}

/// Reads a graph, all of it: its weights are among its nodes.
pub(super) fn check(name: &str, blob: &Blob) -> Result<Checked, InferenceError> {
    let mut digest = Sha256::new();
    blob.digest_into(&mut digest)?;
    let first = blob.read(0, blob.len().min(1))?;
    let model = Model::open(&blob).map_err(|error| blob.bad(described(&first, &error)))?;
    for spec in model.inputs().iter().chain(model.outputs()) {
        if spec.form != Form::Tensor {
            let reason = format!("`{}` is no tensor, and only tensors go in and out", spec.name);
            return Err(blob.bad(reason));
        }
    }
    let info = ModelInfo {
        name: name.to_owned(),
        kind: ModelKind::Graph,
        architecture: "onnx".to_owned(),
        parameters: model.parameters(),
        context_length: 0,
        embedding_dims: 0,
        weight_bytes: blob.len(),
        quantisation: "onnx".to_owned(),
        digest: blob::hex(digest),
        chat_template: false,
        inputs: model.inputs().iter().map(spec).collect(),
        outputs: model.outputs().iter().map(spec).collect(),
    };
    let model = Arc::new(model);
    let text = Text::Graph(Arc::clone(&model));
    Ok(Checked { info, text, weights: None, network: Config::Graph(model) })
}

/// What is wrong with a file that may have been meant as something else.
fn described(bytes: &[u8], error: &emberbox_onnx::OnnxError) -> String {
    // The first field of an ONNX file is the version of its format.
    match bytes.first() {
        Some(0x08) => error.to_string(),
        _ => format!("it is neither GGUF nor ONNX: {error}"),
    }
}

fn spec(spec: &Spec) -> TensorSpec {
    let size = |size: &Option<usize>| size.and_then(|size| u32::try_from(size).ok());
    TensorSpec {
        name: spec.name.clone(),
        kind: spec.kind.and_then(kind_out),
        shape: spec.shape.as_ref().map(|shape| shape.iter().map(size).collect()),
    }
}

/// A type as messages have it.
pub(crate) fn kind_out(kind: Kind) -> Option<ElementKind> {
    Some(match kind {
        Kind::Bool => ElementKind::Bool,
        Kind::U8 => ElementKind::U8,
        Kind::I8 => ElementKind::I8,
        Kind::U16 => ElementKind::U16,
        Kind::I16 => ElementKind::I16,
        Kind::U32 => ElementKind::U32,
        Kind::I32 => ElementKind::I32,
        Kind::U64 => ElementKind::U64,
        Kind::I64 => ElementKind::I64,
        Kind::F16 => ElementKind::F16,
        Kind::Bf16 => ElementKind::Bf16,
        Kind::F32 => ElementKind::F32,
        Kind::F64 => ElementKind::F64,
        _ => return None,
    })
}

/// A type as graphs have it.
pub(crate) fn kind_in(kind: ElementKind) -> Kind {
    match kind {
        ElementKind::Bool => Kind::Bool,
        ElementKind::U8 => Kind::U8,
        ElementKind::I8 => Kind::I8,
        ElementKind::U16 => Kind::U16,
        ElementKind::I16 => Kind::I16,
        ElementKind::U32 => Kind::U32,
        ElementKind::I32 => Kind::I32,
        ElementKind::U64 => Kind::U64,
        ElementKind::I64 => Kind::I64,
        ElementKind::F16 => Kind::F16,
        ElementKind::Bf16 => Kind::Bf16,
        ElementKind::F32 => Kind::F32,
        ElementKind::F64 => Kind::F64,
    }
}
