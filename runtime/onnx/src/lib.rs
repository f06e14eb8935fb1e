//! ONNX graphs, read and run at run time.
//!
//! A [`Model`] is read once: its file is checked, its operators are found, its values are numbered. It
//! runs on named values and gives named values. Nothing in a file is trusted: sizes are checked
//! before memory is taken, graphs are bounded in depth, and runs by [`Limits`].

/// What one run may take.
mod bounds;
/// Errors.
mod error;
/// Graphs as they are run.
mod graph;
/// Operators.
mod ops;
/// The file's messages.
mod proto;
/// Runs.
mod run;
/// Tensors.
mod tensor;

use std::collections::HashMap;

use prost::Message;

pub use bounds::Limits;
pub use error::OnnxError;
pub use graph::Form;
pub use tensor::{Data, Kind, Tensor, Value};

use graph::{Graph, STANDARD};
use run::Run;

#[cfg(test)]
mod tests;

/// A graph that can be run.
#[derive(Debug)]
pub struct Model {
    graph: Graph,
}

impl Model {
    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// `Invalid` says what is wrong with the file, `Unsupported` names an operator that is not there.
    pub fn read(bytes: &[u8]) -> Result<Self, OnnxError> {
        let model = proto::Model::decode(bytes)
            .map_err(|error| OnnxError::Invalid(format!("it is no ONNX file: {error}")))?;
        let graph = model.graph.ok_or_else(|| OnnxError::Invalid("it has no graph".to_owned()))?;
        let mut versions = HashMap::new();
        for set in &model.opset_import {
            let domain = if set.domain == "ai.onnx" { STANDARD } else { &set.domain };
            versions.insert(domain.to_owned(), set.version);
        }
        Ok(Self { graph: graph::read(&graph, &versions)? })
    }

    /// Names of the inputs, those with a default too.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.graph.inputs.iter().map(|(name, _)| name.as_str())
    }

    /// What the inputs are, in their order.
    pub fn forms(&self) -> &[Form] {
        &self.graph.forms
    }

    /// Names of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.graph.outputs.iter().map(|(name, _)| name.as_str())
    }

    /// Runs the graph within the usual limits; gives its outputs in their order.
    ///
    /// # Errors
    /// `Input` for a name that the graph does not have, `Node` says which node failed and why,
    /// `Limit` which bound was reached.
    pub fn run(&self, inputs: HashMap<String, Value>) -> Result<Vec<Value>, OnnxError> {
        self.run_within(inputs, Limits::default())
    }

    /// Runs the graph within limits; gives its outputs in their order.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_within(
        &self,
        inputs: HashMap<String, Value>,
        limits: Limits,
    ) -> Result<Vec<Value>, OnnxError> {
        let mut inputs = inputs;
        let given = self.graph.inputs.iter().map(|(name, _)| inputs.remove(name)).collect();
        if let Some(name) = inputs.into_keys().next() {
            let known: Vec<&str> = self.inputs().collect();
            let reason = format!("the graph has no such input; it has {}", known.join(", "));
            return Err(OnnxError::Input { name, reason });
        }
        Run::new(limits).graph(&self.graph, given, &[])
    }
}

/// Reads a value from the bytes of a `TensorProto`, a `SequenceProto` or an `OptionalProto`.
///
/// # Errors
/// Says what is wrong with it.
pub fn read_value(bytes: &[u8], form: Form) -> Result<Value, OnnxError> {
    let decoded =
        |error: prost::DecodeError| OnnxError::Invalid(format!("it is no value: {error}"));
    let value = match form {
        Form::Tensor => {
            tensor::stored::read(&proto::Tensor::decode(bytes).map_err(decoded)?).map(Value::Tensor)
        }
        Form::Sequence => {
            tensor::stored::sequence(&proto::Sequence::decode(bytes).map_err(decoded)?)
        }
        Form::Optional => {
            tensor::stored::optional(&proto::Optional::decode(bytes).map_err(decoded)?)
        }
    };
    value.map_err(OnnxError::Invalid)
}
