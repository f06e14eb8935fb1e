//! ONNX graphs, read and run at run time.
//!
//! A [`Model`] is read once: its file is checked, its operators are found, its values are numbered. It
//! runs on named values and gives named values. Nothing in a file is trusted: sizes are checked
//! before memory is taken, and graphs are bounded in depth, and runs by [`Bounds`].

/// What operators count by themselves.
mod bounds;
/// Errors.
mod error;
/// Operators by the kernels.
mod fast;
/// Fewer and faster nodes for the same graph.
mod fuse;
/// Graphs as they are run.
mod graph;
/// What graphs give and cost, before they run.
mod infer;
/// Operators.
mod ops;
/// The file's messages.
mod proto;
/// Runs.
mod run;
/// Where files are.
mod source;
/// Tensors.
mod tensor;

use std::collections::{HashMap, HashSet};

use prost::Message;

pub use error::OnnxError;
pub use graph::{Form, Spec};
pub use infer::Cost;
pub use run::Bounds;
pub use source::Source;
pub use tensor::{Data, Kind, Tensor, Value};

use graph::{Graph, LeftOut, STANDARD};
use infer::Fact;
use proto::skeleton::Skeleton;
use run::Run;

#[cfg(test)]
mod tests;

/// Most nodes of a file, those of graphs within graphs too.
const NODES_MAX: usize = 100_000;

/// Most messages and texts of a file, each of which takes up to some hundred bytes.
const PARTS_MAX: usize = 1 << 22;

/// A graph that can be run.
#[derive(Debug)]
pub struct Model {
    graph: Graph,
    parameters: u64,
}

impl Model {
    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn read(bytes: &[u8]) -> Result<Self, OnnxError> {
        Self::open(&bytes)
    }

    /// Reads a model, and of its large tensors one after the other.
    ///
    /// # Errors
    /// `Invalid` says what is wrong with the file, `Unsupported` names an operator that is not there,
    /// `Limit` says of what there is too much.
    pub fn open(source: &dyn Source) -> Result<Self, OnnxError> {
        let not = |reason: String| OnnxError::Invalid(format!("it is no ONNX file: {reason}"));
        let Skeleton { bytes, left_out } = Skeleton::read(source).map_err(not)?;
        let parts = proto::scan::parts(&bytes);
        if parts > PARTS_MAX {
            let reason = format!("it has {parts} parts; {PARTS_MAX} are allowed");
            return Err(OnnxError::Limit(reason));
        }
        let model =
            proto::Model::decode(bytes.as_slice()).map_err(|error| not(error.to_string()))?;
        drop(bytes);
        let graph = model.graph.ok_or_else(|| OnnxError::Invalid("it has no graph".to_owned()))?;
        let mut versions = HashMap::new();
        for set in &model.opset_import {
            let domain = if set.domain == "ai.onnx" { STANDARD } else { &set.domain };
            versions.insert(domain.to_owned(), set.version);
        }
        graph::check_count(&graph, NODES_MAX)?;
        let stored = graph.initializer.iter();
        let count =
            stored.map(|t| t.dims.iter().fold(1u64, |p, d| p.saturating_mul(d.unsigned_abs())));
        let parameters = count.fold(0, u64::saturating_add);
        let left_out = LeftOut { source, places: &left_out };
        Ok(Self { graph: graph::read(&graph, &versions, &left_out)?, parameters })
    }

    /// The inputs, those with a default too.
    pub fn inputs(&self) -> &[Spec] {
        &self.graph.specs
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Spec] {
        &self.graph.gives
    }

    /// Bytes that its weights take.
    pub fn bytes(&self) -> u64 {
        self.graph.bytes()
    }

    /// Numbers of its weights.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Checks inputs: their names, types and shapes.
    ///
    /// # Errors
    /// `Input` names the input and says what was expected.
    pub fn check(&self, inputs: &HashMap<String, Value>) -> Result<(), OnnxError> {
        let wrong =
            |name: &str, reason: String| Err(OnnxError::Input { name: name.to_owned(), reason });
        let known: HashSet<&str> = self.inputs().iter().map(|spec| spec.name.as_str()).collect();
        if let Some(name) = inputs.keys().find(|name| !known.contains(name.as_str())) {
            let known: Vec<&str> = self.inputs().iter().map(|spec| spec.name.as_str()).collect();
            let reason = format!("the graph has no such input; it has {}", known.join(", "));
            return wrong(name, reason);
        }
        let defaults: HashSet<usize> = self.graph.constants.iter().map(|(slot, _)| *slot).collect();
        for (spec, (_, slot)) in self.graph.specs.iter().zip(&self.graph.inputs) {
            let has_default = || defaults.contains(slot);
            match inputs.get(&spec.name) {
                Some(Value::Tensor(tensor)) if spec.form == Form::Tensor => {
                    spec.check(tensor).or_else(|reason| wrong(&spec.name, reason))?;
                }
                None if spec.form != Form::Optional && !has_default() => {
                    return wrong(&spec.name, format!("is missing; {spec} is expected"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What a run on these inputs will cost, from their shapes.
    pub fn cost(&self, inputs: &HashMap<String, Value>) -> Cost {
        let fact = |spec: &Spec| match inputs.get(&spec.name) {
            Some(Value::Tensor(tensor)) => Some(Fact::of(tensor)),
            _ => None,
        };
        let given: Vec<Option<Fact>> = self.graph.specs.iter().map(fact).collect();
        infer::cost(&self.graph, &given)
    }

    /// Runs the graph within bounds; gives its outputs in their order, and what it took.
    ///
    /// # Errors
    /// As [`Model::check`]; `Node` says which node failed and why, `Limit` which bound was reached.
    pub fn run(
        &self,
        inputs: HashMap<String, Value>,
        bounds: &Bounds<'_>,
    ) -> Result<(Vec<Value>, u64), OnnxError> {
        self.check(&inputs)?;
        let mut inputs = inputs;
        let given = self.graph.inputs.iter().map(|(name, _)| inputs.remove(name)).collect();
        let run = Run::new(*bounds);
        let outputs = run.graph(&self.graph, given, &[]);
        fast::buffer::clear();
        Ok((outputs?, run.operations()))
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
            tensor::stored::here(&proto::Tensor::decode(bytes).map_err(decoded)?).map(Value::Tensor)
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
